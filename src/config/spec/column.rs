//! Columns and their types.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::shape::Scalar;

/// One column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ColumnSpec {
    /// A dotted path in the record; `parent.x` and `slice.x` reach the context.
    pub(in crate::config) from: String,
    /// What the value must be.
    pub(in crate::config) r#type: TypeSpec,
    /// Names of codes: the column has the name, or null for a code that is not listed.
    pub(in crate::config) values: Option<IndexMap<String, String>>,
    /// For readers of the file's schema.
    pub(in crate::config) description: Option<String>,
    /// What is written instead of values that should not be known. Default: the values themselves.
    pub(in crate::config) mask: Option<MaskSpec>,
}

/// What is written instead of values that should not be known.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum MaskSpec {
    /// The HMAC-SHA-256 of the text, as 64 hexadecimal digits: equal texts stay equal.
    Sha256(Sha256Spec),
    /// Nothing: every value is null.
    Drop,
    /// This for every value; what is null stays null.
    Constant(Scalar),
}

/// How texts become hashes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Sha256Spec {
    /// The key, from a secret variable; at least 16 characters.
    pub(in crate::config) salt: Scalar,
}

/// What a value must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum TypeSpec {
    /// Text; numbers and booleans as their JSON text.
    String,
    /// A 64-bit integer, also as text.
    Int64,
    /// A floating-point number, also as text.
    Float64,
    /// True or false, also as text.
    Boolean,
    /// A calendar date.
    Date(DateSpec),
    /// An instant, stored in UTC with microseconds.
    Timestamp(TimestampSpec),
    /// A length of time, stored as whole seconds.
    Duration(DurationSpec),
    /// Any value, as canonical JSON text.
    Json,
}

/// A calendar date.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DateSpec {
    /// In which an instant becomes a date; without it an instant is refused.
    pub(in crate::config) zone: Option<Scalar>,
}

/// An instant.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TimestampSpec {
    /// What numbers mean: `text` (there are none), `epoch_s` or `epoch_ms`. Default: `text`.
    #[serde(default)]
    pub(in crate::config) format: InstantFormatSpec,
    /// Of text that names no zone; without it such text is refused.
    pub(in crate::config) zone: Option<Scalar>,
}

/// What numbers mean in a timestamp column.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum InstantFormatSpec {
    /// Instants are text, such as RFC 3339.
    #[default]
    Text,
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

/// A length of time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DurationSpec {
    /// What a plain number counts. Default: `text` (there are none).
    #[serde(default)]
    pub(in crate::config) unit: DurationUnitSpec,
    /// How long a day and a week are. Default: `absolute`.
    #[serde(default)]
    pub(in crate::config) calendar: CalendarSpec,
    /// Refuses fractions of a second instead of rounding them half to even. Default: false.
    #[serde(default)]
    pub(in crate::config) exact: bool,
}

/// What a plain number counts.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DurationUnitSpec {
    /// Durations are text.
    #[default]
    Text,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    Min,
    /// Hours.
    H,
}

/// How long a day and a week are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum CalendarSpec {
    /// 24 hours and 7 days.
    #[default]
    Absolute,
    /// Working time.
    Business {
        /// Hours of a day.
        hours_per_day: Scalar,
        /// Days of a week.
        days_per_week: Scalar,
    },
}

/// What happens to fields that no column reads.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UnknownFieldsSpec {
    /// They go, as one JSON text, into the column `_extra`.
    #[default]
    Keep,
    /// They are dropped.
    Ignore,
    /// The record is rejected.
    Reject,
}
