//! One datagram, and the message in it (RFC 7252 §3).
//!
//! `coap-lite` reads and writes the packet; nothing else of it is used, because its block handler can be crashed and
//! corrupted by one datagram. The guards before it refuse what it would pass over: another version, a marker without a
//! payload, an empty message that is not empty, more options than any client sends.

pub mod block;
pub mod option;

#[cfg(test)]
mod tests;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet};
use smallvec::SmallVec;

use crate::codes::Code;

/// Bytes of a datagram that is read. Longer ones are refused: blocks are for long bodies.
pub const MAX_DATAGRAM: usize = 2_048;

/// Options of one message.
const MAX_OPTIONS: usize = 64;

/// Matches responses to requests (RFC 7252 §5.3.1); at most 8 bytes.
pub type Token = SmallVec<[u8; 8]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Confirmable,
    NonConfirmable,
    Acknowledgement,
    Reset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub code: Code,
    pub id: u16,
    pub token: Token,
    /// By number; those of one number in the order of the datagram.
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

/// A datagram that is no message. `id` where one can be told, for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram is no message of CoAP: {reason}")]
pub struct Malformed {
    pub reason: &'static str,
    /// The message was confirmable, and its identifier was this.
    pub confirmable: Option<u16>,
}

impl Message {
    pub fn new(kind: Kind, code: Code, id: u16) -> Self {
        Self { kind, code, id, token: Token::new(), options: Vec::new(), payload: Vec::new() }
    }

    /// An empty message: an acknowledgement, a reset or a ping.
    pub fn empty(kind: Kind, id: u16) -> Self {
        Self::new(kind, Code::EMPTY, id)
    }

    /// The values of an option.
    pub fn all(&self, number: u16) -> impl Iterator<Item = &[u8]> {
        self.options.iter().filter(move |(other, _)| *other == number).map(|(_, value)| value.as_slice())
    }

    pub fn first(&self, number: u16) -> Option<&[u8]> {
        self.all(number).next()
    }

    pub fn add(&mut self, number: u16, value: impl Into<Vec<u8>>) {
        self.options.push((number, value.into()));
    }
}

/// Reads a datagram.
pub fn decode(datagram: &[u8]) -> Result<Message, Malformed> {
    let (&[first, code, high, low], rest) =
        datagram.split_first_chunk::<4>().ok_or(Malformed { reason: "too short", confirmable: None })?;
    let id = u16::from_be_bytes([high, low]);
    // RFC 7252 §3: other versions must be silently ignored.
    if first >> 6 != 1 {
        return Err(Malformed { reason: "version", confirmable: None });
    }
    let kind = match first >> 4 & 3 {
        0 => Kind::Confirmable,
        1 => Kind::NonConfirmable,
        2 => Kind::Acknowledgement,
        _ => Kind::Reset,
    };
    let refused = |reason| Malformed { reason, confirmable: (kind == Kind::Confirmable).then_some(id) };
    if datagram.len() > MAX_DATAGRAM {
        return Err(refused("too long"));
    }
    if first & 0xf > 8 {
        return Err(refused("token length"));
    }
    // RFC 7252 §4.1: bytes after the identifier of an empty message are an error.
    if code == 0 && (first & 0xf != 0 || !rest.is_empty()) {
        return Err(refused("empty message with content"));
    }
    let packet = Packet::from_bytes(datagram).map_err(|_| refused("format"))?;
    let count: usize = packet.options().map(|(_, values)| values.len()).sum();
    if count > MAX_OPTIONS {
        return Err(refused("too many options"));
    }
    // A marker without a payload (RFC 7252 §3): the last byte is then one, which no option ends with by itself.
    let options: Vec<(u16, Vec<u8>)> = packet
        .options()
        .flat_map(|(number, values)| values.iter().map(move |value| (*number, value.clone())))
        .collect();
    if packet.payload.is_empty() && written(&options) + 4 + packet.get_token().len() != datagram.len() {
        return Err(refused("marker without payload"));
    }
    let token = Token::from_slice(packet.get_token());
    Ok(Message { kind, code: Code(code), id, token, options, payload: packet.payload })
}

/// Bytes of options in a datagram, if they are written in the shortest form.
fn written(options: &[(u16, Vec<u8>)]) -> usize {
    let extended = |value: usize| match value {
        0..13 => 0,
        13..269 => 1,
        _ => 2,
    };
    let mut before = 0;
    let mut bytes = 0;
    for (number, value) in options {
        bytes += 1 + extended(usize::from(number - before)) + extended(value.len()) + value.len();
        before = *number;
    }
    bytes
}

/// Writes a message. What the hub makes always fits.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_version(1);
    packet.header.set_type(match message.kind {
        Kind::Confirmable => MessageType::Confirmable,
        Kind::NonConfirmable => MessageType::NonConfirmable,
        Kind::Acknowledgement => MessageType::Acknowledgement,
        Kind::Reset => MessageType::Reset,
    });
    packet.header.code = MessageClass::from(message.code.0);
    packet.header.message_id = message.id;
    packet.set_token(message.token.to_vec());
    for (number, value) in &message.options {
        packet.add_option(CoapOption::from(*number), value.clone());
    }
    packet.payload.clone_from(&message.payload);
    packet.to_bytes_unlimited().unwrap_or_default()
}
