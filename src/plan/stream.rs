//! One stream: how it is sliced, asked for, paged through, typed and written.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::{ColumnPlan, ExpectPlan, JsonPath, Name, ResponseRule, Template, UnknownFields};

/// One named sequence of records and where it ends up.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPlan {
    /// Its directory in the destination.
    pub name: Name,
    /// For people.
    pub description: Option<String>,
    /// How to ask for a page.
    pub request: RequestPlan,
    /// Where a page has its records.
    pub records: RecordsPlan,
    /// Arrays inside a record of which each element becomes a row, outermost first; at most two.
    pub explode: Vec<ExplodePlan>,
    /// How to reach the next page, and how to know the last.
    pub paginate: PaginatePlan,
    /// How far the stream has got, for reading only what changed.
    pub cursor: Option<CursorPlan>,
    /// Into which slices the stream is cut.
    pub slices: SlicesPlan,
    /// The declared columns, in file order.
    pub columns: Vec<ColumnPlan>,
    /// What happens to fields that no column reads.
    pub unknown_fields: UnknownFields,
    /// How rows meet those that are there.
    pub write: WriteMode,
    /// How the rows of a slice are told from the others: what the slice's own values stand in.
    pub scope: Vec<(Name, ScopeSource)>,
    /// What becomes of the rows of a slice to which access is lost.
    pub on_gone: OnGone,
    /// What becomes of the rows that the source no longer has.
    pub deletes: Deletes,
    /// What stops a run from removing rows by mistake.
    pub guard: GuardPlan,
    /// What is normal for the stream.
    pub expect: ExpectPlan,
    /// Into which directories rows go.
    pub partition: PartitionPlan,
    /// Rules for responses of this stream, tried before those of the source.
    pub responses: Vec<ResponseRule>,
    /// How many records may be rejected before the stream publishes nothing.
    pub max_rejected: MaxRejected,
    /// Every path outside the records that paging, reconciliation and response rules read.
    pub envelope: Vec<JsonPath>,
}

impl StreamPlan {
    /// The columns that identify a row; empty where equal rows are legal.
    pub fn key(&self) -> &[Name] {
        match &self.write {
            WriteMode::Append { key }
            | WriteMode::Merge { key, .. }
            | WriteMode::Replace { key, .. } => key,
        }
    }

    /// The field of a page's last record that the stream pages by, if it does.
    pub fn last_record_field(&self) -> Option<&JsonPath> {
        match &self.paginate.scheme {
            PageScheme::LastRecord { from, .. } => Some(from),
            PageScheme::Single
            | PageScheme::Number { .. }
            | PageScheme::Offset { .. }
            | PageScheme::Link { .. }
            | PageScheme::Token { .. }
            | PageScheme::NextUrl { .. } => None,
        }
    }
}

/// How to ask for a page.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestPlan {
    /// GET, or POST as a read.
    pub method: Method,
    /// The path below the source's base URL, percent-encoded when rendered.
    pub path: Template,
    /// Query parameters in order.
    pub query: Vec<(String, QueryValue)>,
    /// Headers of this stream.
    pub headers: Vec<(String, Template)>,
    /// The JSON body.
    pub body: Option<BodyPlan>,
}

/// The request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Parameters in the query.
    #[default]
    Get,
    /// A read through POST: safe to send again.
    Post,
}

/// The value of a query parameter. A template that renders to nothing leaves the parameter out.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// One value.
    One(Template),
    /// The parameter repeated, once a value.
    Repeat(Vec<Template>),
    /// One parameter with the values joined by commas.
    Csv(Vec<Template>),
    /// One parameter that holds JSON text.
    Json(BodyPlan),
}

/// A JSON value with templates in it.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyPlan {
    /// An object, in order; a member whose template renders to nothing is left out.
    Object(Vec<(String, BodyPlan)>),
    /// An array.
    Array(Vec<BodyPlan>),
    /// Anything else.
    Leaf(Template),
}

