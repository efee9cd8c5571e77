//! `status`: how far each stream has got, from what is on disk.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{
    Dataset,
    args::{DatasetArgs, GlobalArgs},
    clock, dataset,
    report::{self, counted, size},
};
use crate::{
    error::{Error, chain},
    load::{Inspection, Quarantined, StreamSummary, WriteError},
    plan::{Name, value_text},
    run::RESUME_MAX_AGE,
    state::StreamState,
};

/// How many runs are shown.
const RUNS: usize = 5;
/// How many pending parents are shown.
const PENDING: usize = 3;

pub(super) fn status(
    args: &DatasetArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    for name in &args.pipelines {
        let Dataset { pipeline, streams, path, inspection } = dataset(name, args, global)?;
        let status = match &inspection {
            Some(inspection) => Some(Status::read(inspection, &streams, clock(global))?),
            None => None,
        };
        // An output directory may be shared with pipelines that have been run.
        let status = status.filter(|it| !it.is_empty());
        if args.json {
            let mut object = json!({
                "pipeline": pipeline.as_str(),
                "output": path.to_string(),
                "is_exported": status.is_some(),
            });
            if let (Some(object), Some(Value::Object(more))) =
                (object.as_object_mut(), status.map(|it| it.json()))
            {
                object.extend(more);
            }
            report::raw(stdout, &object);
        } else if let Some(status) = status {
            report::line(stdout, format_args!("{pipeline} in `{path}`"));
            status.print(stdout, global.columns);
        } else {
            report::line(
                stdout,
                format_args!("{pipeline}: nothing has been exported to `{path}` yet"),
            );
        }
    }
    Ok(0)
}

/// What is known of a pipeline.
struct Status {
    streams: Vec<StreamStatus>,
    runs: Vec<(String, Value)>,
    resumable: Option<Resumable>,
    holder: Option<String>,
}

struct StreamStatus {
    name: Name,
    published: Option<StreamSummary>,
    state: Option<StreamState>,
    quarantine: Quarantined,
    is_interrupted: bool,
    /// Why its manifest or its state cannot be used.
    damage: Option<String>,
}

/// What an unfinished run has left.
struct Resumable {
    streams: Vec<String>,
    bytes: u64,
    began: DateTime<Utc>,
    until: DateTime<Utc>,
    is_in_time: bool,
}

impl Status {
    fn read(inspection: &Inspection, streams: &[Name], now: DateTime<Utc>) -> Result<Self, Error> {
        let interrupted = inspection.interrupted().map_err(Error::Inspect)?;
        let mut found = Vec::new();
        for name in streams {
            // One damaged file must not hide the others.
            let (published, mut damage) = match inspection.stream(name) {
                Ok(published) => (published, None),
                Err(err) => (None, Some(chain(&err))),
            };
            let stored = published.as_ref().map(|it| it.state.clone()).unwrap_or_default();
            let state = match StreamState::from_stored(stored) {
                Ok(state) => state,
                Err(err) => {
                    damage = Some(chain(&err));
                    None
                }
            };
            if published.is_none() && damage.is_none() {
                match inspection.refuse_unknown(name, &["parquet", "csv"]) {
                    Err(err @ WriteError::Unknown { .. }) => damage = Some(err.to_string()),
                    other => other.map_err(Error::Inspect)?,
                }
            }
            found.push(StreamStatus {
                published,
                state,
                quarantine: inspection.quarantine(name).map_err(Error::Inspect)?,
                is_interrupted: interrupted.contains(name),
                damage,
                name: name.clone(),
            });
        }
        let unfinished = inspection.unfinished().map_err(Error::Inspect)?;
        let resumable = unfinished.map(|it| {
            let (began, until) = (it.header.now, it.header.now + RESUME_MAX_AGE);
            let is_in_time = (began..=until).contains(&now);
            Resumable { streams: it.streams, bytes: it.bytes, began, until, is_in_time }
        });
        Ok(Self {
            streams: found,
            runs: inspection.reports(RUNS).map_err(Error::Inspect)?,
            resumable,
            holder: inspection.holder().map_err(Error::Inspect)?,
        })
    }

    /// Whether no run has ever been here.
    fn is_empty(&self) -> bool {
        let is_empty = |it: &StreamStatus| {
            it.published.is_none()
                && it.damage.is_none()
                && !it.is_interrupted
                && it.quarantine.files == 0
        };
        self.runs.is_empty()
            && self.resumable.is_none()
            && self.holder.is_none()
            && self.streams.iter().all(is_empty)
    }

    fn json(&self) -> Value {
        let stream = |it: &StreamStatus| {
            let StreamStatus { name, published, state, quarantine, is_interrupted, damage } = it;
            let state = state.as_ref();
            json!({
                "stream": name.as_str(),
                "rows": published.as_ref().map(|it| it.rows),
                "partitions": published.as_ref().map(|it| it.partitions),
                "files": published.as_ref().map(|it| it.files),
                "bytes": published.as_ref().map(|it| it.bytes),
                "cursor": state.and_then(|it| it.cursor),
                "started_from": state.and_then(|it| it.started_from),
                "redo_from": state.and_then(|it| it.redo_from),
                "pending": state.map(|it| &it.pending),
                "published_at": state.map(|it| it.published_at),
                "run": published.as_ref().map(|it| &it.run),
                "is_interrupted": is_interrupted,
                "damage": damage,
                "quarantine": {
                    "records": quarantine.records,
                    "files": quarantine.files,
                    "newest": quarantine.newest,
                },
            })
        };
        let run = |(run, report): &(String, Value)| {
            json!({
                "run": run,
                "started_at": report["started_at"],
                "exit_code": report["exit_code"],
                "rows": sum(report, "rows"),
                "rows_read": sum(report, "rows_read"),
                "seconds": report["seconds"],
            })
        };
        let resumable = |it: &Resumable| {
            let Resumable { streams, bytes, began, until, is_in_time } = it;
            json!({
                "streams": streams, "bytes": bytes, "began": began, "until": until,
                "is_in_time": is_in_time,
            })
        };
        json!({
            "streams": self.streams.iter().map(stream).collect::<Vec<_>>(),
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
            "unfinished": self.resumable.as_ref().map(resumable),
            "held_by": self.holder,
        })
    }

