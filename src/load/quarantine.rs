//! Rejected records with their reasons, as JSON lines.
//!
//! ```text
//! quarantine/<pipeline>/<stream>/<run>.jsonl
//! {"run":"r1","stream":"worklog","slice":"TREK-1","page":0,"position":3,"column":"start",
//!  "reason":"expected an instant, found \"n/a\"","raw":"{\"id\":41,\"start\":\"n/a\"}"}
//! ```
//!
//! The raw text is a JSON string whatever it holds: it may be no JSON at all. The file is staged
//! while it is written, and published also when its stream fails.

use std::{io::Write as _, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{WriteError, destination::Held, partition::segment, store::StagingFile};
use crate::plan::Name;

/// A record that does not fit, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedRecord<'a> {
    /// Its slice, for a person.
    pub slice: &'a str,
    /// Its page in the slice.
    pub page: u64,
    /// Its position on the page.
    pub position: u64,
    /// The column that did not fit; `None` where the record as a whole did not.
    pub column: Option<&'a str>,
    /// Why, for a person.
    pub reason: &'a str,
    /// The record as it was received.
    pub raw: &'a str,
}

/// Keeps the rejected records of one stream in one run.
#[derive(Debug)]
pub struct QuarantineWriter {
    held: Arc<Held>,
    stream: Name,
    staged: String,
    file: Option<StagingFile>,
}

/// A rejected record, as it is read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReject {
    /// The run that rejected it.
    pub run: String,
    /// Its stream.
    pub stream: String,
    /// Its slice, for a person.
    pub slice: String,
    /// Its page in the slice.
    pub page: u64,
    /// Its position on the page.
    pub position: u64,
    /// The column that did not fit; `None` where the record as a whole did not.
    pub column: Option<String>,
    /// Why, for a person.
    pub reason: String,
    /// The record as it was received.
    pub raw: String,
}

/// A line, its fields in order.
#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    stream: &'a str,
    slice: &'a str,
    page: u64,
    position: u64,
    column: Option<&'a str>,
    reason: &'a str,
    raw: &'a str,
}

impl QuarantineWriter {
    pub(super) fn new(held: &Arc<Held>, stream: &Name) -> Self {
        // No stream's directory has a `.` in its name.
        let staged = format!("{}/{stream}.jsonl.staged", held.staging());
        Self { held: Arc::clone(held), stream: stream.clone(), staged, file: None }
    }

    /// Keeps a record.
    pub fn write(&mut self, record: RejectedRecord<'_>) -> Result<(), WriteError> {
        let RejectedRecord { slice, page, position, column, reason, raw } = record;
        let line = Line {
            run: &self.held.run,
            stream: self.stream.as_str(),
            slice,
            page,
            position,
            column,
            reason,
            raw,
        };
        let file = match self.file.take() {
            Some(file) => file,
            None => self.held.store.create(&self.staged)?,
        };
        let file = self.file.insert(file);
        let written =
            serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)
            });
        written.map_err(file.error())
    }

    /// Makes the file visible, and says where it is; `None` if nothing was rejected.
    pub fn publish(mut self) -> Result<Option<String>, WriteError> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        file.finish()?;
        drop(file);
        let Held { store, pipeline, run, .. } = &*self.held;
        let path = format!("quarantine/{pipeline}/{}/{}.jsonl", self.stream, segment(run));
        store.sync(&self.staged)?;
        store.rename(&self.staged, &path)?;
        store.sync_parents(&path)?;
        Ok(Some(path))
    }
}

impl Drop for QuarantineWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = self.held.store.remove(&self.staged);
        }
    }
}
