//! Ways to log in that none of the shipped pipelines uses, against a server that knows none of the
//! program's code; and where credentials come from.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use insta::assert_snapshot;
use serde_json::json;
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// A pipeline that logs in by `auth`, which reads the variables `a` and `b`.
fn pipeline(server: &Server, auth: &str) -> String {
    format!(
        r#"version: 1
pipeline: own
vars:
  a: {{ env: OWN_A, default: "", secret: true }}
  b: {{ env: OWN_B, default: "", secret: true }}
source:
  base_url: {}
  auth: {auth}
  limits: {{ requests_per_second: 10000, max_in_flight: 8 }}
  retry: {{ max_attempts: 1, max_delay_secs: 0.01 }}
streams:
  items:
    slices: {{ list: {{ as: part, values: [{}] }} }}
    request: {{ path: /items, query: {{ part: "{{{{ slice.part }}}}" }} }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      part: {{ from: slice.part, type: string }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [part, id] }} }}
    partition_by: {{ column: day }}
"#,
        server.url(),
        (1..=PARTS).map(|it| it.to_string()).collect::<Vec<_>>().join(", ")
    )
}

/// Slices that the stream has; each is one request.
const PARTS: usize = 40;

const SECRETS: [(&str, &str); 2] = [("OWN_A", "s3cr3t/of A+"), ("OWN_B", "s3cr3t:of B?")];

/// A page, with one record that does not fit.
fn page(request: &Request) -> Response {
    let mut items = vec![json!({ "id": 1, "day": "2024-07-25" })];
    if request.param("part") == Some("7") {
        items.push(json!({ "id": "no number", "day": "2024-07-25" }));
    }
    Response::json(&json!({ "items": items }))
}

fn refuse() -> Response {
    Response::status(401, &json!({ "error": "who are you?" }))
}

/// Runs the pipeline and looks for its secrets, and for what the server gave, in all that is
/// written. It ends with 7, because of the record that does not fit.
#[track_caller]
fn export(server: &Server, auth: &str, given: &[&str]) -> Vec<Request> {
    let workspace = Workspace::new();
    let ended = workspace.run(&pipeline(server, auth), &["-vvv"], &SECRETS);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(workspace.rows("items").len(), PARTS);
    assert!(workspace.files().keys().any(|it| it.starts_with("quarantine/")));
    says_nothing(&workspace, &ended, given);
    server.requests().into_iter().filter(|it| it.path == "/items").collect()
}

/// Looks for secrets in everything that a run has written.
#[track_caller]
fn says_nothing(workspace: &Workspace, ended: &Ended, given: &[&str]) {
    let texts = [ended.stdout.clone(), ended.stderr.clone()].into_iter();
    let files = workspace.files().into_values();
    for text in texts.chain(files.map(|it| String::from_utf8_lossy(&it).into_owned())) {
        // Both secrets begin with it, and so do they in most encodings.
        for secret in given.iter().copied().chain(FORMS).chain(["s3cr3t"]) {
            let is_in = |it: &str| it.to_lowercase().contains(&secret.to_lowercase());
            let line = text.lines().find(|it| is_in(it));
            assert_eq!(line, None, "`{secret}` is written");
        }
    }
}

/// [`SECRETS`] as they are, in URLs, in forms, and in base64 (also of `etl:` before it).
const FORMS: [&str; 9] = [
    "s3cr3t/of A+",
    "s3cr3t:of B?",
    "s3cr3t%2Fof%20A%2B",
    "s3cr3t%3Aof%20B%3F",
    "s3cr3t%2Fof+A%2B",
    "czNjcjN0L29mIE",
    "czNjcjN0Om9mIE",
    "MzY3IzdC9vZiBB",
    "MzY3IzdDpvZiBC",
];

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where a server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LogIn,
    Items,
}

