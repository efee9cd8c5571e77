//! A YAML document as a tree that knows its places, and a reader that reports every mistake.
//!
//! serde stops at the first mistake. Here the mistake is noted with its place, the key that it
//! stands at is taken out of the tree, and the tree is read again, until nothing is wrong; so a
//! person sees all mistakes of a file at once.

use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::problem::{Place, Problem, suggest};

/// A value of the file and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    place: Place,
    value: NodeValue,
}

#[derive(Debug, Clone)]
enum NodeValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
struct Key {
    place: Place,
    text: String,
}

/// A step from a node to one inside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Key(String),
    Index(usize),
}

/// What could be read of a file, and what was taken out of it on the way.
pub(super) struct Reading<T> {
    /// The value without the mistaken parts; `None` if nothing useful is left.
    pub(super) value: Option<T>,
    /// Every mistake.
    pub(super) problems: Vec<Problem>,
    /// The keys that were taken out, so that nobody complains about their absence.
    pub(super) removed: HashSet<String>,
}

impl Node {
    /// Parses a YAML document.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let root: Spanned<Node> =
            serde_saphyr::from_str(text).map_err(|err| syntax_problem(&err))?;
        Ok(placed(root))
    }

    /// Reads the tree as a `T`, taking out what cannot be read.
    pub(super) fn read<T: DeserializeOwned>(mut self) -> Reading<T> {
        let mut problems = Vec::new();
        let mut removed = HashSet::new();
        let mut shrunk: Vec<Vec<Step>> = Vec::new();
        loop {
            let err = match T::deserialize(&self) {
                Ok(value) => return Reading { value: Some(value), problems, removed },
                Err(err) => err,
            };
            let steps: Vec<Step> = err.steps.iter().rev().cloned().collect();
            // A key or a choice that is missing because it was taken out has been complained about
            // already.
            let follows = match &err.kind {
                MistakeKind::Missing(field) => removed.contains(*field),
                MistakeKind::Other(_) => shrunk.contains(&steps),
                MistakeKind::UnknownKey { .. } | MistakeKind::UnknownWord { .. } => false,
            };
            if !follows {
                problems.push(err.problem(&self));
            }
            shrunk.extend(steps.split_last().map(|(_, block)| block.to_vec()));
            if let Some(Step::Key(key)) = steps.last() {
                removed.insert(key.clone());
            }
            if !self.remove(&steps) {
                return Reading { value: None, problems, removed };
            }
        }
    }

    /// A hash of everything that the document says.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // Places are part of it: a moved line is another file, which costs no more than time.
        format!("{self:?}").hash(&mut hasher);
        hasher.finish()
    }

    /// Where the value at a dotted path stands, or the closest one around it.
    pub(super) fn place_of(&self, path: &str) -> Place {
        // The value says more than its key, unless it is a whole block below it.
        match self.walk(path) {
            (place, None) => place,
            (place, Some(node)) => match node.value {
                NodeValue::Map(_) | NodeValue::List(_) => place,
                _ => node.place,
            },
        }
    }

    /// Whether a block with something in it stands at a dotted path.
    pub(super) fn has_entries(&self, path: &str) -> bool {
        let found = self.walk(path).1.map(|it| &it.value);
        matches!(found, Some(NodeValue::Map(entries)) if !entries.is_empty())
    }

    /// Where the last key of a dotted path stands.
    fn key_place_of(&self, path: &str) -> Place {
        self.walk(path).0
    }

    /// The place of the last key or item of a path that is there, and its value if that is all of
    /// the path.
    fn walk(&self, path: &str) -> (Place, Option<&Self>) {
        let mut node = self;
        let mut place = self.place;
        for key in path.split('.').filter(|it| !it.is_empty()) {
            let found = match &node.value {
                NodeValue::Map(entries) => entries
                    .iter()
                    .find(|(it, _)| it.text == key)
                    .map(|(key, value)| (key.place, value)),
                NodeValue::List(items) => key
                    .parse()
                    .ok()
                    .and_then(|i: usize| items.get(i))
                    .map(|item| (item.place, item)),
                NodeValue::Null
                | NodeValue::Bool(_)
                | NodeValue::Int(_)
                | NodeValue::Float(_)
                | NodeValue::Text(_) => None,
            };
            let Some(found) = found else { return (place, None) };
            (place, node) = found;
        }
        (place, Some(node))
    }

    fn remove(&mut self, steps: &[Step]) -> bool {
        let Some((last, parents)) = steps.split_last() else { return false };
        let Some(parent) = parents.iter().try_fold(self, Node::child) else { return false };
        match (last, &mut parent.value) {
            (Step::Key(key), NodeValue::Map(entries)) => {
                let before = entries.len();
                entries.retain(|(it, _)| it.text != *key);
                entries.len() < before
            }
            (Step::Index(i), NodeValue::List(items)) if *i < items.len() => {
                items.remove(*i);
                true
            }
            _ => false,
        }
    }

    fn child(&mut self, step: &Step) -> Option<&mut Node> {
        match (step, &mut self.value) {
            (Step::Key(key), NodeValue::Map(entries)) => {
                entries.iter_mut().find(|(it, _)| it.text == *key).map(|(_, value)| value)
            }
            (Step::Index(i), NodeValue::List(items)) => items.get_mut(*i),
            _ => None,
        }
    }

    fn describe(&self) -> de::Unexpected<'_> {
        match &self.value {
            NodeValue::Null => de::Unexpected::Unit,
            NodeValue::Bool(it) => de::Unexpected::Bool(*it),
            NodeValue::Int(it) => de::Unexpected::Signed(*it),
            NodeValue::Float(it) => de::Unexpected::Float(*it),
            NodeValue::Text(it) => de::Unexpected::Str(it),
            NodeValue::List(_) => de::Unexpected::Seq,
            NodeValue::Map(_) => de::Unexpected::Map,
        }
    }
}

