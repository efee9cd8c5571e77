//! Rate and concurrency of one source: a request waits here for its turn.
//!
//! Requests start at even distances, so that no second has more than the declared number. How many
//! are in flight halves when the server says that it is too much, and grows back by one for each
//! round of answers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::plan::Limits;

/// The timer counts in milliseconds, and rounds up: a shorter wait would become one to two of them, which
/// at 20 ms latency costs a tenth of the speed. So much earlier is less than the ways to a server differ by,
/// and the distances still add up.
const FINEST_WAIT: Duration = Duration::from_millis(1);

/// The turnstile that all requests of a source go through.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    freed: Notify,
    gap: Duration,
    most: usize,
}

#[derive(Debug)]
struct State {
    /// When the next request may start.
    next_start: Instant,
    /// Until when the server wants none.
    held_until: Instant,
    in_flight: usize,
    /// Turns so far.
    turns: u64,
    /// The first turn that was taken after the window was made smaller.
    slowed_at: u64,
    /// How many may be in flight; a fraction that grows slowly.
    window: f64,
}

/// How long a request waited before it could start, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    /// For others to end, because no more may be in flight.
    pub place: Duration,
    /// For its start, because of the rate or of a pause that the server asked for.
    pub start: Duration,
}

/// A place among the requests in flight; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    number: u64,
}

