//! Where the next page is, and whether there is one. Pure: a page's facts in, the next request's
//! parameters out.
//!
//! The end is told by the strongest signal that the API gives: a flag, a number of pages, a total,
//! a missing token; only where none of these is declared by an empty page.

mod stuck;

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    iter,
};

use serde_json::Value;

use super::{
    ledger::{Ledger, PageNews},
    page_size::{self, Position, Smaller},
};
pub use stuck::StuckPaging;
use stuck::{LONGEST_TOKEN, MOST_EMPTY_PAGES};

use crate::plan::{PageFacts, PageScheme, PaginatePlan, Placement, Signal, Signals, value_text};

/// What the next request has that the slice's own request has not.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ask {
    /// Parameters to put into the request.
    pub params: Vec<(Placement, Value)>,
    /// A URL to ask instead of the slice's own.
    pub url: Option<String>,
}

/// What comes after a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Another page.
    Page(Ask),
    /// Nothing: this was the last one.
    End,
}

/// How to go on with smaller pages.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shrunk {
    /// At the same place.
    Ask(Ask),
    /// With the first page.
    Restart(Ask),
}

/// The position in the pages of one slice.
#[derive(Debug)]
pub(super) struct Paginator<'a> {
    plan: &'a PaginatePlan,
    /// Pages read.
    page: u64,
    /// Records read, repetitions included: what an offset counts.
    returned: u64,
    /// The size that is asked for, and the largest that may be: where sizes have to divide the offset,
    /// the next one may be larger again.
    size: Option<u64>,
    most: Option<u64>,
    /// Records of the fullest page of this size.
    fullest: u64,
    /// The number of pages that the API named last.
    total_pages: Option<u64>,
    /// Of the tokens so far, what tells them apart.
    tokens: HashSet<(u64, u64)>,
    /// Pages without a record since the last that had one.
    empty_pages: u64,
    /// Whether two tokens in a row were different: then each one leads to one page.
    has_new_tokens: Option<bool>,
    last_token: Option<Value>,
    /// Whether a page was too much, so that no larger one is asked for.
    has_shrunk: bool,
    /// What was asked for to find out whether sizes are heeded.
    probe: Probe,
}

/// A page of another size, where the place of a page is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    /// One twice as large as the one that was full.
    Larger {
        than: u64,
    },
    /// One half as large as what neither size gave more than.
    Smaller {
        than: u64,
    },
}

/// The headers of a response, as far as paging reads them: names in lower case.
pub(super) type Headers = [(String, String)];

impl<'a> Paginator<'a> {
    /// Stands before the first page.
    pub(super) fn new(plan: &'a PaginatePlan) -> Self {
        let size = plan.size.as_ref().map(|it| it.size);
        Self {
            plan,
            page: 0,
            returned: 0,
            size,
            most: size,
            fullest: 0,
            total_pages: None,
            tokens: HashSet::new(),
            empty_pages: 0,
            has_new_tokens: None,
            last_token: None,
            has_shrunk: false,
            probe: Probe::None,
        }
    }

    /// What the first request has.
    pub(super) fn first(&self) -> Ask {
        let start = match &self.plan.scheme {
            PageScheme::Number { param, start } | PageScheme::Offset { param, start, .. } => {
                Some((param.clone(), Value::from(*start)))
            }
            PageScheme::Single
            | PageScheme::Link { .. }
            | PageScheme::Token { .. }
            | PageScheme::NextUrl { .. }
            | PageScheme::LastRecord { .. } => None,
        };
        Ask { params: start.into_iter().chain(self.size_param()).collect(), url: None }
    }

    /// The API's own total of records, where the page names it.
    pub(super) fn total(
        &self,
        facts: &PageFacts,
        headers: &Headers,
    ) -> Result<Option<u64>, StuckPaging> {
        number(self.plan.signals.total.as_ref(), facts, headers)
    }

    /// Whether a total is one that the API cannot give all records of, or cannot count beyond.
    pub(super) fn is_capped(&self, total: u64) -> bool {
        let Signals { cap, .. } = self.plan.signals;
        let reachable = match &self.plan.scheme {
            PageScheme::Offset { max: Some(max), start, .. } => {
                // The last page starts at a multiple of the size, too.
                let (last, size) = (max.saturating_sub(*start), self.size.unwrap_or(1).max(1));
                Some(last - last % size + size)
            }
            _ => None,
        };
        cap.is_some_and(|it| total >= it) || reachable.is_some_and(|it| total > it)
    }

