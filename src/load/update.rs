//! What came and what stands, partition by partition, to staged files.
//!
//! ```text
//! search    rows that stand and are touched: by key, by scope        key and scope columns only
//! settle    keys that are in several partitions                      few
//! compare   the touched partitions, without encoding: what changes   touched rows only
//! stage     the partitions that change                               all of their rows
//! ```
//!
//! Partitions are independent of each other once the keys that moved are settled, so small ones
//! are handled several at a time; a large one has all threads for its formats. What is in memory
//! is a few batches a thread, whatever the number of partitions and rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use rayon::prelude::*;

use super::{
    StagedFile, WriteError,
    index::Suspects,
    merge::{Contest, Counts, Rule},
    part::Parts,
    partition::Ordinal,
    pass::{Arrivals, Pass, Tally},
    rows::Layout,
    scope::Predicate,
    sort::{Head, Merge, Origin, Row, RowSource as _, Sorted, Sorter},
    split::Delta,
    standing::{Search, StandingFile, StandingRows, Touched, Which},
    store::Store,
    turns::{Moves, Turns, turns},
};

/// What settling, and sorting what stands anew, may take of the budget, each of them.
const SHARE: usize = 8;
/// Rows of a partition that is handled beside others.
const SMALL_ROWS: u64 = 32_768;

/// How a run's rows meet those that stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) rule: Rule,
    /// Whether one key can be in no two partitions.
    pub(super) is_bound: bool,
    /// Whether files are in the order of this layout.
    pub(super) order: Order,
}

/// In which order the rows that stand are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In that of the layout.
    Same,
    /// In that of another key.
    Other,
}

/// Where temporary files go, and how much memory there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) store: &'a Store,
    pub(super) directory: &'a str,
    pub(super) budget: usize,
}

impl Room<'_> {
    fn sorter(self) -> Sorter {
        Sorter::new(self.store, self.directory, self.budget / SHARE)
    }
}

/// What came and what stands, ready to be compared.
pub(super) struct Update<'a> {
    room: Room<'a>,
    manner: Manner,
    layout: Layout,
    new: Sorted,
    suspects: Suspects,
    settled: Option<Sorted>,
    /// Files that stand and have rows, by partition; empty where they have been sorted anew.
    files: BTreeMap<Ordinal, Vec<(StandingFile, Touched)>>,
    resorted: Option<Resorted>,
    /// Rows of the partitions that stand.
    standing: BTreeMap<Ordinal, u64>,
    counts: Counts,
    by_partition: BTreeMap<Ordinal, Counts>,
    turns: Turns,
    stood: u64,
}

/// What became of the rows of partitions.
type Tallies = Vec<(Ordinal, Counts)>;

/// All rows that stand, in the order of another key.
struct Resorted {
    in_scope: Sorted,
    known: Sorted,
}

/// What became of a stream.
#[derive(Debug)]
pub(super) struct Updated {
    pub(super) counts: Counts,
    /// Those of the partitions, as far as rows came, changed or went.
    pub(super) by_partition: BTreeMap<Ordinal, Counts>,
    /// Rows that stood in the scopes.
    pub(super) stood: u64,
    /// Partitions that are written, or have no rows any more.
    pub(super) changed: BTreeSet<Ordinal>,
    /// In which order partitions become visible.
    pub(super) turns: Turns,
    /// Rows of the partitions that are not.
    pub(super) kept_rows: u64,
    pub(super) files: Vec<StagedFile>,
}

