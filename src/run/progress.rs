//! What a run has done so far, as numbers that a progress bar reads while the run goes on.

use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::{
    extract::{Counters, Stopwatch},
    plan::Name,
};

/// The numbers of all streams of a run.
#[derive(Debug)]
pub struct Progress {
    /// One for each stream of the run, in its order.
    pub streams: Vec<StreamProgress>,
}

/// The numbers of one stream.
#[derive(Debug)]
pub struct StreamProgress {
    /// The stream.
    pub name: Name,
    /// Requests, bytes and waits.
    pub source: Counters,
    /// Slices known so far.
    pub slices: AtomicU64,
    /// Slices that have ended, however.
    pub slices_done: AtomicU64,
    /// Pages read.
    pub pages: AtomicU64,
    /// Records read, repetitions included.
    pub records: AtomicU64,
    /// Rows made of them.
    pub rows: AtomicU64,
    /// Records that did not fit.
    pub rejected: AtomicU64,
    /// How long slices were under way.
    pub under_way: Stopwatch,
    /// How long pages waited for the writer to have room.
    pub writer: Stopwatch,
    /// Whether the stream has ended, however.
    pub is_done: AtomicBool,
}

impl Progress {
    /// Starts at zero.
    pub fn new<'a>(streams: impl IntoIterator<Item = &'a Name>) -> Self {
        Self { streams: streams.into_iter().map(|it| StreamProgress::new(it.clone())).collect() }
    }
}

impl StreamProgress {
    fn new(name: Name) -> Self {
        Self {
            name,
            source: Counters::default(),
            slices: AtomicU64::new(0),
            slices_done: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            records: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            under_way: Stopwatch::default(),
            writer: Stopwatch::default(),
            is_done: AtomicBool::new(false),
        }
    }
}
