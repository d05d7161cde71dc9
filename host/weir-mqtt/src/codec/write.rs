//! Packets that the hub sends, written straight into the buffer that goes to the socket.

use weir_core::Qos;

/// The largest remaining length that four bytes hold.
const MAX_REMAINING: usize = 268_435_455;

/// A message for a subscriber. Topic and payload lie where the log has them.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub retain: bool,
    pub dup: bool,
}

/// A message that no PUBLISH can carry: its topic or its size is beyond the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message does not fit into a PUBLISH packet")]
pub struct Unwritable;

pub fn publish(out: &mut Vec<u8>, message: &Outgoing<'_>) -> Result<(), Unwritable> {
    let topic_length = u16::try_from(message.topic.len()).map_err(|_| Unwritable)?;
    let confirmed = message.qos > Qos::AtMostOnce;
    let remaining = 2 + message.topic.len() + if confirmed { 2 } else { 0 } + message.payload.len();
    if remaining > MAX_REMAINING {
        return Err(Unwritable);
    }
    let flags = (u8::from(message.dup) << 3) | ((message.qos as u8) << 1) | u8::from(message.retain);
    out.reserve(5 + remaining);
    fixed_header(out, 0x30 | flags, remaining);
    out.extend_from_slice(&topic_length.to_be_bytes());
    out.extend_from_slice(message.topic.as_bytes());
    if confirmed {
        out.extend_from_slice(&message.packet_id.to_be_bytes());
    }
    out.extend_from_slice(message.payload);
    Ok(())
}

pub fn connack(out: &mut Vec<u8>, session_present: bool, code: u8) {
    out.extend_from_slice(&[0x20, 2, u8::from(session_present), code]);
}

/// A refusal that a client of MQTT 5 understands: flags, reason code, no properties.
pub fn connack_v5(out: &mut Vec<u8>, code: u8) {
    out.extend_from_slice(&[0x20, 3, 0, code, 0]);
}

pub fn puback(out: &mut Vec<u8>, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

/// One code per filter, in their order [MQTT-3.8.4-5].
pub fn suback(out: &mut Vec<u8>, packet_id: u16, codes: &[u8]) {
    fixed_header(out, 0x90, 2 + codes.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.extend_from_slice(codes);
}

pub fn unsuback(out: &mut Vec<u8>, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0xb0, 2, high, low]);
}

pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// The first byte and the remaining length, which must not exceed [`MAX_REMAINING`].
pub(super) fn fixed_header(out: &mut Vec<u8>, first: u8, mut remaining: usize) {
    out.push(first);
    loop {
        // The mask leaves seven bits.
        let byte = (remaining & 0x7f) as u8;
        remaining >>= 7;
        if remaining == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}
