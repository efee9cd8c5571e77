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
    bloom::Values,
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
    /// Also those whose files are far from the target size.
    Scattered,
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
    /// By the values of `equals`, as bytes; where there is a `date`, days since 1970-01-01, both ends
    /// included.
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
    /// The values themselves, where these are few.
    values: Option<Values>,
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
        Self { column, ranges: merged, has_null, values: None }
    }

    /// Of these values.
    pub(super) fn with_values(self, values: Values) -> Self {
        Self { values: Some(values), ..self }
    }

    /// The values themselves, where these are few; `kind` is the column's type.
    pub(super) fn values(&self, kind: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
        self.values.as_ref().map_or(Ok(None), |it| it.decode(kind))
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
        let at = if let Some(at) = known {
            at
        } else {
            shapes.push(Shape::new(columns, date, schema).map_err(failed)?);
            shapes.len() - 1
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
        let ranges = self.scopes.entry(key).or_default();
        // Without a column of dates a scope has all of them, and needs no room for that.
        if self.date.is_some() {
            ranges.push(range);
        }
        Ok(())
    }

    /// By the first column of `equals`, or else by the dates.
    fn find_bounds(&self, schema: &Schema) -> Result<Option<Bounds>, ArrowError> {
        if let Some(&column) = self.equals.first() {
            // The bytes of a short first column run into those of the next.
            let kind = schema.field(column).data_type();
            let mut points = Vec::with_capacity(self.scopes.len());
            let mut values = Values::default();
            for key in self.scopes.keys() {
                let first = &key[..encoded_len(kind, key)];
                points.push((prefix(first), prefix(first)));
                values.push(first);
            }
            return Ok(Some(Bounds::new(column, points).with_values(values)));
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

#[cfg(test)]
mod tests {
    use arrow::{array::RecordBatch, datatypes::Field};

    use super::*;

    fn table() -> RecordBatch {
        let day = DAY * MICROS;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![Some(41), Some(42), None]))),
            ("mode", Arc::new(StringArray::from(vec![Some("view"), Some("41"), None]))),
            ("done", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("hours", Arc::new(Float64Array::from(vec![Some(1.5), Some(41.0), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(10), Some(11), None]))),
            (
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![Some(11 * day - 1), Some(11 * day), None])
                        .with_timezone("UTC"),
                ),
            ),
        ];
        let field =
            |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.into_iter().map(|it| it.1).collect();
        RecordBatch::try_new(Arc::new(schema), arrays).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn equals(pairs: &[(&str, ScopeValue)]) -> Scope {
        let equals = pairs.iter().map(|(column, value)| (name(column), value.clone())).collect();
        Scope { equals, dates: None }
    }

    fn between(column: &str, first: u32, last: u32) -> Scope {
        let date = |day| NaiveDate::from_ymd_opt(1970, 1, day).unwrap();
        Scope { equals: Vec::new(), dates: Some((name(column), date(first), date(last))) }
    }

    fn text(text: &str) -> ScopeValue {
        ScopeValue::Text(text.to_owned())
    }

    #[track_caller]
    fn check(scopes: &ReadScopes, expected: [bool; 3]) {
        let table = table();
        let predicate = Predicate::new(scopes, &name("s"), table.schema_ref()).unwrap();
        assert_eq!(predicate.of_batch(&table), expected, "{scopes:?}");
        // Bounds may let too much in, and never too little.
        for (at, is_in) in expected.into_iter().enumerate() {
            let row = table.slice(at, 1);
            let Some(bounds) = predicate.bounds() else { continue };
            let may = bounds.iter().any(|it| {
                let value = row.column(it.column);
                it.may_meet(value, value).unwrap()
            });
            assert!(may || !is_in, "{scopes:?} {at}");
        }
    }

    #[test]
    fn rows_are_in_any_of_several_windows_in_whatever_order_they_come() {
        // The days of the table are the 11th and the 12th.
        let apart = vec![between("day", 20, 22), between("day", 11, 11), between("day", 1, 3)];
        check(&ReadScopes::These(apart.clone()), [true, false, false]);
        check(&ReadScopes::AllBut(apart), [false, true, true]);
        let within = vec![between("day", 1, 30), between("day", 3, 4)];
        check(&ReadScopes::These(within), [true, true, false]);
        let touching = vec![between("at", 12, 12), between("at", 1, 11)];
        check(&ReadScopes::These(touching), [true, true, false]);
    }

    #[test]
    fn a_value_is_compared_as_one_of_the_columns_type() {
        for (column, value, expected) in [
            ("id", ScopeValue::Int(41), [true, false, false]),
            ("id", text("41"), [true, false, false]),
            ("id", text("041"), [false; 3]),
            ("id", text("view"), [false; 3]),
            ("id", ScopeValue::Bool(true), [false; 3]),
            ("id", ScopeValue::Null, [false, false, true]),
            ("mode", text("view"), [true, false, false]),
            ("mode", ScopeValue::Int(41), [false, true, false]),
            ("mode", ScopeValue::Null, [false, false, true]),
            ("done", ScopeValue::Bool(false), [false, true, false]),
            ("done", text("true"), [true, false, false]),
            ("hours", text("1.5"), [true, false, false]),
            ("hours", ScopeValue::Int(41), [false, true, false]),
            ("day", text("1970-01-11"), [true, false, false]),
            ("at", text("1970-01-12T01:00:00+01:00"), [false, true, false]),
            ("at", text("yesterday"), [false; 3]),
        ] {
            check(&ReadScopes::These(vec![equals(&[(column, value)])]), expected);
        }
    }

    #[test]
    fn both_dates_are_included_and_an_instant_has_its_date_in_utc() {
        for (column, first, last, expected) in [
            ("day", 11, 11, [true, false, false]),
            ("day", 11, 12, [true, true, false]),
            ("day", 12, 11, [false; 3]),
            ("at", 11, 11, [true, false, false]),
            ("at", 12, 31, [false, true, false]),
        ] {
            check(&ReadScopes::These(vec![between(column, first, last)]), expected);
        }
    }

    #[test]
    fn all_parts_of_a_scope_hold_and_one_scope_is_enough() {
        let both = equals(&[("id", ScopeValue::Int(41)), ("mode", text("view"))]);
        let neither = equals(&[("id", ScopeValue::Int(41)), ("mode", text("41"))]);
        let dated = Scope { dates: between("day", 11, 11).dates, ..both.clone() };
        let late = Scope { dates: between("day", 12, 12).dates, ..both.clone() };
        let null = equals(&[("done", ScopeValue::Null)]);
        check(&ReadScopes::These(vec![both.clone()]), [true, false, false]);
        check(&ReadScopes::These(vec![neither.clone()]), [false; 3]);
        check(&ReadScopes::These(vec![dated]), [true, false, false]);
        check(&ReadScopes::These(vec![late]), [false; 3]);
        check(&ReadScopes::These(vec![neither.clone(), both.clone(), null]), [true, false, true]);
        check(&ReadScopes::AllBut(vec![both, neither]), [false, true, true]);
    }

    #[test]
    fn everything_and_nothing_need_no_column() {
        check(&ReadScopes::Nothing, [false; 3]);
        check(&ReadScopes::These(Vec::new()), [false; 3]);
        check(&ReadScopes::AllBut(Vec::new()), [true; 3]);
        check(&ReadScopes::These(vec![Scope::default()]), [true; 3]);
        check(&ReadScopes::AllBut(vec![Scope::default()]), [false; 3]);
    }
}
