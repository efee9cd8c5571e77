//! Records of commits: what they are, and doing what they promise, again where a run was killed over it.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    WriteError,
    manifest::{self, Manifest},
    store::{Entry, EntryKind, Refusal, RefusalKind, Store},
};
use crate::plan::Name;

/// A commit: what has to be done, so that it can be done again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) version: u32,
    /// How often the pipeline's lease had been taken; nothing in a directory, whose lock cannot be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u64>,
    /// Removed before anything comes: a reader may miss a row for a moment, and never has it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files_out_first: Vec<String>,
    pub(super) files_in: Vec<FileIn>,
    pub(super) files_out: Vec<String>,
    pub(super) manifest: Manifest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIn {
    pub(super) staged: String,
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Whether a later one takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_replaced: bool,
    /// Files of one turn may come in any order, but for those of the same partition.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) turn: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(turn: &u64) -> bool {
    *turn == 0
}

/// The epoch of a record, as far as it can be understood; nothing in a directory.
pub(super) fn epoch(record: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        epoch: Option<u64>,
    }
    serde_json::from_slice::<Head>(record).ok()?.epoch
}

/// Writes a commit's record: from then on it is there, or may be. One of an earlier run that arrived after this
/// one had looked for such is void, and gives way.
pub(super) fn commit(store: &Store, path: &str, content: &[u8]) -> Result<(), WriteError> {
    let committed = store.commit(path, content);
    let is_taken = matches!(&committed, Err(WriteError::Io { source, .. })
        if Refusal::kind_of(source) == Some(RefusalKind::Condition));
    if !is_taken {
        return committed;
    }
    let found = store.read(path)?.and_then(|it| epoch(&it));
    match (found, store.epoch()) {
        (Some(found), Some(own)) if found < own => {
            warn!("a commit of an earlier run came too late: it is void");
            store.remove(path)?;
            store.commit(path, content)
        }
        _ => committed,
    }
}

/// Finishes what earlier runs of the pipeline have committed, then removes what they only staged.
/// May itself be ended at any point.
pub(super) fn recover(store: &Store, pipeline: &Name) -> Result<(), WriteError> {
    let directory = format!("_tracklake/{pipeline}/journal");
    let mut records = Vec::new();
    let mut uncommitted = Vec::new();
    for entry in store.list(&directory)? {
        let path = format!("{directory}/{}", entry.name);
        if path.strip_suffix(".json").is_none() {
            uncommitted.push(path);
        } else if let Some(record) = manifest::read::<Record>(store, &path)? {
            if store.is_void(record.epoch) {
                // Its files are gone, and its run was told that it failed.
                warn!("the commit of run {} came too late: it is void", record.manifest.run);
                uncommitted.push(path);
            } else {
                records.push((path, record));
            }
        }
    }
    for (path, record) in &records {
        apply(store, pipeline, path, record)?;
    }
    store.recovered(&directory)?;
    for path in &uncommitted {
        store.remove(path)?;
    }
    // A report that was being written when its run was killed; no other run writes that name.
    let runs = format!("_tracklake/{pipeline}/runs");
    for entry in store.list(&runs)?.iter().filter(|it| it.name.ends_with(".json.new")) {
        store.remove(&format!("{runs}/{}", entry.name))?;
    }
    store.remove_all(&staging(pipeline))
}

/// The staging directory of all runs of a pipeline.
pub(super) fn staging(pipeline: &Name) -> String {
    format!("_tracklake/{pipeline}/staging")
}

/// Where the record of a stream's commit is, until it is applied.
pub(super) fn path(pipeline: &Name, stream: &Name) -> String {
    format!("_tracklake/{pipeline}/journal/{stream}.json")
}

