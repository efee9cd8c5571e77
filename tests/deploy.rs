//! The files of `examples/deploy` and the page about them say what the program does.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use clap::Parser as _;
use serde_json::Value;
use support::cli::Ended;
use tracklake::{
    cli::Args,
    sim::{SimOptions, Simulator},
};

fn text(name: &str) -> String {
    fs::read_to_string(format!("examples/deploy/{name}")).unwrap()
}

fn page() -> String {
    fs::read_to_string("docs/operations.md").unwrap()
}

fn cron_job() -> Value {
    serde_saphyr::from_str(&text("cronjob.yaml")).unwrap()
}

/// The words of the list in Python that begins with this one.
fn python_list(text: &str, first: &str) -> Vec<String> {
    let (_, rest) = text.split_once(&format!("[\"{first}\"")).unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    let rest = list.split(',').map(|it| it.trim().trim_matches('"').to_owned());
    std::iter::once(first.to_owned()).chain(rest.filter(|it| !it.is_empty())).collect()
}

/// The numbers of a text, such as `{4, 6, 130}`.
fn numbers(text: &str) -> BTreeSet<i64> {
    text.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

/// The line of the crontab that runs something.
fn cron_line() -> String {
    let crontab = text("crontab");
    let is_job = |it: &&str| it.starts_with(|it: char| it.is_ascii_digit());
    let jobs: Vec<&str> = crontab.lines().filter(is_job).collect();
    assert_eq!(jobs.len(), 1);
    jobs[0].to_owned()
}

#[test]
fn each_file_gives_the_program_a_command_that_it_knows() {
    let of_cron = cron_line();
    let of_cron = of_cron.split("; ").last().unwrap().split(" >").next().unwrap();
    let service = text("tracklake.service");
    let of_systemd = service.lines().find_map(|it| it.strip_prefix("ExecStart=/usr/local/bin/"));
    let job = cron_job();
    let container = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let of_kubernetes: Vec<&str> = std::iter::once("tracklake").chain(args).collect();
    let of_airflow = python_list(&text("airflow_dag.py"), "tracklake");

    for words in [
        of_cron.split(' ').collect(),
        of_systemd.unwrap().split(' ').collect(),
        of_kubernetes,
        of_airflow.iter().map(String::as_str).collect(),
    ] {
        assert_eq!(words[..3], ["tracklake", "run", "yandex_tracker"], "{words:?}");
        if let Err(err) = Args::try_parse_from(&words) {
            panic!("{words:?}: {err}");
        }
    }
}

/// The codes that the page says to try again, and those that it leaves to a person.
#[test]
fn each_scheduler_does_with_an_exit_code_what_the_page_says() {
    let page = page();
    let codes = |answer: &str| {
        let rows = page.lines().filter(|it| it.starts_with("| ") && it.contains(answer));
        rows.flat_map(|it| numbers(it.split('|').nth(1).unwrap())).collect::<BTreeSet<i64>>()
    };
    let again: BTreeSet<i64> = &codes("| try again") | &codes("| start it again");
    let person: BTreeSet<i64> = &codes("| a person") | &codes("| a bug of ours");
    let fine: BTreeSet<i64> = codes("| nothing");
    assert_eq!(fine, [0, 7].into());

    let readme = fs::read_to_string("README.md").unwrap();
    let (_, documented) = readme.split_once("| code | means |").unwrap();
    let listed = documented.lines().skip(2).take_while(|it| it.starts_with('|'));
    let documented = listed.flat_map(|it| numbers(it.split('|').nth(1).unwrap()));
    assert_eq!(documented.collect::<BTreeSet<i64>>(), &(&again | &person) | &fine);

    let dag = text("airflow_dag.py");
    let retried = dag.lines().find_map(|it| it.strip_prefix("RETRIED = ")).unwrap();
    assert_eq!(numbers(retried), again);
    assert!(dag.contains("PARTIAL = 7\n"));

    // A job of Kubernetes that ended with 7 is over as well.
    let job = cron_job();
    let rule = &job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0];
    assert_eq!(rule["action"], "FailJob");
    let given_up = numbers(&rule["onExitCodes"]["values"].to_string());
    assert_eq!(given_up, &person | &[7].into());

    assert!(text("tracklake.service").contains("\nSuccessExitStatus=7\n"));
}

#[test]
fn the_page_names_the_metrics_that_a_run_writes() {
    let source = fs::read_to_string("src/cli/metrics.rs").unwrap();
    let (source, _) = source.split_once("mod tests").unwrap();
    let quoted = source.split('"').filter(|it| it.starts_with("tracklake_"));
    let written: BTreeSet<&str> = quoted.collect();

    let page = page();
    let rows = page.lines().filter(|it| it.starts_with("| `tracklake_"));
    let cells = rows.map(|it| it.split('|').nth(1).unwrap());
    let named: Vec<&str> = cells.flat_map(|it| it.split('`').skip(1).step_by(2)).collect();

    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), written);
    assert_eq!(named.len(), written.len());
    for rule in page.lines().filter(|it| it.trim_start().starts_with("expr:")) {
        let words = rule.split(|it: char| !it.is_alphanumeric() && it != '_');
        let unknown: Vec<&str> =
            words.filter(|it| it.starts_with("tracklake") && !written.contains(it)).collect();
        assert!(unknown.is_empty(), "{rule}");
    }
}

/// As cron does it: with nothing in the environment but what the crontab sets.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
async fn the_line_of_the_crontab_runs() {
    let simulator =
        Simulator::start(SimOptions { issues: 12, ..SimOptions::default() }).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(path("prometheus")).unwrap();
    let env: Vec<String> = simulator
        .variables()
        .into_iter()
        .map(|(name, value)| format!("{name}='{value}'\n"))
        .collect();
    fs::write(path("env"), env.concat()).unwrap();
    // Five fields of the time, and the user.
    let line = cron_line();
    let command = line.splitn(7, ' ').last().unwrap();
    assert!(!command.contains('%'), "cron makes a line end of it");
    let command = command
        .replace("/etc/tracklake/env", &path("env"))
        .replace("/var/lib/prometheus/node-exporter", &path("prometheus"))
        .replace("/var/lib/tracklake", &path("lake"));
    let program = Path::new(env!("CARGO_BIN_EXE_tracklake")).parent().unwrap().to_str().unwrap();
    let crontab = text("crontab");
    let is_name = |it: &str| it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
    let set = crontab.lines().filter_map(|it| it.split_once('=')).filter(|(name, _)| is_name(name));
    // The program is installed where the other files have it.
    let set = set.map(|(name, value)| (name, value.replace("/usr/local/bin", program)));

    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &command])
        .current_dir(dir.path())
        .env_clear()
        // What cron gives to a job; what the crontab sets comes after it.
        .env("PATH", "/usr/bin:/bin")
        .envs(set)
        .env("TRACKLAKE_NOW", simulator.world().now().to_rfc3339())
        .stdin(Stdio::null());
    let ended = Ended::of(&shell.output().unwrap());

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "cron mails what is said");
    let metrics = fs::read_to_string(path("prometheus/tracklake.prom")).unwrap();
    assert!(
        metrics
            .lines()
            .any(|it| it.starts_with("tracklake_run_success{pipeline=\"yandex_tracker\",")
                && it.ends_with("} 1")),
        "{metrics}"
    );
    assert!(fs::exists(path("lake/parquet/yandex_tracker/worklogs")).unwrap());
}
