//! From a stream's slices to pages: requests, limits, retries, paging and reconciliation.
//!
//! ```text
//! Slice --request--> GET /v2/issues/get-record?issue_id=6505032&offset=0&limit=100
//!       --budget---> may still be sent in this run
//!       --pace-----> waits for its turn
//!       --send-----> 200, headers, body as it came
//!       --inflate--> the body, at most 64 MiB
//!       --reader---> facts (records, total, token), and whatever the reader makes of the body
//!       --respond--> ok | retry after 1.3 s | skip | gone | fail
//!       --ledger---> 100 of 214 records
//!       --paginate-> offset=100&limit=100, …, the end; 214 of 214: complete
//!       --ahead----> offset=200&limit=100 is under way before its turn
//! ```
//!
//! The module reads a body only through the [`PageReader`] that it is given, so that each body is
//! parsed once. It does not know columns, files or cursors.

mod address;
mod ahead;
mod auth;
mod budget;
mod counters;
mod error;
mod inflate;
mod judge;
mod ledger;
mod pace;
mod page_size;
mod paginate;
mod quota;
mod redact;
mod relief;
mod request;
mod respond;
mod send;
mod slice;
mod split;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tracing::{debug, warn};

pub use address::{SliceAddress, part};
pub use auth::{InvalidCredential, LogInError};
pub use budget::{Exhausted, Moment};
pub use counters::{Counters, Latencies, Retry, SliceCost, SliceCounters, Stopwatch, Threads};
pub use error::ExtractError;
pub use ledger::Verdict;
pub use paginate::StuckPaging;
pub use request::{Request, RequestError};
pub use respond::Loss;
pub use send::{Cause, SendError};
pub use slice::{Horizon, ParentValues, Slice, asked_start, planned_start, reread, slices};

use crate::plan::{PageFacts, Plan, Redactor, SliceContext, SourcePlan, StreamPlan};
use ahead::{Ahead, Places};
use auth::Auth;
use budget::Budget;
use judge::{Judged, Page, PageEnd, Sent};
use ledger::{Ledger, PageNews};
use pace::Pace;
use paginate::{Ask, Next, Paginator, Shrunk};
use relief::{Missing, Relief};
use respond::Listed;
use send::{Answer, Sender};

/// The URL of the next page in the `Link` headers of a response (RFC 8288), for the fuzzer.
#[cfg(fuzzing)]
pub fn next_link(headers: &[(String, String)]) -> Option<String> {
    paginate::next_link(headers)
}

/// Reads the body of a page: its facts, and something for the next stage.
pub trait PageReader: Send + Sync {
    /// What the next stage gets of a page.
    type Output: Send;

    /// Reads a body.
    fn read(
        &self,
        body: Bytes,
        context: &SliceContext,
    ) -> impl Future<Output = Result<(PageFacts, Self::Output), UnreadableBody>> + Send;

    /// Hands a page on; waits while the next stage is busy.
    fn accept(
        &self,
        page: u64,
        slice: &Slice,
        output: Self::Output,
    ) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// A body that is not JSON, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct UnreadableBody {
    /// What is wrong, with its place.
    pub reason: String,
    /// Whether the body ends where more must come, so that asking again may help.
    pub truncated: bool,
}

/// Why the next stage does not take a page.
#[derive(Debug, Clone, Copy)]
pub enum NotTaken {
    /// It takes no more.
    Stopped,
    /// It would have to keep more of one slice than this in memory, in bytes.
    TooMuch(usize),
}

/// How a slice ended.
#[derive(Debug)]
pub enum SliceEnd {
    /// All pages were read.
    Read {
        /// Whether everything arrived.
        verdict: Verdict,
        /// Pages read.
        pages: u64,
        /// Records read, repetitions included.
        records: u64,
        /// The API's own total, where it gives one.
        total: Option<u64>,
    },
    /// Access to the parent is lost.
    Gone(Loss),
    /// A rule of the pipeline says that there is nothing.
    Skipped,
    /// The slice has more than the API gives; these are to be read instead.
    Split(Box<[Slice; 2]>),
    /// The slice has an error.
    Failed(ExtractError),
}

/// Reads slices of one source.
#[derive(Debug)]
pub struct Extractor {
    source: SourcePlan,
    redactor: Redactor,
    sender: Sender,
    auth: Auth,
    pace: Pace,
    budget: Budget,
    places: Places,
    /// Whether a page has come.
    has_answered: AtomicBool,
    draining: AtomicBool,
    stopped: AtomicBool,
    stop: tokio::sync::Notify,
}

impl Extractor {
    /// Sets up the connection to a plan's source; nothing is sent yet.
    pub fn new(plan: &Plan) -> Result<Self, ExtractError> {
        let unusable = |source| ExtractError::Send { attempts: 0, source };
        let sender = Sender::new(&plan.source).map_err(unusable)?;
        let auth = Auth::new(&plan.source.auth, &plan.redactor).map_err(unusable)?;
        Ok(Self {
            source: plan.source.clone(),
            redactor: plan.redactor.clone(),
            sender,
            auth,
            pace: Pace::new(&plan.source.limits),
            budget: Budget::new(&plan.source.limits, plan.source.retry.max_delay),
            places: Places::new(plan.source.limits.max_in_flight),
            has_answered: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            stop: tokio::sync::Notify::new(),
        })
    }

