//! What the columns of each type take.

use super::*;

#[test]
fn text_columns_take_scalars_as_their_json_text() {
    for (value, expected) in [
        ("\"a\"", "'a'"),
        ("41", "'41'"),
        ("1.50", "'1.50'"),
        ("true", "'true'"),
        ("\"\"", "''"),
        ("null", "null"),
    ] {
        cell(&TEXT, value, expected);
    }
    rejected(&TEXT, "{}", "expected string, found an object");
    rejected(&TEXT, "[1]", "expected string, found an array");
}

#[test]
fn int64_columns_take_integers_in_every_form() {
    for (value, expected) in [
        ("7", "7"),
        ("-7", "-7"),
        ("\"7\"", "7"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("\"1.0\"", "1"),
        ("-0", "0"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("\"\"", "null"),
        ("null", "null"),
    ] {
        cell(&INT64, value, expected);
    }
    let range = "expected int64, found 18446744073709551615: it is out of range";
    rejected(&INT64, "18446744073709551615", range);
    let range = "expected int64, found 123456789012345678901234567890: it is out of range";
    rejected(&INT64, "123456789012345678901234567890", range);
    rejected(&INT64, "1.5", "expected int64, found 1.5: it is not a whole number");
    rejected(&INT64, "\"n/a\"", "expected int64, found \"n/a\"");
    rejected(&INT64, "true", "expected int64, found true");
    rejected(&INT64, "{\"a\":1}", "expected int64, found an object");
}

#[test]
fn float64_columns_take_finite_numbers() {
    for (value, expected) in [
        ("1.5", "1.5"),
        ("\"2.0\"", "2"),
        ("1e3", "1000"),
        ("-0.25", "-0.25"),
        ("\"\"", "null"),
        ("3", "3"),
    ] {
        cell(&ColumnType::Float64, value, expected);
    }
    rejected(&ColumnType::Float64, "1e999", "expected float64, found 1e999: it is out of range");
    rejected(&ColumnType::Float64, "\"NaN\"", "expected float64, found \"NaN\"");
    rejected(&ColumnType::Float64, "\"inf\"", "expected float64, found \"inf\"");
    rejected(&ColumnType::Float64, "false", "expected float64, found false");
}

#[test]
fn boolean_columns_take_words() {
    for (value, expected) in [
        ("true", "true"),
        ("false", "false"),
        ("\"TRUE\"", "true"),
        ("\"False\"", "false"),
        ("\"\"", "null"),
    ] {
        cell(&ColumnType::Boolean, value, expected);
    }
    rejected(&ColumnType::Boolean, "1", "expected boolean, found 1");
    rejected(&ColumnType::Boolean, "\"yes\"", "expected boolean, found \"yes\"");
}

#[test]
fn date_columns_take_dates_and_instants_with_a_zone() {
    let zoned = ColumnType::Date { zone: Some(Tz::Asia__Shanghai) };
    let plain = ColumnType::Date { zone: None };

    cell(&plain, "\"2024-07-25\"", "2024-07-25");
    cell(&plain, "\"2024/07/25\"", "2024-07-25");
    cell(&plain, "\"2024-07-25 23:00:00\"", "2024-07-25");
    cell(&plain, "\"\"", "null");
    cell(&zoned, "\"2024-07-25T16:00:00Z\"", "2024-07-26");
    rejected(
        &plain,
        "\"2024-07-25T16:00:00Z\"",
        "expected date, found \"2024-07-25T16:00:00Z\": an instant has a date only in a zone, and none is given",
    );
    rejected(&zoned, "20240725", "expected date, found 20240725");
    rejected(&plain, "\"2023-02-29\"", "expected date, found \"2023-02-29\": there is no such day");
}

#[test]
fn timestamp_columns_take_instants_of_their_format() {
    let text = |zone| ColumnType::Timestamp { format: InstantFormat::Text, zone };
    let millis = ColumnType::Timestamp { format: InstantFormat::EpochMillis, zone: None };
    let seconds = ColumnType::Timestamp { format: InstantFormat::EpochSeconds, zone: None };

    cell(&text(None), "\"2024-07-25T09:42:06.258+0000\"", "2024-07-25T09:42:06.258");
    cell(&text(Some(Tz::Asia__Shanghai)), "\"2024-07-25 09:42:06\"", "2024-07-25T01:42:06");
    cell(&text(None), "\"\"", "null");
    cell(&millis, "\"1752829690000\"", "2025-07-18T09:08:10");
    cell(&millis, "1752829690000", "2025-07-18T09:08:10");
    cell(&seconds, "1752829690.5", "2025-07-18T09:08:10.500");
    rejected(
        &text(None),
        "\"2024-07-25 09:42:06\"",
        "expected timestamp, found \"2024-07-25 09:42:06\": it has no zone, and none is given for the column",
    );
    rejected(
        &text(None),
        "1752829690",
        "expected timestamp, found 1752829690: the column's format is not an epoch",
    );
    rejected(
        &millis,
        "\"2024-07-25T09:42:06Z\"",
        "expected timestamp, found \"2024-07-25T09:42:06Z\"",
    );
    rejected(&millis, "true", "expected timestamp, found true");
}

#[test]
fn gaps_and_folds_are_counted_for_rows_that_are_kept() {
    let zone = Some(Tz::Europe__Berlin);
    let plan = stream(&[
        ("at", ColumnType::Timestamp { format: InstantFormat::Text, zone }),
        ("n", INT64),
    ]);

    let decoded = decode(
        &plan,
        r#"[{"at":"2024-03-31 02:30:00"},{"at":"2024-10-27 02:30:00"},{"at":"2024-10-27 02:30:00","n":"x"}]"#,
    );

    assert_eq!(rows(&decoded), "2024-03-31T01:30:00 null | 2024-10-27T00:30:00 null");
    assert_eq!((decoded.notices.gaps, decoded.notices.folds), (1, 1));
    assert_eq!(decoded.rejects.len(), 1);
}
