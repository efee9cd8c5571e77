//! The pipeline file as it is typed. The comments here are the text of the JSON Schema that
//! editors show; there is no behavior.
//!
//! Choices are tagged by their key, unknown keys are refused and nothing is flattened, because
//! then every mistake is reported at its own place.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::shape::{OneOrMany, Scalar, TextOr};

/// A pipeline: one source system, its streams, and where their rows go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tracklake pipeline")]
pub(super) struct PipelineSpec {
    /// Version of this file format: 1.
    pub(super) version: u32,
    /// Lowercase letters, digits and `_`; becomes a directory of the output.
    pub(super) pipeline: String,
    /// What the pipeline exports, for people.
    pub(super) description: Option<String>,
    /// Every input from outside, by the name under which templates read it: `{{ vars.name }}`.
    #[serde(default)]
    pub(super) vars: IndexMap<String, VarSpec>,
    /// Rules between variables, such as "exactly one of these".
    #[serde(default)]
    pub(super) require: Vec<RequireSpec>,
    /// The API: where it is, how to log in, how fast to ask.
    pub(super) source: SourceSpec,
    /// The streams, by name; each becomes a dataset.
    pub(super) streams: IndexMap<String, StreamSpec>,
    /// Where files go. Default: Parquet and CSV below `output`.
    #[serde(default)]
    pub(super) destination: DestinationSpec,
}

/// One input from outside.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VarSpec {
    /// The environment variable that it is read from.
    pub(super) env: Option<String>,
    /// The value where nothing is set; without one the variable is required.
    pub(super) default: Option<Scalar>,
    /// What it is, for people.
    pub(super) description: Option<String>,
    /// A credential: never printed, and only allowed in `auth`, `headers` and request bodies.
    #[serde(default)]
    pub(super) secret: bool,
}

/// A rule between variables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RequireSpec {
    /// Exactly one of these variables is set.
    OneOf(Vec<String>),
    /// At most one of these variables is set.
    AtMostOneOf(Vec<String>),
}

/// The API: where it is, how to log in, how fast to ask.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSpec {
    /// The URL below which all paths lie; it may have a path of its own.
    pub(super) base_url: Scalar,
    /// Allows plain `http:` to another host than this one. Default: false.
    #[serde(default)]
    pub(super) allow_http: bool,
    /// How to log in. Default: not at all.
    pub(super) auth: Option<AuthSpec>,
    /// Headers of every request; one that renders to nothing is left out.
    #[serde(default)]
    pub(super) headers: IndexMap<String, Scalar>,
    /// How fast to ask, and how much to take.
    #[serde(default)]
    pub(super) limits: LimitsSpec,
    /// What to do about failures that may pass.
    #[serde(default)]
    pub(super) retry: RetrySpec,
    /// What responses mean; the first match wins, before the defaults.
    #[serde(default)]
    pub(super) responses: Vec<ResponseSpec>,
}

/// How to log in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum AuthSpec {
    /// Not at all.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        token: Scalar,
    },
    /// `Authorization: Basic <user:password>`.
    Basic {
        /// The user; may be empty.
        user: Scalar,
        /// The password; may be empty.
        password: Scalar,
    },
    /// A header of one's own, such as `X-Auth-Token`.
    Header {
        /// The header's name.
        name: String,
        /// The header's whole value.
        value: Scalar,
    },
    /// Several ways, of which exactly one has all its variables set.
    OneOf(Vec<AuthSpec>),
}

/// How fast to ask, and how much to take.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsSpec {
    /// Requests started in any second. Default: 10.
    pub(super) requests_per_second: Option<Scalar>,
    /// Requests at once. Default: 8.
    pub(super) max_in_flight: Option<Scalar>,
    /// Seconds from sending a request to the last byte of its response. Default: 60.
    pub(super) timeout_secs: Option<Scalar>,
    /// Mebibytes of the largest body, after decompression. Default: 64.
    pub(super) max_response_mb: Option<Scalar>,
}

/// What to do about failures that may pass.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetrySpec {
    /// Tries of one request, the first included. Default: 8.
    pub(super) max_attempts: Option<Scalar>,
    /// Seconds of the longest wait between two tries. Default: 120.
    pub(super) max_delay_secs: Option<Scalar>,
}

/// What a response means.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseSpec {
    /// What the response must be like; all that is given must match.
    pub(super) when: WhenSpec,
    /// What it means then.
    pub(super) then: OutcomeSpec,
}

