//! Where the parts of a chart are: numbers in, places in the picture out. Pure; `plot.svg` draws them.
//!
//! ```text
//! 40 ┤──────────────────      columns   one for each place of the axis, series upon series
//!    │ ▒ █   █                bands     what lies behind them, such as weekends
//!  0 ┼─█─█───█─▒──┬─────      bars      of the columns, or of lanes of time
//!    │ ▲     ▲    │ p95       marks     below the axis; rules: lines across it
//!   1 Jul        8 Jul
//! ```

use serde::Serialize;

use super::scale::{place, ticks};

/// The width of every chart; it is shown as wide as the page is.
pub(super) const WIDTH: f64 = 760.0;
/// Room for the numbers of the axis.
const LEFT: f64 = 46.0;
/// Room for half of the last label.
const RIGHT: f64 = 24.0;
/// Room above, and for labels below.
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// The height of columns.
const HEIGHT: f64 = 170.0;
/// Lines on either side of the axis; `ticks` gives fewer.
const MOST_LINES: i32 = 8;
/// Sums of some values up to here are numbers still.
const LARGEST: f64 = 1e300;
/// Room for a label of the axis.
const LABEL: f64 = 62.0;

/// A chart, ready to be drawn.
#[derive(Debug, Default, Serialize)]
pub(super) struct Plot {
    /// Tells it from others of the page.
    pub(super) id: String,
    /// What it shows.
    pub(super) title: String,
    /// What can be seen in it.
    pub(super) desc: String,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    /// Where the axis is.
    pub(super) axis: f64,
    /// Between these heights rules and bands are.
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) grid: Vec<Text>,
    pub(super) bands: Vec<Band>,
    pub(super) bars: Vec<Bar>,
    pub(super) rules: Vec<Rule>,
    pub(super) marks: Vec<f64>,
    pub(super) labels: Vec<Text>,
    /// In bars.
    pub(super) signs: Vec<Sign>,
}

/// A letter in a bar, for those to whom its colour says nothing.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Sign {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: &'static str,
}

/// A label, and its place on its axis.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Text {
    pub(super) at: f64,
    pub(super) text: String,
}

/// Something behind the columns.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Band {
    pub(super) x: f64,
    pub(super) w: f64,
}

/// A rectangle that says what it is when it is pointed at.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
    pub(super) class: &'static str,
    pub(super) title: String,
}

/// A line across the chart with a label.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Rule {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

/// Values of one kind, one for each place of the axis.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) class: &'static str,
    /// For people.
    pub(super) name: String,
    pub(super) values: Vec<f64>,
}

/// What a chart of columns shows.
#[derive(Default)]
pub(super) struct Spec<'a> {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) desc: String,
    /// What each place of the axis is called.
    pub(super) names: Vec<String>,
    /// The same in few letters.
    pub(super) short: Vec<String>,
    /// Upward, one upon the other.
    pub(super) up: Vec<Series>,
    /// Downward.
    pub(super) down: Vec<Series>,
    /// Places with a band behind them.
    pub(super) banded: Vec<bool>,
    /// Places with a mark below the axis.
    pub(super) marked: Vec<bool>,
    /// A value of the axis.
    pub(super) is_whole: bool,
    /// What a unit of the axis is, such as 3600 where seconds are shown as hours.
    pub(super) axis: f64,
    /// A value for a person.
    pub(super) shown: Option<&'a dyn Fn(f64) -> String>,
}

