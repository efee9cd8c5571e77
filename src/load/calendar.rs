//! Dates and times of day from counts of days and microseconds; pure.
//!
//! The proleptic Gregorian calendar over the whole range of an `i64` of microseconds, which is
//! wider than chrono's: a date that a source invents (`+262144-01-01`) is still a date.

/// Microseconds of a second.
pub(super) const MICROS: i64 = 1_000_000;
/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// A calendar date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// Astronomical: the year before 1 is 0.
    pub(super) year: i64,
    /// From 1.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
}

/// The date that is `days` after 1970-01-01.
pub(super) fn date(days: i64) -> Date {
    // Years start in March, so that the leap day is a year's last day: Howard Hinnant's
    // `civil_from_days`.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
    }
}

/// Appends `number` with at least `width` digits, the sign before them.
pub(super) fn push_number(out: &mut Vec<u8>, number: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start.min(digits.len() - width)..]);
}

/// Appends `2024-07-25`.
pub(super) fn push_date(out: &mut Vec<u8>, days: i64) {
    let Date { year, month, day } = date(days);
    push_number(out, year, 4);
    out.push(b'-');
    push_number(out, month, 2);
    out.push(b'-');
    push_number(out, day, 2);
}

/// Appends `2024-07-25T09:42:06.258000Z`.
pub(super) fn push_instant(out: &mut Vec<u8>, micros: i64) {
    let seconds = micros.div_euclid(MICROS);
    let of_day = seconds.rem_euclid(DAY);
    push_date(out, seconds.div_euclid(DAY));
    for (before, number, width) in [
        (b'T', of_day / 3_600, 2),
        (b':', of_day / 60 % 60, 2),
        (b':', of_day % 60, 2),
        (b'.', micros.rem_euclid(MICROS), 6),
    ] {
        out.push(before);
        push_number(out, number, width);
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike as _, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_and_numbers_print_at_their_extremes() {
        assert_eq!(
            text(|out| push_instant(out, 1_721_900_526_258_000)),
            "2024-07-25T09:42:06.258000Z"
        );
        assert_eq!(text(|out| push_instant(out, -1)), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(|out| push_instant(out, i64::MAX)), "294247-01-10T04:00:54.775807Z");
        assert_eq!(text(|out| push_instant(out, i64::MIN)), "-290308-12-21T19:59:05.224192Z");
        assert_eq!(text(|out| push_number(out, i64::MIN, 1)), i64::MIN.to_string());
        assert_eq!(text(|out| push_number(out, 0, 1)), "0");
        assert_eq!(text(|out| push_date(out, -719_528)), "0000-01-01");
    }

    proptest! {
        #[test]
        fn dates_are_chronos_dates(days in -90_000_000i32..90_000_000) {
            let expected = NaiveDate::from_epoch_days(days).unwrap();
            let found = date(i64::from(days));
            prop_assert_eq!(found.year, i64::from(expected.year()));
            prop_assert_eq!(found.month, i64::from(expected.month()));
            prop_assert_eq!(found.day, i64::from(expected.day()));
        }

        #[test]
        fn instants_print_as_chrono_prints_them(micros in 0i64..253_402_300_799_999_999) {
            let expected = DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(
                text(|out| push_instant(out, micros)),
                expected.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
            );
        }
    }
}
