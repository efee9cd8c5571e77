//! Arguments of the commands that make a pipeline file out of what a source answers.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::assignment;
use crate::plan::Name;

/// Arguments of `infer`.
#[derive(Debug, ClapArgs)]
pub struct InferArgs {
    /// The pipeline file, or its name.
    #[arg(value_name = "FILE|NAME", required_unless_present = "from", requires = "stream")]
    pub pipeline: Option<String>,
    /// The stream of which the first page is asked for.
    #[arg(value_name = "STREAM")]
    pub stream: Option<String>,
    /// Saved responses of the stream, as JSON, instead; `-` is the standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "pipeline", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Set a variable of the pipeline; may be repeated. Secrets belong in the environment: `NAME`
    /// alone takes its value from `TRACKLAKE_VAR_NAME`.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// What is not to be guessed.
    #[command(flatten)]
    pub wishes: WishArgs,
}

/// What `infer` and `init` are told instead of guessing it.
#[derive(Debug, ClapArgs)]
pub struct WishArgs {
    /// Where a page has its records: a dotted path, `$` for the body itself. Default: the largest
    /// array of objects.
    #[arg(long, value_name = "PATH")]
    pub records: Option<String>,
    /// Make a row of each element of this array in a record.
    #[arg(long, value_name = "PATH")]
    pub explode: Option<String>,
    /// The zone of times that name none, such as `Europe/Berlin`.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// Arguments of `init`.
#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// The name of the pipeline; its file is `NAME.yaml` in the directory of pipelines.
    pub name: Name,
    /// What the stream is read from; a credential in its query becomes a variable.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Saved responses of the stream, as JSON; `-` is the standard input.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// What is not to be guessed.
    #[command(flatten)]
    pub wishes: WishArgs,
    /// Replace the file if there is one.
    #[arg(long)]
    pub force: bool,
}
