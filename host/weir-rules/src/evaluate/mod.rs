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
mod joined;
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
use hashbrown::{HashMap, HashSet};
use weir_core::{
    RuleName,
    schema::Records,
    seams::{Catalog, Evaluator, RuleEvaluation, RulePart, SqlError, Table, TableError},
    statement::RuleDefinition,
    windows::{OpenedWindows, WindowLimits, WindowShape},
};

pub(crate) use self::report::Fed;
use self::{
    batch::Batch,
    index::Index,
    rule::{Rule, Shared},
    run::Run,
};
pub use self::{inputs::InputReader, tables::TableReader};
use crate::{
    plan::plan,
    program::{JoinedRule, Program},
    window::{RuleWindows, WindowedRule},
};

/// A set of planned rules.
#[derive(Clone, Default)]
pub struct RuleSet {
    index: Arc<Index>,
    windowed: Arc<Windowed>,
    joined: Arc<Joined>,
}

/// Rules that join tables. They are evaluated by themselves, as they wait for the tables.
#[derive(Default)]
struct Joined {
    rules: HashMap<RuleName, Arc<JoinedRule>>,
    index: Index,
}

/// What rules with windows have beside their rows.
#[derive(Default)]
struct Windowed {
    rules: HashMap<RuleName, Arc<WindowedRule>>,
    /// Those with a target for what cannot be read.
    failing: Index,
    /// Those with a target for what comes too late.
    late: Index,
}

impl RuleSet {
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.index.rules.len() + self.joined.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set with these programs added or replaced, of several of one name the last.
    pub fn with_programs(&self, programs: Vec<Program>) -> Result<Self, (RuleName, SqlError)> {
        if programs.is_empty() {
            return Ok(self.clone());
        }
        let names: HashSet<RuleName> = programs.iter().map(|program| program.name.clone()).collect();
        let mut windowed = HashMap::new();
        for program in &programs {
            windowed.insert(program.name.clone(), program.windows.clone());
        }
        let has_windows =
            windowed.values().any(Option::is_some) || names.iter().any(|name| self.windows_of(name).is_some());
        let windowed = if has_windows { Arc::new(self.windowed.with(windowed)?) } else { Arc::clone(&self.windowed) };
        let (joining, plain): (Vec<_>, Vec<_>) = programs.into_iter().partition(|program| program.joins.is_some());
        let mut next = Self { windowed, ..self.clone() };
        // A rule may have joined before, or join now.
        for program in &plain {
            next.joined = next.without_joins(&program.name);
        }
        for program in &joining {
            next.index = next.without_plain(&program.name);
        }
        if !joining.is_empty() {
            next.joined = Arc::new(next.joined.with(joining)?);
        }
        if !plain.is_empty() {
            next.index = Arc::new(next.index.with(plain)?);
        }
        Ok(next)
    }

    fn without_joins(&self, rule: &RuleName) -> Arc<Joined> {
        match self.joined.rules.contains_key(rule) {
            true => Arc::new(self.joined.without(rule)),
            false => Arc::clone(&self.joined),
        }
    }

    fn without_plain(&self, rule: &RuleName) -> Arc<Index> {
        match self.index.names.contains_key(rule) {
            true => Arc::new(self.index.without(rule)),
            false => Arc::clone(&self.index),
        }
    }

    fn windows_of(&self, rule: &RuleName) -> Option<&Arc<WindowedRule>> {
        self.windowed.rules.get(rule)
    }

    /// The rows of one rule as a batch, before they are written as JSON: the columns of its SELECT without `*`. Rows
    /// that fail are not among them. `None` if there is no such rule.
    pub fn select(&self, rule: &RuleName, records: &Records) -> Option<RecordBatch> {
        self.index.one(rule, records, |run| report::selected(&run))?
    }

    /// What windows are fed with by one rule.
    pub(crate) fn feed(&self, rule: &RuleName, records: &Records) -> Fed {
        self.index.one(rule, records, |run| report::fed(&run)).flatten().unwrap_or_default()
    }
}

impl Joined {
    fn with(&self, programs: Vec<Program>) -> Result<Self, (RuleName, SqlError)> {
        let mut rules = self.rules.clone();
        for program in &programs {
            rules.extend(program.joins.clone().map(|joins| (program.name.clone(), joins)));
        }
        Ok(Self { index: self.index.with(programs)?, rules })
    }

    fn without(&self, rule: &RuleName) -> Self {
        let mut rules = self.rules.clone();
        rules.remove(rule);
        Self { index: self.index.without(rule), rules }
    }
}

impl Windowed {
    /// With the windows of changed rules, or without those that have none any more.
    fn with(&self, changed: HashMap<RuleName, Option<Arc<WindowedRule>>>) -> Result<Self, (RuleName, SqlError)> {
        let mut rules = self.rules.clone();
        for (name, windows) in changed {
            match windows {
                Some(windows) => rules.insert(name, windows),
                None => rules.remove(&name),
            };
        }
        let failing = rules.values().filter_map(|rule| rule.failing.clone()).collect();
        let late = rules.values().filter_map(|rule| rule.late.clone()).collect();
        let (failing, late) = (Index::default().with(failing)?, Index::default().with(late)?);
        Ok(Self { failing, late, rules })
    }
}

