//! Rows, and the sum of a column, by the latest partitions and by the values of other columns.
//!
//! ```text
//! date=2024-07-24    41 rows   302,400   Ann 180,000, Bob 122,400
//! date=2024-07-25     0 rows                 no such partition stands: a gap that should be seen
//! ```
//!
//! Only the columns that are asked for are read, only of these partitions, a batch at a time.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit},
};
use chrono::{DateTime, Utc};

use super::{StandingFile, file::Opened};
use crate::{
    load::{
        Inspection, WriteError,
        manifest::{Manifest, ManifestColumn},
        partition::{Ordinal, Partitioner},
    },
    plan::{DELETED_COLUMN, Name, PartitionUnit},
};

/// Values of a column that are told apart; rows of others are in no group.
const VALUES: usize = 5_000;
/// Characters of a value.
const CHARACTERS: usize = 80;

/// A column of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetColumn {
    /// Its name.
    pub name: String,
    /// Its Arrow type, such as `Utf8`.
    pub r#type: String,
}

/// What a dataset's manifest says of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetShape {
    /// The run that published it last.
    pub run: String,
    /// The columns that identify a row; none where rows have no key.
    pub key: Vec<String>,
    /// The column whose time a row's partition is of.
    pub partitioned_by: String,
    /// All columns, in order.
    pub columns: Vec<DatasetColumn>,
}

/// What is asked of a dataset's latest partitions.
#[derive(Debug, Clone)]
pub struct SumsOf<'a> {
    /// The clock, in whose partition the last one ends, unless the dataset ended long before.
    pub now: DateTime<Utc>,
    /// How many partitions.
    pub partitions: u16,
    /// A column of whole or floating numbers, to be added up.
    pub sum: Option<&'a str>,
    /// Columns of text, by whose values the rows are told apart.
    pub groups: &'a [&'a str],
}

/// The latest partitions of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// The length of time that a partition covers.
    pub unit: PartitionUnit,
    /// One for every unit of time, the earliest first, also where no partition stands.
    pub partitions: Vec<PartitionSums>,
    /// Whether the last of them is that of now; otherwise nothing stands in so many before now.
    pub is_now: bool,
    /// Rows of earlier partitions, as the manifest says.
    pub earlier: u64,
    /// Rows of later partitions, as the manifest says.
    pub later: u64,
    /// Rows that are in no unit of time, as the manifest says.
    pub undated: u64,
}

/// Rows of one partition that are not marked as gone.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PartitionSums {
    /// Its directory, such as `date=2024-07-25`.
    pub partition: String,
    /// All of its rows.
    pub all: Sum,
    /// By the values of each of the columns; rows without a value, or with one of too many, are in none.
    pub groups: Vec<BTreeMap<String, Sum>>,
}

/// Some rows.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// What the column adds up to.
    pub sum: f64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum += other.sum;
    }
}

