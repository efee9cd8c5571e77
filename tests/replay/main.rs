//! What `quarantine --replay` does with records once their column is right.

#![expect(clippy::unwrap_used, reason = "a test's own server")]

mod read_again;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

/// Days by slice, as the server has them now.
type World = Arc<Mutex<Value>>;

/// Answers with the records of `mode`.
fn server(world: &World) -> Server {
    let world = Arc::clone(world);
    Server::start(move |request| {
        let mode = request.param("mode").unwrap_or("all").to_owned();
        Response::json(&json!({ "items": world.lock().unwrap()[mode] }))
    })
}

fn world(value: Value) -> World {
    Arc::new(Mutex::new(value))
}

/// A stream of two slices; `hours` is how that column is read.
fn file(server: &Server, hours: &str, write: &str) -> String {
    format!(
        "version: 1
pipeline: own
source: {{ base_url: {} }}
streams:
  log:
    request: {{ path: /log, query: {{ mode: \"{{{{ slice.mode }}}}\" }} }}
    slices: {{ list: {{ as: mode, values: [a, b] }} }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      mode: {{ from: slice.mode, type: string }}
      day: {{ from: day, type: date }}
      seen: {{ from: seen, type: int64 }}
      hours: {hours}
    write: {write}
    partition_by: {{ column: day }}
    max_rejected: 10
    unknown_fields: ignore
",
        server.url()
    )
}

const WRONG: &str = "{ from: hours, type: int64 }";
const RIGHT: &str = "{ from: spent.hours, type: int64 }";
const MERGE: &str = "{ merge: { key: [mode, id], newest_by: seen } }";
const KEYLESS: &str = "{ replace: { scope: slice, by: { mode: slice.mode } } }";

/// `hours` is where the wrong column looks for it too, but for records that hold a text there.
fn fits(id: i64, seen: i64, hours: i64) -> Value {
    json!({ "id": id, "day": "2024-07-25", "seen": seen, "hours": hours, "spent": { "hours": hours } })
}

fn does_not(id: i64, seen: i64, hours: i64) -> Value {
    let mut record = fits(id, seen, hours);
    record["hours"] = json!(format!("{hours}h"));
    record
}

fn replay(workspace: &Workspace, yaml: &str, args: &[&str]) -> Ended {
    let args = [&["--replay", "--json"], args].concat();
    Ended::of(&workspace.subcommand("quarantine", yaml, &args).output().unwrap())
}

/// A run at an hour of the day.
fn run(workspace: &Workspace, yaml: &str, hour: u32, args: &[&str]) -> Ended {
    let now = format!("2024-07-25T{hour:02}:00:00Z");
    workspace.run(yaml, args, &[("TRACKLAKE_NOW", &now)])
}

/// What a run with the right column from the beginning makes of the world.
fn datasets_of(yaml: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    let fresh = Workspace::new();
    assert_eq!(run(&fresh, yaml, 12, &[]).code, Some(0));
    datasets(&fresh)
}

fn datasets(workspace: &Workspace) -> std::collections::BTreeMap<String, Vec<u8>> {
    workspace.files().into_iter().filter(|(path, _)| path.starts_with("parquet/")).collect()
}

/// All files but the one that says who was there last.
fn files(workspace: &Workspace) -> std::collections::BTreeMap<String, String> {
    let text = |it: Vec<u8>| String::from_utf8_lossy(&it).into_owned();
    let files = workspace.files().into_iter().filter(|(path, _)| !path.ends_with("/lock"));
    files.map(|(path, content)| (path, text(content))).collect()
}

fn quarantine_files(workspace: &Workspace) -> Vec<String> {
    let files = workspace.files().into_keys();
    files.filter(|it| it.starts_with("quarantine/")).collect()
}

#[test]
fn a_replay_after_a_fix_makes_the_dataset_that_the_right_column_would_have_made() {
    for write in [MERGE, KEYLESS] {
        let world = world(json!({
            "a": [fits(1, 1, 8), does_not(2, 1, 7), does_not(2, 1, 7)],
            "b": [does_not(1, 1, 6), fits(3, 1, 5)],
        }));
        let (server, workspace) = (server(&world), Workspace::new());
        let (wrong, right) = (file(&server, WRONG, write), file(&server, RIGHT, write));
        let ended = run(&workspace, &wrong, 12, &[]);
        assert_eq!(ended.code, Some(7), "{}", ended.stderr);
        let asked = server.requests().len();

        let rehearsed = replay(&workspace, &right, &["--dry-run"]);
        assert_eq!(rehearsed.code, Some(0), "{}", rehearsed.stderr);
        assert_eq!(workspace.rows("log").len(), 2, "a rehearsal publishes nothing");
        let before = files(&workspace);
        let replayed = replay(&workspace, &right, &[]);

        assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        assert_eq!(server.requests().len(), asked, "the source is not asked");
        assert_ne!(files(&workspace), before);
        let (rehearsed, replayed) = (rehearsed.report(), replayed.report());
        assert_eq!(rehearsed["streams"], replayed["streams"]);
        assert_eq!(replayed["streams"][0]["published"], 3);
        assert_eq!(datasets(&workspace), datasets_of(&right), "{write}");
        assert_eq!(quarantine_files(&workspace), [""; 0]);

        let again = replay(&workspace, &right, &[]);
        assert_eq!((again.code, &again.report()["streams"]), (Some(0), &json!([])));
        // The next run goes on from the state of the first.
        assert_eq!(run(&workspace, &right, 13, &[]).code, Some(0));
        assert_eq!(datasets(&workspace), datasets_of(&right), "{write}");
    }
}

#[test]
fn a_record_that_still_does_not_fit_stays_with_its_new_reason() {
    let mut broken = does_not(2, 1, 7);
    broken["spent"]["hours"] = json!("many");
    let world = world(json!({ "a": [broken, does_not(3, 1, 7)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, MERGE), 12, &[]);

    let replayed = replay(&workspace, &file(&server, RIGHT, MERGE), &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    let [path] = quarantine_files(&workspace).try_into().unwrap();
    let lines = String::from_utf8(workspace.files()[&path].clone()).unwrap();
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(line["reason"], "expected int64, found \"many\"");
    assert_eq!((&line["slice"], &line["position"]), (&json!("mode=a"), &json!(0)));
    assert_eq!(workspace.rows("log").len(), 1);

    let before = files(&workspace);
    let again = replay(&workspace, &file(&server, RIGHT, MERGE), &[]);
    assert_eq!(again.code, Some(7));
    assert_eq!(again.report()["streams"][0]["staying"][0]["reason"], "expected int64");
    assert_eq!(files(&workspace), before, "nothing to do changes nothing");
}

#[test]
fn what_a_second_fix_makes_fit_is_replayed_after_the_first() {
    // Nothing says how old a record is: only those of the run that published last may go on.
    let write = "{ merge: { key: [mode, id] } }";
    let mut other = does_not(2, 1, 7);
    other["spent"]["hours"] = json!("seven");
    other["worked"] = json!(7);
    let world = world(json!({ "a": [does_not(1, 1, 8), other], "b": [fits(4, 1, 1)] }));
    let (server, workspace) = (server(&world), Workspace::new());
    assert_eq!(run(&workspace, &file(&server, WRONG, write), 12, &[]).code, Some(7));
    let first = replay(&workspace, &file(&server, RIGHT, write), &[]);
    assert_eq!(first.code, Some(7), "{}", first.stderr);
    assert_eq!(hours(&workspace).len(), 2);

    let second = replay(&workspace, &file(&server, "{ from: worked, type: int64 }", write), &[]);

    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(hours(&workspace).contains(&(json!(2), json!(7))), "{:?}", hours(&workspace));
    assert!(quarantine_files(&workspace).is_empty());
}

#[test]
fn a_record_of_an_earlier_run_is_left_to_a_run_where_nothing_says_how_old_it_is() {
    let world = world(json!({ "a": [fits(1, 1, 8), does_not(2, 1, 7)], "b": [fits(4, 1, 1)] }));
    let write = "{ merge: { key: [mode, id] } }";
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, write), 12, &[]);
    // The record does not come again.
    *world.lock().unwrap() = json!({ "a": [fits(1, 1, 8)], "b": [fits(4, 1, 1)] });
    let right = file(&server, RIGHT, write);
    run(&workspace, &right, 13, &[]);
    let before = files(&workspace);

    let replayed = replay(&workspace, &right, &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    let staying = &replayed.report()["streams"][0]["staying"];
    assert_eq!(
        staying[0],
        json!({ "column": null, "reason": "the stream was read again since", "needs_run": true, "records": 1 })
    );
    assert_eq!(files(&workspace), before);
}

#[test]
fn an_old_record_does_not_take_the_place_of_a_newer_row() {
    let world = world(json!({ "a": [fits(1, 2, 5)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, MERGE), 11, &[]);
    // A server that lags behind shows an older one; then it shows only what has changed.
    *world.lock().unwrap() = json!({ "a": [does_not(1, 1, 8), does_not(2, 1, 7)], "b": [] });
    assert_eq!(run(&workspace, &file(&server, WRONG, MERGE), 12, &[]).code, Some(7));
    *world.lock().unwrap() = json!({ "a": [does_not(3, 1, 1)], "b": [] });
    assert_eq!(run(&workspace, &file(&server, WRONG, MERGE), 13, &[]).code, Some(7));

    let replayed = replay(&workspace, &file(&server, RIGHT, MERGE), &[]);

    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    let stream = &replayed.report()["streams"][0];
    assert_eq!((&stream["added"], &stream["outdated"]), (&json!(2), &json!(1)));
    let told: Vec<(Value, Value)> = workspace
        .rows("log")
        .into_iter()
        .map(|it| (it["id"].clone(), it["hours"].clone()))
        .collect();
    assert_eq!(
        told,
        [(json!(1), json!(5)), (json!(2), json!(7)), (json!(3), json!(1))],
        "the edited one keeps its new hours"
    );
}

/// The hours of each record.
fn hours(workspace: &Workspace) -> Vec<(Value, Value)> {
    let rows = workspace.rows("log").into_iter();
    rows.map(|it| (it["id"].clone(), it["hours"].clone())).collect()
}

#[test]
fn an_old_record_does_not_take_the_place_of_a_row_that_is_as_new() {
    let world = world(json!({ "a": [fits(1, 1, 5)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, MERGE), 12, &[]);
    // Edited within what `newest_by` can tell.
    *world.lock().unwrap() = json!({ "a": [does_not(1, 1, 8), does_not(2, 1, 7)], "b": [] });
    assert_eq!(run(&workspace, &file(&server, WRONG, MERGE), 13, &[]).code, Some(7));

    let replayed = replay(&workspace, &file(&server, RIGHT, MERGE), &[]);

    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    let stream = &replayed.report()["streams"][0];
    let counts = [&stream["added"], &stream["updated"], &stream["outdated"]];
    assert_eq!(counts, [&json!(1), &json!(0), &json!(1)]);
    assert_eq!(hours(&workspace), [(json!(1), json!(5)), (json!(2), json!(7))]);
}

#[test]
fn without_a_version_an_edit_that_did_not_fit_replaces_the_row_that_stands() {
    for write in [
        "{ merge: { key: [mode, id] } }",
        "{ replace: { scope: slice, key: [mode, id], by: { mode: slice.mode } } }",
    ] {
        let world = world(json!({ "a": [fits(1, 1, 5), fits(2, 1, 7)], "b": [] }));
        let (server, workspace) = (server(&world), Workspace::new());
        let wrong = file(&server, WRONG, write);
        assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(0));
        *world.lock().unwrap() = json!({ "a": [does_not(1, 2, 8), fits(2, 1, 7)], "b": [] });
        assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(7));

        let replayed = replay(&workspace, &file(&server, RIGHT, write), &[]);

        assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        let stream = &replayed.report()["streams"][0];
        assert_eq!((&stream["updated"], &stream["outdated"]), (&json!(1), &json!(0)), "{write}");
        assert_eq!(hours(&workspace), [(json!(1), json!(8)), (json!(2), json!(7))], "{write}");
    }
}

#[test]
fn rows_that_were_held_back_keep_their_rejects_in_quarantine() {
    let world = world(json!({ "a": [fits(1, 1, 8), fits(2, 1, 7)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let (wrong, right) = (file(&server, WRONG, KEYLESS), file(&server, RIGHT, KEYLESS));
    run(&workspace, &wrong, 12, &[]);
    // Row 2 was edited, and does not fit any more: what stands of it stays.
    *world.lock().unwrap() = json!({ "a": [fits(1, 1, 8), does_not(2, 2, 6)], "b": [] });
    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(7));
    let before = datasets(&workspace);

    let replayed = replay(&workspace, &right, &[]);

    assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    assert_eq!(
        replayed.report()["streams"][0]["staying"][0]["reason"],
        "the other rows of its slice were held back"
    );
    assert_eq!(datasets(&workspace), before, "it would be there twice, old and new");

    // Once the slice was read well, that is what there is to know.
    assert_eq!(run(&workspace, &right, 14, &[]).code, Some(0));
    assert!(quarantine_files(&workspace).is_empty());
}

#[test]
fn a_record_that_stays_is_masked_as_the_pipeline_file_of_now_says() {
    let mut broken = does_not(1, 1, 7);
    broken["spent"]["hours"] = json!("many");
    broken["who"] = json!("Ada Lovelace");
    let world = world(json!({ "a": [broken], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let with_who = |yaml: &str, mask: &str| {
        let who = format!("      who: {{ from: who, type: string{mask} }}\n    write:");
        yaml.replace("    write:", &who)
    };
    let wrong = with_who(&file(&server, WRONG, MERGE), "");
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    let line = || {
        let [path] = quarantine_files(&workspace).try_into().unwrap();
        String::from_utf8(workspace.files()[&path].clone()).unwrap()
    };
    assert!(line().contains("Lovelace"), "{}", line());

    // The second mask alone: column and reason are those that the first replay has left.
    for mask in ["", ", mask: { constant: someone }"] {
        let right = with_who(&file(&server, RIGHT, MERGE), mask);
        let replayed = replay(&workspace, &right, &[]);
        assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
    }

    assert!(!line().contains("Lovelace"), "{}", line());
    let kept: Value = serde_json::from_str(&line()).unwrap();
    assert_eq!(kept["masked"], json!(["who"]));
    let raw: Value = serde_json::from_str(kept["raw"].as_str().unwrap()).unwrap();
    assert_eq!((&raw["who"], &raw["id"]), (&json!("someone"), &json!(1)));
}

#[test]
fn a_record_that_needs_a_run_is_masked_as_the_pipeline_file_of_now_says() {
    let mut old = does_not(1, 1, 7);
    (old["who"], old["mail"]) = (json!("Ada Lovelace"), json!({ "work": "ada@example.org" }));
    let world = world(json!({ "a": [old], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let write = "{ merge: { key: [mode, id] } }";
    let vars =
        "vars: { salt: { env: OWN_SALT, secret: true, default: pepper-pepper-pepper } }\nsource:";
    let masking = |yaml: &str, columns: &str| {
        let yaml = yaml.replace("source:", vars);
        yaml.replace("    write:", &format!("{columns}    write:"))
    };
    let wrong = file(&server, WRONG, write);
    assert_eq!(run(&workspace, &wrong, 12, &[]).code, Some(7));
    *world.lock().unwrap() = json!({ "a": [fits(2, 1, 7)], "b": [] });
    assert_eq!(run(&workspace, &wrong, 13, &[]).code, Some(0));
    let line = || {
        let [path] = quarantine_files(&workspace).try_into().unwrap();
        let line = String::from_utf8(workspace.files()[&path].clone()).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert!(line()["raw"].as_str().unwrap().contains("Lovelace"));

    let who =
        "      who: { from: who, type: string, mask: { sha256: { salt: '{{ vars.salt }}' } } }\n";
    let mail = "      mail: { from: mail.work, type: string, mask: { constant: nobody } }\n";
    let mut seen = Vec::new();
    for columns in [who.to_owned(), who.to_owned() + mail, who.to_owned() + mail] {
        let replayed = replay(&workspace, &masking(&file(&server, RIGHT, write), &columns), &[]);
        assert_eq!(replayed.code, Some(7), "{}", replayed.stderr);
        let raw: Value = serde_json::from_str(line()["raw"].as_str().unwrap()).unwrap();
        seen.push((raw["who"].clone(), raw["mail"]["work"].clone(), line()["masked"].clone()));
    }

    // HMAC-SHA-256 by Python's `hmac`.
    let hash = json!("bdabf52a4e7f4ffe0de308f8368da2d53abc776e2007953a4e22abb25d79f10d");
    assert_eq!(seen[0], (hash.clone(), json!("ada@example.org"), json!(["who"])));
    assert_eq!(seen[1], (hash, json!("nobody"), json!(["who", "mail.work"])), "not hashed twice");
    assert_eq!(seen[2], seen[1]);
}

#[test]
fn a_line_that_is_no_record_is_named_by_its_number() {
    let world = world(json!({ "a": [does_not(1, 1, 8), does_not(2, 1, 7)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, MERGE), 12, &[]);
    let [path] = quarantine_files(&workspace).try_into().unwrap();
    let kept = std::fs::File::options().write(true).open(workspace.output().join(&path)).unwrap();
    kept.set_len(kept.metadata().unwrap().len() - 20).unwrap();
    let right = file(&server, RIGHT, MERGE);
    let before = files(&workspace);

    let shown = Ended::of(&workspace.subcommand("quarantine", &right, &[]).output().unwrap());
    for ended in [shown, replay(&workspace, &right, &[])] {
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stderr.contains("line 2 of `"), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{path}`")), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: mend the line or remove it"), "{}", ended.stderr);
    }
    assert_eq!(files(&workspace), before);
}

#[test]
fn a_replay_can_be_of_one_run_and_one_stream() {
    let world = world(json!({ "a": [does_not(1, 1, 8)], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    run(&workspace, &file(&server, WRONG, MERGE), 12, &[]);
    let right = file(&server, RIGHT, MERGE);
    let before = files(&workspace);

    let other = replay(&workspace, &right, &["--run", "another"]);
    assert_eq!(other.code, Some(6));
    assert!(other.stderr.contains("hint: there are `20240725T120000Z-"), "{}", other.stderr);
    assert_eq!(files(&workspace), before);
    let refused = replay(&workspace, &right, &["--stream", "lgo"]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.stderr.contains("did you mean `log`"), "{}", refused.stderr);

    assert_eq!(replay(&workspace, &right, &["--stream", "log"]).code, Some(0));
    assert_eq!(workspace.rows("log").len(), 1);
}

#[test]
fn parents_that_leave_quarantine_are_followed_by_the_next_run() {
    let server = Server::start(|request| {
        let key = request.param("key").unwrap_or_default().to_owned();
        let hours = if key == "OPS-2" { json!("5h") } else { json!(5) };
        Response::json(&if request.path == "/issues" {
            json!([
                { "key": "OPS-1", "day": "2024-07-25", "nr": 1, "number": 1 },
                { "key": "OPS-2", "day": "2024-07-25", "nr": "#2", "number": 2 },
            ])
        } else {
            json!([{ "id": 7, "day": "2024-07-25", "hours": hours, "spent": 5 }])
        })
    });
    let file = |number: &str, hours: &str| {
        format!(
            "version: 1
pipeline: own
source: {{ base_url: {} }}
streams:
  issues:
    request: {{ path: /issues }}
    columns:
      key: {{ from: key, type: string }}
      day: {{ from: day, type: date }}
      number: {{ from: {number}, type: int64 }}
    unknown_fields: ignore
    write: {{ merge: {{ key: [key] }} }}
    partition_by: {{ column: day }}
    max_rejected: 10
  log:
    request: {{ path: /log, query: {{ key: '{{{{ parent.issue }}}}' }} }}
    slices: {{ parent: {{ stream: issues, bind: {{ issue: key }} }} }}
    columns:
      issue: {{ from: parent.issue, type: string }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      hours: {{ from: {hours}, type: int64 }}
    unknown_fields: ignore
    write: {{ replace: {{ scope: slice, key: [issue, id], by: {{ issue: parent.issue }} }} }}
    partition_by: {{ column: day }}
    max_rejected: 10
",
            server.url()
        )
    };
    let workspace = Workspace::new();
    let ended = run(&workspace, &file("nr", "hours"), 12, &[]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(workspace.rows("log").len(), 1);

    let right = file("number", "hours");
    let replayed = replay(&workspace, &right, &[]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    assert_eq!(replayed.report()["streams"][0]["followed_by"], json!(["log"]));

    // The child's record does not fit either, and says of which parent it is.
    assert_eq!(run(&workspace, &right, 13, &["--stream", "log"]).code, Some(7));
    let right = file("number", "spent");
    let replayed = replay(&workspace, &right, &[]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    assert_eq!(datasets(&workspace), datasets_of(&right));
}

#[test]
fn a_person_is_told_what_fits_what_stays_and_what_needs_a_run() {
    let mut broken = does_not(3, 1, 7);
    broken["spent"]["hours"] = json!("many");
    let world = world(json!({ "a": [does_not(1, 1, 8), broken], "b": [] }));
    let (server, workspace) = (server(&world), Workspace::new());
    let write = "{ merge: { key: [mode, id] } }";
    run(&workspace, &file(&server, WRONG, write), 12, &[]);
    let right = file(&server, RIGHT, write);
    let told = || {
        let args = ["--replay", "--dry-run"];
        let ended = Ended::of(&workspace.subcommand("quarantine", &right, &args).output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(7), ""));
        let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        ended.stdout.lines().map(cells).collect::<Vec<_>>()
    };

    assert_eq!(
        told(),
        [
            "stream records fit rows added updated unchanged outdated stay",
            "own.log 2 1 1 1 0 0 0 1",
            "",
            "stream column why it stays records",
            "own.log hours expected int64 1",
            "note: own: nothing was changed (`--dry-run`)",
        ]
    );

    let still = world.lock().unwrap()["a"][1].clone();
    *world.lock().unwrap() = json!({ "a": [still], "b": [] });
    assert_eq!(run(&workspace, &right, 13, &[]).code, Some(7));
    assert_eq!(
        told()[1..],
        [
            // The second run's own reject, and the one of the first that did not come again.
            "own.log 2 0 0 0 0 0 0 2",
            "",
            "stream column why it stays records",
            "own.log - the stream was read again since 1",
            "own.log hours expected int64 1",
            "note: own.log: 1 record can only be read again: `tracklake run own --stream log --since DATE`",
            "note: own: nothing was changed (`--dry-run`)",
        ]
    );
}
