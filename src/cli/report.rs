//! Everything a person reads: tables, errors, sizes.

use std::{error::Error as _, fmt, io::Write};

use chrono::SecondsFormat;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Row, Table, presets::NOTHING};

use super::visible::visible;
use crate::{
    config::{ConfigError, Problem, Summary},
    error::Error,
    load::Unapplied,
    run::{
        Bound, Forecast, GoesOn, RunReport, StreamForecast, StreamReport, StreamStatus, TimeReport,
    },
};

/// Prints a failure: the message, what caused it, and what to try.
///
/// ```text
/// error: stream `issues`: 1 of 1 slices could not be read, first `all`; nothing of it is published
///   cause: `https://api.example.net/v3/issues/_search` refuses the credentials with status 401
///   hint: check the token or password that the pipeline is given; …
/// ```
pub fn error(out: &mut dyn Write, err: &Error) {
    line(out, format_args!("error: {err}"));
    if let Error::Config(ConfigError::Invalid { path, problems, text }) = err {
        for problem in problems {
            self::problem(out, &path.display().to_string(), text, problem);
        }
    }
    if let Error::TooManyRejected { first, .. } = err {
        line(out, format_args!("  first: {first}"));
    }
    let mut cause = err.source();
    while let Some(source) = cause {
        line(out, format_args!("  cause: {source}"));
        cause = source.source();
    }
    if let Some(hint) = err.hint() {
        line(out, format_args!("  hint: {hint}"));
    }
}

/// A mistake in a file, with the line that it stands on and a mark below it.
fn problem(out: &mut dyn Write, path: &str, text: &str, problem: &Problem) {
    let place = problem.place;
    line(out, format_args!("  {path}:{}:{}: {problem}", place.line, place.column));
    let Some(source) = text.lines().nth(place.line.saturating_sub(1)) else { return };
    let number = place.line.to_string();
    let pad = " ".repeat(number.len());
    // A tab before the mark keeps the mark below its character.
    let before: String = source
        .chars()
        .take(place.column.saturating_sub(1))
        .map(|it| if it == '\t' { '\t' } else { ' ' })
        .collect();
    line(out, format_args!("    {number} | {source}"));
    line(out, format_args!("    {pad} | {before}^"));
}

/// Prints the closing table of one or several runs, and what a person should look at.
pub fn runs(out: &mut dyn Write, reports: &[RunReport], columns: Option<u16>) {
    const HEADER: [&str; 10] = [
        "stream",
        "status",
        "slices",
        "records",
        "rows",
        "partitions",
        "files",
        "size",
        "rejected",
        "time",
    ];
    let mut table = plain_table(columns);
    table.set_header(HEADER);
    let mut total = [0; 6];
    for report in reports {
        for stream in &report.streams {
            let counts = [
                stream.slices.total,
                stream.records,
                stream.rows,
                stream.partitions,
                stream.files,
                stream.bytes_written,
            ];
            for (sum, count) in total.iter_mut().zip(counts) {
                *sum += count;
            }
            let name = format!("{}.{}", report.pipeline, stream.stream);
            let time = format!("{:.1} s", stream.seconds.total);
            table.add_row(row(name, status(stream), counts, stream.rejected, time));
        }
    }
    let rejected = reports.iter().flat_map(|it| &it.streams).map(|it| it.rejected).sum();
    let seconds: f64 = reports.iter().map(|it| it.seconds).sum();
    table.add_row(row("total".into(), "", total, rejected, format!("{seconds:.1} s")));
    self::table(out, &mut table, 2..HEADER.len());
    times(out, reports, columns);
    for report in reports {
        for Unapplied { stream, run } in &report.finished_commits {
            let pipeline = &report.pipeline;
            line(
                out,
                format_args!(
                    "note: {pipeline}.{stream}: the commit of run {run} was finished first"
                ),
            );
        }
        for stream in &report.streams {
            notes(out, &report.pipeline, stream);
        }
        // What failed says itself why.
        let is_read = report.streams.iter().any(|it| it.status != StreamStatus::Failed);
        if let Some(bound) = report.bounded_by.filter(|_| is_read) {
            let pipeline = &report.pipeline;
            line(out, format_args!("note: {pipeline}: bounded by {}", why(bound, &report.streams)));
        }
    }
}

