//! Night after night into the same directory: what changed is merged, what stands stays.
//!
//! The expected tables are folded from those of each day: by key for what is merged, by the scopes
//! of the issues that could be read for what is replaced, and never less for what is appended.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::NaiveDate;
use chrono_tz::UTC;
use tempfile::TempDir;
use tracklake::sim::{Faults, Simulator};

use crate::shipped::{start, usual};
use crate::support::run::{Exported, export};
use crate::support::table::{Cell, Table};
use crate::tables::{
    differences, find, first_day, jira_tables_since, next_stands, tables, tracker_tables,
    with_lost_issues,
};

/// The variables that say where to start are those of the first day, as in a nightly job.
struct Nights {
    simulator: Simulator,
    output: TempDir,
    pipeline: &'static str,
    /// A copy of the shipped file that does not wait long for a server that fails on purpose.
    file: String,
    first: NaiveDate,
}

impl Nights {
    async fn begin(pipeline: &'static str) -> Self {
        let simulator = start(usual()).await;
        let first = first_day(&simulator);
        let output = TempDir::new().unwrap();
        let shipped = format!("{}/pipelines/{pipeline}.yaml", env!("CARGO_MANIFEST_DIR"));
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let impatient = shipped.replace(
            "max_attempts: 8, max_delay_secs: 120",
            "max_attempts: 2, max_delay_secs: 0.01",
        );
        assert_ne!(impatient, shipped);
        let file = output.path().join(format!("{pipeline}.yaml"));
        std::fs::File::create_new(&file).unwrap().write_all(impatient.as_bytes()).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self { simulator, output, pipeline, file, first }
    }

    fn run(&self, extra: &[(&str, &str)]) -> Exported {
        let first = self.first.to_string();
        let mut variables =
            vec![("JIRA_SINCE", first.as_str()), ("CODEARTS_SINCE", first.as_str())];
        variables.extend_from_slice(extra);
        export(&self.simulator, &self.file, self.output.path(), &variables)
    }

    #[track_caller]
    fn night(&self, code: i32, expected: &[(&str, Table)]) -> serde_json::Value {
        let ended = self.run(&[]);

        assert_eq!(ended.code, Some(code), "{}\n{}", ended.stderr, ended.stdout);
        let differences = differences(self.output.path(), self.pipeline, expected);
        assert!(differences.is_empty(), "{differences}");
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

fn stream<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|it| it["stream"] == name).unwrap()
}

