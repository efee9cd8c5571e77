//! The crash tests of a directory, in a bucket: a run ends after any number of changes to it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::support::{FORMATS, TestRow, batch, name, now, read, row, stream};
use crate::{
    load::{
        Damage, Destination, Inspection, Purpose, ReadScopes, Rewrite, WriteError, journal,
        store::{EntryKind, Refusal, RefusalKind, Store, memory},
    },
    plan::{DestinationPath, DestinationPlan, FormatPlan, LeasePlan, WriteMode},
};

const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];

fn path(bucket: &str) -> DestinationPath {
    format!("memory://{bucket}/out").parse().unwrap()
}

/// A lease that does not run out while a test is slow.
fn plan(bucket: &str) -> DestinationPlan {
    let lease = LeasePlan { length: Duration::from_hours(1), single_writer: false };
    let (formats, target_file_bytes) = (BOTH.to_vec(), 256 << 20);
    DestinationPlan { path: path(bucket), lease, formats, target_file_bytes }
}

fn open(bucket: &str) -> Destination {
    Destination::open(&plan(bucket), &name("p"), "r1", now(), Purpose::Publish).unwrap()
}

fn write(destination: &Destination, rows: &[TestRow]) -> Result<(), WriteError> {
    let mode = WriteMode::Merge { key: vec![name("id")], newest_by: None };
    let mut writer = destination.stream(&stream(mode), 1 << 20)?;
    writer.write(batch(rows))?;
    writer.finish(&ReadScopes::Nothing, Rewrite::Changed)?.publish(&Value::Null)?;
    Ok(())
}

fn store(bucket: &str) -> Store {
    Store::of(&path(bucket), LeasePlan::default()).unwrap()
}

/// Every object but the lease, which has a process id in it, and the epochs of what is under way.
fn tree(bucket: &str) -> BTreeMap<String, Vec<u8>> {
    let store = store(bucket);
    let mut files = BTreeMap::new();
    let mut left: Vec<String> =
        ["parquet", "csv", "_tracklake", "quarantine"].map(str::to_owned).into();
    while let Some(directory) = left.pop() {
        for entry in store.list(&directory).unwrap() {
            let path = format!("{directory}/{}", entry.name);
            if entry.kind == EntryKind::Directory {
                left.push(path);
            } else if !path.ends_with("/lock") {
                let content = store.read(&path).unwrap().unwrap();
                files.insert(path, content);
            }
        }
    }
    files
}

