//! What a response means, and how long to wait before asking again. Pure: the random
//! number is an argument.

use std::time::Duration;

use serde_json::Value;

use super::send::Answer;
use crate::plan::{JsonPath, Outcome, ResponseRule, RetryPlan};

/// The first wait; it doubles with each try.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Whether the asked thing was listed before, so that its absence means lost access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// The slice comes from a row of a parent stream.
    ByParent,
    /// Nobody said that it is there.
    No,
}

/// How access to a parent is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is refused (401, 403), which says nothing about what is there.
    Refused,
    /// There is nothing any more (404, 410, or what a rule of the pipeline says so about).
    Absent,
}

impl Loss {
    /// What a status says.
    pub(super) fn of(status: u16) -> Self {
        if matches!(status, 401 | 403) { Self::Refused } else { Self::Absent }
    }
}

/// A response, as far as rules look at it.
pub(super) struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    /// Whether it asks to wait, so that it refuses the moment and not the thing.
    pub asks_to_wait: bool,
    /// The value at a path of the body.
    pub body: &'a dyn Fn(&JsonPath) -> Option<Value>,
}

/// What a response means: the first rule that matches, otherwise the default for its status.
pub(super) fn outcome<'a>(
    response: &Response<'_>,
    rules: impl IntoIterator<Item = &'a ResponseRule>,
    listed: Listed,
) -> Outcome {
    let matching = rules.into_iter().find(|it| matches(it, response));
    match matching.map_or_else(|| default(response, listed), |it| it.then) {
        // Lost access would be believed for good.
        Outcome::Gone if response.asks_to_wait => Outcome::Retry,
        outcome => outcome,
    }
}

fn matches(rule: &ResponseRule, response: &Response<'_>) -> bool {
    let status = rule.statuses.is_empty()
        || rule.statuses.iter().any(|it| (it.first..=it.last).contains(&response.status));
    let header = rule.header.as_ref().is_none_or(|(name, value)| {
        let mut found = response.headers.iter().filter(|(it, _)| it == name);
        found.any(|(_, it)| value.as_ref().is_none_or(|wanted| it == wanted))
    });
    let body = || {
        rule.body.as_ref().is_none_or(|(path, wanted)| {
            let found = (response.body)(path).filter(|it| !it.is_null());
            found.is_some_and(|it| wanted.as_ref().is_none_or(|wanted| same(&it, wanted)))
        })
    };
    status && header && body()
}

/// Codes are numbers in one API and text in the next.
fn same(found: &Value, wanted: &Value) -> bool {
    found == wanted || crate::plan::value_text(found) == crate::plan::value_text(wanted)
}

fn default(response: &Response<'_>, listed: Listed) -> Outcome {
    match response.status {
        200..=299 => Outcome::Ok,
        403 if response.asks_to_wait => Outcome::Retry,
        403 | 404 | 410 if listed == Listed::ByParent => Outcome::Gone,
        408 | 425 | 429 | 500 | 502..=504 | 520..=524 => Outcome::Retry,
        _ => Outcome::Fail,
    }
}

/// How long to wait before the next try: what the server asks for, but no shorter than without it,
/// since "now" is asked for by clocks that differ, too.
pub(super) fn wait(
    asked: Option<Duration>,
    retry: &RetryPlan,
    failures: u32,
    random: f64,
) -> Duration {
    asked.unwrap_or_default().max(delay(retry, failures, random))
}

/// Why Jira does not log in whoever asks with credentials. Asking again would lock the account for longer.
///
/// - After wrong passwords it wants a CAPTCHA to be answered: a 403, which says where.
/// - A failed log-in may be a success: without a body (JRA-41559), or with the page that nobody in
///   particular may see, whose missing records would pass for deleted ones. The other reasons for a
///   log-in (`OK`, `OUT`) are none, and `OK` beside a failed one says that another way held.
pub(super) fn refused_log_in(answer: &Answer) -> Option<&str> {
    match answer.status {
        401 | 403 => answer.header("x-authentication-denied-reason"),
        200..=299 if has_logged_in(answer) => None,
        200..=299 => {
            let refusals =
                ["AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED", "AUTHORISATION_FAILED"];
            let is_refusal = |it: &&str| refusals.iter().any(|refusal| it.contains(refusal));
            parts(answer, SERAPH).find(is_refusal)
        }
        _ => None,
    }
}

/// What a success says that Jira gives to nobody in particular: it has not looked at the credentials of
/// a user, such as a token that was revoked, or a header that a proxy took out.
pub(super) fn anonymous(answer: &Answer) -> Option<&'static str> {
    let is_page = (200..300).contains(&answer.status) && !has_logged_in(answer);
    let is_anonymous = is_page && parts(answer, "x-ausername").any(|it| it == "anonymous");
    is_anonymous.then_some("it answers as to `anonymous`")
}

/// Where Jira's log-in says how it went, once for each way that was tried.
const SERAPH: &str = "x-seraph-loginreason";

