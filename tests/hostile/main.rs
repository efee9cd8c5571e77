//! Servers that break, stall, lie and never end: each is met within bounded time and memory, with a
//! message one can act on, the documented exit code, and nothing of the last good run touched.
//!
//! ```text
//!   raw:       a server below HTTP, which writes what no HTTP library would
//!   transport: connections and bodies that break off, stall or never end
//!   content:   bodies that are whole, but not what they should be; redirects
//!   paging:    pages that repeat, shrink, move and change their totals while they are read
//! ```

#[path = "../support/mod.rs"]
mod support;
mod content;
mod paging;
mod raw;
mod transport;

use serde_json::{Value, json};

use support::{
    cli::{Ended, Workspace},
    server::{Response, Server},
};

const TOKEN: &str = "s3cr3t-t0ken";

/// A pipeline with one stream of two columns; it gives up after a second and two tries.
fn file(url: &str) -> String {
    format!(
        "version: 1
pipeline: own
vars:
  token: {{ env: OWN_TOKEN, secret: true }}
source:
  base_url: {url}
  auth: {{ bearer: {{ token: '{{{{ vars.token }}}}' }} }}
  limits: {{ requests_per_second: 10000, max_in_flight: 2, timeout_secs: 1, max_response_mb: 1 }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.01 }}
streams:
  items:
    request: {{ path: /items }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      hours: {{ from: hours, type: float64 }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
    )
}

/// What good answers have: the ids from 1 to `count`.
fn page(count: usize) -> Value {
    let items: Value = (1..=count).map(|id| json!({ "id": id, "day": "2024-07-25" })).collect();
    json!({ "items": items })
}

/// A directory with what a good run has published: the ids 1 and 2.
#[track_caller]
fn after_a_good_run() -> Workspace {
    let server = Server::start(|_| Response::json(&page(2)));
    let workspace = Workspace::new();
    let ended = run(&workspace, &file(&server.url()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    workspace
}

fn run(workspace: &Workspace, yaml: &str) -> Ended {
    workspace.run(yaml, &["--quiet"], &[("OWN_TOKEN", TOKEN)])
}

/// The ids that are published.
fn ids(workspace: &Workspace) -> Vec<u64> {
    let mut ids: Vec<u64> =
        workspace.rows("items").iter().filter_map(|it| it["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

/// Runs against a server that is not to be read: exit 4, all parts said, nothing touched.
#[track_caller]
fn fails(name: &str, url: &str, says: &[&str]) {
    fails_with(name, &file(url), says);
}

/// The same with a pipeline file.
#[track_caller]
fn fails_with(name: &str, yaml: &str, says: &[&str]) {
    let workspace = after_a_good_run();
    let before = workspace.published();

    let ended = run(&workspace, yaml);

    assert_eq!(ended.code, Some(4), "{name}: {}", ended.stderr);
    for part in says {
        assert!(ended.stderr.contains(part), "{name}: {part} is missing in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains(TOKEN), "{name}: {}", ended.stderr);
    assert!(ended.stderr.len() < 4096, "{name}: {} bytes on stderr", ended.stderr.len());
    assert!(workspace.published() == before, "{name}: what was published is touched");
}
