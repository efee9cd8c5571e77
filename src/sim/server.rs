//! The server: takes a request apart, troubles it as the faults say, and hands it to its system.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, StreamExt as _};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fault::{FaultCounter, RateLimit, Trouble};
use super::kept::{KeptPages, PageKey};
use super::tracker_search::Scroll;
use super::world::World;
use super::{Faults, RequestLog, SimOptions, codearts, iam, timesheet, tracker};

/// The number beyond which the real systems stop counting and paging.
const WINDOW: u64 = 10_000;
const MAX_BODY: usize = 16 << 20;

/// A world with the index that finds a tracker issue by key, old key or id.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) world: World,
    pages: KeptPages,
    issues: HashMap<String, usize>,
}

impl Snapshot {
    fn new(world: World) -> Self {
        let mut issues = HashMap::new();
        for (at, it) in world.tracker.issues.iter().enumerate() {
            let names = [&it.key, &it.id].into_iter().chain(&it.aliases);
            issues.extend(names.map(|name| (name.clone(), at)));
        }
        Snapshot { world, pages: KeptPages::default(), issues }
    }

    /// The position of the tracker issue with this key, old key or id.
    pub(super) fn tracker_issue(&self, name: &str) -> Option<usize> {
        self.issues.get(name).copied()
    }
}

impl Deref for Snapshot {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SimOptions,
    pub(super) address: SocketAddr,
    started: Instant,
    snapshot: RwLock<Arc<Snapshot>>,
    faults: RwLock<Arc<FaultCounter>>,
    requests: Mutex<Vec<RequestLog>>,
    scrolls: Mutex<HashMap<String, Scroll>>,
    tokens: Mutex<HashMap<String, Issued>>,
    serial: AtomicU64,
}

/// How long a token that was given is good.
#[derive(Debug)]
struct Issued {
    until: Instant,
    uses: Option<u64>,
}

impl Shared {
    pub(super) fn new(options: SimOptions, address: SocketAddr) -> Self {
        let world = World::generate(options.seed, options.issues, options.today);
        Shared {
            options,
            address,
            started: Instant::now(),
            snapshot: RwLock::new(Arc::new(Snapshot::new(world))),
            faults: RwLock::default(),
            requests: Mutex::default(),
            scrolls: Mutex::default(),
            tokens: Mutex::default(),
            serial: AtomicU64::new(1),
        }
    }

    pub(super) fn world(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the world; requests under way keep the one they began with.
    pub(super) fn change(&self, change: impl FnOnce(&mut World)) {
        let mut current = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let mut world = current.world.clone();
        change(&mut world);
        *current = Arc::new(Snapshot::new(world));
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        let mut current = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(FaultCounter::new(faults));
    }

    fn faults(&self) -> Arc<FaultCounter> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn requests(&self) -> Vec<RequestLog> {
        lock(&self.requests).clone()
    }

    pub(super) fn clear_requests(&self) {
        lock(&self.requests).clear();
    }

    pub(super) fn scrolls(&self) -> MutexGuard<'_, HashMap<String, Scroll>> {
        lock(&self.scrolls)
    }

    /// Remembers a token that was given.
    pub(super) fn issue(&self, token: &str, lifetime: Duration) {
        let issued = Issued { until: Instant::now() + lifetime, uses: self.options.token_uses };
        lock(&self.tokens).insert(token.to_owned(), issued);
    }

    /// Whether a token that was given is still good, which is one use of it; none if it is unknown.
    pub(super) fn accepts(&self, token: &str) -> Option<bool> {
        let mut tokens = lock(&self.tokens);
        let issued = tokens.get_mut(token)?;
        let is_good = issued.until > Instant::now() && issued.uses != Some(0);
        issued.uses = issued.uses.map(|it| it.saturating_sub(1));
        Some(is_good)
    }

    /// A number that no other caller gets.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// The server's clock, if the options gave one.
    pub(super) fn clock(&self) -> Option<DateTime<Utc>> {
        self.options.clock.map(|start| start + self.started.elapsed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, taken apart.
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) world: Arc<Snapshot>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    params: Vec<(String, String)>,
    faults: Option<Arc<FaultCounter>>,
}

impl Call {
    /// The scheme-less `host:port` the client used.
    pub(super) fn host(&self) -> String {
        let host = self.header("host").map(ToOwned::to_owned);
        host.unwrap_or_else(|| self.shared.address.to_string())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params_named(name).next()
    }

    pub(super) fn params_named(&self, name: &str) -> impl Iterator<Item = &str> {
        self.params.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as a number; none when it is absent, an error when it is something else.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let wrong = |_| format!("`{name}` is not a number");
        self.param(name).filter(|it| !it.is_empty()).map(str::parse).transpose().map_err(wrong)
    }

    /// The body as JSON; an empty one is an empty object.
    pub(super) fn json(&self) -> Option<Value> {
        if self.body.is_empty() {
            return Some(json!({}));
        }
        serde_json::from_slice(&self.body).ok()
    }

