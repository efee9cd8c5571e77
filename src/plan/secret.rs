//! Credentials that cannot be printed, and the redaction of texts that others wrote.

use std::{borrow::Cow, fmt};

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
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// Shorter values are not looked for: they would be found by chance everywhere.
    const SHORTEST: usize = 4;

    /// Makes a redactor for the secrets of one pipeline.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets: Vec<Secret> =
            secrets.into_iter().filter(|it| it.expose().len() >= Self::SHORTEST).collect();
        // The longest first, so that a secret that contains another one goes as a whole.
        secrets.sort_by_key(|it| std::cmp::Reverse(it.expose().len()));
        Self { secrets }
    }

    /// Replaces every secret in `text` with `***`.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.expose()) {
                text = Cow::Owned(text.replace(secret.expose(), "***"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
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
}
