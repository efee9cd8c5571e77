//! Bloom filters of key columns: which row groups cannot have any of a few values.
//!
//! ```text
//! statistics    id 17..9041      41 may be among them
//! filter        41: no           the row group is not read
//! ```
//!
//! With every value that is looked for a filter's small chance to be wrong adds up: for many values
//! the column itself is read.

use std::collections::BTreeSet;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use arrow_row::{RowConverter, SortField};
use parquet::{
    bloom_filter::Sbbf,
    errors::ParquetError,
    file::{metadata::ColumnChunkMetaData, reader::ChunkReader},
};

use super::rows::ORDER;

/// How many values are looked for, at most.
const LIMIT: usize = 32;

/// A few values of a column, each in the bytes that compare as it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    encoded: BTreeSet<Box<[u8]>>,
    is_over: bool,
}

impl Values {
    /// Takes a value.
    pub(super) fn push(&mut self, encoded: &[u8]) {
        if self.is_over || self.encoded.contains(encoded) {
            return;
        }
        self.encoded.insert(encoded.into());
        if self.encoded.len() > LIMIT {
            self.is_over = true;
            self.encoded.clear();
        }
    }

    /// The values, unless they are too many or filters know nothing of this type.
    pub(super) fn decode(&self, kind: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
        let has_filters = matches!(
            kind,
            DataType::Utf8 | DataType::Int64 | DataType::Timestamp(..) | DataType::Date32
        );
        if self.is_over || !has_filters {
            return Ok(None);
        }
        let converter = RowConverter::new(vec![SortField::new_with_options(kind.clone(), ORDER)])?;
        let parser = converter.parser();
        let arrays = converter.convert_rows(self.encoded.iter().map(|it| parser.parse(it)))?;
        Ok(arrays.into_iter().next())
    }
}

/// Whether a column of a row group may have one of the values; null may be anywhere.
pub(super) fn may_have(
    file: &impl ChunkReader,
    column: &ColumnChunkMetaData,
    values: &ArrayRef,
) -> Result<bool, ParquetError> {
    let Some(filter) = Sbbf::read_from_column_chunk(column, file)? else { return Ok(true) };
    Ok(values.null_count() > 0 || (0..values.len()).any(|at| may_have_value(&filter, values, at)))
}

fn may_have_value(filter: &Sbbf, values: &ArrayRef, at: usize) -> bool {
    match values.data_type() {
        DataType::Utf8 => filter.check(values.as_string::<i32>().value(at)),
        DataType::Int64 => filter.check(&values.as_primitive::<Int64Type>().value(at)),
        DataType::Timestamp(..) => {
            filter.check(&values.as_primitive::<TimestampMicrosecondType>().value(at))
        }
        DataType::Date32 => filter.check(&values.as_primitive::<Date32Type>().value(at)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    fn encoded(values: &[Option<&str>]) -> Values {
        let converter = RowConverter::new(vec![SortField::new_with_options(DataType::Utf8, ORDER)]);
        let array: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let rows = converter.unwrap().convert_columns(&[array]).unwrap();
        let mut values = Values::default();
        rows.iter().for_each(|row| values.push(row.data()));
        values
    }

    #[test]
    fn a_few_values_come_back_and_many_do_not() {
        let few = encoded(&[Some("b"), None, Some("a"), Some("b")]);
        let found = few.decode(&DataType::Utf8).unwrap().unwrap();
        assert_eq!(found.as_string::<i32>(), &StringArray::from(vec![None, Some("a"), Some("b")]));

        let many: Vec<String> = (0..=LIMIT).map(|it| it.to_string()).collect();
        let many: Vec<Option<&str>> = many.iter().map(|it| Some(it.as_str())).collect();
        assert!(encoded(&many[..LIMIT]).decode(&DataType::Utf8).unwrap().is_some());
        assert!(encoded(&many).decode(&DataType::Utf8).unwrap().is_none());
    }
}
