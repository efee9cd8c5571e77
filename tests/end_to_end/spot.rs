//! Values worked out by hand, against the expected tables and against the helpers that compare them.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tracklake::sim::world::timesheet::JiraMode;
use tracklake::sim::{SimOptions, World};

use crate::expected::{Window, canonical, codearts, timesheet, tracker};
use crate::support::read::{CsvField, parse_csv, read_csv, read_parquet};
use crate::support::table::Kind::{Bool, Date, Float, Instant, Int, Text};
use crate::support::table::{Cell, Kind, Table, difference, row};

const URL: &str = "http://127.0.0.1:1/tracker";
const SHANGHAI: Tz = chrono_tz::Asia::Shanghai;
const MOSCOW: Tz = chrono_tz::Europe::Moscow;

fn world() -> World {
    World::generate(1, 60, SimOptions::default().today)
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap_or_default()
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_default()
}

fn window() -> Window {
    Window { since: date("2024-04-16"), until: date("2024-08-25") }
}

#[test]
fn weeks_and_days_are_business_time() {
    let table = tracker::worklogs(&world(), URL, Tz::UTC);

    let by_hand = [
        ("P3W", 3 * 5 * 8 * 3600),
        ("P1W2DT3H", ((5 + 2) * 8 + 3) * 3600),
        ("P5DT20M", 5 * 8 * 3600 + 20 * 60),
        ("P1D", 8 * 3600),
        ("PT0.5H", 1800),
        ("P0Y0M1DT2H", 10 * 3600),
        ("PT15S", 15),
        ("P0D", 0),
    ];
    assert_eq!(by_hand[0].1, 432_000);
    for (text, seconds) in by_hand {
        let rows = table.rows_where("duration", text);
        assert!(!rows.is_empty(), "{text}");
        for row in rows {
            assert_eq!(*table.cell(row, "duration_seconds"), Cell::Int(seconds), "{text}");
        }
    }
}

#[test]
fn instant_beside_midnight_lies_in_the_date_of_the_zone() {
    let mut world = world();
    let late = instant("2024-07-24T21:00:00Z");
    let worklog = &mut world.tracker.issues[0].worklogs[0];
    worklog.start = late;
    let id = worklog.id.to_string();
    let partition = |zone| {
        let table = tracker::worklogs(&world, URL, zone);
        table.rows_where("id", &id)[0].partition.clone()
    };

    assert_eq!(partition(Tz::UTC), "date=2024-07-24");
    assert_eq!(partition(MOSCOW), "date=2024-07-25");

    let batch = &mut world.codearts.issues[0].history[0];
    let id = batch.id;
    let mut partition = |at: &str| {
        world.codearts.issues[0].history[0].created_on = instant(at);
        let table = codearts::history(&world, SHANGHAI);
        table.rows_where("record_id", id)[0].partition.clone()
    };
    assert_eq!(partition("2024-07-24T15:59:59.999Z"), "date=2024-07-24");
    assert_eq!(partition("2024-07-24T16:00:00Z"), "date=2024-07-25");
}

#[test]
fn null_and_the_empty_text_stay_apart() {
    let mut world = world();
    let id = world.tracker.issues[0].worklogs[0].id.to_string();
    let mut comment = |text: Option<&str>| {
        world.tracker.issues[0].worklogs[0].comment = text.map(str::to_owned);
        let table = tracker::worklogs(&world, URL, Tz::UTC);
        table.cell(table.rows_where("id", &id)[0], "comment").clone()
    };

    assert_eq!(comment(None), Cell::Null);
    assert_eq!(comment(Some("")), Cell::Text(String::new()));
    assert_eq!(comment(Some("null")), Cell::Text("null".to_owned()));
}

#[test]
fn ids_that_are_numbers_on_some_pages_are_text() {
    let world = world();

    let table = tracker::worklogs(&world, URL, Tz::UTC);

    assert!(!table.rows_where("id", "1001").is_empty());
    let uids = table.values("created_by_passport_uid");
    assert!(uids.contains(&Cell::from("1130000012345678")));
    assert!(uids.contains(&Cell::Null));
}

