//! Instants and dates, from text and numbers.
//!
//! ```text
//! 2024-07-25T09:42:06.258+0000     1721900526258000 µs
//! 2024-07-25 09:42:06              with a zone: 1721871726000000 µs in Asia/Shanghai
//! 1752829690.5 (epoch s)           1752829690500000 µs
//! 2024/07/25                       day 19929
//! ```
//!
//! Pure: the host's zone and clock are never read. Rules of zones are chrono-tz's; digits are read
//! here, in one pass.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use wide::u8x16;

use super::{
    cell::Misfit,
    number::{Decimal, NoDecimal},
};
use crate::plan::InstantFormat;

const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;
/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800 * SECOND_MICROS;
/// 9999-12-31T23:59:59.999999Z.
const LAST: i64 = 253_402_300_800 * SECOND_MICROS - 1;

/// What a text says, in days or microseconds since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// A date without a time.
    Date(i32),
    /// Date and time without a zone.
    Local(i64),
    /// Date and time with an offset.
    Instant(i64),
}

/// Reads a date, a local time or an instant.
pub(super) fn read(text: &str) -> Result<Written, Misfit> {
    let bytes = text.as_bytes();
    if let Some((head, rest)) = bytes.split_first_chunk()
        && let Some([century, year, month, day, hour, minute]) = usual_head(head)
    {
        let days = days_since_epoch(century * 100 + year, month, day)?;
        let (micros, zone) = time_of_day(hour, minute, rest)?;
        return with_zone(days, micros, zone);
    }
    let [y0, y1, y2, y3, dash, m0, m1, dash_again, d0, d1, time @ ..] = bytes else {
        return Err(Misfit::SHAPE);
    };
    let slashes = (*dash, *dash_again) == (b'/', b'/') && time.is_empty();
    if (*dash, *dash_again) != (b'-', b'-') && !slashes {
        return Err(Misfit::SHAPE);
    }
    let year = two(*y0, *y1)? * 100 + two(*y2, *y3)?;
    let days = days_since_epoch(year, two(*m0, *m1)?, two(*d0, *d1)?)?;
    let [b'T' | b't' | b' ', time @ ..] = time else {
        return if time.is_empty() { Ok(Written::Date(days)) } else { Err(Misfit::SHAPE) };
    };
    let [h0, h1, b':', m0, m1, rest @ ..] = time else { return Err(Misfit::SHAPE) };
    let (micros, zone) = time_of_day(two(*h0, *h1)?, two(*m0, *m1)?, rest)?;
    with_zone(days, micros, zone)
}

/// The numbers of `2024-07-25T09:42`, if it is written like this: as most instants start.
#[inline]
fn usual_head(text: &[u8; 16]) -> Option<[i32; 6]> {
    const LEAST: &[u8; 16] = b"0000-00-00T00:00";
    const SPAN: &[u8; 16] = b"\x09\x09\x09\x09\0\x09\x09\0\x09\x09\0\x09\x09\0\x09\x09";
    let digits = u8x16::new(*text) - u8x16::new(*LEAST);
    if !digits.min(u8x16::new(*SPAN)).simd_eq(digits).all() {
        return None;
    }
    let digits = digits.to_array();
    Some([0, 2, 5, 8, 11, 14].map(|it| i32::from(digits[it]) * 10 + i32::from(digits[it + 1])))
}

/// Puts the parts together.
fn with_zone(days: i32, micros: i64, zone: &[u8]) -> Result<Written, Misfit> {
    let local = i64::from(days) * DAY_MICROS + micros;
    match offset_seconds(zone)? {
        None => Ok(Written::Local(local)),
        Some(offset) => in_range(local - offset * SECOND_MICROS).map(Written::Instant),
    }
}

