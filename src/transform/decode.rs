//! A body becomes a page: the envelope is read, the records are handed to [`Walk`].

use std::collections::HashSet;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use super::{
    BodyError, Decoded,
    buffer::Buffer,
    canonical,
    columns::{Columns, Envelope},
    json::{Fault, FaultKind, MAX_DEPTH, Parser, Text},
    lookup,
    mask::{self, WITHHELD},
    output::{Likely, Output},
    record::Walk,
};
use crate::plan::{JsonPath, PageFacts, RecordsShape, SliceContext, StreamPlan, arrow_schema};

/// Decodes the pages of one stream.
///
/// - It is made once a stream and used from many threads.
/// - The same body and context give the same [`Decoded`], on every host.
/// - Every record of a page is either in the batch, or counted as dropped, or among the rejects.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    columns: Columns,
    envelope: Envelope,
    likely: Likely,
}

impl Decoder {
    /// Compiles the columns of a stream.
    pub fn new(stream: &StreamPlan) -> Self {
        let schema = arrow_schema(&stream.columns, stream.unknown_fields);
        Self {
            likely: Likely::new(schema.fields().len()),
            schema,
            columns: Columns::new(stream),
            envelope: Envelope::new(stream),
        }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Turns a response body into typed rows, in one pass over its bytes.
    pub fn decode(&self, body: &[u8], context: &SliceContext) -> Result<Decoded, BodyError> {
        let (text, mark) = body_text(body)?;
        let mut page = Page {
            decoder: self,
            context,
            output: self.output(context, text),
            envelope: vec![None; self.envelope.paths.len()],
            records: None,
            last_record: None,
        };
        let mut parser = Parser::of_page(text);
        page.value(0, &mut parser)
            .and_then(|()| parser.finish())
            .map_err(|fault| self.shown(body_error(text, mark, fault)))?;
        page.finish()
    }

    /// The error without the text around it, if that may be something that is masked.
    fn shown(&self, error: BodyError) -> BodyError {
        match error {
            BodyError::Syntax { offset, line, column, expected, .. }
                if self.columns.has_masks() =>
            {
                let excerpt = WITHHELD.to_owned();
                BodyError::Syntax { offset, line, column, expected, excerpt }
            }
            error => error,
        }
    }

    /// Turns one record into typed rows, or into its reject, as if it had stood alone on a page.
    pub fn decode_record(&self, raw: &str, context: &SliceContext) -> Result<Decoded, BodyError> {
        let mut page = Page {
            decoder: self,
            context,
            output: self.output(context, raw),
            envelope: vec![None; self.envelope.paths.len()],
            records: Some(Records::Found(raw)),
            last_record: None,
        };
        let mut walk = Walk::new(&self.columns, &mut page.output, Parser::new(raw));
        walk.record(None)
            .and_then(|_| walk.into_parser().finish())
            .map_err(|fault| self.shown(body_error(raw, 0, fault)))?;
        page.finish()
    }

    /// The text of a record, and the paths in it where something else stands than was received: those of
    /// today's masks, and those that were masked `before`, which stay as they are.
    pub fn masked(&self, raw: &str, before: &[String]) -> (String, Vec<String>) {
        let known: Vec<JsonPath> = before.iter().filter_map(|it| it.parse().ok()).collect();
        let (raw, now) = mask::masked(&self.columns, raw, &known);
        let mut masked = before.to_vec();
        masked.extend(now.into_iter().filter(|it| !before.contains(it)));
        (raw, masked)
    }

    /// Whether a record's rows depend on the key that it has in an object of records.
    pub fn needs_record_key(&self) -> bool {
        !self.columns.record_key.is_empty()
    }

    fn output<'t>(&self, context: &SliceContext, page: &'t str) -> Output<'t> {
        Output::new(&self.columns, &self.schema, context, &self.likely, page)
    }
}

/// A page on its way.
struct Page<'d, 't> {
    decoder: &'d Decoder,
    context: &'d SliceContext,
    output: Output<'t>,
    /// By envelope path, the text that stands there.
    envelope: Vec<Option<&'t str>>,
    /// What stands at the records path.
    records: Option<Records<'t>>,
    /// The field of the last record that the stream pages by, as it is written.
    last_record: Option<serde_json::Value>,
}

/// What stands at the records path.
enum Records<'t> {
    Found(&'t str),
    /// What is there instead.
    Instead(String),
}

