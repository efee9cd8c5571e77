//! How rows meet those that are there, and into which directories they go.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::shape::{Scalar, TextOr};

/// How rows meet those that are there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum WriteSpec {
    /// Rows with a new key are added; a known key is left as it is.
    Append {
        /// The columns that identify a row.
        key: Vec<String>,
    },
    /// Rows with a known key replace it.
    Merge {
        /// The columns that identify a row.
        key: Vec<String>,
        /// The column whose larger value is the newer row.
        newest_by: Option<String>,
    },
    /// The rows of what was read become exactly what was read: `slice` or `all`, or a block.
    Replace(TextOr<ReplaceSpec>),
}

/// What a replace replaces.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ReplaceSpec {
    /// The rows of each slice, or of the whole dataset.
    pub(in crate::config) scope: ScopeSpec,
    /// The columns that identify a row. Default: none, equal rows are all kept.
    #[serde(default)]
    pub(in crate::config) key: Vec<String>,
    /// Which columns hold what makes a slice: `parent.x`, `slice.x`, or `window` for a column whose
    /// date lies in the slice's window. Default: the columns that are read from the slice itself.
    #[serde(default)]
    pub(in crate::config) by: IndexMap<String, String>,
}

/// What a replace replaces.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ScopeSpec {
    /// The rows of each slice that was read.
    Slice,
    /// The whole dataset.
    All,
}

/// Into which directories rows go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PartitionSpec {
    /// A date or timestamp column.
    pub(in crate::config) column: String,
    /// `hour`, `day`, `month` or `year`. Default: `day`.
    #[serde(default)]
    pub(in crate::config) unit: UnitSpec,
    /// In which an instant becomes a date, and a day ends. Default: that of the windows where the column is a
    /// `date`, else UTC.
    pub(in crate::config) zone: Option<Scalar>,
    /// The name before the `=`, which does not begin with `_`. Default: `date`.
    pub(in crate::config) r#as: Option<String>,
}

/// The length of a partition.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UnitSpec {
    /// `date=2024-07-25T09`.
    Hour,
    /// `date=2024-07-25`.
    #[default]
    Day,
    /// `date=2024-07`.
    Month,
    /// `date=2024`.
    Year,
}