/// What a response must be like.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenSpec {
    /// A status (`404`), a class (`5xx`), or a list of these.
    pub(super) status: Option<OneOrMany<Scalar>>,
    /// A header.
    pub(super) header: Option<WhenHeaderSpec>,
    /// A value in a JSON body.
    pub(super) body: Option<WhenBodySpec>,
}

/// A header that must be there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenHeaderSpec {
    /// Its name.
    pub(super) name: String,
    /// Its value. Default: any.
    pub(super) equals: Option<String>,
}

/// A value that must be in a JSON body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenBodySpec {
    /// The dotted path to it.
    pub(super) path: String,
    /// The value. Default: any but null.
    pub(super) equals: Option<Scalar>,
}

/// What a response means.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutcomeSpec {
    /// The body is a page.
    Ok,
    /// The request is sent again after a wait.
    Retry,
    /// The slice has nothing; counted and reported.
    Skip,
    /// Access to the slice's parent is lost; its rows stay.
    Gone,
    /// The slice fails.
    Fail,
}

/// One stream of records and where it ends up.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamSpec {
    /// What the stream holds, for people.
    pub(super) description: Option<String>,
    /// How to ask for a page.
    pub(super) request: RequestSpec,
    /// Where a page has its records: a dotted path, `$` for the body itself. Default: `$`.
    pub(super) records: Option<TextOr<RecordsSpec>>,
    /// Arrays in a record of which each element becomes a row: one path, or two, outermost first.
    pub(super) explode: Option<OneOrMany<TextOr<ExplodeSpec>>>,
    /// How to reach the next page, and how to know the last. Default: one request.
    pub(super) paginate: Option<PaginateSpec>,
    /// How far the stream has got, so that the next run reads only what changed.
    pub(super) cursor: Option<CursorSpec>,
    /// Into which slices the stream is cut, each read, retried and reconciled by itself. Default:
    /// one slice.
    pub(super) slices: Option<SlicesSpec>,
    /// The columns, in the order of the files.
    pub(super) columns: IndexMap<String, ColumnSpec>,
    /// What happens to fields that no column reads. Default: `keep`, in the column `_extra`.
    #[serde(default)]
    pub(super) unknown_fields: UnknownFieldsSpec,
    /// How rows meet those that are there. Default: `replace: all`.
    pub(super) write: Option<WriteSpec>,
    /// Into which directories rows go.
    pub(super) partition_by: PartitionSpec,
    /// What responses of this stream mean, before the rules of the source.
    #[serde(default)]
    pub(super) responses: Vec<ResponseSpec>,
    /// What becomes of the rows of a parent to which access is lost. Default: `keep`.
    #[serde(default)]
    pub(super) on_gone: OnGoneSpec,
    /// The share of standing rows that a run may remove, of at least 100 that go (`50%`). Default:
    /// `50%`.
    pub(super) max_delete_ratio: Option<Scalar>,
    /// What is normal for this stream.
    #[serde(default)]
    pub(super) expect: ExpectSpec,
    /// Rejected records to tolerate before the stream publishes nothing: a share (`1%`) or a
    /// number. Default: `1%`, and always up to 10.
    pub(super) max_rejected: Option<Scalar>,
}

/// How to ask for a page.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestSpec {
    /// `get`, or `post` as a read. Default: `get`.
    #[serde(default)]
    pub(super) method: MethodSpec,
    /// The path below `base_url`; the values of expressions are percent-encoded.
    pub(super) path: String,
    /// Query parameters; one that renders to nothing is left out.
    #[serde(default)]
    pub(super) query: IndexMap<String, QuerySpec>,
    /// Headers of this stream.
    #[serde(default)]
    pub(super) headers: IndexMap<String, Scalar>,
    /// The JSON body; a member whose template renders to nothing is left out.
    pub(super) body: Option<serde_json::Value>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MethodSpec {
    /// Parameters in the query.
    #[default]
    Get,
    /// A read through POST: safe to send again.
    Post,
}

/// The value of a query parameter: one value, a list (the parameter is repeated), `csv` (one value
/// joined by commas) or `json` (JSON text).
#[derive(Debug, Clone)]
pub(super) enum QuerySpec {
    /// One value.
    One(Scalar),
    /// The parameter repeated.
    Repeat(Vec<Scalar>),
    /// Anything that is written as a block.
    Block(QueryBlockSpec),
}

/// A query parameter that is put together from several values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum QueryBlockSpec {
    /// The values joined by commas.
    Csv(Vec<Scalar>),
    /// JSON text.
    Json(serde_json::Value),
}

/// Where a page has its records.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RecordsSpec {
    /// The path of an object whose values are the records; columns read the key as `$key`.
    Map(String),
    /// The path of JSON as text, with records inside it.
    Stringified {
        /// The path of the text.
        path: String,
        /// The path of the records in the parsed text. Default: `$`.
        records: Option<String>,
    },
}

