//! A destination held by one run, and the writer of each of its streams.

use std::sync::{Arc, atomic::AtomicUsize};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use chrono::TimeDelta;

use super::{
    FileContext, ResumeHeader, Spooled, WriteError,
    commit::{self, StagedStream, Staging},
    lock::Lock,
    part::Parts,
    partition::{Partitioner, segment},
    quarantine::QuarantineWriter,
    split::{Splitter, positions},
    spool,
    store::Store,
};
use crate::plan::{DestinationPlan, Name, StreamPlan, arrow_schema};

/// What a stream's rows may take of memory before they are written to temporary files.
pub const DEFAULT_MEMORY_BYTES: usize = 48 << 20;

/// A destination, held by one run of one pipeline until the last of its writers is gone.
#[derive(Debug)]
pub struct Destination {
    held: Arc<Held>,
}

/// What the writers of a run share.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) store: Store,
    pub(super) plan: DestinationPlan,
    pub(super) pipeline: Name,
    /// As it was given.
    pub(super) run: String,
    _lock: Lock,
}

impl Held {
    /// The run's staging directory.
    pub(super) fn staging(&self) -> String {
        format!("{}/{}", commit::staging(&self.pipeline), run_segment(&self.run))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not empty where a commit failed half-way: the next run finishes it.
        let _ = self.store.remove_if_empty(&self.staging());
    }
}

/// The run's id as a path segment; a run called `..` is still only a run.
pub(super) fn run_segment(run: &str) -> String {
    format!("run-{}", segment(run))
}

impl Destination {
    /// Takes the pipeline's lock, finishes what an earlier run has committed but not published,
    /// and removes what it only staged.
    ///
    /// `run` identifies this run in manifests, journal records, quarantine files and to others
    /// that want the lock.
    pub fn open(plan: &DestinationPlan, pipeline: &Name, run: &str) -> Result<Self, WriteError> {
        let store = Store::open(&plan.path)?;
        let lock = Lock::take(&store, pipeline, run)?;
        commit::recover(&store, pipeline)?;
        Ok(Self {
            held: Arc::new(Held {
                store,
                plan: plan.clone(),
                pipeline: pipeline.clone(),
                run: run.to_owned(),
                _lock: lock,
            }),
        })
    }

    /// Starts to write a stream. Its rows take up to about `memory_bytes` while they come.
    pub fn stream(
        &self,
        stream: &StreamPlan,
        memory_bytes: usize,
    ) -> Result<StreamWriter, WriteError> {
        let held = Arc::clone(&self.held);
        let schema = arrow_schema(&stream.columns, stream.unknown_fields);
        let staging = Staging::new(&held, &stream.name);
        let splitter = Splitter::new(stream, &schema, &held.store, staging.path(), memory_bytes)?;
        Ok(StreamWriter { stream: stream.clone(), schema, splitter, staging, held })
    }

    /// Starts to keep the rejected records of a stream. No file is written until there is one.
    pub fn quarantine(&self, stream: &Name) -> QuarantineWriter {
        QuarantineWriter::new(&self.held, stream)
    }

    /// How many rows the stream's dataset has; `None` where nothing has been published.
    pub fn rows(&self, stream: &Name) -> Result<Option<u64>, WriteError> {
        commit::published_rows(&self.held.store, &self.held.pipeline, stream)
    }

    /// Keeps the run's report with the data, as `_tracklake/<pipeline>/runs/<run>.json`.
    pub fn keep_report(&self, json: &str) -> Result<(), WriteError> {
        let Held { store, pipeline, run, .. } = &*self.held;
        store.replace(&format!("_tracklake/{pipeline}/runs/{}.json", segment(run)), json.as_bytes())
    }

    /// Decides whether this run goes on from an earlier one that has not published: then it gets
    /// that run's header, otherwise its own.
    pub fn begin(
        &self,
        header: ResumeHeader,
        max_age: TimeDelta,
    ) -> Result<ResumeHeader, WriteError> {
        spool::begin(&self.held, header, max_age)
    }

    /// The finished slices that an earlier run has left of a stream.
    pub fn spooled(&self, stream: &StreamPlan) -> Result<Spooled, WriteError> {
        let schema = arrow_schema(&stream.columns, stream.unknown_fields);
        Spooled::open(&self.held, &stream.name, schema)
    }

    /// Forgets the finished slices of a stream, because they are published.
    pub fn forget(&self, stream: &Name) -> Result<(), WriteError> {
        spool::forget(&self.held, stream)
    }

    /// Forgets all finished slices, because the run has ended.
    pub fn forget_all(&self) -> Result<(), WriteError> {
        spool::forget_all(&self.held)
    }

    /// Lets go of the destination, once its writers are gone too.
    pub fn close(self) {}

    /// Lets a test end the run after any number of changes.
    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.held.store
    }
}

/// Takes the batches of a stream, in any order.
///
/// - Nothing of it is visible before [`StagedStream::publish`].
/// - Dropped at any time before that, it leaves nothing.
#[derive(Debug)]
pub struct StreamWriter {
    stream: StreamPlan,
    schema: SchemaRef,
    splitter: Splitter,
    // Its files are removed after the splitter has closed them.
    staging: Staging,
    held: Arc<Held>,
}

impl StreamWriter {
    /// The schema that batches must have.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes a batch. Batches of no rows are allowed.
    #[expect(clippy::needless_pass_by_value, reason = "its memory is free when this returns")]
    pub fn write(&mut self, batch: RecordBatch) -> Result<(), WriteError> {
        self.splitter.write(&batch)
    }

    /// Sorts, encodes and stages all rows. Works on the current rayon pool.
    pub fn finish(self) -> Result<StagedStream, WriteError> {
        let Self { stream, schema, splitter, staging, held } = self;
        let mut rows = splitter.finish()?;
        let parts = Parts {
            store: &held.store,
            staging: staging.path(),
            dataset: format!("{}/{}", held.pipeline, stream.name),
            formats: &held.plan.formats,
            target_bytes: held.plan.target_file_bytes,
            context: FileContext {
                key: positions(&stream, &schema, stream.key())?,
                schema: Arc::clone(&schema),
                metadata: vec![
                    ("tracklake.pipeline", held.pipeline.to_string()),
                    ("tracklake.stream", stream.name.to_string()),
                    ("tracklake.zone", stream.partition.zone.to_string()),
                ],
            },
            partitioner: Partitioner::new(stream.partition.clone()),
            staged: AtomicUsize::new(0),
        };
        let files = parts.stage(&mut rows)?;
        let counts = rows.counts();
        Ok(StagedStream::new(held, staging, &stream, schema, counts, files))
    }
}
