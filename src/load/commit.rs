//! All files of a stream become visible, or none.
//!
//! ```text
//! _tracklake/<pipeline>/
//! ├── staging/run-<run>/<stream>/0.parquet.staged   1  written, fsynced, read back
//! ├── journal/<stream>.json                         2  files in, files out, manifest: THE COMMIT POINT
//! │                                                 3  files renamed into place, dropped ones removed
//! ├── manifests/<stream>.json                       4  what the dataset is now
//! └── lock                                          5  journal record removed: applied
//! ```
//!
//! A run that dies before 2 has changed nothing. One that dies after it has changed everything:
//! the next one starts with [`recover`], which does 3 to 5 again, and each of them may be done
//! twice. A record that cannot be understood stops the run, and nothing is removed.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use rayon::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    StagedFile, WriteError,
    destination::Held,
    parquet,
    split::Counts,
    store::{EntryKind, Store},
};
use crate::plan::{FormatPlan, Name, PartitionUnit, StreamPlan};

/// Of journal records and manifests.
const VERSION: u32 = 1;

/// A stream whose files are complete, and not yet visible. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct StagedStream {
    /// Rows in the files.
    pub rows: u64,
    /// Rows that were equal to one of these, or to a superseded one.
    pub duplicates: u64,
    /// Rows whose key a newer row has.
    pub superseded: u64,
    /// Partitions that have files.
    pub partitions: u64,
    /// The files.
    pub files: Vec<StagedFile>,
    stream: Name,
    partition: ManifestPartition,
    schema: SchemaRef,
    staging: Staging,
    held: Arc<Held>,
}

/// What became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Rows of the dataset; a row that is in two formats counts once.
    pub rows: u64,
    /// Partitions that have files.
    pub partitions: u64,
    /// Files, of all formats.
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

/// A commit: what has to be done, so that it can be done again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    files_in: Vec<FileIn>,
    files_out: Vec<String>,
    manifest: Manifest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    staged: String,
    path: String,
    bytes: u64,
}

