//! What becomes of a row that stands and of one that came with the same key; pure.
//!
//! ```text
//!                          only stands    only came   both, equal   both, different
//! stands in a read scope   removed        added       unchanged     updated
//! append                   kept           added       unchanged     the one that stands: outdated
//! merge                    kept           added       unchanged     the newer one; at a tie the new one
//! replace                  kept           added       unchanged     updated
//! ```
//!
//! Rows that came late, out of quarantine, lose what nothing decides: a tie of a merge, and all of a
//! replace. Theirs may be an earlier version of a record that was read well later in the same run.
//!
//! What a run has read completely becomes what was read, whatever the mode. Where deletes are marked,
//! a row that is removed stays with its mark, until a row with its key comes.

use std::cmp::Ordering;

use super::{
    partition::Ordinal,
    rows::Layout,
    sort::{Origin, Row},
};
use crate::plan::WriteMode;

/// The rule of a write mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// What stands stays.
    Append,
    /// The newer row stays.
    Merge,
    /// What came stays.
    Replace,
    /// The newer row stays; at a tie the one that stands.
    LateMerge,
}

impl Rule {
    /// The rule for rows of the same mode that came late.
    pub(super) fn late(self) -> Self {
        match self {
            Self::Append | Self::Replace => Self::Append,
            Self::Merge | Self::LateMerge => Self::LateMerge,
        }
    }
}

impl From<&WriteMode> for Rule {
    fn from(mode: &WriteMode) -> Self {
        match mode {
            WriteMode::Append { .. } => Self::Append,
            WriteMode::Merge { .. } => Self::Merge,
            WriteMode::Replace { .. } => Self::Replace,
        }
    }
}

/// Where the row of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// In a scope that was read.
    InScope,
    /// Outside of these.
    Outside,
}

/// What there is of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// A row that came.
    OnlyNew,
    /// A row that stands.
    OnlyOld(Stands),
    /// Both, the same.
    Same,
    /// Both; `age` compares the new row's `newest_by` with that of the one that stands.
    Both {
        /// Where the old row is.
        stands: Stands,
        /// Less where the new row is older.
        age: Ordering,
    },
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The new row is one more.
    Add,
    /// The new row takes the old one's place.
    Update,
    /// Both are the same.
    Unchanged,
    /// The old row stays, the new one is dropped.
    Outdated,
    /// The old row stays; there was nothing to decide.
    Keep,
    /// The old row goes.
    Remove,
}

/// The table above.
pub(super) fn verdict(rule: Rule, meeting: Meeting) -> Verdict {
    match (meeting, rule) {
        (Meeting::OnlyNew, _) => Verdict::Add,
        (Meeting::OnlyOld(Stands::InScope), _) => Verdict::Remove,
        (Meeting::OnlyOld(Stands::Outside), _) => Verdict::Keep,
        (Meeting::Same, _) => Verdict::Unchanged,
        (Meeting::Both { stands: Stands::InScope, .. }, _) => Verdict::Update,
        (Meeting::Both { stands: Stands::Outside, age }, rule) => match (rule, age) {
            (Rule::Append, _)
            | (Rule::Merge | Rule::LateMerge, Ordering::Less)
            | (Rule::LateMerge, Ordering::Equal) => Verdict::Outdated,
            (Rule::Merge, Ordering::Equal)
            | (Rule::Merge | Rule::LateMerge, Ordering::Greater)
            | (Rule::Replace, _) => Verdict::Update,
        },
    }
}

/// What became of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows that were equal to another one that came.
    pub(super) duplicates: u64,
    /// Rows whose key a newer row that came had.
    pub(super) superseded: u64,
    /// Rows with a key that did not stand.
    pub(super) added: u64,
    /// Rows that took the place of another one.
    pub(super) updated: u64,
    /// Rows that stood already.
    pub(super) unchanged: u64,
    /// Rows that came and did not replace the one that stands.
    pub(super) outdated: u64,
    /// Rows that stood and are gone.
    pub(super) removed: u64,
    /// Rows that left their partition for another.
    pub(super) redated: u64,
    /// Rows in a scope that was read, which an earlier run has marked as gone.
    pub(super) gone_before: u64,
    /// Rows that an earlier run has marked as gone, and that are there again.
    pub(super) revived: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self {
            duplicates,
            superseded,
            added,
            updated,
            unchanged,
            outdated,
            removed,
            redated,
            gone_before,
            revived,
        } = other;
        self.duplicates += duplicates;
        self.superseded += superseded;
        self.added += added;
        self.updated += updated;
        self.unchanged += unchanged;
        self.outdated += outdated;
        self.removed += removed;
        self.redated += redated;
        self.gone_before += gone_before;
        self.revived += revived;
    }
}

impl Counts {
    /// Counts a row that came with the key of another one.
    fn lose(&mut self, is_duplicate: bool) {
        if is_duplicate {
            self.duplicates += 1;
        } else {
            self.superseded += 1;
        }
    }
}

/// A row that may stay. Its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    is_there: bool,
    partition: Option<Ordinal>,
    bytes: Vec<u8>,
}

impl Candidate {
    /// The row, if there is one.
    pub(super) fn row(&self, key_len: usize) -> Option<Row<'_>> {
        let partition = self.partition.filter(|_| self.is_there)?;
        Some(Row { partition, key_len, bytes: &self.bytes })
    }

    fn set(&mut self, row: Row<'_>) {
        self.is_there = true;
        self.partition = Some(row.partition);
        self.bytes.clear();
        self.bytes.extend_from_slice(row.bytes);
    }

    /// Compares the row with another one of its key, if it is there.
    fn compare(&self, other: Row<'_>, layout: &Layout) -> Option<Ordering> {
        let row = self.row(other.key_len)?;
        let by_columns = layout.compare(row, other);
        Some(by_columns.then_with(|| row.partition.cmp(&other.partition)))
    }
}

