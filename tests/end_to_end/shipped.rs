//! The shipped pipelines export exactly the expected tables, in both formats.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use tempfile::TempDir;
use tracklake::sim::{SimOptions, Simulator};

use crate::support::run::export;
use crate::support::table::Table;
use crate::tables::{CODEARTS_ZONE, codearts_tables, differences, jira_tables, tracker_tables};

pub(crate) async fn start(options: SimOptions) -> Simulator {
    Simulator::start(options).await.unwrap()
}

pub(crate) fn usual() -> SimOptions {
    SimOptions::default()
}

/// The server lowers every page size to a small one without saying so.
fn small_pages() -> SimOptions {
    SimOptions { page_cap: Some(7), ..SimOptions::default() }
}

/// As many issues as two pages of a hundred hold exactly.
fn full_pages() -> SimOptions {
    SimOptions { issues: 200, ..SimOptions::default() }
}

fn nothing() -> SimOptions {
    SimOptions { issues: 0, ..SimOptions::default() }
}

/// Exports everything with one pipeline into an empty directory and compares every stream.
#[track_caller]
pub(crate) fn check(
    simulator: &Simulator,
    pipeline: &str,
    extra: &[(&str, &str)],
    expected: &[(&str, Table)],
) -> TempDir {
    let output = TempDir::new().unwrap();

    let ended = export(simulator, &format!("{pipeline}.yaml"), output.path(), extra);

    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stderr, ended.stdout);
    let report: Result<serde_json::Value, _> = serde_json::from_str(&ended.stdout);
    assert!(report.is_ok_and(|it| it.is_object()), "not one JSON object: {}", ended.stdout);
    let differences = differences(output.path(), pipeline, expected);
    assert!(differences.is_empty(), "{differences}");
    output
}

#[tokio::test]
async fn tracker_is_exported_as_it_is() {
    let simulator = start(usual()).await;

    check(&simulator, "yandex_tracker", &[], &tracker_tables(&simulator, Tz::UTC));
}

#[tokio::test]
async fn tracker_is_exported_as_it_is_when_pages_are_smaller_than_asked() {
    let simulator = start(small_pages()).await;

    check(&simulator, "yandex_tracker", &[], &tracker_tables(&simulator, Tz::UTC));
}

#[tokio::test]
async fn tracker_is_partitioned_in_the_zone_it_is_given() {
    let simulator = start(usual()).await;
    let zone = chrono_tz::Europe::Moscow;

    let expected = tracker_tables(&simulator, zone);

    check(&simulator, "yandex_tracker", &[("YANDEX_TRACKER_ZONE", zone.name())], &expected);
}

#[tokio::test]
async fn tracker_of_the_second_day_is_exported_as_it_is() {
    let simulator = start(usual()).await;
    simulator.next_day();

    check(&simulator, "yandex_tracker", &[], &tracker_tables(&simulator, Tz::UTC));
}

#[tokio::test]
async fn jira_is_exported_as_it_is() {
    let simulator = start(usual()).await;

    check(&simulator, "jira_timesheet", &[], &jira_tables(&simulator));
}

#[tokio::test]
async fn jira_is_exported_as_it_is_when_pages_are_smaller_than_asked() {
    let simulator = start(small_pages()).await;

    check(&simulator, "jira_timesheet", &[], &jira_tables(&simulator));
}

#[tokio::test]
async fn jira_of_the_second_day_is_exported_as_it_is() {
    let simulator = start(usual()).await;
    simulator.next_day();

    check(&simulator, "jira_timesheet", &[], &jira_tables(&simulator));
}

#[tokio::test]
async fn codearts_is_exported_as_it_is() {
    let simulator = start(usual()).await;

    check(&simulator, "codearts_req", &[], &codearts_tables(&simulator, CODEARTS_ZONE));
}

#[tokio::test]
async fn codearts_of_the_second_day_is_exported_as_it_is() {
    let simulator = start(usual()).await;
    simulator.next_day();

    check(&simulator, "codearts_req", &[], &codearts_tables(&simulator, CODEARTS_ZONE));
}

#[tokio::test]
async fn pages_that_are_full_to_the_last_row_are_not_the_end() {
    let simulator = start(full_pages()).await;

    check(&simulator, "yandex_tracker", &[], &tracker_tables(&simulator, Tz::UTC));
    check(&simulator, "jira_timesheet", &[], &jira_tables(&simulator));
    check(&simulator, "codearts_req", &[], &codearts_tables(&simulator, CODEARTS_ZONE));
}

#[tokio::test]
async fn source_without_records_publishes_every_schema() {
    let simulator = start(nothing()).await;

    let outputs = [
        check(&simulator, "yandex_tracker", &[], &tracker_tables(&simulator, Tz::UTC)),
        check(&simulator, "jira_timesheet", &[], &jira_tables(&simulator)),
        check(&simulator, "codearts_req", &[], &codearts_tables(&simulator, CODEARTS_ZONE)),
    ];

    for path in outputs.iter().flat_map(|it| published(it.path()).into_keys()) {
        let dir = path.parent().and_then(Path::file_name).unwrap();
        assert_eq!(dir, "date=__HIVE_DEFAULT_PARTITION__", "{}", path.display());
    }
}

#[tokio::test]
async fn export_again_into_the_same_directory_changes_no_byte() {
    let simulator = start(usual()).await;
    let output =
        check(&simulator, "codearts_req", &[], &codearts_tables(&simulator, CODEARTS_ZONE));
    let before = published(output.path());

    let ended = export(&simulator, "codearts_req.yaml", output.path(), &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_same_files(&published(output.path()), &before);
}

#[tokio::test]
async fn zone_of_the_host_and_order_of_arrival_change_no_byte() {
    let simulator = start(usual()).await;
    let tables = jira_tables(&simulator);
    let elsewhere =
        [("TZ", "America/New_York"), ("LANG", "de_DE.UTF-8"), ("JIRA_MAX_IN_FLIGHT", "1")];

    let here = check(&simulator, "jira_timesheet", &[], &tables);
    let there = check(&simulator, "jira_timesheet", &elsewhere, &tables);

    assert_same_files(&published(there.path()), &published(here.path()));
}

/// Compares names first, then bytes, and prints no bytes.
#[track_caller]
fn assert_same_files(actual: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected));
    let changed = actual.iter().filter(|(path, bytes)| expected.get(*path) != Some(*bytes));
    let changed: Vec<_> = changed.map(|(path, _)| path).collect();
    assert!(changed.is_empty(), "other bytes in {changed:?}");
}

/// The published files and their bytes, by path below the output directory.
fn published(output: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![output.join("parquet"), output.join("csv")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(output).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}