fn place_of(location: serde_saphyr::Location) -> Place {
    let number = |it: u64| usize::try_from(it).unwrap_or(0);
    Place { line: number(location.line()), column: number(location.column()) }
}

fn placed(spanned: Spanned<Node>) -> Node {
    Node { place: place_of(spanned.referenced), value: spanned.value.value }
}

fn syntax_problem(err: &serde_saphyr::Error) -> Problem {
    let place = err.location().map_or(Place { line: 1, column: 1 }, place_of);
    let text = err.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("not YAML");
    // The place stands before the message already.
    let message = line.split_once(" at line ").map_or(line, |(message, _)| message).to_owned();
    Problem { place, path: String::new(), message, suggestion: None }
}

/// From serde-saphyr: the place of a node is the place of the `Spanned` around it.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNode;

        impl<'de> Visitor<'de> for AnyNode {
            type Value = NodeValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<NodeValue, E> {
                Ok(NodeValue::Null)
            }

            fn visit_none<E>(self) -> Result<NodeValue, E> {
                Ok(NodeValue::Null)
            }

            fn visit_bool<E>(self, it: bool) -> Result<NodeValue, E> {
                Ok(NodeValue::Bool(it))
            }

            fn visit_i64<E>(self, it: i64) -> Result<NodeValue, E> {
                Ok(NodeValue::Int(it))
            }

            fn visit_u64<E>(self, it: u64) -> Result<NodeValue, E> {
                Ok(i64::try_from(it)
                    .map_or_else(|_| NodeValue::Text(it.to_string()), NodeValue::Int))
            }

            fn visit_f64<E>(self, it: f64) -> Result<NodeValue, E> {
                Ok(NodeValue::Float(it))
            }

            fn visit_str<E>(self, it: &str) -> Result<NodeValue, E> {
                Ok(NodeValue::Text(it.to_owned()))
            }

            fn visit_string<E>(self, it: String) -> Result<NodeValue, E> {
                Ok(NodeValue::Text(it))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<NodeValue, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Node>>()? {
                    items.push(placed(item));
                }
                Ok(NodeValue::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeValue, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Node>>()? {
                    let key = Key { place: place_of(key.referenced), text: key.value };
                    entries.push((key, placed(value)));
                }
                Ok(NodeValue::Map(entries))
            }
        }

        let value = deserializer.deserialize_any(AnyNode)?;
        Ok(Node { place: Place { line: 0, column: 0 }, value })
    }
}

/// A mistake on its way up; each level adds the step that led to it.
#[derive(Debug)]
pub(super) struct Mistake {
    kind: MistakeKind,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum MistakeKind {
    UnknownKey { found: String, expected: &'static [&'static str] },
    UnknownWord { found: String, expected: &'static [&'static str] },
    Missing(&'static str),
    Other(String),
}

