//! What the charts of slices and requests show. Pure.

use serde::Serialize;

use super::{
    charts::{Entry, Figure, Table, whole},
    facts::{Latency, Slice, Step, Stream, Timeline},
    plot::{self, Bar, Plot, Rule, Series, Sign, Spec, Text, along, columns, float},
    scale::{count, counted, duration, place, ticks},
};

/// Slices under way at the same time, over time, and what they waited for.
pub(super) fn load(id: &str, timeline: &Timeline) -> Figure {
    let step = timeline.step_seconds.max(f64::MIN_POSITIVE);
    let values = |of: fn(&Step) -> f64| timeline.steps.iter().map(|it| of(it) / step).collect();
    let series = |class, name: &str, values| Series { class, name: name.to_owned(), values };
    let all = |of: fn(&Step) -> f64| timeline.steps.iter().map(of).sum::<f64>();
    let names = (0..timeline.steps.len()).map(|at| format!("from {}", duration(float(at) * step)));
    let shown = |it: f64| format!("{it:.1} slices");
    let mut plot = columns(&Spec {
        id: id.to_owned(),
        title: "Slices at the same time".to_owned(),
        desc: format!(
            "Slices were at work for {}, waited for their turn for {} and to send a request again for {}; those at the same time add up.",
            duration(all(|it| it.working)),
            duration(all(|it| it.waiting)),
            duration(all(|it| it.retrying))
        ),
        names: names.collect(),
        short: Vec::new(),
        up: vec![
            series("working", "at work", values(|it| it.working)),
            series("waiting", "waiting for their turn", values(|it| it.waiting)),
            series("retrying", "waiting to send again", values(|it| it.retrying)),
        ],
        down: Vec::new(),
        banded: Vec::new(),
        marked: timeline.steps.iter().map(|it| it.failed > 0).collect(),
        is_whole: false,
        shown: Some(&shown),
        axis: 1.0,
    });
    plot.labels = times(step * float(timeline.steps.len().max(1)));
    let entry = |class, text: String| Entry { class, text };
    let waits = [
        ("working", "at work", all(|it| it.working)),
        ("waiting", "waiting for their turn", all(|it| it.waiting)),
        ("retrying", "waiting to send again", all(|it| it.retrying)),
    ];
    let there = waits.into_iter().filter(|it| it.2 > 0.0);
    let mut legend: Vec<Entry> = there
        .map(|(class, text, seconds)| entry(class, format!("{text} {}", duration(seconds))))
        .collect();
    if timeline.steps.iter().any(|it| it.failed > 0) {
        legend.push(entry("mark", "a slice failed".to_owned()));
    }
    let head = ["From", "At work", "Waiting", "Sending again", "Ended", "Failed", "Retries"];
    let rows = timeline.steps.iter().enumerate().map(|(at, it)| {
        let times = [it.working, it.waiting, it.retrying].map(duration);
        let counts = [it.ended, it.failed, it.retries].map(count);
        std::iter::once(duration(float(at) * step)).chain(times).chain(counts).collect()
    });
    let table = Table { head: head.map(str::to_owned).into(), rows: rows.collect() };
    Figure { plot, legend, table }
}

/// Round moments from the start to the end.
fn times(end: f64) -> Vec<Text> {
    let round = ticks(end, false).into_iter().filter(|it| *it <= end);
    round.map(|it| Text { at: place(along(it, end)), text: duration(it) }).collect()
}

