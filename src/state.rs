//! How far each stream has got: what a run leaves for the next one. Pure: it is stored by the
//! commit that publishes the data, so that both become true at once.
//!
//! ```text
//! published        cursor 2024-07-25T11:58:00Z, started from 2024-04-26, pending OPS-7
//! next run         window from 2024-07-24T11:58:00Z (cursor - lookback), and OPS-7 once more
//! ```
//!
//! - The cursor is the largest value that was *published*, and never beyond a window that could
//!   not be read.
//! - A child stream has its parent's cursor as its own: how far its parents have been followed. The
//!   parent is read from the smallest of them, so that a child that could not be published misses
//!   no parent.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The version of the format.
const VERSION: u32 = 1;

/// How far a stream has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    version: u32,
    /// The largest published value of the cursor column, or how far the parents have been followed.
    pub cursor: Option<DateTime<Utc>>,
    /// Where the earliest window starts from which everything up to now has been read.
    pub started_from: Option<DateTime<Utc>>,
    /// Where the earliest window starts that was ever asked for, also by a run of a part of the
    /// time: rows may be as old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_from: Option<DateTime<Utc>>,
    /// Where the earliest window starts that could not be read.
    pub redo_from: Option<DateTime<Utc>>,
    /// Parents whose slices could not be read.
    pub pending: Vec<BTreeMap<String, Value>>,
    /// The clock of the run that published last.
    pub published_at: DateTime<Utc>,
    /// The clock of the last run that read up to it.
    #[serde(default)]
    pub read_until: Option<DateTime<Utc>>,
    /// Tells what the rows were asked for: a state of another project or query says nothing about
    /// this one.
    #[serde(default)]
    pub selection: Option<u64>,
    /// The last run that read everything that was ever asked for, and rejected nothing: what it did
    /// not bring was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_whole_by: Option<String>,
}

/// A state that this program cannot go on from.
#[derive(Debug, Error)]
pub enum StateError {
    /// It was written by a later program.
    #[error("the state has version {found}, this program knows version {VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// It does not make sense.
    #[error("the state is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// Where a stream's windows start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Where the pipeline says.
    AsPlanned,
    /// Here: everything before has been read.
    At(DateTime<Utc>),
}

impl StreamState {
    /// A state after a first publishing, with nothing known yet.
    pub fn new(published_at: DateTime<Utc>) -> Self {
        Self {
            version: VERSION,
            cursor: None,
            started_from: None,
            asked_from: None,
            redo_from: None,
            pending: Vec::new(),
            published_at,
            read_until: None,
            selection: None,
            read_whole_by: None,
        }
    }

    /// Reads a stored state; `null` is none.
    pub fn from_stored(value: Value) -> Result<Option<Self>, StateError> {
        if value.is_null() {
            return Ok(None);
        }
        let found = value.get("version").and_then(Value::as_u64);
        if let Some(found) = found.filter(|it| *it > u64::from(VERSION)) {
            return Err(StateError::Version { found });
        }
        serde_json::from_value(value).map(Some).map_err(StateError::Damaged)
    }

    /// Whether windows that start at `planned` ask for everything that was ever asked for.
    pub fn is_covered_from(&self, planned: DateTime<Utc>) -> bool {
        self.asked_from.or(self.started_from).is_some_and(|it| planned <= it)
    }

    /// What is stored.
    pub fn to_stored(&self) -> Result<Value, StateError> {
        serde_json::to_value(self).map_err(StateError::Damaged)
    }
}

/// What decides where windows start.
#[derive(Debug, Clone, Copy)]
pub struct StartRule {
    /// The run's clock.
    pub now: DateTime<Utc>,
    /// Where the pipeline says that windows start.
    pub planned: Option<DateTime<Utc>>,
    /// How far before the cursor reading starts, where the stream has one.
    pub lookback: Option<TimeDelta>,
    /// How far back windows start once everything before has been read.
    pub reread: Option<TimeDelta>,
}

