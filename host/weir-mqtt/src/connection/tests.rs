//! The rules of a connection, case by case; what is here holds for 3.1 and 3.1.1.

mod arbitrary;
mod exactly_once;
mod five;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_core::{ErrorKind, Offset, Qos};

use super::*;
use crate::{
    ProtocolError as E,
    codec::write::{Outgoing, Unwritable},
    codes::Reason,
};

const BOUNDS: Bounds = Bounds {
    payload: 16,
    filters: 4,
    handshake: Duration::from_secs(10),
    keep_alive: 60,
    receive_maximum: 3,
    topic_aliases: 2,
};
/// MQTT 3.1.1, clean, keep-alive 10 s, client id "c".
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
const PING: &[u8] = b"\xc0\0";

fn qos0(payload: &str) -> Vec<u8> {
    [&[0x30, 3 + u8::try_from(payload.len()).unwrap(), 0, 1, b't'], payload.as_bytes()].concat()
}

fn qos1(packet_id: u8) -> Vec<u8> {
    vec![0x32, 5, 0, 1, b't', 0, packet_id]
}

/// A connection that has been accepted, and when.
fn connected() -> (Connection, Instant) {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    let received = connection.receive(CONNECT, BATCH, now, &mut Vec::new()).unwrap();
    assert!(matches!(received.request, Some(Request::Connect(_))));
    let mut out = Vec::new();
    connection.accepted(&Accepted::default(), now, &mut out).unwrap();
    assert_eq!(out, [0x20, 2, 0, 0]);
    (connection, now)
}

/// An error on the first packet of a new connection, and what is sent before it is closed.
fn refused(bytes: &[u8]) -> (E, Vec<u8>) {
    let now = Instant::now();
    let mut out = Vec::new();
    let mut connection = Connection::new(BOUNDS, now);
    let error = connection.receive(bytes, BATCH, now, &mut out).expect_err("refused");
    // Whatever follows is not read any more.
    assert_eq!(connection.receive(CONNECT, BATCH, now, &mut out).unwrap().consumed, 0);
    (error, out)
}

#[test]
fn the_first_packet_must_be_connect() {
    assert_eq!(refused(PING), (E::ConnectExpected, vec![])); // [MQTT-3.1.0-1]
    assert_eq!(refused(&qos0("x")), (E::ConnectExpected, vec![]));
    // Crash input 5, before anybody was asked who he is.
    for bytes in [&[0x20, 2, 0, 0][..], &[0xb0, 2, 0, 1], &[0xd0, 0]] {
        assert_eq!(refused(bytes), (E::PacketType(bytes[0] >> 4), vec![]));
    }
    assert_eq!(refused(b"GET / HTTP/1.1\r\n").0, E::ConnectExpected);
}

#[test]
fn connect_comes_once() {
    let (mut connection, now) = connected();
    let error = connection.receive(CONNECT, BATCH, now, &mut Vec::new()).unwrap_err();
    assert_eq!(error, E::ConnectRepeated); // [MQTT-3.1.0-2]
}

#[test]
fn other_versions_are_told_which_are_spoken() {
    let v6 = b"\x10\x0d\0\x04MQTT\x06\x02\0\x0a\0\x01c";
    assert_eq!(refused(v6), (E::Version(6), vec![0x20, 2, 0, 1])); // [MQTT-3.1.2-2]
    let other = b"\x10\x0d\0\x04AMQP\x04\x02\0\x0a\0\x01c";
    assert_eq!(refused(other), (E::ProtocolName, vec![])); // [MQTT-3.1.2-1]
}

