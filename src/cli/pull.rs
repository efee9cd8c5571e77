//! `pull`: rows of one stream to stdout or to a file.

use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{
    Stops,
    args::{GlobalArgs, PullArgs, RowFormatArg, RowsArgs},
    clock,
    export::{bars, run_id, stream},
    inputs, load, logs,
    part::Part,
    progress::{self, Bars},
    report::counted,
    runtime,
    taker::Taker,
};
use crate::{
    config,
    error::Error,
    load::{NewFile, RowFormat, RowsError, RowsOut, WriteError},
    plan::{CsvPlan, FormatPlan, Plan, StreamPlan},
    run::{self, Progress, PullOptions, PullReport, PulledPages},
    transform::{Decoder, Reject},
};

/// The exit code where records do not fit.
pub(super) const PARTIAL: u8 = 7;

/// Rejects that are told one by one; the rest is counted.
const TOLD: usize = 5;

pub(super) fn pull(
    args: &PullArgs,
    global: &GlobalArgs,
    stdout: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let plan = load(&args.pipeline, global, &inputs().set(args.set.clone()))?;
    let stream = stream(&plan, &args.stream)?;
    let now = clock(global);
    let part = Part::of(args.since.as_ref(), args.until.as_ref(), now)?;
    let Part { since, until } = part;
    let options = PullOptions { now, since, until, enough: args.limit, slices: None };
    logs::notes(global, part.notes(&plan, &[stream], now));
    write(&plan, stream, &options, &args.rows, global, stdout)
}

/// Reads rows and writes them where and as they are wanted; gives the exit code.
pub(super) fn write(
    plan: &Plan,
    stream: &StreamPlan,
    options: &PullOptions,
    args: &RowsArgs,
    global: &GlobalArgs,
    stdout: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let target = Target {
        plan,
        stream,
        columns: projection(stream, &args.columns)?,
        format: format(plan, args)?,
        options,
        output: &args.output,
        global,
    };
    let (tally, report) = if args.output == Path::new("-") {
        let failed = |source| match source {
            RowsError::Io(source) => Error::Output(source),
            source => Error::Rows { path: "-".into(), source },
        };
        target.write_along(stdout, Bars::Hidden, failed)?
    } else {
        // Before the first request, so that a directory that is not there costs none.
        let mut file = NewFile::create(&args.output, &run_id(options.now)).map_err(Error::Write)?;
        let failed = |source| Error::Rows { path: args.output.clone(), source };
        if file.is_read_along() {
            target.write_along(&mut file, bars(global), failed)?
        } else {
            target.write(file, &AtomicBool::new(false), bars(global), failed)?
        }
    };
    tell(stream, &tally, &report, global);
    Ok(if tally.rejected + report.rejected_parents > 0 { PARTIAL } else { 0 })
}

/// The columns that are wanted, by their places.
fn projection(stream: &StreamPlan, wanted: &[String]) -> Result<Vec<usize>, Error> {
    let decoder = Decoder::new(stream);
    let names: Vec<&str> = decoder.schema().fields().iter().map(|it| it.name().as_str()).collect();
    if wanted.is_empty() {
        return Ok((0..names.len()).collect());
    }
    let wrong =
        |expected| Error::Argument { option: "--columns", value: wanted.join(","), expected };
    if wanted.iter().any(String::is_empty) {
        return Err(wrong("names of columns with a comma between each two"));
    }
    if wanted.iter().enumerate().any(|(at, it)| wanted[..at].contains(it)) {
        return Err(wrong("each column once"));
    }
    let place = |column: &String| {
        let found = names.iter().position(|it| it == column);
        found.ok_or_else(|| Error::UnknownColumn {
            stream: stream.name.clone(),
            column: column.clone(),
            suggestion: config::suggest(column, names.iter().copied()),
            known: names.iter().map(|it| (*it).to_owned()).collect(),
        })
    };
    wanted.iter().map(place).collect()
}

