//! When the slices of a stream were under way, in a size that does not grow with their number. Pure.
//!
//! ```text
//! slices ended      2 4 5 5 4 1 0 3    in steps of time that double when the run gets longer
//! seconds of them   w w a a a r r a    at work, waiting for their turn, waiting to be sent again
//! kept              ▬▬  ▬▬▬▬▬  ▬▬▬▬    those that failed and those that took longest, with their times
//! ```

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use serde::Serialize;

use crate::extract::SliceCost;

/// Slices that are kept with their own times.
const KEPT: usize = 120;
/// Steps of time.
const STEPS: usize = 120;
/// The length of a step until a run gets longer than four seconds, in seconds.
const SHORTEST_STEP: f64 = 1.0 / 32.0;

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceOutcome {
    /// With as many records as the API's own total.
    Complete,
    /// The API gives no total.
    Unreconciled,
    /// Access to the parent is lost.
    Gone,
    /// A rule of the pipeline says that there is nothing.
    Skipped,
    /// Cut in two, because the API gives no more than a part of it.
    Split,
    /// With an error.
    Failed,
    /// A budget of the pipeline was used up: the next run reads it.
    Left,
}

/// One slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceTime {
    /// The slice, for a person.
    pub slice: String,
    /// How it ended.
    pub outcome: SliceOutcome,
    /// Seconds from the stream's start to the slice's.
    pub started: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Of these, waiting for a turn or a place; those of requests at the same time add up.
    pub waiting: f64,
    /// Of these, waiting to send a request again.
    pub retrying: f64,
    /// Requests sent, repetitions included.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Records read, repetitions included; `None` where the slice was not read to its end.
    pub records: Option<u64>,
    /// The API's own total, where it gives one.
    pub total: Option<u64>,
}

/// What happened in one step of time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Seconds of slices at work; those of slices at the same time add up. The waits of a slice count
    /// as spread evenly over its time.
    pub working: f64,
    /// Seconds of slices that waited for a turn or a place.
    pub waiting: f64,
    /// Seconds of slices that waited to send a request again.
    pub retrying: f64,
    /// Requests of the slices that ended, those that were sent again.
    pub retries: u64,
    /// Slices that ended.
    pub ended: u64,
    /// Of these the ones that failed.
    pub failed: u64,
}

/// When slices were under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The length of a step in seconds.
    pub step_seconds: f64,
    /// From the stream's start on; at most 120.
    pub steps: Vec<Step>,
    /// The slices that failed and those that took longest, by their start; at most 120.
    pub slices: Vec<SliceTime>,
}

/// Puts a timeline together.
#[derive(Debug)]
pub(super) struct Recorder {
    step_seconds: f64,
    steps: Vec<Step>,
    kept: BinaryHeap<Reverse<Kept>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { step_seconds: SHORTEST_STEP, steps: Vec::new(), kept: BinaryHeap::new() }
    }
}

/// A slice, by how much it deserves to be kept.
#[derive(Debug)]
struct Kept(SliceTime);

impl Kept {
    fn worth(&self) -> (bool, f64, Reverse<&str>) {
        let failed = matches!(self.0.outcome, SliceOutcome::Failed | SliceOutcome::Gone);
        (failed, self.0.seconds, Reverse(&self.0.slice))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a, b) = (self.worth(), other.worth());
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept {}

impl SliceTime {
    /// A slice that started so long after its stream.
    pub(super) fn new(
        slice: String,
        outcome: SliceOutcome,
        started: Duration,
        took: Duration,
        cost: SliceCost,
    ) -> Self {
        let SliceCost { requests, retries, turn, place, retry } = cost;
        // Thousandths are enough for a picture, and keep the report small.
        let seconds = |it: Duration| (it.as_secs_f64() * 1e3).round() / 1e3;
        Self {
            slice,
            outcome,
            started: seconds(started),
            seconds: seconds(took),
            waiting: seconds(turn + place),
            retrying: seconds(retry),
            requests,
            retries,
            records: None,
            total: None,
        }
    }
}

impl Recorder {
    /// Takes a slice that has ended.
    pub(super) fn add(&mut self, slice: SliceTime) {
        self.spread(&slice);
        self.kept.push(Reverse(Kept(slice)));
        if self.kept.len() > KEPT {
            self.kept.pop();
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 120 steps, of times that are not negative"
    )]
    fn spread(&mut self, slice: &SliceTime) {
        let &SliceTime { started, seconds, waiting, retrying, retries, outcome, .. } = slice;
        let end = started + seconds;
        while end >= self.step_seconds * STEPS as f64 {
            self.double();
        }
        let step = self.step_seconds;
        let last = (end / step) as usize;
        if self.steps.len() <= last {
            self.steps.resize(last + 1, Step::default());
        }
        // Waits of requests at the same time may add up to more than the time of their slice.
        let whole = (waiting + retrying).max(seconds);
        let share = |it: f64| if whole > 0.0 { it / whole } else { 0.0 };
        let (waits, retries_share) = (share(waiting), share(retrying));
        for at in (started / step) as usize..=last {
            let (from, until) = (at as f64 * step, (at + 1) as f64 * step);
            let inside = (end.min(until) - started.max(from)).max(0.0);
            let it = &mut self.steps[at];
            it.waiting += inside * waits;
            it.retrying += inside * retries_share;
            it.working += inside * (1.0 - waits - retries_share).max(0.0);
        }
        let it = &mut self.steps[last];
        it.retries += retries;
        it.ended += 1;
        it.failed += u64::from(outcome == SliceOutcome::Failed);
    }

