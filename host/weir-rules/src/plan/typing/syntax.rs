//! Functions with a syntax of their own: `extract(hour FROM t)`, `substring(x FROM 2)`, `trim(BOTH ' ' FROM x)`.

use arrow::datatypes::DataType;
use datafusion_expr::lit;
use sqlparser::ast::{self, CeilFloorKind, DateTimeField, Expr, TrimWhereField};
use weir_core::seams::SqlError;

use super::{Typing, null_literal};
use crate::{
    functions,
    plan::operand::{Operand, Typed},
};

impl Typing<'_> {
    /// The same by a plain call.
    pub(super) fn special(&mut self, expr: &Expr) -> Result<Operand, SqlError> {
        match expr {
            Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.plain(expr, "ceil", &[inner])
            }
            Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.plain(expr, "floor", &[inner])
            }
            Expr::Position { expr: inner, r#in } => self.plain(expr, "strpos", &[r#in, inner]),
            Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.operand(inner)?];
                let mut sides = vec![inner.as_ref()];
                match substring_from {
                    Some(from) => {
                        arguments.push(self.operand(from)?);
                        sides.push(from);
                    }
                    None => {
                        arguments.push(Operand::Typed(Typed::new(lit(1_i64), DataType::Int64)));
                        sides.push(inner);
                    }
                }
                if let Some(length) = substring_for {
                    arguments.push(self.operand(length)?);
                    sides.push(length);
                }
                self.by_name(expr, "substr", arguments, &sides)
            }
            Expr::Trim { trim_where, trim_what, expr: inner, trim_characters: None } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                match trim_what {
                    Some(what) => self.plain(expr, name, &[inner, what]),
                    None => self.plain(expr, name, &[inner]),
                }
            }
            Expr::Overlay { expr: inner, overlay_what, overlay_from, overlay_for } => match overlay_for {
                Some(length) => self.plain(expr, "overlay", &[inner, overlay_what, overlay_from, length]),
                None => self.plain(expr, "overlay", &[inner, overlay_what, overlay_from]),
            },
            Expr::Extract { field, expr: inner, .. } => {
                let field = match field {
                    DateTimeField::Custom(ident) => ident.value.to_lowercase(),
                    field => field.to_string().to_lowercase(),
                };
                let part = Operand::Typed(Typed::new(lit(field), DataType::Utf8));
                let arguments = vec![part, self.operand(inner)?];
                self.by_name(expr, "date_part", arguments, &[inner, inner])
            }
            other => Err(self.unsupported(other)),
        }
    }

    fn plain(&mut self, expr: &Expr, name: &str, arguments: &[&ast::Expr]) -> Result<Operand, SqlError> {
        let mut operands = Vec::new();
        for argument in arguments {
            operands.push(self.operand(argument)?);
        }
        self.by_name(expr, name, operands, arguments)
    }

    fn by_name(
        &mut self,
        expr: &Expr,
        name: &str,
        operands: Vec<Operand>,
        sides: &[&ast::Expr],
    ) -> Result<Operand, SqlError> {
        match functions::scalar(name) {
            Some(function) => self.call_open(&function, operands, sides, expr).map(Operand::Typed),
            None => Ok(Operand::Typed(null_literal())),
        }
    }
}
