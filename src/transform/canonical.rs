//! Canonical JSON text: the same value is the same text.
//!
//! ```text
//! { "b": 1.50, "a": "\u00e9\/", "b": 2 }   ->   {"a":"é/","b":2}
//! ```
//!
//! Keys are sorted by code point and the last of equal keys wins; strings have only the escapes
//! they need; there is no whitespace. Numbers stay as they are written, so none loses a digit.

use std::{borrow::Cow, fmt::Write, ops::Range};

use super::json::{Fault, Parser, Scalar, Text, end_of_plain_text};

/// Appends the canonical text of a JSON value; gives the number of keys that a later one replaced.
pub(super) fn append(value: &str, out: &mut String) -> Result<u64, Fault> {
    let mut writer = Writer { parser: Parser::new(value), out, members: Vec::new(), replaced: 0 };
    writer.value()?;
    writer.parser.finish()?;
    Ok(writer.replaced)
}

/// Appends a text as a JSON string.
pub(super) fn append_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        let at = end_of_plain_text(rest.as_bytes(), 0);
        out.push_str(&rest[..at]);
        if at == rest.len() {
            break;
        }
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            control => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push('"');
}

/// Appends a checked string of a page as a JSON string.
pub(super) fn append_string(text: Text<'_>, out: &mut String) {
    if text.escaped {
        let mut scratch = String::new();
        append_text(text.read(&mut scratch), out);
    } else {
        // A string without escapes has nothing that needs one.
        out.push('"');
        out.push_str(text.raw);
        out.push('"');
    }
}

struct Writer<'t, 'o> {
    parser: Parser<'t>,
    out: &'o mut String,
    /// Members of all objects that are open, outermost first.
    members: Vec<Member<'t>>,
    replaced: u64,
}

/// `"key":value`, already written.
struct Member<'t> {
    key: Cow<'t, str>,
    written: Range<usize>,
}

impl Writer<'_, '_> {
    fn value(&mut self) -> Result<(), Fault> {
        match self.parser.peek()? {
            b'{' => self.object(),
            b'[' => {
                self.out.push('[');
                let mut more = self.parser.open(b']')?;
                while more {
                    self.value()?;
                    more = self.parser.more(b']')?;
                    if more {
                        self.out.push(',');
                    }
                }
                self.out.push(']');
                Ok(())
            }
            first => {
                match self.parser.scalar(first)? {
                    Scalar::Null => self.out.push_str("null"),
                    Scalar::Boolean(true) => self.out.push_str("true"),
                    Scalar::Boolean(false) => self.out.push_str("false"),
                    Scalar::Number(text) => self.out.push_str(text),
                    Scalar::Text(text) => append_string(text, self.out),
                }
                Ok(())
            }
        }
    }

    /// Writes the members as they come and puts them in order only if they were not.
    fn object(&mut self) -> Result<(), Fault> {
        let first_member = self.members.len();
        self.out.push('{');
        let start = self.out.len();
        let mut more = self.parser.open(b'}')?;
        while more {
            self.parser.quote()?;
            let text = self.parser.string()?;
            self.parser.colon()?;
            let from = self.out.len();
            append_string(text, self.out);
            self.out.push(':');
            self.value()?;
            let key = if text.escaped {
                let mut key = String::new();
                text.append_to(&mut key);
                Cow::Owned(key)
            } else {
                Cow::Borrowed(text.raw)
            };
            self.members.push(Member { key, written: from..self.out.len() });
            more = self.parser.more(b'}')?;
            if more {
                self.out.push(',');
            }
        }
        let members = &mut self.members[first_member..];
        if !members.is_sorted_by(|a, b| a.key < b.key) {
            members.sort_by(|a, b| a.key.cmp(&b.key));
            let mut ordered = String::with_capacity(self.out.len() - start);
            for (i, member) in members.iter().enumerate() {
                if members.get(i + 1).is_some_and(|next| next.key == member.key) {
                    self.replaced += 1;
                    continue;
                }
                if !ordered.is_empty() {
                    ordered.push(',');
                }
                ordered.push_str(&self.out[member.written.clone()]);
            }
            self.out.truncate(start);
            self.out.push_str(&ordered);
        }
        self.members.truncate(first_member);
        self.out.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str, replaced: u64) {
        let mut out = String::new();

        assert_eq!(append(value, &mut out), Ok(replaced), "{value}");
        assert_eq!(out, expected);
    }

    #[test]
    fn keys_are_sorted_at_every_level() {
        check(
            r#" { "b" : [ { "d":1 , "c":2 } ] , "a" : { } } "#,
            r#"{"a":{},"b":[{"c":2,"d":1}]}"#,
            0,
        );
        // U+FFFF sorts before U+10000 by code point, though not in UTF-16.
        check("{\"\u{10000}\":1,\"\u{ffff}\":2}", "{\"\u{ffff}\":2,\"\u{10000}\":1}", 0);
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_is_counted() {
        check(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#, r#"{"a":4,"b":2}"#, 2);
    }

    #[test]
    fn numbers_keep_every_digit() {
        check(
            "[1.50,1E5,-0,123456789012345678901234567890]",
            "[1.50,1E5,-0,123456789012345678901234567890]",
            0,
        );
    }

    #[test]
    fn strings_have_only_the_escapes_they_need() {
        check(r#""\u00e9\/\u0022\n\u001f\ud83d\ude00""#, "\"é/\\\"\\n\\u001f😀\"", 0);
    }
}
