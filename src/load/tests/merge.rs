//! Named cases of merging: what is written, what is refused, what is found wrong.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::NaiveDate;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};

use super::{
    model::{ModelCounts, Run, counts, files, merge_by, stage},
    support::{self, FORMATS, JULY, NULL, TestRow, append, batch, name, now, read, row, stream},
};
use crate::{
    load::{
        Destination, Purpose, ReadScopes, Rewrite, Scope, ScopeValue, UnknownFiles, WriteError,
    },
    plan::{
        ColumnPlan, ColumnSource, ColumnType, CsvCompression, FormatPlan, JsonPath, PartitionUnit,
        ReplaceScope, StreamPlan, WriteMode, arrow_schema,
    },
};

const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];

fn run(mode: WriteMode, scopes: ReadScopes, rows: &[TestRow]) -> Run {
    Run { mode, scopes, rewrite: Rewrite::Changed, rows: rows.to_vec(), budget: 1 << 20 }
}

fn publish(path: &Path, formats: &[FormatPlan], run: &Run) -> StagedCounts {
    let destination = support::open(path, formats);
    let staged = stage(&destination, run);
    let found = StagedCounts(counts(&staged), staged.changed.len(), staged.files.len());
    staged.publish(&Value::Null).unwrap();
    found
}

/// Counts, changed partitions, staged files.
#[derive(Debug)]
struct StagedCounts(ModelCounts, usize, usize);

fn all(path: &Path) -> Vec<TestRow> {
    read(path, FORMATS[0]).into_values().flatten().collect()
}

#[test]
fn a_run_that_brings_nothing_new_writes_no_file_but_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [row(1, 0, "a"), row(2, 1, "b")];
    publish(dir.path(), &BOTH, &run(merge_by(None), ReadScopes::Nothing, &rows));
    let before = files(dir.path());

    for rows in [&rows[..], &rows[1..], &[]] {
        let destination = support::open(dir.path(), &BOTH);
        let staged = stage(&destination, &run(merge_by(None), ReadScopes::Nothing, rows));
        assert_eq!(staged.unchanged, rows.len() as u64);
        let published = staged.publish(&json!({ "cursor": rows.len() })).unwrap();
        assert_eq!((published.rows, published.partitions), (2, 2));
        assert_eq!((published.files, published.bytes, published.changed.len()), (0, 0, 0));
        let state = destination.state(&name("s")).unwrap();
        assert_eq!(state, Some(json!({ "cursor": rows.len() })));
        assert_eq!(files(dir.path()), before);
    }
    let destination = support::open(dir.path(), &BOTH);
    assert_eq!(destination.state(&name("other")).unwrap(), None);
}

#[test]
fn a_dataset_that_loses_its_last_row_keeps_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let whole = ReadScopes::AllBut(Vec::new());
    publish(dir.path(), &BOTH, &run(append(), ReadScopes::Nothing, &[row(1, 0, "a")]));

    let found = publish(dir.path(), &BOTH, &run(append(), whole.clone(), &[]));

    assert_eq!((found.0.removed, found.0.rows), (1, 0));
    let empty = BTreeMap::from([(NULL.to_owned(), Vec::new())]);
    assert_eq!(read(dir.path(), FORMATS[0]), empty);
    let before = files(dir.path());
    let again = publish(dir.path(), &BOTH, &run(append(), whole, &[]));
    assert_eq!((again.1, again.2), (0, 0), "{again:?}");
    assert_eq!(files(dir.path()), before);
    publish(dir.path(), &BOTH, &run(append(), ReadScopes::Nothing, &[row(1, 0, "a")]));
    assert_eq!(all(dir.path()), [row(1, 0, "a")]);
    assert!(!read(dir.path(), FORMATS[1]).contains_key(NULL));
}

