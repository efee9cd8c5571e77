//! What a sample says about each path: how often it is there, and which values stand there.
//!
//! ```text
//! {"id": 1, "author": {"key": "li"}}        id           2 of 2   1, 2
//! {"id": 2, "author": null, "tags": []}     author.key   1 of 2   "li"
//!                                           tags         1 of 2   an array
//! ```

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{
    ArrayOfObjects, Column, InferError, ids, kind, names, names::Names, records::json_path,
};
use crate::{plan::JsonPath, transform::Tree};

/// Objects that lie deeper stay JSON.
const FLAT_LEVELS: usize = 4;
/// With more keys than this, most of them missing, an object is data and no structure.
const MAP_KEYS: usize = 20;

/// What stands at one path.
#[derive(Debug, Default)]
pub(super) struct Facts<'t> {
    /// How often it is there, null included.
    seen: usize,
    nulls: usize,
    scalars: Vec<&'t Tree>,
    objects: usize,
    arrays: Vec<&'t [Tree]>,
    children: IndexMap<&'t str, Facts<'t>>,
}

/// The paths that become columns.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    pub(super) leaves: Vec<Leaf<'t>>,
    /// Fields that no path can name, for a person.
    pub(super) unnamed: Vec<String>,
}

/// A path that becomes a column.
#[derive(Debug)]
pub(super) struct Leaf<'t> {
    pub(super) path: JsonPath,
    /// The words of its name.
    pub(super) words: Vec<String>,
    /// How many records, or elements of an exploded array, there are.
    pub(super) of: usize,
    pub(super) seen: usize,
    pub(super) nulls: usize,
    pub(super) scalars: Vec<&'t Tree>,
    pub(super) objects: usize,
    pub(super) arrays: Vec<&'t [Tree]>,
    /// Whether its objects are maps of objects.
    pub(super) is_map: bool,
}

/// An array that is exploded.
#[derive(Debug)]
pub(super) struct Exploded {
    pub(super) from: String,
}

impl<'t> Facts<'t> {
    /// Of records, or of the elements of an array.
    pub(super) fn of(records: impl Iterator<Item = &'t IndexMap<String, Tree>>) -> Self {
        let mut facts = Self::default();
        for record in records {
            facts.add_object(record);
        }
        facts
    }

    /// Whether a record has a field of this name.
    pub(super) fn has(&self, field: &str) -> bool {
        self.children.contains_key(field)
    }

    fn add_object(&mut self, fields: &'t IndexMap<String, Tree>) {
        self.seen += 1;
        self.objects += 1;
        for (key, value) in fields {
            self.children.entry(key).or_default().add(value);
        }
    }

    fn add(&mut self, value: &'t Tree) {
        match value {
            Tree::Object(fields) => return self.add_object(fields),
            Tree::Null => self.nulls += 1,
            Tree::Array(elements) => self.arrays.push(elements),
            Tree::Boolean(_) | Tree::Number(_) | Tree::Text(_) => self.scalars.push(value),
        }
        self.seen += 1;
    }

    /// Whether its fields become columns of their own.
    fn is_flat(&self, level: usize) -> bool {
        let only_objects = self.objects > 0 && self.scalars.is_empty() && self.arrays.is_empty();
        only_objects
            && !self.children.is_empty()
            && level <= FLAT_LEVELS
            && !self.is_map()
            && !self.children.iter().any(|(key, it)| it.repeats(key))
    }

    /// Whether the keys are values, such as ids or dates.
    fn is_map(&self) -> bool {
        let n = self.children.len();
        let is_sparse = n > MAP_KEYS && self.n_children_seen() * 3 < n * self.objects;
        if self.has_objects_only() {
            return is_sparse || self.is_map_of_objects();
        }
        n > 1 && self.children.keys().all(|it| ids::starts_with_digit(it)) || is_sparse
    }

    /// Whether ids are the keys of objects of one structure, and not the names of fields that look alike.
    fn is_map_of_objects(&self) -> bool {
        let n = self.children.len();
        let is_every = |is: fn(&str) -> bool| self.children.keys().all(|it| is(it));
        // What stands in nearly every record is a field, whatever it is named. No field is named by a date.
        let is_common = self.objects > 1 && self.n_children_seen() * 5 >= n * self.objects * 4;
        if n < 2 || is_common && !is_every(ids::is_date) {
            return false;
        }
        if is_every(ids::starts_with_digit) {
            return true;
        }
        let differs = self.objects > 1 && self.n_children_seen() * 2 <= n * self.objects;
        let may_be_ids = differs && is_every(ids::may_be_id) && !self.is_numbered();
        (is_every(ids::is_id) || may_be_ids) && self.has_one_structure()
    }

    fn n_children_seen(&self) -> usize {
        self.children.values().map(|it| it.seen).sum()
    }

    fn is_numbered(&self) -> bool {
        ids::are_numbered(self.children.keys().copied())
    }

    /// Whether an object that has fields stands at each key.
    fn has_objects_only(&self) -> bool {
        let is_object =
            |it: &Facts<'_>| it.objects > 0 && it.objects == it.seen && !it.children.is_empty();
        self.children.values().all(is_object)
    }

    fn has_one_structure(&self) -> bool {
        let mut fields = self.children.values().map(|it| it.children.keys());
        let first: Option<BTreeSet<_>> = fields.next().map(Iterator::collect);
        fields.all(|it| first == Some(it.collect()))
    }

    /// Whether an array's elements have the same array again, as documents of rich text do.
    fn repeats(&self, key: &str) -> bool {
        let mut elements = self.arrays.iter().flat_map(|it| it.iter());
        elements.any(|it| match it {
            Tree::Object(fields) => matches!(fields.get(key), Some(Tree::Array(_))),
            _ => false,
        })
    }
}

