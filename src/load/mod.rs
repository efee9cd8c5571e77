//! Batches in; a partitioned dataset out, changed as a whole or not at all.
//!
//! ```text
//! RecordBatch   id=41 start=2024-07-25T21:42:06Z       as transform made it, in order of arrival
//!    |  split       rows -> (partition, key, rest), sorted within a memory budget
//!    v
//! sorted rows   2024-07-26 | 41 | …                    Asia/Shanghai: the next day; one row a key
//!    |  standing    which rows that stand are touched: by key, by scope
//!    |  pass        what came meets what stands, a partition at a time: what stays, what changes
//!    |  part        the partitions that change, every format side by side
//!    v
//! staged files  _tracklake/<pipeline>/staging/<run>/<stream>/0.parquet.staged
//!    |  commit      fsync, read back, one journal record: the commit point
//!    v
//! files         parquet/<pipeline>/<stream>/date=2024-07-26/part-0.parquet
//! ```
//!
//! The same rows give the same bytes, in whatever order and batches they arrive. This module does
//! not fetch, does not type, and does not know why a record was rejected; it names only
//! [`plan`](crate::plan). It reads no clock: the run's id is an argument.

mod bloom;
mod calendar;
mod cells;
mod commit;
mod compact;
mod csv;
mod destination;
mod error;
mod index;
mod inspect;
mod journal;
mod known;
mod lock;
mod manifest;
mod merge;
mod parquet;
mod part;
mod partition;
mod pass;
mod quarantine;
mod rows;
mod rows_out;
mod scope;
mod sort;
mod spill;
mod split;
mod spool;
mod standing;
mod store;
mod turns;
mod update;
mod verify;
mod watch;

#[cfg(test)]
mod tests;

use std::path::Path;

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::plan::{CsvCompression, FormatPlan};

pub use commit::{PartitionChange, Published, StagedStream};
pub use compact::Compaction;
pub use destination::{DEFAULT_MEMORY_BYTES, Destination, Purpose, StreamWriter, UnknownFiles};
pub use error::WriteError;
pub use inspect::{Inspection, Quarantined, StreamSummary, Unapplied, Unfinished};
pub use quarantine::{
    Fate, KeptReject, QuarantineWriter, RejectContext, RejectedRecord, Requarantine,
};
pub use rows_out::{RowFormat, RowsError, RowsOut, cell_text};
pub use scope::{ReadScopes, Rewrite, Scope, ScopeValue};
pub use spool::{
    ResumeHeader, SpoolWriter, Spooled, SpooledEnd, SpooledPage, SpooledPages, SpooledReject,
};
pub use standing::{DatasetColumn, DatasetShape, PartitionSums, Sum, Sums, SumsOf};
pub use store::{NewFile, check_file, replace_file};
pub use verify::{Damage, FileProblem, VerifiedStream};
pub use watch::{KeyWatch, Whose};

use store::StagingFile;

/// The directory of a partition, for the fuzzer.
#[cfg(fuzzing)]
pub fn partition_directory(column: &str, value: Option<&str>) -> String {
    partition::directory(column, value)
}

/// A file being written in one format.
///
/// One writer, one file, one schema. Rolling over to a new file and splitting by partition are
/// the caller's, so that a format stays a page of code. A writer that is dropped before it is
/// finished leaves only a staged file, which goes with its run's staging directory.
pub trait BatchWriter: Send {
    /// Appends a batch. Batches of no rows are allowed and write nothing.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError>;

    /// The size that the file would have if it were finished now, as an estimate that depends
    /// only on what was written.
    fn size(&self) -> u64;

    /// Completes the file and hands it back, still unpublished.
    fn finish(self: Box<Self>) -> Result<StagedFile, WriteError>;
}

/// A complete file that no reader sees yet. Paths are relative to the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    /// Where it is.
    pub staged: String,
    /// Where it goes.
    pub path: String,
    /// The directory of its partition, such as `date=2024-07-25`.
    pub partition: String,
    /// The partition's units after that of 1970-01-01; `None` for rows without a value.
    pub number: Option<i64>,
    /// Its format.
    pub format: FormatPlan,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Whether another one takes its place in the same commit.
    pub is_replaced: bool,
    /// It comes after the files of lower turns.
    pub turn: u64,
}

/// What every file of a stream shares.
#[derive(Debug, Clone)]
pub(crate) struct FileContext {
    /// The schema.
    schema: SchemaRef,
    /// Positions of the key columns.
    key: Vec<usize>,
    /// Entries of the footer, in order.
    metadata: Vec<(&'static str, String)>,
}

/// Writes a small text file of a directory whole, in the place of one of that name.
///
/// # Errors
///
/// What the file system refuses.
pub fn write_text(dir: &Path, name: &str, text: &str) -> Result<(), WriteError> {
    store::Store::open(dir)?.replace(name, text.as_bytes())
}

/// Starts a file in `format`.
fn open(
    format: FormatPlan,
    file: StagingFile,
    context: &FileContext,
) -> Result<Box<dyn BatchWriter>, WriteError> {
    Ok(match format {
        FormatPlan::Parquet => Box::new(parquet::ParquetWriter::new(file, context)),
        FormatPlan::Csv(plan) => Box::new(csv::CsvWriter::new(file, plan, context)?),
    })
}

/// What the names of the format's files end in.
fn extension(format: FormatPlan) -> &'static str {
    match format {
        FormatPlan::Parquet => "parquet",
        FormatPlan::Csv(plan) => match plan.compression {
            CsvCompression::None => "csv",
            CsvCompression::Gzip => "csv.gz",
            CsvCompression::Zstd => "csv.zst",
        },
    }
}
