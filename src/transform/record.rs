//! One record becomes rows: its text is walked once, along the trie of the columns.
//!
//! ```text
//! {"id": 7, "details": [{"id": 1}, {"id": 2}], "user": {"name": "li"}}
//!
//! record_id   details.id   user_name      a cell is added where its value is met;
//! 7           1            li             the end of an element adds the nulls that are missing,
//! 7           2            li             the end of the record repeats its cells on its rows
//! ```
//!
//! A value that does not fit stops nothing: the first misfit is noted, the walk goes on to the end
//! of the record, and then all its rows are taken back.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Reject,
    buffer::Buffer,
    canonical,
    cell::Misfit,
    columns::{Columns, Node, NodeId},
    extra::{self, Fragment},
    identity::Identity,
    json::{Expected, Fault, Parser, Scalar, Text},
    mask::{self, WITHHELD},
    output::Output,
};
use crate::plan::{ExplodeShape, UnknownFields, WhenEmpty};

/// A walk over the records of one text.
pub(super) struct Walk<'d, 'p, 't> {
    plan: &'d Columns,
    output: &'d mut Output<'p>,
    parser: Parser<'t>,
    /// By node, the keys of its object in the order in which they were met before.
    orders: Vec<Vec<Known<'t>>>,
    /// By node, the last visit of the object above that had it: the same visit is a duplicate.
    visited: Vec<u64>,
    visits: u64,
    /// The first row of the record.
    base: usize,
    misfit: Option<(Option<usize>, String)>,
    duplicate: bool,
    fragments: Vec<Fragment<'t>>,
    /// By row of the record, where the fragments of its elements are: first level, second level.
    spans: Vec<[Range<usize>; 2]>,
}

/// A key that was met before.
struct Known<'t> {
    key: &'t str,
    expected: Expected,
    child: Option<NodeId>,
}

/// Keys of one object that are remembered; records with more must not make the search slow.
const REMEMBERED_KEYS: usize = 128;

impl<'d, 'p, 't> Walk<'d, 'p, 't> {
    pub(super) fn new(plan: &'d Columns, output: &'d mut Output<'p>, parser: Parser<'t>) -> Self {
        Self {
            plan,
            output,
            parser,
            orders: plan.nodes.iter().map(|_| Vec::new()).collect(),
            visited: vec![0; plan.nodes.len()],
            visits: 0,
            base: 0,
            misfit: None,
            duplicate: false,
            fragments: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Where the walk stands.
    pub(super) fn into_parser(self) -> Parser<'t> {
        self.parser
    }

    /// Walks over an array of records; gives the text of the last.
    pub(super) fn array(&mut self) -> Result<Option<&'t str>, Fault> {
        let mut last = None;
        let mut more = self.parser.open(b']')?;
        while more {
            last = Some(self.record(None)?);
            more = self.parser.more(b']')?;
        }
        Ok(last)
    }

    /// Walks over an object map of records, but not over those at the places that are `replaced`;
    /// gives the text of the last, and the places of those whose key came again.
    pub(super) fn map(
        &mut self,
        replaced: &HashSet<usize>,
    ) -> Result<(Option<&'t str>, HashSet<usize>), Fault> {
        let mut last = None;
        let mut keys = HashMap::new();
        let mut came_again = HashSet::new();
        let mut more = self.parser.open(b'}')?;
        for place in 0.. {
            if !more {
                break;
            }
            self.parser.quote()?;
            let key = self.parser.string()?;
            self.parser.colon()?;
            came_again.extend(keys.insert(owned(key), place));
            if replaced.contains(&place) {
                self.parser.skip()?;
            } else {
                last = Some(self.record(Some(key))?);
            }
            more = self.parser.more(b'}')?;
        }
        Ok((last, came_again))
    }

