//! Decimal numbers and lengths of time, as fractions of whole numbers of any size.

use num_bigint::{BigInt, BigUint, Sign};
use tracklake::plan::{Calendar, DurationUnit};

/// A fraction.
#[derive(Debug, Clone)]
pub struct Number {
    above: BigInt,
    below: BigUint,
}

/// Why a text is no [`Number`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNumber {
    Shape,
    /// 2^64 and more.
    Range,
}

impl Number {
    pub fn whole(number: i64) -> Self {
        Self { above: number.into(), below: 1_u8.into() }
    }

    /// Reads a JSON number; it may have a `+` and leading zeros.
    pub fn parse(text: &str) -> Result<Self, NoNumber> {
        /// A number that is smaller is as good as any such number: it only must not be zero.
        const SMALLEST: i64 = -200;

        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(NoNumber::Shape),
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(NoNumber::Shape);
        }
        let digits = format!("{whole}{fraction}");
        let mut digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self::whole(0));
        }
        let length = |it: &str| i64::try_from(it.len()).unwrap_or(i64::MAX);
        let mut exponent = exponent.saturating_sub(length(fraction));
        if exponent.saturating_add(length(digits)) > 20 {
            return Err(NoNumber::Range);
        }
        if exponent.saturating_add(length(digits)) < SMALLEST {
            (digits, exponent) = ("1", SMALLEST);
        }
        let power = BigUint::from(10_u8).pow(u32::try_from(exponent.abs()).unwrap_or(u32::MAX));
        let digits: BigUint = digits.parse().map_err(|_| NoNumber::Shape)?;
        let (above, below) =
            if exponent < 0 { (digits, power) } else { (digits * power, 1_u8.into()) };
        if &above / &below > u64::MAX.into() {
            return Err(NoNumber::Range);
        }
        let sign = if text.starts_with('-') { Sign::Minus } else { Sign::Plus };
        Ok(Self { above: BigInt::from_biguint(sign, above), below })
    }

    fn plus(&self, other: &Self) -> Self {
        let (a, b) = (BigInt::from(self.below.clone()), BigInt::from(other.below.clone()));
        Self { above: &self.above * &b + &other.above * &a, below: &self.below * &other.below }
    }

    fn times(&self, other: &Self) -> Self {
        Self { above: &self.above * &other.above, below: &self.below * &other.below }
    }

    /// Without the digits after the point, and what they are worth in units of `below`.
    fn parts(&self) -> (BigUint, BigUint) {
        (self.above.magnitude() / &self.below, self.above.magnitude() % &self.below)
    }

    pub fn is_whole(&self) -> bool {
        self.parts().1 == BigUint::ZERO
    }

    /// So many times this, cut off at the point.
    pub fn cut(&self, times: i64) -> Option<i64> {
        let number = self.times(&Self::whole(times));
        signed(number.above.sign(), number.parts().0)
    }

    /// The nearest whole number, the even one of two.
    fn rounded(&self) -> Option<i64> {
        let (whole, rest) = self.parts();
        let twice = rest * 2_u8;
        let up = twice > self.below || (twice == self.below && whole.bit(0));
        signed(self.above.sign(), whole + u8::from(up))
    }
}

fn signed(sign: Sign, magnitude: BigUint) -> Option<i64> {
    let sign = if sign == Sign::Minus { Sign::Minus } else { Sign::Plus };
    BigInt::from_biguint(sign, magnitude).try_into().ok()
}

fn exponent(text: &str) -> Result<i64, NoNumber> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !all_digits(digits) {
        return Err(NoNumber::Shape);
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit())
}

/// Reads a length of time that is text, in seconds.
pub fn duration(text: &str, unit: DurationUnit, calendar: Calendar, exact: bool) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let length = if unsigned.ends_with(|it: char| it.is_ascii_digit())
        && !unsigned.starts_with('P')
        && !unsigned.contains(':')
    {
        return plain_duration(text, unit, exact);
    } else if let Some(iso) = unsigned.strip_prefix('P') {
        iso_duration(iso, calendar)?
    } else if unsigned.contains(':') {
        clock(unsigned)?
    } else {
        jira_duration(unsigned, calendar)?
    };
    seconds(&length, exact).map(|it| if text.starts_with('-') { -it } else { it })
}

