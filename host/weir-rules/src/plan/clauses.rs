//! The clauses of a query, typed: WHERE, GROUP BY, the columns, HAVING, ORDER BY, LIMIT, in the order in which SQL
//! evaluates them.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion_common::Column as ColumnName;
use datafusion_expr::{Expr, SortExpr};
use sqlparser::{
    ast::{self, ObjectNamePart, Value, ValueWithSpan},
    tokenizer::Location,
};
use weir_core::{seams::SqlError, table::ColumnKind};

use super::{
    aggregate::{Aggregates, Grouping},
    inputs::kind_type,
    operand::Typed,
    output, physical,
    relation::Relation,
    start,
    typing::Typing,
};
use crate::{
    error::{Hint, Source},
    functions,
    language::{
        select::{Item, Selection},
        window,
    },
    program::{ColumnType, EnvelopeColumn, Input, JsonPath, TableInput},
    window::Frame,
};

/// The columns of `*` over messages.
const STAR: [&str; 4] = ["topic", "device", "time", "payload"];

/// The clauses of a query, typed.
pub(super) struct Parts {
    pub(super) predicate: Option<Expr>,
    pub(super) grouping: Option<Grouping>,
    pub(super) window: Option<Frame>,
    pub(super) having: Option<Expr>,
    pub(super) columns: Vec<output::Column>,
    pub(super) distinct: bool,
    /// Keys that are no column of the result stand in columns of their own.
    pub(super) order_by: Vec<SortExpr>,
    pub(super) hidden: Vec<Expr>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

pub(super) fn read<'a>(typing: &mut Typing<'a>, selection: &Selection<'a>) -> Result<Parts, SqlError> {
    let predicate = match selection.predicate {
        Some(predicate) => Some(typing.condition(predicate, "WHERE")?),
        None => None,
    };
    let star = typing.star_names();
    let named = output::named(typing, &selection.items, &star)?;
    let mut window = None;
    let grouped = !selection.group_by.is_empty() || selection.having.is_some() || has_aggregate(selection);
    typing.aggregates = Aggregates::Refused("GROUP BY");
    if grouped {
        let mut grouping = Grouping::default();
        for key in selection.group_by {
            if window::call(key).is_some() {
                let frame = window::frame(typing.source, key)?;
                if window.replace(frame).is_some() {
                    return Err(typing.source.error(start(key), "GROUP BY can hold one window"));
                }
                grouping.windowed = true;
                continue;
            }
            let written = grouped_expression(typing.source, selection, &named, key)?;
            let typed = typing.column(written, ColumnType::Canonical)?;
            grouping.add_key(written.clone(), typed);
        }
        typing.aggregates = Aggregates::Grouped(grouping);
    }
    let columns = columns(typing, selection)?;
    typing.outputs = named;
    let having = match selection.having {
        Some(having) => Some(typing.condition(having, "HAVING")?),
        None => None,
    };
    let mut order_by = Vec::new();
    let mut hidden = Vec::new();
    for order in selection.order_by {
        let mut key = sort_key(typing, selection, order)?;
        let column = columns.iter().find(|column| column.typed.expr == key.expr);
        let name = match column {
            Some(column) => column.name.clone(),
            None if selection.distinct => {
                let error = typing.source.error(start(&order.expr), "ORDER BY names no column of SELECT DISTINCT");
                return Err(error.hint("add it to the columns of the SELECT"));
            }
            None => {
                let name = format!("#order{}", hidden.len());
                hidden.push(key.expr.alias(&name));
                name
            }
        };
        key.expr = Expr::Column(ColumnName::new_unqualified(name));
        order_by.push(key);
    }
    let grouping = match std::mem::replace(&mut typing.aggregates, Aggregates::Refused("LIMIT")) {
        Aggregates::Grouped(grouping) => Some(grouping),
        _ => None,
    };
    Ok(Parts {
        predicate,
        grouping,
        window,
        having,
        columns,
        distinct: selection.distinct,
        order_by,
        hidden,
        limit: selection.limit.map(|limit| count(typing.source, limit, "LIMIT")).transpose()?,
        offset: selection.offset.map(|offset| count(typing.source, offset, "OFFSET")).transpose()?.unwrap_or(0),
    })
}

fn columns(typing: &mut Typing<'_>, selection: &Selection<'_>) -> Result<Vec<output::Column>, SqlError> {
    // Values are compared where rows are, and pass through as they came where not.
    let open = if selection.distinct { ColumnType::Canonical } else { ColumnType::Json };
    let mut names = output::names(typing, &selection.items, &typing.star_names())?;
    let mut columns = Vec::new();
    let mut star = false;
    for (item, name) in selection.items.iter().zip(&mut names) {
        match item {
            Item::Expression { expr, .. } => {
                let typed = typing.column(expr, open)?;
                columns.push(output::Column { name: std::mem::take(name), typed: physical::column_of(typed) });
            }
            Item::Star(place) => {
                if std::mem::replace(&mut star, true) {
                    return Err(typing.source.error(*place, "* stands twice"));
                }
                if matches!(typing.aggregates, Aggregates::Grouped(_)) {
                    return Err(typing.source.error(*place, "* cannot stand beside aggregates or GROUP BY"));
                }
                columns.extend(typing.star(*place)?);
            }
        }
    }
    Ok(columns)
}

