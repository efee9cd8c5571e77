//! What is written instead of values that should not be known, and where such values would show
//! all the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, NaiveDate, Utc};

use super::Resolver;
use crate::{
    config::{
        shape::Scalar,
        spec::MaskSpec,
        template::{Scope, Secrecy, vars_named},
    },
    plan::{
        ColumnPlan, ColumnSource, ColumnType, JsonPath, MaskConstant, MaskPlan, Name, ScopeSource,
        Secret, StreamPlan, Template, WriteMode, value_text,
    },
};

/// Hashes of values that others can guess are as secret as their salt.
const SHORTEST_SALT: usize = 16;

impl Resolver<'_> {
    /// The mask of a column.
    pub(super) fn mask(
        &mut self,
        at: &str,
        spec: &MaskSpec,
        kind: &ColumnType,
    ) -> Option<MaskPlan> {
        match spec {
            MaskSpec::Drop => Some(MaskPlan::Drop),
            MaskSpec::Sha256(spec) => {
                if *kind != ColumnType::String {
                    let message = "hashes are text, and this column is not: set `type: string`, or use `drop` or `constant`";
                    self.problem(format!("{at}.sha256"), message, None);
                }
                let salt = self.salt(&format!("{at}.sha256.salt"), &spec.salt);
                Some(MaskPlan::Sha256 { salt: salt.unwrap_or_else(|| Secret::new("")) })
            }
            MaskSpec::Constant(constant) => {
                let at = format!("{at}.constant");
                self.mask_constant(&at, constant, kind).map(MaskPlan::Constant)
            }
        }
    }

    /// The salt; nothing where only the file is checked and there is none.
    fn salt(&mut self, at: &str, scalar: &Scalar) -> Option<Secret> {
        let checked = self.template(at, scalar, &Scope::default(), Secrecy::Allowed)?;
        if !vars_named(scalar).iter().any(|it| self.vars.is_secret(it)) {
            let message = "whoever reads the salt can find out what was hashed: declare `mask_salt: { env: MASK_SALT, secret: true }` under `vars` and write `salt: \"{{ vars.mask_salt }}\"`";
            self.problem(at, message, None);
            return None;
        }
        let Template::Constant(value) = checked.template else { return None };
        let salt = value_text(&value);
        if salt.chars().count() < SHORTEST_SALT {
            let found = if salt.is_empty() { "is empty" } else { "can be guessed" };
            let message = format!(
                "the salt {found}: it needs at least {SHORTEST_SALT} characters, such as those of `openssl rand -hex 32`"
            );
            self.problem(at, message, None);
        }
        Some(Secret::new(salt))
    }

    fn mask_constant(
        &mut self,
        at: &str,
        scalar: &Scalar,
        kind: &ColumnType,
    ) -> Option<MaskConstant> {
        let checked = self.template(at, scalar, &Scope::default(), Secrecy::Refused)?;
        let Template::Constant(value) = checked.template else { return None };
        if value.is_null() {
            self.problem(at, "null is no constant: write `mask: drop`", None);
            return None;
        }
        let text = value_text(&value);
        let (constant, example) = match kind {
            ColumnType::String => (Some(MaskConstant::Text(text.clone())), "text"),
            ColumnType::Json => (Some(MaskConstant::Text(value.to_string())), "a value"),
            ColumnType::Int64 => (text.parse().ok().map(MaskConstant::Int64), "a whole number"),
            ColumnType::Duration { .. } => {
                (text.parse().ok().map(MaskConstant::Int64), "a number of seconds")
            }
            ColumnType::Float64 => {
                let number = text.parse().ok().filter(|it: &f64| it.is_finite());
                (number.map(MaskConstant::Float64), "a number")
            }
            ColumnType::Boolean => {
                (text.parse().ok().map(MaskConstant::Boolean), "`true` or `false`")
            }
            ColumnType::Date { .. } => {
                let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok();
                (date.map(MaskConstant::Date), "a date such as `1970-01-01`")
            }
            ColumnType::Timestamp { .. } => {
                let instant = DateTime::parse_from_rfc3339(&text).ok();
                let instant = instant.map(|it| it.with_timezone(&Utc));
                (instant.map(MaskConstant::Timestamp), "an instant such as `1970-01-01T00:00:00Z`")
            }
        };
        if constant.is_none() {
            let message = format!("`{text}` is not of the column's type: write {example}");
            self.problem(at, message, None);
        }
        constant
    }

    /// Refuses masks where the value shows all the same, or where the dataset needs it.
    pub(super) fn masked_columns(&mut self, at: &str, stream: &StreamPlan) {
        for column in stream.columns.iter().filter(|it| it.mask.is_some()) {
            let at = format!("{at}.columns.{}.mask", column.name);
            for message in objections(stream, column) {
                self.problem(&at, message, None);
            }
        }
    }
}