/// Runs the pipeline against a server that repeats in its refusals what it was sent, in several
/// forms; gives the causes and the hint.
#[track_caller]
fn refused(auth: &str, at: At, code: u16) -> String {
    let forms: [fn(&str) -> String; 9] = [
        str::to_owned,
        |it| percent_encoding::utf8_percent_encode(it, ENCODED).to_string(),
        |it| url::form_urlencoded::byte_serialize(it.as_bytes()).collect(),
        |it| STANDARD.encode(it),
        |it| STANDARD.encode(format!("etl:{it}")),
        // PHP, Gson, a web page, and what is none of them.
        |it| it.replace('/', "\\/"),
        |it| it.replace('=', "\\u003d").replace('+', "\\u002b").replace('?', "\\u003f"),
        |it| it.replace('&', "&amp;").replace('/', "&#x2F;").replace('+', "&#43;"),
        str::to_uppercase,
    ];
    let [first, ..] = forms.map(|form| refused_in(form, auth, at, code));
    first
}

#[track_caller]
fn refused_in(form: fn(&str) -> String, auth: &str, at: At, code: u16) -> String {
    let server = Server::start(move |request| {
        if request.path != "/items" && at == At::Items {
            return Response::json(&json!({
                "session": { "token": "given-t0ken+1" }, "access_token": "given-t0ken+1",
            }));
        }
        let names = ["authorization", "x-api-key", "x-session", "x-client"];
        let headers = names.map(|it| request.header(it));
        // A body has its values encoded already; nobody does that twice.
        let body = Some(request.body.as_str()).filter(|_| form("&") != "%26");
        let sent = request.param("key").into_iter().chain(body).chain(headers);
        // The whole of a value, and its last word: a token without the name of its scheme.
        let words = sent.flat_map(|it| [it, it.rsplit(' ').next().unwrap_or_default()]);
        let echo: Vec<String> = words.filter(|it| !it.is_empty()).map(form).collect();
        Response::status(code, &json!({ "error": echo }))
    });
    let workspace = Workspace::new();
    let ended = workspace.run(&pipeline(&server, auth), &["-vvv"], &SECRETS);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let shown = ended.stderr.lines().find(|it| it.contains("cause: `")).unwrap_or_default();
    let is_body_alone = form("&") == "%26" && auth.contains("body");
    assert!(shown.contains("***") || code == 200 || is_body_alone, "{shown}");
    // base64 of "given-t0ken+1", also of "etl:" or "Bearer " before it
    says_nothing(
        &workspace,
        &ended,
        &["given-t0ken", "Z2l2ZW4tdDBrZW4r", "dpdmVuLXQwa2Vu", "naXZlbi10MGtlbi"],
    );
    let lines = ended.stderr.lines().map(str::trim);
    let lines = lines.filter(|it| it.starts_with("cause: ") || it.starts_with("hint: "));
    let lines = lines.map(|it| it.split(": {").next().unwrap().replace(&server.url(), "SERVER"));
    lines.collect::<Vec<_>>().join("\n")
}

// ---- Jira

/// All parts, one after the other; the first request is answered by `first`.
#[track_caller]
fn jira(first: fn() -> Response, code: i32) -> (Server, Ended) {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match tries.fetch_add(1, SeqCst) {
        0 => first(),
        _ => page(request),
    });
    let yaml = pipeline(&server, r#"{ basic: { user: etl, password: "{{ vars.a }}" } }"#)
        .replace("max_in_flight: 8", "max_in_flight: 1")
        .replace("max_attempts: 1", "max_attempts: 2");
    let ended = Workspace::new().run(&yaml, &[], &SECRETS);
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    (server, ended)
}

