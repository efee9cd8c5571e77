//! Partitions whose files are far from the target size are written anew, with the rows that they have.
//!
//! ```text
//! target 256 MB    part-0 20 MB, part-1 20 MB, part-2 3 MB   ->   part-0 43 MB
//! target 256 MB    part-0 2 GB                               ->   part-0 256 MB, part-1 256 MB, …
//! ```
//!
//! A run writes a partition as a whole, so that this is only left of another target size. It is a
//! commit like any other, in which no row is added, changed or removed: the state stays, and so does
//! the run that the dataset is of.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Destination, Inspection, ReadScopes, Rewrite, WriteError,
    manifest::{self, Manifest, ManifestFile},
    partition::Ordinal,
    store::Store,
};
use crate::plan::{DestinationPlan, Name, StreamPlan};

/// What a batch may add to a file that has almost reached its size.
const OVER_BYTES: u64 = 4 << 20;

/// The files of the partitions of a stream that are written anew, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compaction {
    /// The directories of the partitions.
    pub partitions: Vec<String>,
    /// Their files of all formats.
    pub files: u64,
    /// The bytes of these.
    pub bytes: u64,
}

impl Compaction {
    fn of<'a>(files: impl Iterator<Item = &'a ManifestFile>) -> Self {
        let mut found = Self::default();
        let mut partitions = BTreeSet::new();
        for file in files.filter(|it| it.is_visible()) {
            partitions.insert(file.partition.clone());
            found.files += 1;
            found.bytes += file.bytes;
        }
        found.partitions = partitions.into_iter().collect();
        found
    }

    fn scattered(manifest: &Manifest, target_bytes: u64) -> Self {
        let scattered = scattered(&manifest.files, target_bytes);
        Self::of(manifest.files.iter().filter(|it| scattered.contains(&it.ordinal())))
    }
}

impl Inspection {
    /// What [`Destination::compact`] would write anew; `None` where nothing was published.
    pub fn scattered(
        &self,
        stream: &StreamPlan,
        plan: &DestinationPlan,
    ) -> Result<Option<Compaction>, WriteError> {
        let stream = as_it_stands(&self.store, &self.pipeline, stream)?;
        let manifest = Manifest::checked(&self.store, plan, &self.pipeline, &stream)?;
        Ok(manifest.map(|it| Compaction::scattered(&it, plan.target_file_bytes)))
    }
}

impl Destination {
    /// Writes the partitions anew whose files are far from the target size. Gives what they were
    /// and what they are; `None` where nothing was published.
    ///
    /// Works on the current rayon pool. Refuses what [`check`](Self::check) does.
    pub fn compact(
        &self,
        stream: &StreamPlan,
        memory_bytes: usize,
    ) -> Result<Option<(Compaction, Compaction)>, WriteError> {
        let stream = &self.as_it_stands(stream)?;
        let Some(manifest) = self.standing(stream)? else { return Ok(None) };
        let before = Compaction::scattered(&manifest, self.target_file_bytes());
        if before.partitions.is_empty() {
            return Ok(Some((before.clone(), before)));
        }
        let staged = self
            .stream(stream, memory_bytes)?
            .finish(&ReadScopes::Nothing, Rewrite::Scattered)?
            .rewritten_from(&manifest)?;
        let written = staged.changed.clone();
        let after =
            Compaction::of(staged.dataset().iter().filter(|it| written.contains(&it.partition)));
        staged.publish(&manifest.state)?;
        Ok(Some((before, after)))
    }
}

/// A stream whose rows stay in their partitions, whichever zone these are of: it may not be known, since the source
/// is not asked.
pub(super) fn as_it_stands(
    store: &Store,
    pipeline: &Name,
    stream: &StreamPlan,
) -> Result<StreamPlan, WriteError> {
    let mut stream = stream.clone();
    let standing = Manifest::read(store, pipeline, &stream.name)?;
    if let Some(partition) = standing.and_then(|it| it.partition.plan()) {
        stream.partition.zone = partition.zone;
    }
    Ok(stream)
}

/// The partitions of which some format has more files than it needs, or one that is too large.
///
/// A file ends with the batch that brings it to the target size by an estimate, so neither a little less
/// nor a little more means anything: what was written anew must not be written anew again.
pub(super) fn scattered(files: &[ManifestFile], target_bytes: u64) -> BTreeSet<Ordinal> {
    let mut trees: BTreeMap<(&str, Ordinal), Vec<u64>> = BTreeMap::new();
    for file in files.iter().filter(|it| it.rows > 0) {
        let tree = manifest::tree_name(&file.path);
        trees.entry((tree, file.ordinal())).or_default().push(file.bytes);
    }
    let is_scattered = |sizes: &[u64]| {
        let needed = sizes.iter().sum::<u64>().div_ceil((target_bytes / 4 * 3).max(1));
        sizes.len() as u64 > needed.max(1)
            || sizes.iter().any(|it| *it > target_bytes.saturating_mul(2) + OVER_BYTES)
    };
    let scattered = trees.into_iter().filter(|(_, sizes)| is_scattered(sizes));
    scattered.map(|((_, partition), _)| partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::StagedFile;

    const MB: u64 = 1 << 20;

    fn file(tree: &str, day: i64, part: usize, bytes: u64) -> ManifestFile {
        ManifestFile::new(&StagedFile {
            staged: String::new(),
            path: format!("{tree}/p/s/date={day}/part-{part}.{tree}"),
            partition: format!("date={day}"),
            number: Some(day),
            format: crate::plan::FormatPlan::Parquet,
            rows: 1,
            bytes,
            is_replaced: false,
            turn: 0,
        })
    }

    #[test]
    fn a_partition_is_scattered_where_fewer_files_or_more_of_them_would_be_nearer_to_the_target() {
        for (sizes, expected) in [
            (vec![300 * MB], false),
            (vec![MB], false),
            (vec![1; 2], true),
            (vec![100 * MB, 3 * MB], true),
            // Written with a target of 256 MB, whatever the estimate was.
            (vec![250 * MB, 3 * MB], false),
            (vec![256 * MB, 257 * MB, 1], false),
            (vec![100 * MB; 40], true),
            (vec![510 * MB], false),
            (vec![517 * MB], true),
            (vec![256 * MB, 2000 * MB], true),
        ] {
            let files: Vec<_> =
                (0..).zip(&sizes).map(|(part, bytes)| file("csv", 3, part, *bytes)).collect();

            let found = scattered(&files, 256 * MB);

            assert_eq!(!found.is_empty(), expected, "{sizes:?}");
        }
    }

    #[test]
    fn each_partition_and_format_is_looked_at_by_itself() {
        let files =
            [("parquet", 1, 0), ("parquet", 2, 0), ("csv", 1, 0), ("csv", 2, 0), ("csv", 2, 1)]
                .map(|(tree, day, part)| file(tree, day, part, MB));

        assert_eq!(scattered(&files, 256 * MB), BTreeSet::from([Ordinal::of_number(Some(2))]));
        assert_eq!(scattered(&files[..4], 256 * MB), BTreeSet::new());
    }
}
