//! Lengths of time, from text and numbers, in whole seconds.
//!
//! ```text
//!                  8 h a day, 5 days a week      24 h, 7 days
//! P3W              432000                        1814400
//! P1W2DT3H         212400                        788400
//! 1w 2d 3h 30m     214200                        790200
//! PT0.5H           1800                          1800
//! 01:30:00         5400                          5400
//! 90  (min)        5400                          5400
//! ```
//!
//! Nothing goes through a float: a unit is a whole number of 10^-12 s, an amount a [`Decimal`],
//! and the sum is rounded once, half to even.

use std::borrow::Cow;

use super::{
    cell::Misfit,
    number::{Decimal, NoDecimal},
};
use crate::plan::{Calendar, DurationUnit};

/// How the durations of a column are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    unit: DurationUnit,
    day: Unit,
    week: Unit,
    exact: bool,
}

/// 10^-12 s in a second: units are whole numbers of these.
const SECOND: i128 = 1_000_000_000_000;
/// What a digit in the last place of a [`Decimal`]'s fraction is worth of a unit.
const FRACTION: i128 = 1_000_000_000_000_000_000;

/// The length of a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Unit {
    /// In 10^-12 s.
    length: i128,
    /// In seconds, if these are a whole number: most units are, and need no division.
    seconds: Option<i128>,
}

impl Unit {
    const MILLISECOND: Self = Self { length: SECOND / 1_000, seconds: None };
    const SECOND: Self = Self::seconds(1);
    const MINUTE: Self = Self::seconds(60);
    const HOUR: Self = Self::seconds(3_600);

    const fn seconds(seconds: i128) -> Self {
        Self { length: seconds * SECOND, seconds: Some(seconds) }
    }

    fn new(length: i128) -> Self {
        Self { length, seconds: (length % SECOND == 0).then_some(length / SECOND) }
    }
}

impl Rules {
    pub(super) fn new(unit: DurationUnit, calendar: Calendar, exact: bool) -> Self {
        let day = millionths(calendar.seconds_per_day);
        let week = day.saturating_mul(millionths(calendar.days_per_week));
        Self { unit, day: Unit::new(day.saturating_mul(1_000_000)), week: Unit::new(week), exact }
    }

    /// Reads text.
    pub(super) fn text(&self, text: &str) -> Result<i64, Misfit> {
        if let Some(seconds) = self.usual(text.as_bytes()) {
            return Ok(seconds);
        }
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        let mut sum = Sum::default();
        if unsigned.is_empty() {
            return Err(Misfit::SHAPE);
        } else if let Some(iso) = unsigned.strip_prefix('P') {
            self.iso(iso, &mut sum)?;
        } else if unsigned.contains(':') {
            clock(unsigned, &mut sum)?;
        } else if unsigned.ends_with(|it: char| it.is_ascii_digit()) {
            return self.number(text);
        } else {
            self.jira(unsigned, &mut sum)?;
        }
        sum.seconds(negative, self.exact)
    }

    /// Reads `P1W2DT3H30M15S`, each part of it whole, as most durations are; anything else is left
    /// to the rules for all of them.
    fn usual(&self, text: &[u8]) -> Option<i64> {
        /// Where the parts stand among each other; the `T` is one, too.
        const TIME: u8 = 2;
        let [b'P', parts @ ..] = text else { return None };
        let (mut sum, mut amount) = (0_i64, None);
        let mut next = 0;
        for byte in parts {
            let (place, unit) = match byte {
                b'0'..=b'9' => {
                    let digit = i64::from(byte - b'0');
                    amount = Some(amount.unwrap_or(0_i64).checked_mul(10)?.checked_add(digit)?);
                    continue;
                }
                b'T' if next <= TIME && amount.is_none() => {
                    next = TIME + 1;
                    continue;
                }
                b'W' => (0, self.week),
                b'D' => (1, self.day),
                b'H' if next > TIME => (3, Unit::HOUR),
                b'M' if next > TIME => (4, Unit::MINUTE),
                b'S' if next > TIME => (5, Unit::SECOND),
                _ => return None,
            };
            if place < next {
                return None;
            }
            next = place + 1;
            let seconds = amount.take()?.checked_mul(i64::try_from(unit.seconds?).ok()?)?;
            sum = sum.checked_add(seconds)?;
        }
        let ends_early = amount.is_some() || next == 0 || next == TIME + 1;
        (!ends_early).then_some(sum)
    }

