//! From a pipeline file to a [`Plan`], or to every mistake in it with its place.
//!
//! ```text
//! text --node--> tree with places --spec--> typed file --resolve--> Plan     (THIS MODULE)
//! ```
//!
//! Nothing below this module reads user text: templates that depend on variables only are
//! rendered here, the others are checked here and rendered once a slice.

mod inputs;
mod node;
mod problem;
mod resolve;
mod shape;
mod spec;
mod template;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use inputs::{Inputs, Unset};
use node::Node;
pub use problem::{Place, Problem, suggest};
use spec::PipelineSpec;

use crate::plan::{DestinationPath, FormatPlan, Name, Plan, TablePlan, WindowStart};

/// A pipeline file that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read pipeline file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has mistakes.
    #[error("pipeline file `{path}` is not valid")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every mistake, in the order of the file.
        problems: Vec<Problem>,
        /// The file's text, for showing the lines.
        text: String,
    },
}

/// What a pipeline file needs and has, for people; available without any variable set.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The pipeline's name.
    pub pipeline: String,
    /// What it exports.
    pub description: Option<String>,
    /// Its streams, with their descriptions.
    pub streams: Vec<(String, Option<String>)>,
    /// Its variables.
    pub vars: Vec<VarSummary>,
}

/// What a pipeline is called in its destination, and where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The pipeline.
    pub pipeline: Name,
    /// Its streams, in the order of the file.
    pub streams: Vec<Name>,
    /// Where its files go; `None` where that depends on a variable without a value.
    pub destination: Option<DestinationPath>,
}

/// What readers find where a pipeline's files go.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// The pipeline.
    pub pipeline: Name,
    /// Its streams, in the order of the file.
    pub tables: Vec<TablePlan>,
    /// How they are written.
    pub formats: Vec<FormatPlan>,
    /// Where its files go, as text; `None` where that depends on a variable without a value.
    pub destination: Option<String>,
}

/// A variable of a pipeline file.
#[derive(Debug, Clone)]
pub struct VarSummary {
    /// The name for `--set`.
    pub name: String,
    /// The environment variable.
    pub env: Option<String>,
    /// The value where nothing is set; never that of a secret.
    pub default: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Whether it is a credential.
    pub secret: bool,
    /// Whether it has to be set.
    pub required: bool,
}

/// Reads, parses and resolves a pipeline file.
///
/// ```
/// use tracklake::config::{self, Inputs, Unset};
///
/// let inputs = Inputs::default().unset(Unset::Tolerated);
/// let plan = config::load("pipelines/codearts_req.yaml".as_ref(), &inputs)?;
/// assert_eq!(plan.pipeline.as_str(), "codearts_req");
/// # Ok::<(), tracklake::config::ConfigError>(())
/// ```
pub fn load(path: &Path, inputs: &Inputs) -> Result<Plan, ConfigError> {
    load_text(path, &read(path)?, inputs)
}

/// Parses and resolves a text; `path` is what mistakes are reported with.
pub fn load_text(path: &Path, text: &str, inputs: &Inputs) -> Result<Plan, ConfigError> {
    parse(text, inputs).map_err(|problems| ConfigError::Invalid {
        path: path.to_owned(),
        problems,
        text: text.to_owned(),
    })
}

/// Parses and resolves the text of a pipeline file.
pub fn parse(text: &str, inputs: &Inputs) -> Result<Plan, Vec<Problem>> {
    let node = Node::parse(text).map_err(|problem| vec![problem])?;
    let node::Reading { value, mut problems, removed } = node.clone().read::<PipelineSpec>();
    let resolved = value.map(|spec| resolve::resolve(spec, &node, &removed, inputs));
    match resolved {
        Some(Ok(plan)) if problems.is_empty() => return Ok(plan),
        Some(Err(more)) => problems.extend(more),
        Some(Ok(_)) | None => {}
    }
    problems.sort_by_key(|it| it.place);
    problems.dedup();
    Err(problems)
}

/// Reads what a pipeline file needs and has, whether or not its variables are set.
pub fn summarize(path: &Path) -> Result<Summary, ConfigError> {
    summarize_text(path, &read(path)?)
}

/// Reads what the text of a pipeline file needs and has.
pub fn summarize_text(path: &Path, text: &str) -> Result<Summary, ConfigError> {
    let invalid =
        |problems| ConfigError::Invalid { path: path.to_owned(), problems, text: text.to_owned() };
    let node = Node::parse(text).map_err(|problem| invalid(vec![problem]))?;
    let node::Reading { value, mut problems, removed: _ } = node.read::<PipelineSpec>();
    problems.sort_by_key(|it| it.place);
    let spec = value.filter(|_| problems.is_empty()).ok_or_else(|| invalid(problems))?;
    let vars = spec.vars.into_iter().map(|(name, var)| VarSummary {
        name,
        env: var.env,
        required: var.default.is_none() && var.file.is_none(),
        default: var
            .default
            .filter(|_| !var.secret)
            .map(|it| crate::plan::value_text(&template::plain(&it)))
            .filter(|it| !it.is_empty()),
        description: var.description,
        secret: var.secret,
    });
    Ok(Summary {
        pipeline: spec.pipeline,
        description: spec.description,
        streams: spec.streams.into_iter().map(|(name, it)| (name, it.description)).collect(),
        vars: vars.collect(),
    })
}

/// Reads where a pipeline's files are. With [`Unset::Tolerated`] this needs no credentials, no
/// zone, and no base URL: what is on disk says the rest.
pub fn locate(path: &Path, inputs: &Inputs) -> Result<Location, ConfigError> {
    locate_text(path, &read(path)?, inputs)
}

/// Reads where the files of the pipeline in `text` are.
pub fn locate_text(path: &Path, text: &str, inputs: &Inputs) -> Result<Location, ConfigError> {
    partly(path, text, inputs, resolve::locate)
}

/// Reads what readers find of a pipeline. With [`Unset::Tolerated`] this needs no credentials, no
/// zone, and no base URL.
pub fn tables(path: &Path, inputs: &Inputs) -> Result<Tables, ConfigError> {
    tables_text(path, &read(path)?, inputs)
}

/// Reads what readers find of the pipeline in `text`.
pub fn tables_text(path: &Path, text: &str, inputs: &Inputs) -> Result<Tables, ConfigError> {
    partly(path, text, inputs, resolve::tables)
}

/// Resolves a part of a file whose whole is well-formed.
fn partly<T>(
    path: &Path,
    text: &str,
    inputs: &Inputs,
    resolve: impl FnOnce(PipelineSpec, &Node, &HashSet<String>, &Inputs) -> Result<T, Vec<Problem>>,
) -> Result<T, ConfigError> {
    let invalid =
        |problems| ConfigError::Invalid { path: path.to_owned(), problems, text: text.to_owned() };
    let node = Node::parse(text).map_err(|problem| invalid(vec![problem]))?;
    let node::Reading { value, problems, removed } = node.clone().read::<PipelineSpec>();
    let spec = value.filter(|_| problems.is_empty()).ok_or_else(|| invalid(problems))?;
    resolve(spec, &node, &removed, inputs).map_err(invalid)
}

/// The JSON Schema of pipeline files, as `pipelines/schema.json` publishes it.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(PipelineSpec).to_value();
    shape::allow_bare_choices(&mut schema);
    schema
}

/// Reads a start such as `2024-07-25`, an RFC 3339 instant, or `90d` back from now.
pub fn parse_start(text: &str) -> Option<WindowStart> {
    resolve::parse_start(text)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}
