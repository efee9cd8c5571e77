//! `simulate`: the simulated APIs as a server, for trying pipelines against.

use std::io::Write;

use super::{
    Stops,
    args::{GlobalArgs, SimulateArgs},
    clock, report, runtime,
};
use crate::{
    error::Error,
    sim::{SimOptions, Simulator},
};

pub(super) fn simulate(
    args: &SimulateArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let SimulateArgs { listen, issues, seed, today, faults, page_cap } = args;
    let today = today.unwrap_or_else(|| clock(global).date_naive());
    let faults =
        faults.as_ref().map(|text| serde_json::from_str(text)).transpose().map_err(|_| {
            Error::Argument {
                option: "--faults",
                value: faults.clone().unwrap_or_default(),
                expected: "a JSON object of faults, such as `{\"latency_ms\": 20}`",
            }
        })?;
    let options = SimOptions {
        seed: *seed,
        issues: *issues,
        today,
        listen: *listen,
        page_cap: *page_cap,
        ..SimOptions::default()
    };
    let runtime = runtime()?;
    let stops = Stops::listen(&runtime);
    runtime.block_on(async {
        let simulator = Simulator::start(options)
            .await
            .map_err(|source| Error::Listen { address: listen.to_string(), source })?;
        if let Some(faults) = faults {
            simulator.set_faults(faults);
        }
        // Lines that a shell can evaluate; everything after them is a comment.
        for (name, value) in simulator.variables() {
            report::line(stdout, format_args!("export {name}='{value}'"));
        }
        report::line(
            stdout,
            format_args!(
                "# serving until interrupted; POST {}/_sim/next_day moves the data on",
                format_args!("http://{}", simulator.address())
            ),
        );
        let _ = stdout.flush();
        stops.reached(1).await;
        simulator.stop().await;
        Ok(0)
    })
}
