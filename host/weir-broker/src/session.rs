//! Sessions: one client's publishes, subscriptions and deliveries, for any protocol.
//!
//! A session ends with its connection; sessions that outlive it are not kept yet.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use weir_core::{
    CertificateIdentity, Classify, Denied, DeviceId, Envelope, ErrorKind, Fingerprint, Offset, Principal, Protocol,
    Qos, Timestamp, TopicFilter, seams::PeerIdentity,
};

use crate::{
    Broker, PublishError,
    delivery::{DeliveryRequest, Subscription},
    inbox::{Entry, Inbox, InboxLedger, Outbound},
    presence::{Presence, Reason},
};

#[derive(Debug, Clone)]
pub struct SessionOptions {
    pub client_id: String,
    pub protocol: Protocol,
    /// Whether the client asks to start without state. Until sessions outlive connections, every session does.
    pub clean: bool,
    /// What the transport proved: a session that came by a certificate ends when that is believed no more.
    pub peer: PeerIdentity,
}

/// Why the hub ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection of the same device or client id.
    TakenOver,
    /// The device, its token, its key or its certificate was disabled, revoked or deleted.
    Disabled,
    Draining,
    /// The front-end let go of it.
    Ended,
}

/// How a session's connection ended, where the front-end knows better than that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    #[default]
    Disconnected,
    /// The client was silent for too long.
    KeepAlive,
    /// The hub ended it: the client broke a rule, or the hub is draining.
    Refused,
}

#[derive(Debug)]
pub enum SessionEvent {
    Deliver(Outbound),
    Close(CloseReason),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the hub is draining")]
    Draining,
}

impl Classify for SessionError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("a session may hold at most {limit} subscriptions")]
    TooMany { limit: usize },
    #[error("the hub is draining")]
    Draining,
}

impl Classify for SubscribeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(_) => ErrorKind::Forbidden,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Draining => ErrorKind::Unavailable,
        }
    }
}

/// What an operator sees of a session.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SessionStatus {
    pub client_id: String,
    pub protocol: &'static str,
    pub connected_at: Timestamp,
    /// The certificate by which it came, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fingerprint>,
    pub subscriptions: Vec<String>,
    pub enqueued: u64,
    pub acknowledged: u64,
    pub dropped: u64,
    pub pending: u64,
}

/// What makes two connections the same client: a device is one whatever its client id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ClientKey {
    Device(DeviceId),
    Named { owner: String, client_id: String },
}

/// The sessions that are open. Guards a map for lookups as short as one insert.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<ClientKey, Registered>>,
    next_id: AtomicU64,
}

#[derive(Debug, Clone)]
struct Registered {
    id: u64,
    inbox: Arc<Inbox>,
    client_id: Arc<str>,
    protocol: Protocol,
    connected_at: Timestamp,
    certificate: Option<Arc<CertificateIdentity>>,
    subscriptions: Arc<Mutex<Vec<TopicFilter>>>,
}

/// One client's session. Dropping it ends the session.
#[derive(Debug)]
pub struct Session {
    broker: Broker,
    key: ClientKey,
    registered: Registered,
    principal: Principal,
    publisher: Box<str>,
    known_topic: String,
    end: End,
    /// Rows taken from the inbox whose frame is still being read; kept here so that `next` may be cancelled.
    taken: Option<Entry>,
}

impl Sessions {
    /// Adds a session and tells that its device is there, after it has told that the one it replaces is gone.
    fn register(&self, key: &ClientKey, session: Registered, presence: &Presence) -> usize {
        let mut open = self.open.lock();
        let old = open.insert(key.clone(), session);
        if let Some(old) = &old {
            old.inbox.close(CloseReason::TakenOver);
        }
        // Under the lock, so that news of one device has the order of its sessions.
        if let ClientKey::Device(device) = key {
            if old.is_some() {
                presence.tell(device, Reason::TakenOver);
            }
            presence.tell(device, Reason::Connected);
        }
        open.len()
    }

