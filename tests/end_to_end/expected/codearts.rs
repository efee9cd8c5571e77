//! The three streams of `codearts_req.yaml`.

use chrono_tz::Tz;
use serde_json::{Value, json};
use tracklake::sim::World;
use tracklake::sim::world::codearts::{CodeArtsIssue, CodeArtsProject, CodeArtsUser};

use super::{Window, extra, millis, partition, partition_of, seconds};
use crate::support::table::Kind::{Bool, Date, Float, Instant, Int, Text};
use crate::support::table::{Kind, Table, row};

const ISSUES: &[(&str, Kind)] = &[
    ("project_id", Text),
    ("id", Int),
    ("name", Text),
    ("tracker_id", Int),
    ("tracker_name", Text),
    ("status_id", Int),
    ("status_name", Text),
    ("priority_name", Text),
    ("severity_name", Text),
    ("creator_id", Int),
    ("creator_name", Text),
    ("creator_nick_name", Text),
    ("assigned_user_id", Int),
    ("assigned_user_name", Text),
    ("assigned_user_nick_name", Text),
    ("parent_issue_id", Int),
    ("iteration_name", Text),
    ("created_time", Instant),
    ("updated_time", Instant),
    ("closed_time", Instant),
    ("begin_date", Date),
    ("end_date", Date),
    ("expected_work_hours", Float),
    ("actual_work_hours", Float),
    ("actual_work_seconds", Int),
    ("done_ratio", Int),
    ("deleted", Bool),
    ("_extra", Text),
];

const HISTORY: &[(&str, Kind)] = &[
    ("project_id", Text),
    ("issue_id", Int),
    ("record_id", Int),
    ("created_on", Instant),
    ("notes", Text),
    ("user_id", Int),
    ("user_name", Text),
    ("user_first_name", Text),
    ("user_nick_name", Text),
    ("user_identifier", Text),
    ("user_image_id", Text),
    ("detail_id", Int),
    ("journal_id", Int),
    ("property", Text),
    ("field_name", Text),
    ("old_value", Text),
    ("new_value", Text),
    ("operation", Text),
    ("_extra", Text),
];

const WORK_HOURS: &[(&str, Kind)] = &[
    ("project_id", Text),
    ("project_name", Text),
    ("user_id", Text),
    ("user_name", Text),
    ("nick_name", Text),
    ("work_date", Date),
    ("work_hours", Float),
    ("work_seconds", Int),
    ("summary", Text),
    ("work_hours_type_name", Text),
    ("issue_id", Int),
    ("issue_type", Text),
    ("subject", Text),
    ("created_time", Date),
    ("closed_time", Date),
    ("work_hours_created_time", Instant),
    ("work_hours_updated_time", Instant),
    ("_extra", Text),
];

/// Every issue of the first project, logically deleted ones included.
pub(crate) fn issues(world: &World, zone: Tz) -> Table {
    let mut table = Table::new(ISSUES);
    let Some(project) = world.codearts.projects.first() else { return table };
    for it in &world.codearts.issues {
        let assigned = it.assigned_user.as_ref();
        let row = row! {
            "project_id": &project.project_id,
            "id": it.id,
            "name": &it.name,
            "tracker_id": it.tracker.0,
            "tracker_name": &it.tracker.1,
            "status_id": it.status.0,
            "status_name": &it.status.1,
            "priority_name": &it.priority_name,
            "severity_name": it.severity_name.as_deref(),
            "creator_id": it.creator.id,
            "creator_name": &it.creator.name,
            "creator_nick_name": &it.creator.nick_name,
            "assigned_user_id": assigned.map(|it| it.id),
            "assigned_user_name": assigned.map(|it| &it.name),
            "assigned_user_nick_name": assigned.map(|it| &it.nick_name),
            "parent_issue_id": it.parent_issue_id,
            "iteration_name": it.iteration_name.as_deref(),
            "created_time": seconds(it.created_time),
            "updated_time": seconds(it.updated_time),
            "closed_time": it.closed_time.map(seconds),
            "begin_date": it.begin_date,
            "end_date": it.end_date,
            "expected_work_hours": it.expected_work_hours,
            "actual_work_hours": it.actual_work_hours,
            "actual_work_seconds": it.actual_work_seconds,
            "done_ratio": it.done_ratio,
            "deleted": it.deleted,
            "_extra": extra(&unread_of_issue(it, project)),
        };
        table.push(partition_of(it.created_time, zone), row);
    }
    table
}

