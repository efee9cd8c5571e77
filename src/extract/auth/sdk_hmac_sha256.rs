//! Signatures over requests, as Huawei Cloud's API gateway takes them ("API Request Signing Guide",
//! and the signer of its SDK for Python).
//!
//! ```text
//! method, path, query, headers, body
//!   --canonical request-->  GET\n/v2/issues/get-record/\nissue_id=6505032&limit=10\ncontent-type:…
//!   --string to sign----->  SDK-HMAC-SHA256\n20240725T120000Z\n<SHA-256 of it>
//!   --signature---------->  Authorization: SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…
//! ```
//!
//! The query goes out in the very form that was signed: sorted, and encoded by one rule.

use std::{
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{InvalidCredential, header, server_date};
use crate::{
    extract::{
        request::encode,
        send::{Answer, Redirects, Wire},
    },
    plan::{Method, Redactor, SigningPlan},
};

const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// How instants are written in `X-Sdk-Date`.
const DATE: &str = "%Y%m%dT%H%M%SZ";

/// What the gateway calls a signature that does not hold.
const REFUSED: &str = "APIGW.0303";

/// A clock that is less wrong than this is not why a signature is refused.
const SMALLEST_SKEW: TimeDelta = TimeDelta::minutes(1);

/// How often signatures follow another time. One answer may be wrong, and what lies in between may
/// ask servers whose clocks differ.
const MOST_CORRECTIONS: u64 = 5;

/// The longest canonical request that a message shows, in characters.
const LONGEST: usize = 2000;

/// Signs the requests of one source.
#[derive(Debug)]
pub(super) struct Signer {
    keys: SigningPlan,
    clock: Mutex<Clock>,
}

/// How far the server's clock is ahead of ours; the version counts how often that was found out.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    ahead: TimeDelta,
    version: u64,
}

impl Signer {
    pub(super) fn new(keys: SigningPlan) -> Self {
        Self { keys, clock: Mutex::default() }
    }

    /// Signs a request and gives the canonical request, and the version of the clock.
    pub(super) fn sign(
        &self,
        wire: &mut Wire,
        now: DateTime<Utc>,
    ) -> Result<(String, u64), InvalidCredential> {
        let clock = *self.clock();
        let canonical = sign(&self.keys, wire, now + clock.ahead)?;
        Ok((canonical, clock.version))
    }

