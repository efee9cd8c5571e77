//! The pipelines that are run: worklogs in 20 columns.

/// The columns are in the order of `peers::values_to_columns`.
const COLUMNS: &str = "
      self:               { from: self, type: string }
      issue_self:         { from: issue.self, type: string }
      issue_id:           { from: issue.id, type: string }
      issue_key:          { from: issue.key, type: string }
      issue_display:      { from: issue.display, type: string }
      comment:            { from: comment, type: string }
      created_by_self:    { from: createdBy.self, type: string }
      created_by_id:      { from: createdBy.id, type: string }
      created_by_display: { from: createdBy.display, type: string }
      updated_by_self:    { from: updatedBy.self, type: string }
      updated_by_id:      { from: updatedBy.id, type: string }
      updated_by_display: { from: updatedBy.display, type: string }
      duration:           { from: duration, type: string }
      id:                 { from: id, type: int64 }
      version:            { from: version, type: int64 }
      created_at:         { from: createdAt, type: timestamp }
      updated_at:         { from: updatedAt, type: timestamp }
      start:              { from: start, type: timestamp }
      start_date:         { from: start, type: { date: { zone: UTC } } }
      duration_seconds:   { from: duration, type: { duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } } }
    unknown_fields: ignore
    partition_by: { column: start_date }";

/// A usual choice among them.
const SIX: &str = "
      id:               { from: id, type: int64 }
      version:          { from: version, type: int64 }
      issue_key:        { from: issue.key, type: string }
      created_by_id:    { from: createdBy.id, type: string }
      start:            { from: start, type: timestamp }
      duration_seconds: { from: duration, type: { duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } } }
    partition_by: { column: start }";

/// Three streams: all columns, six of them, and six with the rest in `_extra`.
pub(crate) fn decode() -> String {
    format!(
        r#"
version: 1
pipeline: bench
source: {{ base_url: "http://localhost" }}
streams:
  all:
    request: {{ path: /worklogs }}
    write: {{ append: {{ key: [id] }} }}
    columns: {COLUMNS}
  six:
    request: {{ path: /worklogs }}
    write: {{ append: {{ key: [id] }} }}
    unknown_fields: ignore
    columns: {SIX}
  six_and_rest:
    request: {{ path: /worklogs }}
    write: {{ append: {{ key: [id] }} }}
    unknown_fields: keep
    columns: {SIX}
"#
    )
}

/// Worklogs in pages of 1 000, from so many shards, to Parquet.
pub(crate) fn worklogs(shards: u64) -> String {
    let shards: Vec<String> = (0..shards).map(|it| it.to_string()).collect();
    let shards = shards.join(", ");
    format!(
        r#"{}
  worklogs:
    slices: {{ list: {{ as: shard, values: [{shards}] }} }}
    request: {{ path: "/worklogs/{{{{ slice.shard }}}}" }}
    paginate: {{ offset: {{ size_param: limit, size: 1000, total_header: x-total-count }} }}
    write: {{ append: {{ key: [id] }} }}
    columns: {COLUMNS}
destination: {{ formats: {{ parquet: {{}} }} }}
"#,
        head(8)
    )
}

/// Issues, and the worklogs of each by a request of its own, to Parquet.
pub(crate) fn fan_out(in_flight: u32) -> String {
    format!(
        r#"{}
  issues:
    request: {{ path: /issues }}
    paginate: {{ offset: {{ size_param: limit, size: 1000, total_header: x-total-count }} }}
    write: {{ merge: {{ key: [id] }} }}
    columns:
      id:         {{ from: id, type: string }}
      number:     {{ from: number, type: int64 }}
      created_at: {{ from: createdAt, type: timestamp }}
    partition_by: {{ column: created_at }}
  worklogs:
    slices: {{ parent: {{ stream: issues, bind: {{ issue_id: id, number: number }} }} }}
    request: {{ path: "/issues/{{{{ parent.number }}}}/worklog" }}
    write: {{ replace: {{ scope: slice, key: [issue_id, id], by: {{ issue_id: parent.issue_id }} }} }}
    columns: {COLUMNS}
destination: {{ formats: {{ parquet: {{}} }} }}
"#,
        head(in_flight)
    )
}

fn head(in_flight: u32) -> String {
    format!(
        r#"
version: 1
pipeline: bench
vars:
  url: {{ env: BENCH_URL }}
source:
  base_url: "{{{{ vars.url }}}}"
  limits: {{ requests_per_second: 1000000, max_in_flight: {in_flight} }}
streams:"#
    )
}
