//! Runs one after the other, held against a model that knows nothing of files.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use chrono::{Days, NaiveDate};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use super::support::{
    self, FORMATS, JULY, NULL, TestRow, any_row, append, batch, name, read, stream,
};
use crate::{
    load::{Destination, PartitionChange, ReadScopes, Rewrite, Scope, ScopeValue, StagedStream},
    plan::{FormatPlan, ReplaceScope, StreamPlan, WriteMode},
};

const DAY: i64 = 86_400_000_000;
const BOTH: [FormatPlan; 2] = [FORMATS[0], FORMATS[1]];

pub(super) fn merge_by(newest_by: Option<&str>) -> WriteMode {
    WriteMode::Merge { key: vec![name("id")], newest_by: newest_by.map(name) }
}

pub(super) fn replace(key: &[&str]) -> WriteMode {
    let key = key.iter().map(|it| name(it)).collect();
    WriteMode::Replace { scope: ReplaceScope::Slice, key }
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) mode: WriteMode,
    pub(super) scopes: ReadScopes,
    pub(super) rewrite: Rewrite,
    pub(super) rows: Vec<TestRow>,
    pub(super) budget: usize,
}

/// What a run should say about its rows, in the order of [`counts`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ModelCounts {
    duplicates: u64,
    superseded: u64,
    added: u64,
    updated: u64,
    unchanged: u64,
    outdated: u64,
    pub(super) removed: u64,
    redated: u64,
    stood: u64,
    pub(super) rows: u64,
}

pub(super) fn counts(staged: &StagedStream) -> ModelCounts {
    ModelCounts {
        duplicates: staged.duplicates,
        superseded: staged.superseded,
        added: staged.added,
        updated: staged.updated,
        unchanged: staged.unchanged,
        outdated: staged.outdated,
        removed: staged.removed,
        redated: staged.redated,
        stood: staged.stood,
        rows: staged.rows,
    }
}

fn partition(row: &TestRow) -> String {
    row.start.map_or(NULL.to_owned(), |it| format!("date=2024-07-{}", 25 + (it - JULY) / DAY))
}

/// Rows by partition, each in the order of files.
fn partitions(rows: &[TestRow]) -> BTreeMap<String, Vec<TestRow>> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let mut partitions = BTreeMap::<String, Vec<TestRow>>::new();
    for row in sorted {
        partitions.entry(partition(&row)).or_default().push(row);
    }
    partitions
}

fn holds(scope: &Scope, row: &TestRow) -> bool {
    let equal = scope.equals.iter().all(|(column, value)| match column.as_str() {
        "id" => match value {
            ScopeValue::Null => row.id.is_none(),
            ScopeValue::Int(number) => row.id == Some(*number),
            ScopeValue::Text(text) => row.id.is_some_and(|it| it.to_string() == *text),
            ScopeValue::Bool(_) => false,
        },
        "name" => match value {
            ScopeValue::Null => row.name.is_none(),
            ScopeValue::Int(number) => row.name == Some(number.to_string()),
            ScopeValue::Text(text) => row.name.as_ref() == Some(text),
            ScopeValue::Bool(flag) => row.name == Some(flag.to_string()),
        },
        "done" => match value {
            ScopeValue::Null => row.done.is_none(),
            ScopeValue::Bool(flag) => row.done == Some(*flag),
            ScopeValue::Text(_) | ScopeValue::Int(_) => false,
        },
        other => panic!("{other}"),
    });
    let dated = scope.dates.as_ref().is_none_or(|(column, first, last)| {
        let day = match column.as_str() {
            "day" => row.day.map(i64::from),
            _ => row.start.map(|it| it.div_euclid(DAY)),
        };
        let date = |days: i64| {
            NaiveDate::default().checked_add_days(Days::new(days.unsigned_abs())).unwrap()
        };
        day.is_some_and(|it| *first <= date(it) && date(it) <= *last)
    });
    equal && dated
}

