//! Rules run over batches.
//!
//! A batch is sorted by the rules that want its messages ([`route`]), and each payload is read once for all of them
//! ([`batch`]). Then come the predicates and the values of the matching rows ([`run`]): rule by rule where a rule has many
//! rows, all expressions of one shape together where each has but a few. At last the rows are written ([`report`]). A
//! row's result depends on its record and its rule alone. Nothing here knows SQL, and nothing is planned while a batch
//! waits.

mod batch;
mod compute;
mod expression;
mod index;
mod inputs;
mod report;
mod route;
mod rule;
mod run;
mod tables;
#[cfg(test)]
mod tests;
mod write;

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use datafusion_common::DataFusionError;
use weir_core::{
    RuleName,
    schema::Records,
    seams::{Catalog, Evaluator, RuleEvaluation, SqlError},
    statement::RuleDefinition,
};

use self::{
    batch::Batch,
    index::Index,
    rule::{Rule, Shared},
    run::Run,
};
pub use self::{inputs::InputReader, tables::TableReader};
use crate::{plan::plan, program::Program};

/// A set of planned rules.
#[derive(Clone, Default)]
pub struct RuleSet {
    index: Arc<Index>,
}

impl RuleSet {
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.index.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.rules.is_empty()
    }

    /// The set with these programs added or replaced, of several of one name the last.
    pub fn with_programs(&self, programs: Vec<Program>) -> Result<Self, (RuleName, SqlError)> {
        let Some(first) = programs.first().map(|program| program.name.clone()) else { return Ok(self.clone()) };
        let mut shared = Shared::of(self.index.rules.iter());
        let mut names = self.index.names.clone();
        let mut rules = self.index.rules.clone();
        for program in programs {
            let name = program.name.clone();
            let rule = Arc::new(shared.rule(program).map_err(|error| (name.clone(), unprepared(&error)))?);
            match names.get(&name).and_then(|place| rules.get_mut(*place)) {
                Some(known) => *known = rule,
                None => {
                    names.insert(name, rules.len());
                    rules.push(rule);
                }
            }
        }
        let index = Index::new(rules).map_err(|error| (first, unprepared(&error)))?;
        Ok(Self { index: Arc::new(index) })
    }

    /// The rows of one rule as a batch, before they are written as JSON: the columns of its SELECT without `*`. Rows
    /// that fail are not among them. `None` if there is no such rule.
    pub fn select(&self, rule: &RuleName, records: &Records) -> Option<RecordBatch> {
        self.one(rule, records, |run| report::selected(&run))?
    }

    /// Runs one rule over the messages that are for it.
    fn one<T>(&self, rule: &RuleName, records: &Records, then: impl FnOnce(Run<'_>) -> T) -> Option<T> {
        let number = *self.index.names.get(rule)?;
        let rows = rows_of(self.index.rules.get(number)?, records);
        let reader = self.index.parts.get(number)?.reader(&self.index.inputs);
        let wanted: Vec<_> = reader.map(|reader| (reader, rows.clone())).into_iter().collect();
        let batch = Batch::new(records, &self.index.inputs, &wanted);
        Some(then(Run::one(&self.index, &batch, number, rows)))
    }
}

impl Evaluator for RuleSet {
    fn with_rules(
        &self,
        rules: &[RuleDefinition],
        catalog: &Catalog,
    ) -> Result<Arc<dyn Evaluator>, (RuleName, SqlError)> {
        let programs = rules.iter().map(|rule| plan(rule, catalog).map_err(|error| (rule.name.clone(), error)));
        Ok(Arc::new(self.with_programs(programs.collect::<Result<_, _>>()?)?))
    }

    fn without_rule(&self, rule: &RuleName) -> Arc<dyn Evaluator> {
        let rules = self.index.rules.iter().filter(|other| other.name != *rule).cloned().collect();
        // The rules that are left were in a set before, so that this set cannot fail.
        Arc::new(Index::new(rules).map_or_else(|_| self.clone(), |index| Self { index: Arc::new(index) }))
    }

    fn evaluate(&self, records: &Records) -> Vec<RuleEvaluation> {
        let routed = self.index.router.route(records);
        let batch = Batch::new(records, &self.index.inputs, &routed.wanted());
        report::report(&Run::all(&self.index, &batch, routed))
    }

    fn evaluate_rule(&self, rule: &RuleName, records: &Records) -> Option<RuleEvaluation> {
        self.one(rule, records, |run| report::report(&run).pop())?
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.index.rules.iter().map(|rule| &rule.name)).finish()
    }
}

/// The messages that are for a rule.
fn rows_of(rule: &Rule, records: &Records) -> Vec<u32> {
    let is_for = |row: &u32| {
        let row = *row as usize;
        records.is_message(row) && rule.sources.iter().any(|filter| filter.matches(records.topic.value(row)))
    };
    (0..).take(records.len()).filter(is_for).collect()
}

fn unprepared(error: &DataFusionError) -> SqlError {
    let message = format!("the rule cannot be run: {}", error.strip_backtrace());
    SqlError { message, position: None, line: None, hint: None }
}
