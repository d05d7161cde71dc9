//! The fixed header: where a packet ends and what it may be (MQTT 3.1.1 §2.2, MQTT 5 §2.1).

use weir_core::Protocol;

use crate::ProtocolError;

/// The packets that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    Unsubscribe = 10,
    PingReq = 12,
    Disconnect = 14,
    /// MQTT 5 only.
    Auth = 15,
}

impl PacketType {
    /// AUTH came with MQTT 5; its type was reserved.
    fn check(self, protocol: Protocol) -> Result<(), ProtocolError> {
        if self == Self::Auth && protocol != Protocol::Mqtt5 {
            return Err(ProtocolError::PacketType(self as u8));
        }
        Ok(())
    }
}

/// A whole packet, its fixed header taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub kind: PacketType,
    /// The lower half of the first byte.
    pub flags: u8,
    /// Variable header and payload.
    pub body: &'a [u8],
    /// All of it, with the fixed header.
    pub bytes: &'a [u8],
}

/// The type of the first packet in `bytes` of a client that speaks `protocol`, known from its first byte. Types that
/// only a server sends, and those that are reserved, are refused by direction.
pub fn first_type(bytes: &[u8], protocol: Protocol) -> Result<Option<PacketType>, ProtocolError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let kind = packet_type(first >> 4)?;
    kind.check(protocol)?;
    Ok(Some(kind))
}

/// The first packet in `bytes`, or `None` while it is incomplete. `limit` bounds the remaining length and is checked
/// before the packet is there, as is its type, so that nobody can make the hub gather what it will refuse.
pub fn split(bytes: &[u8], limit: usize) -> Result<Option<Frame<'_>>, ProtocolError> {
    let Some((first, mut rest)) = bytes.split_first() else { return Ok(None) };
    let kind = packet_type(first >> 4)?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let Some((byte, after)) = rest.split_first() else { return Ok(None) };
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if length > limit {
                return Err(ProtocolError::TooLarge { size: length, limit });
            }
            let header = bytes.len() - rest.len();
            return Ok(bytes.get(..header + length).zip(rest.get(..length)).map(|(bytes, body)| Frame {
                kind,
                flags: first & 0x0f,
                body,
                bytes,
            }));
        }
    }
    Err(ProtocolError::RemainingLength)
}

fn packet_type(nibble: u8) -> Result<PacketType, ProtocolError> {
    Ok(match nibble {
        1 => PacketType::Connect,
        3 => PacketType::Publish,
        4 => PacketType::PubAck,
        5 => PacketType::PubRec,
        6 => PacketType::PubRel,
        7 => PacketType::PubComp,
        8 => PacketType::Subscribe,
        10 => PacketType::Unsubscribe,
        12 => PacketType::PingReq,
        14 => PacketType::Disconnect,
        15 => PacketType::Auth,
        other => return Err(ProtocolError::PacketType(other)),
    })
}

impl Frame<'_> {
    /// Checks the fixed header of a packet in `protocol`.
    pub(super) fn check(&self, protocol: Protocol) -> Result<(), ProtocolError> {
        self.kind.check(protocol)?;
        if protocol == Protocol::Mqtt5 {
            self.check_length()?;
        }
        self.check_flags(protocol)
    }

    /// [MQTT5-1.5.5-1]: the remaining length takes as few bytes as it can. Before MQTT 5 nothing says so.
    pub(super) fn check_length(&self) -> Result<(), ProtocolError> {
        let last = (self.bytes.len() - self.body.len()).checked_sub(1).and_then(|last| self.bytes.get(last));
        let padded = last == Some(&0) && self.bytes.len() - self.body.len() > 2;
        if padded { Err(ProtocolError::RemainingLength) } else { Ok(()) }
    }

    /// [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]
    fn check_flags(&self, protocol: Protocol) -> Result<(), ProtocolError> {
        let expected = match self.kind {
            PacketType::Publish => return Ok(()),
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        // MQTT 3.1 sends these three at QoS 1, so they may be repeated with DUP (3.1 §3.6, §3.8, §3.10).
        let repeated = protocol == Protocol::Mqtt31 && expected != 0 && self.flags == 0b1010;
        if self.flags == expected || repeated {
            Ok(())
        } else {
            Err(ProtocolError::Flags { kind: self.kind as u8, flags: self.flags })
        }
    }
}
