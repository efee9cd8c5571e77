//! Logs on stderr: quiet by default, so that errors and the closing table stand alone.

use std::{
    error::Error as _,
    io::{self, IsTerminal as _},
};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use tracing_subscriber::{EnvFilter, fmt};

use super::{
    args::{GlobalArgs, LogFormat},
    progress::AboveBars,
    report,
};
use crate::{config::ConfigError, error::Error};

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
        LogFormat::Json => {
            std::panic::set_hook(Box::new(|panic| {
                said("ERROR", json!({ "message": panic.to_string() }));
            }));
            logs.json().try_init()
        }
    };
}

/// Says what failed on stderr, as logs are written.
pub fn error(format: LogFormat, err: &Error) {
    match format {
        LogFormat::Text => report::error(&mut io::stderr().lock(), err),
        LogFormat::Json => said("ERROR", fields(err)),
    }
}

/// Says what is wrong with the command line on stderr, where logs are JSON.
pub fn usage(message: &str) {
    said("ERROR", json!({ "message": message.trim_end() }));
}

/// Says on stderr what a person should know, unless nothing but errors is wanted.
pub(super) fn notes(global: &GlobalArgs, notes: impl IntoIterator<Item = String>) {
    if global.quiet {
        return;
    }
    for note in notes {
        match global.log {
            LogFormat::Text => {
                report::line(&mut io::stderr().lock(), format_args!("note: {note}"));
            }
            LogFormat::Json => said("WARN", json!({ "message": note })),
        }
    }
}

/// What the text of an error has in lines: `message`, `problems` of a file, `causes`, `hint`.
fn fields(err: &Error) -> Value {
    let mut fields = json!({ "message": err.to_string() });
    if let Error::Config(ConfigError::Invalid { path, problems, text: _ }) = err {
        let place = |it: &crate::config::Problem| {
            format!("{}:{}:{}: {it}", path.display(), it.place.line, it.place.column)
        };
        fields["problems"] = problems.iter().map(place).collect();
    }
    if let Error::TooManyRejected { first, .. } = err {
        fields["first"] = json!(first);
    }
    let mut causes = Vec::new();
    let mut cause = err.source();
    while let Some(source) = cause {
        causes.push(source.to_string());
        cause = source.source();
    }
    if !causes.is_empty() {
        fields["causes"] = json!(causes);
    }
    if let Some(hint) = err.hint() {
        fields["hint"] = json!(hint);
    }
    fields
}

/// Writes a line as the JSON logs have it, whatever `RUST_LOG` leaves out.
#[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
fn said(level: &str, fields: Value) {
    #[expect(clippy::disallowed_methods, reason = "logs say when something was said")]
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let object =
        json!({ "timestamp": now, "level": level, "fields": fields, "target": "tracklake" });
    report::raw(&mut io::stderr().lock(), &object);
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
