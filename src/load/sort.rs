//! Rows as bytes, sorted within a memory budget; pure but for unnamed temporary files.
//!
//! ```text
//! push        (partition, key | rest) …                    in any order
//!   buffer    up to the budget, then sorted
//!   spill     one sorted run a full buffer, in a file without a name
//!   load      a small partition, from all runs at once     in order of (key | rest)
//!   merge     a large one, or all of them, row by row      in order of (partition, key | rest)
//! ```
//!
//! A row's first bytes compare as its key does (arrow-row), so that sorting is comparing memory and
//! a spilled row is read back without being understood. Memory is the budget while rows come; while
//! they go it is a part of it for each partition that is loaded, or a small read buffer a run,
//! whatever their number.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
    ops::Range,
};

use super::{
    WriteError,
    partition::Ordinal,
    spill::{Extent, Place, Run, RunReader, RunWriter, word},
    store::Store,
};

/// How many runs there are at most, and are merged at once: each is an open file.
const FAN_IN: usize = 100;
/// The part of the budget that a partition may take that is loaded as a whole; two of them for each
/// thread are no more than all of it.
const LOADED_PART: usize = 8;
/// What such a partition takes at most, so that places in it are 32 bits.
const LOADED_BYTES: usize = 1 << 30;

/// A row: its partition, and columns that compare as bytes, the key's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Its partition.
    pub(super) partition: Ordinal,
    /// How many of the bytes are its key.
    pub(super) key_len: usize,
    /// Its columns.
    pub(super) bytes: &'a [u8],
}

impl<'a> Row<'a> {
    /// The bytes of its key.
    pub(super) fn key(&self) -> &'a [u8] {
        &self.bytes[..self.key_len]
    }
}

/// Takes rows in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    store: Store,
    /// The directory of the temporary files.
    directory: String,
    budget: usize,
    buffer: Buffer,
    runs: Vec<Run>,
}

impl Sorter {
    /// Holds up to `budget` bytes of rows in memory, and the others in `directory`.
    pub(super) fn new(store: &Store, directory: &str, budget: usize) -> Self {
        Self {
            store: store.clone(),
            directory: directory.to_owned(),
            budget,
            buffer: Buffer::new((budget / 16).clamp(1 << 12, 1 << 20)),
            runs: Vec::new(),
        }
    }

    /// Takes a row.
    pub(super) fn push(&mut self, row: Row<'_>) -> Result<(), WriteError> {
        if !self.buffer.rows.is_empty() && self.buffer.bytes + row.bytes.len() > self.budget {
            self.spill()?;
        }
        self.buffer.push(row);
        Ok(())
    }

    /// All rows that were pushed.
    pub(super) fn finish(mut self) -> Result<Sorted, WriteError> {
        if self.runs.is_empty() {
            self.buffer.sort();
            return Ok(Sorted::new(self.buffer, Vec::new(), 0));
        }
        // Once there are runs, the memory is worth more to those who encode.
        if !self.buffer.rows.is_empty() {
            self.spill()?;
        }
        while self.runs.len() > FAN_IN {
            self.runs.sort_by_key(|it| std::cmp::Reverse(it.rows));
            let few = (self.runs.len() - FAN_IN + 1).min(FAN_IN);
            self.merge_last(few)?;
        }
        let part = LOADED_PART.max(2 * rayon::current_num_threads());
        let loaded_bytes = (self.budget / part).min(LOADED_BYTES);
        Ok(Sorted::new(Buffer::new(0), self.runs, loaded_bytes))
    }

    fn spill(&mut self) -> Result<(), WriteError> {
        self.buffer.sort();
        let mut writer = RunWriter::new(&self.store, &self.directory)?;
        for at in 0..self.buffer.rows.len() {
            writer.write(self.buffer.row(at))?;
        }
        self.buffer.clear();
        self.runs.push(writer.finish(0)?);
        // Runs of one level are merged into one of the next, so that a row is rewritten once a
        // level: the logarithm of their number.
        while let Some(level) = self.runs.last().map(|it| it.level)
            && self.runs.iter().rev().take_while(|it| it.level == level).count() >= FAN_IN
        {
            self.merge_last(FAN_IN)?;
        }
        Ok(())
    }

