//! What a signal ends, and what is said then: the server sends it when a request arrives.

#![expect(clippy::unwrap_used, reason = "a test's own server")]

mod support;

use std::{
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

/// One page for each of these slices, one after the other.
fn file(pipeline: &str, url: &str, slices: &[&str]) -> String {
    let slices = slices.join(", ");
    format!(
        "version: 1
pipeline: {pipeline}
source: {{ base_url: {url}, limits: {{ max_in_flight: 1 }} }}
streams:
  items:
    slices: {{ list: {{ as: part, values: [{slices}] }} }}
    request: {{ path: '/{pipeline}/{{{{ slice.part }}}}' }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
    )
}

/// Runs a command about pipelines; the first request brings it `signal`, and no later one is
/// answered: the signal may be heard a little after the answer to the first.
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn signalled(
    signal: &'static str,
    args: &[&str],
    pipelines: &[&str],
    slices: &[&str],
) -> (Ended, Vec<String>) {
    let pid = Arc::<OnceLock<u32>>::default();
    let is_over = Arc::<OnceLock<()>>::default();
    let (known, over) = (Arc::clone(&pid), Arc::clone(&is_over));
    let is_first = AtomicBool::new(true);
    let server = Server::start(move |_| {
        if !is_first.swap(false, SeqCst) {
            over.wait();
        }
        if over.get().is_none() {
            let sent = Command::new("kill").args([signal, &known.wait().to_string()]).status();
            assert!(sent.unwrap().success());
        }
        Response::json(&json!([{ "id": 1, "day": "2024-07-25" }]))
    });
    let workspace = Workspace::new();
    for it in pipelines {
        std::fs::write(
            workspace.path().join(format!("{it}.yaml")),
            file(it, &server.url(), slices),
        )
        .unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command.current_dir(workspace.path()).args(args);
    let files = pipelines.iter().map(|it| format!("{it}.yaml"));
    command.args(files).args(["--json", "--output", "output"]).env_clear();
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    pid.set(child.id()).unwrap();
    let ended = Ended::of(&child.wait_with_output().unwrap());
    let asked = server.lines();
    is_over.set(()).unwrap();
    (ended, asked)
}

#[test]
fn a_signal_while_the_last_page_of_a_pipeline_comes_keeps_the_next_ones_from_starting() {
    for signal in ["-TERM", "-INT"] {
        let (ended, asked) = signalled(signal, &["run"], &["first", "second", "third"], &["a"]);

        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert_eq!(asked, ["GET /first/a"]);
        let report: Value = ended.report();
        assert_eq!((&report["pipeline"], &report["exit_code"]), (&json!("first"), &json!(0)));
        let (_, said) = ended.stderr.split_once("error: ").unwrap();
        assert_eq!(
            said,
            "interrupted before `second`, `third` was started; what was published before stays\n  \
             hint: give the command these pipelines again\n"
        );
    }
}

#[test]
fn who_stops_a_plan_is_not_told_that_the_next_one_goes_on() {
    let (ended, asked) = signalled("-TERM", &["plan", "--fetch"], &["first"], &["a", "b", "c"]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(130), ""), "{}", ended.stderr);
    assert!(asked.len() < 3, "{asked:?}");
    let (_, said) = ended.stderr.split_once("error: ").unwrap();
    assert_eq!(said, "interrupted; what was read is not kept, and nothing of it is published\n");
}

#[test]
fn a_pipeline_that_was_cut_is_told_from_those_that_were_not_started() {
    let (ended, asked) = signalled("-TERM", &["run"], &["first", "second"], &["a", "b", "c"]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(130), ""), "{}", ended.stderr);
    assert!(asked.len() < 3, "{asked:?}");
    let said: Vec<&str> = ended.stderr.lines().filter(|it| it.starts_with("error")).collect();
    assert_eq!(
        said,
        [
            "error: interrupted; what was published before stays, and nothing half-written is visible",
            "error: interrupted before `second` was started; what was published before stays",
        ]
    );
}
