//! One stream: slices, request, paging, columns, writing.

use indexmap::IndexMap;

use super::Resolver;
use crate::{
    config::{
        shape::TextOr,
        spec::{CursorSpec, DeletesSpec, ReplaceSpec, StreamSpec, UnknownFieldsSpec, WriteSpec},
        template::Scope,
    },
    plan::{
        ColumnPlan, ColumnType, CursorPlan, Deletes, JsonPath, Name, PageScheme, PaginatePlan,
        ReplaceScope, ResponseRule, Signal, SlicesPlan, StreamPlan, TablePlan, UnknownFields,
        WriteMode,
    },
};

/// Every stream with its columns, for checking references between streams.
pub(super) type Catalog = [Listed];

/// A stream as others may refer to it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) stream: String,
    pub(super) columns: Vec<String>,
    /// The columns that do not have their real values.
    pub(super) masked: Vec<String>,
}

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

fn unknown_fields(spec: UnknownFieldsSpec) -> UnknownFields {
    match spec {
        UnknownFieldsSpec::Keep => UnknownFields::Keep,
        UnknownFieldsSpec::Ignore => UnknownFields::Ignore,
        UnknownFieldsSpec::Reject => UnknownFields::Reject,
    }
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
            unknown_fields: unknown_fields_spec,
            write,
            on_gone,
            deletes,
            max_delete_ratio,
            expect,
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
        let always = scope.always();
        let request = self.request(&format!("{at}.request"), request, &always);
        let records = self.records(&format!("{at}.records"), records);
        let explode = self.explode(&format!("{at}.explode"), explode);
        let paginate = match &paginate {
            Some(paginate) => self.paginate(&format!("{at}.paginate"), paginate),
            None => Some(PaginatePlan::default()),
        };
        if let (Some(paginate), Some(request)) = (&paginate, &request) {
            self.placements(&at, paginate, slices.as_ref(), request);
        }
        let columns = self.columns(&format!("{at}.columns"), &columns, &always);
        let unknown_fields = unknown_fields(unknown_fields_spec);
        let cursor = cursor.and_then(|it| self.cursor(&format!("{at}.cursor"), &it, &columns));
        let by = match &write {
            Some(WriteSpec::Replace(TextOr::Block(ReplaceSpec { by, .. }))) => by.clone(),
            Some(_) | None => IndexMap::new(),
        };
        let write = match write {
            Some(write) => self.write(&format!("{at}.write"), write, &columns),
            None => Some(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() }),
        };
        let is_by_slice =
            matches!(write, Some(WriteMode::Replace { scope: ReplaceScope::Slice, .. }));
        let row_scope = match &slices {
            Some(slices) if is_by_slice => {
                self.row_scope(&format!("{at}.write.replace"), &by, &columns, slices, &scope)
            }
            Some(_) | None => Vec::new(),
        };
        let on_gone = self.on_gone(&at, on_gone, write.as_ref());
        let deletes = self.deletes(&at, deletes, write.as_ref());
        let guard = self.guard(&at, max_delete_ratio.as_ref(), &expect);
        let partition =
            self.partition(&format!("{at}.partition_by"), partition_by, &columns, slices.as_ref());
        let unit = partition.as_ref().map(|it| it.unit);
        let expect = self.expect(&format!("{at}.expect"), expect, &columns, unit);
        let responses = self.responses(&format!("{at}.responses"), &responses);
        let max_rejected = self.max_rejected(&format!("{at}.max_rejected"), max_rejected.as_ref());

        let paginate = paginate?;
        let envelope = envelope(&paginate, &responses, source_envelope);
        let stream = StreamPlan {
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
            scope: row_scope,
            on_gone,
            deletes,
            guard,
            expect,
            partition: partition?,
            responses,
            max_rejected,
            envelope,
        };
        self.masked_columns(&at, &stream);
        Some(stream)
    }

    /// What readers see of a stream. Where a column's values come from is not looked at.
    pub(super) fn table(&mut self, name: &str, spec: StreamSpec) -> Option<TablePlan> {
        let at = format!("streams.{name}");
        let name = self.name(&at, name);
        let columns = self.columns(&format!("{at}.columns"), &spec.columns, &Scope::default());
        let partition =
            self.partition(&format!("{at}.partition_by"), spec.partition_by, &columns, None);
        let deletes = match spec.deletes {
            DeletesSpec::Remove => Deletes::Remove,
            DeletesSpec::Mark => Deletes::Mark,
        };
        let unknown_fields = unknown_fields(spec.unknown_fields);
        let description = spec.description;
        Some(TablePlan::new(name?, description, &columns, unknown_fields, partition?, deletes))
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

    pub(super) fn column(&mut self, at: &str, name: &str, columns: &[ColumnPlan]) -> Option<Name> {
        if let Some(column) = columns.iter().find(|it| it.name.as_str() == name) {
            return Some(column.name.clone());
        }
        let known: Vec<&str> = columns.iter().map(|it| it.name.as_str()).collect();
        self.unknown(at, "column", name, &known);
        None
    }

    pub(super) fn time_column(
        &mut self,
        at: &str,
        name: &str,
        columns: &[ColumnPlan],
    ) -> Option<Name> {
        let found = self.column(at, name, columns)?;
        let kind = columns.iter().find(|it| it.name == found).map(|it| &it.kind);
        if !matches!(kind, Some(ColumnType::Date { .. } | ColumnType::Timestamp { .. })) {
            self.problem(at, format!("`{name}` is neither a date nor a timestamp"), None);
            return None;
        }
        Some(found)
    }
}
