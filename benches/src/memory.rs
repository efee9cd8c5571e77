//! How much memory a run needs at its peak, by records, partitions and parents.

use std::{fmt::Write as _, path::Path};

use crate::{
    pipelines,
    process::{self, Used},
    server::{Server, World},
};

/// Runs once for each size: a peak of memory is not a matter of medians.
pub(crate) fn table(most_records: u64, binary: &Path) -> String {
    let mut text = String::from(
        "One run of the release binary each, with its default of `--memory-mb`; the target is 160 MB.\n\n\
         | memory | records | partitions | parents | peak memory, MB | CPU s | wall s |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    let measure = |world: World, pipeline: &str| {
        let server = Server::start(&World { rendered: 100, ..world });
        let dir = tempfile::tempdir().unwrap();
        process::run(&mut process::tracklake(binary, pipeline, &server.url, dir.path()))
    };
    let mut line = |name: &str, records: u64, days: i64, issues: u64, used: Used| {
        let Used { seconds, peak } = used;
        let issues = if issues == 0 { String::new() } else { issues.to_string() };
        let (cpu, wall, peak) = (seconds.cpu, seconds.wall, peak / 1_000_000);
        writeln!(
            text,
            "| {name} | {records} | {days} | {issues} | {peak} | {cpu:.1} | {wall:.1} |"
        )
        .unwrap();
    };
    for records in [100_000, 1_000_000, 10_000_000].into_iter().filter(|it| *it <= most_records) {
        for days in [1, 1_000] {
            let world = World { records, days, shards: 8, ..World::default() };
            line("pages", records, days, 0, measure(world, &pipelines::worklogs(8)));
        }
    }
    for issues in [1_000, 100_000] {
        let world = World { issues, worklogs: 5, ..World::default() };
        line("fan-out", issues * 5, 30, issues, measure(world, &pipelines::fan_out(32)));
    }
    text
}
