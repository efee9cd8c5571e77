//! Which rows a run has read completely: a predicate over columns; pure.
//!
//! ```text
//! scopes    issue_id = 41                      worklogs of an issue
//!           mode = audit, 07-01 <= day <= 07-07
//! by shape  {issue_id}: {41, 42, …}            one look-up a row, however many scopes there are
//!           {mode}, day: {audit: [07-01..07-07], …}
//! batch     41 07-25 | 40 07-25 | 42 07-02  -> true | false | true
//! ```
//!
//! Where a scope's value cannot be one of the column's, no row is in the scope.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, BooleanArray, Date32Array, Float64Array, Int64Array,
        StringArray, TimestampMicrosecondArray, new_null_array,
    },
    buffer::BooleanBuffer,
    datatypes::{DataType, Date32Type, Schema, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
};
use arrow_row::{RowConverter, SortField};
use chrono::{DateTime, NaiveDate};

use super::{
    WriteError,
    calendar::{DAY, MICROS},
    rows::{ORDER, encoded_len},
    sort::prefix,
};
use crate::plan::Name;

/// The rows of one slice that was read completely: those for which all of this holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Columns and the value that each of them has.
    pub equals: Vec<(Name, ScopeValue)>,
    /// A date or timestamp column, and the first and the last date that it has; of a timestamp,
    /// the date in UTC.
    pub dates: Option<(Name, NaiveDate, NaiveDate)>,
}

/// A column's value in a [`Scope`].
///
/// The kinds need not be the column's: `Text("41")` is 41 in a column of integers, and `Int(41)`
/// is `"41"` in a column of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeValue {
    /// No value.
    Null,
    /// A text, or what it stands for in a column of another type.
    Text(String),
    /// A number.
    Int(i64),
    /// True or false.
    Bool(bool),
}

/// Which rows of the dataset a run has read completely: those become what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadScopes {
    /// None: rows are only added or updated.
    Nothing,
    /// The rows of these scopes.
    These(Vec<Scope>),
    /// All rows but those of these scopes.
    AllBut(Vec<Scope>),
}

/// Which partitions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rewrite {
    /// Those whose rows change; the files of the others are not touched.
    #[default]
    Changed,
    /// Every one of them.
    All,
}

/// [`ReadScopes`] against a schema.
#[derive(Debug)]
pub(super) enum Predicate {
    /// No row.
    Nothing,
    /// Every row.
    Everything,
    /// Rows of at least one shape.
    Any(Vec<Shape>),
    /// Rows of none of the shapes.
    NotAny(Vec<Shape>),
}

/// Scopes over the same columns.
#[derive(Debug)]
pub(super) struct Shape {
    equals: Vec<usize>,
    date: Option<usize>,
    converter: Option<RowConverter>,
    /// By the values of `equals`, as bytes; days since 1970-01-01, both ends included.
    scopes: HashMap<Box<[u8]>, Vec<(i64, i64)>>,
    /// What the values of one column lie in.
    bounds: Option<Bounds>,
}

/// Prefixes of the values that a column may have, as sorted ranges that do not touch.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The column.
    pub(super) column: usize,
    ranges: Vec<(u64, u64)>,
    has_null: bool,
}

impl Bounds {
    /// Of the ranges `ranges`, in any order.
    pub(super) fn new(column: usize, mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                Some(_) | None => merged.push((first, last)),
            }
        }
        // A null's bytes start with 0, those of a value do not.
        let has_null = merged.first().is_some_and(|it| it.0 < 1 << 56);
        Self { column, ranges: merged, has_null }
    }

    /// Whether a value between `min` and `max` may be one of these. What is null may be anything.
    pub(super) fn may_meet(&self, min: &ArrayRef, max: &ArrayRef) -> Result<bool, ArrowError> {
        if self.has_null || min.is_null(0) || max.is_null(0) {
            return Ok(true);
        }
        let field = SortField::new_with_options(min.data_type().clone(), ORDER);
        let converter = RowConverter::new(vec![field])?;
        let min = prefix(converter.convert_columns(std::slice::from_ref(min))?.row(0).data());
        let max = prefix(converter.convert_columns(std::slice::from_ref(max))?.row(0).data());
        let at = self.ranges.partition_point(|it| it.1 < min);
        Ok(self.ranges.get(at).is_some_and(|it| it.0 <= max))
    }
}

impl Predicate {
    /// Compiles `scopes`. A column that the schema does not have, or that has no dates where
    /// dates are needed, is refused.
    pub(super) fn new(
        scopes: &ReadScopes,
        stream: &Name,
        schema: &Schema,
    ) -> Result<Self, WriteError> {
        let (list, is_negated) = match scopes {
            ReadScopes::Nothing => return Ok(Self::Nothing),
            ReadScopes::These(list) => (list, false),
            ReadScopes::AllBut(list) => (list, true),
        };
        let is_whole = list.iter().any(|it| it.equals.is_empty() && it.dates.is_none());
        Ok(match (is_whole || list.is_empty(), is_whole == is_negated) {
            (true, true) => Self::Nothing,
            (true, false) => Self::Everything,
            (false, _) => {
                let shapes = shapes(list, stream, schema)?;
                if is_negated { Self::NotAny(shapes) } else { Self::Any(shapes) }
            }
        })
    }

