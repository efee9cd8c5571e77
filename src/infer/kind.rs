//! What the values of a path are: the narrowest type that takes them all, and what only a person
//! can decide.
//!
//! ```text
//! "2024-07-25T09:42:06.258+0000"   timestamp
//! "2024-07-25 09:42:06"            timestamp in a zone      DECIDE: which
//! 1721900526258 at `createdOn`     timestamp, epoch_ms      by the name: `version` stays a number
//! "PT4H"                           string and duration      with days or weeks, DECIDE: how long
//! 41, "41"                         string                   an id, or a number that is text at times
//! "open", "open", "closed", …      string                   one of "open", "closed": by the name, `login` is not told
//! {…}, [1, 2], 7 and "x"           json, json, string
//! ```

use std::collections::BTreeSet;

use chrono_tz::Tz;

use super::{
    Column,
    facts::Leaf,
    names::{self, Names},
    shape::parsed,
};
use crate::{
    plan::{Calendar, ColumnType, DurationUnit, InstantFormat},
    transform::{Tree, takes},
};

/// Words of names that are instants or dates.
const TIMES: &[&str] = &[
    "at",
    "on",
    "time",
    "date",
    "timestamp",
    "ts",
    "created",
    "updated",
    "modified",
    "changed",
    "start",
    "started",
    "end",
    "ended",
    "stop",
    "finished",
    "closed",
    "resolved",
    "due",
    "since",
    "until",
    "begin",
    "expires",
    "when",
];
/// Words of names that are lengths of time.
const LENGTHS: &[&str] = &[
    "duration",
    "spent",
    "elapsed",
    "worked",
    "estimate",
    "estimation",
    "estimated",
    "remaining",
    "length",
    "interval",
    "overtime",
    "effort",
    "logged",
    "hours",
];
/// Last words of names whose numbers are no amounts.
const IDS: &[&str] =
    &["id", "ids", "key", "uid", "uuid", "guid", "code", "phone", "zip", "number", "ref"];
/// Last words of names that are text, though it may be of digits.
const TEXTS: &[&str] =
    &["name", "display", "title", "summary", "text", "comment", "value", "description"];
/// Last words of names whose values are words of the API, and nobody's data.
const WORDS: &[&str] = &[
    "status",
    "state",
    "type",
    "kind",
    "priority",
    "mode",
    "level",
    "severity",
    "action",
    "event",
    "role",
    "resolution",
    "category",
];
/// Words of names whose values are somebody's, whatever the name ends with.
const PRIVATE: &[&str] = &[
    "name", "mail", "email", "token", "key", "secret", "password", "user", "login", "auth",
    "address", "phone",
];
/// Values that are still few.
const FEW: usize = 8;
/// 1990-01-01 and 2100-01-01, in seconds: numbers between them may be instants.
const EPOCH: std::ops::Range<i64> = 631_152_000..4_102_444_800;

const LOCAL: &str = "the times name no zone: whose clock is it?";

/// The working time that Jira and Tracker count by default.
const BUSINESS: Calendar = Calendar { seconds_per_day: 8.0 * 3600.0, days_per_week: 5.0 };

/// What is proposed for the values of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guess {
    pub(super) kind: ColumnType,
    pub(super) note: Option<String>,
    pub(super) question: Option<String>,
    /// The same value read in another way, in a column of its own.
    pub(super) seconds: Option<(ColumnType, Option<String>)>,
}

impl Guess {
    fn plain(kind: ColumnType) -> Self {
        Self { kind, note: None, question: None, seconds: None }
    }

    fn noted(kind: ColumnType, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..Self::plain(kind) }
    }

    fn asked(kind: ColumnType, question: impl Into<String>) -> Self {
        Self { question: Some(question.into()), ..Self::plain(kind) }
    }
}

/// The columns that a path becomes: one, or two for a length of time that is written as text.
pub(super) fn columns(leaf: &Leaf<'_>, zone: Option<Tz>, names: &mut Names) -> Vec<Column> {
    let Guess { kind, note, question, seconds } = of_leaf(leaf, zone);
    let from = leaf.path.to_string();
    let own = names::name(&leaf.words);
    let mut columns = vec![Column {
        name: names.claim(&own),
        from: from.clone(),
        kind,
        notes: note.into_iter().chain(leaf.absence()).collect(),
        question,
    }];
    if let Some((kind, question)) = seconds {
        let name = names.claim(&format!("{own}_seconds"));
        columns.push(Column { name, from, kind, notes: Vec::new(), question });
    }
    columns
}

