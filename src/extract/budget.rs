//! How much a run may ask of its source, and whether it may still: a number of requests, a time,
//! and what the server itself says.
//!
//! Once it is used up, every slice that would need another request ends with
//! [`ExtractError::Exhausted`](super::ExtractError) before anything is sent. For the run these are
//! slices that could not be read: they are remembered, and nothing moves beyond them.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::Notify, time::Instant};

use crate::plan::Limits;

/// Why nothing more is asked of a source in this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The declared number of requests was sent.
    #[error("the {limit} requests that `limits.max_requests` allows are sent")]
    Requests {
        /// The declared number.
        limit: u64,
    },
    /// The declared time is over, or would be before the server wants to be asked again.
    #[error("the time that `limits.deadline` gives the run, {}, is over", Length(*.limit))]
    Deadline {
        /// The declared time.
        limit: Duration,
    },
    /// The server asks to be left alone for longer than a run waits.
    #[error(
        "`{url}` asks with status {status} to wait {}: it resumes at {resumes_at}, and `retry.max_delay_secs` allows {}",
        apart(*.wait, *.longest).0, apart(*.wait, *.longest).1
    )]
    Wait {
        /// The URL without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server asks for.
        wait: Duration,
        /// When that is over.
        resumes_at: Moment,
        /// The declared bound.
        longest: Duration,
    },
}

impl Exhausted {
    /// Whether the pipeline says so itself, which is no failure of the source.
    pub fn is_declared(&self) -> bool {
        match self {
            Self::Requests { .. } | Self::Deadline { .. } => true,
            Self::Wait { .. } => false,
        }
    }
}

/// An instant for people, to the second and with its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub DateTime<Utc>);

