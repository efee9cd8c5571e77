//! One value becomes one cell.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::DataType,
};
use tracklake::plan::{ColumnPlan, ColumnType, InstantFormat};

use super::{
    instant::{self, Irregular},
    number::{self, NoNumber, Number},
    tree::{Kind, Tree},
};

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    /// Also an instant and a duration.
    Whole(i64),
    Float(f64),
    Boolean(bool),
    Day(i32),
}

/// The cell of a value; `None` if the column does not take it.
pub fn cell(column: &ColumnPlan, value: &Tree<'_>, irregular: &mut Irregular) -> Option<Cell> {
    if let Some(mask) = &column.mask {
        return super::mask::cell(column, mask, value);
    }
    let (text, plain_number) = match (&value.kind, &column.kind) {
        (Kind::Null, _) => return Some(Cell::Null),
        (_, ColumnType::Json) => return Some(Cell::Text(value.canonical())),
        (Kind::Text(text), _) => (text.as_str(), false),
        (Kind::Number, _) => (value.raw, true),
        (Kind::Boolean(_), ColumnType::String | ColumnType::Boolean) => (value.raw, false),
        (Kind::Array(_) | Kind::Object(_) | Kind::Boolean(_), _) => return None,
    };
    if let (ColumnType::String, None) = (&column.kind, &column.values) {
        return Some(Cell::Text(text.to_owned()));
    }
    if text.is_empty() {
        return Some(Cell::Null);
    }
    match &column.kind {
        ColumnType::String | ColumnType::Json => {
            let name = column.values.as_ref().and_then(|it| it.get(text));
            Some(name.map_or(Cell::Null, |it| Cell::Text(it.clone())))
        }
        ColumnType::Int64 => {
            let number = Number::parse(text).ok().filter(Number::is_whole)?;
            number.cut(1).map(Cell::Whole)
        }
        ColumnType::Float64 => match Number::parse(text) {
            Err(NoNumber::Shape) => None,
            _ => text.parse().ok().filter(|it: &f64| it.is_finite()).map(Cell::Float),
        },
        ColumnType::Boolean
        | ColumnType::Date { .. }
        | ColumnType::Timestamp { format: InstantFormat::Text, .. }
            if plain_number =>
        {
            None
        }
        ColumnType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Some(Cell::Boolean(true)),
            "false" => Some(Cell::Boolean(false)),
            _ => None,
        },
        ColumnType::Date { zone } => instant::date(text, *zone).map(Cell::Day),
        ColumnType::Timestamp { format: InstantFormat::Text, zone } => {
            instant::timestamp(text, *zone, irregular).map(Cell::Whole)
        }
        ColumnType::Timestamp { format, .. } => instant::epoch(text, *format).map(Cell::Whole),
        ColumnType::Duration { unit, calendar, exact } => if plain_number {
            number::plain_duration(text, *unit, *exact)
        } else {
            number::duration(text, *unit, *calendar, *exact)
        }
        .map(Cell::Whole),
    }
}

/// The name of a type in pipeline files.
pub fn type_name(kind: &ColumnType) -> &'static str {
    match kind {
        ColumnType::String => "string",
        ColumnType::Int64 => "int64",
        ColumnType::Float64 => "float64",
        ColumnType::Boolean => "boolean",
        ColumnType::Date { .. } => "date",
        ColumnType::Timestamp { .. } => "timestamp",
        ColumnType::Duration { .. } => "duration",
        ColumnType::Json => "json",
    }
}

/// The cells of a column as Arrow has them.
pub fn array<'c>(kind: &DataType, cells: impl Iterator<Item = &'c Cell>) -> ArrayRef {
    let whole = |it: &Cell| if let Cell::Whole(it) = it { Some(*it) } else { None };
    match kind {
        DataType::Int64 => Arc::new(cells.map(whole).collect::<Int64Array>()),
        DataType::Timestamp(..) => {
            Arc::new(cells.map(whole).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::Float64 => {
            let float = |it: &Cell| if let Cell::Float(it) = it { Some(*it) } else { None };
            Arc::new(cells.map(float).collect::<Float64Array>())
        }
        DataType::Date32 => {
            let day = |it: &Cell| if let Cell::Day(it) = it { Some(*it) } else { None };
            Arc::new(cells.map(day).collect::<Date32Array>())
        }
        DataType::Boolean => {
            let boolean = |it: &Cell| if let Cell::Boolean(it) = it { Some(*it) } else { None };
            Arc::new(cells.map(boolean).collect::<BooleanArray>())
        }
        _ => {
            let text =
                |it: &'c Cell| if let Cell::Text(it) = it { Some(it.as_str()) } else { None };
            Arc::new(cells.map(text).collect::<StringArray>())
        }
    }
}
