//! The command line as it is typed.

mod dataset;
mod start;

use std::{net::SocketAddr, path::PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// Heading of the options that say what is asked for.
const READ: &str = "What is read";
/// Heading of the options that say what is written, and where.
const WRITTEN: &str = "What is written";
/// Heading of the options that say how a run is told of.
const SAID: &str = "What is said";

use crate::plan::DestinationPath;

pub use dataset::{CompactArgs, DatasetArgs, DialectArg, QuarantineArgs, ReportArgs, SqlViewsArgs};
pub use start::{InferArgs, InitArgs, WishArgs};

/// Exports what issue trackers know about work to partitioned Parquet and CSV.
#[derive(Debug, Parser)]
#[command(
    name = "tracklake",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  tracklake demo                        see what it does, without an account
  tracklake list                        which pipelines there are, and what each needs
  tracklake run yandex_tracker          export one
  tracklake status yandex_tracker       how far it has got"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// What holds for every command.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// The directory in which pipelines are found by name.
    #[arg(long = "pipelines", global = true, value_name = "DIR", default_value = "pipelines")]
    pub pipelines_dir: PathBuf,
    /// Says more on stderr: once for progress of streams, twice for every request.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Says nothing on stderr but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How logs are written.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// The clock of the run, instead of that of the machine; for replaying a run.
    #[arg(long, global = true, env = "TRACKLAKE_NOW", hide = true)]
    pub now: Option<DateTime<Utc>>,
    /// Characters on a line of the terminal that stdout is; `None` where it is none.
    #[arg(skip)]
    pub columns: Option<u16>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulate the three APIs in this process, export them for real, and say how to query the result.
    #[command(after_help = "Examples:
  tracklake demo
  tracklake demo --issues 5000 --output /tmp/demo")]
    Demo(DemoArgs),
    /// Export pipelines to files.
    #[command(after_help = "Examples:
  tracklake run yandex_tracker
  tracklake run pipelines/acme_time.yaml --set zone=UTC --output /data/lake
  tracklake run jira_timesheet --stream worklogs --since 2024-07-01 --until 2024-07-31
  tracklake run yandex_tracker codearts_req --quiet --json --metrics-file /var/lib/tracklake.prom")]
    Run(RunArgs),
    /// Write rows of one stream to stdout or to a file, and change nothing else.
    ///
    /// Reads from the start that the pipeline declares, or from `--since`; takes no state and no lock, so
    /// that a run may be at work. Rows come in the order of arrival. Exits with 7 where records do
    /// not fit, after the rows of all others.
    #[command(
        after_help = "Examples:\n  tracklake pull yandex_tracker worklogs --set issue=TEST-324 -o worklogs.csv"
    )]
    Pull(PullArgs),
    /// Write the rows of given slices of one stream, for programs that spread them over machines.
    ///
    /// The slices are those of `plan --slices`. Otherwise as `pull`: takes no state and no lock, and exits
    /// with 7 where records do not fit, after the rows of all others.
    #[command(after_help = r#"Examples:
  tracklake read acme_time entries --slice '{"dates":["2024-07-18","2024-07-24"]}' -o part.arrow"#)]
    Read(ReadArgs),
    /// Show the first rows of streams with their types, what does not fit, and the request.
    ///
    /// Asks for no more pages than it needs, and changes nothing.
    #[command(after_help = "Examples:\n  tracklake preview yandex_tracker worklogs --since 7d")]
    Preview(PreviewArgs),
    /// Show what a run would ask and what it could change, from the state on disk.
    ///
    /// Sends nothing, unless `--fetch` is given: then everything is read and merged as a run would, and
    /// nothing is published but the commit of a run that was killed while it published.
    #[command(after_help = "Examples:\n  tracklake plan yandex_tracker --fetch")]
    Plan(PlanArgs),
    /// Show how far each stream has got, the last runs, and what is in quarantine.
    ///
    /// Needs no credentials and changes nothing; a run may be at work.
    #[command(after_help = "Examples:\n  tracklake status jira_timesheet --output /data/lake")]
    Status(DatasetArgs),
    /// Show the records that did not fit, put together by why.
    ///
    /// Needs no credentials and changes nothing. With `--json` every record comes whole.
    ///
    /// With `--replay`, after a column was corrected, the records that fit now are published as
    /// their stream is written, and leave quarantine. Nothing is asked of the source, but the
    /// variables of the pipeline must be set, as for `run`.
    #[command(after_help = "Examples:
  tracklake quarantine jira_timesheet
  tracklake quarantine jira_timesheet --stream worklogs --json > rejected.jsonl
  tracklake quarantine jira_timesheet --replay --dry-run")]
    Quarantine(QuarantineArgs),
    /// Make a page about a run: one HTML file that needs no network.
    ///
    /// Shows hours and rows of the dataset's last 60 days as it stands now, what the run changed, when its
    /// slices were under way and what they waited for, how long requests took, and what did not fit.
    /// Needs no credentials and changes nothing.
    #[command(after_help = "Examples:
  tracklake report yandex_tracker > report.html
  tracklake report jira_timesheet --run 20240725T030000Z-1a2b -o report.html --output /data/lake")]
    Report(ReportArgs),
    /// Compare the published files with their manifests, row by row.
    ///
    /// Needs no credentials and changes nothing. Exits with 0 where everything is as it was
    /// published, with 6 where something is not.
    #[command(after_help = "Examples:\n  tracklake verify jira_timesheet --output /data/lake")]
    Verify(DatasetArgs),
    /// Write partitions of too many or too large files anew, with the same rows.
    ///
    /// A run writes a partition as a whole, so this is for datasets whose `target_file_mb` has changed. It
    /// holds the pipeline's lock, and is published as a run is. It takes the pipeline's variables, and
    /// asks no server.
    #[command(after_help = "Examples:
  tracklake compact yandex_tracker --dry-run
  tracklake compact pipelines/acme_time.yaml --stream entries --output /data/lake")]
    Compact(CompactArgs),
    /// Print statements that make a view of each stream, for DuckDB or Spark.
    ///
    /// Needs no credentials, and looks at no file of the destination. Statements are parted by empty
    /// lines. DuckDB needs files with all of the columns to be there: run the pipeline first.
    #[command(after_help = "Examples:
  tracklake sql-views yandex_tracker > views.sql
  tracklake sql-views jira_timesheet --output /data/lake --dialect spark")]
    SqlViews(SqlViewsArgs),
    /// Validate pipeline files without asking any server.
    #[command(after_help = "Examples:
  tracklake check yandex_tracker
  tracklake check pipelines/acme_time.yaml --allow-unset")]
    Check(CheckArgs),
    /// List the pipelines found, their streams, and the variables that each needs.
    List,
    /// Propose the columns of a stream from pages of an API.
    ///
    /// Prints `records`, `columns`, `write` and `partition_by` as a stream of a pipeline file has
    /// them. Comments say what was seen, and where a person must DECIDE. The pages are saved ones,
    /// or the first one of a stream whose request and log-in are in a pipeline file already.
    #[command(after_help = "Examples:\n  tracklake infer --from page-1.json page-2.json")]
    Infer(InferArgs),
    /// Write a commented pipeline file to start from.
    ///
    /// It passes `check` as it is. From a saved page its columns are proposed as by `infer`.
    #[command(
        after_help = "Examples:\n  tracklake init acme_time --url https://time.example.com/api/entries --from page.json"
    )]
    Init(InitArgs),
    /// Print the JSON Schema of pipeline files, for editors.
    #[command(after_help = "Examples:
  tracklake schema > schema.json")]
    Schema,
    /// Print a script that lets a shell complete command lines.
    #[command(after_help = "Examples:
  tracklake completions bash > ~/.local/share/bash-completion/completions/tracklake
  tracklake completions zsh > ~/.zfunc/_tracklake
  tracklake completions fish > ~/.config/fish/completions/tracklake.fish")]
    Completions(CompletionsArgs),
    /// Print the manual page of the program, or of one of its commands.
    #[command(after_help = "Examples:
  tracklake man > tracklake.1
  tracklake man run > tracklake-run.1")]
    Man(ManArgs),
    /// Serve the simulated APIs until interrupted.
    #[command(after_help = "Examples:
  tracklake simulate --issues 1000 --today 2024-07-25
  tracklake simulate --listen 127.0.0.1:9000 --page-cap 50")]
    Simulate(SimulateArgs),
}

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// Where the files go.
    #[arg(long, value_name = "DIR|URL", default_value = "output/demo")]
    pub output: DestinationPath,
    /// Issues in each simulated system.
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub issues: usize,
    /// Draws other data.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print the reports as JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// What is read and written.
    #[command(flatten)]
    pub job: JobArgs,
    /// Show what would be asked without asking; the same as `plan`.
    #[arg(long)]
    pub dry_run: bool,
    /// Leave what the run did as OpenMetrics in this file, for the textfile collector of Prometheus'
    /// node exporter (`*.prom`); also where the run fails.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run", help_heading = SAID)]
    pub metrics_file: Option<PathBuf>,
    /// Leave a page about the run in this file: one HTML file that needs no network; also where the run fails.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run", help_heading = SAID)]
    pub report: Option<PathBuf>,
}

