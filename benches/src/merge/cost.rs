//! What a process has used, as Linux counts it.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::Instant;

use tracklake::load::Published;

/// What a case has used.
#[derive(Debug)]
pub(crate) struct Cost {
    rewritten: usize,
    partitions: u64,
    table: u64,
    read: u64,
    written: u64,
    wall: f64,
    cpu: f64,
    peak: u64,
}

impl Cost {
    pub(crate) const HEAD: &str = "\
| rows | ids | case | partitions rewritten | table, MB | read, MB | written, MB | seconds | CPU seconds | peak memory, MB |
|---:|---|---|---:|---:|---:|---:|---:|---:|---:|";

    /// The cells of a line of the table after the first three.
    pub(crate) fn line(&self) -> String {
        let Self { rewritten, partitions, table, read, written, wall, cpu, peak } = self;
        let mb = |bytes: &u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
        format!(
            "| {rewritten} of {partitions} | {} | {} | {} | {wall:.1} | {cpu:.1} | {} |",
            mb(table),
            mb(read),
            mb(written),
            mb(peak)
        )
    }
}

/// What the process had used when a case began.
#[derive(Debug)]
pub(crate) struct Meter {
    read: u64,
    written: u64,
    cpu: f64,
    started: Instant,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let (read, written) = transferred();
        Self { read, written, cpu: cpu_seconds(), started: Instant::now() }
    }

    pub(crate) fn stop(self, published: &Published, output: &Path) -> Cost {
        let (read, written) = transferred();
        Cost {
            rewritten: published.changed.len(),
            partitions: published.partitions,
            read: read - self.read,
            written: written - self.written,
            wall: self.started.elapsed().as_secs_f64(),
            cpu: cpu_seconds() - self.cpu,
            peak: number(&read_text("/proc/self/status"), "VmHWM:") * 1024,
            table: size(&output.join("parquet")),
        }
    }
}

/// Bytes that the process has read and written, from wherever they came.
fn transferred() -> (u64, u64) {
    let io = read_text("/proc/self/io");
    (number(&io, "rchar:"), number(&io, "wchar:"))
}

/// Of all threads, in the program and in the kernel for it; a tick is a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = read_text("/proc/self/stat");
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let ticks: u32 =
        after_name.split(' ').skip(11).take(2).map(|it| it.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

/// The number after a name.
fn number(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|it| it.strip_prefix(name)).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

fn read_text(path: impl AsRef<Path> + Display) -> String {
    fs::read_to_string(&path).unwrap_or_default()
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|it| if it.path().is_dir() { size(&it.path()) } else { it.metadata().unwrap().len() })
        .sum()
}
