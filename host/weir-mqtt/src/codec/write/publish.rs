//! PUBLISH to a subscriber.

use weir_core::{Protocol, Qos};

use super::{
    EncodedUserProperties, MAX_REMAINING, Terms, Unwritable, fixed_header, packet_size,
    properties::{Length, Sink, fits},
    variable, variable_size,
};
use crate::codec::properties::id;

/// A message for a subscriber. Topic and payload lie where the log has them. What is below `dup` goes to clients of
/// MQTT 5 alone.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Empty when `topic_alias` is known to the client.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub retain: bool,
    pub dup: bool,
    /// Never 0, and not above the client's maximum [MQTT5-3.1.2-26].
    pub topic_alias: Option<u16>,
    /// The publisher said that the payload is text [MQTT5-3.3.2-4].
    pub text: bool,
    /// Seconds that are left [MQTT5-3.3.2-6].
    pub expiry: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<&'a str>,
    pub correlation: Option<&'a [u8]>,
    pub user: Option<&'a EncodedUserProperties>,
    /// Of the subscriptions that the message is sent for [MQTT5-3.3.4-3].
    pub subscription_identifiers: &'a [u32],
}

impl<'a> Outgoing<'a> {
    /// A message with everything optional absent.
    pub fn new(topic: &'a str, payload: &'a [u8], qos: Qos, packet_id: u16) -> Self {
        Self {
            topic,
            payload,
            qos,
            packet_id,
            retain: false,
            dup: false,
            topic_alias: None,
            text: false,
            expiry: None,
            content_type: None,
            response_topic: None,
            correlation: None,
            user: None,
            subscription_identifiers: &[],
        }
    }

    fn describe(&self, sink: &mut impl Sink) {
        if self.text {
            sink.byte(id::PAYLOAD_FORMAT, 1);
        }
        if let Some(seconds) = self.expiry {
            sink.long(id::MESSAGE_EXPIRY, seconds);
        }
        if let Some(alias) = self.topic_alias {
            sink.number(id::TOPIC_ALIAS, alias);
        }
        if let Some(topic) = self.response_topic {
            sink.bytes(id::RESPONSE_TOPIC, topic.as_bytes());
        }
        if let Some(data) = self.correlation {
            sink.bytes(id::CORRELATION, data);
        }
        if let Some(name) = self.content_type {
            sink.bytes(id::CONTENT_TYPE, name.as_bytes());
        }
        if let Some(user) = self.user {
            sink.put(user.as_bytes());
        }
        for identifier in self.subscription_identifiers {
            sink.variable(id::SUBSCRIPTION_IDENTIFIER, *identifier);
        }
    }

    /// Bytes of the properties, without their length, and the remaining length of the packet.
    fn lengths(&self, protocol: Protocol) -> Result<(usize, usize), Unwritable> {
        let identified = if self.qos > Qos::AtMostOnce { 2 } else { 0 };
        let mut remaining = 2 + self.topic.len() + identified + self.payload.len();
        let mut properties = Length::default();
        let mut fitting = fits(self.topic.as_bytes());
        if protocol == Protocol::Mqtt5 {
            self.describe(&mut properties);
            remaining += variable_size(properties.0) + properties.0;
            fitting = fitting
                && fits(self.content_type.unwrap_or_default().as_bytes())
                && fits(self.response_topic.unwrap_or_default().as_bytes())
                && fits(self.correlation.unwrap_or_default());
        }
        if fitting && remaining <= MAX_REMAINING { Ok((properties.0, remaining)) } else { Err(Unwritable::Format) }
    }
}

/// Bytes of the whole packet.
pub fn publish_size(protocol: Protocol, message: &Outgoing<'_>) -> Result<usize, Unwritable> {
    message.lengths(protocol).map(|(_, remaining)| packet_size(remaining))
}

/// Fails, and writes nothing, if no packet can carry the message or the client takes none of its size
/// [MQTT5-3.1.2-24].
pub fn publish(out: &mut Vec<u8>, terms: &Terms, message: &Outgoing<'_>) -> Result<(), Unwritable> {
    let (properties, remaining) = message.lengths(terms.protocol)?;
    let size = packet_size(remaining);
    if !terms.takes(size) {
        return Err(Unwritable::TooLarge { size });
    }
    let topic_length = u16::try_from(message.topic.len()).map_err(|_| Unwritable::Format)?;
    let flags = (u8::from(message.dup) << 3) | ((message.qos as u8) << 1) | u8::from(message.retain);
    out.reserve(size);
    fixed_header(out, 0x30 | flags, remaining);
    out.extend_from_slice(&topic_length.to_be_bytes());
    out.extend_from_slice(message.topic.as_bytes());
    if message.qos > Qos::AtMostOnce {
        out.extend_from_slice(&message.packet_id.to_be_bytes());
    }
    if terms.protocol == Protocol::Mqtt5 {
        variable(out, properties);
        message.describe(out);
    }
    out.extend_from_slice(message.payload);
    Ok(())
}
