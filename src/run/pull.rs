//! The rows of one stream for one who asks once: no state, no lock, no file.
//!
//! ```text
//! slices of parents ... --> slices --> pages --> queue, bounded in bytes --> PulledPages
//!                             ^                                                  |
//!                             +------- nothing more is asked once nobody takes --+
//! ```
//!
//! Rows come in the order in which pages arrive: with several slices at once that is not twice the
//! same. Nothing is merged, because that needs all rows at once; but a row that comes again exactly as
//! it was, because windows share their bounds or a slice had to be read again, is left out while
//! it is among the last million.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Instant,
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::SchemaRef,
    error::ArrowError,
};
use arrow_row::{RowConverter, SortField};
use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Progress, StreamProgress, child_feed,
    feed::{ChildFeed, Parents},
    reader::{Queued, QueuedPage, Shared, WriterQueue},
    selected,
    slices::{SliceLoop, SliceTally},
};
use crate::{
    error::Error,
    extract::{ExtractError, Extractor, Horizon, ParentValues, Request, Slice, slices},
    plan::{Name, Plan, StreamPlan, WindowStart},
    transform::{Decoder, Reject},
};

/// Bytes of rows that may be held back of one slice.
const HELD_BYTES: usize = 64 << 20;

/// Bytes of decoded rows that may wait; what is over makes fetching wait.
const QUEUE_BYTES: usize = 16 << 20;

/// Records that a page is taken to have where the pipeline does not say.
const USUAL_PAGE: u64 = 100;

/// What a pull is asked for beside its plan.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The clock.
    pub now: DateTime<Utc>,
    /// Where windows start instead of where the pipeline says.
    pub since: Option<WindowStart>,
    /// Where windows end instead of at the clock.
    pub until: Option<WindowStart>,
    /// How many rows will be taken, where that is known: no more slices are read at once than are
    /// likely to be needed for them.
    pub enough: Option<u64>,
    /// Only these slices of the stream, so that no parent is read.
    pub slices: Option<Vec<Slice>>,
}

/// The streams that are read for the rows of one: its ancestors, unless its slices are known.
pub fn pulled<'a>(plan: &'a Plan, stream: &Name, options: &PullOptions) -> Vec<&'a StreamPlan> {
    let chosen = selected(plan, std::slice::from_ref(stream));
    let parents = if options.slices.is_some() { chosen.len().saturating_sub(1) } else { 0 };
    chosen.into_iter().skip(parents).map(|(stream, _)| stream).collect()
}

/// What is read, and the other end from which the pages are taken, by another thread.
///
/// # Errors
///
/// A source to which no connection can be set up. Nothing is sent yet.
pub fn pull<'a>(
    plan: &'a Plan,
    stream: &Name,
    options: &PullOptions,
    progress: &'a Progress,
) -> Result<(Pull<'a>, PulledPages), Error> {
    let chosen = pulled(plan, stream, options);
    let Some(target) = chosen.last().copied().filter(|it| it.name == *stream) else {
        return Err(Error::Internal(format!("stream `{stream}` is not in the plan")));
    };
    let mut source = plan.clone();
    let limits = &mut source.source.limits;
    let size = target.paginate.size.as_ref().map_or(USUAL_PAGE, |it| it.size);
    let pages = options.enough.map_or(u64::MAX, |it| it.div_ceil(size.max(1)));
    limits.max_in_flight =
        limits.max_in_flight.min(usize::try_from(pages).unwrap_or(usize::MAX)).max(1);
    let at_once = limits.max_in_flight;
    let extractor = Extractor::new(&source).map_err(|err| Error::Source(Box::new(err)))?;

    let (queue, receiver) = WriterQueue::new(QUEUE_BYTES);
    let queue = if options.enough.is_some() { queue.hand_over() } else { queue };
    let taker = Some(queue.taker());
    let horizon = Horizon { now: options.now, since: options.since, until: options.until };
    let mut readings = set_up(&chosen, progress, Some(queue));
    let Some(last) = readings.last_mut() else {
        return Err(Error::Internal(format!("stream `{stream}` is not read")));
    };
    last.given.clone_from(&options.slices);
    let asked = last.shared.asked.clone();
    let schema = Decoder::new(target).schema().clone();
    let repeats = (!target.key().is_empty()).then(|| Repeats::new(&schema)).transpose();
    let repeats = repeats.map_err(|err| Error::Internal(err.to_string()))?;
    let pull = Pull { target, extractor, horizon, at_once, readings, asked, taker };
    Ok((pull, PulledPages { schema, receiver, room: None, repeats }))
}

