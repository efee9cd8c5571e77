//! What columns mask is nowhere: not in files, not in quarantine, not in what is said.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{
    cli::{Ended, Workspace},
    read::read_parquet,
    run::{Exported, command},
    server::{Response, Server},
    table::Cell,
};
use tracklake::{
    config::{self, Inputs},
    sim::{Faults, SimOptions, Simulator},
};

const SALT: &str = "pepper-pepper-pepper";
/// HMAC-SHA-256 with that salt, of two addresses, the empty text and `Open`, by Python's `hmac`.
const LI: &str = "8734750d240de0a856428857abe96f66493b744a6d93a600bb738ec17cd2d2bd";
const WU: &str = "e747c01e7409ccdf852b1f91e9daa04ee6723634963ad51687e7e84c17d0f371";
const EMPTY: &str = "0e19d25330e6c3900ed3636b7d3161c8938758586c08017e79851e914185d439";
const OPEN: &str = "a0907ef36118f22aa1e234441afb42332a6a1c378192134d2f2b3883f0357e7f";

const FILE: &str = r#"version: 1
pipeline: own
vars:
  url: { env: OWN_URL }
  salt: { env: OWN_SALT, secret: true }
source:
  base_url: "{{ vars.url }}"
streams:
  log:
    request: { path: /log }
    columns:
      id: { from: id, type: int64 }
      day: { from: day, type: date }
      email: { from: author.email, type: string, mask: { sha256: { salt: "{{ vars.salt }}" } } }
      state: { from: state, type: string, values: { "1": Open }, mask: { sha256: { salt: "{{ vars.salt }}" } } }
      phone: { from: phone, type: int64, mask: drop }
      place: { from: place, type: json, mask: { constant: "***" } }
      born: { from: born, type: date, mask: { constant: 1970-01-01 } }
    write: { merge: { key: [id] } }
    partition_by: { column: day }
    max_rejected: 10
"#;

