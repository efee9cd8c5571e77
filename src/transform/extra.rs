//! The fields that no column reads, as one canonical JSON text a row.
//!
//! ```text
//! {"id": 1, "user": {"id": 7, "tag": "x"}, "details": [{"id": 2, "kind": "a"}, {"id": 3}], "b": 0}
//!
//! id, user.id and details.id are columns      row 0   {"b":0,"details":{"kind":"a"},"user":{"tag":"x"}}
//!                                             row 1   {"b":0,"user":{"tag":"x"}}
//! ```

use std::{borrow::Cow, cmp::Ordering};

use super::{
    canonical,
    columns::{Node, NodeId},
    json::Fault,
};

/// A field that no column reads.
#[derive(Debug)]
pub(super) struct Fragment<'t> {
    /// The object that it is a field of.
    pub(super) node: NodeId,
    pub(super) key: Cow<'t, str>,
    /// How many exploded arrays lead to it.
    pub(super) level: usize,
    /// Its value, as it is written.
    pub(super) raw: &'t str,
}

/// Appends the object that has these fields, each where it is in the record; gives the number of
/// fields that a later one replaced.
pub(super) fn compose(
    nodes: &[Node],
    fragments: &mut [&Fragment<'_>],
    out: &mut String,
) -> Result<u64, Fault> {
    fragments.sort_by(|a, b| order(nodes, a, b));
    let mut replaced = 0;
    let mut open: &[String] = &[];
    out.push('{');
    for (i, fragment) in fragments.iter().enumerate() {
        let next = fragments.get(i + 1);
        if next.is_some_and(|it| it.node == fragment.node && it.key == fragment.key) {
            replaced += 1;
            continue;
        }
        let path = &nodes[fragment.node].path;
        let shared = open.iter().zip(path).take_while(|(a, b)| a == b).count();
        (shared..open.len()).for_each(|_| out.push('}'));
        if !out.ends_with('{') {
            out.push(',');
        }
        for key in &path[shared..] {
            canonical::append_text(key, out);
            out.push_str(":{");
        }
        open = path;
        canonical::append_text(&fragment.key, out);
        out.push(':');
        replaced += append_value(fragment.raw, out)?;
    }
    (0..=open.len()).for_each(|_| out.push('}'));
    Ok(replaced)
}

/// Most values are canonical as they stand.
fn append_value(raw: &str, out: &mut String) -> Result<u64, Fault> {
    let composite = raw.starts_with(['{', '[']);
    if composite || memchr::memchr(b'\\', raw.as_bytes()).is_some() {
        return canonical::append(raw, out);
    }
    out.push_str(raw);
    Ok(0)
}

/// By path, key by key, so that the fields of one object stand together and in order.
fn order(nodes: &[Node], a: &Fragment<'_>, b: &Fragment<'_>) -> Ordering {
    if a.node == b.node {
        return a.key.cmp(&b.key);
    }
    let (path_a, path_b) = (&nodes[a.node].path, &nodes[b.node].path);
    for i in 0..=path_a.len().min(path_b.len()) {
        let key_a = path_a.get(i).map_or(&*a.key, String::as_str);
        let key_b = path_b.get(i).map_or(&*b.key, String::as_str);
        let order = key_a.cmp(key_b);
        if order.is_ne() {
            return order;
        }
    }
    path_a.len().cmp(&path_b.len())
}
