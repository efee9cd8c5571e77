//! One partition, in order: what came meets what stands, and what stays is handed on.
//!
//! ```text
//! new       41 b | 43 c
//! stands    41 a | 42 x | 44 y
//! stays     41 b | 42 x | 43 c | 44 y        merge: one updated, one added
//! ```
//!
//! A key that is in several partitions is settled before, among all of its rows; here its one row
//! is only put where it belongs. Rows of a stream without a key meet as equal rows, and each of
//! them counts.

use super::{
    WriteError,
    index::Suspects,
    merge::{Contest, Counts, Rule},
    partition::Ordinal,
    rows::Layout,
    sort::{Merge, Origin, Row},
};

/// What became of the rows of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// What became of them.
    pub(super) counts: Counts,
    /// Those that stay.
    pub(super) rows: u64,
    /// Whether these are others than those that stood.
    pub(super) is_changed: bool,
}

/// How rows meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) layout: &'a Layout,
    pub(super) rule: Rule,
    pub(super) suspects: &'a Suspects,
    pub(super) arrivals: Arrivals,
}

/// What becomes of rows that come from another partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrivals {
    /// They are there.
    Come,
    /// They are not there yet.
    Wait,
}

impl Pass<'_> {
    /// Goes through the rows of a partition and gives those that stay to `emit`, in order.
    pub(super) fn run(
        self,
        mut merge: Merge<'_>,
        mut emit: impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<Tally, WriteError> {
        let mut tally = Tally::default();
        if self.layout.is_keyed() {
            self.keyed(&mut merge, &mut tally, &mut emit)?;
        } else {
            equal(&mut merge, &mut tally, &mut emit)?;
        }
        Ok(tally)
    }

    fn keyed(
        self,
        merge: &mut Merge<'_>,
        tally: &mut Tally,
        emit: &mut impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut group = Group::default();
        while let Some((origin, row)) = merge.next()? {
            if group.is_open && group.key != row.key() {
                group.close(self, tally, emit)?;
            }
            if origin == Origin::Kept {
                // Its key did not come, and stands nowhere else.
                tally.rows += 1;
                emit(row)?;
                continue;
            }
            if !group.is_open {
                group.is_open = true;
                group.key.clear();
                group.key.extend_from_slice(row.key());
                group.is_settled = self.suspects.contain(row.key());
            }
            group.push(origin, row, self.layout, &mut tally.counts);
        }
        group.close(self, tally, emit)
    }
}

/// The rows of one key.
#[derive(Debug, Default)]
struct Group {
    is_open: bool,
    key: Vec<u8>,
    contest: Contest,
    /// Decided elsewhere.
    is_settled: bool,
    settled: Option<Vec<u8>>,
    /// The rows of the key that stand in this partition, and the first of them.
    standing: u32,
    stands: Vec<u8>,
}

impl Group {
    fn push(&mut self, origin: Origin, row: Row<'_>, layout: &Layout, counts: &mut Counts) {
        if matches!(origin, Origin::InScope | Origin::Known) {
            self.standing += 1;
            if self.standing == 1 {
                self.stands.clear();
                self.stands.extend_from_slice(row.bytes);
            }
        }
        if origin == Origin::Settled {
            self.settled = Some(row.bytes.to_vec());
        } else if !self.is_settled {
            self.contest.push(origin, row, layout, counts);
        }
    }

    fn close(
        &mut self,
        pass: Pass<'_>,
        tally: &mut Tally,
        emit: &mut impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if !self.is_open {
            return Ok(());
        }
        self.is_open = false;
        let key_len = self.key.len();
        let settled = self.settled.take();
        let stays = if self.is_settled {
            let is_there = self.standing > 0 || pass.arrivals == Arrivals::Come;
            settled.as_deref().filter(|_| is_there)
        } else {
            self.contest
                .decide(pass.rule, pass.layout, key_len, &mut tally.counts)
                .map(|it| it.bytes)
        };
        let is_same = match stays {
            Some(bytes) => self.standing == 1 && bytes == self.stands,
            None => self.standing == 0,
        };
        tally.is_changed |= !is_same;
        if let Some(bytes) = stays {
            tally.rows += 1;
            emit(Row { partition: Ordinal::NULL, key_len, bytes })?;
        }
        self.contest.clear();
        self.standing = 0;
        Ok(())
    }
}

/// Equal rows of a stream without a key.
#[derive(Debug, Default)]
struct Equal {
    bytes: Vec<u8>,
    came: u64,
    /// In a scope that was read.
    stood: u64,
    /// Outside of the scopes: they stay, whatever came.
    kept: u64,
}

impl Equal {
    fn close(
        &mut self,
        tally: &mut Tally,
        emit: &mut impl FnMut(Row<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let Self { bytes, came, stood, kept } = self;
        let both = (*came).min(*stood);
        tally.counts.unchanged += both;
        tally.counts.added += *came - both;
        tally.counts.removed += *stood - both;
        tally.is_changed |= came != stood;
        tally.rows += *came + *kept;
        for _ in 0..*came + *kept {
            emit(Row { partition: Ordinal::NULL, key_len: 0, bytes })?;
        }
        (*came, *stood, *kept) = (0, 0, 0);
        Ok(())
    }
}

fn equal(
    merge: &mut Merge<'_>,
    tally: &mut Tally,
    emit: &mut impl FnMut(Row<'_>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut group = Equal::default();
    while let Some((origin, row)) = merge.next()? {
        if group.bytes != row.bytes {
            group.close(tally, emit)?;
            group.bytes.clear();
            group.bytes.extend_from_slice(row.bytes);
        }
        match origin {
            Origin::New => group.came += 1,
            Origin::InScope => group.stood += 1,
            Origin::Known | Origin::Kept | Origin::Settled => group.kept += 1,
        }
    }
    group.close(tally, emit)
}
