//! Measurements, each side by side with what it is compared with.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --target-dir target -- all
//!
//! decode     pages -> columns           beside bare parsers and serde_json::Value with builders
//! encode     columns -> files           beside parquet's own writer
//! whole-run  HTTP -> partitioned files  beside DuckDB and Polars, which read the pages from disk
//! fan-out    a request a parent         beside the time that the latency alone takes
//! memory     peaks                      by records, partitions and parents
//! merge      a night's changes          into large tables
//! ```
//!
//! Each prints its table; with `--write` it goes into `benches/README.md`, with the date, the commit
//! and the machine. `all` does so with every one of them, each in a process of its own.
//!
//! This crate is a workspace of its own, so that the parsers it compares with never enter the
//! dependencies of tracklake. Other jobs may run meanwhile: every comparison is made of interleaved
//! rounds, and counts CPU time first.

#![expect(clippy::unwrap_used, reason = "a measurement that fails reports by panicking")]

mod clock;
mod pages;
mod pipelines;
mod decode;
mod peers;
mod encode;
mod server;
mod process;
mod whole;
mod fan_out;
mod memory;
mod merge;

use std::{env, fs, path::PathBuf, process::Command};

use clap::{Parser, Subcommand};

use process::ROOT;

/// Measures tracklake against what it is compared with.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Put the table into benches/README.md.
    #[arg(long, global = true)]
    write: bool,
    /// An interpreter that has duckdb 2.0.0 and polars 2.1.0.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python"))]
    python: String,
    /// Measure this program, instead of the one that `cargo build --release` gives.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All of the following, each into benches/README.md.
    All,
    /// Pages to columns, against bare parsers and against `serde_json::Value` with builders.
    Decode {
        /// Pages of 1 000 records.
        #[arg(long, default_value_t = 80)]
        pages: u64,
        /// Interleaved rounds, of which the median counts.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Only cases whose name has this in it, for a profiler.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Columns to partitioned Parquet, against parquet's own writer.
    Encode {
        /// Batches of 1 000 rows.
        #[arg(long, default_value_t = 300)]
        pages: u64,
        /// Interleaved rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// HTTP to partitioned Parquet, against DuckDB and Polars.
    WholeRun {
        /// Records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Interleaved rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// A request for each of 2 000 parents.
    FanOut {
        /// Runs, of which the median counts.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Peaks of memory.
    Memory {
        /// Leaves out what has more records.
        #[arg(long, default_value_t = 10_000_000)]
        most_records: u64,
    },
    /// A night's changes merged into a large table.
    Merge(merge::Args),
    /// Serves pages, for the other measurements.
    #[command(hide = true)]
    Serve(server::World),
}

fn main() {
    let Args { what, write, python, binary } = Args::parse();
    let binary = || binary.unwrap_or_else(process::build);
    let (section, text) = match what {
        What::All => return all(&python),
        What::Serve(world) => return server::serve(world),
        What::Merge(merge::Args { case: Some(case), output: Some(output), rows, ids }) => {
            return merge::case(case, &output, rows[0], ids);
        }
        What::Decode { pages, rounds, only } => ("decode", decode::table(pages, rounds, &only)),
        What::Encode { pages, rounds } => ("encode", encode::table(pages, rounds)),
        What::WholeRun { records, rounds } => {
            ("whole-run", whole::table(records, rounds, &binary(), &python))
        }
        What::FanOut { rounds } => ("fan-out", fan_out::table(rounds, &binary())),
        What::Memory { most_records } => ("memory", memory::table(most_records, &binary())),
        What::Merge(args) => ("merge", merge::table(&args)),
    };
    let text = format!("{}.\n{text}", clock::machine());
    println!("{text}");
    if write {
        write_section(section, &text);
    }
}

/// In processes of their own, so that none has the memory of the one before.
fn all(python: &str) {
    for what in ["decode", "encode", "whole-run", "fan-out", "memory", "merge"] {
        let mut command = Command::new(env::current_exe().unwrap());
        let ended = command.args([what, "--write", "--python", python]).status().unwrap();
        assert!(ended.success(), "{what}: {ended}");
    }
}

/// Puts a text between the two comments that enclose its section.
fn write_section(name: &str, text: &str) {
    let path = format!("{ROOT}/benches/README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = readme.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a file that is under version control")]
    fs::write(path, format!("{before}{begin}{text}{end}{after}")).unwrap();
}
