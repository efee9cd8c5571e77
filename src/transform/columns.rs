//! The column plan, compiled to tries over paths.
//!
//! ```text
//! columns                             trie of the record           level
//! record_id: { from: id }             $ ── id       → record_id    0
//! user_name: { from: user.name }        ├─ user ── name → …        0
//! detail_id: { from: details.id }       └─ details (explode)       0
//!                                            └─ id  → detail_id    1: one cell an element
//! ```
//!
//! The body around the records has a trie of its own, with the envelope paths and the records.

use super::{cell::Strategy, mask::Mask};
use crate::plan::{
    ColumnPlan, ColumnSource, ColumnType, ExplodePlan, ExplodeShape, JsonPath, RecordsShape,
    StreamPlan, UnknownFields,
};

/// A node of the record's trie, by its place in [`Columns::nodes`].
pub(super) type NodeId = usize;

/// A place in the record that columns read, or that leads to one.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The keys from the record to here; exploded arrays count as one key.
    pub(super) path: Vec<String>,
    /// The places below, sorted by key.
    pub(super) children: Vec<(String, NodeId)>,
    /// Columns that read the value itself.
    pub(super) columns: Vec<usize>,
    /// The column, if it is one of text, and nothing else reads here or below.
    pub(super) text: Option<usize>,
    /// Columns that read the key of an element of the object map that stands here.
    pub(super) key_columns: Vec<usize>,
    /// The level of the elements, if each of them becomes a row.
    pub(super) explode: Option<usize>,
    /// How many exploded arrays lead here.
    pub(super) level: usize,
    /// Whether a json column, or one that is masked, reads all that is below.
    pub(super) covered: bool,
    /// A column that masks what stands here, or its keys.
    pub(super) mask: Option<usize>,
    /// Whether a column masks something below.
    pub(super) masks_below: bool,
    /// The node above.
    pub(super) parent: Option<NodeId>,
}

/// A declared column, compiled.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: ColumnType,
    pub(super) strategy: Strategy,
    /// Whether what it reads has something in it, or is part of something, that a column masks.
    pub(super) is_private: bool,
}

impl Column {
    pub(super) fn mask(&self) -> Option<&Mask> {
        match &self.strategy {
            Strategy::Masked(mask) => Some(mask),
            _ => None,
        }
    }
}

/// Where a column of the slice's context has its value.
#[derive(Debug)]
pub(super) enum ContextSource {
    Parent(String),
    Slice(String),
}

/// All that is known before the first page.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) declared: Vec<Column>,
    /// The first is the record itself.
    pub(super) nodes: Vec<Node>,
    /// The columns of the record, of the elements of its first and of its second array.
    pub(super) by_level: [Vec<usize>; 3],
    /// Columns whose value is the same for the whole page.
    pub(super) context: Vec<(usize, ContextSource)>,
    /// Columns that read the key of a record in an object map.
    pub(super) record_key: Vec<usize>,
    /// Columns that identify a row, and whether each is of the context.
    pub(super) key: Vec<(usize, bool)>,
    pub(super) explode: Vec<ExplodePlan>,
    pub(super) unknown: UnknownFields,
    pub(super) last_record_field: Option<JsonPath>,
}

impl Columns {
    pub(super) fn new(stream: &StreamPlan) -> Self {
        let declared = stream.columns.iter().map(|it| Column {
            name: it.name.as_str().to_owned(),
            kind: it.kind.clone(),
            strategy: Strategy::new(it),
            is_private: is_private(it, &stream.columns),
        });
        let key = stream.key().iter().filter_map(|key| {
            let index = stream.columns.iter().position(|it| it.name == *key)?;
            Some((index, !matches!(stream.columns[index].from, ColumnSource::Record(_))))
        });
        let mut it = Self {
            declared: declared.collect(),
            nodes: vec![Node::default()],
            by_level: Default::default(),
            context: Vec::new(),
            record_key: Vec::new(),
            key: key.collect(),
            explode: stream.explode.clone(),
            unknown: stream.unknown_fields,
            last_record_field: stream.last_record_field().cloned(),
        };
        // Arrays first: a column's level is that of the node it hangs from.
        for (i, explode) in stream.explode.iter().enumerate() {
            let node = it.node(explode.path.segments());
            it.nodes[node].explode = Some(i + 1);
        }
        let record_map = stream.records.shape == RecordsShape::Map;
        for (index, column) in stream.columns.iter().enumerate() {
            it.attach(index, column, record_map);
        }
        for node in &mut it.nodes {
            node.children.sort();
            node.text = match node.columns[..] {
                [column] if node.children.is_empty() && node.explode.is_none() => {
                    matches!(it.declared[column].strategy, Strategy::Text).then_some(column)
                }
                _ => None,
            };
        }
        it.cover(0, false);
        it
    }

    /// Puts a column where its value comes from.
    fn attach(&mut self, index: usize, column: &ColumnPlan, record_map: bool) {
        let path = match &column.from {
            ColumnSource::Parent(name) => {
                return self.context.push((index, ContextSource::Parent(name.clone())));
            }
            ColumnSource::Slice(name) => {
                return self.context.push((index, ContextSource::Slice(name.clone())));
            }
            ColumnSource::Record(path) => path.segments(),
        };
        if let Some((last, array)) = path.split_last()
            && last == JsonPath::KEY
        {
            if record_map && array.is_empty() {
                self.by_level[0].push(index);
                return self.record_key.push(index);
            }
            let is_map =
                |it: &ExplodePlan| it.shape == ExplodeShape::Map && it.path.segments() == array;
            if let Some(level) = self.explode.iter().position(is_map) {
                let node = self.node(array);
                self.by_level[level + 1].push(index);
                self.note_mask(index, node);
                return self.nodes[node].key_columns.push(index);
            }
        }
        let node = self.node(path);
        let level = self.nodes[node].explode.unwrap_or(self.nodes[node].level);
        self.by_level[level].push(index);
        self.note_mask(index, node);
        self.nodes[node].columns.push(index);
    }

