#![expect(clippy::disallowed_methods, reason = "a test's own files")]

use std::{fs, path::Path};

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::{
    load::{Destination, Purpose},
    plan::{DestinationPlan, FormatPlan, LeasePlan},
};

const SPOOL: &str = "_tracklake/p/resume/s.spool";

/// An open destination whose stream `s` has two columns.
struct Place {
    dir: tempfile::TempDir,
    destination: Destination,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plan = DestinationPlan {
            path: dir.path().into(),
            lease: LeasePlan::default(),
            formats: vec![FormatPlan::Parquet],
            target_file_bytes: 1 << 20,
        };
        let destination = Destination::open(
            &plan,
            &name("p"),
            "r1",
            chrono::DateTime::UNIX_EPOCH,
            Purpose::Publish,
        )
        .unwrap();
        Self { dir, destination }
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.dir.path().join(below)
    }

    fn open(&self) -> Spooled {
        Spooled::open(self.destination.held(), &name("s"), schema()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path(SPOOL)).unwrap()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

fn page(slice: &str, number: u64) -> SpooledPage {
    let first = i64::try_from(number * 100).unwrap();
    let ids = Int64Array::from(vec![Some(first), None]);
    let texts = StringArray::from(vec![Some(slice), Some("")]);
    SpooledPage {
        slice: slice.to_owned(),
        page: number,
        records: 3,
        batch: RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(texts)]).unwrap(),
        rejects: vec![SpooledReject {
            position: 2,
            column: Some("id".to_owned()),
            reason: "`x` is no number".to_owned(),
            raw: r#"{"id":"x"}"#.to_owned(),
            masked: vec!["author.email".to_owned()],
        }],
    }
}

const END_OF_SLICE: SpooledEnd = SpooledEnd { is_reconciled: true, rejected: 1 };

/// What a slice has: its pages with all that is in them.
fn pages(spooled: &Spooled, slice: &str) -> Vec<(u64, u64, RecordBatch, Vec<SpooledReject>)> {
    let mut pages = spooled.pages(slice).unwrap();
    let mut found = Vec::new();
    while let Some(page) = pages.next_page().unwrap() {
        assert_eq!(page.slice, slice);
        found.push((page.page, page.records, page.batch, page.rejects));
    }
    found
}

#[track_caller]
fn check(spooled: &Spooled, slice: &str, numbers: &[u64]) {
    assert_eq!(spooled.end(slice), Some(END_OF_SLICE), "{slice}");
    let expected: Vec<_> = numbers
        .iter()
        .map(|it| page(slice, *it))
        .map(|it| (it.page, it.records, it.batch, it.rejects))
        .collect();
    assert_eq!(pages(spooled, slice), expected, "{slice}");
}

fn write(place: &Place, slice: &str, numbers: &[u64], is_finished: bool) {
    let mut writer = place.open().append().unwrap();
    for number in numbers {
        writer.page(&page(slice, *number)).unwrap();
    }
    if is_finished {
        writer.end(slice, END_OF_SLICE).unwrap();
    }
}

#[test]
fn pages_of_finished_slices_come_back_as_they_were() {
    let place = Place::new();
    let mut writer = place.open().append().unwrap();
    // Slices are read at once, so that their pages take turns.
    for (slice, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        writer.page(&page(slice, number)).unwrap();
    }
    writer.end("b", END_OF_SLICE).unwrap();
    writer.page(&page("a", 3)).unwrap();
    writer.end("a", END_OF_SLICE).unwrap();
    drop(writer);

    let spooled = place.open();

    check(&spooled, "a", &[1, 2, 3]);
    check(&spooled, "b", &[1, 2]);
}

#[test]
fn a_slice_without_its_end_does_not_come_back() {
    let place = Place::new();
    write(&place, "a", &[1], true);
    write(&place, "b", &[1, 2], false);

    let spooled = place.open();

    check(&spooled, "a", &[1]);
    assert_eq!(spooled.end("b"), None);
    assert_eq!(pages(&spooled, "b"), []);
    assert_eq!(pages(&spooled, "never heard of"), []);
}

