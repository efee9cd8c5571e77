//! What an envelope says about the next page. Always a question: a page that is read is no proof.
//!
//! ```text
//! {"startAt": 0, "maxResults": 50, "total": 90, "values": […]}   offset, by startAt
//! {"metadata": {"next": "https://…"}, "results": […]}            next_url at metadata.next
//! {"nextPageToken": "x", "isLast": false, "issues": […]}         token
//! [{…}]                                                          in headers, if at all
//! ```

use super::{names, records::json_path, yaml::scalar};
use crate::{plan::JsonPath, transform::Tree};

/// How deep below the root signals are looked for.
const DEPTH: usize = 3;

const TOTALS: &[&str] =
    &["total", "total_count", "total_elements", "total_items", "total_results", "total_records"];
const PAGES: &[&str] = &["total_pages", "page_count", "pages", "last_page_number"];
const LAST: &[&str] = &["is_last", "last_page", "last", "is_last_batch", "is_last_page"];
const MORE: &[&str] =
    &["has_more", "has_next", "has_next_page", "more", "has_after", "more_results"];
const OFFSETS: &[&str] = &["offset", "start_at", "start", "skip"];
const NUMBERS: &[&str] = &["page", "page_number", "current_page"];
const SIZES: &[&str] =
    &["limit", "max_results", "page_size", "per_page", "size", "top", "page_limit"];
const NEXTS: &[&str] =
    &["next", "next_page", "next_link", "next_url", "next_page_url", "odata_next_link"];
const TOKENS: &[&str] = &[
    "next_page_token",
    "next_token",
    "next_cursor",
    "end_cursor",
    "after_cursor",
    "cursor",
    "continuation_token",
    "scroll_id",
    "page_token",
];

/// What is known about the next page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// What `paginate` may be, as YAML.
    pub(super) paginate: Option<String>,
    /// What a person should know about it.
    pub(super) note: String,
}

/// A signal of the envelope.
struct Signal<'t> {
    /// Its key as words.
    name: String,
    /// Its key as it is.
    key: String,
    path: String,
    value: &'t Tree,
}

/// Whether a body without records may be the envelope of some.
pub(super) fn is_envelope(body: &Tree) -> bool {
    let Tree::Object(fields) = body else { return true };
    let is_signal = |it: &Signal<'_>| {
        [TOTALS, PAGES, LAST, MORE, OFFSETS, NUMBERS, SIZES]
            .iter()
            .any(|of| of.contains(&it.name.as_str()))
    };
    fields.len() == 1 || signals(body, &JsonPath::default()).iter().any(is_signal)
}

/// What the first sample says about the next page.
pub(super) fn hint(samples: &[Tree], records: &JsonPath) -> Hint {
    let Some(body) = samples.first() else { return Hint::default() };
    if matches!(body, Tree::Array(_)) {
        let note = "a bare array names no next page: is there a header `Link`? page numbers?";
        let paginate = "{ link: { size_param: per_page, size: 100 } }".to_owned();
        return Hint { paginate: Some(paginate), note: note.to_owned() };
    }
    // What stands beside the one record is of the record.
    let signals = if records.is_root() { Vec::new() } else { signals(body, records) };
    Envelope { signals }.hint()
}

/// What stands around the records.
struct Envelope<'t> {
    signals: Vec<Signal<'t>>,
}

impl Envelope<'_> {
    fn hint(&self) -> Hint {
        let flag = self.entry("last", LAST, is_boolean);
        if let Some(url) = self.find(NEXTS, is_url) {
            let path = format!("path: {}", scalar(&url.path));
            let entries = [Some(path), self.total(), flag];
            let note = format!("`{}` is the URL of the next page", url.path);
            return Hint { paginate: Some(block("next_url", &entries)), note };
        }
        // A flag alone is enough.
        let flag = flag.or_else(|| self.entry("more", MORE, is_boolean));
        if let Some(token) = self.find(TOKENS, is_token) {
            let from = format!("body: {}", scalar(&token.path));
            let param = format!("param: {}", scalar(&token.key));
            let entries = [Some(from), Some(param), Some(self.size()), self.total(), flag];
            let path = &token.path;
            let note = format!(
                "`{path}` looks like the token of the next page: which parameter takes it?"
            );
            return Hint { paginate: Some(block("token", &entries)), note };
        }
        let pages = self.entry("total_pages", PAGES, is_number);
        let is_counted = self.total().is_some() || pages.is_some() || flag.is_some();
        let counted = |scheme: &str, param: &str, pages: Option<String>, note: String| {
            let param = format!("param: {}", scalar(param));
            let entries = [Some(param), Some(self.size()), self.total(), pages, flag];
            Hint { paginate: Some(block(scheme, &entries)), note }
        };
        match (self.find(OFFSETS, is_number), self.find(NUMBERS, is_number)) {
            // The first page of an offset begins at 0.
            (Some(Signal { key, path, value: Tree::Number(it), .. }), _) if it == "1" => {
                let note =
                    format!("`{path}` is 1: the number of the page, or a record to start at?");
                counted("page", key, pages, note)
            }
            (Some(Signal { key, path, .. }), _) => {
                let note = format!("`{path}` looks like the number of records before this page");
                counted("offset", key, None, note)
            }
            (None, Some(Signal { key, path, .. })) => {
                counted("page", key, pages, format!("`{path}` looks like the number of this page"))
            }
            (None, None) if is_counted => {
                let note = "the envelope says how much there is, but not how to ask for more";
                counted("page", "page", pages, note.to_owned())
            }
            (None, None) => {
                let note = "nothing in the sample says that there are more pages".to_owned();
                Hint { paginate: None, note }
            }
        }
    }

    /// The first signal of one of these names, if its value is one.
    fn find(&self, names: &[&str], is_one: fn(&Tree) -> bool) -> Option<&Signal<'_>> {
        let found = names.iter().find_map(|key| self.signals.iter().find(|it| it.name == *key));
        found.filter(|it| is_one(it.value))
    }

    fn entry(&self, key: &str, names: &[&str], is_one: fn(&Tree) -> bool) -> Option<String> {
        self.find(names, is_one).map(|it| format!("{key}: {}", scalar(&it.path)))
    }

    fn total(&self) -> Option<String> {
        self.entry("total", TOTALS, is_number)
    }

    /// How many records a page has, and which parameter may say so.
    fn size(&self) -> String {
        let found = self.find(SIZES, is_number);
        let (key, value) = found.map_or(("limit", 100), |it| match it.value {
            Tree::Number(n) => (it.key.as_str(), n.parse().unwrap_or(100_u64).clamp(1, 10_000)),
            _ => (it.key.as_str(), 100),
        });
        format!("size_param: {}, size: {value}", scalar(key))
    }
}