/// What a reader finds.
fn rows(bucket: &str, format: FormatPlan) -> BTreeMap<String, Vec<TestRow>> {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in tree(bucket) {
        put(&dir.path().join(path), &content);
    }
    read(dir.path(), format)
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A bucket in which a run was ended after `changes` changes, and whether it had ended.
fn ended_after(changes: i64, base: &str, bucket: &str, rows: &[TestRow]) -> bool {
    memory::copy(&format!("memory://{base}"), &format!("memory://{bucket}"));
    let destination = open(bucket);
    destination.store().fuse.set(changes);
    write(&destination, rows).is_ok()
}

#[test]
fn a_bucket_has_the_files_that_a_directory_has() {
    let old = [row(1, 0, "a"), row(2, 1, "b")];
    let new = [row(1, 5, "a"), row(3, 0, "c")];
    let dir = tempfile::tempdir().unwrap();
    for rows in [&old, &new] {
        write(&open("same"), rows).unwrap();
        write(&super::support::open(dir.path(), &BOTH), rows).unwrap();
    }

    assert_eq!(tree("same"), super::support::tree(dir.path()));
}

#[test]
fn a_run_that_ends_anywhere_has_changed_everything_in_a_bucket_or_nothing() {
    let old = [row(1, 0, "old"), row(2, 1, "old"), row(3, 2, "old"), row(5, 5, "old")];
    let new =
        [row(1, 0, "new"), row(2, 2, "old"), row(3, 1, "old"), row(4, 3, "new"), row(5, 6, "old")];
    write(&open("crash"), &old).unwrap();
    let before = tree("crash");
    assert!(ended_after(i64::MAX, "crash", "crash-whole", &new));
    let after = tree("crash-whole");
    assert_ne!(before, after);

    let mut seen = Vec::new();
    for changes in 0.. {
        let is_done = ended_after(changes, "crash", "crash-first", &new);
        let left = tree("crash-first");
        let is_committed =
            is_done || left.contains_key("_tracklake/p/journal/s.json") || left == after;
        // The run that finishes it is ended, too.
        for changes in (0..).step_by(3) {
            memory::copy("memory://crash-first", "memory://crash-again");
            let again = store("crash-again");
            again.fuse.set(changes);
            let is_recovered = journal::recover(&again, &name("p")).is_ok();
            drop(open("crash-again"));
            let expected = if is_committed { &after } else { &before };
            let found = tree("crash-again");
            assert!(found == *expected, "ended after {changes}: {:?}", found.keys());
            if is_recovered {
                break;
            }
        }
        seen.push(is_committed);
        if is_done {
            break;
        }
    }
    assert!(seen.is_sorted(), "what is committed stays committed: {seen:?}");
    assert!(seen.iter().filter(|it| **it).count() > 10, "{seen:?}");
    assert!(seen.iter().filter(|it| !**it).count() > 10, "{seen:?}");
}

#[test]
fn between_any_two_changes_a_reader_of_a_bucket_finds_no_row_twice() {
    let old: Vec<TestRow> = (1..=6).map(|id| row(id, (id - 1) % 3, "a")).collect();
    write(&open("twice"), &old).unwrap();
    // To the day before, in a circle, to a day that is new, and away from days that then have none.
    let redated = [row(2, 0, "a"), row(3, 1, "a"), row(4, 2, "a"), row(5, 9, "a"), row(6, 1, "a")];

    let mut pictures = Vec::new();
    for changes in 0.. {
        let is_done = ended_after(changes, "twice", "twice-ended", &redated);
        for format in BOTH {
            let seen = rows("twice-ended", format);
            let mut ids: Vec<_> = seen.values().flatten().map(|it| it.id).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|it| it[0] != it[1]), "after {changes}: {seen:?}");
            pictures.push(ids.len());
        }
        if is_done {
            break;
        }
    }
    assert!(pictures.iter().any(|it| *it < old.len()), "nothing was seen between: {pictures:?}");
}

#[test]
fn a_commit_of_an_earlier_epoch_that_comes_late_changes_nothing() {
    write(&open("zombie"), &[row(1, 0, "a")]).unwrap();
    // The record of a run that was paused right before it wrote it.
    let changes = (0..1_000)
        .find(|it| {
            ended_after(*it, "zombie", "zombie-found", &[row(2, 0, "b")]);
            store("zombie-found").size("_tracklake/p/journal/s.json").unwrap().is_some()
        })
        .unwrap();
    ended_after(changes, "zombie", "zombie-paused", &[row(2, 0, "b")]);
    let paused = store("zombie-paused");
    let record = paused.read("_tracklake/p/journal/s.json").unwrap().unwrap();
    paused.remove("_tracklake/p/journal/s.json").unwrap();

    // A later run finds no record, and publishes.
    write(&open("zombie-paused"), &[row(3, 1, "of another day")]).unwrap();
    let before = tree("zombie-paused");
    paused.replace("_tracklake/p/journal/s.json", &record).unwrap();
    drop(open("zombie-paused"));

    assert_eq!(tree("zombie-paused"), before);
}

const RECORD: &str = "_tracklake/p/journal/s.json";

fn inspect(bucket: &str) -> Inspection {
    Inspection::open(&path(bucket), &name("p")).unwrap().unwrap()
}

