//! A small HTTP server for tests: a closure answers, and every request is remembered.
//!
//! It knows nothing of the program's own HTTP code, so that an error there cannot hide itself.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use serde_json::Value;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, still percent-encoded.
    pub(crate) path: String,
    /// Decoded, in order; a name may come more than once.
    pub(crate) query: Vec<(String, String)>,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    /// The first value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a number; 0 where it is not there.
    pub(crate) fn number(&self, name: &str) -> usize {
        self.param(name).map_or(0, |it| it.parse().unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The URL under which the server was asked, up to the path.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.header("host"))
    }

    /// The JSON body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The request on one line: `POST /items?offset=0 {"a":1}`, its query decoded.
    pub(crate) fn line(&self) -> String {
        let pairs: Vec<String> = self.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        let body = if self.body.is_empty() { String::new() } else { format!(" {}", self.body) };
        format!("{} {}{query}{body}", self.method, self.path)
    }
}

/// A response to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    is_cut: bool,
}

impl Response {
    /// Any status with any text.
    pub(crate) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), is_cut: false }
    }

    /// Status 200 with JSON.
    pub(crate) fn json(body: &Value) -> Self {
        Self::status(200, body)
    }

    /// Any status with JSON.
    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string()).header("content-type", "application/json")
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Closes the connection in the middle of the body.
    #[must_use]
    pub(crate) fn cut(mut self) -> Self {
        self.is_cut = true;
        self
    }
}

/// A server on a free port of this machine, until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; each connection has its own thread, so that an answer may take its time.
    pub(crate) fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let stopped = Arc::<AtomicBool>::default();
        let answer = Arc::new(answer);
        let accepting = std::thread::spawn({
            let (requests, stopped) = (Arc::clone(&requests), Arc::clone(&stopped));
            move || {
                for connection in listener.incoming() {
                    if stopped.load(SeqCst) {
                        break;
                    }
                    let Ok(connection) = connection else { continue };
                    let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                    std::thread::spawn(move || serve(&connection, &requests, &*answer));
                }
            }
        });
        Self { address, requests, stopped, accepting: Some(accepting) }
    }

    /// Such as `http://127.0.0.1:40123`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests so far, one a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Answers the one request of a connection; a client that goes away is no error.
fn serve(
    mut connection: &TcpStream,
    requests: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Response,
) {
    let Some(request) = read(&mut BufReader::new(connection)) else { return };
    requests.lock().unwrap().push(request.clone());
    let Response { status, headers, mut body, is_cut } = answer(&request);
    let length = body.len();
    let headers: String =
        headers.iter().flat_map(|(it, value)| [it, ": ", value, "\r\n"]).collect();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    if is_cut {
        body.truncate(body.len() / 2);
    }
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body));
}

fn read(from: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request {
        method,
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
