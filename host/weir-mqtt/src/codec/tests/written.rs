//! What the hub writes, byte by byte, and as rumqttc, a client's codec, reads it.

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::v5::mqttbytes::v5 as client;

use super::*;
use write::{Confirmation, ConnAck, EncodedUserProperties, Outgoing, Terms, Unwritable};

const THREE: Terms = Terms { protocol: Protocol::Mqtt311, max_packet_size: u32::MAX, problem_information: true };
const FIVE: Terms = Terms { protocol: Protocol::Mqtt5, ..THREE };

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// What a client of MQTT 5 makes of one packet.
fn read(bytes: &[u8]) -> client::Packet {
    let mut stream = BytesMut::from(bytes);
    let packet = client::Packet::read(&mut stream, None).unwrap();
    assert!(stream.is_empty(), "{bytes:02x?}");
    packet
}

#[test]
fn packets_before_5_are_short() {
    assert_eq!(written(|out| write::connack_before_5(out, true, 0)), [0x20, 2, 1, 0]);
    assert_eq!(written(|out| write::connack_before_5(out, true, 5)), [0x20, 2, 0, 5]); // [MQTT-3.2.2-4]
    for (confirmation, first) in [
        (Confirmation::PubAck, 0x40),
        (Confirmation::PubRec, 0x50),
        (Confirmation::PubRel, 0x62), // [MQTT-3.6.1-1]
        (Confirmation::PubComp, 0x70),
    ] {
        let ack = |terms: &Terms, reason| {
            written(|out| write::acknowledge(out, terms, confirmation, 0x1234, reason, Some("text")))
        };
        assert_eq!(ack(&THREE, Reason::Success), [first, 2, 0x12, 0x34]);
        assert_eq!(ack(&THREE, Reason::NotAuthorized), [first, 2, 0x12, 0x34]);
        assert_eq!(ack(&FIVE, Reason::Success), [first, 2, 0x12, 0x34]);
    }
    let granted = [Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce), Err(Reason::NotAuthorized)];
    let suback = written(|out| write::suback(out, &THREE, 1, &granted, Some("text")).unwrap());
    assert_eq!(suback, [0x90, 5, 0, 1, 0, 2, 0x80]); // [MQTT-3.8.4-5], [MQTT-3.9.3-2]
    let unsuback = written(|out| write::unsuback(out, &THREE, 1, &[Reason::Success], None).unwrap());
    assert_eq!(unsuback, [0xb0, 2, 0, 1]);
    assert!(written(|out| write::disconnect(out, &THREE, Reason::SessionTakenOver, None)).is_empty());
    assert_eq!(written(write::pingresp), [0xd0, 0]);
}