/// What a dataset consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    pipeline: String,
    stream: String,
    run: String,
    rows: u64,
    partition: ManifestPartition,
    columns: Vec<ManifestColumn>,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestPartition {
    name: String,
    column: String,
    unit: String,
    zone: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestColumn {
    name: String,
    r#type: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    path: String,
    format: String,
    partition: String,
    rows: u64,
    bytes: u64,
}

/// All that is read before the rest can be understood.
#[derive(Deserialize)]
struct Versioned {
    version: serde_json::Value,
}

impl StagedStream {
    pub(super) fn new(
        held: Arc<Held>,
        staging: Staging,
        stream: &StreamPlan,
        schema: SchemaRef,
        counts: Counts,
        files: Vec<StagedFile>,
    ) -> Self {
        let Counts { rows, duplicates, superseded } = counts;
        let partitions: BTreeSet<&str> = files.iter().map(|it| it.partition.as_str()).collect();
        let plan = &stream.partition;
        let unit = match plan.unit {
            PartitionUnit::Hour => "hour",
            PartitionUnit::Day => "day",
            PartitionUnit::Month => "month",
            PartitionUnit::Year => "year",
        };
        Self {
            rows,
            duplicates,
            superseded,
            partitions: partitions.len() as u64,
            stream: stream.name.clone(),
            partition: ManifestPartition {
                name: plan.name.to_string(),
                column: plan.column.to_string(),
                unit: unit.to_owned(),
                zone: plan.zone.to_string(),
            },
            files,
            schema,
            staging,
            held,
        }
    }

    /// Replaces the stream's dataset, in the formats of this run, by the staged files. Files of
    /// other formats are left alone.
    ///
    /// After an error either nothing has changed, or the next run of the pipeline finishes what
    /// this one has begun.
    pub fn publish(mut self) -> Result<Published, WriteError> {
        self.secure()?;
        let record = self.record()?;
        let Held { store, pipeline, .. } = &*self.held;
        let path = journal(pipeline, &self.stream);
        let content = json(&store.absolute(&path)?, &record)?;

        // From here on the record may be there, whatever we are told.
        self.staging.is_kept = true;
        store.replace(&path, &content)?;
        apply(store, pipeline, &path, &record)?;
        self.staging.is_kept = false;

        Ok(Published {
            rows: self.rows,
            partitions: self.partitions,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|it| it.bytes).sum(),
            removed_files: record.files_out.len() as u64,
        })
    }

    /// Makes the staged files survive a loss of power, and sees that they are what was written.
    fn secure(&self) -> Result<(), WriteError> {
        let store = &self.held.store;
        self.files.par_iter().try_for_each(|file| {
            store.sync(&file.staged)?;
            read_back(store, file, &self.schema)
        })?;
        match self.files.first() {
            Some(file) => store.sync_parents(&file.staged),
            None => Ok(()),
        }
    }

    fn record(&self) -> Result<Record, WriteError> {
        let Held { store, plan, pipeline, run, .. } = &*self.held;
        let new: BTreeSet<&str> = self.files.iter().map(|it| it.path.as_str()).collect();
        let written: BTreeSet<&str> = plan.formats.iter().map(|it| it.directory()).collect();

        let mut files_out = Vec::new();
        for format in &written {
            files_out.extend(dataset(store, &format!("{format}/{pipeline}/{}", self.stream))?);
        }
        files_out.retain(|it| !new.contains(it.as_str()));

        let mut files: Vec<ManifestFile> = self.files.iter().map(manifest_file).collect();
        // What this run does not write is as it was.
        if let Some(earlier) = read::<Manifest>(store, &manifest(pipeline, &self.stream))? {
            files.extend(
                earlier.files.into_iter().filter(|it| !written.contains(it.format.as_str())),
            );
        }
        let columns = self.schema.fields().iter().map(|field| ManifestColumn {
            name: field.name().clone(),
            r#type: field.data_type().to_string(),
        });
        Ok(Record {
            version: VERSION,
            files_in: self
                .files
                .iter()
                .map(|StagedFile { staged, path, bytes, .. }| FileIn {
                    staged: staged.clone(),
                    path: path.clone(),
                    bytes: *bytes,
                })
                .collect(),
            files_out,
            manifest: Manifest {
                version: VERSION,
                pipeline: pipeline.to_string(),
                stream: self.stream.to_string(),
                run: run.clone(),
                rows: self.rows,
                partition: self.partition.clone(),
                columns: columns.collect(),
                files,
            },
        })
    }
}

/// How many rows a dataset has, if there is one.
pub(super) fn published_rows(
    store: &Store,
    pipeline: &Name,
    stream: &Name,
) -> Result<Option<u64>, WriteError> {
    Ok(read::<Manifest>(store, &manifest(pipeline, stream))?.map(|it| it.rows))
}

/// Finishes what earlier runs of the pipeline have committed, then removes what they only staged.
/// May itself be ended at any point.
pub(super) fn recover(store: &Store, pipeline: &Name) -> Result<(), WriteError> {
    let directory = format!("_tracklake/{pipeline}/journal");
    let mut records = Vec::new();
    let mut uncommitted = Vec::new();
    for entry in store.list(&directory)? {
        let path = format!("{directory}/{}", entry.name);
        if path.strip_suffix(".json").is_none() {
            uncommitted.push(path);
        } else if let Some(record) = read::<Record>(store, &path)? {
            records.push((path, record));
        }
    }
    for (path, record) in &records {
        apply(store, pipeline, path, record)?;
    }
    for path in &uncommitted {
        store.remove(path)?;
    }
    store.remove_all(&staging(pipeline))
}

/// The staging directory of all runs of a pipeline.
pub(super) fn staging(pipeline: &Name) -> String {
    format!("_tracklake/{pipeline}/staging")
}

fn journal(pipeline: &Name, stream: &Name) -> String {
    format!("_tracklake/{pipeline}/journal/{stream}.json")
}

fn manifest(pipeline: &Name, stream: impl std::fmt::Display) -> String {
    format!("_tracklake/{pipeline}/manifests/{stream}.json")
}

