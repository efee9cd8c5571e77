//! Pages of one slice that are asked for at once: what arrives is what would arrive one by one, and no
//! request more is sent.

mod support;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// How long a server holds a request for others, which come at once where a test wants them.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long for others that must not come.
const A_WHILE: Duration = Duration::from_millis(200);

const OFFSET: &str = "offset: { size_param: limit, size: 2, total: total }";

/// A pipeline file with one stream in one slice.
fn own(server: &Server, in_flight: usize, paginate: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: {in_flight} }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.01 }}
streams:
  items:
    request: {{ path: /items }}
    records: items
    paginate: {{ {paginate} }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    unknown_fields: ignore
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
",
        server.url()
    )
}

fn record(id: usize) -> Value {
    json!({ "id": id, "day": format!("2024-07-{:02}", 1 + id % 3) })
}

/// The page of a server that has the ids 1 to `total`.
fn page(request: &Request, total: usize) -> Response {
    let (offset, limit) = (request.number("offset"), request.number("limit"));
    let items: Vec<Value> = (offset + 1..=total.min(offset + limit)).map(record).collect();
    Response::json(&json!({ "items": items, "total": total }))
}

fn offset_is(request: &Request, offset: usize) -> bool {
    request.number("offset") == offset
}

#[track_caller]
fn run(yaml: &str, code: i32) -> (Workspace, Ended) {
    let workspace = Workspace::new();
    let ended = workspace.run(yaml, &[], &[]);
    assert_eq!(ended.code, Some(code), "{}\n{yaml}", ended.stderr);
    (workspace, ended)
}

fn ids(workspace: &Workspace) -> Vec<i64> {
    let rows = workspace.rows("items");
    let mut ids: Vec<i64> = rows.iter().filter_map(|it| it["id"].as_i64()).collect();
    ids.sort_unstable();
    ids
}

fn offsets(server: &Server) -> Vec<usize> {
    server.requests().iter().map(|it| it.number("offset")).collect()
}

fn sorted(mut it: Vec<usize>) -> Vec<usize> {
    it.sort_unstable();
    it
}

/// Requests that wait for each other.
#[derive(Default)]
struct Gate {
    now: Mutex<usize>,
    come: Condvar,
    most: AtomicUsize,
}

impl Gate {
    /// Holds a request until so many are here at once, or have been, or the time is over.
    #[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
    fn pass(&self, wanted: usize, patience: Duration) {
        let mut now = self.now.lock().unwrap();
        *now += 1;
        self.most.fetch_max(*now, SeqCst);
        self.come.notify_all();
        let alone = |_: &mut usize| self.most.load(SeqCst) < wanted;
        let (mut now, _) = self.come.wait_timeout_while(now, patience, alone).unwrap();
        *now -= 1;
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

#[test]
fn pages_of_one_slice_are_asked_for_at_once_as_many_as_may_be_in_flight() {
    let gate = Arc::new(Gate::default());
    let server = Server::start({
        let gate = Arc::clone(&gate);
        move |request| {
            // The first one says how many there are.
            if !offset_is(request, 0) {
                gate.pass(4, PATIENCE);
            }
            page(request, 17)
        }
    });

    let (workspace, _) = run(&own(&server, 4, OFFSET), 0);

    assert_eq!(gate.most(), 4);
    assert_eq!(ids(&workspace), (1..=17).collect::<Vec<i64>>());
    assert_eq!(sorted(offsets(&server)), [0, 2, 4, 6, 8, 10, 12, 14, 16], "each page once");
    assert_eq!(offsets(&server)[0], 0);
}

#[test]
fn numbered_pages_are_asked_for_at_once_up_to_the_number_of_them() {
    let gate = Arc::new(Gate::default());
    let server = Server::start({
        let gate = Arc::clone(&gate);
        move |request| {
            let number = request.number("page");
            if number > 1 {
                gate.pass(3, PATIENCE);
            }
            let items: Vec<Value> = (number * 2 - 1..=number * 2).map(record).collect();
            Response::json(&json!({ "items": items, "pages": 5 }))
        }
    });

    let (workspace, _) = run(&own(&server, 3, "page: { total_pages: pages }"), 0);

    assert_eq!(gate.most(), 3);
    assert_eq!(ids(&workspace), (1..=10).collect::<Vec<i64>>());
    let asked = server.requests().iter().map(|it| it.number("page")).collect();
    assert_eq!(sorted(asked), [1, 2, 3, 4, 5]);
}

#[test]
fn pages_at_once_give_the_same_files_as_pages_one_by_one() {
    let served = |in_flight: usize| {
        let failed = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            // One that is asked for ahead of its turn fails, and is asked for again.
            if offset_is(request, 6) && failed.fetch_add(1, SeqCst) == 0 {
                return Response::text(503, "");
            }
            if offset_is(request, 4) || offset_is(request, 8) {
                let bad = json!({ "id": request.number("offset"), "day": "no day" });
                let items = json!([record(request.number("offset") + 1), bad]);
                return Response::json(&json!({ "items": items, "total": 12 }));
            }
            page(request, 12)
        });
        let (workspace, ended) = run(&own(&server, in_flight, OFFSET), 7);
        (workspace, ended.report(), sorted(offsets(&server)))
    };
    let (one_by_one, report, asked) = served(1);
    let (at_once, other, asked_at_once) = served(8);

