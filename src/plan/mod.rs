//! The validated pipeline, and the words that the stages share.
//!
//! ```text
//! pipelines/*.yaml --config--> Plan (THIS MODULE) --> extract, transform, load, run
//! ```
//!
//! Everything here is a plain value. The module names no other module of the crate, does no I/O
//! and reads no clock.

pub mod auth;
pub mod column;
pub mod destination;
pub mod expect;
pub mod facts;
pub mod mask;
pub mod name;
pub mod path;
pub mod secret;
pub mod stream;
pub mod table;
mod reads;
mod selection;
pub mod template;
mod unescape;

use std::time::Duration;

use url::Url;

pub use auth::{
    ApiKeyPlan, AuthPlan, ClientAuth, Expiry, Grant, KeyPlace, LoginPlan, Oauth2Plan,
    ServiceAccountKey, SigningPlan, TokenHeader, TokenPlace, YandexExchange, YandexIamPlan,
};
pub use column::{
    Calendar, ColumnPlan, ColumnSource, ColumnType, DELETED_COLUMN, DESCRIPTION, DurationUnit,
    EXTRA_COLUMN, InstantFormat, MASK_METADATA, UnknownFields, arrow_schema, dataset_schema,
    field_id,
};
pub use destination::{BucketUrl, DestinationPath, LeasePlan, Service};
pub use expect::{DaysPlan, ExpectPlan, Expected};
pub use facts::{PageFacts, SliceContext};
pub use mask::{MaskConstant, MaskPlan};
pub use name::{InvalidName, Name};
pub use path::{InvalidPath, JsonPath};
pub use secret::{Redactor, Secret};
pub use stream::{
    BodyPlan, CursorPlan, Deletes, ExplodePlan, ExplodeShape, GuardPlan, MaxRejected, Method,
    OnGone, PageScheme, PaginatePlan, ParentPlan, PartitionPlan, PartitionUnit, Place, Placement,
    QueryValue, RecordsPlan, RecordsShape, ReplaceScope, RequestPlan, ScopeSource, Signal, Signals,
    SizePlan, SlicesPlan, StreamPlan, WhenEmpty, WindowFormat, WindowParams, WindowPlan,
    WindowStart, WriteMode,
};
pub use table::{TableColumn, TablePlan};
pub use template::{Escape, RenderError, Template, Vars, value_text};

/// One validated pipeline file.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its directory in the destination.
    pub pipeline: Name,
    /// For people.
    pub description: Option<String>,
    /// The API.
    pub source: SourcePlan,
    /// The streams; a parent stands before its children.
    pub streams: Vec<StreamPlan>,
    /// Where files go.
    pub destination: DestinationPlan,
    /// Takes the pipeline's secrets out of texts that others wrote.
    pub redactor: Redactor,
    /// Tells this file with the values of its variables, credentials left out, from any other.
    pub fingerprint: u64,
}

/// The API: where it is, how to log in, how fast to ask.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// Below which every stream's path lies.
    pub base_url: Url,
    /// Whether plain `http:` to another host than this one is fine, and to this one by a proxy.
    pub allow_http: bool,
    /// How to log in.
    pub auth: AuthPlan,
    /// Whose certificates are trusted, beside those of the system.
    pub tls: TlsPlan,
    /// Headers of every request.
    pub headers: Vec<(String, Template)>,
    /// How fast and how much.
    pub limits: Limits,
    /// What to do about failures that may pass.
    pub retry: RetryPlan,
    /// What responses mean, tried before the defaults.
    pub responses: Vec<ResponseRule>,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsPlan {
    /// Certificates of authorities beside those of the system, each in DER.
    pub ca_certificates: Vec<Vec<u8>>,
}

