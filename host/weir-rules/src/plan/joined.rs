//! Planning a rule that joins tables to its messages.
//!
//! The tables are looked up by product and device, so ON must say both; whatever else it says is looked at row by row.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::{Column as ColumnName, DFSchema, DataFusionError, Result as PlanResult};
use datafusion_expr::{BinaryExpr, Expr, Operator, utils::split_conjunction};
use datafusion_physical_expr::{PhysicalExpr, expressions::Column};
use weir_core::{
    seams::{Catalog, SqlError},
    statement::RuleDefinition,
};

use super::{
    Compiler, Draws, Relation, Typing, aggregate::Aggregates, arguments_of, as_written, output, physical::column_of,
    plain, start, template::templates,
};
use crate::{
    error::{Hint, Source},
    language::{select::Selection, sources::JoinKind, statement::ParsedRule},
    program::{JoinedRule, JoinedTable, Output, OutputColumn, Program},
};

pub(super) fn plan(
    rule: &RuleDefinition,
    parsed: &ParsedRule,
    source: &Source<'_>,
    selection: &Selection<'_>,
    catalog: &Catalog,
) -> Result<Program, SqlError> {
    let mut relations = Vec::new();
    for written in selection.sources.all() {
        relations.push(Relation::of(source, written, catalog, relations.len().saturating_sub(1))?);
    }
    let Some(Relation::Messages { filter, .. }) = relations.first().copied() else {
        return Err(source.error(selection.sources.first.place, "a rule reads messages"));
    };
    let mut typing = Typing::new(source, &relations, Aggregates::Refused("ON"));
    typing.draws = Draws::of(&parsed.query);
    let mut joins = Vec::new();
    for joined in &selection.sources.joined {
        joins.push((joined.kind, start(joined.on), typing.condition(joined.on, "ON")?));
    }
    typing.aggregates = Aggregates::Rule;
    let predicate = match selection.predicate {
        Some(predicate) => Some(typing.condition(predicate, "WHERE")?),
        None => None,
    };
    let (star, columns) = output::columns(&mut typing, &selection.items)?;
    if star {
        let place = selection.items.first().map_or(source.end(), output::place);
        let error = source.error(place, "* cannot stand for several sources");
        return Err(error.hint("name the columns, each with its source"));
    }
    typing.outputs = output::named(&typing, &selection.items, &[])?;
    let mut arguments = Vec::new();
    for (index, action) in rule.actions.iter().enumerate() {
        let own = parsed.definition.actions.get(index).zip(parsed.places.get(index)).map(as_written);
        arguments.push(templates(&mut typing, action, own)?);
    }
    typing.outputs.clear();
    typing.envelope_only = true;
    let error_arguments = match &rule.on_error {
        Some(action) => {
            let own = parsed.definition.on_error.as_ref().zip(parsed.places.last()).map(as_written);
            templates(&mut typing, action, own)?
        }
        None => Vec::new(),
    };

    let failed = |error: DataFusionError| {
        let place = selection.items.first().map_or(source.end(), output::place);
        source.error(place, format!("the rule cannot be planned: {}", plain(&error)))
    };
    let Typing { inputs, tables, .. } = typing;
    let messages = inputs.schema();
    let of_messages = relations.first().map_or("", Relation::plan_name);
    // Settings for what cannot be read are of the message alone.
    let own = Compiler::of(qualified(of_messages, &messages).map_err(failed)?).map_err(failed)?;
    let error_arguments = arguments_of(&own, error_arguments).map_err(failed)?;

    let mut known = qualified(of_messages, &messages).map_err(failed)?;
    let mut planned = Vec::new();
    let joined = joins.into_iter().zip(tables).zip(relations.iter().skip(1));
    for (((kind, place, on), inputs), relation) in joined {
        let Relation::Table { schema, .. } = relation else {
            return Err(source.error(place, "a rule joins tables to its messages"));
        };
        let name = relation.plan_name();
        known = known.join(&qualified(name, &inputs.schema()).map_err(failed)?).map_err(failed)?;
        let key = |column: &str| {
            let found = looked_up(&on, of_messages, name, column);
            let found = found.ok_or_else(|| {
                let error = source.error(place, format!("ON does not say whose row of {name} belongs to a message"));
                error.hint(format!("add {name}.product = msg.product AND {name}.device = msg.device"))
            })?;
            own.compile(found).map_err(failed)
        };
        planned.push(JoinedTable {
            table: schema.name.clone(),
            left: kind == JoinKind::Left,
            product: key("product")?,
            device: key("device")?,
            on: Compiler::of(known.clone()).and_then(|compiler| compiler.compile(on)).map_err(failed)?,
            inputs: inputs.into_vec().into_iter().map(|slot| slot.input).collect(),
        });
    }
    let compiler = Compiler::of(known.clone()).map_err(failed)?;
    let columns = columns.into_iter().map(|column| {
        let typed = column_of(column.typed);
        Ok(OutputColumn { name: column.name, expression: compiler.compile(typed.expr)?, is_json: typed.is_json })
    });
    let joins = JoinedRule {
        columns: columns.collect::<PlanResult<_>>().map_err(failed)?,
        predicate: predicate.map(|predicate| compiler.compile(predicate)).transpose().map_err(failed)?,
        arguments: arguments
            .into_iter()
            .map(|templates| arguments_of(&compiler, templates))
            .collect::<PlanResult<_>>()
            .map_err(failed)?,
        schema: unqualified(&known),
        tables: planned,
    };
    let inputs = inputs.into_vec();
    let columns = (0..inputs.len()).map(|index| OutputColumn {
        name: index.to_string(),
        expression: Arc::new(Column::new("", index)) as Arc<dyn PhysicalExpr>,
        is_json: false,
    });
    Ok(Program {
        name: rule.name.clone(),
        sources: vec![filter.clone()],
        predicate: None,
        output: Output { star: false, columns: columns.collect() },
        inputs,
        arguments: Vec::new(),
        error_arguments,
        windows: None,
        joins: Some(Arc::new(joins)),
    })
}

fn qualified(name: &str, schema: &SchemaRef) -> PlanResult<DFSchema> {
    DFSchema::try_from_qualified_schema(name, schema)
}

/// Columns of several sources may have one name; expressions know them by their place.
fn unqualified(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(place, field)| field.as_ref().clone().with_name(place.to_string()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What `column` of a table must be equal to, if a part of ON says so of the messages alone.
fn looked_up(on: &Expr, messages: &str, table: &str, column: &str) -> Option<Expr> {
    let is_column = |expr: &Expr| {
        let Expr::Column(ColumnName { relation: Some(relation), name, .. }) = expr else { return false };
        relation.table() == table && name == column
    };
    let of_messages = |expr: &Expr| {
        let columns = expr.column_refs();
        columns.iter().all(|column| column.relation.as_ref().is_some_and(|relation| relation.table() == messages))
    };
    split_conjunction(on).into_iter().find_map(|part| {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { return None };
        let value = match (is_column(left), is_column(right)) {
            (true, _) => right,
            (_, true) => left,
            _ => return None,
        };
        of_messages(value).then(|| value.as_ref().clone())
    })
}
