//! A request for each of many parents, to a server that takes its time.

use std::{fmt::Write as _, path::Path};

use crate::{
    pipelines,
    process::{self, Used},
    server::{Server, World},
};

const ISSUES: u32 = 2_000;
const LATENCY_MS: u32 = 20;
const IN_FLIGHT: u32 = 32;

/// Measures the run beside the time that the latency alone takes.
pub(crate) fn table(rounds: usize, binary: &Path) -> String {
    let server = Server::start(&World {
        issues: ISSUES.into(),
        latency_ms: LATENCY_MS.into(),
        ..World::default()
    });
    let measured: Vec<Used> = (0..rounds)
        .map(|_| {
            let dir = tempfile::tempdir().unwrap();
            let pipeline = pipelines::fan_out(IN_FLIGHT);
            process::run(&mut process::tracklake(binary, &pipeline, &server.url, dir.path()))
        })
        .collect();
    let Used { seconds, peak } = Used::median(&measured);
    let least = f64::from(ISSUES) / f64::from(IN_FLIGHT) * f64::from(LATENCY_MS) / 1_000.0;
    let mut text = format!(
        "{ISSUES} parents at {LATENCY_MS} ms latency, {IN_FLIGHT} in flight, 10 records each, one file a day; median of\n\
         {rounds} runs of the release binary, from its start to its end.\n\n\
         | fan-out | wall s | of the latency's own | target | CPU s | peak memory, MB |\n|---|---:|---:|---:|---:|---:|\n"
    );
    writeln!(
        text,
        "| latency alone | {least:.2} | 1.00 x | | | |\n\
         | tracklake run | {:.2} | {:.2} x | 1.30 x | {:.2} | {} |",
        seconds.wall,
        seconds.wall / least,
        seconds.cpu,
        peak / 1_000_000
    )
    .unwrap();
    text
}
