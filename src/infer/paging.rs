//! What the envelopes of all samples say about the next page. Always a question: a page that is read
//! is no proof, and one that is taken for all of them loses the others without a word.
//!
//! ```text
//! {"startAt": 0, "maxResults": 50, "total": 90, "values": […]}   offset, by startAt     proposed
//! {"metadata": {"next": "https://…"}, "results": […]}            next_url               proposed
//! {"count": 250, "next": null, "results": […]}                   next_url, perhaps      a comment
//! {"nextPageToken": "x", "isLast": false, "issues": […]}         token                  a comment
//! {"issues": […]}                                                page, if at all        a comment
//! [{…}], {"7": {…}, "8": {…}}                                    in headers, if at all  a comment
//! {"id": 7, "summary": "…"}                                      none: one record
//! ```
//!
//! What is proposed as it is fails by name in a run where it is wrong: a page that comes twice, or a
//! total that is not reached.

use super::{
    names,
    records::{at, json_path},
    yaml::scalar,
};
use crate::{plan::JsonPath, transform::Tree};

/// How deep below the root signals are looked for.
const DEPTH: usize = 3;

const TOTALS: &[&str] =
    &["total", "total_count", "total_elements", "total_items", "total_results", "total_records"];
/// Names of totals, or of how many records the page has.
const COUNTS: &[&str] = &[
    "count",
    "record_count",
    "records_count",
    "item_count",
    "items_count",
    "result_count",
    "results_count",
    "entry_count",
    "row_count",
    "num_results",
    "num_found",
    "number_of_results",
    "records_total",
    "items_total",
    "results_total",
    "hits",
    "total_hits",
    "total_rows",
    "total_entries",
    "total_size",
    "found",
];
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
    /// What `paginate` may be, as YAML; none where a page is one record.
    pub(super) paginate: Option<String>,
    /// Whether that is more than a guess.
    pub(super) is_told: bool,
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

/// What the samples say about the next page.
pub(super) fn hint(samples: &[Tree], records: &JsonPath) -> Hint {
    let counts = samples.iter().filter_map(|it| match at(it, records.segments()) {
        Some(Tree::Array(elements)) => Some(elements.len()),
        Some(_) => Some(1),
        None => None,
    });
    let n_pages = counts.clone().filter(|it| *it > 0).count();
    let n_records = counts.max().unwrap_or_default();
    let is_array = samples.iter().any(|it| matches!(it, Tree::Array(_)));
    if records.is_root() && is_array {
        return in_headers(n_pages, "a bare array names no next page");
    }
    if records.is_root() {
        // What stands beside the one record is of the record.
        let note = match n_pages {
            0 | 1 => "the body is one record; check that no list of them is meant".to_owned(),
            n => format!("the samples are {n} records: which request reads each of them?"),
        };
        return Hint { note, ..Hint::default() };
    }
    let signals = samples.iter().flat_map(|it| signals(it, records)).collect();
    Envelope { signals, n_records, n_pages }.hint()
}

/// What to say of samples that are maps of records, with nothing around them.
pub(super) fn hint_of_bare_map(samples: &[Tree]) -> Hint {
    let has_records = |it: &&Tree| matches!(it, Tree::Object(fields) if !fields.is_empty());
    let n_pages = samples.iter().filter(has_records).count();
    in_headers(
        n_pages,
        "a body that has records by their key, and nothing else, names no next page",
    )
}

/// Where the body has no place for it.
fn in_headers(n_pages: usize, why: &str) -> Hint {
    let note = format!("{why}: is there a header `Link`? page numbers?");
    guess(n_pages, &note, "{ link: { size_param: per_page, size: 100 } }")
}

/// What a person may try.
fn guess(n_pages: usize, note: &str, paginate: &str) -> Hint {
    let note = match n_pages {
        0 | 1 => note.to_owned(),
        n => format!("the samples are {n} pages; {note}"),
    };
    Hint { paginate: Some(paginate.to_owned()), is_told: false, note }
}

/// What stands around the records, in all samples.
struct Envelope<'t> {
    signals: Vec<Signal<'t>>,
    /// Of the fullest page.
    n_records: usize,
    /// Samples that have records.
    n_pages: usize,
}