    /// Takes a session out, unless another has taken its place, and tells that its device is gone.
    fn remove(&self, key: &ClientKey, id: u64, reason: Reason, presence: &Presence) -> usize {
        let mut open = self.open.lock();
        if open.get(key).is_some_and(|session| session.id == id) {
            open.remove(key);
            if let ClientKey::Device(device) = key {
                presence.tell(device, reason);
            }
        }
        open.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    pub(crate) fn device(&self, device: &DeviceId) -> Option<SessionStatus> {
        let open = self.open.lock();
        let session = open.get(&ClientKey::Device(device.clone()))?;
        let InboxLedger { enqueued, acknowledged, dropped, pending } = session.inbox.ledger();
        let subscriptions = session.subscriptions.lock().iter().map(ToString::to_string).collect();
        Some(SessionStatus {
            client_id: session.client_id.to_string(),
            protocol: session.protocol.as_str(),
            connected_at: session.connected_at,
            certificate: session.certificate.as_ref().map(|certificate| certificate.fingerprint),
            subscriptions,
            enqueued,
            acknowledged,
            dropped,
            pending,
        })
    }

    pub(crate) fn close_device(&self, device: &DeviceId, reason: CloseReason) {
        if let Some(session) = self.open.lock().get(&ClientKey::Device(device.clone())) {
            session.inbox.close(reason);
        }
    }

    /// Closes the sessions that came by a certificate of which `withdrawn` is true.
    pub(crate) fn close_certified(&self, withdrawn: impl Fn(&CertificateIdentity) -> bool, reason: CloseReason) {
        for session in self.open.lock().values() {
            if session.certificate.as_ref().is_some_and(|certificate| withdrawn(certificate)) {
                session.inbox.close(reason);
            }
        }
    }

    /// Closes the sessions that act with a key.
    pub(crate) fn close_owner(&self, principal: &str, reason: CloseReason) {
        for (key, session) in self.open.lock().iter() {
            if matches!(key, ClientKey::Named { owner, .. } if owner == principal) {
                session.inbox.close(reason);
            }
        }
    }
}

impl Session {
    pub(crate) fn open(broker: Broker, principal: Principal, options: SessionOptions) -> Result<Self, SessionError> {
        if broker.draining() {
            return Err(SessionError::Draining);
        }
        let publisher: Box<str> = principal.to_string().into();
        let key = match &principal {
            Principal::Device(device) => ClientKey::Device(device.clone()),
            _ => ClientKey::Named { owner: publisher.to_string(), client_id: options.client_id.clone() },
        };
        let registered = Registered {
            id: broker.sessions().next_id.fetch_add(1, Ordering::Relaxed),
            inbox: Arc::new(Inbox::new(broker.limits().inbox_messages, broker.metrics().clone())),
            client_id: options.client_id.into(),
            protocol: options.protocol,
            connected_at: broker.clock().now(),
            certificate: options.peer.certificate().cloned(),
            subscriptions: Arc::default(),
        };
        let open = broker.sessions().register(&key, registered.clone(), broker.presence());
        broker.metrics().sessions(open);
        // Whoever takes a right away closes the sessions there are; one that was being opened meanwhile looks again.
        let certificate = registered.certificate.as_deref();
        if !broker.still_known(&principal) || certificate.is_some_and(|certificate| !broker.still_believed(certificate))
        {
            registered.inbox.close(CloseReason::Disabled);
        }
        Ok(Self {
            broker,
            key,
            registered,
            principal,
            publisher,
            known_topic: String::new(),
            end: End::default(),
            taken: None,
        })
    }

