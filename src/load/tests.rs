//! One suite for every format.

mod bucket;
mod compact;
mod crash;
mod files;
mod mark;
mod merge;
mod model;
mod support;
mod verify;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
};

use arrow::array::{Int64Array, RecordBatch};
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    basic::Encoding,
    file::reader::{FileReader as _, SerializedFileReader},
};
use proptest::{collection::vec, prelude::*};

use serde_json::Value;

use super::{
    Destination, Published, Purpose, ReadScopes, RejectedRecord, Rewrite, WriteError, extension,
};
use crate::plan::{
    CsvCompression, CsvPlan, FormatPlan, PartitionUnit, ReplaceScope, StreamPlan, WriteMode,
};
use support::{
    FORMATS, JULY, NULL, TestRow, any_row, append, batch, csv_text, destination_plan, name, names,
    now, read, row, stream, tree, visible, writer,
};

/// Everything was read: the dataset becomes what came.
const WHOLE: ReadScopes = ReadScopes::AllBut(Vec::new());

fn for_each_format(check: impl Fn(FormatPlan, &Path)) {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        check(format, dir.path());
    }
}

/// Publishes `rows` in one batch.
fn publish(path: &Path, formats: &[FormatPlan], plan: &StreamPlan, rows: &[TestRow]) -> Published {
    let destination = support::open(path, formats);
    let mut writer = destination.stream(plan, 1 << 20).unwrap();
    writer.write(batch(rows)).unwrap();
    writer.finish(&WHOLE, Rewrite::Changed).unwrap().publish(&Value::Null).unwrap()
}

/// Publishes `rows` and reads them back.
fn round_trip(format: FormatPlan, dir: &Path, rows: &[TestRow]) -> BTreeMap<String, Vec<TestRow>> {
    publish(dir, &[format], &stream(append()), rows);
    read(dir, format)
}

#[test]
fn nothing_is_visible_before_publish() {
    for_each_format(|format, dir| {
        let destination = support::open(dir, &[format]);
        let mut writer = writer(&destination);
        writer.write(batch(&[row(1, 0, "a"), row(2, 1, "b")])).unwrap();
        let staged = writer.finish(&WHOLE, Rewrite::Changed).unwrap();
        assert_eq!(visible(dir), [""; 0], "{format:?} shows an unpublished file");
        let ends = [".parquet", ".csv", ".gz", ".zst"];
        assert!(!names(dir).iter().any(|it| ends.iter().any(|end| it.ends_with(end))));

        let published = staged.publish(&Value::Null).unwrap();
        destination.close();

        let extension = extension(format);
        let tree = format.directory();
        assert_eq!(
            visible(dir),
            [
                format!("{tree}/p/s/date=2024-07-25/part-0.{extension}"),
                format!("{tree}/p/s/date=2024-07-26/part-0.{extension}"),
            ]
        );
        let mut ours = names(dir);
        ours.retain(|it| it.starts_with("_tracklake"));
        // Where no format can be read back, the rows are kept as Parquet for the next run.
        let expected: &[&str] = match format {
            FormatPlan::Parquet => &["_tracklake/p/manifests/s.json"],
            FormatPlan::Csv(_) => &[
                "_tracklake/p/manifests/s.json",
                "_tracklake/p/rows/s/date=2024-07-25/part-0.parquet",
                "_tracklake/p/rows/s/date=2024-07-26/part-0.parquet",
            ],
        };
        assert_eq!(ours, expected);
        assert_eq!((published.rows, published.partitions, published.files), (2, 2, 2));
        assert_eq!(published.removed_files, 0);
        let bytes: usize = support::tree(&dir.join(tree)).values().map(Vec::len).sum();
        assert_eq!(published.bytes, bytes as u64);
    });
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    for_each_format(|format, dir| {
        let destination = support::open(dir, &[format]);
        let mut abandoned = destination.stream(&stream(append()), 1).unwrap();
        abandoned.write(batch(&[row(1, 0, "a"), row(2, 0, "a"), row(3, 0, "a")])).unwrap();
        drop(abandoned);
        let mut staged = writer(&destination);
        staged.write(batch(&[row(1, 0, "a")])).unwrap();
        drop(staged.finish(&WHOLE, Rewrite::Changed).unwrap());
        drop(destination);

        assert_eq!(names(dir), [""; 0], "{format:?}");
        assert!(!dir.join("_tracklake/p/staging/run-r1").exists());
    });
}