/// Does what a record promises. Every step may have been done before.
pub(super) fn apply(
    store: &Store,
    pipeline: &Name,
    path: &str,
    record: &Record,
) -> Result<(), WriteError> {
    // All of it must be possible before any of it is done.
    let staged = record.files_in.iter().map(|it| it.staged.as_str());
    let mut sizes = store.sizes(&directories(staged.chain(record.paths())))?;
    let mut to_move = Vec::new();
    for file in &record.files_in {
        let is_it = |path: &str| match &sizes {
            Some(sizes) => Ok(sizes.get(path) == Some(&file.bytes)),
            None => store.size(path).map(|it| it == Some(file.bytes)),
        };
        if is_it(&file.staged)? {
            to_move.push(file);
        } else if !file.is_replaced && !is_it(&file.path)? {
            return Err(WriteError::Lost {
                record: store.absolute(path)?,
                path: file.path.clone(),
                staged: file.staged.clone(),
            });
        }
    }
    if let Some(sizes) = &mut sizes {
        // By the time that others take their places, they are there.
        let replaced = record.files_in.iter().filter(|it| it.is_replaced);
        sizes.extend(replaced.map(|it| (it.path.clone(), it.bytes)));
    }
    let files_out = || record.files_out_first.iter().chain(&record.files_out);
    for out in files_out() {
        store.absolute(out)?;
    }

    store.for_each(&record.files_out_first, |out| store.remove(out))?;
    for turn in to_move.chunk_by(|a, b| a.turn == b.turn) {
        let of_partition = |a: &&FileIn, b: &&FileIn| parent(&a.path) == parent(&b.path);
        let partitions: Vec<&[&FileIn]> = turn.chunk_by(of_partition).collect();
        store.for_each(&partitions, |files| {
            for file in *files {
                if let Some((directory, _)) = file.path.rsplit_once("/part-0.") {
                    // The parts of a partition divide its rows anew. Its first part comes first, so
                    // that none of the others is new yet.
                    for other in others(store, sizes.as_ref(), directory, &file.path)? {
                        store.remove(&other)?;
                    }
                }
                store.rename(&file.staged, &file.path)?;
            }
            Ok(())
        })?;
    }
    store.for_each(&record.files_out, |out| store.remove(out))?;
    let emptied: BTreeSet<&str> =
        files_out().filter_map(|it| it.rsplit_once('/')).map(|it| it.0).collect();
    for directory in &emptied {
        store.remove_if_empty(directory)?;
    }
    sync_directories(store, record)?;

    let manifest_path = manifest::path(pipeline, &record.manifest.stream);
    let content = manifest::json(&store.absolute(&manifest_path)?, &record.manifest)?;
    store.replace(&manifest_path, &content)?;
    store.remove(path)?;
    store.sync_parents(path)
}

impl Record {
    /// Where its files go or went.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let files_out = self.files_out_first.iter().chain(&self.files_out);
        self.files_in.iter().map(|it| it.path.as_str()).chain(files_out.map(String::as_str))
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|it| it.0)
}

/// The directories that have all of the files, and no more of others than the partitions' trees and
/// the staging directories have.
fn directories<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let top = |path: &'a str| match parent(path) {
        // All partitions of a tree at once.
        Some(directory) if directory.rsplit('/').next()?.contains('=') => parent(directory),
        directory => directory,
    };
    paths.filter_map(top).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The parts of a partition that `path` is not.
fn others(
    store: &Store,
    sizes: Option<&BTreeMap<String, u64>>,
    directory: &str,
    path: &str,
) -> Result<Vec<String>, WriteError> {
    let start = format!("{directory}/part-");
    let mut parts = match sizes {
        None => parts(store, directory)?,
        Some(sizes) => {
            let below = sizes.range(start.clone()..).map(|it| it.0.clone());
            below.take_while(|it| it.starts_with(&start)).collect()
        }
    };
    parts.retain(|it| it != path);
    Ok(parts)
}

/// Makes the moves and removals survive a loss of power.
fn sync_directories(store: &Store, record: &Record) -> Result<(), WriteError> {
    let mut directories = BTreeSet::new();
    let files_in = record.files_in.iter().map(|it| it.path.as_str());
    let files_out = record.files_out_first.iter().chain(&record.files_out);
    for path in files_in.chain(files_out.map(String::as_str)) {
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/')
            && directories.insert(parent)
        {
            rest = parent;
        }
    }
    let directories: Vec<&str> = directories.into_iter().collect();
    // One that was empty is gone.
    directories.par_iter().try_for_each(|directory| store.sync_directory(directory))?;
    store.sync_root()
}

/// The files of a partition.
pub(super) fn parts(store: &Store, partition: &str) -> Result<Vec<String>, WriteError> {
    let files = store.list(partition)?.into_iter();
    let is_part = |it: &Entry| it.kind == EntryKind::File && it.name.starts_with("part-");
    Ok(files.filter(is_part).map(|it| format!("{partition}/{}", it.name)).collect())
}
