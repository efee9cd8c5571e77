//! Readers of what a run published; they share no code with its writers.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::ipc::reader::StreamReader;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::table::{Cell, Column, Kind, Row, Table};

/// All rows of a stream's Parquet files, `dir` being `<output>/parquet/<pipeline>/<stream>`.
///
/// Every file must have the same fields, field ids and descriptions included.
#[track_caller]
pub(crate) fn read_parquet(dir: &Path) -> Table {
    let mut fields = None;
    let mut table = Table { columns: Vec::new(), rows: Vec::new() };
    for (partition, path) in files(dir, "parquet") {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let own = builder.schema().fields().clone();
        let common = fields.get_or_insert_with(|| own.clone());
        assert_eq!(*common, own, "{} has another schema", path.display());
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            for at in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|it| cell(it, at)).collect();
                table.rows.push(Row { partition: partition.clone(), cells });
            }
        }
    }
    table.columns = fields.unwrap().iter().map(|it| column(it)).collect();
    table
}

/// All rows of an Arrow IPC stream.
#[track_caller]
pub(crate) fn read_arrow(path: &Path) -> Table {
    let reader = StreamReader::try_new(File::open(path).unwrap(), None).unwrap();
    let columns = reader.schema().fields().iter().map(|it| column(it)).collect();
    let mut table = Table { columns, rows: Vec::new() };
    for batch in reader.map(Result::unwrap) {
        for at in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|it| cell(it, at)).collect();
            table.rows.push(Row { partition: String::new(), cells });
        }
    }
    table
}

/// All rows of a file with one JSON object a line; the values of the columns `json` are any JSON, which
/// is their text.
#[track_caller]
pub(crate) fn read_json_lines(path: &Path, columns: &[Column], json: &[&str]) -> Table {
    let mut table = Table { columns: columns.to_vec(), rows: Vec::new() };
    let wanted: Vec<_> = columns.iter().map(|it| it.name.as_str()).collect();
    for line in fs::read_to_string(path).unwrap().lines() {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let names: Vec<_> = object.keys().map(String::as_str).collect();
        assert_eq!(names, wanted, "the members of a line");
        let cells = columns.iter().zip(object.values()).map(|(column, value)| match value {
            Value::Null => Cell::Null,
            value if json.contains(&column.name.as_str()) => value.to_string().as_str().into(),
            Value::String(text) if column.kind == Kind::Text => text.as_str().into(),
            Value::String(text) if matches!(column.kind, Kind::Date | Kind::Instant) => {
                typed(column, &CsvField::Bare(text.clone()))
            }
            value if column.kind == Kind::Int => value.as_i64().map(Cell::Int).unwrap(),
            value if column.kind == Kind::Float => value.as_f64().map(Cell::Float).unwrap(),
            value if column.kind == Kind::Bool => value.as_bool().map(Cell::Bool).unwrap(),
            other => panic!("`{}` is {:?}, not {other}", column.name, column.kind),
        });
        table.rows.push(Row { partition: String::new(), cells: cells.collect() });
    }
    table
}

fn column(field: &Field) -> Column {
    let kind = match field.data_type() {
        DataType::Utf8 => Kind::Text,
        DataType::Int64 => Kind::Int,
        DataType::Float64 => Kind::Float,
        DataType::Boolean => Kind::Bool,
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => Kind::Instant,
        other => panic!("column `{}` is of the type {other}", field.name()),
    };
    Column { name: field.name().clone(), kind }
}

fn cell(array: &ArrayRef, at: usize) -> Cell {
    if array.is_null(at) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
        DataType::Boolean => array.as_boolean().value(at).into(),
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(at));
            let count = Days::new(days.unsigned_abs());
            let epoch = NaiveDate::default();
            let date = if days < 0 {
                epoch.checked_sub_days(count)
            } else {
                epoch.checked_add_days(count)
            };
            date.unwrap().into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
            DateTime::from_timestamp_micros(micros).unwrap().into()
        }
        other => panic!("a value of the type {other}"),
    }
}

