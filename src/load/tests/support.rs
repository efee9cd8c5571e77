//! A stream of six columns, its rows, and readers that share no code with the writers.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{
        Array, AsArray as _, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    },
    datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::{option, prelude::*};

use crate::{
    load::{Destination, Purpose, StreamWriter},
    plan::{
        ColumnPlan, ColumnSource, ColumnType, CsvCompression, CsvPlan, DestinationPlan, FormatPlan,
        InstantFormat, JsonPath, LeasePlan, MaxRejected, Method, Name, PaginatePlan, PartitionPlan,
        PartitionUnit, RecordsPlan, RequestPlan, SlicesPlan, StreamPlan, Template, UnknownFields,
        WriteMode, arrow_schema,
    },
};

pub(super) const FORMATS: [FormatPlan; 4] = [
    FormatPlan::Parquet,
    csv(CsvCompression::None),
    csv(CsvCompression::Gzip),
    csv(CsvCompression::Zstd),
];

pub(super) const fn csv(compression: CsvCompression) -> FormatPlan {
    FormatPlan::Csv(CsvPlan { compression, escape_formulas: false })
}

pub(super) const NULL: &str = "date=__HIVE_DEFAULT_PARTITION__";

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A row; fields compare as they do in files, null first.
#[derive(Debug, Clone, Default, PartialEq, PartialOrd)]
pub(super) struct TestRow {
    pub(super) id: Option<i64>,
    pub(super) name: Option<String>,
    pub(super) price: Option<f64>,
    pub(super) done: Option<bool>,
    pub(super) day: Option<i32>,
    pub(super) start: Option<i64>,
}

/// 2024-07-25T00:00:00Z, in microseconds.
pub(super) const JULY: i64 = 1_721_865_600_000_000;

/// A row of the day that is `day` days after 2024-07-25 in UTC.
pub(super) fn row(id: i64, day: i64, text: &str) -> TestRow {
    TestRow {
        id: Some(id),
        name: Some(text.to_owned()),
        start: Some(JULY + day * 86_400_000_000),
        ..TestRow::default()
    }
}

pub(super) fn any_row() -> impl Strategy<Value = TestRow> {
    (
        option::weighted(0.9, 0i64..40),
        option::weighted(0.8, prop_oneof![Just(String::new()), "[ab,\"\n]{0,3}", "x{30,50}"]),
        option::weighted(0.3, prop_oneof![Just(0.5), Just(-1.0)]),
        option::weighted(0.3, any::<bool>()),
        option::weighted(0.8, 0i32..3),
        option::weighted(0.9, 0i64..4),
    )
        .prop_map(|(id, name, price, done, day, start)| TestRow {
            id,
            name,
            price,
            done,
            day,
            start: start.map(|day| JULY + day * 86_400_000_000),
        })
}

/// The clock of every run.
pub(super) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(JULY).unwrap()
}

pub(super) fn append() -> WriteMode {
    WriteMode::Append { key: vec![name("id")] }
}

pub(super) fn stream(write: WriteMode) -> StreamPlan {
    let column = |text: &str, kind| ColumnPlan {
        name: name(text),
        from: ColumnSource::Record(JsonPath::default()),
        kind,
        values: None,
        description: Some(format!("what `{text}` means")),
        mask: None,
    };
    StreamPlan {
        name: name("s"),
        description: None,
        request: RequestPlan {
            method: Method::Get,
            path: Template::parse("/"),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        },
        records: RecordsPlan::default(),
        explode: Vec::new(),
        paginate: PaginatePlan::default(),
        cursor: None,
        slices: SlicesPlan::Whole,
        columns: vec![
            column("id", ColumnType::Int64),
            column("name", ColumnType::String),
            column("price", ColumnType::Float64),
            column("done", ColumnType::Boolean),
            column("day", ColumnType::Date { zone: None }),
            column("start", ColumnType::Timestamp { format: InstantFormat::Text, zone: None }),
        ],
        unknown_fields: UnknownFields::Ignore,
        write,
        scope: Vec::new(),
        on_gone: crate::plan::OnGone::Keep,
        deletes: crate::plan::Deletes::Remove,
        guard: crate::plan::GuardPlan::default(),
        expect: crate::plan::ExpectPlan::default(),
        partition: PartitionPlan {
            column: name("start"),
            unit: PartitionUnit::Day,
            zone: Tz::UTC,
            name: name("date"),
        },
        responses: Vec::new(),
        max_rejected: MaxRejected::default(),
        envelope: Vec::new(),
    }
}

pub(super) fn batch(rows: &[TestRow]) -> RecordBatch {
    let plan = stream(append());
    RecordBatch::try_new(
        arrow_schema(&plan.columns, plan.unknown_fields),
        vec![
            Arc::new(rows.iter().map(|it| it.id).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|it| it.name.clone()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|it| it.price).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|it| it.done).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|it| it.day).collect::<Date32Array>()),
            Arc::new(
                rows.iter()
                    .map(|it| it.start)
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ],
    )
    .unwrap()
}

pub(super) fn destination_plan(path: &Path, formats: &[FormatPlan]) -> DestinationPlan {
    DestinationPlan {
        path: path.into(),
        lease: LeasePlan::default(),
        formats: formats.to_vec(),
        target_file_bytes: 256 << 20,
    }
}

