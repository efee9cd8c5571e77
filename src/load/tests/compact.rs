//! Partitions of many files become partitions of few, and nothing else changes.

use std::path::Path;

use serde_json::{Value, json};

use super::support::{
    FORMATS, TestRow, append, batch, destination_plan, name, now, read, row, stream, tree,
};
use crate::{
    load::{
        Compaction, DEFAULT_MEMORY_BYTES, Destination, Inspection, Published, Purpose, ReadScopes,
        Rewrite, WriteError,
    },
    plan::{DestinationPlan, FormatPlan, ReplaceScope, StreamPlan, WriteMode},
};

const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];

fn open(path: &Path, formats: &[FormatPlan], target_file_bytes: u64, run: &str) -> Destination {
    let plan = DestinationPlan { target_file_bytes, ..destination_plan(path, formats) };
    Destination::open(&plan, &name("p"), run, now(), Purpose::Publish).unwrap()
}

/// Two days of three files each, and one day of one file, of each format.
fn scattered(path: &Path, formats: &[FormatPlan], plan: &StreamPlan) -> Published {
    let destination = open(path, formats, 1, "r1");
    let mut rows: Vec<TestRow> = (0..40_000).map(|id| row(id, id % 2, "a")).collect();
    rows.push(row(40_000, 5, "b"));
    let mut writer = destination.stream(plan, 1 << 22).unwrap();
    writer.write(batch(&rows)).unwrap();
    let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap();
    staged.publish(&json!({ "cursor": 7 })).unwrap()
}

fn compact(
    path: &Path,
    formats: &[FormatPlan],
    plan: &StreamPlan,
) -> Result<Option<(Compaction, Compaction)>, WriteError> {
    open(path, formats, 256 << 20, "r2").compact(plan, DEFAULT_MEMORY_BYTES)
}

fn days(days: &[&str]) -> Vec<String> {
    days.iter().map(|it| format!("date={it}")).collect()
}

#[test]
fn a_partition_of_many_files_becomes_one_of_the_same_rows_state_and_run() {
    let without_key = WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() };
    for plan in [stream(append()), stream(without_key)] {
        for formats in [&BOTH[..], &BOTH[1..]] {
            let dir = tempfile::tempdir().unwrap();
            scattered(dir.path(), formats, &plan);
            let before: Vec<_> = formats.iter().map(|it| read(dir.path(), *it)).collect();

            let found = compact(dir.path(), formats, &plan).unwrap().unwrap();

            let (was, is) = found;
            assert_eq!(was.partitions, days(&["2024-07-25", "2024-07-26"]));
            assert_eq!(is.partitions, was.partitions);
            let each = formats.len() as u64;
            assert_eq!((was.files, is.files), (6 * each, 2 * each));
            let after: Vec<_> = formats.iter().map(|it| read(dir.path(), *it)).collect();
            assert!(before == after);
            let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();
            let summary = inspection.stream(&name("s")).unwrap().unwrap();
            assert_eq!((summary.rows, summary.run.as_str()), (40_001, "r1"));
            assert_eq!(summary.state, json!({ "cursor": 7 }));
            assert_eq!(inspection.verify(&[name("s")]).unwrap()[0].problems, []);
        }
    }
}

#[test]
fn what_was_written_anew_is_not_written_anew_again() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH, &stream(append()));
    compact(dir.path(), &BOTH, &stream(append())).unwrap();
    let before = tree(dir.path());

    let found = compact(dir.path(), &BOTH, &stream(append())).unwrap().unwrap();

    assert_eq!(found, (Compaction::default(), Compaction::default()));
    assert!(tree(dir.path()) == before);
}

#[test]
fn a_format_that_the_dataset_does_not_have_does_not_come() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH[..1], &stream(append()));

    let (_, is) = compact(dir.path(), &BOTH, &stream(append())).unwrap().unwrap();

    assert_eq!(is.files, 2);
    assert!(!dir.path().join("csv").exists());
}

#[test]
fn nothing_that_was_published_is_nothing_to_write_anew() {
    let dir = tempfile::tempdir().unwrap();

    assert_eq!(compact(dir.path(), &BOTH, &stream(append())).unwrap(), None);
}

#[test]
fn killed_anywhere_the_rows_are_the_same_and_never_seen_twice() {
    let base = tempfile::tempdir().unwrap();
    scattered(base.path(), &BOTH, &stream(append()));
    let expected = read(base.path(), BOTH[0]);

    let mut is_compacted = Vec::new();
    for changes in (0..).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        super::crash::copy(base.path(), dir.path());
        let destination = open(dir.path(), &BOTH, 256 << 20, "r2");
        destination.store().fuse.set(changes);
        let is_done = destination.compact(&stream(append()), DEFAULT_MEMORY_BYTES).is_ok();
        drop(destination);
        for format in BOTH {
            let seen = read(dir.path(), format);
            let mut ids: Vec<_> = seen.values().flatten().map(|it| it.id).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|it| it[0] != it[1]), "after {changes}");
        }

        // The next run finishes it, or removes what was staged.
        drop(open(dir.path(), &BOTH, 256 << 20, "r3"));
        assert!(read(dir.path(), BOTH[0]) == expected, "after {changes}");
        assert!(read(dir.path(), BOTH[1]) == expected, "after {changes}");
        let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();
        is_compacted.push(inspection.stream(&name("s")).unwrap().unwrap().files == 6);
        if is_done {
            break;
        }
    }
    assert!(is_compacted.is_sorted() && is_compacted.contains(&false), "{is_compacted:?}");
    assert_eq!(is_compacted.last(), Some(&true));
}

#[test]
fn rows_that_are_not_those_of_the_manifest_are_not_published() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH, &stream(append()));
    super::verify::edit(dir.path(), |manifest| manifest["rows"] = Value::from(40_002));
    let before = tree(dir.path());

    let err = compact(dir.path(), &BOTH, &stream(append())).unwrap_err();

    let expected = "stream `s`: its files have 40001 rows and its manifest 40002; see what `tracklake verify` says";
    assert_eq!(err.to_string(), expected);
    assert!(tree(dir.path()) == before);
}
