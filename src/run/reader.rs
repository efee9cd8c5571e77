//! Between extract and load, for the pages of one slice: decode (large ones on rayon), count, hand
//! rows to the writer and parents to the child streams.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{DataType, Date32Type, TimestampMicrosecondType},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    feed::{ChildFeed, PARENT_VERSION},
    progress::StreamProgress,
    rejects::Told,
    settle::{self, Settling},
};
use crate::{
    extract::{NotTaken, PageReader, Slice, UnreadableBody},
    load::{ReadScopes, RejectContext, Rewrite, Spooled, SpooledEnd, SpooledPage, SpooledReject},
    plan::{Name, PageFacts, ReplaceScope, SliceContext, StreamPlan, WriteMode},
    transform::{BodyError, Decoded, Decoder, Notices, Reject},
};

/// Between the parts of a slice's key; no id has it.
const KEY_SEPARATOR: char = '\u{1f}';

/// Under which a later run finds a slice; `None` where it has to be read again.
///
/// The slice of a parent is the same only while the parent is: a parent without a cursor value
/// could have changed unseen.
pub(super) fn slice_key(stream: &StreamPlan, slice: &Slice) -> Option<String> {
    let parent = &slice.context.parent;
    if stream.slices.parent().is_some() {
        parent.get(PARENT_VERSION).filter(|it| !it.is_null())?;
        // All values, because the id of a batch says only how many parents it has.
        let values = serde_json::to_string(parent).ok()?;
        return Some(format!("{}{KEY_SEPARATOR}{values}", slice.id));
    }
    Some(slice.id.clone())
}

/// Bytes of a body that is decoded where it arrives, in some 50 µs: to wake a thread for it would cost
/// as much again.
const SMALL_BODY: usize = 32 << 10;

/// What a stream's slices share.
#[derive(Debug)]
pub(super) struct Shared {
    decoder: Arc<Decoder>,
    /// What an earlier run has left.
    pub(super) spooled: Option<Spooled>,
    pub(super) writer: Option<WriterQueue>,
    pub(super) children: Vec<ChildFeed>,
    tally: Mutex<Tally>,
    has_key: bool,
    /// Whether rows of an earlier run may stand.
    has_standing_rows: bool,
    /// Bytes of rows that may be held back of one slice.
    held_bytes: usize,
    /// The column whose largest value is the cursor.
    cursor: Option<Name>,
    /// The first slice for which anything was asked.
    pub(super) asked: Arc<OnceLock<Slice>>,
    /// Columns whose nulls are counted.
    watched: Vec<Name>,
    /// Where the stream is published: what is in quarantine, and may leave it.
    pub(super) settling: Option<Arc<Settling>>,
}

impl Shared {
    pub(super) fn new(
        stream: &StreamPlan,
        decoder: Decoder,
        spooled: Option<Spooled>,
        writer: Option<WriterQueue>,
        children: Vec<ChildFeed>,
        has_standing_rows: bool,
        held_bytes: usize,
    ) -> Self {
        let is_snapshot =
            matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::All, .. });
        Self {
            decoder: Arc::new(decoder),
            spooled,
            writer,
            children,
            tally: Mutex::default(),
            has_key: !stream.key().is_empty(),
            has_standing_rows: has_standing_rows && !is_snapshot,
            held_bytes,
            cursor: stream.cursor.as_ref().map(|it| it.column.clone()),
            asked: Arc::default(),
            watched: stream.expect.max_nulls.iter().map(|(name, _)| name.clone()).collect(),
            settling: None,
        }
    }

    pub(super) fn settling(self, settling: Option<Arc<Settling>>) -> Self {
        Self { settling, ..self }
    }

    /// The counts of all slices, once they have ended.
    pub(super) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *lock(&self.tally))
    }
}

/// The way to the thread that writes a stream.
#[derive(Debug)]
pub(super) struct WriterQueue {
    sender: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    /// Of the room.
    kibibytes: usize,
    /// Whether a page has to be done with before the next one is asked for.
    is_hand_over: bool,
}

/// Whoever takes the pages of a stream, seen from the other end.
#[derive(Debug)]
pub(super) struct Taker(mpsc::UnboundedSender<Queued>);

impl Taker {
    /// Whether nobody takes pages any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Ends when nobody takes pages any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum Queued {
    /// A page, with the room that it takes.
    Page { page: QueuedPage, room: OwnedSemaphorePermit },
    /// A slice has all its pages.
    SliceEnd { key: String, end: SpooledEnd },
    /// The stream was read to its end. A queue that closes without it belongs to a stream that is
    /// not published.
    End { scopes: ReadScopes, rewrite: Rewrite },
}

