//! The policy in force: asked by every publish and subscribe, and replaced while they ask.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use weir_core::{Policy, Principal, Topic};

use crate::PublishError;

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
}

/// A topic that one principal has been allowed to publish to, for as long as the policy stays the same. It spares the
/// checks while a device goes on publishing to one topic, as most do.
#[derive(Debug, Default)]
pub(crate) struct KnownTopic {
    topic: String,
    version: u64,
}

impl PolicyInForce {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(Arc::new(Inner {
            policy: ArcSwap::from_pointee(policy),
            version: AtomicU64::new(1),
            changing: tokio::sync::Mutex::default(),
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
        self.load().may_publish(principal, topic)?;
        topic.clone_into(&mut known.topic);
        known.version = version;
        Ok(())
    }
}
