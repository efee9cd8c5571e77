//! The only file that names the HTTP client: a request goes out, a whole body within its bounds
//! comes back. Waiting is tokio's; what a body is compressed with is undone on rayon.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
};
use reqwest::{Certificate, Client, redirect};
use url::Url;

use super::{
    auth,
    counters::Threads,
    inflate::{self, Coding, InflateError, UnknownCoding},
    request::Request,
};
use crate::plan::{Method, SourcePlan, is_loopback};

/// Sends requests to one source. Copies share their connections.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    get: Client,
    post: Client,
    direct: Client,
    /// As `direct`, without a proxy.
    direct_here: Client,
    /// Whether plain HTTP may go through a proxy, even to this machine.
    allow_http: bool,
    timeout: Duration,
    max_response_bytes: u64,
}

/// A request in its final bytes: only what HTTP itself needs is still added.
///
/// It has credentials in it, so it has no `Debug`.
#[derive(Clone)]
pub(super) struct Wire {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<String>,
    pub redirects: Redirects,
}

/// What is done about a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It is followed within the origin.
    Followed,
    /// It is an answer like any other, because what logs this request in would not hold there.
    Taken,
}

impl Wire {
    /// The request without what logs it in.
    pub(super) fn new(request: &Request) -> Result<Self, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &request.headers {
            let invalid = || SendError::Header { name: name.clone() };
            let header: HeaderName = name.parse().map_err(|_| invalid())?;
            headers.insert(header, HeaderValue::from_str(value).map_err(|_| invalid())?);
        }
        Ok(Self {
            method: request.method,
            url: request.url.clone(),
            headers,
            body: request.body.clone(),
            redirects: Redirects::Followed,
        })
    }

    /// The URL without its query.
    pub(super) fn shown(&self) -> String {
        super::request::without_query(self.url.as_str()).to_owned()
    }
}

/// A response with its whole body, as it came.
#[derive(Debug)]
pub(super) struct Packed {
    answer: Answer,
    url: String,
    codings: Result<Vec<Coding>, UnknownCoding>,
    limit: u64,
}

/// A response with its whole body, decompressed.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// What the way to log in has to say about a refusal.
    pub explained: Option<String>,
    /// The turn of its request, see [`Turn`](super::pace::Turn).
    pub turn: u64,
}

impl Answer {
    /// The first value of a header; the name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// Whether it was made for a browser.
    pub(super) fn is_web_page(&self) -> bool {
        let html = self.header("content-type").is_some_and(|it| it.contains("html"));
        html || self.body.trim_ascii_start().starts_with(b"<")
    }
}

