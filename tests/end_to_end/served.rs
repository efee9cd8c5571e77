//! The expected tables against what the simulator answers: two roads from one world must meet.
//!
//! Pages are read by hand, each column by its path; what no path reads must be the `_extra` column.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use reqwest::{Client, RequestBuilder};
use serde_json::{Map, Value, json};
use tracklake::sim::{SimOptions, Simulator};

use crate::expected::{Window, canonical, codearts, timesheet, tracker};
use crate::support::table::{Cell, Column, Kind, Row, Table, assert_same};

/// A column and the path it reads: `a.b` a field, `a.b as json` its canonical text, `a.b as hours` its
/// seconds.
type Paths = &'static [(&'static str, &'static str)];

const TRACKER_ISSUES: Paths = &[
    ("id", "id"),
    ("key", "key"),
    ("version", "version"),
    ("self", "self"),
    ("summary", "summary"),
    ("queue_id", "queue.id"),
    ("queue_key", "queue.key"),
    ("queue_display", "queue.display"),
    ("status_key", "status.key"),
    ("status_display", "status.display"),
    ("type_key", "type.key"),
    ("type_display", "type.display"),
    ("priority_key", "priority.key"),
    ("priority_display", "priority.display"),
    ("created_at", "createdAt"),
    ("updated_at", "updatedAt"),
    ("created_by_id", "createdBy.id"),
    ("created_by_display", "createdBy.display"),
    ("updated_by_id", "updatedBy.id"),
    ("updated_by_display", "updatedBy.display"),
    ("assignee_id", "assignee.id"),
    ("assignee_display", "assignee.display"),
    ("spent", "spent"),
    ("estimation", "estimation"),
    ("original_estimation", "originalEstimation"),
];

const TRACKER_WORKLOGS: Paths = &[
    ("id", "id"),
    ("version", "version"),
    ("self", "self"),
    ("issue_id", "issue.id"),
    ("issue_key", "issue.key"),
    ("issue_display", "issue.display"),
    ("issue_self", "issue.self"),
    ("comment", "comment"),
    ("created_by_id", "createdBy.id"),
    ("created_by_display", "createdBy.display"),
    ("created_by_self", "createdBy.self"),
    ("created_by_cloud_uid", "createdBy.cloudUid"),
    ("created_by_passport_uid", "createdBy.passportUid"),
    ("updated_by_id", "updatedBy.id"),
    ("updated_by_display", "updatedBy.display"),
    ("updated_by_self", "updatedBy.self"),
    ("updated_by_cloud_uid", "updatedBy.cloudUid"),
    ("updated_by_passport_uid", "updatedBy.passportUid"),
    ("created_at", "createdAt"),
    ("updated_at", "updatedAt"),
    ("start", "start"),
    ("duration", "duration"),
];

const TRACKER_CHANGELOG: Paths = &[
    ("id", "id"),
    ("self", "self"),
    ("issue_id", "issue.id"),
    ("issue_key", "issue.key"),
    ("issue_display", "issue.display"),
    ("updated_at", "updatedAt"),
    ("updated_by_id", "updatedBy.id"),
    ("updated_by_display", "updatedBy.display"),
    ("type", "type"),
    ("transport", "transport"),
    ("field_id", "fields.field.id"),
    ("field_display", "fields.field.display"),
    ("from_value", "fields.from as json"),
    ("to_value", "fields.to as json"),
];

