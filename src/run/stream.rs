//! One stream of a run: read its slices, merge what came, publish it with its new state.

mod told;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Instant,
};

use chrono::{DateTime, Utc};
use tracing::{Instrument as _, info, info_span, warn};

use super::{
    Refresh, RunOptions,
    bound::{self, UnderWay},
    expect::{self, Found},
    feed::Parents,
    progress::StreamProgress,
    reader::{Shared, Tally},
    report::{StreamReport, StreamStatus},
    settle::Settling,
    slices::{SliceLoop, SliceTally},
    write::{Writing, Written},
};
use crate::{
    error::{Error, chain},
    extract::{Exhausted, Extractor, Horizon, asked_start, planned_start},
    load::{Destination, Published, Purpose, ReadScopes, StagedStream},
    plan::{Name, PartitionUnit, Plan, ReplaceScope, SlicesPlan, StreamPlan, WriteMode},
    state::{self, StreamState},
};
use told::{note_changes, note_outcome, removed, report};

/// One stream of a run, set up.
pub(super) struct Job<'a> {
    pub(super) stream: &'a StreamPlan,
    pub(super) progress: &'a StreamProgress,
    pub(super) shared: Shared,
    pub(super) parents: Option<Parents>,
    pub(super) writing: Option<Writing>,
    pub(super) horizon: Horizon,
    pub(super) state: Option<StreamState>,
    pub(super) rows_before: u64,
}

/// What the streams of a run share.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) options: &'a RunOptions,
    pub(super) extractor: &'a Extractor,
    pub(super) destination: &'a Destination,
    /// How the streams ended that have ended, for their children.
    pub(super) outcomes: Mutex<HashMap<&'a Name, Outcome>>,
}

/// What the children of a stream need to know about how it was read.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    progress: state::Progress,
    reading: Reading,
    /// Whether every row of the source was seen: only then is a child's parent that did not come
    /// one that is not there.
    is_whole: bool,
}

/// How much of a stream could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
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
struct Read {
    slices: SliceTally,
    tally: Tally,
    progress: state::Progress,
    reading: Reading,
    /// Whether the run asked for everything that was ever asked for, and could read it.
    covers_all: bool,
}

impl Read {
    /// Whether no record was rejected and no slice left out.
    fn nothing_missing(&self) -> bool {
        let counts = self.slices.counts;
        counts.gone == 0 && counts.skipped == 0 && counts.failed == 0 && self.tally.rejected == 0
    }
}

impl<'a> Run<'a> {
    pub(super) async fn stream(&self, job: Job<'a>) -> StreamReport {
        let span = info_span!("stream", stream = %job.stream.name);
        self.read_and_publish(job).instrument(span).await
    }

    async fn read_and_publish(&self, job: Job<'a>) -> StreamReport {
        let started = Instant::now();
        let Job { stream, progress, mut shared, parents, writing, horizon, state, rows_before } =
            job;
        info!(since = ?horizon.since, "reading");
        let slices = SliceLoop {
            stream,
            extractor: self.extractor,
            shared: &shared,
            progress,
            horizon,
            given: None,
            at_once: self.plan.source.limits.max_in_flight.max(1),
            is_listed_first: self.plan.source.limits.has_budget(),
            started,
        };
        let paced = self.extractor.paced();
        let slices = slices.run(parents).await;
        let reading = started.elapsed();
        let paced = self.extractor.paced().saturating_sub(paced);
        let tally = shared.take_tally();
        let mut read = self.settle(stream, slices, tally, &horizon, state.as_ref());
        self.lock().insert(
            &stream.name,
            Outcome {
                progress: read.progress.clone(),
                reading: read.reading,
                is_whole: read.covers_all && read.nothing_missing(),
            },
        );
        // The child streams must see the end only now, when they can find out how it came.
        shared.children.clear();

        let mut report = report(stream, progress, &mut read);
        report.cursor = state.as_ref().and_then(|it| it.cursor);
        report.seconds.reading = reading.as_secs_f64();
        let failure = failure(stream, &mut read, self.extractor.exhausted());
        let fatal = match failure {
            Some(Failure::Nothing(err)) => Some(err),
            Some(Failure::Partial(err)) => {
                report.errors.insert(0, chain(&err));
                report.error = Some(err);
                None
            }
            None => None,
        };
        // Dropped without its end, the queue makes the writer give up.
        if let Some(queue) = shared.writer.take().filter(|_| fatal.is_none()) {
            queue.end(scopes(stream, &mut read), self.options.rewrite);
        }
        let result = match writing {
            Some(writing) => {
                let settling = shared.settling.take();
                let before = Before { rows: rows_before, state, fatal, settling };
                self.publish(stream, writing, before, read, &mut report).await
            }
            None => fatal.map_or(Ok(StreamStatus::Read), Err),
        };
        report.seconds.total = started.elapsed().as_secs_f64();
        let under_way = UnderWay {
            slices: progress.under_way.total().as_secs_f64(),
            paced: paced.as_secs_f64(),
            threads: rayon::current_num_threads(),
            has_parent: stream.slices.parent().is_some(),
        };
        report.bounded_by = bound::of_stream(&report.seconds, &under_way);
        match result {
            Ok(status) => report.status = status,
            Err(err) => {
                warn!(error = %err, "not published");
                report.errors.insert(0, chain(&err));
                report.error = Some(err);
            }
        }
        progress.is_done.store(true, Relaxed);
        report
    }

