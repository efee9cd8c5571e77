//! A disk that is full and directories that may not be written: the run says where, what is published
//! stays, and the next run completes.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

/// Who nobody is, everywhere: permissions do not hold for root, as whom tests may run.
const NOBODY: u32 = 65_534;

/// A server, and an output that a run has published to.
struct Site {
    workspace: Workspace,
    program: PathBuf,
    /// Where there are records that do not fit on a small disk, after the few that do.
    full: Server,
}

/// 4 KiB that do not get much smaller, and larger in CSV, where a quote is two.
fn text(id: u64) -> String {
    let mut state = id;
    let mut word = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("\"{:03x}", state >> 52)
    };
    (0..1_024).map(|_| word()).collect()
}

fn records(ids: std::ops::Range<u64>) -> Value {
    ids.map(|id| json!({ "id": id, "day": "2024-07-25", "text": text(id) })).collect()
}

fn yaml(server: &Server) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
streams:
  items:
    request: {{ path: /items }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      text: {{ from: text, type: string }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
destination: {{ formats: {{ parquet: {{}}, csv: {{}} }} }}
",
        server.url()
    )
}

impl Site {
    fn new() -> Self {
        let workspace = Workspace::new();
        // Nobody may not look into the place that the program was built in. By a process of its own: what
        // another test starts meanwhile would inherit a file that is open for writing, which none may execute.
        let program = workspace.path().join("tracklake");
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_tracklake")).arg(&program);
        assert!(copy.status().unwrap().success());
        let small = Server::start(|_| Response::json(&records(0..2)));
        let full = Server::start(|_| Response::json(&records(0..100)));
        let site = Self { workspace, program, full };
        for_each_below(site.workspace.path(), &mut |it| {
            if is_root(it) {
                chown(it, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        });
        let ended = site.run(&small, "");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        site
    }

    /// A run after some shell commands.
    fn run(&self, server: &Server, before: &str) -> Ended {
        self.start(&self.workspace.command(&yaml(server), &[]), before)
    }

    /// Another command about a pipeline after some shell commands.
    fn command(&self, name: &str, yaml: &str, args: &[&str], before: &str) -> Ended {
        self.start(&self.workspace.subcommand(name, yaml, args), before)
    }

    fn start(&self, plain: &Command, before: &str) -> Ended {
        let mut command = Command::new("bash");
        command
            .current_dir(self.workspace.path())
            .arg("-c")
            .arg(format!("{before}\nexec \"$0\" \"$@\""))
            .arg(&self.program)
            .args(plain.get_args())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if is_root(Path::new("/proc/self")) {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ended::of(&command.output().unwrap())
    }

    /// Makes directories such that nobody can change what is in them, or as they were.
    fn set_writable(&self, dir: &str, is_writable: bool) {
        let mode = if is_writable { 0o755 } else { 0o555 };
        for_each_below(&self.workspace.output().join(dir), &mut |it| {
            if it.is_dir() {
                fs::set_permissions(it, Permissions::from_mode(mode)).unwrap();
            }
        });
    }

    fn ids(&self) -> Vec<Value> {
        self.workspace.rows("items").iter().map(|it| it["id"].clone()).collect()
    }

    #[track_caller]
    fn check_completes(&self) {
        let ended = self.run(&self.full, "");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(self.ids(), (0..100).map(Value::from).collect::<Vec<_>>());
        let files = self.workspace.files();
        let is_left = |it: &&String| {
            ["/staging/", "/journal/", "/resume/", ".new", ".staged"]
                .iter()
                .any(|part| it.contains(part))
        };
        assert_eq!(files.keys().filter(is_left).collect::<Vec<_>>(), [""; 0]);
    }
}

/// The run said where it could not write and what to try.
#[track_caller]
fn check_refused(ended: &Ended, place: &str, reason: &str) {
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    for part in [place, reason, "hint: check that the directory is writable and the disk has space"]
    {
        assert!(ended.stderr.contains(part), "no {part:?} in\n{}", ended.stderr);
    }
}

/// Whether a file belongs to root.
fn is_root(path: &Path) -> bool {
    fs::metadata(path).unwrap().uid() == 0
}

/// The directory and all that is in it.
fn for_each_below(dir: &Path, act: &mut dyn FnMut(&Path)) {
    act(dir);
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            for_each_below(&entry.path(), act);
        } else {
            act(&entry.path());
        }
    }
}

/// A file may not become larger than this, which a program is told as it is told of a full disk.
fn at_most(kibibytes: u32) -> String {
    format!("trap '' XFSZ; ulimit -f {kibibytes}")
}

#[test]
fn a_full_disk_is_named_and_leaves_what_is_published() {
    // All that is written, in the order of its sizes.
    for (kibibytes, place) in
        [(0, "/_tracklake/own/lock`"), (16, "/resume/items.spool`"), (460, "/staging/")]
    {
        let site = Site::new();
        let before = site.workspace.published();

        let ended = site.run(&site.full, &at_most(kibibytes));

        check_refused(&ended, place, "File too large (os error 27)");
        assert_eq!(site.workspace.published(), before, "at {kibibytes} KiB");
        site.check_completes();
    }
}

#[test]
fn an_output_that_may_not_be_written_is_named_and_left_alone() {
    let site = Site::new();
    let files = || {
        let mut files = site.workspace.files();
        // It says who had it last.
        files.remove("_tracklake/own/lock");
        files
    };
    let before = files();
    site.set_writable("", false);

    let ended = site.run(&site.full, "");

    check_refused(&ended, "/output/", "Permission denied (os error 13)");
    assert_eq!(files(), before);
    site.set_writable("", true);
    site.check_completes();
}

/// The record says that all of it will be there: the next run brings it.
#[test]
fn a_dataset_that_may_not_be_written_gets_its_files_once_it_may() {
    let site = Site::new();
    let before = site.workspace.published();
    site.set_writable("parquet", false);

    let ended = site.run(&site.full, "");

    check_refused(&ended, "output/parquet/own/items", "Permission denied (os error 13)");
    let parquet = |files: std::collections::BTreeMap<String, Vec<u8>>| {
        files.into_iter().filter(|(it, _)| it.starts_with("parquet/")).collect::<Vec<_>>()
    };
    assert_eq!(parquet(site.workspace.published()), parquet(before));
    site.set_writable("parquet", true);
    site.check_completes();
}

#[test]
fn a_replay_that_meets_a_full_disk_leaves_its_records_in_quarantine() {
    for (kibibytes, place) in [(0, "/_tracklake/own/lock`"), (16, "/staging/"), (460, "/staging/")]
    {
        let site = Site::new();
        let right = yaml(&site.full).replace("    write:", "    max_rejected: 1000\n    write:");
        let wrong = right.replace("{ from: id,", "{ from: text,");
        let ended = site.command("run", &wrong, &[], "");
        assert_eq!(ended.code, Some(7), "{}", ended.stderr);
        let before = site.workspace.published();

        let ended = site.command("quarantine", &right, &["--replay"], &at_most(kibibytes));

        check_refused(&ended, place, "File too large (os error 27)");
        assert_eq!(site.workspace.published(), before, "at {kibibytes} KiB");
        let ended = site.command("quarantine", &right, &["--replay"], "");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(site.ids(), (0..100).map(Value::from).collect::<Vec<_>>());
    }
}

#[test]
fn parts_that_become_one_on_a_full_disk_stay_as_they_were() {
    let site = Site::new();
    let many = Server::start(|_| Response::json(&records(0..2_500)));
    let small = yaml(&many).replace("destination: {", "destination: { target_file_mb: 1,");
    let ended = site.command("run", &small, &[], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let second = "csv/own/items/date=2024-07-25/part-1.csv";
    let before = site.workspace.published();
    assert!(before.contains_key(second), "{:?}", before.keys());

    for (kibibytes, place) in [(0, "/_tracklake/own/lock`"), (460, "/staging/")] {
        let ended = site.command("compact", &yaml(&many), &[], &at_most(kibibytes));
        check_refused(&ended, place, "File too large (os error 27)");
        assert_eq!(site.workspace.published(), before, "at {kibibytes} KiB");
    }

    let ended = site.command("compact", &yaml(&many), &[], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!site.workspace.files().contains_key(second));
    assert_eq!(site.ids(), (0..2_500).map(Value::from).collect::<Vec<_>>());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn a_page_that_does_not_fit_leaves_the_one_before_it_and_no_half_of_it() {
    let site = Site::new();
    let page = site.workspace.path().join("page.html");
    let before = "yesterday's";
    fs::write(&page, before).unwrap();
    chown(&page, Some(NOBODY), Some(NOBODY)).unwrap_or_default();
    let args = ["-o", "page.html"];

    let ended = site.command("report", &yaml(&site.full), &args, &at_most(4));

    check_refused(&ended, "page.html.new`", "File too large (os error 27)");
    assert_eq!(fs::read_to_string(&page).unwrap(), before);
    assert!(!site.workspace.path().join("page.html.new").exists());
}
