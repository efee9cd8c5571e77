use chrono_tz::Europe::Moscow;
use serde_json::json;

use super::*;
use crate::plan::Place;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn horizon(now: &str) -> Horizon {
    Horizon { now: instant(now), since: None, until: None }
}

fn query(name: &str) -> Placement {
    Placement { place: Place::Query, name: name.to_owned() }
}

fn weeks() -> SlicesPlan {
    SlicesPlan::Window(WindowPlan {
        from: WindowStart::Ago(TimeDelta::days(9)),
        ahead: TimeDelta::days(3),
        step: Some(TimeDelta::days(7)),
        reread: None,
        format: WindowFormat::Date,
        zone: Moscow,
        params: WindowParams::Bounds {
            start: Some(query("startDate")),
            end: Some(query("endDate")),
        },
    })
}

#[track_caller]
fn check(plan: &SlicesPlan, horizon: &Horizon, expected: &[&str]) -> Vec<Slice> {
    let slices = slices(plan, horizon, &ParentValues::new());
    let ids: Vec<&str> = slices.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, expected);
    slices
}

#[test]
fn windows_of_dates_count_from_today_in_their_zone_and_reach_ahead() {
    // 22:30 UTC is already the next day in Moscow.
    let expected = ["2024-07-17..2024-07-23", "2024-07-24..2024-07-29"];
    let slices = check(&weeks(), &horizon("2024-07-25T22:30:00Z"), &expected);

    assert_eq!(
        slices[0].params,
        [(query("startDate"), json!("2024-07-17")), (query("endDate"), json!("2024-07-23"))]
    );
    assert_eq!(slices[1].context.slice["start"], json!("2024-07-24"));
    assert_eq!(slices[1].context.slice["end"], json!("2024-07-29"));
    assert_eq!(slices[1].start(), Some(instant("2024-07-23T21:00:00Z")));
    assert_eq!(slices[1].dates(), Some((date("2024-07-24"), date("2024-07-29"))));
}

#[test]
fn parts_of_a_stream_start_where_the_earliest_of_them_does() {
    let SlicesPlan::Window(weeks) = weeks() else { unreachable!() };
    let from = |day, reread| {
        let from = WindowStart::On(date(day));
        SlicesPlan::Window(WindowPlan { from, reread, ..weeks.clone() })
    };
    let list = SlicesPlan::List { name: "mode".to_owned(), values: vec![json!("a")] };
    let parts =
        [list.clone(), from("2024-07-10", None), from("2024-07-02", Some(TimeDelta::days(60)))];
    let now = instant("2024-07-25T10:00:00Z");
    for plan in [SlicesPlan::Union(parts.to_vec()), SlicesPlan::Product(parts.to_vec())] {
        assert_eq!(planned_start(&plan, now), Some(instant("2024-07-01T21:00:00Z")));
        assert_eq!(reread(&plan), Some(TimeDelta::days(60)));
    }
    assert_eq!(planned_start(&list, now), None);
    assert_eq!(reread(&list), None);
}

#[test]
fn a_date_whose_midnight_the_clocks_skip_starts_after_the_gap() {
    let SlicesPlan::Window(weeks) = weeks() else { unreachable!() };
    let from = WindowStart::On(date("2018-11-04"));
    let zone = chrono_tz::America::Sao_Paulo;
    let plan = SlicesPlan::Window(WindowPlan { from, zone, ..weeks });

    // 00:00 to 01:00 was left out there, and 01:00 is 03:00 UTC.
    let start = planned_start(&plan, instant("2018-11-10T10:00:00Z"));
    assert_eq!(start, Some(instant("2018-11-04T03:00:00Z")));
}

#[test]
fn since_and_until_replace_the_ends() {
    let mut horizon = horizon("2024-07-25T10:00:00Z");
    horizon.since = Some(WindowStart::On(date("2024-07-01")));
    horizon.until = Some(WindowStart::On(date("2024-07-03")));

    check(&weeks(), &horizon, &["2024-07-01..2024-07-03"]);
}

#[test]
fn a_start_before_the_calendar_is_its_first_day() {
    let mut horizon = horizon("2024-07-25T10:00:00Z");
    horizon.since = Some(WindowStart::Ago(TimeDelta::days(99_999_999)));
    for format in [WindowFormat::Date, WindowFormat::EpochSeconds] {
        let SlicesPlan::Window(weeks) = weeks() else { unreachable!() };
        let plan =
            SlicesPlan::Window(WindowPlan { step: None, format, zone: chrono_tz::UTC, ..weeks });

        assert_eq!(slices(&plan, &horizon, &ParentValues::new()).len(), 1);
        assert!(asked_start(&plan, &horizon) < Some(instant("1000-01-01T00:00:00Z")));
    }
}

#[test]
fn windows_of_instants_share_their_bounds() {
    let plan = SlicesPlan::Window(WindowPlan {
        from: WindowStart::On(date("2024-07-24")),
        ahead: TimeDelta::zero(),
        step: Some(TimeDelta::days(1)),
        reread: None,
        format: WindowFormat::EpochMillis,
        zone: Moscow,
        params: WindowParams::Pair(query("interval")),
    });
    let expected = [
        "2024-07-23T21:00:00Z..2024-07-24T21:00:00Z",
        "2024-07-24T21:00:00Z..2024-07-25T10:00:00Z",
    ];
    let slices = check(&plan, &horizon("2024-07-25T10:00:00Z"), &expected);

    assert_eq!(slices[0].params[0].1, json!("1721768400000,1721854800000"));
}

