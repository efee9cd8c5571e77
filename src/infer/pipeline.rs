//! A whole pipeline file around a proposal.

use std::fmt::Write as _;

use thiserror::Error;
use url::{Host, Url};

use super::{Proposal, sounds_secret, yaml::scalar};
use crate::plan::Name;

/// Why a URL is none that a pipeline file can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It is none of an API, or would leak what it holds.
    #[error("not a URL of an API")]
    NotOfAnApi,
    /// A pipeline file takes one credential of a query, as `auth: { api_key: … }`.
    #[error("several parameters may be credentials: {}", names.join(", "))]
    SeveralCredentials {
        /// The parameters.
        names: Vec<String>,
    },
}

/// What a request asks, taken from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base_url: String,
    path: String,
    query: Vec<(String, String)>,
    /// The parameter that is a credential; its value is not kept.
    credential: Option<String>,
}

impl Endpoint {
    /// Takes a URL apart: `https:`, or `http:` to this machine, without a user and a password.
    ///
    /// ```
    /// use tracklake::infer::Endpoint;
    ///
    /// assert!(Endpoint::parse("https://time.example.com/api/v1/entries?limit=50").is_ok());
    /// assert!(Endpoint::parse("https://me:secret@time.example.com/").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// What is no such URL.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text).map_err(|_| InvalidUrl::NotOfAnApi)?;
        let is_local = match url.host() {
            Some(Host::Domain(it)) => it == "localhost",
            Some(Host::Ipv4(it)) => it.is_loopback(),
            Some(Host::Ipv6(it)) => it.is_loopback(),
            None => false,
        };
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_local;
        let has_user = !url.username().is_empty() || url.password().is_some();
        // A brace would be a template.
        let has_brace = |it: &str| it.contains('{');
        let is_template =
            has_brace(text) || url.query_pairs().any(|(k, v)| has_brace(&k) || has_brace(&v));
        if !is_safe || has_user || is_template {
            return Err(InvalidUrl::NotOfAnApi);
        }
        let mut names: Vec<String> = Vec::new();
        let mut query = Vec::new();
        for (name, value) in url.query_pairs() {
            if !sounds_secret(&name) {
                query.push((name.into_owned(), value.into_owned()));
            } else if !names.iter().any(|it| *it == name) {
                names.push(name.into_owned());
            }
        }
        if names.len() > 1 {
            return Err(InvalidUrl::SeveralCredentials { names });
        }
        Ok(Self {
            base_url: url.origin().ascii_serialization(),
            path: url.path().to_owned(),
            query,
            credential: names.pop(),
        })
    }

    /// What stands for an API that is not known yet.
    fn example() -> Self {
        Self {
            base_url: "https://api.example.com".to_owned(),
            path: "/v1/entries".to_owned(),
            query: Vec::new(),
            credential: None,
        }
    }

    /// The last word of the path that a stream can be called by.
    pub fn stream(&self) -> Option<Name> {
        let names = self.path.split('/').rev().map(|it| {
            let words = super::names::words(&[it.trim_end_matches(".json").to_owned()]);
            words.join("_")
        });
        names.filter(|it| it.len() > 2).find_map(|it| it.parse().ok())
    }
}

