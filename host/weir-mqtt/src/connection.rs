//! One client's side of the protocol, without I/O: bytes and time come in; packets to act on, and bytes to send, come
//! out.
//!
//! It keeps what the protocol demands be kept: whether CONNECT was heard, when the client was last heard, which PUBACKs
//! wait for the log, and which packet identifiers are in flight. It does not know sessions, the log or sockets, and
//! never drops or repeats a message: within a connection 3.1.1 forbids resending, and no session outlives one.

mod acknowledgements;
mod inflight;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use weir_core::{Offset, Protocol, Qos};

use crate::{
    ProtocolError,
    codec::{
        self, Connect, Packet, PacketType, Publish, Subscribe, Unsubscribe, frame,
        write::{self, Confirmation, Terms},
    },
    codes::{self, Reason},
};
use acknowledgements::Acknowledgements;
use inflight::Inflight;

/// Bytes of the first packet: a will of 65,535 bytes, its topic and credentials fit. A stranger gets no more memory.
const CONNECT_BYTES: usize = 160 * 1024;
/// Bytes of a PUBLISH that are not its payload: the longest topic, its length, and a packet identifier.
const PUBLISH_OVERHEAD: usize = 65_535 + 4;
/// Messages handed on at once; one such batch fits into the log's pending group.
const BATCH: usize = 512;

/// What a client may take. From the broker's limits.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of a payload.
    pub payload: usize,
    /// Filters of one request.
    pub filters: usize,
    /// From opening to CONNECT.
    pub handshake: Duration,
}

/// Something that cannot be answered here.
#[derive(Debug)]
pub enum Request {
    /// Answer with [`Connection::accepted`] or [`Connection::refused`].
    Connect(Box<Connect>),
    /// Answer with [`Connection::subscribed`].
    Subscribe(Subscribe),
    /// Answer with [`Connection::unsubscribed`].
    Unsubscribe(Unsubscribe),
    /// The client leaves, and its will with it [MQTT-3.14.4-3].
    Disconnect,
}

/// What came out of some bytes.
#[derive(Debug, Default)]
pub struct Received<'a> {
    /// Bytes done with. None: what is there is not a whole packet.
    pub consumed: usize,
    /// To be published as one batch before `request` is served.
    pub publishes: Vec<Publish<'a>>,
    /// Messages that the client has acknowledged.
    pub acknowledged: usize,
    pub request: Option<Request>,
}

/// What became of a message to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Written,
    /// Every packet identifier is in flight: try again when one is acknowledged.
    NoIdentifier,
    /// No PUBLISH can carry it.
    Unwritable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opened,
    /// CONNECT was handed out and not answered yet.
    Connecting(Protocol),
    Connected(Protocol),
    Ended,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    bounds: Bounds,
    /// When the last whole packet came, or the connection was opened.
    heard: Instant,
    /// How long the client may be silent; `None` without keep-alive.
    silence: Option<Duration>,
    acknowledgements: Acknowledgements,
    inflight: Inflight,
}

