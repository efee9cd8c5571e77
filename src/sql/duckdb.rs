//! Views of DuckDB. They can be kept in a database file, and see new files by themselves.

use super::{Kind, NULL_PARTITION, Tree, is_living, kind, line};
use crate::plan::{FormatPlan, PartitionPlan, PartitionUnit, TablePlan};

/// RFC 4180 as it is written; a quoted empty field is the empty text and no null. A row may be longer
/// than the 2 MB that DuckDB takes; of each file it keeps a buffer, which would grow 16 times as much.
const CSV: &str = r#"header = true, delim = ',', quote = '"', escape = '"', new_line = '\n', allow_quoted_nulls = false,
  max_line_size = 16777216, buffer_size = 33554432,"#;

const FILENAME: &str = "filename";

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
    let file = file_column(table);
    let names = table.columns.iter().map(|it| format!("  {}", identifier(&it.name)));
    let names: Vec<String> = names.chain([partition(&table.partition, &file)]).collect();
    let (reader, options) = match tree.format {
        FormatPlan::Parquet => ("read_parquet", schema(table)),
        FormatPlan::Csv(_) => ("read_csv", csv(table)),
    };
    let files = literal(&format!("{}/**/*.{}", escaped(&tree.directory()), tree.extension()));
    let filename = if file == FILENAME { "true".to_owned() } else { literal(&file) };
    format!(
        "CREATE OR REPLACE VIEW {view} AS\nSELECT\n{}\nFROM {reader}(\n  {files},\n  {options},\n  \
         filename = {filename}\n);",
        names.join(",\n")
    )
}

/// The columns by their field ids. A file without one of them has null in it, and DuckDB opens only
/// the files that it reads: `union_by_name` would open all of them for every query.
fn schema(table: &TablePlan) -> String {
    let columns = table.columns.iter().map(|it| {
        let (name, kind) = (literal(&it.name), literal(stored_type(kind(&it.kind))));
        format!("    {}: {{name: {name}, type: {kind}, default_value: NULL}}", it.id)
    });
    format!("schema = MAP {{\n{}\n  }}", columns.collect::<Vec<_>>().join(",\n"))
}

fn csv(table: &TablePlan) -> String {
    let types = table
        .columns
        .iter()
        .map(|it| format!("{}: {}", literal(&it.name), literal(stored_type(kind(&it.kind)))));
    let types = types.collect::<Vec<_>>().join(", ");
    format!("{CSV}\n  types = {{{types}}}, union_by_name = true, hive_partitioning = false")
}

/// The partition column, from the name of its directory. `hive_partitioning`, which DuckDB turns on by
/// itself unless it is told, would also take `name=value` of a directory above the dataset for a column
/// of all rows, and does not go with `schema`.
fn partition(plan: &PartitionPlan, file: &str) -> String {
    let name = plan.name.as_str();
    let pattern = literal(&format!("/{name}=([^/]*)/[^/]*$"));
    let (file, null) = (identifier(file), literal(NULL_PARTITION));
    let text = format!("nullif(regexp_extract({file}, {pattern}, 1), {null})");
    let value = match plan.unit {
        PartitionUnit::Day => format!("CAST({text} AS DATE)"),
        PartitionUnit::Year => format!("CAST({text} AS INTEGER)"),
        PartitionUnit::Hour | PartitionUnit::Month => text,
    };
    format!("  {value} AS {}", identifier(name))
}

/// What DuckDB calls the path of a row's file. Releases before 2.0 prune by it under no other name.
fn file_column(table: &TablePlan) -> String {
    let mut name = FILENAME.to_owned();
    while table.columns.iter().any(|it| it.name == name) {
        name.push('_');
    }
    name
}

/// A path in which nothing stands for other paths.
fn escaped(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, it| {
        match it {
            '*' | '?' | '[' => text.extend(['[', it, ']']),
            _ => text.push(it),
        }
        text
    })
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

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