#[test]
fn files_of_several_parts_and_row_groups_are_merged_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = support::destination_plan(dir.path(), &BOTH[..1]);
    plan.target_file_bytes = 10_000;
    let write = |rows: &[TestRow]| {
        let destination =
            Destination::open(&plan, &name("p"), "r1", now(), Purpose::Publish).unwrap();
        let mut writer = destination.stream(&stream(append()), 1 << 20).unwrap();
        writer.write(batch(rows)).unwrap();
        let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap();
        staged.publish(&Value::Null).unwrap()
    };
    let text = |id: i64| format!("{:x}", i128::from(id.wrapping_mul(0x1E37_79B9_7F4A_7C15)).pow(2));
    let old: Vec<TestRow> = (0..100_000).map(|id| row(2 * id, 0, &text(id))).collect();
    assert!(write(&old).files > 10);

    let new: Vec<TestRow> = [7, 199_999, 1_001].map(|id| row(id, 0, "new")).to_vec();
    write(&new);

    let mut expected: Vec<TestRow> = old.into_iter().chain(new).collect();
    expected.sort_by_key(|it| it.id);
    assert_eq!(all(dir.path()), expected);
}

/// The stream with a column more, at `at`.
fn wider(at: usize) -> StreamPlan {
    let mut plan = stream(append());
    plan.columns.insert(
        at,
        ColumnPlan {
            name: name("note"),
            from: ColumnSource::Record(JsonPath::default()),
            kind: ColumnType::String,
            values: None,
            description: None,
            mask: None,
        },
    );
    plan
}

#[test]
fn a_column_that_was_added_later_is_null_in_what_stands() {
    for at in [0, 3, 6] {
        let dir = tempfile::tempdir().unwrap();
        publish(
            dir.path(),
            &BOTH,
            &run(append(), ReadScopes::Nothing, &[row(1, 0, "a"), row(3, 0, "c"), row(1, 9, "z")]),
        );
        let destination = support::open(dir.path(), &BOTH);
        destination.check(&wider(at), UnknownFiles::Refused).unwrap();
        let mut writer = destination.stream(&wider(at), 1 << 20).unwrap();
        let old = batch(&[row(2, 0, "b")]);
        let mut arrays = old.columns().to_vec();
        arrays.insert(at, std::sync::Arc::new(arrow::array::StringArray::from(vec!["new"])));
        let plan = wider(at);
        let schema = arrow_schema(&plan.columns, plan.unknown_fields);
        writer.write(arrow::array::RecordBatch::try_new(schema, arrays).unwrap()).unwrap();
        // Nothing in the files that stand has a note: all of them are in the scope of null.
        let null = Scope { equals: vec![(name("note"), ScopeValue::Null)], dates: None };
        let scopes = ReadScopes::AllBut(vec![null]);
        let staged = writer.finish(&scopes, Rewrite::Changed).unwrap();
        assert_eq!((staged.added, staged.removed, staged.changed.len()), (1, 0, 1));
        staged.publish(&Value::Null).unwrap();

        let csv = support::csv_text(&dir.path().join("csv/p/s/date=2024-07-25/part-0.csv"));
        let notes: Vec<&str> = csv.lines().map(|it| it.split(',').nth(at).unwrap()).collect();
        assert_eq!(notes, ["note", "new", ""], "the row of 07-25 with key 1 went to 08-03: {csv}");
    }
}

#[test]
fn a_dataset_of_csv_alone_is_merged_and_gets_parquet_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &BOTH[1..], &run(append(), ReadScopes::Nothing, &[row(1, 0, "a")]));
    publish(dir.path(), &BOTH[1..], &run(append(), ReadScopes::Nothing, &[row(2, 1, "b")]));
    assert_eq!(support::visible(dir.path()).len(), 2);

    let found = publish(dir.path(), &BOTH, &run(append(), ReadScopes::Nothing, &[]));

    assert_eq!((found.1, found.2), (2, 4));
    assert_eq!(all(dir.path()), [row(1, 0, "a"), row(2, 1, "b")]);
    assert!(!support::names(dir.path()).iter().any(|it| it.contains("/rows/")));

    // Another compression is another format, too.
    let gzip = [FORMATS[0], support::csv(CsvCompression::Gzip)];
    publish(dir.path(), &gzip, &run(append(), ReadScopes::Nothing, &[]));
    assert_eq!(
        support::visible(dir.path())[..2],
        ["csv/p/s/date=2024-07-25/part-0.csv.gz", "csv/p/s/date=2024-07-26/part-0.csv.gz"]
    );
    assert_eq!(support::visible(dir.path()).len(), 4);
}

