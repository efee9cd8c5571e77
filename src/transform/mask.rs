//! Values that should not be known: what becomes of them in cells, and in the text of a record that
//! does not fit.
//!
//! ```text
//! {"id": "n/a", "author": {"email": "li@example.org", "name": "Li"}}
//!
//! email  { from: author.email, mask: sha256 }     cell   5f2c…
//! id     { from: id, type: int64 }                does not fit: the record goes to quarantine as
//!
//! {"id": "n/a", "author": {"email": "5f2c…", "name": "Li"}}     masked: ["author.email"]
//! ```
//!
//! Where a record is not built as the columns say, whatever stands above a masked value goes as a
//! whole: nobody knows where the value is then.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range};

use chrono::NaiveDate;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    buffer::Buffer,
    canonical,
    cell::Misfit,
    columns::{Columns, Node, NodeId},
    json::{Fault, Parser, Scalar},
};
use crate::plan::{ColumnPlan, ColumnType, ExplodeShape, JsonPath, MaskConstant, MaskPlan, Secret};

/// What stands for a value of which nothing is said.
pub(super) const WITHHELD: &str = "***";

/// What a column writes instead of its values.
#[derive(Debug)]
pub(super) struct Mask {
    manner: Manner,
    /// Whether an empty text is no value.
    empty_is_null: bool,
}

enum Manner {
    /// By a hash, of the name where codes have names.
    Hash(Hmac<Sha256>, Option<BTreeMap<String, String>>),
    Null,
    /// By this cell, and its JSON text.
    Constant(MaskConstant, String),
}

/// The state of a hash says as much as its salt.
impl std::fmt::Debug for Manner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hash(..) => "Hash",
            Self::Null => "Null",
            Self::Constant(..) => "Constant",
        })
    }
}

impl Mask {
    pub(super) fn new(column: &ColumnPlan, mask: &MaskPlan) -> Self {
        let manner = match mask {
            MaskPlan::Sha256 { salt } => Manner::Hash(keyed(salt), column.values.clone()),
            MaskPlan::Drop => Manner::Null,
            MaskPlan::Constant(constant) => {
                Manner::Constant(constant.clone(), json(constant, &column.kind))
            }
        };
        let is_text = matches!(column.kind, ColumnType::String | ColumnType::Json);
        Self { manner, empty_is_null: !is_text || column.values.is_some() }
    }

    /// Whether an empty text is a value, not a null.
    pub(super) fn takes_empty(&self) -> bool {
        !self.empty_is_null
    }

    /// Adds the cell of a value without parts that is not null.
    pub(super) fn text(&self, text: &str, buffer: &mut Buffer) -> Result<(), Misfit> {
        let Manner::Hash(key, values) = &self.manner else { return self.put(buffer) };
        if let Some(text) = named(text, values.as_ref()) {
            return buffer.text(|out| append_hash(key, text, out));
        }
        buffer.null();
        Ok(())
    }

    /// Adds the cell of an object or an array.
    pub(super) fn composite(&self, buffer: &mut Buffer) -> Result<(), Misfit> {
        match self.manner {
            Manner::Hash(..) => Err(Misfit::SHAPE),
            Manner::Null | Manner::Constant(..) => self.put(buffer),
        }
    }

    /// Adds the cell that is the same for all values.
    fn put(&self, buffer: &mut Buffer) -> Result<(), Misfit> {
        let Manner::Constant(constant, _) = &self.manner else {
            buffer.null();
            return Ok(());
        };
        match constant {
            MaskConstant::Text(text) => return buffer.text(|out| out.push_str(text)),
            MaskConstant::Int64(it) => buffer.int64(*it),
            MaskConstant::Float64(it) => buffer.float64(*it),
            MaskConstant::Boolean(it) => buffer.boolean(*it),
            MaskConstant::Date(it) => buffer.date(days(*it)),
            MaskConstant::Timestamp(it) => buffer.int64(it.timestamp_micros()),
        }
        Ok(())
    }