fn block(scheme: &str, entries: &[Option<String>]) -> String {
    let entries: Vec<&str> = entries.iter().flatten().map(String::as_str).collect();
    format!("{{ {scheme}: {{ {} }} }}", entries.join(", "))
}

/// The values without parts in the objects around the records.
fn signals<'t>(body: &'t Tree, records: &JsonPath) -> Vec<Signal<'t>> {
    let mut found = Vec::new();
    collect(body, records, &mut Vec::new(), &mut found);
    found
}

fn collect<'t>(
    value: &'t Tree,
    records: &JsonPath,
    path: &mut Vec<String>,
    found: &mut Vec<Signal<'t>>,
) {
    let is_records = !path.is_empty() && path == records.segments();
    match value {
        Tree::Object(fields) if path.len() < DEPTH && !is_records => {
            for (key, value) in fields {
                path.push(key.clone());
                collect(value, records, path, found);
                path.pop();
            }
        }
        Tree::Object(_) | Tree::Array(_) => {}
        _ => {
            if let (Some(json_path), Some(key)) = (json_path(path), path.last()) {
                // `_links.next.href` is named by what it is a link to.
                let named =
                    if key == "href" && path.len() > 1 { &path[path.len() - 2] } else { key };
                let name = names::words(std::slice::from_ref(named)).join("_");
                found.push(Signal { name, key: key.clone(), path: json_path.to_string(), value });
            }
        }
    }
}

fn is_number(value: &Tree) -> bool {
    matches!(value, Tree::Number(_))
}

fn is_token(value: &Tree) -> bool {
    matches!(value, Tree::Text(_) | Tree::Number(_) | Tree::Null)
}

fn is_boolean(value: &Tree) -> bool {
    matches!(value, Tree::Boolean(_))
}

fn is_url(value: &Tree) -> bool {
    matches!(value, Tree::Text(it) if it.starts_with("http://") || it.starts_with("https://") || it.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, records: &str, expected: Option<&str>) {
        let body = Tree::parse(body.as_bytes()).unwrap();
        let found = hint(&[body], &records.parse().unwrap());
        assert_eq!(found.paginate.as_deref(), expected, "{}", found.note);
    }

    #[test]
    fn the_envelope_names_the_scheme() {
        check(
            r#"{"startAt": 0, "maxResults": 50, "total": 90, "isLast": false, "values": []}"#,
            "values",
            Some(
                "{ offset: { param: startAt, size_param: maxResults, size: 50, total: total, last: isLast } }",
            ),
        );
        check(
            r#"{"metadata": {"count": 2, "next": "https://api.example.net/4?offset=2"}, "results": []}"#,
            "results",
            Some("{ next_url: { path: metadata.next } }"),
        );
        check(
            r#"{"nextPageToken": "x", "isLast": false, "issues": []}"#,
            "issues",
            Some(
                "{ token: { body: nextPageToken, param: nextPageToken, size_param: limit, size: 100, last: isLast } }",
            ),
        );
        check(
            r#"{"offset": 1, "pageSize": 20, "total": 3, "_embedded": {"elements": []}}"#,
            "_embedded.elements",
            Some("{ page: { param: offset, size_param: pageSize, size: 20, total: total } }"),
        );
        check(
            r#"{"_links": {"next": {"href": "/v3/x?page=2"}}, "items": []}"#,
            "items",
            Some("{ next_url: { path: _links.next.href } }"),
        );
        check(
            r#"{"pageInfo": {"hasNextPage": true}, "nodes": []}"#,
            "nodes",
            Some(
                "{ page: { param: page, size_param: limit, size: 100, more: pageInfo.hasNextPage } }",
            ),
        );
        check("[]", "$", Some("{ link: { size_param: per_page, size: 100 } }"));
        check(r#"{"items": []}"#, "items", None);
        check(r#"{"page": 7, "title": "of a record"}"#, "$", None);
    }
}