/// The slices that are told one by one, in lanes of time.
pub(super) fn slices(id: &str, stream: &Stream, timeline: &Timeline) -> Figure {
    const LANE: f64 = 15.0;
    let told = &timeline.slices;
    let end = told.iter().map(|it| it.started + it.seconds).fold(1e-3, f64::max);
    let mut lanes = plot::Lanes::new();
    let (mut bars, mut signs) = (Vec::new(), Vec::new());
    for it in told {
        let ends = it.started + it.seconds;
        let lane = lanes.take(it.started, ends);
        let y = plot::LANES_TOP + float(lane) * LANE;
        let whole = it.seconds.max(it.waiting + it.retrying).max(1e-9);
        let (waits, retries) = (it.seconds * it.waiting / whole, it.seconds * it.retrying / whole);
        let class = outcome(&it.outcome).0;
        let title = title(it);
        let parts =
            [(class, it.seconds - waits - retries), ("waiting", waits), ("retrying", retries)];
        let (right, width) = (along(ends, end), along(ends, end) - along(it.started, end));
        if class == "failed" && width > 14.0 {
            signs.push(Sign { x: place(right - 3.0), y: place(y + LANE - 5.5), text: "✕" });
        }
        let mut from = it.started;
        for (nth, (class, seconds)) in parts.into_iter().enumerate() {
            let (x, until) = (along(from, end), along(from + seconds, end));
            from += seconds;
            if nth > 0 && until - x < 0.3 {
                continue;
            }
            let w = place((until - x).max(1.0));
            bars.push(Bar {
                x: place(x),
                y: place(y),
                w,
                h: LANE - 3.0,
                class,
                title: title.clone(),
            });
        }
    }
    let bottom = plot::LANES_TOP + float(lanes.len().max(1)) * LANE;
    let title = if (told.len() as u64) < stream.slices.total {
        format!(
            "{} of {}: those that failed and the slowest",
            count(told.len() as u64),
            counted(stream.slices.total, "slice")
        )
    } else {
        "Every slice".to_owned()
    };
    let desc = "Each bar is a slice from its start to its end; its waits are drawn together at the end of the bar.";
    let mut plot: Plot = plot::frame(id.to_owned(), &title, desc, bottom, bottom);
    plot.bars = bars;
    plot.labels = times(end);
    plot.signs = signs;
    let mut legend: Vec<Entry> = Vec::new();
    for (class, text) in told
        .iter()
        .map(|it| outcome(&it.outcome))
        .chain([("waiting", "waiting for its turn"), ("retrying", "waiting to send again")])
    {
        if !legend.iter().any(|it| it.class == class)
            && plot.bars.iter().any(|it| it.class == class)
        {
            legend.push(Entry { class, text: text.to_owned() });
        }
    }
    let head = [
        "Slice",
        "Ended",
        "Started",
        "Took",
        "Waited",
        "Sent again",
        "Requests",
        "Records",
        "API's total",
    ];
    let row = |it: &Slice| {
        let number = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), count);
        vec![
            clipped(&it.name),
            outcome(&it.outcome).1.to_owned(),
            duration(it.started),
            duration(it.seconds),
            duration(it.waiting + it.retrying),
            count(it.retries),
            count(it.requests),
            number(it.records),
            number(it.total),
        ]
    };
    let table =
        Table { head: head.map(str::to_owned).into(), rows: told.iter().map(row).collect() };
    Figure { plot, legend, table }
}

fn title(it: &Slice) -> String {
    let waited = if it.waiting + it.retrying >= 0.001 {
        format!(", waited {}", duration(it.waiting + it.retrying))
    } else {
        String::new()
    };
    let again = if it.retries > 0 {
        format!(", {} sent again", counted(it.retries, "request"))
    } else {
        String::new()
    };
    format!(
        "{}: {}, {}{waited}{again}",
        clipped(&it.name),
        outcome(&it.outcome).1,
        duration(it.seconds)
    )
}

