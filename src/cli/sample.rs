//! The first page of a stream, for looking at: asked for as a run asks, and kept nowhere.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::runtime;
use crate::{
    error::Error,
    extract::{
        Counters, ExtractError, Extractor, Horizon, NotTaken, PageReader, ParentValues, Slice,
        SliceCounters, SliceEnd, UnreadableBody, slices,
    },
    infer::{self, InferError, Proposal, Wishes},
    plan::{JsonPath, PageFacts, Plan, SliceContext, StreamPlan},
    transform::Tree,
};

/// A window in which nothing happened has no records; more than these are not asked for.
const SLICES: usize = 5;

/// What the first page of a stream proposes; of windows the latest that has records.
pub(super) fn propose(
    plan: &Plan,
    stream: &StreamPlan,
    wishes: &Wishes,
    now: DateTime<Utc>,
) -> Result<Proposal, Error> {
    if let Some(parent) = stream.slices.parent() {
        let (stream, parent) = (stream.name.clone(), parent.stream.clone());
        return Err(Error::SampleOfChild { stream, parent });
    }
    let horizon = Horizon { now, since: None, until: None };
    let known = slices(&stream.slices, &horizon, &ParentValues::new());
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
    let mut nothing = InferError::NoRecords { instead: "the stream has no slices now".to_owned() };
    for slice in known.iter().rev().take(SLICES) {
        let page = runtime.block_on(first_page(&extractor, stream, slice))?;
        match page.map(|it| infer::propose(&[it], wishes)) {
            Some(Ok(proposal)) => return Ok(proposal),
            Some(Err(err)) => nothing = err,
            None => {}
        }
    }
    Err(Error::Infer(nothing))
}

/// The page, or `None` where a rule of the pipeline says that there is nothing.
async fn first_page(
    extractor: &Extractor,
    stream: &StreamPlan,
    slice: &Slice,
) -> Result<Option<Tree>, Error> {
    let taker = Taker { envelope: &stream.envelope, page: Mutex::default() };
    let counters = Counters::default();
    let end = extractor.read(stream, slice, &taker, &SliceCounters::of(&counters)).await;
    let page = taker.page.into_inner().unwrap_or_else(PoisonError::into_inner);
    match end {
        // The taker stops after its page, and what it says of records does not count.
        SliceEnd::Failed(ExtractError::Stopped | ExtractError::Paging(_)) if page.is_some() => {
            Ok(page)
        }
        SliceEnd::Failed(err) => Err(Error::Source(Box::new(err))),
        SliceEnd::Read { .. } | SliceEnd::Split(_) => Ok(page),
        SliceEnd::Gone(_) | SliceEnd::Skipped => Ok(None),
    }
}

/// Takes one page, as a tree.
struct Taker<'p> {
    envelope: &'p [JsonPath],
    page: Mutex<Option<Tree>>,
}

impl PageReader for Taker<'_> {
    type Output = ();

    async fn read(&self, body: Bytes, _: &SliceContext) -> Result<(PageFacts, ()), UnreadableBody> {
        let unreadable = |reason: String| UnreadableBody { reason, truncated: false };
        let tree = Tree::parse(&body).map_err(|err| unreadable(err.to_string()))?;
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|err| unreadable(err.to_string()))?;
        let found = |path: &JsonPath| Some((path.clone(), path.find(&value)?.clone()));
        let envelope = self.envelope.iter().filter_map(found).collect();
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(tree);
        Ok((PageFacts { records: 1, envelope, ..PageFacts::default() }, ()))
    }

    async fn accept(&self, _: u64, _: &Slice, (): ()) -> Result<(), NotTaken> {
        Err(NotTaken::Stopped)
    }
}
