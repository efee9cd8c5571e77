//! `run`: export pipelines, one after the other.

use std::io::{IsTerminal as _, Write};

use super::{
    args::{FormatArg, GlobalArgs, RunArgs},
    clock, inputs, load,
    progress::{self, Bars},
    report, runtime, stop_signal,
};
use crate::{
    config,
    error::Error,
    extract::{ExtractError, Extractor, Horizon, ParentValues, slices},
    load::Rewrite,
    plan::{CsvPlan, FormatPlan, Method, Name, Plan, WindowStart},
    run::{self, Progress, Refresh, RunOptions, RunReport},
};

pub(super) fn run(
    args: &RunArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let RunArgs {
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
        json,
        dry_run,
    } = args;
    let inputs = inputs().set(set.clone());
    let since = when("--since", since.as_ref())?;
    let until = when("--until", until.as_ref())?;
    // Every file is checked before the first request is sent.
    let mut plans = Vec::new();
    for name in pipelines {
        let mut plan = load(name, global, &inputs)?;
        if let Some(output) = output {
            plan.destination.path.clone_from(output);
        }
        choose_formats(&mut plan, formats);
        let streams = stream_names(&plan, streams)?;
        plans.push((plan, streams));
    }

    let mut reports = Vec::new();
    for (plan, streams) in plans {
        let now = clock(global);
        let options = RunOptions {
            streams,
            since,
            until,
            refresh: if *full_refresh { Refresh::Full } else { Refresh::Incremental },
            rewrite: if *rewrite { Rewrite::All } else { Rewrite::Changed },
            memory_bytes: memory_mb << 20,
            ..RunOptions::new(run_id(now), now)
        };
        if *dry_run {
            show(&plan, &options, *json, stdout)?;
            continue;
        }
        match export(&plan, &options, bars(global)) {
            Ok(report) => reports.push(report),
            Err(err) => {
                // What earlier pipelines did must not get lost behind the error of this one.
                print(&reports, *json, stdout)?;
                return Err(err);
            }
        }
    }
    print(&reports, *json, stdout)?;
    Ok(exit_code(&reports))
}

/// Runs a pipeline with bars on a terminal, until it is done or the user stops it.
pub(super) fn export(plan: &Plan, options: &RunOptions, bars: Bars) -> Result<RunReport, Error> {
    let runtime = runtime()?;
    let chosen = run::selected(plan, &options.streams);
    let progress = Progress::new(chosen.iter().map(|(stream, _)| &stream.name));
    runtime.block_on(async {
        tokio::select! {
            report = run::run(plan, options, &progress, stop_signal(1)) => report,
            () = stop_signal(2) => Err(Error::Interrupted),
            () = progress::draw(&progress, bars) => Err(Error::Internal("the bars stopped".into())),
        }
    })
}

/// Prints what runs did: their reports on stdout, the errors of their streams on stderr.
pub(super) fn print(
    reports: &[RunReport],
    json: bool,
    stdout: &mut dyn Write,
) -> Result<(), Error> {
    if json {
        for report in reports {
            let text =
                serde_json::to_string(report).map_err(|err| Error::Internal(err.to_string()))?;
            report::line(stdout, format_args!("{text}"));
        }
    } else if !reports.is_empty() {
        report::runs(stdout, reports);
    }
    let of_streams = reports.iter().flat_map(|it| &it.streams).filter_map(|it| it.error.as_ref());
    let of_runs = reports.iter().filter_map(|it| it.error.as_ref());
    for err in of_streams.chain(of_runs) {
        report::error(&mut std::io::stderr().lock(), err);
    }
    Ok(())
}

/// The exit code of several runs: what published nothing weighs more than what published a part.
pub(super) fn exit_code(reports: &[RunReport]) -> u8 {
    reports.iter().map(|it| it.exit_code).fold(0, worse)
}

/// Bars where a person looks and nothing else writes.
pub(super) fn bars(global: &GlobalArgs) -> Bars {
    let wanted = !global.quiet && global.verbose == 0 && std::io::stderr().is_terminal();
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

fn when(option: &'static str, text: Option<&String>) -> Result<Option<WindowStart>, Error> {
    let Some(text) = text else { return Ok(None) };
    config::parse_start(text).map(Some).ok_or_else(|| Error::Argument {
        option,
        value: text.clone(),
        expected: "a date (`2024-07-25`), an RFC 3339 instant, or a length of time back (`7d`)",
    })
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

fn stream_names(plan: &Plan, wanted: &[String]) -> Result<Vec<Name>, Error> {
    let find = |text: &String| {
        let found = plan.streams.iter().find(|it| it.name.as_str() == text);
        found.map(|it| it.name.clone()).ok_or_else(|| Error::UnknownStream {
            pipeline: plan.pipeline.clone(),
            stream: text.clone(),
            known: plan.streams.iter().map(|it| it.name.to_string()).collect(),
        })
    };
    wanted.iter().map(find).collect()
}

/// Shows slices and first requests, and sends nothing.
fn show(
    plan: &Plan,
    options: &RunOptions,
    json: bool,
    stdout: &mut dyn Write,
) -> Result<(), Error> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
    let horizon = Horizon { now: options.now, since: options.since, until: options.until };
    let mut streams = Vec::new();
    for (stream, _) in run::selected(plan, &options.streams) {
        if let Some(parent) = stream.slices.parent() {
            streams.push(serde_json::json!({
                "stream": stream.name.as_str(),
                "parent": parent.stream.as_str(),
            }));
            continue;
        }
        let slices = slices(&stream.slices, &horizon, &ParentValues::new());
        let first = slices.first().map(|it| extractor.first_request(stream, it)).transpose();
        let first =
            first.map_err(|source| Error::Source(Box::new(ExtractError::Request(source))))?;
        streams.push(serde_json::json!({
            "stream": stream.name.as_str(),
            "slices": slices.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
            "first_request": first.map(|it| {
                let method = match it.method { Method::Get => "GET", Method::Post => "POST" };
                format!("{method} {}", it.shown())
            }),
        }));
    }
    if json {
        let shown = serde_json::json!({ "pipeline": plan.pipeline.as_str(), "streams": streams });
        report::line(stdout, format_args!("{shown}"));
        return Ok(());
    }
    report::line(
        stdout,
        format_args!("{} would be written to `{}`", plan.pipeline, plan.destination.path.display()),
    );
    for stream in &streams {
        let text = |key: &str| stream[key].as_str().unwrap_or_default();
        if let Some(slices) = stream["slices"].as_array() {
            let id = |it: Option<&serde_json::Value>| {
                it.and_then(|it| it.as_str()).unwrap_or_default().to_owned()
            };
            let ids = match slices.as_slice() {
                [only] => id(Some(only)),
                several => format!("{} … {}", id(several.first()), id(several.last())),
            };
            report::line(
                stdout,
                format_args!(
                    "  {}: {}, {ids}; first {}",
                    text("stream"),
                    report::counted(slices.len() as u64, "slice"),
                    text("first_request")
                ),
            );
        } else {
            report::line(
                stdout,
                format_args!(
                    "  {}: one slice for each row of `{}`",
                    text("stream"),
                    text("parent")
                ),
            );
        }
    }
    Ok(())
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
