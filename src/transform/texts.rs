//! The texts of one column, as places until the page ends.
//!
//! ```text
//! page     [{"name":"li","note":"a\\nb"},{"name":"wu","note":null}]
//!                    ^^ 10          not as it stands: written beside
//!
//! name     (10, 2)  (37, 2)         note     (0, 3, beside)  null         beside    a⏎b
//! ```
//!
//! Places are smaller than most texts, they are taken back and repeated at once, and what is taken
//! from a checked page need not be checked again.

use std::ops::Range;

use arrow::array::{StringArray, StringBuilder};

use super::{cell::Misfit, json::Text};

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The offset in the page; beside it, with the highest bit set.
    start: u32,
    length: u32,
}

/// Offsets and lengths are less.
const BESIDE: u32 = 1 << 31;

impl Place {
    const NULL: Self = Self { start: 0, length: u32::MAX };

    /// The place of a text in the page; `None` beyond 2 GiB.
    #[inline]
    pub(super) fn new(start: usize, length: usize) -> Option<Self> {
        let small = |it: usize| u32::try_from(it).ok().filter(|it| *it < BESIDE);
        Some(Self { start: small(start)?, length: small(length)? })
    }

    /// The bytes of the text.
    fn len(self) -> usize {
        if self == Self::NULL { 0 } else { self.length as usize }
    }

    /// Where a text stands that is not in the page.
    fn beside(self) -> Option<Range<usize>> {
        let start = self.start.checked_sub(BESIDE)? as usize;
        Some(start..start + self.len())
    }
}

/// The texts of one column.
#[derive(Debug)]
pub(super) struct Texts {
    places: Vec<Place>,
    /// The texts that do not stand in the page as they are, in order.
    beside: String,
    /// The bytes of all texts, repeated ones as often as they are there.
    bytes: usize,
}

impl Texts {
    /// None, with room for so many of them, and for so many bytes beside the page.
    pub(super) fn new(rows: usize, beside: usize) -> Self {
        Self { places: Vec::with_capacity(rows), beside: String::with_capacity(beside), bytes: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes that stand beside the page.
    pub(super) fn beside(&self) -> usize {
        self.beside.len()
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.places[row] == Place::NULL
    }

    pub(super) fn nulls(&mut self, n: usize) {
        self.places.extend(std::iter::repeat_n(Place::NULL, n));
    }

    /// Adds a text of the page.
    #[inline]
    pub(super) fn push(&mut self, place: Place) -> Result<(), Misfit> {
        self.bytes = room(self.bytes, place.len(), 1)?;
        self.places.push(place);
        Ok(())
    }

    /// Adds a text that is not in the page as it is.
    #[inline(never)]
    pub(super) fn copy(&mut self, text: &Text<'_>) -> Result<(), Misfit> {
        self.write(|out| text.append_to(out))
    }

    /// Adds the text that `write` appends.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut String)) -> Result<(), Misfit> {
        let start = self.beside.len();
        write(&mut self.beside);
        let place = Place::new(start, self.beside.len() - start)
            .map(|it| Place { start: it.start | BESIDE, ..it })
            .ok_or(TOO_LONG);
        place.and_then(|it| self.push(it)).inspect_err(|_| self.beside.truncate(start))
    }

    /// Repeats the last text `n` times.
    pub(super) fn repeat(&mut self, n: usize) -> Result<(), Misfit> {
        if let Some(last) = self.places.last().copied() {
            // Checked before anything is copied: a long text on many rows is a lot of memory.
            self.bytes = room(self.bytes, last.len(), n)?;
            self.places.extend(std::iter::repeat_n(last, n));
        }
        Ok(())
    }

    /// Takes back every text from row `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        let gone = &self.places[rows..];
        self.bytes -= gone.iter().map(|it| it.len()).sum::<usize>();
        if let Some(first) = gone.iter().find_map(|it| it.beside()) {
            // The last one that stays may be the same text.
            let kept = self.places[..rows].last().and_then(|it| it.beside());
            let end = kept.filter(|it| it.start == first.start).map_or(first.start, |it| it.end);
            self.beside.truncate(end);
        }
        self.places.truncate(rows);
    }

