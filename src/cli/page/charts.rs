//! What the charts of a dataset show, and what of it a run changed. Pure.

use chrono::{Datelike as _, NaiveDate, Weekday};
use serde::Serialize;

use super::{
    facts::Stream,
    plot::{Plot, Series, Spec, columns},
    scale::{count, counted, hours, place},
    times::clipped,
};
use crate::{
    load::{PartitionSums, Sum, Sums},
    plan::PartitionUnit,
};

/// Groups that have a colour of their own; the rest is one more.
const GROUPS: usize = 6;
/// Lines of a ranking.
const RANKED: usize = 12;
/// More seconds than since the beginning of the world are none, nor is what is not a number.
const MOST_SECONDS: f64 = 1e18;
/// The classes of groups.
const CLASSES: [&str; GROUPS] = ["c0", "c1", "c2", "c3", "c4", "c5"];
/// The class of the rest.
const REST: &str = "rest";

/// A chart, and the same in words and numbers.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figure {
    pub(super) plot: Plot,
    pub(super) legend: Vec<Entry>,
    pub(super) table: Table,
}

/// What a colour stands for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// Rows and columns; the first cell of a row is its name.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A line of a ranking.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Ranked {
    pub(super) name: String,
    /// Of the largest, in percent.
    pub(super) percent: f64,
    pub(super) value: String,
    pub(super) share: String,
}

/// What a partition of time is called: `Thu 25 Jul 2024`, and in few letters `25 Jul`.
pub(super) fn called(partition: &str, unit: PartitionUnit) -> (String, String) {
    let value = partition.split_once('=').map_or(partition, |it| it.1);
    let date = |text: &str| text.parse::<NaiveDate>().ok();
    let named = match unit {
        PartitionUnit::Day => date(value).map(|it| {
            (format!("{}", it.format("%a %-d %b %Y")), format!("{}", it.format("%-d %b")))
        }),
        PartitionUnit::Month => date(&format!("{value}-01"))
            .map(|it| (format!("{}", it.format("%B %Y")), format!("{}", it.format("%b %Y")))),
        PartitionUnit::Hour => value.split_once('T').and_then(|(day, hour)| {
            let day = date(day)?;
            Some((
                format!("{} {hour}:00", day.format("%a %-d %b %Y")),
                format!("{} {hour}h", day.format("%-d %b")),
            ))
        }),
        PartitionUnit::Year => None,
    };
    named.unwrap_or_else(|| (value.to_owned(), value.to_owned()))
}

fn is_weekend(partition: &str) -> bool {
    let value = partition.split_once('=').map_or(partition, |it| it.1);
    let date = value.parse::<NaiveDate>().ok();
    date.is_some_and(|it| matches!(it.weekday(), Weekday::Sat | Weekday::Sun))
}

/// The values of a column over all partitions, the largest first.
fn totals(sums: &Sums, group: usize, of: fn(&Sum) -> f64) -> Vec<(String, f64)> {
    let mut totals: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for (name, sum) in sums.partitions.iter().filter_map(|it| it.groups.get(group)).flatten() {
        *totals.entry(name).or_default() += of(sum);
    }
    let mut totals: Vec<(String, f64)> = totals
        .into_iter()
        .filter(|it| it.1 > 0.0)
        .map(|(name, it)| (name.to_owned(), it))
        .collect();
    totals.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    totals
}

