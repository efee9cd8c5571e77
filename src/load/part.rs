//! The rows of a partition to staged files, every format side by side.
//!
//! ```text
//! date=2024-07-25: row, row, row   ->  batch  ->  0.parquet.staged  ->  part-0.parquet
//!                                                 1.parquet.staged  ->  part-1.parquet    over the target size
//!                                                 2.csv.staged      ->  part-0.csv
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{
    BatchWriter, FileContext, StagedFile, WriteError, extension, open,
    partition::{Ordinal, Partitioner},
    rows::{BatchBuilder, Layout},
    sort::Row,
    store::Store,
};
use crate::plan::FormatPlan;

/// Rows of a batch that is encoded, at most.
const BATCH_ROWS: usize = 8_192;
/// Bytes after which a batch is encoded.
const BATCH_BYTES: usize = 4 << 20;

/// A format and the directory of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// The format.
    pub(super) format: FormatPlan,
    /// Such as `parquet/<pipeline>/<stream>`.
    pub(super) path: String,
}

/// Where the files of a stream go.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The destination.
    pub(super) store: &'a Store,
    /// The directory of staged files.
    pub(super) staging: &'a str,
    /// What is written.
    pub(super) trees: &'a [Tree],
    /// The size at which a file is followed by another.
    pub(super) target_bytes: u64,
    /// What every file shares.
    pub(super) context: FileContext,
    /// Names partitions.
    pub(super) partitioner: &'a Partitioner,
    /// Numbers the staged files.
    pub(super) staged: AtomicUsize,
}

impl<'a> Parts<'a> {
    /// Starts a partition. The formats of a large one are encoded at the same time.
    pub(super) fn partition(
        &'a self,
        partition: Ordinal,
        layout: &'a Layout,
        is_large: bool,
    ) -> PartitionWriter<'a> {
        PartitionWriter { next: layout.batches(), writers: self.writers(partition), is_large }
    }

    /// Stages files without rows, so that a reader finds the schema.
    pub(super) fn stage_empty(&self) -> Result<Vec<StagedFile>, WriteError> {
        let mut files = Vec::new();
        for mut writer in self.writers(Ordinal::NULL) {
            writer.open()?;
            files.extend(writer.finish()?);
        }
        Ok(files)
    }

    fn writers(&'a self, partition: Ordinal) -> Vec<PartFiles<'a>> {
        let directory = self.partitioner.directory(partition);
        self.trees
            .iter()
            .map(|tree| PartFiles {
                parts: self,
                ordinal: partition,
                partition: directory.clone(),
                tree,
                writer: None,
                files: Vec::new(),
            })
            .collect()
    }
}

/// The files of one partition.
pub(super) struct PartitionWriter<'a> {
    /// The next batch.
    next: BatchBuilder<'a>,
    writers: Vec<PartFiles<'a>>,
    is_large: bool,
}

impl PartitionWriter<'_> {
    /// Takes the next row.
    pub(super) fn push(&mut self, row: Row<'_>) -> Result<(), WriteError> {
        if self.next.rows() >= BATCH_ROWS || self.next.bytes() >= BATCH_BYTES {
            self.write()?;
        }
        self.next.push(row)
    }

    /// Starts the first file of each format, so that there is one even without a row.
    pub(super) fn open(&mut self) -> Result<(), WriteError> {
        self.writers.iter_mut().try_for_each(|it| it.open().map(|_| ()))
    }

    /// Completes the files; there is none where no row came.
    pub(super) fn finish(mut self) -> Result<Vec<StagedFile>, WriteError> {
        if self.next.rows() > 0 {
            self.write()?;
        }
        let files: Vec<Vec<StagedFile>> =
            self.writers.into_iter().map(PartFiles::finish).collect::<Result<_, _>>()?;
        Ok(files.into_iter().flatten().collect())
    }

    fn write(&mut self) -> Result<(), WriteError> {
        let batch = self.next.finish()?;
        if self.is_large {
            self.writers.par_iter_mut().try_for_each(|it| it.write(&batch))
        } else {
            self.writers.iter_mut().try_for_each(|it| it.write(&batch))
        }
    }
}

/// The files of one partition in one format.
struct PartFiles<'a> {
    parts: &'a Parts<'a>,
    ordinal: Ordinal,
    partition: String,
    tree: &'a Tree,
    writer: Option<Box<dyn BatchWriter>>,
    files: Vec<StagedFile>,
}

impl PartFiles<'_> {
    fn write(&mut self, batch: &arrow::array::RecordBatch) -> Result<(), WriteError> {
        if self.writer.as_ref().is_some_and(|it| it.size() >= self.parts.target_bytes) {
            self.close()?;
        }
        self.open()?.write(batch)
    }

    fn open(&mut self) -> Result<&mut Box<dyn BatchWriter>, WriteError> {
        let writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let Parts { store, staging, context, staged, .. } = self.parts;
            let number = staged.fetch_add(1, Ordering::Relaxed);
            let format = self.tree.format;
            let path = format!("{staging}/{number}.{}.staged", extension(format));
            open(format, store.create(&path)?, context)?
        };
        Ok(self.writer.insert(writer))
    }

    fn close(&mut self) -> Result<(), WriteError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let mut file = writer.finish()?;
        let Self { ordinal, partition, tree, files, .. } = self;
        let extension = extension(tree.format);
        file.path = format!("{}/{partition}/part-{}.{extension}", tree.path, files.len());
        file.partition.clone_from(partition);
        file.number = ordinal.number();
        files.push(file);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<StagedFile>, WriteError> {
        self.close()?;
        Ok(self.files)
    }
}
