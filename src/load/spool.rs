//! Finished slices of a run that has not published yet, so that a run after a kill need not fetch
//! them again.
//!
//! ```text
//! _tracklake/<pipeline>/resume/run.json       whose slices they are: fingerprint of the pipeline, clock
//! _tracklake/<pipeline>/resume/<stream>.spool  frames: page | page | end of slice | page | …
//! frame                                       length, crc32, kind, payload (JSON; Arrow IPC for pages)
//! ```
//!
//! Pages can be small and many: one has no schema, which would take more room and time than five rows
//! do, and of a finished slice only its place in the file is kept in memory.
//!
//! Only slices whose end is in the file count. A frame that a kill or a loss of power has torn ends
//! the file: what is behind it is fetched again. The files go when their stream is published.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        MetadataVersion,
        reader::StreamReader,
        writer::{IpcWriteOptions, StreamWriter as IpcWriter},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{
    WriteError,
    destination::Held,
    store::{At, StagingFile, Store, io_error},
};
use crate::plan::Name;

/// The version of the files.
const VERSION: u32 = 2;
/// A frame that claims to be larger is torn.
const LARGEST_FRAME: u32 = 1 << 30;

/// Whose slices are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeHeader {
    /// The version of the files.
    pub version: u32,
    /// Tells one pipeline, its variables and the run's options from others.
    pub fingerprint: String,
    /// The clock of the run that began: windows stay the same.
    pub now: DateTime<Utc>,
}

impl ResumeHeader {
    /// A header for a run that begins.
    pub fn new(fingerprint: String, now: DateTime<Utc>) -> Self {
        Self { version: VERSION, fingerprint, now }
    }

    /// Whether the run that would begin as `new` may go on from this one.
    pub fn allows(&self, new: &Self, max_age: TimeDelta) -> bool {
        let age = new.now - self.now;
        self.version == new.version
            && self.fingerprint == new.fingerprint
            // A clock that went back must not keep old slices alive for ever.
            && age >= TimeDelta::zero()
            && age <= max_age
    }
}

/// A rejected record of a spooled page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledReject {
    /// Its position on the page.
    pub position: u64,
    /// The column that did not fit.
    pub column: Option<String>,
    /// Why.
    pub reason: String,
    /// The record as it was received, but for what columns mask.
    pub raw: String,
    /// The paths in the record where something else stands than was received.
    #[serde(default)]
    pub masked: Vec<String>,
}

/// A page as it is kept.
#[derive(Debug, Clone)]
pub struct SpooledPage {
    /// The slice's key.
    pub slice: String,
    /// The page's number in its slice, from 1.
    pub page: u64,
    /// Records on the page, rejected ones included.
    pub records: u64,
    /// Its rows.
    pub batch: RecordBatch,
    /// What did not fit.
    pub rejects: Vec<SpooledReject>,
}

#[derive(Serialize, Deserialize)]
struct PageHead {
    slice: String,
    page: u64,
    records: u64,
    rejects: Vec<SpooledReject>,
}

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledEnd {
    /// Whether the API gave a total that was reached.
    pub is_reconciled: bool,
    /// Records that did not fit.
    pub rejected: u64,
}

#[derive(Serialize, Deserialize)]
struct EndHead {
    slice: String,
    end: SpooledEnd,
}

/// What is kept of the memory of a page for the next one.
const KEPT_BYTES: usize = 2 << 20;

const PAGE: u8 = 1;
const END: u8 = 2;

/// Takes pages and ends of slices.
pub struct SpoolWriter {
    file: StagingFile,
    /// Writes the batches of all pages; what it has written is taken away page by page.
    ipc: IpcWriter<Vec<u8>>,
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolWriter").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A writer of batches that has written their schema.
fn ipc(schema: &SchemaRef) -> Result<IpcWriter<Vec<u8>>, ArrowError> {
    // As little between the columns as the format allows: a page can have five rows.
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    IpcWriter::try_new_with_options(Vec::new(), schema, options)
}

impl SpoolWriter {
    /// Keeps a page.
    pub fn page(&mut self, page: &SpooledPage) -> Result<(), WriteError> {
        let SpooledPage { slice, page, records, batch, rejects } = page;
        let head = PageHead {
            slice: slice.clone(),
            page: *page,
            records: *records,
            rejects: rejects.clone(),
        };
        let mut payload = vec![0; 4];
        self.json(&mut payload, &head)?;
        let head_len = u32::try_from(payload.len() - 4).unwrap_or(u32::MAX);
        payload[..4].copy_from_slice(&head_len.to_le_bytes());
        if let Err(err) = self.ipc.write(batch) {
            return Err(self.arrow(err));
        }
        let rows = std::mem::take(self.ipc.get_mut());
        self.frame(PAGE, &[&payload, &rows])?;
        *self.ipc.get_mut() = rows;
        // Its memory serves the next page, unless this one was large.
        self.ipc.get_mut().clear();
        self.ipc.get_mut().shrink_to(KEPT_BYTES);
        Ok(())
    }

