//! The properties of MQTT 5: their identifiers and forms (section 2.2.2.2), and which packets may carry them.

use super::{
    decode::{Malformed, Reader},
    encode::{put_bytes, put_text, put_varint},
};

/// In the order of the wire. Nothing keeps a test from writing one twice, or where it must not stand.
pub(crate) type Properties = Vec<Property>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionIdentifier(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

/// Where properties stand: a packet type's number, or the will inside CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Packet(u8),
    Will,
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

impl Property {
    /// The identifier, and the packets that may carry it.
    fn identity(&self) -> (u8, &'static [u8]) {
        match self {
            Self::PayloadFormat(_) => (1, &[PUBLISH]),
            Self::MessageExpiry(_) => (2, &[PUBLISH]),
            Self::ContentType(_) => (3, &[PUBLISH]),
            Self::ResponseTopic(_) => (8, &[PUBLISH]),
            Self::CorrelationData(_) => (9, &[PUBLISH]),
            Self::SubscriptionIdentifier(_) => (11, &[PUBLISH, SUBSCRIBE]),
            Self::SessionExpiry(_) => (17, &[CONNECT, CONNACK, DISCONNECT]),
            Self::AssignedClientId(_) => (18, &[CONNACK]),
            Self::ServerKeepAlive(_) => (19, &[CONNACK]),
            Self::AuthenticationMethod(_) => (21, &[CONNECT, CONNACK, AUTH]),
            Self::AuthenticationData(_) => (22, &[CONNECT, CONNACK, AUTH]),
            Self::RequestProblemInformation(_) => (23, &[CONNECT]),
            Self::WillDelay(_) => (24, &[]),
            Self::RequestResponseInformation(_) => (25, &[CONNECT]),
            Self::ResponseInformation(_) => (26, &[CONNACK]),
            Self::ServerReference(_) => (28, &[CONNACK, DISCONNECT]),
            Self::ReasonString(_) => (31, &[CONNACK, 4, 5, 6, 7, 9, 11, DISCONNECT, AUTH]),
            Self::ReceiveMaximum(_) => (33, &[CONNECT, CONNACK]),
            Self::TopicAliasMaximum(_) => (34, &[CONNECT, CONNACK]),
            Self::TopicAlias(_) => (35, &[PUBLISH]),
            Self::MaximumQos(_) => (36, &[CONNACK]),
            Self::RetainAvailable(_) => (37, &[CONNACK]),
            Self::User(..) => (38, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15]),
            Self::MaximumPacketSize(_) => (39, &[CONNECT, CONNACK]),
            Self::WildcardSubscriptionAvailable(_) => (40, &[CONNACK]),
            Self::SubscriptionIdentifierAvailable(_) => (41, &[CONNACK]),
            Self::SharedSubscriptionAvailable(_) => (42, &[CONNACK]),
        }
    }

    fn is_allowed(&self, place: Place) -> bool {
        let (identifier, packets) = self.identity();
        match place {
            Place::Packet(number) => packets.contains(&number),
            Place::Will => [1, 2, 3, 8, 9, 24, 38].contains(&identifier),
        }
    }

    fn encode(&self, to: &mut Vec<u8>) {
        to.push(self.identity().0);
        match self {
            Self::PayloadFormat(byte)
            | Self::RequestProblemInformation(byte)
            | Self::RequestResponseInformation(byte)
            | Self::MaximumQos(byte)
            | Self::RetainAvailable(byte)
            | Self::WildcardSubscriptionAvailable(byte)
            | Self::SubscriptionIdentifierAvailable(byte)
            | Self::SharedSubscriptionAvailable(byte) => to.push(*byte),
            Self::ServerKeepAlive(number)
            | Self::ReceiveMaximum(number)
            | Self::TopicAliasMaximum(number)
            | Self::TopicAlias(number) => to.extend(number.to_be_bytes()),
            Self::MessageExpiry(number)
            | Self::SessionExpiry(number)
            | Self::WillDelay(number)
            | Self::MaximumPacketSize(number) => to.extend(number.to_be_bytes()),
            Self::SubscriptionIdentifier(number) => put_varint(*number, to),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_text(text, to),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => put_bytes(bytes, to),
            Self::User(name, value) => {
                put_text(name, to);
                put_text(value, to);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        // A variable byte integer by the letter; all that exist are below 128.
        Ok(match from.varint()? {
            1 => Self::PayloadFormat(from.flag()?),
            2 => Self::MessageExpiry(from.u32()?),
            3 => Self::ContentType(from.text()?),
            8 => Self::ResponseTopic(from.text()?),
            9 => Self::CorrelationData(from.bytes()?),
            11 => match from.varint()? {
                0 => return Err(Malformed("subscription identifier 0")),
                number => Self::SubscriptionIdentifier(number),
            },
            17 => Self::SessionExpiry(from.u32()?),
            18 => Self::AssignedClientId(from.text()?),
            19 => Self::ServerKeepAlive(from.u16()?),
            21 => Self::AuthenticationMethod(from.text()?),
            22 => Self::AuthenticationData(from.bytes()?),
            23 => Self::RequestProblemInformation(from.flag()?),
            24 => Self::WillDelay(from.u32()?),
            25 => Self::RequestResponseInformation(from.flag()?),
            26 => Self::ResponseInformation(from.text()?),
            28 => Self::ServerReference(from.text()?),
            31 => Self::ReasonString(from.text()?),
            33 => match from.u16()? {
                0 => return Err(Malformed("receive maximum 0")),
                number => Self::ReceiveMaximum(number),
            },
            34 => Self::TopicAliasMaximum(from.u16()?),
            35 => match from.u16()? {
                0 => return Err(Malformed("topic alias 0")),
                number => Self::TopicAlias(number),
            },
            36 => Self::MaximumQos(from.flag()?),
            37 => Self::RetainAvailable(from.flag()?),
            38 => Self::User(from.text()?, from.text()?),
            39 => match from.u32()? {
                0 => return Err(Malformed("maximum packet size 0")),
                number => Self::MaximumPacketSize(number),
            },
            40 => Self::WildcardSubscriptionAvailable(from.flag()?),
            41 => Self::SubscriptionIdentifierAvailable(from.flag()?),
            42 => Self::SharedSubscriptionAvailable(from.flag()?),
            _ => return Err(Malformed("unknown property")),
        })
    }
}

pub(super) fn put_properties(properties: &[Property], to: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    put_varint(u32::try_from(bytes.len()).unwrap(), to);
    to.extend(bytes);
}

/// Reads the properties of a packet, and checks that each may stand in `place`, and once unless it is a user property or a
/// PUBLISH's subscription identifier.
pub(super) fn read_properties(from: &mut Reader<'_>, place: Place) -> Result<Properties, Malformed> {
    let length = from.varint()?;
    let mut inside = Reader::of(from.take(length as usize)?);
    let mut properties = Properties::new();
    while !inside.is_empty() {
        let property = Property::decode(&mut inside)?;
        if !property.is_allowed(place) {
            return Err(Malformed("a property that this packet must not have"));
        }
        let identifier = property.identity().0;
        let may_repeat = identifier == 38 || (identifier == 11 && place == Place::Packet(PUBLISH));
        if !may_repeat && properties.iter().any(|other| other.identity().0 == identifier) {
            return Err(Malformed("a property that stands twice"));
        }
        properties.push(property);
    }
    Ok(properties)
}
