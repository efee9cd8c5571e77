//! What it costs to merge a night's changes into a large table.
//!
//! ```text
//! merge                  tables of 1 000 000 and 10 000 000 rows
//! merge --rows 100000    another size, which may come more than once
//!
//! main ─ each table ┬─ child process: build       rows into 1 000 partitions
//!                   ├─ child process: unchanged   1 000 issues all over the table, as they stand
//!                   ├─ child process: recent      the last 1 000 issues, edited
//!                   └─ child process: scattered   1 000 issues all over the table, edited
//! ```
//!
//! Each case has a process of its own, so that its peak of memory is its own. The ids of issues start
//! with their time, as those of most trackers do, and are random once more for the largest table:
//! then no statistics tell where an issue is. The table is a stream of worklogs by issue, as
//! `pipelines/yandex_tracker.yaml` has it: `replace: slice`, partitioned by the day of work.

mod cost;
mod table;

use std::{
    env,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::ValueEnum;

use cost::Cost;
use table::{Ids, Table};

/// What it costs to merge a night's changes into a large table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rows of a table.
    #[arg(long, default_values_t = [1_000_000, 10_000_000])]
    pub(crate) rows: Vec<i64>,
    /// Only with such ids.
    #[arg(long, hide = true, default_value = "ordered")]
    pub(crate) ids: Ids,
    /// Only this case, on the table that stands at `--output`.
    #[arg(long, hide = true, requires = "output")]
    pub(crate) case: Option<Case>,
    /// Where the table of the case stands.
    #[arg(long, hide = true)]
    pub(crate) output: Option<PathBuf>,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// All rows of the table.
    Build,
    /// 1 000 issues all over the table, as they stand.
    Unchanged,
    /// The last 1 000 issues, each with a row edited and a row added.
    Recent,
    /// 1 000 issues all over the table, each with a row edited and a row added.
    Scattered,
}

/// Measures every case in a process of its own.
pub(crate) fn table(args: &Args) -> String {
    let mut text = format!("\n{}\n", Cost::HEAD);
    let largest = args.rows.iter().max().map(|it| (*it, Ids::Random));
    let tables = args.rows.iter().map(|it| (*it, Ids::Ordered)).chain(largest);
    for (rows, ids) in tables {
        let output = tempfile::tempdir().unwrap();
        for case in Case::value_variants() {
            let cost = run(*case, rows, ids, output.path());
            writeln!(text, "| {rows} | {} | {} {cost}", name(&ids), name(case)).unwrap();
        }
    }
    text
}

/// Measures one case on the table that stands at `output`, and prints the rest of its line.
pub(crate) fn case(case: Case, output: &Path, rows: i64, ids: Ids) {
    let cost = measure(case, &Table::new(output, rows, ids));
    println!("{}", cost.line());
}

/// A case in a process of its own.
fn run(case: Case, rows: i64, ids: Ids, output: &Path) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "merge",
        "--case",
        &name(&case),
        "--ids",
        &name(&ids),
        "--rows",
        &rows.to_string(),
    ]);
    command.arg("--output").arg(output);
    let ended = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(ended.status.success(), "{case:?}: {}", ended.status);
    String::from_utf8(ended.stdout).unwrap().trim_end().to_owned()
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

fn measure(case: Case, table: &Table) -> Cost {
    let issues = table.issues();
    let spread = (0..1_000).map(|it| it * issues / 1_000);
    match case {
        Case::Build => table.write((0..issues).map(|it| table.issue(it)), table::Mode::First),
        Case::Unchanged => table.write(spread.map(|it| table.issue(it)), table::Mode::Slices),
        Case::Scattered => table.write(spread.map(|it| table.edited(it)), table::Mode::Slices),
        Case::Recent => {
            let last = issues - 1_000..issues;
            table.write(last.map(|it| table.edited(it)), table::Mode::Slices)
        }
    }
}
