//! A server below HTTP: what it writes, byte by byte, is up to the test.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{
    io::{self, Read as _, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

/// The connection of one request.
pub(crate) struct Wire<'a> {
    stream: &'a TcpStream,
    sent: &'a AtomicU64,
}

impl Wire<'_> {
    /// Writes `bytes` again and again until nobody takes them any more.
    pub(crate) fn forever(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            self.write_all(bytes)?;
        }
    }

    /// Writes a byte now and then until nobody takes them any more.
    pub(crate) fn drip(&mut self, byte: u8) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        loop {
            self.write_all(&[byte])?;
            // Waits for the client to go away, or a little.
            if matches!(self.stream.read(&mut [0]), Ok(0)) {
                return Ok(());
            }
        }
    }

    /// Says nothing more until the client goes away.
    pub(crate) fn hang(&mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.sent.fetch_add(written as u64, SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// As usual.
    Properly,
    /// With a reset: the request is left unread in its buffer.
    WithReset,
    /// The first connection with a reset, later ones as usual.
    FirstWithReset,
}

/// A server on a free port of this machine, until it is dropped.
pub(crate) struct Raw {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Raw {
    /// Starts a server; `behave` gets the number of the request, from 0, and its connection, and an
    /// error there only ends the connection.
    pub(crate) fn start(
        close: Close,
        behave: impl Fn(usize, &mut Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (sent, stopped) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let behave = Arc::new(behave);
        let accepting = std::thread::spawn({
            let (requests, sent, stopped) = (requests.clone(), sent.clone(), stopped.clone());
            move || {
                let mut is_first = true;
                for connection in listener.incoming() {
                    if stopped.load(SeqCst) {
                        break;
                    }
                    let Ok(stream) = connection else { continue };
                    let (requests, sent) = (requests.clone(), sent.clone());
                    let behave = behave.clone();
                    let close = match close {
                        Close::FirstWithReset if is_first => Close::WithReset,
                        Close::FirstWithReset => Close::Properly,
                        same => same,
                    };
                    is_first = false;
                    std::thread::spawn(move || {
                        let Ok(request) = head(&stream, close) else { return };
                        let nth = {
                            let mut requests = requests.lock().unwrap();
                            requests.push(request);
                            requests.len() - 1
                        };
                        let mut wire = Wire { stream: &stream, sent: &sent };
                        // The client may go away at any time.
                        let _ = behave(nth, &mut wire);
                    });
                }
            }
        });
        Self { address, requests, sent, stopped, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Bytes that could be written so far, those in the buffers of the system included.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// The head of a request; it stays in the buffer where the close is to be a reset.
fn head(mut stream: &TcpStream, close: Close) -> io::Result<String> {
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        let read = match close {
            Close::Properly => stream.read(&mut buffer[filled..])? + filled,
            Close::WithReset | Close::FirstWithReset => stream.peek(&mut buffer)?,
        };
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        if text.contains("\r\n\r\n") {
            return Ok(text);
        }
        if read == filled {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled = read;
    }
}
