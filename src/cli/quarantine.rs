//! `quarantine`: the records that did not fit, put together by why.

use std::{collections::BTreeMap, io::Write};

use serde_json::json;

use super::{
    Dataset,
    args::{GlobalArgs, QuarantineArgs},
    clock, dataset, export, inputs, load,
    report::{self, counted},
};
use crate::{
    error::Error,
    load::{DEFAULT_MEMORY_BYTES, Inspection, KeptReject, Purpose, Unapplied},
    plan::Name,
    run::{self, ReplayOptions, ReplayReport, Staying},
    transform::reason_kind,
};

/// How many characters of a record are shown.
const SHOWN: usize = 60;

pub(super) fn quarantine(
    args: &QuarantineArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    if args.replay {
        return replay(args, global, stdout);
    }
    for name in &args.dataset.pipelines {
        let Dataset { pipeline, streams, path, inspection } = dataset(name, &args.dataset, global)?;
        let streams = chosen(&pipeline, streams, &args.streams)?;
        let mut all = Groups::default();
        let mut print = |reject: &KeptReject| {
            let mut object = json!({ "pipeline": pipeline.as_str() });
            if let (Some(object), Ok(serde_json::Value::Object(more))) =
                (object.as_object_mut(), serde_json::to_value(reject))
            {
                object.extend(more);
            }
            report::raw(stdout, &object);
        };
        let mut see = |reject: KeptReject| {
            if args.run.as_ref().is_some_and(|it| *it != reject.run) {
                return;
            }
            if args.dataset.json {
                print(&reject);
            } else {
                all.add(reject);
            }
        };
        if let Some(inspection) = &inspection {
            if let Some(run) = &args.run {
                run::check_quarantined(inspection, &streams, run)?;
            }
            read(inspection, &streams, &mut see)?;
        }
        if args.dataset.json {
            continue;
        }
        if all.0.is_empty() {
            report::line(stdout, format_args!("{pipeline}: nothing is in quarantine"));
            continue;
        }
        let mut table = report::plain_table(global.columns);
        table.set_header(["stream", "column", "why", "records", "last run", "for example"]);
        for ((stream, column, why), group) in all.sorted() {
            let stream = format!("{pipeline}.{stream}");
            let records = group.records.to_string();
            table.add_row([stream, column, why, records, group.last_run, group.example]);
        }
        report::table(stdout, &mut table, 3..4);
        let records = all.0.values().map(|it| it.records).sum();
        let directory = path.join("quarantine").join(pipeline.as_str());
        report::line(
            stdout,
            format_args!(
                "note: {pipeline}: {}, whole, in `{}`",
                counted(records, "record"),
                directory.display()
            ),
        );
    }
    Ok(0)
}

/// Publishes what fits now, one pipeline after the other.
fn replay(args: &QuarantineArgs, global: &GlobalArgs, stdout: &mut dyn Write) -> Result<u8, Error> {
    let inputs = inputs().set(args.dataset.set.clone());
    // Every file is checked before anything is changed.
    let mut jobs = Vec::new();
    for name in &args.dataset.pipelines {
        let mut plan = load(name, global, &inputs)?;
        if let Some(output) = &args.dataset.output {
            plan.destination.path.clone_from(output);
        }
        let streams = export::stream_names(&plan, &args.streams)?;
        jobs.push((plan, streams));
    }
    let mut code = 0;
    for (plan, streams) in jobs {
        let now = clock(global);
        let options = ReplayOptions {
            run: export::run_id(now),
            now,
            streams,
            of_run: args.run.clone(),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            purpose: if args.dry_run { Purpose::Rehearse } else { Purpose::Publish },
        };
        let report = run::replay(&plan, &options)?;
        code = code.max(report.exit_code);
        if args.dataset.json {
            let text =
                serde_json::to_string(&report).map_err(|err| Error::Internal(err.to_string()))?;
            report::raw(stdout, &text);
        } else {
            show(&report, global, stdout);
        }
    }
    Ok(code)
}

