//! Transform: the bytes of a page become typed rows and rejects.
//!
//! ```text
//! {"total": 2, "issues": [                       envelope    total = 2
//!   {"id": 41, "user": {"id": "li"}, "spent": "P1DT2H30M", "tags": ["x"]},
//!   {"id": "n/a", "user": null}]}
//!
//!     |  json       a strict pull parser over the text, which was checked for UTF-8 once
//!     |  columns    the trie of the paths that columns read
//!     v  record     one walk: each value goes to its column as it is met
//!
//! id     user_id   spent         spent_seconds   _extra            rows      41, one record
//! 41     li        P1DT2H30M     37800           {"tags":["x"]}
//!
//! record 1: column `id`: expected int64, found "n/a"               rejects   whole, with its text
//! ```
//!
//! There is no tree in between and, in the common case, no allocation a record. A record is kept
//! whole or rejected whole; a body that is not JSON is an error and gives nothing.
//!
//! The module does no I/O, reads no clock, zone or locale of the host, and never panics on what a
//! server sends: nesting is limited, numbers are checked, and there is no unsafe code.

pub use decode::Decoder;
pub use sample::{Tree, takes};

use arrow::array::RecordBatch;
use thiserror::Error;

use crate::plan::PageFacts;

mod decode;
mod columns;
mod record;
mod output;
mod cell;
mod extra;
mod mask;
mod instant;
mod duration;
mod number;
mod buffer;
mod texts;
mod identity;
mod json;
mod canonical;
mod lookup;
mod sample;

/// A page after transformation.
#[derive(Debug)]
pub struct Decoded {
    /// What the page says about itself.
    pub facts: PageFacts,
    /// The rows of the records that fit.
    pub batch: RecordBatch,
    /// The records that did not, in page order.
    pub rejects: Vec<Reject>,
    /// What was decided on the way and is worth a warning.
    pub notices: Notices,
}

/// A record that does not fit, on its way to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The record's place in the page, counted from 0.
    pub position: u64,
    /// The column that does not take its value; `None` if the record's structure is at fault.
    pub column: Option<String>,
    /// Why, for a person: `expected int64, found "n/a"`.
    pub reason: String,
    /// The record as it was received, but for what columns mask.
    pub raw: String,
    /// The paths in the record where something else stands than was received.
    pub masked: Vec<String>,
}

impl Reject {
    /// Why, without what was found, which is different in every record.
    pub fn kind(&self) -> &str {
        reason_kind(&self.reason)
    }
}

/// A reason without what was found: `expected int64` of `expected int64, found "n/a"`.
pub fn reason_kind(reason: &str) -> &str {
    reason.split(", found").next().unwrap_or_default()
}

/// How often something was decided that a person may want to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notices {
    /// Local times that the clocks of their zone skipped; moved forward by the length of the gap.
    pub gaps: u64,
    /// Local times that the clocks of their zone showed twice; the earlier instant is taken.
    pub folds: u64,
    /// Keys that came again in the same object; the last value is taken.
    pub duplicate_keys: u64,
    /// Records that gave no row because their array is empty or missing (`when_empty: drop`).
    pub dropped_empty: u64,
}

/// A body that is no page.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// There is nothing but whitespace.
    #[error("the body is empty")]
    Empty,
    /// It is not text.
    #[error("the body is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// It is not JSON, or not all of it arrived.
    #[error(
        "the body is not JSON: expected {expected} at line {line}, column {column} (byte {offset}), near `{excerpt}`"
    )]
    Syntax {
        /// Where, in bytes from 0.
        offset: usize,
        /// Where, from 1.
        line: usize,
        /// Where, in characters from 1.
        column: usize,
        /// What should stand there.
        expected: &'static str,
        /// The text around it.
        excerpt: String,
    },
    /// It is nested so deep that it must be broken or hostile.
    #[error("the body is nested deeper than {limit} levels at byte {offset}")]
    TooDeep {
        /// Where, in bytes from 0.
        offset: usize,
        /// The levels that are allowed.
        limit: u32,
    },
    /// A bug of ours: the columns do not make a batch.
    #[error("internal error: the columns of the page do not make a batch: {reason}")]
    Internal {
        /// What does not fit.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
