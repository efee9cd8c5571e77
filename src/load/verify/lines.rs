//! The lines of a partition's CSV files against the rows of its Parquet files.
//!
//! ```text
//! part-0.csv   id,name\n            which columns the lines have
//!              41,"a, b"\n          the bytes that row 41 would be written as: the same, or a problem
//! ```
//!
//! Nothing of a file is kept: bytes are compared and counted as they come, so that a quote that is
//! never closed costs no memory. Lines are counted outside of quotes.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, new_null_array},
    datatypes::{DataType, Field, Schema},
};

use super::{Damage, FileProblem, problem, unreadable};
use crate::{
    load::{
        WriteError,
        csv::Lines,
        manifest::{Manifest, ManifestFile},
        store::Store,
    },
    plan::{CsvCompression, CsvPlan},
};

/// A header is never longer.
const HEADER_BYTES: u64 = 1 << 20;

/// The CSV files of a partition, compared from the first to the last.
pub(super) struct CsvFiles<'a> {
    store: &'a Store,
    manifest: &'a Manifest,
    /// From the last to the first.
    waiting: Vec<&'a ManifestFile>,
    current: Option<Current<'a>>,
    is_compared: bool,
    problems: Vec<FileProblem>,
}

struct Current<'a> {
    file: &'a ManifestFile,
    reader: Counted,
    absolute: PathBuf,
    columns: Vec<String>,
    /// Rows that are still to come.
    left: u64,
    /// Whether all lines so far are as expected.
    is_same: bool,
}

