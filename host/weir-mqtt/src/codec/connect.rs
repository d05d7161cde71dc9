//! CONNECT: which protocol a client speaks, who it says it is, what it can take, and its will.
//!
//! rumqttd's decoders know levels 4 and 5 only, read passwords as text, and cannot tell an empty user name from none.
//! So the guard walks the packet, keeps user name and password as they are, and hands the decoder the rest as a packet
//! of level 4 or 5 (that of MQTT 3.1 differs from 4 in name and level only).

use bytes::{BufMut, BytesMut};
use weir_core::{Protocol, Qos, Topic};

use super::{
    Frame, UserProperties, decoder,
    fields::Fields,
    properties::{Allowed, Properties, Property, id},
    write,
};
use crate::ProtocolError;

const CLEAN: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

const PROPERTIES: Allowed = Allowed {
    packet: "CONNECT",
    bits: 1 << id::SESSION_EXPIRY
        | 1 << id::RECEIVE_MAXIMUM
        | 1 << id::MAXIMUM_PACKET_SIZE
        | 1 << id::TOPIC_ALIAS_MAXIMUM
        | 1 << id::REQUEST_RESPONSE
        | 1 << id::REQUEST_PROBLEM
        | 1 << id::USER
        | 1 << id::AUTHENTICATION_METHOD
        | 1 << id::AUTHENTICATION_DATA,
};
const WILL_PROPERTIES: Allowed = Allowed {
    packet: "CONNECT",
    bits: 1 << id::WILL_DELAY
        | 1 << id::PAYLOAD_FORMAT
        | 1 << id::MESSAGE_EXPIRY
        | 1 << id::CONTENT_TYPE
        | 1 << id::RESPONSE_TOPIC
        | 1 << id::CORRELATION
        | 1 << id::USER,
};

#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// `Mqtt31`, `Mqtt311` or `Mqtt5`.
    pub protocol: Protocol,
    /// May be empty. Of any length also in 3.1, whose bound of 23 characters real devices ignore.
    pub client_id: String,
    /// Clean Session, and in MQTT 5 Clean Start.
    pub clean: bool,
    /// Seconds; 0 is none.
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    /// Their defaults before MQTT 5.
    pub properties: ConnectProperties,
}

/// What a client of MQTT 5 says of itself; what it leaves out has the value that the specification gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds; `u32::MAX` is for ever. See [`Connect::session_expiry`] for all versions.
    pub session_expiry: u32,
    /// Unacknowledged QoS 1 and 2 messages that the client takes; at least 1.
    pub receive_maximum: u16,
    /// Bytes of a packet that the client takes; at least 1.
    pub max_packet_size: u32,
    /// The highest topic alias that the client takes; 0: none.
    pub topic_alias_maximum: u16,
    /// It asks for Response Information, which a server need not give.
    pub request_response: bool,
    /// It takes reason strings and user properties with packets other than PUBLISH.
    pub request_problem: bool,
    /// A JSON array of `[name, value]` pairs.
    pub user: Option<String>,
    pub authentication: Option<Authentication>,
}

/// How a client wants to be authenticated other than by password.
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    pub method: String,
    pub data: Vec<u8>,
}

/// What the hub publishes for a client whose connection ends without DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: Topic,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
    /// Seconds between the end of the connection and the will.
    pub delay: u32,
    /// The payload is said to be text in UTF-8, and is.
    pub text: bool,
    /// Seconds.
    pub expiry: Option<u32>,
    pub content_type: Option<String>,
    /// Passed `Topic::check`.
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    /// A JSON array of `[name, value]` pairs.
    pub user: Option<String>,
}

impl Default for ConnectProperties {
    /// MQTT 5 §3.1.2.11
    fn default() -> Self {
        Self {
            session_expiry: 0,
            receive_maximum: u16::MAX,
            max_packet_size: u32::MAX,
            topic_alias_maximum: 0,
            request_response: false,
            request_problem: true,
            user: None,
            authentication: None,
        }
    }
}

impl Connect {
    /// Seconds that the session is to outlive its connection; `u32::MAX` is for ever. Before MQTT 5 that follows from
    /// Clean Session (MQTT 5 §3.1.2.11.2).
    pub fn session_expiry(&self) -> u32 {
        match (self.protocol, self.clean) {
            (Protocol::Mqtt5, _) => self.properties.session_expiry,
            (_, true) => 0,
            (_, false) => u32::MAX,
        }
    }

    /// What the client takes of packets.
    pub fn terms(&self) -> write::Terms {
        write::Terms {
            protocol: self.protocol,
            max_packet_size: self.properties.max_packet_size,
            problem_information: self.properties.request_problem,
        }
    }
}

/// Shows that there is a password, never which.
impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("protocol", &self.protocol)
            .field("client_id", &self.client_id)
            .field("clean", &self.clean)
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will.as_ref().map(|will| &will.topic))
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("properties", &self.properties)
            .finish()
    }
}

/// Shows neither user properties nor what proves the client.
impl std::fmt::Debug for ConnectProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("max_packet_size", &self.max_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response", &self.request_response)
            .field("request_problem", &self.request_problem)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("method", &self.method).finish_non_exhaustive()
    }
}

