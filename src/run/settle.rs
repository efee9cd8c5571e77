//! Which records leave quarantine because a run has read them again, so that quarantine tells what is
//! the case now.
//!
//! ```text
//! r1  id 2  "8h"      a row of its key came                            -> leaves
//! r1  id 3  "many"    r2 has rejected its key, or the same text, again -> leaves: r2's stands for it
//! r1  mode=a          its slice, which is a scope, was read to its end -> leaves
//! r1  id 4  "9h"      nothing of it came                               -> stays
//! r2  id 5  "7h"      rejected, and a row of its key came, too         -> stays, and says so
//! ```
//!
//! They leave in the commit of the run's rows.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::feed::PARENT_VERSION;
use crate::{
    error::chain,
    extract::Slice,
    load::{
        Fate, Inspection, KeptReject, KeyWatch, RejectContext, Requarantine, StagedStream, Whose,
        WriteError,
    },
    plan::{ColumnSource, JsonPath, SliceContext, StreamPlan, UnknownFields, WriteMode},
    transform::{Decoded, Decoder},
};

/// From an instant to another, which is not in it any more.
type Span = (DateTime<Utc>, DateTime<Utc>);

/// What is known of the records of one stream that are in quarantine, or go there.
#[derive(Debug)]
pub(super) struct Settling {
    stream: StreamPlan,
    keys: Option<RejectKeys>,
    watch: Arc<KeyWatch>,
    /// The places that earlier runs' records are of.
    places: HashSet<String>,
    /// Fingerprints of earlier runs' records, and whether this run has rejected the same.
    texts: Mutex<HashMap<[u8; 32], bool>>,
    has_earlier: bool,
}

/// Fingerprints and places that are kept, at most: some 10 MB. What belongs to more of them stays in
/// quarantine until its key comes, or everything is read.
const MOST_KEPT: usize = 100_000;

impl Settling {
    /// Nothing yet.
    pub(super) fn new(stream: &StreamPlan, watch: Arc<KeyWatch>) -> Self {
        Self {
            stream: stream.clone(),
            keys: RejectKeys::new(stream),
            watch,
            places: HashSet::new(),
            texts: Mutex::default(),
            has_earlier: false,
        }
    }

    /// Watches what earlier runs have rejected. Where something of it cannot be read, the rest is watched.
    pub(super) fn expect_earlier(&mut self, inspection: &Inspection) -> Result<(), WriteError> {
        let mut failed = None;
        let mut has_earlier = false;
        let mut places = HashSet::new();
        let mut texts = HashMap::new();
        let read = inspection.rejected(&self.stream.name, |it| {
            has_earlier = true;
            if let Some(context) = &it.context {
                if places.len() < MOST_KEPT {
                    places.extend(place(&self.stream, context));
                }
                if texts.len() < MOST_KEPT {
                    texts.insert(fingerprint(&it.raw, context), false);
                }
            }
            let watched = self.watch(&it.raw, &it.masked, it.context.as_ref(), Whose::Earlier);
            failed = failed.take().or(watched.err());
        });
        (self.places, self.texts, self.has_earlier) = (places, Mutex::new(texts), has_earlier);
        failed.map_or(read, Err)
    }

    /// Takes a record that this run rejects.
    pub(super) fn reject(
        &self,
        raw: &str,
        masked: &[String],
        context: &RejectContext,
    ) -> Result<(), WriteError> {
        if self.has_earlier
            && let Some(is_rejected) = self.texts().get_mut(&fingerprint(raw, context))
        {
            *is_rejected = true;
        }
        self.watch(raw, masked, Some(context), Whose::Own)
    }

    fn watch(
        &self,
        raw: &str,
        masked: &[String],
        context: Option<&RejectContext>,
        whose: Whose,
    ) -> Result<(), WriteError> {
        let keys = self.keys.as_ref().and_then(|it| it.of(raw, masked, context));
        keys.map_or(Ok(()), |it| self.watch.watch(&it, whose))
    }

    /// The place of a slice, if records of earlier runs leave quarantine once it was read to its end.
    pub(super) fn place(&self, slice: &Slice) -> Option<String> {
        if self.places.is_empty() {
            return None;
        }
        settled_place(&self.stream, slice).filter(|it| self.places.contains(it))
    }