#[test]
fn answers_of_5_say_why() {
    let no_text = Terms { problem_information: false, ..FIVE };
    let small = Terms { max_packet_size: 10, ..FIVE };
    let ack = |terms: &Terms, text| {
        written(|out| write::acknowledge(out, terms, Confirmation::PubRec, 1, Reason::QuotaExceeded, text))
    };
    assert_eq!(ack(&FIVE, None), [0x50, 3, 0, 1, 0x97]);
    assert_eq!(ack(&FIVE, Some("no")), b"\x50\x09\0\x01\x97\x05\x1f\0\x02no");
    assert_eq!(ack(&no_text, Some("no")), [0x50, 3, 0, 1, 0x97]); // [MQTT5-3.1.2-29]
    assert_eq!(ack(&small, Some("no")), [0x50, 3, 0, 1, 0x97]); // [MQTT5-3.5.2-2]
    assert_eq!(ack(&Terms { max_packet_size: 11, ..FIVE }, Some("no")).len(), 11);
    assert_eq!(ack(&FIVE, Some(&"t".repeat(65_536))).len(), 5);

    let granted = [Ok(Qos::AtLeastOnce), Err(Reason::TopicFilterInvalid)];
    let suback = |terms: &Terms, text| written(|out| write::suback(out, terms, 2, &granted, text).unwrap());
    assert_eq!(suback(&FIVE, None), [0x90, 5, 0, 2, 0, 1, 0x8f]);
    assert_eq!(suback(&FIVE, Some("no")), b"\x90\x0a\0\x02\x05\x1f\0\x02no\x01\x8f");
    assert_eq!(suback(&small, Some("no")), [0x90, 5, 0, 2, 0, 1, 0x8f]); // [MQTT5-3.9.2-1]
    let mut out = Vec::new();
    let tiny = Terms { max_packet_size: 6, ..FIVE };
    assert_eq!(write::suback(&mut out, &tiny, 2, &granted, None), Err(Unwritable::TooLarge { size: 7 }));
    assert!(out.is_empty());

    let reasons = [Reason::Success, Reason::NoSubscriptionExisted];
    let unsuback = written(|out| write::unsuback(out, &FIVE, 2, &reasons, None).unwrap());
    assert_eq!(unsuback, [0xb0, 5, 0, 2, 0, 0, 0x11]); // [MQTT5-3.11.3-1]

    let disconnect = |text| written(|out| write::disconnect(out, &FIVE, Reason::SessionTakenOver, text));
    assert_eq!(disconnect(None), [0xe0, 1, 0x8e]);
    assert_eq!(disconnect(Some("no")), b"\xe0\x07\x8e\x05\x1f\0\x02no");
}

#[test]
fn a_client_reads_the_answers_of_5() {
    let granted = [Ok(Qos::ExactlyOnce), Err(Reason::QuotaExceeded)];
    let client::Packet::SubAck(suback) =
        read(&written(|out| write::suback(out, &FIVE, 7, &granted, Some("why")).unwrap()))
    else {
        panic!()
    };
    assert_eq!((suback.pkid, suback.return_codes.len()), (7, 2));
    assert_eq!(suback.properties.unwrap().reason_string.as_deref(), Some("why"));

    let acknowledged = written(|out| {
        write::acknowledge(out, &FIVE, Confirmation::PubAck, 9, Reason::NotAuthorized, Some("why"));
    });
    let client::Packet::PubAck(puback) = read(&acknowledged) else { panic!() };
    assert_eq!((puback.pkid, puback.reason), (9, client::PubAckReason::NotAuthorized));
    assert_eq!(puback.properties.unwrap().reason_string.as_deref(), Some("why"));
}

#[test]
fn a_connack_says_what_differs() {
    let connack = |terms: &Terms, answer: &ConnAck<'_>| written(|out| write::connack(out, terms, answer).unwrap());
    let plain = ConnAck { session_present: true, ..ConnAck::default() };
    assert_eq!(connack(&FIVE, &plain), [0x20, 3, 1, 0, 0]);
    let refusal = ConnAck { session_present: true, ..ConnAck::refusal(Reason::UnsupportedVersion) };
    assert_eq!(connack(&FIVE, &refusal), [0x20, 3, 0, 0x84, 0]); // [MQTT5-3.2.2-6]

    let full = ConnAck {
        session_expiry: Some(60),
        receive_maximum: Some(100),
        max_packet_size: Some(65_536),
        assigned_client_id: Some("auto-1"),
        topic_alias_maximum: 8,
        server_keep_alive: Some(30),
        reason_string: Some("why"),
        wildcards: false,
        subscription_identifiers: false,
        shared_subscriptions: false,
        ..ConnAck::default()
    };
    let client::Packet::ConnAck(read) = read(&connack(&FIVE, &full)) else { panic!() };
    let properties = read.properties.unwrap();
    assert_eq!(properties.session_expiry_interval, Some(60));
    assert_eq!(properties.receive_max, Some(100));
    assert_eq!(properties.max_packet_size, Some(65_536));
    assert_eq!(properties.assigned_client_identifier.as_deref(), Some("auto-1")); // [MQTT5-3.1.3-7]
    assert_eq!(properties.topic_alias_max, Some(8));
    assert_eq!(properties.server_keep_alive, Some(30)); // [MQTT5-3.1.2-21]
    assert_eq!(properties.reason_string.as_deref(), Some("why"));
    assert_eq!(properties.wildcard_subscription_available, Some(0));
    assert_eq!(properties.subscription_identifiers_available, Some(0));
    assert_eq!(properties.shared_subscription_available, Some(0));

    let texts = ConnAck { reason_string: Some("why"), ..ConnAck::default() };
    assert_eq!(connack(&Terms { max_packet_size: 10, ..FIVE }, &texts).len(), 5); // [MQTT5-3.2.2-19]
    assert_eq!(connack(&Terms { max_packet_size: 11, ..FIVE }, &texts).len(), 11);
    let mut out = Vec::new();
    let named = ConnAck { assigned_client_id: Some("auto-1"), ..ConnAck::default() };
    let small = Terms { max_packet_size: 13, ..FIVE };
    assert_eq!(write::connack(&mut out, &small, &named), Err(Unwritable::TooLarge { size: 14 }));
    assert!(out.is_empty());
}

