//! What a filter of DataFusion says of messages' envelopes, where files can be left out for it.

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
};
use weir_core::{Offset, Timestamp};
use weir_rules::program::{EnvelopeColumn, Input};

use crate::read::Wanted;

/// The columns that a filter is about.
pub(crate) struct Envelopes<'a> {
    pub(crate) inputs: &'a [Input],
    /// A column for each input.
    pub(crate) schema: &'a SchemaRef,
}

impl Envelopes<'_> {
    /// Narrows what is wanted by a filter that all wanted messages pass. False: it says nothing that files know.
    pub(crate) fn narrow(&self, filter: &Expr, wanted: &mut Wanted) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                // Each side holds by itself.
                let left = self.narrow(left, wanted);
                self.narrow(right, wanted) || left
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => match self.alternatives(filter) {
                Some((column, values)) => allow(column, values, wanted),
                None => false,
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (self.column(left), self.column(right)) {
                (Some(column), None) => compared(column, *op, right, wanted),
                (None, Some(column)) => op.swap().is_some_and(|op| compared(column, op, left, wanted)),
                _ => false,
            },
            Expr::InList(InList { expr, list, negated: false }) => {
                let (Some(column), Some(values)) = (self.column(expr), list.iter().map(text).collect()) else {
                    return false;
                };
                allow(column, values, wanted)
            }
            Expr::Between(between) if !between.negated => {
                let Some(column) = self.column(&between.expr) else { return false };
                let low = compared(column, Operator::GtEq, &between.low, wanted);
                compared(column, Operator::LtEq, &between.high, wanted) || low
            }
            _ => false,
        }
    }

    /// `a = 'x' OR a = 'y'`, as which a short list comes.
    fn alternatives(&self, filter: &Expr) -> Option<(EnvelopeColumn, Vec<String>)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
        match op {
            Operator::Or => {
                let ((column, mut values), (other, more)) = (self.alternatives(left)?, self.alternatives(right)?);
                values.extend(more);
                (column == other).then_some((column, values))
            }
            Operator::Eq => match (self.column(left), self.column(right)) {
                (Some(column), None) => Some((column, vec![text(right)?])),
                (None, Some(column)) => Some((column, vec![text(left)?])),
                _ => None,
            },
            _ => None,
        }
    }

    fn column(&self, expr: &Expr) -> Option<EnvelopeColumn> {
        let Expr::Column(Column { name, .. }) = expr else { return None };
        match self.inputs.get(self.schema.index_of(name).ok()?)? {
            Input::Envelope(column) => Some(*column),
            Input::Path { .. } | Input::PayloadBytes | Input::PayloadJson => None,
        }
    }
}

fn allow(column: EnvelopeColumn, values: Vec<String>, wanted: &mut Wanted) -> bool {
    let list = match column {
        EnvelopeColumn::Product => &mut wanted.products,
        EnvelopeColumn::Device => &mut wanted.devices,
        EnvelopeColumn::Topic => &mut wanted.topics,
        _ => return false,
    };
    Wanted::narrow(list, values);
    true
}

/// `column op literal`.
fn compared(column: EnvelopeColumn, op: Operator, literal: &Expr, wanted: &mut Wanted) -> bool {
    match column {
        EnvelopeColumn::AcceptedAt => {
            let Some(time) = time(literal) else { return false };
            let next = time.saturating_add(1);
            let (from, to) = match op {
                Operator::Eq => (time, next),
                // A literal may lie between two milliseconds, of which this is the earlier one.
                Operator::Gt | Operator::GtEq => (time, i64::MAX),
                Operator::Lt | Operator::LtEq => (i64::MIN, next),
                _ => return false,
            };
            wanted.narrow_time(Timestamp(from), Timestamp(to));
            true
        }
        EnvelopeColumn::Offset => {
            let Some(offset) = offset(literal) else { return false };
            let next = offset.saturating_add(1);
            let (from, to) = match op {
                Operator::Eq => (offset, next),
                Operator::Gt | Operator::GtEq => (offset, u64::MAX),
                Operator::Lt | Operator::LtEq => (0, next),
                _ => return false,
            };
            wanted.narrow_offsets(Offset(from), Offset(to));
            true
        }
        _ if op == Operator::Eq => text(literal).is_some_and(|value| allow(column, vec![value], wanted)),
        _ => false,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// Milliseconds since 1970, rounded down.
fn time(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::TimestampSecond(Some(time), _) => time.checked_mul(1_000),
        ScalarValue::TimestampMillisecond(Some(time), _) => Some(*time),
        ScalarValue::TimestampMicrosecond(Some(time), _) => Some(time.div_euclid(1_000)),
        ScalarValue::TimestampNanosecond(Some(time), _) => Some(time.div_euclid(1_000_000)),
        _ => None,
    }
}

fn offset(expr: &Expr) -> Option<u64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::UInt64(Some(offset)) => Some(*offset),
        ScalarValue::Int64(Some(offset)) => u64::try_from(*offset).ok(),
        _ => None,
    }
}
