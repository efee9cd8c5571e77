//! Paging: the typed choice becomes a scheme, a page size and the signals of the end.

use super::{Resolver, request::place};
use crate::{
    config::spec::{
        LastRecordSpec, LinkSpec, NextUrlSpec, OffsetSpec, PageSpec, PaginateSpec, TokenSpec,
    },
    plan::{PageScheme, PaginatePlan, Placement, Signal, Signals, SizePlan},
};

impl Resolver<'_> {
    pub(super) fn paginate(&mut self, at: &str, spec: &PaginateSpec) -> Option<PaginatePlan> {
        match spec {
            PaginateSpec::None => Some(PaginatePlan::default()),
            PaginateSpec::Page(spec) => Some(self.page(&format!("{at}.page"), spec)),
            PaginateSpec::Offset(spec) => Some(self.offset(&format!("{at}.offset"), spec)),
            PaginateSpec::Link(spec) => Some(self.link(&format!("{at}.link"), spec)),
            PaginateSpec::Token(spec) => self.token(&format!("{at}.token"), spec),
            PaginateSpec::NextUrl(spec) => self.next_url(&format!("{at}.next_url"), spec),
            PaginateSpec::LastRecord(spec) => self.last_record(&format!("{at}.last_record"), spec),
        }
    }

    fn page(&mut self, at: &str, spec: &PageSpec) -> PaginatePlan {
        let PageSpec {
            param,
            start,
            size_param,
            size,
            place: in_place,
            total,
            total_header,
            total_pages,
            total_pages_header,
            last,
            more,
            cap,
            end_on_short_page,
        } = spec;
        let place = place(*in_place);
        let size = self.size(at, size_param.as_ref(), *size, place);
        let name = param.clone().unwrap_or_else(|| "page".to_owned());
        let signals = Signals {
            last: self.body_signal(&format!("{at}.last"), last.as_ref()),
            more: self.body_signal(&format!("{at}.more"), more.as_ref()),
            total: self.signal(at, "total", total.as_ref(), total_header.as_ref()),
            total_pages: self.signal(
                at,
                "total_pages",
                total_pages.as_ref(),
                total_pages_header.as_ref(),
            ),
            cap: *cap,
            end_on_repeat: false,
            end_on_short_page: *end_on_short_page,
        };
        let scheme =
            PageScheme::Number { param: Placement { place, name }, start: start.unwrap_or(1) };
        self.short_page(at, &signals, size.as_ref());
        PaginatePlan { scheme, size, signals }
    }

    fn offset(&mut self, at: &str, spec: &OffsetSpec) -> PaginatePlan {
        let OffsetSpec {
            param,
            start,
            size_param,
            size,
            place: in_place,
            total,
            total_header,
            last,
            more,
            max_offset,
            multiple_of_size,
            cap,
            end_on_short_page,
        } = spec;
        let place = place(*in_place);
        let size = self.size(at, size_param.as_ref(), *size, place);
        let name = param.clone().unwrap_or_else(|| "offset".to_owned());
        let signals = Signals {
            last: self.body_signal(&format!("{at}.last"), last.as_ref()),
            more: self.body_signal(&format!("{at}.more"), more.as_ref()),
            total: self.signal(at, "total", total.as_ref(), total_header.as_ref()),
            cap: *cap,
            end_on_short_page: *end_on_short_page,
            ..Signals::default()
        };
        let param = Placement { place, name };
        let scheme = PageScheme::Offset {
            param,
            start: start.unwrap_or(0),
            max: *max_offset,
            multiple_of_size: *multiple_of_size,
        };
        self.short_page(at, &signals, size.as_ref());
        PaginatePlan { scheme, size, signals }
    }

    fn link(&mut self, at: &str, spec: &LinkSpec) -> PaginatePlan {
        let LinkSpec { param, size_param, size, total, total_header } = spec;
        let size = self.size(at, size_param.as_ref(), *size, crate::plan::Place::Query);
        let total = self.signal(at, "total", total.as_ref(), total_header.as_ref());
        let signals = Signals { total, ..Signals::default() };
        PaginatePlan { scheme: PageScheme::Link { param: param.clone() }, size, signals }
    }

    fn token(&mut self, at: &str, spec: &TokenSpec) -> Option<PaginatePlan> {
        let TokenSpec {
            end_on_empty_page,
            may_repeat,
            body,
            header,
            param,
            place: in_place,
            size_param,
            size,
            total,
            total_header,
            last,
            more,
        } = spec;
        let place = place(*in_place);
        let size = self.size(at, size_param.as_ref(), *size, place);
        let from = match (body, header) {
            (Some(body), None) => Signal::Body(self.json_path(&format!("{at}.body"), body)?),
            (None, Some(header)) => Signal::Header(header.to_ascii_lowercase()),
            (None, None) | (Some(_), Some(_)) => {
                self.problem(
                    at,
                    "expected exactly one of `body` and `header`, where the token is found",
                    None,
                );
                return None;
            }
        };
        let signals = Signals {
            last: self.body_signal(&format!("{at}.last"), last.as_ref()),
            more: self.body_signal(&format!("{at}.more"), more.as_ref()),
            total: self.signal(at, "total", total.as_ref(), total_header.as_ref()),
            ..Signals::default()
        };
        let param = Placement { place, name: param.clone() };
        let scheme = PageScheme::Token {
            from,
            param,
            end_on_empty_page: *end_on_empty_page,
            may_repeat: *may_repeat,
        };
        Some(PaginatePlan { scheme, size, signals })
    }

    fn next_url(&mut self, at: &str, spec: &NextUrlSpec) -> Option<PaginatePlan> {
        let NextUrlSpec { path, size_param, size, total, last } = spec;
        let size = self.size(at, size_param.as_ref(), *size, crate::plan::Place::Query);
        let from = self.json_path(&format!("{at}.path"), path)?;
        let signals = Signals {
            last: self.body_signal(&format!("{at}.last"), last.as_ref()),
            total: self.body_signal(&format!("{at}.total"), total.as_ref()),
            ..Signals::default()
        };
        Some(PaginatePlan { scheme: PageScheme::NextUrl { from }, size, signals })
    }

    fn last_record(&mut self, at: &str, spec: &LastRecordSpec) -> Option<PaginatePlan> {
        let LastRecordSpec {
            from,
            param,
            place: in_place,
            size_param,
            size,
            last,
            more,
            end_on_repeat,
            end_on_short_page,
        } = spec;
        let place = place(*in_place);
        let size = self.size(at, size_param.as_ref(), *size, place);
        let signals = Signals {
            last: self.body_signal(&format!("{at}.last"), last.as_ref()),
            more: self.body_signal(&format!("{at}.more"), more.as_ref()),
            end_on_repeat: *end_on_repeat,
            end_on_short_page: *end_on_short_page,
            ..Signals::default()
        };
        let from = self.json_path(&format!("{at}.from"), from)?;
        let scheme =
            PageScheme::LastRecord { from, param: Placement { place, name: param.clone() } };
        self.short_page(at, &signals, size.as_ref());
        Some(PaginatePlan { scheme, size, signals })
    }

    fn size(
        &mut self,
        at: &str,
        param: Option<&String>,
        size: Option<u64>,
        place: crate::plan::Place,
    ) -> Option<SizePlan> {
        match (param, size) {
            (None, None) => None,
            (Some(_), None) => {
                let message = "`size_param` needs `size`, the number that it asks for";
                self.problem(format!("{at}.size_param"), message, None);
                None
            }
            (_, Some(0)) => {
                self.problem(format!("{at}.size"), "a page needs at least one record", None);
                None
            }
            (param, Some(size)) => {
                let param = param.map(|it| Placement { place, name: it.clone() });
                Some(SizePlan { param, size })
            }
        }
    }

    fn signal(
        &mut self,
        at: &str,
        name: &str,
        body: Option<&String>,
        header: Option<&String>,
    ) -> Option<Signal> {
        match (body, header) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.problem(
                    format!("{at}.{name}_header"),
                    format!("`{name}` and `{name}_header` are both given: keep one"),
                    None,
                );
                None
            }
            (Some(_), None) => self.body_signal(&format!("{at}.{name}"), body),
            (None, Some(header)) => Some(Signal::Header(header.to_ascii_lowercase())),
        }
    }

    fn body_signal(&mut self, at: &str, path: Option<&String>) -> Option<Signal> {
        path.and_then(|it| self.json_path(at, it)).map(Signal::Body)
    }

    fn short_page(&mut self, at: &str, signals: &Signals, size: Option<&SizePlan>) {
        if signals.end_on_short_page && size.is_none() {
            self.problem(
                format!("{at}.end_on_short_page"),
                "needs `size`, the number of records of a full page",
                None,
            );
        }
    }
}
