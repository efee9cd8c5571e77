//! One CSV file.
//!
//! ```text
//! value                          field
//! null
//! ""                             ""                              a quoted empty field is no null
//! a "b", c                       "a ""b"", c"                    RFC 4180; lines end in \n
//! 2024-07-25T09:42:06.258Z       2024-07-25T09:42:06.258000Z
//! =1+1                           '=1+1                           only with escape_formulas
//! ```

use std::io::{self, Write};

use arrow::{
    array::{Array, AsArray as _, BooleanArray, PrimitiveArray, RecordBatch, StringArray},
    datatypes::{
        DataType, Date32Type, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    },
};
use flate2::{Compression, GzBuilder, write::GzEncoder};

use super::{
    BatchWriter, FileContext, StagedFile, WriteError,
    calendar::{push_date, push_instant, push_number},
    store::StagingFile,
};
use crate::plan::{CsvCompression, CsvPlan, FormatPlan};

/// Lines are handed to the compressor in pieces of about this size.
const PIECE_BYTES: usize = 1 << 16;

/// Writes a CSV file.
pub(super) struct CsvWriter {
    plan: CsvPlan,
    encoder: Encoder,
    piece: Vec<u8>,
    rows: u64,
}

/// What becomes of text that a spreadsheet would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Formulas {
    /// It stays as it is.
    Keep,
    /// It gets a `'` in front.
    Escape,
}

/// Compression of the whole file. Its fastest level: encoding should not cost more than the rows.
enum Encoder {
    None(StagingFile),
    Gzip(GzEncoder<StagingFile>),
    Zstd(zstd::Encoder<'static, StagingFile>),
}

impl CsvWriter {
    /// Starts the file with its header.
    pub(super) fn new(
        file: StagingFile,
        plan: CsvPlan,
        context: &FileContext,
    ) -> Result<Self, WriteError> {
        let encoder = match plan.compression {
            CsvCompression::None => Encoder::None(file),
            // No time and no host system: the same rows give the same bytes.
            CsvCompression::Gzip => Encoder::Gzip(
                GzBuilder::new().mtime(0).operating_system(255).write(file, Compression::fast()),
            ),
            CsvCompression::Zstd => {
                let path = file.absolute().to_owned();
                let mut encoder = zstd::Encoder::new(file, 1)
                    .map_err(super::store::io_error("compress", &path))?;
                encoder
                    .include_checksum(true)
                    .map_err(super::store::io_error("compress", &path))?;
                Encoder::Zstd(encoder)
            }
        };
        let mut piece = Vec::new();
        push_header(&mut piece, &context.schema);
        Ok(Self { plan, encoder, piece, rows: 0 })
    }

    fn write_piece(&mut self) -> Result<(), WriteError> {
        if let Err(source) = self.encoder.write_all(&self.piece) {
            return Err(self.encoder.file().error()(source));
        }
        self.piece.clear();
        Ok(())
    }
}

impl BatchWriter for CsvWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let lines = Lines::new(batch, self.plan)?;
        for row in 0..batch.num_rows() {
            lines.push(&mut self.piece, row);
            if self.piece.len() >= PIECE_BYTES {
                self.write_piece()?;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.encoder.file().bytes() + self.piece.len() as u64
    }

    fn finish(mut self: Box<Self>) -> Result<StagedFile, WriteError> {
        self.write_piece()?;
        let Self { plan, encoder, rows, .. } = *self;
        let path = encoder.file().absolute().to_owned();
        let finish = || {
            Ok(match encoder {
                Encoder::None(file) => file,
                Encoder::Gzip(encoder) => encoder.finish()?,
                Encoder::Zstd(encoder) => encoder.finish()?,
            })
        };
        let mut file = finish().map_err(super::store::io_error("write", &path))?;
        file.finish()?;
        Ok(StagedFile {
            staged: file.path().to_owned(),
            path: String::new(),
            partition: String::new(),
            number: None,
            format: FormatPlan::Csv(plan),
            rows,
            bytes: file.bytes(),
            is_replaced: false,
            turn: 0,
        })
    }
}

impl Encoder {
    fn file(&self) -> &StagingFile {
        match self {
            Self::None(file) => file,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Appends the line with the names of the columns.
pub(super) fn push_header(out: &mut Vec<u8>, schema: &Schema) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_text(out, field.name(), Formulas::Keep);
    }
    out.push(b'\n');
}

/// The lines of a batch.
pub(super) struct Lines<'a> {
    columns: Vec<Column<'a>>,
    formulas: Formulas,
}

impl<'a> Lines<'a> {
    pub(super) fn new(batch: &'a RecordBatch, plan: CsvPlan) -> Result<Self, WriteError> {
        let formulas = if plan.escape_formulas { Formulas::Escape } else { Formulas::Keep };
        let schema = batch.schema_ref();
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(array, field)| Column::new(array.as_ref(), field.name()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { columns, formulas })
    }