pub(super) fn decode(frame: &Frame<'_>) -> Result<Connect, ProtocolError> {
    let mut fields = Fields::new("CONNECT", frame.body);
    let protocol = version(&mut fields)?;
    if protocol == Protocol::Mqtt5 {
        frame.check_length()?;
    }
    let flags = fields.byte()?;
    check_flags(flags, protocol)?;
    let after_flags = fields.rest();
    let user = check_fields(&mut fields, flags, protocol)?;
    let login = fields.rest();
    let username = optional(flags & USERNAME != 0, protocol, &mut fields, Fields::text)?.map(str::to_owned);
    let password = optional(flags & PASSWORD != 0, protocol, &mut fields, Fields::bytes)?.map(<[u8]>::to_vec);
    fields.end()?;

    let without_login = after_flags.get(..after_flags.len() - login.len()).unwrap_or_default();
    let level = if protocol == Protocol::Mqtt5 { 5 } else { 4 };
    let read = decoder::connect(&translate(level, flags & !(USERNAME | PASSWORD), without_login), protocol)?;
    let mut connect = Connect {
        protocol,
        client_id: read.client_id,
        clean: read.clean,
        keep_alive: read.keep_alive,
        will: read.will,
        username,
        password,
        properties: read.properties,
    };
    connect.properties.user = user.connect.to_json();
    if let Some(will) = &mut connect.will {
        will.user = user.will.to_json();
        if will.text && std::str::from_utf8(&will.payload).is_err() {
            return Err(ProtocolError::PayloadFormat);
        }
    }
    Ok(connect)
}

/// User properties of the two places.
#[derive(Debug, Default)]
struct User<'a> {
    connect: UserProperties<'a>,
    will: UserProperties<'a>,
}

/// [MQTT-3.1.2-1], [MQTT-3.1.2-2]
fn version(fields: &mut Fields<'_>) -> Result<Protocol, ProtocolError> {
    let name = fields.bytes()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(ProtocolError::ProtocolName);
    }
    match (name, fields.byte()?) {
        (b"MQIsdp", 3) => Ok(Protocol::Mqtt31),
        (b"MQTT", 4) => Ok(Protocol::Mqtt311),
        (b"MQTT", 5) => Ok(Protocol::Mqtt5),
        (_, level) => Err(ProtocolError::Version(level)),
    }
}

fn check_flags(flags: u8, protocol: Protocol) -> Result<(), ProtocolError> {
    // [MQTT-3.1.2-3]: the lowest bit is reserved. [MQTT-3.1.2-13], [MQTT-3.1.2-15]: no will, no QoS and retain of one.
    // [MQTT-3.1.2-22]: no password without a user name, which MQTT 5 allows.
    let will_of_nothing = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0;
    let password_of_nobody = protocol != Protocol::Mqtt5 && flags & USERNAME == 0 && flags & PASSWORD != 0;
    if flags & 1 != 0 || will_of_nothing || password_of_nobody {
        return Err(ProtocolError::Malformed("CONNECT"));
    }
    // [MQTT-3.1.2-14]
    if flags & WILL_QOS == WILL_QOS { Err(ProtocolError::Qos) } else { Ok(()) }
}

/// Walks from the keep-alive to the will.
fn check_fields<'a>(fields: &mut Fields<'a>, flags: u8, protocol: Protocol) -> Result<User<'a>, ProtocolError> {
    let mut user = User::default();
    fields.number()?;
    if protocol == Protocol::Mqtt5 {
        user.connect = check_properties(fields, PROPERTIES)?;
    }
    fields.text()?;
    if flags & WILL != 0 {
        if protocol == Protocol::Mqtt5 {
            user.will = check_properties(fields, WILL_PROPERTIES)?;
        }
        fields.text()?;
        fields.bytes()?;
    }
    Ok(user)
}

fn check_properties<'a>(fields: &mut Fields<'a>, allowed: Allowed) -> Result<UserProperties<'a>, ProtocolError> {
    let mut user = UserProperties::default();
    let (mut method, mut data) = (false, false);
    let mut properties = Properties::take(fields, allowed)?;
    let all = properties.rest();
    while let Some(property) = properties.next()? {
        match property {
            Property::User(..) => user = UserProperties::of_checked(all),
            Property::AuthenticationMethod(_) => method = true,
            Property::AuthenticationData => data = true,
            _ => {}
        }
    }
    // §3.1.2.11.10
    if data && !method { Err(ProtocolError::AuthenticationData) } else { Ok(user) }
}

/// A field that a flag announces. In MQTT 3.1 (§3.1) the packet may end before it all the same.
fn optional<'a, T>(
    announced: bool,
    protocol: Protocol,
    fields: &mut Fields<'a>,
    read: fn(&mut Fields<'a>) -> Result<T, ProtocolError>,
) -> Result<Option<T>, ProtocolError> {
    if !announced || (protocol == Protocol::Mqtt31 && fields.is_empty()) {
        return Ok(None);
    }
    read(fields).map(Some)
}

/// A CONNECT of this level with these flags and the fields after them.
fn translate(level: u8, flags: u8, after_flags: &[u8]) -> BytesMut {
    let name = b"\0\x04MQTT";
    let mut header = Vec::with_capacity(5);
    write::fixed_header(&mut header, 0x10, name.len() + 2 + after_flags.len());
    let mut frame = BytesMut::with_capacity(header.len() + name.len() + 2 + after_flags.len());
    frame.put_slice(&header);
    frame.put_slice(name);
    frame.put_u8(level);
    frame.put_u8(flags & (CLEAN | WILL | WILL_QOS | WILL_RETAIN));
    frame.put_slice(after_flags);
    frame
}
