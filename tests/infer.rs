//! Seven APIs that the program has never seen: what `infer` proposes for a page of each is kept
//! beside it in `tests/infer`, and is exported as it is from a server that serves the page.
//!
//! To accept a change of what is proposed: `UPDATE=1 cargo test --test infer`.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use support::{
    cli::{Ended, Row, Workspace},
    server::{Response, Server},
};

fn sample(api: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/infer/{api}.{extension}"))
}

/// Runs the program in the workspace, alone with its arguments.
fn tracklake(workspace: &Workspace, args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command.current_dir(workspace.path()).args(args).env_clear();
    Ended::of(&command.output().unwrap())
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn check_proposal(api: &str) {
    let workspace = Workspace::new();
    let page = sample(api, "json");

    let ended = tracklake(&workspace, &["infer", "--from", page.to_str().unwrap()]);

    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let kept = sample(api, "yaml");
    if env::var_os("UPDATE").is_some() {
        fs::write(&kept, &ended.stdout).unwrap();
    }
    let expected = fs::read_to_string(&kept).unwrap();
    assert_eq!(ended.stdout, expected, "look at it, then run `UPDATE=1 cargo test --test infer`");
}

#[test]
fn what_is_proposed_for_seven_apis_is_what_a_person_has_read() {
    for api in ["by_id", "github", "in_text", "openproject", "redmine", "tempo", "youtrack"] {
        check_proposal(api);
    }
}

/// Writes a pipeline around what is proposed, checks it, and exports the page that a server sends.
#[track_caller]
fn export(api: &str, path: &str, stream: &str, args: &[&str]) -> (Vec<Row>, Vec<String>) {
    let body = fs::read_to_string(sample(api, "json")).unwrap();
    let server = Server::start(move |request| match request.param("offset") {
        // What the page of Tempo leads to.
        Some("3") => Response::json(&json!({"results": []})),
        _ => Response::text(200, body.replace("https://api.tempo.io", &request.origin())),
    });
    let workspace = Workspace::new();
    let (url, page) = (server.url() + path, sample(api, "json"));
    let init = ["init", "own", "--url", &url, "--from", page.to_str().unwrap()];

    for step in [&[&init[..], args].concat()[..], &["check", "own"], &["run", "own"]] {
        let ended = tracklake(&workspace, step);
        assert_eq!(ended.code, Some(0), "{step:?}: {}{}", ended.stdout, ended.stderr);
    }

    assert!(!workspace.files().keys().any(|it| it.starts_with("quarantine/")));
    (workspace.rows(stream), server.lines())
}

/// The cells of a row, by their columns.
#[track_caller]
fn check_cells(row: &Row, expected: &[(&str, Value)]) {
    for (column, value) in expected {
        assert_eq!(row.get(*column), Some(value), "{column} of {row:?}");
    }
}

#[test]
fn worklogs_of_tempo_are_exported_as_proposed() {
    let (rows, requests) = export("tempo", "/4/worklogs?from=2024-07-01", "worklogs", &[]);

    assert_eq!(requests, ["GET /4/worklogs?from=2024-07-01", "GET /4/worklogs?offset=3&limit=3"]);
    assert_eq!(rows.len(), 3);
    check_cells(
        &rows[0],
        &[
            ("date", json!("2024-07-25")),
            ("tempo_worklog_id", json!(126)),
            ("issue_id", json!(10005)),
            ("time_spent_seconds", json!(3600)),
            ("start_date", json!("2024-07-25")),
            ("start_time", json!("20:06:00")),
            ("created_at", json!("2024-07-25T16:41:41Z")),
            ("author_account_id", json!("1111aaaa")),
            ("attributes_values", json!(r#"[{"key":"_Ext_","value":"1"}]"#)),
            ("_extra", Value::Null),
        ],
    );
}

/// An API whose records have no id of their own, and whose pages lead to each other.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn no_row_is_lost_where_nobody_corrects_what_is_proposed() {
    let page = |n: usize| {
        let record =
            |it: usize| json!({"date": "2024-07-25", "user": {"id": 1000 + it % 7}, "n": it});
        let records: Vec<Value> = (n * 50 - 50..n * 50).map(record).collect();
        let next = (n < 5).then(|| format!("?page={}", n + 1));
        json!({"count": 250, "next": next, "data": records})
    };
    let server = Server::start(move |request| Response::json(&page(request.number("page").max(1))));
    let workspace = Workspace::new();
    let sample = workspace.path().join("page.json");
    fs::write(&sample, page(1).to_string()).unwrap();
    let url = server.url() + "/entries";

    for step in
        [&["init", "own", "--url", &url, "--from", sample.to_str().unwrap()][..], &["run", "own"]]
    {
        let ended = tracklake(&workspace, step);
        assert_eq!(ended.code, Some(0), "{step:?}: {}{}", ended.stdout, ended.stderr);
    }

    let mut found: Vec<Value> =
        workspace.rows("entries").iter().map(|it| it["n"].clone()).collect();
    found.sort_by_key(Value::as_u64);
    assert_eq!(found, (0..250).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn events_of_github_are_exported_as_proposed() {
    let (rows, _) = export("github", "/repos/acme/ops/issues/events", "events", &[]);

    assert_eq!(rows.len(), 9);
    check_cells(
        &rows[3],
        &[
            ("date", json!("2024-07-26")),
            ("id", json!(13_250_004)),
            ("event", json!("closed")),
            ("actor_login", json!("anna")),
            ("label_name", Value::Null),
            ("commit_id", json!("6dcb09b5b57875f334f61aebed695e2e4193db5e")),
            ("created_at", json!("2024-07-26T08:00:00Z")),
        ],
    );
}

#[test]
fn time_entries_of_redmine_are_exported_as_proposed() {
    let (rows, _) = export("redmine", "/time_entries.json", "time_entries", &[]);

    assert_eq!(rows.len(), 2);
    check_cells(
        &rows[1],
        &[
            ("date", json!("2024-07-26")),
            ("id", json!(502)),
            ("issue_id", Value::Null),
            ("hours", json!(0.5)),
            ("comments", json!("")),
            ("updated_on", json!("2024-07-28T10:00:00Z")),
        ],
    );
}

#[test]
fn an_array_that_a_person_wants_exploded_gives_a_row_an_element() {
    let args = ["--explode", "custom_fields"];
    let (rows, _) = export("redmine", "/time_entries.json", "time_entries", &args);

    let cells =
        |row: &Row| ["id", "custom_fields_id", "custom_fields_value"].map(|it| row[it].clone());
    let mut found: Vec<[Value; 3]> = rows.iter().map(cells).collect();
    found.sort_by_key(|it| it.clone().map(|it| it.to_string()));
    let expected = [
        [json!(501), json!(3), json!("\"1\"")],
        [json!(501), json!(4), json!(r#"["night","urgent"]"#)],
        [json!(502), json!(3), json!("\"0\"")],
    ];
    assert_eq!(found, expected);
}

#[test]
fn work_items_of_youtrack_are_exported_as_proposed() {
    let (rows, _) = export("youtrack", "/api/workItems", "work_items", &[]);

    assert_eq!(rows.len(), 2);
    check_cells(
        &rows[1],
        &[
            ("day", json!("2024-07-26")),
            ("id", json!("115-2")),
            ("date", json!("2024-07-26T00:00:00Z")),
            ("created", json!("2024-07-26T09:42:06Z")),
            ("duration_minutes", json!(1440)),
            ("duration_presentation", json!("3d")),
            ("duration_presentation_seconds", json!(3 * 8 * 3600)),
            ("uses_markdown", json!(true)),
            ("type_name", Value::Null),
        ],
    );
}

#[test]
fn time_entries_of_openproject_are_exported_as_proposed() {
    let args = ["--zone", "Europe/Berlin"];
    let (rows, _) = export("openproject", "/api/v3/time_entries", "time_entries", &args);

    assert_eq!(rows.len(), 2);
    check_cells(
        &rows[0],
        &[
            ("date", json!("2024-07-25")),
            ("id", json!(1)),
            ("hours", json!("PT5H")),
            ("hours_seconds", json!(5 * 3600)),
            ("created_at", json!("2024-07-25T09:42:06.258Z")),
            // Two hours ahead of UTC in summer.
            ("custom_field2", json!("2024-07-25T06:00:00Z")),
            ("links_user_title", json!("Li Wei")),
        ],
    );
}

#[test]
fn records_by_their_id_are_exported_as_proposed() {
    let (rows, _) = export("by_id", "/v2/entries", "entries", &[]);

    assert_eq!(rows.len(), 3);
    check_cells(
        &rows[0],
        &[
            ("date", json!("2024-07-25")),
            ("key", json!("te_000")),
            ("subject_key", json!("OPS-0")),
            ("worker_display_name", json!("Ann")),
            ("started_at", json!("2024-07-25T09:33:20Z")),
            ("spent_seconds", json!(90 * 60)),
            ("payload", json!(r#"{"client": "acme", "tags": ["a"]}"#)),
            ("approvals", json!(r#"{"201":{"state":"open"},"202":{"state":"done"}}"#)),
        ],
    );
}

#[test]
fn records_in_a_text_are_exported_as_proposed() {
    let (rows, _) = export("in_text", "/v2/entries", "entries", &[]);

    let cells = |row: &Row| ["entry_id", "spent_seconds"].map(|it| row[it].clone());
    let found: Vec<[Value; 2]> = rows.iter().map(cells).collect();
    let day = 24 * 3600;
    assert_eq!(
        found,
        [
            [json!("te_000"), json!(90 * 60)],
            [json!("te_001"), json!(day)],
            [json!("te_002"), json!(45 * 60)]
        ]
    );
}

/// What `infer` says of a stream whose file says this of its records.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn proposed_of_stream(page: Value, records: &str) -> String {
    let server = Server::start(move |_| Response::json(&page));
    let workspace = Workspace::new();
    let file = format!(
        "version: 1
pipeline: own
source: {{ base_url: {}, auth: none }}
streams:
  entries:
    request: {{ path: /entries }}
    records: {records}
    columns: {{ at: {{ from: at, type: timestamp }} }}
    partition_by: {{ column: at }}
",
        server.url()
    );
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    fs::write(workspace.path().join("pipelines/own.yaml"), file).unwrap();

    let ended = tracklake(&workspace, &["infer", "own", "entries"]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

#[test]
fn a_stream_that_reads_records_by_their_id_is_looked_at_as_it_says() {
    let page = json!({ "items": { "first": { "at": "2024-07-25T09:42:06Z", "hours": 1.5 } } });

    let proposed = proposed_of_stream(page, "{ map: items }");

    assert!(proposed.contains("records: { map: items }"), "{proposed}");
    assert!(proposed.contains("{ from: hours, type: float64 }"), "{proposed}");
}

#[test]
fn a_stream_that_reads_records_in_a_text_is_looked_at_where_it_says() {
    let text = json!({
        "list": [{ "at": "2024-07-25T09:42:06Z", "hours": 1.5 }],
        "tags": [{ "name": "a" }, { "name": "b" }, { "name": "c" }],
    });
    let page = json!({ "result": text.to_string() });

    let records = "{ stringified: { path: result, records: list } }";
    let proposed = proposed_of_stream(page, records);

    assert!(proposed.contains(&format!("records: {records}")), "{proposed}");
    assert!(proposed.contains("{ from: hours, type: float64 }"), "{proposed}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn what_is_proposed_as_a_comment_passes_check_too() {
    for api in ["github", "openproject", "redmine", "tempo", "youtrack"] {
        let workspace = Workspace::new();
        let page = sample(api, "json");
        let url = "https://api.example.com/v1/entries";
        let init = ["init", "own", "--url", url, "--from", page.to_str().unwrap()];
        assert_eq!(tracklake(&workspace, &init).code, Some(0));
        let file = workspace.path().join("pipelines/own.yaml");
        let text = fs::read_to_string(&file).unwrap();

        let text = text.replace("    # paginate: ", "    paginate: ");
        // Each way to write that is a comment, instead of the one that is none.
        let ways = text.lines().filter_map(|it| it.strip_prefix("    # write: "));
        let ways: Vec<String> = ways.map(|it| format!("\n    write: {it}\n")).collect();
        assert!(!ways.is_empty() && text.contains("\n    paginate: "), "{text}");
        for way in ways {
            let text = text.replace("\n    write: { replace: all }\n", &way);
            fs::write(&file, &text).unwrap();
            let ended = tracklake(&workspace, &["check", "own"]);
            assert!(text.contains(&way), "{text}");
            assert_eq!(ended.code, Some(0), "{}\n{text}", ended.stderr);
        }
    }
}

/// What a newcomer opens first: the whole file, as docs/pipelines.md shows it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn the_file_around_what_is_proposed_is_what_a_person_has_read() {
    let workspace = Workspace::new();
    let (page, kept) = (sample("redmine", "json"), sample("redmine", "pipeline.yaml"));
    let url = "http://127.0.0.1:8000/time_entries.json?from=2024-07-01";
    let init = ["init", "team_hours", "--url", url, "--from", page.to_str().unwrap()];

    let ended = tracklake(&workspace, &init);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let file = workspace.path().join("pipelines/team_hours.yaml");
    let written = fs::read_to_string(file).unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(&kept, &written).unwrap();
    }
    assert_eq!(written, fs::read_to_string(kept).unwrap());
    let (_, stream) = written.split_once("\nstreams:\n").unwrap();
    let (stream, _) = stream.split_once("\ndestination:").unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipelines.md");
    assert!(fs::read_to_string(page).unwrap().contains(stream), "the page shows another one");
}

/// A log-in, a window and paging are as in a run; nothing is written.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn the_first_page_of_a_stream_is_asked_for_as_a_run_asks() {
    let page = fs::read_to_string(sample("redmine", "json")).unwrap();
    let empty = json!({"time_entries": [], "total_count": 0, "offset": 0, "limit": 25});
    let server = Server::start(move |request| match request.param("from") {
        Some("2024-07-15") => Response::text(200, page.clone()),
        _ => Response::json(&empty),
    });
    let workspace = Workspace::new();
    let yaml = r#"
version: 1
pipeline: own
vars: { token: { env: OWN_TOKEN, secret: true } }
source:
  base_url: "URL"
  auth: { bearer: { token: "{{ vars.token }}" } }
streams:
  entries:
    request: { path: /time_entries.json }
    slices: { window: { from: 2024-07-01, step: 7d, format: date, start_param: from, end_param: to } }
    records: wrong
    paginate: { offset: { size_param: limit, size: 2, total: total_count } }
    columns: { id: { from: id, type: int64 }, day: { from: spent_on, type: date } }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
  details:
    request: { path: "/time_entries/{{ parent.id }}.json" }
    slices: { parent: { stream: entries, bind: { id: id } } }
    columns: { id: { from: id, type: int64 }, day: { from: spent_on, type: date } }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
"#;
    let yaml = yaml.replace("URL", &server.url());
    fs::write(workspace.path().join("own.yaml"), yaml).unwrap();
    let infer = |stream: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        command.current_dir(workspace.path()).args(["infer", "own.yaml", stream]).env_clear();
        command.env("OWN_TOKEN", "s3cret").env("TRACKLAKE_NOW", "2024-07-25T12:00:00Z");
        Ended::of(&command.output().unwrap())
    };

    let (found, child, unknown) = (infer("entries"), infer("details"), infer("entrys"));

    let proposed = fs::read_to_string(sample("redmine", "yaml")).unwrap();
    assert_eq!((found.code, &*found.stderr, &*found.stdout), (Some(0), "", &*proposed));
    assert_eq!((child.code, unknown.code), (Some(2), Some(3)), "{}", child.stderr);
    assert_eq!(
        server.lines(),
        [
            "GET /time_entries.json?from=2024-07-22&to=2024-07-25&offset=0&limit=2",
            "GET /time_entries.json?from=2024-07-15&to=2024-07-21&offset=0&limit=2",
        ]
    );
    assert!(server.requests().iter().all(|it| it.header("authorization") == "Bearer s3cret"));
    assert!(workspace.files().is_empty());
}

#[test]
fn a_page_comes_from_the_standard_input_as_from_a_file() {
    let workspace = Workspace::new();
    let page = sample("redmine", "json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command.args(["infer", "--from", "-"]).stdin(fs::File::open(page).unwrap());

    let ended = Ended::of(&command.current_dir(workspace.path()).output().unwrap());

    assert_eq!(ended.stdout, fs::read_to_string(sample("redmine", "yaml")).unwrap());
}

#[test]
fn a_pipeline_file_that_is_there_is_replaced_by_force_only() {
    let workspace = Workspace::new();
    let file = workspace.path().join("pipelines/own.yaml");
    assert_eq!(tracklake(&workspace, &["init", "own"]).code, Some(0));
    let first = fs::read_to_string(&file).unwrap();

    let url = "https://time.example.com/v1/logs";
    let refused = tracklake(&workspace, &["init", "own", "--url", url]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), first);

    let forced = tracklake(&workspace, &["init", "own", "--url", url, "--force"]);
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert!(fs::read_to_string(&file).unwrap().contains("https://time.example.com"));
}

#[test]
fn a_credential_in_the_url_is_neither_written_nor_shown() {
    let workspace = Workspace::new();

    let url = "https://time.example.com/v1/logs?X-Api-Key=s3cret&limit=10";
    let written = tracklake(&workspace, &["init", "own", "--url", url]);
    let refused =
        tracklake(&workspace, &["init", "other", "--url", "https://me:s3cret@example.com/"]);

    let text = fs::read_to_string(workspace.path().join("pipelines/own.yaml")).unwrap();
    assert!(
        text.contains(
            "api_key: { place: query, name: \"X-Api-Key\", value: \"{{ vars.token }}\" }"
        )
    );
    assert_eq!((written.code, refused.code), (Some(0), Some(2)));
    let shown = [written.stdout, written.stderr, refused.stdout, refused.stderr, text].concat();
    assert!(!shown.contains("s3cret"), "{shown}");
}
