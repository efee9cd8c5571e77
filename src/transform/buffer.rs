//! Column buffers of our own.
//!
//! Unlike Arrow's builders they can take back the rows of a record that turns out not to fit, and
//! repeat a record's cell on each of its exploded rows. Arrow takes finished numbers as they are.
//! A text is only a place until the page ends, in the page or, if it is not there as it is, beside
//! it; then each is copied once, by a builder of Arrow, which need not check it for UTF-8 again.
//!
//! ```text
//! record 0, one row      id [7]           details.id [1]
//! record 1, two rows     id [7, 8]        details.id [1, 2, 3]     the element cells come first
//!           complete     id [7, 8, 8]     details.id [1, 2, 3]
//! record 2, rejected     truncate(3): every column is back at three rows
//! ```

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Float64Array, Int64Array,
        TimestampMicrosecondArray,
    },
    buffer::NullBuffer,
    datatypes::DataType,
    error::ArrowError,
};

use super::{
    cell::Misfit,
    identity::Identity,
    json::Text,
    texts::{Place, Texts},
};

/// The cells of one column.
#[derive(Debug)]
pub(super) struct Buffer {
    values: Values,
    /// The rows that are null, in order; texts know it themselves.
    nulls: Vec<usize>,
}

#[derive(Debug)]
enum Values {
    Text(Texts),
    Int64(Vec<i64>),
    Instant(Vec<i64>),
    Float64(Vec<f64>),
    Date(Vec<i32>),
    Boolean(BooleanBufferBuilder),
}

impl Buffer {
    /// An empty buffer for a column of one of the types that plans have,
    /// with room for as many cells and bytes of text beside the page as are likely to come.
    pub(super) fn new(kind: &DataType, rows: usize, text: usize) -> Self {
        let values = match kind {
            DataType::Int64 => Values::Int64(Vec::with_capacity(rows)),
            DataType::Timestamp(..) => Values::Instant(Vec::with_capacity(rows)),
            DataType::Float64 => Values::Float64(Vec::with_capacity(rows)),
            DataType::Date32 => Values::Date(Vec::with_capacity(rows)),
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            _ => Values::Text(Texts::new(rows, text)),
        };
        Self { values, nulls: Vec::new() }
    }

    /// The number of cells.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Text(texts) => texts.len(),
            Values::Int64(values) | Values::Instant(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Date(values) => values.len(),
            Values::Boolean(values) => values.len(),
        }
    }

    /// The bytes of text beside the page.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text(texts) => texts.beside(),
            _ => 0,
        }
    }

    #[inline]
    pub(super) fn null(&mut self) {
        self.nulls(1);
    }

    fn nulls(&mut self, n: usize) {
        let rows = self.len();
        match &mut self.values {
            Values::Text(texts) => return texts.nulls(n),
            Values::Int64(values) | Values::Instant(values) => values.resize(rows + n, 0),
            Values::Float64(values) => values.resize(rows + n, 0.0),
            Values::Date(values) => values.resize(rows + n, 0),
            Values::Boolean(values) => values.append_n(n, false),
        }
        self.nulls.extend(rows..rows + n);
    }

    /// Adds a text, as its place if it stands in the page as it is.
    #[inline]
    pub(super) fn text_of(&mut self, text: &Text<'_>) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Text(texts) => {
                if !text.escaped
                    && let Some(place) = Place::new(text.at, text.raw.len())
                {
                    return texts.push(place);
                }
                texts.copy(text)
            }
            _ => Err(Misfit::SHAPE),
        }
    }

    /// Adds the text that `write` appends.
    pub(super) fn text(&mut self, write: impl FnOnce(&mut String)) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Text(texts) => texts.write(write),
            _ => Err(Misfit::SHAPE),
        }
    }

    #[inline]
    pub(super) fn int64(&mut self, value: i64) {
        if let Values::Int64(values) | Values::Instant(values) = &mut self.values {
            values.push(value);
        }
    }

    #[inline]
    pub(super) fn float64(&mut self, value: f64) {
        if let Values::Float64(values) = &mut self.values {
            values.push(value);
        }
    }

    #[inline]
    pub(super) fn date(&mut self, value: i32) {
        if let Values::Date(values) = &mut self.values {
            values.push(value);
        }
    }

    #[inline]
    pub(super) fn boolean(&mut self, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values.append(value);
        }
    }

    /// Brings the cells from row `base` on to `n`: one that is there is repeated (or, for no rows,
    /// taken back), one that is not is null.
    pub(super) fn complete(&mut self, base: usize, n: usize) -> Result<(), Misfit> {
        let there = self.len() > base;
        match n {
            0 => {
                self.truncate(base);
                Ok(())
            }
            1 if there => Ok(()),
            _ if there => self.repeat(n - 1),
            _ => {
                self.nulls(n);
                Ok(())
            }
        }
    }

    /// Repeats the last cell `n` times.
    fn repeat(&mut self, n: usize) -> Result<(), Misfit> {
        let Some(last) = self.len().checked_sub(1) else { return Ok(()) };
        if self.is_null(last) {
            self.nulls(n);
            return Ok(());
        }
        match &mut self.values {
            Values::Text(texts) => return texts.repeat(n),
            Values::Int64(values) | Values::Instant(values) => {
                values.extend(std::iter::repeat_n(values[last], n));
            }
            Values::Float64(values) => values.extend(std::iter::repeat_n(values[last], n)),
            Values::Date(values) => values.extend(std::iter::repeat_n(values[last], n)),
            Values::Boolean(values) => values.append_n(n, values.get_bit(last)),
        }
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Text(texts) => texts.is_null(row),
            // Mostly it is one of the last.
            _ => self.nulls.iter().rev().take_while(|it| **it >= row).any(|it| *it == row),
        }
    }

    /// Takes back every cell from row `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() <= rows {
            return;
        }
        match &mut self.values {
            Values::Text(texts) => return texts.truncate(rows),
            Values::Int64(values) | Values::Instant(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Date(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
        }
        while self.nulls.last().is_some_and(|it| *it >= rows) {
            self.nulls.pop();
        }
    }

    /// Adds a cell to an identity.
    pub(super) fn identify(&self, row: usize, page: &str, identity: &mut Identity) {
        if self.is_null(row) {
            return identity.word(0x6e75_6c6c);
        }
        match &self.values {
            Values::Text(texts) => identity.bytes(texts.text(row, page).unwrap_or("").as_bytes()),
            Values::Int64(values) | Values::Instant(values) => {
                identity.word(values[row].cast_unsigned());
            }
            Values::Float64(values) => identity.word(values[row].to_bits()),
            Values::Date(values) => identity.word(i64::from(values[row]).cast_unsigned()),
            Values::Boolean(values) => identity.word(u64::from(values.get_bit(row))),
        }
    }

    /// Hands the memory over to Arrow.
    pub(super) fn finish(self, page: &str) -> Result<ArrayRef, ArrowError> {
        let nulls = valid(self.len(), &self.nulls);
        Ok(match self.values {
            Values::Text(texts) => Arc::new(texts.finish(page)),
            Values::Int64(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::Instant(values) => Arc::new(
                TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"),
            ),
            Values::Float64(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Date(values) => Arc::new(Date32Array::try_new(values.into(), nulls)?),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.build(), nulls)),
        })
    }
}

/// Which of so many rows are valid; `None` if all of them are.
fn valid(rows: usize, nulls: &[usize]) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut valid = BooleanBufferBuilder::new(rows);
    valid.append_n(rows, true);
    for row in nulls {
        valid.set_bit(*row, false);
    }
    Some(NullBuffer::new(valid.finish()))
}
