//! Yandex Tracker: issues, their worklogs and changelogs.
//!
//! Ids are numbers on one page and texts on the next, a worklog list may ignore paging, `Link` has no
//! scheme, an issue that moved redirects, and one that is hidden answers 403.

use axum::http::Method;
use axum::response::Response;
use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use serde_json::{Map, Value, json};

use super::server::{Call, html, query_value, reply, with_header};
use super::tracker_search::{self, paged};
use super::world::tracker::{
    TrackerChange, TrackerFieldChange, TrackerIssue, TrackerRef, TrackerUser, TrackerWorklog,
};

/// Answers a request below `/tracker/{version}`.
pub(super) fn answer(call: &mut Call, version: &str, segments: &[&str]) -> Response {
    if let Some(refused) = refuse_caller(call) {
        return refused;
    }
    let (get, post) = (call.method == Method::GET, call.method == Method::POST);
    match segments {
        ["myself"] if get => {
            let me = call.world.tracker.users.first();
            reply(200, &me.map_or(Value::Null, |it| member(call, version, it)))
        }
        ["users"] if get => {
            let users = call.world.tracker.users.iter();
            let users: Vec<_> = users.map(|it| member(call, version, it)).collect();
            page_of(call, &users)
        }
        ["queues"] if get => {
            let queues = call.world.tracker.queues.iter();
            let queues: Vec<_> = queues.map(|it| queue(call, version, it)).collect();
            page_of(call, &queues)
        }
        ["issues", "_search"] if post => tracker_search::search(call, version),
        ["issues", "_count"] if post => tracker_search::count(call),
        ["worklog", "_search"] if post => match selection_of_body(call) {
            Ok(selection) => select(call, version, &selection),
            Err(message) => refuse(422, &message),
        },
        ["worklog"] if get => match selection_of_query(call) {
            Ok(selection) => select(call, version, &selection),
            Err(message) => refuse(422, &message),
        },
        ["issues", name, rest @ ..] if get && rest.len() < 2 => {
            under_issue(call, version, name, rest)
        }
        _ => refuse(404, "Not found"),
    }
}

/// The error body of Tracker.
pub(super) fn refuse(status: u16, message: &str) -> Response {
    reply(status, &json!({"errors": {}, "errorMessages": [message], "statusCode": status}))
}

fn refuse_caller(call: &Call) -> Option<Response> {
    let options = &call.shared.options;
    let known = [
        format!("OAuth {}", options.tracker_token),
        format!("Bearer {}", options.tracker_iam_token),
    ];
    let given = call.header("authorization").unwrap_or_default();
    let of_iam = given.strip_prefix("Bearer t1.").map(|it| format!("t1.{it}"));
    let is_issued = of_iam.is_some_and(|it| call.shared.accepts(&it) == Some(true));
    if !known.iter().any(|it| it == given) && !is_issued {
        return Some(refuse(401, "Authentication required"));
    }
    // The official client fills the header it does not need with this text.
    let org = call.header("x-org-id").filter(|it| *it != "not provided");
    let org = org.or_else(|| call.header("x-cloud-org-id"));
    (org != Some(options.tracker_org_id.as_str()))
        .then(|| refuse(403, "Organization is not available"))
}

fn under_issue(call: &Call, version: &str, name: &str, rest: &[&str]) -> Response {
    let found = call.world.tracker_issue(name).and_then(|at| call.world.tracker.issues.get(at));
    let Some(issue) = found else { return refuse(404, "Issue does not exist.") };
    if issue.lost_access || (issue.worklogs_forbidden && rest == ["worklog"]) {
        return refuse(403, "You have no permission to read this issue.");
    }
    if issue.aliases.iter().any(|it| it == name) {
        return moved(call, version, issue, rest);
    }
    match rest {
        [] => reply(200, &render_issue(call, version, issue)),
        ["worklog"] => worklogs(call, version, issue),
        ["changelog"] => changelog(call, version, issue),
        _ => refuse(404, "Not found"),
    }
}

fn moved(call: &Call, version: &str, issue: &TrackerIssue, rest: &[&str]) -> Response {
    let path: String = rest.iter().flat_map(|it| ["/", it]).collect();
    let query = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let location = format!("{}{path}{query}", issue_url(call, version, &issue.key));
    let status = if version == "v2" { 301 } else { 307 };
    with_header(html(status, "Moved"), "location", &location)
}

