//! What a page reads of the report of a run, be it of now or of a year ago: what an earlier version did
//! not record is not there, and what a later one adds is passed over.

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// The report of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    #[serde(rename = "run")]
    pub(super) id: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) seconds: f64,
    pub(super) exit_code: u8,
    pub(super) bounded_by: Option<String>,
    pub(super) streams: Vec<Stream>,
}

/// What it says of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    #[serde(rename = "stream")]
    pub(super) name: String,
    pub(super) status: String,
    pub(super) slices: Slices,
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) records: u64,
    pub(super) rejected: u64,
    pub(super) held_back: u64,
    pub(super) added: u64,
    pub(super) updated: u64,
    pub(super) unchanged: u64,
    pub(super) removed: u64,
    pub(super) marked: u64,
    pub(super) redated: u64,
    pub(super) rows: u64,
    pub(super) partitions: u64,
    pub(super) changed_partitions: u64,
    pub(super) latency: Option<Latency>,
    pub(super) timeline: Option<Timeline>,
    pub(super) changes: Option<Vec<Change>>,
    pub(super) rejects: Option<Vec<Rejects>>,
    pub(super) quarantine: Option<String>,
    pub(super) gone: Vec<String>,
    pub(super) errors: Vec<String>,
}

/// How slices ended.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Slices {
    pub(super) total: u64,
    pub(super) complete: u64,
    pub(super) unreconciled: u64,
    pub(super) gone: u64,
    pub(super) skipped: u64,
    pub(super) failed: u64,
    /// Of these, what a budget left.
    pub(super) left: u64,
}

impl Stream {
    /// Whether records that did not fit are in quarantine.
    pub(super) fn is_kept(&self) -> bool {
        self.status != "read"
    }

    /// Whether what it says of rows is what became of the dataset, or would become.
    pub(super) fn tells_rows(&self) -> bool {
        matches!(self.status.as_str(), "published" | "planned")
    }
}

/// How long requests took.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) max_ms: f64,
    pub(super) classes: Vec<(f64, u64)>,
}

/// When slices were under way.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Timeline {
    pub(super) step_seconds: f64,
    pub(super) steps: Vec<Step>,
    pub(super) slices: Vec<Slice>,
}

/// A step of time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) working: f64,
    pub(super) waiting: f64,
    pub(super) retrying: f64,
    pub(super) retries: u64,
    pub(super) ended: u64,
    pub(super) failed: u64,
}

/// A slice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slice {
    #[serde(rename = "slice")]
    pub(super) name: String,
    pub(super) outcome: String,
    pub(super) started: f64,
    pub(super) seconds: f64,
    pub(super) waiting: f64,
    pub(super) retrying: f64,
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) records: Option<u64>,
    pub(super) total: Option<u64>,
}

/// What became of the rows of a partition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub(super) partition: String,
    pub(super) added: u64,
    pub(super) updated: u64,
    pub(super) removed: u64,
    pub(super) redated: u64,
}

/// Records that did not fit for the same reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rejects {
    pub(super) column: Option<String>,
    pub(super) reason: String,
    pub(super) records: u64,
}
