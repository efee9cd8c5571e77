//! The pipeline file as it is typed. The comments here are the text of the JSON Schema that
//! editors show; there is no behavior.
//!
//! Choices are tagged by their key, unknown keys are refused and nothing is flattened, because
//! then every mistake is reported at its own place.

mod auth;
mod stream;
mod paginate;
mod column;
mod write;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::shape::{OneOrMany, Scalar};
pub(in crate::config) use auth::{
    ApiKeySpec, AuthSpec, ClientAuthSpec, ExpirySpec, GrantSpec, KeyPlaceSpec, LoginSpec,
    Oauth2Spec, SdkHmacSha256Spec, TlsSpec, TokenHeaderSpec, TokenPlaceSpec, YandexExchangeSpec,
    YandexIamSpec,
};
pub(in crate::config) use column::{
    CalendarSpec, ColumnSpec, DurationUnitSpec, InstantFormatSpec, MaskSpec, TypeSpec,
    UnknownFieldsSpec,
};
pub(in crate::config) use paginate::{
    LastRecordSpec, LinkSpec, NextUrlSpec, OffsetSpec, PageSpec, PaginateSpec, PlaceSpec, TokenSpec,
};
pub(in crate::config) use stream::{
    CursorSpec, DeletesSpec, ExpectDaysSpec, ExpectEmptySpec, ExpectSpec, ExplodeShapeSpec,
    ExplodeSpec, MethodSpec, OnGoneSpec, ParentSpec, QueryBlockSpec, QuerySpec, RecordsSpec,
    RequestSpec, SlicesSpec, StreamSpec, WeekdaySpec, WhenEmptySpec, WindowSpec,
};
pub(in crate::config) use write::{PartitionSpec, ReplaceSpec, ScopeSpec, UnitSpec, WriteSpec};

/// A pipeline: one source system, its streams, and where their rows go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tracklake pipeline")]
pub(in crate::config) struct PipelineSpec {
    /// Version of this file format: 1.
    pub(in crate::config) version: u32,
    /// Lowercase letters, digits and `_`; becomes a directory of the output.
    pub(in crate::config) pipeline: String,
    /// What the pipeline exports, for people.
    pub(in crate::config) description: Option<String>,
    /// Every input from outside, by the name under which templates read it: `{{ vars.name }}`.
    #[serde(default)]
    pub(in crate::config) vars: IndexMap<String, VarSpec>,
    /// Rules between variables, such as "exactly one of these".
    #[serde(default)]
    pub(in crate::config) require: Vec<RequireSpec>,
    /// The API: where it is, how to log in, how fast to ask.
    pub(in crate::config) source: SourceSpec,
    /// The streams, by name; each becomes a dataset.
    pub(in crate::config) streams: IndexMap<String, StreamSpec>,
    /// Where files go. Default: Parquet and CSV below `output`.
    #[serde(default)]
    pub(in crate::config) destination: DestinationSpec,
}

/// One input from outside.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct VarSpec {
    /// The environment variable that it is read from.
    pub(in crate::config) env: Option<String>,
    /// A file whose text is the value where the environment variable is not set, such as a mounted
    /// secret; a line end at its end is left out. The environment variable with `_FILE` after its
    /// name names such a file for a secret, too.
    pub(in crate::config) file: Option<String>,
    /// The value where nothing is set; without one the variable is required.
    pub(in crate::config) default: Option<Scalar>,
    /// What it is, for people.
    pub(in crate::config) description: Option<String>,
    /// A credential: never printed, and only allowed in `auth`, `headers` and request bodies.
    #[serde(default)]
    pub(in crate::config) secret: bool,
}

/// A rule between variables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum RequireSpec {
    /// Exactly one of these variables is set.
    OneOf(Vec<String>),
    /// At most one of these variables is set.
    AtMostOneOf(Vec<String>),
}

/// The API: where it is, how to log in, how fast to ask.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SourceSpec {
    /// The URL below which all paths lie; it may have a path of its own.
    pub(in crate::config) base_url: Scalar,
    /// Allows plain `http:` to another host than this one. Default: false.
    #[serde(default)]
    pub(in crate::config) allow_http: bool,
    /// How to log in. Default: not at all.
    pub(in crate::config) auth: Option<AuthSpec>,
    /// Whose certificates are trusted. Default: those of the system.
    #[serde(default)]
    pub(in crate::config) tls: TlsSpec,
    /// Headers of every request; one that renders to nothing is left out.
    #[serde(default)]
    pub(in crate::config) headers: IndexMap<String, Scalar>,
    /// How fast to ask, and how much to take.
    #[serde(default)]
    pub(in crate::config) limits: LimitsSpec,
    /// What to do about failures that may pass.
    #[serde(default)]
    pub(in crate::config) retry: RetrySpec,
    /// What responses mean; the first match wins, before the defaults.
    #[serde(default)]
    pub(in crate::config) responses: Vec<ResponseSpec>,
}

