//! Every way from one page to the next, and where requests carry what they ask for.

use super::*;

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

/// A list that heeds the size of a page but not its place, and gives no more than `most`.
fn without_places(there: usize, most: usize) -> Server {
    Server::start(move |request| {
        Response::json(&records(1..=request.number("size").min(there).min(most)))
    })
}

const UNTIL_REPEATED: &str = "    request: { path: /items }
    paginate: { last_record: { from: id, param: id, size_param: size, size: 2, end_on_repeat: true } }";

#[test]
fn a_repeated_page_as_full_as_was_asked_for_is_no_end_until_a_larger_one_has_no_more() {
    let server = without_places(5, 100);

    assert_eq!(exported_ids(&items(&server, UNTIL_REPEATED)), json!([1, 2, 3, 4, 5]));

    let asked = [
        "GET /items?size=2",
        "GET /items?id=2&size=2",
        "GET /items?size=4",
        "GET /items?id=4&size=4",
        "GET /items?size=8",
        "GET /items?id=5&size=8",
    ];
    assert_eq!(server.lines(), asked);
}

#[test]
fn records_behind_the_largest_page_of_a_list_without_places_are_not_left_out_in_silence() {
    let server = without_places(5, 4);

    let ended = Workspace::new().run(&items(&server, UNTIL_REPEATED), &[], &[]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("none more than 4: whether there are more"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: the API ignores where a page starts"), "{}", ended.stderr);
}

#[test]
fn a_list_that_ignores_sizes_and_happens_to_be_as_long_as_a_page_is_read_once() {
    let server = Server::start(|_| Response::json(&records(1..=2)));

    assert_eq!(exported_ids(&items(&server, UNTIL_REPEATED)), json!([1, 2]));

    let asked =
        ["GET /items?size=2", "GET /items?id=2&size=2", "GET /items?size=4", "GET /items?size=1"];
    assert_eq!(server.lines(), asked);
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
