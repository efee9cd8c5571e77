//! The request of a stream, and the parameters that slices and paging put into it.

use super::{Resolver, value};
use crate::{
    config::{
        shape::Scalar,
        spec::{MethodSpec, PlaceSpec, QueryBlockSpec, QuerySpec, RequestSpec},
        template::{Scope, Secrecy},
    },
    plan::{
        Escape, Method, PageScheme, PaginatePlan, Place, Placement, QueryValue, RequestPlan,
        SlicesPlan, Template, WindowParams,
    },
};

impl Resolver<'_> {
    pub(super) fn request(
        &mut self,
        at: &str,
        spec: RequestSpec,
        scope: &Scope,
    ) -> Option<RequestPlan> {
        let RequestSpec { method, path, query, headers, body } = spec;
        let method = match method {
            MethodSpec::Get => Method::Get,
            MethodSpec::Post => Method::Post,
        };
        if !path.starts_with('/') {
            self.problem(
                format!("{at}.path"),
                format!("`{path}` must start with `/`: it is added to `base_url`"),
                None,
            );
        }
        if body.is_some() && method == Method::Get {
            self.problem(
                format!("{at}.body"),
                "a GET request has no body: set `method: post`",
                None,
            );
        }
        let path_scalar = Scalar::Text(path);
        let path = self
            .template_escaped(
                &format!("{at}.path"),
                &path_scalar,
                scope,
                Secrecy::Refused,
                Escape::PathSegment,
            )
            .map(|it| it.template)
            // A variable without a value must not take the stream out of the plan.
            .or_else(|| self.tolerant().then(|| Template::Constant("unset".into())));
        let query = query
            .iter()
            .filter_map(|(name, value)| {
                let value = self.query(&format!("{at}.query.{name}"), value, scope)?;
                Some((name.clone(), value))
            })
            .collect();
        let headers = headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    name.clone(),
                    self.header(&format!("{at}.headers.{name}"), name, value, scope)?,
                ))
            })
            .collect();
        let body = body.and_then(|it| self.body(&format!("{at}.body"), &it, scope));
        Some(RequestPlan { method, path: path?, query, headers, body })
    }

    pub(super) fn query(
        &mut self,
        at: &str,
        spec: &QuerySpec,
        scope: &Scope,
    ) -> Option<QueryValue> {
        match spec {
            QuerySpec::One(value) => self.query_part(at, value, scope).map(QueryValue::One),
            QuerySpec::Repeat(values) => {
                Some(QueryValue::Repeat(self.query_parts(at, values, scope)))
            }
            QuerySpec::Block(QueryBlockSpec::Csv(values)) => {
                Some(QueryValue::Csv(self.query_parts(at, values, scope)))
            }
            QuerySpec::Block(QueryBlockSpec::Json(value)) => {
                self.body(at, value, scope).map(QueryValue::Json)
            }
        }
    }

    pub(super) fn query_parts(
        &mut self,
        at: &str,
        values: &[Scalar],
        scope: &Scope,
    ) -> Vec<Template> {
        values.iter().filter_map(|it| self.query_part(at, it, scope)).collect()
    }

    pub(super) fn query_part(
        &mut self,
        at: &str,
        value: &Scalar,
        scope: &Scope,
    ) -> Option<Template> {
        let checked = self.template(at, value, scope, Secrecy::Refused)?;
        (!(checked.dynamic && value::is_nothing(&checked.template))).then_some(checked.template)
    }

    /// Checks that each placed parameter has a place to stand in.
    pub(super) fn placements(
        &mut self,
        at: &str,
        paginate: &PaginatePlan,
        slices: Option<&SlicesPlan>,
        request: &RequestPlan,
    ) {
        let scheme = match &paginate.scheme {
            PageScheme::Number { param, .. }
            | PageScheme::Offset { param, .. }
            | PageScheme::Token { param, .. }
            | PageScheme::LastRecord { param, .. } => Some(param),
            PageScheme::Single | PageScheme::Link { .. } | PageScheme::NextUrl { .. } => None,
        };
        let size = paginate.size.as_ref().and_then(|it| it.param.as_ref());
        let mut windows = Vec::new();
        if let Some(slices) = slices {
            window_placements(slices, &mut windows);
        }
        let paging = scheme.into_iter().chain(size).map(|it| ("paginate", it));
        let windows = windows.into_iter().map(|it| ("slices", it));
        for (part, placement) in paging.chain(windows).collect::<Vec<_>>() {
            let message = match placement.place {
                Place::Body if request.method == Method::Get => {
                    format!(
                        "`{}` stands in the body, but a GET request has none: set `method: post`",
                        placement.name
                    )
                }
                Place::Path => {
                    let hole = format!("{{{}}}", placement.name);
                    match &request.path {
                        Template::Constant(path)
                            if path.as_str().is_some_and(|it| it.contains(&hole)) =>
                        {
                            continue;
                        }
                        Template::Text(path, _) if path.contains(&hole) => continue,
                        _ => format!(
                            "`{}` stands in the path, but the path has no `{hole}`",
                            placement.name
                        ),
                    }
                }
                Place::Body | Place::Query | Place::Header => continue,
            };
            self.problem(format!("{at}.{part}"), message, None);
        }
    }
}

pub(super) fn place(spec: PlaceSpec) -> Place {
    match spec {
        PlaceSpec::Query => Place::Query,
        PlaceSpec::Body => Place::Body,
        PlaceSpec::Header => Place::Header,
        PlaceSpec::Path => Place::Path,
    }
}

fn window_placements<'a>(slices: &'a SlicesPlan, found: &mut Vec<&'a Placement>) {
    match slices {
        SlicesPlan::Window(window) => match &window.params {
            WindowParams::None => {}
            WindowParams::Pair(placement) => found.push(placement),
            WindowParams::Bounds { start, end } => found.extend(start.iter().chain(end)),
        },
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => {
            for part in parts {
                window_placements(part, found);
            }
        }
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => {}
    }
}
