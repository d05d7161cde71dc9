//! Rules run over batches.
//!
//! A batch is sorted by the rules that want its messages, each payload is read once for all of them, and rules are then
//! evaluated one after the other, those of one shape together where each has but a few rows. A row's result depends on
//! its record and its rule alone. Nothing here knows SQL, and nothing is planned while a batch waits.

mod inputs;
mod prepare;
mod reader;
mod route;
mod rule;
mod run;
mod stage;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion_common::{DataFusionError, ScalarValue};
use hashbrown::HashMap;
use weir_core::{
    RuleName,
    schema::Records,
    seams::{Catalog, Evaluator, RuleEvaluation, SqlError},
    statement::RuleDefinition,
};

pub use self::inputs::InputReader;
use self::{
    reader::Batch,
    route::Router,
    rule::{Rule, Shared},
};
use crate::{plan::plan, program::Program};

/// A set of planned rules.
#[derive(Clone, Default)]
pub struct RuleSet {
    index: Arc<Index>,
}

/// The rules of a set in the order in which they are evaluated: those of one shape beside each other.
#[derive(Debug, Default)]
struct Index {
    rules: Vec<Arc<Rule>>,
    names: HashMap<RuleName, usize>,
    router: Router,
    /// For each rule its place among those of its shape.
    places: Vec<u32>,
    /// For each rule the literals of all rules of its shape, by parameter.
    parameters: Vec<Arc<[ArrayRef]>>,
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
        let mut shared = Shared::of(self.index.rules.iter());
        let mut places: HashMap<RuleName, usize> = HashMap::new();
        let mut rules = self.index.rules.clone();
        places.extend(self.index.names.iter().map(|(name, place)| (name.clone(), *place)));
        for program in programs {
            let name = program.name.clone();
            let rule = Arc::new(shared.rule(program).map_err(|error| (name.clone(), unprepared(&error)))?);
            match places.get(&name).and_then(|place| rules.get_mut(*place)) {
                Some(known) => *known = rule,
                None => {
                    places.insert(name, rules.len());
                    rules.push(rule);
                }
            }
        }
        Self::of(rules)
    }

    fn of(rules: Vec<Arc<Rule>>) -> Result<Self, (RuleName, SqlError)> {
        Ok(Self { index: Arc::new(Index::new(rules)?) })
    }

    /// The rows of one rule as a batch, before they are rendered: the columns of its SELECT without `*`. Rows that fail
    /// are not among them. `None` if there is no such rule.
    pub fn select(&self, rule: &RuleName, records: &Records) -> Option<RecordBatch> {
        let rule = self.rule(rule)?;
        let rows = rows_of(rule, records);
        run::select(rule, &batch_of(rule, records, &rows), &rows)
    }

    fn rule(&self, name: &RuleName) -> Option<&Arc<Rule>> {
        self.index.rules.get(*self.index.names.get(name)?)
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
        // The rules that are left were in a set before.
        Arc::new(Self::of(rules).unwrap_or_else(|_| self.clone()))
    }

    fn evaluate(&self, records: &Records) -> Vec<RuleEvaluation> {
        let routed = self.index.router.route(records);
        let batch = Batch::new(records, routed.wanted());
        run::evaluate(&self.index, &routed, &batch)
    }

    fn evaluate_rule(&self, rule: &RuleName, records: &Records) -> Option<RuleEvaluation> {
        let rule = self.rule(rule)?;
        let rows = rows_of(rule, records);
        run::evaluate_alone(rule, &batch_of(rule, records, &rows), &rows)
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.index.rules.iter().map(|rule| &rule.name)).finish()
    }
}

fn batch_of<'a>(rule: &Rule, records: &'a Records, rows: &[u32]) -> Batch<'a> {
    Batch::new(records, rule.reader().map(|reader| (reader, rows.to_vec())).into_iter().collect())
}

/// The messages that are for a rule.
fn rows_of(rule: &Rule, records: &Records) -> Vec<u32> {
    let is_for = |row: &u32| {
        let row = *row as usize;
        let topic = || records.topic.value(row);
        records.is_message(row) && rule.sources.iter().any(|filter| filter.matches(topic()))
    };
    (0..).take(records.len()).filter(is_for).collect()
}

fn unprepared(error: &DataFusionError) -> SqlError {
    let message = format!("the rule cannot be run: {}", error.strip_backtrace());
    SqlError { message, position: None, line: None, hint: None }
}

impl Index {
    fn new(mut rules: Vec<Arc<Rule>>) -> Result<Self, (RuleName, SqlError)> {
        let mut shapes = HashMap::new();
        for rule in &rules {
            let next = shapes.len();
            shapes.entry(Arc::as_ptr(&rule.shape)).or_insert(next);
        }
        rules.sort_by_key(|rule| shapes.get(&Arc::as_ptr(&rule.shape)).copied());

        let (mut places, mut parameters) = (Vec::with_capacity(rules.len()), Vec::with_capacity(rules.len()));
        for alike in rules.chunk_by(|a, b| Arc::ptr_eq(&a.shape, &b.shape)) {
            let columns = literals(alike)?;
            places.extend((0..).take(alike.len()));
            parameters.extend(alike.iter().map(|_| Arc::clone(&columns)));
        }
        let names = rules.iter().enumerate().map(|(place, rule)| (rule.name.clone(), place)).collect();
        let router = Router::new(rules.iter().map(|rule| (rule.sources.as_slice(), rule.inputs.as_ref())));
        Ok(Self { rules, names, router, places, parameters })
    }
}

/// The literals of rules of one shape, by parameter.
fn literals(alike: &[Arc<Rule>]) -> Result<Arc<[ArrayRef]>, (RuleName, SqlError)> {
    let Some(first) = alike.first() else { return Ok(Arc::default()) };
    let columns = (0..first.parameters.len())
        .map(|number| ScalarValue::iter_to_array(alike.iter().filter_map(|rule| rule.parameters.get(number).cloned())));
    columns.collect::<Result<_, _>>().map_err(|error| (first.name.clone(), unprepared(&error)))
}
