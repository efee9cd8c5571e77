//! Records that do not fit, of a slice whose pages are read more than once: each is told once. Pure.
//!
//! ```text
//! page 1   a, b      told: a, b
//! page 1   a, b, b   told: b         the slice is read again, and now there are two
//! ```

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use crate::transform::Reject;

/// What was told of a slice.
#[derive(Debug, Default)]
pub(super) struct Told {
    hasher: RandomState,
    /// By record, how often any earlier reading had it.
    before: HashMap<u64, u64>,
    /// How often the current one has.
    now: HashMap<u64, u64>,
}

impl Told {
    /// The slice is read again from its start.
    pub(super) fn begin_again(&mut self) {
        for (record, count) in self.now.drain() {
            let before = self.before.entry(record).or_default();
            *before = count.max(*before);
        }
    }

    /// Takes away what an earlier reading has told.
    pub(super) fn retain_untold(&mut self, rejects: &mut Vec<Reject>) {
        rejects.retain(|it| {
            let record = self.hasher.hash_one((&it.column, &it.reason, &it.raw));
            let now = self.now.entry(record).or_default();
            *now += 1;
            self.before.get(&record).is_none_or(|before| *now > *before)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of readings of pages, of which each letter is a record.
    fn told(readings: &[&[&str]]) -> Vec<String> {
        let mut told = Told::default();
        let mut all = Vec::new();
        for pages in readings {
            told.begin_again();
            for page in *pages {
                let reject = |raw: char| Reject {
                    position: 0,
                    column: None,
                    reason: String::new(),
                    raw: raw.into(),
                    masked: Vec::new(),
                };
                let mut rejects: Vec<_> = page.chars().map(reject).collect();
                told.retain_untold(&mut rejects);
                all.push(rejects.into_iter().map(|it| it.raw).collect());
            }
        }
        all
    }

    #[test]
    fn a_record_is_told_as_often_as_the_reading_that_had_it_most() {
        assert_eq!(told(&[&["ab", "ca"]]), ["ab", "ca"], "two records may be equal");
        assert_eq!(told(&[&["ab", "c"], &["ab", "c"]]), ["ab", "c", "", ""]);
        assert_eq!(told(&[&["ab"], &["b", "abb"]]), ["ab", "", "bb"]);
        assert_eq!(told(&[&["aa"], &["a"], &["aaa"]]), ["aa", "", "a"]);
    }
}
