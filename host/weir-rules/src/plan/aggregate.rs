//! Aggregates of queries: what they demand of their arguments, and what a grouped SELECT may name.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::Column;
use datafusion_expr::{
    Expr, SortExpr, expr::AggregateFunction, lit, try_cast, type_coercion::functions::fields_with_udf,
};
use sqlparser::{
    ast::{
        self, DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
        OrderByExpr,
    },
    tokenizer::Location,
};
use std::sync::Arc;
use weir_core::seams::SqlError;

use super::{
    inputs::time_type,
    operand::{Kind, Typed},
    start,
    typing::{Typing, as_type, cast_to, written},
};
use crate::{
    error::{Hint, Source, nearest},
    functions,
    language::{select::needs_window, window::COLUMNS},
    program::ColumnType,
};

/// Whether aggregates may stand in what is being read.
#[derive(Debug)]
pub(crate) enum Aggregates {
    /// A rule has none.
    Rule,
    /// A clause of a query that has none.
    Refused(&'static str),
    /// Behind the grouping of a query: keys and aggregates are all there is.
    Grouped(Grouping),
    /// Behind the windows of a rule: the columns of its SELECT, by name, are all there is.
    Selected(Vec<(String, ast::Expr)>),
}

#[derive(Debug, Default)]
pub(crate) struct Grouping {
    /// Expressions of GROUP BY, with the columns that hold them.
    keys: Vec<(ast::Expr, Expr, Typed)>,
    calls: Vec<(ast::Expr, Expr, Typed)>,
    /// A window is among what is grouped by.
    pub(crate) windowed: bool,
}

impl Grouping {
    /// Expressions of GROUP BY as they are written, and typed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&ast::Expr, &Expr)> + Clone {
        self.keys.iter().map(|(written, expr, _)| (written, expr))
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = (&ast::Expr, &Expr)> {
        self.calls.iter().map(|(written, expr, _)| (written, expr))
    }

    pub(crate) fn add_key(&mut self, written: ast::Expr, key: Typed) {
        let name = format!("#key{}", self.keys.len());
        let column = Expr::Column(Column::new_unqualified(&name));
        self.keys.push((written, key.expr.alias(name), Typed { expr: column, ..key }));
    }

    /// The expressions to group by, and the aggregates to compute.
    pub(crate) fn into_expressions(self) -> (Vec<Expr>, Vec<Expr>) {
        let expressions = |parts: Vec<(ast::Expr, Expr, Typed)>| parts.into_iter().map(|(_, expr, _)| expr).collect();
        (expressions(self.keys), expressions(self.calls))
    }
}

impl Aggregates {
    /// What an expression of GROUP BY stands for behind the grouping.
    pub(crate) fn key(&self, expr: &ast::Expr) -> Option<Typed> {
        let Self::Grouped(grouping) = self else { return None };
        if grouping.windowed
            && let ast::Expr::Identifier(ident) = expr
            && ident.quote_style.is_none()
            && COLUMNS.contains(&ident.value.as_str())
        {
            return Some(Typed::new(Expr::Column(Column::new_unqualified(&ident.value)), time_type()));
        }
        grouping.keys.iter().find(|(written, ..)| written == expr).map(|(.., typed)| typed.clone())
    }

    /// The column of the SELECT that an expression is, behind windows.
    pub(crate) fn selected(&self, expr: &ast::Expr) -> Option<&str> {
        let Self::Selected(columns) = self else { return None };
        let named = |name: &str| matches!(expr, ast::Expr::Identifier(ident) if ident.value == name);
        columns.iter().find(|(name, written)| named(name) || written == expr).map(|(name, _)| name.as_str())
    }