#[test]
fn a_publish_for_a_subscriber_before_5_has_no_properties() {
    // Crash input 4: a message with the properties of MQTT 5 could not be written for a subscriber of 3.1.1.
    let user = EncodedUserProperties::from_json(r#"[["k","v"]]"#).unwrap();
    let message = Outgoing {
        dup: true,
        text: true,
        expiry: Some(1),
        content_type: Some("t"),
        response_topic: Some("r"),
        correlation: Some(b"c"),
        user: Some(&user),
        subscription_identifiers: &[1, 2],
        ..Outgoing::new("a/b", b"xy", Qos::AtLeastOnce, 9)
    };
    let bytes = written(|out| write::publish(out, &THREE, &message).unwrap());
    assert_eq!(bytes, b"\x3a\x09\0\x03a/b\0\x09xy");
    assert_eq!(write::publish_size(Protocol::Mqtt311, &message), Ok(bytes.len()));
}

#[test]
fn a_publish_of_5_has_what_the_publisher_said() {
    let user = EncodedUserProperties::from_json(r#"[["k","v"],["k","\u00e9\n"]]"#).unwrap();
    let message = Outgoing {
        retain: true,
        topic_alias: Some(3),
        text: true,
        expiry: Some(60),
        content_type: Some("t"),
        response_topic: Some("r/t"),
        correlation: Some(b"\xff"),
        user: Some(&user),
        subscription_identifiers: &[1, 268_435_455],
        ..Outgoing::new("", b"xy", Qos::ExactlyOnce, 9)
    };
    let client::Packet::Publish(read) = read(&written(|out| write::publish(out, &FIVE, &message).unwrap())) else {
        panic!()
    };
    assert_eq!((&read.topic[..], &read.payload[..], read.pkid), (&b""[..], &b"xy"[..], 9));
    assert_eq!((read.retain, read.dup), (true, false));
    let properties = read.properties.unwrap();
    assert_eq!(properties.topic_alias, Some(3));
    assert_eq!(properties.payload_format_indicator, Some(1)); // [MQTT5-3.3.2-4]
    assert_eq!(properties.message_expiry_interval, Some(60));
    assert_eq!(properties.content_type.as_deref(), Some("t")); // [MQTT5-3.3.2-20]
    assert_eq!(properties.response_topic.as_deref(), Some("r/t")); // [MQTT5-3.3.2-15]
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"\xff"[..])); // [MQTT5-3.3.2-16]
    let pairs = [("k".to_owned(), "v".to_owned()), ("k".to_owned(), "é\n".to_owned())];
    assert_eq!(properties.user_properties, pairs); // [MQTT5-3.3.2-17], [MQTT5-3.3.2-18]
    assert_eq!(properties.subscription_identifiers, [1, 268_435_455]); // [MQTT5-3.3.4-4]
}

