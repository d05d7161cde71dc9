//! What control records change.

use std::sync::Arc;

use weir_core::{Qos, RetainHandling, Subscription, SubscriptionFilter, Timestamp, schema::Records};
use weir_log::Frame;

use super::{
    Delivery,
    control::{Change, ControlRecord, Opened},
    matching::Destination,
    sessions::{SessionState, Shared},
};
use crate::{
    inbox::{
        Inbox, Membership, Moment,
        queue::{Place, Row},
        shared::SharedQueue,
    },
    message::KeptMessage,
    session::{CloseReason, SessionKey},
};

impl Delivery {
    pub(super) fn apply(&mut self, frame: &Arc<Frame>, row: usize) {
        let records = &frame.records;
        let Some((key, change)) = ControlRecord::read(records, row) else { return };
        let now = records.accepted_at(row);
        if let Some(place) = self.sessions.place(&key) {
            // What it was given before in this frame comes before the change.
            self.flush_session(place, frame);
        }
        match change {
            Change::Opened(opened) => self.opened(&key, &opened, now),
            Change::Closed(closed) => {
                let Some(place) = self.current(&key, Some(closed.connection)) else { return };
                let Some(session) = self.sessions.slots.get_mut(place) else { return };
                session.expiry = closed.expiry.unwrap_or(session.expiry);
                if self.moment == Moment::Replay {
                    session.inbox.may_have_been_sent();
                }
                session.offline_since = Some(now);
                session.changed = true;
                if session.expiry == 0 {
                    self.end(place);
                }
            }
            Change::Expired { connection } => {
                let is_away = |session: &SessionState| session.offline_since.is_some() && !session.inbox.is_attached();
                if let Some(place) = self.current(&key, Some(connection))
                    && self.sessions.slots.get(place).is_some_and(is_away)
                {
                    self.end(place);
                }
            }
            Change::Cleared => {
                if let Some(place) = self.sessions.place(&key) {
                    self.end(place);
                }
            }
            Change::Subscribed { connection, subscription } => {
                if let Some(place) = self.current(&key, connection) {
                    self.subscribed(place, subscription, now);
                }
            }
            Change::Unsubscribed { connection, filter } => {
                if let Some(place) = self.current(&key, connection) {
                    self.unsubscribed(place, &filter);
                }
            }
            Change::Received(number) => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.changed = true;
                    session.inbox.was_received(number);
                }
            }
            Change::Released(packet_id) => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.changed = true;
                    session.received.remove(&packet_id);
                }
            }
        }
    }

    /// The place of a session, if `connection` is the one that has it (or no certain one is meant).
    fn current(&self, key: &SessionKey, connection: Option<u64>) -> Option<usize> {
        let place = self.sessions.place(key)?;
        let session = self.sessions.slots.get(place)?;
        connection.is_none_or(|connection| connection == session.connection).then_some(place)
    }

    fn opened(&mut self, key: &SessionKey, opened: &Opened, now: Timestamp) {
        let goes_on = |session: &&mut SessionState| {
            // One that is not to outlive its connection has not, whatever it is that has replaced it.
            session.kept
                && session.expiry > 0
                && !opened.clean
                && session.client_id == opened.client_id
                && !session.is_expired(now)
        };
        if let Some(session) = self.sessions.get_mut(key).filter(goes_on) {
            if self.moment == Moment::Replay && session.offline_since.is_none() {
                session.inbox.may_have_been_sent();
            }
            session.connection = opened.connection;
            session.present = true;
            session.expiry = opened.expiry;
            session.offline_since = None;
            session.changed = true;
            return;
        }
        if let Some(old) = self.sessions.place(key) {
            self.end(old);
        }
        self.open(key, opened, true);
    }

    /// Makes a session; there must be none of that key.
    pub(super) fn open(&mut self, key: &SessionKey, opened: &Opened, kept: bool) {
        let inbox = Arc::new(Inbox::new(self.bounds, self.metrics.clone()));
        self.sessions.insert(SessionState::new(key.clone(), opened, inbox, kept));
        self.upkeep.is_new |= kept;
    }

    pub(super) fn end(&mut self, place: usize) {
        let Some(session) = self.sessions.slots.get(place) else { return };
        let filters: Vec<SubscriptionFilter> = session.subscriptions.filters().cloned().collect();
        for filter in &filters {
            self.unsubscribed(place, filter);
        }
        if let Some(session) = self.sessions.remove(place) {
            session.inbox.settle();
            session.inbox.close(CloseReason::Ended);
        }
    }

    fn subscribed(&mut self, place: usize, subscription: Subscription, now: Timestamp) {
        let Some(session) = self.sessions.slots.get_mut(place) else { return };
        session.changed = true;
        let filter = subscription.filter.clone();
        let old = session.subscriptions.insert(subscription.clone());
        if filter.group().is_some() {
            return self.join(place, &subscription);
        }
        if old.is_some() {
            self.index.remove(Destination::Session(place), &filter);
        }
        self.index.insert(place, &subscription);
        let wanted = match subscription.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => old.is_none(),
            RetainHandling::DontSend => false,
        };
        if wanted {
            self.give_retained(place, &subscription, now);
        }
    }

    /// Retained messages, because of a subscription [MQTT-3.3.1-6].
    fn give_retained(&mut self, place: usize, subscription: &Subscription, now: Timestamp) {
        let messages = self.retained.matching(subscription.filter.filter(), now);
        let Some(session) = self.sessions.slots.get_mut(place) else { return };
        // [MQTT5-3.8.3-3]
        let is_own = |message: &KeptMessage| {
            let client_id = message.client_id.as_deref().unwrap_or_default();
            subscription.no_local && SessionKey::of_publisher(&message.publisher, client_id) == session.key
        };
        let messages: Vec<_> = messages.into_iter().filter(|message| !is_own(message)).collect();
        if messages.is_empty() {
            return;
        }
        if session.rows.is_empty() {
            self.touched.push(Destination::Session(place));
        }
        let identifiers = subscription.identifier.map(|identifier| Arc::new(vec![identifier]));
        for message in messages {
            let size = message.message.topic.as_str().len() + message.message.payload.len();
            let qos = message.message.qos.min(subscription.qos);
            // [MQTT-3.3.1-8]
            session.give(Place::Held(message), size, qos, true, identifiers.clone());
        }
    }

    fn unsubscribed(&mut self, place: usize, filter: &SubscriptionFilter) {
        let Some(session) = self.sessions.slots.get_mut(place) else { return };
        session.changed = true;
        if !session.subscriptions.remove(filter) {
            return;
        }
        if filter.group().is_some() {
            self.leave(place, filter);
        } else {
            self.index.remove(Destination::Session(place), filter);
        }
    }

    // === shared subscriptions ===

    pub(super) fn join(&mut self, place: usize, subscription: &Subscription) {
        let Some(inbox) = self.sessions.slots.get(place).map(|session| Arc::clone(&session.inbox)) else { return };
        let shared = match self.sessions.shared_place(&subscription.filter) {
            Some(shared) => shared,
            None => {
                let name = subscription.filter.to_string();
                let queue = Arc::new(SharedQueue::new(name, self.bounds, self.metrics.clone()));
                self.file_shared(&subscription.filter, queue, 0)
            }
        };
        let Some(shared) = self.sessions.shared.get_mut(shared) else { return };
        if !shared.members.contains(&place) {
            shared.members.push(place);
        }
        shared.changed = true;
        inbox.join(Membership {
            queue: Arc::clone(&shared.queue),
            qos: subscription.qos.min(Qos::AtLeastOnce),
            retain_as_published: subscription.retain_as_published,
            identifiers: subscription.identifier.map(|identifier| Arc::new(vec![identifier])),
        });
    }

    pub(super) fn file_shared(&mut self, filter: &SubscriptionFilter, queue: Arc<SharedQueue>, done: u64) -> usize {
        let filter = filter.clone();
        let shared = Shared {
            filter: filter.clone(),
            queue,
            members: Vec::new(),
            turn: 0,
            done,
            rows: Vec::new(),
            changed: true,
        };
        let place = self.sessions.insert_shared(shared);
        self.index.insert_shared(place, &filter);
        place
    }

    pub(super) fn unfile_shared(&mut self, filter: &SubscriptionFilter) {
        if let Some(place) = self.sessions.shared_place(filter) {
            self.sessions.remove_shared(place);
            self.index.remove(Destination::Shared(place), filter);
        }
    }

    fn leave(&mut self, place: usize, filter: &SubscriptionFilter) {
        let Some(at) = self.sessions.shared_place(filter) else { return };
        let Some(shared) = self.sessions.shared.get_mut(at) else { return };
        if let Some(session) = self.sessions.slots.get(place) {
            session.inbox.leave(&shared.queue);
        }
        shared.members.retain(|member| *member != place);
        if shared.members.is_empty() {
            self.unfile_shared(filter);
        } else {
            self.wake_members(at);
        }
    }

    pub(super) fn give_shared(&mut self, at: usize, place: Place, records: &Records, row: usize, size: usize) {
        let Some(shared) = self.sessions.shared.get_mut(at) else { return };
        let (number, qos) = (records.offset.value(row), records.qos(row).min(Qos::AtLeastOnce));
        if number < shared.done {
            return;
        }
        // What is at QoS 0 is for those who are there.
        let slots = &self.sessions.slots;
        let is_there = |member: &usize| slots.get(*member).is_some_and(|session| session.inbox.is_attached());
        if qos == Qos::AtMostOnce && !shared.members.iter().any(is_there) {
            return;
        }
        if shared.rows.is_empty() {
            self.touched.push(Destination::Shared(at));
        }
        let retain = records.retain.value(row);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        shared.rows.push(Row { place, number, identifiers: None, size, qos, dup: false, retain });
    }

    pub(super) fn flush_shared(&mut self, at: usize, frame: &Arc<Frame>) {
        let Some(shared) = self.sessions.shared.get_mut(at) else { return };
        if !shared.rows.is_empty() {
            shared.changed = true;
            shared.queue.push(frame, &mut shared.rows, self.moment);
            self.wake_members(at);
        }
    }

    /// Tells the members, another one first each time, that there is something to take.
    pub(super) fn wake_members(&mut self, at: usize) {
        let Some(shared) = self.sessions.shared.get_mut(at) else { return };
        if self.moment == Moment::Replay || shared.queue.is_empty() {
            return;
        }
        shared.turn = (shared.turn + 1) % shared.members.len().max(1);
        let (later, first) = shared.members.split_at(shared.turn.min(shared.members.len()));
        for member in first.iter().chain(later) {
            if let Some(session) = self.sessions.slots.get(*member) {
                session.inbox.wake();
            }
        }
    }

    // === QoS 2 from clients ===

    /// A QoS 2 message that a client of a kept session has published: its identifier is in use until it is released.
    pub(super) fn note_identifier(&mut self, records: &Records, row: usize) {
        let client_id = weir_core::schema::optional_text(&records.session, row);
        let packet_id = weir_core::schema::optional(&records.packet_id, row);
        let Some((client_id, packet_id)) = client_id.zip(packet_id) else { return };
        let key = SessionKey::of_publisher(records.publisher.value(row), client_id);
        let is_its = |session: &&mut SessionState| session.kept && session.client_id == client_id;
        if let Some(session) = self.sessions.get_mut(&key).filter(is_its) {
            session.received.insert(packet_id);
            session.changed = true;
        }
    }
}
