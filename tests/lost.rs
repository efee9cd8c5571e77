//! Files of ours that somebody removed or damaged: nothing that was published goes, and what is said
//! leads out.

#![expect(clippy::unwrap_used, reason = "a test's own server")]

mod support;

use std::{
    fs,
    sync::{Arc, Mutex},
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

const DAYS: [&str; 3] = ["2024-07-22", "2024-07-23", "2024-07-24"];

/// A dataset of three days whose source has only the last of them by now.
struct Site {
    workspace: Workspace,
    server: Server,
    yaml: String,
    /// What the source has.
    items: Arc<Mutex<Vec<Value>>>,
}

impl Site {
    fn new() -> Self {
        let day = |(id, day): (usize, &&str)| json!({ "id": id, "day": day });
        let all: Vec<Value> = DAYS.iter().enumerate().map(day).collect();
        let last = all[2..].to_vec();
        let items = Arc::new(Mutex::new(all));
        let shown = Arc::clone(&items);
        let server = Server::start(move |request| match request.path.as_str() {
            "/entries" => Response::json(&json!(*shown.lock().unwrap())),
            path if path.ends_with("/broken") => Response::status(400, &json!({})),
            _ => Response::json(&json!([{ "id": 9, "day": "2024-07-24" }])),
        });
        let yaml = format!(
            "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
streams:
  entries:
    request: {{ path: /entries }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
destination: {{ formats: {{ parquet: {{}}, csv: {{}} }} }}
",
            server.url()
        );
        let site = Self { workspace: Workspace::new(), server, yaml, items };
        let ended = site.run(&[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        *site.items.lock().unwrap() = last;
        site
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.workspace.run(&self.yaml, &[&["--quiet"], args].concat(), &[])
    }

    fn plan(&self, args: &[&str]) -> Ended {
        self.command("plan", args)
    }

    fn command(&self, name: &str, args: &[&str]) -> Ended {
        Ended::of(&self.workspace.subcommand(name, &self.yaml, args).output().unwrap())
    }

    fn shown(&self, ended: &Ended) -> String {
        let output = fs::canonicalize(self.workspace.output()).unwrap();
        ended.stderr.replace(output.to_str().unwrap(), "[output]")
    }

    /// The dates that readers see, once for each format.
    fn dates(&self) -> Vec<String> {
        let files = self.workspace.published().into_keys();
        files
            .filter_map(|it| Some(it.split_once("date=")?.1.split_once('/')?.0.to_owned()))
            .collect()
    }

    /// Makes the manifest something else.
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn damage_manifest(&self) {
        fs::write(self.workspace.output().join("_tracklake/own/manifests/entries.json"), "{")
            .unwrap();
    }
}

#[test]
fn files_that_no_manifest_tells_of_are_refused_before_anything_is_asked() {
    let site = Site::new();
    fs::remove_dir_all(site.workspace.output().join("_tracklake")).unwrap();
    let before = site.workspace.published();
    let asked = site.server.requests().len();

    let ended = site.run(&[]);

    assert_eq!(ended.code, Some(6));
    assert_snapshot!(site.shown(&ended), @r"
    error: stream `entries`: 3 files stand below `[output]/parquet/own/entries`, and `[output]/_tracklake/own/manifests/entries.json`, which would say what they are, is missing
      hint: bring `_tracklake` back from where it was copied to; or make the dataset what can be read today with `--full-refresh`, without `--since` and `--until`, which removes all other rows; or write to another `--output`
    ");
    assert_eq!(site.workspace.published(), before, "all days stay");
    assert_eq!(site.server.requests().len(), asked, "nothing was asked");

    let status = site.command("status", &[]);
    let says = "and `[output]/_tracklake/own/manifests/entries.json`, which would say what they are, is missing";
    let output = fs::canonicalize(site.workspace.output()).unwrap();
    assert!(
        status.stdout.replace(output.to_str().unwrap(), "[output]").contains(says),
        "{status:?}"
    );
    let plan = site.plan(&[]);
    assert_eq!((plan.code, &plan.stderr), (Some(6), &ended.stderr), "and plan says so before");
    let compact = site.command("compact", &[]);
    assert_eq!((compact.code, compact.stderr), (Some(6), ended.stderr), "and so does compact");
}

#[test]
fn files_that_no_manifest_tells_of_are_refused_where_only_a_part_of_the_time_is_read_anew() {
    let site = Site::new();
    fs::remove_dir_all(site.workspace.output().join("_tracklake")).unwrap();
    let before = site.workspace.published();
    let asked = site.server.requests().len();

    for bound in [["--since", "2024-07-24"], ["--until", "2024-07-25"]] {
        let args = [&["--full-refresh"], &bound[..]].concat();
        let ended = site.run(&args);

        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stderr.contains("which would say what they are, is missing"), "{ended:?}");
        assert_eq!(site.plan(&args).code, Some(6), "and plan says so before");
    }
    assert_eq!(site.workspace.published(), before, "all days stay");
    assert_eq!(site.server.requests().len(), asked, "nothing was asked");
}

#[test]
fn files_that_no_manifest_tells_of_go_where_a_person_wants_everything_anew() {
    let site = Site::new();
    fs::remove_dir_all(site.workspace.output().join("_tracklake")).unwrap();

    assert_eq!(site.plan(&["--full-refresh"]).code, Some(0));
    let ended = site.run(&["--full-refresh"]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(site.dates(), [DAYS[2]; 2], "what can be read today");
    assert_eq!(site.run(&[]).code, Some(0), "later runs need no option");
}

#[test]
fn files_that_no_manifest_tells_of_stay_where_nothing_comes_in_their_place() {
    let mut site = Site::new();
    fs::remove_dir_all(site.workspace.output().join("_tracklake")).unwrap();
    let before = site.workspace.published();
    site.items.lock().unwrap().clear();

    let ended = site.run(&["--full-refresh"]);

    assert_eq!(ended.code, Some(5));
    assert_snapshot!(site.shown(&ended), @r"
    error: stream `entries`: nothing was read, and all of its 3 files, of which no manifest tells, would go; nothing of it is published
      hint: if this is normal, set `expect: { empty: ok }` for the stream
    ");
    assert_eq!(site.workspace.published(), before, "all days stay");
    assert_eq!(site.run(&[]).code, Some(6), "and nothing tells of them now, either");

    site.yaml = site.yaml.replace("    write:", "    expect: { empty: ok }\n    write:");
    assert_eq!(site.run(&["--full-refresh"]).code, Some(0), "a person expects it");
    assert!(site.workspace.rows("entries").is_empty());
}

#[test]
fn files_that_no_manifest_tells_of_stay_where_what_comes_in_their_place_is_not_whole() {
    let mut site = Site::new();
    fs::remove_dir_all(site.workspace.output().join("_tracklake")).unwrap();
    let before = site.workspace.published();
    let sliced = |values: &str| {
        format!(
            "request: {{ path: \"/entries/{{{{ slice.part }}}}\" }}
    slices: {{ list: {{ as: part, values: [{values}] }} }}"
        )
    };
    let whole = site.yaml.clone();

    site.yaml = whole.replace("request: { path: /entries }", &sliced("sound, broken"));
    let ended = site.run(&["--full-refresh"]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let says = "1 of 2 slices could not be read, first `part=broken`; nothing of it is published";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
    assert_eq!(site.workspace.published(), before, "all days stay");

    site.yaml = whole.replace("request: { path: /entries }", &sliced("sound"));
    assert_eq!(site.run(&["--full-refresh"]).code, Some(0));
    assert_eq!(site.dates(), ["2024-07-24"; 2]);
}

#[test]
fn a_damaged_manifest_says_how_the_dataset_is_made_anew_and_that_works() {
    let site = Site::new();
    site.damage_manifest();

    let ended = site.run(&[]);

    assert_eq!(ended.code, Some(6));
    assert_snapshot!(site.shown(&ended), @r"
    error: `[output]/_tracklake/own/manifests/entries.json` is damaged
      cause: EOF while parsing an object at line 1 column 1
      hint: bring it back from a copy; without one, remove it and run with `--full-refresh`, which makes the dataset what can be read today; `tracklake verify` says what else is not as it was
    ");

    fs::remove_file(site.workspace.output().join("_tracklake/own/manifests/entries.json")).unwrap();
    assert_eq!(site.run(&["--full-refresh"]).code, Some(0));
    assert_eq!(site.dates(), [DAYS[2]; 2]);
}

#[test]
fn a_published_file_that_is_gone_says_how_the_dataset_is_made_anew_and_that_works() {
    let site = Site::new();
    let file = "parquet/own/entries/date=2024-07-24/part-0.parquet";
    fs::remove_file(site.workspace.output().join(file)).unwrap();

    let ended = site.run(&[]);

    assert_eq!(ended.code, Some(6));
    assert_snapshot!(site.shown(&ended), @r"
    error: `[output]/parquet/own/entries/date=2024-07-24/part-0.parquet` is not the file that was published: it is missing
      hint: bring it back from a copy; without one, remove `_tracklake/PIPELINE/manifests/STREAM.json` of this stream and run with `--stream STREAM --full-refresh`, which makes the dataset what can be read today; `tracklake verify` says what else is not as it was
    ");

    fs::remove_file(site.workspace.output().join("_tracklake/own/manifests/entries.json")).unwrap();
    assert_eq!(site.run(&["--stream", "entries", "--full-refresh"]).code, Some(0));
    assert_eq!(site.dates(), [DAYS[2]; 2]);
}

#[test]
fn clocks_of_two_runs_that_disagree_are_told() {
    let site = Site::new();
    let told = |now: &str| {
        let now = [("TRACKLAKE_NOW", now)];
        let ended = site.workspace.run(&site.yaml, &[], &now);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr.contains(
            "the clock says 2024-07-25 11:50:00 UTC, and that of an earlier run said 2024-07-25 12:00:00 UTC: one of the two is wrong",
        )
    };

    assert!(told("2024-07-25T11:50:00Z"));
    assert!(!told("2024-07-25T11:49:00Z"), "some minutes are nothing");
}
