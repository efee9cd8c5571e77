//! A file that is being written.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::io_error;
use crate::load::WriteError;

/// A file that is being written, and how much of it there is.
#[derive(Debug)]
pub(in crate::load) struct StagingFile {
    path: String,
    absolute: PathBuf,
    writer: BufWriter<File>,
    bytes: u64,
}

impl StagingFile {
    pub(super) fn new(path: &str, absolute: PathBuf, writer: BufWriter<File>, bytes: u64) -> Self {
        Self { path: path.to_owned(), absolute, writer, bytes }
    }

    /// Its path in the destination.
    pub(in crate::load) fn path(&self) -> &str {
        &self.path
    }

    /// Where it is on the host.
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
pub(in crate::load) struct TemporaryFile {
    /// For messages.
    pub(in crate::load) directory: PathBuf,
    /// The file.
    pub(in crate::load) file: File,
}
