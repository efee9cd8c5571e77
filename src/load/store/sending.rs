//! Small objects on their way: who wrote one goes on, and asks whether it arrived before it counts on it.
//!
//! ```text
//! finish    its put is sent, once there is room: 16 at a time, and no more than 32 MiB
//! sync      waits until it is there, or says why not
//! remove    waits for it as well, lest it comes after its removal
//! ```
//!
//! The threads that encode are as many as the host has cores: each waiting for an answer of its own, they would
//! have a network of some latency idle most of the time.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio::sync::Semaphore;

use super::{
    connect::{runtime, wait},
    refusal::{Refusal, RefusalKind},
};

/// Kibibytes that are on their way at a time.
const ROOM: u32 = 32 << 10;
/// What the smallest of them takes.
const LEAST: u32 = ROOM / 16;

/// Puts that were sent.
#[derive(Debug)]
pub(super) struct Sending {
    room: Arc<Semaphore>,
    sent: Mutex<BTreeMap<String, mpsc::Receiver<Result<(), Refusal>>>>,
}

impl Default for Sending {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM as usize)), sent: Mutex::default() }
    }
}

/// The part of the room that an object takes.
fn share(bytes: usize) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(ROOM).clamp(LEAST, ROOM)
}

impl Sending {
    /// Sends what is put at `path`, once there is room for its `bytes`.
    pub(super) fn send(
        &self,
        path: &str,
        bytes: usize,
        put: impl Future<Output = Result<(), Refusal>> + Send + 'static,
    ) -> Result<(), Refusal> {
        let room = Arc::clone(&self.room);
        let taken = wait(async move { room.acquire_many_owned(share(bytes)).await })?;
        let taken = taken.map_err(|_| Refusal::plain(RefusalKind::Dropped))?;
        let (send, receive) = mpsc::sync_channel(1);
        runtime()?.spawn(async move {
            let done = put.await;
            drop(taken);
            // Nobody asks any more where the receiver is gone.
            let _ = send.send(done);
        });
        self.sent().insert(path.to_owned(), receive);
        Ok(())
    }

    /// Waits until what was sent to `path`, if anything was, is there.
    pub(super) fn arrived(&self, path: &str) -> Result<(), Refusal> {
        let sent = self.sent().remove(path);
        sent.map_or(Ok(()), |it| it.recv().map_err(|_| Refusal::plain(RefusalKind::Dropped))?)
    }

    /// Waits until nothing is on its way to `path`, or below it.
    pub(super) fn settle(&self, path: &str) {
        let below = format!("{path}/");
        let is_of = |it: &String| it == path || it.starts_with(&below);
        let sent: Vec<_> = self.sent().extract_if(.., |it, _| is_of(it)).map(|it| it.1).collect();
        for it in sent {
            // Whether it is there or not: it goes.
            let _ = it.recv();
        }
    }

    fn sent(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<String, mpsc::Receiver<Result<(), Refusal>>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_was_sent_is_waited_for_once_and_its_failure_is_told() {
        let sending = Sending::default();
        let lost = Refusal::plain(RefusalKind::Dropped);
        let failure = lost.clone();
        sending.send("a", 1, async { Ok(()) }).unwrap();
        sending.send("b", 1, async { Err(failure) }).unwrap();

        assert_eq!(sending.arrived("a"), Ok(()));
        assert_eq!(sending.arrived("b"), Err(lost));
        assert_eq!(sending.arrived("b"), Ok(()));
    }

    #[test]
    fn what_goes_is_waited_for_with_all_below_it() {
        let sending = Sending::default();
        let (answer, answers) = oneshot::channel::<()>();
        let is_there = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&is_there);
        let put = async move {
            let _ = answers.await;
            *seen.lock().unwrap() = true;
            Ok(())
        };
        sending.send("run/s/0", 1, put).unwrap();
        sending.send("runs/0", 1, std::future::pending()).unwrap();
        answer.send(()).unwrap();

        sending.settle("run");
        assert!(*is_there.lock().unwrap());
        assert_eq!(sending.sent().keys().collect::<Vec<_>>(), ["runs/0"]);
    }

    #[test]
    fn so_many_and_so_much_are_on_their_way() {
        for (bytes, at_a_time) in
            [(0, 16), (100 << 10, 16), (2 << 20, 16), (8 << 20, 4), (1 << 30, 1), (usize::MAX, 1)]
        {
            assert_eq!(ROOM / share(bytes), at_a_time, "{bytes}");
        }
    }
}