fn has_logged_in(answer: &Answer) -> bool {
    parts(answer, SERAPH).any(|it| it == "OK")
}

/// The parts of a header that is a list, which may come more than once.
fn parts<'a>(answer: &'a Answer, name: &'static str) -> impl Iterator<Item = &'a str> {
    let values = answer.headers.iter().filter(move |(it, _)| it == name);
    values.flat_map(|(_, it)| it.split(',')).map(str::trim)
}

/// Exponential with full jitter, `random` being uniform in `0.0..1.0`.
fn delay(retry: &RetryPlan, failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let ceiling = (FIRST_DELAY * 2u32.pow(doublings)).min(retry.max_delay);
    ceiling.mul_f64(random)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::StatusRange;

    fn rule(status: Option<u16>, body: Option<(&str, Value)>, then: Outcome) -> ResponseRule {
        ResponseRule {
            statuses: status.map(|it| StatusRange { first: it, last: it }).into_iter().collect(),
            header: None,
            body: body.map(|(path, value)| (path.parse().unwrap(), Some(value))),
            then,
        }
    }

    #[track_caller]
    fn check(status: u16, body: &Value, listed: Listed, expected: Outcome) {
        let rules = [
            rule(Some(400), Some(("error_code", json!("PM.02153001"))), Outcome::Retry),
            rule(None, Some(("status", json!("error"))), Outcome::Fail),
            rule(None, Some(("code", json!(7))), Outcome::Skip),
        ];
        let find = |path: &JsonPath| path.find(body).cloned();
        let response = Response { status, headers: &[], asks_to_wait: false, body: &find };
        assert_eq!(outcome(&response, &rules, listed), expected, "{status} {body}");
    }

    #[test]
    fn a_refusal_that_asks_to_wait_is_asked_again_and_no_lost_access() {
        let busy = |status| Response { status, headers: &[], asks_to_wait: true, body: &|_| None };
        let gone = [rule(None, None, Outcome::Gone)];
        for listed in [Listed::ByParent, Listed::No] {
            assert_eq!(outcome(&busy(403), &[], listed), Outcome::Retry);
            assert_eq!(outcome(&busy(400), &gone, listed), Outcome::Retry);
            assert_eq!(outcome(&busy(200), &[], listed), Outcome::Ok);
        }
        assert_eq!(outcome(&busy(404), &[], Listed::ByParent), Outcome::Retry);
        assert_eq!(outcome(&busy(404), &[], Listed::No), Outcome::Fail);
    }

    #[test]
    fn rules_see_the_status_and_the_body_together() {
        check(400, &json!({"error_code": "PM.02153001"}), Listed::No, Outcome::Retry);
        check(400, &json!({"error_code": "PM.02174103"}), Listed::No, Outcome::Fail);
        check(200, &json!({"status": "error"}), Listed::No, Outcome::Fail);
        check(200, &json!({"status": "success"}), Listed::No, Outcome::Ok);
        check(200, &json!({"code": "7"}), Listed::No, Outcome::Skip);
    }

    #[test]
    fn a_missing_child_of_a_listed_parent_is_lost_access_not_a_failure() {
        for status in [403, 404, 410] {
            check(status, &json!({}), Listed::ByParent, Outcome::Gone);
            check(status, &json!({}), Listed::No, Outcome::Fail);
        }
        check(401, &json!({}), Listed::ByParent, Outcome::Fail);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            check(status, &json!({}), Listed::No, Outcome::Retry);
        }
        check(501, &json!({}), Listed::No, Outcome::Fail);
    }

    #[test]
    fn a_server_that_asks_for_a_shorter_wait_switches_no_backoff_off() {
        let retry = RetryPlan { max_attempts: 8, max_delay: Duration::from_secs(30) };
        let wait = |asked| wait(asked, &retry, 5, 0.5);
        let seconds = |it| Some(Duration::from_secs(it));

        // Half of 500 ms, doubled four times.
        assert_eq!(wait(None), Duration::from_secs(4));
        assert_eq!(wait(seconds(0)), Duration::from_secs(4));
        assert_eq!(wait(seconds(3)), Duration::from_secs(4));
        assert_eq!(wait(seconds(5)), Duration::from_secs(5));
    }

    #[test]
    fn waits_double_up_to_the_longest_with_full_jitter() {
        let retry = RetryPlan { max_attempts: 8, max_delay: Duration::from_secs(3) };
        let wait = |failures, random| delay(&retry, failures, random);

        assert_eq!(wait(1, 0.0), Duration::ZERO);
        assert_eq!(wait(1, 0.5), Duration::from_millis(250));
        assert_eq!(wait(2, 0.5), Duration::from_millis(500));
        assert_eq!(wait(9, 0.5), Duration::from_millis(1500));
        assert_eq!(wait(u32::MAX, 0.5), Duration::from_millis(1500));
    }
}