impl Turn<'_> {
    /// Turns that were taken before this one.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Pace {
    /// Starts at the declared limits.
    pub(super) fn new(limits: &Limits) -> Self {
        let most = limits.max_in_flight.max(1);
        #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
        let window = most as f64;
        let gap = Duration::from_secs_f64(1.0 / limits.requests_per_second);
        // The process before this one may just have sent its last request.
        let next_start = Instant::now() + if limits.is_shared { gap } else { Duration::ZERO };
        Self {
            state: Mutex::new(State {
                next_start,
                held_until: Instant::now(),
                in_flight: 0,
                turns: 0,
                slowed_at: 0,
                window,
            }),
            freed: Notify::new(),
            gap,
            most,
        }
    }

    /// The time that the declared rate alone takes for the requests so far.
    pub(super) fn paced(&self) -> Duration {
        let turns = self.lock().turns.saturating_sub(1);
        self.gap.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
    }

    /// Waits for a place and for the request's own start; gives how long that took.
    pub(super) async fn turn(&self) -> (Turn<'_>, Waited) {
        let asked = Instant::now();
        let (start, number) = loop {
            let freed = self.freed.notified();
            if let Some(place) = self.take_place() {
                break place;
            }
            freed.await;
        };
        // From here on the place is held, even if this future is dropped while it sleeps.
        let turn = Turn { pace: self, number };
        let place = asked.elapsed();
        if start.saturating_duration_since(Instant::now()) >= FINEST_WAIT {
            sleep_until(start).await;
        }
        // Meanwhile the server may have asked for a pause.
        while let Some(later) = self.postponed() {
            sleep_until(later).await;
        }
        (turn, Waited { place, start: asked.elapsed().saturating_sub(place) })
    }

    /// When the request may start, and the number of its turn.
    fn take_place(&self) -> Option<(Instant, u64)> {
        let mut state = self.lock();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to `most`"
        )]
        if state.in_flight >= state.window as usize {
            return None;
        }
        state.in_flight += 1;
        let number = state.turns;
        state.turns += 1;
        let start = state.next_start.max(Instant::now());
        state.next_start = start + self.gap;
        Some((start, number))
    }

    fn postponed(&self) -> Option<Instant> {
        let mut state = self.lock();
        if state.held_until <= Instant::now() {
            return None;
        }
        let start = state.next_start.max(state.held_until);
        state.next_start = start + self.gap;
        Some(start)
    }

    /// Lets no request start for so long, at most a day.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait.min(Duration::from_hours(24));
        let mut state = self.lock();
        state.held_until = state.held_until.max(until);
        state.next_start = state.next_start.max(until);
    }

    /// Takes an answer that says "too much": half as many at once. Those that were in flight when this
    /// was done last say nothing about fewer.
    pub(super) fn slow_down(&self, turn: u64) {
        let mut state = self.lock();
        if turn < state.slowed_at {
            return;
        }
        state.slowed_at = state.turns;
        state.window = (state.window / 2.0).max(1.0);
    }

    /// Takes a good answer: a round of them makes one more at once.
    pub(super) fn speed_up(&self) {
        let mut state = self.lock();
        #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
        let most = self.most as f64;
        state.window = (state.window + 1.0 / state.window).min(most);
        drop(state);
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a few numbers: a panic elsewhere cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pace.lock().in_flight -= 1;
        self.pace.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_second: f64, max_in_flight: usize) -> Limits {
        Limits {
            requests_per_second,
            max_in_flight,
            timeout: Duration::from_secs(1),
            max_response_bytes: 1,
            max_requests: None,
            deadline: None,
            rate_headers: None,
            is_shared: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_among_others_begins_after_its_own_distance() {
        let pace = Pace::new(&limits(10.0, 8).share(4));
        let start = Instant::now();

        drop(pace.turn().await);
        drop(pace.turn().await);

        // Two in each second, which is four times two of ten.
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn parts_of_limits_are_together_no_more_than_the_whole() {
        for (rate, at_once, parts, expected) in [
            (10.0, 8, 1, (10.0, 8)),
            (10.0, 8, 4, (2.0, 2)),
            (10.0, 8, 3, (3.0, 2)),
            (2.5, 1, 2, (1.0, 1)),
            (1.0, 1, 2, (0.5, 1)),
        ] {
            let share = limits(rate, at_once).share(parts);
            let found = (share.requests_per_second, share.max_in_flight);
            assert_eq!(found, expected, "{rate} {at_once} by {parts}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_start_at_even_distances() {
        let pace = Pace::new(&limits(10.0, 8));
        let start = Instant::now();

        for _ in 0..5 {
            drop(pace.turn().await);
        }

        assert_eq!(start.elapsed().as_millis(), 400);
        assert_eq!(pace.paced().as_millis(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn distances_that_the_timer_cannot_tell_add_up() {
        for (requests_per_second, turns, expected) in
            [(20_000.0, 1_001, 50), (1_500.0, 151, 100), (1_000_000.0, 900, 0)]
        {
            let pace = Pace::new(&limits(requests_per_second, 8));
            let start = Instant::now();

            for _ in 0..turns {
                drop(pace.turn().await);
            }

            let early = expected - start.elapsed().as_millis().min(expected);
            assert!(early <= 1 && start.elapsed().as_millis() <= expected, "{expected} {early}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_place() {
        let pace = Pace::new(&limits(1000.0, 1));
        let (first, _) = pace.turn().await;

        let second = tokio::time::timeout(Duration::from_secs(5), pace.turn()).await;
        assert!(second.is_err(), "a second request started beside the only one allowed");
        let end = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(first);
        };

        let ((_, waited), ()) = tokio::join!(pace.turn(), end);

        assert_eq!((waited.place.as_secs(), waited.start.as_secs()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_starts_while_the_server_wants_none() {
        let pace = Pace::new(&limits(10.0, 8));
        let start = Instant::now();
        drop(pace.turn().await);

        // The second request has its turn already when the pause is asked for.
        let second = pace.turn();
        let hold = async {
            tokio::task::yield_now().await;
            pace.hold(Duration::from_secs(30));
            pace.hold(Duration::from_secs(2));
        };
        let ((turn, waited), ()) = tokio::join!(second, hold);
        drop(turn);
        drop(pace.turn().await);

        assert_eq!((waited.place.as_secs(), waited.start.as_secs()), (0, 30));
        assert_eq!(start.elapsed().as_millis(), 30_100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_halves_once_for_a_round_of_requests_in_flight() {
        let pace = Pace::new(&limits(1000.0, 8));
        let mut first = Vec::new();
        for _ in 0..8 {
            first.push(pace.turn().await.0);
        }

        for turn in &first {
            pace.slow_down(turn.number());
        }
        assert!((pace.lock().window - 4.0).abs() < f64::EPSILON);

        drop(first);
        let (later, _) = pace.turn().await;
        pace.slow_down(later.number());
        assert!((pace.lock().window - 2.0).abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_halves_and_and_grows_back_to_what_was_declared() {
        let pace = Pace::new(&limits(1000.0, 8));
        pace.slow_down(0);
        pace.slow_down(0);
        assert!((pace.lock().window - 2.0).abs() < f64::EPSILON);

        for _ in 0..100 {
            pace.speed_up();
        }

        assert!((pace.lock().window - 8.0).abs() < f64::EPSILON);
    }
}
