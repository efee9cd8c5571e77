use std::collections::BTreeMap;

use super::*;
use crate::{
    config::{Inputs, load_text},
    extract::ExtractError,
    load::{Scope, ScopeValue},
    plan::GuardPlan,
};

/// A stream with this `write`, of the slices that a pipeline file says.
fn sliced(write: &str, slices: &str) -> StreamPlan {
    let text = format!(
        "version: 1
pipeline: p
source: {{ base_url: http://127.0.0.1:1 }}
streams:
  parents:
    request: {{ path: /p }}
    columns: {{ id: {{ from: id, type: int64 }}, day: {{ from: day, type: date }} }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
  s:
    request: {{ path: /s }}
    slices: {slices}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {write}
    partition_by: {{ column: day }}
destination: {{ path: out }}
"
    );
    let mut plan = load_text("p.yaml".as_ref(), &text, &Inputs::new([])).unwrap();
    plan.streams.remove(1)
}

const APPEND: &str = "{ append: { key: [id] } }";
const MERGE: &str = "{ merge: { key: [id] } }";
const SLICE: &str = "{ replace: { scope: slice, key: [id], by: { day: window } } }";
const ALL: &str = "{ replace: { scope: all, key: [id] } }";
const ALL_KEYLESS: &str = "{ replace: { scope: all } }";
const DAYS: &str =
    "{ window: { from: \"2024-07-01\", step: 1d, format: date, start_param: from } }";
const PARENTS: &str = "{ parent: { stream: parents, bind: { parent_id: id } } }";

fn stream(write: &str) -> StreamPlan {
    sliced(write, DAYS)
}

fn short() -> ExtractError {
    ExtractError::Short { expected: 6, found: 5 }
}

fn out_of_budget() -> ExtractError {
    ExtractError::Exhausted(Exhausted::Requests { limit: 9 })
}

/// Slices of which so many failed.
fn slices(total: u64, failed: u64, err: Option<ExtractError>) -> SliceTally {
    let mut slices = SliceTally::default();
    (slices.counts.total, slices.counts.failed) = (total, failed);
    slices.first_error = err.map(|it| ("2024-07-01".to_owned(), it));
    slices
}

/// A reading of all, with nothing left out.
fn read() -> Read {
    let mut slices = slices(3, 0, None);
    slices.read.push(scope("read"));
    slices.unread.push(scope("unread"));
    Read {
        slices,
        tally: Tally::default(),
        progress: state::Progress::default(),
        reading: Reading::Complete,
        covers_all: true,
    }
}

fn scope(mode: &str) -> Scope {
    let value = ScopeValue::Text(mode.to_owned());
    Scope { equals: vec![("mode".parse().unwrap(), value)], dates: None }
}

#[test]
fn a_stream_is_read_as_far_as_its_slices_and_its_parent_are() {
    use Reading::{Complete, Interrupted, Nothing, Partial};

    let own = |total, failed, err| reading(&stream(MERGE), &slices(total, failed, err), None);
    assert_eq!(own(3, 0, None), Complete);
    assert_eq!(own(0, 0, None), Complete);
    assert_eq!(own(3, 1, Some(short())), Partial);
    assert_eq!(own(3, 3, Some(short())), Nothing);
    // What the budget leaves is read by the next run, and what was read before is there.
    assert_eq!(own(3, 1, Some(out_of_budget())), Partial);
    assert_eq!(own(1, 1, Some(out_of_budget())), Partial);
    let snapshot = slices(1, 1, Some(out_of_budget()));
    assert_eq!(reading(&stream(ALL), &snapshot, None), Nothing);

    for (failed, is_cut, [complete, partial, nothing, interrupted]) in [
        (0, false, [Complete, Partial, Nothing, Interrupted]),
        (1, false, [Partial, Partial, Nothing, Interrupted]),
        (3, false, [Nothing, Nothing, Nothing, Interrupted]),
        (3, true, [Interrupted; 4]),
    ] {
        for (parent, expected) in [
            (None, complete),
            (Some(Complete), complete),
            (Some(Partial), partial),
            (Some(Nothing), nothing),
            (Some(Interrupted), interrupted),
        ] {
            let mut slices = slices(3, failed, Some(short()));
            slices.is_cut = is_cut;
            let found = reading(&stream(MERGE), &slices, parent);
            assert_eq!(found, expected, "{failed} failed, parent {parent:?}");
        }
    }
}

#[test]
fn something_is_missing_where_a_slice_or_a_record_was_left_out() {
    assert!(read().nothing_missing());

    let left_out: [fn(&mut Read); 4] = [
        |it| it.slices.counts.gone = 1,
        |it| it.slices.counts.skipped = 1,
        |it| it.slices.counts.failed = 1,
        |it| it.tally.rejected = 1,
    ];
    for (at, leave_out) in left_out.into_iter().enumerate() {
        let mut read = read();
        leave_out(&mut read);
        assert!(!read.nothing_missing(), "{at}");
    }
}

#[test]
fn rows_may_go_only_where_the_source_was_seen_without_them() {
    let nothing = || ReadScopes::Nothing;
    let all = || ReadScopes::AllBut(Vec::new());
    let all_but = || ReadScopes::AllBut(vec![scope("unread")]);
    let these = || ReadScopes::These(vec![scope("read")]);
    let given = || {
        let slices = SlicesPlan::Given(BTreeMap::new());
        StreamPlan { slices, ..stream(SLICE) }
    };
    let whole: fn(&mut Read) = |_| {};
    let part: fn(&mut Read) = |it| it.covers_all = false;
    let rejected: fn(&mut Read) = |it| it.tally.rejected = 1;
    let unplaced: fn(&mut Read) = |it| it.slices.has_unread_without_scope = true;
    let failed: fn(&mut Read) = |it| {
        it.covers_all = false;
        it.reading = Reading::Partial;
    };
    for (stream, [of_whole, of_part, of_rejected, of_unplaced, of_failed]) in [
        (stream(APPEND), [all(), nothing(), nothing(), all(), nothing()]),
        (stream(MERGE), [all(), nothing(), nothing(), all(), nothing()]),
        (stream(SLICE), [all_but(), these(), all_but(), these(), these()]),
        (given(), [all(), all(), all_but(), all(), these()]),
        (stream(ALL), [all(), all(), nothing(), all(), all()]),
        (stream(ALL_KEYLESS), [all(), all(), all(), all(), all()]),
    ] {
        for (how, change, expected) in [
            ("whole", whole, of_whole),
            ("part", part, of_part),
            ("rejected", rejected, of_rejected),
            ("unplaced", unplaced, of_unplaced),
            ("failed", failed, of_failed),
        ] {
            let mut read = read();
            change(&mut read);
            let found = scopes(&stream, &mut read);
            assert_eq!(found, expected, "{:?}, {how}", stream.write);
        }
    }
}

/// What a failure is called, and whether the rest is published.
fn failed(
    stream: &StreamPlan,
    mut read: Read,
    unknown_files: usize,
) -> Option<(bool, &'static str)> {
    let (is_rest_published, err) = match failure(stream, &mut read, unknown_files, None)? {
        Failure::Partial(err) => (true, err),
        Failure::Nothing(err) => (false, err),
    };
    let name = match err {
        Error::Interrupted => "interrupted",
        Error::Budget { published, .. } if published == is_rest_published => "budget",
        Error::Slices { .. } => "slices",
        Error::SomeSlices { .. } => "some slices",
        Error::Parent { left: false, .. } => "parent",
        _ => "another one",
    };
    Some((is_rest_published, name))
}

#[test]
fn what_went_wrong_says_whether_the_rest_is_published() {
    let of = |reading, slices| Read { slices, reading, ..read() };
    for (read_so_far, failures, err, of_merge, of_snapshot) in [
        (Reading::Complete, 0, None, None, None),
        (
            Reading::Interrupted,
            1,
            Some(short as fn() -> _),
            Some((false, "interrupted")),
            Some((false, "interrupted")),
        ),
        (Reading::Partial, 1, Some(short), Some((true, "some slices")), Some((false, "slices"))),
        (Reading::Nothing, 3, Some(short), Some((false, "slices")), Some((false, "slices"))),
        (Reading::Partial, 1, Some(out_of_budget), Some((true, "budget")), Some((false, "budget"))),
        (Reading::Partial, 3, Some(out_of_budget), Some((true, "budget")), Some((false, "budget"))),
    ] {
        for (write, expected) in [(MERGE, of_merge), (ALL, of_snapshot)] {
            let read = of(read_so_far, slices(3, failures, err.map(|it| it())));
            assert_eq!(failed(&stream(write), read, 0), expected, "{write} {read_so_far:?}");
        }
        // What stood before is not known, so that only a whole reading may take its place.
        for write in [MERGE, APPEND, SLICE, ALL] {
            let read = of(read_so_far, slices(3, failures, err.map(|it| it())));
            let found = failed(&stream(write), read, 1);
            assert_eq!(found, of_snapshot, "{write} {read_so_far:?}, in place of unknown files");
        }
    }
}

#[test]
fn a_child_fails_where_its_parent_could_not_be_read() {
    let of = |reading| Read { reading, ..read() };
    let (child, snapshot) = (sliced(MERGE, PARENTS), sliced(ALL, PARENTS));

    assert_eq!(failed(&child, of(Reading::Complete), 0), None);
    assert_eq!(failed(&child, of(Reading::Partial), 0), None, "the parents that came are followed");
    assert_eq!(failed(&child, of(Reading::Nothing), 0), Some((false, "parent")));
    assert_eq!(failed(&snapshot, of(Reading::Complete), 0), None);
    assert_eq!(failed(&snapshot, of(Reading::Partial), 0), Some((false, "parent")));
    assert_eq!(failed(&child, of(Reading::Complete), 1), None);
    assert_eq!(failed(&child, of(Reading::Partial), 1), Some((false, "parent")));
    let budget = Exhausted::Requests { limit: 9 };
    let left = failure(&child, &mut of(Reading::Nothing), 0, Some(&budget));
    assert!(matches!(left, Some(Failure::Nothing(Error::Parent { left: true, .. }))));
}

#[test]
fn what_looks_like_a_mistake_is_not_published() {
    let now = "2024-07-25T12:00:00Z".parse().unwrap();
    let found = |stream: &StreamPlan, change| match guard(stream, change, now) {
        Ok(()) => "published",
        Err(Error::PartWouldReplace { rows: 300, .. }) => "part",
        Err(Error::WouldBeEmpty { rows: 300, .. }) => "empty",
        Err(Error::UnknownWouldGo { files: 9, .. }) => "unknown",
        Err(Error::TooManyDeletes { .. }) => "deletes",
        Err(_) => "another one",
    };
    let same = Change {
        rows_before: 300,
        unknown_files: 0,
        living: 300,
        stood: 200,
        removed: 0,
        is_part: false,
    };
    let unknown = Change { rows_before: 0, unknown_files: 9, stood: 0, ..same };
    let may_be_empty = |write| {
        let guard = GuardPlan { may_be_empty: true, max_delete_ratio: 1.0, ..GuardPlan::default() };
        StreamPlan { guard, ..stream(write) }
    };
    for (stream, change, expected) in [
        (stream(MERGE), unknown, "published"),
        (stream(MERGE), Change { living: 0, ..unknown }, "unknown"),
        (stream(ALL), Change { living: 0, ..unknown }, "unknown"),
        (may_be_empty(MERGE), Change { living: 0, ..unknown }, "published"),
    ] {
        assert_eq!(found(&stream, change), expected, "{:?} {change:?}", stream.write);
    }
    for (stream, change, expected) in [
        (stream(MERGE), same, "published"),
        (stream(MERGE), Change { living: 0, ..same }, "empty"),
        (stream(MERGE), Change { living: 0, rows_before: 0, ..same }, "published"),
        (may_be_empty(MERGE), Change { living: 0, ..same }, "published"),
        (stream(MERGE), Change { removed: 100, ..same }, "published"),
        (stream(MERGE), Change { removed: 101, ..same }, "deletes"),
        (stream(MERGE), Change { removed: 99, stood: 99, ..same }, "published"),
        (stream(MERGE), Change { removed: 100, stood: 100, ..same }, "deletes"),
        (stream(ALL), same, "published"),
        (stream(ALL), Change { is_part: true, ..same }, "part"),
        (stream(ALL), Change { is_part: true, rows_before: 0, ..same }, "published"),
        (
            sliced(ALL, "{ list: { as: mode, values: [a] } }"),
            Change { is_part: true, ..same },
            "published",
        ),
        (stream(SLICE), Change { is_part: true, ..same }, "published"),
    ] {
        assert_eq!(found(&stream, change), expected, "{:?} {change:?}", stream.write);
    }
}
