//! In which order partitions become visible; pure.
//!
//! ```text
//! moves   07-25 -> 07-24     a worklog was re-dated
//! order   07-25, 07-24       a reader in between misses it; it never counts it twice
//! ```
//!
//! Files keep their names, so partitions change one after the other. A circle of moves is opened by
//! a partition that comes twice: at its turn without the rows that come to it, and whole at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::partition::Ordinal;

/// Rows that left a partition for another: from, to.
pub(super) type Moves = BTreeSet<(Ordinal, Ordinal)>;

/// The order of the partitions that rows leave or come to; all others can have any turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: BTreeMap<Ordinal, usize>,
    /// Those that come twice.
    openers: BTreeSet<Ordinal>,
}

impl Turns {
    /// Whether the partition comes without its arrivals first.
    pub(super) fn is_opener(&self, partition: Ordinal) -> bool {
        self.openers.contains(&partition)
    }

    /// The turn of a partition, as a whole.
    pub(super) fn whole(&self, partition: Ordinal) -> usize {
        if self.is_opener(partition) { usize::MAX } else { self.first(partition) }
    }

    /// The turn of a partition without its arrivals.
    pub(super) fn first(&self, partition: Ordinal) -> usize {
        self.turns.get(&partition).copied().unwrap_or_default()
    }
}

/// Those that rows leave come before those that they go to.
pub(super) fn turns(moves: &Moves) -> Turns {
    let mut waits_for: BTreeMap<Ordinal, usize> = BTreeMap::new();
    for &(from, to) in moves {
        waits_for.entry(from).or_default();
        *waits_for.entry(to).or_default() += 1;
    }
    let mut queue: BTreeSet<(usize, Ordinal)> =
        waits_for.iter().map(|(partition, waits)| (*waits, *partition)).collect();
    let mut found = Turns::default();
    while let Some((waits, partition)) = queue.pop_first() {
        found.turns.insert(partition, found.turns.len());
        // A circle is opened where the fewest partitions are waited for.
        if waits > 0 {
            found.openers.insert(partition);
        }
        for (_, to) in moves.range((partition, Ordinal(0))..=(partition, Ordinal(u64::MAX))) {
            if let Some(waits) = waits_for.get_mut(to)
                && queue.remove(&(*waits, *to))
            {
                *waits -= 1;
                queue.insert((*waits, *to));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(moves: &[(u64, u64)]) -> Vec<u64> {
        let moves = moves.iter().map(|it| (Ordinal(it.0), Ordinal(it.1))).collect();
        let Turns { turns, openers } = turns(&moves);
        let mut order: Vec<(usize, Ordinal)> = turns.iter().map(|it| (*it.1, *it.0)).collect();
        order.sort_unstable();
        let last = openers.into_iter().map(|it| (usize::MAX, it));
        order.into_iter().chain(last).map(|it| it.1.0).collect()
    }

    #[test]
    fn a_partition_that_rows_leave_comes_before_the_one_they_go_to() {
        assert!(order(&[]).is_empty());
        assert_eq!(order(&[(7, 3)]), [7, 3]);
        assert_eq!(order(&[(3, 5), (5, 1), (9, 3)]), [9, 3, 5, 1]);
        assert_eq!(order(&[(1, 2), (1, 3), (3, 2)]), [1, 3, 2]);
    }

    #[test]
    fn a_circle_is_opened_by_a_partition_that_comes_again_at_the_end() {
        assert_eq!(order(&[(1, 2), (2, 1)]), [1, 2, 1]);
        assert_eq!(order(&[(1, 2), (2, 3), (3, 1), (4, 1)]), [4, 1, 2, 3, 1]);
    }

    proptest! {
        #[test]
        fn without_a_circle_no_partition_comes_too_early(
            pairs in proptest::collection::vec((0u64..30, 0u64..30), 0..60),
        ) {
            // From the larger to the smaller: there is no circle.
            let pairs: Vec<(u64, u64)> =
                pairs.into_iter().filter(|it| it.0 != it.1).map(|(a, b)| (a.max(b), a.min(b))).collect();
            let order = order(&pairs);
            let at = |it: u64| order.iter().position(|one| *one == it).unwrap();
            for (from, to) in pairs {
                prop_assert!(at(from) < at(to), "{from} {to} {order:?}");
            }
        }
    }
}
