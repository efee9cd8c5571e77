//! The cells of a row that nothing is sorted by, as bytes that are quick to write and to read; pure.
//!
//! ```text
//! name="Ann" spent=60 note=null      0b100 | 60 | 3 0 | Ann
//!                                    nulls   fixed widths, lengths of the texts, the texts
//! ```
//!
//! The same cells are the same bytes, so that equal rows are equal memory. Bytes that compare as
//! their columns do (arrow-row) cost several times as much, which only what is sorted by is worth.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, BooleanBuilder, Date32Array,
        Date32Builder, Float64Array, Float64Builder, Int64Array, Int64Builder, RecordBatch,
        StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Schema},
    error::ArrowError,
};

/// Bytes of a text's length.
const LENGTH: usize = 4;

/// Where the cells of some columns are in a row.
#[derive(Debug)]
pub(super) struct Cells {
    places: Vec<Place>,
    /// Bytes before the texts.
    head: usize,
}

#[derive(Debug)]
struct Place {
    /// In the schema.
    column: usize,
    kind: DataType,
    /// Of the cell or, of a text, of its length.
    offset: usize,
}

impl Cells {
    /// Of these columns of a schema; of a type that no plan has, an error.
    pub(super) fn new(schema: &Schema, columns: &[usize]) -> Result<Self, ArrowError> {
        let mut head = columns.len().div_ceil(8);
        let mut places = Vec::with_capacity(columns.len());
        for &column in columns {
            let kind = schema.field(column).data_type().clone();
            let width = match &kind {
                DataType::Int64 | DataType::Float64 | DataType::Timestamp(..) => 8,
                DataType::Date32 => 4,
                DataType::Boolean => 1,
                DataType::Utf8 => LENGTH,
                other => return Err(unknown(other)),
            };
            places.push(Place { column, kind, offset: head });
            head += width;
        }
        Ok(Self { places, head })
    }

    /// The columns of a batch, ready to be written row by row.
    pub(super) fn of<'a>(&self, batch: &'a RecordBatch) -> Result<Vec<Column<'a>>, ArrowError> {
        let column = |place: &Place| {
            let array = batch.column(place.column);
            Ok(match array.data_type() {
                DataType::Utf8 => Column::Text(array.as_string()),
                DataType::Int64 => Column::Int64(array.as_primitive()),
                DataType::Timestamp(..) => Column::Instant(array.as_primitive()),
                DataType::Float64 => Column::Float64(array.as_primitive()),
                DataType::Date32 => Column::Date(array.as_primitive()),
                DataType::Boolean => Column::Boolean(array.as_boolean()),
                other => return Err(unknown(other)),
            })
        };
        self.places.iter().map(column).collect()
    }

    /// Appends the cells of a row.
    pub(super) fn append(&self, columns: &[Column<'_>], row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.head, 0);
        for (at, (column, place)) in columns.iter().zip(&self.places).enumerate() {
            if column.is_null(row) {
                out[start + at / 8] |= 1 << (at % 8);
                continue;
            }
            let cell = start + place.offset;
            let word = match column {
                Column::Text(texts) => {
                    let text = texts.value(row);
                    out.extend_from_slice(text.as_bytes());
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    out[cell..cell + LENGTH].copy_from_slice(&length.to_le_bytes());
                    continue;
                }
                Column::Date(dates) => {
                    out[cell..cell + 4].copy_from_slice(&dates.value(row).to_le_bytes());
                    continue;
                }
                Column::Boolean(flags) => {
                    out[cell] = u8::from(flags.value(row));
                    continue;
                }
                Column::Int64(numbers) => numbers.value(row).to_le_bytes(),
                Column::Instant(instants) => instants.value(row).to_le_bytes(),
                Column::Float64(numbers) => numbers.value(row).to_le_bytes(),
            };
            out[cell..cell + 8].copy_from_slice(&word);
        }
    }

    /// Compares rows column by column; null is the smallest value.
    pub(super) fn compare(&self, one: &[u8], other: &[u8]) -> Ordering {
        let (mut text_of_one, mut text_of_other) = (self.head, self.head);
        for (at, place) in self.places.iter().enumerate() {
            let is_there = |bytes: &[u8]| bytes[at / 8] >> (at % 8) & 1 == 0;
            let cells = |bytes: &[u8]| word(bytes, place.offset);
            let order = is_there(one).cmp(&is_there(other)).then_with(|| match place.kind {
                DataType::Utf8 => {
                    let one = text(one, place.offset, &mut text_of_one);
                    one.cmp(text(other, place.offset, &mut text_of_other))
                }
                DataType::Float64 => {
                    f64::from_le_bytes(cells(one)).total_cmp(&f64::from_le_bytes(cells(other)))
                }
                DataType::Date32 => date(one, place.offset).cmp(&date(other, place.offset)),
                DataType::Boolean => one[place.offset].cmp(&other[place.offset]),
                _ => i64::from_le_bytes(cells(one)).cmp(&i64::from_le_bytes(cells(other))),
            });
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }

    /// Builders of the columns, each with its position in the schema.
    pub(super) fn builders(&self) -> Builders<'_> {
        let builder = |place: &Place| match &place.kind {
            DataType::Utf8 => Builder::Text(StringBuilder::new()),
            DataType::Float64 => Builder::Float64(Float64Builder::new()),
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            DataType::Timestamp(..) => Builder::Instant(
                TimestampMicrosecondBuilder::new().with_data_type(place.kind.clone()),
            ),
            _ => Builder::Int64(Int64Builder::new()),
        };
        Builders { cells: self, builders: self.places.iter().map(builder).collect() }
    }
}

