//! The page about a run: its numbers, what it must not load, and what is said where there is none.

#![expect(clippy::unwrap_used, reason = "a test's own files")]

#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

fn file(server: &Server) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 2 }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.01 }}
streams:
  worklogs:
    request: {{ path: /worklogs }}
    slices: {{ window: {{ from: 2024-07-22, step: 1d, format: date, start_param: from, end_param: to }} }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      author_display: {{ from: author, type: string }}
      project_key: {{ from: project, type: string }}
      spent_seconds: {{ from: seconds, type: int64 }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
    max_rejected: 3
  people:
    request: {{ path: /people }}
    columns:
      id: {{ from: id, type: int64 }}
      since: {{ from: since, type: date }}
    write: {{ replace: {{ scope: all, key: [id] }} }}
    partition_by: {{ column: since, unit: month }}
",
        server.url()
    )
}

/// What would do harm on a page that shows it as it is.
const NASTY: &str = "<script>alert(1)</script>\"'&";

/// Four days of work, of which the third cannot be read, and one record does not fit.
fn server() -> Server {
    Server::start(|request| {
        let row = |id: u64, author: &str, project: &str, seconds: Value| json!({ "id": id, "day": request.param("from").unwrap_or("2024-07-25"), "author": author, "project": project, "seconds": seconds });
        let body = match request.param("from") {
            None => json!([{ "id": 1, "since": "2024-03-05" }, { "id": 2, "since": "2024-07-01" }]),
            Some("2024-07-22") => {
                json!([row(1, "Ann", "OPS", json!(5400)), row(2, NASTY, "WEB", json!(1800))])
            }
            Some("2024-07-23") => {
                json!([row(3, "Ann", "OPS", json!(7200)), row(4, "Bob", "OPS", json!("many"))])
            }
            Some("2024-07-24") => return Response::text(500, ""),
            _ => json!([row(5, "Bob", "WEB", json!(900)), row(6, "Bob", "WEB", Value::Null)]),
        };
        Response::json(&body)
    })
}

fn report(workspace: &Workspace, yaml: &str, args: &[&str]) -> Ended {
    Ended::of(&workspace.subcommand("report", yaml, args).output().unwrap())
}

/// Checks what every page must be: a tree of elements that loads nothing, with names for its pictures.
#[track_caller]
fn check(page: &str) {
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    let mut open: Vec<&str> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut named = Vec::new();
    let mut rest = &page["<!doctype html>".len()..];
    let mut headings = Vec::new();
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.last() == Some(&"style"),
            "a stray `>`: {}",
            &rest[..at]
        );
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '\n', '/']).find(|it| !it.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
            continue;
        }
        for (attribute, value) in attributes(tag) {
            assert!(!["src", "href", "srcset", "action"].contains(&attribute), "{tag}");
            assert!(!attribute.starts_with("on"), "{tag}");
            match attribute {
                "id" => assert!(ids.insert(value), "`{value}` comes twice"),
                "aria-labelledby" => named.extend(value.split(' ')),
                _ => {}
            }
        }
        assert!(!["script", "link", "img", "iframe", "object"].contains(&name), "{tag}");
        if name == "svg" {
            assert!(tag.contains("role=\"img\"") && tag.contains("aria-labelledby"), "{tag}");
        }
        if let Some(level) = name.strip_prefix('h').and_then(|it| it.parse::<u32>().ok()) {
            headings.push(level);
        }
        if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    assert!(named.iter().all(|it| ids.contains(it)), "a name is not there");
    assert_eq!(headings.first(), Some(&1));
    assert!(headings.windows(2).all(|it| it[1] <= it[0] + 1), "a level is left out: {headings:?}");
    assert!(!page.contains("url(") && !page.contains("@import"), "a style loads something");
}

/// The attributes of a tag, whose values are in quotes.
fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = tag.split_once(' ').map_or("", |it| it.1);
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        found.push((name.trim(), value));
        rest = after;
    }
    found
}

/// The cells of the line of a table that begins with a name.
fn cells(page: &str, heading: &str, name: &str) -> Vec<String> {
    let figure = page
        .split("<figure>")
        .find(|it| it.contains(&format!("<h4>{heading}")))
        .unwrap_or_default();
    let line = figure
        .lines()
        .find(|it| it.contains(&format!("<th scope=\"row\">{name}</th>")))
        .unwrap_or_default();
    let cells = line.split("</td>").filter_map(|it| it.rsplit_once('>')).map(|it| it.1.to_owned());
    cells.filter(|it| !it.is_empty()).collect()
}