/// The format that is asked for, or that the file's name says.
fn format(plan: &Plan, args: &RowsArgs) -> Result<RowFormat, Error> {
    let by_name = || match args.output.extension().and_then(|it| it.to_str()) {
        Some("csv") => Some(RowFormatArg::Csv),
        Some("jsonl" | "ndjson") => Some(RowFormatArg::Jsonl),
        Some("parquet") => Some(RowFormatArg::Parquet),
        Some("arrow" | "arrows") => Some(RowFormatArg::Arrow),
        _ if args.output == Path::new("-") => Some(RowFormatArg::Csv),
        _ => None,
    };
    let format = args.format.or_else(by_name).ok_or_else(|| Error::Argument {
        option: "--output",
        value: args.output.display().to_string(),
        expected: "a name that ends in `.csv`, `.jsonl`, `.parquet` or `.arrow`, or a `--format`",
    })?;
    let escape_formulas =
        |it: &FormatPlan| matches!(it, FormatPlan::Csv(csv) if csv.escape_formulas);
    Ok(match format {
        RowFormatArg::Csv => RowFormat::Csv(CsvPlan {
            escape_formulas: plan.destination.formats.iter().any(escape_formulas),
            ..CsvPlan::default()
        }),
        RowFormatArg::Jsonl => RowFormat::JsonLines,
        RowFormatArg::Parquet => RowFormat::Parquet,
        RowFormatArg::Arrow => RowFormat::Arrow,
    })
}

/// Where rows go.
trait Out: Write + Send {
    /// After the last of them.
    fn complete(self) -> Result<(), WriteError>;
}

impl Out for NewFile {
    fn complete(self) -> Result<(), WriteError> {
        self.publish()
    }
}

/// Stdout or another pipe, which may be closed by whoever reads it.
struct Pipe<'a> {
    out: &'a mut (dyn Write + Send),
    is_closed: Arc<AtomicBool>,
}

impl Pipe<'_> {
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::BrokenPipe) {
            self.is_closed.store(true, Relaxed);
        }
        result
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.watch(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.watch(flushed)
    }
}

impl Out for Pipe<'_> {
    fn complete(mut self) -> Result<(), WriteError> {
        // What is not taken any more is no loss.
        let _ = self.flush();
        Ok(())
    }
}

/// What has come.
#[derive(Debug, Default)]
struct Tally {
    records: u64,
    rejected: u64,
    /// The first rejects, for a person.
    told: Vec<String>,
}

/// Why rows were not taken to the end.
enum Failure {
    Read(Error),
    Rows(RowsError),
}

/// What is pulled, and as what.
struct Target<'a> {
    plan: &'a Plan,
    stream: &'a StreamPlan,
    columns: Vec<usize>,
    format: RowFormat,
    options: &'a PullOptions,
    output: &'a Path,
    global: &'a GlobalArgs,
}