fn of_leaf(leaf: &Leaf<'_>, zone: Option<Tz>) -> Guess {
    if leaf.objects == 0 && leaf.arrays.is_empty() {
        return of_scalars(&leaf.words, &leaf.scalars, zone);
    }
    let is_mixed = [leaf.objects > 0, !leaf.arrays.is_empty(), !leaf.scalars.is_empty()];
    let note = if is_mixed.iter().filter(|it| **it).count() > 1 {
        "values of several kinds, as JSON"
    } else if leaf.is_map {
        return Guess::noted(
            ColumnType::Json,
            format!(
                "an object by key, as JSON; a row of each with `explode: {{ path: {0}, shape: map }}`, whose key is `{0}.$key`",
                leaf.path
            ),
        );
    } else if leaf.objects > 0 {
        "objects of no fixed or of a deep structure, as JSON"
    } else {
        "arrays, as JSON"
    };
    Guess::noted(ColumnType::Json, note)
}

/// What values without parts are; `words` are those of the name.
pub(super) fn of_scalars(words: &[String], values: &[&Tree], zone: Option<Tz>) -> Guess {
    let is_empty = |it: &&Tree| matches!(it, Tree::Text(it) if it.is_empty());
    let told: Vec<&Tree> = values.iter().copied().filter(|it| !is_empty(it)).collect();
    let all = |kind: &ColumnType| told.iter().all(|it| takes(kind, it));
    let n_text = told.iter().filter(|it| matches!(it, Tree::Text(_))).count();
    let n_boolean = told.iter().filter(|it| matches!(it, Tree::Boolean(_))).count();
    if told.is_empty() {
        let what = if values.is_empty() { "never a value" } else { "always empty" };
        return Guess::asked(ColumnType::String, format!("{what} in the sample: which type?"));
    }
    if all(&ColumnType::Boolean) {
        return Guess::plain(ColumnType::Boolean);
    }
    if n_boolean > 0 {
        return Guess::noted(ColumnType::String, "values of several kinds, as text");
    }
    if n_text == 0 {
        return numbers(words, &told);
    }
    if told.iter().all(|it| is_numeric(it)) {
        return numeric_texts(words, &told, n_text);
    }
    if n_text < told.len() {
        return Guess::noted(ColumnType::String, "numbers and texts, as text");
    }
    texts(words, &told, zone)
}

/// JSON numbers.
fn numbers(words: &[String], values: &[&Tree]) -> Guess {
    let all = |kind: &ColumnType| values.iter().all(|it| takes(kind, it));
    if all(&ColumnType::Int64)
        && !values.iter().any(|it| is_decimal(it))
        && unit_of(words) != Some("h")
    {
        return match epoch(values) {
            Some(format) if is_any(words, TIMES) && !is_last(words, IDS) => {
                Guess::plain(timestamp(format, None))
            }
            Some(InstantFormat::EpochMillis) => Guess::asked(
                ColumnType::Int64,
                "an instant? then `type: { timestamp: { format: epoch_ms } }`",
            ),
            _ => match (unit_of(words), codes(words, values)) {
                (Some(unit), _) => Guess::noted(
                    ColumnType::Int64,
                    format!("in seconds with `type: {{ duration: {{ unit: {unit} }} }}`"),
                ),
                (None, Some(codes)) => Guess::noted(ColumnType::Int64, codes),
                (None, None) => Guess::plain(ColumnType::Int64),
            },
        };
    }
    if values.iter().any(|it| is_whole(it) && !takes(&ColumnType::Int64, it)) {
        return Guess::noted(ColumnType::String, "beyond int64, so text");
    }
    if !all(&ColumnType::Float64) {
        return Guess::noted(ColumnType::String, "beyond float64, so text");
    }
    match unit_of(words) {
        Some(unit) => Guess::noted(
            ColumnType::Float64,
            format!("in seconds with `type: {{ duration: {{ unit: {unit} }} }}`"),
        ),
        None => Guess::plain(ColumnType::Float64),
    }
}

