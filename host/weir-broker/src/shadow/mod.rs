//! Shadows: the log's third reader, which applies what is asked of shadows in the order of the log.
//!
//! Every writer asks by a message on a shadow's topic, so there is one order for all, and it is the log's. A document is
//! what its requests make of it, each at the time at which it was accepted: applying them again makes the same document
//! and the same answers. So an answer goes out when its request was applied, and documents are stored from time to time,
//! with the position up to which they are, in one transaction. After a crash what came since is applied again: nothing is
//! lost, nothing is done twice, and answers may be repeated. A position is stored only when every answer of before is
//! durable.
//!
//! Documents lie in the store. In memory are those in use lately, within a bound, and those that wait to be stored.

mod api;
mod apply;
mod cache;
mod changes;
mod readers;
mod replies;
mod saver;
mod state;

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use weir_core::{Offset, shadow::DocumentLimits};
use weir_log::{Frame, Log, ReadError, Reader};
use weir_store::{Store, StoreError};

pub use self::api::{Shadow, ShadowError, ShadowUpdate};
pub(crate) use self::readers::{ChangeReaders, Reading};
pub(crate) use self::state::{Outcome, ShadowHandle, ShadowState, Wait};
use self::{
    cache::Cache,
    changes::Told,
    replies::Replies,
    saver::{Saver, Work},
    state::Request,
};
use crate::{
    Drain, Limits,
    broker::Ailment,
    delivery::{DeliveryHandle, Request as Asked},
    metrics::Metrics,
};

/// Questions that may wait.
const REQUESTS: usize = 1_024;
/// How often documents that changed are stored.
const SAVE: Duration = Duration::from_millis(250);
/// How often the position is stored where nothing changed.
const NOTE: Duration = Duration::from_secs(5);
/// Rows that are applied together, where so many wait: what they need of the store is read once.
const TOGETHER: usize = 4_096;
/// How long to wait before a failed read of the store is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Shadows {
    log: Log,
    store: Store,
    reader: Reader,
    /// One past the last record applied.
    position: Offset,
    /// The position of the last step.
    captured: Offset,
    captured_at: Instant,
    state: Arc<ShadowState>,
    ailment: Ailment,
    metrics: Metrics,
    requests: mpsc::Receiver<Request>,
    work: mpsc::Sender<Work>,
    /// Numbers of steps that are stored.
    saved: mpsc::Receiver<u64>,
    limits: DocumentLimits,
    max_names: usize,
    cache: Cache,
    replies: Replies,
    readers: Arc<ChangeReaders>,
    told: Told,
    /// Those who wait until a step is stored.
    storing: Vec<(u64, oneshot::Sender<()>)>,
}

/// What the task is made of.
pub(crate) struct ShadowParts<'a> {
    pub(crate) log: &'a Log,
    pub(crate) store: &'a Store,
    pub(crate) delivery: &'a DeliveryHandle,
    /// Those of the stored rules are known.
    pub(crate) readers: Arc<ChangeReaders>,
    pub(crate) limits: &'a Limits,
    pub(crate) metrics: &'a Metrics,
    pub(crate) ailment: &'a Ailment,
    pub(crate) drain: &'a Drain,
}

impl ShadowParts<'_> {
    /// Starts the task. When this returns, every request that the log holds is applied.
    pub(crate) async fn start(self) -> Result<ShadowHandle, StoreError> {
        let Self { log, store, delivery, readers, limits, metrics, ailment, drain } = self;
        let position = store.shadow_position().await?.unwrap_or_default().max(log.oldest());
        let state = Arc::new(ShadowState::new(position, log.epoch()));
        let (work, works) = mpsc::channel(1);
        let (saves, saved) = mpsc::channel(1);
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let saver = Saver { store: store.clone(), log: log.clone(), state: Arc::clone(&state), works, saves };
        drain.spawn("shadows' store", saver.run());
        let mut shadows = Shadows {
            log: log.clone(),
            store: store.clone(),
            reader: log.reader(position),
            position,
            captured: position,
            captured_at: Instant::now(),
            state: Arc::clone(&state),
            ailment: ailment.clone(),
            metrics: metrics.clone(),
            requests: receiver,
            work,
            saved,
            limits: DocumentLimits { bytes: limits.shadow_bytes },
            max_names: limits.shadow_names,
            cache: Cache::new(limits.shadow_cache),
            replies: Replies::default(),
            told: Told::new(delivery.ask(Asked::Subscriptions).await.unwrap_or_default()),
            readers: Arc::clone(&readers),
            storing: Vec::new(),
        };
        shadows.catch_up().await;
        drain.spawn("shadows", shadows.run(drain.clone()));
        Ok(ShadowHandle { state, readers, requests })
    }
}