/// Where a page has its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsPlan {
    /// The path of the array, of the single object, or of the object map.
    pub path: JsonPath,
    /// What is found there.
    pub shape: RecordsShape,
}

/// What is found at the records path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecordsShape {
    /// An array of records, or a single object that is the only record; null is no records.
    #[default]
    Records,
    /// An object whose values are the records and whose keys are read as [`JsonPath::KEY`].
    Map,
    /// JSON as text: parsed first, and its records are at the inner path.
    Stringified(JsonPath),
}

/// An array inside a record of which each element becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplodePlan {
    /// The path from the record; that of the second level starts with that of the first.
    pub path: JsonPath,
    /// What is found there.
    pub shape: ExplodeShape,
    /// What becomes of a record whose array is empty or missing.
    pub when_empty: WhenEmpty,
}

/// What is found at the path of an explode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExplodeShape {
    /// An array of elements.
    #[default]
    Array,
    /// An object whose values are the elements and whose keys are read as [`JsonPath::KEY`].
    Map,
}

/// What becomes of a record whose exploded array is empty or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenEmpty {
    /// One row with nulls.
    #[default]
    Keep,
    /// No row; counted.
    Drop,
}

/// How to reach the next page, and how to know the last.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PaginatePlan {
    /// Where the next page is.
    pub scheme: PageScheme,
    /// The parameter that asks for a number of records a page.
    pub size: Option<SizePlan>,
    /// What the API says about the end and the total.
    pub signals: Signals,
}

/// Where the next page is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum PageScheme {
    /// One request holds everything.
    #[default]
    Single,
    /// Pages are numbered.
    Number {
        /// The parameter.
        param: Placement,
        /// The number of the first page.
        start: u64,
    },
    /// Records are numbered; the next page starts after the records returned so far.
    Offset {
        /// The parameter.
        param: Placement,
        /// The number of the first record.
        start: u64,
        /// The largest value that the API takes.
        max: Option<u64>,
        /// Whether the API takes only multiples of the page size.
        multiple_of_size: bool,
    },
    /// A `Link` header with `rel="next"`.
    Link {
        /// Take this query parameter out of the link and send it to the stream's own URL, instead
        /// of following the link.
        param: Option<String>,
    },
    /// Each page names the token of the next one.
    Token {
        /// Where the page has it.
        from: Signal,
        /// Where the next request has it.
        param: Placement,
        /// An empty page is the end, whether or not it has a token.
        end_on_empty_page: bool,
        /// The same token may lead through several pages; a page without a new record is an error
        /// all the same.
        may_repeat: bool,
    },
    /// Each page has the absolute URL of the next one.
    NextUrl {
        /// Where the page has it.
        from: JsonPath,
    },
    /// The next page starts after the last record of this one.
    LastRecord {
        /// The field of the last record.
        from: JsonPath,
        /// The parameter.
        param: Placement,
    },
}

/// Where a parameter stands in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The part of the request.
    pub place: Place,
    /// The parameter, header or `{name}` in the path; in a body a dotted path.
    pub name: String,
}

/// A part of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// The URL's query.
    #[default]
    Query,
    /// The JSON body.
    Body,
    /// A header.
    Header,
    /// `{name}` in the path.
    Path,
}

/// The parameter that asks for a number of records a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizePlan {
    /// Where it stands; nothing is sent where the API has no such parameter.
    pub param: Option<Placement>,
    /// Records a page.
    pub size: u64,
}

/// What the API says about the end and the total. Every signal that is there is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signals {
    /// A flag that is true on the last page.
    pub last: Option<Signal>,
    /// A flag that is false on the last page.
    pub more: Option<Signal>,
    /// The number of records of the slice.
    pub total: Option<Signal>,
    /// The number of pages of the slice.
    pub total_pages: Option<Signal>,
    /// A total at which the API stops counting: such a slice is never complete.
    pub cap: Option<u64>,
    /// A page without a record that is new to the slice is the end, not an error.
    pub end_on_repeat: bool,
    /// A page with fewer records than asked for is the end.
    pub end_on_short_page: bool,
}