/// The hours or the rows of every partition, by the values of a column.
pub(super) fn by_partition(
    id: &str,
    title: &str,
    sums: &Sums,
    stream: &Stream,
    of: &Measure,
) -> Figure {
    let ranked = of.group.map(|it| totals(sums, it, of.value)).unwrap_or_default();
    let top: Vec<&(String, f64)> = ranked.iter().take(GROUPS).collect();
    let value = |it: &PartitionSums, name: &str| {
        let sum = of.group.and_then(|group| it.groups.get(group)?.get(name));
        sum.map_or(0.0, of.value)
    };
    let mut up: Vec<Series> = top
        .iter()
        .zip(CLASSES)
        .map(|((name, _), class)| Series {
            class,
            name: format!("{} of {name}", of.unit),
            values: sums.partitions.iter().map(|it| value(it, name)).collect(),
        })
        .collect();
    let rest: Vec<f64> = sums
        .partitions
        .iter()
        .map(|it| {
            ((of.value)(&it.all) - top.iter().map(|(name, _)| value(it, name)).sum::<f64>())
                .max(0.0)
        })
        .collect();
    let others = rest.iter().sum::<f64>();
    let has_rest = others > 1e-6;
    if has_rest {
        let (class, name) = if top.is_empty() {
            ("c0", of.unit.to_owned())
        } else {
            (REST, format!("{} of others", of.unit))
        };
        up.push(Series { class, name, values: rest.clone() });
    }
    let (names, labels) = sums.partitions.iter().map(|it| called(&it.partition, sums.unit)).unzip();
    let is_day = sums.unit == PartitionUnit::Day;
    let changed = |it: &PartitionSums| is_changed(stream, &it.partition);
    let all: f64 = sums.partitions.iter().map(|it| (of.value)(&it.all)).sum();
    let mut legend: Vec<Entry> = top
        .iter()
        .zip(CLASSES)
        .map(|((name, sum), class)| Entry { class, text: format!("{name} {}", (of.shown)(*sum)) })
        .collect();
    if has_rest && !top.is_empty() {
        let n = ranked.len().saturating_sub(GROUPS);
        let who =
            if n > 0 { format!("{} others", count(n as u64)) } else { "without a name".to_owned() };
        legend.push(Entry { class: REST, text: format!("{who} {}", (of.shown)(others)) });
    }
    let mut marked: Vec<bool> = sums.partitions.iter().map(changed).collect();
    // Where the run changed everything, as the first one does, marks say nothing.
    let is_all = sums.partitions.iter().zip(&marked).all(|(it, is)| *is || it.all.rows == 0);
    if is_all {
        marked.clear();
    }
    if marked.contains(&true) {
        legend.push(Entry { class: "mark", text: "changed by this run".to_owned() });
    }
    let banded: Vec<bool> =
        sums.partitions.iter().map(|it| is_day && is_weekend(&it.partition)).collect();
    if is_day {
        legend.push(Entry { class: "band", text: "weekend".to_owned() });
    }
    let shown = |it: f64| (of.shown)(it);
    let plot = columns(&Spec {
        id: id.to_owned(),
        title: title.to_owned(),
        desc: format!(
            "{} in all; a column for each {}, up to {}.",
            (of.shown)(all),
            word(sums.unit),
            sums.partitions.last().map(|it| called(&it.partition, sums.unit).0).unwrap_or_default()
        ),
        names,
        short: labels,
        up,
        down: Vec::new(),
        banded,
        marked,
        is_whole: of.is_whole,
        shown: Some(&shown),
        axis: of.axis,
    });
    let head = std::iter::once(title_case(word(sums.unit)))
        .chain(top.iter().map(|it| it.0.clone()))
        .chain((has_rest && !top.is_empty()).then(|| "others".to_owned()))
        .chain([of.unit.to_owned()]);
    let rows = sums.partitions.iter().zip(&rest).rev().map(|(it, rest)| {
        let cells = top.iter().map(|(name, _)| (of.cell)(value(it, name)));
        std::iter::once(called(&it.partition, sums.unit).0)
            .chain(cells)
            .chain((has_rest && !top.is_empty()).then(|| (of.cell)(*rest)))
            .chain([(of.cell)((of.value)(&it.all))])
            .collect()
    });
    Figure { plot, legend, table: Table { head: head.collect(), rows: rows.collect() } }
}

/// What is counted.
pub(super) struct Measure {
    /// The column by which it is told apart.
    pub(super) group: Option<usize>,
    pub(super) value: fn(&Sum) -> f64,
    pub(super) unit: &'static str,
    pub(super) is_whole: bool,
    /// The largest label of the axis is this times smaller than the value: seconds are shown as hours.
    pub(super) axis: f64,
    /// With its unit.
    pub(super) shown: fn(f64) -> String,
    /// Without it.
    pub(super) cell: fn(f64) -> String,
}