    /// Whether a record of an earlier run may leave.
    pub(super) fn has_news(&self, read: &ReadAgain) -> bool {
        self.has_earlier
            && (read.is_whole
                || !read.is_empty()
                || self.watch.knows_something()
                || self.texts().values().any(|it| *it))
    }

    /// Makes quarantine, in the commit of the rows, what it is after `run`.
    pub(super) fn settle(
        &self,
        staged: StagedStream,
        mut quarantine: Requarantine,
        run: String,
        read: &ReadAgain,
    ) -> StagedStream {
        // The rows are published in any case: what is left in quarantine tells too much, and loses nothing.
        let left_as_it_is =
            |err: &WriteError| warn!(error = %chain(err), "quarantine is left as it is");
        match quarantine.decide_readable(|record| self.fate(record, &run, read)) {
            Ok(unreadable) => unreadable.iter().for_each(left_as_it_is),
            Err(err) => {
                left_as_it_is(&err);
                return staged;
            }
        }
        if !quarantine.is_changed() {
            return staged;
        }
        info!(records = quarantine.left(), "read again, and leave quarantine");
        staged.settling(run, quarantine)
    }

    /// Says what becomes of a record once the run has read what it reads.
    fn fate(&self, record: &KeptReject, run: &str, read: &ReadAgain) -> Result<Fate, WriteError> {
        let KeptReject { raw, masked, context, .. } = record;
        let keys = self.keys.as_ref().and_then(|it| it.of(raw, masked, context.as_ref()));
        if record.run == run {
            let has_come = keys.map_or(Ok(false), |it| self.watch.may_have_come(&it))?;
            return Ok(match context {
                Some(context) if has_come => {
                    let context = RejectContext { also_read_well: true, ..context.clone() };
                    Fate::StaysAs(Box::new(KeptReject { context: Some(context), ..record.clone() }))
                }
                _ => Fate::Stays,
            });
        }
        let is_overtaken = read.is_whole
            || context.as_ref().is_some_and(|it| {
                self.texts().get(&fingerprint(raw, it)) == Some(&true)
                    || place(&self.stream, it).is_some_and(|place| read.covers(&place, it.window))
            })
            || keys.map_or(Ok(false), |it| self.watch.is_overtaken(&it))?;
        Ok(if is_overtaken { Fate::Leaves } else { Fate::Stays })
    }

    fn texts(&self) -> MutexGuard<'_, HashMap<[u8; 32], bool>> {
        // A text was rejected or not.
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run has read to its end, as far as records in quarantine are of it.
#[derive(Debug, Default)]
pub(super) struct ReadAgain {
    /// Whether everything was read, and nothing rejected.
    pub(super) is_whole: bool,
    /// Places without windows.
    places: HashSet<String>,
    windows: HashMap<String, Vec<Span>>,
}

impl ReadAgain {
    /// Takes a slice that was read to its end.
    pub(super) fn add(&mut self, place: String, window: Option<Span>) {
        match window {
            Some(span) => self.windows.entry(place).or_default().push(span),
            None => _ = self.places.insert(place),
        }
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.windows.is_empty()
    }

    /// Whether all of a slice was read, in whatever windows.
    fn covers(&self, place: &str, window: Option<Span>) -> bool {
        let Some((start, end)) = window else { return self.places.contains(place) };
        let mut spans = self.windows.get(place).cloned().unwrap_or_default();
        spans.sort_unstable();
        let reached =
            spans.iter().fold(
                start,
                |reached, &(from, until)| {
                    if from <= reached { reached.max(until) } else { reached }
                },
            );
        reached >= end && start < end
    }
}

/// The keys of records whose other columns need not fit.
#[derive(Debug)]
struct RejectKeys {
    stream: StreamPlan,
    decoder: Decoder,
    /// With `newest_by`, which need not fit.
    with_version: Option<Decoder>,
}

impl RejectKeys {
    fn new(stream: &StreamPlan) -> Option<Self> {
        let mut stream = stream.clone();
        let key = stream.key().to_vec();
        let with_version = match &stream.write {
            WriteMode::Merge { newest_by: Some(version), .. } => {
                let mut stream = stream.clone();
                let version = version.clone();
                stream.columns.retain(|it| key.contains(&it.name) || it.name == version);
                stream.unknown_fields = UnknownFields::Ignore;
                Some(Decoder::new(&stream))
            }
            WriteMode::Merge { .. } | WriteMode::Append { .. } | WriteMode::Replace { .. } => None,
        };
        stream.columns.retain(|it| key.contains(&it.name));
        stream.unknown_fields = UnknownFields::Ignore;
        // A key that is masked in quarantine as well would be masked twice.
        let is_masked = stream.columns.iter().any(|it| it.mask.is_some());
        let decoder = Decoder::new(&stream);
        let is_known = !key.is_empty() && !is_masked && !decoder.needs_record_key();
        is_known.then_some(Self { stream, decoder, with_version })
    }

