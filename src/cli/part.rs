//! `--since` and `--until`: which part of the time a command is asked for.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::{
    config,
    error::Error,
    extract::Horizon,
    plan::{Plan, StreamPlan, WindowStart},
    run::{self, Unbounded},
};

/// How far past the clock a part may reach: work is planned for some months, and a window of each day until
/// the year 2200 is a mistake.
const AHEAD: TimeDelta = TimeDelta::days(3660);

/// Slices that a note names.
const SHOWN: usize = 3;

/// How far the dates of the world's zones are from those of UTC.
const ZONES: TimeDelta = TimeDelta::hours(14);

/// A part of the time; open where it is not bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) since: Option<WindowStart>,
    pub(super) until: Option<WindowStart>,
}

impl Part {
    /// Reads both bounds as they are typed, against the clock. They are compared before any zone of a
    /// pipeline is known, so that only a part that is empty in all zones is refused.
    pub(super) fn of(
        since: Option<&String>,
        until: Option<&String>,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let part =
            Self { since: bound("--since", since, now)?, until: bound("--until", until, now)? };
        let is_empty =
            part.since.zip(part.until).is_some_and(|(since, until)| match (since, until) {
                (WindowStart::On(since), WindowStart::On(until)) => since > until,
                (since, until) => first(since, now) > last(until, now),
            });
        match (since, until) {
            (Some(since), Some(until)) if is_empty => {
                Err(Error::EmptyPart { since: since.clone(), until: until.clone() })
            }
            _ => Ok(part),
        }
    }

    /// What the bounds do not do, for those who rely on them.
    pub(super) fn notes(
        self,
        plan: &Plan,
        streams: &[&StreamPlan],
        now: DateTime<Utc>,
    ) -> Vec<String> {
        let Self { since, until } = self;
        let options = match (since, until) {
            (None, None) => return Vec::new(),
            (Some(_), None) => "`--since` picks",
            (None, Some(_)) => "`--until` picks",
            (Some(_), Some(_)) => "`--since` and `--until` pick",
        };
        let horizon = Horizon { now, since, until };
        let note = |stream: &&StreamPlan| {
            let text = match run::unbounded(stream, &horizon)? {
                Unbounded::OfParents(parent) => format!(
                    "{options} rows of `{parent}`, and all of each is read; filter `{}`",
                    stream.partition.column
                ),
                Unbounded::Whole => "it has no windows and is read whole".to_owned(),
                Unbounded::Slices(ids) => {
                    let shown: Vec<&str> = ids.iter().take(SHOWN).map(String::as_str).collect();
                    let more = if ids.len() > SHOWN { ", …" } else { "" };
                    format!(
                        "slices without a window are read whole: `{}`{more}",
                        shown.join("`, `")
                    )
                }
                Unbounded::After => format!(
                    "its requests do not say where a window ends, so that rows after `--until` come as well; filter `{}`",
                    stream.partition.column
                ),
            };
            Some(format!("{}.{}: {text}", plan.pipeline, stream.name))
        };
        streams.iter().filter_map(note).collect()
    }
}

fn bound(
    option: &'static str,
    text: Option<&String>,
    now: DateTime<Utc>,
) -> Result<Option<WindowStart>, Error> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |expected| Error::Argument { option, value: text.clone(), expected };
    let bound = config::parse_start(text).ok_or_else(|| {
        wrong("a date (`2024-07-25`) or an RFC 3339 instant between 1900 and 2200, or a length of time back (`7d`, `36500d` at most)")
    })?;
    let is_near = now.checked_add_signed(AHEAD).is_none_or(|it| first(bound, now) <= it);
    is_near.then_some(Some(bound)).ok_or_else(|| wrong("a time at most ten years ahead"))
}

/// The first instant that a bound can mean.
fn first(bound: WindowStart, now: DateTime<Utc>) -> DateTime<Utc> {
    match bound {
        WindowStart::On(date) => midnight(date) - ZONES,
        WindowStart::At(instant) => instant,
        WindowStart::Ago(back) => now.checked_sub_signed(back).unwrap_or(DateTime::<Utc>::MIN_UTC),
    }
}

/// The last one, of a date that is still read.
fn last(bound: WindowStart, now: DateTime<Utc>) -> DateTime<Utc> {
    match bound {
        WindowStart::On(date) => midnight(date) + TimeDelta::days(1) + ZONES,
        WindowStart::At(_) | WindowStart::Ago(_) => first(bound, now),
    }
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code that the bounds end with, at noon of 2024-07-25.
    fn code(since: &str, until: &str) -> u8 {
        let given = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let now = "2024-07-25T12:00:00Z".parse().unwrap();
        let part = Part::of(given(since).as_ref(), given(until).as_ref(), now);
        part.map_or_else(|err| err.exit_code(), |_| 0)
    }

    #[test]
    fn a_part_that_is_empty_in_every_zone_is_refused() {
        for (since, until, expected) in [
            ("", "", 0),
            ("2024-07-01", "", 0),
            ("", "2024-07-01", 0),
            ("2024-07-01", "2024-07-01", 0),
            ("2024-07-02", "2024-07-01", 2),
            ("7d", "1d", 0),
            ("1d", "1d", 0),
            ("1d", "7d", 2),
            ("7d", "2024-07-18", 0),
            ("7d", "2024-07-10", 2),
            ("2024-07-25T10:00:00Z", "2024-07-25T09:59:59Z", 2),
            ("2024-07-25T10:00:00Z", "2024-07-25T10:00:00Z", 0),
            // It is still the 24th in some place.
            ("2024-07-25T02:00:00Z", "2024-07-24", 0),
            ("2024-07-25T15:00:00Z", "2024-07-24", 2),
        ] {
            assert_eq!(code(since, until), expected, "{since} {until}");
        }
    }

    #[test]
    fn a_bound_that_no_calendar_has_or_that_is_far_ahead_is_refused() {
        for (text, expected) in [
            ("99999999d", 2),
            ("36500d", 0),
            ("9999-12-31", 2),
            ("2034-08-31", 2),
            ("2034-07-25", 0),
            ("yesterday", 2),
        ] {
            assert_eq!(code(text, ""), expected, "--since {text}");
            assert_eq!(code("", text), expected, "--until {text}");
        }
    }
}
