//! The bytes of pages to typed columns.

use std::{fmt::Write as _, hint::black_box};

use serde::de::IgnoredAny;
use tracklake::{
    config::{self, Inputs},
    plan::SliceContext,
    transform::Decoder,
};

use crate::{
    clock::{self, Clock, Seconds},
    pages::{self, DAYS, RECORDS},
    peers, pipelines,
};

/// What is measured: a name, and what is done with a page.
type Case<'a> = (&'static str, Box<dyn FnMut(&[u8]) + 'a>);

const OURS: &str = "tracklake, 20 columns";
const OURS_SIX: &str = "tracklake, 6 columns";
const VALUE: &str = "serde_json::Value + builders, 20 columns";
const BARE: [&str; 3] = [
    "sonic-rs, skip (IgnoredAny)",
    "simd-json, tape and the copy it needs",
    "serde_json, skip (IgnoredAny)",
];

/// Measures everything in interleaved rounds; `only` some of it for a profiler.
pub(crate) fn table(pages: u64, rounds: usize, only: &str) -> String {
    let pages: Vec<String> = (0..pages).map(|it| pages::page(it, DAYS)).collect();
    let bytes: usize = pages.iter().map(String::len).sum();
    let records = pages.len() * usize::try_from(RECORDS).unwrap();
    let plan =
        config::load_text("bench.yaml".as_ref(), &pipelines::decode(), &Inputs::new([])).unwrap();
    let decoders: Vec<Decoder> = plan.streams.iter().map(Decoder::new).collect();
    same_columns(&decoders[0], pages[0].as_bytes());

    let mut cases: Vec<Case> = bare_cases();
    cases.push((
        VALUE,
        Box::new(|page| {
            black_box(peers::values_to_columns(page));
        }),
    ));
    let ours = [OURS, OURS_SIX, "tracklake, 6 columns, the rest in `_extra`"];
    for (name, decoder) in ours.into_iter().zip(&decoders) {
        cases.push((
            name,
            Box::new(|page| {
                black_box(decoder.decode(page, &SliceContext::default()).unwrap());
            }),
        ));
    }
    cases.retain(|(name, _)| name.contains(only));
    let mut measured = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for ((_, case), rounds) in cases.iter_mut().zip(&mut measured) {
            rounds.push(clock::time(Clock::Thread, || {
                for page in &pages {
                    case(page.as_bytes());
                }
            }));
        }
    }
    let measured: Vec<(&str, Seconds)> =
        cases.iter().zip(&measured).map(|((name, _), it)| (*name, clock::median(it))).collect();
    report(&measured, bytes, records, rounds)
}

/// Parsers that keep nothing: what reading the bytes costs at least.
fn bare_cases<'a>() -> Vec<Case<'a>> {
    let mut copy = Vec::new();
    let mut buffers = simd_json::Buffers::default();
    vec![
        (
            BARE[0],
            Box::new(|page| {
                black_box(sonic_rs::from_slice::<IgnoredAny>(page).unwrap());
            }),
        ),
        (
            BARE[1],
            Box::new(move |page| {
                copy.clear();
                copy.extend_from_slice(page);
                black_box(simd_json::to_tape_with_buffers(&mut copy, &mut buffers).unwrap());
            }),
        ),
        (
            BARE[2],
            Box::new(|page| {
                black_box(serde_json::from_slice::<IgnoredAny>(page).unwrap());
            }),
        ),
    ]
}

/// Both ways give the same.
fn same_columns(decoder: &Decoder, page: &[u8]) {
    let ours = decoder.decode(page, &SliceContext::default()).unwrap();
    assert_eq!(ours.rejects, []);
    let theirs = peers::values_to_columns(page);
    for (field, (ours, theirs)) in
        ours.batch.schema().fields().iter().zip(ours.batch.columns().iter().zip(&theirs))
    {
        assert_eq!(ours, theirs, "{field}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of four digits")]
fn report(measured: &[(&str, Seconds)], bytes: usize, records: usize, rounds: usize) -> String {
    let cpu = |name: &str| measured.iter().find(|it| it.0 == name).map(|it| it.1.cpu);
    let mut text = format!(
        "{records} records, {} B a record, one thread, median of {rounds} interleaved rounds.\n\n\
         | decode | MB/s of CPU | ns of CPU a record | MB/s of wall |\n|---|---:|---:|---:|\n",
        bytes / records
    );
    let megabytes = bytes as f64 / 1e6;
    for (name, Seconds { cpu, wall }) in measured {
        let nanoseconds = cpu * 1e9 / records as f64;
        let (speed, seen) = (megabytes / cpu, megabytes / wall);
        writeln!(text, "| {name} | {speed:.0} | {nanoseconds:.0} | {seen:.0} |").unwrap();
    }
    let fastest = BARE[..2].iter().filter_map(|it| cpu(it)).reduce(f64::min);
    if let (Some(fastest), Some(value), Some(ours), Some(six)) =
        (fastest, cpu(VALUE), cpu(OURS), cpu(OURS_SIX))
    {
        write!(
            text,
            "\n\
             | ratio of CPU speeds | target | 20 columns | 6 columns |\n|---|---:|---:|---:|\n\
             | of the fastest bare parse (sonic-rs skip or simd-json tape) | 0.45 | {:.2} | {:.2} |\n\
             | of `serde_json::Value` + builders, 20 columns | 6 | {:.1} | {:.1} |\n",
            fastest / ours,
            fastest / six,
            value / ours,
            value / six,
        )
        .unwrap();
    }
    text
}