    /// Makes steps twice as long.
    fn double(&mut self) {
        self.step_seconds *= 2.0;
        self.steps =
            self.steps.chunks(2).map(|it| it.iter().copied().fold(Step::default(), sum)).collect();
    }

    /// What was seen.
    pub(super) fn finish(self) -> Timeline {
        let mut slices: Vec<SliceTime> = self.kept.into_iter().map(|it| it.0.0).collect();
        slices.sort_by(|a, b| a.started.total_cmp(&b.started).then_with(|| a.slice.cmp(&b.slice)));
        let round = |it: f64| (it * 1e3).round() / 1e3;
        let step = |it: Step| Step {
            working: round(it.working),
            waiting: round(it.waiting),
            retrying: round(it.retrying),
            ..it
        };
        let steps = self.steps.into_iter().map(step).collect();
        Timeline { step_seconds: self.step_seconds, steps, slices }
    }
}

fn sum(a: Step, b: Step) -> Step {
    Step {
        working: a.working + b.working,
        waiting: a.waiting + b.waiting,
        retrying: a.retrying + b.retrying,
        retries: a.retries + b.retries,
        ended: a.ended + b.ended,
        failed: a.failed + b.failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, outcome: SliceOutcome, started: f64, seconds: f64) -> SliceTime {
        let (started, took) = (Duration::from_secs_f64(started), Duration::from_secs_f64(seconds));
        SliceTime::new(name.to_owned(), outcome, started, took, SliceCost::default())
    }

    /// In steps of a quarter of a second.
    fn quarters() -> Recorder {
        Recorder { step_seconds: 0.25, ..Recorder::default() }
    }

    #[test]
    fn a_slice_counts_in_every_step_that_it_was_under_way_in() {
        let mut recorder = quarters();
        // Of 0.5 s, which start in the middle of a step, 0.2 s are spent waiting and 0.1 s retrying.
        let waited = SliceTime {
            waiting: 0.2,
            retrying: 0.1,
            retries: 3,
            ..slice("a", SliceOutcome::Failed, 0.125, 0.5)
        };
        recorder.add(waited);

        let timeline = recorder.finish();

        let quarter = Step { working: 0.1, waiting: 0.1, retrying: 0.05, ..Step::default() };
        let eighth = Step { working: 0.05, waiting: 0.05, retrying: 0.025, ..Step::default() };
        let last = Step { ended: 1, failed: 1, retries: 3, ..eighth };
        let steps = vec![eighth, quarter, last];
        assert_eq!(
            timeline,
            Timeline { step_seconds: 0.25, steps, slices: timeline.slices.clone() }
        );
    }

    #[test]
    fn waits_of_requests_at_the_same_time_take_no_more_than_the_time_of_their_slice() {
        let mut recorder = quarters();
        let waited = SliceTime {
            waiting: 0.6,
            retrying: 0.2,
            ..slice("a", SliceOutcome::Complete, 0.0, 0.2)
        };
        recorder.add(waited);

        let expected = Step { waiting: 0.15, retrying: 0.05, ended: 1, ..Step::default() };
        assert_eq!(recorder.finish().steps, [expected]);
    }

    #[test]
    fn a_hundred_thousand_slices_are_told_in_a_bounded_size_and_none_is_left_out_of_the_counts() {
        let mut recorder = Recorder::default();
        let n = 100_000_u32;
        for i in 0..n {
            let outcome =
                if i % 10_000 == 7 { SliceOutcome::Failed } else { SliceOutcome::Complete };
            let seconds = if i == 4_321 { 60.0 } else { 0.5 };
            recorder.add(slice(&format!("slice {i}"), outcome, f64::from(i) * 0.1, seconds));
        }

        let timeline = recorder.finish();

        assert!(timeline.steps.len() <= STEPS && timeline.steps.len() > STEPS / 4);
        assert_eq!(timeline.steps.iter().map(|it| it.ended).sum::<u64>(), u64::from(n));
        let seconds: f64 = timeline.steps.iter().map(|it| it.working).sum();
        let expected = f64::from(n) * 0.5 + 59.5;
        assert!((seconds - expected).abs() < 1.0, "{seconds} s instead of {expected} s");
        assert_eq!(timeline.slices.len(), KEPT);
        let is_failed = |it: &&SliceTime| it.outcome == SliceOutcome::Failed;
        assert_eq!(timeline.slices.iter().filter(is_failed).count(), 10);
        assert!(timeline.slices.iter().any(|it| it.slice == "slice 4321"), "the slowest is kept");
        let json = serde_json::to_string(&timeline).unwrap();
        assert!(json.len() < 50_000, "{} bytes", json.len());
    }
}
