//! Rows and their bytes; pure.
//!
//! ```text
//! id=41 updated=07-25 name=a     ->  41 | 07-25 | a      key, newest_by, the others, the mark
//! ```
//!
//! Key, `newest_by` and the mark of rows that go compare as their bytes do (arrow-row); so do all
//! columns where there is no key. The others are only carried ([`Cells`]).

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array},
    compute::SortOptions,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_row::{RowConverter, Rows, SortField};
use chrono::{DateTime, Utc};

use super::{
    WriteError,
    cells::{Builders, Cells},
    sort::Row,
};
use crate::plan::{Deletes, Name, StreamPlan, WriteMode};

/// How rows are ordered in a file; null is the smallest value.
pub(super) const ORDER: SortOptions = SortOptions { descending: false, nulls_first: true };

/// How rows and bytes become each other.
#[derive(Debug)]
pub(super) struct Layout {
    stream: Name,
    schema: SchemaRef,
    key: Vec<usize>,
    /// The key, or all columns where there is none.
    sorted: Ordered,
    /// `newest_by`, where it is not in the key, and its type.
    newest_by: Option<(Ordered, DataType)>,
    cells: Cells,
    mark: Option<Mark>,
}

/// Columns whose bytes compare as they do.
#[derive(Debug)]
struct Ordered {
    columns: Vec<usize>,
    converter: RowConverter,
}

/// The last bytes of a row, where rows that go are marked:
/// [`DELETED_COLUMN`](crate::plan::DELETED_COLUMN).
#[derive(Debug)]
struct Mark {
    column: Ordered,
    /// Of a row that goes.
    bytes: [u8; MARK],
}

/// Bytes of an instant: one for null, and 64 bits.
const MARK: usize = 9;

impl Ordered {
    fn new(schema: &Schema, columns: Vec<usize>) -> Result<Self, ArrowError> {
        let field = |&column: &usize| {
            SortField::new_with_options(schema.field(column).data_type().clone(), ORDER)
        };
        let converter = RowConverter::new(columns.iter().map(field).collect())?;
        Ok(Self { columns, converter })
    }

    fn rows(&self) -> Rows {
        self.converter.empty_rows(0, 0)
    }

    /// Makes `rows` those of a batch.
    fn convert(&self, batch: &RecordBatch, rows: &mut Rows) -> Result<(), ArrowError> {
        let arrays: Vec<ArrayRef> =
            self.columns.iter().map(|&it| Arc::clone(batch.column(it))).collect();
        rows.clear();
        self.converter.append(rows, &arrays)
    }

    /// The columns of rows again, with their positions.
    fn columns<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<impl Iterator<Item = (usize, ArrayRef)>, ArrowError> {
        let parser = self.converter.parser();
        let arrays = self.converter.convert_rows(rows.map(|it| parser.parse(it)))?;
        Ok(self.columns.iter().copied().zip(arrays))
    }
}

/// Some rows as bytes.
#[derive(Debug)]
pub(super) struct RowBytes {
    sorted: Rows,
    newest: Option<Rows>,
    mark: Option<Rows>,
    /// One row after the other.
    bytes: Vec<u8>,
    /// Where each of them ends, and the bytes of its key.
    ends: Vec<(usize, usize)>,
}

impl RowBytes {
    /// The bytes of a row, and how many of them are its key.
    pub(super) fn row(&self, at: usize) -> (&[u8], usize) {
        let start = at.checked_sub(1).map_or(0, |it| self.ends[it].0);
        let (end, key_len) = self.ends[at];
        (&self.bytes[start..end], key_len)
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
        Self::of_columns(plan, schema, now, key, newest_by).map_err(sort_error(&plan.name))
    }

