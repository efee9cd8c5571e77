//! What a person sees when something is wrong: the message, the exit code, and that the files of
//! the last good run are as they were.

mod support;

use std::{
    process::Command,
    sync::{Mutex, mpsc},
    time::Duration,
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

const TOKEN: &str = "y0_s3cr3t-t0ken";

/// All variables that [`FILE`] needs, for what fails before anything is asked.
const SET: [(&str, &str); 2] = [("OWN_URL", "http://127.0.0.1:1"), ("OWN_TOKEN", TOKEN)];

const FILE: &str = r#"version: 1
pipeline: own
vars:
  url:      { env: OWN_URL, description: where the API is }
  token:    { env: OWN_TOKEN, default: "", secret: true }
  user:     { env: OWN_USER, default: "" }
  password: { env: OWN_PASSWORD, default: "", secret: true }
source:
  base_url: "{{ vars.url }}"
  auth:
    one_of:
      - bearer: { token: "{{ vars.token }}" }
      - basic: { user: "{{ vars.user }}", password: "{{ vars.password }}" }
  limits: { requests_per_second: 10000, max_in_flight: 1, max_response_mb: 1 }
  retry: { max_attempts: 2, max_delay_secs: 0.01 }
streams:
  items:
    request: { path: /items, query: { q: private } }
    records: items
    paginate: { offset: { total: total } }
    columns:
      id: { from: id, type: int64 }
      day: { from: day, type: date }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
"#;

/// A page with the ids from 1 to `count`, which are all there are.
fn page(count: usize) -> Value {
    let items: Value = (1..=count).map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
    json!({ "items": items, "total": count })
}

/// A directory with what a good run has published.
#[track_caller]
fn after_a_good_run() -> Workspace {
    let server = Server::start(|_| Response::json(&page(2)));
    let workspace = Workspace::new();
    let ended = against(&workspace, &server, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!workspace.published().is_empty());
    workspace
}

/// Runs [`FILE`] against a server.
fn against(workspace: &Workspace, server: &Server, args: &[&str]) -> Ended {
    workspace.run(FILE, args, &[("OWN_URL", &server.url()), ("OWN_TOKEN", TOKEN)])
}

/// Runs what must not work after a good run and gives what is said on stderr.
#[track_caller]
fn refused(code: i32, yaml: &str, args: &[&str], env: &[(&str, &str)]) -> String {
    let workspace = after_a_good_run();
    let before = workspace.published();

    let ended = workspace.run(yaml, &[&["--quiet"], args].concat(), env);

    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert_eq!(workspace.published(), before, "what was published is not touched");
    shown(&ended)
}

/// Runs [`FILE`] against a server, which fails with exit code 4.
#[track_caller]
fn failed(server: &Server) -> String {
    failed_with(server, FILE)
}

#[track_caller]
fn failed_with(server: &Server, yaml: &str) -> String {
    refused(4, yaml, &[], &[("OWN_URL", &server.url()), ("OWN_TOKEN", TOKEN)])
}

/// What stands on stderr, without what differs between runs.
fn shown(ended: &Ended) -> String {
    let text = without(&ended.stderr, "127.0.0.1:", "SERVER", char::is_ascii_digit);
    let text = without(&text, "20240725T120000Z-", "RUN", char::is_ascii_hexdigit);
    without(&text, "(pid ", "(pid N", char::is_ascii_digit)
}

/// Replaces `start` and the characters after it that are part of it.
fn without(text: &str, start: &str, name: &str, part: fn(&char) -> bool) -> String {
    let mut pieces = text.split(start);
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push_str(name);
        clean.extend(piece.chars().skip_while(part));
    }
    clean
}

// ---- The pipeline file and its variables

