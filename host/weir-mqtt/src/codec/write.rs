//! Packets that the hub sends, written straight into the buffer that goes to the socket.

mod acks;
mod connack;
mod properties;
mod publish;

use weir_core::Protocol;

pub use acks::{Confirmation, acknowledge, disconnect, pingresp, suback, unsuback};
pub use connack::{ConnAck, connack, connack_before_5};
pub use properties::EncodedUserProperties;
pub use publish::{Outgoing, publish, publish_size};

/// The largest remaining length that four bytes hold.
const MAX_REMAINING: usize = 268_435_455;

/// What a client takes of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub protocol: Protocol,
    /// Bytes of a packet that the client takes [MQTT5-3.1.2-24].
    pub max_packet_size: u32,
    /// Whether reason strings are wanted [MQTT5-3.1.2-29].
    pub problem_information: bool,
}

impl Default for Terms {
    /// Those of a client of 3.1.1, which cannot ask for others.
    fn default() -> Self {
        Self { protocol: Protocol::Mqtt311, max_packet_size: u32::MAX, problem_information: true }
    }
}

impl Terms {
    /// Whether the client takes packets of `size` bytes.
    pub fn takes(&self, size: usize) -> bool {
        u32::try_from(size).is_ok_and(|size| size <= self.max_packet_size)
    }
}

/// Why a packet cannot be written. Nothing of it is in the buffer then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("a message does not fit into the format of the packet")]
    Format,
    #[error("a packet of {size} bytes is larger than the client takes")]
    TooLarge { size: usize },
}

/// Bytes of a packet with this remaining length, fixed header included.
fn packet_size(remaining: usize) -> usize {
    1 + variable_size(remaining) + remaining
}

/// Bytes of a variable byte integer.
fn variable_size(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The first byte and the remaining length, which must not exceed [`MAX_REMAINING`].
pub(super) fn fixed_header(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.push(first);
    variable(out, remaining);
}

fn variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        // The mask leaves seven bits.
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}
