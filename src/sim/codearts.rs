//! Huawei Cloud `CodeArts` Req with the log-in of IAM.
//!
//! One path answers two schemas by its verb, batches of history are cut by page boundaries, work hours
//! have no id, and an absent date is the empty text.

use axum::http::Method;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::server::{Call, reply, with_header};
use super::sign::{self, Refusal, Signed};
use super::world::codearts::{
    CodeArtsBatch, CodeArtsDetail, CodeArtsHours, CodeArtsIssue, CodeArtsProject, CodeArtsUser,
};

/// A refusal: status, code and message.
type Refused = (u16, &'static str, String);

const BAD_PAGE: &str = "PM.02174103";
const BAD_PARAMETER: &str = "PM.02175006";

/// Answers a request below `/codearts`.
pub(super) fn answer(call: &mut Call, segments: &[&str]) -> Response {
    let (get, post) = (call.method == Method::GET, call.method == Method::POST);
    if let (["v3", "auth", "tokens"], true) = (segments, post) {
        return log_in(call);
    }
    let answered = authenticate(call).and_then(|()| match segments {
        ["v2", "issues", "get-record"] if get => history(call),
        ["v4", "projects"] if get => projects(call),
        ["v4", "projects", "work-hours"] if post => work_hours(call, None),
        ["v4", "projects", project, "work-hours"] if post => work_hours(call, Some(project)),
        ["v4", "projects", project, "issues"] if get => issues_by_get(call, project),
        ["v4", "projects", project, "issues"] if post => issues_by_post(call, project),
        _ => Err((404, "APIGW.0101", "The API does not exist".to_owned())),
    });
    let request_id = format!("{:032x}", call.shared.next_serial());
    let response = match answered {
        Ok(body) => reply(200, &body),
        Err((status, code, message)) => {
            let mut body = json!({"error_code": code, "error_msg": message});
            if code.starts_with("APIGW") {
                body["request_id"] = json!(request_id);
            }
            reply(status, &body)
        }
    };
    with_header(response, "x-request-id", &request_id)
}

fn authenticate(call: &Call) -> Result<(), Refused> {
    let options = &call.shared.options;
    if sign::is_signed(&call.headers) {
        let request = Signed {
            method: call.method.as_str(),
            path: &call.path,
            query: &call.query,
            headers: &call.headers,
            body: &call.body,
        };
        let (access, secret) = (&options.codearts_access_key, &options.codearts_secret_key);
        return sign::verify(&request, access, secret, call.shared.clock()).map_err(refusal);
    }
    let message = "Incorrect IAM authentication information: ";
    let wrong = |why: &str| (401, "APIGW.0301", format!("{message}{why}"));
    let token = call.header("x-auth-token").ok_or_else(|| wrong("x-auth-token not found"))?;
    if token == options.codearts_token {
        return Ok(());
    }
    match call.shared.accepts(token) {
        Some(true) => Ok(()),
        Some(false) => Err(wrong("token expires, the token must be updated")),
        None => Err(wrong("decrypt token fail")),
    }
}

fn refusal(refusal: Refusal) -> Refused {
    let message = "Incorrect app authentication information: ";
    let why = match refusal {
        Refusal::Malformed(what) => format!("{message}{what}"),
        Refusal::Expired { signed_at, server } => {
            format!("{message}signature expired, signature time:{signed_at},server time:{server}")
        }
        Refusal::Mismatch { canonical } => format!(
            "{message}verify signature failed, canonicalRequest:{}",
            canonical.replace('\n', "|")
        ),
    };
    (401, "APIGW.0303", why)
}

/// The IAM log-in; the token comes in a header of the answer.
fn log_in(call: &Call) -> Response {
    let options = &call.shared.options;
    let body = call.json().unwrap_or_default();
    let user = "/auth/identity/password/user";
    let given = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let matches = given(&format!("{user}/name")) == options.iam_user
        && given(&format!("{user}/password")) == options.iam_password
        && given(&format!("{user}/domain/name")) == options.iam_domain
        && given("/auth/identity/methods/0") == "password";
    if !matches {
        let error = json!({"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"});
        return reply(401, &json!({"error": error}));
    }
    if given("/auth/scope/project/name") != options.iam_project {
        let error = json!({"code": 400, "message": "The token must be project-scoped.", "title": "Bad Request"});
        return reply(400, &json!({"error": error}));
    }
    // Real tokens are long; so is this one.
    let token = format!("MIIsimulated{:08}{}", call.shared.next_serial(), "A".repeat(2_000));
    let lifetime = options.iam_token_lifetime;
    call.shared.issue(&token, lifetime);
    let far_ahead = || call.world.now() + TimeDelta::days(36_500);
    let issued = call.shared.clock().unwrap_or_else(far_ahead);
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let body = json!({"token": {
        "expires_at": text(issued + lifetime), "issued_at": text(issued), "methods": ["password"],
        "user": {"name": options.iam_user, "domain": {"name": options.iam_domain}},
        "project": {"id": "0123456789abcdef0123456789abcdef", "name": options.iam_project},
        "roles": [],
    }});
    with_header(reply(201, &body), "x-subject-token", &token)
}

/// Offset and size of a page, after the rules that the API documents.
struct Paging {
    offset: u64,
    size: u64,
}

fn paging(
    call: &Call,
    offset: Option<u64>,
    limit: Option<u64>,
    max: u64,
) -> Result<Paging, Refused> {
    if limit.is_some_and(|limit| !(1..=max).contains(&limit)) {
        return Err((400, BAD_PARAMETER, format!("limit is from 1 to {max}")));
    }
    let size = call.size(limit.unwrap_or(10), max);
    let offset = offset.unwrap_or(0);
    if !offset.is_multiple_of(size) || offset > call.ceiling() {
        return Err((400, BAD_PAGE, "Pagination parameter error".to_owned()));
    }
    Ok(Paging { offset, size })
}

fn cut<T>(call: &Call, rows: &[T], paging: &Paging, render: impl Fn(&T) -> Value) -> Vec<Value> {
    let from = call.position(paging.offset);
    let size = usize::try_from(paging.size).unwrap_or(usize::MAX);
    rows.iter().skip(from).take(size).map(render).collect()
}

fn number(call: &Call, name: &str) -> Result<Option<u64>, Refused> {
    call.number(name).map_err(|message| (400, BAD_PARAMETER, message))
}

fn projects(call: &Call) -> Result<Value, Refused> {
    let paging = paging(call, number(call, "offset")?, number(call, "limit")?, 1_000)?;
    let all = &call.world.codearts.projects;
    let rows = cut(call, all, &paging, |it: &CodeArtsProject| {
        json!({
            "project_id": it.project_id, "project_num_id": it.project_num_id,
            "project_name": it.project_name, "project_type": "scrum",
            "created_time": it.created_time.timestamp_millis(),
            "updated_time": it.updated_time.timestamp_millis(),
        })
    });
    Ok(json!({"projects": rows, "total": call.total(all.len())}))
}

/// Rows of an issue's history: one detail a row, newest batch first.
fn history(call: &mut Call) -> Result<Value, Refused> {
    let missing = |name: &str| (400, BAD_PARAMETER, format!("{name} is required"));
    let project = call.param("project_id").ok_or_else(|| missing("project_id"))?.to_owned();
    let id = number(call, "issue_id")?.ok_or_else(|| missing("issue_id"))?;
    call.param("type").ok_or_else(|| missing("type"))?;
    let paging = paging(call, number(call, "offset")?, number(call, "limit")?, 1_000)?;
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    call.slip_in(paging.offset, |world| {
        world.codearts.insert_history(world.seed, world.today, id);
    });
    let issues = in_project(call, &project)?;
    let at = issues.binary_search_by_key(&id, |it| it.id);
    let issue = at.ok().and_then(|at| issues.get(at));
    let issue = issue.ok_or((404, BAD_PARAMETER, "The issue does not exist".to_owned()))?;
    let batches = issue.history.iter().rev();
    let rows: Vec<_> = batches.flat_map(|it| it.details.iter().map(move |row| (it, row))).collect();
    let record = cut(call, &rows, &paging, |(batch, detail)| history_row(batch, detail));
    let total = call.total(rows.len());
    let result = json!({"offset": paging.offset, "limit": paging.size, "journals_total": total, "record": record});
    Ok(json!({"result": result, "status": "success"}))
}

fn history_row(batch: &CodeArtsBatch, it: &CodeArtsDetail) -> Value {
    let mut detail =
        json!({"id": it.id, "journal_id": batch.id, "property": it.property, "name": it.name});
    if let Some(value) = &it.old_value {
        detail["old_value"] = json!(value);
    }
    if let Some(value) = &it.new_value {
        detail["new_value"] = json!(value);
    }
    detail["operation"] = json!(it.operation);
    let mut user = json!({
        "id": batch.user.id, "name": format!("acct/{}", batch.user.name),
        "first_name": batch.user.name, "identifier": batch.user.identifier,
        "nick_name": batch.user.nick_name,
    });
    if let Some(id) = &batch.user.image_id {
        user["image_id"] = json!(id);
    }
    let mut out = json!({
        "id": batch.id, "created_on": batch.created_on.timestamp_millis().to_string(), "user": user,
    });
    match &batch.notes {
        Some(notes) => out["notes"] = json!(notes),
        None if batch.id % 2 == 0 => out["notes"] = Value::Null,
        None => {}
    }
    out["details"] = json!([detail]);
    out
}

fn in_project<'a>(call: &'a Call, project: &str) -> Result<&'a [CodeArtsIssue], Refused> {
    let world = &call.world.codearts;
    match world.projects.iter().position(|it| it.project_id == project) {
        Some(0) => Ok(&world.issues),
        Some(_) => Ok(&[]),
        None => Err((403, "PM.02177001", "The project does not exist or is not yours".to_owned())),
    }
}