    /// What stands for a value in the text of its record.
    fn instead(&self, raw: &str) -> Result<String, Fault> {
        let mut parser = Parser::new(raw);
        let first = parser.peek()?;
        if matches!(first, b'{' | b'[') {
            return Ok(match &self.manner {
                Manner::Hash(..) => quoted(WITHHELD),
                Manner::Null => "null".to_owned(),
                Manner::Constant(_, json) => json.clone(),
            });
        }
        let scalar = parser.scalar(first)?;
        let mut scratch = String::new();
        let text = text(&scalar, &mut scratch);
        let is_null = matches!(scalar, Scalar::Null) || text.is_empty() && self.empty_is_null;
        Ok(match &self.manner {
            _ if is_null => "null".to_owned(),
            Manner::Null => "null".to_owned(),
            Manner::Constant(_, json) => json.clone(),
            Manner::Hash(key, values) => {
                let hash = |text| {
                    let mut hash = String::new();
                    append_hash(key, text, &mut hash);
                    quoted(&hash)
                };
                named(text, values.as_ref()).map_or_else(|| "null".to_owned(), hash)
            }
        })
    }
}

fn keyed(salt: &Secret) -> Hmac<Sha256> {
    let salt = salt.expose().as_bytes();
    Hmac::new_from_slice(salt).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

fn append_hash(key: &Hmac<Sha256>, text: &str, out: &mut String) {
    let mut mac = key.clone();
    mac.update(text.as_bytes());
    for byte in mac.finalize().into_bytes() {
        let _ = write!(out, "{byte:02x}");
    }
}

fn text<'a>(scalar: &'a Scalar<'_>, scratch: &'a mut String) -> &'a str {
    match scalar {
        Scalar::Null => "",
        Scalar::Boolean(true) => "true",
        Scalar::Boolean(false) => "false",
        Scalar::Number(text) => text,
        Scalar::Text(text) => text.read(scratch),
    }
}

/// The name of a code, where codes have names.
fn named<'a>(text: &'a str, values: Option<&'a BTreeMap<String, String>>) -> Option<&'a str> {
    match values {
        Some(values) => values.get(text).map(String::as_str),
        None => Some(text),
    }
}

/// Days since 1970-01-01; a `chrono` date has fewer than an `i32` holds.
fn days(date: NaiveDate) -> i32 {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or_default()
}

