//! Slices: children of parents, batches, products, and windows that are cut in two.

use super::*;

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
