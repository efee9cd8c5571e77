//! What a person says is normal for a stream, so that a run that finds otherwise publishes nothing.

use chrono::Weekday;

use super::Name;

/// What is normal for a stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectPlan {
    /// The rows that the dataset has at least, once it is published.
    pub min_rows: Option<Expected<u64>>,
    /// By which share, from 0 to 1, the dataset may have fewer rows than the last run left.
    pub max_drop: Option<Expected<f64>>,
    /// Which days have rows.
    pub days: Option<Expected<DaysPlan>>,
    /// The share, from 0 to 1, of the rows read by a run that may be null in a column.
    pub max_nulls: Vec<(Name, Expected<f64>)>,
}

/// Which days have rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaysPlan {
    /// So many days before that of the run's clock, in the zone of the partitions; at least 1.
    pub last: u16,
    /// The rows of each of them; at least 1.
    pub min_rows: u64,
    /// Days of the week that may have fewer.
    pub except: Vec<Weekday>,
}

/// What is expected, and where the pipeline file says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected<T> {
    /// What is expected.
    pub value: T,
    /// For a person: `streams.items.expect.min_rows, line 14`.
    pub place: String,
}
