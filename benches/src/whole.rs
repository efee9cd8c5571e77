//! A whole run: pages from a server to Parquet, partitioned by 400 days, beside DuckDB and Polars,
//! which read the same pages from files.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    pages::{self, DAYS, RECORDS},
    pipelines,
    process::{self, ROOT, Used},
    server::{Encoding, Server, World},
};

/// Parts of the worklogs that are asked for at once.
const SHARDS: u64 = 8;
const ONE: &str = "tracklake run, from HTTP, one slice";
const EIGHT: &str = "tracklake run, from HTTP, 8 slices";
const DUCK: &str = "DuckDB 2.0.0, from files";
const POLARS: &str = "Polars 2.1.0, from files";
const GZIP: &str = "tracklake run, from HTTP, 8 slices in gzip";
const ZSTD: &str = "tracklake run, from HTTP, 8 slices in zstd";

/// Runs all of them in interleaved rounds and compares what they have written.
pub(crate) fn table(records: u64, rounds: usize, binary: &Path, python: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("pages");
    write_pages(&pages, records);
    let world =
        World { records, days: DAYS, rendered: records.div_ceil(RECORDS), ..World::default() };
    let whole = Server::start(&World { shards: 1, ..world });
    let world = World { shards: SHARDS, ..world };
    let sharded = Server::start(&world);
    let gzip = Server::start(&World { encoding: Encoding::Gzip, ..world });
    let zstd = Server::start(&World { encoding: Encoding::Zstd, ..world });

    let output = |name: &str| dir.path().join(name);
    let ours = |server: &Server, shards: u64, to: &Path| {
        process::run(&mut process::tracklake(binary, &pipelines::worklogs(shards), &server.url, to))
    };
    let peer = |script: &str, to: &Path| {
        process::run(Command::new(python).arg(script_path(script)).arg(&pages).arg(to))
    };
    let mut measured: Vec<(&str, Vec<Used>)> =
        [ONE, EIGHT, DUCK, POLARS, GZIP, ZSTD].map(|it| (it, Vec::new())).into();
    let mut sizes = Vec::new();
    for round in 0..rounds {
        let outputs = ["one", "eight", "duckdb", "polars", "gzip", "zstd"].map(output);
        let [one, eight, duck, polars, gzipped, zstded] = &outputs;
        measured[0].1.push(ours(&whole, 1, one));
        measured[1].1.push(ours(&sharded, SHARDS, eight));
        measured[2].1.push(peer("duckdb_peer.py", duck));
        measured[3].1.push(peer("polars_peer.py", polars));
        measured[4].1.push(ours(&gzip, SHARDS, gzipped));
        measured[5].1.push(ours(&zstd, SHARDS, zstded));
        if round == 0 {
            for other in [eight, duck, polars, gzipped, zstded] {
                same_rows(python, &one.join("output/parquet"), other);
            }
            sizes = outputs.iter().map(|it| parquet_bytes(it)).collect();
        }
        for output in &outputs {
            fs::remove_dir_all(output).unwrap();
        }
    }
    let medians: Vec<(&str, Used)> =
        measured.iter().map(|(name, rounds)| (*name, Used::median(rounds))).collect();
    report(&medians, &sizes, records, rounds)
}

fn write_pages(dir: &Path, records: u64) {
    fs::create_dir(dir).unwrap();
    for number in 0..records.div_ceil(RECORDS) {
        #[expect(clippy::disallowed_methods, reason = "files of the measurement's own")]
        fs::write(dir.join(format!("page-{number:05}.json")), pages::page(number, DAYS)).unwrap();
    }
}

fn script_path(name: &str) -> String {
    format!("{ROOT}/benches/peers/{name}")
}

/// Fails where a row or a value differs.
fn same_rows(python: &str, first: &Path, second: &Path) {
    let mut compare = Command::new(python);
    compare.arg(script_path("compare.py")).args([first, second]).stdout(Stdio::null());
    assert!(compare.status().unwrap().success(), "{} differs", second.display());
}

/// The bytes of the Parquet files under a directory.
fn parquet_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let size = |it: std::path::PathBuf| {
        if it.is_dir() {
            parquet_bytes(&it)
        } else if it.extension().is_some_and(|it| it == "parquet") {
            it.metadata().unwrap().len()
        } else {
            0
        }
    };
    entries.map(size).sum()
}

#[expect(clippy::cast_precision_loss, reason = "figures of four digits")]
fn report(measured: &[(&str, Used)], sizes: &[u64], records: u64, rounds: usize) -> String {
    let ours = measured[0].1.seconds;
    let mut text = format!(
        "{records} records to Parquet (zstd 1), partitioned by {DAYS} random days; median of {rounds} interleaved\n\
         rounds; all rows and columns compared equal.\n\n\
         | whole run | CPU s | wall s | peak memory, MB | files, MB | CPU of the first line's | wall of it |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    for ((name, used), size) in measured.iter().zip(sizes) {
        let Used { seconds, peak } = used;
        writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {} | {} | {:.2} x | {:.2} x |",
            seconds.cpu,
            seconds.wall,
            peak / 1_000_000,
            size / 1_000_000,
            seconds.cpu / ours.cpu,
            seconds.wall / ours.wall,
        )
        .unwrap();
    }
    let cpu = |at: usize| measured[at].1.seconds.cpu;
    let wall = |at: usize| measured[at].1.seconds.wall;
    let microseconds = |at: usize| cpu(at) * 1e6 / records as f64;
    write!(
        text,
        "\n| ratio | target | one slice | 8 slices |\n|---|---:|---:|---:|\n\
         | CPU seconds of DuckDB's | 0.50 | {:.2} | {:.2} |\n\
         | wall seconds of DuckDB's | 0.50 | {:.2} | {:.2} |\n\
         | CPU seconds of Polars' | | {:.2} | {:.2} |\n\
         | peak memory, MB | 160 | {} | {} |\n\
         | CPU a record, µs | | {:.1} | {:.1} |\n",
        cpu(0) / cpu(2),
        cpu(1) / cpu(2),
        wall(0) / wall(2),
        wall(1) / wall(2),
        cpu(0) / cpu(3),
        cpu(1) / cpu(3),
        measured[0].1.peak / 1_000_000,
        measured[1].1.peak / 1_000_000,
        microseconds(0),
        microseconds(1),
    )
    .unwrap();
    text
}