#[test]
fn batches_of_no_rows_write_nothing() {
    for_each_format(|format, dir| {
        let destination = support::open(dir, &[format]);
        let mut writer = writer(&destination);
        writer.write(batch(&[])).unwrap();
        writer.write(batch(&[row(1, 0, "a")])).unwrap();
        writer.write(batch(&[])).unwrap();
        writer.finish(&WHOLE, Rewrite::Changed).unwrap().publish(&Value::Null).unwrap();

        assert_eq!(read(dir, format)["date=2024-07-25"], [row(1, 0, "a")], "{format:?}");
    });
}

#[test]
fn one_row_of_a_key_stays() {
    let newest_by_day = WriteMode::Merge { key: vec![name("id")], newest_by: Some(name("day")) };
    let on = |day, text| TestRow { day, ..row(1, 0, text) };
    let older = on(Some(1), "z");
    let newer = on(Some(2), "a");
    let undated = on(None, "zz");
    let moved = TestRow { start: row(1, 5, "").start, ..newer.clone() };
    for (mode, rows, expected, counts) in [
        (newest_by_day.clone(), vec![newer.clone(), older.clone()], newer.clone(), (0, 1)),
        (newest_by_day.clone(), vec![undated.clone(), older.clone()], older.clone(), (0, 1)),
        (newest_by_day.clone(), vec![newer.clone(); 3], newer.clone(), (2, 0)),
        (newest_by_day.clone(), vec![newer.clone(), moved.clone()], moved.clone(), (0, 1)),
        (
            newest_by_day.clone(),
            vec![older.clone(), moved.clone(), older.clone()],
            moved.clone(),
            (1, 1),
        ),
        (append(), vec![newer.clone(), older.clone(), newer.clone()], older.clone(), (1, 1)),
        (append(), vec![moved, older.clone()], older, (0, 1)),
    ] {
        for reversed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut rows = rows.clone();
            if reversed {
                rows.reverse();
            }
            let destination = support::open(dir.path(), &[FormatPlan::Parquet]);
            let mut writer = destination.stream(&stream(mode.clone()), 1 << 20).unwrap();
            writer.write(batch(&rows)).unwrap();
            let staged = writer.finish(&WHOLE, Rewrite::Changed).unwrap();
            assert_eq!((staged.duplicates, staged.superseded), counts, "{mode:?} {rows:?}");
            assert_eq!(staged.rows, 1);
            staged.publish(&Value::Null).unwrap();

            let found = read(dir.path(), FormatPlan::Parquet);
            let found: Vec<_> = found.into_values().flatten().collect();
            assert_eq!(found, std::slice::from_ref(&expected), "{mode:?} {rows:?}");
        }
    }
}

#[test]
fn a_null_in_the_key_is_a_value() {
    for_each_format(|format, dir| {
        let none = TestRow { id: None, ..row(0, 0, "a") };
        let other = TestRow { id: None, ..row(0, 0, "b") };

        let found = round_trip(format, dir, &[row(0, 0, "c"), none, other.clone()]);

        assert_eq!(found["date=2024-07-25"], [other, row(0, 0, "c")], "{format:?}");
    });
}

#[test]
fn all_rows_of_a_stream_without_a_key_stay() {
    for_each_format(|format, dir| {
        let plan = stream(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() });
        let rows = [row(2, 0, "b"), row(1, 0, "a"), row(2, 0, "b"), row(2, 1, "b")];

        let published = publish(dir, &[format], &plan, &rows);

        assert_eq!(published.rows, 4);
        let found = read(dir, format);
        assert_eq!(found["date=2024-07-25"], [row(1, 0, "a"), row(2, 0, "b"), row(2, 0, "b")]);
        assert_eq!(found["date=2024-07-26"], [row(2, 1, "b")]);
    });
}