#[test]
fn issue_without_worklogs_has_no_rows_and_a_hidden_one_is_nowhere() {
    let mut world = world();
    let (empty, hidden) = (world.tracker.issues[3].id.clone(), world.tracker.issues[4].id.clone());
    let forbidden = world.tracker.issues[5].id.clone();
    world.tracker.issues[3].worklogs.clear();
    world.tracker.issues[4].lost_access = true;
    world.tracker.issues[5].worklogs_forbidden = true;

    let issues = tracker::issues(&world, URL, Tz::UTC);
    let worklogs = tracker::worklogs(&world, URL, Tz::UTC);
    let changelog = tracker::changelog(&world, URL, Tz::UTC);

    let counts = |id: &String| {
        let n_worklogs = worklogs.rows_where("issue_id", id).len();
        let n_changes = changelog.rows_where("issue_id", id).len();
        (issues.rows_where("id", id).len(), n_worklogs, n_changes > 0)
    };
    assert_eq!(counts(&empty), (1, 0, true));
    assert_eq!(counts(&hidden), (0, 0, false));
    assert_eq!(counts(&forbidden), (1, 0, true));
}

#[test]
fn change_is_one_row_a_field_and_one_row_without_fields() {
    let mut world = world();
    let entry = |world: &World, fields: Option<usize>| {
        let mut all = world.tracker.issues.iter().flat_map(|it| &it.changelog);
        let found = all.find(|it| it.fields.as_ref().map(Vec::len) == fields);
        found.map(|it| it.id.clone()).unwrap_or_default()
    };
    let (absent, empty, two) =
        (entry(&world, None), entry(&world, Some(0)), entry(&world, Some(2)));
    let first = &mut world.tracker.issues[0].changelog[0];
    first.fields = None;
    first.worklog = Some(json!([{"to": null, "from": {"start": 1}, "b": "я", "a": []}]));
    let (first, user) = (first.id.clone(), first.updated_by.uid);

    let table = tracker::changelog(&world, URL, Tz::UTC);

    for id in [absent, empty] {
        let [row] = table.rows_where("id", &id)[..] else { panic!("{id} is not one row") };
        for name in ["field_id", "field_display", "from_value", "to_value"] {
            assert_eq!(*table.cell(row, name), Cell::Null);
        }
    }
    let [one, other] = table.rows_where("id", &two)[..] else { panic!("{two} is not two rows") };
    assert_eq!(*table.cell(one, "field_id"), Cell::from("summary"));
    assert_eq!(*table.cell(one, "from_value"), Cell::Null);
    assert_eq!(*table.cell(other, "to_value"), Cell::Null);
    let row = table.rows_where("id", &first)[0];
    let key = &world.tracker.issues[0].key;
    let extra = format!(
        r#"{{"issue":{{"self":"{URL}/v3/issues/{key}"}},"updatedBy":{{"self":"{URL}/v3/users/{user}"}},"worklog":[{{"a":[],"b":"я","from":{{"start":1}},"to":null}}]}}"#
    );
    assert_eq!(*table.cell(row, "_extra"), Cell::from(extra));
}