/// Whether all sums of a column of seconds, and what they come to, are hours for a person.
pub(super) fn are_hours(sums: &Sums) -> bool {
    let of = |it: &PartitionSums| {
        let groups = it.groups.iter().flat_map(|it| it.values());
        groups.chain([&it.all]).map(|it| it.sum.abs()).sum::<f64>()
    };
    sums.partitions.iter().map(of).sum::<f64>() < MOST_SECONDS
}

/// Hours of a column of seconds.
pub(super) fn of_hours(group: Option<usize>) -> Measure {
    let shown = |it: f64| format!("{} h", hours(it));
    Measure {
        group,
        value: |it| it.sum,
        unit: "hours",
        is_whole: false,
        axis: 3600.0,
        shown,
        cell: hours,
    }
}

/// Rows.
pub(super) fn of_rows(group: Option<usize>) -> Measure {
    let shown = |it: f64| counted(whole(it), "row");
    let cell = |it: f64| count(whole(it));
    #[expect(clippy::cast_precision_loss, reason = "rows of some partitions")]
    let value = |it: &Sum| it.rows as f64;
    Measure { group, value, unit: "rows", is_whole: true, axis: 1.0, shown, cell }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
pub(super) fn whole(it: f64) -> u64 {
    it.max(0.0).round() as u64
}

/// The values of a column, the largest first.
pub(super) fn ranking(sums: &Sums, of: &Measure) -> Vec<Ranked> {
    let Some(group) = of.group else { return Vec::new() };
    let ranked = totals(sums, group, of.value);
    let all: f64 = sums.partitions.iter().map(|it| (of.value)(&it.all)).sum();
    let mut lines: Vec<(String, f64)> = ranked.iter().take(RANKED).cloned().collect();
    let named: f64 = lines.iter().map(|it| it.1).sum();
    if all - named > 1e-6 {
        let n = ranked.len().saturating_sub(RANKED);
        let name =
            if n > 0 { format!("{} others", count(n as u64)) } else { "without a name".to_owned() };
        lines.push((name, all - named));
    }
    let largest = lines.iter().map(|it| it.1).fold(f64::MIN_POSITIVE, f64::max);
    let line = |(name, value): (String, f64)| Ranked {
        name,
        percent: place(value / largest * 100.0),
        value: (of.shown)(value),
        share: format!("{:.0} %", value / all.max(f64::MIN_POSITIVE) * 100.0),
    };
    lines.into_iter().map(line).collect()
}

fn is_changed(stream: &Stream, partition: &str) -> bool {
    stream.changes.iter().flatten().any(|it| it.partition == partition)
}

/// Rows of every partition, and what of them this run has changed; only the latter where later runs have
/// published (`is_past`): what stands now says nothing of what stood beside it then.
pub(super) fn changes(id: &str, sums: &Sums, stream: &Stream, is_past: bool) -> Figure {
    let of = |partition: &str| stream.changes.iter().flatten().find(|it| it.partition == partition);
    let values = |of: &dyn Fn(&PartitionSums) -> u64| -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "rows of a partition")]
        sums.partitions.iter().map(|it| of(it) as f64).collect()
    };
    let added = |it: &PartitionSums| of(&it.partition).map_or(0, |it| it.added);
    let updated = |it: &PartitionSums| of(&it.partition).map_or(0, |it| it.updated);
    let series = |class, name: &str, values| Series { class, name: name.to_owned(), values };
    let mut up = vec![
        series(
            "same",
            "rows as before",
            values(&|it| it.all.rows.saturating_sub(added(it) + updated(it))),
        ),
        series("updated", "changed", values(&updated)),
        series("added", "added", values(&added)),
    ];
    if is_past {
        up.remove(0);
    }
    let down = vec![series(
        "removed",
        "removed",
        values(&|it| of(&it.partition).map_or(0, |it| it.removed)),
    )];
    let (names, labels): (Vec<String>, Vec<String>) =
        sums.partitions.iter().map(|it| called(&it.partition, sums.unit)).unzip();
    let seen: u64 =
        stream.changes.iter().flatten().map(|it| it.added + it.updated + it.removed).sum();
    let shown = |it: f64| count(whole(it));
    let plot = columns(&Spec {
        id: id.to_owned(),
        title: if is_past {
            format!("What this run changed, per {}", word(sums.unit))
        } else {
            format!("Rows per {}, and what this run changed", word(sums.unit))
        },
        desc: if seen == 0 {
            "This run changed no row.".to_owned()
        } else {
            format!(
                "This run added {}, changed {} and removed {} rows.",
                count(stream.added),
                count(stream.updated),
                count(stream.removed)
            )
        },
        names,
        short: labels,
        up,
        down,
        banded: Vec::new(),
        marked: Vec::new(),
        is_whole: true,
        shown: Some(&shown),
        axis: 1.0,
    });
    let entry = |class, text: String| Entry { class, text };
    let mut legend = vec![
        entry("same", "as before".to_owned()),
        entry("added", format!("added {}", count(stream.added))),
        entry("updated", format!("changed {}", count(stream.updated))),
        entry("removed", format!("removed {}", count(stream.removed))),
    ];
    if is_past {
        legend.remove(0);
    }
    let head = [word(sums.unit), "added", "changed", "of these from another partition", "removed"];
    let rows = stream.changes.iter().flatten().rev().take(120).map(|it| {
        let counts = [it.added, it.updated, it.redated, it.removed].map(count);
        std::iter::once(called(&it.partition, sums.unit).0).chain(counts).collect()
    });
    Figure {
        plot,
        legend,
        table: Table { head: head.map(title_case).into(), rows: rows.collect() },
    }
}

