//! MQTT 3.1 and 3.1.1 packets: bytes to packets and back.
//!
//! What is incoming passes the guards first: they check what rumqttd's decoder does not (each guard names its sentence
//! of the specification), so that the decoder sees only frames which it decodes without a panic. PUBLISH and PUBACK,
//! the two that come by the thousand, are read in place instead. Outgoing packets are written straight into a buffer.
//! [`requests`] alone names rumqttd, so that the decoder can be exchanged there.
//!
//! This module knows nothing of order: whether a packet is welcome now is the connection's to say.

pub mod connect;
mod fields;
pub mod frame;
pub mod publish;
pub mod requests;
pub mod write;

#[cfg(test)]
mod tests;

use weir_core::Protocol;

pub use connect::{Connect, Will};
pub use frame::{Frame, PacketType};
pub use publish::Publish;
pub use requests::{Subscribe, Unsubscribe};

use crate::ProtocolError;

/// A packet from a client.
#[derive(Debug)]
pub enum Packet<'a> {
    Connect(Box<Connect>),
    Publish(Publish<'a>),
    /// The packet identifier.
    PubAck(u16),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect,
}

/// Decodes a frame of a client that speaks `protocol`; a request may name at most `max_filters`.
pub fn decode(frame: Frame<'_>, protocol: Protocol, max_filters: usize) -> Result<Packet<'_>, ProtocolError> {
    frame.check_flags(protocol)?;
    match frame.kind {
        PacketType::Connect => Ok(Packet::Connect(Box::new(connect::decode(&frame)?))),
        PacketType::Publish => Ok(Packet::Publish(publish::decode(frame)?)),
        PacketType::PubAck => Ok(Packet::PubAck(publish::decode_puback(frame)?)),
        PacketType::Subscribe => Ok(Packet::Subscribe(requests::decode_subscribe(&frame, max_filters)?)),
        PacketType::Unsubscribe => Ok(Packet::Unsubscribe(requests::decode_unsubscribe(&frame, max_filters)?)),
        PacketType::PingReq => requests::decode_empty(&frame, "PINGREQ").map(|()| Packet::PingReq),
        PacketType::Disconnect => requests::decode_empty(&frame, "DISCONNECT").map(|()| Packet::Disconnect),
        PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => Err(ProtocolError::ExactlyOnce),
    }
}
