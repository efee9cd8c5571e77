//! `report`, and `--report` of `run`: a page about an earlier run, and about that which has just ended.

use std::{io::Write, path::Path};

use super::{
    Dataset,
    args::{DatasetArgs, GlobalArgs, JobArgs, ReportArgs},
    clock, dataset,
    page::{self, Section},
};
use crate::{
    error::{Error, chain},
    load::{check_file, replace_file},
    plan::DestinationPath,
    run::RunReport,
};

/// How many runs are named where one is not found.
const NAMED: usize = 5;

pub(super) fn report(
    args: &ReportArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let ReportArgs { pipeline: name, run, file, output, set } = args;
    let to_stdout = file == Path::new("-");
    if !to_stdout {
        check_file(file).map_err(Error::Write)?;
    }
    let place = place(output.clone(), set.clone());
    let Dataset { pipeline, path, inspection, streams: _ } = dataset(name, &place, global)?;
    let nothing = || Error::NothingExported { pipeline: pipeline.clone(), path: path.clone() };
    let inspection = inspection.ok_or_else(nothing)?;
    let mut runs = inspection.runs().map_err(Error::Inspect)?;
    let chosen = match run {
        Some(wanted) => runs.iter().find(|it| *it == wanted).cloned(),
        None => Some(runs.last().cloned().ok_or_else(nothing)?),
    };
    let Some(chosen) = chosen else {
        let known = runs.split_off(runs.len().saturating_sub(NAMED));
        let earlier = runs.len();
        let run = run.clone().unwrap_or_default();
        return Err(Error::UnknownRun { pipeline, run, known, earlier });
    };
    let report = inspection.report(&chosen).map_err(Error::Inspect)?;
    let section = Section {
        pipeline: pipeline.to_string(),
        report: Some(report),
        error: None,
        inspection: Some(&inspection),
    };
    let text = page::render(&[section], clock(global))?;
    if to_stdout {
        // A reader that has gone is not an error of ours.
        let _ = stdout.write_all(text.as_bytes());
    } else {
        replace_file(file, text.as_bytes()).map_err(Error::Write)?;
    }
    Ok(0)
}

/// Leaves a page about the runs of `job` in a file: those that have a report, then one that ended with
/// `error`, and those that were not started.
pub(super) fn leave(
    file: &Path,
    job: &JobArgs,
    reports: &[RunReport],
    error: Option<&Error>,
    global: &GlobalArgs,
) -> Result<(), Error> {
    let place = place(job.output.clone(), job.set.clone());
    // What a file says that cannot be used was the error of the run.
    let found: Vec<Option<Dataset>> =
        job.pipelines.iter().map(|it| dataset(it, &place, global).ok()).collect();
    let mut sections = Vec::new();
    for (nth, (name, dataset)) in job.pipelines.iter().zip(&found).enumerate() {
        let report = reports.get(nth);
        let value = report.map(serde_json::to_value).transpose();
        let value = value.map_err(|err| Error::Internal(err.to_string()))?;
        let of_run = report.and_then(|it| it.error.as_ref()).map(|it| chain(it));
        let of_all = (nth == reports.len()).then(|| error.map(|it| chain(it))).flatten();
        let not_started = (nth > reports.len()).then(|| "It was not started.".to_owned());
        sections.push(Section {
            pipeline: dataset.as_ref().map_or_else(|| name.clone(), |it| it.pipeline.to_string()),
            report: value,
            error: of_run.or(of_all).or(not_started),
            inspection: dataset.as_ref().and_then(|it| it.inspection.as_ref()),
        });
    }
    let text = page::render(&sections, clock(global))?;
    replace_file(file, text.as_bytes()).map_err(Error::Write)
}

/// Where the files of a pipeline are looked for.
fn place(output: Option<DestinationPath>, set: Vec<(String, String)>) -> DatasetArgs {
    DatasetArgs { pipelines: Vec::new(), output, set, json: false }
}