/// All rows of one key, and which of them stays.
#[derive(Debug, Default)]
pub(super) struct Contest {
    new: Candidate,
    /// The row that came last, if it is not `new`: equal rows come one after the other.
    passed: Candidate,
    old: Candidate,
    is_in_scope: bool,
}

impl Contest {
    /// Takes a row of the key.
    pub(super) fn push(
        &mut self,
        origin: Origin,
        row: Row<'_>,
        layout: &Layout,
        counts: &mut Counts,
    ) {
        if origin == Origin::New {
            // The larger one, in whatever order they come.
            let order = self.new.compare(row, layout);
            if let Some(order) = order {
                let before = if self.passed.is_there { &self.passed } else { &self.new };
                counts.lose(before.bytes == row.bytes);
                self.passed.is_there = false;
                if order.is_gt() {
                    self.passed.set(row);
                }
            }
            if order.is_none_or(Ordering::is_lt) {
                self.new.set(row);
            }
            return;
        }
        // Two rows of a key stand only where the key was another one before. One that the source
        // still has stays.
        let is_in_scope = origin == Origin::InScope;
        if let Some(order) = self.old.compare(row, layout) {
            let (stood_lives, lives) =
                (!layout.is_marked(&self.old.bytes), !layout.is_marked(row.bytes));
            // Of two that live one is too many; one that is gone already does not go again.
            counts.removed += u64::from(stood_lives && lives);
            let stands = (stood_lives, !self.is_in_scope);
            if stands.cmp(&(lives, !is_in_scope)).then(order).is_ge() {
                return;
            }
        }
        self.is_in_scope = is_in_scope;
        self.old.set(row);
    }

    /// Says which row stays, if any.
    pub(super) fn decide(
        &mut self,
        rule: Rule,
        layout: &Layout,
        key_len: usize,
        counts: &mut Counts,
    ) -> Option<Row<'_>> {
        let was_gone = self.old.is_there && layout.is_marked(&self.old.bytes);
        if was_gone && self.is_in_scope {
            counts.gone_before += 1;
        }
        if was_gone && !self.new.is_there {
            return self.old.row(key_len);
        }
        counts.revived += u64::from(was_gone);
        let (old, new) = (self.old.row(key_len), self.new.row(key_len));
        let is_redated = old.zip(new).is_some_and(|(old, new)| old.partition != new.partition);
        // Whatever comes is newer than the end of a row.
        let is_decided = self.is_in_scope || was_gone;
        let stands = if is_decided { Stands::InScope } else { Stands::Outside };
        let meeting = match (old, new) {
            (None, None) => return None,
            (None, Some(_)) => Meeting::OnlyNew,
            (Some(_), None) => Meeting::OnlyOld(stands),
            (Some(old), Some(new)) if old == new => Meeting::Same,
            (Some(old), Some(new)) => {
                let age = layout.newest(new).cmp(layout.newest(old));
                Meeting::Both { stands, age }
            }
        };
        match verdict(rule, meeting) {
            Verdict::Add => {
                counts.added += 1;
                self.new.row(key_len)
            }
            Verdict::Update => {
                counts.redated += u64::from(is_redated);
                counts.updated += 1;
                self.new.row(key_len)
            }
            Verdict::Unchanged => {
                counts.unchanged += 1;
                self.old.row(key_len)
            }
            Verdict::Outdated => {
                counts.outdated += 1;
                self.old.row(key_len)
            }
            Verdict::Keep => self.old.row(key_len),
            Verdict::Remove => {
                counts.removed += 1;
                if layout.mark(&mut self.old.bytes) { self.old.row(key_len) } else { None }
            }
        }
    }

    /// Makes room for the next key.
    pub(super) fn clear(&mut self) {
        self.new.is_there = false;
        self.passed.is_there = false;
        self.old.is_there = false;
        self.is_in_scope = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meeting_has_its_verdict() {
        use Verdict::{Add, Keep, Outdated, Remove, Unchanged, Update};

        let both = |stands, age| Meeting::Both { stands, age };
        let (within, outside) = (Stands::InScope, Stands::Outside);
        //                                            append    merge     replace   late merge
        for (meeting, expected) in [
            (Meeting::OnlyNew, [Add, Add, Add, Add]),
            (Meeting::OnlyOld(within), [Remove, Remove, Remove, Remove]),
            (Meeting::OnlyOld(outside), [Keep, Keep, Keep, Keep]),
            (Meeting::Same, [Unchanged, Unchanged, Unchanged, Unchanged]),
            (both(within, Ordering::Less), [Update, Update, Update, Update]),
            (both(within, Ordering::Greater), [Update, Update, Update, Update]),
            (both(outside, Ordering::Less), [Outdated, Outdated, Update, Outdated]),
            (both(outside, Ordering::Equal), [Outdated, Update, Update, Outdated]),
            (both(outside, Ordering::Greater), [Outdated, Update, Update, Update]),
        ] {
            let rules = [Rule::Append, Rule::Merge, Rule::Replace, Rule::LateMerge];
            assert_eq!(rules.map(|it| verdict(it, meeting)), expected, "{meeting:?}");
        }
    }

    #[test]
    fn rows_that_came_late_replace_only_what_is_known_to_be_older() {
        let rules = [Rule::Append, Rule::Merge, Rule::Replace, Rule::LateMerge];
        let late = [Rule::Append, Rule::LateMerge, Rule::Append, Rule::LateMerge];
        assert_eq!(rules.map(Rule::late), late);
    }
}
