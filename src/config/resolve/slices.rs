//! Into which slices a stream is cut.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Resolver, request::place as in_place, stream::Catalog, value};
use crate::{
    config::{
        spec::{ParentSpec, SlicesSpec, WindowSpec},
        template::{Scope, Secrecy},
    },
    plan::{ParentPlan, Placement, SlicesPlan, Template, WindowFormat, WindowParams, WindowPlan},
};

impl Resolver<'_> {
    pub(super) fn slices(
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
                scope.slice.extend(["start", "end", "until"].map(str::to_owned));
                self.window(&format!("{at}.window"), window).map(SlicesPlan::Window)
            }
            SlicesSpec::Parent(parent) => {
                scope.parent.extend(parent.bind.keys().cloned());
                let at = format!("{at}.parent");
                let plan = self.parent(&at, parent, catalog);
                let only = self.only(&at, parent, scope);
                Some(only.map_or(SlicesPlan::Parent(plan?), SlicesPlan::Given))
            }
            SlicesSpec::Product(parts) => self
                .slice_parts(&format!("{at}.product"), parts, catalog, scope)
                .map(SlicesPlan::Product),
            SlicesSpec::Union(parts) => self
                .slice_parts(&format!("{at}.union"), parts, catalog, scope)
                .map(SlicesPlan::Union),
        }
    }

    pub(super) fn slice_parts(
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

    pub(super) fn parent(
        &mut self,
        at: &str,
        spec: &ParentSpec,
        catalog: &Catalog,
    ) -> Option<ParentPlan> {
        let ParentSpec { stream, bind, batch, only: _ } = spec;
        let Some(listed) = catalog.iter().find(|it| it.stream == *stream) else {
            let known: Vec<&str> = catalog.iter().map(|it| it.stream.as_str()).collect();
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
        let known: Vec<&str> = listed.columns.iter().map(String::as_str).collect();
        let mut bound = Vec::new();
        for (name, column) in bind {
            if listed.masked.contains(column) {
                let message = format!(
                    "column `{column}` of stream `{stream}` is masked, and requests need its real values: bind another column, or leave its mask out"
                );
                self.problem(format!("{at}.bind.{name}"), message, None);
            }
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

    /// The one parent that variables name, if they do.
    fn only(
        &mut self,
        at: &str,
        spec: &ParentSpec,
        scope: &mut Scope,
    ) -> Option<BTreeMap<String, Value>> {
        let ParentSpec { bind, only, batch, .. } = spec;
        if only.is_empty() {
            return None;
        }
        if batch.is_some() {
            self.problem(
                format!("{at}.only"),
                "one parent is no batch: leave one of them out",
                None,
            );
        }
        let known: Vec<&str> = bind.keys().map(String::as_str).collect();
        let mut values = BTreeMap::new();
        for (name, value) in only {
            let at = format!("{at}.only.{name}");
            if !bind.contains_key(name) {
                self.unknown(&at, "bound value", name, &known);
            }
            let value = self.text(&at, value, Secrecy::Refused).unwrap_or_default();
            values.insert(name.clone(), Value::String(value));
        }
        // What is read from a parent has to be there in both cases.
        scope.unnamed.extend(bind.keys().filter(|it| !only.contains_key(*it)).cloned());
        values.values().all(|it| it.as_str() != Some("")).then_some(values)
    }

    pub(super) fn window(&mut self, at: &str, spec: &WindowSpec) -> Option<WindowPlan> {
        let WindowSpec {
            from,
            ahead,
            lag,
            step,
            reread,
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
                    "`{text}` is not a start: write a date (`2024-07-25`), an instant with its zone, or a length of time back from now (`90d`), between 1900 and 2200"
                );
                self.problem(path, message, None);
            }
            start?
        };
        let ahead = self.span(&format!("{at}.ahead"), ahead.as_ref())
            - self.span(&format!("{at}.lag"), lag.as_ref());
        let step = step.as_ref().map(|it| self.span(&format!("{at}.step"), Some(it)));
        let reread = reread.as_ref().map(|it| self.span(&format!("{at}.reread"), Some(it)));
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
        let place = in_place(*place);
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
        Some(WindowPlan { from, ahead, step, reread, format, zone, params })
    }
}
