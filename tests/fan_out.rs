//! A request for each of some thousand parents: every row arrives once, and nothing is kept for a parent
//! that was followed.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{
    cli::Workspace,
    server::{Request, Response, Server},
};

const ISSUES: usize = 3_000;
/// Issues of a page.
const PAGE: usize = 1_000;

/// Every issue has none to three worklogs; their ids say whose they are.
fn worklogs(issue: usize) -> Vec<usize> {
    (0..issue % 4).map(|it| issue * 10 + it).collect()
}

fn answer(request: &Request) -> Response {
    let Some(issue) = request.path.strip_prefix("/issues/OPS-") else {
        let first = request.number("offset");
        let issues = first..ISSUES.min(first + PAGE);
        let issues: Vec<Value> = issues
            .map(|it| json!({ "key": format!("OPS-{it}"), "at": format!("2024-07-{:02}", it % 28 + 1) }))
            .collect();
        return Response::json(&json!({ "items": issues, "total": ISSUES }));
    };
    let issue: usize = issue.parse().unwrap_or(ISSUES);
    let worklogs: Vec<Value> = worklogs(issue)
        .into_iter()
        .map(|it| json!({ "id": it, "day": format!("2024-07-{:02}", it % 10 + 1) }))
        .collect();
    Response::json(&Value::from(worklogs))
}

fn own(server: &Server, limits: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 100000, max_in_flight: 16{limits} }}
streams:
  issues:
    request: {{ path: /issues }}
    records: items
    paginate: {{ offset: {{ size_param: limit, size: {PAGE}, total: total }} }}
    columns:
      key: {{ from: key, type: string }}
      at: {{ from: at, type: date }}
    write: {{ merge: {{ key: [key] }} }}
    cursor: {{ column: at, lookback: 1d }}
    partition_by: {{ column: at, unit: month }}
  worklogs:
    slices: {{ parent: {{ stream: issues, bind: {{ key: key }} }} }}
    request: {{ path: '/issues/{{{{ parent.key }}}}' }}
    columns:
      issue: {{ from: parent.key, type: string }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ replace: {{ scope: slice, key: [id], by: {{ issue: parent.key }} }} }}
    partition_by: {{ column: day }}
",
        server.url()
    )
}

/// The worklogs in the files: their issues and ids, in order.
fn exported(workspace: &Workspace) -> Vec<(String, usize)> {
    let cell = |row: &support::cli::Row| {
        let id = row["id"].as_u64().and_then(|it| usize::try_from(it).ok());
        Some((row["issue"].as_str()?.to_owned(), id?))
    };
    let mut rows: Vec<_> = workspace.rows("worklogs").iter().filter_map(cell).collect();
    rows.sort_unstable();
    rows
}

fn expected() -> Vec<(String, usize)> {
    let of = |issue| worklogs(issue).into_iter().map(move |it| (format!("OPS-{issue}"), it));
    let mut rows: Vec<_> = (0..ISSUES).flat_map(of).collect();
    rows.sort_unstable();
    rows
}

/// What the manifest of the worklogs says about how far the stream has got.
fn state(workspace: &Workspace) -> Value {
    let manifest = &workspace.files()["_tracklake/own/manifests/worklogs.json"];
    serde_json::from_slice::<Value>(manifest).map_or(Value::Null, |mut it| it["state"].take())
}

#[test]
fn each_of_many_parents_is_followed_once_and_leaves_no_file_and_no_entry_of_its_own() {
    let server = Server::start(answer);
    let workspace = Workspace::new();

    let ended = workspace.run(&own(&server, ""), &[], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(exported(&workspace), expected());
    let asked: BTreeSet<String> = server.lines().into_iter().collect();
    assert_eq!((asked.len(), server.requests().len()), (ISSUES + 3, ISSUES + 3));
    let state = state(&workspace);
    assert_eq!(state["pending"], json!([]));
    assert!(state.to_string().len() < 400, "{state}");
    let files = workspace.files();
    // A month of issues, ten days of worklogs, and what a run leaves beside them.
    assert!(files.len() < 20, "{:?}", files.keys());
}

#[test]
fn parents_that_a_budget_has_left_are_remembered_until_a_run_follows_them() {
    let server = Server::start(answer);
    let workspace = Workspace::new();

    let first = workspace.run(&own(&server, ", max_requests: 1003"), &[], &[]);

    assert_eq!(first.code, Some(7), "{}", first.stderr);
    let lines = server.lines();
    let followed: BTreeSet<&str> =
        lines.iter().filter_map(|it| it.strip_prefix("GET /issues/")).collect();
    assert_eq!(followed.len(), 1_000);
    let (read, left): (Vec<_>, Vec<_>) =
        (0..ISSUES).map(|it| format!("OPS-{it}")).partition(|it| followed.contains(it.as_str()));
    let mut rows = expected();
    rows.retain(|(issue, _)| read.contains(issue));
    assert_eq!(exported(&workspace), rows);
    let pending = state(&workspace)["pending"].take();
    let pending: BTreeSet<_> = pending
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| Some(it["key"].as_str()?.to_owned()))
        .collect();
    let left: BTreeSet<_> = left.into_iter().collect();
    assert_eq!(pending, left);

    let second = workspace.run(&own(&server, ""), &[], &[]);

    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(exported(&workspace), expected());
    assert_eq!(state(&workspace)["pending"], json!([]));
}