#[test]
fn an_empty_page_is_a_refused_log_in_only_where_its_reason_says_so() {
    let (server, _) = jira(|| Response::text(200, "").header("X-Seraph-LoginReason", "OK"), 7);
    assert_eq!(server.lines().len(), PARTS + 1, "it is asked again");

    let denied: [fn() -> Response; 3] = [
        || Response::text(200, "").header("X-Seraph-LoginReason", "AUTHENTICATED_FAILED"),
        || Response::text(200, "").header("X-Seraph-LoginReason", "AUTHENTICATION_DENIED"),
        || Response::text(200, "").header("X-Seraph-LoginReason", "AUTHORISATION_FAILED"),
    ];
    for denied in denied {
        let (server, ended) = jira(denied, 4);
        assert_eq!(server.lines().len(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("refuses the credentials with status 200: AUTH"));
    }
}

#[test]
fn after_a_captcha_is_asked_for_no_wrong_password_is_sent_again() {
    let captcha = "CAPTCHA_CHALLENGE; login-url=https://jira.example.org/login.jsp";
    for rule in ["", "  responses: [{ when: { status: 403 }, then: retry }]\n"] {
        let server = Server::start(move |_| {
            Response::text(403, "Forbidden").header("X-Authentication-Denied-Reason", captcha)
        });
        let yaml = pipeline(&server, r#"{ basic: { user: etl, password: "{{ vars.a }}" } }"#)
            .replace("max_in_flight: 8", "max_in_flight: 1")
            .replace("max_attempts: 1", "max_attempts: 2")
            .replace("streams:\n", &format!("{rule}streams:\n"));

        let ended = Workspace::new().run(&yaml, &[], &SECRETS);

        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert_eq!(server.lines().len(), 1, "{}", ended.stderr);
        let shown = &ended.stderr;
        assert!(shown.contains(&format!("refuses the credentials with status 403: {captcha}")));
        assert!(shown.contains("hint: log in once in a browser"), "{shown}");
    }
}

// ---- Keys

#[test]
fn a_key_stands_in_the_query_of_every_request_and_is_never_shown() {
    let server = Server::start(|request| match request.param("key") {
        Some("s3cr3t/of A+") => page(request),
        _ => refuse(),
    });
    let auth = r#"{ api_key: { place: query, name: key, value: "{{ vars.a }}" } }"#;

    let asked = export(&server, auth, &[]);

    assert_eq!(asked.len(), PARTS);
    assert!(asked.iter().all(|it| it.query.len() == 2), "the other parameter is there, too");
    assert_snapshot!(refused(auth, At::Items, 403), @"cause: `SERVER/items` answers with status 403 after 1 try");
}

#[test]
fn a_request_with_a_key_in_its_query_is_not_redirected_because_the_key_would_be_missing() {
    let server = Server::start(|_| Response::text(302, "").header("location", "/elsewhere"));
    let auth = r#"{ api_key: { place: query, name: key, value: "{{ vars.a }}" } }"#;
    let workspace = Workspace::new();

    let ended = workspace.run(&pipeline(&server, auth), &[], &SECRETS);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let cause = "redirects to `/elsewhere`, where the key would be missing from the query";
    assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    assert_eq!(log_ins(&server, "/elsewhere"), 0);
}

#[test]
fn a_redirect_is_followed_without_saying_where_from() {
    let server = Server::start(|request| match request.path.as_str() {
        "/items" => Response::text(302, "").header("location", "/moved"),
        _ => Response::json(&json!({ "items": [{ "id": 1, "day": "2024-07-25" }] })),
    });
    let auth = r#"{ api_key: { place: header, name: X-Api-Key, value: "{{ vars.a }}" } }"#;

    let ended = Workspace::new().run(&pipeline(&server, auth), &[], &SECRETS);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(log_ins(&server, "/moved"), PARTS);
    assert!(server.requests().iter().all(|it| it.header("referer").is_empty()));
}

#[test]
fn a_key_stands_in_a_header() {
    let server = Server::start(|request| match request.header("x-api-key") {
        "s3cr3t/of A+" => page(request),
        _ => refuse(),
    });

    export(
        &server,
        r#"{ api_key: { place: header, name: X-Api-Key, value: "{{ vars.a }}" } }"#,
        &[],
    );
}

#[test]
fn a_link_that_has_the_key_in_it_is_followed_with_one_key() {
    let server = Server::start(|request| {
        assert_eq!(request.query.iter().filter(|(name, _)| name == "key").count(), 1);
        let next = format!("{}/items?key=other&part=1&after=1", request.origin());
        let next = request.param("after").is_none().then_some(next);
        let id = if next.is_some() { 1 } else { 2 };
        Response::json(&json!({ "items": [{ "id": id, "day": "2024-07-25" }], "next": next }))
    });
    let auth = r#"{ api_key: { place: query, name: key, value: "{{ vars.a }}" } }"#;
    let yaml = pipeline(&server, auth).replace(
        "    records: items",
        "    records: items\n    paginate: { next_url: { path: next } }",
    );
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &SECRETS);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let keys = server.requests().into_iter().filter_map(|it| it.param("key").map(str::to_owned));
    assert!(keys.eq(std::iter::repeat_n("s3cr3t/of A+".to_owned(), 2 * PARTS)));
}

// ---- Tokens

const LOGIN: &str = r#"
    login:
      url: /login
      headers: { X-Client: "{{ vars.b }}" }
      body: { user: etl, password: "{{ vars.a }}", empty: "{{ vars.b | replace(vars.b, '') }}" }
      token: { body: session.token }
      expires: { in: session.seconds }
      send: { name: X-Session, prefix: "Session " }"#;

/// A server whose tokens are good for a number of requests. Answers that refuse wait for each
/// other, so that all requests under way are refused before one of them logs in anew.
fn with_sessions(good_for: usize) -> Server {
    let (logins, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Server::start(move |request| {
        if request.path == "/login" {
            assert_eq!(request.json(), json!({ "user": "etl", "password": "s3cr3t/of A+" }));
            assert_eq!(request.header("x-client"), "s3cr3t:of B?");
            let token = format!("session-{}", logins.fetch_add(1, SeqCst));
            used.store(0, SeqCst);
            return Response::status(
                201,
                &json!({ "session": { "token": token, "seconds": "3600" } }),
            );
        }
        let newest = format!("Session session-{}", logins.load(SeqCst).max(1) - 1);
        let is_good = request.header("x-session") == newest && used.fetch_add(1, SeqCst) < good_for;
        if is_good { page(request) } else { refuse() }
    })
}

fn log_ins(server: &Server, path: &str) -> usize {
    server.requests().iter().filter(|it| it.path == path).count()
}

#[test]
fn a_log_in_gives_a_token_that_all_requests_share() {
    let server = with_sessions(PARTS);

    let asked = export(&server, LOGIN, &["session-0"]);

    assert_eq!((log_ins(&server, "/login"), asked.len()), (1, PARTS));
}

/// With one try for each request: a refused token is no failed try.
#[test]
fn a_token_that_ends_during_the_run_is_fetched_again_once_and_is_no_failed_try() {
    let server = with_sessions(PARTS - 10);

    let asked = export(&server, LOGIN, &["session-0", "session-1"]);

    assert_eq!(log_ins(&server, "/login"), 2);
    assert!((PARTS + 1..=PARTS + 8).contains(&asked.len()), "{} requests", asked.len());
}

#[test]
fn a_token_that_is_always_refused_ends_the_run_after_a_second_one() {
    let server = with_sessions(0);
    let workspace = Workspace::new();

    let ended = workspace.run(&pipeline(&server, LOGIN), &[], &SECRETS);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("refuses the credentials with status 401"), "{}", ended.stderr);
    let items = server.requests().len() - log_ins(&server, "/login");
    assert!(items < PARTS, "{items} requests, not many more than were under way, twice");
}

#[test]
fn a_token_may_come_in_a_header_and_be_as_long_as_iam_of_huawei_makes_it() {
    let token = "MII".repeat((32 << 10) / 3);
    let server = Server::start({
        let token = token.clone();
        move |request| match request.path.as_str() {
            "/login" => Response::status(201, &json!({})).header("X-Subject-Token", &token),
            _ if request.header("x-auth-token") == token => page(request),
            _ => refuse(),
        }
    });

    let auth = "{ login: { url: /login, token: { header: X-Subject-Token }, expires: { after: 12h }, send: { name: X-Auth-Token } } }";
    export(&server, auth, &["MIIMII"]);

    assert_eq!(log_ins(&server, "/login"), 1);
}

#[test]
fn what_a_log_in_refuses_is_not_asked_again_and_shows_nothing() {
    assert_snapshot!(refused(LOGIN, At::LogIn, 401), @r"
    cause: request failed after 1 try
    cause: cannot log in
    cause: `SERVER/login` answers the log-in with status 401
    hint: check the user, password, token or key for the log-in, and its URL; `tracklake list` shows the variables
    ");
    assert_snapshot!(refused(LOGIN, At::LogIn, 200), @r"
    cause: request failed after 1 try
    cause: cannot log in
    cause: the answer of `SERVER/login` gives no token: it has no text at `session.token`
    hint: check the URL of the log-in, and where `auth` in the pipeline file looks for the token
    ");
}

#[test]
fn a_token_that_was_given_is_not_shown_when_a_server_repeats_it() {
    refused(LOGIN, At::Items, 403);
}

#[test]
fn what_variables_put_into_a_log_in_is_not_shown_even_if_none_is_said_to_be_secret() {
    let oauth2 = r#"{ oauth2: { token_url: /login, client_id: etl, params: { password: "{{ vars.a }}", code: "{{ vars.b }}" } } }"#;
    for auth in [LOGIN, oauth2] {
        let server = Server::start(|request| {
            let form = Some(request.body.as_bytes()).filter(|it| !it.starts_with(b"{"));
            let pairs = url::form_urlencoded::parse(form.unwrap_or_default());
            let echo = json!([request.header("x-client"), request.body, pairs.collect::<Vec<_>>()]);
            Response::status(401, &echo)
        });
        let yaml = pipeline(&server, auth).replace(", secret: true", "");
        let workspace = Workspace::new();

        let ended = workspace.run(&yaml, &["-vvv"], &SECRETS);

        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(ended.stderr.contains("answers the log-in with status 401: ["), "{}", ended.stderr);
        says_nothing(&workspace, &ended, &[]);
    }
}

#[test]
fn what_stands_in_the_url_of_a_log_in_is_shown() {
    let server = Server::start(|_| refuse());
    let auth = r#"{ login: { url: "/in/{{ vars.b }}/login", body: { region: "{{ vars.b }}", password: "{{ vars.a }}" }, token: { body: token } } }"#;
    let yaml = pipeline(&server, auth).replace(", secret: true", "");

    let ended = Workspace::new().run(&yaml, &[], &[("OWN_A", "s3cr3t"), ("OWN_B", "north-4")]);

    let url = format!("`{}/in/north-4/login` answers the log-in with status 401", server.url());
    assert!(ended.stderr.contains(&url), "{}", ended.stderr);
}

#[test]
fn a_log_in_is_not_redirected() {
    let elsewhere = Server::start(|_| Response::json(&json!({})));
    let target = elsewhere.url();
    let server = Server::start(move |_| Response::text(307, "").header("location", &target));
    let workspace = Workspace::new();

    let ended = workspace.run(&pipeline(&server, LOGIN), &[], &SECRETS);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!(elsewhere.lines(), [""; 0], "a password goes where it was sent, and nowhere else");
}

#[test]
fn an_iam_that_is_busy_is_asked_again() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.path.as_str() {
        "/login" if tries.fetch_add(1, SeqCst) == 0 => Response::text(503, ""),
        "/login" => Response::json(&json!({ "session": { "token": "session-0" } })),
        _ => page(request),
    });
    let yaml = pipeline(&server, LOGIN)
        .replace("max_in_flight: 8", "max_in_flight: 1")
        .replace("max_attempts: 1", "max_attempts: 2");

    let ended = Workspace::new().run(&yaml, &[], &SECRETS);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(log_ins(&server, "/login"), 2);
}

/// Answers the first log-in with `first`; one request after the other.
fn busy_iam(first: fn() -> Response) -> (Server, String) {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.path.as_str() {
        "/login" if tries.fetch_add(1, SeqCst) == 0 => first(),
        "/login" => Response::json(&json!({ "session": { "token": "session-0" } })),
        _ => page(request),
    });
    let yaml = pipeline(&server, LOGIN)
        .replace("max_in_flight: 8", "max_in_flight: 1")
        .replace("max_attempts: 1, max_delay_secs: 0.01", "max_attempts: 2, max_delay_secs: 5");
    (server, yaml)
}

