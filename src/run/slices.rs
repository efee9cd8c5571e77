//! The slices of one stream: a few at a time until there are no more, and how each of them ended.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tracing::{Instrument as _, info_span, warn};

use super::{
    feed::{PARENT_VERSION, Parents},
    progress::StreamProgress,
    reader::{Shared, SliceReader, slice_key},
    report::SliceReport,
    settle::ReadAgain,
    timeline::{Recorder, SliceOutcome, SliceTime},
};
use crate::{
    error::chain,
    extract::{
        ExtractError, Extractor, Horizon, Loss, NotTaken, ParentValues, Slice, SliceCost,
        SliceCounters, SliceEnd, Verdict, slices,
    },
    load::{Scope, ScopeValue, Spooled, SpooledEnd, WriteError},
    plan::{OnGone, ScopeSource, SlicesPlan, StreamPlan},
};

/// Errors and lost parents that a report names; the rest is counted.
const NAMED: usize = 100;

/// Parents without which a refusal of all says nothing about the rights of a token.
const FEWEST_REFUSED: usize = 3;

/// How the slices of a stream ended.
#[derive(Debug, Default)]
pub(super) struct SliceTally {
    pub(super) counts: SliceReport,
    /// Lost parents, for a person.
    pub(super) gone: Vec<String>,
    /// Errors, for a person.
    pub(super) errors: Vec<String>,
    pub(super) first_error: Option<(String, ExtractError)>,
    /// The rows of slices that were read completely.
    pub(super) read: Vec<Scope>,
    /// The rows of slices that were not: they must not go.
    pub(super) unread: Vec<Scope>,
    /// Whether a slice was not read whose rows cannot be told from others.
    pub(super) has_unread_without_scope: bool,
    /// Where the earliest window starts that could not be read.
    pub(super) failed_from: Option<DateTime<Utc>>,
    /// Whether a slice failed that is neither a window's nor a parent's.
    pub(super) has_lost_place: bool,
    /// Parents whose slices failed.
    pub(super) pending: Vec<ParentValues>,
    /// Whether slices were not started, because the user stops the run.
    pub(super) is_cut: bool,
    /// Those that were read to their end and have records in quarantine.
    pub(super) again: ReadAgain,
    /// When they were under way.
    pub(super) times: Recorder,
    heard: Heard,
}

/// What the source has said about slices.
#[derive(Debug)]
enum Heard {
    /// That these, which are of parents, are refused, and nothing else.
    Refusals(Vec<Slice>),
    /// Something else.
    More,
}

impl Default for Heard {
    fn default() -> Self {
        Self::Refusals(Vec::new())
    }
}

impl SliceTally {
    /// Remembers the rows of a slice that was not read.
    fn keep(&mut self, scope: Option<Scope>) {
        self.has_unread_without_scope |= scope.is_none();
        self.unread.extend(scope);
    }

    /// The slices that were refused, where that is all that the source has said about several
    /// parents: nothing tells this from a token that has lost its rights.
    fn all_refused(&mut self) -> Vec<Slice> {
        let Heard::Refusals(refused) = std::mem::take(&mut self.heard) else { return Vec::new() };
        let parents: HashSet<_> = refused.iter().map(|it| &it.context.parent).collect();
        if parents.len() < FEWEST_REFUSED { Vec::new() } else { refused }
    }
}

/// Reads slices of one stream.
pub(super) struct SliceLoop<'a> {
    pub(super) stream: &'a StreamPlan,
    pub(super) extractor: &'a Extractor,
    pub(super) shared: &'a Shared,
    pub(super) progress: &'a StreamProgress,
    pub(super) horizon: Horizon,
    /// The slices, where they are known beforehand and are not those of the horizon.
    pub(super) given: Option<Vec<Slice>>,
    /// Slices at once.
    pub(super) at_once: usize,
    /// Whether parents are listed to their end before the first of them is followed: where a budget
    /// may end the run, its children must not keep the parent stream from getting on.
    pub(super) is_listed_first: bool,
    /// When the stream started.
    pub(super) started: Instant,
}

/// The parents, once all of them have come.
async fn listed(parents: Option<Parents>) -> Option<Parents> {
    let mut parents = parents?;
    let (sender, receiver) = mpsc::unbounded_channel();
    while let Some(parent) = parents.recv().await {
        // The other end is right here.
        let _ = sender.send(parent);
    }
    Some(receiver)
}