    /// What comes after a page.
    pub(super) fn after(
        &mut self,
        facts: &PageFacts,
        headers: &Headers,
        news: PageNews,
        ledger: &Ledger,
    ) -> Result<Next, StuckPaging> {
        self.page += 1;
        self.returned += facts.records;
        self.fullest = self.fullest.max(facts.records);
        let signals = &self.plan.signals;
        if news == PageNews::Repeated {
            return self.repeated(facts, ledger);
        }
        let last = flag(signals.last.as_ref(), facts, headers);
        let more = flag(signals.more.as_ref(), facts, headers);
        if last == Some(true) || more == Some(false) {
            return Ok(Next::End);
        }
        let total_pages = number(signals.total_pages.as_ref(), facts, headers)?;
        self.total_pages = total_pages.or(self.total_pages);
        if total_pages.is_some_and(|it| self.page >= it) {
            return Ok(Next::End);
        }
        let promised = last == Some(false) || more == Some(true);
        if !promised && ledger.total().is_some_and(|it| self.returned >= it) {
            return Ok(Next::End);
        }
        let short = self.size.is_some_and(|it| facts.records < it);
        if signals.end_on_short_page && short {
            return Ok(Next::End);
        }
        let counts = matches!(
            self.plan.scheme,
            PageScheme::Number { .. } | PageScheme::Offset { .. } | PageScheme::LastRecord { .. }
        );
        if counts && facts.records == 0 {
            // Where the API has promised more, an end here would lose records without a word, unless
            // as many as it counts have come.
            let has_all = ledger.total().is_some_and(|it| self.returned >= it);
            return if promised && !has_all {
                Err(StuckPaging::EmptyPage { page: self.page })
            } else {
                Ok(Next::End)
            };
        }
        self.next(facts, headers)
    }

    /// What a page without a new record says: that paging is ignored and all records have come, or,
    /// where it is as full as was asked for, only that the place is ignored and the size is heeded.
    fn repeated(&mut self, facts: &PageFacts, ledger: &Ledger) -> Result<Next, StuckPaging> {
        let repeated = StuckPaging::RepeatedPage { page: self.page };
        if !self.plan.signals.end_on_repeat {
            return Err(repeated);
        }
        let Some(size) = self.size.filter(|_| self.has_size_param()) else { return Ok(Next::End) };
        let (records, is_full) = (facts.records, facts.records == size);
        let size = match self.probe {
            Probe::Smaller { than } if is_full => {
                return Err(StuckPaging::LargestPage { size: than });
            }
            Probe::Smaller { .. } => return Ok(Next::End),
            // A page twice as large has more, or all of them. Where larger ones are too much, or rows
            // would be doubled, nobody can tell.
            _ if is_full && (self.has_shrunk || !ledger.is_keyed()) => return Err(repeated),
            _ if is_full => {
                self.probe = Probe::Larger { than: size };
                self.most = Some(size * 2);
                size * 2
            }
            // The server may give no larger pages. If it ignores sizes, it gives no smaller ones either.
            Probe::Larger { than } if than == records && records > 1 => {
                self.probe = Probe::Smaller { than };
                records / 2
            }
            Probe::Larger { .. } | Probe::None => return Ok(Next::End),
        };
        self.size = Some(size);
        Ok(Next::Page(self.first()))
    }

