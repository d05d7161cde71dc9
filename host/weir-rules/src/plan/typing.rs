//! Typing by use: SQL's syntax tree to typed expressions.
//!
//! Each node is visited once, before its surroundings are known. What has no type of its own (a path, and what passes
//! one on) stays an open [`Operand`] until the node above demands one. This module and its children refuse everything
//! that an expression of a rule cannot be, so that what they return compiles.

mod call;
mod cast;
mod compare;
mod condition;
mod draws;
mod literal;
mod name;
mod operator;
mod own;
mod payload;
mod signature;
mod syntax;
mod unify;

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::{Case, Expr, try_cast};
use sqlparser::ast::{self, Spanned};
use weir_core::seams::SqlError;

pub(crate) use self::draws::Draws;
use super::{
    aggregate::Aggregates,
    declared::{Declared, column_type},
    inputs::{Inputs, TableSlot, column_data_type},
    operand::{Kind, Open, Operand, PathUse, Root, Typed},
    relation::Relation,
};
use crate::{
    error::{Hint, Source},
    functions,
    program::{ColumnType, Input, TableInput},
};

/// How deep expressions may nest. Planning and evaluating recurse this deep.
const MAX_DEPTH: usize = 64;

/// Integers beyond it are not exact as Float64.
const MAX_EXACT: u64 = 1 << 53;

/// What expressions are read against.
#[derive(Debug)]
pub(crate) struct Typing<'a> {
    pub(crate) source: &'a Source<'a>,
    /// At least one; with several, every name is qualified.
    pub(crate) relations: &'a [Relation<'a>],
    /// Those of the messages.
    pub(crate) inputs: Inputs,
    /// Those of each table.
    pub(crate) tables: Vec<Inputs<TableSlot>>,
    /// Columns of the SELECT that a bare name may mean, where it may. They are read anew at each place, so that they
    /// too are typed by use.
    pub(crate) outputs: Vec<(String, &'a ast::Expr)>,
    pub(crate) aggregates: Aggregates,
    /// The payload could not be read: only `msg.*` can be used.
    pub(crate) envelope_only: bool,
    pub(crate) draws: Draws,
    depth: usize,
}

