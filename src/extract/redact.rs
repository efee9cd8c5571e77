//! What a server says is shown to people; the credentials in it are not. Pure.
//!
//! A text is cut to its length only after this: a credential that was cut in two would not be
//! found. Every text of every error is listed, so that the compiler asks about a new one.

use std::borrow::Cow;

use super::{
    ExtractError, LogInError, RequestError, SendError, StuckPaging, request::without_query,
};
use crate::plan::Redactor;

/// Characters of a text from outside that a message shows.
const LONGEST: usize = 200;

/// The same error without credentials.
pub(super) fn redacted(mut err: ExtractError, redactor: &Redactor) -> ExtractError {
    let clean = |text: &mut String| {
        if let Cow::Owned(redacted) = redactor.redact(text) {
            *text = redacted;
        }
    };
    let shorten = |text: &mut String| {
        clean(text);
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
        }
    };
    match &mut err {
        ExtractError::Request(source) => match source {
            RequestError::Render(_) | RequestError::Placement { name: _ } => {}
            RequestError::Url { path: url } | RequestError::OtherOrigin { url } => shorten(url),
        },
        ExtractError::Send { attempts: _, source } => match source {
            SendError::Client(_) | SendError::Credential(_) | SendError::Header { name: _ } => {}
            SendError::LogIn(source) => match source {
                LogInError::Unanswered { url, may_pass: _, reason }
                | LogInError::NoToken { url, reason } => {
                    clean(url);
                    clean(reason);
                }
                LogInError::Status { url, status: _, detail, wait: _ } => {
                    clean(url);
                    clean(detail);
                }
                LogInError::Unusable { reason } => clean(reason),
            },
            SendError::Connect { url, source: _ }
            | SendError::Timeout { url, limit: _ }
            | SendError::Broken { url, source: _ }
            | SendError::TooLarge { url, limit: _ } => clean(url),
            SendError::Encoding { url, encoding } => {
                clean(url);
                shorten(encoding);
            }
        },
        ExtractError::Unauthorized { url, status: _, detail }
        | ExtractError::Status { url, status: _, attempts: _, detail }
        | ExtractError::WebPage { url, detail } => {
            clean(url);
            clean(detail);
        }
        ExtractError::Redirected { url, location, reason: _ } => {
            clean(url);
            shorten(location);
        }
        ExtractError::Body { url, attempts: _, source } => {
            clean(url);
            clean(&mut source.reason);
        }
        ExtractError::NoRecords { url, path: _, found } => {
            clean(url);
            clean(found);
        }
        ExtractError::Paging(source) => match source {
            StuckPaging::RepeatedToken { token } => {
                shorten(token);
                // It may be a URL, and no query is shown.
                let length = without_query(token).len();
                if length < token.len() {
                    token.truncate(length);
                    token.push_str("?…");
                }
            }
            StuckPaging::NotANumber { name: _, value } => shorten(value),
            StuckPaging::RepeatedPage { page: _ }
            | StuckPaging::EmptyPage { page: _ }
            | StuckPaging::LongToken { bytes: _ }
            | StuckPaging::OnlyEmptyPages
            | StuckPaging::NoLastRecord { page: _, field: _ }
            | StuckPaging::NoLinkParam { page: _, param: _ }
            | StuckPaging::LargestPage { size: _ }
            | StuckPaging::BeyondLargestOffset { offset: _, max: _ } => {}
        },
        ExtractError::Short { expected: _, found: _ }
        | ExtractError::Moved { from: _, to: _ }
        | ExtractError::Capped { total: _ }
        | ExtractError::Forbidden
        | ExtractError::SameTotal { total: _ }
        | ExtractError::TooMuchHeld { limit: _ }
        | ExtractError::Endless { total: _, cuts: _ }
        | ExtractError::Exhausted(_)
        | ExtractError::Stopped => {}
    }
    err
}

/// The start of an error body, on one line and without secrets, with `: ` before it.
pub(super) fn detail(body: &[u8], redactor: &Redactor) -> String {
    const LONGEST: usize = 300;
    let text = text(body);
    let text = redactor.redact(&text);
    if let Some(title) = title(&text) {
        return format!(": {title}");
    }
    let line = text.split_whitespace().take(LONGEST).collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(LONGEST).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// A body as text, whatever it is.
pub(super) fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}

/// The title of a web page, which says more than its markup.
pub(super) fn title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    let title = text[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
    Some(title.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Secret;

    #[track_caller]
    fn check(token: &str, expected: &str) {
        let err = ExtractError::Paging(StuckPaging::RepeatedToken { token: token.to_owned() });
        let redactor = Redactor::new([Secret::new("s3cr3t")]);
        let ExtractError::Paging(source) = redacted(err, &redactor) else { unreachable!() };
        let expected = format!("the token of the next page, `{expected}`, came back twice");
        assert_eq!(source.to_string(), expected);
    }

    #[test]
    fn a_link_to_the_next_page_is_shown_without_its_query() {
        check("https://host/items?after=7&mail=a%40b", "https://host/items?…");
        check("?after=7", "?…");
        check("https://host/s3cr3t/items#a", "https://host/***/items?…");
        check("QVFvSk1nPT0=", "QVFvSk1nPT0=");
    }
}