/// Arguments of `plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// What would be read and written.
    #[command(flatten)]
    pub job: JobArgs,
    /// Ask the source as a run would, and say which partitions would change; publishes nothing.
    #[arg(long)]
    pub fetch: bool,
    /// Print the slices of this stream as JSON instead, for `read`: asks the source for its parents,
    /// and looks at no state.
    #[arg(
        long,
        value_name = "STREAM",
        conflicts_with_all = ["fetch", "streams", "full_refresh", "rewrite", "output", "formats"]
    )]
    pub slices: Option<String>,
}

/// What `run` reads and writes, and what `plan` looks at.
#[derive(Debug, ClapArgs)]
pub struct JobArgs {
    /// Pipeline files, or names of pipelines.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub pipelines: Vec<String>,
    /// Publish only this stream; may be repeated. Its parents are read, too.
    #[arg(long = "stream", value_name = "STREAM", help_heading = READ)]
    pub streams: Vec<String>,
    /// Start windows here: a date, an RFC 3339 instant, or a length of time back (`7d`). A note says what it does
    /// not bound.
    #[arg(long, value_name = "WHEN", help_heading = READ)]
    pub since: Option<String>,
    /// End windows here: a date (which is still read), an instant, or a length of time back. A note says
    /// what it does not bound.
    #[arg(long, value_name = "WHEN", help_heading = READ)]
    pub until: Option<String>,
    /// Read everything, not only what changed; what the source no longer has is removed, under the
    /// guard against mass deletion.
    #[arg(long, help_heading = READ)]
    pub full_refresh: bool,
    /// Write every file anew, so that all of them have the columns of the pipeline as it is now.
    #[arg(long, help_heading = WRITTEN)]
    pub rewrite: bool,
    /// Set a variable of the pipelines; may be repeated. Secrets belong in the environment: `NAME`
    /// alone takes its value from `TRACKLAKE_VAR_NAME`.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Where the files go, instead of where the pipeline says.
    #[arg(long, value_name = "DIR|URL", help_heading = WRITTEN)]
    pub output: Option<DestinationPath>,
    /// Write only this format; may be repeated.
    #[arg(long = "format", value_name = "FORMAT", help_heading = WRITTEN)]
    pub formats: Vec<FormatArg>,
    /// Mebibytes for the rows of all streams together: a third for those that wait for the end,
    /// before these go to temporary files, the rest for what is being read or encoded.
    #[arg(long, value_name = "MB", default_value_t = 128)]
    pub memory_mb: usize,
    /// Print the report as JSON, one pipeline a line.
    #[arg(long, help_heading = SAID)]
    pub json: bool,
}