    /// Appends a line with its end.
    pub(super) fn push(&self, out: &mut Vec<u8>, row: usize) {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            column.push(out, row, self.formulas);
        }
        out.push(b'\n');
    }
}

/// Appends one cell.
pub(super) fn push_cell(
    out: &mut Vec<u8>,
    array: &dyn Array,
    row: usize,
) -> Result<(), WriteError> {
    Column::new(array, "")?.push(out, row, Formulas::Keep);
    Ok(())
}

/// A column with its type known, so that it is not asked for again for every field.
enum Column<'a> {
    Text(&'a StringArray),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Boolean(&'a BooleanArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, name: &str) -> Result<Self, WriteError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Self::Timestamp(array.as_primitive())
            }
            other => {
                return Err(WriteError::Type {
                    column: name.to_owned(),
                    use_: "CSV",
                    found: other.to_string(),
                });
            }
        })
    }

    fn push(&self, out: &mut Vec<u8>, row: usize, formulas: Formulas) {
        match self {
            Self::Text(array) if array.is_valid(row) => {
                push_text(out, array.value(row), formulas);
            }
            Self::Int64(array) if array.is_valid(row) => push_number(out, array.value(row), 1),
            Self::Float64(array) if array.is_valid(row) => {
                // The shortest text that reads back as the same number. A vector takes all of it.
                let _ = write!(out, "{:?}", array.value(row));
            }
            Self::Boolean(array) if array.is_valid(row) => {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            }
            Self::Date(array) if array.is_valid(row) => {
                push_date(out, i64::from(array.value(row)));
            }
            Self::Timestamp(array) if array.is_valid(row) => push_instant(out, array.value(row)),
            Self::Text(_)
            | Self::Int64(_)
            | Self::Float64(_)
            | Self::Boolean(_)
            | Self::Date(_)
            | Self::Timestamp(_) => {}
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str, formulas: Formulas) {
    let bytes = text.as_bytes();
    let escape = formulas == Formulas::Escape && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quote = bytes.is_empty()
        || memchr::memchr3(b',', b'"', b'\n', bytes).is_some()
        || memchr::memchr(b'\r', bytes).is_some();
    if quote {
        out.push(b'"');
    }
    if escape {
        out.push(b'\'');
    }
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    if quote {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, formulas: Formulas, expected: &str) {
        let mut out = Vec::new();
        push_text(&mut out, text, formulas);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_is_quoted_only_where_it_must_be() {
        check("plain text; with 'marks'", Formulas::Keep, "plain text; with 'marks'");
        check("", Formulas::Keep, r#""""#);
        check(r#"a "b", c"#, Formulas::Keep, r#""a ""b"", c""#);
        check("\"", Formulas::Keep, "\"\"\"\"");
        check("two\nlines", Formulas::Keep, "\"two\nlines\"");
        check("a\rb", Formulas::Keep, "\"a\rb\"");
    }

    #[test]
    fn formulas_are_defused_only_when_asked_for() {
        check("=1+1", Formulas::Keep, "=1+1");
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\ta", "'\ta"),
            ("\ra", "\"'\ra\""),
            ("=A1,B1", "\"'=A1,B1\""),
            ("a=1", "a=1"),
        ] {
            check(text, Formulas::Escape, expected);
        }
    }
}
