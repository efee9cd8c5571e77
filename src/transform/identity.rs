//! A 64-bit identity of a record: the same on every host and in every run.
//!
//! It tells a page that came twice from one that is new, so it must be good, but need not resist an
//! attacker; two 64-bit multiplications a 16 bytes keep it far below the cost of parsing them.

/// A hash in the making, by folded multiplication (the scheme of wyhash).
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity(u64);

const ODD_0: u64 = 0xa076_1d64_78bd_642f;
const ODD_1: u64 = 0xe703_7ed1_a0b4_28db;
const ODD_2: u64 = 0x8ebc_6af0_9c88_c6e3;

impl Identity {
    pub(super) fn new() -> Self {
        Self(ODD_2)
    }

    /// Adds a number.
    pub(super) fn word(&mut self, word: u64) {
        self.0 = fold(word ^ ODD_0, self.0 ^ ODD_1);
    }

    /// Adds a text; its length goes in too, so that `ab`, `c` and `a`, `bc` differ.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let mut pairs = bytes.chunks_exact(16);
        for pair in &mut pairs {
            let (first, second) = pair.split_at(8);
            self.0 = fold(word(first) ^ ODD_0, word(second) ^ self.0);
        }
        let (first, second) = pairs.remainder().split_at(pairs.remainder().len().min(8));
        self.0 = fold(word(first) ^ ODD_1, word(second) ^ self.0);
        self.word(bytes.len() as u64);
    }

    pub(super) fn finish(self) -> u64 {
        fold(self.0 ^ ODD_0, ODD_1)
    }
}

/// Up to eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |sum, it| sum << 8 | u64::from(*it)),
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn identity(parts: &[&str]) -> u64 {
        let mut identity = Identity::new();
        for part in parts {
            identity.bytes(part.as_bytes());
        }
        identity.finish()
    }

    #[test]
    fn different_texts_have_different_identities() {
        let text = "0123456789".repeat(5);
        let mut seen = HashSet::new();

        for end in 0..text.len() {
            assert!(seen.insert(identity(&[&text[..end]])));
            assert!(seen.insert(identity(&[&text[..end], &text[end..]])));
        }
        for number in 0..100_000 {
            assert!(seen.insert(identity(&[&format!("id {number}")])));
        }
    }

    #[test]
    fn an_identity_is_the_same_in_every_run() {
        assert_eq!(identity(&["OPS-7", "41"]), identity(&["OPS-7", "41"]));
        assert_ne!(identity(&["OPS-7", "41"]), identity(&["OPS-74", "1"]));
    }
}
