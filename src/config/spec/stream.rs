//! One stream: how it is asked for, cut into slices and read.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ColumnSpec, PaginateSpec, PartitionSpec, PlaceSpec, ResponseSpec, UnknownFieldsSpec, WriteSpec,
};
use crate::config::shape::{OneOrMany, Scalar, TextOr};

/// One stream of records and where it ends up.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct StreamSpec {
    /// What the stream holds, for people.
    pub(in crate::config) description: Option<String>,
    /// How to ask for a page.
    pub(in crate::config) request: RequestSpec,
    /// Where a page has its records: a dotted path, `$` for the body itself. Default: `$`.
    pub(in crate::config) records: Option<TextOr<RecordsSpec>>,
    /// Arrays in a record of which each element becomes a row: one path, or two, outermost first.
    pub(in crate::config) explode: Option<OneOrMany<TextOr<ExplodeSpec>>>,
    /// How to reach the next page, and how to know the last. Default: one request.
    pub(in crate::config) paginate: Option<PaginateSpec>,
    /// How far the stream has got, so that the next run reads only what changed.
    pub(in crate::config) cursor: Option<CursorSpec>,
    /// Into which slices the stream is cut, each read, retried and reconciled by itself. Default:
    /// one slice.
    pub(in crate::config) slices: Option<SlicesSpec>,
    /// The columns, in the order of the files.
    pub(in crate::config) columns: IndexMap<String, ColumnSpec>,
    /// What happens to fields that no column reads. Default: `keep`, in the column `_extra`.
    #[serde(default)]
    pub(in crate::config) unknown_fields: UnknownFieldsSpec,
    /// How rows meet those that are there. Default: `replace: all`.
    pub(in crate::config) write: Option<WriteSpec>,
    /// Into which directories rows go.
    pub(in crate::config) partition_by: PartitionSpec,
    /// What responses of this stream mean, before the rules of the source.
    #[serde(default)]
    pub(in crate::config) responses: Vec<ResponseSpec>,
    /// What becomes of the rows of a parent to which access is lost; those of one that is refused
    /// with 403 always stay. `delete` goes with `write: replace: slice`. Default: `keep`.
    #[serde(default)]
    pub(in crate::config) on_gone: OnGoneSpec,
    /// What becomes of the rows that the source no longer has: `remove`, or `mark` in the column
    /// `_deleted_at`. Default: `remove`.
    #[serde(default)]
    pub(in crate::config) deletes: DeletesSpec,
    /// The share of standing rows that a run may remove, of at least 100 that go (`50%`). Default:
    /// `50%`.
    pub(in crate::config) max_delete_ratio: Option<Scalar>,
    /// What is normal for this stream.
    #[serde(default)]
    pub(in crate::config) expect: ExpectSpec,
    /// Rejected records to tolerate before the stream publishes nothing: a share (`1%`) or a
    /// number. Default: `1%`, and always up to 10.
    pub(in crate::config) max_rejected: Option<Scalar>,
}

/// How to ask for a page.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RequestSpec {
    /// `get`, or `post` as a read. Default: `get`.
    #[serde(default)]
    pub(in crate::config) method: MethodSpec,
    /// The path below `base_url`; the values of expressions are percent-encoded.
    pub(in crate::config) path: String,
    /// Query parameters; one that renders to nothing is left out.
    #[serde(default)]
    pub(in crate::config) query: IndexMap<String, QuerySpec>,
    /// Headers of this stream.
    #[serde(default)]
    pub(in crate::config) headers: IndexMap<String, Scalar>,
    /// The JSON body; a member whose template renders to nothing is left out.
    pub(in crate::config) body: Option<serde_json::Value>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum MethodSpec {
    /// Parameters in the query.
    #[default]
    Get,
    /// A read through POST: safe to send again.
    Post,
}

/// The value of a query parameter: one value, a list (the parameter is repeated), `csv` (one value
/// joined by commas) or `json` (JSON text).
#[derive(Debug, Clone)]
pub(in crate::config) enum QuerySpec {
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
pub(in crate::config) enum QueryBlockSpec {
    /// The values joined by commas.
    Csv(Vec<Scalar>),
    /// JSON text.
    Json(serde_json::Value),
}

/// Where a page has its records.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum RecordsSpec {
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
pub(in crate::config) struct ExplodeSpec {
    /// The dotted path from the record.
    pub(in crate::config) path: String,
    /// `array`, or `map` for an object whose values are the elements (`<path>.$key` is the key).
    /// Default: `array`.
    #[serde(default)]
    pub(in crate::config) shape: ExplodeShapeSpec,
    /// What becomes of a record whose array is empty or missing. Default: `keep`, with nulls.
    #[serde(default)]
    pub(in crate::config) when_empty: WhenEmptySpec,
}

/// What stands at the path of an explode.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ExplodeShapeSpec {
    /// An array.
    #[default]
    Array,
    /// An object whose values are the elements.
    Map,
}