/// A pipeline file with one stream: of a proposal, or with columns as examples.
pub fn pipeline(name: &Name, endpoint: Option<&Endpoint>, proposal: Option<&Proposal>) -> String {
    let example = Endpoint::example();
    let Endpoint { base_url, path, query, credential } = endpoint.unwrap_or(&example);
    let stream = endpoint.unwrap_or(&example).stream();
    let stream = stream.as_ref().map_or("records", Name::as_str);
    let env = name.as_str().to_ascii_uppercase();
    let mut out = format!(
        "# yaml-language-server: $schema=schema.json
# `tracklake check {name}` names every mistake, `tracklake run {name} --dry-run` shows what would be asked.
# Lines with DECIDE need a person; the others are worth a look.
version: 1
pipeline: {name}
description: {name}   # what it exports, for `tracklake list`

vars:
  url: {{ env: {env}_URL, default: {}, description: base URL of the API }}
",
        scalar(base_url)
    );
    let token = format!("{{ env: {env}_TOKEN, secret: true, description: API token }}");
    if let Some(credential) = credential {
        let _ = writeln!(
            out,
            "  token: {{ env: {env}_TOKEN, default: \"\", secret: true, description: API token }}\n"
        );
        let _ = writeln!(out, "source:\n  base_url: \"{{{{ vars.url }}}}\"");
        let key = scalar(credential);
        let _ = writeln!(
            out,
            "  auth: {{ api_key: {{ place: query, name: {key}, value: \"{{{{ vars.token }}}}\" }} }}"
        );
    } else {
        let _ = writeln!(out, "  # token: {token}\n");
        let _ = writeln!(out, "source:\n  base_url: \"{{{{ vars.url }}}}\"");
        out.push_str(
            "  # DECIDE: how does the API log in? For a token, take `token` above and one of these:
  # auth: { bearer: { token: \"{{ vars.token }}\" } }
  # auth: { basic: { user: me@example.com, password: \"{{ vars.token }}\" } }
  # auth: { header: { name: X-Api-Key, value: \"{{ vars.token }}\" } }
  auth: none
",
        );
    }
    let _ = writeln!(
        out,
        "  limits: {{ requests_per_second: 5, max_in_flight: 4 }}   # DECIDE: what does the API allow?\n"
    );
    let _ = writeln!(out, "streams:\n  {stream}:\n    request:\n      path: {}", scalar(path));
    if !query.is_empty() {
        let _ = writeln!(out, "      query:");
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in query {
            if seen.contains(&key.as_str()) {
                continue;
            }
            seen.push(key);
            let values: Vec<String> =
                query.iter().filter(|(it, _)| it == key).map(|(_, it)| quoted(it)).collect();
            let value = if let [one] = &values[..] {
                one.clone()
            } else {
                format!("[{}]", values.join(", "))
            };
            let _ = writeln!(out, "        {}: {value}", scalar(key));
        }
    }
    match proposal {
        Some(proposal) => out.push_str(&proposal.yaml()),
        None => out.push_str(EXAMPLE),
    }
    out.push_str(
        "
destination:
  path: output
  formats: { parquet: {}, csv: {} }
",
    );
    out
}

/// A value that is text, whatever it looks like.
fn quoted(text: &str) -> String {
    let written = scalar(text);
    if written.starts_with('"') { written } else { format!("\"{written}\"") }
}

/// A stream whose columns a person writes.
const EXAMPLE: &str = "    # Where a page has its records: a dotted path, `$` for the body itself.
    records: items
    # DECIDE: how is the next page asked for? As it is, one page is read.
    # paginate: { offset: { param: offset, size_param: limit, size: 100, total: total } }
    # paginate: { page: { param: page, size_param: per_page, size: 100 } }
    # paginate: { token: { body: nextPageToken, param: pageToken, size_param: limit, size: 100 } }
    # paginate: { next_url: { path: next } }
    # paginate: { link: { size_param: per_page, size: 100 } }
    # DECIDE: `tracklake infer --from page.json` proposes these from a saved page.
    columns:
      id:            { from: id, type: int64 }
      user_name:     { from: user.name, type: string }
      started_at:    { from: startedAt, type: timestamp }   # without an offset: `{ timestamp: { zone: Europe/Berlin } }`
      spent_seconds: { from: spent, type: duration }   # working days: `{ duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } }`
    # A snapshot: the dataset becomes what was read. Where a run reads only what changed:
    # write: { merge: { key: [id] } }
    write: { replace: { scope: all, key: [id] } }
    partition_by: { column: started_at, unit: day }   # its date in UTC; `zone: Europe/Berlin` for that of another zone
";
