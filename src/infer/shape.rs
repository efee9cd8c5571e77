//! Records that are no array, brought into the form of one.
//!
//! ```text
//! {"items": {"te_1": {…}, "te_2": {…}}}     records: { map: items }, the key is `$key`
//! {"result": "{\"items\":[{…}, {…}]}"}      records: { stringified: { path: result, records: items } }
//! {"author": {…}, "assignee": {…}}          keys that are words: the fields of one record
//! ```

use std::cmp::Reverse;

use indexmap::IndexMap;

use super::{
    ids,
    records::{arrays, at, json_path},
    yaml::scalar,
};
use crate::{
    plan::{JsonPath, RecordsShape},
    transform::Tree,
};

/// With more keys than this, words may be values, too.
const MANY_KEYS: usize = 20;
/// How deep below the root records are looked for.
const DEPTH: usize = 6;

/// Samples in which the records are an array.
#[derive(Debug)]
pub(super) struct Unfolded {
    pub(super) samples: Vec<Tree>,
    /// Where they are in these.
    pub(super) path: JsonPath,
    pub(super) shape: Shape,
    /// Other objects whose values may be the records, and how many.
    others: Vec<(JsonPath, usize)>,
}

impl Unfolded {
    /// For the reader of the file.
    pub(super) fn notes(&self) -> Vec<String> {
        let question = self.others.iter().take(1).map(|_| {
            let others: Vec<String> =
                self.others.iter().take(3).map(|(path, n)| alternative(path, *n)).collect();
            format!("DECIDE: or is it {}?", others.join(", "))
        });
        [self.shape.note()].into_iter().chain(question).collect()
    }
}

/// Where records may be instead, for a person.
pub(super) fn alternative(path: &JsonPath, n: usize) -> String {
    format!("the values of `{path}`, with {n}")
}

/// How records stand in the real samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// As the values of an object.
    Map(JsonPath),
    /// In JSON that is the value of a text.
    Stringified(JsonPath, JsonPath),
}

impl Shape {
    /// As a pipeline file has it.
    pub(super) fn yaml(&self) -> String {
        match self {
            Self::Map(path) => format!("{{ map: {} }}", scalar(&path.to_string())),
            Self::Stringified(path, inner) => {
                let (path, inner) = (scalar(&path.to_string()), inner.to_string());
                format!("{{ stringified: {{ path: {path}, records: {} }} }}", scalar(&inner))
            }
        }
    }

    /// For the reader of the file.
    fn note(&self) -> String {
        match self {
            Self::Map(path) => {
                format!("the values of `{path}`; their keys are `{}`", JsonPath::KEY)
            }
            Self::Stringified(path, _) => format!("inside of `{path}`, which is JSON as text"),
        }
    }
}

/// The samples with an array where their records are no array; `None` where they are one, or the body is
/// the one record. `asked` is where a person says that they are, and `told` in which form.
pub(super) fn unfold(
    samples: &[Tree],
    asked: Option<&JsonPath>,
    told: Option<&RecordsShape>,
) -> Option<Unfolded> {
    if let Some(path) = asked {
        let found = samples.iter().find_map(|it| at(it, path.segments()))?;
        return match (found, told) {
            (Tree::Object(_), Some(RecordsShape::Map)) => Some(map(samples, path)),
            (Tree::Object(fields), _) if have_one_shape(fields) => Some(map(samples, path)),
            (Tree::Text(_), Some(RecordsShape::Stringified(inner))) => {
                Some(stringified_at(read(samples, path), path, inner.clone()))
            }
            (Tree::Text(_), _) => stringified(samples, path),
            _ => None,
        };
    }
    let maps = maps(samples);
    // Objects by key beside an array, also where it is empty, are what its records refer to.
    let is_inside = |it: &JsonPath| maps.keys().any(|map| it.below(map).is_some());
    if arrays(samples).keys().any(|it| !is_inside(it)) {
        return None;
    }
    // A path through a day or an id would read this one only.
    let is_fixed = |it: &JsonPath| it.segments().iter().any(|it| ids::may_be_id(it));
    let mut maps: Vec<(JsonPath, usize)> =
        maps.into_iter().filter(|(path, _)| !is_fixed(path)).collect();
    // Of equal ones the first.
    maps.sort_by_key(|(_, n)| Reverse(*n));
    let others = maps.split_off(maps.len().min(1));
    let (path, _) = maps.pop()?;
    Some(Unfolded { others, ..map(samples, &path) })
}

/// Objects whose values may be records, by their number of values.
pub(super) fn maps(samples: &[Tree]) -> IndexMap<JsonPath, usize> {
    let mut places = Places::default();
    for sample in samples {
        places.look(sample, &mut Vec::new());
    }
    places.maps
}

/// As [`unfold`], for samples of which nothing else is a record.
pub(super) fn unfold_text(samples: &[Tree]) -> Option<Unfolded> {
    let mut places = Places::default();
    for sample in samples {
        places.look(sample, &mut Vec::new());
    }
    let (most, path) = places.texts.iter().map(|(path, n)| (*n, path)).reduce(larger)?;
    // Where it is little of the body, it is a field of a record.
    (most * 2 > places.n_characters).then(|| stringified(samples, path)).flatten()
}

/// Of equal ones the first.
fn larger<'p>(a: (usize, &'p JsonPath), b: (usize, &'p JsonPath)) -> (usize, &'p JsonPath) {
    if b.0 > a.0 { b } else { a }
}

