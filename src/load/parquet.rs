//! One Parquet file.
//!
//! ```text
//! int64, timestamp, date    DELTA_BINARY_PACKED           sorted by key: small differences
//! text, mostly distinct     DELTA_LENGTH_BYTE_ARRAY       a dictionary would be filled, then thrown away
//! text, mostly repeated     RLE_DICTIONARY
//! ```
//!
//! All of it zstd(1), the packed differences of instants too: they are mostly multiples of a second.
//! Which text repeats is measured in the file's first rows. Nothing in the file says when, where or
//! in which run it was written.

use std::{io::Write, path::PathBuf, sync::Arc};

use arrow::{
    array::{Array, AsArray as _, RecordBatch},
    compute::SortOptions,
    datatypes::{DataType, Float64Type, Schema},
};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{BloomFilterPosition, EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use super::{
    BatchWriter, FileContext, StagedFile, WriteError, rows,
    store::{StagingFile, Store},
};
use crate::plan::FormatPlan;

/// Rows of a row group, at most.
const ROW_GROUP_ROWS: usize = 128 * 1_024;
/// Encoded bytes of a row group, about, at most: it is in memory until it is complete.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// The first rows, by which dictionaries are decided.
const SAMPLE_ROWS: usize = 2_048;
/// Values after which a column of distinct ones is known.
const FEW: usize = 256;
/// Who wrote the file, in the form that readers parse.
const CREATED_BY: &str = concat!("tracklake version ", env!("CARGO_PKG_VERSION"));

/// Writes a Parquet file.
pub(super) struct ParquetWriter {
    context: FileContext,
    path: PathBuf,
    rows: u64,
    state: State,
}

/// The encodings are known when the first rows are.
enum State {
    Empty(Option<StagingFile>),
    Open(Box<ArrowWriter<StagingFile>>),
}

impl ParquetWriter {
    /// Starts the file.
    pub(super) fn new(file: StagingFile, context: &FileContext) -> Self {
        let path = file.absolute().to_owned();
        Self { context: context.clone(), path, rows: 0, state: State::Empty(Some(file)) }
    }

    fn open(&mut self, sample: &RecordBatch) -> Result<&mut ArrowWriter<StagingFile>, WriteError> {
        if let State::Empty(file) = &mut self.state
            && let Some(file) = file.take()
        {
            let path = self.path.clone();
            let writer = writer(file, &self.context, sample)
                .map_err(|source| WriteError::Parquet { action: "write", path, source })?;
            self.state = State::Open(Box::new(writer));
        }
        match &mut self.state {
            State::Open(writer) => Ok(writer),
            State::Empty(_) => Err(WriteError::Parquet {
                action: "write",
                path: self.path.clone(),
                source: ParquetError::General("the writer failed before".to_owned()),
            }),
        }
    }
}

impl BatchWriter for ParquetWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        // The stream's schema has the field ids; the batch's need not.
        let writer = self.open(batch)?;
        writer.write(batch).map_err(|source| write_error(writer, source))
    }

    fn size(&self) -> u64 {
        match &self.state {
            State::Empty(_) => 0,
            State::Open(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
        }
    }

    fn finish(mut self: Box<Self>) -> Result<StagedFile, WriteError> {
        let empty = RecordBatch::new_empty(Arc::clone(&self.context.schema));
        let writer = self.open(&empty)?;
        writer.finish().map_err(|source| write_error(writer, source))?;
        let file = writer.inner_mut();
        file.finish()?;
        Ok(StagedFile {
            staged: file.path().to_owned(),
            path: String::new(),
            partition: String::new(),
            number: None,
            format: FormatPlan::Parquet,
            bytes: file.bytes(),
            rows: self.rows,
            is_replaced: false,
            turn: 0,
        })
    }
}

/// Starts a file anywhere, with the encodings and row groups of a dataset's.
pub(super) fn writer<W: Write + Send>(
    out: W,
    context: &FileContext,
    sample: &RecordBatch,
) -> Result<ArrowWriter<W>, ParquetError> {
    ArrowWriter::try_new(out, Arc::clone(&context.schema), Some(properties(context, sample)))
}

fn write_error(writer: &ArrowWriter<StagingFile>, source: ParquetError) -> WriteError {
    let path = writer.inner().absolute().to_owned();
    WriteError::Parquet { action: "write", path, source }
}

