//! All files of a stream become visible, or none.
//!
//! ```text
//! _tracklake/<pipeline>/
//! ├── staging/run-<run>/<stream>/0.parquet.staged   1  written, fsynced, read back
//! ├── journal/<stream>.json                         2  files in, files out, manifest: THE COMMIT POINT
//! │                                                 3  dropped files removed, others renamed into place
//! ├── manifests/<stream>.json                       4  what the dataset is now
//! └── lock                                          5  journal record removed: applied
//! ```
//!
//! A run that dies before 2 has changed nothing. One that dies after it has changed everything:
//! the next one starts with [`journal::recover`], which does 3 to 5 again, and each of them may be done
//! twice. A record that cannot be understood stops the run, and nothing is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::{Schema, SchemaRef};
use chrono::NaiveDate;
use serde::Serialize;

use super::{
    StagedFile, WriteError,
    destination::Held,
    journal::{self, FileIn, Record},
    manifest::{self, Manifest, ManifestFile, ManifestPartition, ROWS, VERSION},
    merge::Counts,
    parquet,
    part::Tree,
    quarantine::{Requarantine, Rewritten},
    store::{EntryKind, Store},
};
use crate::plan::{Deletes, FormatPlan, Name, StreamPlan};

/// A stream whose files are complete, and not yet visible. Dropped, it leaves nothing.
///
/// Each row that was read is counted once: `read == duplicates + superseded + added + updated +
/// unchanged + outdated`.
#[derive(Debug)]
pub struct StagedStream {
    /// Rows of the dataset, once it is published.
    pub rows: u64,
    /// Of these the ones that are not marked as gone.
    pub living: u64,
    /// Rows that came.
    pub read: u64,
    /// Rows that were equal to another one that came.
    pub duplicates: u64,
    /// Rows whose key a newer row that came has.
    pub superseded: u64,
    /// Rows whose key did not stand; without a key, rows that did not.
    pub added: u64,
    /// Rows that take the place of another one.
    pub updated: u64,
    /// Rows that stand already.
    pub unchanged: u64,
    /// Rows that are dropped, because the one that stands is newer, or is never changed.
    pub outdated: u64,
    /// Rows that stand, are in a scope that was read, and are not among what was read.
    pub removed: u64,
    /// Rows that leave their partition for another; they count as updated, too.
    pub redated: u64,
    /// Rows that stand in the scopes that were read.
    pub stood: u64,
    /// Partitions of the dataset, once it is published.
    pub partitions: u64,
    /// The directories of the partitions that are written, or that have no rows any more, in
    /// order.
    pub changed: Vec<String>,
    /// Rows that came, changed and went, by partition, in order; of the last 400 where that happened.
    pub changes: Vec<PartitionChange>,
    /// The files, in the order in which they become visible.
    pub files: Vec<StagedFile>,
    stream: Name,
    manifest: Manifest,
    schema: SchemaRef,
    /// What becomes of the stream's quarantine in the same commit.
    quarantine: Option<Requarantine>,
    staging: Staging,
    held: Arc<Held>,
}

/// What became of the rows of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionChange {
    /// Its directory, such as `date=2024-07-25`.
    pub partition: String,
    /// Rows that are new to the dataset.
    pub added: u64,
    /// Rows that took the place of another one.
    pub updated: u64,
    /// Rows that the source no longer has.
    pub removed: u64,
    /// Of those that took the place of another one, the ones that stood in another partition.
    pub redated: u64,
}

/// What became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Rows of the dataset; a row that is in two formats counts once.
    pub rows: u64,
    /// Partitions of the dataset.
    pub partitions: u64,
    /// The directories of the partitions that were written, or that have no rows any more.
    pub changed: Vec<String>,
    /// Files that were written, of all formats.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of the earlier dataset that are gone; those that were replaced do not count.
    pub removed_files: u64,
}

/// The staging directory of a stream, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    store: Store,
    path: String,
    /// Set once a journal record may need the files.
    is_kept: bool,
}

impl Staging {
    pub(super) fn new(held: &Held, stream: &Name) -> Self {
        let path = format!("{}/{stream}", held.staging());
        Self { store: held.store.clone(), path, is_kept: false }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed now is removed by the next run.
            let _ = self.store.remove_all(&self.path);
        }
    }
}

/// What a stream's dataset becomes.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    pub(super) changes: Vec<PartitionChange>,
    pub(super) read: u64,
    pub(super) stood: u64,
    pub(super) rows: u64,
    pub(super) living: u64,
    pub(super) changed: Vec<String>,
    /// Files that stay as they are.
    pub(super) kept: Vec<ManifestFile>,
    /// Files that come, in order.
    pub(super) files: Vec<StagedFile>,
}

