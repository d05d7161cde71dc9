//! The rows of two versions of a rule, set against each other batch by batch: both come from the same messages.

use std::{cmp::Ordering, sync::Arc};

use arrow::array::Array;
use weir_core::{
    history::{Comparison, Difference},
    schema::Records,
    seams::{Evaluator, Rows, RuleEvaluation, RulePart},
    statement::RuleDefinition,
};

use super::tally::sample;

pub(super) struct Comparing {
    rule: RuleDefinition,
    evaluator: Arc<dyn Evaluator>,
    comparison: Comparison,
    samples: usize,
}

impl Comparing {
    pub(super) fn new(rule: RuleDefinition, evaluator: Arc<dyn Evaluator>, samples: usize) -> Self {
        Self { rule, evaluator, comparison: Comparison::default(), samples }
    }

    /// `after`: what the tested version made of the records.
    pub(super) fn compare(&mut self, records: &Records, after: Option<&RuleEvaluation>) {
        let before = self.evaluator.evaluate_rule(&self.rule.name, RulePart::Rows, records);
        let actions = |evaluation: Option<&RuleEvaluation>| evaluation.map_or(0, |made| made.actions.len());
        for action in 0..actions(before.as_ref()).max(actions(after)) {
            let before = before.as_ref().and_then(|made| made.actions.get(action));
            let after = after.and_then(|made| made.actions.get(action));
            self.compare_rows(action, records, before, after);
        }
    }

    /// Rows of both are in the order of their records, and of their places within one.
    fn compare_rows(&mut self, action: usize, records: &Records, before: Option<&Rows>, after: Option<&Rows>) {
        let (mut old, mut new) = (0, 0);
        loop {
            let (one, other) = (before.and_then(|rows| key(rows, old)), after.and_then(|rows| key(rows, new)));
            let order = match (one, other) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.cmp(&other),
            };
            let counted = match order {
                Ordering::Less => &mut self.comparison.removed,
                Ordering::Greater => &mut self.comparison.added,
                Ordering::Equal if is_same(before, old, after, new) => &mut self.comparison.same,
                Ordering::Equal => &mut self.comparison.changed,
            };
            *counted += 1;
            let is_new = order != Ordering::Equal || !is_same(before, old, after, new);
            if is_new && self.comparison.differences.len() < self.samples {
                let has_old = order != Ordering::Greater;
                let has_new = order != Ordering::Less;
                self.comparison.differences.push(Difference {
                    action: u32::try_from(action).unwrap_or(u32::MAX),
                    before: before.filter(|_| has_old).and_then(|rows| sample(records, rows, old)),
                    after: after.filter(|_| has_new).and_then(|rows| sample(records, rows, new)),
                });
            }
            old += usize::from(order != Ordering::Greater);
            new += usize::from(order != Ordering::Less);
        }
    }

    pub(super) fn finish(self) -> Comparison {
        self.comparison
    }
}

fn key(rows: &Rows, row: usize) -> Option<(u32, u32)> {
    Some((*rows.source.get(row)?, *rows.row.get(row)?))
}

fn is_same(before: Option<&Rows>, old: usize, after: Option<&Rows>, new: usize) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let argument = |rows: &Rows, row: usize| {
        let values = rows.arguments.iter();
        let value = |(name, values): &(String, arrow::array::StringArray)| {
            (name.clone(), values.is_valid(row).then(|| values.value(row).to_owned()))
        };
        values.map(value).collect::<Vec<_>>()
    };
    before.payload.value(old) == after.payload.value(new) && argument(before, old) == argument(after, new)
}
