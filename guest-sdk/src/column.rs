//! Columns as the WIT package lays them out, with the questions that plugins ask of them.

use crate::bindings::weir::plugin::types;
pub use types::Values;

/// The values of one name, one for each row.
#[derive(Debug)]
pub struct Column(pub(crate) types::Column);

impl Column {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Everything at once, in Arrow's layout.
    pub fn values(&self) -> &Values {
        &self.0.values
    }

    /// Whether there is a value at a row.
    pub fn is_valid(&self, row: usize) -> bool {
        self.0.validity.as_ref().is_none_or(|validity| bit(validity, row))
    }

    /// The value at a row, if there is one and it is a boolean.
    pub fn boolean(&self, row: usize) -> Option<bool> {
        match &self.0.values {
            Values::Boolean(bits) if self.is_valid(row) && row / 8 < bits.len() => Some(bit(bits, row)),
            _ => None,
        }
    }

    /// The value at a row, if there is one and it is an integer or a time (milliseconds since 1970).
    pub fn integer(&self, row: usize) -> Option<i64> {
        match &self.0.values {
            Values::Int64(values) | Values::Timestamp(values) if self.is_valid(row) => values.get(row).copied(),
            _ => None,
        }
    }

    /// The value at a row, if there is one and it is a number.
    pub fn number(&self, row: usize) -> Option<f64> {
        match &self.0.values {
            Values::Float64(values) if self.is_valid(row) => values.get(row).copied(),
            Values::Int64(values) if self.is_valid(row) => values.get(row).map(|value| *value as f64),
            _ => None,
        }
    }

    /// The value at a row, if there is one and it is text or JSON.
    pub fn text(&self, row: usize) -> Option<&str> {
        match &self.0.values {
            Values::Utf8(texts) | Values::Json(texts) if self.is_valid(row) => {
                std::str::from_utf8(slice(texts, row)?).ok()
            }
            _ => None,
        }
    }

    /// The bytes at a row, if there are any: of text, too.
    pub fn bytes(&self, row: usize) -> Option<&[u8]> {
        match &self.0.values {
            Values::Utf8(values) | Values::Binary(values) | Values::Json(values) if self.is_valid(row) => {
                slice(values, row)
            }
            _ => None,
        }
    }
}

fn bit(bits: &[u8], row: usize) -> bool {
    bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

fn slice(values: &types::Bytes, row: usize) -> Option<&[u8]> {
    let start = *values.offsets.get(row)? as usize;
    let end = *values.offsets.get(row + 1)? as usize;
    values.data.get(start..end)
}
