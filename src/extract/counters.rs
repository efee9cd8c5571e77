//! What progress bars and reports read while requests are under way.

use std::sync::atomic::AtomicU64;

/// Counters that a progress bar and a report read while requests are under way.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests sent, repetitions included.
    pub requests: AtomicU64,
    /// Requests that were sent again.
    pub retries: AtomicU64,
    /// Bytes of bodies, after decompression.
    pub bytes: AtomicU64,
    /// Microseconds that requests waited for their turn.
    pub turn_micros: AtomicU64,
    /// Microseconds that requests waited to be sent again.
    pub retry_micros: AtomicU64,
    /// How often smaller pages were asked for, because one was too much.
    pub shrinks: AtomicU64,
    /// Until when the server wants no requests, in seconds since 1970-01-01 UTC; 0 for never.
    pub resumes_at: AtomicU64,
}