/// Prints where the time of each stream went.
fn times(out: &mut dyn Write, reports: &[RunReport], columns: Option<u16>) {
    const HEADER: [&str; 8] =
        ["stream", "wait", "fetch", "decode", "partition", "encode", "publish", "bounded by"];
    let mut table = plain_table(columns);
    table.set_header(HEADER);
    for report in reports {
        for stream in &report.streams {
            let it = &stream.seconds;
            let wait = it.waiting_for_turn
                + it.waiting_for_place
                + it.waiting_to_retry
                + it.waiting_for_thread
                + it.waiting_for_writer;
            let seconds =
                [wait, it.fetching, it.decoding, it.partitioning, it.encoding, it.publishing];
            let name = format!("{}.{}", report.pipeline, stream.stream);
            let bound = stream.bounded_by.map_or("-", word).to_owned();
            let cells = seconds.map(|it| format!("{it:.1} s"));
            table.add_row([name].into_iter().chain(cells).chain([bound]));
        }
    }
    line(out, format_args!(""));
    self::table(out, &mut table, 1..HEADER.len() - 1);
}

fn word(bound: Bound) -> &'static str {
    match bound {
        Bound::RateLimit => "rate limit",
        Bound::Retries => "retries",
        Bound::Latency => "latency",
        Bound::Decode => "decode",
        Bound::Threads => "threads",
        Bound::Partition => "partition",
        Bound::Encode => "encode",
        Bound::Disk => "disk",
        Bound::Parent => "parent",
    }
}

/// What bounded a run, with the figure that says so.
fn why(bound: Bound, streams: &[StreamReport]) -> String {
    let sum = |of: fn(&TimeReport) -> f64| streams.iter().map(|it| of(&it.seconds)).sum::<f64>();
    let word = word(bound);
    match bound {
        Bound::RateLimit => {
            format!("{word}: requests waited {:.1} s for their turn", sum(|it| it.waiting_for_turn))
        }
        Bound::Retries => {
            format!(
                "{word}: requests waited {:.1} s to be sent again",
                sum(|it| it.waiting_to_retry)
            )
        }
        Bound::Latency => {
            let requests: u64 = streams.iter().map(|it| it.requests).sum();
            #[expect(clippy::cast_precision_loss, reason = "shown without a digit after the point")]
            let millis = sum(|it| it.fetching) * 1e3 / requests.max(1) as f64;
            format!("{word}: a request took {millis:.0} ms, {}", counted(requests, "request"))
        }
        Bound::Decode => format!("{word}: {:.1} s of threads", sum(|it| it.decoding)),
        Bound::Threads => {
            let waited = sum(|it| it.waiting_for_thread);
            format!("{word}: pages waited {waited:.1} s while others were decoded or encoded")
        }
        Bound::Partition => format!("{word}: {:.1} s of writers", sum(|it| it.partitioning)),
        Bound::Encode => format!("{word}: {:.1} s after the last page", sum(|it| it.encoding)),
        Bound::Disk => {
            format!("{word}: {:.1} s to make files safe and visible", sum(|it| it.publishing))
        }
        Bound::Parent => word.to_owned(),
    }
}

fn row(name: String, status: &str, counts: [u64; 6], rejected: u64, time: String) -> [String; 10] {
    let [slices, records, rows, partitions, files, bytes] = counts;
    let number = |it: u64| it.to_string();
    [
        name,
        status.to_owned(),
        number(slices),
        number(records),
        number(rows),
        number(partitions),
        number(files),
        size(bytes),
        number(rejected),
        time,
    ]
}

