//! Names of columns: the words of a path, in lowercase, and no two alike.
//!
//! ```text
//! author.userKey             author_user_key
//! authorUser.userKey         author_user_key_2     `user` is said once, and the name is taken
//! HTTPServer                 http_server
//! fields."System.State"      fields_system_state
//! 2fa                        _2fa
//! ключ                       field
//! ```

use std::collections::BTreeSet;

/// Readers of CSV and people get lost in longer ones.
const LONGEST: usize = 120;

/// The names that are taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// The name itself, or with the first number that makes it new.
    pub(super) fn claim(&mut self, name: &str) -> String {
        let numbered = (2_u64..).map(|it| format!("{name}_{it}"));
        let mut free = std::iter::once(name.to_owned()).chain(numbered);
        let free = free.find(|it| !self.taken.contains(it)).unwrap_or_default();
        self.taken.insert(free.clone());
        free
    }

    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.taken.contains(name)
    }
}

/// The words of a path; where a key begins with the word that the one before ends with, it is said
/// once.
pub(super) fn words(segments: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for segment in segments {
        let words = split(segment);
        let repeated = words.len() > 1 && all.last() == words.first();
        all.extend(words.into_iter().skip(usize::from(repeated)));
    }
    all
}

/// The name of a column with these words.
pub(super) fn name(words: &[String]) -> String {
    let mut name = words.join("_");
    name.truncate(LONGEST);
    match name.bytes().next() {
        None => "field".to_owned(),
        Some(b'0'..=b'9') => format!("_{name}"),
        Some(_) => name,
    }
}

/// The words of a key, in lowercase: ASCII only, as names are.
fn split(key: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let characters: Vec<char> = key.chars().collect();
    for (i, it) in characters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|it| characters.get(it));
        let after = characters.get(i + 1);
        // `userKey` has a word at `K`, `HTTPServer` one at `S`.
        let begins = it.is_ascii_uppercase()
            && (before.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
                || before.is_some_and(char::is_ascii_uppercase)
                    && after.is_some_and(char::is_ascii_lowercase));
        if (begins || !it.is_ascii_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if it.is_ascii_alphanumeric() {
            word.push(it.to_ascii_lowercase());
        }
    }
    words.extend(Some(word).filter(|it| !it.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_path_become_a_name() {
        for (segments, expected) in [
            (&["id"][..], "id"),
            (&["tempoWorklogId"], "tempo_worklog_id"),
            (&["author", "userKey"], "author_user_key"),
            (&["log", "authorUser", "userKey"], "log_author_user_key"),
            (&["issue", "issueId"], "issue_id"),
            (&["issue", "issue"], "issue_issue"),
            (&["HTTPServer"], "http_server"),
            (&["fields", "System.AreaPath"], "fields_system_area_path"),
            (&["_links", "self"], "links_self"),
            (&["user-name", "e mail"], "user_name_e_mail"),
            (&["2fa"], "_2fa"),
            (&["ключ"], "field"),
            (&["_extra"], "extra"),
            (&["v2API"], "v2_api"),
        ] {
            let segments: Vec<String> = segments.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(name(&words(&segments)), expected, "{segments:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let mut names = Names::default();

        let claimed = ["user_id", "user_id", "user_id_2", "user_id"].map(|it| names.claim(it));

        assert_eq!(claimed, ["user_id", "user_id_2", "user_id_2_2", "user_id_3"]);
    }
}
