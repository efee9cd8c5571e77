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

use super::unescape::unescape;

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
/// - Nor does it hide behind escapes of JSON or HTML, or behind other letter case.
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
        let mut new = vec![text.to_owned(), encoded, form, json];
        let base64 = new.iter().flat_map(|it| (0..3).flat_map(|before| base64_inside(it, before)));
        let base64: Vec<_> = base64.filter(|it| it.len() >= Self::SHORTEST_BASE64).collect();
        new.extend(base64);
        // Where a text is read without its escapes, so is a secret that looks like it has some.
        let plain = new.iter().map(|it| unescape(it).into_owned());
        let plain: Vec<_> = plain.filter(|it| it.len() >= Self::SHORTEST).collect();
        new.extend(plain);
        for form in &mut new {
            form.make_ascii_lowercase();
        }

        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        forms.extend(new.into_iter().map(Secret));
        // The longest first, so that a secret that contains another one goes as a whole.
        forms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        forms.dedup();
    }

    /// Replaces every secret in `text` with `***`. A text that has one in it is shown without the
    /// escapes of JSON and HTML.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if let Cow::Owned(plain) = unescape(text)
            && let Some(redacted) = self.replaced(&plain)
        {
            return Cow::Owned(redacted);
        }
        self.replaced(text).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// The text with `***` for its secrets, in whatever case; `None` where it has none.
    fn replaced(&self, text: &str) -> Option<String> {
        let mut replaced: Option<String> = None;
        let mut lower = text.to_ascii_lowercase();
        for secret in self.forms.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let form = secret.expose();
            if !lower.contains(form) {
                continue;
            }
            let before = replaced.as_deref().unwrap_or(text);
            let (mut after, mut end) = (String::new(), 0);
            for (start, _) in lower.match_indices(form) {
                after.push_str(&before[end..start]);
                after.push_str("***");
                end = start + form.len();
            }
            after.push_str(&before[end..]);
            lower = after.to_ascii_lowercase();
            replaced = Some(after);
        }
        replaced
    }
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
    fn a_secret_does_not_hide_behind_escapes_or_case() {
        let token = "s3cr3t/t0ken+abc=";
        check(token, r#"{"e":"bad s3cr3t\/t0ken+abc=!"}"#, r#"{"e":"bad ***!"}"#);
        check(token, r"bad s3cr3t/t0ken\u002babc\u003d!", "bad ***!");
        check(token, r"bad s3cr3t\\/t0ken\\u002Babc\\u003D!", "bad ***!");
        check(token, "<p>s3cr3t&#x2F;t0ken&#43;abc&equals;</p>", "<p>***</p>");
        check(token, "<p>s3cr3t&amp;#47;t0ken&plus;abc&#x3D;</p>", "<p>***</p>");
        check(token, "S3CR3T/T0KEN+ABC=", "***");
        check(token, "S3CR3T%2fT0KEN%2BABC%3d", "***");
        check(token, "S3CR3T&#X2F;T0KEN\\U002BABC=", "***");
        check("a&b<c>d\"e", "x&lt;: a&amp;b&lt;c&gt;d&quot;e", "x<: ***");
        check("a\"b/c\u{e4}", r#"{"k":"a\"b\/c\u00e4"}"#, r#"{"k":"***"}"#);
        // A secret that looks escaped is one all the same.
        check("a&amp;b/c", r"a&amp;b/c \/", "*** /");
        check("a&amp;b/c", "a&amp;amp;b&sol;c", "***");
        // What has no secret in it is left as it is.
        check(token, r"\/ &amp;", r"\/ &amp;");
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
