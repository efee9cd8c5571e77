//! A table of worklogs, ten an issue, and what is written into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::DateTime;
use clap::ValueEnum;
use tracklake::config::{self, Inputs};
use tracklake::load::{
    DEFAULT_MEMORY_BYTES, Destination, Purpose, ReadScopes, Rewrite, Scope, ScopeValue,
};
use tracklake::plan::{Plan, arrow_schema};

use super::cost::{Cost, Meter};

/// The partitions of every table.
const DAYS: i64 = 1_000;
/// The worklogs of an issue, one a day from its first day on.
const LOGS: i64 = 10;
/// Rows of a batch.
const BATCH: usize = 10_000;
/// Microseconds.
const HOUR: i64 = 3_600_000_000;
/// 2022-01-01T00:00:00Z, in microseconds.
const START: i64 = 1_640_995_200_000_000;

const PIPELINE: &str = r#"
version: 1
pipeline: bench
source: { base_url: "http://localhost" }
streams:
  issues:
    request: { path: /issues }
    columns:
      id: { from: id, type: string }
      created_at: { from: createdAt, type: timestamp }
    write: { merge: { key: [id] } }
    partition_by: { column: created_at }
  worklogs:
    slices: { parent: { stream: issues, bind: { issue_id: id } } }
    request: { path: "/issues/{{ parent.issue_id }}/worklog" }
    columns:
      id:               { from: id, type: int64 }
      issue_id:         { from: issue.id, type: string }
      comment:          { from: comment, type: string }
      created_by:       { from: createdBy.display, type: string }
      created_at:       { from: createdAt, type: timestamp }
      start:            { from: start, type: timestamp }
      duration:         { from: duration, type: string }
      duration_seconds: { from: seconds, type: int64 }
    unknown_fields: ignore
    write: { replace: { scope: slice, key: [issue_id, id], by: { issue_id: parent.issue_id } } }
    partition_by: { column: start, unit: day }
destination: { formats: { parquet: {} } }
"#;

/// A worklog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    id: i64,
    issue: i64,
    day: i64,
    hours: i64,
}

/// Whether the rows are the first ones, or all that their issues have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    First,
    Slices,
}

/// How the ids of issues are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ids {
    /// They start with the time at which the issue was made.
    Ordered,
    /// They say nothing.
    Random,
}

pub(crate) struct Table {
    plan: Plan,
    output: PathBuf,
    rows: i64,
    ids: Ids,
}

impl Table {
    pub(crate) fn new(output: &Path, rows: i64, ids: Ids) -> Self {
        let inputs = Inputs::new([]);
        let mut plan = config::load_text("bench.yaml".as_ref(), PIPELINE, &inputs).unwrap();
        plan.destination.path = output.into();
        Self { plan, output: output.to_owned(), rows, ids }
    }

    pub(crate) fn issues(&self) -> i64 {
        self.rows / LOGS
    }

    /// The worklogs of an issue: issues with near numbers have near days.
    pub(crate) fn issue(&self, issue: i64) -> Vec<Row> {
        let first = issue * (DAYS - LOGS + 1) / self.issues();
        let log = |it: i64| {
            let id = issue * LOGS + it;
            Row { id, issue, day: first + it, hours: 1 + random(id) % 8 }
        };
        (0..LOGS).map(log).collect()
    }

    /// The worklogs of an issue with one edited, and one added.
    pub(crate) fn edited(&self, issue: i64) -> Vec<Row> {
        let mut rows = self.issue(issue);
        rows[3].hours += 8;
        rows.push(Row { id: self.rows + issue, ..rows[3] });
        rows
    }

    /// Merges the worklogs of issues and publishes them.
    pub(crate) fn write(&self, issues: impl Iterator<Item = Vec<Row>>, mode: Mode) -> Cost {
        let stream = self.plan.streams.iter().find(|it| it.name.as_str() == "worklogs").unwrap();
        let schema = arrow_schema(&stream.columns, stream.unknown_fields);
        let meter = Meter::start();
        let Plan { destination, pipeline, .. } = &self.plan;
        let now = DateTime::default();
        let destination =
            Destination::open(destination, pipeline, "bench", now, Purpose::Publish).unwrap();
        let mut writer = destination.stream(stream, DEFAULT_MEMORY_BYTES).unwrap();
        let (mut rows, mut scopes) = (Vec::new(), Vec::new());
        for issue in issues {
            if mode == Mode::Slices {
                let value = ScopeValue::Text(self.issue_id(issue[0].issue));
                let equals = vec![("issue_id".parse().unwrap(), value)];
                scopes.push(Scope { equals, dates: None });
            }
            rows.extend(issue);
            if rows.len() >= BATCH {
                let columns = self.columns(&std::mem::take(&mut rows));
                writer.write(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
            }
        }
        writer.write(RecordBatch::try_new(schema, self.columns(&rows)).unwrap()).unwrap();
        let scopes =
            if scopes.is_empty() { ReadScopes::Nothing } else { ReadScopes::These(scopes) };
        let staged = writer.finish(&scopes, Rewrite::Changed).unwrap();
        let published = staged.publish(&serde_json::Value::Null).unwrap();
        meter.stop(&published, &self.output)
    }

    /// As long as those of the trackers.
    fn issue_id(&self, issue: i64) -> String {
        match self.ids {
            Ids::Ordered => format!("{issue:08x}{:016x}", random(issue)),
            Ids::Random => format!("{:016x}{issue:08x}", random(issue)),
        }
    }

    fn columns(&self, rows: &[Row]) -> Vec<ArrayRef> {
        let at = |it: &Row| START + it.day * 24 * HOUR + (8 + random(it.id) % 8) * HOUR;
        let text = |of: &dyn Fn(&Row) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(of).map(Some).collect::<StringArray>())
        };
        let number = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<Int64Array>())
        };
        let instant = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
            let array: TimestampMicrosecondArray = rows.iter().map(of).map(Some).collect();
            Arc::new(array.with_timezone("UTC"))
        };
        vec![
            number(&|it| it.id),
            text(&|it| self.issue_id(it.issue)),
            text(&|it| format!("worked on {:x}", random(it.id))),
            text(&|it| format!("Person {}", random(it.issue) % 500)),
            instant(&|it| at(it) + HOUR + random(it.id) % HOUR),
            instant(&at),
            text(&|it| format!("PT{}H", it.hours)),
            number(&|it| it.hours * 3_600),
        ]
    }
}

/// A number that is not negative and looks random; the same for the same number (splitmix64).
fn random(of: i64) -> i64 {
    let mut it = of.cast_unsigned().wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((it ^ (it >> 31)) >> 1).cast_signed()
}
