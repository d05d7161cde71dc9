//! SUBSCRIBE, UNSUBSCRIBE and the packets without fields: guarded here, decoded by rumqttd.
//!
//! The only module that names rumqttd's codec.

use bytes::BytesMut;
use rumqttd::protocol::{self, Protocol as _, v4::V4};
use weir_core::{Qos, TopicFilter};

use super::{Frame, fields::Fields};
use crate::ProtocolError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: u16,
    /// At least one, with the quality of service asked for.
    pub filters: Vec<(TopicFilter, Qos)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: u16,
    /// At least one.
    pub filters: Vec<TopicFilter>,
}

pub(super) fn decode_subscribe(frame: &Frame<'_>, max_filters: usize) -> Result<Subscribe, ProtocolError> {
    check_filters(Fields::new("SUBSCRIBE", frame.body), max_filters, |fields| {
        // [MQTT-3.8.3-4]: the upper six bits are reserved.
        if fields.byte()? > 2 { Err(ProtocolError::Qos) } else { Ok(()) }
    })?;
    let protocol::Packet::Subscribe(packet, None) = read("SUBSCRIBE", frame.bytes)? else {
        return Err(ProtocolError::Malformed("SUBSCRIBE"));
    };
    let filters: Result<_, _> =
        packet.filters.into_iter().map(|filter| Ok((parse(&filter.path)?, qos(filter.qos)))).collect();
    Ok(Subscribe { packet_id: packet.pkid, filters: filters? })
}

pub(super) fn decode_unsubscribe(frame: &Frame<'_>, max_filters: usize) -> Result<Unsubscribe, ProtocolError> {
    check_filters(Fields::new("UNSUBSCRIBE", frame.body), max_filters, |_| Ok(()))?;
    let protocol::Packet::Unsubscribe(packet, None) = read("UNSUBSCRIBE", frame.bytes)? else {
        return Err(ProtocolError::Malformed("UNSUBSCRIBE"));
    };
    let filters: Result<_, _> = packet.filters.iter().map(|filter| parse(filter)).collect();
    Ok(Unsubscribe { packet_id: packet.pkid, filters: filters? })
}

/// Walks the filters without keeping any, so that a packet of a hundred thousand of them costs nothing.
fn check_filters(
    mut fields: Fields<'_>,
    limit: usize,
    options: impl Fn(&mut Fields<'_>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    fields.packet_id()?;
    // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
    if fields.is_empty() {
        return Err(ProtocolError::NoFilters);
    }
    let mut count = 0;
    while !fields.is_empty() {
        fields.text()?;
        options(&mut fields)?;
        count += 1;
        if count > limit {
            return Err(ProtocolError::TooManyFilters { limit });
        }
    }
    Ok(())
}

/// PINGREQ and DISCONNECT have nothing after the fixed header.
pub(super) fn decode_empty(frame: &Frame<'_>, packet: &'static str) -> Result<(), ProtocolError> {
    if !frame.body.is_empty() {
        return Err(ProtocolError::Malformed(packet));
    }
    match read(packet, frame.bytes)? {
        protocol::Packet::PingReq(_) | protocol::Packet::Disconnect(_, None) => Ok(()),
        _ => Err(ProtocolError::Malformed(packet)),
    }
}

/// What rumqttd makes of a CONNECT of level 4 without user name and password.
pub(super) fn read_connect(frame: &[u8]) -> Result<(protocol::Connect, Option<protocol::LastWill>), ProtocolError> {
    match read("CONNECT", frame)? {
        protocol::Packet::Connect(connect, None, will, None, None) => Ok((connect, will)),
        _ => Err(ProtocolError::Malformed("CONNECT")),
    }
}

pub(super) fn qos(qos: protocol::QoS) -> Qos {
    match qos {
        protocol::QoS::AtMostOnce => Qos::AtMostOnce,
        protocol::QoS::AtLeastOnce => Qos::AtLeastOnce,
        protocol::QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// Decodes one whole frame that has passed the guards. What they let through the decoder understands, so its reasons
/// are not told apart.
fn read(packet: &'static str, frame: &[u8]) -> Result<protocol::Packet, ProtocolError> {
    V4.read_mut(&mut BytesMut::from(frame), frame.len()).map_err(|_| ProtocolError::Malformed(packet))
}

/// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1]
fn parse(filter: &str) -> Result<TopicFilter, ProtocolError> {
    filter.parse().map_err(ProtocolError::Filter)
}
