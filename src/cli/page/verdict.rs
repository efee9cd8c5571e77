//! What a run comes to, in a sentence. Pure.

use serde::Serialize;

use super::{
    facts::{Run, Stream},
    scale::counted,
};

/// How a run ended, for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mood {
    Complete,
    Partial,
    Failed,
}

/// What a run comes to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) mood: Mood,
    pub(super) sentence: String,
}

/// What the run of a pipeline comes to.
pub(super) fn of(run: &Run) -> Verdict {
    let failed: Vec<&str> =
        run.streams.iter().filter(|it| it.status == "failed").map(|it| it.name.as_str()).collect();
    let sum = |of: fn(&Stream) -> u64| run.streams.iter().map(of).sum::<u64>();
    let left = sum(|it| it.slices.left);
    let slices = sum(|it| it.slices.failed).saturating_sub(left);
    let kept = sum(|it| if it.is_kept() { it.rejected } else { 0 });
    let passed_over = sum(|it| if it.is_kept() { 0 } else { it.rejected });
    let held_back = sum(|it| it.held_back);
    let gone = sum(|it| it.slices.gone);
    if !failed.is_empty() {
        let all = if failed.len() == run.streams.len() { "nothing" } else { "not everything" };
        return Verdict {
            mood: Mood::Failed,
            sentence: format!(
                "Failed: {all} was published. What stood before of {} is untouched.",
                listed(&failed)
            ),
        };
    }
    let are = |n: u64| if n == 1 { "is" } else { "are" };
    let told = |n: u64, word: &str, what: &dyn Fn(&str) -> String| {
        (n > 0).then(|| format!("{} {}", counted(n, word), what(are(n))))
    };
    let wrong = [
        told(slices, "slice", &|are| format!("failed and {are} remembered for the next run")),
        told(left, "slice", &|are| format!("{are} left for the next run")),
        told(kept, "record", &|are| format!("did not fit and {are} in quarantine")),
        told(held_back, "row", &|are| format!("of their slices {are} held back with them")),
        told(passed_over, "record", &|_| {
            "of parents that are only read did not fit and gave no children".to_owned()
        }),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    if !wrong.is_empty() {
        let rest = "; everything else that was asked for is published.";
        return Verdict {
            mood: Mood::Partial,
            sentence: format!("Partial: {}{rest}", wrong.join(", ")),
        };
    }
    if run.exit_code != 0 {
        let sentence = format!(
            "Partial: the run ended with exit code {}; what was published is whole.",
            run.exit_code
        );
        return Verdict { mood: Mood::Partial, sentence };
    }
    let left_out = gone + sum(|it| it.slices.skipped);
    let read = match sum(|it| it.slices.total) {
        0 => "there was nothing to read".to_owned(),
        1 if left_out == 0 => "the only slice was read to its end".to_owned(),
        n if left_out == 0 => format!("all {} were read to their end", counted(n, "slice")),
        n => format!(
            "{} of {} were read to their end",
            n.saturating_sub(left_out),
            counted(n, "slice")
        ),
    };
    let lost = match gone {
        0 => String::new(),
        n => format!(" Access to {} is lost.", counted(n, "parent")),
    };
    let unreconciled = sum(|it| it.slices.unreconciled);
    let untold = match unreconciled {
        0 => String::new(),
        n => format!(" Of {}, the API gives no total to compare with.", counted(n, "slice")),
    };
    let changed = sum(|it| it.added + it.updated + it.removed);
    let same = if changed == 0 { ", and nothing in the dataset changed" } else { "" };
    Verdict { mood: Mood::Complete, sentence: format!("Complete: {read}{same}.{lost}{untold}") }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Slices, *};

    fn stream(name: &str, status: &str, slices: Slices) -> Stream {
        let (name, status) = (name.to_owned(), status.to_owned());
        Stream { name, status, slices, ..Stream::default() }
    }

    #[track_caller]
    fn check(exit_code: u8, streams: Vec<Stream>, mood: Mood, sentence: &str) {
        let found = of(&Run { exit_code, streams, ..Run::default() });
        assert_eq!((found.mood, found.sentence.as_str()), (mood, sentence));
    }

    #[test]
    fn a_run_is_told_in_a_sentence() {
        let read = Slices { total: 3, complete: 3, ..Slices::default() };
        let all = || stream("log", "published", read);
        check(
            0,
            vec![Stream { added: 4, ..all() }],
            Mood::Complete,
            "Complete: all 3 slices were read to their end.",
        );
        check(
            0,
            vec![all()],
            Mood::Complete,
            "Complete: all 3 slices were read to their end, and nothing in the dataset changed.",
        );
        let untold = Slices { total: 1, unreconciled: 1, ..Slices::default() };
        check(
            0,
            vec![Stream { updated: 1, ..stream("log", "published", untold) }],
            Mood::Complete,
            "Complete: the only slice was read to its end. Of 1 slice, the API gives no total to compare with.",
        );
        let lost = Slices { total: 3, complete: 1, gone: 2, ..Slices::default() };
        check(
            0,
            vec![Stream { removed: 1, ..stream("log", "published", lost) }],
            Mood::Complete,
            "Complete: 1 of 3 slices were read to their end. Access to 2 parents is lost.",
        );
        check(
            0,
            vec![],
            Mood::Complete,
            "Complete: there was nothing to read, and nothing in the dataset changed.",
        );
        let some = Slices { total: 3, complete: 2, failed: 1, ..Slices::default() };
        check(
            7,
            vec![all(), Stream { rejected: 2, ..stream("log", "published", some) }],
            Mood::Partial,
            "Partial: 1 slice failed and is remembered for the next run, 2 records did not fit and are in \
             quarantine; everything else that was asked for is published.",
        );
        let budget = Slices { total: 5, complete: 2, failed: 3, left: 3, ..Slices::default() };
        check(
            7,
            vec![stream("log", "published", budget)],
            Mood::Partial,
            "Partial: 3 slices are left for the next run; everything else that was asked for is published.",
        );
        check(
            7,
            vec![stream("log", "published", Slices { left: 1, ..budget })],
            Mood::Partial,
            "Partial: 2 slices failed and are remembered for the next run, 1 slice is left for the next run; \
             everything else that was asked for is published.",
        );
        check(
            7,
            vec![Stream { rejected: 1, held_back: 40, ..all() }],
            Mood::Partial,
            "Partial: 1 record did not fit and is in quarantine, 40 rows of their slices are held back with them; \
             everything else that was asked for is published.",
        );
        check(
            7,
            vec![Stream { rejected: 3, ..stream("issues", "read", read) }, all()],
            Mood::Partial,
            "Partial: 3 records of parents that are only read did not fit and gave no children; everything else \
             that was asked for is published.",
        );
        check(
            6,
            vec![all()],
            Mood::Partial,
            "Partial: the run ended with exit code 6; what was published is whole.",
        );
        check(
            4,
            vec![stream("a", "failed", some), all(), stream("b", "failed", some)],
            Mood::Failed,
            "Failed: not everything was published. What stood before of a and b is untouched.",
        );
        check(
            4,
            vec![stream("a", "failed", some)],
            Mood::Failed,
            "Failed: nothing was published. What stood before of a is untouched.",
        );
    }
}
