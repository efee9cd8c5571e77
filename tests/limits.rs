//! How much a run asks for, how fast and until when: page sizes that give way, waits that the server
//! asks for, and budgets that end a run so that the next one goes on.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// A pipeline file with lines of its own in `limits`, in `retry`, and in its streams.
fn own(server: &Server, limits: &str, retry: &str, streams: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1, max_response_mb: 1{limits} }}
  retry: {{ max_attempts: 2{retry} }}
streams:
{streams}",
        server.url()
    )
}

const SOON: &str = ", max_delay_secs: 0.01";

/// A stream of records with an id and a day.
fn stream(name: &str, lines: &str) -> String {
    format!(
        "  {name}:
{lines}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
    )
}

fn record(id: usize) -> Value {
    json!({ "id": id, "day": "2024-07-25" })
}

fn records(ids: impl IntoIterator<Item = usize>) -> Value {
    ids.into_iter().map(record).collect()
}

#[track_caller]
fn run(yaml: &str, code: i32) -> (Workspace, Ended) {
    let workspace = Workspace::new();
    let ended = workspace.run(yaml, &[], &[]);
    assert_eq!(ended.code, Some(code), "{}\n{yaml}", ended.stderr);
    (workspace, ended)
}

fn ids(workspace: &Workspace, stream: &str) -> Vec<u64> {
    let mut ids: Vec<u64> =
        workspace.rows(stream).iter().filter_map(|it| it["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

// ---- Totals that are too large

/// A stream of one window of some years, cut as finely as a second.
fn years(server: &Server, paginate: &str) -> String {
    let lines = format!(
        "    slices: {{ window: {{ from: 2014-01-01, format: rfc3339, start_param: from, end_param: to }} }}
    request: {{ path: /items }}
    records: items
    paginate: {{ page: {{ {paginate} }} }}"
    );
    own(server, "", SOON, &stream("items", &lines))
}

const BLIND: &str = "hint: the total may not follow the window";

#[test]
fn a_total_that_is_the_same_in_every_window_fails_by_name_instead_of_being_cut_for_ever() {
    let server = Server::start(|_| Response::json(&json!({ "items": [], "total": 1 })));

    let (_, ended) = run(&years(&server, "total: total"), 4);

    assert!(
        ended.stderr.contains("the API says 1 records here and in a window twice as long"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(BLIND), "{}", ended.stderr);
    assert_eq!(server.lines().len(), 6, "the window and its halves, twice each");
}

#[test]
fn a_total_that_is_one_too_large_in_every_window_is_not_followed_for_ever() {
    // Two records a month for eight years, and one more that never comes.
    let days: Vec<String> = (0..8 * 12 * 2)
        .map(|it| format!("{}-{:02}-{:02}", 2015 + it / 24, it / 2 % 12 + 1, it % 2 * 14 + 1))
        .collect();
    let server = Server::start(move |request| {
        let window = request.param("from").unwrap()..=request.param("to").unwrap();
        let found = days.iter().enumerate().filter(|(_, day)| window.contains(&day.as_str()));
        let items: Vec<_> = found.map(|(id, day)| json!({ "id": id, "day": day })).collect();
        let items = if request.number("page") > 1 { Vec::new() } else { items };
        let total = items.len() + 1;
        Response::json(&json!({ "items": items, "total": total }))
    });

    let (_, ended) = run(&years(&server, "total: total"), 4);

    assert!(ended.stderr.contains(BLIND), "{}", ended.stderr);
    // 64 cuts make 129 windows, of two pages each, read twice.
    assert!(server.lines().len() <= 516, "{}", server.lines().len());
}

#[test]
fn a_cap_that_every_window_runs_into_is_not_followed_for_ever() {
    let server =
        Server::start(|_| Response::json(&json!({ "items": records([1, 2]), "total": 10_000 })));

    let (_, ended) = run(&years(&server, "total: total, cap: 10000"), 4);

    // Windows are followed to the shortest that the API can say before cuts are given up.
    assert!(ended.stderr.contains("the API counts 10000 records here"), "{}", ended.stderr);
    // 500 cuts make 1 001 windows.
    assert_eq!(server.lines().len(), 1001);
}

// ---- Pages that are too large

type Refusal = fn() -> Response;

/// An API with `total` records that gives no more than `most` at once, and says so as `refusal` does.
fn no_more_than(most: usize, total: usize, refusal: Refusal) -> Server {
    Server::start(move |request| {
        let (offset, size) = (request.number("offset"), request.number("limit"));
        if size > most {
            return refusal();
        }
        if offset % size != 0 {
            return Response::status(400, &json!({ "error_code": "PM.02174103" }));
        }
        let items = records(offset + 1..=total.min(offset + size));
        Response::json(&json!({ "items": items, "total": total }))
    })
}

fn by_offset(server: &Server, size: usize) -> String {
    let lines = format!(
        "    request: {{ path: /items }}
    records: items
    paginate: {{ offset: {{ size_param: limit, size: {size}, total: total, multiple_of_size: true }} }}"
    );
    own(server, "", SOON, &stream("items", &lines))
}

#[test]
fn a_page_that_is_too_large_is_halved_until_it_comes_whatever_says_so() {
    let too_large = || Response::text(200, vec![b' '; 2 << 20]);
    let refusals: [(&str, Refusal); 3] = [
        ("413", || Response::text(413, "Payload Too Large")),
        ("504", || Response::text(504, "Gateway Timeout")),
        ("larger than 1 MiB", too_large),
    ];
    for (reason, refusal) in refusals {
        let server = no_more_than(20, 60, refusal);

        let (workspace, ended) = run(&by_offset(&server, 100), 0);

        assert_eq!(ids(&workspace, "items"), up_to(60));
        assert_eq!(
            server.lines(),
            [
                "GET /items?offset=0&limit=100",
                "GET /items?offset=0&limit=50",
                "GET /items?offset=0&limit=25",
                "GET /items?offset=0&limit=12",
                "GET /items?offset=12&limit=12",
                "GET /items?offset=24&limit=12",
                "GET /items?offset=36&limit=12",
                "GET /items?offset=48&limit=12",
            ],
            "{reason}"
        );
        let items = &ended.report()["streams"][0];
        assert_eq!((&items["smaller_pages"], &items["slices"]["complete"]), (&json!(3), &json!(1)));
        assert!(ended.stderr.contains("smaller pages"), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    }
}

#[test]
fn an_offset_stays_a_multiple_of_the_size_where_pages_shrink_on_the_way() {
    // The third page has a record that alone is larger than a body may be with two others.
    let server = Server::start(|request| {
        let (offset, size) = (request.number("offset"), request.number("limit"));
        if offset % size != 0 {
            return Response::status(400, &json!({ "error_code": "PM.02174103" }));
        }
        let page = offset + 1..=25.min(offset + size);
        if page.contains(&23) && size > 2 {
            return Response::text(413, "");
        }
        Response::json(&json!({ "items": records(page), "total": 25 }))
    });

    let (workspace, _) = run(&by_offset(&server, 9), 0);

    assert_eq!(ids(&workspace, "items"), up_to(25));
    let asked: Vec<(usize, usize)> =
        server.requests().iter().map(|it| (it.number("offset"), it.number("limit"))).collect();
    let expected = [(0, 9), (9, 9), (18, 9), (18, 3), (21, 3), (21, 1), (22, 1), (23, 1), (24, 1)];
    assert_eq!(asked, expected);
}

#[test]
fn numbered_pages_go_on_at_the_same_record() {
    let server = Server::start(|request| {
        let (page, size) = (request.number("page"), request.number("per_page"));
        let first = (page - 1) * size;
        if first >= 20 && size > 3 {
            return Response::text(413, "");
        }
        Response::json(&records(first + 1..=26.min(first + size)))
            .header("X-Total-Pages", &26_usize.div_ceil(size))
    });
    let lines = "    request: { path: /items }
    paginate: { page: { size_param: per_page, size: 10, total_pages_header: X-Total-Pages } }";

    let (workspace, _) = run(&own(&server, "", SOON, &stream("items", lines)), 0);

    assert_eq!(ids(&workspace, "items"), up_to(26));
    let asked: Vec<(usize, usize)> =
        server.requests().iter().map(|it| (it.number("page"), it.number("per_page"))).collect();
    // 20 records in: page 3 of 10 is page 5 of 5, and page 11 of 2.
    assert_eq!(asked, [(1, 10), (2, 10), (3, 10), (5, 5), (11, 2), (12, 2), (13, 2)]);
}

#[test]
fn links_with_the_size_in_them_are_followed_again_from_the_first() {
    let server = Server::start(|request| {
        let size = request.number("size");
        let after = request.number("after");
        if after >= 4 && size > 2 {
            return Response::text(413, "");
        }
        let last = 6.min(after + size);
        let response = Response::json(&records(after + 1..=last));
        if last == 6 {
            return response;
        }
        response.header("Link", &format!("</items?size={size}&after={last}>; rel=next"))
    });
    let lines = "    request: { path: /items }
    paginate: { link: { size_param: size, size: 4 } }";

    let (workspace, ended) = run(&own(&server, "", SOON, &stream("items", lines)), 0);

    assert_eq!(ids(&workspace, "items"), up_to(6));
    assert_eq!(
        server.lines(),
        [
            "GET /items?size=4",
            "GET /items?size=4&after=4",
            "GET /items?size=2",
            "GET /items?size=2&after=2",
            "GET /items?size=2&after=4",
        ]
    );
    assert_eq!(ended.report()["streams"][0]["rows"], 6);
}

#[test]
fn a_record_that_is_too_large_by_itself_fails_by_name() {
    let server = no_more_than(0, 1, || Response::text(413, "Payload Too Large"));

    let (_, ended) = run(&by_offset(&server, 5), 4);

    assert_eq!(server.lines().len(), 3, "sizes 5, 2 and 1");
    assert!(ended.stderr.contains("answers with status 413"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: ask for smaller pages"), "{}", ended.stderr);
}

/// A scroll whose one token leads to page after page: the server counts the pages itself.
#[test]
fn a_page_of_a_scroll_that_got_lost_is_not_left_out() {
    let pages = AtomicUsize::new(0);
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.param("scroll").is_none() {
            pages.store(0, SeqCst);
        }
        let page = pages.fetch_add(1, SeqCst);
        let ids = page * 2 + 1..=(page * 2 + 2).min(6);
        let response = Response::json(&records(ids)).header("X-Scroll", "s1");
        // The second page breaks off on its way: for the server it was given.
        if asked.fetch_add(1, SeqCst) == 1 { response.cut() } else { response }
    });
    let lines = "    request: { path: /items }
    paginate: { token: { header: X-Scroll, param: scroll, end_on_empty_page: true, may_repeat: true } }";

    let (workspace, _) = run(&own(&server, "", SOON, &stream("items", lines)), 0);

    assert_eq!(ids(&workspace, "items"), up_to(6));
    let first = server.lines().iter().filter(|it| *it == "GET /items").count();
    assert_eq!(first, 2, "{:?}", server.lines());
}

// ---- Waits that the server asks for

fn one_page(server: &Server, limits: &str, retry: &str) -> String {
    own(server, limits, retry, &stream("items", "    request: { path: /items }"))
}

/// Answers the first request as given, later ones with a record.
fn at_first(first: impl Fn() -> Response + Send + Sync + 'static) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => first(),
        _ => Response::json(&records([1])),
    })
}

#[test]
fn a_wait_within_the_longest_is_taken_and_told() {
    let server = at_first(|| Response::text(429, "").header("Retry-After", "1"));

    let started = Instant::now();
    let (workspace, ended) = run(&one_page(&server, "", ", max_delay_secs: 30"), 0);

    assert!(started.elapsed() >= Duration::from_secs(1), "it came back too early");
    assert_eq!(ids(&workspace, "items"), [1]);
    assert!(ended.stderr.contains("rate limit: resumes at 2"), "{}", ended.stderr);
    assert!(ended.stderr.contains(" UTC"), "{}", ended.stderr);
}

#[test]
fn a_wait_longer_than_the_longest_is_not_cut_short() {
    let server = at_first(|| Response::text(429, "slow down").header("Retry-After", "86400"));

    let (_, ended) = run(&one_page(&server, "", ", max_delay_secs: 5"), 4);

    assert_eq!(server.lines().len(), 1, "it asked again before it was allowed to");
    let shown = &ended.stderr;
    assert!(
        shown.contains("/items` asks with status 429 to wait 24 h: it resumes at 2"),
        "{shown}"
    );
    assert!(shown.contains("`retry.max_delay_secs` allows 5 s"), "{shown}");
    assert!(shown.contains("hint: run again after that time"), "{shown}");
}

#[test]
fn after_a_long_wait_is_asked_for_nothing_else_is_asked_and_the_next_run_reads_the_rest() {
    let is_busy = Arc::new(AtomicUsize::new(1));
    let busy = Arc::clone(&is_busy);
    let server = Server::start(move |request| match request.param("from") {
        Some(from @ ("2024-07-24" | "2024-07-25")) if busy.load(SeqCst) == 1 => {
            let retry_after =
                if from.ends_with('4') { "Fri, 31 Dec 2399 23:59:59 GMT" } else { "0" };
            Response::text(503, "").header("Retry-After", retry_after)
        }
        day => Response::json(&json!([day_record(day.unwrap_or_default())])),
    });
    let yaml = own(&server, "", ", max_delay_secs: 5", &days());
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(ids(&workspace, "items"), [21, 22, 23]);
    assert_eq!(server.lines().len(), 4, "{:?}", server.lines());
    assert!(ended.stderr.contains("2 of 5 slices could not be read"), "{}", ended.stderr);
    assert!(ended.stderr.contains("it resumes at 2399-12-31 23:59:"), "{}", ended.stderr);

    is_busy.store(0, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace, "items"), [21, 22, 23, 24, 25]);
}

#[test]
fn a_wait_on_a_success_is_not_taken() {
    let server = Server::start(|_| Response::json(&records([1])).header("Retry-After", "86400"));

    run(&one_page(&server, "", SOON), 0);

    assert_eq!(server.lines().len(), 1);
}

const RATE_HEADERS: &str = ", rate_headers: { remaining: X-RateLimit-Remaining, reset: X-RateLimit-Reset, reset_format: delta_s }";

/// What a refusal says of a limit.
type Limit = fn(Response) -> Response;

/// Two parents with a child each. The child of the second is refused with 403 by `refusal` while
/// `is_limited` is above 0.
fn limited_child(refusal: Limit) -> (Server, Arc<AtomicUsize>) {
    let is_limited = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&is_limited);
    let server = Server::start(move |request| {
        let is_limited = || left.fetch_update(SeqCst, SeqCst, |it| it.checked_sub(1)).is_ok();
        match request.path.as_str() {
            "/parents" => Response::json(&records([1, 2])),
            "/parents/2/items" if is_limited() => {
                refusal(Response::status(403, &json!({ "message": "rate limit exceeded" })))
            }
            path => Response::json(&records([if path.contains('2') { 20 } else { 10 }])),
        }
    });
    (server, is_limited)
}

fn parents_and_items(server: &Server, limits: &str) -> String {
    let parents = stream("parents", "    request: { path: /parents }");
    let items = stream(
        "items",
        "    slices: { parent: { stream: parents, bind: { id: id } } }
    request: { path: '/parents/{{ parent.id }}/items' }",
    );
    own(server, limits, ", max_delay_secs: 30", &format!("{parents}{items}"))
}

#[test]
fn a_403_of_a_rate_limit_is_asked_again_and_no_lost_access() {
    let refusals: [(&str, Limit); 3] = [
        ("", |it| it.header("Retry-After", "1")),
        ("", |it| it.header("Retry-After", "0")),
        (RATE_HEADERS, |it| {
            it.header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "1")
        }),
    ];
    for (limits, refusal) in refusals {
        let (server, is_limited) = limited_child(refusal);
        is_limited.store(1, SeqCst);

        let (workspace, ended) = run(&parents_and_items(&server, limits), 0);

        assert_eq!(ids(&workspace, "items"), [10, 20]);
        assert!(!ended.stderr.contains("access is lost"), "{}", ended.stderr);
    }
}

