//! Runs a shipped pipeline against a simulator.

use std::path::Path;
use std::process::{Command, Output};

use tracklake::sim::Simulator;

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Exported {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The report as one JSON object.
    pub(crate) stdout: String,
    /// Logs and problems.
    pub(crate) stderr: String,
}

impl Exported {
    pub(crate) fn of(ended: &Output) -> Self {
        Self {
            code: ended.status.code(),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        }
    }
}

/// A run of all streams of `pipelines/<pipeline>`, or of a file elsewhere, into `output`, at the world's own
/// time, ready to start.
///
/// `extra` is set after, and so instead of, what the simulator names.
pub(crate) fn command(
    simulator: &Simulator,
    pipeline: &str,
    output: &Path,
    extra: &[(&str, &str)],
) -> Command {
    // The one place that knows how a run is started: the binary, as people start it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("run")
        .arg(Path::new("pipelines").join(pipeline))
        .args(["--json", "--output"])
        .arg(output)
        .env_clear()
        .env("TRACKLAKE_NOW", simulator.world().now().to_rfc3339())
        .envs(simulator.variables());
    for system in ["YANDEX_TRACKER", "JIRA", "CODEARTS"] {
        command.env(format!("{system}_REQUESTS_PER_SECOND"), "5000");
        command.env(format!("{system}_MAX_IN_FLIGHT"), "8");
    }
    // What tests add to the command line travels with the variables.
    for (name, value) in extra {
        if *name == "TRACKLAKE_TEST_ARGS" {
            command.args(value.split_whitespace());
        }
    }
    command.envs(extra.iter().copied());
    command
}

/// Runs [`command`] to its end.
#[track_caller]
#[expect(clippy::panic, reason = "a helper of tests reports by panicking")]
pub(crate) fn export(
    simulator: &Simulator,
    pipeline: &str,
    output: &Path,
    extra: &[(&str, &str)],
) -> Exported {
    let ended = command(simulator, pipeline, output, extra).output();
    Exported::of(&ended.unwrap_or_else(|err| panic!("the program did not start: {err}")))
}
