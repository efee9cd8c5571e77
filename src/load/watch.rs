//! Whether rows of certain keys come: those of records that are in quarantine.
//!
//! ```text
//! watched   41 (of an earlier run)   42 (of this run)   43 (of an earlier run)
//! came      41 | 42 | 44
//! has_come  41 yes                   42 yes             43 no
//! ```

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::Schema,
    error::ArrowError,
};
use arrow_row::{RowConverter, Rows, SortField};

use super::{
    WriteError,
    rows::{ORDER, sort_error},
    sort::Sorted,
};
use crate::plan::Name;

/// Keys that are watched, at most: some 10 MB. Records of more of them stay in quarantine.
const LIMIT: usize = 100_000;

/// Which run has rejected a record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One that was before.
    Earlier,
    /// The one that writes.
    Own,
}

/// Keys, and whether a row of each has come. Nothing of a stream without a key has come.
#[derive(Debug)]
pub struct KeyWatch {
    stream: Name,
    key: Vec<Name>,
    converter: RowConverter,
    seen: Mutex<HashMap<Box<[u8]>, Seen>>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    has_come: bool,
    is_rejected: bool,
}

impl KeyWatch {
    pub(super) fn new(stream: &Name, key: &[Name], schema: &Schema) -> Result<Self, WriteError> {
        let field = |name: &Name| {
            let kind = schema.field_with_name(name.as_str())?.data_type().clone();
            Ok(SortField::new_with_options(kind, ORDER))
        };
        let fields: Result<Vec<_>, ArrowError> = key.iter().map(field).collect();
        let converter = fields.and_then(RowConverter::new).map_err(sort_error(stream))?;
        Ok(Self { stream: stream.clone(), key: key.to_vec(), converter, seen: Mutex::default() })
    }

    /// Watches the keys of a record, which are columns of `rows`.
    pub fn watch(&self, rows: &RecordBatch, whose: Whose) -> Result<(), WriteError> {
        let keys = self.keys(rows)?;
        let mut seen = self.lock();
        for key in &keys {
            let is_full = seen.len() >= LIMIT;
            match seen.get_mut(key.data()) {
                Some(seen) => seen.is_rejected |= whose == Whose::Own,
                None if is_full => {}
                None => {
                    let is_rejected = whose == Whose::Own;
                    seen.insert(key.data().into(), Seen { has_come: false, is_rejected });
                }
            }
        }
        Ok(())
    }

    /// Whether rows of all of a record's keys have come.
    pub fn has_come(&self, rows: &RecordBatch) -> Result<bool, WriteError> {
        self.all(rows, |it| it.has_come)
    }

    /// Whether of all of a record's keys the source has something later: a row that came, or a record
    /// that was rejected again.
    pub fn is_overtaken(&self, rows: &RecordBatch) -> Result<bool, WriteError> {
        self.all(rows, |it| it.has_come || it.is_rejected)
    }

    fn all(&self, rows: &RecordBatch, is_so: impl Fn(Seen) -> bool) -> Result<bool, WriteError> {
        let keys = self.keys(rows)?;
        let seen = self.lock();
        let mut keys = keys.iter();
        Ok(keys.len() > 0 && keys.all(|it| seen.get(it.data()).copied().is_some_and(&is_so)))
    }

    /// Sees all rows that came.
    pub(super) fn see(&self, came: &Sorted) -> Result<(), WriteError> {
        let mut seen = self.lock();
        if seen.is_empty() {
            return Ok(());
        }
        came.scan(|row| {
            if let Some(seen) = seen.get_mut(row.key()) {
                seen.has_come = true;
            }
            Ok(())
        })
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Rows, WriteError> {
        let column = |name: &Name| {
            rows.column_by_name(name.as_str()).cloned().ok_or_else(|| WriteError::NoColumn {
                stream: self.stream.to_string(),
                column: name.to_string(),
            })
        };
        let columns: Vec<ArrayRef> = self.key.iter().map(column).collect::<Result<_, _>>()?;
        self.converter.convert_columns(&columns).map_err(sort_error(&self.stream))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Seen>> {
        // What is there is true, wherever a panic has left it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
