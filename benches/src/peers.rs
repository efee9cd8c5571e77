//! What one would write without tracklake: `serde_json::Value` and the builders of arrow.

use arrow::array::{
    ArrayBuilder as _, ArrayRef, Date32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use serde_json::Value;
use std::sync::Arc;

/// The texts, and where they are in a record, in the order of the schema.
const TEXTS: [&[&str]; 13] = [
    &["self"],
    &["issue", "self"],
    &["issue", "id"],
    &["issue", "key"],
    &["issue", "display"],
    &["comment"],
    &["createdBy", "self"],
    &["createdBy", "id"],
    &["createdBy", "display"],
    &["updatedBy", "self"],
    &["updatedBy", "id"],
    &["updatedBy", "display"],
    &["duration"],
];
const INTEGERS: [&str; 2] = ["id", "version"];
const INSTANTS: [&str; 3] = ["createdAt", "updatedAt", "start"];

/// Reads a page into its 20 columns: texts, integers, instants, the start's date and the seconds.
pub(crate) fn values_to_columns(page: &[u8]) -> Vec<ArrayRef> {
    let records: Vec<Value> = serde_json::from_slice(page).unwrap();
    let mut texts: [StringBuilder; 13] = Default::default();
    let mut integers: [Int64Builder; 2] = Default::default();
    let mut instants: [TimestampMicrosecondBuilder; 3] = Default::default();
    let mut dates = Date32Builder::new();
    let mut seconds = Int64Builder::new();
    for record in &records {
        for (builder, path) in texts.iter_mut().zip(TEXTS) {
            let value = path.iter().try_fold(record, |value, key| value.get(key));
            builder.append_option(value.and_then(Value::as_str));
        }
        for (builder, key) in integers.iter_mut().zip(INTEGERS) {
            builder.append_option(record.get(key).and_then(Value::as_i64));
        }
        let instant = |key| record.get(key).and_then(Value::as_str).and_then(microseconds);
        for (builder, key) in instants.iter_mut().zip(INSTANTS) {
            builder.append_option(instant(key));
        }
        let day = instant("start").map(|it| it.div_euclid(86_400_000_000));
        dates.append_option(day.map(|it| i32::try_from(it).unwrap()));
        let duration = record.get("duration").and_then(Value::as_str);
        seconds.append_option(duration.and_then(working_seconds));
    }
    let mut columns: Vec<ArrayRef> = Vec::new();
    columns.extend(texts.iter_mut().map(|it| Arc::new(it.finish()) as ArrayRef));
    columns.extend(integers.iter_mut().map(|it| Arc::new(it.finish()) as ArrayRef));
    columns.extend(instants.iter_mut().map(|it| {
        debug_assert_eq!(it.len(), records.len());
        Arc::new(it.finish().with_timezone("UTC")) as ArrayRef
    }));
    columns.push(Arc::new(dates.finish()));
    columns.push(Arc::new(seconds.finish()));
    columns
}

/// `2024-03-01T09:42:06.258+0000`, and only this; a parser of any format would be slower.
fn microseconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let milliseconds = number(20, 23)?;
    if text.get(23..)? != "+0000" {
        return None;
    }
    // Days from civil, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some((seconds * 1_000 + milliseconds) * 1_000)
}

/// `P1DT2H30M` in days of 8 hours.
fn working_seconds(text: &str) -> Option<i64> {
    let (mut seconds, mut number) = (0, 0);
    for letter in text.bytes() {
        match letter {
            b'0'..=b'9' => number = number * 10 + i64::from(letter - b'0'),
            b'P' | b'T' => {}
            b'D' => seconds += std::mem::take(&mut number) * 8 * 3_600,
            b'H' => seconds += std::mem::take(&mut number) * 3_600,
            b'M' => seconds += std::mem::take(&mut number) * 60,
            _ => return None,
        }
    }
    Some(seconds)
}
