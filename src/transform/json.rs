//! A strict pull parser for JSON text (RFC 8259).
//!
//! ```text
//! {"id":41,"comment":"a\nb"}
//!  ^ quote, key `id`, colon
//!       ^ scalar: Number("41")        a number keeps its text
//!                   ^ scalar: Text    borrowed from the page, unescaped only when it is stored
//! ```
//!
//! The page was checked for UTF-8 once, so everything here is a slice of it. Every value is checked
//! in full, those that are skipped included; nothing is nested deeper than [`MAX_DEPTH`].

use wide::u8x16;

/// How deep arrays and objects may be nested: a hostile page must not overflow the stack.
pub(super) const MAX_DEPTH: u32 = 128;

/// What is wrong with the text, and where; line and column are computed only when asked for.
///
/// Its parts are words: with smaller ones the compiler copies results at odd addresses, which
/// stalls on every value of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    at: usize,
    pub(super) kind: FaultKind,
}

impl Fault {
    fn new(at: usize, kind: FaultKind) -> Self {
        Self { at, kind }
    }

    /// The byte offset in the parsed text.
    pub(super) fn at(self) -> usize {
        self.at
    }
}

/// What is wrong with the text: nested too deep, or something else should stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum FaultKind {
    TooDeep,
    Value,
    Digit,
    Key,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    ClosingQuote,
    ControlCharacter,
    Escape,
    HexDigits,
    LoneSurrogate,
    End,
}

impl FaultKind {
    /// What should stand there.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::TooDeep => "less nesting",
            Self::Value => "a value",
            Self::Digit => "a digit",
            Self::Key => "a key in quotes",
            Self::Colon => "`:`",
            Self::CommaOrBrace => "`,` or `}`",
            Self::CommaOrBracket => "`,` or `]`",
            Self::ClosingQuote => "the closing quote of a string",
            Self::ControlCharacter => "no raw control character in a string",
            Self::Escape => "an escape that JSON has",
            Self::HexDigits => "four hexadecimal digits after `\\u`",
            Self::LoneSurrogate => "no lone surrogate in a string",
            Self::End => "nothing after the value",
        }
    }
}

/// A value without parts.
///
/// Its tag is a word for the reason that [`Fault`] has.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub(super) enum Scalar<'t> {
    Null,
    Boolean(bool),
    /// The number as it is written.
    Number(&'t str),
    Text(Text<'t>),
}

/// What stands between the quotes of a string, already checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) raw: &'t str,
    /// Where it stands in the page; far beyond its end if it stands in another text.
    pub(super) at: usize,
    /// Whether `raw` has escapes in it.
    pub(super) escaped: bool,
}

impl Text<'_> {
    /// The text itself; `scratch` holds it if it had escapes.
    pub(super) fn read<'a>(&'a self, scratch: &'a mut String) -> &'a str {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        self.append_to(scratch);
        scratch
    }

    /// Appends the text itself to `out`.
    pub(super) fn append_to(&self, out: &mut String) {
        if !self.escaped {
            out.push_str(self.raw);
            return;
        }
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let escape = &rest[at + 1..];
            let (character, length) = unescape(escape);
            out.push(character);
            rest = &escape[length..];
        }
        out.push_str(rest);
    }
}

/// The character that a checked escape stands for, and the escape's length after the backslash.
fn unescape(escape: &str) -> (char, usize) {
    let simple = match escape.as_bytes().first() {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => {
            let high = hex4(escape.as_bytes(), 1).unwrap_or_default();
            if !is_high_surrogate(high) {
                return (char::from_u32(high).unwrap_or_default(), 5);
            }
            let low = hex4(escape.as_bytes(), 7).unwrap_or_default();
            let code = 0x1_0000 + ((high & 0x3ff) << 10) + (low & 0x3ff);
            return (char::from_u32(code).unwrap_or_default(), 11);
        }
        Some(other) => char::from(*other),
        None => return (char::default(), 0),
    };
    (simple, 1)
}

