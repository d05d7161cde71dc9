//! No bytes make the codec panic, and it agrees with rumqttd's wherever that is right.

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttd::protocol::{self, Protocol as _, QoS, RetainForwardRule, v4::V4};

use super::*;

fn rumqttd_bytes(packet: protocol::Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    V4.write(packet, &mut bytes).unwrap();
    bytes.to_vec()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// Well-formed packets, as rumqttd writes them.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-zé/]{1,12}";
    let will = proptest::option::of((text, any::<Vec<u8>>(), qos(), any::<bool>()));
    let login = proptest::option::of((text, text));
    let connect = (any::<u16>(), text, any::<bool>(), will, login).prop_map(|(keep_alive, id, clean, will, login)| {
        let connect = protocol::Connect { keep_alive, client_id: id, clean_session: clean };
        let will = will.map(|(topic, message, qos, retain)| protocol::LastWill {
            topic: topic.into(),
            message: message.into(),
            qos,
            retain,
        });
        let login = login.map(|(username, password)| protocol::Login { username, password });
        rumqttd_bytes(protocol::Packet::Connect(connect, None, will, None, login))
    });
    let publish = (text, any::<Vec<u8>>(), qos(), 1..u16::MAX, any::<bool>()).prop_map(
        |(topic, payload, qos, packet_id, retain)| {
            let mut out = Vec::new();
            let qos = requests::qos(qos);
            let message = write::Outgoing { topic: &topic, payload: &payload, qos, packet_id, retain, dup: false };
            write::publish(&mut out, &message).unwrap();
            out
        },
    );
    let subscribe = (1..u16::MAX, proptest::collection::vec((text, qos()), 1..4)).prop_map(|(pkid, filters)| {
        let filters = filters.into_iter().map(|(path, qos)| protocol::Filter {
            path,
            qos,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        });
        let subscribe = protocol::Subscribe { pkid, filters: filters.collect() };
        rumqttd_bytes(protocol::Packet::Subscribe(subscribe, None))
    });
    let unsubscribe = (1..u16::MAX, proptest::collection::vec(text, 1..4)).prop_map(|(pkid, filters)| {
        rumqttd_bytes(protocol::Packet::Unsubscribe(protocol::Unsubscribe { pkid, filters }, None))
    });
    let puback = (1..u16::MAX).prop_map(|pkid| {
        let puback = protocol::PubAck { pkid, reason: protocol::PubAckReason::Success };
        rumqttd_bytes(protocol::Packet::PubAck(puback, None))
    });
    prop_oneof![connect, publish, subscribe, unsubscribe, puback, Just(vec![0xc0, 0]), Just(vec![0xe0, 0])]
}

/// A well-formed packet with some bytes changed, cut, or added.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (well_formed(), changes, any::<prop::sample::Index>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..3))
        .prop_map(|(mut bytes, changes, cut, cuts, tail)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            bytes.extend(tail);
            bytes
        })
}

/// Frames of any type, with the remaining length of their body.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(first, body)| packet(first, &body))
}

/// Decodes as much as there is; what comes out does not matter.
fn decode_all(all: &[u8]) {
    for protocol in [Protocol::Mqtt31, Protocol::Mqtt311] {
        let mut bytes = all;
        while let Ok(Some(frame)) = frame::split(bytes, LIMIT) {
            let Ok(_packet) = decode(frame, protocol, FILTERS) else { break };
            bytes = &bytes[frame.bytes.len()..];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_frame_makes_it_panic(bytes in framed()) {
        decode_all(&bytes);
    }

    #[test]
    fn no_mutation_makes_it_panic(bytes in proptest::collection::vec(mutated(), 1..4)) {
        decode_all(&bytes.concat());
    }

    #[test]
    fn what_is_well_formed_is_accepted(bytes in well_formed()) {
        let frame = frame::split(&bytes, usize::MAX).unwrap().unwrap();
        prop_assert_eq!(frame.bytes.len(), bytes.len());
        prop_assert!(decode(frame, Protocol::Mqtt311, FILTERS).is_ok());
    }

    /// Whatever passes the guards, rumqttd decodes too, and to the same.
    #[test]
    fn the_guards_admit_nothing_that_the_decoder_refuses(bytes in prop_oneof![mutated(), framed()]) {
        let Ok(Some(frame)) = frame::split(&bytes, LIMIT) else { return Ok(()) };
        let Ok(ours) = decode(frame, Protocol::Mqtt311, FILTERS) else { return Ok(()) };
        let login = matches!(&ours, Packet::Connect(connect) if connect.password.is_some());
        let theirs = V4.read_mut(&mut BytesMut::from(frame.bytes), LIMIT);
        match (ours, theirs) {
            (Packet::Publish(ours), Ok(protocol::Packet::Publish(theirs, None))) => {
                let flags = theirs.serialize()[0];
                let packet_id = u16::from_be_bytes(theirs.serialize()[1..3].try_into().unwrap());
                prop_assert_eq!(flags, frame.bytes[0]);
                prop_assert_eq!(ours.packet_id.unwrap_or(0), packet_id);
                prop_assert_eq!(ours.topic.as_bytes(), &theirs.topic[..]);
                prop_assert_eq!(ours.payload, &theirs.payload[..]);
            }
            (Packet::PubAck(ours), Ok(protocol::Packet::PubAck(theirs, None))) => prop_assert_eq!(ours, theirs.pkid),
            (Packet::Connect(ours), Ok(protocol::Packet::Connect(theirs, None, will, None, _))) => {
                prop_assert_eq!(&ours.client_id, &theirs.client_id);
                prop_assert_eq!(ours.keep_alive, theirs.keep_alive);
                prop_assert_eq!(ours.clean, theirs.clean_session);
                prop_assert_eq!(ours.will.is_some(), will.is_some());
            }
            // The decoder knows level 4 alone, and passwords that are text.
            (Packet::Connect(ours), Err(_)) => prop_assert!(login || ours.protocol == Protocol::Mqtt31),
            (Packet::Subscribe(_), Ok(protocol::Packet::Subscribe(..)))
            | (Packet::Unsubscribe(_), Ok(protocol::Packet::Unsubscribe(..)))
            | (Packet::PingReq, Ok(protocol::Packet::PingReq(_)))
            | (Packet::Disconnect, Ok(protocol::Packet::Disconnect(..))) => {}
            (ours, theirs) => prop_assert!(false, "{:?} is not {:?}", ours, theirs),
        }
    }
}
