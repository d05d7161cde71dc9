//! A rule taken apart: each part of its WHERE by itself, beside what it reads. The parts are read and compiled as those of
//! the whole rule are, so that they say what the rule does.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion_physical_expr::PhysicalExpr;
use serde::de::IgnoredAny;
use sqlparser::ast::{BinaryOperator, Expr};
use weir_core::{
    schema::Records,
    seams::{Catalog, Condition, Findings, Probe, ReadValue, SqlError},
    statement::RuleDefinition,
};

use super::{
    aggregate::Aggregates,
    physical::Compiler,
    plain,
    relation::Relation,
    typing::{Typing, written},
};
use crate::{
    error::Source,
    evaluate::InputReader,
    language::{
        parse_rule,
        select::{Purpose, selection, start},
    },
    program::{ColumnType, Input, JsonPath},
    stack::with_room,
};

#[derive(Debug)]
struct RuleProbe {
    conditions: Vec<(String, Arc<dyn PhysicalExpr>)>,
    schema: SchemaRef,
    inputs: InputReader,
    paths: Vec<JsonPath>,
    /// The same paths as they stand in the payload.
    shown: InputReader,
    reads_json: bool,
}

/// Takes a rule apart. Places in errors are those of `rule.text`.
pub fn probe(rule: &RuleDefinition, catalog: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
    with_room(|| probe_here(rule, catalog))
}

fn probe_here(rule: &RuleDefinition, catalog: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
    let parsed = parse_rule(&rule.text)?;
    let source = Source::script(&rule.text);
    let selection = selection(&source, &parsed.query, Purpose::Rule)?;
    let relations = [Relation::of(&source, &selection.sources.first, catalog, 0)?];
    let mut typing = Typing::new(&source, &relations, Aggregates::Rule);
    let mut parts = Vec::new();
    if let Some(predicate) = selection.predicate {
        split(predicate, &mut parts);
    }
    let mut conditions = Vec::new();
    for part in parts {
        conditions.push((part, typing.condition(part, "WHERE")?));
    }
    let schema = typing.inputs.schema();
    let inputs = typing.inputs.into_vec();
    let failed = |place, error| source.error(place, format!("the condition cannot be planned: {}", plain(&error)));
    let compiler = Compiler::new(Arc::clone(&schema)).map_err(|error| failed(source.end(), error))?;
    let compiled = conditions.into_iter().map(|(part, condition)| {
        Ok((written(part), compiler.compile(condition).map_err(|error| failed(start(part), error))?))
    });
    let conditions = compiled.collect::<Result<Vec<_>, SqlError>>()?;

    let mut paths: Vec<JsonPath> = Vec::new();
    for input in &inputs {
        match input {
            Input::Path { path, .. } if !paths.contains(path) => paths.push(path.clone()),
            _ => {}
        }
    }
    let as_json = |path: &JsonPath| Input::Path { path: path.clone(), column_type: ColumnType::Json };
    let shown = InputReader::new(&paths.iter().map(as_json).collect::<Vec<_>>());
    let reads_json = inputs.iter().any(|input| matches!(input, Input::Path { .. } | Input::PayloadJson));
    let inputs = InputReader::new(&inputs);
    Ok(Arc::new(RuleProbe { conditions, schema, inputs, paths, shown, reads_json }))
}

/// What is joined by AND, in order.
fn split<'e>(expr: &'e Expr, parts: &mut Vec<&'e Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(left, parts);
            split(right, parts);
        }
        Expr::Nested(inner) if matches!(**inner, Expr::BinaryOp { op: BinaryOperator::And, .. } | Expr::Nested(_)) => {
            split(inner, parts);
        }
        other => parts.push(other),
    }
}

impl Probe for RuleProbe {
    fn look(&self, records: &Records, row: usize) -> Findings {
        let payload = if row < records.len() { records.payload.value(row) } else { &[] };
        if self.reads_json
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(payload)
        {
            let unreadable = Some(format!("the payload is not valid JSON: {error}"));
            return Findings { unreadable, ..Findings::default() };
        }
        let rows = [u32::try_from(row).unwrap_or(u32::MAX)];
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let columns = self.inputs.read(records, &rows).ok();
        let batch =
            columns.and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &one).ok());
        let is = |condition: &Arc<dyn PhysicalExpr>| {
            let value = condition.evaluate(batch.as_ref()?).ok()?.into_array(1).ok()?;
            let value = value.as_boolean_opt()?;
            value.is_valid(0).then(|| value.value(0))
        };
        let conditions =
            self.conditions.iter().map(|(text, condition)| Condition { text: text.clone(), is: is(condition) });
        let shown = self.shown.read(records, &rows).unwrap_or_default();
        let values = self
            .paths
            .iter()
            .zip(&shown)
            .map(|(path, column)| ReadValue { path: path.to_string(), json: text(column) });
        Findings { unreadable: None, conditions: conditions.collect(), values: values.collect() }
    }
}

fn text(column: &ArrayRef) -> Option<String> {
    let column = column.as_string_opt::<i32>()?;
    column.is_valid(0).then(|| column.value(0).to_owned())
}