/// The value of the four hexadecimal digits at `at`.
fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .iter()
        .try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}

fn is_high_surrogate(code: u32) -> bool {
    (0xd800..0xdc00).contains(&code)
}

/// A key as it is mostly written: in quotes, and with the colon right after them.
///
/// Where it is expected it is compared in one step, before it is known how long the key is.
#[derive(Debug)]
pub(super) struct Expected {
    text: String,
    /// The first bytes of the text, and which bits of them there are.
    head: u128,
    mask: u128,
}

/// Bytes of an [`Expected`] that are compared at once.
const HEAD: usize = 16;

impl Expected {
    /// Expects a key without escapes.
    pub(super) fn new(key: &str) -> Self {
        let text = format!("\"{key}\":");
        let (mut head, mut mask) = ([0; HEAD], [0; HEAD]);
        for (i, byte) in text.bytes().enumerate().take(HEAD) {
            (head[i], mask[i]) = (byte, 0xff);
        }
        Self { text, head: u128::from_le_bytes(head), mask: u128::from_le_bytes(mask) }
    }
}

/// A position in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
    /// 0 in the page, and in any other text what no offset reaches.
    elsewhere: usize,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0, elsewhere: usize::MAX }
    }

    /// The start of the page itself.
    pub(super) fn of_page(text: &'t str) -> Self {
        Self { elsewhere: 0, ..Self::new(text) }
    }

    /// The byte offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.at]
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn fault<T>(&self, kind: FaultKind) -> Result<T, Fault> {
        Err(Fault::new(self.at, kind))
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// The first byte of the next value, not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Fault> {
        self.skip_whitespace();
        match self.byte() {
            Some(byte) => Ok(byte),
            None => self.fault(FaultKind::Value),
        }
    }

    /// Consumes the `{` or `[` that [`Parser::peek`] saw; `false` if `close` follows at once.
    #[inline]
    pub(super) fn open(&mut self, close: u8) -> Result<bool, Fault> {
        if self.depth == MAX_DEPTH {
            return self.fault(FaultKind::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_whitespace();
        if self.byte() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Consumes the `,` after an element, or `close`; `false` after `close`.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip_whitespace();
        match self.byte() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if close == b'}' => self.fault(FaultKind::CommaOrBrace),
            _ => self.fault(FaultKind::CommaOrBracket),
        }
    }

    /// Consumes the quote before a key.
    #[inline]
    pub(super) fn quote(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.byte() != Some(b'"') {
            return self.fault(FaultKind::Key);
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes the key and the colon that are expected, if exactly these stand here.
    #[inline]
    pub(super) fn take(&mut self, expected: &Expected) -> bool {
        let Some(rest) = self.text.as_bytes().get(self.at..) else { return false };
        let Some(head) = rest.first_chunk() else { return false };
        let found = (u128::from_le_bytes(*head) ^ expected.head) & expected.mask == 0
            && (expected.text.len() <= HEAD || rest.starts_with(expected.text.as_bytes()));
        if found {
            self.at += expected.text.len();
        }
        found
    }

    /// Consumes the colon after a key.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.byte() != Some(b':') {
            return self.fault(FaultKind::Colon);
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes a string whose opening quote is already consumed.
    #[expect(
        clippy::inline_always,
        reason = "a returned string is stored and at once loaded again"
    )]
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Text<'t>, Fault> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = end_of_plain_text(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, at: start | self.elsewhere, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault(FaultKind::ControlCharacter),
                None => return self.fault(FaultKind::ClosingQuote),
            }
        }
    }

    /// Consumes an escape, checked so that [`unescape`] cannot meet a wrong one.
    fn escape(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let Some(code) = hex4(bytes, self.at + 2) else {
                    return self.fault(FaultKind::HexDigits);
                };
                if is_high_surrogate(code) {
                    let follows = bytes.get(self.at + 6..self.at + 8) == Some(b"\\u".as_slice());
                    match hex4(bytes, self.at + 8) {
                        Some(0xdc00..0xe000) if follows => self.at += 12,
                        _ => return self.fault(FaultKind::LoneSurrogate),
                    }
                } else if (0xdc00..0xe000).contains(&code) {
                    return self.fault(FaultKind::LoneSurrogate);
                } else {
                    self.at += 6;
                }
            }
            _ => return self.fault(FaultKind::Escape),
        }
        Ok(())
    }

    /// Consumes a value that starts with `first` and has no parts.
    #[expect(
        clippy::inline_always,
        reason = "a returned string is stored and at once loaded again"
    )]
    #[inline(always)]
    pub(super) fn scalar(&mut self, first: u8) -> Result<Scalar<'t>, Fault> {
        match first {
            b'"' => {
                self.at += 1;
                self.string().map(Scalar::Text)
            }
            b'-' | b'0'..=b'9' => self.number().map(Scalar::Number),
            b'n' => self.word("null").map(|()| Scalar::Null),
            b't' => self.word("true").map(|()| Scalar::Boolean(true)),
            b'f' => self.word("false").map(|()| Scalar::Boolean(false)),
            _ => self.fault(FaultKind::Value),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.fault(FaultKind::Value);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<&'t str, Fault> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at = end_of_digits(self.text.as_bytes(), self.at);
        if self.at == start { self.fault(FaultKind::Digit) } else { Ok(()) }
    }

    /// Consumes and checks the next value; gives its text.
    pub(super) fn skip(&mut self) -> Result<&'t str, Fault> {
        let first = self.peek()?;
        let start = self.at;
        self.skip_value(first)?;
        Ok(self.since(start))
    }

    fn skip_value(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'{' => {
                let mut more = self.open(b'}')?;
                while more {
                    self.quote()?;
                    self.string()?;
                    self.colon()?;
                    let first = self.peek()?;
                    self.skip_value(first)?;
                    more = self.more(b'}')?;
                }
            }
            b'[' => {
                let mut more = self.open(b']')?;
                while more {
                    let first = self.peek()?;
                    self.skip_value(first)?;
                    more = self.more(b']')?;
                }
            }
            _ => {
                self.scalar(first)?;
            }
        }
        Ok(())
    }

    /// Checks that nothing follows the root value.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.at == self.text.len() { Ok(()) } else { self.fault(FaultKind::End) }
    }
}

