//! One action of a rule: its account, its target, and the worker that brings rows from one to the other.
//!
//! An action at the head of the log is given rows by the head, which evaluates every rule once. One that falls behind
//! is detached: it reads the log by itself, evaluates its rule alone, and is attached again when it has caught up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use weir_core::{
    Offset, RuleName,
    seams::{Rows, RuleEvaluation, Target},
};
use weir_log::Frame;
use weir_store::{ActionLedger, NewDeadLetter};

use super::{
    account::{Account, Work},
    table::Table,
};
use crate::{Metrics, metrics::ActionLabels, trace::Happenings};

/// The index that names a rule's error target among its actions.
pub(crate) const ERROR_ACTION: u32 = 1_000;

/// Rows that wait in memory for one action. Beyond it the action is detached and reads them from the log later.
const QUEUED_ROWS: usize = 16_384;

/// Frames that wait in memory for one action.
const QUEUED_FRAMES: usize = 256;

/// What all actions share.
pub(crate) struct Shared {
    pub(crate) log: weir_log::Log,
    pub(crate) clock: weir_log::Clock,
    pub(crate) table: arc_swap::ArcSwap<Table>,
    /// One past the last frame whose evaluation the head has begun.
    pub(crate) begun: watch::Sender<Offset>,
    /// Actions with something to checkpoint.
    pub(crate) open: Mutex<Vec<Arc<Action>>>,
    /// Dead letters that no checkpoint has stored yet. Guards a list for one push or one take.
    pub(crate) dead_letters: Mutex<Vec<NewDeadLetter>>,
    /// Told when dead letters should not wait for the next checkpoint.
    pub(crate) checkpoint_now: Notify,
    /// Told what rules read, so that changes of shadows are said where one does.
    pub(crate) change_readers: Arc<crate::shadow::ChangeReaders>,
    pub(crate) options: super::RuleOptions,
    pub(crate) metrics: Metrics,
    pub(crate) happenings: Happenings,
}

pub(crate) struct Action {
    pub(crate) rule: RuleName,
    pub(crate) index: u32,
    pub(crate) labels: ActionLabels,
    pub(crate) target: Arc<dyn Target>,
    /// Where rows go that the target rejects.
    pub(crate) error_target: Option<Arc<dyn Target>>,
    /// Guards the account for one entry at a time; never held over an await.
    pub(crate) account: Mutex<Account>,
    pub(crate) wake: Notify,
    /// Ends the worker, in the middle of a write if it must.
    pub(crate) stop: CancellationToken,
    /// Told when the worker has ended.
    pub(crate) ended: Notify,
    listed: AtomicBool,
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Action").field("rule", &self.rule).field("index", &self.index).finish_non_exhaustive()
    }
}

impl Action {
    pub(crate) fn new(
        rule: RuleName,
        index: u32,
        target_name: &str,
        target: Arc<dyn Target>,
        error_target: Option<Arc<dyn Target>>,
        account: Account,
    ) -> Self {
        let labels = ActionLabels { rule: rule.to_string(), action: index, target: target_name.to_owned() };
        Self {
            rule,
            index,
            labels,
            target,
            error_target,
            account: Mutex::new(account),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            ended: Notify::new(),
            listed: AtomicBool::new(false),
        }
    }

    /// Enters what its rule made of a frame. Called by the head for attached actions, by the worker for itself.
    pub(crate) fn give(self: &Arc<Self>, shared: &Shared, frame: &Arc<Frame>, evaluation: &RuleEvaluation, by: By) {
        let (tally, work) = self.share(frame, evaluation);
        let mut account = self.account.lock();
        if account.stopped || account.attached != (by == By::Head) {
            return;
        }
        let wake = account.give(frame, tally, work);
        if by == By::Head && (account.queued_rows() > QUEUED_ROWS || account.queue.len() > QUEUED_FRAMES) {
            account.attached = false;
        }
        drop(account);
        self.list(shared);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Puts itself on the list of what the next checkpoint looks at.
    pub(crate) fn list(self: &Arc<Self>, shared: &Shared) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            shared.open.lock().push(Arc::clone(self));
        }
    }

    pub(crate) fn unlist(&self) {
        self.listed.store(false, Ordering::Release);
    }

    /// This action's part of an evaluation.
    fn share(&self, frame: &Arc<Frame>, evaluation: &RuleEvaluation) -> (ActionLedger, Option<Work>) {
        let RuleEvaluation { read, matched, unmatched, failed, .. } = *evaluation;
        let tally = ActionLedger { read, matched, unmatched, failed, ..ActionLedger::default() };
        let work = if self.index == ERROR_ACTION {
            evaluation.failures.as_ref().map(|failures| {
                let payloads = failures.source.iter().map(|row| frame.records.payload.value(*row as usize));
                let rows = Rows {
                    source: failures.source.as_slice().into(),
                    row: vec![0; failures.source.len()].into(),
                    payload: payloads.map(Some).collect(),
                    arguments: failures.arguments.clone(),
                };
                Work { frame: Arc::clone(frame), rows, reasons: failures.reasons.clone() }
            })
        } else {
            let rows = evaluation.actions.get(self.index as usize);
            rows.map(|rows| Work { frame: Arc::clone(frame), rows: rows.clone(), reasons: Vec::new() })
        };
        (tally, work)
    }
}

/// Who gives an action its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Head,
    Worker,
}
