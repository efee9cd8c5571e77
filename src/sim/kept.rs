//! Answers that are rendered once, so that in a benchmark the simulator is never what is measured.
//!
//! They belong to one state of the world and go with it. What depends on more than the world (scrolls,
//! log-ins, signatures, lying pages) is never kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::server::Call;

/// Headers that decide what an answer is.
const HEADERS: [&str; 5] = ["authorization", "host", "x-auth-token", "x-org-id", "x-cloud-org-id"];

/// The answers given so far about one state of the world.
#[derive(Debug, Default)]
pub(super) struct KeptPages(Mutex<HashMap<PageKey, Arc<KeptPage>>>);

/// Everything a kept answer depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    method: Method,
    path: String,
    query: String,
    headers: Vec<Option<HeaderValue>>,
    body: Bytes,
}

#[derive(Debug)]
struct KeptPage {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl PageKey {
    /// The key of a request, unless its answer depends on more than the world.
    pub(super) fn of(call: &Call) -> Option<PageKey> {
        let options = &call.shared.options;
        let codearts = call.path.starts_with("/codearts/");
        let fixed_token = call.header("x-auth-token") == Some(&options.codearts_token);
        let repeatable = options.keep_pages
            && !call.has_lying_pages()
            && !call.query.contains("scroll")
            && !(codearts && (!fixed_token || call.path.ends_with("/auth/tokens")))
            // The lag of the change feeds follows the clock.
            && !call.path.contains("/rest/api/");
        repeatable.then(|| PageKey {
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            headers: HEADERS.iter().map(|name| call.headers.get(*name).cloned()).collect(),
            body: call.body.clone(),
        })
    }
}

impl KeptPages {
    pub(super) fn get(&self, key: &PageKey) -> Option<Response> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let page = Arc::clone(pages.get(key)?);
        drop(pages);
        Some((page.status, page.headers.clone(), page.body.clone()).into_response())
    }

    /// Keeps an answer and gives it back.
    pub(super) async fn keep(&self, key: PageKey, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let (status, headers) = (parts.status, parts.headers.clone());
        let page = Arc::new(KeptPage { status, headers, body: body.clone() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, page);
        Response::from_parts(parts, Body::from(body))
    }
}