/// How fast to ask, and how much to take.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LimitsSpec {
    /// Requests started in any second. Default: 10.
    pub(in crate::config) requests_per_second: Option<Scalar>,
    /// Requests at once. Default: 8.
    pub(in crate::config) max_in_flight: Option<Scalar>,
    /// Seconds from sending a request to the last byte of its response. Default: 60.
    pub(in crate::config) timeout_secs: Option<Scalar>,
    /// Mebibytes of the largest body, after decompression. Default: 64.
    pub(in crate::config) max_response_mb: Option<Scalar>,
    /// Requests of one run, repetitions included; then it publishes what it has, and the next run
    /// reads the rest. Default: no limit.
    pub(in crate::config) max_requests: Option<Scalar>,
    /// How long a run asks for data, such as `2h`; then it publishes what it has, and the next run
    /// reads the rest. Default: no limit.
    pub(in crate::config) deadline: Option<Scalar>,
    /// Headers that say what is left of the server's own limit. Default: only `Retry-After` counts.
    pub(in crate::config) rate_headers: Option<RateHeadersSpec>,
}

/// Headers that say what is left of the server's rate limit.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RateHeadersSpec {
    /// The header with the number of requests that are left; at 0 all requests wait.
    pub(in crate::config) remaining: String,
    /// The header that says when there are some again.
    pub(in crate::config) reset: String,
    /// How that is written.
    pub(in crate::config) reset_format: ResetFormatSpec,
}

/// How the end of a rate limit is written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ResetFormatSpec {
    /// Seconds from now.
    DeltaS,
    /// Seconds since 1970-01-01 UTC.
    EpochS,
    /// `2024-07-25T09:42:06Z`.
    Rfc3339,
}

/// What to do about failures that may pass.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RetrySpec {
    /// Tries of one request, the first included. Default: 8.
    pub(in crate::config) max_attempts: Option<Scalar>,
    /// Seconds of the longest wait between two tries. A server that asks for a longer one is asked
    /// nothing more in this run. Default: 120.
    pub(in crate::config) max_delay_secs: Option<Scalar>,
}

/// What a response means.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ResponseSpec {
    /// What the response must be like; all that is given must match.
    pub(in crate::config) when: WhenSpec,
    /// What it means then.
    pub(in crate::config) then: OutcomeSpec,
}

/// What a response must be like.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WhenSpec {
    /// A status (`404`), a class (`5xx`), or a list of these.
    pub(in crate::config) status: Option<OneOrMany<Scalar>>,
    /// A header.
    pub(in crate::config) header: Option<WhenHeaderSpec>,
    /// A value in a JSON body.
    pub(in crate::config) body: Option<WhenBodySpec>,
}

/// A header that must be there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WhenHeaderSpec {
    /// Its name.
    pub(in crate::config) name: String,
    /// Its value. Default: any.
    pub(in crate::config) equals: Option<String>,
}

/// A value that must be in a JSON body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WhenBodySpec {
    /// The dotted path to it.
    pub(in crate::config) path: String,
    /// The value. Default: any but null.
    pub(in crate::config) equals: Option<Scalar>,
}

/// What a response means.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum OutcomeSpec {
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

/// Where files go.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DestinationSpec {
    /// A directory, or a folder of a bucket: `s3://BUCKET/FOLDER`, `gs://…` or `az://…`. Credentials come
    /// from the environment. Default: `output`.
    pub(in crate::config) path: Option<Scalar>,
    /// The formats. Default: both.
    pub(in crate::config) formats: Option<FormatsSpec>,
    /// Mebibytes at which a partition's file is followed by another. Default: 256.
    pub(in crate::config) target_file_mb: Option<u64>,
    /// Promises that never two runs of the pipeline write at once, for a bucket that ignores conditions on
    /// what is written (`If-Match`): nothing else keeps them apart there. A directory does not need it.
    /// Default: false.
    #[serde(default)]
    pub(in crate::config) single_writer: bool,
    /// Seconds after which a run that died no longer holds its bucket, 3 to 3600. Default: 60.
    pub(in crate::config) lease_secs: Option<u32>,
}

/// The formats, each in a directory of its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FormatsSpec {
    /// Apache Parquet.
    #[serde(default, deserialize_with = "present")]
    pub(in crate::config) parquet: Option<ParquetSpec>,
    /// RFC 4180 text.
    #[serde(default, deserialize_with = "present")]
    pub(in crate::config) csv: Option<CsvSpec>,
}

/// Apache Parquet: no settings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ParquetSpec {}

/// How CSV is written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CsvSpec {
    /// Compression of whole files. Default: `none`.
    #[serde(default)]
    pub(in crate::config) compression: CompressionSpec,
    /// Puts a `'` before text that a spreadsheet would run as a formula. Default: false.
    #[serde(default)]
    pub(in crate::config) escape_formulas: bool,
}

/// Compression of CSV files.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CompressionSpec {
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