    fn print(&self, out: &mut dyn Write, columns: Option<u16>) {
        self.print_streams(out, columns);
        for stream in &self.streams {
            stream.notes(out);
        }
        if !self.runs.is_empty() {
            self.print_runs(out, columns);
        }
        if let Some(resumable) = self.resumable.as_ref().filter(|_| self.holder.is_none()) {
            resumable.print(out);
        }
        if let Some(holder) = &self.holder {
            report::line(out, format_args!("now: held by {holder}"));
        }
    }

    fn print_streams(&self, out: &mut dyn Write, columns: Option<u16>) {
        let mut table = report::plain_table(columns);
        table.set_header([
            "stream",
            "rows",
            "partitions",
            "pending",
            "quarantine",
            "cursor",
            "started from",
            "redo from",
            "published",
            "run",
        ]);
        for stream in &self.streams {
            let StreamStatus { name, published, state, quarantine, .. } = stream;
            let number = |it: Option<u64>| it.map_or_else(|| "-".to_owned(), |it| it.to_string());
            let time = |of: fn(&StreamState) -> Option<DateTime<Utc>>| {
                state.as_ref().and_then(of).map_or_else(|| "-".to_owned(), shown)
            };
            table.add_row([
                name.to_string(),
                number(published.as_ref().map(|it| it.rows)),
                number(published.as_ref().map(|it| it.partitions)),
                number(state.as_ref().map(|it| it.pending.len() as u64)),
                quarantine.records.to_string(),
                time(|it| it.cursor),
                time(|it| it.started_from),
                time(|it| it.redo_from),
                time(|it| Some(it.published_at)),
                published.as_ref().map_or_else(|| "-".to_owned(), |it| it.run.clone()),
            ]);
        }
        report::table(out, &mut table, 1..5);
    }

    fn print_runs(&self, out: &mut dyn Write, columns: Option<u16>) {
        report::line(out, format_args!("last runs:"));
        let mut table = report::plain_table(columns);
        table.set_header(["time", "exit", "rows read", "rows", "seconds", "run"]);
        for (run, report) in &self.runs {
            let text = |key: &str| match &report[key] {
                Value::Null => "-".to_owned(),
                value => value_text(value),
            };
            let number = |it: Option<u64>| it.map_or_else(|| "-".to_owned(), |it| it.to_string());
            let seconds = report["seconds"].as_f64();
            table.add_row([
                text("started_at"),
                text("exit_code"),
                number(sum(report, "rows_read")),
                number(sum(report, "rows")),
                seconds.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}")),
                run.clone(),
            ]);
        }
        report::table(out, &mut table, 1..5);
    }
}

impl StreamStatus {
    fn notes(&self, out: &mut dyn Write) {
        let Self { name, published: _, state, quarantine, is_interrupted, damage } = self;
        let pending = state.as_ref().map(|it| it.pending.as_slice()).unwrap_or_default();
        if !pending.is_empty() {
            let parent = |it: &std::collections::BTreeMap<String, Value>| {
                let values = it.iter().map(|(name, value)| format!("{name}={}", value_text(value)));
                values.collect::<Vec<_>>().join(" ")
            };
            let first: Vec<String> = pending.iter().take(PENDING).map(parent).collect();
            let more = if pending.len() > PENDING { ", …" } else { "" };
            let count = counted(pending.len() as u64, "parent");
            report::line(
                out,
                format_args!(
                    "note: {name}: {count} will be asked again: {}{more}",
                    first.join(", ")
                ),
            );
        }
        if let Some(newest) = &quarantine.newest {
            let count = counted(quarantine.records, "record");
            let files = counted(quarantine.files, "file");
            report::line(
                out,
                format_args!(
                    "note: {name}: {count} in quarantine, in {files}, the newest `{newest}`"
                ),
            );
        }
        if *is_interrupted {
            report::line(
                out,
                format_args!(
                    "note: {name}: a run was interrupted while publishing; the next run finishes it"
                ),
            );
        }
        if let Some(damage) = damage {
            report::line(out, format_args!("note: {name}: {damage}"));
        }
    }
}

impl Resumable {
    fn print(&self, out: &mut dyn Write) {
        let Self { streams, bytes, began, until, is_in_time } = self;
        let (streams, bytes) = (streams.join("`, `"), size(*bytes));
        let (began, until) = (shown(*began), shown(*until));
        if *is_in_time {
            report::line(
                out,
                format_args!(
                    "unfinished: the run of {began} has left {bytes} of `{streams}`; the same command goes on from there until {until}"
                ),
            );
        } else {
            report::line(
                out,
                format_args!(
                    "unfinished: the run of {began} has left {bytes} of `{streams}`, which is too old to go on from since {until}; the next run starts anew"
                ),
            );
        }
    }
}

/// A count over all streams of a report; `None` where there is no report.
fn sum(report: &Value, key: &str) -> Option<u64> {
    let streams = report["streams"].as_array()?;
    Some(streams.iter().filter_map(|it| it[key].as_u64()).sum())
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
