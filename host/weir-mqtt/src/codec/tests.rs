use super::*;
use crate::{ProtocolError as E, codes::Reason};
use weir_core::{Qos, RetainHandling, Subscription, topic::TopicError};

mod guards_of_5;
mod properties;
mod requests_of_5;
mod written;

const LIMIT: usize = 1_000;
const FILTERS: usize = 4;

fn decode_as(protocol: Protocol, bytes: &[u8]) -> Result<Packet<'_>, E> {
    let frame = frame::split(bytes, LIMIT)?.expect("a whole frame");
    assert_eq!(frame.bytes.len(), bytes.len(), "{bytes:02x?}");
    decode(frame, protocol, FILTERS)
}

fn refused(bytes: &[u8], expected: E) {
    refused_by(Protocol::Mqtt311, bytes, expected);
}

fn refused_by(protocol: Protocol, bytes: &[u8], expected: E) {
    let error = decode_as(protocol, bytes).expect_err("refused");
    assert_eq!(error, expected, "{bytes:02x?}");
}

/// Puts a fixed header before `body`.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::fixed_header(&mut bytes, first, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// CONNECT with this name, level and flags; `rest` follows the keep-alive of 60 s.
fn connect(name: &[u8], level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    packet(0x10, &[&length, name, &[level, flags, 0, 60], rest].concat())
}

