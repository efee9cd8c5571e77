//! CodeArts Req, with signatures and log-ins.

use super::*;

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
