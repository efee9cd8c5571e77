//! Whether rows of certain keys come: those of records that are in quarantine.
//!
//! ```text
//! watched        41 (of an earlier run)   42 (of this run)   43 (of an earlier run)
//! came           41 | 42 | 44
//! may have come  41 yes                   42 yes             43 no            45 yes: nobody knows
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
    rows::{Layout, ORDER, sort_error},
    sort::Sorted,
};
use crate::plan::{Name, StreamPlan, WriteMode};

/// Keys that are watched, at most: some 10 MB. Half of them are for those of earlier runs.
pub(super) const MOST_WATCHED: usize = 100_000;

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
    /// `newest_by`, where it is not in the key.
    version: Option<(Name, RowConverter)>,
    /// Keys of which nothing is known beyond it.
    limit: usize,
    seen: Mutex<HashMap<Box<[u8]>, Seen>>,
}

/// What is known of a key: the newest versions, which are empty where nothing tells them.
#[derive(Debug, Default)]
struct Seen {
    came: Option<Box<[u8]>>,
    rejected: Option<Box<[u8]>>,
}

impl Seen {
    /// Whether there is something that is not older than a version.
    fn overtakes(&self, version: &[u8]) -> bool {
        [&self.came, &self.rejected].into_iter().flatten().any(|it| **it >= *version)
    }
}

/// Keeps the newer one.
fn raise(newest: &mut Option<Box<[u8]>>, version: &[u8]) {
    if newest.as_deref().is_none_or(|it| it < version) {
        *newest = Some(version.into());
    }
}

impl KeyWatch {
    pub(super) fn new(
        stream: &StreamPlan,
        schema: &Schema,
        limit: usize,
    ) -> Result<Self, WriteError> {
        let converter = |names: &[Name]| {
            let field = |name: &Name| {
                let kind = schema.field_with_name(name.as_str())?.data_type().clone();
                Ok(SortField::new_with_options(kind, ORDER))
            };
            let fields: Result<Vec<_>, ArrowError> = names.iter().map(field).collect();
            fields.and_then(RowConverter::new).map_err(sort_error(&stream.name))
        };
        let key = stream.key();
        let version = match &stream.write {
            WriteMode::Merge { newest_by: Some(name), .. } if !key.contains(name) => {
                Some((name.clone(), converter(std::slice::from_ref(name))?))
            }
            WriteMode::Merge { .. } | WriteMode::Append { .. } | WriteMode::Replace { .. } => None,
        };
        Ok(Self {
            stream: stream.name.clone(),
            key: key.to_vec(),
            converter: converter(key)?,
            version,
            limit,
            seen: Mutex::default(),
        })
    }

    /// Watches the keys of a record, which are columns of `rows`, as may be its versions.
    pub fn watch(&self, rows: &RecordBatch, whose: Whose) -> Result<(), WriteError> {
        let (keys, versions) = (self.keys(rows)?, self.versions(rows)?);
        // Records that the source never shows again must not leave the others without a place.
        let limit = match whose {
            Whose::Earlier => self.limit / 2,
            Whose::Own => self.limit,
        };
        let mut seen = self.lock();
        for (at, key) in keys.iter().enumerate() {
            if seen.len() >= limit && !seen.contains_key(key.data()) {
                continue;
            }
            let seen = seen.entry(key.data().into()).or_default();
            if whose == Whose::Own {
                raise(&mut seen.rejected, version(versions.as_ref(), at));
            }
        }
        Ok(())
    }

    /// Whether a row of one of a record's keys may have come, whatever its version: of keys that are not
    /// watched nobody knows.
    pub fn may_have_come(&self, rows: &RecordBatch) -> Result<bool, WriteError> {
        let keys = self.keys(rows)?;
        let seen = self.lock();
        Ok(keys.iter().any(|key| seen.get(key.data()).is_none_or(|it| it.came.is_some())))
    }

    /// Whether a row of a watched key has come, or a record of one was rejected by the run that writes.
    pub fn knows_something(&self) -> bool {
        self.lock().values().any(|it| it.came.is_some() || it.rejected.is_some())
    }

    /// Whether of all of a record's keys there is something that is not known to be older: a row that
    /// came, or a record that was rejected again.
    pub fn is_overtaken(&self, rows: &RecordBatch) -> Result<bool, WriteError> {
        let (keys, versions) = (self.keys(rows)?, self.versions(rows)?);
        let seen = self.lock();
        let mut keys = keys.iter().enumerate();
        Ok(keys.len() > 0
            && keys.all(|(at, key)| {
                let version = version(versions.as_ref(), at);
                seen.get(key.data()).is_some_and(|it| it.overtakes(version))
            }))
    }

    /// Sees all rows that came.
    pub(super) fn see(&self, came: &Sorted, layout: &Layout) -> Result<(), WriteError> {
        let mut seen = self.lock();
        if seen.is_empty() {
            return Ok(());
        }
        came.scan(|row| {
            if let Some(seen) = seen.get_mut(row.key()) {
                raise(&mut seen.came, layout.newest(row));
            }
            Ok(())
        })
    }

    /// The versions of a record, where they are known.
    fn versions(&self, rows: &RecordBatch) -> Result<Option<Rows>, WriteError> {
        let Some((name, converter)) = &self.version else { return Ok(None) };
        let Some(column) = rows.column_by_name(name.as_str()) else { return Ok(None) };
        let rows = converter.convert_columns(std::slice::from_ref(column));
        rows.map(Some).map_err(sort_error(&self.stream))
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

/// The bytes of a version, by which it is compared; none where it is not known.
fn version(versions: Option<&Rows>, at: usize) -> &[u8] {
    versions.map_or(&[], |it| it.row(at).data())
}