    /// Puts together what the slices say about how far the stream has got.
    fn settle(
        &self,
        stream: &StreamPlan,
        mut slices: SliceTally,
        tally: Tally,
        horizon: &Horizon,
        state: Option<&StreamState>,
    ) -> Read {
        let parent = stream.slices.parent().and_then(|it| self.lock().get(&it.stream).cloned());
        let failed = slices.counts.failed;
        // A stream that the budget cut in its only slice has handed on the rows before: its
        // children are published as far as they were followed.
        let is_left = !is_snapshot(stream)
            && slices.first_error.as_ref().is_some_and(|(_, err)| err.is_declared());
        let all_failed = failed > 0 && failed == slices.counts.total && !is_left;
        let own = if slices.is_cut {
            Reading::Interrupted
        } else if all_failed {
            Reading::Nothing
        } else if failed > 0 {
            Reading::Partial
        } else {
            Reading::Complete
        };
        let reading = match parent.as_ref().map(|it| it.reading) {
            _ if own == Reading::Interrupted => own,
            Some(parent @ (Reading::Interrupted | Reading::Nothing)) => parent,
            Some(Reading::Partial) if own == Reading::Complete => Reading::Partial,
            _ => own,
        };
        // Windows that start later than ever before leave out what an earlier run has read. Those
        // of a child's parent are the child's, too.
        let planned = planned_start(&stream.slices, self.options.now);
        let of_parent = parent.as_ref().and_then(|it| it.progress.started);
        let covers_windows = planned
            .into_iter()
            .chain(of_parent)
            .all(|planned| state.is_none_or(|it| it.is_covered_from(planned)));
        let covers_all = self.options.refresh == Refresh::Full
            && self.options.extent() == state::Extent::ToNow
            && reading == Reading::Complete
            && covers_windows
            && parent.as_ref().is_none_or(|it| it.is_whole);
        let asked_from = asked_start(&stream.slices, horizon);
        let progress = match parent {
            // A child has got as far as the parents that it followed.
            Some(Outcome { progress, .. }) => state::Progress {
                asked_from: progress.asked_from.into_iter().chain(asked_from).min(),
                pending: std::mem::take(&mut slices.pending),
                ..progress
            },
            None => state::Progress {
                // Without a place for what failed, nothing of the stream counts as read.
                largest: tally.largest_cursor.filter(|_| !slices.has_lost_place),
                failed_from: slices.failed_from,
                started: self.started(stream, horizon),
                asked_from,
                pending: Vec::new(),
            },
        };
        Read { slices, tally, progress, reading, covers_all }
    }

    fn started(&self, stream: &StreamPlan, horizon: &Horizon) -> Option<DateTime<Utc>> {
        match horizon.since {
            // A run that starts at its cursor has read everything before it earlier.
            Some(_) => None,
            None => planned_start(&stream.slices, self.options.now),
        }
    }

