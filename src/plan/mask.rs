//! What is written instead of values that should not be known.

use chrono::{DateTime, NaiveDate, Utc};

use super::Secret;

/// What is written instead of a column's values. A null stays null.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskPlan {
    /// The HMAC-SHA-256 (RFC 2104) of the text in UTF-8, as 64 lower-case hexadecimal digits.
    Sha256 {
        /// The key.
        salt: Secret,
    },
    /// Null.
    Drop,
    /// The same for all values.
    Constant(MaskConstant),
}

/// A constant, as a column of its type stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskConstant {
    /// Of a string column, and the canonical JSON text of a json column.
    Text(String),
    /// Of a whole number, and the seconds of a duration.
    Int64(i64),
    /// Of a floating-point number.
    Float64(f64),
    /// Of a boolean.
    Boolean(bool),
    /// Of a date.
    Date(NaiveDate),
    /// Of an instant.
    Timestamp(DateTime<Utc>),
}

impl MaskPlan {
    /// The kind of mask, as pipeline files and manifests call it; nothing of the salt.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sha256 { .. } => "sha256",
            Self::Drop => "drop",
            Self::Constant(_) => "constant",
        }
    }
}
