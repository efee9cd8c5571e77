//! What an answer asks of more than its own request: a wait of all requests, smaller pages, or a
//! slice from its start.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use tracing::warn;

use super::{
    Answer, Ask, Exhausted, ExtractError, Extractor, LogInError, Moment, Paginator, Request, Retry,
    SendError, Shrunk, Slice, SliceCounters, quota, redact,
};

/// How often a slice is begun again after a token that the server may know no longer: each time all of
/// it is read.
const MOST_EXPIRED: u32 = 2;

/// A page that did not come, and where the slice stood.
pub(super) struct Missing<'a, 'p> {
    pub slice: &'a Slice,
    pub paginator: &'a mut Paginator<'p>,
    pub ask: &'a Ask,
    /// How often the slice was begun again.
    pub restarts: &'a mut u32,
}

/// How a slice goes on without the page that it asked for.
pub(super) enum Relief {
    /// At the same place.
    Ask(Ask),
    /// From its start: nothing that was read so far counts.
    Restart(Ask),
}

impl Extractor {
    /// Lets all requests wait where an answer asks for it, that to a log-in, too; gives how long.
    pub(super) fn heed(
        &self,
        request: &Request,
        answer: &Result<Answer, SendError>,
        counters: &SliceCounters<'_>,
    ) -> Result<Option<Duration>, Exhausted> {
        #[expect(
            clippy::disallowed_methods,
            reason = "what a server says about time is on its clock, which is now"
        )]
        let now = SystemTime::now();
        let declared = self.source.limits.rate_headers.as_ref();
        let (url, status, asked) = match answer {
            Ok(Answer { status, headers, .. }) => {
                (request.shown(), *status, quota::asked_wait(declared, *status, headers, now))
            }
            Err(SendError::LogIn(err @ LogInError::Status { url, status, wait, .. })) => {
                (url.clone(), *status, wait.filter(|_| err.may_pass()))
            }
            Err(_) => return Ok(None),
        };
        let Some(wait) = asked.filter(|it| !it.is_zero()) else { return Ok(asked) };
        let url = self.redactor.redact(&url).into_owned();
        let resumes_at = self.budget.allow_wait(wait, &url, status, now.into())?;
        self.pace.hold(wait);
        let seconds = u64::try_from(resumes_at.0.timestamp()).unwrap_or_default();
        counters.all.resumes_at.fetch_max(seconds, Relaxed);
        warn!(url, status, "rate limit: resumes at {resumes_at}");
        Ok(asked)
    }

    /// How a slice goes on after an error that asking again in the same way does not help.
    pub(super) fn relieve(
        &self,
        err: ExtractError,
        missing: Missing<'_, '_>,
        counters: &SliceCounters<'_>,
    ) -> Result<Relief, ExtractError> {
        let Missing { slice, paginator, ask, restarts } = missing;
        if err.is_too_much() && paginator.can_shrink() {
            let Some((shrunk, size)) = paginator.shrink(ask) else { return Err(err) };
            let reason = match redact::redacted(err, &self.redactor) {
                ExtractError::Send { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            warn!(slice = %slice.id, size, reason, "smaller pages");
            counters.all.shrinks.fetch_add(1, Relaxed);
            return Ok(match shrunk {
                Shrunk::Ask(ask) => Relief::Ask(ask),
                Shrunk::Restart(first) => Relief::Restart(first),
            });
        }
        if err.may_have_expired() && paginator.may_expire() && *restarts < MOST_EXPIRED {
            *restarts += 1;
            let reason = redact::redacted(err, &self.redactor).to_string();
            warn!(slice = %slice.id, restarts, reason, "a scroll may have expired: reading from the first page");
            counters.retried();
            return Ok(Relief::Restart(paginator.restart()));
        }
        let is_lost = err.may_have_lost_a_page() && paginator.is_moved_by_asking();
        if is_lost && *restarts < self.source.retry.max_attempts {
            *restarts += 1;
            warn!(slice = %slice.id, restarts, "a page got lost: reading from the first");
            counters.retried();
            return Ok(Relief::Restart(paginator.restart()));
        }
        Err(err)
    }
}

/// A request that is sent again after `wait`.
pub(super) fn retry(status: Option<u16>, attempt: u32, most: u32, wait: Duration) -> Retry {
    #[expect(clippy::disallowed_methods, reason = "a person looks at a clock while it waits")]
    let now = SystemTime::now();
    Retry { status, attempt, most, at: Moment::after(now.into(), wait).0 }
}