/// The streams, parents before children, with the ways between them; `queue` takes the pages of the last.
pub(super) fn set_up<'a>(
    chosen: &[&'a StreamPlan],
    progress: &'a Progress,
    mut queue: Option<WriterQueue>,
) -> Vec<Reading<'a>> {
    let mut feeds: HashMap<&Name, Vec<ChildFeed>> = HashMap::new();
    let mut receivers: HashMap<&Name, Parents> = HashMap::new();
    for stream in chosen {
        if let Some((parent, feed, receiver)) = child_feed(stream, chosen.iter().copied()) {
            feeds.entry(parent).or_default().push(feed);
            receivers.insert(&stream.name, receiver);
        }
    }
    let last = chosen.last().map(|it| &it.name);
    let mut readings = Vec::new();
    for (stream, progress) in chosen.iter().zip(&progress.streams) {
        let decoder = Decoder::new(stream);
        let children = feeds.remove(&stream.name).unwrap_or_default();
        let writer = if last == Some(&stream.name) { queue.take() } else { None };
        let shared = Shared::new(stream, decoder, None, writer, children, false, HELD_BYTES);
        let parents = receivers.remove(&stream.name);
        readings.push(Reading { stream, progress, shared, parents, given: None });
    }
    readings
}

/// One stream with its parents, ready to be read.
#[derive(Debug)]
pub struct Pull<'a> {
    target: &'a StreamPlan,
    extractor: Extractor,
    horizon: Horizon,
    /// Slices at once.
    at_once: usize,
    readings: Vec<Reading<'a>>,
    /// The first slice of the stream for which anything was asked.
    asked: Arc<OnceLock<Slice>>,
    /// Ends when nobody takes pages any more.
    taker: Option<super::reader::Taker>,
}

/// One stream, ready to be read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) stream: &'a StreamPlan,
    progress: &'a StreamProgress,
    shared: Shared,
    pub(super) parents: Option<Parents>,
    /// The slices, where they are known beforehand.
    pub(super) given: Option<Vec<Slice>>,
}

/// How a pull went.
#[derive(Debug)]
pub struct PullReport {
    /// Requests that were sent, for parents, too.
    pub requests: u64,
    /// The first request of the stream itself, without what logs it in.
    pub first_request: Option<Request>,
    /// Parents to which access is lost.
    pub gone: Vec<String>,
    /// Records of parents that do not fit, so that nothing of theirs was asked for.
    pub rejected_parents: u64,
    /// Whether nobody took what was still to come.
    pub is_unwanted: bool,
    /// Why not everything could be read.
    pub error: Option<Error>,
}

impl Pull<'_> {
    /// Reads until there is no more, nobody takes it, which `unwanted` may tell before it shows, or
    /// `shutdown` comes.
    pub async fn read(
        self,
        unwanted: impl Future<Output = ()>,
        shutdown: impl Future<Output = ()>,
    ) -> PullReport {
        let Self { target, extractor, horizon, at_once, readings, asked, taker } = self;
        let progress: Vec<&StreamProgress> = readings.iter().map(|it| it.progress).collect();
        let all = readings.into_iter().map(|it| it.run(&extractor, horizon, at_once));
        let all = futures::future::join_all(all);
        let gone_away = async {
            match &taker {
                Some(taker) => taker.gone().await,
                None => std::future::pending().await,
            }
        };
        let mut is_unwanted = false;
        let (gone, error) = tokio::select! {
            // Who has enough is told nothing of what fails after that.
            biased;
            () = gone_away => (Vec::new(), None),
            () = unwanted => {
                is_unwanted = true;
                (Vec::new(), None)
            }
            read = all => match &taker {
                Some(taker) if taker.is_gone() => (Vec::new(), None),
                _ => settle(read),
            },
            () = shutdown => (Vec::new(), Some(Error::PullInterrupted)),
        };
        let planned = || {
            let slices = slices(&target.slices, &horizon, &ParentValues::new());
            slices.into_iter().next().filter(|_| target.slices.parent().is_none())
        };
        let slice = asked.get().cloned().or_else(planned);
        // The stream itself comes after all of its ancestors.
        let parents = progress.split_last().map(|it| it.1).unwrap_or_default();
        PullReport {
            requests: progress.iter().map(|it| it.source.requests.load(Relaxed)).sum(),
            first_request: slice.and_then(|it| extractor.first_request(target, &it).ok()),
            gone,
            rejected_parents: parents.iter().map(|it| it.rejected.load(Relaxed)).sum(),
            is_unwanted,
            error,
        }
    }
}

