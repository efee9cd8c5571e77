//! What a pipeline file can say about an API that nobody has thought of: each test has its own API,
//! its own file, and checks the rows and the requests, one by one.

mod datasets;
mod paging;
mod records;
mod responses;
mod slices;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    server::{Request, Response, Server},
};

/// What most streams here end with.
const COLUMNS: &str = "
    columns:
      id: { from: id, type: int64 }
      day: { from: day, type: date }
    unknown_fields: ignore
    write: { merge: { key: [id] } }
    partition_by: { column: day }
";

/// A pipeline file; requests come one after the other, so that their order can be checked.
fn own(server: &Server, streams: &str) -> String {
    own_source(server, "", streams)
}

/// A pipeline file with lines of its own in `source`.
fn own_source(server: &Server, source: &str, streams: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {}
  limits: {{ requests_per_second: 10000, max_in_flight: 1 }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.01 }}
{source}
streams:
{streams}",
        server.url()
    )
}

/// A pipeline file with one stream, `items`, of [`COLUMNS`].
fn items(server: &Server, stream: &str) -> String {
    own(server, &format!("  items:\n{stream}{COLUMNS}"))
}

/// Runs a pipeline that has nothing to complain about.
#[track_caller]
fn export(yaml: &str) -> (Workspace, Ended) {
    let workspace = Workspace::new();
    let ended = workspace.run(yaml, &[], &[]);
    assert_eq!(ended.code, Some(0), "{}\n{yaml}", ended.stderr);
    (workspace, ended)
}

/// Exports the stream `items` and gives the ids that arrived.
#[track_caller]
fn exported_ids(yaml: &str) -> Value {
    let (workspace, _) = export(yaml);
    let rows = workspace.rows("items");
    rows.iter().map(|it| it["id"].clone()).collect()
}

/// The cells of some columns, row by row.
fn table(workspace: &Workspace, stream: &str, columns: &[&str]) -> Value {
    let rows = workspace.rows(stream);
    rows.iter().map(|row| columns.iter().map(|it| row[*it].clone()).collect::<Value>()).collect()
}

fn record(id: usize) -> Value {
    json!({ "id": id, "day": "2024-07-25" })
}

fn records(ids: impl IntoIterator<Item = usize>) -> Value {
    ids.into_iter().map(record).collect()
}

/// The ids 1 to `total` that an offset and a size ask for.
fn part(total: usize, offset: usize, size: usize) -> std::ops::RangeInclusive<usize> {
    offset + 1..=total.min(offset + size)
}

/// Exports one page as the stream `items` and gives cells of its rows.
#[track_caller]
fn decoded(body: Value, stream: &str, columns: &[&str]) -> Value {
    let server = Server::start(move |_| Response::json(&body));
    let (workspace, _) = export(&own(&server, &format!("  items:\n{stream}")));
    table(&workspace, "items", columns)
}
