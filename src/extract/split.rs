//! Whether a slice that does not add up is read again, cut in two, or given up. Pure, but for the
//! counts that the parts of one slice share.
//!
//! ```text
//! 5 of 6 records   read again
//! 5 of 6 records   cut: 2 of 2 | 3 of 4, read again, cut: …
//! 10 000 records, and the API gives no more: cut, until the parts fit
//! ```
//!
//! A total that is wrong in every window would be followed into ever smaller ones, twice as many each
//! time. So cuts are counted, and a part that has the total of the whole is not cut further.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{ExtractError, Slice, SliceEnd, Verdict};

/// How often a slice is read again whose records did not add up.
const MAX_READINGS: u32 = 3;
/// How often one slice and its parts are cut because records are missing: more than it takes to find
/// one in a century of milliseconds.
const MOST_SHORT_CUTS: u32 = 64;
/// How often one slice and its parts are cut in a row because the API counts more than it gives: each
/// slice that is read at the same time may go down to its shortest window before a part fits.
const MOST_CAPPED_CUTS: u32 = 500;

/// What a part knows of the slice that it was cut from.
#[derive(Debug, Clone, Default)]
pub(super) struct Lineage {
    /// The API's total for the window twice as long.
    total: Option<u64>,
    /// Shared by all parts of a slice.
    cuts: Arc<Cuts>,
}

#[derive(Debug, Default)]
struct Cuts {
    /// Because records were missing.
    short: AtomicU32,
    /// Because there were too many, since a part was last read to its end.
    capped: AtomicU32,
}

impl PartialEq for Lineage {
    /// Slices are equal by what they ask for.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What does not add up in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misfit {
    /// Fewer records came than the API counts.
    Short { expected: u64, found: u64 },
    /// The total changed meanwhile.
    Moved { from: u64, to: u64 },
    /// The API counts more than it gives.
    Capped { total: u64 },
}

/// What is known when a slice does not add up.
#[derive(Debug, Clone, Copy)]
struct Case {
    misfit: Misfit,
    /// Counted from 1.
    reading: u32,
    /// Whether the window is longer than the shortest that the API can say.
    can_be_cut: bool,
    /// Of the slice that this one was cut from.
    whole: Option<u64>,
    /// Cuts for the same reason so far.
    cuts: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Again,
    Cut,
    /// The total is that of a longer window.
    SameTotal,
    /// The total would be followed into ever shorter windows.
    Endless,
    /// It is as the API says, and nothing helps.
    Fail,
}

fn decide(case: Case) -> Decision {
    let Case { misfit, reading, can_be_cut, whole, cuts } = case;
    let most = match misfit {
        Misfit::Short { .. } | Misfit::Moved { .. } if reading == 1 => return Decision::Again,
        Misfit::Short { expected, .. } if whole == Some(expected) => return Decision::SameTotal,
        Misfit::Short { .. } | Misfit::Moved { .. } => MOST_SHORT_CUTS,
        // An API that counts no further than its cap says the same of every long window.
        Misfit::Capped { .. } => MOST_CAPPED_CUTS,
    };
    match misfit {
        _ if can_be_cut && cuts < most => Decision::Cut,
        _ if can_be_cut => Decision::Endless,
        Misfit::Short { .. } | Misfit::Moved { .. } if reading < MAX_READINGS => Decision::Again,
        _ => Decision::Fail,
    }
}

/// How a slice ends that was read; `None` where it is to be read again.
pub(super) fn settle(slice: &Slice, end: SliceEnd, reading: u32) -> Option<SliceEnd> {
    let SliceEnd::Read { verdict, .. } = end else { return Some(end) };
    let misfit = match verdict {
        Verdict::Short { expected, found } => Misfit::Short { expected, found },
        Verdict::Moved { from, to } => Misfit::Moved { from, to },
        Verdict::Complete | Verdict::Unreconciled => {
            slice.lineage.cuts.capped.store(0, Relaxed);
            return Some(end);
        }
    };
    tracing::warn!(slice = %slice.id, reading, "{}", misfit.error());
    misfit.end(slice, reading)
}

/// How a slice ends of which the API counts more records than it gives.
pub(super) fn capped(slice: &Slice, total: u64) -> SliceEnd {
    let misfit = Misfit::Capped { total };
    misfit.end(slice, 1).unwrap_or_else(|| SliceEnd::Failed(misfit.error()))
}

impl Misfit {
    fn end(self, slice: &Slice, reading: u32) -> Option<SliceEnd> {
        let Lineage { total: whole, cuts } = &slice.lineage;
        let (count, total) = match self {
            Self::Short { expected: total, .. } | Self::Moved { to: total, .. } => {
                (&cuts.short, total)
            }
            Self::Capped { total } => (&cuts.capped, total),
        };
        let halves = slice.split();
        let can_be_cut = halves.is_some();
        let cuts_so_far = count.load(Relaxed);
        let case = Case { misfit: self, reading, can_be_cut, whole: *whole, cuts: cuts_so_far };
        Some(match (decide(case), halves) {
            (Decision::Again, _) => return None,
            (Decision::Cut, Some(halves)) => {
                count.fetch_add(1, Relaxed);
                let lineage = Lineage { total: Some(total), cuts: Arc::clone(cuts) };
                let of_this = |mut half: Slice| {
                    half.lineage = lineage.clone();
                    half
                };
                SliceEnd::Split(Box::new(halves.map(of_this)))
            }
            (Decision::SameTotal, _) => SliceEnd::Failed(ExtractError::SameTotal { total }),
            (Decision::Endless, _) => {
                SliceEnd::Failed(ExtractError::Endless { total, cuts: cuts_so_far })
            }
            (Decision::Cut | Decision::Fail, _) => SliceEnd::Failed(self.error()),
        })
    }