#[test]
fn an_empty_stream_publishes_its_schema() {
    for_each_format(|format, dir| {
        let published = publish(dir, &[format], &stream(append()), &[]);

        assert_eq!((published.rows, published.files), (0, 1));
        let found = read(dir, format);
        assert_eq!(found, BTreeMap::from([(NULL.to_owned(), Vec::new())]), "{format:?}");

        publish(dir, &[format], &stream(append()), &[row(1, 0, "a")]);
        assert!(!read(dir, format).contains_key(NULL), "{format:?} keeps the empty file");
    });
}

#[test]
fn a_large_partition_rolls_over() {
    for_each_format(|format, dir| {
        let mut plan = destination_plan(dir, &[format]);
        plan.target_file_bytes = 20_000;
        let destination =
            Destination::open(&plan, &name("p"), "r1", now(), Purpose::Publish).unwrap();
        let mut writer = destination.stream(&stream(append()), 100_000).unwrap();
        let text =
            |id: u64| format!("{:x}", u128::from(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)).pow(2));
        let rows: Vec<_> =
            (0..20_000).map(|id: i64| row(id, 0, &text(id.unsigned_abs()))).collect();
        writer.write(batch(&rows)).unwrap();
        let staged = writer.finish(&WHOLE, Rewrite::Changed).unwrap();
        let parts = staged.files.iter().filter(|it| it.path.starts_with(format.directory()));
        assert_eq!((staged.partitions, parts.count()), (1, 3));
        staged.publish(&Value::Null).unwrap();

        let parts: BTreeSet<_> =
            visible(dir).into_iter().map(|it| it.rsplit_once('/').unwrap().1.to_owned()).collect();
        let expected = (0..3).map(|part| format!("part-{part}.{}", extension(format)));
        assert_eq!(parts, expected.collect(), "{format:?}");
        assert_eq!(read(dir, format)["date=2024-07-25"], rows, "{format:?}");
    });
}

#[test]
fn a_replaced_dataset_leaves_no_old_partition_and_nothing_of_others_is_touched() {
    for_each_format(|format, dir| {
        publish(dir, &[format], &stream(append()), &[row(1, 0, "a"), row(2, 1, "b")]);
        let dataset = dir.join(format.directory()).join("p/s");
        let foreign = dataset.join("date=2024-07-26/_SUCCESS");
        put(&foreign, "");
        put(&dataset.join("notes.txt"), "");

        let published = publish(dir, &[format], &stream(append()), &[row(1, 5, "a")]);

        assert_eq!((published.removed_files, published.changed.len()), (2, 3));
        let mut found = visible(dir);
        found.retain(|it| it.contains("part-"));
        let tree = format.directory();
        assert_eq!(found, [format!("{tree}/p/s/date=2024-07-30/part-0.{}", extension(format))]);
        assert!(!dataset.join("date=2024-07-25").exists());
        assert!(foreign.exists() && dataset.join("notes.txt").exists());
    });
}

#[test]
fn partitions_are_named_by_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = stream(append());
    plan.partition.unit = PartitionUnit::Hour;
    plan.partition.zone = chrono_tz::Asia::Shanghai;
    plan.partition.name = name("start_hour");

    publish(dir.path(), &[FormatPlan::Parquet], &plan, &[row(1, 0, "a")]);

    assert_eq!(visible(dir.path()), ["parquet/p/s/start_hour=2024-07-25T08/part-0.parquet"]);
}