#[test]
fn a_plan_that_cannot_go_on_with_what_stands_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &BOTH, &run(append(), ReadScopes::Nothing, &[row(1, 0, "a")]));
    let check = |plan: &StreamPlan, formats: &[FormatPlan], expected: &str| {
        let destination = support::open(dir.path(), formats);
        let err = destination.check(plan, UnknownFiles::Refused).unwrap_err();
        assert!(err.to_string().starts_with(expected), "{err}");
        let err = destination.stream(plan, 1 << 20).unwrap_err();
        assert!(err.to_string().starts_with(expected), "{err}");
    };
    let changed = |change: fn(&mut StreamPlan)| {
        let mut plan = stream(append());
        change(&mut plan);
        plan
    };

    check(
        &changed(|it| it.columns[1].kind = ColumnType::Int64),
        &BOTH,
        "stream `s`: column `name` is Utf8 in the dataset and Int64 in the pipeline;",
    );
    check(
        &changed(|it| drop(it.columns.remove(2))),
        &BOTH,
        "stream `s`: the dataset has a column `price` (Float64) that the pipeline has not;",
    );
    check(
        &changed(|it| it.partition.unit = PartitionUnit::Month),
        &BOTH,
        "stream `s`: the dataset's partition unit is `day`, the pipeline's is `month`;",
    );
    check(
        &changed(|it| it.partition.zone = chrono_tz::Asia::Shanghai),
        &BOTH,
        "stream `s`: the dataset's partition zone is `UTC`, the pipeline's is `Asia/Shanghai`;",
    );
    check(
        &changed(|it| it.partition.column = name("day")),
        &BOTH,
        "stream `s`: the dataset's partition column is `start`, the pipeline's is `day`;",
    );
    check(
        &changed(|it| it.partition.name = name("day")),
        &BOTH,
        "stream `s`: the dataset's partition name is `date`, the pipeline's is `day`;",
    );
    check(
        &stream(append()),
        &BOTH[..1],
        "stream `s`: the dataset is also in csv, which this run does not write; write it too, or remove `csv/p/s`",
    );
    support::open(dir.path(), &BOTH).check(&stream(append()), UnknownFiles::Refused).unwrap();

    fs::remove_dir_all(dir.path().join("csv/p/s")).unwrap();
    publish(dir.path(), &BOTH[..1], &run(append(), ReadScopes::Nothing, &[row(2, 4, "b")]));
    assert_eq!(all(dir.path()), [row(1, 0, "a"), row(2, 4, "b")]);
}

#[test]
fn a_file_that_is_not_the_published_one_ends_the_run_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &BOTH, &run(append(), ReadScopes::Nothing, &[row(1, 0, "a")]));
    let path = dir.path().join("parquet/p/s/date=2024-07-25/part-0.parquet");
    let content = fs::read(&path).unwrap();
    let mut flipped = content.clone();
    flipped[4..60].fill(0xAA);
    let mut footless = content.clone();
    let end = footless.len();
    footless[end - 400..end - 8].fill(0xFF);
    for content in [None, Some(&content[1..]), Some(&flipped[..]), Some(&footless[..])] {
        match content {
            Some(content) => put(&path, content),
            None => fs::remove_file(&path).unwrap(),
        }
        let before = support::tree(dir.path());
        let destination = support::open(dir.path(), &BOTH);
        let plan = stream(append());
        let mut writer = destination.stream(&plan, 1 << 20).unwrap();
        writer.write(batch(&[row(1, 3, "b"), row(2, 0, "b")])).unwrap();

        let err = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap_err();

        assert!(err.to_string().contains("date=2024-07-25/part-0.parquet"), "{err}");
        assert!(matches!(err, WriteError::Standing { .. } | WriteError::Parquet { .. }), "{err:?}");
        destination.close();
        assert_eq!(support::tree(dir.path()), before);
    }
}

