//! One run of one pipeline: the only module that knows more than one stage.
//!
//! ```text
//!  slices --> extract --> pages --> transform (rayon) --> batches --> load (one thread a stream)
//!                                        |                               sort, encode, stage
//!                                        +--> parents --> slices of child streams
//!
//!  every slice read, few enough rejects  --> publish, stream by stream
//! ```
//!
//! A stream with a slice that could not be read publishes nothing, and neither do its children;
//! the other streams go on. What was there before stays as it was.

mod progress;
mod reader;
mod report;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tracing::{Instrument as _, info, info_span, warn};

pub use progress::{Progress, StreamProgress};
pub use report::{RunReport, SliceReport, StreamReport, StreamStatus, TimeReport};

use crate::{
    error::Error,
    extract::{ExtractError, Extractor, Horizon, ParentValues, Slice, SliceEnd, Verdict, slices},
    load::{
        Destination, Published, QuarantineWriter, ReadScopes, RejectedRecord, Rewrite,
        StagedStream, StreamWriter, WriteError,
    },
    plan::{Name, Plan, SlicesPlan, StreamPlan, WindowStart},
    transform::Decoder,
};
use reader::{ChildFeed, Queued, Shared, SliceReader, Tally, WriterQueue};

/// What a run is asked for beside its plan.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Identifies the run.
    pub run: String,
    /// The run's clock.
    pub now: DateTime<Utc>,
    /// The streams to publish; empty for all. Their parents are read, too.
    pub streams: Vec<Name>,
    /// Where windows start instead of where the pipeline says.
    pub since: Option<WindowStart>,
    /// Where windows end instead of at the clock.
    pub until: Option<WindowStart>,
    /// Bytes of rows that the writers keep in memory, all together.
    pub memory_bytes: usize,
}

/// Errors and lost parents that a report names; the rest is counted.
const NAMED: usize = 100;

/// The streams that a run reads, in order, and whether each is published.
pub fn selected<'a>(plan: &'a Plan, wanted: &[Name]) -> Vec<(&'a StreamPlan, Publish)> {
    let mut needed: Vec<&Name> = wanted.iter().collect();
    // Parents stand before their children, so one pass from the end finds all ancestors.
    for stream in plan.streams.iter().rev() {
        if needed.contains(&&stream.name) {
            needed.extend(stream.slices.parent().map(|it| &it.stream));
        }
    }
    let is_wanted = |name: &Name| wanted.is_empty() || wanted.contains(name);
    let publish = |name: &Name| if is_wanted(name) { Publish::Yes } else { Publish::ReadOnly };
    plan.streams
        .iter()
        .filter(|it| wanted.is_empty() || needed.contains(&&it.name))
        .map(|it| (it, publish(&it.name)))
        .collect()
}

/// Whether a stream is written, or only read for its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// It is written.
    Yes,
    /// It is read for its children only.
    ReadOnly,
}

/// Runs a pipeline until it is done or `shutdown` comes.
///
/// # Errors
///
/// Only what keeps the whole run from starting, and an interruption. What fails for one stream is
/// in its report.
pub async fn run(
    plan: &Plan,
    options: &RunOptions,
    progress: &Progress,
    shutdown: impl Future<Output = ()>,
) -> Result<RunReport, Error> {
    let span = info_span!("run", id = %options.run, pipeline = %plan.pipeline);
    let work = async {
        let started = Instant::now();
        let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
        let destination = Destination::open(&plan.destination, &plan.pipeline, &options.run)
            .map_err(Error::Write)?;
        let chosen = selected(plan, &options.streams);
        let jobs = jobs(plan, options, &chosen, progress, &destination)?;

        let run = Run { plan, options, extractor: &extractor, outcomes: Mutex::default() };
        let all = futures::future::join_all(jobs.into_iter().map(|job| run.stream(job)));
        tokio::pin!(shutdown);
        let streams = tokio::select! {
            streams = all => streams,
            () = &mut shutdown => {
                extractor.stop();
                return Err(Error::Interrupted);
            }
        };
        let report = RunReport {
            pipeline: plan.pipeline.to_string(),
            run: options.run.clone(),
            started_at: options.now,
            seconds: started.elapsed().as_secs_f64(),
            exit_code: RunReport::exit_code(&streams),
            streams,
        };
        let json = serde_json::to_string_pretty(&report)
            .map_err(|err| Error::Internal(err.to_string()))?;
        destination.keep_report(&json).map_err(Error::Write)?;
        Ok(report)
    };
    work.instrument(span).await
}