fn was_read(scopes: &ReadScopes, row: &TestRow) -> bool {
    match scopes {
        ReadScopes::Nothing => false,
        ReadScopes::These(list) => list.iter().any(|it| holds(it, row)),
        ReadScopes::AllBut(list) => !list.iter().any(|it| holds(it, row)),
    }
}

/// What stands after a run, the slow way.
fn model(standing: &[TestRow], run: &Run) -> (Vec<TestRow>, ModelCounts) {
    let mut counts = ModelCounts::default();
    let in_scope = |it: &TestRow| was_read(&run.scopes, it);
    counts.stood = standing.iter().filter(|it| in_scope(it)).count() as u64;
    let key = match &run.mode {
        WriteMode::Append { key }
        | WriteMode::Merge { key, .. }
        | WriteMode::Replace { key, .. } => key,
    };
    let mut rows = Vec::new();
    if key.is_empty() {
        let (mut old, kept): (Vec<_>, Vec<_>) = standing.iter().cloned().partition(in_scope);
        for row in &run.rows {
            if let Some(at) = old.iter().position(|it| it == row) {
                old.swap_remove(at);
                counts.unchanged += 1;
            } else {
                counts.added += 1;
            }
        }
        counts.removed = old.len() as u64;
        rows = kept;
        rows.extend(run.rows.iter().cloned());
        counts.rows = rows.len() as u64;
        return (rows, counts);
    }

    let has_newest = matches!(run.mode, WriteMode::Merge { newest_by: Some(_), .. });
    let newest = |it: &TestRow| if has_newest { it.day } else { None };
    let compare = |a: &TestRow, b: &TestRow| {
        (newest(a), a).partial_cmp(&(newest(b), b)).unwrap_or(Ordering::Equal)
    };
    let ids: BTreeSet<Option<i64>> = standing.iter().chain(&run.rows).map(|it| it.id).collect();
    for id in ids {
        let mut new: Vec<&TestRow> = run.rows.iter().filter(|it| it.id == id).collect();
        new.sort_by(|a, b| compare(a, b));
        for pair in new.windows(2) {
            *if pair[0] == pair[1] { &mut counts.duplicates } else { &mut counts.superseded } += 1;
        }
        let mut old: Vec<&TestRow> = standing.iter().filter(|it| it.id == id).collect();
        old.sort_by(|a, b| in_scope(b).cmp(&in_scope(a)).then(compare(a, b)));
        counts.removed += old.len().saturating_sub(1) as u64;
        let (new, old) = (new.last().copied(), old.last().copied());
        let stays = match (old, new) {
            (None, None) => continue,
            (None, Some(new)) => {
                counts.added += 1;
                Some(new)
            }
            (Some(old), None) if in_scope(old) => {
                counts.removed += 1;
                None
            }
            (Some(old), None) => Some(old),
            (Some(old), Some(new)) if old == new => {
                counts.unchanged += 1;
                Some(old)
            }
            (Some(old), Some(new)) => {
                let new_wins = in_scope(old)
                    || match run.mode {
                        WriteMode::Append { .. } => false,
                        WriteMode::Merge { .. } => newest(new) >= newest(old),
                        WriteMode::Replace { .. } => true,
                    };
                if new_wins {
                    counts.updated += 1;
                    counts.redated += u64::from(partition(new) != partition(old));
                    Some(new)
                } else {
                    counts.outdated += 1;
                    Some(old)
                }
            }
        };
        rows.extend(stays.cloned());
    }
    counts.rows = rows.len() as u64;
    (rows, counts)
}

/// What identifies the files of each partition: path, content, and the file itself.
pub(super) fn files(path: &Path) -> BTreeMap<String, BTreeSet<(String, u64, Vec<u8>)>> {
    let mut partitions = BTreeMap::<String, BTreeSet<_>>::new();
    for (file, content) in support::tree(path) {
        if file.contains("part-") {
            let partition = file.rsplit('/').nth(1).unwrap().to_owned();
            let identity = identity(&path.join(&file));
            partitions.entry(partition).or_default().insert((file, identity, content));
        }
    }
    partitions
}

