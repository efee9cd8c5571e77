//! A mistake in a pipeline file: where, what, and what was probably meant.

use std::fmt;

/// A place in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A mistake in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The dotted path of the key, for people and for searching.
    pub path: String,
    /// What is wrong and what was expected, as a lowercase fragment.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// The candidate closest to what was typed, if one is close.
pub fn suggest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const CLOSE: f64 = 0.75;
    candidates
        .into_iter()
        .map(|it| (likeness(&typed.to_lowercase(), &it.to_lowercase()), it))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, it)| it.to_owned())
}

/// From 0 to 1. One slip of the finger is closer than a common beginning, also in a short word.
fn likeness(typed: &str, candidate: &str) -> f64 {
    match strsim::osa_distance(typed, candidate) {
        0 => 1.0,
        1 if typed.len() > 2 => 0.99,
        _ => strsim::jaro_winkler(typed, candidate).min(0.98),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_candidate_is_suggested_and_a_far_one_is_not() {
        let candidates = ["offset", "page", "token"];

        assert_eq!(suggest("offest", candidates), Some("offset".to_owned()));
        assert_eq!(suggest("Page", candidates), Some("page".to_owned()));
        assert_eq!(suggest("xyz", candidates), None);
        assert_eq!(suggest("ulr", ["user", "url"]), Some("url".to_owned()));
    }
}