pub(super) fn open(path: &Path, formats: &[FormatPlan]) -> Destination {
    Destination::open(&destination_plan(path, formats), &name("p"), "r1", now(), Purpose::Publish)
        .unwrap()
}

pub(super) fn writer(destination: &Destination) -> StreamWriter {
    destination.stream(&stream(append()), 1 << 20).unwrap()
}

/// Every file below `path` by its path, but for the lock, which has a process id in it.
pub(super) fn tree(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                left.push(entry);
            } else if !entry.ends_with("lock") {
                let place = entry.strip_prefix(path).unwrap().to_str().unwrap().to_owned();
                files.insert(place, fs::read(entry).unwrap());
            }
        }
    }
    files
}

pub(super) fn names(path: &Path) -> Vec<String> {
    tree(path).into_keys().collect()
}

/// The names outside of our own directory.
pub(super) fn visible(path: &Path) -> Vec<String> {
    names(path).into_iter().filter(|it| !it.starts_with("_tracklake")).collect()
}

/// The rows of each partition, in the order of the files.
pub(super) fn read(path: &Path, format: FormatPlan) -> BTreeMap<String, Vec<TestRow>> {
    let mut partitions = BTreeMap::<String, Vec<TestRow>>::new();
    let dataset = path.join(format.directory()).join("p/s");
    for directory in sorted(&dataset) {
        let partition = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let mut files = sorted(&directory);
        files.sort_by_key(|it| it.to_str().map(str::len));
        for file in files {
            let rows = match format {
                FormatPlan::Parquet => parquet_rows(&file),
                FormatPlan::Csv(_) => csv_rows(&file),
            };
            partitions.entry(partition.clone()).or_default().extend(rows);
        }
    }
    partitions
}

pub(super) fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
    list.sort();
    list
}

pub(super) fn parquet_rows(path: &Path) -> Vec<TestRow> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let (id, text) =
            (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        let (price, done) =
            (batch.column(2).as_primitive::<Float64Type>(), batch.column(3).as_boolean());
        let day = batch.column(4).as_primitive::<Date32Type>();
        let start = batch.column(5).as_primitive::<TimestampMicrosecondType>();
        for at in 0..batch.num_rows() {
            rows.push(TestRow {
                id: id.is_valid(at).then(|| id.value(at)),
                name: text.is_valid(at).then(|| text.value(at).to_owned()),
                price: price.is_valid(at).then(|| price.value(at)),
                done: done.is_valid(at).then(|| done.value(at)),
                day: day.is_valid(at).then(|| day.value(at)),
                start: start.is_valid(at).then(|| start.value(at)),
            });
        }
    }
    rows
}

fn csv_rows(path: &Path) -> Vec<TestRow> {
    let mut records = parse(&csv_text(path)).into_iter();
    let header: Vec<Option<String>> = records.next().unwrap();
    let header: Vec<&str> = header.iter().map(|it| it.as_deref().unwrap()).collect();
    assert_eq!(header, ["id", "name", "price", "done", "day", "start"]);
    records
        .map(|record| {
            let [id, text, price, done, day, start] = record.try_into().unwrap();
            TestRow {
                id: id.map(|it| it.parse().unwrap()),
                name: text,
                price: price.map(|it| it.parse().unwrap()),
                done: done.map(|it| it.parse().unwrap()),
                day: day.map(|it| i32::try_from(days(&it)).unwrap()),
                start: start.map(|it| micros(&it)),
            }
        })
        .collect()
}

pub(super) fn csv_text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
        "zst" => zstd::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut text).unwrap(),
        _ => (&bytes[..]).read_to_string(&mut text).unwrap(),
    };
    text
}

/// RFC 4180, a character at a time; a field without quotes and characters is null.
fn parse(text: &str) -> Vec<Vec<Option<String>>> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let mut field = String::new();
        let is_quoted = chars.next_if_eq(&'"').is_some();
        if is_quoted {
            loop {
                match chars.next().unwrap() {
                    '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    other => field.push(other),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|it| !matches!(it, ',' | '\n')) {
                field.push(next);
            }
        }
        record.push((is_quoted || !field.is_empty()).then_some(field));
        match chars.next().unwrap() {
            ',' => {}
            '\n' => records.push(std::mem::take(&mut record)),
            other => panic!("{other:?} after a field"),
        }
    }
    assert!(record.is_empty(), "the last line has no end");
    records
}

/// Days since 1970-01-01 of `2024-07-25`, for any year.
fn days(text: &str) -> i64 {
    let (rest, day) = text.rsplit_once('-').unwrap();
    let (year, month) = rest.rsplit_once('-').unwrap();
    let [year, month, day] = [year, month, day].map(|it| it.parse::<i64>().unwrap());
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469
}

/// Microseconds since 1970-01-01 of `2024-07-25T09:42:06.258000Z`, for any year.
fn micros(text: &str) -> i64 {
    let (date, time) = text.strip_suffix('Z').unwrap().split_once('T').unwrap();
    let (clock, fraction) = time.split_once('.').unwrap();
    assert_eq!(fraction.len(), 6);
    let seconds = clock.split(':').fold(0, |sum, it| sum * 60 + it.parse::<i128>().unwrap());
    let seconds = i128::from(days(date)) * 86_400 + seconds;
    i64::try_from(seconds * 1_000_000 + fraction.parse::<i128>().unwrap()).unwrap()
}
