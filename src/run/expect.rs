//! Whether a stream is as its pipeline expects, before anything of it is published.
//!
//! ```text
//! expected                           found                                    measured on
//! min_rows: 1000                     12                                       the dataset, once published
//! max_drop: 10%                      700, after 1000                          the dataset, and the last run's
//! days: { last: 2d }                 2024-07-23: 8, 2024-07-24: none          the dataset's last whole days
//! max_nulls: { user: 5% }            310 of 1000                              the rows that this run has read
//! ```
//!
//! A run that leaves slices for the next one, or that reads a part of the time, says so by its exit
//! code or was asked to: what is missing then is no news.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, NaiveDate};

use crate::{
    error::Unmet,
    plan::{DaysPlan, ExpectPlan, Expected},
};

/// A share of fewer rows than this says nothing: one of three is 33 %.
const ENOUGH_ROWS: u64 = 100;

/// How many days a message names.
const NAMED_DAYS: usize = 5;

/// What a run has found out about a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Rows of the dataset as the last run left it; 0 where there is none.
    pub(super) rows_before: u64,
    /// Rows of the dataset, once it is published.
    pub(super) rows: u64,
    /// Rows that this run has read.
    pub(super) rows_read: u64,
    /// Nulls among these, column by column as in the plan.
    pub(super) nulls: Vec<u64>,
    /// Rows of each day of the dataset that has any, once it is published.
    pub(super) days: BTreeMap<NaiveDate, u64>,
    /// The date of the run's clock in the zone of the partitions.
    pub(super) today: NaiveDate,
    /// Whether every slice was read.
    pub(super) is_complete: bool,
    /// Whether a part of the time was asked for.
    pub(super) is_part: bool,
}

/// What is not as expected.
pub(super) fn unmet(plan: &ExpectPlan, found: &Found) -> Vec<Unmet> {
    let ExpectPlan { min_rows, max_drop, days, max_nulls } = plan;
    let min_rows = min_rows.as_ref().filter(|_| found.is_complete);
    let days = days.as_ref().filter(|_| found.is_complete && !found.is_part);
    let nulls = max_nulls.iter().zip(&found.nulls);
    let nulls = nulls.filter_map(|((column, share), nulls)| {
        too_many_nulls(column.as_str(), share, *nulls, found.rows_read)
    });
    let of_dataset = [
        min_rows.and_then(|it| too_few(it, found.rows)),
        max_drop.as_ref().and_then(|it| dropped(it, found.rows_before, found.rows)),
        days.and_then(|it| missing_days(it, found)),
    ];
    of_dataset.into_iter().flatten().chain(nulls).collect()
}

fn too_few(expected: &Expected<u64>, rows: u64) -> Option<Unmet> {
    let Expected { value, place } = expected;
    (rows < *value).then(|| Unmet {
        place: place.clone(),
        expected: format!("at least {value} rows in the dataset"),
        found: rows.to_string(),
    })
}

fn dropped(expected: &Expected<f64>, before: u64, rows: u64) -> Option<Unmet> {
    let Expected { value, place } = expected;
    exceeds(before.saturating_sub(rows), *value, before).then(|| Unmet {
        place: place.clone(),
        expected: format!(
            "at most {} fewer rows than the {before} that the last run left",
            percent(*value)
        ),
        found: rows.to_string(),
    })
}

fn too_many_nulls(
    column: &str,
    expected: &Expected<f64>,
    nulls: u64,
    rows_read: u64,
) -> Option<Unmet> {
    let Expected { value, place } = expected;
    let is_enough = rows_read >= ENOUGH_ROWS || *value == 0.0;
    (is_enough && exceeds(nulls, *value, rows_read)).then(|| Unmet {
        place: place.clone(),
        expected: format!("at most {} of the rows read without a `{column}`", percent(*value)),
        found: format!("{nulls} of {rows_read}"),
    })
}

fn missing_days(expected: &Expected<DaysPlan>, found: &Found) -> Option<Unmet> {
    let Expected { value: DaysPlan { last, min_rows, except }, place } = expected;
    let days = (1..=u64::from(*last))
        .rev()
        .filter_map(|back| found.today.checked_sub_days(Days::new(back)));
    let short: Vec<String> = days
        .filter(|day| !except.contains(&day.weekday()))
        .map(|day| (day, found.days.get(&day).copied().unwrap_or(0)))
        .filter(|(_, rows)| rows < min_rows)
        .map(
            |(day, rows)| {
                if rows == 0 { format!("none on {day}") } else { format!("{rows} on {day}") }
            },
        )
        .collect();
    let named = short.iter().take(NAMED_DAYS).cloned().collect::<Vec<_>>().join(", ");
    let more = short.len().saturating_sub(NAMED_DAYS);
    (!short.is_empty()).then(|| Unmet {
        place: place.clone(),
        expected: format!(
            "at least {min_rows} {} on {}",
            if *min_rows == 1 { "row" } else { "rows" },
            if *last == 1 {
                "the last day".to_owned()
            } else {
                format!("each of the last {last} days")
            }
        ),
        found: if more == 0 { named } else { format!("{named} and too few on {more} more days") },
    })
}

/// Whether `part` is more than the share of `whole`.
fn exceeds(part: u64, share: f64, whole: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let (part, whole) = (part as f64, whole as f64);
    part > share * whole
}

