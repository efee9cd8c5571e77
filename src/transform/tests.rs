mod cells;
mod elements;
mod masks;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plan::{
    Calendar, ColumnPlan, ColumnSource, ColumnType, DurationUnit, ExplodePlan, ExplodeShape,
    InstantFormat, JsonPath, MaskConstant, MaskPlan, MaxRejected, Method, Name, PageScheme,
    PaginatePlan, PartitionPlan, PartitionUnit, Place, Placement, RecordsPlan, RecordsShape,
    ReplaceScope, RequestPlan, SliceContext, SlicesPlan, StreamPlan, Template, UnknownFields,
    WhenEmpty, WriteMode,
};

const TEXT: ColumnType = ColumnType::String;
const INT64: ColumnType = ColumnType::Int64;
const JSON: ColumnType = ColumnType::Json;
const DURATION: ColumnType = ColumnType::Duration {
    unit: DurationUnit::Text,
    calendar: Calendar { seconds_per_day: 28_800.0, days_per_week: 5.0 },
    exact: false,
};

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A stream whose records are the body, with columns named after their paths.
fn stream(columns: &[(&str, ColumnType)]) -> StreamPlan {
    let columns = columns.iter().map(|(from, kind)| ColumnPlan {
        name: name(&from.to_lowercase().replace(['.', '$'], "_")),
        from: match from.split_once('.') {
            Some(("parent", it)) => ColumnSource::Parent(it.to_owned()),
            Some(("slice", it)) => ColumnSource::Slice(it.to_owned()),
            _ => ColumnSource::Record(path(from)),
        },
        kind: kind.clone(),
        values: None,
        description: None,
        mask: None,
    });
    StreamPlan {
        name: name("worklogs"),
        description: None,
        request: RequestPlan {
            method: Method::Get,
            path: Template::Constant(json!("/")),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        },
        records: RecordsPlan::default(),
        explode: Vec::new(),
        paginate: PaginatePlan::default(),
        cursor: None,
        slices: SlicesPlan::Whole,
        columns: columns.collect(),
        unknown_fields: UnknownFields::Ignore,
        write: WriteMode::Replace { scope: ReplaceScope::Slice, key: Vec::new() },
        scope: Vec::new(),
        on_gone: crate::plan::OnGone::Keep,
        deletes: crate::plan::Deletes::Remove,
        guard: crate::plan::GuardPlan::default(),
        expect: crate::plan::ExpectPlan::default(),
        partition: PartitionPlan {
            column: name("start"),
            unit: PartitionUnit::Day,
            zone: Tz::UTC,
            name: name("date"),
        },
        responses: Vec::new(),
        max_rejected: MaxRejected::default(),
        envelope: Vec::new(),
    }
}

fn keep(columns: &[(&str, ColumnType)]) -> StreamPlan {
    StreamPlan { unknown_fields: UnknownFields::Keep, ..stream(columns) }
}

fn explode(stream: StreamPlan, levels: &[(&str, ExplodeShape, WhenEmpty)]) -> StreamPlan {
    let levels = levels.iter().map(|(it, shape, when_empty)| ExplodePlan {
        path: path(it),
        shape: *shape,
        when_empty: *when_empty,
    });
    StreamPlan { explode: levels.collect(), ..stream }
}

fn decode(stream: &StreamPlan, body: &str) -> Decoded {
    Decoder::new(stream).decode(body.as_bytes(), &SliceContext::default()).unwrap()
}

fn error(body: impl AsRef<[u8]>) -> BodyError {
    Decoder::new(&stream(&[("id", INT64)]))
        .decode(body.as_ref(), &SliceContext::default())
        .unwrap_err()
}