impl<'t> Page<'_, 't> {
    /// Walks over the value at a node of the envelope.
    fn value(&mut self, id: usize, parser: &mut Parser<'t>) -> Result<(), Fault> {
        let first = parser.peek()?;
        let start = parser.at();
        let node = &self.decoder.envelope.nodes[id];
        if node.records {
            let missing = self.records(first, parser)?;
            self.records = Some(match missing {
                None => Records::Found(parser.since(start)),
                Some(instead) => Records::Instead(instead),
            });
        } else if first == b'{' && !node.children.is_empty() {
            self.object(id, parser)?;
        } else {
            parser.skip()?;
        }
        if let Some(path) = node.path {
            self.envelope[path] = Some(parser.since(start));
        }
        Ok(())
    }

    fn object(&mut self, id: usize, parser: &mut Parser<'t>) -> Result<(), Fault> {
        let node = &self.decoder.envelope.nodes[id];
        let mut seen = vec![false; node.children.len()];
        let mut scratch = String::new();
        let mut more = parser.open(b'}')?;
        while more {
            parser.quote()?;
            let key = parser.string()?;
            parser.colon()?;
            let key = key.read(&mut scratch);
            if let Some(child) = node.children.iter().position(|(it, _)| it == key) {
                let below = node.children[child].1;
                if std::mem::replace(&mut seen[child], true) {
                    self.forget(below);
                }
                self.value(below, parser)?;
            } else {
                parser.skip()?;
            }
            more = parser.more(b'}')?;
        }
        Ok(())
    }

    /// Takes back what a key gave that now comes again: the last wins.
    fn forget(&mut self, id: usize) {
        let node = &self.decoder.envelope.nodes[id];
        for path in &node.paths_below {
            self.envelope[*path] = None;
        }
        let duplicate_keys = self.output.notices.duplicate_keys + 1;
        if node.leads_to_records {
            self.start_over(duplicate_keys);
        } else {
            self.output.notices.duplicate_keys = duplicate_keys;
        }
    }

    /// Takes back every record.
    fn start_over(&mut self, duplicate_keys: u64) {
        self.output = self.decoder.output(self.context, self.output.page);
        self.output.notices.duplicate_keys = duplicate_keys;
        self.records = None;
        self.last_record = None;
    }

    /// Walks over the records; gives what stands there instead if there are none.
    fn records(&mut self, first: u8, parser: &mut Parser<'t>) -> Result<Option<String>, Fault> {
        let path = &self.decoder.envelope.records;
        match (&self.decoder.envelope.shape, first) {
            (_, b'n') => {
                parser.scalar(first)?;
                return Ok(None);
            }
            (RecordsShape::Records, b'[' | b'{') => {
                *parser = self.walk(parser.clone(), first)?;
                return Ok(None);
            }
            (RecordsShape::Map, b'{') => {
                *parser = self.map(parser.clone())?;
                return Ok(None);
            }
            (RecordsShape::Stringified(inner), b'"') => {
                let start = parser.at();
                parser.scalar(first)?;
                let mut text = String::new();
                let raw = unquoted(parser.since(start));
                Text { raw, at: usize::MAX, escaped: true }.append_to(&mut text);
                return Ok(self
                    .stringified(&text, inner.segments())
                    .unwrap_or_else(|_| Some(format!("the text at `{path}` is not JSON"))));
            }
            (RecordsShape::Records | RecordsShape::Map | RecordsShape::Stringified(_), _) => {}
        }
        let raw = parser.skip()?;
        // An empty map is written as an empty array by servers that do not tell the two apart.
        let empty_map = self.decoder.envelope.shape == RecordsShape::Map && canonical_is(raw, "[]");
        Ok((!empty_map).then(|| {
            let found = lookup::instead(raw, &crate::plan::JsonPath::default());
            if path.is_root() { found } else { format!("{found} at `{path}`") }
        }))
    }

    /// Walks over an array of records, or over a single one.
    fn walk<'i>(&mut self, parser: Parser<'i>, first: u8) -> Result<Parser<'i>, Fault> {
        let mut walk = Walk::new(&self.decoder.columns, &mut self.output, parser);
        let last = if first == b'[' { walk.array()? } else { Some(walk.record(None)?) };
        let parser = walk.into_parser();
        self.note_last(last)?;
        Ok(parser)
    }

    /// Walks over an object map of records; where a key comes again, a second time, without the
    /// records that a later one replaces.
    fn map<'i>(&mut self, parser: Parser<'i>) -> Result<Parser<'i>, Fault> {
        let before = self.output.notices.duplicate_keys;
        let mut walk = Walk::new(&self.decoder.columns, &mut self.output, parser.clone());
        let (last, replaced) = walk.map(&HashSet::new())?;
        let end = walk.into_parser();
        self.note_last(last)?;
        if !replaced.is_empty() {
            self.start_over(before + replaced.len() as u64);
            let mut walk = Walk::new(&self.decoder.columns, &mut self.output, parser);
            let (last, _) = walk.map(&replaced)?;
            self.note_last(last)?;
        }
        Ok(end)
    }

    /// Walks over records that stand in a text.
    fn stringified(&mut self, text: &str, inner: &[String]) -> Result<Option<String>, Fault> {
        let Some(raw) = lookup::find(text, inner)? else {
            let path = inner.join(".");
            return Ok(Some(format!("the JSON in the text has nothing at `{path}`")));
        };
        let mut parser = Parser::new(raw);
        match parser.peek()? {
            first @ (b'[' | b'{') => {
                self.walk(parser, first)?;
                Ok(None)
            }
            b'n' => Ok(None),
            _ => Ok(Some("the JSON in the text has no records".to_owned())),
        }
    }

    fn note_last(&mut self, last: Option<&str>) -> Result<(), Fault> {
        let path = self.decoder.columns.last_record_field.as_ref();
        self.last_record = match (path, last) {
            (Some(path), Some(last)) => lookup::find(last, path.segments())?.map(lookup::value),
            _ => None,
        };
        Ok(())
    }

    fn finish(mut self) -> Result<Decoded, BodyError> {
        let Decoder { schema, columns, envelope, likely } = self.decoder;
        let records_missing = match self.records {
            Some(Records::Found(raw)) => {
                for (i, path) in &envelope.in_records {
                    self.envelope[*i] = lookup::find(raw, path.segments()).unwrap_or_default();
                }
                None
            }
            Some(Records::Instead(instead)) => Some(instead),
            None => Some(lookup::instead(self.output.page, &envelope.records)),
        };
        let values = envelope.paths.iter().zip(self.envelope);
        let mut output = self.output;
        let rows = output.rows;
        likely.learn(&output);
        let internal = |reason: String| BodyError::Internal { reason };
        for (column, _) in &columns.context {
            let repeated = output.buffers[*column].complete(0, rows);
            repeated.map_err(|it| internal(it.0.unwrap_or("a context value").to_owned()))?;
        }
        output.notices.gaps = output.irregular.gaps;
        output.notices.folds = output.irregular.folds;
        let finish = |it: Buffer| it.finish(output.page);
        let arrays: Result<Vec<_>, _> = output.buffers.into_iter().map(finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = arrays
            .and_then(|it| RecordBatch::try_new_with_options(schema.clone(), it, &options))
            .map_err(|err| internal(err.to_string()))?;
        let facts = PageFacts {
            records: output.identities.len() as u64,
            identities: output.identities,
            envelope: values
                .filter_map(|(path, text)| Some((path.clone(), lookup::value(text?))))
                .collect(),
            last_record_field: self.last_record,
            records_missing,
        };
        Ok(Decoded { facts, batch, rejects: output.rejects, notices: output.notices })
    }
}

