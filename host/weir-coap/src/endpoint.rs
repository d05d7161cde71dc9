//! One peer: its messages, as a state machine without I/O and without a clock.
//!
//! Datagrams and the time come in ([`Endpoint::receive`], [`Endpoint::elapsed`]), datagrams ([`Endpoint::transmit`]) and
//! [`Event`]s come out. It answers by itself what needs nobody: duplicates, pings, blocks of a body that is being sent or
//! read, options that are not understood. A request that is whole is given out once, and answered by [`Endpoint::respond`].
//!
//! Everything is bounded, by the constants here and by [`EndpointLimits`]: what is over is refused or forgotten, oldest
//! first.

mod download;
mod observe;
mod received;
mod respond;
mod transmission;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use self::{
    download::Representations,
    observe::{Observations, Transfer},
    received::{Received, Seen},
    transmission::{Answered, Transmissions, What},
    upload::{Progress, Uploads},
};
use crate::{
    codec::{self, Kind, Message, Token, block::Block, option},
    codes::Code,
};

pub use observe::ObservationId;
pub use respond::Response;

/// Requests of one peer that are being answered. NSTART is 1 for a client that keeps to RFC 7252 §4.7.
const EXCHANGES: usize = 32;

/// How long an answer is waited for before the request is acknowledged alone. Clients send again after two seconds.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct EndpointLimits {
    /// Bytes of a request's body, in however many blocks.
    pub body: usize,
    /// The exponent of the largest block that the hub sends or asks for (RFC 7959 §2.2).
    pub block: u8,
    /// Observations of one peer.
    pub observations: usize,
    /// ACK_TIMEOUT (RFC 7252 §4.8).
    pub acknowledgement: Duration,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self { body: 256 * 1024, block: 6, observations: 64, acknowledgement: Duration::from_secs(2) }
    }
}

/// Names a request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeId(u64);

/// What there is to do for whoever serves the peer.
#[derive(Debug)]
pub enum Event {
    /// A whole request, which must be answered.
    Request { exchange: ExchangeId, message: Message },
    /// The client wants no more notifications of this one.
    Cancelled(ObservationId),
    /// The client has the notification that was sent last.
    Delivered,
    /// The client is there.
    Alive,
    /// The client did not answer, however often it was asked.
    Gone,
}

/// What a request is answered with, remembered until it is.
#[derive(Debug)]
struct Exchange {
    id: ExchangeId,
    message_id: u16,
    token: Token,
    confirmable: bool,
    /// When the request is acknowledged alone; `None`: it needs no acknowledgement, or has one.
    acknowledge_at: Option<Instant>,
    /// The last block of the request's body, to be named in the answer.
    block1: Option<Block>,
    block2: Option<Block>,
    key: Key,
    is_get: bool,
    etags: SmallVec<[SmallVec<[u8; 8]>; 1]>,
    is_vendors: bool,
}

/// Which resource a request is for, and by which method: what identifies a body in blocks.
type Key = Box<[u8]>;

#[derive(Debug)]
pub struct Endpoint {
    limits: EndpointLimits,
    received: Received,
    exchanges: Vec<Exchange>,
    next_exchange: u64,
    transmissions: Transmissions,
    uploads: Uploads,
    representations: Representations,
    observations: Observations,
    out: VecDeque<Vec<u8>>,
}

impl Endpoint {
    /// `seed` makes message identifiers and times unlike those of others.
    pub fn new(limits: EndpointLimits, seed: u64) -> Self {
        Self {
            received: Received::default(),
            exchanges: Vec::new(),
            next_exchange: 0,
            transmissions: Transmissions::new(seed, limits.acknowledgement),
            uploads: Uploads::default(),
            representations: Representations::default(),
            observations: Observations::default(),
            out: VecDeque::new(),
            limits,
        }
    }

    /// The next datagram to send.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Takes a datagram of the peer. What is no message is answered by a reset where that is possible, and said.
    pub fn receive(&mut self, datagram: &[u8], now: Instant, events: &mut Vec<Event>) -> Result<(), codec::Malformed> {
        match codec::decode(datagram) {
            Ok(message) => {
                self.take(message, now, events);
                Ok(())
            }
            Err(malformed) => {
                if let Some(id) = malformed.confirmable {
                    self.reset(id);
                }
                Err(malformed)
            }
        }
    }