/// The batch as text: cells by spaces, rows by ` | `.
fn rows(decoded: &Decoded) -> String {
    let batch = &decoded.batch;
    let cell = |column: &dyn Array, row: usize| {
        if column.is_null(row) {
            return "null".to_owned();
        }
        match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
            DataType::Boolean => column.as_boolean().value(row).to_string(),
            DataType::Date32 => {
                column.as_primitive::<Date32Type>().value_as_date(row).unwrap().to_string()
            }
            DataType::Timestamp(..) => column
                .as_primitive::<TimestampMicrosecondType>()
                .value_as_datetime(row)
                .unwrap()
                .to_string()
                .replace(' ', "T"),
            _ => format!("'{}'", column.as_string::<i32>().value(row)),
        }
    };
    let row = |row| batch.columns().iter().map(|it| cell(it, row)).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(row).collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn check(stream: &StreamPlan, body: &str, expected: &str) -> Decoded {
    let decoded = decode(stream, body);
    assert_eq!(decoded.rejects, [], "{body}");
    assert_eq!(rows(&decoded), expected, "{body}");
    decoded
}

/// Checks the cell that one value becomes.
#[track_caller]
fn cell(kind: &ColumnType, value: &str, expected: &str) {
    check(&stream(&[("x", kind.clone())]), &format!(r#"{{"x":{value}}}"#), expected);
}

/// Checks that one value rejects its record, and why.
#[track_caller]
fn rejected(kind: &ColumnType, value: &str, reason: &str) {
    let raw = format!(r#"{{"x":{value}}}"#);
    let decoded = decode(&stream(&[("x", kind.clone())]), &format!(r#"[{{"x":null}}, {raw} ]"#));
    let column = Some("x".to_owned());
    let (reason, masked) = (reason.to_owned(), Vec::new());
    let reject = Reject { position: 1, column, reason, raw, masked };
    assert_eq!(decoded.rejects, [reject]);
    assert_eq!(rows(&decoded), "null");
}

#[test]
fn nested_objects_become_flat_columns() {
    let plan = stream(&[("id", TEXT), ("user.id", TEXT), ("user.name", TEXT), ("n", INT64)]);

    let decoded = check(
        &plan,
        r#" [ {"id":41,"user":{"id":"li","name":"L\u00ed \ud83d\ude00"},"n":1},
             {"n":2,"user":null,"id":"41","other":[{"x":[]}]} , {"user":{"name":""}} ] "#,
        "'41' 'li' 'Lí 😀' 1 | '41' null null 2 | null null '' null",
    );

    assert_eq!(decoded.facts.records, 3);
    assert_eq!(decoded.batch.schema(), *Decoder::new(&plan).schema());
}

#[test]
fn keys_are_found_in_any_order_and_with_escapes() {
    check(
        &stream(&[("a", INT64), ("b", INT64), ("c", INT64)]),
        r#"[{"a":1,"b":2,"c":3},{"c":3,"b":2,"a":1},{"x":0,"b":2,"y":0,"a":1},{"\u0061":1,"c\u0000":0,"c":3},{}]"#,
        "1 2 3 | 1 2 3 | 1 2 null | 1 null 3 | null null null",
    );
}

#[test]
fn keys_of_every_length_are_told_apart_where_others_are_expected() {
    for length in 0..40 {
        let [a, b] = ["a", "b"].map(|it| "k".repeat(length) + it);
        let record = |first: &str, second: &str| format!(r#"{{"{first}":1,"{second}" :2}}"#);
        let longer = record(&format!("{a}a"), &format!("k{b}"));

        check(
            &stream(&[(&a, INT64), (&b, INT64)]),
            &format!("[{0},{0},{1},{longer}]", record(&a, &b), record(&b, &a)),
            "1 2 | 1 2 | 2 1 | null null",
        );
    }
}

#[test]
fn one_leaf_feeds_several_columns() {
    let mut plan =
        stream(&[("duration", TEXT), ("duration", DURATION), ("status", INT64), ("status", TEXT)]);
    plan.columns[3].values =
        Some([("1", "pending"), ("2", "audited")].map(|(a, b)| (a.into(), b.into())).into());

    check(
        &plan,
        r#"[{"duration":"P3W","status":1},{"duration":"","status":"2"},{"status":9}]"#,
        "'P3W' 432000 1 'pending' | '' null 2 'audited' | null null 9 null",
    );
    rejected(
        &DURATION,
        "\"P1Y\"",
        "expected duration, found \"P1Y\": years and months have no fixed length",
    );
    rejected(
        &DURATION,
        "60",
        "expected duration, found 60: the column gives no unit for plain numbers",
    );
}

#[test]
fn json_columns_take_anything_as_canonical_text() {
    for (value, expected) in [
        ("null", "null"),
        ("\"\"", "'\"\"'"),
        ("1.50", "'1.50'"),
        ("true", "'true'"),
        ("\"\\u00e9\"", "'\"é\"'"),
        ("[ ]", "'[]'"),
        (r#"{ "b" : [1, 2], "a" : null }"#, r#"'{"a":null,"b":[1,2]}'"#),
    ] {
        cell(&JSON, value, expected);
    }
}

#[test]
fn a_json_column_and_columns_inside_it_read_the_same_object() {
    check(
        &keep(&[("from", JSON), ("from.id", INT64), ("$", JSON)]),
        r#"[{"from":{"x":2,"id":1}},{"from":null}]"#,
        r#"'{"id":1,"x":2}' 1 '{"from":{"id":1,"x":2}}' null | null null '{"from":null}' null"#,
    );
}

#[test]
fn the_record_itself_may_be_a_value() {
    check(&stream(&[("$", INT64)]), "[1, \"2\", null]", "1 | 2 | null");
    let decoded = decode(&stream(&[("id", INT64)]), "[1, {\"id\":2}, null, [], \"x\"]");

    assert_eq!(rows(&decoded), "2");
    let reasons: Vec<_> = decoded.rejects.iter().map(|it| (it.position, &*it.reason)).collect();
    assert_eq!(
        reasons,
        [
            (0, "expected an object, found 1"),
            (2, "expected an object, found null"),
            (3, "expected an object, found an array"),
            (4, "expected an object, found \"x\""),
        ],
    );
}

#[test]
fn a_scalar_where_columns_look_inside_rejects_the_record() {
    let decoded = decode(
        &stream(&[("a.user.id", TEXT), ("n", INT64)]),
        r#"[{"n":1,"a":{"user":"bob"}},{"n":2,"a":{"user":[]}},{"n":3,"a":{"user":null}}]"#,
    );

    assert_eq!(rows(&decoded), "null 3");
    assert_eq!(decoded.rejects[0].reason, "expected an object at `a.user`, found \"bob\"");
    assert_eq!(decoded.rejects[0].raw, r#"{"n":1,"a":{"user":"bob"}}"#);
    assert_eq!(decoded.rejects[1].reason, "expected an object at `a.user`, found an array");
}

#[test]
fn context_values_repeat_on_every_row_and_go_through_the_same_conversion() {
    let plan = stream(&[
        ("parent.id", INT64),
        ("slice.day", ColumnType::Date { zone: None }),
        ("n", INT64),
        ("slice.none", TEXT),
    ]);
    let context = |id| SliceContext {
        parent: [("id".to_owned(), id)].into(),
        slice: [("day".to_owned(), json!("2024-07-25"))].into(),
    };
    let compiled = Decoder::new(&plan);

    let decoded = compiled.decode(br#"[{"n":1},{"n":"x"},{"n":2}]"#, &context(json!("7"))).unwrap();
    let first_rejected = compiled.decode(br#"[{"n":"x"},{"n":2}]"#, &context(json!(7))).unwrap();
    let empty = compiled.decode(b"[]", &context(json!(7))).unwrap();
    let misfit = compiled.decode(br#"[{"n":1}]"#, &context(json!("n/a"))).unwrap();

    assert_eq!(rows(&decoded), "7 2024-07-25 1 null | 7 2024-07-25 2 null");
    assert_eq!(rows(&first_rejected), "7 2024-07-25 2 null");
    assert_eq!(empty.batch.num_rows(), 0);
    assert_eq!(misfit.batch.num_rows(), 0);
    assert_eq!(misfit.rejects[0].column.as_deref(), Some("parent_id"));
    assert_eq!(misfit.rejects[0].reason, "expected int64, found \"n/a\"");
}

#[test]
fn unread_fields_are_kept_where_they_were() {
    check(
        &keep(&[("id", INT64), ("user.id", INT64), ("a.b.c", INT64)]),
        r#"[{"id":1,"z":[{"y":1,"x":2}],"user":{"id":7,"tag":"\u0041","a":1.50},"a":{"x":null,"b":{"c":1,"d":{}}},"user2":0},
            {"id":2,"user":{"id":1}},{"id":3,"b":"q\"","user":null}]"#,
        concat!(
            r#"1 7 1 '{"a":{"b":{"d":{}},"x":null},"user":{"a":1.50,"tag":"A"},"user2":0,"z":[{"x":2,"y":1}]}'"#,
            r#" | 2 1 null null | 3 null null '{"b":"q\""}'"#
        ),
    );
}

#[test]
fn unread_fields_of_an_element_are_kept_on_its_row() {
    let plan = explode(
        keep(&[("id", INT64), ("r.details.id", INT64)]),
        &[("r.details", ExplodeShape::Array, WhenEmpty::Keep)],
    );

    check(
        &plan,
        r#"[{"r":{"a":1,"details":[{"id":1,"k":"x"},{"id":2}],"z":2},"id":7,"m":0},{"id":8,"r":{"details":[{"j":1}]}},{"id":9,"r":{"details":[]}}]"#,
        concat!(
            r#"7 1 '{"m":0,"r":{"a":1,"details":{"k":"x"},"z":2}}' | 7 2 '{"m":0,"r":{"a":1,"z":2}}'"#,
            r#" | 8 null '{"r":{"details":{"j":1}}}' | 9 null null"#
        ),
    );
    let plan = explode(
        keep(&[("id", INT64), ("a.b.n", INT64)]),
        &[
            ("a", ExplodeShape::Array, WhenEmpty::Keep),
            ("a.b", ExplodeShape::Array, WhenEmpty::Keep),
        ],
    );
    check(
        &plan,
        r#"{"a":[{"x":1,"b":[{"n":1,"y":2},{"n":2}]},{"b":[]}],"id":5}"#,
        r#"5 1 '{"a":{"b":{"y":2},"x":1}}' | 5 2 '{"a":{"x":1}}' | 5 null null"#,
    );
    let plan = explode(keep(&[("id", INT64)]), &[("tags", ExplodeShape::Array, WhenEmpty::Keep)]);
    check(&plan, r#"{"id":1,"tags":["a",{"b":1}]}"#, r#"1 '{"tags":"a"}' | 1 '{"tags":{"b":1}}'"#);
}

#[test]
fn unread_fields_reject_the_record_where_the_plan_says_so() {
    let plan = StreamPlan {
        unknown_fields: UnknownFields::Reject,
        ..stream(&[("user.id", INT64), ("j", JSON)])
    };

    let decoded = decode(&plan, r#"[{"user":{"id":1},"j":{"x":1}},{"user":{"id":2,"name":"li"}}]"#);

    assert_eq!(rows(&decoded), r#"1 '{"x":1}'"#);
    assert_eq!(decoded.rejects[0].reason, "no column reads the field `user.name`");
}

#[test]
fn the_last_of_duplicate_keys_wins_at_every_level() {
    let plan = explode(
        keep(&[("id", INT64), ("user.id", INT64), ("user.name", TEXT), ("d.n", INT64)]),
        &[("d", ExplodeShape::Array, WhenEmpty::Keep)],
    );

    let decoded = check(
        &plan,
        r#"[{"id":"bad","user":{"id":1,"name":"a","x":1},"d":[{"n":1},{"n":2}],"id":2,"user":{"id":3},"d":[{"n":4,"n":5}]},{"id":1,"q":1,"q":2}]"#,
        r#"2 3 null 5 null | 1 null null null '{"q":2}'"#,
    );

    assert_eq!(decoded.notices.duplicate_keys, 5);
    let plan = stream(&[("id", INT64), ("j", JSON)]);
    let decoded = check(&plan, r#"{"id":1,"j":{"a":1,"a":2},"id":3}"#, r#"3 '{"a":2}'"#);
    assert_eq!(decoded.notices.duplicate_keys, 2, "though the record is read twice");
}

#[test]
fn records_that_come_twice_in_the_envelope_count_once() {
    let mut plan = stream(&[("n", INT64)]);
    plan.records.path = path("r.items");

    let decoded = check(&plan, r#"{"r":{"items":[{"n":1},{"n":2}]},"r":{"items":[{"n":3}]}}"#, "3");

    assert_eq!((decoded.facts.records, decoded.facts.identities.len()), (1, 1));
    assert_eq!(decoded.notices.duplicate_keys, 1);
}

#[test]
fn identities_are_those_of_the_key() {
    let mut plan = stream(&[("id", TEXT), ("note", TEXT), ("parent.p", TEXT)]);
    plan.write = WriteMode::Append { key: vec![name("id"), name("parent_p")] };
    let decoder = Decoder::new(&plan);
    let identities = |body: &str, parent: &str| {
        let parent = [("p".to_owned(), json!(parent))].into();
        let context = SliceContext { parent, ..SliceContext::default() };
        decoder.decode(body.as_bytes(), &context).unwrap().facts.identities
    };

    let number = identities(r#"[{"id":41,"note":"a"},{"id":42}]"#, "x");
    let text = identities(r#"[{"note":"b","id":"41"},{"id":"42"}]"#, "x");
    let elsewhere = identities(r#"[{"id":41},{"id":42}]"#, "y");

    assert_eq!(number, text);
    assert_ne!(number[0], number[1]);
    assert_ne!(number[0], elsewhere[0]);
}

#[test]
fn identities_without_a_key_are_those_of_the_text() {
    let identities = |body| decode(&stream(&[("n", INT64)]), body).facts.identities;

    assert_eq!(identities(r#"[{"n":1}, {"n":"x"}]"#), identities(r#"[ {"n":1},{"n":"x"}]"#));
    assert_ne!(identities(r#"[{"n":1}]"#), identities(r#"[{"n":1,"m":2}]"#));
}

#[test]
fn a_body_that_is_no_json_is_an_error_with_its_place() {
    let syntax = |body: &str| match error(body) {
        BodyError::Syntax { offset, line, column, expected, .. } => {
            (offset, line, column, expected)
        }
        other => panic!("{body}: {other}"),
    };

    assert_eq!(syntax("[{\"id\":1},\n {\"é\":012}]"), (19, 2, 8, "`,` or `}`"));
    assert_eq!(syntax("[{\"id\":1},]"), (10, 1, 11, "a value"));
    assert_eq!(syntax("[{\"id\":1}"), (9, 1, 10, "`,` or `]`"));
    assert_eq!(syntax("[{\"x\":\"\\ud83d\"}]"), (7, 1, 8, "no lone surrogate in a string"));
    assert_eq!(syntax("[{\"x\":\"a\u{1}\"}]"), (8, 1, 9, "no raw control character in a string"));
    assert_eq!(syntax("[] []"), (3, 1, 4, "nothing after the value"));
    assert_eq!(syntax("\u{feff}[1,]"), (6, 1, 4, "a value"));
    assert_eq!(syntax("<html>"), (0, 1, 1, "a value"));
    assert_eq!(
        error("[{\"id\":1},]").to_string(),
        "the body is not JSON: expected a value at line 1, column 11 (byte 10), near `[{\"id\":1},]`"
    );
}

#[test]
fn bodies_that_are_empty_no_text_or_too_deep_are_errors() {
    assert_eq!(error(""), BodyError::Empty);
    assert_eq!(error(" \r\n\t"), BodyError::Empty);
    assert_eq!(error("\u{feff}"), BodyError::Empty);
    assert_eq!(error(b"[{\"skipped\":\"\xff\"}]"), BodyError::NotUtf8 { offset: 13 });
    assert_eq!(error(b"\xef\xbb\xbf[\"\xc3("), BodyError::NotUtf8 { offset: 5 });
    assert_eq!(error("[".repeat(5000)), BodyError::TooDeep { offset: 128, limit: 128 });
    let skipped = format!("[{{\"skipped\":{}", "[".repeat(5000));
    assert_eq!(error(skipped), BodyError::TooDeep { offset: 138, limit: 128 });
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_page() {
    check(&stream(&[("id", INT64)]), "\u{feff}[{\"id\":1}]", "1");
}

#[test]
fn a_decoder_is_used_from_many_threads() {
    let decoder = Decoder::new(&stream(&[("id", INT64)]));
    let body = |n: i64| format!("[{{\"id\":{n}}}]");

    std::thread::scope(|scope| {
        for n in 0..4 {
            let decoder = &decoder;
            scope.spawn(move || {
                for _ in 0..50 {
                    let page = decoder.decode(body(n).as_bytes(), &SliceContext::default());
                    assert_eq!(rows(&page.unwrap()), n.to_string());
                }
            });
        }
    });
}

fn any_field() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9\"\\\\]{0,4}".prop_map(Value::from),
        prop::collection::vec(any::<u8>().prop_map(|it| json!({"id": it, "k": it})), 0..3)
            .prop_map(Value::from),
        Just(json!({"id": 1})),
    ]
}

proptest! {
    #[test]
    fn every_record_is_kept_dropped_or_rejected(
        records in prop::collection::vec(
            prop::collection::btree_map(prop::sample::select(vec!["id", "user", "d", "x"]), any_field(), 0..4), 0..6),
        drop in any::<bool>(),
    ) {
        let when_empty = if drop { WhenEmpty::Drop } else { WhenEmpty::Keep };
        let plan = explode(
            keep(&[("id", INT64), ("user.id", TEXT), ("d.id", INT64), ("parent.p", TEXT)]),
            &[("d", ExplodeShape::Array, when_empty)],
        );
        let body = serde_json::to_string(&records).unwrap();

        let decoded = decode(&plan, &body);

        let mut expected_rows = 0;
        let mut dropped = 0;
        for (position, record) in records.iter().enumerate() {
            if let Some(reject) = decoded.rejects.iter().find(|it| it.position == position as u64) {
                prop_assert_eq!(&reject.raw, &serde_json::to_string(record).unwrap());
                continue;
            }
            let elements = record.get("d").and_then(Value::as_array).map_or(0, Vec::len);
            expected_rows += if drop { elements } else { elements.max(1) };
            dropped += u64::from(drop && elements == 0);
        }
        prop_assert_eq!(decoded.batch.num_rows(), expected_rows);
        prop_assert_eq!(decoded.notices.dropped_empty, dropped);
        prop_assert_eq!(decoded.facts.records, records.len() as u64);
        prop_assert_eq!(decoded.facts.identities.len(), records.len());
    }

    #[test]
    fn no_body_makes_the_decoder_panic(body in prop::collection::vec(prop::sample::select(br#"{}[]",:\u0-1.e ntd"#.to_vec()), 0..60)) {
        let plan = explode(keep(&[("d.n", INT64), ("n", TEXT)]), &[("d", ExplodeShape::Array, WhenEmpty::Keep)]);
        let decoded = Decoder::new(&plan).decode(&body, &SliceContext::default());
        match serde_json::from_slice::<Value>(&body) {
            // Our numbers keep their text: a number that no f64 can hold is no error.
            Err(err) if err.to_string().starts_with("number out of range") => {}
            valid => prop_assert_eq!(decoded.is_ok(), valid.is_ok()),
        }
    }
}
