//! Rows and the bytes that compare as they do; pure.
//!
//! ```text
//! id=41 updated=07-25 name=a     ->  41 | 07-25 | a      key, newest_by, the others in file order
//! ```

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array},
    compute::SortOptions,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_row::{RowConverter, Rows, SortField};
use chrono::{DateTime, Utc};

use super::WriteError;
use crate::plan::{Deletes, Name, StreamPlan, WriteMode};

/// How rows are ordered in a file; null is the smallest value.
pub(super) const ORDER: SortOptions = SortOptions { descending: false, nulls_first: true };

/// How rows and bytes become each other.
#[derive(Debug)]
pub(super) struct Layout {
    stream: Name,
    schema: SchemaRef,
    /// Columns in the order of their importance: key, `newest_by`, the others.
    columns: Vec<usize>,
    converter: RowConverter,
    /// Of the key alone: tells where it ends.
    key_converter: RowConverter,
    key: Vec<usize>,
    /// The type of `newest_by`, where it is not in the key.
    newest_by: Option<DataType>,
    /// The bytes of [`DELETED_COLUMN`](crate::plan::DELETED_COLUMN) in a row that goes, where such rows are marked. They are a
    /// row's last.
    mark: Option<[u8; MARK]>,
}

/// Bytes of an instant: one for null, and 64 bits.
const MARK: usize = 9;

/// Some rows as bytes.
#[derive(Debug)]
pub(super) struct RowBytes {
    rows: Rows,
    key_rows: Rows,
}

impl RowBytes {
    /// The bytes of a row, and how many of them are its key.
    pub(super) fn row(&self, at: usize) -> (&[u8], usize) {
        let key_len = if self.key_rows.num_rows() == 0 { 0 } else { self.key_rows.row_len(at) };
        (self.rows.row(at).data(), key_len)
    }
}

impl Layout {
    /// Rows of `schema`; those that go are marked with `now`, where they are marked.
    pub(super) fn new(
        plan: &StreamPlan,
        schema: &SchemaRef,
        now: DateTime<Utc>,
    ) -> Result<Self, WriteError> {
        let key = positions(plan, schema, plan.key())?;
        let newest_by = match &plan.write {
            WriteMode::Merge { newest_by: Some(column), .. } => {
                Some(position(plan, schema, column)?)
            }
            WriteMode::Merge { newest_by: None, .. }
            | WriteMode::Append { .. }
            | WriteMode::Replace { .. } => None,
        };
        let newest_by = newest_by.filter(|it| !key.contains(it));
        let mut columns = key.clone();
        for column in newest_by.into_iter().chain(0..schema.fields().len()) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let converter = |columns: &[usize]| {
            let field = |&column: &usize| {
                SortField::new_with_options(schema.field(column).data_type().clone(), ORDER)
            };
            RowConverter::new(columns.iter().map(field).collect()).map_err(sort_error(&plan.name))
        };
        Ok(Self {
            stream: plan.name.clone(),
            schema: Arc::clone(schema),
            converter: converter(&columns)?,
            key_converter: converter(&key)?,
            columns,
            key,
            newest_by: newest_by.map(|it| schema.field(it).data_type().clone()),
            mark: match plan.deletes {
                Deletes::Remove => None,
                Deletes::Mark => Some(mark(now).map_err(sort_error(&plan.name))?),
            },
        })
    }

    /// Whether the row was marked before.
    pub(super) fn is_marked(&self, bytes: &[u8]) -> bool {
        // A null's bytes start with 0, those of a value do not.
        self.mark.is_some() && bytes.len().checked_sub(MARK).is_some_and(|at| bytes[at] != 0)
    }

    /// Marks a row that goes; `false` where such rows are not marked.
    pub(super) fn mark(&self, bytes: &mut [u8]) -> bool {
        let (Some(mark), Some(end)) = (&self.mark, bytes.last_chunk_mut::<MARK>()) else {
            return false;
        };
        *end = *mark;
        true
    }

