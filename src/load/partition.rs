//! Which partition a row belongs to, and the names of partition directories; pure.
//!
//! ```text
//! 2024-07-25T21:42:06Z in Asia/Shanghai     hour    date=2024-07-26T05
//!                                           day     date=2024-07-26
//!                                           month   date=2024-07
//!                                           year    date=2024
//!
//! value            directory                             why
//! "eu"             region=eu
//! "EU/West 1"      region=EU%2FWest%201                  anything but A-Z a-z 0-9 - _ . is encoded
//! ""               region=                               empty is a value, not a null
//! null             region=__HIVE_DEFAULT_PARTITION__     the name that Hive and Spark read as null
//! ```
//!
//! A date is the same date in every zone; an instant is cut to its date in the plan's zone. Both
//! hours of a fold are one partition.

use arrow::{
    array::{Array, AsArray as _},
    datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    WriteError,
    calendar::{DAY, MICROS, date, push_date, push_number},
};
use crate::plan::{PartitionPlan, PartitionUnit};

/// The directory of rows without a value, as Hive and Spark name it.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What is encoded in a directory's name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The place of a partition among the others: null first, then by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ordinal(pub(super) u64);

impl Ordinal {
    /// Of rows without a value.
    pub(super) const NULL: Self = Self(0);

    /// Of the unit that is `count` units after that of 1970-01-01.
    fn new(count: i64) -> Self {
        // Counts are far from the ends of i64, so none of them becomes 0.
        Self(count.cast_unsigned() ^ (1 << 63))
    }

    /// Units since that of 1970-01-01; `None` for rows without a value.
    pub(super) fn number(self) -> Option<i64> {
        (self != Self::NULL).then(|| self.count())
    }

    /// The other way round.
    pub(super) fn of_number(number: Option<i64>) -> Self {
        number.map_or(Self::NULL, Self::new)
    }

    fn count(self) -> i64 {
        (self.0 ^ (1 << 63)).cast_signed()
    }
}

/// Finds the partition of each row.
#[derive(Debug)]
pub(super) struct Partitioner {
    plan: PartitionPlan,
    offsets: Offsets,
}

impl Partitioner {
    /// For the partitions of `plan`.
    pub(super) fn new(plan: PartitionPlan) -> Self {
        let offsets = Offsets::new(plan.zone);
        Self { plan, offsets }
    }