fn notes(out: &mut dyn Write, pipeline: &str, stream: &StreamReport) {
    let name = &stream.stream;
    let mut note =
        |text: fmt::Arguments<'_>| line(out, format_args!("note: {pipeline}.{name}: {text}"));
    if stream.slices.unreconciled > 0 {
        let n_slices = stream.slices.unreconciled;
        note(format_args!(
            "{} read to the API's own end; it gives no total to compare with",
            counted(n_slices, "slice")
        ));
    }
    if stream.slices.gone > 0 {
        note(format_args!(
            "access to {} is lost, first `{}`",
            counted(stream.slices.gone, "parent"),
            stream.gone.first().map_or("", String::as_str)
        ));
    }
    if stream.slices.skipped > 0 {
        note(format_args!(
            "{} skipped by a rule of the pipeline",
            counted(stream.slices.skipped, "slice")
        ));
    }
    if stream.duplicates > 0 {
        let n_rows = counted(stream.duplicates, "row");
        note(format_args!("{n_rows} came more than once from the API and are kept once"));
    }
    if stream.status == StreamStatus::Planned {
        let changed = match stream.changed.as_slice() {
            [] => "no partition".to_owned(),
            [only] => only.clone(),
            [first, .., last] => {
                let n = stream.changed.len() as u64;
                format!("{}, {first} … {last}", counted(n, "partition"))
            }
        };
        let &StreamReport { added, updated, removed, marked, .. } = stream;
        let (gone, how) =
            if marked > 0 { (marked, "marked as deleted") } else { (removed, "removed") };
        note(format_args!(
            "would write {changed}: {} added, {updated} changed, {gone} {how}",
            counted(added, "row")
        ));
    } else if stream.status == StreamStatus::Published && stream.removed > 0 {
        let how = if stream.marked > 0 { "marked as deleted" } else { "removed" };
        note(format_args!(
            "{} {how}, because the source no longer has them",
            counted(stream.removed, "row")
        ));
    }
    if stream.status != StreamStatus::Failed && stream.redated > 0 {
        note(format_args!("{} moved to another partition", counted(stream.redated, "row")));
    }
    if stream.held_back > 0 {
        let n_rows = counted(stream.held_back, "row");
        note(format_args!("{n_rows} not written, because records of the same slice did not fit"));
    }
    if stream.superseded > 0 {
        note(format_args!("{}", superseded(stream.superseded, stream.rows_read)));
    }
    if stream.gaps > 0 || stream.folds > 0 {
        note(format_args!(
            "{} fell into a change of the clock",
            counted(stream.gaps + stream.folds, "local time")
        ));
    }
    let rejected = counted(stream.rejected, "record");
    match (&stream.quarantine, &stream.first_reject) {
        _ if stream.rejected == 0 => {}
        (Some(path), _) => {
            let are = if stream.rejected == 1 { "is" } else { "are" };
            note(format_args!("{rejected} did not fit and {are} in `{path}`"));
        }
        // Nothing else says which; the error of a stream with too many of them does.
        (None, Some(first)) if stream.status == StreamStatus::Planned => {
            note(format_args!("{rejected} did not fit, first: {first}"));
        }
        (None, _) => {}
    }
}

/// Rows of which one of the same key is kept: few have several versions, most of them a wrong key.
fn superseded(n: u64, read: u64) -> String {
    if n * 2 > read {
        format!(
            "{n} of {} have a key that others have, too, and only the newest of each key is kept: is `key` right?",
            counted(read, "row")
        )
    } else {
        format!("{} came in several versions; the newest is kept", counted(n, "row"))
    }
}

