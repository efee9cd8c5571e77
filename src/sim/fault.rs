//! Trouble on demand: limits, outages, cut connections and lying pages.
//!
//! Faults are counted, never random: the n-th matching request fails on every host and in every run.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// The faults in force, with their counters.
#[derive(Debug, Default)]
pub(super) struct FaultCounter {
    pub(super) faults: Faults,
    seen: AtomicU64,
    hits: AtomicU64,
}

impl FaultCounter {
    pub(super) fn new(faults: Faults) -> Self {
        FaultCounter { faults, ..FaultCounter::default() }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.faults.path_contains.as_deref().is_none_or(|part| path.contains(part))
    }

    /// Counts a matching request and says what it meets.
    pub(super) fn next(&self) -> Option<Trouble> {
        let nth = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let trouble = trouble(&self.faults, nth)?;
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

        let hits: Vec<u32> = (1..=12).filter(|_| counter.next().is_some()).collect();

        assert_eq!(hits, [3, 6]);
    }

    #[test]
    fn only_matching_paths_are_troubled() {
        let faults = Faults { path_contains: Some("/jira/".into()), ..Faults::default() };
        let counter = FaultCounter::new(faults);

        assert!(counter.matches("/jira/rest"));
        assert!(!counter.matches("/tracker/v3"));
    }
}