fn env(server: &Server) -> [(&'static str, String); 2] {
    [("OWN_URL", server.url()), ("OWN_SALT", SALT.to_owned())]
}

#[track_caller]
fn run(workspace: &Workspace, name: &str, server: &Server, args: &[&str]) -> Ended {
    let mut command = workspace.subcommand(name, FILE, args);
    Ended::of(&command.envs(env(server)).output().unwrap())
}

/// Nothing of this may be seen anywhere.
const PRIVATE: [&str; 6] =
    ["li@example", "wu@example", "ng@example", "5550199", "Elm Street", "1988"];

#[track_caller]
fn assert_shows_nothing(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for private in PRIVATE.iter().chain([&SALT]) {
        assert!(!text.contains(private), "`{private}` is in {what}: {text}");
    }
}

fn page() -> Value {
    let person = |id: Value, author: Value| {
        json!({
            "id": id, "day": "2024-07-25", "author": author, "state": 1, "phone": 5_550_199,
            "place": { "street": "Elm Street" }, "born": "1988-02-29",
        })
    };
    json!([
        person(json!(1), json!({ "email": "li@example.org", "team": "ops" })),
        person(json!("2"), json!({ "email": "li@example.org" })),
        { "id": 3, "day": "2024-07-25", "author": { "email": "" }, "state": 2, "place": null },
        // What does not fit: another column, the masked one, and what stands above it.
        person(json!("x"), json!({ "email": "wu@example.org", "team": "ops" })),
        person(json!(5), json!({ "email": ["ng@example.org"] })),
        person(json!(6), json!("ng@example.org")),
    ])
}

#[test]
fn rows_have_what_a_mask_makes_of_their_values_and_extra_has_nothing_of_them() {
    let (server, workspace) = (Server::start(|_| Response::json(&page())), Workspace::new());

    let ended = run(&workspace, "run", &server, &["--json"]);

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let rows = workspace.rows("log");
    let told = |column: &str| rows.iter().map(|it| it[column].clone()).collect::<Vec<_>>();
    assert_eq!(told("email"), [json!(LI), json!(LI), json!(EMPTY)]);
    assert_eq!(told("state"), [json!(OPEN), json!(OPEN), Value::Null]);
    assert_eq!(told("phone"), [Value::Null, Value::Null, Value::Null]);
    assert_eq!(told("place"), [json!("\"***\""), json!("\"***\""), Value::Null]);
    assert_eq!(told("born"), [json!("1970-01-01"), json!("1970-01-01"), Value::Null]);
    let extra = json!(r#"{"author":{"team":"ops"}}"#);
    assert_eq!(told("_extra"), [extra, Value::Null, Value::Null]);
    for (path, content) in workspace.files() {
        assert_shows_nothing(&path, &content);
    }
    let verified = run(&workspace, "verify", &server, &[]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    assert_shows_nothing("what is said", format!("{ended:?}").as_bytes());
}

#[test]
fn records_in_quarantine_have_masks_in_the_place_of_values_and_say_where() {
    let (server, workspace) = (Server::start(|_| Response::json(&page())), Workspace::new());
    assert_eq!(run(&workspace, "run", &server, &["--json"]).code, Some(7));

    let shown = run(&workspace, "quarantine", &server, &["--json"]);

    assert_shows_nothing("quarantine", shown.stdout.as_bytes());
    let lines: Vec<Value> =
        shown.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let raw =
        |at: usize| -> Value { serde_json::from_str(lines[at]["raw"].as_str().unwrap()).unwrap() };
    assert_eq!(lines.len(), 3, "{}", shown.stdout);
    assert_eq!(
        raw(0),
        json!({
            "id": "x", "day": "2024-07-25", "author": { "email": WU, "team": "ops" },
            "state": OPEN, "phone": null, "place": "***", "born": "1970-01-01",
        })
    );
    let all = json!(["author.email", "born", "phone", "place", "state"]);
    let mut masked: Vec<&str> =
        lines[0]["masked"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    masked.sort_unstable();
    assert_eq!(json!(masked), all);
    assert_eq!(raw(1)["author"], json!({ "email": "***" }));
    assert_eq!(raw(2)["author"], json!("***"));
    let reasons: Vec<_> = lines.iter().map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        [
            "expected int64, found \"x\"",
            "expected string, found an array",
            "expected an object at `author`, found ***",
        ]
    );
}

#[test]
fn previews_and_pulls_show_masks_and_say_which_columns_have_one() {
    let (server, workspace) = (Server::start(|_| Response::json(&page())), Workspace::new());
    let start = |name: &str, args: &[&str]| {
        let mut command = workspace.subcommand(name, FILE, args);
        let output = command.env("COLUMNS", "200").envs(env(&server)).output().unwrap();
        Ended::of(&output)
    };
    workspace.subcommand("check", FILE, &[]);
    let of = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        command.current_dir(workspace.path()).env_clear().envs(env(&server)).args(args);
        Ended::of(&command.stdin(Stdio::null()).output().unwrap())
    };
    drop(start("run", &["--json"]));

    let preview = of(&["preview", "own.yaml", "log"]);
    let pull = of(&["pull", "own.yaml", "log", "--format", "csv"]);

    for (what, shown) in [("preview", &preview), ("pull", &pull)] {
        assert_eq!(shown.code, Some(7), "{what}: {}", shown.stderr);
        assert_shows_nothing(what, format!("{shown:?}").as_bytes());
    }
    let lines: Vec<&str> = preview.stdout.lines().collect();
    let of_column = |name: &str| {
        lines.iter().find(|it| it.trim_start().starts_with(name)).copied().unwrap_or_default()
    };
    assert!(of_column("email").contains("string, mask: sha256"), "{}", preview.stdout);
    assert!(of_column("phone").contains("int64, mask: drop"), "{}", preview.stdout);
    assert!(of_column("born").contains("date, mask: constant"), "{}", preview.stdout);
    assert!(pull.stdout.contains(LI), "{}", pull.stdout);
}

#[test]
fn a_body_that_is_no_json_is_not_quoted_where_something_is_masked() {
    let body = r#"[{"id":1,"author":{"email":"li@example.org",}}]"#;
    let server = Server::start(move |_| Response::text(200, body));
    let workspace = Workspace::new();

    let ended = run(&workspace, "run", &server, &["--json"]);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("expected a key in quotes"), "{}", ended.stderr);
    assert!(ended.stderr.contains("near `***`"), "{}", ended.stderr);
    assert_shows_nothing("what is said", format!("{ended:?}").as_bytes());
}

#[test]
fn rows_with_another_kind_of_mask_never_stand_beside_those_that_are_there() {
    let (server, workspace) = (Server::start(|_| Response::json(&page())), Workspace::new());
    assert_eq!(run(&workspace, "run", &server, &["--json"]).code, Some(7));
    let before = workspace.published();
    let rerun = |yaml: &str| {
        let env = env(&server);
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        workspace.run(yaml, &[], &env)
    };

    let plain = rerun(&FILE.replace(", mask: drop", ""));
    let other =
        rerun(&FILE.replace("type: int64, mask: drop", "type: int64, mask: { constant: 7 }"));

    for (ended, stands, planned) in [
        (&plain, "masked by `drop`", "not masked"),
        (&other, "masked by `drop`", "masked by `constant`"),
    ] {
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        let said =
            format!("column `phone` is {stands} in the dataset and {planned} in the pipeline");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
    assert_eq!(workspace.published(), before);
}

#[test]
fn pages_that_were_masked_with_another_salt_are_not_taken_up_again() {
    let fingerprint = |salt: &str| {
        let env = [("OWN_URL", "https://example.org"), ("OWN_SALT", salt)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        config::parse(FILE, &Inputs::new(env)).unwrap().fingerprint
    };

    assert_eq!(fingerprint(SALT), fingerprint(SALT));
    assert_ne!(fingerprint(SALT), fingerprint("another-pepper-here"));
}

// ---- Mistakes

/// What `check` says about columns and the rest of a stream.
#[track_caller]
fn mistakes(columns: &str, rest: &str) -> String {
    let yaml = format!(
        r#"version: 1
pipeline: own
vars:
  salt:  {{ default: {SALT}, secret: true }}
  short: {{ default: pepper, secret: true }}
  empty: {{ default: "", secret: true }}
  shown: {{ default: {SALT} }}
source: {{ base_url: https://example.org }}
streams:
  log:
    request: {{ path: /log }}
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
{columns}
{rest}
"#
    );
    let workspace = Workspace::new();
    workspace.subcommand("check", &yaml, &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
    let command = command.current_dir(workspace.path()).env_clear().args(["check", "own.yaml"]);
    let ended = Ended::of(&command.output().unwrap());
    assert_eq!(ended.code, Some(3), "{}", ended.stdout);
    assert!(!ended.stderr.contains(SALT), "{}", ended.stderr);
    // Of each mistake its head; the line that follows is the file's.
    let heads = ended.stderr.lines().filter(|it| it.starts_with("  own.yaml:"));
    heads.map(|it| [it.trim(), "\n"].concat()).collect::<Vec<_>>().concat()
}

const REST: &str = "    partition_by: { column: day }";

#[test]
fn masks_that_are_none_are_refused_with_their_place() {
    let columns = r#"      a: { from: a, type: string, mask: sha1 }
      b: { from: b, type: string, mask: { sha256: {} } }
      c: { from: c, type: string, mask: { sha256: { salt: "{{ vars.empty }}" } } }
      d: { from: d, type: string, mask: { sha256: { salt: "{{ vars.short }}" } } }
      e: { from: e, type: string, mask: { sha256: { salt: "{{ vars.shown }}" } } }
      f: { from: f, type: string, mask: { sha256: { salt: in-the-file-for-all } } }
      g: { from: g, type: string, mask: { sha256: { salt: "{{ vars.slat }}" } } }
      h: { from: h, type: int64, mask: { sha256: { salt: "{{ vars.salt }}" } } }
      i: { from: i, type: int64, mask: { constant: none } }
      j: { from: j, type: date, mask: { constant: 1970-02-30 } }
      k: { from: k, type: timestamp, mask: { constant: 1970-01-01 } }
      l: { from: l, type: boolean, mask: { constant: 1 } }
      m: { from: m, type: float64, mask: { constant: "nan" } }
      p: { from: p, type: duration, mask: { constant: 1h } }
      o: { from: o, type: string, mask: { constant: null } }"#;

    assert_snapshot!(mistakes(columns, REST), @r#"
    own.yaml:15:41: streams.log.columns.a.mask: unknown choice `sha1`, expected one of `sha256`, `drop`, `constant`; did you mean `sha256`?
    own.yaml:16:43: streams.log.columns.b.mask.sha256: the key `salt` is missing
    own.yaml:17:59: streams.log.columns.c.mask.sha256.salt: the salt is empty: it needs at least 16 characters, such as those of `openssl rand -hex 32`
    own.yaml:18:59: streams.log.columns.d.mask.sha256.salt: the salt can be guessed: it needs at least 16 characters, such as those of `openssl rand -hex 32`
    own.yaml:19:59: streams.log.columns.e.mask.sha256.salt: whoever reads the salt can find out what was hashed: declare `mask_salt: { env: MASK_SALT, secret: true }` under `vars` and write `salt: "{{ vars.mask_salt }}"`
    own.yaml:20:59: streams.log.columns.f.mask.sha256.salt: whoever reads the salt can find out what was hashed: declare `mask_salt: { env: MASK_SALT, secret: true }` under `vars` and write `salt: "{{ vars.mask_salt }}"`
    own.yaml:21:59: streams.log.columns.g.mask.sha256.salt: the template names `vars.slat`, but there are `vars.empty`, `vars.salt`, `vars.short`, `vars.shown`; did you mean `vars.salt`?
    own.yaml:22:42: streams.log.columns.h.mask.sha256: hashes are text, and this column is not: set `type: string`, or use `drop` or `constant`
    own.yaml:23:52: streams.log.columns.i.mask.constant: `none` is not of the column's type: write a whole number
    own.yaml:24:51: streams.log.columns.j.mask.constant: `1970-02-30` is not of the column's type: write a date such as `1970-01-01`
    own.yaml:25:56: streams.log.columns.k.mask.constant: `1970-01-01` is not of the column's type: write an instant such as `1970-01-01T00:00:00Z`
    own.yaml:26:54: streams.log.columns.l.mask.constant: `1` is not of the column's type: write `true` or `false`
    own.yaml:27:54: streams.log.columns.m.mask.constant: `nan` is not of the column's type: write a number
    own.yaml:28:55: streams.log.columns.p.mask.constant: `1h` is not of the column's type: write a number of seconds
    own.yaml:29:53: streams.log.columns.o.mask.constant: null is no constant: write `mask: drop`
    "#);
}

#[test]
fn masks_that_would_hide_nothing_or_break_the_dataset_are_refused_with_their_place() {
    let columns = r#"      start: { from: start, type: date, mask: drop }
      changed: { from: changed, type: timestamp, mask: { constant: "1970-01-01T00:00:00Z" } }
      code: { from: code, type: string, mask: { constant: x } }
      email: { from: author.email, type: string, mask: { sha256: { salt: "{{ vars.salt }}" } } }
      again: { from: author.email, type: string }
      author: { from: author, type: json }
      team: { from: author.team, type: string }
      which: { from: slice.which, type: string, mask: drop }"#;
    let rest = "    slices: { list: { as: which, values: [x] } }
    paginate: { last_record: { from: author.email, param: after } }
    cursor: { column: changed }
    write: { merge: { key: [id, code], newest_by: changed } }
    expect: { max_nulls: { start: 5% } }
    partition_by: { column: start }
  children:
    request: { path: '/{{ parent.email }}' }
    slices: { parent: { stream: log, bind: { email: email } } }
    columns: { day: { from: day, type: date } }
    partition_by: { column: day }";

    assert_snapshot!(mistakes(columns, rest), @r#"
    own.yaml:15:47: streams.log.columns.start.mask: rows go into directories by their real dates: `partition_by` needs a column without a mask
    own.yaml:15:47: streams.log.columns.start.mask: every value will be null: leave the column out of `expect.max_nulls`
    own.yaml:16:50: streams.log.columns.changed.mask: how far the stream has got is told by real times: `cursor` needs a column without a mask
    own.yaml:16:50: streams.log.columns.changed.mask: the newest row is found by real values: `newest_by` needs a column without a mask
    own.yaml:17:41: streams.log.columns.code.mask: rows of one key replace each other, and all would have this one: use `sha256`, or leave the column out of `key`
    own.yaml:18:50: streams.log.columns.email.mask: the value goes into the URL of the next page: `last_record` needs another field
    own.yaml:18:50: streams.log.columns.email.mask: column `again` shows the same value as it is: mask it, too, or leave it out
    own.yaml:18:50: streams.log.columns.email.mask: column `author` shows the same value as it is: mask it, too, or leave it out
    own.yaml:22:55: streams.log.columns.which.mask: what a slice has stands in requests, logs and state as it is: mask values of records, and leave this column out
    own.yaml:31:53: streams.children.slices.parent.bind.email: column `email` of stream `log` is masked, and requests need its real values: bind another column, or leave its mask out
    "#);
}

#[test]
fn a_column_below_a_masked_one_is_refused_unless_it_is_masked_too() {
    let columns = r"      u: { from: u, type: json, mask: drop }
      email: { from: u.email, type: string }
      city: { from: u.home.city, type: string, mask: drop }
      user: { from: user, type: string }";

    assert_snapshot!(mistakes(columns, REST), @"own.yaml:15:39: streams.log.columns.u.mask: column `email` shows a part of the value as it is: mask it, too, or leave it out");
}

// ---- A shipped pipeline

/// The pipeline with masks on its addresses, and with a column that rejects some records.
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn masked_timesheet(dir: &Path, is_masked: bool) -> PathBuf {
    let text = std::fs::read_to_string("pipelines/jira_timesheet.yaml").unwrap();
    let mask = r#"emailAddress, type: string, mask: { sha256: { salt: "{{ vars.mask_salt }}" } }"#;
    let mut text = text
        .replace("\nvars:\n", "\nvars:\n  mask_salt: { env: JIRA_MASK_SALT, secret: true }\n")
        .replace(
            "memo:                    { from: log.memo, type: string",
            "memo: { from: log.memo, type: int64",
        )
        .replace(
            "memo:                { from: memo, type: string",
            "memo: { from: memo, type: int64",
        )
        .replace("    write: {", "    max_rejected: 100%\n    write: {");
    if is_masked {
        text = text.replace("emailAddress, type: string", mask);
    }
    let file = dir.join("masked.yaml");
    std::fs::write(&file, &text).unwrap();
    file
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|it| it.unwrap().path());
    paths.flat_map(|it| if it.is_dir() { all_files(&it) } else { vec![it] }).collect()
}

/// The files that have one of the texts in them as it is.
fn files_with(dir: &Path, texts: &[String]) -> Vec<String> {
    let has = |path: &PathBuf| {
        let content = std::fs::read(path).unwrap();
        texts.iter().any(|it| content.windows(it.len()).any(|window| window == it.as_bytes()))
    };
    let found = all_files(dir).into_iter().filter(has);
    found.map(|it| it.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

struct Timesheet {
    simulator: Simulator,
    dir: tempfile::TempDir,
    addresses: Vec<String>,
}

impl Timesheet {
    async fn new() -> Self {
        let options = SimOptions { issues: 30, page_cap: Some(20), ..SimOptions::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let worklogs = &simulator.world().jira.worklogs;
        let mut addresses: Vec<String> =
            worklogs.iter().map(|it| it.author.email_address.clone()).collect();
        addresses.sort();
        addresses.dedup();
        assert!(addresses.len() > 1 && addresses.iter().all(|it| it.contains('@')));
        Self { simulator, dir: tempfile::tempdir().unwrap(), addresses }
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("output")
    }

    fn run(&self, is_masked: bool) -> Command {
        let file = masked_timesheet(self.dir.path(), is_masked);
        let extra = [("JIRA_MASK_SALT", SALT), ("TRACKLAKE_TEST_ARGS", "-vv")];
        command(&self.simulator, file.to_str().unwrap(), &self.output(), &extra)
    }
}

#[tokio::test]
async fn addresses_of_a_timesheet_are_in_no_file_and_in_nothing_that_is_said() {
    let site = Timesheet::new().await;

    let ended = Exported::of(&site.run(true).output().unwrap());

    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(files_with(&site.dir.path().join("output"), &site.addresses), [""; 0]);
    for said in [&ended.stdout, &ended.stderr] {
        assert!(!site.addresses.iter().any(|it| said.contains(it)), "{said}");
    }
    let kept = site.output().join("quarantine/jira_timesheet/worklogs");
    assert_eq!(all_files(&kept).len(), 1, "some records do not fit");
    for (stream, column) in [
        ("worklogs", "author_email"),
        ("audit_log", "log_author_email"),
        ("audit_log", "auditor_email"),
    ] {
        let table = read_parquet(&site.output().join("parquet/jira_timesheet").join(stream));
        let at = table.columns.iter().position(|it| it.name == column).unwrap();
        let is_hash = |it: &str| it.len() == 64 && it.bytes().all(|it| it.is_ascii_hexdigit());
        let mut hashes = 0;
        for cell in table.rows.iter().flat_map(|it| &it.cells) {
            let Cell::Text(text) = cell else { continue };
            assert!(!site.addresses.contains(text), "{stream}: {text}");
        }
        for row in &table.rows {
            if let Cell::Text(text) = &row.cells[at] {
                assert!(is_hash(text), "{stream}.{column}: {text}");
                hashes += 1;
            }
        }
        assert!(hashes > 0, "{stream}.{column}");
    }
}

/// Starts a slow run, kills it in the middle, and gives the files that have addresses in them.
fn killed(site: &Timesheet, is_masked: bool) -> Vec<String> {
    site.simulator.set_faults(Faults { latency_ms: 40, ..Faults::default() });
    site.simulator.clear_requests();
    let mut run = site.run(is_masked);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let resume = site.output().join("_tracklake/jira_timesheet/resume/audit_log.spool");
    let has_rows = || std::fs::metadata(&resume).is_ok_and(|it| it.len() > 20_000);
    while !has_rows() {
        assert_eq!(run.try_wait().unwrap(), None, "the run ended before");
        assert!(started.elapsed() < Duration::from_mins(1), "it does not come");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    files_with(&site.output(), &site.addresses)
}

#[tokio::test]
async fn what_a_killed_run_leaves_has_no_addresses_either() {
    let (masked, plain) = (Timesheet::new().await, Timesheet::new().await);

    // Without masks they are found there, so that not finding them says something.
    assert!(killed(&plain, false).iter().any(|it| it.contains("/resume/")));
    assert_eq!(killed(&masked, true), [""; 0]);
}