/// Numbers of which some or all are written as text.
fn numeric_texts(words: &[String], values: &[&Tree], n_text: usize) -> Guess {
    let all = |kind: &ColumnType| values.iter().all(|it| takes(kind, it));
    let is_mixed = n_text < values.len();
    if is_last(words, IDS) {
        let note = if is_mixed { "numbers and text, as text" } else { "an id, as text" };
        return Guess::noted(ColumnType::String, note);
    }
    if is_last(words, TEXTS) {
        return Guess::noted(ColumnType::String, "numbers in this sample, by its name a text");
    }
    // `007` is not 7.
    let is_padded = |it: &&Tree| matches!(it, Tree::Text(it) if it.starts_with('+') || it.len() > 1 && it.starts_with('0') && !it.starts_with("0."));
    if values.iter().any(is_padded) {
        return Guess::noted(
            ColumnType::String,
            "digits with zeros or a sign before them, as text",
        );
    }
    let written = if is_mixed { "numbers, some of them as text" } else { "numbers as text" };
    if all(&ColumnType::Int64) && !values.iter().any(|it| is_decimal(it)) {
        return match epoch(values) {
            Some(format) if is_any(words, TIMES) => Guess::noted(timestamp(format, None), written),
            _ => Guess::noted(ColumnType::Int64, written),
        };
    }
    if all(&ColumnType::Float64)
        && !values.iter().any(|it| is_whole(it) && !takes(&ColumnType::Int64, it))
    {
        return Guess::noted(ColumnType::Float64, written);
    }
    Guess::noted(ColumnType::String, "beyond int64, so text")
}

/// Texts that are no numbers.
fn texts(words: &[String], values: &[&Tree], zone: Option<Tz>) -> Guess {
    let all = |kind: &ColumnType| values.iter().all(|it| takes(kind, it));
    let chosen = zone.unwrap_or(Tz::UTC);
    let local = timestamp(InstantFormat::Text, Some(chosen));
    let question = || if zone.is_none() { Some(LOCAL.to_owned()) } else { None };
    if all(&timestamp(InstantFormat::Text, None)) {
        return Guess::plain(timestamp(InstantFormat::Text, None));
    }
    if all(&local) {
        return Guess { question: question(), ..Guess::plain(local) };
    }
    if all(&ColumnType::Date { zone: None }) && !values.iter().any(|it| takes(&local, it)) {
        return Guess::plain(ColumnType::Date { zone: None });
    }
    if all(&ColumnType::Date { zone: Some(chosen) }) {
        return Guess::asked(
            ColumnType::String,
            "dates and instants: `type: { date: { zone: UTC } }` would make dates of both",
        );
    }
    if values.iter().all(|it| matches!(it, Tree::Text(it) if parsed(it).is_some())) {
        return Guess::noted(
            ColumnType::String,
            "JSON as text, kept as it is: the JSON functions of a reader look into it",
        );
    }
    let length = duration(Calendar::ABSOLUTE);
    if all(&length) {
        let is_clock = |it: &&Tree| matches!(it, Tree::Text(it) if it.contains(':'));
        if values.iter().any(is_clock) && !is_any(words, LENGTHS) {
            return Guess::asked(
                ColumnType::String,
                "a time of day? if it is a length of time, `type: duration`",
            );
        }
        return Guess {
            seconds: Some(calendar(values)),
            ..Guess::noted(ColumnType::String, "as it is written")
        };
    }
    if values.iter().all(|it| is_mail_address(it)) {
        return Guess::noted(ColumnType::String, "holds an e-mail address: consider `mask`");
    }
    let is_public = is_last(words, WORDS) && !is_any(words, PRIVATE);
    match few(values).filter(|_| is_public) {
        Some(few) => Guess::noted(ColumnType::String, few),
        None => Guess::plain(ColumnType::String),
    }
}

/// How long a day is matters only where there are days.
fn calendar(values: &[&Tree]) -> (ColumnType, Option<String>) {
    let texts = || {
        values.iter().filter_map(|it| match it {
            Tree::Text(it) => Some(it.as_str()),
            _ => None,
        })
    };
    let is_iso = texts().all(|it| it.trim_start_matches(['-', '+']).starts_with('P'));
    let date_part = |it: &str| it.split('T').next().unwrap_or_default().to_owned();
    let has_days = texts().any(|it| {
        if is_iso { date_part(it).contains(['D', 'W']) } else { it.contains(['d', 'w']) }
    });
    match (has_days, is_iso) {
        (false, _) => (duration(Calendar::ABSOLUTE), None),
        (true, true) => (
            duration(Calendar::ABSOLUTE),
            Some("has a day 24 hours, or `{ duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } }`?".to_owned()),
        ),
        (true, false) => (
            duration(BUSINESS),
            Some("how many hours does a day have, and how many days a week?".to_owned()),
        ),
    }
}

fn duration(calendar: Calendar) -> ColumnType {
    ColumnType::Duration { unit: DurationUnit::Text, calendar, exact: false }
}

