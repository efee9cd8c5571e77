//! What the statements look like; tests/readers runs them.

use super::*;
use crate::config::{self, Inputs, Tables, Unset};

/// Every type, a variable without a value in each place that may have one, and names and texts with
/// everything that quotes end at.
const PIPELINE: &str = r#"
version: 1
pipeline: acme
vars:
  url:   { env: ACME_URL }
  token: { env: ACME_TOKEN, secret: true }
  zone:  { env: ACME_ZONE }
source:
  base_url: "{{ vars.url }}"
  auth: { bearer: { token: "{{ vars.token }}" } }
streams:
  entries:
    description: "What's \"done\"\n\n  in `days`; \\ all"
    request: { path: "/{{ vars.token }}" }
    columns:
      id:      { from: id, type: int64, description: "the entry's\n id \\" }
      at:      { from: at, type: { timestamp: { zone: "{{ vars.zone }}" } } }
      day:     { from: day, type: date }
      spent:   { from: spent, type: duration, description: without breaks }
      effort:  { from: spent, type: { duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } } }
      share:   { from: share, type: float64 }
      billed:  { from: billed, type: boolean }
      user:    { from: user, type: string }
      tags:    { from: tags, type: json }
    write: { replace: { scope: all, key: [id] } }
    deletes: mark
    partition_by: { column: at, zone: "{{ vars.zone }}" }
"#;

fn tables(text: &str) -> Tables {
    let inputs = Inputs::default().unset(Unset::Tolerated);
    config::tables_text("acme.yaml".as_ref(), text, &inputs).unwrap()
}

/// The statements for the only stream of a pipeline.
fn printed(text: &str, destination: &str, dialect: Dialect) -> String {
    let Tables { pipeline, tables, formats, .. } = tables(text);
    let [table] = &tables[..] else { panic!("{} streams", tables.len()) };
    statements(&Tree { destination, pipeline: &pipeline, table, format: formats[0] }, dialect)
}

/// A stream of one column, so that only what differs is seen.
fn small(partition_by: &str, rest: &str) -> String {
    format!(
        "version: 1\npipeline: p\nsource: {{ base_url: http://localhost, auth: none }}\nstreams:\n  s:\n    \
         request: {{ path: / }}\n    columns: {{ at: {{ from: at, type: timestamp }} }}\n    \
         unknown_fields: ignore\n    partition_by: {partition_by}\n{rest}"
    )
}

#[test]
fn a_view_of_duckdb_has_every_column_in_order_with_comments_and_living_rows() {
    let expected = r#"-- acme.entries: What's "done" in `days`; \ all
CREATE OR REPLACE VIEW "acme_entries" AS
SELECT
  "id",
  "at",
  "day",
  "spent",
  "effort",
  "share",
  "billed",
  "user",
  "tags",
  "_extra",
  "_deleted_at",
  CAST(nullif(regexp_extract("filename", '/date=([^/]*)/[^/]*$', 1), '__HIVE_DEFAULT_PARTITION__') AS DATE) AS "date"
FROM read_parquet(
  '/data/o''brien/parquet/acme/entries/**/*.parquet',
  schema = MAP {
    926444256: {name: 'id', type: 'BIGINT', default_value: NULL},
    1462048136: {name: 'at', type: 'TIMESTAMPTZ', default_value: NULL},
    1682907645: {name: 'day', type: 'DATE', default_value: NULL},
    225815267: {name: 'spent', type: 'BIGINT', default_value: NULL},
    1385967279: {name: 'effort', type: 'BIGINT', default_value: NULL},
    701103160: {name: 'share', type: 'DOUBLE', default_value: NULL},
    455356877: {name: 'billed', type: 'BOOLEAN', default_value: NULL},
    1618501362: {name: 'user', type: 'VARCHAR', default_value: NULL},
    1947659168: {name: 'tags', type: 'VARCHAR', default_value: NULL},
    238289860: {name: '_extra', type: 'VARCHAR', default_value: NULL},
    237433293: {name: '_deleted_at', type: 'TIMESTAMPTZ', default_value: NULL}
  },
  filename = true
);

COMMENT ON VIEW "acme_entries" IS 'What''s "done" in `days`; \ all';

COMMENT ON COLUMN "acme_entries"."id" IS 'the entry''s id \';

COMMENT ON COLUMN "acme_entries"."spent" IS 'without breaks; in seconds';

COMMENT ON COLUMN "acme_entries"."effort" IS 'in seconds of working time';

COMMENT ON COLUMN "acme_entries"."tags" IS 'as JSON';

COMMENT ON COLUMN "acme_entries"."_extra" IS 'fields that no column reads, as canonical JSON';

COMMENT ON COLUMN "acme_entries"."_deleted_at" IS 'since when the source no longer has the row; null while it has it';

COMMENT ON COLUMN "acme_entries"."date" IS 'day of at';

CREATE OR REPLACE VIEW "acme_entries_living" AS
SELECT * FROM "acme_entries" WHERE "_deleted_at" IS NULL;
"#;

    assert_eq!(printed(PIPELINE, "/data/o'brien/", Dialect::Duckdb), expected);
}

