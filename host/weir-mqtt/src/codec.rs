//! MQTT 3.1, 3.1.1 and 5.0 packets: bytes to packets and back.
//!
//! What is incoming passes the guards first: they check what rumqttd's decoder does not (each guard names its sentence
//! of the specification), so that the decoder sees only frames which it decodes without a panic and to what they say.
//! CONNECT, SUBSCRIBE and UNSUBSCRIBE then go to it, by way of `decoder`, which alone names it. What comes by the
//! thousand, and what it misreads, is read in place instead. Outgoing packets are written straight into a buffer.
//!
//! Statements of the specification are cited as [MQTT-x.y.z-n] from 3.1.1, and as [MQTT5-x.y.z-n] from 5.0, whose
//! numbers differ.
//!
//! This module knows nothing of order: whether a packet is welcome now is the connection's to say. The fuzz
//! target `codec` needs [`frame::split`] and [`decode`].

mod acks;
pub mod connect;
mod decoder;
mod disconnect;
mod fields;
pub mod frame;
mod properties;
pub mod publish;
pub mod subscribe;
mod user_properties;
pub mod write;

#[cfg(test)]
mod tests;

use weir_core::Protocol;

pub use acks::Acknowledgement;
pub use connect::{Authentication, Connect, ConnectProperties, Will};
pub use disconnect::{Auth, Disconnect};
pub use frame::{Frame, PacketType};
pub use publish::{Publish, PublishProperties};
pub use subscribe::{Subscribe, Unsubscribe};
pub use user_properties::UserProperties;

use crate::ProtocolError;

/// A packet from a client.
#[derive(Debug)]
pub enum Packet<'a> {
    Connect(Box<Connect>),
    Publish(Publish<'a>),
    PubAck(Acknowledgement),
    PubRec(Acknowledgement),
    PubRel(Acknowledgement),
    PubComp(Acknowledgement),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect(Disconnect),
    /// MQTT 5 only.
    Auth(Auth),
}

/// Decodes a frame of a client that speaks `protocol`; a request may name at most `max_filters`. CONNECT says itself
/// what its client speaks, so before it `protocol` does not matter.
pub fn decode(frame: Frame<'_>, protocol: Protocol, max_filters: usize) -> Result<Packet<'_>, ProtocolError> {
    frame.check(protocol)?;
    Ok(match frame.kind {
        PacketType::Connect => Packet::Connect(Box::new(connect::decode(&frame)?)),
        PacketType::Publish => Packet::Publish(publish::decode(frame, protocol)?),
        PacketType::PubAck => Packet::PubAck(acks::decode(&frame, protocol, acks::PUBACK)?),
        PacketType::PubRec => Packet::PubRec(acks::decode(&frame, protocol, acks::PUBREC)?),
        PacketType::PubRel => Packet::PubRel(acks::decode(&frame, protocol, acks::PUBREL)?),
        PacketType::PubComp => Packet::PubComp(acks::decode(&frame, protocol, acks::PUBCOMP)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode_subscribe(&frame, protocol, max_filters)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(subscribe::decode_unsubscribe(&frame, protocol, max_filters)?),
        PacketType::PingReq => disconnect::decode_pingreq(&frame).map(|()| Packet::PingReq)?,
        PacketType::Disconnect => Packet::Disconnect(disconnect::decode(&frame, protocol)?),
        PacketType::Auth => Packet::Auth(disconnect::decode_auth(&frame)?),
    })
}
