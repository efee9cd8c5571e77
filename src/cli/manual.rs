//! `completions` and `man`: what shells and `man` know of the command line.

use std::io::{ErrorKind, Write};

use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::args::{CompletionsArgs, ManArgs, ShellArg, description};
use crate::error::Error;

pub(super) fn completions(args: &CompletionsArgs, stdout: &mut dyn Write) -> Result<u8, Error> {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    generate(shell, &mut description(), "tracklake", &mut text);
    print(&text, stdout)
}

pub(super) fn man(args: &ManArgs, stdout: &mut dyn Write) -> Result<u8, Error> {
    let mut described = description();
    // Names such as `tracklake-run`, and the options of every command.
    described.build();
    let described = match &args.command {
        None => described,
        Some(name) => {
            let found = described.get_subcommands().find(|it| it.get_name() == name);
            found.cloned().ok_or_else(|| Error::Internal(format!("no command `{name}`")))?
        }
    };
    let mut text = Vec::new();
    Man::new(described).render(&mut text).map_err(Error::Output)?;
    print(with_examples(&String::from_utf8_lossy(&text)).as_bytes(), stdout)
}

/// A page whose examples have a heading of their own and stay line by line.
///
/// What stands at the end of `--help` is `EXTRA` to the generator, and a paragraph.
fn with_examples(page: &str) -> String {
    const GENERATED: &str = ".SH EXTRA\nExamples:\n";
    let Some((before, rest)) = page.split_once(GENERATED) else { return page.to_owned() };
    let (examples, after) = rest.split_once("\n.SH ").unwrap_or((rest, ""));
    let examples: Vec<&str> = examples.lines().map(str::trim).collect();
    let after = if after.is_empty() { String::new() } else { format!("\n.SH {after}") };
    format!("{before}.SH EXAMPLES\n.nf\n{}\n.fi{after}", examples.join("\n"))
}

/// Prints a text whole; a reader that has gone is not an error of ours.
fn print(text: &[u8], stdout: &mut dyn Write) -> Result<u8, Error> {
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => Err(Error::Output(err)),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use clap_complete::Generator as _;

    use super::*;
    use crate::cli::args::ManArgs;

    /// The manual page of a command.
    fn page(command: Option<&str>) -> String {
        let mut out = Vec::new();
        man(&ManArgs { command: command.map(str::to_owned) }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_manual_page_has_the_options_and_the_examples_line_by_line() {
        let page = page(Some("run"));

        assert!(
            page.contains("\n.SH NAME\ntracklake\\-run \\- Export pipelines to files\n"),
            "{page}"
        );
        assert!(page.contains("\\-\\-metrics\\-file"), "{page}");
        assert!(page.contains("\n.SH EXAMPLES\n.nf\ntracklake run yandex_tracker\n"), "{page}");
        assert!(!page.contains("EXTRA"), "{page}");
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let described = description();
        for command in described.get_subcommands().map(clap::Command::get_name) {
            let escaped = command.replace('-', "\\-");
            assert!(page(Some(command)).contains(&format!("tracklake\\-{escaped}")), "{command}");
        }
        assert!(page(None).contains(".SH SUBCOMMANDS"));
    }

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in [ShellArg::Bash, ShellArg::Zsh, ShellArg::Fish] {
            let mut out = Vec::new();
            completions(&CompletionsArgs { shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            for word in ["metrics-file", "simulate", "parquet"] {
                assert!(script.contains(word), "{shell:?} does not know {word}");
            }
        }
        assert_eq!(Shell::Zsh.file_name("tracklake"), "_tracklake", "as the example has it");
    }
}
