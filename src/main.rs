//! The `tracklake` binary: arguments in, exit code out.

use std::{env, ffi::OsString, io, process::ExitCode};

use clap::Parser as _;
use tracklake::cli::{self, Args};

fn main() -> ExitCode {
    let mut args = match Args::try_parse() {
        Ok(args) => args,
        Err(err) if err.use_stderr() && wants_json(env::args_os()) => {
            cli::usage(&err.render().to_string());
            return ExitCode::from(2);
        }
        Err(err) => err.exit(),
    };
    args.global.columns = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    let log = args.global.log;
    match cli::run(args, &mut io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            cli::error(log, &err);
            ExitCode::from(err.exit_code())
        }
    }
}

/// Whether `--log json` is on a command line that cannot be read.
fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<OsString> = args.collect();
    args.windows(2).any(|it| it[0] == "--log" && it[1] == "json")
        || args.iter().any(|it| it == "--log=json")
}
