//! One token for all requests: fetched before the first, fetched again before it ends or when it
//! was refused, and by one request only while the others wait.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinError, time::Instant};
use tracing::Instrument as _;

use super::LogInError;
use crate::plan::Secret;

/// A token, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub token: Secret,
    /// `None` to use it until it is refused.
    pub lifetime: Option<Duration>,
    /// What to ask for the next one with.
    pub refresh: Option<Secret>,
}

/// The token of one source.
#[derive(Debug, Default)]
pub(super) struct TokenSource {
    state: Mutex<State>,
    /// How often a token was asked for.
    tries: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Held>,
    version: u64,
    refresh: Option<Secret>,
    failure: Option<LogInError>,
}

#[derive(Debug)]
struct Held {
    text: Secret,
    /// When the next one is asked for.
    good_until: Option<Instant>,
    /// When the server takes it no more.
    ends: Option<Instant>,
}

impl Held {
    /// Whether it is used for a while longer, because the next one did not come.
    fn outlasts(&mut self, failure: &LogInError) -> bool {
        let now = Instant::now();
        let holds = failure.may_pass() && self.ends.is_some_and(|it| now < it);
        if holds {
            self.good_until = self.ends.min(now.checked_add(SHORTEST_USE));
        }
        holds
    }
}

/// A token is not asked for more often, whatever lifetime the server names: one that it refuses
/// earlier is dropped then.
const SHORTEST_USE: Duration = Duration::from_secs(10);

impl TokenSource {
    /// The token and its version, where nothing has to be waited for.
    pub(super) fn ready(&self) -> Option<(Secret, u64)> {
        let state = self.state.try_lock().ok()?;
        let held = state.token.as_ref()?;
        let is_good = held.good_until.is_none_or(|it| Instant::now() < it);
        is_good.then(|| (held.text.clone(), state.version))
    }

    /// The token and its version. `obtain` is called where there is none, with what the last answer
    /// gave for asking again.
    ///
    /// Requests that wait while another one asks share its answer, a failure, too.
    pub(super) async fn get(
        &self,
        obtain: impl AsyncFnOnce(Option<Secret>) -> Result<Granted, LogInError>,
    ) -> Result<(Secret, u64), LogInError> {
        let tries = self.tries.load(SeqCst);
        let mut state = self.state.lock().await;
        if let Some(held) = &state.token
            && held.good_until.is_none_or(|it| Instant::now() < it)
        {
            return Ok((held.text.clone(), state.version));
        }
        if let Some(failure) = &state.failure
            && (!failure.may_pass() || self.tries.load(SeqCst) > tries)
        {
            return Err(failure.clone());
        }
        let granted = obtain(state.refresh.clone()).await;
        self.tries.fetch_add(1, SeqCst);
        match granted {
            Ok(Granted { token, lifetime, refresh }) => {
                let now = Instant::now();
                let good_until = lifetime.and_then(|it| now.checked_add(usable(it)?));
                let ends = lifetime.and_then(|it| now.checked_add(it));
                state.token = Some(Held { text: token.clone(), good_until, ends });
                state.version += 1;
                state.refresh = refresh.or(state.refresh.take());
                state.failure = None;
                Ok((token, state.version))
            }
            Err(err) => {
                let version = state.version;
                if let Some(held) = &mut state.token
                    && held.outlasts(&err)
                {
                    return Ok((held.text.clone(), version));
                }
                state.token = None;
                state.failure = Some(err.clone());
                Err(err)
            }
        }
    }

    /// Drops the token that was refused, unless there is a newer one.
    pub(super) async fn forget(&self, version: u64) {
        let mut state = self.state.lock().await;
        if state.version == version {
            state.token = None;
        }
    }
}

