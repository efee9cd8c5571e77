//! JSON text as a tree that forgets nothing: the text of every value, and every one of equal keys.
//!
//! `serde_json` checks the grammar and finds the parts; each part is parsed again for its own parts,
//! which is slow and has no recursion in it that a page could exhaust.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// How deep arrays and objects may be nested.
const MAX_DEPTH: u32 = 128;

/// A value, with its text.
#[derive(Debug)]
pub struct Tree<'t> {
    pub raw: &'t str,
    pub kind: Kind<'t>,
}

#[derive(Debug)]
pub enum Kind<'t> {
    Null,
    Boolean(bool),
    Number,
    Text(String),
    Array(Vec<Tree<'t>>),
    Object(Vec<(String, Tree<'t>)>),
}

/// The members of one object as they stand there.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Each).map(Self)
    }
}

impl<'t> Tree<'t> {
    /// Reads a text; [`fault`] says what is wrong with one that is none.
    pub fn read(text: &'t str) -> Option<Self> {
        if fault(text).is_some() {
            return None;
        }
        let whole: &RawValue = serde_json::from_str(text).ok()?;
        Self::parts(whole.get()).ok()
    }

    fn parts(raw: &'t str) -> serde_json::Result<Self> {
        let kind = match raw.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(raw)?;
                let members = members.into_iter();
                Kind::Object(
                    members
                        .map(|(key, value)| Ok((key, Self::parts(value.get())?)))
                        .collect::<serde_json::Result<_>>()?,
                )
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(raw)?;
                let elements = elements.into_iter().map(|it| Self::parts(it.get()));
                Kind::Array(elements.collect::<serde_json::Result<_>>()?)
            }
            Some(b'"') => Kind::Text(serde_json::from_str(raw)?),
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Boolean(raw == "true"),
            _ => Kind::Number,
        };
        Ok(Self { raw, kind })
    }

    /// The members, of equal keys the last; none if this is no object.
    pub fn members(&self) -> Vec<(&str, &Self)> {
        let Kind::Object(members) = &self.kind else { return Vec::new() };
        let last = |(i, (key, _)): &(usize, &(String, Self))| {
            members[i + 1..].iter().all(|(other, _)| other != key)
        };
        let kept = members.iter().enumerate().filter(last);
        kept.map(|(_, (key, value))| (key.as_str(), value)).collect()
    }

    /// The members, every one of equal keys; none if this is no object.
    pub fn all_members(&self) -> Vec<(&str, &Self)> {
        let Kind::Object(members) = &self.kind else { return Vec::new() };
        members.iter().map(|(key, value)| (key.as_str(), value)).collect()
    }

    /// How often an object has a key.
    pub fn times(&self, key: &str) -> usize {
        let Kind::Object(members) = &self.kind else { return 0 };
        members.iter().filter(|(it, _)| it == key).count()
    }

    /// The value at a path through objects.
    pub fn at(&self, path: &[String]) -> Option<&Self> {
        let Some((key, below)) = path.split_first() else { return Some(self) };
        let found = self.members().into_iter().find(|(it, _)| it == key);
        found?.1.at(below)
    }

    pub fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// Where the text ends, as an order among the values of one text.
    pub fn end(&self) -> usize {
        self.start() + self.raw.len()
    }

    /// Where the text starts, as an order among the values of one text.
    pub fn start(&self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// Sorted keys, the last of equal ones, numbers as they are, no space.
    pub fn canonical(&self) -> String {
        match &self.kind {
            Kind::Null | Kind::Boolean(_) | Kind::Number => self.raw.to_owned(),
            Kind::Text(text) => quoted(text),
            Kind::Array(elements) => {
                let elements: Vec<String> = elements.iter().map(Self::canonical).collect();
                format!("[{}]", elements.join(","))
            }
            Kind::Object(_) => {
                let members: BTreeMap<&str, &Self> = self.members().into_iter().collect();
                let members =
                    members.iter().map(|(key, it)| format!("{}:{}", quoted(key), it.canonical()));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// How many keys come again, anywhere.
    pub fn duplicates(&self) -> u64 {
        match &self.kind {
            Kind::Null | Kind::Boolean(_) | Kind::Number | Kind::Text(_) => 0,
            Kind::Array(elements) => elements.iter().map(Self::duplicates).sum(),
            Kind::Object(members) => {
                let own = members.len() - self.members().len();
                own as u64 + members.iter().map(|(_, it)| it.duplicates()).sum::<u64>()
            }
        }
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The first thing that is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bracket at this byte opens a level too many.
    TooDeep(usize),
    /// Somewhere from the first to the last of these bytes.
    Syntax(usize, usize),
}

/// What is wrong with a text, if it is not JSON.
///
/// `serde_json` has its own idea of where a mistake is, skips strings without reading their
/// surrogates and has no limit of depth while it skips: what comes before is looked through here.
pub fn fault(text: &str) -> Option<Fault> {
    /// A mistake may be reported at the start or at the end of a word.
    const SLACK: usize = 6;

    let error = serde_json::from_str::<IgnoredAny>(text).err();
    let end = error.as_ref().map_or(text.len(), |it| {
        let lines = text.split_inclusive('\n').take(it.line() - 1);
        (lines.map(str::len).sum::<usize>() + it.column()).min(text.len())
    });
    // The last byte is the wrong one, unless it is one that is missing.
    let good = if error.as_ref().is_some_and(|it| !it.is_eof()) { end.max(1) - 1 } else { end };
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < good {
        match bytes[at] {
            b'"' => {
                let closing = closing_quote(bytes, at + 1);
                let Some(closing) = closing.filter(|it| *it < good) else {
                    return Some(Fault::Syntax(at, end));
                };
                if serde_json::from_str::<String>(&text[at..=closing]).is_err() {
                    return Some(Fault::Syntax(at, closing));
                }
                at = closing;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(Fault::TooDeep(at));
                }
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    error.map(|_| Fault::Syntax(end.saturating_sub(SLACK), end))
}

fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    while *bytes.get(at)? != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some(at)
}
