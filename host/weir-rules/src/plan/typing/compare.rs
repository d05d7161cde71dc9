//! Comparisons: `=`, `<`, `IN`, `BETWEEN`, `LIKE`, `~`.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, Like, Operator, binary_expr, expr::InList, lit, not};
use sqlparser::ast::{self, Value, ValueWithSpan};
use weir_core::seams::SqlError;

use super::{Typing, as_type, cast_to, null_literal, unify::Undecided, written};
use crate::{
    error::Hint,
    functions,
    plan::operand::{Kind, Typed},
    program::ColumnType,
};

impl Typing<'_> {
    pub(super) fn compare(
        &mut self,
        expr: &ast::Expr,
        left: &ast::Expr,
        op: Operator,
        right: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        for side in [left, right] {
            if matches!(side, ast::Expr::Value(ValueWithSpan { value: Value::Null, .. })) {
                let test = if op == Operator::NotEq { "IS NOT NULL" } else { "IS NULL" };
                let other = if std::ptr::eq(side, left) { right } else { left };
                return Err(self
                    .error(side, format!("{op} NULL is never true"))
                    .hint(format!("write {} {test}", written(other))));
            }
        }
        let undecided = match op {
            Operator::Eq | Operator::NotEq => Undecided::Canonical,
            _ => Undecided::Refuse,
        };
        self.compared(&[left, right], undecided, expr, |left, right| binary_expr(left, op, right))
    }

    pub(super) fn distinct(
        &mut self,
        expr: &ast::Expr,
        left: &ast::Expr,
        right: &ast::Expr,
        same: bool,
    ) -> Result<Typed, SqlError> {
        let op = if same { Operator::IsNotDistinctFrom } else { Operator::IsDistinctFrom };
        let undecided = Undecided::Canonical;
        self.compared(&[left, right], undecided, expr, |left, right| binary_expr(left, op, right))
    }

    /// Gives values one type, of those that can be compared.
    pub(super) fn comparable(
        &mut self,
        sides: &[&ast::Expr],
        undecided: Undecided,
        whole: &ast::Expr,
    ) -> Result<Vec<Typed>, SqlError> {
        let typed = self.unify(sides, undecided, whole)?;
        match typed.iter().zip(sides).find(|(typed, _)| typed.kind() == Kind::Other) {
            Some((_, side)) => Err(self.error(side, format!("{} cannot be compared", Kind::Other.describe()))),
            None => Ok(typed),
        }
    }

    fn compared(
        &mut self,
        sides: &[&ast::Expr],
        undecided: Undecided,
        whole: &ast::Expr,
        compare: impl Fn(Expr, Expr) -> Expr,
    ) -> Result<Typed, SqlError> {
        let mut sides = self.comparable(sides, undecided, whole)?.into_iter();
        let mut next = || sides.next().map_or_else(|| null_literal().expr, |side| side.expr);
        let left = next();
        Ok(Typed::boolean(compare(left, next())))
    }

    pub(super) fn in_list(
        &mut self,
        expr: &ast::Expr,
        inner: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
    ) -> Result<Typed, SqlError> {
        let sides: Vec<&ast::Expr> = std::iter::once(inner).chain(list).collect();
        let mut sides = self.comparable(&sides, Undecided::Canonical, expr)?.into_iter();
        let value = sides.next().unwrap_or_else(null_literal).expr;
        let list = sides.map(|side| side.expr).collect();
        Ok(Typed::boolean(Expr::InList(InList::new(Box::new(value), list, negated))))
    }

    pub(super) fn between(
        &mut self,
        expr: &ast::Expr,
        inner: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        let sides = self.comparable(&[inner, low, high], Undecided::Refuse, expr)?;
        let [value, low, high] = <[Typed; 3]>::try_from(sides).unwrap_or_else(|_| [(); 3].map(|()| null_literal()));
        let between = value.expr.between(low.expr, high.expr);
        Ok(Typed::boolean(if negated { not(between) } else { between }))
    }

    pub(super) fn like(
        &mut self,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ValueWithSpan>,
        negated: bool,
        case_insensitive: bool,
    ) -> Result<Typed, SqlError> {
        if let Some(escape) = escape {
            return Err(self.source.error(escape.span.start, "ESCAPE is not supported").hint("the escape is \\"));
        }
        let what = if case_insensitive { "ILIKE" } else { "LIKE" };
        let (value, pattern) = (self.text(expr, what)?, self.text(pattern, what)?);
        let like = Like::new(negated, Box::new(value), Box::new(pattern), None, case_insensitive);
        Ok(Typed::boolean(Expr::Like(like)))
    }

    /// `~` and its kin. A function and not the operator: a pattern from a payload may be wrong.
    pub(super) fn matches(
        &mut self,
        expr: &ast::Expr,
        left: &ast::Expr,
        right: &ast::Expr,
        case_insensitive: bool,
        negated: bool,
    ) -> Result<Typed, SqlError> {
        let mut arguments =
            vec![Typed::new(self.text(left, "~")?, DataType::Utf8), Typed::new(self.text(right, "~")?, DataType::Utf8)];
        if case_insensitive {
            arguments.push(Typed::new(lit("i"), DataType::Utf8));
        }
        let Some(function) = functions::scalar("regexp_like") else { return Err(self.unsupported(expr)) };
        let matched = self.scalar_call(&function, arguments, expr)?;
        Ok(Typed::boolean(if negated { not(matched.expr) } else { matched.expr }))
    }

    /// Reads a text.
    pub(super) fn text(&mut self, expr: &ast::Expr, what: &str) -> Result<Expr, SqlError> {
        let operand = self.operand(expr)?;
        let typed = self.settle(operand, ColumnType::Text)?;
        match typed.kind() {
            Kind::Text | Kind::Null => Ok(cast_to(typed, &DataType::Utf8)),
            kind => {
                let error =
                    self.error(expr, format!("{what} takes a text, but {} is {}", written(expr), kind.describe()));
                Err(if kind == Kind::Json { error.hint(format!("write {}", as_type(expr, "text"))) } else { error })
            }
        }
    }
}
