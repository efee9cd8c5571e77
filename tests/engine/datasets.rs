//! What stands in the destination, and what a run may take from it.

use super::*;

/// The partitions and ids of three instants around midnight of New York.
#[track_caller]
fn partitioned(unit: &str) -> Value {
    decoded(
        json!([
            { "id": 1, "at": "2024-12-31T23:59:59-05:00" },
            { "id": 2, "at": "2025-01-01T05:00:00Z" },
            { "id": 3, "at": "2025-01-01T06:30:00.123456789+0000" },
        ]),
        &format!(
            "    request: {{ path: / }}
    columns:
      id: {{ from: id, type: int64 }}
      at: {{ from: at, type: timestamp }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: at, unit: {unit}, zone: America/New_York, as: part }}
"
        ),
        &["part", "id"],
    )
}

#[test]
fn partitions_are_hours_months_or_years_of_a_named_zone() {
    assert_eq!(
        partitioned("hour"),
        json!([["2024-12-31T23", 1], ["2025-01-01T00", 2], ["2025-01-01T01", 3]])
    );
    assert_eq!(partitioned("month"), json!([["2024-12", 1], ["2025-01", 2], ["2025-01", 3]]));
    assert_eq!(partitioned("year"), json!([["2024", 1], ["2025", 2], ["2025", 3]]));
}

#[test]
fn a_row_without_a_date_is_in_the_partition_of_nulls() {
    let rows = decoded(
        json!([{ "id": 1, "day": null }, { "id": 2, "day": "" }, { "id": 3, "day": "2024-07-25" }]),
        &format!("    request: {{ path: / }}{COLUMNS}"),
        &["date", "id"],
    );

    assert_eq!(
        rows,
        json!([
            ["2024-07-25", 3],
            ["__HIVE_DEFAULT_PARTITION__", 1],
            ["__HIVE_DEFAULT_PARTITION__", 2],
        ])
    );
}

/// The files of an export that writes CSV alone.
#[track_caller]
fn csv_files(csv: &str, records: Value) -> BTreeMap<String, Vec<u8>> {
    let server = Server::start(move |_| Response::json(&records));
    let yaml = items(&server, "    request: { path: / }");
    let (workspace, _) = export(&format!("{yaml}destination: {{ formats: {{ csv: {csv} }} }}\n"));
    let files = workspace.files();
    files
        .into_iter()
        .filter(|(it, _)| it.starts_with("csv/") || it.starts_with("parquet/"))
        .collect()
}

#[test]
fn csv_is_compressed_with_gzip_or_zstd() {
    let text = "id,day\n1,2024-07-25\n2,2024-07-25\n";

    let plain = csv_files("{}", records([1, 2]));
    let gzip = csv_files("{ compression: gzip }", records([1, 2]));
    let zstd = csv_files("{ compression: zstd }", records([1, 2]));

    let dir = "csv/own/items/date=2024-07-25";
    assert_eq!(plain.into_iter().collect::<Vec<_>>(), [(format!("{dir}/part-0.csv"), text.into())]);
    let mut unpacked = String::new();
    let packed = gzip[&format!("{dir}/part-0.csv.gz")].as_slice();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, text);
    let packed = zstd[&format!("{dir}/part-0.csv.zst")].as_slice();
    assert_eq!(zstd::decode_all(packed).unwrap(), text.as_bytes());
}

#[test]
fn an_empty_stream_publishes_its_schema_in_a_file_without_rows() {
    let server = Server::start(|_| Response::json(&json!([])));

    let (workspace, ended) = export(&items(&server, "    request: { path: /items }"));

    assert_eq!(ended.report()["streams"][0]["rows"], 0);
    let files = workspace.published();
    let names: Vec<&str> =
        files.keys().map(String::as_str).filter(|it| !it.starts_with('_')).collect();
    assert_eq!(
        names,
        [
            "csv/own/items/date=__HIVE_DEFAULT_PARTITION__/part-0.csv",
            "parquet/own/items/date=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
        ]
    );
    assert_eq!(files[names[0]], b"id,day\n");
    assert!(workspace.rows("items").is_empty());
}

