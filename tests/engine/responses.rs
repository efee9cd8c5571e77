//! What responses mean, and how requests say who asks.

use super::*;

#[test]
fn a_success_with_an_error_in_its_body_fails_where_a_rule_says_so() {
    let server = Server::start(|_| {
        Response::json(&json!({ "status": "error", "message": "no project", "items": [] }))
    });
    let yaml = own_source(
        &server,
        "  responses:
    - { when: { body: { path: status, equals: error } }, then: fail }",
        &format!("  items:\n    request: {{ path: /items }}\n    records: items{COLUMNS}"),
    );
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("no project"), "{}", ended.stderr);
    assert_eq!(server.lines().len(), 1, "what a rule calls a failure is not asked for again");
}

#[test]
fn a_refusal_with_a_code_in_its_body_is_asked_again_where_a_rule_says_so() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => Response::status(400, &json!({ "error_code": "PM.1" })),
        _ => Response::json(&records([1])),
    });
    let yaml = own_source(
        &server,
        "  responses:
    - { when: { status: 400, body: { path: error_code, equals: PM.1 } }, then: retry }",
        &format!("  items:\n    request: {{ path: /items }}{COLUMNS}"),
    );

    assert_eq!(exported_ids(&yaml), json!([1]));
    assert_eq!(server.lines(), ["GET /items", "GET /items"]);
}

#[test]
fn a_slice_is_skipped_where_a_rule_of_the_stream_says_so() {
    let server = Server::start(|request| match request.param("team") {
        Some("a") => Response::json(&records([1])),
        _ => Response::status(422, &json!({ "code": 17 })).header("X-Reason", "no-such-team"),
    });
    let yaml = items(
        &server,
        "    slices: { list: { as: team, values: [a, b] } }
    request: { path: /items, query: { team: '{{ slice.team }}' } }
    responses:
      - when: { status: 4xx, header: { name: x-reason, equals: no-such-team }, body: { path: code, equals: 17 } }
        then: skip",
    );

    let (workspace, ended) = export(&yaml);

    assert_eq!(table(&workspace, "items", &["id"]), json!([[1]]));
    assert_eq!(ended.report()["streams"][0]["slices"]["skipped"], 1);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => Response::text(503, "busy").header("Retry-After", "0"),
        _ => Response::json(&records([1])),
    });
    // The wait that the server names is taken; without it this test would take minutes.
    let yaml = items(&server, "    request: { path: /items }");
    let yaml = yaml.replace("max_delay_secs: 0.01", "max_delay_secs: 86400");

    let (workspace, ended) = export(&yaml);

    assert_eq!(table(&workspace, "items", &["id"]), json!([[1]]));
    assert_eq!(server.lines(), ["GET /items", "GET /items"]);
    let report = ended.report();
    assert_eq!(
        (&report["streams"][0]["requests"], &report["streams"][0]["retries"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn a_response_that_breaks_off_is_asked_for_again() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => Response::json(&records([1, 2])).cut(),
        _ => Response::json(&records([1, 2])),
    });

    let yaml = items(&server, "    request: { path: /items }");

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(server.lines().len(), 2);
}

/// The `Authorization` header of the only request, and the whole request.
#[track_caller]
fn logged_in(auth: &str) -> Request {
    let server = Server::start(|_| Response::json(&records([1])));
    let stream = format!("  items:\n    request: {{ path: /items }}{COLUMNS}");
    export(&own_source(&server, &format!("  auth: {auth}"), &stream));
    server.requests().remove(0)
}

#[test]
fn basic_takes_an_empty_user() {
    let request = logged_in("{ basic: { user: '', password: pat-1 } }");

    // base64 of ":pat-1"
    assert_eq!(request.header("authorization"), "Basic OnBhdC0x");
}

#[test]
fn a_key_stands_in_a_header_without_any_scheme() {
    let request = logged_in("{ header: { name: Authorization, value: lin_api_1 } }");

    assert_eq!(request.header("authorization"), "lin_api_1");
}

