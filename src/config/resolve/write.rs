//! How rows meet those that are there, and into which directories they go.

use indexmap::IndexMap;

use super::Resolver;
use crate::{
    config::{
        shape::{Scalar, TextOr},
        spec::{
            DeletesSpec, ExpectEmptySpec, ExpectSpec, OnGoneSpec, PartitionSpec, ReplaceSpec,
            ScopeSpec, UnitSpec, WriteSpec,
        },
        template::{Scope, Secrecy},
    },
    plan::{
        ColumnPlan, ColumnSource, ColumnType, Deletes, GuardPlan, MaxRejected, Name, OnGone,
        PartitionPlan, PartitionUnit, ReplaceScope, ScopeSource, SlicesPlan, WindowFormat,
        WriteMode,
    },
};

impl Resolver<'_> {
    pub(super) fn write(
        &mut self,
        at: &str,
        spec: WriteSpec,
        columns: &[ColumnPlan],
    ) -> Option<WriteMode> {
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
            WriteSpec::Replace(TextOr::Block(ReplaceSpec { scope, key, by: _ })) => {
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

    pub(super) fn partition(
        &mut self,
        at: &str,
        spec: PartitionSpec,
        columns: &[ColumnPlan],
        slices: Option<&SlicesPlan>,
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
        if let Some(hidden) = name.as_ref().filter(|it| it.as_str().starts_with('_')) {
            let message = format!(
                "pyarrow and pandas read no directory that begins with `_`, and no row of `{hidden}=…`; choose another name"
            );
            self.problem(format!("{at}.as"), message, None);
        }
        let zone = self.zone(&format!("{at}.zone"), zone.as_ref());
        let column = column?;
        let is_date = columns
            .iter()
            .any(|it| it.name == column && matches!(it.kind, ColumnType::Date { .. }));
        // The dates of a source are days of the zone in which it is asked for them.
        let of_windows = slices.filter(|_| is_date).and_then(SlicesPlan::zone);
        let zone = zone.or(of_windows).unwrap_or(chrono_tz::UTC);
        if unit == PartitionUnit::Hour && is_date {
            self.problem(
                format!("{at}.unit"),
                format!("`{column}` is a date and has no hour"),
                None,
            );
        }
        Some(PartitionPlan { column, unit, zone, name: name? })
    }

    /// Which columns hold what makes a slice: as written, or those that are read from the slice.
    pub(super) fn row_scope(
        &mut self,
        at: &str,
        by: &IndexMap<String, String>,
        columns: &[ColumnPlan],
        slices: &SlicesPlan,
        scope: &Scope,
    ) -> Vec<(Name, ScopeSource)> {
        let mut found = Vec::new();
        for (column, source) in by {
            let at = format!("{at}.by.{column}");
            let Some(name) = self.column(&at, column, columns) else { continue };
            let member = |prefix: &str, known: &std::collections::BTreeSet<String>| {
                source.strip_prefix(prefix).filter(|it| known.contains(*it)).map(str::to_owned)
            };
            let source = if source == "window" {
                self.window_column(&at, &name, columns, slices).then_some(ScopeSource::Window)
            } else if let Some(member) = member("parent.", &scope.parent) {
                Some(ScopeSource::Parent(member))
            } else if let Some(member) = member("slice.", &scope.slice) {
                Some(ScopeSource::Slice(member))
            } else {
                let message = format!(
                    "`{source}` is nothing that a slice has: write `parent.x`, `slice.x` or `window`"
                );
                self.problem(&at, message, None);
                None
            };
            found.extend(source.map(|it| (name, it)));
        }
        if by.is_empty() {
            for column in columns {
                let source = match &column.from {
                    ColumnSource::Parent(name) => ScopeSource::Parent(name.clone()),
                    // Both bounds of a window are the same in slices of one day, and elsewhere no
                    // column of a record.
                    ColumnSource::Slice(name) if name == "start" || name == "end" => {
                        ScopeSource::Window
                    }
                    ColumnSource::Slice(name) => ScopeSource::Slice(name.clone()),
                    ColumnSource::Record(_) => continue,
                };
                found.push((column.name.clone(), source));
            }
            if found.is_empty() && *slices != SlicesPlan::Whole {
                let message = "no column is read from the slice, so its rows cannot be told from the others: name the columns with `replace: { scope: slice, by: { … } }`";
                self.problem(at, message, None);
            }
        }
        found
    }

    /// Whether a column can be compared with the dates of a window.
    pub(super) fn window_column(
        &mut self,
        at: &str,
        name: &Name,
        columns: &[ColumnPlan],
        slices: &SlicesPlan,
    ) -> bool {
        let is_date =
            columns.iter().any(|it| it.name == *name && matches!(it.kind, ColumnType::Date { .. }));
        if !is_date || !has_date_window(slices) {
            let message = "`window` needs a column of type `date` and a window with `format: date`";
            self.problem(at, message, None);
            return false;
        }
        true
    }

    pub(super) fn on_gone(
        &mut self,
        at: &str,
        spec: OnGoneSpec,
        write: Option<&WriteMode>,
    ) -> OnGone {
        match spec {
            OnGoneSpec::Keep => return OnGone::Keep,
            OnGoneSpec::Delete => {}
        }
        // Elsewhere nothing says which rows are those of the parent.
        if write
            .is_some_and(|it| !matches!(it, WriteMode::Replace { scope: ReplaceScope::Slice, .. }))
        {
            let message = "`delete` needs to know which rows are those of a parent: set `write: { replace: { scope: slice, key: [id], by: { column: parent.x } } }`, or leave `on_gone` at `keep`";
            self.problem(format!("{at}.on_gone"), message, None);
        }
        OnGone::Delete
    }

    pub(super) fn deletes(
        &mut self,
        at: &str,
        spec: DeletesSpec,
        write: Option<&WriteMode>,
    ) -> Deletes {
        if spec == DeletesSpec::Remove {
            return Deletes::Remove;
        }
        // Of equal rows nobody could say which one went.
        if matches!(write, Some(WriteMode::Replace { key, .. }) if key.is_empty()) {
            let message = "`mark` needs to know its rows again: give `write` a key, such as `replace: { scope: slice, key: [id] }`";
            self.problem(format!("{at}.deletes"), message, None);
        }
        Deletes::Mark
    }

    pub(super) fn guard(
        &mut self,
        at: &str,
        ratio: Option<&Scalar>,
        expect: &ExpectSpec,
    ) -> GuardPlan {
        let mut guard = GuardPlan {
            may_be_empty: matches!(expect.empty, ExpectEmptySpec::Ok),
            ..GuardPlan::default()
        };
        let at = format!("{at}.max_delete_ratio");
        if let Some(share) = ratio.and_then(|it| self.share(&at, it)) {
            guard.max_delete_ratio = share;
        }
        guard
    }

    /// A share from 0 to 1, also written as a percentage.
    pub(super) fn share(&mut self, at: &str, scalar: &Scalar) -> Option<f64> {
        let text = self.text(at, scalar, Secrecy::Refused)?;
        let share: Option<f64> = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().map(|it: f64| it / 100.0),
            None => text.trim().parse().ok(),
        };
        let share = share.filter(|it| (0.0..=1.0).contains(it));
        if share.is_none() {
            let message = format!("`{text}` is not a share: write a percentage such as `50%`");
            self.problem(at, message, None);
        }
        share
    }

    pub(super) fn max_rejected(&mut self, at: &str, spec: Option<&Scalar>) -> MaxRejected {
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

fn has_date_window(slices: &SlicesPlan) -> bool {
    match slices {
        SlicesPlan::Window(window) => window.format == WindowFormat::Date,
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => parts.iter().any(has_date_window),
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => false,
    }
}