fn timestamp(format: InstantFormat, zone: Option<Tz>) -> ColumnType {
    ColumnType::Timestamp { format, zone }
}

/// Whether whole numbers may all be instants, and of which unit.
fn epoch(values: &[&Tree]) -> Option<InstantFormat> {
    let within = |scale: i64| {
        values.iter().all(|it| match it {
            Tree::Number(it) | Tree::Text(it) => {
                it.parse::<i64>().is_ok_and(|it| EPOCH.contains(&(it / scale)))
            }
            _ => false,
        })
    };
    if within(1000) {
        Some(InstantFormat::EpochMillis)
    } else if within(1) {
        Some(InstantFormat::EpochSeconds)
    } else {
        None
    }
}

/// What a name says that its number counts, where that is not seconds already.
fn unit_of(words: &[String]) -> Option<&'static str> {
    match words.last().map(String::as_str) {
        Some("ms" | "millis" | "milliseconds") => Some("ms"),
        Some("min" | "mins" | "minutes") => Some("min"),
        Some("h" | "hour" | "hours") => Some("h"),
        _ => None,
    }
}

/// Few whole numbers under a name that has codes.
fn codes(words: &[String], values: &[&Tree]) -> Option<String> {
    if !is_last(words, &["status", "state", "type", "kind", "level", "mode"]) {
        return None;
    }
    let distinct: BTreeSet<&str> = values
        .iter()
        .filter_map(|it| match it {
            Tree::Number(it) => Some(it.as_str()),
            _ => None,
        })
        .collect();
    let listed: Vec<&str> = distinct.iter().copied().collect();
    (distinct.len() <= FEW)
        .then(|| format!("codes? seen: {}; `values` gives them names", listed.join(", ")))
}

/// The values, if they are words, and so few in so many that they are probably all.
fn few(values: &[&Tree]) -> Option<String> {
    let mut distinct: Vec<&str> = Vec::new();
    for value in values {
        let Tree::Text(text) = value else { return None };
        if !distinct.contains(&text.as_str()) {
            distinct.push(text);
        }
        if distinct.len() > FEW || !is_word(text) {
            return None;
        }
    }
    let quoted: Vec<String> = distinct.iter().map(|it| format!("{it:?}")).collect();
    let start = if quoted.len() == 1 { "always" } else { "one of" };
    (values.len() >= 6 && values.len() >= 3 * distinct.len())
        .then(|| format!("{start} {}", quoted.join(", ")))
}

/// Whether it looks like `li@example.org`.
fn is_mail_address(value: &Tree) -> bool {
    let Tree::Text(text) = value else { return false };
    let is_word = |it: &str| {
        !it.is_empty() && !it.contains(['@', '/', ':', ',']) && !it.contains(char::is_whitespace)
    };
    let Some((name, host)) = text.split_once('@') else { return false };
    let is_host = host.rsplit_once('.').is_some_and(|(it, end)| !it.is_empty() && !end.is_empty());
    is_word(name) && is_word(host) && is_host
}

/// Whether it is short and looks like a word, so that it is no address and no token.
fn is_word(text: &str) -> bool {
    let is_letter = |it: char| it.is_ascii_alphabetic() || matches!(it, ' ' | '_' | '-');
    let n_digits = text.chars().filter(char::is_ascii_digit).count();
    text.len() <= 24 && n_digits <= 2 && text.chars().all(|it| is_letter(it) || it.is_ascii_digit())
}

fn is_numeric(value: &Tree) -> bool {
    match value {
        Tree::Number(_) => true,
        Tree::Text(_) => takes(&ColumnType::Float64, value) || is_whole(value),
        _ => false,
    }
}

/// Whether it is written with a fraction: `8.0` stands where `7.5` may come.
fn is_decimal(value: &Tree) -> bool {
    matches!(value, Tree::Number(it) | Tree::Text(it) if it.contains(['.', 'e', 'E']))
}

/// Whether it is written as a whole number, however large.
fn is_whole(value: &Tree) -> bool {
    match value {
        Tree::Number(it) | Tree::Text(it) => {
            let digits = it.strip_prefix('-').unwrap_or(it);
            !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
        }
        _ => false,
    }
}

pub(super) fn is_any(words: &[String], of: &[&str]) -> bool {
    words.iter().any(|it| of.contains(&it.as_str()))
}

pub(super) fn is_last(words: &[String], of: &[&str]) -> bool {
    words.last().is_some_and(|it| of.contains(&it.as_str()))
}

#[cfg(test)]
mod tests;
