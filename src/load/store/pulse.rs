//! How long ago a lease was renewed, as this host counts: also while it sleeps.
//!
//! ```text
//! renewed   asleep for an hour   awake
//! 0 s       CLOCK_MONOTONIC stands still on Linux     2 s: the lease would seem to be ours
//!           CLOCK_BOOTTIME counts it                  3602 s: another run may have it
//! ```

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Counts while the host sleeps, and cannot be set.
#[cfg(target_os = "linux")]
const ASLEEP_TOO: ClockId = ClockId::Boottime;
/// Elsewhere this one does.
#[cfg(not(target_os = "linux"))]
const ASLEEP_TOO: ClockId = ClockId::Monotonic;

/// A moment of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// A test's clock, too.
    awake: Instant,
    /// Since some moment of this host.
    host: Duration,
}

impl Moment {
    pub(super) fn now() -> Self {
        let host = Duration::try_from(clock_gettime(ASLEEP_TOO)).unwrap_or_default();
        Self { awake: Instant::now(), host }
    }

    pub(super) fn elapsed(self) -> Duration {
        self.until(Self::now())
    }

    fn until(self, now: Self) -> Duration {
        let awake = now.awake.saturating_duration_since(self.awake);
        awake.max(now.host.saturating_sub(self.host))
    }
}

/// When a lease was last renewed.
#[derive(Debug)]
pub(super) struct Pulse {
    renewed: Mutex<Moment>,
    length: Duration,
    is_lost: AtomicBool,
}

impl Pulse {
    pub(super) fn new(renewed: Moment, length: Duration) -> Self {
        Self { renewed: Mutex::new(renewed), length, is_lost: AtomicBool::new(false) }
    }

    fn age(&self) -> Duration {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) fn beat(&self, at: Moment) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Another run has the lease.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// Whether nobody else can have the lease yet.
    pub(super) fn is_sure(&self) -> bool {
        !self.is_lost() && self.age() < self.length * 2 / 3
    }

    /// Ends when what is under way has to be given up.
    pub(super) async fn lost(&self) {
        let last = self.length * 5 / 6;
        while !self.is_lost() {
            let Some(left) = last.checked_sub(self.age()) else { return };
            tokio::time::sleep(left.min(self.length / 8) + Duration::from_millis(1)).await;
        }
    }

    #[cfg(test)]
    pub(super) fn grow_old(&self, by: Duration) {
        let mut renewed = self.renewed.lock().unwrap();
        renewed.awake = renewed.awake.checked_sub(by).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_the_host_slept_counts() {
        let start = Moment::now();
        let seconds = Duration::from_secs;
        for (awake, host, expected) in [(2, 2, 2), (2, 3_602, 3_602), (2, 0, 2), (0, 0, 0)] {
            let now =
                Moment { awake: start.awake + seconds(awake), host: start.host + seconds(host) };
            assert_eq!(start.until(now), seconds(expected), "{awake} {host}");
        }
    }

    #[test]
    fn the_clock_of_the_host_goes_on() {
        let start = Moment::now();
        while Moment::now().host == start.host {}
        assert!(Moment::now().host > start.host);
    }
}
