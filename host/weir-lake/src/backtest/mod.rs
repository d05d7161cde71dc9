//! A rule over the past, by the evaluator of live rules. Nothing is sent.
//!
//! Messages come in the order of their offsets, as they came to the live rule, and a row's result depends on its record
//! and its rule alone; so the rows are those that the rule made, or would have made.

mod compare;
mod replay;
mod tally;

use std::{sync::Arc, time::Instant};

use weir_core::{
    Offset, RuleName, TopicFilter,
    history::{Backtest, BacktestReport},
    schema::Records,
    seams::{Catalog, Evaluator, Language, QueryError, RulePart},
    statement::RuleDefinition,
};
use weir_rules::language::SqlLanguage;

pub(crate) use self::replay::begin as replay;
use self::{compare::Comparing, tally::Tally};
use crate::read::{Columns, Past, Reading, Wanted};

/// Rows of one action that are shown at the most, whatever is asked for.
const MAX_SAMPLES: usize = 1_000;

/// Runs a backtest to its end. Dropping the future ends it.
pub(crate) async fn run(past: &Past, catalog: Catalog, backtest: Backtest) -> Result<BacktestReport, QueryError> {
    let started = Instant::now();
    let samples = backtest.samples.min(MAX_SAMPLES);
    let evaluator = planned(&backtest.rule, &catalog)?;
    let comparing = match &backtest.compare {
        Some(rule) => Some(Comparing::new(rule.clone(), planned(rule, &catalog)?, samples)),
        None => None,
    };
    let reading = Reading {
        from: Offset::ZERO,
        time: backtest.time,
        wanted: Wanted::of(source(&backtest), true),
        columns: Columns::all(),
        progress: Arc::clone(&backtest.progress),
    };
    let batches = past.read(reading);
    let test =
        Test { evaluator, rule: backtest.rule.name.clone(), tally: Tally::new(&backtest.rule, samples), comparing };
    // Evaluation does not wait for anything, so it has a thread. The channel ends it when the future is dropped.
    let (alive, dropped) = tokio::sync::oneshot::channel::<()>();
    let tested = tokio::task::spawn_blocking(move || test.run(batches, dropped));
    let report = tested.await.map_err(|error| QueryError::Failed(error.to_string()))??;
    drop(alive);
    Ok(BacktestReport {
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        scan: backtest.progress.counts(),
        ..report
    })
}

/// What has to be read of the past: the messages of the rule's source, and of that of the other rule. `None`: everything.
fn source(backtest: &Backtest) -> Option<TopicFilter> {
    let mut sources = backtest.rule.sources.iter().chain(backtest.compare.iter().flat_map(|rule| &rule.sources));
    let first = sources.next()?;
    sources.all(|source| first.covers(source)).then(|| first.clone())
}

#[cfg(test)]
pub(crate) fn tally(rule: &RuleDefinition, samples: usize) -> Tally {
    Tally::new(rule, samples)
}

fn planned(rule: &RuleDefinition, catalog: &Catalog) -> Result<Arc<dyn Evaluator>, QueryError> {
    let planned = SqlLanguage.evaluator().with_rules(std::slice::from_ref(rule), catalog);
    let planned = planned.map_err(|(_, error)| QueryError::Sql(error))?;
    let cannot = |what: &str| {
        let name = &rule.name;
        Err(QueryError::Failed(format!(
            "rule {name} {what}, which is run live only; weir query runs its SELECT over the past"
        )))
    };
    if planned.window_shape(&rule.name).is_some() {
        return cannot("has windows");
    }
    match planned.reads_live(&rule.name).as_slice() {
        [] => Ok(planned),
        tables => cannot(&format!("joins {}", tables.join(" and "))),
    }
}

struct Test {
    evaluator: Arc<dyn Evaluator>,
    rule: RuleName,
    tally: Tally,
    comparing: Option<Comparing>,
}

impl Test {
    fn run(
        mut self,
        mut batches: tokio::sync::mpsc::Receiver<Result<arrow::array::RecordBatch, weir_core::seams::HistoryError>>,
        mut dropped: tokio::sync::oneshot::Receiver<()>,
    ) -> Result<BacktestReport, QueryError> {
        let failed = |reason: String| QueryError::Failed(reason);
        while let Some(batch) = batches.blocking_recv() {
            if dropped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Closed) {
                return Err(failed("the backtest was given up".to_owned()));
            }
            let batch = batch.map_err(|error| failed(error.to_string()))?;
            let records = Records::try_from(&batch).map_err(|error| failed(error.to_string()))?;
            let begun = Instant::now();
            let evaluation = self.evaluator.evaluate_rule(&self.rule, RulePart::Rows, &records);
            self.tally.spent(begun.elapsed(), records.len());
            if let Some(evaluation) = &evaluation {
                self.tally.add(&records, evaluation);
            }
            if let Some(comparing) = &mut self.comparing {
                comparing.compare(&records, evaluation.as_ref());
            }
        }
        let mut report = self.tally.finish();
        report.not_reproducible = self.evaluator.reads_live(&self.rule);
        report.comparison = self.comparing.map(Comparing::finish);
        Ok(report)
    }
}