fn percent(share: f64) -> String {
    // As it is written: 7 % and not 7.000000000000001 %.
    format!("{} %", (share * 1e8).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use chrono::Weekday;

    use super::*;

    const PLACE: &str = "streams.s.expect.x, line 3";

    fn expected<T>(value: T) -> Expected<T> {
        Expected { value, place: PLACE.to_owned() }
    }

    /// Friday.
    fn found() -> Found {
        Found {
            today: "2024-07-26".parse().unwrap(),
            is_complete: true,
            is_part: false,
            ..Found::default()
        }
    }

    /// `expected; found` of what is not met.
    #[track_caller]
    fn check(plan: &ExpectPlan, found: &Found, wanted: &[&str]) {
        let unmet = unmet(plan, found);
        let texts: Vec<_> =
            unmet.iter().map(|it| format!("{}; {}", it.expected, it.found)).collect();
        assert_eq!(texts, wanted, "{plan:?} {found:?}");
        assert!(unmet.iter().all(|it| it.place == PLACE));
    }

    #[test]
    fn a_stream_without_expectations_is_always_as_expected() {
        check(&ExpectPlan::default(), &Found { rows_before: 9, ..found() }, &[]);
    }

    #[test]
    fn a_dataset_has_the_rows_that_are_expected_or_more() {
        let plan = ExpectPlan { min_rows: Some(expected(10)), ..ExpectPlan::default() };
        for (rows, wanted) in [
            (0, &["at least 10 rows in the dataset; 0"][..]),
            (9, &["at least 10 rows in the dataset; 9"]),
            (10, &[]),
            (11, &[]),
        ] {
            check(&plan, &Found { rows, ..found() }, wanted);
        }
        check(&plan, &Found { rows: 9, is_complete: false, ..found() }, &[]);
        check(
            &plan,
            &Found { rows: 9, is_part: true, ..found() },
            &["at least 10 rows in the dataset; 9"],
        );
    }

    #[test]
    fn a_drop_is_measured_by_the_rows_that_the_last_run_left() {
        let too_few = "at most 10 % fewer rows than the 1000 that the last run left";
        for (rows_before, rows, share, wanted) in [
            (1000, 900, 0.1, None),
            (1000, 899, 0.1, Some(format!("{too_few}; 899"))),
            (1000, 0, 1.0, None),
            (1000, 1200, 0.0, None),
            (3, 2, 0.0, Some("at most 0 % fewer rows than the 3 that the last run left; 2".into())),
            // The first run has nothing to compare with.
            (0, 0, 0.0, None),
        ] {
            let plan = ExpectPlan { max_drop: Some(expected(share)), ..ExpectPlan::default() };
            let wanted: Vec<&str> = wanted.as_deref().into_iter().collect();
            check(&plan, &Found { rows_before, rows, is_complete: false, ..found() }, &wanted);
        }
    }

    #[test]
    fn a_share_of_nulls_counts_from_a_hundred_rows_on_and_none_always() {
        let of = |share, read: u64, nulls: u64| {
            let column = "user".parse().unwrap();
            let plan =
                ExpectPlan { max_nulls: vec![(column, expected(share))], ..ExpectPlan::default() };
            let found = Found { rows_read: read, nulls: vec![nulls], ..found() };
            unmet(&plan, &found)
                .into_iter()
                .map(|it| format!("{}; {}", it.expected, it.found))
                .next()
        };
        let too_many = |text: &str| Some(format!("at most {text}"));
        assert_eq!(of(0.05, 100, 5), None);
        let text = "5 % of the rows read without a `user`; 6 of 100";
        assert_eq!(of(0.05, 100, 6), too_many(text));
        assert_eq!(of(0.05, 99, 99), None);
        assert_eq!(of(0.0, 3, 0), None);
        assert_eq!(of(0.0, 3, 1), too_many("0 % of the rows read without a `user`; 1 of 3"));
        assert_eq!(of(0.0, 0, 0), None);
        let text = "0.7 % of the rows read without a `user`; 8 of 1000";
        assert_eq!(of(0.007, 1000, 8), too_many(text));
    }

    #[test]
    fn whole_days_before_today_have_rows_unless_their_weekday_need_not() {
        let days = |last, min_rows, except: &[Weekday]| ExpectPlan {
            days: Some(expected(DaysPlan { last, min_rows, except: except.to_vec() })),
            ..ExpectPlan::default()
        };
        let rows = |days: &[(&str, u64)]| Found {
            days: days.iter().map(|(day, rows)| (day.parse().unwrap(), *rows)).collect(),
            ..found()
        };
        let weekend = [Weekday::Sat, Weekday::Sun];

        check(&days(1, 1, &[]), &rows(&[("2024-07-25", 1)]), &[]);
        // Today is not over, and what lies ahead is nobody's yesterday.
        check(
            &days(1, 1, &[]),
            &rows(&[("2024-07-24", 8), ("2024-07-26", 8), ("2024-08-01", 8)]),
            &["at least 1 row on the last day; none on 2024-07-25"],
        );
        check(
            &days(2, 5, &[]),
            &rows(&[("2024-07-24", 4), ("2024-07-25", 5)]),
            &["at least 5 rows on each of the last 2 days; 4 on 2024-07-24"],
        );
        check(
            &days(6, 1, &weekend),
            &rows(&[("2024-07-22", 1), ("2024-07-23", 1), ("2024-07-25", 1)]),
            &["at least 1 row on each of the last 6 days; none on 2024-07-24"],
        );
        check(
            &days(7, 1, &[]),
            &rows(&[]),
            &[
                "at least 1 row on each of the last 7 days; none on 2024-07-19, none on 2024-07-20, none on 2024-07-21, none on 2024-07-22, none on 2024-07-23 and too few on 2 more days",
            ],
        );
        check(&days(1, 1, &[]), &Found { is_part: true, ..rows(&[]) }, &[]);
        check(&days(1, 1, &[]), &Found { is_complete: false, ..rows(&[]) }, &[]);
    }
}
