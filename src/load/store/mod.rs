//! The destination's files: the only place of the crate that creates, renames or removes any.
//!
//! ```text
//! "parquet/p/s/date=2024-07-25/part-0.parquet"  ->  <destination>/parquet/p/s/…
//! "../elsewhere"                                ->  refused
//! ```
//!
//! Paths are text, relative to the destination, with `/` between their segments, as an object
//! store has them. What a destination promises is the same in a directory and in a bucket, and one suite of
//! tests asks both for it.

mod answer;
mod connect;
mod lease;
mod local;
mod log;
#[cfg(test)]
pub(super) mod memory;
mod object;
mod outside;
mod pulse;
mod refusal;
mod sending;
mod staging;
mod stored;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::prelude::*;

use self::{lease::Keeper, local::Local, object::Object};
use super::WriteError;
use crate::plan::{DestinationPath, LeasePlan};

pub use self::outside::{NewFile, check_file, replace_file};
#[cfg(test)]
pub(super) use self::tests::Fuse;
pub(super) use self::{
    outside::Scratch,
    refusal::{Refusal, RefusalKind},
    staging::{StagingFile, TemporaryFile},
    stored::{At, StoredFile},
};

/// Where a destination's files are.
#[derive(Debug, Clone)]
pub(super) struct Store {
    place: Place,
    /// Lets a test end a run after any number of changes.
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

#[derive(Debug, Clone)]
enum Place {
    Local(Local),
    Object(Arc<Object>),
}

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(super) enum Guard {
    /// Of the system.
    File(#[expect(dead_code, reason = "held, not looked at")] File),
    /// Of an object store.
    Lease(#[expect(dead_code, reason = "held, not looked at")] Keeper),
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
        Local::open(path).map(|it| Self::new(Place::Local(it)))
    }

    /// Opens a directory to look at it, or gives `None` where there is none.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, WriteError> {
        Ok(Local::existing(path)?.map(|it| Self::new(Place::Local(it))))
    }

    /// Opens a destination, which is created where it is missing.
    pub(super) fn of(path: &DestinationPath, lease: LeasePlan) -> Result<Self, WriteError> {
        match path {
            DestinationPath::Directory(path) => Self::open(path),
            DestinationPath::Bucket(url) => {
                Object::open(url, lease).map(|it| Self::new(Place::Object(Arc::new(it))))
            }
        }
    }

    /// Opens a destination to look at it, or gives `None` where there is nothing.
    pub(super) fn existing_of(path: &DestinationPath) -> Result<Option<Self>, WriteError> {
        match path {
            DestinationPath::Directory(path) => Self::existing(path),
            DestinationPath::Bucket(url) => {
                Ok(Object::existing(url)?.map(|it| Self::new(Place::Object(Arc::new(it)))))
            }
        }
    }

    fn new(place: Place) -> Self {
        Self {
            #[cfg(test)]
            fuse: match &place {
                Place::Local(local) => local.fuse.clone(),
                Place::Object(object) => object.fuse.clone(),
            },
            place,
        }
    }

    /// Where `path` is: on the host, or its URL. Refuses what would lead out of the destination, be
    /// it by its text or by a link in the destination.
    pub(super) fn absolute(&self, path: &str) -> Result<PathBuf, WriteError> {
        match &self.place {
            Place::Local(local) => local.absolute(path),
            Place::Object(object) => object.absolute(path),
        }
    }

    /// Creates a file to be staged, and the directories above it. An object is there once it is
    /// [finished](StagingFile::finish) and [synced](Self::sync).
    pub(super) fn create(&self, path: &str) -> Result<StagingFile, WriteError> {
        match &self.place {
            Place::Local(local) => local.create(path),
            Place::Object(object) => StagingFile::upload(object, path),
        }
    }

    /// Opens a log to go on behind its first `length` bytes; what follows them is cut off.
    pub(super) fn append_log(&self, path: &str, length: u64) -> Result<StagingFile, WriteError> {
        match &self.place {
            Place::Local(local) => local.append(path, length),
            Place::Object(object) => StagingFile::log(object, path, length),
        }
    }

    /// The bytes of a log, or `None` where there is none.
    pub(super) fn log_size(&self, path: &str) -> Result<Option<u64>, WriteError> {
        match &self.place {
            Place::Local(local) => local.size(path),
            Place::Object(object) => log::size(object, path),
        }
    }

    /// A log, to be read.
    pub(super) fn open_log(&self, path: &str) -> Result<(File, PathBuf), WriteError> {
        match &self.place {
            Place::Local(local) => local.open_file(path),
            Place::Object(object) => Ok((log::open(object, path)?, object.absolute(path)?)),
        }
    }

    /// Removes a log, if it is there.
    pub(super) fn remove_log(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.remove(path),
            Place::Object(object) => object.remove_log(path),
        }
    }