/// Every data file with its bytes and the time of its last change.
fn files(output: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![output.join("parquet"), output.join("csv")];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_pipeline_follows_its_source_for_three_nights() {
    for pipeline in ["yandex_tracker", "jira_timesheet", "codearts_req"] {
        let nights = Nights::begin(pipeline).await;
        let mut stands = tables(&nights.simulator, pipeline, nights.first);
        nights.night(0, &stands);

        for _ in 0..3 {
            nights.simulator.next_day();
            stands = next_stands(&nights.simulator, pipeline, nights.first, &stands);
            let report = nights.night(0, &stands);

            if pipeline == "yandex_tracker" {
                let worklogs = stream(&report, "worklogs");
                let changed = worklogs["changed_partitions"].as_u64();
                assert!(changed < worklogs["partitions"].as_u64(), "{worklogs}");
            }
        }
    }
}

/// A night without changes asks only for what may have changed: the windows that are read again,
/// and the children of parents within the lookback.
#[tokio::test]
async fn a_night_without_changes_writes_no_file_and_asks_little() {
    for pipeline in ["yandex_tracker", "jira_timesheet", "codearts_req"] {
        let nights = Nights::begin(pipeline).await;
        assert_eq!(nights.run(&[]).code, Some(0));
        let before = files(nights.output.path());
        let first = nights.simulator.requests().len();
        nights.simulator.clear_requests();

        let ended = nights.run(&[]);

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(files(nights.output.path()) == before, "{pipeline} wrote a file");
        let again = nights.simulator.requests().len();
        assert!(again < first, "{pipeline}: {again} requests after {first}");
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        for stream in report["streams"].as_array().unwrap() {
            assert_eq!(stream["changed_partitions"], 0, "{stream}");
            assert_eq!(stream["removed"], 0, "{stream}");
        }
    }
}

#[tokio::test]
async fn a_parent_that_fails_is_remembered_and_read_the_next_night_although_it_did_not_change() {
    let nights = Nights::begin("yandex_tracker").await;
    let key = nights.simulator.world().tracker.issues[1].key.clone();
    nights.simulator.set_faults(Faults {
        path_contains: Some(format!("/issues/{key}/worklog")),
        server_error_every: Some(1),
        ..Faults::default()
    });

    let partial = nights.run(&[]);

    assert_eq!(partial.code, Some(7), "{}", partial.stderr);
    assert!(partial.stderr.contains("1 of 60 slices could not be read"), "{}", partial.stderr);
    let tables = tracker_tables(&nights.simulator, UTC);
    let differs = differences(nights.output.path(), nights.pipeline, &tables);
    assert!(differs.contains("worklogs") && !differs.contains("issues as"), "{differs}");

    nights.simulator.set_faults(Faults::default());
    nights.night(0, &tables);
}

#[tokio::test]
async fn a_stream_that_fails_whole_is_caught_up_with_by_the_next_night() {
    let nights = Nights::begin("yandex_tracker").await;
    nights.night(0, &tracker_tables(&nights.simulator, UTC));
    let stands = tracker_tables(&nights.simulator, UTC);
    nights.simulator.next_day();
    nights.simulator.set_faults(Faults {
        path_contains: Some("/worklog".into()),
        server_error_every: Some(1),
        ..Faults::default()
    });

    let failed = nights.run(&[]);

    assert_eq!(failed.code, Some(4), "{}", failed.stderr);
    let yesterday = [("worklogs", find(&stands, "worklogs").clone())];
    let differs = differences(nights.output.path(), nights.pipeline, &yesterday);
    assert!(differs.is_empty(), "{differs}");

    nights.simulator.set_faults(Faults::default());
    let today = tracker_tables(&nights.simulator, UTC);
    let world = nights.simulator.world();
    let worklogs = with_lost_issues(find(&stands, "worklogs"), find(&today, "worklogs"), &world);
    nights.night(0, &[("worklogs", worklogs)]);
}

#[tokio::test]
async fn a_full_refresh_leaves_what_the_source_has_and_what_access_was_lost_to() {
    let nights = Nights::begin("yandex_tracker").await;
    let first = tracker_tables(&nights.simulator, UTC);
    nights.night(0, &first);
    nights.simulator.next_day();

    let ended = nights.run(&[("TRACKLAKE_TEST_ARGS", "--full-refresh")]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let today = tracker_tables(&nights.simulator, UTC);
    // The worklogs of an issue that is listed but refused stay; an issue that is not listed any
    // more is gone, with all that belongs to it.
    let world = nights.simulator.world();
    let refused: BTreeSet<&str> = world
        .tracker
        .issues
        .iter()
        .filter(|it| it.worklogs_forbidden && !it.lost_access)
        .map(|it| it.id.as_str())
        .collect();
    let mut worklogs = find(&today, "worklogs").clone();
    let old = find(&first, "worklogs");
    let is_refused = |cell: &Cell| matches!(cell, Cell::Text(id) if refused.contains(id.as_str()));
    worklogs
        .rows
        .extend(old.rows.iter().filter(|row| is_refused(old.cell(row, "issue_id"))).cloned());
    let expected = [
        ("issues", find(&today, "issues").clone()),
        ("worklogs", worklogs),
        ("changelog", find(&today, "changelog").clone()),
    ];
    let differs = differences(nights.output.path(), nights.pipeline, &expected);
    assert!(differs.is_empty(), "{differs}");
}

#[tokio::test]
async fn a_source_that_suddenly_has_nothing_deletes_nothing() {
    let nights = Nights::begin("jira_timesheet").await;
    let stands = jira_tables_since(&nights.simulator, nights.first);
    nights.night(0, &stands);

    // A project that nobody has: the API would answer with empty lists.
    let other = nights.run(&[("JIRA_PROJECT_KEYS", "NOBODY")]);
    assert_eq!(other.code, Some(3), "{}\n{}", other.stderr, other.stdout);
    assert!(other.stderr.contains("holds rows of another request"), "{}", other.stderr);

    let full = [("JIRA_PROJECT_KEYS", "NOBODY"), ("TRACKLAKE_TEST_ARGS", "--full-refresh")];
    let emptied = nights.run(&full);
    assert_eq!(emptied.code, Some(5), "{}\n{}", emptied.stderr, emptied.stdout);
    assert!(emptied.stderr.contains("all of its"), "{}", emptied.stderr);

    let differs = differences(nights.output.path(), nights.pipeline, &stands);
    assert!(differs.is_empty(), "{differs}");
}

#[tokio::test]
async fn a_full_refresh_from_a_later_day_removes_nothing_of_the_days_before() {
    let nights = Nights::begin("jira_timesheet").await;
    let stands = jira_tables_since(&nights.simulator, nights.first);
    nights.night(0, &stands);
    let later = (nights.first + chrono::Days::new(30)).to_string();

    let ended =
        nights.run(&[("JIRA_SINCE", later.as_str()), ("TRACKLAKE_TEST_ARGS", "--full-refresh")]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let differs = differences(nights.output.path(), nights.pipeline, &stands);
    assert!(differs.is_empty(), "{differs}");
}
