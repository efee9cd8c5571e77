//! Texts as they were before JSON, JavaScript or a web page escaped them. Pure.

use std::borrow::Cow;

/// How often a text was escaped at most: HTML inside of HTML.
const LAYERS: usize = 4;

/// Characters between `&` and `;`.
const LONGEST_NAME: usize = 12;

/// The references of HTML to characters that a credential or its encoding may have.
const NAMED: [(&str, char); 32] = [
    ("amp", '&'),
    ("apos", '\''),
    ("ast", '*'),
    ("bsol", '\\'),
    ("colon", ':'),
    ("comma", ','),
    ("commat", '@'),
    ("dollar", '$'),
    ("equals", '='),
    ("excl", '!'),
    ("grave", '`'),
    ("gt", '>'),
    ("hat", '^'),
    ("lbrace", '{'),
    ("lbrack", '['),
    ("lcub", '{'),
    ("lowbar", '_'),
    ("lpar", '('),
    ("lsqb", '['),
    ("lt", '<'),
    ("num", '#'),
    ("percnt", '%'),
    ("period", '.'),
    ("plus", '+'),
    ("quest", '?'),
    ("quot", '"'),
    ("rcub", '}'),
    ("rpar", ')'),
    ("rsqb", ']'),
    ("semi", ';'),
    ("sol", '/'),
    ("verbar", '|'),
];

/// The text without `\/`, `\u003d`, `\x3d`, `&amp;`, `&#47;` and `&#x2F;`, also where one of them
/// escapes another one; borrowed where it has none.
///
/// Control characters stay escaped: a terminal would obey them.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..LAYERS {
        match unescape_once(&text) {
            Some(plain) => text = Cow::Owned(plain),
            None => break,
        }
    }
    text
}

fn unescape_once(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut is_changed = false;
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        // JSON inside of JSON has several before one character.
        let backslashes = rest.len() - rest.trim_start_matches('\\').len();
        let mark = backslashes.max(1);
        let (marked, after) = rest.split_at(mark);
        let found = if backslashes > 0 { escaped(after) } else { reference(after) };
        if let Some((character, length)) = found.filter(|(it, _)| !it.is_control()) {
            plain.push(character);
            rest = &after[length..];
            is_changed = true;
        } else {
            plain.push_str(marked);
            rest = after;
        }
    }
    plain.push_str(rest);
    is_changed.then_some(plain)
}

/// The character that stands behind a backslash, and the length of how it is written.
fn escaped(text: &str) -> Option<(char, usize)> {
    match text.chars().next()? {
        '/' => Some(('/', 1)),
        'x' | 'X' => Some((char::from_u32(hex(text.get(1..3)?)?)?, 3)),
        'u' | 'U' => {
            let first = hex(text.get(1..5)?)?;
            if let Some(character) = char::from_u32(first) {
                return Some((character, 5));
            }
            // Two halves of UTF-16.
            let behind = text[5..].trim_start_matches('\\');
            let second = hex(behind.strip_prefix(['u', 'U'])?.get(..4)?)?;
            let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
            let character = char::decode_utf16(units).next()?.ok()?;
            Some((character, text.len() - behind.len() + 5))
        }
        _ => None,
    }
}

/// The character that stands behind `&`, and the length of its name with the `;`.
fn reference(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(LONGEST_NAME).position(|it| it == b';')?;
    let name = &text[..end];
    let character = match name.strip_prefix('#') {
        None => NAMED.iter().find(|(it, _)| it.eq_ignore_ascii_case(name))?.1,
        Some(number) => char::from_u32(match number.strip_prefix(['x', 'X']) {
            Some(number) => hex(number)?,
            None => number.parse().ok()?,
        })?,
    };
    Some((character, end + 1))
}

fn hex(digits: &str) -> Option<u32> {
    let are_digits = digits.bytes().all(|it| it.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| are_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(unescape(text), expected, "{text}");
    }

    #[test]
    fn what_json_and_web_pages_escape_is_read_as_it_was() {
        check(r"a\/b", "a/b");
        check(r"a\\\/b", "a/b");
        check(r"\u003d\U003D\x3d\\u003d", "====");
        check(r"\u00e4 \ud83d\ude00 \\ud83d\\ude00", "ä 😀 😀");
        check("&#x2F;&#X2f;&#47;&sol;&SOL;&amp;&amp;#47;&amp;amp;lt;", "/////&/<");
        check(r"\u0026quot;", "\"");
    }

    #[test]
    fn what_is_not_escaped_stays_as_it_is() {
        for text in [
            "",
            "plain",
            r#"C:\temp\new \"a\" \\ \"#,
            r"\u00 \ud83d \ud83dx \u+03d \x",
            "a & b; ?a=1&lt=2 &unknown; &; &#; &#x; &#x110000;",
            r"\u001b&#27;\u0000",
            "\\uä",
        ] {
            assert!(matches!(unescape(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
