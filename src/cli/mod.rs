//! The commands: arguments in, an exit code out. The only module that prints.

pub mod args;
mod compact;
mod demo;
mod export;
mod infer;
mod init;
mod logs;
mod manual;
mod metrics;
mod page;
mod part;
mod preview;
mod progress;
mod pull;
mod quarantine;
mod read;
pub mod report;
mod reporting;
mod sample;
mod simulate;
mod sql_views;
mod status;
mod table;
mod taker;
mod verify;
mod visible;

use std::{
    io::Write,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

pub use args::{Args, Command};
use args::{CheckArgs, DatasetArgs, GlobalArgs};
pub use logs::{error, usage};

use crate::{
    config::{self, ConfigError, Inputs, Location, Unset},
    error::Error,
    load::Inspection,
    plan::{DestinationPath, Name, Plan},
};

/// The pipelines that come with the program, for where there is no file of that name.
const SHIPPED: [(&str, &str); 3] = [
    ("codearts_req", include_str!("../../pipelines/codearts_req.yaml")),
    ("jira_timesheet", include_str!("../../pipelines/jira_timesheet.yaml")),
    ("yandex_tracker", include_str!("../../pipelines/yandex_tracker.yaml")),
];

/// Runs the command that `args` name; the result goes to `stdout`, everything else to stderr.
///
/// # Errors
///
/// What keeps the command from doing its work. A run that published only a part is no error, but
/// has an exit code.
pub fn run(args: Args, stdout: &mut (dyn Write + Send)) -> Result<u8, Error> {
    let Args { command, global } = args;
    logs::start(&global);
    caught(|| dispatch(command, &global, stdout))
}

/// What `work` gives; a panic is an error of ours, with its documented exit code.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // What it was at is not looked at any more.
    let caught = panic::catch_unwind(AssertUnwindSafe(work));
    caught.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Error::Internal(text.unwrap_or_else(|| "a thread panicked".to_owned())))
    })
}

fn dispatch(
    command: Command,
    global: &GlobalArgs,
    stdout: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    match command {
        Command::Demo(args) => demo::demo(&args, global, stdout),
        Command::Run(args) => export::run(&args, global, stdout),
        Command::Pull(args) => pull::pull(&args, global, stdout),
        Command::Read(args) => read::read(&args, global, stdout),
        Command::Preview(args) => preview::preview(&args, global, stdout),
        Command::Plan(args) => export::plan(&args, global, stdout),
        Command::Status(args) => status::status(&args, global, stdout),
        Command::Quarantine(args) => quarantine::quarantine(&args, global, stdout),
        Command::Report(args) => reporting::report(&args, global, stdout),
        Command::Verify(args) => verify::verify(&args, global, stdout),
        Command::Compact(args) => compact::compact(&args, global, stdout),
        Command::SqlViews(args) => sql_views::sql_views(&args, global, stdout),
        Command::Check(args) => check(&args, global, stdout),
        Command::List => Ok(list(global, stdout)),
        Command::Infer(args) => infer::infer(&args, global, stdout),
        Command::Init(args) => init::init(&args, global, stdout),
        Command::Schema => schema(stdout),
        Command::Completions(args) => manual::completions(&args, stdout),
        Command::Man(args) => manual::man(&args, stdout),
        Command::Simulate(args) => simulate::simulate(&args, global, stdout),
    }
}

fn check(args: &CheckArgs, global: &GlobalArgs, stdout: &mut dyn Write) -> Result<u8, Error> {
    let CheckArgs { pipelines, set, allow_unset } = args;
    let unset = if *allow_unset { Unset::Tolerated } else { Unset::Refused };
    let inputs = inputs().set(set.clone()).unset(unset);
    let mut failed = None;
    for name in pipelines {
        match check_one(name, global, &inputs) {
            Ok(n_streams) => {
                let streams = report::counted(n_streams as u64, "stream");
                report::line(stdout, format_args!("ok: {name} ({streams})"));
            }
            // The other files are checked too, so that one command shows everything.
            Err(err) => {
                if let Some(earlier) = failed.replace(err) {
                    logs::error(global.log, &earlier);
                }
            }
        }
    }
    failed.map_or(Ok(0), Err)
}

/// Loads a pipeline and counts its streams.
fn check_one(name: &str, global: &GlobalArgs, inputs: &Inputs) -> Result<usize, Error> {
    match load(name, global, inputs) {
        Ok(plan) => Ok(plan.streams.len()),
        // There is no plan without the variables, but no mistake in the file either.
        Err(Error::Config(ConfigError::Invalid { path, problems, text }))
            if problems.is_empty() =>
        {
            Ok(config::summarize_text(&path, &text)?.streams.len())
        }
        Err(err) => Err(err),
    }
}

fn list(global: &GlobalArgs, stdout: &mut dyn Write) -> u8 {
    let is_set = |env: &str| std::env::var(env).is_ok_and(|it| !it.is_empty());
    let mut failed = None;
    for (name, file) in found(&global.pipelines_dir) {
        let (label, summary) = match &file {
            Some(path) => (path.display().to_string(), config::summarize(path)),
            None => (
                "shipped with tracklake".to_owned(),
                config::summarize_text(name.as_ref(), shipped(&name)),
            ),
        };
        match summary {
            Ok(summary) => report::summary(stdout, &label, &summary, global.columns, &is_set),
            Err(err) => {
                logs::error(global.log, &Error::Config(err));
                failed = Some(3);
            }
        }
    }
    failed.unwrap_or(0)
}