/// A slice that has ended.
struct Ended {
    slice: Slice,
    end: SliceEnd,
    rejected: u64,
    /// After the stream.
    started: Duration,
    took: Duration,
    cost: SliceCost,
}

impl SliceLoop<'_> {
    /// Reads every slice, those of parents while parents still come.
    pub(super) async fn run(&self, mut parents: Option<Parents>) -> SliceTally {
        let Self { stream, progress, horizon, at_once, .. } = self;
        if self.is_listed_first {
            parents = listed(parents).await;
        }
        let mut waiting: VecDeque<Slice> = VecDeque::new();
        if parents.is_none() {
            let planned = || slices(&stream.slices, horizon, &ParentValues::new());
            waiting.extend(self.given.clone().unwrap_or_else(planned));
            progress.slices.fetch_add(waiting.len() as u64, Relaxed);
        }
        let mut batcher = Batcher::new(&stream.slices);
        let mut active = FuturesUnordered::new();
        let mut tally = SliceTally::default();
        loop {
            if self.extractor.is_draining() && (!waiting.is_empty() || parents.is_some()) {
                tally.is_cut = true;
                waiting.clear();
                parents = None;
            }
            while active.len() < *at_once {
                let Some(slice) = waiting.pop_front() else { break };
                let span = info_span!("slice", slice = %slice.id);
                active.push(progress.under_way.time(self.slice(slice)).instrument(span));
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
                Some(ended) = active.next() => {
                    if let Some(halves) = self.note(&mut tally, ended) {
                        // Before other slices, or parts of parts would pile up.
                        for half in halves.into_iter().rev() {
                            waiting.push_front(half);
                        }
                    }
                }
                parent = next_parent, if waiting.len() < *at_once => {
                    let ready = if let Some(parent) = parent {
                        batcher.add(parent.into())
                    } else {
                        parents = None;
                        batcher.rest()
                    };
                    if let Some(parent) = ready {
                        let slices = slices(&stream.slices, horizon, &parent);
                        progress.slices.fetch_add(slices.len() as u64, Relaxed);
                        waiting.extend(slices);
                    }
                }
            }
        }
        for slice in tally.all_refused() {
            tally.counts.gone -= 1;
            tally.gone.clear();
            self.note_failure(&mut tally, slice, ExtractError::Forbidden);
        }
        tally.counts.total = progress.slices.load(Relaxed);
        tally
    }

    /// Hands on what an earlier run has read of a slice and not published.
    async fn replay(&self, slice: &Slice, key: &str, kept: &Spooled) -> Result<(), NotTaken> {
        let unreadable = |err: WriteError| {
            warn!(error = %chain(&err), "what an earlier run has kept cannot be read");
            NotTaken::Stopped
        };
        let reader = SliceReader::new(self.shared, self.progress, None);
        let mut pages = kept.pages(key).map_err(unreadable)?;
        while let Some(page) =
            tokio::task::block_in_place(|| pages.next_page()).map_err(unreadable)?
        {
            reader.replay(slice, page).await?;
        }
        Ok(())
    }

    async fn slice(&self, slice: Slice) -> Ended {
        let begun = Instant::now();
        let counters = SliceCounters::of(&self.progress.source);
        let (slice, end, rejected) = self.read(slice, &counters).await;
        let started = begun.duration_since(self.started);
        Ended { slice, end, rejected, started, took: begun.elapsed(), cost: counters.cost() }
    }

    async fn read(&self, slice: Slice, counters: &SliceCounters<'_>) -> (Slice, SliceEnd, u64) {
        let key = slice_key(self.stream, &slice);
        // Only what this run asks for: kept children of a parent that has changed are stale.
        if let Some((key, kept)) = key.as_ref().zip(self.shared.spooled.as_ref())
            && let Some(SpooledEnd { is_reconciled, rejected }) = kept.end(key)
        {
            let verdict = if is_reconciled { Verdict::Complete } else { Verdict::Unreconciled };
            let end = match self.replay(&slice, key, kept).await {
                Ok(()) => SliceEnd::Read { verdict, pages: 0, records: 0, total: None },
                Err(_) => SliceEnd::Failed(ExtractError::Stopped),
            };
            return (slice, end, rejected);
        }
        self.shared.asked.get_or_init(|| slice.clone());
        let reader = SliceReader::new(self.shared, self.progress, key).before(slice.before);
        let end = self.extractor.read(self.stream, &slice, &reader, counters).await;
        let end = match end {
            SliceEnd::Read { .. } if reader.complete().await.is_err() => {
                SliceEnd::Failed(ExtractError::Stopped)
            }
            end => end,
        };
        if let SliceEnd::Read { verdict, .. } = &end {
            reader.end(*verdict == Verdict::Complete);
        }
        (slice, end, reader.rejected())
    }

    /// Counts the end of a slice; gives its halves where it has to be read in parts.
    fn note(&self, tally: &mut SliceTally, ended: Ended) -> Option<[Slice; 2]> {
        tally.times.add(time(&ended));
        let Ended { slice, end, rejected, .. } = ended;
        let scope = || scope(self.stream, &slice);
        if matches!(
            end,
            SliceEnd::Read { .. }
                | SliceEnd::Skipped
                | SliceEnd::Split(_)
                | SliceEnd::Gone(Loss::Absent)
        ) {
            tally.heard = Heard::More;
        }
        let counts = &mut tally.counts;
        match end {
            SliceEnd::Read { verdict, .. } => {
                match verdict {
                    Verdict::Complete => counts.complete += 1,
                    Verdict::Unreconciled => counts.unreconciled += 1,
                    // `Extractor::read` settles these itself.
                    Verdict::Short { .. } | Verdict::Moved { .. } => counts.failed += 1,
                }
                self.note_again(&mut tally.again, &slice);
                // What did not fit may be what stands: nothing of such a slice goes.
                if rejected == 0 {
                    tally.read.extend(scope());
                } else {
                    tally.keep(scope());
                }
            }
            SliceEnd::Gone(loss) => {
                counts.gone += 1;
                warn!(slice = %slice.id, "access is lost");
                match (self.stream.on_gone, loss) {
                    (OnGone::Delete, Loss::Absent) => {
                        self.note_again(&mut tally.again, &slice);
                        tally.read.extend(scope());
                    }
                    // What may not be seen may still be there.
                    (OnGone::Delete, Loss::Refused) | (OnGone::Keep, _) => tally.keep(scope()),
                }
                if tally.gone.len() < NAMED {
                    tally.gone.push(slice.id.clone());
                }
                if let Heard::Refusals(refused) = &mut tally.heard
                    && self.stream.slices.parent().is_some()
                {
                    refused.push(slice);
                }
            }
            SliceEnd::Skipped => {
                counts.skipped += 1;
                tally.keep(scope());
            }
            SliceEnd::Split(halves) => {
                counts.split += 1;
                // Two come, one goes.
                self.progress.slices.fetch_add(1, Relaxed);
                return Some(*halves);
            }
            SliceEnd::Failed(err) => {
                tally.keep(scope());
                self.note_failure(tally, slice, err);
            }
        }
        self.progress.slices_done.fetch_add(1, Relaxed);
        None
    }

    fn note_again(&self, again: &mut ReadAgain, slice: &Slice) {
        let settling = self.shared.settling.as_ref();
        if let Some(place) = settling.and_then(|it| it.place(slice)) {
            again.add(place, slice.window());
        }
    }

    fn note_failure(&self, tally: &mut SliceTally, slice: Slice, err: ExtractError) {
        tally.counts.failed += 1;
        tally.counts.left += u64::from(err.is_declared());
        if err.holds_for_all() {
            // The other slices would fail in the same way, one after the other.
            self.extractor.stop();
        }
        if let Some(start) = slice.start() {
            tally.failed_from = Some(tally.failed_from.map_or(start, |it| it.min(start)));
        } else if self.stream.slices.parent().is_none() {
            tally.has_lost_place = true;
        }
        if self.stream.slices.parent().is_some() {
            let mut parents = single_parents(&slice.context.parent);
            for parent in &mut parents {
                // It is asked again whether or not it has changed.
                parent.remove(PARENT_VERSION);
            }
            tally.pending.extend(parents);
        }
        let is_cause = err.is_cause();
        if is_cause && tally.errors.len() < NAMED {
            tally.errors.push(format!("{}: {}", slice.id, chain(&err)));
        }
        // A slice that was stopped is the consequence of another one's error.
        if tally.first_error.as_ref().is_none_or(|(_, first)| !first.is_cause() && is_cause) {
            tally.first_error = Some((slice.id, err));
        }
    }
}

