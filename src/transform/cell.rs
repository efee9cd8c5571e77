//! One JSON value becomes one cell: the table of types of the design, one strategy a column.

use std::collections::BTreeMap;

use super::{
    buffer::Buffer,
    canonical,
    duration::Rules,
    instant::{self, Irregular, Written, Zone},
    json::{Fault, Scalar},
    mask::Mask,
    number::{self, Decimal, NoDecimal},
};
use crate::plan::{ColumnPlan, ColumnType, InstantFormat};

/// A value that its column does not take, and why if that is not plain from the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) Option<&'static str>);

impl Misfit {
    /// The value is not of the column's type.
    pub(super) const SHAPE: Self = Self(None);
    /// The column's type has no such value.
    pub(super) const RANGE: Self = Self::because("it is out of range");

    pub(super) const fn because(reason: &'static str) -> Self {
        Self(Some(reason))
    }
}

/// How a column reads its values.
#[derive(Debug)]
pub(super) enum Strategy {
    Text,
    Mapped(BTreeMap<String, String>),
    Int64,
    Float64,
    Boolean,
    Date,
    Instant(InstantFormat),
    Duration(Rules),
    Json,
    /// Writes something else than what it reads.
    Masked(Box<Mask>),
}

impl Strategy {
    pub(super) fn new(column: &ColumnPlan) -> Self {
        if let Some(mask) = &column.mask {
            return Self::Masked(Box::new(Mask::new(column, mask)));
        }
        match &column.kind {
            ColumnType::String => match &column.values {
                Some(values) => Self::Mapped(values.clone()),
                None => Self::Text,
            },
            ColumnType::Int64 => Self::Int64,
            ColumnType::Float64 => Self::Float64,
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Date { .. } => Self::Date,
            ColumnType::Timestamp { format, .. } => Self::Instant(*format),
            ColumnType::Duration { unit, calendar, exact } => {
                Self::Duration(Rules::new(*unit, *calendar, *exact))
            }
            ColumnType::Json => Self::Json,
        }
    }

    /// The type's name in pipeline files.
    pub(super) fn name(&self) -> &'static str {
        match self {
            // Of masks only a hash does not take every value.
            Self::Text | Self::Mapped(_) | Self::Masked(_) => "string",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Instant(_) => "timestamp",
            Self::Duration(_) => "duration",
            Self::Json => "json",
        }
    }

    /// Adds the cell of a value without parts; `written` is what an earlier column read in it.
    #[inline]
    pub(super) fn scalar(
        &self,
        scalar: &Scalar<'_>,
        buffer: &mut Buffer,
        desk: &mut Desk,
        irregular: &mut Irregular,
        written: &mut Option<Written>,
    ) -> Result<(), Misfit> {
        let Desk { zone, scratch } = desk;
        let text = match (self, scalar) {
            (_, Scalar::Null) => {
                buffer.null();
                return Ok(());
            }
            (Self::Text, Scalar::Text(text)) => return buffer.text_of(text),
            (Self::Masked(mask), Scalar::Text(text)) if mask.takes_empty() => text.read(scratch),
            (Self::Json, Scalar::Text(text)) => {
                return buffer.text(|out| canonical::append_string(*text, out));
            }
            (_, Scalar::Text(text)) => {
                let text = text.read(scratch);
                if text.is_empty() {
                    buffer.null();
                    return Ok(());
                }
                text
            }
            (_, Scalar::Number(text)) => text,
            (_, Scalar::Boolean(true)) => "true",
            (_, Scalar::Boolean(false)) => "false",
        };
        match self {
            Self::Text | Self::Json => buffer.text(|out| out.push_str(text))?,
            Self::Mapped(values) => match values.get(text) {
                Some(name) => buffer.text(|out| out.push_str(name))?,
                None => buffer.null(),
            },
            Self::Masked(mask) => mask.text(text, buffer)?,
            Self::Boolean => buffer.boolean(boolean(text, scalar)?),
            _ if matches!(scalar, Scalar::Boolean(_)) => return Err(Misfit::SHAPE),
            Self::Int64 => buffer.int64(int64(text)?),
            Self::Float64 => buffer.float64(float64(text)?),
            Self::Date => buffer.date(date(text, scalar, zone, written)?),
            Self::Instant(format) => {
                let written = match (format, scalar) {
                    (InstantFormat::Text, Scalar::Text(_)) => read(text, written)?,
                    _ => Written::Instant(instant::epoch(text, *format)?),
                };
                buffer.int64(timestamp(written, zone, irregular)?);
            }
            Self::Duration(rules) => buffer.int64(match scalar {
                Scalar::Number(number) => rules.number(number)?,
                _ => rules.text(text)?,
            }),
        }
        Ok(())
    }

    /// Adds the cell of an object or an array; `Ok(Some(…))` is the number of replaced keys.
    pub(super) fn composite(
        &self,
        raw: &str,
        buffer: &mut Buffer,
    ) -> Result<Result<u64, Misfit>, Fault> {
        match self {
            Self::Json => {}
            Self::Masked(mask) => return Ok(mask.composite(buffer).map(|()| 0)),
            _ => return Ok(Err(Misfit::SHAPE)),
        }
        let mut replaced = Ok(0);
        let added = buffer.text(|out| replaced = canonical::append(raw, out));
        let replaced = replaced?;
        Ok(added.map(|()| replaced))
    }
}

