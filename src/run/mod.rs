//! One run of one pipeline: the only module that knows more than one stage.
//!
//! ```text
//!  state  --> where windows start, parents to ask again
//!  slices --> extract --> pages --> transform (rayon) --> batches --> load (one thread a stream)
//!                                        |                               sort, merge, stage
//!                                        +--> parents --> slices of child streams
//!
//!  few enough rejects and deletes  --> publish data and state, stream by stream, parents first
//! ```
//!
//! A slice that could not be read is remembered in the state and read again by the next run; the
//! rest of its stream is published. A stream of which nothing could be read publishes nothing, and
//! neither do its children. What was there before stays as it was.

mod bound;
mod expect;
mod feed;
mod forecast;
mod listing;
mod part;
mod progress;
mod pull;
mod reader;
mod rejects;
mod replay;
mod report;
mod settle;
mod slices;
mod stream;
mod timeline;
mod write;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span, info_span, warn};

pub use bound::Bound;
pub use forecast::{Forecast, GoesOn, StreamForecast, forecast};
pub use listing::{Listing, identity, list};
pub use part::{Unbounded, unbounded};
pub use progress::{Progress, StreamProgress};
pub use pull::{Pull, PullOptions, PullReport, PulledPage, PulledPages, pull, pulled};
pub use replay::{ReplayOptions, ReplayReport, Staying, StreamReplay, check_quarantined, replay};
pub use report::{
    LatencyReport, RejectCount, RunReport, SliceReport, StreamReport, StreamStatus, TimeReport,
};
pub use timeline::{SliceOutcome, SliceTime, Step, Timeline};

use crate::{
    error::{Error, chain},
    extract::{Extractor, Horizon, planned_start, reread},
    load::{Destination, Purpose, ResumeHeader, Rewrite, StreamWriter, Unapplied, UnknownFiles},
    plan::{DestinationPath, Name, Plan, ReplaceScope, StreamPlan, WindowStart, WriteMode},
    state::{self, Start, StartRule, StreamState},
    transform::Decoder,
};
use feed::{ChildFeed, Parents};
use reader::{Shared, WriterQueue};
use settle::Settling;
use stream::{Job, Run};

/// What a run is asked for beside its plan.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Identifies the run.
    pub run: String,
    /// The run's clock.
    pub now: DateTime<Utc>,
    /// The streams to publish; empty for all. Their parents are read, too.
    pub streams: Vec<Name>,
    /// Where windows start instead of where the state says.
    pub since: Option<WindowStart>,
    /// Where windows end instead of at the clock.
    pub until: Option<WindowStart>,
    /// Whether everything is read, or what may have changed.
    pub refresh: Refresh,
    /// Whether files that need no change are written anew.
    pub rewrite: Rewrite,
    /// Bytes of memory for rows, of all streams together.
    pub memory_bytes: usize,
    /// Whether anything is published.
    pub purpose: Purpose,
}

impl RunOptions {
    /// A run of everything that may have changed up to `now`.
    pub fn new(run: impl Into<String>, now: DateTime<Utc>) -> Self {
        Self {
            run: run.into(),
            now,
            streams: Vec::new(),
            since: None,
            until: None,
            refresh: Refresh::Incremental,
            rewrite: Rewrite::Changed,
            memory_bytes: 128 << 20,
            purpose: Purpose::Publish,
        }
    }

    /// Whether the run reads up to its clock.
    fn extent(&self) -> state::Extent {
        if self.since.is_some() || self.until.is_some() {
            state::Extent::Part
        } else {
            state::Extent::ToNow
        }
    }

    /// What becomes of files that no manifest tells of: only a run that reads everything may replace them.
    fn unknown_files(&self) -> UnknownFiles {
        match (self.refresh, self.extent()) {
            (Refresh::Full, state::Extent::ToNow) => UnknownFiles::Replaced,
            (Refresh::Full, state::Extent::Part) | (Refresh::Incremental, _) => {
                UnknownFiles::Refused
            }
        }
    }
}

/// Whether everything is read, or what may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// From the cursors of the last run on.
    Incremental,
    /// Everything: what the source no longer has goes, under the guard against mass deletion.
    Full,
}

/// Whether a stream is written, or only read for its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// It is written.
    Yes,
    /// It is read for its children only.
    ReadOnly,
}

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

