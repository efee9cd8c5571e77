//! A plain table of values, and the comparison of two.
//!
//! Nothing here knows Arrow, Parquet or the pipelines: a table is what a person would write down.

#![expect(clippy::panic, reason = "a helper of tests reports by panicking")]

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use chrono::{DateTime, NaiveDate, Utc};

/// How many differences a failed comparison prints.
const SHOWN: usize = 5;
/// How many characters of a long text it prints.
const EXCERPT: usize = 80;

/// One value.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Date(NaiveDate),
    Instant(DateTime<Utc>),
}

/// What the values of a column are, also where all of them are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Date,
    Instant,
}

/// A column's name and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// One row and the partition directory it lies in, such as `date=2024-07-25`.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(crate) struct Row {
    pub(crate) partition: String,
    pub(crate) cells: Vec<Cell>,
}

/// Rows under named columns; their order means nothing, how often one occurs does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

/// The named values of one row, in the order of the columns.
macro_rules! row {
    ($($name:literal: $value:expr),* $(,)?) => {
        vec![$(($name, $crate::support::table::Cell::from($value))),*]
    };
}
pub(crate) use row;

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&str, Kind)]) -> Table {
        let column = |(name, kind): &(&str, Kind)| Column { name: (*name).to_owned(), kind: *kind };
        Table { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row that [`row!`] made; a name out of order or a value of another kind is a mistake.
    #[track_caller]
    pub(crate) fn push(&mut self, partition: String, row: Vec<(&str, Cell)>) {
        let given: Vec<_> = row.iter().map(|(name, _)| *name).collect();
        assert_eq!(given, self.names(), "a row names the columns in their order");
        for (column, (_, cell)) in self.columns.iter().zip(&row) {
            let fits = cell.kind().is_none_or(|kind| kind == column.kind);
            assert!(fits, "`{}` is {:?}, not {cell:?}", column.name, column.kind);
        }
        self.rows.push(Row { partition, cells: row.into_iter().map(|(_, cell)| cell).collect() });
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|it| it.name.as_str()).collect()
    }

    /// The value of a row in a named column.
    #[track_caller]
    pub(crate) fn cell<'a>(&self, row: &'a Row, name: &str) -> &'a Cell {
        let at = self.columns.iter().position(|it| it.name == name);
        at.and_then(|at| row.cells.get(at)).unwrap_or_else(|| panic!("no column `{name}`"))
    }

    /// The rows whose named column has this value.
    #[track_caller]
    pub(crate) fn rows_where(&self, name: &str, value: impl Into<Cell>) -> Vec<&Row> {
        let value = value.into();
        self.rows.iter().filter(|it| *self.cell(it, name) == value).collect()
    }

    /// All values of a named column, row by row.
    #[track_caller]
    pub(crate) fn values(&self, name: &str) -> Vec<Cell> {
        self.rows.iter().map(|it| self.cell(it, name).clone()).collect()
    }
}

impl Cell {
    /// The kind of the value; a null has none.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Cell::Null => None,
            Cell::Text(_) => Some(Kind::Text),
            Cell::Int(_) => Some(Kind::Int),
            Cell::Float(_) => Some(Kind::Float),
            Cell::Bool(_) => Some(Kind::Bool),
            Cell::Date(_) => Some(Kind::Date),
            Cell::Instant(_) => Some(Kind::Instant),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("null"),
            Cell::Text(it) => write!(f, "{it:?}"),
            Cell::Int(it) => write!(f, "{it}"),
            Cell::Float(it) => write!(f, "{it:?}"),
            Cell::Bool(it) => write!(f, "{it}"),
            Cell::Date(it) => write!(f, "{it}"),
            Cell::Instant(it) => write!(f, "{it:?}"),
        }
    }
}

impl From<&str> for Cell {
    fn from(it: &str) -> Cell {
        Cell::Text(it.to_owned())
    }
}

impl From<&String> for Cell {
    fn from(it: &String) -> Cell {
        Cell::Text(it.clone())
    }
}

impl From<String> for Cell {
    fn from(it: String) -> Cell {
        Cell::Text(it)
    }
}

impl From<i64> for Cell {
    fn from(it: i64) -> Cell {
        Cell::Int(it)
    }
}

impl From<f64> for Cell {
    fn from(it: f64) -> Cell {
        Cell::Float(it)
    }
}

impl From<bool> for Cell {
    fn from(it: bool) -> Cell {
        Cell::Bool(it)
    }
}

impl From<NaiveDate> for Cell {
    fn from(it: NaiveDate) -> Cell {
        Cell::Date(it)
    }
}

