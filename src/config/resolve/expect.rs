//! What is normal for a stream.

use chrono::Weekday;

use super::Resolver;
use crate::{
    config::{
        shape::Scalar,
        spec::{ExpectDaysSpec, ExpectSpec, WeekdaySpec},
        template::Secrecy,
    },
    plan::{ColumnPlan, DaysPlan, ExpectPlan, Expected, PartitionUnit},
};

/// More days than anyone looks back on.
const MAX_DAYS: i64 = 3660;

impl Resolver<'_> {
    pub(super) fn expect(
        &mut self,
        at: &str,
        spec: ExpectSpec,
        columns: &[ColumnPlan],
        unit: Option<PartitionUnit>,
    ) -> ExpectPlan {
        let ExpectSpec { empty: _, min_rows, max_drop, days, max_nulls } = spec;
        let at_min_rows = format!("{at}.min_rows");
        let min_rows = min_rows.and_then(|it| self.rows(&at_min_rows, &it));
        let at_drop = format!("{at}.max_drop");
        let max_drop = max_drop.and_then(|it| self.share(&at_drop, &it));
        let at_days = format!("{at}.days");
        let days = days.map(|it| self.days(&at_days, it, unit));
        let mut nulls = Vec::new();
        for (column, share) in max_nulls {
            let at = format!("{at}.max_nulls.{column}");
            let (name, share) = (self.column(&at, &column, columns), self.share(&at, &share));
            if let (Some(name), Some(share)) = (name, share) {
                nulls.push((name, self.expected(&at, share)));
            }
        }
        ExpectPlan {
            min_rows: min_rows.map(|it| self.expected(&at_min_rows, it)),
            max_drop: max_drop.map(|it| self.expected(&at_drop, it)),
            days: days.map(|it| self.expected(&at_days, it)),
            max_nulls: nulls,
        }
    }

    fn days(&mut self, at: &str, spec: ExpectDaysSpec, unit: Option<PartitionUnit>) -> DaysPlan {
        let ExpectDaysSpec { last, min_rows, except } = spec;
        if unit.is_some_and(|it| it != PartitionUnit::Day) {
            let message =
                "the partitions are no days: `days` needs `partition_by` with `unit: day`";
            self.problem(at, message, None);
        }
        let at_last = format!("{at}.last");
        let problems = self.problems.len();
        let span = self.span(&at_last, last.as_ref());
        let whole = span.num_seconds() % 86_400 == 0 && (1..=MAX_DAYS).contains(&span.num_days());
        // A text that is no length of time at all has been complained about.
        if let Some(text) = last.filter(|_| !whole && self.problems.len() == problems) {
            let message = format!("`{text}` is no number of days from `1d` to `{MAX_DAYS}d`");
            self.problem(at_last, message, None);
        }
        let at_rows = format!("{at}.min_rows");
        let min_rows = min_rows.and_then(|it| self.rows(&at_rows, &it));
        if min_rows == Some(0) {
            self.problem(at_rows, "every day has 0 rows: expect at least 1, or nothing", None);
        }
        DaysPlan {
            last: u16::try_from(span.num_days()).unwrap_or(1).max(1),
            min_rows: min_rows.unwrap_or(1),
            except: except.into_iter().map(weekday).collect(),
        }
    }

    /// A number of rows.
    fn rows(&mut self, at: &str, scalar: &Scalar) -> Option<u64> {
        let text = self.text(at, scalar, Secrecy::Refused)?;
        let rows = text.trim().parse().ok();
        if rows.is_none() {
            self.problem(at, format!("`{text}` is not a number of rows, such as `1000`"), None);
        }
        rows
    }

    fn expected<T>(&self, at: &str, value: T) -> Expected<T> {
        let line = self.node.place_of(at).line;
        Expected { value, place: format!("{at}, line {line}") }
    }
}

fn weekday(spec: WeekdaySpec) -> Weekday {
    match spec {
        WeekdaySpec::Monday => Weekday::Mon,
        WeekdaySpec::Tuesday => Weekday::Tue,
        WeekdaySpec::Wednesday => Weekday::Wed,
        WeekdaySpec::Thursday => Weekday::Thu,
        WeekdaySpec::Friday => Weekday::Fri,
        WeekdaySpec::Saturday => Weekday::Sat,
        WeekdaySpec::Sunday => Weekday::Sun,
    }
}