fn worklogs(call: &Call, version: &str, issue: &TrackerIssue) -> Response {
    let (Ok(size), Ok(after)) = (call.number("perPage"), call.number("id")) else {
        return refuse(400, "perPage and id are numbers");
    };
    let ignores_paging = issue.number % 5 == 0 || (size.is_none() && after.is_none());
    let after = after.filter(|_| !ignores_paging).and_then(|it| i64::try_from(it).ok());
    let size = if ignores_paging { u64::MAX } else { call.size(size.unwrap_or(50), 500) };
    let rest = issue.worklogs.iter().skip_while(|it| after.is_some_and(|after| it.id <= after));
    let first = rest.clone().next().map_or(0, |it| it.id);
    let page = rest.take(usize::try_from(size).unwrap_or(usize::MAX));
    // Whether ids are numbers or texts differs from issue to issue and from page to page.
    let form = if (issue.number + first / 2) % 2 == 0 { IdForm::Number } else { IdForm::Text };
    let page = page.map(|it| worklog(call, version, issue, it, form)).collect();
    reply(200, &Value::Array(page))
}

fn changelog(call: &Call, version: &str, issue: &TrackerIssue) -> Response {
    let Ok(size) = call.number("perPage") else { return refuse(400, "perPage is a number") };
    let size = call.size(size.unwrap_or(50), 1_000);
    let wanted = call.param("type");
    let entries = issue.changelog.iter().filter(|it| wanted.is_none_or(|kind| kind == it.kind));
    let entries: Vec<_> = entries.collect();
    let from = match call.param("id") {
        None => 0,
        Some(cursor) => match entries.iter().position(|it| cursor_after(it) == cursor) {
            Some(at) => at + 1,
            None => return refuse(400, "Unknown id"),
        },
    };
    let page: Vec<_> =
        entries.iter().skip(from).take(usize::try_from(size).unwrap_or(usize::MAX)).collect();
    let more = from + page.len() < entries.len();
    let next = page.last().filter(|_| more).map(|it| cursor_after(it));
    let page = page.into_iter().map(|it| change(call, version, issue, it)).collect();
    let kind = wanted.map(|it| format!("&type={}", query_value(it))).unwrap_or_default();
    // The real server prints these URLs without their scheme.
    let url = format!("{}{}", call.host(), call.path);
    let first = format!("<{url}?perPage={size}{kind}>; rel=\"first\"");
    let response = with_header(reply(200, &Value::Array(page)), "link", &first);
    match next {
        Some(id) => {
            let next = format!("<{url}?id={id}&perPage={size}{kind}>; rel=\"next\"");
            with_header(response, "link", &next)
        }
        None => response,
    }
}

/// What continues after an entry: an opaque id that is not the entry's own.
fn cursor_after(entry: &TrackerChange) -> String {
    entry.id.chars().rev().collect()
}

/// Which worklogs a selection over all issues asks for.
#[derive(Default)]
struct Selection {
    created_by: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

fn selection_of_body(call: &Call) -> Result<Selection, String> {
    let body = call.json().ok_or("the body is not JSON")?;
    let bound = |name: &str| {
        body.pointer(&format!("/createdAt/{name}")).and_then(Value::as_str).map(instant).transpose()
    };
    let created_by = body.get("createdBy").and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Selection { created_by, from: bound("from")?, to: bound("to")? })
}

fn selection_of_query(call: &Call) -> Result<Selection, String> {
    let created_by = call.param("createdBy").map(ToOwned::to_owned);
    let mut selection = Selection { created_by, ..Selection::default() };
    // The parameter is repeated, once with each prefix; one client joins both by a comma.
    for part in call.params_named("createdAt").flat_map(|it| it.split(',')) {
        if let Some(from) = part.strip_prefix("from:") {
            selection.from = Some(instant(from)?);
        } else if let Some(to) = part.strip_prefix("to:") {
            selection.to = Some(instant(to)?);
        } else {
            return Err(format!("createdAt: `{part}` has no prefix"));
        }
    }
    Ok(selection)
}

