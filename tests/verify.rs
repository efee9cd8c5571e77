//! `verify` and `status` on what a shipped pipeline has exported, whole and damaged in each way.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{cli::Ended, run::export};
use tracklake::sim::{SimOptions, Simulator};

const PIPELINE: &str = "yandex_tracker";
const STREAM: &str = "worklogs";

/// What a run has exported.
struct Exported {
    dir: tempfile::TempDir,
}

impl Exported {
    async fn new() -> Self {
        let options = SimOptions { issues: 12, ..SimOptions::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ended = export(&simulator, "yandex_tracker.yaml", &dir.path().join("lake"), &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        Self { dir }
    }

    fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    /// Runs a command with no variable set.
    fn tracklake(&self, args: &[&str]) -> Ended {
        tracklake(&self.lake(), args)
    }

    /// The problems that `verify` finds, as path and kind.
    #[track_caller]
    fn problems(&self) -> Vec<(String, String)> {
        let before = self.files();
        let ended = self.tracklake(&["verify", PIPELINE, "--json"]);
        assert_eq!(self.files(), before, "nothing may change");
        let found = object(&ended);
        let streams = found["streams"].as_array().unwrap();
        let problems = streams.iter().flat_map(|it| it["problems"].as_array().unwrap());
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        let problems: Vec<_> =
            problems.map(|it| (text(&it["path"]), text(&it["damage"]))).collect();
        let code = if problems.is_empty() { 0 } else { 6 };
        assert_eq!((ended.code, found["is_sound"].as_bool()), (Some(code), Some(code == 0)));
        problems
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, &str)]) {
        let found = self.problems();
        let found: Vec<_> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, expected);
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![self.lake()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    let name = path.strip_prefix(self.lake()).unwrap().to_str().unwrap().to_owned();
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
        found
    }

    /// The stream's files of a format, by date.
    fn data(&self, format: &str) -> Vec<String> {
        let prefix = format!("{format}/{PIPELINE}/{STREAM}/");
        self.files().into_keys().filter(|it| it.starts_with(&prefix)).collect()
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.lake().join(path)).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.lake().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.lake().join(path)).unwrap();
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.read(&manifest())).unwrap()
    }
}

fn manifest() -> String {
    format!("_tracklake/{PIPELINE}/manifests/{STREAM}.json")
}

fn tracklake(lake: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).arg("--output").arg(lake);
    command.env_clear().env("TRACKLAKE_NOW", "2024-07-26T00:00:00Z").stdin(Stdio::null());
    Ended::of(&command.output().unwrap())
}