    /// Asks for no more slices to be started; those under way go on.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether no more slices are to be started.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Ends all slices under way as soon as possible, and every later one at once.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
        self.stop.notify_waiters();
    }

    /// Why nothing more is asked in this run, once that is so.
    pub fn exhausted(&self) -> Option<&Exhausted> {
        self.budget.used_up()
    }

    /// The time that the declared rate alone takes for the requests so far.
    pub fn paced(&self) -> Duration {
        self.pace.paced()
    }

    /// The first request of a slice, for showing what a run would do.
    pub fn first_request(
        &self,
        stream: &StreamPlan,
        slice: &Slice,
    ) -> Result<Request, RequestError> {
        self.request(stream, slice, &Paginator::new(&stream.paginate).first())
    }

    /// Reads a slice to its end; each page goes to the reader.
    pub async fn read<R: PageReader>(
        &self,
        stream: &StreamPlan,
        slice: &Slice,
        reader: &R,
        counters: &SliceCounters<'_>,
    ) -> SliceEnd {
        let mut reading = 1;
        loop {
            let stopped = self.stop.notified();
            let end = if self.stopped.load(Relaxed) {
                SliceEnd::Failed(ExtractError::Stopped)
            } else {
                tokio::select! {
                    end = self.read_once(stream, slice, reader, counters) => end,
                    () = stopped => SliceEnd::Failed(ExtractError::Stopped),
                }
            };
            let end = match end {
                SliceEnd::Failed(err) => SliceEnd::Failed(redact::redacted(err, &self.redactor)),
                other => other,
            };
            // Records that moved between pages while they were read are found by reading again, or
            // by a smaller window.
            if let Some(end) = split::settle(slice, end, reading) {
                return end;
            }
            reading += 1;
        }
    }

    async fn read_once<R: PageReader>(
        &self,
        stream: &StreamPlan,
        slice: &Slice,
        reader: &R,
        counters: &SliceCounters<'_>,
    ) -> SliceEnd {
        let mut paginator = Paginator::new(&stream.paginate);
        let open = || Ledger::new(!stream.key().is_empty(), self.source.limits.max_in_flight);
        let mut ledger = open();
        let mut ahead = Ahead::new(&self.places, &self.budget);
        let (mut ask, mut foreseen) = (paginator.first(), Vec::new());
        let mut restarts = 0;
        loop {
            let can_shrink = paginator.can_shrink();
            let is_moved_by_asking = paginator.is_moved_by_asking();
            // Who has given a page of a parent's records is there, and may be read.
            let listed = match stream.slices.parent() {
                Some(_) if ledger.pages() == 0 => Listed::ByParent,
                _ => Listed::No,
            };
            let begin = |ask| {
                let asked = Asked { stream, slice, ask, listed, can_shrink, is_moved_by_asking };
                self.page(asked, reader, counters)
            };
            let page = match ahead.page(&ask, foreseen, begin).await {
                Ok(PageEnd::Page(page)) => page,
                Ok(PageEnd::Gone(loss)) => return SliceEnd::Gone(loss),
                Ok(PageEnd::Skipped) => return SliceEnd::Skipped,
                Err(err) => {
                    let paginator = &mut paginator;
                    let missing = Missing { slice, paginator, ask: &ask, restarts: &mut restarts };
                    match self.relieve(err, missing, counters) {
                        Ok(Relief::Ask(next)) => ask = next,
                        Ok(Relief::Restart(first)) => {
                            ledger = open();
                            ask = first;
                        }
                        Err(err) => return SliceEnd::Failed(err),
                    }
                    // It has the old size.
                    foreseen = Vec::new();
                    ahead.forget();
                    continue;
                }
            };
            let Page { facts, headers, bytes, output } = *page;
            let step = paginator.total(&facts, &headers).and_then(|total| {
                if let Some(total) = total.filter(|it| paginator.is_capped(*it)) {
                    return Ok(Step::Capped(total));
                }
                let news = ledger.add(&facts, total);
                let next = paginator.after(&facts, &headers, news, &ledger)?;
                Ok(Step::Next(next, news))
            });
            let (next, news) = match step {
                Ok(Step::Next(next, news)) => (next, news),
                Ok(Step::Capped(total)) => return split::capped(slice, total),
                Err(err) => {
                    // As many records as a page has came before it: they moved, it is no loop.
                    let moved = ledger.moved().filter(|_| err.is_repetition());
                    return match moved {
                        Some(verdict) => ledger.end(verdict),
                        None => SliceEnd::Failed(ExtractError::Paging(err)),
                    };
                }
            };
            debug!(page = ledger.pages(), records = facts.records, total = ledger.total(), "page");
            // A page that only repeats what is known ends some APIs; its records are there already.
            let is_new = news == PageNews::New;
            if is_new
                && let Err(refused) =
                    ahead.meanwhile(reader.accept(ledger.pages(), slice, output)).await
            {
                return SliceEnd::Failed(match refused {
                    NotTaken::Stopped => ExtractError::Stopped,
                    NotTaken::TooMuch(limit) => ExtractError::TooMuchHeld { limit },
                });
            }
            match next {
                Next::Page(next) => {
                    foreseen = paginator.foresee(ledger.total(), ahead.most(bytes));
                    ask = next;
                }
                Next::End => {
                    return ledger.end(ledger.verdict());
                }
            }
        }
    }

    /// Asks for one page until it is there, or it is clear that it will not come.
    async fn page<R: PageReader>(
        &self,
        asked: Asked<'_>,
        reader: &R,
        counters: &SliceCounters<'_>,
    ) -> Result<PageEnd<R::Output>, ExtractError> {
        let Asked { stream, slice, ask, listed, can_shrink, is_moved_by_asking } = asked;
        let request = self.request(stream, slice, &ask).map_err(ExtractError::Request)?;
        let retry = &self.source.retry;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let answer = self.send(&request, counters).await.map_err(ExtractError::Exhausted)?;
            let pause = self.heed(&request, &answer, counters);
            let asks_to_wait = !matches!(pause, Ok(None));
            let (failure, response) = match answer {
                Err(source) if source.may_pass() => (ExtractError::Send { attempts, source }, None),
                Err(source) => return Err(ExtractError::Send { attempts, source }),
                Ok(answer) => {
                    let request = &request;
                    let sent = Sent { request, answer: &answer, listed, asks_to_wait, attempts };
                    match self.judge(stream, slice, sent, reader).await {
                        Ok(end) => return Ok(end),
                        Err(Judged::Final(err)) => return Err(err),
                        Err(Judged::MayPass(err)) => (err, Some(answer)),
                    }
                }
            };
            let status = response.as_ref().map(|it| it.status);
            if let Some(answer) = response.filter(|_| failure.is_throttling()) {
                self.pace.slow_down(answer.turn);
            }
            let shrinks = failure.is_too_much() && can_shrink;
            let restarts = failure.may_have_lost_a_page() && is_moved_by_asking;
            if attempts >= retry.max_attempts && !shrinks {
                return Err(failure);
            }
            let pause = pause.map_err(ExtractError::Exhausted)?;
            let wait = respond::wait(pause, retry, attempts, fastrand::f64());
            self.budget.check_wait(wait).map_err(ExtractError::Exhausted)?;
            if shrinks || restarts {
                counters.pause(self.budget.rest(wait)).await;
                return Err(failure);
            }
            warn!(slice = %slice.id, url = %self.redactor.redact(&request.shown()), status, attempts, wait_ms = wait.as_millis(), "retry");
            let next = relief::retry(status, attempts + 1, retry.max_attempts, wait);
            counters.all.note_retry(next);
            counters.retried();
            counters.pause(self.budget.rest(wait)).await;
        }
    }

    /// Sends a request, and again where what logged it in has ended in between.
    /// Each of them counts in the budget; a log-in does not.
    async fn send(
        &self,
        request: &Request,
        counters: &SliceCounters<'_>,
    ) -> Result<Result<Answer, SendError>, Exhausted> {
        let mut is_second = false;
        loop {
            let (turn, waited) = self.budget.unless_closed(self.pace.turn()).await?;
            counters.waited(waited.start, waited.place);
            // The time may have ended while the request waited.
            self.budget.take()?;
            let wire = counters.all.fetch.time(self.auth.wire(request, &self.sender)).await;
            let (wire, used) = match wire {
                Ok(ready) => ready,
                Err(err) => return Ok(Err(err)),
            };
            let packed = counters.fetch(self.sender.fetch(wire)).await;
            let number = turn.number();
            drop(turn);
            let unpacked = match packed {
                Ok(packed) => packed.unpack(&counters.all.threads).await,
                Err(err) => Err(err),
            };
            let mut answer = match unpacked {
                Ok(answer) => answer,
                Err(err) => return Ok(Err(err)),
            };
            answer.turn = number;
            counters.all.bytes.fetch_add(answer.body.len() as u64, Relaxed);
            if self.auth.is_outdated(&used, &answer, is_second).await {
                debug!(url = %self.redactor.redact(&request.shown()), status = answer.status, "logged in anew");
                is_second = true;
                continue;
            }
            answer.explained = self.auth.explain(&used, &answer);
            return Ok(Ok(answer));
        }
    }

    fn request(
        &self,
        stream: &StreamPlan,
        slice: &Slice,
        ask: &Ask,
    ) -> Result<Request, RequestError> {
        let SourcePlan { base_url, headers, .. } = &self.source;
        request::request(base_url, headers, &stream.request, &slice.context, &slice.params, ask)
    }
}

/// What is asked for.
struct Asked<'a> {
    stream: &'a StreamPlan,
    slice: &'a Slice,
    ask: Ask,
    listed: Listed,
    /// Whether a smaller page may be asked for instead.
    can_shrink: bool,
    /// Whether asking again might give the page after it.
    is_moved_by_asking: bool,
}

enum Step {
    Next(Next, PageNews),
    Capped(u64),
}
