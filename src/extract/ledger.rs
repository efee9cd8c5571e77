//! What a slice promised and what arrived. Pure.

use std::{collections::HashSet, ops::RangeInclusive};

use super::SliceEnd;
use crate::plan::PageFacts;

/// How many records of the slices that are read at once are told apart, so that their ledgers stay
/// small: some 20 MB. A larger slice is checked page by page, and says of itself that it was not
/// reconciled. Seven eighths of a power of two is what fits into a set before it grows.
const TOLD_APART: usize = 7 << 18;
/// Between how many of one slice, however many are read at once.
const OF_A_SLICE: RangeInclusive<usize> = 7 << 13..=7 << 17;

/// The count of one slice while it is read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keyed: bool,
    /// Records that are told apart.
    told_apart: usize,
    is_too_large: bool,
    pages: u64,
    records: u64,
    seen: HashSet<u64>,
    page_texts: HashSet<u64>,
    total: Option<u64>,
    /// The smallest and the largest total that pages named.
    totals: Option<(u64, u64)>,
}

/// What a page brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageNews {
    /// Records that the slice did not have, or no records at all.
    New,
    /// Only records that the slice had already.
    Repeated,
}

/// Whether everything arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As many records as the API said.
    Complete,
    /// The API gives no total.
    Unreconciled,
    /// Fewer records than the API said.
    Short {
        /// The API's own total.
        expected: u64,
        /// What arrived, without repetitions.
        found: u64,
    },
    /// The API's total was another one on a later page, and it cannot be told whether a record that
    /// moved to another page is there twice, or not at all.
    Moved {
        /// The smallest total.
        from: u64,
        /// The largest.
        to: u64,
    },
}

impl Ledger {
    /// Opens a ledger; `keyed` says whether equal records are the same record, and `at_once` how
    /// many slices are read at the same time.
    pub(super) fn new(keyed: bool, at_once: usize) -> Self {
        let share = TOLD_APART / at_once.max(1);
        let told_apart = share.clamp(*OF_A_SLICE.start(), *OF_A_SLICE.end());
        Self { keyed, told_apart, ..Self::default() }
    }

    /// Whether equal records are the same record, so that reading one again doubles nothing.
    pub(super) fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Counts a page and the total that it names.
    pub(super) fn add(&mut self, facts: &PageFacts, total: Option<u64>) -> PageNews {
        self.pages += 1;
        self.records += facts.records;
        // The total moves while pages are read; the latest is the closest to what is there.
        self.total = total.or(self.total);
        if let Some(total) = total {
            let (least, most) = self.totals.unwrap_or((total, total));
            self.totals = Some((least.min(total), most.max(total)));
        }
        if facts.identities.is_empty() {
            return PageNews::New;
        }
        let records = self.seen.len() + facts.identities.len();
        if self.keyed && !self.is_too_large && records > self.told_apart {
            self.is_too_large = true;
            self.seen = HashSet::new();
        }
        if self.keyed && !self.is_too_large {
            let before = self.seen.len();
            self.seen.extend(&facts.identities);
            return if self.seen.len() == before { PageNews::Repeated } else { PageNews::New };
        }
        // Equal rows are legal here, even a page of nothing else; a page of different records that
        // comes back word for word is not.
        let different = facts.identities.iter().any(|it| *it != facts.identities[0]);
        let page = fingerprint(&facts.identities);
        if self.page_texts.insert(page) || !different { PageNews::New } else { PageNews::Repeated }
    }

    /// Records so far, without repetitions where the stream has a key.
    pub(super) fn distinct(&self) -> u64 {
        if self.keyed && !self.is_too_large { self.seen.len() as u64 } else { self.records }
    }

    /// Pages so far.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// The API's own total, as last seen.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// A slice that was read to its end.
    pub(super) fn end(&self, verdict: Verdict) -> SliceEnd {
        let &Self { pages, records, total, .. } = self;
        SliceEnd::Read { verdict, pages, records, total }
    }

    /// Between which values the API's own total moved, if it did.
    pub(super) fn moved(&self) -> Option<Verdict> {
        self.totals.filter(|(from, to)| from != to).map(|(from, to)| Verdict::Moved { from, to })
    }

    /// Whether everything arrived.
    pub(super) fn verdict(&self) -> Verdict {
        match self.totals {
            None => Verdict::Unreconciled,
            // Of a total that went down: a record that is gone may have drawn another one to a page
            // that was read already.
            Some((_, expected)) if self.distinct() < expected => {
                Verdict::Short { expected, found: self.distinct() }
            }
            // Among so many records repetitions could stand for missing ones.
            Some(_) if self.is_too_large => Verdict::Unreconciled,
            Some(_) if self.keyed => Verdict::Complete,
            Some(_) => self.moved().unwrap_or(Verdict::Complete),
        }
    }
}

