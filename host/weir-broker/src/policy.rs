//! The policy in force: asked by every publish and subscribe, and replaced while they ask.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use weir_core::{Denied, Policy, Principal, Topic, TopicFilter};

use crate::{PublishError, gateway::SubDevices};

/// Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct PolicyInForce(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: ArcSwap<Policy>,
    /// Goes up with each change, after it. From 1: what knows nothing yet has seen 0.
    version: AtomicU64,
    /// Held while a change is stored and put in force, so that both happen in one order.
    changing: tokio::sync::Mutex<()>,
    /// Whom gateways may act for.
    sub_devices: SubDevices,
}

/// A topic that one principal has been allowed to publish to, for as long as the policy stays the same. It spares the
/// checks while a device goes on publishing to one topic, as most do.
#[derive(Debug, Default)]
pub(crate) struct KnownTopic {
    topic: String,
    version: u64,
    /// The connection that publishes, which may be a gateway's. An API has none.
    connection: Option<u64>,
    /// Whether it has had the right of another device.
    pub(crate) acts: bool,
}

impl KnownTopic {
    pub(crate) fn of(connection: u64) -> Self {
        Self { connection: Some(connection), ..Self::default() }
    }
}

/// Whose right it is that allows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Own,
    /// That of a device which is online through the connection, for as long as it is.
    Lent,
}

impl PolicyInForce {
    pub(crate) fn new(policy: Policy, sub_devices: SubDevices) -> Self {
        Self(Arc::new(Inner {
            policy: ArcSwap::from_pointee(policy),
            version: AtomicU64::new(1),
            changing: tokio::sync::Mutex::default(),
            sub_devices,
        }))
    }

    pub(crate) fn load(&self) -> impl Deref<Target = Arc<Policy>> + use<> {
        self.0.policy.load()
    }

    /// Another number than before once the policy has changed. Whoever asks for it before the policy never takes an old
    /// policy for the new version: hence acquire, which costs no more than relaxed where it matters.
    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Waits until nobody else changes the policy.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    /// Puts a changed policy in force. Only for whoever holds [`PolicyInForce::changing`].
    pub(crate) fn change(&self, change: impl FnOnce(&mut Policy)) {
        let mut policy = Policy::clone(&self.load());
        change(&mut policy);
        self.0.policy.store(Arc::new(policy));
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// Whether `principal` may publish to `topic`, whose syntax is checked too. `version` is that of the policy when the
    /// caller began.
    pub(crate) fn may_publish(
        &self,
        principal: &Principal,
        topic: &str,
        known: &mut KnownTopic,
        version: u64,
    ) -> Result<(), PublishError> {
        if known.version == version && known.topic == topic {
            return Ok(());
        }
        Topic::check(topic)?;
        // Read before the policy: should that change in between, what is remembered here is already outdated.
        let version = self.version();
        let policy = self.load();
        if !policy.allows_publish(principal, topic) {
            let sub_devices = &self.0.sub_devices;
            let is_lent =
                |connection| policy.allows_publish_for(topic, |device| sub_devices.is_through(connection, device));
            if known.connection.is_some_and(is_lent) {
                // Not remembered: it ends without a change of policy.
                known.acts = true;
                return Ok(());
            }
            if known.acts && Topic::device_of(topic).is_some() {
                return Err(PublishError::NotThrough { topic: topic.to_owned() });
            }
            return Ok(policy.may_publish(principal, topic)?);
        }
        topic.clone_into(&mut known.topic);
        known.version = version;
        Ok(())
    }

    /// Whether the client of a connection may subscribe to `filter`.
    pub(crate) fn may_subscribe(
        &self,
        principal: &Principal,
        connection: u64,
        filter: &TopicFilter,
    ) -> Result<Right, Denied> {
        let policy = self.load();
        policy.may_subscribe(principal, filter).map(|()| Right::Own).or_else(|denied| {
            let is_online = |device: &_| self.0.sub_devices.is_through(connection, device);
            if policy.allows_subscribe_for(filter, is_online) { Ok(Right::Lent) } else { Err(denied) }
        })
    }
}