/// Bounds in milliseconds, both included; either may be left out.
struct Interval(Option<i64>, Option<i64>);

impl Interval {
    fn parse(name: &str, text: Option<&str>) -> Result<Self, Refused> {
        let text = text.unwrap_or_default();
        let (from, to) = text.split_once(',').unwrap_or((text, ""));
        let bound = |it: &str| match it.trim() {
            "" => Ok(None),
            it => it
                .parse()
                .map(Some)
                .map_err(|_| (400, BAD_PARAMETER, format!("{name} is not milliseconds"))),
        };
        Ok(Interval(bound(from)?, bound(to)?))
    }

    fn contains(&self, at: DateTime<Utc>) -> bool {
        let ms = at.timestamp_millis();
        self.0.is_none_or(|from| ms >= from) && self.1.is_none_or(|to| ms <= to)
    }
}

/// The schema of `GET`: milliseconds, other names, and no id.
fn issues_by_get(call: &Call, project: &str) -> Result<Value, Refused> {
    let limit = number(call, "limit")?.or(Some(100));
    let paging = paging(call, number(call, "offset")?, limit, 100)?;
    let updated = Interval::parse("updated_time_interval", call.param("updated_time_interval"))?;
    let created = Interval::parse("created_time_interval", call.param("created_time_interval"))?;
    let issues = in_project(call, project)?.iter().rev().filter(|it| !it.deleted);
    let found: Vec<_> = issues
        .filter(|it| updated.contains(it.updated_time) && created.contains(it.created_time))
        .collect();
    let rows = cut(call, &found, &paging, |it| {
        json!({
            "subject": it.name, "author": person(&it.creator),
            "assigned_user": it.assigned_user.as_ref().map(person),
            "tracker": named(&it.tracker), "status": named(&it.status),
            "created_time": it.created_time.timestamp_millis(),
            "updated_time": it.updated_time.timestamp_millis(),
            "closed_time": it.closed_time.map(|at| at.timestamp_millis()),
            "begin_time": it.begin_date.map(day_ms), "end_time": it.end_date.map(day_ms),
            "parent_issue_id": it.parent_issue_id,
            "expected_work_hours": it.expected_work_hours, "actual_work_hours": it.actual_work_hours,
            "done_ratio": it.done_ratio, "order": 1, "custom_feilds": [],
        })
    });
    Ok(json!({"issues": rows, "total": call.total(found.len())}))
}

