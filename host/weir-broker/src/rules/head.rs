//! The head: reads durable frames in order, evaluates every rule once, gives each action its rows, and stores how far
//! everything has come.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};
use weir_core::{Offset, RuleName};
use weir_log::{Frame, Pins, ReadError, Reader};
use weir_store::{ActionProgress, NewDeadLetter, Progress, Store};

use super::{
    account::Standing,
    action::{Action, By, Shared},
};
use crate::{
    Drain,
    broker::Ailment,
    delivery::{DeliveryHandle, DeliveryState},
    shadow::{ShadowHandle, ShadowState},
};

/// How long an action may hold the shared position before it gets one of its own.
const DETACH_AFTER: Duration = Duration::from_secs(2);

/// How often retention looks at the log.
const RETENTION: Duration = Duration::from_secs(1);

/// Readers that the log is never dropped under.
pub(crate) struct Floors {
    delivery: Arc<DeliveryState>,
    shadows: Arc<ShadowState>,
}

impl Floors {
    pub(crate) fn of(delivery: &DeliveryHandle, shadows: &ShadowHandle) -> Self {
        Self { delivery: Arc::clone(&delivery.state), shadows: Arc::clone(&shadows.state) }
    }

    fn lowest(&self) -> Offset {
        self.delivery.floor().min(self.shadows.floor())
    }
}

pub(crate) struct Head {
    shared: Arc<Shared>,
    store: Store,
    floors: Floors,
    ailment: Ailment,
    reader: Reader,
    /// One past the last frame evaluated.
    position: Offset,
    /// What the last stored checkpoint said of the shared position.
    stored: Option<Offset>,
    /// Actions whose standing may have changed since it was stored.
    open: Vec<Arc<Action>>,
    /// The stored standing of each action that is not at the shared position: they pin the log.
    apart: HashMap<(RuleName, u32), Offset>,
    /// Letters of a checkpoint that could not be stored.
    unsent: Vec<NewDeadLetter>,
}

