//! One record becomes rows: its arrays are exploded one after the other, and every column looks its
//! value up by its path.

use std::collections::BTreeMap;

use tracklake::plan::{
    ColumnPlan, ColumnSource, ColumnType, ExplodeShape, JsonPath, RecordsShape, StreamPlan,
    UnknownFields, WhenEmpty,
};

use super::{
    cell::{Cell, cell, type_name},
    instant::Irregular,
    mask,
    tree::{Kind, Tree, quoted},
};

/// Where a column has its value, seen from the innermost element that it belongs to.
#[derive(Debug)]
enum Place {
    /// The same on every row.
    Context,
    /// The key of the record, or of the element, in its object map.
    Key,
    /// At this path of the record, exploded arrays counted as one key.
    Path(Vec<String>),
}

/// The columns of a stream.
#[derive(Debug)]
pub struct Columns<'p> {
    stream: &'p StreamPlan,
    /// By column: how many exploded arrays lead there, and where it is.
    places: Vec<(usize, Place)>,
    levels: Vec<&'p [String]>,
    /// Every path that something is read at.
    paths: Vec<&'p [String]>,
}

/// Why a record does not fit. Of several reasons the one that is met first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where the value ends, and the column's place among those that read it.
    order: (usize, usize),
    pub column: Option<String>,
    /// What it starts with.
    pub reason: String,
}

/// What a record gives.
#[derive(Debug, Default)]
pub struct Outcome {
    pub rows: Vec<Vec<Cell>>,
    pub misfit: Option<Misfit>,
    pub irregular: Irregular,
}

/// A row in the making.
#[derive(Debug, Clone)]
struct Row<'t, 'a> {
    cells: Vec<Cell>,
    elements: [Option<&'a Tree<'t>>; 2],
}

impl<'p> Columns<'p> {
    pub fn new(stream: &'p StreamPlan) -> Self {
        let levels: Vec<_> = stream.explode.iter().map(|it| it.path.segments()).collect();
        let places: Vec<_> = stream.columns.iter().map(|it| place(stream, &it.from)).collect();
        let columns =
            stream.columns.iter().zip(&places).filter_map(|(column, (_, place))| {
                match (&column.from, place) {
                    (ColumnSource::Record(path), Place::Path(_)) => Some(path.segments()),
                    _ => None,
                }
            });
        let paths = columns.chain(levels.iter().copied()).collect();
        Self { stream, places, levels, paths }
    }

    /// The cells of the context on every row, or why they do not fit.
    pub fn context(
        &self,
        value: impl Fn(&ColumnSource) -> serde_json::Value,
    ) -> (Vec<Cell>, Option<Misfit>, Irregular) {
        let mut cells = vec![Cell::Null; self.stream.columns.len()];
        let (mut first, mut irregular) = (None, Irregular::default());
        for (i, column) in self.stream.columns.iter().enumerate() {
            if let Place::Context = self.places[i].1 {
                let text = value(&column.from).to_string();
                let Some(tree) = Tree::read(&text) else { continue };
                match cell(column, &tree, &mut irregular) {
                    Some(cell) => cells[i] = cell,
                    None => {
                        first.get_or_insert_with(|| Misfit {
                            order: (0, 0),
                            column: Some(column.name.as_str().to_owned()),
                            reason: reason(
                                type_name(&column.kind),
                                &tree,
                                mask::hides_column(self.stream, column),
                            ),
                        });
                    }
                }
            }
        }
        (cells, first, irregular)
    }

    /// The rows of a record. Where a key that is read comes again, the canonical text of the record
    /// is read instead.
    pub fn record(&self, record: &Tree<'_>, key: Option<&str>, context: &[Cell]) -> Outcome {
        let mut walk = Walk { columns: self, misfits: Vec::new(), irregular: Irregular::default() };
        if self.repeats(record) {
            let text = record.canonical();
            let Some(canonical) = Tree::read(&text) else { return Outcome::default() };
            return walk.record(&canonical, key, context);
        }
        walk.record(record, key, context)
    }