    /// The page size that is really given.
    pub(super) fn size(&self, asked: u64, max: u64) -> u64 {
        let cap = self.shared.options.page_cap.map_or(u64::MAX, |cap| cap as u64);
        asked.min(max).min(cap).max(1)
    }

    /// Whether the faults change what pages say.
    pub(super) fn has_lying_pages(&self) -> bool {
        self.faults.as_ref().is_some_and(|it| it.faults.has_lying_pages())
    }

    /// The number beyond which totals saturate and pages are refused.
    pub(super) fn ceiling(&self) -> u64 {
        self.declared_ceiling().unwrap_or(WINDOW)
    }

    fn declared_ceiling(&self) -> Option<u64> {
        self.faults.as_ref().and_then(|it| it.faults.saturate_at)
    }

    /// The total that is stated: the true one, unless a fault changes it.
    pub(super) fn total(&self, rows: usize) -> i64 {
        let ceiling = self.declared_ceiling().unwrap_or(u64::MAX);
        let rows = i64::try_from((rows as u64).min(ceiling)).unwrap_or(i64::MAX);
        match &self.faults {
            Some(it) if it.faults.wrong_total != 0 && it.hit() => {
                rows.saturating_add(it.faults.wrong_total)
            }
            _ => rows,
        }
    }

    /// The position from which rows are really given.
    pub(super) fn position(&self, offset: u64) -> usize {
        let repeats = |it: &Arc<FaultCounter>| it.faults.repeat_page && it.hit();
        if offset > 0 && self.faults.as_ref().is_some_and(repeats) {
            return 0;
        }
        usize::try_from(offset).unwrap_or(usize::MAX)
    }

    /// Lets a record slip in before a later page, where the faults say so.
    pub(super) fn slip_in(&mut self, offset: u64, insert: impl FnOnce(&mut World)) {
        let inserts = |it: &Arc<FaultCounter>| it.faults.insert_while_paging && it.hit();
        if offset > 0 && self.faults.as_ref().is_some_and(inserts) {
            self.shared.change(insert);
            self.world = self.shared.world();
        }
    }
}

/// A JSON answer.
pub(super) fn reply(status: u16, body: &Value) -> Response {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json;charset=UTF-8")], bytes).into_response()
}

/// An HTML answer.
pub(super) fn html(status: u16, title: &str) -> Response {
    let body = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    );
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "text/html;charset=UTF-8")], body).into_response()
}

/// Adds a header to an answer, beside any of the same name.
pub(super) fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(HeaderName::from_static(name), value);
    }
    response
}

