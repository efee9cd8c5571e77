//! "Is yesterday complete?": what a pipeline expects of a stream, and a run that finds otherwise.

#![expect(clippy::unwrap_used, reason = "a test's own server")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

/// A snapshot of entries; `expect` stands in line 20.
fn file(server: &Server, write: &str, expect: &str) -> String {
    format!(
        r#"version: 1
pipeline: own
vars:
  min_rows: {{ default: "3" }}
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
  retry: {{ max_attempts: 1, max_delay_secs: 0.01 }}
streams:
  entries:
    request: {{ path: /entries }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      user: {{ from: user, type: string }}
      day: {{ from: day, type: date }}
    write: {{ {write} }}
    partition_by: {{ column: day }}
    expect:
      {expect}
"#,
        server.url()
    )
}

const SNAPSHOT: &str = "replace: { scope: all, key: [id] }";

/// Serves whatever is put into it.
fn serving(items: Value) -> (Server, Arc<Mutex<Value>>) {
    let shared = Arc::new(Mutex::new(items));
    let items = Arc::clone(&shared);
    (Server::start(move |_| Response::json(&json!({ "items": *items.lock().unwrap() }))), shared)
}

/// Entries of a day, with ids from `from` on.
fn entries(from: usize, count: usize, day: &str) -> Vec<Value> {
    (from..from + count).map(|id| json!({ "id": id, "user": "ann", "day": day })).collect()
}

/// What is said on stderr, without the place of the server.
fn shown(ended: &Ended, server: &Server) -> String {
    ended.stderr.replace(&server.url(), "[server]")
}

#[test]
fn too_few_rows_publish_nothing_and_say_what_was_expected_and_found_and_where() {
    let (server, items) = serving(json!(entries(1, 4, "2024-07-24")));
    let yaml = file(&server, SNAPSHOT, r#"min_rows: "{{ vars.min_rows }}""#);
    let workspace = Workspace::new();
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));
    let before = workspace.published();
    *items.lock().unwrap() = json!(entries(1, 2, "2024-07-24"));

    let ended = workspace.run(&yaml, &["--quiet"], &[]);

    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_eq!(workspace.published(), before, "what was published is not touched");
    assert_eq!(ended.report()["streams"][0]["status"], "failed");
    assert_snapshot!(shown(&ended, &server), @r#"
    error: stream `entries` is not as expected: expected at least 3 rows in the dataset, found 2 (streams.entries.expect.min_rows, line 20); nothing of it is published
      hint: if the source is right, change what the pipeline file expects there, also for one run by a variable: `min_rows: "{{ vars.min_rows }}"`
    "#);

    // A person who knows better says so for one run.
    let ended = workspace.run(&yaml, &["--set", "min_rows=2"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(workspace.rows("entries").len(), 2);
}

#[test]
fn a_dataset_that_lost_more_than_its_share_since_the_last_run_is_not_published() {
    let (server, items) = serving(json!(entries(1, 10, "2024-07-24")));
    let yaml = file(&server, SNAPSHOT, "max_drop: 20%");
    let workspace = Workspace::new();
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));

    // 20 % fewer are fine, and then these are what the next run is compared with.
    for (count, code) in [(8, 0), (6, 5), (7, 0)] {
        *items.lock().unwrap() = json!(entries(1, count, "2024-07-24"));
        let ended = workspace.run(&yaml, &["--quiet"], &[]);
        assert_eq!(ended.code, Some(code), "{count}: {}", ended.stderr);
        let found = "expected at most 20 % fewer rows than the 8 that the last run left, found 6";
        assert_eq!(ended.stderr.contains(found), code == 5, "{}", ended.stderr);
    }
}

#[test]
fn yesterday_without_rows_is_not_published_until_the_source_has_it() {
    let (server, items) = serving(json!(entries(1, 3, "2024-07-23")));
    let yaml = file(&server, "merge: { key: [id] }", "days: { last: 2d, min_rows: 2 }");
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(workspace.published().is_empty());
    let found = "expected at least 2 rows on each of the last 2 days, found none on 2024-07-24 (streams.entries.expect.days, line 20)";
    assert!(ended.stderr.contains(found), "{}", ended.stderr);

    // Whoever asks for a part of the time does not ask about yesterday.
    let ended = workspace.run(&yaml, &["--until", "2024-07-23"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    // Rows that stand count as those that come: the dataset is what is asked about.
    *items.lock().unwrap() = json!(entries(4, 2, "2024-07-24"));
    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(workspace.rows("entries").len(), 5);

    // The 24th and the 25th lie before the 26th.
    let mut command = workspace.command(&yaml, &["--quiet"]);
    let ended = Ended::of(&command.env("TRACKLAKE_NOW", "2024-07-26T00:00:00Z").output().unwrap());
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("found none on 2024-07-25"), "{}", ended.stderr);
}

#[test]
fn a_column_that_has_become_null_is_not_published() {
    let mut items = entries(1, 200, "2024-07-24");
    for item in items.iter_mut().take(21) {
        item["user"] = Value::Null;
    }
    let (server, items) = serving(json!(items));
    let yaml = file(&server, SNAPSHOT, "max_nulls: { user: 10%, id: 0 }");
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let found = "expected at most 10 % of the rows read without a `user`, found 21 of 200 (streams.entries.expect.max_nulls.user, line 20)";
    assert!(ended.stderr.contains(found), "{}", ended.stderr);

    items.lock().unwrap()[0]["user"] = json!("ann");
    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    // Any null is one too many where there may be none.
    let yaml = file(&server, SNAPSHOT, "max_nulls: { user: 0% }");
    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert!(ended.stderr.contains("found 20 of 200"), "{}", ended.stderr);
}

#[test]
fn plan_fetch_finds_what_a_run_would_and_other_streams_go_on() {
    let (server, _) = serving(json!(entries(1, 2, "2024-07-24")));
    let yaml = file(&server, SNAPSHOT, "min_rows: 3");
    let other = yaml.split_once("  entries:\n").unwrap().1.replace("min_rows: 3", "min_rows: 2");
    let yaml = format!("{yaml}  others:\n{other}");
    let workspace = Workspace::new();

    let mut plan = workspace.subcommand("plan", &yaml, &["--fetch", "--json"]);
    let ended = Ended::of(&plan.output().unwrap());
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(workspace.published().is_empty());

    let ended = workspace.run(&yaml, &[], &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_eq!(workspace.rows("others").len(), 2);
    assert!(workspace.rows("entries").is_empty());
}

#[test]
fn a_run_that_leaves_slices_for_the_next_one_is_partial_and_publishes_the_rest() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let is_first = asked.fetch_add(1, SeqCst) == 0;
        let kind = request.param("kind").unwrap_or_default();
        if kind == "b" && is_first {
            return Response::text(500, "");
        }
        let from = if kind == "a" { 1 } else { 3 };
        Response::json(&json!({ "items": entries(from, 2, "2024-07-24") }))
    });
    let yaml = file(&server, "merge: { key: [id] }", "min_rows: 4").replace(
        "    request: { path: /entries }\n",
        "    slices: { list: { as: kind, values: [b, a] } }
    request: { path: /entries, query: { kind: \"{{ slice.kind }}\" } }\n",
    );
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(workspace.rows("entries").len(), 2);

    let ended = workspace.run(&yaml, &["--quiet"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(workspace.rows("entries").len(), 4);
}

#[test]
fn expectations_that_make_no_sense_are_refused_with_their_places() {
    let (server, _) = serving(json!([]));
    let yaml = file(
        &server,
        SNAPSHOT,
        "min_rows: many
      max_drop: 120%
      days: { last: 36h, min_rows: 0, except: [sunnday] }
      max_nulls: { usr: 5%, id: no }",
    );
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &["--quiet"], &[]);

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(server.lines().is_empty(), "nothing is asked");
    assert_snapshot!(shown(&ended, &server), @"
    error: pipeline file `own.yaml` is not valid
      own.yaml:20:17: streams.entries.expect.min_rows: `many` is not a number of rows, such as `1000`
        20 |       min_rows: many
           |                 ^
      own.yaml:21:17: streams.entries.expect.max_drop: `120%` is not a share: write a percentage such as `50%`
        21 |       max_drop: 120%
           |                 ^
      own.yaml:22:21: streams.entries.expect.days.last: `36h` is no number of days from `1d` to `3660d`
        22 |       days: { last: 36h, min_rows: 0, except: [sunnday] }
           |                     ^
      own.yaml:22:36: streams.entries.expect.days.min_rows: every day has 0 rows: expect at least 1, or nothing
        22 |       days: { last: 36h, min_rows: 0, except: [sunnday] }
           |                                    ^
      own.yaml:22:48: streams.entries.expect.days.except.0: unknown choice `sunnday`, expected one of `monday`, `tuesday`, `wednesday`, `thursday`, `friday`, `saturday`, `sunday`; did you mean `sunday`?
        22 |       days: { last: 36h, min_rows: 0, except: [sunnday] }
           |                                                ^
      own.yaml:23:25: streams.entries.expect.max_nulls.usr: no column is called `usr`; there are `id`, `user`, `day`; did you mean `user`?
        23 |       max_nulls: { usr: 5%, id: no }
           |                         ^
      own.yaml:23:33: streams.entries.expect.max_nulls.id: `false` is not a share: write a percentage such as `50%`
        23 |       max_nulls: { usr: 5%, id: no }
           |                                 ^
    ");
}

#[test]
fn no_days_at_all_are_no_number_of_days() {
    let (server, _) = serving(json!([]));
    let yaml = file(&server, SNAPSHOT, "days: { last: 0d }");

    let ended = Workspace::new().run(&yaml, &["--quiet"], &[]);

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let expected = "expect.days.last: `0d` is no number of days from `1d` to `3660d`";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}

/// Windows of days in a zone.
fn in_zone(yaml: &str, zone: &str) -> String {
    let windows = format!(
        "    slices:\n      window: {{ from: 30d, reread: 10d, format: date, zone: {zone}, start_param: from, end_param: to }}\n    records:"
    );
    yaml.replacen("    records:", &windows, 1)
}

#[test]
fn yesterday_of_dates_is_over_when_it_is_over_where_they_were_asked_for() {
    // 03:00 of the 25th in Shanghai.
    let at_three = [("TRACKLAKE_NOW", "2024-07-24T19:00:00Z")];
    let (server, _) = serving(json!(entries(1, 4, "2024-07-23")));
    let write = "merge: { key: [id] }";
    let days = file(&server, write, "days: { last: 1d, min_rows: 1 }");
    let workspace = Workspace::new();

    let ended = workspace.run(&in_zone(&days, "UTC"), &["--quiet"], &at_three);
    assert_eq!(ended.code, Some(0), "the 23rd is yesterday in UTC: {}", ended.stderr);
    // The same dates in the same partitions: the dataset goes on.
    let ended = workspace.run(&in_zone(&days, "Asia/Shanghai"), &["--quiet"], &at_three);

    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("found none on 2024-07-24"), "{}", ended.stderr);
}

#[test]
fn a_zone_of_the_partitions_goes_before_that_of_the_windows() {
    let at_three = [("TRACKLAKE_NOW", "2024-07-24T19:00:00Z")];
    let (server, _) = serving(json!(entries(1, 4, "2024-07-23")));
    let days = file(&server, "merge: { key: [id] }", "days: { last: 1d, min_rows: 1 }");
    let yaml =
        in_zone(&days, "Asia/Shanghai").replacen("column: day }", "column: day, zone: UTC }", 1);

    let ended = Workspace::new().run(&yaml, &["--quiet"], &at_three);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
