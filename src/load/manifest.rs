//! What a dataset consists of, and whether a plan can go on with it.
//!
//! ```text
//! _tracklake/<pipeline>/manifests/<stream>.json    columns, partitions, files, and the run's state
//! stored      id: Int64, name: Utf8                by day of `start` in UTC
//! plan        id: Int64, name: Utf8, note: Utf8    fine: `note` is null in what stands
//!             id: Utf8                             refused: rows would have two types
//! ```

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, FieldRef, Schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    StagedFile, WriteError, extension, part::Tree, partition::Ordinal, standing::StandingFile,
    store::Store, update::Order,
};
use crate::plan::{
    DELETED_COLUMN, DestinationPlan, FormatPlan, MASK_METADATA, Name, PartitionPlan, PartitionUnit,
    StreamPlan, dataset_schema,
};

/// Of journal records and manifests.
pub(super) const VERSION: u32 = 1;

/// What a dataset consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) pipeline: String,
    pub(super) stream: String,
    pub(super) run: String,
    pub(super) rows: u64,
    /// Of these the ones that are not marked as gone; nothing where rows are not marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) living: Option<u64>,
    pub(super) partition: ManifestPartition,
    /// What identifies a row, and so the order of rows in files.
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<ManifestColumn>,
    /// How each tree is written, by its name.
    pub(super) formats: BTreeMap<String, String>,
    pub(super) files: Vec<ManifestFile>,
    /// Whatever the run wants to know the next time.
    pub(super) state: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestPartition {
    name: String,
    column: String,
    unit: String,
    zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestColumn {
    pub(super) name: String,
    pub(super) r#type: String,
    /// The kind of its mask, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mask: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub(super) path: String,
    /// The tree: `parquet`, `csv`, or [`ROWS`].
    pub(super) format: String,
    pub(super) partition: String,
    /// Of the partition: its units after that of 1970-01-01, null for rows without a value.
    number: Option<i64>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// All that is read before the rest can be understood.
#[derive(Deserialize)]
struct Versioned {
    version: serde_json::Value,
}

/// The tree of rows that no run wrote in a format that can be read back.
pub(super) const ROWS: &str = "rows";

/// The trees that a run writes; one of them is Parquet, so that the next run can merge.
pub(super) fn trees(plan: &DestinationPlan, pipeline: &Name, stream: &Name) -> Vec<Tree> {
    let mut trees: Vec<Tree> = plan
        .formats
        .iter()
        .map(|&format| Tree { format, path: tree_path(format.directory(), pipeline, stream) })
        .collect();
    if !plan.formats.contains(&FormatPlan::Parquet) {
        let path = tree_path(ROWS, pipeline, stream);
        trees.push(Tree { format: FormatPlan::Parquet, path });
    }
    trees
}

/// The directory of a tree's partitions.
pub(super) fn tree_path(name: &str, pipeline: &Name, stream: &Name) -> String {
    match name {
        ROWS => format!("_tracklake/{pipeline}/{ROWS}/{stream}"),
        _ => format!("{name}/{pipeline}/{stream}"),
    }
}

/// The name of the tree that a path lies in.
pub(super) fn tree_name(path: &str) -> &str {
    match path.split_once('/') {
        Some(("_tracklake", _)) | None => ROWS,
        Some((name, _)) => name,
    }
}

/// How the trees are written; a change means that every file has to be written anew.
pub(super) fn formats(trees: &[Tree]) -> BTreeMap<String, String> {
    let manner = |format: FormatPlan| match format {
        FormatPlan::Csv(plan) if plan.escape_formulas => {
            format!("{}, formulas escaped", extension(format))
        }
        FormatPlan::Csv(_) | FormatPlan::Parquet => extension(format).to_owned(),
    };
    trees.iter().map(|it| (tree_name(&it.path).to_owned(), manner(it.format))).collect()
}

impl ManifestPartition {
    pub(super) fn new(stream: &StreamPlan) -> Self {
        let plan = &stream.partition;
        let unit = match plan.unit {
            PartitionUnit::Hour => "hour",
            PartitionUnit::Day => "day",
            PartitionUnit::Month => "month",
            PartitionUnit::Year => "year",
        };
        Self {
            name: plan.name.to_string(),
            column: plan.column.to_string(),
            unit: unit.to_owned(),
            zone: plan.zone.to_string(),
        }
    }

    /// The column that decides.
    pub(super) fn column(&self) -> &str {
        &self.column
    }

    /// The plan that it was made of; `None` where the text is not ours.
    pub(super) fn plan(&self) -> Option<PartitionPlan> {
        let unit = match self.unit.as_str() {
            "hour" => PartitionUnit::Hour,
            "day" => PartitionUnit::Day,
            "month" => PartitionUnit::Month,
            "year" => PartitionUnit::Year,
            _ => return None,
        };
        Some(PartitionPlan {
            name: self.name.parse().ok()?,
            column: self.column.parse().ok()?,
            unit,
            zone: self.zone.parse().ok()?,
        })
    }
}

pub(super) fn columns(schema: &Schema) -> Vec<ManifestColumn> {
    let column = |it: &FieldRef| ManifestColumn {
        name: it.name().clone(),
        r#type: it.data_type().to_string(),
        mask: it.metadata().get(MASK_METADATA).cloned(),
    };
    schema.fields().iter().map(column).collect()
}

impl ManifestFile {
    pub(super) fn new(file: &StagedFile) -> Self {
        let StagedFile {
            staged: _,
            path,
            partition,
            number,
            format: _,
            rows,
            bytes,
            is_replaced: _,
            turn: _,
        } = file;
        Self {
            path: path.clone(),
            format: tree_name(path).to_owned(),
            partition: partition.clone(),
            number: *number,
            rows: *rows,
            bytes: *bytes,
        }
    }

    /// Whether it is for readers, and not only for the next run.
    pub(super) fn is_visible(&self) -> bool {
        self.format != ROWS
    }

    pub(super) fn ordinal(&self) -> Ordinal {
        Ordinal::of_number(self.number)
    }
}

impl Manifest {
    /// Of what stands; `None` where nothing was published.
    pub(super) fn read(
        store: &Store,
        pipeline: &Name,
        stream: &Name,
    ) -> Result<Option<Self>, WriteError> {
        read(store, &path(pipeline, stream))
    }

    /// Rows that are not marked as gone.
    pub(super) fn living(&self) -> u64 {
        self.living.unwrap_or(self.rows)
    }

    /// Whether rows of `stream` can be added.
    pub(super) fn check(
        &self,
        store: &Store,
        stream: &StreamPlan,
        schema: &Schema,
        trees: &[Tree],
    ) -> Result<(), WriteError> {
        let name = || stream.name.to_string();
        for format in self.formats.keys() {
            let is_written = trees.iter().any(|it| tree_name(&it.path) == format);
            let directory = format!("{format}/{}/{}", self.pipeline, self.stream);
            // Whoever has removed it does not want it any more.
            if format != ROWS && !is_written && store.has_directory(&directory)? {
                return Err(WriteError::FormatLeft {
                    stream: name(),
                    format: format.clone(),
                    directory,
                });
            }
        }
        if self.rows == 0 {
            return Ok(());
        }
        for ManifestColumn { name: column, r#type: stands, mask } in &self.columns {
            let Ok(field) = schema.field_with_name(column) else {
                if column == DELETED_COLUMN {
                    return Err(WriteError::MarksLeft { stream: name() });
                }
                return Err(WriteError::ColumnGone {
                    stream: name(),
                    column: column.clone(),
                    stands: stands.clone(),
                });
            };
            let planned = field.data_type().to_string();
            if planned != *stands {
                return Err(WriteError::ColumnType {
                    stream: name(),
                    column: column.clone(),
                    stands: stands.clone(),
                    planned,
                });
            }
            let planned = field.metadata().get(MASK_METADATA);
            if planned != mask.as_ref() {
                let told = |it: Option<&String>| match it {
                    Some(kind) => format!("masked by `{kind}`"),
                    None => "not masked".to_owned(),
                };
                return Err(WriteError::ColumnMask {
                    stream: name(),
                    column: column.clone(),
                    change: format!(
                        "{} in the dataset and {} in the pipeline",
                        told(mask.as_ref()),
                        told(planned)
                    ),
                });
            }
        }
        let planned = ManifestPartition::new(stream);
        let stands = &self.partition;
        let is_date = schema
            .field_with_name(&planned.column)
            .is_ok_and(|it| *it.data_type() == DataType::Date32);
        for (what, stands, planned) in [
            ("column", &stands.column, &planned.column),
            ("unit", &stands.unit, &planned.unit),
            ("zone", &stands.zone, &planned.zone),
            ("name", &stands.name, &planned.name),
        ] {
            // A date lies in the same partition in every zone.
            let is_same = stands == planned || (what == "zone" && is_date);
            if !is_same {
                return Err(WriteError::Partition {
                    stream: name(),
                    what,
                    stands: stands.clone(),
                    planned: planned.clone(),
                });
            }
        }
        Ok(())
    }

    /// What stands of a stream, which its plan can go on with; `None` where nothing was published.
    pub(super) fn checked(
        store: &Store,
        plan: &DestinationPlan,
        pipeline: &Name,
        stream: &StreamPlan,
    ) -> Result<Option<Self>, WriteError> {
        let manifest = Self::read(store, pipeline, &stream.name)?;
        if let Some(manifest) = &manifest {
            let trees = trees(plan, pipeline, &stream.name);
            manifest.check(store, stream, &dataset_schema(stream), &trees)?;
        }
        Ok(manifest)
    }

    /// Whether a tree is to be written that no file stands in, or in another manner than before.
    pub(super) fn has_new_format(&self, trees: &[Tree]) -> bool {
        formats(trees).iter().any(|(tree, how)| self.formats.get(tree) != Some(how))
    }

    /// Leaves the trees in which files stand, as long as the one that is read is among them.
    pub(super) fn retain_formats(&self, trees: &mut Vec<Tree>) {
        let stands = |it: &Tree| self.formats.contains_key(tree_name(&it.path));
        if trees.iter().any(|it| it.format == FormatPlan::Parquet && stands(it)) {
            trees.retain(stands);
        }
    }

    /// The files that are read, in the order of their rows.
    pub(super) fn standing(&self) -> Vec<StandingFile> {
        let tree = if self.formats.contains_key(ROWS) { ROWS } else { "parquet" };
        let mut files: Vec<&ManifestFile> =
            self.files.iter().filter(|it| it.format == tree && it.rows > 0).collect();
        // `part-10` is after `part-9`.
        files.sort_by(|a, b| {
            (a.ordinal(), a.path.len(), &a.path).cmp(&(b.ordinal(), b.path.len(), &b.path))
        });
        let file = |it: &ManifestFile| StandingFile {
            path: it.path.clone(),
            partition: it.ordinal(),
            rows: it.rows,
            bytes: it.bytes,
        };
        files.into_iter().map(file).collect()
    }

    /// In which order the rows of files are.
    pub(super) fn order(&self, stream: &StreamPlan, schema: &Schema) -> Order {
        let same_key = self.key.iter().eq(stream.key().iter().map(Name::as_str));
        // Rows without a key are in the order of all columns; a new one is null in all of them.
        let mut planned = schema.fields().iter();
        let same_columns =
            self.columns.iter().all(|it| planned.any(|field| *field.name() == it.name));
        if same_key && (same_columns || !self.key.is_empty()) { Order::Same } else { Order::Other }
    }
}

/// The manifest's place.
pub(super) fn path(pipeline: &Name, stream: impl std::fmt::Display) -> String {
    format!("_tracklake/{pipeline}/manifests/{stream}.json")
}

/// A file of ours, of our version, or `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(
    store: &Store,
    path: &str,
) -> Result<Option<T>, WriteError> {
    let Some(content) = store.read(path)? else { return Ok(None) };
    let absolute = store.absolute(path)?;
    let damaged = |source| WriteError::Damaged { path: absolute.clone(), source };
    let Versioned { version } = serde_json::from_slice(&content).map_err(damaged)?;
    if version != VERSION {
        let found = version.to_string();
        return Err(WriteError::Version { path: absolute, found, known: VERSION });
    }
    serde_json::from_slice(&content).map(Some).map_err(damaged)
}

/// The text of a file of ours.
pub(super) fn json<T: Serialize>(path: &std::path::Path, value: &T) -> Result<Vec<u8>, WriteError> {
    let mut content = serde_json::to_vec_pretty(value)
        .map_err(|source| WriteError::Damaged { path: path.to_owned(), source })?;
    content.push(b'\n');
    Ok(content)
}