impl Index {
    /// These rules with programs added or replaced; none if there are no programs.
    fn with(&self, programs: Vec<Program>) -> Result<Self, (RuleName, SqlError)> {
        let Some(first) = programs.first().map(|program| program.name.clone()) else { return Ok(Self::default()) };
        let mut shared = Shared::of(self.rules.iter());
        let mut names = self.names.clone();
        let mut rules = self.rules.clone();
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
        Index::new(rules).map_err(|error| (first, unprepared(&error)))
    }

    fn without(&self, rule: &RuleName) -> Self {
        let left = self.rules.iter().filter(|other| other.name != *rule).cloned().collect();
        // They were in an index before, so that this one cannot fail.
        Self::new(left).unwrap_or_default()
    }

    /// Runs one rule over the messages that are for it.
    fn one<T>(&self, rule: &RuleName, records: &Records, then: impl FnOnce(Run<'_>) -> T) -> Option<T> {
        let number = *self.names.get(rule)?;
        let rows = rows_of(self.rules.get(number)?, records);
        let reader = self.parts.get(number)?.reader(&self.inputs);
        let wanted: Vec<_> = reader.map(|reader| (reader, rows.clone())).into_iter().collect();
        let batch = Batch::new(records, &self.inputs, &wanted);
        Some(then(Run::one(self, &batch, number, rows)))
    }

    /// Runs all rules.
    fn all(&self, records: &Records) -> Vec<RuleEvaluation> {
        let routed = self.router.route(records);
        let batch = Batch::new(records, &self.inputs, &routed.wanted());
        report::report(&Run::all(self, &batch, routed))
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
        let (index, joined) = (self.without_plain(rule), self.without_joins(rule));
        let windowed = match self.windows_of(rule) {
            Some(_) => self.windowed.with([(rule.clone(), None)].into()).map(Arc::new).ok(),
            None => None,
        };
        let windowed = windowed.unwrap_or_else(|| Arc::clone(&self.windowed));
        Arc::new(Self { index, windowed, joined })
    }

    fn evaluate(&self, records: &Records) -> Vec<RuleEvaluation> {
        let mut evaluations = self.index.all(records);
        for (index, part) in [(&self.windowed.failing, RulePart::Failures), (&self.windowed.late, RulePart::Late)] {
            if !index.rules.is_empty() {
                evaluations.extend(index.all(records).into_iter().map(|evaluation| of_part(evaluation, part)));
            }
        }
        evaluations
    }

    fn evaluate_rule(&self, rule: &RuleName, part: RulePart, records: &Records) -> Option<RuleEvaluation> {
        let index = match part {
            RulePart::Rows => &*self.index,
            RulePart::Failures => &self.windowed.failing,
            RulePart::Late => &self.windowed.late,
        };
        let evaluation = index.one(rule, records, |run| report::report(&run).pop())??;
        Some(of_part(evaluation, part))
    }

    fn evaluate_joined(
        &self,
        rule: &RuleName,
        records: &Records,
        tables: &[Arc<dyn Table>],
    ) -> Option<Result<RuleEvaluation, TableError>> {
        let joins = self.joined.rules.get(rule)?;
        let (fed, evaluation) =
            self.joined.index.one(rule, records, |run| Some((report::fed(&run)?, report::report(&run).pop()?)))??;
        Some(joined::evaluate(joins, fed, evaluation, tables))
    }

    fn windows(&self, rule: &RuleName, saved: Option<&[u8]>, limits: WindowLimits) -> Option<OpenedWindows> {
        let windows = Arc::clone(self.windows_of(rule)?);
        // Every part was made once when the rule was planned.
        let (windows, lost) = RuleWindows::open(windows, limits, saved).ok()?;
        Some(OpenedWindows { windows: Box::new(windows), lost })
    }

    fn reads_live(&self, rule: &RuleName) -> Vec<String> {
        self.joined
            .rules
            .get(rule)
            .map(|joins| joins.tables.iter().map(|joined| joined.table.clone()).collect())
            .unwrap_or_default()
    }

    fn window_shape(&self, rule: &RuleName) -> Option<WindowShape> {
        Some(self.windows_of(rule)?.plan.shape.clone())
    }
}

/// What feeds windows has values of its own, which are no rows.
fn of_part(mut evaluation: RuleEvaluation, part: RulePart) -> RuleEvaluation {
    evaluation.part = part;
    if part == RulePart::Failures {
        evaluation.actions = Vec::new();
    }
    evaluation
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.index.rules.iter().chain(&self.joined.index.rules).map(|rule| &rule.name)).finish()
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
