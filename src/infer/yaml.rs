//! A proposal as the text of a pipeline file: aligned, with the questions where they arise.

use std::fmt::Write as _;

use super::{ArrayOfObjects, Column, Proposal, keys::Key, paging};
use crate::plan::{Calendar, ColumnType, DurationUnit, InstantFormat};

/// Longer comments are cut: they stand at the end of a line.
const COMMENT: usize = 160;

impl Proposal {
    /// The block of a stream, indented as it stands in a pipeline file.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        let lines = self.head().into_iter().chain(self.body());
        for line in lines {
            let _ = writeln!(out, "    {line}");
        }
        out
    }

    /// How many records were looked at.
    pub fn n_records(&self) -> usize {
        self.n_records
    }

    fn head(&self) -> Vec<String> {
        let notes = comment(&self.record_notes);
        let mut lines = vec![format!("records: {}{notes}", self.records)];
        if let Some(explode) = &self.explode {
            lines.push(format!(
                "explode: {}   # one row an element; the record's own fields repeat",
                scalar(explode)
            ));
        }
        let paging::Hint { paginate, is_told, note } = &self.paging;
        let note = plain(note);
        match paginate {
            Some(paginate) if *is_told => {
                lines.push(format!("# DECIDE: {note}; is this how all pages are read?"));
                lines.push(format!("paginate: {paginate}"));
            }
            Some(paginate) => {
                lines.push(format!("# DECIDE: as it is, one page is read; {note}"));
                lines.push(format!("# paginate: {paginate}"));
            }
            None => lines.push(format!("# DECIDE: as it is, one request reads the stream; {note}")),
        }
        lines
    }

    fn body(&self) -> Vec<String> {
        let mut columns: Vec<&Column> = self.columns.iter().collect();
        let made_up = self.made_up_date();
        columns.extend(&made_up);
        let mut lines = vec!["columns:".to_owned()];
        lines.extend(column_lines(&columns).into_iter().map(|it| format!("  {it}")));
        for field in &self.unnamed {
            lines.push(format!("  # no path can name `{}`: it stays in `_extra`", plain(field)));
        }
        for array in &self.arrays {
            lines.extend(array_lines(array, self.key.as_ref()));
        }
        lines.extend(self.write_lines());
        let as_name =
            self.partition.r#as.as_ref().map(|it| format!(", as: {it}")).unwrap_or_default();
        let notes: Vec<String> = self.partition.note.iter().cloned().collect();
        let column = scalar(&self.partition.column);
        lines.push(format!(
            "partition_by: {{ column: {column}, unit: day{as_name} }}{}",
            comment(&notes)
        ));
        lines
    }

    /// A partition needs a date: where the sample has none, a person has to say which.
    fn made_up_date(&self) -> Option<Column> {
        let question = "the sample has no date: which field, or `slice.start` of a window?";
        self.partition.made_up.as_ref().map(|from| Column {
            name: self.partition.column.clone(),
            from: from.clone(),
            kind: ColumnType::Date { zone: None },
            notes: Vec::new(),
            question: Some(question.to_owned()),
        })
    }

    fn write_lines(&self) -> Vec<String> {
        let Some(key) = &self.key else {
            let why = if self.explode.is_some() {
                "which columns tell the rows of one record apart?"
            } else {
                "no id is unique in the sample: which columns tell rows apart?"
            };
            return vec![
                format!("# DECIDE: {why} Then `write: {{ replace: {{ scope: all, key: […] }} }}`."),
                "write: { replace: all }".to_owned(),
            ];
        };
        let newest = key
            .newest_by
            .as_ref()
            .map(|it| format!(", newest_by: {}", scalar(it)))
            .unwrap_or_default();
        let column = scalar(&key.column);
        let replace = format!("write: {{ replace: {{ scope: all, key: [{column}] }} }}");
        let merge = format!("# write: {{ merge: {{ key: [{column}]{newest} }} }}");
        if key.is_proven() {
            let n_rows = key.n_rows;
            vec![
                format!(
                    "# `{column}` is unique in {n_rows} records. Where a run reads only what changed:"
                ),
                merge,
                replace,
            ]
        } else {
            // A wrong key loses rows, no key loses none.
            vec![
                format!(
                    "# DECIDE: {}. If so, and below where a run reads only what changed:",
                    key.evidence()
                ),
                format!("# {replace}"),
                merge,
                "write: { replace: all }".to_owned(),
            ]
        }
    }
}

/// One line a column; the blocks stand below each other.
fn column_lines(columns: &[&Column]) -> Vec<String> {
    let width = columns.iter().map(|it| scalar(&it.name).len()).max().unwrap_or_default() + 1;
    let line = |it: &&Column| {
        let question = it.question.iter().map(|it| format!("DECIDE: {it}"));
        let notes: Vec<String> = question.chain(it.notes.iter().cloned()).collect();
        let key = format!("{}:", scalar(&it.name));
        format!(
            "{key:width$} {{ from: {}, type: {} }}{}",
            scalar(&it.from),
            kind(&it.kind),
            comment(&notes)
        )
    };
    columns.iter().map(line).collect()
}

