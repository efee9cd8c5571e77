//! What a simulator is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

/// Size, date, credentials and limits of a simulator.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// The number all data is derived from.
    pub seed: u64,
    /// How many issues each system has at the start.
    pub issues: usize,
    /// The world's date at the start.
    pub today: NaiveDate,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The page size to which the server lowers larger ones without saying so.
    pub page_cap: Option<usize>,
    /// Whether answers are rendered once and kept until the world changes, for benchmarks.
    pub keep_pages: bool,
    /// The server's clock at its start, for the age of signatures, the expiry that a token states and
    /// the `Date` of answers.
    /// Without it no signature is too old, and tokens state an expiry far ahead.
    pub clock: Option<DateTime<Utc>>,
    /// How long a scroll lives between two requests, where the request does not say.
    pub tracker_ttl: Duration,
    /// Whether asking twice with one scroll id gives two pages; otherwise a lost page can be asked for again.
    pub tracker_scroll_advances: bool,
    /// The OAuth token of Tracker.
    pub tracker_token: String,
    /// The IAM token of Tracker, sent as `Bearer`.
    pub tracker_iam_token: String,
    /// The OAuth token for which IAM of Yandex Cloud gives tokens.
    pub tracker_passport_token: String,
    /// The service account for which it gives tokens, if there is one.
    pub tracker_service_account: Option<ServiceAccount>,
    /// How long such a token is accepted.
    pub tracker_iam_token_lifetime: Duration,
    /// How many requests a token of a log-in is good for, whatever it says about its end.
    pub token_uses: Option<u64>,
    /// The organisation, in either of its headers.
    pub tracker_org_id: String,
    /// The personal access token of Jira.
    pub jira_token: String,
    /// The user name of Jira for basic authentication.
    pub jira_user: String,
    /// The password that goes with it.
    pub jira_password: String,
    /// The fixed `X-Auth-Token` of `CodeArts`.
    pub codearts_token: String,
    /// The access key for signed requests.
    pub codearts_access_key: String,
    /// The secret key for signed requests.
    pub codearts_secret_key: String,
    /// The account's name at the IAM log-in.
    pub iam_domain: String,
    /// The user's name at the IAM log-in.
    pub iam_user: String,
    /// The password at the IAM log-in.
    pub iam_password: String,
    /// The region project to which a token is scoped.
    pub iam_project: String,
    /// How long a token of the IAM log-in is accepted.
    pub iam_token_lifetime: Duration,
}

/// A service account of Yandex Cloud with its authorized key.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// The account's id.
    pub id: String,
    /// The key's id.
    pub key_id: String,
    /// The public half of the RSA key, in DER.
    pub public_key: Vec<u8>,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions {
            seed: 1,
            issues: 60,
            today: NaiveDate::from_ymd_opt(2024, 7, 25).unwrap_or_default(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            page_cap: None,
            keep_pages: false,
            clock: None,
            tracker_ttl: Duration::from_mins(1),
            tracker_scroll_advances: false,
            tracker_token: "y0_simulated".to_owned(),
            tracker_iam_token: "t1.simulated".to_owned(),
            tracker_passport_token: "y0_simulated-passport".to_owned(),
            tracker_service_account: None,
            tracker_iam_token_lifetime: Duration::from_hours(12),
            token_uses: None,
            tracker_org_id: "1234567".to_owned(),
            jira_token: "simulated-pat".to_owned(),
            jira_user: "admin".to_owned(),
            jira_password: "simulated-password".to_owned(),
            codearts_token: "simulated-token".to_owned(),
            codearts_access_key: "SIMULATEDACCESSKEY01".to_owned(),
            codearts_secret_key: "simulatedSecretKey000000000000000000001".to_owned(),
            iam_domain: "acct".to_owned(),
            iam_user: "etl".to_owned(),
            iam_password: "simulated-password".to_owned(),
            iam_project: "cn-north-4".to_owned(),
            iam_token_lifetime: Duration::from_hours(24),
        }
    }
}
