//! A file that is being written.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{io_error, log::LogWriter, object::Object, upload::Upload};
use crate::load::WriteError;

/// A file that is being written, and how much of it there is.
#[derive(Debug)]
pub(in crate::load) struct StagingFile {
    path: String,
    absolute: PathBuf,
    sink: Sink,
    bytes: u64,
}

#[derive(Debug)]
enum Sink {
    File(BufWriter<File>),
    Upload(Box<Upload>),
    Log(Box<LogWriter>),
}

impl StagingFile {
    pub(super) fn new(path: &str, absolute: PathBuf, writer: BufWriter<File>, bytes: u64) -> Self {
        Self { path: path.to_owned(), absolute, sink: Sink::File(writer), bytes }
    }

    pub(super) fn upload(object: &Arc<Object>, path: &str) -> Result<Self, WriteError> {
        object.may_change("create", path)?;
        let sink = Sink::Upload(Box::new(Upload::new(object, path)?));
        Ok(Self { path: path.to_owned(), absolute: object.absolute(path)?, sink, bytes: 0 })
    }

    pub(super) fn log(object: &Arc<Object>, path: &str, length: u64) -> Result<Self, WriteError> {
        let sink = Sink::Log(Box::new(LogWriter::new(object, path, length)?));
        Ok(Self { path: path.to_owned(), absolute: object.absolute(path)?, sink, bytes: length })
    }

    /// Its path in the destination.
    pub(in crate::load) fn path(&self) -> &str {
        &self.path
    }

    /// Where it is on the host, or its URL.
    pub(in crate::load) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// The bytes written so far.
    pub(in crate::load) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An I/O error on this file.
    pub(in crate::load) fn error(&self) -> impl FnOnce(io::Error) -> WriteError {
        io_error("write", &self.absolute)
    }

    /// Hands all of it to the system; an object is there once it is [synced](super::Store::sync). Nothing
    /// may be written any more.
    pub(in crate::load) fn finish(&mut self) -> Result<(), WriteError> {
        match &mut self.sink {
            Sink::File(file) => file.flush().map_err(io_error("write", &self.absolute)),
            Sink::Upload(upload) => upload.finish(),
            Sink::Log(log) => log.flush(),
        }
    }
}

/// As the I/O error that it was.
fn as_io(err: WriteError) -> io::Error {
    match err {
        WriteError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

impl Write for StagingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::File(file) => file.write(bytes)?,
            Sink::Upload(upload) => upload.write(bytes)?,
            Sink::Log(log) => {
                log.write(bytes).map_err(as_io)?;
                bytes.len()
            }
        };
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::File(file) => file.flush(),
            // A part of an object is nowhere before the rest of it.
            Sink::Upload(_) => Ok(()),
            Sink::Log(log) => log.flush().map_err(as_io),
        }
    }
}

/// A file without a name.
#[derive(Debug)]
pub(in crate::load) struct TemporaryFile {
    /// For messages.
    pub(in crate::load) directory: PathBuf,
    /// The file.
    pub(in crate::load) file: File,
}