    /// Says that a slice has all its pages; from here on it counts, once it is [flushed](Self::flush).
    pub fn end(&mut self, slice: &str, end: SpooledEnd) -> Result<(), WriteError> {
        let mut payload = Vec::new();
        self.json(&mut payload, &EndHead { slice: slice.to_owned(), end })?;
        self.frame(END, &[&payload])
    }

    /// Hands everything to the system, where it survives the process; a loss of power may cost it, and
    /// then the checksums say so.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.file.flush().map_err(self.file.error())
    }

    /// Writes a frame, whose payload comes in parts.
    fn frame(&mut self, kind: u8, payload: &[&[u8]]) -> Result<(), WriteError> {
        let length: usize = payload.iter().map(|it| it.len()).sum();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut head = [0; 9];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..8].copy_from_slice(&checksum(kind, payload).to_le_bytes());
        head[8] = kind;
        let file = &mut self.file;
        let written = file.write_all(&head);
        let written =
            written.and_then(|()| payload.iter().try_for_each(|part| file.write_all(part)));
        written.map_err(self.file.error())
    }

    fn json(&self, payload: &mut Vec<u8>, value: &impl Serialize) -> Result<(), WriteError> {
        let written = serde_json::to_writer(payload, value).map_err(std::io::Error::from);
        written.map_err(self.file.error())
    }

    fn arrow(&self, err: ArrowError) -> WriteError {
        unwritable(self.file.absolute(), err)
    }
}

fn unwritable(path: &Path, err: ArrowError) -> WriteError {
    io_error("write", path)(std::io::Error::other(err))
}

fn hash(slice: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    slice.hash(&mut hasher);
    hasher.finish()
}

fn checksum(kind: u8, payload: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    for part in payload {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The finished slices of an earlier run.
#[derive(Debug)]
pub struct Spooled {
    held: Arc<Held>,
    path: String,
    schema: SchemaRef,
    /// The schema as a stream of batches begins with it.
    preamble: Vec<u8>,
    /// By the hash of their keys.
    slices: HashMap<u64, FinishedSlice>,
    /// Where the last whole frame ends.
    end: u64,
    /// The file, once it is read: what it has of finished slices stays as it is.
    log: OnceLock<(Arc<File>, PathBuf)>,
}

#[derive(Debug, Default)]
struct FinishedSlice {
    end: Option<SpooledEnd>,
    pages: Vec<u64>,
}

impl Spooled {
    /// Looks through what an earlier run has left of a stream.
    pub(super) fn open(
        held: &Arc<Held>,
        stream: &Name,
        schema: SchemaRef,
    ) -> Result<Self, WriteError> {
        let path = spool(held, stream);
        let absolute = held.store.absolute(&path)?;
        let mut preamble = ipc(&schema).map_err(|err| unwritable(&absolute, err))?;
        let preamble = std::mem::take(preamble.get_mut());
        let held = Arc::clone(held);
        let (slices, log) = (HashMap::new(), OnceLock::new());
        let mut spooled = Self { held, path, schema, preamble, slices, end: 0, log };
        if spooled.held.store.log_size(&spooled.path)?.is_some() {
            spooled.scan()?;
        }
        Ok(spooled)
    }

    /// How a slice ended, if it is here.
    pub fn end(&self, slice: &str) -> Option<SpooledEnd> {
        self.slices.get(&hash(slice))?.end
    }

    /// The pages of a finished slice, in the order in which they came; none of another.
    pub fn pages(&self, slice: &str) -> Result<SpooledPages<'_>, WriteError> {
        let found = self.slices.get(&hash(slice));
        let offsets = found.map(|it| it.pages.as_slice()).unwrap_or_default();
        Ok(SpooledPages { spooled: self, frames: self.frames()?, offsets: offsets.iter() })
    }

    /// Goes on with the file, behind its last whole frame.
    pub fn append(&self) -> Result<SpoolWriter, WriteError> {
        let file = self.held.store.append_log(&self.path, self.end)?;
        let mut ipc = ipc(&self.schema).map_err(|err| unwritable(file.absolute(), err))?;
        ipc.get_mut().clear();
        Ok(SpoolWriter { file, ipc })
    }

    fn scan(&mut self) -> Result<(), WriteError> {
        let mut frames = self.frames()?;
        let mut slices: HashMap<u64, FinishedSlice> = HashMap::new();
        loop {
            let offset = frames.offset;
            match frames.next()? {
                Some((PAGE, payload)) => {
                    let Some(head) = page_head(&payload) else { break };
                    let slice = slices.entry(hash(&head.slice)).or_default();
                    if head.page == 1 {
                        // The slice was begun again.
                        *slice = FinishedSlice::default();
                    }
                    slice.pages.push(offset);
                }
                Some((END, payload)) => {
                    let Ok(head) = serde_json::from_slice::<EndHead>(&payload) else { break };
                    slices.entry(hash(&head.slice)).or_default().end = Some(head.end);
                }
                Some(_) | None => break,
            }
            self.end = frames.offset;
        }
        slices.retain(|_, it| it.end.is_some());
        for slice in slices.values_mut() {
            slice.pages.shrink_to_fit();
        }
        self.slices = slices;
        Ok(())
    }

    fn frames(&self) -> Result<Frames, WriteError> {
        let (file, absolute) = if let Some(log) = self.log.get() {
            log
        } else {
            let (file, absolute) = self.held.store.open_log(&self.path)?;
            // Another thread may have been quicker: its file has the same slices.
            self.log.get_or_init(|| (Arc::new(file), absolute))
        };
        let reader = BufReader::new(At::new(Arc::clone(file), 0));
        Ok(Frames { reader, absolute: absolute.clone(), offset: 0 })
    }

    fn parse(&self, payload: &[u8]) -> Option<SpooledPage> {
        let PageHead { slice, page, records, rejects } = page_head(payload)?;
        let (_, batch) = split_page(payload)?;
        let mut reader = StreamReader::try_new(self.preamble.chain(batch), None).ok()?;
        let batch = reader.next()?.ok()?;
        // The schema of today has the same columns, or the fingerprint would be another.
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec()).ok()?;
        Some(SpooledPage { slice, page, records, batch, rejects })
    }
}