    /// Turns the next value into rows or into a reject; gives its text.
    pub(super) fn record(&mut self, key: Option<Text<'_>>) -> Result<&'t str, Fault> {
        self.parser.peek()?;
        let start = self.parser.at();
        let base = self.output.rows;
        let irregular = self.output.irregular;
        let duplicate_keys = self.output.notices.duplicate_keys;
        self.rows(key)?;
        let raw = self.parser.since(start);

        if self.duplicate {
            // Rare, and the last value must win at every level: without the earlier ones the record
            // is one like any other.
            self.output.take_back(self.plan, base, irregular);
            let mut text = String::with_capacity(raw.len());
            let replaced = canonical::append(raw, &mut text)?;
            self.output.notices.duplicate_keys = duplicate_keys + replaced;
            let mut again = Walk::new(self.plan, self.output, Parser::new(&text));
            again.rows(key)?;
            self.misfit = again.misfit.take();
        }
        let identity = match self.misfit.take() {
            None => self.identity(base, raw, key),
            Some((column, reason)) => {
                self.output.take_back(self.plan, base, irregular);
                let (shown, masked) = mask::masked(self.plan, raw, &[]);
                self.output.rejects.push(Reject {
                    position: self.output.identities.len() as u64,
                    column: column.map(|it| self.plan.declared[it].name.clone()),
                    reason,
                    raw: shown,
                    masked,
                });
                text_identity(raw, key)
            }
        };
        self.output.identities.push(identity);
        Ok(raw)
    }

    /// The identity of a record that gave rows, or none.
    fn identity(&mut self, base: usize, raw: &str, key: Option<Text<'_>>) -> u64 {
        let rows = base..self.output.rows;
        if rows.is_empty() {
            self.output.notices.dropped_empty += 1;
        }
        if rows.is_empty() || self.plan.key.is_empty() {
            return text_identity(raw, key);
        }
        let mut identity = Identity::new();
        for row in rows {
            for (column, of_context) in &self.plan.key {
                // A cell of the context is there once until the page ends.
                let row = if *of_context { 0 } else { row };
                self.output.buffers[*column].identify(row, self.output.page, &mut identity);
            }
        }
        identity.finish()
    }

    /// Adds the rows of the next value, whether it fits or not.
    fn rows(&mut self, key: Option<Text<'_>>) -> Result<(), Fault> {
        self.base = self.output.rows;
        self.duplicate = false;
        self.fragments.clear();
        self.spans.clear();
        self.misfit.clone_from(&self.output.context_misfit);

        let first = self.parser.peek()?;
        let root = &self.plan.nodes[0];
        if self.misfit.is_some() {
            self.parser.skip()?;
            return Ok(());
        }
        if let Some(key) = key {
            self.store(&self.plan.record_key, &Scalar::Text(key), key.raw);
        }
        if first != b'{' && root.columns.is_empty() && root.explode.is_none() {
            let raw = self.parser.skip()?;
            self.misplaced(root, "an object", raw);
            return Ok(());
        }
        self.value(0, first)?;
        self.close(0, self.base, 0);
        if self.misfit.is_none() && !self.duplicate && self.plan.unknown == UnknownFields::Keep {
            self.extra()?;
        }
        Ok(())
    }

    /// Walks over the value at a node.
    fn value(&mut self, id: NodeId, first: u8) -> Result<(), Fault> {
        match self.plan.nodes[id].explode {
            Some(level) => self.explode(id, level, first),
            None => self.whole_value(id, first),
        }
    }

    fn whole_value(&mut self, id: NodeId, first: u8) -> Result<(), Fault> {
        let node = &self.plan.nodes[id];
        let start = self.parser.at();
        match first {
            b'{' if !node.children.is_empty() || node.columns.is_empty() => {
                self.object(id)?;
                self.store_composite(&node.columns, self.parser.since(start))?;
            }
            b'{' | b'[' => {
                let raw = self.parser.skip()?;
                self.store_composite(&node.columns, raw)?;
                if first == b'[' && !node.children.is_empty() {
                    self.misplaced(node, "an object", raw);
                }
            }
            _ => {
                let scalar = self.parser.scalar(first)?;
                let raw = self.parser.since(start);
                self.store(&node.columns, &scalar, raw);
                if !node.children.is_empty() && !matches!(scalar, Scalar::Null) {
                    self.misplaced(node, "an object", raw);
                }
            }
        }
        Ok(())
    }

    /// Walks over the fields of the object at a node.
    fn object(&mut self, id: NodeId) -> Result<(), Fault> {
        self.visits += 1;
        let visit = self.visits;
        let mut next = 0;
        let mut more = self.parser.open(b'}')?;
        while more {
            let (key, child) = self.key(id, &mut next)?;
            match child {
                Some(child) if self.visited[child] == visit => {
                    self.duplicate = true;
                    self.parser.skip()?;
                }
                Some(child) => {
                    self.visited[child] = visit;
                    let first = self.parser.peek()?;
                    match self.plan.nodes[child].text {
                        Some(column) if first == b'"' => self.text(column)?,
                        _ => self.value(child, first)?,
                    }
                }
                None => self.unread(id, key)?,
            }
            more = self.parser.more(b'}')?;
        }
        Ok(())
    }

    /// Consumes a key and its colon. Records have their keys in much the same order, so the ones
    /// that should come next are expected before any key is scanned and searched for.
    #[inline]
    fn key(
        &mut self,
        id: NodeId,
        next: &mut usize,
    ) -> Result<(Cow<'t, str>, Option<NodeId>), Fault> {
        self.parser.skip_whitespace();
        for (i, known) in self.orders[id].iter().enumerate().skip(*next).take(3) {
            if self.parser.take(&known.expected) {
                *next = i + 1;
                return Ok((Cow::Borrowed(known.key), known.child));
            }
        }
        self.unexpected_key(id, next)
    }

    fn unexpected_key(
        &mut self,
        id: NodeId,
        next: &mut usize,
    ) -> Result<(Cow<'t, str>, Option<NodeId>), Fault> {
        self.parser.quote()?;
        let text = self.parser.string()?;
        self.parser.colon()?;
        let node = &self.plan.nodes[id];
        if text.escaped {
            let key = owned(text);
            let child = node.child(&key);
            return Ok((key, child));
        }
        let key = text.raw;
        let order = &mut self.orders[id];
        let child = if let Some(place) = order.iter().position(|it| it.key == key) {
            *next = place + 1;
            order[place].child
        } else {
            let child = node.child(key);
            if order.len() < REMEMBERED_KEYS {
                let place = (*next).min(order.len());
                order.insert(place, Known { key, expected: Expected::new(key), child });
                *next = place + 1;
            }
            child
        };
        Ok((Cow::Borrowed(key), child))
    }

    /// Walks over a field that no column reads.
    fn unread(&mut self, id: NodeId, key: Cow<'t, str>) -> Result<(), Fault> {
        let raw = self.parser.skip()?;
        let node = &self.plan.nodes[id];
        if !node.covered {
            let level = node.explode.unwrap_or(node.level);
            self.unknown(Fragment { node: id, key, level, raw });
        }
        Ok(())
    }

    fn unknown(&mut self, fragment: Fragment<'t>) {
        match self.plan.unknown {
            UnknownFields::Keep => self.fragments.push(fragment),
            UnknownFields::Ignore => {}
            UnknownFields::Reject => {
                let path = &self.plan.nodes[fragment.node].path;
                let path: Vec<&str> =
                    path.iter().map(String::as_str).chain([&*fragment.key]).collect();
                let path = path.join(".");
                self.misfit(None, || format!("no column reads the field `{path}`"));
            }
        }
    }

    /// Walks over an array, or an object map, of which each element becomes a row.
    fn explode(&mut self, id: NodeId, level: usize, first: u8) -> Result<(), Fault> {
        let shape = self.plan.explode[level - 1].shape;
        match (shape, first) {
            (_, b'n') => {
                self.parser.scalar(first)?;
            }
            (ExplodeShape::Array, b'[') => {
                let mut more = self.parser.open(b']')?;
                while more {
                    self.element(id, level)?;
                    more = self.parser.more(b']')?;
                }
            }
            (ExplodeShape::Map, b'{') => {
                let mut keys = HashSet::new();
                let mut more = self.parser.open(b'}')?;
                while more {
                    self.parser.quote()?;
                    let key = self.parser.string()?;
                    self.parser.colon()?;
                    self.duplicate |= !keys.insert(owned(key));
                    let columns = &self.plan.nodes[id].key_columns;
                    self.store(columns, &Scalar::Text(key), key.raw);
                    self.element(id, level)?;
                    more = self.parser.more(b'}')?;
                }
            }
            (shape, _) => {
                let raw = self.parser.skip()?;
                let wanted = match shape {
                    ExplodeShape::Array => "an array",
                    ExplodeShape::Map => "an object",
                };
                self.misplaced(&self.plan.nodes[id], wanted, raw);
            }
        }
        Ok(())
    }

    /// Walks over an element of an exploded array.
    fn element(&mut self, id: NodeId, level: usize) -> Result<(), Fault> {
        let base = self.output.rows;
        let fragments = self.fragments.len();
        let node = &self.plan.nodes[id];
        let first = self.parser.peek()?;
        if first != b'{' && node.children.is_empty() && node.columns.is_empty() {
            // No column reads anything of it: the element itself is the unread leaf.
            let raw = self.parser.skip()?;
            if let (Some(parent), Some(key)) = (node.parent, node.path.last())
                && raw != "null"
                && !node.covered
            {
                let key = Cow::Owned(key.clone());
                self.unknown(Fragment { node: parent, key, level, raw });
            }
        } else {
            self.whole_value(id, first)?;
        }
        self.close(level, base, fragments);
        Ok(())
    }

    /// Ends the record, or an element: brings its columns on to its rows.
    fn close(&mut self, level: usize, base: usize, fragments: usize) {
        let plan = self.plan;
        let mut rows = self.output.rows - base;
        if rows == 0 {
            // Nothing below gave a row: without a deeper array the row is this one, and with one
            // that is empty or missing it is this one with nulls, or none.
            let deeper = &plan.explode[level..];
            if deeper.iter().all(|it| it.when_empty == WhenEmpty::Keep) {
                rows = 1;
                self.output.rows += 1;
                self.spans.push([0..0, 0..0]);
                let columns = plan.by_level[level + 1..=plan.explode.len()].iter().flatten();
                columns.for_each(|it| self.complete(*it, base, rows));
            }
        }
        plan.by_level[level].iter().for_each(|it| self.complete(*it, base, rows));
        if level > 0 {
            let end = self.fragments.len();
            for spans in &mut self.spans[base - self.base..] {
                spans[level - 1] = fragments..end;
            }
        }
    }

    #[inline]
    fn complete(&mut self, column: usize, base: usize, rows: usize) {
        let buffer = &mut self.output.buffers[column];
        // Nearly every cell of nearly every record.
        if rows == 1 && buffer.len() > base {
            return;
        }
        if let Err(misfit) = buffer.complete(base, rows) {
            self.misfit(Some(column), || reason("fewer rows", "a long text", misfit));
        }
    }

    /// Adds the cells of [`EXTRA_COLUMN`](crate::plan::EXTRA_COLUMN).
    fn extra(&mut self) -> Result<(), Fault> {
        let Self { plan, output, fragments, spans, .. } = self;
        let column = plan.declared.len();
        let buffer = &mut output.buffers[column];
        let (base, rows) = (self.base, output.rows - self.base);
        let mut compose = |buffer: &mut Buffer, fragments: &mut [&Fragment<'_>]| {
            let mut replaced = Ok(0);
            let added = buffer.text(|out| replaced = extra::compose(&plan.nodes, fragments, out));
            output.notices.duplicate_keys += replaced?;
            Ok(added)
        };
        let mut cell = Ok(());
        if fragments.is_empty() {
            cell = buffer.complete(base, rows);
        } else if fragments.iter().all(|it| it.level == 0) {
            if rows > 0 {
                let mut all: Vec<&Fragment<'_>> = fragments.iter().collect();
                cell = compose(buffer, &mut all)?;
            }
            cell = cell.and_then(|()| buffer.complete(base, rows));
        } else {
            for (row, [first, second]) in spans.iter().enumerate() {
                let own = fragments.iter().enumerate().filter(|(i, it)| match it.level {
                    0 => true,
                    1 => first.contains(i),
                    _ => second.contains(i),
                });
                let mut own: Vec<&Fragment<'_>> = own.map(|(_, it)| it).collect();
                cell = if own.is_empty() {
                    buffer.complete(base + row, 1)
                } else {
                    compose(buffer, &mut own)?
                };
                if cell.is_err() {
                    break;
                }
            }
        }
        if let Err(misfit) = cell {
            self.misfit(None, || reason("fewer rows", "many unread fields", misfit));
        }
        Ok(())
    }

    /// Adds the cell of a column of text, from a string: most of what there is.
    #[inline]
    fn text(&mut self, column: usize) -> Result<(), Fault> {
        let start = self.parser.at();
        self.parser.quote()?;
        let text = self.parser.string()?;
        if self.output.buffers[column].text_of(&text).is_err() {
            self.store(&[column], &Scalar::Text(text), self.parser.since(start));
        }
        Ok(())
    }

    /// Adds the cells of the columns that read this value.
    #[inline]
    fn store(&mut self, columns: &[usize], scalar: &Scalar<'_>, raw: &str) {
        let mut written = None;
        for column in columns {
            let stored = self.output.store(self.plan, *column, scalar, &mut written);
            if let Err((expected, misfit)) = stored {
                self.output.buffers[*column].null();
                let is_private = self.plan.declared[*column].is_private;
                self.misfit(Some(*column), || reason(expected, &found(raw, is_private), misfit));
            }
        }
    }

    fn store_composite(&mut self, columns: &[usize], raw: &str) -> Result<(), Fault> {
        for column in columns {
            let strategy = &self.plan.declared[*column].strategy;
            match strategy.composite(raw, &mut self.output.buffers[*column])? {
                Ok(replaced) => self.output.notices.duplicate_keys += replaced,
                Err(misfit) => {
                    self.output.buffers[*column].null();
                    let found = found(raw, self.plan.declared[*column].is_private);
                    self.misfit(Some(*column), || reason(strategy.name(), &found, misfit));
                }
            }
        }
        Ok(())
    }

    fn misplaced(&mut self, node: &Node, wanted: &str, raw: &str) {
        let at = match node.path.as_slice() {
            [] => String::new(),
            path => format!(" at `{}`", path.join(".")),
        };
        let is_private = node.mask.is_some() || node.masks_below;
        self.misfit(None, || format!("expected {wanted}{at}, found {}", found(raw, is_private)));
    }

    /// Notes why the record does not fit, if nothing was noted before.
    fn misfit(&mut self, column: Option<usize>, reason: impl FnOnce() -> String) {
        if self.misfit.is_none() {
            self.misfit = Some((column, reason()));
        }
    }
}

/// The text itself, borrowed where it has no escapes.
fn owned(text: Text<'_>) -> Cow<'_, str> {
    if !text.escaped {
        return Cow::Borrowed(text.raw);
    }
    let mut key = String::new();
    text.append_to(&mut key);
    Cow::Owned(key)
}

fn text_identity(raw: &str, key: Option<Text<'_>>) -> u64 {
    let mut identity = Identity::new();
    if let Some(key) = key {
        identity.bytes(key.raw.as_bytes());
    }
    identity.bytes(raw.as_bytes());
    identity.finish()
}

/// `expected int64, found "n/a"`, for a person.
pub(super) fn reason(expected: &str, found: &str, misfit: Misfit) -> String {
    match misfit {
        Misfit(None) => format!("expected {expected}, found {found}"),
        Misfit(Some(why)) => format!("expected {expected}, found {found}: {why}"),
    }
}

/// The value, or what it is if it has parts; long values are cut, and those of masks not shown.
pub(super) fn found(raw: &str, is_private: bool) -> String {
    const SHOWN: usize = 60;
    match raw.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        _ if is_private => WITHHELD.to_owned(),
        _ => match raw.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &raw[..end]),
            None => raw.to_owned(),
        },
    }
}