/// Where a response has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// In the body.
    Body(JsonPath),
    /// In a header.
    Header(String),
}

/// How far a stream has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorPlan {
    /// The column whose largest published value is the cursor.
    pub column: Name,
    /// How far before the cursor the next run starts reading.
    pub lookback: TimeDelta,
}

/// Into which slices a stream is cut.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum SlicesPlan {
    /// The whole stream is one slice.
    #[default]
    Whole,
    /// One slice a listed value.
    List {
        /// The name under which templates and columns read it: `slice.<name>`.
        name: String,
        /// The values.
        values: Vec<Value>,
    },
    /// One slice a window of time.
    Window(WindowPlan),
    /// One slice a row, or a batch of rows, of the parent stream.
    Parent(ParentPlan),
    /// One slice of one parent that is known beforehand, so that no stream has to be read for it: the
    /// values that would be bound from it.
    Given(BTreeMap<String, Value>),
    /// Every combination.
    Product(Vec<SlicesPlan>),
    /// The slices of each, one after the other.
    Union(Vec<SlicesPlan>),
}

impl SlicesPlan {
    /// The parent stream that the slices come from, if any.
    pub fn parent(&self) -> Option<&ParentPlan> {
        match self {
            Self::Parent(parent) => Some(parent),
            Self::Product(parts) | Self::Union(parts) => parts.iter().find_map(Self::parent),
            Self::Whole | Self::List { .. } | Self::Window(_) | Self::Given(_) => None,
        }
    }

    /// The zone of the windows, if there are any.
    pub fn zone(&self) -> Option<Tz> {
        match self {
            Self::Window(window) => Some(window.zone),
            Self::Product(parts) | Self::Union(parts) => parts.iter().find_map(Self::zone),
            Self::Whole | Self::List { .. } | Self::Parent(_) | Self::Given(_) => None,
        }
    }
}

/// Windows of time: from a first instant or date to a last one, in steps.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowPlan {
    /// Where the first window starts.
    pub from: WindowStart,
    /// How far past the run's clock the last window reaches; negative for a lag.
    pub ahead: TimeDelta,
    /// The length of a window; without one everything is one window.
    pub step: Option<TimeDelta>,
    /// How far back windows start once everything before has been read.
    pub reread: Option<TimeDelta>,
    /// How bounds are written.
    pub format: WindowFormat,
    /// In which dates and zone-less texts are meant.
    pub zone: Tz,
    /// Where the bounds stand in the request; they are always `slice.start` and `slice.end`.
    pub params: WindowParams,
}

/// Where the first window starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowStart {
    /// At an instant.
    At(DateTime<Utc>),
    /// At the start of a date in the window's zone.
    On(NaiveDate),
    /// That long before the run's clock; for windows of dates, before today.
    Ago(TimeDelta),
}

/// How the bounds of a window are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowFormat {
    /// `2024-07-25`; both bounds are part of the window.
    Date,
    /// Milliseconds since 1970-01-01 UTC, as a number.
    EpochMillis,
    /// Seconds since 1970-01-01 UTC, as a number.
    EpochSeconds,
    /// `2024-07-25T09:42:06Z`.
    Rfc3339,
    /// By strftime, in the window's zone.
    Custom(String),
}

/// Where the bounds of a window stand in the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WindowParams {
    /// Only in templates.
    #[default]
    None,
    /// In one parameter, joined by a comma.
    Pair(Placement),
    /// In a parameter each.
    Bounds {
        /// Of the start.
        start: Option<Placement>,
        /// Of the end.
        end: Option<Placement>,
    },
}

