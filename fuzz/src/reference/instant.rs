//! Dates and instants, by chrono.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use tracklake::plan::InstantFormat;

use super::number::Number;

/// What a text says.
#[derive(Debug, Clone, Copy)]
enum Written {
    Date(NaiveDate),
    Local(NaiveDateTime),
    Instant(NaiveDateTime),
}

/// Times that are not exactly one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Irregular {
    pub gaps: u64,
    pub folds: u64,
}

/// Reads a date, in days since 1970.
pub fn date(text: &str, zone: Option<Tz>) -> Option<i32> {
    let day = match read(text)? {
        Written::Date(day) => day,
        Written::Local(local) => local.date(),
        Written::Instant(instant) => zone?.from_utc_datetime(&instant).date_naive(),
    };
    i32::try_from((day - NaiveDate::default()).num_days()).ok()
}

/// Reads an instant, in microseconds since 1970.
pub fn timestamp(text: &str, zone: Option<Tz>, irregular: &mut Irregular) -> Option<i64> {
    let instant = match read(text)? {
        Written::Date(_) => return None,
        Written::Instant(instant) => instant,
        Written::Local(local) => in_zone(local, zone?, irregular),
    };
    in_range(instant.and_utc().timestamp_micros())
}

/// Reads a number since 1970, in microseconds.
pub fn epoch(text: &str, format: InstantFormat) -> Option<i64> {
    let number = Number::parse(text).ok()?;
    in_range(match format {
        InstantFormat::Text => None,
        InstantFormat::EpochSeconds => number.cut(1_000_000),
        InstantFormat::EpochMillis => number.cut(1_000),
    }?)
}

/// Years have four digits.
fn in_range(micros: i64) -> Option<i64> {
    let bound = |it: &str| it.parse::<DateTime<Utc>>().ok().map(|it| it.timestamp_micros());
    let range = bound("0001-01-01T00:00:00Z")?..=bound("9999-12-31T23:59:59.999999Z")?;
    range.contains(&micros).then_some(micros)
}

/// The form of a text: `2024-07` is `dddd-dd`.
fn form(text: &str) -> String {
    text.chars().map(|it| if it.is_ascii_digit() { 'd' } else { it }).collect()
}

fn read(text: &str) -> Option<Written> {
    let (day, time) = text.split_at_checked(10)?;
    let format = match form(day).as_str() {
        "dddd-dd-dd" => "%Y-%m-%d",
        "dddd/dd/dd" if time.is_empty() => "%Y/%m/%d",
        _ => return None,
    };
    let day = NaiveDate::parse_from_str(day, format).ok()?;
    if day < NaiveDate::from_ymd_opt(1, 1, 1)? {
        return None;
    }
    if time.is_empty() {
        return Some(Written::Date(day));
    }
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (time, zone) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
    let local = day.and_time(chrono::NaiveTime::MIN) + time_of_day(time)?;
    if zone.is_empty() {
        return Some(Written::Local(local));
    }
    let instant = local - offset(zone)?;
    in_range(instant.and_utc().timestamp_micros()).map(|_| Written::Instant(instant))
}

fn time_of_day(text: &str) -> Option<TimeDelta> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    match (form(whole).as_str(), fraction) {
        ("dd:dd", "") | ("dd:dd:dd", _) => {}
        _ => return None,
    }
    if !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let mut numbers = whole.split(':').map(|it| it.parse::<i64>().unwrap_or_default());
    let mut next = |most| numbers.next().or(Some(0)).filter(|it| *it <= most);
    let (hours, minutes, seconds) = (next(23)?, next(59)?, next(60)?);
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let seconds = TimeDelta::seconds(hours * 3_600 + minutes * 60 + seconds);
    Some(seconds + TimeDelta::microseconds(micros))
}

fn offset(zone: &str) -> Option<TimeDelta> {
    let digits = match form(&zone.to_ascii_uppercase()).as_str() {
        "Z" => return Some(TimeDelta::zero()),
        "+dd" | "-dd" => format!("{}00", &zone[1..]),
        "+dddd" | "-dddd" | "+dd:dd" | "-dd:dd" => zone[1..].replace(':', ""),
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = TimeDelta::minutes(hours * 60 + minutes);
    Some(if zone.starts_with('-') { -offset } else { offset })
}

/// The instant of a local time: of two the earlier, of none that many minutes later as the clocks
/// skipped.
fn in_zone(local: NaiveDateTime, zone: Tz, irregular: &mut Irregular) -> NaiveDateTime {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => instant.naive_utc(),
        LocalResult::Ambiguous(one, other) => {
            irregular.folds += 1;
            one.min(other).naive_utc()
        }
        LocalResult::None => {
            irregular.gaps += 1;
            // The last instant, on a grid, at which the clock did not yet show the time.
            let mut before = local - TimeDelta::hours(50);
            let shown = |it: NaiveDateTime| zone.from_utc_datetime(&it).naive_local();
            while shown(before + TimeDelta::minutes(15)) <= local {
                before += TimeDelta::minutes(15);
            }
            local - (shown(before) - before)
        }
    }
}