impl<'a> CsvFiles<'a> {
    pub(super) fn new(
        store: &'a Store,
        manifest: &'a Manifest,
        files: &[&'a ManifestFile],
    ) -> Self {
        let waiting = files.iter().rev().copied().collect();
        Self { store, manifest, waiting, current: None, is_compared: true, problems: Vec::new() }
    }

    /// From here on lines are counted, not compared.
    pub(super) fn count_only(&mut self) {
        self.is_compared = false;
    }

    /// Compares the next rows.
    pub(super) fn compare(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let mut from = 0;
        while self.is_compared && from < batch.num_rows() {
            let Some(mut current) = self.current.take().or_else(|| self.open()) else { break };
            let left = usize::try_from(current.left).unwrap_or(usize::MAX);
            let count = left.min(batch.num_rows() - from);
            if current.is_same {
                self.compare_rows(&mut current, batch, from, count)?;
            }
            current.left -= count as u64;
            from += count;
            if current.left == 0 {
                self.close(current);
            } else {
                self.current = Some(current);
            }
        }
        Ok(())
    }

    /// Reads what is left, and says what is wrong.
    pub(super) fn finish(mut self) -> Vec<FileProblem> {
        while let Some(current) = self.current.take().or_else(|| self.open()) {
            self.close(current);
        }
        self.problems
    }

    fn compare_rows(
        &mut self,
        current: &mut Current<'_>,
        batch: &RecordBatch,
        from: usize,
        count: usize,
    ) -> Result<(), WriteError> {
        let batch = project(batch, &current.columns)?;
        let manner = self.manifest.formats.get(&current.file.format);
        let plan = CsvPlan {
            compression: CsvCompression::None,
            escape_formulas: manner.is_some_and(|it| it.ends_with("formulas escaped")),
        };
        let lines = Lines::new(&batch, plan)?;
        let mut line = Vec::new();
        for row in from..from + count {
            line.clear();
            lines.push(&mut line, row);
            match current.reader.starts_with(&line) {
                Ok(true) => {}
                Ok(false) => {
                    let number = current.file.rows - current.left + (row - from) as u64 + 1;
                    let reason = format!("row {number} is not that of the Parquet file");
                    self.problems.push(problem(&current.file.path, Damage::Lines, reason));
                    current.is_same = false;
                    return Ok(());
                }
                Err(err) => {
                    let found = unreadable(&current.file.path, err, &current.absolute);
                    self.problems.push(found);
                    current.is_same = false;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Opens the next file that has a header.
    fn open(&mut self) -> Option<Current<'a>> {
        while let Some(file) = self.waiting.pop() {
            let (handle, absolute) = match self.store.open_file(&file.path) {
                Ok(opened) => opened,
                Err(err) => {
                    let reason = format!("it cannot be read: {}", super::chain(&err));
                    self.problems.push(problem(&file.path, Damage::Unreadable, reason));
                    continue;
                }
            };
            let opened = Counted::new(handle, &file.path).and_then(|mut reader| {
                let columns = reader.header()?;
                Ok((reader, columns))
            });
            let (reader, columns) = match opened {
                Ok(opened) => opened,
                Err(err) => {
                    self.problems.push(unreadable(&file.path, err, &absolute));
                    continue;
                }
            };
            let unknown = columns
                .iter()
                .find(|name| !self.manifest.columns.iter().any(|it| it.name == **name));
            if let Some(name) = unknown {
                let reason = format!("column `{name}` is not in the manifest");
                self.problems.push(problem(&file.path, Damage::Schema, reason));
            }
            let is_same = unknown.is_none();
            return Some(Current { file, reader, absolute, columns, left: file.rows, is_same });
        }
        None
    }

    /// Counts the lines of a file to its end.
    fn close(&mut self, current: Current<'a>) {
        let Current { file, mut reader, absolute, columns: _, left: _, is_same: _ } = current;
        match reader.count() {
            Ok(rows) if rows == file.rows => {}
            Ok(rows) => {
                let reason = format!("it has {rows} rows, {} were published", file.rows);
                self.problems.push(problem(&file.path, Damage::Rows, reason));
            }
            Err(err) => self.problems.push(unreadable(&file.path, err, &absolute)),
        }
    }
}

/// The columns of a batch that a file has, in its order. A column that was added later is null.
fn project(batch: &RecordBatch, columns: &[String]) -> Result<RecordBatch, WriteError> {
    let schema = batch.schema_ref();
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for name in columns {
        if let Some((at, field)) = schema.column_with_name(name) {
            fields.push(Arc::new(field.clone()));
            arrays.push(Arc::clone(batch.column(at)));
        } else {
            fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
            arrays.push(new_null_array(&DataType::Utf8, batch.num_rows()));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays).map_err(super::keys::sort_error)
}

/// A file whose lines are counted as they are read.
struct Counted {
    reader: BufReader<Box<dyn Read + Send>>,
    lines: u64,
    is_quoted: bool,
    /// Whether the last line has no end.
    is_open: bool,
}

impl Counted {
    fn new(file: File, path: &str) -> io::Result<Self> {
        let inner: Box<dyn Read + Send> = match path.rsplit_once('.') {
            Some((_, "gz")) => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Some((_, "zst")) => Box::new(zstd::Decoder::new(file)?),
            Some(_) | None => Box::new(file),
        };
        let reader = BufReader::with_capacity(1 << 16, inner);
        Ok(Self { reader, lines: 0, is_quoted: false, is_open: false })
    }

    /// The names in the first line. It does not count.
    fn header(&mut self) -> io::Result<Vec<String>> {
        let mut line = Vec::new();
        (&mut self.reader).take(HEADER_BYTES).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no header"));
        }
        let line = String::from_utf8_lossy(&line);
        let names = line.split(',').map(|it| it.trim_matches('"').to_owned());
        Ok(names.filter(|it| !it.is_empty()).collect())
    }

    /// Whether the next bytes are these; they are read as far as they are.
    fn starts_with(&mut self, mut expected: &[u8]) -> io::Result<bool> {
        while !expected.is_empty() {
            let bytes = self.reader.fill_buf()?;
            let count = bytes.len().min(expected.len());
            if count == 0 || bytes[..count] != expected[..count] {
                return Ok(false);
            }
            self.see(count)?;
            expected = &expected[count..];
        }
        Ok(true)
    }

    /// How many lines there are; reads to the end.
    fn count(&mut self) -> io::Result<u64> {
        loop {
            let count = self.reader.fill_buf()?.len();
            if count == 0 {
                return Ok(self.lines + u64::from(self.is_open));
            }
            self.see(count)?;
        }
    }

    /// Counts the ends of lines in the next bytes, which are in the buffer.
    fn see(&mut self, count: usize) -> io::Result<()> {
        let bytes = &self.reader.fill_buf()?[..count];
        for at in memchr::memchr2_iter(b'\n', b'"', bytes) {
            match bytes[at] {
                b'"' => self.is_quoted = !self.is_quoted,
                _ if !self.is_quoted => self.lines += 1,
                _ => {}
            }
        }
        if let Some(last) = bytes.last() {
            self.is_open = *last != b'\n' || self.is_quoted;
        }
        self.reader.consume(count);
        Ok(())
    }
}
