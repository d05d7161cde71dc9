//! Backfills: what a rule makes of past messages, sent to its targets.
//!
//! A backfill has a name, and remembers under it how far it has come: what was settled once is not sent again by a
//! backfill of that name, whatever ended the first. After a crash, the rows of one batch may be sent twice; they carry the
//! same keys as the live rule's. A backfill's rows are its own and not in the ledgers of live actions; what no target takes
//! goes to the dead letters all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use weir_core::{
    Classify, ErrorKind, Offset, RuleName, Timestamp,
    history::{Replay, Replayed, ScanCounts, ScanProgress, TimeRange},
    seams::{Delivery, Outcome, QueryEngine, QueryError},
};
use weir_store::{DeadLetterKind, NewDeadLetter, Progress, StoreError};

use super::{
    RuleRuntime,
    action::{Action, ERROR_ACTION},
    rows::made,
};

/// Rows of one write.
const BATCH_ROWS: usize = 1_024;
/// Waits before a rejected row, or an unavailable target, is tried again. Then the row is given up, or the backfill ends.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Backfill {
    pub rule: RuleName,
    /// Only the actions with this target or sink; `None`: all but the error target.
    pub sink: Option<String>,
    /// Under which progress is remembered.
    pub name: String,
    pub time: TimeRange,
    pub progress: Arc<BackfillProgress>,
}

/// How far a backfill is, counted while it runs.
#[derive(Debug, Default)]
pub struct BackfillProgress {
    pub scan: Arc<ScanProgress>,
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
}

/// Rows that a backfill has settled, and what was read for them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BackfillCounts {
    /// In this run.
    pub delivered: u64,
    pub dead_lettered: u64,
    pub scan: ScanCounts,
}

impl BackfillProgress {
    pub fn counts(&self) -> BackfillCounts {
        BackfillCounts {
            delivered: self.delivered.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            scan: self.scan.counts(),
        }
    }
}

/// What a backfill did.
#[derive(Debug, Clone, Serialize)]
pub struct Backfilled {
    /// Where it went on: after what an earlier run of this name settled.
    pub from: Offset,
    #[serde(flatten)]
    pub counts: BackfillCounts,
}

#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("there is no rule \"{0}\"")]
    NoRule(RuleName),
    #[error("rule {0} is disabled; enable it first, or its targets are not known to work")]
    Disabled(RuleName),
    #[error("rule {rule} has no action {sink}; it has {known}")]
    NoSink { rule: RuleName, sink: String, known: String },
    #[error("backfill {name} began with messages of {began}; use another name for earlier ones")]
    Earlier { name: String, began: i64 },
    #[error("{target} is unavailable: {reason}; run the backfill again, and it goes on where it was")]
    Unavailable { target: String, reason: String },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the progress of the backfill cannot be stored")]
    Store(#[from] StoreError),
}

impl Classify for BackfillError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRule(_) => ErrorKind::NotFound,
            Self::NoSink { .. } => ErrorKind::Invalid,
            Self::Disabled(_) | Self::Earlier { .. } => ErrorKind::Conflict,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Query(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// What is remembered of a backfill beside its offset.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    /// The earliest accept time that it was asked for.
    from: Timestamp,
}