impl From<DateTime<Utc>> for Cell {
    fn from(it: DateTime<Utc>) -> Cell {
        Cell::Instant(it)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(it: Option<T>) -> Cell {
        it.map_or(Cell::Null, Into::into)
    }
}

/// Panics unless both tables have the same columns in the same order, and the same rows as often.
#[track_caller]
pub(crate) fn assert_same(actual: &Table, expected: &Table) {
    let difference = difference(actual, expected);
    assert!(difference.is_empty(), "{difference}");
}

/// What differs, for people; the empty text when nothing does.
pub(crate) fn difference(actual: &Table, expected: &Table) -> String {
    if actual.columns != expected.columns {
        return columns_that_differ(actual, expected);
    }
    let (missing, unexpected) = rows_that_differ(actual, expected);
    if missing.is_empty() && unexpected.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "{} rows, expected {}: {} missing, {} unexpected\n",
        actual.rows.len(),
        expected.rows.len(),
        missing.len(),
        unexpected.len(),
    );
    let (mut left, mut shown) = (unexpected, 0);
    for wanted in missing.iter().take(SHOWN) {
        let nearest = (0..left.len()).min_by_key(|at| n_differing(left[*at], wanted));
        let near = |at: &usize| 2 * n_differing(left[*at], wanted) <= wanted.cells.len();
        match nearest.filter(near) {
            Some(at) => describe_pair(&mut out, expected, left.swap_remove(at), wanted),
            None => describe_row(&mut out, expected, "missing", wanted),
        }
        shown += 1;
    }
    for it in left.iter().take(SHOWN.saturating_sub(shown).max(1)) {
        describe_row(&mut out, expected, "unexpected", it);
    }
    out
}

fn columns_that_differ(actual: &Table, expected: &Table) -> String {
    let mut out = "the columns differ\n".to_owned();
    for at in 0..actual.columns.len().max(expected.columns.len()) {
        let text = |table: &Table| {
            let column = table.columns.get(at);
            column.map_or("-".to_owned(), |it| format!("{} {:?}", it.name, it.kind))
        };
        let (is, wanted) = (text(actual), text(expected));
        if is != wanted {
            let _ = writeln!(out, "  {at}: {is}, expected {wanted}");
        }
    }
    out
}

/// The expected rows that are not there and the rows that were not expected, each as often as it is.
fn rows_that_differ<'a>(actual: &'a Table, expected: &'a Table) -> (Vec<&'a Row>, Vec<&'a Row>) {
    let (actual, expected) = (sorted(actual), sorted(expected));
    let (mut actual, mut expected) =
        (actual.into_iter().peekable(), expected.into_iter().peekable());
    let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
    loop {
        let order = match (actual.peek(), expected.peek()) {
            (None, None) => return (missing, unexpected),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(is), Some(wanted)) => order(is, wanted),
        };
        match order {
            Ordering::Less => unexpected.extend(actual.next()),
            Ordering::Greater => missing.extend(expected.next()),
            Ordering::Equal => {
                actual.next();
                expected.next();
            }
        }
    }
}

fn sorted(table: &Table) -> Vec<&Row> {
    let mut rows: Vec<_> = table.rows.iter().collect();
    rows.sort_by(|a, b| order(a, b));
    rows
}

/// No row has a float that is not a number, so every pair has an order.
fn order(a: &Row, b: &Row) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| panic!("no order between {a:?} and {b:?}"))
}

fn n_differing(a: &Row, b: &Row) -> usize {
    let cells = a.cells.iter().zip(&b.cells).filter(|(a, b)| a != b).count();
    cells + usize::from(a.partition != b.partition)
}

fn describe_pair(out: &mut String, table: &Table, is: &Row, wanted: &Row) {
    let first = table.columns.iter().zip(&wanted.cells).take(3);
    let name: Vec<_> = first.map(|(column, cell)| format!("{}={cell}", column.name)).collect();
    let _ = writeln!(out, "- row {} …", name.join(" "));
    if is.partition != wanted.partition {
        let _ = writeln!(out, "    in {}, expected {}", is.partition, wanted.partition);
    }
    let cells = is.cells.iter().zip(&wanted.cells);
    for (column, (is, wanted)) in table.columns.iter().zip(cells).filter(|(_, (a, b))| a != b) {
        let (is, wanted) = describe_cells(is, wanted);
        let _ = writeln!(out, "    {}: {is}, expected {wanted}", column.name);
    }
}

/// Both values; of long texts, such as JSON, the part around the first difference.
fn describe_cells(is: &Cell, wanted: &Cell) -> (String, String) {
    match (is, wanted) {
        (Cell::Text(is), Cell::Text(wanted)) if is.len().max(wanted.len()) > 2 * EXCERPT => {
            let n_common = is.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
            let part = |text: &str| -> String {
                let start = n_common.saturating_sub(EXCERPT / 4);
                "…".chars().chain(text.chars().skip(start).take(EXCERPT)).collect()
            };
            (part(is), part(wanted))
        }
        _ => (is.to_string(), wanted.to_string()),
    }
}

fn describe_row(out: &mut String, table: &Table, what: &str, row: &Row) {
    let cells = table.columns.iter().zip(&row.cells).filter(|(_, cell)| **cell != Cell::Null);
    let cells: Vec<_> = cells.map(|(column, cell)| format!("{}={cell}", column.name)).collect();
    let _ = writeln!(out, "- {what} in {}: {}", row.partition, cells.join(" "));
}
