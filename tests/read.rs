//! `plan --slices` and `read`: the slices of a stream, one by one, are the stream.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, NOW, Workspace},
    server::{Request, Response, Server},
};

/// Boxes by when they changed, in windows that share their bounds; the items of each box.
fn file(server: &Server) -> String {
    format!(
        r#"version: 1
pipeline: own
vars:
  shelf: {{ env: SHELF, default: "a" }}
source:
  base_url: {}
  limits: {{ requests_per_second: 1000, max_in_flight: 4 }}
  retry: {{ max_attempts: 1, max_delay_secs: 0.01 }}
streams:
  boxes:
    slices: {{ window: {{ from: 2024-07-01, step: 10d, format: rfc3339, start_param: from, end_param: to }} }}
    request: {{ path: /boxes, query: {{ shelf: "{{{{ vars.shelf }}}}" }} }}
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
"#,
        server.url()
    )
}

/// The third box changed where two windows meet.
const BOXES: [(u64, &str); 4] = [
    (1, "2024-07-02T00:00:00Z"),
    (2, "2024-07-10T23:59:59Z"),
    (3, "2024-07-11T00:00:00Z"),
    (4, "2024-07-24T08:00:00Z"),
];

/// Gives the boxes of a window with both of its bounds, and one item for each box.
fn answer(request: &Request) -> Response {
    if let Some(item) = request.path.strip_prefix("/boxes/") {
        let number: u64 = item.strip_suffix("/items").unwrap().parse().unwrap();
        return Response::json(&json!([{ "id": number * 10, "day": "2024-07-20" }]));
    }
    let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
    let inside = BOXES.iter().filter(|(_, changed)| from <= *changed && *changed <= to);
    Response::json(&inside.map(|(id, changed)| json!({ "id": id, "changed": changed })).collect())
}

/// A command about the test's pipeline, with lines on its standard input.
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn tracklake(workspace: &Workspace, server: &Server, command: &[&str], stdin: &str) -> Ended {
    fs::write(workspace.path().join("own.yaml"), file(server)).unwrap();
    let (name, args) = command.split_first().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracklake"))
        .current_dir(workspace.path())
        .args([name, "own.yaml"])
        .args(args)
        .env_clear()
        .env("TRACKLAKE_NOW", NOW)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Ended::of(&child.wait_with_output().unwrap())
}

