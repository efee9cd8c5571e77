//! The three streams of `yandex_tracker.yaml`.

use chrono_tz::Tz;
use serde_json::{Value, json};
use tracklake::sim::World;
use tracklake::sim::world::tracker::{
    TrackerChange, TrackerFieldChange, TrackerIssue, TrackerUser,
};

use super::{extra, json_cell, millis, partition_of};
use crate::support::table::Kind::{Instant, Int, Text};
use crate::support::table::{Kind, Table, row};

const ISSUES: &[(&str, Kind)] = &[
    ("id", Text),
    ("key", Text),
    ("version", Int),
    ("self", Text),
    ("summary", Text),
    ("queue_id", Text),
    ("queue_key", Text),
    ("queue_display", Text),
    ("status_key", Text),
    ("status_display", Text),
    ("type_key", Text),
    ("type_display", Text),
    ("priority_key", Text),
    ("priority_display", Text),
    ("created_at", Instant),
    ("updated_at", Instant),
    ("created_by_id", Text),
    ("created_by_display", Text),
    ("updated_by_id", Text),
    ("updated_by_display", Text),
    ("assignee_id", Text),
    ("assignee_display", Text),
    ("spent", Text),
    ("spent_seconds", Int),
    ("estimation", Text),
    ("estimation_seconds", Int),
    ("original_estimation", Text),
    ("original_estimation_seconds", Int),
    ("_extra", Text),
];

const WORKLOGS: &[(&str, Kind)] = &[
    ("id", Text),
    ("version", Int),
    ("self", Text),
    ("issue_id", Text),
    ("issue_key", Text),
    ("issue_display", Text),
    ("issue_self", Text),
    ("comment", Text),
    ("created_by_id", Text),
    ("created_by_display", Text),
    ("created_by_self", Text),
    ("created_by_cloud_uid", Text),
    ("created_by_passport_uid", Text),
    ("updated_by_id", Text),
    ("updated_by_display", Text),
    ("updated_by_self", Text),
    ("updated_by_cloud_uid", Text),
    ("updated_by_passport_uid", Text),
    ("created_at", Instant),
    ("updated_at", Instant),
    ("start", Instant),
    ("duration", Text),
    ("duration_seconds", Int),
    ("_extra", Text),
];

const CHANGELOG: &[(&str, Kind)] = &[
    ("id", Text),
    ("self", Text),
    ("issue_id", Text),
    ("issue_key", Text),
    ("issue_display", Text),
    ("updated_at", Instant),
    ("updated_by_id", Text),
    ("updated_by_display", Text),
    ("type", Text),
    ("transport", Text),
    ("field_id", Text),
    ("field_display", Text),
    ("from_value", Text),
    ("to_value", Text),
    ("_extra", Text),
];

/// Every issue that search lists; `base_url` is that of the simulated Tracker, without a version.
pub(crate) fn issues(world: &World, base_url: &str, zone: Tz) -> Table {
    let base = format!("{base_url}/v3");
    let mut table = Table::new(ISSUES);
    for it in listed(world) {
        let (assignee, spent) = (it.assignee.as_ref(), it.spent.as_ref());
        let (estimation, original) = (it.estimation.as_ref(), it.original_estimation.as_ref());
        let row = row! {
            "id": &it.id,
            "key": &it.key,
            "version": it.version,
            "self": issue_url(&base, it),
            "summary": &it.summary,
            "queue_id": &it.queue.id,
            "queue_key": &it.queue.key,
            "queue_display": &it.queue.display,
            "status_key": &it.status.key,
            "status_display": &it.status.display,
            "type_key": &it.kind.key,
            "type_display": &it.kind.display,
            "priority_key": &it.priority.key,
            "priority_display": &it.priority.display,
            "created_at": millis(it.created_at),
            "updated_at": millis(it.updated_at),
            "created_by_id": &it.created_by.id,
            "created_by_display": &it.created_by.display,
            "updated_by_id": &it.updated_by.id,
            "updated_by_display": &it.updated_by.display,
            "assignee_id": assignee.map(|it| &it.id),
            "assignee_display": assignee.map(|it| &it.display),
            "spent": spent.map(|it| &it.text),
            "spent_seconds": spent.map(|it| it.seconds),
            "estimation": estimation.map(|it| &it.text),
            "estimation_seconds": estimation.map(|it| it.seconds),
            "original_estimation": original.map(|it| &it.text),
            "original_estimation_seconds": original.map(|it| it.seconds),
            "_extra": extra(&unread_of_issue(&base, it)),
        };
        table.push(partition_of(it.created_at, zone), row);
    }
    table
}