/// The offset, from `at`, of the first byte that a string cannot have as it is: a quote, a
/// backslash or a control character, or the end of the text.
///
/// `memchr` looks for bytes but not for the range of control characters, and most strings are
/// shorter than its set-up pays for.
#[inline]
pub(super) fn end_of_plain_text(bytes: &[u8], at: usize) -> usize {
    first(bytes, at, |it| {
        it.simd_eq(u8x16::splat(b'"'))
            | it.simd_eq(u8x16::splat(b'\\'))
            | it.min(u8x16::splat(b' ' - 1)).simd_eq(it)
    })
}

/// The offset, from `at`, of the first byte that is no digit, or the end of the text.
#[inline]
fn end_of_digits(bytes: &[u8], at: usize) -> usize {
    first(bytes, at, |it| {
        let digits = it - u8x16::splat(b'0');
        !digits.min(u8x16::splat(9)).simd_eq(digits)
    })
}

/// The offset, from `at`, of the first byte that `sought` marks, or the end of the text.
#[inline]
fn first(bytes: &[u8], mut at: usize, sought: impl Fn(u8x16) -> u8x16) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = sought(u8x16::new(*chunk)).to_bitmask();
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    // The last bytes of a text, filled up with zeros.
    let rest = bytes.get(at..).unwrap_or_default();
    let mut chunk = [0; 16];
    chunk[..rest.len()].copy_from_slice(rest);
    let found = sought(u8x16::new(chunk)).to_bitmask();
    at + (found.trailing_zeros() as usize).min(rest.len())
}

#[cfg(test)]
mod tests;