#[test]
fn what_the_server_said_is_printed_before_what_was_left_because_of_it() {
    let over = Arc::<OnceLock<()>>::default();
    let waits = Arc::clone(&over);
    let server = Server::start(move |request| {
        if request.path == "/slow" {
            // It has no answer before the run has stopped.
            waits.wait();
        }
        Response::status(401, &json!({ "message": "who are you?" }))
    });
    let yaml = own(
        &server,
        &format!(
            "  slow:\n    request: {{ path: /slow }}{COLUMNS}  refused:\n    request: {{ path: /refused }}{COLUMNS}"
        ),
    );
    let yaml = yaml.replace("max_in_flight: 1", "max_in_flight: 2");

    let ended = Workspace::new().run(&yaml, &[], &[]);

    over.set(()).unwrap();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let (_, said) = ended.stderr.split_once("error: ").unwrap();
    assert_eq!(
        said.replace(&server.url(), "SERVER"),
        r#"stream `refused`: 1 of 1 slices could not be read, first `all`; nothing of it is published
  cause: `SERVER/refused` refuses the credentials with status 401: {"message":"who are you?"}
  hint: check the token, password or key that the pipeline is given; `tracklake list` shows its variables
error: stream `slow`: 1 of 1 slices could not be read, first `all`; nothing of it is published
  cause: not read, because the run stops
"#
    );
}

/// Exports three records with one way to log in, and again once the server answers as to somebody
/// else: with the one that anybody may see, and `header` to say so.
#[track_caller]
fn later_as_nobody(auth: &str, header: (&'static str, &'static str)) -> (Value, Ended) {
    let is_refused = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let is_refused = Arc::clone(&is_refused);
        move |_| {
            if is_refused.load(SeqCst) {
                return Response::json(&records([1])).header(header.0, header.1);
            }
            let failed = Response::json(&records(1..=3))
                .header("X-Seraph-LoginReason", "AUTHENTICATED_FAILED");
            failed.header("X-Seraph-LoginReason", "OK").header("X-AUSERNAME", "etl")
        }
    });
    let stream = format!("  items:\n    request: {{ path: /items }}{COLUMNS}")
        .replace("{ merge: { key: [id] } }", "{ replace: all }");
    let yaml = own_source(&server, &format!("  auth: {auth}"), &stream);
    let (workspace, _) = export(&yaml);

    is_refused.store(true, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);
    (table(&workspace, "items", &["id"]), ended)
}

#[test]
fn a_page_for_nobody_in_particular_is_a_refused_log_in_and_takes_no_rows_away() {
    for (header, reason) in [
        (("X-Seraph-LoginReason", "AUTHENTICATED_FAILED"), "AUTHENTICATED_FAILED"),
        (("X-AUSERNAME", "anonymous"), "it answers as to `anonymous`"),
    ] {
        let (rows, ended) = later_as_nobody("{ basic: { user: etl, password: s3cr3t } }", header);

        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        let refused = format!("refuses the credentials with status 200: {reason}");
        assert!(ended.stderr.contains(&refused), "{}", ended.stderr);
        assert_eq!(rows, json!([[1], [2], [3]]));
    }
}

#[test]
fn who_logs_in_as_no_user_may_be_anonymous() {
    for auth in ["none", "{ api_key: { place: query, name: token, value: k3y } }"] {
        let (rows, ended) = later_as_nobody(auth, ("X-AUSERNAME", "anonymous"));

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(rows, json!([[1]]));
    }
}

#[test]
fn a_log_in_that_failed_is_refused_wherever_its_credentials_stand() {
    let (rows, ended) = later_as_nobody("none", ("X-Seraph-LoginReason", "AUTHENTICATED_FAILED"));

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!(rows, json!([[1], [2], [3]]));
}

/// Scrolls `s1`, `s2`, …, of which the first `lost` are forgotten after their first page.
fn scrolls(lost: usize) -> Server {
    let begun = AtomicUsize::new(0);
    Server::start(move |request| {
        let scroll = match request.param("scroll") {
            None => begun.fetch_add(1, SeqCst) + 1,
            Some(known) if (1..=lost).any(|it| known == format!("s{it}")) => {
                return Response::status(400, &json!({ "errorMessages": ["no scroll"] }));
            }
            Some(_) => return Response::json(&records(3..=4)),
        };
        Response::json(&records(1..=2)).header("X-Scroll", &format!("s{scroll}"))
    })
}