/// When a slice was under way, and how it ended.
fn time(ended: &Ended) -> SliceTime {
    let Ended { slice, end, rejected: _, started, took, cost } = ended;
    let outcome = match end {
        SliceEnd::Read { verdict: Verdict::Complete, .. } => SliceOutcome::Complete,
        SliceEnd::Read { verdict: Verdict::Unreconciled, .. } => SliceOutcome::Unreconciled,
        SliceEnd::Failed(err) if err.is_declared() => SliceOutcome::Left,
        SliceEnd::Read { .. } | SliceEnd::Failed(_) => SliceOutcome::Failed,
        SliceEnd::Gone(_) => SliceOutcome::Gone,
        SliceEnd::Skipped => SliceOutcome::Skipped,
        SliceEnd::Split(_) => SliceOutcome::Split,
    };
    let time = SliceTime::new(slice.id.clone(), outcome, *started, *took, *cost);
    match end {
        SliceEnd::Read { records, total, .. } => {
            SliceTime { records: Some(*records), total: *total, ..time }
        }
        _ => time,
    }
}

/// The predicate that the rows of a slice, and no others, satisfy.
fn scope(stream: &StreamPlan, slice: &Slice) -> Option<Scope> {
    let mut scope = Scope { equals: Vec::new(), dates: None };
    for (column, source) in &stream.scope {
        let value = match source {
            ScopeSource::Slice(name) => slice.context.slice.get(name)?,
            ScopeSource::Parent(name) => slice.context.parent.get(name)?,
            ScopeSource::Window => {
                // A slice of a union may have no window; then it has all dates.
                scope.dates = slice.dates().map(|(first, last)| (column.clone(), first, last));
                continue;
            }
        };
        let value = match value {
            serde_json::Value::Null => ScopeValue::Null,
            serde_json::Value::Bool(it) => ScopeValue::Bool(*it),
            serde_json::Value::Number(it) => it.as_i64().map(ScopeValue::Int)?,
            serde_json::Value::String(it) => ScopeValue::Text(it.clone()),
            // A batch of parents: their rows cannot be told apart.
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => return None,
        };
        scope.equals.push((column.clone(), value));
    }
    (!scope.equals.is_empty() || scope.dates.is_some()).then_some(scope)
}

