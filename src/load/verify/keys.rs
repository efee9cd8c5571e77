//! Keys that stand more than once in a stream.
//!
//! ```text
//! (hash of key, number of row)   of every row, in buckets         16 bytes a row, on disk
//! hashes that met                usually none: then that is all
//! key | file | row               of those, read again and sorted  same bytes side by side: a problem
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::Schema,
    util::display::array_value_to_string,
};
use arrow_row::{RowConverter, SortField};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{Damage, FileProblem, problem};
use crate::load::{
    WriteError,
    index::{KeyIndex, Suspects},
    partition::Ordinal,
    rows::ORDER,
    sort::{Merge, Origin, Row, Sorter},
    store::{Scratch, Store},
};

/// Memory for keys that met.
const SORT_BYTES: usize = 32 << 20;
/// Where temporary files go in the temporary directory.
const SPILL: &str = "keys";
/// Bytes of keys that are held in memory.
const BUDGET: usize = 16 << 20;

/// Takes the keys of a stream.
pub(super) struct Keys {
    store: Store,
    /// Removed when it is dropped.
    scratch: Scratch,
    columns: Vec<String>,
    index: Mutex<KeyIndex>,
    rows: AtomicU64,
}

/// Reads the keys of one file.
pub(super) struct KeyReader {
    converter: RowConverter,
    last: Vec<u8>,
    is_sorted: bool,
}

impl KeyReader {
    fn new(schema: &Schema, columns: &[String]) -> Result<Self, WriteError> {
        let field = |it: &String| {
            let field = schema.field_with_name(it)?;
            Ok(SortField::new_with_options(field.data_type().clone(), ORDER))
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>();
        let converter = fields.and_then(RowConverter::new).map_err(sort_error)?;
        Ok(Self { converter, last: Vec::new(), is_sorted: true })
    }

    fn rows(&self, batch: &RecordBatch, columns: &[String]) -> Result<arrow_row::Rows, WriteError> {
        let arrays: Vec<ArrayRef> =
            columns.iter().filter_map(|it| batch.column_by_name(it).cloned()).collect();
        self.converter.convert_columns(&arrays).map_err(sort_error)
    }

    /// Whether the keys that were taken never went back.
    pub(super) fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// A key for a person: `id=41, mode=audit`.
    fn show(&self, key: &[u8], columns: &[String]) -> Result<String, WriteError> {
        let parser = self.converter.parser();
        let arrays = self.converter.convert_rows([parser.parse(key)]).map_err(sort_error)?;
        let cell = |(name, array): (&String, &ArrayRef)| {
            Ok(format!("{name}={}", array_value_to_string(array, 0)?))
        };
        let cells: Result<Vec<String>, _> = columns.iter().zip(&arrays).map(cell).collect();
        Ok(cells.map_err(sort_error)?.join(", "))
    }
}

impl Keys {
    /// Of rows that the columns `key` identify; what does not fit in memory goes to the host's
    /// temporary directory.
    pub(super) fn new(store: &Store, key: &[String]) -> Result<Self, WriteError> {
        let scratch = Scratch::new()?;
        let index = Mutex::new(KeyIndex::new(scratch.store(), SPILL, BUDGET));
        Ok(Self {
            store: store.clone(),
            scratch,
            columns: key.to_vec(),
            index,
            rows: AtomicU64::new(0),
        })
    }

    /// For the keys of a file; `None` where rows have none.
    pub(super) fn of_file(&self, schema: &Schema) -> Result<Option<KeyReader>, WriteError> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        KeyReader::new(schema, &self.columns).map(Some)
    }

    /// Takes the keys of a batch.
    pub(super) fn take(&self, keys: &mut KeyReader, batch: &RecordBatch) -> Result<(), WriteError> {
        let rows = keys.rows(batch, &self.columns)?;
        let first = self.rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, row) in rows.iter().enumerate() {
            let key = row.data();
            keys.is_sorted &= keys.last.as_slice() <= key;
            keys.last.clear();
            keys.last.extend_from_slice(key);
            // A number of its own for each row, so that equal keys are two pairs.
            index.push(key, Ordinal(first + at as u64))?;
        }
        Ok(())
    }

    /// The keys that stand more than once in `files`, one problem for two files.
    pub(super) fn repeated(self, files: &[String]) -> Result<Vec<FileProblem>, WriteError> {
        let Self { store, scratch, columns, index, rows: _ } = self;
        let suspects = index.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        if suspects == Suspects::None {
            return Ok(Vec::new());
        }
        let mut sorter = Sorter::new(scratch.store(), SPILL, SORT_BYTES);
        let mut any = None;
        for (number, path) in files.iter().enumerate() {
            let (handle, absolute) = store.open_stored(path)?;
            let failed =
                |source| WriteError::Parquet { action: "read", path: absolute.clone(), source };
            let builder = ParquetRecordBatchReaderBuilder::try_new(handle).map_err(failed)?;
            let reader = KeyReader::new(builder.schema(), &columns)?;
            let names = columns.iter().map(String::as_str);
            let mask = ProjectionMask::columns(builder.parquet_schema(), names);
            for batch in builder.with_projection(mask).build().map_err(failed)? {
                let batch = batch.map_err(|err| failed(err.into()))?;
                for row in &reader.rows(&batch, &columns)? {
                    if suspects.contain(row.data()) {
                        let mut bytes = row.data().to_vec();
                        let key_len = bytes.len();
                        bytes.extend_from_slice(&(number as u64).to_be_bytes());
                        sorter.push(Row { partition: Ordinal::NULL, key_len, bytes: &bytes })?;
                    }
                }
            }
            any = Some(reader);
        }
        let Some(reader) = any else { return Ok(Vec::new()) };
        let in_order = sorter.finish()?;
        let mut merge = Merge::new();
        merge.add(Origin::New, &in_order)?;
        let mut pairs: BTreeMap<(u64, u64), (u64, String)> = BTreeMap::new();
        let mut first: Option<(Vec<u8>, u64)> = None;
        while let Some((_, row)) = merge.next()? {
            let (_, number) = row.bytes.split_at(row.key_len);
            let number = number.try_into().map_or(0, u64::from_be_bytes);
            match &first {
                Some((key, of)) if key == row.key() => {
                    let shown = || reader.show(key, &columns);
                    match pairs.get_mut(&(number, *of)) {
                        Some((count, _)) => *count += 1,
                        None => {
                            pairs.insert((number, *of), (1, shown()?));
                        }
                    }
                }
                Some(_) | None => first = Some((row.key().to_vec(), number)),
            }
        }
        let name = |number: u64| usize::try_from(number).ok().and_then(|it| files.get(it));
        let mut problems = Vec::new();
        for ((number, of), (count, key)) in pairs {
            let (Some(path), Some(other)) = (name(number), name(of)) else { continue };
            let place = if path == other { "the same file" } else { &format!("`{other}`") };
            let rows = match count {
                1 => "1 row repeats a key".to_owned(),
                count => format!("{count} rows repeat keys"),
            };
            let reason = format!("{rows} of {place}: first {key}");
            problems.push(problem(path, Damage::Key, reason));
        }
        Ok(problems)
    }
}

pub(super) fn sort_error(source: arrow::error::ArrowError) -> WriteError {
    WriteError::Sort { stream: "verified".to_owned(), source }
}
