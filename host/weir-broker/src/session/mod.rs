//! Sessions: one client's publishes, subscriptions and deliveries, for any protocol.
//!
//! A session is what the log says of it; see [`crate::delivery`]. What is here is its connection's part: a handle that
//! front-ends hold while a client is there. Opening, subscribing and the handshakes of QoS 2 append records, and are
//! answered when those are durable.

mod end;
mod open;
mod options;
mod registry;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use weir_core::{Classify, Envelope, Offset, Principal, Protocol, Qos, Subscription, SubscriptionFilter};
use weir_log::{AppendError, Frame, Reader, Record};

pub use self::options::{
    CloseReason, End, SessionError, SessionEvent, SessionOptions, SessionStatus, SubscribeError, Will,
};
pub(crate) use self::{options::SessionKey, registry::Connections};
use crate::{
    Broker, PublishError,
    delivery::{Change, ControlRecord, Request},
    inbox::{Front, Inbox, Origin},
    line::Line,
    message::KeptMessage,
    outbound::{Outbound, OutboundRow},
    pace::Pace,
    policy::{KnownTopic, Right},
};

/// How long a client is not read from that asks for changes of shadows faster than they are applied.
const SHADOW_PAUSE: Duration = Duration::from_millis(20);

/// One client's hold on its session. Dropping it is the network going away.
#[derive(Debug)]
pub struct Session {
    broker: Broker,
    key: SessionKey,
    client_id: Arc<str>,
    principal: Principal,
    publisher: Arc<str>,
    protocol: Protocol,
    line: Arc<Line>,
    inbox: Arc<Inbox>,
    present: bool,
    expiry: u32,
    /// Whether the log knows of the session.
    kept: bool,
    will: Option<Box<Will>>,
    known_topic: KnownTopic,
    /// What a device has published lately; applications have no rate.
    pace: Pace,
    /// Identifiers of QoS 2 messages that the client has not released.
    received: BTreeSet<u16>,
    /// Where the backlog is read, while there is one that is not in memory.
    backlog: Option<Box<Backlog>>,
    closed: bool,
}

#[derive(Debug)]
struct Backlog {
    reader: Reader,
    frame: Option<Arc<Frame>>,
}

impl Session {
    /// Whether state of an earlier connection goes on.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Seconds that the session is kept when the connection is gone.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The text that names this client as the publisher of its messages.
    pub fn publisher(&self) -> &Arc<str> {
        &self.publisher
    }

    // === from the client ===

