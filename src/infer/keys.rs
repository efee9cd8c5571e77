//! What tells rows apart, and by which date they are laid out.

use std::collections::BTreeSet;

use super::{
    Column,
    facts::{Facts, Leaf},
    kind::{is_any, is_last},
    names::Names,
};
use crate::{
    plan::{ColumnType, Name},
    transform::Tree,
};

/// Of fewer records too many columns are unique by chance.
const ENOUGH: usize = 10;

/// The column that may identify a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) column: String,
    /// Whether its name says that it is the id of the record itself.
    is_own: bool,
    /// Rows that it was seen to tell apart.
    pub(super) n_rows: usize,
    /// The column that says which of two rows is newer.
    pub(super) newest_by: Option<String>,
}

/// The column whose date names the directory of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) column: String,
    /// The name of the directories, where `date` is a column.
    pub(super) r#as: Option<String>,
    pub(super) note: Option<String>,
    /// Where the sample has no such column, the field that one is made up for.
    pub(super) made_up: Option<String>,
}

impl Key {
    /// Whether a run may rely on it unasked: rows of the same key take the place of each other.
    pub(super) fn is_proven(&self) -> bool {
        self.is_own && self.n_rows >= ENOUGH
    }

    /// What speaks for it, and what against.
    pub(super) fn evidence(&self) -> String {
        let Self { column, is_own, n_rows, .. } = self;
        match (n_rows, is_own) {
            (1, _) => format!("is `{column}` the key of a row? One record proves little"),
            (n, true) => format!("is `{column}` the key of a row? It is unique in {n} records"),
            (n, false) => format!(
                "does `{column}` tell rows apart? It is unique in {n} records, but may be the key of something else"
            ),
        }
    }
}

/// The column that is an id by its name, has a value in every record, and no value twice; that of the
/// record itself before that of what belongs to it.
pub(super) fn key(leaves: &[Leaf<'_>], columns: &[Column], stream: Option<&Name>) -> Option<Key> {
    let rank = |leaf: &&Leaf<'_>| {
        let depth = leaf.path.segments().len();
        match leaf.words.last().map(String::as_str) {
            Some("id") if leaf.words.len() == 1 => Some((false, 0, depth)),
            Some("id" | "key" | "uuid" | "guid" | "uid") => {
                Some((!is_own(leaf, stream), depth, leaf.words.len()))
            }
            _ => None,
        }
    };
    let best = leaves
        .iter()
        .filter(|it| is_unique(it))
        .filter(|it| rank(it).is_some())
        .min_by_key(rank)?;
    let kind = |it: &&Column| matches!(it.kind, ColumnType::String | ColumnType::Int64);
    let column = column_of(best, columns).filter(kind)?;
    let updated = leaves
        .iter()
        .filter(|it| it.is_complete() && is_any(&it.words, &["updated", "modified", "changed"]));
    let newest_by = updated.filter_map(|it| column_of(it, columns)).find(|it| is_instant(&it.kind));
    Some(Key {
        column: column.name.clone(),
        is_own: is_own(best, stream),
        n_rows: best.of,
        newest_by: newest_by.map(|it| it.name.clone()),
    })
}

/// Whether it is named as the id of the record itself: `id`, or `entry_id` in the stream `entries`.
/// `user_id` and `user.id` are those of somebody else.
fn is_own(leaf: &Leaf<'_>, stream: Option<&Name>) -> bool {
    let words = leaf.words.iter().map(String::as_str).collect::<Vec<_>>();
    if leaf.path.segments().len() != 1 {
        return false;
    }
    match (&words[..], stream) {
        (["id" | "key" | "uuid" | "guid" | "uid"], _) => true,
        ([of @ .., "id" | "key" | "uuid" | "guid" | "uid"], Some(stream)) => {
            singulars(stream.as_str()).contains(&of.join("_"))
        }
        _ => false,
    }
}

/// What one record of a stream may be called.
fn singulars(stream: &str) -> Vec<String> {
    let ending = |plural: &str, singular: &str| {
        stream.strip_suffix(plural).map(|stem| format!("{stem}{singular}"))
    };
    let endings = [ending("", ""), ending("s", ""), ending("es", ""), ending("ies", "y")];
    endings.into_iter().flatten().collect()
}

fn is_unique(leaf: &Leaf<'_>) -> bool {
    let text = |it: &&Tree| match it {
        Tree::Number(it) | Tree::Text(it) => it.clone(),
        _ => String::new(),
    };
    let distinct: BTreeSet<String> = leaf.scalars.iter().map(text).collect();
    leaf.is_complete() && distinct.len() == leaf.of && !distinct.contains("")
}

/// The date of the work comes before that of the record, what is always there before what is not.
pub(super) fn partition(
    facts: &Facts<'_>,
    leaves: &[Leaf<'_>],
    columns: &[Column],
    names: &mut Names,
) -> Partition {
    let rank = |leaf: &Leaf<'_>| {
        let words = &leaf.words;
        let by_name =
            if is_any(words, &["worked", "work", "spent"]) && is_last(words, &["on", "date"]) {
                0
            } else if is_any(words, &["start", "started", "begin"]) {
                1
            } else if words.len() == 1 && is_last(words, &["date", "day"]) {
                2
            } else if is_any(words, &["created"]) {
                3
            } else if is_any(words, &["updated", "modified", "due", "end", "ended", "closed"]) {
                5
            } else {
                4
            };
        (!leaf.is_complete(), by_name, leaf.path.segments().len())
    };
    let dated = leaves.iter().filter_map(|leaf| Some((leaf, column_of(leaf, columns)?)));
    let dated =
        dated.filter(|(_, it)| is_instant(&it.kind) || matches!(it.kind, ColumnType::Date { .. }));
    let best = dated.min_by_key(|(leaf, _)| rank(leaf));
    let r#as = names.is_taken("date").then(|| names.claim("day"));
    let Some((leaf, column)) = best else {
        let column = names.claim("partition_date");
        let mut from = column.clone();
        while facts.has(&from) {
            from.push('_');
        }
        return Partition { column, r#as, note: None, made_up: Some(from) };
    };
    let null = "DECIDE: rows without it go to `__HIVE_DEFAULT_PARTITION__`";
    let zone = "its date in UTC; `zone: Europe/Berlin` for that of another zone";
    let notes: Vec<&str> = (!leaf.is_complete())
        .then_some(null)
        .into_iter()
        .chain(is_instant(&column.kind).then_some(zone))
        .collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Partition { column: column.name.clone(), r#as, note, made_up: None }
}

fn is_instant(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Timestamp { .. })
}

fn column_of<'c>(leaf: &Leaf<'_>, columns: &'c [Column]) -> Option<&'c Column> {
    let from = leaf.path.to_string();
    columns.iter().find(|it| it.from == from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_called_by_the_singular_of_its_stream() {
        for (stream, one) in [
            ("worklogs", "worklog"),
            ("time_entries", "time_entry"),
            ("issues", "issue"),
            ("statuses", "status"),
            ("log", "log"),
        ] {
            assert!(singulars(stream).contains(&one.to_owned()), "{stream}");
        }
    }
}
