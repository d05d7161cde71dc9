//! The properties of an MQTT 5 packet (§2.2.2), one after another.
//!
//! Each is checked as it is read: that this packet may have it, that it comes once, and that its value is one that it
//! may have. What follows a property in the bytes is looked at when it is its turn.

use weir_core::Topic;

use super::fields::Fields;
use crate::ProtocolError;

/// What identifies a property.
pub(super) mod id {
    pub(in crate::codec) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(in crate::codec) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(in crate::codec) const CONTENT_TYPE: u8 = 0x03;
    pub(in crate::codec) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in crate::codec) const CORRELATION: u8 = 0x09;
    pub(in crate::codec) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub(in crate::codec) const SESSION_EXPIRY: u8 = 0x11;
    pub(in crate::codec) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(in crate::codec) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in crate::codec) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in crate::codec) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(in crate::codec) const REQUEST_PROBLEM: u8 = 0x17;
    pub(in crate::codec) const WILL_DELAY: u8 = 0x18;
    pub(in crate::codec) const REQUEST_RESPONSE: u8 = 0x19;
    pub(in crate::codec) const SERVER_REFERENCE: u8 = 0x1c;
    pub(in crate::codec) const REASON_STRING: u8 = 0x1f;
    pub(in crate::codec) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in crate::codec) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in crate::codec) const TOPIC_ALIAS: u8 = 0x23;
    pub(in crate::codec) const USER: u8 = 0x26;
    pub(in crate::codec) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in crate::codec) const WILDCARDS_AVAILABLE: u8 = 0x28;
    pub(in crate::codec) const IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub(in crate::codec) const SHARING_AVAILABLE: u8 = 0x2a;
}

/// A property that a client may send in one packet or another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Property<'a> {
    PayloadFormat(bool),
    MessageExpiry(u32),
    ContentType(&'a str),
    /// Passed `Topic::check`.
    ResponseTopic(&'a str),
    Correlation(&'a [u8]),
    SubscriptionIdentifier,
    SessionExpiry(u32),
    AuthenticationMethod(&'a str),
    AuthenticationData,
    TopicAlias(u16),
    User(&'a str, &'a str),
    /// One that is checked here and of no use to who reads in place.
    Other,
}

/// Which properties a packet may have: a bit for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) packet: &'static str,
    pub(super) bits: u64,
}

/// What is left of the properties of a packet.
#[derive(Debug, Clone)]
pub(super) struct Properties<'a> {
    fields: Fields<'a>,
    allowed: Allowed,
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Takes the properties, with their length before them, off the front of `fields`.
    pub(super) fn take(fields: &mut Fields<'a>, allowed: Allowed) -> Result<Self, ProtocolError> {
        Ok(Self::new(fields.section()?, allowed))
    }

    /// Those that lie in `bytes`, without their length.
    pub(super) fn new(bytes: &'a [u8], allowed: Allowed) -> Self {
        Self { fields: Fields::new(allowed.packet, bytes), allowed, seen: 0 }
    }

    /// The bytes of those not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.fields.rest()
    }

    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, ProtocolError> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        // A variable byte integer in which none so far takes a second byte.
        let identifier = self.fields.byte()?;
        let bit = 1_u64.checked_shl(u32::from(identifier)).unwrap_or(0);
        // §2.2.2.2: one that is not of this packet makes it malformed.
        if self.allowed.bits & bit == 0 {
            return Err(ProtocolError::Property { packet: self.allowed.packet, identifier });
        }
        if self.seen & bit != 0 && identifier != id::USER {
            return Err(ProtocolError::PropertyRepeated { identifier });
        }
        self.seen |= bit;
        self.value(identifier).map(Some)
    }

    /// Reads to the end, for the checks alone.
    pub(super) fn check(mut self) -> Result<(), ProtocolError> {
        while self.next()?.is_some() {}
        Ok(())
    }

    fn value(&mut self, identifier: u8) -> Result<Property<'a>, ProtocolError> {
        let fields = &mut self.fields;
        let refused = ProtocolError::PropertyValue { identifier };
        let positive = |value: u32| if value == 0 { Err(refused) } else { Ok(Property::Other) };
        Ok(match identifier {
            id::PAYLOAD_FORMAT => Property::PayloadFormat(flag(fields.byte()?).ok_or(refused)?),
            id::REQUEST_PROBLEM | id::REQUEST_RESPONSE => {
                flag(fields.byte()?).ok_or(refused)?;
                Property::Other
            }
            id::MESSAGE_EXPIRY => Property::MessageExpiry(fields.long()?),
            id::SESSION_EXPIRY => Property::SessionExpiry(fields.long()?),
            id::WILL_DELAY => {
                fields.long()?;
                Property::Other
            }
            // §3.1.2.11.4, §3.1.2.11.3
            id::MAXIMUM_PACKET_SIZE => positive(fields.long()?)?,
            id::RECEIVE_MAXIMUM => positive(fields.number()?.into())?,
            id::TOPIC_ALIAS_MAXIMUM => {
                fields.number()?;
                Property::Other
            }
            id::TOPIC_ALIAS => match fields.number()? {
                0 => return Err(ProtocolError::TopicAlias), // [MQTT5-3.3.2-8]
                alias => Property::TopicAlias(alias),
            },
            // §3.8.2.1.2
            id::SUBSCRIPTION_IDENTIFIER => match fields.variable()? {
                0 => return Err(refused),
                _ => Property::SubscriptionIdentifier,
            },
            id::CONTENT_TYPE => Property::ContentType(fields.text()?),
            id::RESPONSE_TOPIC => {
                let topic = fields.text()?;
                Topic::check(topic).map_err(|_| refused)?; // [MQTT5-3.3.2-14]
                Property::ResponseTopic(topic)
            }
            id::CORRELATION => Property::Correlation(fields.bytes()?),
            id::AUTHENTICATION_METHOD => Property::AuthenticationMethod(fields.text()?),
            id::AUTHENTICATION_DATA => {
                fields.bytes()?;
                Property::AuthenticationData
            }
            id::REASON_STRING => {
                fields.text()?;
                Property::Other
            }
            id::SERVER_REFERENCE => return Err(ProtocolError::ServerProperty { identifier }), // §3.14.2.2.5
            id::USER => Property::User(fields.text()?, fields.text()?),
            _ => return Err(ProtocolError::Property { packet: self.allowed.packet, identifier }),
        })
    }
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