/// A page on its way to the writer.
#[derive(Debug)]
pub(super) struct QueuedPage {
    /// The slice, for a person.
    pub(super) slice: String,
    /// The slice's key for a later run; `None` where the page need not be kept for one.
    pub(super) key: Option<String>,
    pub(super) page: u64,
    pub(super) records: u64,
    pub(super) batch: RecordBatch,
    pub(super) rejects: Vec<Reject>,
    /// What these need beside their texts; nothing where there are none.
    pub(super) context: RejectContext,
}

/// Reasons why records do not fit that are told apart: some name what was found.
const REASONS: usize = 50;

/// Counts that are no progress, but belong into the report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) notices: Notices,
    pub(super) rejected: u64,
    pub(super) first_reject: Option<String>,
    /// Records that did not fit, by column and reason; no more than [`REASONS`] of them.
    pub(super) reasons: BTreeMap<(Option<String>, String), u64>,
    /// Rows that were not written, because others of their slice were rejected and the stream has
    /// no key to tell them from those that stand.
    pub(super) held_back: u64,
    pub(super) largest_cursor: Option<DateTime<Utc>>,
    /// Nulls in the columns that the stream has expectations about.
    pub(super) nulls: Vec<u64>,
}

impl WriterQueue {
    /// A queue and its other end.
    ///
    /// Up to about `bytes` of decoded rows may wait in it; what is over makes fetching wait.
    pub(super) fn new(bytes: usize) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let kibibytes = (bytes >> 10).clamp(1, 1 << 20);
        let room = Arc::new(Semaphore::new(kibibytes));
        (Self { sender, room, kibibytes, is_hand_over: false }, receiver)
    }

    /// The queue of one who may need no further page, so that none is asked for too soon.
    pub(super) fn hand_over(self) -> Self {
        Self { is_hand_over: true, ..self }
    }

    /// Tells when nobody takes pages any more. It keeps the other end waiting as long as it lives.
    pub(super) fn taker(&self) -> Taker {
        Taker(self.sender.clone())
    }

    async fn push(&self, page: QueuedPage) -> Result<(), NotTaken> {
        let raw: usize = page.rejects.iter().map(|it| it.raw.len()).sum();
        let kibibytes = (page.batch.get_array_memory_size() + raw) >> 10;
        let permits =
            u32::try_from(kibibytes.clamp(1, self.kibibytes)).map_err(|_| NotTaken::Stopped)?;
        let room =
            self.room.clone().acquire_many_owned(permits).await.map_err(|_| NotTaken::Stopped)?;
        self.sender.send(Queued::Page { page, room }).map_err(|_| NotTaken::Stopped)?;
        if self.is_hand_over {
            let all = u32::try_from(self.kibibytes).map_err(|_| NotTaken::Stopped)?;
            let _free = self.room.acquire_many(all).await.map_err(|_| NotTaken::Stopped)?;
            if self.sender.is_closed() {
                return Err(NotTaken::Stopped);
            }
        }
        Ok(())
    }

    /// Says that a slice has all its pages.
    pub(super) fn end_slice(&self, key: String, end: SpooledEnd) {
        // A writer that has failed says so itself.
        let _ = self.sender.send(Queued::SliceEnd { key, end });
    }

    /// Says that the stream was read to its end.
    pub(super) fn end(self, scopes: ReadScopes, rewrite: Rewrite) {
        // A writer that has failed says so itself.
        let _ = self.sender.send(Queued::End { scopes, rewrite });
    }
}

/// The largest value of the cursor column.
fn largest(batch: &RecordBatch, column: &Name) -> Option<DateTime<Utc>> {
    let array = batch.column_by_name(column.as_str())?;
    match array.data_type() {
        DataType::Date32 => {
            let days = arrow::compute::max(array.as_primitive::<Date32Type>())?;
            let date = Date32Type::to_naive_date_opt(days)?;
            Some(date.and_time(chrono::NaiveTime::MIN).and_utc())
        }
        DataType::Timestamp(..) => {
            let micros = arrow::compute::max(array.as_primitive::<TimestampMicrosecondType>())?;
            DateTime::from_timestamp_micros(micros)
        }
        _ => None,
    }
}

/// The rows whose cursor is before an instant, or unknown.
fn earlier(batch: RecordBatch, column: &Name, before: DateTime<Utc>) -> RecordBatch {
    let cursor = batch.column_by_name(column.as_str());
    let cursor = cursor.and_then(|it| it.as_primitive_opt::<TimestampMicrosecondType>());
    let Some(cursor) = cursor else { return batch };
    let end = before.timestamp_micros();
    let is_earlier = cursor.iter().map(|it| Some(it.is_none_or(|it| it < end)));
    let is_earlier: BooleanArray = is_earlier.collect();
    // The two are equally long.
    filter_record_batch(&batch, &is_earlier).unwrap_or(batch)
}

