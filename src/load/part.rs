//! Batches of one partition after the other to staged files.
//!
//! ```text
//! date=2024-07-25: batch, batch, batch    ->  0.parquet.staged  ->  part-0.parquet
//!                                             1.parquet.staged  ->  part-1.parquet    over the target size
//!                                             2.csv.staged      ->  part-0.csv
//! ```
//!
//! A partition of many batches has its writers to itself, one a format, side by side; partitions
//! that are a single batch are encoded several at a time. So the number of partitions costs no
//! memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::{
    BatchWriter, FileContext, StagedFile, WriteError, extension, open,
    partition::{Ordinal, Partitioner},
    split::{PartitionBatch, Rest, SplitRows},
    store::Store,
};
use crate::plan::FormatPlan;

/// Where the files of a stream go.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The destination.
    pub(super) store: &'a Store,
    /// The directory of staged files.
    pub(super) staging: &'a str,
    /// `<pipeline>/<stream>`, below each format's directory.
    pub(super) dataset: String,
    /// The formats.
    pub(super) formats: &'a [FormatPlan],
    /// The size at which a file is followed by another.
    pub(super) target_bytes: u64,
    /// What every file shares.
    pub(super) context: FileContext,
    /// Names partitions.
    pub(super) partitioner: Partitioner,
    /// Numbers the staged files.
    pub(super) staged: AtomicUsize,
}

impl Parts<'_> {
    /// Stages all rows; without any, a file without rows, so that a reader finds the schema.
    pub(super) fn stage(&self, rows: &mut SplitRows) -> Result<Vec<StagedFile>, WriteError> {
        let mut files = Vec::new();
        let mut small: Vec<(Ordinal, RecordBatch)> = Vec::new();
        let mut large: Option<Vec<PartFiles<'_>>> = None;
        while let Some(PartitionBatch { partition, batch, rest }) = rows.next()? {
            if large.is_none() && rest == Rest::None {
                small.push((partition, batch));
                if small.len() == rayon::current_num_threads() {
                    files.extend(self.stage_small(&mut small)?);
                }
                continue;
            }
            let writers = large.get_or_insert_with(|| self.writers(partition));
            writers.par_iter_mut().try_for_each(|it| it.write(&batch))?;
            if rest == Rest::None {
                for writer in large.take().into_iter().flatten() {
                    files.extend(writer.finish()?);
                }
            }
        }
        files.extend(self.stage_small(&mut small)?);
        if files.is_empty() {
            for mut writer in self.writers(Ordinal::NULL) {
                writer.open()?;
                files.extend(writer.finish()?);
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn stage_small(
        &self,
        partitions: &mut Vec<(Ordinal, RecordBatch)>,
    ) -> Result<Vec<StagedFile>, WriteError> {
        let jobs: Vec<_> = partitions
            .drain(..)
            .flat_map(|(partition, batch)| {
                self.writers(partition).into_iter().map(move |writer| (writer, batch.clone()))
            })
            .collect();
        let files: Vec<Vec<StagedFile>> = jobs
            .into_par_iter()
            .map(|(mut writer, batch)| {
                writer.write(&batch)?;
                writer.finish()
            })
            .collect::<Result<_, _>>()?;
        Ok(files.into_iter().flatten().collect())
    }

    fn writers(&self, partition: Ordinal) -> Vec<PartFiles<'_>> {
        let partition = self.partitioner.directory(partition);
        self.formats
            .iter()
            .map(|&format| PartFiles {
                parts: self,
                partition: partition.clone(),
                format,
                writer: None,
                files: Vec::new(),
            })
            .collect()
    }
}

/// The files of one partition in one format.
struct PartFiles<'a> {
    parts: &'a Parts<'a>,
    partition: String,
    format: FormatPlan,
    writer: Option<Box<dyn BatchWriter>>,
    files: Vec<StagedFile>,
}

impl PartFiles<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
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
            let path = format!("{staging}/{number}.{}.staged", extension(self.format));
            open(self.format, store.create(&path)?, context)?
        };
        Ok(self.writer.insert(writer))
    }

    fn close(&mut self) -> Result<(), WriteError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let mut file = writer.finish()?;
        let Self { parts, partition, format, files, .. } = self;
        file.path = format!(
            "{}/{}/{partition}/part-{}.{}",
            format.directory(),
            parts.dataset,
            files.len(),
            extension(*format)
        );
        file.partition.clone_from(partition);
        files.push(file);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<StagedFile>, WriteError> {
        self.close()?;
        Ok(self.files)
    }
}
