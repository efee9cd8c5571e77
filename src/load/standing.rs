//! The rows that stand: which of them a run touches, and reading them in order.
//!
//! ```text
//! file            statistics            columns read        rows touched
//! date=2024-07-24 id 17..40             none                none: no key that came is in that range
//! date=2024-07-25 id 17..40, filter     none                none: 41 is not in the filter
//! date=2024-07-25 id 41..90             id                  41 is known
//! date=2024-07-26 id 91..99, issue 7    id, issue           91, 92 are in the scope issue = 7
//! ```
//!
//! A column that a file does not have was added later: its values are null. A file that is not
//! the one that was published ends the run before anything has changed.

mod file;
mod sums;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{array::ArrayRef, buffer::BooleanBuffer, datatypes::DataType};
use parquet::{arrow::arrow_reader::statistics::StatisticsConverter, errors::ParquetError};

use self::file::{Batches, Opened};
pub use self::sums::{DatasetColumn, DatasetShape, PartitionSums, Sum, Sums, SumsOf};
use super::{
    WriteError, bloom,
    index::{KeyIndex, hash},
    known::KnownKeys,
    partition::Ordinal,
    rows::{Layout, RowBytes, sort_error},
    scope::{Bounds, Predicate},
    sort::{Head, Origin, RowSource},
    store::Store,
};

/// A file of the dataset, in the form that is read.
#[derive(Debug, Clone)]
pub(super) struct StandingFile {
    /// Its path in the destination.
    pub(super) path: String,
    /// Its partition.
    pub(super) partition: Ordinal,
    /// Its rows.
    pub(super) rows: u64,
    /// Its bytes.
    pub(super) bytes: u64,
}

/// Some rows of a file.
#[derive(Debug)]
pub(super) enum Mask {
    /// None of them.
    None,
    /// All of them.
    All,
    /// These.
    Some(BooleanBuffer),
}

impl Mask {
    fn new(buffer: BooleanBuffer) -> Self {
        match buffer.count_set_bits() {
            0 => Self::None,
            all if all == buffer.len() => Self::All,
            _ => Self::Some(buffer),
        }
    }

    fn has(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(rows) => rows.value(row),
        }
    }
}

/// The rows of a file that a run touches.
#[derive(Debug)]
pub(super) struct Touched {
    /// Those in a scope that was read.
    pub(super) in_scope: Mask,
    /// Those whose key may have come.
    known: Mask,
}

impl Touched {
    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !matches!((&self.in_scope, &self.known), (Mask::None, Mask::None))
    }

    /// How many rows are in a scope, of a file of `rows` rows.
    pub(super) fn stood(&self, rows: u64) -> u64 {
        match &self.in_scope {
            Mask::None => 0,
            Mask::All => rows,
            Mask::Some(mask) => mask.count_set_bits() as u64,
        }
    }

    fn origin(&self, row: usize) -> Origin {
        if self.in_scope.has(row) {
            Origin::InScope
        } else if self.known.has(row) {
            Origin::Known
        } else {
            Origin::Kept
        }
    }

    /// Both, or `None` where that is every row.
    fn rows(&self) -> Option<BooleanBuffer> {
        match (&self.in_scope, &self.known) {
            (Mask::All, _) | (_, Mask::All) => None,
            (Mask::Some(one), Mask::Some(other)) => Some(one | other),
            (Mask::Some(one), Mask::None) | (Mask::None, Mask::Some(one)) => Some(one.clone()),
            (Mask::None, Mask::None) => Some(BooleanBuffer::new_unset(0)),
        }
    }
}

/// Finds the rows that a run touches.
pub(super) struct Search<'a> {
    pub(super) store: &'a Store,
    pub(super) layout: &'a Layout,
    pub(super) predicate: &'a Predicate,
    pub(super) keys: &'a KnownKeys,
    /// Takes the keys that came and that stand; `None` where they cannot be in two partitions.
    pub(super) index: Option<&'a Mutex<KeyIndex>>,
}

