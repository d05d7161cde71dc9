//! The handle by which front-ends reach the hub.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};
use weir_core::{
    CertificateIdentity, Classify, Denied, DeviceId, Envelope, Offset, Policy, Principal, Qos, TopicFilter,
    seams::{AuthError, Authenticator, BoxFuture, Credentials, Outcome, Publisher, Republish},
};
use weir_log::{AppendError, Clock, Log, Record};
use weir_store::Store;

use crate::{
    CloseReason, Drain, Limits, Metrics, PublishError, RuleRuntime, Session, SessionError, SessionOptions,
    SessionStatus, Tail,
    auth::is_believed,
    delivery::{DeliveryRequest, DeliveryState, Request},
    ingress::Ingress,
    presence::Presence,
    session::Sessions,
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
    pub(crate) sessions: Sessions,
    pub(crate) delivery: mpsc::Sender<Request>,
    pub(crate) delivery_state: Arc<DeliveryState>,
    pub(crate) rules: RuleRuntime,
    pub(crate) presence: Presence,
    pub(crate) ailment: Ailment,
    /// Cancelled when front-ends must end.
    pub(crate) front: Drain,
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

    pub fn policy(&self) -> &Policy {
        &self.0.ingress.policy
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

    /// Opens a session. The session that the same device (or key and client id) had is closed.
    pub fn open_session(&self, principal: Principal, options: SessionOptions) -> Result<Session, SessionError> {
        Session::open(self.clone(), principal, options)
    }

    /// Publishes one message for an API. Answers when it is durable, or appended if its quality of service is 0.
    pub async fn publish(&self, principal: &Principal, message: Envelope<'_>) -> Result<Offset, PublishError> {
        let offset = loop {
            match self.0.ingress.accept(principal, &[message], &mut String::new()) {
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
        Ok(Tail::new(self.log().reader(self.log().appended()), filter))
    }

    pub fn device_session(&self, device: &DeviceId) -> Option<SessionStatus> {
        self.0.sessions.device(device)
    }

    pub fn session_count(&self) -> usize {
        self.0.sessions.len()
    }

    /// Ends the live session of a device, if there is one.
    pub fn close_device_sessions(&self, device: &DeviceId, reason: CloseReason) {
        self.0.sessions.close_device(device, reason);
    }

    /// Ends the live sessions that came by a certificate of which `withdrawn` is true. It is called with the list of
    /// sessions held, so it must be quick.
    pub fn close_certificate_sessions(&self, withdrawn: impl Fn(&CertificateIdentity) -> bool, reason: CloseReason) {
        self.0.sessions.close_certified(withdrawn, reason);
    }

    /// Ends the live sessions that act with a key.
    pub fn close_principal_sessions(&self, principal: &Principal, reason: CloseReason) {
        self.0.sessions.close_owner(&principal.to_string(), reason);
    }

    /// Whether whoever has proved itself still is enabled and has its key.
    pub(crate) fn still_known(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Device(device) => {
                self.store().device(device).is_ok_and(|known| known.is_some_and(|device| device.enabled))
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

    pub(crate) fn ingress(&self) -> &Ingress {
        &self.0.ingress
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Asks Delivery and waits for its answer; `None` when the hub is going down.
    pub(crate) async fn request(&self, request: DeliveryRequest) -> Option<bool> {
        let (done, answer) = oneshot::channel();
        self.0.delivery.send((request, done)).await.ok()?;
        answer.await.ok()
    }

    pub(crate) fn forget(&self, session: u64) {
        self.0.delivery_state.ended.lock().push(session);
        self.0.delivery_state.ended_notify.notify_one();
    }
}

/// The hub as a target of its own rules: what they republish has a reserved share of the log, so that a rule that lags
/// cannot block on its own refusal.
#[derive(Debug, Clone)]
pub(crate) struct LogPublisher {
    pub(crate) ingress: Ingress,
}

impl Publisher for LogPublisher {
    fn publish<'a>(&'a self, owner: &'a Principal, messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut outcomes: Vec<Outcome> = messages.iter().map(|message| self.check(owner, message)).collect();
            let publishers: Vec<String> = messages.iter().map(|message| format!("rule:{}", message.rule)).collect();
            let allowed = messages.iter().zip(&publishers).zip(&outcomes);
            let records: Vec<Record<'_>> = allowed
                .filter(|(_, outcome)| **outcome == Outcome::Delivered)
                .map(|((message, publisher), _)| {
                    let qos = Qos::from_u8(message.qos).unwrap_or_default();
                    let mut envelope =
                        Envelope::new(&message.topic, publisher, weir_core::Protocol::Hub, qos, &message.payload);
                    envelope.hop = message.hop;
                    envelope.origin = Some(message.rule.as_str());
                    Record::Message(envelope)
                })
                .collect();
            if records.is_empty() {
                return outcomes;
            }
            if let Err(error) = self.append(&records).await {
                let reason = error.to_string();
                for outcome in outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Delivered) {
                    *outcome = Outcome::Unavailable { reason: reason.clone(), retry_after: None };
                }
            }
            outcomes
        })
    }
}

impl LogPublisher {
    fn check(&self, owner: &Principal, message: &Republish) -> Outcome {
        let rejected = |reason: String| Outcome::Rejected { reason, retry: false };
        let (size, limit) = (message.payload.len(), self.ingress.limits.payload);
        if size > limit {
            return rejected(PublishError::TooLarge { size, limit }.to_string());
        }
        match self.ingress.policy.may_publish(owner, &message.topic) {
            Ok(()) => Outcome::Delivered,
            Err(denied) => rejected(denied.to_string()),
        }
    }

    /// Appends and waits until the last of the records is durable, and so all are.
    async fn append(&self, records: &[Record<'_>]) -> Result<(), AppendError> {
        let log = &self.ingress.log;
        let first = log.append_reserved(records).await?;
        let last = first.plus(records.len().saturating_sub(1) as u64);
        log.durable().wait_for(last).await.map_err(|_| AppendError::Failed)?;
        for record in records {
            if let Record::Message(message) = record {
                self.ingress.metrics.accepted(message.protocol, message.qos, message.payload.len());
            }
        }
        Ok(())
    }
}