impl Envelope<'_> {
    fn hint(&self) -> Hint {
        let last = self.entry("last", LAST, is_boolean);
        if let Some(url) = self.find(NEXTS, is_url) {
            let path = format!("path: {}", scalar(&url.path));
            // A total that the page reaches would be the end.
            let total = self.larger_total().map(|it| format!("total: {}", scalar(&it.path)));
            let note = format!("`{}` is the URL of the next page", url.path);
            let paginate = Some(block("next_url", &[Some(path), total, last]));
            return Hint { paginate, is_told: is_plain(&url.path), note };
        }
        // A flag alone is enough.
        let flag = last.or_else(|| self.entry("more", MORE, is_boolean));
        if let Some(token) = self.find(TOKENS, is_value) {
            return self.token(token, &token.key, flag);
        }
        if let Some(counted) = self.counted(flag.clone()) {
            return counted;
        }
        if let Some(next) = self.find(NEXTS, is_value) {
            let param = if is_number(next.value) { "page" } else { &next.key };
            return self.token(next, param, flag);
        }
        if let Some(next) = self.find(NEXTS, is_null) {
            let path = &next.path;
            let note =
                format!("`{path}` is null: where there are more pages, is it the URL of the next?");
            let total = self.larger_total().map(|it| format!("total: {}", scalar(&it.path)));
            let entries = [Some(format!("path: {}", scalar(path))), total, flag];
            return guess(self.n_pages, &note, &block("next_url", &entries));
        }
        if let Some(token) = self.find(TOKENS, is_null) {
            return self.token(token, &token.key, flag);
        }
        let pages = self.entry("total_pages", PAGES, is_number);
        let is_counted = self.total().is_some() || pages.is_some() || flag.is_some();
        let note = if is_counted {
            "the envelope says how much there is, but not how to ask for more"
        } else if self.n_pages > 1 {
            "nothing in them says how the next one is asked for"
        } else {
            "nothing in the sample says that there are more: does a longer list come whole?"
        };
        let entries =
            [Some("param: page".to_owned()), Some(self.size()), self.total(), pages, flag];
        guess(self.n_pages, note, &block("page", &entries))
    }

    fn token(&self, token: &Signal<'_>, param: &str, flag: Option<String>) -> Hint {
        let path = &token.path;
        let from = format!("body: {}", scalar(path));
        let param = format!("param: {}", scalar(param));
        let entries = [Some(from), Some(param), Some(self.size()), self.total(), flag];
        let note =
            format!("`{path}` looks like the token of the next page: which parameter takes it?");
        guess(self.n_pages, &note, &block("token", &entries))
    }

    /// Pages by their number, or by the records before them.
    fn counted(&self, flag: Option<String>) -> Option<Hint> {
        let offset = self.find(OFFSETS, is_number).map(|it| ("offset", it));
        let (mut scheme, at) =
            offset.or_else(|| self.find(NUMBERS, is_number).map(|it| ("page", it)))?;
        let Signal { key, path, value, .. } = at;
        let first = match value {
            Tree::Number(it) => it.as_str(),
            _ => "",
        };
        let note = match (scheme, first) {
            // The first page of an offset begins at 0.
            ("offset", "1") => {
                scheme = "page";
                format!("`{path}` is 1: the number of the page, or a record to start at?")
            }
            ("offset", _) => format!("`{path}` looks like the number of records before this page"),
            _ => format!("`{path}` looks like the number of this page"),
        };
        let size = self.find(SIZES, is_number);
        let parts = [Some(at), size, self.larger_total()];
        let is_told = (offset.is_none() || scheme == "offset")
            && parts.iter().all(|it| it.is_some_and(|it| is_plain(&it.key) && is_plain(&it.path)))
            && (first == "0" || scheme == "page" && first == "1");
        let pages = self.entry("total_pages", PAGES, is_number).filter(|_| scheme == "page");
        let start = (scheme == "page" && first == "0").then(|| "start: 0".to_owned());
        let entries = [
            Some(format!("param: {}", scalar(key))),
            start,
            Some(self.size()),
            self.total(),
            pages,
            flag,
        ];
        let hint = guess(self.n_pages, &note, &block(scheme, &entries));
        Some(Hint { is_told, ..hint })
    }

    /// The first signal of one of these names whose value is one.
    fn find(&self, names: &[&str], is_one: fn(&Tree) -> bool) -> Option<&Signal<'_>> {
        names
            .iter()
            .find_map(|name| self.signals.iter().find(|it| it.name == *name && is_one(it.value)))
    }

    fn entry(&self, key: &str, names: &[&str], is_one: fn(&Tree) -> bool) -> Option<String> {
        self.find(names, is_one).map(|it| format!("{key}: {}", scalar(&it.path)))
    }

    /// The number of records in all, which may be that of this page where it is not larger.
    fn total(&self) -> Option<String> {
        let total = self.larger_total().or_else(|| self.find(TOTALS, is_number));
        total.map(|it| format!("total: {}", scalar(&it.path)))
    }

    /// A number that is larger than any page: there are more.
    fn larger_total(&self) -> Option<&Signal<'_>> {
        let is_larger = |it: &&Signal<'_>| matches!(it.value, Tree::Number(n) if n.parse::<usize>().is_ok_and(|n| n > self.n_records));
        let named =
            |name: &&str| self.signals.iter().filter(|it| it.name == **name).find(is_larger);
        TOTALS.iter().chain(COUNTS).find_map(named)
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
                // `_links.next.href` and `next.url` are named by what they are a link to.
                let named = match &path[..] {
                    [.., of, last] if last == "href" || last == "url" && of == "next" => of,
                    _ => key,
                };
                let name = names::words(std::slice::from_ref(named)).join("_");
                found.push(Signal { name, key: key.clone(), path: json_path.to_string(), value });
            }
        }
    }
}

