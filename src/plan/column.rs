//! Columns: where a value comes from, what it must be, and how it is stored.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono_tz::Tz;

use super::{Deletes, JsonPath, MaskPlan, Name, StreamPlan};

/// The name of the column that keeps the fields that no other column reads.
pub const EXTRA_COLUMN: &str = "_extra";
/// The column that says since when the source no longer has a row.
pub const DELETED_COLUMN: &str = "_deleted_at";
/// Under which key a field's metadata has its description.
pub const DESCRIPTION: &str = "description";

/// One declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnPlan {
    /// The column's name in every file.
    pub name: Name,
    /// Where its value comes from.
    pub from: ColumnSource,
    /// What the value must be.
    pub kind: ColumnType,
    /// Display names of codes, by the JSON text of the code; a code that is not listed is null.
    pub values: Option<BTreeMap<String, String>>,
    /// For readers of the file's schema.
    pub description: Option<String>,
    /// What is written instead of values that should not be known.
    pub mask: Option<MaskPlan>,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// A path in the record; below the path of an exploded array it is a path in its element, and
    /// [`JsonPath::KEY`] as its last segment is the key of an element of an object map.
    Record(JsonPath),
    /// A column of the parent row, by the name it is bound to.
    Parent(String),
    /// A value of the slice.
    Slice(String),
}

/// What a value must be, and so how it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnType {
    /// Text; numbers and booleans as their JSON text. Stored as Utf8.
    String,
    /// Stored as Int64.
    Int64,
    /// Stored as Float64.
    Float64,
    /// Stored as Boolean.
    Boolean,
    /// A calendar date, or the date of an instant in a zone. Stored as Date32.
    Date {
        /// Where an instant becomes a date; without it an instant is refused.
        zone: Option<Tz>,
    },
    /// An instant. Stored as Timestamp(microsecond, "UTC").
    Timestamp {
        /// What numbers, and text of digits only, mean.
        format: InstantFormat,
        /// Of text that has no zone of its own; without it such text is refused.
        zone: Option<Tz>,
    },
    /// A length of time. Stored as Int64 seconds.
    Duration {
        /// What a plain number counts.
        unit: DurationUnit,
        /// How long a day and a week are.
        calendar: Calendar,
        /// Whether a fraction of a second is refused instead of rounded half to even.
        exact: bool,
    },
    /// Any value, as canonical JSON text: sorted keys, exact numbers. Stored as Utf8.
    Json,
}

/// How an instant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstantFormat {
    /// As text with date and time, such as RFC 3339; a number is refused.
    Text,
    /// Seconds since 1970-01-01 UTC, as a number or as text.
    EpochSeconds,
    /// Milliseconds since 1970-01-01 UTC, as a number or as text.
    EpochMillis,
}

/// What a plain number counts in a duration column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationUnit {
    /// Plain numbers are refused: the source writes durations as text.
    Text,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// How long a day and a week are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calendar {
    /// Seconds of `1d` and `P1D`.
    pub seconds_per_day: f64,
    /// Days of `1w` and `P1W`.
    pub days_per_week: f64,
}

impl Calendar {
    /// Clock time: 24 hours, 7 days.
    pub const ABSOLUTE: Self = Self { seconds_per_day: 86_400.0, days_per_week: 7.0 };
}

/// What happens to fields that no column reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// They go, as one canonical JSON text, into [`EXTRA_COLUMN`].
    #[default]
    Keep,
    /// They are dropped.
    Ignore,
    /// The record is rejected.
    Reject,
}

impl ColumnType {
    /// The Arrow type of the column.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int64 | Self::Duration { .. } => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Date { .. } => DataType::Date32,
            Self::Timestamp { .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
        }
    }
}

/// Under this key the metadata of a field has [`MaskPlan::name`], if the column is masked.
pub const MASK_METADATA: &str = "mask";

/// The schema of the rows that are read: the declared columns in order, then [`EXTRA_COLUMN`].
///
/// Every column is nullable. Field ids, descriptions and the kinds of masks reach Parquet.
pub fn arrow_schema(columns: &[ColumnPlan], unknown_fields: UnknownFields) -> SchemaRef {
    let declared = columns.iter().map(|column| {
        let field = field(column.name.as_str(), column.kind.arrow(), column.description.as_deref());
        match &column.mask {
            Some(mask) => masked(field, mask),
            None => field,
        }
    });
    let extra = (unknown_fields == UnknownFields::Keep).then(|| {
        let description = "fields that no column reads, as canonical JSON";
        field(EXTRA_COLUMN, DataType::Utf8, Some(description))
    });
    Arc::new(Schema::new(declared.chain(extra).collect::<Vec<_>>()))
}

/// The schema of every file of a stream: that of its rows, then [`DELETED_COLUMN`] where deletes
/// are marked.
pub fn dataset_schema(stream: &StreamPlan) -> SchemaRef {
    schema_of(&stream.columns, stream.unknown_fields, stream.deletes)
}

/// The schema of the files of a stream that has these columns.
pub(super) fn schema_of(
    columns: &[ColumnPlan],
    unknown_fields: UnknownFields,
    deletes: Deletes,
) -> SchemaRef {
    let rows = arrow_schema(columns, unknown_fields);
    if deletes == Deletes::Remove {
        return rows;
    }
    let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let description = "since when the source no longer has the row; null while it has it";
    let mut fields = rows.fields().to_vec();
    fields.push(Arc::new(field(DELETED_COLUMN, kind, Some(description))));
    Arc::new(Schema::new(fields))
}

fn field(name: &str, kind: DataType, description: Option<&str>) -> Field {
    let mut metadata = HashMap::new();
    metadata.insert("PARQUET:field_id".to_owned(), field_id(name).to_string());
    if let Some(description) = description {
        metadata.insert(DESCRIPTION.to_owned(), description.to_owned());
    }
    Field::new(name, kind, true).with_metadata(metadata)
}

fn masked(field: Field, mask: &MaskPlan) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(MASK_METADATA.to_owned(), mask.name().to_owned());
    field.with_metadata(metadata)
}

/// The id of a column: its name's FNV-1a hash, without the sign. A place would be that of another
/// column once one is added, and readers that go by ids would take one for the other.
pub(super) fn field_id(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811C_9DC5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash & 0x7FFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test values of FNV-1a's authors, without the sign.
    #[test]
    fn the_id_of_a_column_is_the_hash_of_its_name() {
        for (name, hash) in [("", 0x811C_9DC5_u32), ("a", 0xE40C_292C), ("foobar", 0xBF9C_F968)] {
            assert_eq!(field_id(name), hash & 0x7FFF_FFFF, "{name}");
        }
    }
}
