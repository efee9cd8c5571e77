//! A destination that is a directory.
//!
//! Nothing is ever truncated in place: a file is new, or replaces another by a rename.
#![expect(clippy::disallowed_methods, reason = "the store is what others go through")]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

#[cfg(test)]
use super::Fuse;
use super::{Entry, EntryKind, StagingFile, TemporaryFile, found, io_error};
use crate::load::WriteError;

/// A local directory, and nothing outside of it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    root: PathBuf,
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

impl Local {
    /// Opens a directory, which is created where it is missing. It may be a link to one.
    pub(super) fn open(path: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(path).map_err(io_error("create directory", path))?;
        let root = fs::canonicalize(path).map_err(io_error("open directory", path))?;
        Ok(Self {
            root,
            #[cfg(test)]
            fuse: Fuse::default(),
        })
    }

    /// Opens a directory to look at it, or gives `None` where there is none.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, WriteError> {
        let opened = found(fs::canonicalize(path)).map_err(io_error("open directory", path))?;
        Ok(opened.map(|root| Self {
            root,
            #[cfg(test)]
            fuse: Fuse::default(),
        }))
    }

    /// Where `path` is on the host. Refuses what would lead out of the destination, be it by its
    /// text or by a link in the destination.
    pub(super) fn absolute(&self, path: &str) -> Result<PathBuf, WriteError> {
        let outside = || WriteError::Outside { path: path.to_owned(), root: self.root.clone() };
        let mut absolute = self.root.clone();
        for segment in path.split('/') {
            let is_name = !matches!(segment, "" | "." | "..")
                && !segment.contains(['\\', '\0'])
                && Path::new(segment).components().count() == 1;
            if !is_name {
                return Err(outside());
            }
            absolute.push(segment);
            let is_link = fs::symlink_metadata(&absolute).is_ok_and(|it| it.is_symlink());
            if is_link && !fs::canonicalize(&absolute).is_ok_and(|it| it.starts_with(&self.root)) {
                return Err(outside());
            }
        }
        Ok(absolute)
    }

    /// Creates a file to be staged, and the directories above it.
    pub(super) fn create(&self, path: &str) -> Result<StagingFile, WriteError> {
        let absolute = self.absolute(path)?;
        self.create_parents(&absolute)?;
        self.change(&absolute)?;
        let file = File::create_new(&absolute).map_err(io_error("create", &absolute))?;
        let writer = BufWriter::with_capacity(1 << 16, file);
        Ok(StagingFile::new(path, absolute, writer, 0))
    }

    /// Opens a file to go on behind its first `length` bytes; what follows them is cut off.
    pub(super) fn append(&self, path: &str, length: u64) -> Result<StagingFile, WriteError> {
        let absolute = self.absolute(path)?;
        self.create_parents(&absolute)?;
        self.change(&absolute)?;
        let open = || {
            let mut file =
                File::options().write(true).create(true).truncate(false).open(&absolute)?;
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(io_error("open", &absolute))?;
        let writer = BufWriter::with_capacity(1 << 16, file);
        Ok(StagingFile::new(path, absolute, writer, length))
    }

    /// Creates a file without a name in the directory `path`; it is gone when it is closed.
    pub(super) fn temporary(&self, path: &str) -> Result<TemporaryFile, WriteError> {
        let directory = self.absolute(path)?;
        fs::create_dir_all(&directory).map_err(io_error("create directory", &directory))?;
        let file = tempfile::tempfile_in(&directory)
            .map_err(io_error("create a temporary file in", &directory))?;
        Ok(TemporaryFile { directory, file })
    }

    /// Writes a small file whole: it has its old content or its new one, also after a crash.
    pub(super) fn replace(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        let temporary = format!("{path}.new");
        let absolute = self.absolute(&temporary)?;
        self.create_parents(&absolute)?;
        self.change(&absolute)?;
        // What a crash left behind has no reader, so here it may be truncated.
        if let Err(source) = fs::write(&absolute, content) {
            // Half a file is of use to nobody, least of all on a full disk.
            let _ = fs::remove_file(&absolute);
            return Err(io_error("write", &absolute)(source));
        }
        self.sync(&temporary)?;
        self.rename(&temporary, path)?;
        self.sync_parents(path)
    }

    /// The content of a file, or `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, WriteError> {
        let absolute = self.absolute(path)?;
        found(fs::read(&absolute)).map_err(io_error("read", &absolute))
    }

    /// A file, to be read.
    pub(super) fn open_file(&self, path: &str) -> Result<(File, PathBuf), WriteError> {
        let absolute = self.absolute(path)?;
        let file = File::open(&absolute).map_err(io_error("open", &absolute))?;
        Ok((file, absolute))
    }

    /// The size of a file, or `None` if there is none.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, WriteError> {
        let absolute = self.absolute(path)?;
        let found = found(fs::metadata(&absolute)).map_err(io_error("look at", &absolute))?;
        Ok(found.map(|it| it.len()))
    }

    /// What a directory has, by name; nothing if it does not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, WriteError> {
        let absolute = self.absolute(path)?;
        let list = || -> io::Result<Vec<Entry>> {
            let Some(entries) = found(fs::read_dir(&absolute))? else { return Ok(Vec::new()) };
            let mut list = Vec::new();
            for entry in entries {
                let entry = entry?;
                let kind = if entry.file_type()?.is_dir() {
                    EntryKind::Directory
                } else {
                    EntryKind::File
                };
                // A name that is no text is not ours.
                if let Ok(name) = entry.file_name().into_string() {
                    list.push(Entry { name, kind });
                }
            }
            list.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(list)
        };
        list().map_err(io_error("list", &absolute))
    }

    /// Makes the content of a file, or the names in a directory, survive a loss of power.
    pub(super) fn sync(&self, path: &str) -> Result<(), WriteError> {
        self.sync_absolute(&self.absolute(path)?)
    }

    /// Makes the names on the way to `path` survive a loss of power.
    pub(super) fn sync_parents(&self, path: &str) -> Result<(), WriteError> {
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            self.sync(parent)?;
            rest = parent;
        }
        self.sync_root()
    }

    /// Makes the names in the destination itself survive a loss of power.
    pub(super) fn sync_root(&self) -> Result<(), WriteError> {
        self.sync_absolute(&self.root)
    }

    /// Moves a file to another name, replacing what is there. Directories above are created.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), WriteError> {
        let (from, to) = (self.absolute(from)?, self.absolute(to)?);
        self.create_parents(&to)?;
        self.change(&to)?;
        fs::rename(&from, &to).map_err(io_error("move a file to", &to))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<(), WriteError> {
        let absolute = self.absolute(path)?;
        self.change(&absolute)?;
        found(fs::remove_file(&absolute)).map_err(io_error("remove", &absolute))?;
        Ok(())
    }

    /// Removes a directory, if it is there and empty.
    pub(super) fn remove_if_empty(&self, path: &str) -> Result<(), WriteError> {
        let absolute = self.absolute(path)?;
        self.change(&absolute)?;
        match fs::remove_dir(&absolute) {
            Err(err) if err.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            other => {
                found(other).map_err(io_error("remove directory", &absolute))?;
                Ok(())
            }
        }
    }

    /// Removes a directory and all that is in it, if it is there.
    pub(super) fn remove_all(&self, path: &str) -> Result<(), WriteError> {
        let absolute = self.absolute(path)?;
        self.change(&absolute)?;
        found(fs::remove_dir_all(&absolute)).map_err(io_error("remove directory", &absolute))?;
        Ok(())
    }

    /// Takes the lock that the file `path` stands for, and leaves `holder` in it. Where another
    /// process has it, gives what that one left.
    pub(super) fn lock(
        &self,
        path: &str,
        holder: &str,
    ) -> Result<Result<File, String>, WriteError> {
        let absolute = self.absolute(path)?;
        self.create_parents(&absolute)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&absolute).map_err(io_error("open", &absolute))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut other = String::new();
                file.read_to_string(&mut other).map_err(io_error("read", &absolute))?;
                return Ok(Err(other));
            }
            Err(TryLockError::Error(source)) => {
                return Err(io_error("lock", &absolute)(source));
            }
        }
        file.set_len(0)
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(io_error("write", &absolute))?;
        Ok(Ok(file))
    }

    /// Who has the lock that the file `path` stands for, without taking it: a lock that can be
    /// shared is nobody's, and is let go of at once.
    pub(super) fn holder(&self, path: &str) -> Result<Option<String>, WriteError> {
        let absolute = self.absolute(path)?;
        let opened = found(File::open(&absolute)).map_err(io_error("open", &absolute))?;
        let Some(mut file) = opened else { return Ok(None) };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io_error("read", &absolute))?;
                // A run that has just taken it has not signed yet.
                Ok(Some(if holder.is_empty() { "another run".to_owned() } else { holder }))
            }
            Err(TryLockError::Error(source)) => Err(io_error("lock", &absolute)(source)),
        }
    }

    fn create_parents(&self, absolute: &Path) -> Result<(), WriteError> {
        let Some(parent) = absolute.parent() else { return Ok(()) };
        if parent.is_dir() {
            return Ok(());
        }
        self.change(parent)?;
        fs::create_dir_all(parent).map_err(io_error("create directory", parent))
    }

    fn sync_absolute(&self, absolute: &Path) -> Result<(), WriteError> {
        self.change(absolute)?;
        File::open(absolute)
            .and_then(|file| file.sync_all())
            .map_err(io_error("write to disk", absolute))
    }

    /// Stands before every change.
    #[cfg(test)]
    fn change(&self, path: &Path) -> Result<(), WriteError> {
        self.fuse.burn(path)
    }

    /// Stands before every change, where a test would stop.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as in tests")]
    fn change(&self, _: &Path) -> Result<(), WriteError> {
        Ok(())
    }
}
