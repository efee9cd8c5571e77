//! Published files against their manifest, row by row; nothing is changed.
//!
//! ```text
//! manifest   parquet/p/s/date=2024-07-25/part-0.parquet   12 rows, 4711 bytes
//!   files      is it there, of that size; is anything there that no manifest knows
//!   footer     12 rows; columns and types
//!   rows       each is of 2024-07-25 in the manifest's zone; keys in order, none twice in the stream
//!   lines      csv/p/s/date=2024-07-25/part-0.csv says the same, byte by byte
//! ```
//!
//! A partition at a time, a batch at a time: memory does not grow with the dataset. Keys are
//! compared as hashes first, and those that meet by their bytes. What does not fit in memory goes
//! to the host's temporary directory, never into the destination.

mod keys;
mod lines;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::Hasher as _,
};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use serde::Serialize;

use super::{
    WriteError,
    inspect::Inspection,
    manifest::{self, Manifest, ManifestFile, ROWS},
    partition::{Ordinal, Partitioner},
    store::{EntryKind, StoredFile, io_error},
};
use crate::plan::Name;
use keys::Keys;
use lines::CsvFiles;

/// Rows of a batch that is read, at most.
const BATCH_ROWS: u64 = 8_192;
/// Bytes of a batch that is read, about.
const BATCH_BYTES: u64 = 4 << 20;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The manifest has it, the destination does not.
    Missing,
    /// Readers see it, and no manifest has it.
    Extra,
    /// It has another size.
    Size,
    /// It cannot be read.
    Unreadable,
    /// It has another number of rows.
    Rows,
    /// It has other columns or types.
    Schema,
    /// Its rows are not in the order of the key.
    Order,
    /// It has a key that stands elsewhere, too.
    Key,
    /// It has rows of another partition.
    Partition,
    /// Its lines are not the rows of the Parquet files.
    Lines,
    /// A run was ended while it published.
    Interrupted,
    /// The manifest does not make sense.
    Manifest,
}

/// Something that is not as it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    /// The file, by its place in the destination.
    pub path: String,
    /// What is wrong with it.
    pub damage: Damage,
    /// The same for a person.
    pub reason: String,
}

/// What was found out about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedStream {
    /// The stream.
    pub stream: String,
    /// Whether it has a manifest.
    pub is_published: bool,
    /// Files that the manifest has.
    pub files: u64,
    /// Rows that the manifest has.
    pub rows: u64,
    /// Parquet files from before a column was added; readers see nulls there.
    pub older_schema: u64,
    /// The columns that some of them do not have.
    pub added_columns: Vec<String>,
    /// What is not as it was published, by path.
    pub problems: Vec<FileProblem>,
}

impl Inspection {
    /// Compares the files of `streams` with their manifests, down to each row.
    ///
    /// Does nothing while a run holds the pipeline, and says so if one published while it was at work: the nightly
    /// run never has to wait for this. In a bucket, where it may have been killed, looks all the same.
    pub fn verify(&self, streams: &[Name]) -> Result<Vec<VerifiedStream>, WriteError> {
        let holder = self.refuse_while_held()?;
        let before = self.fingerprint()?;
        let interrupted = self.interrupted()?;
        let mut verified = Vec::new();
        for stream in streams {
            verified.push(if interrupted.contains(stream) {
                self.unfinished_commit(stream, holder.as_deref())
            } else {
                self.verify_stream(stream)?
            });
        }
        self.refuse_while_held()?;
        if self.fingerprint()? != before {
            return Err(WriteError::Overtaken { pipeline: self.pipeline.to_string() });
        }
        Ok(verified)
    }

    /// Who holds the pipeline, and may be dead.
    fn refuse_while_held(&self) -> Result<Option<String>, WriteError> {
        match self.holder()? {
            Some(holder) if !self.store.locks_outlive_processes() => {
                Err(WriteError::Locked { pipeline: self.pipeline.to_string(), holder })
            }
            holder => Ok(holder),
        }
    }