fn select(call: &Call, version: &str, selection: &Selection) -> Response {
    let tracker = &call.world.tracker;
    if let Some(login) = &selection.created_by
        && !tracker.users.iter().any(|it| it.id == *login)
    {
        return refuse(422, "User does not exist.");
    }
    let readable = tracker.issues.iter().filter(|it| it.is_readable());
    let mut found: Vec<_> = readable
        .flat_map(|issue| issue.worklogs.iter().map(move |it| (issue, it)))
        .filter(|(_, it)| selection.created_by.as_ref().is_none_or(|id| *id == it.created_by.id))
        .filter(|(_, it)| selection.from.is_none_or(|from| it.created_at >= from))
        .filter(|(_, it)| selection.to.is_none_or(|to| it.created_at <= to))
        .collect();
    found.sort_by_key(|(_, it)| (it.created_at, it.id));
    numbered_page(call, found.len(), |at| {
        found.get(at).map(|(issue, it)| worklog(call, version, issue, it, IdForm::Text))
    })
}

fn page_of(call: &Call, items: &[Value]) -> Response {
    numbered_page(call, items.len(), |at| items.get(at).cloned())
}

fn numbered_page(call: &Call, total: usize, item: impl Fn(usize) -> Option<Value>) -> Response {
    let (Ok(size), Ok(page)) = (call.number("perPage"), call.number("page")) else {
        return refuse(400, "perPage and page are numbers");
    };
    let (size, page) = (call.size(size.unwrap_or(50), 1_000), page.unwrap_or(1).max(1));
    if page.saturating_mul(size) > call.ceiling() {
        return refuse(400, &format!("Request exceeds {} items limit", call.ceiling()));
    }
    let from = call.position((page - 1) * size);
    let to = from.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)).min(total);
    let items = (from..to).filter_map(item).collect();
    let stated = call.total(total).min(i64::try_from(call.ceiling()).unwrap_or(i64::MAX));
    paged(call, reply(200, &Value::Array(items)), page, size, stated)
}

/// An issue as Tracker shows it.
pub(super) fn render_issue(call: &Call, version: &str, issue: &TrackerIssue) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("self", json!(issue_url(call, version, &issue.key)));
    put("id", json!(issue.id));
    put("key", json!(issue.key));
    put("version", json!(issue.version));
    if !issue.aliases.is_empty() {
        put("aliases", json!(issue.aliases));
    }
    put("summary", json!(issue.summary));
    put("queue", reference(call, version, "queues", &issue.queue));
    put("status", reference(call, version, "statuses", &issue.status));
    put("type", reference(call, version, "issuetypes", &issue.kind));
    put("priority", reference(call, version, "priorities", &issue.priority));
    let zone = issue.number % 7;
    put("createdAt", json!(time(issue.created_at, zone)));
    put("updatedAt", json!(time(issue.updated_at, zone)));
    put("createdBy", user(call, version, &issue.created_by));
    put("updatedBy", user(call, version, &issue.updated_by));
    if let Some(it) = &issue.assignee {
        put("assignee", user(call, version, it));
    }
    let durations = [
        ("spent", &issue.spent),
        ("estimation", &issue.estimation),
        ("originalEstimation", &issue.original_estimation),
    ];
    for (key, duration) in durations {
        if let Some(it) = duration {
            put(key, json!(it.text));
        }
    }
    let followers: Vec<_> = issue.followers.iter().map(|it| user(call, version, it)).collect();
    if !followers.is_empty() {
        put("followers", json!(followers));
    }
    if let Some(value) = &issue.local_value {
        put(&issue.local_field, json!(value));
    }
    put("votes", json!(0));
    put("favorite", json!(false));
    Value::Object(out)
}

/// Whether an id is sent as a number or as text.
#[derive(Clone, Copy)]
enum IdForm {
    Number,
    Text,
}

