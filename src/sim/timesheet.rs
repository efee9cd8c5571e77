//! Jira Data Center with the timesheet plugin: approvals, work hours and the native worklog feeds.
//!
//! Times have no zone, two of them in one record differ in their form, pages are small unless asked for
//! and smaller than asked, and a failed basic authentication is a green answer without a body.

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};

use super::jira_search;
use super::server::{Call, html, reply, with_header};
use super::world::timesheet::{JiraAudit, JiraMode, JiraRevoke, JiraUser, JiraWorklog};

const DEFAULT_PAGE: u64 = 10;
const MAX_PAGE: u64 = 100;
const FEED_PAGE: usize = 1_000;
const MODES: [JiraMode; 4] =
    [JiraMode::Audit, JiraMode::View, JiraMode::RevokeAudit, JiraMode::RevokeView];

/// Answers a request below `/jira/rest`.
pub(super) fn answer(call: &mut Call, segments: &[&str]) -> Response {
    if let Some(refused) = refuse_caller(call) {
        return refused;
    }
    let (get, post) = (call.method == Method::GET, call.method == Method::POST);
    let answered = match segments {
        ["shdsd-Timesheet", "3", "auditLog"] if get => audit_log(call),
        ["shdsd-Timesheet", "3", "worklog", "search"] if post => work_hours(call),
        ["api", "2", "myself"] if get => Ok(json!({
            "self": format!("{}/user?username=admin", api(call)),
            "key": "JIRAUSER10000", "name": "admin", "displayName": "admini",
            "emailAddress": "admin@example.com", "active": true, "timeZone": call.world.jira.zone,
        })),
        ["api", "2", "worklog", "updated"] if get => {
            let all = call.world.jira.worklogs.iter();
            let changes = all.map(|it| (it.id, it.update_time)).collect();
            feed(call, "updated", changes)
        }
        ["api", "2", "worklog", "deleted"] if get => {
            let all = call.world.jira.deleted.iter();
            let changes = all.map(|it| (it.id, it.deleted_at)).collect();
            feed(call, "deleted", changes)
        }
        ["api", "2", "worklog", "list"] if post => list(call),
        ["api", "2", "search"] if get || post => jira_search::search(call, &api(call)),
        _ => return reply(404, &errors("null for uri")),
    };
    match answered {
        // A zero on a success is an instruction that must not be followed.
        Ok(body) => with_header(reply(200, &body), "retry-after", "0"),
        Err(message) => reply(400, &errors(&message)),
    }
}

fn errors(message: &str) -> Value {
    json!({"errorMessages": [message], "errors": {}})
}

fn refuse_caller(call: &Call) -> Option<Response> {
    let options = &call.shared.options;
    let given = call.header("authorization").unwrap_or_default();
    if let Some(basic) = given.strip_prefix("Basic ") {
        let expected = format!("{}:{}", options.jira_user, options.jira_password);
        let failed = || {
            let response = StatusCode::OK.into_response();
            with_header(response, "x-seraph-loginreason", "AUTHENTICATED_FAILED")
        };
        return (basic != STANDARD.encode(expected)).then(failed);
    }
    (given != format!("Bearer {}", options.jira_token)).then(|| html(401, "Unauthorized (401)"))
}

fn audit_log(call: &mut Call) -> Result<Value, String> {
    let name = call.param("mode").filter(|it| !it.is_empty()).unwrap_or("view");
    let mode = MODES.into_iter().find(|it| it.name() == name);
    let mode = mode.ok_or_else(|| format!("unknown mode `{name}`"))?;
    let (from, to) = (date(call.param("startDate"))?, date(call.param("endDate"))?);
    if !mode.is_revoke() && (from.is_none() || to.is_none()) {
        return Err("startDate and endDate are required".to_owned());
    }
    let (start, size) = (call.number("startAt")?.unwrap_or(0), call.number("maxResults")?);
    slip_in(call, start, from);
    let asked = |name: &str| -> Vec<String> {
        let values = call.param(name).unwrap_or_default().split(',');
        values.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
    };
    let filters =
        [asked("projectIds"), asked("projectKeys"), asked("issueIds"), asked("issueKeys")];
    let run_as = call.param("runAs").filter(|it| !it.is_empty());
    let found = newest_first(call, |it| {
        let values = [
            it.project_id.to_string(),
            it.project_key.clone(),
            it.issue_id.to_string(),
            it.issue_key.clone(),
        ];
        it.modes.contains(&mode)
            && within(it.start_date, from, to)
            && filters
                .iter()
                .zip(&values)
                .all(|(wanted, it)| wanted.is_empty() || wanted.contains(it))
            && run_as.is_none_or(|name| sees(it, mode, name))
    });
    Ok(page(call, &found, start, size, |it| approval(call, it, mode)))
}