#[test]
fn a_parquet_file_says_what_it_is_and_not_when_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..100).map(|id| row(id, 0, "same")).collect();
    publish(dir.path(), &[FormatPlan::Parquet], &stream(append()), &rows);
    let path = dir.path().join("parquet/p/s/date=2024-07-25/part-0.parquet");

    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let file = reader.metadata().file_metadata();
    let entries: BTreeMap<_, _> = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|it| (it.key.as_str(), it.value.as_deref().unwrap()))
        .collect();
    assert_eq!(entries["tracklake.pipeline"], "p");
    assert_eq!(entries["tracklake.stream"], "s");
    assert_eq!(entries["tracklake.zone"], "UTC");
    assert_eq!(file.created_by(), Some(concat!("tracklake version ", env!("CARGO_PKG_VERSION"))));
    let group = reader.metadata().row_group(0);
    assert_eq!(group.sorting_columns().unwrap().len(), 1);
    assert!(group.column(0).bloom_filter_offset().is_some());
    assert!(group.column(1).bloom_filter_offset().is_none());
    assert!(group.column(0).encodings().any(|it| it == Encoding::DELTA_BINARY_PACKED));
    assert!(group.column(1).encodings().any(|it| it == Encoding::RLE_DICTIONARY));
    assert!(group.columns().iter().all(|it| it.statistics().is_some()));

    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.schema().field(0).metadata()["PARQUET:field_id"], "926444256");
    assert_eq!(reader.schema().field(5).metadata()["PARQUET:field_id"], "1697318111");
    assert_eq!(reader.schema().field(5).metadata()["description"], "what `start` means");
    assert_eq!(
        reader.parquet_schema().root_schema().get_fields()[5].get_basic_info().id(),
        1_697_318_111
    );
}

#[test]
fn formulas_are_escaped_where_the_plan_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let format =
        FormatPlan::Csv(CsvPlan { compression: CsvCompression::None, escape_formulas: true });

    publish(dir.path(), &[format], &stream(append()), &[row(-1, 0, "=1+1")]);

    let text = csv_text(&dir.path().join("csv/p/s/date=2024-07-25/part-0.csv"));
    assert_eq!(text, "id,name,price,done,day,start\n-1,'=1+1,,,,2024-07-25T00:00:00.000000Z\n");
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let destination = support::open(dir.path(), &FORMATS[..1]);
    let mut writer = writer(&destination);
    let column: arrow::array::ArrayRef = std::sync::Arc::new(Int64Array::from(vec![1]));

    let err = writer.write(RecordBatch::try_from_iter([("id", column)]).unwrap()).unwrap_err();

    assert!(
        err.to_string().starts_with(
            "stream `s`: a batch has the columns id: Int64, the stream has id: Int64, name: Utf8"
        ),
        "{err}"
    );
}

#[test]
fn a_destination_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a_file");
    put(&file, "");

    let plan = destination_plan(&file.join("output"), &FORMATS);
    let err = Destination::open(&plan, &name("p"), "r1", now(), Purpose::Publish).unwrap_err();

    assert!(err.to_string().contains("a_file/output`"), "{err}");
    assert!(std::error::Error::source(&err).is_some());

    // Also found while publishing: a file where a directory must be.
    for_each_format(|format, dir| {
        put(&dir.join(format.directory()), "");
        let destination = support::open(dir, &[format]);
        let mut writer = writer(&destination);
        writer.write(batch(&[row(1, 0, "a")])).unwrap();
        let err =
            writer.finish(&WHOLE, Rewrite::Changed).unwrap().publish(&Value::Null).unwrap_err();
        assert!(err.to_string().contains(&format!("/{}/p/s", format.directory())), "{err}");
    });
}

