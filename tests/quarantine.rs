//! What `quarantine` says about records that did not fit.

#![expect(clippy::unwrap_used, reason = "a test's own server")]

mod support;

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

/// Three records, of which the second and the third do not fit.
fn server() -> Server {
    Server::start(|_| {
        Response::json(&json!([
            { "id": 1, "day": "2024-07-25", "hours": 8 },
            { "id": 2, "day": "2024-07-25", "hours": "many" },
            { "id": 3, "day": "2024-07-25", "hours": "few" },
        ]))
    })
}

fn file(server: &Server) -> String {
    format!(
        "version: 1
pipeline: own
source: {{ base_url: {} }}
streams:
  log:
    request: {{ path: /log }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      hours: {{ from: hours, type: int64 }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
    max_rejected: 10
",
        server.url()
    )
}

fn quarantine(workspace: &Workspace, yaml: &str, args: &[&str]) -> Ended {
    Ended::of(&workspace.subcommand("quarantine", yaml, args).output().unwrap())
}

#[test]
fn records_that_did_not_fit_are_put_together_by_why() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(7));

    let shown = quarantine(&workspace, &yaml, &[]);

    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{}", shown.stderr);
    let line = shown.stdout.lines().nth(1).unwrap();
    let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
    assert_eq!(cells[..4], ["own.log", "hours", "expected int64", "2"], "{}", shown.stdout);
    assert_eq!(cells[5], r#"{"id":2,"day":"2024-07-25","hours":"many"}"#);
    assert!(shown.stdout.contains("note: own: 2 records, whole, in `"), "{}", shown.stdout);
}

#[test]
fn each_record_comes_whole_as_json() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(7));

    let shown = quarantine(&workspace, &yaml, &["--json", "--stream", "log"]);

    let records: Vec<Value> =
        shown.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let told = |it: &Value| (it["pipeline"].clone(), it["position"].clone(), it["reason"].clone());
    assert_eq!(
        records.iter().map(told).collect::<Vec<_>>(),
        [
            (json!("own"), json!(1), json!("expected int64, found \"many\"")),
            (json!("own"), json!(2), json!("expected int64, found \"few\"")),
        ]
    );
    assert_eq!(records[1]["raw"], r#"{"id":3,"day":"2024-07-25","hours":"few"}"#);
    let of_another = quarantine(&workspace, &yaml, &["--json", "--run", "another"]);
    assert_eq!((of_another.code, of_another.stdout.as_str()), (Some(6), ""));
    let run = records[0]["run"].as_str().unwrap();
    let hint = format!("hint: there are `{run}`");
    assert!(of_another.stderr.contains("of a run `another`"), "{}", of_another.stderr);
    assert!(of_another.stderr.contains(&hint), "{}", of_another.stderr);
    let of_this = quarantine(&workspace, &yaml, &["--json", "--run", run]);
    assert_eq!((of_this.code, of_this.stdout), (Some(0), shown.stdout));
}

#[test]
fn an_empty_quarantine_is_said_and_an_unknown_stream_is_refused() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);

    let shown = quarantine(&workspace, &yaml, &[]);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "own: nothing is in quarantine\n"));

    let refused = quarantine(&workspace, &yaml, &["--stream", "lgo"]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.stderr.contains("did you mean `log`"), "{}", refused.stderr);
}