    fn next(&mut self, facts: &PageFacts, headers: &Headers) -> Result<Next, StuckPaging> {
        self.empty_pages = if facts.records == 0 { self.empty_pages + 1 } else { 0 };
        if self.empty_pages >= MOST_EMPTY_PAGES {
            return Err(StuckPaging::OnlyEmptyPages);
        }
        let ask = match &self.plan.scheme {
            PageScheme::Single => return Ok(Next::End),
            PageScheme::Number { param, start } => {
                Ask { params: vec![(param.clone(), Value::from(start + self.page))], url: None }
            }
            PageScheme::Offset { param, start, max, multiple_of_size } => {
                let offset = start + self.returned;
                if let Some(max) = max.filter(|it| offset > *it) {
                    return Err(StuckPaging::BeyondLargestOffset { offset, max });
                }
                // A server may lower the page size without a word.
                if let Some(most) = self.most.filter(|_| *multiple_of_size) {
                    self.size = Some(page_size::fitting(self.returned, most));
                }
                Ask { params: vec![(param.clone(), Value::from(offset))], url: None }
            }
            PageScheme::Link { param } => {
                let Some(link) = next_link(headers) else { return Ok(Next::End) };
                self.unseen(&link)?;
                match param {
                    None => return Ok(Next::Page(Ask { params: Vec::new(), url: Some(link) })),
                    Some(name) => {
                        let Some(value) = query_value(&link, name) else {
                            let (page, param) = (self.page, name.clone());
                            return Err(StuckPaging::NoLinkParam { page, param });
                        };
                        // As an empty token is.
                        if value.is_empty() {
                            return Ok(Next::End);
                        }
                        let place = crate::plan::Place::Query;
                        let placement = Placement { place, name: name.clone() };
                        Ask { params: vec![(placement, Value::String(value))], url: None }
                    }
                }
            }
            PageScheme::Token { from, param, end_on_empty_page, may_repeat } => {
                if *end_on_empty_page && facts.records == 0 {
                    return Ok(Next::End);
                }
                let Some(token) = value(from, facts, headers).filter(|it| !is_absent(it)) else {
                    return Ok(Next::End);
                };
                if *may_repeat {
                    self.has_new_tokens = self.last_token.as_ref().map(|it| *it != token);
                    self.last_token = Some(token.clone());
                } else {
                    self.unseen(&value_text(&token))?;
                }
                Ask { params: vec![(param.clone(), token)], url: None }
            }
            PageScheme::NextUrl { from } => {
                let Some(url) = facts.value(from).filter(|it| !is_absent(it)) else {
                    return Ok(Next::End);
                };
                let url = value_text(url);
                self.unseen(&url)?;
                return Ok(Next::Page(Ask { params: Vec::new(), url: Some(url) }));
            }
            PageScheme::LastRecord { from, param } => {
                let Some(last) = facts.last_record_field.clone().filter(|it| !is_absent(it)) else {
                    return Err(StuckPaging::NoLastRecord {
                        page: self.page,
                        field: from.to_string(),
                    });
                };
                Ask { params: vec![(param.clone(), last)], url: None }
            }
        };
        let params = ask.params.into_iter().chain(self.size_param()).collect();
        Ok(Next::Page(Ask { params, url: None }))
    }

    /// What will be asked for after the next page, if the pages stay as full as the fullest one and the
    /// total stays what it is: at most so many requests, and none where only the page before it says
    /// what to ask, or where no total says how many there are.
    pub(super) fn foresee(&self, total: Option<u64>, most: usize) -> Vec<Ask> {
        if self.fullest == 0 {
            return Vec::new();
        }
        let by_records = total.map(|it| it.saturating_sub(self.returned).div_ceil(self.fullest));
        let by_pages = self.total_pages.map(|it| it.saturating_sub(self.page));
        let Some(left) = by_records.into_iter().chain(by_pages).min() else { return Vec::new() };
        let later = |it| {
            let (page, returned) = (self.page + it, self.returned + it * self.fullest);
            self.at(Position { page, returned })
        };
        (1..left).take(most).map_while(later).collect()
    }

    /// The request for the page at a place, where that alone says what to ask, and the size stays.
    fn at(&self, Position { page, returned }: Position) -> Option<Ask> {
        let (param, value) = match &self.plan.scheme {
            PageScheme::Number { param, start } => (param, start + page),
            PageScheme::Offset { param, start, max, multiple_of_size } => {
                let offset = start + returned;
                let fits = !multiple_of_size
                    || self
                        .most
                        .is_none_or(|it| Some(page_size::fitting(returned, it)) == self.size);
                if !fits || max.is_some_and(|it| offset > it) {
                    return None;
                }
                (param, offset)
            }
            PageScheme::Single
            | PageScheme::Link { .. }
            | PageScheme::Token { .. }
            | PageScheme::NextUrl { .. }
            | PageScheme::LastRecord { .. } => return None,
        };
        let number = (param.clone(), Value::from(value));
        Some(Ask { params: iter::once(number).chain(self.size_param()).collect(), url: None })
    }

    /// Whether asking again for a page that got lost on its way might give the one after it: the
    /// server itself moves on, because one token leads through all pages.
    pub(super) fn is_moved_by_asking(&self) -> bool {
        self.may_expire() && self.has_new_tokens != Some(true)
    }

    /// Whether the server keeps what it is asked for, for a while: a scroll under way.
    pub(super) fn may_expire(&self) -> bool {
        matches!(self.plan.scheme, PageScheme::Token { may_repeat: true, .. }) && self.page > 0
    }

    /// Whether the server can be asked for smaller pages than so far.
    pub(super) fn can_shrink(&self) -> bool {
        self.size_param().is_some() && self.size.is_some_and(|it| it > 1)
    }