    /// Merges the last `count` runs into one.
    fn merge_last(&mut self, count: usize) -> Result<(), WriteError> {
        let runs = self.runs.split_off(self.runs.len() - count);
        let level = runs.iter().map(|it| it.level).max().unwrap_or_default() + 1;
        let mut writer = RunWriter::new(&self.store, &self.directory)?;
        let sorted = Sorted::new(Buffer::new(0), runs, 0);
        let mut merge = Merge::new();
        merge.add(Origin::New, &sorted)?;
        while let Some((_, row)) = merge.next()? {
            writer.write(row)?;
        }
        self.runs.push(writer.finish(level)?);
        Ok(())
    }
}

/// Rows in memory.
#[derive(Debug)]
struct Buffer {
    /// Filled one after the other, so that growing never copies. They are used again, because each
    /// page of memory that is new costs the kernel more than the rows in it cost us.
    chunks: Vec<Vec<u8>>,
    chunk_bytes: usize,
    /// The chunk that is being filled.
    current: usize,
    rows: Vec<Entry>,
    /// What the rows take.
    bytes: usize,
}

/// Where a row is in a buffer; what decides most comparisons is beside it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    partition: Ordinal,
    prefix: u64,
    chunk: u32,
    start: u32,
    len: u32,
    key_len: u32,
}

impl Entry {
    /// Of a row at `start` of a chunk.
    fn new(row: Row<'_>, chunk: usize, start: usize) -> Self {
        Self {
            partition: row.partition,
            prefix: prefix(row.bytes),
            chunk: word(chunk),
            start: word(start),
            len: word(row.bytes.len()),
            key_len: word(row.key_len),
        }
    }

    fn compare(&self, other: &Self, chunks: &[Vec<u8>]) -> Ordering {
        (self.partition, self.prefix)
            .cmp(&(other.partition, other.prefix))
            .then_with(|| bytes(chunks, self).cmp(bytes(chunks, other)))
    }
}

impl Buffer {
    fn new(chunk_bytes: usize) -> Self {
        Self { chunks: Vec::new(), chunk_bytes, current: 0, rows: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, row: Row<'_>) {
        let len = row.bytes.len();
        self.bytes += len + size_of::<Entry>();
        if len > self.chunk_bytes {
            self.rows.push(Entry::new(row, self.chunks.len(), 0));
            self.chunks.push(row.bytes.to_vec());
            return;
        }
        let room = |chunk: &Vec<u8>| chunk.capacity().saturating_sub(chunk.len());
        while let Some(room) = self.chunks.get(self.current).map(room).filter(|it| *it < len) {
            // What stays empty is memory, too.
            self.bytes += room;
            self.current += 1;
        }
        if self.current == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(self.chunk_bytes));
        }
        let start = self.chunks[self.current].len();
        self.chunks[self.current].extend_from_slice(row.bytes);
        self.rows.push(Entry::new(row, self.current, start));
    }

    fn sort(&mut self) {
        let Self { chunks, rows, .. } = self;
        rows.sort_unstable_by(|a, b| a.compare(b, chunks));
    }

    /// Takes the rows of a run's extent, as they are in its file.
    fn load(&mut self, run: &Run, extent: &Extent) -> Result<(), WriteError> {
        let chunk = self.chunks.len();
        let (bytes, places) = run.read(extent)?;
        self.rows.extend(places.map(|place| {
            let Place { start, len, key_len } = place;
            let bytes = &bytes[start..start + len];
            Entry::new(Row { partition: extent.partition, key_len, bytes }, chunk, start)
        }));
        self.chunks.push(bytes);
        Ok(())
    }

    fn row(&self, at: usize) -> Row<'_> {
        let entry = &self.rows[at];
        Row {
            partition: entry.partition,
            key_len: entry.key_len as usize,
            bytes: bytes(&self.chunks, entry),
        }
    }

    fn clear(&mut self) {
        // Those that were made for a single long row are not kept.
        self.chunks.retain(|it| it.capacity() <= self.chunk_bytes);
        self.chunks.iter_mut().for_each(Vec::clear);
        self.rows.clear();
        (self.current, self.bytes) = (0, 0);
    }
}

