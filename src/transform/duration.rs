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

use super::{
    cell::Misfit,
    number::{Decimal, NoDecimal},
};
use crate::plan::{Calendar, DurationUnit};

/// How the durations of a column are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    unit: DurationUnit,
    day: i128,
    week: i128,
    exact: bool,
}

/// 10^-12 s in a second: units are whole numbers of these.
const SECOND: i128 = 1_000_000_000_000;
/// What a digit in the last place of a [`Decimal`]'s fraction is worth of a unit.
const FRACTION: i128 = 1_000_000_000_000_000_000;

impl Rules {
    pub(super) fn new(unit: DurationUnit, calendar: Calendar, exact: bool) -> Self {
        let day = millionths(calendar.seconds_per_day);
        let week = day.saturating_mul(millionths(calendar.days_per_week));
        Self { unit, day: day.saturating_mul(1_000_000), week, exact }
    }

    /// Reads text.
    pub(super) fn text(&self, text: &str) -> Result<i64, Misfit> {
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

    /// Reads a plain number of the column's unit.
    pub(super) fn number(&self, text: &str) -> Result<i64, Misfit> {
        let unit = match self.unit {
            DurationUnit::Text => {
                return Err(Misfit::because("the column gives no unit for plain numbers"));
            }
            DurationUnit::Millis => SECOND / 1_000,
            DurationUnit::Seconds => SECOND,
            DurationUnit::Minutes => 60 * SECOND,
            DurationUnit::Hours => 3_600 * SECOND,
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
            [('H', Some(3_600 * SECOND)), ('M', Some(60 * SECOND)), ('S', Some(SECOND))];
        components(date, &date_units, sum)?;
        components(time, &time_units, sum)
    }

    /// `1w 2d 3h 30m`: each unit at most once, in any order, spaces where one likes.
    fn jira(&self, text: &str, sum: &mut Sum) -> Result<(), Misfit> {
        let mut units = vec![
            ('w', self.week),
            ('d', self.day),
            ('h', 3_600 * SECOND),
            ('m', 60 * SECOND),
            ('s', SECOND),
        ];
        let mut rest = text;
        while !rest.is_empty() {
            let (amount, letter, after) = component(rest)?;
            let known = units.iter().position(|(it, _)| *it == letter).ok_or(Misfit::SHAPE)?;
            if !amount.starts_with(|it: char| it.is_ascii_digit()) {
                return Err(Misfit::SHAPE);
            }
            let (_, unit) = units.swap_remove(known);
            sum.add(decimal(&amount.replace(',', "."))?, unit)?;
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
fn components(text: &str, mut units: &[(char, Option<i128>)], sum: &mut Sum) -> Result<(), Misfit> {
    let mut rest = text;
    while !rest.is_empty() {
        let (amount, letter, after) = component(rest)?;
        let known = units.iter().position(|(it, _)| *it == letter).ok_or(Misfit::SHAPE)?;
        let amount = decimal(&amount.replace(',', "."))?;
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
    sum.add(decimal(hours)?, 3_600 * SECOND)?;
    sum.add(decimal(minutes)?, 60 * SECOND)?;
    sum.add(decimal(seconds.unwrap_or("00"))?, SECOND)
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
    fn add(&mut self, amount: Decimal, unit: i128) -> Result<(), Misfit> {
        let sign = if amount.negative { -1 } else { 1 };
        let whole = i128::from(amount.whole).checked_mul(unit).ok_or(Misfit::RANGE)?;
        let fraction = i128::from(amount.fraction).checked_mul(unit).ok_or(Misfit::RANGE)?;
        self.whole += sign * (whole / SECOND);
        self.fraction += sign * ((whole % SECOND) * FRACTION);
        self.whole += sign * (fraction / (SECOND * FRACTION));
        self.fraction += sign * (fraction % (SECOND * FRACTION));
        if amount.beyond && unit != 0 {
            self.beyond = sign;
        }
        Ok(())
    }

    /// The sum in whole seconds, rounded half to even or not at all.
    fn seconds(mut self, negative: bool, exact: bool) -> Result<i64, Misfit> {
        const ONE: i128 = SECOND * FRACTION;
        self.whole += self.fraction.div_euclid(ONE);
        self.fraction = self.fraction.rem_euclid(ONE);
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
