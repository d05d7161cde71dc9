//! One extracted column while it grows: values of the demanded type, NULL for the others.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, NullBufferBuilder, StringArray},
    buffer::{Buffer, NullBuffer, OffsetBuffer},
};

use super::{
    canonical::canonical,
    number::{double, integer},
    scan::{Span, Token},
    text::unescape,
};
use crate::program::ColumnType;

/// Bytes set aside for each text.
const TEXT_BYTES: usize = 16;

/// Grows by one value at a time. Arrow's own builders do the same, at a higher price for small batches.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Number(Vec<f64>),
    Integer(Vec<i64>),
    Boolean(BooleanBufferBuilder),
    Text(Texts),
    Json(Texts),
    Canonical(Texts),
}

impl ColumnBuilder {
    pub(crate) fn new(column_type: ColumnType, rows: usize) -> Self {
        let values = match column_type {
            ColumnType::Number => Values::Number(Vec::with_capacity(rows)),
            ColumnType::Integer => Values::Integer(Vec::with_capacity(rows)),
            ColumnType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            ColumnType::Text => Values::Text(Texts::with_capacity(rows)),
            ColumnType::Json => Values::Json(Texts::with_capacity(rows)),
            ColumnType::Canonical => Values::Canonical(Texts::with_capacity(rows)),
        };
        Self { values, nulls: NullBufferBuilder::new(rows) }
    }

    /// Appends the value at `span`, or NULL. Says whether it is of the demanded type (missing and null are of any).
    #[inline]
    pub(crate) fn append(&mut self, text: &str, span: Span) -> bool {
        if matches!(span.token, Token::Missing | Token::Null) {
            self.append_null();
            return true;
        }
        let is_appended = self.values.push(text, span);
        match is_appended {
            true => self.nulls.append_non_null(),
            false => self.append_null(),
        }
        is_appended
    }

    /// Appends NULLs until there are `length` rows.
    pub(crate) fn pad(&mut self, length: usize) {
        let Some(missing @ 1..) = length.checked_sub(self.nulls.len()) else { return };
        self.nulls.append_n_nulls(missing);
        match &mut self.values {
            Values::Number(values) => values.resize(length, 0.0),
            Values::Integer(values) => values.resize(length, 0),
            Values::Boolean(values) => values.append_n(missing, false),
            Values::Text(texts) | Values::Json(texts) | Values::Canonical(texts) => {
                let end = texts.ends.last().copied().unwrap_or(0);
                texts.ends.resize(length + 1, end);
            }
        }
    }

    pub(crate) fn append_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Number(values) => values.push(0.0),
            Values::Integer(values) => values.push(0),
            Values::Boolean(values) => values.append(false),
            Values::Text(texts) | Values::Json(texts) | Values::Canonical(texts) => texts.end_again(),
        }
    }

    pub(crate) fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.values {
            Values::Number(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Integer(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Text(texts) | Values::Json(texts) | Values::Canonical(texts) => Arc::new(texts.finish(nulls)),
        }
    }
}

impl Values {
    /// Pushes the value if it is of the column's type.
    #[inline]
    fn push(&mut self, text: &str, span: Span) -> bool {
        match (self, span.token) {
            (Self::Number(values), Token::Number) => {
                let Some(value) = double(span.of(text)) else { return false };
                values.push(value);
            }
            (Self::Integer(values), Token::Number) => {
                let Some(value) = integer(span.of(text)) else { return false };
                values.push(value);
            }
            (Self::Boolean(values), Token::True | Token::False) => values.append(span.token == Token::True),
            (Self::Text(texts), Token::String) => return texts.push(|all| all.push_str(span.inner(text))),
            (Self::Text(texts), Token::Escaped) => return texts.push(|all| unescape(span.inner(text), all)),
            (Self::Json(texts), _) => return texts.push(|all| all.push_str(span.of(text))),
            (Self::Canonical(texts), _) => return texts.push(|all| canonical(span.of(text), all)),
            _ => return false,
        }
        true
    }
}

#[derive(Debug)]
struct Texts {
    all: String,
    ends: Vec<i32>,
}

impl Texts {
    fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { all: String::with_capacity(rows * TEXT_BYTES), ends }
    }

    /// False if the column would hold more than Arrow can count, which takes payloads of gigabytes.
    #[inline]
    fn push(&mut self, write: impl FnOnce(&mut String)) -> bool {
        let before = self.all.len();
        write(&mut self.all);
        let Ok(end) = i32::try_from(self.all.len()) else {
            self.all.truncate(before);
            return false;
        };
        self.ends.push(end);
        true
    }

    fn end_again(&mut self) {
        self.ends.push(self.ends.last().copied().unwrap_or(0));
    }

    fn finish(self, nulls: Option<NullBuffer>) -> StringArray {
        let ends = OffsetBuffer::new(self.ends.into());
        StringArray::new(ends, Buffer::from_vec(self.all.into_bytes()), nulls)
    }
}
