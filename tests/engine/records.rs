//! What of a page becomes rows, and what becomes of the rest.

use super::*;

#[test]
fn the_root_is_an_array_of_records() {
    let rows = decoded(
        json!([{ "id": 1, "day": "2024-07-25" }, { "id": "2", "day": "2024/07/26" }]),
        &format!("    request: {{ path: / }}{COLUMNS}"),
        &["date", "id", "day"],
    );

    assert_eq!(rows, json!([["2024-07-25", 1, "2024-07-25"], ["2024-07-26", 2, "2024-07-26"]]));
}

#[test]
fn a_single_object_is_one_record() {
    let rows = decoded(
        json!({ "issue": { "id": 7, "day": "2024-07-25", "tags": [] } }),
        &format!("    request: {{ path: / }}\n    records: issue{COLUMNS}"),
        &["id"],
    );

    assert_eq!(rows, json!([[7]]));
}

#[test]
fn the_values_of_an_object_are_records_with_their_key() {
    let rows = decoded(
        json!({ "users": {
            "u1": { "hours": 8, "day": "2024-07-25" },
            "u2": { "hours": 7.5, "day": "2024-07-25" },
        } }),
        "    request: { path: / }
    records: { map: users }
    columns:
      user: { from: $key, type: string }
      hours: { from: hours, type: float64 }
      day: { from: day, type: date }
    write: { merge: { key: [user] } }
    partition_by: { column: day }
",
        &["user", "hours"],
    );

    assert_eq!(rows, json!([["u1", 8.0], ["u2", 7.5]]));
}

#[test]
fn records_are_found_in_json_that_is_text_inside_json() {
    let inner = json!({ "rows": [{ "id": 1, "day": "2024-07-25", "text": "a \"quoted\" б" }] });
    let rows = decoded(
        json!({ "result": { "payload": inner.to_string() } }),
        "    request: { path: / }
    records: { stringified: { path: result.payload, records: rows } }
    columns:
      id: { from: id, type: int64 }
      text: { from: text, type: string }
      day: { from: day, type: date }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
",
        &["id", "text"],
    );

    assert_eq!(rows, json!([[1, "a \"quoted\" б"]]));
}

#[test]
fn one_level_of_elements_becomes_rows_and_a_record_without_any_is_kept() {
    let rows = decoded(
        json!([
            { "id": 1, "at": 1_721_900_526_258_i64, "details": [{ "f": "a" }, { "f": "b" }] },
            { "id": 2, "at": "1721900526", "details": [] },
            { "id": 3, "at": 1_721_900_526_258_i64 },
        ]),
        "    request: { path: / }
    explode: details
    columns:
      id: { from: id, type: int64 }
      at: { from: at, type: { timestamp: { format: epoch_ms } } }
      field: { from: details.f, type: string }
    write: { append: { key: [id, field] } }
    partition_by: { column: at, unit: year }
",
        &["date", "id", "field", "at"],
    );

    assert_eq!(
        rows,
        json!([
            ["1970", 2, null, "1970-01-20T22:18:20.526Z"],
            ["2024", 1, "a", "2024-07-25T09:42:06.258Z"],
            ["2024", 1, "b", "2024-07-25T09:42:06.258Z"],
            ["2024", 3, null, "2024-07-25T09:42:06.258Z"],
        ])
    );
}

#[test]
fn two_levels_of_elements_become_rows_and_empty_ones_are_dropped_where_the_file_says_so() {
    let rows = decoded(
        json!({ "id": 1, "day": "2024-07-25", "journals": [
            { "user": "u", "details": { "status": { "to": "open" }, "owner": { "to": null } } },
            { "user": "v", "details": {} },
        ] }),
        "    request: { path: / }
    explode:
      - { path: journals, when_empty: drop }
      - { path: journals.details, shape: map, when_empty: drop }
    columns:
      id: { from: id, type: int64 }
      user: { from: journals.user, type: string }
      field: { from: journals.details.$key, type: string }
      value: { from: journals.details.to, type: json }
      day: { from: day, type: date }
    write: { append: { key: [id, field] } }
    partition_by: { column: day }
",
        &["id", "user", "field", "value"],
    );

    assert_eq!(rows, json!([[1, "u", "owner", null], [1, "u", "status", "\"open\""]]));
}