/// All rows of a stream's CSV files, `dir` being `<output>/csv/<pipeline>/<stream>`.
///
/// A file does not say what its columns are; the expected ones do, by name.
#[track_caller]
pub(crate) fn read_csv(dir: &Path, columns: &[Column]) -> Table {
    let mut table = Table { columns: columns.to_vec(), rows: Vec::new() };
    let wanted: Vec<_> = columns.iter().map(|it| it.name.as_str()).collect();
    for (partition, path) in files(dir, "csv") {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = parse_csv(&text).into_iter();
        let header = lines.next().unwrap_or_default();
        let names: Vec<_> = header.iter().map(CsvField::text).collect();
        assert_eq!(names, wanted, "the header of {}", path.display());
        for line in lines {
            assert_eq!(line.len(), columns.len(), "fields of {line:?} in {}", path.display());
            let cells = columns.iter().zip(&line).map(|(column, it)| typed(column, it)).collect();
            table.rows.push(Row { partition: partition.clone(), cells });
        }
    }
    table
}

/// A field of a CSV line, with what tells a null from an empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CsvField {
    Bare(String),
    Quoted(String),
}

impl CsvField {
    fn text(&self) -> &str {
        match self {
            CsvField::Bare(text) | CsvField::Quoted(text) => text,
        }
    }
}

/// The fields of every line, after RFC 4180 with bare line feeds; anything looser is refused.
#[track_caller]
pub(crate) fn parse_csv(text: &str) -> Vec<Vec<CsvField>> {
    let (mut lines, mut line, mut rest) = (Vec::new(), Vec::new(), text);
    while !rest.is_empty() {
        let field;
        (field, rest) = csv_field(rest);
        line.push(field);
        if let Some(after) = rest.strip_prefix('\n') {
            lines.push(std::mem::take(&mut line));
            rest = after;
        } else if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else {
            panic!("neither a comma nor a line end follows, but {:?}", start_of(rest));
        }
    }
    assert!(line.is_empty(), "the last line has no end: {line:?}");
    lines
}

fn csv_field(text: &str) -> (CsvField, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let (field, rest) = text.split_at(end);
        assert!(!field.contains(['"', '\r']), "an unquoted field is {field:?}");
        return (CsvField::Bare(field.to_owned()), rest);
    };
    let mut field = String::new();
    loop {
        let (before, after) = rest.split_once('"').unwrap_or_else(|| {
            panic!("a quoted field is not closed: {:?}", start_of(text));
        });
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return (CsvField::Quoted(field), after),
        }
    }
}

fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

fn typed(column: &Column, field: &CsvField) -> Cell {
    let text = match field {
        CsvField::Bare(text) if text.is_empty() => return Cell::Null,
        CsvField::Bare(text) | CsvField::Quoted(text) => text.as_str(),
    };
    let cell = match column.kind {
        Kind::Text => Some(text.into()),
        Kind::Int => text.parse::<i64>().ok().map(Cell::Int),
        Kind::Float => text.parse::<f64>().ok().map(Cell::Float),
        Kind::Bool => text.parse::<bool>().ok().map(Cell::Bool),
        Kind::Date => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Cell::Date),
        Kind::Instant => {
            // Only the one form with six digits is an instant in these files.
            let form = "%Y-%m-%dT%H:%M:%S%.6fZ";
            let at = NaiveDateTime::parse_from_str(text, form).ok();
            at.filter(|at| at.format(form).to_string() == text)
                .map(|at| Cell::Instant(at.and_utc()))
        }
    };
    cell.unwrap_or_else(|| panic!("`{}` is {:?}, not {text:?}", column.name, column.kind))
}

/// The files with an extension at any depth, each with its directory relative to `dir`, in order.
#[track_caller]
fn files(dir: &Path, extension: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    walk(dir, &mut found);
    found.retain(|it| it.extension().is_some_and(|it| it == extension));
    found.sort();
    assert!(!found.is_empty(), "no .{extension} file below {}", dir.display());
    let partition = |path: &PathBuf| {
        let parent = path.parent().and_then(|it| it.strip_prefix(dir).ok()).unwrap();
        parent.to_str().unwrap().to_owned()
    };
    found.into_iter().map(|path| (partition(&path), path)).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
