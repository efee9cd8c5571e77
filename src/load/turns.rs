//! In which order partitions become visible; pure.
//!
//! ```text
//! moves   07-25 -> 07-24     a worklog was re-dated
//! order   07-25, 07-24       a reader in between misses it; it never counts it twice
//! ```
//!
//! Files keep their names, so partitions change one after the other. Where rows change places in a
//! circle, some partition has to come too early.

use std::collections::{BTreeMap, BTreeSet};

use super::partition::Ordinal;

/// Rows that left a partition for another: from, to.
pub(super) type Moves = BTreeSet<(Ordinal, Ordinal)>;

/// For each partition that rows leave or come to, its turn: those that rows leave come first.
/// All others can have any.
pub(super) fn turns(moves: &Moves) -> BTreeMap<Ordinal, usize> {
    let mut waits_for: BTreeMap<Ordinal, usize> = BTreeMap::new();
    for &(from, to) in moves {
        waits_for.entry(from).or_default();
        *waits_for.entry(to).or_default() += 1;
    }
    let mut queue: BTreeSet<(usize, Ordinal)> =
        waits_for.iter().map(|(partition, waits)| (*waits, *partition)).collect();
    let mut turns = BTreeMap::new();
    // In a circle, the one that waits for the fewest.
    while let Some((_, partition)) = queue.pop_first() {
        turns.insert(partition, turns.len());
        for (_, to) in moves.range((partition, Ordinal(0))..=(partition, Ordinal(u64::MAX))) {
            if let Some(waits) = waits_for.get_mut(to)
                && queue.remove(&(*waits, *to))
            {
                *waits -= 1;
                queue.insert((*waits, *to));
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(moves: &[(u64, u64)]) -> Vec<u64> {
        let moves = moves.iter().map(|it| (Ordinal(it.0), Ordinal(it.1))).collect();
        let turns = turns(&moves);
        let mut order: Vec<(usize, u64)> = turns.iter().map(|it| (*it.1, it.0.0)).collect();
        order.sort_unstable();
        order.into_iter().map(|it| it.1).collect()
    }

    #[test]
    fn a_partition_that_rows_leave_comes_before_the_one_they_go_to() {
        assert!(order(&[]).is_empty());
        assert_eq!(order(&[(7, 3)]), [7, 3]);
        assert_eq!(order(&[(3, 5), (5, 1), (9, 3)]), [9, 3, 5, 1]);
        assert_eq!(order(&[(1, 2), (1, 3), (3, 2)]), [1, 3, 2]);
    }

    #[test]
    fn a_circle_is_opened_where_the_fewest_rows_come_in() {
        assert_eq!(order(&[(1, 2), (2, 1)]), [1, 2]);
        assert_eq!(order(&[(1, 2), (2, 3), (3, 1), (4, 1)]), [4, 1, 2, 3]);
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