    /// Waits for the writer and publishes, unless something speaks against it.
    async fn publish(
        &self,
        stream: &StreamPlan,
        writing: Writing,
        before: Before,
        mut read: Read,
        report: &mut StreamReport,
    ) -> Result<StreamStatus, Error> {
        let Written { staged, quarantine, partitioning } =
            writing.await.map_err(|err| Error::Internal(format!("the writer stopped: {err}")))?;
        report.seconds.partitioning = partitioning.as_secs_f64();
        if let Some(Error::Interrupted) = before.fatal {
            // The run that goes on from here has the same rejects.
            return Err(Error::Interrupted);
        }
        let quarantine = match self.options.purpose {
            Purpose::Publish => quarantine.publish().map_err(Error::Write)?,
            Purpose::Rehearse => None,
        };
        let has_rejects = quarantine.is_some();
        let quarantine = quarantine.map(|it| self.plan.destination.path.join(&it));
        report.quarantine = quarantine.as_ref().map(|it| it.display().to_string());
        let staged = staged.map_err(Error::Write)?;

        let Before { rows: rows_before, state, fatal, settling } = before;
        if let Some(err) = fatal {
            return Err(err);
        }
        let Some((staged, took)) = staged else {
            return Err(Error::Internal("the writer stopped before the stream's end".into()));
        };
        report.seconds.encoding = took.as_secs_f64();
        note_changes(report, stream, &staged);
        let limit = stream.max_rejected.limit(report.records);
        if report.rejected > limit {
            return Err(Error::TooManyRejected {
                pipeline: self.plan.pipeline.clone(),
                stream: stream.name.clone(),
                rejected: report.rejected,
                records: report.records,
                limit,
                quarantine,
                first: read.tally.first_reject.unwrap_or_default(),
            });
        }
        self.guard(stream, &staged, rows_before)?;
        self.expect(stream, &staged, rows_before, &read)?;
        // Nothing may get lost between the pages and the files.
        let accounted = staged.duplicates
            + staged.superseded
            + staged.added
            + staged.updated
            + staged.unchanged
            + staged.outdated;
        if accounted != report.rows_read {
            let message = format!(
                "stream `{}`: {} rows were read, but {accounted} are accounted for",
                stream.name, report.rows_read
            );
            return Err(Error::Internal(message));
        }

        let is_whole = read.covers_all && read.nothing_missing();
        let progress = std::mem::take(&mut read.progress);
        let mut new =
            state::advance(state.as_ref(), progress, self.options.extent(), self.options.now);
        if self.options.purpose == Purpose::Rehearse {
            note_outcome(report, staged.outcome().map_err(Error::Write)?);
            report.cursor = new.cursor;
            return Ok(StreamStatus::Planned);
        }
        new.selection = Some(stream.selection());
        if is_whole {
            new.read_whole_by = Some(self.options.run.clone());
        }
        let cursor = new.cursor;
        let stored = new
            .to_stored()
            .map_err(|source| Error::State { stream: stream.name.clone(), source })?;
        let mut again = std::mem::take(&mut read.slices.again);
        again.is_whole = is_whole;
        let quarantine = self.destination.requarantine(&stream.name);
        let run = self.options.run.clone();
        let started = Instant::now();
        let publish = move || {
            let staged = match settling {
                Some(settling) if has_rejects || settling.has_news(&again) => {
                    settling.settle(staged, quarantine, run, &again)
                }
                Some(_) | None => staged,
            };
            staged.publish(&stored)
        };
        let published = tokio::task::spawn_blocking(publish)
            .await
            .map_err(|err| Error::Internal(format!("publishing stopped: {err}")))?
            .map_err(Error::Write)?;
        self.destination.forget(&stream.name).map_err(Error::Write)?;
        report.seconds.publishing = started.elapsed().as_secs_f64();
        let Published { rows, changed, files, bytes, removed_files, .. } = &published;
        let changed_partitions = changed.len();
        info!(rows, changed_partitions, files, bytes, removed_files, "published");
        note_outcome(report, published);
        report.cursor = cursor;
        Ok(StreamStatus::Published)
    }

    /// Stops what looks like a mistake of the source or of the pipeline.
    fn guard(
        &self,
        stream: &StreamPlan,
        staged: &StagedStream,
        rows_before: u64,
    ) -> Result<(), Error> {
        let StagedStream { stood, living, .. } = staged;
        let removed = removed(stream, staged);
        if self.options.extent() == state::Extent::Part
            && matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::All, .. })
            && rows_before > 0
            && planned_start(&stream.slices, self.options.now).is_some()
        {
            return Err(Error::PartWouldReplace { stream: stream.name.clone(), rows: rows_before });
        }
        if *living == 0 && rows_before > 0 && !stream.guard.may_be_empty {
            return Err(Error::WouldBeEmpty { stream: stream.name.clone(), rows: rows_before });
        }
        if !stream.guard.allows(removed, *stood) {
            return Err(Error::TooManyDeletes {
                stream: stream.name.clone(),
                removed,
                stood: *stood,
                allowed: stream.guard.max_delete_ratio,
            });
        }
        Ok(())
    }

    /// Stops what is not as the pipeline expects.
    fn expect(
        &self,
        stream: &StreamPlan,
        staged: &StagedStream,
        rows_before: u64,
        read: &Read,
    ) -> Result<(), Error> {
        let found = Found {
            rows_before,
            rows: staged.living,
            rows_read: staged.read,
            nulls: read.tally.nulls.clone(),
            days: match stream.partition.unit {
                PartitionUnit::Day => staged.rows_by_day(),
                PartitionUnit::Hour | PartitionUnit::Month | PartitionUnit::Year => BTreeMap::new(),
            },
            today: self.options.now.with_timezone(&stream.partition.zone).date_naive(),
            is_complete: read.reading == Reading::Complete,
            is_part: self.options.extent() == state::Extent::Part,
        };
        let unmet = expect::unmet(&stream.expect, &found);
        if unmet.is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected { stream: stream.name.clone(), unmet })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'a Name, Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a stream becomes exactly what one run reads.
fn is_snapshot(stream: &StreamPlan) -> bool {
    matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::All, .. })
}

/// What went wrong with the slices, if anything.
fn failure(stream: &StreamPlan, read: &mut Read, exhausted: Option<&Exhausted>) -> Option<Failure> {
    if read.reading == Reading::Interrupted {
        return Some(Failure::Nothing(Error::Interrupted));
    }
    let parent = stream.slices.parent().map(|it| &it.stream);
    let counts = read.slices.counts;
    let is_snapshot = is_snapshot(stream);
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
enum Failure {
    /// Nothing is published.
    Nothing(Error),
    /// The rest is published.
    Partial(Error),
}

/// What a stream had before, and what speaks against publishing it.
struct Before {
    rows: u64,
    state: Option<StreamState>,
    fatal: Option<Error>,
    settling: Option<Arc<Settling>>,
}

/// Which rows that stand become exactly what was read.
fn scopes(stream: &StreamPlan, read: &mut Read) -> ReadScopes {
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
