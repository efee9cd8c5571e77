//! Sorted rows in temporary files without a name.
//!
//! ```text
//! header, bytes | header, bytes | …      a row after the other, in order
//! 07-25: 0..4711 | 07-26: 4711..9000     where each partition's are, so that it is read by itself
//! ```

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use super::{
    WriteError,
    partition::Ordinal,
    sort::{Head, Row},
    store::{Store, io_error},
};

/// The read buffer of a run.
const READ_BYTES: usize = 1 << 16;

/// Lengths in a buffer: an Arrow array of text is below 2 GiB, so a row of them is below 4 GiB
/// unless a record is larger than any response may be.
pub(super) fn word(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A sorted run in a temporary file.
#[derive(Debug)]
pub(super) struct Run {
    directory: PathBuf,
    file: File,
    /// By partition.
    pub(super) extents: Vec<Extent>,
    pub(super) rows: u64,
    /// How often its rows were merged.
    pub(super) level: u32,
}

impl Run {
    /// Where it has the rows of a partition.
    pub(super) fn extent(&self, partition: Ordinal) -> Option<&Extent> {
        let at = self.extents.binary_search_by_key(&partition, |it| it.partition).ok()?;
        self.extents.get(at)
    }

    /// All bytes of an extent, and where its rows are in them.
    pub(super) fn read(
        &self,
        extent: &Extent,
    ) -> Result<(Vec<u8>, impl Iterator<Item = Place> + use<>), WriteError> {
        let len = usize::try_from(extent.end - extent.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let read = self.file.read_exact_at(&mut bytes, extent.start);
        read.map_err(io_error("read a temporary file in", &self.directory))?;
        let mut places = Vec::with_capacity(usize::try_from(extent.rows).unwrap_or_default());
        let mut at = 0;
        while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let Header { len, key_len, .. } = Header::read(header);
            let start = at + HEADER;
            at = start + len;
            places.push(Place { start, len, key_len });
        }
        if at != bytes.len() || places.len() as u64 != extent.rows {
            let broken = io::Error::new(io::ErrorKind::InvalidData, "its rows are not as written");
            return Err(io_error("read a temporary file in", &self.directory)(broken));
        }
        Ok((bytes, places.into_iter()))
    }
}

/// Where a row is in the bytes of an extent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) key_len: usize,
}

/// Bytes of a row's header.
const HEADER: usize = 16;

/// What stands before a row.
struct Header {
    partition: Ordinal,
    len: usize,
    key_len: usize,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Self {
        let [p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, l2, l3, k0, k1, k2, k3] = *bytes;
        Self {
            partition: Ordinal(u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
            len: u32::from_le_bytes([l0, l1, l2, l3]) as usize,
            key_len: u32::from_le_bytes([k0, k1, k2, k3]) as usize,
        }
    }
}

/// Where a run has the rows of a partition.
#[derive(Debug)]
pub(super) struct Extent {
    pub(super) partition: Ordinal,
    /// Its first byte.
    pub(super) start: u64,
    /// After its last byte.
    pub(super) end: u64,
    pub(super) rows: u64,
}

/// Writes a run.
pub(super) struct RunWriter {
    directory: PathBuf,
    writer: BufWriter<File>,
    extents: Vec<Extent>,
    bytes: u64,
    rows: u64,
}

impl RunWriter {
    pub(super) fn new(store: &Store, directory: &str) -> Result<Self, WriteError> {
        let temporary = store.temporary(directory)?;
        let writer = BufWriter::with_capacity(1 << 18, temporary.file);
        Ok(Self { directory: temporary.directory, writer, extents: Vec::new(), bytes: 0, rows: 0 })
    }

    pub(super) fn write(&mut self, row: Row<'_>) -> Result<(), WriteError> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&row.partition.0.to_le_bytes());
        header[8..12].copy_from_slice(&word(row.bytes.len()).to_le_bytes());
        header[12..].copy_from_slice(&word(row.key_len).to_le_bytes());
        self.rows += 1;
        let start = self.bytes;
        self.bytes += (header.len() + row.bytes.len()) as u64;
        match self.extents.last_mut() {
            Some(extent) if extent.partition == row.partition => {
                extent.end = self.bytes;
                extent.rows += 1;
            }
            Some(_) | None => {
                let (partition, end) = (row.partition, self.bytes);
                self.extents.push(Extent { partition, start, end, rows: 1 });
            }
        }
        self.writer
            .write_all(&header)
            .and_then(|()| self.writer.write_all(row.bytes))
            .map_err(io_error("write a temporary file in", &self.directory))
    }

    pub(super) fn finish(self, level: u32) -> Result<Run, WriteError> {
        let Self { directory, writer, extents, bytes: _, rows } = self;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .map_err(io_error("write a temporary file in", &directory))?;
        Ok(Run { directory, file, extents, rows, level })
    }
}

/// Reads a run, or the part of it that is one partition's.
#[derive(Debug)]
pub(super) struct RunReader<'a> {
    directory: &'a PathBuf,
    reader: BufReader<Part<'a>>,
    left: u64,
}

/// A part of a file that others read, too.
#[derive(Debug)]
struct Part<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<'a> RunReader<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let end = run.extents.last().map_or(0, |it| it.end);
        Self::part(run, 0, end, run.rows)
    }

    pub(super) fn part(run: &'a Run, start: u64, end: u64, rows: u64) -> Self {
        let bytes = usize::try_from(end - start).unwrap_or(READ_BYTES).min(READ_BYTES);
        let part = Part { file: &run.file, at: start };
        let reader = BufReader::with_capacity(bytes, part);
        Self { directory: &run.directory, reader, left: rows }
    }

    /// Reads the next row into `head`, or says that there is none.
    pub(super) fn read(&mut self, head: &mut Head) -> Result<bool, WriteError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let mut read = || {
            let mut bytes = [0; HEADER];
            self.reader.read_exact(&mut bytes)?;
            let header = Header::read(&bytes);
            head.partition = header.partition;
            head.key_len = header.key_len;
            head.bytes.resize(header.len, 0);
            self.reader.read_exact(&mut head.bytes)
        };
        read().map_err(io_error("read a temporary file in", self.directory))?;
        Ok(true)
    }
}
