//! The traps of the three APIs, over a real socket.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::sign::{self, Signed};
use super::world::timesheet::JiraMode;
use super::{Faults, RateLimit, SimOptions, Simulator, World};

/// A simulator, a client and what the three systems want of a caller.
struct Site {
    sim: Simulator,
    client: Client,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// The `id` parameter of the `Link` header whose relation is `next`.
    fn next_id(&self) -> Option<String> {
        let mut links = self.headers.get_all("link").iter().filter_map(|it| it.to_str().ok());
        let next = links.rfind(|it| it.contains("rel=\"next\""))?;
        let (_, after) = next.split_once("id=")?;
        Some(after.split(['&', '>']).next()?.to_owned())
    }
}

impl Site {
    async fn start() -> Site {
        Site::with(SimOptions::default()).await
    }

    async fn with(options: SimOptions) -> Site {
        let sim = Simulator::start(options).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Site { sim, client }
    }

    fn tracker(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.sim.tracker_url()));
        request.header("Authorization", "OAuth y0_simulated").header("X-Org-Id", "1234567")
    }

    fn jira(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/rest/{path}", self.sim.jira_url());
        self.client.request(method, url).header("Authorization", "Bearer simulated-pat")
    }

    fn codearts(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sim.codearts_url());
        self.client.request(method, url).header("X-Auth-Token", "simulated-token")
    }

    fn project(&self) -> String {
        self.sim.world().codearts.projects[0].project_id.clone()
    }
}

