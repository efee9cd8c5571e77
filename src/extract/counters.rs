//! What progress bars and reports read while requests are under way.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

/// Counters that a progress bar and a report read while requests are under way.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests sent, repetitions included.
    pub requests: AtomicU64,
    /// Requests that were sent again.
    pub retries: AtomicU64,
    /// Bytes of bodies, after decompression.
    pub bytes: AtomicU64,
    /// How long requests waited because the rate, or a pause that the server asked for, let none start.
    pub turn: Stopwatch,
    /// How long requests waited for others to end, because no more may be in flight.
    pub place: Stopwatch,
    /// How long requests waited to be sent again.
    pub retry: Stopwatch,
    /// From a request to its whole body, log-ins included.
    pub fetch: Stopwatch,
    /// How long bodies waited for threads and kept them busy.
    pub threads: Threads,
    /// How often smaller pages were asked for, because one was too much.
    pub shrinks: AtomicU64,
    /// Until when the server wants no requests, in seconds since 1970-01-01 UTC; 0 for never.
    pub resumes_at: AtomicU64,
    /// The last request that is to be sent again, and when.
    last_retry: Mutex<Option<Retry>>,
}

/// A request that is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// What the source answered; `None` where nothing came.
    pub status: Option<u16>,
    /// Which attempt comes, from 2 on.
    pub attempt: u32,
    /// How many there are at most.
    pub most: u32,
    /// When.
    pub at: DateTime<Utc>,
}

impl Counters {
    /// The last request that was to be sent again; that may be over.
    pub fn last_retry(&self) -> Option<Retry> {
        *self.last_retry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a request is to be sent again.
    pub(super) fn note_retry(&self, retry: Retry) {
        *self.last_retry.lock().unwrap_or_else(PoisonError::into_inner) = Some(retry);
    }
}

/// Time that adds up, also of what goes on at the same time; to the microsecond.
#[derive(Debug, Default)]
pub struct Stopwatch(AtomicU64);

impl Stopwatch {
    /// Adds a time that was taken elsewhere.
    pub fn add(&self, spent: Duration) {
        self.0.fetch_add(u64::try_from(spent.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Adds how long something takes; nothing where it is dropped before its end.
    pub async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        self.add(started.elapsed());
        done
    }

    /// All of it so far.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }
}

/// The threads that work on whole bodies, which are rayon's: those of tokio only wait for servers.
#[derive(Debug, Default)]
pub struct Threads {
    /// How long work waited until a thread had time for it.
    pub waiting: Stopwatch,
    /// How long it kept them busy.
    pub busy: Stopwatch,
}

impl Threads {
    /// Does something at once, which is less work than having a thread do it.
    pub fn run_here<T>(&self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.busy.add(started.elapsed());
        done
    }

    /// Has a thread do something; `None` where it ended without a result.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let asked = Instant::now();
        rayon::spawn(move || {
            let started = Instant::now();
            let done = work();
            // Nobody may wait for it any more.
            let _ = sender.send((done, started, started.elapsed()));
        });
        let (done, started, took) = receiver.await.ok()?;
        self.waiting.add(started.duration_since(asked));
        self.busy.add(took);
        Some(done)
    }
}