impl Head {
    pub(crate) fn new(shared: Arc<Shared>, store: Store, floors: Floors, ailment: Ailment, position: Offset) -> Self {
        let reader = shared.log.reader(position);
        Self {
            shared,
            store,
            floors,
            ailment,
            reader,
            position,
            stored: None,
            open: Vec::new(),
            apart: HashMap::new(),
            unsent: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self, drain: Drain) {
        let mut checkpoint = tokio::time::interval(self.shared.options.checkpoint);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retention = Instant::now();
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                biased;
                () = drain.token().cancelled() => break,
                _ = checkpoint.tick() => {
                    self.checkpoint().await;
                    if retention.elapsed() >= RETENTION {
                        retention = Instant::now();
                        self.retain().await;
                    }
                }
                () = shared.checkpoint_now.notified() => self.checkpoint().await,
                frame = self.reader.next_durable() => match frame {
                    Ok(frame) => self.evaluate(&frame),
                    Err(ReadError::Overtaken { oldest, .. }) => self.skip_to(oldest),
                    Err(error) => {
                        tracing::error!(%error, "rules cannot read the log");
                        self.ailment.tell("rules do not run: the log cannot be read");
                        break;
                    }
                },
            }
        }
        self.checkpoint().await;
    }

    fn evaluate(&mut self, frame: &Arc<Frame>) {
        // Announced before any row is given out: see `Worker::catch_up`.
        self.shared.begun.send_replace(frame.next);
        let table = self.shared.table.load();
        if !table.rules.is_empty() {
            for evaluation in table.evaluator.evaluate(&frame.records) {
                let Some(rule) = table.rules.get(&evaluation.rule) else { continue };
                for action in rule.actions.iter().filter(|action| action.part == evaluation.part) {
                    action.give(&self.shared, frame, &evaluation, By::Head);
                }
            }
        }
        self.position = frame.next;
    }

    /// The log has dropped frames that were not evaluated. Each action goes on alone, and reports what it has missed.
    fn skip_to(&mut self, oldest: Offset) {
        tracing::error!(position = %self.position, %oldest, "rules were overtaken by log.max_bytes");
        for action in self.shared.table.load().rules.values().flat_map(|rule| &rule.actions) {
            let mut account = action.account.lock();
            if account.attached {
                account.attached = false;
                account.read_to = account.read_to.max(self.position);
                drop(account);
                action.list(&self.shared);
                action.wake.notify_one();
            }
        }
        self.position = oldest;
        self.shared.begun.send_replace(oldest);
    }

    /// Stores, in one transaction, the shared position, the standing of every action that moved, and the dead letters.
    async fn checkpoint(&mut self) {
        self.open.append(&mut self.shared.open.lock());
        let shared_position = self.shared_position();
        let mut entries = Vec::with_capacity(self.open.len());
        let mut still_open = Vec::new();
        for action in std::mem::take(&mut self.open) {
            let standing = {
                let mut account = action.account.lock();
                if account.stopped {
                    action.unlist();
                    continue;
                }
                let bound = account.attached.then_some(shared_position);
                let mut standing = account.merge(bound);
                // One that is never at the head is listed again when it has read more.
                standing.idle |= action.joins.is_some() && account.is_settled();
                standing
            };
            entries.push(self.entry(&action, standing, shared_position));
            if standing.idle && (action.joins.is_some() || standing.merged_to <= shared_position) {
                action.unlist();
            } else {
                still_open.push(action);
            }
        }
        // Taken after the standings: every row they call dead-lettered has its letter here.
        let mut letters = std::mem::take(&mut self.unsent);
        letters.append(&mut self.shared.dead_letters.lock());
        if entries.is_empty() && letters.is_empty() && self.stored == Some(shared_position) {
            self.open = still_open;
            return;
        }
        let progress = Progress { head: Some(shared_position), actions: entries, dead_letters: letters.clone() };
        match self.store.commit_progress(progress).await {
            Ok(()) => {
                self.stored = Some(shared_position);
                self.open = still_open;
            }
            Err(error) => {
                tracing::error!(%error, "the progress of rules cannot be stored; it is tried again");
                self.unsent = letters;
                self.open = still_open;
            }
        }
    }

    /// The lowest offset that an attached action still needs. One that has held it for long is detached first.
    fn shared_position(&self) -> Offset {
        let mut position = self.position;
        for action in &self.open {
            let mut account = action.account.lock();
            if account.stopped || !account.attached {
                continue;
            }
            if let Some((first, since)) = account.oldest_open() {
                if since.elapsed() > DETACH_AFTER {
                    account.attached = false;
                    account.read_to = self.position;
                } else {
                    position = position.min(first);
                }
            }
        }
        position
    }

    fn entry(&mut self, action: &Action, standing: Standing, shared: Offset) -> ActionProgress {
        let Standing { merged, merged_to, attached, .. } = standing;
        // Its sums are as of the shared position only if they do not go beyond it.
        let position = (!attached || merged_to > shared).then_some(merged_to);
        let key = (action.rule.clone(), action.index);
        match position {
            Some(position) => self.apart.insert(key, position),
            None => self.apart.remove(&key),
        };
        self.shared.metrics.action(&action.labels, &super::status_of(action, &self.shared.clock));
        ActionProgress { rule: action.rule.clone(), action: action.index, position, ledger: merged }
    }

    /// Lets the log drop what nobody needs.
    async fn retain(&mut self) {
        let table = self.shared.table.load_full();
        self.apart.retain(|(rule, _), _| table.rules.get(rule).is_some_and(|rule| rule.enabled));
        let windows = table.rules.values().filter_map(|rule| Some(rule.windows.as_ref()?.stored()));
        let lowest = self.apart.values().copied().chain(self.stored).chain(windows).min();
        let pins = Pins { actions: lowest, floor: self.floors.lowest() };
        let log = self.shared.log.clone();
        let dropped = tokio::task::spawn_blocking(move || log.enforce_retention(pins)).await;
        if let Ok(Err(error)) = dropped {
            tracing::error!(%error, "old log segments cannot be dropped");
        }
    }
}
