//! A table of columns and first values that is never wider than the terminal; pure.
//!
//! ```text
//! wide     column | type | nulls | row 1 | row 2 | … as many rows as fit
//! narrow   column | row 1 …, then column | type | nulls
//! ```

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::visible::one_line;

/// Between two columns.
const GAP: usize = 2;
/// How wide a value is shown at least, before there are more rows.
const VALUE: usize = 15;
/// Below this, types and nulls stand in a table of their own.
const NARROW: usize = 60;

/// Cells on one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Width(usize);

impl Width {
    /// Of a terminal, or of what `COLUMNS` says; 80 where nobody knows.
    pub(super) fn new(terminal: Option<u16>, variable: Option<&str>) -> Self {
        let variable = variable.and_then(|it| it.parse().ok());
        let width = variable.or(terminal.map(usize::from));
        Self(width.filter(|it| *it >= 20).unwrap_or(80))
    }
}

/// How many of the rows the table shows beside each other, and the lines of the table: `heads` are name, type and share of nulls of each column, `values` those of
/// its first rows.
pub(super) fn fitted(
    heads: &[[String; 3]],
    values: &[Vec<String>],
    width: Width,
) -> (usize, Vec<String>) {
    let Width(width) = width;
    let rows = values.iter().map(Vec::len).max().unwrap_or_default();
    let numbers = (1..=rows).map(|it| it.to_string());
    let header = |names: &[&str]| -> Vec<String> {
        names.iter().map(|it| (*it).to_owned()).chain(numbers.clone()).collect()
    };
    if width >= NARROW || rows == 0 {
        let mut lines = vec![header(&["column", "type", "nulls"])];
        let cells = heads.iter().zip(values);
        lines.extend(cells.map(|(head, values)| head.iter().chain(values).cloned().collect()));
        return table(&lines, 3, width);
    }
    let mut lines = vec![header(&["column"])];
    let cells = heads.iter().zip(values);
    lines.extend(cells.map(|(head, values)| head.iter().take(1).chain(values).cloned().collect()));
    let (shown, mut all) = table(&lines, 1, width);
    let mut lines = vec![["column", "type", "nulls"].map(str::to_owned).to_vec()];
    lines.extend(heads.iter().map(|it| it.to_vec()));
    all.push(String::new());
    all.extend(table(&lines, 3, width).1);
    (shown, all)
}

/// Lines of which the first `fixed` columns are always there, and as many others as fit; how many that
/// are comes first.
fn table(lines: &[Vec<String>], fixed: usize, width: usize) -> (usize, Vec<String>) {
    let columns = lines.first().map_or(0, Vec::len);
    let natural = |column: usize| {
        let cells = lines.iter().filter_map(|it| it.get(column));
        cells.map(|it| one_line(it).width()).max().unwrap_or_default()
    };
    let others: usize = (1..fixed).map(|it| GAP + natural(it)).sum();
    // Half of the line is for values, where there are any.
    let most = if columns > fixed { width / 2 } else { width };
    let first = natural(0).min(most.saturating_sub(if columns > fixed { 0 } else { others }));
    let mut widths = vec![first];
    widths.extend((1..fixed).map(natural));
    let left = width.saturating_sub(first + others);
    let values = columns - fixed;
    let shown = (left / (GAP + VALUE)).clamp(1, values.max(1)).min(values);
    let share = (left / shown.max(1)).saturating_sub(GAP);
    widths.extend((fixed..fixed + shown).map(|it| natural(it).min(share)));
    let line = |cells: &Vec<String>| {
        let mut text = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let cell = shortened(&one_line(cell), *width);
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            if at > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            // Shares are numbers.
            if fixed == 3 && at == 2 {
                text.push_str(&pad);
                text.push_str(&cell);
            } else {
                text.push_str(&cell);
                text.push_str(&pad);
            }
        }
        text.trim_end().to_owned()
    };
    (shown, lines.iter().map(line).collect())
}

/// As much of a text as so many cells hold; `…` says that there is more.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut short, mut used) = (String::new(), 1);
    for it in text.chars() {
        used += it.width().unwrap_or_default();
        if used > width {
            break;
        }
        short.push(it);
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<[String; 3]> {
        let head = |name: &str, kind: &str| [name, kind, "100 %"].map(str::to_owned);
        vec![head("created_by_passport_uid", "timestamp"), head("id", "int64")]
    }

    fn values(rows: usize) -> Vec<Vec<String>> {
        vec![vec!["工\nx".repeat(20); rows], vec!["7".to_owned(); rows]]
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_every_column_is_there() {
        for width in 40..200 {
            let (shown, lines) = fitted(&heads(), &values(10), Width(width));

            let widest = lines.iter().map(|it| it.width()).max();
            assert!(widest <= Some(width), "{width}: {widest:?}\n{}", lines.join("\n"));
            assert!(shown >= 1, "{width}");
            assert!(lines.iter().any(|it| it.starts_with("created_by_passp")), "{width}");
            assert!(lines.iter().any(|it| it.starts_with("id  ")), "{width}");
        }
    }

    #[test]
    fn a_wider_terminal_shows_more_rows() {
        let shown = [40, 80, 100, 200].map(|it| fitted(&heads(), &values(10), Width(it)).0);

        assert_eq!(shown, [1, 2, 3, 9]);
    }

    #[test]
    fn without_rows_the_columns_are_shown_alone() {
        let (shown, lines) = fitted(&heads(), &values(0), Width(80));

        assert_eq!(shown, 0);
        let expected = [
            "column                   type       nulls",
            "created_by_passport_uid  timestamp  100 %",
            "id                       int64      100 %",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn characters_that_move_the_cursor_are_shown_as_escapes() {
        assert_eq!(one_line("a\n\t\u{1b}[31m工"), "a\\n\\t\\u{1b}[31m工");
        assert_eq!(shortened("工工工", 5), "工工…");
        assert_eq!(shortened("工工工", 6), "工工工");
        assert_eq!(shortened("abc", 2), "a…");
    }
}
