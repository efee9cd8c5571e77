//! What follows from how a stream was read: which rows may go, what went wrong, and what is not published
//! because it looks like a mistake. Pure.

use chrono::{DateTime, Utc};

use super::super::{reader::Tally, slices::SliceTally};
use crate::{
    error::Error,
    extract::{Exhausted, planned_start},
    load::ReadScopes,
    plan::{ReplaceScope, SlicesPlan, StreamPlan, WriteMode},
    state,
};

/// How much of a stream could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Every slice.
    Complete,
    /// Some slices failed; they are remembered.
    Partial,
    /// Nothing.
    Nothing,
    /// What the user let it: it is read on by the next run.
    Interrupted,
}

/// What is known about a stream after its slices, before its rows are merged.
pub(super) struct Read {
    pub(super) slices: SliceTally,
    pub(super) tally: Tally,
    pub(super) progress: state::Progress,
    pub(super) reading: Reading,
    /// Whether the run asked for everything that was ever asked for, and could read it.
    pub(super) covers_all: bool,
}

impl Read {
    /// Whether no record was rejected and no slice left out.
    pub(super) fn nothing_missing(&self) -> bool {
        let counts = self.slices.counts;
        counts.gone == 0 && counts.skipped == 0 && counts.failed == 0 && self.tally.rejected == 0
    }
}

/// How much of a stream could be read, whose parent was read so far.
pub(super) fn reading(
    stream: &StreamPlan,
    slices: &SliceTally,
    parent: Option<Reading>,
) -> Reading {
    let failed = slices.counts.failed;
    // A stream that the budget cut in its only slice has handed on the rows before: its
    // children are published as far as they were followed.
    let is_left = !is_snapshot(stream)
        && slices.first_error.as_ref().is_some_and(|(_, err)| err.is_declared());
    let own = if slices.is_cut {
        Reading::Interrupted
    } else if failed > 0 && failed == slices.counts.total && !is_left {
        Reading::Nothing
    } else if failed > 0 {
        Reading::Partial
    } else {
        Reading::Complete
    };
    match parent {
        _ if own == Reading::Interrupted => own,
        Some(parent @ (Reading::Interrupted | Reading::Nothing)) => parent,
        Some(Reading::Partial) if own == Reading::Complete => Reading::Partial,
        _ => own,
    }
}

/// Whether a stream becomes exactly what one run reads.
fn is_snapshot(stream: &StreamPlan) -> bool {
    matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::All, .. })
}

/// What went wrong with the slices, if anything. Where files go of which no manifest tells, nothing is published
/// that was not read whole: the dataset becomes exactly that.
pub(super) fn failure(
    stream: &StreamPlan,
    read: &mut Read,
    unknown_files: usize,
    exhausted: Option<&Exhausted>,
) -> Option<Failure> {
    if read.reading == Reading::Interrupted {
        return Some(Failure::Nothing(Error::Interrupted));
    }
    let parent = stream.slices.parent().map(|it| &it.stream);
    let counts = read.slices.counts;
    let is_snapshot = is_snapshot(stream) || unknown_files > 0;
    if let Some((slice, source)) = read.slices.first_error.take() {
        let (stream, source) = (stream.name.clone(), Box::new(source));
        let (failed, slices) = (counts.failed, counts.total);
        if source.is_declared() {
            let published = !is_snapshot;
            let err = Error::Budget { stream, left: failed, slices, slice, published, source };
            return Some(if published { Failure::Partial(err) } else { Failure::Nothing(err) });
        }
        return Some(if is_snapshot || failed == slices {
            Failure::Nothing(Error::Slices { stream, failed, slices, slice, source })
        } else {
            Failure::Partial(Error::SomeSlices { stream, failed, slices, slice, source })
        });
    }
    let unread_parent = parent.filter(|_| {
        read.reading == Reading::Nothing || (is_snapshot && read.reading == Reading::Partial)
    });
    unread_parent.map(|parent| {
        let left = exhausted.is_some_and(Exhausted::is_declared);
        Failure::Nothing(Error::Parent {
            stream: stream.name.clone(),
            parent: parent.clone(),
            left,
        })
    })
}

/// What went wrong with the slices of a stream.
pub(super) enum Failure {
    /// Nothing is published.
    Nothing(Error),
    /// The rest is published.
    Partial(Error),
}

/// Which rows that stand become exactly what was read.
pub(super) fn scopes(stream: &StreamPlan, read: &mut Read) -> ReadScopes {
    match &stream.write {
        WriteMode::Replace { scope: ReplaceScope::All, key } => {
            // Without a key what was read could not be told from what stands.
            if read.nothing_missing() || key.is_empty() {
                ReadScopes::AllBut(Vec::new())
            } else {
                ReadScopes::Nothing
            }
        }
        WriteMode::Replace { scope: ReplaceScope::Slice, .. } => {
            // A dataset of one given parent has no rows of others: `check_selection` sees to it.
            let is_given = matches!(stream.slices, SlicesPlan::Given(_));
            if is_given && read.reading == Reading::Complete && read.nothing_missing() {
                ReadScopes::AllBut(Vec::new())
            } else if read.covers_all && !read.slices.has_unread_without_scope {
                ReadScopes::AllBut(std::mem::take(&mut read.slices.unread))
            } else {
                ReadScopes::These(std::mem::take(&mut read.slices.read))
            }
        }
        // Rows of slices that were not read cannot be told from the others here.
        WriteMode::Append { .. } | WriteMode::Merge { .. } => {
            if read.covers_all && read.nothing_missing() {
                ReadScopes::AllBut(Vec::new())
            } else {
                ReadScopes::Nothing
            }
        }
    }
}

/// What a run is about to publish, in rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// That stood before, and were not marked as gone.
    pub(super) rows_before: u64,
    /// In how many files others stood, of which no manifest tells.
    pub(super) unknown_files: usize,
    /// That will stand, and are not marked as gone.
    pub(super) living: u64,
    /// That stood in what was read.
    pub(super) stood: u64,
    /// Of these the ones that go.
    pub(super) removed: u64,
    /// Whether only a part of the time was asked for.
    pub(super) is_part: bool,
}

/// Stops what looks like a mistake of the source or of the pipeline.
pub(super) fn guard(stream: &StreamPlan, change: Change, now: DateTime<Utc>) -> Result<(), Error> {
    let Change { rows_before, unknown_files, living, stood, removed, is_part } = change;
    let name = || stream.name.clone();
    if is_part
        && is_snapshot(stream)
        && rows_before > 0
        && planned_start(&stream.slices, now).is_some()
    {
        return Err(Error::PartWouldReplace { stream: name(), rows: rows_before });
    }
    if living == 0 && rows_before > 0 && !stream.guard.may_be_empty {
        return Err(Error::WouldBeEmpty { stream: name(), rows: rows_before });
    }
    if living == 0 && unknown_files > 0 && !stream.guard.may_be_empty {
        return Err(Error::UnknownWouldGo { stream: name(), files: unknown_files });
    }
    if !stream.guard.allows(removed, stood) {
        let allowed = stream.guard.max_delete_ratio;
        return Err(Error::TooManyDeletes { stream: name(), removed, stood, allowed });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
