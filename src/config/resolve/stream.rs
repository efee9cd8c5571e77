//! One stream: slices, request, paging, columns, writing.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::{Resolver, value};
use crate::{
    config::{
        shape::{OneOrMany, Scalar, TextOr},
        spec::{
            CalendarSpec, ColumnSpec, CursorSpec, DurationUnitSpec, ExplodeShapeSpec, ExplodeSpec,
            InstantFormatSpec, MethodSpec, ParentSpec, PartitionSpec, PlaceSpec, QueryBlockSpec,
            QuerySpec, RecordsSpec, ReplaceSpec, RequestSpec, ScopeSpec, SlicesSpec, StreamSpec,
            TypeSpec, UnitSpec, UnknownFieldsSpec, WhenEmptySpec, WindowSpec, WriteSpec,
        },
        template::{Scope, Secrecy},
    },
    plan::{
        Calendar, ColumnPlan, ColumnSource, ColumnType, CursorPlan, DurationUnit, Escape,
        ExplodePlan, ExplodeShape, InstantFormat, JsonPath, MaxRejected, Method, Name, PageScheme,
        PaginatePlan, ParentPlan, PartitionPlan, PartitionUnit, Place, Placement, QueryValue,
        RecordsPlan, RecordsShape, ReplaceScope, RequestPlan, ResponseRule, Signal, SlicesPlan,
        StreamPlan, Template, UnknownFields, WhenEmpty, WindowFormat, WindowParams, WindowPlan,
        WriteMode,
    },
};

/// Every stream's name with its columns, for checking references between streams.
type Catalog = [(String, Vec<String>)];

/// The paths that rules read in a body.
pub(super) fn body_paths(rules: &[ResponseRule]) -> Vec<JsonPath> {
    rules.iter().filter_map(|it| it.body.as_ref()).map(|(path, _)| path.clone()).collect()
}