    pub(super) fn stream(&self) -> &Name {
        &self.stream
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of rows that come: nobody knows yet that they will go.
    pub(super) fn row_fields(&self) -> &[FieldRef] {
        let fields = self.schema.fields();
        &fields[..fields.len() - usize::from(self.mark.is_some())]
    }

    /// Rows that come, with all columns of the dataset.
    pub(super) fn dataset_batch(&self, batch: &RecordBatch) -> Result<RecordBatch, WriteError> {
        let mut arrays = batch.columns().to_vec();
        for field in self.schema.fields().iter().skip(arrays.len()) {
            arrays.push(new_null_array(field.data_type(), batch.num_rows()));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(sort_error(&self.stream))
    }

    /// The positions of the key columns.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    pub(super) fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Memory for rows.
    pub(super) fn bytes(&self) -> RowBytes {
        RowBytes {
            rows: self.converter.empty_rows(0, 0),
            key_rows: self.key_converter.empty_rows(0, 0),
        }
    }

    /// Makes `bytes` the rows of a batch, which has the schema's columns.
    pub(super) fn convert(
        &self,
        batch: &RecordBatch,
        bytes: &mut RowBytes,
    ) -> Result<(), WriteError> {
        let arrays = |columns: &[usize]| -> Vec<ArrayRef> {
            columns.iter().map(|&it| Arc::clone(batch.column(it))).collect()
        };
        let RowBytes { rows, key_rows } = bytes;
        rows.clear();
        self.converter.append(rows, &arrays(&self.columns)).map_err(sort_error(&self.stream))?;
        key_rows.clear();
        if self.is_keyed() {
            self.key_converter
                .append(key_rows, &arrays(&self.key))
                .map_err(sort_error(&self.stream))?;
        }
        Ok(())
    }

    /// The keys alone, of columns in the key's order.
    pub(super) fn keys(&self, columns: &[ArrayRef]) -> Result<Rows, WriteError> {
        self.key_converter.convert_columns(columns).map_err(sort_error(&self.stream))
    }

    /// Rows that lie one after the other in `bytes` as a batch.
    pub(super) fn batch(&self, bytes: &[u8], ends: &[usize]) -> Result<RecordBatch, WriteError> {
        let parser = self.converter.parser();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let rows = starts.zip(ends).map(|(start, &end)| parser.parse(&bytes[start..end]));
        let arrays = self.converter.convert_rows(rows).map_err(sort_error(&self.stream))?;
        let mut by_position: Vec<_> = self.columns.iter().zip(arrays).collect();
        by_position.sort_unstable_by_key(|(position, _)| **position);
        let arrays = by_position.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(sort_error(&self.stream))
    }

    /// The bytes of `newest_by` of a row; none where nothing says which row is newer.
    pub(super) fn newest<'a>(&self, bytes: &'a [u8], key_len: usize) -> &'a [u8] {
        let rest = &bytes[key_len..];
        match &self.newest_by {
            Some(kind) => &rest[..encoded_len(kind, rest)],
            None => &[],
        }
    }
}

/// An instant as the last column of a row.
fn mark(now: DateTime<Utc>) -> Result<[u8; MARK], ArrowError> {
    let instants = TimestampMicrosecondArray::from(vec![now.timestamp_micros()]);
    let field = SortField::new_with_options(instants.data_type().clone(), ORDER);
    let rows =
        RowConverter::new(vec![field])?.convert_columns(&[Arc::new(instants) as ArrayRef])?;
    let bytes = rows.row(0).data().try_into();
    bytes.map_err(|_| ArrowError::ComputeError("an instant has other than 9 bytes".to_owned()))
}

/// How many of the bytes are the first column's, which has this type.
pub(super) fn encoded_len(kind: &DataType, bytes: &[u8]) -> usize {
    match kind {
        DataType::Boolean => 2,
        DataType::Date32 => 5,
        DataType::Utf8 => text_len(bytes),
        // Int64, Float64 and Timestamp: a byte for null, and 64 bits.
        _ => 9,
    }
    .min(bytes.len())
}

/// Text is a byte that tells null, empty and the others apart; the others follow in four blocks
/// of 8 bytes, then in blocks of 32, each with a byte behind it that is 255 where another follows.
fn text_len(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&2) {
        return 1;
    }
    let mut end = 1;
    for block in 0.. {
        end += if block < 4 { 9 } else { 33 };
        if bytes.get(end - 1) != Some(&0xFF) {
            break;
        }
    }
    end
}

/// The positions of columns that the plan names.
pub(super) fn positions(
    plan: &StreamPlan,
    schema: &Schema,
    columns: &[Name],
) -> Result<Vec<usize>, WriteError> {
    columns.iter().map(|it| position(plan, schema, it)).collect()
}

pub(super) fn position(
    plan: &StreamPlan,
    schema: &Schema,
    column: &Name,
) -> Result<usize, WriteError> {
    schema.index_of(column.as_str()).map_err(|_| WriteError::NoColumn {
        stream: plan.name.to_string(),
        column: column.to_string(),
    })
}

pub(super) fn sort_error(stream: &Name) -> impl FnOnce(ArrowError) -> WriteError {
    let stream = stream.to_string();
    move |source| WriteError::Sort { stream, source }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Date32Array, Float64Array, Int64Array, StringArray};
    use proptest::{option, prelude::*};

    use super::*;

    fn check(first: ArrayRef) {
        let kind = first.data_type().clone();
        let field = |kind: &DataType| SortField::new_with_options(kind.clone(), ORDER);
        let alone = RowConverter::new(vec![field(&kind)]).unwrap();
        let pair = RowConverter::new(vec![field(&kind), field(&DataType::Utf8)]).unwrap();
        let second: ArrayRef = Arc::new(StringArray::from(vec![Some("\u{2}ÿ"); first.len()]));
        let alone = alone.convert_columns(std::slice::from_ref(&first)).unwrap();
        let pair = pair.convert_columns(&[first, second]).unwrap();
        for at in 0..alone.num_rows() {
            assert_eq!(encoded_len(&kind, pair.row(at).data()), alone.row_len(at), "{kind} {at}");
        }
    }

    #[test]
    fn the_first_column_ends_where_its_type_says() {
        check(Arc::new(BooleanArray::from(vec![None, Some(true)])));
        check(Arc::new(Date32Array::from(vec![None, Some(1)])));
        check(Arc::new(Int64Array::from(vec![None, Some(1)])));
        check(Arc::new(Float64Array::from(vec![None, Some(1.5)])));
    }

    proptest! {
        #[test]
        fn text_ends_where_its_blocks_say(text in proptest::collection::vec(option::of(".{0,80}"), 1..5)) {
            check(Arc::new(StringArray::from(text)));
        }
    }
}
