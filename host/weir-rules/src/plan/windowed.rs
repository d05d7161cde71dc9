//! Planning a rule with windows: one program feeds them, and another reads the rows that they make.

use std::sync::Arc;

use datafusion_common::DataFusionError;
use sqlparser::ast;
use weir_core::{
    TopicFilter,
    seams::{Catalog, SqlError},
    statement::RuleDefinition,
    windows::{late_topic, rows_topic},
};

use super::{
    Compiler, Draws, Relation, Typing,
    aggregate::Aggregates,
    arguments_of, as_written,
    clauses::{Parts, read},
    output, plain,
    template::templates,
    windows::{Finish, WindowParts},
};
use crate::{
    error::{Hint, Source},
    language::{
        select::Selection,
        sources::{What, Written},
        statement::{ParsedRule, TimeClauses},
    },
    program::{Output, Program},
    window::WindowedRule,
};

/// A rule without windows has no use for the time of its messages.
pub(super) fn refuse_time(source: &Source<'_>, time: &TimeClauses) -> Result<(), SqlError> {
    let clauses = [
        ("EVENT TIME", time.event_time.as_ref().map(|time| time.place)),
        ("LATENESS", time.lateness.as_ref().map(|(_, place)| *place)),
        ("ON LATE TO", time.on_late),
    ];
    match clauses.into_iter().find_map(|(clause, place)| Some((clause, place?))) {
        Some((clause, place)) => Err(source
            .error(place, format!("{clause} is for windows, and the rule has none"))
            .hint("add one to GROUP BY, such as tumble('1 minute')")),
        None => Ok(()),
    }
}

pub(super) fn plan(
    rule: &RuleDefinition,
    parsed: &ParsedRule,
    source: &Source<'_>,
    selection: &Selection<'_>,
    catalog: &Catalog,
) -> Result<Program, SqlError> {
    if let Some(joined) = selection.sources.joined.first() {
        let error = source.error(joined.source.place, "windows are of messages alone");
        return Err(error.hint("a second rule can read what this one makes, FROM '$rule/NAME', and join tables to it"));
    }
    let relations = [Relation::of(source, &selection.sources.first, catalog, 0)?];
    let [Relation::Messages { filter, .. }] = relations else {
        return Err(source.error(selection.sources.first.place, "a rule reads messages"));
    };
    let mut typing = Typing::new(source, &relations, Aggregates::Refused("WHERE"));
    typing.draws = Draws::of(&parsed.query);
    let time = typing.time(&parsed.time)?;
    typing.aggregates = Aggregates::Refused("WHERE");
    let parts = read(&mut typing, selection)?;

    let failed = |error: DataFusionError| {
        let place = selection.items.first().map_or(source.end(), output::place);
        source.error(place, format!("the rule cannot be planned: {}", plain(&error)))
    };
    // What feeds the windows fails as any rule does, and with the same settings.
    let error_arguments = {
        typing.outputs.clear();
        typing.aggregates = Aggregates::Rule;
        typing.envelope_only = true;
        match &rule.on_error {
            Some(action) => {
                let own = parsed.definition.on_error.as_ref().zip(parsed.places.last()).map(as_written);
                templates(&mut typing, action, own)?
            }
            None => Vec::new(),
        }
    };
    let Parts { predicate, grouping, window, having, columns, .. } = parts;
    let (Some(frame), Some(grouping)) = (window, grouping) else {
        return Err(source.error(source.end(), "the rule has no window"));
    };
    let inputs = typing.inputs;
    let compiler = Compiler::new(inputs.schema()).map_err(failed)?;
    let error_arguments = arguments_of(&compiler, error_arguments).map_err(failed)?;
    let named = output::named_columns(&columns, &selection.items);
    let windows =
        WindowParts { name: rule.name.clone(), filter: filter.clone(), frame, time, inputs, predicate, grouping };
    let windows = windows.plan().map_err(failed)?;
    let finish = Finish::compile(&windows.schema, having, columns).map_err(failed)?;
    let failing = rule.on_error.as_ref().map(|_| Program { error_arguments, ..windows.feed.clone() });
    // Its target has no settings that differ from row to row.
    let late = rule.on_late.as_ref().map(|_| {
        let program = passing_on(rule, late_topic)?;
        Ok::<_, SqlError>(Program { arguments: vec![Vec::new()], ..program })
    });
    let late = late.transpose()?;

    let mut program = passing_on(rule, rows_topic)?;
    read_settings(&mut program, rule, parsed, source, catalog, named)?;
    program.windows = Some(Arc::new(WindowedRule { plan: Arc::new(windows), finish, failing, late }));
    Ok(program)
}

/// A program that takes the messages of one topic as they are.
fn passing_on(rule: &RuleDefinition, topic: fn(&weir_core::RuleName) -> String) -> Result<Program, SqlError> {
    let filter = topic(&rule.name).parse::<TopicFilter>();
    let filter = filter
        .map_err(|error| Source::script(&rule.text).error(Source::script(&rule.text).end(), error.to_string()))?;
    Ok(Program {
        name: rule.name.clone(),
        sources: vec![filter],
        inputs: Vec::new(),
        predicate: None,
        output: Output { star: true, columns: Vec::new() },
        arguments: Vec::new(),
        error_arguments: Vec::new(),
        windows: None,
        joins: None,
    })
}

/// The settings of actions with `${…}`, which are read of the rows that windows make.
fn read_settings(
    program: &mut Program,
    rule: &RuleDefinition,
    parsed: &ParsedRule,
    source: &Source<'_>,
    catalog: &Catalog,
    named: Vec<(String, ast::Expr)>,
) -> Result<(), SqlError> {
    let Some(filter) = program.sources.first().cloned() else { return Ok(()) };
    let written = Written { what: What::Messages(filter), alias: None, place: source.end() };
    let relations = [Relation::of(source, &written, catalog, 0)?];
    let mut typing = Typing::new(source, &relations, Aggregates::Selected(named));
    let mut arguments = Vec::new();
    for (index, action) in rule.actions.iter().enumerate() {
        let own = parsed.definition.actions.get(index).zip(parsed.places.get(index)).map(as_written);
        arguments.push(templates(&mut typing, action, own)?);
    }
    let inputs = typing.inputs;
    let failed =
        |error: DataFusionError| source.error(source.end(), format!("the rule cannot be planned: {}", plain(&error)));
    let compiler = Compiler::new(inputs.schema()).map_err(failed)?;
    let arguments = arguments.into_iter().map(|templates| arguments_of(&compiler, templates));
    program.arguments = arguments.collect::<Result<_, _>>().map_err(failed)?;
    program.inputs = inputs.into_vec();
    Ok(())
}
