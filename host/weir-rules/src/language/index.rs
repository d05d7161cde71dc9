//! `CREATE INDEX name ON shadows (…)`: a path within `reported` or `desired`, or two that are compared by `<>`.

use sqlparser::{
    ast::{AccessExpr, BinaryOperator, Expr, Ident, Spanned, Subscript, Value},
    tokenizer::Token,
};
use weir_core::{
    path::{JsonPath, Step},
    seams::SqlError,
    statement::{IndexDefinition, Statement},
    table::{Field, Indexed},
};

use super::{
    statement::{Parsed, Reader},
    syntax,
};
use crate::error::Hint;

/// Columns whose values can be indexed: those that a shadow's document is stored in.
const COLUMNS: [&str; 2] = ["reported", "desired"];

const FORMS: &str = "write (reported.fw) to find shadows by a value, (reported.fw <> desired.fw) by a difference";

impl Reader<'_> {
    pub(super) fn create_index(&mut self, text: String) -> Result<Parsed, SqlError> {
        let name = self.name()?;
        self.words(&["ON"])?;
        if self.keyword(&["shadows"]).is_none() {
            return Err(self.unexpected("shadows").hint("only shadows can be indexed"));
        }
        if !self.parser.consume_token(&Token::LParen) {
            return Err(self.unexpected("(").hint(FORMS));
        }
        let expr = self.parser.parse_expr().map_err(|error| syntax::parser_error(self.source, &error, self.end))?;
        if !self.parser.consume_token(&Token::RParen) {
            return Err(self.unexpected(")").hint(FORMS));
        }
        let indexed = match &expr {
            Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => {
                Indexed::Differ(self.field(left)?, self.field(right)?)
            }
            expr => Indexed::Field(self.field(expr)?),
        };
        Ok(Parsed::other(Statement::CreateIndex(IndexDefinition { name, text, indexed })))
    }

    fn field(&self, expr: &Expr) -> Result<Field, SqlError> {
        let place = expr.span().start;
        let refused = |message: String| self.source.error(place, message).hint(FORMS);
        let steps = steps(expr).ok_or_else(|| refused(format!("{expr} is not a path")))?;
        let Some((Step::Key(column), path)) = steps.split_first() else {
            return Err(refused(format!("{expr} is not a path")));
        };
        if !COLUMNS.contains(&&**column) {
            return Err(refused(format!("{column} cannot be indexed: a path begins with reported or desired")));
        }
        if path.is_empty() {
            return Err(refused(format!("{column} as a whole cannot be indexed")));
        }
        let field = Field { column: column.to_string(), path: JsonPath(path.into()) };
        if !field.path.is_plain() {
            return Err(refused(format!(
                "{field} cannot be indexed: a key is empty, or holds a quote, a backslash or a control character"
            )));
        }
        Ok(field)
    }
}

/// The names and indexes of a path.
fn steps(expr: &Expr) -> Option<Vec<Step>> {
    let key = |ident: &Ident| Step::Key(ident.value.as_str().into());
    match expr {
        Expr::Identifier(ident) => Some(vec![key(ident)]),
        Expr::CompoundIdentifier(idents) => Some(idents.iter().map(key).collect()),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut steps = steps(root)?;
            for access in access_chain {
                steps.push(match access {
                    AccessExpr::Dot(Expr::Identifier(ident)) => key(ident),
                    AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => match &value.value {
                        Value::Number(number, _) => Step::Index(number.to_string().parse().ok()?),
                        Value::SingleQuotedString(text) => Step::Key(text.as_str().into()),
                        _ => return None,
                    },
                    _ => return None,
                });
            }
            Some(steps)
        }
        _ => None,
    }
}
