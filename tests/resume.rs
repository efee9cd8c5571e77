//! A run that is stopped or killed, and the one after it: what was read is not read again, and the tables
//! are as if nothing had happened.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

#[path = "support/mod.rs"]
mod support;
#[path = "end_to_end/expected/mod.rs"]
mod expected;
#[path = "end_to_end/tables.rs"]
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use tempfile::TempDir;
use tracklake::sim::{Faults, RequestLog, SimOptions, Simulator};

use support::run::{Exported, command, export};
use support::table::Table;
use tables::{Tables, differences, find, first_day, tables};

/// A pipeline, one of its streams, a part of the path of its requests, and how many of them there are before
/// a run is stopped.
const STOPS: [(&str, &str, &str, usize); 3] = [
    ("yandex_tracker", "worklogs", "/worklog", 20),
    ("jira_timesheet", "audit_log", "/auditLog", 12),
    ("codearts_req", "history", "/get-record", 12),
];

struct Site {
    simulator: Simulator,
    output: TempDir,
    pipeline: &'static str,
    first: NaiveDate,
    now: DateTime<Utc>,
}

impl Site {
    async fn new(pipeline: &'static str) -> Self {
        let options = SimOptions { issues: 30, page_cap: Some(20), ..SimOptions::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let (first, now) = (first_day(&simulator), simulator.world().now());
        Self { simulator, output: TempDir::new().unwrap(), pipeline, first, now }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let first = self.first.to_string();
        vec![
            ("JIRA_SINCE", first.clone()),
            ("CODEARTS_SINCE", first),
            ("TRACKLAKE_NOW", self.now.to_rfc3339()),
        ]
    }

    fn command(&self, file: &str) -> Command {
        let variables = self.variables();
        let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, it.as_str())).collect();
        command(&self.simulator, file, self.output.path(), &variables)
    }

    fn file(&self) -> String {
        format!("{}.yaml", self.pipeline)
    }

    /// Starts a run that is slow, and waits until so many requests for `path` were answered.
    fn start_until(&self, path: &str, requests: usize) -> Child {
        self.simulator.set_faults(Faults { latency_ms: 40, ..Faults::default() });
        let mut run = self.command(&self.file());
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let of_path = |it: &&RequestLog| it.path.contains(path);
        wait_until(&mut run, || {
            self.simulator.requests().iter().filter(of_path).count() >= requests
        });
        run
    }

    /// A run to its end, and the requests that it sent.
    fn finish(&self, file: &str) -> (Exported, Vec<RequestLog>) {
        self.simulator.set_faults(Faults::default());
        self.simulator.clear_requests();
        let ended = Exported::of(&self.command(file).output().unwrap());
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stderr, ended.stdout);
        (ended, self.simulator.requests())
    }

    /// Whether slices of a stream are kept: what is on disk ends with one.
    fn keeps_slices(&self, stream: &str) -> bool {
        let spool = format!("_tracklake/{}/resume/{stream}.spool", self.pipeline);
        std::fs::metadata(self.output.path().join(spool)).is_ok_and(|it| it.len() > 0)
    }

    #[track_caller]
    fn check_tables(&self, expected: &[(&str, Table)]) {
        let differences = differences(self.output.path(), self.pipeline, expected);
        assert!(differences.is_empty(), "{differences}");
        let left = left_over(self.output.path());
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Waits for what a run does.
#[track_caller]
fn wait_until(run: &mut Child, is_done: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_done() {
        assert_eq!(run.try_wait().unwrap(), None, "the run ended before");
        assert!(started.elapsed() < Duration::from_mins(1), "it does not come");
        std::thread::yield_now();
    }
}

fn signal(run: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(run.id().to_string()).status();
    assert!(sent.unwrap().success());
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|it| it.unwrap().path());
    paths.flat_map(|it| if it.is_dir() { files(&it) } else { vec![it] }).collect()
}

/// Files that only a run under way may have.
fn left_over(output: &Path) -> Vec<PathBuf> {
    let is_passing = |it: &PathBuf| {
        let path = it.to_str().unwrap();
        ["/staging/", "/journal/", "/resume/"].iter().any(|part| path.contains(part))
            || it.extension().is_some_and(|it| it == "new" || it == "staged")
    };
    files(output).into_iter().filter(is_passing).collect()
}

/// How often each path and query was asked for.
fn asked(requests: &[RequestLog]) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for it in requests.iter().filter(|it| it.status == 200) {
        *asked.entry(format!("{}?{}{}", it.path, it.query, it.body)).or_default() += 1;
    }
    asked
}