/// Reads what follows `hh:mm`, `:ss` or `:ss.f…` or nothing, and gives what follows that.
fn time_of_day(hour: i32, minute: i32, bytes: &[u8]) -> Result<(i64, &[u8]), Misfit> {
    let (second, rest) = match bytes {
        [b':', s0, s1, rest @ ..] => (two(*s0, *s1)?, rest),
        // ISO 8601 has fractions of minutes; nobody sends them, and they are none of seconds.
        [b'.' | b',', ..] => return Err(Misfit::SHAPE),
        rest => (0, rest),
    };
    // RFC 3339 knows the leap second 60; it is the instant before the next minute starts.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(Misfit::because("there is no such time of day"));
    }
    let (fraction, rest) = match rest {
        [b'.' | b',', digits @ ..] => {
            let (mut micros, mut unit, mut rest) = (0, 100_000, digits);
            while let [digit @ b'0'..=b'9', after @ ..] = rest {
                // Digits beyond microseconds are cut off.
                micros += i64::from(digit - b'0') * unit;
                unit /= 10;
                rest = after;
            }
            if rest.len() == digits.len() {
                return Err(Misfit::SHAPE);
            }
            (micros, rest)
        }
        rest => (0, rest),
    };
    let seconds = i64::from((hour * 60 + minute) * 60 + second);
    Ok((seconds * SECOND_MICROS + fraction, rest))
}

/// Reads `Z`, `+hh`, `+hhmm` or `+hh:mm`; nothing is no zone.
fn offset_seconds(bytes: &[u8]) -> Result<Option<i64>, Misfit> {
    let (sign, hour, minute) = match bytes {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [sign, h0, h1] => (sign, two(*h0, *h1)?, 0),
        [sign, h0, h1, m0, m1] | [sign, h0, h1, b':', m0, m1] => {
            (sign, two(*h0, *h1)?, two(*m0, *m1)?)
        }
        _ => return Err(Misfit::SHAPE),
    };
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return Err(Misfit::SHAPE),
    };
    if hour > 23 || minute > 59 {
        return Err(Misfit::because("there is no such offset"));
    }
    Ok(Some(sign * i64::from((hour * 60 + minute) * 60)))
}

fn two(tens: u8, ones: u8) -> Result<i32, Misfit> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok(i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    } else {
        Err(Misfit::SHAPE)
    }
}

/// The day's number, counted in the proleptic Gregorian calendar.
fn days_since_epoch(year: i32, month: i32, day: i32) -> Result<i32, Misfit> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    if year == 0 || day == 0 || day > length {
        return Err(Misfit::because("there is no such day"));
    }
    // Years are counted from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok(era * 146_097 + day_of_era - 719_468)
}

fn in_range(micros: i64) -> Result<i64, Misfit> {
    if (FIRST..=LAST).contains(&micros) { Ok(micros) } else { Err(Misfit::RANGE) }
}

/// The instant that a number since 1970-01-01 UTC stands for; digits beyond microseconds are cut
/// off.
pub(super) fn epoch(text: &str, format: InstantFormat) -> Result<i64, Misfit> {
    let (per_unit, per_micro) = match format {
        InstantFormat::Text => {
            return Err(Misfit::because("the column's format is not an epoch"));
        }
        InstantFormat::EpochSeconds => (1_000_000, 1_000_000_000_000),
        InstantFormat::EpochMillis => (1_000, 1_000_000_000_000_000),
    };
    let number = Decimal::parse(text).map_err(|err| match err {
        NoDecimal::Shape => Misfit::SHAPE,
        NoDecimal::Range => Misfit::RANGE,
    })?;
    let micros = i128::from(number.whole) * per_unit + i128::from(number.fraction / per_micro);
    let micros = i64::try_from(micros).map_err(|_| Misfit::RANGE)?;
    in_range(if number.negative { -micros } else { micros })
}

/// The day of an instant in UTC, or of a local time in its zone.
pub(super) fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or_default()
}

/// A zone, with the offsets of the days that were asked for last.
///
/// Looking an offset up costs more than reading the text, and a page has few distinct days.
#[derive(Debug)]
pub(super) struct Zone {
    tz: Tz,
    local_days: Vec<Option<(i32, i64)>>,
    utc_days: Vec<Option<(i32, i64)>>,
}

