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
    // As early as those allow that have to come before it: what nothing connects comes at once.
    let mut earliest: BTreeMap<Ordinal, usize> = BTreeMap::new();
    while let Some((waits, partition)) = queue.pop_first() {
        let turn = earliest.get(&partition).copied().unwrap_or_default();
        found.turns.insert(partition, turn);
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
                let earliest = earliest.entry(*to).or_default();
                *earliest = (turn + 1).max(*earliest);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(moves: &[(u64, u64)]) -> Turns {
        turns(&moves.iter().map(|it| (Ordinal(it.0), Ordinal(it.1))).collect())
    }

    fn order(moves: &[(u64, u64)]) -> Vec<u64> {
        let Turns { turns, openers } = of(moves);
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

    #[test]
    fn what_no_row_connects_comes_at_once() {
        for (moves, expected) in [
            (&[(1, 2), (3, 4), (5, 6)][..], &[(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (6, 1)][..]),
            (&[(1, 2), (1, 3), (1, 4)], &[(1, 0), (2, 1), (3, 1), (4, 1)]),
            (&[(1, 4), (2, 4), (2, 3), (3, 4)], &[(1, 0), (2, 0), (3, 1), (4, 2)]),
            // The opener of a circle, and what is far from it.
            (&[(1, 2), (2, 1), (8, 9)], &[(1, 0), (2, 1), (8, 0), (9, 1)]),
        ] {
            let expected = expected.iter().map(|it| (Ordinal(it.0), it.1)).collect();

            assert_eq!(of(moves).turns, expected, "{moves:?}");
        }
    }

    proptest! {
        #[test]
        fn no_row_arrives_before_it_has_left(
            pairs in proptest::collection::vec((0u64..30, 0u64..30), 0..60),
            has_circles: bool,
        ) {
            let pairs = pairs.into_iter().filter(|it| it.0 != it.1);
            // From the larger to the smaller there is no circle.
            let one_way = |(a, b): (u64, u64)| if has_circles { (a, b) } else { (a.max(b), a.min(b)) };
            let pairs: Vec<(u64, u64)> = pairs.map(one_way).collect();
            let turns = of(&pairs);
            prop_assert!(has_circles || turns.openers.is_empty());
            for (from, to) in pairs {
                let (left, arrived) = (turns.first(Ordinal(from)), turns.whole(Ordinal(to)));
                prop_assert!(left < arrived, "{from} {to} {turns:?}");
            }
        }
    }
}
