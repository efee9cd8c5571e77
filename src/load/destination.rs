//! A destination held by one run, and the writer of each of its streams.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicUsize},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    FileContext, Inspection, PartitionChange, ReadScopes, ResumeHeader, Rewrite, Spooled,
    StagedFile, Unapplied, WriteError,
    commit::{Outcome, StagedStream, Staging, refuse_unknown},
    compact::{as_it_stands, scattered},
    journal,
    lock::Lock,
    manifest::{self, Manifest},
    merge::{Counts, Rule},
    part::Parts,
    partition::{Ordinal, Partitioner, segment},
    quarantine::{QuarantineWriter, Requarantine},
    rows::Layout,
    scope::Predicate,
    split::{Dataset, Splitter},
    spool,
    store::Store,
    update::{Manner, Order, Room, Update, Updated},
    watch::{KeyWatch, MOST_WATCHED},
};
use crate::plan::{
    Deletes, DestinationPlan, FormatPlan, Name, StreamPlan, arrow_schema, dataset_schema,
};

/// What a destination is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To publish.
    #[default]
    Publish,
    /// To find out what would be published: what an unfinished run has read is not touched.
    Rehearse,
}

/// What becomes of files that look like a stream's and of which no manifest tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFiles {
    /// Nothing is written: they may be all that there is of rows that the source no longer has.
    Refused,
    /// They go with the commit: whoever asked for it reads everything anew.
    Replaced,
}

/// What a stream's rows may take of memory before they are written to temporary files.
pub const DEFAULT_MEMORY_BYTES: usize = 48 << 20;

/// A destination, held by one run of one pipeline until the last of its writers is gone.
#[derive(Debug)]
pub struct Destination {
    held: Arc<Held>,
    finished: Vec<Unapplied>,
}

/// What the writers of a run share.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) store: Store,
    pub(super) plan: DestinationPlan,
    pub(super) pipeline: Name,
    /// As it was given.
    pub(super) run: String,
    /// The run's clock.
    now: DateTime<Utc>,
    purpose: Purpose,
    _lock: Lock,
}

impl Held {
    /// The run's staging directory.
    pub(super) fn staging(&self) -> String {
        format!("{}/{}", journal::staging(&self.pipeline), run_segment(&self.run))
    }

