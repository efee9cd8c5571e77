//! A second engine for the same plans: slow, simple, over `serde_json`.
//!
//! ```text
//! bytes  ->  tree      every value with its text, every one of equal keys
//!        ->  record    arrays are exploded one after the other, columns look their paths up
//!        ->  cell      by chrono and numbers of any size
//!        ->  page      the same rows, rejects and errors as `transform` gives
//! ```
//!
//! It shares the plan and the Arrow schema with the program, and nothing else.

pub mod cell;
pub mod instant;
pub mod mask;
pub mod number;
pub mod record;
pub mod tree;

use arrow::array::{RecordBatch, RecordBatchOptions};
use serde_json::Value;
use tracklake::plan::{
    ColumnSource, ColumnType, JsonPath, RecordsShape, SliceContext, StreamPlan, arrow_schema,
};

use cell::Cell;
use instant::Irregular;
use record::{Columns, Misfit};
use tree::{Fault, Kind, Tree, fault};

/// What a body gives.
#[derive(Debug)]
pub struct Page {
    pub batch: RecordBatch,
    pub rejects: Vec<Reject>,
    pub records: u64,
    pub dropped_empty: u64,
    pub irregular: Irregular,
    /// Keys that come again, anywhere in the body, read or not.
    pub duplicates: u64,
    /// Whether no value is read on several rows, by several columns, or from a text in the page.
    pub reads_once: bool,
    pub envelope: Vec<(JsonPath, Value)>,
    pub last_record_field: Option<Value>,
    pub has_records: bool,
}

#[derive(Debug)]
pub struct Reject {
    pub position: u64,
    pub misfit: Misfit,
    pub raw: String,
    pub masked: Vec<String>,
}

/// Why a body gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPage {
    Empty,
    NotUtf8 {
        offset: usize,
    },
    /// With the length of a byte order mark, and the text without it.
    Fault(usize, Fault),
}

/// The records of a page, with their keys where they are in an object map.
type Records<'t, 'a> = Vec<(Option<&'a str>, &'a Tree<'t>)>;

/// Reads a body.
pub fn decode(stream: &StreamPlan, body: &[u8], context: &SliceContext) -> Result<Page, NoPage> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Err(NoPage::NotUtf8 { offset: error.valid_up_to() }),
    };
    let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = text.len() - without_mark.len();
    if without_mark.bytes().all(|it| b" \t\r\n".contains(&it)) {
        return Err(NoPage::Empty);
    }
    if let Some(fault) = fault(without_mark) {
        return Err(NoPage::Fault(mark, fault));
    }
    let Some(body) = Tree::read(without_mark) else { panic!("checked, and yet no JSON") };
    let mut page = Reader::new(stream, context);
    let at_path = body.at(stream.records.path.segments());
    let inner_text = match (&stream.records.shape, at_path.map(|it| &it.kind)) {
        (RecordsShape::Stringified(_), Some(Kind::Text(text))) => text.as_str(),
        _ => "",
    };
    let inner = Tree::read(inner_text);
    let records = at_path.and_then(|it| records(stream, it, inner.as_ref()));
    for (key, record) in records.iter().flatten() {
        page.record(*key, record);
    }
    let last = records.as_ref().and_then(|it| it.last());
    let field = stream.last_record_field().zip(last);
    let field = field.and_then(|(path, (_, record))| record.at(path.segments()));
    let envelope = stream.envelope.iter();
    let inner_duplicates = inner.as_ref().map_or(0, Tree::duplicates);
    Ok(Page {
        envelope: envelope
            .filter_map(|path| Some((path.clone(), value(body.at(path.segments())?))))
            .collect(),
        last_record_field: field.map(value),
        has_records: records.is_some(),
        duplicates: body.duplicates() + inner_duplicates,
        ..page.finish()
    })
}

