//! Why rows could not be written.

use std::{io, path::PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use thiserror::Error;

use super::store::{Refusal, RefusalKind};

/// Why rows could not be written, or a destination could not be opened.
///
/// No message contains its source; whoever prints it prints the chain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The attempt, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A Parquet file could not be encoded, or what was written cannot be read back.
    #[error("cannot {action} Parquet file `{}`", path.display())]
    Parquet {
        /// The attempt, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: ParquetError,
    },
    /// Rows could not be brought into the form in which they are sorted, or out of it.
    #[error("cannot sort the rows of stream `{stream}`")]
    Sort {
        /// The stream.
        stream: String,
        /// What went wrong.
        source: ArrowError,
    },
    /// A batch does not have the stream's schema.
    #[error("stream `{stream}`: a batch has the columns {found}, the stream has {expected}")]
    Schema {
        /// The stream.
        stream: String,
        /// The batch's columns and types.
        found: String,
        /// The stream's columns and types.
        expected: String,
    },
    /// The plan names a column that the stream does not have.
    #[error("stream `{stream}` has no column `{column}`")]
    NoColumn {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
    },
    /// Rows cannot be partitioned by a column of this type, or a format cannot write it.
    #[error("column `{column}`: {use_} does not take the type {found}")]
    Type {
        /// The column.
        column: String,
        /// What it was meant for.
        use_: &'static str,
        /// The column's type.
        found: String,
    },
    /// A path would lead out of the destination.
    #[error("`{path}` would leave the destination `{}`", root.display())]
    Outside {
        /// The path.
        path: String,
        /// The destination.
        root: PathBuf,
    },
    /// Another run of the pipeline is writing.
    #[error("pipeline `{pipeline}` is held by {holder}")]
    Locked {
        /// The pipeline.
        pipeline: String,
        /// The run and the process that hold it.
        holder: String,
    },
    /// An object store does not heed conditions.
    #[error(
        "`{}` does not heed conditions on what is written: two runs at once would not be kept apart there, and one that was paused could overwrite what a later one has published", root.display()
    )]
    Unconditional {
        /// The destination.
        root: PathBuf,
    },
    /// A run came and went while its dataset was looked at.
    #[error("a run of pipeline `{pipeline}` has published while its files were verified")]
    Overtaken {
        /// The pipeline.
        pipeline: String,
    },
    /// A file of ours in `_tracklake` cannot be understood.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it ends to make sense.
        source: serde_json::Error,
    },
    /// A line of a file in quarantine cannot be understood.
    #[error("line {line} of `{}` is no record of quarantine", path.display())]
    Quarantined {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// Where it ends to make sense.
        source: serde_json::Error,
    },
    /// A file of ours in `_tracklake` was written by a program with other rules.
    #[error("`{}` has version {found}, this program knows version {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// Ours.
        known: u32,
    },
    /// A committed file is neither where it was staged nor where it goes.
    #[error(
        "`{}` promises `{path}`, which is neither there nor at `{staged}`", record.display()
    )]
    Lost {
        /// The journal record.
        record: PathBuf,
        /// Where the file goes.
        path: String,
        /// Where it was staged.
        staged: String,
    },
    /// A staged file is not what was written.
    #[error("`{}` reads back with {found}, {expected} was written", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// Files that were to be written anew as they are would have other rows.
    #[error(
        "stream `{stream}`: its files have {found} rows and its manifest {expected}; see what `tracklake verify` says"
    )]
    Rewritten {
        /// The stream.
        stream: String,
        /// Rows of the files.
        found: u64,
        /// Rows of the manifest.
        expected: u64,
    },
    /// A published file is not there any more, or is another one.
    #[error(
        "`{}` is not the file that was published: {found}",
        path.display()
    )]
    Standing {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Files stand of which no manifest tells: a commit would remove those that it does not write.
    #[error(
        "stream `{stream}`: {files} files stand below `{}`, and `{}`, which would say what they are, is missing",
        directory.display(),
        manifest.display()
    )]
    Unknown {
        /// The stream.
        stream: String,
        /// How many files there are in this format.
        files: usize,
        /// The directory of its dataset.
        directory: PathBuf,
        /// Where its manifest should be.
        manifest: PathBuf,
    },
    /// A column has another type than in the files that stand.
    #[error(
        "stream `{stream}`: column `{column}` is {stands} in the dataset and {planned} in the pipeline; keep its type, or give the new one another name"
    )]
    ColumnType {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// Its type in the files.
        stands: String,
        /// Its type in the plan.
        planned: String,
    },
    /// A column has another mask than in the files that stand.
    #[error(
        "stream `{stream}`: column `{column}` is {change}; rows of both kinds must not stand side by side: export to another `destination.path`, and remove this dataset once it is not needed"
    )]
    ColumnMask {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// How it stands in the files, and how it would be written, for a person.
        change: String,
    },
    /// A column of the files that stand is not in the plan.
    #[error(
        "stream `{stream}`: the dataset has a column `{column}` ({stands}) that the pipeline has not; declare it again, or give the stream another name"
    )]
    ColumnGone {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// Its type in the files.
        stands: String,
    },
    /// Deletes were marked, and are to be removed from now on.
    #[error(
        "stream `{stream}`: rows that the source no longer has are marked in `_deleted_at`, and the pipeline would remove them; keep `deletes: mark`, or give the stream another name"
    )]
    MarksLeft {
        /// The stream.
        stream: String,
    },
    /// The files that stand are partitioned in another way.
    #[error(
        "stream `{stream}`: the dataset's partition {what} is `{stands}`, the pipeline's is `{planned}`; keep it, or give the stream another name"
    )]
    Partition {
        /// The stream.
        stream: String,
        /// What differs: column, unit, zone or name.
        what: &'static str,
        /// In the files.
        stands: String,
        /// In the plan.
        planned: String,
    },
    /// The dataset is also in a format that this run does not write.
    #[error(
        "stream `{stream}`: the dataset is also in {format}, which this run does not write; write it too, or remove `{directory}`"
    )]
    FormatLeft {
        /// The stream.
        stream: String,
        /// The format.
        format: String,
        /// The directory of its files.
        directory: String,
    },
}

