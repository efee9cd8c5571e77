//! Someone who reads while the program writes, is killed, and recovers.
//!
//! A stream's files are moved into place one after the other: a reader who lists them meanwhile sees some of
//! the new ones and some of the old ones, but no row twice, because a row leaves before it comes. Each file
//! is whole at any time.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow_row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::tree::{Listed, list, list_one};

/// What a reader saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often it read a stream.
    pub(crate) passes: u64,
    /// Files that could not be read although they were there.
    pub(crate) torn: Vec<String>,
    /// Rows that were there twice in files that were all there at one time.
    pub(crate) doubled: Vec<String>,
}

/// The columns of a stream that no two rows have in common.
pub(crate) const KEYS: [(&str, &[&str]); 6] = [
    ("yandex_tracker/issues", &["id"]),
    ("yandex_tracker/worklogs", &["issue_id", "id"]),
    ("yandex_tracker/changelog", &["id", "field_id"]),
    ("jira_timesheet/audit_log", &["mode", "log_id", "audit_id"]),
    ("codearts_req/issues", &["id"]),
    ("codearts_req/history", &["record_id", "detail_id"]),
];

/// The rest has no key of its own that stays: only torn files are looked for.
fn key(stream: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(it, _)| *it == stream).map_or(&[], |(_, key)| key)
}

/// Reads all streams of a pipeline until it is told to stop.
pub(crate) fn read_until(stop: &AtomicBool, output: &Path, pipeline: &str) -> Seen {
    let (mut seen, mut known) = (Seen::default(), Known::new());
    while !stop.load(Relaxed) {
        let root = output.join("parquet").join(pipeline);
        let streams = std::fs::read_dir(&root).into_iter().flatten().flatten();
        for stream in streams {
            seen.passes += 1;
            let name = format!("{pipeline}/{}", stream.file_name().to_string_lossy());
            let before = list(&stream.path());
            let Some(doubled) = read(&before, key(&name), &mut known, &mut seen.torn) else {
                continue;
            };
            // Only what did not change meanwhile is what someone could have seen at one time.
            if doubled > 0 && list(&stream.path()) == before {
                seen.doubled.push(format!("{name}: {doubled} rows are there twice"));
            }
        }
        std::thread::yield_now();
    }
    seen
}

/// The keys of the rows of files that were read before: a file is never changed in place.
type Known = HashMap<Listed, Vec<Vec<u8>>>;

/// How many rows of these files have the key of another one; `None` where a file is gone.
fn read(
    files: &[Listed],
    key: &[&str],
    known: &mut Known,
    torn: &mut Vec<String>,
) -> Option<usize> {
    let parquet = |it: &&Listed| it.path.extension().is_some_and(|it| it == "parquet");
    let (mut seen, mut doubled) = (HashSet::new(), 0);
    let mut fresh = Vec::new();
    for file in files.iter().filter(parquet).filter(|it| !known.contains_key(*it)) {
        let path = &file.path;
        match File::open(path).map(|it| keys(it, key)) {
            Ok(Ok(keys)) => fresh.push((file.clone(), keys)),
            Err(err) if err.kind() == ErrorKind::NotFound => return None,
            Ok(Err(err)) => torn.push(format!("{}: {err}", path.display())),
            Err(err) => torn.push(format!("{}: {err}", path.display())),
        }
    }
    // What is under a name when it is opened may be later than what was listed.
    let is_same = |(file, _): &(Listed, _)| list_one(&file.path).as_ref() == Some(file);
    known.extend(fresh.into_iter().filter(is_same));
    for row in files.iter().filter(parquet).filter_map(|it| known.get(it)).flatten() {
        doubled += usize::from(!seen.insert(row));
    }
    Some(doubled)
}

/// The keys of a file's rows.
fn keys(file: File, key: &[&str]) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut keys = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
        let batch = batch?;
        if key.is_empty() {
            continue;
        }
        let columns: Vec<_> =
            key.iter().filter_map(|it| batch.column_by_name(it)).cloned().collect();
        if columns.len() != key.len() {
            return Err("a column of the key is missing".into());
        }
        let fields = columns.iter().map(|it| SortField::new(it.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        for row in &rows {
            keys.push(row.as_ref().to_vec());
        }
    }
    Ok(keys)
}