#[test]
fn a_staged_file_that_is_not_what_was_written_is_never_published() {
    for_each_format(|format, dir| {
        let staged_by = |destination: &Destination| {
            let mut writer = writer(destination);
            writer.write(batch(&[row(1, 0, "a"), row(2, 0, "b"), row(3, 1, "c")])).unwrap();
            writer.finish(&WHOLE, Rewrite::Changed).unwrap()
        };
        let count = {
            let destination = support::open(dir, &[format]);
            staged_by(&destination).files.len()
        };
        for at in 0..count {
            for is_cut in [true, false] {
                let destination = support::open(dir, &[format]);
                let staged = staged_by(&destination);
                let paths: Vec<_> = staged.files.iter().map(|it| dir.join(&it.staged)).collect();
                if is_cut {
                    let file = File::options().write(true).open(&paths[at]).unwrap();
                    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
                } else {
                    // That of another day is as sound, and has other rows.
                    let of_format =
                        |it: &usize| staged.files[*it].format == staged.files[at].format;
                    let other = (0..count).find(|it| *it != at && of_format(it)).unwrap();
                    fs::copy(&paths[other], &paths[at]).unwrap();
                }

                let err = staged.publish(&Value::Null).unwrap_err();

                assert!(
                    matches!(err, WriteError::ReadBack { .. } | WriteError::Parquet { .. }),
                    "{format:?}: {err}"
                );
                drop(destination);
                drop(support::open(dir, &[format]));
                assert_eq!(visible(dir), [""; 0], "{format:?}");
            }
        }
    });
}

#[test]
fn a_commit_that_meets_an_obstacle_is_finished_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("parquet/p/s");
    fs::create_dir_all(&dataset).unwrap();
    let obstacle = dataset.join("date=2024-07-26");
    put(&obstacle, "");
    let destination = support::open(dir.path(), &FORMATS[..1]);
    let mut writer = writer(&destination);
    let rows = [row(1, 0, "a"), row(2, 1, "b")];
    writer.write(batch(&rows)).unwrap();

    let err = writer.finish(&WHOLE, Rewrite::Changed).unwrap().publish(&Value::Null).unwrap_err();
    assert!(err.to_string().contains("date=2024-07-26"), "{err}");
    destination.close();
    fs::remove_file(obstacle).unwrap();
    drop(support::open(dir.path(), &FORMATS[..1]));

    let found: Vec<_> = read(dir.path(), FORMATS[0]).into_values().flatten().collect();
    assert_eq!(found, rows);
    assert!(!names(dir.path()).iter().any(|it| it.contains("staging") || it.contains("journal")));
}

#[test]
fn a_run_that_left_only_staged_files_is_cleaned_up_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let staged = dir.path().join("_tracklake/p/staging/run-r0/s");
    fs::create_dir_all(&staged).unwrap();
    put(&staged.join("0.parquet.staged"), "half a file");

    drop(support::open(dir.path(), &FORMATS));

    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_pipeline_has_one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = support::open(dir.path(), &FORMATS);
    let writer = writer(&first);
    first.close();

    let plan = destination_plan(dir.path(), &FORMATS);
    let err = Destination::open(&plan, &name("p"), "r2", now(), Purpose::Publish).unwrap_err();
    assert!(err.to_string().starts_with("pipeline `p` is held by run r1 (pid "), "{err}");
    Destination::open(&plan, &name("other"), "r2", now(), Purpose::Publish).unwrap();

    drop(writer);
    Destination::open(&plan, &name("p"), "r2", now(), Purpose::Publish).unwrap();
}

