//! A body as a tree, and whether a column would take a value of it: for whoever looks at a sample
//! before there are columns.
//!
//! Records on their way never become a tree; this is read with the same parser and tried with the
//! same cells, so that what is proposed from a sample is what a run reads.

use indexmap::IndexMap;

use super::{
    BodyError,
    buffer::Buffer,
    cell::{Desk, Strategy},
    decode::{body_error, body_text},
    instant::Irregular,
    json::{Fault, Parser, Scalar, Text},
};
use crate::plan::{ColumnPlan, ColumnSource, ColumnType, JsonPath, Name};

/// A JSON value; a number keeps its text, and of a key that comes again the last value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Null.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number, as it is written.
    Number(String),
    /// Text.
    Text(String),
    /// An array.
    Array(Vec<Tree>),
    /// An object, in the order of its keys.
    Object(IndexMap<String, Tree>),
}

impl Tree {
    /// Reads a response body.
    ///
    /// ```
    /// use tracklake::transform::Tree;
    ///
    /// let tree = Tree::parse(br#"{"id": 9007199254740993}"#).unwrap();
    /// let Tree::Object(fields) = tree else { panic!("not an object") };
    /// assert_eq!(fields["id"], Tree::Number("9007199254740993".to_owned()));
    /// ```
    ///
    /// # Errors
    ///
    /// What keeps the body from being JSON, with its place.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let (text, mark) = body_text(body)?;
        let mut parser = Parser::new(text);
        let parsed = value(&mut parser).and_then(|it| parser.finish().map(|()| it));
        parsed.map_err(|fault| body_error(text, mark, fault))
    }
}

/// Nesting is limited by the parser.
fn value(parser: &mut Parser<'_>) -> Result<Tree, Fault> {
    let first = parser.peek()?;
    match first {
        b'{' => {
            let mut fields = IndexMap::new();
            let mut more = parser.open(b'}')?;
            while more {
                parser.quote()?;
                let key = text(parser.string()?);
                parser.colon()?;
                fields.insert(key, value(parser)?);
                more = parser.more(b'}')?;
            }
            Ok(Tree::Object(fields))
        }
        b'[' => {
            let mut elements = Vec::new();
            let mut more = parser.open(b']')?;
            while more {
                elements.push(value(parser)?);
                more = parser.more(b']')?;
            }
            Ok(Tree::Array(elements))
        }
        _ => Ok(match parser.scalar(first)? {
            Scalar::Null => Tree::Null,
            Scalar::Boolean(it) => Tree::Boolean(it),
            Scalar::Number(it) => Tree::Number(it.to_owned()),
            Scalar::Text(it) => Tree::Text(text(it)),
        }),
    }
}

fn text(it: Text<'_>) -> String {
    let mut out = String::new();
    it.append_to(&mut out);
    out
}

/// Whether a column of the type would take the value; what it does not take rejects its record.
///
/// ```
/// use tracklake::{
///     plan::ColumnType,
///     transform::{Tree, takes},
/// };
///
/// assert!(takes(&ColumnType::Int64, &Tree::Text("41".to_owned())));
/// assert!(!takes(&ColumnType::Int64, &Tree::Text("n/a".to_owned())));
/// ```
pub fn takes(kind: &ColumnType, value: &Tree) -> bool {
    let scalar = match value {
        Tree::Null => return true,
        Tree::Array(_) | Tree::Object(_) => return *kind == ColumnType::Json,
        Tree::Boolean(it) => Scalar::Boolean(*it),
        Tree::Number(it) => Scalar::Number(it),
        Tree::Text(it) => Scalar::Text(Text { raw: it, at: usize::MAX, escaped: false }),
    };
    let Ok(name) = "sample".parse::<Name>() else { return false };
    let column = ColumnPlan {
        name,
        from: ColumnSource::Record(JsonPath::default()),
        kind: kind.clone(),
        values: None,
        description: None,
        mask: None,
    };
    let mut buffer = Buffer::new(&kind.arrow(), 1, 0);
    let mut desk = Desk::new(kind);
    let mut irregular = Irregular::default();
    let read = Strategy::new(&column);
    read.scalar(&scalar, &mut buffer, &mut desk, &mut irregular, &mut None).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::InstantFormat;

    #[test]
    fn a_tree_keeps_numbers_orders_and_the_last_of_equal_keys() {
        let body = br#" {"b": [1.50, "a\nb", null], "a": {}, "b": [true]} "#;

        let tree = Tree::parse(body).unwrap();

        let Tree::Object(fields) = &tree else { panic!("{tree:?}") };
        let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(keys, ["b", "a"]);
        assert_eq!(fields["b"], Tree::Array(vec![Tree::Boolean(true)]));
        let number = Tree::parse(b"[1.50e2]").unwrap();
        assert_eq!(number, Tree::Array(vec![Tree::Number("1.50e2".to_owned())]));
    }

    #[test]
    fn a_body_that_is_no_json_names_the_place() {
        for (body, expected) in [
            (&b""[..], "the body is empty"),
            (b"{\"a\": 1\n \"b\"}", "at line 2, column 2"),
            (b"{} x", "expected nothing after the value"),
            (b"[\"\xff\"]", "not UTF-8 from byte 2 on"),
        ] {
            let message = Tree::parse(body).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_type_takes_what_a_run_would_take() {
        let text = |it: &str| Tree::Text(it.to_owned());
        let local = ColumnType::Timestamp { format: InstantFormat::Text, zone: None };
        for (kind, value, expected) in [
            (local.clone(), text("2024-07-25T09:42:06.258+0000"), true),
            (local.clone(), text("2024-07-25 09:42:06"), false),
            (local, Tree::Number("1721900526".to_owned()), false),
            (ColumnType::Int64, Tree::Number("9223372036854775808".to_owned()), false),
            (ColumnType::String, Tree::Array(Vec::new()), false),
            (ColumnType::Json, Tree::Array(Vec::new()), true),
            (ColumnType::Boolean, Tree::Null, true),
        ] {
            assert_eq!(takes(&kind, &value), expected, "{kind:?} {value:?}");
        }
    }
}
