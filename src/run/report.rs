//! What a run did: the source of the closing table, of `--json`, and of the file that is kept.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{bound::Bound, timeline::Timeline};
use crate::{
    error::Error,
    extract::Latencies,
    load::{PartitionChange, Unapplied},
};

/// What a run did.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// The pipeline.
    pub pipeline: String,
    /// The run's id, as in quarantine and manifests.
    pub run: String,
    /// The run's clock when it started.
    pub started_at: DateTime<Utc>,
    /// Seconds that it took.
    pub seconds: f64,
    /// What the time of its longest stream depended on.
    pub bounded_by: Option<Bound>,
    /// The exit code that the run alone leads to.
    pub exit_code: u8,
    /// The commits of killed runs that were finished before anything was asked; `plan --fetch` does that, too.
    pub finished_commits: Vec<Unapplied>,
    /// What each stream did, parents before children.
    pub streams: Vec<StreamReport>,
    /// Why the report itself, or the end of the run, could not be kept.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// What a run did for one stream. Records that were read are written, dropped by a rule, or
/// rejected; rows are written, or equal to or older than another row of the same key.
#[derive(Debug, Serialize)]
pub struct StreamReport {
    /// The stream.
    pub stream: String,
    /// How it ended.
    pub status: StreamStatus,
    /// How its slices ended.
    pub slices: SliceReport,
    /// Requests sent, repetitions included.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// How often smaller pages were asked for, because one was too much.
    pub smaller_pages: u64,
    /// Bytes of bodies, after decompression.
    pub bytes_read: u64,
    /// Pages read.
    pub pages: u64,
    /// Records read, repetitions included.
    pub records: u64,
    /// Records that gave no row, because the pipeline drops those with an empty array.
    pub dropped: u64,
    /// Records that do not fit; where the stream was to be published, they are in quarantine.
    pub rejected: u64,
    /// The column and the reason of the first of them.
    pub first_reject: Option<String>,
    /// Rows that were not written, because others of their slice were rejected.
    pub held_back: u64,
    /// Rows made of the records, but for those that were held back.
    pub rows_read: u64,
    /// Rows that were equal to another one.
    pub duplicates: u64,
    /// Rows that a newer row of the same key took the place of.
    pub superseded: u64,
    /// Rows that are new to the dataset.
    pub added: u64,
    /// Rows that took the place of another one.
    pub updated: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Rows that did not take the place of a newer one.
    pub outdated: u64,
    /// Rows of the dataset that the source no longer has.
    pub removed: u64,
    /// Those of them that stay, marked as deleted.
    pub marked: u64,
    /// Rows that moved to another partition.
    pub redated: u64,
    /// Rows of the dataset.
    pub rows: u64,
    /// How far the stream has got, once this is published: the largest value of its cursor column, or how far
    /// its parents were followed. Of a stream that failed, how far the last run got.
    pub cursor: Option<DateTime<Utc>>,
    /// Partitions of the dataset.
    pub partitions: u64,
    /// Partitions whose files were written.
    pub changed_partitions: u64,
    /// Their directories, such as `date=2024-07-25`, for those who load only what changed.
    pub changed: Vec<String>,
    /// Files that were written, of all formats.
    pub files: u64,
    /// Bytes of these files.
    pub bytes_written: u64,
    /// Files of the dataset before that are gone.
    pub removed_files: u64,
    /// Local times moved out of a gap of their zone's clock.
    pub gaps: u64,
    /// Local times that their zone's clock showed twice.
    pub folds: u64,
    /// Keys that came twice in one object.
    pub duplicate_keys: u64,
    /// Where the time went.
    pub seconds: TimeReport,
    /// What the time depended on; `None` where nothing was read.
    pub bounded_by: Option<Bound>,
    /// How long its requests took.
    pub latency: LatencyReport,
    /// When its slices were under way.
    pub timeline: Timeline,
    /// Rows of each partition that came, changed and went, the last partitions only; at most 400.
    pub changes: Vec<PartitionChange>,
    /// Records that do not fit, by column and reason; at most fifty, the rest are in none of them.
    pub rejects: Vec<RejectCount>,
    /// Where the rejected records are.
    pub quarantine: Option<String>,
    /// Parents whose access is lost; at most a hundred are named.
    pub gone: Vec<String>,
    /// Why the stream or its slices failed; at most a hundred are named.
    pub errors: Vec<String>,
    /// The error that the stream ended with.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    /// Its files are visible.
    Published,
    /// Its files would be as told; nothing of it was published, because only that was asked.
    Planned,
    /// It was read for its children only.
    Read,
    /// Nothing of it was published; what was there before is untouched.
    Failed,
}