#[test]
fn a_code_has_a_name_and_an_unknown_code_has_none() {
    let rows = decoded(
        json!([
            { "id": 1, "state": 0 }, { "id": 2, "state": "1" }, { "id": 3, "state": 7 }, { "id": 4 },
        ]),
        "    request: { path: / }
    columns:
      id: { from: id, type: int64 }
      state: { from: state, type: int64 }
      state_name: { from: state, type: string, values: { 0: open, 1: closed } }
      day: { from: day, type: date }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
",
        &["id", "state", "state_name"],
    );

    assert_eq!(rows, json!([[1, 0, "open"], [2, 1, "closed"], [3, 7, null], [4, null, null]]));
}

/// A stream of one record with a field that no column reads.
fn unknown_field(server: &Server, rule: &str) -> String {
    own(
        server,
        &format!(
            "  items:
    request: {{ path: / }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: user.since, type: date }}
{rule}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
        ),
    )
}

fn with_unknown_fields() -> Server {
    Server::start(|_| {
        let user = json!({ "since": "2024-07-25", "name": "Ann", "age": 1.10 });
        Response::json(&json!([{ "id": 1, "user": user, "tags": ["b", "a"] }]))
    })
}

#[test]
fn unknown_fields_are_kept_as_one_text_by_default() {
    let server = with_unknown_fields();

    let (workspace, _) = export(&unknown_field(&server, ""));

    let extra = r#"{"tags":["b","a"],"user":{"age":1.1,"name":"Ann"}}"#;
    assert_eq!(table(&workspace, "items", &["id", "_extra"]), json!([[1, extra]]));
}

#[test]
fn unknown_fields_are_dropped_where_the_file_says_so() {
    let server = with_unknown_fields();

    let (workspace, _) = export(&unknown_field(&server, "    unknown_fields: ignore"));

    let rows = workspace.rows("items");
    let names: Vec<&String> = rows[0].keys().collect();
    assert_eq!(names, ["date", "day", "id"]);
}

#[test]
fn unknown_fields_put_a_record_into_quarantine_where_the_file_says_so() {
    let server = with_unknown_fields();
    let workspace = Workspace::new();

    let ended = workspace.run(&unknown_field(&server, "    unknown_fields: reject"), &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(workspace.rows("items").is_empty());
    let files = workspace.files();
    let (_, quarantine) = files.iter().find(|(path, _)| path.starts_with("quarantine/")).unwrap();
    let line: Value = serde_json::from_slice(quarantine).unwrap();
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("user.name") || reason.contains("tags"), "{reason}");
}

#[test]
fn one_record_more_than_may_be_rejected_publishes_nothing() {
    let record = |id: Value| json!({ "id": id, "day": "2024-07-25" });
    let body = Value::Array(vec![
        record(json!(1)),
        record(json!("two")),
        record(json!("three")),
        record(json!(4)),
    ]);
    let server = Server::start(move |_| Response::json(&body));
    for (limit, code, rows) in [(2, 7, 2), (1, 5, 0)] {
        let stream = format!("    request: {{ path: /items }}\n    max_rejected: {limit}\n");
        let workspace = Workspace::new();

        let ended = workspace.run(&items(&server, &stream), &[], &[]);

        assert_eq!(ended.code, Some(code), "at most {limit}: {}", ended.stderr);
        let files = workspace.files().into_keys();
        assert_eq!(
            files.filter(|it| it.starts_with("parquet/")).count(),
            usize::from(rows > 0),
            "at most {limit}"
        );
        if rows > 0 {
            assert_eq!(workspace.rows("items").len(), rows, "at most {limit}");
        }
    }
}