/// An array in a record of which each element becomes a row.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplodeSpec {
    /// The dotted path from the record.
    pub(super) path: String,
    /// `array`, or `map` for an object whose values are the elements (`<path>.$key` is the key).
    /// Default: `array`.
    #[serde(default)]
    pub(super) shape: ExplodeShapeSpec,
    /// What becomes of a record whose array is empty or missing. Default: `keep`, with nulls.
    #[serde(default)]
    pub(super) when_empty: WhenEmptySpec,
}

/// What stands at the path of an explode.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExplodeShapeSpec {
    /// An array.
    #[default]
    Array,
    /// An object whose values are the elements.
    Map,
}

/// What becomes of a record whose array is empty or missing.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhenEmptySpec {
    /// One row with nulls.
    #[default]
    Keep,
    /// No row; counted.
    Drop,
}

/// How to reach the next page, and how to know the last.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum PaginateSpec {
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
pub(super) enum PlaceSpec {
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
pub(super) struct PageSpec {
    /// The parameter with the number. Default: `page`.
    pub(super) param: Option<String>,
    /// The first page. Default: 1.
    pub(super) start: Option<u64>,
    /// The parameter with the number of records a page.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(super) place: PlaceSpec,
    /// Path of the number of records in all.
    pub(super) total: Option<String>,
    /// Header with the number of records in all.
    pub(super) total_header: Option<String>,
    /// Path of the number of pages.
    pub(super) total_pages: Option<String>,
    /// Header with the number of pages.
    pub(super) total_pages_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(super) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(super) more: Option<String>,
    /// The total at which the API stops counting; such a slice is never complete.
    pub(super) cap: Option<u64>,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(super) end_on_short_page: bool,
}

/// Numbered records.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OffsetSpec {
    /// The parameter with the number of records to leave out. Default: `offset`.
    pub(super) param: Option<String>,
    /// The number of the first record. Default: 0.
    pub(super) start: Option<u64>,
    /// The parameter with the number of records a page.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(super) place: PlaceSpec,
    /// Path of the number of records in all.
    pub(super) total: Option<String>,
    /// Header with the number of records in all.
    pub(super) total_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(super) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(super) more: Option<String>,
    /// The largest offset that the API takes.
    pub(super) max_offset: Option<u64>,
    /// The total at which the API stops counting; such a slice is never complete.
    pub(super) cap: Option<u64>,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(super) end_on_short_page: bool,
}

/// The `Link` header with `rel="next"`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkSpec {
    /// Take this parameter from the link and send it to the stream's own URL; for APIs whose
    /// links are not URLs. Default: follow the link.
    pub(super) param: Option<String>,
    /// The parameter with the number of records a page.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Path of the number of records in all.
    pub(super) total: Option<String>,
    /// Header with the number of records in all.
    pub(super) total_header: Option<String>,
}

/// Each page names the token of the next.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenSpec {
    /// Path of the token in the body.
    pub(super) body: Option<String>,
    /// An empty page is the end, whether or not it names a token. Default: false.
    #[serde(default)]
    pub(super) end_on_empty_page: bool,
    /// The same token may lead through several pages, as that of a scroll may. Default: false.
    #[serde(default)]
    pub(super) may_repeat: bool,
    /// Header with the token.
    pub(super) header: Option<String>,
    /// The parameter of the next request.
    pub(super) param: String,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(super) place: PlaceSpec,
    /// The parameter with the number of records a page.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Path of the number of records in all.
    pub(super) total: Option<String>,
    /// Header with the number of records in all.
    pub(super) total_header: Option<String>,
    /// Path of a flag that is true on the last page.
    pub(super) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(super) more: Option<String>,
}

/// Each page has the absolute URL of the next.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NextUrlSpec {
    /// Path of the URL in the body.
    pub(super) path: String,
    /// The parameter with the number of records a page, in the first request.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Path of the number of records in all.
    pub(super) total: Option<String>,
    /// Path of a flag that is true on the last page, for APIs that name a next page there too.
    pub(super) last: Option<String>,
}

/// The next page starts after the last record of this one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LastRecordSpec {
    /// Path, in the record, of what the next request names.
    pub(super) from: String,
    /// The parameter of the next request.
    pub(super) param: String,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(super) place: PlaceSpec,
    /// The parameter with the number of records a page.
    pub(super) size_param: Option<String>,
    /// Records a page.
    pub(super) size: Option<u64>,
    /// Path of a flag that is true on the last page.
    pub(super) last: Option<String>,
    /// Path of a flag that is false on the last page.
    pub(super) more: Option<String>,
    /// A page without a new record is the end instead of an error; for APIs that may ignore
    /// paging. Default: false.
    #[serde(default)]
    pub(super) end_on_repeat: bool,
    /// A page with fewer records than asked for is the end. Default: false.
    #[serde(default)]
    pub(super) end_on_short_page: bool,
}