/// A name that fits on a line.
pub(super) fn clipped(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// The class and the words of an outcome.
fn outcome(it: &str) -> (&'static str, &'static str) {
    match it {
        "complete" => ("complete", "complete"),
        "unreconciled" => ("unreconciled", "read, no total to compare with"),
        "gone" => ("gone", "access lost"),
        "skipped" => ("skipped", "skipped by a rule"),
        "split" => ("split", "cut in two"),
        "left" => ("left", "left for the next run"),
        _ => ("failed", "failed"),
    }
}

/// How the slices of a stream ended, as parts of a whole.
pub(super) fn reconciliation(stream: &Stream) -> Vec<Part> {
    let it = stream.slices;
    let all = it.total.max(1);
    let parts = [
        ("complete", "✓", "complete: as many records as the API's own total", it.complete),
        ("unreconciled", "○", "read to the end; the API gives no total", it.unreconciled),
        ("gone", "–", "access to the parent is lost", it.gone),
        ("skipped", "·", "skipped by a rule of the pipeline", it.skipped),
        ("left", "→", "left for the next run, the budget was used up", it.left),
        ("failed", "✕", "failed, remembered for the next run", it.failed.saturating_sub(it.left)),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let part = |(class, sign, text, n): (&'static str, &'static str, &'static str, u64)| Part {
        class,
        sign,
        text,
        count: count(n),
        percent: place(n as f64 / all as f64 * 100.0).max(0.8),
    };
    parts.into_iter().filter(|it| it.3 > 0).map(part).collect()
}

/// A part of a whole.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) text: &'static str,
    pub(super) count: String,
    pub(super) percent: f64,
}

/// How long requests took.
pub(super) fn latency(id: &str, latency: &Latency) -> Figure {
    let classes = &latency.classes;
    // The classes of the report, or pairs of them where they are many.
    let ends = |per_octave: f64| {
        let at =
            |it: f64| if it > 0.0 { (it.log2() * per_octave).floor() } else { -3.0 * per_octave };
        let first = classes.first().map_or(0.0, |it| at(it.0));
        (first, classes.last().map_or(first, |it| at(it.0)).max(first))
    };
    let per_octave = if ends(4.0).1 - ends(4.0).0 > 28.0 { 2.0 } else { 4.0 };
    let (first, last) = ends(per_octave);
    // A few lonely columns look like more than they are.
    let room = ((16.0 - (last - first)) / 2.0).ceil().max(1.0);
    let (first, last) = (first - room, last + room);
    let begin =
        |it: f64| if it > 0.0 { (it.log2() * per_octave).floor() } else { -3.0 * per_octave };
    let mut steps: Vec<(f64, u64)> = Vec::new();
    let mut at = first;
    while at <= last && steps.len() < 80 {
        let inside =
            classes.iter().filter(|it| (begin(it.0) - at).abs() < 0.5).map(|it| it.1).sum();
        steps.push(((at / per_octave).exp2(), inside));
        at += 1.0;
    }
    let span = |it: f64| {
        format!("{} to {}", duration(it / 1e3), duration(it * (1.0 / per_octave).exp2() / 1e3))
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let values = steps.iter().map(|it| it.1 as f64).collect();
    let all: u64 = classes.iter().map(|it| it.1).sum();
    let shown = |it: f64| counted(whole(it), "request");
    let name = |it: f64| duration(it / 1e3);
    let (p50, p95, max) = (name(latency.p50_ms), name(latency.p95_ms), name(latency.max_ms));
    let mut plot = columns(&Spec {
        id: id.to_owned(),
        title: "How long requests took".to_owned(),
        desc: format!(
            "Half of {} took no longer than {p50}, 95 % no longer than {p95}, the longest {max}.",
            counted(all, "request")
        ),
        names: steps.iter().map(|it| span(it.0)).collect(),
        short: steps.iter().map(|it| name(it.0)).collect(),
        up: vec![Series { class: "c0", name: String::new(), values }],
        down: Vec::new(),
        banded: Vec::new(),
        marked: Vec::new(),
        is_whole: true,
        shown: Some(&shown),
        axis: 1.0,
    });
    let width = plot.right - plot.left;
    for (nth, (text, millis)) in [
        (format!("p50 {p50}"), latency.p50_ms),
        (format!("p95 {p95}"), latency.p95_ms),
        (format!("max {max}"), latency.max_ms),
    ]
    .into_iter()
    .enumerate()
    {
        if millis <= 0.0 || steps.is_empty() {
            continue;
        }
        let part = ((millis.log2() * per_octave - first) / float(steps.len())).clamp(0.0, 1.0);
        plot.rules.push(Rule {
            x: place(plot.left + width * part),
            y: 14.0 + 13.0 * float(nth),
            anchor: if part > 0.7 { "end" } else { "start" },
            text,
        });
    }
    let rows = steps.iter().filter(|it| it.1 > 0).map(|it| vec![span(it.0), count(it.1)]).collect();
    let head = ["Took", "Requests"].map(str::to_owned).into();
    Figure { plot, legend: Vec::new(), table: Table { head, rows } }
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Slices, *};

    #[test]
    fn a_slice_is_drawn_from_its_start_to_its_end_with_its_waits_last() {
        let slice = |name: &str, outcome: &str, started, seconds, waiting| Slice {
            name: name.to_owned(),
            outcome: outcome.to_owned(),
            started,
            seconds,
            waiting,
            ..Slice::default()
        };
        let timeline = Timeline {
            slices: vec![
                slice("a", "complete", 0.0, 10.0, 5.0),
                slice("b", "failed", 5.0, 5.0, 0.0),
                slice("c", "unreconciled", 10.0, 5.0, 0.0),
                slice("d", "left", 15.0, 5.0, 0.0),
            ],
            ..Timeline::default()
        };
        let stream =
            Stream { slices: Slices { total: 4, ..Slices::default() }, ..Stream::default() };

        let figure = slices("x", &stream, &timeline);

        let width = figure.plot.right - figure.plot.left;
        let bars: Vec<(&str, f64, f64)> = figure
            .plot
            .bars
            .iter()
            .map(|it| (it.class, (it.x - figure.plot.left) / width, it.w / width))
            .collect();
        let expected = [
            ("complete", 0.0, 0.25),
            ("waiting", 0.25, 0.25),
            ("failed", 0.25, 0.25),
            ("unreconciled", 0.5, 0.25),
            ("left", 0.75, 0.25),
        ];
        for (found, expected) in bars.iter().zip(expected) {
            let is_near =
                (found.1 - expected.1).abs() < 0.001 && (found.2 - expected.2).abs() < 0.001;
            assert!(found.0 == expected.0 && is_near, "{found:?} is not {expected:?}");
        }
        assert_eq!(bars.len(), expected.len());
        // `b` goes on while `a` does; `c` begins where both have ended.
        let lanes: Vec<bool> =
            figure.plot.bars.windows(2).map(|it| (it[0].y - it[1].y).abs() < 0.1).collect();
        assert_eq!(lanes, [true, false, false, true]);
        assert_eq!(figure.plot.title, "Every slice");
        let told: Vec<&str> = figure.table.rows.iter().map(|it| it[1].as_str()).collect();
        assert_eq!(
            told[1..],
            ["failed", "read, no total to compare with", "left for the next run"]
        );
        assert_eq!(figure.plot.signs.len(), 1, "what failed has a sign beside its colour");
    }

    #[test]
    fn requests_are_in_the_column_of_their_time_and_none_is_left_out() {
        let latency_of = |classes: Vec<(f64, u64)>| Latency {
            p50_ms: 10.0,
            p95_ms: 20.0,
            max_ms: 30.0,
            classes,
        };
        for classes in [
            vec![(8.192, 3), (10.24, 1), (28.672, 2)],
            vec![(0.0, 1), (0.16, 2), (229_376.0, 5)],
            vec![(1.0, 9)],
        ] {
            let all: u64 = classes.iter().map(|it| it.1).sum();
            let figure = latency("x", &latency_of(classes));
            let shown = figure.table.rows.iter().filter_map(|it| it[1].parse::<u64>().ok());
            assert_eq!(shown.sum::<u64>(), all);
            assert!(
                figure
                    .plot
                    .rules
                    .iter()
                    .all(|it| it.x >= figure.plot.left && it.x <= figure.plot.right)
            );
        }
    }
}
