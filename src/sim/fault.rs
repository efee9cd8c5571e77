//! Trouble on demand: limits, outages, cut connections and lying pages.
//!
//! Faults are counted or drawn by a number, never random: the n-th matching request, or the n-th time that
//! the same thing is asked for, fails on every host and in every run.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What goes wrong, and how often; the default is nothing.
///
/// - A request *matches* when its path contains `path_contains`; `…_every: n` hits each n-th match.
/// - `times` bounds the number of hits of all kinds together; latency and drip are no hits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Only requests whose path contains this text are troubled, `/jira/` for one system.
    pub path_contains: Option<String>,
    /// After so many hits all is well again.
    pub times: Option<u64>,
    /// Milliseconds before each answer.
    pub latency_ms: u64,
    /// Answers "too many requests".
    pub rate_limit: Option<RateLimit>,
    /// Answers 503 with an HTML body.
    pub server_error_every: Option<u64>,
    /// Closes the connection in the middle of the body.
    pub reset_every: Option<u64>,
    /// Answers half of the JSON as if it were all.
    pub truncate_every: Option<u64>,
    /// Milliseconds between the pieces of a body, of which there are at most sixteen.
    pub slow_drip_ms: u64,
    /// Answers 200 with the HTML of a log-in page.
    pub html_login_every: Option<u64>,
    /// Answers 200 with `{"status": "error"}`.
    pub status_error_every: Option<u64>,
    /// Answers 400 with the throttling code `PM.02153001`.
    pub throttle_body_every: Option<u64>,
    /// Adds a record, listed before the others, whenever a page after the first is asked for.
    pub insert_while_paging: bool,
    /// Adds this to the total of every page.
    pub wrong_total: i64,
    /// Answers the first page whatever page is asked for.
    pub repeat_page: bool,
    /// Stands in for 10 000 as the number beyond which totals saturate and pages are refused.
    pub saturate_at: Option<u64>,
    /// A share of the answers meets any failure that there is.
    pub chaos: Option<Chaos>,
}

/// All kinds of failures, drawn by a number.
///
/// What a request meets depends on what it asks for and on how often that was asked for before, not on the
/// order in which requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// The number that all draws come from.
    pub seed: u64,
    /// How many of a hundred answers are troubled.
    pub percent: u64,
}

impl Faults {
    /// Whether pages say something else than the world.
    pub(super) fn has_lying_pages(&self) -> bool {
        self.insert_while_paging
            || self.repeat_page
            || self.wrong_total != 0
            || self.saturate_at.is_some()
    }
}

/// How a rate limit answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Every so many matching requests.
    pub every: u64,
    /// The status, 429 by default.
    pub status: u16,
    /// The `Retry-After` header: seconds, an HTTP date, or none.
    pub retry_after: Option<String>,
}

impl Default for RateLimit {
    fn default() -> Self {
        RateLimit { every: 1, status: 429, retry_after: None }
    }
}

/// One failure that a request meets.
#[derive(Debug, PartialEq)]
pub(super) enum Trouble {
    RateLimit(RateLimit),
    ServerError,
    HtmlLogin,
    StatusError,
    ThrottleBody,
    Reset,
    Truncate,
    InternalError,
    GatewayTimeout,
    TooLarge,
    Empty,
    TruncatedGzip,
    Slow,
    Stall,
}

/// What a request in chaos meets. The last two only the system knows that has such answers.
fn drawn(chaos: Chaos, asked: u64, nth: u64, is_codearts: bool) -> Option<Trouble> {
    let mut hasher = DefaultHasher::new();
    (chaos.seed, asked, nth).hash(&mut hasher);
    let draw = hasher.finish();
    if draw % 100 >= chaos.percent {
        return None;
    }
    let limit = |status, retry_after: Option<&str>| {
        let retry_after = retry_after.map(ToOwned::to_owned);
        Some(Trouble::RateLimit(RateLimit { status, retry_after, ..RateLimit::default() }))
    };
    match (draw / 100) % 64 {
        0..8 => limit(429, None),
        8..14 => limit(429, Some("0")),
        // The day is lost: a later run has to read the rest.
        14 => limit(503, Some("86400")),
        15..21 => Some(Trouble::ServerError),
        21..26 => Some(Trouble::InternalError),
        26..30 => Some(Trouble::GatewayTimeout),
        30..33 => Some(Trouble::TooLarge),
        33..39 => Some(Trouble::Reset),
        39..45 => Some(Trouble::TruncatedGzip),
        45..50 => Some(Trouble::Truncate),
        50..54 => Some(Trouble::Empty),
        54..57 => Some(Trouble::HtmlLogin),
        57 => Some(Trouble::Stall),
        60..63 if is_codearts => Some(Trouble::ThrottleBody),
        63 if is_codearts => Some(Trouble::StatusError),
        _ => Some(Trouble::Slow),
    }
}