fn plan(workspace: &Workspace, server: &Server, args: &[&str]) -> Value {
    let ended =
        tracklake(workspace, server, &[&["plan", "--quiet", "--slices"], args].concat(), "");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The rows of slices, a JSON text each.
fn read(workspace: &Workspace, server: &Server, stream: &str, slices: &[Value]) -> Vec<String> {
    let lines = slices.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let args = ["read", stream, "--slices", "-", "--format", "jsonl"];
    let ended = tracklake(workspace, server, &args, &lines);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_row_where_windows_meet_is_in_one_slice_only() {
    let server = Server::start(answer);
    let workspace = Workspace::new();

    let plan = plan(&workspace, &server, &["boxes"]);

    assert_eq!(
        plan["slices"],
        json!([
            { "instants": ["2024-07-01T00:00:00Z", "2024-07-11T00:00:00Z"], "before": "2024-07-11T00:00:00Z" },
            { "instants": ["2024-07-11T00:00:00Z", "2024-07-21T00:00:00Z"], "before": "2024-07-21T00:00:00Z" },
            { "instants": ["2024-07-21T00:00:00Z", "2024-07-25T12:00:00Z"], "open": true },
        ])
    );
    assert!(server.lines().is_empty(), "nobody is asked");
    let slices = plan["slices"].as_array().unwrap();
    let found: Vec<Vec<u64>> = slices
        .iter()
        .map(|it| read(&workspace, &server, "boxes", std::slice::from_ref(it)))
        .map(|rows| rows.iter().map(|it| id(it)).collect())
        .collect();
    assert_eq!(found, [vec![1, 2], vec![3], vec![4]]);
    let mut together = read(&workspace, &server, "boxes", slices);
    together.sort();
    assert_eq!(together.iter().map(|it| id(it)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(workspace.files().len(), 0, "no state, no dataset");
}

fn id(row: &str) -> u64 {
    serde_json::from_str::<Value>(row).unwrap()["id"].as_u64().unwrap()
}

#[test]
fn a_list_that_ends_at_an_instant_has_nothing_of_the_next_one() {
    let server = Server::start(answer);
    let workspace = Workspace::new();
    let boxes = |args: &[&str]| {
        let plan = plan(&workspace, &server, &[&["items"], args].concat());
        let of = |it: &Value| it["parent"]["box"].as_u64().unwrap();
        plan["slices"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };

    assert_eq!(boxes(&["--until", "2024-07-11T00:00:00Z"]), [1, 2]);
    assert_eq!(boxes(&["--since", "2024-07-11T00:00:00Z", "--until", "2024-07-24T08:00:00Z"]), [3]);
    assert_eq!(boxes(&["--since", "2024-07-24T08:00:00Z"]), [4]);
}

#[test]
fn slices_of_parents_are_read_without_their_parents() {
    let server = Server::start(answer);
    let workspace = Workspace::new();
    let plan = plan(&workspace, &server, &["items"]);
    assert_eq!(server.lines().len(), 3, "one for each window of boxes");

    let of = |number: u64| json!({ "parent": { "box": number } });
    let mut slices = plan["slices"].as_array().unwrap().clone();
    slices.sort_by_key(|it| it["parent"]["box"].as_u64());
    assert_eq!(slices, [of(1), of(2), of(3), of(4)]);

    let rows = read(&workspace, &server, "items", &slices[1..3]);

    let mut asked: Vec<String> = server.lines().split_off(3);
    asked.sort();
    assert_eq!(asked, ["GET /boxes/2/items", "GET /boxes/3/items"]);
    let mut rows: Vec<u64> = rows.iter().map(|it| id(it)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [20, 30]);
    assert_eq!(plan["key"], json!(["box", "id"]));
    let cursor =
        json!({"stream": "boxes", "column": "changed", "lookback_secs": 86400, "cuts": true});
    assert_eq!(plan["cursor"], cursor);
    assert_eq!(plan["limits"], json!({"requests_per_second": 1000.0, "max_in_flight": 4}));
    let types: Vec<_> = plan["columns"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["int64", "int64", "date32[day]", "string"]);
}

#[test]
fn slices_are_not_read_with_other_variables_than_they_were_planned_with() {
    let server = Server::start(answer);
    let workspace = Workspace::new();
    let planned = plan(&workspace, &server, &["boxes"])["plan"].as_str().unwrap().to_owned();
    let slice = plan(&workspace, &server, &["boxes"])["slices"][0].to_string();
    let args = ["read", "boxes", "--slice", &slice, "--plan", &planned];

    let same = tracklake(&workspace, &server, &args, "");
    let other = tracklake(&workspace, &server, &[&args[..], &["--set", "shelf=b"]].concat(), "");

    assert_eq!(same.code, Some(0), "{same:?}");
    assert_eq!((other.code, other.stdout.as_str()), (Some(3), ""));
    assert!(other.stderr.contains("are not those that the slices were planned with"), "{other:?}");
    assert_eq!(server.lines().len(), 1, "the other one asks nothing");
}

#[test]
fn parents_that_cannot_be_read_are_no_shorter_list() {
    let server = Server::start(|request| match request.param("from") {
        Some("2024-07-11T00:00:00Z") => Response::status(500, &json!({})),
        _ => answer(request),
    });
    let workspace = Workspace::new();

    let ended = tracklake(&workspace, &server, &["plan", "--slices", "items"], "");

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""), "{ended:?}");
    assert!(ended.stderr.contains("stream `boxes`: 1 of 3 slices could not be read"), "{ended:?}");
}

#[test]
fn parents_that_do_not_fit_are_told() {
    let odd = |count: u64| {
        let server = Server::start(move |_| {
            let row = |it| json!({"id": if it < count { json!("x") } else { json!(it) }, "changed": "2024-07-02T00:00:00Z"});
            Response::json(&(0..20).map(row).collect())
        });
        tracklake(
            &Workspace::new(),
            &server,
            &["plan", "--slices", "items", "--until", "2024-07-10"],
            "",
        )
    };

    let few = odd(1);
    assert_eq!(few.code, Some(7), "{few:?}");
    assert!(
        few.stderr.contains("note: boxes: 1 record of 20 did not fit and have no slice"),
        "{few:?}"
    );
    let plan: Value = serde_json::from_str(&few.stdout).unwrap();
    assert_eq!(plan["slices"].as_array().unwrap().len(), 19);
    let many = odd(11);
    assert_eq!((many.code, many.stdout.as_str()), (Some(5), ""), "{many:?}");
}
