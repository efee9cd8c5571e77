//! Looks at a destination without holding it: nothing is created, finished or removed.
//!
//! ```text
//! _tracklake/<pipeline>/manifests/<stream>.json    rows, partitions, state
//!                       runs/<run>.json            the last reports
//!                       resume/                    what an unfinished run has read
//!                       journal/<stream>.json      a commit that was not finished
//!                       lock                       who is writing
//! quarantine/<pipeline>/<stream>/<run>.jsonl       rejected records
//! ```
//!
//! What it says may be a moment old: a run may be at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
};

use serde::{Deserialize, Serialize};

use super::{
    KeptReject, ResumeHeader, Rewrite, WriteError, commit,
    destination::UnknownFiles,
    journal, lock,
    manifest::{self, Manifest},
    quarantine, spool,
    store::{EntryKind, Store, io_error},
    update::Order,
};
use crate::plan::{DestinationPath, DestinationPlan, Name, StreamPlan, dataset_schema};

/// One pipeline's part of a destination, to be looked at.
#[derive(Debug)]
pub struct Inspection {
    pub(super) store: Store,
    pub(super) pipeline: Name,
}

/// What a stream's manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSummary {
    /// Rows of the dataset.
    pub rows: u64,
    /// Partitions of the dataset.
    pub partitions: u64,
    /// Files of the dataset, of all formats.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The run that published last.
    pub run: String,
    /// What that run left for the next one.
    pub state: serde_json::Value,
}

/// The rejected records of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Files, one a run.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// The file of the latest run, by its place in the destination.
    pub newest: Option<String>,
}

/// What a run has read and not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Which runs may go on from it.
    pub header: ResumeHeader,
    /// The streams that it has read something of.
    pub streams: Vec<String>,
    /// The bytes that are kept.
    pub bytes: u64,
}

/// A commit that the run which began it did not finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unapplied {
    /// The stream.
    pub stream: String,
    /// The run that began it.
    pub run: String,
}

/// What is said of a journal record; all of it is known where it is applied.
#[derive(Deserialize)]
struct JournalHead {
    manifest: ManifestHead,
}

#[derive(Deserialize)]
struct ManifestHead {
    run: String,
}

impl Inspection {
    /// Opens what `pipeline` has in a destination; `None` where there is no such directory.
    pub fn open(path: &DestinationPath, pipeline: &Name) -> Result<Option<Self>, WriteError> {
        let store = Store::existing_of(path)?;
        Ok(store.map(|store| Self::of(&store, pipeline)))
    }