/// GROUP BY takes an expression, the name of a column, or its number.
fn grouped_expression<'a>(
    source: &Source<'_>,
    selection: &Selection<'a>,
    named: &[(String, &'a ast::Expr)],
    key: &'a ast::Expr,
) -> Result<&'a ast::Expr, SqlError> {
    if let Some(expr) = numbered(source, selection, key)? {
        return Ok(expr);
    }
    let ast::Expr::Identifier(ident) = key else { return Ok(key) };
    Ok(named.iter().find(|(name, _)| *name == ident.value).map_or(key, |(_, expr)| expr))
}

/// The column that a lone number means.
fn numbered<'a>(
    source: &Source<'_>,
    selection: &Selection<'a>,
    key: &ast::Expr,
) -> Result<Option<&'a ast::Expr>, SqlError> {
    let ast::Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = key else { return Ok(None) };
    let index = number.to_string().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| selection.items.get(index)) {
        Some(Item::Expression { expr, .. }) => Ok(Some(expr)),
        _ => Err(source.error(start(key), format!("the SELECT has no column {number} to go by"))),
    }
}

fn sort_key(
    typing: &mut Typing<'_>,
    selection: &Selection<'_>,
    order: &ast::OrderByExpr,
) -> Result<SortExpr, SqlError> {
    let mut order = order.clone();
    if let Some(expr) = numbered(typing.source, selection, &order.expr)? {
        order.expr = expr.clone();
    }
    typing.sort_key(&order)
}

fn count(source: &Source<'_>, expr: &ast::Expr, clause: &str) -> Result<usize, SqlError> {
    let number = match expr {
        ast::Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.to_string().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| source.error(start(expr), format!("{clause} takes a whole number")))
}

/// Whether a column, HAVING or ORDER BY calls an aggregate.
fn has_aggregate(selection: &Selection<'_>) -> bool {
    let items = selection.items.iter().filter_map(|item| match item {
        Item::Expression { expr, .. } => Some(*expr),
        Item::Star(_) => None,
    });
    let orders = selection.order_by.iter().map(|order| &order.expr);
    items.chain(orders).any(|expr| {
        let found = ast::visit_expressions(expr, |expr| match expr {
            ast::Expr::Function(function) => match function.name.0.as_slice() {
                [ObjectNamePart::Identifier(ident)] => {
                    let name = ident.value.to_lowercase();
                    let aggregate = functions::scalar(&name).is_none() && functions::aggregate(&name).is_some();
                    if aggregate { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    })
}

impl<'a> Typing<'a> {
    /// The names of the columns of `*`.
    fn star_names(&self) -> Vec<&'a str> {
        match self.relations {
            [Relation::Table { schema, .. }] => schema.columns.iter().map(|column| column.name.as_str()).collect(),
            _ => STAR.to_vec(),
        }
    }

    /// The columns of `*` in a query: all of a table, or what there is to see of a message.
    fn star(&mut self, place: Location) -> Result<Vec<output::Column>, SqlError> {
        let schema = match self.relations {
            [Relation::Messages { .. }] => return Ok(self.star_of_messages()),
            [Relation::Table { schema, .. }] => schema,
            _ => {
                let error = self.source.error(place, "* cannot stand for several sources");
                return Err(error.hint("name the columns, each with its source"));
            }
        };
        let columns = schema.columns.iter().enumerate().filter_map(|(place, column)| {
            let is_json = column.kind == ColumnKind::Json;
            let input = match is_json {
                true => {
                    let path = JsonPath(Box::default());
                    TableInput::Path { column: place, path, column_type: ColumnType::Json }
                }
                false => TableInput::Column(place),
            };
            let expr = self.table_column(0, input)?;
            let typed = Typed { expr, data_type: kind_type(column.kind), is_json };
            Some(output::Column { name: column.name.clone(), typed })
        });
        Ok(columns.collect())
    }

    fn star_of_messages(&mut self) -> Vec<output::Column> {
        let payload = self.inputs.column(Input::PayloadJson);
        let values = [
            self.envelope_column(EnvelopeColumn::Topic),
            self.envelope_column(EnvelopeColumn::Device),
            self.envelope_column(EnvelopeColumn::AcceptedAt),
            Typed { expr: payload, data_type: DataType::Utf8, is_json: true },
        ];
        let columns = STAR.into_iter().zip(values);
        columns.map(|(name, typed)| output::Column { name: name.to_owned(), typed }).collect()
    }
}