/// The nulls in each of `columns`.
fn nulls(batch: &RecordBatch, columns: &[Name]) -> Vec<u64> {
    let nulls =
        |it: &Name| batch.column_by_name(it.as_str()).map_or(0, |it| it.null_count() as u64);
    columns.iter().map(nulls).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind these locks is counted up: a panic elsewhere cannot leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the pages of one slice.
pub(super) struct SliceReader<'a> {
    shared: &'a Shared,
    progress: &'a StreamProgress,
    rejected: AtomicU64,
    /// Of a stream with a key, whose pages are handed on as they come.
    told: Mutex<Told>,
    /// Pages of a stream without a key: they count only when their slice is complete, because a
    /// row that is read again cannot be told from an equal one.
    held: Mutex<Held>,
    /// Under which a later run finds the slice.
    key: Option<String>,
    /// Rows whose cursor is at or after this are left out.
    before: Option<DateTime<Utc>>,
}

/// The pages of a slice that are held back.
#[derive(Default)]
struct Held {
    pages: Vec<HeldPage>,
    /// Of their rows.
    bytes: usize,
}

/// A page that is held back.
struct HeldPage {
    page: u64,
    slice: String,
    decoded: Decoded,
    context: RejectContext,
}

impl<'a> SliceReader<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        progress: &'a StreamProgress,
        key: Option<String>,
    ) -> Self {
        Self {
            shared,
            progress,
            rejected: AtomicU64::new(0),
            told: Mutex::default(),
            held: Mutex::default(),
            key,
            before: None,
        }
    }

    /// Leaves out rows whose cursor is at or after an instant.
    pub(super) fn before(self, before: Option<DateTime<Utc>>) -> Self {
        Self { before, ..self }
    }

    /// Hands on a page that an earlier run has read.
    pub(super) async fn replay(&self, slice: &Slice, page: SpooledPage) -> Result<(), NotTaken> {
        let SpooledPage { slice: _, page, records, batch, rejects } = page;
        let rejects = rejects.into_iter().map(|it| {
            let SpooledReject { position, column, reason, raw, masked } = it;
            Reject { position, column, reason, raw, masked }
        });
        let rejects: Vec<_> = rejects.collect();
        let facts = PageFacts { records, ..PageFacts::default() };
        let decoded = Decoded { facts, batch, rejects, notices: Notices::default() };
        let context = self.context(slice, &decoded.rejects);
        self.hand_on(page, slice.id.clone(), decoded, context).await
    }

    /// Says how the slice ended, for a later run.
    pub(super) fn end(&self, is_reconciled: bool) {
        if let (Some(writer), Some(key)) = (&self.shared.writer, &self.key) {
            let end = SpooledEnd { is_reconciled, rejected: self.rejected() };
            writer.end_slice(key.clone(), end);
        }
    }

    /// How many records of the slice did not fit.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Hands on what was held back until the slice was complete.
    pub(super) async fn complete(&self) -> Result<(), NotTaken> {
        let held = std::mem::take(&mut *lock(&self.held)).pages;
        // Where a record did not fit, the rows that stand stay; without a key the new ones would
        // double them.
        let has_rejects = held.iter().any(|it| !it.decoded.rejects.is_empty());
        let only_rejects = has_rejects && self.shared.has_standing_rows;
        for HeldPage { page, slice, mut decoded, context } in held {
            if only_rejects {
                lock(&self.shared.tally).held_back += decoded.batch.num_rows() as u64;
                decoded.batch = RecordBatch::new_empty(decoded.batch.schema());
            }
            self.hand_on(page, slice, decoded, context).await?;
        }
        Ok(())
    }

    /// What the rejects of a page need to become rows later.
    fn context(&self, slice: &Slice, rejects: &[Reject]) -> RejectContext {
        if rejects.is_empty() {
            return RejectContext::default();
        }
        RejectContext {
            held_back: !self.shared.has_key && self.shared.has_standing_rows,
            ..settle::context(slice)
        }
    }

    async fn hand_on(
        &self,
        page: u64,
        slice: String,
        decoded: Decoded,
        context: RejectContext,
    ) -> Result<(), NotTaken> {
        let Decoded { facts, mut batch, rejects, notices } = decoded;
        if let (Some(before), Some(cursor)) = (self.before, &self.shared.cursor) {
            batch = earlier(batch, cursor, before);
        }
        let progress = self.progress;
        progress.pages.fetch_add(1, Relaxed);
        progress.records.fetch_add(facts.records, Relaxed);
        progress.rows.fetch_add(batch.num_rows() as u64, Relaxed);
        progress.rejected.fetch_add(rejects.len() as u64, Relaxed);
        self.rejected.fetch_add(rejects.len() as u64, Relaxed);
        let cursor = self.shared.cursor.as_ref().and_then(|it| largest(&batch, it));
        self.count(notices, &rejects, cursor, &nulls(&batch, &self.shared.watched));
        for child in &self.shared.children {
            child.send(&batch);
        }
        let Some(writer) = &self.shared.writer else { return Ok(()) };
        let key = self.key.clone();
        let records = facts.records;
        let page = QueuedPage { slice, key, page, records, batch, rejects, context };
        progress.writer.time(writer.push(page)).await
    }

    fn count(
        &self,
        notices: Notices,
        rejects: &[Reject],
        cursor: Option<DateTime<Utc>>,
        nulls: &[u64],
    ) {
        let mut tally = lock(&self.shared.tally);
        let Notices { gaps, folds, duplicate_keys, dropped_empty } = notices;
        tally.notices.gaps += gaps;
        tally.notices.folds += folds;
        tally.notices.duplicate_keys += duplicate_keys;
        tally.notices.dropped_empty += dropped_empty;
        tally.rejected += rejects.len() as u64;
        tally.largest_cursor = tally.largest_cursor.max(cursor);
        tally.nulls.resize(nulls.len(), 0);
        tally.nulls.iter_mut().zip(nulls).for_each(|(all, page)| *all += page);
        for reject in rejects {
            let key = (reject.column.clone(), reject.kind().to_owned());
            let is_full = tally.reasons.len() >= REASONS;
            match tally.reasons.get_mut(&key) {
                Some(records) => *records += 1,
                None if is_full => {}
                None => _ = tally.reasons.insert(key, 1),
            }
        }
        if let (None, Some(reject)) = (&tally.first_reject, rejects.first()) {
            let column = reject.column.as_ref().map(|it| format!("column `{it}`: "));
            tally.first_reject = Some(format!("{}{}", column.unwrap_or_default(), reject.reason));
        }
    }
}