/// Columns, one beside the other.
pub(super) fn columns(spec: &Spec<'_>) -> Plot {
    let n = spec.names.len().max(1);
    let step = (WIDTH - LEFT - RIGHT) / float(n);
    let most = |of: &[Series]| (0..n).map(|at| total(of, at)).fold(0.0, f64::max);
    let (up, down) = (most(&spec.up), most(&spec.down));
    let factor = if spec.axis > 0.0 { spec.axis } else { 1.0 };
    let values = ticks(up.max(down) / factor, spec.is_whole);
    let unit = values.get(1).copied().unwrap_or(1.0) * factor;
    // Lines up to the largest value, and as far down as there is something.
    let above = (up / unit).ceil().max(1.0) * unit;
    let below = (down / unit).ceil() * unit;
    let scale = HEIGHT / (above + below);
    let axis = TOP + above * scale;
    let mut plot = frame(spec.id.clone(), &spec.title, &spec.desc, TOP + HEIGHT, axis);
    for line in -MOST_LINES..=MOST_LINES {
        let value = f64::from(line) * unit;
        if value < -below - unit / 2.0 || value > above + unit / 2.0 {
            continue;
        }
        let text = super::scale::short(value.abs() / factor);
        plot.grid.push(Text { at: place(axis - value * scale), text });
    }
    let shown = |it: f64| spec.shown.map_or_else(|| super::scale::short(it), |shown| shown(it));
    let gap = if step > 6.0 { 1.5 } else { 0.4 };
    for (at, name) in spec.names.iter().enumerate() {
        let x = LEFT + step * float(at);
        if spec.banded.get(at) == Some(&true) {
            plot.bands.push(Band { x: place(x), w: place(step) });
        }
        if spec.marked.get(at) == Some(&true) {
            plot.marks.push(place(x + step / 2.0));
        }
        for (series, sign) in [(&spec.up, 1.0), (&spec.down, -1.0)] {
            let mut sum = 0.0;
            for it in series {
                let value = it.values.get(at).copied().unwrap_or_default();
                if value <= 0.0 || !has_place(value) {
                    continue;
                }
                let (from, to) = (axis - sign * sum * scale, axis - sign * (sum + value) * scale);
                sum += value;
                plot.bars.push(Bar {
                    x: place(x + gap / 2.0),
                    y: place(from.min(to)),
                    w: place((step - gap).max(0.5)),
                    // What is there is to be seen.
                    h: place((from - to).abs()).max(0.5),
                    class: it.class,
                    title: format!("{name}: {} {}", shown(value), it.name),
                });
            }
        }
    }
    plot.labels = spaced(&spec.short, step);
    plot
}

/// Labels of places, counted from the last one, as many as there is room for.
fn spaced(short: &[String], step: f64) -> Vec<Text> {
    let n = short.len();
    let every = (1..=n.max(1)).find(|it| step * float(*it) >= LABEL).unwrap_or(n.max(1));
    let places = (0..n).filter(|at| (n - 1 - at).is_multiple_of(every));
    let label = |at| Text { at: place(LEFT + step * (float(at) + 0.5)), text: short[at].clone() };
    places.map(label).collect()
}

/// A chart with nothing in it.
pub(super) fn frame(id: String, title: &str, desc: &str, bottom: f64, axis: f64) -> Plot {
    Plot {
        id,
        title: title.to_owned(),
        desc: desc.to_owned(),
        width: WIDTH,
        height: place(bottom + BOTTOM),
        left: LEFT,
        right: WIDTH - RIGHT,
        axis: place(axis),
        top: TOP,
        bottom: place(bottom),
        ..Plot::default()
    }
}

/// Lanes of time for things that are under way at the same time.
pub(super) struct Lanes {
    /// Until when each lane is taken.
    taken: Vec<f64>,
}

impl Lanes {
    /// At least this many.
    pub(super) fn new() -> Self {
        Self { taken: Vec::new() }
    }

    /// The first lane that is free from `start` on, which it takes until `end`.
    pub(super) fn take(&mut self, start: f64, end: f64) -> usize {
        let free = self.taken.iter().position(|it| *it <= start);
        let lane = free.unwrap_or_else(|| {
            self.taken.push(0.0);
            self.taken.len() - 1
        });
        self.taken[lane] = end;
        lane
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }
}

/// The place of a moment on an axis from 0 to `end`.
pub(super) fn along(moment: f64, end: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * (moment / end).clamp(0.0, 1.0)
}

/// The top of the first lane.
pub(super) const LANES_TOP: f64 = TOP;

fn total(of: &[Series], at: usize) -> f64 {
    of.iter().filter_map(|it| it.values.get(at)).filter(|it| has_place(**it)).sum()
}

/// Whether a value, and with it the lines above it, are numbers.
fn has_place(value: f64) -> bool {
    value.abs() < LARGEST
}