/// How slices ended.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct SliceReport {
    /// Slices in all; one that was cut counts as its parts.
    pub total: u64,
    /// As many records as the API's own total.
    pub complete: u64,
    /// The API gives no total.
    pub unreconciled: u64,
    /// Access to the parent is lost.
    pub gone: u64,
    /// A rule of the pipeline says that there is nothing.
    pub skipped: u64,
    /// With an error.
    pub failed: u64,
    /// Of these, what is left for the next run, because a budget that the pipeline declares was used up.
    pub left: u64,
    /// Cut in two, because the API gives no more than a part of them.
    pub split: u64,
}

/// Where the time went, in seconds. `reading`, `encoding` and `publishing` come one after the other and
/// are most of `total`; the others are parts of `reading`, and those of requests and pages that are under
/// way at the same time add up.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct TimeReport {
    /// From the first request to the published files.
    pub total: f64,
    /// From the first request to the last page.
    pub reading: f64,
    /// Requests waiting for their turn, by the declared rate or in a pause that the server asked for.
    pub waiting_for_turn: f64,
    /// Requests waiting for others to end, because no more may be in flight.
    pub waiting_for_place: f64,
    /// Requests waiting to be sent again.
    pub waiting_to_retry: f64,
    /// From requests to their whole bodies, log-ins included.
    pub fetching: f64,
    /// Bodies waiting for a thread, while these decode other ones or encode another stream.
    pub waiting_for_thread: f64,
    /// Threads busy with decompressing and decoding bodies.
    pub decoding: f64,
    /// Pages waiting for the thread that writes.
    pub waiting_for_writer: f64,
    /// That thread sorting rows into buffers, and spilling these to disk where memory is used up.
    pub partitioning: f64,
    /// Sorting, merging, encoding and staging after the last page.
    pub encoding: f64,
    /// Making the files safe and visible.
    pub publishing: f64,
}

/// How long requests took, in milliseconds.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct LatencyReport {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// Of twenty, nineteen took no longer.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Requests by how long they took: where a class begins, and how many are in it. A class ends where it
    /// is a quarter longer or less; those without requests are left out.
    pub classes: Vec<(f64, u64)>,
}

impl LatencyReport {
    /// What was counted so far.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
    pub fn of(latencies: &Latencies) -> Self {
        let millis = |it: std::time::Duration| it.as_secs_f64() * 1e3;
        let classes = latencies.classes().into_iter();
        Self {
            p50_ms: millis(latencies.quantile(0.5)),
            p95_ms: millis(latencies.quantile(0.95)),
            max_ms: millis(latencies.longest()),
            classes: classes.map(|(begin, count)| (begin as f64 / 1e3, count)).collect(),
        }
    }
}

/// Records that did not fit for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectCount {
    /// The column; `None` where the record's structure is at fault.
    pub column: Option<String>,
    /// Why, without what was found.
    pub reason: String,
    /// How many.
    pub records: u64,
}

impl RunReport {
    /// The exit code of a run with these streams: the worst failure, or partial where records are
    /// in quarantine.
    pub fn exit_code(streams: &[StreamReport]) -> u8 {
        // What needs a person most comes first: a bug, the destination, the source, a guard.
        const ORDER: [u8; 6] = [130, 1, 6, 4, 5, 7];
        let codes: Vec<u8> =
            streams.iter().filter_map(|it| it.error.as_ref()).map(Error::exit_code).collect();
        let worst = ORDER.into_iter().find(|it| codes.contains(it));
        let worst = worst.or_else(|| codes.first().copied());
        worst.unwrap_or(if streams.iter().any(|it| it.rejected > 0) { 7 } else { 0 })
    }
}