#[test]
fn a_403_of_a_rate_limit_that_stays_is_left_for_the_next_run() {
    let (server, is_limited) = limited_child(|it| it.header("Retry-After", "0"));
    is_limited.store(usize::MAX, SeqCst);
    let yaml = parents_and_items(&server, "");
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("rate limit exceeded"), "{}", ended.stderr);
    assert_eq!(ids(&workspace, "items"), [10]);

    is_limited.store(0, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace, "items"), [10, 20]);
}

/// Two pages; the first uses up what the server gives.
fn used_up(reset: &'static str) -> Server {
    Server::start(move |request| match request.param("after") {
        None => Response::json(&json!({ "items": records([1]), "next": "a" }))
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", reset),
        Some(_) => Response::json(&json!({ "items": records([2]) })),
    })
}

fn two_pages(server: &Server, limits: &str, retry: &str) -> String {
    let lines = "    request: { path: /items }
    records: items
    paginate: { token: { body: next, param: after } }";
    own(server, limits, retry, &stream("items", lines))
}

#[test]
fn a_used_up_limit_is_waited_for_where_its_headers_are_declared() {
    let server = used_up("1");

    let started = Instant::now();
    let (workspace, ended) = run(&two_pages(&server, RATE_HEADERS, ", max_delay_secs: 30"), 0);

    assert!(started.elapsed() >= Duration::from_secs(1), "it came back too early");
    assert_eq!(ids(&workspace, "items"), [1, 2]);
    assert!(ended.stderr.contains("rate limit: resumes at 2"), "{}", ended.stderr);
    assert_eq!(ended.report()["streams"][0]["retries"], 0, "nothing failed");
}

