//! `preview`: the first rows of streams as a table that fits the terminal, what does not fit, and the
//! request.
//!
//! ```text
//! worklogs: 12 rows of 12 records, 5 requests
//! request: GET https://api.tracker.yandex.net/v3/issues/TEST-324/worklog?perPage=100
//!
//!  column            type       nulls  1                     2
//!  id                string       0 %  41                    42
//!  comment           string      50 %  night shift           ·
//! ```
//!
//! Streams have tens of columns and previews few rows, so that a column is a line here.

use std::{io::Write, path::Path};

use arrow::array::{Array, RecordBatch};
use url::{Url, form_urlencoded};

use super::{
    args::{GlobalArgs, PreviewArgs},
    clock,
    export::{bars, stream},
    inputs, load, logs,
    part::Part,
    pull::{PARTIAL, reading, rejected},
    report::{self, counted},
    table::{Width, fitted},
};
use crate::{
    error::Error,
    extract::Request,
    infer::sounds_secret,
    load::cell_text,
    plan::{ColumnType, Method, Plan, StreamPlan},
    run::{PullOptions, PullReport, PulledPages},
};

/// Stands for a null, which is no empty text.
const NULL: &str = "·";

/// Stands for a credential.
const HIDDEN: &str = "***";

/// Rejects of which the raw record is shown, too.
const REJECTS: usize = 5;

/// Characters of a raw record.
const RAW: usize = 300;

pub(super) fn preview(
    args: &PreviewArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let plan = load(&args.pipeline, global, &inputs().set(args.set.clone()))?;
    let now = clock(global);
    let part = Part::of(args.since.as_ref(), args.until.as_ref(), now)?;
    let Part { since, until } = part;
    let options = PullOptions { now, since, until, enough: Some(args.limit), slices: None };
    let streams = match &args.stream {
        Some(name) => vec![stream(&plan, name)?],
        None => plan.streams.iter().collect(),
    };
    logs::notes(global, part.notes(&plan, &streams, now));
    let width = Width::new(global.columns, std::env::var("COLUMNS").ok().as_deref());
    let (mut code, mut failed) = (0, None);
    for (at, stream) in streams.into_iter().enumerate() {
        if at > 0 {
            report::line(stdout, format_args!(""));
        }
        let (report, sample) =
            reading(&plan, stream, &options, Path::new("-"), bars(global), |pages| {
                Sample::take(pages, args.limit)
            })?;
        let sample = sample?;
        show(stdout, &plan, stream, &sample, &report, width);
        if sample.rejected > 0 {
            code = PARTIAL;
        }
        match report.error {
            Some(err @ Error::PullInterrupted) => return Err(err),
            // The other streams are shown, too.
            Some(err) => {
                if let Some(earlier) = failed.replace(err) {
                    logs::error(global.log, &earlier);
                }
            }
            None => {}
        }
    }
    failed.map_or(Ok(code), Err)
}

/// The first pages of a stream.
struct Sample {
    records: u64,
    rows: usize,
    /// One for each column.
    nulls: Vec<usize>,
    names: Vec<String>,
    /// The first rows, not more than wanted.
    first: Vec<RecordBatch>,
    rejected: u64,
    /// The first rejects, each with its record.
    rejects: Vec<(String, String)>,
}

