//! `sql-views`: statements that make the files readable by name.

use std::{collections::BTreeMap, io::Write};

use super::{
    args::{DialectArg, FormatArg, GlobalArgs, SqlViewsArgs},
    find, inputs, report, shipped,
};
use crate::{
    config::{self, Tables, Unset},
    error::Error,
    plan::{CsvPlan, FormatPlan},
    sql::{self, Dialect, Tree},
};

pub(super) fn sql_views(
    args: &SqlViewsArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let SqlViewsArgs { pipelines, output, dialect, format, set } = args;
    let inputs = inputs().set(set.clone()).unset(Unset::Tolerated);
    let dialect = match dialect {
        DialectArg::Duckdb => Dialect::Duckdb,
        DialectArg::Spark => Dialect::Spark,
    };
    let mut printed = Vec::new();
    let mut streams: BTreeMap<String, String> = BTreeMap::new();
    for name in pipelines {
        let Tables { pipeline, tables, formats, destination } = match find(name, global)? {
            Some(path) => config::tables(&path, &inputs)?,
            None => config::tables_text(name.as_ref(), shipped(name), &inputs)?,
        };
        let format = chosen(&formats, *format);
        let destination = output.clone().or(destination);
        let destination = destination
            .as_deref()
            .ok_or_else(|| Error::NoDestination { pipeline: pipeline.clone() })?;
        for table in &tables {
            let tree = Tree { destination, pipeline: &pipeline, table, format };
            let second = format!("{pipeline}.{}", table.name);
            for view in tree.views() {
                match streams.insert(view.clone(), second.clone()) {
                    Some(first) if first != second => {
                        return Err(Error::SameView { view, first, second });
                    }
                    _ => {}
                }
            }
            printed.push(sql::statements(&tree, dialect));
        }
    }
    report::raw(stdout, &printed.join("\n").trim_end());
    Ok(0)
}

/// The format that is asked for, written as the pipeline says where it does; else Parquet, if it is
/// written.
fn chosen(formats: &[FormatPlan], asked: Option<FormatArg>) -> FormatPlan {
    let csv = formats.iter().copied().find(|it| matches!(it, FormatPlan::Csv(_)));
    match asked {
        Some(FormatArg::Parquet) => FormatPlan::Parquet,
        Some(FormatArg::Csv) => csv.unwrap_or(FormatPlan::Csv(CsvPlan::default())),
        None if formats.contains(&FormatPlan::Parquet) => FormatPlan::Parquet,
        None => csv.unwrap_or(FormatPlan::Parquet),
    }
}
