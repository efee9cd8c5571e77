//! What single files have: every value, the order of rows, and what they say about themselves.

use super::*;

#[test]
fn null_and_empty_text_are_different() {
    for_each_format(|format, dir| {
        let nameless = TestRow { name: None, ..row(2, 0, "") };
        let rows = [row(1, 0, ""), nameless];

        assert_eq!(round_trip(format, dir, &rows)["date=2024-07-25"], rows, "{format:?}");
    });
}

#[test]
fn any_text_reads_back() {
    for_each_format(|format, dir| {
        let texts = [
            "\"",
            ",",
            "a\nb",
            "a\r\nb",
            "ünïcödé 日本 🦀",
            "\u{0}",
            "'=1",
            "=1+1",
            " ",
            "\u{feff}",
        ];
        let rows: Vec<_> = (0..).zip(texts).map(|(id, text)| row(id, 0, text)).collect();

        assert_eq!(round_trip(format, dir, &rows)["date=2024-07-25"], rows, "{format:?}");
    });
}

#[test]
fn values_at_their_extremes_read_back() {
    for_each_format(|format, dir| {
        let full = |id, price, done, day, start| TestRow {
            id: Some(id),
            name: Some("x".repeat(100_000)),
            price: Some(price),
            done: Some(done),
            day: Some(day),
            start: Some(start),
        };
        let first = full(i64::MIN, f64::MIN, false, i32::MIN, i64::MIN);
        let last = full(i64::MAX, f64::MAX, true, i32::MAX, i64::MAX);
        let tiny = full(0, f64::MIN_POSITIVE, true, 0, JULY);
        let infinite = full(1, f64::NEG_INFINITY, true, -1, JULY);

        let found = round_trip(
            format,
            dir,
            &[last.clone(), infinite.clone(), TestRow::default(), tiny.clone(), first.clone()],
        );

        let expected = [
            ("date=-290308-12-21".to_owned(), vec![first]),
            ("date=2024-07-25".to_owned(), vec![tiny, infinite]),
            ("date=294247-01-10".to_owned(), vec![last]),
            (NULL.to_owned(), vec![TestRow::default()]),
        ];
        assert_eq!(found, BTreeMap::from(expected), "{format:?}");
    });
}

#[test]
fn rows_are_sorted_by_key() {
    for_each_format(|format, dir| {
        let rows: Vec<_> = [5, 3, 9, -1, 4].map(|id| row(id, 0, "a")).into();

        let found = round_trip(format, dir, &rows);

        let ids: Vec<_> = found["date=2024-07-25"].iter().map(|it| it.id.unwrap()).collect();
        assert_eq!(ids, [-1, 3, 4, 5, 9], "{format:?}");
    });
}