/// Does what a record promises. Every step may have been done before.
fn apply(store: &Store, pipeline: &Name, path: &str, record: &Record) -> Result<(), WriteError> {
    // All of it must be possible before any of it is done.
    let mut to_move = Vec::new();
    for file in &record.files_in {
        let is_it = |path: &str| store.size(path).map(|it| it == Some(file.bytes));
        if is_it(&file.staged)? {
            to_move.push(file);
        } else if !is_it(&file.path)? {
            return Err(WriteError::Lost {
                record: store.absolute(path)?,
                path: file.path.clone(),
                staged: file.staged.clone(),
            });
        }
    }
    for out in &record.files_out {
        store.absolute(out)?;
    }

    for file in to_move {
        store.rename(&file.staged, &file.path)?;
    }
    for out in &record.files_out {
        store.remove(out)?;
    }
    let emptied: BTreeSet<&str> =
        record.files_out.iter().filter_map(|it| it.rsplit_once('/')).map(|it| it.0).collect();
    for directory in &emptied {
        store.remove_if_empty(directory)?;
    }
    sync_directories(store, record)?;

    let manifest_path = manifest(pipeline, &record.manifest.stream);
    let content = json(&store.absolute(&manifest_path)?, &record.manifest)?;
    store.replace(&manifest_path, &content)?;
    store.remove(path)?;
    store.sync_parents(path)
}

/// Makes the moves and removals survive a loss of power.
fn sync_directories(store: &Store, record: &Record) -> Result<(), WriteError> {
    let mut directories = BTreeSet::new();
    let files_in = record.files_in.iter().map(|it| it.path.as_str());
    for path in files_in.chain(record.files_out.iter().map(String::as_str)) {
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/')
            && directories.insert(parent)
        {
            rest = parent;
        }
    }
    let directories: Vec<&str> = directories.into_iter().collect();
    directories.par_iter().try_for_each(|directory| match store.size(directory)? {
        Some(_) => store.sync(directory),
        // Removed because it was empty.
        None => Ok(()),
    })?;
    store.sync_root()
}

/// The files of a dataset: `part-…` in directories of the form `column=value`. Others may keep
/// files of their own beside them.
fn dataset(store: &Store, path: &str) -> Result<Vec<String>, WriteError> {
    let mut files = Vec::new();
    for partition in store.list(path)? {
        if partition.kind == EntryKind::File || !partition.name.contains('=') {
            continue;
        }
        let partition = format!("{path}/{}", partition.name);
        for file in store.list(&partition)? {
            if file.kind == EntryKind::File && file.name.starts_with("part-") {
                files.push(format!("{partition}/{}", file.name));
            }
        }
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

fn manifest_file(file: &StagedFile) -> ManifestFile {
    let StagedFile { staged: _, path, partition, format, rows, bytes } = file;
    ManifestFile {
        path: path.clone(),
        format: format.directory().to_owned(),
        partition: partition.clone(),
        rows: *rows,
        bytes: *bytes,
    }
}

/// A file of ours, of our version, or `None` if there is none.
fn read<T: DeserializeOwned>(store: &Store, path: &str) -> Result<Option<T>, WriteError> {
    let Some(content) = store.read(path)? else { return Ok(None) };
    let absolute = store.absolute(path)?;
    let damaged = |source| WriteError::Damaged { path: absolute.clone(), source };
    let Versioned { version } = serde_json::from_slice(&content).map_err(damaged)?;
    if version != VERSION {
        let found = version.to_string();
        return Err(WriteError::Version { path: absolute, found, known: VERSION });
    }
    serde_json::from_slice(&content).map(Some).map_err(damaged)
}

fn json<T: Serialize>(path: &std::path::Path, value: &T) -> Result<Vec<u8>, WriteError> {
    let mut content = serde_json::to_vec_pretty(value)
        .map_err(|source| WriteError::Damaged { path: path.to_owned(), source })?;
    content.push(b'\n');
    Ok(content)
}