impl RuleRuntime {
    /// Sends what a rule makes of past messages. Dropping the future ends it; it can be taken up again.
    pub async fn backfill(&self, engine: &dyn QueryEngine, backfill: Backfill) -> Result<Backfilled, BackfillError> {
        let Backfill { rule, sink, name, time, progress } = backfill;
        let live = self.shared.table.load().rules.get(&rule).cloned();
        let live = live.ok_or_else(|| BackfillError::NoRule(rule.clone()))?;
        if !live.enabled {
            return Err(BackfillError::Disabled(rule));
        }
        let actions: Vec<&Arc<Action>> = live.actions.iter().filter(|action| action.index != ERROR_ACTION).collect();
        let is_meant = |action: &&Arc<Action>| sink.as_deref().is_none_or(|sink| action.labels.target == sink);
        let chosen: Vec<Arc<Action>> = actions.iter().copied().filter(is_meant).map(Arc::clone).collect();
        if let (true, Some(sink)) = (chosen.is_empty(), &sink) {
            let known: Vec<&str> = actions.iter().map(|action| action.labels.target.as_str()).collect();
            return Err(BackfillError::NoSink { rule, sink: sink.clone(), known: known.join(", ") });
        }
        let key = format!("backfill/{rule}/{}/{name}", sink.as_deref().unwrap_or("*"));
        let from = match self.store.snapshot(&key).await? {
            Some(known) => {
                let memory = serde_json::from_slice::<Memory>(&known.bytes).ok();
                if let Some(memory) = memory.filter(|memory| time.from < memory.from) {
                    return Err(BackfillError::Earlier { name, began: memory.from.0 });
                }
                known.offset
            }
            None => Offset::ZERO,
        };
        let memory =
            serde_json::to_vec(&Memory { from: time.from }).map_err(|error| QueryError::Failed(error.to_string()))?;
        let replay = Replay { rule: live.definition.clone(), time, from, progress: Arc::clone(&progress.scan) };
        let mut run = engine.replay(replay).await?;
        while let Some(replayed) = run.next().await {
            let Replayed { records, evaluation } = replayed?;
            let Some(last) = records.offset.values().last() else { continue };
            for action in &chosen {
                let rows = evaluation.as_ref().and_then(|made| made.actions.get(action.index as usize));
                let Some(rows) = rows else { continue };
                let rows = (0..rows.source.len()).filter_map(|index| made(&rule, &records, rows, index)).collect();
                self.settle(action, rows, &progress).await?;
            }
            self.store.put_snapshot(&key, Offset(last + 1), memory.clone()).await?;
        }
        Ok(Backfilled { from, counts: progress.counts() })
    }

    /// Brings rows to a target, each to an end.
    async fn settle(
        &self,
        action: &Action,
        rows: Vec<super::rows::Made>,
        progress: &BackfillProgress,
    ) -> Result<(), BackfillError> {
        let mut letters = Vec::new();
        let mut waiting: Vec<Delivery> = Vec::new();
        for row in rows {
            match row.invalid {
                Some(reason) => letters.push(self.letter(action, row.delivery, reason)),
                None => waiting.push(row.delivery),
            }
        }
        let mut waits = RETRIES.iter();
        while !waiting.is_empty() {
            let (mut again, mut trouble) = (Vec::new(), None);
            for batch in waiting.chunks(BATCH_ROWS) {
                let outcomes = action.target.write(batch).await;
                let told = outcomes.into_iter().map(Some).chain(std::iter::repeat(None));
                for (row, outcome) in batch.iter().zip(told) {
                    match outcome {
                        Some(Outcome::Delivered) => _ = progress.delivered.fetch_add(1, Ordering::Relaxed),
                        Some(Outcome::Rejected { retry: true, reason }) => again.push((row.clone(), reason, true)),
                        Some(Outcome::Rejected { reason, .. }) => {
                            letters.push(self.letter(action, row.clone(), reason))
                        }
                        Some(Outcome::Unavailable { reason, .. }) => {
                            trouble.get_or_insert_with(|| reason.clone());
                            again.push((row.clone(), reason, false));
                        }
                        None => {
                            again.push((row.clone(), "the target did not say what became of the row".to_owned(), true))
                        }
                    }
                }
            }
            let Some(wait) = waits.next() else {
                if let Some(reason) = trouble {
                    return Err(BackfillError::Unavailable { target: action.labels.target.clone(), reason });
                }
                letters.extend(again.into_iter().map(|(row, reason, _)| self.letter(action, row, reason)));
                break;
            };
            waiting = again.into_iter().map(|(row, ..)| row).collect();
            if !waiting.is_empty() {
                tokio::time::sleep(*wait).await;
            }
        }
        let given_up = letters.len() as u64;
        if given_up > 0 {
            self.store.commit_progress(Progress { dead_letters: letters, ..Progress::default() }).await?;
            progress.dead_lettered.fetch_add(given_up, Ordering::Relaxed);
        }
        Ok(())
    }

    fn letter(&self, action: &Action, row: Delivery, reason: String) -> NewDeadLetter {
        NewDeadLetter {
            rule: action.rule.clone(),
            action: action.index,
            reason,
            created_at: self.shared.clock.now(),
            kind: DeadLetterKind::Row(row),
        }
    }
}
