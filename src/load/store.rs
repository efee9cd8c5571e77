//! The destination's files: the only file of the crate that creates, renames or removes any.
//!
//! ```text
//! "parquet/p/s/date=2024-07-25/part-0.parquet"  ->  <destination>/parquet/p/s/…
//! "../elsewhere"                                ->  refused
//! ```
//!
//! Paths are text, relative to the destination, with `/` between their segments, as an object
//! store has them. Nothing is ever truncated in place: a file is new, or replaces another by a
//! rename.
#![expect(clippy::disallowed_methods, reason = "everyone else goes through here")]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::WriteError;

/// A local directory, and nothing outside of it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
    /// Lets a test end a run after any number of changes.
    #[cfg(test)]
    pub(super) fuse: tests::Fuse,
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

/// Writes a small file beside the datasets whole, in a directory that is there: a reader finds its old content or
/// its new one. Until then it has `.new` at its end.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    let (store, name) = beside(path)?;
    store.replace(&name, content)
}

/// Finds out whether [`replace_file`] may write there, before there is something to write.
pub fn check_file(path: &Path) -> Result<(), WriteError> {
    beside(path).map(|_| ())
}

/// The directory of a file, and its name there.
fn beside(path: &Path) -> Result<(Store, String), WriteError> {
    let path = &followed(path).map_err(io_error("write", path))?;
    let refused = |kind| io_error("write", path)(io::Error::from(kind));
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let store = Store::existing(parent)?;
    let store =
        store.ok_or_else(|| io_error("open directory", parent)(io::ErrorKind::NotFound.into()))?;
    let name = path.file_name().and_then(|it| it.to_str());
    let name = name.ok_or_else(|| refused(io::ErrorKind::InvalidFilename))?;
    match fs::metadata(store.absolute(name)?) {
        Ok(it) if it.is_dir() => Err(refused(io::ErrorKind::IsADirectory)),
        Ok(it) if !it.is_file() => {
            let other = io::Error::other("it is no regular file, which another could replace");
            Err(io_error("write", path)(other))
        }
        _ => Ok((store, name.to_owned())),
    }
}

/// Where a name leads through links, to what is there or may be created.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match (found(fs::canonicalize(path))?, fs::read_link(path)) {
        (Some(target), _) => Ok(target),
        (None, Ok(next)) => followed(&path.parent().unwrap_or(Path::new("")).join(next)),
        (None, Err(_)) => Ok(path.to_owned()),
    }
}

impl Store {
    /// Opens a directory, which is created where it is missing. It may be a link to one.
    pub(super) fn open(path: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(path).map_err(io_error("create directory", path))?;
        let root = fs::canonicalize(path).map_err(io_error("open directory", path))?;
        Ok(Self {
            root,
            #[cfg(test)]
            fuse: tests::Fuse::default(),
        })
    }