const JIRA_AUDIT_LOG: Paths = &[
    ("log_id", "log.id"),
    ("log_author", "log.author"),
    ("log_author_user_key", "log.authorUser.userKey"),
    ("log_author_user_name", "log.authorUser.userName"),
    ("log_author_display_name", "log.authorUser.displayName"),
    ("log_author_email", "log.authorUser.emailAddress"),
    ("log_author_avatar", "log.authorUser.avatar"),
    ("log_author_is_active", "log.authorUser.isActive"),
    ("log_author_is_del", "log.authorUser.isDel"),
    ("issue_id", "log.issueId"),
    ("issue_key", "log.issueKey"),
    ("project_id", "log.projectId"),
    ("project_key", "log.projectKey"),
    ("log_create_time", "log.createTime"),
    ("log_update_time", "log.updateTime"),
    ("log_start_date", "log.startDate"),
    ("time_worked_seconds", "log.timeWorked"),
    ("time_worked_text", "log.timeWorkedStr"),
    ("memo", "log.memo"),
    ("delete_others_work_log", "log.deleteOthersWorkLog"),
    ("edit_others_work_log", "log.editOthersWorkLog"),
    ("audit_id", "audit.id"),
    ("auditor", "audit.auditor"),
    ("auditor_user_key", "audit.auditorUser.userKey"),
    ("auditor_user_name", "audit.auditorUser.userName"),
    ("auditor_display_name", "audit.auditorUser.displayName"),
    ("auditor_email", "audit.auditorUser.emailAddress"),
    ("auditor_avatar", "audit.auditorUser.avatar"),
    ("auditor_is_active", "audit.auditorUser.isActive"),
    ("auditor_is_del", "audit.auditorUser.isDel"),
    ("audit_status", "audit.status"),
    ("audit_time", "audit.auditTime"),
    ("audit_comment", "audit.auditComment"),
    ("revoke_undo_reason", "revoke.undoReason"),
    ("revoke_reject_reason", "revoke.rejectReason"),
    ("revoke_status", "revoke.status"),
];

const JIRA_WORKLOGS: Paths = &[
    ("log_id", "id"),
    ("issue_id", "issueId"),
    ("issue_key", "issueKey"),
    ("author_user_key", "author.userKey"),
    ("author_user_name", "author.userName"),
    ("author_display_name", "author.displayName"),
    ("author_email", "author.emailAddress"),
    ("time_worked_seconds", "timeWorked"),
    ("time_worked_text", "timeWorkedStr"),
    ("over_time_text", "overTimeStr"),
    ("memo", "memo"),
];

const CODEARTS_ISSUES: Paths = &[
    ("id", "id"),
    ("name", "name"),
    ("tracker_id", "tracker.id"),
    ("tracker_name", "tracker.name"),
    ("status_id", "status.id"),
    ("status_name", "status.name"),
    ("priority_name", "priority.name"),
    ("severity_name", "severity.name"),
    ("creator_id", "creator.id"),
    ("creator_name", "creator.name"),
    ("creator_nick_name", "creator.nick_name"),
    ("assigned_user_id", "assigned_user.id"),
    ("assigned_user_name", "assigned_user.name"),
    ("assigned_user_nick_name", "assigned_user.nick_name"),
    ("parent_issue_id", "parent_issue.id"),
    ("iteration_name", "iteration.name"),
    ("created_time", "created_time"),
    ("updated_time", "updated_time"),
    ("closed_time", "closed_time"),
    ("begin_date", "begin_time"),
    ("end_date", "end_time"),
    ("expected_work_hours", "expected_work_hours"),
    ("actual_work_hours", "actual_work_hours"),
    ("actual_work_seconds", "actual_work_hours as hours"),
    ("done_ratio", "done_ratio"),
    ("deleted", "deleted"),
];

const CODEARTS_HISTORY: Paths = &[
    ("record_id", "id"),
    ("created_on", "created_on"),
    ("notes", "notes"),
    ("user_id", "user.id"),
    ("user_name", "user.name"),
    ("user_first_name", "user.first_name"),
    ("user_nick_name", "user.nick_name"),
    ("user_identifier", "user.identifier"),
    ("user_image_id", "user.image_id"),
    ("detail_id", "details.id"),
    ("journal_id", "details.journal_id"),
    ("property", "details.property"),
    ("field_name", "details.name"),
    ("old_value", "details.old_value"),
    ("new_value", "details.new_value"),
    ("operation", "details.operation"),
];

