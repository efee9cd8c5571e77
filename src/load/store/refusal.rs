//! What an object store refuses, in words: the reason, and never a credential.
//!
//! ```text
//! Generic S3 error: Error performing PUT https://…?X-Amz-… in 1.2s, after 9 retries … <Code>SlowDown</Code>
//! -> the store asks to slow down (503 SlowDown), also after some tries
//! ```
//!
//! The object-store crate's own messages show request URLs and whole bodies, so they are read here
//! and never printed.

use std::{error::Error as StdError, fmt, io};

use super::answer::NotAStore;

/// Why an object store did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::load) struct Refusal {
    /// What to do about it depends on this.
    pub(in crate::load) kind: RefusalKind,
    /// The store's own word for it, such as `503 SlowDown`.
    detail: Option<String>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum RefusalKind {
    /// There is no such object.
    NotFound,
    /// A condition does not hold: the object is there, or is another one.
    Condition,
    /// There is no such bucket.
    NoBucket,
    /// No credentials were found.
    NoCredentials,
    /// The credentials are not accepted.
    Unauthenticated,
    /// The credentials do not allow it.
    Denied,
    /// The clocks of this host and the store differ too much.
    ClockSkew,
    /// The store is overloaded.
    SlowDown,
    /// The store failed.
    Server,
    /// The store cannot be reached.
    Unreachable,
    /// The connection broke, or no answer came in time.
    Dropped,
    /// The store does not know this kind of request.
    Unsupported,
    /// What answers is something else than a store.
    Foreign,
    /// A setting cannot be used.
    Setting,
    /// The run no longer holds its lease.
    LeaseLost,
    /// Anything else.
    Other,
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: Some(detail.into()) }
    }

    pub(super) fn plain(kind: RefusalKind) -> Self {
        Self { kind, detail: None }
    }

    /// Reads an error of the object-store crate.
    pub(super) fn of(err: &object_store::Error) -> Self {
        let mut text = err.to_string();
        let mut cause = err.source();
        let mut is_foreign = false;
        while let Some(source) = cause {
            is_foreign |= source.is::<NotAStore>();
            text.push('\n');
            text.push_str(&source.to_string());
            cause = source.source();
        }
        let kind = match err {
            object_store::Error::NotFound { .. } => Some(RefusalKind::NotFound),
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::NotModified { .. } => Some(RefusalKind::Condition),
            object_store::Error::PermissionDenied { .. } => Some(RefusalKind::Denied),
            object_store::Error::Unauthenticated { .. } => Some(RefusalKind::Unauthenticated),
            object_store::Error::NotImplemented { .. }
            | object_store::Error::NotSupported { .. } => Some(RefusalKind::Unsupported),
            _ if is_foreign => Some(RefusalKind::Foreign),
            _ => None,
        };
        read(kind, &text)
    }

    /// As what files are read and written with.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match self.kind {
            RefusalKind::NotFound => io::ErrorKind::NotFound,
            RefusalKind::Denied | RefusalKind::Unauthenticated => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// The kind of a refusal that was made an I/O error.
    pub(in crate::load) fn kind_of(err: &io::Error) -> Option<RefusalKind> {
        let refusal = err.get_ref()?.downcast_ref::<Self>();
        refusal.map(|it| it.kind)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RefusalKind::NotFound => "there is no such object",
            RefusalKind::Condition => "the object is not as expected",
            RefusalKind::NoBucket => "there is no such bucket",
            RefusalKind::NoCredentials => "no credentials were found",
            RefusalKind::Unauthenticated => "the credentials are not accepted",
            RefusalKind::Denied => "the credentials do not allow it",
            RefusalKind::ClockSkew => "the clock of this host differs too much from the store's",
            RefusalKind::SlowDown => "the store asks to slow down, after several tries",
            RefusalKind::Server => "the store failed, after several tries",
            RefusalKind::Unreachable => "the store cannot be reached",
            RefusalKind::Dropped => "the connection broke, or no answer came in time",
            RefusalKind::Unsupported => "the store cannot do this",
            RefusalKind::Foreign => {
                "what answered is no object store: it sent a page of HTML, or a list that is none"
            }
            RefusalKind::Setting => "a setting cannot be used",
            RefusalKind::LeaseLost => {
                "this run no longer holds the pipeline: its lease was not renewed in time, or another run has it"
            }
            RefusalKind::Other => "the store refused",
        })?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl StdError for Refusal {}

/// What S3 answers to a signature for another region.
const ELSEWHERE: &str = "AuthorizationHeaderMalformed";

