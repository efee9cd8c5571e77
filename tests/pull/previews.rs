//! What `preview` shows, and what it makes of what a server sends.

use super::*;

/// What a preview prints, without the server's port.
fn preview(server: &Server, dir: &Path, args: &[&str], columns: &str) -> Ended {
    let args = [&["preview", "own.yaml", "items"][..], args].concat();
    let ended = tracklake(dir, &args, &[("COLUMNS", columns)]);
    let stdout = ended.stdout.replace(&server.url(), "http://host");
    Ended { stdout, ..ended }
}

#[test]
fn a_preview_shows_rows_types_nulls_rejects_and_the_request_without_secrets() {
    let server = Server::start(misfits(10));
    let dir = own(&server, ITEMS);

    let ended = preview(&server, dir.path(), &[], "80");

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(7), ""));
    insta::assert_snapshot!(ended.stdout, @r#"
    own.items: 18 rows of 20 records, 1 request
    request: GET http://host/items?page=1&size=3
      X-Key: ***

    column  type       nulls  1           2           3
    id      int64        0 %  1           2           3
    name    string       0 %  ***         ***         ***
    day     date         0 %  2024-07-25  2024-07-25  2024-07-25
    at      timestamp  100 %  ·           ·           ·
    _extra  json       100 %  ·           ·           ·
    (room for 3 rows of 10 beside each other)

    2 records of 20 did not fit:
      slice `all`, page 1, record 10: column `id`: expected int64, found "n/a"
        {"id":"n/a","name":"***","day":"2024-07-25"}
      slice `all`, page 1, record 20: column `id`: expected int64, found "n/a"
        {"id":"n/a","name":"***","day":"2024-07-25"}
    "#);
}

#[test]
fn a_preview_is_not_wider_than_a_terminal_of_40_columns() {
    let server = Server::start(items(1000));
    let dir = own(&server, ITEMS);

    let ended = preview(&server, dir.path(), &["--limit", "2"], "40");

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(ended.stdout, @r#"
    own.items: 3 rows of 3 records, 1 request
    request: GET http://host/items?page=1&size=3
      X-Key: ***

    column  1                2
    id      3                4
    name    工工工工工工工…  工工工工工工工…
    day     2024-07-25       2024-07-25
    at      2024-07-25T10:…  2024-07-25T10:…
    _extra  ·                ·

    column  type       nulls
    id      int64        0 %
    name    string       0 %
    day     date         0 %
    at      timestamp    0 %
    _extra  json       100 %
    "#);
    assert_eq!(server.lines().len(), 1, "{:?}", server.lines());
}

#[test]
fn a_preview_that_fails_shows_the_request_and_why() {
    let server = Server::start(|_| Response::status(500, &json!({"reason": "k3y-of-mine"})));
    let dir = own(&server, ITEMS);

    let ended = preview(&server, dir.path(), &[], "80");

    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(
        ended.stdout.contains("request: GET http://host/items?page=1&size=3"),
        "{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("answers with status 500"), "{}", ended.stderr);
    assert!(!format!("{ended:?}").contains("k3y-of-mine"), "{ended:?}");
}

#[test]
fn a_column_is_named_once_and_by_its_name() {
    let server = Server::start(items(1));
    let dir = own(&server, ITEMS);
    for (columns, why) in [
        ("id,id", "expected each column once"),
        ("day,id,day", "expected each column once"),
        ("", "expected names of columns with a comma between each two"),
        ("id,", "expected names of columns with a comma between each two"),
    ] {
        let args = ["pull", "own.yaml", "items", "--columns", columns];
        let ended = tracklake(dir.path(), &args, &[]);

        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{columns}");
        let expected = format!("`--columns {columns}` cannot be read: {why}");
        assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    }
    assert!(server.lines().is_empty());
}

#[test]
fn nothing_that_a_server_sends_is_obeyed_by_a_terminal() {
    let server = Server::start(|_| {
        let id = "\u{9b}31m\u{202e}dne\u{1b}]0;title\u{7}";
        let record = json!({"id": id, "name": id, "day": "2024-07-25"});
        Response::json(&json!({"items": [record, {"id": 1, "name": id}], "more": false}))
    });
    let dir = own(&server, &ITEMS.replace("paginate:", "max_rejected: 50%\n    paginate:"));
    let obeyed = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';

    let shown = tracklake(dir.path(), &["preview", "own.yaml"], &[]);
    let pulled = tracklake(dir.path(), &["pull", "own.yaml", "items", "-o", "a.csv"], &[]);
    let run = tracklake(dir.path(), &["run", "own.yaml"], &[]);
    let kept = tracklake(dir.path(), &["quarantine", "own.yaml"], &[]);
    for ended in [shown, pulled, run, kept] {
        for text in [&ended.stdout, &ended.stderr] {
            assert!(!text.contains(obeyed), "{text:?}");
        }
        let both = format!("{}{}", ended.stdout, ended.stderr);
        assert!(both.contains("did not fit") || both.contains(r"\u{9b}31m\u{202e}dne"), "{both}");
    }

    // A program gets what the server sent.
    let kept = tracklake(dir.path(), &["quarantine", "own.yaml", "--json"], &[]);
    let line: Value = serde_json::from_str(kept.stdout.lines().next().unwrap()).unwrap();
    assert!(line["raw"].as_str().unwrap().contains('\u{202e}'), "{line}");
}