#[test]
fn a_limit_that_is_not_declared_is_not_waited_for() {
    let server = used_up("86400");

    let (workspace, _) = run(&two_pages(&server, "", SOON), 0);

    assert_eq!(ids(&workspace, "items"), [1, 2]);
}

#[test]
fn a_limit_that_is_used_up_for_too_long_ends_what_needs_more() {
    let server = used_up("7200");

    let (_, ended) = run(&two_pages(&server, RATE_HEADERS, ", max_delay_secs: 30"), 4);

    assert_eq!(server.lines().len(), 1);
    assert!(ended.stderr.contains("to wait 2 h: it resumes at 2"), "{}", ended.stderr);
}

// ---- Requests at once

/// How many requests come at once after the first eight, which are in flight together, were refused.
fn at_once_after(refusal: fn() -> Response) -> usize {
    let (asked, most) = (AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let together = Barrier::new(8);
    let (held, opened, is_open) = <(Mutex<usize>, Condvar, AtomicBool)>::default();
    let server = Server::start({
        let most = Arc::clone(&most);
        move |request| {
            let turn = asked.fetch_add(1, SeqCst);
            if turn < 8 {
                together.wait();
                return refusal();
            }
            // They are held until a fifth has come, or has had the time to.
            let mut come = held.lock().unwrap();
            *come += 1;
            opened.notify_all();
            if !is_open.load(SeqCst) {
                let limit = Duration::from_millis(1500);
                let (come, _) = opened.wait_timeout_while(come, limit, |it| *it < 5).unwrap();
                if !is_open.swap(true, SeqCst) {
                    most.store(*come, SeqCst);
                }
            }
            Response::json(&json!([day_record(request.param("from").unwrap_or_default())]))
        }
    });
    let rule = "  responses: [{ when: { body: { path: code, equals: PM.1 } }, then: retry }]\n";
    let yaml = own(&server, "", SOON, &days().replace("2024-07-21", "2024-07-01"))
        .replace("max_in_flight: 1", "max_in_flight: 8")
        .replace("streams:\n", &format!("{rule}streams:\n"));
    run(&yaml, 0);
    most.load(SeqCst)
}

#[test]
fn a_refusal_of_many_requests_at_once_halves_them_once_whatever_says_so() {
    let refusals: [fn() -> Response; 4] = [
        || Response::text(429, ""),
        || Response::text(403, "").header("Retry-After", "0"),
        || Response::status(400, &json!({ "code": "PM.1" })),
        || Response::json(&json!({ "code": "PM.1" })),
    ];
    for refusal in refusals {
        assert_eq!(at_once_after(refusal), 4, "{:?}", refusal());
    }
    let broken = || Response::text(502, "");
    assert!(at_once_after(broken) >= 5, "that it fails says nothing about how many ask");
}

// ---- Budgets

/// A stream of five days, one slice each.
fn days() -> String {
    stream(
        "items",
        "    slices: { window: { from: 2024-07-21, step: 1d, reread: 0d, format: date, start_param: from } }
    request: { path: /items }",
    )
}

/// A record of a day, whose id is the day.
fn day_record(day: &str) -> Value {
    let id: usize = day[day.len() - 2..].parse().unwrap_or_default();
    json!({ "id": id, "day": day })
}

fn every_day() -> Server {
    Server::start(|request| {
        Response::json(&json!([day_record(request.param("from").unwrap_or_default())]))
    })
}

#[test]
fn a_run_sends_no_more_requests_than_it_may_and_the_next_one_goes_on_with_the_rest() {
    let server = every_day();
    let yaml = own(&server, ", max_requests: 3", SOON, &days());
    let workspace = Workspace::new();

    let first = workspace.run(&yaml, &[], &[]);

    assert_eq!(first.code, Some(7), "{}", first.stderr);
    assert_eq!(server.lines().len(), 3);
    assert_eq!(ids(&workspace, "items"), [21, 22, 23]);
    let shown = &first.stderr;
    assert!(
        shown.contains("error: stream `items`: 2 of 5 slices are left for the next run, first `2024-07-24`; the rest is published"),
        "{shown}"
    );
    assert!(
        shown.contains("cause: the 3 requests that `limits.max_requests` allows are sent"),
        "{shown}"
    );
    assert!(shown.contains("hint: run again to read the rest"), "{shown}");

    let second = workspace.run(&yaml, &[], &[]);

    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let asked: Vec<_> = server.requests()[3..].iter().map(Request::line).collect();
    assert_eq!(asked, ["GET /items?from=2024-07-24", "GET /items?from=2024-07-25"]);
    assert_eq!(ids(&workspace, "items"), [21, 22, 23, 24, 25]);
}

#[test]
fn slices_that_a_budget_left_are_not_among_those_that_failed_on_the_timeline() {
    let server = every_day();
    let yaml = own(&server, ", max_requests: 3", SOON, &days());

    let ended = Workspace::new().run(&yaml, &[], &[]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let report = ended.report();

    let timeline = &report["streams"][0]["timeline"];
    let mut ends: Vec<(&str, &str)> = timeline["slices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["slice"].as_str().unwrap(), it["outcome"].as_str().unwrap()))
        .collect();
    ends.sort_unstable();
    let days = ["2024-07-21", "2024-07-22", "2024-07-23", "2024-07-24", "2024-07-25"];
    let told = ["unreconciled", "unreconciled", "unreconciled", "left", "left"];
    assert_eq!(ends, days.into_iter().zip(told).collect::<Vec<_>>());
    let failed = timeline["steps"].as_array().unwrap().iter().map(|it| it["failed"].as_u64());
    assert_eq!(failed.sum::<Option<u64>>(), Some(0));
}

#[test]
fn requests_that_are_sent_again_count_for_the_budget() {
    let server = Server::start(|_| Response::text(500, ""));
    let yaml = own(&server, ", max_requests: 3", ", max_delay_secs: 0.01", &days());

    let (_, ended) = run(&yaml, 4);

    assert_eq!(server.lines().len(), 3);
    assert!(ended.stderr.contains("status 500"), "what failed says more: {}", ended.stderr);
}

#[test]
fn a_deadline_ends_a_run_that_would_wait_beyond_it() {
    let server = Server::start(|request| match request.param("from") {
        Some("2024-07-23") => Response::text(429, "").header("Retry-After", "7200"),
        day => Response::json(&json!([day_record(day.unwrap_or_default())])),
    });
    let yaml = own(&server, ", deadline: 1h", ", max_delay_secs: 86400", &days());
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(ids(&workspace, "items"), [21, 22]);
    assert!(
        ended.stderr.contains("cause: the time that `limits.deadline` gives the run, 1 h, is over"),
        "{}",
        ended.stderr
    );
}

/// The parents took all that there was: their children are remembered, although nothing of them was read.
#[test]
fn children_that_the_budget_never_reached_are_read_by_the_next_run_although_no_parent_changed() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.path.as_str() {
        "/parents" => match asked.fetch_add(1, SeqCst) {
            0 => Response::json(&records([1, 2])),
            _ => Response::json(&json!([])),
        },
        "/parents/1/children" => Response::json(&records([10])),
        _ => Response::json(&records([20])),
    });
    let parents = "    slices: { window: { from: 2024-07-01, format: date, start_param: from } }
    cursor: { column: day, lookback: 0d }
    request: { path: /parents }";
    let children = "    slices: { parent: { stream: parents, bind: { parent: id } } }
    request: { path: '/parents/{{ parent.parent }}/children' }";
    let streams = format!("{}{}", stream("parents", parents), stream("children", children));
    let workspace = Workspace::new();

    let first = workspace.run(&own(&server, ", max_requests: 1", SOON, &streams), &[], &[]);

    assert_eq!(first.code, Some(7), "{}", first.stderr);
    assert_eq!(server.lines(), ["GET /parents?from=2024-07-01"]);
    let second = workspace.run(&own(&server, "", SOON, &streams), &[], &[]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(ids(&workspace, "parents"), [1, 2]);
    assert_eq!(ids(&workspace, "children"), [10, 20]);
}

#[test]
fn children_are_not_asked_for_while_the_budget_ends_the_list_of_their_parents() {
    let server = Server::start(|request| {
        let Some(parent) = request.path.strip_prefix("/parents/") else {
            // One parent on the first page, and no end of pages.
            let page = request.number("page") + 1;
            return Response::json(&json!({ "items": records(page..2), "next": page }));
        };
        let parent: usize = parent.parse().unwrap_or_default();
        Response::json(&json!({ "items": records([parent * 10]) }))
    });
    let parents = "    slices: { window: { from: 2024-07-01, format: date, start_param: from } }
    cursor: { column: day, lookback: 0d }
    request: { path: /parents }
    records: items
    paginate: { token: { body: next, param: page } }";
    let children = "    slices: { parent: { stream: parents, bind: { parent: id } } }
    request: { path: '/parents/{{ parent.parent }}' }
    records: items";
    let streams = format!("{}{}", stream("parents", parents), stream("children", children));

    let (workspace, ended) = run(&own(&server, ", max_requests: 12", SOON, &streams), 7);

    assert_eq!(server.lines().len(), 12);
    assert!(
        server.lines().iter().all(|it| it.starts_with("GET /parents?")),
        "{:?}",
        server.lines()
    );
    assert_eq!(ids(&workspace, "parents"), [1]);
    assert!(ids(&workspace, "children").is_empty());
    assert!(ended.stderr.contains("max_requests"), "{}", ended.stderr);
}

/// Parents and their children: whatever the budget, night after night all of it is read.
#[test]
fn a_budget_smaller_than_what_there_is_to_read_gets_there_night_after_night() {
    let family = |server: &Server, limits: &str| {
        let parents = stream(
            "parents",
            "    slices: { window: { from: 2024-07-20, step: 1d, format: date, start_param: from } }
    cursor: { column: day, lookback: 0d }
    request: { path: /parents }",
        );
        let children = stream(
            "children",
            "    slices: { parent: { stream: parents, bind: { parent: id } } }
    request: { path: '/parents/{{ parent.parent }}/children' }",
        );
        own(server, limits, SOON, &format!("{parents}{children}"))
    };
    let answer = |request: &Request| {
        let parent: Option<usize> = request.path.split('/').nth(2).and_then(|it| it.parse().ok());
        match (parent, request.param("from")) {
            (Some(parent), _) => Response::json(&records([parent * 10, parent * 10 + 1])),
            (None, Some(day)) => Response::json(&json!([day_record(day)])),
            (None, None) => Response::text(404, ""),
        }
    };
    let children: Vec<u64> = (20..=25).flat_map(|it| [it * 10, it * 10 + 1]).collect();
    // Each night the last day is read again: what is left beyond that must be more than nothing.
    for budget in 3..=8 {
        let server = Server::start(answer);
        let yaml = family(&server, &format!(", max_requests: {budget}"));
        let workspace = Workspace::new();
        let mut nights = 0;
        loop {
            nights += 1;
            let before = server.lines().len();
            let ended = workspace.run(&yaml, &[], &[]);
            assert!(server.lines().len() - before <= budget);
            match ended.code {
                Some(0) => break,
                Some(7) => assert!(nights < 40, "budget {budget}: {}", ended.stderr),
                other => panic!("budget {budget}: {other:?}\n{}", ended.stderr),
            }
        }
        assert_eq!(ids(&workspace, "parents"), [20, 21, 22, 23, 24, 25], "budget {budget}");
        assert_eq!(ids(&workspace, "children"), children, "budget {budget}");
    }
}

#[test]
fn a_snapshot_larger_than_a_budget_is_read_in_several_runs() {
    let server = every_day();
    let yaml = own(&server, ", max_requests: 2", SOON, &days())
        .replace("merge: { key: [id] }", "replace: { scope: all, key: [id] }");
    let workspace = Workspace::new();

    let codes: Vec<_> = (0..3).map(|_| workspace.run(&yaml, &[], &[]).code).collect();

    assert_eq!(codes, [Some(7), Some(7), Some(0)]);
    assert_eq!(ids(&workspace, "items"), [21, 22, 23, 24, 25]);
    assert_eq!(server.lines().len(), 5, "no slice was read twice: {:?}", server.lines());
}

#[test]
fn a_budget_that_is_no_number_and_a_deadline_that_is_no_time_are_shown_with_their_places() {
    let server = every_day();
    let limits = ", max_requests: 1.5, deadline: soon, rate_headers: { remaining: 'a b', reset: R, reset_format: epoch_s }";

    let (_, ended) = run(&own(&server, limits, SOON, &days()), 3);

    for part in [
        "source.limits.max_requests: `1.5` is not a whole number",
        "source.limits.deadline: `soon` is not a length of time",
        "source.limits.rate_headers.remaining: `a b` is not a header name",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    assert!(server.requests().is_empty());
}