/// The records of what stands at the records path; `None` if it cannot have any.
fn records<'t, 'a>(
    stream: &StreamPlan,
    at_path: &'a Tree<'t>,
    inner: Option<&'a Tree<'t>>,
) -> Option<Records<'t, 'a>> {
    let records = match &stream.records.shape {
        _ if at_path.is_null() => return Some(Vec::new()),
        RecordsShape::Records => at_path,
        RecordsShape::Map => {
            return match &at_path.kind {
                Kind::Object(_) => {
                    Some(at_path.members().into_iter().map(|(key, it)| (Some(key), it)).collect())
                }
                // By servers that do not tell an empty map from an empty array.
                Kind::Array(elements) if elements.is_empty() => Some(Vec::new()),
                _ => None,
            };
        }
        RecordsShape::Stringified(path) => inner?.at(path.segments())?,
    };
    match &records.kind {
        Kind::Null => Some(Vec::new()),
        Kind::Array(elements) => Some(elements.iter().map(|it| (None, it)).collect()),
        Kind::Object(_) => Some(vec![(None, records)]),
        Kind::Boolean(_) | Kind::Number | Kind::Text(_) => None,
    }
}

/// A value as others see it. A number that no `f64` holds is its text.
fn value(tree: &Tree<'_>) -> Value {
    serde_json::from_str(tree.raw).unwrap_or_else(|_| Value::from(tree.raw))
}

struct Reader<'p> {
    stream: &'p StreamPlan,
    columns: Columns<'p>,
    context: Vec<Cell>,
    context_misfit: Option<Misfit>,
    rows: Vec<Vec<Cell>>,
    rejects: Vec<Reject>,
    records: u64,
    dropped_empty: u64,
    irregular: Irregular,
}

impl<'p> Reader<'p> {
    fn new(stream: &'p StreamPlan, context: &SliceContext) -> Self {
        let columns = Columns::new(stream);
        let (cells, misfit, irregular) = columns.context(|from| {
            let found = match from {
                ColumnSource::Parent(name) => context.parent.get(name),
                ColumnSource::Slice(name) => context.slice.get(name),
                ColumnSource::Record(_) => None,
            };
            found.cloned().unwrap_or_default()
        });
        Self {
            stream,
            columns,
            context: cells,
            context_misfit: misfit,
            rows: Vec::new(),
            rejects: Vec::new(),
            records: 0,
            dropped_empty: 0,
            irregular,
        }
    }

    fn record(&mut self, key: Option<&str>, record: &Tree<'_>) {
        let mut outcome = self.columns.record(record, key, &self.context);
        let position = self.records;
        self.records += 1;
        if let Some(misfit) = self.context_misfit.clone().or(outcome.misfit) {
            let (raw, masked) = mask::record(self.stream, record);
            return self.rejects.push(Reject { position, misfit, raw, masked });
        }
        self.dropped_empty += u64::from(outcome.rows.is_empty());
        self.irregular.gaps += outcome.irregular.gaps;
        self.irregular.folds += outcome.irregular.folds;
        self.rows.append(&mut outcome.rows);
    }

    fn finish(self) -> Page {
        let schema = arrow_schema(&self.stream.columns, self.stream.unknown_fields);
        let arrays =
            schema.fields().iter().enumerate().map(|(i, field)| {
                cell::array(field.data_type(), self.rows.iter().map(|row| &row[i]))
            });
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let arrays = arrays.collect();
        let batch = match RecordBatch::try_new_with_options(schema, arrays, &options) {
            Ok(batch) => batch,
            Err(error) => panic!("{error}"),
        };
        Page {
            batch,
            rejects: self.rejects,
            records: self.records,
            dropped_empty: self.dropped_empty,
            irregular: self.irregular,
            duplicates: 0,
            reads_once: self.stream.explode.is_empty()
                && !matches!(self.stream.records.shape, RecordsShape::Stringified(_))
                && self.stream.columns.iter().filter(|it| it.kind == ColumnType::Json).count() < 2,
            envelope: Vec::new(),
            last_record_field: None,
            has_records: true,
        }
    }
}