    /// Reads a plain number of the column's unit.
    pub(super) fn number(&self, text: &str) -> Result<i64, Misfit> {
        let unit = match self.unit {
            DurationUnit::Text => {
                return Err(Misfit::because("the column gives no unit for plain numbers"));
            }
            DurationUnit::Millis => Unit::MILLISECOND,
            DurationUnit::Seconds => Unit::SECOND,
            DurationUnit::Minutes => Unit::MINUTE,
            DurationUnit::Hours => Unit::HOUR,
        };
        let mut sum = Sum::default();
        sum.add(decimal(text)?, unit)?;
        sum.seconds(false, self.exact)
    }

    /// What follows the `P` of `P1Y2M3W4DT5H6M7S`: each unit at most once and in this order.
    fn iso(&self, text: &str, sum: &mut Sum) -> Result<(), Misfit> {
        let (date, time) = match text.split_once('T') {
            Some((_, "")) => return Err(Misfit::SHAPE),
            Some((date, time)) => (date, time),
            None if text.is_empty() => return Err(Misfit::SHAPE),
            None => (text, ""),
        };
        // A year has no length in seconds: only none of them has.
        let date_units = [('Y', None), ('M', None), ('W', Some(self.week)), ('D', Some(self.day))];
        let time_units =
            [('H', Some(Unit::HOUR)), ('M', Some(Unit::MINUTE)), ('S', Some(Unit::SECOND))];
        components(date, &date_units, sum)?;
        components(time, &time_units, sum)
    }

    /// `1w 2d 3h 30m`: each unit at most once, in any order, spaces where one likes.
    fn jira(&self, text: &str, sum: &mut Sum) -> Result<(), Misfit> {
        let mut units = vec![
            ('w', self.week),
            ('d', self.day),
            ('h', Unit::HOUR),
            ('m', Unit::MINUTE),
            ('s', Unit::SECOND),
        ];
        let mut rest = text;
        while !rest.is_empty() {
            let (amount, letter, after) = component(rest)?;
            let known = units.iter().position(|(it, _)| *it == letter).ok_or(Misfit::SHAPE)?;
            if !amount.starts_with(|it: char| it.is_ascii_digit()) {
                return Err(Misfit::SHAPE);
            }
            let (_, unit) = units.swap_remove(known);
            sum.add(decimal(&with_point(amount))?, unit)?;
            rest = after.trim_start_matches(' ');
        }
        Ok(())
    }
}

/// A float of the plan as a whole number of 10^-6, so that `7.6` hours are exactly that.
fn millionths(number: f64) -> i128 {
    #[expect(clippy::cast_possible_truncation, reason = "a float that is too large saturates")]
    let whole = (number * 1e6).round() as i128;
    whole
}

/// Adds components such as `2H30M`, whose units stand in the order of `units`.
fn components(text: &str, mut units: &[(char, Option<Unit>)], sum: &mut Sum) -> Result<(), Misfit> {
    let mut rest = text;
    while !rest.is_empty() {
        let (amount, letter, after) = component(rest)?;
        let known = units.iter().position(|(it, _)| *it == letter).ok_or(Misfit::SHAPE)?;
        let amount = decimal(&with_point(amount))?;
        match units[known].1 {
            Some(unit) => sum.add(amount, unit)?,
            None if amount.is_zero() => {}
            None => return Err(Misfit::because("years and months have no fixed length")),
        }
        units = &units[known + 1..];
        rest = after;
    }
    Ok(())
}

