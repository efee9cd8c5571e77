//! `run` and `plan`: export pipelines, one after the other, or say what that would do.

use std::{
    io::{IsTerminal as _, Write},
    path::Path,
};

use tokio::runtime::Runtime;

use super::{
    Stops,
    args::{FormatArg, GlobalArgs, JobArgs, LogFormat, PlanArgs, RunArgs},
    caught, clock, find, inputs, load, locate, logs,
    metrics::{self, Ended},
    part::Part,
    progress::{self, Bars},
    read, report, reporting, runtime,
};
use crate::{
    config::{self, Unset},
    error::Error,
    load::{Purpose, Rewrite, check_file, replace_file},
    plan::{CsvPlan, FormatPlan, Name, Plan, StreamPlan},
    run::{self, Progress, Publish, Refresh, RunOptions, RunReport},
};

pub(super) fn run(
    args: &RunArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let RunArgs { job, dry_run, metrics_file, report } = args;
    if *dry_run {
        return show(job, global, stdout);
    }
    if let (Some(metrics), Some(page)) = (metrics_file, report)
        && is_same(metrics, page)
    {
        return Err(Error::Argument {
            option: "--report",
            value: page.display().to_string(),
            expected: "another file than that of `--metrics-file`, since the page would replace the metrics",
        });
    }
    // Whoever watches runs by these files would otherwise find out last.
    for file in metrics_file.iter().chain(report) {
        check_file(file).map_err(Error::Write)?;
    }
    let mut reports = Vec::new();
    let mut result = caught(|| export_all(job, Purpose::Publish, global, stdout, &mut reports));
    if let Err(Error::Internal(_)) = result {
        // After a bug of ours nobody vouches for what they say.
        reports.clear();
    }
    let code = result.as_ref().map_or_else(Error::exit_code, |code| *code);
    let metrics = metrics_file.as_ref().map(|it| leave_metrics(it, job, &reports, code, global));
    let page = report
        .as_ref()
        .map(|it| reporting::leave(it, job, &reports, result.as_ref().err(), global));
    for left in metrics.into_iter().chain(page) {
        result = match (result, left) {
            (result, Ok(())) => result,
            (Ok(code), Err(err)) if worse(code, 6) == 6 => Err(err),
            (result, Err(err)) => {
                logs::error(global.log, &err);
                result
            }
        };
    }
    result
}

/// Whether two paths are those of one file, also where it is not there yet.
fn is_same(a: &Path, b: &Path) -> bool {
    let place = |it: &Path| {
        let parent = it.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new(".")).canonicalize().ok()?;
        Some(parent.join(it.file_name()?))
    };
    a == b || place(a).is_some_and(|it| place(b) == Some(it))
}

/// Leaves what runs did for whoever watches them.
fn leave_metrics(
    file: &Path,
    job: &JobArgs,
    reports: &[RunReport],
    code: u8,
    global: &GlobalArgs,
) -> Result<(), Error> {
    // Pipelines are run in the order in which they are named.
    let ended = job.pipelines.iter().enumerate().map(|(at, typed)| {
        let (pipeline, output) = place(typed, job, global);
        let report = reports.get(at);
        Ended { pipeline, output, exit_code: report.map_or(code, |it| it.exit_code), report }
    });
    let known = std::fs::read_to_string(file).unwrap_or_default();
    let text = metrics::render(&ended.collect::<Vec<_>>(), &known);
    replace_file(file, text.as_bytes()).map_err(Error::Write)
}

/// What a pipeline is called, and where its files go, as far as its file says.
fn place(typed: &str, job: &JobArgs, global: &GlobalArgs) -> (String, Option<String>) {
    let inputs = inputs().set(job.set.clone()).unset(Unset::Tolerated);
    let found = locate(typed, global, &inputs).ok();
    let given = job.output.clone();
    let output = given.or_else(|| found.as_ref().and_then(|it| it.destination.clone()));
    let name = found.map(|it| it.pipeline.to_string());
    (name.unwrap_or_else(|| pipeline_name(typed, global)), output.map(|it| it.to_string()))
}

/// What a pipeline is called, also where its file cannot be used.
fn pipeline_name(typed: &str, global: &GlobalArgs) -> String {
    let summary = match find(typed, global) {
        Ok(Some(path)) => config::summarize(&path).ok(),
        Ok(None) | Err(_) => None,
    };
    let stem = || Path::new(typed).file_stem().map(|it| it.to_string_lossy().into_owned());
    summary.map(|it| it.pipeline).or_else(stem).unwrap_or_else(|| typed.to_owned())
}