    /// Creates a file without a name in the directory `path`, or, where the destination has none,
    /// where the host wants such; it is gone when it is closed.
    pub(super) fn temporary(&self, path: &str) -> Result<TemporaryFile, WriteError> {
        match &self.place {
            Place::Local(local) => local.temporary(path),
            Place::Object(object) => object.temporary(),
        }
    }

    /// Writes a small file whole: it has its old content or its new one, also after a crash.
    pub(super) fn replace(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.replace(path, content),
            Place::Object(object) => object.replace(path, content),
        }
    }

    /// Writes a journal record whole. An error may come before or after it is there; where another run
    /// has taken the lease over, it is not there or is void.
    pub(super) fn commit(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.replace(path, content),
            Place::Object(object) => object.commit(path, content),
        }
    }

    /// The content of a file, or `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, WriteError> {
        match &self.place {
            Place::Local(local) => local.read(path),
            Place::Object(object) => object.read(path),
        }
    }

    /// A file, to be read from its start to its end.
    pub(super) fn open_file(&self, path: &str) -> Result<(File, PathBuf), WriteError> {
        match &self.place {
            Place::Local(local) => local.open_file(path),
            Place::Object(object) => {
                Ok((object.download(&[path.to_owned()])?, object.absolute(path)?))
            }
        }
    }

    /// A file, to be read at places.
    pub(super) fn open_stored(&self, path: &str) -> Result<(StoredFile, PathBuf), WriteError> {
        let absolute = self.absolute(path)?;
        let gone = || io_error("open", &absolute)(ErrorKind::NotFound.into());
        self.find_stored(path)?.ok_or_else(gone)
    }

    /// A file, to be read at places, or `None` if there is none.
    pub(super) fn find_stored(
        &self,
        path: &str,
    ) -> Result<Option<(StoredFile, PathBuf)>, WriteError> {
        match &self.place {
            Place::Local(local) => {
                let absolute = local.absolute(path)?;
                let opened = found(File::open(&absolute)).map_err(io_error("open", &absolute))?;
                let Some(file) = opened else { return Ok(None) };
                let size = file.metadata().map_err(io_error("look at", &absolute))?.len();
                Ok(Some((StoredFile::file(file, size), absolute)))
            }
            Place::Object(object) => {
                let absolute = object.absolute(path)?;
                let Some((size, tail)) = object.tail(path, stored::TAIL)? else { return Ok(None) };
                Ok(Some((StoredFile::object(object, path, size, tail), absolute)))
            }
        }
    }

    /// The size of a file, or `None` if there is none.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, WriteError> {
        match &self.place {
            Place::Local(local) => local.size(path),
            Place::Object(object) => object.size(path),
        }
    }

    /// Whether there is a directory of this name.
    pub(super) fn has_directory(&self, path: &str) -> Result<bool, WriteError> {
        match &self.place {
            Place::Local(local) => Ok(local.size(path)?.is_some()),
            Place::Object(object) => Ok(!object.list(path)?.is_empty()),
        }
    }

    /// What a directory has, by name; nothing if it does not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, WriteError> {
        match &self.place {
            Place::Local(local) => local.list(path),
            Place::Object(object) => object.list(path),
        }
    }

    /// All files below some directories with their sizes, where asking for each by itself would take
    /// long; a directory gives `None`.
    pub(super) fn sizes(
        &self,
        directories: &[&str],
    ) -> Result<Option<BTreeMap<String, u64>>, WriteError> {
        let Place::Object(object) = &self.place else { return Ok(None) };
        let mut sizes = BTreeMap::new();
        for directory in directories {
            let below = object.below(directory)?.into_iter();
            sizes.extend(below.map(|(name, size)| (format!("{directory}/{name}"), size)));
        }
        Ok(Some(sizes))
    }

    /// Does something for each, and ends at the first error. In a directory one comes after the other; in
    /// a bucket, where each waits for the network, there are many at a time.
    pub(super) fn for_each<T: Sync>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<(), WriteError> + Sync,
    ) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(_) => items.iter().try_for_each(work),
            Place::Object(object) => each(object.width, items, &work),
        }
    }

    /// Does something for each, several at a time everywhere, and ends at the first error.
    pub(super) fn for_all<T: Sync>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<(), WriteError> + Send + Sync,
    ) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(_) => items.par_iter().try_for_each(work),
            Place::Object(object) => each(object.width, items, &work),
        }
    }

    /// What comes of each, in their order, as [`for_all`](Self::for_all) does it.
    pub(super) fn map_all<T: Sync, U: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<U, WriteError> + Send + Sync,
    ) -> Result<Vec<U>, WriteError> {
        let done = Mutex::new(BTreeMap::new());
        let places: Vec<usize> = (0..items.len()).collect();
        self.for_all(&places, |&at| {
            let one = work(&items[at])?;
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(at, one);
            Ok(())
        })?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(done.into_values().collect())
    }

    /// Makes the content of a file survive a loss of power. An object that was
    /// [finished](StagingFile::finish) does, once it is there: waits for that.
    pub(super) fn sync(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.sync(path),
            Place::Object(object) => object.sync(path),
        }
    }

    /// Makes the names in a directory survive a loss of power, if it is there.
    pub(super) fn sync_directory(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) if local.size(path)?.is_some() => local.sync(path),
            Place::Local(_) | Place::Object(_) => Ok(()),
        }
    }

    /// Makes the names on the way to `path` survive a loss of power.
    pub(super) fn sync_parents(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.sync_parents(path),
            Place::Object(_) => Ok(()),
        }
    }

    /// Makes the names in the destination itself survive a loss of power.
    pub(super) fn sync_root(&self) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.sync_root(),
            Place::Object(_) => Ok(()),
        }
    }

    /// Moves a file to another name, replacing what is there. Directories above are created. On an
    /// object store both may be there for a moment.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.rename(from, to),
            Place::Object(object) => object.rename(from, to),
        }
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.remove(path),
            Place::Object(object) => object.remove(path),
        }
    }

    /// Removes a directory, if it is there and empty.
    pub(super) fn remove_if_empty(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.remove_if_empty(path),
            Place::Object(_) => Ok(()),
        }
    }

    /// Removes a directory and all that is in it, if it is there.
    pub(super) fn remove_all(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(local) => local.remove_all(path),
            Place::Object(object) => {
                each(object.width, &object.all_below(path)?, &|it| object.remove(it))
            }
        }
    }

    /// Takes the lock that the file `path` stands for, and leaves `holder` in it. Where another
    /// process has it, gives what that one left.
    pub(super) fn lock(
        &self,
        path: &str,
        holder: &str,
    ) -> Result<Result<Guard, String>, WriteError> {
        Ok(match &self.place {
            Place::Local(local) => local.lock(path, holder)?.map(Guard::File),
            Place::Object(object) => object.lock(path, holder)?.map(Guard::Lease),
        })
    }

    /// Who has the lock that the file `path` stands for, without taking it: a lock that can be
    /// shared is nobody's, and is let go of at once.
    pub(super) fn holder(&self, path: &str) -> Result<Option<String>, WriteError> {
        match &self.place {
            Place::Local(local) => local.holder(path),
            Place::Object(object) => object.holder(path),
        }
    }

    /// Whether a lock may be that of a process which is no more.
    pub(super) fn locks_outlive_processes(&self) -> bool {
        matches!(self.place, Place::Object(_))
    }

    /// The epoch before which commits are void, by the lock that the file `path` stands for; nothing where
    /// none ever is.
    pub(super) fn void_before(&self, path: &str) -> Result<Option<u64>, WriteError> {
        match &self.place {
            Place::Local(_) => Ok(None),
            Place::Object(object) => object.void_before(path),
        }
    }

    /// How often the lock was taken, where that is counted; commits carry it.
    pub(super) fn epoch(&self) -> Option<u64> {
        match &self.place {
            Place::Local(_) => None,
            Place::Object(object) => object.epoch(),
        }
    }

    /// Whether a commit of `epoch` arrived after a later run had looked for such.
    pub(super) fn is_void(&self, epoch: Option<u64>) -> bool {
        match &self.place {
            Place::Local(_) => false,
            Place::Object(object) => object.is_void(epoch),
        }
    }

    /// Commits of earlier epochs that arrive from now on are void.
    pub(super) fn recovered(&self, path: &str) -> Result<(), WriteError> {
        match &self.place {
            Place::Local(_) => Ok(()),
            Place::Object(object) => object.recovered(path),
        }
    }
}

/// Does something for each item on `width` threads.
fn each<T: Sync>(
    width: usize,
    items: &[T],
    work: &(impl Fn(&T) -> Result<(), WriteError> + Sync),
) -> Result<(), WriteError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let one = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(err) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..width.min(items.len()) {
            scope.spawn(one);
        }
        one();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
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