/// Waits for work that goes on to its end, even if nobody waits for it any more.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(work.in_current_span()).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The program ends.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// How long a token is used: it must not end on its way. One that has ended when it comes (clocks
/// differ) is used until it is refused.
fn usable(lifetime: Duration) -> Option<Duration> {
    let margin = (lifetime / 10).min(Duration::from_mins(1));
    lifetime.checked_sub(margin).filter(|it| !it.is_zero()).map(|it| it.max(SHORTEST_USE))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot::channel;

    use super::*;

    fn granted(name: &str, seconds: u64) -> Granted {
        let lifetime = Some(Duration::from_secs(seconds));
        Granted { token: Secret::new(name), lifetime, refresh: None }
    }

    /// Takes a token; one that is asked for is called by the number of those before it.
    async fn take(source: &TokenSource, seconds: u64) -> String {
        let obtain = async |_| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(granted(&format!("token {}", source.tries.load(SeqCst)), seconds))
        };
        source.get(obtain).await.unwrap().0.expose().to_owned()
    }

    #[tokio::test]
    async fn a_log_in_that_nobody_waits_for_any_more_goes_on() {
        let (source, (release, released)) = (Arc::new(TokenSource::default()), channel());
        let log_in = {
            let source = Arc::clone(&source);
            async move {
                let obtain = async |_| {
                    released.await.unwrap();
                    Ok(granted("first", 600))
                };
                source.get(obtain).await.map(|it| it.1)
            }
        };
        let mut waiting = Box::pin(to_its_end(log_in));
        assert!(futures::poll!(waiting.as_mut()).is_pending());

        // Nothing has begun before the task has run once.
        tokio::task::yield_now().await;
        drop(waiting);
        release.send(()).unwrap();

        let again = source.get(async |_| Ok(granted("second", 600))).await.unwrap();
        assert_eq!(again.0.expose(), "first");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_same_time_share_one_log_in() {
        let source = TokenSource::default();

        let tokens = futures::future::join_all((0..50).map(|_| take(&source, 60))).await;

        assert_eq!(tokens, ["token 0"; 50]);
        assert_eq!(source.tries.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_again_before_it_ends_and_not_earlier() {
        let source = TokenSource::default();
        assert_eq!(take(&source, 600).await, "token 0");

        tokio::time::advance(Duration::from_secs(539)).await;
        assert_eq!(take(&source, 600).await, "token 0");
        tokio::time::advance(Duration::from_secs(1)).await;
        let tokens = futures::future::join_all((0..8).map(|_| take(&source, 600))).await;

        assert_eq!(tokens, ["token 1"; 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_dropped_once_however_many_requests_it_was_refused_for() {
        let source = TokenSource::default();
        let obtain = async |_| Ok(granted("first", 600));
        let (_, version) = source.get(obtain).await.unwrap();

        source.forget(version).await;
        assert_eq!(take(&source, 600).await, "token 1");
        source.forget(version).await;

        assert_eq!(take(&source, 600).await, "token 1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_ended_when_it_comes_is_used_until_it_is_refused() {
        let source = TokenSource::default();

        assert_eq!(take(&source, 0).await, "token 0");
        assert_eq!(take(&source, 0).await, "token 0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_of_a_moment_is_no_log_in_for_each_request() {
        let source = TokenSource::default();
        let moment = Duration::from_millis(1);
        let brief = Granted { lifetime: Some(moment), ..granted("brief", 0) };
        source.get(async |_| Ok(brief)).await.unwrap();

        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(take(&source, 600).await, "brief");
        tokio::time::advance(moment).await;
        assert_eq!(take(&source, 600).await, "token 1");
    }

    /// Whether a request gets a token where the log-in answers with a status.
    async fn survives(source: &TokenSource, status: u16) -> bool {
        let refused =
            LogInError::Status { url: String::new(), status, detail: String::new(), wait: None };
        source.get(async |_| Err(refused)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_still_holds_outlasts_a_busy_server() {
        let source = TokenSource::default();
        take(&source, 600).await;
        tokio::time::advance(Duration::from_mins(9)).await;

        assert!(survives(&source, 503).await);
        assert_eq!(source.tries.load(SeqCst), 2);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(survives(&source, 503).await);
        assert_eq!(source.tries.load(SeqCst), 2, "it is not asked for with every request");
        tokio::time::advance(Duration::from_secs(51)).await;
        assert!(!survives(&source, 503).await, "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_still_holds_is_not_used_after_a_refusal_for_good() {
        let source = TokenSource::default();
        take(&source, 600).await;
        tokio::time::advance(Duration::from_mins(9)).await;

        assert!(!survives(&source, 401).await);
    }

    /// Two requests at the same time, then one more; gives how often was asked.
    async fn fail(status: u16) -> u64 {
        let source = TokenSource::default();
        let attempt = || {
            source.get(async |_| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err(LogInError::Status {
                    url: String::new(),
                    status,
                    detail: String::new(),
                    wait: None,
                })
            })
        };
        let (first, second) = tokio::join!(attempt(), attempt());
        assert!(first.is_err() && second.is_err() && attempt().await.is_err());
        source.tries.load(SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_tried_once_and_a_busy_server_again() {
        assert_eq!(fail(401).await, 1);
        assert_eq!(fail(503).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotated_refresh_token_is_used_the_next_time() {
        let source = TokenSource::default();
        let rotated = Granted { refresh: Some(Secret::new("r2")), ..granted("a1", 10) };
        source.get(async |_| Ok(rotated)).await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;

        let mut seen = None;
        let obtain = async |refresh| {
            seen = refresh;
            Ok(granted("a2", 10))
        };
        source.get(obtain).await.unwrap();

        assert_eq!(seen, Some(Secret::new("r2")));
    }
}
