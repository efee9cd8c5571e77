//! Names that become directories, keys and column headers.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// A name that cannot be used as a directory or a column.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a valid name: use a lowercase letter or `_`, then lowercase letters, digits and `_`"
)]
pub struct InvalidName(pub String);

/// The name of a pipeline, stream or column.
///
/// - It is never empty and starts with `a-z` or `_`.
/// - It consists of `a-z`, `0-9` and `_`, so that it is one path segment on every file system and
///   needs no quotes in SQL.
///
/// ```
/// use tracklake::plan::Name;
///
/// assert!("work_hours".parse::<Name>().is_ok());
/// assert!("../work".parse::<Name>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let starts = text.starts_with(|it: char| it.is_ascii_lowercase() || it == '_');
        let allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
        if starts && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