/// A column that is written.
#[derive(Debug)]
pub(super) enum Column<'a> {
    Text(&'a StringArray),
    Int64(&'a Int64Array),
    Instant(&'a TimestampMicrosecondArray),
    Float64(&'a Float64Array),
    Date(&'a Date32Array),
    Boolean(&'a BooleanArray),
}

impl Column<'_> {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(it) => it.is_null(row),
            Self::Int64(it) => it.is_null(row),
            Self::Instant(it) => it.is_null(row),
            Self::Float64(it) => it.is_null(row),
            Self::Date(it) => it.is_null(row),
            Self::Boolean(it) => it.is_null(row),
        }
    }
}

/// Makes columns of rows again.
#[derive(Debug)]
pub(super) struct Builders<'a> {
    cells: &'a Cells,
    builders: Vec<Builder>,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Int64(Int64Builder),
    Instant(TimestampMicrosecondBuilder),
    Float64(Float64Builder),
    Date(Date32Builder),
    Boolean(BooleanBuilder),
}

impl Builders<'_> {
    /// Takes a row's cells. Their texts are checked once for all columns: they may come from a file.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ArrowError> {
        let broken = || ArrowError::InvalidArgumentError("a row is not as it was written".into());
        let (head, texts) = bytes.split_at_checked(self.cells.head).ok_or_else(broken)?;
        let texts = simdutf8::basic::from_utf8(texts).map_err(|_| broken())?;
        let mut end = 0;
        for (at, (place, builder)) in self.cells.places.iter().zip(&mut self.builders).enumerate() {
            let is_null = head[at / 8] >> (at % 8) & 1 == 1;
            let offset = place.offset;
            match builder {
                Builder::Text(it) if is_null => it.append_null(),
                Builder::Text(it) => {
                    let start = end;
                    end += length(head, offset);
                    it.append_value(texts.get(start..end).ok_or_else(broken)?);
                }
                Builder::Int64(it) if is_null => it.append_null(),
                Builder::Int64(it) => it.append_value(i64::from_le_bytes(word(head, offset))),
                Builder::Instant(it) if is_null => it.append_null(),
                Builder::Instant(it) => it.append_value(i64::from_le_bytes(word(head, offset))),
                Builder::Float64(it) if is_null => it.append_null(),
                Builder::Float64(it) => it.append_value(f64::from_le_bytes(word(head, offset))),
                Builder::Date(it) if is_null => it.append_null(),
                Builder::Date(it) => it.append_value(date(head, offset)),
                Builder::Boolean(it) if is_null => it.append_null(),
                Builder::Boolean(it) => it.append_value(head[offset] == 1),
            }
        }
        Ok(())
    }

    /// The columns, with their positions in the schema; nothing is left of them here.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = (usize, ArrayRef)> {
        self.cells.places.iter().zip(&mut self.builders).map(|(place, builder)| {
            let array: ArrayRef = match builder {
                Builder::Text(it) => Arc::new(it.finish()),
                Builder::Int64(it) => Arc::new(it.finish()),
                Builder::Instant(it) => Arc::new(it.finish()),
                Builder::Float64(it) => Arc::new(it.finish()),
                Builder::Date(it) => Arc::new(it.finish()),
                Builder::Boolean(it) => Arc::new(it.finish()),
            };
            (place.column, array)
        })
    }
}

fn unknown(kind: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("rows with the type {kind}"))
}

/// Eight bytes; zeros where there are none, which a row that was written has.
fn word(bytes: &[u8], offset: usize) -> [u8; 8] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

