//! What a pipeline file can say about an API that nobody has thought of: each test has its own API,
//! its own file, and checks the rows and the requests, one by one.

mod support;

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// What most streams here end with.
const COLUMNS: &str = "
    columns:
      id: { from: id, type: int64 }
      day: { from: day, type: date }
    unknown_fields: ignore
    write: { merge: { key: [id] } }
    partition_by: { column: day }
";

/// A pipeline file; requests come one after the other, so that their order can be checked.
fn own(server: &Server, streams: &str) -> String {
    own_source(server, "", streams)
}

/// A pipeline file with lines of its own in `source`.
fn own_source(server: &Server, source: &str, streams: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.01 }}
{source}
streams:
{streams}",
        server.url()
    )
}

/// A pipeline file with one stream, `items`, of [`COLUMNS`].
fn items(server: &Server, stream: &str) -> String {
    own(server, &format!("  items:\n{stream}{COLUMNS}"))
}

/// Runs a pipeline that has nothing to complain about.
#[track_caller]
fn export(yaml: &str) -> (Workspace, Ended) {
    let workspace = Workspace::new();
    let ended = workspace.run(yaml, &[], &[]);
    assert_eq!(ended.code, Some(0), "{}\n{yaml}", ended.stderr);
    (workspace, ended)
}

/// Exports the stream `items` and gives the ids that arrived.
#[track_caller]
fn exported_ids(yaml: &str) -> Value {
    let (workspace, _) = export(yaml);
    let rows = workspace.rows("items");
    rows.iter().map(|it| it["id"].clone()).collect()
}

/// The cells of some columns, row by row.
fn table(workspace: &Workspace, stream: &str, columns: &[&str]) -> Value {
    let rows = workspace.rows(stream);
    rows.iter().map(|row| columns.iter().map(|it| row[*it].clone()).collect::<Value>()).collect()
}

fn record(id: usize) -> Value {
    json!({ "id": id, "day": "2024-07-25" })
}

fn records(ids: impl IntoIterator<Item = usize>) -> Value {
    ids.into_iter().map(record).collect()
}

/// The ids 1 to `total` that an offset and a size ask for.
fn part(total: usize, offset: usize, size: usize) -> std::ops::RangeInclusive<usize> {
    offset + 1..=total.min(offset + size)
}

// ---- Paging

#[test]
fn an_offset_advances_up_to_the_total() {
    let server = Server::start(|request| {
        let ids = part(5, request.number("offset"), request.number("limit"));
        Response::json(&json!({ "items": records(ids), "meta": { "total": 5 } }))
    });
    let yaml = items(
        &server,
        "    request: { path: /items, query: { fields: id } }
    records: items
    paginate: { offset: { size_param: limit, size: 2, total: meta.total } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3, 4, 5]));
    assert_eq!(
        server.lines(),
        [
            "GET /items?fields=id&offset=0&limit=2",
            "GET /items?fields=id&offset=2&limit=2",
            "GET /items?fields=id&offset=4&limit=2",
        ]
    );
}

#[test]
fn an_offset_that_counts_from_one_goes_to_a_total_in_a_header() {
    let server = Server::start(|request| {
        let ids = part(4, request.number("startIndex") - 1, 2);
        Response::json(&records(ids)).header("X-Total-Count", &4)
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { offset: { param: startIndex, start: 1, total_header: x-total-count } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3, 4]));
    assert_eq!(server.lines(), ["GET /items?startIndex=1", "GET /items?startIndex=3"]);
}

#[test]
fn pages_end_at_the_number_that_a_header_gives() {
    let server = Server::start(|request| {
        let ids = part(5, (request.number("page") - 1) * 2, 2);
        Response::json(&records(ids)).header("X-Total-Pages", &3)
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { page: { size_param: per_page, size: 2, total_pages_header: X-Total-Pages } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3, 4, 5]));
    assert_eq!(
        server.lines(),
        [
            "GET /items?page=1&per_page=2",
            "GET /items?page=2&per_page=2",
            "GET /items?page=3&per_page=2",
        ]
    );
}

