//! Broadcasts (vendor protocol §2.4): one payload to every device of a product, on `$broadcast/rxd/PRODUCT/DEVICE`.
//!
//! A broadcast is a row of the store that says how far it has come, and one task that takes each that runs a step further
//! in turn: it reads the names of some devices, appends a message for each to the log, and stores the new place when they
//! are durable. So the memory it takes does not depend on the number of devices, it goes on after a restart, and a crash
//! repeats one step at most. From the log a message goes the way of any other: a device that is away and has a session
//! finds it in its inbox.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};
use weir_core::{Classify, Denied, Envelope, ErrorKind, Principal, ProductId, Protocol, Qos};
use weir_log::{AppendError, Clock, Log, Record};
use weir_store::{Broadcast, BroadcastId, BroadcastState, BroadcastStep, NewBroadcast, Store, StoreError};

use crate::{Broker, Bucket, Drain, Metrics, Rate};

/// Devices in one step.
const STEP: usize = 256;

/// Bytes that one step appends, about: a quarter of what the log gathers for one sync, so that others find room beside it.
const STEP_BYTES: usize = 256 * 1024;

/// How long to wait before the log or the store is tried again after a refusal.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(StoreError),
    #[error("payload of {size} bytes exceeds the limit of {limit} for broadcasts (limits.broadcast_bytes)")]
    TooLarge { size: usize, limit: usize },
    #[error("a broadcast to product {0} is running: wait until it is done, or cancel it")]
    Running(ProductId),
    #[error("broadcast {} has ended already", .0.0)]
    Ended(BroadcastId),
    #[error("a broadcast is published with QoS 0 or 1")]
    Qos,
}

impl Classify for BroadcastError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Running(_) | Self::Ended(_) => ErrorKind::Conflict,
            Self::Qos => ErrorKind::Invalid,
        }
    }
}

impl From<StoreError> for BroadcastError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Broker {
    /// Begins to send every device of a product a message. Answers as soon as that will be done, whatever happens.
    pub async fn broadcast(
        &self,
        principal: &Principal,
        product: &ProductId,
        qos: Qos,
        payload: Vec<u8>,
    ) -> Result<Broadcast, BroadcastError> {
        self.may_broadcast(principal, product)?;
        if qos > Qos::AtLeastOnce {
            return Err(BroadcastError::Qos);
        }
        let (size, limit) = (payload.len(), self.limits().broadcast_bytes);
        if size > limit {
            return Err(BroadcastError::TooLarge { size, limit });
        }
        let new = NewBroadcast { product: product.clone(), publisher: principal.to_string(), qos, payload };
        let begun = self.store().create_broadcast(new, self.limits().broadcasts, self.clock().now()).await;
        let begun = begun.map_err(|error| match error {
            StoreError::Exists { .. } => BroadcastError::Running(product.clone()),
            error => BroadcastError::Store(error),
        })?;
        self.broadcasts_changed().notify_one();
        Ok(begun)
    }

    /// The broadcasts to a product that run or are remembered, the newest first.
    pub async fn broadcasts_to(
        &self,
        principal: &Principal,
        product: &ProductId,
    ) -> Result<Vec<Broadcast>, BroadcastError> {
        self.may_broadcast(principal, product)?;
        if self.store().product(product)?.is_none() {
            return Err(StoreError::Missing { what: "product", name: product.to_string() }.into());
        }
        Ok(self.store().broadcasts(product).await?)
    }

    /// How far a broadcast has come.
    pub async fn broadcast_to(
        &self,
        principal: &Principal,
        product: &ProductId,
        id: BroadcastId,
    ) -> Result<Broadcast, BroadcastError> {
        self.may_broadcast(principal, product)?;
        Ok(self.store().broadcast(product, id).await?)
    }

    /// Ends a broadcast before its end. What is in the log already is delivered: at most one step comes still.
    pub async fn cancel_broadcast(
        &self,
        principal: &Principal,
        product: &ProductId,
        id: BroadcastId,
    ) -> Result<Broadcast, BroadcastError> {
        self.may_broadcast(principal, product)?;
        let ended = self.store().cancel_broadcast(product, id, self.clock().now()).await?;
        match ended.state {
            BroadcastState::Done => Err(BroadcastError::Ended(id)),
            BroadcastState::Running | BroadcastState::Cancelled => Ok(ended),
        }
    }

    /// Whoever may publish to all of its topics may. The wildcard stands for every device, and is granted by a wildcard.
    fn may_broadcast(&self, principal: &Principal, product: &ProductId) -> Result<(), Denied> {
        self.policy().may_publish(principal, &format!("$broadcast/rxd/{product}/+"))
    }
}

/// Takes the broadcasts that run further.
pub(crate) struct Broadcaster {
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// Messages of all broadcasts together.
    pub(crate) rate: Option<Rate>,
    /// Told when one begins.
    pub(crate) changed: Arc<Notify>,
}