#[test]
fn what_a_client_does_not_take_is_not_written() {
    let mut out = Vec::new();
    let long = "t".repeat(65_536);
    let fine = Outgoing::new("t", b"", Qos::AtMostOnce, 0);
    for message in [
        Outgoing { topic: &long, ..fine },
        Outgoing { content_type: Some(&long), ..fine },
        Outgoing { response_topic: Some(&long), ..fine },
        Outgoing { correlation: Some(long.as_bytes()), ..fine },
    ] {
        assert_eq!(write::publish(&mut out, &FIVE, &message), Err(Unwritable::Format));
    }
    // [MQTT5-3.1.2-24]
    let size = write::publish_size(Protocol::Mqtt5, &fine).unwrap();
    let too_small = Terms { max_packet_size: u32::try_from(size).unwrap() - 1, ..FIVE };
    assert_eq!(write::publish(&mut out, &too_small, &fine), Err(Unwritable::TooLarge { size }));
    assert!(out.is_empty());
}

#[test]
fn user_properties_that_mqtt_cannot_carry_are_refused() {
    let long = serde_json::to_string(&[["k", &"v".repeat(65_536)]]).unwrap();
    for json in ["", "{}", r#"[["k"]]"#, r#"[["k","v","w"]]"#, r#"[["k",1]]"#, r#"[["k","\u0000"]]"#, &long] {
        assert_eq!(EncodedUserProperties::from_json(json), Err(Unwritable::Format), "{json:.20}");
    }
    assert_eq!(EncodedUserProperties::from_json("[]"), Ok(EncodedUserProperties::default()));
}

proptest! {
    /// Properties come back as they went, through the hub's JSON and through the wire; the size is foretold.
    #[test]
    fn a_publish_comes_back(
        topic in "[a-zé/]{1,300}",
        payload in any::<Vec<u8>>(),
        user in proptest::collection::vec(("[^\0]{0,9}", "[^\0]{0,9}"), 0..4),
        correlation in proptest::option::of(any::<Vec<u8>>()),
        expiry in proptest::option::of(any::<u32>()),
        identifier in proptest::option::of(1..268_435_456_u32),
        qos in 0..3_u8,
    ) {
        let json = serde_json::to_string(&user).unwrap();
        let encoded = EncodedUserProperties::from_json(&json).unwrap();
        let identifiers: Vec<u32> = identifier.into_iter().collect();
        let message = Outgoing {
            correlation: correlation.as_deref(),
            expiry,
            user: Some(&encoded),
            subscription_identifiers: &identifiers,
            ..Outgoing::new(&topic, &payload, Qos::from_u8(qos).unwrap(), 5)
        };
        let mut bytes = Vec::new();
        write::publish(&mut bytes, &FIVE, &message).unwrap();
        prop_assert_eq!(write::publish_size(Protocol::Mqtt5, &message), Ok(bytes.len()));
        let client::Packet::Publish(theirs) = read(&bytes) else { panic!() };
        prop_assert_eq!(&theirs.topic[..], topic.as_bytes());
        prop_assert_eq!(&theirs.payload[..], &payload[..]);
        let properties = theirs.properties.unwrap_or_default();
        prop_assert_eq!(properties.message_expiry_interval, expiry);
        prop_assert_eq!(properties.correlation_data.as_deref(), correlation.as_deref());
        prop_assert_eq!(&properties.user_properties, &user);

        // A client may send the same but for the identifiers.
        let message = Outgoing { subscription_identifiers: &[], ..message };
        bytes.clear();
        write::publish(&mut bytes, &FIVE, &message).unwrap();
        let frame = frame::split(&bytes, usize::MAX).unwrap().unwrap();
        let Packet::Publish(ours) = decode(frame, Protocol::Mqtt5, FILTERS).unwrap() else { panic!() };
        let expected = if user.is_empty() { None } else { Some(json) };
        prop_assert_eq!(ours.properties.user.to_json(), expected);
        prop_assert_eq!((ours.topic, ours.payload), (&topic[..], &payload[..]));
    }
}
