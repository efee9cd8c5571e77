//! `pull` and `preview` against small servers: what is asked, what is written, and what is left alone.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod previews;
mod readers;
mod rejects;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, NOW, Workspace},
    server::{Request, Response, Server},
};

/// A command in a directory of its own, with nothing set but `env`.
fn command(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("TRACKLAKE_NOW", NOW)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn tracklake(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Ended {
    Ended::of(&command(dir, args, env).output().unwrap())
}

/// All names below a directory, with the bytes of files.
fn everything(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
        let name = path.display().to_string();
        if path.is_dir() {
            found.insert(name, Vec::new());
            found.extend(everything(&path));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

const TRACKER: &[(&str, &str)] =
    &[("YANDEX_TRACKER_TOKEN", "t0ken"), ("YANDEX_TRACKER_ORG_ID", "7")];

/// Worklogs 1 to `last` of an issue, as many a page as asked for, after the record `id`.
fn worklogs(last: usize) -> impl Fn(&Request) -> Response + Send + Sync {
    move |request| {
        if !request.path.ends_with("/TEST-324/worklog") {
            return Response::status(404, &json!({}));
        }
        let (after, size) = (request.number("id"), request.number("perPage"));
        let record = |id: usize| {
            json!({
                "id": id,
                "issue": {"id": "6033", "key": "TEST-324"},
                "createdAt": "2024-07-24T09:00:00.000+0000",
                "start": "2024-07-24T08:00:00.000+0000",
                "duration": "P1DT2H",
            })
        };
        Response::json(&(after + 1..=last).take(size).map(record).collect())
    }
}

fn tracker_env(server: &Server) -> Vec<(&'static str, String)> {
    let mut env: Vec<_> = TRACKER.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    env.push(("YANDEX_TRACKER_URL", server.url()));
    env
}

fn pull_with(dir: &Path, args: &[&str], env: &[(&'static str, String)]) -> Ended {
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
    tracklake(dir, args, &env)
}

#[test]
fn the_worklog_of_one_issue_is_one_chain_of_requests() {
    let server = Server::start(worklogs(102));
    let dir = tempfile::tempdir().unwrap();

    let args = ["pull", "yandex_tracker", "worklogs", "--set", "issue=TEST-324", "-o", "-"];
    let args = [&args[..], &["--format", "csv", "--columns", "id,start,duration_seconds"]].concat();
    let ended = pull_with(dir.path(), &args, &tracker_env(&server));

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 103);
    assert_eq!(lines[0], "id,start,duration_seconds");
    assert_eq!(lines[1], "1,2024-07-24T08:00:00.000000Z,36000");
    assert_eq!(lines[102], "102,2024-07-24T08:00:00.000000Z,36000");
    let expected = ["perPage=100", "id=100&perPage=100", "id=102&perPage=100"]
        .map(|it| format!("GET /v3/issues/TEST-324/worklog?{it}"));
    assert_eq!(server.lines(), expected);
    assert!(everything(dir.path()).is_empty(), "nothing is left behind");
}

#[test]
fn a_variable_that_is_only_named_has_its_value_in_the_environment() {
    let server = Server::start(worklogs(1));
    let dir = tempfile::tempdir().unwrap();
    let args = ["pull", "yandex_tracker", "worklogs", "--set", "issue", "--columns", "id"];
    let mut env = tracker_env(&server);

    let unset = pull_with(dir.path(), &args, &env);
    env.push(("TRACKLAKE_VAR_issue", "TEST-324".to_owned()));
    let ended = pull_with(dir.path(), &args, &env);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "id\n1\n"), "{ended:?}");
    assert_eq!(unset.code, Some(2));
    let said = "expected NAME=VALUE, or a value in the environment as TRACKLAKE_VAR_issue";
    assert!(unset.stderr.contains(said), "{unset:?}");
}

#[test]
fn an_arrow_stream_begins_before_the_first_answer() {
    let (asked, answer) = std::sync::mpsc::channel::<()>();
    let answer = std::sync::Mutex::new(answer);
    let server = Server::start(move |request| {
        // Until the schema has come.
        let _ = answer.lock().unwrap().recv();
        worklogs(0)(request)
    });
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["pull", "yandex_tracker", "worklogs", "--set", "issue=TEST-324", "--format", "arrow"];
    let url = server.url();
    let env = [TRACKER, &[("YANDEX_TRACKER_URL", url.as_str())]].concat();
    let mut child = command(dir.path(), &args, &env).spawn().unwrap();

    let rows =
        arrow::ipc::reader::StreamReader::try_new(child.stdout.take().unwrap(), None).unwrap();
    assert_eq!(rows.schema().field(0).name(), "id");
    drop(asked);

    assert_eq!(rows.count(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_issue_that_is_not_there_is_an_error() {
    let server = Server::start(worklogs(1));
    let dir = tempfile::tempdir().unwrap();

    let args = ["pull", "yandex_tracker", "worklogs", "--set", "issue=NO-1"];
    let ended = pull_with(dir.path(), &args, &tracker_env(&server));

    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("`NO-1`; the rows are not complete"), "{}", ended.stderr);
    assert!(ended.stderr.contains("/v3/issues/NO-1/worklog` answers with status 404"), "{ended:?}");
}

#[test]
fn the_history_of_one_work_item_is_one_chain_of_requests() {
    let details = json!([{"id": 5, "journal_id": 9, "name": "status", "operation": "set"}]);
    let server = Server::start(move |_| {
        let record = json!({"id": 3, "created_on": 1_721_900_000_000_i64, "details": details});
        Response::json(
            &json!({"status": "success", "result": {"record": [record], "journals_total": 1}}),
        )
    });
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("CODEARTS_URL", server.url()),
        ("CODEARTS_TOKEN", "t0ken".to_owned()),
        ("CODEARTS_PROJECT_ID", "p1".to_owned()),
    ];

    let args = ["pull", "codearts_req", "history", "--set", "issue=41", "--format", "jsonl"];
    let args =
        [&args[..], &["--columns", "project_id,issue_id,created_on,detail_id,notes"]].concat();
    let ended = pull_with(dir.path(), &args, &env);

    let row = r#"{"project_id":"p1","issue_id":41,"created_on":"2024-07-25T09:33:20.000000Z","detail_id":5,"notes":null}"#;
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("{row}\n")), "{}", ended.stderr);
    let path = "GET /v2/issues/get-record";
    let query = "project_id=p1&issue_id=41&type=scrum&limit=100&offset=0";
    assert_eq!(sorted(&server.lines()[0]), sorted(&format!("{path}?{query}")));
    assert_eq!(server.lines().len(), 1);
}

/// A request line with its parameters in an order of their own.
fn sorted(line: &str) -> Vec<String> {
    let mut parts: Vec<String> = line.split(['?', '&']).map(str::to_owned).collect();
    parts.sort();
    parts
}

#[test]
fn the_timesheets_of_one_issue_and_day_are_one_request_each() {
    let server = Server::start(|_| {
        Response::json(&json!({"total": 0, "isLast": true, "startAt": 0, "values": []}))
    });
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("JIRA_URL", server.url()),
        ("JIRA_TOKEN", "t0ken".to_owned()),
        ("JIRA_ZONE", "UTC".to_owned()),
    ];
    let day = ["--set", "issue=OPS-7", "--since", "2024-07-24", "--until", "2024-07-24"];

    for stream in ["audit_log", "worklogs"] {
        let args = [&["pull", "jira_timesheet", stream][..], &day[..]].concat();
        let ended = pull_with(dir.path(), &args, &env);
        assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{ended:?}");
    }

    let (logs, audits): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|it| it.path.ends_with("/worklog/search"));
    let mut modes: Vec<&str> = audits.iter().filter_map(|it| it.param("mode")).collect();
    modes.sort_unstable();
    assert_eq!(modes, ["audit", "revoke-audit", "revoke-view", "view"]);
    assert!(audits.iter().all(|it| it.param("issueKeys") == Some("OPS-7")));
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].json()["issueKey"], "OPS-7");
}