/// The columns of an array's elements, for whoever wants a row of each, and what else changes then.
fn array_lines(array: &ArrayOfObjects, key: Option<&Key>) -> Vec<String> {
    let columns: Vec<&Column> = array.columns.iter().collect();
    let mut lines = vec![
        format!(
            "# DECIDE: `{}` has {} elements. For a row of each, take these for `{}`:",
            plain(&array.from),
            array.n_elements,
            array.column
        ),
        format!("# explode: {}", scalar(&array.from)),
    ];
    lines.extend(column_lines(&columns).into_iter().map(|it| format!("#   {it}")));
    let others = match (key, &array.id) {
        (Some(key), Some(id)) => {
            format!("; or `key: [{}, {}]` if both tell rows apart", scalar(&key.column), scalar(id))
        }
        _ => String::new(),
    };
    // The elements of a record have its key in common.
    lines.push(format!(
        "# and `write: {{ replace: all }}`, since the key of the record alone would keep one row of it{others}"
    ));
    let is_date =
        |it: &&Column| matches!(it.kind, ColumnType::Date { .. } | ColumnType::Timestamp { .. });
    if let Some(date) = array.columns.iter().find(is_date) {
        lines.push(format!(
            "# and `partition_by: {{ column: {}, unit: day }}`, if the element's date is meant",
            scalar(&date.name)
        ));
    }
    lines
}

/// A type as a pipeline file has it.
pub(super) fn kind(kind: &ColumnType) -> String {
    match kind {
        ColumnType::String => "string".to_owned(),
        ColumnType::Int64 => "int64".to_owned(),
        ColumnType::Float64 => "float64".to_owned(),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Date { zone: None } => "date".to_owned(),
        ColumnType::Date { zone: Some(zone) } => format!("{{ date: {{ zone: {zone} }} }}"),
        ColumnType::Timestamp { format, zone } => {
            let format = match format {
                InstantFormat::Text => None,
                InstantFormat::EpochSeconds => Some("format: epoch_s".to_owned()),
                InstantFormat::EpochMillis => Some("format: epoch_ms".to_owned()),
            };
            block("timestamp", &[format, zone.map(|it| format!("zone: {it}"))])
        }
        ColumnType::Duration { unit, calendar, exact } => {
            let unit = match unit {
                DurationUnit::Text => None,
                DurationUnit::Millis => Some("unit: ms".to_owned()),
                DurationUnit::Seconds => Some("unit: s".to_owned()),
                DurationUnit::Minutes => Some("unit: min".to_owned()),
                DurationUnit::Hours => Some("unit: h".to_owned()),
            };
            let calendar = (*calendar != Calendar::ABSOLUTE).then(|| {
                let hours = calendar.seconds_per_day / 3600.0;
                let days = calendar.days_per_week;
                format!(
                    "calendar: {{ business: {{ hours_per_day: {hours}, days_per_week: {days} }} }}"
                )
            });
            block("duration", &[unit, calendar, exact.then(|| "exact: true".to_owned())])
        }
    }
}

fn block(name: &str, entries: &[Option<String>]) -> String {
    let entries: Vec<&str> = entries.iter().flatten().map(String::as_str).collect();
    if entries.is_empty() {
        name.to_owned()
    } else {
        format!("{{ {name}: {{ {} }} }}", entries.join(", "))
    }
}

/// Text as a YAML scalar that is read back as this text, in flow and in block style.
pub(super) fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_' || it == '.')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for it in text.chars() {
        match it {
            '"' | '\\' => quoted.extend(['\\', it]),
            ' '..='~' => quoted.push(it),
            _ if it.is_alphanumeric() => quoted.push(it),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(it));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// What stands behind a line.
fn comment(notes: &[String]) -> String {
    if notes.is_empty() { String::new() } else { format!("   # {}", plain(&notes.join("; "))) }
}

/// Text on one line that a comment can hold.
pub(super) fn plain(text: &str) -> String {
    let shown = |it: char| {
        if it.is_alphanumeric() || (' '..='~').contains(&it) || it == '…' { it } else { '·' }
    };
    let mut plain: String = text.chars().take(COMMENT).map(shown).collect();
    if text.chars().count() > COMMENT {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_yaml_would_read_otherwise_is_quoted() {
        for (text, expected) in [
            ("author.userKey", "author.userKey"),
            ("_links.self", "_links.self"),
            ("$", "\"$\""),
            ("no", "\"no\""),
            ("null", "\"null\""),
            ("1", "\"1\""),
            ("a: b", "\"a: b\""),
            ("{{ x }}", "\"{{ x }}\""),
            (r#"fields."System.State""#, r#""fields.\"System.State\"""#),
            ("ключ", "\"ключ\""),
            ("a\nb\u{85}", "\"a\\U0000000Ab\\U00000085\""),
        ] {
            assert_eq!(scalar(text), expected, "{text:?}");
        }
    }
}
