//! The source as a server, and runs of the real program against it that are disturbed on purpose.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests reports by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::{
    support::{
        cli::{Ended, Workspace},
        read::{read_csv, read_parquet},
        server::{Request, Response, Server},
        table::{Cell, assert_same},
    },
    world::{Rows, STREAMS, World, row},
};

/// Small pages, so that there are many requests between which something can happen.
const PAGE: usize = 2;

/// What goes wrong at the server during a run.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Requests from this one on, so many of them, answer 500.
    Busy { from: usize, count: usize },
    /// The answer to this request breaks off.
    Cut { at: usize },
    /// Every request whose line contains this answers 500: a stream, a window, what is below an issue.
    Broken { line: String },
}

/// What ends a run before its time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// SIGKILL while this request waits for its answer.
    KillAt(usize),
    /// SIGTERM while this request waits for its answer.
    TermAt(usize),
    /// SIGKILL when a file is staged.
    KillWhenStaged,
    /// SIGKILL when a stream is committed.
    KillWhenCommitted,
    /// SIGKILL when readers see a change.
    KillWhenPlaced,
}

/// A run of the program.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) is_full: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) stop: Option<Stop>,
}

impl Run {
    pub(crate) const UNDISTURBED: Self = Self { is_full: false, faults: Vec::new(), stop: None };
}

/// What the server and the runs share.
struct Shared {
    world: World,
    faults: Vec<Fault>,
    /// The request at which a signal is sent.
    signal: Option<(usize, &'static str)>,
    /// Who sends requests.
    run: Option<u32>,
    requests: usize,
}

/// A source with its server, and the output of a pipeline that reads it.
pub(crate) struct Site {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    server: Server,
    workspace: Workspace,
}

impl Site {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            world: World::new(),
            faults: Vec::new(),
            signal: None,
            run: None,
            requests: 0,
        };
        let shared = Arc::new((Mutex::new(shared), Condvar::new()));
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |request| answer(&shared, request)
        });
        Self { shared, server, workspace: Workspace::new() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.0.lock().unwrap()
    }

    /// What happens at the source.
    pub(crate) fn world(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.shared().world);
    }

    /// A run as it comes; whatever happens, it ends as it is documented to.
    pub(crate) fn run(&self, run: &Run) {
        if run.is_full {
            self.shared().world.refresh();
        }
        let ended = self.start(run);
        let allowed: &[Option<i32>] = match (run.faults.is_empty(), run.stop) {
            (true, None) => &[Some(0)],
            (false, None) => &[Some(0), Some(4), Some(7)],
            (true, Some(Stop::TermAt(_))) => &[Some(0), Some(130)],
            (true, Some(_)) => &[Some(0), None],
            (false, Some(Stop::TermAt(_))) => &[Some(0), Some(4), Some(7), Some(130)],
            (false, Some(_)) => &[Some(0), Some(4), Some(7), None],
        };
        assert!(allowed.contains(&ended.code), "{:?} after {run:?}\n{}", ended.code, ended.stderr);
    }

    fn start(&self, run: &Run) -> Ended {
        let args: &[&str] = if run.is_full { &["--full-refresh"] } else { &[] };
        let mut command = self.workspace.command(&pipeline(&self.server), args);
        {
            let mut shared = self.shared();
            command.env("TRACKLAKE_NOW", shared.world.now().to_rfc3339());
            shared.faults.clone_from(&run.faults);
            shared.signal = match run.stop {
                Some(Stop::KillAt(at)) => Some((at, "KILL")),
                Some(Stop::TermAt(at)) => Some((at, "TERM")),
                _ => None,
            };
            (shared.run, shared.requests) = (None, 0);
        }
        let placed = self.files(&["parquet", "csv"]);
        let mut child = command.spawn().unwrap();
        self.shared().run = Some(child.id());
        self.shared.1.notify_all();
        let is_time: Option<&dyn Fn() -> bool> = match run.stop {
            None | Some(Stop::KillAt(_) | Stop::TermAt(_)) => None,
            Some(Stop::KillWhenStaged) => {
                Some(&|| self.files(&["_tracklake/own/staging"]).iter().any(|it| is(it, "staged")))
            }
            Some(Stop::KillWhenCommitted) => {
                Some(&|| self.files(&["_tracklake/own/journal"]).iter().any(|it| is(it, "json")))
            }
            Some(Stop::KillWhenPlaced) => Some(&|| self.files(&["parquet", "csv"]) != placed),
        };
        if let Some(is_time) = is_time {
            kill_when(&mut child, is_time);
        }
        Ended::of(&child.wait_with_output().unwrap())
    }

    /// Two runs that nobody disturbs, and then everything as it is at the source.
    ///
    /// One is not enough: after a kill it goes on from what was read before, as of that time.
    pub(crate) fn settle(&self) {
        for _ in 0..2 {
            self.world(|it| it.wait(1));
            self.run(&Run::UNDISTURBED);
        }
        for (at, stream) in STREAMS.into_iter().enumerate() {
            let mut found = self.rows(stream);
            let settled = self.shared().world.settle(at, &mut found);
            settled.unwrap_or_else(|difference| panic!("{difference}"));
        }
        let left: Vec<String> =
            self.workspace.files().into_keys().filter(|it| is_left(it)).collect();
        assert_eq!(left, [""; 0], "left over");
        let mut verify = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        verify
            .current_dir(self.workspace.path())
            .args(["verify", "own.yaml", "--output", "output"]);
        let ended = Ended::of(&verify.env_clear().output().unwrap());
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }

    /// The rows of each issue, the same in all formats.
    fn rows(&self, stream: &str) -> BTreeMap<i64, Rows> {
        let dir = |format: &str| self.workspace.output().join(format).join("own").join(stream);
        let table = read_parquet(&dir("parquet"));
        assert_same(&read_csv(&dir("csv"), &table.columns), &table);
        let mut rows = BTreeMap::<i64, Rows>::new();
        for it in &table.rows {
            let Some(Cell::Int(issue)) = it.cells.first() else { panic!("no issue in {it:?}") };
            rows.entry(*issue).or_default().push(row(&it.partition, &it.cells));
        }
        rows
    }

    /// The files below some directories of the output, each with its number.
    fn files(&self, dirs: &[&str]) -> BTreeSet<(PathBuf, u64)> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<PathBuf> =
            dirs.iter().map(|it| self.workspace.output().join(it)).collect();
        while let Some(dir) = waiting.pop() {
            // It all changes while it is listed.
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(about) if about.is_dir() => waiting.push(entry.path()),
                    Ok(about) => {
                        use std::os::unix::fs::MetadataExt as _;
                        found.insert((entry.path(), about.ino()));
                    }
                    Err(_) => {}
                }
            }
        }
        found
    }
}

