//! Partitions of many files become partitions of few, and nothing else changes.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::array::AsArray as _;
use serde_json::{Value, json};

use super::support::{
    FORMATS, TestRow, append, batch, destination_plan, name, now, parquet_rows, read, row, sorted,
    stream, tree,
};
use crate::{
    load::{
        Compaction, DEFAULT_MEMORY_BYTES, Destination, Inspection, Published, Purpose, ReadScopes,
        Rewrite, UnknownFiles, WriteError,
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

#[test]
fn the_zone_of_the_partitions_need_not_be_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = stream(append());
    plan.partition.zone = chrono_tz::Asia::Shanghai;
    scattered(dir.path(), &BOTH, &plan);
    let before = read(dir.path(), BOTH[0]);

    let (was, is) = compact(dir.path(), &BOTH, &stream(append())).unwrap().unwrap();

    assert!(was.files > is.files, "{was:?} {is:?}");
    assert!(read(dir.path(), BOTH[0]) == before);
    // The next run, which knows it, goes on.
    open(dir.path(), &BOTH, 256 << 20, "r3").check(&plan, UnknownFiles::Refused).unwrap();
}

#[test]
fn what_a_reader_has_open_stays_as_it_was_and_what_it_opens_then_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH, &stream(append()));
    let content = |mut file: &File| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let day = dir.path().join("parquet/p/s/date=2024-07-25");
    let before: Vec<_> = sorted(&day).iter().map(|it| fs::read(it).unwrap()).collect();
    let opened: Vec<File> = sorted(&day).iter().map(|it| File::open(it).unwrap()).collect();
    assert_eq!(opened.len(), 3);

    compact(dir.path(), &BOTH, &stream(append())).unwrap();

    assert!(opened.iter().map(content).eq(before));
    assert_eq!(parquet_rows(&day.join("part-0.parquet")).len(), 20_000);
}

#[test]
fn of_compact_and_a_run_the_second_is_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH, &stream(append()));
    let plan =
        DestinationPlan { target_file_bytes: 256 << 20, ..destination_plan(dir.path(), &BOTH) };
    let held = open(dir.path(), &BOTH, 256 << 20, "r2");
    let before = tree(dir.path());

    let second = Destination::open(&plan, &name("p"), "r3", now(), Purpose::Publish).unwrap_err();

    assert!(matches!(&second, WriteError::Locked { holder, .. } if holder.starts_with("run r2 ")));
    assert!(tree(dir.path()) == before);
    held.compact(&stream(append()), DEFAULT_MEMORY_BYTES).unwrap();
    drop(held);
    drop(Destination::open(&plan, &name("p"), "r3", now(), Purpose::Publish).unwrap());
}

/// The manifest, unless a commit is under way: how a reader sees that a dataset has not changed.
fn at_rest(path: &Path) -> Option<Vec<u8>> {
    let manifest = fs::read(path.join("_tracklake/p/manifests/s.json")).ok()?;
    let is_under_way = path.join("_tracklake/p/journal/s.json").exists();
    (!is_under_way).then_some(manifest)
}

/// The ids of a day; nothing where a file goes away meanwhile.
fn ids(day: &Path) -> Option<Vec<i64>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(day).ok()? {
        let file = File::open(entry.ok()?.path()).ok()?;
        let rows = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
        for batch in rows.unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            ids.extend(column.values().iter());
        }
    }
    ids.sort_unstable();
    Some(ids)
}

#[test]
fn who_reads_all_the_time_and_looks_before_and_after_finds_each_row_once() {
    let dir = tempfile::tempdir().unwrap();
    scattered(dir.path(), &BOTH[..1], &stream(append()));
    let day = dir.path().join("parquet/p/s/date=2024-07-25");
    let expected: Vec<i64> = (0..40_000).step_by(2).collect();
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));

    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let before = at_rest(dir.path());
                let ids = ids(&day);
                if before.is_some() && before == at_rest(dir.path()) {
                    seen.lock().unwrap().push(ids);
                }
            }
        });
        let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();
        // In turn many files and one, until the reader has seen both often enough.
        for target in [256 << 20, 1].into_iter().cycle() {
            let destination = open(dir.path(), &BOTH[..1], target, "r2");
            let (was, is) =
                destination.compact(&stream(append()), DEFAULT_MEMORY_BYTES).unwrap().unwrap();
            assert_ne!(was.files, is.files);
            drop(destination);
            assert_eq!(inspection.verify(&[name("s")]).unwrap()[0].problems, []);
            let summary = inspection.stream(&name("s")).unwrap().unwrap();
            assert_eq!((summary.rows, inspection.interrupted().unwrap()), (40_001, Vec::new()));
            if seen.lock().unwrap().len() >= 12 {
                break;
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });

    for ids in seen.into_inner().unwrap() {
        assert!(ids.as_ref() == Some(&expected), "{:?} ids", ids.map(|it| it.len()));
    }
}