fn issues_by_post(call: &mut Call, project: &str) -> Result<Value, Refused> {
    let body = body(call)?;
    let interval = |name: &str| Interval::parse(name, body.get(name).and_then(Value::as_str));
    let updated = interval("updated_time_interval")?;
    let created = interval("created_time_interval")?;
    let limit = in_body(&body, "limit")?.or(Some(100));
    let paging = paging(call, in_body(&body, "offset")?, limit, 100)?;
    call.slip_in(paging.offset, |world| world.codearts.insert_issue(world.seed, world.today));
    let with_deleted = body.get("include_deleted").and_then(Value::as_bool) == Some(true);
    let ids = body.get("issue_ids").and_then(Value::as_array);
    let wanted = |id: i64| match ids {
        Some(ids) if !ids.is_empty() => {
            ids.iter().any(|it| it.as_i64() == Some(id) || it.as_str() == Some(&id.to_string()))
        }
        _ => true,
    };
    let project_of = call.world.codearts.projects.iter().find(|it| it.project_id == project);
    let found: Vec<_> = in_project(call, project)?
        .iter()
        .rev()
        .filter(|it| with_deleted || !it.deleted)
        .filter(|it| updated.contains(it.updated_time) && created.contains(it.created_time))
        .filter(|it| wanted(it.id))
        .collect();
    let rows = cut(call, &found, &paging, |it| issue(it, project_of));
    Ok(json!({"issues": rows, "total": call.total(found.len())}))
}

