//! What `plan` says before a run, and that the run then does it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own server")]

mod support;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// Items of boxes, windows of days: each slice of `log` says which partitions it can change.
fn file(server: &Server) -> String {
    format!(
        r#"version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
  retry: {{ max_attempts: 1, max_delay_secs: 0.01 }}
streams:
  boxes:
    slices: {{ window: {{ from: 2024-07-01, format: rfc3339, start_param: from, end_param: to }} }}
    request: {{ path: /boxes }}
    cursor: {{ column: changed, lookback: 1d }}
    columns:
      id: {{ from: id, type: int64 }}
      changed: {{ from: changed, type: timestamp }}
    write: {{ merge: {{ key: [id], newest_by: changed }} }}
    partition_by: {{ column: changed }}
  items:
    slices: {{ parent: {{ stream: boxes, bind: {{ box: id }} }} }}
    request: {{ path: "/boxes/{{{{ parent.box }}}}/items" }}
    columns:
      box: {{ from: parent.box, type: int64 }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ replace: {{ scope: slice, key: [box, id] }} }}
    partition_by: {{ column: day }}
  log:
    slices: {{ window: {{ from: 2024-07-01, reread: 3d, step: 7d, format: date, start_param: from, end_param: to }} }}
    request: {{ path: /log }}
    columns:
      day: {{ from: day, type: date }}
      hours: {{ from: hours, type: int64 }}
    write: {{ replace: {{ scope: slice, by: {{ day: window }} }} }}
    partition_by: {{ column: day }}
"#,
        server.url()
    )
}

/// Two boxes; the second one's items cannot be read at first. Later the first box has changed, one of
/// its items has moved to another day, and yesterday's log has another entry.
struct World {
    is_later: AtomicBool,
}

impl World {
    fn answer(&self, request: &Request) -> Response {
        let is_later = self.is_later.load(SeqCst);
        let body = match request.path.as_str() {
            "/boxes" => {
                let changed =
                    if is_later { "2024-07-25T09:00:00Z" } else { "2024-07-02T00:00:00Z" };
                let first = json!({ "id": 1, "changed": changed });
                json!([first, { "id": 2, "changed": "2024-07-20T00:00:00Z" }])
            }
            "/boxes/1/items" => {
                let day = if is_later { "2024-07-04" } else { "2024-07-03" };
                json!([{ "id": 1, "day": "2024-07-03" }, { "id": 2, "day": day }])
            }
            "/boxes/2/items" if !is_later => return Response::status(500, &json!({})),
            "/boxes/2/items" => json!([{ "id": 1, "day": "2024-07-09" }]),
            "/log" => {
                let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
                let mut days = vec![("2024-07-02", 8), ("2024-07-23", 8)];
                if is_later {
                    days.push(("2024-07-24", 2));
                }
                let days = days.into_iter().filter(|it| (from..=to).contains(&it.0));
                days.map(|(day, hours)| json!({ "day": day, "hours": hours })).collect()
            }
            other => panic!("{other}"),
        };
        Response::json(&body)
    }
}

