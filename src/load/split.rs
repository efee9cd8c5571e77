//! Rows to partitions: batches in any order in, batches of one partition after the other out.
//!
//! ```text
//! in     id=42 start=07-25 | id=41 start=07-25 | id=41 start=07-26 (re-dated while paging)
//! rows   (07-25, 42 …)  (07-25, 41 …)  (07-26, 41 …)
//! out    date=…07-25: id=42       date=…07-26: id=41       one row a key, sorted by key
//! ```
//!
//! Among rows with one key the largest `newest_by` stays, and at a tie, or without one, the row
//! whose other columns are the largest. Which of them came first never matters: slices arrive as
//! they like. Rows of a stream without a key all stay.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use arrow_row::{RowConverter, Rows, SortField};

use super::{
    WriteError,
    index::{KeyIndex, Suspects},
    partition::{Ordinal, Partitioner},
    sort::{Merge, Origin, Row, Sorted, Sorter},
    store::Store,
};
use crate::plan::{Name, StreamPlan, WriteMode};

/// How rows are ordered in a file; null is the smallest value.
pub(super) const ORDER: SortOptions = SortOptions { descending: false, nulls_first: true };

/// Rows that are turned into bytes at a time.
const CONVERTED_ROWS: usize = 1_024;
/// Rows of a batch that goes out, at most.
const BATCH_ROWS: usize = 8_192;
/// Bytes after which a batch goes out.
const BATCH_BYTES: usize = 4 << 20;
/// What settling suspects may take of the budget, twice.
const SETTLING_SHARE: usize = 8;

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows that stayed.
    pub(super) rows: u64,
    /// Rows that were equal to another one.
    pub(super) duplicates: u64,
    /// Rows whose key a newer row had.
    pub(super) superseded: u64,
}

/// Takes batches.
#[derive(Debug)]
pub(super) struct Splitter {
    stream: Name,
    schema: SchemaRef,
    layout: Layout,
    partitioner: Partitioner,
    partition_column: usize,
    store: Store,
    directory: String,
    budget: usize,
    sorter: Sorter,
    /// `None` where one key cannot be in two partitions.
    index: Option<KeyIndex>,
    rows: Rows,
    key_rows: Rows,
    ordinals: Vec<Ordinal>,
}

/// How rows and bytes become each other.
#[derive(Debug)]
struct Layout {
    stream: Name,
    /// Columns in the order of their importance: key, `newest_by`, the others.
    columns: Vec<usize>,
    converter: RowConverter,
    /// Of the key alone: tells where it ends.
    key_converter: RowConverter,
    key: Vec<usize>,
}

impl Layout {
    fn new(plan: &StreamPlan, schema: &Schema) -> Result<Self, WriteError> {
        let key = positions(plan, schema, plan.key())?;
        let newest_by = match &plan.write {
            WriteMode::Merge { newest_by: Some(column), .. } => {
                Some(position(plan, schema, column)?)
            }
            WriteMode::Merge { newest_by: None, .. }
            | WriteMode::Append { .. }
            | WriteMode::Replace { .. } => None,
        };
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
            converter: converter(&columns)?,
            key_converter: converter(&key)?,
            columns,
            key,
        })
    }

    /// The arrays of a batch's columns, by position.
    fn arrays(batch: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
        columns.iter().map(|&it| Arc::clone(batch.column(it))).collect()
    }

    /// Rows that lie one after the other in `bytes` as a batch.
    fn batch(
        &self,
        schema: &SchemaRef,
        bytes: &[u8],
        ends: &[usize],
    ) -> Result<RecordBatch, WriteError> {
        let parser = self.converter.parser();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let rows = starts.zip(ends).map(|(start, &end)| parser.parse(&bytes[start..end]));
        let arrays = self.converter.convert_rows(rows).map_err(sort_error(&self.stream))?;
        let mut by_position: Vec<_> = self.columns.iter().zip(arrays).collect();
        by_position.sort_unstable_by_key(|(position, _)| **position);
        let arrays = by_position.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::clone(schema), arrays).map_err(sort_error(&self.stream))
    }
}

impl Splitter {
    /// Holds up to `budget` bytes of rows in memory, and the others in `directory`.
    pub(super) fn new(
        plan: &StreamPlan,
        schema: &SchemaRef,
        store: &Store,
        directory: &str,
        budget: usize,
    ) -> Result<Self, WriteError> {
        let layout = Layout::new(plan, schema)?;
        let partition_column = position(plan, schema, &plan.partition.column)?;
        let may_move = !layout.key.is_empty() && !layout.key.contains(&partition_column);
        Ok(Self {
            stream: plan.name.clone(),
            schema: Arc::clone(schema),
            partitioner: Partitioner::new(plan.partition.clone()),
            partition_column,
            store: store.clone(),
            directory: directory.to_owned(),
            budget,
            sorter: Sorter::new(store, directory, budget),
            index: may_move.then(|| KeyIndex::new(store, directory)),
            rows: layout.converter.empty_rows(0, 0),
            key_rows: layout.key_converter.empty_rows(0, 0),
            ordinals: Vec::new(),
            layout,
        })
    }

