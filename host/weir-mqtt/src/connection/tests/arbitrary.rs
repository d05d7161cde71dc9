//! Whatever bytes come after CONNECT, nothing panics and nothing is acknowledged before it is durable.

use proptest::prelude::*;

use super::*;

/// CONNECT of each version.
const VERSIONS: [&[u8]; 3] =
    [b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c", CONNECT, b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x03\x22\0\x05\0\x01c"];

/// Whole packets of clients of any version, and bytes that are none.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let small = 1..6_u8;
    let packet = prop_oneof![
        4 => (small.clone(), 1..3_u8).prop_map(|(id, qos)| vec![0x30 | qos << 1, 5, 0, 1, b't', 0, id]),
        4 => (small.clone(), 1..3_u8).prop_map(|(id, qos)| vec![0x30 | qos << 1, 6, 0, 1, b't', 0, id, 0]),
        1 => (small.clone(), small.clone()).prop_map(|(id, alias)| {
            vec![0x32, 9, 0, 1, b'a' + id, 0, id, 3, 0x23, 0, alias]
        }),
        1 => (small.clone(), small.clone()).prop_map(|(id, alias)| vec![0x32, 8, 0, 0, 0, id, 3, 0x23, 0, alias]),
        4 => (small, prop::sample::select(vec![0x40_u8, 0x50, 0x62, 0x70])).prop_map(|(id, kind)| vec![kind, 2, 0, id]),
        1 => Just(PING.to_vec()),
        1 => Just(b"\x82\x06\0\x01\0\x01a\x01".to_vec()),
        1 => Just(b"\x82\x07\0\x01\0\0\x01a\x01".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
    ];
    proptest::collection::vec(packet, 0..24).prop_map(|packets| packets.concat())
}

/// Plays `bytes`. `durable` says at each step how far the log has come; what is acknowledged must be there.
fn play(connect: &[u8], bytes: &[u8], durable: &[u8]) {
    let now = Instant::now();
    let mut connection = Connection::new(BOUNDS, now);
    let mut out = Vec::new();
    connection.receive(connect, BATCH, now, &mut out).unwrap();
    connection.accepted(&Accepted::default(), now, &mut out).unwrap();
    out.clear();
    let (mut start, mut appended, mut safe) = (0, 0_u64, 0_u64);
    // What may be said, in this order, and the record that must be safe before.
    let mut due = std::collections::VecDeque::new();
    for step in durable.iter().cycle().take(200) {
        let Ok(received) = connection.receive(&bytes[start..], usize::from(*step % 5) + 1, now, &mut out) else {
            break;
        };
        start += received.consumed;
        if received.refused.is_some() {
            return; // Answered to, but here nobody knows to whom.
        }
        if !received.publishes.is_empty() && step % 7 > 0 {
            appended += 1;
            for publish in &received.publishes {
                assert!(!connection.topic(publish).is_empty());
                if let Some(packet_id) = publish.packet_id {
                    let kind = if publish.qos == Qos::ExactlyOnce { 0x50 } else { 0x40 };
                    due.push_back((kind, packet_id, appended));
                }
            }
            connection.published(&received.publishes, Offset(appended - 1));
        } else if !received.publishes.is_empty() {
            start -= received.consumed;
        }
        match received.request {
            Some(Request::Release(packet_id)) => {
                appended += 1;
                due.push_back((0x70, packet_id, appended));
                connection.released(packet_id, Some(Offset(appended - 1)));
            }
            Some(Request::Received(packet_id)) => {
                due.push_back((0x62, packet_id, 0));
                connection.received(packet_id, None);
            }
            Some(Request::Subscribe(subscribe)) => {
                connection.subscribed(subscribe.packet_id, &[Ok(Qos::AtMostOnce)], &mut out).unwrap();
            }
            _ => {}
        }
        safe = appended.min(safe + u64::from(step % 3));
        connection.durable(Offset(safe), &mut out);
        check(&mut out, &mut due, safe);
    }
    connection.durable(Offset(appended), &mut out);
    check(&mut out, &mut due, appended);
    assert!(due.is_empty() && connection.waiting() == 0, "{due:?}");
}

/// Every answer in `out` is the next that is due, and what it answers is safe.
fn check(out: &mut Vec<u8>, due: &mut std::collections::VecDeque<(u8, u16, u64)>, safe: u64) {
    let mut rest = &out[..];
    while let [first, length, ..] = rest {
        if matches!(first, 0x40 | 0x50 | 0x62 | 0x70) {
            let (kind, packet_id, needs) = due.pop_front().expect("an answer to nothing");
            assert_eq!((*first, u16::from_be_bytes([rest[2], rest[3]])), (kind, packet_id));
            assert!(needs <= safe, "{kind:#x} of {packet_id} before it is durable");
        }
        rest = &rest[2 + usize::from(*length)..];
    }
    out.clear();
}

proptest! {
    #[test]
    fn nothing_is_acknowledged_before_it_is_durable(
        bytes in traffic(),
        durable in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        for connect in VERSIONS {
            play(connect, &bytes, &durable);
        }
    }

    #[test]
    fn no_bytes_after_connect_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for connect in VERSIONS {
            play(connect, &bytes, &[1, 2, 3]);
        }
    }
}