/// One stream of a run, set up.
struct Job<'a> {
    stream: &'a StreamPlan,
    progress: &'a StreamProgress,
    shared: Shared,
    parents: Option<mpsc::UnboundedReceiver<ParentValues>>,
    writing: Option<Writing>,
    rows_before: Option<u64>,
}

/// The thread that writes a stream.
type Writing = tokio::task::JoinHandle<Written>;

/// What that thread leaves.
struct Written {
    /// Nothing where the stream was not read to its end.
    staged: Result<Option<(StagedStream, Duration)>, WriteError>,
    quarantine: QuarantineWriter,
}

fn jobs<'a>(
    plan: &'a Plan,
    options: &RunOptions,
    chosen: &[(&'a StreamPlan, Publish)],
    progress: &'a Progress,
    destination: &Destination,
) -> Result<Vec<Job<'a>>, Error> {
    let written = chosen.iter().filter(|(_, it)| *it == Publish::Yes).count().max(1);
    let mut feeds: HashMap<&Name, Vec<ChildFeed>> = HashMap::new();
    let mut receivers: HashMap<&Name, mpsc::UnboundedReceiver<ParentValues>> = HashMap::new();
    for (stream, _) in chosen {
        if let Some(parent) = stream.slices.parent() {
            let (feed, receiver) = ChildFeed::new(parent.bind.clone());
            feeds.entry(&parent.stream).or_default().push(feed);
            receivers.insert(&stream.name, receiver);
        }
    }
    let mut jobs = Vec::new();
    for ((stream, publish), progress) in chosen.iter().zip(&progress.streams) {
        let (writer, writing) = match publish {
            Publish::ReadOnly => (None, None),
            Publish::Yes => {
                let memory = options.memory_bytes / written;
                let writer = destination.stream(stream, memory).map_err(Error::Write)?;
                let quarantine = destination.quarantine(&stream.name);
                let (queue, receiver) = WriterQueue::new();
                let writing =
                    tokio::task::spawn_blocking(move || write(writer, quarantine, receiver));
                (Some(queue), Some(writing))
            }
        };
        let decoder = Arc::new(Decoder::new(stream));
        let children = feeds.remove(&stream.name).unwrap_or_default();
        let has_key = !stream.key().is_empty();
        jobs.push(Job {
            stream,
            progress,
            shared: Shared { decoder, writer, children, tally: Mutex::default(), has_key },
            parents: receivers.remove(&stream.name),
            writing,
            rows_before: destination.rows(&stream.name).map_err(Error::Write)?,
        });
    }
    debug_assert_eq!(jobs.len(), chosen.len(), "{}", plan.pipeline);
    Ok(jobs)
}

/// Takes rows and rejects until the stream has no more, then sorts, encodes and stages them.
fn write(
    writer: StreamWriter,
    mut quarantine: QuarantineWriter,
    queue: mpsc::UnboundedReceiver<Queued>,
) -> Written {
    let staged = stage(writer, &mut quarantine, queue);
    Written { staged, quarantine }
}

fn stage(
    mut writer: StreamWriter,
    quarantine: &mut QuarantineWriter,
    mut queue: mpsc::UnboundedReceiver<Queued>,
) -> Result<Option<(StagedStream, Duration)>, WriteError> {
    while let Some(queued) = queue.blocking_recv() {
        let Queued::Page { batch, rejects, room } = queued else {
            let started = Instant::now();
            return Ok(Some((
                writer.finish(&ReadScopes::AllBut(Vec::new()), Rewrite::Changed)?,
                started.elapsed(),
            )));
        };
        for it in &rejects {
            quarantine.write(RejectedRecord {
                slice: &it.slice,
                page: it.page,
                position: it.reject.position,
                column: it.reject.column.as_deref(),
                reason: &it.reject.reason,
                raw: &it.reject.raw,
            })?;
        }
        writer.write(batch)?;
        drop(room);
    }
    Ok(None)
}

