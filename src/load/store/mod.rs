//! The destination's files: the only place of the crate that creates, renames or removes any.
//!
//! ```text
//! "parquet/p/s/date=2024-07-25/part-0.parquet"  ->  <destination>/parquet/p/s/…
//! "../elsewhere"                                ->  refused
//! ```
//!
//! Paths are text, relative to the destination, with `/` between their segments, as an object
//! store has them.

mod local;
mod outside;
mod staging;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use self::local::Local;
use super::WriteError;

pub use self::outside::{NewFile, check_file, replace_file};
#[cfg(test)]
pub(super) use self::tests::Fuse;
pub(super) use self::{
    outside::Scratch,
    staging::{StagingFile, TemporaryFile},
};

/// Where a destination's files are.
#[derive(Debug, Clone)]
pub(super) struct Store {
    local: Local,
    /// Lets a test end a run after any number of changes.
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

/// One name in a directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// The last segment of its path.
    pub(super) name: String,
    /// Whether it is a directory.
    pub(super) kind: EntryKind,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A directory, not a link to one.
    Directory,
    /// Anything else.
    File,
}

impl Store {
    /// Opens a directory, which is created where it is missing. It may be a link to one.
    pub(super) fn open(path: &Path) -> Result<Self, WriteError> {
        Local::open(path).map(Self::new)
    }

    /// Opens a directory to look at it, or gives `None` where there is none.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, WriteError> {
        Ok(Local::existing(path)?.map(Self::new))
    }

    fn new(local: Local) -> Self {
        Self {
            #[cfg(test)]
            fuse: local.fuse.clone(),
            local,
        }
    }

    /// Where `path` is on the host. Refuses what would lead out of the destination, be it by its
    /// text or by a link in the destination.
    pub(super) fn absolute(&self, path: &str) -> Result<PathBuf, WriteError> {
        self.local.absolute(path)
    }

    /// Creates a file to be staged, and the directories above it.
    pub(super) fn create(&self, path: &str) -> Result<StagingFile, WriteError> {
        self.local.create(path)
    }

    /// Opens a file to go on behind its first `length` bytes; what follows them is cut off.
    pub(super) fn append(&self, path: &str, length: u64) -> Result<StagingFile, WriteError> {
        self.local.append(path, length)
    }

    /// Creates a file without a name in the directory `path`; it is gone when it is closed.
    pub(super) fn temporary(&self, path: &str) -> Result<TemporaryFile, WriteError> {
        self.local.temporary(path)
    }

    /// Writes a small file whole: it has its old content or its new one, also after a crash.
    pub(super) fn replace(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        self.local.replace(path, content)
    }

    /// The content of a file, or `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, WriteError> {
        self.local.read(path)
    }

    /// A file, to be read.
    pub(super) fn open_file(&self, path: &str) -> Result<(File, PathBuf), WriteError> {
        self.local.open_file(path)
    }

    /// The size of a file, or `None` if there is none.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, WriteError> {
        self.local.size(path)
    }

    /// What a directory has, by name; nothing if it does not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, WriteError> {
        self.local.list(path)
    }

    /// Makes the content of a file, or the names in a directory, survive a loss of power.
    pub(super) fn sync(&self, path: &str) -> Result<(), WriteError> {
        self.local.sync(path)
    }

    /// Makes the names on the way to `path` survive a loss of power.
    pub(super) fn sync_parents(&self, path: &str) -> Result<(), WriteError> {
        self.local.sync_parents(path)
    }

    /// Makes the names in the destination itself survive a loss of power.
    pub(super) fn sync_root(&self) -> Result<(), WriteError> {
        self.local.sync_root()
    }

    /// Moves a file to another name, replacing what is there. Directories above are created.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), WriteError> {
        self.local.rename(from, to)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<(), WriteError> {
        self.local.remove(path)
    }

    /// Removes a directory, if it is there and empty.
    pub(super) fn remove_if_empty(&self, path: &str) -> Result<(), WriteError> {
        self.local.remove_if_empty(path)
    }

    /// Removes a directory and all that is in it, if it is there.
    pub(super) fn remove_all(&self, path: &str) -> Result<(), WriteError> {
        self.local.remove_all(path)
    }

    /// Takes the lock that the file `path` stands for, and leaves `holder` in it. Where another
    /// process has it, gives what that one left.
    pub(super) fn lock(
        &self,
        path: &str,
        holder: &str,
    ) -> Result<Result<File, String>, WriteError> {
        self.local.lock(path, holder)
    }

    /// Who has the lock that the file `path` stands for, without taking it: a lock that can be
    /// shared is nobody's, and is let go of at once.
    pub(super) fn holder(&self, path: &str) -> Result<Option<String>, WriteError> {
        self.local.holder(path)
    }
}

/// Names the attempt and the path of an I/O error.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { action, path, source }
}

/// A missing file as `None`.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}
