//! An action's worker: takes rows, writes them to the target, and settles each by its outcome.
//!
//! A row that the target rejects steps aside and is tried again after 1, 3 and 10 seconds; then it goes to the error
//! target, and failing that to the dead letters. When the target itself cannot be reached, the whole action pauses with
//! back-off, in order, until it answers or the rows grow older than `max_lag`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_core::{
    Offset,
    seams::{Delivery, Outcome, RuleEvaluation, TableError},
};
use weir_log::{Frame, ReadError, Reader};
use weir_store::{DeadLetterKind, NewDeadLetter};

use super::{
    account::{Settled, Work},
    action::{Action, By, Shared},
    rows::{Made, made},
};
use crate::trace::{self, Became, Happening};

/// Waits before a rejected row is tried again.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];

/// Rows of one write.
const BATCH_ROWS: usize = 1_024;

/// Rejected rows that wait to be tried again. Beyond it nothing new is taken until some of them have an end.
const WAITING_ROWS: usize = 16_384;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long a target may take to let go of what it holds.
const CLOSING: Duration = Duration::from_secs(5);

/// A row on its way.
#[derive(Debug)]
struct Item {
    /// The end of the frame that the row came from: names the frame in the account.
    frame: Offset,
    delivery: Delivery,
    rejections: usize,
    /// Known to be wrong before it was ever sent.
    invalid: Option<String>,
}

pub(crate) struct Worker {
    action: Arc<Action>,
    shared: Arc<Shared>,
    ready: VecDeque<Item>,
    retries: Vec<(Instant, Item)>,
    pause: Duration,
    /// The own cursor of a detached action.
    reader: Option<Reader>,
    /// Told when the hub ends: what is being written is finished, and nothing more is begun.
    drain: CancellationToken,
}

impl Worker {
    pub(crate) fn new(action: Arc<Action>, shared: Arc<Shared>, drain: CancellationToken) -> Self {
        Self { action, shared, ready: VecDeque::new(), retries: Vec::new(), pause: FIRST_PAUSE, reader: None, drain }
    }

    pub(crate) async fn run(mut self) {
        tokio::select! {
            () = self.action.stop.clone().cancelled_owned() => {}
            () = self.work() => {}
        }
        if tokio::time::timeout(CLOSING, self.action.target.close()).await.is_err() {
            tracing::warn!(rule = %self.action.rule, target = self.action.labels.target, "a target does not let go");
        }
        self.action.ended.notify_one();
    }

