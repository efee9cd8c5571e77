//! Column buffers of our own.
//!
//! Unlike Arrow's builders they can take back the rows of a record that turns out not to fit, and
//! repeat a record's cell on each of its exploded rows. Arrow takes the finished memory as it is.
//!
//! ```text
//! record 0, one row      id [7]           details.id [1]
//! record 1, two rows     id [7, 8]        details.id [1, 2, 3]     the element cells come first
//!           complete     id [7, 8, 8]     details.id [1, 2, 3]
//! record 2, rejected     truncate(3): every column is back at three rows
//! ```

use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, NullBufferBuilder};
use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    },
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::DataType,
    error::ArrowError,
};

use super::{cell::Misfit, identity::Identity};

/// The cells of one column.
#[derive(Debug)]
pub(super) struct Buffer {
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Text { bytes: String, ends: Vec<i32> },
    Int64(Vec<i64>),
    Instant(Vec<i64>),
    Float64(Vec<f64>),
    Date(Vec<i32>),
    Boolean(BooleanBufferBuilder),
}

impl Buffer {
    /// An empty buffer for a column of one of the types that plans have,
    /// with room for as many cells and bytes of text as are likely to come.
    pub(super) fn new(kind: &DataType, rows: usize, text: usize) -> Self {
        let values = match kind {
            DataType::Int64 => Values::Int64(Vec::with_capacity(rows)),
            DataType::Timestamp(..) => Values::Instant(Vec::with_capacity(rows)),
            DataType::Float64 => Values::Float64(Vec::with_capacity(rows)),
            DataType::Date32 => Values::Date(Vec::with_capacity(rows)),
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            _ => {
                let mut ends = Vec::with_capacity(rows + 1);
                ends.push(0);
                Values::Text { bytes: String::with_capacity(text), ends }
            }
        };
        Self { values, nulls: NullBufferBuilder::new(rows) }
    }

    /// The number of cells.
    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// The bytes of all text.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    #[inline]
    pub(super) fn null(&mut self) {
        self.nulls(1);
    }

    fn nulls(&mut self, n: usize) {
        match &mut self.values {
            Values::Text { bytes, ends } => {
                let end = end_of(bytes);
                ends.extend(std::iter::repeat_n(end, n));
            }
            Values::Int64(values) | Values::Instant(values) => values.resize(values.len() + n, 0),
            Values::Float64(values) => values.resize(values.len() + n, 0.0),
            Values::Date(values) => values.resize(values.len() + n, 0),
            Values::Boolean(values) => values.append_n(n, false),
        }
        self.nulls.append_n_nulls(n);
    }

    /// Adds the text that `write` appends.
    #[inline]
    pub(super) fn text(&mut self, write: impl FnOnce(&mut String)) -> Result<(), Misfit> {
        let Values::Text { bytes, ends } = &mut self.values else { return Err(Misfit::SHAPE) };
        write(bytes);
        if i32::try_from(bytes.len()).is_err() {
            bytes.truncate(last_end(ends));
            return Err(TOO_LONG);
        }
        ends.push(end_of(bytes));
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub(super) fn int64(&mut self, value: i64) {
        if let Values::Int64(values) | Values::Instant(values) = &mut self.values {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    #[inline]
    pub(super) fn float64(&mut self, value: f64) {
        if let Values::Float64(values) = &mut self.values {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    #[inline]
    pub(super) fn date(&mut self, value: i32) {
        if let Values::Date(values) = &mut self.values {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    #[inline]
    pub(super) fn boolean(&mut self, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values.append(value);
            self.nulls.append_non_null();
        }
    }

    /// Brings the cells from row `base` on to `n`: one that is there is repeated (or, for no rows,
    /// taken back), one that is not is null.
    #[inline]
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
        if !self.nulls.is_valid(last) {
            self.nulls(n);
            return Ok(());
        }
        match &mut self.values {
            Values::Text { bytes, ends } => {
                let start = last_end(&ends[..=last]);
                let length = bytes.len() - start;
                // Checked before anything is copied: a long text on many rows is a lot of memory.
                let total = length.saturating_mul(n).saturating_add(bytes.len());
                if i32::try_from(total).is_err() {
                    return Err(TOO_LONG);
                }
                for _ in 0..n {
                    bytes.extend_from_within(start..start + length);
                    ends.push(end_of(bytes));
                }
            }
            Values::Int64(values) | Values::Instant(values) => {
                values.extend(std::iter::repeat_n(values[last], n));
            }
            Values::Float64(values) => values.extend(std::iter::repeat_n(values[last], n)),
            Values::Date(values) => values.extend(std::iter::repeat_n(values[last], n)),
            Values::Boolean(values) => values.append_n(n, values.get_bit(last)),
        }
        self.nulls.append_n_non_nulls(n);
        Ok(())
    }

    /// Takes back every cell from row `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() <= rows {
            return;
        }
        match &mut self.values {
            Values::Text { bytes, ends } => {
                ends.truncate(rows + 1);
                bytes.truncate(last_end(ends));
            }
            Values::Int64(values) | Values::Instant(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Date(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    /// Adds a cell to an identity.
    pub(super) fn identify(&self, row: usize, identity: &mut Identity) {
        if !self.nulls.is_valid(row) {
            return identity.word(0x6e75_6c6c);
        }
        match &self.values {
            Values::Text { bytes, ends } => {
                let (start, end) = (last_end(&ends[..=row]), last_end(&ends[..=row + 1]));
                identity.bytes(&bytes.as_bytes()[start..end]);
            }
            Values::Int64(values) | Values::Instant(values) => {
                identity.word(values[row].cast_unsigned());
            }
            Values::Float64(values) => identity.word(values[row].to_bits()),
            Values::Date(values) => identity.word(i64::from(values[row]).cast_unsigned()),
            Values::Boolean(values) => identity.word(u64::from(values.get_bit(row))),
        }
    }

    /// Hands the memory over to Arrow.
    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.build();
        Ok(match self.values {
            Values::Text { bytes, ends } => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(StringArray::try_new(ends, bytes.into_bytes().into(), nulls)?)
            }
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

const TOO_LONG: Misfit = Misfit::because("the texts of this page exceed 2 GiB in one column");

/// The end of all text; [`Buffer::text`] and [`Buffer::repeat`] keep it in range.
fn end_of(bytes: &str) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

fn last_end(ends: &[i32]) -> usize {
    ends.last().map_or(0, |it| usize::try_from(*it).unwrap_or_default())
}
