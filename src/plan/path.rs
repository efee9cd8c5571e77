//! Paths into JSON: `user.id`, `result.record`, `fields."System.State"`, `$` for the root.

use std::{fmt, str::FromStr};

use serde_json::Value;
use thiserror::Error;

/// A path that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a path: write keys joined by dots, such as `user.id`, with quotes around a key that has a dot"
)]
pub struct InvalidPath(pub String);

/// The keys that lead from a JSON value to one inside it. The empty path is the value itself.
///
/// ```
/// use tracklake::plan::JsonPath;
///
/// let path: JsonPath = r#"fields."System.State""#.parse().unwrap();
/// assert_eq!(path.segments(), ["fields", "System.State"]);
/// assert!("$".parse::<JsonPath>().unwrap().segments().is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonPath(Vec<String>);

impl JsonPath {
    /// The segment that stands for the key of an element of an object map.
    pub const KEY: &'static str = "$key";

    /// The keys, outermost first.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// Whether this is the path of the value itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path below `prefix`, or `None` if this path does not start with it.
    pub fn below(&self, prefix: &JsonPath) -> Option<JsonPath> {
        self.0.strip_prefix(prefix.0.as_slice()).map(|rest| JsonPath(rest.to_vec()))
    }

    /// The value at this path, if there is one.
    pub fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, key| value.get(key))
    }
}

impl FromIterator<String> for JsonPath {
    fn from_iter<I: IntoIterator<Item = String>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl FromStr for JsonPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let invalid = || InvalidPath(text.to_owned());
        if text == "$" {
            return Ok(Self::default());
        }
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let segment = if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').ok_or_else(invalid)?;
                rest = &quoted[end + 1..];
                &quoted[..end]
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                let segment = &rest[..end];
                rest = &rest[end..];
                segment
            };
            if segment.is_empty() {
                return Err(invalid());
            }
            segments.push(segment.to_owned());
            match rest.strip_prefix('.') {
                Some(more) => rest = more,
                None if rest.is_empty() => return Ok(Self(segments)),
                None => return Err(invalid()),
            }
        }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("$");
        }
        for (i, segment) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            if segment.contains('.') { write!(f, "\"{segment}\"")? } else { f.write_str(segment)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_it_was_written() {
        for text in ["id", "user.id", r#"a."b.c".d"#, "$"] {
            assert_eq!(text.parse::<JsonPath>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_path_with_an_empty_key_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "\"a", "\"\"", "\"a\"b"] {
            assert_eq!(text.parse::<JsonPath>(), Err(InvalidPath(text.to_owned())), "{text}");
        }
    }
}