    /// Checks and appends: all messages or none. Returns the offset of the last; acknowledge when it is durable.
    ///
    /// A QoS 2 message whose identifier is in use is the one before, sent again: it is not appended [MQTT-4.3.3-2].
    pub fn publish(&mut self, messages: &[Envelope<'_>]) -> Result<Offset, PublishError> {
        if self.closed().is_some() {
            return Err(PublishError::Ended);
        }
        if messages.iter().all(|message| message.qos < Qos::ExactlyOnce) {
            return self.accept(messages);
        }
        let exactly_once = |message: &Envelope<'_>| message.packet_id.filter(|_| message.qos == Qos::ExactlyOnce);
        let mut new = Vec::with_capacity(messages.len());
        let mut identifiers = BTreeSet::new();
        for message in messages {
            match exactly_once(message) {
                Some(identifier) if self.received.contains(&identifier) || !identifiers.insert(identifier) => {}
                _ => new.push(*message),
            }
        }
        let offset = match new.is_empty() {
            // All were appended before, so what is appended by now says when they are durable.
            true => Offset(self.broker.log().appended().0.saturating_sub(1)),
            false => self.accept(&new)?,
        };
        self.received.append(&mut identifiers);
        Ok(offset)
    }

    /// Accepts messages at the pace that the client may have.
    fn accept(&mut self, messages: &[Envelope<'_>]) -> Result<Offset, PublishError> {
        let is_request = |message: &Envelope<'_>| message.topic.starts_with("$shadow/");
        if messages.iter().any(is_request) && self.broker.shadows().state.is_behind(self.broker.log()) {
            return Err(PublishError::Paced { until: Instant::now() + SHADOW_PAUSE });
        }
        let limits = self.broker.limits();
        let paced = matches!(self.principal, Principal::Device(_))
            && (limits.device_messages.is_some() || limits.device_bytes.is_some());
        if !paced {
            return self.broker.ingress().accept(&self.principal, messages, &mut self.known_topic);
        }
        let after = self.pace.after(limits, messages, Instant::now()).map_err(|until| {
            if messages.len() == 1 {
                self.broker.metrics().refused_for("publish", "paced");
            }
            PublishError::Paced { until }
        })?;
        let accepted = self.broker.ingress().accept(&self.principal, messages, &mut self.known_topic);
        // What is refused takes as much of the hub as what is not; a busy log is not the client's doing.
        if accepted != Err(PublishError::Busy) {
            self.pace = after;
        }
        accepted
    }

    /// The client releases the identifier of a QoS 2 message (PUBREL). Answer (PUBCOMP) when the record at the offset
    /// is durable; `None`: the identifier is not in use.
    pub fn release(&mut self, identifier: u16) -> Result<Option<Offset>, PublishError> {
        if !self.received.contains(&identifier) {
            return Ok(None);
        }
        let offset = self.note(&Change::Released(identifier))?;
        self.received.remove(&identifier);
        Ok(Some(offset))
    }

    /// Subscribes, or changes subscriptions. From the moment this returns, every message accepted is delivered, also
    /// after a crash if the session is kept. Answers each with the quality of service granted.
    pub async fn subscribe(&mut self, requests: &[Subscription]) -> Vec<Result<Qos, SubscribeError>> {
        let filters: Vec<SubscriptionFilter> = requests.iter().map(|request| request.filter.clone()).collect();
        let key = self.key.clone();
        let Some((mut count, held)) = self.broker.delivery().ask(|answer| Request::Holds(key, filters, answer)).await
        else {
            return requests.iter().map(|_| Err(SubscribeError::Ended)).collect();
        };
        let limit = self.broker.limits().subscriptions;
        let policy = &self.broker.ingress().policy;
        let version = policy.version();
        let (mut changes, mut some_lent) = (Vec::new(), false);
        let mut answers: Vec<Result<Qos, SubscribeError>> = requests
            .iter()
            .zip(held)
            .map(|(request, held)| {
                let right = policy.may_subscribe(&self.principal, self.line.id, request.filter.filter())?;
                some_lent |= right == Right::Lent;
                count += usize::from(!held);
                if count > limit && !held {
                    return Err(SubscribeError::TooMany { limit });
                }
                let mut subscription = request.clone();
                if request.filter.group().is_some() {
                    // A message of a group may be sent to a second member, so none can have it exactly once.
                    subscription.qos = subscription.qos.min(Qos::AtLeastOnce);
                }
                let granted = subscription.qos;
                changes.push(Change::Subscribed { connection: Some(self.line.id), subscription });
                Ok(granted)
            })
            .collect();
        self.known_topic.acts |= some_lent;
        if let Err(error) = self.note_all(&changes).await {
            answers.iter_mut().filter(|answer| answer.is_ok()).for_each(|answer| *answer = Err(error.clone()));
        }
        // Whoever takes a right away ends the subscriptions there are; one that was being made meanwhile looks again.
        if some_lent || self.broker.ingress().policy.version() != version {
            self.look_again(requests, &mut answers).await;
        }
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.broker.metrics().refused("subscribe", error.kind());
        }
        answers
    }

    /// Ends what was granted and is not allowed any more.
    async fn look_again(&mut self, requests: &[Subscription], answers: &mut [Result<Qos, SubscribeError>]) {
        for (request, answer) in requests.iter().zip(answers) {
            let policy = &self.broker.ingress().policy;
            if let Err(denied) = policy.may_subscribe(&self.principal, self.line.id, request.filter.filter())
                && answer.is_ok()
            {
                self.unsubscribe(std::slice::from_ref(&request.filter)).await;
                *answer = Err(denied.into());
            }
        }
    }

    /// Says for each whether there was such a subscription.
    pub async fn unsubscribe(&mut self, filters: &[SubscriptionFilter]) -> Vec<bool> {
        let (key, asked) = (self.key.clone(), filters.to_vec());
        let held = self.broker.delivery().ask(|answer| Request::Holds(key, asked, answer)).await;
        let held = held.map_or_else(|| vec![false; filters.len()], |(_, held)| held);
        let connection = Some(self.line.id);
        let changes: Vec<Change> = filters
            .iter()
            .zip(&held)
            .filter(|(_, held)| **held)
            .map(|(filter, _)| Change::Unsubscribed { connection, filter: filter.clone() })
            .collect();
        // If it cannot be written, the hub is going down.
        let _written = self.note_all(&changes).await;
        held
    }

    /// Appends what changes and waits until Delivery has acted on it, which is after it is durable.
    async fn note_all(&self, changes: &[Change]) -> Result<(), SubscribeError> {
        if changes.is_empty() {
            return Ok(());
        }
        let controls: Vec<ControlRecord> = changes.iter().map(|change| ControlRecord::new(&self.key, change)).collect();
        let records: Vec<Record<'_>> = controls.iter().map(ControlRecord::record).collect();
        let log = self.broker.log();
        let first = log.append_reserved(&records).await.map_err(|error| SubscribeError::Log(error.to_string()))?;
        let last = first.plus(records.len().saturating_sub(1) as u64);
        self.broker.delivery().ask(|answer| Request::Reach(last, answer)).await.ok_or(SubscribeError::Ended)
    }

    /// Appends what happened to the session. One that is not kept has nothing to write down.
    fn note(&self, change: &Change) -> Result<Offset, AppendError> {
        if !self.kept {
            // As durable as anything was before.
            return Ok(Offset::ZERO);
        }
        let control = ControlRecord::new(&self.key, change);
        let records: [Record<'_>; 1] = [control.record()];
        self.broker.log().try_append_reserved(&records)
    }

    // === to the client ===

    /// The next thing for the connection to do. May be cancelled without losing anything.
    pub async fn next(&mut self) -> SessionEvent {
        loop {
            if let Some(reason) = self.line.closed() {
                return SessionEvent::Close(reason);
            }
            match self.inbox.front(&self.line) {
                Front::Nothing => {
                    self.backlog = None;
                    self.line.notified().await;
                }
                Front::Release(identifiers) => return SessionEvent::Release(identifiers),
                Front::Log { offset, frame, origin } => {
                    let frame = match frame {
                        Some(frame) => frame,
                        // Boxed, because few connections have a backlog, and all would hold room for it.
                        None => match Box::pin(self.read(offset, &origin)).await {
                            Some(frame) => frame,
                            None => continue,
                        },
                    };
                    let now = self.broker.clock().now();
                    if let Some(outbound) = self.inbox.take(&self.line, &origin, &frame, now) {
                        return SessionEvent::Deliver(outbound);
                    }
                }
                Front::Held { message, origin } => {
                    if let Some(outbound) = self.take_kept(&origin, message) {
                        return SessionEvent::Deliver(outbound);
                    }
                }
                Front::Stored { number, origin } => match self.stored(number, &origin) {
                    Some(message) => {
                        if let Some(outbound) = self.take_kept(&origin, message) {
                            return SessionEvent::Deliver(outbound);
                        }
                    }
                    None => self.inbox.lost_stored(&origin, number),
                },
            }
        }
    }

    /// Waits until the session has ended, for a connection that cannot take its next event now. May be cancelled.
    pub async fn ended(&self) -> CloseReason {
        loop {
            if let Some(reason) = self.line.closed() {
                return reason;
            }
            // `next` looks before it waits, so it misses nothing of what is heard here.
            self.line.notified().await;
        }
    }

    fn take_kept(&self, origin: &Origin, message: Arc<KeptMessage>) -> Option<Outbound> {
        self.inbox.take_kept(&self.line, origin, message, self.broker.clock().now())
    }

    /// The frame that holds a record, from the disk. `None`: it is lost, and said so.
    async fn read(&mut self, offset: Offset, origin: &Origin) -> Option<Arc<Frame>> {
        let log = self.broker.log();
        let reader = || log.reader(offset);
        let backlog = self.backlog.get_or_insert_with(|| Box::new(Backlog { reader: reader(), frame: None }));
        if let Some(frame) = backlog.frame.as_ref().filter(|frame| frame.first <= offset && offset < frame.next) {
            return Some(Arc::clone(frame));
        }
        if backlog.reader.position() > offset {
            backlog.reader = reader();
        }
        loop {
            match backlog.reader.next().await {
                Ok(frame) if frame.next <= offset => {}
                Ok(frame) if frame.first <= offset => {
                    backlog.frame = Some(Arc::clone(&frame));
                    return Some(frame);
                }
                Ok(frame) => {
                    self.inbox.lost_before(origin, frame.first);
                    return None;
                }
                Err(weir_log::ReadError::Overtaken { oldest, .. }) => {
                    self.inbox.lost_before(origin, oldest.max(Offset(offset.0 + 1)));
                    return None;
                }
                // The hub is going down, and the message waits on.
                Err(weir_log::ReadError::Stopped) => std::future::pending().await,
                Err(error) => {
                    tracing::error!(session = %self.key, %error, "a message that waits cannot be read");
                    self.inbox.lost_before(origin, Offset(offset.0 + 1));
                    return None;
                }
            }
        }
    }

    fn stored(&self, number: u64, origin: &Origin) -> Option<Arc<KeptMessage>> {
        let owner = match origin {
            Origin::Own => self.key.as_str(),
            Origin::Shared(queue) => &queue.name,
        };
        match self.broker.store().kept_message(owner, number) {
            Ok(message) => message.and_then(|bytes| KeptMessage::decode(&bytes)).map(Arc::new),
            Err(error) => {
                tracing::error!(session = %self.key, %error, "a kept message cannot be read");
                None
            }
        }
    }

    /// The client has acknowledged messages (PUBACK), or has refused them (PUBREC with a reason), which ends them too.
    /// Says how many of the identifiers were in use.
    pub fn acknowledged(&mut self, identifiers: &[u16]) -> usize {
        self.inbox.acknowledged(&self.line, identifiers)
    }

    /// The client has taken a QoS 2 message (PUBREC). Release it (PUBREL) when the record at the offset is durable;
    /// `None`: the identifier is not in use.
    pub fn received(&mut self, identifier: u16) -> Result<Option<Offset>, PublishError> {
        let Some(number) = self.inbox.in_flight(&self.line, identifier) else { return Ok(None) };
        // The record comes first: what was not written down may have to be sent again.
        let offset = self.note(&Change::Received(number))?;
        self.inbox.was_received(number);
        Ok(Some(offset))
    }

    /// The client has forgotten a QoS 2 message (PUBCOMP). Says whether the identifier was in use.
    pub fn completed(&mut self, identifier: u16) -> bool {
        self.inbox.completed(&self.line, identifier)
    }

    /// No packet can carry this message to this client: it is done, and counted as dropped [MQTT5-3.1.2-25].
    pub fn undeliverable(&mut self, row: &OutboundRow) {
        self.inbox.undeliverable(row);
    }

    /// Why the session has ended, if it has. `next` and `ended` say the same.
    pub fn closed(&self) -> Option<CloseReason> {
        self.line.closed()
    }
}
