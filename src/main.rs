//! The `tracklake` binary: arguments in, exit code out.

use std::{io, process::ExitCode};

use clap::Parser as _;
use tracklake::cli::{self, Args, report};

fn main() -> ExitCode {
    let mut args = Args::parse();
    args.global.columns = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    match cli::run(args, &mut io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            report::error(&mut io::stderr().lock(), &err);
            ExitCode::from(err.exit_code())
        }
    }
}