/// Serves on a runtime of its own until `stopped` resolves, then drops every connection.
pub(super) fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    ready: oneshot::Sender<io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(2).thread_name("simulator").enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            let _ = ready.send(Err(err));
            return;
        }
    };
    runtime.block_on(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(err) => {
                let _ = ready.send(Err(err));
                return;
            }
        };
        let listener = listener.tap_io(|stream| {
            // Small answers must not wait for more; that it failed would only make them slower.
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new().fallback(serve).with_state(shared);
        let _ = ready.send(Ok(()));
        tokio::select! {
            _ = axum::serve(listener, router) => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return html(413, "Payload Too Large");
    };
    let path = parts.uri.path().to_owned();
    if let Some(command) = path.strip_prefix("/_sim/") {
        return control(&shared, &parts.method, command, &body);
    }
    let at_ms = u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let faults = Some(shared.faults()).filter(|it| it.matches(&path));
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut call = Call {
        world: shared.world(),
        method: parts.method,
        params: params(&query),
        headers: parts.headers,
        faults: faults.clone(),
        shared,
        path,
        query,
        body,
    };
    let response = match &faults {
        Some(faults) => troubled(&mut call, faults).await,
        None => answer(&mut call).await,
    };
    let response = match call.shared.clock() {
        Some(now) => with_header(response, "date", &httpdate::fmt_http_date(now.into())),
        None => response,
    };
    tracing::debug!(method = %call.method, path = %call.path, status = response.status().as_u16(), "request");
    lock(&call.shared.requests).push(RequestLog {
        method: call.method.to_string(),
        path: call.path,
        query: call.query,
        body: String::from_utf8_lossy(&call.body).into_owned(),
        status: response.status().as_u16(),
        at_ms,
    });
    response
}

async fn answer(call: &mut Call) -> Response {
    let Some(key) = PageKey::of(call) else { return render(call) };
    let world = call.world.clone();
    match world.pages.get(&key) {
        Some(page) => page,
        None => world.pages.keep(key, render(call)).await,
    }
}

fn render(call: &mut Call) -> Response {
    let path = call.path.clone();
    let segments: Vec<String> = path
        .split('/')
        .filter(|it| !it.is_empty())
        .map(|it| percent_decode_str(it).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["tracker", version @ ("v2" | "v3"), rest @ ..] => tracker::answer(call, version, rest),
        ["jira", "rest", rest @ ..] => timesheet::answer(call, rest),
        ["codearts", rest @ ..] => codearts::answer(call, rest),
        ["iam", rest @ ..] => iam::answer(call, rest),
        _ => html(404, "Not Found"),
    }
}

async fn troubled(call: &mut Call, counter: &FaultCounter) -> Response {
    let faults = &counter.faults;
    if faults.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(faults.latency_ms)).await;
    }
    let trouble = counter.next(&call.path, (&call.query, &call.body));
    let response = match &trouble {
        None
        | Some(
            Trouble::Reset
            | Trouble::Truncate
            | Trouble::TruncatedGzip
            | Trouble::Slow
            | Trouble::Stall,
        ) => answer(call).await,
        Some(Trouble::InternalError) => html(500, "Internal Server Error"),
        Some(Trouble::GatewayTimeout) => html(504, "Gateway Timeout"),
        Some(Trouble::TooLarge) => html(413, "Payload Too Large"),
        Some(Trouble::Empty) => StatusCode::OK.into_response(),
        Some(Trouble::RateLimit(limit)) => too_many(&call.path, limit),
        Some(Trouble::ServerError) => html(503, "Service Unavailable"),
        Some(Trouble::HtmlLogin) => html(200, "Log in"),
        Some(Trouble::StatusError) => reply(
            200,
            &json!({"status": "error", "error": {"code": "PM.02175000", "reason": "system busy"}}),
        ),
        Some(Trouble::ThrottleBody) => reply(
            400,
            &json!({"error_code": "PM.02153001", "error_msg": "The access rate is too high."}),
        ),
    };
    if trouble.is_none() && faults.slow_drip_ms == 0 {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    match trouble {
        Some(Trouble::Reset) => {
            // A body that breaks off before its declared length closes the connection.
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len().max(1)));
            Response::from_parts(parts, Body::from_stream(broken_off(half)))
        }
        Some(Trouble::Truncate) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(half))
        }
        Some(Trouble::TruncatedGzip) => {
            let zipped = gzipped(&bytes);
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(zipped.slice(..zipped.len() / 2)))
        }
        Some(Trouble::Stall) => {
            let body = stream::iter([Ok::<_, io::Error>(half)]).chain(stream::pending());
            Response::from_parts(parts, Body::from_stream(body))
        }
        Some(Trouble::Slow) => {
            Response::from_parts(parts, Body::from_stream(drip(bytes, Duration::from_millis(2))))
        }
        _ if faults.slow_drip_ms > 0 => {
            let pause = Duration::from_millis(faults.slow_drip_ms);
            Response::from_parts(parts, Body::from_stream(drip(bytes, pause)))
        }
        _ => Response::from_parts(parts, Body::from(bytes)),
    }
}

/// The bytes, then an error; the pause lets the bytes leave before the connection goes.
fn broken_off(bytes: Bytes) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let end = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "simulated reset"))
    };
    stream::iter([Ok(bytes)]).chain(stream::once(end))
}

fn gzipped(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default().into()
}

/// The bytes in at most sixteen pieces with a pause before each.
fn drip(bytes: Bytes, pause: Duration) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let piece = bytes.len().div_ceil(16).max(1);
    stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok(next), rest))
    })
}

/// "Too many requests" in the words of the system that was asked.
fn too_many(path: &str, limit: &RateLimit) -> Response {
    let body = if path.starts_with("/tracker/") {
        json!({"errors": {}, "errorMessages": ["Too many requests"], "statusCode": limit.status})
    } else if path.starts_with("/jira/") {
        json!({"errorMessages": ["Rate limit exceeded."], "errors": {}})
    } else {
        json!({"error_code": "APIGW.0308", "error_msg": "The throttling threshold has been reached: policy user over ratelimit,limit:600,time:1 minute", "request_id": "simulated"})
    };
    let response = reply(limit.status, &body);
    match &limit.retry_after {
        Some(value) => with_header(response, "retry-after", value),
        None => response,
    }
}

/// What another process may ask of the simulator.
fn control(shared: &Shared, method: &Method, command: &str, body: &[u8]) -> Response {
    match (method, command) {
        (&Method::POST, "next_day") => {
            shared.change(World::next_day);
            reply(200, &json!({"today": shared.world().today}))
        }
        (&Method::GET, "requests") => reply(200, &json!(shared.requests())),
        (&Method::DELETE, "requests") => {
            shared.clear_requests();
            reply(200, &json!({}))
        }
        (&Method::GET, "world") => reply(200, &json!(shared.world().world)),
        (&Method::POST, "faults") => match serde_json::from_slice::<Faults>(body) {
            Ok(faults) => {
                let answer = json!(faults);
                shared.set_faults(faults);
                reply(200, &answer)
            }
            Err(err) => reply(400, &json!({"error": err.to_string()})),
        },
        _ => reply(404, &json!({"error": "no such command"})),
    }
}

/// The pairs of a query string; a plus sign that was not encoded is a space.
fn params(query: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|it| !it.is_empty());
    pairs
        .map(|it| it.split_once('=').unwrap_or((it, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// Encodes a value for a query string.
pub(super) fn query_value(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}
