//! Finds the keys that came in more than one partition, within a memory budget.
//!
//! ```text
//! (hash of key, partition)     41 -> 07-25,  42 -> 07-25,  41 -> 07-26
//! by the hash's first byte     256 buckets, appended to one temporary file
//! keys in several partitions   41                          few: a record re-dated while paging
//! ```
//!
//! Hashes that collide make a key suspect, never wrong: suspects are settled by their bytes. More
//! suspects than fit in memory make every key one.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasherDefault, DefaultHasher, Hasher as _},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use super::{
    WriteError,
    partition::Ordinal,
    store::{Store, io_error},
};

/// Pairs held in memory before they are written.
const HELD: usize = 1 << 18;
/// Pairs of a bucket, and suspects, that may be in memory at the end.
const LIMIT: usize = 1 << 20;
const PAIR_BYTES: usize = 16;

type Pair = (u64, Ordinal);

/// Takes the key and the partition of every row.
#[derive(Debug)]
pub(super) struct KeyIndex {
    store: Store,
    directory: String,
    buckets: Vec<Bucket>,
    held: usize,
    spill: Option<Spill>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    pairs: Vec<Pair>,
    /// Offset and number of pairs of what was written.
    extents: Vec<(u64, usize)>,
}

#[derive(Debug)]
struct Spill {
    directory: PathBuf,
    file: File,
    end: u64,
}

/// Keys that may be in several partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Suspects {
    /// None.
    None,
    /// Those with such a hash.
    Some(HashSet<u64, BuildHasherDefault<Unchanged>>),
    /// Too many to tell.
    All,
}

impl Suspects {
    /// Whether a key may be in several partitions.
    pub(super) fn contain(&self, key: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Some(hashes) => hashes.contains(&hash(key)),
            Self::All => true,
        }
    }
}

impl KeyIndex {
    /// Holds what fits in about `budget` bytes in memory, and the others in `directory`.
    pub(super) fn new(store: &Store, directory: &str, budget: usize) -> Self {
        Self::with_limit(store, directory, (budget / PAIR_BYTES).clamp(4, LIMIT))
    }

    fn with_limit(store: &Store, directory: &str, limit: usize) -> Self {
        Self {
            store: store.clone(),
            directory: directory.to_owned(),
            buckets: std::iter::repeat_with(Bucket::default).take(256).collect(),
            held: 0,
            spill: None,
            limit,
        }
    }

    /// Takes the key of a row and its partition.
    pub(super) fn push(&mut self, key: &[u8], partition: Ordinal) -> Result<(), WriteError> {
        self.push_hash(hash(key), partition)
    }

    /// Takes the hash of a row's key and its partition.
    pub(super) fn push_hash(&mut self, hash: u64, partition: Ordinal) -> Result<(), WriteError> {
        let [first, ..] = hash.to_be_bytes();
        self.buckets[usize::from(first)].pairs.push((hash, partition));
        self.held += 1;
        if self.held == HELD.min(self.limit) {
            self.spill()?;
        }
        Ok(())
    }

    /// The keys that came in several partitions, and perhaps a few more.
    pub(super) fn finish(mut self) -> Result<Suspects, WriteError> {
        let mut suspects = HashSet::default();
        for mut bucket in std::mem::take(&mut self.buckets) {
            let written: usize = bucket.extents.iter().map(|(_, pairs)| pairs).sum();
            if written + bucket.pairs.len() > self.limit {
                return Ok(Suspects::All);
            }
            self.read(&mut bucket)?;
            let mut pairs = bucket.pairs;
            pairs.sort_unstable();
            pairs.dedup();
            let several = pairs.windows(2).filter(|it| it[0].0 == it[1].0);
            suspects.extend(several.map(|it| it[0].0));
            if suspects.len() > self.limit {
                return Ok(Suspects::All);
            }
        }
        Ok(if suspects.is_empty() { Suspects::None } else { Suspects::Some(suspects) })
    }

    fn spill(&mut self) -> Result<(), WriteError> {
        self.held = 0;
        let mut spill = if let Some(spill) = self.spill.take() {
            spill
        } else {
            let temporary = self.store.temporary(&self.directory)?;
            Spill { directory: temporary.directory, file: temporary.file, end: 0 }
        };
        let mut bytes = Vec::new();
        for bucket in &mut self.buckets {
            let mut pairs = std::mem::take(&mut bucket.pairs);
            if pairs.is_empty() {
                continue;
            }
            pairs.sort_unstable();
            pairs.dedup();
            bucket.extents.push((spill.end + bytes.len() as u64, pairs.len()));
            for (hash, partition) in pairs {
                bytes.extend_from_slice(&hash.to_le_bytes());
                bytes.extend_from_slice(&partition.0.to_le_bytes());
            }
        }
        spill.end += bytes.len() as u64;
        spill
            .file
            .write_all(&bytes)
            .map_err(io_error("write a temporary file in", &spill.directory))?;
        self.spill = Some(spill);
        Ok(())
    }

    /// Brings what was written of a bucket back into memory.
    fn read(&mut self, bucket: &mut Bucket) -> Result<(), WriteError> {
        let Some(spill) = &mut self.spill else { return Ok(()) };
        for &(offset, pairs) in &bucket.extents {
            let mut bytes = vec![0; pairs * PAIR_BYTES];
            spill
                .file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| spill.file.read_exact(&mut bytes))
                .map_err(io_error("read a temporary file in", &spill.directory))?;
            let (words, _) = bytes.as_chunks::<8>();
            let (words, _) = words.as_chunks::<2>();
            bucket.pairs.extend(words.iter().map(|&[hash, partition]| {
                (u64::from_le_bytes(hash), Ordinal(u64::from_le_bytes(partition)))
            }));
        }
        Ok(())
    }
}

/// The same on every host and in every run, so that runs can be compared.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// The hasher of what is a hash already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unchanged(u64);

impl std::hash::Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: usize, rows: &[(u64, u64)], expected: &[bool]) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut index = KeyIndex::with_limit(&store, "spill", limit);
        for (key, partition) in rows {
            index.push(&key.to_le_bytes(), Ordinal(*partition)).unwrap();
        }
        let suspects = index.finish().unwrap();
        let found: Vec<bool> = (1..=3u64).map(|key| suspects.contain(&key.to_le_bytes())).collect();
        assert_eq!(found, expected, "{suspects:?}");
    }

    #[test]
    fn a_key_in_two_partitions_is_a_suspect() {
        let rows = [(1, 7), (2, 7), (2, 7), (3, 7), (1, 8), (3, 7)];

        check(100, &rows, &[true, false, false]);
        check(2, &rows, &[true, false, false]);
        check(100, &rows[..4], &[false, false, false]);
        check(100, &[], &[false, false, false]);
    }

    #[test]
    fn too_many_suspects_are_all() {
        check(1, &[(1, 7), (1, 8), (2, 7)], &[true, true, true]);
    }
}
