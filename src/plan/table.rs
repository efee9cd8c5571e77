//! A stream as readers of its files see it.

use arrow::datatypes::DataType;

use super::{
    Calendar, ColumnPlan, ColumnType, DESCRIPTION, Deletes, Name, PartitionPlan, UnknownFields,
    column::{field_id, schema_of},
};

/// What readers see of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePlan {
    /// Its directory.
    pub name: Name,
    /// For people.
    pub description: Option<String>,
    /// The columns that are in the files, in their order.
    pub columns: Vec<TableColumn>,
    /// The column that is only in the paths.
    pub partition: PartitionPlan,
    /// Whether rows that the source no longer has are among the others.
    pub deletes: Deletes,
}

/// A column of every file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its field id in Parquet.
    pub id: u32,
    /// How it is stored.
    pub kind: DataType,
    /// Its description and its unit.
    pub comment: Option<String>,
}

impl TablePlan {
    /// Adds the columns that nobody declares to the declared ones.
    pub fn new(
        name: Name,
        description: Option<String>,
        declared: &[ColumnPlan],
        unknown_fields: UnknownFields,
        partition: PartitionPlan,
        deletes: Deletes,
    ) -> Self {
        let schema = schema_of(declared, unknown_fields, deletes);
        let units = declared.iter().map(|it| unit(&it.kind)).chain(std::iter::repeat(None));
        let columns = schema.fields().iter().zip(units).map(|(field, unit)| {
            let description = field.metadata().get(DESCRIPTION).map(String::as_str);
            let parts: Vec<&str> = description.into_iter().chain(unit).collect();
            TableColumn {
                name: field.name().clone(),
                id: field_id(field.name()),
                kind: field.data_type().clone(),
                comment: (!parts.is_empty()).then(|| parts.join("; ")),
            }
        });
        Self { name, description, columns: columns.collect(), partition, deletes }
    }
}

/// What a number or a text is, where its type does not say it.
fn unit(kind: &ColumnType) -> Option<&'static str> {
    match kind {
        ColumnType::Duration { calendar, .. } if *calendar == Calendar::ABSOLUTE => {
            Some("in seconds")
        }
        ColumnType::Duration { .. } => Some("in seconds of working time"),
        ColumnType::Json => Some("as JSON"),
        ColumnType::String
        | ColumnType::Int64
        | ColumnType::Float64
        | ColumnType::Boolean
        | ColumnType::Date { .. }
        | ColumnType::Timestamp { .. } => None,
    }
}