/// Extends a fingerprint by the salts: pages that a killed run has masked with another one must not
/// be taken up again. A salt is too long to be found by trying.
pub(super) fn salted(fingerprint: u64, streams: &[StreamPlan]) -> u64 {
    let masks = streams.iter().flat_map(|it| &it.columns).filter_map(|it| it.mask.as_ref());
    let salts = masks.filter_map(|it| match it {
        MaskPlan::Sha256 { salt } => Some(salt.expose()),
        MaskPlan::Drop | MaskPlan::Constant(_) => None,
    });
    salts.fold(fingerprint, |fingerprint, salt| {
        let mut hasher = DefaultHasher::new();
        (fingerprint, salt).hash(&mut hasher);
        hasher.finish()
    })
}

/// Why a column cannot be masked.
fn objections(stream: &StreamPlan, masked: &ColumnPlan) -> Vec<String> {
    let StreamPlan { columns, cursor, write, scope, partition, expect, .. } = stream;
    let name = &masked.name;
    let mut found = Vec::new();
    if partition.column == *name {
        found.push("rows go into directories by their real dates: `partition_by` needs a column without a mask".to_owned());
    }
    if cursor.as_ref().is_some_and(|it| it.column == *name) {
        found.push("how far the stream has got is told by real times: `cursor` needs a column without a mask".to_owned());
    }
    if matches!(write, WriteMode::Merge { newest_by: Some(it), .. } if it == name) {
        found.push(
            "the newest row is found by real values: `newest_by` needs a column without a mask"
                .to_owned(),
        );
    }
    if stream.key().contains(name) && !matches!(masked.mask, Some(MaskPlan::Sha256 { .. })) {
        found.push(
            "rows of one key replace each other, and all would have this one: use `sha256`, or leave the column out of `key`"
                .to_owned(),
        );
    }
    if expect.max_nulls.iter().any(|(it, _)| it == name) && masked.mask == Some(MaskPlan::Drop) {
        found.push(
            "every value will be null: leave the column out of `expect.max_nulls`".to_owned(),
        );
    }
    let ColumnSource::Record(path) = &masked.from else {
        found.push(
            "what a slice has stands in requests, logs and state as it is: mask values of records, and leave this column out"
                .to_owned(),
        );
        return found;
    };
    let is_of_scope = |(it, _): &(Name, ScopeSource)| it == name;
    if scope.iter().any(is_of_scope) {
        found.push(
            "the rows of a slice are told from others by real values: `replace.by` needs a column without a mask"
                .to_owned(),
        );
    }
    if stream.last_record_field().is_some_and(|it| overlap(it, path)) {
        found.push(
            "the value goes into the URL of the next page: `last_record` needs another field"
                .to_owned(),
        );
    }
    for other in columns.iter().filter(|it| it.mask.is_none()) {
        if let ColumnSource::Record(read) = &other.from
            && let Some(what) = shown(read, &other.kind, path)
        {
            found.push(format!(
                "column `{}` shows {what} as it is: mask it, too, or leave it out",
                other.name
            ));
        }
    }
    found
}

/// What a column of this type that reads `read` has of what stands at `path`.
fn shown(read: &JsonPath, kind: &ColumnType, path: &JsonPath) -> Option<&'static str> {
    if read == path || *kind == ColumnType::Json && path.below(read).is_some() {
        Some("the same value")
    } else {
        read.below(path).map(|_| "a part of the value")
    }
}

fn overlap(a: &JsonPath, b: &JsonPath) -> bool {
    a.below(b).is_some() || b.below(a).is_some()
}