    /// Notes at a node, and above it, that a column masks what it reads there.
    fn note_mask(&mut self, column: usize, node: NodeId) {
        if self.declared[column].mask().is_none() {
            return;
        }
        self.nodes[node].mask.get_or_insert(column);
        let mut above = self.nodes[node].parent;
        while let Some(node) = above {
            self.nodes[node].masks_below = true;
            above = self.nodes[node].parent;
        }
    }

    /// Whether some of the record must not be shown.
    pub(super) fn has_masks(&self) -> bool {
        self.declared.iter().any(|it| it.mask().is_some())
    }

    /// The node at a path, made if it is not there.
    fn node(&mut self, path: &[String]) -> NodeId {
        let mut at = 0;
        for (i, key) in path.iter().enumerate() {
            let child = self.nodes[at].children.iter().find(|(it, _)| it == key);
            at = if let Some((_, child)) = child {
                *child
            } else {
                let parent = &self.nodes[at];
                let level = parent.explode.unwrap_or(parent.level);
                let child = self.nodes.len();
                self.nodes.push(Node {
                    path: path[..=i].to_vec(),
                    level,
                    parent: Some(at),
                    ..Node::default()
                });
                self.nodes[at].children.push((key.clone(), child));
                child
            };
        }
        at
    }

    fn cover(&mut self, id: NodeId, covered: bool) {
        let all = |it: &usize| {
            matches!(self.declared[*it].strategy, Strategy::Json | Strategy::Masked(_))
        };
        let covered = covered || self.nodes[id].columns.iter().any(all);
        self.nodes[id].covered = covered;
        let children: Vec<NodeId> = self.nodes[id].children.iter().map(|(_, it)| *it).collect();
        for child in children {
            self.cover(child, covered);
        }
    }
}

/// Whether a column and one that is masked, which may be itself, read the same or part of it.
fn is_private(column: &ColumnPlan, columns: &[ColumnPlan]) -> bool {
    let ColumnSource::Record(read) = &column.from else { return column.mask.is_some() };
    columns.iter().filter(|it| it.mask.is_some()).any(|it| match &it.from {
        ColumnSource::Record(path) => read.below(path).is_some() || path.below(read).is_some(),
        ColumnSource::Parent(_) | ColumnSource::Slice(_) => false,
    })
}

impl Node {
    /// The place below with this key, if columns read there.
    pub(super) fn child(&self, key: &str) -> Option<NodeId> {
        let found = self.children.binary_search_by(|(it, _)| it.as_str().cmp(key)).ok()?;
        Some(self.children[found].1)
    }
}

/// A place in the body around the records.
#[derive(Debug, Default)]
pub(super) struct EnvelopeNode {
    pub(super) children: Vec<(String, usize)>,
    /// The envelope path that ends here, by its place in [`Envelope::paths`].
    pub(super) path: Option<usize>,
    /// Whether the records stand here.
    pub(super) records: bool,
    /// Envelope paths that end here or below: lost if the key comes again.
    pub(super) paths_below: Vec<usize>,
    /// Whether the records stand here or below.
    pub(super) leads_to_records: bool,
}

/// The body around the records.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The first is the body itself.
    pub(super) nodes: Vec<EnvelopeNode>,
    pub(super) paths: Vec<JsonPath>,
    /// Of these the ones at or below the records, as paths from there: a body that is one record
    /// has its envelope among the record's fields.
    pub(super) in_records: Vec<(usize, JsonPath)>,
    pub(super) records: JsonPath,
    pub(super) shape: RecordsShape,
}

impl Envelope {
    pub(super) fn new(stream: &StreamPlan) -> Self {
        let records = &stream.records.path;
        let mut it = Self {
            nodes: vec![EnvelopeNode::default()],
            paths: stream.envelope.clone(),
            in_records: Vec::new(),
            records: records.clone(),
            shape: stream.records.shape.clone(),
        };
        let node = it.walk(records, |node| node.leads_to_records = true);
        it.nodes[node].records = true;
        for (i, path) in stream.envelope.iter().enumerate() {
            if let Some(below) = path.below(records) {
                it.in_records.push((i, below));
                continue;
            }
            let node = it.walk(path, |node| node.paths_below.push(i));
            it.nodes[node].path = Some(i);
        }
        it
    }

    /// The node at a path, made if it is not there; `mark` sees every node on the way.
    fn walk(&mut self, path: &JsonPath, mut mark: impl FnMut(&mut EnvelopeNode)) -> usize {
        let mut at = 0;
        mark(&mut self.nodes[at]);
        for key in path.segments() {
            let child = self.nodes[at].children.iter().find(|(it, _)| it == key);
            at = if let Some((_, child)) = child {
                *child
            } else {
                let child = self.nodes.len();
                self.nodes.push(EnvelopeNode::default());
                self.nodes[at].children.push((key.clone(), child));
                child
            };
            mark(&mut self.nodes[at]);
        }
        at
    }
}