/// Prints what a run would ask and what it could change.
///
/// ```text
/// jira_timesheet would be written to `output`
///   audit_log: 26 slices, mode=audit,2024-05-26..2024-06-01 … mode=view,2024-08-18..2024-08-25
///     first request: GET https://jira.example.org/rest/timesheet/1.0/auditLog
///     may change 62 of 181 standing partitions, date=2024-05-26 … date=2024-07-26, and add others
/// ```
pub fn forecast(out: &mut dyn Write, forecast: &Forecast) {
    let Forecast { pipeline, output, unapplied, goes_on, streams } = forecast;
    line(out, format_args!("{pipeline} would be written to `{output}`"));
    for Unapplied { stream, run } in unapplied {
        line(
            out,
            format_args!(
                "  {stream}: the commit of run {run} would be finished first; what follows is told without it"
            ),
        );
    }
    if let Some(GoesOn { began, streams, bytes }) = goes_on {
        line(
            out,
            format_args!(
                "  would go on from the run of {}, without reading again what it has kept: {} of `{}`",
                began.to_rfc3339_opts(SecondsFormat::Secs, true),
                size(*bytes),
                streams.join("`, `")
            ),
        );
    }
    for stream in streams {
        let name = &stream.stream;
        line(out, format_args!("  {name}: {}", asked(stream)));
        if let Some(request) = &stream.first_request {
            line(out, format_args!("    first request: {request}"));
        }
        let text = match (&stream.partitions, stream.standing_partitions) {
            _ if !stream.is_written => "is read for its children only".to_owned(),
            (_, 0) => "nothing stands yet".to_owned(),
            (None, n) => format!(
                "may change any standing partition ({n}), and add others; `plan --fetch` says which"
            ),
            (Some(some), n) => {
                let ends = match some.as_slice() {
                    [] => String::new(),
                    [only] => format!(", {only}"),
                    [first, .., last] => format!(", {first} … {last}"),
                };
                let changed = some.len();
                format!("may change {changed} of {n} standing partitions{ends}, and add others")
            }
        };
        line(out, format_args!("    {text}"));
    }
}

fn asked(stream: &StreamForecast) -> String {
    let StreamForecast { parent, slices, .. } = stream;
    if let Some(parent) = parent {
        let pending = match slices.as_slice() {
            [] => String::new(),
            [first, ..] => format!(
                ", and {} that failed before, first `{first}`",
                counted(slices.len() as u64, "slice")
            ),
        };
        return format!("one slice for each row of `{parent}` that is read{pending}");
    }
    let ids = match slices.as_slice() {
        [] => String::new(),
        [only] => format!(", {only}"),
        [first, .., last] => format!(", {first} … {last}"),
    };
    format!("{}{ids}", counted(slices.len() as u64, "slice"))
}

/// Prints what a pipeline has and needs.
pub fn summary(
    out: &mut dyn Write,
    file: &str,
    summary: &Summary,
    columns: Option<u16>,
    is_set: &dyn Fn(&str) -> bool,
) {
    line(out, format_args!("{} ({file})", summary.pipeline));
    if let Some(description) = &summary.description {
        line(out, format_args!("  {description}"));
    }
    let streams: Vec<&str> = summary.streams.iter().map(|(name, _)| name.as_str()).collect();
    line(out, format_args!("  streams: {}", streams.join(", ")));
    let mut table = plain_table(columns);
    for var in &summary.vars {
        let env = var.env.as_deref().unwrap_or("-");
        let state = match (is_set(env), &var.default) {
            (true, _) => "set".to_owned(),
            (false, Some(default)) => format!("default {default}"),
            (false, None) if var.required => "required".to_owned(),
            (false, None) => "not set".to_owned(),
        };
        table.add_row([
            var.name.clone(),
            env.to_owned(),
            state,
            var.description.clone().unwrap_or_default(),
        ]);
    }
    indented(out, "    ", &table);
}

/// Prints a table whose columns `numbers` are numbers; row by row where the terminal is too narrow for it.
pub(super) fn table(out: &mut dyn Write, table: &mut Table, numbers: std::ops::Range<usize>) {
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    indented(out, "", table);
}

fn indented(out: &mut dyn Write, indent: &str, table: &Table) {
    let lines: Vec<String> = table.lines().map(|it| format!("{indent}{}", it.trim_end())).collect();
    let widest = lines.iter().map(|it| it.chars().count()).max().unwrap_or(0);
    if table.width().is_some_and(|it| widest > usize::from(it)) {
        return records(out, indent, table);
    }
    for text in lines {
        line(out, format_args!("{text}"));
    }
}