/// Arguments of `pull`.
#[derive(Debug, ClapArgs)]
pub struct PullArgs {
    /// A pipeline file, or the name of a pipeline.
    #[arg(value_name = "FILE|NAME")]
    pub pipeline: String,
    /// The stream whose rows are wanted. Its parents are read, too.
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// Where and how.
    #[command(flatten)]
    pub rows: RowsArgs,
    /// Write so many rows and ask for no more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Start windows here: a date, an RFC 3339 instant, or a length of time back (`7d`). A note says what it does
    /// not bound.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// End windows here: a date (which is still read), an instant, or a length of time back. A note says
    /// what it does not bound.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Set a variable of the pipeline; may be repeated. Secrets belong in the environment: `NAME`
    /// alone takes its value from `TRACKLAKE_VAR_NAME`.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// Where and how `pull` and `read` write rows.
#[derive(Debug, ClapArgs)]
pub struct RowsArgs {
    /// Where the rows go: `-` for stdout, or a file, which is there only once it is complete.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// How the rows are written. Default: as the file's name ends, and CSV on stdout.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<RowFormatArg>,
    /// Write only these columns, in this order, separated by commas.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// Arguments of `read`.
#[derive(Debug, ClapArgs)]
pub struct ReadArgs {
    /// A pipeline file, or the name of a pipeline.
    #[arg(value_name = "FILE|NAME")]
    pub pipeline: String,
    /// The stream whose rows are wanted.
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// Read this slice, as `plan --slices` prints it; may be repeated.
    #[arg(long = "slice", value_name = "JSON")]
    pub slices: Vec<String>,
    /// Read the slices of this file, one on a line; `-` is the standard input.
    #[arg(long = "slices", value_name = "FILE", required_unless_present = "slices")]
    pub file: Option<PathBuf>,
    /// Refuse where the pipeline file, its variables or the program are not those of this `plan` of
    /// `plan --slices`.
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
    /// Take one part of the pipeline's limits of rate and concurrency, because so many processes read
    /// at the same time.
    #[arg(long, value_name = "1/N", value_parser = share)]
    pub share: Option<u32>,
    /// Where and how.
    #[command(flatten)]
    pub rows: RowsArgs,
    /// Set a variable of the pipeline; may be repeated. Secrets belong in the environment: `NAME`
    /// alone takes its value from `TRACKLAKE_VAR_NAME`.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// How `pull` and `read` write rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowFormatArg {
    /// RFC 4180 text with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// Arguments of `preview`.
#[derive(Debug, ClapArgs)]
pub struct PreviewArgs {
    /// A pipeline file, or the name of a pipeline.
    #[arg(value_name = "FILE|NAME")]
    pub pipeline: String,
    /// The stream. Default: all of them, one after the other.
    #[arg(value_name = "STREAM")]
    pub stream: Option<String>,
    /// Stop once so many rows, or records that do not fit, have come.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Start windows here: a date, an RFC 3339 instant, or a length of time back (`7d`). A note says what it does
    /// not bound.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// End windows here: a date (which is still read), an instant, or a length of time back. A note says
    /// what it does not bound.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Set a variable of the pipeline; may be repeated. Secrets belong in the environment: `NAME`
    /// alone takes its value from `TRACKLAKE_VAR_NAME`.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// A file format on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Apache Parquet.
    Parquet,
    /// RFC 4180 text.
    Csv,
}

/// Arguments of `check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// Pipeline files, or names of pipelines.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub pipelines: Vec<String>,
    /// Set a variable of the pipelines; may be repeated.
    #[arg(long = "set", value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Check the files alone: variables without a value are no mistake.
    #[arg(long)]
    pub allow_unset: bool,
}

/// Arguments of `simulate`.
#[derive(Debug, ClapArgs)]
pub struct SimulateArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8765")]
    pub listen: SocketAddr,
    /// Issues in each simulated system.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub issues: usize,
    /// Draws other data.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The simulated date. Default: today in UTC.
    #[arg(long, value_name = "DATE")]
    pub today: Option<NaiveDate>,
    /// Faults as JSON, such as `{"latency_ms": 20}`; also at run time by `POST /_sim/faults`.
    #[arg(long, value_name = "JSON")]
    pub faults: Option<String>,
    /// Lower the page size of every request to this.
    #[arg(long, value_name = "N")]
    pub page_cap: Option<usize>,
}

/// Arguments of `completions`.
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: ShellArg,
}