#[test]
fn every_mistake_in_the_file_is_shown_with_its_place() {
    let yaml = FILE
        .replace("requests_per_second: 10000", "request_per_second: 10000")
        .replace("offset: { total: total }", "ofset: { total: total }")
        .replace("type: int64", "type: integer")
        .replace("key: [id]", "key: [ident]")
        .replace("column: day }\n", "column: dya, unit: days, zone: Europe/Moskow }\n");

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:14:13: source.limits.request_per_second: unknown key `request_per_second`, expected one of `requests_per_second`, `max_in_flight`, `timeout_secs`, `max_response_mb`, `max_requests`, `deadline`, `rate_headers`; did you mean `requests_per_second`?
        14 |   limits: { request_per_second: 10000, max_in_flight: 1, max_response_mb: 1 }
           |             ^
      own.yaml:20:17: streams.items.paginate.ofset: unknown choice `ofset`, expected one of `none`, `page`, `offset`, `link`, `token`, `next_url`, `last_record`; did you mean `offset`?
        20 |     paginate: { ofset: { total: total } }
           |                 ^
      own.yaml:22:29: streams.items.columns.id.type: unknown choice `integer`, expected one of `string`, `int64`, `float64`, `boolean`, `date`, `timestamp`, `duration`, `json`
        22 |       id: { from: id, type: integer }
           |                             ^
      own.yaml:24:23: streams.items.write.merge.key: no column is called `ident`; there is `day`
        24 |     write: { merge: { key: [ident] } }
           |                       ^
      own.yaml:25:29: streams.items.partition_by.column: no column is called `dya`; there is `day`; did you mean `day`?
        25 |     partition_by: { column: dya, unit: days, zone: Europe/Moskow }
           |                             ^
      own.yaml:25:40: streams.items.partition_by.unit: unknown choice `days`, expected one of `hour`, `day`, `month`, `year`; did you mean `day`?
        25 |     partition_by: { column: dya, unit: days, zone: Europe/Moskow }
           |                                        ^
      own.yaml:25:52: streams.items.partition_by.zone: `Europe/Moskow` is not a time zone of the IANA database, such as `Europe/Moscow`; did you mean `Europe/Moscow`?
        25 |     partition_by: { column: dya, unit: days, zone: Europe/Moskow }
           |                                                    ^
    ");
}

#[test]
fn a_mistake_in_the_only_stream_or_column_is_the_only_one_reported() {
    let (above, _) = FILE.split_once("  items:").unwrap();
    for (yaml, problem) in [
        (FILE.replace("    partition_by: { column: day }\n", ""), "`partition_by` is missing"),
        (FILE.replace(", type: int64", "").replace(", type: date", ""), "`type` is missing"),
        (above.replace("streams:", "streams: {}"), "a pipeline needs at least one stream"),
    ] {
        let shown = refused(3, &yaml, &[], &SET);
        let mut problems = shown.lines().filter(|it| it.contains("own.yaml:"));
        assert!(problems.all(|it| it.contains(problem)), "{shown}");
    }
}

/// A known collision of FNV-1a with 32 bits, both 0x5e4daa9d.
#[test]
fn columns_that_parquet_readers_would_take_for_each_other_are_refused() {
    let yaml = FILE.replace(
        "      day: {",
        "      costarring: { from: a, type: string }\n      liquid: { from: b, type: string }\n      day: {",
    );

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:24:7: streams.items.columns.liquid: `liquid` and `costarring` have the same field id in Parquet files, which is made of the name, so that readers would take one column for the other: rename one of them
        24 |       liquid: { from: b, type: string }
           |       ^
    ");
}

#[test]
fn rows_of_a_lost_parent_go_only_where_a_slice_says_which_they_are() {
    for write in ["{ merge: { key: [id] } }", "{ append: { key: [id] } }", "{ replace: all }"] {
        let yaml = FILE.replace(
            "    write: { merge: { key: [id] } }",
            &format!("    write: {write}\n    on_gone: delete"),
        );

        let told = refused(3, &yaml, &[], &SET);

        let expected = "own.yaml:25:14: streams.items.on_gone: `delete` needs to know which rows are those of a parent: set `write: { replace: { scope: slice,";
        assert!(told.contains(expected), "{write}: {told}");
    }
}

#[test]
fn marking_what_goes_needs_a_key_and_its_column_for_itself() {
    let yaml = FILE
        .replace("      day: {", "      _deleted_at: { from: gone, type: timestamp }\n      day: {")
        .replace(
            "    write: { merge: { key: [id] } }",
            "    write: { replace: slice }\n    deletes: mark",
        );

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:23:7: streams.items.columns._deleted_at: this name is taken by the column of `deletes: mark`
        23 |       _deleted_at: { from: gone, type: timestamp }
           |       ^
      own.yaml:26:14: streams.items.deletes: `mark` needs to know its rows again: give `write` a key, such as `replace: { scope: slice, key: [id] }`
        26 |     deletes: mark
           |              ^
    ");
}

