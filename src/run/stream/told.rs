//! What a stream's report says: what was read, then what became of the rows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    super::{
        progress::StreamProgress,
        report::{LatencyReport, RejectCount, StreamReport, StreamStatus, TimeReport},
    },
    decide::Read,
};
use crate::{
    extract::Stopwatch,
    load::{Published, StagedStream},
    plan::{Deletes, StreamPlan},
};

/// Rows that go. Without a key an edited row cannot be told from one that went and one that came:
/// only what nothing came for counts.
pub(super) fn removed(stream: &StreamPlan, staged: &StagedStream) -> u64 {
    if stream.key().is_empty() {
        staged.removed.saturating_sub(staged.added)
    } else {
        staged.removed
    }
}

pub(super) fn note_changes(report: &mut StreamReport, stream: &StreamPlan, staged: &StagedStream) {
    report.duplicates = staged.duplicates;
    report.superseded = staged.superseded;
    report.added = staged.added;
    report.updated = staged.updated;
    report.unchanged = staged.unchanged;
    report.outdated = staged.outdated;
    report.removed = removed(stream, staged);
    report.marked = match stream.deletes {
        Deletes::Mark => report.removed,
        Deletes::Remove => 0,
    };
    report.redated = staged.redated;
    report.changes.clone_from(&staged.changes);
}

pub(super) fn note_outcome(report: &mut StreamReport, outcome: Published) {
    let Published { rows, partitions, changed, files, bytes, removed_files } = outcome;
    report.rows = rows;
    report.partitions = partitions;
    report.changed_partitions = changed.len() as u64;
    report.changed = changed;
    report.files = files;
    report.bytes_written = bytes;
    report.removed_files = removed_files;
}

/// The report of a stream that is not published yet.
pub(super) fn report(
    stream: &StreamPlan,
    progress: &StreamProgress,
    read: &mut Read,
) -> StreamReport {
    let count = |it: &AtomicU64| it.load(Relaxed);
    let seconds = |it: &Stopwatch| it.total().as_secs_f64();
    let source = &progress.source;
    let notices = read.tally.notices;
    StreamReport {
        stream: stream.name.to_string(),
        status: StreamStatus::Failed,
        slices: read.slices.counts,
        requests: count(&source.requests),
        retries: count(&source.retries),
        smaller_pages: count(&source.shrinks),
        bytes_read: count(&source.bytes),
        pages: count(&progress.pages),
        records: count(&progress.records),
        dropped: notices.dropped_empty,
        rejected: count(&progress.rejected),
        first_reject: read.tally.first_reject.clone(),
        held_back: read.tally.held_back,
        rows_read: count(&progress.rows),
        duplicates: 0,
        superseded: 0,
        added: 0,
        updated: 0,
        unchanged: 0,
        outdated: 0,
        removed: 0,
        marked: 0,
        redated: 0,
        rows: 0,
        cursor: None,
        partitions: 0,
        changed_partitions: 0,
        changed: Vec::new(),
        files: 0,
        bytes_written: 0,
        removed_files: 0,
        gaps: notices.gaps,
        folds: notices.folds,
        duplicate_keys: notices.duplicate_keys,
        seconds: TimeReport {
            waiting_for_turn: seconds(&source.turn),
            waiting_for_place: seconds(&source.place),
            waiting_to_retry: seconds(&source.retry),
            fetching: seconds(&source.fetch),
            waiting_for_thread: seconds(&source.threads.waiting),
            decoding: seconds(&source.threads.busy),
            waiting_for_writer: seconds(&progress.writer),
            ..TimeReport::default()
        },
        bounded_by: None,
        latency: LatencyReport::of(&source.latencies),
        timeline: std::mem::take(&mut read.slices.times).finish(),
        changes: Vec::new(),
        rejects: std::mem::take(&mut read.tally.reasons)
            .into_iter()
            .map(|((column, reason), records)| RejectCount { column, reason, records })
            .collect(),
        quarantine: None,
        gone: read.slices.gone.clone(),
        errors: read.slices.errors.clone(),
        error: None,
    }
}