impl PageReader for SliceReader<'_> {
    type Output = Decoded;

    async fn read(
        &self,
        body: Bytes,
        context: &SliceContext,
    ) -> Result<(PageFacts, Decoded), UnreadableBody> {
        let threads = &self.progress.source.threads;
        let page = if body.len() <= SMALL_BODY {
            threads.run_here(|| decode(&self.shared.decoder, &body, context))?
        } else {
            let decoder = Arc::clone(&self.shared.decoder);
            let context = context.clone();
            let page = threads.run(move || decode(&decoder, &body, &context));
            let stopped =
                || UnreadableBody { reason: "decoding was stopped".into(), truncated: false };
            page.await.ok_or_else(stopped).flatten()?
        };
        Ok((page.facts.clone(), page))
    }

    async fn accept(&self, page: u64, slice: &Slice, mut output: Decoded) -> Result<(), NotTaken> {
        if self.shared.has_key {
            let mut told = lock(&self.told);
            if page == 1 {
                told.begin_again();
            }
            told.retain_untold(&mut output.rejects);
        }
        let context = self.context(slice, &output.rejects);
        if self.shared.has_key {
            return self.hand_on(page, slice.id.clone(), output, context).await;
        }
        let mut held = lock(&self.held);
        if page == 1 {
            // The slice is read again from its start.
            *held = Held::default();
        }
        held.bytes += output.batch.get_array_memory_size();
        held.pages.push(HeldPage { page, slice: slice.id.clone(), decoded: output, context });
        let limit = self.shared.held_bytes;
        if held.bytes > limit { Err(NotTaken::TooMuch(limit)) } else { Ok(()) }
    }
}

fn decode(
    decoder: &Decoder,
    body: &[u8],
    context: &SliceContext,
) -> Result<Decoded, UnreadableBody> {
    decoder.decode(body, context).map_err(|err| UnreadableBody {
        truncated: may_be_cut_off(&err, body),
        reason: why_unreadable(&err, body),
    })
}

/// Why a body cannot be read, for a person: what ends too early has no mistake at its end.
fn why_unreadable(err: &BodyError, body: &[u8]) -> String {
    match err {
        BodyError::Syntax { offset, expected, .. } if *offset >= body.trim_ascii_end().len() => {
            format!("the body breaks off after {} bytes: expected {expected} there", body.len())
        }
        _ => err.to_string(),
    }
}

/// Whether a body may be one that was cut off: the error is at its end, or it does not end as a JSON
/// document does.
fn may_be_cut_off(err: &BodyError, body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    match err {
        BodyError::Syntax { offset, .. } | BodyError::NotUtf8 { offset } => {
            *offset >= body.len() || !(body.ends_with(b"}") || body.ends_with(b"]"))
        }
        // Nothing at all is what is left of a body that broke off before it began.
        BodyError::Empty => true,
        _ => false,
    }
}
