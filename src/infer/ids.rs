//! Whether a key of JSON is a value, such as an id or a date, or the name of a field.
//!
//! ```text
//! 10001, 2024-07-25, 5b10a2844c20165700ede21g, OPS-12     ids: no field is named so
//! te_1, u2                                                may be ids
//! customfield_10010, address1                             may be fields
//! issues, users                                           fields
//! ```

/// Digits that are apart from each other: more of them than a name has.
const GROUPS: usize = 3;

/// Whether no field would be named so.
pub(super) fn is_id(key: &str) -> bool {
    starts_with_digit(key) || is_issue_key(key) || n_groups(key) >= GROUPS
}

/// Whether it may be one.
pub(super) fn may_be_id(key: &str) -> bool {
    key.contains(|it: char| it.is_ascii_digit())
}

/// Such as `2024-07-25` or `2024-07`.
pub(super) fn is_date(key: &str) -> bool {
    let mut parts = key.split(['-', '/']);
    let year = parts.next().unwrap_or_default();
    year.len() == 4
        && parts.clone().next().is_some()
        && [year].into_iter().chain(parts).all(is_number)
}

/// Whether all are the same word and a number, as fields of one kind are: `address1`, `address2`.
pub(super) fn are_numbered<'k>(mut keys: impl Iterator<Item = &'k str>) -> bool {
    let word = |key: &'k str| key.trim_end_matches(|it: char| it.is_ascii_digit());
    let Some(first) = keys.next().map(word) else { return false };
    !first.is_empty() && keys.all(|it| word(it) == first)
}

pub(super) fn starts_with_digit(key: &str) -> bool {
    key.starts_with(|it: char| it.is_ascii_digit())
}

/// Such as `OPS-12`.
fn is_issue_key(key: &str) -> bool {
    let is_project = |it: &str| {
        it.starts_with(|it: char| it.is_ascii_uppercase())
            && it.chars().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_')
    };
    key.rsplit_once('-').is_some_and(|(project, number)| is_project(project) && is_number(number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|it| it.is_ascii_digit())
}

fn n_groups(key: &str) -> usize {
    key.split(|it: char| !it.is_ascii_digit()).filter(|it| !it.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names_of_fields() {
        for key in [
            "10001",
            "2024-07-25",
            "5b10a2844c20165700ede21g",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "OPS-12",
        ] {
            assert!(is_id(key) && may_be_id(key), "{key}");
        }
        for key in ["te_1", "u2", "customfield_10010", "address1", "line1Text2", "sha256"] {
            assert!(!is_id(key) && may_be_id(key), "{key}");
        }
        for key in ["issues", "users", "", "OPS-", "Ж"] {
            assert!(!is_id(key) && !may_be_id(key), "{key}");
        }
        let dates = ["2024-07-25", "2024-07", "10001", "2024", "2024-07-", "2024-W07"];
        assert_eq!(dates.map(is_date), [true, true, false, false, false, false]);
    }

    #[test]
    fn fields_of_one_kind_are_a_word_and_a_number() {
        assert!(are_numbered(["address1", "address22", "address"].into_iter()));
        assert!(are_numbered(["customfield_10010", "customfield_10011"].into_iter()));
        assert!(!are_numbered(["ann1", "bob2"].into_iter()));
        assert!(!are_numbered(["1", "2"].into_iter()));
        assert!(!are_numbered([].into_iter()));
    }
}
