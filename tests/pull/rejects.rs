//! Records that do not fit: left out, counted, told.

use super::*;

#[test]
fn records_that_do_not_fit_are_told_and_left_out() {
    let server = Server::start(misfits(10));
    let dir = own(&server, ITEMS);

    let ended = tracklake(dir.path(), &["pull", "own.yaml", "items", "-o", "x.jsonl"], &[]);

    assert_eq!(ended.code, Some(7), "{ended:?}");
    let text = fs::read_to_string(dir.path().join("x.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 18);
    let expected =
        "note: items: slice `all`, page 1, record 10: column `id`: expected int64, found \"n/a\"
note: items: slice `all`, page 1, record 20: column `id`: expected int64, found \"n/a\"
note: items: 2 records of 20 did not fit and are left out
";
    assert_eq!(ended.stderr, expected);
}

#[test]
fn too_many_records_that_do_not_fit_leave_no_file() {
    let server = Server::start(misfits(1));
    let dir = own(&server, ITEMS);

    let ended = tracklake(dir.path(), &["pull", "own.yaml", "items", "-o", "x.jsonl"], &[]);

    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("20 of 20 records do not fit, 10 are tolerated"), "{ended:?}");
    assert!(!dir.path().join("x.jsonl").exists());
}

#[test]
fn parents_that_do_not_fit_are_told_of_and_what_belongs_to_others_comes() {
    let server = Server::start(|request| {
        if request.path.starts_with("/boxes/") {
            return Response::json(&json!([{"id": 7, "box": 1, "day": "2024-07-25"}]));
        }
        let bad = json!({"id": "two", "key": "K2", "day": "2024-07-25"});
        Response::json(&json!([{"id": 1, "key": "K1", "day": "2024-07-25"}, bad]))
    });
    let dir = own(&server, BOXES);

    let args = ["pull", "own.yaml", "things", "--columns", "box,id"];
    let ended = tracklake(dir.path(), &args, &[]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "box,id\n1,7\n"), "{ended:?}");
    let told =
        "note: things: 1 record of its parents did not fit: nothing that belongs to them is here\n";
    assert_eq!(ended.stderr, told);
}
