//! `plan --slices` and `read`: what programs need that spread the slices of a stream over machines.
//!
//! ```text
//! plan --slices worklogs   {"version":1, …, "columns":[…], "slices":[{"parent":{…}}, …]}
//!                             | any part of them, a line each, on any machine
//! read worklogs --slices -    rows
//! ```
//!
//! Both are interfaces, described in docs/spark.md.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Stops,
    args::{GlobalArgs, JobArgs, ReadArgs},
    clock,
    export::{bars, stream},
    inputs, load, logs,
    part::Part,
    progress::{self, Bars},
    pull::{self, PARTIAL},
    report::{self, counted},
    runtime,
    taker::Taker,
};
use crate::{
    error::Error,
    extract::SliceAddress,
    plan::{Plan, SlicesPlan, StreamPlan, WindowFormat, arrow_schema},
    run::{self, Listing, Progress, PullOptions},
};

/// The version of what `plan --slices` prints.
const VERSION: u32 = 1;

/// What `plan --slices` prints.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    version: u32,
    pipeline: &'a str,
    stream: &'a str,
    /// For `read --plan`.
    plan: String,
    /// The clock, up to which windows reach.
    now: DateTime<Utc>,
    columns: Vec<Column>,
    key: Vec<&'a str>,
    cursor: Option<Cursor<'a>>,
    limits: Limits,
    slices: Vec<SliceAddress>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    /// As Arrow calls it.
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

/// By which rows, or the parents whose rows are read, are known to have changed.
#[derive(Debug, Serialize)]
struct Cursor<'a> {
    /// The stream itself, or the parent that has one.
    stream: &'a str,
    column: &'a str,
    lookback_secs: i64,
    /// Whether a list can end at any instant, so that no row is in this one and in the next.
    cuts: bool,
}

/// Of the pipeline, for all processes together.
#[derive(Debug, Serialize)]
struct Limits {
    requests_per_second: f64,
    max_in_flight: usize,
}

pub(super) fn slices(
    args: &JobArgs,
    wanted: &str,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let [name] = args.pipelines.as_slice() else {
        return Err(Error::Argument {
            option: "--slices",
            value: wanted.to_owned(),
            expected: "one pipeline beside it",
        });
    };
    let plan = load(name, global, &inputs().set(args.set.clone()))?;
    let stream = stream(&plan, wanted)?;
    let now = clock(global);
    let part = Part::of(args.since.as_ref(), args.until.as_ref(), now)?;
    let Part { since, until } = part;
    let options = PullOptions { now, since, until, enough: None, slices: None };
    logs::notes(global, part.notes(&plan, &[stream], now));
    let Some(listing) = listed(&plan, stream, &options, bars(global))? else { return Ok(0) };
    let code = tell(&plan, stream, &listing, global)?;
    let limits = &plan.source.limits;
    let printed = Planned {
        version: VERSION,
        pipeline: plan.pipeline.as_str(),
        stream: stream.name.as_str(),
        plan: run::identity(&plan, &stream.name),
        now: options.now,
        columns: columns(stream),
        key: stream.key().iter().map(crate::plan::Name::as_str).collect(),
        cursor: cursor(&plan, stream),
        limits: Limits {
            requests_per_second: limits.requests_per_second,
            max_in_flight: limits.max_in_flight,
        },
        slices: listing.slices,
    };
    let text = serde_json::to_string(&printed).map_err(|err| Error::Internal(err.to_string()))?;
    report::raw(stdout, &text);
    Ok(code)
}

/// Asks for the parents of a stream; nothing where nobody wants to know any more.
fn listed(
    plan: &Plan,
    stream: &StreamPlan,
    options: &PullOptions,
    bars: Bars,
) -> Result<Option<Listing>, Error> {
    let runtime = runtime()?;
    let stops = Stops::listen(&runtime);
    let chosen = run::pulled(plan, &stream.name, options);
    let progress = Progress::new(chosen.iter().map(|it| &it.name));
    runtime.block_on(async {
        let taker = Taker::of(Path::new("-"));
        tokio::select! {
            listing = run::list(plan, &stream.name, options, &progress, stops.reached(1)) => listing.map(Some),
            () = taker.gone() => Ok(None),
            () = progress::draw(&progress, bars) => Err(Error::Internal("the bars stopped".into())),
        }
    })
}

