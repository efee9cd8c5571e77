//! Every way into the three systems: the tables are the same, whoever asks for them.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono_tz::Tz;
use insta::assert_snapshot;
use serde_json::json;
use tempfile::TempDir;
use tracklake::sim::{ServiceAccount, SimOptions, Simulator};

use crate::shipped::{check, start, usual};
use crate::support::run::{Exported, export};
use crate::tables::{CODEARTS_ZONE, codearts_tables, jira_tables, tracker_tables};

type Variables = Vec<(&'static str, String)>;

/// The variables of a way in; those that the simulator sets by itself are unset.
fn way(set: &[(&'static str, &str)]) -> Variables {
    let unset = ["YANDEX_TRACKER_TOKEN", "JIRA_TOKEN", "CODEARTS_TOKEN"].map(|it| (it, ""));
    unset.iter().chain(set).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn borrowed(variables: &Variables) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn iam_user(simulator: &Simulator) -> Variables {
    let options = simulator.options();
    way(&[
        ("CODEARTS_IAM_URL", &simulator.codearts_url()),
        ("CODEARTS_IAM_DOMAIN", &options.iam_domain),
        ("CODEARTS_IAM_USER", &options.iam_user),
        ("CODEARTS_IAM_PASSWORD", &options.iam_password),
        ("CODEARTS_IAM_PROJECT", &options.iam_project),
    ])
}

fn access_key(simulator: &Simulator) -> Variables {
    let options = simulator.options();
    way(&[
        ("HUAWEICLOUD_SDK_AK", &options.codearts_access_key),
        ("HUAWEICLOUD_SDK_SK", &options.codearts_secret_key),
    ])
}

fn passport_token(simulator: &Simulator) -> Variables {
    way(&[
        ("YANDEX_TRACKER_IAM_URL", &simulator.yandex_iam_url()),
        ("YANDEX_TRACKER_PASSPORT_TOKEN", &simulator.options().tracker_passport_token),
    ])
}

/// A service account for the simulator, and its key as `yc iam key create` writes it.
fn service_account() -> (ServiceAccount, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let base64 = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    let pem = format!(
        "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <ajekey>\n-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    let account = ServiceAccount {
        id: "ajeaccount".to_owned(),
        key_id: "ajekey".to_owned(),
        public_key: pair.public_key().as_ref().to_vec(),
    };
    let key = json!({
        "id": "ajekey", "service_account_id": "ajeaccount", "key_algorithm": "RSA_2048",
        "created_at": "2024-07-25T00:00:00Z", "public_key": "-", "private_key": pem,
    });
    (account, key.to_string())
}

/// The statuses of the requests to a path, in order.
fn statuses(simulator: &Simulator, path: &str) -> Vec<u16> {
    let requests = simulator.requests();
    requests.iter().filter(|it| it.path == path).map(|it| it.status).collect()
}

fn refused(simulator: &Simulator) -> usize {
    simulator.requests().iter().filter(|it| it.status == 401).count()
}

const HUAWEI_IAM: &str = "/codearts/v3/auth/tokens";
const YANDEX_IAM: &str = "/iam/v1/tokens";

#[tokio::test]
async fn codearts_logs_in_as_a_user_once() {
    let simulator = start(usual()).await;

    let expected = codearts_tables(&simulator, CODEARTS_ZONE);
    check(&simulator, "codearts_req", &borrowed(&iam_user(&simulator)), &expected);

    assert_eq!(statuses(&simulator, HUAWEI_IAM), [201]);
    assert_eq!(refused(&simulator), 0);
}

#[tokio::test]
async fn a_token_of_codearts_that_ends_during_the_run_is_fetched_again_once() {
    let simulator = start(SimOptions { token_uses: Some(50), ..usual() }).await;

    let expected = codearts_tables(&simulator, CODEARTS_ZONE);
    check(&simulator, "codearts_req", &borrowed(&iam_user(&simulator)), &expected);

    // Eight requests at once find that the token has ended, and one of them logs in.
    assert_eq!(statuses(&simulator, HUAWEI_IAM), [201, 201]);
    let pages = simulator.requests().len() - 2;
    assert!((1..=8).contains(&refused(&simulator)) && pages > 50, "{pages} pages");
}

#[tokio::test]
async fn codearts_takes_signed_requests() {
    let simulator = start(usual()).await;
    let mut variables = access_key(&simulator);
    variables.push(("HUAWEICLOUD_SDK_SECURITY_TOKEN", "temporary-token".to_owned()));
    variables.push(("HUAWEICLOUD_SDK_PROJECT_ID", "0123456789abcdef0123456789abcdef".to_owned()));

    let expected = codearts_tables(&simulator, CODEARTS_ZONE);
    check(&simulator, "codearts_req", &borrowed(&variables), &expected);

    // The simulator has recomputed every signature from the bytes that arrived.
    assert_eq!(refused(&simulator), 0);
}

#[tokio::test]
async fn signatures_follow_the_clock_of_a_server_that_is_years_behind() {
    let clock = Some("2024-07-25T12:00:00Z".parse().unwrap());
    let simulator = start(SimOptions { clock, ..usual() }).await;

    let expected = codearts_tables(&simulator, CODEARTS_ZONE);
    check(&simulator, "codearts_req", &borrowed(&access_key(&simulator)), &expected);

    assert!((1..=8).contains(&refused(&simulator)), "only what was under way at first");
}

#[tokio::test]
async fn tracker_takes_an_iam_token() {
    let simulator = start(usual()).await;
    let variables = way(&[("YANDEX_TRACKER_IAM_TOKEN", &simulator.options().tracker_iam_token)]);

    let expected = tracker_tables(&simulator, Tz::UTC);
    check(&simulator, "yandex_tracker", &borrowed(&variables), &expected);
}

#[tokio::test]
async fn tracker_exchanges_an_oauth_token_for_iam_tokens_that_end_during_the_run() {
    let simulator = start(SimOptions { token_uses: Some(100), ..usual() }).await;

    let expected = tracker_tables(&simulator, Tz::UTC);
    check(&simulator, "yandex_tracker", &borrowed(&passport_token(&simulator)), &expected);

    assert_eq!(statuses(&simulator, YANDEX_IAM), [200, 200]);
    assert!((1..=8).contains(&refused(&simulator)));
}

#[tokio::test]
async fn tracker_takes_the_key_of_a_service_account() {
    let (account, key) = service_account();
    let simulator = start(SimOptions { tracker_service_account: Some(account), ..usual() }).await;
    let variables = way(&[
        ("YANDEX_TRACKER_IAM_URL", &simulator.yandex_iam_url()),
        ("YANDEX_TRACKER_SERVICE_ACCOUNT_KEY", &key),
    ]);

    let expected = tracker_tables(&simulator, Tz::UTC);
    check(&simulator, "yandex_tracker", &borrowed(&variables), &expected);

    assert_eq!(statuses(&simulator, YANDEX_IAM), [200]);
}

#[tokio::test]
async fn jira_takes_a_user_and_a_password() {
    let simulator = start(usual()).await;
    let options = simulator.options();
    let variables =
        way(&[("JIRA_USER", &options.jira_user), ("JIRA_PASSWORD", &options.jira_password)]);

    let expected = jira_tables(&simulator);
    check(&simulator, "jira_timesheet", &borrowed(&variables), &expected);
}

// ---- What is wrong with credentials

fn run(simulator: &Simulator, pipeline: &str, variables: &Variables) -> Exported {
    let output = TempDir::new().unwrap();
    let pipeline = format!("{pipeline}.yaml");
    let mut variables = borrowed(variables);
    if !variables.iter().any(|(name, _)| *name == "TRACKLAKE_TEST_ARGS") {
        variables.push(("TRACKLAKE_TEST_ARGS", "--quiet"));
    }
    export(simulator, &pipeline, output.path(), &variables)
}

/// What a run says that is refused with exit code 4, without the simulator's port.
#[track_caller]
fn wrong(
    simulator: &Simulator,
    pipeline: &str,
    mut variables: Variables,
    secret: &'static str,
) -> String {
    variables.iter_mut().filter(|(name, _)| *name == secret).for_each(|it| it.1.push_str("-wrong"));
    let ended = run(simulator, pipeline, &variables);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    for (name, value) in &variables {
        let is_shown = !value.is_empty() && ended.stderr.contains(value) && !name.ends_with("_URL");
        assert!(!is_shown, "{name} is shown: {}", ended.stderr);
    }
    // Every stream says the same of a URL of its own.
    let mut lines: Vec<&str> = Vec::new();
    for line in ended.stderr.lines().filter(|it| !it.starts_with("error: ")) {
        lines.push(line.trim());
        if line.trim().starts_with("hint: ") {
            break;
        }
    }
    let said = lines.join("\n").replace(&simulator.address().to_string(), "SERVER");
    // Streams ask at the same time; which of them is refused first is for the server to say.
    ["issues", "work-hours"]
        .iter()
        .fold(said, |it, path| it.replace(&format!("/{path}`"), "/STREAM`"))
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let simulator = start(usual()).await;

    assert_snapshot!(wrong(&simulator, "codearts_req", iam_user(&simulator), "CODEARTS_IAM_PASSWORD"), @r#"
    cause: request failed after 1 try
    cause: cannot log in
    cause: `http://SERVER/codearts/v3/auth/tokens` answers the log-in with status 401: {"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}
    hint: check the user, password, token or key for the log-in, and its URL; `tracklake list` shows the variables
    "#);
    assert_eq!(statuses(&simulator, HUAWEI_IAM), [401], "accounts are locked after a few");
}

#[tokio::test]
async fn a_wrong_secret_key_shows_both_canonical_requests() {
    let simulator = start(usual()).await;

    assert_snapshot!(wrong(&simulator, "codearts_req", access_key(&simulator), "HUAWEICLOUD_SDK_SK"), @r"
    cause: `http://SERVER/codearts/v4/projects/f9069c5112d49c0defff311e8abe388f/STREAM` refuses the credentials with status 401: APIGW.0303 Incorrect app authentication information: verify signature failed, though both sides sign the same canonical request: the secret key does not go with the access key
    hint: check the token, password or key that the pipeline is given; `tracklake list` shows its variables
    ");
}

#[tokio::test]
async fn a_wrong_oauth_token_is_refused_by_iam() {
    let simulator = start(usual()).await;
    let variables = passport_token(&simulator);

    assert_snapshot!(wrong(&simulator, "yandex_tracker", variables, "YANDEX_TRACKER_PASSPORT_TOKEN"), @r#"
    cause: request failed after 1 try
    cause: cannot log in
    cause: `http://SERVER/iam/v1/tokens` answers the log-in with status 401: {"code":16,"message":"OAuth token or JWT is invalid or expired","details":[]}
    hint: check the user, password, token or key for the log-in, and its URL; `tracklake list` shows the variables
    "#);
    assert_eq!(statuses(&simulator, YANDEX_IAM), [401]);
}

#[tokio::test]
async fn the_key_of_another_service_account_is_refused_by_iam() {
    let (account, _) = service_account();
    let (_, other_key) = service_account();
    let simulator = start(SimOptions { tracker_service_account: Some(account), ..usual() }).await;
    let variables = way(&[
        ("YANDEX_TRACKER_IAM_URL", &simulator.yandex_iam_url()),
        ("YANDEX_TRACKER_SERVICE_ACCOUNT_KEY", &other_key),
    ]);

    let ended = run(&simulator, "yandex_tracker", &variables);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!(statuses(&simulator, YANDEX_IAM), [401]);
}

#[tokio::test]
async fn every_other_wrong_credential_is_refused_with_a_hint_and_not_shown() {
    let simulator = start(usual()).await;
    let options = simulator.options().clone();
    let jira_user = [("JIRA_USER", &*options.jira_user), ("JIRA_PASSWORD", &options.jira_password)];
    let ways = [
        ("codearts_req", vec![("CODEARTS_TOKEN", &*options.codearts_token)]),
        ("yandex_tracker", vec![("YANDEX_TRACKER_TOKEN", &options.tracker_token)]),
        ("yandex_tracker", vec![("YANDEX_TRACKER_IAM_TOKEN", &options.tracker_iam_token)]),
        ("jira_timesheet", vec![("JIRA_TOKEN", &options.jira_token)]),
        ("jira_timesheet", jira_user.to_vec()),
    ];

    for (pipeline, set) in ways {
        let (secret, _) = *set.last().unwrap();
        let said = wrong(&simulator, pipeline, way(&set), secret);

        assert!(said.contains("refuses the credentials with status"), "{said}");
        assert!(said.ends_with("`tracklake list` shows its variables"), "{said}");
    }
}

/// What is said before anything is asked, with exit code 3.
#[track_caller]
fn unusable(simulator: &Simulator, pipeline: &str, variables: &Variables) -> String {
    let ended = run(simulator, pipeline, variables);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(simulator.requests(), []);
    let problems = ended.stderr.lines().filter_map(|it| it.trim().strip_prefix("pipelines/"));
    problems.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn none_or_two_ways_in_are_refused_with_what_to_set() {
    let simulator = start(usual()).await;
    let none = way(&[]);
    let both = |mut one: Variables, other: Variables| {
        one.extend(other.into_iter().filter(|(_, value)| !value.is_empty()));
        one
    };

    assert_snapshot!(unusable(&simulator, "codearts_req", &none), @"codearts_req.yaml:30:5: source.auth.one_of: no way to log in is set: set CODEARTS_TOKEN, or CODEARTS_IAM_URL and CODEARTS_IAM_USER and CODEARTS_IAM_PASSWORD and CODEARTS_IAM_DOMAIN and CODEARTS_IAM_PROJECT, or HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK");
    let two = both(iam_user(&simulator), access_key(&simulator));
    assert_snapshot!(unusable(&simulator, "codearts_req", &two), @"codearts_req.yaml:30:5: source.auth.one_of: 2 ways to log in are set (CODEARTS_IAM_URL and CODEARTS_IAM_USER and CODEARTS_IAM_PASSWORD and CODEARTS_IAM_DOMAIN and CODEARTS_IAM_PROJECT; HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK): unset all but one");
    let half =
        way(&[("CODEARTS_IAM_USER", "etl"), ("CODEARTS_IAM_PASSWORD", "simulated-password")]);
    assert_snapshot!(unusable(&simulator, "codearts_req", &half), @r"
    codearts_req.yaml:32:9: source.auth.one_of.1: `iam_url` has no value, but the rest of this way to log in has: set CODEARTS_IAM_URL, or pass `--set iam_url=…`
    codearts_req.yaml:32:9: source.auth.one_of.1: `iam_domain` has no value, but the rest of this way to log in has: set CODEARTS_IAM_DOMAIN, or pass `--set iam_domain=…`
    codearts_req.yaml:32:9: source.auth.one_of.1: `iam_project` has no value, but the rest of this way to log in has: set CODEARTS_IAM_PROJECT, or pass `--set iam_project=…`
    ");
    assert_snapshot!(unusable(&simulator, "yandex_tracker", &none), @"yandex_tracker.yaml:31:5: source.auth.one_of: no way to log in is set: set YANDEX_TRACKER_TOKEN, or YANDEX_TRACKER_IAM_TOKEN, or YANDEX_TRACKER_PASSPORT_TOKEN, or YANDEX_TRACKER_SERVICE_ACCOUNT_KEY");
    let two = both(passport_token(&simulator), way(&[("YANDEX_TRACKER_IAM_TOKEN", "t1.other")]));
    assert_snapshot!(unusable(&simulator, "yandex_tracker", &two), @"yandex_tracker.yaml:31:5: source.auth.one_of: 2 ways to log in are set (YANDEX_TRACKER_IAM_TOKEN; YANDEX_TRACKER_PASSPORT_TOKEN): unset all but one");
    let no_key = way(&[("YANDEX_TRACKER_SERVICE_ACCOUNT_KEY", "{\"id\": \"half-a-key\"}")]);
    assert_snapshot!(unusable(&simulator, "yandex_tracker", &no_key), @"yandex_tracker.yaml:35:83: source.auth.one_of.3.yandex_iam.exchange.service_account_key: this is not the JSON that `yc iam key create` writes, with `id`, `service_account_id`, `private_key`");
    assert_snapshot!(unusable(&simulator, "jira_timesheet", &none), @"jira_timesheet.yaml:24:5: source.auth.one_of: no way to log in is set: set JIRA_TOKEN, or JIRA_USER and JIRA_PASSWORD");
}

// ---- No secret anywhere

/// Everything that a run has written, by where.
fn written(ended: &Exported, output: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    found.insert("stdout".to_owned(), ended.stdout.clone());
    found.insert("stderr".to_owned(), ended.stderr.clone());
    let mut dirs = vec![output.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                found.insert(path.display().to_string(), text);
            }
        }
    }
    found
}

#[tokio::test]
async fn no_secret_of_any_way_in_is_written_anywhere() {
    let (account, key) = service_account();
    let options = SimOptions {
        issues: 20,
        token_uses: Some(30),
        tracker_service_account: Some(account),
        ..usual()
    };
    let simulator = start(options).await;
    let options = simulator.options().clone();
    let private_line = key.split("\\n").nth(2).unwrap().to_owned();
    let basic = STANDARD.encode(format!("{}:{}", options.jira_user, options.jira_password));
    let service_account_key = way(&[
        ("YANDEX_TRACKER_IAM_URL", &simulator.yandex_iam_url()),
        ("YANDEX_TRACKER_SERVICE_ACCOUNT_KEY", &key),
    ]);
    let mut signed = access_key(&simulator);
    signed.push(("HUAWEICLOUD_SDK_SECURITY_TOKEN", "temporary-token".to_owned()));
    let ways = [
        ("codearts_req", way(&[("CODEARTS_TOKEN", &options.codearts_token)])),
        ("codearts_req", iam_user(&simulator)),
        ("codearts_req", signed),
        ("yandex_tracker", way(&[("YANDEX_TRACKER_TOKEN", &options.tracker_token)])),
        ("yandex_tracker", way(&[("YANDEX_TRACKER_IAM_TOKEN", &options.tracker_iam_token)])),
        ("yandex_tracker", passport_token(&simulator)),
        ("yandex_tracker", service_account_key),
        ("jira_timesheet", way(&[("JIRA_TOKEN", &options.jira_token)])),
        (
            "jira_timesheet",
            way(&[("JIRA_USER", &options.jira_user), ("JIRA_PASSWORD", &options.jira_password)]),
        ),
    ];
    // Beside what is set: what the simulator gives, and what goes over the wire in another form.
    let mut secrets =
        vec![private_line, basic, "MIIsimulated".to_owned(), "t1.simulated-".to_owned()];
    for (_, variables) in &ways {
        let is_secret = |name: &str| {
            !name.ends_with("_URL")
                && !name.contains("_USER")
                && !name.contains("_DOMAIN")
                && !name.contains("_PROJECT")
        };
        let given = variables.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        secrets.extend(given.map(|(_, value)| value.clone()));
    }

    for (pipeline, variables) in &ways {
        let output = TempDir::new().unwrap();
        let mut variables = borrowed(variables);
        variables.push(("TRACKLAKE_TEST_ARGS", "-vvv"));
        let ended = export(&simulator, &format!("{pipeline}.yaml"), output.path(), &variables);

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let places = written(&ended, output.path());
        assert!(places.len() > 20 && ended.stderr.contains("TRACE"), "{:?}", places.keys());
        for (place, text) in &places {
            for secret in &secrets {
                let line = text.lines().find(|it| it.contains(secret));
                assert_eq!(line, None, "{pipeline} {variables:?}: {place}");
            }
        }
    }
}