/// What a column needs at hand besides its buffer.
#[derive(Debug)]
pub(super) struct Desk {
    zone: Option<Zone>,
    scratch: String,
}

impl Desk {
    pub(super) fn new(kind: &ColumnType) -> Self {
        let zone = match kind {
            ColumnType::Date { zone } | ColumnType::Timestamp { zone, .. } => zone.map(Zone::new),
            _ => None,
        };
        Self { zone, scratch: String::new() }
    }
}

fn boolean(text: &str, scalar: &Scalar<'_>) -> Result<bool, Misfit> {
    match scalar {
        Scalar::Number(_) => Err(Misfit::SHAPE),
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Misfit::SHAPE),
    }
}

#[inline]
fn int64(text: &str) -> Result<i64, Misfit> {
    if let Some(number) = number::plain(text.as_bytes()) {
        return Ok(number);
    }
    match Decimal::parse(text) {
        Ok(number) if number.has_fraction() => Err(Misfit::because("it is not a whole number")),
        Ok(number) => number.integer().ok_or(Misfit::RANGE),
        Err(NoDecimal::Range) => Err(Misfit::RANGE),
        Err(NoDecimal::Shape) => Err(Misfit::SHAPE),
    }
}

fn float64(text: &str) -> Result<f64, Misfit> {
    // The standard parser also takes words such as `inf` and forms such as `1.`.
    if Decimal::parse(text) == Err(NoDecimal::Shape) {
        return Err(Misfit::SHAPE);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(Misfit::RANGE),
        Err(_) => Err(Misfit::SHAPE),
    }
}

fn date(
    text: &str,
    scalar: &Scalar<'_>,
    zone: &mut Option<Zone>,
    written: &mut Option<Written>,
) -> Result<i32, Misfit> {
    if matches!(scalar, Scalar::Number(_)) {
        return Err(Misfit::SHAPE);
    }
    match read(text, written)? {
        Written::Date(day) => Ok(day),
        Written::Local(local) => Ok(instant::day_of(local)),
        Written::Instant(instant) => match zone {
            Some(zone) => Ok(zone.day(instant)),
            None => Err(Misfit::because("an instant has a date only in a zone, and none is given")),
        },
    }
}

/// Reads a text once for all columns.
fn read(text: &str, written: &mut Option<Written>) -> Result<Written, Misfit> {
    match written {
        Some(written) => Ok(*written),
        None => Ok(*written.insert(instant::read(text)?)),
    }
}

fn timestamp(
    written: Written,
    zone: &mut Option<Zone>,
    irregular: &mut Irregular,
) -> Result<i64, Misfit> {
    match written {
        Written::Instant(instant) => Ok(instant),
        Written::Local(local) => match zone {
            Some(zone) => zone.instant(local, irregular),
            None => Err(Misfit::because("it has no zone, and none is given for the column")),
        },
        Written::Date(_) => Err(Misfit::because("it has no time of day")),
    }
}
