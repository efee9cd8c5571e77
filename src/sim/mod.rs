//! A server that speaks the three source APIs as they are documented, traps included.
//!
//! ```text
//!   SimOptions ──▶ World (plain records) ──▶ one axum server on a thread of its own
//!                    │                         /tracker/v2|v3/…       Yandex Tracker
//!                    │ next_day, faults        /jira/rest/…           Jira with the timesheet plugin
//!                    │                         /codearts/v2|v3|v4/…   CodeArts Req and IAM
//!                    │                         /iam/v1/tokens         IAM of Yandex Cloud
//!                    ▼                         /_sim/…                control, for other processes
//!               World snapshot, for a test's expectations
//! ```
//!
//! Control paths: `POST /_sim/next_day`, `POST /_sim/faults` (the JSON of [`Faults`]), `GET /_sim/world`,
//! `GET` and `DELETE /_sim/requests`.
//!
//! The demo, the tests and the benchmarks run against it; pipelines run unchanged, only their variables
//! differ. It never reads the host's clock: where a clock is needed, the options give it.

pub mod world;
mod options;
mod server;
mod fault;
mod jira_search;
mod kept;
mod tracker;
mod tracker_search;
mod tracker_query;
mod timesheet;
mod codearts;
mod iam;
mod sign;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::Serialize;
use tokio::sync::oneshot;

pub use fault::{Chaos, Faults, RateLimit};
pub use options::{ServiceAccount, SimOptions};
pub use world::World;

use server::Shared;

/// A running simulator; it ends when it is dropped or stopped.
///
/// It has a thread and a runtime of its own, so a test may block while it answers, and an end closes
/// every connection at once.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One request that the simulator answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestLog {
    /// The method.
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// The query string as sent, without the question mark.
    pub query: String,
    /// The body as text; empty for most requests.
    pub body: String,
    /// The status answered.
    pub status: u16,
    /// When it came: milliseconds since the simulator started.
    pub at_ms: u64,
}

impl Simulator {
    /// Generates the world and starts to serve it.
    pub async fn start(options: SimOptions) -> io::Result<Simulator> {
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared::new(options, listener.local_addr()?));
        let (shutdown, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(move || server::run(listener, served, ready, stopped))?;
        let simulator = Simulator { shared, shutdown: Some(shutdown), thread: Some(thread) };
        match is_ready.await {
            Ok(started) => started.map(|()| simulator),
            Err(_) => Err(io::Error::other("the simulator's thread ended before it could serve")),
        }
    }

    /// Ends the server and waits until its port is free.
    pub async fn stop(mut self) {
        self.shutdown.take();
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself within milliseconds; only its panic could be reported here.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The options it was started with.
    pub fn options(&self) -> &SimOptions {
        &self.shared.options
    }

    /// The base URL of Yandex Tracker, before `/v2` or `/v3`.
    pub fn tracker_url(&self) -> String {
        format!("http://{}/tracker", self.address())
    }

    /// Where IAM of Yandex Cloud gives tokens.
    pub fn yandex_iam_url(&self) -> String {
        format!("http://{}/iam/v1/tokens", self.address())
    }

    /// The base URL of Jira, with its context path, before `/rest`.
    pub fn jira_url(&self) -> String {
        format!("http://{}/jira", self.address())
    }

    /// The base URL of `CodeArts` and of its IAM, before `/v2`, `/v3` or `/v4`.
    pub fn codearts_url(&self) -> String {
        format!("http://{}/codearts", self.address())
    }

    /// The environment variables with which the shipped pipelines read this simulator.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let (options, world) = (self.options(), self.shared.world());
        let since = options.today - chrono::TimeDelta::days(100);
        let project = world.codearts.projects.first().map(|it| it.project_id.clone());
        vec![
            ("YANDEX_TRACKER_URL", self.tracker_url()),
            ("YANDEX_TRACKER_TOKEN", options.tracker_token.clone()),
            ("YANDEX_TRACKER_ORG_ID", options.tracker_org_id.clone()),
            ("JIRA_URL", self.jira_url()),
            ("JIRA_TOKEN", options.jira_token.clone()),
            ("JIRA_ZONE", world.jira.zone.clone()),
            ("JIRA_SINCE", since.to_string()),
            ("CODEARTS_URL", self.codearts_url()),
            ("CODEARTS_PROJECT_ID", project.unwrap_or_default()),
            ("CODEARTS_TOKEN", options.codearts_token.clone()),
            ("CODEARTS_SINCE", since.to_string()),
        ]
    }

    /// A snapshot of all data as it is now.
    pub fn world(&self) -> World {
        self.shared.world().world.clone()
    }

    /// Moves the world on by one day.
    pub fn next_day(&self) {
        self.shared.change(World::next_day);
    }

    /// Replaces the faults and starts their counters anew.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// The requests answered so far, in order; those of the control paths are left out.
    pub fn requests(&self) -> Vec<RequestLog> {
        self.shared.requests()
    }

    /// Forgets the requests answered so far.
    pub fn clear_requests(&self) {
        self.shared.clear_requests();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shutdown.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
