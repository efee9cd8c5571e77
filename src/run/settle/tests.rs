//! Which records leave quarantine, and of which nobody knows enough.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    config::{Inputs, load_text},
    extract::{Horizon, slices},
    plan::MaskPlan,
};

fn day(day: u32) -> DateTime<Utc> {
    format!("2024-07-{day:02}T00:00:00Z").parse().unwrap()
}

#[test]
fn windows_cover_what_they_leave_no_gap_in() {
    let window = Some((day(3), day(6)));
    for (read, expected) in [
        (&[][..], false),
        (&[(3, 6)], true),
        (&[(1, 9)], true),
        (&[(3, 4), (4, 6)], true),
        (&[(4, 9)], false),
        (&[(1, 5)], false),
        (&[(5, 9), (1, 4), (4, 5)], true),
        (&[(5, 9), (1, 4)], false),
    ] {
        let mut again = ReadAgain::default();
        for (from, until) in read {
            again.add("a".to_owned(), Some((day(*from), day(*until))));
        }
        again.add("b".to_owned(), window);
        again.add("a".to_owned(), None);
        assert_eq!(again.covers("a", window), expected, "{read:?}");
        assert!(again.covers("a", None));
        assert!(!again.covers("b", None));
    }
}

/// The streams of a pipeline file: those of `slices` and of what follows it.
fn stream(slices: &str, columns: &str, write: &str) -> StreamPlan {
    let text = format!(
        "version: 1
pipeline: p
source: {{ base_url: http://127.0.0.1:1 }}
streams:
  parents:
    request: {{ path: /p }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
  s:
    request: {{ path: /s }}
    slices: {slices}
    columns: {{ {columns}, day: {{ from: day, type: date }} }}
    write: {write}
    partition_by: {{ column: day }}
destination: {{ path: out }}
"
    );
    let mut plan = load_text("p.yaml".as_ref(), &text, &Inputs::new([])).unwrap();
    plan.streams.remove(1)
}

const MODES: &str = "{ list: { as: mode, values: [a, b] } }";
const OF_PARENTS: &str = "{ parent: { stream: parents, bind: { parent_id: id } } }";
const COLUMNS: &str = "id: { from: user.id, type: int64 }, seen: { from: seen, type: int64 }, \
                       mode: { from: slice.mode, type: string }, text: { from: text, type: int64 }";
const ID: &str = "id: { from: id, type: int64 }";

fn values_of(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn of_mode(mode: &str) -> RejectContext {
    RejectContext { slice: values_of(&[("mode", json!(mode))]), ..RejectContext::default() }
}

/// The keys of a record as a table of its columns, where they are known.
fn keys(
    write: &str,
    raw: &Value,
    masked: &[&str],
    context: Option<&RejectContext>,
) -> Option<(usize, usize)> {
    let keys = RejectKeys::new(&stream(MODES, COLUMNS, write))?;
    let masked: Vec<String> = masked.iter().map(|it| (*it).to_owned()).collect();
    let batch = keys.of(&raw.to_string(), &masked, context)?;
    Some((batch.num_rows(), batch.num_columns()))
}

#[test]
fn the_key_of_a_record_is_known_whatever_else_does_not_fit() {
    let record = |id: Value, seen: Value| json!({ "user": { "id": id }, "seen": seen, "text": "no number", "more": 1 });
    let context = of_mode("a");
    let merge = "{ merge: { key: [id, mode] } }";
    let newest = "{ merge: { key: [id, mode], newest_by: seen } }";
    for (write, raw, expected) in [
        (merge, record(json!(1), json!(2)), Some((1, 2))),
        ("{ append: { key: [id, mode] } }", record(json!(1), json!(2)), Some((1, 2))),
        (merge, record(json!("one"), json!(2)), None),
        (newest, record(json!(1), json!(2)), Some((1, 3))),
        (newest, record(json!(1), json!("new")), Some((1, 2))),
        (
            "{ replace: { scope: slice, by: { mode: slice.mode } } }",
            record(json!(1), json!(2)),
            None,
        ),
    ] {
        assert_eq!(keys(write, &raw, &[], Some(&context)), expected, "{write} {raw}");
    }
}

#[test]
fn the_key_of_a_record_is_unknown_where_a_part_of_it_is_missing_or_masked() {
    let raw = json!({ "user": { "id": 1 }, "seen": 2, "text": "no number" });
    let context = of_mode("a");
    let merge = "{ merge: { key: [id, mode] } }";
    for (masked, expected) in [
        (&["text"][..], Some((1, 2))),
        (&["user.name", "text"], None),
        (&["text", "user.id"], None),
        (&["user"], None),
        (&["$"], None),
        (&["text..no path"], None),
    ] {
        assert_eq!(keys(merge, &raw, masked, Some(&context)), expected, "{masked:?}");
    }
    assert_eq!(keys(merge, &raw, &[], None), None, "of an older program");
    assert_eq!(keys(merge, &raw, &[], Some(&RejectContext::default())), None);
}

#[test]
fn a_key_that_is_masked_is_not_compared_with_what_comes() {
    let mut stream = stream(MODES, COLUMNS, "{ merge: { key: [id, mode] } }");
    assert!(RejectKeys::new(&stream).is_some());

    stream.columns[3].mask = Some(MaskPlan::Drop);
    assert!(RejectKeys::new(&stream).is_some(), "`text` is no key");
    stream.columns[0].mask = Some(MaskPlan::Drop);
    assert!(RejectKeys::new(&stream).is_none());
}

#[test]
fn a_column_of_a_parent_has_its_value_only_from_the_context() {
    let columns = "id: { from: id, type: int64 }, parent: { from: parent.parent_id, type: int64 }";
    let stream = stream(OF_PARENTS, columns, "{ merge: { key: [id] } }");
    let with = |parent| RejectContext { parent, ..RejectContext::default() };

    assert!(has_context(&stream, Some(&with(values_of(&[("parent_id", json!(7))])))));
    assert!(!has_context(&stream, Some(&with(values_of(&[("other", json!(7))])))));
    assert!(!has_context(&stream, None));
}

/// The slices of a stream for a parent.
fn slices_of(stream: &StreamPlan, parent: &[(&str, Value)]) -> Vec<Slice> {
    let horizon = Horizon { now: day(25), since: None, until: None };
    slices(&stream.slices, &horizon, &values_of(parent))
}

#[test]
fn a_slice_of_several_parents_has_none_of_their_values_and_no_place() {
    let stream = stream(OF_PARENTS, ID, "{ merge: { key: [id] } }");
    let of = |id: Value| {
        let slice = slices_of(&stream, &[("parent_id", id), (PARENT_VERSION, json!(3))]).remove(0);
        context(&slice)
    };

    assert_eq!(of(json!(7)).parent, values_of(&[("parent_id", json!(7))]));
    assert_eq!(of(json!([7, 8])).parent, values_of(&[]));
    assert!(place(&stream, &of(json!(7))).is_some());
    assert_ne!(place(&stream, &of(json!(7))), place(&stream, &of(json!(8))));
    assert_eq!(place(&stream, &of(json!([7, 8]))), None);
}

#[test]
fn a_place_is_that_of_every_window_of_its_values() {
    let windows = "{ product: [{ list: { as: mode, values: [a, b] } }, \
                   { window: { from: \"2024-07-22\", step: 1d, format: date, start_param: from } }] }";
    let stream = stream(windows, ID, "{ merge: { key: [id] } }");
    let contexts: Vec<RejectContext> = slices_of(&stream, &[]).iter().map(context).collect();
    assert_eq!(contexts.len(), 8);

    let places: Vec<_> = contexts.iter().map(|it| place(&stream, it).unwrap()).collect();

    assert!(places[..4].iter().all(|it| *it == places[0]), "{places:?}");
    assert!(places[4..].iter().all(|it| *it == places[4]), "{places:?}");
    assert_ne!(places[0], places[4]);
    // A list may have the names of a window.
    let listed = |start: &str| RejectContext {
        slice: values_of(&[("start", json!(start))]),
        ..RejectContext::default()
    };
    assert_ne!(values(&listed("a")), values(&listed("b")));
}

#[test]
fn only_the_whole_slice_of_a_scope_settles_its_place() {
    let columns = "id: { from: id, type: int64 }, mode: { from: slice.mode, type: string }";
    let replace = "{ replace: { scope: slice, by: { mode: slice.mode } } }";
    for (write, expected) in [(replace, true), ("{ merge: { key: [id] } }", false)] {
        let stream = stream(MODES, columns, write);
        let mut slice = slices_of(&stream, &[]).remove(0);
        let place = place(&stream, &context(&slice)).unwrap();
        assert_eq!(settled_place(&stream, &slice), expected.then_some(place), "{write}");

        // Another slice has the rows after an instant.
        slice.before = Some(day(20));
        assert_eq!(settled_place(&stream, &slice), None, "{write}");
    }
}

#[test]
fn equal_texts_of_different_slices_are_told_apart() {
    let raw = r#"{"id":1}"#;

    assert_eq!(fingerprint(raw, &of_mode("a")), fingerprint(raw, &of_mode("a")));
    assert_ne!(fingerprint(raw, &of_mode("a")), fingerprint(raw, &of_mode("b")));
    assert_ne!(fingerprint(raw, &of_mode("a")), fingerprint(r#"{"id":2}"#, &of_mode("a")));
}
