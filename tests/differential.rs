//! The engine of the program against the reference over `serde_json`: on pages that nearly fit, on
//! pages that are broken, for the shipped streams and for plans of every type and shape.

#[expect(dead_code, unreachable_pub, clippy::panic, reason = "it is the fuzzer's, too")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use tracklake::{
    config::{self, Inputs},
    plan::{
        ColumnPlan, ColumnSource, ColumnType, ExplodeShape, JsonPath, RecordsShape, SliceContext,
        StreamPlan,
    },
};

use targets::{STREAMS, TYPES, agree::Engines, plan};

/// What proptest chooses from, as bytes: after the last one every choice is the first.
struct Choices<'b>(std::slice::Iter<'b, u8>);

impl<'b> Choices<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self(bytes.iter())
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        let mut byte = || usize::from(self.0.next().copied().unwrap_or_default());
        if n > 256 { (byte() * 256 + byte()) % n } else { byte() % n }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const NUMBERS: [&str; 30] = [
    "0",
    "1",
    "-1",
    "41",
    "-0",
    "1.5",
    "2.50",
    "0.5",
    "-2.5",
    "1e3",
    "1E-1",
    "15e-1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "1e400",
    "-1e400",
    "1e-400",
    "0e999999999999999999999",
    "1752829690",
    "1752829690.123456789",
    "1752829690123",
    "-62135596800",
    "253402300800",
    "123456789012345678901234567890",
    "0.0000000000000000000000000005",
];

/// What stands between the quotes of a string.
const TEXTS: [&str; 58] = [
    "",
    "OPS-7",
    "Ли",
    "\\ud83d\\ude00",
    "😀",
    "a\\nb\\u0000",
    "\\u00e9\\/\\\"\\\\\\b\\f\\r\\t",
    "true",
    "FALSE",
    "null",
    "007",
    "+5",
    " 5",
    "1_000",
    "inf",
    "NaN",
    "1.",
    ".5",
    "0x1",
    "2024-07-25",
    "2024/07/25",
    "2023-02-29",
    "0000-01-01",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59.999999-01:00",
    "2024-07-25T09:42:06.258+0000",
    "2024-07-25t09:42z",
    "2024-07-25T09:42:06.123456789+05:30",
    "2024-07-25 09:42:06,5",
    "2024-07-25T09:42.5Z",
    "2024-03-10T02:30:00",
    "2024-11-03T01:30:00",
    "2024-12-31T23:59:60Z",
    "2024-07-25T24:00:00Z",
    "2024-07-25T09:42:06+24:00",
    "2024-07-25T09:42:06-03",
    "1883-11-18 12:01:00",
    "P1W2DT3H",
    "-P1DT0.5S",
    "PT2.5S",
    "PT3,5S",
    "P0Y0M1D",
    "P1Y",
    "P",
    "PT",
    "P1DT",
    "PT1M1H",
    "P-1D",
    "1w 2d 3h 30m",
    "30m 1h",
    "1.5d ",
    "1h1h",
    "-2h",
    "01:30:00",
    "100:59",
    "00:60",
    "01:30:00.5",
    "12345678901234567890 w",
];

/// Of a stream: what a page must have so that it fits, more or less.
struct Shape<'p> {
    stream: &'p StreamPlan,
    /// Every key of a path, so that keys meet where they should not.
    keys: Vec<&'p str>,
}

impl<'p> Shape<'p> {
    fn new(stream: &'p StreamPlan) -> Self {
        let paths = stream.columns.iter().filter_map(|it| match &it.from {
            ColumnSource::Record(path) => Some(path),
            ColumnSource::Parent(_) | ColumnSource::Slice(_) => None,
        });
        let paths = paths.chain(&stream.envelope).chain([&stream.records.path]);
        let keys = paths.flat_map(JsonPath::segments).map(String::as_str);
        Self { stream, keys: keys.chain(["id", "extra", "key"]).collect() }
    }