impl Shadows {
    /// Applies what the log holds already.
    async fn catch_up(&mut self) {
        let (from, end) = (self.position, self.log.appended());
        self.recall_changes(end).await;
        while self.position < end {
            if self.cache.is_full() {
                self.make_room().await;
            }
            if !self.read_frame().await {
                break;
            }
        }
        tracing::debug!(%from, %end, "shadows are as they were");
    }

    async fn run(mut self, drain: Drain) {
        let mut save = tokio::time::interval(SAVE);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = !self.cache.is_full();
            tokio::select! {
                biased;
                () = drain.token().cancelled() => break,
                Some(number) = self.saved.recv() => {
                    self.are_saved(number);
                    if !has_room || !self.storing.is_empty() {
                        self.save();
                    }
                }
                Some(request) = self.requests.recv() => self.serve(request).await,
                _ = save.tick() => {
                    self.metrics.shadow_lag(self.lag());
                    self.save();
                }
                frame = self.reader.next_durable(), if has_room => if !self.take(frame).await { break },
            }
        }
        self.finish().await;
    }

    /// Reads and applies a frame or some. Says whether there may be more.
    async fn read_frame(&mut self) -> bool {
        let frame = self.reader.next_durable().await;
        self.take(frame).await
    }

    /// Applies a frame, and others that are there already. Says whether there may be more.
    async fn take(&mut self, frame: Result<Arc<Frame>, ReadError>) -> bool {
        let (mut frames, mut rows, mut next) = (Vec::new(), 0, Some(frame));
        let broken = loop {
            match next {
                Some(Ok(frame)) => {
                    rows += frame.records.len();
                    frames.push(frame);
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
            if rows >= TOGETHER {
                break None;
            }
            next = self.reader.next_durable().now_or_never();
        };
        self.apply(&frames).await;
        broken.is_none_or(|error| self.go_on_after(&error))
    }

    fn go_on_after(&mut self, error: &ReadError) -> bool {
        match error {
            ReadError::Overtaken { oldest, .. } => {
                tracing::error!(position = %self.position, %oldest, "the log lacks requests to shadows");
                self.position = *oldest;
                true
            }
            ReadError::Stopped => false,
            error => {
                tracing::error!(%error, "shadows cannot read the log");
                self.ailment.tell("shadows are not updated: the log cannot be read");
                false
            }
        }
    }

    /// Durable records that are not applied. Between two openings of the log offsets leap, and there is nothing.
    fn lag(&self) -> u64 {
        let durable = self.log.durable().get();
        let begun = Offset::new(durable.epoch(), 0);
        durable.0.saturating_sub(self.position.max(begun).0)
    }

    fn are_saved(&mut self, number: u64) {
        self.cache.are_saved(number);
        for (_, answer) in self.storing.extract_if(.., |(step, _)| *step <= number) {
            // Whoever stopped waiting needs no answer.
            let _unheard = answer.send(());
        }
    }

    /// Answers when everything that is applied now is stored.
    fn tell_when_stored(&mut self, answer: oneshot::Sender<()>) {
        match self.cache.unsaved_step() {
            Some(step) => {
                self.storing.push((step, answer));
                self.save();
            }
            None => {
                let _unheard = answer.send(());
            }
        }
    }

    /// Hands what changed to be stored, unless the step before is still being stored.
    fn save(&mut self) {
        let moved = self.position > self.captured;
        let idle = !self.cache.has_changes() && self.captured_at.elapsed() < NOTE;
        if !moved || idle {
            return;
        }
        let Ok(permit) = self.work.clone().try_reserve_owned() else { return };
        let _sender = permit.send(self.capture());
    }

    fn capture(&mut self) -> Work {
        (self.captured, self.captured_at) = (self.position, Instant::now());
        let (number, shadows, forgotten) = self.cache.capture();
        Work { number, position: self.position, after: self.replies.last(), shadows, forgotten }
    }

    /// Stores what waits, and waits for that.
    async fn make_room(&mut self) {
        let step = self.capture();
        let number = step.number;
        if self.work.send(step).await.is_err() {
            return;
        }
        while let Some(saved) = self.saved.recv().await {
            self.are_saved(saved);
            if saved >= number {
                return;
            }
        }
    }

    /// Stores everything, at the end.
    async fn finish(mut self) {
        if self.position > self.captured {
            self.make_room().await;
        }
    }
}
