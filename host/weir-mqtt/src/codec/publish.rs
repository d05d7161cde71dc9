//! PUBLISH and PUBACK, read in place: topic and payload stay in the bytes they came in.

use weir_core::{Qos, Topic};

use super::{Frame, fields::Fields};
use crate::ProtocolError;

/// A message as it lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Passed `Topic::check`.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    /// Never 0; present from QoS 1.
    pub packet_id: Option<u16>,
    pub retain: bool,
    pub dup: bool,
}

pub(super) fn decode(frame: Frame<'_>) -> Result<Publish<'_>, ProtocolError> {
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
    Topic::check(topic).map_err(ProtocolError::Topic)?;
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(fields.packet_id()?) };
    Ok(Publish { topic, payload: fields.rest(), qos, packet_id, retain: frame.flags & 1 != 0, dup })
}

pub(super) fn decode_puback(frame: Frame<'_>) -> Result<u16, ProtocolError> {
    let mut fields = Fields::new("PUBACK", frame.body);
    let packet_id = fields.packet_id()?;
    fields.end()?;
    Ok(packet_id)
}
