//! A file that grows, where nothing can be appended: numbered objects, one after the other.
//!
//! ```text
//! _tracklake/p/resume/s.spool/00000001     frames as they came within two seconds, or 4 MiB of them
//!                             00000002
//!                             00000004     behind a gap: not read, removed before anything is added
//! ```
//!
//! Each object is there whole or not at all. Those of a log that goes on are removed from the last to the first, so
//! that what is left after an end in between is a beginning; of a log that is not read any more it does not matter.

use std::{
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use object_store::{PutMode, PutPayload};

use super::{
    object::Object,
    refusal::{Refusal, RefusalKind},
};
use crate::load::WriteError;

/// What is flushed within this time of the last object waits for more.
const PAUSE: Duration = Duration::from_secs(2);
/// So much does not wait.
const MUCH: usize = 4 << 20;
/// So much is written also before it is flushed.
const TOO_MUCH: usize = 16 << 20;

/// The objects of a log.
#[derive(Debug, Default)]
struct Segments {
    /// The sizes of those that follow each other, from number 1.
    sizes: Vec<u64>,
    /// The names of all others, in order.
    strays: Vec<String>,
}

impl Segments {
    /// Sorts what is there.
    fn of(found: Vec<(String, u64)>) -> Self {
        let mut segments = Self::default();
        for (name, size) in found {
            if name == segment(segments.sizes.len() + 1) && segments.strays.is_empty() {
                segments.sizes.push(size);
            } else {
                segments.strays.push(name);
            }
        }
        segments
    }
}

/// The name of a segment by its number, from 1.
fn segment(number: usize) -> String {
    format!("{number:08}")
}

fn segments(object: &Object, path: &str) -> Result<Segments, WriteError> {
    object.below(path).map(Segments::of)
}

/// The bytes of a log, or `None` where there is none.
pub(super) fn size(object: &Object, path: &str) -> Result<Option<u64>, WriteError> {
    let Segments { sizes, .. } = segments(object, path)?;
    Ok((!sizes.is_empty()).then(|| sizes.iter().sum()))
}

/// A log as one file.
pub(super) fn open(object: &Object, path: &str) -> Result<File, WriteError> {
    let Segments { sizes, .. } = segments(object, path)?;
    let paths: Vec<String> =
        (1..=sizes.len()).map(|it| format!("{path}/{}", segment(it))).collect();
    object.download(&paths)
}

/// Writes at the end of a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    object: Arc<Object>,
    path: String,
    next: usize,
    buffer: Vec<u8>,
    last: Option<Instant>,
}

impl LogWriter {
    /// Goes on behind the first `length` bytes.
    pub(super) fn new(object: &Arc<Object>, path: &str, length: u64) -> Result<Self, WriteError> {
        let Segments { mut sizes, mut strays } = segments(object, path)?;
        // From the last to the first.
        while let Some(stray) = strays.pop() {
            object.remove(&format!("{path}/{stray}"))?;
        }
        let mut total: u64 = sizes.iter().sum();
        while let Some(size) = sizes.last().copied()
            && total > length
        {
            let last = format!("{path}/{}", segment(sizes.len()));
            let start = total - size;
            if start >= length {
                object.remove(&last)?;
                sizes.pop();
                total = start;
            } else {
                let kept =
                    object.range(&last, 0..length - start).map_err(object.error("read", &last))?;
                object.replace(&last, &kept)?;
                total = length;
            }
        }
        Ok(Self {
            object: Arc::clone(object),
            path: path.to_owned(),
            next: sizes.len() + 1,
            buffer: Vec::new(),
            last: None,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= TOO_MUCH { self.put() } else { Ok(()) }
    }

    /// Writes what there is, unless it is little and the last was just now.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        let is_soon = self.last.is_some_and(|it| it.elapsed() < PAUSE);
        if self.buffer.is_empty() || is_soon && self.buffer.len() < MUCH {
            return Ok(());
        }
        self.put()
    }

    fn put(&mut self) -> Result<(), WriteError> {
        let path = format!("{}/{}", self.path, segment(self.next));
        let (store, key) = (Arc::clone(&self.object.store), self.object.key(&path)?);
        let payload = PutPayload::from(self.buffer.clone());
        let put = async move {
            match store.put_opts(&key, payload.clone(), PutMode::Create.into()).await {
                Ok(_) => Ok(true),
                Err(err) => match Refusal::of(&err).kind {
                    RefusalKind::Condition | RefusalKind::Unsupported => Ok(false),
                    _ => Err(err),
                },
            }
        };
        if !self.object.change("write", &path, put)? {
            // Of a run that was paused and holds nothing any more, or ours with its answer lost.
            self.object.replace(&path, &self.buffer)?;
        }
        self.next += 1;
        self.buffer.clear();
        self.last = Some(Instant::now());
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // What cannot be kept is fetched again.
        if !self.buffer.is_empty() {
            let _ = self.put();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_that_follow_each_other_from_the_first_count() {
        let found = |names: &[&str]| names.iter().map(|it| ((*it).to_owned(), 1)).collect();
        for (names, counted, strays) in [
            (&[][..], 0, &[][..]),
            (&["00000001", "00000002"], 2, &[]),
            (&["00000002"], 0, &["00000002"]),
            (&["00000001", "00000003", "00000004"], 1, &["00000003", "00000004"]),
            (&["00000001", "other"], 1, &["other"]),
        ] {
            let segments = Segments::of(found(names));
            assert_eq!(
                (segments.sizes.len(), &segments.strays[..]),
                (counted, &strays.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]),
                "{names:?}"
            );
        }
    }
}
