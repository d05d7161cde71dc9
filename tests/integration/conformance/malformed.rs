//! Packets that break the format or the protocol: the connection ends, and nothing of them takes effect.

use super::peer::{Peer, both};
use crate::harness::{
    SOON,
    wire::{Ack, Packet, Property, Publish, Received, Subscribe, Unsubscribe, Version, encode, frame},
};

/// The server ends the connection; before MQTT 5 without a word, there with one of these reasons if with any.
pub(crate) fn refused(peer: &Peer, packet: &Packet, reasons: &[u8]) {
    refused_bytes(peer, &encode(packet, peer.version), reasons);
}

pub(crate) fn refused_bytes(peer: &Peer, bytes: &[u8], reasons: &[u8]) {
    let mut client = peer.client("refused");
    let _shows_in_what_comes = client.wire.send_bytes(bytes);
    match client.wire.receive(SOON) {
        Received::Closed => {}
        Received::Packet(Packet::Disconnect(reason)) if peer.version == Version::V5 => {
            assert!(reasons.contains(&reason.code), "{:?}: {bytes:02x?} was answered by {reason:?}", peer.version);
            assert_eq!(client.wire.receive(SOON), Received::Closed);
        }
        other => panic!("{:?}: {bytes:02x?} was answered by {other:?}", peer.version),
    }
}

/// What a packet of MQTT 5 has where it has no properties.
fn no_properties(peer: &Peer) -> &'static [u8] {
    if peer.version == Version::V5 { &[0] } else { &[] }
}

const MALFORMED: &[u8] = &[0x81, 0x82];

// [MQTT-2.2.2-2], [MQTT-4.8.0-1], [MQTT5-2.1.3-1], [MQTT5-4.13.1-1], [MQTT5-4.13.2-1]
#[test]
fn reserved_flags_end_the_connection() {
    both(|peer| {
        let filter = [&[0, 1][..], no_properties(peer), b"\0\x01a"].concat();
        let check = |first: u8, body: &[u8]| refused_bytes(peer, &frame(first, body), MALFORMED);
        for flags in [0, 1, 3, 0xf] {
            check(0x60 | flags, &[0, 1]); // [MQTT-3.6.1-1], [MQTT5-3.6.1-1]
            check(0x80 | flags, &[&filter[..], &[0]].concat()); // [MQTT-3.8.1-1], [MQTT5-3.8.1-1]
            check(0xa0 | flags, &filter); // [MQTT-3.10.1-1], [MQTT5-3.10.1-1]
        }
        for flags in [1, 2, 4, 8] {
            check(0x40 | flags, &[0, 1]);
            check(0x50 | flags, &[0, 1]);
            check(0x70 | flags, &[0, 1]);
            check(0xc0 | flags, &[]);
            check(0xe0 | flags, &[]); // [MQTT-3.14.1-1], [MQTT5-3.14.1-1]
        }
    });
    for flags in [1, 2, 4, 8] {
        refused_bytes(&Peer::v5(), &frame(0xf0 | flags, &[]), MALFORMED); // [MQTT5-3.15.1-1]
    }
}

// Types that only servers send, and those that do not exist [MQTT-4.8.0-1], [MQTT5-4.13.1-1]
#[test]
fn a_packet_that_no_client_sends_ends_the_connection() {
    both(|peer| {
        let check = |bytes: &[u8]| refused_bytes(peer, bytes, MALFORMED);
        check(&[0, 0]);
        check(&frame(0x20, &[&[0, 0][..], no_properties(peer)].concat()));
        check(&frame(0x90, &[&[0, 1][..], no_properties(peer), &[0]].concat()));
        check(&frame(0xb0, &[0, 1]));
        check(&[0xd0, 0]);
    });
    refused_bytes(&Peer::v311(), &[0xf0, 0], MALFORMED);
}