#[cfg(unix)]
fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = fs::metadata(path).unwrap();
    metadata.ino() ^ metadata.mtime_nsec().unsigned_abs()
}

#[cfg(not(unix))]
fn identity(_: &Path) -> u64 {
    0
}

pub(super) fn stage(destination: &Destination, run: &Run) -> StagedStream {
    stage_as(destination, &stream(run.mode.clone()), run)
}

/// As the stream `plan`, whose write mode is the run's.
pub(super) fn stage_as(destination: &Destination, plan: &StreamPlan, run: &Run) -> StagedStream {
    let mut writer = destination.stream(plan, run.budget).unwrap();
    for some in run.rows.chunks(7) {
        writer.write(batch(some)).unwrap();
    }
    writer.finish(&run.scopes, run.rewrite).unwrap()
}

fn any_scopes() -> impl Strategy<Value = ReadScopes> {
    let id = prop_oneof![
        1 => Just(ScopeValue::Null),
        5 => (0i64..40).prop_map(ScopeValue::Int),
        3 => (0i64..40).prop_map(|it| ScopeValue::Text(it.to_string())),
        1 => Just(ScopeValue::Text("07".to_owned())),
    ]
    .prop_map(|it| (name("id"), it));
    let text = prop_oneof![
        Just(ScopeValue::Null),
        Just(ScopeValue::Text(String::new())),
        Just(ScopeValue::Text("a".to_owned())),
    ]
    .prop_map(|it| (name("name"), it));
    let done = any::<bool>().prop_map(|it| (name("done"), ScopeValue::Bool(it)));
    let equals = prop_oneof![
        5 => id.clone().prop_map(|it| vec![it]),
        2 => text.clone().prop_map(|it| vec![it]),
        2 => done.clone().prop_map(|it| vec![it]),
        1 => (text, id).prop_map(|(a, b)| vec![a, b]),
        3 => Just(Vec::new()),
    ];
    let july = NaiveDate::from_ymd_opt(2024, 7, 25).unwrap();
    let dates = prop_oneof![
        (0u64..4, 0u64..3).prop_map(move |(first, days)| {
            let first = july + Days::new(first);
            (name("start"), first, first + Days::new(days))
        }),
        (0u64..3, 0u64..3).prop_map(|(first, days)| {
            let first = NaiveDate::default() + Days::new(first);
            (name("day"), first, first + Days::new(days))
        }),
    ];
    let scope = (equals, option::of(dates)).prop_map(|(equals, dates)| Scope { equals, dates });
    prop_oneof![
        3 => Just(ReadScopes::Nothing),
        5 => vec(scope.clone(), 0..6).prop_map(ReadScopes::These),
        2 => vec(scope, 0..3).prop_map(ReadScopes::AllBut),
    ]
}