/// The parents of a slice, one by one where it has a batch of them.
fn single_parents(parent: &ParentValues) -> Vec<ParentValues> {
    let rows = parent.values().filter_map(|it| it.as_array()).map(Vec::len).max();
    let Some(rows) = rows else { return vec![parent.clone()] };
    let row = |at: usize| {
        let cell = |(name, values): (&String, &serde_json::Value)| {
            Some((name.clone(), values.as_array()?.get(at)?.clone()))
        };
        parent.iter().filter_map(cell).collect()
    };
    (0..rows).map(row).collect()
}

/// Puts parents together where a slice takes a batch of them.
pub(super) struct Batcher {
    size: Option<usize>,
    waiting: Vec<ParentValues>,
}

impl Batcher {
    pub(super) fn new(plan: &SlicesPlan) -> Self {
        Self { size: plan.parent().and_then(|it| it.batch), waiting: Vec::new() }
    }

    pub(super) fn add(&mut self, parent: ParentValues) -> Option<ParentValues> {
        let Some(size) = self.size else { return Some(parent) };
        self.waiting.push(parent);
        if self.waiting.len() < size { None } else { self.rest() }
    }

    /// The parents so far as one, each value a list.
    pub(super) fn rest(&mut self) -> Option<ParentValues> {
        let batch = std::mem::take(&mut self.waiting);
        let names: Vec<String> = batch.first()?.keys().cloned().collect();
        let list = |name: &String| batch.iter().filter_map(|it| it.get(name).cloned()).collect();
        let column = |name: String| {
            let values = list(&name);
            (name, values)
        };
        Some(names.into_iter().map(column).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_of_parents_falls_apart_into_the_parents_it_was_made_of() {
        let parent = |id: i64| ParentValues::from([("id".to_owned(), json!(id))]);
        let mut batcher = Batcher { size: Some(2), waiting: Vec::new() };

        assert_eq!(batcher.add(parent(1)), None);
        let batch = batcher.add(parent(2)).unwrap();

        assert_eq!(batch["id"], json!([1, 2]));
        assert_eq!(single_parents(&batch), [parent(1), parent(2)]);
        assert_eq!(single_parents(&parent(3)), [parent(3)]);
        assert_eq!(batcher.rest(), None, "none waits any more");
    }
}
