//! Operands side by side: in a comparison, a list, the branches of a CASE. Those that have a type decide for the others.

use datafusion_expr::Expr;
use sqlparser::ast::{self, Spanned};
use weir_core::seams::SqlError;

use super::{Typing, as_type, literal::beyond_exact, written};
use crate::{
    error::Hint,
    plan::operand::{Kind, Operand, PathUse, Typed},
    program::ColumnType,
};

/// What becomes of operands none of which has a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecided {
    /// They are compared as JSON values.
    Canonical,
    /// A type must be written.
    Refuse,
}

impl Typing<'_> {
    /// Gives operands that stand side by side one type: that of those which have one.
    pub(super) fn unify(
        &mut self,
        sides: &[&ast::Expr],
        undecided: Undecided,
        whole: &ast::Expr,
    ) -> Result<Vec<Typed>, SqlError> {
        let mut operands = Vec::new();
        for side in sides {
            operands.push(self.operand(side)?);
        }
        self.unify_operands(operands, sides, undecided, whole)
    }

    pub(super) fn unify_operands(
        &mut self,
        operands: Vec<Operand>,
        sides: &[&ast::Expr],
        undecided: Undecided,
        whole: &ast::Expr,
    ) -> Result<Vec<Typed>, SqlError> {
        let Some(kind) = self.common_kind(&operands, sides)? else {
            let demand = match (self.declared_type(&operands)?, undecided) {
                (Some(declared), _) => declared,
                (None, Undecided::Canonical) => {
                    self.refuse_quoted_text(&operands)?;
                    ColumnType::Canonical
                }
                (None, Undecided::Refuse) => return Err(self.untyped(&operands, sides, whole)),
            };
            return operands.into_iter().map(|operand| self.settle(operand, demand)).collect();
        };
        if kind == Kind::Json && undecided == Undecided::Refuse {
            return Err(self.untyped(&operands, sides, whole));
        }
        let mut typed = Vec::new();
        for (operand, side) in operands.into_iter().zip(sides) {
            typed.push(self.settle_beside(operand, side, kind)?);
        }
        if kind.is_number() {
            self.refuse_inexact(&typed, sides)?;
        }
        if kind == Kind::Time {
            return self.times(typed, sides);
        }
        Ok(typed)
    }

    /// The kind of those operands that have one. Numbers of both kinds are `Number`.
    pub(super) fn common_kind(&self, operands: &[Operand], sides: &[&ast::Expr]) -> Result<Option<Kind>, SqlError> {
        let mut common: Option<(Kind, &ast::Expr)> = None;
        for (operand, side) in operands.iter().zip(sides) {
            let Operand::Typed(typed) = operand else { continue };
            let is_literal = matches!(typed.expr, Expr::Literal(..));
            common = match (common, typed.kind()) {
                (common, Kind::Null) => common,
                (None, kind) => Some((kind, side)),
                (Some((known, first)), kind) if known == kind => Some((known, first)),
                (Some((known, first)), kind) if known.is_number() && kind.is_number() => Some((Kind::Number, first)),
                (Some((Kind::Time, first)), Kind::Text) if is_literal => Some((Kind::Time, first)),
                (Some((Kind::Text, ast::Expr::Value(_))), Kind::Time) => Some((Kind::Time, side)),
                (Some((known, first)), kind) => return Err(self.different(first, known, side, kind)),
            };
        }
        Ok(common.map(|(kind, _)| kind))
    }

    /// Gives an open operand the type of what stands beside it.
    pub(super) fn settle_beside(&mut self, operand: Operand, side: &ast::Expr, kind: Kind) -> Result<Typed, SqlError> {
        if !operand.is_open() {
            return self.settle(operand, ColumnType::Json);
        }
        match kind.demand() {
            Some(demand) => self.settle(operand, demand),
            None => Err(self.no_path_type(side, kind)),
        }
    }

    /// Texts beside a time are times.
    fn times(&self, typed: Vec<Typed>, sides: &[&ast::Expr]) -> Result<Vec<Typed>, SqlError> {
        let time = typed.iter().find(|typed| typed.kind() == Kind::Time).map(|typed| typed.data_type.clone());
        let Some(time) = time else { return Ok(typed) };
        let as_time = |(typed, side): (Typed, &&ast::Expr)| match typed.kind() {
            Kind::Text => self.literal_as(typed, &time, side.span().start),
            _ => Ok(typed),
        };
        typed.into_iter().zip(sides).map(as_time).collect()
    }

    /// Whole numbers beyond 2^53 beside a path that is read as Float64.
    pub(super) fn refuse_inexact(&self, typed: &[Typed], sides: &[&ast::Expr]) -> Result<(), SqlError> {
        let Some((value, place)) = typed.iter().zip(sides).find_map(|(typed, side)| Some((beyond_exact(typed)?, side)))
        else {
            return Ok(());
        };
        let inexact = typed.iter().zip(sides).find(|(typed, _)| typed.kind() == Kind::Number);
        match inexact {
            Some((_, path)) => Err(self
                .error(place, format!("{value} is beyond 2^53, where numbers are not exact"))
                .hint(format!("write {}", as_type(path, "bigint")))),
            None => Ok(()),
        }
    }

    /// `= "ok"` compares with a field named ok, which is hardly ever meant.
    fn refuse_quoted_text(&self, operands: &[Operand]) -> Result<(), SqlError> {
        let mut paths = Vec::new();
        operands.iter().for_each(|operand| operand.open_paths(&mut paths));
        match paths.iter().find(|path| path.quoted) {
            Some(PathUse { path, place, .. }) => Err(self
                .source
                .error(*place, format!("\"{path}\" in double quotes is a name, not a text"))
                .hint(format!("write '{path}' for the text, {path} for the field"))),
            None => Ok(()),
        }
    }

    fn different(&self, first: &ast::Expr, known: Kind, side: &ast::Expr, kind: Kind) -> SqlError {
        let (known_text, kind_text) = (known.describe(), kind.describe());
        let message = format!("{} is {known_text}, but {} is {kind_text}", written(first), written(side));
        let error = self.error(side, message);
        match (known, kind) {
            (Kind::Json, _) => error.hint(format!("give it a type, such as {}", as_type(first, "text"))),
            (_, Kind::Json) => error.hint(format!("give it a type, such as {}", as_type(side, "text"))),
            (Kind::Time, number) | (number, Kind::Time) if number.is_number() => {
                error.hint("to_timestamp_millis(n) is a time, to_unixtime(t) a number of seconds")
            }
            (Kind::Interval, number) | (number, Kind::Interval) if number.is_number() => {
                error.hint("write an interval, such as INTERVAL '60 seconds'")
            }
            _ => error,
        }
    }

    /// JSON has no type that `kind` could be.
    pub(super) fn no_path_type(&self, side: &ast::Expr, kind: Kind) -> SqlError {
        let (name, what) = (written(side), kind.describe());
        match kind {
            Kind::Time => {
                self.error(side, format!("{name} is used as {what}, which JSON does not have")).hint(format!(
                    "write {} for a text such as '2026-01-31T12:00:00Z', to_timestamp_millis({}) for milliseconds since \
                     1970",
                    as_type(side, "timestamp"),
                    as_type(side, "bigint")
                ))
            }
            Kind::Other => self.error(side, format!("{name} is used as {what}, but nothing says of what")).hint(
                format!("write {} or {} for a list", as_type(side, "double[]"), as_type(side, "text[]")),
            ),
            _ => self
                .error(side, format!("{name} needs a type beside {what}"))
                .hint(format!("write {} or {}", as_type(side, "double"), as_type(side, "text"))),
        }
    }

    fn untyped(&self, operands: &[Operand], sides: &[&ast::Expr], whole: &ast::Expr) -> SqlError {
        let open = operands.iter().zip(sides).find(|(operand, _)| operand.is_open()).map(|(_, side)| *side);
        let side = open.unwrap_or(whole);
        let text = written(whole);
        self.error(side, format!("{text} needs a type: nothing says whether its values are numbers or texts"))
            .hint(format!("write {} or {}", as_type(side, "double"), as_type(side, "text")))
    }
}