#[test]
fn a_view_of_spark_declares_every_type_and_escapes_with_backslashes() {
    let expected = r"-- acme.entries: What's #done# in `days`; \ all
CREATE OR REPLACE TEMPORARY VIEW `acme_entries` (
  `id` BIGINT COMMENT 'the entry\'s id \\',
  `at` TIMESTAMP,
  `day` DATE,
  `spent` BIGINT COMMENT 'without breaks; in seconds',
  `effort` BIGINT COMMENT 'in seconds of working time',
  `share` DOUBLE,
  `billed` BOOLEAN,
  `user` STRING,
  `tags` STRING COMMENT 'as JSON',
  `_extra` STRING COMMENT 'fields that no column reads, as canonical JSON',
  `_deleted_at` TIMESTAMP COMMENT 'since when the source no longer has the row; null while it has it',
  `date` DATE COMMENT 'day of at'
)
USING parquet OPTIONS (path '/data/o\'brien/parquet/acme/entries');

CREATE OR REPLACE TEMPORARY VIEW `acme_entries_living` AS
SELECT * FROM `acme_entries` WHERE `_deleted_at` IS NULL;
";

    let found = printed(PIPELINE, "/data/o'brien", Dialect::Spark);

    assert_eq!(found, expected.replace('#', "\""));
}

#[test]
fn csv_is_read_with_its_types_where_there_is_no_parquet() {
    let text = small("{ column: at }", "destination: { formats: { csv: {} } }");

    let duckdb = r#"-- p.s
CREATE OR REPLACE VIEW "p_s" AS
SELECT
  "at",
  CAST(nullif(regexp_extract("filename", '/date=([^/]*)/[^/]*$', 1), '__HIVE_DEFAULT_PARTITION__') AS DATE) AS "date"
FROM read_csv(
  's3://lake/csv/p/s/**/*.csv',
  header = true, delim = ',', quote = '"', escape = '"', new_line = '\n', allow_quoted_nulls = false,
  max_line_size = 16777216, buffer_size = 33554432,
  types = {'at': 'TIMESTAMPTZ'}, union_by_name = true, hive_partitioning = false,
  filename = true
);

COMMENT ON COLUMN "p_s"."date" IS 'day of at';
"#;
    let spark = r#"-- p.s
CREATE OR REPLACE TEMPORARY VIEW `p_s` (
  `at` TIMESTAMP,
  `date` DATE COMMENT 'day of at'
)
USING csv OPTIONS (
  path 's3a://lake/csv/p/s',
  header 'true', enforceSchema 'false', mode 'FAILFAST', multiLine 'true',
  quote '"', escape '"', charToEscapeQuoteEscaping '"', nullValue '<null>', emptyValue ''
);
"#;
    assert_eq!(printed(&text, "s3://lake", Dialect::Duckdb), duckdb);
    assert_eq!(printed(&text, "s3://lake/", Dialect::Spark), spark);
}

