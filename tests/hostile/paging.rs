//! Pages that repeat, shrink, move and change their totals while they are read: what is published
//! is what the source has, or the slice fails by name.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};

use crate::{
    TOKEN, after_a_good_run, file, ids,
    support::{
        cli::{Ended, Workspace},
        server::{Request, Response, Server},
    },
};

type Change = fn(&mut Vec<u64>);

/// A list that somebody changes after the first page was read.
fn changing(from: &[u64], change: Change) -> Server {
    let list = Mutex::new((from.to_vec(), Some(change)));
    Server::start(move |request| {
        let Ok(mut state) = list.lock() else { return Response::text(500, "") };
        let (list, change) = &mut *state;
        let answer = part(list, request);
        if let Some(change) = change.take() {
            change(list);
        }
        answer
    })
}

/// A page of two.
fn part(list: &[u64], request: &Request) -> Response {
    let items = list.iter().skip(request.number("offset")).take(2);
    let items: Value = items.map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
    Response::json(&json!({ "items": items, "total": list.len() }))
}

/// The stream becomes what is read, told apart by a key or not at all.
fn yaml(server: &Server, write: &str) -> String {
    file(&server.url())
        .replace(
            "    records: items\n",
            "    records: items\n    paginate: { offset: { size_param: limit, size: 2, total: total } }\n",
        )
        .replace("write: { merge: { key: [id] } }", write)
}

/// The same, with pages asked for one by one, so that their number is known.
fn one_by_one(server: &Server, write: &str) -> String {
    yaml(server, write).replace("max_in_flight: 2", "max_in_flight: 1")
}

const KEYED: &str = "write: { replace: { scope: all, key: [id] } }";
const KEYLESS: &str = "write: { replace: all }";

fn run(workspace: &Workspace, yaml: &str) -> Ended {
    workspace.run(yaml, &["--quiet"], &[("OWN_TOKEN", TOKEN)])
}

#[test]
fn a_list_that_changes_while_it_is_read_is_exported_as_it_is_in_the_end() {
    let cases: [(&str, &[u64], Change); 8] = [
        ("a record comes first", &[1, 2, 3, 4], |list| list.insert(0, 9)),
        ("a record comes last", &[1, 2, 3, 4], |list| list.push(9)),
        ("a page of records comes first", &[1, 2, 3, 4], |list| drop(list.splice(..0, [8, 9]))),
        ("the first record goes", &[1, 2, 3, 4, 5], |list| drop(list.drain(..1))),
        ("the last record goes", &[1, 2, 3, 4, 5], |list| list.truncate(4)),
        ("half of it goes", &[1, 2, 3, 4, 5, 6, 7, 8], |list| drop(list.drain(..4))),
        ("much comes first", &[1, 2, 3, 4], |list| drop(list.splice(..0, [11, 12, 13, 14, 15]))),
        ("all but one go", &[1, 2, 3, 4], |list| list.truncate(1)),
    ];
    for (name, from, change) in cases {
        let mut expected = from.to_vec();
        change(&mut expected);
        expected.sort_unstable();
        for write in [KEYED, KEYLESS] {
            let server = changing(from, change);
            let workspace = Workspace::new();

            let ended = run(&workspace, &yaml(&server, write));

            assert_eq!(ended.code, Some(0), "{name}, {write}: {}", ended.stderr);
            let mut found = ids(&workspace);
            if write == KEYED {
                // What went after it was read is known to have been there; the next run removes it.
                found.retain(|it| expected.contains(it) || !from.contains(it));
            }
            assert_eq!(found, expected, "{name}, {write}: {:?}", server.lines());
        }
    }
}

#[test]
fn an_order_that_changes_is_seen_where_records_have_a_key() {
    let server = changing(&[1, 2, 3, 4], |list| list.swap(1, 2));
    let workspace = Workspace::new();

    let ended = run(&workspace, &yaml(&server, KEYED));

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace), [1, 2, 3, 4]);
}

#[test]
fn a_total_that_never_holds_fails_by_name() {
    for (write, says) in [
        (KEYED, "the API says 5 records, but only 4 different ones came"),
        (KEYLESS, "the API's total moved between 3 and 4 while its pages were read"),
    ] {
        let asked = AtomicUsize::new(0);
        let keyed = write == KEYED;
        let server = Server::start(move |request| {
            let nth = asked.fetch_add(1, SeqCst);
            let items = [1, 2, 3, 4].iter().skip(request.number("offset")).take(2);
            let items: Value = items.map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
            let total = if keyed { 5 - nth % 2 } else { 3 + nth % 2 };
            Response::json(&json!({ "items": items, "total": total }))
        });
        let workspace = after_a_good_run();
        let before = workspace.published();

        let ended = run(&workspace, &one_by_one(&server, write));

        assert_eq!(ended.code, Some(4), "{write}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{write}: {}", ended.stderr);
        assert!(ended.stderr.contains("hint: records moved"), "{write}: {}", ended.stderr);
        assert_eq!(server.lines().len(), 6, "three readings: {:?}", server.lines());
        assert!(workspace.published() == before, "{write}");
    }
}

#[test]
fn a_page_that_comes_again_is_an_error_not_a_loop() {
    for write in [KEYED, KEYLESS] {
        let server = Server::start(|_| {
            let items: Value =
                [1, 2].iter().map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
            Response::json(&json!({ "items": items, "total": 1_000_000 }))
        });
        let workspace = after_a_good_run();
        let before = workspace.published();

        let ended = run(&workspace, &one_by_one(&server, write));

        assert_eq!(ended.code, Some(4), "{write}: {}", ended.stderr);
        assert!(ended.stderr.contains("page 2 came back"), "{write}: {}", ended.stderr);
        assert_eq!(server.lines().len(), 2, "{write}");
        assert!(workspace.published() == before, "{write}");
    }
}

#[test]
fn pages_that_are_shorter_than_asked_for_are_followed_to_the_end() {
    for write in [KEYED, KEYLESS] {
        let server = Server::start(|request| {
            let offset = u64::try_from(request.number("offset")).unwrap_or_default();
            // One, two, one, two: never as many as the page has room for.
            let items = offset + 1..=(offset + 1 + offset % 2).min(7);
            let items: Value = items.map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
            Response::json(&json!({ "items": items, "total": 7 }))
        });
        let workspace = Workspace::new();
        let yaml = yaml(&server, write).replace("size: 2", "size: 50");

        let ended = run(&workspace, &yaml);

        assert_eq!(ended.code, Some(0), "{write}: {}", ended.stderr);
        assert_eq!(ids(&workspace), [1, 2, 3, 4, 5, 6, 7], "{write}");
    }
}

#[test]
fn a_list_without_end_ends_with_the_budget_of_the_run() {
    let server = Server::start(|request| {
        let offset = request.number("offset");
        let items = [offset + 1, offset + 2];
        let items: Value =
            items.iter().map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
        Response::json(&json!({ "items": items, "total": offset + 100 }))
    });
    let workspace = after_a_good_run();
    let before = workspace.published();
    let yaml = yaml(&server, KEYED).replace("timeout_secs: 1", "timeout_secs: 1, max_requests: 50");

    let ended = run(&workspace, &yaml);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("if that never ends"), "{}", ended.stderr);
    assert_eq!(server.lines().len(), 50);
    assert!(workspace.published() == before);
}