#[test]
fn a_client_without_a_name_gets_one_only_if_it_is_clean() {
    let connect = |bytes: &[u8]| {
        let mut connection = Connection::new(BOUNDS, Instant::now());
        let received = connection.receive(bytes, BATCH, Instant::now(), &mut Vec::new()).unwrap();
        matches!(received.request, Some(Request::Connect(_)))
    };
    assert!(connect(b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0")); // [MQTT-3.1.3-6]
    let stateful = b"\x10\x0c\0\x04MQTT\x04\0\0\x0a\0\0";
    assert_eq!(refused(stateful), (E::ClientId, vec![0x20, 2, 0, 2])); // [MQTT-3.1.3-8]
    let old = b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x0a\0\0";
    assert_eq!(refused(old), (E::ClientId, vec![0x20, 2, 0, 2]));
}

#[test]
fn nothing_is_read_while_connect_is_unanswered_or_after_it_was_refused() {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    let bytes = [CONNECT, PING].concat();
    let mut out = Vec::new();
    let received = connection.receive(&bytes, BATCH, now, &mut out).unwrap();
    assert_eq!(received.consumed, CONNECT.len());
    assert_eq!(connection.receive(PING, BATCH, now, &mut out).unwrap().consumed, 0);
    connection.refused(ErrorKind::Unauthenticated, "", &mut out);
    assert_eq!(connection.receive(PING, BATCH, now, &mut out).unwrap().consumed, 0); // [MQTT-3.1.4-5]
    assert_eq!(out, [0x20, 2, 0, 4]);
}

#[test]
fn a_session_is_never_present_for_mqtt_31() {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    connection.receive(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c", BATCH, now, &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    let accepted = Accepted { session_present: true, ..Accepted::default() };
    connection.accepted(&accepted, now, &mut out).unwrap();
    assert_eq!(out, [0x20, 2, 0, 0]);
}

#[test]
fn publishes_of_one_read_come_as_one_batch() {
    let (mut connection, now) = connected();
    let bytes = [qos0("a"), qos1(7), b"\x40\x02\0\x01".to_vec(), qos0("b"), PING.to_vec(), qos0("c")].concat();
    let mut out = Vec::new();
    let received = connection.receive(&bytes, BATCH, now, &mut out).unwrap();
    let payloads: Vec<_> = received.publishes.iter().map(|publish| publish.payload).collect();
    assert_eq!(payloads, [&b"a"[..], b"", b"b"]);
    assert_eq!((&received.acknowledged[..], out.len()), (&[1][..], 0), "the ping waits its turn");

    let rest = &bytes[received.consumed..];
    let received = connection.receive(rest, BATCH, now, &mut out).unwrap();
    assert_eq!((received.publishes.len(), received.consumed, &out[..]), (0, 2, &[0xd0, 0][..]));
    let received = connection.receive(&rest[2..], BATCH, now, &mut out).unwrap();
    assert_eq!(received.publishes.len(), 1);
}

#[test]
fn a_batch_that_could_not_be_published_can_be_asked_for_again() {
    let (mut connection, now) = connected();
    let bytes = [qos1(1), qos1(2)].concat();
    for batch in [BATCH, BATCH, 1] {
        let received = connection.receive(&bytes, batch, now, &mut Vec::new()).unwrap();
        assert_eq!(received.publishes.len(), batch.min(2));
        assert_eq!(received.consumed, 7 * batch.min(2));
    }
    assert_eq!(connection.waiting(), 0);
}

#[test]
fn what_comes_before_an_error_is_not_lost() {
    let (mut connection, now) = connected();
    let bytes = [qos0("a"), vec![0xd0, 0]].concat();
    let received = connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
    assert_eq!(received.publishes.len(), 1);
    let error = connection.receive(&bytes[received.consumed..], BATCH, now, &mut Vec::new()).unwrap_err();
    assert_eq!(error, E::PacketType(13));
}

#[test]
fn a_packet_may_come_in_any_pieces() {
    let (mut connection, now) = connected();
    let bytes = qos0("abc");
    for end in 0..bytes.len() {
        assert_eq!(connection.receive(&bytes[..end], BATCH, now, &mut Vec::new()).unwrap().consumed, 0, "{end}");
    }
    assert_eq!(connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap().consumed, bytes.len());
}

#[test]
fn a_payload_is_bounded() {
    let (mut connection, now) = connected();
    assert!(connection.receive(&qos0(&"x".repeat(16)), BATCH, now, &mut Vec::new()).is_ok());
    let error = connection.receive(&qos0(&"x".repeat(17)), BATCH, now, &mut Vec::new()).unwrap_err();
    assert_eq!(error, E::TooLarge { size: 17, limit: 16 });
    // The header alone tells what cannot fit in any case.
    let (mut connection, now) = connected();
    let error = connection.receive(b"\x30\xff\xff\x7f", BATCH, now, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, E::TooLarge { size: 2_097_151, .. }));

    let will = b"\x10\x23\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x01w\0\x11xxxxxxxxxxxxxxxxx";
    assert_eq!(refused(will).0, E::TooLarge { size: 17, limit: 16 });
}

#[test]
fn a_publish_is_acknowledged_when_it_is_durable_and_in_order() {
    let (mut connection, now) = connected();
    let publish = |connection: &mut Connection, bytes: &[u8], offset| {
        let received = connection.receive(bytes, BATCH, now, &mut Vec::new()).unwrap();
        connection.published(&received.publishes, Offset(offset));
    };
    publish(&mut connection, &[qos1(3), qos0("x"), qos1(1)].concat(), 12);
    publish(&mut connection, &qos1(2), 13);
    assert_eq!((connection.waiting(), connection.waiting_for()), (3, Some(Offset(12))));

    let mut out = Vec::new();
    connection.durable(Offset(12), &mut out);
    assert!(out.is_empty(), "the record at 12 is not below 12");
    connection.durable(Offset(13), &mut out);
    assert_eq!(out, [0x40, 2, 0, 3, 0x40, 2, 0, 1]); // [MQTT-4.6.0-2]
    connection.durable(Offset(99), &mut out);
    assert_eq!(out[8..], [0x40, 2, 0, 2]);
    assert_eq!((connection.waiting(), connection.waiting_for()), (0, None));
}

#[test]
fn nothing_is_acknowledged_after_the_hub_said_farewell() {
    let (mut connection, now) = connected();
    let bytes = qos1(1);
    let received = connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
    connection.published(&received.publishes, Offset(3));
    let mut out = Vec::new();
    connection.farewell(Reason::ServerShuttingDown, "", &mut out);
    connection.durable(Offset(4), &mut out);
    assert!(out.is_empty(), "3.1.1 has no DISCONNECT from the hub, and nothing follows it");
    assert_eq!((connection.waiting(), connection.waiting_for()), (0, None));
}

#[test]
fn a_repeated_publish_is_published_and_acknowledged_again() {
    let (mut connection, now) = connected();
    let mut again = qos1(5);
    again[0] |= 0b1000;
    let bytes = [qos1(5), again].concat();
    let received = connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
    connection.published(&received.publishes, Offset(1));
    let mut out = Vec::new();
    connection.durable(Offset(2), &mut out);
    assert_eq!(out, [0x40, 2, 0, 5, 0x40, 2, 0, 5]); // [MQTT-4.3.2-2]
}

#[test]
fn messages_are_sent_as_the_session_says() {
    let (mut connection, _) = connected();
    let mut out = Vec::new();
    let mut send = |message: Outgoing<'_>| connection.send(&message, &mut out);
    assert_eq!(send(Outgoing { dup: true, ..Outgoing::new("t", b"a", Qos::AtLeastOnce, 1) }), Ok(()));
    assert_eq!(send(Outgoing { retain: true, ..Outgoing::new("t", b"b", Qos::ExactlyOnce, 513) }), Ok(()));
    // What 3.1.1 has no place for is left out.
    let message = Outgoing { expiry: Some(7), topic_alias: Some(1), ..Outgoing::new("t", b"c", Qos::AtMostOnce, 0) };
    assert_eq!(send(message), Ok(()));
    let long = "t".repeat(70_000);
    assert_eq!(send(Outgoing::new(&long, b"", Qos::AtLeastOnce, 2)), Err(Unwritable::Format));
    assert_eq!(out, b"\x3a\x06\0\x01t\0\x01a\x35\x06\0\x01t\x02\x01b\x30\x04\0\x01tc");
}

#[test]
fn a_refused_filter_gets_0x80_in_its_place() {
    let (mut connection, now) = connected();
    let bytes = b"\x82\x0a\0\x05\0\x01a\x01\0\x01b\x02";
    let received = connection.receive(bytes, BATCH, now, &mut Vec::new()).unwrap();
    let Some(Request::Subscribe(subscribe)) = received.request else { panic!() };
    let mut out = Vec::new();
    let granted = [Err(ErrorKind::Forbidden), Ok(Qos::AtLeastOnce)];
    connection.subscribed(subscribe.packet_id, &granted, &mut out).unwrap();
    assert_eq!(out, [0x90, 4, 0, 5, 0x80, 1]); // [MQTT-3.8.4-1], [MQTT-3.8.4-5]
    out.clear();
    connection.unsubscribed(6, &[true, false], &mut out).unwrap();
    assert_eq!(out, [0xb0, 2, 0, 6]); // [MQTT-3.10.4-4]
}

#[test]
fn disconnect_ends_the_reading() {
    let (mut connection, now) = connected();
    let bytes = [qos0("a"), vec![0xe0, 0], PING.to_vec()].concat();
    let received = connection.receive(&bytes, BATCH, now, &mut Vec::new()).unwrap();
    assert!(received.request.is_none(), "what was published before goes first");
    let received = connection.receive(&bytes[received.consumed..], BATCH, now, &mut Vec::new()).unwrap();
    let leave = Leave { with_will: false, session_expiry: None };
    assert!(matches!(received.request, Some(Request::Disconnect(found)) if found == leave));
    assert_eq!(connection.receive(PING, BATCH, now, &mut Vec::new()).unwrap().consumed, 0); // [MQTT-3.14.4-2]
    assert_eq!(connection.deadline(), None);
}

#[test]
fn a_stranger_has_until_the_handshake_bound() {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    connection.receive(&CONNECT[..5], BATCH, now + Duration::from_secs(9), &mut Vec::new()).unwrap();
    assert_eq!(connection.deadline(), Some(now + Duration::from_secs(10)), "a part of CONNECT buys no time");
    assert_eq!(connection.check(now + Duration::from_secs(9)), Ok(()));
    assert_eq!(connection.check(now + Duration::from_secs(10)), Err(E::HandshakeTimeout));
}

#[test]
fn a_silent_client_is_given_up_after_one_and_a_half_keep_alives() {
    let (mut connection, now) = connected();
    let second = Duration::from_secs(1);
    assert_eq!(connection.deadline(), Some(now + 15 * second)); // [MQTT-3.1.2-24]
    connection.receive(PING, BATCH, now + 10 * second, &mut Vec::new()).unwrap();
    assert_eq!(connection.check(now + 24 * second), Ok(()));
    // Half a packet is not heard.
    connection.receive(&PING[..1], BATCH, now + 24 * second, &mut Vec::new()).unwrap();
    assert_eq!(connection.check(now + 25 * second), Err(E::KeepAlive));
    // While the hub does not listen, nobody is silent.
    connection.not_listening(now + 60 * second);
    assert_eq!(connection.check(now + 70 * second), Ok(()));
}

#[test]
fn without_keep_alive_a_client_may_be_silent() {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    connection.receive(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c", BATCH, now, &mut Vec::new()).unwrap();
    connection.accepted(&Accepted::default(), now, &mut Vec::new()).unwrap();
    assert_eq!(connection.deadline(), None);
}

/// Packets of a connected client, some of them wrong.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let packet = prop_oneof![
        3 => "[a-z]{0,18}".prop_map(|payload| qos0(&payload)),
        3 => any::<u8>().prop_map(qos1),
        1 => any::<u8>().prop_map(|id| vec![0x40, 2, 0, id]),
        1 => Just(PING.to_vec()),
        1 => Just(b"\x82\x06\0\x01\0\x01a\x01".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
    ];
    proptest::collection::vec(packet, 0..12).prop_map(|packets| packets.concat())
}

/// What a connection makes of `bytes` when they come in pieces of `piece` bytes: payloads, replies, and how it ended.
fn outcome(bytes: &[u8], piece: usize, batch: usize) -> (Vec<Vec<u8>>, Vec<u8>, Option<E>) {
    let (mut connection, now) = connected();
    let (mut payloads, mut out) = (Vec::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    loop {
        match connection.receive(&bytes[start..end], batch, now, &mut out) {
            Ok(received) if received.consumed > 0 => {
                assert!(received.publishes.is_empty() || received.request.is_none());
                payloads.extend(received.publishes.iter().map(|publish| publish.payload.to_vec()));
                start += received.consumed;
            }
            Ok(_) if end == bytes.len() => return (payloads, out, None),
            Ok(_) => end = end.saturating_add(piece).min(bytes.len()),
            Err(error) => return (payloads, out, Some(error)),
        }
    }
}

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_come_do_not_matter(bytes in traffic(), piece in 1_usize..9, batch in 1_usize..4) {
        prop_assert_eq!(outcome(&bytes, piece, batch), outcome(&bytes, usize::MAX, BATCH));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut connection = Connection::new(BOUNDS, Instant::now());
        let _refused = connection.receive(&bytes, BATCH, Instant::now(), &mut Vec::new());
        outcome(&bytes, 3, BATCH);
    }
}
