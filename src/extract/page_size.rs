//! Smaller pages, where the one that was asked for is too much for the server or for us. Pure.
//!
//! ```text
//! offset=300&limit=100   413, 504, or a body over the limit
//! offset=300&limit=50    the same place, half as much; 300 is a multiple of 50, too
//! page=4&per_page=25     after 75 records: page=16&per_page=5, which starts at the same record
//! ```

use crate::plan::PageScheme;

/// How far a slice has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Pages read.
    pub page: u64,
    /// Records read, repetitions included.
    pub returned: u64,
}

/// How to go on with smaller pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Smaller {
    /// At the same record, which `page` smaller pages stand before.
    Here { size: u64, page: u64 },
    /// At the first record: the server counts in pages, or its links have the size in them.
    FromStart { size: u64 },
}

/// What to ask for where a page of `size` records is too much; `None` where it cannot be less.
pub(super) fn smaller(scheme: &PageScheme, at: Position, size: u64) -> Option<Smaller> {
    let half = size / 2;
    if half == 0 {
        return None;
    }
    let Position { page, returned } = at;
    if page == 0 {
        return Some(Smaller::Here { size: half, page });
    }
    Some(match scheme {
        PageScheme::Offset { multiple_of_size: true, .. } => {
            Smaller::Here { size: fitting(returned, half), page }
        }
        PageScheme::Number { .. } if page.checked_mul(size) == Some(returned) => {
            let size = fitting(returned, half);
            Smaller::Here { size, page: returned / size }
        }
        PageScheme::Single
        | PageScheme::Offset { .. }
        | PageScheme::Link { param: Some(_) }
        | PageScheme::Token { may_repeat: false, .. }
        | PageScheme::LastRecord { .. } => Smaller::Here { size: half, page },
        // A page that was not full leaves open where a smaller one would start; a scroll keeps the
        // size that it was begun with.
        PageScheme::Number { .. }
        | PageScheme::Link { param: None }
        | PageScheme::Token { may_repeat: true, .. }
        | PageScheme::NextUrl { .. } => Smaller::FromStart { size: half },
    })
}

/// The largest page size up to `most` that `returned` is a multiple of.
pub(super) fn fitting(returned: u64, most: u64) -> u64 {
    if returned == 0 {
        return most;
    }
    (1..=most.min(returned)).rev().find(|it| returned.is_multiple_of(*it)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{JsonPath, Place, Placement, Signal};

    fn param() -> Placement {
        Placement { place: Place::Query, name: "p".to_owned() }
    }

    fn offset(multiple_of_size: bool) -> PageScheme {
        PageScheme::Offset { param: param(), start: 0, max: None, multiple_of_size }
    }

    fn number() -> PageScheme {
        PageScheme::Number { param: param(), start: 1 }
    }

    fn token(may_repeat: bool) -> PageScheme {
        let from = Signal::Header("x-next".to_owned());
        PageScheme::Token { from, param: param(), end_on_empty_page: false, may_repeat }
    }

    #[track_caller]
    fn check(scheme: &PageScheme, (page, returned): (u64, u64), size: u64, expected: Smaller) {
        let found = smaller(scheme, Position { page, returned }, size);
        assert_eq!(found, Some(expected), "{scheme:?} after {returned} records, size {size}");
    }

    const fn here(size: u64, page: u64) -> Smaller {
        Smaller::Here { size, page }
    }

    const fn from_start(size: u64) -> Smaller {
        Smaller::FromStart { size }
    }

    #[test]
    fn an_offset_stays_where_it_is() {
        check(&offset(false), (0, 0), 100, here(50, 0));
        check(&offset(false), (3, 297), 100, here(50, 3));
        check(&offset(false), (3, 297), 3, here(1, 3));
    }

    #[test]
    fn an_offset_that_must_be_a_multiple_of_the_size_stays_one() {
        check(&offset(true), (0, 0), 100, here(50, 0));
        check(&offset(true), (3, 300), 100, here(50, 3));
        check(&offset(true), (3, 300), 25, here(12, 3));
        check(&offset(true), (1, 100), 25, here(10, 1));
        check(&offset(true), (3, 21), 7, here(3, 3));
        check(&offset(true), (1, 7), 7, here(1, 1));
    }

    #[test]
    fn the_number_of_a_smaller_page_is_that_of_the_same_record() {
        check(&number(), (0, 0), 100, here(50, 0));
        check(&number(), (3, 300), 100, here(50, 6));
        check(&number(), (3, 75), 25, here(5, 15));
        check(&number(), (1, 7), 7, here(1, 7));
    }

    #[test]
    fn numbered_pages_that_were_not_full_are_read_again_from_the_first() {
        check(&number(), (3, 280), 100, from_start(50));
    }

    #[test]
    fn a_token_or_a_last_record_goes_on_with_another_size() {
        let last =
            PageScheme::LastRecord { from: "id".parse::<JsonPath>().unwrap(), param: param() };
        check(&last, (2, 20), 10, here(5, 2));
        check(&token(false), (2, 20), 10, here(5, 2));
        check(&PageScheme::Link { param: Some("id".to_owned()) }, (2, 20), 10, here(5, 2));
    }

    #[test]
    fn links_and_scrolls_have_their_size_from_the_first_request() {
        let next = PageScheme::NextUrl { from: "next".parse::<JsonPath>().unwrap() };
        for scheme in [next, token(true), PageScheme::Link { param: None }] {
            check(&scheme, (0, 0), 10, here(5, 0));
            check(&scheme, (2, 20), 10, from_start(5));
        }
    }

    #[test]
    fn a_page_of_one_record_cannot_be_smaller() {
        for scheme in [offset(true), offset(false), number(), token(true), token(false)] {
            assert_eq!(smaller(&scheme, Position { page: 3, returned: 3 }, 1), None);
        }
    }

    #[test]
    fn every_size_that_fits_divides_what_was_returned() {
        for returned in 1..200 {
            for most in 1..60 {
                let size = fitting(returned, most);
                assert!(
                    size <= most && returned % size == 0,
                    "{size} of {returned}, at most {most}"
                );
                let larger = (size + 1..=most).find(|it| returned % it == 0);
                assert_eq!(larger, None, "{returned}, at most {most}");
            }
        }
        assert_eq!(fitting(0, 100), 100);
    }
}