fn is_number(value: &Tree) -> bool {
    matches!(value, Tree::Number(_))
}

fn is_value(value: &Tree) -> bool {
    matches!(value, Tree::Text(_) | Tree::Number(_))
}

fn is_null(value: &Tree) -> bool {
    matches!(value, Tree::Null)
}

/// Whether a pipeline file takes it as a name, whatever the API means by it.
fn is_plain(text: &str) -> bool {
    !text.contains(['{', '}'])
}

fn is_boolean(value: &Tree) -> bool {
    matches!(value, Tree::Boolean(_))
}

/// Whether it leads to a page, also from the URL of this one: `?page=2`.
fn is_url(value: &Tree) -> bool {
    let Tree::Text(text) = value else { return false };
    let is_absolute = text.starts_with("https://") || text.starts_with("http://");
    is_absolute || text.starts_with('/') || text.contains('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(bodies: &[&str], records: &str) -> Hint {
        let bodies: Vec<Tree> =
            bodies.iter().map(|it| Tree::parse(it.as_bytes()).unwrap()).collect();
        hint(&bodies, &records.parse().unwrap())
    }

    #[track_caller]
    fn check(body: &str, records: &str, expected: Option<&str>) {
        let found = hint_of(&[body], records);
        assert_eq!(found.paginate.as_deref(), expected, "{}", found.note);
    }

    #[test]
    fn only_what_fails_by_name_where_it_is_wrong_is_proposed_as_it_is() {
        for (body, is_told) in [
            (r#"{"next": "https://api.example.net/?page=2", "items": [{}]}"#, true),
            (r#"{"next": "?page=2", "items": [{}]}"#, true),
            (r#"{"next": null, "count": 2, "items": [{}]}"#, false),
            (r#"{"page": 1, "per_page": 1, "total": 2, "items": [{}]}"#, true),
            (r#"{"page": 0, "per_page": 1, "total": 2, "items": [{}]}"#, true),
            (r#"{"page": 2, "per_page": 1, "total": 2, "items": [{}]}"#, false),
            (r#"{"page": 1, "per_page": 1, "total": 1, "items": [{}]}"#, false),
            (r#"{"page": 1, "total": 2, "items": [{}]}"#, false),
            (r#"{"startAt": 0, "maxResults": 1, "total": 2, "items": [{}]}"#, true),
            (r#"{"offset": 1, "limit": 1, "total": 2, "items": [{}]}"#, false),
            (r#"{"nextPageToken": "x", "total": 2, "items": [{}]}"#, false),
            (r#"{"items": [{}]}"#, false),
        ] {
            let found = hint_of(&[body], "items");
            assert_eq!(found.is_told, is_told, "{body}: {found:?}");
        }
    }

    #[test]
    fn whatever_says_that_there_are_more_pages_is_seen() {
        for (bodies, said) in [
            (&[r#"{"items": [{}]}"#, r#"{"items": [{}]}"#][..], "the samples are 2 pages"),
            (&["[{}]", "[{}]"], "the samples are 2 pages"),
            (&[r#"{"next": null, "items": [{}]}"#], "`next` is null"),
            (&[r#"{"count": 2, "items": [{}]}"#], "says how much there is"),
            (
                &[r#"{"next": null, "items": []}"#, r#"{"next": "?p=2", "items": [{}]}"#],
                "is the URL",
            ),
            (&[r#"{"items": [{}]}"#], "does a longer list come whole?"),
        ] {
            let records = if bodies[0].starts_with('[') { "$" } else { "items" };
            let found = hint_of(bodies, records);
            assert!(found.note.contains(said) && found.paginate.is_some(), "{bodies:?}: {found:?}");
        }
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
            r#"{"metadata": {"count": 2, "next": "https://api.example.net/4?offset=2"}, "results": [{}, {}]}"#,
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
        check(
            r#"{"count": 250, "next": null, "results": [{}]}"#,
            "results",
            Some("{ next_url: { path: next, total: count } }"),
        );
        check(
            r#"{"next": "?page=2", "total": 1, "results": [{}]}"#,
            "results",
            Some("{ next_url: { path: next } }"),
        );
        check(
            r#"{"page": 0, "size": 1, "total": 2, "items": [{}]}"#,
            "items",
            Some("{ page: { param: page, start: 0, size_param: size, size: 1, total: total } }"),
        );
        check(
            r#"{"next_page": 2, "items": [{}]}"#,
            "items",
            Some("{ token: { body: next_page, param: page, size_param: limit, size: 100 } }"),
        );
        check(
            r#"{"items": []}"#,
            "items",
            Some("{ page: { param: page, size_param: limit, size: 100 } }"),
        );
        check(r#"{"page": 7, "title": "of a record"}"#, "$", None);
    }
}
