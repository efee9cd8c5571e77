//! Where deletes are marked, rows that go stay, with the time.

use std::{fs::File, path::Path};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::TimestampMicrosecondType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    model::{Run, any_run, counts, files, merge_by, replace, stage_as},
    support::{self, FORMATS, JULY, TestRow, append, name, now, read, row, sorted, stream},
};
use crate::{
    load::{Destination, Inspection, ReadScopes, Rewrite, StagedStream, UnknownFiles},
    plan::{Deletes, FormatPlan, StreamPlan, WriteMode},
};

const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];
const WHOLE: ReadScopes = ReadScopes::AllBut(Vec::new());
/// What a row has that is there.
const LIVES: Option<i64> = None;
/// What a row has that went in the run of [`now`].
const GONE: Option<i64> = Some(JULY);

fn marking(mode: WriteMode) -> StreamPlan {
    StreamPlan { deletes: Deletes::Mark, ..stream(mode) }
}

fn run(mode: WriteMode, scopes: ReadScopes, rows: &[TestRow]) -> Run {
    Run { mode, scopes, rewrite: Rewrite::Changed, rows: rows.to_vec(), budget: 1 << 20 }
}

fn mark(destination: &Destination, run: &Run) -> StagedStream {
    stage_as(destination, &marking(run.mode.clone()), run)
}

/// Publishes and says how many rows were added, updated, removed, stood, and what changed.
fn publish(path: &Path, run: &Run) -> (u64, u64, u64, u64, Vec<String>) {
    let staged = mark(&support::open(path, &BOTH), run);
    let StagedStream { added, updated, removed, stood, .. } = staged;
    let changed = staged.publish(&Value::Null).unwrap().changed;
    (added, updated, removed, stood, changed)
}

/// Every row, in the order of files, and when it went.
fn rows(path: &Path) -> Vec<(TestRow, Option<i64>)> {
    let mut found = Vec::new();
    for directory in sorted(&path.join("parquet/p/s")) {
        for file in sorted(&directory) {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
            let mut marks = Vec::new();
            for batch in reader.build().unwrap() {
                let batch = batch.unwrap();
                let column = batch.column_by_name("_deleted_at").unwrap();
                let instants = column.as_primitive::<TimestampMicrosecondType>();
                marks.extend(
                    (0..batch.num_rows())
                        .map(|at| instants.is_valid(at).then(|| instants.value(at))),
                );
            }
            found.extend(support::parquet_rows(&file).into_iter().zip(marks));
        }
    }
    found
}

#[test]
fn a_row_that_goes_stays_with_the_time_until_it_comes_again() {
    for mode in [append(), merge_by(None), merge_by(Some("day")), replace(&["id"])] {
        let dir = tempfile::tempdir().unwrap();
        let whole = |rows: &[TestRow]| run(mode.clone(), WHOLE, rows);
        let (a, b) = (row(1, 0, "a"), row(2, 1, "b"));
        let day = |it: u32| format!("date=2024-07-{it}");

        let first = publish(dir.path(), &whole(&[a.clone(), b.clone()]));
        assert_eq!(first, (2, 0, 0, 0, vec![day(25), day(26)]));
        assert_eq!(rows(dir.path()), [(a.clone(), LIVES), (b.clone(), LIVES)]);

        let gone = publish(dir.path(), &whole(std::slice::from_ref(&a)));
        assert_eq!(gone, (0, 0, 1, 2, vec![day(26)]));
        assert_eq!(rows(dir.path()), [(a.clone(), LIVES), (b.clone(), GONE)]);

        // What went before neither goes again nor stands.
        let same = publish(dir.path(), &whole(std::slice::from_ref(&a)));
        assert_eq!(same, (0, 0, 0, 1, Vec::new()));

        // In another partition, in a run that has read nothing completely.
        let moved = row(2, 3, "b");
        let again = publish(
            dir.path(),
            &run(mode.clone(), ReadScopes::Nothing, std::slice::from_ref(&moved)),
        );
        assert_eq!((again.1, again.4), (1, vec![day(26), day(28)]), "{mode:?}");
        assert_eq!(rows(dir.path()), [(a, LIVES), (moved, LIVES)], "{mode:?}");

        let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();
        assert_eq!(inspection.verify(&[name("s")]).unwrap()[0].problems, []);
    }
}

#[test]
fn marking_may_begin_with_a_dataset_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (row(1, 0, "a"), row(2, 1, "b"));
    let destination = support::open(dir.path(), &BOTH);
    let both = run(append(), WHOLE, &[a.clone(), b]);
    let staged = stage_as(&destination, &stream(append()), &both);
    staged.publish(&Value::Null).unwrap();
    destination.close();

    let first = publish(dir.path(), &run(append(), WHOLE, &[a]));

    assert_eq!(first, (0, 0, 1, 2, vec!["date=2024-07-26".to_owned()]));
    let csv = support::csv_text(&dir.path().join("csv/p/s/date=2024-07-26/part-0.csv"));
    assert_eq!(
        csv,
        "id,name,price,done,day,start,_deleted_at\n\
         2,b,,,,2024-07-26T00:00:00.000000Z,2024-07-25T00:00:00.000000Z\n"
    );
    assert_eq!(now().to_rfc3339(), "2024-07-25T00:00:00+00:00");
}

#[test]
fn marking_cannot_end_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &run(append(), WHOLE, &[row(1, 0, "a")]));

    let err = support::open(dir.path(), &BOTH)
        .check(&stream(append()), UnknownFiles::Refused)
        .unwrap_err();

    assert!(err.to_string().contains("keep `deletes: mark`"), "{err}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_lives_is_what_would_be_left_if_rows_were_removed(
        mode in 0usize..4,
        runs in vec(any_run(), 1..6),
    ) {
        let mode = [append(), merge_by(None), merge_by(Some("day")), replace(&["id"])][mode].clone();
        let (removed, marked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (at, (scopes, rewrite, came, budget, _)) in runs.into_iter().enumerate() {
            let run = Run { mode: mode.clone(), scopes, rewrite, rows: came, budget };
            let plain = stage_as(
                &support::open(removed.path(), &BOTH), &stream(mode.clone()), &run,
            );
            let with_marks = mark(&support::open(marked.path(), &BOTH), &run);

            // A guard sees the same.
            prop_assert_eq!(
                (plain.removed, plain.stood), (with_marks.removed, with_marks.stood), "{:?}", run
            );
            prop_assert_eq!(plain.rows, with_marks.living, "{:?}", run);
            prop_assert!(counts(&plain).rows <= counts(&with_marks).rows);
            plain.publish(&json!({ "run": at })).unwrap();
            with_marks.publish(&json!({ "run": at })).unwrap();

            let mut living: Vec<TestRow> = Vec::new();
            for (row, mark) in rows(marked.path()) {
                match mark {
                    LIVES => living.push(row),
                    mark => prop_assert_eq!(mark, GONE),
                }
            }
            let expected: Vec<TestRow> =
                read(removed.path(), FORMATS[0]).into_values().flatten().collect();
            prop_assert_eq!(living, expected, "{:?}", run);

            // Once more: nothing changes.
            let before = files(marked.path());
            let again = Run { rewrite: Rewrite::Changed, ..run };
            let staged = mark(&support::open(marked.path(), &BOTH), &again);
            if staged.updated == 0 {
                staged.publish(&json!({ "run": at })).unwrap();
                prop_assert_eq!(files(marked.path()), before);
            }
        }
    }
}