    /// Tells one state of the manifests and the journal from another.
    fn fingerprint(&self) -> Result<u64, WriteError> {
        let mut hasher = std::hash::DefaultHasher::new();
        // First: a commit that ends in between leaves its record here or another manifest there.
        self.interrupted()?.iter().for_each(|it| hasher.write(it.as_str().as_bytes()));
        for stream in self.streams()? {
            hasher.write(stream.as_str().as_bytes());
            hasher.write(&self.store.read(&self.manifest_path(&stream))?.unwrap_or_default());
        }
        Ok(hasher.finish())
    }

    fn unfinished_commit(&self, stream: &Name, holder: Option<&str>) -> VerifiedStream {
        let mut verified = VerifiedStream::new(stream);
        let path = format!("{}/journal/{stream}.json", self.directory());
        let reason = match holder {
            None => "a run was interrupted while publishing; the next run finishes it".to_owned(),
            Some(holder) => format!(
                "being published by {holder}; if that run was ended, the next one finishes it"
            ),
        };
        verified.problems.push(problem(path, Damage::Interrupted, reason));
        verified
    }

    fn verify_stream(&self, stream: &Name) -> Result<VerifiedStream, WriteError> {
        let mut verified = VerifiedStream::new(stream);
        let damaged =
            |reason: String| problem(self.manifest_path(stream), Damage::Manifest, reason);
        let manifest = match Manifest::read(&self.store, &self.pipeline, stream) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                for path in self.present(stream, &BTreeSet::new())? {
                    let reason = "no manifest has it, because the stream was never published here";
                    verified.problems.push(problem(path, Damage::Extra, reason));
                }
                return Ok(verified);
            }
            Err(err @ (WriteError::Damaged { .. } | WriteError::Version { .. })) => {
                verified.problems.push(damaged(chain(&err)));
                return Ok(verified);
            }
            Err(err) => return Err(err),
        };
        verified.is_published = true;
        verified.rows = manifest.rows;
        let visible = manifest.files.iter().filter(|it| it.format != ROWS);
        verified.files = visible.count() as u64;

        let known: BTreeSet<&str> = manifest.files.iter().map(|it| it.path.as_str()).collect();
        let trees = self.trees(stream, &known);
        let trees: Vec<&str> = trees.iter().map(String::as_str).collect();
        let sizes = self.store.sizes(&trees)?;
        let size = |path: &str| match &sizes {
            Some(sizes) => Ok(sizes.get(path).copied()),
            None => self.store.size(path),
        };

        let mut problems = Vec::new();
        let mut sound = Vec::new();
        for file in &manifest.files {
            match size(&file.path)? {
                None => problems.push(problem(&file.path, Damage::Missing, "it is missing")),
                Some(bytes) if bytes != file.bytes => {
                    let reason = format!("it has {bytes} bytes, {} were published", file.bytes);
                    problems.push(problem(&file.path, Damage::Size, reason));
                }
                Some(_) => sound.push(file),
            }
        }
        let mut extra = self.present(stream, &known)?;
        extra.retain(|it| !known.contains(it.as_str()));
        for path in &extra {
            let reason = "the manifest does not have it, but readers see it";
            problems.push(problem(path, Damage::Extra, reason));
        }

        let Some(partition) = manifest.partition.plan() else {
            problems.push(damaged("its partition makes no sense".to_owned()));
            verified.close(problems);
            return Ok(verified);
        };
        let truth = if manifest.formats.contains_key(ROWS) { ROWS } else { "parquet" };
        let groups = groups(&manifest, &sound, &extra, truth);
        let of_truth = manifest.files.iter().filter(|it| it.format == truth);
        let sum: u64 = of_truth.map(|it| it.rows).sum();
        if sum != manifest.rows {
            let reason = format!("its files have {sum} rows, it says {}", manifest.rows);
            problems.push(damaged(reason));
        }

        let keys = Keys::new(&self.store, &manifest.key)?;
        let check = |group: &Group<'_>| {
            let partitioner = Partitioner::new(partition.clone());
            let mut check = Check {
                inspection: self,
                manifest: &manifest,
                partitioner,
                keys: &keys,
                found: Found::default(),
            };
            check.group(group)?;
            Ok(check.found)
        };
        let found = self.store.map_all(&groups, check)?;
        let mut added = BTreeSet::new();
        let mut keyed = Vec::new();
        for found in found {
            verified.older_schema += found.older_schema;
            added.extend(found.lacking);
            problems.extend(found.problems);
            keyed.extend(found.keyed);
        }
        problems.extend(keys.repeated(&keyed)?);
        verified.added_columns = added.into_iter().collect();
        verified.close(problems);
        Ok(verified)
    }

    /// Where files of the stream are, or would be.
    fn trees(&self, stream: &Name, known: &BTreeSet<&str>) -> Vec<String> {
        let mut trees = BTreeSet::from(["parquet", "csv", ROWS]);
        trees.extend(known.iter().map(|it| manifest::tree_name(it)));
        trees.iter().map(|it| manifest::tree_path(it, &self.pipeline, stream)).collect()
    }

    /// The files that readers of the stream would take for data, and our own copies of its rows.
    fn present(&self, stream: &Name, known: &BTreeSet<&str>) -> Result<Vec<String>, WriteError> {
        let mut waiting = self.trees(stream, known);
        let is_data = |name: &str| {
            let ends = [".parquet", ".csv", ".csv.gz", ".csv.zst"];
            name.starts_with("part-") || ends.iter().any(|it| name.ends_with(it))
        };
        let directories: Vec<&str> = waiting.iter().map(String::as_str).collect();
        if let Some(sizes) = self.store.sizes(&directories)? {
            let name = |path: &String| path.rsplit('/').next().is_some_and(is_data);
            return Ok(sizes.into_keys().filter(name).collect());
        }
        let mut files = Vec::new();
        while let Some(directory) = waiting.pop() {
            if !self.store.has_directory(&directory)? {
                continue;
            }
            for entry in self.store.list(&directory)? {
                let path = format!("{directory}/{}", entry.name);
                match entry.kind {
                    EntryKind::Directory => waiting.push(path),
                    EntryKind::File if is_data(&entry.name) => files.push(path),
                    EntryKind::File => {}
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

impl VerifiedStream {
    fn new(stream: &Name) -> Self {
        Self {
            stream: stream.to_string(),
            is_published: false,
            files: 0,
            rows: 0,
            older_schema: 0,
            added_columns: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn close(&mut self, mut problems: Vec<FileProblem>) {
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        self.problems = problems;
    }
}

fn problem(path: impl Into<String>, damage: Damage, reason: impl Into<String>) -> FileProblem {
    FileProblem { path: path.into(), damage, reason: reason.into() }
}

/// An error with its causes on one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// The files of one partition, in the order of their rows.
#[derive(Debug, Default)]
struct Group<'a> {
    /// Those whose rows count, and how many these are where the manifest has them.
    truth: Vec<(&'a str, Option<u64>)>,
    /// Rows of the truth, as the manifest has them.
    rows: u64,
    /// Whether all files of the truth can be read as far as is known.
    is_whole: bool,
    csv: Vec<&'a ManifestFile>,
    csv_rows: u64,
    /// Whether one of the CSV files is missing or another: which rows the others have is unknown.
    csv_has_gaps: bool,
}

/// Partitions by their directories, and each extra file on its own.
fn groups<'a>(
    manifest: &'a Manifest,
    sound: &[&'a ManifestFile],
    extra: &'a [String],
    truth: &str,
) -> Vec<Group<'a>> {
    let sound: HashSet<&str> = sound.iter().map(|it| it.path.as_str()).collect();
    let mut files: Vec<&ManifestFile> = manifest.files.iter().collect();
    // `part-10` is after `part-9`.
    files.sort_by_key(|it| (it.path.len(), it.path.as_str()));
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for file in files {
        let is_sound = sound.contains(file.path.as_str());
        let group = groups
            .entry(&file.partition)
            .or_insert_with(|| Group { is_whole: true, ..Group::default() });
        if file.format == truth {
            group.rows += file.rows;
            group.is_whole &= is_sound;
            if is_sound {
                group.truth.push((&file.path, Some(file.rows)));
            }
        } else {
            group.csv_rows += file.rows;
            group.csv_has_gaps |= !is_sound;
            if is_sound {
                group.csv.push(file);
            }
        }
    }
    let is_parquet = |it: &&String| {
        manifest::tree_name(it) == truth
            && it.rsplit_once('.').is_some_and(|(_, ending)| ending == "parquet")
    };
    let alone = |it: &'a String| Group { truth: vec![(it, None)], ..Group::default() };
    groups.into_values().chain(extra.iter().filter(is_parquet).map(alone)).collect()
}

/// What is found out about a partition.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<FileProblem>,
    older_schema: u64,
    /// Columns that some of its files do not have.
    lacking: BTreeSet<String>,
    /// Files whose keys count.
    keyed: Vec<String>,
}

/// Compares the files of one partition with each other and with the manifest.
struct Check<'a> {
    inspection: &'a Inspection,
    manifest: &'a Manifest,
    partitioner: Partitioner,
    keys: &'a Keys,
    found: Found,
}

impl Check<'_> {
    fn group(&mut self, group: &Group<'_>) -> Result<(), WriteError> {
        if !group.csv.is_empty() && group.csv_rows != group.rows && group.is_whole {
            let (csv, rows) = (group.csv_rows, group.rows);
            let reason = format!("the partition has {csv} rows in CSV and {rows} in Parquet");
            self.report(&group.csv[0].path, Damage::Rows, reason);
        }
        let mut csv = CsvFiles::new(&self.inspection.store, self.manifest, &group.csv);
        if group.csv_has_gaps || !group.is_whole {
            csv.count_only();
        }
        for (path, rows) in &group.truth {
            let is_read = self.parquet(path, *rows, &mut csv)?;
            if !is_read {
                // Lines cannot be told from others any more; they can be counted.
                csv.count_only();
            }
        }
        self.found.problems.extend(csv.finish());
        Ok(())
    }

    fn report(&mut self, path: &str, damage: Damage, reason: impl Into<String>) {
        self.found.problems.push(problem(path, damage, reason));
    }

    /// Reads a file to its end. Says whether all of its rows could be read.
    fn parquet(
        &mut self,
        path: &str,
        rows: Option<u64>,
        csv: &mut CsvFiles<'_>,
    ) -> Result<bool, WriteError> {
        let reader = match self.open(path) {
            Ok(reader) => reader,
            Err(err) => {
                self.report(
                    path,
                    Damage::Unreadable,
                    format!("it cannot be read: {}", chain(&err)),
                );
                return Ok(false);
            }
        };
        let in_footer =
            u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or_default();
        if let Some(rows) = rows.filter(|it| *it != in_footer) {
            let reason = format!("it has {in_footer} rows, {rows} were published");
            self.report(path, Damage::Rows, reason);
        }
        if !self.schema(path, &reader) {
            return Ok(false);
        }
        let mut keys = self.keys.of_file(reader.schema())?;
        let groups = reader.metadata().row_groups();
        let bytes: i64 =
            groups.iter().map(parquet::file::metadata::RowGroupMetaData::total_byte_size).sum();
        let per_row = u64::try_from(bytes).unwrap_or_default() / in_footer.max(1);
        let batch_rows = (BATCH_BYTES / per_row.max(1)).clamp(16, BATCH_ROWS);
        let reader = reader.with_batch_size(usize::try_from(batch_rows).unwrap_or(16)).build();
        let batches = match reader {
            Ok(batches) => batches,
            Err(err) => {
                self.report(path, Damage::Unreadable, format!("it cannot be read: {err}"));
                return Ok(false);
            }
        };
        let mut strays = Strays::default();
        let mut read = 0;
        for batch in batches {
            let batch = match batch {
                Ok(batch) => batch,
                Err(err) => {
                    let reason = format!("it cannot be read behind row {read}: {err}");
                    self.report(path, Damage::Unreadable, reason);
                    return Ok(false);
                }
            };
            read += batch.num_rows() as u64;
            self.dates(path, &batch, &mut strays)?;
            if let Some(keys) = &mut keys {
                self.keys.take(keys, &batch)?;
            }
            csv.compare(&batch)?;
        }
        if let Some(reason) = strays.reason() {
            self.report(path, Damage::Partition, reason);
        }
        if keys.as_ref().is_some_and(|it| !it.is_sorted()) {
            self.report(path, Damage::Order, "its rows are not in the order of the key");
        }
        if keys.is_some() {
            self.found.keyed.push(path.to_owned());
        }
        Ok(true)
    }

    fn open(&self, path: &str) -> Result<ParquetRecordBatchReaderBuilder<StoredFile>, WriteError> {
        let (handle, absolute) = self.inspection.store.open_stored(path)?;
        let metadata = ArrowReaderMetadata::load(&handle, ArrowReaderOptions::new())
            .map_err(|source| WriteError::Parquet { action: "read", path: absolute, source })?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(handle, metadata))
    }

    /// Compares the file's columns with those of the manifest, and says whether the rest of the
    /// file can be understood.
    fn schema(&mut self, path: &str, reader: &ParquetRecordBatchReaderBuilder<StoredFile>) -> bool {
        let manifest = self.manifest;
        let mut is_sound = true;
        for field in reader.schema().fields() {
            let (name, kind) = (field.name(), field.data_type().to_string());
            let reason = match manifest.columns.iter().find(|it| it.name == *name) {
                Some(column) if column.r#type == kind => continue,
                Some(column) => {
                    format!("column `{name}` is {kind}, {} was published", column.r#type)
                }
                None => format!("column `{name}` is not in the manifest"),
            };
            self.report(path, Damage::Schema, reason);
            is_sound = false;
        }
        let has = |name: &str| reader.schema().column_with_name(name).is_some();
        let lacking: Vec<&str> =
            manifest.columns.iter().map(|it| it.name.as_str()).filter(|it| !has(it)).collect();
        let needed = manifest.key.iter().map(String::as_str);
        let needed = needed.chain([manifest.partition.column()]);
        for name in needed.filter(|it| !has(it)).collect::<BTreeSet<_>>() {
            let reason = format!("it has no column `{name}`");
            self.found.problems.push(problem(path, Damage::Schema, reason));
            is_sound = false;
        }
        if is_sound && !lacking.is_empty() {
            self.found.older_schema += 1;
            self.found.lacking.extend(lacking.into_iter().map(str::to_owned));
        }
        is_sound
    }

    fn partition_column(&self) -> &str {
        self.manifest.partition.column()
    }

    /// Looks for rows whose own date is not that of their directory.
    fn dates(
        &mut self,
        path: &str,
        batch: &RecordBatch,
        strays: &mut Strays,
    ) -> Result<(), WriteError> {
        let Some(column) = batch.column_by_name(self.partition_column()) else { return Ok(()) };
        let mut ordinals = Vec::with_capacity(batch.num_rows());
        self.partitioner.ordinals(column.as_ref(), &mut ordinals)?;
        let directory = path.rsplit('/').nth(1).unwrap_or_default();
        let mut last: Option<(Ordinal, bool)> = None;
        for ordinal in ordinals {
            let is_here = match last {
                Some((of, is_here)) if of == ordinal => is_here,
                Some(_) | None => {
                    let is_here = self.partitioner.directory(ordinal) == directory;
                    last = Some((ordinal, is_here));
                    is_here
                }
            };
            if !is_here {
                strays.rows += 1;
                strays.first.get_or_insert_with(|| self.partitioner.directory(ordinal));
            }
        }
        Ok(())
    }
}

/// Rows of other partitions.
#[derive(Debug, Default)]
struct Strays {
    rows: u64,
    first: Option<String>,
}

impl Strays {
    fn reason(self) -> Option<String> {
        let Self { rows, first } = self;
        let first = first?;
        Some(if rows == 1 {
            format!("1 row is of `{first}`")
        } else {
            format!("{rows} rows are of other partitions, the first of `{first}`")
        })
    }
}

/// A file that cannot be read to its end, as a problem.
fn unreadable(path: &str, err: std::io::Error, absolute: &std::path::Path) -> FileProblem {
    let err = io_error("read", absolute)(err);
    problem(path, Damage::Unreadable, format!("it cannot be read: {}", chain(&err)))
}