/// Finds the store's words in the text of an error. A kind that is known is only made more exact.
fn read(known: Option<RefusalKind>, text: &str) -> Refusal {
    let code = between(text, "<Code>", "</Code>");
    // Of one of the objects that S3 was asked to remove.
    let code = code.or_else(|| between(text, "(code: ", ")")).filter(|it| is_word(it));
    let status = between(text, "status code: ", " ").and_then(|it| it.parse::<u16>().ok());
    let lower = text.to_ascii_lowercase();
    let kind = match (code, status) {
        (Some("NoSuchBucket" | "ContainerNotFound"), _) => RefusalKind::NoBucket,
        (Some("RequestTimeTooSkewed"), _) => RefusalKind::ClockSkew,
        (Some(ELSEWHERE), _) => RefusalKind::Setting,
        (Some("SlowDown" | "ServerBusy" | "Throttling"), _) | (None, Some(429)) => {
            RefusalKind::SlowDown
        }
        (
            Some(
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "AuthenticationFailed",
            ),
            _,
        ) => RefusalKind::Unauthenticated,
        (Some("AccessDenied" | "AuthorizationFailure" | "AllAccessDisabled"), _) => {
            RefusalKind::Denied
        }
        // S3 may begin to answer well, and fail then.
        (Some("InternalError"), None) => RefusalKind::Server,
        (Some("NotImplemented"), _) | (_, Some(501)) => RefusalKind::Unsupported,
        _ => match (known, status) {
            (Some(kind), _) => kind,
            (None, Some(401)) => RefusalKind::Unauthenticated,
            (None, Some(403)) => RefusalKind::Denied,
            (None, Some(503)) => RefusalKind::SlowDown,
            (None, Some(500..)) => RefusalKind::Server,
            (None, None) if lower.contains("scheme is not allowed") => RefusalKind::Setting,
            (None, None) if is_unreachable(&lower) => RefusalKind::Unreachable,
            (None, None)
                if ["timed out", "timeout", "connection", "incomplete", "sending request"]
                    .iter()
                    .any(|it| lower.contains(it)) =>
            {
                RefusalKind::Dropped
            }
            (None, _) => RefusalKind::Other,
        },
    };
    let detail = match (status, code) {
        (Some(status), Some(ELSEWHERE)) => {
            Some(format!("{status} {ELSEWHERE}: AWS_REGION has to name the bucket's region"))
        }
        (Some(status), Some(code)) => Some(format!("{status} {code}")),
        (Some(status), None) => Some(status.to_string()),
        (None, Some(code)) => Some(code.to_owned()),
        (None, None) if lower.contains("scheme is not allowed") => {
            Some("the endpoint is plain `http:`, so that all would go in the clear".to_owned())
        }
        (None, None) if lower.contains("redirect without location") => {
            Some("the bucket is in another region, which AWS_REGION has to name".to_owned())
        }
        (None, None) => None,
    };
    Refusal { kind, detail }
}

fn is_unreachable(lower: &str) -> bool {
    [
        "connection refused",
        "dns error",
        "failed to lookup",
        "tcp connect error",
        "error trying to connect",
        "connect error",
        "no route to host",
        "unreachable",
    ]
    .iter()
    .any(|it| lower.contains(it))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|it| it.0)
}

/// Whether it can be a code, so that nothing else gets into messages.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_and_nothing_else_is_shown() {
        let around = |status: &str, code: &str| {
            format!(
                "Generic S3 error: Error performing PUT http://127.0.0.1:9/b/k?X-Amz-Signature=hunter2 in 1s - Server returned non-2xx status code: {status} : <Error><Code>{code}</Code><AWSAccessKeyId>hunter2</AWSAccessKeyId></Error>"
            )
        };
        for (known, text, kind, shown) in [
            (None, around("503", "SlowDown"), RefusalKind::SlowDown, "(503 SlowDown)"),
            (None, around("500", "InternalError"), RefusalKind::Server, "(500 InternalError)"),
            (
                Some(RefusalKind::NotFound),
                around("404", "NoSuchBucket"),
                RefusalKind::NoBucket,
                "(404 NoSuchBucket)",
            ),
            (
                Some(RefusalKind::Denied),
                around("403", "RequestTimeTooSkewed"),
                RefusalKind::ClockSkew,
                "(403 RequestTimeTooSkewed)",
            ),
            (
                Some(RefusalKind::Denied),
                around("403", "AccessDenied"),
                RefusalKind::Denied,
                "(403 AccessDenied)",
            ),
            (
                Some(RefusalKind::Denied),
                around("403", "InvalidAccessKeyId"),
                RefusalKind::Unauthenticated,
                "(403 InvalidAccessKeyId)",
            ),
            (
                None,
                around("401", "AuthenticationRequired"),
                RefusalKind::Unauthenticated,
                "(401 AuthenticationRequired)",
            ),
            (
                None,
                "DeleteObjects request failed for key a/b: Access Denied (code: AccessDenied)"
                    .to_owned(),
                RefusalKind::Denied,
                "(AccessDenied)",
            ),
            (
                None,
                "Error performing PUT request: 200 OK with <Code>InternalError</Code>".to_owned(),
                RefusalKind::Server,
                "(InternalError)",
            ),
            (None, around("403", "Forbidden"), RefusalKind::Denied, "(403 Forbidden)"),
            (
                None,
                around("400", "AuthorizationHeaderMalformed"),
                RefusalKind::Setting,
                "AuthorizationHeaderMalformed: AWS_REGION has to name",
            ),
            (
                Some(RefusalKind::Denied),
                around("403", "<b>hunter2</b>"),
                RefusalKind::Denied,
                "(403)",
            ),
            (
                None,
                "HTTP error: tcp connect error: Connection refused (os error 111)".to_owned(),
                RefusalKind::Unreachable,
                "reached",
            ),
            (
                None,
                "HTTP error: connection closed before message completed".to_owned(),
                RefusalKind::Dropped,
                "broke",
            ),
        ] {
            let refusal = read(known, &text);
            assert_eq!(refusal.kind, kind, "{text}");
            assert!(refusal.to_string().contains(shown), "{refusal}");
            assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        }
    }
}