fn schema(stdout: &mut dyn Write) -> Result<u8, Error> {
    let schema = serde_json::to_string_pretty(&config::json_schema())
        .map_err(|err| Error::Internal(err.to_string()))?;
    report::raw(stdout, &schema);
    Ok(0)
}

/// Loads a pipeline by its file or its name.
fn load(name: &str, global: &GlobalArgs, inputs: &Inputs) -> Result<Plan, Error> {
    Ok(match find(name, global)? {
        Some(path) => config::load(&path, inputs)?,
        None => config::load_text(name.as_ref(), shipped(name), inputs)?,
    })
}

/// Finds out where a pipeline's files go, by its file or its name.
fn locate(name: &str, global: &GlobalArgs, inputs: &Inputs) -> Result<Location, Error> {
    Ok(match find(name, global)? {
        Some(path) => config::locate(&path, inputs)?,
        None => config::locate_text(name.as_ref(), shipped(name), inputs)?,
    })
}

/// What `status` and `verify` look at: where a pipeline's files are, whatever variables are set.
struct Dataset {
    pipeline: Name,
    /// As in the file, and then those that only the destination has.
    streams: Vec<Name>,
    path: DestinationPath,
    /// `None` where there is no such directory.
    inspection: Option<Inspection>,
}

/// Finds what a pipeline has published.
fn dataset(name: &str, args: &DatasetArgs, global: &GlobalArgs) -> Result<Dataset, Error> {
    let inputs = inputs().set(args.set.clone()).unset(Unset::Tolerated);
    let Location { pipeline, mut streams, destination } = locate(name, global, &inputs)?;
    let path = args.output.clone().or(destination);
    let path = path.ok_or_else(|| Error::NoDestination { pipeline: pipeline.clone() })?;
    let inspection = Inspection::open(&path, &pipeline).map_err(Error::Inspect)?;
    if let Some(inspection) = &inspection {
        // A stream that the file no longer has is still there.
        let published = inspection.streams().map_err(Error::Inspect)?;
        let left: Vec<Name> = published.into_iter().filter(|it| !streams.contains(it)).collect();
        streams.extend(left);
    }
    Ok(Dataset { pipeline, streams, path, inspection })
}

/// The file of a pipeline; `None` for one that comes with the program.
fn find(name: &str, global: &GlobalArgs) -> Result<Option<PathBuf>, Error> {
    let as_file = Path::new(name);
    let looks_like_a_file = name.contains(['/', '\\', '.']);
    if as_file.is_file() || looks_like_a_file {
        return Ok(Some(as_file.to_owned()));
    }
    let pipelines = found(&global.pipelines_dir);
    if let Some((_, path)) = pipelines.iter().find(|(it, _)| it == name) {
        return Ok(path.clone());
    }
    let names = pipelines.iter().map(|(it, _)| it.as_str());
    let suggestion = config::suggest(name, names);
    Err(Error::UnknownPipeline { name: name.to_owned(), suggestion })
}

/// The pipelines by name: the files of a directory, and what comes with the program.
fn found(dir: &Path) -> Vec<(String, Option<PathBuf>)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path());
    let is_yaml = |it: &PathBuf| it.extension().is_some_and(|it| it == "yaml" || it == "yml");
    let mut pipelines: Vec<(String, Option<PathBuf>)> = entries
        .filter(is_yaml)
        .filter_map(|it| Some((it.file_stem()?.to_str()?.to_owned(), Some(it))))
        .collect();
    for (name, _) in SHIPPED {
        if !pipelines.iter().any(|(it, _)| it == name) {
            pipelines.push((name.to_owned(), None));
        }
    }
    pipelines.sort();
    pipelines
}

fn shipped(name: &str) -> &'static str {
    SHIPPED.iter().find(|(it, _)| *it == name).map_or("", |(_, text)| text)
}

/// The environment, as far as it is text.
fn inputs() -> Inputs {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Inputs::new(std::env::vars_os().filter_map(text))
}

/// The clock of a run; from here on it is passed as a value.
fn clock(global: &GlobalArgs) -> DateTime<Utc> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the machine's clock is read"
    )]
    let now = Utc::now();
    global.now.unwrap_or(now)
}

/// The runtime for everything that waits.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|err| Error::Internal(format!("cannot start the runtime: {err}")))
}

/// How often the user or the system has said that the program should stop.
struct Stops {
    said: watch::Receiver<u32>,
}

impl Stops {
    /// Hears what is said from the call on, before anybody waits, and for as long as `runtime` lives.
    fn listen(runtime: &tokio::runtime::Runtime) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        let interrupt = signal(SignalKind::interrupt());
        let terminate = signal(SignalKind::terminate());
        let (heard, said) = watch::channel(0);
        if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
            runtime.spawn(async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    heard.send_modify(|it| *it += 1);
                }
            });
        }
        Self { said }
    }

    /// Whether it was said at all.
    fn any(&self) -> bool {
        *self.said.borrow() > 0
    }

    /// Ends when it was said `times` times.
    async fn reached(&self, times: u32) {
        if self.said.clone().wait_for(|it| *it >= times).await.is_err() {
            // Nobody listens, so that nobody will ever say it.
            std::future::pending::<()>().await;
        }
    }
}