const BY_SCROLL: &str = "    request: { path: /items }
    paginate: { token: { header: X-Scroll, param: scroll, may_repeat: true } }";

#[test]
fn a_scroll_that_has_expired_is_begun_again() {
    let server = scrolls(1);

    assert_eq!(exported_ids(&items(&server, BY_SCROLL)), json!([1, 2, 3, 4]));

    let asked = ["GET /items", "GET /items?scroll=s1", "GET /items", "GET /items?scroll=s2"];
    assert_eq!(server.lines(), asked);
}

#[test]
fn a_record_of_a_scroll_that_is_begun_again_is_rejected_once() {
    let begun = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.param("scroll") {
        Some("s0") => Response::status(404, &json!({ "error": "no scroll" })),
        Some(_) => Response::json(&records([3])),
        None => Response::json(&json!([record(1), { "id": "two", "day": "2024-07-25" }]))
            .header("X-Scroll", &format!("s{}", begun.fetch_add(1, SeqCst))),
    });
    let yaml = items(&server, &format!("{BY_SCROLL}\n    max_rejected: 1"));
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(ended.report()["streams"][0]["rejected"], 1);
    let files = workspace.files();
    let mut kept = files.iter().filter(|(path, _)| path.starts_with("quarantine/"));
    let (_, lines) = kept.next().unwrap();
    assert_eq!(lines.split(|it| *it == b'\n').filter(|it| !it.is_empty()).count(), 1);
    assert_eq!(table(&workspace, "items", &["id"]), json!([[1], [3]]));
}

#[test]
fn a_scroll_that_is_always_refused_is_not_begun_again_for_ever() {
    let server = scrolls(9);

    let ended = Workspace::new().run(&items(&server, BY_SCROLL), &[], &[]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("answers with status 400"), "{}", ended.stderr);
    assert_eq!(server.lines().len(), 6, "three scrolls: {:?}", server.lines());
}

/// Three records of one project on two pages of a scroll, and then `second` for its second page.
#[track_caller]
fn a_later_second_page(second: fn(usize) -> Option<u16>) -> (Value, Ended) {
    let (is_later, asked) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let server = Server::start({
        let is_later = Arc::clone(&is_later);
        move |request| match (request.path.as_str(), request.param("scroll")) {
            ("/projects", _) => Response::json(&records([7])),
            (_, None) => Response::json(&records(1..=2)).header("X-Scroll", "s"),
            _ if !is_later.load(SeqCst) => Response::json(&records([3])),
            _ => match second(asked.fetch_add(1, SeqCst)) {
                Some(status) => Response::status(status, &json!({ "error": "no scroll" })),
                None => Response::json(&records([3])),
            },
        }
    });
    let items = BY_SCROLL.replace("/items", "'/projects/{{ parent.id }}'");
    let columns = COLUMNS
        .replace("{ merge: { key: [id] } }", "{ replace: { scope: slice, key: [project, id] } }");
    let columns = columns.replace(
        "    columns:\n",
        "    columns:\n      project: { from: parent.id, type: int64 }\n",
    );
    let yaml = own(
        &server,
        &format!(
            "  projects:\n    request: {{ path: /projects }}{COLUMNS}  items:\n    slices: {{ parent: {{ stream: projects, bind: {{ id: id }} }} }}\n    on_gone: delete\n{items}{columns}"
        ),
    );
    let (workspace, _) = export(&yaml);

    is_later.store(true, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);
    (table(&workspace, "items", &["id"]), ended)
}

#[test]
fn a_parent_that_gave_a_page_is_there_whatever_the_next_page_says() {
    for status in [403, 404, 410] {
        let found = match status {
            403 => |_| Some(403),
            404 => |_| Some(404),
            _ => |_| Some(410),
        };
        let (rows, ended) = a_later_second_page(found);

        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("answers with status {status}")),
            "{}",
            ended.stderr
        );
        assert_eq!(rows, json!([[1], [2], [3]]));
    }

    let (rows, ended) = a_later_second_page(|nth| (nth == 0).then_some(404));

    assert_eq!(ended.code, Some(0), "its scroll is begun again: {}", ended.stderr);
    assert_eq!(rows, json!([[1], [2], [3]]));
}