#[test]
fn rejected_records_are_kept_with_their_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let destination = Destination::open(
        &destination_plan(dir.path(), &FORMATS),
        &name("p"),
        "../r1",
        now(),
        Purpose::Publish,
    )
    .unwrap();
    let mut quarantine = destination.quarantine(&name("s"));
    let parent = BTreeMap::from([("issue".to_owned(), "TREK-1".into())]);
    let context = crate::load::RejectContext { parent, ..Default::default() };
    let rejected = RejectedRecord {
        context: &context,
        slice: "TREK-1",
        page: 0,
        position: 3,
        column: Some("start"),
        reason: "expected an instant",
        raw: "{\"id\":\n41",
        masked: &[],
    };
    quarantine.write(rejected).unwrap();
    quarantine.write(RejectedRecord { column: None, ..rejected }).unwrap();
    assert_eq!(visible(dir.path()), [""; 0]);

    let path = quarantine.publish().unwrap().unwrap();
    let untouched = destination.quarantine(&name("t")).publish().unwrap();
    let mut abandoned = destination.quarantine(&name("u"));
    abandoned.write(rejected).unwrap();
    drop(abandoned);
    drop(destination);

    assert_eq!((path.as_str(), untouched), ("quarantine/p/s/..%2Fr1.jsonl", None));
    assert_eq!(names(dir.path()), [path.as_str()]);
    let text = fs::read_to_string(dir.path().join(path)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        r#"{"run":"../r1","stream":"s","slice":"TREK-1","page":0,"position":3,"column":"start","reason":"expected an instant","raw":"{\"id\":\n41","context":{"parent":{"issue":"TREK-1"}}}"#
    );
}

/// What the files of `rows` must be, the slow way, and how many rows are lost to each reason.
fn expected(mode: &WriteMode, rows: &[TestRow]) -> (BTreeMap<String, Vec<TestRow>>, u64, u64) {
    let newest = matches!(mode, WriteMode::Merge { .. });
    let is_keyed = !matches!(mode, WriteMode::Replace { .. });
    let rank = |it: &TestRow| (it.id, if newest { it.day } else { None }, it.clone());
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap());
    let (mut duplicates, mut superseded) = (0, 0);
    let mut partitions = BTreeMap::<String, Vec<TestRow>>::new();
    for (at, row) in sorted.iter().enumerate() {
        if is_keyed && let Some(next) = sorted.get(at + 1).filter(|it| it.id == row.id) {
            *if next == row { &mut duplicates } else { &mut superseded } += 1;
            continue;
        }
        let partition = row.start.map_or(NULL.to_owned(), |it| {
            format!("date=2024-07-{}", 25 + (it - JULY) / 86_400_000_000)
        });
        partitions.entry(partition).or_default().push(row.clone());
    }
    if partitions.is_empty() {
        partitions.insert(NULL.to_owned(), Vec::new());
    }
    (partitions, duplicates, superseded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_batches_and_memory_do_not_change_a_byte(
        rows in vec(any_row(), 0..150),
        shuffled in any::<u64>(),
        sizes in vec(0usize..40, 1..10),
        budget in prop_oneof![Just(1usize), 100usize..8_000],
        mode in prop_oneof![
            Just(append()),
            Just(WriteMode::Merge { key: vec![name("id")], newest_by: Some(name("day")) }),
            Just(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() }),
        ],
    ) {
        let plan = stream(mode.clone());
        let whole = tempfile::tempdir().unwrap();
        publish(whole.path(), &FORMATS[..2], &plan, &rows);

        let mut others = rows.clone();
        fastrand::Rng::with_seed(shuffled).shuffle(&mut others);
        let parts = tempfile::tempdir().unwrap();
        let destination = support::open(parts.path(), &FORMATS[..2]);
        let mut writer = destination.stream(&plan, budget).unwrap();
        let mut rest = others.as_slice();
        for size in sizes {
            let (some, more) = rest.split_at(size.min(rest.len()));
            writer.write(batch(some)).unwrap();
            rest = more;
        }
        writer.write(batch(rest)).unwrap();
        let staged = writer.finish(&WHOLE, Rewrite::Changed).unwrap();
        let counts = (staged.duplicates, staged.superseded);
        prop_assert_eq!(staged.rows + counts.0 + counts.1, rows.len() as u64);
        staged.publish(&Value::Null).unwrap();
        destination.close();

        let (expected, duplicates, superseded) = expected(&mode, &rows);
        prop_assert_eq!(counts, (duplicates, superseded));
        prop_assert_eq!(&read(whole.path(), FORMATS[0]), &expected);
        prop_assert_eq!(&read(whole.path(), FORMATS[1]), &expected);
        prop_assert_eq!(tree(whole.path()), tree(parts.path()));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn put(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
}