/// A unit of time.
pub(super) fn word(unit: PartitionUnit) -> &'static str {
    match unit {
        PartitionUnit::Hour => "hour",
        PartitionUnit::Day => "day",
        PartitionUnit::Month => "month",
        PartitionUnit::Year => "year",
    }
}

fn title_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |it| it.to_uppercase().chain(letters).collect())
}

/// Lines of records that did not fit.
pub(super) fn rejects(stream: &Stream) -> Vec<Ranked> {
    let mut all: Vec<_> = stream.rejects.iter().flatten().collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.records));
    let largest = all.first().map_or(1, |it| it.records.max(1));
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let line = |it: &&super::facts::Rejects| Ranked {
        name: format!("{}: {}", it.column.as_deref().unwrap_or("the record"), clipped(&it.reason)),
        percent: place(it.records as f64 / largest as f64 * 100.0),
        value: counted(it.records, "record"),
        share: String::new(),
    };
    all.iter().take(RANKED).map(line).collect()
}

/// The day before now's, against the same weekday of the weeks before.
pub(super) fn yesterday(sums: &Sums) -> Option<String> {
    if sums.unit != PartitionUnit::Day {
        return None;
    }
    if !sums.is_now {
        let last = sums.partitions.iter().rev().find(|it| it.all.rows > 0)?;
        return Some(format!(
            "the last day with rows is {}.",
            called(&last.partition, sums.unit).0
        ));
    }
    let at = sums.partitions.len().checked_sub(2)?;
    let day = &sums.partitions[at];
    // Before its first day the dataset says nothing of how a day is.
    let first = sums.partitions.iter().position(|it| it.all.rows > 0)?;
    let first = if sums.earlier > 0 { 0 } else { first };
    let weeks_before = (1..=8).filter_map(|weeks| at.checked_sub(7 * weeks));
    let mut before: Vec<Sum> =
        weeks_before.filter(|it| *it >= first).map(|it| sums.partitions[it].all).collect();
    before.sort_by(|a, b| a.sum.total_cmp(&b.sum).then(a.rows.cmp(&b.rows)));
    let with_hours = sums.partitions.iter().any(|it| it.all.sum > 0.0);
    let told = |it: &Sum| {
        let rows = counted(it.rows, "row");
        if with_hours { format!("{} h in {rows}", hours(it.sum)) } else { rows }
    };
    let (_, value) = day.partition.split_once('=')?;
    let weekday = value.parse::<NaiveDate>().ok()?.format("%A").to_string();
    let compared = match (before.get(before.len() / 2), before.len()) {
        (None, _) => format!("there is no {weekday} before to compare with"),
        (Some(it), 1) => format!("the only {weekday} before had {}", told(it)),
        (Some(it), n) => format!("the {n} {weekday}s before had {} (median)", told(it)),
    };
    let name = called(&day.partition, sums.unit).0;
    Some(format!("yesterday, {name}: {}; {compared}.", told(&day.all)))
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Change, *};

    /// Rows and hours of days up to 2024-07-25, by person.
    fn sums(days: &[&[(&str, u64, f64)]]) -> Sums {
        let last = NaiveDate::from_ymd_opt(2024, 7, 25).unwrap_or_default();
        let day = |(back, people): (usize, &&[(&str, u64, f64)])| {
            let date = last - chrono::Days::new((days.len() - 1 - back) as u64);
            let sum =
                |(_, rows, hours): &(&str, u64, f64)| Sum { rows: *rows, sum: hours * 3600.0 };
            let mut all = Sum::default();
            people.iter().for_each(|it| all += sum(it));
            let named = people.iter().filter(|it| !it.0.is_empty());
            let groups = vec![named.map(|it| (it.0.to_owned(), sum(it))).collect()];
            PartitionSums { partition: format!("day={date}"), all, groups }
        };
        Sums {
            unit: PartitionUnit::Day,
            partitions: days.iter().enumerate().map(day).collect(),
            is_now: true,
            earlier: 0,
            later: 0,
            undated: 0,
        }
    }

    #[test]
    fn partitions_are_called_as_people_call_them() {
        let cases = [
            ("date=2024-07-05", PartitionUnit::Day, "Fri 5 Jul 2024", "5 Jul"),
            ("date=2024-07", PartitionUnit::Month, "July 2024", "Jul 2024"),
            ("date=2024-07-25T09", PartitionUnit::Hour, "Thu 25 Jul 2024 09:00", "25 Jul 09h"),
            ("date=2024", PartitionUnit::Year, "2024", "2024"),
            ("date=+12024-01-01x", PartitionUnit::Day, "+12024-01-01x", "+12024-01-01x"),
        ];
        for (partition, unit, long, short) in cases {
            assert_eq!(called(partition, unit), (long.to_owned(), short.to_owned()));
        }
    }

    #[test]
    fn yesterday_is_told_beside_the_same_weekday_before() {
        let mut days: Vec<&[(&str, u64, f64)]> = vec![&[]; 23];
        // Three Wednesdays before the 24th.
        days[0] = &[("a", 1, 1.0)];
        days[7] = &[("a", 2, 8.0)];
        days[14] = &[("a", 3, 6.0)];
        days[21] = &[("a", 1, 2.5), ("b", 1, 2.0)];
        let told = yesterday(&sums(&days));
        let expected = "yesterday, Wed 24 Jul 2024: 4.5 h in 2 rows; the 3 Wednesdays before had 6.0 h in 3 rows (median).";
        assert_eq!(told.as_deref(), Some(expected));

        let old = Sums { is_now: false, ..sums(&days) };
        assert_eq!(yesterday(&old).as_deref(), Some("the last day with rows is Wed 24 Jul 2024."));
        assert_eq!(yesterday(&sums(&[&[("a", 1, 1.0)]])), None);
    }

    #[test]
    fn days_before_the_dataset_are_nothing_to_compare_with() {
        let told = |first: usize, earlier: u64| {
            let mut days: Vec<&[(&str, u64, f64)]> = vec![&[]; 60];
            days[first] = &[("a", 1, 1.0)];
            if first < 52 {
                days[51] = &[("a", 3, 6.0)];
            }
            days[58] = &[("a", 2, 4.0)];
            yesterday(&Sums { earlier, ..sums(&days) }).unwrap_or_default()
        };
        let begin = "yesterday, Wed 24 Jul 2024: 4.0 h in 2 rows; ";
        let cases = [
            (52, 0, "there is no Wednesday before to compare with."),
            (51, 0, "the only Wednesday before had 6.0 h in 3 rows."),
            (50, 0, "the only Wednesday before had 6.0 h in 3 rows."),
            (44, 0, "the 2 Wednesdays before had 6.0 h in 3 rows (median)."),
            (0, 0, "the 8 Wednesdays before had 0.0 h in 0 rows (median)."),
            (50, 7, "the 8 Wednesdays before had 0.0 h in 0 rows (median)."),
        ];
        for (first, earlier, expected) in cases {
            assert_eq!(told(first, earlier), format!("{begin}{expected}"), "{first}");
        }
    }

    #[test]
    fn sums_that_no_clock_has_are_no_hours() {
        let of = |hours: f64| are_hours(&sums(&[&[("a", 1, hours)], &[("a", 1, 1.0)]]));
        assert!(of(1e9) && of(-1e9));
        for odd in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e308, -1e308, 1e15] {
            assert!(!of(odd), "{odd}");
        }
    }

    #[test]
    fn the_largest_are_named_and_the_rest_is_not_lost() {
        let names: Vec<String> = (0..20).map(|it| format!("p{it:02}")).collect();
        let people: Vec<(&str, u64, f64)> = names
            .iter()
            .zip(1_u32..)
            .map(|(name, it)| (name.as_str(), 1, f64::from(it)))
            .chain([("", 1, 10.0)])
            .collect();
        let sums = sums(&[&people]);

        let ranked = ranking(&sums, &of_hours(Some(0)));
        // 1 to 20 hours are 210, ten have no name; the twelve largest have 20 to 9, which are 174.
        assert_eq!(ranked.len(), 13);
        assert_eq!(
            (ranked[0].name.as_str(), ranked[0].value.as_str(), ranked[0].share.as_str()),
            ("p19", "20.0 h", "9 %")
        );
        assert_eq!((ranked[12].name.as_str(), ranked[12].value.as_str()), ("8 others", "46.0 h"));

        let figure = by_partition("x", "Hours", &sums, &Stream::default(), &of_hours(Some(0)));
        let row = figure.table.rows.first().map(|it| it.join(" ")).unwrap_or_default();
        // 20 to 15 are 105.
        assert_eq!(row, "Thu 25 Jul 2024 20.0 19.0 18.0 17.0 16.0 15.0 115.0 220.0");
        assert_eq!(figure.plot.bars.len(), 7);
    }

    #[test]
    fn what_a_run_changed_is_told_apart_from_what_stood() {
        let change = Change {
            partition: "day=2024-07-25".into(),
            added: 2,
            updated: 1,
            removed: 4,
            redated: 1,
        };
        let stream = Stream {
            changes: Some(vec![change]),
            added: 2,
            updated: 1,
            removed: 4,
            ..Stream::default()
        };
        let figure = changes("x", &sums(&[&[("a", 3, 1.0)], &[("a", 10, 1.0)]]), &stream, false);

        let titles: Vec<&str> = figure.plot.bars.iter().map(|it| it.title.as_str()).collect();
        let expected = [
            "Wed 24 Jul 2024: 3 rows as before",
            "Thu 25 Jul 2024: 7 rows as before",
            "Thu 25 Jul 2024: 1 changed",
            "Thu 25 Jul 2024: 2 added",
            "Thu 25 Jul 2024: 4 removed",
        ];
        assert_eq!(titles, expected);
        assert_eq!(figure.table.rows, [["Thu 25 Jul 2024", "2", "1", "1", "4"].map(str::to_owned)]);

        let figure = changes("x", &sums(&[&[], &[("a", 90, 1.0)]]), &stream, true);
        let titles: Vec<&str> = figure.plot.bars.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, expected[2..]);
        assert!(figure.legend.iter().all(|it| it.class != "same"));
    }
}