impl Sample {
    fn take(pages: PulledPages, limit: u64) -> Result<Self, Error> {
        let names: Vec<String> =
            pages.schema().fields().iter().map(|it| it.name().clone()).collect();
        let mut sample = Self {
            records: 0,
            rows: 0,
            nulls: vec![0; names.len()],
            names,
            first: Vec::new(),
            rejected: 0,
            rejects: Vec::new(),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        for page in pages {
            let page = page?;
            sample.records += page.records;
            sample.rejected += page.rejects.len() as u64;
            let untold = REJECTS.saturating_sub(sample.rejects.len());
            let rejects = page.rejects.iter().take(untold);
            sample
                .rejects
                .extend(rejects.map(|it| (rejected(&page.slice, page.page, it), it.raw.clone())));
            let missing = limit.saturating_sub(sample.rows).min(page.batch.num_rows());
            sample.first.push(page.batch.slice(0, missing));
            sample.rows += page.batch.num_rows();
            for (nulls, array) in sample.nulls.iter_mut().zip(page.batch.columns()) {
                *nulls += array.null_count();
            }
            if sample.rows >= limit || sample.rejected >= limit as u64 {
                break;
            }
        }
        Ok(sample)
    }

    /// The values of a column in the first rows.
    fn values(&self, column: usize) -> Vec<String> {
        let batches = self.first.iter();
        let cells = batches.flat_map(|batch| {
            let array = batch.column(column);
            (0..batch.num_rows())
                .map(move |row| cell_text(array.as_ref(), row).unwrap_or_else(|| NULL.to_owned()))
        });
        cells.collect()
    }
}

fn show(
    out: &mut dyn Write,
    plan: &Plan,
    stream: &StreamPlan,
    sample: &Sample,
    report: &PullReport,
    width: Width,
) {
    let Sample { records, rows, nulls, names, rejected, rejects, .. } = sample;
    let redact = |text: &str| plan.redactor.redact(text).into_owned();
    report::line(
        out,
        format_args!(
            "{}.{}: {} of {}, {}",
            plan.pipeline,
            stream.name,
            counted(*rows as u64, "row"),
            counted(*records, "record"),
            counted(report.requests, "request")
        ),
    );
    for line in report.first_request.iter().flat_map(request) {
        report::line(out, format_args!("{}", redact(&line)));
    }
    report::line(out, format_args!(""));
    let lines: Vec<[String; 3]> = names
        .iter()
        .zip(nulls)
        .map(|(name, nulls)| [name.clone(), kind(stream, name), share(*nulls, *rows)])
        .collect();
    // Before they are shortened, which might leave a part of a secret.
    let values = (0..names.len()).map(|it| sample.values(it));
    let values: Vec<Vec<String>> =
        values.map(|it| it.iter().map(|it| redact(it)).collect()).collect();
    let (shown, table) = fitted(&lines, &values, width);
    for line in table {
        report::line(out, format_args!("{line}"));
    }
    let read = values.iter().map(Vec::len).max().unwrap_or_default();
    if shown < read {
        let shown = counted(shown as u64, "row");
        report::line(out, format_args!("(room for {shown} of {read} beside each other)"));
    }
    if *rejected > 0 {
        report::line(out, format_args!(""));
        let n = counted(*rejected, "record");
        report::line(out, format_args!("{n} of {records} did not fit:"));
        for (reason, raw) in rejects {
            let raw = redact(raw).split_whitespace().collect::<Vec<_>>().join(" ");
            let more = if raw.chars().count() > RAW { "…" } else { "" };
            let raw: String = raw.chars().take(RAW).collect();
            report::line(out, format_args!("  {}", redact(reason)));
            report::line(out, format_args!("    {raw}{more}"));
        }
    }
}

/// The request as it was sent, but for what logs it in and what sounds as if it did.
fn request(request: &Request) -> Vec<String> {
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut lines = vec![format!("request: {method} {}", shown(&request.url))];
    lines.extend(request.headers.iter().map(|(name, value)| {
        let value = if sounds_secret(name) { HIDDEN } else { value };
        format!("  {name}: {value}")
    }));
    lines.extend(request.body.iter().map(|it| format!("  {it}")));
    lines
}

/// The URL, its query as it was sent but for the values of credentials.
fn shown(url: &Url) -> String {
    let Some(query) = url.query() else { return url.to_string() };
    let pairs = query.split('&').map(|pair| {
        let name = form_urlencoded::parse(pair.as_bytes()).next();
        match (name, pair.split_once('=')) {
            (Some((name, _)), Some((written, _))) if sounds_secret(&name) => {
                format!("{written}={HIDDEN}")
            }
            _ => pair.to_owned(),
        }
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    let mut url = url.clone();
    url.set_query(None);
    let fragment = url.fragment().map(|it| format!("#{it}")).unwrap_or_default();
    url.set_fragment(None);
    format!("{url}?{query}{fragment}")
}

/// The type of a column, and its mask, as the pipeline file calls them.
fn kind(stream: &StreamPlan, column: &str) -> String {
    let Some(declared) = stream.columns.iter().find(|it| it.name.as_str() == column) else {
        return "json".to_owned();
    };
    let kind = match declared.kind {
        ColumnType::String => "string",
        ColumnType::Int64 => "int64",
        ColumnType::Float64 => "float64",
        ColumnType::Boolean => "boolean",
        ColumnType::Date { .. } => "date",
        ColumnType::Timestamp { .. } => "timestamp",
        ColumnType::Duration { .. } => "duration",
        ColumnType::Json => "json",
    };
    match &declared.mask {
        Some(mask) => format!("{kind}, mask: {}", mask.name()),
        None => kind.to_owned(),
    }
}

/// The share of nulls; what is not all of them is never told as 100 %.
fn share(nulls: usize, rows: usize) -> String {
    let percent = (nulls * 100).checked_div(rows).unwrap_or_default();
    match percent {
        0 if nulls > 0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_shown_but_for_what_may_be_a_credential() {
        for (sent, shown) in [
            ("https://a.example/x", "https://a.example/x"),
            ("https://a.example/x?from=a%20b&limit=5", "https://a.example/x?from=a%20b&limit=5"),
            (
                "https://a.example/?api%5Fkey=s3&limit=5&token=s=3",
                "https://a.example/?api%5Fkey=***&limit=5&token=***",
            ),
            (
                "https://a.example/x?project_key=OPS&pageToken=x",
                "https://a.example/x?project_key=OPS&pageToken=x",
            ),
        ] {
            assert_eq!(super::shown(&Url::parse(sent).unwrap()), shown);
        }
    }

    #[test]
    fn shares_are_rounded_away_from_none_and_from_all() {
        let told =
            [(0, 0), (0, 5), (1, 1000), (1, 2), (999, 1000), (5, 5)].map(|(n, of)| share(n, of));

        assert_eq!(told, ["0 %", "0 %", "<1 %", "50 %", "99 %", "100 %"]);
    }
}
