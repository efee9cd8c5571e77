//! Tracker, as its documentation and its traps have it.

use super::*;

#[tokio::test]
async fn tracker_wants_a_token_and_an_organisation() {
    let site = Site::start().await;
    let url = format!("{}/v3/myself", site.sim.tracker_url());
    let bare = || site.client.get(&url);
    let token = || bare().header("Authorization", "Bearer t1.simulated");

    assert_eq!(read(bare()).await.status, 401);
    assert_eq!(read(token()).await.status, 403);
    assert_eq!(read(token().header("X-Org-Id", "not provided")).await.status, 403);
    let both = token().header("X-Org-Id", "not provided").header("X-Cloud-Org-Id", "1234567");
    assert_eq!(read(both).await.status, 200);
}

#[tokio::test]
async fn scroll_gives_every_issue_once_and_forgets_its_id_on_the_last_page() {
    let site = Site::start().await;
    let path = "/v3/issues/_search?scrollType=sorted&perScroll=25";
    let body = json!({"query": "\"Sort by\": Updated ASC"}).to_string();
    let mut keys = Vec::new();

    let mut page = read(site.tracker(Method::POST, path).body(body.clone())).await;
    loop {
        keys.extend(array(&page.json()).iter().map(|it| it["key"].as_str().unwrap().to_owned()));
        let Some(id) = page.header("x-scroll-id") else { break };
        let path = format!("{path}&scrollId={id}");
        page = read(site.tracker(Method::POST, &path).body(body.clone())).await;
    }

    let world = site.sim.world();
    assert_eq!(keys.len(), 60);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 60);
    assert_eq!(site.sim.requests().len(), 3);
    let first = world.tracker.issues.iter().min_by_key(|it| it.updated_at).unwrap();
    assert_eq!(keys[0], first.key);
}

#[tokio::test]
async fn scroll_refuses_another_body_a_queue_and_a_late_caller() {
    let site = Site::start().await;
    let path = "/v3/issues/_search?scrollType=sorted&perScroll=10&scrollTTLMillis=150";
    let post =
        |path: &str, body: &Value| read(site.tracker(Method::POST, path).body(body.to_string()));

    let first = post(path, &json!({"query": "Queue: OPS"})).await;
    let next = format!("{path}&scrollId={}", first.header("x-scroll-id").unwrap());
    assert_eq!(post(&next, &json!({"query": "Queue: DEV"})).await.status, 400);
    assert_eq!(post(&next, &json!({"query": "Queue: OPS"})).await.status, 200);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(post(&next, &json!({"query": "Queue: OPS"})).await.status, 400);

    let refused = post(path, &json!({"queue": "OPS"})).await;
    assert_eq!(refused.json()["errorMessages"][0], "Scroll is not supported");
    assert_eq!(post(path, &json!({"query": "Author: me()"})).await.status, 422);
}

#[tokio::test]
async fn scroll_is_a_snapshot_while_pages_drift() {
    let site = Site::start().await;
    let path = "/v3/issues/_search?scrollType=unsorted&perScroll=50";
    let first = read(site.tracker(Method::POST, path).body("{}")).await;
    let next = format!("{path}&scrollId={}", first.header("x-scroll-id").unwrap());

    site.sim.next_day();

    assert_eq!(array(&read_json(site.tracker(Method::POST, &next).body("{}")).await).len(), 10);
    let count = read_json(site.tracker(Method::POST, "/v3/issues/_count").body("{}")).await;
    assert_eq!(count, 61);
}

#[tokio::test]
async fn pages_of_a_search_end_at_the_window() {
    let site = Site::start().await;
    let search =
        |query: &str| site.tracker(Method::POST, &format!("/v2/issues/_search?{query}")).body("{}");

    let page = read(search("perPage=25&page=3")).await;
    assert_eq!(page.header("x-total-pages"), Some("3"));
    assert_eq!(page.header("x-total-count"), Some("60"));
    assert_eq!(array(&page.json()).len(), 10);
    assert!(page.json()[0]["self"].as_str().unwrap().contains("/tracker/v2/issues/"));
    assert_eq!(read(search("perPage=1000&page=11")).await.status, 400);

    site.sim.set_faults(Faults { saturate_at: Some(50), ..Faults::default() });
    assert_eq!(read(search("perPage=25&page=1")).await.header("x-total-count"), Some("50"));
    assert_eq!(read(search("perPage=25&page=3")).await.status, 400);
}