async fn read(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

async fn read_json(request: RequestBuilder) -> Value {
    read(request).await.json()
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[test]
fn same_seed_makes_the_same_world_and_another_seed_does_not() {
    let world = |seed| World::generate(seed, 40, SimOptions::default().today);

    assert_eq!(world(1), world(1));
    assert_ne!(world(1), world(2));
    let (mut one, mut two) = (world(1), world(1));
    one.next_day();
    two.next_day();
    assert_eq!(one, two);
}

#[test]
fn world_has_the_values_that_break_careless_exports() {
    let world = World::generate(1, 60, SimOptions::default().today);
    let worklogs: Vec<_> = world.tracker.issues.iter().flat_map(|it| &it.worklogs).collect();

    let durations: HashSet<_> =
        worklogs.iter().map(|it| (it.duration_text.as_str(), it.duration_seconds)).collect();
    for wanted in [("P3W", 432_000), ("P1W2DT3H", 212_400), ("P5DT20M", 145_200), ("P1W", 144_000)]
    {
        assert!(durations.contains(&wanted), "{wanted:?}");
    }
    for wanted in ["PT0.5H", "PT1H30M", "P1D", "P0Y0M1DT2H"] {
        assert!(durations.iter().any(|(text, _)| *text == wanted), "{wanted}");
    }
    assert!(worklogs.iter().any(|it| it.comment.is_none()));
    assert!(worklogs.iter().any(|it| it.comment.as_deref() == Some("")));
    for part in ['"', '\n', ',', '\\', '=', 'Н', '修', '🚀'] {
        let has = |it: &&&super::world::tracker::TrackerWorklog| {
            it.comment.as_ref().is_some_and(|it| it.contains(part))
        };
        assert!(worklogs.iter().any(|it| has(&it)), "{part}");
    }
    let statuses: BTreeSet<_> =
        world.jira.worklogs.iter().filter_map(|it| it.audit.as_ref()).map(|it| it.status).collect();
    assert_eq!(statuses, BTreeSet::from([0, 1, 2, 7]));
    assert!(world.jira.worklogs.iter().any(|it| it.start_date > world.today));
    assert!(worklogs.iter().all(|it| it.updated_at <= world.now() && it.start <= world.now()));
}

#[test]
fn day_edits_redates_deletes_adds_and_moves() {
    let mut world = World::generate(1, 60, SimOptions::default().today);
    let before = world.clone();

    world.next_day();

    let (old, new) = (&before.tracker, &world.tracker);
    assert_eq!(new.issues.len(), old.issues.len() + 2);
    let pairs = || old.issues.iter().zip(&new.issues);
    assert_eq!(pairs().filter(|(_, it)| it.lost_access).count(), 1);
    assert_eq!(pairs().filter(|(_, it)| it.worklogs_forbidden).count(), 1);
    assert_eq!(pairs().filter(|(a, b)| a.key != b.key).count(), 1);
    assert!(pairs().any(|(a, b)| b.worklogs.len() + 1 == a.worklogs.len()));
    assert!(pairs().any(|(a, b)| b.worklogs.len() == a.worklogs.len() + 1));
    let kept = |a: &super::world::tracker::TrackerIssue,
                b: &super::world::tracker::TrackerIssue| {
        let pairs = a.worklogs.iter().zip(&b.worklogs);
        pairs.filter(|(a, b)| a.id == b.id && a.start.date_naive() != b.start.date_naive()).count()
    };
    assert!(pairs().any(|(a, b)| kept(a, b) > 0));
    for (a, b) in pairs().filter(|(a, b)| a.worklogs != b.worklogs) {
        assert!(b.updated_at > before.now() && b.changelog.len() > a.changelog.len(), "{}", a.key);
    }
    assert!(!world.jira.deleted.is_empty());
    let audited = |world: &World| {
        world
            .jira
            .worklogs
            .iter()
            .filter(|it| it.audit.as_ref().is_some_and(|it| it.status == 2))
            .count()
    };
    assert!(audited(&world) > audited(&before));
    let deleted = |world: &World| world.codearts.issues.iter().filter(|it| it.deleted).count();
    assert_eq!(deleted(&world), deleted(&before) + 1);
    assert_ne!(world.codearts.work_hours, before.codearts.work_hours);
}

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

#[tokio::test]
async fn jira_refuses_a_token_with_html_and_a_password_with_nothing() {
    let site = Site::start().await;
    let url = format!("{}/rest/api/2/myself", site.sim.jira_url());

    let bearer = read(site.client.get(&url).header("Authorization", "Bearer wrong")).await;
    let basic = read(site.client.get(&url).basic_auth("admin", Some("wrong"))).await;
    let right = read(site.client.get(&url).basic_auth("admin", Some("simulated-password"))).await;

    assert_eq!((bearer.status, bearer.text.starts_with("<!DOCTYPE html>")), (401, true));
    assert_eq!((basic.status, basic.text.as_str()), (200, ""));
    assert_eq!(basic.header("x-seraph-loginreason"), Some("AUTHENTICATED_FAILED"));
    assert_eq!(right.json()["name"], "admin");
}

#[tokio::test]
async fn audit_log_pages_are_small_and_dates_are_wanted() {
    let site = Site::with(SimOptions { page_cap: Some(7), ..SimOptions::default() }).await;
    let world = site.sim.world();
    let get = |query: &str| {
        site.jira(
            Method::GET,
            &format!("shdsd-Timesheet/3/auditLog?startDate=2024-04-01&endDate=2024-09-01&{query}"),
        )
    };
    let (mut ids, mut start) = (Vec::new(), 0);

    loop {
        let page = read_json(get(&format!("maxResults=50&startAt={start}"))).await;
        assert_eq!(page["maxResults"], 7);
        ids.extend(array(&page["values"]).iter().map(|it| it["log"]["id"].as_i64().unwrap()));
        start += array(&page["values"]).len();
        if page["isLast"] == true {
            assert_eq!(page["total"], ids.len());
            break;
        }
    }

    let shown = |mode| {
        let all = world.jira.worklogs.iter().filter(move |it| it.modes.contains(&mode));
        all.map(|it| it.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), shown(JiraMode::View));
    let bare = read(site.jira(Method::GET, "shdsd-Timesheet/3/auditLog?mode=audit")).await;
    assert_eq!((bare.status, bare.json()["errorMessages"].is_array()), (400, true));
    let revoked =
        read_json(site.jira(Method::GET, "shdsd-Timesheet/3/auditLog?mode=revoke-view")).await;
    assert_eq!(revoked["total"], shown(JiraMode::RevokeView).len());
    assert!(array(&revoked["values"]).iter().all(|it| it["revoke"].is_object()));
}

#[tokio::test]
async fn jira_times_have_no_zone_and_work_hours_are_listed_by_date() {
    let site = Site::start().await;
    let world = site.sim.world();
    let log = world.jira.worklogs.iter().find(|it| it.modes.contains(&JiraMode::View)).unwrap();
    let date = log.start_date;

    let path = format!(
        "shdsd-Timesheet/3/auditLog?startDate={date}&endDate={date}&maxResults=100&issueKeys={}",
        log.issue_key
    );
    let page = read_json(site.jira(Method::GET, &path)).await;
    let shown = array(&page["values"]).iter().find(|it| it["log"]["id"] == log.id).unwrap();
    let moscow = log.create_time + chrono::TimeDelta::hours(3);
    assert_eq!(shown["log"]["createTime"], moscow.format("%Y-%m-%d %H:%M:%S%.3f").to_string());

    let body = json!({"startDate": date, "maxResults": 100}).to_string();
    let hours =
        read_json(site.jira(Method::POST, "shdsd-Timesheet/3/worklog/search").body(body)).await;
    assert_eq!(
        hours["total"],
        world.jira.worklogs.iter().filter(|it| it.start_date == date).count()
    );
    assert!(hours["values"][0]["activity"].is_string());
}

#[tokio::test]
async fn jira_feed_names_a_next_page_on_the_last_page_too() {
    let site = Site::start().await;
    site.sim.next_day();
    let world = site.sim.world();

    let updated = read_json(site.jira(Method::GET, "api/2/worklog/updated?since=0")).await;
    let deleted = read_json(site.jira(Method::GET, "api/2/worklog/deleted?since=0")).await;
    let ids: Vec<_> = array(&updated["values"]).iter().map(|it| it["worklogId"].clone()).collect();
    let body = json!({"ids": ids}).to_string();
    let list = read_json(site.jira(Method::POST, "api/2/worklog/list").body(body)).await;

    assert_eq!((&updated["lastPage"], updated["nextPage"].is_string()), (&json!(true), true));
    assert_eq!(array(&deleted["values"]).len(), world.jira.deleted.len());
    assert_eq!(array(&list).len(), ids.len());
    assert!(list[0]["id"].is_string());
}

#[tokio::test]
async fn codearts_offset_is_a_multiple_of_limit_and_below_the_window() {
    let site = Site::start().await;
    let project = site.project();
    let get = |paging: &str| {
        let path = format!(
            "/v2/issues/get-record?project_id={project}&issue_id=6505002&type=scrum&_=1{paging}"
        );
        read(site.codearts(Method::GET, &path))
    };

    assert_eq!(get("").await.json()["result"]["limit"], 10);
    let odd = get("&limit=10&offset=5").await;
    assert_eq!((odd.status, &odd.json()["error_code"]), (400, &json!("PM.02174103")));
    assert_eq!(get("&limit=10&offset=10010").await.status, 400);
}

#[tokio::test]
async fn history_cuts_batches_at_page_boundaries_newest_first() {
    let site = Site::start().await;
    let (project, world) = (site.project(), site.sim.world());
    let issue = &world.codearts.issues[1];
    let expected: Vec<_> = issue
        .history
        .iter()
        .rev()
        .flat_map(|batch| batch.details.iter().map(|it| (batch.id, it.id)))
        .collect();
    let mut rows = Vec::new();

    while rows.len() < expected.len() {
        let path = format!(
            "/v2/issues/get-record?project_id={project}&issue_id={}&type=Scrum&limit=10&offset={}",
            issue.id,
            rows.len()
        );
        let page = read_json(site.codearts(Method::GET, &path)).await;
        assert_eq!(page["result"]["journals_total"], expected.len());
        for row in array(&page["result"]["record"]) {
            assert!(row["created_on"].is_string());
            assert_eq!(array(&row["details"]).len(), 1);
            rows.push((row["id"].as_i64().unwrap(), row["details"][0]["id"].as_i64().unwrap()));
        }
    }

    assert_eq!(rows, expected);
    assert!(rows.chunks(10).zip(rows.chunks(10).skip(1)).any(|(a, b)| a[9].0 == b[0].0));
}

#[tokio::test]
async fn codearts_issues_have_two_schemas_and_soft_deletes() {
    let site = Site::start().await;
    let path = format!("/v4/projects/{}/issues", site.project());
    let post = |body: Value| read_json(site.codearts(Method::POST, &path).body(body.to_string()));

    let all = post(json!({"include_deleted": true, "limit": 100, "offset": 0})).await;
    let live = post(json!({})).await;
    let got = read_json(site.codearts(Method::GET, &path)).await;
    let world = site.sim.world();
    let ms = world.codearts.issues[0].updated_time.timestamp_millis();
    let one =
        post(json!({"include_deleted": true, "updated_time_interval": format!("{ms},{ms}")})).await;

    assert_eq!(
        (&all["total"], &live["total"], &got["total"]),
        (&json!(60), &json!(59), &json!(59))
    );
    assert!(got["issues"][0].get("id").is_none() && got["issues"][0]["created_time"].is_number());
    assert!(all["issues"][0]["id"].is_number() && all["issues"][0]["created_time"].is_string());
    assert!(array(&all["issues"]).iter().any(|it| it["closed_time"] == ""));
    assert!(array(&one["issues"]).iter().any(|it| it["id"] == world.codearts.issues[0].id));
}

#[tokio::test]
async fn work_hours_hold_two_equal_rows() {
    let site = Site::start().await;
    let path = format!("/v4/projects/{}/work-hours", site.project());
    let date = site.sim.world().codearts.work_hours[0].work_date;
    let body = json!({"begin_time": date, "end_time": date, "limit": 500, "offset": 0}).to_string();

    let page = read_json(site.codearts(Method::POST, &path).body(body)).await;

    let rows: Vec<_> = array(&page["work_hours"]).iter().map(ToString::to_string).collect();
    assert_eq!(page["total"], rows.len());
    assert!(rows.iter().collect::<HashSet<_>>().len() < rows.len());
    assert!(page["work_hours"][0]["work_hours_num"].is_string());
}

#[tokio::test]
async fn codearts_takes_a_signature_of_exactly_what_was_sent() {
    let site = Site::start().await;
    let host = site.sim.address().to_string();
    let path = "/codearts/v4/projects";
    let request = |signed_query: &str, sent_query: &str| {
        let date = "20240725T120000Z";
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        headers.insert("x-sdk-date", date.parse().unwrap());
        let signed =
            Signed { method: "GET", path, query: signed_query, headers: &headers, body: b"" };
        let canonical = sign::canonical_request(&signed, "host;x-sdk-date");
        let options = site.sim.options();
        let signature = sign::signature(&options.codearts_secret_key, date, &canonical);
        let authorization = format!(
            "SDK-HMAC-SHA256 Access={}, SignedHeaders=host;x-sdk-date, Signature={signature}",
            options.codearts_access_key
        );
        let url = format!("http://{host}{path}?{sent_query}");
        site.client.get(url).header("X-Sdk-Date", date).header("Authorization", authorization)
    };

    assert_eq!(read(request("limit=10", "limit=10")).await.status, 200);
    let wrong = read(request("limit=10", "limit=10&offset=0")).await;
    assert_eq!((wrong.status, &wrong.json()["error_code"]), (401, &json!("APIGW.0303")));
    let message = wrong.json()["error_msg"].to_string();
    assert!(
        message.contains("canonicalRequest:GET|/codearts/v4/projects/|limit=10&offset=0|host:")
    );
}

#[tokio::test]
async fn log_in_gives_a_token_in_a_header_until_it_expires() {
    let options =
        SimOptions { iam_token_lifetime: Duration::from_millis(300), ..SimOptions::default() };
    let site = Site::with(options).await;
    let url = site.sim.codearts_url();
    let body = |password: &str| {
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "etl", "password": password, "domain": {"name": "acct"}}}},
            "scope": {"project": {"name": "cn-north-4"}}}})
        .to_string()
    };
    let log_in =
        |password: &str| site.client.post(format!("{url}/v3/auth/tokens")).body(body(password));

    let answer = read(log_in("simulated-password")).await;
    let token = answer.header("x-subject-token").unwrap().to_owned();
    let with =
        |token: &str| site.client.get(format!("{url}/v4/projects")).header("X-Auth-Token", token);

    assert_eq!(answer.status, 201);
    assert!(answer.json()["token"]["expires_at"].as_str().unwrap().ends_with("00000Z"));
    assert_eq!(read(with(&token)).await.status, 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let expired = read(with(&token)).await;
    assert_eq!((expired.status, &expired.json()["error_code"]), (401, &json!("APIGW.0301")));
    assert_eq!(read(log_in("wrong")).await.status, 401);
}