#[test]
fn values_of_a_change_are_canonical_json() {
    let table = tracker::changelog(&world(), URL, Tz::UTC);

    let value = |field: &str, column: &str| {
        let rows = table.rows_where("field_id", field);
        table.cell(rows[0], column).clone()
    };
    assert_eq!(value("spent", "from_value"), Cell::from(r#""PT1H""#));
    assert_eq!(value("storyPoints", "from_value"), Cell::from("3"));
    assert_eq!(value("tags", "from_value"), Cell::Null);
    assert_eq!(value("tags", "to_value"), Cell::from(r#"["night","ночь","a,b"]"#));
    assert_eq!(value("followers", "from_value"), Cell::from("[]"));
    let status = r#"{"display":"Открыт","id":"1","key":"open","self":"https://api.tracker.yandex.net/v3/statuses/1"}"#;
    assert_eq!(value("status", "from_value"), Cell::from(status));
}

#[test]
fn issue_keeps_what_no_column_reads() {
    let mut world = world();
    let it = &mut world.tracker.issues[0];
    (it.assignee, it.local_value) = (None, Some(String::new()));
    it.followers.clear();
    it.aliases = vec!["OLD-1".to_owned()];
    it.local_field = "60a1--stand".to_owned();
    let (id, queue) = (it.id.clone(), it.queue.key.clone());
    let (status, kind, priority) =
        (it.status.id.clone(), it.kind.id.clone(), it.priority.id.clone());
    let (created_by, updated_by) = (it.created_by.uid, it.updated_by.uid);

    let table = tracker::issues(&world, URL, Tz::UTC);

    let base = format!("{URL}/v3");
    let expected = [
        r#"{"60a1--stand":"","aliases":["OLD-1"],"#.to_owned(),
        format!(r#""createdBy":{{"self":"{base}/users/{created_by}"}},"favorite":false,"#),
        format!(r#""priority":{{"id":"{priority}","self":"{base}/priorities/{priority}"}},"#),
        format!(r#""queue":{{"self":"{base}/queues/{queue}"}},"#),
        format!(r#""status":{{"id":"{status}","self":"{base}/statuses/{status}"}},"#),
        format!(r#""type":{{"id":"{kind}","self":"{base}/issuetypes/{kind}"}},"#),
        format!(r#""updatedBy":{{"self":"{base}/users/{updated_by}"}},"votes":0}}"#),
    ];
    let row = table.rows_where("id", &id)[0];
    assert_eq!(*table.cell(row, "_extra"), Cell::from(expected.concat()));
}

#[test]
fn unknown_status_keeps_its_number_and_has_no_name() {
    let table = timesheet::audit_log(&world(), window());

    let name =
        |code: i64| table.cell(table.rows_where("audit_status", code)[0], "audit_status_name");
    assert_eq!(*name(0), Cell::from("not_submitted"));
    assert_eq!(*name(1), Cell::from("pending"));
    assert_eq!(*name(2), Cell::from("audited"));
    assert_eq!(*name(7), Cell::Null);
    let revoked = table.rows_where("revoke_status", 0);
    assert_eq!(*table.cell(revoked[0], "revoke_status_name"), Cell::from("applying"));
}

#[test]
fn worklog_in_two_lists_is_two_rows_and_only_withdrawals_show_the_withdrawal() {
    let mut world = world();
    let with_revoke = world.jira.worklogs.iter_mut().find(|it| it.revoke.is_some());
    let Some(it) = with_revoke else { panic!("no withdrawal") };
    it.modes = vec![JiraMode::View, JiraMode::RevokeView];
    it.start_date = date("2024-08-25");
    let id = it.id;

    let modes = |world: &World| -> Vec<(Cell, bool)> {
        let table = timesheet::audit_log(world, window());
        let rows = table.rows_where("log_id", id).into_iter();
        rows.map(|it| {
            let shows = *table.cell(it, "revoke_status") != Cell::Null;
            (table.cell(it, "mode").clone(), shows)
        })
        .collect()
    };

    assert_eq!(modes(&world), [("view".into(), false), ("revoke-view".into(), true)]);
    for it in world.jira.worklogs.iter_mut().filter(|it| it.id == id) {
        it.start_date = date("2024-08-26");
    }
    assert_eq!(
        modes(&world),
        [("revoke-view".into(), true)],
        "the lists with dates end at 31 days"
    );
    assert!(timesheet::worklogs(&world, window()).rows_where("log_id", id).is_empty());
}

#[test]
fn zoneless_times_of_jira_lose_what_their_text_loses() {
    let mut world = world();
    let it = world.jira.worklogs.iter_mut().find(|it| it.modes.contains(&JiraMode::RevokeView));
    let Some(it) = it else { panic!("no withdrawal") };
    it.create_time = instant("2024-07-24T21:40:29.858999Z");
    it.audit.iter_mut().for_each(|it| it.audit_time = Some(instant("2024-07-24T22:10:54.7Z")));
    let id = it.id;

    let table = timesheet::audit_log(&world, window());

    let row = table.rows_where("log_id", id)[0];
    let created = instant("2024-07-24T21:40:29.858Z");
    assert_eq!(*table.cell(row, "log_create_time"), Cell::from(created));
    assert_eq!(*table.cell(row, "audit_time"), Cell::from(instant("2024-07-24T22:10:54Z")));
    assert_eq!(*table.cell(row, "log_author_avatar"), Cell::from(""));
    assert_eq!(*table.cell(row, "_extra"), Cell::Null);
}

#[test]
fn work_hours_of_jira_keep_the_undocumented_field() {
    let mut world = world();
    "a \"b\"\n".clone_into(&mut world.jira.worklogs[0].activity);
    let id = world.jira.worklogs[0].id;

    let table = timesheet::worklogs(&world, window());

    let row = table.rows_where("log_id", id)[0];
    assert_eq!(*table.cell(row, "_extra"), Cell::from(r#"{"activity":"a \"b\"\n"}"#));
    assert_eq!(row.partition, format!("date={}", world.jira.worklogs[0].start_date));
}

#[test]
fn equal_rows_of_work_hours_are_all_there() {
    let world = world();
    let n_equal = |table: &Table| {
        let twins = |it| table.rows.iter().filter(|other| *other == it).count();
        table.rows.iter().map(twins).max()
    };

    let table = codearts::work_hours(&world, window());

    assert_eq!(n_equal(&table), Some(2));
    assert_eq!(table.rows.len(), world.codearts.work_hours.len());
}

#[test]
fn batch_of_history_is_one_row_a_detail() {
    let world = world();
    let issue = &world.codearts.issues[1];
    let Some(batch) = issue.history.iter().find(|it| it.details.len() == 3) else {
        panic!("no batch of three")
    };

    let table = codearts::history(&world, SHANGHAI);

    let rows = table.rows_where("record_id", batch.id);
    let ids: Vec<_> = rows.iter().map(|it| table.cell(it, "detail_id").clone()).collect();
    assert_eq!(ids, batch.details.iter().map(|it| Cell::Int(it.id)).collect::<Vec<_>>());
    assert!(rows.iter().all(|it| *table.cell(it, "issue_id") == Cell::Int(issue.id)));
    let old = table.values("old_value");
    assert!(old.contains(&Cell::Null) && old.contains(&Cell::from("")));
}

#[test]
fn issue_of_codearts_keeps_what_no_column_reads() {
    let mut world = world();
    let project = world.codearts.projects[0].project_id.clone();
    let it = &mut world.codearts.issues[0];
    "n".clone_into(&mut it.name);
    (it.severity_name, it.iteration_name) = (None, Some("i".to_owned()));
    (it.assigned_user, it.parent_issue_id) = (None, Some(9));
    (it.actual_work_hours, it.actual_work_seconds) = (0.1, 360);
    (it.closed_time, it.begin_date) = (None, None);
    let (id, who, number) = (it.id, it.creator.identifier.clone(), it.creator.id);

    let table = codearts::issues(&world, SHANGHAI);

    let expected = [
        format!(r#"{{"creator":{{"user_id":"{who}","user_num_id":{number}}},"custom_fields":[],"#),
        r#""iteration":{"id":7},"new_custom_fields":[{"custom_field":"custom_field1","#.to_owned(),
        r#""field_name":"環境","value":"n"}],"order":{"id":1,"name":"1"},"#.to_owned(),
        r#""parent_issue":{"name":"parent 9"},"priority":{"id":2},"#.to_owned(),
        format!(
            r#""project":{{"project_id":"{project}","project_name":"Core","project_num_id":3000001}}}}"#
        ),
    ];
    let row = table.rows_where("id", id)[0];
    assert_eq!(*table.cell(row, "_extra"), Cell::from(expected.concat()));
    assert_eq!(*table.cell(row, "actual_work_seconds"), Cell::Int(360));
    assert_eq!(*table.cell(row, "closed_time"), Cell::Null);
    assert_eq!(*table.cell(row, "begin_date"), Cell::Null);
    let deleted = table.rows_where("deleted", true);
    assert_eq!(deleted.len(), 1, "an issue that was logically deleted is a row");
}

#[test]
fn every_stream_has_rows_on_many_dates() {
    let world = world();
    let tables = [
        tracker::issues(&world, URL, Tz::UTC),
        tracker::worklogs(&world, URL, Tz::UTC),
        tracker::changelog(&world, URL, Tz::UTC),
        timesheet::audit_log(&world, window()),
        timesheet::worklogs(&world, window()),
        codearts::issues(&world, SHANGHAI),
        codearts::history(&world, SHANGHAI),
        codearts::work_hours(&world, window()),
    ];

    for table in tables {
        let dates: std::collections::BTreeSet<_> =
            table.rows.iter().map(|it| &it.partition).collect();
        assert!(table.rows.len() >= 60 && dates.len() > 20, "{:?}", table.names());
        assert!(dates.iter().all(|it| it.len() == "date=2024-07-25".len()));
    }
}

#[test]
fn canonical_json_is_sorted_by_code_point_and_compact() {
    let value = json!({"b": 1, "a": {"я": null, "Z": "\u{1}\"/\n"}, "B": [{"y": 1.5, "x": true}]});

    assert_eq!(
        canonical(&value),
        r#"{"B":[{"x":true,"y":1.5}],"a":{"Z":"\u0001\"/\n","я":null},"b":1}"#
    );
}

fn small(rows: &[(&str, i64, Option<&str>)]) -> Table {
    let mut table = Table::new(&[("id", Int), ("text", Text)]);
    for (partition, id, text) in rows {
        table.push((*partition).to_owned(), row! {"id": *id, "text": *text});
    }
    table
}

#[test]
fn tables_are_equal_in_any_order_but_not_in_any_number() {
    let table = small(&[("p", 1, Some("a")), ("p", 2, None), ("p", 2, None)]);

    assert_eq!(
        difference(&small(&[("p", 2, None), ("p", 1, Some("a")), ("p", 2, None)]), &table),
        ""
    );
    let one_less = difference(&small(&[("p", 1, Some("a")), ("p", 2, None)]), &table);
    assert_eq!(one_less, "2 rows, expected 3: 1 missing, 0 unexpected\n- missing in p: id=2\n");
}

#[test]
fn difference_names_the_columns_that_differ() {
    let expected = small(&[("p", 1, Some("a")), ("p", 2, Some("")), ("p", 3, None)]);

    let actual = small(&[("p", 1, Some("b")), ("q", 2, Some("")), ("p", 3, None)]);

    assert_eq!(
        difference(&actual, &expected),
        "3 rows, expected 3: 2 missing, 2 unexpected\n\
         - row id=1 text=\"a\" …\n    text: \"b\", expected \"a\"\n\
         - row id=2 text=\"\" …\n    in q, expected p\n"
    );
    let long = |end: &str| small(&[("p", 1, Some(&format!("{}{end}", "я".repeat(200))))]);
    let tail = difference(&long("x"), &long("y"));
    assert!(
        tail.ends_with("    text: …яяяяяяяяяяяяяяяяяяяяx, expected …яяяяяяяяяяяяяяяяяяяяy\n"),
        "{tail}"
    );
    let other = Table::new(&[("id", Text), ("text", Text)]);
    assert_eq!(
        difference(&other, &expected),
        "the columns differ\n  0: id Text, expected id Int\n"
    );
}

#[test]
fn csv_tells_null_from_the_empty_text() {
    let bare = |it: &str| CsvField::Bare(it.to_owned());
    let quoted = |it: &str| CsvField::Quoted(it.to_owned());

    let lines = parse_csv("a,b,c\n,\"\",x\n\"say \"\"hi\"\"\",\"a,b\",\"one\r\ntwo\"\n");

    assert_eq!(lines[0], [bare("a"), bare("b"), bare("c")]);
    assert_eq!(lines[1], [bare(""), quoted(""), bare("x")]);
    assert_eq!(lines[2], [quoted("say \"hi\""), quoted("a,b"), quoted("one\r\ntwo")]);
    assert_eq!(lines.len(), 3);
    for wrong in ["a,b", "a\r\n", "\"a\n", "\"a\"b\n", "a\"b\n"] {
        assert!(std::panic::catch_unwind(|| parse_csv(wrong)).is_err(), "{wrong:?}");
    }
}

const ONE_OF_EACH: &[(&str, Kind)] =
    &[("t", Text), ("i", Int), ("f", Float), ("b", Bool), ("d", Date), ("at", Instant)];

fn one_of_each() -> Table {
    let mut table = Table::new(ONE_OF_EACH);
    let at = instant("2024-07-25T09:42:06.258Z");
    table.push(
        "date=2024-07-25".to_owned(),
        row! {"t": "", "i": -1, "f": 0.1, "b": true, "d": date("1969-12-31"), "at": at},
    );
    let nothing = None::<&str>;
    table.push(
        "date=2024-07-26".to_owned(),
        row! {"t": nothing, "i": nothing, "f": nothing, "b": nothing, "d": nothing, "at": nothing},
    );
    table
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn csv_files_are_read_with_their_partitions_and_types() {
    let dir = tempfile::tempdir().unwrap();
    let header = "t,i,f,b,d,at\n";
    let line = "\"\",-1,0.1,true,1969-12-31,2024-07-25T09:42:06.258000Z\n";
    for (partition, line) in [("date=2024-07-25", line), ("date=2024-07-26", ",,,,,\n")] {
        std::fs::create_dir(dir.path().join(partition)).unwrap();
        let path = dir.path().join(partition).join("part-0.csv");
        std::fs::write(path, format!("{header}{line}")).unwrap();
    }

    let table = read_csv(dir.path(), &one_of_each().columns);

    assert_eq!(difference(&table, &one_of_each()), "");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn parquet_files_are_read_with_their_partitions_and_types() {
    let dir = tempfile::tempdir().unwrap();
    let micros = instant("2024-07-25T09:42:06.258Z").timestamp_micros();
    let full = |is: bool| -> RecordBatch {
        let columns: [(&str, ArrayRef); 6] = [
            ("t", Arc::new(StringArray::from(vec![is.then_some("")]))),
            ("i", Arc::new(Int64Array::from(vec![is.then_some(-1)]))),
            ("f", Arc::new(Float64Array::from(vec![is.then_some(0.1)]))),
            ("b", Arc::new(BooleanArray::from(vec![is.then_some(true)]))),
            ("d", Arc::new(Date32Array::from(vec![is.then_some(-1)]))),
            ("at", {
                let instants = TimestampMicrosecondArray::from(vec![is.then_some(micros)]);
                Arc::new(instants.with_timezone("UTC"))
            }),
        ];
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    for (partition, is) in [("date=2024-07-25", true), ("date=2024-07-26", false)] {
        std::fs::create_dir(dir.path().join(partition)).unwrap();
        let file = File::create(dir.path().join(partition).join("part-0.parquet")).unwrap();
        let batch = full(is);
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    let table = read_parquet(dir.path());

    assert_eq!(difference(&table, &one_of_each()), "");
}