impl Broadcaster {
    /// Runs until it is told to end. What is begun goes on at the next start.
    pub(crate) async fn run(self, drain: Drain) {
        let mut taken = Bucket::default();
        while !drain.token().is_cancelled() {
            let running = match self.store.running_broadcasts().await {
                Ok(running) => running,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "broadcasts cannot be read; it is tried again");
                    pause(&drain).await;
                    continue;
                }
            };
            if running.is_empty() {
                tokio::select! {
                    () = drain.token().cancelled() => return,
                    () = self.changed.notified() => {}
                }
            }
            // One step of each in turn, so that a large product does not hold up a small one.
            for broadcast in running {
                if !self.step(&broadcast, &mut taken, &drain).await {
                    return;
                }
            }
        }
    }

    /// Says whether to go on.
    async fn step(&self, broadcast: &Broadcast, taken: &mut Bucket, drain: &Drain) -> bool {
        let Broadcast { id, product, publisher, qos, payload, position, .. } = broadcast;
        let count = (STEP_BYTES / (payload.len() + 256)).clamp(1, STEP);
        let named = self.store.device_names(product, position.as_ref(), u32::try_from(count).unwrap_or(u32::MAX)).await;
        let devices = match named {
            Ok(devices) => devices,
            Err(error) => {
                tracing::error!(%product, %error, "the devices of a broadcast cannot be read; it is tried again");
                return pause(drain).await;
            }
        };
        match self.admit(devices.len(), taken, drain).await {
            None => return false,
            // It was a while, in which the broadcast may have been cancelled.
            Some(true) if !self.still_runs(broadcast).await => return true,
            Some(_) => {}
        }
        let topics: Vec<String> = devices.iter().map(|device| format!("$broadcast/rxd/{product}/{device}")).collect();
        let messages: Vec<Record<'_>> = topics
            .iter()
            .map(|topic| Record::Message(Envelope::new(topic, publisher, Protocol::Api, *qos, payload)))
            .collect();
        if !messages.is_empty() {
            match self.append(&messages, drain).await {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
            devices.iter().for_each(|_| self.metrics.accepted(Protocol::Api, *qos, payload.len()));
        }
        let step = BroadcastStep {
            id: *id,
            published: devices.len() as u64,
            last: devices.len() < count,
            position: devices.into_iter().next_back(),
        };
        // The messages are there, so the step is stored before anything else is done: they would be sent again.
        while let Err(error) = self.store.commit_broadcast(step.clone(), self.clock.now()).await {
            if matches!(error, StoreError::Closed) {
                return false;
            }
            tracing::error!(%product, %error, "a step of a broadcast cannot be stored; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
        true
    }

    /// Waits until the rate allows so many messages, and says whether that took a while. `None`: the hub is going down.
    async fn admit(&self, messages: usize, taken: &mut Bucket, drain: &Drain) -> Option<bool> {
        let Some(rate) = self.rate else { return Some(false) };
        let mut waited = false;
        loop {
            match taken.take(rate, messages as u64, Instant::now()) {
                Ok(after) => {
                    *taken = after;
                    return Some(waited);
                }
                Err(until) => tokio::select! {
                    () = drain.token().cancelled() => return None,
                    () = tokio::time::sleep_until(until) => waited = true,
                },
            }
        }
    }

    /// If the store cannot say, the next step will find out.
    async fn still_runs(&self, broadcast: &Broadcast) -> bool {
        let now = self.store.broadcast(&broadcast.product, broadcast.id).await;
        now.is_ok_and(|now| now.state == BroadcastState::Running)
    }

    /// Appends, and waits until it is durable. `Some(false)`: there was no room, and some time has passed. `None`: the hub
    /// is going down.
    async fn append(&self, messages: &[Record<'_>], drain: &Drain) -> Option<bool> {
        let appended = tokio::select! {
            biased;
            () = drain.token().cancelled() => return None,
            appended = self.log.append(messages) => appended,
        };
        match appended {
            Ok(first) => {
                let last = first.plus(messages.len().saturating_sub(1) as u64);
                self.log.durable().wait_for(last).await.ok().map(|_| true)
            }
            Err(AppendError::Failed) => None,
            Err(error) => {
                // Whoever looks sees that the broadcast does not move, and the log says why.
                tracing::warn!(%error, "a broadcast waits for room in the log");
                self.metrics.refused_for("broadcast", "log_full");
                pause(drain).await.then_some(false)
            }
        }
    }
}

/// `false`: the hub is going down.
async fn pause(drain: &Drain) -> bool {
    tokio::select! {
        () = drain.token().cancelled() => false,
        () = tokio::time::sleep(AGAIN) => true,
    }
}