    assert_eq!(asked, [0, 2, 4, 6, 6, 8, 10], "page 4 twice");
    assert_eq!(asked_at_once, asked);
    assert_eq!(ids(&one_by_one), [1, 2, 3, 4, 5, 7, 8, 9, 11, 12]);
    assert_eq!(datasets(&one_by_one).len(), 6, "three days, in two formats");
    assert!(datasets(&at_once) == datasets(&one_by_one), "other bytes");
    let bad = |id: usize| format!("{{\"id\":{id},\"day\":\"no day\"}}");
    assert_eq!(quarantined(&one_by_one), [json!([3, 1, bad(4)]), json!([5, 1, bad(8)])]);
    assert_eq!(quarantined(&at_once), quarantined(&one_by_one));
    for name in ["requests", "retries", "pages", "records", "rejected", "first_reject"] {
        let of = |report: &Value| report["streams"][0][name].clone();
        assert_ne!(of(&report), Value::Null, "{name}");
        assert_eq!(of(&other), of(&report), "{name}");
    }
}

/// The files that readers see.
fn datasets(workspace: &Workspace) -> BTreeMap<String, Vec<u8>> {
    let mut files = workspace.files();
    files.retain(|path, _| path.starts_with("parquet/") || path.starts_with("csv/"));
    files
}

/// What did not fit, and where it stood.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn quarantined(workspace: &Workspace) -> Vec<Value> {
    let files = workspace.files().into_iter().filter(|(path, _)| path.contains("quarantine"));
    let text: String = files.map(|(_, text)| String::from_utf8(text).unwrap()).collect();
    let rejects = text.lines().map(|it| serde_json::from_str(it).unwrap());
    rejects
        .map(|it: Value| ["page", "position", "raw"].map(|name| it[name].clone()).into())
        .collect()
}

#[test]
fn a_total_that_changes_while_pages_are_read_is_followed() {
    // Records come at the end: the pages after the first say so.
    let server = Server::start(|request| page(request, if offset_is(request, 0) { 6 } else { 11 }));
    let (workspace, _) = run(&own(&server, 8, OFFSET), 0);
    assert_eq!(ids(&workspace), (1..=11).collect::<Vec<i64>>());
    assert_eq!(sorted(offsets(&server)), [0, 2, 4, 6, 8, 10], "each page once");

    // Records go: fewer came than were promised, so that they are all read again.
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        page(request, if asked.fetch_add(1, SeqCst) == 0 { 20 } else { 6 })
    });
    let (workspace, _) = run(&own(&server, 4, OFFSET), 0);
    assert_eq!(ids(&workspace), [1, 2, 3, 4, 5, 6]);
    // Of what was promised only what is in flight at once was asked for in vain.
    assert!(offsets(&server).iter().all(|it| *it <= 10), "{:?}", offsets(&server));
}