    /// Opens a directory to look at it, or gives `None` where there is none.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, WriteError> {
        let opened = found(fs::canonicalize(path)).map_err(io_error("open directory", path))?;
        Ok(opened.map(|root| Self {
            root,
            #[cfg(test)]
            fuse: tests::Fuse::default(),
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
        Ok(StagingFile { path: path.to_owned(), absolute, writer, bytes: 0 })
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
        Ok(StagingFile { path: path.to_owned(), absolute, writer, bytes: length })
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
        fs::write(&absolute, content).map_err(io_error("write", &absolute))?;
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

/// A file that is being written, and how much of it there is.
#[derive(Debug)]
pub(super) struct StagingFile {
    path: String,
    absolute: PathBuf,
    writer: BufWriter<File>,
    bytes: u64,
}

impl StagingFile {
    /// Its path in the destination.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where it is on the host.
    pub(super) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// The bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An I/O error on this file.
    pub(super) fn error(&self) -> impl FnOnce(io::Error) -> WriteError {
        io_error("write", &self.absolute)
    }
}

impl Write for StagingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A file without a name.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    /// For messages.
    pub(super) directory: PathBuf,
    /// The file.
    pub(super) file: File,
}

/// A directory of the host's own for what does not fit in memory; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    store: Store,
    _directory: tempfile::TempDir,
}

impl Scratch {
    /// Creates the directory where the host wants such things.
    pub(super) fn new() -> Result<Self, WriteError> {
        let path = std::env::temp_dir();
        let directory = tempfile::tempdir_in(&path)
            .map_err(io_error("create a temporary directory in", &path))?;
        Ok(Self { store: Store::open(directory.path())?, _directory: directory })
    }

    /// The directory as a store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

/// A file outside of any destination, which is not there under its name before it is complete; or a pipe
/// or a device, which takes what it is given at once.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    /// The name that a file has until then, in the same directory.
    temporary: Option<PathBuf>,
    file: File,
}

impl NewFile {
    /// Starts the file beside its place, which is behind any links; `id` tells it from others of the same
    /// name. Waits for the reader of a pipe.
    pub fn create(path: &Path, id: &str) -> Result<Self, WriteError> {
        let target = followed(path).map_err(io_error("create", path))?;
        match fs::metadata(path) {
            Ok(it) if it.is_dir() => {
                let taken = io::Error::new(ErrorKind::IsADirectory, "it is a directory");
                return Err(io_error("create", path)(taken));
            }
            Ok(it) if !it.is_file() => {
                let file = File::options().write(true).open(path);
                let file = file.map_err(io_error("open", path))?;
                return Ok(Self { path: path.to_owned(), temporary: None, file });
            }
            _ => {}
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{id}.new"));
        let file = File::create_new(&temporary).map_err(io_error("create", path))?;
        Ok(Self { path: target, temporary: Some(temporary), file })
    }

    /// Whether somebody reads along, so that nothing can be taken back.
    pub fn is_read_along(&self) -> bool {
        self.temporary.is_none()
    }

    /// Gives the file its name, in the place of what has it now.
    pub fn publish(self) -> Result<(), WriteError> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.file.sync_all().map_err(io_error("write to disk", &self.path))?;
        fs::rename(temporary, &self.path).map_err(io_error("move a file to", &self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After it got its name there is none of the other name.
        let _ = self.temporary.as_ref().map(fs::remove_file);
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use super::*;

    /// Blows after a number of changes; from then on nothing changes, as after a kill.
    #[derive(Debug, Clone)]
    pub(in crate::load) struct Fuse(Arc<AtomicI64>);

    impl Default for Fuse {
        fn default() -> Self {
            Self(Arc::new(AtomicI64::new(i64::MAX)))
        }
    }

    impl Fuse {
        pub(in crate::load) fn set(&self, changes: i64) {
            self.0.store(changes, Ordering::SeqCst);
        }

        pub(in crate::load) fn left(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }

        pub(super) fn burn(&self, path: &Path) -> Result<(), WriteError> {
            if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
                return Ok(());
            }
            self.set(0);
            Err(io_error("survive at", path)(io::Error::other("the fuse blew")))
        }
    }

    #[test]
    fn no_path_leads_out_of_the_destination() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();

        for path in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/.", r"a\..\b", "a\0"] {
            let err = store.absolute(path).unwrap_err();
            assert!(matches!(err, WriteError::Outside { .. }), "{path}: {err}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_destination_may_not_lead_out_of_it_but_the_destination_may_be_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("real/out")).unwrap();
        std::os::unix::fs::symlink("inner", dir.path().join("real/in")).unwrap();

        let store = Store::open(&dir.path().join("link")).unwrap();

        assert!(matches!(store.create("out/a"), Err(WriteError::Outside { .. })));
        assert!(store.create("in/a").is_ok());
        assert!(dir.path().join("real/inner/a").exists());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();

        store.replace("a/b.json", b"old").unwrap();
        store.replace("a/b.json", b"new").unwrap();

        assert_eq!(store.read("a/b.json").unwrap().unwrap(), b"new");
        assert_eq!(store.list("a").unwrap().len(), 1);
        assert_eq!(store.read("a/c.json").unwrap(), None);
    }
}
