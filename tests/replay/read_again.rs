//! When records leave quarantine because a later run has read them again, and when they do not.

use super::*;

/// The ids of the records in quarantine, in the order of their runs.
fn waiting(workspace: &Workspace) -> Vec<i64> {
    let mut ids = Vec::new();
    for path in quarantine_files(workspace) {
        for line in String::from_utf8_lossy(&workspace.files()[&path]).lines() {
            let kept: Value = serde_json::from_str(line).unwrap();
            let raw: Value = serde_json::from_str(kept["raw"].as_str().unwrap()).unwrap();
            ids.push(raw["id"].as_i64().unwrap());
        }
    }
    ids
}

const UNORDERED: &str = "{ merge: { key: [mode, id] } }";
const APPEND: &str = "{ append: { key: [mode, id] } }";

#[test]
fn a_record_whose_key_was_read_well_leaves_and_the_others_stay() {
    for write in [UNORDERED, APPEND, MERGE] {
        let world = world(json!({ "a": [does_not(1, 1, 8), does_not(2, 1, 7)], "b": [] }));
        let (server, workspace) = (server(&world), Workspace::new());
        let wrong = file(&server, WRONG, write);
        assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7), "{write}");
        assert_eq!(waiting(&workspace), [1, 2], "{write}");
        // One was corrected in the source; the other one did not change, and does not come.
        *world.lock().unwrap() = json!({ "a": [fits(1, 2, 5)], "b": [fits(2, 1, 9)] });

        assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(0), "{write}");

        assert_eq!(waiting(&workspace), [2], "{write}");
        assert_eq!(hours(&workspace).len(), 2, "{write}");
    }
}

