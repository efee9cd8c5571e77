//! Files that belong to no destination: a report beside it, rows for stdout's place, scratch space.
#![expect(clippy::disallowed_methods, reason = "the store is what others go through")]

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use super::{Store, found, io_error};
use crate::load::WriteError;

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

/// A directory of the host's own for what does not fit in memory; it goes when this is dropped.
#[derive(Debug)]
pub(in crate::load) struct Scratch {
    store: Store,
    _directory: tempfile::TempDir,
}

impl Scratch {
    /// Creates the directory where the host wants such things.
    pub(in crate::load) fn new() -> Result<Self, WriteError> {
        let path = std::env::temp_dir();
        let directory = tempfile::tempdir_in(&path)
            .map_err(io_error("create a temporary directory in", &path))?;
        Ok(Self { store: Store::open(directory.path())?, _directory: directory })
    }

    /// The directory as a store.
    pub(in crate::load) fn store(&self) -> &Store {
        &self.store
    }
}