    /// Whether a signature was refused for its time, and another one has the server's time.
    pub(super) fn is_outdated(&self, version: u64, answer: &Answer, now: DateTime<Utc>) -> bool {
        let Some(server) = time_of_refusal(answer) else { return false };
        let mut clock = self.clock();
        if clock.version > version {
            return true;
        }
        let ahead = server - now;
        let is_known = (ahead - clock.ahead).abs() < SMALLEST_SKEW;
        if is_known || clock.version == MOST_CORRECTIONS {
            return false;
        }
        warn!(
            seconds = ahead.num_seconds(),
            "the server's clock is ahead of this machine's by this; signatures follow it from now on"
        );
        *clock = Clock { ahead, version: clock.version + 1 };
        true
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's time, where an answer says that the time of a signature is off.
fn time_of_refusal(answer: &Answer) -> Option<DateTime<Utc>> {
    let body = String::from_utf8_lossy(&answer.body);
    if !(400..500).contains(&answer.status)
        || !body.contains(REFUSED)
        || !body.contains("signature expired")
    {
        return None;
    }
    // The gateway says which time it has compared with; a header may be of a proxy before it.
    let compared = || {
        let (_, after) = body.split_once("server time:")?;
        let text: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
        NaiveDateTime::parse_from_str(&text, DATE).ok().map(|it| it.and_utc())
    };
    compared().or_else(|| server_date(answer))
}

/// What the gateway has made of a request beside what was signed here, for finding the difference;
/// or by how much the clocks differ.
pub(super) fn explain(
    ours: &str,
    answer: &Answer,
    redactor: &Redactor,
    now: DateTime<Utc>,
) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    if body.get("error_code")?.as_str()? != REFUSED {
        return None;
    }
    let message = body.get("error_msg")?.as_str()?;
    // What is cut in two would not be found any more.
    let shown = |it: &str| redactor.redact(it).chars().take(LONGEST).collect::<String>();
    if let Some(server) = time_of_refusal(answer) {
        let seconds = (server - now).abs().num_seconds();
        return Some(format!(
            "{REFUSED} {}: the clocks of this machine and the server differ by {seconds} s",
            shown(message)
        ));
    }
    let (reason, theirs) = message.split_once("canonicalRequest:")?;
    let reason = shown(reason.trim_end_matches([',', ' ']));
    let ours = ours.replace('\n', "|");
    if theirs == ours {
        return Some(format!(
            "{REFUSED} {reason}, though both sides sign the same canonical request: the secret key does not go with the access key"
        ));
    }
    let (theirs, ours) = (shown(theirs), shown(&ours));
    Some(format!(
        "{REFUSED} {reason}\n    the server's canonical request: {theirs}\n    the one that was signed here:   {ours}"
    ))
}

/// Signs a request with a time; gives its canonical form.
fn sign(
    keys: &SigningPlan,
    wire: &mut Wire,
    now: DateTime<Utc>,
) -> Result<String, InvalidCredential> {
    let SigningPlan { access_key, secret_key, security_token, project_id } = keys;
    let date = now.format(DATE).to_string();
    let query = canonical_query(wire.url.query().unwrap_or_default());
    wire.url.set_query(Some(query.as_str()).filter(|it| !it.is_empty()));
    wire.redirects = Redirects::Taken;

    let headers = &mut wire.headers;
    headers.remove(AUTHORIZATION);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    header::raw(headers, HOST.as_str(), &host(&wire.url))?;
    header::raw(headers, "x-sdk-date", &date)?;
    if let Some(token) = security_token {
        header::raw(headers, "x-security-token", token.expose())?;
    }
    if let Some(project) = project_id {
        header::raw(headers, "x-project-id", project)?;
    }

    let (lines, names) = canonical_headers(headers);
    let method = match wire.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let path = canonical_path(wire.url.path());
    let payload = sha256_hex(wire.body.as_deref().unwrap_or_default().as_bytes());
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
    let to_sign = format!("{ALGORITHM}\n{date}\n{}", sha256_hex(canonical.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Access={}, SignedHeaders={names}, Signature={}",
        access_key.expose(),
        hmac_hex(secret_key.expose(), &to_sign)
    );
    header::raw(headers, AUTHORIZATION.as_str(), &authorization)?;
    Ok(canonical)
}

/// The value of `Host`, as HTTP sends it: the port only where it is not the scheme's own.
fn host(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Segments decoded and encoded by one rule, with a `/` at the end that is not sent.
fn canonical_path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(reencoded).collect();
    let mut path = segments.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Pairs sorted by key and value, encoded by one rule.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

/// `name:value` lines and the names, sorted. Names with `_` are left out, as gateways drop them;
/// `Accept` is, because what lies between may change it.
fn canonical_headers(headers: &HeaderMap) -> (String, String) {
    let signed = headers.iter().filter(|(name, _)| *name != ACCEPT && !name.as_str().contains('_'));
    let mut signed: Vec<(&str, &str)> =
        signed.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
    signed.sort_unstable();
    let mut lines = String::new();
    for (name, value) in &signed {
        let _ = writeln!(lines, "{name}:{}", value.trim());
    }
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    (lines, names.join(";"))
}

fn reencoded(text: &str) -> String {
    encode(&percent_decode_str(text).decode_utf8_lossy())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac_hex(key: &str, text: &str) -> String {
    // HMAC takes keys of every length, so the empty text never comes.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