#[tokio::test]
async fn worklog_ids_are_numbers_and_texts_and_some_issues_ignore_paging() {
    let site = Site::start().await;
    let world = site.sim.world();
    let long = world.tracker.issues.iter().find(|it| it.number == 2).unwrap();
    let deaf = world.tracker.issues.iter().find(|it| it.number == 5).unwrap();
    let (mut ids, mut numbers, mut texts) = (Vec::new(), 0, 0);

    let mut after = String::new();
    loop {
        let path = format!("/v3/issues/{}/worklog?perPage=50{after}", long.key);
        let page = read_json(site.tracker(Method::GET, &path)).await;
        let Some(last) = array(&page).last() else { break };
        after = format!("&id={}", last["id"].to_string().trim_matches('"'));
        for it in array(&page) {
            let id = &it["id"];
            (numbers, texts) =
                (numbers + i32::from(id.is_number()), texts + i32::from(id.is_string()));
            ids.push(id.to_string().trim_matches('"').parse::<i64>().unwrap());
        }
    }

    assert_eq!(ids, long.worklogs.iter().map(|it| it.id).collect::<Vec<_>>());
    for issue in &world.tracker.issues {
        let path = format!("/v3/issues/{}/worklog", issue.key);
        let page = read_json(site.tracker(Method::GET, &path)).await;
        assert_eq!(array(&page).len(), issue.worklogs.len());
        numbers += i32::from(array(&page).iter().any(|it| it["id"].is_number()));
        texts += i32::from(array(&page).iter().any(|it| it["id"].is_string()));
    }
    assert!(numbers > 0 && texts > 0);
    let path = format!("/v3/issues/{}/worklog?perPage=10&id={}", deaf.key, deaf.worklogs[9].id);
    assert_eq!(array(&read_json(site.tracker(Method::GET, &path)).await).len(), 60);
}

#[tokio::test]
async fn changelog_continues_by_a_link_without_scheme() {
    let site = Site::start().await;
    let world = site.sim.world();
    let issue = world.tracker.issues.iter().find(|it| it.number == 6).unwrap();
    let path = format!("/v3/issues/{}/changelog", issue.key);
    let mut ids = Vec::new();

    let mut page = read(site.tracker(Method::GET, &path)).await;
    assert_eq!(page.headers.get_all("link").iter().count(), 2);
    let links = page.headers.get_all("link").iter();
    assert!(links.filter_map(|it| it.to_str().ok()).all(|it| it.starts_with("<127.0.0.1:")));
    loop {
        let body = page.json();
        ids.extend(array(&body).iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        let Some(id) = page.next_id() else { break };
        assert_ne!(Some(&id), ids.last());
        page = read(site.tracker(Method::GET, &format!("{path}?id={id}&perPage=50"))).await;
    }

    assert_eq!(ids, issue.changelog.iter().map(|it| it.id.clone()).collect::<Vec<_>>());
    assert_eq!(ids.len(), 120);
    assert!(issue.changelog.iter().any(|it| it.fields.is_none()));
}

#[tokio::test]
async fn moved_issue_redirects_and_hidden_issues_are_refused() {
    let site = Site::start().await;
    site.sim.next_day();
    let world = site.sim.world();
    let moved = world.tracker.issues.iter().rfind(|it| !it.aliases.is_empty()).unwrap();
    let lost = world.tracker.issues.iter().find(|it| it.lost_access).unwrap();
    let closed = world.tracker.issues.iter().find(|it| it.worklogs_forbidden).unwrap();
    let get =
        |key: &str, rest: &str| read(site.tracker(Method::GET, &format!("/v3/issues/{key}{rest}")));

    let page = get(&moved.aliases[0], "/worklog").await;
    assert_eq!(page.json()[0]["issue"]["key"], moved.key.as_str());
    assert_eq!(site.sim.requests()[0].status, 307);
    assert_eq!(get(&lost.key, "/worklog").await.status, 403);
    assert_eq!(get(&lost.key, "/changelog").await.status, 403);
    assert_eq!(get(&closed.key, "/worklog").await.status, 403);
    assert_eq!(get(&closed.key, "/changelog").await.status, 200);
    assert_eq!(get("OPS-404", "/worklog").await.status, 404);
}

#[tokio::test]
async fn worklog_selection_repeats_its_parameter_and_gives_ids_as_text() {
    let site = Site::start().await;
    let world = site.sim.world();
    let from = "2024-07-10T00:00:00.000%2B0000";
    let to = "2024-07-20T00:00:00.000%2B0000";
    let path = format!("/v3/worklog?createdAt=from:{from}&createdAt=to:{to}&perPage=1000");
    let day = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let bounds = day("2024-07-10T00:00:00Z")..day("2024-07-20T00:00:00Z");
    let all = world.tracker.issues.iter().flat_map(|it| &it.worklogs);
    let expected = all.filter(|it| bounds.contains(&it.created_at)).count();

    let page = read_json(site.tracker(Method::GET, &path)).await;
    let body = json!({"createdAt": {"from": "2024-07-10T00:00:00.000+0000", "to": "2024-07-20T00:00:00.000+0000"}});
    let search =
        site.tracker(Method::POST, "/v3/worklog/_search?perPage=1000").body(body.to_string());

    assert_eq!(array(&page).len(), expected);
    assert!(array(&page).iter().all(|it| it["id"].is_string()));
    assert_eq!(read_json(search).await, page);
    assert_eq!(read(site.tracker(Method::GET, &path.replace("%2B", "+"))).await.status, 422);
}