fn worklog(
    call: &Call,
    version: &str,
    issue: &TrackerIssue,
    it: &TrackerWorklog,
    form: IdForm,
) -> Value {
    let (id, revision) = match form {
        IdForm::Number => (json!(it.id), json!(it.version)),
        IdForm::Text => (json!(it.id.to_string()), json!(it.version.to_string())),
    };
    let mut out = json!({
        "self": format!("{}/worklog/{}", issue_url(call, version, &issue.key), it.id),
        "id": id,
        "version": revision,
        "issue": issue_reference(call, version, issue),
        "createdBy": user(call, version, &it.created_by),
        "updatedBy": user(call, version, &it.updated_by),
        "createdAt": time(it.created_at, it.id % 7),
        "updatedAt": time(it.updated_at, it.id % 7),
        "start": time(it.start, it.id % 5),
        "duration": it.duration_text,
    });
    match &it.comment {
        Some(comment) => out["comment"] = json!(comment),
        None if it.id % 2 == 0 => out["comment"] = Value::Null,
        None => {}
    }
    out
}

fn change(call: &Call, version: &str, issue: &TrackerIssue, it: &TrackerChange) -> Value {
    let mut out = json!({
        "id": it.id,
        "self": format!("{}/changelog/{}", issue_url(call, version, &issue.key), it.id),
        "issue": issue_reference(call, version, issue),
        "updatedAt": time(it.updated_at, 0),
        "updatedBy": user(call, version, &it.updated_by),
        "type": it.kind,
        "transport": it.transport,
    });
    if let Some(fields) = &it.fields {
        let one = |it: &TrackerFieldChange| {
            let url = format!("{}/fields/{}", base(call, version), it.field_id);
            let field = json!({"self": url, "id": it.field_id, "display": it.field_display});
            json!({"field": field, "from": it.from, "to": it.to})
        };
        out["fields"] = fields.iter().map(one).collect();
    }
    if let Some(worklog) = &it.worklog {
        out["worklog"] = worklog.clone();
    }
    out
}

fn issue_reference(call: &Call, version: &str, issue: &TrackerIssue) -> Value {
    let url = issue_url(call, version, &issue.key);
    json!({"self": url, "id": issue.id, "key": issue.key, "display": issue.summary})
}

fn reference(call: &Call, version: &str, collection: &str, it: &TrackerRef) -> Value {
    let name = if collection == "queues" { &it.key } else { &it.id };
    let url = format!("{}/{collection}/{name}", base(call, version));
    json!({"self": url, "id": it.id, "key": it.key, "display": it.display})
}

fn queue(call: &Call, version: &str, it: &TrackerRef) -> Value {
    let id: i64 = it.id.parse().unwrap_or(0);
    let url = format!("{}/queues/{}", base(call, version), it.key);
    json!({"self": url, "id": id, "key": it.key, "version": 1, "name": it.display})
}

fn user(call: &Call, version: &str, it: &TrackerUser) -> Value {
    let url = format!("{}/users/{}", base(call, version), it.uid);
    let mut out = json!({"self": url, "id": it.id, "display": it.display});
    if let Some(id) = &it.cloud_uid {
        out["cloudUid"] = json!(id);
    }
    if let Some(id) = it.passport_uid {
        out["passportUid"] = json!(id);
    }
    out
}

/// A person as the list of members shows them.
fn member(call: &Call, version: &str, it: &TrackerUser) -> Value {
    json!({
        "self": format!("{}/users/{}", base(call, version), it.uid),
        "uid": it.uid,
        "login": it.id,
        "trackerUid": it.uid,
        "passportUid": it.passport_uid,
        "cloudUid": it.cloud_uid,
        "display": it.display,
        "email": format!("{}@example.com", it.uid),
        "external": false,
        "dismissed": false,
    })
}

fn base(call: &Call, version: &str) -> String {
    format!("http://{}/tracker/{version}", call.host())
}

fn issue_url(call: &Call, version: &str, key: &str) -> String {
    format!("{}/issues/{key}", base(call, version))
}

/// One instant in one of the forms that servers of this API were seen to send.
fn time(at: DateTime<Utc>, form: i64) -> String {
    let moscow = FixedOffset::east_opt(3 * 3600).map(|zone| at.with_timezone(&zone));
    match (form, moscow) {
        (3, Some(moscow)) => moscow.format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string(),
        (5, _) => at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        _ => at.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
    }
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z").map(|it| it.to_utc());
    let date =
        || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|it| it.and_utc());
    parsed.or_else(|_| date()).map_err(|_| format!("createdAt: `{text}` is not a time"))
}
