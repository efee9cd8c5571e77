//! Where the time of a run went, and what it depended on: in the report, in the one that is kept,
//! and in the closing table.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{
    cli::Workspace,
    run::export,
    server::{Response, Server},
};
use tracklake::sim::{Faults, SimOptions, Simulator};

/// 40 slices of one request and one row each; `limits` as given.
fn file(url: &str, limits: &str) -> String {
    let values: Vec<String> = (1..=40).map(|it| it.to_string()).collect();
    format!(
        "version: 1
pipeline: own
source:
  base_url: {url}
  limits: {{ {limits} }}
streams:
  items:
    request: {{ path: /items, query: {{ id: '{{{{ slice.id }}}}' }} }}
    slices: {{ list: {{ as: id, values: [{}] }} }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
destination: {{ path: output, formats: {{ parquet: {{}} }} }}
",
        values.join(", ")
    )
}

fn server() -> Server {
    Server::start(|request| {
        let id = request.number("id");
        Response::json(&json!({ "items": [{ "id": id, "day": "2024-07-25" }] }))
    })
}

fn seconds(stream: &Value, name: &str) -> f64 {
    stream["seconds"][name].as_f64().unwrap()
}

#[test]
fn a_run_that_uses_up_its_rate_is_bounded_by_it() {
    let server = server();
    let workspace = Workspace::new();
    let yaml = file(&server.url(), "requests_per_second: 20, max_in_flight: 4");

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = ended.report();
    let stream = &report["streams"][0];
    assert_eq!(stream["bounded_by"], "rate_limit", "{stream:#}");
    assert_eq!(report["bounded_by"], "rate_limit");
    // The last of 40 requests starts 39 times 50 ms after the first.
    let reading = seconds(stream, "reading");
    assert!(reading >= 1.95, "{stream:#}");
    assert!(seconds(stream, "waiting_for_turn") > reading, "four wait at once: {stream:#}");
}

#[tokio::test]
async fn a_run_that_waits_for_slow_answers_is_bounded_by_latency() {
    let options = SimOptions { issues: 20, page_cap: Some(2), ..SimOptions::default() };
    let simulator = Simulator::start(options).await.unwrap();
    simulator.set_faults(Faults { latency_ms: 200, ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    let args = [("TRACKLAKE_TEST_ARGS", "--stream issues --format parquet")];

    let ended = export(&simulator, "yandex_tracker.yaml", dir.path(), &args);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let stream = &report["streams"][0];
    assert_eq!(stream["bounded_by"], "latency", "{stream:#}");
    let requests = stream["requests"].as_f64().unwrap();
    assert!(requests >= 10.0, "{stream:#}");
    assert!(seconds(stream, "fetching") >= 0.2 * requests, "{stream:#}");
}

#[test]
fn every_stage_is_told_and_the_parts_make_up_the_whole() {
    let server = server();
    let workspace = Workspace::new();
    let yaml = file(&server.url(), "requests_per_second: 10000, max_in_flight: 2");

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = ended.report();
    let stream = &report["streams"][0];
    let told: Vec<&String> = stream["seconds"].as_object().unwrap().keys().collect();
    let expected = [
        "total",
        "reading",
        "waiting_for_turn",
        "waiting_for_place",
        "waiting_to_retry",
        "fetching",
        "waiting_for_thread",
        "decoding",
        "waiting_for_writer",
        "partitioning",
        "encoding",
        "publishing",
    ];
    assert_eq!(told, expected);
    for stage in ["reading", "fetching", "decoding", "partitioning", "encoding", "publishing"] {
        assert!(seconds(stream, stage) > 0.0, "{stage}: {stream:#}");
    }
    let parts = ["reading", "encoding", "publishing"].map(|it| seconds(stream, it));
    assert!(parts.iter().sum::<f64>() <= seconds(stream, "total"), "{stream:#}");
    // Two slices at once.
    let waited =
        ["waiting_for_turn", "waiting_for_place", "fetching", "waiting_for_thread", "decoding"];
    let waited: f64 = waited.map(|it| seconds(stream, it)).iter().sum();
    assert!(waited <= 2.0 * seconds(stream, "reading"), "{stream:#}");

    let runs = workspace.output().join("_tracklake/own/runs");
    let kept = fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    let kept: Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["streams"][0]["seconds"], stream["seconds"]);
    assert_eq!(kept["bounded_by"], report["bounded_by"]);
}

#[test]
fn the_closing_table_says_where_the_time_went() {
    let server = server();
    let workspace = Workspace::new();
    let yaml = file(&server.url(), "requests_per_second: 40, max_in_flight: 4");

    let ended = workspace.subcommand("run", &yaml, &["--quiet"]).output().unwrap();

    let stdout = String::from_utf8(ended.stdout).unwrap();
    let (_, times) = stdout.split_once("\n\n").unwrap();
    let lines: Vec<&str> = times.lines().collect();
    let head: Vec<&str> = lines[0].split_whitespace().collect();
    let expected =
        ["stream", "wait", "fetch", "decode", "partition", "encode", "publish", "bounded", "by"];
    assert_eq!(head, expected, "{stdout}");
    assert!(lines[1].starts_with(" own.items "), "{stdout}");
    assert_eq!(lines[1].matches(" s ").count(), 6, "{stdout}");
    assert!(lines.iter().all(|it| it.chars().count() <= 100), "{stdout}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("note: own: bounded by "), "{stdout}");
}
