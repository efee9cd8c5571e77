//! Jira's own search over issues: it gives smaller pages than it is asked for, without a word.
//!
//! Of JQL it knows `updated >= "2024-07-25 00:00"`, which is the server's local time to the minute,
//! and what nobody needs to be told: `ORDER BY updated`.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use serde_json::{Value, json};

use super::server::Call;
use super::world::timesheet::JiraWorklog;

const DEFAULT_PAGE: u64 = 50;
const MAX_PAGE: u64 = 100;

/// Answers `GET` or `POST /rest/api/2/search`.
pub(super) fn search(call: &Call, api: &str) -> Result<Value, String> {
    let body = call.json().ok_or("the body is not JSON")?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).or_else(|| call.param(name));
    let number = |name: &str| match body.get(name) {
        None | Some(Value::Null) => call.number(name),
        Some(it) => it.as_u64().map(Some).ok_or_else(|| format!("`{name}` is not a number")),
    };
    let (start, size) = (number("startAt")?.unwrap_or(0), number("maxResults")?);
    let since = since(text("jql").unwrap_or_default(), &call.world.jira.zone)?;

    let mut issues: BTreeMap<i64, Vec<&JiraWorklog>> = BTreeMap::new();
    for it in &call.world.jira.worklogs {
        issues.entry(it.issue_id).or_default().push(it);
    }
    let found = issues.values().filter_map(|logs| Issue::of(logs));
    let mut found: Vec<_> =
        found.filter(|it| since.is_none_or(|since| it.updated >= since)).collect();
    found.sort_by_key(|it| (it.updated, it.log.issue_id));

    let size = call.size(size.unwrap_or(DEFAULT_PAGE), MAX_PAGE);
    let page = found.iter().skip(call.position(start)).take(usize::try_from(size).unwrap_or(0));
    let page: Vec<_> = page.map(|it| it.render(call, api)).collect();
    let total = call.total(found.len());
    Ok(json!({"startAt": start, "maxResults": size, "total": total, "issues": page}))
}

/// An issue, as far as its worklogs tell.
struct Issue<'a> {
    log: &'a JiraWorklog,
    updated: DateTime<Utc>,
}

impl<'a> Issue<'a> {
    fn of(logs: &[&'a JiraWorklog]) -> Option<Self> {
        let log = *logs.first()?;
        let updated = logs.iter().map(|it| it.update_time).max()?;
        Some(Self { log, updated })
    }

    fn render(&self, call: &Call, api: &str) -> Value {
        let Self { log, updated } = self;
        json!({
            "self": format!("{api}/issue/{}", log.issue_id),
            "id": log.issue_id.to_string(), "key": log.issue_key,
            "fields": {
                "project": {"id": log.project_id.to_string(), "key": log.project_key},
                "updated": super::timesheet::local(call, *updated, "%Y-%m-%dT%H:%M:%S%.3f%z"),
            },
        })
    }
}

/// The instant that a query asks for issues since.
fn since(jql: &str, zone: &str) -> Result<Option<DateTime<Utc>>, String> {
    let clauses = jql.split_once("ORDER BY").map_or(jql, |(clauses, _)| clauses).trim();
    if clauses.is_empty() {
        return Ok(None);
    }
    let unknown = || format!("Error in the JQL Query: `{clauses}`");
    let at = clauses.strip_prefix("updated >=").ok_or_else(unknown)?.trim().trim_matches('"');
    let local = NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M").map_err(|_| unknown())?;
    let zone: chrono_tz::Tz = zone.parse().unwrap_or(chrono_tz::UTC);
    let at = zone.from_local_datetime(&local).earliest().ok_or_else(unknown)?;
    Ok(Some(at.with_timezone(&Utc)))
}