impl Connection {
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            phase: Phase::Opened,
            bounds,
            heard: now,
            silence: None,
            acknowledgements: Acknowledgements::default(),
            inflight: Inflight::default(),
        }
    }

    /// Takes packets from the front of `bytes`, and writes to `out` what can be answered at once. Call it again with
    /// the rest until it consumes nothing.
    ///
    /// Either messages come out, at most `batch` of them, or something else does; and while messages come out nothing
    /// has changed that matters if the same bytes are given again. So a batch that cannot be published now, or not as
    /// a whole, may be asked for again. An error is told when everything before it has been; whatever is in `out` is
    /// sent before closing.
    pub fn receive<'a>(
        &mut self,
        bytes: &'a [u8],
        batch: usize,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Received<'a>, ProtocolError> {
        let mut received = Received::default();
        let mut answered = false;
        let batch = batch.min(BATCH);
        while received.publishes.len() < batch && received.request.is_none() {
            let rest = bytes.get(received.consumed..).unwrap_or_default();
            let (packet, length) = match self.next_packet(rest) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) if received.consumed > 0 => break,
                Err(error) => return Err(self.end(error, out)),
            };
            match packet {
                Packet::Publish(_) if answered => break,
                Packet::Publish(publish) => received.publishes.push(publish),
                Packet::PubAck(ack) => received.acknowledged += usize::from(self.inflight.release(ack.packet_id)),
                _ if !received.publishes.is_empty() => break,
                // [MQTT-3.12.4-1]
                Packet::PingReq => {
                    write::pingresp(out);
                    answered = true;
                }
                Packet::Subscribe(subscribe) => received.request = Some(Request::Subscribe(subscribe)),
                Packet::Unsubscribe(unsubscribe) => received.request = Some(Request::Unsubscribe(unsubscribe)),
                Packet::Disconnect(_) => {
                    self.phase = Phase::Ended;
                    received.request = Some(Request::Disconnect);
                }
                Packet::Connect(connect) => {
                    self.phase = Phase::Connecting(connect.protocol);
                    self.silence = silence(connect.keep_alive);
                    received.request = Some(Request::Connect(connect));
                }
                // Refused by `next_packet`.
                Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) | Packet::Auth(_) => {}
            }
            received.consumed += length;
        }
        if received.consumed > 0 {
            self.heard = now;
        }
        Ok(received)
    }

    /// The next packet, if it is whole and welcome in this phase, and its length.
    fn next_packet<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, ProtocolError> {
        let (limit, protocol) = match self.phase {
            Phase::Opened => (CONNECT_BYTES, Protocol::Mqtt311),
            Phase::Connected(protocol) => (self.bounds.payload.saturating_add(PUBLISH_OVERHEAD), protocol),
            Phase::Connecting(_) | Phase::Ended => return Ok(None),
        };
        // Known from the first byte: what will be refused is not gathered first.
        match (frame::first_type(bytes)?, self.phase == Phase::Opened) {
            (Some(PacketType::Connect), false) => return Err(ProtocolError::ConnectRepeated), // [MQTT-3.1.0-2]
            (Some(PacketType::Connect), true) | (_, false) => {}
            (Some(_), true) => return Err(ProtocolError::ConnectExpected), // [MQTT-3.1.0-1]
            (None, _) => return Ok(None),
        }
        let Some(frame) = frame::split(bytes, limit)? else { return Ok(None) };
        let packet = codec::decode(frame, protocol, self.bounds.filters)?;
        match &packet {
            Packet::Publish(publish) if publish.qos == Qos::ExactlyOnce => return Err(ProtocolError::ExactlyOnce),
            Packet::Publish(publish) => self.check_payload(publish.payload)?,
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => return Err(ProtocolError::ExactlyOnce),
            Packet::Connect(connect) if connect.protocol == Protocol::Mqtt5 => return Err(ProtocolError::Version(5)),
            Packet::Connect(connect) => {
                if let Some(will) = &connect.will {
                    self.check_payload(&will.payload)?;
                }
                let may_be_empty = connect.clean && connect.protocol != Protocol::Mqtt31;
                if connect.client_id.is_empty() && !may_be_empty {
                    return Err(ProtocolError::ClientId);
                }
            }
            _ => {}
        }
        Ok(Some((packet, frame.bytes.len())))
    }

    fn check_payload(&self, payload: &[u8]) -> Result<(), ProtocolError> {
        let (size, limit) = (payload.len(), self.bounds.payload);
        if size > limit { Err(ProtocolError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// Ends with an error. Two errors of CONNECT have an answer: [MQTT-3.1.2-2], [MQTT-3.1.3-8].
    fn end(&mut self, error: ProtocolError, out: &mut Vec<u8>) -> ProtocolError {
        match error {
            ProtocolError::Version(5) => {
                let refusal = write::ConnAck::refusal(Reason::UnsupportedVersion);
                // A CONNACK without properties is never too large for the terms of 3.1.1.
                let _written = write::connack(out, &Terms::default(), &refusal);
            }
            ProtocolError::Version(_) => write::connack_before_5(out, false, codes::UNACCEPTABLE_VERSION),
            ProtocolError::ClientId => write::connack_before_5(out, false, codes::IDENTIFIER_REJECTED),
            _ => {}
        }
        self.phase = Phase::Ended;
        error
    }

    /// The client may go on.
    pub fn accepted(&mut self, session_present: bool, now: Instant, out: &mut Vec<u8>) {
        if let Phase::Connecting(protocol) = self.phase {
            self.phase = Phase::Connected(protocol);
            self.heard = now;
            // MQTT 3.1 has no such flag; its place is reserved.
            write::connack_before_5(out, session_present && protocol != Protocol::Mqtt31, 0);
        }
    }

    /// The client may not go on; nothing more of it is read [MQTT-3.2.2-5].
    pub fn refused(&mut self, code: u8, out: &mut Vec<u8>) {
        self.phase = Phase::Ended;
        write::connack_before_5(out, false, code);
    }

    /// Answers a SUBSCRIBE with a code per filter: the quality of service granted, or `None` if it was refused.
    pub fn subscribed(&mut self, packet_id: u16, granted: &[Option<Qos>], out: &mut Vec<u8>) {
        let granted: Vec<_> = granted.iter().map(|granted| granted.ok_or(Reason::Unspecified)).collect();
        // No answer of 3.1.1 is unwritable.
        let _written = write::suback(out, &Terms::default(), packet_id, &granted, None);
    }

    /// Answers an UNSUBSCRIBE, also of filters that nobody held [MQTT-3.10.4-5].
    pub fn unsubscribed(&mut self, packet_id: u16, out: &mut Vec<u8>) {
        let _written = write::unsuback(out, &Terms::default(), packet_id, &[], None);
    }

    /// The messages of a batch are in the log, the last of them at `offset`: those at QoS 1 are acknowledged when that
    /// is durable.
    pub fn published(&mut self, publishes: &[Publish<'_>], offset: Offset) {
        for packet_id in publishes.iter().filter_map(|publish| publish.packet_id) {
            self.acknowledgements.push(offset, packet_id);
        }
    }

    /// Every record below `durable` is safe: writes the PUBACKs that waited for it, in the order of the PUBLISHes
    /// [MQTT-4.6.0-2].
    pub fn durable(&mut self, durable: Offset, out: &mut Vec<u8>) {
        self.acknowledgements.release(durable, |packet_id| {
            write::acknowledge(out, &Terms::default(), Confirmation::PubAck, packet_id, Reason::Success, None);
        });
    }

    /// The record whose durability lets the next PUBACK go.
    pub fn waiting_for(&self) -> Option<Offset> {
        self.acknowledgements.first()
    }

    /// PUBACKs that wait.
    pub fn waiting(&self) -> usize {
        self.acknowledgements.len()
    }

    /// Writes a message for a subscriber. Its retain flag is 0: it is not sent because of a new subscription
    /// [MQTT-3.3.1-9].
    pub fn send(&mut self, topic: &str, payload: &[u8], qos: Qos, out: &mut Vec<u8>) -> Sent {
        let packet_id = match qos {
            Qos::AtMostOnce => 0,
            // [MQTT-2.3.1-4]
            Qos::AtLeastOnce | Qos::ExactlyOnce => match self.inflight.take() {
                Some(id) => id,
                None => return Sent::NoIdentifier,
            },
        };
        let qos = qos.min(Qos::AtLeastOnce);
        let message = write::Outgoing::new(topic, payload, qos, packet_id);
        if write::publish(out, &Terms::default(), &message).is_ok() {
            return Sent::Written;
        }
        self.inflight.release(packet_id);
        Sent::Unwritable
    }

    /// Until when the client must be heard.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Opened => Some(self.heard + self.bounds.handshake),
            Phase::Connected(_) => self.silence.map(|silence| self.heard + silence),
            Phase::Connecting(_) | Phase::Ended => None,
        }
    }

    /// Whether the client was silent for too long.
    pub fn check(&self, now: Instant) -> Result<(), ProtocolError> {
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(match self.phase {
                Phase::Opened => ProtocolError::HandshakeTimeout,
                _ => ProtocolError::KeepAlive,
            }),
            _ => Ok(()),
        }
    }

    /// The client is not read at `now`: its silence is the hub's own doing.
    pub fn not_listening(&mut self, now: Instant) {
        self.heard = now;
    }
}

/// One and a half times the keep-alive [MQTT-3.1.2-24], whatever its length: a client pings by its own value and 3.1.1
/// cannot ask it for another.
fn silence(keep_alive: u16) -> Option<Duration> {
    (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1_500))
}