/// Where the windows of a stream start: at the earliest that any of `states` needs, those of the
/// stream itself and of its child streams. `None` among them is one that was never published.
pub fn start(rule: StartRule, states: &[Option<&StreamState>]) -> Start {
    let Some(states) = states.iter().copied().collect::<Option<Vec<_>>>() else {
        return Start::AsPlanned;
    };
    // An earlier start than ever before: what lies between has never been read.
    let is_extended = |state: &&StreamState| match (rule.planned, state.started_from) {
        (Some(planned), Some(started)) => planned < started,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if states.iter().any(is_extended) {
        return Start::AsPlanned;
    }
    let read_up_to = match (rule.lookback, rule.reread) {
        (Some(lookback), _) => {
            let cursors: Option<Vec<_>> = states.iter().map(|it| it.cursor).collect();
            // A value from the future must not keep everything before it from being read.
            cursors.and_then(|it| it.into_iter().min()).map(|it| it.min(rule.now) - lookback)
        }
        (None, Some(reread)) => {
            // Days that nobody read, because no run came so far, are read now.
            let read: Option<Vec<_>> = states.iter().map(|it| it.read_until).collect();
            read.and_then(|it| it.into_iter().min()).map(|it| it.min(rule.now) - reread)
        }
        (None, None) => None,
    };
    let redo_from = states.iter().filter_map(|it| it.redo_from).min();
    // What nobody has asked for so far is not read again.
    let asked_from = states.iter().filter_map(|it| it.asked_from.or(it.started_from)).min();
    match read_up_to.map(|it| asked_from.map_or(it, |asked| it.max(asked))) {
        Some(start) => Start::At(redo_from.map_or(start, |redo| redo.min(start))),
        None => Start::AsPlanned,
    }
}

/// What a run found out about a stream.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The largest value of the cursor column that was read, or the parent's new cursor.
    pub largest: Option<DateTime<Utc>>,
    /// Where the earliest window starts that could not be read.
    pub failed_from: Option<DateTime<Utc>>,
    /// Where the first window started, if it started where the pipeline says.
    pub started: Option<DateTime<Utc>>,
    /// Where the first window started.
    pub asked_from: Option<DateTime<Utc>>,
    /// Parents whose slices could not be read.
    pub pending: Vec<BTreeMap<String, Value>>,
}

/// Whether a run read up to its clock, or only a part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Up to its clock.
    ToNow,
    /// Between `--since` and `--until`: the cursor stays where it is.
    Part,
}

