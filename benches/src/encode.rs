//! Batches to partitioned Parquet: into the partitions' buffers, then sorted and encoded.

use std::{collections::BTreeMap, fmt::Write as _, hint::black_box};

use arrow::{
    array::{Array, AsArray as _, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::Date32Type,
};
use chrono::DateTime;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use tracklake::{
    config::{self, Inputs},
    load::{DEFAULT_MEMORY_BYTES, Destination, Purpose, ReadScopes, Rewrite},
    plan::{Plan, SliceContext},
    transform::Decoder,
};

use crate::{
    clock::{self, Clock, Seconds},
    pages::{self, DAYS, RECORDS},
    pipelines,
};

const CASES: [&str; 4] = [
    "tracklake: rows into the partitions' buffers",
    "tracklake: sort by key, encode and stage the files",
    "arrow and parquet: concat, take by date, an `ArrowWriter` a date",
    "`ArrowWriter`, one file, no partitions",
];

/// Measures all in interleaved rounds.
pub(crate) fn table(pages: u64, rounds: usize) -> String {
    let text = pipelines::decode();
    let plan = config::load_text("bench.yaml".as_ref(), &text, &Inputs::new([])).unwrap();
    let decoder = Decoder::new(&plan.streams[0]);
    let decode = |page: u64| {
        let page = pages::page(page, DAYS);
        decoder.decode(page.as_bytes(), &SliceContext::default()).unwrap().batch
    };
    let batches: Vec<RecordBatch> = (0..pages).map(decode).collect();
    let mut measured: [Vec<Seconds>; 4] = Default::default();
    for _ in 0..rounds {
        let [partition, encode] = ours(&plan, &batches);
        measured[0].push(partition);
        measured[1].push(encode);
        measured[2].push(clock::time(Clock::Process, || by_date(&batches)));
        measured[3].push(clock::time(Clock::Process, || {
            black_box(encoded(&batches));
        }));
    }
    report(&measured.map(|it| clock::median(&it)), pages * RECORDS, rounds)
}

fn ours(plan: &Plan, batches: &[RecordBatch]) -> [Seconds; 2] {
    let output = tempfile::tempdir().unwrap();
    let mut to = plan.destination.clone();
    to.path = output.path().into();
    let now = DateTime::default();
    let destination =
        Destination::open(&to, &plan.pipeline, "bench", now, Purpose::Publish).unwrap();
    let mut writer = destination.stream(&plan.streams[0], DEFAULT_MEMORY_BYTES).unwrap();
    let partition = clock::time(Clock::Process, || {
        for batch in batches {
            writer.write(batch.clone()).unwrap();
        }
    });
    let encode = clock::time(Clock::Process, || {
        black_box(writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap());
    });
    [partition, encode]
}

/// What one would write where memory does not matter.
fn by_date(batches: &[RecordBatch]) {
    let whole = concat_batches(&batches[0].schema(), batches).unwrap();
    let dates = whole.column_by_name("start_date").unwrap().as_primitive::<Date32Type>();
    let mut rows: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for (row, date) in (0..).zip(dates.values()) {
        rows.entry(*date).or_default().push(row);
    }
    assert_eq!(dates.null_count(), 0);
    for rows in rows.into_values() {
        let part = take_record_batch(&whole, &UInt32Array::from(rows)).unwrap();
        black_box(encoded(&[part]));
    }
}

/// Parquet as most write it: zstd 1, dictionaries, statistics.
fn encoded(batches: &[RecordBatch]) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "figures of four digits")]
fn report(measured: &[Seconds; 4], records: u64, rounds: usize) -> String {
    let [partition, encode, by_date, one_file] = measured;
    let mut text = format!(
        "{records} records of 20 columns, {DAYS} random days, Parquet with zstd 1; median of {rounds} interleaved\n\
         rounds.\n\n\
         | encode | µs of CPU a record | CPU s | wall s |\n|---|---:|---:|---:|\n"
    );
    for (name, Seconds { cpu, wall }) in CASES.iter().zip(measured) {
        let each = cpu * 1e6 / records as f64;
        writeln!(text, "| {name} | {each:.2} | {cpu:.2} | {wall:.2} |").unwrap();
    }
    let ours = partition.cpu + encode.cpu;
    write!(
        text,
        "\n| ratio of CPU seconds | |\n|---|---:|\n\
         | both of tracklake's, of take by date and encode | {:.2} |\n\
         | both of tracklake's, of one file | {:.2} |\n",
        ours / by_date.cpu,
        ours / one_file.cpu
    )
    .unwrap();
    text
}