/// Slices from the rows of another stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentPlan {
    /// The parent stream.
    pub stream: Name,
    /// The name under which templates and columns read a column of the parent, and that column.
    pub bind: Vec<(String, Name)>,
    /// How many parents one slice has; with a batch, the bound values are lists.
    pub batch: Option<usize>,
}

/// Where a slice says what one of its rows' columns holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeSource {
    /// In a value of the slice.
    Slice(String),
    /// In a value bound from the parent.
    Parent(String),
    /// Between the first and the last date of the slice's window.
    Window,
}

/// What becomes of the rows of a slice to which access is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGone {
    /// They stay: lost access never looks like a delete.
    #[default]
    Keep,
    /// They go, as if the slice had been read and had nothing.
    Delete,
}

/// What becomes of the rows that the source no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletes {
    /// They go.
    #[default]
    Remove,
    /// They stay, with the run's clock in [`DELETED_COLUMN`](super::DELETED_COLUMN).
    Mark,
}

/// What stops a run from removing rows by mistake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardPlan {
    /// The largest share of the rows that stood in what was read that may go, from 0 to 1.
    pub max_delete_ratio: f64,
    /// Fewer rows than this may always go.
    pub min_deletes: u64,
    /// Whether a dataset that had rows may become empty.
    pub may_be_empty: bool,
}

impl Default for GuardPlan {
    fn default() -> Self {
        Self { max_delete_ratio: 0.5, min_deletes: 100, may_be_empty: false }
    }
}

impl GuardPlan {
    /// Whether so many of the rows that stood may go.
    pub fn allows(self, removed: u64, stood: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
        let share = self.max_delete_ratio * stood as f64;
        #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
        let removed_share = removed as f64;
        removed < self.min_deletes || removed_share <= share
    }
}

/// How rows meet those that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteMode {
    /// Rows with a new key are added; a known key is left as it is.
    Append {
        /// The columns that identify a row.
        key: Vec<Name>,
    },
    /// Rows with a known key replace it.
    Merge {
        /// The columns that identify a row.
        key: Vec<Name>,
        /// The column whose larger value is the newer row.
        newest_by: Option<Name>,
    },
    /// The rows in a scope become exactly what was read.
    Replace {
        /// What is replaced.
        scope: ReplaceScope,
        /// The columns that identify a row; empty where equal rows are legal.
        key: Vec<Name>,
    },
}

/// What a replace replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceScope {
    /// The rows of each slice that was read.
    Slice,
    /// The whole dataset.
    All,
}

/// Into which directories rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPlan {
    /// A date or timestamp column.
    pub column: Name,
    /// The length of a partition.
    pub unit: PartitionUnit,
    /// In which an instant becomes a date, and a day ends.
    pub zone: Tz,
    /// The name before the `=`.
    pub name: Name,
}

/// The length of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartitionUnit {
    /// `date=2024-07-25T09`.
    Hour,
    /// `date=2024-07-25`.
    #[default]
    Day,
    /// `date=2024-07`.
    Month,
    /// `date=2024`.
    Year,
}

/// How many records may be rejected before the stream publishes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxRejected {
    /// The share of the stream's records in this run, from 0 to 1.
    pub ratio: f64,
    /// So many are always tolerated.
    pub always: u64,
}

impl Default for MaxRejected {
    fn default() -> Self {
        Self { ratio: 0.01, always: 10 }
    }
}

impl MaxRejected {
    /// How many of `records` may be rejected.
    pub fn limit(self, records: u64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count below 2^53"
        )]
        let share = (records as f64 * self.ratio) as u64;
        share.max(self.always)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_records_may_be_rejected_and_always_a_few() {
        let limit = |records| MaxRejected::default().limit(records);
        assert_eq!([0, 100, 1_000, 1_099, 1_100, 5_000].map(limit), [10, 10, 10, 10, 11, 50]);
        assert_eq!(MaxRejected { ratio: 0.0, always: 2 }.limit(1_000), 2);
    }
}
