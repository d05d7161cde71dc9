//! Ad-hoc queries: a SELECT over past messages to a logical plan over one table.
//!
//! The table is named by the topic filter; its columns are the inputs, in order. Whoever runs the plan provides it.

use std::sync::Arc;

use datafusion_common::{
    Column as ColumnName, DataFusionError, TableReference, config::ConfigOptions, tree_node::TransformedResult,
};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, LogicalTableSource};
use datafusion_optimizer::analyzer::{Analyzer, type_coercion::TypeCoercion};
use weir_core::{
    TopicFilter,
    seams::{Catalog, SqlError},
};

use super::{
    aggregate::Aggregates,
    clauses::{Parts, read},
    declared::Declared,
    output, physical, plain,
    typing::Typing,
};
use crate::{
    error::Source,
    language::{
        parse_select,
        select::{Purpose, selection},
    },
    program::{EnvelopeColumn, Input},
    stack::with_room,
};

/// A query, planned.
#[derive(Debug, Clone)]
pub struct Query {
    /// Types are coerced, nothing is optimised. It scans one table, named by the topic filter.
    pub plan: LogicalPlan,
    /// The columns of the table; never empty.
    pub inputs: Vec<Input>,
    pub sources: Vec<TopicFilter>,
    /// The columns of the result.
    pub columns: Vec<QueryColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    pub name: String,
    /// The column is Utf8 and holds JSON text.
    pub is_json: bool,
}

/// Plans a SELECT. `*` is `msg.topic, msg.device, msg.time, payload() AS payload`.
pub fn plan_query(sql: &str, catalog: &Catalog) -> Result<Query, SqlError> {
    with_room(|| plan_here(sql, catalog))
}

fn plan_here(sql: &str, catalog: &Catalog) -> Result<Query, SqlError> {
    let query = parse_select(sql)?;
    let source = Source::script(sql);
    let selection = selection(&source, &query, Purpose::Query)?;
    let declared = Declared::of(&selection.filter, catalog);
    let refused = Aggregates::Refused("WHERE");
    let mut typing = Typing::new(&source, selection.alias.as_deref(), declared, refused);
    let parts = read(&mut typing, &selection)?;
    if typing.inputs.is_empty() {
        // A table has at least one column.
        typing.inputs.column(Input::Envelope(EnvelopeColumn::Offset));
    }
    let columns = parts
        .columns
        .iter()
        .map(|column| QueryColumn { name: column.name.clone(), is_json: column.typed.is_json })
        .collect();
    let table = LogicalTableSource::new(typing.inputs.schema());
    let filter = selection.filter.clone();
    let plan = LogicalPlanBuilder::scan(TableReference::bare(filter.as_str()), Arc::new(table), None)
        .and_then(|scan| build(scan, parts))
        .and_then(coerce)
        .map_err(|error| {
            let place = selection.items.first().map_or(source.end(), output::place);
            source.error(place, format!("the query cannot be planned: {}", plain(&error)))
        })?;
    Ok(Query { plan, inputs: typing.inputs.into_vec(), sources: vec![filter], columns })
}

fn build(mut plan: LogicalPlanBuilder, parts: Parts) -> Result<LogicalPlan, DataFusionError> {
    if let Some(predicate) = parts.predicate {
        plan = plan.filter(predicate)?;
    }
    if let Some(grouping) = parts.grouping {
        let (keys, calls) = grouping.into_expressions();
        plan = plan.aggregate(keys, calls)?;
    }
    if let Some(having) = parts.having {
        plan = plan.filter(having)?;
    }
    let names: Vec<String> = parts.columns.iter().map(|column| column.name.clone()).collect();
    let columns = parts.columns.into_iter().map(|column| column.typed.expr.alias(column.name));
    let has_hidden = !parts.hidden.is_empty();
    plan = plan.project(columns.chain(parts.hidden).collect::<Vec<_>>())?;
    if parts.distinct {
        plan = plan.distinct()?;
    }
    if !parts.order_by.is_empty() {
        plan = plan.sort(parts.order_by)?;
    }
    if parts.limit.is_some() || parts.offset > 0 {
        plan = plan.limit(parts.offset, parts.limit)?;
    }
    if has_hidden {
        plan = plan.project(names.into_iter().map(|name| Expr::Column(ColumnName::new_unqualified(name))))?;
    }
    plan.build()
}

/// As for rules: types are coerced by casts that cannot fail.
fn coerce(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
    let plan = plan.transform_up_with_subqueries(|plan| {
        plan.map_expressions(|expr| {
            let before = expr.clone();
            let expr = physical::without_failing_casts(expr)?;
            Ok(match before == expr {
                true => datafusion_common::tree_node::Transformed::no(expr),
                false => datafusion_common::tree_node::Transformed::yes(expr),
            })
        })
    });
    plan.data()?.recompute_schema()
}