    /// Asks for less than `ask` did, with the new size; `None` where it cannot be less.
    pub(super) fn shrink(&mut self, ask: &Ask) -> Option<(Shrunk, u64)> {
        let size_param = self.size_param().map(|(param, _)| param)?;
        let at = Position { page: self.page, returned: self.returned };
        self.has_shrunk = true;
        match page_size::smaller(&self.plan.scheme, at, self.size?)? {
            Smaller::Here { size, page } => {
                (self.size, self.most) = (Some(size), Some(size));
                self.fullest = 0;
                self.page = page;
                let mut ask = ask.clone();
                for (param, value) in &mut ask.params {
                    if *param == size_param {
                        *value = Value::from(size);
                    }
                    if let PageScheme::Number { param: number, start } = &self.plan.scheme
                        && param == number
                    {
                        *value = Value::from(start + page);
                    }
                }
                Some((Shrunk::Ask(ask), size))
            }
            Smaller::FromStart { size } => {
                (self.size, self.most) = (Some(size), Some(size));
                Some((Shrunk::Restart(self.restart()), size))
            }
        }
    }

    /// Stands before the first page again, with pages of the same size, and asks for it.
    pub(super) fn restart(&mut self) -> Ask {
        let Self { most, has_shrunk, .. } = *self;
        *self = Self { size: most, most, has_shrunk, ..Self::new(self.plan) };
        self.first()
    }

    fn unseen(&mut self, token: &str) -> Result<(), StuckPaging> {
        let bytes = token.len();
        if bytes > LONGEST_TOKEN {
            return Err(StuckPaging::LongToken { bytes });
        }
        // Tokens may be long, and pages many.
        let hash = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, token).hash(&mut hasher);
            hasher.finish()
        };
        if self.tokens.insert((hash(0), hash(1))) {
            return Ok(());
        }
        Err(StuckPaging::RepeatedToken { token: token.to_owned() })
    }

    fn has_size_param(&self) -> bool {
        self.plan.size.as_ref().is_some_and(|it| it.param.is_some())
    }

    fn size_param(&self) -> Option<(Placement, Value)> {
        let param = self.plan.size.as_ref()?.param.clone()?;
        Some((param, Value::from(self.size?)))
    }
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn value(signal: &Signal, facts: &PageFacts, headers: &Headers) -> Option<Value> {
    match signal {
        Signal::Body(path) => facts.value(path).cloned(),
        Signal::Header(name) => {
            headers.iter().find(|(it, _)| it == name).map(|(_, it)| Value::String(it.clone()))
        }
    }
}

fn flag(signal: Option<&Signal>, facts: &PageFacts, headers: &Headers) -> Option<bool> {
    match value(signal?, facts, headers)? {
        Value::Bool(it) => Some(it),
        Value::String(it) if it.eq_ignore_ascii_case("true") => Some(true),
        Value::String(it) if it.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn number(
    signal: Option<&Signal>,
    facts: &PageFacts,
    headers: &Headers,
) -> Result<Option<u64>, StuckPaging> {
    let Some(signal) = signal else { return Ok(None) };
    let Some(value) = value(signal, facts, headers).filter(|it| !it.is_null()) else {
        return Ok(None);
    };
    let text = value_text(&value);
    text.trim().parse().map(Some).map_err(|_| StuckPaging::NotANumber {
        name: match signal {
            Signal::Body(path) => path.to_string(),
            Signal::Header(name) => name.clone(),
        },
        value: text,
    })
}

/// The target of `rel="next"` in the `Link` headers (RFC 8288), which may be several headers.
pub(super) fn next_link(headers: &Headers) -> Option<String> {
    headers.iter().filter(|(name, _)| name == "link").find_map(|(_, value)| {
        let mut rest = value.as_str();
        while let Some(open) = rest.find('<') {
            let close = open + rest[open..].find('>')?;
            let target = &rest[open + 1..close];
            // Parameters reach to the next link, which starts with `,` and `<`.
            let tail = &rest[close + 1..];
            let end = tail.find('<').unwrap_or(tail.len());
            if tail[..end].split([';', ',']).any(is_rel_next) {
                return Some(target.to_owned());
            }
            rest = &tail[end..];
        }
        None
    })
}

fn is_rel_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("rel")
        && value
            .trim()
            .trim_matches('"')
            .split_ascii_whitespace()
            .any(|it| it.eq_ignore_ascii_case("next"))
}

/// A query parameter of a link, which need not be a whole URL.
fn query_value(link: &str, name: &str) -> Option<String> {
    let (_, query) = link.split_once('?')?;
    let query = query.split('#').next().unwrap_or(query);
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(it, _)| it == name)
        .map(|(_, it)| it.into_owned())
}

#[cfg(test)]
mod tests;
