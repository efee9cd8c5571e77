//! Search for issues in Tracker: pages, or a scroll over a snapshot.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use serde_json::Value;
use tokio::time::Instant;

use super::server::{Call, Snapshot, reply, with_header};
use super::tracker::{refuse, render_issue};
use super::tracker_query::Query;
use super::world::tracker::TrackerIssue;

const MAX_PAGE: u64 = 1_000;

/// A search whose result is held until its last page was read or its time is up.
#[derive(Debug)]
pub(super) struct Scroll {
    snapshot: Arc<Snapshot>,
    issues: Vec<usize>,
    body: Value,
    position: usize,
    expires: Instant,
}

/// `POST /issues/_search`.
pub(super) fn search(call: &mut Call, version: &str) -> Response {
    let found = if call.param("scrollType").is_some() || call.param("scrollId").is_some() {
        scroll(call, version)
    } else {
        page(call, version)
    };
    found.unwrap_or_else(|(status, message)| refuse(status, &message))
}

/// `POST /issues/_count`: a bare number, and never a saturated one.
pub(super) fn count(call: &Call) -> Response {
    match find(&call.world, call.json().as_ref()) {
        Ok(found) => reply(200, &Value::from(found.len())),
        Err((status, message)) => refuse(status, &message),
    }
}

type Refused = (u16, String);

fn page(call: &mut Call, version: &str) -> Result<Response, Refused> {
    let bad = |message| (400, message);
    let size = call.size(call.number("perPage").map_err(bad)?.unwrap_or(50), MAX_PAGE);
    let page = call.number("page").map_err(bad)?.unwrap_or(1).max(1);
    if page.saturating_mul(size) > call.ceiling() {
        return Err((400, format!("Request exceeds {} items limit", call.ceiling())));
    }
    let offset = (page - 1) * size;
    call.slip_in(offset, |world| world.tracker.insert(world.seed, world.today));
    let found = find(&call.world, call.json().as_ref())?;
    let issues = found.iter().skip(call.position(offset)).take(usize_of(size));
    let rendered = issues.map(|it| render_issue(call, version, it)).collect();
    let stated = call.total(found.len()).min(i64::try_from(call.ceiling()).unwrap_or(i64::MAX));
    Ok(paged(call, reply(200, &Value::Array(rendered)), page, size, stated))
}

/// Adds the headers of a numbered page.
pub(super) fn paged(call: &Call, response: Response, page: u64, size: u64, total: i64) -> Response {
    let pages = u64::try_from(total).unwrap_or(0).div_ceil(size).max(1);
    let url = |page: u64| {
        let kept = call.query.split('&').filter(|it| !it.is_empty() && !it.starts_with("page="));
        let kept: String = kept.flat_map(|it| [it, "&"]).collect();
        format!("http://{}{}?{kept}page={page}", call.host(), call.path)
    };
    let mut response = with_header(response, "x-total-pages", &pages.to_string());
    response = with_header(response, "x-total-count", &total.to_string());
    response = with_header(response, "link", &format!("<{}>; rel=\"first\"", url(1)));
    if page < pages {
        response = with_header(response, "link", &format!("<{}>; rel=\"next\"", url(page + 1)));
    }
    with_header(response, "link", &format!("<{}>; rel=\"last\"", url(pages)))
}

fn scroll(call: &mut Call, version: &str) -> Result<Response, Refused> {
    let bad = |message| (400, message);
    let size = call.size(call.number("perScroll").map_err(bad)?.unwrap_or(100), MAX_PAGE);
    let ttl = call.number("scrollTTLMillis").map_err(bad)?;
    let ttl = ttl.map_or(call.shared.options.tracker_ttl, Duration::from_millis);
    let body = call.json().ok_or((400, "the body is not JSON".to_owned()))?;
    let (id, asked) = match call.param("scrollId") {
        Some(id) => {
            let (id, position) = id.split_once('.').unwrap_or((id, ""));
            (id.to_owned(), position.parse().ok())
        }
        None => (open(call, &body)?, None),
    };
    let (issues, total, next) = {
        let mut scrolls = call.shared.scrolls();
        scrolls.retain(|_, it| it.expires > Instant::now());
        let scroll = scrolls.get_mut(&id).ok_or((400, "Scroll context is expired".to_owned()))?;
        if scroll.body != body {
            return Err((400, "Scroll request body is changed".to_owned()));
        }
        scroll.expires = Instant::now() + ttl;
        let from = asked.unwrap_or(scroll.position);
        scroll.position = (from + usize_of(size)).min(scroll.issues.len());
        let snapshot = Arc::clone(&scroll.snapshot);
        let page = scroll.issues.get(from..scroll.position).unwrap_or_default();
        let rendered: Vec<Value> = page
            .iter()
            .filter_map(|at| snapshot.tracker.issues.get(*at))
            .map(|it| render_issue(call, version, it))
            .collect();
        let next = (scroll.position < scroll.issues.len()).then_some(scroll.position);
        (rendered, scroll.issues.len(), next)
    };
    let mut response = reply(200, &Value::Array(issues));
    response = with_header(response, "x-total-count", &call.total(total).to_string());
    let Some(next) = next else { return Ok(response) };
    // A scroll that moves on by itself has one id; one that may be asked again names the position.
    let id = if call.shared.options.tracker_scroll_advances { id } else { format!("{id}.{next}") };
    let link = format!(
        "<http://{}{}?scrollId={id}&scrollToken=dummy-token-you-dont-have-to-specify-it&perScroll={size}>; rel=\"next\"",
        call.host(),
        call.path
    );
    response = with_header(response, "x-scroll-id", &id);
    response = with_header(response, "x-scroll-token", "dummy-token-you-dont-have-to-specify-it");
    Ok(with_header(response, "link", &link))
}