/// Items with or without a parent: `items` are the records of every page in turn.
fn pipeline(server: &Server, stream: &str) -> String {
    format!(
        "
version: 1
pipeline: own
vars: {{ key: {{ env: OWN_KEY, default: k3y-of-mine, secret: true }}, box: {{ default: '' }} }}
source:
  base_url: '{}'
  auth: {{ api_key: {{ place: query, name: key, value: '{{{{ vars.key }}}}' }} }}
  headers: {{ X-Key: '{{{{ vars.key }}}}' }}
  limits: {{ requests_per_second: 10000 }}
  retry: {{ max_attempts: 1 }}
streams:
{stream}
destination: {{ path: output }}
",
        server.url()
    )
}

const ITEMS: &str = "
  items:
    request: { path: /items }
    records: items
    paginate: { page: { param: page, size_param: size, size: 3, more: more } }
    columns:
      id: { from: id, type: int64 }
      name: { from: name, type: string }
      day: { from: day, type: date }
      at: { from: at, type: timestamp }
    write: { append: { key: [id] } }
    partition_by: { column: day }
";

/// `pages` pages of three records.
fn items(pages: usize) -> impl Fn(&Request) -> Response + Send + Sync {
    move |request| {
        let page = request.number("page").max(1);
        let record = |at: usize| json!({"id": page * 3 + at, "name": "工".repeat(30), "day": "2024-07-25", "at": "2024-07-25T10:00:00Z"});
        let records: Vec<Value> = (0..3).map(record).collect();
        Response::json(&json!({"items": records, "more": page < pages}))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn file(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

/// A directory with `own.yaml`, and the names in it.
fn own(server: &Server, stream: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "own.yaml", &pipeline(server, stream));
    dir
}

#[test]
fn no_more_is_asked_than_the_limit_needs() {
    let server = Server::start(items(1000));
    let dir = own(&server, ITEMS);

    let args = ["pull", "own.yaml", "items", "--limit", "5", "--columns", "id"];
    let ended = tracklake(dir.path(), &args, &[]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "id\n3\n4\n5\n6\n7\n"), "{ended:?}");
    let expected = [1, 2].map(|it| format!("GET /items?page={it}&size=3&key=k3y-of-mine"));
    assert_eq!(server.lines(), expected);
}

#[test]
fn a_run_at_work_is_not_in_the_way_and_its_dataset_stays_as_it_is() {
    let server = Server::start(items(2));
    let dir = own(&server, ITEMS);
    let ended = tracklake(dir.path(), &["run", "own.yaml", "--json"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lock = File::options().write(true).open(dir.path().join("output/_tracklake/own/lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let before = everything(dir.path());

    let refused = tracklake(dir.path(), &["run", "own.yaml"], &[]);
    assert_eq!(refused.code, Some(6), "the lock is held: {}", refused.stderr);
    let pulled = tracklake(dir.path(), &["pull", "own.yaml", "items"], &[]);
    let shown = tracklake(dir.path(), &["preview", "own.yaml"], &[]);

    assert_eq!((pulled.code, pulled.stdout.lines().count()), (Some(0), 7), "{}", pulled.stderr);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(everything(dir.path()), before);
}

/// Every `nth` of 20 records has an id that is none.
fn misfits(nth: usize) -> impl Fn(&Request) -> Response + Send + Sync {
    move |_| {
        let id = |at: usize| if at.is_multiple_of(nth) { json!("n/a") } else { json!(at) };
        let record = |at: usize| json!({"id": id(at), "name": "k3y-of-mine", "day": "2024-07-25"});
        Response::json(&json!({"items": (1..=20).map(record).collect::<Vec<_>>(), "more": false}))
    }
}

#[test]
fn a_record_on_two_pages_is_one_row() {
    let server = Server::start(|request| {
        let ids = if request.number("page") < 2 { [1, 2] } else { [2, 3] };
        let records: Vec<Value> = ids.map(|id| json!({"id": id, "day": "2024-07-25"})).into();
        Response::json(&json!({"items": records, "more": request.number("page") < 2}))
    });
    let dir = own(&server, ITEMS);

    let ended = tracklake(dir.path(), &["pull", "own.yaml", "items", "--columns", "id"], &[]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "id\n1\n2\n3\n"), "{ended:?}");
}

const BOXES: &str = "
  boxes:
    request: { path: /boxes }
    columns: { id: { from: id, type: int64 }, key: { from: key, type: string }, day: { from: day, type: date } }
    write: { append: { key: [id] } }
    partition_by: { column: day }
  things:
    slices: { parent: { stream: boxes, bind: { box: id, key: key }, only: { key: '{{ vars.box }}' } } }
    request: { path: '/boxes/{{ parent.key }}' }
    columns:
      box: { from: box, type: int64 }
      id: { from: id, type: int64 }
      day: { from: day, type: date }
    write: { replace: { scope: slice, key: [box, id], by: { box: parent.box } } }
    partition_by: { column: day }
";

/// Two boxes, with two things in each; what is in a box knows only the box's id.
fn boxes(request: &Request) -> Response {
    let of: Option<u64> = request.path.trim_start_matches("/boxes/K").parse().ok();
    let record =
        |id: u64| json!({"id": id, "key": format!("K{id}"), "box": of, "day": "2024-07-25"});
    Response::json(&json!([record(1), record(2)]))
}

#[test]
fn a_dataset_of_all_parents_is_not_gone_on_with_by_one_of_them() {
    let server = Server::start(boxes);
    let workspace = Workspace::new();
    let yaml = pipeline(&server, BOXES);
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));
    let before = workspace.published();

    let ended = workspace.run(&yaml, &["--set", "box=K1"], &[]);

    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("stream `things` holds rows of another request"), "{ended:?}");
    assert!(workspace.published() == before, "something was published");
    assert_eq!(workspace.rows("things").len(), 4);
}

#[test]
fn a_dataset_of_one_parent_is_exactly_what_it_has() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if asked.fetch_add(1, SeqCst) > 0 {
            Response::json(&json!([{"id": 1, "box": 1, "day": "2024-07-25"}]))
        } else {
            boxes(request)
        }
    });
    let workspace = Workspace::new();
    let yaml = pipeline(&server, BOXES);
    let args = ["--stream", "things", "--set", "box=K1"];

    let ids = |workspace: &Workspace| -> Vec<Value> {
        workspace.rows("things").iter().map(|it| json!([it["box"], it["id"]])).collect()
    };
    assert_eq!(workspace.run(&yaml, &args, &[]).code, Some(0));
    assert_eq!(ids(&workspace), [json!([1, 1]), json!([1, 2])]);
    assert_eq!(workspace.run(&yaml, &args, &[]).code, Some(0));

    assert_eq!(ids(&workspace), [json!([1, 1])]);
    assert!(server.requests().iter().all(|it| it.path == "/boxes/K1"), "{:?}", server.lines());
}