/// A server, what one run has published of it, and then the next day.
fn after_a_night() -> (Server, Workspace, String) {
    let world = std::sync::Arc::new(World { is_later: AtomicBool::new(false) });
    let asked = std::sync::Arc::clone(&world);
    let server = Server::start(move |request| asked.answer(request));
    let yaml = file(&server);
    let workspace = Workspace::new();
    let ended = workspace.run(&yaml, &[], &[("TRACKLAKE_NOW", "2024-07-24T02:00:00Z")]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    world.is_later.store(true, SeqCst);
    (server, workspace, yaml)
}

/// All files but the lock, which says who held it last.
fn kept(workspace: &Workspace) -> BTreeMap<String, Vec<u8>> {
    let mut files = workspace.files();
    files.remove("_tracklake/own/lock");
    files
}

fn plan(workspace: &Workspace, yaml: &str, args: &[&str]) -> Ended {
    let ended = Ended::of(&workspace.subcommand("plan", yaml, args).output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn a_plan_says_what_the_next_run_asks_and_sends_nothing() {
    let (server, workspace, yaml) = after_a_night();
    let (requests, files) = (server.lines().len(), workspace.files());

    let shown = plan(&workspace, &yaml, &[]).stdout.replace(&server.url(), "SERVER");

    assert_snapshot!(shown, @r"
    own would be written to `output`
      boxes: 1 slice, 2024-07-19T00:00:00Z..2024-07-25T12:00:00Z
        first request: GET SERVER/boxes
        may change any standing partition (2), and add others; `plan --fetch` says which
      items: one slice for each row of `boxes` that is read, and 1 slice that failed before, first `2`
        first request: GET SERVER/boxes/2/items
        may change any standing partition (1), and add others; `plan --fetch` says which
      log: 1 slice, 2024-07-21..2024-07-25
        first request: GET SERVER/log
        may change 1 of 2 standing partitions, date=2024-07-23, and add others
    ");
    assert_eq!(server.lines().len(), requests);
    assert!(workspace.files() == files, "nothing on the disk has changed");
}

#[test]
fn a_plan_of_what_was_never_run_says_so() {
    let server = Server::start(|_| Response::status(500, &json!({})));
    let shown = plan(&Workspace::new(), &file(&server), &["--stream", "log"]).stdout;

    assert_snapshot!(shown.replace(&server.url(), "SERVER"), @r"
    own would be written to `output`
      log: 4 slices, 2024-07-01..2024-07-07 … 2024-07-22..2024-07-25
        first request: GET SERVER/log
        nothing stands yet
    ");
    assert!(server.lines().is_empty());
}

#[test]
fn a_plan_that_fetches_says_what_the_run_then_does_and_publishes_nothing() {
    let (_server, workspace, yaml) = after_a_night();
    let files = kept(&workspace);
    let changes = |ended: &Ended| -> Vec<Value> {
        let report = ended.report();
        let streams = report["streams"].as_array().unwrap();
        let of = |it: &Value| -> Value {
            [
                "stream",
                "rows",
                "added",
                "updated",
                "removed",
                "redated",
                "partitions",
                "changed",
                "files",
                "bytes_written",
                "removed_files",
            ]
            .into_iter()
            .map(|field| it[field].clone())
            .collect()
        };
        streams.iter().map(of).collect()
    };

    let planned = plan(&workspace, &yaml, &["--fetch", "--json"]);

    assert!(files == kept(&workspace), "data, state, reports and slices are as they were");
    assert_eq!(planned.report()["streams"][0]["status"], "planned");
    let ran = workspace.run(&yaml, &[], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(changes(&planned), changes(&ran));
    let partitions = |at: usize| ran.report()["streams"][at]["changed"].clone();
    assert_eq!(partitions(0), json!(["date=2024-07-02", "date=2024-07-25"]));
    assert_eq!(partitions(1), json!(["date=2024-07-03", "date=2024-07-04", "date=2024-07-09"]));
    assert_eq!(partitions(2), json!(["date=2024-07-24"]));
}

#[test]
fn the_table_of_a_plan_that_fetches_says_what_would_change() {
    let (_server, workspace, yaml) = after_a_night();

    let shown = plan(&workspace, &yaml, &["--fetch"]).stdout;

    let notes: Vec<&str> = shown.lines().filter(|it| it.contains("would")).collect();
    assert_snapshot!(notes.join("\n"), @r"
    note: own.boxes: would write 2 partitions, date=2024-07-02 … date=2024-07-25: 0 rows added, 1 changed, 0 removed
    note: own.items: would write 3 partitions, date=2024-07-03 … date=2024-07-09: 1 row added, 1 changed, 0 removed
    note: own.log: would write date=2024-07-24: 1 row added, 0 changed, 0 removed
    ");
}

/// A log whose entries have a key, and an entry of the first week that is dated anew in the last.
#[test]
fn every_partition_that_a_run_changes_is_one_that_its_plan_names() {
    let is_later = std::sync::Arc::new(AtomicBool::new(false));
    let asked = std::sync::Arc::clone(&is_later);
    let server = Server::start(move |request| {
        let moved = if asked.load(SeqCst) { "2024-07-24" } else { "2024-07-02" };
        let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
        let days = [(1, moved), (2, "2024-07-10"), (3, "2024-07-23")];
        let days = days.into_iter().filter(|it| (from..=to).contains(&it.1));
        Response::json(&days.map(|(id, day)| json!({ "id": id, "day": day, "hours": 8 })).collect())
    });
    let standing = ["date=2024-07-02", "date=2024-07-10", "date=2024-07-23"];
    let moves = ["date=2024-07-02", "date=2024-07-24"];
    let all = [&standing[..], &moves[1..]].concat();
    // What is told of the partitions that stand (nothing: it may be any), and what the run then writes.
    for (key, option, told, written) in [
        ("[id]", &[][..], None, &moves[..]),
        ("[id, day]", &[], Some(&standing[2..]), &moves[1..]),
        ("[id, day]", &["--full-refresh"], None, &moves[..]),
        ("[id]", &["--rewrite"], Some(&standing[..]), &all[..]),
        ("[id, day]", &["--rewrite"], Some(&standing[..]), &all[..]),
        ("[id, day]", &["--format", "parquet", "--format", "csv"], Some(&standing[..]), &all[..]),
    ] {
        is_later.store(false, SeqCst);
        let workspace = Workspace::new();
        let yaml = format!(
            "{}destination: {{ path: output, formats: {{ parquet: {{}} }} }}\n",
            file(&server)
        )
        .replace(
            "replace: { scope: slice, by",
            &format!("replace: {{ scope: slice, key: {key}, by"),
        )
        .replace("      hours:", "      id: { from: id, type: int64 }\n      hours:");
        let options: Vec<&str> = [&["--stream", "log"], option].concat();
        let ended = workspace.run(&yaml, &["--stream", "log"], &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        is_later.store(true, SeqCst);

        let plan = plan(&workspace, &yaml, &[&["--json"], &options[..]].concat()).report();
        let ran = workspace.run(&yaml, &options, &[]);

        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let planned = &plan["streams"][0];
        assert_eq!(planned["partitions"], json!(told), "{key} {option:?}");
        let changed = &ran.report()["streams"][0]["changed"];
        assert_eq!(changed, &json!(written), "{key} {option:?}");
    }
}

#[test]
fn a_plan_refuses_what_its_run_refuses() {
    let (_server, workspace, yaml) = after_a_night();
    let refused = |name: &str, yaml: &str| {
        let ended = Ended::of(&workspace.subcommand(name, yaml, &[]).output().unwrap());
        assert_eq!(ended.code, Some(6), "{name}: {}", ended.stderr);
        ended.stderr
    };
    for (from, to) in [
        ("hours: { from: hours, type: int64 }", "hours: { from: hours, type: string }"),
        ("      hours: { from: hours, type: int64 }\n", ""),
        ("partition_by: { column: changed }", "partition_by: { column: changed, unit: month }"),
    ] {
        let other = yaml.replace(from, to);
        assert_ne!(other, yaml);
        let files = kept(&workspace);

        let said = refused("plan", &other);
        assert!(files == kept(&workspace));
        assert_eq!(said, refused("run", &other));
    }
}

/// Leaves the journal record of a commit that is done but for its end.
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn leave_a_record(workspace: &Workspace) {
    let manifest = &workspace.files()["_tracklake/own/manifests/log.json"];
    let mut manifest: Value = serde_json::from_slice(manifest).unwrap();
    manifest["run"] = json!("killed");
    let record =
        json!({ "version": 1, "files_in": [], "files_out": [], "manifest": manifest }).to_string();
    let path = workspace.output().join("_tracklake/own/journal/log.json");
    std::fs::write(path, record).unwrap();
}

#[test]
fn a_plan_names_the_commit_that_its_run_finishes_first() {
    let (_server, workspace, yaml) = after_a_night();
    leave_a_record(&workspace);

    let shown = plan(&workspace, &yaml, &["--stream", "log"]).stdout;
    let report = plan(&workspace, &yaml, &["--stream", "log", "--json"]).report();

    let said = "\n  log: the commit of run killed would be finished first; what follows is told without it\n";
    assert!(shown.contains(said), "{shown}");
    assert_eq!(report["unapplied"], json!([{ "stream": "log", "run": "killed" }]));
}

/// Of four weeks two are read when the run is stopped.
#[test]
fn a_plan_names_the_run_that_is_gone_on_from_and_has_its_windows() {
    let pid = std::sync::Arc::<OnceLock<u32>>::default();
    let is_over = std::sync::Arc::<OnceLock<()>>::default();
    let (known, over) = (std::sync::Arc::clone(&pid), std::sync::Arc::clone(&is_over));
    let server = Server::start(move |request| {
        if request.param("from") == Some("2024-07-08") {
            let sent = Command::new("kill").args(["-TERM", &known.wait().to_string()]).status();
            assert!(sent.unwrap().success());
        } else if request.param("from") > Some("2024-07-08") {
            // The signal may be heard only after this was asked; then nobody hears the answer.
            over.wait();
        }
        Response::json(&json!([{ "day": request.param("from"), "hours": 8 }]))
    });
    let (workspace, yaml) = (Workspace::new(), file(&server));
    let child = workspace.command(&yaml, &["--stream", "log"]).spawn().unwrap();
    pid.set(child.id()).unwrap();
    assert_eq!(Ended::of(&child.wait_with_output().unwrap()).code, Some(130));
    is_over.set(()).unwrap();
    let planned = |now: &str| {
        let mut command = workspace.subcommand("plan", &yaml, &["--stream", "log", "--json"]);
        Ended::of(&command.env("TRACKLAKE_NOW", now).output().unwrap()).report()
    };

    // The next day: windows reach to the first run's clock where it is gone on from.
    let (soon, late) = (planned("2024-07-26T00:00:00Z"), planned("2024-07-26T00:00:01Z"));

    assert_eq!(soon["goes_on"]["began"], "2024-07-25T12:00:00Z");
    assert_eq!(soon["goes_on"]["streams"], json!(["log"]));
    assert_eq!(soon["streams"][0]["slices"][3], "2024-07-22..2024-07-25");
    assert_eq!(late["goes_on"], Value::Null);
    assert_eq!(late["streams"][0]["slices"][3], "2024-07-22..2024-07-26");
    let shown = plan(&workspace, &yaml, &["--stream", "log"]).stdout;
    let line = shown.lines().nth(1).unwrap();
    let (said, kept) = line.split_once(", without reading again what it has kept: ").unwrap();
    assert_eq!(said, "  would go on from the run of 2024-07-25T12:00:00Z");
    assert!(kept.ends_with("B of `log`"), "{kept}");
    let asked = server.lines().len();
    let ran = workspace.run(&yaml, &["--stream", "log"], &[]);
    assert_eq!((ran.code, server.lines().len() - asked), (Some(0), 2), "{}", ran.stderr);
}

#[test]
fn a_plan_that_fetches_says_which_commit_it_has_finished_first() {
    for args in [&["--fetch", "--stream", "log"][..], &["--fetch", "--stream", "log", "--json"]] {
        let (_server, workspace, yaml) = after_a_night();
        leave_a_record(&workspace);

        let ended = plan(&workspace, &yaml, args);

        assert!(ended.stderr.contains("the commit of run killed was finished first"), "{ended:?}");
        if args.contains(&"--json") {
            let finished = json!([{ "stream": "log", "run": "killed" }]);
            assert_eq!(ended.report()["finished_commits"], finished);
        } else {
            let note = "\nnote: own.log: the commit of run killed was finished first\n";
            assert!(ended.stdout.contains(note), "{}", ended.stdout);
        }
        let manifest = &workspace.files()["_tracklake/own/manifests/log.json"];
        assert!(String::from_utf8_lossy(manifest).contains("\"killed\""), "it is visible");
        assert_eq!(
            plan(&workspace, &yaml, &["--fetch", "--json"]).report()["finished_commits"],
            json!([])
        );
    }
}

#[test]
fn a_plan_that_fetches_shows_the_first_record_that_does_not_fit() {
    let server = Server::start(|request| {
        let hours = if request.param("from") == Some("2024-07-01") { "many" } else { "8" };
        Response::json(&json!([{ "day": request.param("from"), "hours": hours }]))
    });
    let (workspace, yaml) = (Workspace::new(), file(&server));
    let args = ["--fetch", "--stream", "log"];

    let ended = Ended::of(&workspace.subcommand("plan", &yaml, &args).output().unwrap());

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let notes: Vec<&str> = ended.stdout.lines().filter(|it| it.contains("fit")).collect();
    assert_snapshot!(
        notes.join("\n"),
        @r#"note: own.log: 1 record did not fit, first: column `hours`: expected int64, found "many""#
    );
    let left: Vec<String> = workspace.files().into_keys().collect();
    assert_eq!(left, ["_tracklake/own/lock"]);
    assert!(!workspace.output().join("_tracklake/own/staging").exists());
}
