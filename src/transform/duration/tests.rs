use super::*;

const BUSINESS: Calendar = Calendar { seconds_per_day: 28_800.0, days_per_week: 5.0 };

fn read(text: &str, unit: DurationUnit, calendar: Calendar, exact: bool) -> Option<i64> {
    Rules::new(unit, calendar, exact).text(text).ok()
}

#[track_caller]
fn business(text: &str, expected: i64) {
    assert_eq!(read(text, DurationUnit::Text, BUSINESS, false), Some(expected), "{text}");
}

#[track_caller]
fn absolute(text: &str, expected: i64) {
    assert_eq!(read(text, DurationUnit::Text, Calendar::ABSOLUTE, false), Some(expected), "{text}");
}

#[track_caller]
fn refused(text: &str) {
    assert_eq!(read(text, DurationUnit::Text, BUSINESS, false), None, "{text}");
}

#[track_caller]
fn rounded(text: &str, expected: i64) {
    business(text, expected);
    assert_eq!(read(text, DurationUnit::Text, BUSINESS, true), None, "{text} with exact");
}

#[test]
fn a_week_is_five_days_of_eight_hours_in_business_time() {
    business("P3W", 432_000);
    business("P1W", 144_000);
    business("P1D", 28_800);
    business("P1W2DT3H", 212_400);
    business("P5DT20M", 145_200);
    business("P1WT4H", 158_400);
    business("P0Y0M30DT2H10M25S", 871_825);
}

#[test]
fn a_week_is_seven_days_of_24_hours_in_absolute_time() {
    absolute("P3W", 1_814_400);
    absolute("P1D", 86_400);
    absolute("P1W2DT3H", 788_400);
    absolute("1w 2d 3h 30m", 790_200);
}

#[test]
fn iso_8601_has_fractions_and_signs() {
    business("PT1H30M", 5_400);
    business("PT0.5H", 1_800);
    business("PT0,5H", 1_800);
    business("P0.5D", 14_400);
    business("P1.5W", 216_000);
    business("PT0S", 0);
    business("-PT1H", -3_600);
    business("+P1D", 28_800);
    business("PT-1H-30M", -5_400);
    business("PT36H", 129_600);
    business("P0.0Y0M1D", 28_800);
    business("PT-0.7S", -1);
    // 3596.4 s, 59.4 s and 0.9 s.
    business("PT0.999H0.99M0.9S", 3_657);
    business("PT0.999H0.99M0.4S", 3_656);
}

#[test]
fn jira_writes_units_after_numbers() {
    business("1w 2d 3h 30m", 214_200);
    business("1.5h", 5_400);
    business("1,5h", 5_400);
    business("30m", 1_800);
    business("1h30m", 5_400);
    business("30m 1h", 5_400);
    business("45s", 45);
    business("-1h 30m", -5_400);
}

#[test]
fn clocks_have_hours_minutes_and_seconds() {
    business("01:30:00", 5_400);
    business("1:30", 5_400);
    business("120:00", 432_000);
    business("-0:30", -1_800);
    business("00:00:01.75", 2);
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        " ",
        "-",
        "P",
        "PT",
        "-P",
        "P1DT",
        "P1Y",
        "P2M",
        "P0.1Y",
        "P1H",
        "PT1D",
        "PT1M1H",
        "P1D1D",
        "P1D2W",
        "1d 2d",
        "P1",
        "PT5",
        "p1d",
        "P1.D",
        "P.5D",
        "PD",
        "P1d",
        // Each part by itself is well-formed.
        "P1D5",
        "PT1H30",
        "P1T2H",
        "PTT1H",
        "PT1HT1M",
        "P1D5H",
        "P1D5M",
        "P1D5S",
        "P5S",
        "1y",
        "1 h",
        "h",
        "1h 2",
        "one hour",
        "1D",
        "1:2",
        "1:60",
        "1:00:60",
        "1:00:00:00",
        ":30",
        "1:",
        "12",
        "1:+1",
        "1.5:30",
        "1e2:30",
        "1:00:00.5e1",
        "1:00:00.",
        "PT1e3S",
        "P１D",
        "1h;",
        "PT1H ",
        "--1h",
        "P--1D",
    ] {
        refused(text);
    }
}

#[test]
fn a_half_second_goes_to_the_even_one_and_exact_refuses_it() {
    rounded("PT0.5S", 0);
    rounded("PT1.5S", 2);
    rounded("PT2.5S", 2);
    rounded("-PT2.5S", -2);
    rounded("-PT1.5S", -2);
    rounded("PT2.500000000000000001S", 3);
    rounded("PT2.50000000000000000000000001S", 3);
    rounded("PT2.49999999999999999999999999S", 2);
    rounded("PT0.0001H", 0);
    rounded("PT1.0000000000000000000000000001S", 1);
    // A third of an hour, as far as anybody writes it.
    rounded("PT0.3333333333333333333333333333333333H", 1_200);
    assert_eq!(read("PT0.25H", DurationUnit::Text, BUSINESS, true), Some(900));
}

#[test]
fn days_need_not_have_whole_hours() {
    let calendar = Calendar { seconds_per_day: 7.6 * 3600.0, days_per_week: 4.5 };

    assert_eq!(read("P1D", DurationUnit::Text, calendar, true), Some(27_360));
    assert_eq!(read("P1W", DurationUnit::Text, calendar, true), Some(123_120));

    let calendar = Calendar { seconds_per_day: 0.5, days_per_week: 5.0 };
    assert_eq!(read("P3D", DurationUnit::Text, calendar, false), Some(2));
    assert_eq!(read("P3D", DurationUnit::Text, calendar, true), None);
    assert_eq!(read("P2W", DurationUnit::Text, calendar, true), Some(5));
}

#[test]
fn plain_numbers_count_the_unit_of_the_column() {
    let read = |text, unit, exact| read(text, unit, BUSINESS, exact);

    assert_eq!(read("5400", DurationUnit::Seconds, true), Some(5_400));
    assert_eq!(read("1500", DurationUnit::Millis, false), Some(2));
    assert_eq!(read("500", DurationUnit::Millis, false), Some(0));
    assert_eq!(read("1500", DurationUnit::Millis, true), None);
    assert_eq!(read("90", DurationUnit::Minutes, true), Some(5_400));
    assert_eq!(read("2.0", DurationUnit::Hours, true), Some(7_200));
    assert_eq!(read("-1.5e0", DurationUnit::Hours, true), Some(-5_400));
    assert_eq!(read("0.1", DurationUnit::Hours, true), Some(360));
    assert_eq!(read("5400", DurationUnit::Text, false), None);
    assert_eq!(read("PT1H", DurationUnit::Seconds, false), Some(3_600));
    assert_eq!(read("1h 30m", DurationUnit::Minutes, false), Some(5_400));
}

#[test]
fn what_does_not_fit_64_bits_is_refused() {
    let read = |text, unit| read(text, unit, BUSINESS, false);

    assert_eq!(read("9223372036854775807", DurationUnit::Seconds), Some(i64::MAX));
    assert_eq!(read("-9223372036854775808", DurationUnit::Seconds), Some(i64::MIN));
    assert_eq!(read("9223372036854775808", DurationUnit::Seconds), None);
    assert_eq!(read("18446744073709551615", DurationUnit::Hours), None);
    assert_eq!(read("P18446744073709551615W", DurationUnit::Text), None);
    assert_eq!(read("99999999999999999999h", DurationUnit::Text), None);
}