impl Search<'_> {
    /// The rows of `file` that are touched; `may_have_keys` is false where no key that came can
    /// be in its partition.
    pub(super) fn touched(
        &self,
        file: &StandingFile,
        may_have_keys: bool,
    ) -> Result<Touched, WriteError> {
        let keys = if may_have_keys { self.keys } else { &KnownKeys::None };
        let reads_keys = match keys {
            KnownKeys::None => false,
            // Where every row is touched anyway, keys matter only to the index.
            KnownKeys::Some(..) => {
                self.index.is_some() || !matches!(self.predicate, Predicate::Everything)
            }
            KnownKeys::All => self.index.is_some(),
        };
        let reads_scopes = matches!(self.predicate, Predicate::Any(_) | Predicate::NotAny(_));
        let mut columns = self.predicate.columns();
        if reads_keys {
            columns.extend(self.layout.key());
        }
        columns.sort_unstable();
        columns.dedup();

        let in_all = matches!(self.predicate, Predicate::Everything);
        let known_all = matches!(keys, KnownKeys::All);
        if !reads_keys && !reads_scopes {
            let mask = |it| if it { Mask::All } else { Mask::None };
            return Ok(Touched { in_scope: mask(in_all), known: mask(known_all) });
        }

        let opened = Opened::new(self.store, file)?;
        let mut in_scope = Bits::default();
        let mut known = Bits::default();
        for group in 0..opened.metadata.metadata().num_row_groups() {
            let rows = opened.metadata.metadata().row_group(group).num_rows();
            let rows = usize::try_from(rows).unwrap_or_default();
            let may_know = reads_keys
                && match keys {
                    KnownKeys::None => false,
                    KnownKeys::Some(_, bounds) => self.may_meet(&opened, group, bounds)?,
                    KnownKeys::All => true,
                };
            let mut may_be_in = reads_scopes;
            if reads_scopes && let Some(bounds) = self.predicate.bounds() {
                may_be_in = false;
                for bounds in bounds {
                    may_be_in = may_be_in || self.may_meet(&opened, group, bounds)?;
                }
            }
            if !may_know && !may_be_in {
                in_scope.append_n(rows, in_all);
                known.append_n(rows, known_all);
                continue;
            }
            let mut reader =
                opened.read(self.layout.schema(), &columns, Some(vec![group]), None)?;
            while let Some(batch) = reader.next()? {
                let column = |it: usize| {
                    let at = columns.binary_search(&it).unwrap_or_default();
                    batch.column(at)
                };
                let scope = self
                    .predicate
                    .evaluate(batch.num_rows(), column)
                    .map_err(sort_error(self.layout.stream()))?;
                in_scope.append(&scope);
                if may_know {
                    self.match_keys(keys, batch.num_rows(), file.partition, column, &mut known)?;
                } else {
                    known.append_n(batch.num_rows(), known_all);
                }
            }
        }
        if in_scope.len() as u64 != file.rows {
            return Err(opened.wrong(format!("it has {} rows, not {}", in_scope.len(), file.rows)));
        }
        Ok(Touched { in_scope: Mask::new(in_scope.finish()), known: Mask::new(known.finish()) })
    }

    fn match_keys<'a>(
        &self,
        keys: &KnownKeys,
        count: usize,
        partition: Ordinal,
        column: impl Fn(usize) -> &'a ArrayRef,
        known: &mut Bits,
    ) -> Result<(), WriteError> {
        let arrays: Vec<ArrayRef> =
            self.layout.key().iter().map(|&it| Arc::clone(column(it))).collect();
        let rows = self.layout.keys(&arrays)?;
        let mut found = Vec::new();
        for at in 0..count {
            let hash = hash(rows.row(at).data());
            let is_known = match keys {
                KnownKeys::None => false,
                KnownKeys::Some(hashes, _) => hashes.contain(hash),
                KnownKeys::All => true,
            };
            known.append_n(1, is_known);
            if is_known {
                found.push(hash);
            }
        }
        if let Some(index) = self.index.filter(|_| !found.is_empty()) {
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            for hash in found {
                index.push_hash(hash, partition)?;
            }
        }
        Ok(())
    }

    /// Whether a value of the row group may be within the bounds, by the file's statistics
    /// and, where these are few values, its Bloom filter.
    fn may_meet(
        &self,
        opened: &Opened<'_>,
        group: usize,
        bounds: &Bounds,
    ) -> Result<bool, WriteError> {
        let schema = self.layout.schema();
        let field = schema.field(bounds.column);
        // Statistics of floats leave NaN out.
        if *field.data_type() == DataType::Float64 {
            return Ok(true);
        }
        let metadata = opened.metadata.metadata();
        let groups = || std::iter::once(metadata.row_group(group));
        let ends = || -> Result<(ArrayRef, ArrayRef, Option<usize>), ParquetError> {
            let statistics = StatisticsConverter::try_new(
                field.name(),
                schema,
                opened.metadata.parquet_schema(),
            )?;
            Ok((
                statistics.row_group_mins(groups())?,
                statistics.row_group_maxes(groups())?,
                statistics.parquet_column_index(),
            ))
        };
        let (min, max, leaf) = ends().map_err(|source| opened.error(source))?;
        let Some(leaf) = leaf.filter(|_| min.data_type() == field.data_type()) else {
            return Ok(true);
        };
        let failed = || sort_error(self.layout.stream());
        if !bounds.may_meet(&min, &max).map_err(failed())? {
            return Ok(false);
        }
        let Some(values) = bounds.values(field.data_type()).map_err(failed())? else {
            return Ok(true);
        };
        let column = metadata.row_group(group).column(leaf);
        bloom::may_have(&opened.handle, column, &values).map_err(|source| opened.error(source))
    }
}