    fn take(&mut self, message: Message, now: Instant, events: &mut Vec<Event>) {
        match (message.kind, message.code) {
            (Kind::Acknowledgement, _) => {
                if let Some(what) = self.transmissions.answered(message.id) {
                    self.was_taken(what, now, events);
                }
            }
            (Kind::Reset, _) => match self.transmissions.reset(message.id) {
                Some((What::Ping, _)) => events.push(Event::Alive),
                Some((What::Notification(observation), was_waiting)) => {
                    if was_waiting {
                        self.landed(observation, events);
                    }
                    self.cancel(observation, events);
                }
                Some((What::Response, _)) | None => {}
            },
            // A ping (RFC 7252 §4.3).
            (Kind::Confirmable, Code::EMPTY) => self.reset(message.id),
            (_, code) if code.is_request() => self.request(message, now, events),
            // The hub asks for nothing, so there is nothing to be answered; codes of other classes are reserved.
            (Kind::Confirmable, _) => self.reset(message.id),
            (Kind::NonConfirmable, _) => {}
        }
    }

    fn was_taken(&mut self, what: Answered, now: Instant, events: &mut Vec<Event>) {
        match what.what {
            What::Ping => events.push(Event::Alive),
            What::Response => {}
            What::Notification(_) if what.in_blocks => {
                if let Some(transfer) = &mut self.observations.transfer {
                    transfer.until = now + observe::NEXT_BLOCK;
                }
            }
            What::Notification(observation) => self.landed(observation, events),
        }
    }

    fn request(&mut self, message: Message, now: Instant, events: &mut Vec<Event>) {
        match self.received.see(message.id, now) {
            Seen::New => {}
            Seen::Before(reply) => {
                if message.kind == Kind::Confirmable
                    && let Some(reply) = reply
                {
                    self.out.push_back(reply);
                }
                return;
            }
        }
        if let Err(code) = check_options(&message) {
            match message.kind {
                Kind::Confirmable => self.refuse(&message, Response::of(code)),
                // RFC 7252 §5.4.1: rejected.
                _ => self.reset(message.id),
            }
            return;
        }
        let (block1, block2) = (block_of(&message, option::BLOCK1), block_of(&message, option::BLOCK2));
        let (Ok(block1), Ok(block2)) = (block1, block2) else {
            return self.refuse(&message, Response::of(Code::BAD_OPTION));
        };
        let key = key_of(&message);
        // The rest of an answer to another method is asked for by the same method, without a body (RFC 7959 §3.3).
        let asks_for_more = message.code == Code::GET || message.payload.is_empty() && block1.is_none();
        if asks_for_more
            && let Some(block) = block2.filter(|block| block.number > 0)
            && message.first(option::OBSERVE).is_none()
            && self.next_block(&message, &key, block, now, events)
        {
            return;
        }
        if self.exchanges.len() >= EXCHANGES {
            let busy = Response::of(Code::UNAVAILABLE).with(option::MAX_AGE, option::of_uint(1));
            return self.refuse(&message, busy);
        }
        let mut message = message;
        if let Some(block) = block1 {
            match self.uploads.take(&key, block, &message, &self.limits, now) {
                Progress::Whole(body) => message.payload = body,
                Progress::Continue(block) => {
                    let more = Response::of(Code::CONTINUE).with(option::BLOCK1, block.write());
                    return self.refuse(&message, more);
                }
                Progress::Refused(response) => return self.refuse(&message, response),
            }
        } else if message.payload.len() > self.limits.body {
            let limit = option::of_uint(u32::try_from(self.limits.body).unwrap_or(u32::MAX));
            return self.refuse(&message, Response::of(Code::TOO_LARGE).with(option::SIZE1, limit));
        }
        let id = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        let confirmable = message.kind == Kind::Confirmable;
        if message.code == Code::GET
            && message.first(option::OBSERVE).and_then(option::uint) == Some(1)
            && let Some(observation) = self.observations.of_token(&message.token)
        {
            self.cancel(observation, events);
        }
        self.exchanges.push(Exchange {
            id,
            message_id: message.id,
            token: message.token.clone(),
            confirmable,
            acknowledge_at: confirmable.then(|| now + ACKNOWLEDGE_AFTER),
            block1,
            block2,
            key,
            is_get: message.code == Code::GET,
            etags: message.all(option::ETAG).map(SmallVec::from_slice).collect(),
            is_vendors: is_vendors(&message),
        });
        events.push(Event::Request { exchange: id, message });
    }