impl StagedStream {
    pub(super) fn new(
        held: Arc<Held>,
        staging: Staging,
        stream: &StreamPlan,
        schema: SchemaRef,
        trees: &[Tree],
        outcome: Outcome,
    ) -> Self {
        let Outcome { counts, changes, read, stood, rows, living, changed, kept, files } = outcome;
        let mut all = kept;
        all.extend(files.iter().filter(|it| !it.is_replaced).map(ManifestFile::new));
        all.sort_by(|a, b| a.path.cmp(&b.path));
        let partitions: BTreeSet<&str> = all.iter().map(|it| it.partition.as_str()).collect();
        Self {
            rows,
            living,
            read,
            duplicates: counts.duplicates,
            superseded: counts.superseded,
            added: counts.added,
            updated: counts.updated,
            unchanged: counts.unchanged,
            outdated: counts.outdated,
            removed: counts.removed,
            redated: counts.redated,
            stood,
            partitions: partitions.len() as u64,
            changed,
            changes,
            files,
            stream: stream.name.clone(),
            manifest: Manifest {
                version: VERSION,
                pipeline: held.pipeline.to_string(),
                stream: stream.name.to_string(),
                run: held.run.clone(),
                rows,
                living: (stream.deletes == Deletes::Mark).then_some(living),
                partition: ManifestPartition::new(stream),
                key: stream.key().iter().map(ToString::to_string).collect(),
                columns: manifest::columns(&schema),
                formats: manifest::formats(trees),
                files: all,
                state: serde_json::Value::Null,
            },
            schema,
            quarantine: None,
            staging,
            held,
        }
    }

    /// Makes the commit one that completes `run`, which has published last: the rows are of records
    /// that it rejected and that leave `quarantine`.
    #[must_use]
    pub fn settling(mut self, run: String, quarantine: Requarantine) -> Self {
        self.manifest.run = run;
        self.quarantine = Some(quarantine);
        self
    }

    /// Makes the staged files, and those that stay as they are, the stream's dataset, and keeps
    /// `state` with it: both or neither.
    ///
    /// After an error either nothing has changed, or the next run of the pipeline finishes what
    /// this one has begun.
    pub fn publish(mut self, state: &serde_json::Value) -> Result<Published, WriteError> {
        self.secure()?;
        self.manifest.state = state.clone();
        let record = self.record()?;
        let published = self.outcome_of(&record);
        let Held { store, pipeline, .. } = &*self.held;
        let path = journal::path(pipeline, &self.stream);
        let content = manifest::json(&store.absolute(&path)?, &record)?;

        // From here on the record may be there, whatever we are told.
        self.staging.is_kept = true;
        journal::commit(store, &path, &content)?;
        journal::apply(store, pipeline, &path, &record)?;
        self.staging.is_kept = false;

        Ok(published)
    }

    /// Says that the rows are those of `before`, and whose run they are; refuses where they are not.
    pub(super) fn rewritten_from(mut self, before: &Manifest) -> Result<Self, WriteError> {
        let is_same = self.rows == before.rows
            && self.living == before.living()
            && (self.added, self.updated, self.removed) == (0, 0, 0);
        if !is_same {
            return Err(WriteError::Rewritten {
                stream: self.stream.to_string(),
                found: self.rows,
                expected: before.rows,
            });
        }
        self.manifest.run.clone_from(&before.run);
        Ok(self)
    }

    /// The files of the dataset, once it is published.
    pub(super) fn dataset(&self) -> &[ManifestFile] {
        &self.manifest.files
    }

    /// What [`publish`](Self::publish) would make visible.
    pub fn outcome(&self) -> Result<Published, WriteError> {
        Ok(self.outcome_of(&self.record()?))
    }

    /// The rows of each partition of a day, once it is published; those marked as gone count, too.
    pub fn rows_by_day(&self) -> BTreeMap<NaiveDate, u64> {
        let mut days = BTreeMap::new();
        // Whatever is written of a row, one of the trees is read back.
        for file in self.manifest.standing() {
            let number = file.partition.number().and_then(|it| i32::try_from(it).ok());
            if let Some(day) = number.and_then(NaiveDate::from_epoch_days) {
                *days.entry(day).or_default() += file.rows;
            }
        }
        days
    }

    fn outcome_of(&self, record: &Record) -> Published {
        // The rows that we keep for ourselves are nobody's files.
        let is_visible =
            |path: &str| manifest::tree_name(path) != ROWS && !path.starts_with("quarantine/");
        let removed = record.files_out_first.iter().chain(&record.files_out);
        let stays = |it: &&StagedFile| !it.is_replaced && is_visible(&it.path);
        let written = || self.files.iter().filter(stays);
        Published {
            rows: self.rows,
            partitions: self.partitions,
            changed: self.changed.clone(),
            files: written().count() as u64,
            bytes: written().map(|it| it.bytes).sum(),
            removed_files: removed.filter(|it| is_visible(it)).count() as u64,
        }
    }

