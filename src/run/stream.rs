//! One stream of a run: read its slices, merge what came, publish it with its new state.

mod decide;
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
    extract::{Extractor, Horizon, asked_start, planned_start},
    load::{Destination, Published, Purpose, StagedStream},
    plan::{Name, PartitionUnit, Plan, StreamPlan},
    state::{self, StreamState},
};
use decide::{Change, Failure, Read, Reading, failure, guard, reading, scopes};
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
    /// How many files its commit would remove or replace of which no manifest tells.
    pub(super) unknown_files: usize,
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

impl<'a> Run<'a> {
    pub(super) async fn stream(&self, job: Job<'a>) -> StreamReport {
        let span = info_span!("stream", stream = %job.stream.name);
        self.read_and_publish(job).instrument(span).await
    }

    async fn read_and_publish(&self, job: Job<'a>) -> StreamReport {
        let started = Instant::now();
        let Job {
            stream,
            progress,
            mut shared,
            parents,
            writing,
            horizon,
            state,
            rows_before,
            unknown_files,
        } = job;
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
        let failure = failure(stream, &mut read, unknown_files, self.extractor.exhausted());
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
                let before = Before { rows: rows_before, unknown_files, state, fatal, settling };
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
        let reading = reading(stream, &slices, parent.as_ref().map(|it| it.reading));
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

        let Before { rows: rows_before, unknown_files, state, fatal, settling } = before;
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
        let change = Change {
            rows_before,
            unknown_files,
            living: staged.living,
            stood: staged.stood,
            removed: removed(stream, &staged),
            is_part: self.options.extent() == state::Extent::Part,
        };
        guard(stream, change, self.options.now)?;
        self.expect(stream, &staged, rows_before, &read)?;
        account_for(stream, &staged, report.rows_read)?;

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

/// Nothing may get lost between the pages and the files.
fn account_for(stream: &StreamPlan, staged: &StagedStream, rows_read: u64) -> Result<(), Error> {
    let accounted = staged.duplicates
        + staged.superseded
        + staged.added
        + staged.updated
        + staged.unchanged
        + staged.outdated;
    if accounted == rows_read {
        return Ok(());
    }
    Err(Error::Internal(format!(
        "stream `{}`: {rows_read} rows were read, but {accounted} are accounted for",
        stream.name
    )))
}

/// What a stream had before, and what speaks against publishing it.
struct Before {
    rows: u64,
    unknown_files: usize,
    state: Option<StreamState>,
    fatal: Option<Error>,
    settling: Option<Arc<Settling>>,
}