    fn of_columns(
        plan: &StreamPlan,
        schema: &SchemaRef,
        now: DateTime<Utc>,
        key: Vec<usize>,
        newest_by: Option<usize>,
    ) -> Result<Self, ArrowError> {
        let newest_by = newest_by.filter(|it| !key.contains(it));
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let marked = match plan.deletes {
            Deletes::Mark => all.last().copied(),
            Deletes::Remove => None,
        };
        let sorted = if key.is_empty() { all.clone() } else { key.clone() };
        let is_carried =
            |it: &usize| !sorted.contains(it) && newest_by != Some(*it) && marked != Some(*it);
        let carried: Vec<usize> = all.into_iter().filter(is_carried).collect();
        let newest_by = newest_by.map(|it| {
            let kind = schema.field(it).data_type().clone();
            Ok::<_, ArrowError>((Ordered::new(schema, vec![it])?, kind))
        });
        let mark = marked.map(|it| {
            let column = Ordered::new(schema, vec![it])?;
            Ok::<_, ArrowError>(Mark { column, bytes: mark(now)? })
        });
        Ok(Self {
            stream: plan.name.clone(),
            schema: Arc::clone(schema),
            cells: Cells::new(schema, &carried)?,
            sorted: Ordered::new(schema, sorted)?,
            key,
            newest_by: newest_by.transpose()?,
            mark: mark.transpose()?,
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
        *end = mark.bytes;
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
            sorted: self.sorted.rows(),
            newest: self.newest_by.as_ref().map(|it| it.0.rows()),
            mark: self.mark.as_ref().map(|it| it.column.rows()),
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Makes `bytes` the rows of a batch, which has the schema's columns.
    pub(super) fn convert(
        &self,
        batch: &RecordBatch,
        bytes: &mut RowBytes,
    ) -> Result<(), WriteError> {
        self.append_all(batch, bytes).map_err(sort_error(&self.stream))
    }

    fn append_all(&self, batch: &RecordBatch, to: &mut RowBytes) -> Result<(), ArrowError> {
        let RowBytes { sorted, newest, mark, bytes, ends } = to;
        self.sorted.convert(batch, sorted)?;
        if let (Some((column, _)), Some(rows)) = (&self.newest_by, newest.as_mut()) {
            column.convert(batch, rows)?;
        }
        if let (Some(Mark { column, .. }), Some(rows)) = (&self.mark, mark.as_mut()) {
            column.convert(batch, rows)?;
        }
        let columns = self.cells.of(batch)?;
        bytes.clear();
        ends.clear();
        for at in 0..batch.num_rows() {
            bytes.extend_from_slice(sorted.row(at).data());
            let key_len = if self.is_keyed() { sorted.row_len(at) } else { 0 };
            if let Some(newest) = newest {
                bytes.extend_from_slice(newest.row(at).data());
            }
            self.cells.append(&columns, at, bytes);
            if let Some(mark) = mark {
                bytes.extend_from_slice(mark.row(at).data());
            }
            ends.push((bytes.len(), key_len));
        }
        Ok(())
    }

    /// The keys alone, of columns in the key's order.
    pub(super) fn keys(&self, columns: &[ArrayRef]) -> Result<Rows, WriteError> {
        self.sorted.converter.convert_columns(columns).map_err(sort_error(&self.stream))
    }

    /// Makes batches of rows.
    pub(super) fn batches(&self) -> BatchBuilder<'_> {
        BatchBuilder {
            layout: self,
            sorted: Slices::default(),
            newest: Slices::default(),
            mark: Slices::default(),
            cells: self.cells.builders(),
            bytes: 0,
        }
    }

    /// The bytes of `newest_by` of a row; none where nothing says which row is newer.
    pub(super) fn newest<'a>(&self, row: Row<'a>) -> &'a [u8] {
        let rest = &row.bytes[row.key_len..];
        match &self.newest_by {
            Some((_, kind)) => &rest[..encoded_len(kind, rest)],
            None => &[],
        }
    }

    /// Compares two rows of one key by their other columns, `newest_by` first.
    pub(super) fn compare(&self, one: Row<'_>, other: Row<'_>) -> Ordering {
        if one.bytes == other.bytes {
            return Ordering::Equal;
        }
        let (first, second) = (self.parts(one), self.parts(other));
        first
            .newest
            .cmp(second.newest)
            .then_with(|| self.cells.compare(first.cells, second.cells))
            .then_with(|| first.mark.cmp(second.mark))
    }

    fn parts<'a>(&self, row: Row<'a>) -> RowParts<'a> {
        let sorted_len = if self.is_keyed() { row.key_len } else { row.bytes.len() };
        let (sorted, rest) = row.bytes.split_at(sorted_len);
        let newest = if self.is_keyed() { self.newest(row) } else { &[] };
        let rest = &rest[newest.len()..];
        let mark_len = if self.mark.is_some() { MARK.min(rest.len()) } else { 0 };
        let (cells, mark) = rest.split_at(rest.len() - mark_len);
        RowParts { sorted, newest, cells, mark }
    }
}

/// What a row's bytes are.
struct RowParts<'a> {
    sorted: &'a [u8],
    newest: &'a [u8],
    cells: &'a [u8],
    mark: &'a [u8],
}

/// Makes batches of rows.
#[derive(Debug)]
pub(super) struct BatchBuilder<'a> {
    layout: &'a Layout,
    sorted: Slices,
    newest: Slices,
    mark: Slices,
    cells: Builders<'a>,
    /// Of all rows.
    bytes: usize,
}

/// Bytes of rows, one after the other.
#[derive(Debug, Default)]
struct Slices {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Slices {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl BatchBuilder<'_> {
    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.sorted.ends.len()
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a row.
    pub(super) fn push(&mut self, row: Row<'_>) -> Result<(), WriteError> {
        let RowParts { sorted, newest, cells, mark } = self.layout.parts(row);
        self.bytes += row.bytes.len();
        self.sorted.push(sorted);
        if self.layout.newest_by.is_some() {
            self.newest.push(newest);
        }
        if self.layout.mark.is_some() {
            self.mark.push(mark);
        }
        self.cells.push(cells).map_err(sort_error(&self.layout.stream))
    }

    /// All rows; nothing is left of them here.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, WriteError> {
        let batch = self.batch().map_err(sort_error(&self.layout.stream));
        self.bytes = 0;
        for slices in [&mut self.sorted, &mut self.newest, &mut self.mark] {
            slices.clear();
        }
        batch
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let Layout { schema, sorted, newest_by, mark, .. } = self.layout;
        let mut columns: Vec<(usize, ArrayRef)> = self.cells.finish().collect();
        columns.extend(sorted.columns(self.sorted.iter())?);
        if let Some((newest_by, _)) = newest_by {
            columns.extend(newest_by.columns(self.newest.iter())?);
        }
        if let Some(Mark { column, .. }) = mark {
            columns.extend(column.columns(self.mark.iter())?);
        }
        columns.sort_unstable_by_key(|(position, _)| *position);
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::clone(schema), arrays)
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
