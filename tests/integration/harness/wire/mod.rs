//! MQTT 3.1, 3.1.1 and 5 byte by byte: a codec and a connection that do what the test says and nothing of their own.
//!
//! A library decides about packet identifiers, acknowledgements and repetitions by itself, which is what tests of a
//! server must decide. Here nothing is answered, repeated or kept: [`Wire::send`] writes one packet, right or wrong, and
//! [`Wire::receive`] reads one.
//!
//! * **Encoding checks nothing.** Any packet identifier, DUP flag, reserved bit, order and number of properties can be
//!   written; [`frame`] and [`Wire::send_bytes`] write what no [`Packet`] can say.
//! * **Decoding checks everything**, because what it reads is what the server wrote: reserved flags, lengths, the shortest
//!   form of variable byte integers, text without NUL, packet identifiers that are not 0, properties that the packet may
//!   have, and once each. A server that sends something malformed fails whichever test was running.
//! * The versions differ on the wire only: `properties` are empty and reason codes 0 in versions before 5.
//!
//! ```ignore
//! let (mut wire, connack) = Wire::connect(hub.mqtt_port(), Version::V5, &Connect::of(&login)).unwrap();
//! wire.send(&Packet::Publish(Publish { packet_id: 7, ..Publish::new("A1B2C3D4E5/dev/event", 2, "x") })).unwrap();
//! assert_eq!(wire.next(), Packet::PubRec(Ack::of(7)));
//! ```

// A vocabulary is whole, whichever words the tests use today.
#![allow(dead_code, unused_imports, reason = "a test may need any packet of the protocol")]

mod connection;
mod decode;
mod encode;
mod property;
mod tests;

pub(crate) use connection::{Closed, Received, Wire};
pub(crate) use decode::{Malformed, decode};
pub(crate) use encode::{encode, frame};
pub(crate) use property::{Properties, Property};

use super::mqtt::Login;

/// The protocol level, as it stands in CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Connect(Connect),
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    SubAck(Acks),
    Unsubscribe(Unsubscribe),
    UnsubAck(Acks),
    PingReq,
    PingResp,
    Disconnect(Reason),
    /// MQTT 5 only.
    Auth(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    /// Clean Session, or Clean Start in MQTT 5.
    pub(crate) clean: bool,
    /// Seconds; 0: off.
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Will>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) properties: Properties,
}

impl Connect {
    /// With these credentials, clean, and without keep-alive.
    pub(crate) fn of(login: &Login) -> Self {
        Self {
            client_id: login.client_id.clone(),
            clean: true,
            username: Some(login.username.clone()),
            password: Some(login.password.clone().into_bytes()),
            ..Self::default()
        }
    }

    /// The same for a session that outlives its connection: in MQTT 5 by `Session Expiry Interval`, in older versions
    /// by a clear Clean Session flag.
    pub(crate) fn persistent(login: &Login, version: Version) -> Self {
        let properties = if version == Version::V5 { vec![Property::SessionExpiry(3_600)] } else { Vec::new() };
        Self { clean: false, properties, ..Self::of(login) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    /// A return code, or a reason code in MQTT 5.
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// On the wire only if `qos` is not 0.
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(topic: &str, qos: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), qos, payload: payload.into(), ..Self::default() }
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    pub(crate) reason: u8,
    pub(crate) properties: Properties,
}

impl Ack {
    /// Success, in the shortest form.
    pub(crate) fn of(packet_id: u16) -> Self {
        Self { packet_id, ..Self::default() }
    }

    pub(crate) fn with_reason(packet_id: u16, reason: u8) -> Self {
        Self { packet_id, reason, ..Self::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscribe {
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    /// Each with its options byte: the QoS, and in MQTT 5 No Local (4), Retain As Published (8), Retain Handling (16, 32).
    pub(crate) filters: Vec<(String, u8)>,
}

impl Subscribe {
    pub(crate) fn new(packet_id: u16, filters: &[(&str, u8)]) -> Self {
        let filters = filters.iter().map(|(filter, options)| ((*filter).to_owned(), *options)).collect();
        Self { packet_id, properties: Vec::new(), filters }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Unsubscribe {
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    pub(crate) filters: Vec<String>,
}

impl Unsubscribe {
    pub(crate) fn new(packet_id: u16, filters: &[&str]) -> Self {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        Self { packet_id, properties: Vec::new(), filters }
    }
}

/// SUBACK and UNSUBACK. The latter has no codes before MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Acks {
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    pub(crate) codes: Vec<u8>,
}

/// DISCONNECT and AUTH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reason {
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

impl Reason {
    pub(crate) fn of(code: u8) -> Self {
        Self { code, ..Self::default() }
    }
}