/// A small number.
pub(super) fn float(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(class: &'static str, values: &[f64]) -> Series {
        Series { class, name: class.to_owned(), values: values.to_vec() }
    }

    #[test]
    fn series_stand_one_upon_the_other_and_what_goes_hangs_below_the_axis() {
        let names: Vec<String> = ["a", "b"].map(str::to_owned).into();
        let plot = columns(&Spec {
            short: names.clone(),
            names,
            up: vec![series("one", &[2.0, 0.0]), series("two", &[3.0, 1.0])],
            down: vec![series("gone", &[0.0, 2.0])],
            is_whole: true,
            marked: vec![false, true],
            ..Spec::default()
        });

        // From -2 to 5 in 170 units of height.
        let unit = 170.0 / 7.0;
        let axis = 12.0 + 5.0 * unit;
        let near = |a: f64, b: f64| assert!((a - b).abs() <= 0.1, "{a} is not {b}");
        near(plot.axis, axis);
        let found: Vec<(&str, &str)> =
            plot.bars.iter().map(|it| (it.class, it.title.as_str())).collect();
        assert_eq!(
            found,
            [("one", "a: 2 one"), ("two", "a: 3 two"), ("two", "b: 1 two"), ("gone", "b: 2 gone")]
        );
        near(plot.bars[0].y + plot.bars[0].h, axis);
        near(plot.bars[1].y + plot.bars[1].h, plot.bars[0].y);
        near(plot.bars[1].h, 3.0 * unit);
        near(plot.bars[3].y, axis);
        near(plot.bars[3].h, 2.0 * unit);
        let grid: Vec<&str> = plot.grid.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(grid, ["2", "1", "0", "1", "2", "3", "4", "5"]);
        assert_eq!(plot.marks.len(), 1);
    }

    #[test]
    fn nothing_is_outside_of_the_chart_and_labels_have_room() {
        for n in [0, 1, 2, 60, 400] {
            let names: Vec<String> = (0..n).map(|it| it.to_string()).collect();
            let values: Vec<f64> = (0..n).map(|it| float(it) * 7.0).collect();
            let plot = columns(&Spec {
                short: names.clone(),
                names,
                up: vec![series("one", &values)],
                ..Spec::default()
            });

            for it in &plot.bars {
                assert!(it.x >= plot.left && it.x + it.w <= plot.right + 0.1, "{n}: {it:?}");
                assert!(it.y >= plot.top - 0.1 && it.y + it.h <= plot.bottom + 0.6, "{n}: {it:?}");
            }
            let gaps = plot.labels.windows(2).map(|it| it[1].at - it[0].at);
            assert!(gaps.into_iter().all(|it| it >= LABEL - 0.1), "{n}");
            let last = plot.labels.last().map(|it| it.text.clone());
            assert_eq!(last, n.checked_sub(1).map(|it| it.to_string()));
        }
    }

    #[test]
    fn values_that_are_no_numbers_or_too_large_for_an_axis_have_no_bar() {
        for odd in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 1e308] {
            let plot = columns(&Spec {
                names: ["a", "b"].map(str::to_owned).into(),
                up: vec![series("one", &[odd, 2.0]), series("two", &[odd, 3.0])],
                down: vec![series("gone", &[odd, 0.0])],
                axis: 3600.0,
                ..Spec::default()
            });

            assert!(plot.grid.len() <= 10, "{odd}: {} lines", plot.grid.len());
            assert!(plot.grid.iter().all(|it| it.at.is_finite()), "{odd}");
            let found: Vec<&str> = plot.bars.iter().map(|it| it.title.as_str()).collect();
            assert_eq!(found, ["b: 2 one", "b: 3 two"], "{odd}");
        }
    }

    #[test]
    fn what_is_under_way_at_the_same_time_is_in_different_lanes() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.take(0.0, 2.0), 0);
        assert_eq!(lanes.take(1.0, 3.0), 1);
        assert_eq!(lanes.take(2.0, 4.0), 0);
        assert_eq!(lanes.take(2.5, 4.0), 2);
        assert_eq!(lanes.len(), 3);
    }
}