    /// The columns that decide.
    pub(super) fn columns(&self) -> Vec<usize> {
        let (Self::Any(shapes) | Self::NotAny(shapes)) = self else { return Vec::new() };
        shapes.iter().flat_map(|it| it.equals.iter().copied().chain(it.date)).collect()
    }

    /// What the values of a row in a scope lie in, a column a shape; `None` where nothing is
    /// known.
    pub(super) fn bounds(&self) -> Option<Vec<&Bounds>> {
        match self {
            Self::Nothing => Some(Vec::new()),
            Self::Any(shapes) => shapes.iter().map(|it| it.bounds.as_ref()).collect(),
            Self::Everything | Self::NotAny(_) => None,
        }
    }

    /// Which rows are in a scope; `column` gives the arrays, of `rows` rows.
    pub(super) fn evaluate<'a>(
        &self,
        rows: usize,
        column: impl Fn(usize) -> &'a ArrayRef,
    ) -> Result<BooleanBuffer, ArrowError> {
        let (shapes, is_negated) = match self {
            Self::Nothing => return Ok(BooleanBuffer::new_unset(rows)),
            Self::Everything => return Ok(BooleanBuffer::new_set(rows)),
            Self::Any(shapes) => (shapes, false),
            Self::NotAny(shapes) => (shapes, true),
        };
        let mut found = vec![is_negated; rows];
        for shape in shapes {
            shape.mark(&column, &mut found, !is_negated)?;
        }
        Ok(BooleanBuffer::from(found))
    }

    /// As [`evaluate`](Self::evaluate), over a batch of the whole schema.
    #[cfg(test)]
    pub(super) fn of_batch(&self, batch: &arrow::array::RecordBatch) -> Vec<bool> {
        let found = self.evaluate(batch.num_rows(), |it| batch.column(it)).unwrap();
        found.iter().collect()
    }
}

fn shapes(list: &[Scope], stream: &Name, schema: &Schema) -> Result<Vec<Shape>, WriteError> {
    let position = |column: &Name| {
        schema.index_of(column.as_str()).map_err(|_| WriteError::NoColumn {
            stream: stream.to_string(),
            column: column.to_string(),
        })
    };
    let failed = |source| WriteError::Sort { stream: stream.to_string(), source };
    let mut shapes: Vec<Shape> = Vec::new();
    for scope in list {
        let mut equals: Vec<(usize, &ScopeValue)> = Vec::new();
        for (column, value) in &scope.equals {
            equals.push((position(column)?, value));
        }
        equals.sort_by_key(|it| it.0);
        let columns: Vec<usize> = equals.iter().map(|it| it.0).collect();
        let mut date = None;
        let mut range = (i64::MIN, i64::MAX);
        if let Some((column, first, last)) = &scope.dates {
            let at = position(column)?;
            let kind = schema.field(at).data_type();
            if !matches!(kind, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(WriteError::Type {
                    column: column.to_string(),
                    use_: "a scope of dates",
                    found: kind.to_string(),
                });
            }
            date = Some(at);
            range = (days(*first), days(*last));
        }
        let known = shapes.iter().position(|it| it.equals == columns && it.date == date);
        let at = match known {
            Some(at) => at,
            None => {
                shapes.push(Shape::new(columns, date, schema).map_err(failed)?);
                shapes.len() - 1
            }
        };
        shapes[at].add(&equals, range, schema).map_err(failed)?;
    }
    for shape in &mut shapes {
        shape.bounds = shape.find_bounds(schema).map_err(failed)?;
    }
    Ok(shapes)
}

impl Shape {
    fn new(equals: Vec<usize>, date: Option<usize>, schema: &Schema) -> Result<Self, ArrowError> {
        let field = |&column: &usize| {
            SortField::new_with_options(schema.field(column).data_type().clone(), ORDER)
        };
        let converter = if equals.is_empty() {
            None
        } else {
            Some(RowConverter::new(equals.iter().map(field).collect())?)
        };
        Ok(Self { equals, date, converter, scopes: HashMap::new(), bounds: None })
    }

