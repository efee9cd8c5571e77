//! The `tracklake` binary: arguments in, exit code out.

use std::{io, process::ExitCode};

use clap::Parser as _;
use tracklake::cli::{self, Args, report};

fn main() -> ExitCode {
    match cli::run(Args::parse(), &mut io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            report::error(&mut io::stderr().lock(), &err);
            ExitCode::from(err.exit_code())
        }
    }
}