const CODEARTS_WORK_HOURS: Paths = &[
    ("project_name", "project_name"),
    ("user_id", "user_id"),
    ("user_name", "user_name"),
    ("nick_name", "nick_name"),
    ("work_date", "work_date"),
    ("work_hours", "work_hours_num"),
    ("work_seconds", "work_hours_num as hours"),
    ("summary", "summary"),
    ("work_hours_type_name", "work_hours_type_name"),
    ("issue_id", "issue_id"),
    ("issue_type", "issue_type"),
    ("subject", "subject"),
    ("created_time", "created_time"),
    ("closed_time", "closed_time"),
    ("work_hours_created_time", "work_hours_created_time"),
    ("work_hours_updated_time", "work_hours_updated_time"),
];

/// One record as served, with what its slice or parent knows.
struct Served {
    context: Vec<(&'static str, Cell)>,
    record: Value,
}

/// A simulator on its second day, so that hidden, moved and re-dated records are there.
struct Site {
    simulator: Simulator,
    client: Client,
}

impl Site {
    async fn start() -> Site {
        let simulator = Simulator::start(SimOptions::default()).await.unwrap();
        simulator.next_day();
        Site { simulator, client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn tracker(&self, path: &str) -> Value {
        let url = format!("{}/v3/{path}", self.simulator.tracker_url());
        let request = if path.contains("_search") {
            self.client.post(url).body("{}")
        } else {
            self.client.get(url)
        };
        let options = self.simulator.options();
        let token = format!("OAuth {}", options.tracker_token);
        read(request.header("Authorization", token).header("X-Org-Id", &options.tracker_org_id))
            .await
    }

    async fn jira(&self, request: impl Fn(&Client, String) -> RequestBuilder, path: &str) -> Value {
        let url = format!("{}/rest/shdsd-Timesheet/3/{path}", self.simulator.jira_url());
        read(request(&self.client, url).bearer_auth(&self.simulator.options().jira_token)).await
    }

    async fn codearts(
        &self,
        request: impl Fn(&Client, String) -> RequestBuilder,
        path: &str,
    ) -> Value {
        let url = format!("{}/{path}", self.simulator.codearts_url());
        let token = &self.simulator.options().codearts_token;
        read(request(&self.client, url).header("X-Auth-Token", token)).await
    }

    fn window(&self) -> Window {
        let since = self.simulator.options().today - TimeDelta::days(100);
        Window::of(&self.simulator.world(), since)
    }

    fn project(&self) -> String {
        self.simulator.world().codearts.projects[0].project_id.clone()
    }
}

async fn read(request: RequestBuilder) -> Value {
    let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

fn records(page: &Value) -> Vec<Value> {
    page.as_array().unwrap().clone()
}

/// The part of an expected table that the paths name, against the same part of what was served.
#[track_caller]
fn check(expected: &Table, served: &[Served], zone: Tz, paths: Paths) {
    let column = |name: &str| -> Column {
        let found = expected.columns.iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("no column `{name}`")).clone()
    };
    let context = served.first().map(|it| it.context.clone()).unwrap_or_default();
    let names = context.iter().map(|(name, _)| *name).chain(paths.iter().map(|(name, _)| *name));
    let columns: Vec<Column> = names.chain(["_extra"]).map(column).collect();
    let read: Vec<Vec<&str>> = paths.iter().map(|(_, path)| segments(path)).collect();

    let rows = served.iter().map(|it| {
        let context = it.context.iter().map(|(_, cell)| cell.clone());
        let columns = columns.iter().skip(it.context.len());
        let own =
            columns.zip(paths).map(|(column, (_, path))| value(&it.record, path, column, zone));
        let unread = unread(&it.record, &read).map(|it| canonical(&it));
        let cells = context.chain(own).chain([unread.into()]).collect();
        Row { partition: String::new(), cells }
    });
    let actual = Table { columns: columns.clone(), rows: rows.collect() };
    let rows = expected.rows.iter().map(|row| {
        let cells = columns.iter().map(|it| expected.cell(row, &it.name).clone()).collect();
        Row { partition: String::new(), cells }
    });
    let expected = Table { rows: rows.collect(), columns };

    assert!(!actual.rows.is_empty());
    assert_same(&actual, &expected);
}

fn segments(path: &str) -> Vec<&str> {
    path.split(" as ").next().unwrap_or(path).split('.').collect()
}

/// What is left of a record when the paths are taken out; a null above a path is taken with it.
fn unread(value: &Value, paths: &[Vec<&str>]) -> Option<Value> {
    if paths.is_empty() {
        return Some(value.clone());
    }
    if paths.iter().any(Vec::is_empty) || value.is_null() {
        return None;
    }
    let left: Map<String, Value> = value
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(key, it)| {
            let below = paths.iter().filter(|path| path[0] == key).map(|path| path[1..].to_vec());
            Some((key.clone(), unread(it, &below.collect::<Vec<_>>())?))
        })
        .collect();
    (!left.is_empty()).then_some(Value::Object(left))
}

fn value(record: &Value, path: &str, column: &Column, zone: Tz) -> Cell {
    let found = segments(path).iter().try_fold(record, |it, key| it.get(key));
    let Some(found) = found.filter(|it| !it.is_null()) else { return Cell::Null };
    if path.ends_with(" as json") {
        return canonical(found).into();
    }
    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    if path.ends_with(" as hours") {
        let seconds = text.parse::<f64>().unwrap() * 3600.0;
        return format!("{seconds:.0}").parse::<i64>().unwrap().into();
    }
    if text.is_empty() && column.kind != Kind::Text {
        return Cell::Null;
    }
    match column.kind {
        Kind::Text => text.into(),
        Kind::Int => text.parse::<i64>().unwrap().into(),
        Kind::Float => text.parse::<f64>().unwrap().into(),
        Kind::Bool => found.as_bool().into(),
        Kind::Date => NaiveDate::parse_from_str(&text, "%Y-%m-%d").unwrap().into(),
        Kind::Instant => {
            if let Ok(ms) = text.parse() {
                return DateTime::from_timestamp_millis(ms).into();
            }
            if let Ok(at) = DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%#z") {
                return at.to_utc().into();
            }
            let local = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").unwrap();
            local.and_local_timezone(zone).unwrap().to_utc().into()
        }
    }
}

/// The rows of a record whose array is exploded: each has one element in the array's place.
fn exploded(mut record: Value, array: &str) -> Vec<Value> {
    let fields = record.as_object_mut().unwrap();
    let items = fields.remove(array).map(|it| records(&it)).unwrap_or_default();
    if items.is_empty() {
        return vec![record];
    }
    let with = |item: Value| {
        let mut row = record.clone();
        row[array] = item;
        row
    };
    items.into_iter().map(with).collect()
}

fn bare(record: Value) -> Served {
    Served { context: Vec::new(), record }
}

#[tokio::test]
async fn tracker_serves_what_is_expected() {
    let site = Site::start().await;
    let (world, url) = (site.simulator.world(), site.simulator.tracker_url());
    let (mut issues, mut worklogs, mut changelog) = (Vec::new(), Vec::new(), Vec::new());

    for issue in records(&site.tracker("issues/_search?perPage=1000").await) {
        let key = issue["key"].as_str().unwrap().to_owned();
        let forbidden =
            world.tracker.issues.iter().any(|it| it.key == key && it.worklogs_forbidden);
        if !forbidden {
            let page = site.tracker(&format!("issues/{key}/worklog")).await;
            worklogs.extend(records(&page).into_iter().map(bare));
        }
        let page = site.tracker(&format!("issues/{key}/changelog?perPage=1000")).await;
        let rows = records(&page).into_iter().flat_map(|it| exploded(it, "fields"));
        changelog.extend(rows.map(bare));
        issues.push(bare(issue));
    }

    check(&tracker::issues(&world, &url, Tz::UTC), &issues, Tz::UTC, TRACKER_ISSUES);
    check(&tracker::worklogs(&world, &url, Tz::UTC), &worklogs, Tz::UTC, TRACKER_WORKLOGS);
    check(&tracker::changelog(&world, &url, Tz::UTC), &changelog, Tz::UTC, TRACKER_CHANGELOG);
}

#[tokio::test]
async fn jira_serves_what_is_expected() {
    let site = Site::start().await;
    let (world, window) = (site.simulator.world(), site.window());
    let zone = world.jira.zone.parse().unwrap();
    let (since, until) = (window.since, window.until);
    let (mut audit_log, mut worklogs) = (Vec::new(), Vec::new());

    for mode in ["audit", "view", "revoke-audit", "revoke-view"] {
        let dates = if mode.starts_with("revoke") {
            String::new()
        } else {
            format!("&startDate={since}&endDate={until}")
        };
        for start in (0..).step_by(100) {
            let path = format!("auditLog?mode={mode}{dates}&startAt={start}&maxResults=100");
            let page = site.jira(Client::get, &path).await;
            let context = || vec![("mode", mode.into())];
            let served = |record| Served { context: context(), record };
            audit_log.extend(records(&page["values"]).into_iter().map(served));
            if page["isLast"] == true {
                break;
            }
        }
    }
    for date in since.iter_days().take_while(|it| *it <= until) {
        let body = json!({"startDate": date, "maxResults": 100}).to_string();
        let page =
            site.jira(|client, url| client.post(url).body(body.clone()), "worklog/search").await;
        assert_eq!(page["isLast"], true);
        let served = |record| Served { context: vec![("work_date", date.into())], record };
        worklogs.extend(records(&page["values"]).into_iter().map(served));
    }

    check(&timesheet::audit_log(&world, window), &audit_log, zone, JIRA_AUDIT_LOG);
    check(&timesheet::worklogs(&world, window), &worklogs, zone, JIRA_WORKLOGS);
}

#[tokio::test]
async fn codearts_serves_what_is_expected() {
    let site = Site::start().await;
    let (world, window, project) = (site.simulator.world(), site.window(), site.project());
    let zone = chrono_tz::Asia::Shanghai;
    let (mut issues, mut history, mut work_hours) = (Vec::new(), Vec::new(), Vec::new());
    let of_project = || vec![("project_id", Cell::from(&project))];

    for offset in (0..).step_by(100) {
        let body = json!({"include_deleted": true, "offset": offset, "limit": 100}).to_string();
        let path = format!("v4/projects/{project}/issues");
        let page = site.codearts(|client, url| client.post(url).body(body.clone()), &path).await;
        let found = records(&page["issues"]);
        let n_found = found.len();
        for record in found {
            let id = record["id"].as_i64().unwrap();
            let query = format!("project_id={project}&issue_id={id}&type=scrum&limit=1000");
            let page = site.codearts(Client::get, &format!("v2/issues/get-record?{query}")).await;
            let rows = records(&page["result"]["record"]).into_iter();
            let context = [of_project(), vec![("issue_id", id.into())]].concat();
            let served = |record| Served { context: context.clone(), record };
            history.extend(rows.flat_map(|it| exploded(it, "details")).map(served));
            issues.push(Served { context: of_project(), record });
        }
        if n_found < 100 {
            break;
        }
    }
    for offset in (0..).step_by(500) {
        let dates = json!({"begin_time": window.since, "end_time": window.until, "offset": offset, "limit": 500});
        let body = dates.to_string();
        let path = format!("v4/projects/{project}/work-hours");
        let page = site.codearts(|client, url| client.post(url).body(body.clone()), &path).await;
        let found = records(&page["work_hours"]);
        let n_found = found.len();
        let served = |record| Served { context: of_project(), record };
        work_hours.extend(found.into_iter().map(served));
        if n_found < 500 {
            break;
        }
    }

    check(&codearts::issues(&world, zone), &issues, zone, CODEARTS_ISSUES);
    check(&codearts::history(&world, zone), &history, zone, CODEARTS_HISTORY);
    check(&codearts::work_hours(&world, window), &work_hours, zone, CODEARTS_WORK_HOURS);
}
