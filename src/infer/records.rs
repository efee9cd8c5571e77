//! Where a sample has its records.
//!
//! ```text
//! [{…}, {…}]                                  $
//! {"total": 2, "values": [{…}, {…}]}          values
//! {"_embedded": {"elements": [{…}]}}          _embedded.elements
//! {"id": 7, "summary": "…"}                   $, one record
//! {"values": [], "total": 0}                  none: the array is empty
//! ```

use indexmap::IndexMap;

use super::{InferError, paging, shape};
use crate::{plan::JsonPath, transform::Tree};

/// How deep below the root records are looked for.
const DEPTH: usize = 6;

/// The records of a sample.
#[derive(Debug)]
pub(super) struct Records<'t> {
    pub(super) path: JsonPath,
    pub(super) objects: Vec<&'t IndexMap<String, Tree>>,
    /// Whether the body is the one record.
    single: bool,
    /// Elements of the array that are no objects.
    others: usize,
    /// Other arrays of objects, and how many each has.
    alternatives: Vec<(JsonPath, usize)>,
}

impl<'t> Records<'t> {
    /// Finds the array with the most objects; of equal ones the one that comes first.
    pub(super) fn find(samples: &'t [Tree], asked: Option<&JsonPath>) -> Result<Self, InferError> {
        if let Some(path) = asked {
            let found = Self::at(samples, path);
            return if found.objects.is_empty() {
                let instead = samples.iter().map(|it| instead(at(it, path.segments()))).next();
                let instead = instead.unwrap_or_default();
                Err(InferError::NotThere { path: path.clone(), instead })
            } else {
                Ok(found)
            };
        }
        let arrays = arrays(samples);
        let mut best: Option<(&JsonPath, usize)> = None;
        for (path, n) in arrays.iter().filter(|(_, n)| **n > 0) {
            if best.is_none_or(|(_, most)| *n > most) {
                best = Some((path, *n));
            }
        }
        let has_empty = arrays.iter().any(|(_, n)| *n == 0);
        let path = match best {
            Some((path, _)) => path.clone(),
            None if has_empty && samples.iter().all(paging::is_envelope) => {
                return Err(none(samples));
            }
            None => JsonPath::default(),
        };
        let mut found = Self::at(samples, &path);
        found.alternatives = arrays.into_iter().filter(|(it, n)| *it != path && *n > 0).collect();
        if found.objects.is_empty() || found.objects.iter().all(|it| it.is_empty()) {
            return Err(none(samples));
        }
        Ok(found)
    }

    /// The objects at a path: those of an array, or the one that stands there.
    fn at(samples: &'t [Tree], path: &JsonPath) -> Self {
        let mut found = Self {
            path: path.clone(),
            objects: Vec::new(),
            single: true,
            others: 0,
            alternatives: Vec::new(),
        };
        for value in samples.iter().filter_map(|it| at(it, path.segments())) {
            match value {
                Tree::Array(elements) => {
                    found.single = false;
                    for element in elements {
                        match element {
                            Tree::Object(fields) => found.objects.push(fields),
                            _ => found.others += 1,
                        }
                    }
                }
                Tree::Object(fields) => found.objects.push(fields),
                _ => found.others += 1,
            }
        }
        found
    }

    /// What a person should know; `maps` are objects whose values could be records.
    pub(super) fn notes(&self, maps: &IndexMap<JsonPath, usize>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.single {
            notes.push("one object is one record".to_owned());
            let inside = maps.iter().filter(|(it, _)| it.below(&self.path).is_some());
            notes.extend(
                inside.take(2).map(|(path, n)| format!("or {}", shape::alternative(path, *n))),
            );
        }
        if self.others > 0 {
            notes.push(format!(
                "DECIDE: {} elements are no objects: they would be rejected",
                self.others
            ));
        }
        for (path, n) in self.alternatives.iter().take(3) {
            notes.push(format!("or `{path}`, with {n}"));
        }
        notes
    }
}

/// What stands at these keys.
pub(super) fn at<'t>(value: &'t Tree, segments: &[String]) -> Option<&'t Tree> {
    segments.iter().try_fold(value, |value, key| match value {
        Tree::Object(fields) => fields.get(key),
        _ => None,
    })
}

/// Counts the objects in each array that a path can name; arrays of other values are left out.
fn collect(value: &Tree, path: &mut Vec<String>, arrays: &mut IndexMap<JsonPath, usize>) {
    match value {
        Tree::Array(elements) => {
            let n = elements.iter().filter(|it| matches!(it, Tree::Object(_))).count();
            if (n > 0 || elements.is_empty())
                && let Some(path) = json_path(path)
            {
                *arrays.entry(path).or_default() += n;
            }
        }
        Tree::Object(fields) if path.len() < DEPTH => {
            for (key, value) in fields {
                path.push(key.clone());
                collect(value, path, arrays);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The arrays of objects in all samples, and how many objects each has.
pub(super) fn arrays(samples: &[Tree]) -> IndexMap<JsonPath, usize> {
    let mut arrays = IndexMap::new();
    for sample in samples {
        collect(sample, &mut Vec::new(), &mut arrays);
    }
    arrays
}

/// The path of these keys, if a pipeline file can write it.
pub(super) fn json_path(segments: &[String]) -> Option<JsonPath> {
    let text = if segments.is_empty() { "$".to_owned() } else { written(segments) };
    let path: JsonPath = text.parse().ok()?;
    // Of an exploded map this is the key of an element.
    let is_key = segments.last().is_some_and(|it| it == JsonPath::KEY);
    (path.segments() == segments && !is_key && path.to_string() == text).then_some(path)
}

fn written(segments: &[String]) -> String {
    let quoted = |it: &String| if it.contains('.') { format!("\"{it}\"") } else { it.clone() };
    segments.iter().map(quoted).collect::<Vec<_>>().join(".")
}

fn none(samples: &[Tree]) -> InferError {
    let instead = samples.first().map(|it| instead(Some(it))).unwrap_or_default();
    InferError::NoRecords { instead }
}

fn is_object(value: &Tree) -> bool {
    matches!(value, Tree::Object(_))
}

/// What stands there, for a person.
fn instead(value: Option<&Tree>) -> String {
    match value {
        None => "nothing is there".to_owned(),
        Some(Tree::Null) => "it is null".to_owned(),
        Some(Tree::Boolean(_)) => "it is true or false".to_owned(),
        Some(Tree::Number(_)) => "it is a number".to_owned(),
        Some(Tree::Text(_)) => "it is a text".to_owned(),
        Some(Tree::Array(elements)) if elements.is_empty() => "it is an empty array".to_owned(),
        Some(Tree::Array(elements)) if elements.iter().all(is_object) => {
            "it is an array of empty objects".to_owned()
        }
        Some(Tree::Array(elements)) if elements.iter().any(is_object) => {
            "it is an array of values and empty objects".to_owned()
        }
        Some(Tree::Array(_)) => "it is an array without objects".to_owned(),
        Some(Tree::Object(fields)) if fields.is_empty() => "it is an empty object".to_owned(),
        Some(Tree::Object(fields)) => {
            let empty =
                fields.iter().filter(|(_, it)| matches!(it, Tree::Array(it) if it.is_empty()));
            let empty: Vec<String> =
                empty.map(|(key, _)| format!("`{}`", key.escape_debug())).collect();
            let keys: Vec<String> =
                fields.keys().take(8).map(|it| format!("`{}`", it.escape_debug())).collect();
            if empty.is_empty() {
                format!("it is an object with {}", keys.join(", "))
            } else {
                format!("it is an object whose {} is empty", empty.join(", "))
            }
        }
    }
}