fn bytes<'a>(chunks: &'a [Vec<u8>], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    &chunks[entry.chunk as usize][start..start + entry.len as usize]
}

/// The first bytes as a number that compares as they do.
pub(super) fn prefix(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = bytes.len().min(8);
    first[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(first)
}

/// Rows that can be read in order, all of them or those of one partition, and more than once.
#[derive(Debug)]
pub(super) struct Sorted {
    buffer: Buffer,
    /// Where the buffer has the rows of a partition.
    extents: Vec<(Ordinal, Range<usize>)>,
    runs: Vec<Run>,
    /// Bytes up to which the rows of a partition are loaded at once.
    loaded_bytes: usize,
}

impl Sorted {
    fn new(buffer: Buffer, runs: Vec<Run>, loaded_bytes: usize) -> Self {
        let mut extents: Vec<(Ordinal, Range<usize>)> = Vec::new();
        for (at, row) in buffer.rows.iter().enumerate() {
            match extents.last_mut() {
                Some((partition, range)) if *partition == row.partition => range.end = at + 1,
                Some(_) | None => extents.push((row.partition, at..at + 1)),
            }
        }
        Self { buffer, extents, runs, loaded_bytes }
    }

    /// How many rows each partition has.
    pub(super) fn partitions(&self) -> BTreeMap<Ordinal, u64> {
        let mut partitions = BTreeMap::new();
        for (partition, range) in &self.extents {
            *partitions.entry(*partition).or_default() += range.len() as u64;
        }
        for extent in self.runs.iter().flat_map(|it| &it.extents) {
            *partitions.entry(extent.partition).or_default() += extent.rows;
        }
        partitions
    }

    /// The rows that the runs have of a partition, where they are few.
    fn load(&self, partition: Ordinal) -> Result<Option<Buffer>, WriteError> {
        let extents = || self.runs.iter().filter_map(|it| Some((it, it.extent(partition)?)));
        let taken = |it: &Extent| it.end - it.start + it.rows * size_of::<Entry>() as u64;
        let bytes: u64 = extents().map(|(_, extent)| taken(extent)).sum();
        if bytes > self.loaded_bytes as u64 {
            return Ok(None);
        }
        let mut loaded = Buffer::new(0);
        for (run, extent) in extents() {
            loaded.load(run, extent)?;
        }
        // It takes the runs, which are sorted, as they are, and merges them.
        let Buffer { chunks, rows, .. } = &mut loaded;
        rows.sort_by(|a, b| a.compare(b, chunks));
        Ok(Some(loaded))
    }

    /// Shows every row to `see`, in no order that means anything.
    pub(super) fn scan(
        &self,
        mut see: impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        for at in 0..self.buffer.rows.len() {
            see(self.buffer.row(at))?;
        }
        let mut head = Head::new(Origin::New, 0);
        for run in &self.runs {
            let mut reader = RunReader::new(run);
            while reader.read(&mut head)? {
                see(head.row())?;
            }
        }
        Ok(())
    }
}

/// Whose rows they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// As they came.
    New,
    /// The one row of a key that is in several partitions.
    Settled,
    /// A row that stands, in a scope that was read.
    InScope,
    /// A row that stands outside of the scopes, whose key may have come.
    Known,
    /// A row that stands and that this run says nothing about.
    Kept,
}

/// Rows in order, from elsewhere.
pub(super) trait RowSource {
    /// Sets `head` to the next row, or says that there is none.
    fn read(&mut self, head: &mut Head) -> Result<bool, WriteError>;
}

