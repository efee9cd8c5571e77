//! The rows that a perfect export of a simulated world has, stream by stream.
//!
//! Computed from the world's plain records and from how the simulator is documented to render them;
//! `tracklake::sim` is all that is used of the crate.

pub(crate) mod tracker;
pub(crate) mod timesheet;
pub(crate) mod codearts;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use tracklake::sim::World;

use crate::support::table::Cell;

/// How far past today the windows of work dates reach.
const AHEAD_DAYS: i64 = 31;

/// The work dates that a run reads, both ends included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) since: NaiveDate,
    pub(crate) until: NaiveDate,
}

impl Window {
    /// From `since` to as far ahead of the world's today as the pipelines reach.
    pub(crate) fn of(world: &World, since: NaiveDate) -> Window {
        Window { since, until: world.today + TimeDelta::days(AHEAD_DAYS) }
    }

    fn contains(self, date: NaiveDate) -> bool {
        (self.since..=self.until).contains(&date)
    }
}

/// JSON text with sorted keys and no blanks.
pub(crate) fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

/// UTF-8 sorts by byte as it does by code point.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|(key, it)| (key.clone(), sorted(it))).collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The `_extra` column of a record with these unread fields, an object.
fn extra(unread: &Value) -> Cell {
    if *unread == json!({}) { Cell::Null } else { canonical(unread).into() }
}

/// The value of a `json` column: JSON null is null.
fn json_cell(value: &Value) -> Cell {
    if value.is_null() { Cell::Null } else { canonical(value).into() }
}

/// The partition of an instant: its date in a zone.
fn partition_of(at: DateTime<Utc>, zone: Tz) -> String {
    partition(at.with_timezone(&zone).date_naive())
}

/// The partition of a date.
fn partition(date: NaiveDate) -> String {
    format!("date={date}")
}

/// What is left of an instant that is served with three digits.
fn millis(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}

/// What is left of an instant that is served without a fraction.
fn seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}
