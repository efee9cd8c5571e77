//! Numbers on an axis and for a person. Pure.

/// Values for the lines of an axis from 0 to at least `max`: two to six of them, of which each is a
/// multiple of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(max: f64, is_whole: bool) -> Vec<f64> {
    let smallest = if is_whole { 1.0 } else { f64::MIN_POSITIVE };
    let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
    let rough = (max / 5.0).max(smallest);
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|it| it * power).into_iter().find(|it| *it >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|it| *it < max * 0.999_999) && ticks.len() < 8 {
        ticks.push(step * f64::from(u32::try_from(ticks.len()).unwrap_or_default()));
    }
    ticks
}

/// A number with commas between thousands: `12,345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Hours with one digit after the point, of seconds.
pub(super) fn hours(seconds: f64) -> String {
    tenths(seconds / 3600.0)
}

/// A number with commas and one digit after the point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for a person")]
pub(super) fn tenths(it: f64) -> String {
    let tenths = (it.abs() * 10.0).round() as u64;
    let sign = if it < 0.0 && tenths > 0 { "−" } else { "" };
    format!("{sign}{}.{}", count(tenths / 10), tenths % 10)
}

/// A number on an axis: `0.5`, `200`, `1.5k`, `2M`.
pub(super) fn short(it: f64) -> String {
    let (it, unit) = match it.abs() {
        1e6.. => (it / 1e6, "M"),
        1e4.. => (it / 1e3, "k"),
        _ => (it, ""),
    };
    let text = format!("{it:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A length of time: `12 ms`, `1.5 s`, `3 min 20 s`.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        it if it < 0.000_05 => "0 s".to_owned(),
        it if it < 0.0095 => format!("{:.1} ms", it * 1e3),
        it if it < 0.9995 => format!("{:.0} ms", it * 1e3),
        it if it < 59.95 => format!("{it:.1} s"),
        it => {
            let whole = it.round();
            let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
            if minutes < 60.0 {
                format!("{minutes:.0} min {rest:.0} s")
            } else {
                format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
            }
        }
    }
}

/// A number with its word: `1 slice`, `12 slices`.
pub(super) fn counted(n: u64, word: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {word}{plural}", count(n))
}

/// A coordinate, which needs no more than a tenth of a unit.
pub(super) fn place(it: f64) -> f64 {
    (it * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_axis_are_few_and_round_and_reach_the_largest_value() {
        let cases: [(f64, bool, &[f64]); 8] = [
            (0.0, true, &[0.0, 1.0]),
            (1.0, true, &[0.0, 1.0]),
            (3.0, true, &[0.0, 1.0, 2.0, 3.0]),
            (7.3, false, &[0.0, 2.0, 4.0, 6.0, 8.0]),
            (41.0, true, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]),
            (100.0, true, &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
            (0.9, false, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (f64::NAN, true, &[0.0, 1.0]),
        ];
        for (max, is_whole, expected) in cases {
            let found = ticks(max, is_whole);
            let is_same = found.len() == expected.len()
                && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(is_same, "{max}: {found:?}");
        }
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(hours(5_400.0), "1.5");
        assert_eq!(hours(36_000_000.0), "10,000.0");
        assert_eq!(tenths(-0.25), "−0.3");
        assert_eq!(short(0.5), "0.5");
        assert_eq!(short(200.0), "200");
        assert_eq!(short(15_000.0), "15k");
        assert_eq!(short(2_000_000.0), "2M");
        assert_eq!(duration(0.0), "0 s");
        assert_eq!(duration(0.0012), "1.2 ms");
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(59.99), "1 min 0 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(7_260.0), "2 h 1 min");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(1_200, "row"), "1,200 rows");
    }
}