#[test]
fn an_iam_that_asks_to_wait_is_left_alone_for_so_long() {
    for status in [429, 503] {
        let first: fn() -> Response = match status {
            429 => || Response::text(429, "").header("Retry-After", "2"),
            _ => || Response::text(503, "").header("Retry-After", "2"),
        };
        let (server, yaml) = busy_iam(first);

        let started = Instant::now();
        let ended = Workspace::new().run(&yaml, &[], &SECRETS);

        assert_eq!(ended.code, Some(7), "{}", ended.stderr);
        assert!(started.elapsed() >= Duration::from_secs(2), "it came back too early");
        assert_eq!(log_ins(&server, "/login"), 2);
        assert!(ended.stderr.contains("rate limit: resumes at 2"), "{}", ended.stderr);
    }
}

#[test]
fn an_iam_that_asks_to_wait_for_longer_than_a_run_waits_is_not_asked_again() {
    let (server, yaml) = busy_iam(|| Response::text(429, "").header("Retry-After", "86400"));

    let ended = Workspace::new().run(&yaml, &[], &SECRETS);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!(log_ins(&server, "/login"), 1);
    assert!(
        ended.stderr.contains("/login` asks with status 429 to wait 24 h: it resumes at 2"),
        "{}",
        ended.stderr
    );
}