fn issue(it: &CodeArtsIssue, project: Option<&CodeArtsProject>) -> Value {
    // A date that is not set has two faces.
    let day = |date: Option<NaiveDate>| match date {
        Some(date) => json!(date),
        None if it.id % 2 == 0 => Value::Null,
        None => json!(""),
    };
    let project = project.map(|it| {
        json!({"project_id": it.project_id, "project_name": it.project_name, "project_num_id": it.project_num_id})
    });
    let mut out = json!({
        "id": it.id, "name": it.name, "project": project,
        "tracker": named(&it.tracker), "status": named(&it.status),
        "priority": {"id": 2, "name": it.priority_name},
        "creator": person(&it.creator),
        "iteration": it.iteration_name.as_ref().map(|name| json!({"id": 7, "name": name})),
        "created_time": local_text(it.created_time), "updated_time": local_text(it.updated_time),
        "closed_time": it.closed_time.map(local_text).unwrap_or_default(),
        "begin_time": day(it.begin_date), "end_time": day(it.end_date),
        "expected_work_hours": it.expected_work_hours, "actual_work_hours": it.actual_work_hours,
        "done_ratio": it.done_ratio, "deleted": it.deleted,
        "order": {"id": 1, "name": "1"}, "custom_fields": [],
        "new_custom_fields": [{"custom_field": "custom_field1", "field_name": "環境", "value": it.name}],
    });
    if let Some(name) = &it.severity_name {
        out["severity"] = json!({"id": 11, "name": name});
    }
    if let Some(user) = &it.assigned_user {
        out["assigned_user"] = person(user);
    }
    if let Some(id) = it.parent_issue_id {
        out["parent_issue"] = json!({"id": id, "name": format!("parent {id}")});
    }
    out
}