    /// Where finished slices are kept.
    pub(super) fn slices(&self) -> String {
        match self.purpose {
            Purpose::Publish => spool::directory(&self.pipeline),
            // Goes with the rest of the staging directory.
            Purpose::Rehearse => format!("{}/resume", self.staging()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.purpose == Purpose::Rehearse {
            // What cannot be removed now is removed by the next run.
            let _ = self.store.remove_all(&self.slices());
        }
        // Not empty where a commit failed half-way: the next run finishes it.
        let _ = self.store.remove_if_empty(&self.staging());
        let _ = self.store.remove_if_empty(&journal::staging(&self.pipeline));
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
    /// that want the lock. `now` is what rows are marked with that the source no longer has.
    pub fn open(
        plan: &DestinationPlan,
        pipeline: &Name,
        run: &str,
        now: DateTime<Utc>,
        purpose: Purpose,
    ) -> Result<Self, WriteError> {
        let store = Store::of(&plan.path, plan.lease)?;
        let lock = Lock::take(&store, pipeline, run)?;
        let finished = Inspection::of(&store, pipeline).unapplied()?;
        journal::recover(&store, pipeline)?;
        Ok(Self {
            finished,
            held: Arc::new(Held {
                store,
                plan: plan.clone(),
                pipeline: pipeline.clone(),
                run: run.to_owned(),
                now,
                purpose,
                _lock: lock,
            }),
        })
    }

    /// The commits of earlier runs that were finished when it was opened, whatever for: what readers see
    /// has changed with them.
    pub fn finished(&self) -> &[Unapplied] {
        &self.finished
    }

    /// Whether the stream's rows can go to where its dataset stands, if there is one: columns
    /// keep their names and types, partitions and formats stay. A column that is new is fine.
    ///
    /// Gives how many files, in one format, the commit would remove or replace of which no manifest tells.
    pub fn check(&self, stream: &StreamPlan, unknown: UnknownFiles) -> Result<usize, WriteError> {
        let Held { store, plan, pipeline, .. } = &*self.held;
        if self.standing(stream)?.is_some() {
            return Ok(0);
        }
        match refuse_unknown(store, pipeline, &stream.name, &plan.directories()) {
            Err(WriteError::Unknown { files, .. }) if unknown == UnknownFiles::Replaced => {
                Ok(files)
            }
            checked => checked.map(|()| 0),
        }
    }

    /// The stream, partitioned as it stands.
    pub(super) fn as_it_stands(&self, stream: &StreamPlan) -> Result<StreamPlan, WriteError> {
        as_it_stands(&self.held.store, &self.held.pipeline, stream)
    }

    /// What stands, which the stream's plan can go on with.
    pub(super) fn standing(&self, stream: &StreamPlan) -> Result<Option<Manifest>, WriteError> {
        let Held { store, plan, pipeline, .. } = &*self.held;
        Manifest::checked(store, plan, pipeline, stream)
    }

    /// Starts to write a stream. Its rows take up to about `memory_bytes` while they come.
    ///
    /// Refuses what [`check`](Self::check) does.
    pub fn stream(
        &self,
        stream: &StreamPlan,
        memory_bytes: usize,
    ) -> Result<StreamWriter, WriteError> {
        let standing = self.standing(stream)?;
        let held = Arc::clone(&self.held);
        let schema = dataset_schema(stream);
        let staging = Staging::new(&held, &stream.name);
        let dataset = match &standing {
            Some(manifest) if manifest.rows > 0 => Dataset::Stands,
            Some(_) | None => Dataset::Empty,
        };
        let layout = Layout::new(stream, &schema, held.now)?;
        let splitter =
            Splitter::new(stream, layout, &held.store, staging.path(), memory_bytes, dataset)?;
        let stream = stream.clone();
        let rule = Rule::from(&stream.write);
        let watch = Arc::new(KeyWatch::new(&stream, &schema, MOST_WATCHED)?);
        Ok(StreamWriter {
            stream,
            rule,
            schema,
            standing,
            splitter,
            watch,
            memory_bytes,
            staging,
            held,
        })
    }

    /// The size at which a file is followed by another.
    pub(super) fn target_file_bytes(&self) -> u64 {
        self.held.plan.target_file_bytes
    }

    /// Starts to keep the rejected records of a stream. No file is written until there is one.
    pub fn quarantine(&self, stream: &Name) -> QuarantineWriter {
        QuarantineWriter::new(&self.held, stream)
    }

    /// Starts to decide anew about the rejected records of a stream.
    pub fn requarantine(&self, stream: &Name) -> Requarantine {
        Requarantine::new(&self.held, stream)
    }

    /// The destination, to be looked at.
    pub fn inspection(&self) -> Inspection {
        Inspection::of(&self.held.store, &self.held.pipeline)
    }

    /// How many rows the stream's dataset has that are not marked as gone; `None` where nothing has
    /// been published.
    pub fn living_rows(&self, stream: &Name) -> Result<Option<u64>, WriteError> {
        Ok(Manifest::read(&self.held.store, &self.held.pipeline, stream)?.map(|it| it.living()))
    }

    /// The state that was published with the stream's dataset last, if there is one.
    pub fn state(&self, stream: &Name) -> Result<Option<serde_json::Value>, WriteError> {
        let manifest = Manifest::read(&self.held.store, &self.held.pipeline, stream)?;
        Ok(manifest.map(|it| it.state).filter(|it| !it.is_null()))
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

    /// What the writers share, for tests of what they use.
    #[cfg(test)]
    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }

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
    /// How rows meet those that stand.
    rule: Rule,
    schema: SchemaRef,
    /// The dataset as it was when the writer was made; the lock keeps it so.
    standing: Option<Manifest>,
    splitter: Splitter,
    watch: Arc<KeyWatch>,
    memory_bytes: usize,
    // Its files are removed after the splitter has closed them.
    staging: Staging,
    held: Arc<Held>,
}

impl StreamWriter {
    /// The writer of rows that were left out before: they replace only rows that are known to be
    /// older, and are outdated where nothing says which of the two is.
    #[must_use]
    pub fn late(self) -> Self {
        Self { rule: self.rule.late(), ..self }
    }

    /// The keys to say of which whether their rows came, once the writer has finished.
    pub fn watch(&self) -> Arc<KeyWatch> {
        Arc::clone(&self.watch)
    }

    /// Takes a batch. Batches of no rows are allowed.
    #[expect(clippy::needless_pass_by_value, reason = "its memory is free when this returns")]
    pub fn write(&mut self, batch: RecordBatch) -> Result<(), WriteError> {
        self.splitter.write(&batch)
    }

    /// Merges the rows into those that stand, and encodes and stages the partitions that change.
    /// Works on the current rayon pool.
    ///
    /// Rows in `scopes` become exactly what was read, in every write mode; elsewhere the stream's
    /// write mode says how a row meets the one that has its key.
    pub fn finish(self, scopes: &ReadScopes, rewrite: Rewrite) -> Result<StagedStream, WriteError> {
        let Self { stream, rule, schema, standing, splitter, watch, memory_bytes, staging, held } =
            self;
        let predicate = Predicate::new(scopes, &stream.name, &schema)?;
        let delta = splitter.finish()?;
        watch.see(&delta.sorted, &delta.layout)?;
        let mut trees = manifest::trees(&held.plan, &held.pipeline, &stream.name);
        if let (Rewrite::Scattered, Some(standing)) = (rewrite, &standing) {
            standing.retain_formats(&mut trees);
        }
        let order = standing.as_ref().map_or(Order::Same, |it| it.order(&stream, &schema));
        let has_new_format = standing.as_ref().is_some_and(|it| it.has_new_format(&trees));
        let is_rewritten = order == Order::Other || has_new_format;
        let rewrite = if is_rewritten { Rewrite::All } else { rewrite };
        let manner = Manner { rule, is_bound: delta.index.is_none(), order };
        let room = Room { store: &held.store, directory: staging.path(), budget: memory_bytes };
        let partitioner = Partitioner::new(stream.partition.clone());
        let read = delta.read;
        let files = standing.as_ref().map(Manifest::standing).unwrap_or_default();
        let also = match (rewrite, &standing) {
            (Rewrite::Changed, _) | (_, None) => BTreeSet::new(),
            (Rewrite::Scattered, Some(it)) => scattered(&it.files, held.plan.target_file_bytes),
            (Rewrite::All, Some(_)) => files.iter().map(|it| it.partition).collect(),
        };
        let update = Update::prepare(room, manner, delta, files, &predicate)?;
        let parts = Parts {
            store: &held.store,
            staging: staging.path(),
            trees: &trees,
            target_bytes: held.plan.target_file_bytes,
            context: FileContext {
                key: update.layout().key().to_vec(),
                schema: Arc::clone(&schema),
                metadata: vec![
                    ("tracklake.pipeline", held.pipeline.to_string()),
                    ("tracklake.stream", stream.name.to_string()),
                    ("tracklake.zone", stream.partition.zone.to_string()),
                ],
            },
            partitioner: &partitioner,
            staged: AtomicUsize::new(0),
        };
        let Updated { counts, by_partition, stood, mut changed, turns, kept_rows, mut files } =
            update.stage(&parts, &also)?;
        let told = changes(&by_partition, &partitioner);

        let truth = trees.iter().find(|it| it.format == FormatPlan::Parquet);
        let is_truth =
            |path: &str| truth.is_some_and(|it| path.starts_with(&format!("{}/", it.path)));
        let stays = |it: &&StagedFile| !it.is_replaced && is_truth(&it.path);
        let staged: u64 = files.iter().filter(stays).map(|it| it.rows).sum();
        let rows = kept_rows + staged;
        let lived = standing.as_ref().map(Manifest::living).unwrap_or_default();
        let living = match stream.deletes {
            Deletes::Remove => rows,
            Deletes::Mark => (lived + counts.added + counts.revived).saturating_sub(counts.removed),
        };
        let mut kept = Vec::new();
        if let Some(standing) = standing {
            let is_as_planned = standing.columns == manifest::columns(&schema)
                && standing.partition == manifest::ManifestPartition::new(&stream);
            let empty_stays = rows == 0 && rewrite != Rewrite::All && is_as_planned;
            kept = standing.files;
            let formats = manifest::formats(&trees);
            kept.retain(|it| {
                formats.contains_key(&it.format)
                    && match it.rows {
                        0 => empty_stays,
                        _ => !changed.contains(&it.ordinal()),
                    }
            });
        }
        if rows == 0 && kept.is_empty() {
            files = parts.stage_empty()?;
            changed.insert(Ordinal::NULL);
        }
        let turn = |it: &StagedFile| {
            let partition = Ordinal::of_number(it.number);
            if it.is_replaced { turns.first(partition) } else { turns.whole(partition) }
        };
        for file in &mut files {
            file.turn = turn(file) as u64;
        }
        files.sort_by(|a, b| (a.turn, &a.path).cmp(&(b.turn, &b.path)));
        let changed = changed.into_iter().map(|it| partitioner.directory(it)).collect();
        let outcome =
            Outcome { counts, changes: told, read, stood, rows, living, changed, kept, files };
        Ok(StagedStream::new(held, staging, &stream, schema, &trees, outcome))
    }
}

/// Partitions whose changes are told one by one.
const TOLD: usize = 400;

/// What became of the rows of the last partitions.
fn changes(of: &BTreeMap<Ordinal, Counts>, partitioner: &Partitioner) -> Vec<PartitionChange> {
    let last = of.iter().skip(of.len().saturating_sub(TOLD));
    let change = |(partition, counts): (&Ordinal, &Counts)| {
        let &Counts { added, updated, removed, redated, .. } = counts;
        let partition = partitioner.directory(*partition);
        PartitionChange { partition, added, updated, removed, redated }
    };
    last.map(change).collect()
}