fn unquoted(string: &str) -> &str {
    string.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(string)
}

fn canonical_is(raw: &str, expected: &str) -> bool {
    let mut text = String::new();
    canonical::append(raw, &mut text).is_ok() && text == expected
}

/// The text of a body without its byte order mark, and the length of that.
pub(super) fn body_text(body: &[u8]) -> Result<(&str, usize), BodyError> {
    let without_mark = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let mark = body.len() - without_mark.len();
    let text = simdutf8::basic::from_utf8(without_mark).map_err(|_| {
        // The fast check does not say where; the slow one is only for the message.
        let valid = std::str::from_utf8(without_mark).map_or_else(|it| it.valid_up_to(), str::len);
        BodyError::NotUtf8 { offset: mark + valid }
    })?;
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Err(BodyError::Empty);
    }
    Ok((text, mark))
}

/// Line and column are computed only here, when they are needed.
pub(super) fn body_error(text: &str, mark: usize, fault: Fault) -> BodyError {
    let offset = mark + fault.at();
    if fault.kind == FaultKind::TooDeep {
        return BodyError::TooDeep { offset, limit: MAX_DEPTH };
    }
    let expected = fault.kind.expected();
    let at = text.floor_char_boundary(fault.at());
    let before = &text[..at];
    let line_start = memchr::memrchr(b'\n', before.as_bytes()).map_or(0, |it| it + 1);
    let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
    let column = 1 + before[line_start..].chars().count();
    let from = text.floor_char_boundary(at.saturating_sub(20));
    let to = text.ceil_char_boundary((at + 20).min(text.len()));
    // On one line, but with the quotes and backslashes of JSON as they are.
    let shown = |it: char| match it {
        '"' | '\'' | '\\' => it.to_string(),
        _ => it.escape_debug().to_string(),
    };
    let excerpt = text[from..to].chars().map(shown).collect();
    BodyError::Syntax { offset, line, column, expected, excerpt }
}