impl<'a> Reading<'a> {
    pub(super) async fn run(
        self,
        extractor: &Extractor,
        horizon: Horizon,
        at_once: usize,
    ) -> (&'a StreamPlan, SliceTally) {
        let Self { stream, progress, shared, parents, given } = self;
        // Rows of the first parents are wanted before the last parents are known.
        let is_listed_first = false;
        let slices = SliceLoop {
            stream,
            extractor,
            shared: &shared,
            progress,
            horizon,
            given,
            at_once,
            is_listed_first,
            started: Instant::now(),
        };
        let tally = slices.run(parents).await;
        progress.is_done.store(true, Relaxed);
        // With it goes what children and takers wait for.
        (stream, tally)
    }
}

/// The parents that are gone, and the first thing that went wrong.
pub(super) fn settle(read: Vec<(&StreamPlan, SliceTally)>) -> (Vec<String>, Option<Error>) {
    let mut gone = Vec::new();
    let mut first: Option<(Error, bool)> = None;
    for (stream, mut tally) in read {
        gone.append(&mut tally.gone);
        if let Some((slice, source)) = tally.first_error {
            let is_cause = ExtractError::is_cause(&source);
            let (failed, slices) = (tally.counts.failed, tally.counts.total);
            let stream = stream.name.clone();
            let err = Error::Pull { stream, failed, slices, slice, source: Box::new(source) };
            if first.as_ref().is_none_or(|(_, was_cause)| is_cause && !was_cause) {
                first = Some((err, is_cause));
            }
        }
    }
    (gone, first.map(|it| it.0))
}

/// The pages of a pull as they come; dropped, it ends the pull.
#[derive(Debug)]
pub struct PulledPages {
    schema: SchemaRef,
    receiver: mpsc::UnboundedReceiver<Queued>,
    /// Of the page that was taken last, until the next one is wanted or, after the other end could see
    /// it, none is.
    room: Option<OwnedSemaphorePermit>,
    repeats: Option<Repeats>,
}

/// A page of a pull.
#[derive(Debug)]
pub struct PulledPage {
    /// The slice, for a person.
    pub slice: String,
    /// From 1.
    pub page: u64,
    /// The records of the page.
    pub records: u64,
    /// The rows of those that fit.
    pub batch: RecordBatch,
    /// Those that do not.
    pub rejects: Vec<Reject>,
}

impl PulledPages {
    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for PulledPages {
    type Item = Result<PulledPage, Error>;

    /// Waits for the next page: not to be called where other work of the runtime goes on.
    fn next(&mut self) -> Option<Self::Item> {
        self.room = None;
        loop {
            let Queued::Page { page, room } = self.receiver.blocking_recv()? else { continue };
            self.room = Some(room);
            let QueuedPage { slice, key: _, page, records, batch, rejects, context: _ } = page;
            let batch = match &mut self.repeats {
                Some(repeats) => repeats.leave_out(batch),
                None => Ok(batch),
            };
            let batch = batch.map_err(|err| Error::Internal(err.to_string()));
            return Some(batch.map(|batch| PulledPage { slice, page, records, batch, rejects }));
        }
    }
}

/// Hashes of the last rows, so that one that comes again is known.
#[derive(Debug)]
struct Repeats {
    converter: RowConverter,
    recent: HashSet<u64>,
    older: HashSet<u64>,
    /// Of each of the two.
    most: usize,
}

impl Repeats {
    fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let fields = schema.fields().iter().map(|it| SortField::new(it.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self { converter, recent: HashSet::new(), older: HashSet::new(), most: 1 << 20 })
    }

    /// The rows that did not come before.
    fn leave_out(&mut self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        let mut is_new = |row: &[u8]| {
            let mut hasher = DefaultHasher::new();
            row.hash(&mut hasher);
            let hash = hasher.finish();
            if self.older.contains(&hash) || !self.recent.insert(hash) {
                return false;
            }
            if self.recent.len() >= self.most {
                self.older = std::mem::take(&mut self.recent);
            }
            true
        };
        let kept: BooleanArray = rows.iter().map(|it| Some(is_new(it.as_ref()))).collect();
        if kept.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        filter_record_batch(&batch, &kept)
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray as _, Int64Array},
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::*;

    fn batch(ids: &[Option<i64>]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let ids = Int64Array::from(ids.to_vec());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap()
    }

    #[test]
    fn a_row_that_comes_again_is_left_out_while_it_is_among_the_last() {
        let mut repeats = Repeats::new(&batch(&[]).schema()).unwrap();
        repeats.most = 2;
        let mut kept = |ids: &[Option<i64>]| {
            let kept = repeats.leave_out(batch(ids)).unwrap();
            kept.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
        };

        assert_eq!(kept(&[Some(1), None, Some(1)]), [Some(1), None]);
        assert_eq!(kept(&[Some(3), None]), [Some(3)]);
        assert_eq!(kept(&[Some(4), Some(5)]), [Some(4), Some(5)]);
        assert_eq!(kept(&[Some(1)]), [Some(1)], "long ago");
    }
}