/// Every worklog of the issues whose worklogs may be read.
pub(crate) fn worklogs(world: &World, base_url: &str, zone: Tz) -> Table {
    let base = format!("{base_url}/v3");
    let mut table = Table::new(WORKLOGS);
    for issue in listed(world).filter(|it| !it.worklogs_forbidden) {
        let url = issue_url(&base, issue);
        for it in &issue.worklogs {
            let passport = |it: &TrackerUser| it.passport_uid.map(|uid| uid.to_string());
            let row = row! {
                "id": it.id.to_string(),
                "version": it.version,
                "self": format!("{url}/worklog/{}", it.id),
                "issue_id": &issue.id,
                "issue_key": &issue.key,
                "issue_display": &issue.summary,
                "issue_self": &url,
                "comment": it.comment.as_deref(),
                "created_by_id": &it.created_by.id,
                "created_by_display": &it.created_by.display,
                "created_by_self": user_url(&base, &it.created_by),
                "created_by_cloud_uid": it.created_by.cloud_uid.as_deref(),
                "created_by_passport_uid": passport(&it.created_by),
                "updated_by_id": &it.updated_by.id,
                "updated_by_display": &it.updated_by.display,
                "updated_by_self": user_url(&base, &it.updated_by),
                "updated_by_cloud_uid": it.updated_by.cloud_uid.as_deref(),
                "updated_by_passport_uid": passport(&it.updated_by),
                "created_at": millis(it.created_at),
                "updated_at": millis(it.updated_at),
                "start": millis(it.start),
                "duration": &it.duration_text,
                "duration_seconds": it.duration_seconds,
                // Every field of the record, its issue and its people has a column.
                "_extra": extra(&json!({})),
            };
            table.push(partition_of(it.start, zone), row);
        }
    }
    table
}

/// One row for each changed field; an entry without any has one row as well.
pub(crate) fn changelog(world: &World, base_url: &str, zone: Tz) -> Table {
    let base = format!("{base_url}/v3");
    let mut table = Table::new(CHANGELOG);
    for issue in listed(world) {
        let url = issue_url(&base, issue);
        for it in &issue.changelog {
            let fields = it.fields.as_deref().unwrap_or_default();
            let one_at_least = fields.iter().map(Some).chain(fields.is_empty().then_some(None));
            for field in one_at_least {
                let row = row! {
                    "id": &it.id,
                    "self": format!("{url}/changelog/{}", it.id),
                    "issue_id": &issue.id,
                    "issue_key": &issue.key,
                    "issue_display": &issue.summary,
                    "updated_at": millis(it.updated_at),
                    "updated_by_id": &it.updated_by.id,
                    "updated_by_display": &it.updated_by.display,
                    "type": &it.kind,
                    "transport": &it.transport,
                    "field_id": field.map(|it| &it.field_id),
                    "field_display": field.map(|it| &it.field_display),
                    "from_value": field.map(|it| json_cell(&it.from)),
                    "to_value": field.map(|it| json_cell(&it.to)),
                    "_extra": extra(&unread_of_change(&base, &url, it, field)),
                };
                table.push(partition_of(it.updated_at, zone), row);
            }
        }
    }
    table
}

fn unread_of_issue(base: &str, it: &TrackerIssue) -> Value {
    let reference = |path: &str, name: &str| json!({"self": format!("{base}/{path}/{name}")});
    let mut unread = json!({
        "queue": reference("queues", &it.queue.key),
        "status": {"self": format!("{base}/statuses/{}", it.status.id), "id": it.status.id},
        "type": {"self": format!("{base}/issuetypes/{}", it.kind.id), "id": it.kind.id},
        "priority": {"self": format!("{base}/priorities/{}", it.priority.id), "id": it.priority.id},
        "createdBy": unread_of_user(base, &it.created_by),
        "updatedBy": unread_of_user(base, &it.updated_by),
        "votes": 0,
        "favorite": false,
    });
    if let Some(user) = &it.assignee {
        unread["assignee"] = unread_of_user(base, user);
    }
    if !it.aliases.is_empty() {
        unread["aliases"] = json!(it.aliases);
    }
    if !it.followers.is_empty() {
        let whole = |it: &TrackerUser| {
            let mut user = unread_of_user(base, it);
            user["id"] = json!(it.id);
            user["display"] = json!(it.display);
            user
        };
        unread["followers"] = it.followers.iter().map(whole).collect();
    }
    if let Some(value) = &it.local_value {
        unread[&it.local_field] = json!(value);
    }
    unread
}

fn unread_of_change(
    base: &str,
    issue_url: &str,
    it: &TrackerChange,
    field: Option<&TrackerFieldChange>,
) -> Value {
    let mut unread = json!({
        "issue": {"self": issue_url},
        "updatedBy": unread_of_user(base, &it.updated_by),
    });
    if let Some(field) = field {
        let url = format!("{base}/fields/{}", field.field_id);
        unread["fields"] = json!({"field": {"self": url}});
    }
    if let Some(worklog) = &it.worklog {
        unread["worklog"] = worklog.clone();
    }
    unread
}

/// What is left of a person of whom `id` and `display` have columns.
fn unread_of_user(base: &str, it: &TrackerUser) -> Value {
    let mut unread = json!({"self": user_url(base, it)});
    if let Some(uid) = &it.cloud_uid {
        unread["cloudUid"] = json!(uid);
    }
    if let Some(uid) = it.passport_uid {
        unread["passportUid"] = json!(uid);
    }
    unread
}

/// The issues that search returns: one to which access was lost is not among them.
fn listed(world: &World) -> impl Iterator<Item = &TrackerIssue> {
    world.tracker.issues.iter().filter(|it| !it.lost_access)
}

fn issue_url(base: &str, it: &TrackerIssue) -> String {
    format!("{base}/issues/{}", it.key)
}

fn user_url(base: &str, it: &TrackerUser) -> String {
    format!("{base}/users/{}", it.uid)
}