    /// Whether a key that leads to a column comes again in its object.
    fn repeats(&self, record: &Tree<'_>) -> bool {
        fn below(columns: &Columns<'_>, tree: &Tree<'_>, path: &mut Vec<String>) -> bool {
            if let Some(level) = columns.levels.iter().position(|it| *it == path.as_slice()) {
                let mut elements = columns.all_elements(level, tree).into_iter();
                let map = columns.stream.explode[level].shape == ExplodeShape::Map;
                let twice = map && tree.members().iter().any(|(key, _)| tree.times(key) > 1);
                return twice || elements.any(|(_, it)| inside(columns, it, path));
            }
            inside(columns, tree, path)
        }

        fn inside(columns: &Columns<'_>, tree: &Tree<'_>, path: &mut Vec<String>) -> bool {
            tree.members().into_iter().any(|(key, value)| {
                path.push(key.to_owned());
                let repeats =
                    columns.leads_on(path) && (tree.times(key) > 1 || below(columns, value, path));
                path.pop();
                repeats
            })
        }

        below(self, record, &mut Vec::new())
    }

    /// Whether something is read at this path or below it.
    fn leads_on(&self, path: &[String]) -> bool {
        self.paths.iter().any(|it| it.starts_with(path))
    }

    fn has_parts(&self, path: &[String]) -> bool {
        self.paths.iter().any(|it| it.starts_with(path) && it.len() > path.len())
    }

    /// The columns that read the value at this path itself.
    fn columns_at(&self, path: &[String]) -> Vec<usize> {
        let is_here = |it: &&usize| matches!(&self.places[**it].1, Place::Path(at) if at == path);
        (0..self.places.len()).collect::<Vec<_>>().iter().filter(is_here).copied().collect()
    }

    /// Whether a json column has all that is at this path.
    fn covers(&self, path: &[String]) -> bool {
        (0..=path.len()).any(|end| {
            let columns = self.columns_at(&path[..end]);
            let all = |it: &ColumnPlan| it.kind == ColumnType::Json || it.mask.is_some();
            columns.iter().any(|it| all(&self.stream.columns[*it]))
        })
    }