/// Splits `2H30M` into `2`, `H` and `30M`.
fn component(text: &str) -> Result<(&str, char, &str), Misfit> {
    let end = text.find(|it: char| it.is_ascii_alphabetic()).ok_or(Misfit::SHAPE)?;
    let (amount, rest) = text.split_at(end);
    // An exponent is no part of an amount here.
    let letter = rest.chars().next().ok_or(Misfit::SHAPE)?;
    Ok((amount, letter, &rest[1..]))
}

/// `H:MM`, `HH:MM:SS` or `HH:MM:SS.f`.
fn clock(text: &str, sum: &mut Sum) -> Result<(), Misfit> {
    let mut parts = text.split(':');
    let (hours, minutes) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let seconds = parts.next();
    let (whole_seconds, fraction) = match seconds.unwrap_or("00").split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (seconds.unwrap_or("00"), None),
    };
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let sixty = |it: &str| it.len() == 2 && digits(it) && it < "60";
    if !digits(hours)
        || !sixty(minutes)
        || !sixty(whole_seconds)
        || !fraction.is_none_or(digits)
        || parts.next().is_some()
    {
        return Err(Misfit::SHAPE);
    }
    sum.add(decimal(hours)?, Unit::HOUR)?;
    sum.add(decimal(minutes)?, Unit::MINUTE)?;
    sum.add(decimal(seconds.unwrap_or("00"))?, Unit::SECOND)
}

/// Fractions are written with a comma or a point.
fn with_point(amount: &str) -> Cow<'_, str> {
    if amount.contains(',') { amount.replace(',', ".").into() } else { amount.into() }
}

fn decimal(text: &str) -> Result<Decimal, Misfit> {
    Decimal::parse(text).map_err(|err| match err {
        NoDecimal::Shape => Misfit::SHAPE,
        NoDecimal::Range => Misfit::RANGE,
    })
}

/// A sum of amounts: whole seconds and a fraction of one in 10^-30.
#[derive(Debug, Default)]
struct Sum {
    whole: i128,
    fraction: i128,
    /// The sign of digits that were too small to add.
    beyond: i128,
}

impl Sum {
    fn add(&mut self, amount: Decimal, unit: Unit) -> Result<(), Misfit> {
        let sign = if amount.negative { -1 } else { 1 };
        if let Some(seconds) = unit.seconds
            && !amount.has_fraction()
        {
            let whole = i128::from(amount.whole).checked_mul(seconds).ok_or(Misfit::RANGE)?;
            self.whole += sign * whole;
            return Ok(());
        }
        let unit = unit.length;
        let whole = i128::from(amount.whole).checked_mul(unit).ok_or(Misfit::RANGE)?;
        let fraction = i128::from(amount.fraction).checked_mul(unit).ok_or(Misfit::RANGE)?;
        self.whole += sign * (whole / SECOND + fraction / (SECOND * FRACTION));
        self.fraction += sign * ((whole % SECOND) * FRACTION + fraction % (SECOND * FRACTION));
        if amount.beyond && unit != 0 {
            self.beyond = sign;
        }
        Ok(())
    }

    /// The sum in whole seconds, rounded half to even or not at all.
    fn seconds(mut self, negative: bool, exact: bool) -> Result<i64, Misfit> {
        const ONE: i128 = SECOND * FRACTION;
        if self.fraction != 0 {
            self.whole += self.fraction.div_euclid(ONE);
            self.fraction = self.fraction.rem_euclid(ONE);
        }
        if exact && (self.fraction != 0 || self.beyond != 0) {
            return Err(Misfit::because("it is not a whole number of seconds"));
        }
        let twice = (2 * self.fraction).cmp(&ONE).then(self.beyond.cmp(&0));
        let up = twice.is_gt() || (twice.is_eq() && self.whole % 2 != 0);
        let rounded = self.whole + i128::from(up);
        i64::try_from(if negative { -rounded } else { rounded }).map_err(|_| Misfit::RANGE)
    }
}

#[cfg(test)]
mod tests;
