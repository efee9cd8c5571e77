//! The values of a pipeline's variables: from the command line, the environment, or files.

use std::{collections::BTreeMap, fs::File, io, io::Read as _};

use thiserror::Error;

/// Where the values of variables come from; the environment is an argument, so that a test and a
/// run on another host read the same.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    environment: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
    unset: Unset,
}

/// What a required variable without a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unset {
    /// A problem.
    #[default]
    Refused,
    /// Left open: whatever depends on it is not checked.
    Tolerated,
}

/// A larger file is no secret and no list of certificates.
const MAX_FILE: u64 = 1 << 20;

/// A file that a value should come from. Nothing of its text is in the message.
#[derive(Debug, Error)]
#[error("cannot read `{path}`: {source}")]
pub(super) struct UnreadableFile {
    path: String,
    source: io::Error,
}

impl Inputs {
    /// Takes the environment as it is now.
    pub fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { environment: environment.into_iter().collect(), ..Self::default() }
    }

    /// Overrides variables by name, as `--set name=value` does.
    #[must_use]
    pub fn set(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.set.extend(values);
        self
    }

    /// Says what a required variable without a value is.
    #[must_use]
    pub fn unset(mut self, unset: Unset) -> Self {
        self.unset = unset;
        self
    }

    pub(super) fn value(&self, name: &str, env: Option<&str>) -> Option<&str> {
        self.set.get(name).map(String::as_str).or_else(|| self.variable(env?))
    }

    /// The environment variable that names a file with a secret, as container images have it:
    /// `JIRA_TOKEN_FILE` for `JIRA_TOKEN`.
    pub(super) fn file_for(&self, env: &str) -> Option<&str> {
        self.variable(&format!("{env}_FILE"))
    }

    fn variable(&self, env: &str) -> Option<&str> {
        // An empty environment variable is how shells and CI systems say "not set".
        self.environment.get(env).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// The text of a file.
    #[expect(clippy::unused_self, reason = "what comes from outside comes through here")]
    pub(super) fn read(&self, path: &str) -> Result<String, UnreadableFile> {
        let unreadable = |source| UnreadableFile { path: path.to_owned(), source };
        let mut text = String::new();
        let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE {
            return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
        }
        Ok(text)
    }

    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> {
        self.set.keys().map(String::as_str)
    }

    pub(super) fn tolerates_unset(&self) -> bool {
        self.unset == Unset::Tolerated
    }
}
