//! Planning: a rule's SELECT and settings to a [`Program`], an ad-hoc SELECT to a logical plan.
//!
//! The expressions of both are read by the same code ([`typing`]), so that a rule means what the same SQL means over
//! past messages. Expressions are built from the syntax tree directly and not by DataFusion's SQL planner: it wants
//! the type of each column before it sees the expression, and here the expression gives the type.

mod aggregate;
mod clauses;
mod declared;
mod inputs;
mod operand;
mod output;
mod physical;
mod probe;
mod query;
mod relation;
mod template;
mod typing;

use datafusion_common::DataFusionError;
use sqlparser::tokenizer::Location;
use weir_core::{
    seams::{Catalog, SqlError},
    statement::{ActionDefinition, RuleDefinition},
};

use self::{
    aggregate::Aggregates,
    physical::{Compiler, text_of},
    relation::Relation,
    template::{Template, TemplatePiece, templates},
    typing::{Draws, Typing},
};
pub use self::{
    inputs::{data_type, kind_type},
    probe::probe,
    query::{Query, QueryColumn, QueryRead, QuerySource, plan_query},
};
use crate::{
    error::Source,
    language::{
        parse_rule,
        select::{Purpose, selection, start},
    },
    program::{Argument, Output, OutputColumn, Piece, Program},
    stack::with_room,
};

/// Plans a rule. Places in errors are those of `rule.text`.
///
/// What the rule does is read from its text, but its actions are taken as they are given: a sink's settings may stand
/// in for its name.
pub fn plan(rule: &RuleDefinition, catalog: &Catalog) -> Result<Program, SqlError> {
    with_room(|| plan_here(rule, catalog))
}

fn plan_here(rule: &RuleDefinition, catalog: &Catalog) -> Result<Program, SqlError> {
    let parsed = parse_rule(&rule.text)?;
    let source = Source::script(&rule.text);
    let selection = selection(&source, &parsed.query, Purpose::Rule)?;
    let relations = [Relation::of(&source, &selection.sources.first, catalog, 0)?];
    let [Relation::Messages { filter, .. }] = relations else {
        return Err(source.error(selection.sources.first.place, "a rule reads messages"));
    };
    let mut typing = Typing::new(&source, &relations, Aggregates::Rule);
    typing.draws = Draws::of(&parsed.query);

    let predicate = match selection.predicate {
        Some(predicate) => Some(typing.condition(predicate, "WHERE")?),
        None => None,
    };
    let (star, columns) = output::columns(&mut typing, &selection.items)?;

    // In settings a bare name is a column of the SELECT before it is a path.
    typing.outputs = output::named(&typing, &selection.items, &[])?;
    let written = &parsed.definition;
    let mut arguments = Vec::new();
    for (index, action) in rule.actions.iter().enumerate() {
        let own = written.actions.get(index).zip(parsed.places.get(index)).map(as_written);
        arguments.push(templates(&mut typing, action, own)?);
    }
    typing.outputs.clear();
    typing.envelope_only = true;
    let error_arguments = match &rule.on_error {
        Some(action) => {
            let own = written.on_error.as_ref().zip(parsed.places.last()).map(as_written);
            templates(&mut typing, action, own)?
        }
        None => Vec::new(),
    };

    let inputs = typing.inputs;
    let failed = |error: DataFusionError| {
        let place = selection.items.first().map_or(source.end(), output::place);
        source.error(place, format!("the rule cannot be planned: {}", plain(&error)))
    };
    let compiler = Compiler::new(inputs.schema()).map_err(failed)?;
    let compile = |templates| arguments_of(&compiler, templates);
    let columns = columns.into_iter().map(|column| {
        let typed = physical::column_of(column.typed);
        let expression = compiler.compile(typed.expr)?;
        Ok(OutputColumn { name: column.name, expression, is_json: typed.is_json })
    });
    Ok(Program {
        name: rule.name.clone(),
        sources: vec![filter.clone()],
        predicate: predicate.map(|predicate| compiler.compile(predicate)).transpose().map_err(failed)?,
        output: Output { star, columns: columns.collect::<Result<_, _>>().map_err(failed)? },
        arguments: arguments.into_iter().map(compile).collect::<Result<_, _>>().map_err(failed)?,
        error_arguments: compile(error_arguments).map_err(failed)?,
        inputs: inputs.into_vec(),
    })
}

fn as_written<'a>(
    (action, places): (&'a ActionDefinition, &'a Vec<Location>),
) -> (&'a ActionDefinition, &'a [Location]) {
    (action, places.as_slice())
}

fn arguments_of(compiler: &Compiler, templates: Vec<Template>) -> Result<Vec<Argument>, DataFusionError> {
    let argument = |template: Template| {
        let pieces = template.pieces.into_iter().map(|piece| match piece {
            TemplatePiece::Literal(text) => Ok(Piece::Literal(text)),
            TemplatePiece::Expression(expr) => Ok(Piece::Expression(compiler.compile(expr)?)),
        });
        let pieces = pieces.collect::<Result<_, DataFusionError>>()?;
        Ok(Argument { setting: template.setting, pieces, value: template.value })
    };
    templates.into_iter().map(argument).collect()
}

/// The first line of an engine's error, without its own classes of errors.
pub(crate) fn plain(error: &DataFusionError) -> String {
    const CLASSES: [&str; 9] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Compute error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "Cast error: ",
        "External error: ",
        "This feature is not implemented: ",
    ];
    let text = error.strip_backtrace();
    let mut line = text.lines().next().unwrap_or_default();
    while let Some(shorter) = CLASSES.iter().find_map(|class| line.strip_prefix(class)) {
        line = shorter;
    }
    // A regular expression is explained in several lines, the last of which says what is wrong.
    match text.lines().rev().find_map(|line| line.trim().strip_prefix("error: ")) {
        Some(detail) => format!("the regular expression is wrong: {detail}"),
        None => line.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests;