    /// Behind a grouping there are no single messages.
    pub(crate) fn check_message(&self, source: &Source<'_>, read: &str, place: Location) -> Result<(), SqlError> {
        match self {
            Self::Grouped(_) => Err(source
                .error(place, format!("{read} is neither in GROUP BY nor in an aggregate"))
                .hint(format!("write GROUP BY {read}, or an aggregate such as max({read})"))),
            Self::Selected(columns) => {
                let names = || columns.iter().map(|(name, _)| name.as_str());
                let error = source.error(
                    place,
                    format!("{read} is no column of the SELECT, and behind windows there is nothing else"),
                );
                Err(match nearest(read, names()) {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error.hint(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Typing<'_> {
    pub(crate) fn aggregate(&mut self, expr: &ast::Expr, function: &Function, name: &str) -> Result<Typed, SqlError> {
        match &self.aggregates {
            Aggregates::Rule => {
                return Err(needs_window(self.source, start(expr), &format!("the aggregate {name}")));
            }
            Aggregates::Refused(clause) => {
                let error = self.source.error(start(expr), format!("{clause} cannot hold the aggregate {name}"));
                return Err(if *clause == "WHERE" {
                    error.hint("conditions on aggregates stand in HAVING")
                } else {
                    error
                });
            }
            Aggregates::Selected(_) => {
                self.aggregates.check_message(self.source, &written(expr), start(expr))?;
            }
            Aggregates::Grouped(grouping) => {
                if let Some((.., typed)) = grouping.calls.iter().find(|(written, ..)| written == expr) {
                    return Ok(typed.clone());
                }
            }
        }
        // The arguments are read before the grouping: single messages, no aggregates.
        let grouped = std::mem::replace(&mut self.aggregates, Aggregates::Refused("an aggregate"));
        let call = self.aggregate_call(expr, function, name);
        self.aggregates = grouped;
        let (call, typed) = call?;
        let Aggregates::Grouped(grouping) = &mut self.aggregates else {
            return Err(self.source.error(start(expr), format!("the aggregate {name} cannot stand here")));
        };
        let alias = format!("#aggregate{}", grouping.calls.len());
        let column = Expr::Column(Column::new_unqualified(&alias));
        let result = match (name, typed.kind()) {
            // Summed as a decimal: exact, and NULL where the sum is no bigint.
            ("sum", Kind::Integer) => try_cast(column, DataType::Int64),
            _ => column,
        };
        let typed = Typed { expr: result, ..typed };
        grouping.calls.push((expr.clone(), call.alias(alias), typed.clone()));
        Ok(typed)
    }

    fn aggregate_call(&mut self, expr: &ast::Expr, function: &Function, name: &str) -> Result<(Expr, Typed), SqlError> {
        let refused = |typing: &Self| {
            typing.source.error(start(expr), format!("the aggregate {name} cannot be called with these arguments"))
        };
        let Some(udaf) = functions::aggregate(name) else { return Err(refused(self)) };
        let FunctionArguments::List(list) = &function.args else { return Err(refused(self)) };
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let mut order_by = Vec::new();
        let mut arguments = Vec::new();
        // `WITHIN GROUP (ORDER BY x)` gives what `x` is counted among, always numbers.
        for order in &function.within_group {
            let counted = self.column(&order.expr, ColumnType::Number)?;
            order_by.push(sort_by(counted.expr.clone(), order));
            arguments.push(counted);
        }
        for clause in &list.clauses {
            let FunctionArgumentClause::OrderBy(orders) = clause else { return Err(refused(self)) };
            for order in orders {
                order_by.push(self.sort_key(order)?);
            }
        }
        let mut is_json = false;
        for argument in &list.args {
            let argument = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => argument,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" && !distinct => {
                    arguments.push(Typed::new(lit(1_i64), DataType::Int64));
                    continue;
                }
                _ => return Err(refused(self)),
            };
            let typed = self.aggregate_argument(name, distinct, arguments.is_empty(), argument)?;
            is_json |= typed.is_json && matches!(name, "first_value" | "last_value" | "any_value" | "nth_value");
            arguments.push(typed);
        }
        let filter = match &function.filter {
            Some(filter) => Some(Box::new(self.condition(filter, "FILTER")?)),
            None => None,
        };
        let exact_sum = name == "sum" && arguments.iter().all(|argument| argument.kind() == Kind::Integer);
        let fields: Vec<FieldRef> = arguments
            .iter()
            .map(|argument| match exact_sum {
                true => DataType::Decimal128(20, 0),
                false => argument.data_type.clone(),
            })
            .map(|data_type| Arc::new(Field::new("", data_type, true)))
            .collect();
        let coerced = fields_with_udf(&fields, udaf.as_ref()).map_err(|_| refused(self))?;
        let returned = udaf.return_field(&coerced).map_err(|_| refused(self))?;
        let data_type = if exact_sum { DataType::Int64 } else { returned.data_type().clone() };
        let arguments =
            arguments.into_iter().zip(&coerced).map(|(argument, field)| cast_to(argument, field.data_type())).collect();
        let nulls = function.null_treatment.map(|treatment| match treatment {
            ast::NullTreatment::IgnoreNulls => datafusion_expr::expr::NullTreatment::IgnoreNulls,
            ast::NullTreatment::RespectNulls => datafusion_expr::expr::NullTreatment::RespectNulls,
        });
        let call = AggregateFunction::new_udf(udaf, arguments, distinct, filter, order_by, nulls);
        let typed = Typed { expr: lit(true), data_type, is_json };
        Ok((Expr::AggregateFunction(call), typed))
    }

    fn aggregate_argument(
        &mut self,
        name: &str,
        distinct: bool,
        first: bool,
        argument: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        let demand = match name {
            "count" if distinct => ColumnType::Canonical,
            "approx_distinct" => ColumnType::Canonical,
            "count" => ColumnType::Json,
            "first_value" | "last_value" | "any_value" | "nth_value" if first => ColumnType::Json,
            "min" | "max" | "array_agg" => {
                let operand = self.operand(argument)?;
                let text = format!("{name}({})", written(argument));
                return self.ordered(operand, argument, &text, |argument| {
                    format!("{name}({}) or {name}({})", as_type(argument, "double"), as_type(argument, "text"))
                });
            }
            "bool_and" | "bool_or" => ColumnType::Boolean,
            "bit_and" | "bit_or" | "bit_xor" => ColumnType::Integer,
            "string_agg" => ColumnType::Text,
            _ => ColumnType::Number,
        };
        let typed = self.column(argument, demand)?;
        let fits = match demand {
            ColumnType::Number => typed.kind().is_number() || typed.kind() == Kind::Null,
            _ => true,
        };
        if fits {
            return Ok(typed);
        }
        let message = format!("{name} takes numbers, but {} is {}", written(argument), typed.kind().describe());
        Err(self.source.error(start(argument), message))
    }

    /// A key of ORDER BY.
    pub(crate) fn sort_key(&mut self, order: &OrderByExpr) -> Result<SortExpr, SqlError> {
        let operand = self.operand(&order.expr)?;
        let text = format!("ORDER BY {}", written(&order.expr));
        let key = self.ordered(operand, &order.expr, &text, |key| {
            format!("ORDER BY {} or ORDER BY {}", as_type(key, "double"), as_type(key, "text"))
        })?;
        Ok(sort_by(key.expr, order))
    }
}

/// As in PostgreSQL, NULL is greater than all else.
fn sort_by(key: Expr, order: &OrderByExpr) -> SortExpr {
    let ascending = order.options.asc.unwrap_or(true);
    SortExpr::new(key, ascending, order.options.nulls_first.unwrap_or(!ascending))
}