    fn body(&self, choices: &mut Choices<'_>) -> String {
        let mut records = match &self.stream.records.shape {
            RecordsShape::Map => {
                let members = (0..choices.below(4)).map(|_| {
                    let key = choices.pick(&["a", "b", "c", "b"]);
                    format!("\"{key}\":{}", self.record(choices))
                });
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            RecordsShape::Records => self.records(choices),
            RecordsShape::Stringified(inner) => {
                let text = nested(inner.segments(), self.records(choices));
                json!(broken(text, choices)).to_string()
            }
        };
        if choices.one_in(16) {
            records = self.anything(choices, 3);
        }
        let mut body = records;
        for key in self.stream.records.path.segments().iter().rev() {
            let mut members = vec![format!("\"{key}\":{body}")];
            for path in &self.stream.envelope {
                if let Some((first, below)) = path.segments().split_first()
                    && !choices.one_in(4)
                {
                    let value = self.anything(choices, 1);
                    members.push(format!("\"{first}\":{}", nested(below, value)));
                }
            }
            if choices.one_in(12) {
                members.push(format!("\"{key}\":{}", self.anything(choices, 3)));
            }
            if choices.one_in(2) {
                members.reverse();
            }
            body = format!("{{{}}}", members.join(","));
        }
        body
    }

    fn records(&self, choices: &mut Choices<'_>) -> String {
        if choices.one_in(10) {
            return self.record(choices);
        }
        let records: Vec<String> = (0..choices.below(5)).map(|_| self.record(choices)).collect();
        format!("[{}]", records.join(choices.pick(&[",", " , ", ",\n"])))
    }

    fn record(&self, choices: &mut Choices<'_>) -> String {
        let columns = self.stream.columns.iter().filter_map(|it| match &it.from {
            ColumnSource::Record(path) => Some((path.segments(), Some(it))),
            ColumnSource::Parent(_) | ColumnSource::Slice(_) => None,
        });
        let arrays = self.stream.explode.iter().map(|it| (it.path.segments(), None));
        let reads: Vec<_> = columns.chain(arrays).collect();
        self.value(&[], &reads, choices)
    }

    /// A value for all that is read at this path and below it; now and then another one.
    fn value(
        &self,
        path: &[String],
        reads: &[(&[String], Option<&ColumnPlan>)],
        choices: &mut Choices<'_>,
    ) -> String {
        let explode = self.stream.explode.iter().find(|it| it.path.segments() == path);
        if choices.one_in(40) {
            return self.anything(choices, 3);
        }
        if let Some(explode) = explode {
            let elements = (0..choices.below(4)).map(|_| {
                let element = self.inside(path, reads, choices);
                match explode.shape {
                    ExplodeShape::Array => element,
                    ExplodeShape::Map => {
                        format!("\"{}\":{element}", choices.pick(&["x", "y", "z"]))
                    }
                }
            });
            let elements = elements.collect::<Vec<_>>().join(",");
            return match explode.shape {
                ExplodeShape::Array => format!("[{elements}]"),
                ExplodeShape::Map => format!("{{{elements}}}"),
            };
        }
        self.inside(path, reads, choices)
    }

    fn inside(
        &self,
        path: &[String],
        reads: &[(&[String], Option<&ColumnPlan>)],
        choices: &mut Choices<'_>,
    ) -> String {
        let below: Vec<_> = reads.iter().filter(|(at, _)| at.starts_with(path)).copied().collect();
        let keys = below.iter().filter_map(|(at, _)| at.get(path.len()));
        let mut keys: Vec<&String> = keys.filter(|it| *it != JsonPath::KEY).collect();
        keys.sort();
        keys.dedup();
        if keys.is_empty() {
            let column = below.iter().find_map(|(at, column)| column.filter(|_| *at == path));
            return match column {
                Some(column) => self.fitting(&column.kind, choices),
                None => self.anything(choices, 2),
            };
        }
        let mut members = Vec::new();
        for key in keys {
            let times = choices.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 2]);
            for _ in 0..times {
                let at: Vec<String> = path.iter().chain([key]).cloned().collect();
                let value = self.value(&at, &below, choices);
                let escaped = choices.one_in(30) && key.is_ascii();
                let written = if escaped {
                    key.bytes().map(|it| format!("\\u{it:04x}")).collect::<Vec<_>>().concat()
                } else {
                    key.clone()
                };
                members.push(format!("\"{written}\":{value}"));
            }
        }
        if choices.one_in(3) {
            members.push(format!("\"{}\":{}", choices.pick(&self.keys), self.anything(choices, 2)));
        }
        let turn = choices.below(members.len().max(1));
        members.rotate_left(turn);
        format!("{{{}}}", members.join(","))
    }

    /// A value that a column of a type takes.
    fn fitting(&self, kind: &ColumnType, choices: &mut Choices<'_>) -> String {
        if choices.one_in(25) {
            return self.anything(choices, 2);
        }
        let fits: &[&str] = match kind {
            ColumnType::String => &[r#""OPS-7""#, "41", r#""""#, r#""a\tb\u00e9""#, "true", "null"],
            ColumnType::Int64 => &["41", r#""41""#, r#""""#, "4e1", "null", "-7.0"],
            ColumnType::Float64 => &["1.25", r#""-1e-3""#, r#""""#, "0", "null"],
            ColumnType::Boolean => &["true", r#""False""#, r#""""#, "null"],
            ColumnType::Date { .. } => {
                &[r#""2024-07-25""#, r#""2024/02/29""#, r#""2024-03-10T02:30:00""#, r#""""#, "null"]
            }
            ColumnType::Timestamp { .. } => &[
                r#""2024-07-25T09:42:06.258+0000""#,
                "1752829690",
                r#""2024-03-10T02:30:00""#,
                r#""2024-11-03 01:30:00""#,
                r#""""#,
                "null",
            ],
            ColumnType::Duration { .. } => {
                &[r#""P1W2DT3H""#, r#""1d 30m""#, r#""1:30""#, "90", r#""""#, "null"]
            }
            ColumnType::Json => return self.anything(choices, 3),
        };
        choices.pick(fits).to_owned()
    }

    fn anything(&self, choices: &mut Choices<'_>, depth: usize) -> String {
        match choices.below(if depth == 0 { 6 } else { 9 }) {
            0 => choices.pick(&["null", "true", "false"]).to_owned(),
            1 | 2 => choices.pick(&NUMBERS).to_owned(),
            3..6 => format!("\"{}\"", choices.pick(&TEXTS)),
            6 => {
                let elements = (0..choices.below(3)).map(|_| self.anything(choices, depth - 1));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            }
            _ => {
                let members = (0..choices.below(4)).map(|_| {
                    format!(
                        "\"{}\":{}",
                        choices.pick(&self.keys),
                        self.anything(choices, depth - 1)
                    )
                });
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// `{"a":{"b":value}}`
fn nested(path: &[String], value: String) -> String {
    path.iter().rev().fold(value, |value, key| format!("{{\"{key}\":{value}}}"))
}

/// The text, or one that is no longer JSON, or is JSON in another way.
fn broken(mut text: String, choices: &mut Choices<'_>) -> String {
    const PARTS: [&str; 22] = [
        "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", "\\u", "\\ud800", "\\udc00x",
        "\u{1}", "\u{feff}", "\u{a0}", "null", "nul", "/", " ",
    ];
    let mut at = choices.below(text.len() + 1);
    at = text.floor_char_boundary(at);
    match choices.below(8) {
        0 => text.truncate(at),
        1..4 => text.insert_str(at, choices.pick(&PARTS)),
        4 => text = text.split_off(at),
        5 => {
            // Around the limit of depth.
            let levels = 110 + choices.below(30);
            let (open, close) = choices.pick(&[("[", "]"), ("{\"a\":", "}")]);
            let middle = if open == "[" { "" } else { "1" };
            let deep = [&open.repeat(levels), middle, &close.repeat(levels)].concat();
            if let Some(value) = text.rfind(|it: char| it.is_ascii_digit()) {
                text.replace_range(value..=value, &deep);
            }
        }
        6 if at < text.len() => {
            text.remove(at);
        }
        _ => {}
    }
    text
}

/// A page, with bytes that are not text, too.
fn page(shape: &Shape<'_>, choices: &mut Choices<'_>) -> Vec<u8> {
    let body = shape.body(choices);
    match choices.below(6) {
        0..3 => body.into_bytes(),
        3 => {
            let mut bytes = body.into_bytes();
            if !bytes.is_empty() {
                let at = choices.below(bytes.len());
                bytes[at] ^= 1 << choices.below(8);
            }
            bytes
        }
        _ => broken(body, choices).into_bytes(),
    }
}

fn context(choices: &mut Choices<'_>) -> SliceContext {
    let value =
        choices.pick(&["\"I-1\"", "41", "null", "\"2024-07-25\"", "[1]", "{\"b\":1,\"a\":2}"]);
    let value: serde_json::Value = serde_json::from_str(value).unwrap_or_default();
    let names = ["issue_id", "issue_key", "project_id", "mode", "start", "end", "pid", "which"];
    let values: BTreeMap<_, _> = names.iter().map(|it| ((*it).to_owned(), value.clone())).collect();
    SliceContext { parent: values.clone(), slice: values }
}

/// A stream with columns of every type from all kinds of places.
fn any_stream(choices: &mut Choices<'_>) -> StreamPlan {
    const PATHS: [&str; 18] = [
        "id",
        "a",
        "a.b",
        "a.b.c",
        "list",
        "list.id",
        "list.a.b",
        "list.in",
        "list.in.x",
        "list.in.y.z",
        "map.$key",
        "map.v",
        "$key",
        "$",
        "parent.pid",
        "slice.which",
        "key",
        "map",
    ];
    let records = choices.pick(&[
        "",
        "records: issues",
        "records: result.record",
        "records: { map: by_id }",
        "records: { stringified: { path: text } }",
        "records: { stringified: { path: text, records: in.side } }",
    ]);
    let explode = choices.pick(&[
        "",
        "explode: list",
        "explode: { path: list, when_empty: drop }",
        "explode: [list, list.in]",
        "explode: [{ path: list, when_empty: drop }, { path: list.in, shape: map }]",
        "explode: [list, { path: list.in, when_empty: drop }]",
        "explode: { path: map, shape: map }",
        "explode: [{ path: map, shape: map, when_empty: drop }, map.v]",
        "explode: a.b",
    ]);
    let unknown = choices.pick(&["keep", "keep", "ignore", "reject"]);
    let paginate = choices.pick(&[
        "",
        "paginate: { offset: { param: offset, size_param: limit, size: 10, total: total } }",
        "paginate: { offset: { param: offset, size_param: limit, size: 10, total: result.total } }",
        "paginate: { last_record: { from: a.b, param: after } }",
    ]);
    let masked = choices.one_in(3);
    let mut columns = Vec::new();
    for i in 0..=choices.below(6) {
        let (from, kind) = (choices.pick(&PATHS), choices.pick(&TYPES));
        let values = if kind == "string" && choices.one_in(4) {
            ", values: { \"41\": Open, OPS-7: Done }"
        } else {
            ""
        };
        let mask = if masked && !choices.one_in(3) { mask(kind, choices) } else { "" };
        columns.push(format!("      c{i}: {{ from: \"{from}\", type: {kind}{values}{mask} }}\n"));
    }
    let columns = columns.concat();
    let text = format!(
        "version: 1\npipeline: p\nvars:\n  salt: {{ default: {SALT}, secret: true }}\nsource: {{ base_url: https://example.org }}\nstreams:\n  \
         p:\n    request: {{ path: / }}\n    columns:\n      id: {{ from: id, type: string }}\n      \
         day: {{ from: day, type: date }}\n    partition_by: {{ column: day }}\n  \
         s:\n    request: {{ path: / }}\n    slices:\n      product:\n        \
         - parent: {{ stream: p, bind: {{ pid: id }} }}\n        \
         - list: {{ as: which, values: [x] }}\n    {records}\n    {explode}\n    {paginate}\n    \
         columns:\n{columns}      day: {{ from: day, type: date }}\n      \
         pid: {{ from: parent.pid, type: json }}\n    unknown_fields: {unknown}\n    \
         write: {{ replace: {{ scope: slice, by: {{ pid: parent.pid }} }} }}\n    \
         partition_by: {{ column: day }}\n"
    );
    // A mask that could not hide its value is refused: then the stream has none.
    let plan = if masked && config::parse(&text, &Inputs::default()).is_err() {
        let without = text.lines().map(|line| match line.split_once(", mask:") {
            Some((column, _)) => format!("{column} }}\n"),
            None => format!("{line}\n"),
        });
        plan(&without.collect::<String>())
    } else {
        plan(&text)
    };
    plan.streams.into_iter().next_back().unwrap_or_else(|| unreachable!("two streams"))
}

/// A mask that a column of a type may have.
fn mask(kind: &str, choices: &mut Choices<'_>) -> &'static str {
    let constant = match kind {
        "string" => return choices.pick(&[HASH, HASH, DROP, ", mask: { constant: \"*\\n*\" }"]),
        "int64" => ", mask: { constant: -7 }",
        "float64" => ", mask: { constant: 0.5 }",
        "boolean" => ", mask: { constant: true }",
        "json" => ", mask: { constant: \"{}\" }",
        it if it.contains("date") => ", mask: { constant: \"1969-07-20\" }",
        it if it.contains("timestamp") => ", mask: { constant: \"1969-07-20T20:17:40Z\" }",
        _ => ", mask: { constant: 3600 }",
    };
    choices.pick(&[constant, DROP])
}

const SALT: &str = "pepper-pepper-pepper";
const HASH: &str = ", mask: { sha256: { salt: \"{{ vars.salt }}\" } }";
const DROP: &str = ", mask: drop";

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_500),
        // What is chosen changes its meaning with the tables above: cases are kept as tests.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn shipped_streams_read_the_same_from_pages_that_nearly_fit(chosen in bytes()) {
        let mut choices = Choices::new(&chosen);
        let engines = &STREAMS[choices.below(STREAMS.len())];
        let context = context(&mut choices);
        let page = page(&Shape::new(engines.stream()), &mut choices);
        drop(engines.agree(&page, &context));
    }

    #[test]
    fn streams_of_any_shape_read_the_same_from_pages_that_nearly_fit(chosen in bytes()) {
        let mut choices = Choices::new(&chosen);
        let stream = any_stream(&mut choices);
        let context = context(&mut choices);
        let page = page(&Shape::new(&stream), &mut choices);
        drop(Engines::new(stream).agree(&page, &context));
    }

    #[test]
    fn bytes_that_are_no_page_give_the_same_error(
        which in any::<u8>(),
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"id\"", "\\", "1", "-", "0", ".", "e+", " ",
                "\n", "null", "true", "fals", "\\ud800", "\\u00e9", "é", "\u{7f}", "\u{feff}",
            ]),
            0..12,
        ),
    ) {
        let page = [&[which], parts.concat().as_bytes()].concat();
        targets::page(&page);
    }

    #[test]
    fn values_of_any_form_read_the_same_as_every_type(chosen in bytes()) {
        let mut choices = Choices::new(&chosen);
        let mut text = choices.pick(&[choices_text(&chosen), ""]).to_owned();
        for _ in 0..choices.below(4) {
            text.push_str(choices.pick(&TEXTS));
            text.push_str(choices.pick(&["", " ", ":", "T", "-", ".5", "e9", "h", "d", "+01"]));
        }
        targets::value(text.as_bytes());
    }
}

/// A text or a number from the tables, by the first of the bytes.
fn choices_text(chosen: &[u8]) -> &'static str {
    let mut choices = Choices::new(chosen);
    if choices.one_in(3) { choices.pick(&NUMBERS) } else { choices.pick(&TEXTS) }
}

/// A page cut off anywhere is an error of the same kind at the same place.
#[test]
fn a_page_that_is_cut_off_gives_the_same_error_at_every_byte() {
    for (i, engines) in STREAMS.iter().enumerate() {
        let chosen: Vec<u8> = (0..200_u32).map(|it| (it * 37 + 11).to_le_bytes()[0]).collect();
        let shape = Shape::new(engines.stream());
        let body = shape.body(&mut Choices::new(&chosen[i..]));
        for end in 0..=body.len().min(600) {
            drop(engines.agree(&body.as_bytes()[..end], &SliceContext::default()));
        }
    }
}

/// The pages are not all broken, nor all whole: else the comparison would say little.
#[test]
fn the_pages_give_rows_rejects_and_errors_in_fair_shares() {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let (mut with_rows, mut with_rejects, mut errors, mut with_duplicates) = (0, 0, 0, 0);
    let (mut with_masks, mut with_masked_rejects) = (0, 0);
    for i in 0..600 {
        let chosen: Vec<u8> = (0..400).map(|_| byte()).collect();
        let mut choices = Choices::new(&chosen);
        let stream = (i % 2 == 0).then(|| any_stream(&mut choices)).map(Engines::new);
        let engines = stream.as_ref().unwrap_or_else(|| &STREAMS[i % STREAMS.len()]);
        let page = page(&Shape::new(engines.stream()), &mut choices);
        match engines.agree(&page, &SliceContext::default()) {
            Ok(decoded) => {
                with_rows += usize::from(decoded.batch.num_rows() > 0);
                with_rejects += usize::from(!decoded.rejects.is_empty());
                with_duplicates += usize::from(decoded.notices.duplicate_keys > 0);
                with_masks +=
                    usize::from(engines.stream().columns.iter().any(|it| it.mask.is_some()));
                with_masked_rejects +=
                    usize::from(decoded.rejects.iter().any(|it| !it.masked.is_empty()));
            }
            Err(_) => errors += 1,
        }
    }
    let shares = [with_rows, with_rejects, errors, with_duplicates];
    assert!(shares.iter().all(|it| *it >= 60), "{shares:?}");
    assert!(with_masks >= 20 && with_masked_rejects >= 5, "{with_masks} {with_masked_rejects}");
}