fn date(bytes: &[u8], offset: usize) -> i32 {
    let cell = bytes.get(offset..).and_then(<[u8]>::first_chunk).copied();
    i32::from_le_bytes(cell.unwrap_or_default())
}

fn length(bytes: &[u8], offset: usize) -> usize {
    let cell = bytes.get(offset..).and_then(<[u8]>::first_chunk).copied();
    u32::from_le_bytes(cell.unwrap_or_default()) as usize
}

/// The text whose length is at `offset` and which starts at `start`; moves that to its end.
fn text<'a>(bytes: &'a [u8], offset: usize, start: &mut usize) -> &'a [u8] {
    let from = *start;
    *start += length(bytes, offset);
    bytes.get(from..*start).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, TimeUnit};
    use arrow_row::{RowConverter, SortField};
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::load::rows::ORDER;

    type Row =
        (Option<String>, Option<i64>, Option<f64>, Option<i32>, Option<bool>, Option<String>);

    fn schema() -> Arc<Schema> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let kinds = [
            DataType::Utf8,
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Boolean,
            DataType::Utf8,
            instant,
            DataType::Utf8,
            DataType::Utf8,
        ];
        let field = |(at, kind)| Field::new(format!("c{at}"), kind, true);
        Arc::new(Schema::new(kinds.into_iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    fn batch(rows: &[Row]) -> RecordBatch {
        let texts = |of: fn(&Row) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let instants: TimestampMicrosecondArray = rows.iter().map(|it| it.1).collect();
        let arrays: Vec<ArrayRef> = vec![
            texts(|it| it.0.clone()),
            Arc::new(rows.iter().map(|it| it.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|it| it.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|it| it.3).collect::<Date32Array>()),
            Arc::new(rows.iter().map(|it| it.4).collect::<BooleanArray>()),
            texts(|it| it.5.clone()),
            Arc::new(instants.with_timezone("UTC")),
            texts(|_| None),
            texts(|it| it.5.as_ref().map(|it| format!("{it}ü"))),
        ];
        RecordBatch::try_new(schema(), arrays).unwrap()
    }

    fn written(cells: &Cells, batch: &RecordBatch) -> Vec<Vec<u8>> {
        let columns = cells.of(batch).unwrap();
        let row = |at| {
            let mut bytes = Vec::new();
            cells.append(&columns, at, &mut bytes);
            bytes
        };
        (0..batch.num_rows()).map(row).collect()
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let text = || option::of("(|a|ä|[a-c]{2}|.{0,40})");
        (
            text(),
            option::of(prop_oneof![-2i64..2, any::<i64>()]),
            option::of(prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), any::<f64>()]),
            option::of(prop_oneof![-2i32..2, any::<i32>()]),
            option::of(any::<bool>()),
            text(),
        )
    }

    proptest! {
        #[test]
        fn cells_come_back_as_they_were(rows in vec(any_row(), 1..20)) {
            let batch = batch(&rows);
            let cells = Cells::new(&schema(), &[8, 1, 0, 2, 3, 5, 4, 7, 6]).unwrap();
            let mut builders = cells.builders();
            for bytes in written(&cells, &batch) {
                builders.push(&bytes).unwrap();
            }

            let found: Vec<_> = builders.finish().collect();

            prop_assert_eq!(found.len(), 9);
            for (column, array) in found {
                prop_assert_eq!(&array.to_data(), &batch.column(column).to_data());
            }
        }

        #[test]
        fn rows_compare_as_the_bytes_of_their_columns_in_order_would(rows in vec(any_row(), 2)) {
            let batch = batch(&rows);
            let fields = schema().fields().iter().map(|it| {
                SortField::new_with_options(it.data_type().clone(), ORDER)
            }).collect();
            let expected = RowConverter::new(fields).unwrap().convert_columns(batch.columns()).unwrap();
            let cells = Cells::new(&schema(), &(0..9).collect::<Vec<_>>()).unwrap();
            let found = written(&cells, &batch);

            prop_assert_eq!(cells.compare(&found[0], &found[1]), expected.row(0).cmp(&expected.row(1)));
            prop_assert_eq!(found[0] == found[1], expected.row(0) == expected.row(1));
        }
    }

    #[test]
    fn bytes_that_nothing_wrote_are_an_error() {
        let cells = Cells::new(&schema(), &[0]).unwrap();
        for bytes in
            [&[][..], &[0, 9, 0, 0, 0], &[0, 1, 0, 0, 0, 0xFF], &[0, 1, 0, 0, 0, 0xC3, 0xA4]]
        {
            assert!(cells.builders().push(bytes).is_err(), "{bytes:?}");
        }
    }
}
