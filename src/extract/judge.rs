//! What an answer means: a page, a slice that is not there, or a failure that may pass or not.

use std::{borrow::Cow, sync::atomic::Ordering::Relaxed};

use bytes::Bytes;

use super::{
    ExtractError, Extractor, Loss, PageReader, Request, Slice, UnreadableBody,
    redact::{detail, text, title},
    respond::{self, Listed, Response},
    send::Answer,
};
use crate::plan::{JsonPath, Method, Outcome, PageFacts, RecordsShape, StreamPlan};

impl Extractor {
    /// Finds out what an answer means.
    pub(super) async fn judge<R: PageReader>(
        &self,
        stream: &StreamPlan,
        slice: &Slice,
        sent: Sent<'_>,
        reader: &R,
    ) -> Result<PageEnd<R::Output>, Judged> {
        let Sent { request, answer, listed, asks_to_wait, attempts } = sent;
        let url = request.shown();
        let names_user = self.source.auth.names_user();
        let anonymous = || respond::anonymous(answer).filter(|_| names_user);
        if let Some(reason) = respond::refused_log_in(answer).or_else(anonymous) {
            let (status, detail) = (answer.status, format!(": {reason}"));
            return Err(Judged::Final(ExtractError::Unauthorized { url, status, detail }));
        }
        let rules = || stream.responses.iter().chain(&self.source.responses);
        let outcome = |body: &dyn Fn(&JsonPath) -> Option<serde_json::Value>| {
            let (status, headers) = (answer.status, &answer.headers);
            let response = Response { status, headers, asks_to_wait, body };
            respond::outcome(&response, rules(), listed)
        };
        if !(200..300).contains(&answer.status) {
            let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
            let outcome = outcome(&|path| path.find(body.as_ref()?).cloned());
            return self.not_a_page(outcome, sent);
        }

        // A page that cannot be read may still match a rule about its status or headers.
        // Status 204 says itself that there is nothing.
        let body = if answer.body.is_empty() && answer.status == 204 {
            Bytes::from_static(b"null")
        } else {
            answer.body.clone()
        };
        let read = reader.read(body, &slice.context).await;
        let (facts, output) = match read {
            Ok(read) => read,
            Err(source) => {
                let outcome = outcome(&|_| None);
                if outcome != Outcome::Ok {
                    return self.not_a_page(outcome, sent);
                }
                if answer.is_web_page() {
                    let detail = title(&self.redactor.redact(&text(&answer.body)));
                    let detail = detail.map(|it| format!(": {it}")).unwrap_or_default();
                    let err = ExtractError::WebPage { url, detail };
                    // Where the log-in holds, it is what a proxy says in between.
                    let may_pass = self.has_answered.load(Relaxed);
                    return Err(if may_pass { Judged::MayPass(err) } else { Judged::Final(err) });
                }
                let UnreadableBody { mut reason, truncated } = source;
                if let Cow::Owned(_) = self.redactor.redact(&text(&answer.body)) {
                    // The excerpt in the reason may begin or end inside of a credential.
                    "the body is not JSON, and has a credential in it, so that no part of it is shown"
                        .clone_into(&mut reason);
                }
                let source = UnreadableBody { reason, truncated };
                let err = ExtractError::Body { url, attempts, source };
                return Err(if truncated { Judged::MayPass(err) } else { Judged::Final(err) });
            }
        };
        match outcome(&|path| facts.value(path).cloned()) {
            Outcome::Ok => {}
            other => return self.not_a_page(other, sent),
        }
        if let Some(found) = facts.records_missing.clone().filter(|_| answer.status != 204) {
            let path = match &stream.records.shape {
                RecordsShape::Records | RecordsShape::Map => stream.records.path.clone(),
                RecordsShape::Stringified(inner) if inner.is_root() => stream.records.path.clone(),
                RecordsShape::Stringified(inner) => inner.clone(),
            };
            return Err(Judged::Final(ExtractError::NoRecords { url, path, found }));
        }
        self.pace.speed_up();
        self.has_answered.store(true, Relaxed);
        let (headers, bytes) = (answer.headers.clone(), answer.body.len());
        Ok(PageEnd::Page(Box::new(Page { facts, headers, bytes, output })))
    }

    fn not_a_page<T>(&self, outcome: Outcome, sent: Sent<'_>) -> Result<PageEnd<T>, Judged> {
        let Sent { request, answer, attempts, .. } = sent;
        let url = request.shown();
        let status = answer.status;
        let detail = match &answer.explained {
            Some(explained) => format!(": {explained}"),
            None => detail(&answer.body, &self.redactor),
        };
        match outcome {
            Outcome::Gone => Ok(PageEnd::Gone(Loss::of(status))),
            Outcome::Skip => Ok(PageEnd::Skipped),
            Outcome::Retry => {
                Err(Judged::MayPass(ExtractError::Status { url, status, attempts, detail }))
            }
            Outcome::Ok | Outcome::Fail => Err(Judged::Final(match status {
                401 => ExtractError::Unauthorized { url, status, detail },
                300..=399 if answer.header("location").is_some() => {
                    let location = answer.header("location").unwrap_or_default();
                    let location = location.split('?').next().unwrap_or_default().to_owned();
                    let target = request.url.join(&location);
                    let is_here = target.is_ok_and(|it| it.origin() == request.url.origin());
                    let reason = match (self.auth.why_not_redirected(), request.method) {
                        _ if !is_here => "another origin",
                        (Some(reason), _) => reason,
                        (None, Method::Post) => "which takes the body from the request",
                        (None, Method::Get) => "too many times",
                    };
                    ExtractError::Redirected { url, location, reason }
                }
                _ => ExtractError::Status { url, status, attempts, detail },
            })),
        }
    }
}

/// A request, and what came back.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) request: &'a Request,
    pub(super) answer: &'a Answer,
    pub(super) listed: Listed,
    pub(super) asks_to_wait: bool,
    pub(super) attempts: u32,
}

/// What a request for a page ended with.
pub(super) enum PageEnd<T> {
    Page(Box<Page<T>>),
    Gone(Loss),
    Skipped,
}

pub(super) struct Page<T> {
    pub(super) facts: PageFacts,
    pub(super) headers: Vec<(String, String)>,
    /// Of the body.
    pub(super) bytes: usize,
    pub(super) output: T,
}

/// An answer that is not a page.
pub(super) enum Judged {
    Final(ExtractError),
    MayPass(ExtractError),
}
