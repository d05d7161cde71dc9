//! Operators: what they demand of their sides.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, Operator, binary_expr, lit, not, type_coercion::binary::BinaryTypeCoercer};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value, ValueWithSpan};
use weir_core::seams::SqlError;

use super::{Typing, as_type, cast_to, written};
use crate::{
    error::Hint,
    functions::{self, Operation},
    plan::{
        operand::{Kind, Operand, Typed},
        text_of,
    },
    program::ColumnType,
};

impl Typing<'_> {
    pub(super) fn binary(
        &mut self,
        expr: &ast::Expr,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        use BinaryOperator as B;
        match op {
            B::And | B::Or => self.logic(expr, op),
            B::Eq => self.compare(expr, left, Operator::Eq, right),
            B::NotEq => self.compare(expr, left, Operator::NotEq, right),
            B::Lt => self.compare(expr, left, Operator::Lt, right),
            B::LtEq => self.compare(expr, left, Operator::LtEq, right),
            B::Gt => self.compare(expr, left, Operator::Gt, right),
            B::GtEq => self.compare(expr, left, Operator::GtEq, right),
            B::Spaceship => self.distinct(expr, left, right, true),
            B::Plus => self.arithmetic(expr, left, Operation::Add, right),
            B::Minus => self.arithmetic(expr, left, Operation::Subtract, right),
            B::Multiply => self.arithmetic(expr, left, Operation::Multiply, right),
            B::Divide => self.arithmetic(expr, left, Operation::Divide, right),
            B::Modulo => self.arithmetic(expr, left, Operation::Remainder, right),
            B::StringConcat => {
                let (left, right) = (self.joined(left)?, self.joined(right)?);
                Ok(Typed::new(binary_expr(left, Operator::StringConcat, right), DataType::Utf8))
            }
            B::BitwiseAnd => self.bits(left, Operator::BitwiseAnd, right),
            B::BitwiseOr => self.bits(left, Operator::BitwiseOr, right),
            B::BitwiseXor => self.bits(left, Operator::BitwiseXor, right),
            B::PGBitwiseShiftLeft => self.bits(left, Operator::BitwiseShiftLeft, right),
            B::PGBitwiseShiftRight => self.bits(left, Operator::BitwiseShiftRight, right),
            B::PGRegexMatch => self.matches(expr, left, right, false, false),
            B::PGRegexIMatch => self.matches(expr, left, right, true, false),
            B::PGRegexNotMatch => self.matches(expr, left, right, false, true),
            B::PGRegexNotIMatch => self.matches(expr, left, right, true, true),
            B::Arrow | B::LongArrow | B::HashArrow | B::HashLongArrow => Err(self
                .error(right, format!("operator {op} is not needed: names are paths"))
                .hint("write a.b for a field and a[0] for an element")),
            other => Err(self.error(right, format!("operator {other} is not supported"))),
        }
    }

    pub(super) fn unary(&mut self, expr: &ast::Expr, op: UnaryOperator, inner: &ast::Expr) -> Result<Typed, SqlError> {
        match op {
            UnaryOperator::Not => Ok(Typed::boolean(not(self.condition(inner, "NOT")?))),
            UnaryOperator::Plus | UnaryOperator::Minus => {
                if let ast::Expr::Value(value @ ValueWithSpan { value: Value::Number(number, _), .. }) = inner {
                    let sign = if op == UnaryOperator::Minus { "-" } else { "" };
                    return self.number(&format!("{sign}{number}"), value);
                }
                let operand = self.operand(inner)?;
                let typed = self.settle(operand, ColumnType::Number)?;
                match (typed.kind(), op) {
                    (Kind::Number | Kind::Integer, UnaryOperator::Plus) => Ok(typed),
                    (Kind::Number, _) => Ok(Typed::new(-cast_to(typed, &DataType::Float64), DataType::Float64)),
                    (Kind::Integer, _) => {
                        let value = cast_to(typed, &DataType::Int64);
                        Ok(Typed::new(functions::arithmetic(Operation::Subtract, lit(0_i64), value), DataType::Int64))
                    }
                    (Kind::Interval, UnaryOperator::Minus) => {
                        Ok(Typed { expr: -typed.expr, data_type: typed.data_type, is_json: false })
                    }
                    (kind, _) => {
                        Err(self
                            .error(expr, format!("{op} takes a number, but {} is {}", written(inner), kind.describe())))
                    }
                }
            }
            UnaryOperator::BitwiseNot => {
                let value = self.integer(inner, "~")?;
                Ok(Typed::new(binary_expr(value, Operator::BitwiseXor, lit(-1_i64)), DataType::Int64))
            }
            other => Err(self.error(expr, format!("operator {other} is not supported"))),
        }
    }

    /// A chain of AND or of OR, as a balanced tree: a list of conditions is not deep.
    fn logic(&mut self, expr: &ast::Expr, chain: &BinaryOperator) -> Result<Typed, SqlError> {
        let mut terms = Vec::new();
        let mut rest = expr;
        while let ast::Expr::BinaryOp { left, op, right } = rest
            && op == chain
        {
            terms.push(right.as_ref());
            rest = left;
        }
        terms.push(rest);
        let clause = chain.to_string();
        let mut conditions = Vec::new();
        for term in terms.into_iter().rev() {
            conditions.push(self.condition(term, &clause)?);
        }
        let operator = if *chain == BinaryOperator::And { Operator::And } else { Operator::Or };
        while conditions.len() > 1 {
            let mut pairs = Vec::with_capacity(conditions.len().div_ceil(2));
            let mut rest = conditions.into_iter();
            while let Some(left) = rest.next() {
                pairs.push(match rest.next() {
                    Some(right) => binary_expr(left, operator, right),
                    None => left,
                });
            }
            conditions = pairs;
        }
        Ok(Typed::boolean(conditions.pop().unwrap_or_else(|| lit(true))))
    }

    fn arithmetic(
        &mut self,
        expr: &ast::Expr,
        left: &ast::Expr,
        operation: Operation,
        right: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        let (left_operand, right_operand) = (self.operand(left)?, self.operand(right)?);
        let temporal = |operand: &Operand| match operand {
            Operand::Typed(typed) => Some(typed.kind()).filter(|kind| matches!(kind, Kind::Time | Kind::Interval)),
            Operand::Open(_) => None,
        };
        if let Some(kind) = temporal(&left_operand).or(temporal(&right_operand)) {
            let left = self.settle_beside(left_operand, left, kind)?;
            let right = self.settle_beside(right_operand, right, kind)?;
            return self.time_arithmetic(expr, left, operation, right);
        }
        let left_typed = self.settle(left_operand, ColumnType::Number)?;
        let right_typed = self.settle(right_operand, ColumnType::Number)?;
        for (typed, side) in [(&left_typed, left), (&right_typed, right)] {
            let kind = typed.kind();
            if kind.is_number() || kind == Kind::Null {
                continue;
            }
            let error =
                self.error(side, format!("arithmetic takes numbers, but {} is {}", written(side), kind.describe()));
            return Err(match (kind, operation) {
                (Kind::Text, Operation::Add) => error.hint("write || to join texts"),
                (Kind::Text | Kind::Json, _) => error.hint(format!("write {}", as_type(side, "double"))),
                _ => error,
            });
        }
        let typed = [left_typed, right_typed];
        self.refuse_inexact(&typed, &[left, right])?;
        let integers = typed.iter().all(|typed| typed.kind() == Kind::Integer) && operation != Operation::Divide;
        let data_type = if integers { DataType::Int64 } else { DataType::Float64 };
        let [left, right] = typed.map(|typed| cast_to(typed, &data_type));
        let expr = match (integers, operation) {
            (false, Operation::Add) => left + right,
            (false, Operation::Subtract) => left - right,
            (false, Operation::Multiply) => left * right,
            _ => functions::arithmetic(operation, left, right),
        };
        Ok(Typed::new(expr, data_type))
    }

    fn time_arithmetic(
        &self,
        expr: &ast::Expr,
        left: Typed,
        operation: Operation,
        right: Typed,
    ) -> Result<Typed, SqlError> {
        let operator = match operation {
            Operation::Add => Operator::Plus,
            Operation::Subtract => Operator::Minus,
            _ => return Err(self.error(expr, "times and intervals can be added and subtracted only")),
        };
        let refused = || {
            let (left, right) = (left.kind().describe(), right.kind().describe());
            self.error(expr, format!("{operator} cannot join {left} and {right}")).hint("such as INTERVAL '5 minutes'")
        };
        let coercer = BinaryTypeCoercer::new(&left.data_type, &operator, &right.data_type);
        let result = coercer.get_result_type().map_err(|_| refused())?;
        let (left_type, right_type) = coercer.get_input_types().map_err(|_| refused())?;
        let sum = functions::time_arithmetic(
            operator == Operator::Minus,
            result.clone(),
            cast_to(left, &left_type),
            cast_to(right, &right_type),
        );
        Ok(Typed::new(sum, result))
    }

    fn bits(&mut self, left: &ast::Expr, op: Operator, right: &ast::Expr) -> Result<Typed, SqlError> {
        let (left, right) = (self.integer(left, &op.to_string())?, self.integer(right, &op.to_string())?);
        Ok(Typed::new(binary_expr(left, op, right), DataType::Int64))
    }

    /// Reads a whole number.
    pub(super) fn integer(&mut self, expr: &ast::Expr, what: &str) -> Result<Expr, SqlError> {
        let operand = self.operand(expr)?;
        let typed = self.settle(operand, ColumnType::Integer)?;
        match typed.kind() {
            Kind::Integer | Kind::Null => Ok(cast_to(typed, &DataType::Int64)),
            Kind::Number => Err(self
                .error(expr, format!("{what} takes whole numbers"))
                .hint(format!("write {}", as_type(expr, "bigint")))),
            kind => {
                Err(self
                    .error(expr, format!("{what} takes a whole number, but {} is {}", written(expr), kind.describe())))
            }
        }
    }

    /// Reads a side of `||`: everything has a text.
    fn joined(&mut self, expr: &ast::Expr) -> Result<Expr, SqlError> {
        let operand = self.operand(expr)?;
        let typed = self.settle(operand, ColumnType::Text)?;
        Ok(text_of(typed))
    }
}