/// Times of a zone that are not exactly one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Irregular {
    /// Times that the clocks skipped; moved forward by what they skipped.
    pub(super) gaps: u64,
    /// Times that the clocks showed twice; the earlier is taken.
    pub(super) folds: u64,
}

impl Zone {
    const CACHED_DAYS: i32 = 512;

    pub(super) fn new(tz: Tz) -> Self {
        Self { tz, local_days: Vec::new(), utc_days: Vec::new() }
    }

    /// The instant of a local time.
    pub(super) fn instant(&mut self, local: i64, seen: &mut Irregular) -> Result<i64, Misfit> {
        let day = day_of(local);
        let offset = match cached(&mut self.local_days, day, || regular_local_day(self.tz, day)) {
            Some(offset) => offset,
            None => irregular_offset(self.tz, local, seen),
        };
        in_range(local - offset * SECOND_MICROS)
    }

    /// The day of an instant in this zone.
    pub(super) fn day(&mut self, instant: i64) -> i32 {
        let day = day_of(instant);
        let offset = cached(&mut self.utc_days, day, || regular_utc_day(self.tz, day))
            .unwrap_or_else(|| utc_offset(self.tz, instant));
        day_of(instant + offset * SECOND_MICROS)
    }
}

/// The offset of a whole day, from the slot it was kept in or else found and kept.
fn cached(
    days: &mut Vec<Option<(i32, i64)>>,
    day: i32,
    find: impl FnOnce() -> Option<i64>,
) -> Option<i64> {
    if days.is_empty() {
        days.resize(usize::try_from(Zone::CACHED_DAYS).unwrap_or_default(), None);
    }
    let slot = usize::try_from(day.rem_euclid(Zone::CACHED_DAYS)).unwrap_or_default();
    match days[slot] {
        Some((kept, offset)) if kept == day => Some(offset),
        _ => {
            let offset = find()?;
            days[slot] = Some((day, offset));
            Some(offset)
        }
    }
}

/// The offset of a local day on which no clock was changed.
fn regular_local_day(tz: Tz, day: i32) -> Option<i64> {
    let start = i64::from(day) * DAY_MICROS;
    let first = tz.offset_from_local_datetime(&naive(start)).single()?;
    let last = tz.offset_from_local_datetime(&naive(start + DAY_MICROS)).single()?;
    let (first, last) = (seconds(&first), seconds(&last));
    (first == last).then_some(first)
}

/// The offset of a UTC day on which no clock was changed.
fn regular_utc_day(tz: Tz, day: i32) -> Option<i64> {
    let start = i64::from(day) * DAY_MICROS;
    let (first, last) = (utc_offset(tz, start), utc_offset(tz, start + DAY_MICROS));
    (first == last).then_some(first)
}

fn utc_offset(tz: Tz, instant: i64) -> i64 {
    seconds(&tz.offset_from_utc_datetime(&naive(instant)))
}

/// The offset for a local time on a day on which clocks may have been changed.
fn irregular_offset(tz: Tz, local: i64, seen: &mut Irregular) -> i64 {
    let local = naive(local);
    match tz.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) => seconds(&offset),
        LocalResult::Ambiguous(one, other) => {
            seen.folds += 1;
            // The earlier of two instants with one local time is that of the larger offset.
            seconds(&one).max(seconds(&other))
        }
        LocalResult::None => {
            seen.gaps += 1;
            // With the offset from before the gap the time moves forward by the gap's length. No
            // gap is longer than a day (Samoa left out 2011-12-30).
            let before = (1..=200).find_map(|quarters| {
                tz.offset_from_local_datetime(&(local - TimeDelta::minutes(15 * quarters))).latest()
            });
            before.map_or(0, |it| seconds(&it))
        }
    }
}

fn seconds(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc())
}

fn naive(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc()
}

#[cfg(test)]
mod tests;