/// What the streams of a run share.
struct Run<'a> {
    plan: &'a Plan,
    options: &'a RunOptions,
    extractor: &'a Extractor,
    /// How the streams ended that have ended, for their children.
    outcomes: Mutex<HashMap<&'a Name, StreamEnd>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamEnd {
    Complete,
    Incomplete,
}

/// How the slices of a stream ended.
#[derive(Debug, Default)]
struct SliceTally {
    counts: SliceReport,
    gone: Vec<String>,
    errors: Vec<String>,
    first_error: Option<(String, ExtractError)>,
}

impl<'a> Run<'a> {
    async fn stream(&self, job: Job<'a>) -> StreamReport {
        let name = &job.stream.name;
        let span = info_span!("stream", %name);
        self.stream_inner(job).instrument(span).await
    }

    async fn stream_inner(&self, job: Job<'a>) -> StreamReport {
        let started = Instant::now();
        let Job { stream, progress, mut shared, parents, writing, rows_before } = job;
        info!("reading");
        let tally = self.slices(stream, &shared, progress, parents).await;

        let end = if tally.counts.failed > 0 { StreamEnd::Incomplete } else { StreamEnd::Complete };
        let parent = stream.slices.parent().map(|it| &it.stream);
        let parent_end = parent.and_then(|it| self.lock().get(it).copied());
        let incomplete_parent = parent.filter(|_| parent_end != Some(StreamEnd::Complete));
        let own_end = if incomplete_parent.is_some() { StreamEnd::Incomplete } else { end };
        self.lock().insert(&stream.name, own_end);
        // The child streams must see the end only now, when they can find out how it came.
        shared.children.clear();
        let Tally { notices, first_reject } =
            std::mem::take(&mut *shared.tally.lock().unwrap_or_else(PoisonError::into_inner));

        let mut report = report(stream, progress, &tally);
        report.gaps = notices.gaps;
        report.folds = notices.folds;
        report.duplicate_keys = notices.duplicate_keys;
        report.dropped = notices.dropped_empty;
        let slices_error = tally.first_error.map(|(slice, source)| Error::Slices {
            stream: stream.name.clone(),
            failed: tally.counts.failed,
            slices: tally.counts.total,
            slice,
            source: Box::new(source),
        });
        let parent_error = incomplete_parent
            .map(|parent| Error::Parent { stream: stream.name.clone(), parent: parent.clone() });
        let unread = slices_error.or(parent_error);

        // Dropped without its end, the queue makes the writer give up.
        if let Some(queue) = shared.writer.take().filter(|_| unread.is_none()) {
            queue.end();
        }

        let result = match writing {
            Some(writing) => {
                let before = Before { rows: rows_before, unread, first_reject };
                self.finish(stream, writing, before, &mut report).await
            }
            None => unread.map_or(Ok(StreamStatus::Read), Err),
        };
        report.seconds.total = started.elapsed().as_secs_f64();
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

    /// Reads every slice, a few at a time, until there are no more parents.
    async fn slices(
        &self,
        stream: &StreamPlan,
        shared: &Shared,
        progress: &StreamProgress,
        mut parents: Option<mpsc::UnboundedReceiver<ParentValues>>,
    ) -> SliceTally {
        let horizon =
            Horizon { now: self.options.now, since: self.options.since, until: self.options.until };
        let at_once = self.plan.source.limits.max_in_flight.max(1);
        let mut waiting: VecDeque<Slice> = VecDeque::new();
        if parents.is_none() {
            waiting.extend(slices(&stream.slices, &horizon, &ParentValues::new()));
            progress.slices.fetch_add(waiting.len() as u64, Relaxed);
        }
        let mut batcher = Batcher::new(&stream.slices);
        let mut active = FuturesUnordered::new();
        let mut tally = SliceTally::default();
        loop {
            while active.len() < at_once {
                let Some(slice) = waiting.pop_front() else { break };
                let span = info_span!("slice", id = %slice.id);
                active.push(self.slice(stream, shared, progress, slice).instrument(span));
            }
            if active.is_empty() && parents.is_none() {
                break;
            }
            let next_parent = async {
                match parents.as_mut() {
                    Some(receiver) => receiver.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((slice, end)) = active.next() => {
                    if let Some(halves) = note(&mut tally, progress, slice, end, self.extractor) {
                        waiting.extend(halves);
                    }
                }
                parent = next_parent, if waiting.len() < at_once => {
                    let ready = if let Some(parent) = parent {
                        batcher.add(parent)
                    } else {
                        parents = None;
                        batcher.rest()
                    };
                    if let Some(parent) = ready {
                        let slices = slices(&stream.slices, &horizon, &parent);
                        progress.slices.fetch_add(slices.len() as u64, Relaxed);
                        waiting.extend(slices);
                    }
                }
            }
        }
        tally.counts.total = progress.slices.load(Relaxed);
        tally
    }

    async fn slice(
        &self,
        stream: &StreamPlan,
        shared: &Shared,
        progress: &StreamProgress,
        slice: Slice,
    ) -> (Slice, SliceEnd) {
        let reader = SliceReader::new(stream, shared, progress);
        let end = self.extractor.read(stream, &slice, &reader, &progress.source).await;
        if matches!(end, SliceEnd::Read { .. }) && reader.complete().await.is_err() {
            return (slice, SliceEnd::Failed(ExtractError::Stopped));
        }
        (slice, end)
    }

    /// Waits for the writer and publishes, unless something speaks against it.
    async fn finish(
        &self,
        stream: &StreamPlan,
        writing: Writing,
        before: Before,
        report: &mut StreamReport,
    ) -> Result<StreamStatus, Error> {
        let Written { staged, quarantine } =
            writing.await.map_err(|err| Error::Internal(format!("the writer stopped: {err}")))?;
        // What was rejected is kept also where the stream is not published: it says why.
        let quarantine = quarantine.publish().map_err(Error::Write)?;
        let quarantine = quarantine.map(|it| self.plan.destination.path.join(it));
        report.quarantine = quarantine.as_ref().map(|it| it.display().to_string());
        let staged = staged.map_err(Error::Write)?;

        let Before { rows, unread, first_reject } = before;
        if let Some(err) = unread {
            return Err(err);
        }
        let Some((staged, took)) = staged else {
            return Err(Error::Internal("the writer stopped before the stream's end".into()));
        };
        report.seconds.staging = took.as_secs_f64();
        report.duplicates = staged.duplicates;
        report.superseded = staged.superseded;
        let limit = stream.max_rejected.limit(report.records);
        if report.rejected > limit {
            return Err(Error::TooManyRejected {
                pipeline: self.plan.pipeline.clone(),
                stream: stream.name.clone(),
                rejected: report.rejected,
                records: report.records,
                limit,
                quarantine,
                first: first_reject.unwrap_or_default(),
            });
        }
        let is_part = self.options.since.is_some() || self.options.until.is_some();
        if let Some(rows) = rows.filter(|it| is_part && *it > 0) {
            return Err(Error::PartWouldReplace { stream: stream.name.clone(), rows });
        }
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

        let started = Instant::now();
        let published =
            tokio::task::spawn_blocking(move || staged.publish(&serde_json::Value::Null))
                .await
                .map_err(|err| Error::Internal(format!("publishing stopped: {err}")))?
                .map_err(Error::Write)?;
        report.seconds.publishing = started.elapsed().as_secs_f64();
        let Published { rows, partitions, files, bytes, removed_files, .. } = published;
        info!(rows, partitions, files, bytes, removed_files, "published");
        report.rows = rows;
        report.partitions = partitions;
        report.files = files;
        report.bytes_written = bytes;
        report.removed_files = removed_files;
        Ok(StreamStatus::Published)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'a Name, StreamEnd>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report of a stream that is not published yet.
fn report(stream: &StreamPlan, progress: &StreamProgress, tally: &SliceTally) -> StreamReport {
    let count = |it: &AtomicU64| it.load(Relaxed);
    let seconds = |it: &AtomicU64| Duration::from_micros(it.load(Relaxed)).as_secs_f64();
    StreamReport {
        stream: stream.name.to_string(),
        status: StreamStatus::Failed,
        slices: tally.counts,
        requests: count(&progress.source.requests),
        retries: count(&progress.source.retries),
        bytes_read: count(&progress.source.bytes),
        pages: count(&progress.pages),
        records: count(&progress.records),
        dropped: 0,
        rejected: count(&progress.rejected),
        rows_read: count(&progress.rows),
        duplicates: 0,
        superseded: 0,
        rows: 0,
        partitions: 0,
        files: 0,
        bytes_written: 0,
        removed_files: 0,
        gaps: 0,
        folds: 0,
        duplicate_keys: 0,
        seconds: TimeReport {
            waiting_for_turn: seconds(&progress.source.turn_micros),
            waiting_to_retry: seconds(&progress.source.retry_micros),
            ..TimeReport::default()
        },
        quarantine: None,
        gone: tally.gone.clone(),
        errors: tally.errors.clone(),
        error: None,
    }
}

/// What speaks against publishing a stream.
struct Before {
    /// Rows of the dataset as it stands.
    rows: Option<u64>,
    /// Why it was not read to its end.
    unread: Option<Error>,
    /// The first reject's reason.
    first_reject: Option<String>,
}

/// Counts the end of a slice; gives its halves where it has to be read in parts.
fn note(
    tally: &mut SliceTally,
    progress: &StreamProgress,
    slice: Slice,
    end: SliceEnd,
    extractor: &Extractor,
) -> Option<[Slice; 2]> {
    let counts = &mut tally.counts;
    match end {
        SliceEnd::Read { verdict, .. } => match verdict {
            Verdict::Complete => counts.complete += 1,
            Verdict::Unreconciled => counts.unreconciled += 1,
            // `Extractor::read` settles these itself.
            Verdict::Short { .. } => counts.failed += 1,
        },
        SliceEnd::Gone => {
            counts.gone += 1;
            warn!(slice = %slice.id, "access is lost");
            if tally.gone.len() < NAMED {
                tally.gone.push(slice.id);
            }
        }
        SliceEnd::Skipped => counts.skipped += 1,
        SliceEnd::Split(halves) => {
            counts.split += 1;
            // Two come, one goes.
            progress.slices.fetch_add(1, Relaxed);
            return Some(*halves);
        }
        SliceEnd::Failed(err) => {
            counts.failed += 1;
            if err.holds_for_all() {
                // The other slices would fail in the same way, one after the other.
                extractor.stop();
            }
            let is_cause = !matches!(err, ExtractError::Stopped);
            if is_cause && tally.errors.len() < NAMED {
                tally.errors.push(format!("{}: {}", slice.id, chain(&err)));
            }
            // A slice that was stopped is the consequence of another one's error.
            let stopped_only = matches!(tally.first_error, Some((_, ExtractError::Stopped)));
            if tally.first_error.is_none() || (stopped_only && is_cause) {
                tally.first_error = Some((slice.id, err));
            }
        }
    }
    progress.slices_done.fetch_add(1, Relaxed);
    None
}

/// Puts parents together where a slice takes a batch of them.
struct Batcher {
    size: Option<usize>,
    waiting: Vec<ParentValues>,
}

impl Batcher {
    fn new(plan: &SlicesPlan) -> Self {
        Self { size: plan.parent().and_then(|it| it.batch), waiting: Vec::new() }
    }

    fn add(&mut self, parent: ParentValues) -> Option<ParentValues> {
        let Some(size) = self.size else { return Some(parent) };
        self.waiting.push(parent);
        if self.waiting.len() < size { None } else { self.rest() }
    }

    /// The parents so far as one, each value a list.
    fn rest(&mut self) -> Option<ParentValues> {
        let batch = std::mem::take(&mut self.waiting);
        let names: Vec<String> = batch.first()?.keys().cloned().collect();
        let list = |name: &String| batch.iter().filter_map(|it| it.get(name).cloned()).collect();
        Some(
            names
                .into_iter()
                .map(|name| {
                    let values = list(&name);
                    (name, values)
                })
                .collect(),
        )
    }
}

/// An error with its causes on one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
