//! Where records are, and which columns they become.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::Resolver;
use crate::{
    config::{
        shape::{OneOrMany, TextOr},
        spec::{
            CalendarSpec, ColumnSpec, DurationUnitSpec, ExplodeShapeSpec, ExplodeSpec,
            InstantFormatSpec, RecordsSpec, TypeSpec, WhenEmptySpec,
        },
        template::Scope,
    },
    plan::{
        Calendar, ColumnPlan, ColumnSource, ColumnType, DELETED_COLUMN, DurationUnit, EXTRA_COLUMN,
        ExplodePlan, ExplodeShape, InstantFormat, RecordsPlan, RecordsShape, WhenEmpty, field_id,
    },
};

impl Resolver<'_> {
    pub(super) fn records(
        &mut self,
        at: &str,
        spec: Option<TextOr<RecordsSpec>>,
    ) -> Option<RecordsPlan> {
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

    pub(super) fn explode(
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

    pub(super) fn columns(
        &mut self,
        at: &str,
        specs: &IndexMap<String, ColumnSpec>,
        scope: &Scope,
    ) -> Vec<ColumnPlan> {
        if specs.is_empty() && !self.was_emptied(at, "columns") {
            self.problem(at, "a stream needs at least one column", None);
        }
        let mut columns = Vec::new();
        let reserved = [EXTRA_COLUMN, DELETED_COLUMN];
        let mut ids: BTreeMap<u32, &str> = reserved.map(|it| (field_id(it), it)).into();
        for (name, spec) in specs {
            let at = format!("{at}.{name}");
            if let Some(other) = ids.insert(field_id(name), name).filter(|it| it != name) {
                let message = format!(
                    "`{name}` and `{other}` have the same field id in Parquet files, which is made of the name, so that readers would take one column for the other: rename one of them"
                );
                self.problem(&at, message, None);
            }
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
            match name.as_str() {
                EXTRA_COLUMN => {
                    self.problem(&at, "this name is taken by the column of unknown fields", None);
                }
                DELETED_COLUMN => {
                    self.problem(&at, "this name is taken by the column of `deletes: mark`", None);
                }
                _ => {}
            }
            let mask =
                spec.mask.as_ref().and_then(|it| self.mask(&format!("{at}.mask"), it, &kind));
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
                mask,
            });
        }
        columns
    }

    pub(super) fn column_source(
        &mut self,
        at: &str,
        text: &str,
        scope: &Scope,
    ) -> Option<ColumnSource> {
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

    pub(super) fn column_type(&mut self, at: &str, spec: &TypeSpec) -> ColumnType {
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
}
