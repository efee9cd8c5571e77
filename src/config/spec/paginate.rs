//! How to reach the next page, and how to know the last.

use schemars::JsonSchema;
use serde::Deserialize;

/// How to reach the next page, and how to know the last.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum PaginateSpec {
    /// One request holds everything.
    None,
    /// Numbered pages.
    Page(PageSpec),
    /// Numbered records; the next page starts after those returned so far.
    Offset(OffsetSpec),
    /// The `Link` header with `rel="next"`.
    Link(LinkSpec),
    /// Each page names the token of the next.
    Token(TokenSpec),
    /// Each page has the absolute URL of the next.
    NextUrl(NextUrlSpec),
    /// The next page starts after the last record of this one.
    LastRecord(LastRecordSpec),
}

/// Where a parameter of paging stands.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum PlaceSpec {
    /// In the query.
    #[default]
    Query,
    /// In the JSON body; the parameter is a dotted path.
    Body,
    /// In a header.
    Header,
    /// In the path, as `{parameter}`.
    Path,
}

/// Numbered pages.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PageSpec {
    /// The parameter with the number. Default: `page`.
    pub(in crate::config) param: Option<String>,
    /// The first page. Default: 1.
    pub(in crate::config) start: Option<u64>,
    /// The parameter with the number of records a page.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(in crate::config) place: PlaceSpec,
    /// Path of the number of records in all.
    pub(in crate::config) total: Option<String>,
    /// Header with the number of records in all.
    pub(in crate::config) total_header: Option<String>,
    /// Path of the number of pages.
    pub(in crate::config) total_pages: Option<String>,
    /// Header with the number of pages.
    pub(in crate::config) total_pages_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(in crate::config) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(in crate::config) more: Option<String>,
    /// The total at which the API stops counting; such a slice is never complete.
    pub(in crate::config) cap: Option<u64>,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(in crate::config) end_on_short_page: bool,
}

/// Numbered records.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OffsetSpec {
    /// The parameter with the number of records to leave out. Default: `offset`.
    pub(in crate::config) param: Option<String>,
    /// The number of the first record. Default: 0.
    pub(in crate::config) start: Option<u64>,
    /// The parameter with the number of records a page.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(in crate::config) place: PlaceSpec,
    /// Path of the number of records in all.
    pub(in crate::config) total: Option<String>,
    /// Header with the number of records in all.
    pub(in crate::config) total_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(in crate::config) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(in crate::config) more: Option<String>,
    /// The largest offset that the API takes.
    pub(in crate::config) max_offset: Option<u64>,
    /// The API takes only offsets that are multiples of the page size. Default: false.
    #[serde(default)]
    pub(in crate::config) multiple_of_size: bool,
    /// The total at which the API stops counting; such a slice is never complete.
    pub(in crate::config) cap: Option<u64>,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(in crate::config) end_on_short_page: bool,
}

/// The `Link` header with `rel="next"`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LinkSpec {
    /// Take this parameter from the link and send it to the stream's own URL; for APIs whose
    /// links are not URLs. Default: follow the link.
    pub(in crate::config) param: Option<String>,
    /// The parameter with the number of records a page.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Path of the number of records in all.
    pub(in crate::config) total: Option<String>,
    /// Header with the number of records in all.
    pub(in crate::config) total_header: Option<String>,
}

/// Each page names the token of the next.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenSpec {
    /// Path of the token in the body.
    pub(in crate::config) body: Option<String>,
    /// An empty page is the end, whether or not it names a token. Default: false.
    #[serde(default)]
    pub(in crate::config) end_on_empty_page: bool,
    /// The same token may lead through several pages, as that of a scroll may. Default: false.
    #[serde(default)]
    pub(in crate::config) may_repeat: bool,
    /// Header with the token.
    pub(in crate::config) header: Option<String>,
    /// The parameter of the next request.
    pub(in crate::config) param: String,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(in crate::config) place: PlaceSpec,
    /// The parameter with the number of records a page.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Path of the number of records in all.
    pub(in crate::config) total: Option<String>,
    /// Header with the number of records in all.
    pub(in crate::config) total_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(in crate::config) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(in crate::config) more: Option<String>,
}

/// Each page has the absolute URL of the next.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct NextUrlSpec {
    /// Path of the URL in the body.
    pub(in crate::config) path: String,
    /// The parameter with the number of records a page, in the first request.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Path of the number of records in all.
    pub(in crate::config) total: Option<String>,
    /// Path of a flag that is true on the last page, for APIs that name a next page there too.
    pub(in crate::config) last: Option<String>,
}

/// The next page starts after the last record of this one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LastRecordSpec {
    /// Path, in the record, of what the next request names.
    pub(in crate::config) from: String,
    /// The parameter of the next request.
    pub(in crate::config) param: String,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(in crate::config) place: PlaceSpec,
    /// The parameter with the number of records a page.
    pub(in crate::config) size_param: Option<String>,
    /// Records a page.
    pub(in crate::config) size: Option<u64>,
    /// Path of a flag that is true on the last page.
    pub(in crate::config) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(in crate::config) more: Option<String>,
    /// A page without a new record is the end instead of an error; for APIs that may ignore
    /// paging. One as full as was asked for is asked for again, twice as large. Default: false.
    #[serde(default)]
    pub(in crate::config) end_on_repeat: bool,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(in crate::config) end_on_short_page: bool,
}
