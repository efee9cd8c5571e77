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
    /// From each request to its whole body, without log-ins.
    pub latencies: Latencies,
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

/// What one slice adds to the counters of its stream, and what it had of that itself.
#[derive(Debug)]
pub struct SliceCounters<'a> {
    /// Those of the stream.
    pub(super) all: &'a Counters,
    requests: AtomicU64,
    retries: AtomicU64,
    turn: Stopwatch,
    place: Stopwatch,
    retry: Stopwatch,
}

/// What a slice had of the counters of its stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SliceCost {
    /// Requests sent, repetitions included.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// How long requests waited for their turn.
    pub turn: Duration,
    /// How long requests waited for others to end.
    pub place: Duration,
    /// How long requests waited to be sent again.
    pub retry: Duration,
}

impl<'a> SliceCounters<'a> {
    /// Starts at zero.
    pub fn of(all: &'a Counters) -> Self {
        Self {
            all,
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            turn: Stopwatch::default(),
            place: Stopwatch::default(),
            retry: Stopwatch::default(),
        }
    }

    /// All of it so far.
    pub fn cost(&self) -> SliceCost {
        SliceCost {
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            turn: self.turn.total(),
            place: self.place.total(),
            retry: self.retry.total(),
        }
    }

    /// A request waited until it could be sent.
    pub(super) fn waited(&self, turn: Duration, place: Duration) {
        self.all.turn.add(turn);
        self.all.place.add(place);
        self.turn.add(turn);
        self.place.add(place);
    }

    /// A request is to be sent again.
    pub(super) fn retried(&self) {
        self.all.retries.fetch_add(1, Relaxed);
        self.retries.fetch_add(1, Relaxed);
    }

    /// Waits before a request is sent again.
    pub(super) async fn pause<T>(&self, rest: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = rest.await;
        self.all.retry.add(started.elapsed());
        self.retry.add(started.elapsed());
        done
    }

    /// Sends a request and takes its whole body.
    pub(super) async fn fetch<T>(&self, request: impl Future<Output = T>) -> T {
        self.all.requests.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        let started = Instant::now();
        let done = request.await;
        let took = started.elapsed();
        self.all.fetch.add(took);
        self.all.latencies.add(took);
        done
    }
}

/// How many requests took how long, in classes that are a quarter of an octave wide or less.
///
/// ```text
/// class   from 1024 µs   1280 µs   1536 µs   1792 µs   2048 µs   2560 µs …
/// ```
#[derive(Debug)]
pub struct Latencies {
    classes: [AtomicU64; CLASSES],
    longest: AtomicU64,
}

/// Classes below 2^28 µs, which is more than four minutes; what takes longer is in the last.
const CLASSES: usize = 4 * (28 - SHORTEST as usize);
/// Everything below 2^7 µs is in the first class.
const SHORTEST: u32 = 7;

impl Default for Latencies {
    fn default() -> Self {
        Self { classes: std::array::from_fn(|_| AtomicU64::new(0)), longest: AtomicU64::new(0) }
    }
}

impl Latencies {
    /// Counts a request.
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.classes[class(micros)].fetch_add(1, Relaxed);
        self.longest.fetch_max(micros, Relaxed);
    }

    /// The classes that have requests, by the microseconds that they begin with.
    pub fn classes(&self) -> Vec<(u64, u64)> {
        let counts = self.classes.iter().map(|it| it.load(Relaxed)).enumerate();
        counts.filter(|it| it.1 > 0).map(|(class, count)| (begin(class), count)).collect()
    }

    /// What the longest request took.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Relaxed))
    }

    /// The time within which this part of the requests ended: the end of its class, but no more than the
    /// longest.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests"
    )]
    pub fn quantile(&self, part: f64) -> Duration {
        let counts: Vec<u64> = self.classes.iter().map(|it| it.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * part).ceil() as u64;
        let mut seen = 0;
        let reached = counts.iter().position(|it| {
            seen += it;
            seen >= wanted.max(1)
        });
        let end = reached.map_or(Duration::ZERO, |it| Duration::from_micros(begin(it + 1)));
        end.min(self.longest())
    }
}

/// The class of a time in microseconds.
fn class(micros: u64) -> usize {
    let octave = micros.max(1).ilog2();
    if octave < SHORTEST {
        return 0;
    }
    let quarter = (micros >> (octave - 2)) & 3;
    let class = 4 * (octave - SHORTEST) as usize + usize::try_from(quarter).unwrap_or_default();
    class.min(CLASSES - 1)
}

/// The microseconds that a class begins with; the first one begins with nothing.
fn begin(class: usize) -> u64 {
    if class == 0 {
        return 0;
    }
    let (octave, quarter) = (class / 4 + SHORTEST as usize, class as u64 % 4);
    (4 + quarter) << (octave - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_class_that_begins_at_or_before_it_and_ends_after_it() {
        let cases = [
            (0, 0),
            (127, 0),
            (159, 0),
            (160, 160),
            (1_023, 896),
            (1_024, 1_024),
            (1_279, 1_024),
            (1_280, 1_280),
            (1_791, 1_536),
            (250_000, 229_376),
            (u64::MAX, 7 << 25),
        ];
        for (micros, begins) in cases {
            assert_eq!(begin(class(micros)), begins, "{micros}");
        }
    }

    #[test]
    fn half_of_the_requests_are_within_the_median_and_none_is_beyond_the_longest() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        for millis in [10, 10, 10, 20, 400] {
            latencies.add(Duration::from_millis(millis));
        }

        assert_eq!(latencies.longest(), Duration::from_millis(400));
        // 10 ms are between 8192 and 10240 µs.
        assert_eq!(latencies.quantile(0.5), Duration::from_micros(10_240));
        assert_eq!(latencies.quantile(0.95), Duration::from_millis(400));
        assert_eq!(latencies.classes(), [(8_192, 3), (16_384, 1), (393_216, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_counts_for_itself_and_for_its_stream() {
        let all = Counters::default();
        let (one, other) = (SliceCounters::of(&all), SliceCounters::of(&all));

        one.waited(Duration::from_millis(3), Duration::from_millis(4));
        one.fetch(async {}).await;
        one.retried();
        one.fetch(async {}).await;
        other.waited(Duration::from_millis(5), Duration::ZERO);
        other.fetch(async {}).await;

        let SliceCost { requests, retries, turn, place, .. } = one.cost();
        assert_eq!((requests, retries), (2, 1));
        assert_eq!((turn, place), (Duration::from_millis(3), Duration::from_millis(4)));
        assert_eq!(other.cost().requests, 1);
        assert_eq!(all.requests.load(Relaxed), 3);
        assert_eq!(all.turn.total(), Duration::from_millis(8));
        assert_eq!(all.latencies.classes().iter().map(|it| it.1).sum::<u64>(), 3);
    }
}
