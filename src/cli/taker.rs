//! Whoever takes what is written to stdout: once nobody does, nothing more need be asked for.

use std::{io, os::fd::AsFd as _, path::Path};

use tokio::{io::Interest, net::unix::pipe::Sender};

/// The other end of stdout; nobody where that is a file.
pub(super) struct Taker(Option<Sender>);

impl Taker {
    /// Watches who takes what is written to `output` (`-` is stdout), by the runtime that it is called in.
    pub(super) fn of(output: &Path) -> Self {
        let is_stdout = output == Path::new("-");
        let stdout = is_stdout.then(|| io::stdout().as_fd().try_clone_to_owned().ok()).flatten();
        // Unchecked, because it is not written to: stdout stays one that waits. No file can be watched.
        Self(stdout.and_then(|it| Sender::from_owned_fd_unchecked(it).ok()))
    }

    /// Ends when nobody takes anything any more, which a write would tell only with the next page; on
    /// systems other than Linux it may not end.
    pub(super) async fn gone(&self) {
        if let Some(stdout) = &self.0 {
            // A wake-up may be one for nothing.
            while let Ok(ready) = stdout.ready(Interest::ERROR).await {
                if ready.is_error() {
                    return;
                }
            }
        }
        std::future::pending::<()>().await;
    }
}
