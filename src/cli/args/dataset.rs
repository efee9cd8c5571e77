//! Arguments of the commands about what was exported.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{FormatArg, assignment};
use crate::plan::DestinationPath;

/// What `quarantine` shows.
#[derive(Debug, ClapArgs)]
pub struct QuarantineArgs {
    /// Whose records.
    #[command(flatten)]
    pub dataset: DatasetArgs,
    /// Only this stream; may be repeated.
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Only what this run rejected.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Decode the records again with the pipeline file of now, and publish those that fit. They
    /// leave quarantine; the others stay, and exit with 7.
    #[arg(long)]
    pub replay: bool,
    /// Only say what `--replay` would do.
    #[arg(long, requires = "replay")]
    pub dry_run: bool,
}

/// Arguments of `compact`.
#[derive(Debug, ClapArgs)]
pub struct CompactArgs {
    /// Pipeline files, or names of pipelines.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub pipelines: Vec<String>,
    /// Only this stream; may be repeated.
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Say what would be written anew, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the files are, instead of where the pipeline says.
    #[arg(long, value_name = "DIR")]
    pub output: Option<DestinationPath>,
    /// Set a variable of the pipelines; may be repeated. Secrets belong in the environment.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Print one JSON object a stream, each on a line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// A pipeline file, or the name of a pipeline.
    #[arg(value_name = "FILE|NAME")]
    pub pipeline: String,
    /// The run; `tracklake status` shows the last ones. Default: the last.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Where the page goes: `-` for stdout, or a file.
    #[arg(short = 'o', long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Where the dataset is, instead of where the pipeline says.
    #[arg(long, value_name = "DIR")]
    pub output: Option<DestinationPath>,
    /// Set a variable of the pipeline; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// Arguments of `status` and `verify`.
#[derive(Debug, ClapArgs)]
pub struct DatasetArgs {
    /// Pipeline files, or names of pipelines.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub pipelines: Vec<String>,
    /// Where the files are, instead of where the pipeline says.
    #[arg(long, value_name = "DIR|URL")]
    pub output: Option<DestinationPath>,
    /// Set a variable of the pipelines; may be repeated.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Print one JSON object a pipeline, each on a line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `sql-views`.
#[derive(Debug, ClapArgs)]
pub struct SqlViewsArgs {
    /// Pipeline files, or names of pipelines.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub pipelines: Vec<String>,
    /// Where the files are, instead of where the pipeline says; stands in the statements as it is.
    #[arg(long, value_name = "DIR")]
    pub output: Option<String>,
    /// Who runs the statements.
    #[arg(long, value_name = "DIALECT", default_value = "duckdb")]
    pub dialect: DialectArg,
    /// Read this format. Default: Parquet, unless the pipeline writes only CSV.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// Set a variable of the pipelines; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// Who runs SQL statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// DuckDB.
    Duckdb,
    /// Spark SQL.
    Spark,
}