/// How far a stream has got.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CursorSpec {
    /// A timestamp or date column whose largest published value is the cursor.
    pub(super) column: String,
    /// How far before the cursor the next run starts reading (`3d`). Default: `0d`.
    pub(super) lookback: Option<String>,
}

/// Into which slices a stream is cut.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum SlicesSpec {
    /// One slice a listed value.
    List {
        /// The name under which templates and columns read it: `slice.<as>`.
        r#as: String,
        /// The values.
        values: Vec<Scalar>,
    },
    /// One slice a window of time.
    Window(WindowSpec),
    /// One slice a row of another stream.
    Parent(ParentSpec),
    /// Every combination of these.
    Product(Vec<SlicesSpec>),
    /// The slices of each of these.
    Union(Vec<SlicesSpec>),
}

/// Windows of time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowSpec {
    /// Where the first window starts: a date, an instant, or a length of time back from now (`90d`).
    pub(super) from: Scalar,
    /// How far past now the last window reaches (`31d`), for records dated ahead. Default: `0d`.
    pub(super) ahead: Option<String>,
    /// How far before now the last window ends (`1m`), for APIs that lag. Default: `0d`.
    pub(super) lag: Option<String>,
    /// The length of a window. Default: everything is one window.
    pub(super) step: Option<String>,
    /// How far back windows start once everything from `from` on has been read (`60d`), for
    /// records that change without a feed of changes. Default: at `from`, or at the cursor.
    pub(super) reread: Option<String>,
    /// How bounds are written: `date` (both included), `epoch_ms`, `epoch_ms_pair`, `epoch_s`,
    /// `rfc3339`, or a strftime pattern. Default: `rfc3339`.
    pub(super) format: Option<String>,
    /// In which dates are meant. Default: UTC.
    pub(super) zone: Option<Scalar>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(super) place: PlaceSpec,
    /// One parameter with both bounds, joined by a comma.
    pub(super) param: Option<String>,
    /// The parameter with the start; `{{ slice.start }}` is there for templates too.
    pub(super) start_param: Option<String>,
    /// The parameter with the end; `{{ slice.end }}` is there for templates too.
    pub(super) end_param: Option<String>,
}

/// One slice a row of another stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParentSpec {
    /// The other stream.
    pub(super) stream: String,
    /// Columns of the parent, by the name under which templates and columns read them:
    /// `parent.<name>`.
    pub(super) bind: IndexMap<String, String>,
    /// Parents a slice; the bound values are lists then. For APIs that take a batch of ids.
    pub(super) batch: Option<usize>,
}

/// One column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnSpec {
    /// A dotted path in the record; `parent.x` and `slice.x` reach the context.
    pub(super) from: String,
    /// What the value must be.
    pub(super) r#type: TypeSpec,
    /// Names of codes: the column has the name, or null for a code that is not listed.
    pub(super) values: Option<IndexMap<String, String>>,
    /// For readers of the file's schema.
    pub(super) description: Option<String>,
}

/// What a value must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TypeSpec {
    /// Text; numbers and booleans as their JSON text.
    String,
    /// A 64-bit integer, also as text.
    Int64,
    /// A floating-point number, also as text.
    Float64,
    /// True or false, also as text.
    Boolean,
    /// A calendar date.
    Date(DateSpec),
    /// An instant, stored in UTC with microseconds.
    Timestamp(TimestampSpec),
    /// A length of time, stored as whole seconds.
    Duration(DurationSpec),
    /// Any value, as canonical JSON text.
    Json,
}

/// A calendar date.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DateSpec {
    /// In which an instant becomes a date; without it an instant is refused.
    pub(super) zone: Option<Scalar>,
}

/// An instant.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimestampSpec {
    /// What numbers mean: `text` (there are none), `epoch_s` or `epoch_ms`. Default: `text`.
    #[serde(default)]
    pub(super) format: InstantFormatSpec,
    /// Of text that names no zone; without it such text is refused.
    pub(super) zone: Option<Scalar>,
}

/// What numbers mean in a timestamp column.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InstantFormatSpec {
    /// Instants are text, such as RFC 3339.
    #[default]
    Text,
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

