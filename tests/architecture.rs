//! Who may name whom: the modules of the crate among each other, and the external crates.
//!
//! The code is read as tokens, without comments and literals, and without its tests, which may
//! name what they like.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Module, then the modules it may name. `main` and the crate page are not in the table.
const ALLOWED: &[(&str, &[&str])] = &[
    ("plan", &[]),
    ("config", &["plan"]),
    ("extract", &["plan"]),
    ("transform", &["plan"]),
    ("load", &["plan"]),
    ("state", &["plan"]),
    ("run", &["error", "extract", "load", "plan", "state", "transform"]),
    ("error", &["config", "extract", "infer", "load", "plan", "state", "transform"]),
    ("infer", &["plan", "transform"]),
    ("sim", &[]),
    ("sql", &["plan"]),
    (
        "cli",
        &[
            "config",
            "error",
            "extract",
            "infer",
            "load",
            "plan",
            "run",
            "sim",
            "sql",
            "state",
            "transform",
        ],
    ),
];

/// How a path begins, the only places (files or directories) that may name it, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("reqwest::", &["extract/send.rs"], "one file knows the HTTP client"),
    (
        "aws_lc_rs::",
        &["extract/auth/yandex_iam.rs", "sim/iam.rs"],
        "one file signs with RSA, and one checks that",
    ),
    ("clap::", &["cli/args", "main.rs"], "one module knows how the command line is typed"),
    ("clap_complete::", &["cli/manual.rs"], "one file describes the command line to others"),
    ("clap_mangen::", &["cli/manual.rs"], "one file describes the command line to others"),
    ("terminal_size::", &["main.rs"], "stdout is an argument, and so is its width"),
    ("serde_saphyr::", &["config/node.rs"], "one file knows the YAML reader"),
    ("minijinja::", &["plan/template.rs", "cli/page/mod.rs"], "values and pages have templates"),
    ("axum::", &["sim/"], "only the simulator serves"),
    ("indicatif::", &["cli/progress.rs"], "one file draws bars"),
    ("comfy_table::", &["cli/report.rs"], "one file draws tables"),
    ("parquet::", &["load/"], "only load knows file formats"),
    ("object_store::", &["load/store/"], "only the store knows where files are"),
    ("std::process::exit", &[], "only the return of `main` ends the process"),
    ("process::exit", &[], "only the return of `main` ends the process"),
    ("std::io::stdout", &["main.rs"], "stdout is an argument"),
    ("io::stdout", &["main.rs", "cli/taker.rs"], "stdout is an argument, but for who takes it"),
];

/// Lines that a file may have.
const LINES: usize = 600;

/// Files that have grown beyond that, and how far. None may join them; one that is split leaves.
const LARGER: &[(&str, usize)] = &[
    ("tests/auth.rs", 800),
    ("tests/bad_input.rs", 950),
    ("tests/differential.rs", 650),
    ("tests/limits.rs", 850),
];

/// How a path ends that changes what is on disk.
const CHANGES_FILES: &[&str] = &[
    "File::create",
    "File::create_new",
    "File::options",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::hard_link",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::remove_file",
    "fs::rename",
    "fs::write",
    "OpenOptions::new",
];

#[test]
fn modules_depend_only_downward() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();

    for Source { place, paths } in sources() {
        let module = place.split(['/', '.']).next().unwrap_or_default();
        if ["main", "lib"].contains(&module) {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            wrong.push(format!("{place}: the module `{module}` is not in the table"));
            continue;
        };
        for used in paths.iter().filter_map(|it| module_named(&place, it)) {
            if used != module && !allowed.contains(&used) {
                wrong.push(format!("{place} names crate::{used}"));
            }
        }
    }

    wrong.dedup();
    assert!(wrong.is_empty(), "not allowed by tests/architecture.rs:\n{}", wrong.join("\n"));
}