/// The paths outside the records that a stream reads.
fn envelope(
    paginate: &PaginatePlan,
    responses: &[ResponseRule],
    source: &[JsonPath],
) -> Vec<JsonPath> {
    let signals = &paginate.signals;
    let signals = [&signals.last, &signals.more, &signals.total, &signals.total_pages];
    let mut paths: Vec<JsonPath> = signals
        .into_iter()
        .flatten()
        .filter_map(|it| match it {
            Signal::Body(path) => Some(path.clone()),
            Signal::Header(_) => None,
        })
        .chain(match &paginate.scheme {
            PageScheme::Token { from: Signal::Body(path), .. }
            | PageScheme::NextUrl { from: path } => Some(path.clone()),
            _ => None,
        })
        .chain(body_paths(responses))
        .chain(source.iter().cloned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

impl Resolver<'_> {
    pub(super) fn stream(
        &mut self,
        name: &str,
        spec: StreamSpec,
        catalog: &Catalog,
        source_envelope: &[JsonPath],
    ) -> Option<StreamPlan> {
        let at = format!("streams.{name}");
        let StreamSpec {
            description,
            request,
            records,
            explode,
            paginate,
            cursor,
            slices,
            columns,
            unknown_fields,
            write,
            partition_by,
            responses,
            max_rejected,
        } = spec;

        let name = self.name(&at, name);
        let mut scope = Scope::default();
        let slices = match slices {
            Some(slices) => self.slices(&format!("{at}.slices"), &slices, catalog, &mut scope),
            None => Some(SlicesPlan::Whole),
        };
        let request = self.request(&format!("{at}.request"), request, &scope);
        let records = self.records(&format!("{at}.records"), records);
        let explode = self.explode(&format!("{at}.explode"), explode);
        let paginate = match &paginate {
            Some(paginate) => self.paginate(&format!("{at}.paginate"), paginate),
            None => Some(PaginatePlan::default()),
        };
        if let (Some(paginate), Some(request)) = (&paginate, &request) {
            self.placements(&at, paginate, slices.as_ref(), request);
        }
        let columns = self.columns(&format!("{at}.columns"), &columns, &scope);
        let unknown_fields = match unknown_fields {
            UnknownFieldsSpec::Keep => UnknownFields::Keep,
            UnknownFieldsSpec::Ignore => UnknownFields::Ignore,
            UnknownFieldsSpec::Reject => UnknownFields::Reject,
        };
        let cursor = cursor.and_then(|it| self.cursor(&format!("{at}.cursor"), &it, &columns));
        let write = match write {
            Some(write) => self.write(&format!("{at}.write"), write, &columns),
            None => Some(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() }),
        };
        let partition = self.partition(&format!("{at}.partition_by"), partition_by, &columns);
        let responses = self.responses(&format!("{at}.responses"), &responses);
        let max_rejected = self.max_rejected(&format!("{at}.max_rejected"), max_rejected.as_ref());

        let paginate = paginate?;
        let envelope = envelope(&paginate, &responses, source_envelope);
        Some(StreamPlan {
            name: name?,
            description,
            request: request?,
            records: records?,
            explode: explode?,
            paginate,
            cursor,
            slices: slices?,
            columns,
            unknown_fields,
            write: write?,
            partition: partition?,
            responses,
            max_rejected,
            envelope,
        })
    }

    fn request(&mut self, at: &str, spec: RequestSpec, scope: &Scope) -> Option<RequestPlan> {
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

    fn query(&mut self, at: &str, spec: &QuerySpec, scope: &Scope) -> Option<QueryValue> {
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

    fn query_parts(&mut self, at: &str, values: &[Scalar], scope: &Scope) -> Vec<Template> {
        values.iter().filter_map(|it| self.query_part(at, it, scope)).collect()
    }

    fn query_part(&mut self, at: &str, value: &Scalar, scope: &Scope) -> Option<Template> {
        let checked = self.template(at, value, scope, Secrecy::Refused)?;
        (!(checked.dynamic && value::is_nothing(&checked.template))).then_some(checked.template)
    }

    fn records(&mut self, at: &str, spec: Option<TextOr<RecordsSpec>>) -> Option<RecordsPlan> {
        let (path, shape) = match spec {
            None => return Some(RecordsPlan::default()),
            Some(TextOr::Text(path)) => (path, RecordsShape::Records),
            Some(TextOr::Block(RecordsSpec::Map(path))) => (path, RecordsShape::Map),
            Some(TextOr::Block(RecordsSpec::Stringified { path, records })) => {
                let inner = self.json_path(at, records.as_deref().unwrap_or("$"))?;
                (path, RecordsShape::Stringified(inner))
            }
        };
        Some(RecordsPlan { path: self.json_path(at, &path)?, shape })
    }

    fn explode(
        &mut self,
        at: &str,
        spec: Option<OneOrMany<TextOr<ExplodeSpec>>>,
    ) -> Option<Vec<ExplodePlan>> {
        let Some(OneOrMany(specs)) = spec else { return Some(Vec::new()) };
        if specs.len() > 2 {
            self.problem(at, "at most two levels can be exploded", None);
            return None;
        }
        let mut levels: Vec<ExplodePlan> = Vec::new();
        for spec in specs {
            let spec = match spec {
                TextOr::Text(path) => ExplodeSpec {
                    path,
                    shape: ExplodeShapeSpec::Array,
                    when_empty: WhenEmptySpec::Keep,
                },
                TextOr::Block(spec) => spec,
            };
            let path = self.json_path(at, &spec.path)?;
            if let Some(outer) = levels.last()
                && path.below(&outer.path).is_none_or(|it| it.is_root())
            {
                let message =
                    format!("`{path}` must lie below `{}`, the level before it", outer.path);
                self.problem(at, message, None);
                return None;
            }
            levels.push(ExplodePlan {
                path,
                shape: match spec.shape {
                    ExplodeShapeSpec::Array => ExplodeShape::Array,
                    ExplodeShapeSpec::Map => ExplodeShape::Map,
                },
                when_empty: match spec.when_empty {
                    WhenEmptySpec::Keep => WhenEmpty::Keep,
                    WhenEmptySpec::Drop => WhenEmpty::Drop,
                },
            });
        }
        Some(levels)
    }

    /// Checks that each placed parameter has a place to stand in.
    fn placements(
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

    fn slices(
        &mut self,
        at: &str,
        spec: &SlicesSpec,
        catalog: &Catalog,
        scope: &mut Scope,
    ) -> Option<SlicesPlan> {
        match spec {
            SlicesSpec::List { r#as, values } => {
                scope.slice.insert(r#as.clone());
                if values.is_empty() {
                    self.problem(
                        format!("{at}.list.values"),
                        "the list is empty: the stream would have no slice",
                        None,
                    );
                }
                let values = values.iter().filter_map(|it| {
                    let checked = self.template(
                        &format!("{at}.list.values"),
                        it,
                        &Scope::default(),
                        Secrecy::Refused,
                    )?;
                    match checked.template {
                        Template::Constant(value) => Some(value),
                        Template::Expression(..) | Template::Text(..) => None,
                    }
                });
                Some(SlicesPlan::List { name: r#as.clone(), values: values.collect() })
            }
            SlicesSpec::Window(window) => {
                scope.slice.extend(["start".to_owned(), "end".to_owned()]);
                self.window(&format!("{at}.window"), window).map(SlicesPlan::Window)
            }
            SlicesSpec::Parent(parent) => {
                scope.parent.extend(parent.bind.keys().cloned());
                self.parent(&format!("{at}.parent"), parent, catalog).map(SlicesPlan::Parent)
            }
            SlicesSpec::Product(parts) => self
                .slice_parts(&format!("{at}.product"), parts, catalog, scope)
                .map(SlicesPlan::Product),
            SlicesSpec::Union(parts) => self
                .slice_parts(&format!("{at}.union"), parts, catalog, scope)
                .map(SlicesPlan::Union),
        }
    }

    fn slice_parts(
        &mut self,
        at: &str,
        parts: &[SlicesSpec],
        catalog: &Catalog,
        scope: &mut Scope,
    ) -> Option<Vec<SlicesPlan>> {
        if parts.is_empty() {
            self.problem(at, "the list is empty: the stream would have no slice", None);
        }
        let resolved: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(i, it)| self.slices(&format!("{at}.{i}"), it, catalog, scope))
            .collect();
        let parts: Vec<SlicesPlan> = resolved.into_iter().collect::<Option<_>>()?;
        if parts.iter().filter(|it| it.parent().is_some()).count() > 1 {
            self.problem(at, "a stream can have one parent stream, not more", None);
        }
        Some(parts)
    }

    fn parent(&mut self, at: &str, spec: &ParentSpec, catalog: &Catalog) -> Option<ParentPlan> {
        let ParentSpec { stream, bind, batch } = spec;
        let Some((_, columns)) = catalog.iter().find(|(name, _)| name == stream) else {
            let known: Vec<&str> = catalog.iter().map(|(name, _)| name.as_str()).collect();
            self.unknown(&format!("{at}.stream"), "stream", stream, &known);
            return None;
        };
        if *batch == Some(0) {
            self.problem(format!("{at}.batch"), "a slice needs at least one parent", None);
        }
        if bind.is_empty() {
            self.problem(
                format!("{at}.bind"),
                "nothing is bound: the requests of all parents would be the same",
                None,
            );
        }
        let known: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut bound = Vec::new();
        for (name, column) in bind {
            if known.contains(&column.as_str()) {
                bound.push((name.clone(), self.name(&format!("{at}.bind.{name}"), column)?));
            } else {
                self.unknown(
                    &format!("{at}.bind.{name}"),
                    &format!("column of stream `{stream}`"),
                    column,
                    &known,
                );
            }
        }
        Some(ParentPlan {
            stream: self.name(&format!("{at}.stream"), stream)?,
            bind: bound,
            batch: *batch,
        })
    }

    fn window(&mut self, at: &str, spec: &WindowSpec) -> Option<WindowPlan> {
        let WindowSpec {
            from,
            ahead,
            lag,
            step,
            format,
            zone,
            place,
            param,
            start_param,
            end_param,
        } = spec;
        let from = {
            let path = format!("{at}.from");
            let text = self.text(&path, from, Secrecy::Refused)?;
            let start = value::parse_start(&text);
            if start.is_none() {
                let message = format!(
                    "`{text}` is not a start: write a date (`2024-07-25`), an instant with its zone, or a length of time back from now (`90d`)"
                );
                self.problem(path, message, None);
            }
            start?
        };
        let ahead = self.span(&format!("{at}.ahead"), ahead.as_ref())
            - self.span(&format!("{at}.lag"), lag.as_ref());
        let step = step.as_ref().map(|it| self.span(&format!("{at}.step"), Some(it)));
        let (format, pair) = match format.as_deref() {
            None | Some("rfc3339") => (WindowFormat::Rfc3339, false),
            Some("date") => (WindowFormat::Date, false),
            Some("epoch_ms") => (WindowFormat::EpochMillis, false),
            Some("epoch_ms_pair") => (WindowFormat::EpochMillis, true),
            Some("epoch_s") => (WindowFormat::EpochSeconds, false),
            Some(pattern) if pattern.contains('%') => {
                let items = chrono::format::StrftimeItems::new(pattern);
                if items.into_iter().any(|it| matches!(it, chrono::format::Item::Error)) {
                    self.problem(
                        format!("{at}.format"),
                        format!("`{pattern}` is not a strftime pattern"),
                        None,
                    );
                }
                (WindowFormat::Custom(pattern.to_owned()), false)
            }
            Some(other) => {
                let known = ["date", "epoch_ms", "epoch_ms_pair", "epoch_s", "rfc3339"];
                let suggestion = crate::config::problem::suggest(other, known);
                self.problem(
                    format!("{at}.format"),
                    format!(
                        "unknown format `{other}`, expected one of `{}` or a strftime pattern",
                        known.join("`, `")
                    ),
                    suggestion,
                );
                (WindowFormat::Rfc3339, false)
            }
        };
        if let Some(step) = step {
            let whole_days = step.num_seconds() % 86_400 == 0;
            if step.is_zero() || (format == WindowFormat::Date && !whole_days) {
                self.problem(
                    format!("{at}.step"),
                    "a window of dates is one or more whole days long",
                    None,
                );
            }
        }
        let place = self::place(*place);
        let placement = |name: &String| Placement { place, name: name.clone() };
        let params = match (param, start_param, end_param) {
            (None, None, None) => WindowParams::None,
            (Some(param), None, None) => WindowParams::Pair(placement(param)),
            (None, start, end) => WindowParams::Bounds {
                start: start.as_ref().map(placement),
                end: end.as_ref().map(placement),
            },
            (Some(_), _, _) => {
                self.problem(format!("{at}.param"), "one parameter with both bounds, or `start_param` and `end_param`, not all of them", None);
                WindowParams::None
            }
        };
        if pair != matches!(params, WindowParams::Pair(_)) && pair {
            self.problem(
                format!("{at}.format"),
                "`epoch_ms_pair` needs `param`, the parameter that takes both bounds",
                None,
            );
        }
        let zone = self.zone(&format!("{at}.zone"), zone.as_ref()).unwrap_or(chrono_tz::UTC);
        Some(WindowPlan { from, ahead, step, format, zone, params })
    }

    fn columns(
        &mut self,
        at: &str,
        specs: &IndexMap<String, ColumnSpec>,
        scope: &Scope,
    ) -> Vec<ColumnPlan> {
        if specs.is_empty() && !self.removed.contains("columns") {
            self.problem(at, "a stream needs at least one column", None);
        }
        let mut columns = Vec::new();
        for (name, spec) in specs {
            let at = format!("{at}.{name}");
            let Some(name) = self.name(&at, name) else { continue };
            let from = self.column_source(&format!("{at}.from"), &spec.from, scope);
            let kind = self.column_type(&format!("{at}.type"), &spec.r#type);
            if spec.values.is_some() && kind != ColumnType::String {
                self.problem(
                    format!("{at}.values"),
                    "names of codes are text: set `type: string`",
                    None,
                );
            }
            if name.as_str() == crate::plan::EXTRA_COLUMN {
                self.problem(&at, "this name is taken by the column of unknown fields", None);
            }
            let Some(from) = from else { continue };
            let values = spec.values.as_ref().map(|it| {
                it.iter()
                    .map(|(code, name)| (code.clone(), name.clone()))
                    .collect::<BTreeMap<_, _>>()
            });
            columns.push(ColumnPlan {
                name,
                from,
                kind,
                values,
                description: spec.description.clone(),
            });
        }
        columns
    }

    fn column_source(&mut self, at: &str, text: &str, scope: &Scope) -> Option<ColumnSource> {
        let context = |prefix: &str, known: &std::collections::BTreeSet<String>| {
            text.strip_prefix(prefix).filter(|_| !known.is_empty()).map(str::to_owned)
        };
        if let Some(name) = context("parent.", &scope.parent) {
            if scope.parent.contains(&name) {
                return Some(ColumnSource::Parent(name));
            }
            let known: Vec<&str> = scope.parent.iter().map(String::as_str).collect();
            self.unknown(at, "value bound from the parent", &name, &known);
            return None;
        }
        if let Some(name) = context("slice.", &scope.slice) {
            if scope.slice.contains(&name) {
                return Some(ColumnSource::Slice(name));
            }
            let known: Vec<&str> = scope.slice.iter().map(String::as_str).collect();
            self.unknown(at, "value of the slice", &name, &known);
            return None;
        }
        self.json_path(at, text).map(ColumnSource::Record)
    }

    fn column_type(&mut self, at: &str, spec: &TypeSpec) -> ColumnType {
        match spec {
            TypeSpec::String => ColumnType::String,
            TypeSpec::Int64 => ColumnType::Int64,
            TypeSpec::Float64 => ColumnType::Float64,
            TypeSpec::Boolean => ColumnType::Boolean,
            TypeSpec::Json => ColumnType::Json,
            TypeSpec::Date(spec) => {
                ColumnType::Date { zone: self.zone(&format!("{at}.date.zone"), spec.zone.as_ref()) }
            }
            TypeSpec::Timestamp(spec) => ColumnType::Timestamp {
                format: match spec.format {
                    InstantFormatSpec::Text => InstantFormat::Text,
                    InstantFormatSpec::EpochS => InstantFormat::EpochSeconds,
                    InstantFormatSpec::EpochMs => InstantFormat::EpochMillis,
                },
                zone: self.zone(&format!("{at}.timestamp.zone"), spec.zone.as_ref()),
            },
            TypeSpec::Duration(spec) => ColumnType::Duration {
                unit: match spec.unit {
                    DurationUnitSpec::Text => DurationUnit::Text,
                    DurationUnitSpec::Ms => DurationUnit::Millis,
                    DurationUnitSpec::S => DurationUnit::Seconds,
                    DurationUnitSpec::Min => DurationUnit::Minutes,
                    DurationUnitSpec::H => DurationUnit::Hours,
                },
                calendar: match &spec.calendar {
                    CalendarSpec::Absolute => Calendar::ABSOLUTE,
                    CalendarSpec::Business { hours_per_day, days_per_week } => {
                        let at = format!("{at}.duration.calendar.business");
                        let hours =
                            self.number(&format!("{at}.hours_per_day"), Some(hours_per_day), 8.0);
                        let days =
                            self.number(&format!("{at}.days_per_week"), Some(days_per_week), 5.0);
                        if hours > 24.0 {
                            self.problem(
                                format!("{at}.hours_per_day"),
                                "a day has at most 24 hours",
                                None,
                            );
                        }
                        if days > 7.0 {
                            self.problem(
                                format!("{at}.days_per_week"),
                                "a week has at most 7 days",
                                None,
                            );
                        }
                        Calendar { seconds_per_day: hours * 3600.0, days_per_week: days }
                    }
                },
                exact: spec.exact,
            },
        }
    }

    fn cursor(
        &mut self,
        at: &str,
        spec: &CursorSpec,
        columns: &[ColumnPlan],
    ) -> Option<CursorPlan> {
        let lookback = self.span(&format!("{at}.lookback"), spec.lookback.as_ref());
        let column = self.time_column(&format!("{at}.column"), &spec.column, columns)?;
        Some(CursorPlan { column, lookback })
    }

    fn write(&mut self, at: &str, spec: WriteSpec, columns: &[ColumnPlan]) -> Option<WriteMode> {
        match spec {
            WriteSpec::Append { key } => Some(WriteMode::Append {
                key: self.key(&format!("{at}.append.key"), &key, columns, KeyNeed::Required)?,
            }),
            WriteSpec::Merge { key, newest_by } => {
                let key = self.key(&format!("{at}.merge.key"), &key, columns, KeyNeed::Required);
                let newest_by = match newest_by {
                    Some(column) => {
                        Some(self.column(&format!("{at}.merge.newest_by"), &column, columns)?)
                    }
                    None => None,
                };
                Some(WriteMode::Merge { key: key?, newest_by })
            }
            WriteSpec::Replace(TextOr::Text(word)) => match word.as_str() {
                "slice" => Some(WriteMode::Replace { scope: ReplaceScope::Slice, key: Vec::new() }),
                "all" => Some(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() }),
                other => {
                    let suggestion = crate::config::problem::suggest(other, ["slice", "all"]);
                    self.problem(
                        format!("{at}.replace"),
                        format!("unknown choice `{other}`, expected `slice` or `all`"),
                        suggestion,
                    );
                    None
                }
            },
            WriteSpec::Replace(TextOr::Block(ReplaceSpec { scope, key })) => {
                let key =
                    self.key(&format!("{at}.replace.key"), &key, columns, KeyNeed::Optional)?;
                let scope = match scope {
                    ScopeSpec::Slice => ReplaceScope::Slice,
                    ScopeSpec::All => ReplaceScope::All,
                };
                Some(WriteMode::Replace { scope, key })
            }
        }
    }

    fn key(
        &mut self,
        at: &str,
        names: &[String],
        columns: &[ColumnPlan],
        need: KeyNeed,
    ) -> Option<Vec<Name>> {
        if names.is_empty() && need == KeyNeed::Required {
            self.problem(at, "the key is empty: list the columns that identify a row", None);
            return None;
        }
        let found: Vec<_> = names.iter().map(|it| self.column(at, it, columns)).collect();
        found.into_iter().collect()
    }

    fn column(&mut self, at: &str, name: &str, columns: &[ColumnPlan]) -> Option<Name> {
        if let Some(column) = columns.iter().find(|it| it.name.as_str() == name) {
            return Some(column.name.clone());
        }
        let known: Vec<&str> = columns.iter().map(|it| it.name.as_str()).collect();
        self.unknown(at, "column", name, &known);
        None
    }

    fn time_column(&mut self, at: &str, name: &str, columns: &[ColumnPlan]) -> Option<Name> {
        let found = self.column(at, name, columns)?;
        let kind = columns.iter().find(|it| it.name == found).map(|it| &it.kind);
        if !matches!(kind, Some(ColumnType::Date { .. } | ColumnType::Timestamp { .. })) {
            self.problem(at, format!("`{name}` is neither a date nor a timestamp"), None);
            return None;
        }
        Some(found)
    }

    fn partition(
        &mut self,
        at: &str,
        spec: PartitionSpec,
        columns: &[ColumnPlan],
    ) -> Option<PartitionPlan> {
        let PartitionSpec { column, unit, zone, r#as } = spec;
        let column = self.time_column(&format!("{at}.column"), &column, columns);
        let name = self.name(&format!("{at}.as"), r#as.as_deref().unwrap_or("date"));
        let unit = match unit {
            UnitSpec::Hour => PartitionUnit::Hour,
            UnitSpec::Day => PartitionUnit::Day,
            UnitSpec::Month => PartitionUnit::Month,
            UnitSpec::Year => PartitionUnit::Year,
        };
        if let Some(taken) = name.as_ref().filter(|name| columns.iter().any(|it| it.name == **name))
        {
            let message = format!(
                "`{taken}` is also a column: readers would see it twice; choose another name with `as`"
            );
            self.problem(format!("{at}.as"), message, None);
        }
        let zone = self.zone(&format!("{at}.zone"), zone.as_ref()).unwrap_or(chrono_tz::UTC);
        let column = column?;
        if unit == PartitionUnit::Hour
            && columns
                .iter()
                .any(|it| it.name == column && matches!(it.kind, ColumnType::Date { .. }))
        {
            self.problem(
                format!("{at}.unit"),
                format!("`{column}` is a date and has no hour"),
                None,
            );
        }
        Some(PartitionPlan { column, unit, zone, name: name? })
    }

    fn max_rejected(&mut self, at: &str, spec: Option<&Scalar>) -> MaxRejected {
        let Some(spec) = spec else { return MaxRejected::default() };
        let Some(text) = self.text(at, spec, Secrecy::Refused) else {
            return MaxRejected::default();
        };
        if let Some(percent) = text.strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok()) {
            if (0.0..=100.0).contains(&percent) {
                let always = if percent > 0.0 { MaxRejected::default().always } else { 0 };
                return MaxRejected { ratio: percent / 100.0, always };
            }
        } else if let Ok(always) = text.parse() {
            return MaxRejected { ratio: 0.0, always };
        }
        self.problem(
            at,
            format!("`{text}` is neither a number of records nor a share such as `1%`"),
            None,
        );
        MaxRejected::default()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyNeed {
    Required,
    Optional,
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
        SlicesPlan::Whole | SlicesPlan::List { .. } | SlicesPlan::Parent(_) => {}
    }
}
