//! The two streams of `jira_timesheet.yaml`.

use serde_json::json;
use tracklake::sim::World;
use tracklake::sim::world::timesheet::{JiraMode, JiraUser};

use super::{Window, extra, millis, partition, seconds};
use crate::support::table::Kind::{Bool, Date, Instant, Int, Text};
use crate::support::table::{Kind, Table, row};

const MODES: [JiraMode; 4] =
    [JiraMode::Audit, JiraMode::View, JiraMode::RevokeAudit, JiraMode::RevokeView];

const AUDIT_LOG: &[(&str, Kind)] = &[
    ("mode", Text),
    ("log_id", Int),
    ("log_author", Text),
    ("log_author_user_key", Text),
    ("log_author_user_name", Text),
    ("log_author_display_name", Text),
    ("log_author_email", Text),
    ("log_author_avatar", Text),
    ("log_author_is_active", Bool),
    ("log_author_is_del", Bool),
    ("issue_id", Int),
    ("issue_key", Text),
    ("project_id", Int),
    ("project_key", Text),
    ("log_create_time", Instant),
    ("log_update_time", Instant),
    ("log_start_date", Date),
    ("time_worked_seconds", Int),
    ("time_worked_text", Text),
    ("memo", Text),
    ("delete_others_work_log", Bool),
    ("edit_others_work_log", Bool),
    ("audit_id", Int),
    ("auditor", Text),
    ("auditor_user_key", Text),
    ("auditor_user_name", Text),
    ("auditor_display_name", Text),
    ("auditor_email", Text),
    ("auditor_avatar", Text),
    ("auditor_is_active", Bool),
    ("auditor_is_del", Bool),
    ("audit_status", Int),
    ("audit_status_name", Text),
    ("audit_time", Instant),
    ("audit_comment", Text),
    ("revoke_undo_reason", Text),
    ("revoke_reject_reason", Text),
    ("revoke_status", Int),
    ("revoke_status_name", Text),
    ("_extra", Text),
];

const WORKLOGS: &[(&str, Kind)] = &[
    ("work_date", Date),
    ("log_id", Int),
    ("issue_id", Int),
    ("issue_key", Text),
    ("author_user_key", Text),
    ("author_user_name", Text),
    ("author_display_name", Text),
    ("author_email", Text),
    ("time_worked_seconds", Int),
    ("time_worked_text", Text),
    ("over_time_text", Text),
    ("memo", Text),
    ("_extra", Text),
];

/// One row for each list that a worklog is in; the lists of withdrawals know no dates.
pub(crate) fn audit_log(world: &World, window: Window) -> Table {
    let mut table = Table::new(AUDIT_LOG);
    let listed = MODES.into_iter().flat_map(|mode| {
        let all = world.jira.worklogs.iter().filter(move |it| it.modes.contains(&mode));
        all.map(move |it| (mode, it))
    });
    for (mode, it) in listed.filter(|(mode, it)| mode.is_revoke() || window.contains(it.start_date))
    {
        let (author, audit) = (&it.author, it.audit.as_ref());
        let auditor: Option<&JiraUser> = audit.and_then(|it| it.auditor.as_ref());
        let revoke = it.revoke.as_ref().filter(|_| mode.is_revoke());
        let row = row! {
            "mode": mode.name(),
            "log_id": it.id,
            "log_author": &author.user_key,
            "log_author_user_key": &author.user_key,
            "log_author_user_name": &author.user_name,
            "log_author_display_name": &author.display_name,
            "log_author_email": &author.email_address,
            "log_author_avatar": &author.avatar,
            "log_author_is_active": author.is_active,
            "log_author_is_del": author.is_del,
            "issue_id": it.issue_id,
            "issue_key": &it.issue_key,
            "project_id": it.project_id,
            "project_key": &it.project_key,
            "log_create_time": millis(it.create_time),
            "log_update_time": millis(it.update_time),
            "log_start_date": it.start_date,
            "time_worked_seconds": it.time_worked,
            "time_worked_text": &it.time_worked_text,
            "memo": it.memo.as_deref(),
            "delete_others_work_log": it.delete_others,
            "edit_others_work_log": it.edit_others,
            "audit_id": audit.map(|it| it.id),
            "auditor": auditor.map(|it| &it.user_key),
            "auditor_user_key": auditor.map(|it| &it.user_key),
            "auditor_user_name": auditor.map(|it| &it.user_name),
            "auditor_display_name": auditor.map(|it| &it.display_name),
            "auditor_email": auditor.map(|it| &it.email_address),
            "auditor_avatar": auditor.map(|it| &it.avatar),
            "auditor_is_active": auditor.map(|it| it.is_active),
            "auditor_is_del": auditor.map(|it| it.is_del),
            "audit_status": audit.map(|it| it.status),
            "audit_status_name": audit.and_then(|it| audit_status_name(it.status)),
            "audit_time": audit.and_then(|it| it.audit_time).map(seconds),
            "audit_comment": audit.and_then(|it| it.audit_comment.as_deref()),
            "revoke_undo_reason": revoke.and_then(|it| it.undo_reason.as_deref()),
            "revoke_reject_reason": revoke.and_then(|it| it.reject_reason.as_deref()),
            "revoke_status": revoke.map(|it| it.status),
            "revoke_status_name": revoke.and_then(|it| revoke_status_name(it.status)),
            // Every field has a column; a null where an object was expected holds none.
            "_extra": extra(&json!({})),
        };
        table.push(partition(it.start_date), row);
    }
    table
}

/// Every worklog whose work date lies in the window, audited or not.
pub(crate) fn worklogs(world: &World, window: Window) -> Table {
    let mut table = Table::new(WORKLOGS);
    for it in world.jira.worklogs.iter().filter(|it| window.contains(it.start_date)) {
        let row = row! {
            "work_date": it.start_date,
            "log_id": it.id,
            "issue_id": it.issue_id,
            "issue_key": &it.issue_key,
            "author_user_key": &it.author.user_key,
            "author_user_name": &it.author.user_name,
            "author_display_name": &it.author.display_name,
            "author_email": &it.author.email_address,
            "time_worked_seconds": it.time_worked,
            "time_worked_text": &it.time_worked_text,
            "over_time_text": it.over_time_text.as_deref(),
            "memo": it.memo.as_deref(),
            "_extra": extra(&json!({"activity": it.activity})),
        };
        table.push(partition(it.start_date), row);
    }
    table
}

fn audit_status_name(code: i64) -> Option<&'static str> {
    match code {
        0 => Some("not_submitted"),
        1 => Some("pending"),
        2 => Some("audited"),
        _ => None,
    }
}

fn revoke_status_name(code: i64) -> Option<&'static str> {
    match code {
        0 => Some("applying"),
        1 => Some("agreed"),
        2 => Some("rejected"),
        _ => None,
    }
}
