//! Why a request could not be logged in.

use std::time::Duration;

/// A credential that cannot be put into a header.
#[derive(Debug, thiserror::Error)]
#[error("the credential for `{header}` has characters that a header cannot carry")]
pub struct InvalidCredential {
    pub(super) header: String,
}

/// Why there is no token. All requests that waited for it get the same error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogInError {
    /// The server that gives tokens does not answer.
    #[error("no answer from `{url}`: {reason}")]
    Unanswered {
        /// The URL without its query.
        url: String,
        /// Whether it may answer later.
        may_pass: bool,
        /// Why.
        reason: String,
    },
    /// It refuses.
    #[error("`{url}` answers the log-in with status {status}{detail}")]
    Status {
        /// The URL without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server says, with `: ` before it and without credentials.
        detail: String,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// Its answer has no token where it should be.
    #[error("the answer of `{url}` gives no token: {reason}")]
    NoToken {
        /// The URL without its query.
        url: String,
        /// What is missing; nothing of the answer itself.
        reason: String,
    },
    /// What the pipeline is given cannot ask for a token.
    #[error("the credentials cannot be used: {reason}")]
    Unusable {
        /// Why; nothing of the credentials themselves.
        reason: String,
    },
}

impl LogInError {
    /// Whether asking again may help. What is refused for good is not asked again: accounts are
    /// locked after a few wrong passwords.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered { may_pass, .. } => *may_pass,
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 520..=524)
            }
            Self::NoToken { .. } | Self::Unusable { .. } => false,
        }
    }
}

impl From<InvalidCredential> for LogInError {
    fn from(err: InvalidCredential) -> Self {
        Self::Unusable { reason: err.to_string() }
    }
}