    /// The elements of an exploded value, with their keys; none if it has another shape.
    fn all_elements<'t, 'a>(
        &self,
        level: usize,
        tree: &'a Tree<'t>,
    ) -> Vec<(Option<&'a str>, &'a Tree<'t>)> {
        match (self.stream.explode[level].shape, &tree.kind) {
            (ExplodeShape::Array, Kind::Array(elements)) => {
                elements.iter().map(|it| (None, it)).collect()
            }
            (ExplodeShape::Map, Kind::Object(_)) => {
                tree.members().into_iter().map(|(key, it)| (Some(key), it)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn place(stream: &StreamPlan, from: &ColumnSource) -> (usize, Place) {
    let ColumnSource::Record(path) = from else { return (0, Place::Context) };
    let path = path.segments();
    if let Some((JsonPath::KEY, map)) = path.split_last().map(|(it, rest)| (it.as_str(), rest)) {
        if stream.records.shape == RecordsShape::Map && map.is_empty() {
            return (0, Place::Key);
        }
        for (i, explode) in stream.explode.iter().enumerate() {
            if explode.shape == ExplodeShape::Map && explode.path.segments() == map {
                return (i + 1, Place::Key);
            }
        }
    }
    let level = stream.explode.iter().filter(|it| path.starts_with(it.path.segments())).count();
    (level, Place::Path(path.to_vec()))
}

/// A field that no column reads.
struct Unread<'t, 'a> {
    path: Vec<String>,
    value: &'a Tree<'t>,
}

struct Walk<'p> {
    columns: &'p Columns<'p>,
    misfits: Vec<Misfit>,
    irregular: Irregular,
}

impl Walk<'_> {
    fn record(&mut self, record: &Tree<'_>, key: Option<&str>, context: &[Cell]) -> Outcome {
        let root_is_read =
            !self.columns.columns_at(&[]).is_empty() || self.columns.levels.contains(&&[][..]);
        let mut first = Row { cells: context.to_vec(), elements: [None; 2] };
        self.key_cells(0, key, 0, &mut first.cells);
        if !record.is_object() && !root_is_read {
            self.misplaced(record, &[], "an object");
            return self.outcome(Vec::new());
        }
        self.cells(0, record, &[], &mut first.cells);
        let mut rows = vec![first];
        for level in 0..self.columns.levels.len() {
            rows = rows.into_iter().flat_map(|it| self.explode(level, record, it)).collect();
        }
        match self.columns.stream.unknown_fields {
            UnknownFields::Ignore => {}
            UnknownFields::Keep => {
                for row in &mut rows {
                    let unread = self.unread(record, Some(&row.elements));
                    row.cells.push(extra(&unread));
                }
            }
            UnknownFields::Reject => {
                for field in self.unread(record, None) {
                    self.misfits.push(Misfit {
                        order: (field.value.end(), usize::MAX),
                        column: None,
                        reason: format!("no column reads the field `{}`", field.path.join(".")),
                    });
                }
            }
        }
        self.outcome(rows.into_iter().map(|it| it.cells).collect())
    }

    fn outcome(&mut self, rows: Vec<Vec<Cell>>) -> Outcome {
        let misfit = self.misfits.iter().min_by_key(|it| it.order).cloned();
        match misfit {
            Some(misfit) => Outcome { misfit: Some(misfit), ..Outcome::default() },
            None => Outcome { rows, misfit: None, irregular: self.irregular },
        }
    }

    /// The rows of one row: one an element of its array at this level.
    fn explode<'t, 'a>(
        &mut self,
        level: usize,
        record: &'a Tree<'t>,
        row: Row<'t, 'a>,
    ) -> Vec<Row<'t, 'a>> {
        let columns = self.columns;
        let path = columns.levels[level];
        let (base, at) = match level.checked_sub(1) {
            None => (Some(record), &[][..]),
            Some(above) => (row.elements[above], columns.levels[above]),
        };
        let found = base.and_then(|it| self.find(it, at, path)).filter(|it| !it.is_null());
        let plan = &columns.stream.explode[level];
        if let Some(found) = found {
            match (plan.shape, &found.kind) {
                (ExplodeShape::Array, Kind::Array(_)) | (ExplodeShape::Map, Kind::Object(_)) => {}
                (ExplodeShape::Array, _) => self.misplaced(found, path, "an array"),
                (ExplodeShape::Map, _) => self.misplaced(found, path, "an object"),
            }
        }
        let elements = found.map(|it| columns.all_elements(level, it)).unwrap_or_default();
        if elements.is_empty() {
            return match plan.when_empty {
                WhenEmpty::Keep => vec![row],
                WhenEmpty::Drop => Vec::new(),
            };
        }
        let of_element = |(key, element): (Option<&str>, &'a Tree<'t>)| {
            let mut row = row.clone();
            row.elements[level] = Some(element);
            self.key_cells(level + 1, key, element.start(), &mut row.cells);
            self.cells(level + 1, element, path, &mut row.cells);
            row
        };
        elements.into_iter().map(of_element).collect()
    }

    fn key_cells(&mut self, level: usize, key: Option<&str>, order: usize, cells: &mut [Cell]) {
        let Some(key) = key else { return };
        let text = quoted(key);
        let Some(key) = Tree::read(&text) else { return };
        for (i, (of_level, place)) in self.columns.places.iter().enumerate() {
            if *of_level == level && matches!(place, Place::Key) {
                cells[i] = self.cell(i, &key, order);
            }
        }
    }

    /// The cells of the columns of one level, from the record or an element that stands at `at`.
    fn cells(&mut self, level: usize, base: &Tree<'_>, at: &[String], cells: &mut [Cell]) {
        for (i, (of_level, place)) in self.columns.places.iter().enumerate() {
            if let Place::Path(path) = place
                && *of_level == level
                && let Some(found) = self.find(base, at, path)
            {
                cells[i] = self.cell(i, found, found.end());
            }
        }
        // A value that is no object is out of place even where only a deeper array is read in it.
        let is_array = level == 0 && self.columns.levels.contains(&at);
        if !is_array && self.columns.has_parts(at) && !base.is_object() && !base.is_null() {
            self.misplaced(base, at, "an object");
        }
    }

    fn cell(&mut self, column: usize, value: &Tree<'_>, order: usize) -> Cell {
        let plan = &self.columns.stream.columns[column];
        cell(plan, value, &mut self.irregular).unwrap_or_else(|| {
            let is_key = matches!(self.columns.places[column].1, Place::Key);
            let expected = type_name(&plan.kind);
            self.misfits.push(Misfit {
                order: (order, column),
                column: Some(plan.name.as_str().to_owned()),
                reason: if is_key {
                    format!("expected {expected}, found ")
                } else {
                    reason(expected, value, mask::hides_column(self.columns.stream, plan))
                },
            });
            Cell::Null
        })
    }

    /// The value at a path, from one that stands at the start of that path.
    fn find<'t, 'a>(
        &mut self,
        base: &'a Tree<'t>,
        at: &[String],
        path: &[String],
    ) -> Option<&'a Tree<'t>> {
        let mut tree = base;
        for i in at.len()..path.len() {
            match &tree.kind {
                Kind::Object(_) => tree = tree.at(&path[i..=i])?,
                Kind::Null => return None,
                _ => {
                    self.misplaced(tree, &path[..i], "an object");
                    return None;
                }
            }
        }
        Some(tree)
    }

    fn misplaced(&mut self, tree: &Tree<'_>, path: &[String], wanted: &str) {
        let at = if path.is_empty() { String::new() } else { format!(" at `{}`", path.join(".")) };
        let is_hidden = mask::hides_place(self.columns.stream, path);
        self.misfits.push(Misfit {
            order: (tree.end(), usize::MAX),
            column: None,
            reason: reason(&format!("{wanted}{at}"), tree, is_hidden),
        });
    }

    /// The fields that no column reads: of one row, or of the whole record.
    fn unread<'t, 'a>(
        &self,
        record: &'a Tree<'t>,
        row: Option<&[Option<&'a Tree<'t>>; 2]>,
    ) -> Vec<Unread<'t, 'a>> {
        let mut unread = Vec::new();
        self.unread_at(&[], record, row, &mut unread);
        unread
    }

    fn unread_at<'t, 'a>(
        &self,
        path: &[String],
        tree: &'a Tree<'t>,
        row: Option<&[Option<&'a Tree<'t>>; 2]>,
        unread: &mut Vec<Unread<'t, 'a>>,
    ) {
        let columns = self.columns;
        let Some(level) = columns.levels.iter().position(|it| *it == path) else {
            return self.unread_fields(path, tree, row, unread);
        };
        let elements = match row {
            Some(elements) => elements[level].into_iter().collect(),
            None => columns.all_elements(level, tree).into_iter().map(|(_, it)| it).collect(),
        };
        let elements: Vec<&Tree<'_>> = elements;
        for element in elements {
            let read = columns.has_parts(path) || !columns.columns_at(path).is_empty();
            if element.is_object() || read {
                self.unread_fields(path, element, row, unread);
            } else if !element.is_null() && !path.is_empty() && !columns.covers(path) {
                unread.push(Unread { path: path.to_vec(), value: element });
            }
        }
    }

    fn unread_fields<'t, 'a>(
        &self,
        path: &[String],
        tree: &'a Tree<'t>,
        row: Option<&[Option<&'a Tree<'t>>; 2]>,
        unread: &mut Vec<Unread<'t, 'a>>,
    ) {
        let columns = self.columns;
        if !columns.has_parts(path) && !columns.columns_at(path).is_empty() {
            return;
        }
        // A row has the last of equal keys; a record is rejected for the first.
        let members = if row.is_some() { tree.members() } else { tree.all_members() };
        for (key, value) in members {
            let path: Vec<String> = path.iter().cloned().chain([key.to_owned()]).collect();
            if columns.leads_on(&path) {
                self.unread_at(&path, value, row, unread);
            } else if !columns.covers(&path) {
                unread.push(Unread { path, value });
            }
        }
    }
}

/// What is left of a record, each field where it was.
fn extra(unread: &[Unread<'_, '_>]) -> Cell {
    #[derive(Default)]
    struct Object(BTreeMap<String, Part>);

    enum Part {
        Field(String),
        Object(Object),
    }

    impl Object {
        fn add(&mut self, path: &[String], value: &Tree<'_>) {
            match path {
                [] => {}
                [key] => {
                    self.0.insert(key.clone(), Part::Field(value.canonical()));
                }
                [key, below @ ..] => {
                    let part = self.0.entry(key.clone());
                    if let Part::Object(part) =
                        part.or_insert_with(|| Part::Object(Self::default()))
                    {
                        part.add(below, value);
                    }
                }
            }
        }

        fn text(&self) -> String {
            let fields = self.0.iter().map(|(key, part)| match part {
                Part::Field(text) => format!("{}:{text}", quoted(key)),
                Part::Object(object) => format!("{}:{}", quoted(key), object.text()),
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }

    if unread.is_empty() {
        return Cell::Null;
    }
    let mut object = Object::default();
    for field in unread {
        object.add(&field.path, field.value);
    }
    Cell::Text(object.text())
}

/// `expected int64, found "n/a"`; the end may say why.
fn reason(expected: &str, found: &Tree<'_>, is_hidden: bool) -> String {
    let raw = found.raw;
    let found = match &found.kind {
        Kind::Object(_) => "an object".to_owned(),
        Kind::Array(_) => "an array".to_owned(),
        _ if is_hidden => "***".to_owned(),
        _ if raw.chars().count() > 60 => format!("{}…", raw.chars().take(60).collect::<String>()),
        _ => raw.to_owned(),
    };
    format!("expected {expected}, found {found}")
}