/// A run is ended by a signal; the next one asks for less and has everything.
async fn check_resumed(name: &str) {
    for (pipeline, stream, path, requests) in STOPS {
        let site = Site::new(pipeline).await;
        let expected = tables(&site.simulator, pipeline, site.first);

        let mut run = site.start_until(path, requests);
        wait_until(&mut run, || site.keeps_slices(stream));
        signal(&run, name);
        let ended = Exported::of(&run.wait_with_output().unwrap());

        if name == "KILL" {
            assert_eq!(ended.code, None, "{pipeline} ended by itself: {}", ended.stdout);
        } else {
            assert_eq!(ended.code, Some(130), "{pipeline}: {}", ended.stderr);
            assert!(ended.stderr.contains("interrupted; what was published"), "{}", ended.stderr);
            assert_eq!(ended.stdout, "", "{pipeline}");
        }
        assert!(site.keeps_slices(stream), "{pipeline} keeps no slice");
        for dir in ["parquet", "csv"] {
            for file in files(&site.output.path().join(dir)) {
                // Whole streams may be there: their manifest says so.
                assert!(file.to_str().unwrap().contains("/part-"), "{}", file.display());
            }
        }

        let before = asked(&site.simulator.requests());
        let (_, after) = site.finish(&site.file());
        let is_child = |it: &&String| it.contains(path);
        let again = asked(&after);
        let both = again.keys().filter(is_child).filter(|it| before.contains_key(*it)).count();
        let first = before.keys().filter(is_child).count();
        // What was in flight when a kill came had not ended; a signal lets it end.
        let most = if name == "KILL" { first - 1 } else { 0 };
        assert!(both <= most, "{pipeline}: {both} of {first} were asked for again");
        site.check_tables(&expected);
    }
}

#[tokio::test]
async fn after_an_interrupt_the_next_run_goes_on() {
    check_resumed("INT").await;
}

#[tokio::test]
async fn after_a_request_to_terminate_the_next_run_goes_on() {
    check_resumed("TERM").await;
}

#[tokio::test]
async fn after_a_kill_the_next_run_goes_on() {
    check_resumed("KILL").await;
}

/// What one night may ask is less than a first export needs: the nights after it read the rest.
#[tokio::test]
async fn a_budget_smaller_than_a_first_export_gets_there_night_after_night() {
    for (pipeline, variable, budget) in [
        ("yandex_tracker", "YANDEX_TRACKER_MAX_REQUESTS", 40),
        ("jira_timesheet", "JIRA_MAX_REQUESTS", 150),
        ("codearts_req", "CODEARTS_MAX_REQUESTS", 30),
    ] {
        let site = Site::new(pipeline).await;
        let expected = tables(&site.simulator, pipeline, site.first);
        let mut codes = Vec::new();
        while codes.last() != Some(&0) {
            site.simulator.clear_requests();
            let mut run = site.command(&site.file());
            let ended = Exported::of(&run.env(variable, budget.to_string()).output().unwrap());
            let sent = site.simulator.requests().len();

            codes.push(ended.code.unwrap());
            let is_expected = matches!(ended.code, Some(0 | 7)) && sent <= budget;
            assert!(is_expected, "{pipeline}: {codes:?}, {sent} requests: {}", ended.stderr);
            assert!(codes.len() < 15, "{pipeline}: {}", ended.stderr);
        }
        assert!(codes.len() > 1, "{pipeline}: one run was enough");
        site.check_tables(&expected);
    }
}

#[tokio::test]
async fn a_second_interrupt_stops_at_once() {
    let site = Site::new("yandex_tracker").await;
    let mut run = site.start_until("/worklog", 4);
    // Whoever waits for these answers waits long.
    site.simulator.set_faults(Faults { latency_ms: 60_000, ..Faults::default() });
    let started = Instant::now();

    signal(&run, "INT");
    // The first one is being heard while the second is sent: signals that are pending are one.
    while run.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not stop");
        signal(&run, "INT");
        std::thread::park_timeout(Duration::from_millis(20));
    }

    let ended = Exported::of(&run.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let expected = tables(&site.simulator, site.pipeline, site.first);
    site.finish(&site.file());
    site.check_tables(&expected);
}

/// The key of a stream that keeps rows which its source no longer has, and whether it keeps old versions.
fn keeps(pipeline: &str, stream: &str) -> Option<(&'static [&'static str], bool)> {
    match (pipeline, stream) {
        (_, "issues") => Some((&["id"], false)),
        (_, "changelog") => Some((&["id", "field_id"], true)),
        (_, "history") => Some((&["record_id", "detail_id"], true)),
        ("yandex_tracker", "worklogs") => Some((&["issue_id", "id"], false)),
        _ => None,
    }
}

