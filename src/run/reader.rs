//! Between extract and load, for the pages of one slice: decode on rayon, count, hand rows to the
//! writer and parents to the child streams.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::progress::StreamProgress;
use crate::{
    extract::{PageReader, ParentValues, Slice, Stopped, UnreadableBody},
    plan::{Name, PageFacts, SliceContext, StreamPlan},
    transform::{BodyError, Decoded, Decoder, Notices, Reject},
};

/// Bytes of decoded rows that may wait for one writer; what is over makes fetching wait.
const QUEUE_BYTES: usize = 16 << 20;

/// What a stream's slices share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) decoder: Arc<Decoder>,
    pub(super) writer: Option<WriterQueue>,
    pub(super) children: Vec<ChildFeed>,
    pub(super) tally: Mutex<Tally>,
    pub(super) has_key: bool,
}

/// The way to the thread that writes a stream.
#[derive(Debug)]
pub(super) struct WriterQueue {
    sender: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum Queued {
    /// A page, with the room that it takes.
    Page { batch: RecordBatch, rejects: Vec<QuarantinedRecord>, room: OwnedSemaphorePermit },
    /// The stream was read to its end. A queue that closes without it belongs to a stream that is
    /// not published.
    End,
}

/// A rejected record with its place.
#[derive(Debug)]
pub(super) struct QuarantinedRecord {
    pub(super) slice: String,
    pub(super) page: u64,
    pub(super) reject: Reject,
}

/// Counts that are no progress, but belong into the report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) notices: Notices,
    pub(super) first_reject: Option<String>,
}

impl WriterQueue {
    /// A queue and its other end.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, room: Arc::new(Semaphore::new(QUEUE_BYTES >> 10)) }, receiver)
    }

    async fn push(
        &self,
        batch: RecordBatch,
        rejects: Vec<QuarantinedRecord>,
    ) -> Result<(), Stopped> {
        let raw: usize = rejects.iter().map(|it| it.reject.raw.len()).sum();
        let kibibytes = (batch.get_array_memory_size() + raw) >> 10;
        let permits = u32::try_from(kibibytes.clamp(1, QUEUE_BYTES >> 10)).map_err(|_| Stopped)?;
        let room = self.room.clone().acquire_many_owned(permits).await.map_err(|_| Stopped)?;
        self.sender.send(Queued::Page { batch, rejects, room }).map_err(|_| Stopped)
    }

    /// Says that the stream was read to its end.
    pub(super) fn end(self) {
        // A writer that has failed says so itself.
        let _ = self.sender.send(Queued::End);
    }
}

/// The way to a child stream: each row of the parent is sent once.
#[derive(Debug)]
pub(super) struct ChildFeed {
    bind: Vec<(String, Name)>,
    sender: mpsc::UnboundedSender<ParentValues>,
    seen: Mutex<HashSet<u64>>,
}

impl ChildFeed {
    /// A feed and its other end.
    pub(super) fn new(bind: Vec<(String, Name)>) -> (Self, mpsc::UnboundedReceiver<ParentValues>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { bind, sender, seen: Mutex::default() }, receiver)
    }

    fn send(&self, batch: &RecordBatch) {
        let columns: Vec<_> = self
            .bind
            .iter()
            .filter_map(|(name, column)| Some((name, batch.column_by_name(column.as_str())?)))
            .collect();
        for row in 0..batch.num_rows() {
            let values: ParentValues =
                columns.iter().map(|(name, array)| ((*name).clone(), cell(array, row))).collect();
            if self.is_new(&values) {
                // A child that has ended needs no more parents.
                let _ = self.sender.send(values);
            }
        }
    }

    fn is_new(&self, values: &ParentValues) -> bool {
        let mut hasher = DefaultHasher::new();
        for (name, value) in values {
            (name, value.to_string()).hash(&mut hasher);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish())
    }
}

/// A cell as a template sees it.
fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::Int64 => Value::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::from(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Date32 => {
            let date = array.as_primitive::<Date32Type>().value_as_date(row);
            date.map_or(Value::Null, |it| Value::from(it.to_string()))
        }
        DataType::Timestamp(..) => {
            let instant = array.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row);
            instant.map_or(Value::Null, |it| Value::from(it.and_utc().to_rfc3339()))
        }
        _ => Value::Null,
    }
}

/// Reads the pages of one slice.
pub(super) struct SliceReader<'a> {
    stream: &'a StreamPlan,
    shared: &'a Shared,
    progress: &'a StreamProgress,
    /// Pages of a stream without a key: they count only when their slice is complete, because a
    /// row that is read again cannot be told from an equal one.
    held: Mutex<Vec<(u64, String, Decoded)>>,
}

impl<'a> SliceReader<'a> {
    pub(super) fn new(
        stream: &'a StreamPlan,
        shared: &'a Shared,
        progress: &'a StreamProgress,
    ) -> Self {
        Self { stream, shared, progress, held: Mutex::default() }
    }

    /// Hands on what was held back until the slice was complete.
    pub(super) async fn complete(&self) -> Result<(), Stopped> {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for (page, slice, decoded) in held {
            self.hand_on(page, slice, decoded).await?;
        }
        Ok(())
    }

    async fn hand_on(&self, page: u64, slice: String, decoded: Decoded) -> Result<(), Stopped> {
        let Decoded { facts, batch, rejects, notices } = decoded;
        let progress = self.progress;
        progress.pages.fetch_add(1, Relaxed);
        progress.records.fetch_add(facts.records, Relaxed);
        progress.rows.fetch_add(batch.num_rows() as u64, Relaxed);
        progress.rejected.fetch_add(rejects.len() as u64, Relaxed);
        self.count(notices, rejects.first());
        for child in &self.shared.children {
            child.send(&batch);
        }
        let Some(writer) = &self.shared.writer else { return Ok(()) };
        let rejects = rejects
            .into_iter()
            .map(|reject| QuarantinedRecord { slice: slice.clone(), page, reject })
            .collect();
        writer.push(batch, rejects).await
    }

    fn count(&self, notices: Notices, first: Option<&Reject>) {
        let mut tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Notices { gaps, folds, duplicate_keys, dropped_empty } = notices;
        tally.notices.gaps += gaps;
        tally.notices.folds += folds;
        tally.notices.duplicate_keys += duplicate_keys;
        tally.notices.dropped_empty += dropped_empty;
        if let (None, Some(reject)) = (&tally.first_reject, first) {
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
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let decoder = Arc::clone(&self.shared.decoder);
        let context = context.clone();
        rayon::spawn(move || {
            let read = decoder.decode(&body, &context).map_err(|err| UnreadableBody {
                truncated: may_be_cut_off(&err, &body),
                reason: why_unreadable(&err, &body),
            });
            // The slice may have been stopped meanwhile.
            let _ = sender.send(read);
        });
        let stopped = || UnreadableBody { reason: "decoding was stopped".into(), truncated: false };
        let page = receiver.await.map_err(|_| stopped())??;
        Ok((page.facts.clone(), page))
    }

    async fn accept(&self, page: u64, slice: &Slice, output: Decoded) -> Result<(), Stopped> {
        if self.shared.has_key {
            return self.hand_on(page, slice.id.clone(), output).await;
        }
        debug_assert!(self.stream.key().is_empty());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if page == 1 {
            // The slice is read again from its start.
            held.clear();
        }
        held.push((page, slice.id.clone(), output));
        Ok(())
    }
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
        _ => false,
    }
}
