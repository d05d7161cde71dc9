//! Packets to bytes. Checks nothing: a test may write what it likes.

use super::{Ack, Acks, Connect, Packet, Publish, Reason, Version, property::put_properties};

/// The bytes of a packet.
pub(crate) fn encode(packet: &Packet, version: Version) -> Vec<u8> {
    let is_5 = version == Version::V5;
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(connect) => {
            put_connect(connect, version, &mut body);
            0x10
        }
        Packet::ConnAck(ack) => {
            body.extend([u8::from(ack.session_present), ack.code]);
            if is_5 {
                put_properties(&ack.properties, &mut body);
            }
            0x20
        }
        Packet::Publish(publish) => {
            put_text(&publish.topic, &mut body);
            if publish.qos != 0 {
                body.extend(publish.packet_id.to_be_bytes());
            }
            if is_5 {
                put_properties(&publish.properties, &mut body);
            }
            body.extend(&publish.payload);
            publish_header(publish)
        }
        Packet::PubAck(ack) => put_ack(0x40, ack, is_5, &mut body),
        Packet::PubRec(ack) => put_ack(0x50, ack, is_5, &mut body),
        Packet::PubRel(ack) => put_ack(0x62, ack, is_5, &mut body),
        Packet::PubComp(ack) => put_ack(0x70, ack, is_5, &mut body),
        Packet::Subscribe(subscribe) => {
            body.extend(subscribe.packet_id.to_be_bytes());
            if is_5 {
                put_properties(&subscribe.properties, &mut body);
            }
            for (filter, options) in &subscribe.filters {
                put_text(filter, &mut body);
                body.push(*options);
            }
            0x82
        }
        Packet::SubAck(acks) => put_acks(0x90, acks, is_5, &mut body),
        Packet::Unsubscribe(unsubscribe) => {
            body.extend(unsubscribe.packet_id.to_be_bytes());
            if is_5 {
                put_properties(&unsubscribe.properties, &mut body);
            }
            for filter in &unsubscribe.filters {
                put_text(filter, &mut body);
            }
            0xA2
        }
        Packet::UnsubAck(acks) => put_acks(0xB0, acks, is_5, &mut body),
        Packet::PingReq => 0xC0,
        Packet::PingResp => 0xD0,
        Packet::Disconnect(reason) => put_reason(0xE0, reason, is_5, &mut body),
        Packet::Auth(reason) => put_reason(0xF0, reason, is_5, &mut body),
    };
    frame(first, &body)
}

/// A frame with this first byte and a right length around whatever `body` is.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_varint(u32::try_from(body.len()).unwrap(), &mut bytes);
    bytes.extend(body);
    bytes
}

fn publish_header(publish: &Publish) -> u8 {
    0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain)
}

fn put_connect(connect: &Connect, version: Version, to: &mut Vec<u8>) {
    put_text(if version == Version::V31 { "MQIsdp" } else { "MQTT" }, to);
    to.push(version as u8);
    let mut flags = u8::from(connect.clean) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6 | u8::from(connect.username.is_some()) << 7;
    to.push(flags);
    to.extend(connect.keep_alive.to_be_bytes());
    if version == Version::V5 {
        put_properties(&connect.properties, to);
    }
    put_text(&connect.client_id, to);
    if let Some(will) = &connect.will {
        if version == Version::V5 {
            put_properties(&will.properties, to);
        }
        put_text(&will.topic, to);
        put_bytes(&will.payload, to);
    }
    if let Some(username) = &connect.username {
        put_text(username, to);
    }
    if let Some(password) = &connect.password {
        put_bytes(password, to);
    }
}

/// The short forms of MQTT 5 are used where they are allowed.
fn put_ack(first: u8, ack: &Ack, is_5: bool, to: &mut Vec<u8>) -> u8 {
    to.extend(ack.packet_id.to_be_bytes());
    if is_5 && (ack.reason != 0 || !ack.properties.is_empty()) {
        to.push(ack.reason);
        if !ack.properties.is_empty() {
            put_properties(&ack.properties, to);
        }
    }
    first
}

fn put_acks(first: u8, acks: &Acks, is_5: bool, to: &mut Vec<u8>) -> u8 {
    to.extend(acks.packet_id.to_be_bytes());
    if is_5 {
        put_properties(&acks.properties, to);
    }
    to.extend(&acks.codes);
    first
}

fn put_reason(first: u8, reason: &Reason, is_5: bool, to: &mut Vec<u8>) -> u8 {
    if is_5 && (reason.code != 0 || !reason.properties.is_empty()) {
        to.push(reason.code);
        if !reason.properties.is_empty() {
            put_properties(&reason.properties, to);
        }
    }
    first
}

pub(super) fn put_text(text: &str, to: &mut Vec<u8>) {
    put_bytes(text.as_bytes(), to);
}

pub(super) fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    to.extend(bytes);
}

pub(super) fn put_varint(mut number: u32, to: &mut Vec<u8>) {
    loop {
        let low = (number & 0x7F) as u8;
        number >>= 7;
        to.push(low | if number > 0 { 0x80 } else { 0 });
        if number == 0 {
            return;
        }
    }
}
