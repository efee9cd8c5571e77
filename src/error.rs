//! The top-level error: a message, its cause, a hint, an exit code.

mod hint;

use std::{fmt, path::PathBuf};

use thiserror::Error as ThisError;

use crate::{
    config::ConfigError,
    extract::ExtractError,
    infer::InferError,
    load::{RowsError, WriteError},
    plan::{DestinationPath, Name},
    state::StateError,
    transform::BodyError,
};

/// Why a command failed, as the user sees it.
///
/// `Display` gives one line without its cause; [`crate::cli::report`] prints the chain of sources
/// below it, then the hint. No message contains its source: it would be printed twice.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The pipeline file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No pipeline has this name.
    #[error("no pipeline file and no pipeline is called `{name}`")]
    UnknownPipeline {
        /// As typed.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The pipeline has no stream of this name.
    #[error("pipeline `{pipeline}` has no stream `{stream}`")]
    UnknownStream {
        /// The pipeline.
        pipeline: Name,
        /// As typed.
        stream: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A value on the command line cannot be read.
    #[error("`{option} {value}` cannot be read: expected {expected}")]
    Argument {
        /// The option.
        option: &'static str,
        /// As typed.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The part of the time that is asked for has nothing in it.
    #[error("`--since {since}` is after `--until {until}`: nothing is between them")]
    EmptyPart {
        /// As typed.
        since: String,
        /// As typed.
        until: String,
    },
    /// Two runs of one command would write the same dataset.
    #[error("pipeline `{pipeline}` is named twice for the same destination")]
    NamedTwice {
        /// The pipeline.
        pipeline: Name,
    },
    /// A saved response cannot be read.
    #[error("cannot read sample `{}`", path.display())]
    ReadSample {
        /// The file; `-` is the standard input.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A saved response is no page.
    #[error("sample `{}` is no page of an API", path.display())]
    Sample {
        /// The file; `-` is the standard input.
        path: PathBuf,
        /// Why.
        source: BodyError,
    },
    /// A stream has no first page of its own.
    #[error("stream `{stream}` is read once for each row of `{parent}`, which are not known here")]
    SampleOfChild {
        /// The stream.
        stream: Name,
        /// Its parent.
        parent: Name,
    },
    /// Saved responses have nothing to propose columns from.
    #[error("no columns can be proposed")]
    Infer(#[source] InferError),
    /// A new pipeline file would replace another.
    #[error("there is a pipeline file `{}` already", path.display())]
    PipelineExists {
        /// The file.
        path: PathBuf,
    },
    /// The connection to the source cannot be set up.
    #[error("the source cannot be reached")]
    Source(#[source] Box<ExtractError>),
    /// Slices of a stream could not be read, so that the stream is not published.
    #[error(
        "stream `{stream}`: {failed} of {slices} slices could not be read, first `{slice}`; nothing of it is published"
    )]
    Slices {
        /// The stream.
        stream: Name,
        /// How many failed.
        failed: u64,
        /// How many there are.
        slices: u64,
        /// The first that failed.
        slice: String,
        /// Why that one failed.
        source: Box<ExtractError>,
    },
    /// Some slices of a stream could not be read; the rest is published.
    #[error(
        "stream `{stream}`: {failed} of {slices} slices could not be read, first `{slice}`; the rest is published, and the next run reads them again"
    )]
    SomeSlices {
        /// The stream.
        stream: Name,
        /// How many failed.
        failed: u64,
        /// How many there are.
        slices: u64,
        /// The first that failed.
        slice: String,
        /// Why that one failed.
        source: Box<ExtractError>,
    },
    /// The budget of the run was used up before all slices of a stream were read.
    #[error(
        "stream `{stream}`: {left} of {slices} slices are left for the next run, first `{slice}`; {}",
        if *.published { "the rest is published" } else { "nothing of it is published" }
    )]
    Budget {
        /// The stream.
        stream: Name,
        /// How many were not read.
        left: u64,
        /// How many there are.
        slices: u64,
        /// The first that was not read.
        slice: String,
        /// Whether the others are published.
        published: bool,
        /// What is used up.
        source: Box<ExtractError>,
    },
    /// More rows would go than a person would expect.
    #[error(
        "stream `{stream}`: {removed} of the {stood} rows that stand in what was read would go, {:.0} % are allowed; nothing of it is published",
        .allowed * 100.0
    )]
    TooManyDeletes {
        /// The stream.
        stream: Name,
        /// Rows that would go.
        removed: u64,
        /// Rows that stand in what was read.
        stood: u64,
        /// The share that may go.
        allowed: f64,
    },
    /// A dataset that has rows would become empty.
    #[error("stream `{stream}`: all of its {rows} rows would go; nothing of it is published")]
    WouldBeEmpty {
        /// The stream.
        stream: Name,
        /// Rows that stand.
        rows: u64,
    },
    /// Files would go of which no manifest tells, and nothing would come.
    #[error(
        "stream `{stream}`: nothing was read, and all of its {files} files, of which no manifest tells, would go; nothing of it is published"
    )]
    UnknownWouldGo {
        /// The stream.
        stream: Name,
        /// How many files there are in one format.
        files: usize,
    },
    /// A stream is not as its pipeline expects.
    #[error(
        "stream `{stream}` is not as expected: {}; nothing of it is published",
        .unmet.iter().map(Unmet::to_string).collect::<Vec<_>>().join("; ")
    )]
    Unexpected {
        /// The stream.
        stream: Name,
        /// What is not.
        unmet: Vec<Unmet>,
    },
    /// Where the files are depends on what is not known.
    #[error("where pipeline `{pipeline}` writes depends on variables that are not set")]
    NoDestination {
        /// The pipeline.
        pipeline: Name,
    },
    /// There is nothing to compare.
    #[error("pipeline `{pipeline}`: nothing has been exported to `{path}` yet")]
    NothingExported {
        /// The pipeline.
        pipeline: Name,
        /// The destination.
        path: DestinationPath,
    },
    /// The second view would take the place of the first one.
    #[error("streams `{first}` and `{second}` would both have the view `{view}`")]
    SameView {
        /// The name.
        view: String,
        /// One of them, with its pipeline.
        first: String,
        /// The other.
        second: String,
    },
    /// A page about a run that is not there.
    #[error("pipeline `{pipeline}` has no report of a run `{run}`")]
    UnknownRun {
        /// The pipeline.
        pipeline: Name,
        /// The run that was asked for.
        run: String,
        /// The last runs that there are, the latest last.
        known: Vec<String>,
        /// How many there are before these.
        earlier: usize,
    },
    /// Records of a run are asked for that has none in quarantine.
    #[error("pipeline `{pipeline}` has nothing in quarantine of a run `{run}`")]
    NotQuarantined {
        /// The pipeline.
        pipeline: Name,
        /// The run that was asked for.
        run: String,
        /// The last runs that have something there, the latest last.
        known: Vec<String>,
        /// How many there are before these.
        earlier: usize,
    },
    /// The destination could not be looked at.
    #[error("the destination cannot be read")]
    Inspect(#[source] WriteError),
    /// The dataset holds what something else was asked for.
    #[error(
        "stream `{stream}` holds rows of another request: a variable such as a project or a query has changed, or the request itself"
    )]
    OtherSelection {
        /// The stream.
        stream: Name,
    },
    /// The state of an earlier run cannot be gone on from.
    #[error("the state of stream `{stream}` cannot be used")]
    State {
        /// The stream.
        stream: Name,
        /// Why.
        source: StateError,
    },
    /// The parent of a stream was not read completely.
    #[error(
        "stream `{stream}` is not published, because its parent `{parent}` was not read completely"
    )]
    Parent {
        /// The stream.
        stream: Name,
        /// Its parent.
        parent: Name,
        /// Whether only the budget of the run keeps the parent from being complete.
        left: bool,
    },
    /// Too many records did not fit.
    #[error(
        "stream `{stream}`: {rejected} of {records} records do not fit, {limit} are tolerated; nothing of it is published"
    )]
    TooManyRejected {
        /// The pipeline.
        pipeline: Name,
        /// The stream.
        stream: Name,
        /// Records that did not fit.
        rejected: u64,
        /// Records read.
        records: u64,
        /// Records that may not fit.
        limit: u64,
        /// Where they are.
        quarantine: Option<PathBuf>,
        /// The first reason.
        first: String,
    },
    /// A part of the time would replace a whole dataset.
    #[error(
        "stream `{stream}` has {rows} rows, which the part between `--since` and `--until` would replace; nothing of it is published"
    )]
    PartWouldReplace {
        /// The stream.
        stream: Name,
        /// Rows that are there.
        rows: u64,
    },
    /// The destination could not be written.
    #[error(transparent)]
    Write(WriteError),
    /// A local server could not be started.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The output of a command could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// The user stopped the run.
    #[error("interrupted; what was published before stays, and nothing half-written is visible")]
    Interrupted,
    /// Not all rows of a stream that is pulled could be read.
    #[error(
        "stream `{stream}`: {failed} of {slices} slices could not be read, first `{slice}`; the rows are not complete"
    )]
    Pull {
        /// The stream, or one of its parents.
        stream: Name,
        /// How many failed.
        failed: u64,
        /// How many there are.
        slices: u64,
        /// The first that failed.
        slice: String,
        /// Why that one failed.
        source: Box<ExtractError>,
    },
    /// Too many records of a stream that is pulled did not fit.
    #[error(
        "stream `{stream}`: {rejected} of {records} records do not fit, {limit} are tolerated; the rows are not complete"
    )]
    PullRejected {
        /// The pipeline.
        pipeline: Name,
        /// The stream.
        stream: Name,
        /// Records that did not fit.
        rejected: u64,
        /// Records read.
        records: u64,
        /// Records that may not fit.
        limit: u64,
    },
    /// The stream has no column of this name.
    #[error("stream `{stream}` has no column `{column}`")]
    UnknownColumn {
        /// The stream.
        stream: Name,
        /// As typed.
        column: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// Those that it has.
        known: Vec<String>,
    },
    /// Slices are not those of the stream.
    #[error("stream `{stream}` has no slice {slice}")]
    UnknownSlice {
        /// The stream.
        stream: Name,
        /// The first of them, as given.
        slice: String,
    },
    /// Slices were planned with another pipeline file, other variables or another program.
    #[error(
        "stream `{stream}`: the pipeline file, its variables or the program are not those that the slices were planned with"
    )]
    OtherPlan {
        /// The stream.
        stream: Name,
    },
    /// A list of slices cannot be read.
    #[error("cannot read the slices in `{}`", path.display())]
    ReadSlices {
        /// The file; `-` is the standard input.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The rows of a pull could not be written.
    #[error("the rows cannot be written to `{}`", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RowsError,
    },
    /// The user stopped a pull.
    #[error("interrupted before all rows were read")]
    PullInterrupted,
    /// The user stopped what publishes nothing.
    #[error("interrupted; what was read is not kept, and nothing of it is published")]
    RehearsalInterrupted,
    /// The user stopped the command between two of its pipelines.
    #[error(
        "interrupted before `{}` was started; what was published before stays",
        .pipelines.iter().map(Name::as_str).collect::<Vec<_>>().join("`, `")
    )]
    NotStarted {
        /// Those that were not started.
        pipelines: Vec<Name>,
    },
    /// A bug of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What is not as the pipeline expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Where the pipeline file says so, for a person.
    pub place: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, expected, found } = self;
        write!(f, "expected {expected}, found {found} ({place})")
    }
}

