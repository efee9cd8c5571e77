//! Decimal numbers, exactly: `"1.5e3"` → whole 1500, fraction 0.
//!
//! Nothing here goes through a float, so `9007199254740993` and `0.1` stay what they are.

/// Digits of a fraction that are kept; [`Decimal::beyond`] says whether there were others.
pub(super) const FRACTION_DIGITS: u32 = 18;

/// The number that consists of nothing but 1 to 18 digits, which cannot overflow.
#[inline]
pub(super) fn plain(text: &[u8]) -> Option<i64> {
    let (eights, rest) = text.as_chunks();
    if text.len() > 18 || text.is_empty() {
        return None;
    }
    let mut number = 0;
    for eight in eights {
        number = number * 100_000_000 + eight_digits(*eight)?;
    }
    for digit in rest {
        number = number * 10 + i64::from(char::from(*digit).to_digit(10)?);
    }
    Some(number)
}

/// Eight digits at once: pairs are put together, then pairs of pairs, then both halves.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<i64> {
    let each = |it: u8| u64::from_ne_bytes([it; 8]);
    let word = u64::from_le_bytes(text);
    // A byte is a digit if it is 0x30 to 0x39: neither step carries into the next byte then.
    let digits = word ^ each(b'0');
    if (digits | digits.wrapping_add(each(0x76))) & each(0x80) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    i64::try_from((fours * 10_000 + (fours >> 32)) & 0xffff_ffff).ok()
}

/// A decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    pub(super) whole: u64,
    /// In units of 10^-18.
    pub(super) fraction: u64,
    /// Whether a digit other than 0 follows those of `fraction`.
    pub(super) beyond: bool,
}

/// Why a text is no [`Decimal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDecimal {
    /// It is no number.
    Shape,
    /// Its whole part does not fit 64 bits.
    Range,
}

impl Decimal {
    /// Reads a JSON number, or text that is one; text may also have a `+` and leading zeros.
    pub(super) fn parse(text: &str) -> Result<Self, NoDecimal> {
        let (negative, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        let (whole, rest) = split_digits(digits);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => {
                let (fraction, rest) = split_digits(rest);
                if fraction.is_empty() {
                    return Err(NoDecimal::Shape);
                }
                (fraction, rest)
            }
            rest => (&[][..], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest).ok_or(NoDecimal::Shape)?,
            _ => return Err(NoDecimal::Shape),
        };
        if whole.is_empty() {
            return Err(NoDecimal::Shape);
        }
        Self::assemble(negative, whole, fraction, exponent).ok_or(NoDecimal::Range)
    }

    /// Puts every digit in its place; `None` if the whole part does not fit.
    fn assemble(negative: bool, whole: &[u8], fraction: &[u8], exponent: i64) -> Option<Self> {
        let mut it = Self { negative, whole: 0, fraction: 0, beyond: false };
        let mut place = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
        for digit in whole.iter().chain(fraction).map(|it| u64::from(it - b'0')) {
            place -= 1;
            if place >= 0 {
                it.whole = it.whole.checked_mul(10)?.checked_add(digit)?;
            } else if let Ok(power) = u32::try_from(i64::from(FRACTION_DIGITS) + place) {
                it.fraction += digit * 10_u64.pow(power);
            } else {
                it.beyond |= digit != 0;
            }
        }
        while place > 0 && it.whole > 0 {
            it.whole = it.whole.checked_mul(10)?;
            place -= 1;
        }
        Some(it)
    }

    /// The number, if it is a whole one that fits.
    pub(super) fn integer(self) -> Option<i64> {
        if self.has_fraction() {
            return None;
        }
        let magnitude = i128::from(self.whole);
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    pub(super) fn has_fraction(self) -> bool {
        self.fraction != 0 || self.beyond
    }

    pub(super) fn is_zero(self) -> bool {
        self.whole == 0 && !self.has_fraction()
    }
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|it| !it.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// Saturates: beyond a million every number is either zero or out of range.
fn exponent(bytes: &[u8]) -> Option<i64> {
    let (sign, digits) = match bytes {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] | rest => (1, rest),
    };
    let (digits, rest) = split_digits(digits);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let magnitude =
        digits.iter().fold(0_i64, |sum, it| (sum * 10 + i64::from(it - b'0')).min(1 << 40));
    Some(sign * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(bool, u64, u64, bool), NoDecimal>) {
        let found = Decimal::parse(text).map(|it| (it.negative, it.whole, it.fraction, it.beyond));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn plain_digits_are_their_number_and_nothing_else_is_plain() {
        let digits = "123456789012345678";
        for length in 1..=18 {
            let text = &digits[..length];
            assert_eq!(plain(text.as_bytes()), text.parse().ok());
            for other in (0..=u8::MAX).filter(|it| !it.is_ascii_digit()) {
                for place in 0..length {
                    let mut text = text.as_bytes().to_vec();
                    text[place] = other;
                    assert_eq!(plain(&text), None, "{text:?}");
                }
            }
        }
        for (text, number) in [("00000000", 0), ("99999999", 99_999_999), ("0000000010", 10)] {
            assert_eq!(plain(text.as_bytes()), Some(number));
        }
        assert_eq!(plain(b""), None);
        assert_eq!(plain(b"1234567890123456789"), None);
    }

    #[test]
    fn digits_keep_their_places() {
        check("0", Ok((false, 0, 0, false)));
        check("-1.5", Ok((true, 1, 500_000_000_000_000_000, false)));
        check("1.5e3", Ok((false, 1500, 0, false)));
        check("15e-1", Ok((false, 1, 500_000_000_000_000_000, false)));
        check("1.50E+0", Ok((false, 1, 500_000_000_000_000_000, false)));
        check("+007", Ok((false, 7, 0, false)));
        check("1e-18", Ok((false, 0, 1, false)));
        check("1e-19", Ok((false, 0, 0, true)));
        check("18446744073709551615", Ok((false, u64::MAX, 0, false)));
        check("0e999999999999999999999", Ok((false, 0, 0, false)));
        check("1e-999999999999999999999", Ok((false, 0, 0, true)));
        check("1.00000000000000000000000000000000000000000", Ok((false, 1, 0, false)));
    }

    #[test]
    fn what_is_too_large_or_no_number_is_refused() {
        check("18446744073709551616", Err(NoDecimal::Range));
        check("1e20", Err(NoDecimal::Range));
        check("1e999999999999999999999", Err(NoDecimal::Range));
        for text in ["", "-", ".5", "1.", "1e", "1e+", "n/a", "1 ", " 1", "1_000", "0x1", "NaN"] {
            check(text, Err(NoDecimal::Shape));
        }
    }
}
