//! The tables of a pipeline: those of a day, and what stands after some nights.

#![allow(dead_code, reason = "each test binary uses a part")]
#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use chrono::NaiveDate;
use chrono_tz::Tz;
use tracklake::sim::{Simulator, World};

use crate::expected::{Window, codearts, timesheet, tracker};
use crate::support::read::{read_csv, read_parquet};
use crate::support::table::{Cell, Table, difference};

/// The tables of a pipeline by the names of their streams.
pub(crate) type Tables = Vec<(&'static str, Table)>;

/// The zone of the CodeArts pipeline where nobody sets another.
pub(crate) const CODEARTS_ZONE: Tz = chrono_tz::Asia::Shanghai;

/// What differs in any stream and format, so that one failure does not hide another.
#[track_caller]
pub(crate) fn differences(output: &Path, pipeline: &str, expected: &[(&str, Table)]) -> String {
    let mut out = String::new();
    for (stream, expected) in expected {
        let dir = |format: &str| output.join(format).join(pipeline).join(stream);
        let found = [
            ("parquet", read_parquet(&dir("parquet"))),
            ("csv", read_csv(&dir("csv"), &expected.columns)),
        ];
        for (format, actual) in found {
            let difference = difference(&actual, expected);
            if !difference.is_empty() {
                let _ = write!(out, "\n{stream} as {format}: {difference}");
            }
        }
    }
    out
}

/// The first work date that the simulator's variables tell a pipeline to read.
pub(crate) fn since(simulator: &Simulator, variable: &str) -> NaiveDate {
    let variables = simulator.variables();
    let (_, text) = variables.iter().find(|(name, _)| *name == variable).unwrap();
    text.parse().unwrap()
}

pub(crate) fn tracker_tables(simulator: &Simulator, zone: Tz) -> [(&'static str, Table); 3] {
    let (world, url) = (simulator.world(), simulator.tracker_url());
    [
        ("issues", tracker::issues(&world, &url, zone)),
        ("worklogs", tracker::worklogs(&world, &url, zone)),
        ("changelog", tracker::changelog(&world, &url, zone)),
    ]
}

pub(crate) fn jira_tables(simulator: &Simulator) -> [(&'static str, Table); 2] {
    jira_tables_since(simulator, since(simulator, "JIRA_SINCE"))
}

pub(crate) fn jira_tables_since(
    simulator: &Simulator,
    since: NaiveDate,
) -> [(&'static str, Table); 2] {
    let world = simulator.world();
    let window = Window::of(&world, since);
    [
        ("audit_log", timesheet::audit_log(&world, window)),
        ("worklogs", timesheet::worklogs(&world, window)),
    ]
}

pub(crate) fn codearts_tables(simulator: &Simulator, zone: Tz) -> [(&'static str, Table); 3] {
    codearts_tables_since(simulator, zone, since(simulator, "CODEARTS_SINCE"))
}

pub(crate) fn codearts_tables_since(
    simulator: &Simulator,
    zone: Tz,
    since: NaiveDate,
) -> [(&'static str, Table); 3] {
    let world = simulator.world();
    let window = Window::of(&world, since);
    [
        ("issues", codearts::issues(&world, zone)),
        ("history", codearts::history(&world, zone)),
        ("work_hours", codearts::work_hours(&world, window)),
    ]
}

/// The rows of `new`, and those of `old` whose key `new` does not have.
pub(crate) fn merged(old: &Table, new: &Table, key: &[&str]) -> Table {
    let key_of = |table: &Table, row| {
        key.iter().map(|it| format!("{:?}", table.cell(row, it))).collect::<Vec<_>>()
    };
    let known: BTreeSet<_> = new.rows.iter().map(|row| key_of(new, row)).collect();
    let kept = old.rows.iter().filter(|row| !known.contains(&key_of(old, row))).cloned();
    Table { columns: new.columns.clone(), rows: new.rows.iter().cloned().chain(kept).collect() }
}

/// The rows of `new`, and those of `old` that belong to issues which could not be read.
pub(crate) fn with_lost_issues(old: &Table, new: &Table, world: &World) -> Table {
    let lost: BTreeSet<&str> = world
        .tracker
        .issues
        .iter()
        .filter(|it| it.lost_access || it.worklogs_forbidden)
        .map(|it| it.id.as_str())
        .collect();
    let is_lost = |cell: &Cell| matches!(cell, Cell::Text(id) if lost.contains(id.as_str()));
    let kept = old.rows.iter().filter(|row| is_lost(old.cell(row, "issue_id"))).cloned();
    Table { columns: new.columns.clone(), rows: new.rows.iter().cloned().chain(kept).collect() }
}

pub(crate) fn find<'a>(tables: &'a [(&str, Table)], stream: &str) -> &'a Table {
    &tables.iter().find(|(name, _)| *name == stream).unwrap().1
}

/// The first day that the nightly jobs are told to read, on every night the same.
pub(crate) fn first_day(simulator: &Simulator) -> NaiveDate {
    since(simulator, "JIRA_SINCE")
}

/// Everything that a pipeline exports on a day into an empty directory.
pub(crate) fn tables(simulator: &Simulator, pipeline: &str, first: NaiveDate) -> Tables {
    match pipeline {
        "yandex_tracker" => tracker_tables(simulator, Tz::UTC).into(),
        "jira_timesheet" => jira_tables_since(simulator, first).into(),
        _ => codearts_tables_since(simulator, CODEARTS_ZONE, first).into(),
    }
}

/// What stands after a night, with what stood before.
pub(crate) fn next_stands(
    simulator: &Simulator,
    pipeline: &str,
    first: NaiveDate,
    stands: &[(&'static str, Table)],
) -> Tables {
    let today = tables(simulator, pipeline, first);
    let next = |(stream, new): (&'static str, Table)| {
        let old = find(stands, stream);
        let table = match (pipeline, stream) {
            ("yandex_tracker", "worklogs") => with_lost_issues(old, &new, &simulator.world()),
            (_, "issues") => merged(old, &new, &["id"]),
            // History is never rewritten: what is known stays as it was read.
            (_, "changelog") => merged(&new, old, &["id", "field_id"]),
            (_, "history") => merged(&new, old, &["record_id", "detail_id"]),
            _ => new,
        };
        (stream, table)
    };
    today.into_iter().map(next).collect()
}
