//! A server of pages that were rendered before it is asked, in a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderName,
    routing::get,
};
use flate2::write::GzEncoder;
use serde::Deserialize;

use crate::pages::{self, FIRST_ID, RECORDS};

/// What is served.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct World {
    /// Worklogs at `/worklogs/SHARD`, in all shards.
    #[arg(long, default_value_t = 0)]
    pub(crate) records: u64,
    /// Parts that the worklogs come in.
    #[arg(long, default_value_t = 1)]
    pub(crate) shards: u64,
    /// Days on which they start.
    #[arg(long, default_value_t = pages::DAYS)]
    pub(crate) days: i64,
    /// Pages that are rendered; the following ones are the same with other ids.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rendered: u64,
    /// Issues at `/issues`.
    #[arg(long, default_value_t = 0)]
    pub(crate) issues: u64,
    /// Worklogs of each, at `/issues/NUMBER/worklog`.
    #[arg(long, default_value_t = 10)]
    pub(crate) worklogs: u64,
    /// How long those take to come.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// What pages of worklogs are compressed with.
    #[arg(long, default_value = "identity")]
    pub(crate) encoding: Encoding,
}

/// What a body is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// At the levels that web servers have by default.
    fn pack(self, plain: &[u8]) -> Bytes {
        match self {
            Self::Identity => Bytes::copy_from_slice(plain),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap().into()
            }
            Self::Zstd => zstd::encode_all(plain, 3).unwrap().into(),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            records: 0,
            shards: 1,
            days: pages::DAYS,
            rendered: 1_000,
            issues: 0,
            worklogs: 10,
            latency_ms: 0,
            encoding: Encoding::Identity,
        }
    }
}

/// A server that ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    /// Starts a server and waits until it can be asked.
    pub(crate) fn start(world: &World) -> Self {
        let World { records, shards, days, rendered, issues, worklogs, .. } = world;
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .args([format!("--records={records}"), format!("--shards={shards}")])
            .args([format!("--days={days}"), format!("--rendered={rendered}")])
            .args([format!("--issues={issues}"), format!("--worklogs={worklogs}")])
            .arg(format!("--latency-ms={}", world.latency_ms))
            .arg(format!("--encoding={}", world.encoding.name()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim_end().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has ended already, nothing is left to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the server answers from.
struct Rendered {
    world: World,
    pages: Vec<Page>,
}

struct Page {
    text: Bytes,
    /// The text as it is sent.
    packed: Bytes,
    /// Where the digits of the ids of its records are.
    ids: Vec<usize>,
}

/// Serves until the process is ended.
pub(crate) fn serve(world: World) {
    let pages = world.records.div_ceil(RECORDS).min(world.rendered);
    let pages = (0..pages).map(|it| Page::new(&pages::page(it, world.days), world.encoding));
    let pages = pages.collect();
    let router = Router::new()
        .route("/worklogs/{shard}", get(worklogs))
        .route("/issues", get(issues))
        .route("/issues/{number}/worklog", get(worklogs_of_issue))
        .with_state(Arc::new(Rendered { world, pages }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        axum::serve(listener, router).await.unwrap();
    });
}

#[derive(Debug, Deserialize)]
struct From {
    #[serde(default)]
    offset: u64,
}

type Answer = ([(HeaderName, String); 3], Bytes);

fn answer(total: u64, body: impl Into<Bytes>) -> Answer {
    encoded(total, body.into(), Encoding::Identity)
}

fn encoded(total: u64, body: Bytes, encoding: Encoding) -> Answer {
    let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
    let headers = [
        header("content-type", "application/json"),
        header("content-encoding", encoding.name()),
        header("x-total-count", &total.to_string()),
    ];
    (headers, body)
}

async fn worklogs(
    State(it): State<Arc<Rendered>>,
    Path(shard): Path<u64>,
    Query(from): Query<From>,
) -> Answer {
    let records = it.world.records / it.world.shards;
    if from.offset >= records {
        return answer(records, "[]");
    }
    let number = (shard * records + from.offset) / RECORDS;
    let page = &it.pages[usize::try_from(number).unwrap() % it.pages.len()];
    let first = FIRST_ID + number * RECORDS;
    if number < it.world.rendered {
        return encoded(records, page.packed.clone(), it.world.encoding);
    }
    answer(records, page.with_ids(first))
}

async fn issues(State(it): State<Arc<Rendered>>, Query(from): Query<From>) -> Answer {
    let end = (from.offset + RECORDS).min(it.world.issues);
    let issue = |it| {
        let id = pages::issue_id(it);
        format!(r#"{{"id":"{id}","number":{it},"createdAt":"2024-01-01T00:00:00.000+0000"}}"#)
    };
    let issues: Vec<String> = (from.offset..end).map(issue).collect();
    answer(it.world.issues, format!("[{}]", issues.join(",")))
}

async fn worklogs_of_issue(State(it): State<Arc<Rendered>>, Path(issue): Path<u64>) -> Answer {
    if it.world.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(it.world.latency_ms)).await;
    }
    answer(it.world.worklogs, pages::of_issue(issue, it.world.worklogs))
}

impl Page {
    fn new(text: &str, encoding: Encoding) -> Self {
        let ids = text.match_indices(r#","id":1"#).map(|(at, _)| at + r#","id":"#.len());
        let page = Self {
            ids: ids.collect(),
            text: Bytes::copy_from_slice(text.as_bytes()),
            packed: encoding.pack(text.as_bytes()),
        };
        assert_eq!(page.ids.len() as u64, RECORDS, "each record has one id");
        page
    }

    fn with_ids(&self, first: u64) -> Bytes {
        let mut text = self.text.to_vec();
        for (id, at) in (first..).zip(&self.ids) {
            text[*at..at + 9].copy_from_slice(id.to_string().as_bytes());
        }
        text.into()
    }
}
