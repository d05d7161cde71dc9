//! One client's side of the protocol, without I/O: bytes and time come in; packets to act on, and bytes to send, come
//! out. The same for MQTT 3.1, 3.1.1 and 5: what differs is asked of the protocol that CONNECT named.
//!
//! It keeps what the protocol demands be kept of a connection: whether CONNECT was heard, when the client was last
//! heard, which answers wait for the log, how many messages of the client are unanswered, and what topic aliases stand
//! for. What outlives a connection is the session's: packet identifiers of what is sent, and of what was received at
//! QoS 2. It does not know sessions, the log or sockets, and never drops or repeats a message.

mod acknowledgements;
mod aliases;
mod answers;
mod deliver;
mod receive;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::{
    ProtocolError,
    codec::{Connect, Publish, Subscribe, Unsubscribe, write::Terms},
};
use acknowledgements::Acknowledgements;
pub use answers::Accepted;

/// Bytes of the first packet: a will of 65,535 bytes, its topic and credentials fit. A stranger gets no more memory.
const CONNECT_BYTES: usize = 160 * 1024;
/// Bytes of a PUBLISH that are not its payload: the longest topic, its length, and a packet identifier. Properties share
/// them.
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
    /// Seconds of keep-alive that a client of MQTT 5 may ask for.
    pub keep_alive: u16,
    /// Unanswered QoS 1 and 2 messages of a client of MQTT 5.
    pub receive_maximum: u16,
    /// Topic aliases, in each direction.
    pub topic_aliases: u16,
}

impl Bounds {
    /// Bytes after the fixed header.
    fn remaining_length(&self) -> usize {
        self.payload.saturating_add(PUBLISH_OVERHEAD)
    }
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
    /// PUBREC: the client has taken a QoS 2 message. Answer with [`Connection::received`].
    Received(u16),
    /// PUBREL: the client has done with the identifier of one it sent. Answer with [`Connection::released`].
    Release(u16),
    /// The client leaves.
    Disconnect(Leave),
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Its will is published all the same [MQTT5-3.14.4-3].
    pub with_will: bool,
    /// Seconds that its session is kept, if not those it asked for first.
    pub session_expiry: Option<u32>,
}

/// What came out of some bytes.
#[derive(Debug, Default)]
pub struct Received<'a> {
    /// Bytes done with. None: what is there is not a whole packet.
    pub consumed: usize,
    /// To be published as one batch before `request` is served. What their topics are is for [`Connection::topic`] to
    /// say.
    pub publishes: Vec<Publish<'a>>,
    /// Messages that the client has acknowledged, or refused; either is the end of them.
    pub acknowledged: Vec<u16>,
    /// QoS 2 messages that the client has done with.
    pub completed: Vec<u16>,
    /// A message was not taken and its publisher was told so, if there was a way; to be counted.
    pub refused: Option<ProtocolError>,
    pub request: Option<Request>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opened,
    /// CONNECT was handed out and not answered yet.
    Connecting,
    Connected,
    /// Nothing is read any more, but a connected client may be told why.
    Failed,
    Ended,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    bounds: Bounds,
    /// What the client speaks and takes; from CONNECT.
    terms: Terms,
    /// When the last whole packet came, or the connection was opened.
    heard: Instant,
    /// How long the client may be silent; `None` without keep-alive.
    silence: Option<Duration>,
    /// The keep-alive that the client is told to use instead of its own.
    server_keep_alive: Option<u16>,
    /// The session ends with the connection, so DISCONNECT must not ask to keep it.
    ends_with_connection: bool,
    /// QoS 1 and 2 messages of the client that are not answered for good.
    unanswered: u16,
    acknowledgements: Acknowledgements,
    /// The highest topic alias that the client takes.
    alias_maximum: u16,
    /// Allocated when the first alias is used, as few clients do.
    from_client: Option<Box<aliases::FromClient>>,
    to_client: Option<Box<aliases::ToClient>>,
}

impl Connection {
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            phase: Phase::Opened,
            bounds,
            terms: Terms::default(),
            heard: now,
            silence: None,
            server_keep_alive: None,
            ends_with_connection: true,
            unanswered: 0,
            acknowledgements: Acknowledgements::default(),
            alias_maximum: 0,
            from_client: None,
            to_client: None,
        }
    }

    /// What the client speaks and takes.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The topic of a message, also where the client only gave an alias for it.
    pub fn topic<'a>(&'a self, publish: &Publish<'a>) -> &'a str {
        match publish.properties.topic_alias {
            Some(alias) if publish.topic.is_empty() => {
                let known = self.from_client.as_ref().and_then(|aliases| aliases.topic(alias));
                // What stands for nothing was refused when it came.
                known.unwrap_or_default()
            }
            _ => publish.topic,
        }
    }

    /// Until when the client must be heard.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Opened => Some(self.heard + self.bounds.handshake),
            Phase::Connected => self.silence.map(|silence| self.heard + silence),
            Phase::Connecting | Phase::Failed | Phase::Ended => None,
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