impl Moment {
    /// So long after `now`; the last instant that there is where that is beyond it.
    pub(super) fn after(now: DateTime<Utc>, wait: Duration) -> Self {
        let wait = chrono::TimeDelta::from_std(wait).ok();
        Self(wait.and_then(|it| now.checked_add_signed(it)).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == DateTime::<Utc>::MAX_UTC {
            return f.write_str("a time beyond all calendars");
        }
        write!(f, "{}", self.0.format("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// A length of time for people: `90 s`, `15 min`, `2 h 30 min`, `0.01 s`.
struct Length(Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let minutes = seconds / 60;
        match (minutes / 60, minutes % 60) {
            _ if seconds < 120 => write!(f, "{} s", self.0.as_secs_f64()),
            (0, minutes) => write!(f, "{minutes} min"),
            (hours, 0) => write!(f, "{hours} h"),
            (hours, minutes) => write!(f, "{hours} h {minutes} min"),
        }
    }
}

/// Two lengths of time for people; exact ones where they would be told alike.
fn apart(one: Duration, other: Duration) -> (String, String) {
    let told = (Length(one).to_string(), Length(other).to_string());
    let exact = |it: Duration| format!("{} s", it.as_secs_f64());
    if one != other && told.0 == told.1 { (exact(one), exact(other)) } else { told }
}

/// What is left of the budget of a run.
#[derive(Debug)]
pub(super) struct Budget {
    max_requests: Option<u64>,
    deadline: Option<(Instant, Duration)>,
    longest_wait: Duration,
    sent: AtomicU64,
    used_up: OnceLock<Exhausted>,
    closed: Notify,
}

impl Budget {
    /// The whole budget; its time starts now.
    pub(super) fn new(limits: &Limits, longest_wait: Duration) -> Self {
        let ends = |limit| Some((Instant::now().checked_add(limit)?, limit));
        Self {
            max_requests: limits.max_requests,
            deadline: limits.deadline.and_then(ends),
            longest_wait,
            sent: AtomicU64::new(0),
            used_up: OnceLock::new(),
            closed: Notify::new(),
        }
    }

    /// Why nothing more is asked, once that is so.
    pub(super) fn used_up(&self) -> Option<&Exhausted> {
        self.used_up.get()
    }

    /// Waits for something that is in vain once nothing more is asked.
    pub(super) async fn unless_closed<T>(
        &self,
        wait: impl Future<Output = T>,
    ) -> Result<T, Exhausted> {
        let closed = self.closed.notified();
        if let Some(reason) = self.used_up.get() {
            return Err(reason.clone());
        }
        tokio::select! {
            done = wait => Ok(done),
            () = closed => Err(self.reason()),
        }
    }

    /// Whether more requests than these are left.
    pub(super) fn has_more_than(&self, requests: usize) -> bool {
        let left = |limit: u64| limit.saturating_sub(self.sent.load(Relaxed));
        self.max_requests.is_none_or(|it| left(it) > requests as u64)
    }

    /// Takes a request out of the budget.
    pub(super) fn take(&self) -> Result<(), Exhausted> {
        self.check_wait(Duration::ZERO)?;
        match self.max_requests {
            Some(limit) if self.sent.fetch_add(1, Relaxed) >= limit => {
                Err(self.close(Exhausted::Requests { limit }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a wait that the server asks for is one that the run can take.
    pub(super) fn allow_wait(
        &self,
        wait: Duration,
        url: &str,
        status: u16,
        now: DateTime<Utc>,
    ) -> Result<Moment, Exhausted> {
        let resumes_at = Moment::after(now, wait);
        if wait > self.longest_wait {
            let (url, longest) = (url.to_owned(), self.longest_wait);
            return Err(self.close(Exhausted::Wait { url, status, wait, resumes_at, longest }));
        }
        self.check_wait(wait)?;
        Ok(resumes_at)
    }

    /// Waits, but not for a request that will not be sent any more.
    pub(super) async fn rest(&self, wait: Duration) {
        let closed = self.closed.notified();
        if self.used_up.get().is_some() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = closed => {}
        }
    }

    /// Whether a wait ends before the time is over.
    pub(super) fn check_wait(&self, wait: Duration) -> Result<(), Exhausted> {
        if let Some(reason) = self.used_up.get() {
            return Err(reason.clone());
        }
        match self.deadline {
            Some((end, limit)) if Instant::now().checked_add(wait).is_none_or(|it| it >= end) => {
                Err(self.close(Exhausted::Deadline { limit }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the budget; the first reason stays.
    fn close(&self, reason: Exhausted) -> Exhausted {
        if self.used_up.set(reason).is_ok() {
            tracing::warn!(reason = %self.reason(), "no more requests in this run");
            self.closed.notify_waiters();
        }
        self.reason()
    }

    fn reason(&self) -> Exhausted {
        self.used_up.get().cloned().unwrap_or(Exhausted::Requests { limit: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_requests: Option<u64>, deadline: Option<u64>) -> Budget {
        let limits = Limits {
            requests_per_second: 1.0,
            max_in_flight: 1,
            timeout: Duration::from_secs(1),
            max_response_bytes: 1,
            max_requests,
            deadline: deadline.map(Duration::from_secs),
            rate_headers: None,
            is_shared: false,
        };
        Budget::new(&limits, Duration::from_mins(2))
    }

    fn noon() -> DateTime<Utc> {
        "2024-07-25T12:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn so_many_requests_are_sent_and_no_more() {
        let budget = budget(Some(2), None);

        let taken: Vec<bool> = (0..4).map(|_| budget.take().is_ok()).collect();

        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(budget.used_up(), Some(&Exhausted::Requests { limit: 2 }));
    }

    #[tokio::test]
    async fn without_a_budget_there_is_no_end() {
        let budget = budget(None, None);

        assert!((0..100_000).all(|_| budget.take().is_ok()));
        assert_eq!(budget.used_up(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_after_the_deadline() {
        let budget = budget(None, Some(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(budget.take(), Ok(()));

        tokio::time::advance(Duration::from_secs(1)).await;

        let over = Exhausted::Deadline { limit: Duration::from_secs(10) };
        assert_eq!(budget.take(), Err(over.clone()));
        assert_eq!(
            over.to_string(),
            "the time that `limits.deadline` gives the run, 10 s, is over"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_ends_after_the_deadline_is_not_begun() {
        let budget = budget(None, Some(10));

        assert!(budget.allow_wait(Duration::from_secs(9), "u", 429, noon()).is_ok());
        let err = budget.allow_wait(Duration::from_secs(10), "u", 429, noon()).unwrap_err();

        assert!(matches!(err, Exhausted::Deadline { .. }), "{err}");
        assert_eq!(budget.take(), Err(err));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_budget() {
        let budget = budget(Some(0), None);
        let start = Instant::now();

        tokio::join!(budget.rest(Duration::from_mins(1)), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(budget.take().is_err());
        });
        budget.rest(Duration::from_mins(1)).await;

        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test]
    async fn a_wait_up_to_the_longest_is_taken_and_a_longer_one_ends_the_budget() {
        let budget = budget(None, None);

        let resumes_at = budget.allow_wait(Duration::from_mins(2), "u", 429, noon()).unwrap();
        assert_eq!(resumes_at.to_string(), "2024-07-25 12:02:00 UTC");

        let err = budget.allow_wait(Duration::from_hours(14), "u", 429, noon()).unwrap_err();
        assert_eq!(
            err.to_string(),
            "`u` asks with status 429 to wait 14 h: it resumes at 2024-07-26 02:00:00 UTC, and `retry.max_delay_secs` allows 2 min"
        );
        assert_eq!(budget.take(), Err(err));
    }

    #[tokio::test]
    async fn a_wait_that_is_a_little_too_long_is_told_so_that_it_is_seen() {
        let err = budget(None, None).allow_wait(Duration::from_secs(121), "u", 429, noon());

        assert_eq!(
            err.unwrap_err().to_string(),
            "`u` asks with status 429 to wait 121 s: it resumes at 2024-07-25 12:02:01 UTC, and `retry.max_delay_secs` allows 120 s"
        );
    }

    #[tokio::test]
    async fn an_absurd_wait_has_a_message_all_the_same() {
        let err = budget(None, None).allow_wait(Duration::MAX, "u", 503, noon()).unwrap_err();

        assert!(err.to_string().contains("a time beyond all calendars"), "{err}");
    }

    #[test]
    fn lengths_are_told_in_the_unit_that_people_use() {
        let text = |millis| Length(Duration::from_millis(millis)).to_string();

        assert_eq!(text(10), "0.01 s");
        assert_eq!(text(119_000), "119 s");
        assert_eq!(text(900_000), "15 min");
        assert_eq!(text(7_200_000), "2 h");
        assert_eq!(text(9_000_000), "2 h 30 min");
    }
}