#[test]
fn a_partition_has_a_name_that_readers_neither_hide_nor_see_twice() {
    for (name, expected) in [
        (
            "_day",
            "pyarrow and pandas read no directory that begins with `_`, and no row of `_day=…`; choose another name",
        ),
        ("id", "`id` is also a column: readers would see it twice; choose another name with `as`"),
    ] {
        let yaml = FILE.replace("column: day }\n", &format!("column: day, as: {name} }}\n"));

        let shown = refused(3, &yaml, &[], &SET);

        assert!(
            shown.contains(&format!("own.yaml:25:38: streams.items.partition_by.as: {expected}\n")),
            "{shown}"
        );
    }
}

#[test]
fn a_file_that_is_no_yaml_is_shown_with_the_place() {
    let yaml = FILE.replace("    records: items\n", "    records: [items\n");

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:20:13: illegal placement of ':' indicator
        20 |     paginate: { offset: { total: total } }
           |             ^
    ");
}

#[test]
fn an_unknown_key_is_shown_with_the_one_that_was_probably_meant() {
    let yaml = FILE.replace("    records: items\n", "    record: items\n    colour: red\n");

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:19:5: streams.items.record: unknown key `record`, expected one of `description`, `request`, `records`, `explode`, `paginate`, `cursor`, `slices`, `columns`, `unknown_fields`, `write`, `partition_by`, `responses`, `on_gone`, `deletes`, `max_delete_ratio`, `expect`, `max_rejected`; did you mean `records`?
        19 |     record: items
           |     ^
      own.yaml:20:5: streams.items.colour: unknown key `colour`, expected one of `description`, `request`, `records`, `explode`, `paginate`, `cursor`, `slices`, `columns`, `unknown_fields`, `write`, `partition_by`, `responses`, `on_gone`, `deletes`, `max_delete_ratio`, `expect`, `max_rejected`; did you mean `columns`?
        20 |     colour: red
           |     ^
    ");
}