#[test]
fn a_record_stays_where_only_an_older_version_of_it_came() {
    let world = world(json!({ "a": [does_not(1, 5, 8), does_not(2, 5, 7)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let wrong = file(&server, WRONG, MERGE);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    // A server that lags behind.
    *world.lock().unwrap() = json!({ "a": [fits(1, 4, 5), fits(2, 5, 6)], "b": [] });
    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(0));
    assert_eq!(waiting(&workspace), [1]);

    let replayed = replay(&workspace, &file(&server, RIGHT, MERGE), &[]);

    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    assert_eq!(hours(&workspace), [(json!(1), json!(8)), (json!(2), json!(6))]);
}

#[test]
fn a_record_that_is_rejected_again_is_in_quarantine_once() {
    let mut nameless = fits(3, 1, 7);
    nameless["id"] = json!("three");
    nameless["nr"] = json!(3);
    let world = world(json!({ "a": [does_not(1, 1, 8), nameless], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let wrong = file(&server, WRONG, UNORDERED);
    for hour in 12..15 {
        assert_eq!(run(&workspace, &wrong, hour, &[]).code, Some(7));
        // Another text under the same key, beside the same text without one.
        world.lock().unwrap()["a"][0] = does_not(1, i64::from(hour), 9);
    }

    let [path] = quarantine_files(&workspace).try_into().unwrap();
    assert!(path.contains("T140000Z"), "the last run tells: {path}");
    let lines = String::from_utf8(workspace.files()[&path].clone()).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn rejects_of_a_slice_that_is_a_scope_leave_once_it_was_read_to_its_end() {
    for write in
        [KEYLESS, "{ replace: { scope: slice, key: [mode, id], by: { mode: slice.mode } } }"]
    {
        let world = world(json!({
            "a": [fits(1, 1, 8), does_not(2, 1, 7)],
            "b": [fits(4, 1, 1), does_not(5, 1, 7)],
        }));
        let (server, workspace) = (server(&world), Workspace::new());
        let wrong = file(&server, WRONG, write);
        assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7), "{write}");
        // 2 is gone from the source, 5 is another one that does not fit.
        *world.lock().unwrap() =
            json!({ "a": [fits(1, 1, 8)], "b": [fits(4, 1, 1), does_not(6, 1, 7)] });

        assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(7), "{write}");

        assert_eq!(waiting(&workspace), [6], "{write}");
    }
}

#[test]
fn a_run_that_publishes_nothing_leaves_quarantine_alone() {
    let world = world(json!({ "a": [fits(1, 1, 8), does_not(2, 1, 7)], "b": [fits(4, 1, 1)] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let wrong = file(&server, WRONG, KEYLESS);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    *world.lock().unwrap() = json!({ "a": [], "b": [] });

    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(5), "the dataset would be empty");
    assert_eq!(waiting(&workspace), [2]);
    let before = files(&workspace);
    *world.lock().unwrap() = json!({ "a": [fits(1, 1, 8)], "b": [] });
    assert_eq!(run(&workspace, &wrong, 13, &["--dry-run"]).code, Some(0));
    assert_eq!(files(&workspace), before);
}

#[test]
fn a_damaged_quarantine_does_not_keep_rows_from_being_published() {
    let world = world(json!({ "a": [does_not(1, 1, 8)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let wrong = file(&server, WRONG, UNORDERED);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    let [path] = quarantine_files(&workspace).try_into().unwrap();
    let kept = std::fs::File::options().write(true).open(workspace.output().join(&path));
    kept.unwrap().set_len(1).unwrap();
    *world.lock().unwrap() = json!({ "a": [fits(1, 2, 5)], "b": [] });

    let ended = run(&workspace, &wrong, 13, &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hours(&workspace).len(), 1);
    assert_eq!(workspace.files()[&path], b"{");
}

#[test]
fn a_reading_of_everything_leaves_nothing_of_earlier_runs() {
    let world = world(json!({ "a": [fits(1, 1, 8), does_not(2, 1, 7)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let wrong = file(&server, WRONG, UNORDERED);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    *world.lock().unwrap() = json!({ "a": [fits(1, 1, 8)], "b": [] });
    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(0));
    assert_eq!(waiting(&workspace), [2], "an upsert says nothing of what does not come");

    assert_eq!(run(&workspace, &wrong, 14, &["--full-refresh"]).code, Some(0));

    assert_eq!(waiting(&workspace), [0_i64; 0]);
}

#[test]
fn windows_of_another_night_settle_those_that_they_cover() {
    let hours = std::sync::Arc::new(Mutex::new(json!("8h")));
    let told = std::sync::Arc::clone(&hours);
    let server = Server::start(move |request| {
        let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
        let days = ["2024-07-10", "2024-07-12", "2024-07-20"];
        let days = days.iter().enumerate().filter(|(_, it)| from <= **it && **it <= to);
        Response::json(&Value::Array(
            days.map(|(id, day)| {
                let hours = if id == 2 { json!(1) } else { told.lock().unwrap().clone() };
                json!({ "id": id, "day": day, "hours": hours })
            })
            .collect(),
        ))
    });
    let yaml = format!(
        "version: 1
pipeline: own
source: {{ base_url: {} }}
streams:
  log:
    request: {{ path: /log }}
    slices: {{ window: {{ from: \"2024-07-09\", step: 3d, reread: 14d, format: date, start_param: from, end_param: to }} }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      hours: {{ from: hours, type: int64 }}
    write: {{ replace: {{ scope: slice, by: {{ day: window }} }} }}
    partition_by: {{ column: day }}
    max_rejected: 10
",
        server.url()
    );
    let workspace = Workspace::new();
    let first = run(&workspace, &yaml, 12, &[]);
    assert_eq!(first.code, Some(7), "{}", first.stderr);
    assert_eq!(waiting(&workspace), [0, 1]);
    *hours.lock().unwrap() = json!(8);

    // The windows start on the 11th now: 11..13 covers nothing of 09..11.
    let second = run(&workspace, &yaml, 13, &[]);

    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let rows: Vec<Value> = workspace.rows("log").iter().map(|it| it["id"].clone()).collect();
    assert_eq!((waiting(&workspace), rows), (vec![0], vec![json!(1), json!(2)]));
}

#[test]
fn a_row_that_the_same_run_has_read_well_is_not_replaced_by_a_reject_of_its_key() {
    for write in [
        "{ merge: { key: [id] } }",
        "{ replace: { scope: slice, key: [id], by: { mode: slice.mode } } }",
    ] {
        // The one that does not fit was read first, and is the older one; nothing tells.
        let world =
            world(json!({ "a": [does_not(1, 1, 8), does_not(2, 1, 6)], "b": [fits(1, 2, 5)] }));
        let (server, workspace) = (server(&world), Workspace::new());
        assert_eq!(run(&workspace, &file(&server, WRONG, write), 12, &[]).code, Some(7));
        let right = file(&server, RIGHT, write);

        let replayed = replay(&workspace, &right, &[]);

        assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
        assert_eq!(
            replayed.report()["streams"][0]["staying"],
            json!([{
                "column": null,
                "reason": "its run has read a row of its key well, and nothing says which is newer",
                "needs_run": true,
                "records": 1,
            }]),
            "{write}"
        );
        assert_eq!(hours(&workspace), [(json!(1), json!(5)), (json!(2), json!(6))], "{write}");
        assert_eq!(waiting(&workspace), [1], "{write}");

        // The next run asks, and knows.
        *world.lock().unwrap() = json!({ "a": [], "b": [fits(1, 2, 5), fits(2, 1, 6)] });
        assert_eq!(run(&workspace, &right, 13, &[]).code, Some(0), "{write}");
        assert_eq!(waiting(&workspace), [0_i64; 0], "{write}");
    }
}

#[test]
fn with_a_version_the_newer_of_two_of_the_same_run_stays() {
    for (rejected, hours_after) in [(1, 5), (3, 8)] {
        let world = world(json!({ "a": [does_not(1, rejected, 8)], "b": [fits(1, 2, 5)] }));
        let (server, workspace) = (server(&world), Workspace::new());
        let write = "{ merge: { key: [id], newest_by: seen } }";
        assert_eq!(run(&workspace, &file(&server, WRONG, write), 12, &[]).code, Some(7));

        let replayed = replay(&workspace, &file(&server, RIGHT, write), &[]);

        assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        assert_eq!(hours(&workspace), [(json!(1), json!(hours_after))]);
    }
}

#[test]
fn a_record_of_several_rows_replaces_none_of_them_where_one_was_read_well() {
    let of = |fields: Value| json!({ "id": 1, "day": "2024-07-25", "seen": 1, "fields": fields });
    let world = world(json!({
        "a": [of(json!([{ "k": 1, "h": 3, "n": 3 }, { "k": 2, "h": "x", "n": 4 }]))],
        "b": [of(json!([{ "k": 1, "h": 5, "n": 5 }]))],
    }));
    let (server, workspace) = (server(&world), Workspace::new());
    let file = |hours: &str| {
        let yaml = file(&server, hours, "{ merge: { key: [id, k] } }");
        let yaml = yaml.replace("records: items", "records: items\n    explode: fields");
        yaml.replace("      day: {", "      k: { from: fields.k, type: int64 }\n      day: {")
    };
    let wrong = file("{ from: fields.h, type: int64 }");
    let right = file("{ from: fields.n, type: int64 }");
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));

    let replayed = replay(&workspace, &right, &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    assert_eq!(hours(&workspace), [(json!(1), json!(5))]);
    assert_eq!(waiting(&workspace), [1]);
}

#[test]
fn a_damaged_file_does_not_keep_the_records_of_other_files_from_being_told_apart() {
    let world = world(json!({ "a": [does_not(1, 1, 8)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let write = "{ merge: { key: [id] } }";
    let wrong = file(&server, WRONG, write);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    let [path] = quarantine_files(&workspace).try_into().unwrap();
    let damaged = std::fs::File::options().write(true).open(workspace.output().join(&path));
    damaged.unwrap().set_len(1).unwrap();
    *world.lock().unwrap() = json!({ "a": [does_not(2, 1, 8)], "b": [fits(2, 2, 5)] });
    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(7));
    // The way out that docs/operations.md names.
    std::fs::remove_file(workspace.output().join(&path)).unwrap();

    let replayed = replay(&workspace, &file(&server, RIGHT, write), &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    assert_eq!(hours(&workspace), [(json!(2), json!(5))]);
    assert_eq!(waiting(&workspace), [2]);
}

#[test]
fn the_same_text_in_another_slice_is_another_record() {
    let is_gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gone = std::sync::Arc::clone(&is_gone);
    let server = Server::start(move |request| {
        if request.param("mode") == Some("a") && gone.load(std::sync::atomic::Ordering::Relaxed) {
            return Response::status(404, &json!({}));
        }
        Response::json(&json!({ "items": [does_not(1, 1, 8)] }))
    });
    let workspace = Workspace::new();
    let wrong = file(&server, WRONG, UNORDERED);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    assert_eq!(waiting(&workspace), [1, 1]);
    is_gone.store(true, std::sync::atomic::Ordering::Relaxed);

    let ended = run(&workspace, &wrong, 13, &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(waiting(&workspace), [1, 1], "that of `a` of the first run, and that of `b`");
}

#[test]
fn a_replay_makes_no_dataset_of_a_stream_that_was_never_published() {
    let world = world(json!({ "a": [does_not(1, 1, 8)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let strict = |yaml: String| yaml.replace("max_rejected: 10", "max_rejected: 0");
    let wrong = strict(file(&server, WRONG, UNORDERED));
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(5));
    let right = strict(file(&server, RIGHT, UNORDERED));
    let right =
        right.replace("{ from: seen, type: int64 }", "{ from: seen, type: int64, mask: drop }");

    let replayed = replay(&workspace, &right, &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    let files = files(&workspace);
    let is_of_dataset = |it: &&String| it.starts_with("parquet/") || it.contains("/manifests/");
    assert_eq!(files.keys().find(is_of_dataset), None);
    let [path] = quarantine_files(&workspace).try_into().unwrap();
    assert!(files[&path].contains(r#"\"seen\":null"#), "{}", files[&path]);
}