#[test]
fn what_is_read_of_a_given_parent_has_to_be_given() {
    let server = Server::start(boxes);
    let yaml = BOXES.replace("only: { key:", "only: { kye:");
    let dir = own(&server, &yaml);

    let ended = tracklake(dir.path(), &["check", "own.yaml"], &[]);

    assert_eq!(ended.code, Some(3), "{ended:?}");
    for expected in [
        "no bound value is called `kye`; there are `box`, `key`; did you mean `key`?",
        "the template names `parent.key`, but there is no `parent` here",
    ] {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }
}

/// What is asked of Tracker for issues.
fn asked_of_tracker(part: &[&str]) -> Vec<String> {
    let server = Server::start(|_| Response::json(&json!([])));
    let dir = tempfile::tempdir().unwrap();
    let args = [&["pull", "yandex_tracker", "issues"], part].concat();
    let ended = pull_with(dir.path(), &args, &tracker_env(&server));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let query = |it: &Request| it.json()["query"].as_str().unwrap().to_owned();
    server.requests().iter().map(query).collect()
}

#[test]
fn issues_of_tracker_have_an_end_where_one_is_given() {
    assert_eq!(
        asked_of_tracker(&["--since", "2024-07-01", "--until", "2024-07-10"]),
        [
            r#"Updated: >= "2024-07-01 00:00:00" AND Updated: < "2024-07-11 00:00:00" "Sort by": Updated ASC"#
        ]
    );
    // What changes while a run reads is read, too.
    assert_eq!(
        asked_of_tracker(&["--since", "2024-07-01"]),
        [r#"Updated: >= "2024-07-01 00:00:00" "Sort by": Updated ASC"#]
    );
}

#[test]
fn what_since_and_until_do_not_bound_is_said() {
    let simulated = |name: &'static str, value: &str| (name, value.to_owned());
    let env = [
        simulated("YANDEX_TRACKER_TOKEN", "t"),
        simulated("YANDEX_TRACKER_ORG_ID", "7"),
        simulated("JIRA_URL", "http://127.0.0.1:9"),
        simulated("JIRA_TOKEN", "t"),
        simulated("JIRA_ZONE", "UTC"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let part = ["--since", "2024-07-01", "--until", "2024-07-10"];

    let args = [&["plan", "yandex_tracker"][..], &part].concat();
    let ended = pull_with(dir.path(), &args, &env);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr,
        "note: yandex_tracker.worklogs: `--since` and `--until` pick rows of `issues`, and all of each is read; filter `start`
note: yandex_tracker.changelog: `--since` and `--until` pick rows of `issues`, and all of each is read; filter `updated_at`
"
    );
    let args = [&["plan", "jira_timesheet"][..], &part].concat();
    let ended = pull_with(dir.path(), &args, &env);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr,
        "note: jira_timesheet.audit_log: slices without a window are read whole: `mode=revoke-audit`, `mode=revoke-view`
"
    );

    let ended = pull_with(dir.path(), &["plan", "yandex_tracker"], &env);
    assert_eq!(ended.stderr, "", "a whole run is as the pipeline says");

    let server = Server::start(items(1));
    let dir = own(&server, ITEMS);
    for command in [&["pull", "own.yaml", "items"][..], &["preview", "own.yaml"]] {
        let args = [command, &["--since", "7d"]].concat();
        let ended = tracklake(dir.path(), &args, &[]);
        assert_eq!(ended.stderr, "note: own.items: it has no windows and is read whole\n");
        let ended = tracklake(dir.path(), &[&args[..], &["--quiet"]].concat(), &[]);
        assert_eq!(ended.stderr, "");
    }
    let windowed = ITEMS.replace(
        "records: items",
        "slices: { window: { from: 7d, format: date, start_param: from } }\n    records: items",
    );
    let dir = own(&server, &windowed);
    let args = ["pull", "own.yaml", "items", "--until", "2024-07-20", "--limit", "1"];
    let ended = tracklake(dir.path(), &args, &[]);
    assert!(ended.stderr.contains("rows after `--until` come as well; filter `day`"), "{ended:?}");
}

#[test]
fn where_logs_are_json_every_line_on_stderr_is() {
    let server = Server::start(|_| Response::status(500, &json!({})));
    let dir = own(&server, ITEMS);
    file(dir.path(), "bad.yaml", &pipeline(&server, &ITEMS.replace("type: date", "type: dat")));
    let misfits = Server::start(misfits(10));
    file(
        dir.path(),
        "misfits.yaml",
        &pipeline(&misfits, &ITEMS.replace("paginate:", "max_rejected: 50%\n    paginate:")),
    );
    for (args, code, message, hint) in [
        (&["run", "own.yaml"][..], 4, "1 of 1 slices could not be read", false),
        (&["run", "bad.yaml"], 3, "is not valid", false),
        (&["run", "nobody"], 3, "is called `nobody`", true),
        (&["run", "own.yaml", "--since", "2d", "--until", "9d"], 2, "is after", true),
        (&["run", "own.yaml", "--sinse", "2d"], 2, "unexpected argument", false),
        (&["pull", "own.yaml", "items", "--since", "2d"], 4, "not complete", false),
        (&["pull", "misfits.yaml", "items"], 7, "did not fit", false),
    ] {
        let ended = tracklake(dir.path(), &[args, &["--log", "json"]].concat(), &[]);

        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        let lines: Vec<Value> =
            ended.stderr.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        for line in &lines {
            let at = line["timestamp"].as_str().unwrap();
            assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{line}");
            assert!(["ERROR", "WARN"].contains(&line["level"].as_str().unwrap()), "{line}");
        }
        let said = |it: &&Value| it["fields"]["message"].as_str().unwrap().contains(message);
        let line = lines.iter().find(said).unwrap_or_else(|| panic!("{args:?}: {lines:?}"));
        assert_eq!(line["fields"]["hint"].is_string(), hint, "{line}");
    }
    let ended = tracklake(dir.path(), &["run", "own.yaml", "--log", "json"], &[]);
    let line: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    let causes = line["fields"]["causes"].as_array().unwrap();
    assert!(causes[0].as_str().unwrap().contains("status 500"), "{line}");
    let ended = tracklake(dir.path(), &["run", "bad.yaml", "--log", "json"], &[]);
    let line: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    let problem = line["fields"]["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("bad.yaml:") && problem.contains("dat"), "{line}");
}