    fn add(
        &mut self,
        equals: &[(usize, &ScopeValue)],
        range: (i64, i64),
        schema: &Schema,
    ) -> Result<(), ArrowError> {
        let mut key = Box::default();
        if let Some(converter) = &self.converter {
            let values: Option<Vec<ArrayRef>> = equals
                .iter()
                .map(|&(column, value)| coerce(value, schema.field(column).data_type()))
                .collect();
            let Some(values) = values else { return Ok(()) };
            key = converter.convert_columns(&values)?.row(0).data().into();
        }
        self.scopes.entry(key).or_default().push(range);
        Ok(())
    }

    /// By the first column of `equals`, or else by the dates.
    fn find_bounds(&self, schema: &Schema) -> Result<Option<Bounds>, ArrowError> {
        if let Some(&column) = self.equals.first() {
            // The bytes of a short first column run into those of the next.
            let kind = schema.field(column).data_type();
            let first = |it: &[u8]| prefix(&it[..encoded_len(kind, it)]);
            let points = self.scopes.keys().map(|it| (first(it), first(it))).collect();
            return Ok(Some(Bounds::new(column, points)));
        }
        let Some(column) = self.date else { return Ok(None) };
        let kind = schema.field(column).data_type();
        let converter = RowConverter::new(vec![SortField::new_with_options(kind.clone(), ORDER)])?;
        let mut ranges = Vec::new();
        for &(first, last) in self.scopes.values().flatten() {
            let ends: ArrayRef = match kind {
                DataType::Date32 => Arc::new(Date32Array::from(vec![
                    i32::try_from(first).unwrap_or(i32::MIN),
                    i32::try_from(last).unwrap_or(i32::MAX),
                ])),
                _ => Arc::new(
                    TimestampMicrosecondArray::from(vec![
                        first.saturating_mul(DAY * MICROS),
                        last.saturating_add(1).saturating_mul(DAY * MICROS).saturating_sub(1),
                    ])
                    .with_timezone_opt(zone(kind)),
                ),
            };
            let ends = converter.convert_columns(&[ends])?;
            if first <= last {
                ranges.push((prefix(ends.row(0).data()), prefix(ends.row(1).data())));
            }
        }
        Ok(Some(Bounds::new(column, ranges)))
    }

    /// Sets what is in one of the scopes to `value`.
    fn mark<'a>(
        &self,
        column: &impl Fn(usize) -> &'a ArrayRef,
        found: &mut [bool],
        value: bool,
    ) -> Result<(), ArrowError> {
        let rows = match &self.converter {
            Some(converter) => {
                let arrays: Vec<ArrayRef> =
                    self.equals.iter().map(|&it| ArrayRef::clone(column(it))).collect();
                Some(converter.convert_columns(&arrays)?)
            }
            None => None,
        };
        for (at, found) in found.iter_mut().enumerate() {
            let key = rows.as_ref().map_or(&[][..], |it| it.row(at).data());
            let Some(ranges) = self.scopes.get(key) else { continue };
            let is_in = match self.date {
                None => true,
                Some(date) => day_at(column(date), at)
                    .is_some_and(|day| ranges.iter().any(|it| it.0 <= day && day <= it.1)),
            };
            if is_in {
                *found = value;
            }
        }
        Ok(())
    }
}

/// Days since 1970-01-01.
fn days(date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::default()).num_days()
}

fn day_at(array: &ArrayRef, at: usize) -> Option<i64> {
    if array.is_null(at) {
        return None;
    }
    match array.data_type() {
        DataType::Date32 => Some(i64::from(array.as_primitive::<Date32Type>().value(at))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
            Some(micros.div_euclid(DAY * MICROS))
        }
        _ => None,
    }
}

fn zone(kind: &DataType) -> Option<Arc<str>> {
    match kind {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}

/// The value as one of the column's type, if it can be one.
fn coerce(value: &ScopeValue, kind: &DataType) -> Option<ArrayRef> {
    let text = match value {
        ScopeValue::Null => return Some(new_null_array(kind, 1)),
        ScopeValue::Text(text) => text.clone(),
        ScopeValue::Int(number) => number.to_string(),
        ScopeValue::Bool(flag) => flag.to_string(),
    };
    Some(match kind {
        DataType::Utf8 => Arc::new(StringArray::from(vec![text])),
        DataType::Int64 => {
            // `041` is the text of no number.
            let number: i64 = text.parse().ok().filter(|it: &i64| it.to_string() == text)?;
            Arc::new(Int64Array::from(vec![number]))
        }
        DataType::Float64 => Arc::new(Float64Array::from(vec![text.parse::<f64>().ok()?])),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![text.parse::<bool>().ok()?])),
        DataType::Date32 => {
            let date: NaiveDate = text.parse().ok()?;
            Arc::new(Date32Array::from(vec![i32::try_from(days(date)).ok()?]))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instant = DateTime::parse_from_rfc3339(&text).ok()?;
            let array = TimestampMicrosecondArray::from(vec![instant.timestamp_micros()]);
            Arc::new(array.with_timezone_opt(zone(kind)))
        }
        _ => return None,
    })
}
