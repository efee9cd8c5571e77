//! Why paging cannot go on.

use thiserror::Error;

/// Why paging cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StuckPaging {
    /// A page had only records that the slice had already.
    #[error("page {page} came back with nothing but records that earlier pages had")]
    RepeatedPage {
        /// Counted from 1.
        page: u64,
    },
    /// Larger pages than this are not given, and the place of a page is ignored.
    #[error(
        "every page has the same records, and none more than {size}: whether there are more cannot be told"
    )]
    LargestPage {
        /// Records of the largest page.
        size: u64,
    },
    /// A token or URL came back a second time.
    #[error("the token of the next page, `{token}`, came back twice")]
    RepeatedToken {
        /// The token.
        token: String,
    },
    /// What leads to the next page is too long to be one.
    #[error("the token of the next page has {bytes} bytes, more than {LONGEST_TOKEN}")]
    LongToken {
        /// Its length.
        bytes: usize,
    },
    /// Page after page is empty, and each one leads to another.
    #[error("the last {MOST_EMPTY_PAGES} pages were empty, and the API says that more follows")]
    OnlyEmptyPages,
    /// The API says that there is more, but gives nothing to go on with.
    #[error("page {page} is empty, although the API says that more follows")]
    EmptyPage {
        /// Counted from 1.
        page: u64,
    },
    /// The last record of a page has no value to go on with.
    #[error("the last record of page {page} has no `{field}`, which the next page is asked by")]
    NoLastRecord {
        /// Counted from 1.
        page: u64,
        /// The path in the record.
        field: String,
    },
    /// A link leads to the next page, but not by the declared parameter.
    #[error(
        "the link to the page after page {page} has no parameter `{param}`, which it is asked by"
    )]
    NoLinkParam {
        /// Counted from 1.
        page: u64,
        /// The parameter.
        param: String,
    },
    /// The API cannot be asked for what lies behind its largest offset.
    #[error("the next page starts at {offset}, beyond {max}, the largest that the API takes")]
    BeyondLargestOffset {
        /// Where the next page starts.
        offset: u64,
        /// The declared maximum.
        max: u64,
    },
    /// A number that paging needs is not one.
    #[error("`{name}` is `{value}`, expected a number")]
    NotANumber {
        /// The path or header.
        name: String,
        /// What is there.
        value: String,
    },
}

/// The bytes of a token or URL that leads to a page, at most.
pub(super) const LONGEST_TOKEN: usize = 64 << 10;
/// Pages without a record that may follow each other; some APIs filter what they have paged.
pub(super) const MOST_EMPTY_PAGES: u64 = 1_000;

impl StuckPaging {
    /// Whether a page had nothing new.
    pub(in crate::extract) fn is_repetition(&self) -> bool {
        matches!(self, Self::RepeatedPage { .. })
    }
}