    fn error(self) -> ExtractError {
        match self {
            Self::Short { expected, found } => ExtractError::Short { expected, found },
            Self::Moved { from, to } => ExtractError::Moved { from, to },
            Self::Capped { total } => ExtractError::Capped { total },
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        extract::{Horizon, ParentValues, slices},
        plan::{SlicesPlan, WindowFormat, WindowParams, WindowPlan, WindowStart},
    };

    /// Two slices, of ten years each.
    fn decades() -> [Slice; 2] {
        let plan = SlicesPlan::Window(WindowPlan {
            from: WindowStart::At("2004-07-30T00:00:00Z".parse().unwrap()),
            ahead: TimeDelta::zero(),
            step: Some(TimeDelta::days(3_650)),
            reread: None,
            format: WindowFormat::EpochMillis,
            zone: chrono_tz::UTC,
            params: WindowParams::None,
        });
        let now = "2024-07-25T00:00:00Z".parse().unwrap();
        let horizon = Horizon { now, since: None, until: None };
        slices(&plan, &horizon, &ParentValues::new()).try_into().unwrap()
    }

    fn read(verdict: Verdict) -> SliceEnd {
        SliceEnd::Read { verdict, pages: 1, records: 5, total: Some(6) }
    }

    fn halves(end: Option<SliceEnd>) -> [Slice; 2] {
        match end {
            Some(SliceEnd::Split(halves)) => *halves,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_half_that_has_the_total_of_the_whole_is_not_cut_further() {
        let short = |expected| read(Verdict::Short { expected, found: 5 });
        let [slice, _] = decades();
        assert!(settle(&slice, short(6), 1).is_none(), "it is read again");
        let [first, second] = halves(settle(&slice, short(6), 2));

        let end = settle(&first, short(6), 2);
        assert!(matches!(end, Some(SliceEnd::Failed(ExtractError::SameTotal { total: 6 }))));
        // Of a total of its own the half may be cut.
        let [third, _] = halves(settle(&second, short(4), 2));
        let end = settle(&third, short(4), 2);
        assert!(matches!(end, Some(SliceEnd::Failed(ExtractError::SameTotal { total: 4 }))));
    }

    #[test]
    fn cuts_are_counted_for_a_slice_and_its_parts_together() {
        let short = || read(Verdict::Short { expected: 6, found: 5 });
        let [slice, other] = decades();
        for _ in 0..64 {
            halves(settle(&slice, short(), 2));
        }
        let end = settle(&slice, short(), 2);
        assert!(
            matches!(end, Some(SliceEnd::Failed(ExtractError::Endless { total: 6, cuts: 64 }))),
            "{end:?}"
        );
        halves(settle(&other, short(), 2));
    }

    #[test]
    fn a_part_that_fits_lets_the_others_be_cut_again() {
        let [slice, _] = decades();
        let [first, _] = halves(Some(capped(&slice, 9)));
        for _ in 1..500 {
            halves(Some(capped(&slice, 9)));
        }
        let end = capped(&slice, 9);
        assert!(
            matches!(end, SliceEnd::Failed(ExtractError::Endless { total: 9, cuts: 500 })),
            "{end:?}"
        );

        let end = settle(&first, read(Verdict::Complete), 1);

        assert!(matches!(end, Some(SliceEnd::Read { verdict: Verdict::Complete, .. })));
        halves(Some(capped(&slice, 9)));
    }

    #[test]
    fn what_does_not_add_up_is_read_again_then_cut_and_at_last_given_up() {
        use Decision::{Again, Cut, Endless, Fail, SameTotal};
        let short = Misfit::Short { expected: 6, found: 5 };
        let moved = Misfit::Moved { from: 5, to: 6 };
        let capped = Misfit::Capped { total: 6 };
        for (misfit, reading, can_be_cut, whole, cuts, expected) in [
            (short, 1, true, None, 0, Again),
            (short, 1, true, Some(6), 64, Again),
            (short, 2, true, None, 0, Cut),
            (short, 2, true, Some(9), 63, Cut),
            (short, 2, true, Some(9), 64, Endless),
            (short, 2, true, Some(6), 1, SameTotal),
            (short, 2, false, Some(6), 1, SameTotal),
            (short, 2, false, Some(9), 1, Again),
            (short, 3, false, Some(9), 64, Fail),
            (moved, 1, true, None, 0, Again),
            (moved, 2, true, Some(6), 1, Cut),
            (moved, 2, true, Some(6), 64, Endless),
            (moved, 2, false, None, 0, Again),
            (moved, 3, false, None, 0, Fail),
            (capped, 1, true, None, 0, Cut),
            (capped, 1, true, Some(6), 499, Cut),
            (capped, 1, true, Some(6), 500, Endless),
            (capped, 1, false, Some(6), 500, Fail),
        ] {
            let case = Case { misfit, reading, can_be_cut, whole, cuts };
            assert_eq!(decide(case), expected, "{case:?}");
        }
    }
}