/// What is worth a line beside the slices; gives the exit code.
fn tell(
    plan: &Plan,
    stream: &StreamPlan,
    listing: &Listing,
    global: &GlobalArgs,
) -> Result<u8, Error> {
    let Listing { slices: _, gone, rejected, records } = listing;
    let Some(parent) = stream.slices.parent().filter(|_| *rejected > 0 || !gone.is_empty()) else {
        return Ok(0);
    };
    let parent = plan.streams.iter().find(|it| it.name == parent.stream).unwrap_or(stream);
    let limit = parent.max_rejected.limit(*records);
    if *rejected > limit {
        return Err(Error::PullRejected {
            pipeline: plan.pipeline.clone(),
            stream: parent.name.clone(),
            rejected: *rejected,
            records: *records,
            limit,
        });
    }
    let name = &parent.name;
    let left_out = (*rejected > 0).then(|| {
        let n = counted(*rejected, "record");
        format!("{name}: {n} of {records} did not fit and have no slice")
    });
    let lost = gone.first().map(|first| {
        let n = counted(gone.len() as u64, "parent");
        format!("{name}: access to {n} is lost, first `{first}`")
    });
    logs::notes(global, left_out.into_iter().chain(lost));
    Ok(if *rejected > 0 { PARTIAL } else { 0 })
}

fn columns(stream: &StreamPlan) -> Vec<Column> {
    let schema = arrow_schema(&stream.columns, stream.unknown_fields);
    let column = |field: &arrow::datatypes::Field| Column {
        name: field.name().clone(),
        kind: match field.data_type() {
            DataType::Int64 => "int64",
            DataType::Float64 => "float64",
            DataType::Boolean => "bool",
            DataType::Date32 => "date32[day]",
            DataType::Timestamp(..) => "timestamp[us, tz=UTC]",
            _ => "string",
        },
        description: field.metadata().get("description").cloned(),
    };
    schema.fields().iter().map(|it| column(it)).collect()
}

/// The cursor of a stream, or of the parent by which its slices are known to have changed.
fn cursor<'a>(plan: &'a Plan, stream: &'a StreamPlan) -> Option<Cursor<'a>> {
    if let Some(cursor) = &stream.cursor {
        return Some(Cursor {
            stream: stream.name.as_str(),
            column: cursor.column.as_str(),
            lookback_secs: cursor.lookback.num_seconds(),
            cuts: has_instants(&stream.slices),
        });
    }
    let parent = stream.slices.parent()?;
    cursor(plan, plan.streams.iter().find(|it| it.name == parent.stream)?)
}

/// Whether all slices are windows that may start and end at any instant.
fn has_instants(slices: &SlicesPlan) -> bool {
    match slices {
        SlicesPlan::Window(window) => window.format != WindowFormat::Date,
        SlicesPlan::Product(parts) => parts.iter().any(has_instants),
        SlicesPlan::Union(parts) => parts.iter().all(has_instants),
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => false,
    }
}

pub(super) fn read(
    args: &ReadArgs,
    global: &GlobalArgs,
    stdout: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let ReadArgs { pipeline, stream: wanted, slices, file, plan: planned, share, rows, set } = args;
    let mut plan = load(pipeline, global, &inputs().set(set.clone()))?;
    if let Some(parts) = share {
        plan.source.limits = plan.source.limits.share(*parts);
    }
    let stream = stream(&plan, wanted)?;
    if planned.as_ref().is_some_and(|it| *it != run::identity(&plan, &stream.name)) {
        return Err(Error::OtherPlan { stream: stream.name.clone() });
    }
    let text = file.as_deref().map(text).transpose()?.unwrap_or_default();
    let lines = text.lines().filter(|it| !it.trim().is_empty());
    let now = clock(global);
    let slices = slices.iter().map(String::as_str).chain(lines).map(|text| {
        let address: SliceAddress = serde_json::from_str(text).map_err(|_| Error::Argument {
            option: "--slice",
            value: text.to_owned(),
            expected: "a slice as `plan --slices` prints it, such as `{\"parent\":{\"id\":41}}`",
        })?;
        let unknown =
            || Error::UnknownSlice { stream: stream.name.clone(), slice: text.to_owned() };
        address.find(&stream.slices, now).ok_or_else(unknown)
    });
    let options = PullOptions {
        now,
        since: None,
        until: None,
        enough: None,
        slices: Some(slices.collect::<Result<_, _>>()?),
    };
    pull::write(&plan, stream, &options, rows, global, stdout)
}

/// A file with slices, or the standard input.
fn text(path: &Path) -> Result<String, Error> {
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|source| Error::ReadSlices { path: path.to_owned(), source })
}