/// Runs a pipeline until it is done or `shutdown` comes: then slices under way may end, and what was
/// read whole is kept for the next run. Dropped, it stops at once.
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
    let span = info_span!("run", run = %options.run, pipeline = %plan.pipeline);
    let work = async {
        let started = Instant::now();
        let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
        let RunOptions { purpose, .. } = options;
        tokio::pin!(shutdown);
        let destination = tokio::select! {
            destination = open(plan, options) => destination?,
            () = &mut shutdown => return Err(Error::Interrupted),
        };
        for Unapplied { stream, run } in destination.finished() {
            warn!(stream, "the commit of run {run} was finished first");
        }
        let header = ResumeHeader::new(fingerprint(plan, options), options.now);
        let header = destination.begin(header, RESUME_MAX_AGE).map_err(Error::Write)?;
        // A run that goes on has the windows of the run that began.
        let options = &RunOptions { now: header.now, ..options.clone() };
        let chosen = selected(plan, &options.streams);
        let jobs = jobs(options, &chosen, progress, &destination)?;

        let run = Run {
            plan,
            options,
            extractor: &extractor,
            destination: &destination,
            outcomes: Mutex::default(),
        };
        let all = futures::future::join_all(jobs.into_iter().map(|job| run.stream(job)));
        tokio::pin!(all);
        let streams = tokio::select! {
            streams = &mut all => streams,
            () = &mut shutdown => {
                warn!("stopping when the requests under way are answered; once more to stop at once");
                extractor.drain();
                tokio::time::timeout(GRACE, all).await.map_err(|_| Error::Interrupted)?
            }
        };
        if streams.iter().any(|it| matches!(it.error, Some(Error::Interrupted))) {
            return Err(Error::Interrupted);
        }
        let mut report = RunReport {
            pipeline: plan.pipeline.to_string(),
            run: options.run.clone(),
            started_at: options.now,
            seconds: started.elapsed().as_secs_f64(),
            finished_commits: destination.finished().to_vec(),
            bounded_by: bound::of_run(streams.iter().map(|it| (it.seconds.total, it.bounded_by))),
            exit_code: RunReport::exit_code(&streams),
            streams,
            error: None,
        };
        // What was published is told also where it cannot be written down.
        if *purpose == Purpose::Publish
            && let Err(err) = keep(&destination, &report)
        {
            report.exit_code = err.exit_code();
            report.error = Some(err);
        }
        Ok(report)
    };
    work.instrument(span).await
}

/// Opens the destination. In a bucket this may take as long as the lease of a run that died: it goes on by
/// itself, so that it need not be waited for.
async fn open(plan: &Plan, options: &RunOptions) -> Result<Destination, Error> {
    let RunOptions { run, now, purpose, .. } = options;
    let (to, pipeline) = (plan.destination.clone(), plan.pipeline.clone());
    if let DestinationPath::Directory(_) = to.path {
        return Destination::open(&to, &pipeline, run, *now, *purpose).map_err(Error::Write);
    }
    let (run, now, purpose, span) = (run.clone(), *now, *purpose, Span::current());
    let (send, opened) = oneshot::channel();
    std::thread::spawn(move || {
        let opened = span.in_scope(|| Destination::open(&to, &pipeline, &run, now, purpose));
        // Where nobody waits any more, it is let go of again.
        let _ = send.send(opened);
    });
    let opened = opened.await;
    opened
        .map_err(|_| Error::Internal("the destination was given up".into()))?
        .map_err(Error::Write)
}

/// Leaves what a run leaves beside its data: its report, and no slices that nobody needs any more.
fn keep(destination: &Destination, report: &RunReport) -> Result<(), Error> {
    // What could not be written, or was left for the next run, is not fetched again; everything
    // else is settled.
    let is_open = |it: &StreamReport| {
        it.status == StreamStatus::Failed
            && matches!(
                it.error,
                Some(Error::Write(_) | Error::Budget { .. } | Error::Parent { left: true, .. })
            )
    };
    if !report.streams.iter().any(is_open) {
        destination.forget_all().map_err(Error::Write)?;
    }
    let json =
        serde_json::to_string_pretty(report).map_err(|err| Error::Internal(err.to_string()))?;
    destination.keep_report(&json).map_err(Error::Write)
}