/// The pages of a finished slice, one after the other.
#[derive(Debug)]
pub struct SpooledPages<'a> {
    spooled: &'a Spooled,
    frames: Frames,
    offsets: std::slice::Iter<'a, u64>,
}

impl SpooledPages<'_> {
    /// The next page.
    pub fn next_page(&mut self) -> Result<Option<SpooledPage>, WriteError> {
        let Some(offset) = self.offsets.next() else { return Ok(None) };
        self.frames.seek(*offset)?;
        let frame = self.frames.next()?;
        let page = frame.and_then(|(_, payload)| self.spooled.parse(&payload));
        // It was there when the file was looked through.
        let lost = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        page.map(Some).ok_or_else(|| io_error("read", &self.frames.absolute)(lost()))
    }
}

fn split_page(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn page_head(payload: &[u8]) -> Option<PageHead> {
    serde_json::from_slice(split_page(payload)?.0).ok()
}

#[derive(Debug)]
struct Frames {
    reader: BufReader<At>,
    absolute: std::path::PathBuf,
    offset: u64,
}

impl Frames {
    fn seek(&mut self, offset: u64) -> Result<(), WriteError> {
        self.offset = offset;
        let sought = self.reader.seek(SeekFrom::Start(offset));
        sought.map(|_| ()).map_err(io_error("read", &self.absolute))
    }

    /// The next whole frame, or `None` at the end and at a torn one.
    fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, WriteError> {
        let mut head = [0; 9];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > LARGEST_FRAME {
            return Ok(None);
        }
        let mut payload = vec![0; length as usize];
        if !self.fill(&mut payload)?
            || checksum(kind, &[&payload]) != u32::from_le_bytes([c0, c1, c2, c3])
        {
            return Ok(None);
        }
        self.offset += 9 + u64::from(length);
        Ok(Some((kind, payload)))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, WriteError> {
        match self.reader.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(err) => Err(io_error("read", &self.absolute)(err)),
        }
    }
}

/// Decides whether a run goes on from an earlier one, and says whose slices are kept from now on.
pub(super) fn begin(
    held: &Held,
    header: ResumeHeader,
    max_age: TimeDelta,
) -> Result<ResumeHeader, WriteError> {
    let directory = held.slices();
    let path = format!("{directory}/run.json");
    if let Some(earlier) =
        header_of(&held.store, &directory)?.filter(|it| it.allows(&header, max_age))
    {
        return Ok(earlier);
    }
    held.store.remove_all(&directory)?;
    let content = serde_json::to_vec(&header)
        .map_err(std::io::Error::from)
        .map_err(io_error("write", &held.store.absolute(&path)?))?;
    held.store.replace(&path, &content)?;
    Ok(header)
}

/// Whose slices a directory has.
pub(super) fn header_of(
    store: &Store,
    directory: &str,
) -> Result<Option<ResumeHeader>, WriteError> {
    // A header that cannot be read is one that is not there: nothing depends on it but time.
    let header = store.read(&format!("{directory}/run.json"))?;
    Ok(header.and_then(|it| serde_json::from_slice(&it).ok()))
}

/// Forgets the finished slices of a stream, because they are published.
pub(super) fn forget(held: &Held, stream: &Name) -> Result<(), WriteError> {
    held.store.remove_log(&spool(held, stream))
}

/// Forgets all finished slices, because the run has ended.
pub(super) fn forget_all(held: &Held) -> Result<(), WriteError> {
    held.store.remove_all(&held.slices())
}

pub(super) fn directory(pipeline: &Name) -> String {
    format!("_tracklake/{pipeline}/resume")
}

fn spool(held: &Held, stream: &Name) -> String {
    format!("{}/{stream}.spool", held.slices())
}

#[cfg(test)]
mod tests;