fn connected(bytes: &[u8]) -> Connect {
    match decode_as(Protocol::Mqtt311, bytes).unwrap() {
        Packet::Connect(connect) => *connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_that_only_a_server_sends_are_refused() {
    // Crash input 5: these reached an `unreachable!` of the decoder before anybody was asked who he is.
    for (bytes, nibble) in [
        (&[0x20, 3, 0, 0, 0][..], 2),
        (&[0x90, 3, 0, 1, 0], 9),
        (&[0xb0, 3, 0, 1, 0], 11),
        (&[0xd0, 0], 13),
        (&[0x00, 0], 0),
    ] {
        assert_eq!(frame::split(bytes, LIMIT).unwrap_err(), E::PacketType(nibble));
        // The first byte alone is enough.
        assert_eq!(frame::split(&bytes[..1], LIMIT).unwrap_err(), E::PacketType(nibble));
    }
    // AUTH is of MQTT 5. Of others it is refused before the rest of it is there.
    refused(&[0xf0, 0], E::PacketType(15));
    for protocol in [Protocol::Mqtt31, Protocol::Mqtt311] {
        assert_eq!(frame::first_type(&[0xf0], protocol), Err(E::PacketType(15)));
    }
    assert_eq!(frame::first_type(&[0xf0], Protocol::Mqtt5), Ok(Some(PacketType::Auth)));
}

#[test]
fn fixed_header_flags_are_what_the_specification_fixes() {
    let flags = |kind, flags| E::Flags { kind, flags };
    refused(&[0xc1, 0], flags(12, 1)); // [MQTT-2.2.2-2]
    refused(&[0xe2, 0], flags(14, 2)); // [MQTT-3.14.1-1]
    refused(&[0x80, 6, 0, 1, 0, 1, b'a', 0], flags(8, 0)); // [MQTT-3.8.1-1]
    refused(&[0xa0, 5, 0, 1, 0, 1, b'a'], flags(10, 0)); // [MQTT-3.10.1-1]
    refused(&[0x41, 2, 0, 1], flags(4, 1));
    refused(&[0x60, 2, 0, 1], flags(6, 0)); // [MQTT-3.6.1-1]
    refused(&[0x8a, 6, 0, 1, 0, 1, b'a', 0], flags(8, 10));
    // MQTT 3.1 may repeat these with DUP.
    for bytes in [&[0x8a, 6, 0, 1, 0, 1, b'a', 0][..], &[0xaa, 5, 0, 1, 0, 1, b'a'], &[0x6a, 2, 0, 1]] {
        assert!(decode_as(Protocol::Mqtt31, bytes).is_ok());
        refused_by(Protocol::Mqtt5, bytes, flags(bytes[0] >> 4, 10)); // [MQTT5-2.1.3-1]
    }
}

#[test]
fn the_remaining_length_is_bounded_before_the_packet_is_there() {
    assert_eq!(frame::split(&[0x30, 0xff, 0xff, 0xff, 0xff], LIMIT).unwrap_err(), E::RemainingLength);
    let error = frame::split(&[0x30, 0xe9, 0x07], LIMIT).unwrap_err();
    assert_eq!(error, E::TooLarge { size: 1_001, limit: LIMIT });
    assert!(frame::split(&[0x30, 0xe8, 0x07], LIMIT).unwrap().is_none());
    assert!(frame::split(&[], LIMIT).unwrap().is_none());
    assert!(frame::split(&[0x30, 0x80], LIMIT).unwrap().is_none());
}

#[test]
fn a_frame_ends_where_its_length_says() {
    let frame = frame::split(&[0xc0, 0, 0xc0, 0], LIMIT).unwrap().unwrap();
    assert_eq!(frame.bytes, [0xc0, 0]);
    refused(&[0xc0, 1, 0], E::Malformed("PINGREQ"));
    refused(&[0xe0, 1, 0], E::Malformed("DISCONNECT"));
    refused(&[0x40, 1, 0], E::Malformed("PUBACK"));
    refused(&[0x40, 3, 0, 1, 0], E::Malformed("PUBACK"));
}

#[test]
fn a_publish_is_read_in_place() {
    let bytes = b"\x3b\x08\x00\x03a/b\x00\x07x";
    let Packet::Publish(publish) = decode_as(Protocol::Mqtt311, bytes).unwrap() else { panic!() };
    let expected = Publish {
        topic: "a/b",
        payload: b"x",
        qos: Qos::AtLeastOnce,
        packet_id: Some(7),
        retain: true,
        dup: true,
        properties: PublishProperties::default(),
    };
    assert_eq!(publish, expected);
    assert!(bytes.as_ptr_range().contains(&publish.topic.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&publish.payload.as_ptr()));
}

#[test]
fn a_topic_may_begin_with_any_character() {
    // Crash input 1: the first character was taken for one byte.
    let bytes = packet(0x30, "\0\u{4}é/x".as_bytes());
    let Packet::Publish(publish) = decode_as(Protocol::Mqtt311, &bytes).unwrap() else { panic!() };
    assert_eq!((publish.topic, publish.payload), ("é/x", &b""[..]));
}

#[test]
fn malformed_publishes_are_refused() {
    refused(b"\x36\x05\0\x01a\0\x01", E::Qos); // [MQTT-3.3.1-4]
    refused(b"\x38\x03\0\x01a", E::DupWithoutQos); // [MQTT-3.3.1-2]
    refused(b"\x32\x05\0\x01a\0\0", E::PacketIdZero); // [MQTT-2.3.1-1]
    refused(b"\x32\x04\0\x01a\0", E::Malformed("PUBLISH"));
    refused(b"\x30\x03\0\x02a", E::Malformed("PUBLISH"));
    refused(b"\x30\x01\0", E::Malformed("PUBLISH"));
    refused(b"\x30\x02\0\0", E::Topic(TopicError::Empty)); // [MQTT-4.7.3-1]
    refused(b"\x30\x04\0\x02a+", E::Topic(TopicError::Wildcard)); // [MQTT-3.3.2-2]
    refused(b"\x30\x04\0\x02/#", E::Topic(TopicError::Wildcard));
    refused(b"\x30\x04\0\x02a\0", E::Topic(TopicError::Null)); // [MQTT-1.5.3-2]
    refused(b"\x30\x04\0\x02\xc3\x28", E::Text); // [MQTT-1.5.3-1]
    refused(b"\x30\x05\0\x03\xed\xa0\x80", E::Text); // A surrogate.
}

#[test]
fn the_four_acknowledgements_name_a_message() {
    let ack = Acknowledgement { packet_id: 0x102, reason: Reason::Success };
    for (first, expected) in [(0x40, "PubAck"), (0x50, "PubRec"), (0x62, "PubRel"), (0x70, "PubComp")] {
        let bytes = [first, 2, 1, 2];
        for protocol in [Protocol::Mqtt31, Protocol::Mqtt311, Protocol::Mqtt5] {
            let packet = decode_as(protocol, &bytes).unwrap();
            assert_eq!(format!("{packet:?}"), format!("{expected}({ack:?})"));
        }
        refused(&[first, 2, 0, 0], E::PacketIdZero); // [MQTT-2.3.1-1]
        refused(
            &[first, 3, 0, 1, 0],
            E::Malformed(["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"][usize::from(first >> 4) - 4]),
        );
    }
}

#[test]
fn a_subscribe_is_decoded() {
    let bytes = b"\x82\x0b\0\x05\0\x03a/+\x01\0\x01#\x02";
    let bytes = packet(0x82, &bytes[2..]);
    let Packet::Subscribe(subscribe) = decode_as(Protocol::Mqtt311, &bytes).unwrap() else { panic!() };
    let asked = |filter: &str, qos| Subscription::new(filter.parse().unwrap(), qos);
    let filters = vec![asked("a/+", Qos::AtLeastOnce), asked("#", Qos::ExactlyOnce)];
    assert_eq!(subscribe, Subscribe { packet_id: 5, filters });

    let bytes = packet(0xa2, b"\0\x06\0\x02\xc3\xa9");
    let Packet::Unsubscribe(unsubscribe) = decode_as(Protocol::Mqtt311, &bytes).unwrap() else { panic!() };
    assert_eq!(unsubscribe, Unsubscribe { packet_id: 6, filters: vec!["é".parse().unwrap()] });
}

#[test]
fn malformed_requests_are_refused() {
    for (first, options, name) in [(0x82, &b"\0"[..], "SUBSCRIBE"), (0xa2, b"", "UNSUBSCRIBE")] {
        let check = |body: &[u8], error| refused(&packet(first, body), error);
        let with = |filter: &[u8]| [b"\0\x01", filter, options].concat();
        check(b"\0\x01", E::NoFilters); // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
        check(&[b"\0\0\0\x01a", options].concat(), E::PacketIdZero); // [MQTT-2.3.1-1]
        check(b"\0", E::Malformed(name));
        check(b"\0\x01\0\x05a", E::Malformed(name));
        check(&with(b"\0\x02\xc3\x28"), E::Text); // [MQTT-3.8.3-1], [MQTT-3.10.3-1]
        check(&with(b"\0\x02a\0"), E::Text);
        check(&with(b"\0\0"), E::Filter(TopicError::Empty));
        check(&with(b"\0\x05a/#/b"), E::Filter(TopicError::MultiLevel)); // [MQTT-4.7.1-2]
        check(&with(b"\0\x02a+"), E::Filter(TopicError::SingleLevel)); // [MQTT-4.7.1-3]
        let many = [b"\0\x01".to_vec(), [b"\0\x01a", options].concat().repeat(FILTERS + 1)].concat();
        check(&many, E::TooManyFilters { limit: FILTERS });
    }
    refused(&packet(0x82, b"\0\x01\0\x01a\x03"), E::RequestedQos); // [MQTT-3.8.3-4]
    refused(&packet(0x82, b"\0\x01\0\x01a\x04"), E::Malformed("SUBSCRIBE"));
    refused(&packet(0x82, b"\0\x01\0\x01a"), E::Malformed("SUBSCRIBE"));
}

#[test]
fn both_versions_connect() {
    let rest = b"\0\x02id\0\x04user\0\x03\xff\0p";
    for (name, level, protocol) in [(&b"MQTT"[..], 4, Protocol::Mqtt311), (b"MQIsdp", 3, Protocol::Mqtt31)] {
        let connect = connected(&connect(name, level, 0xc2, rest));
        let expected = Connect {
            protocol,
            client_id: "id".into(),
            clean: true,
            keep_alive: 60,
            will: None,
            username: Some("user".into()),
            // A password is bytes (§3.1.3.5), not text.
            password: Some(b"\xff\0p".to_vec()),
            properties: ConnectProperties::default(),
        };
        assert_eq!(connect, expected);
        assert!(!format!("{connect:?}").contains("255"), "a password is never shown");
    }
}

#[test]
fn a_long_client_id_of_mqtt_31_is_accepted() {
    let id = "A1B2C3D4E5".to_owned() + &"d".repeat(48);
    let rest = [&[0, 58], id.as_bytes()].concat();
    assert_eq!(connected(&connect(b"MQIsdp", 3, 2, &rest)).client_id, id);
}

#[test]
fn a_user_name_needs_no_password_and_may_be_empty() {
    let user = connected(&connect(b"MQTT", 4, 0x82, b"\0\0\0\x01u"));
    assert_eq!((user.username.as_deref(), user.password), (Some("u"), None));
    let empty = connected(&connect(b"MQTT", 4, 0x82, b"\0\0\0\0"));
    assert_eq!(empty.username.as_deref(), Some(""));
    // MQTT 3.1 §3.1: the remaining length takes precedence over the flags.
    let absent = connected(&connect(b"MQIsdp", 3, 0xc2, b"\0\x01c"));
    assert_eq!((absent.username, absent.password), (None, None));
    refused(&connect(b"MQTT", 4, 0xc2, b"\0\x01c"), E::Malformed("CONNECT"));
}

#[test]
fn a_will_is_decoded() {
    let connect = connected(&connect(b"MQTT", 4, 0b0010_1110, b"\0\x01c\0\x03w/t\0\x02\0\xff"));
    let will = Will {
        topic: "w/t".parse().unwrap(),
        payload: b"\0\xff".to_vec(),
        qos: Qos::AtLeastOnce,
        retain: true,
        delay: 0,
        text: false,
        expiry: None,
        content_type: None,
        response_topic: None,
        correlation: None,
        user: None,
    };
    assert_eq!(connect.will, Some(will));
}

#[test]
fn malformed_connects_are_refused() {
    let check = |flags, rest: &[u8], error| refused(&connect(b"MQTT", 4, flags, rest), error);
    let malformed = E::Malformed("CONNECT");
    check(0x03, b"\0\x01c", malformed); // [MQTT-3.1.2-3]
    check(0x12, b"\0\x01c", malformed); // [MQTT-3.1.2-13]
    check(0x22, b"\0\x01c", malformed); // [MQTT-3.1.2-15]
    check(0x1e, b"\0\x01c\0\x01t\0\0", E::Qos); // [MQTT-3.1.2-14]
    check(0x42, b"\0\x01c\0\x01p", malformed); // [MQTT-3.1.2-22]
    check(0x02, b"\0\x01c\0", malformed); // Something follows.
    check(0x02, b"\0\x02c", malformed);
    check(0x06, b"\0\x01c\0\x01t", malformed);
    check(0x02, b"\0\x02c\0", E::Text); // [MQTT-1.5.3-2]
    check(0x02, b"\0\x01\xff", E::Text); // [MQTT-3.1.3-4]
    check(0x06, b"\0\x01c\0\x01\xff\0\0", E::Text); // [MQTT-3.1.3-10]
    check(0x06, b"\0\x01c\0\x01#\0\0", E::Topic(TopicError::Wildcard));
    check(0x82, b"\0\x01c\0\x01\xff", E::Text); // [MQTT-3.1.3-11]
    refused(&[0x10, 0], malformed);
    refused(&[0x10, 3, 0, 4, b'M'], malformed);
}

#[test]
fn other_protocols_are_told_apart() {
    refused(&connect(b"HTTP", 4, 2, b"\0\x01c"), E::ProtocolName); // [MQTT-3.1.2-1]
    refused(&connect(b"MQTT", 6, 2, b"\0\0\x01c"), E::Version(6)); // [MQTT-3.1.2-2]
    refused(&connect(b"MQTT", 3, 2, b"\0\x01c"), E::Version(3));
    refused(&connect(b"MQIsdp", 4, 2, b"\0\x01c"), E::Version(4));
}
