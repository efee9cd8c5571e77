//! Rejected records with their reasons, as JSON lines.
//!
//! ```text
//! quarantine/<pipeline>/<stream>/<run>.jsonl
//! {"run":"r1","stream":"worklog","slice":"TREK-1","page":0,"position":3,"column":"start",
//!  "reason":"expected an instant, found \"n/a\"","raw":"{\"id\":41,\"start\":\"n/a\"}",
//!  "context":{"parent":{"issue_key":"TREK-1"}}}
//! ```
//!
//! The raw text is a JSON string whatever it holds: it may be no JSON at all. Where columns mask
//! something in it, a line ends with the paths where something else stands than was received:
//! `"masked":["author.email"]`. The file is staged while it is
//! written, and published also when its stream fails. What leaves it later does so in the commit that
//! publishes its rows.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    WriteError,
    destination::Held,
    partition::segment,
    store::{EntryKind, StagingFile, Store, io_error},
};
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
    /// The record as it was received, but for what columns mask.
    pub raw: &'a str,
    /// The paths in the record where something else stands than was received.
    pub masked: &'a [String],
    /// What its slice brought to its columns.
    pub context: &'a RejectContext,
}

/// What a rejected record needs beside its text to become rows later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectContext {
    /// The values of the parent row, by the names that they are bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parent: BTreeMap<String, Value>,
    /// The values of the slice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slice: BTreeMap<String, Value>,
    /// Whether the rows of its slice that did fit were not published either, because the stream has
    /// no key to tell them from those that stand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_back: bool,
    /// The window of its slice, the end excluded; nothing where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether a row of its key was read well in the same run: nothing says which of the two is newer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub also_read_well: bool,
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
    /// The record as it was received, but for what columns mask.
    pub raw: String,
    /// The paths in the record where something else stands than was received.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// What its slice brought to its columns; nothing in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<RejectContext>,
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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    masked: &'a [String],
    context: &'a RejectContext,
}

impl QuarantineWriter {
    pub(super) fn new(held: &Arc<Held>, stream: &Name) -> Self {
        // No stream's directory has a `.` in its name.
        let staged = format!("{}/{stream}.jsonl.staged", held.staging());
        Self { held: Arc::clone(held), stream: stream.clone(), staged, file: None }
    }

    /// Keeps a record.
    pub fn write(&mut self, record: RejectedRecord<'_>) -> Result<(), WriteError> {
        let RejectedRecord { slice, page, position, column, reason, raw, masked, context } = record;
        let line = Line {
            run: &self.held.run,
            stream: self.stream.as_str(),
            slice,
            page,
            position,
            column,
            reason,
            raw,
            masked,
            context,
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
        let path = format!("{}/{}.jsonl", directory(pipeline, &self.stream), segment(run));
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

/// Where the files of a stream are, one a run.
pub(super) fn directory(pipeline: &Name, stream: &Name) -> String {
    format!("quarantine/{pipeline}/{stream}")
}

/// The files of a stream, the first run's first.
pub(super) fn files(
    store: &Store,
    pipeline: &Name,
    stream: &Name,
) -> Result<Vec<String>, WriteError> {
    let directory = directory(pipeline, stream);
    let files = store.list(&directory)?.into_iter();
    let is_ours =
        |name: &String, kind| kind == EntryKind::File && name.strip_suffix(".jsonl").is_some();
    Ok(files
        .filter(|it| is_ours(&it.name, it.kind))
        .map(|it| format!("{directory}/{}", it.name))
        .collect())
}

/// The run that a file is of.
pub(super) fn run_of(path: &str) -> String {
    let (_, name) = path.rsplit_once('/').unwrap_or_default();
    let run = name.strip_suffix(".jsonl").unwrap_or(name);
    percent_encoding::percent_decode_str(run).decode_utf8_lossy().into_owned()
}

/// Shows every record of a file, with its line.
pub(super) fn each(
    store: &Store,
    path: &str,
    mut see: impl FnMut(KeptReject, &str) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let (file, absolute) = store.open_file(path)?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(io_error("read", &absolute))?;
        let record = serde_json::from_str(&line).map_err(|source| WriteError::Quarantined {
            path: absolute.clone(),
            line: number,
            source,
        })?;
        see(record, &line)?;
    }
    Ok(())
}

/// Stages a file that starts with the first `lines` of another one.
fn begin(store: &Store, staged: &str, path: &str, lines: usize) -> Result<StagingFile, WriteError> {
    let mut file = store.create(staged)?;
    let (before, absolute) = store.open_file(path)?;
    for line in BufReader::new(before).lines().take(lines) {
        let line = line.map_err(io_error("read", &absolute))?;
        writeln!(file, "{line}").map_err(file.error())?;
    }
    Ok(file)
}

/// What becomes of a record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its rows are published.
    Leaves,
    /// It stays as it is.
    Stays,
    /// It stays as this: for another reason, or with more of it masked than before.
    StaysAs(Box<KeptReject>),
}

/// The quarantine of a stream as it will be: given to [`StagedStream::settling`], it becomes so in
/// the commit of the rows, or not at all.
///
/// [`StagedStream::settling`]: super::StagedStream::settling
#[derive(Debug)]
pub struct Requarantine {
    held: Arc<Held>,
    stream: Name,
    pub(super) rewritten: Vec<Rewritten>,
    /// Files of which nothing is left.
    pub(super) emptied: Vec<String>,
    left: u64,
}

/// A file with the records that stay in it.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) staged: String,
    pub(super) path: String,
    pub(super) bytes: u64,
}