/// The paths that become columns, in the order of the records; `has_key` where these are the values of an
/// object, and have their key in them.
pub(super) fn fields<'t>(facts: &Facts<'t>, has_key: bool) -> Fields<'t> {
    let mut fields = Fields { leaves: Vec::new(), unnamed: Vec::new() };
    let key = facts.children.get(JsonPath::KEY).filter(|_| has_key);
    if let Some(key) = key {
        let path: JsonPath = [JsonPath::KEY.to_owned()].into_iter().collect();
        fields.leaves.push(leaf(key, path, facts.objects));
    }
    flatten(facts, facts.objects, &mut Vec::new(), 0, &mut fields);
    if key.is_some() {
        fields.unnamed.retain(|it| it != JsonPath::KEY);
    }
    fields
}

fn leaf<'t>(facts: &Facts<'t>, path: JsonPath, of: usize) -> Leaf<'t> {
    Leaf {
        words: names::words(path.segments()),
        path,
        of,
        seen: facts.seen,
        nulls: facts.nulls,
        scalars: facts.scalars.clone(),
        objects: facts.objects,
        arrays: facts.arrays.clone(),
        is_map: facts.is_map() && facts.children.values().all(|it| it.objects == it.seen),
    }
}

fn flatten<'t>(
    facts: &Facts<'t>,
    of: usize,
    segments: &mut Vec<String>,
    level: usize,
    fields: &mut Fields<'t>,
) {
    for (key, child) in &facts.children {
        segments.push((*key).to_owned());
        match json_path(segments) {
            None => fields.unnamed.push(segments.join(".")),
            Some(_) if child.is_flat(level + 1) => {
                flatten(child, of, segments, level + 1, fields);
            }
            Some(path) => fields.leaves.push(leaf(child, path, of)),
        }
        segments.pop();
    }
}

/// Puts the fields of an array's elements into the place of the array.
pub(super) fn explode(fields: &mut Fields<'_>, path: &JsonPath) -> Result<Exploded, InferError> {
    let position = fields.leaves.iter().position(|it| it.path == *path && it.has_objects());
    let Some(position) = position else {
        let known = fields.leaves.iter().filter(|it| it.has_objects());
        let known = known.map(|it| it.path.to_string()).collect();
        return Err(InferError::NoArray { path: path.clone(), known });
    };
    let array = fields.leaves.remove(position);
    let mut elements = array.elements();
    fields.leaves.splice(position..position, elements.leaves.drain(..));
    fields.unnamed.append(&mut elements.unnamed);
    Ok(Exploded { from: path.to_string() })
}

impl<'t> Leaf<'t> {
    /// Whether there are arrays only, and objects in them.
    fn has_objects(&self) -> bool {
        let mut elements = self.arrays.iter().flat_map(|it| it.iter());
        self.scalars.is_empty()
            && self.objects == 0
            && elements.any(|it| matches!(it, Tree::Object(_)))
    }

    /// What an element of the array has.
    fn elements(&self) -> Fields<'t> {
        let elements = self.arrays.iter().flat_map(|it| it.iter());
        let objects = elements.filter_map(|it| match it {
            Tree::Object(fields) => Some(fields),
            _ => None,
        });
        let facts = Facts::of(objects);
        let mut fields = Fields { leaves: Vec::new(), unnamed: Vec::new() };
        let mut segments = self.path.segments().to_vec();
        flatten(&facts, facts.objects, &mut segments, 0, &mut fields);
        fields
    }

    /// The columns that its elements would become.
    pub(super) fn array_of_objects(
        &self,
        columns: &[Column],
        zone: Option<chrono_tz::Tz>,
        names: &Names,
    ) -> Option<ArrayOfObjects> {
        if !self.has_objects() {
            return None;
        }
        let from = self.path.to_string();
        let column = columns.iter().find(|it| it.from == from)?.name.clone();
        let fields = self.elements();
        let mut names = names.clone();
        let own = fields.leaves.iter().flat_map(|it| kind::columns(it, zone, &mut names));
        let columns: Vec<Column> = own.collect();
        let n_elements = self.arrays.iter().map(|it| it.len()).sum();
        let id = ["id", "key", "uuid", "guid", "uid"].into_iter().find(|it| self.tells_apart(it));
        let id = id.and_then(|it| {
            let path = json_path(&[self.path.segments(), &[it.to_owned()]].concat())?.to_string();
            columns.iter().find(|it| it.from == path).map(|it| it.name.clone())
        });
        (!columns.is_empty()).then_some(ArrayOfObjects { from, column, n_elements, columns, id })
    }

    /// Whether a field has a value in every element, and none twice in the same array.
    fn tells_apart(&self, field: &str) -> bool {
        self.arrays.iter().all(|elements| {
            let mut seen = BTreeSet::new();
            elements.iter().all(|it| match it {
                Tree::Object(fields) => match fields.get(field) {
                    Some(Tree::Number(it) | Tree::Text(it)) => seen.insert(it),
                    _ => false,
                },
                _ => false,
            })
        })
    }

    /// Whether it has a value in every record.
    pub(super) fn is_complete(&self) -> bool {
        self.of > 0 && self.scalars.len() == self.of
    }

    /// How often it has no value, for a person.
    pub(super) fn absence(&self) -> Option<String> {
        let missing = self.of.saturating_sub(self.seen);
        match (self.nulls, missing) {
            (0, 0) => None,
            (nulls, 0) => Some(format!("null in {nulls} of {}", self.of)),
            (0, missing) => Some(format!("missing in {missing} of {}", self.of)),
            (nulls, missing) => {
                Some(format!("null in {nulls} and missing in {missing} of {}", self.of))
            }
        }
    }
}