impl Error {
    /// The exit code, as README.md documents it. 2 is clap's, for a wrong command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Internal(_) | Self::Output(_) => 1,
            Self::Argument { .. }
            | Self::EmptyPart { .. }
            | Self::NamedTwice { .. }
            | Self::ReadSample { .. }
            | Self::ReadSlices { .. }
            | Self::SampleOfChild { .. } => 2,
            Self::Config(_)
            | Self::UnknownPipeline { .. }
            | Self::UnknownStream { .. }
            | Self::UnknownColumn { .. }
            | Self::UnknownSlice { .. }
            | Self::OtherPlan { .. }
            | Self::NoDestination { .. }
            | Self::SameView { .. }
            | Self::OtherSelection { .. }
            | Self::PipelineExists { .. } => 3,
            Self::Source(_)
            | Self::Sample { .. }
            | Self::Infer(_)
            | Self::Slices { .. }
            | Self::Pull { .. }
            | Self::Parent { left: false, .. } => 4,
            Self::TooManyRejected { .. }
            | Self::PullRejected { .. }
            | Self::PartWouldReplace { .. }
            | Self::TooManyDeletes { .. }
            | Self::Unexpected { .. }
            | Self::WouldBeEmpty { .. }
            | Self::UnknownWouldGo { .. } => 5,
            Self::SomeSlices { .. } | Self::Budget { .. } | Self::Parent { left: true, .. } => 7,
            Self::Write(_)
            | Self::Rows { .. }
            | Self::Inspect(_)
            | Self::NothingExported { .. }
            | Self::UnknownRun { .. }
            | Self::NotQuarantined { .. }
            | Self::State { .. }
            | Self::Listen { .. } => 6,
            Self::Interrupted
            | Self::RehearsalInterrupted
            | Self::PullInterrupted
            | Self::NotStarted { .. } => 130,
        }
    }

    /// Whether the error says why something failed, not only that it was left because of another.
    pub fn is_cause(&self) -> bool {
        match self {
            Self::Slices { source, .. }
            | Self::SomeSlices { source, .. }
            | Self::Pull { source, .. } => source.is_cause(),
            Self::Parent { .. } => false,
            _ => true,
        }
    }
}

/// An error with its causes on one line.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