#[test]
fn deleted_rows_are_kept_with_the_time_of_the_run_where_the_file_says_so() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let all = [records([1, 2, 3]), records([1, 3])];
        Response::json(&all[asked.fetch_add(1, SeqCst)])
    });
    let yaml = items(&server, "    request: { path: / }\n    deletes: mark");
    let (workspace, _) = export(&yaml);
    let clock = [("TRACKLAKE_NOW", "2024-07-27T01:02:03Z")];
    let ended = workspace.run(&yaml, &["--full-refresh"], &clock);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let stream = &ended.report()["streams"][0];
    assert_eq!((&stream["removed"], &stream["rows"]), (&json!(1), &json!(3)));
    assert_eq!(stream["changed"], json!(["date=2024-07-25"]));
    let files = workspace.files();
    assert_eq!(
        String::from_utf8_lossy(&files["csv/own/items/date=2024-07-25/part-0.csv"]),
        "id,day,_deleted_at\n\
         1,2024-07-25,\n\
         2,2024-07-25,2024-07-27T01:02:03.000000Z\n\
         3,2024-07-25,\n"
    );
}

#[test]
fn a_full_refresh_does_not_remove_what_was_asked_for_from_earlier_on() {
    // A day's entries, as far as the window asks for them; the source never loses any.
    let server = Server::start(|request| {
        let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
        let days = ["2024-06-10", "2024-07-10", "2024-07-20"];
        let days = days.iter().enumerate().filter(|it| (from..=to).contains(it.1));
        Response::json(&days.map(|(id, day)| json!({ "id": id, "day": day })).collect::<Value>())
    });
    let window = "{ window: { from: 2024-07-01, format: date, start_param: from, end_param: to } }";
    let slices = format!("    slices: {window}\n    request: {{ path: /log }}\n");
    let merge = items(&server, &slices);
    let by_window = "write: { replace: { scope: slice, key: [id], by: { day: window } } }";
    let by_slice = merge.replace("write: { merge: { key: [id] } }", by_window);

    for yaml in [merge, by_slice] {
        for first in [&[][..], &["--since", "2024-06-01"]] {
            let workspace = Workspace::new();
            for args in
                [first, &["--since", "2024-06-01"], &["--full-refresh"], &["--full-refresh"]]
            {
                let ended = workspace.run(&yaml, args, &[]);
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                assert_eq!(
                    ended.report()["streams"][0]["removed"],
                    0,
                    "{first:?} {args:?}\n{yaml}"
                );
            }
            assert_eq!(workspace.rows("items").len(), 3, "{first:?}\n{yaml}");
        }
    }
}

#[test]
fn a_source_that_has_nothing_any_more_marks_nothing_as_deleted() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let all = [records([1, 2, 3]), records([1, 2]), json!([])];
        Response::json(&all[asked.fetch_add(1, SeqCst)])
    });
    let yaml = items(&server, "    request: { path: / }\n    deletes: mark");
    let (workspace, _) = export(&yaml);
    assert_eq!(workspace.run(&yaml, &["--full-refresh"], &[]).code, Some(0));
    let before = workspace.published();

    let ended = workspace.run(&yaml, &["--full-refresh"], &[]);

    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 rows"), "those that are there: {}", ended.stderr);
    assert!(workspace.published() == before);
}

