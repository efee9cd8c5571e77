//! What `--metrics-file` leaves for Prometheus, also where a run fails.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

fn file(server: &Server) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
  retry: {{ max_attempts: 1, max_delay_secs: 0.01 }}
streams:
  entries:
    request: {{ path: /entries }}
    slices: {{ window: {{ from: 2024-07-01, format: date, start_param: from, end_param: to }} }}
    cursor: {{ column: day }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
",
        server.url()
    )
}

/// The samples of a file that follows the rules of OpenMetrics as far as gauges know them: a type and a
/// help before all samples of a name, each once, and the mark of the end.
#[track_caller]
fn samples(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").unwrap();
    let (mut found, mut families) = (BTreeMap::new(), Vec::new());
    let mut lines = body.lines().peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("# TYPE ").unwrap().strip_suffix(" gauge").unwrap();
        assert!(!families.contains(&name), "{name} comes twice");
        families.push(name);
        assert!(lines.next().unwrap().starts_with(&format!("# HELP {name} ")));
        while let Some(sample) = lines.next_if(|it| !it.starts_with('#')) {
            let (labelled, value) = sample.rsplit_once(' ').unwrap();
            assert_eq!(labelled.split_once('{').unwrap().0, name);
            let earlier = found.insert(labelled.to_owned(), value.parse().unwrap());
            assert_eq!(earlier, None, "{labelled} comes twice");
        }
    }
    found
}

/// Runs `yaml` and reads the metrics that it leaves.
#[track_caller]
fn run(workspace: &Workspace, yaml: &str, args: &[&str]) -> (Ended, BTreeMap<String, f64>) {
    let args = [&["--quiet", "--metrics-file", "tracklake.prom"], args].concat();
    let ended = workspace.run(yaml, &args, &[]);
    let text = fs::read_to_string(workspace.path().join("tracklake.prom")).unwrap();
    (ended, samples(&text))
}

/// Noon of 2024-07-25, the clock of every run.
const NOON: f64 = 1_721_908_800.0;
const OF_RUN: &str = r#"{pipeline="own",output="output"}"#;
const OF_STREAM: &str = r#"{pipeline="own",output="output",stream="entries"}"#;

