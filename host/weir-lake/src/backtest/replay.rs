//! A rule over the past, batch by batch, for whoever sends its rows.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_core::{
    history::{Replay, ReplayRun, Replayed},
    schema::Records,
    seams::{BoxFuture, Catalog, QueryError, RulePart},
};

use super::planned;
use crate::read::{Columns, Past, Reading, Wanted};

/// Evaluated batches that may wait for whoever sends them.
const WAITING_BATCHES: usize = 2;

pub(crate) fn begin(past: &Past, catalog: &Catalog, replay: Replay) -> Result<Box<dyn ReplayRun>, QueryError> {
    let evaluator = planned(&replay.rule, catalog)?;
    let filter = match replay.rule.sources.as_slice() {
        [source] => Some(source.clone()),
        _ => None,
    };
    let mut wanted = Wanted::of(filter, true);
    wanted.narrow_offsets(replay.from, weir_core::Offset(u64::MAX));
    let (from, time, progress) = (replay.from, replay.time, Arc::clone(&replay.progress));
    let mut batches = past.read(Reading { from, time, wanted, columns: Columns::all(), progress });
    let (evaluated, receiver) = mpsc::channel(WAITING_BATCHES);
    tokio::task::spawn_blocking(move || {
        while let Some(batch) = batches.blocking_recv() {
            let records = batch
                .map_err(|error| QueryError::Failed(error.to_string()))
                .and_then(|batch| Records::try_from(&batch).map_err(|error| QueryError::Failed(error.to_string())));
            let next = records.map(|records| {
                let evaluation = evaluator.evaluate_rule(&replay.rule.name, RulePart::Rows, &records);
                Replayed { records, evaluation }
            });
            let failed = next.is_err();
            if evaluated.blocking_send(next).is_err() || failed {
                return;
            }
        }
    });
    Ok(Box::new(Run(receiver)))
}

struct Run(mpsc::Receiver<Result<Replayed, QueryError>>);

impl ReplayRun for Run {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Replayed, QueryError>>> {
        Box::pin(self.0.recv())
    }
}