fn open(call: &Call, body: &Value) -> Result<String, Refused> {
    if body.get("keys").is_some() || body.get("queue").is_some() {
        return Err((400, "Scroll is not supported".to_owned()));
    }
    if !matches!(call.param("scrollType"), Some("sorted" | "unsorted")) {
        return Err((400, "scrollType is `sorted` or `unsorted`".to_owned()));
    }
    let snapshot = Arc::clone(&call.world);
    let found = find(&snapshot, Some(body))?;
    let issues = found.iter().filter_map(|it| snapshot.tracker_issue(&it.id)).collect();
    let id = format!("cXVlcnlUaGVuRmV0Y2{:06}", call.shared.next_serial());
    let expires = Instant::now() + Duration::from_secs(1);
    let scroll = Scroll {
        snapshot: Arc::clone(&snapshot),
        issues,
        body: body.clone(),
        position: 0,
        expires,
    };
    call.shared.scrolls().insert(id.clone(), scroll);
    Ok(id)
}

/// The issues that a search body asks for, in its order.
fn find<'a>(world: &'a Snapshot, body: Option<&Value>) -> Result<Vec<&'a TrackerIssue>, Refused> {
    let body = body.and_then(Value::as_object).ok_or((400, "the body is not JSON".to_owned()))?;
    let choices = ["queue", "keys", "filter", "query"];
    if choices.iter().filter(|name| body.contains_key(**name)).count() > 2 {
        return Err((400, "Use one of queue, keys, filter, query".to_owned()));
    }
    // Newest first, so that an issue made between two pages disturbs them.
    let visible = world.tracker.issues.iter().rev().filter(|it| !it.lost_access);
    if let Some(queue) = body.get("queue") {
        return Ok(visible.filter(|it| queue.as_str() == Some(&it.queue.key)).collect());
    }
    if let Some(keys) = body.get("keys") {
        let has = |key: &str| match keys {
            Value::Array(keys) => keys.iter().any(|it| it.as_str() == Some(key)),
            it => it.as_str().is_some_and(|it| it.split(',').any(|it| it.trim() == key)),
        };
        return Ok(visible
            .filter(|it| has(&it.key) || it.aliases.iter().any(|it| has(it)))
            .collect());
    }
    let query = if let Some(filter) = body.get("filter") {
        filter_query(filter)
    } else {
        body.get("query").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let query = Query::parse(&query).map_err(|err| (422, format!("Query error: {err}")))?;
    let mut found: Vec<_> = visible.filter(|it| query.matches(it)).collect();
    match body.get("order").and_then(Value::as_str) {
        Some("+updated") => found.sort_by_key(|it| it.updated_at),
        Some("-updated") => found.sort_by_key(|it| std::cmp::Reverse(it.updated_at)),
        _ => query.sort(&mut found),
    }
    Ok(found)
}

/// The query that a filter object means; an unknown field is unknown to the query as well.
fn filter_query(filter: &Value) -> String {
    let fields = filter.as_object().into_iter().flatten();
    let conditions = fields.map(|(field, value)| {
        let bound = |name: &str| value.get(name).and_then(Value::as_str);
        match (value.as_str(), bound("from"), bound("to")) {
            (None, Some(from), Some(to)) => {
                format!("{field}: >= \"{from}\" AND {field}: <= \"{to}\"")
            }
            (None, Some(from), None) => format!("{field}: >= \"{from}\""),
            (None, None, Some(to)) => format!("{field}: <= \"{to}\""),
            (text, _, _) => format!("{field}: \"{}\"", text.unwrap_or_default()),
        }
    });
    conditions.collect::<Vec<_>>().join(" AND ")
}

fn usize_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
