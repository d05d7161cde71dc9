//! PUBACK, PUBREC, PUBREL and PUBCOMP: a packet identifier and, in MQTT 5, whether all went well.

use weir_core::Protocol;

use super::{
    Frame,
    fields::Fields,
    properties::{Allowed, Properties, id},
};
use crate::{ProtocolError, codes::Reason};

/// What a client says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Never 0.
    pub packet_id: u16,
    /// `Success` before MQTT 5. A PUBACK or PUBREC may carry a failure, which ends the message's delivery; a PUBREL or
    /// PUBCOMP at most `PacketIdNotFound`.
    pub reason: Reason,
}

/// The name of one of the four, and the reason codes that it may carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    name: &'static str,
    reasons: &'static [Reason],
}

/// [MQTT5-3.4.2-1], [MQTT5-3.5.2-1]
const OF_PUBLISH: &[Reason] = &[
    Reason::Success,
    Reason::NoMatchingSubscribers,
    Reason::Unspecified,
    Reason::Implementation,
    Reason::NotAuthorized,
    Reason::TopicNameInvalid,
    Reason::PacketIdInUse,
    Reason::QuotaExceeded,
    Reason::PayloadFormatInvalid,
];
/// [MQTT5-3.6.2-1], [MQTT5-3.7.2-1]
const OF_RELEASE: &[Reason] = &[Reason::Success, Reason::PacketIdNotFound];

pub(super) const PUBACK: Kind = Kind { name: "PUBACK", reasons: OF_PUBLISH };
pub(super) const PUBREC: Kind = Kind { name: "PUBREC", reasons: OF_PUBLISH };
pub(super) const PUBREL: Kind = Kind { name: "PUBREL", reasons: OF_RELEASE };
pub(super) const PUBCOMP: Kind = Kind { name: "PUBCOMP", reasons: OF_RELEASE };

pub(super) fn decode(frame: &Frame<'_>, protocol: Protocol, kind: Kind) -> Result<Acknowledgement, ProtocolError> {
    let mut fields = Fields::new(kind.name, frame.body);
    let packet_id = fields.packet_id()?;
    let reason = if protocol == Protocol::Mqtt5 { fields.reason(kind.reasons)? } else { Reason::Success };
    // §3.4.2.2.1: without them even their length may be left out.
    if protocol == Protocol::Mqtt5 && !fields.is_empty() {
        let allowed = Allowed { packet: kind.name, bits: 1 << id::REASON_STRING | 1 << id::USER };
        Properties::take(&mut fields, allowed)?.check()?;
    }
    fields.end()?;
    Ok(Acknowledgement { packet_id, reason })
}