    async fn work(&mut self) {
        let mut begun = self.shared.begun.subscribe();
        let drain = self.drain.clone();
        while !drain.is_cancelled() {
            self.collect();
            if !self.ready.is_empty() {
                self.write().await;
                continue;
            }
            if self.has_room() && self.catch_up().await == CatchUp::Progress {
                continue;
            }
            let due = self.retries.iter().map(|(due, _)| *due).min();
            tokio::select! {
                () = drain.cancelled() => return,
                () = self.action.wake.notified() => {}
                _ = begun.changed(), if !self.action.account.lock().attached => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Moves what is due into `ready`.
    fn collect(&mut self) {
        let now = Instant::now();
        let mut index = 0;
        while let Some((due, _)) = self.retries.get(index) {
            if *due <= now {
                let (_, item) = self.retries.swap_remove(index);
                self.ready.push_back(item);
            } else {
                index += 1;
            }
        }
        while self.ready.len() < BATCH_ROWS && self.has_room() {
            let Some(work) = self.action.account.lock().take() else { return };
            self.unpack(work);
        }
    }

    fn has_room(&self) -> bool {
        self.retries.len() < WAITING_ROWS
    }

    fn unpack(&mut self, work: Work) {
        let Work { frame, rows, reasons } = work;
        let records = &frame.records;
        let now = self.shared.clock.now().0;
        for (index, source) in rows.source.iter().enumerate() {
            let source = *source as usize;
            let accepted_at = records.accepted_at.value(source);
            if weir_core::schema::optional(&records.expiry, source)
                .is_some_and(|seconds| accepted_at + i64::from(seconds) * 1_000 < now)
            {
                self.action.account.lock().settle(frame.next, Settled::Expired);
                continue;
            }
            let Some(Made { mut delivery, invalid }) = made(&self.action.rule, records, &rows, index) else { continue };
            delivery.failure = reasons.get(index).cloned();
            self.ready.push_back(Item { frame: frame.next, delivery, rejections: 0, invalid });
        }
    }

    async fn write(&mut self) {
        let mut batch = Vec::with_capacity(self.ready.len().min(BATCH_ROWS));
        let mut items = Vec::with_capacity(batch.capacity());
        while let Some(item) = (batch.len() < BATCH_ROWS).then(|| self.ready.pop_front()).flatten() {
            if let Some(reason) = item.invalid.clone() {
                self.give_up(item, reason).await;
                continue;
            }
            batch.push(item.delivery);
            items.push((item.frame, item.rejections));
        }
        if batch.is_empty() {
            return;
        }
        let mut outcomes = self.action.target.write(&batch).await;
        // A target that says less than it was asked has not delivered the rest.
        outcomes.resize_with(batch.len(), || Outcome::Unavailable {
            reason: "the target did not say what became of the row".to_owned(),
            retry_after: None,
        });
        let mut unavailable: Option<(String, Option<Duration>)> = None;
        let mut again = Vec::new();
        let mut delivered = false;
        for ((delivery, (frame, rejections)), outcome) in batch.into_iter().zip(items).zip(outcomes) {
            let item = Item { frame, delivery, rejections, invalid: None };
            match outcome {
                Outcome::Delivered => {
                    delivered = true;
                    self.tell(&item.delivery, Became::Delivered, None);
                    self.action.account.lock().settle(frame, Settled::Delivered);
                }
                Outcome::Rejected { reason, retry } => match RETRIES.get(rejections).filter(|_| retry) {
                    Some(wait) => {
                        self.tell(&item.delivery, Became::Retried, Some(&reason));
                        let item = Item { rejections: rejections + 1, ..item };
                        self.retries.push((Instant::now() + *wait, item));
                    }
                    None => self.give_up(item, reason).await,
                },
                Outcome::Unavailable { reason, retry_after } => {
                    let age = self.shared.clock.now().0 - item.delivery.accepted_at;
                    let max_lag = i64::try_from(self.shared.options.max_lag.as_millis()).unwrap_or(i64::MAX);
                    if age > max_lag {
                        self.dead_letter(item, format!("not delivered within max_lag: {reason}"));
                    } else {
                        self.tell(&item.delivery, Became::Waiting, Some(&reason));
                        unavailable = Some((reason, retry_after));
                        again.push(item);
                    }
                }
            }
        }
        again.into_iter().rev().for_each(|item| self.ready.push_front(item));
        if delivered {
            self.pause = FIRST_PAUSE;
        }
        match unavailable {
            Some((reason, retry_after)) => self.wait(reason, retry_after).await,
            None => self.action.account.lock().paused = None,
        }
    }

    /// The target is wrong: waits, longer each time, and says why meanwhile.
    async fn wait(&mut self, reason: String, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(self.pause).min(self.shared.options.longest_pause);
        tracing::warn!(
            rule = %self.action.rule, action = self.action.index, target = self.action.labels.target, %reason, ?pause,
            "an action's target is unavailable; the action pauses"
        );
        self.action.account.lock().paused = Some(reason);
        self.pause = (self.pause * 2).min(self.shared.options.longest_pause);
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// A row that will never pass: to the error target once, else to the dead letters.
    async fn give_up(&mut self, item: Item, reason: String) {
        if let Some(error_target) = &self.action.error_target {
            let failed = Delivery { failure: Some(reason.clone()), arguments: Vec::new(), ..item.delivery.clone() };
            let outcome = error_target.write(std::slice::from_ref(&failed)).await.pop();
            if outcome == Some(Outcome::Delivered) {
                self.tell(&item.delivery, Became::SentToErrorTarget, Some(&reason));
                self.action.account.lock().settle(item.frame, Settled::DeadLettered);
                return;
            }
        }
        self.dead_letter(item, reason);
    }

    fn dead_letter(&mut self, item: Item, reason: String) {
        self.tell(&item.delivery, Became::DeadLettered, Some(&reason));
        let letter = self.letter(reason, DeadLetterKind::Row(item.delivery));
        // First the letter, then the settlement: a checkpoint that sees the row settled also has its letter.
        self.push_letter(letter);
        self.action.account.lock().settle(item.frame, Settled::DeadLettered);
    }

    /// For tracers.
    fn tell(&self, row: &Delivery, became: Became, reason: Option<&str>) {
        self.shared.happenings.tell(|| {
            Happening::Settled(trace::Settled {
                rule: self.action.rule.clone(),
                action: self.action.index,
                target: self.action.labels.target.clone(),
                offset: row.key.offset,
                topic: row.topic.clone(),
                row: row.key.row,
                became,
                reason: reason.map(str::to_owned),
            })
        });
    }

    fn letter(&self, reason: String, kind: DeadLetterKind) -> NewDeadLetter {
        NewDeadLetter {
            rule: self.action.rule.clone(),
            action: self.action.index,
            reason,
            created_at: self.shared.clock.now(),
            kind,
        }
    }

    fn push_letter(&self, letter: NewDeadLetter) {
        let mut letters = self.shared.dead_letters.lock();
        letters.push(letter);
        if letters.len() >= self.shared.options.dead_letter_batch {
            self.shared.checkpoint_now.notify_one();
        }
    }

    /// A detached action with nothing in hand: attaches again if it has caught up, else reads and evaluates one frame.
    async fn catch_up(&mut self) -> CatchUp {
        let position = {
            let mut account = self.action.account.lock();
            if account.attached {
                self.reader = None;
                return CatchUp::Done;
            }
            let begun = *self.shared.begun.borrow();
            // The head announces a frame before it gives out its rows, so under this lock either it has not begun the
            // frame after ours and will find us attached, or we read that frame ourselves.
            match account.read_to.cmp(&begun) {
                std::cmp::Ordering::Equal if self.action.joins.is_some() => return CatchUp::Done,
                std::cmp::Ordering::Equal => {
                    account.attached = true;
                    account.paused = None;
                    self.reader = None;
                    return CatchUp::Done;
                }
                std::cmp::Ordering::Greater => return CatchUp::Done,
                std::cmp::Ordering::Less => account.read_to,
            }
        };
        let oldest = self.shared.log.oldest();
        if position < oldest {
            let (from, to) = self.action.account.lock().skip_to(oldest);
            let reason = "the log dropped these messages before the action had read them (log.max_bytes)".to_owned();
            self.push_letter(self.letter(reason, DeadLetterKind::Range { from, to }));
            self.reader = None;
            return CatchUp::Progress;
        }
        let reader = self.reader.get_or_insert_with(|| self.shared.log.reader(position));
        if reader.position() > position {
            // The log dropped more between the look and the reading.
            self.reader = None;
            return CatchUp::Progress;
        }
        match reader.next_durable().await {
            Ok(frame) => {
                match self.evaluate(&frame).await {
                    Ok(Some(evaluation)) => self.action.give(&self.shared, &frame, &evaluation, By::Worker),
                    Ok(None) => self.action.account.lock().read_to = frame.next,
                    Err(error) => {
                        // The frame is read again.
                        self.wait(error.to_string(), None).await;
                        self.reader = None;
                    }
                }
                self.action.list(&self.shared);
                CatchUp::Progress
            }
            // Looked at again, and reported, at the next turn.
            Err(ReadError::Overtaken { .. }) => {
                self.reader = None;
                CatchUp::Progress
            }
            Err(error) => {
                tracing::error!(rule = %self.action.rule, %error, "an action cannot read the log");
                self.wait(error.to_string(), None).await;
                self.reader = None;
                CatchUp::Progress
            }
        }
    }
}

impl Worker {
    /// What the rule makes of a frame by itself. Nothing if the frame has nothing for it.
    async fn evaluate(&self, frame: &Arc<Frame>) -> Result<Option<RuleEvaluation>, TableError> {
        let evaluator = Arc::clone(&self.shared.table.load().evaluator);
        let Some(joins) = self.action.joins.clone() else {
            return Ok(evaluator.evaluate_rule(&self.action.rule, self.action.part, &frame.records));
        };
        let records = &frame.records;
        let is_for = |row: usize| {
            let topic = records.topic.value(row);
            records.is_message(row) && joins.sources.iter().any(|source| source.matches(topic))
        };
        if !(0..records.len()).any(is_for) {
            return Ok(None);
        }
        let mut known = self.shared.tables.subscribe();
        let Ok(tables) = known.wait_for(|tables| !tables.is_empty()).await.map(|tables| Arc::clone(&tables)) else {
            return Ok(None);
        };
        for table in tables.iter().filter(|table| joins.tables.contains(&table.schema().name)) {
            table.settle().await?;
        }
        let (rule, frame) = (self.action.rule.clone(), Arc::clone(frame));
        let evaluate = move || evaluator.evaluate_joined(&rule, &frame.records, &tables).transpose();
        tokio::task::spawn_blocking(evaluate)
            .await
            .unwrap_or_else(|error| Err(TableError { table: joins.tables.join(", "), reason: error.to_string() }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CatchUp {
    Progress,
    /// There is nothing to read: it is attached, or beyond what the head has begun.
    Done,
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
