//! From sample pages of an API to the block of a pipeline file that reads them.
//!
//! ```text
//! {"total": 2, "values": [{"id": 1, "author": {"userKey": "li"}, "created": "2024-07-25 09:42"}, …
//!    |  records     the largest array of objects           `values`, 2 records
//!    v
//!  facts            by path: how often, which values       author.userKey: 2 texts
//!    |  kind        the narrowest type that takes them all created: a timestamp, but in which zone?
//!    |  names       snake_case, no two alike               author_user_key
//!    |  keys        what tells rows apart, and their date  key: [id], partition_by: created
//!    |  paging      what the envelope says                 total
//!    v
//!  yaml             text for a person to read and correct  # DECIDE: …
//! ```
//!
//! Every step is a function of its input. Whether a type takes a value is asked of
//! [`transform`](crate::transform), so that what is proposed is what a run reads. A run never
//! guesses: this module works for people, before there is a pipeline.

mod facts;
mod ids;
mod keys;
mod kind;
mod names;
mod paging;
mod pipeline;
mod records;
mod secrets;
mod shape;
mod yaml;

use thiserror::Error;

pub use pipeline::{Endpoint, InvalidUrl, pipeline};
use records::Records;
pub use secrets::sounds_secret;
use shape::Shape;

use crate::{
    plan::{ColumnType, JsonPath, Name, RecordsShape},
    transform::Tree,
};

/// What a person says instead of having it guessed.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Where the records are.
    pub records: Option<JsonPath>,
    /// In which form they are there; otherwise that is guessed.
    pub shape: Option<RecordsShape>,
    /// The array of which each element becomes a row.
    pub explode: Option<JsonPath>,
    /// The zone of times that name none.
    pub zone: Option<chrono_tz::Tz>,
    /// The name of the stream: `entry_id` is the id of a record of `entries`.
    pub stream: Option<Name>,
}

/// Why nothing can be proposed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InferError {
    /// There is no object that could be a record.
    #[error("there are no records in the sample: {instead}")]
    NoRecords {
        /// What is there.
        instead: String,
    },
    /// There is nothing where the records should be.
    #[error("there are no records at `{path}`: {instead}")]
    NotThere {
        /// As asked for.
        path: JsonPath,
        /// What is there.
        instead: String,
    },
    /// The records are empty, or a path cannot name what is in them.
    #[error("the records have no field that a column could read")]
    NoFields,
    /// There is no array to explode.
    #[error("no record has an array of objects at `{path}`")]
    NoArray {
        /// As asked for.
        path: JsonPath,
        /// Where there are some.
        known: Vec<String>,
    },
}

/// What is proposed for a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// How many records were looked at.
    n_records: usize,
    /// Where they are, as a pipeline file has it.
    records: String,
    /// What a person should know about that.
    record_notes: Vec<String>,
    /// The array that is exploded, because a person asked for it.
    explode: Option<String>,
    /// How pages may follow each other.
    paging: paging::Hint,
    columns: Vec<Column>,
    /// Arrays that could be exploded.
    arrays: Vec<ArrayOfObjects>,
    /// Fields that no path can name.
    unnamed: Vec<String>,
    key: Option<keys::Key>,
    partition: keys::Partition,
}

/// A proposed column.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    /// As a pipeline file has it.
    from: String,
    kind: ColumnType,
    /// For the reader of the file.
    notes: Vec<String>,
    /// What only a person knows.
    question: Option<String>,
}

/// An array of objects in the records, and the columns that its elements would become.
#[derive(Debug, Clone, PartialEq)]
struct ArrayOfObjects {
    from: String,
    /// The column that has it as JSON.
    column: String,
    n_elements: usize,
    columns: Vec<Column>,
    /// The column that tells the elements of each record apart.
    id: Option<String>,
}

/// Looks at sample pages, and proposes how to read them.
///
/// ```
/// use tracklake::{infer, transform::Tree};
///
/// let page = Tree::parse(br#"{"items": [{"id": 1, "startedAt": "2024-07-25T09:42:06Z"}]}"#).unwrap();
/// let proposal = infer::propose(&[page], &infer::Wishes::default()).unwrap();
/// assert!(proposal.yaml().contains("started_at: { from: startedAt, type: timestamp }"));
/// ```
///
/// # Errors
///
/// What keeps it from proposing anything.
pub fn propose(samples: &[Tree], wishes: &Wishes) -> Result<Proposal, InferError> {
    let asked = wishes.records.as_ref();
    let unfolded = shape::unfold(samples, asked, wishes.shape.as_ref());
    let unfolded = match (&unfolded, asked) {
        (None, None) if !records::arrays(samples).values().any(|it| *it > 0) => {
            shape::unfold_text(samples)
        }
        _ => unfolded,
    };
    let (found, pages) = match &unfolded {
        Some(it) => (Records::find(&it.samples, Some(&it.path))?, &it.samples[..]),
        None => (Records::find(samples, asked)?, samples),
    };
    let shape = unfolded.as_ref().map(|it| &it.shape);
    let record_notes = match &unfolded {
        Some(it) => it.notes(),
        None => found.notes(&shape::maps(samples)),
    };
    let facts = facts::Facts::of(found.objects.iter().copied());
    let mut fields = facts::fields(&facts, matches!(shape, Some(Shape::Map(_))));
    let exploded = match &wishes.explode {
        Some(path) => Some(facts::explode(&mut fields, path)?),
        None => None,
    };
    let mut names = names::Names::default();
    let columns: Vec<Column> = fields
        .leaves
        .iter()
        .flat_map(|leaf| kind::columns(leaf, wishes.zone, &mut names))
        .collect();
    if columns.is_empty() {
        return Err(InferError::NoFields);
    }
    let arrays = fields
        .leaves
        .iter()
        .filter_map(|leaf| leaf.array_of_objects(&columns, wishes.zone, &names))
        .collect();
    let key = match exploded {
        Some(_) => None,
        None => keys::key(&fields.leaves, &columns, wishes.stream.as_ref()),
    };
    let partition = keys::partition(&facts, &fields.leaves, &columns, &mut names);
    Ok(Proposal {
        n_records: found.objects.len(),
        records: shape.map_or_else(|| yaml::scalar(&found.path.to_string()), Shape::yaml),
        record_notes,
        explode: exploded.map(|it| it.from),
        // What stands in the text is no envelope that a run could read.
        paging: match shape {
            Some(Shape::Stringified(path, _)) => paging::hint(samples, path),
            Some(Shape::Map(path)) if path.is_root() => paging::hint_of_bare_map(samples),
            Some(Shape::Map(_)) | None => paging::hint(pages, &found.path),
        },
        columns,
        arrays,
        unnamed: fields.unnamed,
        key,
        partition,
    })
}

#[cfg(test)]
mod tests;