#[test]
fn a_budget_that_children_could_use_up_lists_their_parents_first() {
    // One window of five pages, whose cursor moves only once it was read to its end.
    let server = Server::start(|request| {
        let Some(from) = request.param("from") else {
            return Response::json(&records([1, 2]));
        };
        let boxes = (10..20).map(|id| json!({ "id": id, "day": format!("2024-07-{id}") }));
        let boxes: Vec<Value> = boxes.filter(|it| it["day"].as_str() >= Some(from)).collect();
        let page: Vec<&Value> = boxes.iter().skip(request.number("offset")).take(2).collect();
        Response::json(&json!({ "total": boxes.len(), "items": page }))
    });
    let yaml = own_source(
        &server,
        "  limits: { requests_per_second: 10000, max_in_flight: 4, max_requests: 7 }",
        &format!(
            "  boxes:
    slices: {{ window: {{ from: 2024-07-01, format: date, start_param: from, end_param: to }} }}
    cursor: {{ column: day, lookback: 0d }}
    request: {{ path: /boxes }}
    records: items
    paginate: {{ offset: {{ size: 2, total: total }} }}{COLUMNS}  things:
    slices: {{ parent: {{ stream: boxes, bind: {{ box: id }} }} }}
    request: {{ path: '/boxes/{{{{ parent.box }}}}/things' }}
    columns:
      box: {{ from: parent.box, type: int64 }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ replace: {{ scope: slice, key: [box, id] }} }}
    partition_by: {{ column: day }}
"
        ),
    )
    .replacen("  limits: { requests_per_second: 10000, max_in_flight: 1 }\n", "", 1);
    let workspace = Workspace::new();

    let codes: Vec<_> = (0..5).map(|_| workspace.run(&yaml, &[], &[]).code).collect();

    assert_eq!(workspace.rows("boxes").len(), 10, "{codes:?} {:#?}", server.lines());
    assert_eq!(workspace.rows("things").len(), 20, "{codes:?} {:?}", server.lines());
    assert_eq!(codes.last(), Some(&Some(0)), "{codes:?}");
}

/// The notes of a full refresh that no longer finds the first `gone` of 200 rows.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn notes_without(gone: usize, deletes: &str, command: &[&str]) -> (Option<i32>, Vec<String>) {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let first = if asked.fetch_add(1, SeqCst) == 0 { 1 } else { 1 + gone };
        Response::json(&records(first..=200))
    });
    let yaml = items(&server, &format!("    request: {{ path: / }}\n    deletes: {deletes}"));
    let (workspace, _) = export(&yaml);
    let args = [&command[1..], &["--full-refresh"]].concat();
    let ended = Ended::of(&workspace.subcommand(command[0], &yaml, &args).output().unwrap());
    let notes = ended.stdout.lines().filter_map(|it| it.strip_prefix("note: own.items: "));
    let notes = notes.filter(|it| !it.contains("no total to compare"));
    (ended.code, notes.map(str::to_owned).collect())
}

#[test]
fn what_is_told_of_rows_that_the_source_lost_is_what_became_of_them() {
    let (run, plan) = (&["run"][..], &["plan", "--fetch"][..]);
    let day = "would write date=2024-07-25: 0 rows added, 0 changed";
    for (gone, deletes, command, code, notes) in [
        (
            1,
            "remove",
            run,
            0,
            vec!["1 row removed, because the source no longer has them".to_owned()],
        ),
        (
            2,
            "mark",
            run,
            0,
            vec!["2 rows marked as deleted, because the source no longer has them".into()],
        ),
        (1, "remove", plan, 0, vec![format!("{day}, 1 removed")]),
        (2, "mark", plan, 0, vec![format!("{day}, 2 marked as deleted")]),
        // The guard keeps them.
        (150, "remove", run, 5, vec![]),
        (150, "mark", run, 5, vec![]),
    ] {
        assert_eq!(notes_without(gone, deletes, command), (Some(code), notes), "{gone} {deletes}");
    }
}

#[test]
fn a_slice_without_a_key_that_never_ends_fails_by_name_instead_of_filling_the_memory() {
    let server = Server::start(|request| {
        let page = request.number("page");
        let text = "x".repeat(500_000);
        Response::json(&json!([{ "id": page, "day": "2024-07-25", "text": text }]))
    });
    let yaml = items(&server, "    request: { path: / }\n    paginate: { page: { param: page } }")
        .replace("write: { merge: { key: [id] } }", "write: { replace: all }")
        .replace("unknown_fields: ignore", "unknown_fields: keep");

    let workspace = Workspace::new();
    let ended = workspace.run(&yaml, &["--memory-mb", "2"], &[]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("the slice has more than 2 MiB of rows"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: make the windows"), "{}", ended.stderr);
    assert!(server.lines().len() < 20, "{}", server.lines().len());
}
