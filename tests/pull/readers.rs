//! Who takes the rows: one who reads along and may have enough, a file, a pipe with a name, a link.

use super::*;

#[test]
fn a_reader_that_has_enough_ends_the_pull_without_an_error() {
    let server = Server::start(items(100_000));
    let dir = own(&server, ITEMS);
    let args = ["pull", "own.yaml", "items", "--columns", "id"];
    let mut child = command(dir.path(), &args, &[]).spawn().unwrap();

    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "id");
    assert_eq!(lines.next().unwrap().unwrap(), "3");
    drop(lines);
    let ended = Ended::of(&child.wait_with_output().unwrap());

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(server.lines().len() < 50_000, "it went on");
}

#[test]
fn a_reader_that_goes_ends_the_requests_at_once() {
    let (asked, first) = std::sync::mpsc::channel::<()>();
    let (over, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Mutex::new(end);
    let server = Server::start(move |request| {
        let _ = asked.send(());
        // No answer comes, whose rows could not be written.
        let _ = end.lock().unwrap().recv();
        items(1)(request)
    });
    let dir = own(&server, ITEMS);
    for args in [
        &["pull", "own.yaml", "items"][..],
        &["preview", "own.yaml", "items"],
        &["read", "own.yaml", "items", "--slice", "{}"],
    ] {
        let mut child = command(dir.path(), args, &[]).spawn().unwrap();
        first.recv().unwrap();
        drop(child.stdout.take());
        let ended = Ended::of(&child.wait_with_output().unwrap());

        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    drop(over);
}

/// What is left unread may fit: no limit on rejects is asked.
#[test]
fn a_reader_that_goes_is_told_of_rejects_but_not_that_they_are_too_many() {
    let (over, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Mutex::new(end);
    let server = Server::start(move |request| {
        if request.number("page") > 1 {
            let _ = end.lock().unwrap().recv();
        }
        let record = |id: Value| json!({ "id": id, "name": "n", "day": "2024-07-25" });
        Response::json(&json!({ "items": [record(json!(1)), record(json!("x"))], "more": true }))
    });
    let dir = own(&server, &format!("{ITEMS}    max_rejected: 0\n"));
    let args = ["pull", "own.yaml", "items", "--columns", "id"];
    let mut child = command(dir.path(), &args, &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.by_ref().take(2).map(Result::unwrap).collect::<Vec<_>>(), ["id", "1"]);
    drop(lines);

    let ended = Ended::of(&child.wait_with_output().unwrap());
    drop(over);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(!ended.stderr.contains("error:"), "{}", ended.stderr);
}

#[test]
fn a_file_is_there_only_when_it_is_complete() {
    let server = Server::start(|request| match request.number("page") {
        0 | 1 => items(2)(request),
        _ => Response::status(500, &json!({})),
    });
    let dir = own(&server, ITEMS);
    file(dir.path(), "old.csv", "of before");
    let before = everything(dir.path());

    for file in ["new.parquet", "old.csv"] {
        let ended = tracklake(dir.path(), &["pull", "own.yaml", "items", "-o", file], &[]);
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.stderr.contains("1 of 1 slices could not be read"), "{}", ended.stderr);
    }

    assert_eq!(everything(dir.path()), before);
}

#[test]
fn a_complete_file_takes_the_place_of_the_one_before() {
    let server = Server::start(items(1));
    let dir = own(&server, ITEMS);
    file(dir.path(), "old.csv", "of before");

    let args = ["pull", "own.yaml", "items", "-o", "old.csv", "--columns", "at,id"];
    let ended = tracklake(dir.path(), &args, &[]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    let at = "2024-07-25T10:00:00.000000Z";
    let text = fs::read_to_string(dir.path().join("old.csv")).unwrap();
    assert_eq!(text, format!("at,id\n{at},3\n{at},4\n{at},5\n"));
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// Makes a pipe with a name, and reads it to its end on a thread.
fn pipe(path: &Path) -> std::thread::JoinHandle<String> {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
    let path = path.to_owned();
    std::thread::spawn(move || fs::read_to_string(path).unwrap())
}

#[test]
fn a_pipe_with_a_name_takes_the_rows_and_stays_a_pipe() {
    use std::os::unix::fs::FileTypeExt as _;
    let server = Server::start(items(1));
    let dir = own(&server, ITEMS);
    let path = dir.path().join("rows.csv");
    let read = pipe(&path);

    let args = ["pull", "own.yaml", "items", "-o", "rows.csv", "--columns", "id"];
    let ended = tracklake(dir.path(), &args, &[]);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    // Looked at first: nobody else would let the reader go.
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(read.join().unwrap(), "id\n3\n4\n5\n");
}

#[test]
fn a_reader_of_a_pipe_with_a_name_may_have_enough() {
    let server = Server::start(items(100_000));
    let dir = own(&server, ITEMS);
    let path = dir.path().join("rows.csv");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let first = std::thread::spawn(move || {
        BufReader::new(File::open(path).unwrap()).lines().next().unwrap().unwrap()
    });

    let args = ["pull", "own.yaml", "items", "-o", "rows.csv", "--columns", "id"];
    let ended = tracklake(dir.path(), &args, &[]);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(first.join().unwrap(), "id");
    assert!(server.lines().len() < 50_000, "it went on");
}

#[test]
fn a_link_is_followed_and_stays() {
    let server = Server::start(items(1));
    let dir = own(&server, ITEMS);
    let path = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink("real/rows.csv", path("link.csv")).unwrap();
    std::os::unix::fs::symlink("link.csv", path("second.csv")).unwrap();
    let made = Command::new("mkdir").arg(path("real")).status().unwrap();
    assert!(made.success());

    // First the target is not there yet, then it is replaced.
    for columns in ["id", "day"] {
        let args = ["pull", "own.yaml", "items", "-o", "second.csv", "--columns", columns];
        let ended = tracklake(dir.path(), &args, &[]);

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let rows = fs::read_to_string(path("real/rows.csv")).unwrap();
        assert_eq!(rows.lines().next(), Some(columns));
        for link in ["link.csv", "second.csv"] {
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(fs::read_dir(path("real")).unwrap().count(), 1, "nothing else is left");
    }
}
