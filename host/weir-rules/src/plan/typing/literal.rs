//! Literals: numbers, texts, times, intervals, lists.

use arrow::{compute::kernels::cast_utils::parse_interval_month_day_nano, datatypes::DataType};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, lit};
use sqlparser::ast::{self, Value, ValueWithSpan};
use weir_core::seams::SqlError;

use super::{MAX_EXACT, Typing, cast_to, null_literal, unify::Undecided};
use crate::{
    error::Hint,
    functions,
    plan::operand::{Kind, Typed},
};

impl Typing<'_> {
    pub(super) fn value(&self, value: &ValueWithSpan) -> Result<Typed, SqlError> {
        match &value.value {
            Value::Number(number, _) => self.number(&number.to_string(), value),
            Value::SingleQuotedString(text) => Ok(Typed::new(lit(text.as_str()), DataType::Utf8)),
            Value::Boolean(boolean) => Ok(Typed::boolean(lit(*boolean))),
            Value::Null => Ok(null_literal()),
            Value::Placeholder(name) => {
                let error = self.source.error(value.span.start, format!("{name} is a placeholder without a value"));
                Err(error.hint("write the value itself"))
            }
            other => {
                let error = self.source.error(value.span.start, format!("{other} is not a form of text that is known"));
                Err(error.hint("write texts in single quotes"))
            }
        }
    }

    /// Whole numbers are Int64, others Float64.
    pub(super) fn number(&self, text: &str, value: &ValueWithSpan) -> Result<Typed, SqlError> {
        if let Ok(integer) = text.parse::<i64>() {
            return Ok(Typed::new(lit(integer), DataType::Int64));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            let error = self.source.error(value.span.start, format!("{text} does not fit into a bigint"));
            return Err(error.hint(format!("write {text}.0 for a number that is not exact")));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Typed::new(lit(number), DataType::Float64)),
            _ => Err(self.source.error(value.span.start, format!("{text} is not a number that can be held"))),
        }
    }

    pub(super) fn typed_string(&mut self, typed: &ast::TypedString) -> Result<Typed, SqlError> {
        let value = self.value(&typed.value)?;
        let data_type = self.data_type(&typed.data_type, typed.value.span.start)?;
        self.literal_as(value, &data_type, typed.value.span.start)
    }

    /// A literal as another type, checked now.
    pub(super) fn literal_as(
        &self,
        value: Typed,
        data_type: &DataType,
        place: sqlparser::tokenizer::Location,
    ) -> Result<Typed, SqlError> {
        let written = match &value.expr {
            Expr::Literal(scalar, _) => scalar.to_string(),
            other => other.to_string(),
        };
        match cast_to(value, data_type) {
            Expr::Literal(scalar, _) if !scalar.is_null() => {
                Ok(Typed::new(Expr::Literal(scalar, None), data_type.clone()))
            }
            _ => {
                let kind = Kind::of(data_type);
                let error = self.source.error(place, format!("'{written}' is not {}", kind.describe()));
                Err(if kind == Kind::Time { error.hint("such as '2026-01-31T12:00:00Z'") } else { error })
            }
        }
    }

    pub(super) fn interval(&self, interval: &ast::Interval) -> Result<Typed, SqlError> {
        const FORM: &str = "write INTERVAL '5 minutes'";
        let number = match interval.value.as_ref() {
            ast::Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
            ast::Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.to_string(),
            other => return Err(self.error(other, "an interval is a text in single quotes").hint(FORM)),
        };
        let text = match &interval.leading_field {
            Some(field) => format!("{number} {field}"),
            None => number,
        };
        match parse_interval_month_day_nano(&text) {
            Ok(value) => {
                let scalar = ScalarValue::IntervalMonthDayNano(Some(value));
                let data_type = scalar.data_type();
                Ok(Typed::new(Expr::Literal(scalar, None), data_type))
            }
            Err(_) => Err(self.error(&interval.value, format!("'{text}' is not an interval")).hint(FORM)),
        }
    }

    /// `[a, b]`: elements of one type.
    pub(super) fn array(&mut self, array: &ast::Array, expr: &ast::Expr) -> Result<Typed, SqlError> {
        let elements: Vec<&ast::Expr> = array.elem.iter().collect();
        let elements = self.unify(&elements, Undecided::Refuse, expr)?;
        match functions::scalar("make_array") {
            Some(make_array) => self.scalar_call(&make_array, elements, expr),
            None => Err(self.unsupported(expr)),
        }
    }
}

/// A whole number that Float64 cannot hold exactly.
pub(super) fn beyond_exact(typed: &Typed) -> Option<i64> {
    match &typed.expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) if value.unsigned_abs() > MAX_EXACT => Some(*value),
        _ => None,
    }
}
