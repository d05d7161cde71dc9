//! CONNECT: which protocol a client speaks, who it says it is, and its will.
//!
//! rumqttd's decoder knows level 4 only, reads passwords as text, and cannot tell an empty user name from none. So the
//! guard walks the packet, keeps user name and password as they are, and hands the decoder the rest as a packet of
//! level 4 (that of MQTT 3.1 differs in name and level only).

use bytes::{BufMut, BytesMut};
use weir_core::{Protocol, Qos, Topic};

use super::{Frame, fields::Fields, requests, write};
use crate::ProtocolError;

const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// `Mqtt31` or `Mqtt311`.
    pub protocol: Protocol,
    /// May be empty. Of any length also in 3.1, whose bound of 23 characters real devices ignore.
    pub client_id: String,
    pub clean: bool,
    /// Seconds; 0 is none.
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
}

/// What the hub publishes for a client whose connection ends without DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: Topic,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
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
            .finish()
    }
}

pub(super) fn decode(frame: &Frame<'_>) -> Result<Connect, ProtocolError> {
    let mut fields = Fields::new("CONNECT", frame.body);
    let protocol = version(&mut fields)?;
    let flags = fields.byte()?;
    check_flags(flags)?;
    let after_flags = fields.rest();
    fields.number()?;
    fields.text()?;
    if flags & WILL != 0 {
        fields.text()?;
        fields.bytes()?;
    }
    let login = fields.rest();
    let username = optional(flags & USERNAME != 0, protocol, &mut fields, Fields::text)?.map(str::to_owned);
    let password = optional(flags & PASSWORD != 0, protocol, &mut fields, Fields::bytes)?.map(<[u8]>::to_vec);
    fields.end()?;

    let without_login = after_flags.get(..after_flags.len() - login.len()).unwrap_or_default();
    let (connect, will) = requests::read_connect(&translate(flags & !(USERNAME | PASSWORD), without_login))?;
    let will = will.map(|will| {
        let topic = std::str::from_utf8(&will.topic).map_err(|_| ProtocolError::Text)?;
        let topic = topic.parse().map_err(ProtocolError::Topic)?;
        let payload = will.message.to_vec();
        Ok(Will { topic, payload, qos: requests::qos(will.qos), retain: will.retain })
    });
    Ok(Connect {
        protocol,
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: will.transpose()?,
        username,
        password,
    })
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
        (_, level) => Err(ProtocolError::Version(level)),
    }
}

fn check_flags(flags: u8) -> Result<(), ProtocolError> {
    // [MQTT-3.1.2-3]: the lowest bit is reserved. [MQTT-3.1.2-13], [MQTT-3.1.2-15]: no will, no QoS and retain of one.
    // [MQTT-3.1.2-22]: no password without a user name.
    let will_of_nothing = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0;
    let password_of_nobody = flags & USERNAME == 0 && flags & PASSWORD != 0;
    if flags & 1 != 0 || will_of_nothing || password_of_nobody {
        return Err(ProtocolError::Malformed("CONNECT"));
    }
    // [MQTT-3.1.2-14]
    if flags & WILL_QOS == WILL_QOS { Err(ProtocolError::Qos) } else { Ok(()) }
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

/// A CONNECT of level 4 with these flags and the fields after them.
fn translate(flags: u8, after_flags: &[u8]) -> BytesMut {
    let name = b"\0\x04MQTT\x04";
    let mut header = Vec::with_capacity(after_flags.len() + 16);
    write::fixed_header(&mut header, 0x10, name.len() + 1 + after_flags.len());
    let mut frame = BytesMut::from(header.as_slice());
    frame.put_slice(name);
    frame.put_u8(flags & !1);
    frame.put_slice(after_flags);
    frame
}
