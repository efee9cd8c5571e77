//! `compact`: partitions of too many or too large files, written anew with the same rows.

use std::io::Write;

use chrono::DateTime;

use super::{
    args::{CompactArgs, GlobalArgs},
    clock,
    export::{run_id, stream_names},
    inputs, load, locate,
    report::{self, counted},
};
use crate::{
    config::{ConfigError, Unset},
    error::Error,
    load::{Compaction, DEFAULT_MEMORY_BYTES, Destination, Inspection, Purpose},
    plan::{Name, Plan, StreamPlan},
};

/// A stream, what its scattered partitions were, and what they are now.
type Found = (Name, Compaction, Option<Compaction>);

pub(super) fn compact(
    args: &CompactArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let mut plans = Vec::new();
    for name in &args.pipelines {
        let plan = plan(name, args, global)?;
        let wanted = stream_names(&plan, &args.streams)?;
        plans.push((plan, wanted));
    }
    let mut table = report::plain_table(global.columns);
    table.set_header(["stream", "partitions", "files", "become", "size", "becomes"]);
    let mut notes = Vec::new();
    for (plan, wanted) in &plans {
        let is_wanted = |it: &&StreamPlan| wanted.is_empty() || wanted.contains(&it.name);
        let streams: Vec<&StreamPlan> = plan.streams.iter().filter(is_wanted).collect();
        let found = if args.dry_run {
            look(plan, &streams)?
        } else {
            rewrite(plan, &streams, &run_id(clock(global)))?
        };
        for (stream, before, after) in &found {
            let name = format!("{}.{stream}", plan.pipeline);
            let text = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
            table.add_row([
                name.clone(),
                before.partitions.len().to_string(),
                before.files.to_string(),
                text(after.as_ref().map(|it| it.files.to_string())),
                report::size(before.bytes),
                text(after.as_ref().map(|it| report::size(it.bytes))),
            ]);
            if args.json {
                let files =
                    |it: &Compaction| serde_json::json!({ "files": it.files, "bytes": it.bytes });
                let object = serde_json::json!({
                    "pipeline": plan.pipeline.as_str(),
                    "stream": stream.as_str(),
                    "partitions": before.partitions,
                    "before": files(before),
                    "after": after.as_ref().map(files),
                });
                report::raw(stdout, &object);
            }
        }
        let scattered: u64 = found.iter().map(|it| it.1.partitions.len() as u64).sum();
        notes.push(match (scattered, args.dry_run) {
            (0, _) => format!(
                "{}: no partition has more or larger files than it should have",
                plan.pipeline
            ),
            (n, true) => {
                format!("{}: {} would be written anew", plan.pipeline, counted(n, "partition"))
            }
            (n, false) => format!(
                "{}: {} written anew, with the same rows",
                plan.pipeline,
                counted(n, "partition")
            ),
        });
    }
    if !args.json {
        report::table(stdout, &mut table, 1..6);
        for note in notes {
            report::line(stdout, format_args!("note: {note}"));
        }
    }
    Ok(0)
}

/// The plan without what only asking the source needs: credentials, its URL, a zone. Where a variable is needed
/// here, too, says which.
fn plan(name: &str, args: &CompactArgs, global: &GlobalArgs) -> Result<Plan, Error> {
    let inputs = inputs().set(args.set.clone());
    let tolerant = inputs.clone().unset(Unset::Tolerated);
    let mut plan = match load(name, global, &tolerant) {
        Err(Error::Config(ConfigError::Invalid { problems, .. })) if problems.is_empty() => {
            load(name, global, &inputs)
        }
        loaded => loaded,
    }?;
    let path = args.output.clone().or(locate(name, global, &tolerant)?.destination);
    plan.destination.path =
        path.ok_or_else(|| Error::NoDestination { pipeline: plan.pipeline.clone() })?;
    Ok(plan)
}

/// What would be written anew, of the streams that have published something.
fn look(plan: &Plan, streams: &[&StreamPlan]) -> Result<Vec<Found>, Error> {
    let inspection =
        Inspection::open(&plan.destination.path, &plan.pipeline).map_err(Error::Inspect)?;
    let inspection = inspection.ok_or_else(|| nothing(plan))?;
    let mut found = Vec::new();
    for stream in streams {
        let scattered = inspection.scattered(stream, &plan.destination).map_err(Error::Inspect)?;
        if scattered.is_none() {
            let known = inspection.refuse_unknown(&stream.name, &["parquet", "csv"]);
            known.map_err(Error::Write)?;
        }
        found.extend(scattered.map(|it| (stream.name.clone(), it, None)));
    }
    if found.is_empty() { Err(nothing(plan)) } else { Ok(found) }
}

fn rewrite(plan: &Plan, streams: &[&StreamPlan], run: &str) -> Result<Vec<Found>, Error> {
    // A destination that is opened would be created.
    look(plan, streams)?;
    // Rows are marked with the time as gone, and none of them is.
    let now = DateTime::UNIX_EPOCH;
    let Plan { pipeline, destination, .. } = plan;
    let destination = Destination::open(destination, pipeline, run, now, Purpose::Publish);
    let destination = destination.map_err(Error::Write)?;
    let mut found = Vec::new();
    for stream in streams {
        let compacted = destination.compact(stream, DEFAULT_MEMORY_BYTES).map_err(Error::Write)?;
        found.extend(compacted.map(|(before, after)| (stream.name.clone(), before, Some(after))));
    }
    Ok(found)
}

fn nothing(plan: &Plan) -> Error {
    Error::NothingExported { pipeline: plan.pipeline.clone(), path: plan.destination.path.clone() }
}