impl Mistake {
    fn under(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn problem(&self, root: &Node) -> Problem {
        let path: Vec<String> = self
            .steps
            .iter()
            .rev()
            .map(|it| match it {
                Step::Key(key) => key.clone(),
                Step::Index(i) => i.to_string(),
            })
            .collect();
        let path = path.join(".");
        let listed = |words: &[&str]| {
            words.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
        };
        let (message, suggestion) = match &self.kind {
            MistakeKind::UnknownKey { found, expected } => {
                let message =
                    format!("unknown key `{found}`, expected one of {}", listed(expected));
                (message, suggest(found, expected.iter().copied()))
            }
            MistakeKind::UnknownWord { found, expected } => {
                let message =
                    format!("unknown choice `{found}`, expected one of {}", listed(expected));
                (message, suggest(found, expected.iter().copied()))
            }
            MistakeKind::Missing(field) => (format!("the key `{field}` is missing"), None),
            MistakeKind::Other(message) => (message.clone(), None),
        };
        let place = match self.kind {
            MistakeKind::UnknownKey { .. } => root.key_place_of(&path),
            _ => root.place_of(&path),
        };
        Problem { place, path, message, suggestion }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { kind: MistakeKind::Other(message.to_string()), steps: Vec::new() }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
            de::Unexpected::Map => "a block of keys".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Str(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        let kind = MistakeKind::UnknownKey { found: found.to_owned(), expected };
        Self { kind, steps: Vec::new() }
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let kind = MistakeKind::UnknownWord { found: found.to_owned(), expected };
        Self { kind, steps: Vec::new() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { kind: MistakeKind::Missing(field), steps: Vec::new() }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::Bool(it) => visitor.visit_bool(*it),
            NodeValue::Int(it) => match u64::try_from(*it) {
                Ok(positive) => visitor.visit_u64(positive),
                Err(_) => visitor.visit_i64(*it),
            },
            NodeValue::Float(it) => visitor.visit_f64(*it),
            NodeValue::Text(it) => visitor.visit_borrowed_str(it),
            NodeValue::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            NodeValue::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.value {
            NodeValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A key with nothing below it is a block with only defaults: `parquet:` is `parquet: {}`.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.value {
            NodeValue::Null => visitor.visit_map(Entries { entries: &[], next: 0 }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.value {
            NodeValue::Text(word) => visitor.visit_enum(Choice { word, content: None }),
            NodeValue::Map(entries) if entries.len() == 1 => {
                let (key, content) = &entries[0];
                visitor.visit_enum(Choice { word: &key.text, content: Some(content) })
            }
            NodeValue::Map(entries) if entries.is_empty() => {
                Err(de::Error::custom(format!("expected one of `{}`", variants.join("`, `"))))
            }
            NodeValue::Map(entries) => {
                let found: Vec<_> =
                    entries.iter().map(|(key, _)| format!("`{}`", key.text)).collect();
                Err(de::Error::custom(format!(
                    "expected exactly one of `{}`, found {}",
                    variants.join("`, `"),
                    found.join(" and ")
                )))
            }
            _ => Err(de::Error::invalid_type(
                self.describe(),
                &format!("one of `{}`", variants.join("`, `")).as_str(),
            )),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mistake> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let step = Step::Index(self.next);
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|err| err.under(step))
    }
}

struct Entries<'de> {
    entries: &'de [(Key, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mistake> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        seed.deserialize(key.text.as_str().into_deserializer())
            .map(Some)
            .map_err(|err: Mistake| err.under(Step::Key(key.text.clone())))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mistake> {
        let (key, value) = &self.entries[self.next];
        self.next += 1;
        seed.deserialize(value).map_err(|err| err.under(Step::Key(key.text.clone())))
    }
}

/// A choice: a word alone, or a word with its settings below it.
struct Choice<'de> {
    word: &'de str,
    content: Option<&'de Node>,
}

static NO_SETTINGS: Node =
    Node { place: Place { line: 0, column: 0 }, value: NodeValue::Map(Vec::new()) };

impl<'de> de::EnumAccess<'de> for Choice<'de> {
    type Error = Mistake;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mistake> {
        let variant = seed.deserialize(self.word.into_deserializer()).map_err(|err: Mistake| {
            match self.content {
                Some(_) => err.under(Step::Key(self.word.to_owned())),
                None => err,
            }
        })?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'de> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        match self.content.map(|it| &it.value) {
            None | Some(NodeValue::Null) => Ok(()),
            Some(NodeValue::Map(entries)) if entries.is_empty() => Ok(()),
            Some(_) => {
                let message = format!("`{}` takes no settings", self.word);
                Err(<Mistake as de::Error>::custom(message).under(Step::Key(self.word.to_owned())))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mistake> {
        match self.content {
            Some(content) => {
                seed.deserialize(content).map_err(|err| err.under(Step::Key(self.word.to_owned())))
            }
            None => seed.deserialize(&NO_SETTINGS),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.content.unwrap_or(&NO_SETTINGS).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.content
            .unwrap_or(&NO_SETTINGS)
            .deserialize_any(visitor)
            .map_err(|err| err.under(Step::Key(self.word.to_owned())))
    }
}