#[test]
fn a_page_has_the_numbers_of_the_dataset_and_of_the_run() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);

    let ended = workspace.run(&yaml, &["--quiet", "--report", "page.html"], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    check(&page);
    assert!(page.contains(
        "Partial: 1 slice failed and is remembered for the next run, 1 record did not fit"
    ));
    // Ann 1.5 h and 2 h, Bob 0.25 h, the third half an hour.
    let heading = "Hours per day, by author_display";
    assert_eq!(cells(&page, heading, "Mon 22 Jul 2024"), ["1.5", "0.5", "0.0", "2.0"]);
    assert_eq!(cells(&page, heading, "Tue 23 Jul 2024"), ["2.0", "0.0", "0.0", "2.0"]);
    assert_eq!(cells(&page, heading, "Wed 24 Jul 2024"), ["0.0", "0.0", "0.0", "0.0"]);
    assert_eq!(cells(&page, heading, "Thu 25 Jul 2024"), ["0.0", "0.0", "0.3", "0.3"]);
    assert!(page.contains(
        "yesterday, Wed 24 Jul 2024: 0.0 h in 0 rows; there is no Wednesday before to compare with."
    ));
    let line = |name: &str| page.lines().find(|it| it.contains(&format!(">{name}</th>"))).unwrap();
    assert!(line("OPS").ends_with(">3.5 h <small>82 %</small></td></tr>"), "{}", line("OPS"));
    assert!(line("WEB").ends_with(">0.8 h <small>18 %</small></td></tr>"), "{}", line("WEB"));
    let heading = "Rows per day, and what this run changed";
    assert_eq!(cells(&page, heading, "Thu 25 Jul 2024"), ["2", "0", "0", "0"]);
    assert_eq!(cells(&page, heading, "Tue 23 Jul 2024"), ["1", "0", "0", "0"]);
    // Both tries of the slice that failed are its requests.
    let slice = cells(&page, "Every slice", "2024-07-24");
    assert_eq!(
        (slice[0].as_str(), slice[4].as_str(), slice[5].as_str()),
        ("failed", "1", "2"),
        "{slice:?}"
    );
    assert!(page.contains("spent_seconds: expected int64</th>"), "the reject, without its value");
    assert!(!page.contains("many"), "a value that did not fit is not the dataset's");
    let escaped = "&lt;script&gt;alert(1)&lt;";
    assert!(page.contains(escaped) && !page.contains("<script"), "names are escaped");
    assert!(page.contains("Rows per month, and what this run changed"));
    assert!(!page.contains("Hours per month"), "people have no hours");
}

#[test]
fn values_that_add_up_to_no_number_are_counted_in_rows() {
    let server = Server::start(|request| {
        let row =
            |id: u64| json!({ "id": id, "day": "2024-07-25", "author": "Ann", "seconds": 1e308 });
        let is_first = request.param("from") == Some("2024-07-22");
        Response::json(&if is_first { json!([row(1), row(2)]) } else { json!([]) })
    });
    let workspace = Workspace::new();
    let yaml = file(&server).replace("from: seconds, type: int64", "from: seconds, type: float64");

    let ended = workspace.run(&yaml, &["--quiet", "--report", "page.html"], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    check(&page);
    assert!(page.contains("Hours cannot be shown: the values of spent_seconds add up to"));
    assert_eq!(cells(&page, "Rows per day, by author_display", "Thu 25 Jul 2024"), ["2", "2"]);
    assert!(!page.contains("Hours per day"));
}

#[test]
fn seconds_that_come_for_every_mode_or_on_another_day_are_no_hours() {
    let server = server();
    let of = |yaml: String| {
        let workspace = Workspace::new();
        let ended = workspace.run(&yaml, &["--quiet", "--report", "page.html"], &[]);
        assert_eq!(ended.code, Some(7), "{}", ended.stderr);
        let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
        check(&page);
        assert!(page.contains("<h4>Rows per day, by author_display"), "rows");
        assert!(!page.contains("Hours per day") && !page.contains("hours in 60"), "no hours");
        page
    };

    let twice = of(file(&server).replace(
        "id: { from: id, type: int64 }\n      day:",
        "id: { from: id, type: int64 }\n      mode: { from: project, type: string }\n      day:",
    ).replace("merge: { key: [id] }", "merge: { key: [mode, id] }"));
    let elsewhen = of(file(&server)
        .replace("      day: {", "      created_day: {")
        .replace("column: day", "column: created_day"));

    assert!(twice.contains(
        "because the key has mode: the same spent_seconds may stand in a row for each mode."
    ));
    assert!(elsewhen.contains("because a row&#x27;s day is that of created_day"));
}

#[test]
fn an_earlier_run_is_told_from_what_was_kept_and_one_that_is_not_there_is_an_error() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);
    let nothing = report(&workspace, &yaml, &[]);
    assert_eq!(nothing.code, Some(6));
    assert!(
        nothing.stderr.contains("nothing has been exported to `output` yet"),
        "{}",
        nothing.stderr
    );
    let runs: Vec<String> = (0..2)
        .map(|_| {
            workspace.run(&yaml, &["--quiet"], &[]).report()["run"].as_str().unwrap().to_owned()
        })
        .collect();
    let first = runs.iter().min().unwrap();

    let page = report(&workspace, &yaml, &["--run", first]);
    let to_file = report(&workspace, &yaml, &["-o", "last.html"]);
    let unknown = report(&workspace, &yaml, &["--run", "yesterday"]);

    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    check(&page.stdout);
    assert!(page.stdout.contains(&format!("Run {first}, ")));
    assert_eq!((to_file.code, to_file.stdout.as_str()), (Some(0), ""), "{}", to_file.stderr);
    let last = fs::read_to_string(workspace.path().join("last.html")).unwrap();
    assert!(last.contains(&format!("Run {}, ", runs.iter().max().unwrap())));
    assert_eq!(unknown.code, Some(6));
    assert!(
        unknown.stderr.contains("pipeline `own` has no report of a run `yesterday`"),
        "{}",
        unknown.stderr
    );
    assert!(runs.iter().all(|it| unknown.stderr.contains(it)), "{}", unknown.stderr);
}

