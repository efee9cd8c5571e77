use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    string::string_regex,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::{self, Inputs},
    plan::SliceContext,
    transform::Decoder,
};

fn tree(text: &str) -> Tree {
    Tree::parse(text.as_bytes()).unwrap()
}

fn pipeline_name() -> crate::plan::Name {
    "sample".parse().unwrap()
}

#[track_caller]
fn records_at(text: &str, expected: &str) {
    let sample = [tree(text)];
    let found = Records::find(&sample, None);
    let found = found.map_or_else(|it| it.to_string(), |it| it.path.to_string());
    assert_eq!(found, expected, "{text}");
}

#[test]
fn records_are_the_largest_array_of_objects() {
    records_at(r#"[{"a": 1}]"#, "$");
    records_at(r#"{"total": 1, "items": [{"a": 1}]}"#, "items");
    records_at(r#"{"_embedded": {"elements": [{"a": 1}]}}"#, "_embedded.elements");
    records_at(r#"{"users": [{"a": 1}], "items": [{"a": 1}, {"a": 2}]}"#, "items");
    records_at(r#"{"data": {"work.items": [{"a": 1}]}}"#, r#"data."work.items""#);
    records_at(r#"{"id": 7, "summary": "one", "tags": ["x"]}"#, "$");
    records_at(r#"{"id": 7, "tags": []}"#, "$");
}

#[test]
fn a_sample_without_records_says_what_it_has() {
    let none = |instead: &str| format!("there are no records in the sample: {instead}");
    records_at("[]", &none("it is an empty array"));
    records_at("{}", &none("it is an empty object"));
    records_at("[1, 2]", &none("it is an array without objects"));
    records_at("[{}, {}]", &none("it is an array of empty objects"));
    records_at("\"x\"", &none("it is a text"));
    records_at(r#"{"total": 0, "items": []}"#, &none("it is an object whose `items` is empty"));
    records_at(r#"{"items": []}"#, &none("it is an object whose `items` is empty"));
}

#[test]
fn a_path_that_a_person_gives_is_taken_or_refused() {
    let sample = [tree(r#"{"items": [{"a": 1}, {"a": 2}], "users": [{"b": 1}]}"#)];
    let at = |path: &str| {
        let wishes = Wishes { records: Some(path.parse().unwrap()), ..Wishes::default() };
        propose(&sample, &wishes).map_or_else(|it| it.to_string(), |it| it.yaml())
    };

    assert!(at("users").contains("{ from: b, type: int64 }"), "{}", at("users"));
    assert_eq!(at("nothing"), "there are no records at `nothing`: nothing is there");
}

#[test]
fn several_pages_are_one_sample() {
    let pages = [
        tree(r#"{"items": [{"id": 1, "at": null}]}"#),
        tree(r#"{"items": [{"id": "x", "at": "2024-07-25"}]}"#),
    ];

    let yaml = propose(&pages, &Wishes::default()).unwrap().yaml();

    assert!(
        yaml.contains("id: { from: id, type: string }   # numbers and texts, as text"),
        "{yaml}"
    );
    assert!(yaml.contains("at: { from: at, type: date }   # null in 1 of 2"), "{yaml}");
}

#[test]
fn an_array_is_exploded_where_a_person_says_so() {
    let sample = [tree(
        r#"[{"id": 1, "on": "2024-07-25", "items": [{"field": "status", "to": "1"}, {"field": "spent", "to": null}]}, {"id": 2, "on": "2024-07-26", "items": []}]"#,
    )];
    let wishes = |path: &str| Wishes { explode: Some(path.parse().unwrap()), ..Wishes::default() };

    let yaml = propose(&sample, &wishes("items")).unwrap().yaml();

    assert!(yaml.contains("    explode: items "), "{yaml}");
    assert!(yaml.contains("items_field: { from: items.field, type: string }"), "{yaml}");
    assert!(!yaml.contains("json"), "{yaml}");
    assert_eq!(
        propose(&sample, &wishes("id")).unwrap_err(),
        InferError::NoArray { path: "id".parse().unwrap(), known: vec!["items".to_owned()] }
    );
}

/// What is proposed to write for these records of a stream.
fn write(records: &[Value], stream: &str) -> String {
    let wishes = Wishes { stream: Some(stream.parse().unwrap()), ..Wishes::default() };
    let sample = [tree(&Value::from(records.to_vec()).to_string())];
    let yaml = propose(&sample, &wishes).unwrap().yaml();
    let (_, rest) = yaml.split_once("\n    # DECIDE: as").unwrap_or(("", &yaml));
    let is_write = |it: &&str| {
        it.contains("write:") || it.contains(" rows apart") || it.contains("the key of")
    };
    rest.lines().filter(is_write).map(|it| it.trim().to_owned() + "\n").collect()
}

#[test]
fn the_id_of_the_record_itself_is_the_key_once_it_is_seen_often_enough() {
    for field in ["id", "key", "uuid", "entry_id", "entryId"] {
        let record =
            |it: u64| json!({field: format!("x{it}"), "user": {"id": it}, "on": "2024-07-25"});
        let records: Vec<Value> = (0..10).map(record).collect();
        let column = if field == "entryId" { "entry_id" } else { field };
        let live = format!("\nwrite: {{ replace: {{ scope: all, key: [{column}] }} }}\n");

        let (many, few) = (write(&records, "entries"), write(&records[..9], "entries"));

        assert!(many.ends_with(&live) && !many.contains("DECIDE"), "{many}");
        assert!(few.starts_with("# DECIDE: is `"), "{few}");
        assert!(few.ends_with("\nwrite: { replace: all }\n") && few.contains(&live[1..]), "{few}");
    }
}

#[test]
fn the_id_of_something_else_is_never_the_key_unasked() {
    for record in [
        |it: u64| json!({"user": {"id": 1000 + it}, "on": "2024-07-25"}),
        |it: u64| json!({"user_id": 1000 + it, "on": "2024-07-25"}),
        |it: u64| json!({"id": it % 7, "user_id": 1000 + it, "on": "2024-07-25"}),
    ] {
        let records: Vec<Value> = (0..50).map(record).collect();

        assert_eq!(
            write(&records, "entries"),
            "# DECIDE: does `user_id` tell rows apart? It is unique in 50 records, but may be the key of something else. If so, and below where a run reads only what changed:
# write: { replace: { scope: all, key: [user_id] } }
# write: { merge: { key: [user_id] } }
write: { replace: all }
"
        );
    }
    let records: Vec<Value> =
        (0..50).map(|it| json!({"user": {"id": it % 7}, "on": "2024-07-25"})).collect();
    let text = write(&records, "entries");
    assert!(
        text.starts_with("# DECIDE: no id is unique")
            && text.ends_with("write: { replace: all }\n"),
        "{text}"
    );
}

#[test]
fn a_row_of_each_element_needs_another_key() {
    let advice = |records: Value| {
        let yaml = propose(&[tree(&records.to_string())], &Wishes::default()).unwrap().yaml();
        let lines = yaml.lines().filter_map(|it| it.strip_prefix("    # and "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let logs = |ids: [u64; 2]| {
        let logs = ids.map(|it| json!({"id": it, "at": "2024-07-25T09:42:06Z"}));
        json!([{"id": 1, "on": "2024-07-25", "logs": logs}, {"id": 2, "on": "2024-07-26", "logs": []}])
    };

    let instead =
        "`write: { replace: all }`, since the key of the record alone would keep one row of it";
    let date = "`partition_by: { column: logs_at, unit: day }`, if the element's date is meant";
    let both = format!("{instead}; or `key: [id, logs_id]` if both tell rows apart");
    assert_eq!(advice(logs([7, 8])), [both.as_str(), date]);
    assert_eq!(advice(logs([7, 7])), [instead, date]);
    let tags = json!([{"id": 1, "on": "2024-07-25", "tags": [{"name": "x"}, {"name": "y"}]}]);
    assert_eq!(advice(tags), [instead]);
}

#[test]
fn structures_that_repeat_or_hold_data_as_keys_stay_json() {
    let sample = [tree(
        r#"[{"id": 1, "comment": {"type": "doc", "content": [{"type": "paragraph", "content": [{"text": "x"}]}]},
             "by_day": {"2024-07-25": 1, "2024-07-26": 2}, "empty": {}, "mixed": {"a": 1}},
            {"id": 2, "mixed": "a"}]"#,
    )];

    let yaml = propose(&sample, &Wishes::default()).unwrap().yaml();

    for column in ["comment", "by_day", "empty", "mixed"] {
        let line = yaml.lines().find(|it| it.contains(&format!("from: {column},"))).unwrap();
        assert!(line.contains("type: json }"), "{line}");
    }
}

#[test]
fn what_no_path_can_name_is_told() {
    let yaml =
        propose(&[tree(r#"[{"a\"b.c": 1, "": 2, "id": 3}]"#)], &Wishes::default()).unwrap().yaml();

    assert!(yaml.contains("# no path can name `a\"b.c`: it stays in `_extra`"), "{yaml}");
}

#[test]
fn a_url_becomes_a_request_without_its_credential() {
    let endpoint = Endpoint::parse(
        "http://127.0.0.1:8000/api/v2/work-items.json?limit=50&tag=a&tag=b&api_key=s3cret",
    )
    .unwrap();

    let text = pipeline(&pipeline_name(), Some(&endpoint), None);

    assert!(config::parse(&text, &Inputs::default()).is_ok(), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    for line in [
        "default: \"http://127.0.0.1:8000\"",
        "auth: { api_key: { place: query, name: api_key, value: \"{{ vars.token }}\" } }",
        "  work_items:\n",
        "path: \"/api/v2/work-items.json\"",
        "limit: \"50\"",
        "tag: [\"a\", \"b\"]",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

#[test]
fn a_url_that_would_leak_or_is_none_is_refused() {
    for text in [
        "example.com",
        "http://example.com/",
        "https://me:pw@example.com/",
        "ftp://example.com",
        "https://example.com/{{ x }}",
    ] {
        assert_eq!(Endpoint::parse(text), Err(InvalidUrl::NotOfAnApi), "{text}");
    }
}

#[test]
fn a_credential_in_a_url_is_a_variable_and_two_are_refused() {
    for name in ["api_token", "X-Api-Key", "accessToken", "sign"] {
        let url = format!("https://api.example.com/entries?limit=5&{name}=s3cret#token=s3cret");
        let text = pipeline(&pipeline_name(), Some(&Endpoint::parse(&url).unwrap()), None);

        assert!(config::parse(&text, &Inputs::default()).is_ok(), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("token: { env: SAMPLE_TOKEN, default: \"\", secret: true"), "{text}");
        assert!(text.contains(&format!("place: query, name: {}, ", yaml::scalar(name))), "{text}");
    }
    let names = vec!["key".to_owned(), "token".to_owned()];
    assert_eq!(
        Endpoint::parse("https://api.example.com/?key=k3y&token=s3cret&limit=5"),
        Err(InvalidUrl::SeveralCredentials { names })
    );
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => string_regex("[a-zA-Z_.$\"{}: #-]{0,6}").unwrap(),
        2 => prop::sample::select(vec!["id", "userId", "user_id", "date", "created", "duration", "hours", "$", "$key", "_extra", "null", "total", "next", "day", "{{ x }}", "partition_date", "10001", "OPS-1", "k1", "k2", "2024-07-25"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "",
            "2024-07-25",
            "2024-07-25 09:42:06",
            "2024-07-25T09:42:06Z",
            "PT4H",
            "P3W",
            "3d 4h",
            "01:30:00",
            "007",
            "41",
            "true",
            "1721900526258",
            "99999999999999999999"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(1_721_900_526_258_i64)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(key(), inner, 0..6).prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_proposed_passes_check_and_reads_its_sample(pages in vec(value(), 1..3)) {
        let bodies: Vec<String> = pages.iter().map(ToString::to_string).collect();
        let samples: Vec<Tree> = bodies.iter().map(|it| tree(it)).collect();
        let plain = propose(&samples, &Wishes::default());
        // Each array that is proposed to be exploded can be.
        let paths = plain.iter().flat_map(|it| &it.arrays).map(|it| it.from.parse().unwrap());
        let exploded = paths.map(|path| {
            propose(&samples, &Wishes { explode: Some(path), ..Wishes::default() }).unwrap()
        });
        let exploded: Vec<Proposal> = exploded.collect();
        for proposal in plain.iter().chain(&exploded) {
            let text = pipeline(&pipeline_name(), None, Some(proposal));
            let plan = config::parse(&text, &Inputs::default());
            let plan = plan.map_err(|it| TestCaseError::fail(format!("{it:?}\n{text}")))?;
            let decoder = Decoder::new(&plan.streams[0]);
            for body in &bodies {
                let decoded = decoder.decode(body.as_bytes(), &SliceContext::default()).unwrap();
                let misread = decoded.rejects.iter().find(|it| it.column.is_some());
                prop_assert!(misread.is_none(), "{misread:?}\n{text}");
            }
        }
    }
}

/// Time entries by their ids.
const BY_ID: &str = r#"{"items": {"te_1": {"user": "ann", "on": "2024-07-25", "logs": [{"n": 1}, {"n": 2}, {"n": 3}]}, "te_2": {"user": "bob", "on": "2024-07-26", "logs": []}}, "total": 5}"#;

fn head(sample: &str, wishes: &Wishes) -> String {
    let yaml = propose(&[tree(sample)], wishes).map_or_else(|it| it.to_string(), |it| it.yaml());
    yaml.lines().next().unwrap_or_default().trim().to_owned()
}

#[test]
fn records_may_be_the_values_of_an_object_whose_keys_are_ids() {
    let yaml = propose(&[tree(BY_ID)], &Wishes::default()).unwrap().yaml();

    assert!(
        yaml.starts_with(
            "    records: { map: items }   # the values of `items`; their keys are `$key`\n"
        ),
        "{yaml}"
    );
    assert!(yaml.contains(r#"key:  { from: "$key", type: string }"#), "{yaml}");
    assert!(yaml.contains("replace: { scope: all, key: [key] }"), "{yaml}");
    assert!(yaml.contains("total: total"), "the envelope has more: {yaml}");
    assert!(!yaml.contains("no path can name"), "{yaml}");
}

#[test]
fn a_body_that_is_a_map_of_records_is_called_no_array() {
    let body = r#"{"10001": {"at": "2024-07-25", "h": 1}, "10002": {"at": "2024-07-26", "h": 2}}"#;
    let yaml = propose(&[tree(body)], &Wishes::default()).unwrap().yaml();

    assert!(yaml.starts_with(r#"    records: { map: "$" } "#), "{yaml}");
    assert!(
        yaml.contains("one page is read; a body that has records by their key, and nothing else, names no next page: is there a header `Link`? page numbers?\n    # paginate: { link: {"),
        "{yaml}"
    );
}

#[test]
fn objects_whose_keys_are_words_are_fields_of_one_record() {
    let people =
        r#"{"people": {"author": {"id": 1, "name": "a"}, "reader": {"id": 2, "name": "b"}}}"#;
    let others = r#"{"id": 1, "parts": {"part1": {"a": 1}, "part2": {"b": 1, "c": 2, "d": 3}}}"#;
    let array = r#"{"items": [{"id": 1}, {"id": 2}, {"id": 3}], "users": {"u1": {"n": 1}, "u2": {"n": 2}}}"#;

    assert_eq!(head(people, &Wishes::default()), r#"records: "$"   # one object is one record"#);
    assert_eq!(head(others, &Wishes::default()), r#"records: "$"   # one object is one record"#);
    assert_eq!(head(array, &Wishes::default()), "records: items");

    let asked = Wishes { records: Some("people".parse().unwrap()), ..Wishes::default() };
    assert!(head(people, &asked).starts_with("records: { map: people }"));
}

#[test]
fn objects_by_key_beside_an_array_are_not_the_records() {
    let users = r#"{"u1": {"name": "ann"}, "u2": {"name": "bob"}}"#;
    for (sample, expected) in [
        (
            format!(r#"{{"issues": [{{"id": 1}}], "users": {users}, "total": 1}}"#),
            "records: issues",
        ),
        (
            format!(r#"{{"data": {{"issues": [{{"id": 1}}]}}, "users": {users}}}"#),
            "records: data.issues",
        ),
        (
            format!(r#"{{"items": [], "total": 0, "facets": {users}}}"#),
            "there are no records in the sample: it is an object whose `items` is empty",
        ),
    ] {
        assert_eq!(head(&sample, &Wishes::default()), expected, "{sample}");
    }
}

#[test]
fn a_body_of_few_keys_is_one_record_unless_they_are_ids() {
    let body = |keys: [&str; 2]| {
        let [a, b] = keys;
        head(&json!({ a: { "n": 1 }, b: { "n": 2 } }).to_string(), &Wishes::default())
    };
    let (record, map) = (r#"records: "$"   # one object"#, r#"records: { map: "$" }"#);

    for keys in [["address1", "address2"], ["te_1", "te_2"], ["author", "reader"]] {
        assert!(body(keys).starts_with(record), "{}", body(keys));
    }
    for keys in [["10001", "10002"], ["OPS-1", "OPS-2"], ["2024-07-25", "2024-07-26"]] {
        assert!(body(keys).starts_with(map), "{}", body(keys));
    }
    let many: serde_json::Map<String, Value> =
        (0..30).map(|it| (format!("te_{it}"), json!({ "n": it }))).collect();
    assert!(head(&Value::from(many).to_string(), &Wishes::default()).starts_with(map));
}

#[test]
fn of_several_objects_by_key_none_is_taken_without_a_word() {
    let by = |ids: &[&str]| {
        let entries = ids.iter().map(|it| ((*it).to_owned(), json!({ "hours": 1 })));
        Value::Object(entries.collect())
    };
    // One day of them would be read.
    let days =
        json!({ "days": { "2024-07-25": by(&["a1", "b2"]), "2024-07-26": by(&["c3", "d4"]) } });
    let one_day = json!({ "days": { "2024-07-25": by(&["a1", "b2"]) } });
    let words = json!({ "open": by(&["a1", "b2"]), "done": by(&["c3", "d4", "e5"]) });
    let head = |page: &Value| head(&page.to_string(), &Wishes::default());

    assert_eq!(
        head(&days),
        r#"records: "$"   # one object is one record; or the values of `days.2024-07-25`, with 2; or the values of `days.2024-07-26`, with 2"#
    );
    assert_eq!(
        head(&one_day),
        r#"records: "$"   # one object is one record; or the values of `days.2024-07-25`, with 2"#
    );
    assert_eq!(
        head(&words),
        "records: { map: done }   # the values of `done`; their keys are `$key`; DECIDE: or is it the values of `open`, with 2?"
    );
}

#[test]
fn records_may_be_in_a_text() {
    let page = json!({ "ok": true, "result": json!({ "items": [{ "id": 1, "day": "2024-07-25" }], "total": 9 }).to_string() });
    let yaml = propose(&[tree(&page.to_string())], &Wishes::default()).unwrap().yaml();

    assert!(
        yaml.starts_with("    records: { stringified: { path: result, records: items } }   # inside of `result`, which is JSON as text\n"),
        "{yaml}"
    );
    assert!(yaml.contains("{ from: day, type: date }"), "{yaml}");
    assert!(!yaml.contains("total: "), "a total inside of the text is out of reach: {yaml}");
}

#[test]
fn a_text_of_json_in_a_record_and_an_object_by_key_are_told() {
    let page = json!([{
        "id": 1,
        "summary": "a text that is longer than the list in the other one is",
        "payload": r#"[{"a": 1}]"#,
        "approvals": { "101": { "state": "open" }, "102": { "state": "done" } },
    }]);
    let yaml = propose(&[tree(&page.to_string())], &Wishes::default()).unwrap().yaml();
    assert!(
        yaml.contains("{ from: payload, type: string }   # JSON as text, kept as it is"),
        "{yaml}"
    );
    let explode = "{ from: approvals, type: json }   # an object by key, as JSON; a row of each with `explode: { path: approvals, shape: map }`, whose key is `approvals.$key`";
    assert!(yaml.contains(explode), "{yaml}");

    let Value::Array(records) = page else { return };
    assert_eq!(
        head(&records[0].to_string(), &Wishes::default()),
        r#"records: "$"   # one object is one record"#
    );
}

/// The paths of the columns that are proposed for these records.
fn columns_of(records: &Value) -> Vec<String> {
    let proposal = propose(&[tree(&records.to_string())], &Wishes::default()).unwrap();
    proposal.columns.into_iter().map(|it| it.from).collect()
}

#[test]
fn fields_that_are_a_word_and_a_number_are_columns_also_where_their_objects_are_alike() {
    let field = |id: u64| json!({ "id": id, "value": "x" });
    let fields = json!({ "customfield_10010": field(1), "customfield_10011": field(2) });
    let columns = [
        "fields.customfield_10010.id",
        "fields.customfield_10010.value",
        "fields.customfield_10011.id",
        "fields.customfield_10011.value",
    ];
    let one = json!([{ "fields": fields }]);
    // Records that have either of them.
    let either = json!([
        { "fields": { "customfield_10010": field(1) } },
        { "fields": { "customfield_10011": field(2) } },
        { "fields": {} },
    ]);

    assert_eq!(columns_of(&one), columns);
    assert_eq!(columns_of(&either), columns);
}

#[test]
fn keys_that_every_record_has_are_fields_and_others_that_look_like_ids_are_a_map() {
    let by = |keys: [&str; 2]| {
        let approvals = keys.map(|it| (it.to_owned(), json!({ "state": "open" })));
        json!({ "by": Value::Object(approvals.into_iter().collect()) })
    };
    let (uuid, account) = ("f47ac10b-58cc-4372-a567-0e02b2c3d479", "b10a2844c20165700ede21g");
    for keys in [["101", "102"], ["OPS-1", "OPS-2"], [uuid, account], ["2024-07-25", "2024-07-26"]]
    {
        assert_eq!(columns_of(&json!([by(keys)])), ["by"], "{keys:?}");
        let others = keys.map(|it| format!("{it}7"));
        let differ = json!([by(keys), by(others.each_ref().map(String::as_str))]);
        assert_eq!(columns_of(&differ), ["by"], "{keys:?}");
    }
    let differ = json!([by(["ann1", "bob2"]), by(["eve3", "ian4"])]);
    assert_eq!(columns_of(&differ), ["by"]);

    for [a, b] in [["101", "102"], ["ann1", "bob2"], [uuid, account]] {
        let same: Vec<Value> = (0..10).map(|_| by([a, b])).collect();
        let columns = [format!("by.{a}.state"), format!("by.{b}.state")];
        assert_eq!(columns_of(&same.into()), columns);
    }
    let days: Vec<Value> = (0..10).map(|_| by(["2024-07-25", "2024-07-26"])).collect();
    assert_eq!(columns_of(&days.into()), ["by"], "no field is named by a date");
}
