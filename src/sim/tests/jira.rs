//! Jira with the Timesheet app's audit log.

use super::*;

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
async fn jira_search_gives_smaller_pages_than_it_is_asked_for_and_counts_minutes_in_its_zone() {
    let site = Site::with(SimOptions { page_cap: Some(7), ..SimOptions::default() }).await;
    let world = site.sim.world();
    let all: BTreeSet<_> = world.jira.worklogs.iter().map(|it| it.issue_id.to_string()).collect();
    let search = |query: &str| site.jira(Method::GET, &format!("api/2/search?{query}"));
    let (mut ids, mut start) = (BTreeSet::new(), 0);

    loop {
        let page = read_json(search(&format!("maxResults=1000&startAt={start}"))).await;
        assert_eq!((&page["maxResults"], &page["total"]), (&7.into(), &all.len().into()));
        let issues = array(&page["issues"]);
        ids.extend(issues.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        start += issues.len();
        if issues.is_empty() {
            break;
        }
    }
    assert_eq!(ids, all);

    let newest = world.jira.worklogs.iter().max_by_key(|it| it.update_time).unwrap();
    let moscow = (newest.update_time + chrono::TimeDelta::hours(3)).format("%Y-%m-%d%%20%H:%M");
    let since = format!("jql=updated%20%3E%3D%20%22{moscow}%22%20ORDER%20BY%20updated");
    let found = read_json(search(&since)).await;
    let keys: Vec<_> = array(&found["issues"]).iter().map(|it| &it["key"]).collect();
    assert!(keys.contains(&&json!(newest.issue_key)), "{found}");
    assert!(keys.len() < all.len());
    let unknown = read(search("jql=assignee%20%3D%20etl")).await;
    assert_eq!(unknown.status, 400);
}