/// What becomes of a record whose array is empty or missing.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WhenEmptySpec {
    /// One row with nulls.
    #[default]
    Keep,
    /// No row; counted.
    Drop,
}

/// How far a stream has got.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CursorSpec {
    /// A timestamp or date column whose largest published value is the cursor.
    pub(in crate::config) column: String,
    /// How far before the cursor the next run starts reading (`3d`). Default: `0d`.
    pub(in crate::config) lookback: Option<String>,
}

/// Into which slices a stream is cut.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum SlicesSpec {
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
pub(in crate::config) struct WindowSpec {
    /// Where the first window starts: a date, an instant, or a length of time back from now (`90d`).
    pub(in crate::config) from: Scalar,
    /// How far past now the last window reaches (`31d`), for records dated ahead. Default: `0d`.
    pub(in crate::config) ahead: Option<String>,
    /// How far before now the last window ends (`1m`), for APIs that lag. Default: `0d`.
    pub(in crate::config) lag: Option<String>,
    /// The length of a window. Default: everything is one window.
    pub(in crate::config) step: Option<String>,
    /// How far back windows start once everything from `from` on has been read (`60d`), for
    /// records that change without a feed of changes. Default: at `from`, or at the cursor.
    pub(in crate::config) reread: Option<String>,
    /// How bounds are written: `date` (both included), `epoch_ms`, `epoch_ms_pair`, `epoch_s`,
    /// `rfc3339`, or a strftime pattern. Default: `rfc3339`.
    pub(in crate::config) format: Option<String>,
    /// In which dates are meant. Default: UTC.
    pub(in crate::config) zone: Option<Scalar>,
    /// Where the parameters stand. Default: `query`.
    #[serde(default)]
    pub(in crate::config) place: PlaceSpec,
    /// One parameter with both bounds, joined by a comma.
    pub(in crate::config) param: Option<String>,
    /// The parameter with the start; `{{ slice.start }}` is there for templates too.
    pub(in crate::config) start_param: Option<String>,
    /// The parameter with the end; `{{ slice.end }}` is there for templates too, and `{{ slice.until }}`, which is
    /// nothing where the window ends at the clock of the run because no `--until` says otherwise.
    pub(in crate::config) end_param: Option<String>,
}

/// One slice a row of another stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ParentSpec {
    /// The other stream.
    pub(in crate::config) stream: String,
    /// Columns of the parent, by the name under which templates and columns read them:
    /// `parent.<name>`.
    pub(in crate::config) bind: IndexMap<String, String>,
    /// Parents a slice; the bound values are lists then. For APIs that take a batch of ids.
    pub(in crate::config) batch: Option<usize>,
    /// One parent that is known by variables, by the names of `bind`: where all of these have a value,
    /// it is the only one, and the other stream is not read for it. Requests and columns read only
    /// these names.
    #[serde(default)]
    pub(in crate::config) only: IndexMap<String, Scalar>,
}

/// What becomes of the rows of a parent to which access is lost.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum OnGoneSpec {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Delete,
}

/// What becomes of the rows that the source no longer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DeletesSpec {
    /// They go.
    #[default]
    Remove,
    /// They stay, and `_deleted_at` says since when.
    Mark,
}

/// What is normal for a stream: a run that finds otherwise publishes nothing of it and ends with 5.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ExpectSpec {
    /// `ok` where a dataset that had rows may become empty. Default: `never`.
    #[serde(default)]
    pub(in crate::config) empty: ExpectEmptySpec,
    /// The rows that the dataset has at least, once it is published; not asked of a run that leaves
    /// slices for the next one. Default: no limit.
    pub(in crate::config) min_rows: Option<Scalar>,
    /// By how much the dataset may have fewer rows than the last run left, as a share of those
    /// (`10%`). Default: no limit.
    pub(in crate::config) max_drop: Option<Scalar>,
    /// Which days have rows; not asked of a run that leaves slices for the next one, nor with
    /// `--since` or `--until`. Default: none has to.
    pub(in crate::config) days: Option<ExpectDaysSpec>,
    /// Columns, each with the share of the rows read by a run that may be null in it (`5%`). A share
    /// other than 0 is asked of runs that read at least 100 rows. Default: no limit.
    #[serde(default)]
    pub(in crate::config) max_nulls: IndexMap<String, Scalar>,
}

/// Which days have rows, of the partitions of a stream that are days.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ExpectDaysSpec {
    /// How many days before that of the run (`3d`), in the zone of the partitions. Default: `1d`,
    /// yesterday.
    pub(in crate::config) last: Option<String>,
    /// The rows of each of them in the dataset. Default: 1.
    pub(in crate::config) min_rows: Option<Scalar>,
    /// Days of the week that may have fewer, such as `[saturday, sunday]`. Default: none.
    #[serde(default)]
    pub(in crate::config) except: Vec<WeekdaySpec>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WeekdaySpec {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Whether a dataset that had rows may become empty.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ExpectEmptySpec {
    /// Then nothing is published.
    #[default]
    Never,
    /// It may.
    Ok,
}