/// Several inputs as one sequence in order.
pub(super) struct Merge<'a> {
    inputs: Vec<Input<'a>>,
    heads: BinaryHeap<Head>,
    /// Whether the first of the heads has been handed out.
    is_taken: bool,
}

enum Input<'a> {
    Memory { buffer: &'a Buffer, left: Range<usize> },
    Loaded { buffer: Buffer, left: Range<usize> },
    Run(RunReader<'a>),
    Other(Box<dyn RowSource + 'a>),
}

impl Input<'_> {
    fn is_in_memory(&self) -> bool {
        matches!(self, Self::Memory { .. } | Self::Loaded { .. })
    }

    /// The next row, where it is in memory.
    fn next_in_memory(&mut self) -> Option<Row<'_>> {
        match self {
            Self::Memory { buffer, left } => left.next().map(|it| buffer.row(it)),
            Self::Loaded { buffer, left } => left.next().map(|it| buffer.row(it)),
            Self::Run(_) | Self::Other(_) => None,
        }
    }

    fn read(&mut self, head: &mut Head) -> Result<bool, WriteError> {
        match self {
            Self::Memory { buffer, left } => Ok(head.take(buffer, left)),
            Self::Loaded { buffer, left } => Ok(head.take(buffer, left)),
            Self::Run(reader) => reader.read(head),
            Self::Other(source) => source.read(head),
        }
    }
}

impl<'a> Merge<'a> {
    /// Of nothing yet.
    pub(super) fn new() -> Self {
        Self { inputs: Vec::new(), heads: BinaryHeap::new(), is_taken: false }
    }

    /// Adds all rows.
    pub(super) fn add(&mut self, origin: Origin, sorted: &'a Sorted) -> Result<(), WriteError> {
        let rows = 0..sorted.buffer.rows.len();
        self.add_input(origin, Input::Memory { buffer: &sorted.buffer, left: rows })?;
        for run in &sorted.runs {
            self.add_input(origin, Input::Run(RunReader::new(run)))?;
        }
        Ok(())
    }

    /// Adds the rows of one partition.
    pub(super) fn add_partition(
        &mut self,
        origin: Origin,
        sorted: &'a Sorted,
        partition: Ordinal,
    ) -> Result<(), WriteError> {
        if let Ok(at) = sorted.extents.binary_search_by_key(&partition, |it| it.0) {
            let left = sorted.extents[at].1.clone();
            self.add_input(origin, Input::Memory { buffer: &sorted.buffer, left })?;
        }
        if let Some(buffer) = sorted.load(partition)? {
            let left = 0..buffer.rows.len();
            return self.add_input(origin, Input::Loaded { buffer, left });
        }
        for run in &sorted.runs {
            if let Some(Extent { start, end, rows, .. }) = run.extent(partition) {
                self.add_input(origin, Input::Run(RunReader::part(run, *start, *end, *rows)))?;
            }
        }
        Ok(())
    }

    /// Adds rows from elsewhere, which say themselves whose they are.
    pub(super) fn add_source(&mut self, source: Box<dyn RowSource + 'a>) -> Result<(), WriteError> {
        self.add_input(Origin::Kept, Input::Other(source))
    }

    fn add_input(&mut self, origin: Origin, mut input: Input<'a>) -> Result<(), WriteError> {
        let mut head = Head::new(origin, self.inputs.len());
        if input.read(&mut head)? {
            self.heads.push(head);
            self.inputs.push(input);
        }
        Ok(())
    }

