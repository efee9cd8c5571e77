//! The values of a pipeline's variables: from the command line, the environment, or the default.

use std::collections::BTreeMap;

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
        let of_environment = env.and_then(|it| self.environment.get(it));
        // An empty environment variable is how shells and CI systems say "not set".
        self.set
            .get(name)
            .map(String::as_str)
            .or_else(|| of_environment.map(String::as_str).filter(|it| !it.is_empty()))
    }

    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> {
        self.set.keys().map(String::as_str)
    }

    pub(super) fn tolerates_unset(&self) -> bool {
        self.unset == Unset::Tolerated
    }
}