impl Inspection {
    /// What a stream's dataset is like; `None` where nothing was published.
    pub fn shape(&self, stream: &Name) -> Result<Option<DatasetShape>, WriteError> {
        let manifest = Manifest::read(&self.store, &self.pipeline, stream)?;
        let column = |ManifestColumn { name, r#type, mask: _ }| DatasetColumn { name, r#type };
        Ok(manifest.map(|it| DatasetShape {
            partitioned_by: it.partition.column().to_owned(),
            run: it.run,
            key: it.key,
            columns: it.columns.into_iter().map(column).collect(),
        }))
    }

    /// Adds up the latest partitions of a stream; `None` where no rows are in any unit of time.
    pub fn sums(&self, stream: &Name, of: &SumsOf<'_>) -> Result<Option<Sums>, WriteError> {
        let Some(manifest) = Manifest::read(&self.store, &self.pipeline, stream)? else {
            return Ok(None);
        };
        let Some(plan) = manifest.partition.plan() else { return Ok(None) };
        let files = manifest.standing();
        let unit = plan.unit;
        let mut partitioner = Partitioner::new(plan);
        let mut now = Vec::new();
        let clock = TimestampMicrosecondArray::from(vec![of.now.timestamp_micros()]);
        partitioner.ordinals(&clock, &mut now)?;
        let now = now.first().and_then(|it| it.number()).unwrap_or_default();
        let numbers: Vec<i64> = files.iter().filter_map(|it| it.partition.number()).collect();
        let Some(last) = last(&numbers, now, i64::from(of.partitions)) else {
            return Ok(None);
        };
        let first = last + 1 - i64::from(of.partitions);
        let rows = |of: &dyn Fn(Option<i64>) -> bool| -> u64 {
            files.iter().filter(|it| of(it.partition.number())).map(|it| it.rows).sum()
        };
        let (earlier, later) = (
            rows(&|it| it.is_some_and(|it| it < first)),
            rows(&|it| it.is_some_and(|it| it > last)),
        );
        let undated = rows(&|it| it.is_none());
        let mut partitions: BTreeMap<i64, PartitionSums> = (first..=last)
            .map(|number| {
                let partition = partitioner.directory(Ordinal::of_number(Some(number)));
                let groups = vec![BTreeMap::new(); of.groups.len()];
                (number, PartitionSums { partition, all: Sum::default(), groups })
            })
            .collect();
        let schema = schema(&manifest.columns, of);
        for file in &files {
            let partition = file.partition.number().and_then(|it| partitions.get_mut(&it));
            if let Some(partition) = partition {
                self.add(partition, file, &schema, of)?;
            }
        }
        let partitions = partitions.into_values().collect();
        Ok(Some(Sums { unit, partitions, is_now: last == now, earlier, later, undated }))
    }

    fn add(
        &self,
        partition: &mut PartitionSums,
        file: &StandingFile,
        schema: &SchemaRef,
        of: &SumsOf<'_>,
    ) -> Result<(), WriteError> {
        if schema.fields().is_empty() {
            partition.all.rows += file.rows;
            return Ok(());
        }
        let opened = Opened::new(&self.store, file)?;
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let mut batches = opened.read(schema, &columns, None, None)?;
        while let Some(batch) = batches.next()? {
            add(partition, &batch, of);
        }
        Ok(())
    }
}

/// The columns that are read.
fn schema(columns: &[ManifestColumn], of: &SumsOf<'_>) -> SchemaRef {
    let field = |it: &ManifestColumn| {
        let name = it.name.as_str();
        let data_type = match it.r#type.as_str() {
            "Int64" if of.sum == Some(name) => DataType::Int64,
            "Float64" if of.sum == Some(name) => DataType::Float64,
            "Utf8" if of.groups.contains(&name) => DataType::Utf8,
            _ if name == DELETED_COLUMN => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            _ => return None,
        };
        Some(Field::new(name, data_type, true))
    };
    Arc::new(Schema::new(columns.iter().filter_map(field).collect::<Vec<_>>()))
}

/// Adds the rows of a batch.
fn add(partition: &mut PartitionSums, batch: &RecordBatch, of: &SumsOf<'_>) {
    let column = |name: &str| batch.column_by_name(name);
    let deleted = column(DELETED_COLUMN);
    let sums = of.sum.and_then(column);
    let groups: Vec<Option<&ArrayRef>> = of.groups.iter().map(|it| column(it)).collect();
    for row in 0..batch.num_rows() {
        if deleted.is_some_and(|it| it.is_valid(row)) {
            continue;
        }
        let one = Sum { rows: 1, sum: sums.map_or(0.0, |it| number(it, row)) };
        partition.all += one;
        for (known, values) in partition.groups.iter_mut().zip(&groups) {
            let Some(values) = values.filter(|it| it.is_valid(row)) else { continue };
            let value = values.as_string::<i32>().value(row);
            if let Some(sum) = known.get_mut(value) {
                *sum += one;
            } else if known.len() < VALUES {
                let short: String = value.chars().take(CHARACTERS).collect();
                *known.entry(short).or_default() += one;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of work, below 2^53")]
fn number(array: &ArrayRef, row: usize) -> f64 {
    match array.data_type() {
        _ if array.is_null(row) => 0.0,
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row) as f64,
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        _ => 0.0,
    }
}

/// The last of `count` partitions that are looked at: that of now, so that a gap before it is seen;
/// where nothing stands in so many, the last one before; else, in a dataset of the future, its last.
fn last(numbers: &[i64], now: i64, count: i64) -> Option<i64> {
    let past = numbers.iter().copied().filter(|it| *it <= now).max();
    match past {
        Some(past) if past > now - count => Some(now),
        Some(past) => Some(past),
        None => numbers.iter().copied().max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_end_with_now_unless_the_dataset_ended_long_before() {
        let cases = [
            ("the last one is now's", vec![3, 10], Some(10)),
            ("a gap before now is seen", vec![3, 8], Some(10)),
            ("as long as something is in sight", vec![6], Some(10)),
            ("an old dataset is shown where it ends", vec![1, 5], Some(5)),
            ("a date far ahead moves nothing", vec![8, 40_000], Some(10)),
            ("unless there is nothing else", vec![20, 40], Some(40)),
            ("no dated rows", vec![], None),
        ];
        for (name, numbers, expected) in cases {
            assert_eq!(last(&numbers, 10, 5), expected, "{name}");
        }
    }
}
