//! A run ends after any number of changes to the disk; the next one finds all of it or none.

use std::{fs, path::Path};

use serde_json::Value;

use super::support::{FORMATS, TestRow, name, names, now, open, read, row, stream, tree, visible};
use crate::{
    load::{
        Destination, Fate, KeptReject, Purpose, ReadScopes, RejectContext, RejectedRecord, Rewrite,
        WriteError, journal, store::Store,
    },
    plan::{DestinationPlan, FormatPlan, WriteMode},
};

const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];

fn old() -> Vec<TestRow> {
    vec![row(1, 0, "old"), row(2, 1, "old"), row(3, 2, "old"), row(5, 5, "old")]
}

fn new() -> Vec<TestRow> {
    // Updated, two that change places, added, re-dated so that a partition goes.
    vec![
        row(1, 0, "new, and longer"),
        row(2, 2, "old"),
        row(3, 1, "old"),
        row(4, 3, "new"),
        row(5, 6, "old"),
    ]
}

fn write(destination: &Destination, rows: &[TestRow]) -> Result<(), WriteError> {
    let mode = WriteMode::Merge { key: vec![name("id")], newest_by: None };
    let mut writer = destination.stream(&stream(mode), 1 << 20)?;
    writer.write(super::support::batch(rows))?;
    writer.finish(&ReadScopes::Nothing, Rewrite::Changed)?.publish(&Value::Null)?;
    Ok(())
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A destination in which a run was ended after `changes` changes, and whether it had ended.
fn ended_after(changes: i64, base: &Path) -> (tempfile::TempDir, bool) {
    let dir = tempfile::tempdir().unwrap();
    copy(base, dir.path());
    let destination = open(dir.path(), &BOTH);
    destination.store().fuse.set(changes);
    let is_done = write(&destination, &new()).is_ok();
    (dir, is_done)
}

#[test]
fn a_run_that_ends_anywhere_has_changed_everything_or_nothing() {
    let base = tempfile::tempdir().unwrap();
    write(&open(base.path(), &BOTH), &old()).unwrap();
    let before = tree(base.path());
    let (after, _) = ended_after(i64::MAX, base.path());
    let after = tree(after.path());
    assert_ne!(before, after);

    let mut seen = Vec::new();
    for changes in 0.. {
        let (dir, is_done) = ended_after(changes, base.path());
        let is_committed = is_done
            || dir.path().join("_tracklake/p/journal/s.json").exists()
            || tree(dir.path()) == after;

        // The run that finishes it is ended, too. Not after every change: the places where the
        // first run ended shift these.
        for changes in (0..).step_by(3) {
            let again = tempfile::tempdir().unwrap();
            copy(dir.path(), again.path());
            let store = Store::open(again.path()).unwrap();
            store.fuse.set(changes);
            let is_recovered = journal::recover(&store, &name("p")).is_ok();
            drop(open(again.path(), &BOTH));
            let expected = if is_committed { &after } else { &before };
            assert!(
                tree(again.path()) == *expected,
                "ended after {changes}: {:?}",
                names(again.path())
            );
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
fn between_any_two_changes_a_reader_finds_no_row_twice() {
    let base = tempfile::tempdir().unwrap();
    let rows = [
        row(1, 0, "a"),
        row(2, 1, "a"),
        row(3, 2, "a"),
        row(4, 3, "a"),
        row(5, 0, "a"),
        row(6, 0, "a"),
    ];
    write(&open(base.path(), &BOTH), &rows).unwrap();
    // To the day before, in a circle, to a day that is new, and away from days that then have none.
    let redated = [row(2, 0, "a"), row(3, 1, "a"), row(4, 2, "a"), row(5, 9, "a"), row(6, 1, "a")];

    let mut pictures = Vec::new();
    for changes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        copy(base.path(), dir.path());
        let destination = open(dir.path(), &BOTH);
        destination.store().fuse.set(changes);
        let is_done = write(&destination, &redated).is_ok();

        for format in BOTH {
            let seen = read(dir.path(), format);
            let mut ids: Vec<_> = seen.values().flatten().map(|it| it.id).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|it| it[0] != it[1]), "after {changes}: {seen:?}");
            pictures.push(ids.len());
        }
        if is_done {
            break;
        }
    }
    assert!(
        pictures.iter().any(|it| *it < rows.len()),
        "nothing was seen in between: {pictures:?}"
    );
}

#[test]
fn parts_whose_rows_move_between_them_are_never_seen_together() {
    let base = tempfile::tempdir().unwrap();
    let mut plan = super::support::destination_plan(base.path(), &BOTH[..1]);
    plan.target_file_bytes = 1;
    let write = |destination: &Destination, rows: &[TestRow]| {
        let mode = WriteMode::Merge { key: vec![name("id")], newest_by: None };
        let mut writer = destination.stream(&stream(mode), 1 << 22)?;
        writer.write(super::support::batch(rows))?;
        writer.finish(&ReadScopes::Nothing, Rewrite::Changed)?.publish(&Value::Null)
    };
    let open = |path: &Path| {
        let plan = DestinationPlan { path: path.into(), ..plan.clone() };
        Destination::open(&plan, &name("p"), "r1", now(), Purpose::Publish).unwrap()
    };
    let mut rows: Vec<TestRow> = (0..20_000).map(|id| row(id, 0, "a")).collect();
    rows.extend((20_000..20_100).map(|id| row(id, 1, "a")));
    assert!(write(&open(base.path()), &rows).unwrap().files > 3);
    // The first rows change places with rows of another day, and a row comes before all others: every
    // part begins elsewhere.
    let changes: Vec<TestRow> = (0..50)
        .map(|id| row(id, 1, "a"))
        .chain((20_000..20_020).map(|id| row(id, 0, "a")))
        .chain([row(-1, 0, "new")])
        .collect();

    let steps = {
        let dir = tempfile::tempdir().unwrap();
        copy(base.path(), dir.path());
        let destination = open(dir.path());
        destination.store().fuse.set(i64::MAX);
        write(&destination, &changes).unwrap();
        i64::MAX - destination.store().fuse.left()
    };
    let mut committed = 0;
    for step in steps - 40..=steps {
        let dir = tempfile::tempdir().unwrap();
        copy(base.path(), dir.path());
        let destination = open(dir.path());
        destination.store().fuse.set(step);
        let is_done = write(&destination, &changes).is_ok();
        drop(destination);

        for is_recovered in [false, true] {
            if is_recovered {
                drop(open(dir.path()));
            }
            let seen = read(dir.path(), BOTH[0]);
            let mut ids: Vec<_> = seen.values().flatten().map(|it| it.id).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(count, ids.len(), "after {step} of {steps}, recovered: {is_recovered}");
            if is_recovered {
                let is_committed = ids.contains(&Some(-1));
                assert_eq!(count, rows.len() + usize::from(is_committed));
                committed += usize::from(is_committed);
                assert!(is_committed || !is_done);
            }
        }
    }
    assert!((10..41).contains(&committed), "{committed}");
}

#[test]
fn a_record_that_cannot_be_understood_stops_the_run_and_nothing_is_removed() {
    let whole = r#"{"version": 1, "files_in": []"#;
    for (content, expected) in [
        (whole, "is damaged"),
        ("", "is damaged"),
        (r#"{"version": 1, "files": []}"#, "is damaged"),
        (r#"{"version": 2, "unheard": "of"}"#, "has version 2, this program knows version 1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(&open(dir.path(), &BOTH), &old()).unwrap();
        let journal = dir.path().join("_tracklake/p/journal");
        let staged = dir.path().join("_tracklake/p/staging/run-r0/s");
        fs::create_dir_all(&staged).unwrap();
        put(&staged.join("0.parquet.staged"), "rows");
        put(&journal.join("s.json"), content);
        let before = tree(dir.path());

        let plan = super::support::destination_plan(dir.path(), &BOTH);
        let err = Destination::open(&plan, &name("p"), "r2", now(), Purpose::Publish).unwrap_err();

        assert!(err.to_string().ends_with(expected), "{err}");
        assert!(err.to_string().contains("journal/s.json"), "{err}");
        assert_eq!(tree(dir.path()), before);
    }
}

#[test]
fn a_promised_file_that_is_nowhere_is_named() {
    let base = tempfile::tempdir().unwrap();
    write(&open(base.path(), &BOTH), &old()).unwrap();
    let dir = (0..1_000)
        .map(|changes| ended_after(changes, base.path()).0)
        .find(|it| it.path().join("_tracklake/p/journal/s.json").exists())
        .unwrap();
    fs::remove_file(dir.path().join("_tracklake/p/staging/run-r1/s/0.parquet.staged")).unwrap();
    let before = tree(dir.path());

    let plan = super::support::destination_plan(dir.path(), &BOTH);
    let err = Destination::open(&plan, &name("p"), "r2", now(), Purpose::Publish).unwrap_err();

    assert!(matches!(err, WriteError::Lost { .. }), "{err}");
    assert!(
        err.to_string()
            .contains("neither there nor at `_tracklake/p/staging/run-r1/s/0.parquet.staged`"),
        "{err}"
    );
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_record_that_names_files_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("precious");
    put(&outside, "data");
    let root = dir.path().join("output");
    write(&open(&root, &BOTH), &old()).unwrap();
    let record = r#"{
        "version": 1, "files_in": [], "files_out": ["../precious"],
        "manifest": {
            "version": 1, "pipeline": "p", "stream": "s", "run": "r0", "rows": 0, "key": [], "columns": [],
            "formats": {}, "files": [], "state": null,
            "partition": {"name": "date", "column": "start", "unit": "day", "zone": "UTC"}
        }
    }"#;
    put(&root.join("_tracklake/p/journal/s.json"), record);
    let seen = visible(&root);

    let plan = super::support::destination_plan(&root, &BOTH);
    let err = Destination::open(&plan, &name("p"), "r2", now(), Purpose::Publish).unwrap_err();

    assert!(matches!(err, WriteError::Outside { .. }), "{err}");
    assert!(outside.exists());
    assert_eq!(visible(&root), seen);
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn put(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
}

#[test]
fn a_report_that_was_being_written_at_a_kill_goes_and_whole_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("_tracklake/p/runs");
    open(dir.path(), &BOTH).keep_report("{}").unwrap();
    fs::File::create_new(runs.join("r0.json.new")).unwrap();

    drop(open(dir.path(), &BOTH));

    assert_eq!(names(&runs), ["r1.json"]);
}

/// Lets the records of r1 with a raw text in `leaves` leave quarantine as rows of a stream without
/// a key, where nothing would tell a row that came twice.
fn replay(destination: &Destination, leaves: &[&str]) -> Result<(), WriteError> {
    let mode = WriteMode::Replace { scope: crate::plan::ReplaceScope::Slice, key: Vec::new() };
    let mut writer = destination.stream(&stream(mode), 1 << 20)?;
    let mut quarantine = destination.requarantine(&name("s"));
    quarantine.decide(|record| {
        if !leaves.contains(&record.raw.as_str()) {
            let reason = "still no row".to_owned();
            let stays = KeptReject { column: None, reason, ..record.clone() };
            return Ok(Fate::StaysAs(Box::new(stays)));
        }
        writer.write(super::support::batch(&[row(1, 0, "equal")]))?;
        Ok(Fate::Leaves)
    })?;
    let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed)?;
    staged.settling("r1".to_owned(), quarantine).publish(&Value::Null)?;
    Ok(())
}

#[test]
fn a_replay_that_ends_anywhere_has_each_record_once_in_quarantine_or_as_a_row() {
    let base = tempfile::tempdir().unwrap();
    let destination = open(base.path(), &BOTH);
    let mode = WriteMode::Replace { scope: crate::plan::ReplaceScope::Slice, key: Vec::new() };
    let mut writer = destination.stream(&stream(mode), 1 << 20).unwrap();
    writer.write(super::support::batch(&[row(1, 0, "equal"), row(2, 1, "other")])).unwrap();
    let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap();
    staged.publish(&Value::Null).unwrap();
    let mut quarantine = destination.quarantine(&name("s"));
    for raw in ["a", "b", "c"] {
        quarantine
            .write(RejectedRecord {
                slice: "all",
                page: 1,
                position: 0,
                column: None,
                reason: "no row",
                raw,
                masked: &[],
                context: &RejectContext::default(),
            })
            .unwrap();
    }
    quarantine.publish().unwrap();
    drop(destination);

    for leaves in [&["a", "c"][..], &["a", "b", "c"]] {
        let mut seen = Vec::new();
        for changes in 0.. {
            let dir = tempfile::tempdir().unwrap();
            copy(base.path(), dir.path());
            let destination = open(dir.path(), &BOTH);
            destination.store().fuse.set(changes);
            let is_done = replay(&destination, leaves).is_ok();
            drop(destination);
            // What the next run finishes, or forgets.
            let destination = open(dir.path(), &BOTH);

            let rows = read(dir.path(), BOTH[0]).values().map(Vec::len).sum::<usize>();
            assert_eq!(rows, read(dir.path(), BOTH[1]).values().map(Vec::len).sum::<usize>());
            let mut kept = Vec::new();
            let look = |it: KeptReject| kept.push((it.raw, it.reason));
            destination.inspection().rejected(&name("s"), look).unwrap();
            let is_published = rows == 2 + leaves.len();
            let expected: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .filter(|it| !is_published || !leaves.contains(it))
                .map(|it| (it.to_owned(), if is_published { "still no row" } else { "no row" }))
                .map(|(raw, reason)| (raw, reason.to_owned()))
                .collect();
            assert!(is_published || rows == 2, "{rows} rows after {changes}");
            assert_eq!(kept, expected, "after {changes}");
            assert!(is_published || !is_done);
            let directory = dir.path().join("quarantine/p/s");
            assert_eq!(directory.exists(), !kept.is_empty(), "after {changes}");
            seen.push(is_published);
            if is_done {
                break;
            }
        }
        assert!(seen.is_sorted(), "what is committed stays committed: {seen:?}");
        assert!(seen.iter().filter(|it| **it).count() > 10, "{seen:?}");
        assert!(seen.iter().filter(|it| !**it).count() > 10, "{seen:?}");
    }
}
