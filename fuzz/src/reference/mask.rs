//! What stands instead of values that are masked.

use chrono::Datelike as _;
use sha2::{Digest as _, Sha256};
use tracklake::plan::{
    ColumnPlan, ColumnSource, ColumnType, ExplodeShape, JsonPath, MaskConstant, MaskPlan,
    StreamPlan,
};

use super::{
    cell::Cell,
    tree::{Kind, Tree, quoted},
};

/// The cell of a value in a column that is masked; `None` if the column does not take it.
pub fn cell(column: &ColumnPlan, mask: &MaskPlan, value: &Tree<'_>) -> Option<Cell> {
    if is_nothing(column, value) {
        return Some(Cell::Null);
    }
    match (mask, &value.kind) {
        (MaskPlan::Drop, _) => Some(Cell::Null),
        (MaskPlan::Constant(constant), _) => Some(match constant {
            MaskConstant::Text(it) => Cell::Text(it.clone()),
            MaskConstant::Int64(it) => Cell::Whole(*it),
            MaskConstant::Float64(it) => Cell::Float(*it),
            MaskConstant::Boolean(it) => Cell::Boolean(*it),
            // Of 1970-01-01, counted from the first day of the year 1.
            MaskConstant::Date(it) => Cell::Day(it.num_days_from_ce() - 719_163),
            MaskConstant::Timestamp(it) => Cell::Whole(it.timestamp() * 1_000_000),
        }),
        (MaskPlan::Sha256 { .. }, Kind::Array(_) | Kind::Object(_)) => None,
        (MaskPlan::Sha256 { salt }, kind) => {
            let text = if let Kind::Text(text) = kind { text.as_str() } else { value.raw };
            let text = match &column.values {
                Some(values) => values.get(text).map(String::as_str),
                None => Some(text),
            };
            Some(text.map_or(Cell::Null, |it| Cell::Text(hash(salt.expose(), it))))
        }
    }
}

fn is_nothing(column: &ColumnPlan, value: &Tree<'_>) -> bool {
    let keeps_empty = match column.kind {
        ColumnType::String => column.values.is_none(),
        ColumnType::Json => true,
        _ => false,
    };
    match &value.kind {
        Kind::Null => true,
        Kind::Text(text) => text.is_empty() && !keeps_empty,
        _ => false,
    }
}