// ---- OAuth 2

/// A token endpoint that checks the request; refresh tokens are rotated.
fn with_oauth2(authorization: &'static str, forms: [String; 2]) -> Server {
    let (given, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Server::start(move |request| {
        if request.path == "/oauth/token" {
            let nth = given.fetch_add(1, SeqCst);
            assert_eq!(request.header("authorization"), authorization);
            assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
            assert_eq!(request.body, forms[nth]);
            used.store(0, SeqCst);
            return Response::json(&json!({
                "access_token": format!("access-{nth}"), "token_type": "Bearer", "expires_in": 3600,
                "refresh_token": format!("refresh-{nth}"),
            }));
        }
        let newest = format!("Bearer access-{}", given.load(SeqCst).max(1) - 1);
        let is_good = request.header("authorization") == newest && used.fetch_add(1, SeqCst) < 30;
        if is_good { page(request) } else { refuse() }
    })
}

#[test]
fn oauth2_takes_the_credentials_of_a_client() {
    // base64 of "etl:s3cr3t%2Fof+A%2B"
    let form = "grant_type=client_credentials&scope=read+logs&audience=api";
    let server = with_oauth2("Basic ZXRsOnMzY3IzdCUyRm9mK0ElMkI=", [form, form].map(str::to_owned));

    let auth = r#"{ oauth2: { token_url: /oauth/token, client_id: etl, client_secret: "{{ vars.a }}", scope: read logs, params: { audience: api } } }"#;
    export(&server, auth, &["access-0", "access-1", "ZXRsOnMzY3IzdCUyRm9mK0ElMkI="]);

    assert_eq!(log_ins(&server, "/oauth/token"), 2);
    assert_snapshot!(refused(auth, At::LogIn, 400), @r"
    cause: request failed after 1 try
    cause: cannot log in
    cause: `SERVER/oauth/token` answers the log-in with status 400
    hint: check the user, password, token or key for the log-in, and its URL; `tracklake list` shows the variables
    ");
}

#[test]
fn oauth2_takes_a_refresh_token_and_then_the_ones_that_it_is_given() {
    let client = "client_id=etl&client_secret=s3cr3t%2Fof+A%2B";
    let first = format!("grant_type=refresh_token&refresh_token=s3cr3t%3Aof+B%3F&{client}");
    let second = format!("grant_type=refresh_token&refresh_token=refresh-0&{client}");
    let server = with_oauth2("", [first, second]);

    let auth = r#"{ oauth2: { token_url: /oauth/token, client_id: etl, client_secret: "{{ vars.a }}", client_auth: body, grant: { refresh_token: "{{ vars.b }}" } } }"#;
    export(&server, auth, &["access-0", "refresh-0", "refresh-1"]);

    assert_eq!(log_ins(&server, "/oauth/token"), 2);
    refused(auth, At::LogIn, 401);
    refused(auth, At::Items, 403);
}

// ---- Signatures

#[test]
fn a_signed_request_is_not_redirected_because_the_signature_holds_for_one_url() {
    let server = Server::start(|_| Response::text(302, "").header("location", "/elsewhere"));
    let auth = r#"{ sdk_hmac_sha256: { access_key: "{{ vars.a }}", secret_key: "{{ vars.b }}" } }"#;
    let workspace = Workspace::new();

    let ended = workspace.run(&pipeline(&server, auth), &[], &SECRETS);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let cause = "redirects to `/elsewhere`, which the signature does not cover";
    assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    assert_eq!(log_ins(&server, "/elsewhere"), 0);
}

#[test]
fn one_wrong_time_of_the_server_does_not_end_the_run() {
    let answers = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let server_time = match answers.fetch_add(1, SeqCst) {
            0 => "20990101T000000Z",
            _ if request.header("x-sdk-date").starts_with("20300101T") => return page(request),
            _ => "20300101T000000Z",
        };
        let message = format!("signature expired,server time:{server_time}");
        Response::status(401, &json!({ "error_code": "APIGW.0303", "error_msg": message }))
    });
    let auth = r#"{ sdk_hmac_sha256: { access_key: "{{ vars.a }}", secret_key: "{{ vars.b }}" } }"#;
    let yaml = pipeline(&server, auth).replace("max_in_flight: 8", "max_in_flight: 1");

    let ended = Workspace::new().run(&yaml, &[], &SECRETS);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(server.requests().len(), PARTS + 2);
}