    /// Looks at what is open already.
    pub(super) fn of(store: &Store, pipeline: &Name) -> Self {
        Self { store: store.clone(), pipeline: pipeline.clone() }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Name {
        &self.pipeline
    }

    /// The run that holds the pipeline now.
    pub fn holder(&self) -> Result<Option<String>, WriteError> {
        lock::holder(&self.store, &self.pipeline)
    }

    /// The streams that have a manifest, by name.
    pub fn streams(&self) -> Result<Vec<Name>, WriteError> {
        self.named("manifests")
    }

    /// The streams whose last commit was not finished.
    pub fn interrupted(&self) -> Result<Vec<Name>, WriteError> {
        Ok(self.journal()?.iter().filter_map(|it| it.parse().ok()).collect())
    }

    /// The names of commits that were not finished. One that arrived after a later run had looked for such is
    /// none: it is void, and the next run removes it.
    fn journal(&self) -> Result<Vec<String>, WriteError> {
        let mut names = self.json_files("journal")?;
        if names.is_empty() {
            return Ok(names);
        }
        if let Some(first) = lock::void_before(&self.store, &self.pipeline)? {
            let mut epochs = BTreeMap::new();
            for name in &names {
                let content =
                    self.store.read(&format!("{}/journal/{name}.json", self.directory()))?;
                epochs.insert(name.clone(), content.and_then(|it| journal::epoch(&it)));
            }
            names.retain(|it| epochs[it].is_none_or(|epoch| epoch >= first));
        }
        Ok(names)
    }

    /// The commits that were not finished: the next run does that before all else.
    pub fn unapplied(&self) -> Result<Vec<Unapplied>, WriteError> {
        let mut found = Vec::new();
        for stream in self.journal()? {
            let path = format!("{}/journal/{stream}.json", self.directory());
            // A run at work may have finished it meanwhile.
            if let Some(JournalHead { manifest }) = manifest::read(&self.store, &path)? {
                found.push(Unapplied { stream, run: manifest.run });
            }
        }
        Ok(found)
    }

    /// Refuses what [`Destination::check`](super::Destination::check) does; says whether every
    /// file of the stream has to be written anew.
    pub fn check(
        &self,
        stream: &StreamPlan,
        plan: &DestinationPlan,
        unknown: UnknownFiles,
    ) -> Result<Rewrite, WriteError> {
        let Self { store, pipeline } = self;
        let Some(manifest) = Manifest::checked(store, plan, pipeline, stream)? else {
            if unknown == UnknownFiles::Refused {
                self.refuse_unknown(&stream.name, &plan.directories())?;
            }
            return Ok(Rewrite::Changed);
        };
        let is_new = manifest.has_new_format(&manifest::trees(plan, pipeline, &stream.name))
            || manifest.order(stream, &dataset_schema(stream)) == Order::Other;
        Ok(if is_new { Rewrite::All } else { Rewrite::Changed })
    }

    /// Refuses files in some formats of a stream that has no manifest.
    pub fn refuse_unknown(&self, stream: &Name, formats: &[&str]) -> Result<(), WriteError> {
        // A commit that was not finished has files before it has its manifest.
        if self.interrupted()?.contains(stream) {
            return Ok(());
        }
        // One that ended meanwhile has it now.
        if self.stream(stream)?.is_some() {
            return Ok(());
        }
        commit::refuse_unknown(&self.store, &self.pipeline, stream, formats)
    }

    /// What a stream's manifest says; `None` where nothing was published.
    pub fn stream(&self, stream: &Name) -> Result<Option<StreamSummary>, WriteError> {
        let Some(manifest) = Manifest::read(&self.store, &self.pipeline, stream)? else {
            return Ok(None);
        };
        let Manifest { run, rows, files, state, .. } = manifest;
        let partitions: BTreeSet<&str> = files.iter().map(|it| it.partition.as_str()).collect();
        // The rows that are kept for the next run are nobody's files.
        let visible = || files.iter().filter(|it| it.is_visible());
        Ok(Some(StreamSummary {
            rows,
            partitions: partitions.len() as u64,
            files: visible().count() as u64,
            bytes: visible().map(|it| it.bytes).sum(),
            run,
            state,
        }))
    }

    /// The directories of the partitions of a stream.
    pub fn partitions(&self, stream: &Name) -> Result<Vec<String>, WriteError> {
        let manifest = Manifest::read(&self.store, &self.pipeline, stream)?;
        let files = manifest.map(|it| it.files).unwrap_or_default();
        let partitions: BTreeSet<String> = files.into_iter().map(|it| it.partition).collect();
        Ok(partitions.into_iter().collect())
    }

    /// The reports of the last `count` runs, the latest first; one that cannot be read is null.
    pub fn reports(&self, count: usize) -> Result<Vec<(String, serde_json::Value)>, WriteError> {
        let mut reports = Vec::new();
        // A run's id starts with its time.
        for run in self.json_files("runs")?.into_iter().rev().take(count) {
            let path = format!("{}/runs/{run}.json", self.directory());
            let content = self.store.read(&path)?.unwrap_or_default();
            reports.push((run, serde_json::from_slice(&content).unwrap_or_default()));
        }
        Ok(reports)
    }

    /// The ids of the runs that have a report, the first run's first.
    pub fn runs(&self) -> Result<Vec<String>, WriteError> {
        // A run's id starts with its time.
        self.json_files("runs")
    }

    /// The report of a run.
    pub fn report(&self, run: &str) -> Result<serde_json::Value, WriteError> {
        let path = format!("{}/runs/{run}.json", self.directory());
        let content = self.store.read(&path)?.unwrap_or_default();
        let path = self.store.absolute(&path)?;
        serde_json::from_slice(&content).map_err(|source| WriteError::Damaged { path, source })
    }

    /// The rejected records of a stream.
    pub fn quarantine(&self, stream: &Name) -> Result<Quarantined, WriteError> {
        let mut found = Quarantined::default();
        for path in quarantine::files(&self.store, &self.pipeline, stream)? {
            found.files += 1;
            found.records += self.lines(&path)?;
            found.newest = Some(path);
        }
        Ok(found)
    }

    /// The runs that have something in quarantine of a stream, the first run's first.
    pub fn quarantined_runs(&self, stream: &Name) -> Result<Vec<String>, WriteError> {
        let paths = quarantine::files(&self.store, &self.pipeline, stream)?;
        Ok(paths.iter().map(|it| quarantine::run_of(it)).collect())
    }

    /// Shows every rejected record of a stream, the first run's first. A file with a line that cannot be
    /// read is shown up to there, and is the error once the others were shown.
    pub fn rejected(
        &self,
        stream: &Name,
        mut see: impl FnMut(KeptReject),
    ) -> Result<(), WriteError> {
        let mut unreadable = None;
        for path in quarantine::files(&self.store, &self.pipeline, stream)? {
            let seen = quarantine::each(&self.store, &path, |record, _| {
                see(record);
                Ok(())
            });
            match seen {
                Err(err @ WriteError::Quarantined { .. }) => unreadable = unreadable.or(Some(err)),
                seen => seen?,
            }
        }
        unreadable.map_or(Ok(()), Err)
    }

    /// Which runs may go on from the one that has not ended.
    pub fn resume_header(&self) -> Result<Option<ResumeHeader>, WriteError> {
        spool::header_of(&self.store, &spool::directory(&self.pipeline))
    }

    /// What a run has read and not published, if there is any.
    pub fn unfinished(&self) -> Result<Option<Unfinished>, WriteError> {
        let directory = spool::directory(&self.pipeline);
        let Some(header) = self.resume_header()? else { return Ok(None) };
        let (mut streams, mut bytes) = (Vec::new(), 0);
        for entry in self.store.list(&directory)? {
            let Some(stream) = entry.name.strip_suffix(".spool") else { continue };
            let size = self.store.log_size(&format!("{directory}/{}", entry.name))?;
            if let Some(size) = size.filter(|it| *it > 0) {
                streams.push(stream.to_owned());
                bytes += size;
            }
        }
        Ok((!streams.is_empty()).then_some(Unfinished { header, streams, bytes }))
    }

    /// The directory of everything that is not data.
    pub(super) fn directory(&self) -> String {
        format!("_tracklake/{}", self.pipeline)
    }

    /// The manifest's place.
    pub(super) fn manifest_path(&self, stream: &Name) -> String {
        manifest::path(&self.pipeline, stream)
    }

    fn named(&self, directory: &str) -> Result<Vec<Name>, WriteError> {
        let names = self.json_files(directory)?;
        Ok(names.iter().filter_map(|it| it.parse().ok()).collect())
    }

    /// The names of JSON files, in order.
    fn json_files(&self, directory: &str) -> Result<Vec<String>, WriteError> {
        let entries = self.store.list(&format!("{}/{directory}", self.directory()))?;
        let names = entries.iter().filter(|it| it.kind == EntryKind::File);
        Ok(names.filter_map(|it| Some(it.name.strip_suffix(".json")?.to_owned())).collect())
    }

    fn lines(&self, path: &str) -> Result<u64, WriteError> {
        let (file, absolute) = self.store.open_file(path)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut lines = 0;
        loop {
            let bytes = reader.fill_buf().map_err(io_error("read", &absolute))?;
            if bytes.is_empty() {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            let read = bytes.len();
            reader.consume(read);
        }
    }
}
