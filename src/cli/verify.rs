//! `verify`: published files against their manifests.

use std::io::Write;

use super::{
    Dataset,
    args::{DatasetArgs, GlobalArgs},
    dataset,
    report::{self, counted},
};
use crate::{error::Error, load::VerifiedStream};

/// The exit code where something is not as it was published.
const NOT_SOUND: u8 = 6;

pub(super) fn verify(
    args: &DatasetArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let mut code = 0;
    let mut verified = Vec::new();
    for name in &args.pipelines {
        let Dataset { pipeline, streams, path, inspection } = dataset(name, args, global)?;
        let nothing = || Error::NothingExported { pipeline: pipeline.clone(), path: path.clone() };
        let inspection = inspection.ok_or_else(nothing)?;
        let streams = inspection.verify(&streams).map_err(Error::Inspect)?;
        if streams.iter().all(|it| !it.is_published && it.problems.is_empty()) {
            return Err(nothing());
        }
        let holder = inspection.holder().map_err(Error::Inspect)?;
        let is_sound = streams.iter().all(|it| it.problems.is_empty());
        if !is_sound {
            code = NOT_SOUND;
        }
        if args.json {
            let object = serde_json::json!({
                "pipeline": pipeline.as_str(),
                "output": path.to_string(),
                "is_sound": is_sound,
                "held_by": holder,
                "streams": streams,
            });
            report::raw(stdout, &object);
        } else {
            for found in streams.iter().flat_map(|it| &it.problems) {
                report::line(stdout, format_args!("{}: {}", found.path, found.reason));
            }
        }
        verified.push((pipeline, streams, holder));
    }
    if !args.json {
        let all = || {
            verified.iter().flat_map(|(pipeline, it, _)| it.iter().map(move |it| (pipeline, it)))
        };
        let mut table = report::plain_table(global.columns);
        table.set_header(["stream", "files", "rows", "problems"]);
        for (pipeline, stream) in all() {
            let VerifiedStream { stream: name, is_published, files, rows, problems, .. } = stream;
            let number = |it: &u64| if *is_published { it.to_string() } else { "-".to_owned() };
            table.add_row([
                format!("{pipeline}.{name}"),
                number(files),
                number(rows),
                problems.len().to_string(),
            ]);
        }
        report::table(stdout, &mut table, 1..4);
        for (pipeline, stream) in all() {
            notes(stdout, pipeline.as_str(), stream);
        }
        for (pipeline, _, holder) in &verified {
            if let Some(holder) = holder {
                report::line(stdout, format_args!("note: {pipeline}: held by {holder}"));
            }
        }
    }
    Ok(code)
}

fn notes(stdout: &mut dyn Write, pipeline: &str, verified: &VerifiedStream) {
    let VerifiedStream { stream, is_published, older_schema, added_columns, problems, .. } =
        verified;
    if !is_published && problems.is_empty() {
        report::line(stdout, format_args!("note: {pipeline}.{stream}: nothing has been published"));
    }
    if *older_schema > 0 {
        report::line(
            stdout,
            format_args!(
                "note: {pipeline}.{stream}: {} with an older schema, without `{}`; this is fine, and `tracklake run {pipeline} --rewrite` writes all files anew",
                counted(*older_schema, "Parquet file"),
                added_columns.join("`, `")
            ),
        );
    }
}