/// Where something else than an array may hold records, and how much.
#[derive(Debug, Default)]
struct Places {
    /// Objects that may be maps of records, by their number of values.
    maps: IndexMap<JsonPath, usize>,
    /// Texts that are JSON, by their length.
    texts: IndexMap<JsonPath, usize>,
    /// Of all texts.
    n_characters: usize,
}

impl Places {
    fn look(&mut self, value: &Tree, path: &mut Vec<String>) {
        match value {
            Tree::Object(fields) if is_map(fields, path.is_empty()) => {
                if let Some(path) = json_path(path) {
                    *self.maps.entry(path).or_default() += fields.len();
                }
            }
            Tree::Object(fields) if path.len() < DEPTH && !is_record(fields) => {
                for (key, value) in fields {
                    path.push(key.clone());
                    self.look(value, path);
                    path.pop();
                }
            }
            Tree::Text(text) => {
                self.n_characters += text.len();
                if let (Some(_), Some(path)) = (parsed(text), json_path(path)) {
                    *self.texts.entry(path).or_default() += text.len();
                }
            }
            _ => {}
        }
    }
}

/// Whether an object has an id of its own, so that what is in it belongs to it.
fn is_record(fields: &IndexMap<String, Tree>) -> bool {
    let has = |it: &&str| matches!(fields.get(*it), Some(Tree::Number(_) | Tree::Text(_)));
    ["id", "key", "uuid", "guid"].iter().any(has)
}

/// Whether the keys are values, such as ids or dates, and the values are records. A whole body of few keys
/// is one record unless no field is named like these.
fn is_map(fields: &IndexMap<String, Tree>, is_body: bool) -> bool {
    let is_id = if is_body { ids::is_id } else { ids::may_be_id };
    have_one_shape(fields) && (fields.len() > MANY_KEYS || fields.keys().all(|it| is_id(it)))
}

/// Whether all values are objects, of which at least half of the fields are in each.
fn have_one_shape(fields: &IndexMap<String, Tree>) -> bool {
    let objects: Option<Vec<_>> = fields
        .values()
        .map(|it| match it {
            Tree::Object(fields) if !fields.is_empty() => Some(fields),
            _ => None,
        })
        .collect();
    let Some(objects) = objects.filter(|it| it.len() > 1) else { return false };
    let mut seen: IndexMap<&str, usize> = IndexMap::new();
    for key in objects.iter().flat_map(|it| it.keys()) {
        *seen.entry(key).or_default() += 1;
    }
    seen.values().filter(|it| **it == objects.len()).count() * 2 >= seen.len()
}

/// JSON in a text, if it is an array or an object.
pub(super) fn parsed(text: &str) -> Option<Tree> {
    let is_open = text.trim_start().starts_with(['{', '[']);
    let tree = is_open.then(|| Tree::parse(text.as_bytes()).ok()).flatten()?;
    matches!(tree, Tree::Array(_) | Tree::Object(_)).then_some(tree)
}

fn map(samples: &[Tree], path: &JsonPath) -> Unfolded {
    let listed = |value: &Tree| match value {
        Tree::Object(fields) => Tree::Array(fields.iter().map(keyed).collect()),
        other => other.clone(),
    };
    Unfolded {
        samples: samples.iter().map(|it| replaced(it, path.segments(), &listed)).collect(),
        path: path.clone(),
        shape: Shape::Map(path.clone()),
        others: Vec::new(),
    }
}

/// A record with its key.
fn keyed((key, value): (&String, &Tree)) -> Tree {
    let Tree::Object(fields) = value else { return value.clone() };
    let key = (JsonPath::KEY.to_owned(), Tree::Text(key.clone()));
    let fields = fields.iter().map(|(key, value)| (key.clone(), value.clone()));
    Tree::Object(std::iter::once(key).chain(fields).collect())
}

/// The largest array in a text.
fn stringified(samples: &[Tree], path: &JsonPath) -> Option<Unfolded> {
    let samples = read(samples, path);
    let inside = arrays(&samples).into_iter().filter_map(|(it, n)| Some((it.below(path)?, n)));
    let (inner, _) = inside.filter(|(_, n)| *n > 0).reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    Some(stringified_at(samples, path, inner))
}

/// What stands at `inner` in a text that is read.
fn stringified_at(samples: Vec<Tree>, path: &JsonPath, inner: JsonPath) -> Unfolded {
    let joined = path.segments().iter().chain(inner.segments()).cloned().collect();
    Unfolded {
        samples,
        path: joined,
        shape: Shape::Stringified(path.clone(), inner),
        others: Vec::new(),
    }
}

/// The samples with what is written in the text there.
fn read(samples: &[Tree], path: &JsonPath) -> Vec<Tree> {
    let read = |value: &Tree| match value {
        Tree::Text(text) => parsed(text).unwrap_or(Tree::Null),
        other => other.clone(),
    };
    samples.iter().map(|it| replaced(it, path.segments(), &read)).collect()
}

/// The value with another one at these keys.
fn replaced(value: &Tree, segments: &[String], with: &impl Fn(&Tree) -> Tree) -> Tree {
    let Some((first, rest)) = segments.split_first() else { return with(value) };
    let Tree::Object(fields) = value else { return value.clone() };
    let field = |(key, value): (&String, &Tree)| {
        let value = if key == first { replaced(value, rest, with) } else { value.clone() };
        (key.clone(), value)
    };
    Tree::Object(fields.iter().map(field).collect())
}