impl<'a> Update<'a> {
    /// Finds what the rows that came have to do with those that stand.
    pub(super) fn prepare(
        room: Room<'a>,
        manner: Manner,
        delta: Delta,
        standing: Vec<StandingFile>,
        predicate: &Predicate,
    ) -> Result<Self, WriteError> {
        let Delta { layout, sorted: new, index, keys, read: _ } = delta;
        let index = index.map(Mutex::new);
        let mut rows: BTreeMap<Ordinal, u64> = BTreeMap::new();
        for file in &standing {
            *rows.entry(file.partition).or_default() += file.rows;
        }
        let came = new.partitions();
        let everything = super::known::KnownKeys::All;
        let search = Search {
            store: room.store,
            layout: &layout,
            predicate,
            keys: if manner.order == Order::Same { &keys } else { &everything },
            index: index.as_ref(),
        };
        let touched: Vec<Touched> = standing
            .par_iter()
            .map(|file| {
                let may_have_keys = !manner.is_bound
                    || manner.order == Order::Other
                    || came.contains_key(&file.partition);
                search.touched(file, may_have_keys)
            })
            .collect::<Result<_, _>>()?;
        let suspects = match index {
            Some(index) => index.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?,
            None => Suspects::None,
        };
        let stood = standing.iter().zip(&touched).map(|(file, it)| it.stood(file.rows)).sum();
        let mut files: BTreeMap<Ordinal, Vec<(StandingFile, Touched)>> = BTreeMap::new();
        for (file, touched) in standing.into_iter().zip(touched) {
            files.entry(file.partition).or_default().push((file, touched));
        }
        let mut update = Self {
            room,
            manner,
            layout,
            new,
            suspects,
            settled: None,
            files,
            resorted: None,
            standing: rows,
            counts: Counts::default(),
            by_partition: BTreeMap::new(),
            turns: Turns::default(),
            stood,
        };
        if manner.order == Order::Other && !update.files.is_empty() {
            update.resorted = Some(update.resort()?);
            update.files.clear();
        }
        if update.suspects != Suspects::None {
            update.settled = Some(update.settle()?);
        }
        Ok(update)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Stages the partitions that change, and `also` those that stand as they are.
    pub(super) fn stage(
        mut self,
        parts: &Parts<'_>,
        also: &BTreeSet<Ordinal>,
    ) -> Result<Updated, WriteError> {
        let mut jobs = self.came();
        let is_fresh = self.standing.is_empty();
        if !is_fresh {
            jobs.extend(self.files.iter().filter_map(|(partition, files)| {
                files.iter().any(|it| it.1.is_any()).then_some((*partition, 0))
            }));
            if let Some(resorted) = &self.resorted {
                jobs.extend(resorted.known.partitions());
                jobs.extend(resorted.in_scope.partitions());
            }
            let partitions: Vec<Ordinal> = jobs.keys().copied().collect();
            let tallies: Vec<(Ordinal, Tally)> = partitions
                .into_par_iter()
                .map(|it| Ok((it, self.pass(it, Which::Touched, Arrivals::Come, |_| Ok(()))?)))
                .collect::<Result<_, WriteError>>()?;
            jobs.clear();
            for (partition, tally) in tallies {
                self.count(partition, tally.counts);
                if tally.is_changed {
                    let standing = self.standing.get(&partition).copied().unwrap_or_default();
                    jobs.insert(partition, standing + tally.rows);
                }
            }
            for (partition, rows) in self.standing.iter().filter(|(it, _)| also.contains(it)) {
                jobs.entry(*partition).or_insert(*rows);
            }
        }
        let (tallies, files) = self.stage_all(&jobs, parts)?;
        for (partition, counts) in tallies.into_iter().filter(|_| is_fresh) {
            self.count(partition, counts);
        }
        let kept = self.standing.iter().filter(|(it, _)| !jobs.contains_key(it));
        Ok(Updated {
            counts: self.counts,
            by_partition: self.by_partition,
            turns: self.turns,
            stood: self.stood - self.counts.gone_before,
            kept_rows: kept.map(|it| it.1).sum(),
            changed: jobs.into_keys().collect(),
            files,
        })
    }

    /// Counts what became of rows, where they are now or stood.
    fn count(&mut self, partition: Ordinal, counts: Counts) {
        self.counts += counts;
        if counts.added + counts.updated + counts.removed > 0 {
            *self.by_partition.entry(partition).or_default() += counts;
        }
    }

    /// The partitions to which rows come, and how many at most.
    fn came(&self) -> BTreeMap<Ordinal, u64> {
        let mut came = self.new.partitions();
        if let Some(settled) = &self.settled {
            for (partition, rows) in settled.partitions() {
                *came.entry(partition).or_default() += rows;
            }
        }
        came
    }

    fn stage_all(
        &self,
        jobs: &BTreeMap<Ordinal, u64>,
        parts: &Parts<'_>,
    ) -> Result<(Tallies, Vec<StagedFile>), WriteError> {
        let stage = |partition: Ordinal, is_large: bool| {
            let mut writer = parts.partition(partition, &self.layout, is_large);
            let tally = self.pass(partition, Which::All, Arrivals::Come, |row| writer.push(row))?;
            let mut files = writer.finish()?;
            if self.turns.is_opener(partition) {
                let mut writer = parts.partition(partition, &self.layout, is_large);
                writer.open()?;
                self.pass(partition, Which::All, Arrivals::Wait, |row| writer.push(row))?;
                let first = writer.finish()?.into_iter();
                files.extend(first.map(|it| StagedFile { is_replaced: true, ..it }));
            }
            Ok((partition, tally.counts, files))
        };
        let (mut small, large): (Vec<_>, Vec<_>) = jobs.iter().partition(|it| *it.1 <= SMALL_ROWS);
        // The largest first, each by itself: no thread is left with one when the others are done.
        small.sort_by_key(|it| std::cmp::Reverse(it.1));
        let mut staged: Vec<(Ordinal, Counts, Vec<StagedFile>)> = small
            .into_par_iter()
            .with_max_len(1)
            .map(|(partition, _)| stage(*partition, false))
            .collect::<Result<_, WriteError>>()?;
        for (partition, _) in large {
            staged.push(stage(*partition, true)?);
        }
        let mut counts = Vec::new();
        let mut files = Vec::new();
        for (partition, tally, some) in staged {
            counts.push((partition, tally));
            files.extend(some);
        }
        Ok((counts, files))
    }

    fn pass(
        &self,
        partition: Ordinal,
        which: Which,
        arrivals: Arrivals,
        emit: impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<Tally, WriteError> {
        let mut merge = Merge::new();
        merge.add_partition(Origin::New, &self.new, partition)?;
        if let Some(settled) = &self.settled {
            merge.add_partition(Origin::Settled, settled, partition)?;
        }
        if let Some(files) = self.files.get(&partition) {
            merge.add_source(Box::new(self.rows(files, which)))?;
        }
        if let Some(Resorted { in_scope, known }) = &self.resorted {
            merge.add_partition(Origin::InScope, in_scope, partition)?;
            merge.add_partition(Origin::Known, known, partition)?;
        }
        let (layout, suspects) = (&self.layout, &self.suspects);
        let pass = Pass { layout, rule: self.manner.rule, suspects, arrivals };
        pass.run(merge, emit)
    }

    fn rows<'b>(&'b self, files: &'b [(StandingFile, Touched)], which: Which) -> StandingRows<'b> {
        let files = files.iter().map(|(file, touched)| (file, touched)).collect();
        StandingRows::new(self.room.store, &self.layout, files, which)
    }

    /// Sorts all rows that stand.
    fn resort(&self) -> Result<Resorted, WriteError> {
        let mut in_scope = self.room.sorter();
        let mut known = self.room.sorter();
        for files in self.files.values() {
            let mut rows = self.rows(files, Which::Unsorted);
            let mut head = Head::new(Origin::Kept, 0);
            while rows.read(&mut head)? {
                let sorter =
                    if head.origin == Origin::InScope { &mut in_scope } else { &mut known };
                sorter.push(head.row())?;
            }
        }
        Ok(Resorted { in_scope: in_scope.finish()?, known: known.finish()? })
    }

    /// The one row of each suspect, from whichever partition: all rows of suspects, those that
    /// came and those that stand, are sorted by key alone.
    fn settle(&mut self) -> Result<Sorted, WriteError> {
        let by_key = Mutex::new(self.room.sorter());
        let push = |origin: Origin, row: Row<'_>, bytes: &mut Vec<u8>| {
            if !self.suspects.contain(row.key()) {
                return Ok(());
            }
            bytes.clear();
            bytes.extend_from_slice(row.bytes);
            // Behind the columns, which decide it.
            bytes.extend_from_slice(&row.partition.0.to_be_bytes());
            bytes.push(tag(origin));
            let mut by_key = by_key.lock().unwrap_or_else(PoisonError::into_inner);
            by_key.push(Row { partition: Ordinal::NULL, key_len: row.key_len, bytes })
        };
        let mut bytes = Vec::new();
        self.new.scan(|row| push(Origin::New, row, &mut bytes))?;
        if let Some(Resorted { in_scope, known }) = &self.resorted {
            in_scope.scan(|row| push(Origin::InScope, row, &mut bytes))?;
            known.scan(|row| push(Origin::Known, row, &mut bytes))?;
        }
        self.files.par_iter().try_for_each(|(_, files)| {
            let mut bytes = Vec::new();
            let mut rows = self.rows(files, Which::Touched);
            let mut head = Head::new(Origin::Kept, 0);
            while rows.read(&mut head)? {
                push(head.origin, head.row(), &mut bytes)?;
            }
            Ok::<(), WriteError>(())
        })?;

        let by_key = by_key.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        let mut by_partition = self.room.sorter();
        let mut merge = Merge::new();
        merge.add(Origin::New, &by_key)?;
        let mut key: Option<Vec<u8>> = None;
        let mut contest = Contest::default();
        // Of one key, and of those before it by the partition of their rows.
        let mut counts = Counts::default();
        let mut decided: BTreeMap<Ordinal, Counts> = BTreeMap::new();
        let mut moves = Moves::new();
        // Where rows of the key stand.
        let mut stands: Vec<Ordinal> = Vec::new();
        let mut close = |contest: &mut Contest,
                         stands: &mut Vec<Ordinal>,
                         key_len: usize,
                         counts: &mut Counts| {
            let stays = contest.decide(self.manner.rule, &self.layout, key_len, counts);
            let place = stays.map(|it| it.partition).or(stands.first().copied());
            *decided.entry(place.unwrap_or(Ordinal::NULL)).or_default() += std::mem::take(counts);
            if let Some(row) = stays {
                let left = stands.iter().filter(|it| **it != row.partition);
                moves.extend(left.map(|it| (*it, row.partition)));
            }
            stands.clear();
            let pushed = stays.map_or(Ok(()), |row| by_partition.push(row));
            contest.clear();
            pushed
        };
        while let Some((_, row)) = merge.next()? {
            if let Some(key) = key.as_mut().filter(|it| it.as_slice() != row.key()) {
                close(&mut contest, &mut stands, key.len(), &mut counts)?;
                key.clear();
                key.extend_from_slice(row.key());
            }
            key.get_or_insert_with(|| row.key().to_vec());
            let Some((&tag, rest)) = row.bytes.split_last() else { continue };
            let Some((bytes, partition)) = rest.split_last_chunk() else { continue };
            let partition = Ordinal(u64::from_be_bytes(*partition));
            let origin = origin(tag);
            if origin != Origin::New {
                stands.push(partition);
            }
            let row = Row { partition, key_len: row.key_len, bytes };
            contest.push(origin, row, &self.layout, &mut counts);
        }
        if let Some(key) = key {
            close(&mut contest, &mut stands, key.len(), &mut counts)?;
        }
        for (partition, counts) in decided {
            self.count(partition, counts);
        }
        self.turns = turns(&moves);
        by_partition.finish()
    }
}

fn tag(origin: Origin) -> u8 {
    match origin {
        Origin::New => 0,
        Origin::InScope => 1,
        Origin::Known | Origin::Kept | Origin::Settled => 2,
    }
}

fn origin(tag: u8) -> Origin {
    match tag {
        0 => Origin::New,
        1 => Origin::InScope,
        _ => Origin::Known,
    }
}