    /// Takes a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.check(batch)?;
        let column = batch.column(self.partition_column);
        self.ordinals.clear();
        self.partitioner.ordinals(column, &mut self.ordinals)?;
        for start in (0..batch.num_rows()).step_by(CONVERTED_ROWS) {
            let slice = batch.slice(start, CONVERTED_ROWS.min(batch.num_rows() - start));
            self.write_slice(&slice, start)?;
        }
        Ok(())
    }

    fn write_slice(&mut self, slice: &RecordBatch, start: usize) -> Result<(), WriteError> {
        let Self { layout, rows, key_rows, .. } = self;
        rows.clear();
        layout
            .converter
            .append(rows, &Layout::arrays(slice, &layout.columns))
            .map_err(sort_error(&self.stream))?;
        if !layout.key.is_empty() {
            key_rows.clear();
            layout
                .key_converter
                .append(key_rows, &Layout::arrays(slice, &layout.key))
                .map_err(sort_error(&self.stream))?;
        }
        for at in 0..slice.num_rows() {
            let key_len = if layout.key.is_empty() { 0 } else { key_rows.row_len(at) };
            let bytes = rows.row(at).data();
            let row = Row { partition: self.ordinals[start + at], key_len, bytes };
            if let Some(index) = &mut self.index {
                index.push(row.key(), row.partition)?;
            }
            self.sorter.push(row)?;
        }
        Ok(())
    }

    /// All rows that stay, in order.
    pub(super) fn finish(self) -> Result<SplitRows, WriteError> {
        let sorted = self.sorter.finish()?;
        let suspects = match self.index {
            Some(index) => index.finish()?,
            None => Suspects::None,
        };
        let mut counts = Counts::default();
        let merge = if suspects == Suspects::None {
            Merge::new([(Origin::New, sorted)])?
        } else {
            let share = self.budget / SETTLING_SHARE;
            let settling = || Sorter::new(&self.store, &self.directory, share);
            let settled = settle(&sorted, &suspects, settling(), settling(), &mut counts)?;
            Merge::new([(Origin::New, sorted), (Origin::Settled, settled)])?
        };
        Ok(SplitRows {
            is_keyed: !self.layout.key.is_empty(),
            schema: self.schema,
            layout: self.layout,
            merge,
            suspects,
            counts,
            pending: Pending::default(),
            out: Pending::default(),
        })
    }

    /// Names and types must be the stream's; what else a batch says about its columns is not
    /// looked at.
    fn check(&self, batch: &RecordBatch) -> Result<(), WriteError> {
        let found = batch.schema_ref();
        let same = found.fields().len() == self.schema.fields().len()
            && found.fields().iter().zip(self.schema.fields()).all(|(found, expected)| {
                found.name() == expected.name() && found.data_type() == expected.data_type()
            });
        if same {
            return Ok(());
        }
        Err(WriteError::Schema {
            stream: self.stream.to_string(),
            found: columns(found),
            expected: columns(&self.schema),
        })
    }
}

/// The one row of each suspect, from whichever partition: all rows of suspects are sorted by key
/// alone, and the last of each stays.
fn settle(
    sorted: &Sorted,
    suspects: &Suspects,
    mut by_key: Sorter,
    mut by_partition: Sorter,
    counts: &mut Counts,
) -> Result<Sorted, WriteError> {
    let mut bytes = Vec::new();
    sorted.scan(|row| {
        if suspects.contain(row.key()) {
            bytes.clear();
            bytes.extend_from_slice(row.bytes);
            // Behind the columns, which decide it.
            bytes.extend_from_slice(&row.partition.0.to_be_bytes());
            by_key.push(Row { partition: Ordinal::NULL, key_len: row.key_len, bytes: &bytes })?;
        }
        Ok(())
    })?;

    let mut stay = |bytes: &[u8], key_len: usize| {
        let Some((bytes, partition)) = bytes.split_last_chunk() else { return Ok(()) };
        let partition = Ordinal(u64::from_be_bytes(*partition));
        by_partition.push(Row { partition, key_len, bytes })
    };
    let mut merge = Merge::new([(Origin::New, by_key.finish()?)])?;
    let mut last: Option<(Vec<u8>, usize)> = None;
    while let Some((_, row)) = merge.next()? {
        match &mut last {
            Some((bytes, key_len)) if bytes[..*key_len] == *row.key() => {
                counts.lose(bytes, row.bytes);
                bytes.clear();
                bytes.extend_from_slice(row.bytes);
            }
            Some((bytes, key_len)) => {
                stay(bytes, *key_len)?;
                bytes.clear();
                bytes.extend_from_slice(row.bytes);
                *key_len = row.key_len;
            }
            None => last = Some((row.bytes.to_vec(), row.key_len)),
        }
    }
    if let Some((bytes, key_len)) = last {
        stay(&bytes, key_len)?;
    }
    by_partition.finish()
}