fn is((path, _): &(PathBuf, u64), extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}

/// Whether only a run under way may have such a file.
fn is_left(path: &str) -> bool {
    ["/staging/", "/journal/", "/resume/", ".new", ".staged"].iter().any(|it| path.contains(it))
}

/// Kills a run as soon as something is so, unless it ends before.
fn kill_when(run: &mut Child, is_time: &dyn Fn() -> bool) {
    while run.try_wait().unwrap().is_none() {
        if is_time() {
            run.kill().unwrap();
            return;
        }
        std::thread::yield_now();
    }
}

fn answer((shared, started): &(Mutex<Shared>, Condvar), request: &Request) -> Response {
    let mut shared = shared.lock().unwrap();
    shared.requests += 1;
    let number = shared.requests;
    if let Some((_, signal)) = shared.signal.filter(|(at, _)| *at == number) {
        shared = started.wait_while(shared, |it| it.run.is_none()).unwrap();
        let run = shared.run.unwrap().to_string();
        // Whether it is still there says the run itself.
        let _ = Command::new("kill").arg(format!("-{signal}")).arg(run).status();
    }
    let is_busy = |it: &Fault| match it {
        Fault::Busy { from, count } => (*from..from + count).contains(&number),
        Fault::Broken { line } => request.line().contains(line),
        Fault::Cut { .. } => false,
    };
    if shared.faults.iter().any(is_busy) {
        return Response::status(500, &json!({ "error": "busy" }));
    }
    let response = page(&shared.world, request);
    let is_cut = |it: &Fault| matches!(it, Fault::Cut { at } if *at == number);
    if shared.faults.iter().any(is_cut) { response.cut() } else { response }
}

fn page(world: &World, request: &Request) -> Response {
    let parts: Vec<&str> = request.path.split('/').collect();
    let bound = |name: &str| {
        let text = request.param(name).unwrap();
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    };
    let all = match parts[..] {
        ["", "issues"] => Ok(world.listed(bound("since"), bound("until"))),
        ["", "issues", issue, stream] => world.below(issue.parse().unwrap(), stream),
        _ => Err(400),
    };
    match all {
        Ok(all) => {
            let items: Vec<&Value> = all.iter().skip(request.number("offset")).take(PAGE).collect();
            Response::json(&json!({ "total": all.len(), "items": items }))
        }
        Err(status) => Response::status(status, &json!({ "error": "no access" })),
    }
}

/// The first column of each stream is the issue's id.
fn pipeline(server: &Server) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {url}
  limits: {{ requests_per_second: 100000, max_in_flight: 2 }}
  retry: {{ max_attempts: 2, max_delay_secs: 0.001 }}
streams:
  issues:
    request: {{ path: /issues }}
    records: items
    paginate: &pages {{ offset: {{ size_param: limit, size: {PAGE}, total: total }} }}
    cursor: {{ column: updated_at, lookback: 30m }}
    slices: {{ window: {{ from: 2024-07-25, step: 2h, start_param: since, end_param: until }} }}
    columns:
      id: {{ from: id, type: int64 }}
      version: {{ from: version, type: int64 }}
      day: {{ from: day, type: date }}
      updated_at: {{ from: updated_at, type: timestamp }}
    unknown_fields: reject
    write: {{ merge: {{ key: [id], newest_by: version }} }}
    partition_by: {{ column: day }}
    expect: {{ empty: ok }}
  logs:
    slices: &issue {{ parent: {{ stream: issues, bind: {{ issue: id }} }} }}
    request: {{ path: '/issues/{{{{ parent.issue }}}}/logs' }}
    records: items
    paginate: *pages
    columns:
      issue: {{ from: parent.issue, type: int64 }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      minutes: {{ from: minutes, type: int64 }}
    unknown_fields: reject
    write: {{ replace: {{ scope: slice, key: [issue, id], by: {{ issue: parent.issue }} }} }}
    partition_by: {{ column: day }}
    expect: {{ empty: ok }}
  notes:
    slices: *issue
    request: {{ path: '/issues/{{{{ parent.issue }}}}/notes' }}
    records: items
    paginate: *pages
    columns:
      issue: {{ from: parent.issue, type: int64 }}
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
      text: {{ from: text, type: string }}
    unknown_fields: reject
    write: {{ append: {{ key: [id] }} }}
    partition_by: {{ column: day }}
    expect: {{ empty: ok }}
destination:
  path: output
  formats: {{ parquet: {{}}, csv: {{}} }}
",
        url = server.url()
    )
}