fn fingerprint(identities: &[u64]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    identities.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(identities: &[u64]) -> PageFacts {
        PageFacts {
            records: identities.len() as u64,
            identities: identities.to_vec(),
            ..PageFacts::default()
        }
    }

    #[test]
    fn a_record_that_drifted_to_the_next_page_counts_once() {
        let mut ledger = Ledger::new(true, 8);

        assert_eq!(ledger.add(&page(&[1, 2]), Some(3)), PageNews::New);
        assert_eq!(ledger.add(&page(&[2, 3]), Some(3)), PageNews::New);

        assert_eq!(ledger.verdict(), Verdict::Complete);
        assert_eq!((ledger.records, ledger.distinct()), (4, 3));
    }

    #[test]
    fn a_record_that_was_skipped_by_drift_is_missed() {
        let mut ledger = Ledger::new(true, 8);
        ledger.add(&page(&[1, 2]), Some(4));
        ledger.add(&page(&[2, 3]), Some(4));

        assert_eq!(ledger.verdict(), Verdict::Short { expected: 4, found: 3 });
    }

    #[test]
    fn a_record_that_a_delete_drew_to_an_earlier_page_is_missed() {
        // 1, 2 of five; then 1 goes, and the second page starts with 4.
        let mut ledger = Ledger::new(true, 8);
        ledger.add(&page(&[1, 2]), Some(5));
        ledger.add(&page(&[4, 5]), Some(4));

        assert_eq!(ledger.verdict(), Verdict::Short { expected: 5, found: 4 });
    }

    #[test]
    fn a_total_that_changes_counts_only_where_records_can_be_told_apart() {
        for (keyed, expected) in
            [(true, Verdict::Complete), (false, Verdict::Moved { from: 4, to: 5 })]
        {
            let mut ledger = Ledger::new(keyed, 8);
            ledger.add(&page(&[1, 2]), Some(4));
            ledger.add(&page(&[3, 4]), None);
            ledger.add(&page(&[5]), Some(5));

            assert_eq!(ledger.verdict(), expected);
        }
    }

    #[test]
    fn a_page_without_a_new_record_is_a_repetition() {
        let mut ledger = Ledger::new(true, 8);
        ledger.add(&page(&[1, 2]), None);

        assert_eq!(ledger.add(&page(&[2, 1]), None), PageNews::Repeated);
        assert_eq!(ledger.verdict(), Verdict::Unreconciled);
    }

    #[test]
    fn equal_rows_of_a_stream_without_a_key_all_count() {
        let mut ledger = Ledger::new(false, 8);

        assert_eq!(ledger.add(&page(&[7, 7]), Some(4)), PageNews::New);
        assert_eq!(ledger.add(&page(&[7, 7]), Some(4)), PageNews::New);

        assert_eq!(ledger.verdict(), Verdict::Complete);
    }

    #[test]
    fn a_page_that_comes_back_word_for_word_is_a_repetition_without_a_key_too() {
        let mut ledger = Ledger::new(false, 8);
        ledger.add(&page(&[7, 8]), Some(4));

        assert_eq!(ledger.add(&page(&[7, 8]), Some(4)), PageNews::Repeated);
        assert_eq!(ledger.add(&page(&[8, 7]), Some(4)), PageNews::New, "it is another page");
    }

    #[test]
    fn a_slice_too_large_to_tell_its_records_apart_says_so_and_still_sees_a_repeated_page() {
        let mut ledger = Ledger::new(true, 8);
        let many: Vec<u64> = (0..229_376).collect();
        ledger.add(&page(&many), Some(229_378));

        assert_eq!(ledger.add(&page(&[1, 2]), None), PageNews::New);
        assert_eq!(ledger.add(&page(&[1, 2]), None), PageNews::Repeated);
        assert_eq!(ledger.verdict(), Verdict::Unreconciled);
        assert!(ledger.seen.is_empty());

        let mut just_fits = Ledger::new(true, 8);
        just_fits.add(&page(&many), Some(229_376));
        assert_eq!(just_fits.verdict(), Verdict::Complete);
        let mut without_key = Ledger::new(false, 8);
        without_key.add(&page(&many), Some(229_378));
        without_key.add(&page(&[1, 2]), None);
        assert_eq!(without_key.verdict(), Verdict::Complete, "nothing is told apart");
    }

    #[test]
    fn an_empty_page_is_no_repetition() {
        let mut ledger = Ledger::new(true, 8);

        assert_eq!(ledger.add(&page(&[]), Some(0)), PageNews::New);
        assert_eq!(ledger.verdict(), Verdict::Complete);
    }
}