/// Whether a worklog is in this user's own list: approvers see what waits for them, others their own.
fn sees(it: &JiraWorklog, mode: JiraMode, name: &str) -> bool {
    match mode {
        JiraMode::View | JiraMode::RevokeView => it.author.user_name == name,
        JiraMode::Audit | JiraMode::RevokeAudit => {
            let auditor = it.audit.as_ref().and_then(|it| it.auditor.as_ref());
            auditor.is_some_and(|it| it.user_name == name)
        }
    }
}

fn work_hours(call: &mut Call) -> Result<Value, String> {
    let body = call.json().ok_or("the body is not JSON")?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
    let number = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(it) => it.as_u64().map(Some).ok_or_else(|| format!("`{name}` is not a number")),
    };
    let from = date(text("startDate"))?.ok_or("startDate is required")?;
    let to = date(text("endDate"))?.unwrap_or(from);
    let (start, size) = (number("startAt")?.unwrap_or(0), number("maxResults")?);
    slip_in(call, start, Some(from));
    let wants = |name: &str, value: &str| {
        text(name).is_none_or(|wanted| wanted.split(',').any(|it| it.trim() == value))
    };
    let has_id = |name: &str, value: i64| match body.get(name) {
        None | Some(Value::Null) => true,
        Some(it) => it.as_i64() == Some(value) || it.as_str() == Some(&value.to_string()),
    };
    let found = newest_first(call, |it| {
        within(it.start_date, Some(from), Some(to))
            && has_id("issueId", it.issue_id)
            && has_id("projectId", it.project_id)
            && wants("issueKey", &it.issue_key)
            && wants("projectKey", &it.project_key)
            && wants("userKey", &it.author.user_key)
            && wants("userName", &it.author.user_name)
    });
    Ok(page(call, &found, start, size, |it| {
        let author = json!({
            "userKey": it.author.user_key, "userName": it.author.user_name,
            "displayName": it.author.display_name, "emailAddress": it.author.email_address,
        });
        let mut out = json!({
            "id": it.id, "issueId": it.issue_id, "issueKey": it.issue_key, "author": author,
            "timeWorked": it.time_worked, "timeWorkedStr": it.time_worked_text,
            "activity": it.activity,
        });
        if let Some(text) = &it.over_time_text {
            out["overTimeStr"] = json!(text);
        }
        put_memo(&mut out, it);
        out
    }))
}

fn slip_in(call: &mut Call, start: u64, date: Option<NaiveDate>) {
    call.slip_in(start, |world| {
        let date = date.unwrap_or(world.today);
        world.jira.insert(world.seed, world.today, date);
    });
}

/// The worklogs asked for; an order is not documented, and this one lets insertions disturb paging.
fn newest_first(call: &Call, wanted: impl Fn(&JiraWorklog) -> bool) -> Vec<&JiraWorklog> {
    call.world.jira.worklogs.iter().rev().filter(|it| wanted(it)).collect()
}

fn page(
    call: &Call,
    found: &[&JiraWorklog],
    start: u64,
    size: Option<u64>,
    render: impl Fn(&JiraWorklog) -> Value,
) -> Value {
    let size = call.size(size.unwrap_or(DEFAULT_PAGE), MAX_PAGE);
    let values = found.iter().skip(call.position(start)).take(usize::try_from(size).unwrap_or(0));
    let values: Vec<_> = values.map(|it| render(it)).collect();
    let total = call.total(found.len());
    let end = i64::try_from(start).unwrap_or(i64::MAX).saturating_add_unsigned(values.len() as u64);
    json!({"total": total, "isLast": end >= total, "startAt": start, "maxResults": size, "values": values})
}

fn approval(call: &Call, it: &JiraWorklog, mode: JiraMode) -> Value {
    let mut log = json!({
        "id": it.id, "author": it.author.user_key, "authorUser": user(&it.author),
        "issueId": it.issue_id, "issueKey": it.issue_key,
        "projectId": it.project_id, "projectKey": it.project_key,
        "createTime": local(call, it.create_time, "%Y-%m-%d %H:%M:%S%.3f"),
        "updateTime": local(call, it.update_time, "%Y-%m-%d %H:%M:%S%.3f"),
        "startDate": it.start_date,
        "timeWorked": it.time_worked, "timeWorkedStr": it.time_worked_text,
        "deleteOthersWorkLog": it.delete_others, "editOthersWorkLog": it.edit_others,
    });
    put_memo(&mut log, it);
    let mut out = json!({"log": log});
    let shows_nulls = it.id % 2 == 0;
    match &it.audit {
        Some(audit) => out["audit"] = audit_of(call, audit),
        None if shows_nulls => out["audit"] = Value::Null,
        None => {}
    }
    match it.revoke.as_ref().filter(|_| mode.is_revoke()) {
        Some(revoke) => out["revoke"] = revoke_of(revoke),
        None if shows_nulls => out["revoke"] = Value::Null,
        None => {}
    }
    out
}

