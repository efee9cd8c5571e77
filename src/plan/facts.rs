//! What one stage tells another about a slice or a page, without naming it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::JsonPath;

/// The values that a slice brings to templates and to columns: `parent.x` and `slice.x`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceContext {
    /// Columns of the parent row that the slice belongs to, by the name they are bound to.
    pub parent: BTreeMap<String, Value>,
    /// Listed values by their name, and `start` and `end` of a window as the API wants them.
    pub slice: BTreeMap<String, Value>,
}

/// What a page says about itself and about what comes after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageFacts {
    /// How many records the page has, rejected ones included.
    pub records: u64,
    /// A 64-bit identity of each record, in page order: of its key columns where the stream has a
    /// key, otherwise of its text.
    pub identities: Vec<u64>,
    /// The values at the stream's envelope paths, for those that are there.
    pub envelope: Vec<(JsonPath, Value)>,
    /// The field of the page's last record that the stream pages by.
    pub last_record_field: Option<Value>,
    /// Where the body has nothing at the records path: what it has instead, for a person.
    pub records_missing: Option<String>,
}

impl PageFacts {
    /// The value that the body has at `path`, if that path is part of the stream's envelope.
    pub fn value(&self, path: &JsonPath) -> Option<&Value> {
        self.envelope.iter().find(|(it, _)| it == path).map(|(_, value)| value)
    }
}
