//! Answers to a client, and the hub's farewell.

use weir_core::{Protocol, Qos};

use super::{
    Terms, Unwritable, fixed_header, packet_size,
    properties::{Sink, fits},
    variable, variable_size,
};
use crate::{
    codec::properties::id,
    codes::{self, Reason},
};

/// Which of the four confirmations of a PUBLISH; its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Confirmation {
    PubAck = 0x40,
    PubRec = 0x50,
    PubRel = 0x62,
    PubComp = 0x70,
}

/// A reason that is not success goes to clients of MQTT 5 alone, as does the text with it.
pub fn acknowledge(
    out: &mut Vec<u8>,
    terms: &Terms,
    confirmation: Confirmation,
    packet_id: u16,
    reason: Reason,
    text: Option<&str>,
) {
    let [high, low] = packet_id.to_be_bytes();
    if terms.protocol != Protocol::Mqtt5 || reason == Reason::Success {
        out.extend_from_slice(&[confirmation as u8, 2, high, low]);
        return;
    }
    // A client that takes no packet of five bytes has not got its CONNACK.
    with_reason_string(out, terms, confirmation as u8, &[high, low, reason as u8], &[], text, true);
}

/// One answer per filter, in their order [MQTT-3.8.4-5], [MQTT5-3.8.4-6].
pub fn suback(
    out: &mut Vec<u8>,
    terms: &Terms,
    packet_id: u16,
    granted: &[Result<Qos, Reason>],
    text: Option<&str>,
) -> Result<(), Unwritable> {
    if terms.protocol != Protocol::Mqtt5 {
        fixed_header(out, 0x90, 2 + granted.len());
        out.extend_from_slice(&packet_id.to_be_bytes());
        out.extend(granted.iter().map(|granted| codes::suback_before_5(*granted)));
        return Ok(());
    }
    let codes: Vec<u8> =
        granted.iter().map(|granted| granted.map_or_else(|reason| reason as u8, |qos| qos as u8)).collect();
    answer(out, terms, 0x90, packet_id, &codes, text)
}

/// One answer per filter, in their order [MQTT5-3.11.3-1]; before MQTT 5 none [MQTT-3.10.4-4].
pub fn unsuback(
    out: &mut Vec<u8>,
    terms: &Terms,
    packet_id: u16,
    reasons: &[Reason],
    text: Option<&str>,
) -> Result<(), Unwritable> {
    if terms.protocol != Protocol::Mqtt5 {
        let [high, low] = packet_id.to_be_bytes();
        out.extend_from_slice(&[0xb0, 2, high, low]);
        return Ok(());
    }
    let codes: Vec<u8> = reasons.iter().map(|reason| *reason as u8).collect();
    answer(out, terms, 0xb0, packet_id, &codes, text)
}

fn answer(
    out: &mut Vec<u8>,
    terms: &Terms,
    first: u8,
    packet_id: u16,
    codes: &[u8],
    text: Option<&str>,
) -> Result<(), Unwritable> {
    let size = packet_size(3 + codes.len());
    if !terms.takes(size) {
        return Err(Unwritable::TooLarge { size });
    }
    with_reason_string(out, terms, first, &packet_id.to_be_bytes(), codes, text, false);
    Ok(())
}

/// Says why the hub closes the connection; before MQTT 5 it can only close it [MQTT5-3.14.0-1].
pub fn disconnect(out: &mut Vec<u8>, terms: &Terms, reason: Reason, text: Option<&str>) {
    if terms.protocol == Protocol::Mqtt5 {
        with_reason_string(out, terms, 0xe0, &[reason as u8], &[], text, true);
    }
}

pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// A packet of `before`, properties, and `after`. Its only property is the reason string, which is left out where the
/// client has no use for it or the packet would be larger than the client takes [MQTT5-3.4.2-2]. If nothing comes
/// after them, properties that are none need no length (`may_omit`).
fn with_reason_string(
    out: &mut Vec<u8>,
    terms: &Terms,
    first: u8,
    before: &[u8],
    after: &[u8],
    text: Option<&str>,
    may_omit: bool,
) {
    let remaining = |properties: usize| before.len() + variable_size(properties) + properties + after.len();
    let text = text.filter(|text| {
        terms.problem_information && fits(text.as_bytes()) && terms.takes(packet_size(remaining(3 + text.len())))
    });
    match text {
        Some(text) => {
            fixed_header(out, first, remaining(3 + text.len()));
            out.extend_from_slice(before);
            variable(out, 3 + text.len());
            out.bytes(id::REASON_STRING, text.as_bytes());
        }
        None if may_omit => {
            fixed_header(out, first, before.len());
            out.extend_from_slice(before);
        }
        None => {
            fixed_header(out, first, remaining(0));
            out.extend_from_slice(before);
            out.push(0);
        }
    }
    out.extend_from_slice(after);
}