/// A request without a whole response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client cannot be set up, for example because the system has no root certificates.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The credential cannot be sent.
    #[error("cannot log in")]
    Credential(#[source] auth::InvalidCredential),
    /// No token was given.
    #[error("cannot log in")]
    LogIn(#[source] auth::LogInError),
    /// A header cannot be sent.
    #[error("`{name}` has a value that a header cannot carry")]
    Header {
        /// The header.
        name: String,
    },
    /// Nobody answers: a wrong name, a refused connection, a failed TLS handshake.
    #[error("cannot connect to `{url}`")]
    Connect {
        /// The URL without its query.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The whole response did not arrive in time.
    #[error("no whole response from `{url}` within {} s", .limit.as_secs_f64())]
    Timeout {
        /// The URL without its query.
        url: String,
        /// The declared time.
        limit: Duration,
    },
    /// The response ended early or is not HTTP.
    #[error("the response from `{url}` broke off")]
    Broken {
        /// The URL without its query.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The body is compressed in a way that was not asked for.
    #[error("the response from `{url}` is encoded as `{encoding}`, which was not asked for")]
    Encoding {
        /// The URL without its query.
        url: String,
        /// What the server says.
        encoding: String,
    },
    /// The body is larger than allowed.
    #[error("the response from `{url}` is larger than {} MiB", .limit >> 20)]
    TooLarge {
        /// The URL without its query.
        url: String,
        /// The declared size in bytes.
        limit: u64,
    },
}

/// The innermost reason of a transport error. The client's own messages repeat the URL with its
/// query, which is not shown to people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl SendError {
    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::LogIn(err) => err.may_pass(),
            Self::Client(_)
            | Self::Credential(_)
            | Self::Header { .. }
            | Self::Encoding { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

/// Bytes of a body that is not a page, after which no more of it is read.
const LONGEST_ERROR: usize = 256 << 10;

/// Bytes that a body gets at once because it announces them.
const LIKELY_BODY: usize = 1 << 20;

/// The headers of a response over HTTP/2. A token of Huawei's IAM comes in a header of up to 32 KiB,
/// which is more than the client takes by itself.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Bytes of one response, and of all those of a connection, that a server may send over HTTP/2 before
/// they are read: all pages in flight come on one connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The longest chain of redirects that is followed.
const MAX_REDIRECTS: usize = 10;

impl Sender {
    /// Sets the client up for a source.
    pub(super) fn new(source: &SourcePlan) -> Result<Self, SendError> {
        let proxies = proxies_for(&source.base_url, source.allow_http);
        Ok(Self {
            get: client(source, within_origin(source, Method::Get), proxies)?,
            post: client(source, within_origin(source, Method::Post), proxies)?,
            direct: client(source, redirect::Policy::none(), Proxies::System)?,
            direct_here: client(source, redirect::Policy::none(), Proxies::None)?,
            allow_http: source.allow_http,
            timeout: source.limits.timeout,
            max_response_bytes: source.limits.max_response_bytes,
        })
    }

    /// Sends a request, takes its whole response and unpacks it.
    pub(super) async fn send(&self, wire: Wire) -> Result<Answer, SendError> {
        self.fetch(wire).await?.unpack(&Threads::default()).await
    }

    /// Sends a request and takes its whole response.
    pub(super) async fn fetch(&self, wire: Wire) -> Result<Packed, SendError> {
        let shown = wire.shown();
        let failed = |err: reqwest::Error| translate(&shown, self.timeout, &err);
        let client = match (wire.redirects, wire.method) {
            // A log-in may go to another host than the requests.
            (Redirects::Taken, _) => match proxies_for(&wire.url, self.allow_http) {
                Proxies::System => &self.direct,
                Proxies::None => &self.direct_here,
            },
            (Redirects::Followed, Method::Get) => &self.get,
            (Redirects::Followed, Method::Post) => &self.post,
        };
        let mut builder = match wire.method {
            Method::Get => client.get(wire.url),
            Method::Post => client.post(wire.url),
        };
        builder = builder.headers(wire.headers);
        if let Some(body) = wire.body {
            builder = builder.body(body);
        }

        let mut response = builder.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect();
        let codings = response.headers().get_all(CONTENT_ENCODING).iter();
        let codings = inflate::codings(codings.map(HeaderValue::as_bytes));
        let limit = self.max_response_bytes;
        let is_page = response.status().is_success();
        let too_large = || SendError::TooLarge { url: shown.clone(), limit };
        let announced = response.content_length().unwrap_or_default();
        if is_page && announced > limit {
            return Err(too_large());
        }
        let likely = usize::try_from(announced).unwrap_or(LIKELY_BODY).min(LIKELY_BODY);
        let mut body = BytesMut::with_capacity(likely);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if (body.len() + chunk.len()) as u64 > limit && is_page {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
            // Of an error the start says what is wrong; its status counts, whatever follows.
            if !is_page && body.len() > LONGEST_ERROR {
                break;
            }
        }
        let answer = Answer { status, headers, body: body.freeze(), explained: None, turn: 0 };
        Ok(Packed { answer, url: shown, codings, limit })
    }
}

impl Packed {
    /// Undoes what the body is compressed with.
    pub(super) async fn unpack(self, threads: &Threads) -> Result<Answer, SendError> {
        let Self { mut answer, url, codings, limit } = self;
        let is_page = (200..300).contains(&answer.status);
        let codings = match codings {
            Ok(codings) if codings.is_empty() || answer.body.is_empty() => return Ok(answer),
            Ok(codings) => codings,
            Err(_) if answer.body.is_empty() => return Ok(answer),
            Err(UnknownCoding(encoding)) if is_page => {
                return Err(SendError::Encoding { url, encoding });
            }
            Err(_) => {
                // Nobody can read it, but its status counts.
                answer.body = Bytes::new();
                return Ok(answer);
            }
        };
        let body = std::mem::take(&mut answer.body);
        let unpacked = threads.run(move || {
            if is_page {
                inflate::inflate(body, &codings, limit)
            } else {
                Ok(inflate::inflate_start(body, &codings, LONGEST_ERROR as u64))
            }
        });
        let stopped = || InflateError::Damaged("unpacking was stopped".into());
        let unpacked = unpacked.await.ok_or_else(stopped).flatten();
        match unpacked {
            Ok(body) => Ok(Answer { body, ..answer }),
            Err(InflateError::TooLong) => Err(SendError::TooLarge { url, limit }),
            Err(InflateError::Damaged(reason)) => {
                Err(SendError::Broken { url, source: Cause(reason) })
            }
        }
    }
}

/// Whether requests take the proxies of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxies {
    System,
    None,
}

/// Plain HTTP to this machine is allowed because nobody reads it on its way, which holds only
/// without a proxy.
fn proxies_for(url: &Url, allow_http: bool) -> Proxies {
    if url.scheme() == "http" && is_loopback(url) && !allow_http {
        Proxies::None
    } else {
        Proxies::System
    }
}

/// Follows redirects of this method.
fn within_origin(source: &SourcePlan, method: Method) -> redirect::Policy {
    // A redirect is followed within the origin only: elsewhere the credentials must not go, and
    // without them the answer would be a log-in page. Statuses 301 to 303 make a GET of a POST,
    // without its body: the answer would be one to another question.
    let origin = source.base_url.origin();
    redirect::Policy::custom(move |attempt| {
        let is_elsewhere = attempt.url().origin() != origin;
        let loses_body = method == Method::Post && matches!(attempt.status().as_u16(), 301..=303);
        if attempt.previous().len() >= MAX_REDIRECTS || is_elsewhere || loses_body {
            attempt.stop()
        } else {
            attempt.follow()
        }
    })
}

fn client(
    source: &SourcePlan,
    redirects: redirect::Policy,
    proxies: Proxies,
) -> Result<Client, SendError> {
    let authorities: Result<Vec<Certificate>, _> =
        source.tls.ca_certificates.iter().map(|it| Certificate::from_der(it)).collect();
    let authorities = authorities.map_err(SendError::Client)?;
    let accepted = (ACCEPT_ENCODING, HeaderValue::from_static(inflate::ACCEPTED));
    let mut builder = Client::builder()
        // A header of the pipeline's own goes before.
        .default_headers(HeaderMap::from_iter([accepted]))
        .user_agent(concat!("tracklake/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        // It would repeat the query of a request that is redirected.
        .referer(false)
        .timeout(source.limits.timeout)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .pool_max_idle_per_host(source.limits.max_in_flight);
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    if proxies == Proxies::None {
        builder = builder.no_proxy();
    }
    builder.build().map_err(SendError::Client)
}

fn translate(url: &str, limit: Duration, err: &reqwest::Error) -> SendError {
    let url = url.to_owned();
    if err.is_timeout() {
        return SendError::Timeout { url, limit };
    }
    let mut innermost: &dyn std::error::Error = err;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let source = Cause(innermost.to_string());
    if err.is_connect() {
        SendError::Connect { url, source }
    } else {
        SendError::Broken { url, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, allow_http: bool, expected: Proxies) {
        assert_eq!(proxies_for(&url.parse().unwrap(), allow_http), expected, "{url}");
    }

    #[test]
    fn plain_http_to_this_machine_takes_no_proxy_unless_it_is_allowed_everywhere() {
        for url in
            ["http://127.0.0.1:8080/a", "http://localhost", "http://x.localhost", "http://[::1]/"]
        {
            check(url, false, Proxies::None);
            check(url, true, Proxies::System);
        }
        check("https://127.0.0.1", false, Proxies::System);
        check("https://tracker.example.org", false, Proxies::System);
        check("http://tracker.example.org", true, Proxies::System);
    }
}
