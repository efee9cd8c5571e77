//! Views of DuckDB. They can be kept in a database file, and see new files by themselves.

use super::{Kind, Tree, is_living, kind, line};
use crate::plan::{FormatPlan, PartitionUnit};

/// RFC 4180 as it is written; a quoted empty field is the empty text and no null.
const CSV: &str = r#"header = true, delim = ',', quote = '"', escape = '"', new_line = '\n', allow_quoted_nulls = false,"#;

pub(super) fn statements(tree: &Tree<'_>) -> Vec<String> {
    let view = identifier(&tree.view());
    let table = tree.table;
    let mut statements = vec![create(tree, &view)];
    if let Some(description) = &table.description {
        statements.push(format!("COMMENT ON VIEW {view} IS {};", literal(&line(description))));
    }
    let partition = (table.partition.name.as_str(), tree.partition_comment());
    let declared = table.columns.iter().filter_map(|it| {
        let comment = it.comment.as_deref()?;
        Some((it.name.as_str(), line(comment)))
    });
    statements.extend(declared.chain([partition]).map(|(name, comment)| {
        format!("COMMENT ON COLUMN {view}.{} IS {};", identifier(name), literal(&comment))
    }));
    statements.extend(tree.living_view().map(|living| {
        let (living, is_living) = (identifier(&living), is_living(identifier));
        format!("CREATE OR REPLACE VIEW {living} AS\nSELECT * FROM {view} WHERE {is_living};")
    }));
    statements
}

fn create(tree: &Tree<'_>, view: &str) -> String {
    let table = tree.table;
    let partition = table.partition.name.as_str();
    let names = table.columns.iter().map(|it| it.name.as_str()).chain([partition]);
    let names: Vec<String> = names.map(|it| format!("  {}", identifier(it))).collect();
    let (reader, options) = match tree.format {
        FormatPlan::Parquet => ("read_parquet", String::new()),
        FormatPlan::Csv(_) => {
            let types = table.columns.iter().map(|it| {
                format!("{}: {}", literal(&it.name), literal(stored_type(kind(&it.kind))))
            });
            let types = types.collect::<Vec<_>>().join(", ");
            ("read_csv", format!("\n  {CSV}\n  types = {{{types}}},"))
        }
    };
    let files = literal(&format!("{}/**/*.{}", tree.directory(), tree.extension()));
    let (partition, unit) = (literal(partition), partition_type(table.partition.unit));
    format!(
        "CREATE OR REPLACE VIEW {view} AS\nSELECT\n{}\nFROM {reader}(\n  {files},{options}\n  \
         union_by_name = true, hive_partitioning = true, hive_types = {{{partition}: {unit}}}\n);",
        names.join(",\n")
    )
}

fn stored_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "VARCHAR",
        Kind::Int64 => "BIGINT",
        Kind::Float64 => "DOUBLE",
        Kind::Boolean => "BOOLEAN",
        Kind::Date => "DATE",
        Kind::Instant => "TIMESTAMPTZ",
    }
}

fn partition_type(unit: PartitionUnit) -> &'static str {
    match unit {
        PartitionUnit::Day => "DATE",
        PartitionUnit::Year => "INTEGER",
        PartitionUnit::Hour | PartitionUnit::Month => "VARCHAR",
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
