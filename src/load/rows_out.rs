//! Rows to one file or pipe, as they come: no partitions, no order, no state.
//!
//! ```text
//! format   values
//! csv      as in the datasets: null is the empty field, instants with six digits
//! jsonl    {"id":"41","start":"2024-07-25T06:30:00.000000Z","work_date":"2024-07-25","_extra":{"a":1}}
//! parquet  as in the datasets, a row group at a time
//! arrow    an Arrow IPC stream, a batch a page
//! ```
//!
//! What is a JSON text in the other formats (`json` columns and `_extra`) is the value itself in JSON
//! lines. A null is written, so that every line has every column.

use std::io::{self, BufWriter, Write};

use arrow::{
    array::{Array, AsArray as _, RecordBatch},
    datatypes::{
        DataType, Date32Type, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType,
    },
    error::ArrowError,
    ipc::writer::StreamWriter,
};
use parquet::errors::ParquetError;
use thiserror::Error;

use super::{
    FileContext, WriteError,
    calendar::{push_date, push_instant, push_number},
    csv, parquet as parquet_file,
};
use crate::plan::{ColumnType, CsvPlan, EXTRA_COLUMN, StreamPlan};

/// How rows are written where they are not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// RFC 4180 text with a header.
    Csv(CsvPlan),
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// Why rows could not be written.
#[derive(Debug, Error)]
pub enum RowsError {
    /// Whoever takes them does not, such as a pipe that was closed.
    #[error("cannot write the rows")]
    Io(#[from] io::Error),
    /// They make no Parquet file.
    #[error("cannot encode the rows as Parquet")]
    Parquet(#[from] ParquetError),
    /// They make no Arrow stream.
    #[error("cannot encode the rows as an Arrow stream")]
    Arrow(#[from] ArrowError),
    /// They make no text.
    #[error("cannot encode the rows as text")]
    Text(#[source] WriteError),
}

/// Writes the rows of one stream.
pub struct RowsOut<W: Write + Send> {
    encoder: Encoder<W>,
    /// For lines.
    piece: Vec<u8>,
}

enum Encoder<W: Write + Send> {
    Csv(BufWriter<W>, CsvPlan),
    /// With the columns that are JSON already.
    JsonLines(BufWriter<W>, Vec<bool>),
    /// The encodings are known when the first rows are.
    Unopened(Option<W>, FileContext),
    Parquet(Box<parquet::arrow::ArrowWriter<W>>),
    Arrow(Box<StreamWriter<BufWriter<W>>>),
}

impl<W: Write + Send> RowsOut<W> {
    /// Starts with what stands before the first row; `metadata` goes into the footer of Parquet.
    pub fn new(
        out: W,
        format: RowFormat,
        stream: &StreamPlan,
        schema: &SchemaRef,
        metadata: Vec<(&'static str, String)>,
    ) -> Result<Self, RowsError> {
        let mut piece = Vec::new();
        let encoder = match format {
            RowFormat::Csv(plan) => {
                csv::push_header(&mut piece, schema);
                let mut out = BufWriter::new(out);
                out.write_all(&piece)?;
                Encoder::Csv(out, plan)
            }
            RowFormat::JsonLines => {
                let is_json = schema.fields().iter().map(|it| is_json(stream, it.name()));
                Encoder::JsonLines(BufWriter::new(out), is_json.collect())
            }
            RowFormat::Parquet => {
                // Rows come in no order, so that nothing is said about one.
                let context = FileContext { schema: schema.clone(), key: Vec::new(), metadata };
                Encoder::Unopened(Some(out), context)
            }
            RowFormat::Arrow => {
                let out = BufWriter::new(out);
                let mut writer = StreamWriter::try_new(out, schema)?;
                // Who takes the rows can begin with the schema, before anything has come.
                writer.flush()?;
                Encoder::Arrow(Box::new(writer))
            }
        };
        Ok(Self { encoder, piece })
    }

    /// Writes rows, and lets whoever reads lines or an Arrow stream have them at once.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), RowsError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.piece.clear();
        match &mut self.encoder {
            Encoder::Csv(out, plan) => {
                let lines = csv::Lines::new(batch, *plan).map_err(RowsError::Text)?;
                for row in 0..batch.num_rows() {
                    lines.push(&mut self.piece, row);
                }
                out.write_all(&self.piece)?;
                out.flush()?;
            }
            Encoder::JsonLines(out, is_json) => {
                for row in 0..batch.num_rows() {
                    push_object(&mut self.piece, batch, row, is_json)?;
                }
                out.write_all(&self.piece)?;
                out.flush()?;
            }
            Encoder::Unopened(..) | Encoder::Parquet(_) => self.parquet(batch)?.write(batch)?,
            Encoder::Arrow(writer) => {
                writer.write(batch)?;
                writer.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what stands after the last row.
    pub fn finish(mut self) -> Result<W, RowsError> {
        if let Encoder::Unopened(_, context) = &self.encoder {
            let empty = RecordBatch::new_empty(context.schema.clone());
            self.parquet(&empty)?;
        }
        let unbuffered =
            |out: BufWriter<W>| out.into_inner().map_err(|err| RowsError::Io(err.into_error()));
        match self.encoder {
            Encoder::Csv(out, _) | Encoder::JsonLines(out, _) => unbuffered(out),
            Encoder::Parquet(writer) => Ok(writer.into_inner()?),
            Encoder::Arrow(mut writer) => {
                writer.finish()?;
                unbuffered(writer.into_inner()?)
            }
            Encoder::Unopened(..) => Err(lost().into()),
        }
    }

    fn parquet(
        &mut self,
        sample: &RecordBatch,
    ) -> Result<&mut parquet::arrow::ArrowWriter<W>, RowsError> {
        if let Encoder::Unopened(out, context) = &mut self.encoder {
            let out = out.take().ok_or_else(lost)?;
            let writer = parquet_file::writer(out, context, sample)?;
            self.encoder = Encoder::Parquet(Box::new(writer));
        }
        match &mut self.encoder {
            Encoder::Parquet(writer) => Ok(writer),
            _ => Err(lost().into()),
        }
    }
}

fn lost() -> ParquetError {
    ParquetError::General("the writer failed before".to_owned())
}

/// Whether the texts of a column are JSON.
fn is_json(stream: &StreamPlan, column: &str) -> bool {
    let declared = stream.columns.iter().find(|it| it.name.as_str() == column);
    declared.map_or(column == EXTRA_COLUMN, |it| it.kind == ColumnType::Json)
}

/// Appends a row as one line.
fn push_object(
    out: &mut Vec<u8>,
    batch: &RecordBatch,
    row: usize,
    is_json: &[bool],
) -> Result<(), RowsError> {
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns()).zip(is_json);
    for (at, ((field, array), is_json)) in columns.enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        push_json(out, field.name())?;
        out.push(b':');
        if array.is_null(row) {
            out.extend_from_slice(b"null");
            continue;
        }
        match array.data_type() {
            DataType::Utf8 if *is_json => {
                out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes());
            }
            DataType::Utf8 => push_json(out, array.as_string::<i32>().value(row))?,
            DataType::Int64 => push_number(out, array.as_primitive::<Int64Type>().value(row), 1),
            DataType::Float64 => {
                push_json(out, &array.as_primitive::<Float64Type>().value(row))?;
            }
            DataType::Boolean => push_json(out, &array.as_boolean().value(row))?,
            DataType::Date32 => {
                out.push(b'"');
                push_date(out, i64::from(array.as_primitive::<Date32Type>().value(row)));
                out.push(b'"');
            }
            DataType::Timestamp(..) => {
                out.push(b'"');
                push_instant(out, array.as_primitive::<TimestampMicrosecondType>().value(row));
                out.push(b'"');
            }
            other => {
                return Err(RowsError::Text(WriteError::Type {
                    column: field.name().clone(),
                    use_: "JSON",
                    found: other.to_string(),
                }));
            }
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// A cell for a person, as CSV has it but without quotes; `None` for a null.
pub fn cell_text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    if let Some(text) = array.as_string_opt::<i32>() {
        return Some(text.value(row).to_owned());
    }
    let mut text = Vec::new();
    csv::push_cell(&mut text, array, row).ok()?;
    String::from_utf8(text).ok()
}

fn push_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), RowsError> {
    serde_json::to_writer(out, value).map_err(|err| RowsError::Io(err.into()))
}