/// The faults in force, with their counters.
#[derive(Debug, Default)]
pub(super) struct FaultCounter {
    pub(super) faults: Faults,
    seen: AtomicU64,
    hits: AtomicU64,
    /// By a hash of what was asked for, how often.
    asked: Mutex<HashMap<u64, u64>>,
}

impl FaultCounter {
    pub(super) fn new(faults: Faults) -> Self {
        FaultCounter { faults, ..FaultCounter::default() }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.faults.path_contains.as_deref().is_none_or(|part| path.contains(part))
    }

    /// Counts a matching request and says what it meets; `what` is all that it asks for.
    pub(super) fn next(&self, path: &str, what: impl Hash) -> Option<Trouble> {
        let nth = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let trouble = trouble(&self.faults, nth).or_else(|| {
            let mut hasher = DefaultHasher::new();
            (path, what).hash(&mut hasher);
            let asked = hasher.finish();
            let chaos = self.faults.chaos?;
            let mut times = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = times.entry(asked).or_default();
            *nth += 1;
            drawn(chaos, asked, *nth, path.starts_with("/codearts/"))
        })?;
        self.hit().then_some(trouble)
    }

    /// Counts a hit, unless there were enough.
    pub(super) fn hit(&self) -> bool {
        let more = |hits| self.faults.times.is_none_or(|times| hits < times).then_some(hits + 1);
        self.hits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

fn trouble(faults: &Faults, nth: u64) -> Option<Trouble> {
    let due =
        |every: Option<u64>| every.is_some_and(|every| every > 0 && nth.is_multiple_of(every));
    if let Some(limit) = faults.rate_limit.as_ref().filter(|limit| due(Some(limit.every))) {
        return Some(Trouble::RateLimit(limit.clone()));
    }
    let kinds = [
        (faults.server_error_every, Trouble::ServerError),
        (faults.reset_every, Trouble::Reset),
        (faults.truncate_every, Trouble::Truncate),
        (faults.html_login_every, Trouble::HtmlLogin),
        (faults.status_error_every, Trouble::StatusError),
        (faults.throttle_body_every, Trouble::ThrottleBody),
    ];
    kinds.into_iter().find_map(|(every, kind)| due(every).then_some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_request_fails_until_there_were_enough() {
        let faults = Faults { server_error_every: Some(3), times: Some(2), ..Faults::default() };
        let counter = FaultCounter::new(faults);

        let hits: Vec<u32> = (1..=12).filter(|nth| counter.next("/", nth).is_some()).collect();

        assert_eq!(hits, [3, 6]);
    }

    #[test]
    fn chaos_troubles_its_share_in_every_way_and_the_same_each_time() {
        let chaos = Chaos { seed: 7, percent: 30 };
        let draw = || {
            let counter = FaultCounter::new(Faults { chaos: Some(chaos), ..Faults::default() });
            let asked = |n: u32| counter.next("/codearts/v4", n % 500);
            (0..10_000).map(asked).collect::<Vec<_>>()
        };

        let drawn = draw();

        let troubled: Vec<_> = drawn.iter().flatten().collect();
        assert!((2800..3200).contains(&troubled.len()), "{}", troubled.len());
        let kinds: std::collections::HashSet<_> =
            troubled.into_iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 14, "every kind comes");
        assert_eq!(drawn, draw());
    }

    #[test]
    fn only_matching_paths_are_troubled() {
        let faults = Faults { path_contains: Some("/jira/".into()), ..Faults::default() };
        let counter = FaultCounter::new(faults);

        assert!(counter.matches("/jira/rest"));
        assert!(!counter.matches("/tracker/v3"));
    }
}
