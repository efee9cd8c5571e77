//! A file of the destination that is read at places, as a Parquet reader does.
//!
//! ```text
//! a directory     the file itself
//! a bucket        its last 64 KiB by one request: the footer, mostly
//!                 the rest whole, once it is asked for, into a file of the host's own
//! ```
//!
//! A reader goes from page to page with small reads. Each as a request of its own would take longer than the
//! whole file.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};

use super::object::Object;

/// Bytes at the end that are fetched first.
pub(super) const TAIL: u64 = 64 << 10;

/// A file that is read at places. Copies are the same file.
#[derive(Debug, Clone)]
pub(in crate::load) struct StoredFile(Source);

#[derive(Debug, Clone)]
enum Source {
    File(Arc<File>, u64),
    Object(Arc<Remote>),
}

#[derive(Debug)]
struct Remote {
    object: Arc<Object>,
    path: String,
    size: u64,
    tail: Bytes,
    whole: OnceLock<Arc<File>>,
}

/// Bytes from a place on.
#[derive(Debug)]
pub(in crate::load) enum Reading {
    File(At),
    Tail(io::Cursor<Bytes>),
}

/// A place in a file that others read, too.
#[derive(Debug)]
pub(in crate::load) struct At {
    file: Arc<File>,
    at: u64,
}

impl At {
    pub(in crate::load) fn new(file: Arc<File>, at: u64) -> Self {
        Self { file, at }
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(at) => at.read(buffer),
            Self::Tail(bytes) => bytes.read(buffer),
        }
    }
}

impl StoredFile {
    pub(super) fn file(file: File, size: u64) -> Self {
        Self(Source::File(Arc::new(file), size))
    }

    /// An object, whose last bytes are known.
    pub(super) fn object(object: &Arc<Object>, path: &str, size: u64, tail: Bytes) -> Self {
        let (object, path) = (Arc::clone(object), path.to_owned());
        let whole = OnceLock::new();
        Self(Source::Object(Arc::new(Remote { object, path, size, tail, whole })))
    }

    /// The bytes from a place on.
    fn from(&self, start: u64) -> io::Result<Reading> {
        let remote = match &self.0 {
            Source::File(file, _) => return Ok(Reading::File(At::new(Arc::clone(file), start))),
            Source::Object(remote) => remote,
        };
        let Some(at) = start.checked_sub(remote.size.saturating_sub(remote.tail.len() as u64))
        else {
            return Ok(Reading::File(At::new(remote.whole()?, start)));
        };
        let mut cursor = io::Cursor::new(remote.tail.clone());
        cursor.set_position(at);
        Ok(Reading::Tail(cursor))
    }

    /// All of it.
    pub(in crate::load) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        self.from(0)?.read_to_end(&mut all)?;
        Ok(all)
    }
}

impl Remote {
    fn whole(&self) -> io::Result<Arc<File>> {
        if let Some(file) = self.whole.get() {
            return Ok(Arc::clone(file));
        }
        let file = self.object.download(std::slice::from_ref(&self.path));
        let file = Arc::new(file.map_err(|err| match err {
            super::WriteError::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })?);
        // Another thread may have been quicker; both have the same bytes.
        Ok(Arc::clone(self.whole.get_or_init(|| file)))
    }
}

impl Length for StoredFile {
    fn len(&self) -> u64 {
        match &self.0 {
            Source::File(_, size) => *size,
            Source::Object(remote) => remote.size,
        }
    }
}

impl ChunkReader for StoredFile {
    type T = BufReader<Reading>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.from(start).map(BufReader::new).map_err(|err| ParquetError::External(Box::new(err)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        let read = self.from(start).and_then(|mut it| it.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(bytes.into()),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Err(ParquetError::EOF(
                format!("expected to read {length} bytes at {start}, the file ends before"),
            )),
            Err(err) => Err(ParquetError::External(Box::new(err))),
        }
    }
}