/// Shows what became of the records of a pipeline.
fn show(report: &ReplayReport, global: &GlobalArgs, stdout: &mut dyn Write) {
    let ReplayReport { pipeline, is_published, streams, finished_commits, .. } = report;
    for Unapplied { stream, run } in finished_commits {
        report::line(
            stdout,
            format_args!("note: {pipeline}.{stream}: the commit of run {run} was finished first"),
        );
    }
    if streams.iter().all(|it| it.records == 0) {
        report::line(stdout, format_args!("{pipeline}: nothing is in quarantine"));
        return;
    }
    let mut table = report::plain_table(global.columns);
    table.set_header([
        "stream",
        "records",
        "fit",
        "rows",
        "added",
        "updated",
        "unchanged",
        "outdated",
        "stay",
    ]);
    let mut staying = report::plain_table(global.columns);
    staying.set_header(["stream", "column", "why it stays", "records"]);
    for it in streams {
        let stay: u64 = it.staying.iter().map(|it| it.records).sum();
        let outdated = it.outdated + it.superseded;
        let counts =
            [it.records, it.published, it.rows, it.added, it.updated, it.unchanged, outdated, stay];
        let name = format!("{pipeline}.{}", it.stream);
        table.add_row(std::iter::once(name.clone()).chain(counts.map(|it| it.to_string())));
        for Staying { column, reason, records, .. } in &it.staying {
            let column = column.clone().unwrap_or_else(|| "-".to_owned());
            staying.add_row([name.clone(), column, reason.clone(), records.to_string()]);
        }
    }
    report::line(stdout, format_args!("{table}"));
    if !staying.is_empty() {
        report::line(stdout, format_args!("\n{staying}"));
    }
    for it in streams {
        if !it.followed_by.is_empty() {
            let (stream, children) = (&it.stream, it.followed_by.join("`, `"));
            report::line(
                stdout,
                format_args!(
                    "note: {pipeline}.{stream}: the next run asks for what belongs to the rows, in `{children}`"
                ),
            );
        }
        let need: u64 = it.staying.iter().filter(|it| it.needs_run).map(|it| it.records).sum();
        if need > 0 {
            let (records, stream) = (counted(need, "record"), &it.stream);
            report::line(
                stdout,
                format_args!(
                    "note: {pipeline}.{stream}: {records} can only be read again: `tracklake run {pipeline} --stream {stream} --since DATE`"
                ),
            );
        }
    }
    if !is_published {
        report::line(stdout, format_args!("note: {pipeline}: nothing was changed (`--dry-run`)"));
    }
}

/// The streams of these names, or all.
fn chosen(pipeline: &Name, streams: Vec<Name>, wanted: &[String]) -> Result<Vec<Name>, Error> {
    if let Some(unknown) =
        wanted.iter().find(|it| !streams.iter().any(|name| name.as_str() == **it))
    {
        return Err(Error::UnknownStream {
            pipeline: pipeline.clone(),
            stream: unknown.clone(),
            suggestion: crate::config::suggest(unknown, streams.iter().map(Name::as_str)),
            known: streams.iter().map(ToString::to_string).collect(),
        });
    }
    let is_wanted = |it: &Name| wanted.is_empty() || wanted.iter().any(|name| name == it.as_str());
    Ok(streams.into_iter().filter(is_wanted).collect())
}

fn read(
    inspection: &Inspection,
    streams: &[Name],
    see: &mut impl FnMut(KeptReject),
) -> Result<(), Error> {
    for stream in streams {
        inspection.rejected(stream, &mut *see).map_err(Error::Inspect)?;
    }
    Ok(())
}

/// Rejected records by stream, column and why.
#[derive(Debug, Default)]
struct Groups(BTreeMap<(String, String, String), Group>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    records: u64,
    /// The last of the runs, whose ids start with their time.
    last_run: String,
    /// A record of that run.
    example: String,
}

impl Groups {
    fn add(&mut self, reject: KeptReject) {
        let why = reason_kind(&reject.reason).to_owned();
        let column = reject.column.unwrap_or_else(|| "-".to_owned());
        let group = self.0.entry((reject.stream, column, why)).or_default();
        group.records += 1;
        if group.last_run < reject.run {
            group.last_run = reject.run;
            group.example = shown(&reject.raw);
        }
    }

    /// The most frequent first.
    fn sorted(&self) -> Vec<((String, String, String), Group)> {
        let mut groups: Vec<_> = self.0.iter().map(|(key, it)| (key.clone(), it.clone())).collect();
        groups.sort_by_key(|(_, it)| std::cmp::Reverse(it.records));
        groups
    }
}

/// The start of a record, on one line.
fn shown(raw: &str) -> String {
    let line = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(run: &str, column: Option<&str>, reason: &str, raw: &str) -> KeptReject {
        KeptReject {
            run: run.to_owned(),
            stream: "log".to_owned(),
            slice: "all".to_owned(),
            page: 1,
            position: 0,
            column: column.map(str::to_owned),
            reason: reason.to_owned(),
            raw: raw.to_owned(),
            masked: Vec::new(),
            context: None,
        }
    }

    #[test]
    fn records_that_do_not_fit_for_the_same_reason_are_one_line() {
        let mut groups = Groups::default();
        groups.add(reject("r1", Some("hours"), "expected int64, found \"a\"", "{\"hours\":\"a\"}"));
        groups.add(reject(
            "r3",
            Some("hours"),
            "expected int64, found \"b\"",
            "{ \"hours\":\n\"b\" }",
        ));
        groups.add(reject("r2", Some("hours"), "expected int64, found {}", "{}"));
        groups.add(reject("r1", None, "expected an object", &"x".repeat(61)));

        let found = groups.sorted();

        let key = |column: &str, why: &str| ("log".to_owned(), column.to_owned(), why.to_owned());
        let group = |records, last_run: &str, example: &str| Group {
            records,
            last_run: last_run.to_owned(),
            example: example.to_owned(),
        };
        assert_eq!(
            found,
            [
                (key("hours", "expected int64"), group(3, "r3", "{ \"hours\": \"b\" }")),
                (key("-", "expected an object"), group(1, "r1", &format!("{}…", "x".repeat(60)))),
            ]
        );
    }
}
