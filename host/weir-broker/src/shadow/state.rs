//! What others know of the task while it runs, and how they reach it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use weir_core::{
    DeviceId, Offset, ShadowName,
    shadow::{Document, Refusal},
};

use weir_log::Log;

use super::ChangeReaders;

/// Records that may be accepted ahead of their application: some two seconds' worth.
const BEHIND: u64 = 100_000;

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Done(Arc<Document>),
    Refused(Refusal),
    /// There is no such device.
    NoDevice,
}

/// The shadows of a device by name; `None` is the classic one.
pub(crate) type OfDevice = Vec<(Option<ShadowName>, Arc<Document>)>;

#[derive(Debug)]
pub(crate) enum Request {
    /// `None`: there is no such device.
    Read(DeviceId, oneshot::Sender<Option<OfDevice>>),
    /// Answered when everything that was applied before is stored.
    Store(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct ShadowState {
    /// What the store has is of this position.
    saved: AtomicU64,
    /// One past the last record applied.
    applied: AtomicU64,
    /// Those who wait for a request of theirs to be applied, by the correlation that it carries. Guarded for one lookup.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    /// How many they are, so that nobody looks where nobody waits.
    count: AtomicUsize,
    next: AtomicU64,
}

/// Someone who waits. Dropping it is waiting no longer.
#[derive(Debug)]
pub(crate) struct Wait {
    state: Arc<ShadowState>,
    correlation: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl ShadowState {
    /// Correlations go on from one process to the next: `epoch` is that of the log.
    pub(crate) fn new(position: Offset, epoch: u32) -> Self {
        Self {
            saved: AtomicU64::new(position.0),
            applied: AtomicU64::new(position.0),
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(u64::from(epoch) << 40),
        }
    }

    /// The log keeps everything from here.
    pub(crate) fn floor(&self) -> Offset {
        Offset(self.saved.load(Ordering::Acquire))
    }

    pub(super) fn set_saved(&self, position: Offset) {
        self.saved.store(position.0, Ordering::Release);
    }

    pub(super) fn set_applied(&self, position: Offset) {
        self.applied.store(position.0, Ordering::Release);
    }

    /// Whether so much is to be applied before what is appended now that devices should send more slowly.
    pub(crate) fn is_behind(&self, log: &Log) -> bool {
        let appended = log.appended();
        // Between two openings of the log offsets leap, and there is nothing.
        let begun = Offset::new(appended.epoch(), 0);
        let applied = Offset(self.applied.load(Ordering::Acquire)).max(begun);
        appended.0.saturating_sub(applied.0) > BEHIND
    }

    /// Waits for the request that carries the wait's correlation. Must be called before that is appended.
    pub(crate) fn wait(self: &Arc<Self>) -> Wait {
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, outcome) = oneshot::channel();
        self.waiting.lock().insert(correlation, tell);
        self.count.fetch_add(1, Ordering::Release);
        Wait { state: Arc::clone(self), correlation, outcome }
    }

    /// Who waits for the request with this correlation.
    pub(super) fn take(&self, correlation: Option<&[u8]>) -> Option<oneshot::Sender<Outcome>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let correlation = u64::from_be_bytes(correlation?.try_into().ok()?);
        self.waiting.lock().remove(&correlation)
    }
}

impl Wait {
    pub(crate) fn correlation(&self) -> [u8; 8] {
        self.correlation.to_be_bytes()
    }

    /// `None`: the hub is going down.
    pub(crate) async fn applied(mut self) -> Option<Outcome> {
        (&mut self.outcome).await.ok()
    }

    /// `None`: not by then, or the hub is going down.
    pub(super) async fn outcome_within(self, deadline: Instant) -> Option<Outcome> {
        timeout_at(deadline, self.applied()).await.ok()?
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.state.waiting.lock().remove(&self.correlation);
        self.state.count.fetch_sub(1, Ordering::Release);
    }
}

/// The way to the task.
#[derive(Debug, Clone)]
pub(crate) struct ShadowHandle {
    pub(crate) state: Arc<ShadowState>,
    pub(crate) readers: Arc<ChangeReaders>,
    pub(super) requests: mpsc::Sender<Request>,
}

impl ShadowHandle {
    /// `None`: the hub is going down.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}
