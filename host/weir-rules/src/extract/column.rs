//! One extracted column while it grows: values of the demanded type, NULL for the others.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};

use super::{
    canonical::canonical,
    number::{double, integer},
    scan::{Span, Token},
    text::unescape,
};
use crate::program::ColumnType;

/// Bytes set aside for each text.
const TEXT_BYTES: usize = 16;

#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Number(Float64Builder),
    Integer(Int64Builder),
    Text(StringBuilder),
    Boolean(BooleanBuilder),
    Json(StringBuilder),
    Canonical(StringBuilder),
}

impl ColumnBuilder {
    pub(crate) fn new(column_type: ColumnType, rows: usize) -> Self {
        let text = || StringBuilder::with_capacity(rows, rows * TEXT_BYTES);
        match column_type {
            ColumnType::Number => Self::Number(Float64Builder::with_capacity(rows)),
            ColumnType::Integer => Self::Integer(Int64Builder::with_capacity(rows)),
            ColumnType::Text => Self::Text(text()),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Json => Self::Json(text()),
            ColumnType::Canonical => Self::Canonical(text()),
        }
    }

    /// Appends the value at `span`, or NULL. Says whether it is of the demanded type (missing and null are of any).
    #[inline]
    pub(crate) fn append(&mut self, text: &str, span: Span) -> bool {
        if matches!(span.token, Token::Missing | Token::Null) {
            self.append_null();
            return true;
        }
        match (&mut *self, span.token) {
            (Self::Number(builder), Token::Number) => {
                if let Some(value) = double(span.of(text)) {
                    builder.append_value(value);
                    return true;
                }
            }
            (Self::Integer(builder), Token::Number) => {
                if let Some(value) = integer(span.of(text)) {
                    builder.append_value(value);
                    return true;
                }
            }
            (Self::Text(builder), Token::String) => {
                builder.append_value(span.inner(text));
                return true;
            }
            (Self::Text(builder), Token::Escaped) => {
                let mut plain = String::new();
                unescape(span.inner(text), &mut plain);
                builder.append_value(&plain);
                return true;
            }
            (Self::Boolean(builder), Token::True | Token::False) => {
                builder.append_value(span.token == Token::True);
                return true;
            }
            (Self::Json(builder), _) => {
                builder.append_value(span.of(text));
                return true;
            }
            (Self::Canonical(builder), _) => {
                let mut one_form = String::new();
                canonical(span.of(text), &mut one_form);
                builder.append_value(&one_form);
                return true;
            }
            _ => {}
        }
        self.append_null();
        false
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Number(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Text(builder) | Self::Json(builder) | Self::Canonical(builder) => builder.append_null(),
        }
    }

    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) | Self::Json(mut builder) | Self::Canonical(mut builder) => {
                Arc::new(builder.finish())
            }
        }
    }
}