/// Reads a plain number of a unit, in seconds.
pub fn plain_duration(text: &str, unit: DurationUnit, exact: bool) -> Option<i64> {
    let length = match unit {
        DurationUnit::Text => return None,
        DurationUnit::Millis => Number { above: 1.into(), below: 1_000_u32.into() },
        DurationUnit::Seconds => Number::whole(1),
        DurationUnit::Minutes => Number::whole(60),
        DurationUnit::Hours => Number::whole(3_600),
    };
    seconds(&Number::parse(text).ok()?.times(&length), exact)
}

fn seconds(length: &Number, exact: bool) -> Option<i64> {
    if exact && !length.is_whole() {
        return None;
    }
    length.rounded()
}

/// The length of a unit; none for one that has no fixed length.
fn unit(letter: char, calendar: Calendar) -> Option<Number> {
    // Computed from hours, a day has noise in its last digits.
    let day = || Number::parse(&format!("{:.6}", calendar.seconds_per_day)).ok();
    let days = || Number::parse(&format!("{:.6}", calendar.days_per_week)).ok();
    match letter.to_ascii_uppercase() {
        'W' => Some(day()?.times(&days()?)),
        'D' => day(),
        'H' => Some(Number::whole(3_600)),
        'M' => Some(Number::whole(60)),
        'S' => Some(Number::whole(1)),
        _ => None,
    }
}

/// Cuts `2H30M` into `2`, `H` and `30`, `M`.
fn amounts(text: &str) -> Option<Vec<(String, char)>> {
    let mut amounts = Vec::new();
    let mut amount = String::new();
    for character in text.chars() {
        match character {
            letter if letter.is_ascii_alphabetic() => {
                amounts.push((std::mem::take(&mut amount), letter));
            }
            ',' => amount.push('.'),
            other => amount.push(other),
        }
    }
    amount.is_empty().then_some(amounts)
}

fn iso_duration(text: &str, calendar: Calendar) -> Option<Number> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    if text.is_empty() || text.ends_with('T') {
        return None;
    }
    let mut sum = Number::whole(0);
    for (part, letters) in [(date, "YMWD"), (time, "HMS")] {
        let mut left = letters;
        for (amount, letter) in amounts(part)? {
            left = left.split_once(letter)?.1;
            let amount = Number::parse(&amount).ok()?;
            if letters.starts_with('Y') && matches!(letter, 'Y' | 'M') {
                if amount.above != BigInt::ZERO {
                    return None;
                }
            } else {
                sum = sum.plus(&amount.times(&unit(letter, calendar)?));
            }
        }
    }
    Some(sum)
}

fn jira_duration(text: &str, calendar: Calendar) -> Option<Number> {
    let mut sum = Number::whole(0);
    let mut met = String::new();
    for (i, (amount, letter)) in amounts(text.trim_end_matches(' '))?.into_iter().enumerate() {
        let amount = if i > 0 { amount.trim_start_matches(' ') } else { &amount };
        if letter.is_ascii_uppercase() || met.contains(letter) || amount.starts_with(['+', '-']) {
            return None;
        }
        met.push(letter);
        sum = sum.plus(&Number::parse(amount).ok()?.times(&unit(letter, calendar)?));
    }
    (!met.is_empty()).then_some(sum)
}

fn clock(text: &str) -> Option<Number> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [hours, minutes] => (hours, minutes, "00"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let sixty = |it: &str| it.len() == 2 && all_digits(it) && it < "60";
    if hours.is_empty() || fraction.is_empty() || !all_digits(hours) || !all_digits(fraction) {
        return None;
    }
    if !sixty(minutes) || !sixty(whole) {
        return None;
    }
    let in_seconds = |it, length| Some(Number::parse(it).ok()?.times(&Number::whole(length)));
    let sum = in_seconds(hours, 3_600)?.plus(&in_seconds(minutes, 60)?);
    Some(sum.plus(&in_seconds(seconds, 1)?))
}