#[tokio::test]
async fn faults_come_when_they_are_due_and_stop_after_their_number() {
    let site = Site::start().await;
    let get = || site.tracker(Method::GET, "/v3/queues");
    let set = |faults: Faults| site.sim.set_faults(faults);

    let limit = RateLimit { every: 2, retry_after: Some("7".into()), ..RateLimit::default() };
    set(Faults { rate_limit: Some(limit), times: Some(1), ..Faults::default() });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = read(get()).await;
        statuses.push((answer.status, answer.header("retry-after").map(ToOwned::to_owned)));
    }
    assert_eq!(statuses.iter().map(|it| it.0).collect::<Vec<_>>(), [200, 429, 200, 200]);
    assert_eq!(statuses[1].1.as_deref(), Some("7"));

    set(Faults { server_error_every: Some(1), ..Faults::default() });
    assert_eq!(read(get()).await.status, 503);
    set(Faults { html_login_every: Some(1), ..Faults::default() });
    assert!(read(get()).await.text.contains("Log in"));
    set(Faults { throttle_body_every: Some(1), ..Faults::default() });
    assert_eq!(read(get()).await.json()["error_code"], "PM.02153001");
    set(Faults { status_error_every: Some(1), ..Faults::default() });
    assert_eq!(read(get()).await.json()["status"], "error");
    set(Faults { truncate_every: Some(1), ..Faults::default() });
    assert!(serde_json::from_str::<Value>(&read(get()).await.text).is_err());
    set(Faults { reset_every: Some(1), ..Faults::default() });
    assert!(get().send().await.unwrap().text().await.is_err());
    set(Faults { slow_drip_ms: 1, latency_ms: 1, ..Faults::default() });
    assert!(read(get()).await.json().is_array());
    set(Faults {
        path_contains: Some("/jira/".into()),
        server_error_every: Some(1),
        ..Faults::default()
    });
    assert_eq!(read(get()).await.status, 200);
}