#[test]
fn a_union_of_a_product_and_a_list_has_the_slices_of_both() {
    let list = |values: &[&str]| SlicesPlan::List {
        name: "mode".to_owned(),
        values: values.iter().map(|it| json!(it)).collect(),
    };
    let plan = SlicesPlan::Union(vec![
        SlicesPlan::Product(vec![list(&["audit"]), weeks()]),
        list(&["revoke-audit"]),
    ]);
    let expected = [
        "mode=audit,2024-07-16..2024-07-22",
        "mode=audit,2024-07-23..2024-07-28",
        "mode=revoke-audit",
    ];
    let slices = check(&plan, &horizon("2024-07-25T10:00:00Z"), &expected);

    assert!(slices[2].params.is_empty());
    assert_eq!(slices[2].context.slice["start"], json!(null), "it has no window");
}

#[test]
fn a_window_is_split_until_the_api_cannot_say_a_shorter_one() {
    let slice = &check(
        &weeks(),
        &horizon("2024-07-25T10:00:00Z"),
        &["2024-07-16..2024-07-22", "2024-07-23..2024-07-28"],
    )[0];

    let [first, second] = slice.split().unwrap();

    assert_eq!(
        (first.id.as_str(), second.id.as_str()),
        ("2024-07-16..2024-07-19", "2024-07-20..2024-07-22")
    );
    assert_eq!(
        first.params,
        [(query("startDate"), json!("2024-07-16")), (query("endDate"), json!("2024-07-19"))]
    );
    let day = first.split().unwrap()[0].split().unwrap()[0].clone();
    assert_eq!(day.id, "2024-07-16");
    assert_eq!(day.split(), None);
}

#[test]
fn a_window_of_instants_is_split_at_what_the_api_can_say_however_long_it_is() {
    use WindowFormat::{EpochMillis, EpochSeconds, Rfc3339};
    for (format, from, until, expected) in [
        // 50 days are 4 320 000 000 ms: half of them are more than 31 bits count.
        (EpochMillis, "2024-01-01", "2024-02-20", Some("2024-01-26")),
        (EpochMillis, "1900-01-01", "2100-01-01", Some("2000-01-01T12:00:00Z")),
        (EpochSeconds, "1900-01-01", "2100-01-01", Some("2000-01-01T12:00:00Z")),
        (Rfc3339, "2024-01-01", "2024-01-01T00:00:03Z", Some("2024-01-01T00:00:01Z")),
        (Rfc3339, "2024-01-01", "2024-01-01T00:00:01.999Z", None),
        (EpochMillis, "2024-01-01", "2024-01-01T00:00:00.003Z", Some("2024-01-01T00:00:00.001Z")),
        (EpochMillis, "2024-01-01", "2024-01-01T00:00:00.001Z", None),
    ] {
        let at = |text: &str| match text.len() {
            10 => instant(&format!("{text}T00:00:00Z")),
            _ => instant(text),
        };
        let (start, end, middle) = (at(from), at(until), expected.map(at));

        let halves = Span::Instants(start, end).halves(&format);

        let both = middle.map(|it| (Span::Instants(start, it), Span::Instants(it, end)));
        assert_eq!(halves, both, "{from} to {until} in {format:?}");
    }
}

#[test]
fn a_slice_of_a_parent_carries_its_values() {
    let plan = SlicesPlan::Parent(crate::plan::ParentPlan {
        stream: "issues".parse().unwrap(),
        bind: vec![("key".to_owned(), "key".parse().unwrap())],
        batch: None,
    });
    let parent: ParentValues = [("key".to_owned(), json!("OPS-7"))].into();

    let slices = slices(&plan, &horizon("2024-07-25T10:00:00Z"), &parent);

    assert_eq!(slices[0].id, "OPS-7");
    assert_eq!(slices[0].context.parent["key"], json!("OPS-7"));
}

#[test]
fn only_the_last_window_of_a_run_up_to_its_clock_is_open() {
    let plan = SlicesPlan::Window(WindowPlan {
        from: WindowStart::On(date("2024-07-24")),
        ahead: TimeDelta::zero(),
        step: Some(TimeDelta::days(1)),
        reread: None,
        format: WindowFormat::Rfc3339,
        zone: chrono_tz::UTC,
        params: WindowParams::None,
    });
    let untils = |horizon: &Horizon| -> Vec<Value> {
        let slices = slices(&plan, horizon, &ParentValues::new());
        slices.iter().map(|it| it.context.slice["until"].clone()).collect()
    };
    let mut horizon = horizon("2024-07-25T10:00:00Z");

    assert_eq!(untils(&horizon), [json!("2024-07-25T00:00:00Z"), json!(null)]);
    let last = slices(&plan, &horizon, &ParentValues::new()).pop().unwrap();
    let halves = last.split().unwrap().map(|it| it.context.slice["until"].clone());
    assert_eq!(halves, [json!("2024-07-25T05:00:00Z"), json!(null)]);

    horizon.until = Some(WindowStart::On(date("2024-07-24")));
    assert_eq!(untils(&horizon), [json!("2024-07-25T00:00:00Z")]);
}
