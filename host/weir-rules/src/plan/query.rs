//! Ad-hoc queries: a SELECT over past messages and tables to a logical plan.
//!
//! Messages are named by their topic filter, or by an alias; the columns of each source are its inputs, in order. Whoever
//! runs the plan provides them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::{
    Column as ColumnName, DataFusionError, TableReference, config::ConfigOptions, tree_node::TransformedResult,
};
use datafusion_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, LogicalTableSource};
use datafusion_optimizer::analyzer::{Analyzer, type_coercion::TypeCoercion};
use weir_core::{
    TopicFilter,
    seams::{Catalog, SqlError},
};

use super::{
    aggregate::Aggregates,
    clauses::{Parts, read},
    inputs::{Inputs, TableSlot},
    output, physical, plain,
    relation::Relation,
    typing::{Draws, Typing},
};
use crate::{
    error::Source,
    language::{
        parse_select,
        select::{Purpose, selection},
        sources::JoinKind,
    },
    program::{EnvelopeColumn, Input, TableInput},
    stack::with_room,
};

/// A query, planned.
#[derive(Debug, Clone)]
pub struct Query {
    /// Types are coerced, nothing is optimised. It scans each source once, by its name.
    pub plan: LogicalPlan,
    pub sources: Vec<QuerySource>,
    /// The columns of the result.
    pub columns: Vec<QueryColumn>,
}

/// A source of a query. Its columns in the plan are the inputs, in order; there is at least one.
#[derive(Debug, Clone)]
pub struct QuerySource {
    /// By what the plan calls it.
    pub name: String,
    pub read: QueryRead,
}

#[derive(Debug, Clone)]
pub enum QueryRead {
    Messages { filter: TopicFilter, inputs: Vec<Input> },
    Table { table: String, inputs: Vec<TableInput> },
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
    let mut relations = Vec::new();
    let mut tables = 0;
    for written in selection.sources.all() {
        let relation = Relation::of(&source, written, catalog, tables)?;
        tables += usize::from(matches!(relation, Relation::Table { .. }));
        relations.push(relation);
    }
    let mut typing = Typing::new(&source, &relations, Aggregates::Refused("ON"));
    typing.draws = Draws::of(&query);
    let joins = selection.sources.joined.iter().map(|joined| Ok((joined.kind, typing.condition(joined.on, "ON")?)));
    let joins = joins.collect::<Result<Vec<_>, SqlError>>()?;
    typing.aggregates = Aggregates::Refused("WHERE");
    let parts = read(&mut typing, &selection)?;
    let columns = parts
        .columns
        .iter()
        .map(|column| QueryColumn { name: column.name.clone(), is_json: column.typed.is_json })
        .collect();
    let Typing { inputs, tables, .. } = typing;
    let (sources, schemas): (Vec<_>, Vec<_>) = read_of(&relations, inputs, tables).into_iter().unzip();
    let plan =
        scans(&sources, &schemas, joins).and_then(|scan| build(scan, parts)).and_then(coerce).map_err(|error| {
            let place = selection.items.first().map_or(source.end(), output::place);
            source.error(place, format!("the query cannot be planned: {}", plain(&error)))
        })?;
    Ok(Query { plan, sources, columns })
}

/// What is read of each source, and the columns that this makes.
fn read_of(
    relations: &[Relation<'_>],
    mut inputs: Inputs,
    tables: Vec<Inputs<TableSlot>>,
) -> Vec<(QuerySource, SchemaRef)> {
    let mut tables = tables.into_iter();
    let mut sources = Vec::new();
    for relation in relations {
        let name = relation.plan_name().to_owned();
        let (read, schema) = match relation {
            Relation::Messages { filter, .. } => {
                let mut inputs = std::mem::take(&mut inputs);
                if inputs.is_empty() {
                    // A source has at least one column.
                    inputs.column(Input::Envelope(EnvelopeColumn::Offset));
                }
                let schema = inputs.schema();
                (QueryRead::Messages { filter: (*filter).clone(), inputs: inputs.into_vec() }, schema)
            }
            Relation::Table { schema: table, .. } => {
                let mut inputs = tables.next().unwrap_or_default();
                if let (true, Some(column)) = (inputs.is_empty(), table.columns.first()) {
                    inputs.column(TableSlot { input: TableInput::Column(0), column: column.clone() });
                }
                let schema = inputs.schema();
                let inputs = inputs.into_vec().into_iter().map(|slot| slot.input).collect();
                (QueryRead::Table { table: table.name.clone(), inputs }, schema)
            }
        };
        sources.push((QuerySource { name, read }, schema));
    }
    sources
}

/// The sources, joined from the first to the last.
fn scans(
    sources: &[QuerySource],
    schemas: &[SchemaRef],
    joins: Vec<(JoinKind, Expr)>,
) -> Result<LogicalPlanBuilder, DataFusionError> {
    let mut scans = sources.iter().zip(schemas).map(|(source, schema)| {
        let table = LogicalTableSource::new(Arc::clone(schema));
        LogicalPlanBuilder::scan(TableReference::bare(source.name.as_str()), Arc::new(table), None)
    });
    let Some(first) = scans.next() else { return Err(DataFusionError::Plan("there is no source".to_owned())) };
    scans.zip(joins).try_fold(first?, |plan, (scan, (kind, on))| {
        let kind = match kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
            JoinKind::Right => JoinType::Right,
            JoinKind::Full => JoinType::Full,
        };
        plan.join_on(scan?.build()?, kind, [on])
    })
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
