//! The keys that came, to be looked up by those that stand; pure.
//!
//! ```text
//! hashes      sorted, behind a table of bits that says "no" at once for nearly all others
//! prefixes    the ranges of first key columns that a file's statistics are held against
//! ```
//!
//! More keys than fit in memory are all keys: then everything that stands is looked at.

use arrow::datatypes::DataType;

use super::{bloom::Values, index::hash, rows::encoded_len, scope::Bounds, sort::prefix};

/// Keys that are remembered, at most.
const LIMIT: usize = 1 << 20;
/// Bytes of the budget that a key takes.
const KEY_BYTES: usize = 64;

/// Takes keys.
#[derive(Debug)]
pub(super) struct KeyCollector {
    limit: usize,
    hashes: Vec<u64>,
    prefixes: Vec<u64>,
    /// The type of the key's first column, and a few values of it.
    kind: DataType,
    values: Values,
    is_over: bool,
}

impl KeyCollector {
    /// Remembers what fits in half of `budget` bytes; `kind` is the type of the key's first column.
    pub(super) fn new(budget: usize, kind: DataType) -> Self {
        let limit = (budget / KEY_BYTES).clamp(4, LIMIT);
        Self {
            limit,
            hashes: Vec::new(),
            prefixes: Vec::new(),
            kind,
            values: Values::default(),
            is_over: false,
        }
    }

    /// Takes the key of a row.
    pub(super) fn push(&mut self, key: &[u8]) {
        if self.is_over {
            return;
        }
        self.hashes.push(hash(key));
        // The bytes of a short first column run into those of the next.
        let first = &key[..encoded_len(&self.kind, key)];
        self.prefixes.push(prefix(first));
        self.values.push(first);
        if self.hashes.len() >= 2 * self.limit {
            sort(&mut self.hashes);
            sort(&mut self.prefixes);
            self.is_over = self.hashes.len() > self.limit;
        }
        if self.prefixes.len() >= 2 * self.limit {
            sort(&mut self.prefixes);
        }
    }

    /// The keys; `first` is the position of the key's first column.
    pub(super) fn finish(self, first: Option<usize>) -> KnownKeys {
        let Self { limit, mut hashes, mut prefixes, kind: _, values, is_over } = self;
        let Some(first) = first else { return KnownKeys::None };
        sort(&mut hashes);
        if is_over || hashes.len() > limit {
            return KnownKeys::All;
        }
        if hashes.is_empty() {
            return KnownKeys::None;
        }
        sort(&mut prefixes);
        // Sixteen bits a key: one other in sixteen is looked up in vain.
        let bits = (hashes.len() * 16).next_power_of_two().max(64);
        let mut table = vec![0_u64; bits / 64];
        let shift = 64 - bits.trailing_zeros();
        for hash in &hashes {
            let bit = hash >> shift;
            table[usize::try_from(bit / 64).unwrap_or_default()] |= 1 << (bit % 64);
        }
        let prefixes = prefixes.into_iter().map(|it| (it, it)).collect();
        let bounds = Bounds::new(first, prefixes).with_values(values);
        KnownKeys::Some(Hashes { sorted: hashes, table, shift }, bounds)
    }
}

fn sort(numbers: &mut Vec<u64>) {
    numbers.sort_unstable();
    numbers.dedup();
}

/// Keys that came.
#[derive(Debug)]
pub(super) enum KnownKeys {
    /// None, or the rows have no key.
    None,
    /// Those with such a hash.
    Some(Hashes, Bounds),
    /// Too many to tell.
    All,
}

/// Hashes of keys.
#[derive(Debug)]
pub(super) struct Hashes {
    sorted: Vec<u64>,
    table: Vec<u64>,
    shift: u32,
}

impl Hashes {
    /// Whether a key with this hash may have come.
    pub(super) fn contain(&self, hash: u64) -> bool {
        let bit = hash >> self.shift;
        let word = self.table[usize::try_from(bit / 64).unwrap_or_default()];
        word >> (bit % 64) & 1 == 1 && self.sorted.binary_search(&hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_came_are_known_and_others_are_not() {
        for count in [1u64, 3, 1_000] {
            let mut keys = KeyCollector::new(1 << 20, DataType::Int64);
            for key in (0..count).chain(0..count) {
                keys.push(&key.to_be_bytes());
            }
            let KnownKeys::Some(hashes, _) = keys.finish(Some(0)) else { panic!("{count}") };
            for key in 0..2 * count {
                assert_eq!(hashes.contain(hash(&key.to_be_bytes())), key < count, "{key}");
            }
        }
        assert!(matches!(
            KeyCollector::new(1 << 20, DataType::Int64).finish(Some(0)),
            KnownKeys::None
        ));
        assert!(matches!(
            KeyCollector::new(1 << 20, DataType::Int64).finish(None),
            KnownKeys::None
        ));
    }
}