    /// Makes the staged files survive a loss of power, and sees that they are what was written.
    fn secure(&self) -> Result<(), WriteError> {
        let store = &self.held.store;
        store.for_all(&self.files, |file| {
            store.sync(&file.staged)?;
            read_back(store, file, &self.schema)
        })?;
        self.rewritten().try_for_each(|it| store.sync(&it.staged))?;
        // All of them are in the same directory.
        let mut staged =
            self.files.iter().map(|it| &it.staged).chain(self.rewritten().map(|it| &it.staged));
        staged.next().map_or(Ok(()), |it| store.sync_parents(it))
    }

    fn rewritten(&self) -> impl Iterator<Item = &Rewritten> {
        self.quarantine.iter().flat_map(|it| &it.rewritten)
    }

    fn record(&self) -> Result<Record, WriteError> {
        let Held { store, pipeline, .. } = &*self.held;
        // The dataset is what the manifest says, and nothing else that looks like it.
        let stays: BTreeSet<&str> = self.manifest.files.iter().map(|it| it.path.as_str()).collect();
        let mut files_out = Vec::new();
        for tree in self.manifest.formats.keys().map(String::as_str).chain([ROWS]) {
            files_out.extend(dataset(store, &manifest::tree_path(tree, pipeline, &self.stream))?);
        }
        files_out.retain(|it| !stays.contains(it.as_str()));
        files_out.sort_unstable();
        files_out.dedup();
        let changed: BTreeSet<&str> = self.changed.iter().map(String::as_str).collect();
        let is_first = |path: &String| partition(path).is_some_and(|it| changed.contains(it));
        let (files_out_first, mut files_out): (_, Vec<_>) =
            files_out.into_iter().partition(is_first);
        files_out.extend(self.quarantine.iter().flat_map(|it| it.emptied.iter().cloned()));
        let file_in = |it: &StagedFile| FileIn {
            staged: it.staged.clone(),
            path: it.path.clone(),
            bytes: it.bytes,
            is_replaced: it.is_replaced,
            turn: it.turn,
        };
        let rewritten = self.rewritten().map(|Rewritten { staged, path, bytes }| FileIn {
            staged: staged.clone(),
            path: path.clone(),
            bytes: *bytes,
            is_replaced: false,
            // Rows come before their records leave quarantine.
            turn: u64::MAX,
        });
        Ok(Record {
            version: VERSION,
            epoch: store.epoch(),
            files_out_first,
            files_in: self.files.iter().map(file_in).chain(rewritten).collect(),
            files_out,
            manifest: self.manifest.clone(),
        })
    }
}

/// Refuses files of a stream that has no manifest: the commit of a run that does not read everything would remove
/// rows that nobody can bring back.
pub(super) fn refuse_unknown(
    store: &Store,
    pipeline: &Name,
    stream: &Name,
    formats: &[&str],
) -> Result<(), WriteError> {
    let manifest = manifest::path(pipeline, stream);
    for format in formats {
        let directory = manifest::tree_path(format, pipeline, stream);
        let files = dataset(store, &directory)?.len();
        if files > 0 {
            return Err(WriteError::Unknown {
                stream: stream.to_string(),
                files,
                directory: store.absolute(&directory)?,
                manifest: store.absolute(&manifest)?,
            });
        }
    }
    Ok(())
}

/// The directory of a file's partition.
fn partition(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1)
}

/// The files of a dataset: `part-…` in directories of the form `column=value`. Others may keep
/// files of their own beside them.
fn dataset(store: &Store, path: &str) -> Result<Vec<String>, WriteError> {
    if let Some(sizes) = store.sizes(&[path])? {
        let is_part = |file: &&String| {
            let mut segments = file[path.len()..].split('/').skip(1);
            let segments = (segments.next(), segments.next(), segments.next());
            matches!(segments, (Some(partition), Some(name), None)
                if partition.contains('=') && name.starts_with("part-"))
        };
        return Ok(sizes.into_keys().filter(|it| is_part(&it)).collect());
    }
    let mut files = Vec::new();
    for partition in store.list(path)? {
        if partition.kind == EntryKind::File || !partition.name.contains('=') {
            continue;
        }
        files.extend(journal::parts(store, &format!("{path}/{}", partition.name))?);
    }
    Ok(files)
}

fn read_back(store: &Store, file: &StagedFile, schema: &Schema) -> Result<(), WriteError> {
    match file.format {
        FormatPlan::Parquet => parquet::read_back(store, file, schema),
        FormatPlan::Csv(_) => {
            let found = store.size(&file.staged)?;
            if found == Some(file.bytes) {
                return Ok(());
            }
            Err(WriteError::ReadBack {
                path: store.absolute(&file.staged)?,
                found: format!("{} bytes", found.unwrap_or_default()),
                expected: format!("{} bytes", file.bytes),
            })
        }
    }
}