#[test]
fn a_torn_tail_loses_only_what_is_torn_and_the_file_goes_on_behind_the_last_whole_frame() {
    let place = Place::new();
    write(&place, "a", &[1, 2], true);
    let whole = place.bytes().len();
    write(&place, "b", &[1], false);
    let page_ends = place.bytes().len();
    write(&place, "b", &[], true);
    let bytes = place.bytes();

    for length in whole..bytes.len() {
        fs::write(place.path(SPOOL), &bytes[..length]).unwrap();

        let torn = place.open();
        check(&torn, "a", &[1, 2]);
        assert_eq!(torn.end("b"), None, "cut to {length}");
        let expected = if length < page_ends { whole } else { page_ends };
        assert_eq!(torn.end, expected as u64, "cut to {length}");

        write(&place, "c", &[1], true);
        let spooled = place.open();
        check(&spooled, "a", &[1, 2]);
        check(&spooled, "c", &[1]);
        assert_eq!(spooled.end("b"), None, "cut to {length}");
    }
}

#[test]
fn a_flipped_bit_ends_the_file_before_its_frame() {
    let place = Place::new();
    write(&place, "a", &[1], true);
    let whole = place.bytes().len();
    write(&place, "b", &[1], true);
    let bytes = place.bytes();

    for at in whole..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(place.path(SPOOL), &flipped).unwrap();

        let spooled = place.open();
        check(&spooled, "a", &[1]);
        assert_eq!(spooled.end("b"), None, "the bit is in byte {at} of {}", bytes.len());
    }
}

#[test]
fn a_slice_that_was_begun_again_counts_once() {
    let place = Place::new();
    write(&place, "a", &[1, 2], false);
    write(&place, "a", &[1, 2, 3], true);
    check(&place.open(), "a", &[1, 2, 3]);

    // Its end is that of the last time, too.
    write(&place, "a", &[1], false);
    assert_eq!(place.open().end("a"), None);
}

fn header(fingerprint: &str, now: &str) -> ResumeHeader {
    ResumeHeader::new(fingerprint.to_owned(), now.parse().unwrap())
}

fn begin(place: &Place, new: &ResumeHeader) -> ResumeHeader {
    place.destination.begin(new.clone(), TimeDelta::hours(12)).unwrap()
}

const NIGHT: &str = "2024-07-25T02:00:00Z";

#[test]
fn a_run_goes_on_with_the_clock_of_the_one_that_began() {
    for later in [NIGHT, "2024-07-25T02:00:01Z", "2024-07-25T14:00:00Z"] {
        let place = Place::new();
        let first = header("f", NIGHT);
        assert_eq!(begin(&place, &first), first);
        write(&place, "a", &[1], true);

        assert_eq!(begin(&place, &header("f", later)), first);

        check(&place.open(), "a", &[1]);
    }
}

#[test]
fn another_pipeline_an_old_run_and_a_clock_that_went_back_begin_anew() {
    for (fingerprint, now) in [
        ("g", NIGHT),
        ("f", "2024-07-25T14:00:01Z"),
        ("f", "2024-07-26T02:00:00Z"),
        ("f", "2024-07-25T01:59:59Z"),
    ] {
        let place = Place::new();
        begin(&place, &header("f", NIGHT));
        write(&place, "a", &[1], true);

        let new = header(fingerprint, now);
        assert_eq!(begin(&place, &new), new);

        assert!(!place.path(SPOOL).exists(), "{fingerprint} {now}");
        assert_eq!(place.open().end("a"), None);
    }
}

#[test]
fn a_header_that_cannot_be_read_begins_anew() {
    for text in ["", "{", r#"{"version":1,"fingerprint":"f","now":"2024-07-25T02:00:00Z"}"#] {
        let place = Place::new();
        let new = header("f", NIGHT);
        begin(&place, &new);
        write(&place, "a", &[1], true);
        fs::write(place.path("_tracklake/p/resume/run.json"), text).unwrap();

        assert_eq!(begin(&place, &new), new);

        assert_eq!(place.open().end("a"), None, "{text}");
    }
}

#[test]
fn a_published_stream_is_forgotten_alone_and_a_run_that_has_ended_whole() {
    let place = Place::new();
    begin(&place, &header("f", NIGHT));
    write(&place, "a", &[1], true);
    let other = Spooled::open(place.destination.held(), &name("t"), schema()).unwrap();
    drop(other.append().unwrap());
    let exists = |below: &str| Path::exists(&place.path(below));

    place.destination.forget(&name("s")).unwrap();
    assert!(!exists(SPOOL) && exists("_tracklake/p/resume/t.spool"));
    place.destination.forget(&name("s")).unwrap();

    place.destination.forget_all().unwrap();
    assert!(!exists("_tracklake/p/resume"));
    place.destination.forget_all().unwrap();
}