fn audit_of(call: &Call, it: &JiraAudit) -> Value {
    json!({
        "id": it.id,
        "auditor": it.auditor.as_ref().map(|it| &it.user_key),
        "auditorUser": it.auditor.as_ref().map(user),
        "status": it.status,
        "auditTime": it.audit_time.map(|at| local(call, at, "%Y-%m-%d %H:%M:%S")),
        "auditComment": it.audit_comment,
    })
}

fn revoke_of(it: &JiraRevoke) -> Value {
    json!({"undoReason": it.undo_reason, "rejectReason": it.reject_reason, "status": it.status})
}

fn put_memo(out: &mut Value, it: &JiraWorklog) {
    match &it.memo {
        Some(memo) => out["memo"] = json!(memo),
        None if it.id % 2 == 0 => out["memo"] = Value::Null,
        None => {}
    }
}

fn user(it: &JiraUser) -> Value {
    json!({
        "userKey": it.user_key, "avatar": it.avatar, "userName": it.user_name,
        "displayName": it.display_name, "emailAddress": it.email_address,
        "isActive": it.is_active, "isDel": it.is_del,
    })
}

/// The ids that changed since an instant, which is included; the last minute is always left out.
fn feed(call: &Call, name: &str, mut changes: Vec<(i64, DateTime<Utc>)>) -> Result<Value, String> {
    let since = i64::try_from(call.number("since")?.unwrap_or(0)).unwrap_or(i64::MAX);
    let now = call.shared.clock().unwrap_or_else(|| call.world.now());
    let until = now.timestamp_millis() - 60_000;
    changes.retain(|(_, at)| (since..=until).contains(&at.timestamp_millis()));
    changes.sort_unstable_by_key(|(id, at)| (*at, *id));
    let last_page = changes.len() <= FEED_PAGE;
    changes.truncate(FEED_PAGE);
    let until = if last_page {
        until
    } else {
        changes.last().map_or(until, |(_, at)| at.timestamp_millis())
    };
    let values: Vec<_> = changes
        .iter()
        .map(|(id, at)| json!({"worklogId": id, "updatedTime": at.timestamp_millis(), "properties": []}))
        .collect();
    let url = |since: i64| format!("{}/worklog/{name}?since={since}", api(call));
    // The next page is named on the last page too.
    Ok(json!({
        "values": values, "since": since, "until": until, "lastPage": last_page,
        "self": url(since), "nextPage": url(until),
    }))
}

fn list(call: &Call) -> Result<Value, String> {
    let body = call.json().ok_or("the body is not JSON")?;
    let ids = body.get("ids").and_then(Value::as_array).ok_or("ids is required")?;
    if ids.len() > FEED_PAGE {
        return Err(format!("at most {FEED_PAGE} ids"));
    }
    let ids: std::collections::HashSet<_> = ids.iter().filter_map(Value::as_i64).collect();
    let found = call.world.jira.worklogs.iter().filter(|it| ids.contains(&it.id));
    Ok(found.map(|it| native(call, it)).collect())
}

fn native(call: &Call, it: &JiraWorklog) -> Value {
    let author = json!({
        "name": it.author.user_name, "key": it.author.user_key, "emailAddress": it.author.email_address,
        "displayName": it.author.display_name, "active": it.author.is_active,
    });
    let started = it.start_date.and_hms_opt(9, 0, 0).unwrap_or_default().and_utc();
    json!({
        "self": format!("{}/issue/{}/worklog/{}", api(call), it.issue_id, it.id),
        "id": it.id.to_string(), "issueId": it.issue_id.to_string(),
        "author": author, "updateAuthor": author, "comment": it.memo.clone().unwrap_or_default(),
        "created": local(call, it.create_time, "%Y-%m-%dT%H:%M:%S%.3f%z"),
        "updated": local(call, it.update_time, "%Y-%m-%dT%H:%M:%S%.3f%z"),
        "started": local(call, started, "%Y-%m-%dT%H:%M:%S%.3f%z"),
        "timeSpent": it.time_worked_text, "timeSpentSeconds": it.time_worked,
    })
}

fn api(call: &Call) -> String {
    format!("http://{}/jira/rest/api/2", call.host())
}

/// An instant on the server's own clock.
pub(super) fn local(call: &Call, at: DateTime<Utc>, format: &str) -> String {
    let zone = call.world.jira.zone.parse().unwrap_or(chrono_tz::UTC);
    at.with_timezone(&zone).format(format).to_string()
}

fn date(text: Option<&str>) -> Result<Option<NaiveDate>, String> {
    let wrong = |text: &str| format!("`{text}` is not a date of the form yyyy-MM-dd");
    let text = text.filter(|it| !it.is_empty());
    text.map(|it| NaiveDate::parse_from_str(it, "%Y-%m-%d").map_err(|_| wrong(it))).transpose()
}

fn within(date: NaiveDate, from: Option<NaiveDate>, to: Option<NaiveDate>) -> bool {
    from.is_none_or(|from| date >= from) && to.is_none_or(|to| date <= to)
}