#[tokio::test]
async fn lying_pages_repeat_drift_and_miscount() {
    let site = Site::start().await;
    let project = site.project();
    let get = |offset: u32| {
        let path = format!(
            "/v2/issues/get-record?project_id={project}&issue_id=6505002&type=scrum&offset={offset}"
        );
        read_json(site.codearts(Method::GET, &path))
    };
    let (first, total) = (get(0).await, get(0).await["result"]["journals_total"].as_i64().unwrap());

    site.sim.set_faults(Faults { repeat_page: true, wrong_total: 3, ..Faults::default() });
    let repeated = get(10).await;
    assert_eq!(repeated["result"]["record"], first["result"]["record"]);
    assert_eq!(repeated["result"]["journals_total"], total + 3);

    site.sim.set_faults(Faults { insert_while_paging: true, times: Some(1), ..Faults::default() });
    let drifted = get(10).await;
    assert_eq!(drifted["result"]["record"][0], first["result"]["record"][9]);
    assert_eq!(drifted["result"]["journals_total"], total + 1);
    assert_eq!(get(20).await["result"]["journals_total"], total + 1);
}

#[tokio::test]
async fn kept_page_is_given_again_until_the_world_changes() {
    let site = Site::with(SimOptions { keep_pages: true, ..SimOptions::default() }).await;
    let path = format!("/v4/projects/{}/issues", site.project());
    let post = || read(site.codearts(Method::POST, &path).body("{}"));

    let (first, again) = (post().await, post().await);
    assert_eq!(
        (first.header("x-request-id"), &first.text),
        (again.header("x-request-id"), &again.text)
    );
    assert_eq!(
        read(site.client.post(format!("{}{path}", site.sim.codearts_url()))).await.status,
        401
    );

    site.sim.next_day();
    assert_ne!(post().await.text, first.text);
}

