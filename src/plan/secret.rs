//! Credentials that cannot be printed, and the redaction of texts that others wrote.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

/// A credential. It prints as `***`, and only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Removes the run's secrets from texts that come from outside, such as the body of an error
/// response that echoes a token.
///
/// - Clones share what they know: a token that is obtained during a run is known to all of them.
/// - A secret is found as it is, as URLs, forms and JSON write it, and as base64 writes any of
///   these, also in the middle of something longer; of that at most three bytes at its ends stay.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    forms: Arc<RwLock<Vec<Secret>>>,
}

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Redactor {
    /// Shorter values are not looked for: they would be found by chance everywhere.
    const SHORTEST: usize = 4;

    /// Shorter pieces of base64 would be found by chance in other base64.
    const SHORTEST_BASE64: usize = 8;

    /// Makes a redactor for the secrets of one pipeline.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let redactor = Self::default();
        for secret in secrets {
            redactor.learn(&secret);
        }
        redactor
    }

    /// Adds a secret that was not known before the run.
    pub fn learn(&self, secret: &Secret) {
        let text = secret.expose();
        if text.len() < Self::SHORTEST {
            return;
        }
        let encoded = utf8_percent_encode(text, ENCODED).to_string();
        let form: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let json = serde_json::Value::from(text).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let mut new = vec![text.to_owned(), lower_case_escapes(&encoded), encoded, form, json];
        let base64 = new.iter().flat_map(|it| (0..3).flat_map(|before| base64_inside(it, before)));
        let base64: Vec<_> = base64.filter(|it| it.len() >= Self::SHORTEST_BASE64).collect();
        new.extend(base64);

        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        forms.extend(new.into_iter().map(Secret));
        // The longest first, so that a secret that contains another one goes as a whole.
        forms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        forms.dedup();
    }

    /// Replaces every secret in `text` with `***`.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in self.forms.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if text.contains(secret.expose()) {
                text = Cow::Owned(text.replace(secret.expose(), "***"));
            }
        }
        text
    }
}

/// `%2f` for `%2F`: both are sent.
fn lower_case_escapes(encoded: &str) -> String {
    let mut escape = 0;
    encoded
        .chars()
        .map(|it| {
            escape = if it == '%' { 3 } else { escape };
            let lower = if escape > 0 { it.to_ascii_lowercase() } else { it };
            escape = escape.max(1) - 1;
            lower
        })
        .collect()
}

/// The characters that base64 makes of a text alone, where `before` bytes (modulo 3) stand before it.
fn base64_inside(text: &str, before: usize) -> [String; 2] {
    let bytes = [&[0; 2][..before], text.as_bytes()].concat();
    // Characters at both ends carry bits of the neighbours, too.
    let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
        .map(|it| it[start..end].to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", Secret::new("y0_AAA")), "***");
    }

    #[test]
    fn a_text_that_echoes_a_secret_is_redacted() {
        let redactor = Redactor::new([Secret::new("hunter2"), Secret::new("hunter2-long")]);

        assert_eq!(redactor.redact("got hunter2-long and hunter2"), "got *** and ***");
        assert_eq!(redactor.redact("nothing here"), "nothing here");
    }

    #[track_caller]
    fn check(secret: &str, text: &str, expected: &str) {
        assert_eq!(Redactor::new([Secret::new(secret)]).redact(text), expected);
    }

    #[test]
    fn a_secret_is_found_in_every_form_in_which_it_is_sent() {
        check("p/ä +\"w", "?key=p%2F%C3%A4%20%2B%22w&x", "?key=***&x");
        check("p/ä +\"w", "?key=p%2f%c3%a4%20%2b%22w&x", "?key=***&x");
        check("p/ä +\"w", "?key=p%2F%C3%A4+%2B%22w&x", "?key=***&x");
        check("p/ä +\"w", r#"{"k":"p/ä +\"w"}"#, r#"{"k":"***"}"#);
        check("line one\nline two", r#"{"k":"line one\nline two"}"#, r#"{"k":"***"}"#);
        // base64 of "etl:correct horse?>"
        check("correct horse?>", "Basic ZXRsOmNvcnJlY3QgaG9yc2U/Pg==", "Basic ZXRsOm***g==");
        // base64 of "etl:p%2B1234567", as OAuth 2 joins them
        check("p+1234567", "Basic ZXRsOnAlMkIxMjM0NTY3", "Basic ZXRsOn***");
        check("correct horse?>", "ZXRsOmNvcnJlY3QgaG9yc2U_Pg", "ZXRsOm***g");
    }

    #[test]
    fn what_is_learned_later_is_known_to_every_clone() {
        let redactor = Redactor::default();
        let clone = redactor.clone();

        redactor.learn(&Secret::new("t1.9euelZ"));

        assert_eq!(clone.redact("Bearer t1.9euelZ"), "Bearer ***");
    }

    proptest! {
        #[test]
        fn base64_of_something_longer_does_not_hide_a_secret(before in ".{0,9}", after in ".{0,9}") {
            let redactor = Redactor::new([Secret::new("y0_s3cr3t-t0ken")]);
            let text = format!("{before}y0_s3cr3t-t0ken{after}");
            let encoded = STANDARD_NO_PAD.encode(text);

            prop_assert!(redactor.redact(&encoded).contains("***"));
        }
    }
}