/// One row for each changed field of each batch of each issue.
pub(crate) fn history(world: &World, zone: Tz) -> Table {
    let mut table = Table::new(HISTORY);
    let Some(project) = world.codearts.projects.first() else { return table };
    for issue in &world.codearts.issues {
        let rows = issue.history.iter().flat_map(|it| it.details.iter().map(move |row| (it, row)));
        for (batch, detail) in rows {
            let row = row! {
                "project_id": &project.project_id,
                "issue_id": issue.id,
                "record_id": batch.id,
                "created_on": millis(batch.created_on),
                "notes": batch.notes.as_deref(),
                "user_id": batch.user.id,
                "user_name": format!("acct/{}", batch.user.name),
                "user_first_name": &batch.user.name,
                "user_nick_name": &batch.user.nick_name,
                "user_identifier": &batch.user.identifier,
                "user_image_id": batch.user.image_id.as_deref(),
                "detail_id": detail.id,
                "journal_id": batch.id,
                "property": &detail.property,
                "field_name": &detail.name,
                "old_value": detail.old_value.as_deref(),
                "new_value": detail.new_value.as_deref(),
                "operation": &detail.operation,
                // Every field of the record, its user and its details has a column.
                "_extra": extra(&json!({})),
            };
            table.push(partition_of(batch.created_on, zone), row);
        }
    }
    table
}

/// Every row of work hours whose work date lies in the window, equal ones as often as they are.
pub(crate) fn work_hours(world: &World, window: Window) -> Table {
    let mut table = Table::new(WORK_HOURS);
    let Some(project) = world.codearts.projects.first() else { return table };
    for it in world.codearts.work_hours.iter().filter(|it| window.contains(it.work_date)) {
        let row = row! {
            "project_id": &project.project_id,
            "project_name": &it.project_name,
            "user_id": &it.user.identifier,
            "user_name": &it.user.name,
            "nick_name": &it.user.nick_name,
            "work_date": it.work_date,
            "work_hours": it.work_hours,
            "work_seconds": it.work_seconds,
            "summary": it.summary.as_deref(),
            "work_hours_type_name": &it.work_hours_type_name,
            "issue_id": it.issue_id,
            "issue_type": &it.issue_type,
            "subject": &it.subject,
            "created_time": it.created_date,
            "closed_time": it.closed_date,
            "work_hours_created_time": seconds(it.created_time),
            "work_hours_updated_time": seconds(it.updated_time),
            // Every field has a column; the project's id is the one asked for.
            "_extra": extra(&json!({})),
        };
        table.push(partition(it.work_date), row);
    }
    table
}

fn unread_of_issue(it: &CodeArtsIssue, project: &CodeArtsProject) -> Value {
    let mut unread = json!({
        // `project_id` is the configured one, so no column reads the record's own.
        "project": {
            "project_id": project.project_id,
            "project_name": project.project_name,
            "project_num_id": project.project_num_id,
        },
        "priority": {"id": 2},
        "creator": unread_of_user(&it.creator),
        "order": {"id": 1, "name": "1"},
        "custom_fields": [],
        "new_custom_fields": [
            {"custom_field": "custom_field1", "field_name": "環境", "value": it.name},
        ],
    });
    if it.iteration_name.is_some() {
        unread["iteration"] = json!({"id": 7});
    }
    if it.severity_name.is_some() {
        unread["severity"] = json!({"id": 11});
    }
    if let Some(user) = &it.assigned_user {
        unread["assigned_user"] = unread_of_user(user);
    }
    if let Some(id) = it.parent_issue_id {
        unread["parent_issue"] = json!({"name": format!("parent {id}")});
    }
    unread
}

/// What is left of a person of whom `id`, `name` and `nick_name` have columns.
fn unread_of_user(it: &CodeArtsUser) -> Value {
    json!({"user_id": it.identifier, "user_num_id": it.id})
}
