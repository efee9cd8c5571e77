//! Text of others on a terminal: nothing in it moves the cursor, sets a colour or turns the text around.

use std::borrow::Cow;

/// A text of which every character is seen; line ends and tabs stay.
///
/// ```text
/// "a\u{9b}31m"   a\u{9b}31m   as text, where a terminal would write in red from here on
/// ```
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |it| !matches!(it, '\n' | '\t') && is_unseen(it))
}

/// The same on one line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unseen)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut seen = String::with_capacity(text.len() + 8);
    for it in text.chars() {
        match it {
            it if !is_escaped(it) => seen.push(it),
            '\n' | '\t' | '\r' => seen.extend(it.escape_default()),
            it => seen.extend(it.escape_unicode()),
        }
    }
    Cow::Owned(seen)
}

/// Control characters of both ranges, and those that change the direction of text (Unicode TR 9).
fn is_unseen(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, seen) in [
            ("Überstunden 工时 🚀", "Überstunden 工时 🚀"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("\u{9b}31mred", r"\u{9b}31mred"),
            ("\u{202e}txt.exe", r"\u{202e}txt.exe"),
            ("a\u{2067}b\u{61c}", r"a\u{2067}b\u{61c}"),
            ("over\rwritten\u{7f}\0", r"over\rwritten\u{7f}\u{0}"),
        ] {
            assert_eq!(visible(text), seen);
            assert_eq!(one_line(text), seen);
        }
        assert_eq!(visible("a\n\tb"), "a\n\tb");
        assert_eq!(one_line("a\n\tb"), r"a\n\tb");
    }
}