#[test]
fn a_page_that_is_not_full_leads_to_the_next_record_and_to_pages_one_by_one() {
    // The third page has one record, and is held until the one after it was asked for, too.
    let gate = Gate::default();
    let server = Server::start(move |request| {
        let offset = request.number("offset");
        if [4, 6].contains(&offset) {
            gate.pass(2, PATIENCE);
        }
        let items: Vec<Value> = if offset == 4 {
            vec![record(5)]
        } else {
            vec![record(offset + 1), record(offset + 2)]
        };
        let items: Vec<&Value> = items.iter().filter(|it| it["id"].as_u64() <= Some(21)).collect();
        Response::json(&json!({ "items": items, "total": 21 }))
    });

    let (workspace, _) = run(&own(&server, 4, OFFSET), 0);

    assert_eq!(ids(&workspace), (1..=21).collect::<Vec<i64>>());
    let asked: HashSet<usize> = offsets(&server).into_iter().collect();
    let needed = [0, 2, 4, 5, 7, 9, 11, 13, 15, 17, 19];
    assert!(needed.iter().all(|it| asked.contains(it)), "{asked:?}");
    let mut in_vain: Vec<&usize> = asked.iter().filter(|it| !needed.contains(it)).collect();
    in_vain.sort_unstable();
    assert!(in_vain.iter().all(|it| [6, 8, 10].contains(*it)), "{in_vain:?}");
    assert!(in_vain.contains(&&6), "{in_vain:?}");
}

#[test]
fn pages_that_are_too_large_are_asked_for_again_smaller_and_then_at_once_again() {
    let gate = Arc::new(Gate::default());
    let server = Server::start({
        let gate = Arc::clone(&gate);
        move |request| {
            let (offset, limit) = (request.number("offset"), request.number("limit"));
            if limit > 2 && (8..16).contains(&offset) {
                return Response::text(413, "");
            }
            if limit == 2 && offset > 8 {
                gate.pass(4, PATIENCE);
            }
            page(request, 32)
        }
    });
    let paginate = "offset: { size_param: limit, size: 4, total: total }";

    let (workspace, ended) = run(&own(&server, 4, paginate), 0);

    assert_eq!(ids(&workspace), (1..=32).collect::<Vec<i64>>());
    assert_eq!(ended.report()["streams"][0]["smaller_pages"], 1);
    assert_eq!(gate.most(), 4);
}

#[test]
fn an_error_of_a_page_ends_the_slice_when_it_is_its_turn() {
    let server = Server::start(|request| match request.number("offset") {
        4 => Response::text(400, "page three"),
        6 => Response::text(400, "page four"),
        _ => page(request, 2000),
    });

    let (_, ended) = run(&own(&server, 8, OFFSET), 4);

    assert!(ended.stderr.contains("page three"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("page four"), "{}", ended.stderr);
    assert!(offsets(&server).len() <= 11, "{:?}", offsets(&server));
}

#[test]
fn a_server_that_ignores_the_offset_is_asked_no_more_than_may_be_in_flight() {
    let server = Server::start(|_| {
        Response::json(&json!({ "items": [record(1), record(2)], "total": 1_000_000 }))
    });

    let (_, ended) = run(&own(&server, 4, OFFSET), 4);

    assert!(ended.stderr.contains("page 2 came back"), "{}", ended.stderr);
    assert!(offsets(&server).len() <= 1 + 4, "{:?}", offsets(&server));
}

#[test]
fn the_last_requests_of_a_budget_are_asked_one_by_one() {
    let budget = |max_requests: usize| {
        let gate = Arc::new(Gate::default());
        let server = Server::start({
            let gate = Arc::clone(&gate);
            move |request| {
                gate.pass(2, A_WHILE);
                page(request, 12)
            }
        });
        let limits = format!("max_in_flight: 4, max_requests: {max_requests}");
        let yaml = own(&server, 4, OFFSET).replace("max_in_flight: 4", &limits);
        (run(&yaml, if max_requests < 6 { 7 } else { 0 }), server, gate.most())
    };

    let ((workspace, _), server, most) = budget(6);
    assert_eq!(ids(&workspace), (1..=12).collect::<Vec<i64>>());
    assert!(most <= 4, "{most}");
    assert_eq!(server.lines().len(), 6);

    let (_, server, most) = budget(5);
    assert_eq!(offsets(&server), [0, 2, 4, 6, 8]);
    assert_eq!(most, 1);
}

#[test]
fn pages_without_a_total_are_asked_for_one_by_one() {
    let gate = Arc::new(Gate::default());
    let server = Server::start({
        let gate = Arc::clone(&gate);
        move |request| {
            gate.pass(2, A_WHILE);
            page(request, 9)
        }
    });

    let (workspace, _) = run(&own(&server, 8, "offset: { size_param: limit, size: 2 }"), 0);

    assert_eq!(gate.most(), 1);
    assert_eq!(ids(&workspace), (1..=9).collect::<Vec<i64>>());
    assert_eq!(offsets(&server), [0, 2, 4, 6, 8, 9]);
}