impl WriteError {
    /// What to try where an object store refused; `None` where none did.
    pub fn bucket_hint(&self) -> Option<&'static str> {
        let source = match self {
            Self::Unconditional { .. } => {
                return Some(
                    "use a store that heeds `If-None-Match` and `If-Match`, or promise that only one run at a time writes there with `destination: { single_writer: true }`",
                );
            }
            Self::Io { source, .. } => source,
            Self::Parquet { source: ParquetError::External(source), .. } => {
                source.downcast_ref()?
            }
            _ => return None,
        };
        Some(match Refusal::kind_of(source)? {
            RefusalKind::NotFound => {
                "run again; if that does not help, `tracklake verify` says what is missing"
            }
            RefusalKind::Condition => "run again: another run has changed it meanwhile",
            RefusalKind::NoBucket => {
                "check the bucket's name, and that the endpoint and the region are those of the bucket"
            }
            RefusalKind::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for `s3://`, GOOGLE_SERVICE_ACCOUNT for `gs://`, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY for `az://`, or give the host a role"
            }
            RefusalKind::Unauthenticated => {
                "check the keys in the environment, that they have not expired, and that they are of this store"
            }
            RefusalKind::Denied => {
                "allow listing the bucket, and reading, writing and removing objects in the folder"
            }
            RefusalKind::ClockSkew => {
                "set the clock of this host right: signatures are valid for some minutes around the store's time"
            }
            RefusalKind::SlowDown | RefusalKind::Server => {
                "run again later: what was read is kept, and nothing that was published has changed"
            }
            RefusalKind::Unreachable => {
                "check the endpoint in the environment (AWS_ENDPOINT_URL, AZURE_STORAGE_ENDPOINT) and the network"
            }
            RefusalKind::Dropped => "check the network, then run again: what was read is kept",
            RefusalKind::Unsupported => "check that the endpoint is that of an object store",
            RefusalKind::Foreign => {
                "check the endpoint in the environment (AWS_ENDPOINT_URL, GOOGLE_BASE_URL, AZURE_STORAGE_ENDPOINT), and whether a proxy or a log-in page stands in between"
            }
            RefusalKind::Setting => "correct the environment variable",
            RefusalKind::LeaseLost => {
                "run again; if the host sleeps or is paused for longer, set a longer `destination: { lease_secs }`"
            }
            RefusalKind::Other => "check the bucket and the environment variables of its service",
        })
    }
}