/// Work hours of one project, or of those that the body names.
fn work_hours(call: &mut Call, project: Option<&str>) -> Result<Value, Refused> {
    let body = body(call)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
    let paging = paging(call, in_body(&body, "offset")?, in_body(&body, "limit")?, 500)?;
    let wrong = |_| (400, BAD_PARAMETER, "a date has the form yyyy-MM-dd".to_owned());
    let day = |text: &str| NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").map_err(wrong);
    let from = text("begin_time").map(day).transpose()?;
    let to = text("end_time").map(day).transpose()?;
    let dates =
        text("work_hours_dates").map(|it| it.split(',').map(day).collect::<Result<Vec<_>, _>>());
    let dates = dates.transpose()?;
    let list = |name: &str| -> Option<Vec<&str>> {
        body.get(name)?.as_array().map(|it| it.iter().filter_map(Value::as_str).collect())
    };
    let people = list("user_ids").filter(|it| !it.is_empty());
    call.slip_in(paging.offset, |world| {
        world.codearts.insert_hours(world.seed, world.today, to.unwrap_or(world.today));
    });
    let readable = match project {
        Some(project) => !in_project(call, project)?.is_empty(),
        None => list("project_ids").is_none_or(|ids| {
            call.world
                .codearts
                .projects
                .first()
                .is_some_and(|it| ids.contains(&it.project_id.as_str()))
        }),
    };
    let mut found: Vec<&CodeArtsHours> = call
        .world
        .codearts
        .work_hours
        .iter()
        .filter(|_| readable)
        .filter(|it| from.is_none_or(|from| it.work_date >= from))
        .filter(|it| to.is_none_or(|to| it.work_date <= to))
        .filter(|it| dates.as_ref().is_none_or(|dates| dates.contains(&it.work_date)))
        .filter(|it| people.as_ref().is_none_or(|ids| ids.contains(&it.user.identifier.as_str())))
        .collect();
    found.sort_by_key(|it| std::cmp::Reverse((it.work_date, it.serial)));
    let rows = cut(call, &found, &paging, |it| hours(it));
    Ok(json!({"work_hours": rows, "total": call.total(found.len())}))
}

fn hours(it: &CodeArtsHours) -> Value {
    let mut out = json!({
        "project_name": it.project_name,
        "user_id": it.user.identifier, "user_name": it.user.name, "nick_name": it.user.nick_name,
        "work_date": it.work_date, "work_hours_num": it.work_hours_text,
        "work_hours_type_name": it.work_hours_type_name,
        "issue_id": it.issue_id, "issue_type": it.issue_type, "subject": it.subject,
        "created_time": it.created_date,
        "closed_time": it.closed_date.map(|it| it.to_string()).unwrap_or_default(),
        "work_hours_created_time": local_text(it.created_time),
        "work_hours_updated_time": local_text(it.updated_time),
    });
    match &it.summary {
        Some(summary) => out["summary"] = json!(summary),
        // Told apart by what both of two equal rows share.
        None if it.issue_id % 2 == 0 => out["summary"] = Value::Null,
        None => {}
    }
    out
}

fn body(call: &Call) -> Result<Value, Refused> {
    let body = call.json().filter(Value::is_object);
    body.ok_or((400, BAD_PARAMETER, "the body is not a JSON object".to_owned()))
}

fn in_body(body: &Value, name: &str) -> Result<Option<u64>, Refused> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(it) => it.as_u64().or_else(|| it.as_str()?.parse().ok()).map(Some).ok_or((
            400,
            BAD_PARAMETER,
            format!("{name} is not a number"),
        )),
    }
}

fn named((id, name): &(i64, String)) -> Value {
    json!({"id": id, "name": name})
}

fn person(it: &CodeArtsUser) -> Value {
    json!({"id": it.id, "name": it.name, "nick_name": it.nick_name, "user_id": it.identifier, "user_num_id": it.id})
}

/// An instant in the service's own zone, which the text does not name.
fn local_text(at: DateTime<Utc>) -> String {
    at.with_timezone(&chrono_tz::Asia::Shanghai).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn day_ms(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()
}