impl<'a> Typing<'a> {
    pub(crate) fn new(source: &'a Source<'a>, relations: &'a [Relation<'a>], aggregates: Aggregates) -> Self {
        let mut inputs = Inputs::default();
        let mut tables = Vec::new();
        for relation in relations {
            let qualifier = Some(relation.plan_name()).filter(|_| relations.len() > 1);
            match relation {
                Relation::Messages { .. } => inputs = Inputs::of(qualifier),
                Relation::Table { .. } => tables.push(Inputs::of(qualifier)),
            }
        }
        Self {
            source,
            relations,
            inputs,
            tables,
            outputs: Vec::new(),
            aggregates,
            envelope_only: false,
            draws: Draws::default(),
            depth: 0,
        }
    }

    /// Reads something of another text, which shares everything else.
    pub(crate) fn with_source<'b, T>(&mut self, source: &'b Source<'b>, read: impl FnOnce(&mut Typing<'b>) -> T) -> T
    where
        'a: 'b,
    {
        let mut other = Typing {
            source,
            relations: self.relations,
            inputs: std::mem::take(&mut self.inputs),
            tables: std::mem::take(&mut self.tables),
            outputs: self.outputs.clone(),
            aggregates: std::mem::replace(&mut self.aggregates, Aggregates::Rule),
            envelope_only: self.envelope_only,
            draws: std::mem::take(&mut self.draws),
            depth: self.depth,
        };
        let value = read(&mut other);
        self.inputs = other.inputs;
        self.tables = other.tables;
        self.aggregates = other.aggregates;
        self.draws = other.draws;
        value
    }

    /// Reads an expression.
    pub(crate) fn operand(&mut self, expr: &ast::Expr) -> Result<Operand, SqlError> {
        if self.depth == MAX_DEPTH {
            let error = self.source.error(expr.span().start, "the expression is nested too deep");
            return Err(error.hint("split it, or use IN (…)"));
        }
        if let Some(key) = self.aggregates.key(expr) {
            return Ok(Operand::Typed(key));
        }
        self.depth += 1;
        let operand = self.visit(expr);
        self.depth -= 1;
        operand
    }

    fn visit(&mut self, expr: &ast::Expr) -> Result<Operand, SqlError> {
        use ast::Expr as E;
        match expr {
            E::Identifier(_) | E::CompoundIdentifier(_) | E::CompoundFieldAccess { .. } => self.name(expr),
            E::Nested(inner) => self.operand(inner),
            E::Value(value) => self.value(value).map(Operand::Typed),
            E::TypedString(typed) => self.typed_string(typed).map(Operand::Typed),
            E::Interval(interval) => self.interval(interval).map(Operand::Typed),
            E::Array(array) => self.array(array, expr).map(Operand::Typed),
            E::BinaryOp { left, op, right } => self.binary(expr, left, op, right).map(Operand::Typed),
            E::UnaryOp { op, expr: inner } => self.unary(expr, *op, inner).map(Operand::Typed),
            E::IsNull(inner) => self.null_test(inner, false).map(Operand::Typed),
            E::IsNotNull(inner) => self.null_test(inner, true).map(Operand::Typed),
            E::IsTrue(inner)
            | E::IsNotTrue(inner)
            | E::IsFalse(inner)
            | E::IsNotFalse(inner)
            | E::IsUnknown(inner)
            | E::IsNotUnknown(inner) => self.truth_test(expr, inner).map(Operand::Typed),
            E::IsDistinctFrom(left, right) => self.distinct(expr, left, right, false).map(Operand::Typed),
            E::IsNotDistinctFrom(left, right) => self.distinct(expr, left, right, true).map(Operand::Typed),
            E::InList { expr: inner, list, negated } => self.in_list(expr, inner, list, *negated).map(Operand::Typed),
            E::Between { expr: inner, negated, low, high } => {
                self.between(expr, inner, *negated, low, high).map(Operand::Typed)
            }
            E::Like { negated, any: false, expr: inner, pattern, escape_char } => {
                self.like(inner, pattern, escape_char.as_ref(), *negated, false).map(Operand::Typed)
            }
            E::ILike { negated, any: false, expr: inner, pattern, escape_char } => {
                self.like(inner, pattern, escape_char.as_ref(), *negated, true).map(Operand::Typed)
            }
            E::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            E::Cast { expr: inner, data_type, array: false, format: None, .. } => {
                self.cast(expr, inner, data_type).map(Operand::Typed)
            }
            E::Function(function) => self.call(expr, function),
            E::Ceil { .. }
            | E::Floor { .. }
            | E::Extract { .. }
            | E::Position { .. }
            | E::Substring { .. }
            | E::Trim { .. }
            | E::Overlay { .. } => self.special(expr),
            other => Err(self.unsupported(other)),
        }
    }

    /// Reads an expression that stands for itself: what is still open passes through as JSON.
    pub(crate) fn column(&mut self, expr: &ast::Expr, open: ColumnType) -> Result<Typed, SqlError> {
        let operand = self.operand(expr)?;
        self.settle(operand, open)
    }

    /// Reads a condition; `clause` is what asks for it.
    pub(crate) fn condition(&mut self, expr: &ast::Expr, clause: &str) -> Result<Expr, SqlError> {
        let operand = self.operand(expr)?;
        let typed = self.settle(operand, ColumnType::Boolean)?;
        match typed.kind() {
            Kind::Boolean | Kind::Null => Ok(cast_to(typed, &DataType::Boolean)),
            kind => {
                let message = format!("{clause} takes true or false, but {} is {}", written(expr), kind.describe());
                let error = self.error(expr, message);
                Err(if kind.is_number() { error.hint(format!("write {} <> 0", written(expr))) } else { error })
            }
        }
    }

    /// Gives what is open the type that is demanded.
    pub(crate) fn settle(&mut self, operand: Operand, demand: ColumnType) -> Result<Typed, SqlError> {
        let is_json = matches!(demand, ColumnType::Json | ColumnType::Canonical);
        let data_type = column_data_type(demand);
        let expr = match operand {
            Operand::Typed(typed) => return Ok(typed),
            Operand::Open(Open::Path(path)) => self.path_column(path, demand)?,
            Operand::Open(Open::Case { operand, conditions, results, otherwise }) => {
                let mut settled = Vec::new();
                for result in results {
                    settled.push(cast_to(self.settle(result, demand)?, &data_type));
                }
                let otherwise = match otherwise {
                    Some(otherwise) => Some(cast_to(self.settle(*otherwise, demand)?, &data_type)),
                    None => None,
                };
                case_expr(operand, conditions, settled, otherwise)
            }
            Operand::Open(Open::First(operands)) => {
                let mut settled = Vec::new();
                for operand in operands {
                    settled.push(cast_to(self.settle(operand, demand)?, &data_type));
                }
                functions::first(settled)
            }
        };
        Ok(Typed { expr, data_type, is_json })
    }

    /// The column of a path that is used as `demand`.
    fn path_column(&mut self, path: PathUse, demand: ColumnType) -> Result<Expr, SqlError> {
        let PathUse { root, path, place, .. } = path;
        match root {
            Root::Payload => {
                if let Some(declared) = self.declared() {
                    declared.check(self.source, &path, place, demand)?;
                }
                Ok(self.inputs.column(Input::Path { path, column_type: demand }))
            }
            Root::Column { table, column } => {
                let input = TableInput::Path { column, path, column_type: demand };
                self.table_column(table, input).ok_or_else(|| self.source.error(place, "there is no such column"))
            }
        }
    }

    /// What the product of the messages declares, if it does.
    pub(crate) fn declared(&self) -> Option<Declared<'a>> {
        self.relations.iter().find_map(|relation| match relation {
            Relation::Messages { declared, .. } => *declared,
            Relation::Table { .. } => None,
        })
    }

    pub(crate) fn has_messages(&self) -> bool {
        self.relations.iter().any(|relation| matches!(relation, Relation::Messages { .. }))
    }

    /// An input of a table as a column.
    pub(crate) fn table_column(&mut self, table: usize, input: TableInput) -> Option<Expr> {
        let (TableInput::Column(place) | TableInput::Path { column: place, .. }) = &input;
        let schema = self.relations.iter().find_map(|relation| match relation {
            Relation::Table { schema, number, .. } if *number == table => Some(*schema),
            _ => None,
        });
        let column = schema?.columns.get(*place)?.clone();
        Some(self.tables.get_mut(table)?.column(TableSlot { input, column }))
    }

    /// Gives an operand that is ordered its type; what is open needs a declared one, or `hint` says what to write.
    pub(crate) fn ordered(
        &mut self,
        operand: Operand,
        expr: &ast::Expr,
        text: &str,
        hint: impl Fn(&ast::Expr) -> String,
    ) -> Result<Typed, SqlError> {
        let declared = self.declared_type([&operand])?;
        match (operand, declared) {
            (Operand::Typed(typed), _) if typed.kind() != Kind::Json => Ok(typed),
            (open @ Operand::Open(_), Some(declared)) => self.settle(open, declared),
            (operand, _) => {
                let message = format!("{text} needs a type: nothing says whether its values are numbers or texts");
                let error = self.error(expr, message);
                Err(match operand {
                    Operand::Open(_) => error.hint(format!("write {}", hint(expr))),
                    Operand::Typed(_) => error.hint(format!("group by {} already", as_type(expr, "text"))),
                })
            }
        }
    }

    /// The type that the product's schema declares for everything open in `operands`, if it is one type.
    fn declared_type<'o>(
        &self,
        operands: impl IntoIterator<Item = &'o Operand>,
    ) -> Result<Option<ColumnType>, SqlError> {
        let Some(declared) = self.declared() else { return Ok(None) };
        let mut paths = Vec::new();
        operands.into_iter().for_each(|operand| operand.open_paths(&mut paths));
        let mut common = None;
        for PathUse { root, path, place, .. } in paths {
            let of_table = *root != Root::Payload;
            let field_type = if of_table { None } else { declared.field_type(self.source, path, *place)? };
            let Some(found) = field_type.and_then(column_type) else {
                return Ok(None);
            };
            common = match (common, found) {
                (None, found) => Some(found),
                (Some(known), found) if known == found => Some(known),
                (Some(ColumnType::Number | ColumnType::Integer), ColumnType::Number | ColumnType::Integer) => {
                    Some(ColumnType::Number)
                }
                _ => return Ok(None),
            };
        }
        Ok(common)
    }

    fn error(&self, expr: &ast::Expr, message: impl Into<String>) -> SqlError {
        self.source.error(expr.span().start, message)
    }

    fn unsupported(&self, expr: &ast::Expr) -> SqlError {
        let error = |what: &str| self.error(expr, format!("{what} is not supported"));
        match expr {
            ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => error("a subquery"),
            ast::Expr::Wildcard(_) | ast::Expr::QualifiedWildcard(..) => {
                self.error(expr, "* stands for the whole payload and is no value").hint("payload() is the value")
            }
            ast::Expr::SimilarTo { .. } | ast::Expr::RLike { .. } => {
                error("this way to match").hint("write x ~ 'regular expression' or x LIKE 'pattern'")
            }
            other => error(&written(other)),
        }
    }
}

