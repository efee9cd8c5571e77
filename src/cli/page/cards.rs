//! The numbers of a stream that a page begins with. Pure.

use super::{
    charts::word,
    facts::Stream,
    scale::{count, hours, short},
};
use crate::load::Sums;

/// The names of the numbers, and the numbers; `is_past` where later runs have published.
pub(super) fn cards(stream: &Stream, sums: Option<&Sums>, is_past: bool) -> Vec<(String, String)> {
    let mut cards = Vec::new();
    let mut card = |name: &str, value: String| cards.push((name.to_owned(), value));
    if let Some(sums) = sums {
        let all: f64 = sums.partitions.iter().map(|it| it.all.sum).sum();
        if all > 0.0 {
            card(&format!("hours in {} {}s", sums.partitions.len(), word(sums.unit)), hours(all));
        }
    }
    if stream.status == "published" {
        card(
            if is_past { "rows in the dataset then" } else { "rows in the dataset" },
            count(stream.rows),
        );
    }
    if stream.tells_rows() {
        card("rows added", count(stream.added));
        card("changed", count(stream.updated));
        card("removed", count(stream.removed));
    }
    card("requests", short_count(stream.requests));
    card("sent again", short_count(stream.retries));
    cards
}

#[expect(clippy::cast_precision_loss, reason = "for a person")]
fn short_count(n: u64) -> String {
    if n >= 100_000 { short(n as f64) } else { count(n) }
}
