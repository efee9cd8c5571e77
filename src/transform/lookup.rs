//! Values at paths of a text, for what is needed once a page.

use serde_json::Value;

use super::json::{Fault, Parser};
use crate::plan::JsonPath;

/// The text of the value at `path`; of equal keys the last counts.
pub(super) fn find<'t>(text: &'t str, path: &[String]) -> Result<Option<&'t str>, Fault> {
    let mut parser = Parser::new(text);
    let Some((key, below)) = path.split_first() else {
        let value = parser.skip()?;
        parser.finish()?;
        return Ok(Some(value));
    };
    let mut found = None;
    members(text, |name, value| {
        if name == key {
            found = Some(value);
        }
    })?;
    match found {
        Some(value) => find(value, below),
        None => Ok(None),
    }
}

/// Shows each member of an object, and checks any value that is none.
fn members<'t>(text: &'t str, mut show: impl FnMut(&str, &'t str)) -> Result<(), Fault> {
    let mut parser = Parser::new(text);
    if parser.peek()? == b'{' {
        let mut scratch = String::new();
        let mut more = parser.open(b'}')?;
        while more {
            parser.quote()?;
            let name = parser.string()?;
            parser.colon()?;
            let value = parser.skip()?;
            show(name.read(&mut scratch), value);
            more = parser.more(b'}')?;
        }
    } else {
        parser.skip()?;
    }
    parser.finish()
}

/// A value of a page as others see it. A number that no `f64` holds is given as its text.
pub(super) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// What `text` has instead of records at `path`, for a person.
pub(super) fn instead(text: &str, path: &JsonPath) -> String {
    let mut text = text;
    let mut at = String::new();
    for (i, key) in path.segments().iter().enumerate() {
        match find(text, std::slice::from_ref(key)) {
            Ok(Some(below)) => text = below.trim(),
            _ if text.trim_start().starts_with('{') => return keys(text, &at),
            _ => break,
        }
        let walked = path.segments()[..=i].join(".");
        at = format!(" at `{walked}`");
    }
    let kind = match text.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    format!("found {kind}{at}")
}

/// ``the object has the keys `error`, `message` ``.
fn keys(text: &str, at: &str) -> String {
    const SHOWN: usize = 8;
    let mut keys = Vec::new();
    // The text was parsed before.
    let _ = members(text, |name, _| keys.push(format!("`{name:.40}`")));
    match keys.len() {
        0 => format!("the object{at} is empty"),
        1 => format!("the object{at} has the key {}", keys[0]),
        n if n <= SHOWN => format!("the object{at} has the keys {}", keys.join(", ")),
        n => {
            format!(
                "the object{at} has the keys {} and {} more",
                keys[..SHOWN].join(", "),
                n - SHOWN
            )
        }
    }
}