    /// The next row and whose it is.
    pub(super) fn next(&mut self) -> Result<Option<(Origin, Row<'_>)>, WriteError> {
        // Nothing has to be compared, so nothing is copied.
        if self.is_taken && matches!(self.inputs.as_slice(), [it] if it.is_in_memory()) {
            let origin = self.heads.peek().map_or(Origin::New, |it| it.origin);
            let row = self.inputs.first_mut().and_then(Input::next_in_memory);
            return Ok(row.map(|it| (origin, it)));
        }
        if self.is_taken
            && let Some(mut head) = self.heads.peek_mut()
        {
            let input = head.input;
            if !self.inputs[input].read(&mut head)? {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        self.is_taken = true;
        Ok(self.heads.peek().map(|head| (head.origin, head.row())))
    }
}

/// The row that an input is at.
#[derive(Debug)]
pub(super) struct Head {
    /// Whose it is.
    pub(super) origin: Origin,
    input: usize,
    /// As in [`Row`].
    pub(super) partition: Ordinal,
    /// As in [`Row`].
    pub(super) key_len: usize,
    /// As in [`Row`].
    pub(super) bytes: Vec<u8>,
}

impl Head {
    pub(super) fn new(origin: Origin, input: usize) -> Self {
        Self { origin, input, partition: Ordinal::NULL, key_len: 0, bytes: Vec::new() }
    }

    pub(super) fn row(&self) -> Row<'_> {
        Row { partition: self.partition, key_len: self.key_len, bytes: &self.bytes }
    }

    /// Becomes the next of these rows, or says that there is none.
    fn take(&mut self, buffer: &Buffer, left: &mut Range<usize>) -> bool {
        let Some(at) = left.next() else { return false };
        let row = buffer.row(at);
        self.partition = row.partition;
        self.key_len = row.key_len;
        self.bytes.clear();
        self.bytes.extend_from_slice(row.bytes);
        true
    }
}

impl Ord for Head {
    /// The smallest row is the greatest head, because a heap shows the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.partition, &other.bytes).cmp(&(self.partition, &self.bytes))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn memory_stays_below_twice_the_budget_whatever_the_lengths_of_rows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let budget = 1 << 20;
        let mut sorter = Sorter::new(&store, "spill", budget);
        let mut random = 7_u64;
        for _ in 0..4_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Most are short, some take most of a chunk, and some are longer than one.
            let len = match (random >> 33) % 100 {
                0..4 => 40_000 + (random >> 40) % 60_000,
                _ => (random >> 40) % 2_000,
            };
            let bytes = vec![0; usize::try_from(len).unwrap()];
            sorter.push(Row { partition: Ordinal(0), key_len: 0, bytes: &bytes }).unwrap();

            let held: usize = sorter.buffer.chunks.iter().map(Vec::capacity).sum();
            assert!(held <= 2 * budget, "{held} bytes for a budget of {budget}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_budget_gives_the_rows_in_order(
            rows in vec((0u64..3, vec(any::<u8>(), 0..12)), 0..600),
            budget in prop_oneof![Just(1), 1usize..4_000, Just(1 << 20)],
        ) {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let mut sorter = Sorter::new(&store, "spill", budget);
            for (partition, bytes) in &rows {
                sorter.push(Row { partition: Ordinal(*partition), key_len: 0, bytes }).unwrap();
            }

            let sorted = sorter.finish().unwrap();
            let mut seen = 0;
            sorted.scan(|_| { seen += 1; Ok(()) }).unwrap();
            let mut merge = Merge::new();
            merge.add(Origin::New, &sorted).unwrap();
            let mut found = Vec::new();
            while let Some((_, row)) = merge.next().unwrap() {
                found.push((row.partition.0, row.bytes.to_vec()));
            }

            let mut expected = rows;
            expected.sort();
            prop_assert_eq!(seen, found.len());
            prop_assert_eq!(&found, &expected);

            let mut apart = Vec::new();
            for (partition, rows) in sorted.partitions() {
                let mut merge = Merge::new();
                merge.add_partition(Origin::New, &sorted, partition).unwrap();
                let before = apart.len();
                while let Some((_, row)) = merge.next().unwrap() {
                    apart.push((row.partition.0, row.bytes.to_vec()));
                }
                prop_assert_eq!((apart.len() - before) as u64, rows);
            }
            prop_assert_eq!(&apart, &expected);
        }
    }
}