// [MQTT-3.3.1-4], [MQTT5-3.3.1-4], [MQTT-3.3.1-2], [MQTT5-3.3.1-2], [MQTT-2.3.1-1], [MQTT5-2.2.1-3], [MQTT-3.3.2-1],
// [MQTT5-3.3.2-1]
#[test]
fn a_malformed_publish_ends_the_connection() {
    both(|peer| {
        let properties = no_properties(peer);
        let check = |first: u8, body: &[u8]| refused_bytes(peer, &frame(first, body), MALFORMED);
        check(0x36, &[&b"\0\x01a\0\x01"[..], properties].concat());
        check(0x3e, &[&b"\0\x01a\0\x01"[..], properties].concat());
        check(0x38, &[&b"\0\x01a"[..], properties].concat());
        check(0x32, &[&b"\0\x01a\0\0"[..], properties].concat());
        check(0x34, &[&b"\0\x01a\0\0"[..], properties].concat());
        check(0x30, b"");
        check(0x30, b"\0");
        check(0x30, b"\0\x05a");
        check(0x32, b"\0\x01a\0");
    });
}

// [MQTT-2.3.1-1], [MQTT5-2.2.1-3], [MQTT-3.8.3-3], [MQTT5-3.8.3-2], [MQTT-3.10.3-2], [MQTT5-3.10.3-2], [MQTT-3.8.3-4],
// [MQTT5-3.8.3-5]
#[test]
fn a_malformed_request_ends_the_connection() {
    both(|peer| {
        let subscribe =
            |id, filters: &[(&str, u8)]| refused(peer, &Packet::Subscribe(Subscribe::new(id, filters)), MALFORMED);
        let unsubscribe =
            |id, filters: &[&str]| refused(peer, &Packet::Unsubscribe(Unsubscribe::new(id, filters)), MALFORMED);
        subscribe(0, &[("a", 0)]);
        unsubscribe(0, &["a"]);
        subscribe(1, &[]);
        unsubscribe(1, &[]);
        let reserved: &[u8] =
            if peer.version == Version::V5 { &[3, 0x30, 0x40, 0x80, 0xff] } else { &[3, 4, 8, 0x10, 0x80] };
        for options in reserved {
            subscribe(1, &[("a", *options)]);
            subscribe(1, &[("a", 1), ("b", *options)]);
        }
        for first in [0x82, 0xa2] {
            let after_the_id = [&[0, 1][..], no_properties(peer)].concat();
            for rest in [&b"\0"[..], b"\0\x05a", b"\0\x01a\0\0"] {
                refused_bytes(peer, &frame(first, &[&after_the_id[..], rest].concat()), MALFORMED);
            }
        }
        // A filter without options.
        refused_bytes(peer, &frame(0x82, &[&[0, 1][..], no_properties(peer), b"\0\x01a"].concat()), MALFORMED);
    });
}

// Surrogates, overlong forms, cut-off letters, null: [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT5-1.5.4-1], [MQTT5-1.5.4-2],
// [MQTT-3.3.2-1], [MQTT5-3.3.2-1], [MQTT-3.8.3-1], [MQTT5-3.8.3-1], [MQTT-3.10.3-1], [MQTT5-3.10.3-1]
#[test]
fn text_that_is_not_utf_8_ends_the_connection() {
    both(|peer| {
        let properties = no_properties(peer);
        for text in
            [&b"\xed\xa0\x80"[..], b"\xed\xbf\xbf", b"\xc0\x80", b"\xff", b"a\xc3", b"\xf4\x90\x80\x80", b"a\0b"]
        {
            let text = [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat();
            let check = |first: u8, body: &[&[u8]]| {
                refused_bytes(peer, &frame(first, &body.concat()), &[0x81, 0x82, 0x8f, 0x90]);
            };
            check(0x30, &[&text, properties]);
            check(0x82, &[&[0, 1], properties, &text, &[0]]);
            check(0xa2, &[&[0, 1], properties, &text]);
        }
    });
}

// [MQTT-2.3.1-1], [MQTT5-2.2.1-3]; and acknowledgements that are too short or too long.
#[test]
fn a_malformed_acknowledgement_ends_the_connection() {
    both(|peer| {
        for first in [0x40, 0x50, 0x62, 0x70] {
            refused_bytes(peer, &frame(first, &[0, 0]), MALFORMED);
            refused_bytes(peer, &frame(first, &[0]), MALFORMED);
            refused_bytes(peer, &frame(first, &[]), MALFORMED);
            let rest: &[u8] = if peer.version == Version::V5 { &[0, 1, 0, 0, 0] } else { &[0, 1, 0] };
            refused_bytes(peer, &frame(first, rest), MALFORMED);
        }
    });
}

// A length of five bytes is no length [MQTT-4.8.0-1], and in MQTT 5 one in more bytes than needed neither [MQTT5-1.5.5-1].
#[test]
fn a_malformed_length_ends_the_connection() {
    both(|peer| {
        refused_bytes(peer, &[0xc0, 0x80, 0x80, 0x80, 0x80, 0x01], MALFORMED);
        refused_bytes(peer, &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f], MALFORMED);
    });
    let peer = Peer::v5();
    refused_bytes(&peer, &[0xc0, 0x80, 0x00], MALFORMED);
    // The length of properties, and a subscription identifier.
    refused_bytes(&peer, &frame(0x30, b"\0\x01a\x80\0x"), MALFORMED);
    refused_bytes(&peer, &frame(0x82, b"\0\x01\x03\x0b\x81\0\0\x01a\0"), MALFORMED);
}