/// The part of the memory that rows may take until they go to temporary files. The rest is for what
/// is fetched and decoded meanwhile, and for what is merged and encoded afterwards.
const ROWS: usize = 3;
/// The part of it that decoded rows may take that wait for their writer.
const QUEUE: usize = 16;

/// How long slices under way may take to end once the user stops the run.
const GRACE: Duration = Duration::from_secs(5);

/// By how much clocks of two hosts differ without a reason to look at them.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// How old the slices of an unfinished run may be to be gone on from: what has changed since is
/// found by the next run, but not much later than a night.
pub const RESUME_MAX_AGE: TimeDelta = TimeDelta::hours(12);

/// Tells runs that read the same from others.
fn fingerprint(plan: &Plan, options: &RunOptions) -> String {
    let RunOptions {
        run: _,
        now: _,
        streams,
        since,
        until,
        refresh,
        rewrite: _,
        memory_bytes: _,
        purpose: _,
    } = options;
    let mut hasher = DefaultHasher::new();
    // Another version may read the same bytes otherwise.
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    plan.fingerprint.hash(&mut hasher);
    format!("{streams:?} {since:?} {until:?} {refresh:?}").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Sets the streams up: nothing is fetched before all of them can be written.
fn jobs<'a>(
    options: &RunOptions,
    chosen: &[(&'a StreamPlan, Publish)],
    progress: &'a Progress,
    destination: &Destination,
) -> Result<Vec<Job<'a>>, Error> {
    let written = chosen.iter().filter(|(_, it)| *it == Publish::Yes).count().max(1);
    let mut states = HashMap::new();
    let mut unknown_files = HashMap::new();
    for (stream, publish) in chosen {
        if *publish == Publish::Yes {
            let unknown =
                destination.check(stream, options.unknown_files()).map_err(Error::Write)?;
            unknown_files.insert(&stream.name, unknown);
        }
        let stored = destination.state(&stream.name).map_err(Error::Write)?;
        let state = StreamState::from_stored(stored.unwrap_or_default())
            .map_err(|source| Error::State { stream: stream.name.clone(), source })?;
        check_selection(stream, *publish, state.as_ref(), options.refresh)?;
        if let Some(read) = state.as_ref().and_then(|it| it.read_until)
            && read > options.now + CLOCK_TOLERANCE
        {
            let (stream, now) = (&stream.name, options.now);
            warn!(%stream, "the clock says {now}, and that of an earlier run said {read}: one of the two is wrong");
        }
        states.insert(&stream.name, state);
    }

    let mut feeds: HashMap<&Name, Vec<ChildFeed>> = HashMap::new();
    let mut receivers: HashMap<&Name, Parents> = HashMap::new();
    for (stream, _) in chosen {
        if let Some((parent, feed, receiver)) = child_feed(stream, chosen.iter().map(|(it, _)| *it))
        {
            // Parents of slices that failed are asked again, whether or not they changed.
            for pending in states.get(&stream.name).into_iter().flatten().flat_map(|it| &it.pending)
            {
                feed.send_values(pending.clone());
            }
            feeds.entry(parent).or_default().push(feed);
            receivers.insert(&stream.name, receiver);
        }
    }

    let mut jobs = Vec::new();
    for ((stream, publish), progress) in chosen.iter().zip(&progress.streams) {
        let (writer, writing, spooled, settling) = match publish {
            Publish::ReadOnly => (None, None, None, None),
            Publish::Yes => {
                let share = options.memory_bytes / written;
                let writer = destination.stream(stream, share / ROWS).map_err(Error::Write)?;
                let quarantine = destination.quarantine(&stream.name);
                let (queue, receiver) = WriterQueue::new(share / QUEUE);
                let spooled = destination.spooled(stream).map_err(Error::Write)?;
                let spool = spooled.append().map_err(Error::Write)?;
                let settling = Arc::new(settling(stream, &writer, destination, options.purpose));
                let rejecting = Arc::clone(&settling);
                let writing = tokio::task::spawn_blocking(move || {
                    write::write(writer, quarantine, &rejecting, spool, receiver)
                });
                (Some(queue), Some(writing), Some(spooled), Some(settling))
            }
        };
        let children = feeds.remove(&stream.name).unwrap_or_default();
        let decoder = Decoder::new(stream);
        let state = states.get(&stream.name).cloned().flatten();
        jobs.push(Job {
            stream,
            progress,
            shared: Shared::new(
                stream,
                decoder,
                spooled,
                writer,
                children,
                state.is_some(),
                options.memory_bytes,
            )
            .settling(settling),
            parents: receivers.remove(&stream.name),
            writing,
            horizon: horizon(options, stream, *publish, chosen, &states),
            state,
            rows_before: destination.living_rows(&stream.name).map_err(Error::Write)?.unwrap_or(0),
            unknown_files: unknown_files.get(&stream.name).copied().unwrap_or(0),
        });
    }
    Ok(jobs)
}

/// What is known of the records of a stream that are in quarantine.
fn settling(
    stream: &StreamPlan,
    writer: &StreamWriter,
    destination: &Destination,
    purpose: Purpose,
) -> Settling {
    let mut settling = Settling::new(stream, writer.watch());
    // What cannot be read stays; a run does not end for it.
    if purpose == Purpose::Publish
        && let Err(err) = settling.expect_earlier(&destination.inspection())
    {
        warn!(stream = %stream.name, error = %chain(&err), "quarantine is left as it is");
    }
    settling
}

/// The way from a stream's parent, if it has one: the parent, and both ends.
fn child_feed<'a>(
    stream: &'a StreamPlan,
    mut chosen: impl Iterator<Item = &'a StreamPlan>,
) -> Option<(&'a Name, ChildFeed, Parents)> {
    let parent = stream.slices.parent()?;
    let plan = chosen.find(|it| it.name == parent.stream)?;
    let cursor = plan.cursor.as_ref().map(|it| &it.column);
    let (feed, receiver) = ChildFeed::new(parent.bind.clone(), cursor);
    Some((&parent.stream, feed, receiver))
}