/// Every row of today once; of yesterday's rows only such as nobody can read any more, or as are never
/// rewritten.
#[track_caller]
fn check_settled(site: &Site, old: &Tables, today: &Tables) {
    let world = site.simulator.world();
    let unread: BTreeSet<&str> = world
        .tracker
        .issues
        .iter()
        .filter(|it| it.lost_access || it.worklogs_forbidden)
        .map(|it| it.id.as_str())
        .collect();
    for (stream, today) in today {
        let dir = site.output.path().join("parquet").join(site.pipeline).join(stream);
        let actual = support::read::read_parquet(&dir);
        let Some((key, is_append)) = keeps(site.pipeline, stream) else {
            support::table::assert_same(&actual, today);
            continue;
        };
        let old = find(old, stream);
        let key_of = |table: &Table, row| {
            key.iter().map(|it| format!("{:?}", table.cell(row, it))).collect::<Vec<_>>()
        };
        let wanted: BTreeSet<_> = today.rows.iter().map(|row| key_of(today, row)).collect();
        let mut seen = BTreeSet::new();
        for row in &actual.rows {
            let key = key_of(&actual, row);
            let is_lost = match *stream {
                "worklogs" => unread.iter().any(|id| key[0] == format!("Text({id:?})")),
                _ => !wanted.contains(&key),
            };
            let is_allowed =
                today.rows.contains(row) || (old.rows.contains(row) && (is_append || is_lost));
            assert!(is_allowed, "{stream} has a stale row {row:?}");
            assert!(seen.insert(key), "{stream} has a row twice: {row:?}");
        }
        let missing: Vec<_> = wanted.difference(&seen).collect();
        assert!(missing.is_empty(), "{stream} misses {missing:?}");
    }
}

/// The parents are read anew where their slice had not ended, and have changed; where it had, they are as
/// they were, and the night after finds what has changed.
#[tokio::test]
async fn nothing_stale_remains_where_the_source_changes_between_a_kill_and_the_next_run() {
    for (pipeline, _, path, requests) in STOPS {
        for requests in [2, requests] {
            let mut site = Site::new(pipeline).await;
            let old = tables(&site.simulator, pipeline, site.first);
            let mut run = site.start_until(path, requests);
            run.kill().unwrap();
            run.wait().unwrap();

            site.simulator.next_day();
            site.now += TimeDelta::hours(1);
            site.finish(&site.file());
            site.now = site.simulator.world().now();
            site.finish(&site.file());

            check_settled(&site, &old, &tables(&site.simulator, pipeline, site.first));
            assert_eq!(left_over(site.output.path()), [""; 0].map(PathBuf::from));
        }
    }
}

/// As after a kill between two passes over the parents: their slice has not ended, their children have.
#[tokio::test]
async fn kept_children_of_a_parent_that_has_changed_are_not_used() {
    let site = Site::new("yandex_tracker").await;
    let mut run = site.start_until("/worklog", 20);
    run.kill().unwrap();
    run.wait().unwrap();
    let spool = site.output.path().join("_tracklake/yandex_tracker/resume/issues.spool");
    // Where the parents were published before the kill, nothing is left of their slice anyway.
    if spool.exists() {
        std::fs::remove_file(&spool).unwrap();
    }

    site.simulator.next_day();
    site.finish(&site.file());

    let today = tables(&site.simulator, site.pipeline, site.first);
    let worklogs = find(&today, "worklogs").clone();
    site.check_tables(&[("worklogs", worklogs)]);
}

#[tokio::test]
async fn another_pipeline_file_begins_anew() {
    for (pipeline, _, path, requests) in STOPS {
        let site = Site::new(pipeline).await;
        let expected = tables(&site.simulator, pipeline, site.first);
        let mut run = site.start_until(path, requests);
        run.kill().unwrap();
        run.wait().unwrap();

        let shipped = format!("{}/pipelines/{pipeline}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(shipped).unwrap();
        let other = text.replace("timeout_secs: 60", "timeout_secs: 61");
        assert_ne!(text, other);
        let file = site.output.path().join(format!("{pipeline}.yaml"));
        std::fs::File::create_new(&file).unwrap().write_all(other.as_bytes()).unwrap();
        let (_, asked_for) = site.finish(file.to_str().unwrap());

        let elsewhere = TempDir::new().unwrap();
        site.simulator.clear_requests();
        let first = site.first.to_string();
        let since = [("JIRA_SINCE", first.as_str()), ("CODEARTS_SINCE", first.as_str())];
        export(&site.simulator, &site.file(), elsewhere.path(), &since);
        let paths = |requests: &[RequestLog]| {
            let mut paths = BTreeMap::<String, usize>::new();
            for it in requests {
                *paths.entry(it.path.clone()).or_default() += 1;
            }
            paths
        };
        // What the killed run had sent may arrive after it has ended.
        let found = paths(&asked_for);
        for (path, count) in paths(&site.simulator.requests()) {
            assert!(found.get(&path) >= Some(&count), "{pipeline}: {path}: {found:?}, not {count}");
        }
        std::fs::remove_file(file).unwrap();
        site.check_tables(&expected);
    }
}
