//! The handle by which front-ends reach the hub.

use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, oneshot};
use weir_core::{
    CertificateIdentity, Classify, Denied, DeviceId, Envelope, Offset, Policy, Principal, ProductId, Qos, RuleName,
    TopicFilter,
    seams::{AuthError, Authenticator, Credentials},
};
use weir_log::{Clock, Log, Record};
use weir_store::Store;

use crate::{
    CloseReason, Drain, Limits, Metrics, PublishError, RuleRuntime, Session, SessionError, SessionOptions,
    SessionStatus, Tail,
    auth::is_believed,
    delivery::{Change, ControlRecord, DeliveryHandle, Request},
    gateway::{SubDevices, named},
    ingress::Ingress,
    policy::KnownTopic,
    presence::Presence,
    registration::Registrar,
    services::Calls,
    session::{Connections, SessionKey},
    shadow::ShadowHandle,
    trace::{Happenings, Trace},
};

/// What keeps a part of the hub from working until it is started again, told by the part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ailment(Arc<OnceLock<&'static str>>);

impl Ailment {
    /// The first part that fails is the one that is told of.
    pub(crate) fn tell(&self, what: &'static str) {
        self.0.get_or_init(|| what);
    }
}

/// The running hub. Cloning shares it.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ingress: Ingress,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) connections: Connections,
    pub(crate) delivery: DeliveryHandle,
    pub(crate) shadows: ShadowHandle,
    pub(crate) calls: Arc<Calls>,
    pub(crate) registrar: Registrar,
    /// Wakes the task that takes broadcasts further.
    pub(crate) broadcasts_changed: Arc<Notify>,
    pub(crate) sub_devices: SubDevices,
    pub(crate) rules: RuleRuntime,
    pub(crate) presence: Presence,
    pub(crate) ailment: Ailment,
    /// Cancelled when front-ends must end.
    pub(crate) front: Drain,
    /// Work that goes on after the front-ends have ended: wills.
    pub(crate) background: Drain,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub fn limits(&self) -> &Limits {
        &self.0.ingress.limits
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub fn log(&self) -> &Log {
        &self.0.ingress.log
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.ingress.metrics
    }

    pub fn rules(&self) -> &RuleRuntime {
        &self.0.rules
    }

    /// The policy in force now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.ingress.policy.load())
    }

    pub fn draining(&self) -> bool {
        self.0.front.token().is_cancelled()
    }

    /// What is wrong with the hub, if something is that needs a person.
    pub fn ailment(&self) -> Option<&'static str> {
        if self.log().stats().failed {
            return Some("the log has failed: a write or sync was refused by the disk");
        }
        self.0.ailment.0.get().copied()
    }

    /// Proves who a client is. Refusals are counted by kind.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        let proved = self.0.authenticator.authenticate(credentials);
        if let Err(error) = &proved {
            self.metrics().refused("connect", error.kind());
        }
        proved
    }

    /// Opens a session. Another connection that has it is closed.
    pub async fn open_session(&self, principal: Principal, options: SessionOptions) -> Result<Session, SessionError> {
        Session::open(self.clone(), principal, options).await
    }

    /// Publishes one message for an API. Answers when it is durable, or appended if its quality of service is 0.
    pub async fn publish(&self, principal: &Principal, message: Envelope<'_>) -> Result<Offset, PublishError> {
        let offset = loop {
            match self.0.ingress.accept(principal, &[message], &mut KnownTopic::default()) {
                Err(PublishError::Busy) => self.log().ready().await,
                accepted => break accepted?,
            }
        };
        if message.qos > Qos::AtMostOnce {
            self.log().durable().wait_for(offset).await.map_err(|_| PublishError::Failed)?;
        }
        Ok(offset)
    }

    /// Follows the messages of a filter from now on.
    pub fn tail(&self, principal: &Principal, filter: TopicFilter) -> Result<Tail, Denied> {
        self.policy().may_subscribe(principal, &filter)?;
        let reading = self.shadows().readers.tail(&filter);
        Ok(Tail::new(self.log().reader(self.log().appended()), filter, reading))
    }

    /// Follows what becomes of the messages of a filter from now on, at one rule or at all.
    pub fn trace(&self, principal: &Principal, filter: TopicFilter, rule: Option<RuleName>) -> Result<Trace, Denied> {
        let tail = self.tail(principal, filter.clone())?;
        Ok(Trace::new(self.clone(), tail, filter, rule))
    }

    pub(crate) fn happenings(&self) -> &Happenings {
        self.rules().happenings()
    }

    /// The session of a device, connected or kept.
    pub async fn device_session(&self, device: &DeviceId) -> Option<SessionStatus> {
        let key = SessionKey::of(&Principal::Device(device.clone()), "");
        let asked = key.clone();
        let described = self.delivery().ask(|answer| Request::Describe(asked, answer)).await??;
        let connected = self.connections().about(&key);
        if connected.is_none() && !described.kept {
            // It ends with its connection, which Delivery is about to be told.
            return None;
        }
        let dropped = described.ledger.dropped.total();
        Some(SessionStatus {
            client_id: described.client_id,
            protocol: connected.map(|(protocol, ..)| protocol.as_str()),
            connected_at: connected.map(|(_, at, _)| at),
            certificate: connected.and_then(|(.., certificate)| certificate),
            offline_since: described.offline_since,
            expiry: described.expiry,
            subscriptions: described.subscriptions.iter().map(ToString::to_string).collect(),
            enqueued: described.ledger.enqueued,
            acknowledged: described.ledger.acknowledged,
            expired: described.ledger.expired,
            dropped,
            dropped_by: described.ledger.dropped,
            pending: described.pending,
        })
    }

    /// Sessions whose client is connected.
    pub fn session_count(&self) -> usize {
        self.connections().len()
    }

    /// Ends the live connection of a device, if there is one.
    pub fn close_device_sessions(&self, device: &DeviceId, reason: CloseReason) {
        self.connections().close_device(device, reason);
    }

    /// Ends the live connections of a product's devices.
    pub fn close_product_sessions(&self, product: &ProductId, reason: CloseReason) {
        self.connections().close_product(product, reason);
    }

    /// Ends the live connections that came by a certificate of which `withdrawn` is true. It is called with the list of
    /// connections held, so it must be quick.
    pub fn close_certificate_sessions(&self, withdrawn: impl Fn(&CertificateIdentity) -> bool, reason: CloseReason) {
        self.connections().close_certified(withdrawn, reason);
    }

    /// Ends the live connections that act with a key.
    pub fn close_principal_sessions(&self, principal: &Principal, reason: CloseReason) {
        self.connections().close_owner(&principal.to_string(), reason);
    }

    /// Ends every session of a device or key, with what waits for it, because the device or key is gone.
    pub async fn end_sessions(&self, principal: &Principal) {
        let owner = principal.to_string();
        self.connections().close_owner(&owner, CloseReason::Disabled);
        let sessions = self.delivery().ask(|answer| Request::OwnedBy(owner, answer)).await;
        for key in sessions.unwrap_or_default() {
            self.write(&[(key, Change::Cleared)]).await;
        }
    }

    /// Ends those subscriptions of a product's devices that the policy does not allow any more. What was put into their
    /// inboxes before is still delivered: it was allowed when it was accepted.
    pub(crate) async fn recheck_subscriptions(&self, product: &ProductId) {
        let subscriptions = self.delivery().ask(Request::Subscriptions).await.unwrap_or_default();
        let policy = self.policy();
        for (key, filter) in subscriptions {
            let Some(subscriber) = key.device() else { continue };
            // A gateway subscribes for devices that are online through it, with their rights.
            let device = named(&filter).unwrap_or(subscriber);
            if device.product == *product && policy.may_subscribe(&Principal::Device(device), filter.filter()).is_err()
            {
                self.metrics().refused_for("subscription", "policy_changed");
                self.write(&[(key, Change::Unsubscribed { connection: None, filter })]).await;
            }
        }
    }

    /// Appends changes of sessions and waits until they are so.
    pub(crate) async fn write(&self, changes: &[(SessionKey, Change)]) {
        let controls: Vec<ControlRecord> =
            changes.iter().map(|(key, change)| ControlRecord::new(key, change)).collect();
        let records: Vec<Record<'_>> = controls.iter().map(ControlRecord::record).collect();
        match self.log().append_reserved(&records).await {
            Ok(first) => {
                let last = first.plus(records.len().saturating_sub(1) as u64);
                // `None`: the hub is going down, and the next start finds the records.
                let _reached = self.delivery().ask(|answer| Request::Reach(last, answer)).await;
            }
            Err(error) => tracing::error!(changes = changes.len(), %error, "sessions could not be changed"),
        }
    }

    /// Whether whoever has proved itself still is enabled and has its key.
    pub(crate) fn still_known(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Device(device) => {
                self.store().device(device).is_ok_and(|known| known.is_some_and(|device| device.may_connect()))
            }
            Principal::Application { key, .. } | Principal::Administrator(key) => {
                self.store().key_role(key).is_ok_and(|role| role.is_some())
            }
            Principal::Rule { .. } => true,
        }
    }

    /// Whether a certificate that was good in the handshake still is. A store that cannot answer vouches for nobody.
    pub(crate) fn still_believed(&self, certificate: &CertificateIdentity) -> bool {
        is_believed(self.store(), certificate, self.clock().now()).is_ok_and(|believed| believed)
    }

    /// Runs a change to its end even if whoever asked for it goes away, as when an HTTP connection breaks: a right that is
    /// taken away in the store must not live on in a session. `None` if the change panicked.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        name: &'static str,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.0.front.spawn(name, async move {
            let _nobody_may_wait = done.send(change.await);
        });
        answer.await.ok()
    }

    pub(crate) fn ingress(&self) -> &Ingress {
        &self.0.ingress
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub(crate) fn delivery(&self) -> &DeliveryHandle {
        &self.0.delivery
    }

    pub(crate) fn shadows(&self) -> &ShadowHandle {
        &self.0.shadows
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.0.calls
    }

    pub(crate) fn registrar(&self) -> &Registrar {
        &self.0.registrar
    }

    pub(crate) fn broadcasts_changed(&self) -> &Notify {
        &self.0.broadcasts_changed
    }

    pub(crate) fn sub_devices(&self) -> &SubDevices {
        &self.0.sub_devices
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.0.presence
    }

    pub(crate) fn background(&self) -> &Drain {
        &self.0.background
    }
}