#[test]
fn a_bucket_is_verified_while_the_lease_of_a_run_that_may_be_dead_is_there() {
    write(&open("leased"), &[row(1, 0, "a")]).unwrap();
    // Neither renewed nor let go of while this is looked at.
    let _killed = open("leased");

    let verified = inspect("leased").verify(&[name("s")]).unwrap();

    assert_eq!((verified[0].rows, &verified[0].problems[..]), (1, &[][..]));
    store("leased").replace(RECORD, br#"{"epoch":2}"#).unwrap();
    let problems = &inspect("leased").verify(&[name("s")]).unwrap()[0].problems;
    assert_eq!((problems[0].path.as_str(), problems[0].damage), (RECORD, Damage::Interrupted));
    let process = format!("being published by run r1 (pid {})", std::process::id());
    assert!(problems[0].reason.starts_with(&process), "{}", problems[0].reason);
}

#[test]
fn a_commit_that_came_too_late_is_no_interrupted_one() {
    write(&open("void"), &[row(1, 0, "a")]).unwrap();
    drop(open("void"));
    for (record, is_interrupted) in [
        // Runs 1 and 2 have looked for commits of runs before them.
        (r#"{"epoch":1}"#, false),
        (r#"{"epoch":2}"#, true),
        (r#"{"epoch":3}"#, true),
        // Nobody knows.
        ("{}", true),
        ("{", true),
    ] {
        store("void").replace(RECORD, record.as_bytes()).unwrap();

        let inspection = inspect("void");

        let expected = if is_interrupted { vec![name("s")] } else { Vec::new() };
        assert_eq!(inspection.interrupted().unwrap(), expected, "{record}");
        let problems = &inspection.verify(&[name("s")]).unwrap()[0].problems;
        assert_eq!(!problems.is_empty(), is_interrupted, "{record}: {problems:?}");
    }
    store("void").replace(RECORD, br#"{"epoch":1}"#).unwrap();
    assert_eq!(inspect("void").unapplied().unwrap(), []);
}

#[test]
fn a_commit_that_comes_too_late_is_in_nobodys_way() {
    let rows = [row(2, 1, "b")];
    for bucket in ["in-time", "in-the-way", "of-a-later-one"] {
        write(&open(bucket), &[row(1, 0, "a")]).unwrap();
    }
    write(&open("in-time"), &rows).unwrap();

    let destination = open("in-the-way");
    store("in-the-way").replace(RECORD, br#"{"epoch":1}"#).unwrap();
    write(&destination, &rows).unwrap();
    drop(destination);
    let destination = open("of-a-later-one");
    store("of-a-later-one").replace(RECORD, br#"{"epoch":3}"#).unwrap();
    let before = tree("of-a-later-one");
    let refused = write(&destination, &rows).unwrap_err();

    assert!(tree("in-the-way") == tree("in-time"));
    let WriteError::Io { source, .. } = &refused else { panic!("{refused}") };
    assert_eq!(Refusal::kind_of(source), Some(RefusalKind::Condition));
    let visible = |tree: BTreeMap<String, Vec<u8>>| {
        tree.into_iter().filter(|it| !it.0.contains("/staging/")).collect::<Vec<_>>()
    };
    assert!(visible(tree("of-a-later-one")) == visible(before));
}

#[test]
fn a_file_whose_put_fails_once_its_writer_has_gone_on_is_not_committed() {
    let old = [row(1, 0, "old"), row(2, 1, "old")];
    let new: Vec<TestRow> = (1..=9).map(|id| row(id, id, "new")).collect();
    write(&open("late"), &old).unwrap();
    let before = tree("late");
    // What is written in all.
    memory::copy("memory://late", "memory://late-whole");
    write(&open("late-whole"), &new).unwrap();
    let after = tree("late-whole");
    let staged =
        after.iter().filter(|it| it.0.contains("/part-") && before.get(it.0) != Some(it.1));
    let staged = staged.count();
    assert!(staged > 16, "more than are sent at a time: {staged}");

    // One fails when all others are there that can be sent beside it.
    for failing in [0, 7, staged - 1] {
        let (begun, there) = (AtomicUsize::new(0), Arc::new(Semaphore::new(0)));
        let fault: memory::Fault = Arc::new(move |key| {
            let is_staged = key.as_ref().ends_with(".staged");
            let number = if is_staged { begun.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
            let there = Arc::clone(&there);
            Box::pin(async move {
                if number == failing {
                    let others = u32::try_from(staged - 1).unwrap();
                    there.acquire_many(others).await.unwrap().forget();
                    let source = "status code: 500 Internal Server Error".into();
                    return Err(object_store::Error::Generic { store: "S3", source });
                }
                there.add_permits(usize::from(is_staged));
                Ok(())
            })
        });
        memory::disturb("memory://late", Some(fault));
        let failed = write(&open("late"), &new).unwrap_err();
        memory::disturb("memory://late", None);

        let WriteError::Io { action, path, source } = &failed else { panic!("{failed}") };
        assert_eq!((*action, Refusal::kind_of(source)), ("write", Some(RefusalKind::Server)));
        assert!(path.to_str().unwrap().ends_with(".staged"), "{failed}");
        assert!(tree("late") == before, "{failing}");
    }
    write(&open("late"), &new).unwrap();
    assert!(tree("late") == after);
}