#[test]
fn a_partition_has_the_type_of_its_unit_and_its_own_name() {
    let text = r#"nullif(regexp_extract("filename", '/started=([^/]*)/[^/]*$', 1), '__HIVE_DEFAULT_PARTITION__')"#;
    for (unit, duckdb, spark) in [
        ("hour", text.to_owned(), "STRING"),
        ("day", format!("CAST({text} AS DATE)"), "DATE"),
        ("month", text.to_owned(), "STRING"),
        ("year", format!("CAST({text} AS INTEGER)"), "INT"),
    ] {
        let text = small(&format!("{{ column: at, unit: {unit}, as: started }}"), "");

        let found = printed(&text, "out", Dialect::Duckdb);
        assert!(found.contains(&format!("\n  {duckdb} AS \"started\"\n")), "{found}");
        assert!(found.contains(&format!("\"started\" IS '{unit} of at';")), "{found}");
        let found = printed(&text, "out", Dialect::Spark);
        assert!(
            found.contains(&format!("\n  `started` {spark} COMMENT '{unit} of at'\n")),
            "{found}"
        );
    }
}

#[test]
fn compressed_csv_is_found_by_its_name() {
    for (compression, name) in
        [("none", "/**/*.csv'"), ("gzip", "/**/*.csv.gz'"), ("zstd", "/**/*.csv.zst'")]
    {
        let csv =
            format!("destination: {{ formats: {{ csv: {{ compression: {compression} }} }} }}");

        let found = printed(&small("{ column: at }", &csv), "out", Dialect::Duckdb);

        assert!(found.contains(name), "{found}");
    }
}

#[test]
fn a_destination_is_the_directory_above_the_trees() {
    for (destination, directory) in [
        ("out", "'out/parquet/p/s'"),
        ("out/", "'out/parquet/p/s'"),
        (".", "'./parquet/p/s'"),
        ("", "'./parquet/p/s'"),
        ("/", "'/parquet/p/s'"),
        ("s3://lake/a", "'s3a://lake/a/parquet/p/s'"),
        ("gs://lake/a", "'gs://lake/a/parquet/p/s'"),
    ] {
        let found = printed(&small("{ column: at }", ""), destination, Dialect::Spark);

        assert!(found.contains(&format!("(path {directory});")), "{found}");
    }
}

#[test]
fn a_path_stands_for_itself_and_for_no_other() {
    let odd = r"/a*/b?/[c]/{d,e}/f\g";

    let duckdb = printed(&small("{ column: at }", ""), odd, Dialect::Duckdb);
    let spark = printed(&small("{ column: at }", ""), odd, Dialect::Spark);

    assert!(duckdb.contains(r"'/a[*]/b[?]/[[]c]/{d,e}/f\g/parquet/p/s/**/*.parquet'"), "{duckdb}");
    // Once for the path, and once for the text.
    assert!(spark.contains(r"'/a\\*/b\\?/\\[c\\]/\\{d,e\\}/f\\\\g/parquet/p/s'"), "{spark}");
}

#[test]
fn a_column_that_is_called_like_the_path_of_its_file_stays_a_column() {
    let text = small("{ column: at }", "")
        .replace("columns: { ", "columns: { filename: { from: f, type: string }, ");

    let found = printed(&text, "out", Dialect::Duckdb);

    assert!(found.contains("SELECT\n  \"filename\",\n"), "{found}");
    assert!(found.contains("regexp_extract(\"filename_\", "), "{found}");
    assert!(found.contains("\n  filename = 'filename_'\n"), "{found}");
}

#[test]
fn columns_and_types_are_those_of_the_files_of_a_run() {
    for (name, text) in [
        ("codearts_req", include_str!("../../pipelines/codearts_req.yaml")),
        ("jira_timesheet", include_str!("../../pipelines/jira_timesheet.yaml")),
        ("yandex_tracker", include_str!("../../pipelines/yandex_tracker.yaml")),
    ] {
        let set = [("url", "http://localhost"), ("zone", "UTC")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let inputs = Inputs::default().unset(Unset::Tolerated).set(set);
        let plan = match config::load_text(name.as_ref(), text, &inputs) {
            Ok(plan) => plan,
            Err(err) => panic!("{err:?}"),
        };
        let tables = tables(text);

        assert_eq!(tables.pipeline, plan.pipeline);
        assert_eq!(tables.tables.len(), plan.streams.len());
        for stream in &plan.streams {
            let table = tables.tables.iter().find(|it| it.name == stream.name).unwrap();
            let schema = crate::plan::dataset_schema(stream);
            let stored = schema.fields().iter().map(|it| (it.name(), it.data_type()));
            assert!(table.columns.iter().map(|it| (&it.name, &it.kind)).eq(stored), "{name}");
            assert_eq!(table.partition.name, stream.partition.name);
        }
    }
}
