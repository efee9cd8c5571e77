//! Why a slice could not be read to its end.

use super::{Exhausted, RequestError, SendError, StuckPaging, UnreadableBody};
use crate::plan::JsonPath;

/// Why a slice could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The request cannot be made.
    #[error("cannot make the request")]
    Request(#[source] RequestError),
    /// The request has no whole response.
    #[error("request failed after {attempts} {}", if *.attempts == 1 { "try" } else { "tries" })]
    Send {
        /// Tries, the first included.
        attempts: u32,
        /// Of the last try.
        source: SendError,
    },
    /// The server refuses the credentials.
    #[error("`{url}` refuses the credentials with status {status}{detail}")]
    Unauthorized {
        /// The URL without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server says, with `: ` before it.
        detail: String,
    },
    /// The server answers with something that is not a page.
    #[error("`{url}` answers with status {status} after {attempts} {}{detail}", if *.attempts == 1 { "try" } else { "tries" })]
    Status {
        /// The URL without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Tries, the first included.
        attempts: u32,
        /// What the server says, with `: ` before it.
        detail: String,
    },
    /// A parent's slice is refused as those of all other parents are.
    #[error("access is refused with status 403, as to every other parent that was asked about")]
    Forbidden,
    /// A redirect leads where a request must not go.
    #[error("`{url}` redirects to `{location}`, {reason}")]
    Redirected {
        /// The URL without its query.
        url: String,
        /// Where to, without its query.
        location: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// A web page came instead of JSON.
    #[error("`{url}` answers with a web page instead of JSON{detail}")]
    WebPage {
        /// The URL without its query.
        url: String,
        /// The page's title, with `: ` before it.
        detail: String,
    },
    /// The body is not JSON.
    #[error("the body from `{url}` cannot be read after {attempts} {}", if *.attempts == 1 { "try" } else { "tries" })]
    Body {
        /// The URL without its query.
        url: String,
        /// Tries, the first included.
        attempts: u32,
        /// What is wrong with it.
        source: UnreadableBody,
    },
    /// The body has no records where they should be.
    #[error("the body from `{url}` has no records at `{path}`: {found}")]
    NoRecords {
        /// The URL without its query.
        url: String,
        /// The records path.
        path: JsonPath,
        /// What the body has instead.
        found: String,
    },
    /// Paging cannot go on.
    #[error("paging cannot go on")]
    Paging(#[source] StuckPaging),
    /// Fewer records than the API's own total, even after reading again.
    #[error("the API says {expected} records, but only {found} different ones came")]
    Short {
        /// The API's own total.
        expected: u64,
        /// What arrived.
        found: u64,
    },
    /// The API's own total changed while pages of records without a key were read, again and again.
    #[error("the API's total moved between {from} and {to} while its pages were read")]
    Moved {
        /// The smallest total.
        from: u64,
        /// The largest.
        to: u64,
    },
    /// More records than the API gives, in a window that cannot be cut further.
    #[error(
        "the API counts {total} records here, more than it gives, and the slice cannot be cut further"
    )]
    Capped {
        /// The API's own total.
        total: u64,
    },
    /// Records are missing of a total that was that of a longer window, too.
    #[error(
        "the API says {total} records here and in a window twice as long, and not all of them came"
    )]
    SameTotal {
        /// The API's own total.
        total: u64,
    },
    /// Windows were cut again and again, and what the API says still does not add up.
    #[error(
        "the API says {total} records after {cuts} cuts of one slice, and it still does not add up"
    )]
    Endless {
        /// The API's own total for the last of the parts.
        total: u64,
        /// Cuts for the same reason.
        cuts: u32,
    },
    /// A slice of a stream without a key is more than can be kept until it has ended.
    #[error("the slice has more than {} MiB of rows, which are kept in memory until it ends", limit >> 20)]
    TooMuchHeld {
        /// The largest number of bytes.
        limit: usize,
    },
    /// Nothing more is asked in this run.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// The run was stopped, or another slice met an error that holds for all.
    #[error("not read, because the run stops")]
    Stopped,
}

impl ExtractError {
    /// Whether a smaller page might come where this one did not.
    pub(super) fn is_too_much(&self) -> bool {
        matches!(
            self,
            Self::Status { status: 413 | 504, .. }
                | Self::Send { source: SendError::TooLarge { .. }, .. }
        )
    }

    /// Whether the answer, which may be another one later, says that too much is asked for at once: by
    /// its status, or by a body that a rule of the pipeline knows.
    pub(super) fn is_throttling(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                matches!(status, 200..=499 | 503) && !matches!(status, 408 | 413 | 425)
            }
            _ => false,
        }
    }

    /// Whether the server may have answered with a page that did not arrive.
    pub(super) fn may_have_lost_a_page(&self) -> bool {
        match self {
            Self::Send { source: SendError::Timeout { .. } | SendError::Broken { .. }, .. }
            | Self::Body { .. } => true,
            Self::Status { status, .. } => matches!(status, 500 | 502 | 504 | 520..=524),
            _ => false,
        }
    }

    /// Whether the server may know the token no longer that leads to the page.
    pub(super) fn may_have_expired(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 404 | 410, .. })
    }

    /// Whether the error says why something was not read, not only that it was left.
    pub fn is_cause(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Exhausted(_))
    }

    /// Whether the pipeline itself says that this is left for another run.
    pub fn is_declared(&self) -> bool {
        matches!(self, Self::Exhausted(reason) if reason.is_declared())
    }

    /// Whether every other request of the source would fail in the same way.
    pub fn holds_for_all(&self) -> bool {
        match self {
            Self::Unauthorized { .. }
            | Self::Redirected { .. }
            | Self::WebPage { .. }
            | Self::Stopped
            | Self::Send {
                source:
                    SendError::Client(_)
                    | SendError::Credential(_)
                    | SendError::LogIn(_)
                    | SendError::Connect { .. },
                ..
            } => true,
            Self::Request(_)
            | Self::Send { .. }
            | Self::Status { .. }
            | Self::Forbidden
            | Self::Body { .. }
            | Self::NoRecords { .. }
            | Self::Paging(_)
            | Self::Short { .. }
            | Self::Moved { .. }
            | Self::Capped { .. }
            | Self::SameTotal { .. }
            | Self::Endless { .. }
            | Self::TooMuchHeld { .. }
            | Self::Exhausted(_) => false,
        }
    }
}