impl Counts {
    /// Counts the row `old`, whose key `new` has too.
    fn lose(&mut self, old: &[u8], new: &[u8]) {
        if old == new {
            self.duplicates += 1;
        } else {
            self.superseded += 1;
        }
    }
}

/// Rows in order: partition, then key, then the other columns.
#[derive(Debug)]
pub(super) struct SplitRows {
    schema: SchemaRef,
    layout: Layout,
    is_keyed: bool,
    merge: Merge,
    suspects: Suspects,
    counts: Counts,
    /// The rows of the batch to come.
    pending: Pending,
    /// Those that just became a batch: kept for its memory.
    out: Pending,
}

/// Rows of one partition, one after the other.
#[derive(Debug, Default)]
struct Pending {
    partition: Option<Ordinal>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Of the last row.
    key_len: usize,
}

/// A batch of one partition.
#[derive(Debug)]
pub(super) struct PartitionBatch {
    /// The partition.
    pub(super) partition: Ordinal,
    /// Its next rows.
    pub(super) batch: RecordBatch,
    /// Whether more of its rows follow.
    pub(super) rest: Rest,
}

/// Whether more rows of a partition follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// They do.
    More,
    /// They do not.
    None,
}

impl SplitRows {
    /// The next batch.
    pub(super) fn next(&mut self) -> Result<Option<PartitionBatch>, WriteError> {
        let Self { merge, suspects, pending, out, counts, is_keyed, .. } = self;
        while let Some((origin, row)) = merge.next()? {
            if origin == Origin::New && suspects.contain(row.key()) {
                continue;
            }
            let is_same_partition = pending.partition == Some(row.partition);
            if *is_keyed && is_same_partition && pending.last_key() == row.key() {
                // The later row is the larger one, and takes the earlier one's place.
                let start = pending.last_start();
                counts.lose(&pending.bytes[start..], row.bytes);
                pending.bytes.truncate(start);
                pending.ends.pop();
                pending.push(row);
                continue;
            }
            if is_same_partition && !pending.is_full() || pending.partition.is_none() {
                pending.push(row);
                continue;
            }
            let rest = if is_same_partition { Rest::More } else { Rest::None };
            std::mem::swap(pending, out);
            pending.clear();
            pending.push(row);
            return self.batch(rest);
        }
        std::mem::swap(pending, out);
        pending.clear();
        self.batch(Rest::None)
    }

    /// What became of the rows so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn batch(&mut self, rest: Rest) -> Result<Option<PartitionBatch>, WriteError> {
        let Some(partition) = self.out.partition else { return Ok(None) };
        let batch = self.layout.batch(&self.schema, &self.out.bytes, &self.out.ends)?;
        self.counts.rows += batch.num_rows() as u64;
        Ok(Some(PartitionBatch { partition, batch, rest }))
    }
}

impl Pending {
    fn push(&mut self, row: Row<'_>) {
        self.partition = Some(row.partition);
        self.bytes.extend_from_slice(row.bytes);
        self.ends.push(self.bytes.len());
        self.key_len = row.key_len;
    }

    fn clear(&mut self) {
        self.partition = None;
        self.bytes.clear();
        self.ends.clear();
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_ROWS || self.bytes.len() >= BATCH_BYTES
    }

    fn last_start(&self) -> usize {
        self.ends.len().checked_sub(2).map_or(0, |it| self.ends[it])
    }

    fn last_key(&self) -> &[u8] {
        let start = self.last_start();
        &self.bytes[start..start + self.key_len]
    }
}

/// The positions of columns that the plan names.
pub(super) fn positions(
    plan: &StreamPlan,
    schema: &Schema,
    columns: &[Name],
) -> Result<Vec<usize>, WriteError> {
    columns.iter().map(|it| position(plan, schema, it)).collect()
}

fn position(plan: &StreamPlan, schema: &Schema, column: &Name) -> Result<usize, WriteError> {
    schema.index_of(column.as_str()).map_err(|_| WriteError::NoColumn {
        stream: plan.name.to_string(),
        column: column.to_string(),
    })
}

fn sort_error(stream: &Name) -> impl FnOnce(ArrowError) -> WriteError {
    let stream = stream.to_string();
    move |source| WriteError::Sort { stream, source }
}

fn columns(schema: &Schema) -> String {
    let columns: Vec<String> =
        schema.fields().iter().map(|it| format!("{}: {}", it.name(), it.data_type())).collect();
    columns.join(", ")
}