    pub fn client_id(&self) -> &str {
        &self.registered.client_id
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The text that names this client as the publisher of its messages.
    pub fn publisher(&self) -> &str {
        &self.publisher
    }

    /// Checks and appends: all messages or none. Returns the offset of the last; acknowledge when it is durable.
    pub fn publish(&mut self, messages: &[Envelope<'_>]) -> Result<Offset, PublishError> {
        if self.closed().is_some() {
            return Err(PublishError::Ended);
        }
        self.broker.ingress().accept(&self.principal, messages, &mut self.known_topic)
    }

    /// Publishes the client's will: also after the session was closed, unless because its right was taken away.
    pub fn publish_will(&mut self, will: Envelope<'_>) -> Result<Offset, PublishError> {
        if self.closed() == Some(CloseReason::Disabled) {
            return Err(PublishError::Ended);
        }
        self.broker.ingress().accept(&self.principal, &[will], &mut self.known_topic)
    }

    /// Subscribes, or changes the quality of service of a subscription. From the moment this returns, every message
    /// accepted is delivered. Returns the quality of service granted.
    pub async fn subscribe(&mut self, filter: &TopicFilter, qos: Qos) -> Result<Qos, SubscribeError> {
        let refused = |error: SubscribeError| {
            self.broker.metrics().refused("subscribe", error.kind());
            error
        };
        self.broker.policy().may_subscribe(&self.principal, filter).map_err(|denied| refused(denied.into()))?;
        {
            let mut subscriptions = self.registered.subscriptions.lock();
            if !subscriptions.contains(filter) {
                let limit = self.broker.limits().subscriptions;
                if subscriptions.len() >= limit {
                    drop(subscriptions);
                    return Err(refused(SubscribeError::TooMany { limit }));
                }
                subscriptions.push(filter.clone());
            }
        }
        let granted = qos.min(Qos::AtLeastOnce);
        let subscription = Subscription {
            session: self.registered.id,
            inbox: Arc::clone(&self.registered.inbox),
            filter: filter.clone(),
            qos: granted,
        };
        let done = self.broker.request(DeliveryRequest::Subscribe(subscription)).await;
        done.map(|_| granted).ok_or(SubscribeError::Draining)
    }

    /// Says whether there was such a subscription.
    pub async fn unsubscribe(&mut self, filter: &TopicFilter) -> bool {
        self.registered.subscriptions.lock().retain(|held| held != filter);
        let request = DeliveryRequest::Unsubscribe { session: self.registered.id, filter: filter.clone() };
        self.broker.request(request).await.unwrap_or(false)
    }

    /// The next thing for the connection to do. May be cancelled without losing anything.
    pub async fn next(&mut self) -> SessionEvent {
        let inbox = Arc::clone(&self.registered.inbox);
        loop {
            if let Some(reason) = inbox.closed() {
                return SessionEvent::Close(reason);
            }
            if self.taken.is_none() {
                self.taken = inbox.take(self.broker.limits().inflight);
            }
            let Some(taken) = &self.taken else {
                inbox.notified().await;
                continue;
            };
            let frame = match taken.frame.upgrade() {
                Some(frame) => Some(frame),
                None => self.broker.log().reader(taken.first).next().await.ok().filter(|f| f.first == taken.first),
            };
            let Some(taken) = self.taken.take() else { continue };
            match frame {
                Some(frame) => return SessionEvent::Deliver(Outbound { frame, rows: taken.rows }),
                None => inbox.lost(&taken.rows),
            }
        }
    }

    /// Why the session has ended, if it has. `next` says the same, but is not asked while the client leaves unread what
    /// it was sent.
    pub fn closed(&self) -> Option<CloseReason> {
        self.registered.inbox.closed()
    }

    /// Says how the connection ended, before the session is dropped.
    pub fn ended(&mut self, end: End) {
        self.end = end;
    }

    /// Says how many rows at QoS 1 the client has acknowledged since the last call.
    pub fn acknowledged(&mut self, count: usize) {
        self.registered.inbox.acknowledged(count);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let reason = match (self.closed(), self.end) {
            (None, End::Disconnected) => Reason::Disconnected,
            (None, End::KeepAlive) => Reason::KeepAlive,
            (Some(_), _) | (None, End::Refused) => Reason::Ended,
        };
        let open = self.broker.sessions().remove(&self.key, self.registered.id, reason, self.broker.presence());
        self.broker.metrics().sessions(open);
        self.registered.inbox.settle();
        if !self.registered.subscriptions.lock().is_empty() {
            self.broker.forget(self.registered.id);
        }
    }
}