#[tokio::test]
async fn control_paths_do_for_other_processes_what_the_handle_does() {
    let site = Site::start().await;
    let url = |command: &str| format!("http://{}/_sim/{command}", site.sim.address());
    read(site.tracker(Method::GET, "/v3/queues?perPage=1")).await;

    let day = read_json(site.client.post(url("next_day"))).await;
    let faults = json!({"server_error_every": 1}).to_string();
    let set = read(site.client.post(url("faults")).body(faults)).await;
    let world = read_json(site.client.get(url("world"))).await;
    let requests = read_json(site.client.get(url("requests"))).await;

    assert_eq!(day["today"], "2024-07-26");
    assert_eq!(set.status, 200);
    assert_eq!(world, serde_json::to_value(site.sim.world()).unwrap());
    assert_eq!(array(&requests).len(), 1);
    assert_eq!(requests[0]["query"], "perPage=1");
    assert_eq!(read(site.tracker(Method::GET, "/v3/queues")).await.status, 503);
}

#[tokio::test]
async fn stopped_simulator_leaves_its_port() {
    let site = Site::start().await;
    let (address, request) = (site.sim.address(), site.tracker(Method::GET, "/v3/queues"));
    read(request.try_clone().unwrap()).await;

    site.sim.stop().await;

    assert!(request.send().await.is_err());
    assert!(std::net::TcpListener::bind(address).is_ok());
}
