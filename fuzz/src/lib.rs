//! What must hold for any input. `cargo fuzz` looks for inputs for which it does not; the inputs in
//! `seeds` and every finding are run by `tests/seeds.rs`, too.

pub mod agree;
pub mod reference;

use std::sync::LazyLock;

use tracklake::{
    config::{self, Inputs},
    plan::{Plan, SliceContext, StreamPlan},
};

use agree::Engines;

/// The pipelines that come with the program.
const SHIPPED: [&str; 3] = [
    include_str!("../../pipelines/yandex_tracker.yaml"),
    include_str!("../../pipelines/jira_timesheet.yaml"),
    include_str!("../../pipelines/codearts_req.yaml"),
];

/// The variables that these need.
const VARIABLES: [(&str, &str); 8] = [
    ("YANDEX_TRACKER_TOKEN", "t0ken"),
    ("YANDEX_TRACKER_ORG_ID", "1"),
    ("JIRA_URL", "https://jira.example.org"),
    ("JIRA_TOKEN", "t0ken"),
    ("JIRA_ZONE", "Europe/Moscow"),
    ("CODEARTS_TOKEN", "t0ken"),
    ("CODEARTS_PROJECT_ID", "p"),
    ("CODEARTS_ZONE", "Asia/Shanghai"),
];

/// Every type, and what a column of it says about the value.
pub const TYPES: [&str; 16] = [
    "string",
    "int64",
    "float64",
    "boolean",
    "date",
    "{ date: { zone: America/New_York } }",
    "timestamp",
    "{ timestamp: { zone: America/New_York } }",
    "{ timestamp: { format: epoch_s } }",
    "{ timestamp: { format: epoch_ms } }",
    "{ duration: { calendar: absolute } }",
    "{ duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } }",
    "{ duration: { unit: ms } }",
    "{ duration: { unit: h, exact: true } }",
    "json",
    "{ duration: { unit: min, calendar: { business: { hours_per_day: 7.5, days_per_week: 5 } } } }",
];

fn inputs() -> Inputs {
    Inputs::new(VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The plan of a pipeline file without mistakes.
pub fn plan(text: &str) -> Plan {
    match config::parse(text, &inputs()) {
        Ok(plan) => plan,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The streams that come with the program.
pub static STREAMS: LazyLock<Vec<Engines>> = LazyLock::new(|| {
    let plans = SHIPPED.iter().map(|it| plan(it));
    plans.flat_map(|it| it.streams).map(Engines::new).collect()
});

/// A page of any stream: its first byte says of which.
pub fn page(input: &[u8]) {
    let Some((which, body)) = input.split_first() else { return };
    let engines = &STREAMS[usize::from(*which) % STREAMS.len()];
    drop(engines.agree(body, &SliceContext::default()));
}

/// One value as each of the types.
pub fn value(input: &[u8]) {
    static STREAMS: LazyLock<Vec<Engines>> =
        LazyLock::new(|| TYPES.iter().map(|it| Engines::new(stream_of(it))).collect());
    let body = [br#"[{"v":"#, input, b"}]"].concat();
    let quoted = [br#"[{"v":""#, input, b"\"}]"].concat();
    for engines in STREAMS.iter() {
        drop(engines.agree(&body, &SliceContext::default()));
        drop(engines.agree(&quoted, &SliceContext::default()));
    }
}

/// A stream whose column `v` has this type.
fn stream_of(kind: &str) -> StreamPlan {
    let text = format!(
        "version: 1\npipeline: p\nsource: {{ base_url: https://example.org }}\nstreams:\n  s:\n    \
         request: {{ path: / }}\n    columns:\n      v: {{ from: v, type: {kind} }}\n      \
         day: {{ from: day, type: date }}\n    unknown_fields: ignore\n    \
         partition_by: {{ column: day }}\n"
    );
    plan(&text).streams.remove(0)
}

/// A pipeline file, or what somebody takes for one.
pub fn pipeline(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::parse(text, &inputs()) {
        Ok(plan) => {
            for stream in &plan.streams {
                drop(Engines::new(stream.clone()).agree(b"[{}]", &SliceContext::default()));
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                // A lone carriage return ends a line, too (YAML 1.2, 5.4).
                let lines = text.split(['\n', '\r']).count();
                assert!(problem.place.line <= lines + 1, "{problem} at {:?}", problem.place);
            }
        }
    }
}

/// The directory of a partition is one path segment that says its value.
pub fn partition(value: &str, directory: &str) {
    let Some(encoded) = directory.strip_prefix("date=") else { panic!("{directory}") };
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.%".contains(it);
    assert!(encoded.chars().all(is_plain), "{directory}");
    assert_ne!(encoded, "__HIVE_DEFAULT_PARTITION__", "{value:?} reads as null");
    let mut decoded = Vec::new();
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next().unwrap_or(b'?')).to_digit(16);
        decoded.push(match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                digits => panic!("{digits:?} in {directory}"),
            },
            other => other,
        });
    }
    assert_eq!(decoded, value.as_bytes(), "{directory}");
}