fn properties(context: &FileContext, sample: &RecordBatch) -> WriterProperties {
    let SortOptions { descending, nulls_first } = rows::ORDER;
    let sorting = context.key.iter().map(|&it| SortingColumn {
        column_idx: i32::try_from(it).unwrap_or(i32::MAX),
        descending,
        nulls_first,
    });
    let metadata =
        context.metadata.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
        .set_dictionary_enabled(false)
        .set_sorting_columns((!context.key.is_empty()).then(|| sorting.collect()))
        .set_key_value_metadata(Some(metadata.collect()));
    for (column, field) in context.schema.fields().iter().enumerate() {
        let path = || ColumnPath::from(field.name().as_str());
        if context.key.contains(&column) {
            // Rows are sorted by these, so pages can be skipped by them.
            builder = builder
                .set_column_statistics_enabled(path(), EnabledStatistics::Page)
                .set_column_bloom_filter_enabled(path(), true)
                .set_column_bloom_filter_max_ndv(path(), likely_rows(sample.num_rows()));
        }
        let encoding = match field.data_type() {
            DataType::Int64 | DataType::Timestamp(..) | DataType::Date32 => {
                Encoding::DELTA_BINARY_PACKED
            }
            DataType::Utf8 => {
                let pays = dictionary_pays(sample.column(column).as_ref());
                builder = builder.set_column_dictionary_enabled(path(), pays);
                // Where the dictionary becomes too large in spite of the sample, the rest is
                // written like text without one.
                Encoding::DELTA_LENGTH_BYTE_ARRAY
            }
            DataType::Float64 => {
                let pays = dictionary_pays(sample.column(column).as_ref());
                builder = builder.set_column_dictionary_enabled(path(), pays);
                continue;
            }
            _ => continue,
        };
        builder = builder.set_column_encoding(path(), encoding);
    }
    builder.build()
}

/// How many rows a row group is likely to have at most, whose file starts with so many of them:
/// there are more where they did not all fit into the first batch. A Bloom filter is made for as
/// many, and made smaller at the end.
fn likely_rows(first: usize) -> u64 {
    (first * 16).clamp(1, ROW_GROUP_ROWS) as u64
}

/// Whether at most half of the values in the first rows are distinct.
fn dictionary_pays(array: &dyn Array) -> bool {
    let sample = array.slice(0, array.len().min(SAMPLE_ROWS));
    let values = sample.len() - sample.null_count();
    match sample.data_type() {
        DataType::Utf8 => {
            let text = sample.as_string::<i32>();
            repeats(values, text.iter().flatten().map(|it| fingerprint(it.as_bytes())))
        }
        DataType::Float64 => {
            let numbers = sample.as_primitive::<Float64Type>();
            repeats(values, numbers.iter().flatten().map(|it| mix(it.to_bits())))
        }
        _ => false,
    }
}

/// Whether at most half of the fingerprints are distinct; ends when it knows.
fn repeats(count: usize, fingerprints: impl Iterator<Item = u64>) -> bool {
    // Open addressing over a table that is never more than a quarter full: this runs for every
    // text column of every file.
    let mask = (count * 2).next_power_of_two().max(2) - 1;
    let mut table = vec![0_u64; mask + 1];
    let mut distinct = 0;
    for (seen, fingerprint) in fingerprints.enumerate() {
        // Where nearly all of so many are distinct, more than half of all are.
        if seen == FEW && distinct * 16 >= seen * 15 {
            return false;
        }
        let fingerprint = fingerprint.max(1);
        let mut slot = usize::try_from(fingerprint >> 32).unwrap_or_default() & mask;
        while table[slot] != 0 && table[slot] != fingerprint {
            slot = (slot + 1) & mask;
        }
        if table[slot] == 0 {
            table[slot] = fingerprint;
            distinct += 1;
            if distinct * 2 > count {
                return false;
            }
        }
    }
    true
}

/// A quick hash; a collision costs a few bytes of a file, no more.
fn fingerprint(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let start = mix(bytes.len() as u64 ^ u64::from_le_bytes(last));
    words.iter().fold(start, |hash, word| mix(hash.rotate_left(5) ^ u64::from_le_bytes(*word)))
}

/// Spreads the bits of a number over all of it.
fn mix(number: u64) -> u64 {
    let product = number.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    product ^ (product >> 29)
}

/// Reads the footer of a staged file back: its rows and its schema are those that were written.
pub(super) fn read_back(
    store: &Store,
    file: &StagedFile,
    schema: &Schema,
) -> Result<(), WriteError> {
    let (handle, path) = store.open_stored(&file.staged)?;
    let metadata =
        ArrowReaderMetadata::load(&handle, ArrowReaderOptions::new()).map_err(|source| {
            WriteError::Parquet { action: "read back", path: path.clone(), source }
        })?;
    let found = metadata.metadata().file_metadata().num_rows();
    if u64::try_from(found) != Ok(file.rows) {
        let (found, expected) = (format!("{found} rows"), format!("{} rows", file.rows));
        return Err(WriteError::ReadBack { path, found, expected });
    }
    if metadata.schema().fields() != schema.fields() {
        let (found, expected) = ("another schema".to_owned(), "the stream's".to_owned());
        return Err(WriteError::ReadBack { path, found, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn a_dictionary_pays_where_half_of_the_values_repeat() {
        let pays = |values: Vec<Option<&str>>| dictionary_pays(&StringArray::from(values));

        assert!(pays(vec![Some("a"), Some("a"), Some("b"), Some("b")]));
        assert!(!pays(vec![Some("a"), Some("a"), Some("b"), Some("c")]));
        assert!(!pays(vec![Some("a"), None, None, None]));
        assert!(pays(vec![None, None]));
        assert!(pays(vec![Some(""), Some("")]));
        assert!(dictionary_pays(&Float64Array::from(vec![0.5; 10])));
    }
}
