//! Elements of arrays and maps as rows, and where records and the envelope around them stand.

use super::*;

#[test]
fn exploded_elements_become_rows_and_the_record_repeats() {
    let plan = explode(
        stream(&[
            ("id", INT64),
            ("details.id", INT64),
            ("details.name", TEXT),
            ("user.name", TEXT),
        ]),
        &[("details", ExplodeShape::Array, WhenEmpty::Keep)],
    );

    let decoded = check(
        &plan,
        r#"[{"id":1,"details":[{"id":10,"name":"a"},{"id":11},null],"user":{"name":"li"}},
            {"details":[],"id":2},{"id":3,"details":null},{"id":4}]"#,
        "1 10 'a' 'li' | 1 11 null 'li' | 1 null null 'li' | 2 null null null | 3 null null null | 4 null null null",
    );

    assert_eq!(decoded.facts.records, 4);
    assert_eq!(decoded.notices.dropped_empty, 0);
}

#[test]
fn records_without_elements_are_dropped_and_counted_where_the_plan_says_so() {
    let plan = explode(
        stream(&[("id", INT64), ("details.id", INT64)]),
        &[("details", ExplodeShape::Array, WhenEmpty::Drop)],
    );

    let decoded =
        check(&plan, r#"[{"id":1,"details":[]},{"id":2},{"id":3,"details":[{"id":9}]}]"#, "3 9");

    assert_eq!(decoded.notices.dropped_empty, 2);
    assert_eq!(decoded.facts.identities.len(), 3);
}

#[test]
fn what_is_exploded_must_be_an_array() {
    let plan = explode(
        stream(&[("id", INT64), ("details.id", INT64)]),
        &[("details", ExplodeShape::Array, WhenEmpty::Keep)],
    );

    let decoded = decode(
        &plan,
        r#"[{"id":1,"details":{"id":1}},{"id":2,"details":[{"id":1},5]},{"id":3,"details":[{"id":"x"},{"id":1}]},{"id":4}]"#,
    );

    assert_eq!(rows(&decoded), "4 null");
    assert_eq!(decoded.rejects[0].reason, "expected an array at `details`, found an object");
    assert_eq!(decoded.rejects[1].reason, "expected an object at `details`, found 5");
    assert_eq!(decoded.rejects[2].column.as_deref(), Some("details_id"));
}

#[test]
fn two_levels_explode_one_inside_the_other() {
    let columns = [("id", INT64), ("a.n", INT64), ("a.b", TEXT)];
    let levels = |first, second| {
        explode(
            stream(&columns),
            &[("a", ExplodeShape::Array, first), ("a.b", ExplodeShape::Array, second)],
        )
    };
    let body = r#"[{"a":[{"b":["x","y"],"n":1},{"n":2,"b":[]},{"n":3,"b":["z"]}],"id":7},{"id":8,"a":[]},{"id":9,"a":[{"n":4}]}]"#;

    check(
        &levels(WhenEmpty::Keep, WhenEmpty::Keep),
        body,
        "7 1 'x' | 7 1 'y' | 7 2 null | 7 3 'z' | 8 null null | 9 4 null",
    );
    let decoded =
        check(&levels(WhenEmpty::Keep, WhenEmpty::Drop), body, "7 1 'x' | 7 1 'y' | 7 3 'z'");
    assert_eq!(decoded.notices.dropped_empty, 2);
    let decoded = check(
        &levels(WhenEmpty::Drop, WhenEmpty::Keep),
        body,
        "7 1 'x' | 7 1 'y' | 7 2 null | 7 3 'z' | 9 4 null",
    );
    assert_eq!(decoded.notices.dropped_empty, 1);
}

#[test]
fn object_maps_give_their_keys_as_a_column() {
    let mut plan = stream(&[("$key", TEXT), ("n", INT64)]);
    plan.records = RecordsPlan { path: path("items"), shape: RecordsShape::Map };
    check(&plan, r#"{"items":{"a\n":{"n":1},"b":{"n":2}}}"#, "'a\n' 1 | 'b' 2");
    check(&plan, r#"{"items":[]}"#, "");
    let decoded =
        check(&plan, r#"{"items":{"a":{"n":1},"b":{"n":2},"a":{"n":3}}}"#, "'b' 2 | 'a' 3");
    assert_eq!((decoded.notices.duplicate_keys, decoded.facts.records), (1, 2));
    let decoded = decode(&plan, r#"{"items":{"b":{"n":1},"a":{"n":2},"b":{ "n": "?", "m": 4 }}}"#);
    assert_eq!(decoded.rejects[0].raw, r#"{ "n": "?", "m": 4 }"#, "as it was received");

    let plan = explode(
        stream(&[("id", INT64), ("days.$key", ColumnType::Date { zone: None }), ("days.h", INT64)]),
        &[("days", ExplodeShape::Map, WhenEmpty::Keep)],
    );
    check(
        &plan,
        r#"[{"id":1,"days":{"2024-07-25":{"h":8},"2024-07-26":{"h":4}}},{"id":2,"days":{}}]"#,
        "1 2024-07-25 8 | 1 2024-07-26 4 | 2 null null",
    );
    check(&plan, r#"{"days":{"2024-07-25":{"h":8},"2024-07-25":{"h":4}}}"#, "null 2024-07-25 4");
}

#[test]
fn records_may_stand_in_a_text() {
    let mut plan = stream(&[("n", TEXT)]);
    plan.records =
        RecordsPlan { path: path("result"), shape: RecordsShape::Stringified(path("list")) };

    check(&plan, r#"{"result":"{\"list\":[{\"n\":\"a\\\"b\"},{\"n\":2}]}"}"#, "'a\"b' | '2'");
    check(&plan, r#"{"result":null}"#, "");
    let missing = |body| decode(&plan, body).facts.records_missing.unwrap();
    assert_eq!(missing(r#"{"result":"oops"}"#), "the text at `result` is not JSON");
    assert_eq!(missing(r#"{"result":"{}"}"#), "the JSON in the text has nothing at `list`");
    assert_eq!(missing(r#"{"result":[]}"#), "found an array at `result`");
}

#[test]
fn the_envelope_is_read_around_the_records() {
    let mut plan = stream(&[("n", INT64)]);
    plan.records.path = path("result.record");
    plan.envelope = ["result.total", "status", "result.record.n", "none"].map(path).into();

    let decoded = check(
        &plan,
        r#"{"result":{"total":14,"record":[{"n":1}],"total":15},"status":"success","x":{"status":0}}"#,
        "1",
    );

    assert_eq!(decoded.facts.value(&path("result.total")), Some(&json!(15)));
    assert_eq!(decoded.facts.value(&path("status")), Some(&json!("success")));
    assert_eq!(decoded.facts.envelope.len(), 2);
    assert_eq!(decoded.notices.duplicate_keys, 1);
}

#[test]
fn the_envelope_of_a_single_record_is_inside_it() {
    let mut plan = stream(&[("id", INT64)]);
    plan.envelope = vec![path("status.code"), path("$")];

    let decoded = check(&plan, r#"{"id":1,"status":{"code":"ok"}}"#, "1");

    assert_eq!(decoded.facts.value(&path("status.code")), Some(&json!("ok")));
    assert!(decoded.facts.value(&path("$")).is_some());
}

#[test]
fn missing_records_are_told_from_none() {
    let mut plan = stream(&[("n", INT64)]);
    plan.records.path = path("result.record");
    let facts = |body| decode(&plan, body).facts;

    for (body, expected) in [
        (r#"{"error":1,"message":""}"#, "the object has the keys `error`, `message`"),
        (r#"{"result":{"a":1}}"#, "the object at `result` has the key `a`"),
        (r#"{"result":{}}"#, "the object at `result` is empty"),
        (r#"{"result":null}"#, "found null at `result`"),
        (r#"{"result":{"record":"x"}}"#, "found text at `result.record`"),
        (r#"{"result":{"record":7}}"#, "found a number at `result.record`"),
        ("[]", "found an array"),
        ("\"x\"", "found text"),
    ] {
        assert_eq!(facts(body).records_missing.as_deref(), Some(expected), "{body}");
        assert_eq!(facts(body).records, 0);
    }
    assert_eq!(facts(r#"{"result":{"record":null}}"#).records_missing, None);
    assert_eq!(facts(r#"{"result":{"record":[]}}"#).records_missing, None);
    assert_eq!(facts(r#"{"result":{"record":{"n":1}}}"#).records, 1);
}

#[test]
fn the_last_record_gives_the_field_that_the_stream_pages_by() {
    let mut plan = keep(&[("n", INT64)]);
    plan.paginate.scheme = PageScheme::LastRecord {
        from: path("meta.id"),
        param: Placement { place: Place::Query, name: "id".into() },
    };

    let decoded = check(
        &plan,
        r#"[{"n":1,"meta":{"id":"a"}},{"n":2,"meta":{"id":"b"}}]"#,
        r#"1 '{"meta":{"id":"a"}}' | 2 '{"meta":{"id":"b"}}'"#,
    );

    assert_eq!(decoded.facts.last_record_field, Some(json!("b")));
    assert_eq!(decode(&plan, "[]").facts.last_record_field, None);
}