#[test]
fn a_run_leaves_what_it_did_and_how_far_each_stream_got() {
    let server = Server::start(|_| {
        let entry = |id: u64| json!({ "id": id, "day": format!("2024-07-2{id}") });
        let bad = json!({ "id": "x", "day": "2024-07-24" });
        Response::json(&json!([entry(1), entry(2), entry(3), bad, Value::Null]))
    });
    let workspace = Workspace::new();
    let yaml = file(&server);

    // Two records do not fit.
    let (ended, found) = run(&workspace, &yaml, &[]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let of_run = |found: &BTreeMap<String, f64>, name: &str| {
        found.get(&format!("tracklake_{name}{OF_RUN}")).copied()
    };
    assert_eq!(of_run(&found, "run_success"), Some(0.0));
    assert_eq!(of_run(&found, "run_exit_code"), Some(7.0));
    assert_eq!(of_run(&found, "run_start_timestamp_seconds"), Some(NOON));
    assert!(of_run(&found, "run_duration_seconds").unwrap() > 0.0);
    assert_eq!(of_run(&found, "last_success_timestamp_seconds"), None);
    let report = ended.report();
    for (name, value) in [
        ("success", 0.0),
        ("rows", 3.0),
        ("rows_read", 3.0),
        ("rows_added", 3.0),
        ("rows_updated", 0.0),
        ("rows_removed", 0.0),
        ("records_rejected", 2.0),
        ("slices_failed", 0.0),
        ("requests", 1.0),
        ("retries", 0.0),
        ("partitions_changed", 3.0),
        ("written_bytes", report["streams"][0]["bytes_written"].as_f64().unwrap()),
        // The 23rd.
        ("cursor_timestamp_seconds", NOON - 2.5 * 86_400.0),
    ] {
        let name = format!("tracklake_stream_{name}{OF_STREAM}");
        assert_eq!(found.get(&name), Some(&value), "{name}");
    }
}

#[test]
fn the_last_success_outlives_failures_of_every_kind() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let server = Server::start(move |_| {
        let body = json!([{ "id": 1, "day": "2024-07-24" }]);
        if down.load(SeqCst) { Response::text(500, "") } else { Response::json(&body) }
    });
    let workspace = Workspace::new();
    let yaml = file(&server);
    let success = format!("tracklake_last_success_timestamp_seconds{OF_RUN}");
    let exit_code = format!("tracklake_run_exit_code{OF_RUN}");
    let rows = format!("tracklake_stream_rows{OF_STREAM}");

    let (ended, found) = run(&workspace, &yaml, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((found[&success], found[&exit_code], found[&rows]), (NOON, 0.0, 1.0));

    is_down.store(true, SeqCst);
    let (ended, found) = run(&workspace, &yaml, &["--since", "2024-07-02"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!((found[&success], found[&exit_code]), (NOON, 4.0));
    assert_eq!(found.get(&rows), None, "rows that were not published are nobody's");
    let cursor = format!("tracklake_stream_cursor_timestamp_seconds{OF_STREAM}");
    let reached = NOON - 1.5 * 86_400.0;
    assert_eq!(found.get(&cursor), Some(&reached), "it is still where the last run got to");

    // A mistake in the file leaves no report, but the pipeline is still known by its name.
    let (ended, found) = run(&workspace, &yaml.replace("type: date", "type: dat"), &[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!((found[&success], found[&exit_code]), (NOON, 3.0));
    assert!(found.keys().all(|it| !it.contains("stream=")), "{found:?}");
}

#[test]
fn a_pipeline_is_run_once_a_command_and_has_one_series_for_each_destination() {
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();
    let yaml = file(&server);

    let (ended, found) = run(&workspace, &yaml, &["own.yaml"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("`own` is named twice"), "{}", ended.stderr);
    assert!(server.lines().is_empty());
    assert_eq!(found.get(&format!("tracklake_run_exit_code{OF_RUN}")), Some(&2.0));

    let (ended, found) = run(&workspace, &yaml, &["--output", "other"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let others: Vec<_> = found.keys().filter(|it| !it.contains(r#"output="other""#)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_metrics_file_that_cannot_be_written_is_refused_before_anything_is_asked() {
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();

    for path in ["nowhere/tracklake.prom", "."] {
        let ended = workspace.run(&file(&server), &["--quiet", "--metrics-file", path], &[]);

        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
        assert!(server.lines().is_empty());
    }
}

#[test]
fn a_metrics_file_that_is_no_regular_file_is_refused_and_left_as_it_is() {
    use std::os::unix::fs::FileTypeExt as _;
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();
    let path = workspace.path().join("tracklake.prom");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());

    // Who read it first would wait for somebody who writes, without an end.
    let ended = workspace.run(&file(&server), &["--metrics-file", "tracklake.prom"], &[]);

    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("it is no regular file"), "{}", ended.stderr);
    assert!(server.lines().is_empty());
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_fifo());
}

#[test]
fn a_metrics_file_may_be_a_link_to_one_elsewhere() {
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("own.prom");
    let link = workspace.path().join("tracklake.prom");
    std::os::unix::fs::symlink(&target, &link).unwrap();

    let (ended, found) = run(&workspace, &file(&server), &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(found.get(&format!("tracklake_run_success{OF_RUN}")), Some(&1.0));
    assert!(fs::symlink_metadata(link).unwrap().is_symlink());
    assert!(fs::metadata(target).unwrap().is_file());
}

/// Who wrote to this would find a bug.
struct Broken;

impl std::io::Write for Broken {
    #[expect(clippy::panic, reason = "that is what is tested")]
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        panic!("the output broke")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_ends_with_the_code_of_a_bug_and_leaves_metrics() {
    use clap::Parser as _;
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();
    // Writes the pipeline file.
    drop(workspace.command(&file(&server), &[]));
    let path = |name: &str| workspace.path().join(name).display().to_string();
    let (yaml, output, metrics) = (path("own.yaml"), path("output"), path("tracklake.prom"));

    let run = ["tracklake", "run", &yaml, "--output", &output, "--metrics-file", &metrics];
    let ended = tracklake::cli::run(tracklake::cli::Args::parse_from(run), &mut Broken);

    let err = ended.unwrap_err();
    assert_eq!(
        (err.exit_code(), err.to_string().as_str()),
        (1, "internal error: the output broke")
    );
    let found = samples(&fs::read_to_string(metrics).unwrap());
    let sample = format!("tracklake_run_exit_code{{pipeline=\"own\",output=\"{output}\"}}");
    assert_eq!(found.get(&sample), Some(&1.0), "{found:?}");
}