// ---- Where credentials come from

/// Runs a pipeline whose secret is given in some way; gives the token that was sent, or what is said.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn sent_token(
    declared: &str,
    file: &str,
    args: &[&str],
    env: &[(&str, &str)],
) -> Result<String, String> {
    let server = Server::start(page);
    let workspace = Workspace::new();
    fs::write(workspace.path().join("token"), file).unwrap();
    let yaml = pipeline(&server, r#"{ bearer: { token: "{{ vars.a }}" } }"#)
        .replace(r#"a: { env: OWN_A, default: "", secret: true }"#, declared);

    let ended = workspace.run(&yaml, &[&["--quiet"], args].concat(), env);

    match ended.code {
        Some(7) => Ok(server.requests()[0].header("authorization").replace("Bearer ", "")),
        Some(3) => Err(ended.stderr),
        _ => panic!("{}", ended.stderr),
    }
}

const FROM_FILE: &str = "a: { env: OWN_A, file: token, secret: true }";
const FROM_ENV: &str = "a: { env: OWN_A, secret: true }";

#[test]
fn a_secret_comes_from_a_file_without_the_line_end() {
    let of_file = |text: &str| sent_token(FROM_FILE, text, &[], &[]).unwrap();

    assert_eq!(of_file("t0ken"), "t0ken");
    assert_eq!(of_file("t0ken\n"), "t0ken");
    assert_eq!(of_file("t0ken\r\n"), "t0ken");
    let named = sent_token(FROM_ENV, "t0ken\n", &[], &[("OWN_A_FILE", "token")]);
    assert_eq!(named.unwrap(), "t0ken", "the environment may name the file");
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_a_file() {
    let env = [("OWN_A", "of-environment")];
    let given =
        |args: &[&str], env: &[(&str, &str)]| sent_token(FROM_FILE, "of-file", args, env).unwrap();

    assert_eq!(given(&["--set", "a=of-command-line"], &env), "of-command-line");
    assert_eq!(given(&[], &env), "of-environment");
    assert_eq!(given(&[], &[("OWN_A", "")]), "of-file");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = FROM_FILE.replace("file: token", "file: /run/secrets/missing");

    assert_snapshot!(sent_token(&missing, "", &[], &[]).unwrap_err(), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:4:3: vars.a: cannot read `/run/secrets/missing`: No such file or directory (os error 2)
        4 |   a: { env: OWN_A, file: /run/secrets/missing, secret: true }
          |   ^
    ");
    let named = sent_token(FROM_ENV, "", &[], &[("OWN_A_FILE", "missing")]).unwrap_err();
    assert_snapshot!(named, @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:4:3: vars.a: cannot read `missing`: No such file or directory (os error 2)
        4 |   a: { env: OWN_A, secret: true }
          |   ^
    ");
}

#[test]
fn a_credential_with_a_line_break_is_named_before_anything_is_sent() {
    let in_file = sent_token(FROM_FILE, "t0ken\n\n", &[], &[]).unwrap_err();
    let in_variable = sent_token(FROM_ENV, "", &[], &[("OWN_A", "t0\r\nken")]).unwrap_err();

    for said in [in_file, in_variable] {
        let problem = "source.auth.bearer.token: the value of OWN_A has a line break in it, which a header cannot carry";
        assert!(said.contains(problem), "{said}");
        assert!(!said.contains("t0"), "{said}");
    }
    let server = Server::start(page);
    for auth in [
        r#"{ header: { name: X-Key, value: "Key {{ vars.a }}" } }"#,
        r#"{ api_key: { place: header, name: X-Key, value: "{{ vars.a }}" } }"#,
        r#"{ login: { url: /login, headers: { X-Key: "{{ vars.a }}" }, token: { body: token } } }"#,
        r#"{ sdk_hmac_sha256: { access_key: "{{ vars.a }}", secret_key: x } }"#,
        r#"{ sdk_hmac_sha256: { access_key: x, secret_key: x, security_token: "{{ vars.a }}" } }"#,
    ] {
        let ended = Workspace::new().run(&pipeline(&server, auth), &[], &[("OWN_A", "t0\nken")]);

        assert_eq!(ended.code, Some(3), "{auth}: {}", ended.stderr);
        assert!(ended.stderr.contains("the value of OWN_A has a line break"), "{}", ended.stderr);
    }
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn a_file_of_certificates_that_has_none_is_named() {
    let server = Server::start(page);
    let tls = |file: &str| {
        let auth = format!("none\n  tls: {{ ca_file: {file} }}");
        let ended = Workspace::new().run(&pipeline(&server, &auth), &["--quiet"], &[]);
        assert_eq!(ended.code, Some(3));
        ended.stderr
    };

    assert_snapshot!(tls("missing.pem"), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:9:19: source.tls.ca_file: cannot read `missing.pem`: No such file or directory (os error 2)
        9 |   tls: { ca_file: missing.pem }
          |                   ^
    ");
    assert_snapshot!(tls("own.yaml"), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:9:19: source.tls.ca_file: `own.yaml` has no certificates in PEM
        9 |   tls: { ca_file: own.yaml }
          |                   ^
    ");
}

#[test]
fn a_log_in_by_plain_http_to_another_host_is_refused() {
    let server = Server::start(page);
    let auth = LOGIN.replace("url: /login", "url: http://iam.example.org/login");

    let ended = Workspace::new().run(&pipeline(&server, &auth), &["--quiet"], &SECRETS);

    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("would send credentials unencrypted"), "{}", ended.stderr);
    assert_eq!(server.lines(), [""; 0]);
}