/// Prints a table with a line a cell.
///
/// ```text
/// acme_time.entries
///   status      published
///   slices      13
/// ```
fn records(out: &mut dyn Write, indent: &str, table: &Table) {
    let cells = |row: &Row| row.cell_iter().map(Cell::content).collect::<Vec<_>>();
    let header = table.header().map(cells).unwrap_or_default();
    let widest = header.iter().map(|it| it.chars().count()).max().map_or(0, |it| it + 2);
    for row in table.row_iter().map(cells) {
        for (i, cell) in row.iter().enumerate().filter(|(_, it)| !it.trim().is_empty()) {
            let name = header.get(i).map_or("", String::as_str);
            let cell = cell.trim();
            match i {
                0 => line(out, format_args!("{indent}{cell}")),
                _ => line(out, format_args!("{indent}  {name:widest$}{cell}")),
            }
        }
    }
}

/// A table without borders that is as wide as its content, so that it can be cut and pasted, for a terminal
/// that is so wide.
pub(super) fn plain_table(columns: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(columns) = columns {
        table.set_width(columns);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn status(stream: &StreamReport) -> &'static str {
    match stream.status {
        StreamStatus::Published => "published",
        StreamStatus::Planned => "planned",
        StreamStatus::Read => "read only",
        StreamStatus::Failed => "failed",
    }
}

/// A number with its word in the singular or plural.
pub(super) fn counted(n: u64, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Bytes for a person.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let bytes = bytes as f64;
    match bytes {
        it if it < 1024.0 => format!("{it} B"),
        it if it < 1024.0 * 1024.0 => format!("{:.1} kB", it / 1024.0),
        it if it < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MB", it / 1024.0 / 1024.0),
        it => format!("{:.1} GB", it / 1024.0 / 1024.0 / 1024.0),
    }
}

/// Writes a line for a person, in which nothing that a server sent is obeyed by the terminal; a reader that
/// has gone is not an error of ours.
pub fn line(out: &mut dyn Write, text: fmt::Arguments<'_>) {
    let _ = writeln!(out, "{}", visible(&text.to_string()));
}

/// Writes a line for a program, as it is.
pub(super) fn raw(out: &mut dyn Write, text: &dyn fmt::Display) {
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two columns as it is printed on a terminal.
    fn printed(columns: Option<u16>) -> String {
        let mut table = plain_table(columns);
        table.set_header(["stream", "partitions"]);
        table.add_row(["acme.entries", "7"]).add_row(["acme.users", "12"]).add_row(["total", ""]);
        let mut out = Vec::new();
        super::table(&mut out, &mut table, 1..2);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_that_is_wider_than_the_terminal_is_printed_line_by_line() {
        let wide = printed(None);
        insta::assert_snapshot!(wide, @"
         stream        partitions
         acme.entries           7
         acme.users            12
         total
        ");
        let width = wide.lines().map(str::len).max().unwrap();
        let columns = u16::try_from(width).unwrap();
        assert_eq!(printed(Some(columns)), wide);
        insta::assert_snapshot!(printed(Some(columns - 1)), @"
        acme.entries
          partitions  7
        acme.users
          partitions  12
        total
        ");
    }

    #[test]
    fn a_key_that_most_rows_share_is_doubted() {
        let few = "125 rows came in several versions; the newest is kept";
        let most = "126 of 250 rows have a key that others have, too, and only the newest of each key is kept: is `key` right?";

        assert_eq!([superseded(125, 250), superseded(126, 250)], [few, most]);
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        assert_eq!(size(12), "12 B");
        assert_eq!(size(1536), "1.5 kB");
        assert_eq!(size(5 << 20), "5.0 MB");
        assert_eq!(size(3 << 30), "3.0 GB");
    }
}
