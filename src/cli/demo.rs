//! `demo`: the three simulated APIs, exported for real.

use std::io::Write;

use super::{
    SHIPPED,
    args::{DemoArgs, GlobalArgs},
    export::{self, Exporter},
    report, runtime,
};
use crate::{
    config::{self, Inputs},
    error::Error,
    plan::{ExpectPlan, GuardPlan},
    run::{Refresh, RunOptions},
    sim::{SimOptions, Simulator},
};

/// The demo asks a server in its own process: there is nobody to be polite to.
const PACE: [(&str, &str); 6] = [
    ("CODEARTS_MAX_IN_FLIGHT", "16"),
    ("CODEARTS_REQUESTS_PER_SECOND", "5000"),
    ("JIRA_MAX_IN_FLIGHT", "16"),
    ("JIRA_REQUESTS_PER_SECOND", "5000"),
    ("YANDEX_TRACKER_MAX_IN_FLIGHT", "16"),
    ("YANDEX_TRACKER_REQUESTS_PER_SECOND", "5000"),
];

pub(super) fn demo(
    args: &DemoArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let DemoArgs { output, issues, seed, json } = args;
    let options = SimOptions { seed: *seed, issues: *issues, ..SimOptions::default() };
    let listen = options.listen;
    let simulator = runtime()?
        .block_on(Simulator::start(options))
        .map_err(|source| Error::Listen { address: listen.to_string(), source })?;
    let own = |(name, value): (&str, String)| (name.to_owned(), value);
    let variables = simulator.variables().into_iter().map(own);
    let pace = PACE.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let inputs = Inputs::new(variables.chain(pace));
    let now = simulator.world().now();

    let exporter = Exporter::new(global)?;
    let mut reports = Vec::new();
    for (name, text) in SHIPPED {
        let mut plan = config::load_text(name.as_ref(), text, &inputs)?;
        plan.destination.path.clone_from(output);
        for stream in &mut plan.streams {
            // A demo with other data than the last one replaces it, whatever goes.
            stream.guard = GuardPlan { max_delete_ratio: 1.0, may_be_empty: true, ..stream.guard };
            stream.expect = ExpectPlan::default();
        }
        let options =
            RunOptions { refresh: Refresh::Full, ..RunOptions::new(export::run_id(now), now) };
        reports.push(exporter.export(&plan, &options)?);
    }
    export::print(&reports, *json, global, stdout)?;
    if !*json {
        let dir = output;
        report::line(
            stdout,
            format_args!(
                "
Query it, for example with DuckDB:

  SELECT date, created_by_display, round(sum(duration_seconds) / 3600, 1) AS hours
  FROM read_parquet('{dir}/parquet/yandex_tracker/worklogs/**/*.parquet', hive_partitioning = true)
  GROUP BY ALL ORDER BY date DESC, hours DESC LIMIT 10;"
            ),
        );
    }
    Ok(export::exit_code(&reports))
}