/// RFC 2104, word by word.
pub fn hash(salt: &str, text: &str) -> String {
    let mut key = salt.as_bytes().to_vec();
    if key.len() > 64 {
        key = Sha256::digest(&key).to_vec();
    }
    key.resize(64, 0);
    let padded = |pad: u8| key.iter().map(|it| it ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::digest([padded(0x36), text.as_bytes().to_vec()].concat());
    let outer = Sha256::digest([padded(0x5c), inner.to_vec()].concat());
    outer.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().concat()
}

/// Whether the value at a path may not be shown when it does not fit, as one that a column reads.
pub fn hides_column(stream: &StreamPlan, column: &ColumnPlan) -> bool {
    let ColumnSource::Record(read) = &column.from else { return column.mask.is_some() };
    let read = read.segments();
    sources(stream).any(|it| it.starts_with(read) || read.starts_with(it))
}

/// Whether a value that stands where another shape should be has something masked in it.
pub fn hides_place(stream: &StreamPlan, path: &[String]) -> bool {
    places(stream).iter().any(|(it, _)| it.starts_with(path))
}

fn sources(stream: &StreamPlan) -> impl Iterator<Item = &[String]> {
    stream.columns.iter().filter(|it| it.mask.is_some()).filter_map(|it| match &it.from {
        ColumnSource::Record(path) => Some(path.segments()),
        ColumnSource::Parent(_) | ColumnSource::Slice(_) => None,
    })
}

/// Where something is masked, and by which column alone, if the value is that column's.
fn places(stream: &StreamPlan) -> Vec<(&[String], Option<&ColumnPlan>)> {
    let mut places: Vec<(&[String], Option<&ColumnPlan>)> = Vec::new();
    for column in stream.columns.iter().filter(|it| it.mask.is_some()) {
        let ColumnSource::Record(path) = &column.from else { continue };
        let mut place = (path.segments(), Some(column));
        if let Some((JsonPath::KEY, map)) =
            path.segments().split_last().map(|(it, rest)| (it.as_str(), rest))
        {
            let is_record = map.is_empty()
                && matches!(stream.records.shape, tracklake::plan::RecordsShape::Map);
            if is_record {
                continue;
            }
            let is_map = stream
                .explode
                .iter()
                .any(|it| it.shape == ExplodeShape::Map && it.path.segments() == map);
            if is_map {
                place = (map, None);
            }
        }
        if stream.explode.iter().any(|it| it.path.segments() == place.0) {
            place.1 = None;
        }
        if !places.iter().any(|(it, _)| *it == place.0) {
            places.push(place);
        }
    }
    places
}

/// The text of a record without what is masked, and where something else stands.
pub fn record(stream: &StreamPlan, record: &Tree<'_>) -> (String, Vec<String>) {
    let mut masked = Vec::new();
    let places = places(stream);
    let text = if places.is_empty() {
        record.raw.to_owned()
    } else {
        text(stream, &places, record, &[], &mut masked)
    };
    (text, masked)
}

fn text(
    stream: &StreamPlan,
    places: &[(&[String], Option<&ColumnPlan>)],
    tree: &Tree<'_>,
    path: &[String],
    masked: &mut Vec<String>,
) -> String {
    if tree.is_null() || !places.iter().any(|(it, _)| it.starts_with(path)) {
        return tree.raw.to_owned();
    }
    if let Some((_, column)) = places.iter().find(|(it, _)| *it == path) {
        return instead(*column, tree, path, masked);
    }
    let explode = stream.explode.iter().find(|it| it.path.segments() == path);
    match (explode.map(|it| it.shape), &tree.kind) {
        (None, _) => inside(stream, places, tree, path, masked),
        (Some(ExplodeShape::Array), Kind::Array(elements)) => {
            let parts: Vec<_> = elements.iter().collect();
            let texts = parts.iter().map(|it| inside(stream, places, it, path, masked)).collect();
            joined(tree, &parts, texts)
        }
        (Some(ExplodeShape::Map), Kind::Object(members)) => {
            let parts: Vec<_> = members.iter().map(|(_, it)| it).collect();
            let texts = parts.iter().map(|it| inside(stream, places, it, path, masked)).collect();
            joined(tree, &parts, texts)
        }
        (Some(_), _) => instead(None, tree, path, masked),
    }
}

fn inside(
    stream: &StreamPlan,
    places: &[(&[String], Option<&ColumnPlan>)],
    tree: &Tree<'_>,
    path: &[String],
    masked: &mut Vec<String>,
) -> String {
    match &tree.kind {
        Kind::Null => tree.raw.to_owned(),
        Kind::Object(members) => {
            let parts: Vec<_> = members.iter().map(|(_, it)| it).collect();
            let texts = members.iter().map(|(key, it)| {
                let path: Vec<String> = path.iter().chain([key]).cloned().collect();
                text(stream, places, it, &path, masked)
            });
            let texts = texts.collect();
            joined(tree, &parts, texts)
        }
        _ => instead(None, tree, path, masked),
    }
}

/// The text of a value with other texts for its parts.
fn joined(tree: &Tree<'_>, parts: &[&Tree<'_>], texts: Vec<String>) -> String {
    let mut joined = String::new();
    let mut end = tree.start();
    for (part, text) in parts.iter().zip(texts) {
        joined.push_str(&tree.raw[end - tree.start()..part.start() - tree.start()]);
        joined.push_str(&text);
        end = part.end();
    }
    joined.push_str(&tree.raw[end - tree.start()..]);
    joined
}

fn instead(
    column: Option<&ColumnPlan>,
    tree: &Tree<'_>,
    path: &[String],
    masked: &mut Vec<String>,
) -> String {
    let path: JsonPath = path.iter().cloned().collect();
    if !masked.contains(&path.to_string()) {
        masked.push(path.to_string());
    }
    let Some((column, mask)) = column.and_then(|it| Some((it, it.mask.as_ref()?))) else {
        return quoted("***");
    };
    if is_nothing(column, tree) {
        return "null".to_owned();
    }
    match (mask, cell(column, mask, tree)) {
        (_, None) => quoted("***"),
        (_, Some(Cell::Null)) => "null".to_owned(),
        (MaskPlan::Constant(MaskConstant::Date(it)), _) => quoted(&it.to_string()),
        (MaskPlan::Constant(MaskConstant::Timestamp(it)), _) => quoted(&it.to_rfc3339()),
        (_, Some(Cell::Text(text))) if column.kind == ColumnType::Json => text,
        (_, Some(Cell::Text(text))) => quoted(&text),
        (_, Some(Cell::Whole(it))) => it.to_string(),
        (_, Some(Cell::Float(it))) => serde_json::Value::from(it).to_string(),
        (_, Some(Cell::Boolean(it))) => it.to_string(),
        (_, Some(Cell::Day(_))) => unreachable!("a constant date, which is above"),
    }
}