/// How fast to ask, and how much to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Requests started in any second.
    pub requests_per_second: f64,
    /// Requests at once.
    pub max_in_flight: usize,
    /// From sending a request to the last byte of its response.
    pub timeout: Duration,
    /// The largest body that is taken, after decompression.
    pub max_response_bytes: u64,
    /// Requests of one run, repetitions included.
    pub max_requests: Option<u64>,
    /// From the start of a run until it asks for nothing more.
    pub deadline: Option<Duration>,
    /// Where responses say what is left of the server's own limit.
    pub rate_headers: Option<RateHeaders>,
    /// Whether other processes ask at the same time, so that not even the first request is free.
    pub is_shared: bool,
}

impl Limits {
    /// One of `parts` equal parts, for processes that ask at the same time: together they do not
    /// exceed the whole where there are no more of them than requests in a second and at once.
    #[must_use]
    pub fn share(self, parts: u32) -> Self {
        let parts = parts.max(1);
        let each = self.requests_per_second / f64::from(parts);
        let share = |it: u64| (it / u64::from(parts)).max(1);
        let max_in_flight = usize::try_from(share(self.max_in_flight as u64));
        Self {
            // Of two and a half in each second, three would fall into some.
            requests_per_second: if each < 1.0 { each } else { each.floor() },
            max_in_flight: max_in_flight.unwrap_or(1),
            max_requests: self.max_requests.map(share),
            is_shared: self.is_shared || parts > 1,
            ..self
        }
    }

    /// Whether a run may be ended by what it has asked already.
    pub fn has_budget(&self) -> bool {
        self.max_requests.is_some() || self.deadline.is_some()
    }
}

/// The headers that say what is left of a server's rate limit; their names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests that are left.
    pub remaining: String,
    /// When there are some again.
    pub reset: String,
    /// How that is written.
    pub reset_format: ResetFormat,
}

/// How the end of a rate limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    DeltaSeconds,
    /// Seconds since 1970-01-01 UTC.
    EpochSeconds,
    /// `2024-07-25T09:42:06Z`.
    Rfc3339,
}

/// What to do about failures that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPlan {
    /// Tries of one request, the first included.
    pub max_attempts: u32,
    /// The longest wait between two tries, and the longest that a server may ask for.
    pub max_delay: Duration,
}

/// What a response means, if all that is given matches.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseRule {
    /// Statuses; empty for any.
    pub statuses: Vec<StatusRange>,
    /// A header that must be there, with a value where one is given.
    pub header: Option<(String, Option<String>)>,
    /// A path in the body and the value that must be there; `None` for any value.
    pub body: Option<(JsonPath, Option<serde_json::Value>)>,
    /// The meaning.
    pub then: Outcome,
}

/// Statuses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// What a response means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
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

/// Where files go, and in which formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationPlan {
    /// A directory, or a folder of a bucket.
    pub path: DestinationPath,
    /// How a bucket is held.
    pub lease: LeasePlan,
    /// The formats, each in a tree of its own.
    pub formats: Vec<FormatPlan>,
    /// The size at which a partition's file is followed by another.
    pub target_file_bytes: u64,
}

impl DestinationPlan {
    /// The directories of the formats.
    pub fn directories(&self) -> Vec<&'static str> {
        self.formats.iter().map(|it| it.directory()).collect()
    }
}

/// A file format and its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatPlan {
    /// Apache Parquet.
    Parquet,
    /// RFC 4180 text.
    Csv(CsvPlan),
}

impl FormatPlan {
    /// The format's directory in the destination.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv(_) => "csv",
        }
    }
}

/// How CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CsvPlan {
    /// Compression of the whole file.
    pub compression: CsvCompression,
    /// Whether text that a spreadsheet would run as a formula gets a `'` in front.
    pub escape_formulas: bool,
}

/// Compression of a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvCompression {
    /// None: `part-0.csv`.
    #[default]
    None,
    /// `part-0.csv.gz`.
    Gzip,
    /// `part-0.csv.zst`.
    Zstd,
}

/// Whether a URL's host is this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
