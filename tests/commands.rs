//! Every command line that the code or the README mentions is one that the program accepts, and
//! what people see when they type one is written down in `tests/cases`.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use tracklake::cli::Args;

/// How a command line begins where it is mentioned.
const STARTS: [&str; 3] = ["tracklake ", "cargo run --release -- ", "cargo run -- "];

#[test]
fn every_mentioned_command_exists() {
    let mut places: Vec<PathBuf> = ["README.md", "CHANGELOG.md"].map(PathBuf::from).into();
    places.extend(fs::read_dir("docs").unwrap().map(|it| it.unwrap().path()));
    rust_files(Path::new("src"), &mut places);
    let mut n_readme = 0;

    for place in places {
        let text = fs::read_to_string(&place).unwrap();
        for command in mentioned(&text) {
            n_readme += usize::from(place.ends_with("README.md"));
            let words = command.split_whitespace().map(|it| it.trim_matches(['\'', '"']));
            // A command that is only named has its arguments elsewhere.
            let help = (!command.contains(' ')).then_some("--help");
            let words = std::iter::once("tracklake").chain(words).chain(help);
            if let Err(err) = Args::try_parse_from(words)
                && err.use_stderr()
            {
                panic!("{} mentions `{command}`, which does not parse:\n{err}", place.display());
            }
        }
    }

    assert!(n_readme > 10, "README.md mentions only {n_readme} commands: are they still found?");
}

#[test]
fn commands_are_found_in_text_and_in_blocks() {
    let text = "see `tracklake list` and `tracklake`\n```sh\nX=1 tracklake run a  # why\n\
                tracklake check a \\\n  --allow-unset\ncargo run --release -- demo > out\n```\n";

    let found: Vec<String> = mentioned(text).collect();

    assert_eq!(found, ["list", "run a", "check a --allow-unset", "demo"]);
}

/// To accept a change of what people see: `TRYCMD=overwrite cargo test --test commands`.
#[test]
fn cases() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .env("TRACKLAKE_NOW", "2024-07-25T12:00:00Z")
        .case("tests/cases/*.trycmd");
}

/// The arguments of each command line between backticks, and of each line of a block of code.
fn mentioned(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let candidates: Vec<&str> = if in_block {
            vec![line.trim_start_matches("$ ")]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for candidate in candidates {
            let Some(command) = STARTS.iter().find_map(|it| after(candidate, it)) else { continue };
            let end = [" #", " |", " >", " &"].iter().filter_map(|it| command.find(it)).min();
            let command = &command[..end.unwrap_or(command.len())];
            found.push(command.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    found.into_iter()
}

/// What follows the start of a command, before which only variables may be set.
fn after<'a>(candidate: &'a str, start: &str) -> Option<&'a str> {
    let (before, command) = candidate.split_once(start)?;
    before.split_whitespace().all(|it| it.contains('=')).then_some(command)
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}
