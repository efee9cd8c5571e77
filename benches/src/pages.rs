//! Pages of worklogs as a tracker writes them, the same ones each time.
//!
//! About 755 bytes a record: 19 % of the optional fields are null or missing, 15 % of the words are
//! not ASCII, 5 % have escapes, comments are mostly short and sometimes long, and the records start
//! on 400 days at random.

use std::{fmt::Write as _, ops::Range};

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;

/// Records of a page.
pub(crate) const RECORDS: u64 = 1_000;
/// The days on which records start, unless a case says otherwise.
pub(crate) const DAYS: i64 = 400;
/// The id of the first record; all ids have as many digits.
pub(crate) const FIRST_ID: u64 = 100_000_000;
/// 2024-01-01T00:00:00Z.
const FIRST_DAY: i64 = 1_704_067_200;

const PLAIN: [&str; 20] = [
    "rotate", "the", "keys", "of", "night", "shift", "deploy", "review", "fixed", "timeout", "in",
    "billing", "after", "call", "with", "customer", "tests", "for", "import", "again",
];
const FOREIGN: [&str; 8] =
    ["смена", "ключей", "проверка", "naïve", "größer", "张伟", "検証", "отчёт"];
const ESCAPED: [&str; 6] =
    [r#"\"prod\""#, r"line\nbreak", r"tab\tstop", r"\u0439\u043e", r"\ud83d\ude00", r"C:\\temp"];

/// The page with the given number: a JSON array, without whitespace.
pub(crate) fn page(number: u64, days: i64) -> String {
    let first = FIRST_ID + number * RECORDS;
    array(first..first + RECORDS, days, |random| random.u64(..100_000))
}

/// The worklogs of an issue, on a few days.
pub(crate) fn of_issue(issue: u64, worklogs: u64) -> String {
    let first = FIRST_ID + issue * worklogs;
    array(first..first + worklogs, 30, |_| issue)
}

/// The id of an issue, as its worklogs have it.
pub(crate) fn issue_id(issue: u64) -> String {
    format!("6033f986bd6c4a0426{issue:06x}")
}

fn array(ids: Range<u64>, days: i64, issue: impl Fn(&mut Rng) -> u64) -> String {
    let mut random = Rng::with_seed(ids.start);
    let mut text = String::from("[");
    for id in ids {
        if text.len() > 1 {
            text.push(',');
        }
        let issue = issue(&mut random);
        push_record(&mut text, id, issue, days, &mut random);
    }
    text.push(']');
    text
}

fn push_record(text: &mut String, id: u64, issue: u64, days: i64, random: &mut Rng) {
    const API: &str = "https://api.tracker.yandex.net/v3";
    let start = FIRST_DAY + random.i64(0..days * 86_400);
    let start = DateTime::<Utc>::from_timestamp(start, random.u32(..1_000) * 1_000_000).unwrap();
    let created = start + TimeDelta::minutes(random.i64(30..3_000));
    let updated = created + TimeDelta::seconds(random.i64(0..100_000));
    let at = |it: DateTime<Utc>| it.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
    write!(
        text,
        r#"{{"self":"{API}/issues/OPS-{issue}/worklog/{id}","id":{id},"version":{},"#,
        17_219_000_000 + id
    )
    .unwrap();
    write!(
        text,
        r#""issue":{{"self":"{API}/issues/OPS-{issue}","id":"{}","key":"OPS-{issue}","display":""#,
        issue_id(issue)
    )
    .unwrap();
    push_words(text, 14, random);
    text.push_str("\"}");
    push_optional(text, "comment", random, |text, random| {
        let length = if random.u8(..100) < 7 { 300..1_300 } else { 10..220 };
        let length = random.usize(length);
        text.push('"');
        push_words(text, length, random);
        text.push('"');
    });
    push_user(text, "createdBy", random);
    push_optional(text, "updatedBy", random, push_user_value);
    write!(text, r#","createdAt":"{}""#, at(created)).unwrap();
    push_optional(text, "updatedAt", random, |text, _| {
        write!(text, "\"{}\"", at(updated)).unwrap();
    });
    let (days, hours) = (random.u8(..3), random.u8(1..8));
    write!(text, r#","start":"{}","duration":"P{days}DT{hours}H30M"}}"#, at(start)).unwrap();
}

/// A field that is null or missing in 19 of 100 records.
fn push_optional(
    text: &mut String,
    key: &str,
    random: &mut Rng,
    value: impl Fn(&mut String, &mut Rng),
) {
    match random.u8(..100) {
        0..10 => write!(text, r#","{key}":null"#).unwrap(),
        10..19 => {}
        _ => {
            write!(text, r#","{key}":"#).unwrap();
            value(text, random);
        }
    }
}

fn push_user(text: &mut String, key: &str, random: &mut Rng) {
    write!(text, r#","{key}":"#).unwrap();
    push_user_value(text, random);
}

fn push_user_value(text: &mut String, random: &mut Rng) {
    let user = random.u32(..500);
    write!(
        text,
        r#"{{"self":"https://api.tracker.yandex.net/v3/users/11300000{user:08}","id":"user{user}","display":""#,
    )
    .unwrap();
    push_words(text, 8, random);
    text.push_str("\"}");
}

/// Words of at least so many bytes in all.
fn push_words(text: &mut String, bytes: usize, random: &mut Rng) {
    let end = text.len() + bytes;
    loop {
        let words: &[&str] = match random.u8(..100) {
            0..15 => &FOREIGN,
            15..20 => &ESCAPED,
            _ => &PLAIN,
        };
        text.push_str(words[random.usize(..words.len())]);
        if text.len() >= end {
            return;
        }
        text.push(' ');
    }
}
