//! The shipped pipelines through a source of which almost a third of all answers fails in some way:
//! limits, outages, resets, cut bodies, web pages, nothing at all. What is published in the end is
//! what the source has; until then each run says by name what it could not read.
//!
//! Every run of the suite takes a few seeds; `CHAOS_SEEDS=200 cargo test --test chaos` takes more,
//! and `CHAOS_FIRST_SEED` says where they start.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests report by panicking")]

#[path = "support/mod.rs"]
mod support;
#[path = "end_to_end/expected/mod.rs"]
mod expected;
#[path = "end_to_end/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;

use tempfile::TempDir;
use tracklake::sim::{Chaos, Faults, SimOptions, Simulator};

use support::run::{Exported, export};
use tables::{differences, first_day, tables};

const SEEDS: u64 = 2;
/// Runs that fail before the source gets well.
const TROUBLED_RUNS: usize = 3;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |it| it.parse().unwrap())
}

/// The shipped file with waits that a test can take.
fn impatient(pipeline: &str, dir: &TempDir) -> String {
    let shipped = format!("{}/pipelines/{pipeline}.yaml", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(shipped).unwrap();
    for (patient, impatient) in
        [("max_delay_secs: 120", "max_delay_secs: 0.01"), ("timeout_secs: 60", "timeout_secs: 2")]
    {
        assert!(text.contains(patient), "{pipeline} does not say `{patient}`");
        text = text.replace(patient, impatient);
    }
    let file = dir.path().join(format!("{pipeline}.yaml"));
    std::fs::File::create_new(&file).unwrap().write_all(text.as_bytes()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Exports with one seed until all is there; gives the exit codes of the runs.
async fn survive(pipeline: &'static str, seed: u64) -> Vec<i32> {
    let options = SimOptions {
        seed,
        issues: 25,
        // Several pages a slice, and more of what can happen between them.
        page_cap: Some(6),
        tracker_scroll_advances: seed.is_multiple_of(2),
        ..SimOptions::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let output = TempDir::new().unwrap();
    let file = impatient(pipeline, &output);
    let first = first_day(&simulator);
    let since = first.to_string();
    let run = || -> Exported {
        let variables = [("JIRA_SINCE", since.as_str()), ("CODEARTS_SINCE", since.as_str())];
        export(&simulator, &file, output.path(), &variables)
    };
    let check = |ended: &Exported| {
        let expected = tables(&simulator, pipeline, first);
        let differences = differences(output.path(), pipeline, &expected);
        assert!(differences.is_empty(), "{pipeline}, seed {seed}: {differences}\n{}", ended.stderr);
    };

    let mut codes = Vec::new();
    let chaos = Some(Chaos { seed, percent: 30 });
    simulator.set_faults(Faults { chaos, ..Faults::default() });
    for _ in 0..TROUBLED_RUNS {
        let ended = run();
        codes.push(ended.code.unwrap_or(-1));
        match ended.code {
            Some(0) => {
                check(&ended);
                return codes;
            }
            Some(4 | 7) => {
                let is_named =
                    ended.stderr.contains("error: stream `") && ended.stderr.contains("cause: ");
                assert!(is_named, "{pipeline}, seed {seed}: {}", ended.stderr);
            }
            other => panic!("{pipeline}, seed {seed}: {other:?}\n{}", ended.stderr),
        }
    }
    simulator.set_faults(Faults::default());
    let ended = run();
    assert_eq!(ended.code, Some(0), "{pipeline}, seed {seed}: {}", ended.stderr);
    check(&ended);
    codes.push(0);
    codes
}

/// How often runs ended in each way, over all seeds.
#[expect(clippy::print_stdout, reason = "many seeds are run by hand, to see this")]
async fn survive_all(pipeline: &'static str) {
    let first = number("CHAOS_FIRST_SEED", 1);
    let ways = Mutex::new(BTreeMap::<Vec<i32>, u64>::new());
    for seed in first..first + number("CHAOS_SEEDS", SEEDS) {
        let codes = survive(pipeline, seed).await;
        *ways.lock().unwrap().entry(codes).or_default() += 1;
    }
    println!("{pipeline}: exit codes of the runs, and for how many seeds: {:?}", ways.lock());
}

#[tokio::test]
async fn tracker_survives_chaos() {
    survive_all("yandex_tracker").await;
}

#[tokio::test]
async fn jira_survives_chaos() {
    survive_all("jira_timesheet").await;
}

#[tokio::test]
async fn codearts_survives_chaos() {
    survive_all("codearts_req").await;
}
