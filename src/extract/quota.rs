//! How long a server asks to be left alone: `Retry-After`, and the headers that say what is left of
//! its rate limit. Pure: the clock is an argument.
//!
//! ```text
//! 429, Retry-After: 30                                        wait 30 s
//! 200, X-RateLimit-Remaining: 0, X-RateLimit-Reset: 1721908800  wait until then, where declared
//! ```

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::plan::{RateHeaders, ResetFormat};

/// The headers of a response: names in lower case.
type Headers = [(String, String)];

/// How long the server asks to wait, by whatever asks for the longest wait; a date counts from the
/// server's own clock where it tells it.
pub(super) fn asked_wait(
    declared: Option<&RateHeaders>,
    status: u16,
    headers: &Headers,
    now: SystemTime,
) -> Option<Duration> {
    let now = header(headers, "date").and_then(date).unwrap_or(now);
    retry_after(status, headers, now).max(declared.and_then(|it| used_up(it, headers, now)))
}

/// What `Retry-After` asks for, as seconds or as a date (RFC 9110, 10.2.3). It counts on 429, 503
/// and the 403 that some servers refuse too many requests with: Jira sends it on successes, too.
fn retry_after(status: u16, headers: &Headers, now: SystemTime) -> Option<Duration> {
    if !matches!(status, 403 | 429 | 503) {
        return None;
    }
    let value = header(headers, "retry-after")?;
    seconds(value).or_else(|| Some(until(date(value)?, now)))
}

/// How long nothing is left of a rate limit.
fn used_up(declared: &RateHeaders, headers: &Headers, now: SystemTime) -> Option<Duration> {
    let RateHeaders { remaining, reset, reset_format } = declared;
    let remaining: f64 = header(headers, remaining)?.parse().ok()?;
    if remaining >= 1.0 {
        return None;
    }
    let reset = header(headers, reset)?;
    match reset_format {
        ResetFormat::DeltaSeconds => seconds(reset),
        ResetFormat::EpochSeconds => {
            Some(until(SystemTime::UNIX_EPOCH.checked_add(seconds(reset)?)?, now))
        }
        ResetFormat::Rfc3339 => Some(until(instant(reset)?.into(), now)),
    }
}

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.trim())
}

/// A number of seconds, which a few servers write with a fraction. What is too large to be counted
/// is the largest that can be.
fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.parse().ok().filter(|it: &f64| it.is_finite() && *it >= 0.0)?;
    Some(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

fn until(at: SystemTime, now: SystemTime) -> Duration {
    at.duration_since(now).unwrap_or(Duration::ZERO)
}

/// An instant; Jira Cloud leaves out the seconds.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let whole = DateTime::parse_from_rfc3339(text).ok().map(|it| it.with_timezone(&Utc));
    whole.or_else(|| Some(NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%MZ").ok()?.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Thu, 25 Jul 2024 12:00:00 GMT";

    #[track_caller]
    fn check(
        format: Option<ResetFormat>,
        status: u16,
        headers: &[(&str, &str)],
        expected: Option<u64>,
    ) {
        let declared = format.map(|reset_format| RateHeaders {
            remaining: "x-left".to_owned(),
            reset: "x-reset".to_owned(),
            reset_format,
        });
        let headers: Vec<_> =
            headers.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect();
        let now = httpdate::parse_http_date(NOW).unwrap();
        let found = asked_wait(declared.as_ref(), status, &headers, now);
        assert_eq!(found, expected.map(Duration::from_secs), "{status} {headers:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check(None, 429, &[("retry-after", "7")], Some(7));
        check(None, 429, &[("retry-after", " 0 ")], Some(0));
        check(None, 503, &[("retry-after", "Thu, 25 Jul 2024 12:00:30 GMT")], Some(30));
        check(None, 429, &[("retry-after", "Wed, 24 Jul 2024 00:00:00 GMT")], Some(0));
        check(None, 429, &[("retry-after", "86400")], Some(86_400));
    }

    #[test]
    fn a_wait_beyond_all_counting_is_a_long_one() {
        let headers = [("retry-after".to_owned(), "99999999999999999999999".to_owned())];
        let found = asked_wait(None, 429, &headers, SystemTime::UNIX_EPOCH);
        assert_eq!(found, Some(Duration::MAX));
    }

    #[test]
    fn retry_after_that_is_neither_says_nothing() {
        for value in ["soon", "-1", "", "NaN", "inf", "2024-07-25"] {
            check(None, 429, &[("retry-after", value)], None);
        }
        check(None, 429, &[], None);
    }

    #[test]
    fn retry_after_counts_on_refusals_only() {
        for status in [403, 429, 503] {
            check(None, status, &[("retry-after", "7")], Some(7));
        }
        for status in [200, 301, 400, 404, 410, 500, 502, 504] {
            check(None, status, &[("retry-after", "7")], None);
        }
    }

    #[test]
    fn a_date_counts_from_the_clock_of_the_server() {
        // Its clock is an hour behind: half a minute is meant.
        let headers = [
            ("date", "Thu, 25 Jul 2024 11:00:00 GMT"),
            ("retry-after", "Thu, 25 Jul 2024 11:00:30 GMT"),
        ];
        check(None, 429, &headers, Some(30));
    }

    #[test]
    fn a_used_up_limit_waits_for_its_reset_on_any_status() {
        let left = |left, reset| [("x-left", left), ("x-reset", reset)];
        let delta = Some(ResetFormat::DeltaSeconds);
        check(delta, 200, &left("0", "12"), Some(12));
        check(delta, 403, &left("0", "12"), Some(12));
        check(delta, 200, &left("0.4", "12"), Some(12));
        check(delta, 200, &left("1", "12"), None);
        check(delta, 200, &left("many", "12"), None);
        check(delta, 200, &left("0", "later"), None);
        check(delta, 200, &[("x-left", "0")], None);
        check(None, 200, &left("0", "12"), None);
        // 2024-07-25T12:00:00Z and 20 seconds.
        check(Some(ResetFormat::EpochSeconds), 200, &left("0", "1721908820"), Some(20));
        check(Some(ResetFormat::EpochSeconds), 200, &left("0", "1721900000"), Some(0));
        check(Some(ResetFormat::Rfc3339), 200, &left("0", "2024-07-25T15:00:10+03:00"), Some(10));
        check(Some(ResetFormat::Rfc3339), 200, &left("0", "2024-07-25T12:01Z"), Some(60));
    }

    #[test]
    fn the_longer_of_two_waits_counts() {
        let delta = Some(ResetFormat::DeltaSeconds);
        let headers = [("x-left", "0"), ("x-reset", "12"), ("retry-after", "3")];
        check(delta, 429, &headers, Some(12));
        check(delta, 200, &headers, Some(12));
    }
}
