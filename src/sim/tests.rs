//! The traps of the three APIs, over a real socket.

mod codearts;
mod jira;
mod tracker;

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
