//! Kills the program again and again, lets the next run finish, and looks at what is there.
//!
//! ```text
//! cargo build --release
//! cargo run --example kill -- --kills 200 --seed 1 --duckdb venv/bin/python
//!
//! each pipeline ─ each day ─ each trial:   copy of yesterday's output
//!                                            │ run, SIGKILL   at random, or when a file appears
//!                                            │ (perhaps again)
//!                                            │ run to its end
//!                                            ▼
//!                                          tables as expected, nothing left over
//!                  meanwhile two readers    list the Parquet files of a stream and read them, again
//!                                           and again: the parquet crate, and DuckDB
//! ```
//!
//! It ends with 1 if anything is lost, doubled, torn or left over.

#![expect(clippy::unwrap_used, reason = "a check reports by panicking")]

mod support;
#[path = "../../tests/end_to_end/expected/mod.rs"]
mod expected;
#[path = "../../tests/end_to_end/tables.rs"]
mod tables;
mod reader;
mod duck;
mod tree;
mod trial;

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracklake::sim::{SimOptions, Simulator};

use duck::Duck;
use tables::{first_day, next_stands, tables};
use trial::{Moment, Site, Summary};

const PIPELINES: [&str; 3] = ["yandex_tracker", "jira_timesheet", "codearts_req"];
const DAYS: u32 = 4;

/// Kills the program again and again and looks at what is there.
#[derive(Debug, Parser)]
struct Args {
    /// How often to kill it.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Decides when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program.
    #[arg(long, default_value = "target/release/tracklake")]
    binary: PathBuf,
    /// A Python that has DuckDB, which then reads, too.
    #[arg(long, value_name = "PYTHON")]
    duckdb: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut dice = fastrand::Rng::with_seed(args.seed);
    let mut summary = Summary::default();
    let duck = args.duckdb.as_deref().map(|it| RefCell::new(Duck::start(it)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rounds = DAYS * u32::try_from(PIPELINES.len()).unwrap_or(1);
    for (at, pipeline) in (0..).zip(PIPELINES) {
        let options = SimOptions { issues: 16, seed: args.seed, ..SimOptions::default() };
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        let first = first_day(&simulator);
        let mut stands = tables(&simulator, pipeline, first);
        let mut yesterday = tempfile::tempdir().unwrap();
        for day in 0..DAYS {
            if day > 0 {
                simulator.next_day();
                stands = next_stands(&simulator, pipeline, first, &stands);
            }
            let site = Site {
                binary: args.binary.canonicalize().unwrap(),
                simulator: &simulator,
                pipeline,
                first,
                expected: &stands,
                duck: duck.as_ref(),
            };
            let quiet = site.undisturbed(yesterday.path(), &mut summary);
            // Rounding down now is made up for by the rounds to come.
            let wanted = args.kills * (at * DAYS + day + 1) / rounds;
            let mut trials = 0;
            while summary.kills() < wanted && trials < 5 * args.kills {
                let moment = dice.choice(Moment::ALL).unwrap();
                let again = dice.u8(..3) == 0;
                site.trial(yesterday.path(), quiet.took, moment, again, &mut dice, &mut summary);
                trials += 1;
            }
            yesterday = quiet.output;
            let mut err = std::io::stderr();
            let _ = writeln!(err, "{pipeline}, day {}: {summary}", day + 1);
        }
    }
    let _ = writeln!(std::io::stdout(), "{summary}");
    for violation in &summary.violations {
        let _ = writeln!(std::io::stderr(), "{violation}");
    }
    if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