pub(super) fn plan(
    args: &PlanArgs,
    global: &GlobalArgs,
    stdout: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let PlanArgs { job, fetch, slices } = args;
    if let Some(stream) = slices {
        return read::slices(job, stream, global, stdout);
    }
    if *fetch {
        export_all(job, Purpose::Rehearse, global, stdout, &mut Vec::new())
    } else {
        show(job, global, stdout)
    }
}

/// Every pipeline with its options: each file is checked before the first request is sent.
fn jobs(
    args: &JobArgs,
    purpose: Purpose,
    global: &GlobalArgs,
) -> Result<Vec<(Plan, RunOptions)>, Error> {
    let JobArgs {
        pipelines,
        full_refresh,
        rewrite,
        streams,
        since,
        until,
        set,
        output,
        formats,
        memory_mb,
        json: _,
    } = args;
    let inputs = inputs().set(set.clone());
    let part = Part::of(since.as_ref(), until.as_ref(), clock(global))?;
    let Part { since, until } = part;
    let mut jobs: Vec<(Plan, RunOptions)> = Vec::new();
    for name in pipelines {
        let mut plan = load(name, global, &inputs)?;
        if let Some(output) = output {
            plan.destination.path.clone_from(output);
        }
        choose_formats(&mut plan, formats);
        let is_same = |(it, _): &(Plan, RunOptions)| {
            it.pipeline == plan.pipeline && it.destination.path == plan.destination.path
        };
        if jobs.iter().any(is_same) {
            return Err(Error::NamedTwice { pipeline: plan.pipeline });
        }
        let now = clock(global);
        let options = RunOptions {
            streams: stream_names(&plan, streams)?,
            since,
            until,
            refresh: if *full_refresh { Refresh::Full } else { Refresh::Incremental },
            rewrite: if *rewrite { Rewrite::All } else { Rewrite::Changed },
            memory_bytes: memory_mb << 20,
            purpose,
            ..RunOptions::new(run_id(now), now)
        };
        let chosen = run::selected(&plan, &options.streams).into_iter();
        let written: Vec<_> =
            chosen.filter(|(_, it)| *it == Publish::Yes).map(|(it, _)| it).collect();
        logs::notes(global, part.notes(&plan, &written, now));
        jobs.push((plan, options));
    }
    Ok(jobs)
}

fn export_all(
    args: &JobArgs,
    purpose: Purpose,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
    reports: &mut Vec<RunReport>,
) -> Result<u8, Error> {
    let exporter = Exporter::new(global)?;
    let mut jobs = jobs(args, purpose, global)?.into_iter();
    while let Some((plan, options)) = jobs.next() {
        // A pipeline that waits for others starts when they are done.
        let now = clock(global);
        let options = RunOptions { run: run_id(now), now, ..options };
        match exporter.export(&plan, &options) {
            Ok(report) => reports.push(report),
            Err(err) => {
                // What earlier pipelines did must not get lost behind the error of this one.
                print(reports, args.json, global, stdout)?;
                let left = jobs.map(|(plan, _)| plan.pipeline);
                let err = match (err, purpose) {
                    (Error::Interrupted, Purpose::Rehearse) => Error::RehearsalInterrupted,
                    (err, _) => err,
                };
                return Err(match err {
                    Error::NotStarted { pipelines } => {
                        Error::NotStarted { pipelines: pipelines.into_iter().chain(left).collect() }
                    }
                    Error::Interrupted | Error::RehearsalInterrupted if left.len() > 0 => {
                        logs::error(global.log, &err);
                        Error::NotStarted { pipelines: left.collect() }
                    }
                    err => err,
                });
            }
        }
    }
    print(reports, args.json, global, stdout)?;
    Ok(exit_code(reports))
}

/// Runs pipelines one after the other, until one of them or the user stops it.
pub(super) struct Exporter {
    runtime: Runtime,
    stops: Stops,
    bars: Bars,
}

impl Exporter {
    pub(super) fn new(global: &GlobalArgs) -> Result<Self, Error> {
        let runtime = runtime()?;
        // For all pipelines: what is said while one of them ends concerns the next one, too.
        let stops = Stops::listen(&runtime);
        Ok(Self { runtime, stops, bars: bars(global) })
    }