    /// The text of a row, unless it is null.
    pub(super) fn text<'t>(&'t self, row: usize, page: &'t str) -> Option<&'t str> {
        text(self.places[row], page, &self.beside)
    }

    /// Copies the texts together.
    pub(super) fn finish(self, page: &str) -> StringArray {
        let mut texts = StringBuilder::with_capacity(self.places.len(), self.bytes);
        for place in self.places {
            texts.append_option(text(place, page, &self.beside));
        }
        texts.finish()
    }
}

#[inline]
fn text<'t>(place: Place, page: &'t str, beside: &'t str) -> Option<&'t str> {
    if place == Place::NULL {
        return None;
    }
    match place.beside() {
        Some(range) => beside.get(range),
        None => page.get(place.start as usize..place.start as usize + place.len()),
    }
}

/// The bytes of all texts with `n` more of this length, as far as Arrow can count them.
#[inline]
fn room(bytes: usize, length: usize, n: usize) -> Result<usize, Misfit> {
    let sum = length.saturating_mul(n).saturating_add(bytes);
    if i32::try_from(sum).is_ok() { Ok(sum) } else { Err(TOO_LONG) }
}

const TOO_LONG: Misfit = Misfit::because("the texts of this page exceed 2 GiB in one column");

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    const PAGE: &str = "éabc";

    /// One text of the page, one beside it, a null, and one beside it that is repeated.
    fn texts() -> Texts {
        let mut texts = Texts::new(0, 0);
        texts.push(Place::new(2, 3).unwrap()).unwrap();
        texts.write(|out| out.push('好')).unwrap();
        texts.nulls(1);
        texts.write(|out| out.push_str("de")).unwrap();
        texts.repeat(2).unwrap();
        texts
    }

    const ROWS: [Option<&str>; 6] =
        [Some("abc"), Some("好"), None, Some("de"), Some("de"), Some("de")];

    #[test]
    fn texts_of_the_page_and_beside_it_are_copied_together() {
        let finished = texts().finish(PAGE);

        assert_eq!(finished.iter().collect::<Vec<_>>(), ROWS);
        assert_eq!(finished.value_data(), "abc好dedede".as_bytes());
    }

    #[test]
    fn what_is_taken_back_leaves_all_that_was_before_and_gives_its_room_back() {
        for rows in 0..=ROWS.len() {
            let mut texts = texts();
            texts.truncate(rows);
            texts.write(|out| out.push('f')).unwrap();

            assert_eq!(texts.text(rows, PAGE), Some("f"));
            let kept: usize = ROWS[..rows].iter().flatten().map(|it| it.len()).sum();
            assert_eq!(texts.bytes, kept + 1);
            assert_eq!(texts.beside(), [0, 0, 3, 3, 5, 5, 5][rows] + 1);
            let finished = texts.finish(PAGE);
            assert_eq!(finished.iter().take(rows).collect::<Vec<_>>(), ROWS[..rows]);
            assert_eq!(finished.len(), rows + 1);
        }
    }

    #[test]
    fn more_than_arrow_counts_is_refused_and_changes_nothing() {
        let most = i32::MAX as usize;
        let mut texts = Texts::new(0, 0);
        texts.push(Place::new(0, most - 1).unwrap()).unwrap();

        assert_eq!(texts.repeat(1), Err(TOO_LONG));
        assert_eq!(texts.write(|out| out.push_str("ab")), Err(TOO_LONG));
        assert_eq!(texts.push(Place::new(0, 2).unwrap()), Err(TOO_LONG));
        assert_eq!((texts.len(), texts.bytes, texts.beside()), (1, most - 1, 0));
        assert_eq!(texts.push(Place::new(0, 1).unwrap()), Ok(()));
        assert_eq!((Place::new(0, most + 1), Place::new(usize::MAX, 0)), (None, None));
    }
}