/// A length of time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DurationSpec {
    /// What a plain number counts. Default: `text` (there are none).
    #[serde(default)]
    pub(super) unit: DurationUnitSpec,
    /// How long a day and a week are. Default: `absolute`.
    #[serde(default)]
    pub(super) calendar: CalendarSpec,
    /// Refuses fractions of a second instead of rounding them half to even. Default: false.
    #[serde(default)]
    pub(super) exact: bool,
}

/// What a plain number counts.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DurationUnitSpec {
    /// Durations are text.
    #[default]
    Text,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    Min,
    /// Hours.
    H,
}

/// How long a day and a week are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum CalendarSpec {
    /// 24 hours and 7 days.
    #[default]
    Absolute,
    /// Working time.
    Business {
        /// Hours of a day.
        hours_per_day: Scalar,
        /// Days of a week.
        days_per_week: Scalar,
    },
}

/// What happens to fields that no column reads.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnknownFieldsSpec {
    /// They go, as one JSON text, into the column `_extra`.
    #[default]
    Keep,
    /// They are dropped.
    Ignore,
    /// The record is rejected.
    Reject,
}

/// How rows meet those that are there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WriteSpec {
    /// Rows with a new key are added; a known key is left as it is.
    Append {
        /// The columns that identify a row.
        key: Vec<String>,
    },
    /// Rows with a known key replace it.
    Merge {
        /// The columns that identify a row.
        key: Vec<String>,
        /// The column whose larger value is the newer row.
        newest_by: Option<String>,
    },
    /// The rows of what was read become exactly what was read: `slice` or `all`, or a block.
    Replace(TextOr<ReplaceSpec>),
}

/// What a replace replaces.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplaceSpec {
    /// The rows of each slice, or of the whole dataset.
    pub(super) scope: ScopeSpec,
    /// The columns that identify a row. Default: none, equal rows are all kept.
    #[serde(default)]
    pub(super) key: Vec<String>,
    /// Which columns hold what makes a slice: `parent.x`, `slice.x`, or `window` for a column whose
    /// date lies in the slice's window. Default: the columns that are read from the slice itself.
    #[serde(default)]
    pub(super) by: IndexMap<String, String>,
}

/// What becomes of the rows of a parent to which access is lost.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnGoneSpec {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Delete,
}

/// What is normal for a stream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectSpec {
    /// `ok` where a dataset that had rows may become empty. Default: `never`.
    #[serde(default)]
    pub(super) empty: ExpectEmptySpec,
}

/// Whether a dataset that had rows may become empty.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpectEmptySpec {
    /// Then nothing is published.
    #[default]
    Never,
    /// It may.
    Ok,
}

/// What a replace replaces.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeSpec {
    /// The rows of each slice that was read.
    Slice,
    /// The whole dataset.
    All,
}

/// Into which directories rows go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartitionSpec {
    /// A date or timestamp column.
    pub(super) column: String,
    /// `hour`, `day`, `month` or `year`. Default: `day`.
    #[serde(default)]
    pub(super) unit: UnitSpec,
    /// In which an instant becomes a date. Default: UTC.
    pub(super) zone: Option<Scalar>,
    /// The name before the `=`. Default: `date`.
    pub(super) r#as: Option<String>,
}

/// The length of a partition.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnitSpec {
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

/// Where files go.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationSpec {
    /// A directory. Default: `output`.
    pub(super) path: Option<Scalar>,
    /// The formats. Default: both.
    pub(super) formats: Option<FormatsSpec>,
    /// Mebibytes at which a partition's file is followed by another. Default: 256.
    pub(super) target_file_mb: Option<u64>,
}

/// The formats, each in a directory of its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FormatsSpec {
    /// Apache Parquet.
    #[serde(default, deserialize_with = "present")]
    pub(super) parquet: Option<ParquetSpec>,
    /// RFC 4180 text.
    #[serde(default, deserialize_with = "present")]
    pub(super) csv: Option<CsvSpec>,
}

/// Apache Parquet: no settings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParquetSpec {}

/// How CSV is written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvSpec {
    /// Compression of whole files. Default: `none`.
    #[serde(default)]
    pub(super) compression: CompressionSpec,
    /// Puts a `'` before text that a spreadsheet would run as a formula. Default: false.
    #[serde(default)]
    pub(super) escape_formulas: bool,
}

/// Compression of CSV files.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CompressionSpec {
    /// `part-0.csv`.
    #[default]
    None,
    /// `part-0.csv.gz`.
    Gzip,
    /// `part-0.csv.zst`.
    Zstd,
}

/// A key that is there counts, even with nothing below it: `csv:` asks for CSV.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