// Unknown, twice, of another packet, longer than their space, or with a value that is none: [MQTT5-4.13.1-1]. Both halves of
// a user property are text: [MQTT5-1.5.7-1]; so are the response topic [MQTT5-3.3.2-13] and the content type
// [MQTT5-3.3.2-19].
#[test]
fn malformed_properties_end_the_connection() {
    let peer = Peer::v5();
    let check = |properties: &[u8]| {
        let length = u8::try_from(properties.len()).unwrap();
        refused_bytes(&peer, &frame(0x30, &[&b"\0\x01a"[..], &[length], properties, b"x"].concat()), MALFORMED);
    };
    check(&[0x7f, 0]);
    check(&[1, 0, 1, 0]);
    check(&[1, 2]);
    check(&[0x11, 0, 0, 0, 1]);
    check(&[0x21, 0, 1]);
    check(&[2, 0, 0]);
    check(b"\x08\0\x02\xc3\x28");
    check(b"\x03\0\x02\xc3\x28");
    check(b"\x26\0\x01a\0\x02\xc3\x28");
    check(b"\x26\0\x02\xc3\x28\0\x01a");
    check(b"\x26\0\x01a\0\x01\0");
    check(b"\x03\0\x05a");
    refused_bytes(&peer, &frame(0x30, b"\0\x01a\x05\x01"), MALFORMED);
}

// [MQTT5-3.3.2-14], [MQTT5-3.3.4-6]
#[test]
fn properties_that_a_client_must_not_send_end_the_connection() {
    let peer = Peer::v5();
    let check = |property: Property, reasons: &[u8]| {
        let publish = Publish { properties: vec![property], ..Publish::new(&peer.topic("a"), 0, "x") };
        refused(&peer, &Packet::Publish(publish), reasons);
    };
    check(Property::ResponseTopic("a/+".to_owned()), &[0x81, 0x82, 0x90]);
    check(Property::ResponseTopic("#".to_owned()), &[0x81, 0x82, 0x90]);
    check(Property::SubscriptionIdentifier(1), MALFORMED);
    check(Property::TopicAlias(0), &[0x81, 0x82, 0x94]);
}

// [MQTT5-3.2.2-15]: a packet above the maximum that the hub told is refused before it has been read.
#[test]
fn a_packet_above_the_maximum_ends_the_connection() {
    let peer = Peer::v5();
    let maximum = peer.client("a").granted(|property| match property {
        Property::MaximumPacketSize(bytes) => Some(*bytes),
        _ => None,
    });
    let Some(maximum) = maximum.filter(|maximum| *maximum < 268_435_455) else { return };
    let mut length = maximum;
    let mut bytes = vec![0x30];
    while length > 0 {
        bytes.push((length & 0x7f) as u8 | if length > 0x7f { 0x80 } else { 0 });
        length >>= 7;
    }
    refused_bytes(&peer, &[&bytes[..], b"\0\x01a\0"].concat(), &[0x95]);
}

// MQTT 5 has reasons in acknowledgements, of which these do not exist: [MQTT5-3.4.2-1], [MQTT5-3.5.2-1], [MQTT5-3.6.2-1],
// [MQTT5-3.7.2-1], [MQTT5-3.14.2-1]
#[test]
fn a_reason_that_does_not_exist_ends_the_connection() {
    let peer = Peer::v5();
    for acknowledgement in [Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp] {
        refused(&peer, &acknowledgement(Ack::with_reason(1, 0x42)), MALFORMED);
    }
    refused_bytes(&peer, &frame(0xe0, &[0x42]), MALFORMED);
}
