//! Tests for NULL and truth, and what chooses between values: `CASE`, `coalesce`, `nullif`. These pass the demand on.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, Operator, binary_expr};
use sqlparser::ast::{self, CaseWhen};
use weir_core::seams::SqlError;

use super::{Typing, as_type, case_expr, cast_to, null_literal, unify::Undecided};
use crate::{
    error::Hint,
    functions,
    plan::operand::{Kind, Open, Operand, Typed},
    program::ColumnType,
};

impl Typing<'_> {
    pub(super) fn null_test(&mut self, inner: &ast::Expr, negated: bool) -> Result<Typed, SqlError> {
        // As JSON everything but a missing value and null is there.
        let value = self.column(inner, ColumnType::Json)?.expr;
        Ok(Typed::boolean(if negated { value.is_not_null() } else { value.is_null() }))
    }

    pub(super) fn truth_test(&mut self, expr: &ast::Expr, inner: &ast::Expr) -> Result<Typed, SqlError> {
        let value = self.condition(inner, "a test for truth")?;
        Ok(Typed::boolean(match expr {
            ast::Expr::IsTrue(_) => value.is_true(),
            ast::Expr::IsNotTrue(_) => value.is_not_true(),
            ast::Expr::IsFalse(_) => value.is_false(),
            ast::Expr::IsNotFalse(_) => value.is_not_false(),
            ast::Expr::IsUnknown(_) => value.is_unknown(),
            _ => value.is_not_unknown(),
        }))
    }

    pub(super) fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        whens: &[CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<Operand, SqlError> {
        let (operand, conditions) = match operand {
            None => {
                let conditions = whens.iter().map(|when| self.condition(&when.condition, "WHEN"));
                (None, conditions.collect::<Result<Vec<_>, _>>()?)
            }
            // `CASE color WHEN 'red' …`: the operand and what it is compared with are of one type.
            Some(operand) => {
                let sides: Vec<_> = std::iter::once(operand).chain(whens.iter().map(|when| &when.condition)).collect();
                let mut sides = self.comparable(&sides, Undecided::Canonical, operand)?.into_iter();
                let value = sides.next().unwrap_or_else(null_literal).expr;
                (Some(value), sides.map(|side| side.expr).collect())
            }
        };
        let branches: Vec<&ast::Expr> = whens.iter().map(|when| &when.result).chain(otherwise).collect();
        let mut results = match self.branches(&branches)? {
            Branches::Typed(results, data_type) => {
                let mut results: Vec<Expr> = results;
                let otherwise = otherwise.and_then(|_| results.pop());
                return Ok(Operand::Typed(Typed::new(case_expr(operand, conditions, results, otherwise), data_type)));
            }
            Branches::Open(results) => results,
        };
        let otherwise = otherwise.and_then(|_| results.pop()).map(Box::new);
        Ok(Operand::Open(Open::Case { operand, conditions, results, otherwise }))
    }

    /// `coalesce`, `ifnull`, `nvl`.
    pub(super) fn coalesce(&mut self, arguments: &[&ast::Expr]) -> Result<Operand, SqlError> {
        Ok(match self.branches(arguments)? {
            Branches::Typed(values, data_type) => Operand::Typed(Typed::new(functions::first(values), data_type)),
            Branches::Open(operands) => Operand::Open(Open::First(operands)),
        })
    }

    /// `nvl2(x, a, b)`: a where x is not NULL, else b.
    pub(super) fn nvl2(
        &mut self,
        tested: &ast::Expr,
        present: &ast::Expr,
        absent: &ast::Expr,
    ) -> Result<Operand, SqlError> {
        let condition = self.null_test(tested, true)?.expr;
        Ok(match self.branches(&[present, absent])? {
            Branches::Typed(mut results, data_type) => {
                let otherwise = results.pop();
                Operand::Typed(Typed::new(case_expr(None, vec![condition], results, otherwise), data_type))
            }
            Branches::Open(mut results) => {
                let otherwise = results.pop().map(Box::new);
                Operand::Open(Open::Case { operand: None, conditions: vec![condition], results, otherwise })
            }
        })
    }

    /// `nullif(a, b)`: NULL where they are equal, else a.
    pub(super) fn nullif(
        &mut self,
        expr: &ast::Expr,
        value: &ast::Expr,
        other: &ast::Expr,
    ) -> Result<Operand, SqlError> {
        let passed = self.operand(value)?;
        let other_operand = self.operand(other)?;
        // A path that is only selected passes through as it came, whatever it is compared as.
        let path = match (&passed, &other_operand) {
            (path @ Operand::Open(Open::Path(_)), Operand::Open(_)) => Some(path.clone()),
            _ => None,
        };
        let sides = self.unify_operands(vec![passed, other_operand], &[value, other], Undecided::Canonical, expr)?;
        let [left, right] = <[Typed; 2]>::try_from(sides).unwrap_or_else(|_| [null_literal(), null_literal()]);
        if let Some(path) = path {
            let equal = binary_expr(left.expr, Operator::Eq, right.expr);
            let results = vec![Operand::Typed(null_literal())];
            let otherwise = Some(Box::new(path));
            return Ok(Operand::Open(Open::Case { operand: None, conditions: vec![equal], results, otherwise }));
        }
        let data_type = match (left.kind(), right.kind()) {
            (Kind::Integer, Kind::Number) => DataType::Float64,
            (Kind::Null, _) => right.data_type.clone(),
            _ => left.data_type.clone(),
        };
        let is_json = left.is_json;
        let arguments = vec![cast_to(left, &data_type), cast_to(right, &data_type)];
        let Some(function) = functions::scalar("nullif") else { return Err(self.unsupported(expr)) };
        Ok(Operand::Typed(Typed { expr: function.call(arguments), data_type, is_json }))
    }

    /// `greatest` and `least`.
    pub(super) fn extreme(
        &mut self,
        name: &str,
        arguments: &[&ast::Expr],
        expr: &ast::Expr,
    ) -> Result<Operand, SqlError> {
        let values = self.comparable(arguments, Undecided::Refuse, expr)?;
        match functions::scalar(name) {
            Some(function) => Ok(Operand::Typed(self.scalar_call(&function, values, expr)?)),
            None => Err(self.unsupported(expr)),
        }
    }

    /// Values one of which is chosen: of one type if one of them has a type, else still open.
    fn branches(&mut self, branches: &[&ast::Expr]) -> Result<Branches, SqlError> {
        let mut operands = Vec::new();
        for branch in branches {
            operands.push(self.operand(branch)?);
        }
        let (Some(kind), Some(first)) = (self.common_kind(&operands, branches)?, branches.first()) else {
            return Ok(Branches::Open(operands));
        };
        if kind == Kind::Json {
            return Err(self
                .error(first, "JSON values cannot be chosen between")
                .hint(format!("give them a type, such as {}", as_type(first, "text"))));
        }
        let values = self.unify_operands(operands, branches, Undecided::Canonical, first)?;
        let integers = values.iter().all(|value| matches!(value.kind(), Kind::Integer | Kind::Null));
        let typed = values.iter().find(|value| value.kind() != Kind::Null).map(|value| value.data_type.clone());
        let data_type = match kind {
            Kind::Integer | Kind::Number if integers => DataType::Int64,
            Kind::Integer | Kind::Number => DataType::Float64,
            Kind::Text => DataType::Utf8,
            _ => typed.unwrap_or(DataType::Null),
        };
        let values = values.into_iter().map(|value| cast_to(value, &data_type)).collect();
        Ok(Branches::Typed(values, data_type))
    }
}

enum Branches {
    Typed(Vec<Expr>, DataType),
    Open(Vec<Operand>),
}