#[test]
fn pages_without_any_signal_end_at_an_empty_one_not_at_a_short_one() {
    let server = Server::start(|request| {
        Response::json(&match request.number("page") {
            1 => records([1]),
            2 => records([2, 3]),
            _ => records([]),
        })
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { page: { size_param: page-size, size: 2 } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        [
            "GET /items?page=1&page-size=2",
            "GET /items?page=2&page-size=2",
            "GET /items?page=3&page-size=2",
        ]
    );
}

#[test]
fn pages_end_at_a_short_one_where_the_file_says_so() {
    let server = Server::start(|request| {
        Response::json(&records(part(3, (request.number("page") - 1) * 2, 2)))
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { page: { size_param: page-size, size: 2, end_on_short_page: true } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn pages_go_on_while_a_flag_says_that_there_is_more() {
    let server = Server::start(|request| {
        let page = request.number("p");
        Response::json(&json!({ "data": records([page + 1]), "hasNext": page < 2 }))
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    records: data
    paginate: { page: { param: p, start: 0, more: hasNext } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(server.lines(), ["GET /items?p=0", "GET /items?p=1", "GET /items?p=2"]);
}

#[test]
fn a_link_header_is_followed_wherever_it_leads_within_the_source() {
    let server = Server::start(|request| {
        let next = format!("{}/repositories/7/items?page=2&after=a%2Bb", request.origin());
        match request.path.as_str() {
            "/repos/o/r/items" => Response::json(&records([1, 2]))
                .header("Link", &format!(r#"<{next}>; rel="next", <{next}&last>; rel="last""#)),
            _ => Response::json(&records([3])).header("Link", r#"</first>; rel="first""#),
        }
    });
    let yaml = items(
        &server,
        "    request: { path: /repos/o/r/items, query: { state: all } }
    paginate: { link: { size_param: per_page, size: 2 } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        ["GET /repos/o/r/items?state=all&per_page=2", "GET /repositories/7/items?page=2&after=a+b",]
    );
}

#[test]
fn a_parameter_of_a_link_that_is_no_url_is_sent_to_the_streams_own_url() {
    let server = Server::start(|request| {
        let ids = part(3, request.number("id"), 2);
        let last = *ids.end();
        let response = Response::json(&records(ids));
        if last == 3 {
            return response;
        }
        response.header("Link", &format!(r#"<host/v9/items?perPage=2&id={last}>; rel="next""#))
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { link: { param: id, size_param: perPage, size: 2 } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(server.lines(), ["GET /items?perPage=2", "GET /items?id=2&perPage=2"]);
}

#[test]
fn a_token_in_the_body_asks_for_the_next_page() {
    let server = Server::start(|request| {
        Response::json(&match request.param("pageToken") {
            None => json!({ "issues": records([1]), "page": { "next": "t/1" } }),
            Some("t/1") => json!({ "issues": records([2]), "page": { "next": "" } }),
            Some(other) => json!({ "unexpected": other }),
        })
    });
    let yaml = items(
        &server,
        "    request: { path: /search }
    records: issues
    paginate: { token: { body: page.next, param: pageToken } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(server.lines(), ["GET /search", "GET /search?pageToken=t/1"]);
}

#[test]
fn a_token_in_a_header_goes_into_the_body_of_a_post() {
    let server = Server::start(|request| {
        let first = request.json()["first_row_number"].as_str().map_or(1, |it| it.parse().unwrap());
        let response = Response::json(&records([first]));
        if first == 3 { response } else { response.header("X-Next-Row-Number", &(first + 1)) }
    });
    let yaml = items(
        &server,
        "    request: { method: post, path: /search, body: { start_date: 2024-07-01 } }
    paginate: { token: { header: X-Next-Row-Number, param: first_row_number, place: body } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        [
            r#"POST /search {"start_date":"2024-07-01"}"#,
            r#"POST /search {"start_date":"2024-07-01","first_row_number":"2"}"#,
            r#"POST /search {"start_date":"2024-07-01","first_row_number":"3"}"#,
        ]
    );
}

#[test]
fn an_absolute_next_url_is_followed_until_the_flag_of_the_last_page() {
    let server = Server::start(|request| {
        let since = request.number("since");
        // The last page names a next one, too, as it does for a poller that comes back.
        let next = format!("{}/updated?since={}&expand=x", request.origin(), since + 1);
        let page = records([since + 1]);
        Response::json(&json!({ "values": page, "nextPage": next, "lastPage": since == 2 }))
    });
    let yaml = items(
        &server,
        "    request: { path: /updated }
    records: values
    paginate: { next_url: { path: nextPage, last: lastPage } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        ["GET /updated", "GET /updated?since=1&expand=x", "GET /updated?since=2&expand=x"]
    );
}

#[test]
fn a_relative_next_url_that_is_missing_on_the_last_page_is_the_end() {
    let server = Server::start(|request| {
        Response::json(&match request.param("c") {
            None => json!({ "metadata": { "next": "/items?c=1" }, "results": records([1]) }),
            Some(_) => json!({ "metadata": {}, "results": records([2]) }),
        })
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    records: results
    paginate: { next_url: { path: metadata.next, size_param: limit, size: 1 } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(server.lines(), ["GET /items?limit=1", "GET /items?c=1"]);
}

#[test]
fn a_link_is_relative_to_the_url_that_was_asked() {
    let server = Server::start(|request| match request.param("page") {
        None => Response::json(&records([1])).header("Link", "<?page=2>; rel=next"),
        Some(_) => Response::json(&records([2])),
    });
    let yaml = items(
        &server,
        "    request: { path: /deep/items, query: { state: all } }
    paginate: { link: {} }",
    );
    let yaml = yaml.replace(&server.url(), &format!("{}/context", server.url()));

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(
        server.lines(),
        ["GET /context/deep/items?state=all", "GET /context/deep/items?page=2"]
    );
}

#[test]
fn a_window_in_the_body_is_there_also_where_a_url_leads_to_the_next_page() {
    let server = Server::start(|request| {
        let next = request.param("page").is_none().then_some("/search?page=2");
        let id = if next.is_some() { 1 } else { 2 };
        Response::json(&json!({ "items": records([id]), "next": next }))
    });
    let yaml = items(
        &server,
        "    slices: { window: { from: 2024-07-25, format: date, place: body, start_param: range.from } }
    request: { method: post, path: /search, body: { all: true } }
    records: items
    paginate: { next_url: { path: next } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(
        server.lines(),
        [
            r#"POST /search {"all":true,"range":{"from":"2024-07-25"}}"#,
            r#"POST /search?page=2 {"all":true,"range":{"from":"2024-07-25"}}"#,
        ]
    );
}

#[test]
fn the_last_record_asks_for_the_records_after_it() {
    let server =
        Server::start(|request| Response::json(&records(part(3, request.number("after"), 2))));
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { last_record: { from: id, param: after, size_param: size, size: 2 } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        ["GET /items?size=2", "GET /items?after=2&size=2", "GET /items?after=3&size=2",]
    );
}

#[test]
fn an_api_that_ignores_paging_is_read_once_where_a_repeated_page_is_the_end() {
    let server = Server::start(|_| Response::json(&records(1..=3)));
    let yaml = items(
        &server,
        "    request: { path: /items }
    paginate: { last_record: { from: id, param: id, end_on_repeat: true } }",
    );

    let (workspace, ended) = export(&yaml);

    assert_eq!(table(&workspace, "items", &["id"]), json!([[1], [2], [3]]));
    assert_eq!(server.lines(), ["GET /items", "GET /items?id=3"]);
    assert_eq!(ended.report()["streams"][0]["rows"], 3);
}

#[test]
fn a_watermark_moves_from_since_to_until() {
    const FROM: usize = 1_720_569_600_000;
    let server = Server::start(|request| {
        let since = request.number("since");
        let id = (since - FROM) / 10 + 1;
        let values = records([id]);
        Response::json(&json!({ "values": values, "until": since + 10, "lastPage": id == 3 }))
    });
    let yaml = items(
        &server,
        "    slices: { window: { from: 2024-07-10, format: epoch_ms, start_param: since } }
    request: { path: /worklog/updated }
    records: values
    paginate: { token: { body: until, param: since, last: lastPage } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        [
            "GET /worklog/updated?since=1720569600000",
            "GET /worklog/updated?since=1720569600010",
            "GET /worklog/updated?since=1720569600020",
        ]
    );
}

#[test]
fn a_server_that_lowers_the_page_size_is_read_to_its_end() {
    let server = Server::start(|request| {
        let ids = part(5, request.number("startAt"), request.number("maxResults").min(2));
        Response::json(&json!({ "values": records(ids), "total": 5 }))
    });
    let yaml = items(
        &server,
        "    request: { path: /items }
    records: values
    paginate: { offset: { param: startAt, size_param: maxResults, size: 100, total: total } }",
    );

    let (workspace, ended) = export(&yaml);

    assert_eq!(table(&workspace, "items", &["id"]), json!([[1], [2], [3], [4], [5]]));
    assert_eq!(ended.report()["streams"][0]["slices"]["complete"], 1);
    let offsets: Vec<usize> = server.requests().iter().map(|it| it.number("startAt")).collect();
    assert_eq!(offsets, [0, 2, 4]);
}

// ---- Where parameters stand

#[test]
fn paging_parameters_stand_deep_in_the_body() {
    let server = Server::start(|request| {
        let page = request.json()["page_info"].clone();
        let number = |key: &str| usize::try_from(page[key].as_u64().unwrap()).unwrap();
        let ids = part(3, number("offset"), number("limit"));
        Response::json(&json!({ "items": records(ids), "total": 3 }))
    });
    let yaml = items(
        &server,
        "    request: { method: post, path: /list, body: { deleted: true, page_info: { sort: id } } }
    records: items
    paginate:
      offset: { param: page_info.offset, size_param: page_info.limit, size: 2, place: body, total: total }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    assert_eq!(
        server.lines(),
        [
            r#"POST /list {"deleted":true,"page_info":{"sort":"id","offset":0,"limit":2}}"#,
            r#"POST /list {"deleted":true,"page_info":{"sort":"id","offset":2,"limit":2}}"#,
        ]
    );
}

#[test]
fn paging_parameters_stand_in_headers() {
    let server = Server::start(|request| {
        let page: usize = request.header("x-page").parse().unwrap();
        Response::json(&json!({ "items": records([page]), "pages": 2 }))
    });
    let yaml = items(
        &server,
        "    request: { path: /items, headers: { Prefer: return=minimal } }
    records: items
    paginate: { page: { param: X-Page, place: header, total_pages: pages } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    let requests = server.requests();
    let pages: Vec<&str> = requests.iter().map(|it| it.header("x-page")).collect();
    assert_eq!(pages, ["1", "2"]);
    assert_eq!(requests[1].header("prefer"), "return=minimal");
}

#[test]
fn paging_parameters_stand_in_the_path() {
    let server = Server::start(|request| {
        let page: usize = request.path.rsplit('/').next().unwrap().parse().unwrap();
        Response::json(&json!({ "items": records([page]), "last": page == 2 }))
    });
    let yaml = items(
        &server,
        "    request: { path: '/items/page/{page}' }
    records: items
    paginate: { page: { place: path, last: last } }",
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2]));
    assert_eq!(server.lines(), ["GET /items/page/1", "GET /items/page/2"]);
}

#[test]
fn query_values_are_repeated_joined_or_json() {
    let server = Server::start(|_| Response::json(&records([1])));
    let yaml = items(
        &server,
        r#"    slices: { window: { from: 2024-07-24, format: date } }
    request:
      path: /items
      query:
        createdAt: ["from:{{ slice.start }}T00:00:00+0000", "to:{{ slice.end }}"]
        fields: { csv: [id, day] }
        filters: { json: [{ spentOn: { operator: "<>d", values: ["{{ slice.start }}", "{{ slice.end }}"] } }] }
        deep: true"#,
    );

    assert_eq!(exported_ids(&yaml), json!([1]));
    let filters = r#"[{"spentOn":{"operator":"<>d","values":["2024-07-24","2024-07-25"]}}]"#;
    let expected = [
        ("createdAt", "from:2024-07-24T00:00:00+0000"),
        ("createdAt", "to:2024-07-25"),
        ("fields", "id,day"),
        ("filters", filters),
        ("deep", "true"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(server.requests()[0].query, expected);
}

#[test]
fn a_graphql_query_pages_by_its_relay_cursor() {
    let server = Server::start(|request| {
        let variables = &request.json()["variables"];
        let (ids, end) = match variables["after"].as_str() {
            None => (1..=2, Some("c2")),
            Some("c2") => (3..=3, None),
            Some(_) => (9..=9, None),
        };
        let page = json!({ "hasNextPage": end.is_some(), "endCursor": end.unwrap_or("c3") });
        Response::json(
            &json!({ "data": { "issues": { "nodes": records(ids), "pageInfo": page } } }),
        )
    });
    let yaml = items(
        &server,
        r#"    request:
      method: post
      path: /graphql
      body:
        query: "query($first: Int!, $after: String) { issues(first: $first, after: $after) { nodes { id day } pageInfo { hasNextPage endCursor } } }"
        variables: { first: 2 }
    records: data.issues.nodes
    paginate:
      token: { body: data.issues.pageInfo.endCursor, more: data.issues.pageInfo.hasNextPage, param: variables.after, place: body }
    responses:
      - { when: { body: { path: errors } }, then: fail }"#,
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3]));
    let sent: Vec<Value> =
        server.requests().iter().map(|it| it.json()["variables"].clone()).collect();
    assert_eq!(sent, [json!({ "first": 2 }), json!({ "first": 2, "after": "c2" })]);
    let query = server.requests()[1].json()["query"].clone();
    assert!(query.as_str().unwrap().starts_with("query($first: Int!, $after: String) { issues"));
}

// ---- Slices

/// Two streams: `projects`, one row a project, and `items` of each project.
fn projects_and_items(server: &Server) -> String {
    own(
        server,
        "  items:
    slices: { parent: { stream: projects, bind: { project: id, title: name } } }
    request: { path: '/projects/{{ parent.project }}/items' }
    columns:
      project_id: { from: parent.project, type: int64 }
      project: { from: parent.title, type: string }
      id: { from: id, type: int64 }
      day: { from: day, type: date }
    write: { replace: { scope: slice, key: [project_id, id] } }
    partition_by: { column: day }
  projects:
    request: { path: /projects }
    columns:
      id: { from: id, type: int64 }
      name: { from: name, type: string }
      created: { from: created, type: timestamp }
    write: { merge: { key: [id] } }
    partition_by: { column: created, unit: year }
",
    )
}

fn project(id: usize) -> Value {
    json!({ "id": id, "name": format!("P{id}"), "created": "2024-07-01T00:00:00Z" })
}

#[test]
fn children_are_asked_for_each_parent_and_have_its_columns() {
    let server = Server::start(|request| {
        Response::json(&match request.path.as_str() {
            "/projects" => json!([project(1), project(2)]),
            "/projects/1/items" => records([7, 8]),
            _ => records([7]),
        })
    });

    let (workspace, _) = export(&projects_and_items(&server));

    let rows = table(&workspace, "items", &["project_id", "project", "id"]);
    assert_eq!(rows, json!([[1, "P1", 7], [1, "P1", 8], [2, "P2", 7]]));
    assert_eq!(server.lines(), ["GET /projects", "GET /projects/1/items", "GET /projects/2/items"]);
}

#[test]
fn a_parent_that_may_not_be_read_or_is_gone_is_listed_and_no_failure() {
    let server = Server::start(|request| match request.path.as_str() {
        "/projects" => Response::json(&json!([project(1), project(2), project(3)])),
        "/projects/1/items" => Response::status(403, &json!({ "error": "no access" })),
        "/projects/2/items" => Response::status(404, &json!({ "error": "not found" })),
        _ => Response::json(&records([9])),
    });

    let (workspace, ended) = export(&projects_and_items(&server));

    assert_eq!(table(&workspace, "items", &["project_id", "id"]), json!([[3, 9]]));
    let report = ended.report();
    let stream = report["streams"].as_array().unwrap().iter().find(|it| it["stream"] == "items");
    let stream = stream.unwrap();
    assert_eq!(stream["slices"]["gone"], 2);
    assert_eq!(stream["gone"], json!(["1,P1", "2,P2"]));
    assert_eq!(stream["status"], "published");
}

/// Three projects with an item each, until `refusal` answers for their items.
fn three_projects(refusal: fn(&str) -> Option<u16>) -> (Server, Arc<AtomicBool>) {
    let refuses = Arc::<AtomicBool>::default();
    let server = Server::start({
        let refuses = Arc::clone(&refuses);
        move |request| {
            if request.path == "/projects" {
                return Response::json(&json!([project(1), project(2), project(3)]));
            }
            let status = refusal(&request.path).filter(|_| refuses.load(SeqCst));
            match status {
                Some(status) => Response::status(status, &json!({ "error": "no access" })),
                None => Response::json(&records([9])),
            }
        }
    });
    (server, refuses)
}

#[test]
fn a_token_that_has_lost_its_right_to_all_children_fails_their_stream_and_nothing_is_taken_as_read()
{
    let (server, refuses) = three_projects(|_| Some(403));
    let yaml = projects_and_items(&server).replace(
        "partition_by: { column: day }",
        "partition_by: { column: day }\n    on_gone: delete",
    );
    let workspace = Workspace::new();
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));
    let before = workspace.rows("items");
    assert_eq!(before.len(), 3);

    refuses.store(true, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let shown = &ended.stderr;
    assert!(shown.contains("stream `items`: 3 of 3 slices could not be read"), "{shown}");
    assert!(
        shown.contains("access is refused with status 403, as to every other parent"),
        "{shown}"
    );
    assert!(shown.contains("hint: check what the token or user may read"), "{shown}");
    assert_eq!(workspace.rows("items"), before);

    refuses.store(false, SeqCst);
    let asked = server.lines().len();
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));
    assert_eq!(server.lines().len(), asked + 4, "each of them is asked again");
}

#[test]
fn a_right_that_is_lost_to_some_parents_only_is_no_failure() {
    let (server, refuses) = three_projects(|path| Some(if path.contains('3') { 404 } else { 403 }));
    refuses.store(true, SeqCst);

    let (_, ended) = export(&projects_and_items(&server));

    assert!(ended.stderr.contains("access is lost"), "{}", ended.stderr);
}

#[test]
fn rows_of_a_lost_parent_are_deleted_where_it_is_absent_and_never_where_it_is_refused() {
    let (server, refuses) = three_projects(|path| match path {
        "/projects/1/items" => Some(403),
        "/projects/2/items" => Some(404),
        _ => None,
    });
    let yaml = projects_and_items(&server).replace(
        "partition_by: { column: day }",
        "partition_by: { column: day }\n    on_gone: delete",
    );
    let workspace = Workspace::new();
    assert_eq!(workspace.run(&yaml, &[], &[]).code, Some(0));

    refuses.store(true, SeqCst);
    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(table(&workspace, "items", &["project_id"]), json!([[1], [3]]));
}

#[test]
fn each_parent_is_asked_for_each_window() {
    let server = Server::start(|request| {
        Response::json(&match request.path.as_str() {
            "/projects" => json!([project(1), project(2)]),
            _ => json!([{ "id": 1, "day": request.param("from") }]),
        })
    });
    let yaml = projects_and_items(&server).replace(
        "slices: { parent: { stream: projects, bind: { project: id, title: name } } }",
        "slices:
      product:
        - parent: { stream: projects, bind: { project: id, title: name } }
        - window: { from: 2024-07-24, step: 1d, format: date, start_param: from }",
    );
    let yaml = yaml.replace("key: [project_id, id]", "key: [project_id, id, day]");

    let (workspace, _) = export(&yaml);

    let rows = table(&workspace, "items", &["date", "project_id"]);
    let expected = [("2024-07-24", 1), ("2024-07-24", 2), ("2024-07-25", 1), ("2024-07-25", 2)];
    assert_eq!(rows, json!(expected));
    assert_eq!(
        server.lines(),
        [
            "GET /projects",
            "GET /projects/1/items?from=2024-07-24",
            "GET /projects/1/items?from=2024-07-25",
            "GET /projects/2/items?from=2024-07-24",
            "GET /projects/2/items?from=2024-07-25",
        ]
    );
}

#[test]
fn a_parent_without_the_value_that_the_path_names_is_no_request_for_everything() {
    let server = Server::start(|request| {
        Response::json(&match request.path.as_str() {
            "/projects" => json!([project(1), { "id": null, "name": "draft" }]),
            "/projects/1/items" => records([7]),
            _ => records(1..=9),
        })
    });
    let yaml = projects_and_items(&server).replace("write: { merge: { key: [id] } }", "");
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("project"), "{}", ended.stderr);
    assert!(!server.lines().contains(&"GET /projects//items".to_owned()), "{:?}", server.lines());
}

#[test]
fn ids_are_collected_and_sent_in_batches() {
    let server = Server::start(|request| {
        if request.path == "/updated" {
            return Response::json(&json!({ "values": (1..=5).map(project).collect::<Value>() }));
        }
        let ids = request.json()["ids"].as_array().unwrap().clone();
        let ids = ids.iter().map(|it| usize::try_from(it.as_u64().unwrap()).unwrap());
        Response::json(&records(ids))
    });
    let yaml = own(
        &server,
        &format!(
            "  changed:
    request: {{ path: /updated }}
    records: values
    columns:
      id: {{ from: id, type: int64 }}
      created: {{ from: created, type: timestamp }}
    partition_by: {{ column: created }}
    unknown_fields: ignore
  items:
    slices: {{ parent: {{ stream: changed, bind: {{ ids: id }}, batch: 2 }} }}
    request: {{ method: post, path: /list, body: {{ ids: '{{{{ parent.ids }}}}' }} }}{COLUMNS}"
        ),
    );

    assert_eq!(exported_ids(&yaml), json!([1, 2, 3, 4, 5]));
    assert_eq!(
        server.lines(),
        [
            "GET /updated",
            r#"POST /list {"ids":[1,2]}"#,
            r#"POST /list {"ids":[3,4]}"#,
            r#"POST /list {"ids":[5]}"#,
        ]
    );
}

#[test]
fn a_product_asks_for_every_combination_and_a_union_for_each_part() {
    let server = Server::start(|request| {
        let modes = ["audit", "view", "revoke"];
        let mode = modes.iter().position(|it| request.param("mode") == Some(it)).unwrap();
        let team = request.param("team").map_or(0, |it| if it == "a" { 10 } else { 20 });
        Response::json(&records([team + mode]))
    });
    let yaml = items(
        &server,
        "    slices:
      union:
        - product:
            - list: { as: mode, values: [audit, view] }
            - list: { as: team, values: [a, b] }
        - list: { as: mode, values: [revoke] }
    request:
      path: /log
      query: { mode: '{{ slice.mode }}', team: '{{ slice.team }}', tag: '#{{ slice.team }}' }",
    );

    assert_eq!(exported_ids(&yaml), json!([2, 10, 11, 20, 21]));
    assert_eq!(
        server.lines(),
        [
            "GET /log?mode=audit&team=a&tag=#a",
            "GET /log?mode=audit&team=b&tag=#b",
            "GET /log?mode=view&team=a&tag=#a",
            "GET /log?mode=view&team=b&tag=#b",
            "GET /log?mode=revoke&tag=#",
        ]
    );
}

#[test]
fn windows_are_cut_in_two_until_the_api_gives_all_of_one() {
    const HOUR: i64 = 3_600_000;
    const MIDNIGHT: i64 = 1_721_865_600_000;
    let server = Server::start(|request| {
        let (from, to) = request.param("updated").unwrap().split_once(',').unwrap();
        let span = from.parse::<i64>().unwrap()..=to.parse::<i64>().unwrap();
        let found = (1..=8_usize)
            .filter(|id| span.contains(&(MIDNIGHT + HOUR * i64::try_from(*id).unwrap())));
        let found: Vec<usize> = found.collect();
        let page = found.iter().copied().skip(request.number("offset")).take(2);
        Response::json(&json!({ "items": records(page), "total": found.len() }))
    });
    let yaml = items(
        &server,
        "    slices: { window: { from: 2024-07-25, format: epoch_ms_pair, param: updated } }
    request: { path: /items }
    records: items
    paginate: { offset: { size_param: limit, size: 2, total: total, max_offset: 2 } }",
    );

    let (workspace, ended) = export(&yaml);

    let ids: Vec<Value> = workspace.rows("items").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
    let asked: Vec<String> = server
        .requests()
        .iter()
        .map(|it| {
            let (from, to) = it.param("updated").unwrap().split_once(',').unwrap();
            let hour = |at: &str| (at.parse::<i64>().unwrap() - MIDNIGHT) / HOUR;
            format!("{}..{} from {}", hour(from), hour(to), it.number("offset"))
        })
        .collect();
    assert_eq!(
        asked,
        [
            "0..12 from 0",
            "0..6 from 0",
            "0..3 from 0",
            "0..3 from 2",
            "3..6 from 0",
            "3..6 from 2",
            "6..12 from 0",
            "6..12 from 2",
        ]
    );
    let slices = &ended.report()["streams"][0]["slices"];
    assert_eq!((&slices["split"], &slices["complete"]), (&json!(2), &json!(3)));
}

#[test]
fn a_window_that_cannot_be_cut_further_fails_by_its_name() {
    // The API counts to three and no further.
    let server = Server::start(|request| {
        let days = request.param("from").unwrap()..=request.param("to").unwrap();
        let ids = if days.contains(&"2024-07-24") { 1..=3 } else { 4..=4 };
        let total = ids.end() + 1 - ids.start();
        Response::json(&json!({ "items": records(ids), "total": total }))
    });
    let yaml = items(
        &server,
        "    slices: { window: { from: 2024-07-22, format: date, start_param: from, end_param: to } }
    request: { path: /items }
    records: items
    paginate: { page: { total: total, cap: 3 } }",
    );
    let workspace = Workspace::new();

    let ended = workspace.run(&yaml, &[], &[]);

    assert_eq!(ended.code, Some(7));
    let expected = "1 of 3 slices could not be read, first `2024-07-24`";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    assert!(ended.stderr.contains("the API counts 3 records here"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: cut the stream into smaller slices"), "{}", ended.stderr);
    let mut asked: Vec<String> = server.lines();
    asked.sort();
    assert_eq!(
        asked,
        [
            "GET /items?from=2024-07-22&to=2024-07-23&page=1",
            "GET /items?from=2024-07-22&to=2024-07-25&page=1",
            "GET /items?from=2024-07-24&to=2024-07-24&page=1",
            "GET /items?from=2024-07-24&to=2024-07-25&page=1",
            "GET /items?from=2024-07-25&to=2024-07-25&page=1",
        ]
    );
    assert_eq!(ended.report()["streams"][0]["rows"], 1, "the other days are published");
}

// ---- Records

/// Exports one page as the stream `items` and gives cells of its rows.
#[track_caller]
fn decoded(body: Value, stream: &str, columns: &[&str]) -> Value {
    let server = Server::start(move |_| Response::json(&body));
    let (workspace, _) = export(&own(&server, &format!("  items:\n{stream}")));
    table(&workspace, "items", columns)
}

#[test]
fn the_root_is_an_array_of_records() {
    let rows = decoded(
        json!([{ "id": 1, "day": "2024-07-25" }, { "id": "2", "day": "2024/07/26" }]),
        &format!("    request: {{ path: / }}{COLUMNS}"),
        &["date", "id", "day"],
    );

    assert_eq!(rows, json!([["2024-07-25", 1, "2024-07-25"], ["2024-07-26", 2, "2024-07-26"]]));
}

#[test]
fn a_single_object_is_one_record() {
    let rows = decoded(
        json!({ "issue": { "id": 7, "day": "2024-07-25", "tags": [] } }),
        &format!("    request: {{ path: / }}\n    records: issue{COLUMNS}"),
        &["id"],
    );

    assert_eq!(rows, json!([[7]]));
}

#[test]
fn the_values_of_an_object_are_records_with_their_key() {
    let rows = decoded(
        json!({ "users": {
            "u1": { "hours": 8, "day": "2024-07-25" },
            "u2": { "hours": 7.5, "day": "2024-07-25" },
        } }),
        "    request: { path: / }
    records: { map: users }
    columns:
      user: { from: $key, type: string }
      hours: { from: hours, type: float64 }
      day: { from: day, type: date }
    write: { merge: { key: [user] } }
    partition_by: { column: day }
",
        &["user", "hours"],
    );

    assert_eq!(rows, json!([["u1", 8.0], ["u2", 7.5]]));
}

#[test]
fn records_are_found_in_json_that_is_text_inside_json() {
    let inner = json!({ "rows": [{ "id": 1, "day": "2024-07-25", "text": "a \"quoted\" б" }] });
    let rows = decoded(
        json!({ "result": { "payload": inner.to_string() } }),
        "    request: { path: / }
    records: { stringified: { path: result.payload, records: rows } }
    columns:
      id: { from: id, type: int64 }
      text: { from: text, type: string }
      day: { from: day, type: date }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
",
        &["id", "text"],
    );

    assert_eq!(rows, json!([[1, "a \"quoted\" б"]]));
}

#[test]
fn one_level_of_elements_becomes_rows_and_a_record_without_any_is_kept() {
    let rows = decoded(
        json!([
            { "id": 1, "at": 1_721_900_526_258_i64, "details": [{ "f": "a" }, { "f": "b" }] },
            { "id": 2, "at": "1721900526", "details": [] },
            { "id": 3, "at": 1_721_900_526_258_i64 },
        ]),
        "    request: { path: / }
    explode: details
    columns:
      id: { from: id, type: int64 }
      at: { from: at, type: { timestamp: { format: epoch_ms } } }
      field: { from: details.f, type: string }
    write: { append: { key: [id, field] } }
    partition_by: { column: at, unit: year }
",
        &["date", "id", "field", "at"],
    );

    assert_eq!(
        rows,
        json!([
            ["1970", 2, null, "1970-01-20T22:18:20.526Z"],
            ["2024", 1, "a", "2024-07-25T09:42:06.258Z"],
            ["2024", 1, "b", "2024-07-25T09:42:06.258Z"],
            ["2024", 3, null, "2024-07-25T09:42:06.258Z"],
        ])
    );
}

#[test]
fn two_levels_of_elements_become_rows_and_empty_ones_are_dropped_where_the_file_says_so() {
    let rows = decoded(
        json!({ "id": 1, "day": "2024-07-25", "journals": [
            { "user": "u", "details": { "status": { "to": "open" }, "owner": { "to": null } } },
            { "user": "v", "details": {} },
        ] }),
        "    request: { path: / }
    explode:
      - { path: journals, when_empty: drop }
      - { path: journals.details, shape: map, when_empty: drop }
    columns:
      id: { from: id, type: int64 }
      user: { from: journals.user, type: string }
      field: { from: journals.details.$key, type: string }
      value: { from: journals.details.to, type: json }
      day: { from: day, type: date }
    write: { append: { key: [id, field] } }
    partition_by: { column: day }
",
        &["id", "user", "field", "value"],
    );

    assert_eq!(rows, json!([[1, "u", "owner", null], [1, "u", "status", "\"open\""]]));
}

#[test]
fn a_code_has_a_name_and_an_unknown_code_has_none() {
    let rows = decoded(
        json!([
            { "id": 1, "state": 0 }, { "id": 2, "state": "1" }, { "id": 3, "state": 7 }, { "id": 4 },
        ]),
        "    request: { path: / }
    columns:
      id: { from: id, type: int64 }
      state: { from: state, type: int64 }
      state_name: { from: state, type: string, values: { 0: open, 1: closed } }
      day: { from: day, type: date }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
",
        &["id", "state", "state_name"],
    );

    assert_eq!(rows, json!([[1, 0, "open"], [2, 1, "closed"], [3, 7, null], [4, null, null]]));
}

/// A stream of one record with a field that no column reads.
fn unknown_field(server: &Server, rule: &str) -> String {
    own(
        server,
        &format!(
            "  items:
    request: {{ path: / }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: user.since, type: date }}
{rule}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
        ),
    )
}

fn with_unknown_fields() -> Server {
    Server::start(|_| {
        let user = json!({ "since": "2024-07-25", "name": "Ann", "age": 1.10 });
        Response::json(&json!([{ "id": 1, "user": user, "tags": ["b", "a"] }]))
    })
}

#[test]
fn unknown_fields_are_kept_as_one_text_by_default() {
    let server = with_unknown_fields();

    let (workspace, _) = export(&unknown_field(&server, ""));

    let extra = r#"{"tags":["b","a"],"user":{"age":1.1,"name":"Ann"}}"#;
    assert_eq!(table(&workspace, "items", &["id", "_extra"]), json!([[1, extra]]));
}

#[test]
fn unknown_fields_are_dropped_where_the_file_says_so() {
    let server = with_unknown_fields();

    let (workspace, _) = export(&unknown_field(&server, "    unknown_fields: ignore"));

    let rows = workspace.rows("items");
    let names: Vec<&String> = rows[0].keys().collect();
    assert_eq!(names, ["date", "day", "id"]);
}

#[test]
fn unknown_fields_put_a_record_into_quarantine_where_the_file_says_so() {
    let server = with_unknown_fields();
    let workspace = Workspace::new();

    let ended = workspace.run(&unknown_field(&server, "    unknown_fields: reject"), &[], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(workspace.rows("items").is_empty());
    let files = workspace.files();
    let (_, quarantine) = files.iter().find(|(path, _)| path.starts_with("quarantine/")).unwrap();
    let line: Value = serde_json::from_slice(quarantine).unwrap();
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("user.name") || reason.contains("tags"), "{reason}");
}

// ---- Responses

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

// ---- Logging in

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

// ---- Files

/// The partitions and ids of three instants around midnight of New York.
#[track_caller]
fn partitioned(unit: &str) -> Value {
    decoded(
        json!([
            { "id": 1, "at": "2024-12-31T23:59:59-05:00" },
            { "id": 2, "at": "2025-01-01T05:00:00Z" },
            { "id": 3, "at": "2025-01-01T06:30:00.123456789+0000" },
        ]),
        &format!(
            "    request: {{ path: / }}
    columns:
      id: {{ from: id, type: int64 }}
      at: {{ from: at, type: timestamp }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: at, unit: {unit}, zone: America/New_York, as: part }}
"
        ),
        &["part", "id"],
    )
}

#[test]
fn partitions_are_hours_months_or_years_of_a_named_zone() {
    assert_eq!(
        partitioned("hour"),
        json!([["2024-12-31T23", 1], ["2025-01-01T00", 2], ["2025-01-01T01", 3]])
    );
    assert_eq!(partitioned("month"), json!([["2024-12", 1], ["2025-01", 2], ["2025-01", 3]]));
    assert_eq!(partitioned("year"), json!([["2024", 1], ["2025", 2], ["2025", 3]]));
}

#[test]
fn a_row_without_a_date_is_in_the_partition_of_nulls() {
    let rows = decoded(
        json!([{ "id": 1, "day": null }, { "id": 2, "day": "" }, { "id": 3, "day": "2024-07-25" }]),
        &format!("    request: {{ path: / }}{COLUMNS}"),
        &["date", "id"],
    );

    assert_eq!(
        rows,
        json!([
            ["2024-07-25", 3],
            ["__HIVE_DEFAULT_PARTITION__", 1],
            ["__HIVE_DEFAULT_PARTITION__", 2],
        ])
    );
}

/// The files of an export that writes CSV alone.
#[track_caller]
fn csv_files(csv: &str, records: Value) -> BTreeMap<String, Vec<u8>> {
    let server = Server::start(move |_| Response::json(&records));
    let yaml = items(&server, "    request: { path: / }");
    let (workspace, _) = export(&format!("{yaml}destination: {{ formats: {{ csv: {csv} }} }}\n"));
    let files = workspace.files();
    files
        .into_iter()
        .filter(|(it, _)| it.starts_with("csv/") || it.starts_with("parquet/"))
        .collect()
}

#[test]
fn csv_is_compressed_with_gzip_or_zstd() {
    let text = "id,day\n1,2024-07-25\n2,2024-07-25\n";

    let plain = csv_files("{}", records([1, 2]));
    let gzip = csv_files("{ compression: gzip }", records([1, 2]));
    let zstd = csv_files("{ compression: zstd }", records([1, 2]));

    let dir = "csv/own/items/date=2024-07-25";
    assert_eq!(plain.into_iter().collect::<Vec<_>>(), [(format!("{dir}/part-0.csv"), text.into())]);
    let mut unpacked = String::new();
    let packed = gzip[&format!("{dir}/part-0.csv.gz")].as_slice();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, text);
    let packed = zstd[&format!("{dir}/part-0.csv.zst")].as_slice();
    assert_eq!(zstd::decode_all(packed).unwrap(), text.as_bytes());
}

#[test]
fn an_empty_stream_publishes_its_schema_in_a_file_without_rows() {
    let server = Server::start(|_| Response::json(&json!([])));

    let (workspace, ended) = export(&items(&server, "    request: { path: /items }"));

    assert_eq!(ended.report()["streams"][0]["rows"], 0);
    let files = workspace.published();
    let names: Vec<&str> =
        files.keys().map(String::as_str).filter(|it| !it.starts_with('_')).collect();
    assert_eq!(
        names,
        [
            "csv/own/items/date=__HIVE_DEFAULT_PARTITION__/part-0.csv",
            "parquet/own/items/date=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
        ]
    );
    assert_eq!(files[names[0]], b"id,day\n");
    assert!(workspace.rows("items").is_empty());
}

#[test]
fn deleted_rows_are_kept_with_the_time_of_the_run_where_the_file_says_so() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let all = [records([1, 2, 3]), records([1, 3])];
        Response::json(&all[asked.fetch_add(1, SeqCst)])
    });
    let yaml = items(&server, "    request: { path: / }\n    deletes: mark");
    let (workspace, _) = export(&yaml);
    let clock = [("TRACKLAKE_NOW", "2024-07-27T01:02:03Z")];
    let ended = workspace.run(&yaml, &["--full-refresh"], &clock);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let stream = &ended.report()["streams"][0];
    assert_eq!((&stream["removed"], &stream["rows"]), (&json!(1), &json!(3)));
    assert_eq!(stream["changed"], json!(["date=2024-07-25"]));
    let files = workspace.files();
    assert_eq!(
        String::from_utf8_lossy(&files["csv/own/items/date=2024-07-25/part-0.csv"]),
        "id,day,_deleted_at\n\
         1,2024-07-25,\n\
         2,2024-07-25,2024-07-27T01:02:03.000000Z\n\
         3,2024-07-25,\n"
    );
}

#[test]
fn a_full_refresh_does_not_remove_what_was_asked_for_from_earlier_on() {
    // A day's entries, as far as the window asks for them; the source never loses any.
    let server = Server::start(|request| {
        let (from, to) = (request.param("from").unwrap(), request.param("to").unwrap());
        let days = ["2024-06-10", "2024-07-10", "2024-07-20"];
        let days = days.iter().enumerate().filter(|it| (from..=to).contains(it.1));
        Response::json(&days.map(|(id, day)| json!({ "id": id, "day": day })).collect::<Value>())
    });
    let window = "{ window: { from: 2024-07-01, format: date, start_param: from, end_param: to } }";
    let slices = format!("    slices: {window}\n    request: {{ path: /log }}\n");
    let merge = items(&server, &slices);
    let by_window = "write: { replace: { scope: slice, key: [id], by: { day: window } } }";
    let by_slice = merge.replace("write: { merge: { key: [id] } }", by_window);

    for yaml in [merge, by_slice] {
        for first in [&[][..], &["--since", "2024-06-01"]] {
            let workspace = Workspace::new();
            for args in
                [first, &["--since", "2024-06-01"], &["--full-refresh"], &["--full-refresh"]]
            {
                let ended = workspace.run(&yaml, args, &[]);
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                assert_eq!(
                    ended.report()["streams"][0]["removed"],
                    0,
                    "{first:?} {args:?}\n{yaml}"
                );
            }
            assert_eq!(workspace.rows("items").len(), 3, "{first:?}\n{yaml}");
        }
    }
}

#[test]
fn a_source_that_has_nothing_any_more_marks_nothing_as_deleted() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let all = [records([1, 2, 3]), records([1, 2]), json!([])];
        Response::json(&all[asked.fetch_add(1, SeqCst)])
    });
    let yaml = items(&server, "    request: { path: / }\n    deletes: mark");
    let (workspace, _) = export(&yaml);
    assert_eq!(workspace.run(&yaml, &["--full-refresh"], &[]).code, Some(0));
    let before = workspace.published();

    let ended = workspace.run(&yaml, &["--full-refresh"], &[]);

    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 rows"), "those that are there: {}", ended.stderr);
    assert!(workspace.published() == before);
}

#[test]
fn a_budget_that_children_could_use_up_lists_their_parents_first() {
    // One window of five pages, whose cursor moves only once it was read to its end.
    let server = Server::start(|request| {
        let Some(from) = request.param("from") else {
            return Response::json(&records([1, 2]));
        };
        let boxes = (10..20).map(|id| json!({ "id": id, "day": format!("2024-07-{id}") }));
        let boxes: Vec<Value> = boxes.filter(|it| it["day"].as_str() >= Some(from)).collect();
        let page: Vec<&Value> = boxes.iter().skip(request.number("offset")).take(2).collect();
        Response::json(&json!({ "total": boxes.len(), "items": page }))
    });
    let yaml = own_source(
        &server,
        "  limits: { requests_per_second: 10000, max_in_flight: 4, max_requests: 7 }",
        &format!(
            "  boxes:
    slices: {{ window: {{ from: 2024-07-01, format: date, start_param: from, end_param: to }} }}
    cursor: {{ column: day, lookback: 0d }}
    request: {{ path: /boxes }}
    records: items
    paginate: {{ offset: {{ size: 2, total: total }} }}{COLUMNS}  things:
    slices: {{ parent: {{ stream: boxes, bind: {{ box: id }} }} }}
    request: {{ path: '/boxes/{{{{ parent.box }}}}/things' }}
    columns:
      box: {{ from: parent.box, type: int64 }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ replace: {{ scope: slice, key: [box, id] }} }}
    partition_by: {{ column: day }}
"
        ),
    )
    .replacen("  limits: { requests_per_second: 10000, max_in_flight: 1 }\n", "", 1);
    let workspace = Workspace::new();

    let codes: Vec<_> = (0..5).map(|_| workspace.run(&yaml, &[], &[]).code).collect();

    assert_eq!(workspace.rows("boxes").len(), 10, "{codes:?} {:#?}", server.lines());
    assert_eq!(workspace.rows("things").len(), 20, "{codes:?} {:?}", server.lines());
    assert_eq!(codes.last(), Some(&Some(0)), "{codes:?}");
}

/// The notes of a full refresh that no longer finds the first `gone` of 200 rows.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn notes_without(gone: usize, deletes: &str, command: &[&str]) -> (Option<i32>, Vec<String>) {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let first = if asked.fetch_add(1, SeqCst) == 0 { 1 } else { 1 + gone };
        Response::json(&records(first..=200))
    });
    let yaml = items(&server, &format!("    request: {{ path: / }}\n    deletes: {deletes}"));
    let (workspace, _) = export(&yaml);
    let args = [&command[1..], &["--full-refresh"]].concat();
    let ended = Ended::of(&workspace.subcommand(command[0], &yaml, &args).output().unwrap());
    let notes = ended.stdout.lines().filter_map(|it| it.strip_prefix("note: own.items: "));
    let notes = notes.filter(|it| !it.contains("no total to compare"));
    (ended.code, notes.map(str::to_owned).collect())
}

#[test]
fn what_is_told_of_rows_that_the_source_lost_is_what_became_of_them() {
    let (run, plan) = (&["run"][..], &["plan", "--fetch"][..]);
    let day = "would write date=2024-07-25: 0 rows added, 0 changed";
    for (gone, deletes, command, code, notes) in [
        (
            1,
            "remove",
            run,
            0,
            vec!["1 row removed, because the source no longer has them".to_owned()],
        ),
        (
            2,
            "mark",
            run,
            0,
            vec!["2 rows marked as deleted, because the source no longer has them".into()],
        ),
        (1, "remove", plan, 0, vec![format!("{day}, 1 removed")]),
        (2, "mark", plan, 0, vec![format!("{day}, 2 marked as deleted")]),
        // The guard keeps them.
        (150, "remove", run, 5, vec![]),
        (150, "mark", run, 5, vec![]),
    ] {
        assert_eq!(notes_without(gone, deletes, command), (Some(code), notes), "{gone} {deletes}");
    }
}

#[test]
fn a_slice_without_a_key_that_never_ends_fails_by_name_instead_of_filling_the_memory() {
    let server = Server::start(|request| {
        let page = request.number("page");
        let text = "x".repeat(500_000);
        Response::json(&json!([{ "id": page, "day": "2024-07-25", "text": text }]))
    });
    let yaml = items(&server, "    request: { path: / }\n    paginate: { page: { param: page } }")
        .replace("write: { merge: { key: [id] } }", "write: { replace: all }")
        .replace("unknown_fields: ignore", "unknown_fields: keep");

    let workspace = Workspace::new();
    let ended = workspace.run(&yaml, &["--memory-mb", "2"], &[]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("the slice has more than 2 MiB of rows"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: make the windows"), "{}", ended.stderr);
    assert!(server.lines().len() < 20, "{}", server.lines().len());
}
