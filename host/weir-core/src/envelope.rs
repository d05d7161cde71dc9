//! A message and what is known of it.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Topic;

/// Milliseconds since 1970-01-01T00:00:00Z. It informs; it never orders (offsets do).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// Quality of service (MQTT 3.1.1 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// By which way a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// The hub itself: a rule's republish, a service's answer.
    Hub = 0,
    Mqtt31 = 1,
    Mqtt311 = 2,
    Mqtt5 = 3,
    Coap = 4,
    Http = 5,
    /// The REST or Cloud API.
    Api = 6,
}

impl Protocol {
    pub const ALL: [Self; 7] = [Self::Hub, Self::Mqtt31, Self::Mqtt311, Self::Mqtt5, Self::Coap, Self::Http, Self::Api];

    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    /// The value of `msg.protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Mqtt31 => "mqtt-3.1",
            Self::Mqtt311 => "mqtt-3.1.1",
            Self::Mqtt5 => "mqtt-5",
            Self::Coap => "coap",
            Self::Http => "http",
            Self::Api => "api",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or(())
    }
}

/// A message as a front-end hands it to the hub, borrowed from the bytes it came in: it is copied once, into the log.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Checked by `Topic::check`.
    pub topic: &'a str,
    /// Who published: [`crate::Principal`]'s text.
    pub publisher: &'a str,
    /// The client id of the session it came by, if any.
    pub session: Option<&'a str>,
    /// The packet identifier of a QoS 1 or 2 PUBLISH.
    pub packet_id: Option<u16>,
    pub protocol: Protocol,
    pub qos: Qos,
    pub retain: bool,
    /// Seconds until the message is worthless, if it says so (MQTT 5 §3.3.2.3.3).
    pub expiry: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation: Option<&'a [u8]>,
    /// A JSON array of `[name, value]` pairs in the order received.
    pub user_properties: Option<&'a str>,
    /// How many rules this message has passed through.
    pub hop: u8,
    /// The rule that made it, if one did.
    pub origin: Option<&'a str>,
    pub payload: &'a [u8],
    /// The publisher says that the payload is text in UTF-8 (MQTT 5 §3.3.2.3.2).
    pub text: bool,
}

impl<'a> Envelope<'a> {
    /// A message with everything optional absent.
    pub fn new(topic: &'a str, publisher: &'a str, protocol: Protocol, qos: Qos, payload: &'a [u8]) -> Self {
        Self {
            topic,
            publisher,
            session: None,
            packet_id: None,
            protocol,
            qos,
            retain: false,
            expiry: None,
            content_type: None,
            response_topic: None,
            correlation: None,
            user_properties: None,
            hop: 0,
            origin: None,
            payload,
            text: false,
        }
    }
}

/// A message that stands on its own: a will, or what is kept beyond the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// As in [`Envelope::expiry`].
    pub expiry: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    /// As in [`Envelope::user_properties`].
    pub user_properties: Option<String>,
    /// As in [`Envelope::text`].
    pub text: bool,
}

impl OwnedMessage {
    /// A message with everything optional absent.
    pub fn new(topic: Topic, qos: Qos, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos,
            retain: false,
            expiry: None,
            content_type: None,
            response_topic: None,
            correlation: None,
            user_properties: None,
            text: false,
        }
    }

    /// What this message takes of another.
    pub fn copied(topic: Topic, message: &Envelope<'_>) -> Self {
        Self {
            topic,
            payload: Bytes::copy_from_slice(message.payload),
            qos: message.qos,
            retain: message.retain,
            expiry: message.expiry,
            content_type: message.content_type.map(str::to_owned),
            response_topic: message.response_topic.map(str::to_owned),
            correlation: message.correlation.map(<[u8]>::to_vec),
            user_properties: message.user_properties.map(str::to_owned),
            text: message.text,
        }
    }

    /// The message as its publisher hands it to the hub.
    pub fn envelope<'a>(&'a self, publisher: &'a str, protocol: Protocol) -> Envelope<'a> {
        Envelope {
            retain: self.retain,
            expiry: self.expiry,
            content_type: self.content_type.as_deref(),
            response_topic: self.response_topic.as_deref(),
            correlation: self.correlation.as_deref(),
            user_properties: self.user_properties.as_deref(),
            text: self.text,
            ..Envelope::new(self.topic.as_str(), publisher, protocol, self.qos, &self.payload)
        }
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.topic.as_str().len()
            + self.payload.len()
            + text(&self.content_type)
            + text(&self.response_topic)
            + self.correlation.as_ref().map_or(0, Vec::len)
            + text(&self.user_properties)
    }
}
