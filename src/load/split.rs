//! Batches in any order in; sorted rows and what is known of their keys out.
//!
//! ```text
//! in     id=42 start=07-25 | id=41 start=07-25 | id=41 start=07-26 (re-dated while paging)
//! rows   (07-25, 41 …)  (07-25, 42 …)  (07-26, 41 …)
//! keys   41, 42                                            to be looked up by the rows that stand
//! index  41 -> 07-25, 07-26                                in several partitions: settled by itself
//! ```

use arrow::{array::RecordBatch, datatypes::FieldRef};

use super::{
    WriteError,
    index::KeyIndex,
    known::{KeyCollector, KnownKeys},
    partition::{Ordinal, Partitioner},
    rows::{Layout, RowBytes, position},
    sort::{Row, Sorted, Sorter},
    store::Store,
};
use crate::plan::StreamPlan;

/// Rows that are turned into bytes at a time; they are copied again before they leave the cache.
const CONVERTED_ROWS: usize = 256;

/// Takes batches.
#[derive(Debug)]
pub(super) struct Splitter {
    layout: Layout,
    partitioner: Partitioner,
    partition_column: usize,
    sorter: Sorter,
    /// `None` where one key cannot be in two partitions.
    index: Option<KeyIndex>,
    /// `None` where no rows stand that would look them up.
    keys: Option<KeyCollector>,
    bytes: RowBytes,
    ordinals: Vec<Ordinal>,
    read: u64,
}

/// All rows that came.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) layout: Layout,
    pub(super) sorted: Sorted,
    /// `None` where one key cannot be in two partitions.
    pub(super) index: Option<KeyIndex>,
    pub(super) keys: KnownKeys,
    /// Their number.
    pub(super) read: u64,
}

/// Whether rows stand that the new ones will meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dataset {
    /// None.
    Empty,
    /// Some.
    Stands,
}

impl Splitter {
    /// Holds up to `budget` bytes of rows in memory, and the others in `directory`.
    pub(super) fn new(
        plan: &StreamPlan,
        layout: Layout,
        store: &Store,
        directory: &str,
        budget: usize,
        dataset: Dataset,
    ) -> Result<Self, WriteError> {
        let partition_column = position(plan, layout.schema(), &plan.partition.column)?;
        let may_move = layout.is_keyed() && !layout.key().contains(&partition_column);
        let first = layout.key().first();
        let first_kind = first.map(|&it| layout.schema().field(it).data_type().clone());
        Ok(Self {
            partitioner: Partitioner::new(plan.partition.clone()),
            partition_column,
            sorter: Sorter::new(store, directory, budget),
            index: may_move.then(|| KeyIndex::new(store, directory, budget)),
            keys: first_kind
                .filter(|_| dataset == Dataset::Stands)
                .map(|it| KeyCollector::new(budget, it)),
            bytes: layout.bytes(),
            ordinals: Vec::new(),
            read: 0,
            layout,
        })
    }

    /// Takes a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.check(batch)?;
        let batch = &self.layout.dataset_batch(batch)?;
        let column = batch.column(self.partition_column);
        self.ordinals.clear();
        self.partitioner.ordinals(column, &mut self.ordinals)?;
        for start in (0..batch.num_rows()).step_by(CONVERTED_ROWS) {
            let slice = batch.slice(start, CONVERTED_ROWS.min(batch.num_rows() - start));
            self.write_slice(&slice, start)?;
        }
        self.read += batch.num_rows() as u64;
        Ok(())
    }

    fn write_slice(&mut self, slice: &RecordBatch, start: usize) -> Result<(), WriteError> {
        self.layout.convert(slice, &mut self.bytes)?;
        for at in 0..slice.num_rows() {
            let (bytes, key_len) = self.bytes.row(at);
            let row = Row { partition: self.ordinals[start + at], key_len, bytes };
            if let Some(index) = &mut self.index {
                index.push(row.key(), row.partition)?;
            }
            if let Some(keys) = &mut self.keys {
                keys.push(row.key());
            }
            self.sorter.push(row)?;
        }
        Ok(())
    }

    /// All rows.
    pub(super) fn finish(self) -> Result<Delta, WriteError> {
        let Self { layout, sorter, index, keys, read, .. } = self;
        let first = layout.key().first().copied();
        let keys = keys.map_or(KnownKeys::None, |it| it.finish(first));
        Ok(Delta { sorted: sorter.finish()?, index, keys, read, layout })
    }

    /// Names and types must be the stream's; what else a batch says about its columns is not
    /// looked at.
    fn check(&self, batch: &RecordBatch) -> Result<(), WriteError> {
        let (found, expected) = (batch.schema_ref(), self.layout.row_fields());
        let same = found.fields().len() == expected.len()
            && found.fields().iter().zip(expected).all(|(found, expected)| {
                found.name() == expected.name() && found.data_type() == expected.data_type()
            });
        if same {
            return Ok(());
        }
        Err(WriteError::Schema {
            stream: self.layout.stream().to_string(),
            found: columns(found.fields()),
            expected: columns(expected),
        })
    }
}

fn columns(fields: &[FieldRef]) -> String {
    let columns: Vec<String> =
        fields.iter().map(|it| format!("{}: {}", it.name(), it.data_type())).collect();
    columns.join(", ")
}