    /// Appends the ordinal of each value of the partition column.
    pub(super) fn ordinals(
        &mut self,
        column: &dyn Array,
        out: &mut Vec<Ordinal>,
    ) -> Result<(), WriteError> {
        match column.data_type() {
            DataType::Date32 => {
                let days = column.as_primitive::<Date32Type>();
                out.extend(days.iter().map(|it| match it {
                    Some(days) => self.ordinal(i64::from(days) * DAY),
                    None => Ordinal::NULL,
                }));
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let instants = column.as_primitive::<TimestampMicrosecondType>();
                out.extend(instants.iter().map(|it| match it {
                    Some(micros) => {
                        let seconds = micros.div_euclid(MICROS);
                        let offset = self.offsets.at(seconds);
                        self.ordinal(seconds + i64::from(offset))
                    }
                    None => Ordinal::NULL,
                }));
            }
            other => {
                return Err(WriteError::Type {
                    column: self.plan.column.to_string(),
                    use_: "`partition_by`",
                    found: other.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The directory's name.
    pub(super) fn directory(&self, ordinal: Ordinal) -> String {
        if ordinal == Ordinal::NULL {
            return directory(self.plan.name.as_str(), None);
        }
        let count = ordinal.count();
        let mut value = Vec::new();
        match self.plan.unit {
            PartitionUnit::Hour => {
                push_date(&mut value, count.div_euclid(24));
                value.push(b'T');
                push_number(&mut value, count.rem_euclid(24), 2);
            }
            PartitionUnit::Day => push_date(&mut value, count),
            PartitionUnit::Month => {
                push_number(&mut value, count.div_euclid(12), 4);
                value.push(b'-');
                push_number(&mut value, count.rem_euclid(12) + 1, 2);
            }
            PartitionUnit::Year => push_number(&mut value, count, 4),
        }
        directory(self.plan.name.as_str(), Some(&String::from_utf8_lossy(&value)))
    }

    /// Of a local time, in seconds since 1970-01-01T00:00.
    fn ordinal(&self, local: i64) -> Ordinal {
        Ordinal::new(match self.plan.unit {
            PartitionUnit::Hour => local.div_euclid(3_600),
            PartitionUnit::Day => local.div_euclid(DAY),
            PartitionUnit::Month => {
                let date = date(local.div_euclid(DAY));
                date.year * 12 + date.month - 1
            }
            PartitionUnit::Year => date(local.div_euclid(DAY)).year,
        })
    }
}

/// The name of the directory of rows with `value` in `column`.
pub(super) fn directory(column: &str, value: Option<&str>) -> String {
    match value {
        None => format!("{column}={NULL}"),
        // The text itself is a value like any other, and must not read as null.
        Some(NULL) => format!("{column}=%5F{}", &NULL[1..]),
        Some(value) => format!("{column}={}", segment(value)),
    }
}

/// `text` as one path segment, or as a part of one.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The offsets of a zone, remembered a day at a time: looking one up costs as much as sorting a
/// row, and the days of a stream are few.
#[derive(Debug)]
struct Offsets {
    zone: Tz,
    days: Vec<Option<(i64, DayOffset)>>,
}

#[derive(Debug, Clone, Copy)]
enum DayOffset {
    /// All day.
    Same(i32),
    /// A transition is on this UTC day.
    Changes,
}

impl Offsets {
    /// Three years, of one word each.
    const DAYS: usize = 1_024;

    fn new(zone: Tz) -> Self {
        Self { zone, days: vec![None; Self::DAYS] }
    }

    /// Seconds east of UTC at an instant.
    fn at(&mut self, seconds: i64) -> i32 {
        let day = seconds.div_euclid(DAY);
        let slot = usize::try_from(day.rem_euclid(1_024)).unwrap_or_default();
        let remembered = match self.days[slot] {
            Some((of, offset)) if of == day => offset,
            Some(_) | None => {
                let offset = self.day(day);
                self.days[slot] = Some((day, offset));
                offset
            }
        };
        match remembered {
            DayOffset::Same(offset) => offset,
            DayOffset::Changes => self.look_up(seconds),
        }
    }

    /// No zone ever changed its offset twice within half an hour, so looking every half hour
    /// sees every change.
    fn day(&self, day: i64) -> DayOffset {
        let start = day * DAY;
        let first = self.look_up(start);
        let same = (1..48).all(|it| self.look_up(start + it * 1_800) == first)
            && self.look_up(start + DAY - 1) == first;
        if same { DayOffset::Same(first) } else { DayOffset::Changes }
    }

    fn look_up(&self, seconds: i64) -> i32 {
        // Beyond chrono's years, the offset of the last of them.
        let seconds = seconds.clamp(-8_000_000_000_000, 8_000_000_000_000);
        let instant = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use arrow::array::{Date32Array, Int64Array, TimestampMicrosecondArray};
    use chrono_tz::{America, Asia, Europe};
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn plan(unit: PartitionUnit, zone: Tz) -> PartitionPlan {
        let name = |text: &str| text.parse().unwrap();
        PartitionPlan { column: name("start"), unit, zone, name: name("date") }
    }

    fn micros(text: &str) -> i64 {
        text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros()
    }

    #[track_caller]
    fn check(zone: Tz, unit: PartitionUnit, column: &dyn Array, expected: &[&str]) {
        let mut partitioner = Partitioner::new(plan(unit, zone));
        let mut ordinals = Vec::new();
        partitioner.ordinals(column, &mut ordinals).unwrap();
        let found: Vec<String> = ordinals.iter().map(|&it| partitioner.directory(it)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_instant_is_cut_in_the_plans_zone() {
        let column = TimestampMicrosecondArray::from(vec![
            Some(micros("2024-07-25T21:42:06Z")),
            None,
            Some(micros("1969-12-31T23:59:59Z")),
        ]);
        let null = "date=__HIVE_DEFAULT_PARTITION__";

        check(
            Asia::Shanghai,
            PartitionUnit::Hour,
            &column,
            &["date=2024-07-26T05", null, "date=1970-01-01T07"],
        );
        check(
            Asia::Shanghai,
            PartitionUnit::Day,
            &column,
            &["date=2024-07-26", null, "date=1970-01-01"],
        );
        check(Tz::UTC, PartitionUnit::Month, &column, &["date=2024-07", null, "date=1969-12"]);
        check(Tz::UTC, PartitionUnit::Year, &column, &["date=2024", null, "date=1969"]);
    }

    #[test]
    fn a_date_is_the_same_in_every_zone() {
        let column = Date32Array::from(vec![Some(19_929), Some(-1), None]);
        let null = "date=__HIVE_DEFAULT_PARTITION__";

        check(
            America::Los_Angeles,
            PartitionUnit::Day,
            &column,
            &["date=2024-07-25", "date=1969-12-31", null],
        );
        check(
            Asia::Shanghai,
            PartitionUnit::Hour,
            &column,
            &["date=2024-07-25T00", "date=1969-12-31T00", null],
        );
    }

    #[test]
    fn extreme_values_have_partitions_too() {
        let instants = TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]);
        let dates = Date32Array::from(vec![i32::MIN, i32::MAX]);

        check(
            Tz::UTC,
            PartitionUnit::Hour,
            &instants,
            &["date=-290308-12-21T19", "date=294247-01-10T04"],
        );
        check(Tz::UTC, PartitionUnit::Day, &dates, &["date=-5877641-06-23", "date=5881580-07-11"]);
        check(Tz::UTC, PartitionUnit::Month, &dates, &["date=-5877641-06", "date=5881580-07"]);
    }

    #[test]
    fn a_day_with_a_change_of_the_clock_is_cut_at_the_right_second() {
        let column = TimestampMicrosecondArray::from(vec![
            micros("2024-03-31T00:59:59Z"),
            micros("2024-03-31T01:00:00Z"),
            micros("2024-10-26T21:59:59Z"),
            micros("2024-10-27T23:00:00Z"),
        ]);

        check(
            Europe::Berlin,
            PartitionUnit::Hour,
            &column,
            &[
                "date=2024-03-31T01",
                "date=2024-03-31T03",
                "date=2024-10-26T23",
                "date=2024-10-28T00",
            ],
        );
    }

    #[test]
    fn a_column_without_time_is_refused() {
        let mut partitioner = Partitioner::new(plan(PartitionUnit::Day, Tz::UTC));

        let err = partitioner.ordinals(&Int64Array::from(vec![1]), &mut Vec::new()).unwrap_err();

        assert_eq!(err.to_string(), "column `start`: `partition_by` does not take the type Int64");
    }

    #[test]
    fn the_name_for_null_as_a_value_is_not_null() {
        assert_ne!(directory("c", Some(NULL)), directory("c", None));
    }

    proptest! {
        #[test]
        fn remembered_offsets_are_the_zones(seconds in vec(-5_000_000_000i64..10_000_000_000, 1..40), zone in 0usize..500) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let mut offsets = Offsets::new(zone);
            for seconds in seconds {
                prop_assert_eq!(offsets.at(seconds), offsets.look_up(seconds), "{} {}", zone, seconds);
            }
        }

        #[test]
        fn different_values_never_share_a_directory(values in vec(option::of(".{0,6}"), 0..8)) {
            let mut owner = BTreeMap::new();
            for value in &values {
                let first = owner.entry(directory("c", value.as_deref())).or_insert(value);
                prop_assert_eq!(*first, value);
            }
        }

        #[test]
        fn a_value_is_always_one_path_segment(value in ".*") {
            prop_assert_eq!(Path::new(&directory("c", Some(&value))).components().count(), 1);
        }
    }

    #[test]
    fn every_seed_of_the_fuzzer_is_one_path_segment_that_says_its_value() {
        let seeds = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/partition"));
        for seed in seeds.unwrap() {
            let value = std::fs::read_to_string(seed.unwrap().path()).unwrap();

            let directory = directory("date", Some(&value));

            assert_eq!(Path::new(&directory).components().count(), 1, "{directory}");
            assert_ne!(directory, super::directory("date", None));
            let encoded = directory.strip_prefix("date=").unwrap();
            let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
            assert_eq!(decoded, value);
        }
    }
}