    /// Those of a record, one row a key; `None` where they are not known.
    fn of(
        &self,
        raw: &str,
        masked: &[String],
        context: Option<&RejectContext>,
    ) -> Option<RecordBatch> {
        if !has_context(&self.stream, context) || self.is_withheld(masked) {
            return None;
        }
        let RejectContext { parent, slice, .. } = context.cloned().unwrap_or_default();
        let context = SliceContext { parent, slice };
        let decode = |decoder: &Decoder| {
            let Decoded { batch, rejects, .. } = decoder.decode_record(raw, &context).ok()?;
            (rejects.is_empty() && batch.num_rows() > 0).then_some(batch)
        };
        self.with_version.as_ref().and_then(decode).or_else(|| decode(&self.decoder))
    }

    /// Whether something of a key may not be what was received.
    fn is_withheld(&self, masked: &[String]) -> bool {
        let masked: Vec<Option<JsonPath>> = masked.iter().map(|it| it.parse().ok()).collect();
        let meets = |path: &JsonPath| {
            masked.iter().any(|it| {
                it.as_ref().is_none_or(|it| it.is_root() || it.segments()[0] == path.segments()[0])
            })
        };
        self.stream.columns.iter().any(|it| match &it.from {
            ColumnSource::Record(path) => !masked.is_empty() && (path.is_root() || meets(path)),
            ColumnSource::Parent(_) | ColumnSource::Slice(_) => false,
        })
    }
}

/// Whether all values are there that columns take from slices.
pub(super) fn has_context(stream: &StreamPlan, context: Option<&RejectContext>) -> bool {
    stream.columns.iter().all(|column| match &column.from {
        ColumnSource::Record(_) => true,
        ColumnSource::Parent(name) => context.is_some_and(|it| it.parent.contains_key(name)),
        ColumnSource::Slice(name) => context.is_some_and(|it| it.slice.contains_key(name)),
    })
}

/// What the records of a slice need beside their texts.
pub(super) fn context(slice: &Slice) -> RejectContext {
    let SliceContext { parent, slice: values } = &slice.context;
    // The parents of a batch are not told apart, so that no column has a value of them.
    let is_of_one =
        |(name, value): &(&String, &Value)| *name != PARENT_VERSION && !value.is_array();
    let parent = parent.iter().filter(is_of_one);
    RejectContext {
        parent: parent.map(|(name, value)| (name.clone(), value.clone())).collect(),
        slice: values.clone(),
        window: slice.window(),
        ..RejectContext::default()
    }
}

/// The place of which nothing is left once a slice was read to its end, if there is one.
fn settled_place(stream: &StreamPlan, slice: &Slice) -> Option<String> {
    // Elsewhere what the source does not show any more stays, and another slice has what comes later.
    let is_scope = matches!(stream.write, WriteMode::Replace { .. });
    if !is_scope || slice.before.is_some() {
        return None;
    }
    place(stream, &context(slice))
}

/// What a slice is of, but for its window; `None` where nothing tells it from others.
fn place(stream: &StreamPlan, context: &RejectContext) -> Option<String> {
    if let Some(parent) = stream.slices.parent()
        && !parent.bind.iter().all(|(name, _)| context.parent.contains_key(name))
    {
        return None;
    }
    Some(values(context))
}

/// The values of a slice and of its parent, but for its window.
fn values(context: &RejectContext) -> String {
    let is_of_window = |name: &str| ["start", "end", "until"].contains(&name);
    let values = context.slice.iter();
    let values: Vec<_> =
        values.filter(|(name, _)| context.window.is_none() || !is_of_window(name)).collect();
    serde_json::json!([context.parent, values]).to_string()
}

/// Tells the text of a record, and what it is of, from others.
fn fingerprint(raw: &str, context: &RejectContext) -> [u8; 32] {
    let mut hash = Sha256::new();
    // No text has the byte 0xff.
    hash.update(values(context));
    hash.update([0xff]);
    hash.update(raw);
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