    /// Runs a pipeline with bars on a terminal.
    pub(super) fn export(&self, plan: &Plan, options: &RunOptions) -> Result<RunReport, Error> {
        let Self { runtime, stops, bars } = self;
        if stops.any() {
            return Err(Error::NotStarted { pipelines: vec![plan.pipeline.clone()] });
        }
        let chosen = run::selected(plan, &options.streams);
        let progress = Progress::new(chosen.iter().map(|(stream, _)| &stream.name));
        runtime.block_on(async {
            tokio::select! {
                report = run::run(plan, options, &progress, stops.reached(1)) => report,
                () = stops.reached(2) => Err(Error::Interrupted),
                () = progress::draw(&progress, *bars) => Err(Error::Internal("the bars stopped".into())),
            }
        })
    }
}

/// Prints what runs did: their reports on stdout, the errors of their streams on stderr, and of them
/// first what happened, then what was left because of it.
pub(super) fn print(
    reports: &[RunReport],
    json: bool,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<(), Error> {
    if json {
        for report in reports {
            let text =
                serde_json::to_string(report).map_err(|err| Error::Internal(err.to_string()))?;
            report::raw(stdout, &text);
        }
    } else if !reports.is_empty() {
        report::runs(stdout, reports, global.columns);
    }
    let of_streams = reports.iter().flat_map(|it| &it.streams).filter_map(|it| it.error.as_ref());
    let of_runs = reports.iter().filter_map(|it| it.error.as_ref());
    let (causes, consequences): (Vec<_>, Vec<_>) =
        of_streams.chain(of_runs).partition(|it| it.is_cause());
    for err in causes.into_iter().chain(consequences) {
        logs::error(global.log, err);
    }
    Ok(())
}

/// The exit code of several runs: what published nothing weighs more than what published a part.
pub(super) fn exit_code(reports: &[RunReport]) -> u8 {
    reports.iter().map(|it| it.exit_code).fold(0, worse)
}

/// Bars where a person looks and nothing else writes.
pub(super) fn bars(global: &GlobalArgs) -> Bars {
    let wanted = !global.quiet
        && global.verbose == 0
        && global.log == LogFormat::Text
        && std::io::stderr().is_terminal();
    if wanted { Bars::Shown } else { Bars::Hidden }
}

/// The exit code that counts of two.
fn worse(a: u8, b: u8) -> u8 {
    const PARTIAL: u8 = 7;
    if a == 0 || a == PARTIAL && b != 0 { b } else { a }
}

/// An id that sorts by time and differs between runs that start at once.
pub(super) fn run_id(now: chrono::DateTime<chrono::Utc>) -> String {
    format!("{}-{:04x}", now.format("%Y%m%dT%H%M%SZ"), fastrand::u16(..))
}

fn choose_formats(plan: &mut Plan, wanted: &[FormatArg]) {
    if wanted.is_empty() {
        return;
    }
    let declared = std::mem::take(&mut plan.destination.formats);
    let csv = declared.into_iter().find(|it| matches!(it, FormatPlan::Csv(_)));
    let mut formats = Vec::new();
    if wanted.contains(&FormatArg::Parquet) {
        formats.push(FormatPlan::Parquet);
    }
    if wanted.contains(&FormatArg::Csv) {
        formats.push(csv.unwrap_or(FormatPlan::Csv(CsvPlan::default())));
    }
    plan.destination.formats = formats;
}

pub(super) fn stream_names(plan: &Plan, wanted: &[String]) -> Result<Vec<Name>, Error> {
    wanted.iter().map(|it| Ok(stream(plan, it)?.name.clone())).collect()
}

/// The stream of a name.
pub(super) fn stream<'a>(plan: &'a Plan, name: &str) -> Result<&'a StreamPlan, Error> {
    let found = plan.streams.iter().find(|it| it.name.as_str() == name);
    let known = || plan.streams.iter().map(|it| it.name.as_str());
    found.ok_or_else(|| Error::UnknownStream {
        pipeline: plan.pipeline.clone(),
        stream: name.to_owned(),
        suggestion: config::suggest(name, known()),
        known: known().map(str::to_owned).collect(),
    })
}

/// Shows what runs would do, and sends nothing.
fn show(args: &JobArgs, global: &GlobalArgs, stdout: &mut dyn Write) -> Result<u8, Error> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    for (plan, options) in jobs(args, Purpose::Rehearse, global)? {
        let forecast = run::forecast(&plan, &options)?;
        if args.json {
            let text =
                serde_json::to_string(&forecast).map_err(|err| Error::Internal(err.to_string()))?;
            report::raw(stdout, &text);
        } else {
            report::forecast(stdout, &forecast);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_weighs_more_than_a_part() {
        assert_eq!(worse(0, 7), 7);
        assert_eq!(worse(7, 4), 4);
        assert_eq!(worse(4, 7), 4);
        assert_eq!(worse(4, 0), 4);
    }
}