/// The state after a run.
pub fn advance(
    old: Option<&StreamState>,
    progress: Progress,
    extent: Extent,
    now: DateTime<Utc>,
) -> StreamState {
    let Progress { largest, failed_from, started, asked_from, pending } = progress;
    let mut state = old.cloned().unwrap_or_else(|| StreamState::new(now));
    state.published_at = now;
    state.pending = pending;
    let asked_before = state.asked_from.or(state.started_from);
    state.asked_from = asked_before.into_iter().chain(asked_from).min();
    if extent == Extent::Part {
        // Nothing else will ask for the window again.
        state.redo_from = state.redo_from.into_iter().chain(failed_from).min();
        return state;
    }
    // Of two clocks the earlier one is believed: one that was wrong for a night and ahead would keep later runs
    // from reading the days that none of them came to; one that is behind only lets them read more.
    state.read_until = Some(now);
    let reached = match (largest, failed_from) {
        (Some(largest), Some(failed)) => Some(largest.min(failed)),
        (largest, _) => largest,
    };
    // The cursor never moves back: what was published stays published. Nor does it stand beyond the
    // clock: one wrong date in the source, or one night with a wrong clock, would end all reading.
    state.cursor = state.cursor.max(reached).map(|it| it.min(now));
    state.started_from = match (state.started_from, started) {
        (Some(old), Some(new)) => Some(old.min(new)),
        (old, new) => old.or(new),
    };
    state.redo_from = failed_from;
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}T00:00:00Z").parse().unwrap()
    }

    fn state(cursor: Option<&str>, started_from: &str) -> StreamState {
        StreamState {
            cursor: cursor.map(at),
            read_until: Some(at("2024-07-25")),
            started_from: Some(at(started_from)),
            ..StreamState::new(at("2024-07-25"))
        }
    }

    fn rule(planned: &str, lookback: Option<i64>, reread: Option<i64>) -> StartRule {
        StartRule {
            now: at("2024-07-26"),
            planned: Some(at(planned)),
            lookback: lookback.map(TimeDelta::days),
            reread: reread.map(TimeDelta::days),
        }
    }

    #[test]
    fn the_first_run_starts_where_the_pipeline_says() {
        assert_eq!(start(rule("2024-01-01", Some(1), None), &[None]), Start::AsPlanned);
        assert_eq!(start(rule("2024-01-01", Some(1), None), &[]), Start::AsPlanned);
        assert_eq!(start(rule("2024-01-01", None, Some(1)), &[]), Start::AsPlanned);
    }

    #[test]
    fn a_later_run_starts_at_the_cursor_less_the_lookback() {
        let own = state(Some("2024-07-25"), "2024-01-01");

        let found = start(rule("2024-01-01", Some(3), None), &[Some(&own)]);

        assert_eq!(found, Start::At(at("2024-07-22")));
    }

    #[test]
    fn a_parent_starts_where_its_slowest_child_is() {
        let own = state(Some("2024-07-25"), "2024-01-01");
        let slow = state(Some("2024-07-20"), "2024-01-01");

        let found = start(rule("2024-01-01", Some(1), None), &[Some(&own), Some(&slow)]);
        assert_eq!(found, Start::At(at("2024-07-19")));

        let found = start(rule("2024-01-01", Some(1), None), &[Some(&own), Some(&slow), None]);
        assert_eq!(found, Start::AsPlanned, "a child that was never published needs all parents");
    }

    #[test]
    fn a_stream_without_a_cursor_reads_its_last_days_again() {
        let own = state(None, "2024-01-01");

        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&own)]);

        assert_eq!(found, Start::At(at("2024-05-26")), "60 days before the last reading");
    }

    #[test]
    fn nothing_is_read_again_from_before_where_reading_began() {
        let own = state(Some("2024-07-25"), "2024-07-24");
        for (lookback, reread) in [(None, Some(60)), (Some(3), None)] {
            let found = start(rule("2024-07-24", lookback, reread), &[Some(&own)]);
            assert_eq!(found, Start::At(at("2024-07-24")));
        }

        // `--since` has asked for more in between, which changes like the rest.
        let own = StreamState { asked_from: Some(at("2024-07-01")), ..own };
        let found = start(rule("2024-07-24", None, Some(60)), &[Some(&own)]);
        assert_eq!(found, Start::At(at("2024-07-01")));
    }

    #[test]
    fn an_earlier_start_than_before_is_read_from_there() {
        let own = state(Some("2024-07-25"), "2024-03-01");

        assert_eq!(start(rule("2024-01-01", Some(1), None), &[Some(&own)]), Start::AsPlanned);
        let child = state(Some("2024-07-25"), "2024-01-01");
        assert_eq!(
            start(rule("2024-01-01", Some(1), None), &[Some(&own), Some(&child)]),
            Start::AsPlanned,
            "one of them has not read it"
        );
    }

    #[test]
    fn what_no_run_has_asked_for_covers_nothing() {
        let none = StreamState::new(at("2024-07-25"));
        assert!(!none.is_covered_from(at("2024-01-01")));

        let mut asked = state(None, "2024-03-01");
        assert!(asked.is_covered_from(at("2024-03-01")));
        assert!(!asked.is_covered_from(at("2024-03-02")));
        // A run of a part of the time reached further back.
        asked.asked_from = Some(at("2024-01-01"));
        assert!(!asked.is_covered_from(at("2024-02-01")));
    }

    #[test]
    fn a_window_that_failed_is_read_again() {
        let mut own = state(None, "2024-01-01");
        own.redo_from = Some(at("2024-02-01"));

        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&own)]);

        assert_eq!(found, Start::At(at("2024-02-01")));

        let mut other = state(None, "2024-01-01");
        other.redo_from = Some(at("2024-03-01"));
        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&own), Some(&other)]);
        assert_eq!(found, Start::At(at("2024-02-01")), "the earlier one has the later one in it");
        own.redo_from = Some(at("2024-07-24"));
        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&own)]);
        assert_eq!(found, Start::At(at("2024-05-26")), "it is read again in any case");
    }

    #[test]
    fn a_run_up_to_its_clock_leaves_how_far_it_came() {
        let mut old = state(Some("2024-07-20"), "2024-03-01");
        old.redo_from = Some(at("2024-06-01"));
        old.pending = vec![BTreeMap::from([("key".to_owned(), Value::from("OPS-1"))])];
        let pending = vec![BTreeMap::from([("key".to_owned(), Value::from("OPS-7"))])];
        let progress = Progress {
            largest: Some(at("2024-07-25")),
            failed_from: None,
            started: Some(at("2024-01-01")),
            asked_from: Some(at("2024-01-01")),
            pending: pending.clone(),
        };

        let new = advance(Some(&old), progress, Extent::ToNow, at("2024-07-26"));

        let expected = StreamState {
            cursor: Some(at("2024-07-25")),
            started_from: Some(at("2024-01-01")),
            asked_from: Some(at("2024-01-01")),
            redo_from: None,
            pending,
            published_at: at("2024-07-26"),
            read_until: Some(at("2024-07-26")),
            ..old
        };
        assert_eq!(new, expected);
    }

    #[test]
    fn a_later_first_window_leaves_how_far_back_was_asked_and_read() {
        let old = StreamState {
            asked_from: Some(at("2023-12-01")),
            ..state(Some("2024-07-20"), "2024-01-01")
        };
        let progress = Progress {
            started: Some(at("2024-03-01")),
            asked_from: Some(at("2024-03-01")),
            ..Progress::default()
        };

        let new = advance(Some(&old), progress, Extent::ToNow, at("2024-07-25"));

        assert_eq!(new, old);
    }

    #[test]
    fn the_cursor_stops_before_a_window_that_failed_and_never_moves_back() {
        let progress = Progress {
            largest: Some(at("2024-07-25")),
            failed_from: Some(at("2024-07-10")),
            ..Progress::default()
        };
        let first = advance(None, progress.clone(), Extent::ToNow, at("2024-07-26"));
        assert_eq!(
            (first.cursor, first.redo_from),
            (Some(at("2024-07-10")), Some(at("2024-07-10")))
        );

        let later = state(Some("2024-07-20"), "2024-01-01");
        let again = advance(Some(&later), progress, Extent::ToNow, at("2024-07-26"));
        assert_eq!(again.cursor, Some(at("2024-07-20")));
    }

    #[test]
    fn a_part_of_the_time_leaves_the_cursor_alone() {
        let old = state(Some("2024-07-20"), "2024-03-01");
        let progress = Progress {
            largest: Some(at("2024-07-25")),
            started: Some(at("2024-01-01")),
            ..Progress::default()
        };

        let new = advance(Some(&old), progress, Extent::Part, at("2024-07-26"));

        assert_eq!((new.cursor, new.started_from), (old.cursor, old.started_from));
    }

    #[test]
    fn a_value_from_the_future_does_not_end_all_reading() {
        let progress = Progress { largest: Some(at("2099-01-01")), ..Progress::default() };
        let state = advance(None, progress, Extent::ToNow, at("2024-07-26"));
        assert_eq!(state.cursor, Some(at("2024-07-26")));

        let mut old = self::state(Some("2099-01-01"), "2024-01-01");
        old.read_until = Some(at("2024-07-25"));
        let found = start(rule("2024-01-01", Some(1), None), &[Some(&old)]);
        assert_eq!(found, Start::At(at("2024-07-25")));
    }

    #[test]
    fn a_night_with_a_clock_ahead_skips_no_days_later() {
        let largest = Some(at("2024-07-25"));
        let progress = || Progress { largest, ..Progress::default() };
        let ahead = Progress { largest: Some(at("2025-08-01")), ..Progress::default() };
        let wrong = advance(None, ahead, Extent::ToNow, at("2025-08-30"));
        let right = advance(Some(&wrong), progress(), Extent::ToNow, at("2024-07-26"));
        assert_eq!(right.read_until, Some(at("2024-07-26")));
        assert_eq!(right.cursor, Some(at("2024-07-26")), "as far as the clock");

        // Nothing ran for two months.
        let own = StreamState { started_from: Some(at("2024-01-01")), ..right };
        let later = |reread, lookback| StartRule {
            now: at("2024-09-26"),
            ..rule("2024-01-01", lookback, reread)
        };
        assert_eq!(start(later(Some(30), None), &[Some(&own)]), Start::At(at("2024-06-26")));
        assert_eq!(start(later(None, Some(1)), &[Some(&own)]), Start::At(at("2024-07-25")));
    }

    #[test]
    fn a_night_with_a_clock_behind_lets_the_next_one_read_more() {
        let right = state(Some("2024-07-25"), "2024-01-01");
        let wrong = advance(Some(&right), Progress::default(), Extent::ToNow, at("2024-05-01"));

        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&wrong)]);

        assert_eq!(found, Start::At(at("2024-03-02")), "60 days before the wrong night");
    }

    #[test]
    fn days_that_no_run_has_read_are_read_by_the_next_one() {
        let mut own = state(None, "2024-01-01");
        own.read_until = Some(at("2024-04-01"));

        let found = start(rule("2024-01-01", None, Some(60)), &[Some(&own)]);

        assert_eq!(found, Start::At(at("2024-02-01")));
        let found = start(
            rule("2024-01-01", None, Some(60)),
            &[Some(&state(None, "2024-01-01")), Some(&own)],
        );
        assert_eq!(found, Start::At(at("2024-02-01")), "as the stream needs that came less far");
    }

    #[test]
    fn a_window_that_failed_in_a_part_of_the_time_is_remembered_too() {
        let progress = Progress { failed_from: Some(at("2024-03-01")), ..Progress::default() };

        let new =
            advance(Some(&state(None, "2024-01-01")), progress, Extent::Part, at("2024-07-26"));

        assert_eq!(new.redo_from, Some(at("2024-03-01")));
        assert_eq!(new.read_until, Some(at("2024-07-25")), "that of the last run up to its clock");

        for (failed_from, expected) in [
            (None, "2024-03-01"),
            (Some("2024-05-01"), "2024-03-01"),
            (Some("2024-02-01"), "2024-02-01"),
        ] {
            let progress = Progress { failed_from: failed_from.map(at), ..Progress::default() };
            let later = advance(Some(&new), progress, Extent::Part, at("2024-07-27"));
            assert_eq!(later.redo_from, Some(at(expected)), "after {failed_from:?}");
        }
    }

    #[test]
    fn a_state_of_version_1_is_read_and_a_later_one_is_refused() {
        let text = r#"{"version":1,"cursor":"2024-07-25T11:58:00.258Z","started_from":"2024-04-26T00:00:00Z","redo_from":null,"pending":[{"issue_key":"OPS-7"}],"published_at":"2024-07-25T12:00:00Z","read_until":"2024-07-25T12:00:00Z","selection":7}"#;
        let state = StreamState::from_stored(serde_json::from_str(text).unwrap()).unwrap().unwrap();
        assert_eq!(state.pending[0]["issue_key"], "OPS-7");
        assert_eq!(state.to_stored().unwrap(), serde_json::from_str::<Value>(text).unwrap());

        let later = serde_json::json!({ "version": 2 });
        assert!(matches!(StreamState::from_stored(later), Err(StateError::Version { found: 2 })));
    }
}