/// A shell on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellArg {
    /// Bourne-again shell.
    Bash,
    /// Z shell.
    Zsh,
    /// Friendly interactive shell.
    Fish,
}

/// Arguments of `man`.
#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// The command; the program itself where none is named.
    #[arg(value_parser = command_name)]
    pub command: Option<String>,
}

/// The command line as a description, for completions and manual pages.
pub(super) fn description() -> clap::Command {
    Args::command()
}

/// A command that there is.
fn command_name(text: &str) -> Result<String, String> {
    let description = description();
    let mut names = description.get_subcommands().map(clap::Command::get_name);
    if names.any(|it| it == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = description.get_subcommands().map(clap::Command::get_name).collect();
    Err(format!("there are `{}`", known.join("`, `")))
}

/// The number of processes that share limits.
fn share(text: &str) -> Result<u32, String> {
    let parts = text.strip_prefix("1/").and_then(|it| it.parse().ok());
    parts.filter(|it| *it > 0).ok_or_else(|| "expected one part in so many, such as 1/4".to_owned())
}

/// The value of a variable, from the environment where only its name is typed: other users of the
/// machine see command lines, and no value may have to be quoted.
fn assignment(text: &str) -> Result<(String, String), String> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let env = format!("TRACKLAKE_VAR_{text}");
    match std::env::var(&env) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(format!("expected NAME=VALUE, or a value in the environment as {env}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_examples_of_help_texts_are_commands() {
        let command = Args::command();
        let without = ["list"];
        for it in command.get_subcommands().chain([&command]) {
            let Some(help) = it.get_after_help().map(ToString::to_string) else {
                assert!(without.contains(&it.get_name()), "`{}` has no example", it.get_name());
                continue;
            };
            let examples = help.strip_prefix("Examples:\n").unwrap();
            for example in examples.lines() {
                let typed = example.split(" > ").next().unwrap();
                let typed = typed.trim().split("   ").next().unwrap();
                Args::try_parse_from(typed.split(' ')).unwrap();
            }
        }
    }
}