pub(super) fn any_run() -> impl Strategy<Value = (ReadScopes, Rewrite, Vec<TestRow>, usize, usize)>
{
    (
        any_scopes(),
        prop_oneof![9 => Just(Rewrite::Changed), 1 => Just(Rewrite::All)],
        prop_oneof![vec(any_row(), 0..6), vec(any_row(), 0..80)],
        prop_oneof![Just(1usize), 100usize..8_000, Just(1 << 20)],
        0usize..20,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn files_are_what_the_model_says_after_every_run(
        mode in 0usize..5,
        runs in vec(any_run(), 1..6),
        parquet_from in prop_oneof![5 => Just(0usize), 1 => 1usize..4],
    ) {
        let modes = [
            append(),
            merge_by(None),
            merge_by(Some("day")),
            replace(&["id"]),
            replace(&[]),
        ];
        let dir = tempfile::tempdir().unwrap();
        let mut standing: Vec<TestRow> = Vec::new();
        let mut last: Option<WriteMode> = None;
        for (at, (scopes, rewrite, rows, budget, other_mode)) in runs.into_iter().enumerate() {
            // Now and then a stream gets another write mode, and perhaps another key.
            let mode = modes.get(other_mode).unwrap_or(&modes[mode]).clone();
            let run = Run { mode, scopes, rewrite, rows, budget };
            let formats = if at >= parquet_from { &BOTH[..] } else { &BOTH[1..] };
            let before = files(dir.path());
            let (expected, expected_counts) = model(&standing, &run);

            let destination = support::open(dir.path(), formats);
            let staged = stage(&destination, &run);

            prop_assert_eq!(counts(&staged), expected_counts, "{:?}", run);
            prop_assert_eq!(staged.read, run.rows.len() as u64);
            prop_assert_eq!(
                staged.read,
                staged.duplicates + staged.superseded + staged.added + staged.updated
                    + staged.unchanged + staged.outdated
            );
            let changes = staged.changes.clone();
            let of_partitions = |of: fn(&PartitionChange) -> u64| changes.iter().map(of).sum::<u64>();
            prop_assert_eq!(of_partitions(|it| it.added), staged.added);
            prop_assert_eq!(of_partitions(|it| it.updated), staged.updated);
            prop_assert_eq!(of_partitions(|it| it.removed), staged.removed);
            prop_assert_eq!(of_partitions(|it| it.redated), staged.redated);
            let none_moved = staged.redated == 0;
            let written = staged.files.len();
            let changed = staged.changed.len() as u64;
            prop_assert_eq!(files(dir.path()), before.clone(), "visible before it is published");
            let published = staged.publish(&json!({ "run": at })).unwrap();
            prop_assert_eq!(destination.state(&name("s")).unwrap(), Some(json!({ "run": at })));
            prop_assert_eq!(destination.living_rows(&name("s")).unwrap(), Some(expected.len() as u64));
            destination.close();

            let mut model = partitions(&expected);
            if model.is_empty() {
                model.insert(NULL.to_owned(), Vec::new());
            }
            prop_assert_eq!(published.partitions, model.len() as u64);
            prop_assert_eq!(&read(dir.path(), FORMATS[1]), &model, "{:?}", run);
            if at >= parquet_from {
                prop_assert_eq!(&read(dir.path(), FORMATS[0]), &model, "{:?}", run);
            }
            prop_assert_eq!(dir.path().join("_tracklake/p/rows/s").exists() && at >= parquet_from
                && support::names(dir.path()).iter().any(|it| it.contains("/rows/")), false);

            let key = stream(run.mode.clone()).key().to_vec();
            let is_same_key =
                last.as_ref().is_none_or(|it| stream(it.clone()).key() == key.as_slice());
            if none_moved && is_same_key {
                let stood = partitions(&standing);
                let rows = |of: &BTreeMap<String, Vec<TestRow>>, name: &String| of.get(name).map_or(0, Vec::len);
                for name in stood.keys().chain(model.keys()) {
                    let change = changes.iter().find(|it| it.partition == *name);
                    let (came, went) = change.map_or((0, 0), |it| (it.added, it.removed));
                    let before = rows(&stood, name) as u64 + came;
                    prop_assert_eq!(before - went, rows(&model, name) as u64, "{}: {:?}", name, run);
                }
            }
            let is_whole = run.rewrite == Rewrite::All || !is_same_key || at == parquet_from;
            if !is_whole {
                let stood = partitions(&standing);
                let names: BTreeSet<&String> = stood.keys().chain(model.keys()).collect();
                let same = |it: &&String| stood.get(*it) == model.get(*it);
                let after = files(dir.path());
                for partition in names.iter().copied().filter(same) {
                    prop_assert_eq!(&before[partition], &after[partition], "{:?}", run);
                }
                if !standing.is_empty() && !expected.is_empty() {
                    let differ = names.iter().filter(|it| !same(it)).count() as u64;
                    prop_assert_eq!(changed, differ, "{:?}", run);
                    prop_assert!(differ > 0 || written == 0);
                }
            }
            standing = expected;
            last = Some(run.mode);
        }
    }
}