impl Target<'_> {
    /// The same for one who reads along and may have enough.
    fn write_along(
        &self,
        out: &mut (dyn Write + Send),
        bars: Bars,
        failed: impl Fn(RowsError) -> Error,
    ) -> Result<(Tally, PullReport), Error> {
        let is_closed = Arc::new(AtomicBool::new(false));
        let pipe = Pipe { out, is_closed: Arc::clone(&is_closed) };
        self.write(pipe, &is_closed, bars, failed)
    }

    /// Reads and writes at the same time; what is written is completed only if all was read.
    fn write<W: Out>(
        &self,
        out: W,
        is_closed: &AtomicBool,
        bars: Bars,
        failed: impl Fn(RowsError) -> Error,
    ) -> Result<(Tally, PullReport), Error> {
        let mut tally = Tally::default();
        let (mut report, copied) =
            reading(self.plan, self.stream, self.options, self.output, bars, |pages| {
                self.copy(pages, out, &mut tally)
            })?;
        let rows = match copied {
            Ok(rows) => rows,
            Err(Failure::Read(err)) => return Err(err),
            Err(Failure::Rows(_)) if is_closed.load(Relaxed) => return Ok((tally, report)),
            Err(Failure::Rows(err)) => return Err(failed(err)),
        };
        if let Some(err) = report.error.take() {
            return Err(err);
        }
        if report.is_unwanted {
            // Of the rest nobody knows how much fits.
            return Ok((tally, report));
        }
        let limit = self.stream.max_rejected.limit(tally.records);
        if tally.rejected > limit {
            tell(self.stream, &tally, &report, self.global);
            return Err(Error::PullRejected {
                pipeline: self.plan.pipeline.clone(),
                stream: self.stream.name.clone(),
                rejected: tally.rejected,
                records: tally.records,
                limit,
            });
        }
        match rows.finish() {
            Ok(out) => out.complete().map_err(Error::Write)?,
            Err(_) if is_closed.load(Relaxed) => {}
            Err(err) => return Err(failed(err)),
        }
        Ok((tally, report))
    }

    fn copy<W: Out>(
        &self,
        pages: PulledPages,
        out: W,
        tally: &mut Tally,
    ) -> Result<RowsOut<W>, Failure> {
        let schema = pages.schema().project(&self.columns);
        let schema = Arc::new(schema.map_err(|err| Failure::Rows(err.into()))?);
        let metadata = vec![
            ("tracklake.pipeline", self.plan.pipeline.to_string()),
            ("tracklake.stream", self.stream.name.to_string()),
            ("tracklake.zone", self.stream.partition.zone.to_string()),
        ];
        let mut rows = RowsOut::new(out, self.format, self.stream, &schema, metadata)
            .map_err(Failure::Rows)?;
        let mut left = self.options.enough.unwrap_or(u64::MAX);
        for page in pages {
            let page = page.map_err(Failure::Read)?;
            tally.records += page.records;
            tally.rejected += page.rejects.len() as u64;
            let untold = TOLD.saturating_sub(tally.told.len());
            let rejects = page.rejects.iter().take(untold);
            tally.told.extend(rejects.map(|it| {
                let told = rejected(&page.slice, page.page, it);
                self.plan.redactor.redact(&told).into_owned()
            }));
            let taken = left.min(page.batch.num_rows() as u64);
            let batch = page.batch.slice(0, usize::try_from(taken).unwrap_or(usize::MAX));
            let batch = batch.project(&self.columns).map_err(|err| Failure::Rows(err.into()))?;
            rows.write(&batch).map_err(Failure::Rows)?;
            left -= taken;
            if left == 0 {
                break;
            }
        }
        Ok(rows)
    }
}

/// A record that does not fit, on one line.
pub(super) fn rejected(slice: &str, page: u64, reject: &Reject) -> String {
    let Reject { position, column, reason, .. } = reject;
    let column = column.as_ref().map(|it| format!("column `{it}`: ")).unwrap_or_default();
    format!("slice `{slice}`, page {page}, record {}: {column}{reason}", position + 1)
}

/// Reads on threads of the runtime, and has `take` take the pages on this one, for `output`.
pub(super) fn reading<T>(
    plan: &Plan,
    stream: &StreamPlan,
    options: &PullOptions,
    output: &Path,
    bars: Bars,
    take: impl FnOnce(PulledPages) -> T,
) -> Result<(PullReport, T), Error> {
    let runtime = runtime()?;
    let stops = Stops::listen(&runtime);
    let chosen = run::pulled(plan, &stream.name, options);
    let progress = Progress::new(chosen.iter().map(|it| &it.name));
    let _inside = runtime.enter();
    let other_end = Taker::of(output);
    let (pull, pages) = run::pull(plan, &stream.name, options, &progress)?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            runtime.block_on(async {
                tokio::select! {
                    report = pull.read(other_end.gone(), stops.reached(1)) => Ok(report),
                    () = progress::draw(&progress, bars) => Err(Error::Internal("the bars stopped".into())),
                }
            })
        });
        let taken = take(pages);
        let report = reading.join();
        let report = report.map_err(|_| Error::Internal("the reading thread stopped".into()))??;
        Ok((report, taken))
    })
}

/// What is worth a line beside the rows.
fn tell(stream: &StreamPlan, tally: &Tally, report: &PullReport, global: &GlobalArgs) {
    let name = &stream.name;
    let mut notes: Vec<String> = tally.told.iter().map(|it| format!("{name}: {it}")).collect();
    if tally.rejected > 0 {
        let n = counted(tally.rejected, "record");
        let of = tally.records;
        notes.push(format!("{name}: {n} of {of} did not fit and are left out"));
    }
    if report.rejected_parents > 0 {
        let n = counted(report.rejected_parents, "record");
        notes.push(format!(
            "{name}: {n} of its parents did not fit: nothing that belongs to them is here"
        ));
    }
    if let Some(first) = report.gone.first() {
        let n = counted(report.gone.len() as u64, "parent");
        notes.push(format!("{name}: access to {n} is lost, first `{first}`"));
    }
    logs::notes(global, notes);
}
