use super::*;

const BERLIN: Tz = Tz::Europe__Berlin;
const NEW_YORK: Tz = Tz::America__New_York;

/// Checks what a text says against an instant as chrono prints it.
#[track_caller]
fn instant(text: &str, expected: &str) {
    let Ok(Written::Instant(micros)) = read(text) else { panic!("{text}: {:?}", read(text)) };
    assert_eq!(printed(micros), expected, "{text}");
}

fn printed(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

#[track_caller]
fn refused(text: &str) {
    assert!(read(text).is_err(), "{text}: {:?}", read(text));
}

/// Checks a local time in a zone, and the numbers of gaps and folds.
#[track_caller]
fn local(tz: Tz, text: &str, expected: &str, gaps: u64, folds: u64) {
    let Ok(Written::Local(micros)) = read(text) else { panic!("{text}") };
    let mut zone = Zone::new(tz);
    let mut seen = Irregular::default();

    let first = zone.instant(micros, &mut seen).unwrap();

    assert_eq!(printed(first), expected, "{text}");
    assert_eq!(seen, Irregular { gaps, folds }, "{text}");
    assert_eq!(zone.instant(micros, &mut seen), Ok(first), "from the cache");
}

#[test]
fn instants_are_read_in_every_form_that_is_in_use() {
    instant("2024-07-25T09:42:06.258+0000", "2024-07-25T09:42:06.258000");
    instant("2024-07-25T09:42:06.258+0300", "2024-07-25T06:42:06.258000");
    instant("2024-07-25T09:42:06-03:30", "2024-07-25T13:12:06.000000");
    instant("2024-07-25 09:42:06+00", "2024-07-25T09:42:06.000000");
    instant("2024-07-25 09:42:06Z", "2024-07-25T09:42:06.000000");
    instant("2024-07-25t09:42:06z", "2024-07-25T09:42:06.000000");
    instant("2024-07-25T00:00:00+23:59", "2024-07-24T00:01:00.000000");
    instant("2024-07-25T00:00:00-23:59", "2024-07-25T23:59:00.000000");
    instant("2024-07-25T09:42Z", "2024-07-25T09:42:00.000000");
    instant("2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000000");
    instant("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000");
    instant("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999");
    instant("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000");
}

#[test]
fn digits_beyond_microseconds_are_cut_off() {
    instant("2024-07-25T09:42:06.123456789Z", "2024-07-25T09:42:06.123456");
    instant("2024-07-25T09:42:06.9999999Z", "2024-07-25T09:42:06.999999");
    instant("2024-07-25T09:42:06.1234567890123Z", "2024-07-25T09:42:06.123456");
    instant("2024-07-25T09:42:06.1Z", "2024-07-25T09:42:06.100000");
}

#[test]
fn dates_and_local_times_are_told_apart() {
    assert_eq!(read("2024-07-25"), Ok(Written::Date(19929)));
    assert_eq!(read("2024/07/25"), Ok(Written::Date(19929)));
    assert_eq!(read("1970-01-01"), Ok(Written::Date(0)));
    assert_eq!(read("0001-01-01"), Ok(Written::Date(-719_162)));
    assert_eq!(read("9999-12-31"), Ok(Written::Date(2_932_896)));
    assert_eq!(read("1970-01-02 00:00:01"), Ok(Written::Local(86_401_000_000)));
}

#[test]
fn what_is_no_instant_is_refused() {
    for text in [
        "",
        "n/a",
        "2024",
        "2024-7-25",
        "2024-07/25",
        "24-07-25",
        "20:4-07-25",
        "2024-00-01",
        "2024-01-00",
        "2024-13-01",
        "2024-04-31",
        "2023-02-29",
        "1900-02-29",
        "0000-01-01",
        "10000-01-01",
        "-2024-07-25",
        "2024-07-25T",
        "2024-07-25T24:00:00Z",
        "2024-07-25T09:60:00Z",
        "2024-07-25T09:42:61Z",
        "2024-07-25T09:42:06.Z",
        "2024-07-25T09:42.5Z",
        "2024-07-25T09:42:06+24:00",
        "2024-07-25T09:42:06+0:00",
        "2024-07-25T09:42:06+00:60",
        "2024-07-25T09:42:06 UTC",
        "2024-07-25X09:42:06Z",
        "2024-07-25T9:42:06Z",
        " 2024-07-25",
        "2024-07-25 ",
        "2024/07/25 09:42:06",
        "２024-07-25",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ] {
        refused(text);
    }
}

#[test]
fn every_day_of_the_calendar_agrees_with_chrono() {
    let first = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    for (i, date) in
        first.iter_days().step_by(17).take_while(|it| it.to_string().len() == 10).enumerate()
    {
        let expected = -719_162 + 17 * i32::try_from(i).unwrap();

        assert_eq!(read(&date.to_string()), Ok(Written::Date(expected)), "{date}");
    }
}

#[test]
fn a_local_time_is_an_instant_of_its_zone() {
    local(Tz::Asia__Shanghai, "2024-07-25 09:42:06", "2024-07-25T01:42:06.000000", 0, 0);
    local(BERLIN, "2024-07-25 09:42:06", "2024-07-25T07:42:06.000000", 0, 0);
    local(BERLIN, "2024-01-25 09:42:06", "2024-01-25T08:42:06.000000", 0, 0);
    // On the days of the change, before and after it.
    local(BERLIN, "2024-03-31 01:59:59", "2024-03-31T00:59:59.000000", 0, 0);
    local(BERLIN, "2024-03-31 03:00:00", "2024-03-31T01:00:00.000000", 0, 0);
    local(BERLIN, "2024-10-27 01:59:59", "2024-10-26T23:59:59.000000", 0, 0);
    local(BERLIN, "2024-10-27 03:00:00", "2024-10-27T02:00:00.000000", 0, 0);
}

#[test]
fn a_time_in_a_gap_moves_forward_by_its_length() {
    let gap = |tz, text, expected| {
        let Ok(Written::Local(micros)) = read(text) else { panic!("{text}") };
        let mut seen = Irregular::default();
        assert_eq!(
            Zone::new(tz).instant(micros, &mut seen).map(printed),
            Ok(String::from(expected))
        );
        assert_eq!(seen, Irregular { gaps: 1, folds: 0 });
    };
    // 02:30 is 03:30 of summer time.
    gap(BERLIN, "2024-03-31 02:30:00", "2024-03-31T01:30:00.000000");
    gap(BERLIN, "2024-03-31 02:00:00", "2024-03-31T01:00:00.000000");
    gap(NEW_YORK, "2024-03-10 02:30:00", "2024-03-10T07:30:00.000000");
    gap(Tz::Australia__Lord_Howe, "2024-10-06 02:15:00", "2024-10-05T15:45:00.000000");
    // Samoa had no 30th of December: it becomes the 31st.
    gap(Tz::Pacific__Apia, "2011-12-30 12:00:00", "2011-12-30T22:00:00.000000");
}

#[test]
fn a_time_in_a_fold_is_the_earlier_instant() {
    let fold = |tz, text, expected| {
        let Ok(Written::Local(micros)) = read(text) else { panic!("{text}") };
        let mut seen = Irregular::default();
        assert_eq!(
            Zone::new(tz).instant(micros, &mut seen).map(printed),
            Ok(String::from(expected))
        );
        assert_eq!(seen, Irregular { gaps: 0, folds: 1 });
    };
    fold(BERLIN, "2024-10-27 02:30:00", "2024-10-27T00:30:00.000000");
    fold(NEW_YORK, "2024-11-03 01:30:00", "2024-11-03T05:30:00.000000");
}

#[test]
fn the_day_of_an_instant_is_that_of_the_zone() {
    let day = |tz, text| {
        let Ok(Written::Instant(micros)) = read(text) else { panic!("{text}") };
        Written::Date(Zone::new(tz).day(micros))
    };

    assert_eq!(Ok(day(Tz::UTC, "2024-07-25T23:30:00Z")), read("2024-07-25"));
    assert_eq!(Ok(day(BERLIN, "2024-07-25T23:30:00Z")), read("2024-07-26"));
    assert_eq!(Ok(day(NEW_YORK, "2024-07-25T03:59:59Z")), read("2024-07-24"));
    assert_eq!(Ok(day(NEW_YORK, "2024-03-10T04:59:59Z")), read("2024-03-09"));
    assert_eq!(Ok(day(NEW_YORK, "2024-03-11T03:59:59Z")), read("2024-03-10"));
}

#[test]
fn zones_agree_with_chrono_over_three_years_of_hours() {
    // More days than a zone keeps the offsets of.
    for tz in [BERLIN, NEW_YORK, Tz::Asia__Kolkata, Tz::Africa__Casablanca] {
        let mut zone = Zone::new(tz);
        for hour in 0..3 * 366 * 24 {
            let instant = (1_704_067_200 + hour * 3600) * SECOND_MICROS;
            let there = tz.from_utc_datetime(&naive(instant)).naive_local();
            let mut seen = Irregular::default();

            assert_eq!(naive(i64::from(zone.day(instant)) * DAY_MICROS).date(), there.date());
            let back = zone.instant(there.and_utc().timestamp_micros(), &mut seen).unwrap();
            assert!(back == instant || seen.folds == 1, "{tz} {there}");
        }
    }
}

#[test]
fn epochs_are_exact() {
    let seconds = |text| epoch(text, InstantFormat::EpochSeconds).map(printed).ok();
    let millis = |text| epoch(text, InstantFormat::EpochMillis).map(printed).ok();
    let some = |text: &str| Some(text.to_owned());

    assert_eq!(seconds("1752829690"), some("2025-07-18T09:08:10.000000"));
    assert_eq!(seconds("1752829690.1234567"), some("2025-07-18T09:08:10.123456"));
    assert_eq!(seconds("-0.5"), some("1969-12-31T23:59:59.500000"));
    assert_eq!(seconds("1.75282969e9"), some("2025-07-18T09:08:10.000000"));
    assert_eq!(millis("1752829690000"), some("2025-07-18T09:08:10.000000"));
    assert_eq!(millis("1752829690000.25"), some("2025-07-18T09:08:10.000250"));
    assert_eq!(millis("253402300799999"), some("9999-12-31T23:59:59.999000"));
    assert_eq!(millis("253402300800000"), None);
    assert_eq!(millis("18446744073709551615"), None);
    assert_eq!(seconds("1e30"), None);
    assert_eq!(seconds("2024-07-25T09:42:06Z"), None);
    assert_eq!(epoch("1752829690", InstantFormat::Text).ok(), None);
}