/// Refuses to go on with a dataset that was made by another request.
fn check_selection(
    stream: &StreamPlan,
    publish: Publish,
    state: Option<&StreamState>,
    refresh: Refresh,
) -> Result<(), Error> {
    let known = state.and_then(|it| it.selection);
    let is_other = known.is_some_and(|it| it != stream.selection());
    if is_other && publish == Publish::Yes && refresh == Refresh::Incremental {
        return Err(Error::OtherSelection { stream: stream.name.clone() });
    }
    Ok(())
}

/// Whether the stream, or one that follows it, becomes exactly what this run reads.
fn needs_everything(stream: &StreamPlan, chosen: &[(&StreamPlan, Publish)]) -> bool {
    let is_snapshot = matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::All, .. });
    let mut children = chosen
        .iter()
        .filter(|(it, _)| it.slices.parent().is_some_and(|parent| parent.stream == stream.name));
    is_snapshot || children.any(|(child, _)| needs_everything(child, chosen))
}

/// Which part of the time a stream's windows cover.
fn horizon(
    options: &RunOptions,
    stream: &StreamPlan,
    publish: Publish,
    chosen: &[(&StreamPlan, Publish)],
    states: &HashMap<&Name, Option<StreamState>>,
) -> Horizon {
    let planned = Horizon { now: options.now, since: options.since, until: options.until };
    if options.refresh == Refresh::Full
        || options.since.is_some()
        || needs_everything(stream, chosen)
    {
        return planned;
    }
    let rule = StartRule {
        now: options.now,
        planned: planned_start(&stream.slices, options.now),
        lookback: stream.cursor.as_ref().map(|it| it.lookback),
        reread: reread(&stream.slices),
    };
    let own = (publish == Publish::Yes).then_some(&stream.name);
    let children = chosen.iter().map(|(it, _)| *it);
    let children = children
        .filter(|it| it.slices.parent().is_some_and(|parent| parent.stream == stream.name))
        .map(|it| &it.name);
    let needed: Vec<Option<&StreamState>> = own
        .into_iter()
        .chain(children)
        .map(|name| states.get(name).and_then(Option::as_ref))
        .collect();
    match state::start(rule, &needed) {
        Start::AsPlanned => planned,
        Start::At(start) => Horizon { since: Some(WindowStart::At(start)), ..planned },
    }
}