fn json(constant: &MaskConstant, kind: &ColumnType) -> String {
    match constant {
        MaskConstant::Text(text) if *kind == ColumnType::Json => text.clone(),
        MaskConstant::Text(text) => quoted(text),
        MaskConstant::Int64(it) => it.to_string(),
        MaskConstant::Float64(it) => serde_json::Value::from(*it).to_string(),
        MaskConstant::Boolean(it) => it.to_string(),
        MaskConstant::Date(it) => quoted(&it.to_string()),
        MaskConstant::Timestamp(it) => quoted(&it.to_rfc3339()),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    canonical::append_text(text, &mut quoted);
    quoted
}

/// The text of a record that does not fit, without what is masked, and the paths where something
/// else stands now. What is in `before` was masked by an earlier run, and stays as it is.
pub(super) fn masked(plan: &Columns, raw: &str, before: &[JsonPath]) -> (String, Vec<String>) {
    if !plan.nodes[0].masks_below && plan.nodes[0].mask.is_none() {
        return (raw.to_owned(), Vec::new());
    }
    let mut edits = Edits { plan, before, found: Vec::new() };
    let mut parser = Parser::new(raw);
    if edits.value(0, &mut parser).is_err() {
        // It was read before, so that this is never so.
        return (quoted(WITHHELD), vec![JsonPath::default().to_string()]);
    }
    let mut text = String::with_capacity(raw.len());
    let mut paths: Vec<String> = Vec::new();
    let mut end = 0;
    for (node, place, instead) in edits.found {
        text.push_str(&raw[end..place.start]);
        text.push_str(&instead);
        end = place.end;
        let path: JsonPath = plan.nodes[node].path.iter().cloned().collect();
        let path = path.to_string();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    text.push_str(&raw[end..]);
    (text, paths)
}

/// What has to be replaced in the text of a record, in its order.
struct Edits<'d> {
    plan: &'d Columns,
    before: &'d [JsonPath],
    found: Vec<(NodeId, Range<usize>, String)>,
}

impl Edits<'_> {
    fn value(&mut self, id: NodeId, parser: &mut Parser<'_>) -> Result<(), Fault> {
        let node = &self.plan.nodes[id];
        let first = parser.peek()?;
        let is_masked = self.before.iter().any(|it| node.path.starts_with(it.segments()));
        if first == b'n' || is_masked || node.mask.is_none() && !node.masks_below {
            parser.skip()?;
            return Ok(());
        }
        let shape = node.explode.map(|level| self.plan.explode[level - 1].shape);
        match (shape, first) {
            // Keys that are masked cannot be told from each other, so the map goes as a whole.
            _ if node.mask.is_some() => self.replace(id, parser),
            (Some(ExplodeShape::Array), b'[') => {
                let mut more = parser.open(b']')?;
                while more {
                    self.inside(id, parser)?;
                    more = parser.more(b']')?;
                }
                Ok(())
            }
            (Some(ExplodeShape::Map), b'{') => {
                let mut more = parser.open(b'}')?;
                while more {
                    parser.quote()?;
                    parser.string()?;
                    parser.colon()?;
                    self.inside(id, parser)?;
                    more = parser.more(b'}')?;
                }
                Ok(())
            }
            (Some(_), _) => self.replace(id, parser),
            (None, _) => self.inside(id, parser),
        }
    }

    /// The fields of the object at a node, or of one of its elements.
    fn inside(&mut self, id: NodeId, parser: &mut Parser<'_>) -> Result<(), Fault> {
        match parser.peek()? {
            b'{' => {
                let mut scratch = String::new();
                let mut more = parser.open(b'}')?;
                while more {
                    parser.quote()?;
                    let key = parser.string()?;
                    parser.colon()?;
                    match self.plan.nodes[id].child(key.read(&mut scratch)) {
                        Some(child) => self.value(child, parser)?,
                        None => {
                            parser.skip()?;
                        }
                    }
                    more = parser.more(b'}')?;
                }
                Ok(())
            }
            b'n' => parser.skip().map(|_| ()),
            _ => self.replace(id, parser),
        }
    }

    fn replace(&mut self, id: NodeId, parser: &mut Parser<'_>) -> Result<(), Fault> {
        parser.peek()?;
        let start = parser.at();
        let raw = parser.skip()?;
        let Node { mask, columns, explode, .. } = &self.plan.nodes[id];
        let column = mask.filter(|it| columns.contains(it) && explode.is_none());
        let mask = column.and_then(|it| self.plan.declared[it].mask());
        let instead = mask.map_or_else(|| Ok(quoted(WITHHELD)), |it| it.instead(raw))?;
        self.found.push((id, start..start + raw.len(), instead));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn a_hash_is_the_hmac_of_the_text() {
        let hash = |salt: &str, text: &str| {
            let mut hash = String::new();
            append_hash(&keyed(&Secret::new(salt)), text, &mut hash);
            hash
        };

        assert_eq!(
            hash("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // A key longer than a block: 100 times `k`, by Python's `hmac`.
        assert_eq!(
            hash(&"k".repeat(100), "li@example.org"),
            "e8a7465a96ce4e9afd0861f98fce1636a3eeac9fe40c963270daa634f79531ee"
        );
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (date, expected) in [("1970-01-01", 0), ("1969-12-31", -1), ("2024-02-29", 19_782)] {
            assert_eq!(days(date.parse().unwrap()), expected, "{date}");
        }
    }

    #[test]
    fn what_a_hash_starts_from_does_not_print() {
        let manner = Manner::Hash(keyed(&Secret::new("pepper")), None);

        assert_eq!(format!("{manner:?}"), "Hash");
    }
}
