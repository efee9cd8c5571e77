//! What `pull` writes of the shipped pipelines is what they export, in every format.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::path::Path;

use chrono_tz::Tz;
use tempfile::TempDir;
use tracklake::sim::Simulator;

use crate::shipped::{start, usual};
use crate::support::read::{read_arrow, read_csv, read_json_lines, read_parquet};
use crate::support::run::command;
use crate::support::table::{Table, difference};
use crate::tables::{CODEARTS_ZONE, codearts_tables, jira_tables, tracker_tables};

/// Pulls a stream into a file; gives its directory.
#[track_caller]
fn pull(simulator: &Simulator, pipeline: &str, stream: &str, file: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    // As a run is started, but with another command.
    let run = command(simulator, &format!("{pipeline}.yaml"), dir.path(), &[]);
    let mut pull = std::process::Command::new(run.get_program());
    pull.current_dir(run.get_current_dir().unwrap())
        .env_clear()
        .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["pull", &format!("pipelines/{pipeline}.yaml"), stream, "-o"])
        .arg(dir.path().join(file));
    let ended = pull.output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(0), 0), "{stream}: {stderr}");
    dir
}

/// Reads what was pulled into a directory.
type Reader<'a> = dyn Fn(&Path) -> Table + 'a;

/// The columns that are JSON values in JSON lines.
const JSON: [&str; 3] = ["from_value", "to_value", "_extra"];

fn check(simulator: &Simulator, pipeline: &str, expected: &[(&str, Table)]) {
    for (stream, expected) in expected {
        let mut expected = expected.clone();
        for row in &mut expected.rows {
            row.partition.clear();
        }
        let read: [(&str, &Reader<'_>); 4] = [
            ("rows.parquet", &read_parquet),
            ("rows.csv", &|dir| read_csv(dir, &expected.columns)),
            ("rows.arrow", &|dir| read_arrow(&dir.join("rows.arrow"))),
            ("rows.jsonl", &|dir| {
                read_json_lines(&dir.join("rows.jsonl"), &expected.columns, &JSON)
            }),
        ];
        for (file, read) in read {
            let dir = pull(simulator, pipeline, stream, file);
            let difference = difference(&read(dir.path()), &expected);
            assert!(difference.is_empty(), "{stream} as {file}: {difference}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracker_is_pulled_as_it_is_exported() {
    let simulator = start(usual()).await;

    check(&simulator, "yandex_tracker", &tracker_tables(&simulator, Tz::UTC));
}

#[tokio::test(flavor = "multi_thread")]
async fn timesheets_are_pulled_as_they_are_exported() {
    let simulator = start(usual()).await;

    check(&simulator, "jira_timesheet", &jira_tables(&simulator));
}

#[tokio::test(flavor = "multi_thread")]
async fn codearts_is_pulled_as_it_is_exported() {
    let simulator = start(usual()).await;

    check(&simulator, "codearts_req", &codearts_tables(&simulator, CODEARTS_ZONE));
}