fn object(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_sound_and_is_said_in_a_table() {
    let exported = Exported::new().await;

    exported.check(&[]);
    let ended = exported.tracklake(&["verify", PIPELINE]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = exported.manifest()["rows"].to_string();
    let line = ended.stdout.lines().find(|it| it.contains(".worklogs")).unwrap().to_owned();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[2], cells[3]), (rows.as_str(), "0"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_and_one_that_is_cut_off_are_found() {
    let exported = Exported::new().await;
    let (csv, parquet) = (exported.data("csv"), exported.data("parquet"));
    exported.remove(&csv[0]);
    exported.remove(&parquet[1]);
    let half = exported.read(&parquet[2]);
    exported.write(&parquet[2], &half[..half.len() / 2]);

    exported.check(&[(&csv[0], "missing"), (&parquet[1], "missing"), (&parquet[2], "size")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_that_is_damaged_within_is_found() {
    let exported = Exported::new().await;
    let parquet = exported.data("parquet");
    let mut bytes = exported.read(&parquet[0]);
    // The page header of the first column.
    bytes[4..24].fill(0xFF);
    exported.write(&parquet[0], &bytes);

    exported.check(&[(&parquet[0], "unreadable")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_file_is_extra_and_its_rows_are_there_twice() {
    let exported = Exported::new().await;
    let parquet = exported.data("parquet");
    let copy = parquet[0].replace("part-0", "part-1");
    exported.write(&copy, &exported.read(&parquet[0]));

    exported.check(&[(&copy, "extra"), (&copy, "key")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_that_readers_would_see_is_found_wherever_it_is() {
    let exported = Exported::new().await;
    let stray = format!("csv/{PIPELINE}/{STREAM}/old/2023.csv");
    exported.write(&stray, b"id\n1\n");
    exported.write(&format!("csv/{PIPELINE}/{STREAM}/README.md"), b"not data");

    exported.check(&[(&stray, "extra")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_csv_that_was_edited_is_found_though_the_size_is_the_same() {
    let exported = Exported::new().await;
    let csv = exported.data("csv");
    let mut bytes = exported.read(&csv[0]);
    let header = bytes.iter().position(|it| *it == b'\n').unwrap();
    let digit = bytes[header..].iter().position(u8::is_ascii_digit).unwrap() + header;
    bytes[digit] = if bytes[digit] == b'1' { b'2' } else { b'1' };
    exported.write(&csv[0], &bytes);

    exported.check(&[(&csv[0], "lines")]);
    let ended = exported.tracklake(&["verify", PIPELINE]);
    let line = format!("{}: row 1 is not that of the Parquet file", csv[0]);
    assert!(ended.stdout.starts_with(&line), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_became_one_are_counted() {
    let exported = Exported::new().await;
    let csv = exported.data("csv");
    let mut bytes = exported.read(&csv[0]);
    *bytes.last_mut().unwrap() = b' ';
    exported.write(&csv[0], &bytes);
    exported.check(&[(&csv[0], "lines")]);

    // A quote that is never closed makes one line of all.
    let end = bytes.iter().position(|it| *it == b'\n').unwrap();
    bytes[end + 1] = b'"';
    exported.write(&csv[0], &bytes);
    let found = exported.problems();
    assert!(found.contains(&(csv[0].clone(), "lines".to_owned())), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_partition_of_another_date_is_found() {
    let exported = Exported::new().await;
    let parquet = exported.data("parquet");
    let directory = parquet[0].split('/').nth(3).unwrap();
    let moved = parquet[0].replace(directory, "date=1999-12-31");
    let content = exported.read(&parquet[0]);
    exported.remove(&parquet[0]);
    exported.write(&moved, &content);

    exported.check(&[(&moved, "extra"), (&moved, "partition"), (&parquet[0], "missing")]);

    // The same with a manifest that believes it.
    let text = String::from_utf8(exported.read(&manifest())).unwrap();
    exported.write(&manifest(), text.replace(&parquet[0], &moved).as_bytes());
    exported.check(&[(&moved, "partition")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_added_later_is_fine_and_another_type_is_not() {
    let exported = Exported::new().await;
    let sound = exported.manifest();
    let mut later = sound.clone();
    let added = serde_json::json!({ "name": "added_later", "type": "Utf8" });
    later["columns"].as_array_mut().unwrap().push(added);
    exported.write(&manifest(), later.to_string().as_bytes());

    exported.check(&[]);
    let ended = exported.tracklake(&["verify", PIPELINE]);
    assert!(ended.stdout.contains("older schema, without `added_later`"), "{}", ended.stdout);

    let mut other = sound;
    other["columns"][0]["type"] = Value::from("Boolean");
    exported.write(&manifest(), other.to_string().as_bytes());
    let found = exported.problems();
    assert_eq!(found.len(), exported.data("parquet").len());
    assert!(found.iter().all(|(_, damage)| damage == "schema"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_and_one_that_was_interrupted_are_respected() {
    let exported = Exported::new().await;
    let lock = File::options()
        .read(true)
        .write(true)
        .open(exported.lake().join(format!("_tracklake/{PIPELINE}/lock")))
        .unwrap();
    lock.lock().unwrap();
    lock.set_len(0).unwrap();
    (&lock).write_all(b"run r1 (pid 4711)").unwrap();

    let ended = exported.tracklake(&["verify", PIPELINE]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), ""));
    assert!(ended.stderr.contains("is held by run r1 (pid 4711)"), "{}", ended.stderr);
    let status = object(&exported.tracklake(&["status", PIPELINE, "--json"]));
    assert_eq!(status["held_by"], "run r1 (pid 4711)");
    drop(lock);

    let record = format!("_tracklake/{PIPELINE}/journal/{STREAM}.json");
    exported.write(&record, b"{}");
    exported.check(&[(&record, "interrupted")]);
    let ended = exported.tracklake(&["status", PIPELINE]);
    assert!(ended.stdout.contains("worklogs: a run was interrupted while publishing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_is_on_disk_and_leaves_it_alone() {
    let exported = Exported::new().await;
    let mut manifest_now = exported.manifest();
    manifest_now["state"]["pending"] =
        serde_json::json!([{ "issue_key": "OPS-7" }, { "issue_key": "OPS-8" }]);
    exported.write(&manifest(), manifest_now.to_string().as_bytes());
    exported.write(&format!("quarantine/{PIPELINE}/{STREAM}/r1.jsonl"), b"{}\n{}\n");
    exported.write(&format!("quarantine/{PIPELINE}/{STREAM}/r2.jsonl"), b"{}\n");
    exported.write(
        &format!("_tracklake/{PIPELINE}/resume/run.json"),
        br#"{"version":1,"fingerprint":"f","now":"2024-07-25T18:00:00Z"}"#,
    );
    exported.write(&format!("_tracklake/{PIPELINE}/resume/{STREAM}.spool"), b"frames");
    let before = exported.files();

    let ended = exported.tracklake(&["status", PIPELINE, "--json"]);
    let text = exported.tracklake(&["status", PIPELINE]).stdout;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(exported.files(), before);
    let status = object(&ended);
    let stream = status["streams"].as_array().unwrap().iter().find(|it| it["stream"] == STREAM);
    let stream = stream.unwrap();
    assert_eq!(stream["rows"], manifest_now["rows"]);
    assert_eq!(stream["cursor"], manifest_now["state"]["cursor"]);
    assert_eq!(stream["pending"].as_array().unwrap().len(), 2);
    assert_eq!(stream["quarantine"]["records"], 3);
    assert_eq!(status["runs"][0]["exit_code"], 0);
    assert_eq!(status["unfinished"]["is_in_time"], true);
    assert_eq!(status["held_by"], Value::Null);
    for expected in [
        "worklogs: 2 parents will be asked again: issue_key=OPS-7, issue_key=OPS-8",
        "worklogs: 3 records in quarantine, in 2 files, the newest `quarantine/yandex_tracker/worklogs/r2.jsonl`",
        "unfinished: the run of 2024-07-25T18:00:00Z has left 6 B of `worklogs`",
        "last runs:",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn where_nothing_was_exported_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");

    // Its zone, its URL and its credentials are not set.
    let status = tracklake(&lake, &["status", "jira_timesheet"]);
    let verify = tracklake(&lake, &["verify", "jira_timesheet"]);

    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert!(status.stdout.contains("nothing has been exported to"), "{}", status.stdout);
    assert_eq!(verify.code, Some(6));
    assert!(verify.stderr.contains("nothing has been exported to"), "{}", verify.stderr);
    assert!(!lake.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn compact_leaves_files_of_the_right_size_alone_and_creates_nothing() {
    let exported = Exported::new().await;
    // The lock says who had it last.
    let files = || {
        let mut files = exported.files();
        files.retain(|path, _| !path.ends_with("/lock"));
        files
    };
    let before = files();
    // Its credentials are not set.
    let compact = |extra: &[&str]| exported.tracklake(&[&["compact", PIPELINE], extra].concat());

    let dry = compact(&["--dry-run"]);
    let done = compact(&[]);
    let json = compact(&["--json", "--stream", STREAM]);
    let unknown = compact(&["--stream", "worklog"]);
    let nowhere = tempfile::tempdir().unwrap();
    let lake = nowhere.path().join("lake");
    let nothing = tracklake(&lake, &["compact", PIPELINE]);

    let expected =
        "note: yandex_tracker: no partition has more or larger files than it should have\n";
    for ended in [&dry, &done] {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.ends_with(expected), "{}", ended.stdout);
    }
    assert_eq!(object(&json)["partitions"], serde_json::json!([]));
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("worklogs"), "{}", unknown.stderr);
    assert_eq!(nothing.code, Some(6), "{}", nothing.stderr);
    assert!(!lake.exists());
    assert!(files() == before);
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
#[test]
fn where_the_files_are_is_not_guessed_when_a_variable_that_says_it_is_not_set() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("pipelines/yandex_tracker.yaml")).unwrap();
    let text = text
        .replacen("vars:\n", "vars:\n  lake: { env: LAKE }\n", 1)
        .replace("  path: output\n", "  path: \"{{ vars.lake }}\"\n");
    std::fs::write(dir.path().join("own.yaml"), text).unwrap();
    // Somebody else's, where files would go if nothing were said.
    std::fs::create_dir_all(dir.path().join("output/_tracklake/yandex_tracker")).unwrap();
    let ended = |command: &str, variables: &[(&str, &str)]| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        process.args([command, "own.yaml"]).current_dir(dir.path()).env_clear();
        process.envs(variables.iter().copied()).output().unwrap()
    };

    for command in ["status", "verify", "quarantine", "report", "compact", "sql-views"] {
        let ended = ended(command, &[]);

        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("say where the files are with `--output DIR`"), "{command}: {said}");
    }
    let views = ended("sql-views", &[("LAKE", "elsewhere")]);
    let views = String::from_utf8(views.stdout).unwrap();
    assert!(views.contains("'elsewhere/parquet/yandex_tracker/worklogs/"), "{views}");
}