/// Collects bits.
#[derive(Debug, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn append_n(&mut self, count: usize, bit: bool) {
        self.0.resize(self.0.len() + count, bit);
    }

    fn append(&mut self, bits: &BooleanBuffer) {
        self.0.extend(bits.iter());
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn finish(self) -> BooleanBuffer {
        BooleanBuffer::from(self.0)
    }
}

/// Which rows of a file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that the run touches.
    Touched,
    /// All of them.
    All,
    /// All of them, in whatever order they are.
    Unsorted,
}

/// The rows of files, which are one partition's or stand in the order of theirs.
pub(super) struct StandingRows<'a> {
    store: &'a Store,
    layout: &'a Layout,
    files: std::vec::IntoIter<(&'a StandingFile, &'a Touched)>,
    which: Which,
    current: Option<Current<'a>>,
    bytes: RowBytes,
}

struct Current<'a> {
    file: &'a StandingFile,
    touched: &'a Touched,
    /// The rows that are read; `None` for all.
    selected: Option<BooleanBuffer>,
    path: PathBuf,
    batches: Batches,
    /// Rows of the batch, and how many of them are read.
    rows: usize,
    at: usize,
    /// The place in the file of the next row.
    position: usize,
    is_first: bool,
}

impl<'a> StandingRows<'a> {
    pub(super) fn new(
        store: &'a Store,
        layout: &'a Layout,
        files: Vec<(&'a StandingFile, &'a Touched)>,
        which: Which,
    ) -> Self {
        let files = files.into_iter();
        Self { store, layout, files, which, current: None, bytes: layout.bytes() }
    }

    /// Opens the next file that has rows to read.
    fn open(&mut self) -> Result<Option<Current<'a>>, WriteError> {
        for (file, touched) in self.files.by_ref() {
            if self.which == Which::Touched && !touched.is_any() {
                continue;
            }
            let selected = match self.which {
                Which::Touched => touched.rows(),
                Which::All | Which::Unsorted => None,
            };
            let opened = Opened::new(self.store, file)?;
            let schema = self.layout.schema();
            let columns: Vec<usize> = (0..schema.fields().len()).collect();
            let batches = opened.read(schema, &columns, None, selected.clone())?;
            return Ok(Some(Current {
                file,
                touched,
                selected,
                path: opened.path,
                batches,
                rows: 0,
                at: 0,
                position: 0,
                is_first: true,
            }));
        }
        Ok(None)
    }
}

impl RowSource for StandingRows<'_> {
    fn read(&mut self, head: &mut Head) -> Result<bool, WriteError> {
        loop {
            let Some(current) = &mut self.current else {
                self.current = self.open()?;
                if self.current.is_none() {
                    return Ok(false);
                }
                continue;
            };
            if current.at == current.rows {
                let Some(batch) = current.batches.next()? else {
                    self.current = None;
                    continue;
                };
                self.layout.convert(&batch, &mut self.bytes)?;
                current.rows = batch.num_rows();
                current.at = 0;
                continue;
            }
            if let Some(selected) = &current.selected {
                while current.position < selected.len() && !selected.value(current.position) {
                    current.position += 1;
                }
            }
            let (bytes, key_len) = self.bytes.row(current.at);
            // Merging what is not sorted would leave two rows of a key.
            let is_sorted = current.is_first
                || match key_len {
                    0 => head.bytes.as_slice() <= bytes,
                    _ => head.row().key() <= &bytes[..key_len],
                };
            if !is_sorted && self.which != Which::Unsorted {
                let found = "its rows are not in the order of the key".to_owned();
                return Err(WriteError::Standing { path: current.path.clone(), found });
            }
            head.origin = current.touched.origin(current.position);
            head.partition = current.file.partition;
            head.key_len = key_len;
            head.bytes.clear();
            head.bytes.extend_from_slice(bytes);
            current.at += 1;
            current.position += 1;
            current.is_first = false;
            return Ok(true);
        }
    }
}