#[test]
fn external_crates_are_known_in_one_place_each() {
    let mut wrong = Vec::new();

    for Source { place, paths } in sources() {
        for (start, homes, why) in ONLY_IN {
            let at_home = homes.iter().any(|it| place.starts_with(it));
            if !at_home && paths.iter().any(|it| it.starts_with(start)) {
                wrong.push(format!("{place} names `{start}`, but {why}"));
            }
        }
    }

    assert!(wrong.is_empty(), "not allowed by tests/architecture.rs:\n{}", wrong.join("\n"));
}

/// A table that nobody needs any more would look like a check.
#[test]
fn every_external_crate_of_the_table_is_named_in_its_place() {
    let sources = sources();

    for (start, homes, _) in ONLY_IN.iter().filter(|(start, ..)| !start.contains("io::")) {
        let is_home = |it: &&Source| homes.iter().any(|home| it.place.starts_with(home));
        let mut named = sources.iter().filter(is_home).flat_map(|it| &it.paths);
        let is_named = named.any(|it| it.starts_with(start));
        assert!(is_named || homes.is_empty(), "nobody names `{start}`: correct the table");
    }
}

#[test]
fn only_the_store_changes_files() {
    let mut wrong = Vec::new();

    for Source { place, paths } in
        sources().into_iter().filter(|it| !it.place.starts_with("load/store/"))
    {
        for path in paths {
            let is_one = |it: &str| path == it || path.ends_with(&format!("::{it}"));
            if CHANGES_FILES.iter().any(|it| is_one(it)) || path.starts_with("tempfile::") {
                wrong.push(format!("{place} names `{path}`"));
            }
        }
    }

    assert!(wrong.is_empty(), "only src/load/store/ changes files:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_small_enough_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["benches/src", "examples", "fuzz/src", "fuzz/targets", "src", "tests"] {
        every_rust_file(&root.join(dir), &mut files);
    }
    let lines: BTreeMap<String, usize> =
        files.iter().map(|it| (below(root, it), lines(it))).collect();
    let larger: BTreeMap<&str, usize> = LARGER.iter().copied().collect();

    for (place, lines) in &lines {
        let most = larger.get(place.as_str()).copied().unwrap_or(LINES);
        assert!(*lines <= most, "{place} has {lines} lines, more than {most}: split it by topic");
    }
    for (place, _) in LARGER {
        let lines = lines.get(*place).copied().unwrap_or_default();
        assert!(lines > LINES, "{place} has {lines} lines: take it out of the table");
    }
}

#[test]
fn what_is_measured_is_built_as_the_program_is() {
    let of = |manifest: &str| {
        let text = fs::read_to_string(manifest).unwrap();
        let lines = text.lines().skip_while(|it| *it != "[profile.release]");
        let lines = lines.take_while(|it| !it.starts_with('[') || it.contains("profile.release"));
        let settings = lines.map(|it| it.split('#').next().unwrap_or_default().trim().to_owned());
        settings.filter(|it| !it.is_empty()).collect::<Vec<_>>()
    };

    let program = of("Cargo.toml");

    assert!(program.len() > 3);
    assert_eq!(of("benches/Cargo.toml"), program);
}

#[test]
fn paths_are_seen_through_groups_and_not_in_comments_or_text() {
    let text = r##"
        //! [`crate::cli`] is a comment.
        use crate::{error::Error, load::{self, Destination as D}, plan};
        fn f<'a>(it: &'a str) -> char {
            super::super::run::go(r#"crate::sim"#, "\"crate::sim", '"', '\'');
            'x'
        }
        #[arg(action = clap::ArgAction::Count)]
    "##;

    let found = paths(&tokens(text));

    let expected = [
        "crate::error::Error",
        "crate::load::self",
        "crate::load::Destination",
        "crate::plan",
        "super::super::run::go",
        "clap::ArgAction::Count",
    ];
    for it in expected {
        assert!(found.contains(&it.to_owned()), "`{it}` is not in {found:?}");
    }
    assert!(!found.iter().any(|it| it.contains("sim") || it.contains("cli")), "{found:?}");
    assert_eq!(module_named("load/part.rs", "super::super::run::go"), Some("run"));
    assert_eq!(module_named("load/part.rs", "super::error::WriteError"), None);
    assert_eq!(module_named("plan/mod.rs", "super::load::Destination"), Some("load"));
    assert_eq!(module_named("plan/mod.rs", "crate::load"), Some("load"));
}

