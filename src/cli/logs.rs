//! Logs on stderr: quiet by default, so that errors and the closing table stand alone.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

use super::{
    args::{GlobalArgs, LogFormat},
    progress::AboveBars,
};

/// Whether an environment variable has a value; an empty one counts as not set.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|it| !it.is_empty())
}

/// Starts logging. `RUST_LOG` overrides the level.
pub(super) fn start(global: &GlobalArgs) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "tracklake=warn,error",
        (false, 1) => "tracklake=info,warn",
        (false, 2) => "tracklake=debug,info",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colors = std::io::stderr().is_terminal() && !is_set("NO_COLOR");
    let logs = fmt().with_env_filter(filter).with_writer(|| AboveBars).with_ansi(colors);
    // A second start, as in tests that run several commands, keeps the first.
    let _ = match global.log {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_can_have_colors() {
        // Without the feature `ansi` of its crate this panics, and every run on a terminal did.
        let _ = fmt().with_ansi(true).finish();
    }
}
