//! PUBLISH, read in place: topic, payload and properties stay in the bytes they came in.

use weir_core::{Protocol, Qos, Topic};

use super::{
    Frame, UserProperties,
    fields::Fields,
    properties::{Allowed, Properties, Property, id},
};
use crate::ProtocolError;

/// A message as it lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Passed `Topic::check`; or empty, when it is what `properties.topic_alias` stands for.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    /// Never 0; present from QoS 1.
    pub packet_id: Option<u16>,
    pub retain: bool,
    pub dup: bool,
    /// None of them before MQTT 5.
    pub properties: PublishProperties<'a>,
}

impl Publish<'_> {
    /// Whether a payload that is said to be text is UTF-8. If not, the message is to be refused, but not its publisher's
    /// connection (§3.3.2.3.2).
    pub fn is_as_said(&self) -> bool {
        !self.properties.text || std::str::from_utf8(self.payload).is_ok()
    }
}

/// What MQTT 5 lets a publisher say of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishProperties<'a> {
    /// The payload is said to be text in UTF-8. Whether it is, [`Publish::is_as_said`] knows.
    pub text: bool,
    /// Seconds.
    pub expiry: Option<u32>,
    /// Never 0. Whether it is above the hub's maximum, and what it stands for, is the connection's to know.
    pub topic_alias: Option<u16>,
    /// Passed `Topic::check`.
    pub response_topic: Option<&'a str>,
    pub correlation: Option<&'a [u8]>,
    pub content_type: Option<&'a str>,
    pub user: UserProperties<'a>,
}

const PROPERTIES: Allowed = Allowed {
    packet: "PUBLISH",
    bits: 1 << id::PAYLOAD_FORMAT
        | 1 << id::MESSAGE_EXPIRY
        | 1 << id::CONTENT_TYPE
        | 1 << id::RESPONSE_TOPIC
        | 1 << id::CORRELATION
        | 1 << id::SUBSCRIPTION_IDENTIFIER
        | 1 << id::TOPIC_ALIAS
        | 1 << id::USER,
};

pub(super) fn decode(frame: Frame<'_>, protocol: Protocol) -> Result<Publish<'_>, ProtocolError> {
    // [MQTT-3.3.1-4]
    let qos = Qos::from_u8((frame.flags >> 1) & 0b11).ok_or(ProtocolError::Qos)?;
    let dup = frame.flags & 0b1000 != 0;
    // [MQTT-3.3.1-2]
    if dup && qos == Qos::AtMostOnce {
        return Err(ProtocolError::DupWithoutQos);
    }
    let mut fields = Fields::new("PUBLISH", frame.body);
    let topic = fields.utf8()?;
    // [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-1.5.3-2]
    if !(topic.is_empty() && protocol == Protocol::Mqtt5) {
        Topic::check(topic).map_err(ProtocolError::Topic)?;
    }
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(fields.packet_id()?) };
    let mut properties = PublishProperties::default();
    if protocol == Protocol::Mqtt5 {
        properties = read_properties(&mut fields)?;
        // §3.3.2.1
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(ProtocolError::TopicMissing);
        }
    }
    let payload = fields.rest();
    Ok(Publish { topic, payload, qos, packet_id, retain: frame.flags & 1 != 0, dup, properties })
}

fn read_properties<'a>(fields: &mut Fields<'a>) -> Result<PublishProperties<'a>, ProtocolError> {
    let mut found = PublishProperties::default();
    let mut properties = Properties::take(fields, PROPERTIES)?;
    let all = properties.rest();
    while let Some(property) = properties.next()? {
        match property {
            Property::PayloadFormat(text) => found.text = text,
            Property::MessageExpiry(seconds) => found.expiry = Some(seconds),
            Property::TopicAlias(alias) => found.topic_alias = Some(alias),
            Property::ResponseTopic(topic) => found.response_topic = Some(topic),
            Property::Correlation(data) => found.correlation = Some(data),
            Property::ContentType(name) => found.content_type = Some(name),
            Property::User(..) => found.user = UserProperties::of_checked(all),
            // [MQTT5-3.3.4-6]
            _ => return Err(ProtocolError::ServerProperty { identifier: id::SUBSCRIPTION_IDENTIFIER }),
        }
    }
    Ok(found)
}