/// A file of the crate and every path that its code names.
struct Source {
    /// Below `src`, with `/`.
    place: String,
    paths: Vec<String>,
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 40, "found only {} files", files.len());
    let read = |file: &PathBuf| -> Source {
        let place = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(file).unwrap();
        Source { place, paths: paths(&tokens(without_tests(&text))) }
    };
    files.iter().map(read).collect()
}

/// Every file, tests and all, but for what was built.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn every_rust_file(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()) {
        if path.is_dir() && path.file_name().is_some_and(|it| it != "target") {
            every_rust_file(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

/// The path of a file below `root`, with `/`.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn below(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")
}

/// Every file that is not a test.
#[expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]
fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let is_test = path.file_stem().is_some_and(|it| it == "tests");
        if path.is_dir() && !is_test {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") && !is_test {
            found.push(path);
        }
    }
}

/// Tests stand last in a file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// The module of the crate that a path names, from above or from below.
fn module_named<'a>(place: &str, path: &'a str) -> Option<&'a str> {
    let is_module = |it: &&str| ALLOWED.iter().any(|(module, _)| module == it);
    if let Some(rest) = path.strip_prefix("crate::").or(path.strip_prefix("tracklake::")) {
        return rest.split("::").next().filter(is_module);
    }
    // `super::super::run` in `load/part.rs` is the crate's `run`.
    let depth = place.trim_end_matches("/mod.rs").split('/').count();
    let above = path.split("::").take_while(|it| *it == "super").count();
    path.split("::").nth(above).filter(|it| above >= depth && is_module(it))
}

/// Identifiers, `::`, and every other character by itself; no comments, no literals.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = literal(rest) {
            length
        } else if is_word(first) {
            let length = rest.find(|it| !is_word(it)).unwrap_or(rest.len());
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push("::");
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text or character literal that starts here.
fn literal(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r').map(|it| it.len() - it.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|it| text[1 + it..].starts_with('"')) {
        let (start, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
        return Some(text[start..].find(&end).map_or(text.len(), |it| start + it + end.len()));
    }
    let mark = text.chars().next().filter(|it| ['"', '\''].contains(it))?;
    // `'a` is a lifetime, `'a'` and `'\n'` are characters.
    let is_closed = text.chars().nth(2) == Some('\'') || text[1..].starts_with('\\');
    if mark == '\'' && !is_closed {
        return None;
    }
    let mut characters = text.char_indices().skip(1);
    while let Some((at, it)) = characters.next() {
        if it == '\\' {
            characters.next();
        } else if it == mark {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// The paths of more than one segment, `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(tokens: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = is_name(tokens[at]) && tokens.get(at + 1) == Some(&"::");
        at = if begins { path(tokens, at, "", &mut found) } else { at + 1 };
    }
    found
}

/// Reads the path that goes on at a token; gives where it ends.
fn path(tokens: &[&str], mut at: usize, before: &str, found: &mut Vec<String>) -> usize {
    let mut path = before.to_owned();
    while let Some(token) = tokens.get(at) {
        let expects_name = path.is_empty() || path.ends_with("::");
        match *token {
            "::" => path.push_str("::"),
            "{" if path.ends_with("::") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = self::path(tokens, at, &path, found).max(at + 1);
                }
                return at + 1;
            }
            name if expects_name && is_name(name) => path.push_str(name),
            _ => break,
        }
        at += 1;
    }
    found.push(path);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|it: char| it.is_alphabetic() || it == '_')
}
