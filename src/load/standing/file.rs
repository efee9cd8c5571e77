//! One file of the dataset: its footer, and some columns of some of its rows.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions, new_null_array},
    buffer::BooleanBuffer,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder, RowSelection,
        },
    },
    errors::ParquetError,
    file::reader::{ChunkReader, Length as _},
};

use super::StandingFile;
use crate::load::{
    WriteError,
    store::{Store, StoredFile, io_error},
};

/// Bytes of a batch that is read, about.
const BATCH_BYTES: u64 = 4 << 20;
/// Rows of a batch that is read, at most.
const BATCH_ROWS: u64 = 4_096;
/// A file up to this size is read at once: in parts, the reader takes 8 KiB for the head of each
/// page, which is most of a small file several times over.
const SMALL_BYTES: u64 = 64 << 10;
/// A file up to this size is read at once where most of its columns are wanted.
const WHOLE_BYTES: u64 = 1 << 20;

/// A file, and what its footer says.
pub(super) struct Opened<'a> {
    file: &'a StandingFile,
    pub(super) handle: StoredFile,
    pub(super) path: PathBuf,
    pub(super) metadata: ArrowReaderMetadata,
}

impl<'a> Opened<'a> {
    pub(super) fn new(store: &Store, file: &'a StandingFile) -> Result<Self, WriteError> {
        let Some((handle, path)) = store.find_stored(&file.path)? else {
            let path = store.absolute(&file.path)?;
            return Err(WriteError::Standing { path, found: "it is missing".to_owned() });
        };
        let bytes = handle.len();
        if bytes != file.bytes {
            let found = format!("it has {bytes} bytes, not {}", file.bytes);
            return Err(WriteError::Standing { path, found });
        }
        let metadata = ArrowReaderMetadata::load(&handle, ArrowReaderOptions::new())
            .map_err(|source| WriteError::Parquet { action: "read", path: path.clone(), source })?;
        Ok(Self { file, handle, path, metadata })
    }

    pub(super) fn error(&self, source: ParquetError) -> WriteError {
        WriteError::Parquet { action: "read", path: self.path.clone(), source }
    }

    pub(super) fn wrong(&self, found: String) -> WriteError {
        WriteError::Standing { path: self.path.clone(), found }
    }

    /// Reads some columns of some rows.
    pub(super) fn read(
        &self,
        schema: &SchemaRef,
        columns: &[usize],
        groups: Option<Vec<usize>>,
        rows: Option<BooleanBuffer>,
    ) -> Result<Batches, WriteError> {
        let fields: Vec<_> = columns.iter().map(|&it| Arc::clone(&schema.fields()[it])).collect();
        let stored = self.metadata.schema();
        for field in &fields {
            if let Ok(found) = stored.field_with_name(field.name())
                && found.data_type() != field.data_type()
            {
                let (name, found) = (field.name(), found.data_type());
                let expected = field.data_type();
                return Err(self.wrong(format!("`{name}` is {found}, not {expected}")));
            }
        }
        let names = fields.iter().map(|it| it.name().as_str());
        let projection = ProjectionMask::columns(self.metadata.parquet_schema(), names);
        let per_row = self.file_bytes() / self.file.rows.max(1);
        let batch = (BATCH_BYTES / per_row.max(1)).clamp(16, BATCH_ROWS);
        let wanted = Wanted {
            projection,
            batch: usize::try_from(batch).unwrap_or(16),
            groups,
            selection: rows.map(RowSelection::from_boolean_buffer),
        };
        let bytes = self.file.bytes;
        let is_most = columns.len() * 2 >= schema.fields().len();
        let reader = if bytes <= SMALL_BYTES || is_most && bytes <= WHOLE_BYTES {
            let whole = self.handle.bytes().map_err(io_error("read", &self.path))?;
            wanted.reader(Bytes::from(whole), self.metadata.clone())
        } else {
            wanted.reader(self.handle.clone(), self.metadata.clone())
        };
        let reader = reader.map_err(|source| self.error(source))?;
        let schema = Arc::new(Schema::new(fields));
        Ok(Batches { path: self.path.clone(), reader, schema })
    }

    /// Before compression.
    fn file_bytes(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|it| u64::try_from(it.total_byte_size()).unwrap_or_default()).sum()
    }
}

/// Which part of a file is read.
struct Wanted {
    projection: ProjectionMask,
    /// Rows at a time.
    batch: usize,
    groups: Option<Vec<usize>>,
    selection: Option<RowSelection>,
}

impl Wanted {
    fn reader<T: ChunkReader + 'static>(
        self,
        input: T,
        metadata: ArrowReaderMetadata,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata)
            .with_projection(self.projection)
            .with_batch_size(self.batch);
        if let Some(groups) = self.groups {
            builder = builder.with_row_groups(groups);
        }
        if let Some(selection) = self.selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build()
    }
}

/// Reads the batches of a file.
pub(super) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    /// Of the batches that go out.
    schema: SchemaRef,
}

impl Batches {
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, WriteError> {
        let failed = |source: ArrowError| WriteError::Parquet {
            action: "read",
            path: self.path.clone(),
            source: ParquetError::from(source),
        };
        let Some(batch) = self.reader.next().transpose().map_err(failed)? else {
            return Ok(None);
        };
        let rows = batch.num_rows();
        let arrays = self.schema.fields().iter().map(|field| {
            batch
                .column_by_name(field.name())
                .map_or_else(|| new_null_array(field.data_type(), rows), Arc::clone)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays.collect(), &options)
            .map(Some)
            .map_err(failed)
    }
}
