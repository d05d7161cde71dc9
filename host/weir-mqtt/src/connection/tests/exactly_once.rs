//! QoS 2 in both directions [MQTT-4.3.3-1], [MQTT-4.3.3-2].

use super::*;

const PUBLISH: &[u8] = b"\x34\x05\0\x01t\0\x07";

#[test]
fn a_message_is_taken_released_and_completed_when_that_is_durable() {
    let (mut connection, now) = connected();
    let mut out = Vec::new();
    let received = connection.receive(PUBLISH, BATCH, now, &mut out).unwrap();
    assert_eq!(received.publishes[0].qos, Qos::ExactlyOnce);
    connection.published(&received.publishes, Offset(3));
    connection.durable(Offset(3), &mut out);
    assert!(out.is_empty());
    connection.durable(Offset(4), &mut out);
    assert_eq!(out, b"\x50\x02\0\x07");
    let received = connection.receive(b"\x62\x02\0\x07", BATCH, now, &mut out).unwrap();
    assert!(matches!(received.request, Some(Request::Release(7))));
    connection.released(7, Some(Offset(4)));
    connection.durable(Offset(4), &mut out);
    assert_eq!(out.len(), 4);
    connection.durable(Offset(5), &mut out);
    assert_eq!(out[4..], *b"\x70\x02\0\x07");
}

#[test]
fn a_message_that_is_sent_is_released_when_its_receipt_is_durable() {
    let (mut connection, now) = connected();
    let mut out = Vec::new();
    let received = connection.receive(b"\x50\x02\0\x09", BATCH, now, &mut out).unwrap();
    assert!(matches!(received.request, Some(Request::Received(9))));
    connection.received(9, Some(Offset(1)));
    connection.durable(Offset(1), &mut out);
    assert!(out.is_empty());
    connection.durable(Offset(2), &mut out);
    assert_eq!(out, b"\x62\x02\0\x09");
    let received = connection.receive(b"\x70\x02\0\x09", BATCH, now, &mut out).unwrap();
    assert_eq!((received.completed, received.request.is_none()), (vec![9], true));
}

/// In the order of what they answer, whatever is durable [MQTT-4.6.0-3], [MQTT-4.6.0-4].
#[test]
fn answers_keep_their_order() {
    let (mut connection, _) = connected();
    connection.received(1, Some(Offset(5)));
    connection.released(2, None);
    connection.release_again(&[3, 4]);
    let mut out = Vec::new();
    connection.durable(Offset(5), &mut out);
    assert_eq!((out.len(), connection.waiting_for()), (0, Some(Offset(5))));
    connection.durable(Offset(6), &mut out);
    // Before MQTT 5 nobody is told that an identifier was not in use.
    assert_eq!(out, b"\x62\x02\0\x01\x70\x02\0\x02\x62\x02\0\x03\x62\x02\0\x04");
    // What waits for nothing goes at once, also from a log that is empty.
    connection.received(5, None);
    connection.durable(Offset::ZERO, &mut out);
    assert_eq!(out[16..], *b"\x62\x02\0\x05");
}

#[test]
fn steps_of_a_handshake_come_one_by_one_and_again_if_asked_for_again() {
    let (mut connection, now) = connected();
    let bytes = [PUBLISH, b"\x62\x02\0\x07", b"\x40\x02\0\x01", b"\x50\x02\0\x02"].concat();
    let mut out = Vec::new();
    let received = connection.receive(&bytes, BATCH, now, &mut out).unwrap();
    assert_eq!((received.publishes.len(), received.consumed), (1, PUBLISH.len()));
    for _ in 0..2 {
        let received = connection.receive(&bytes[PUBLISH.len()..], BATCH, now, &mut out).unwrap();
        assert!(matches!(received.request, Some(Request::Release(7))));
        assert_eq!(received.consumed, 4);
    }
    let received = connection.receive(&bytes[PUBLISH.len() + 4..], BATCH, now, &mut out).unwrap();
    assert_eq!((received.acknowledged, received.consumed), (vec![1], 8));
    assert!(matches!(received.request, Some(Request::Received(2))));
}