    /// A block of a body that was sent before. Says whether there is such a body.
    fn next_block(
        &mut self,
        message: &Message,
        key: &Key,
        block: Block,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(representation) = self.representations.find(key) else { return false };
        let (response, last) = representation.slice(block, self.limits.block);
        self.refuse(message, response);
        if let Some(transfer) = self.observations.transfer.as_mut().filter(|transfer| transfer.key == *key) {
            if last {
                // Whoever has the last block needs not acknowledge the first.
                let observation = transfer.observation;
                self.transmissions.forget(observation);
                self.landed(observation, events);
            } else {
                transfer.until = now + observe::NEXT_BLOCK;
            }
        }
        true
    }

    /// What happens when nothing comes: acknowledgements, messages sent again, bodies given up.
    pub fn elapsed(&mut self, now: Instant, events: &mut Vec<Event>) {
        for exchange in &mut self.exchanges {
            if exchange.acknowledge_at.is_some_and(|at| at <= now) {
                exchange.acknowledge_at = None;
                let mut acknowledgement = Message::empty(Kind::Acknowledgement, exchange.message_id);
                if exchange.is_vendors {
                    // The vendor's SDK takes this code, and not an empty message, for an acknowledgement alone.
                    acknowledgement.code = Code::VALID;
                    acknowledgement.token.clone_from(&exchange.token);
                }
                let bytes = codec::encode(&acknowledgement);
                self.received.replied(exchange.message_id, &bytes);
                self.out.push_back(bytes);
            }
        }
        for what in self.transmissions.elapsed(now, &mut self.out) {
            match what {
                What::Response => {}
                What::Notification(_) | What::Ping => events.push(Event::Gone),
            }
        }
        self.uploads.forget(now);
        self.received.forget(now);
        let given_up = self.observations.transfer.as_ref().filter(|transfer| transfer.until <= now);
        if let Some(Transfer { observation, .. }) = given_up {
            // It has the first block, and does not want the others.
            self.landed(*observation, events);
        }
    }

    /// When [`Endpoint::elapsed`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let acknowledgements = self.exchanges.iter().filter_map(|exchange| exchange.acknowledge_at).min();
        let transfer = self.observations.transfer.as_ref().map(|transfer| transfer.until);
        let due = [acknowledgements, self.transmissions.due(), self.uploads.due(), transfer];
        due.into_iter().flatten().min()
    }

    /// Asks whether the peer is there.
    pub fn ping(&mut self, now: Instant) {
        if !self.transmissions.is_pinging() {
            let id = self.transmissions.next_id();
            let bytes = codec::encode(&Message::empty(Kind::Confirmable, id));
            self.transmissions.send(id, bytes.clone(), Answered { what: What::Ping, in_blocks: false }, now);
            self.out.push_back(bytes);
        }
    }

    /// Says that the peer's messages are for nobody any more.
    fn reset(&mut self, id: u16) {
        self.out.push_back(codec::encode(&Message::empty(Kind::Reset, id)));
    }
}

/// What a request may have.
fn check_options(message: &Message) -> Result<(), Code> {
    let mut before = (0, 0);
    for (number, value) in &message.options {
        let count = if before.0 == *number { before.1 + 1 } else { 1 };
        before = (*number, count);
        if [option::PROXY_URI, option::PROXY_SCHEME].contains(number) {
            return Err(Code::PROXYING);
        }
        // One that is repeated or too long is treated as one that is not understood (RFC 7252 §5.4.3, §5.4.5).
        let understood =
            option::bounds(*number).is_some_and(|(most, length)| count <= most && length.contains(&value.len()));
        if !understood && option::is_critical(*number) {
            return Err(Code::BAD_OPTION);
        }
    }
    Ok(())
}

fn block_of(message: &Message, number: u16) -> Result<Option<Block>, ()> {
    message.first(number).map(|value| Block::read(value).ok_or(())).transpose()
}

/// The method, and all options that are part of what is asked for.
fn key_of(message: &Message) -> Key {
    let mut key = vec![message.code.0];
    let left_out = [option::OBSERVE, option::BLOCK1, option::BLOCK2, option::ETAG];
    for (number, value) in &message.options {
        if !left_out.contains(number) && !option::is_no_cache_key(*number) {
            key.extend(number.to_be_bytes());
            // A value that is longer was refused.
            key.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
            key.extend(value);
        }
    }
    key.into()
}

/// The vendor's SDK writes a whole path into one option, and has options of its own (vendor protocol §3.3).
pub(crate) fn is_vendors(message: &Message) -> bool {
    message.first(option::AUTH_TOKEN).is_some()
        || message.first(option::NEED_RESPONSE).is_some()
        || message.all(option::URI_PATH).any(|segment| segment.contains(&b'/'))
}