/// An expression as its author would write it.
pub(crate) fn written(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Cast { kind: ast::CastKind::DoubleColon, expr, data_type, .. } => {
            format!("{}::{}", written(expr), data_type.to_string().to_lowercase())
        }
        ast::Expr::BinaryOp { left, op, right } => format!("{} {op} {}", written(left), written(right)),
        other => other.to_string(),
    }
}

/// What to write for an expression to have a type.
pub(crate) fn as_type(expr: &ast::Expr, name: &str) -> String {
    match expr {
        ast::Expr::BinaryOp { .. } | ast::Expr::UnaryOp { .. } | ast::Expr::Case { .. } => {
            format!("({})::{name}", written(expr))
        }
        _ => format!("{}::{name}", written(expr)),
    }
}

/// `expr` with another type. What does not fit is NULL; a literal is changed at once.
pub(crate) fn cast_to(typed: Typed, data_type: &DataType) -> Expr {
    if typed.data_type == *data_type {
        return typed.expr;
    }
    if let Expr::Literal(value, _) = &typed.expr
        && let Ok(value) = value.cast_to(data_type)
    {
        return Expr::Literal(value, None);
    }
    try_cast(typed.expr, data_type.clone())
}

pub(crate) fn null_literal() -> Typed {
    Typed::new(Expr::Literal(ScalarValue::Null, None), DataType::Null)
}

fn case_expr(operand: Option<Expr>, conditions: Vec<Expr>, results: Vec<Expr>, otherwise: Option<Expr>) -> Expr {
    let boxed = |expr| Box::new(expr);
    let branches = conditions.into_iter().map(boxed).zip(results.into_iter().map(boxed)).collect();
    Expr::Case(Case::new(operand.map(boxed), branches, otherwise.map(boxed)))
}