#[test]
fn what_stood_beside_the_changes_of_an_earlier_run_is_not_made_up() {
    let rows = Arc::new(AtomicUsize::new(1));
    let n = Arc::clone(&rows);
    let server = Server::start(move |request| {
        let row = |id| json!({ "id": id, "day": "2024-07-25", "seconds": 60 });
        let n = if request.param("from") == Some("2024-07-25") { n.load(Relaxed) } else { 0 };
        Response::json(&(0..n).map(row).collect::<Vec<_>>().into())
    });
    let workspace = Workspace::new();
    let yaml = file(&server);
    let yaml = yaml.split("  people:").next().unwrap();
    let run = || {
        let ended = workspace.run(yaml, &["--quiet", "--report", "page.html"], &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
        assert!(!page.contains("has changed since this run"), "it is the last");
        ended.report()["run"].as_str().unwrap().to_owned()
    };
    let first = run();
    run();
    rows.store(9, Relaxed);
    let last = run();

    let page = report(&workspace, yaml, &["--run", &first]).stdout;

    check(&page);
    assert!(page.contains(&format!("The dataset has changed since this run, last by run {last}:")));
    assert!(!page.contains("as before"), "8 rows were none then");
    assert_eq!(
        cells(&page, "What this run changed, per day", "Thu 25 Jul 2024"),
        ["1", "0", "0", "0"]
    );
    assert!(page.contains("<dt>rows in the dataset then</dt><dd>1</dd>"));
}

#[test]
fn a_page_that_cannot_be_written_costs_no_request() {
    let (server, workspace) = (server(), Workspace::new());

    let ended = workspace.run(&file(&server), &["--report", "nowhere/page.html"], &[]);

    assert_eq!(ended.code, Some(6));
    assert!(ended.stderr.contains("nowhere"), "{}", ended.stderr);
    assert!(server.requests().is_empty());
}

#[test]
fn a_page_does_not_take_the_place_of_the_metrics() {
    let (server, workspace) = (server(), Workspace::new());
    for (page, metrics) in [("out.txt", "out.txt"), ("out.txt", "./out.txt")] {
        let args = ["--report", page, "--metrics-file", metrics];
        let ended = workspace.run(&file(&server), &args, &[]);

        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("another file than that of `--metrics-file`"));
        assert!(!workspace.path().join("out.txt").exists());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_run_that_publishes_nothing_leaves_a_page_that_says_so() {
    let server = Server::start(|_| Response::text(500, ""));
    let workspace = Workspace::new();

    let failed = workspace.run(&file(&server), &["--quiet", "--report", "page.html"], &[]);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    assert_eq!(failed.code, Some(4), "{}", failed.stderr);
    check(&page);
    assert!(page.contains("Failed: nothing was published."));
    assert!(page.contains("with status 500"), "why it failed");
    assert!(!page.contains("rows added"), "nothing was");

    let broken = workspace.run("version: 1\npipeline: own\n", &["--report", "page.html"], &[]);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    assert_eq!(broken.code, Some(3));
    check(&page);
    assert!(page.contains("the run did not get as far as a report"));
}

#[test]
fn slices_that_a_budget_leaves_have_not_failed() {
    let (server, workspace) = (Server::start(|_| Response::json(&json!([]))), Workspace::new());
    let yaml = file(&server).replace("max_in_flight: 2", "max_in_flight: 1, max_requests: 2");
    let yaml = yaml.split("  people:").next().unwrap();

    let ended = workspace.run(yaml, &["--quiet", "--report", "page.html"], &[]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    check(&page);
    assert!(page.contains("Partial: 2 slices are left for the next run; everything else"));
    assert!(page.contains("left for the next run, the budget was used up"));
    assert!(!page.contains("failed, remembered"));
    assert_eq!(ended.report()["streams"][0]["slices"]["left"], 2);
}

#[test]
fn an_empty_run_and_the_report_of_an_older_version_are_told_too() {
    let server = Server::start(|_| Response::json(&json!([])));
    let workspace = Workspace::new();
    let yaml = file(&server);
    let ended = workspace.run(&yaml, &["--quiet", "--report", "page.html"], &[]);
    let page = fs::read_to_string(workspace.path().join("page.html")).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check(&page);
    assert!(page.contains("and nothing in the dataset changed."));
    assert!(page.contains("The dataset has no rows."));

    let mut old = ended.report();
    for key in ["latency", "timeline", "changes", "rejects"] {
        old["streams"][0].as_object_mut().unwrap().remove(key);
    }
    keep(&workspace, "20240725T120000Z-old", &old);
    let page = report(&workspace, &yaml, &["--run", "20240725T120000Z-old"]);
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    check(&page.stdout);
    assert!(page.stdout.contains("did not record the times of slices"));
}

#[test]
fn a_page_about_the_largest_report_there_is_stays_small() {
    let (server, workspace) = (server(), Workspace::new());
    let yaml = file(&server);
    let mut run = workspace.run(&yaml, &["--quiet"], &[]).report();
    let long = "x".repeat(300);
    let slices: Vec<Value> = (0..120)
        .map(|it| {
            json!({ "slice": format!("{long}{it}"), "outcome": "failed", "started": it, "seconds": 40, "waiting": 9.0,
                "retrying": 9.0, "requests": 5, "retries": 4, "records": null, "total": null })
        })
        .collect();
    let steps: Vec<Value> = (0..120)
        .map(|it| json!({ "working": it, "waiting": 1, "retrying": 2, "retries": 3, "ended": 4, "failed": 1 }))
        .collect();
    let changes: Vec<Value> = (0..400)
        .map(|it| json!({ "partition": format!("day={}", 1000 + it), "added": 1, "updated": 2, "removed": 3, "redated": 1 }))
        .collect();
    let classes: Vec<Value> = (0..84).map(|it| json!([0.16 * 1.19_f64.powi(it), 1000])).collect();
    let rejects: Vec<Value> = (0..50)
        .map(|it| json!({ "column": "c", "reason": format!("{long}{it}"), "records": 5 }))
        .collect();
    let stream = &mut run["streams"][0];
    stream["slices"]["total"] = json!(100_000);
    stream["timeline"] = json!({ "step_seconds": 64.0, "steps": steps, "slices": slices });
    stream["changes"] = json!(changes);
    stream["rejects"] = json!(rejects);
    stream["latency"] =
        json!({ "p50_ms": 3.0, "p95_ms": 900.0, "max_ms": 200_000.0, "classes": classes });
    keep(&workspace, "20240725T120000Z-large", &run);

    let page = report(&workspace, &yaml, &["--run", "20240725T120000Z-large"]);

    assert_eq!(page.code, Some(0), "{}", page.stderr);
    check(&page.stdout);
    assert!(page.stdout.len() < 500_000, "{} bytes", page.stdout.len());
    assert!(page.stdout.contains("120 of 100,000 slices: those that failed and the slowest"));
}

/// Puts a report where runs leave theirs.
fn keep(workspace: &Workspace, run: &str, report: &Value) {
    let path = workspace.output().join(format!("_tracklake/own/runs/{run}.json"));
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(path, report.to_string()).unwrap();
}