impl Requarantine {
    pub(super) fn new(held: &Arc<Held>, stream: &Name) -> Self {
        let (held, stream) = (Arc::clone(held), stream.clone());
        Self { held, stream, rewritten: Vec::new(), emptied: Vec::new(), left: 0 }
    }

    /// Decides what becomes of each record, the first run's first.
    pub fn decide(
        &mut self,
        mut fate: impl FnMut(&KeptReject) -> Result<Fate, WriteError>,
    ) -> Result<(), WriteError> {
        for (at, path) in self.files()?.into_iter().enumerate() {
            self.decide_file(at, path, &mut fate)?;
        }
        Ok(())
    }

    /// The same, but a file with a line that cannot be read stays as it is; gives why.
    pub fn decide_readable(
        &mut self,
        mut fate: impl FnMut(&KeptReject) -> Result<Fate, WriteError>,
    ) -> Result<Vec<WriteError>, WriteError> {
        let mut unreadable = Vec::new();
        for (at, path) in self.files()?.into_iter().enumerate() {
            match self.decide_file(at, path, &mut fate) {
                Err(err @ WriteError::Quarantined { .. }) => unreadable.push(err),
                decided => decided?,
            }
        }
        Ok(unreadable)
    }

    fn files(&self) -> Result<Vec<String>, WriteError> {
        files(&self.held.store, &self.held.pipeline, &self.stream)
    }

    fn decide_file(
        &mut self,
        at: usize,
        path: String,
        mut fate: impl FnMut(&KeptReject) -> Result<Fate, WriteError>,
    ) -> Result<(), WriteError> {
        let store = &self.held.store;
        // In the directory that goes with the rows, if these do.
        let staged = format!("{}/{}/{at}.jsonl.staged", self.held.staging(), self.stream);
        // Made with the first line that changes: most files stay as they are.
        let mut file: Option<StagingFile> = None;
        let (mut same, mut left) = (0, 0);
        each(store, &path, |record, line| {
            let stays = match fate(&record)? {
                Fate::Leaves => None,
                Fate::StaysAs(stays) if *stays != record => Some(serde_json::to_string(&stays)),
                Fate::Stays | Fate::StaysAs(_) => Some(Ok(line.to_owned())),
            };
            let is_same = matches!(&stays, Some(Ok(stays)) if stays == line);
            let file = match &mut file {
                Some(file) => file,
                None if is_same => {
                    same += 1;
                    return Ok(());
                }
                None => file.insert(begin(store, &staged, &path, same)?),
            };
            let Some(stays) = stays else {
                left += 1;
                return Ok(());
            };
            let written = stays.map_err(std::io::Error::from);
            written.and_then(|line| writeln!(file, "{line}")).map_err(file.error())
        })?;
        self.left += left;
        let Some(mut file) = file else { return Ok(()) };
        file.finish()?;
        let bytes = file.bytes();
        drop(file);
        if bytes > 0 {
            self.rewritten.push(Rewritten { staged, path, bytes });
        } else {
            store.remove(&staged)?;
            self.emptied.push(path);
        }
        Ok(())
    }

    /// Makes the quarantine so by itself, where no rows go with it: file by file.
    pub fn publish(self) -> Result<(), WriteError> {
        let store = &self.held.store;
        for Rewritten { staged, path, .. } in &self.rewritten {
            store.sync(staged)?;
            store.rename(staged, path)?;
            store.sync_parents(path)?;
        }
        self.emptied.iter().try_for_each(|it| store.remove(it))
    }

    /// How many records leave it.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether it becomes another one.
    pub fn is_changed(&self) -> bool {
        !self.rewritten.is_empty() || !self.emptied.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_of_which_run_it_is() {
        for run in ["20240725T120000Z-4a4d", "a/b.c %", "zażółć"] {
            let path = format!("quarantine/p/s/{}.jsonl", segment(run));
            assert_eq!(run_of(&path), run);
        }
    }
}
