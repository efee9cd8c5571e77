//! Which names are those of credentials: rather one too many than one that is shown or written.
//!
//! ```text
//! api_key, X-Api-Key, apiToken, clientsecret, sign     yes
//! project_key, pageToken, keyword, author              no
//! ```

use super::names;

/// Words that say it alone.
const WORDS: &[&str] = &[
    "auth",
    "authorization",
    "bearer",
    "jwt",
    "oauth",
    "pass",
    "passphrase",
    "pat",
    "session",
    "sessionid",
    "sid",
    "sig",
    "sign",
    "signature",
];

/// How words end that say it, and of what they say it not: trackers have keys of issues, and pages have tokens.
const ENDINGS: &[(&str, &[&str])] = &[
    ("key", &["board", "issue", "order", "parent", "project", "queue", "sort", "space"]),
    ("token", &["continuation", "next", "nextpage", "page", "sync"]),
    ("secret", &[]),
    ("password", &[]),
    ("passwd", &[]),
    ("pwd", &[]),
    ("credential", &[]),
    ("credentials", &[]),
];

/// Whether a parameter or header of this name may hold a credential.
///
/// ```
/// use tracklake::infer::sounds_secret;
///
/// assert!(sounds_secret("apiToken"));
/// assert!(!sounds_secret("limit"));
/// ```
pub fn sounds_secret(name: &str) -> bool {
    let words = names::words(&[name.to_owned()]);
    let before = std::iter::once("").chain(words.iter().map(String::as_str));
    words.iter().zip(before).any(|(word, before)| says_it(word, before))
}

fn says_it(word: &str, before: &str) -> bool {
    let ends = |&(ending, harmless): &(&str, &[&str])| {
        word.strip_suffix(ending)
            .map(|of| if of.is_empty() { before } else { of })
            .is_some_and(|of| !harmless.contains(&of))
    };
    WORDS.contains(&word) || ENDINGS.iter().any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_recognised_by_the_words_of_their_names() {
        let secret = [
            "token",
            "api_token",
            "auth_token",
            "access-token",
            "client_secret",
            "X-Api-Key",
            "apiToken",
            "app_key",
            "sessionToken",
            "accessToken",
            "jwt",
            "private-token",
            "sign",
            "sig",
            "signature",
            "apikey",
            "APIKEY",
            "clientsecret",
            "access_key_id",
            "X-Amz-Credential",
            "user_pwd",
            "passwd",
            "pat",
            "Authorization",
            "sid",
            "project_token",
        ];
        for name in secret {
            assert!(sounds_secret(name), "{name}");
        }
        let other = [
            "limit",
            "from",
            "project_key",
            "issueKey",
            "projectkey",
            "pageToken",
            "nextPageToken",
            "next_page_token",
            "keyword",
            "keys",
            "author",
            "sort",
            "path",
            "compass",
            "assigned",
            "design",
        ];
        for name in other {
            assert!(!sounds_secret(name), "{name}");
        }
    }
}
