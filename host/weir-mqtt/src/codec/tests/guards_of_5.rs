//! What MQTT 5 adds to CONNECT, PUBLISH, the acknowledgements, DISCONNECT and AUTH.

use super::*;

fn refused_5(bytes: &[u8], expected: E) {
    refused_by(Protocol::Mqtt5, bytes, expected);
}

/// A CONNECT of MQTT 5 with these flags and properties; `rest` follows them.
fn connect_5(flags: u8, properties: &[u8], rest: &[u8]) -> Vec<u8> {
    connect(b"MQTT", 5, flags, &[&[u8::try_from(properties.len()).unwrap()], properties, rest].concat())
}

/// A QoS 0 PUBLISH of MQTT 5.
fn publish_5(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let properties_length = [u8::try_from(properties.len()).unwrap()];
    packet(0x30, &[&length, topic.as_bytes(), &properties_length, properties, payload].concat())
}

#[test]
fn a_client_of_5_says_what_it_takes() {
    let properties =
        b"\x11\0\0\0\x3c\x21\0\x0a\x27\0\0\x10\0\x22\0\x05\x19\x01\x17\0\x26\0\x01k\0\x01v\x15\0\x01m\x16\0\x01d";
    let connected = connected(&connect_5(0x02, properties, b"\0\x01c"));
    assert_eq!((connected.protocol, connected.session_expiry()), (Protocol::Mqtt5, 60));
    let expected = ConnectProperties {
        session_expiry: 60,
        receive_maximum: 10,
        max_packet_size: 4096,
        topic_alias_maximum: 5,
        request_response: true,
        request_problem: false,
        user: Some(r#"[["k","v"]]"#.into()),
        authentication: Some(Authentication { method: "m".into(), data: b"d".to_vec() }),
    };
    assert_eq!(connected.properties, expected);
    let terms = write::Terms { protocol: Protocol::Mqtt5, max_packet_size: 4096, problem_information: false };
    assert_eq!(connected.terms(), terms);
}

#[test]
fn what_a_client_does_not_say_has_a_default() {
    let five = connected(&connect_5(0, b"", b"\0\0"));
    assert_eq!((five.session_expiry(), five.properties), (0, ConnectProperties::default()));
    let three = connected(&connect(b"MQTT", 4, 0, b"\0\x01c"));
    assert_eq!(three.session_expiry(), u32::MAX);
    assert_eq!(connected(&connect(b"MQTT", 4, 2, b"\0\x01c")).session_expiry(), 0);
}

#[test]
fn a_password_needs_no_user_name_in_5() {
    let connect = connected(&connect_5(0x42, b"", b"\0\x01c\0\x02\xff\0"));
    assert_eq!((connect.username, connect.password), (None, Some(b"\xff\0".to_vec())));
    let empty = connected(&connect_5(0xc2, b"", b"\0\x01c\0\0\0\0"));
    assert_eq!((empty.username, empty.password), (Some(String::new()), Some(vec![])));
}

#[test]
fn a_will_of_5_has_properties() {
    let properties = b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01t\x08\0\x03r/t\x09\0\x01\xff\x26\0\x01k\0\x01v";
    let rest = [b"\0\x01c", &[properties.len() as u8][..], properties, b"\0\x01w\0\x02hi"].concat();
    let will = Will {
        topic: "w".parse().unwrap(),
        payload: b"hi".to_vec(),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay: 5,
        text: true,
        expiry: Some(9),
        content_type: Some("t".into()),
        response_topic: Some("r/t".into()),
        correlation: Some(vec![0xff]),
        user: Some(r#"[["k","v"]]"#.into()),
    };
    assert_eq!(connected(&connect_5(0b0000_1110, b"", &rest)).will, Some(will));
    refused(&connect_5(0x06, b"", b"\0\x01c\x02\x01\x01\0\x01w\0\x01\xff"), E::PayloadFormat);
    let misplaced = E::Property { packet: "CONNECT", identifier: 0x11 };
    refused(&connect_5(0x06, b"", b"\0\x01c\x05\x11\0\0\0\0\0\x01w\0\0"), misplaced);
    refused(&connect_5(0x06, b"", b"\0\x01c\x05\x08\0\x02a+\0\x01w\0\0"), E::PropertyValue { identifier: 8 });
}

#[test]
fn malformed_connects_of_5_are_refused() {
    let check = |properties: &[u8], error| refused(&connect_5(2, properties, b"\0\x01c"), error);
    let value = |identifier| E::PropertyValue { identifier };
    let misplaced = |identifier| E::Property { packet: "CONNECT", identifier };
    check(b"\x21\0\0", value(0x21)); // §3.1.2.11.3
    check(b"\x27\0\0\0\0", value(0x27)); // §3.1.2.11.4
    check(b"\x17\x02", value(0x17)); // §3.1.2.11.7
    check(b"\x19\x02", value(0x19)); // §3.1.2.11.6
    check(b"\x16\0\0", E::AuthenticationData); // §3.1.2.11.10
    for twice in [
        &b"\x11\0\0\0\0"[..],
        b"\x21\0\x01",
        b"\x27\0\0\0\x01",
        b"\x22\0\0",
        b"\x17\0",
        b"\x19\0",
        b"\x15\0\0",
        b"\x16\0\0",
    ] {
        check(&twice.repeat(2), E::PropertyRepeated { identifier: twice[0] });
    }
    check(b"\x01\0", misplaced(1)); // Of a will.
    check(b"\x12\0\0", misplaced(0x12)); // Of a server.
    check(b"\x00", misplaced(0)); // Of nobody.
    check(b"\x91\x01", misplaced(0x91));
    check(b"\xff", misplaced(0xff));
    check(b"\x11\0\0", E::Malformed("CONNECT")); // Cut.
    check(b"\x26\0\x01k\0\x02v", E::Malformed("CONNECT"));
    check(b"\x26\0\x01\0\0\0", E::Text); // [MQTT5-1.5.4-2]
    refused(&connect(b"MQTT", 5, 2, b"\x05\x11\0\0"), E::Malformed("CONNECT"));
    refused(&connect(b"MQTT", 5, 2, b"\x80\0\0\x01c"), E::Malformed("CONNECT")); // [MQTT5-1.5.5-1]
    refused(&connect(b"MQTT", 5, 2, b"\xff\xff\xff\xff\x01"), E::Malformed("CONNECT"));
    refused(&connect(b"MQTT", 5, 3, b"\0\0\x01c"), E::Malformed("CONNECT")); // [MQTT5-3.1.2-3]
    refused(&connect(b"MQTT", 5, 0x1e, b"\0\0\x01c\0\0\x01w\0\0"), E::Qos); // [MQTT5-3.1.2-12]
    let padded = [&[0x10, 0x8d, 0][..], &connect_5(2, b"", b"\0\x00")[2..]].concat();
    refused(&padded, E::RemainingLength);
}

#[test]
fn secrets_of_a_connect_are_not_shown() {
    let properties = b"\x26\0\x05token\0\x06hidden\x15\0\x01m\x16\0\x03d4t";
    let shown = format!("{:?}", connected(&connect_5(2, properties, b"\0\x01c")));
    assert!(!shown.contains("hidden") && !shown.contains("100, 52"), "{shown}");
}

#[test]
fn the_properties_of_a_publish_are_read_in_place() {
    let properties =
        b"\x26\0\x01a\0\x01b\x01\x01\x02\0\0\0\x3c\x23\0\x07\x08\0\x01r\x09\0\x02\xff\0\x03\0\x01t\x26\0\x01a\0\x01\"";
    let bytes = publish_5("a/b", properties, "é".as_bytes());
    let Packet::Publish(publish) = decode_as(Protocol::Mqtt5, &bytes).unwrap() else { panic!() };
    assert_eq!((publish.topic, publish.payload), ("a/b", "é".as_bytes()));
    let found = publish.properties;
    assert_eq!((found.text, found.expiry, found.topic_alias), (true, Some(60), Some(7)));
    assert_eq!((found.response_topic, found.content_type), (Some("r"), Some("t")));
    assert_eq!(found.correlation, Some(&b"\xff\0"[..]));
    assert!(bytes.as_ptr_range().contains(&found.correlation.unwrap().as_ptr()));
    assert_eq!(found.user.iter().collect::<Vec<_>>(), [("a", "b"), ("a", "\"")]);
    assert_eq!(found.user.to_json().as_deref(), Some(r#"[["a","b"],["a","\""]]"#));

    let bytes = publish_5("a", b"\x02\0\0\0\x01", b"");
    let Packet::Publish(publish) = decode_as(Protocol::Mqtt5, &bytes).unwrap() else { panic!() };
    assert!(publish.properties.user.is_empty());
    assert_eq!(publish.properties.user.to_json(), None);
}

#[test]
fn an_alias_may_stand_for_the_topic() {
    let bytes = publish_5("", b"\x23\xff\xff", b"x");
    let Packet::Publish(publish) = decode_as(Protocol::Mqtt5, &bytes).unwrap() else { panic!() };
    assert_eq!((publish.topic, publish.properties.topic_alias), ("", Some(65_535)));
    refused_5(&publish_5("", b"", b"x"), E::TopicMissing); // §3.3.2.1
    refused_5(&publish_5("a", b"\x23\0\0", b""), E::TopicAlias); // [MQTT5-3.3.2-8]
    refused_5(&publish_5("", b"\x23\0\0", b""), E::TopicAlias);
}

#[test]
fn malformed_publishes_of_5_are_refused() {
    let check = |properties: &[u8], error| refused_5(&publish_5("a", properties, b""), error);
    check(b"\x0b\x01", E::ServerProperty { identifier: 0x0b }); // [MQTT5-3.3.4-6]
    check(b"\x01\x02", E::PropertyValue { identifier: 1 });
    check(b"\x08\0\x03a/#", E::PropertyValue { identifier: 8 }); // [MQTT5-3.3.2-14]
    check(b"\x08\0\0", E::PropertyValue { identifier: 8 });
    check(b"\x08\0\x02\xc3\x28", E::Text); // [MQTT5-3.3.2-13]
    check(b"\x03\0\x01\0", E::Text); // [MQTT5-3.3.2-19]
    check(b"\x11\0\0\0\0", E::Property { packet: "PUBLISH", identifier: 0x11 });
    check(b"\x02\0\0\0\x01\x02\0\0\0\x01", E::PropertyRepeated { identifier: 2 });
    refused_5(&packet(0x30, b"\0\x01a"), E::Malformed("PUBLISH")); // No properties are said to be none.
    refused_5(&packet(0x30, b"\0\x01a\x05\x02"), E::Malformed("PUBLISH"));
    refused_5(&publish_5("a+", b"", b""), E::Topic(TopicError::Wildcard)); // [MQTT5-3.3.2-2]
    // §3.3.2.3.2: for the connection to refuse, which goes on.
    for (said, as_said) in [(b"\x01\x01", false), (b"\x01\0", true)] {
        let bytes = publish_5("a", said, b"\xff");
        let Ok(Packet::Publish(publish)) = decode_as(Protocol::Mqtt5, &bytes) else { panic!("{said:?}") };
        assert_eq!(publish.is_as_said(), as_said);
    }
    refused_5(&packet(0x36, b"\0\x01a\0\x01\0"), E::Qos); // [MQTT5-3.3.1-4]
    refused_5(&packet(0x38, b"\0\x01a\0"), E::DupWithoutQos); // [MQTT5-3.3.1-2]
    refused_5(&packet(0x32, b"\0\x01a\0\0\0"), E::PacketIdZero); // [MQTT5-2.2.1-3]
    // In 3.1.1 the same bytes are payload.
    assert!(decode_as(Protocol::Mqtt311, &publish_5("a", b"\x0b\x01", b"")).is_ok());
}

#[test]
fn acknowledgements_of_5_have_short_forms() {
    let check = |bytes: &[u8], reason| {
        let packet = format!("{:?}", decode_as(Protocol::Mqtt5, bytes).unwrap());
        assert!(packet.contains(&format!("reason: {reason:?}")), "{packet}");
    };
    check(b"\x40\x02\0\x01", Reason::Success);
    check(b"\x40\x03\0\x01\x10", Reason::NoMatchingSubscribers);
    check(b"\x40\x04\0\x01\0\0", Reason::Success);
    check(b"\x50\x0f\0\x01\x97\x0b\x1f\0\x01r\x26\0\x01k\0\x01v", Reason::QuotaExceeded);
    check(b"\x62\x03\0\x01\x92", Reason::PacketIdNotFound);
    check(b"\x70\x04\0\x01\x92\0", Reason::PacketIdNotFound);

    let code = |packet, code| E::ReasonCode { packet, code };
    refused_5(b"\x40\x03\0\x01\x92", code("PUBACK", 0x92)); // [MQTT5-3.4.2-1]
    refused_5(b"\x50\x03\0\x01\x01", code("PUBREC", 1)); // [MQTT5-3.5.2-1]
    refused_5(b"\x62\x03\0\x01\x80", code("PUBREL", 0x80)); // [MQTT5-3.6.2-1]
    refused_5(b"\x70\x03\0\x01\x10", code("PUBCOMP", 0x10)); // [MQTT5-3.7.2-1]
    refused_5(b"\x40\x06\0\x01\0\x02\x01\0", E::Property { packet: "PUBACK", identifier: 1 });
    refused_5(b"\x40\x05\0\x01\0\0\0", E::Malformed("PUBACK"));
    let twice = b"\x40\x0c\0\x01\0\x08\x1f\0\x01r\x1f\0\x01r";
    refused_5(twice, E::PropertyRepeated { identifier: 0x1f });
}

#[test]
fn a_client_of_5_says_why_it_leaves() {
    let check = |bytes: &[u8], reason, session_expiry| {
        let Packet::Disconnect(disconnect) = decode_as(Protocol::Mqtt5, bytes).unwrap() else { panic!() };
        assert_eq!(disconnect, Disconnect { reason, session_expiry });
    };
    check(b"\xe0\0", Reason::Success, None);
    check(b"\xe0\x01\x04", Reason::DisconnectWithWill, None); // Guard 3: the decoder waits for more.
    check(b"\xe0\x02\x81\0", Reason::Malformed, None);
    check(b"\xe0\x07\0\x05\x11\0\0\0\x3c", Reason::Success, Some(60));
    refused_5(b"\xe0\x01\x8e", E::ReasonCode { packet: "DISCONNECT", code: 0x8e }); // [MQTT5-3.14.2-1]
    refused_5(b"\xe0\x05\0\x03\x1c\0\0", E::ServerProperty { identifier: 0x1c });
    refused_5(b"\xe0\x03\0\0\0", E::Malformed("DISCONNECT"));
    refused_5(b"\xe1\0", E::Flags { kind: 14, flags: 1 }); // [MQTT5-3.14.1-1]
    refused(b"\xe0\x01\x04", E::Malformed("DISCONNECT"));
}

#[test]
fn auth_is_read_so_that_it_can_be_refused() {
    let Packet::Auth(auth) = decode_as(Protocol::Mqtt5, b"\xf0\x06\x19\x04\x15\0\x01m").unwrap() else { panic!() };
    assert_eq!(auth, Auth { reason: Reason::Reauthenticate, method: Some("m".into()) });
    let Packet::Auth(bare) = decode_as(Protocol::Mqtt5, b"\xf0\0").unwrap() else { panic!() };
    assert_eq!(bare, Auth { reason: Reason::Success, method: None });
    refused_5(b"\xf0\x01\x17", E::ReasonCode { packet: "AUTH", code: 0x17 }); // [MQTT5-3.15.2-1]
    refused_5(b"\xf1\x01\x18", E::Flags { kind: 15, flags: 1 }); // [MQTT5-3.15.1-1]
    refused_5(b"\xf0\x03\x18\x01\x11", E::Property { packet: "AUTH", identifier: 0x11 });
}
