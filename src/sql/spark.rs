//! Temporary views of Spark: they last as long as a session, and need no metastore.
//!
//! A table with `PARTITIONED BY` would know only the partitions that somebody has told the
//! metastore of. A view of files whose schema is merged would read the end of every file first.

use super::{Kind, Tree, is_living, kind, line};
use crate::plan::{FormatPlan, PartitionUnit};

/// RFC 4180 as it is written. Spark sees no difference between null and a text that is the same as
/// `nullValue`; the empty text would be null without `emptyValue`. A file that does not fit is an
/// error instead of nulls and shifted columns. Without `charToEscapeQuoteEscaping` U+0000 would stand
/// for it, and be taken out of quoted texts.
const CSV: &str = r#"header 'true', enforceSchema 'false', mode 'FAILFAST', multiLine 'true',
  quote '"', escape '"', charToEscapeQuoteEscaping '"', nullValue '<null>', emptyValue ''"#;

pub(super) fn statements(tree: &Tree<'_>) -> Vec<String> {
    let view = identifier(&tree.view());
    let mut statements = vec![create(tree, &view)];
    statements.extend(tree.living_view().map(|living| {
        let (living, is_living) = (identifier(&living), is_living(identifier));
        format!(
            "CREATE OR REPLACE TEMPORARY VIEW {living} AS\nSELECT * FROM {view} WHERE {is_living};"
        )
    }));
    statements
}

fn create(tree: &Tree<'_>, view: &str) -> String {
    let table = tree.table;
    let columns = table
        .columns
        .iter()
        .map(|it| (it.name.as_str(), stored_type(kind(&it.kind)), it.comment.as_deref().map(line)));
    let partition = &table.partition;
    let comment = Some(tree.partition_comment());
    let partition = (partition.name.as_str(), partition_type(partition.unit), comment);
    let columns = columns.chain([partition]).map(|(name, kind, comment)| {
        let comment = comment.map(|it| format!(" COMMENT {}", literal(&it))).unwrap_or_default();
        format!("  {} {kind}{comment}", identifier(name))
    });
    let columns = columns.collect::<Vec<_>>().join(",\n");
    let (format, options) = match tree.format {
        FormatPlan::Parquet => ("parquet", String::new()),
        FormatPlan::Csv(_) => ("csv", format!(",\n  {CSV}\n")),
    };
    let path = literal(&path(&tree.directory()));
    let start = if options.is_empty() { "" } else { "\n  " };
    format!(
        "CREATE OR REPLACE TEMPORARY VIEW {view} (\n{columns}\n)\nUSING {format} OPTIONS ({start}path {path}{options});"
    )
}

fn stored_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "STRING",
        Kind::Int64 => "BIGINT",
        Kind::Float64 => "DOUBLE",
        Kind::Boolean => "BOOLEAN",
        Kind::Date => "DATE",
        Kind::Instant => "TIMESTAMP",
    }
}

fn partition_type(unit: PartitionUnit) -> &'static str {
    match unit {
        PartitionUnit::Day => "DATE",
        PartitionUnit::Year => "INT",
        PartitionUnit::Hour | PartitionUnit::Month => "STRING",
    }
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A path in which nothing stands for other paths. Hadoop, which Spark opens files with, knows buckets
/// of S3 by `s3a` only.
fn path(directory: &str) -> String {
    let (scheme, rest) = match directory.strip_prefix("s3://") {
        Some(rest) => ("s3a://", rest),
        None => ("", directory),
    };
    rest.chars().fold(scheme.to_owned(), |mut text, it| {
        if matches!(it, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            text.push('\\');
        }
        text.push(it);
        text
    })
}

/// Two quotes in a row do not stand for one, as they do elsewhere: Spark puts two literals together.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
