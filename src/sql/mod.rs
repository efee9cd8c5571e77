//! Statements that make a pipeline's files readable by name; pure.
//!
//! ```text
//! TablePlan, where, how written --> DuckDB    CREATE OR REPLACE VIEW … FROM read_parquet('…/**/*.parquet', schema = …)
//!                                   Spark     CREATE OR REPLACE TEMPORARY VIEW … USING parquet OPTIONS (path '…')
//!
//! partition     directory              type
//! hour          date=2024-07-25T09     text: no reader knows this form of a time
//! day           date=2024-07-25        date
//! month         date=2024-07           text
//! year          date=2024              a 32-bit integer
//! ```
//!
//! Every statement names each column and its type, so that it means the same whichever files are
//! there: files from before a column was added have null in it.

mod duckdb;
mod spark;

use arrow::datatypes::DataType;

use crate::plan::{
    CsvCompression, DELETED_COLUMN, Deletes, FormatPlan, Name, PartitionUnit, TablePlan,
};

/// Who runs the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// DuckDB.
    Duckdb,
    /// Spark SQL.
    Spark,
}

/// The directory of rows without a value of the partition column has this for the value.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// One tree of files of one stream.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Where files go: a directory, or the URL of a place in an object store.
    pub destination: &'a str,
    /// Whose stream it is.
    pub pipeline: &'a Name,
    /// The stream.
    pub table: &'a TablePlan,
    /// How it is written.
    pub format: FormatPlan,
}

/// The statements that make a view of a stream, each ended by `;` and parted from the next by an
/// empty line. No statement contains an empty line.
pub fn statements(tree: &Tree<'_>, dialect: Dialect) -> String {
    let statements = match dialect {
        Dialect::Duckdb => duckdb::statements(tree),
        Dialect::Spark => spark::statements(tree),
    };
    let title = line(&match &tree.table.description {
        Some(description) => {
            format!("-- {}.{}: {description}", tree.pipeline, tree.table.name)
        }
        None => format!("-- {}.{}", tree.pipeline, tree.table.name),
    });
    format!("{title}\n{}\n", statements.join("\n\n"))
}

impl Tree<'_> {
    /// The names of the views that the statements make.
    pub fn views(&self) -> impl Iterator<Item = String> {
        [Some(self.view()), self.living_view()].into_iter().flatten()
    }

    /// The name of the view. Both dialects have schemas, but a temporary view of Spark is in none.
    fn view(&self) -> String {
        format!("{}_{}", self.pipeline, self.table.name)
    }

    /// The name of the view of rows that the source still has; `None` where there are no others.
    fn living_view(&self) -> Option<String> {
        (self.table.deletes == Deletes::Mark).then(|| format!("{}_living", self.view()))
    }

    /// The directory that has the partitions.
    fn directory(&self) -> String {
        let destination = match self.destination.trim_end_matches('/') {
            "" if self.destination.starts_with('/') => "",
            "" => ".",
            some => some,
        };
        let (format, pipeline, stream) = (self.format.directory(), self.pipeline, &self.table.name);
        format!("{destination}/{format}/{pipeline}/{stream}")
    }

    /// How the names of its files end.
    fn extension(&self) -> &'static str {
        match self.format {
            FormatPlan::Parquet => "parquet",
            FormatPlan::Csv(plan) => match plan.compression {
                CsvCompression::None => "csv",
                CsvCompression::Gzip => "csv.gz",
                CsvCompression::Zstd => "csv.zst",
            },
        }
    }

    /// What is to be known of the partition column.
    fn partition_comment(&self) -> String {
        let partition = &self.table.partition;
        let unit = match partition.unit {
            PartitionUnit::Hour => "hour",
            PartitionUnit::Day => "day",
            PartitionUnit::Month => "month",
            PartitionUnit::Year => "year",
        };
        format!("{unit} of {}", partition.column)
    }
}

/// The condition of rows that the source still has, its column quoted by `quote`.
fn is_living(quote: fn(&str) -> String) -> String {
    format!("{} IS NULL", quote(DELETED_COLUMN))
}

/// A text on one line, so that it ends no comment and parts no statement.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The types of the columns of a dataset; nothing else is ever stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int64,
    Float64,
    Boolean,
    Date,
    Instant,
}

fn kind(stored: &DataType) -> Kind {
    match stored {
        DataType::Int64 => Kind::Int64,
        DataType::Float64 => Kind::Float64,
        DataType::Boolean => Kind::Boolean,
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(..) => Kind::Instant,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests;