#[test]
fn a_scope_over_no_column_of_the_stream_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = NaiveDate::default();
    for (scope, expected) in [
        (
            Scope { equals: vec![(name("nowhere"), ScopeValue::Null)], dates: None },
            "stream `s` has no column `nowhere`",
        ),
        (
            Scope { equals: Vec::new(), dates: Some((name("name"), first, first)) },
            "column `name`: a scope of dates does not take the type Utf8",
        ),
    ] {
        let destination = support::open(dir.path(), &BOTH);
        let writer = destination.stream(&stream(append()), 1 << 20).unwrap();
        let scopes = ReadScopes::These(vec![scope]);
        let err = writer.finish(&scopes, Rewrite::Changed).unwrap_err();
        assert_eq!(err.to_string(), expected);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn put(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}

#[test]
fn a_file_that_cannot_have_the_keys_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let stands = [row(1, 0, "a"), row(900, 0, "b"), row(7, 1, "c"), row(8, 1, "d")];
    publish(dir.path(), &BOTH[..1], &run(append(), ReadScopes::Nothing, &stands));
    // Without its rows, a file still has its statistics and its filter.
    for day in [25, 26] {
        let path = dir.path().join(format!("parquet/p/s/date=2024-07-{day}/part-0.parquet"));
        let file = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for column in file.metadata().row_group(0).columns() {
            let (start, len) = column.byte_range();
            let (start, len) = (usize::try_from(start).unwrap(), usize::try_from(len).unwrap());
            bytes[start..start + len].fill(0xAA);
        }
        overwrite(&path, &bytes);
    }
    let stage_key = |id| {
        let destination = support::open(dir.path(), &BOTH[..1]);
        let mut writer = destination.stream(&stream(append()), 1 << 20).unwrap();
        writer.write(batch(&[row(id, 9, "new")])).unwrap();
        writer.finish(&ReadScopes::Nothing, Rewrite::Changed).map(|it| it.added)
    };

    assert_eq!(stage_key(9).unwrap(), 1, "between 1 and 900, and the filter says no");
    assert_eq!(stage_key(1_000).unwrap(), 1, "beyond what the statistics say");
    let err = stage_key(900).unwrap_err();
    assert!(err.to_string().contains("date=2024-07-25"), "{err}");
}

#[expect(clippy::disallowed_methods, reason = "somebody else's write")]
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_row_is_known_again_whatever_the_first_column_of_its_key_is() {
    let rows = |price: f64| -> Vec<TestRow> {
        let row = |id, name: Option<&str>, done, day| TestRow {
            id: Some(id),
            name: name.map(str::to_owned),
            price: Some(price),
            done,
            day,
            start: Some(JULY),
        };
        vec![
            row(1, Some(""), Some(false), Some(7)),
            row(i64::MAX, Some(""), Some(false), Some(7)),
            row(-1, Some(""), Some(false), Some(8)),
        ]
    };
    for first in ["day", "done", "name", "start", "id"] {
        let mut key = vec![name(first), name("id")];
        key.dedup();
        for mode in [
            WriteMode::Merge { key: key.clone(), newest_by: None },
            WriteMode::Replace { scope: ReplaceScope::Slice, key: key.clone() },
        ] {
            let dir = tempfile::tempdir().unwrap();
            publish(dir.path(), &BOTH, &run(mode.clone(), ReadScopes::Nothing, &rows(1.0)));

            publish(dir.path(), &BOTH, &run(mode.clone(), ReadScopes::Nothing, &rows(2.0)));

            let prices: Vec<Option<f64>> = all(dir.path()).iter().map(|it| it.price).collect();
            assert_eq!(prices, [Some(2.0); 3], "{mode:?}");
        }
    }
}