#[test]
fn an_unknown_stream_is_named_with_what_was_probably_meant() {
    assert_snapshot!(refused(3, FILE, &["--stream", "item"], &SET), @r"
    error: pipeline `own` has no stream `item`
      hint: did you mean `items`?
    ");
}

#[test]
fn an_unknown_variable_on_the_command_line_is_named() {
    assert_snapshot!(refused(3, FILE, &["--set", "nope=1", "--set", "ulr=x"], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:3:1: vars: `--set nope=…` names no variable of this pipeline
        3 | vars:
          | ^
      own.yaml:3:1: vars: `--set ulr=…` names no variable of this pipeline; did you mean `url`?
        3 | vars:
          | ^
    ");
}

#[test]
fn an_unknown_variable_in_a_template_is_named() {
    let yaml = FILE
        .replace("q: private", "q: '{{ vars.querry }} {{ slice.start }}'")
        .replace("user:     {", "query:    { default: x }\n  user:     {");

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:19:42: streams.items.request.query.q: the template names `slice.start`, but there is no `slice` here
        19 |     request: { path: /items, query: { q: '{{ vars.querry }} {{ slice.start }}' } }
           |                                          ^
      own.yaml:19:42: streams.items.request.query.q: the template names `vars.querry`, but there are `vars.password`, `vars.query`, `vars.token`, `vars.url`, `vars.user`; did you mean `vars.query`?
        19 |     request: { path: /items, query: { q: '{{ vars.querry }} {{ slice.start }}' } }
           |                                          ^
    ");
}

#[test]
fn a_missing_variable_is_named_by_its_environment_variable() {
    assert_snapshot!(refused(3, FILE, &[], &[("OWN_TOKEN", TOKEN)]), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:4:3: vars.url: `url` needs a value: set OWN_URL, or pass `--set url=…`
        4 |   url:      { env: OWN_URL, description: where the API is }
          |   ^
    ");
}

#[test]
fn a_file_can_be_checked_without_its_variables() {
    let check = |yaml: &str| {
        let workspace = Workspace::new();
        // Writes the file; it is checked instead of run.
        workspace.command(yaml, &[]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        command.args(["check", "own.yaml", "--allow-unset"]).current_dir(workspace.path());
        Ended::of(&command.env_clear().output().unwrap())
    };

    let fine = check(FILE);
    let wrong = check(&FILE.replace("records: items", "recrods: items"));

    assert_eq!((fine.code, fine.stdout.as_str()), (Some(0), "ok: own.yaml (1 stream)\n"));
    assert_eq!(fine.stderr, "");
    assert_eq!(wrong.code, Some(3));
    assert!(wrong.stderr.contains("did you mean `records`?"), "{}", wrong.stderr);
}

#[test]
fn two_ways_to_log_in_are_one_too_many() {
    let env = [
        ("OWN_URL", "http://127.0.0.1:1"),
        ("OWN_TOKEN", TOKEN),
        ("OWN_USER", "ann"),
        ("OWN_PASSWORD", "pass-word"),
    ];

    assert_snapshot!(refused(3, FILE, &[], &env), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:11:5: source.auth.one_of: 2 ways to log in are set (OWN_TOKEN; OWN_USER and OWN_PASSWORD): unset all but one
        11 |     one_of:
           |     ^
    ");
}

#[test]
fn no_way_to_log_in_is_too_few() {
    assert_snapshot!(refused(3, FILE, &[], &[("OWN_URL", "http://127.0.0.1:1")]), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:11:5: source.auth.one_of: no way to log in is set: set OWN_TOKEN, or OWN_USER and OWN_PASSWORD
        11 |     one_of:
           |     ^
    ");
}

#[test]
fn half_a_way_to_log_in_names_the_other_half() {
    let env = [("OWN_URL", "http://127.0.0.1:1"), ("OWN_USER", "ann")];

    assert_snapshot!(refused(3, FILE, &[], &env), @r#"
    error: pipeline file `own.yaml` is not valid
      own.yaml:13:9: source.auth.one_of.1: `password` has no value, but the rest of this way to log in has: set OWN_PASSWORD, or pass `--set password=…`
        13 |       - basic: { user: "{{ vars.user }}", password: "{{ vars.password }}" }
           |         ^
    "#);
}

#[test]
fn plain_http_to_another_host_is_refused_before_anything_is_sent() {
    let env = [("OWN_URL", "http://tracker.example.org"), ("OWN_TOKEN", TOKEN)];

    assert_snapshot!(refused(3, FILE, &[], &env), @r#"
    error: pipeline file `own.yaml` is not valid
      own.yaml:9:13: source.base_url: `http://tracker.example.org` would send credentials unencrypted: use `https:`, or set `source.allow_http: true`
        9 |   base_url: "{{ vars.url }}"
          |             ^
    "#);
}

#[test]
fn a_secret_may_not_stand_in_a_url() {
    let yaml = FILE.replace("q: private", "key: '{{ vars.token }}'");

    assert_snapshot!(refused(3, &yaml, &[], &SET), @r"
    error: pipeline file `own.yaml` is not valid
      own.yaml:18:44: streams.items.request.query.key: `vars.token` is a secret and would be printed with the URL: use it in `auth`, `headers` or a request body
        18 |     request: { path: /items, query: { key: '{{ vars.token }}' } }
           |                                            ^
    ");
}

// ---- The source

#[test]
fn a_host_that_does_not_answer_is_named() {
    // Nobody listens where a server has just been.
    let url = Server::start(|_| Response::json(&page(0))).url();

    assert_snapshot!(refused(4, FILE, &[], &[("OWN_URL", &url), ("OWN_TOKEN", TOKEN)]), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: request failed after 2 tries
      cause: cannot connect to `http://SERVER/items`
      cause: Connection refused (os error 111)
      hint: check the base URL, the network and the proxy settings
    ");
}

#[test]
fn a_wrong_token_is_told_from_other_failures() {
    let server = Server::start(|_| Response::status(401, &json!({ "message": "token expired" })));

    assert_snapshot!(failed(&server), @r#"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: `http://SERVER/items` refuses the credentials with status 401: {"message":"token expired"}
      hint: check the token, password or key that the pipeline is given; `tracklake list` shows its variables
    "#);
    assert_eq!(server.lines().len(), 1, "a token does not get better by trying again");
}

#[test]
fn a_log_in_page_with_status_200_is_no_data() {
    let page = "<!DOCTYPE html><html><head><title>Log in -\n Jira</title></head></html>";
    let server =
        Server::start(move |_| Response::text(200, page).header("content-type", "text/html"));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: `http://SERVER/items` answers with a web page instead of JSON: Log in - Jira
      hint: this is how a log-in page or a wrong base URL looks: check both
    ");
}

#[test]
fn a_body_that_is_no_json_is_shown_with_the_place() {
    let body = r#"{ "items": [ { "id": 1, "day": 2024-07-25 } ], "total": 1 }"#;
    let server = Server::start(move |_| Response::text(200, body));

    assert_snapshot!(failed(&server), @r#"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: the body from `http://SERVER/items` cannot be read after 1 try
      cause: the body is not JSON: expected `,` or `}` at line 1, column 36 (byte 35), near `"id": 1, "day": 2024-07-25 } ], "total":`
    "#);
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn a_body_that_ends_too_early_is_asked_for_again_and_then_fails() {
    let server = Server::start(|_| {
        let body = page(2).to_string();
        Response::text(200, &body[..body.len() - 12])
    });

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: the body from `http://SERVER/items` cannot be read after 2 tries
      cause: the body breaks off after 65 bytes: expected `,` or `]` there
    ");
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn a_response_that_breaks_off_is_asked_for_again_and_then_fails() {
    let server = Server::start(|_| Response::json(&page(2)).cut());

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: request failed after 2 tries
      cause: the response from `http://SERVER/items` broke off
      cause: end of file before message length reached
    ");
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn a_body_without_records_is_no_empty_success() {
    let server = Server::start(|_| Response::json(&json!({ "issues": [], "total": 0 })));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: the body from `http://SERVER/items` has no records at `items`: the object has the keys `issues`, `total`
      hint: correct `records` in the pipeline file; if the source reports a failure so, let `responses` say what to do, such as `{ when: { body: { path: error } }, then: retry }`
    ");
}

#[test]
fn fewer_records_than_the_total_are_no_success() {
    let server = Server::start(|request| {
        let whole = page(2);
        let items = if request.number("offset") == 0 { whole["items"].clone() } else { json!([]) };
        Response::json(&json!({ "items": items, "total": 3 }))
    });

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: the API says 3 records, but only 2 different ones came
      hint: records moved while they were read: run again, or cut the stream into smaller slices
    ");
}

#[test]
fn a_page_that_comes_again_is_an_error_not_a_loop() {
    let server =
        Server::start(|_| Response::json(&json!({ "items": page(2)["items"], "total": 9 })));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: paging cannot go on
      cause: page 2 came back with nothing but records that earlier pages had
      hint: check `paginate` in the pipeline file against the API's documentation
    ");
    assert_eq!(server.lines(), ["GET /items?q=private&offset=0", "GET /items?q=private&offset=2"]);
}

#[test]
fn a_token_that_comes_again_is_an_error_not_a_loop() {
    let server = Server::start(|request| {
        let id = if request.param("after").is_some() { 2 } else { 1 };
        Response::json(&json!({ "items": [{ "id": id, "day": "2024-07-25" }], "next": "t1" }))
    });
    let yaml = FILE.replace("offset: { total: total }", "token: { body: next, param: after }");

    assert_snapshot!(failed_with(&server, &yaml), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: paging cannot go on
      cause: the token of the next page, `t1`, came back twice
      hint: check `paginate` in the pipeline file against the API's documentation
    ");
    assert_eq!(server.lines(), ["GET /items?q=private", "GET /items?q=private&after=t1"]);
}

#[test]
fn a_response_larger_than_declared_is_not_taken() {
    let server = Server::start(|_| Response::text(200, vec![b' '; 2 << 20]));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: request failed after 1 try
      cause: the response from `http://SERVER/items` is larger than 1 MiB
      hint: ask for smaller pages, or raise `limits.max_response_mb`
    ");
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn a_busy_server_that_stays_busy_is_a_failure() {
    let server =
        Server::start(|_| Response::text(503, "maintenance until 7").header("Retry-After", "0"));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: `http://SERVER/items` answers with status 503 after 2 tries: maintenance until 7
      hint: lower `requests_per_second`, or run at another time
    ");
    assert_eq!(server.lines().len(), 2);
}

// ---- Where credentials must not go

/// A server that nobody may ask.
fn elsewhere() -> Server {
    Server::start(|_| Response::json(&page(2)))
}

#[test]
fn a_redirect_to_another_origin_is_not_followed() {
    let other = elsewhere();
    let location = format!("{}/items?session=1", other.url());
    let server = Server::start(move |_| Response::text(302, "").header("Location", &location));

    assert_snapshot!(failed(&server), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: `http://SERVER/items` redirects to `http://SERVER/items`, another origin
      hint: set the base URL to where the API really is
    ");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

#[test]
fn a_redirect_within_the_origin_is_followed_with_the_credentials() {
    let server = Server::start(|request| match request.path.as_str() {
        "/items" => Response::text(307, "").header("Location", "/v2/items?q=private"),
        _ => Response::json(&page(3)),
    });
    let workspace = Workspace::new();

    let ended = against(&workspace, &server, &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(workspace.rows("items").len(), 3);
    assert_eq!(server.requests()[1].header("authorization"), format!("Bearer {TOKEN}"));
}

#[test]
fn a_redirect_that_would_lose_the_body_of_a_post_is_not_followed() {
    let server = Server::start(|request| match request.path.as_str() {
        "/items" => Response::text(302, "").header("Location", "/items/"),
        _ => Response::json(&page(2)),
    });
    let yaml = FILE.replace(
        "path: /items, query: { q: private }",
        "method: post, path: /items, body: { q: private }",
    );

    // Another request than that of the dataset: only a full refresh may bring it in.
    let env = [("OWN_URL", server.url()), ("OWN_TOKEN", TOKEN.to_owned())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_snapshot!(refused(4, &yaml, &["--full-refresh"], &env), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: `http://SERVER/items` redirects to `/items/`, which takes the body from the request
      hint: set the base URL to where the API really is
    ");
    assert_eq!(server.lines().len(), 1, "{:?}", server.lines());
}

#[test]
fn a_next_url_at_another_origin_is_not_followed() {
    let other = elsewhere();
    let next = format!("{}/items?page=2", other.url());
    let server =
        Server::start(move |_| Response::json(&json!({ "items": page(1)["items"], "next": next })));
    let yaml = FILE.replace("offset: { total: total }", "next_url: { path: next }");

    assert_snapshot!(failed_with(&server, &yaml), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: cannot make the request
      cause: the next page is at `http://SERVER/items`, another origin
      hint: set the base URL to where the API really is
    ");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

#[test]
fn a_link_to_another_origin_is_not_followed() {
    let other = elsewhere();
    let link = format!("<{}/items?page=2>; rel=\"next\"", other.url());
    let server = Server::start(move |_| Response::json(&page(1)).header("Link", &link));
    let yaml = FILE.replace("offset: { total: total }", "link: {}");

    assert_snapshot!(failed_with(&server, &yaml), @r"
    error: stream `items`: 1 of 1 slices could not be read, first `all`; nothing of it is published
      cause: cannot make the request
      cause: the next page is at `http://SERVER/items`, another origin
      hint: set the base URL to where the API really is
    ");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

// ---- Secrets

/// Runs [`FILE`] against a server that gives the credentials away, with all that can be logged.
#[track_caller]
fn says_nothing_of(secrets: &[&str], env: &[(&str, &str)], answer: fn(&Request) -> Response) {
    let server = Server::start(answer);
    let workspace = Workspace::new();
    let url = server.url();
    let env = [&[("OWN_URL", url.as_str())], env].concat();

    let ended = workspace.run(FILE, &["-vvv"], &env);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(!server.requests()[0].header("authorization").is_empty());
    let mut places = vec![("stdout".to_owned(), ended.stdout), ("stderr".to_owned(), ended.stderr)];
    places.extend(
        workspace
            .files()
            .into_iter()
            .map(|(path, bytes)| (path, String::from_utf8_lossy(&bytes).into_owned())),
    );
    for (place, text) in &places {
        for secret in secrets {
            let line = text.lines().find(|it| it.contains(secret));
            assert_eq!(line, None, "{place} has a secret");
        }
    }
}

#[test]
fn a_token_that_an_error_body_repeats_is_not_shown() {
    says_nothing_of(&[TOKEN, "s3cr3t"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization");
        Response::status(400, &json!({ "error": format!("cannot parse `{sent}`") }))
    });
}

#[test]
fn a_token_at_the_end_of_a_long_title_is_not_shown_in_part() {
    says_nothing_of(&[TOKEN, "y0_s3"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization");
        let title = format!("{}{sent}", "x".repeat(186));
        Response::text(400, format!("<html><title>{title}</title></html>"))
    });
}

#[test]
fn a_token_behind_many_spaces_is_not_shown_in_part() {
    says_nothing_of(&[TOKEN, "y0_s3"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization");
        Response::text(400, format!("no{}{sent}", " ".repeat(1185)))
    });
}

#[test]
fn a_token_that_a_header_repeats_is_not_shown() {
    says_nothing_of(&[TOKEN, "s3cr3t"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization");
        Response::text(200, "")
            .header("X-Seraph-LoginReason", &format!("AUTHENTICATION_DENIED {sent}"))
    });
}

#[test]
fn a_token_in_the_place_of_a_captcha_is_not_shown() {
    says_nothing_of(&[TOKEN, "s3cr3t"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization").trim_start_matches("Bearer ");
        let reason = format!("CAPTCHA_CHALLENGE; login-url=https://example.org/login?t={sent}");
        Response::text(403, "").header("X-Authentication-Denied-Reason", &reason)
    });
}

#[test]
fn a_token_in_the_target_of_a_redirect_is_not_shown() {
    says_nothing_of(&[TOKEN, "s3cr3t"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization").trim_start_matches("Bearer ");
        Response::text(302, "").header("Location", &format!("https://example.org/{sent}/login"))
    });
}

#[test]
fn a_password_that_an_error_body_repeats_in_base64_is_not_shown() {
    // base64 of "ann:pass-word"
    let secrets = ["pass-word", "YW5uOnBhc3Mtd29yZA=="];
    let env = [("OWN_USER", "ann"), ("OWN_PASSWORD", "pass-word")];

    says_nothing_of(&secrets, &env, |request| {
        let sent = request.header("authorization");
        Response::status(403, &json!({ "headers": { "Authorization": sent } }))
    });
}

#[test]
fn a_token_that_a_body_that_is_no_json_repeats_is_not_shown_in_part() {
    says_nothing_of(&[TOKEN, "y0_s3", "t0ken"], &[("OWN_TOKEN", TOKEN)], |request| {
        // The excerpt around the mistake ends inside of the token.
        Response::text(200, format!("Authorization: {} }}", request.header("authorization")))
    });
}

#[test]
fn a_token_that_paging_repeats_is_not_shown() {
    says_nothing_of(&[TOKEN, "s3cr3t"], &[("OWN_TOKEN", TOKEN)], |request| {
        let sent = request.header("authorization");
        Response::json(&json!({ "items": [], "total": format!("many, {sent}") }))
    });
}

// ---- Records

/// `good` records that fit, followed by `bad` ones.
fn mixed(good: usize, bad: usize) -> Server {
    Server::start(move |_| {
        let mut body = page(good);
        let items = body["items"].as_array_mut().into_iter().flatten();
        let mut items: Vec<Value> = items.map(Value::take).collect();
        items.extend((0..bad).map(|i| json!({ "id": format!("no. {i}"), "day": "2024-07-25" })));
        Response::json(&json!({ "items": items, "total": good + bad }))
    })
}

/// The lines of the only quarantine file.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn quarantined(workspace: &Workspace) -> Vec<Value> {
    let files = workspace.files();
    let mut found = files.iter().filter(|(path, _)| path.starts_with("quarantine/own/items/"));
    let (_, bytes) = found.next().unwrap();
    assert!(found.next().is_none());
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn a_few_records_that_do_not_fit_are_kept_as_they_came_and_the_rest_is_published() {
    let server = mixed(3, 1);
    let workspace = after_a_good_run();

    let ended = against(&workspace, &server, &["--quiet"]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_snapshot!(shown(&ended), @"");
    let ids: Vec<Value> = workspace.rows("items").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3]);
    let lines = quarantined(&workspace);
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line["raw"], r#"{"id":"no. 0","day":"2024-07-25"}"#);
    assert_eq!((&line["column"], &line["page"]), (&json!("id"), &json!(1)));
    assert_snapshot!(line["reason"].as_str().unwrap(), @r#"expected int64, found "no. 0""#);
}

#[test]
fn too_many_records_that_do_not_fit_publish_nothing() {
    let server = mixed(3, 11);
    let workspace = after_a_good_run();
    let before = workspace.published();

    let ended = against(&workspace, &server, &["--quiet"]);

    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_snapshot!(shown(&ended), @r#"
    error: stream `items`: 11 of 14 records do not fit, 10 are tolerated; nothing of it is published
      first: column `id`: expected int64, found "no. 0"
      hint: see the records and the reasons in `output/quarantine/own/items/RUN.jsonl`, then fix the column's type or raise `max_rejected`
    "#);
    assert_eq!(workspace.published(), before);
    assert_eq!(quarantined(&workspace).len(), 11);
}

// ---- The destination

#[test]
fn a_destination_that_is_no_place_is_refused_where_it_stands() {
    for (destination, column, expected) in [
        ("{ path: 'ftp://host/x' }", 22, "nothing can be written to `ftp://`"),
        ("{ path: 's3://' }", 22, "it names no bucket: write `s3://BUCKET/FOLDER`"),
        ("{ lease_secs: 2 }", 28, "a lease is from 3 to 3600 seconds long"),
    ] {
        let yaml = format!("{FILE}destination: {destination}\n");

        let said =
            refused(3, &yaml, &[], &[("OWN_URL", "http://127.0.0.1:9"), ("OWN_TOKEN", TOKEN)]);

        assert!(said.contains(expected), "{said}");
        assert!(said.contains(&format!("own.yaml:26:{column}")), "{said}");
    }
}

#[test]
fn what_a_bucket_refuses_is_named_and_no_key_is_shown() {
    let answer = |status: u16, code: &str| {
        let body =
            format!("<Error><Code>{code}</Code><AWSAccessKeyId>AKIDX</AWSAccessKeyId></Error>");
        (status, body)
    };
    for (answer, expected) in [
        (answer(403, "AccessDenied"), "the credentials do not allow it (403 AccessDenied)"),
        (answer(404, "NoSuchBucket"), "there is no such bucket (404 NoSuchBucket)"),
        (answer(403, "RequestTimeTooSkewed"), "the clock of this host differs too much"),
        (answer(403, "SignatureDoesNotMatch"), "the credentials are not accepted"),
    ] {
        let (status, body) = answer;
        let bucket = Server::start(move |_| Response::text(status, body.clone()));
        let url = bucket.url();
        let env = [
            ("OWN_URL", "http://127.0.0.1:9"),
            ("OWN_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_ACCESS_KEY_ID", "AKIDX"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ];

        let said = refused(6, FILE, &["--output", "s3://exports/own"], &env);

        assert!(said.starts_with("error: cannot open `s3://exports/own`\n"), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("\n  hint: "), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("AKIDX"), "{said}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn an_output_below_a_regular_file_is_named() {
    let server = Server::start(|_| Response::json(&page(2)));
    let workspace = after_a_good_run();
    let before = workspace.published();
    std::fs::write(workspace.path().join("file"), "mine").unwrap();

    let args = ["--quiet", "--output", "file/output"];
    let ended = against(&workspace, &server, &args);

    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert_snapshot!(shown(&ended), @r"
    error: cannot create directory `file/output`
      cause: Not a directory (os error 20)
      hint: check that the directory is writable and the disk has space, then run again
    ");
    assert_eq!(workspace.published(), before);
    assert_eq!(std::fs::read(workspace.path().join("file")).unwrap(), b"mine");
    assert!(server.requests().is_empty(), "nothing is asked that cannot be kept");
}

#[test]
fn a_report_that_cannot_be_kept_is_still_printed() {
    let workspace = after_a_good_run();
    let runs = workspace.path().join("output/_tracklake/own/runs");
    // The place is taken while the run is under way.
    let server = Server::start(move |_| {
        std::fs::remove_dir_all(&runs).unwrap();
        std::fs::File::create_new(&runs).unwrap();
        Response::json(&page(4))
    });

    let ended = against(&workspace, &server, &["--quiet"]);

    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stdout.contains("published"), "{}", ended.stdout);
    assert!(ended.stderr.contains("_tracklake/own/runs"), "{}", ended.stderr);
    assert_eq!(workspace.rows("items").len(), 4, "the rows are published all the same");
}

#[test]
fn a_second_run_is_refused_while_the_first_goes_on() {
    let (asked, first_request) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (asked, released) = (Mutex::new(asked), Mutex::new(released));
    let server = Server::start(move |_| {
        asked.lock().unwrap().send(()).unwrap();
        // Ends when the test has seen enough, or has failed.
        let _ = released.lock().unwrap().recv();
        Response::json(&page(3))
    });
    let workspace = after_a_good_run();
    let before = workspace.published();
    let url = server.url();
    let env = [("OWN_URL", url.as_str()), ("OWN_TOKEN", TOKEN)];

    let first = workspace.command(FILE, &["--quiet"]).envs(env).spawn().unwrap();
    first_request.recv_timeout(Duration::from_mins(1)).unwrap();
    let second = workspace.run(FILE, &["--quiet"], &env);
    let between = workspace.published();
    drop(release);
    let holder = first.id();
    let first = Ended::of(&first.wait_with_output().unwrap());

    assert_eq!(second.code, Some(6), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("(pid {holder})")), "{}", second.stderr);
    assert_snapshot!(shown(&second), @r"
    error: pipeline `own` is held by run RUN (pid N)
      hint: wait for the other run to end; where it was killed, do nothing: the lock goes with its process, in a bucket when its lease ends, and the next run takes over
    ");
    assert_eq!(between, before, "neither run has touched anything so far");
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_eq!(workspace.rows("items").len(), 3);
    assert_eq!(server.lines().len(), 1, "the second run asks nothing");
}
