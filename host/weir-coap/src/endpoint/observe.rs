//! Observations (RFC 7641): who wants to be told of what, and the one notification that is on its way.

use std::time::{Duration, Instant};

use super::{
    Endpoint, Event, ExchangeId, Key, Response,
    download::Representation,
    transmission::{Answered, What},
};
use crate::codec::{self, Kind, Token, block::Block, option};

/// How long a client may take to ask for the next block of a notification.
pub(super) const NEXT_BLOCK: Duration = Duration::from_secs(15);

/// Names an observation of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObservationId(pub u32);

#[derive(Debug, Default)]
pub(super) struct Observations {
    list: Vec<Observation>,
    next: u32,
    /// Goes up with each notification of the peer, so that of two the later one is known (RFC 7641 §4.4).
    sequence: u32,
    /// A notification was sent and is not taken.
    pub(super) in_flight: bool,
    pub(super) transfer: Option<Transfer>,
}

#[derive(Debug)]
struct Observation {
    id: ObservationId,
    token: Token,
    key: Key,
    exponent: u8,
}

/// A notification in blocks, of which the client has the first.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) key: Key,
    pub(super) until: Instant,
    pub(super) observation: ObservationId,
}

impl Observations {
    pub(super) fn of_token(&self, token: &Token) -> Option<ObservationId> {
        self.list.iter().find(|known| known.token == *token).map(|known| known.id)
    }

    fn next_sequence(&mut self) -> u32 {
        // 24 bits; from 2, as lower values ask.
        self.sequence = if self.sequence >= 0x00ff_ffff { 2 } else { (self.sequence + 1).max(2) };
        self.sequence
    }
}

impl Endpoint {
    /// Answers a request for an observation, which begins. One that had the same token ends.
    pub fn observe(
        &mut self,
        exchange: ExchangeId,
        response: Response,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<ObservationId> {
        let open = self.exchanges.iter().find(|open| open.id == exchange)?;
        let (token, key) = (open.token.clone(), open.key.clone());
        let exponent = open.block2.map_or(self.limits.block, |block| block.exponent.min(self.limits.block));
        if let Some(before) = self.observations.of_token(&token) {
            self.cancel(before, events);
        }
        let id = ObservationId(self.observations.next);
        self.observations.next = self.observations.next.wrapping_add(1);
        self.observations.list.push(Observation { id, token, key, exponent });
        let sequence = self.observations.next_sequence();
        self.respond(exchange, response.with(option::OBSERVE, option::of_uint(sequence)), now);
        Some(id)
    }

    /// Whether one more observation may begin.
    pub fn may_observe(&self) -> bool {
        self.observations.list.len() < self.limits.observations
    }

    pub fn is_observing(&self) -> bool {
        !self.observations.list.is_empty()
    }

    /// Whether the client has the notification before, so that the next may be sent.
    pub fn may_notify(&self) -> bool {
        !self.observations.in_flight
    }

    /// Sends a notification. Says whether there is such an observation; then [`Event::Delivered`] follows, unless the
    /// observation ends. An unconfirmable one of one block counts as delivered when it is sent.
    pub fn notify(
        &mut self,
        observation: ObservationId,
        response: Response,
        confirmable: bool,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(known) = self.observations.list.iter().find(|known| known.id == observation) else { return false };
        let (token, key, exponent) = (known.token.clone(), known.key.clone(), known.exponent);
        let sequence = option::of_uint(self.observations.next_sequence());
        let (mut response, in_blocks) = if response.payload.len() > 16usize << exponent {
            let Response { code, options, payload } = response;
            let representation = Representation { key: key.clone(), code, options, body: payload };
            let (first, _) = representation.slice(Block { number: 0, more: false, exponent }, exponent);
            self.representations.keep(representation);
            self.observations.transfer = Some(Transfer { key, until: now + NEXT_BLOCK * 8, observation });
            (first, true)
        } else {
            (response, false)
        };
        response.options.push((option::OBSERVE, sequence));
        let id = self.transmissions.next_id();
        let kind = if confirmable { Kind::Confirmable } else { Kind::NonConfirmable };
        let bytes = codec::encode(&response.message(kind, id, &token));
        if confirmable {
            let about = Answered { what: What::Notification(observation), in_blocks };
            self.transmissions.send(id, bytes.clone(), about, now);
        } else {
            self.transmissions.sent_unconfirmed(id, observation);
        }
        self.out.push_back(bytes);
        if confirmable || in_blocks {
            self.observations.in_flight = true;
        } else {
            events.push(Event::Delivered);
        }
        true
    }

    /// Ends an observation from the hub's side: the client is told by a notification that is none (RFC 7641 §4.2).
    pub fn end(&mut self, observation: ObservationId, refusal: Response) {
        if let Some(index) = self.observations.list.iter().position(|known| known.id == observation) {
            let ended = self.observations.list.remove(index);
            let id = self.transmissions.next_id();
            self.out.push_back(codec::encode(&refusal.message(Kind::NonConfirmable, id, &ended.token)));
        }
    }

    /// The observations there are.
    pub fn observations(&self) -> Vec<ObservationId> {
        self.observations.list.iter().map(|known| known.id).collect()
    }

    pub(super) fn cancel(&mut self, observation: ObservationId, events: &mut Vec<Event>) {
        let before = self.observations.list.len();
        self.observations.list.retain(|known| known.id != observation);
        if self.observations.list.len() == before {
            return;
        }
        let was_waiting = self.transmissions.forget(observation);
        let transfer = self.observations.transfer.as_ref();
        if was_waiting || transfer.is_some_and(|transfer| transfer.observation == observation) {
            self.landed(observation, events);
        }
        events.push(Event::Cancelled(observation));
    }

    /// The notification that was on its way is so no more.
    pub(super) fn landed(&mut self, observation: ObservationId, events: &mut Vec<Event>) {
        self.observations.transfer.take_if(|transfer| transfer.observation == observation);
        self.observations.in_flight = false;
        events.push(Event::Delivered);
    }
}
