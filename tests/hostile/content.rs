//! Bodies that are whole, but not what they should be, and redirects.

use serde_json::{Value, json};

use crate::{
    TOKEN, after_a_good_run, fails, file, ids, page, run,
    support::server::{Response, Server},
};

/// Runs against a server that always gives one body, after a good run.
#[track_caller]
fn answered(code: i32, answer: Response) -> (Vec<u64>, Value) {
    let server = Server::start(move |_| answer.clone());
    let workspace = after_a_good_run();

    let ended = run(&workspace, &file(&server.url()));

    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    (ids(&workspace), ended.report()["streams"][0].clone())
}

/// A page with one record, whose `hours` are written as given.
fn hours(text: &str) -> Response {
    Response::text(200, format!(r#"{{"items":[{{"id":7,"day":"2024-07-25","hours":{text}}}]}}"#))
}

#[test]
fn a_body_that_is_no_page_is_named_with_its_place() {
    let deep = |bracket: &str, levels: usize| {
        format!(r#"{{"items":{}"#, bracket.repeat(levels)).into_bytes()
    };
    let utf16 = |text: &str| {
        let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    // What is said, and how often it is asked for: what may be cut off is asked for again.
    let cases: Vec<(&str, Vec<u8>, &[&str], usize)> = vec![
        ("deep arrays", deep("[", 500_000), &["nested deeper than 128 levels at byte 136"], 1),
        ("deep objects", deep(r#"{"a":"#, 150_000), &["nested deeper than 128 levels"], 1),
        (
            "invalid UTF-8",
            b"{\"items\":[{\"id\":1,\"name\":\"caf\xe9\"}]}".to_vec(),
            &["not UTF-8", "byte 29"],
            1,
        ),
        ("UTF-16", utf16(&page(2).to_string()), &["not UTF-8"], 2),
        ("NaN", br#"{"items":[{"id":1,"hours":NaN}]}"#.to_vec(), &["expected a value", "NaN"], 1),
        ("-Infinity", br#"{"items":[{"id":-Infinity}]}"#.to_vec(), &["expected a digit"], 1),
        ("two documents", br#"{"items":[]}{"items":[]}"#.to_vec(), &["nothing after the value"], 1),
        (
            "JSON with a comment",
            br#"{"items":[] /* none */}"#.to_vec(),
            &["expected `,` or `}`"],
            1,
        ),
        ("single quotes", b"{'items':[]}".to_vec(), &["expected a key in quotes"], 1),
        ("a guard prefix", b")]}',\n{\"items\":[]}".to_vec(), &["expected a value"], 1),
        ("zeros", vec![0; 1000], &["expected a value"], 2),
        ("nothing", Vec::new(), &["empty", "after 2 tries"], 2),
        ("white space", b" \n ".to_vec(), &["empty", "after 2 tries"], 2),
        ("plain text", b"upstream connect error".to_vec(), &["expected a value"], 2),
        ("null", b"null".to_vec(), &["no records at `items`"], 1),
        ("a number", b"42".to_vec(), &["no records at `items`"], 1),
        ("records that are text", br#"{"items":"[]"}"#.to_vec(), &["no records at `items`"], 1),
    ];
    for (name, body, says, tries) in cases {
        let server = Server::start(move |_| Response::text(200, body.clone()));

        fails(name, &server.url(), says);

        assert_eq!(server.lines().len(), tries, "{name}");
    }
}

#[test]
fn a_web_page_is_no_data_whatever_it_calls_itself() {
    for kind in ["text/html", "application/json", "text/html; charset=windows-1251"] {
        let body = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
        let server = Server::start(move |_| Response::text(200, body).header("content-type", kind));

        fails(kind, &server.url(), &["answers with a web page instead of JSON: Sign in"]);

        assert_eq!(server.lines().len(), 1, "{kind}: a log-in does not get better by asking again");
    }
}

/// Where the source has answered before, a web page is what a proxy says in between.
#[test]
fn a_web_page_between_good_answers_is_passed_over() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server =
        Server::start(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Response::json(&json!({ "items": page(2)["items"], "next": "a" })),
            1 => Response::text(200, "<html><title>Maintenance</title></html>"),
            _ => Response::json(&json!({ "items": [{ "id": 3, "day": "2024-07-25" }] })),
        });
    let yaml = file(&server.url()).replace(
        "    records: items\n",
        "    records: items\n    paginate: { token: { body: next, param: after } }\n",
    );
    let workspace = after_a_good_run();

    let ended = run(&workspace, &yaml);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace), [1, 2, 3]);
}

#[test]
fn a_status_that_says_there_is_nothing_is_an_empty_page() {
    let (ids, report) = answered(0, Response::text(204, ""));

    assert_eq!(ids, [1, 2], "what stands stays");
    assert_eq!((&report["records"], &report["slices"]["unreconciled"]), (&json!(0), &json!(1)));
}

#[test]
fn what_a_body_is_called_does_not_matter_where_it_is_json() {
    let body = page(3).to_string();
    for kind in ["text/plain", "application/json; charset=utf-16", "text/html", "image/png", ""] {
        let answer = Response::text(200, body.clone()).header("content-type", kind);

        assert_eq!(answered(0, answer).0, [1, 2, 3], "{kind}");
    }
    let marked = Response::text(200, format!("\u{feff}{body}\r\n"));
    assert_eq!(answered(0, marked).0, [1, 2, 3], "with a byte order mark");
}

#[test]
fn a_key_that_comes_twice_counts_once_and_is_told() {
    let (ids, report) =
        answered(0, Response::text(200, r#"{"items":[{"id":6,"id":7,"day":"2024-07-25"}]}"#));

    assert_eq!(ids, [1, 2, 7], "the last one counts, as it does for most readers");
    assert_eq!(report["duplicate_keys"], 1);
}

#[test]
fn numbers_that_no_column_can_hold_are_in_quarantine() {
    let digits = "9".repeat(100_000);
    for text in ["1e400", "-1e99999999999999999999", digits.as_str()] {
        let (ids, report) = answered(7, hours(text));
        assert_eq!((ids, &report["rejected"]), (vec![1, 2], &json!(1)), "{text:.30}");
    }
    let id = r#"{"items":[{"id":99999999999999999999,"day":"2024-07-25"}]}"#;
    assert_eq!(answered(7, Response::text(200, id)).1["rejected"], 1);
}

#[test]
fn numbers_that_are_only_written_at_length_are_read() {
    let zeros = format!("1.{}", "0".repeat(100_000));
    for text in ["1e-400", zeros.as_str(), "0.1e1", "-0.0"] {
        let (ids, report) = answered(0, hours(text));
        assert_eq!((ids, &report["rejected"]), (vec![1, 2, 7], &json!(0)), "{text:.30}");
    }
}

// ---- Redirects

#[test]
fn a_redirect_within_the_origin_is_followed_with_the_credentials() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start(move |request| match request.path.as_str() {
            "/items" => Response::text(status, "").header("Location", "/a/../v2/items?x=1"),
            "/v2/items" => {
                let target = format!("{}/v3/items", request.origin());
                Response::text(status, "").header("Location", &target)
            }
            _ => Response::json(&page(3)),
        });
        let workspace = after_a_good_run();

        let ended = run(&workspace, &file(&server.url()));

        assert_eq!(ended.code, Some(0), "{status}: {}", ended.stderr);
        assert_eq!(ids(&workspace), [1, 2, 3], "{status}");
        let sent = server.requests();
        assert_eq!(sent.len(), 3, "{status}: {:?}", server.lines());
        assert!(sent.iter().all(|it| it.header("authorization") == format!("Bearer {TOKEN}")));
    }
}

#[test]
fn a_redirect_to_another_origin_gets_no_request_at_all() {
    let other = Server::start(|_| Response::json(&page(9)));
    let port = other.url().rsplit(':').next().unwrap_or_default().to_owned();
    for target in [
        other.url(),
        format!("http://127.0.0.1:{port}/items"),
        format!("//127.0.0.1:{port}/items"),
        format!("http://localhost:{port}/items"),
        format!("http://user:pass@127.0.0.1:{port}/items"),
        format!("http:\\\\127.0.0.1:{port}\\items"),
        format!("https://127.0.0.1:{port}/items"),
    ] {
        for hop in [0, 1] {
            let location = target.clone();
            let server = Server::start(move |request| match request.param("hop") {
                None if hop == 1 => Response::text(307, "").header("Location", "/items?hop=1"),
                _ => Response::text(307, "").header("Location", &location),
            });

            fails(&target, &server.url(), &["redirects to", "another origin", "base URL"]);

            assert!(other.requests().is_empty(), "{target}: {:?}", other.lines());
        }
    }
}

#[test]
fn redirects_in_a_circle_come_to_an_end() {
    let growing = Server::start(|request| {
        let next = format!("/items?after={}x", request.param("after").unwrap_or_default());
        Response::text(302, "").header("Location", &next)
    });
    let own = Server::start(|_| Response::text(302, "").header("Location", "/items"));
    for (name, server) in [("growing", &growing), ("to itself", &own)] {
        fails(name, &server.url(), &["redirects to `/items`, too many times", "base URL"]);

        assert!(server.lines().len() <= 11, "{name}: {} requests", server.lines().len());
    }
}

#[test]
fn a_redirect_to_nowhere_is_named() {
    let nowhere = Server::start(|_| Response::text(302, ""));
    fails("no target", &nowhere.url(), &["answers with status 302 after 1 try"]);

    let odd = Server::start(|_| Response::text(302, "").header("Location", "http://"));
    fails("no URL", &odd.url(), &["redirects to `http://`"]);
}

#[test]
fn a_page_that_was_not_modified_is_no_page() {
    let server = Server::start(|_| Response::text(304, ""));

    fails("304", &server.url(), &["status 304"]);
}
