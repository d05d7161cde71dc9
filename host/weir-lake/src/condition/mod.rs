//! What a filter of DataFusion says of a table's rows, where a table can make use of it.

pub(crate) mod envelope;

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
};
use weir_core::{
    path::JsonPath,
    table::{Condition, Field, Scalar, TableSchema},
};
use weir_rules::program::{ColumnType, TableInput};

/// The columns that a filter is about.
pub(crate) struct Conditions<'a> {
    pub(crate) inputs: &'a [TableInput],
    /// A column for each input.
    pub(crate) schema: &'a SchemaRef,
    pub(crate) table: &'a TableSchema,
}

impl Conditions<'_> {
    /// A condition that every row meets which passes the filter. `None`: it says nothing that a table knows.
    pub(crate) fn of(&self, filter: &Expr) -> Option<Condition> {
        match filter {
            // A short list comes as this.
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => match (self.of(left)?, self.of(right)?) {
                (Condition::In(field, mut values), Condition::In(other, more)) if field == other => {
                    values.extend(more);
                    Some(Condition::In(field, values))
                }
                _ => None,
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.compared(left, *op, right),
            Expr::InList(InList { expr, list, negated: false }) => {
                let field = self.value(expr)?;
                Some(Condition::In(field, list.iter().map(scalar).collect::<Option<_>>()?))
            }
            Expr::IsNotNull(value) => Some(Condition::Present(self.field(value)?.0)),
            // A value of another type than demanded is NULL too, and it is there.
            Expr::IsNull(value) => {
                let (field, column_type) = self.field(value)?;
                let is_any = matches!(column_type, None | Some(ColumnType::Json | ColumnType::Canonical));
                is_any.then_some(Condition::Absent(field))
            }
            Expr::Not(value) => Some(Condition::In(self.value(value)?, vec![Scalar::Boolean(false)])),
            value => Some(Condition::In(self.value(value)?, vec![Scalar::Boolean(true)])),
        }
    }

    fn compared(&self, left: &Expr, op: Operator, right: &Expr) -> Option<Condition> {
        if let (Some((left, _)), Some((right, _))) = (self.field(left), self.field(right)) {
            // What differs as any type does so as JSON.
            let are_paths = !left.path.0.is_empty() && !right.path.0.is_empty();
            return (op == Operator::NotEq && are_paths).then_some(Condition::Differ(left, right));
        }
        let (value, op, literal) = match self.value(left) {
            Some(field) => (field, op, scalar(right)?),
            None => (self.value(right)?, op.swap()?, scalar(left)?),
        };
        let number = match &literal {
            Scalar::Number(number) => Some(*number),
            // Beyond it, neighbours are the same double.
            Scalar::Integer(number) if number.unsigned_abs() < 1 << 53 => Some(*number as f64),
            _ => None,
        };
        match (op, number) {
            (Operator::Eq, _) => Some(Condition::In(value, vec![literal])),
            (Operator::Gt | Operator::GtEq, Some(number)) => Some(Condition::Between(value, Some(number), None)),
            (Operator::Lt | Operator::LtEq, Some(number)) => Some(Condition::Between(value, None, Some(number))),
            _ => None,
        }
    }

    /// A column whose values are what they are compared as: JSON text is not.
    fn value(&self, expr: &Expr) -> Option<Field> {
        let (field, column_type) = self.field(expr)?;
        (!matches!(column_type, Some(ColumnType::Json | ColumnType::Canonical))).then_some(field)
    }

    /// What a column stands for, and the type that is demanded of it, if it lies within JSON.
    fn field(&self, expr: &Expr) -> Option<(Field, Option<ColumnType>)> {
        let Expr::Column(Column { name, .. }) = expr else { return None };
        let input = self.inputs.get(self.schema.index_of(name).ok()?)?;
        let (column, path, column_type) = match input {
            TableInput::Column(column) => (column, JsonPath(Box::default()), None),
            TableInput::Path { column, path, column_type } => (column, path.clone(), Some(*column_type)),
        };
        let column = self.table.columns.get(*column)?.name.clone();
        Some((Field { column, path }, column_type))
    }
}

fn scalar(expr: &Expr) -> Option<Scalar> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Some(Scalar::Text(text.clone()))
        }
        ScalarValue::Float64(Some(number)) => Some(Scalar::Number(*number)),
        ScalarValue::Int64(Some(number)) => Some(Scalar::Integer(*number)),
        ScalarValue::Boolean(Some(boolean)) => Some(Scalar::Boolean(*boolean)),
        _ => None,
    }
}
