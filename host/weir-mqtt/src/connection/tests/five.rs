//! What MQTT 5 adds.

use super::*;
use crate::codes::Reason;

/// CONNECT of MQTT 5, clean, keep-alive 10 s, with these properties and this client id.
fn connect_5(properties: &[u8], client_id: &str) -> Vec<u8> {
    let (properties_length, id_length) =
        (u8::try_from(properties.len()).unwrap(), u8::try_from(client_id.len()).unwrap());
    let body =
        [b"\0\x04MQTT\x05\x02\0\x0a", &[properties_length][..], properties, &[0, id_length], client_id.as_bytes()];
    packet(0x10, &body.concat())
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

fn publish_5(first: u8, topic: &str, packet_id: Option<u8>, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = packet_id.map(|id| vec![0, id]).unwrap_or_default();
    let lengths = (u8::try_from(topic.len()).unwrap(), u8::try_from(properties.len()).unwrap());
    packet(first, &[&[0, lengths.0], topic.as_bytes(), &id, &[lengths.1], properties, payload].concat())
}

/// A connection whose CONNECT has these properties, accepted so, and its CONNACK.
fn accepted_5(properties: &[u8], accepted: &Accepted<'_>) -> (Connection, Instant, Vec<u8>) {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    let bytes = connect_5(properties, "c");
    let received = connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
    assert!(matches!(received.request, Some(Request::Connect(_))));
    let mut out = Vec::new();
    connection.accepted(accepted, now, &mut out).unwrap();
    (connection, now, out)
}

fn connected_5(properties: &[u8]) -> (Connection, Instant) {
    let (connection, now, _) = accepted_5(properties, &Accepted::default());
    (connection, now)
}

/// The error of these bytes on a connected client, and the DISCONNECT that follows.
fn farewell(bytes: &[u8]) -> (E, Vec<u8>) {
    // The client has no use for reason strings.
    let (mut connection, now) = connected_5(b"\x17\0");
    let mut out = Vec::new();
    let mut rest = bytes;
    loop {
        match connection.receive(rest, BATCH, now, &mut out) {
            Ok(received) => {
                assert!(received.consumed > 0, "nothing is wrong");
                rest = &rest[received.consumed..];
                connection.published(&received.publishes, Offset(9));
            }
            Err(error) => {
                connection.farewell(crate::codes::violation_reason(error), "why", &mut out);
                connection.farewell(Reason::Unspecified, "again", &mut out);
                return (error, out);
            }
        }
    }
}

/// 21 00 03: Receive Maximum. 27: Maximum Packet Size, payload and 65,541 more. 22 00 02: Topic Alias Maximum.
const TOLD: &[u8] = b"\x21\0\x03\x27\0\x01\0\x15\x22\0\x02";

#[test]
fn connack_says_what_the_hub_takes() {
    let (_, _, out) = accepted_5(b"", &Accepted::default());
    assert_eq!(out, [b"\x20\x0e\0\0\x0b", TOLD].concat());
    let told = Accepted { session_present: true, session_expiry: Some(60), assigned_client_id: Some("auto") };
    let (_, _, out) = accepted_5(b"\x11\0\0\0\x78", &told);
    assert_eq!(out[..4], [0x20, 26, 1, 0]); // [MQTT5-3.2.2-3]
    assert_eq!(out[5..10], *b"\x11\0\0\0\x3c");
    assert!(out.windows(7).any(|bytes| bytes == b"\x12\0\x04auto")); // [MQTT5-3.1.3-7]
}

#[test]
fn a_keep_alive_that_is_none_or_too_long_is_replaced() {
    for (asked, told) in [(0_u16, Some(60)), (60, None), (61, Some(60))] {
        let now = Instant::now();
        let mut connection = Connection::new(BOUNDS, now);
        let mut bytes = connect_5(b"", "c");
        bytes[10..12].copy_from_slice(&asked.to_be_bytes());
        connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        connection.accepted(&Accepted::default(), now, &mut out).unwrap();
        let says = out.windows(3).find(|bytes| bytes[0] == 0x13).map(|bytes| u16::from(bytes[2]));
        assert_eq!(says, told, "{asked}"); // [MQTT5-3.1.2-21], [MQTT5-3.2.2-21]
        assert_eq!(connection.deadline(), Some(now + Duration::from_secs(90)), "{asked}"); // [MQTT5-3.2.2-22]
    }
}

#[test]
fn a_refused_connect_is_told_the_reason() {
    let refusal = |properties: &[u8]| {
        let now = Instant::now();
        let mut connection = Connection::new(BOUNDS, now);
        connection.receive(&connect_5(properties, "c"), BATCH, now, &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        connection.refused(ErrorKind::Forbidden, "no", &mut out);
        connection.farewell(Reason::Unspecified, "not after a refusal", &mut out);
        out
    };
    assert_eq!(refusal(b""), b"\x20\x08\0\x87\x05\x1f\0\x02no");
    assert_eq!(refusal(b"\x17\0"), b"\x20\x03\0\x87\0"); // [MQTT5-3.1.2-29]
    assert_eq!(refusal(b"\x27\0\0\0\x05"), b"\x20\x03\0\x87\0"); // [MQTT5-3.2.2-19]
    assert!(refusal(b"\x27\0\0\0\x04").is_empty());
}

#[test]
fn a_bad_connect_is_told_the_reason() {
    assert_eq!(refused(&connect_5(b"\x15\0\x01m", "c")), (E::AuthenticationMethod, b"\x20\x03\0\x8c\0".to_vec())); // [MQTT5-4.12.0-1]
    let (error, out) = refused(&connect_5(b"\x21\0\0", "c"));
    assert_eq!((error, &out[..]), (E::PropertyValue { identifier: 0x21 }, &b"\x20\x03\0\x82\0"[..])); // [MQTT5-3.1.4-1]
    let (_, out) = refused(b"\x10\x0b\0\x04MQTT\x05\x03\0\x0a\0");
    assert_eq!(out, b"\x20\x03\0\x81\0"); // [MQTT5-3.1.2-3]
}

#[test]
fn a_client_without_a_name_gets_one() {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    let mut bytes = connect_5(b"", "");
    bytes[9] = 0; // Not clean either.
    assert!(connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap().request.is_some()); // [MQTT5-3.1.3-6]
}

#[test]
fn what_breaks_the_protocol_ends_it_with_a_reason() {
    let check = |bytes: &[u8], expected: E, reason: u8| {
        assert_eq!(farewell(bytes), (expected, vec![0xe0, 1, reason]), "{bytes:02x?}");
    };
    check(b"\xf0\x01\x19", E::Authentication, 0x82); // [MQTT5-4.12.0-6]
    check(b"\x10\x0b\0\x04MQTT\x05\x02\0\x0a\0", E::ConnectRepeated, 0x82); // [MQTT5-3.1.0-2]
    check(b"\xc1\0", E::Flags { kind: 12, flags: 1 }, 0x81);
    check(b"\xe0\x07\0\x05\x11\0\0\0\x01", E::SessionExpiry, 0x82);
    check(&publish_5(0x30, "t", None, b"", &[b'x'; 17]), E::TooLarge { size: 17, limit: 16 }, 0x95);
    check(&publish_5(0x30, "", None, b"\x23\0\x01", b""), E::TopicAlias, 0x94);
    check(&publish_5(0x30, "t", None, b"\x23\0\x03", b""), E::TopicAlias, 0x94); // [MQTT5-3.3.2-9]
    check(&publish_5(0x30, "t", None, b"\x23\0\0", b""), E::TopicAlias, 0x94); // [MQTT5-3.3.2-8]
    check(&publish_5(0x30, "t", None, b"\x0b\x01", b""), E::ServerProperty { identifier: 0x0b }, 0x82); // [MQTT5-3.3.4-6]
    let four: Vec<u8> = (1..=4).flat_map(|id| publish_5(0x32, "t", Some(id), b"", b"")).collect();
    check(&four, E::ReceiveMaximum, 0x93); // [MQTT5-3.3.4-9]
}

#[test]
fn the_receive_maximum_counts_what_is_unanswered() {
    let (mut connection, now) = connected_5(b"");
    let mut out = Vec::new();
    let mut take = |connection: &mut Connection, bytes: &[u8]| {
        let received = connection.receive(bytes, BATCH, now, &mut Vec::new())?;
        assert_eq!(received.consumed, bytes.len());
        connection.published(&received.publishes, Offset(0));
        connection.durable(Offset(1), &mut out);
        Ok(())
    };
    let (once, exactly) = (publish_5(0x32, "t", Some(1), b"", b""), publish_5(0x34, "t", Some(2), b"", b""));
    // PUBACK makes room for another; PUBREC does not.
    for bytes in [&once, &exactly, &once, &exactly, &once, &exactly] {
        assert_eq!(take(&mut connection, bytes), Ok(()));
    }
    assert_eq!(take(&mut connection, &once), Err(E::ReceiveMaximum));

    let (mut connection, _) = connected_5(b"");
    for _ in 0..9 {
        assert_eq!(take(&mut connection, &exactly), Ok(()));
        connection.released(2, Some(Offset(0))); // PUBCOMP does.
    }
    // QoS 0 needs none.
    for _ in 0..9 {
        assert_eq!(take(&mut connection, &publish_5(0x30, "t", None, b"", b"")), Ok(()));
    }
}

#[test]
fn an_alias_stands_for_the_topic_it_came_with() {
    let (mut connection, now) = connected_5(b"");
    let bytes = [
        publish_5(0x30, "one", None, b"\x23\0\x01", b"1"),
        publish_5(0x30, "", None, b"\x23\0\x01", b"2"),
        publish_5(0x30, "two", None, b"\x23\0\x02", b"3"),
        publish_5(0x30, "", None, b"\x23\0\x02", b"4"),
        publish_5(0x30, "new", None, b"\x23\0\x01", b"5"),
        publish_5(0x30, "", None, b"\x23\0\x01", b"6"),
    ]
    .concat();
    let (mut topics, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        // Asked for again, because the log was busy.
        let _again = connection.receive(&bytes[start..], BATCH, now, &mut Vec::new()).unwrap().consumed;
        let received = connection.receive(&bytes[start..], BATCH, now, &mut Vec::new()).unwrap();
        topics.extend(received.publishes.iter().map(|publish| connection.topic(publish).to_owned()));
        start += received.consumed;
    }
    assert_eq!(topics, ["one", "one", "two", "two", "new", "new"]); // [MQTT5-3.3.2-12]
}

#[test]
fn a_refused_message_is_answered_in_its_turn() {
    let (mut connection, now) = connected_5(b"\x17\0");
    let mut out = Vec::new();
    let (mut offset, mut refused) = (0, 0);
    let text = b"\x01\x01";
    let bytes = [
        publish_5(0x32, "t", Some(1), b"", b""),
        publish_5(0x32, "t", Some(2), text, b"\xff"),
        publish_5(0x30, "t", None, text, b"\xff"),
        publish_5(0x34, "t", Some(3), text, b"\xff"),
    ]
    .concat();
    let mut start = 0;
    while start < bytes.len() {
        let received = connection.receive(&bytes[start..], BATCH, now, &mut out).unwrap();
        connection.published(&received.publishes, Offset(offset));
        refused += usize::from(received.refused.is_some());
        offset += 1;
        start += received.consumed;
    }
    assert_eq!((refused, connection.waiting()), (3, 3));
    connection.durable(Offset(0), &mut out);
    assert!(out.is_empty(), "the first is not durable");
    connection.durable(Offset(1), &mut out);
    assert_eq!(out, b"\x40\x02\0\x01\x40\x03\0\x02\x99\x50\x03\0\x03\x99"); // [MQTT-4.6.0-2]
    out.clear();

    let refused = publish_5(0x34, "t", Some(4), b"", b"");
    let received = connection.receive(&refused, BATCH, now, &mut out).unwrap();
    connection.not_published(&received.publishes[0], ErrorKind::Forbidden);
    connection.durable(Offset(1), &mut out);
    assert_eq!(out, b"\x50\x03\0\x04\x87");
}

#[test]
fn an_alias_is_sent_with_its_topic_first() {
    let (mut connection, _) = connected_5(b"\x22\0\x09");
    let mut sent = |topic: &str| {
        let mut out = Vec::new();
        connection.send(&Outgoing::new(topic, b"", Qos::AtMostOnce, 0), &mut out).unwrap();
        out
    };
    assert_eq!(sent("long/one"), b"\x30\x0e\0\x08long/one\x03\x23\0\x01");
    assert_eq!(sent("long/one"), b"\x30\x06\0\0\x03\x23\0\x01");
    assert_eq!(sent("long/two"), b"\x30\x0e\0\x08long/two\x03\x23\0\x02");
    assert_eq!(sent("long/three"), b"\x30\x0d\0\x0along/three\0", "the hub's own bound is two");
    assert_eq!(sent("t/1"), b"\x30\x06\0\x03t/1\0", "nothing is gained");
    assert_eq!(sent("long/two"), b"\x30\x06\0\0\x03\x23\0\x02");

    let (mut connection, _) = connected_5(b"");
    let mut out = Vec::new();
    connection.send(&Outgoing::new("long/one", b"", Qos::AtMostOnce, 0), &mut out).unwrap();
    assert_eq!(out, b"\x30\x0b\0\x08long/one\0", "the client takes none"); // [MQTT5-3.1.2-27]
}

#[test]
fn an_alias_that_the_client_was_not_sent_is_not_used() {
    // Aliases, and packets of at most 14 bytes.
    let (mut connection, _) = connected_5(b"\x22\0\x01\x27\0\0\0\x10");
    let mut out = Vec::new();
    let message = Outgoing::new("long/one", b"xx", Qos::AtMostOnce, 0);
    assert!(connection.send(&Outgoing { payload: b"much too long", ..message }, &mut out).is_err());
    assert!(out.is_empty()); // [MQTT5-3.1.2-24]
    assert_eq!(connection.send(&message, &mut out), Ok(()));
    assert_eq!(out, b"\x30\x0d\0\x08long/one\0xx", "with an alias it is too large");
    out.clear();
    assert_eq!(connection.send(&Outgoing { payload: b"", ..message }, &mut out), Ok(()));
    assert_eq!(out, b"\x30\x0e\0\x08long/one\x03\x23\0\x01");
}

#[test]
fn answers_are_bounded_by_what_the_client_takes() {
    let (connection, ..) = accepted_5(b"\x27\0\0\0\x14", &Accepted::default());
    let mut out = Vec::new();
    let granted = vec![Ok(Qos::AtMostOnce); 40];
    assert!(connection.subscribed(1, &granted, &mut out).is_err());
    assert!(connection.unsubscribed(1, &[true; 40], &mut out).is_err());
    assert!(out.is_empty());
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    connection.receive(&connect_5(b"\x27\0\0\0\x08", "c"), BATCH, now, &mut Vec::new()).unwrap();
    assert!(connection.accepted(&Accepted::default(), now, &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn subscriptions_are_answered_filter_by_filter() {
    let (connection, _) = connected_5(b"");
    let mut out = Vec::new();
    let granted = [Ok(Qos::ExactlyOnce), Err(ErrorKind::Forbidden), Err(ErrorKind::Throttled), Err(ErrorKind::Invalid)];
    connection.subscribed(5, &granted, &mut out).unwrap();
    assert_eq!(out, b"\x90\x07\0\x05\0\x02\x87\x97\x8f"); // [MQTT5-3.8.4-6], [MQTT5-3.9.3-1]
    out.clear();
    connection.unsubscribed(6, &[true, false], &mut out).unwrap();
    assert_eq!(out, b"\xb0\x05\0\x06\0\0\x11"); // [MQTT5-3.11.3-1]
}

#[test]
fn a_client_may_leave_with_its_will() {
    let check = |bytes: &[u8], with_will, session_expiry| {
        let (mut connection, now) = connected_5(b"\x11\0\0\0\x01");
        let received = connection.receive(bytes, BATCH, now, &mut Vec::new()).unwrap();
        let leave = Leave { with_will, session_expiry };
        assert!(matches!(received.request, Some(Request::Disconnect(found)) if found == leave), "{bytes:02x?}");
        let mut out = Vec::new();
        connection.farewell(Reason::Unspecified, "", &mut out);
        assert!(out.is_empty(), "who left is told nothing");
    };
    check(b"\xe0\0", false, None); // [MQTT5-3.14.4-3]
    check(b"\xe0\x01\0", false, None);
    check(b"\xe0\x01\x04", true, None);
    check(b"\xe0\x01\x80", true, None);
    check(b"\xe0\x07\0\x05\x11\0\0\0\x09", false, Some(9));
    check(b"\xe0\x07\0\x05\x11\0\0\0\0", false, Some(0));
}
