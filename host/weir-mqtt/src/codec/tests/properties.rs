//! No bytes make the codec panic, and it agrees with rumqttd's wherever that is right.

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttd::protocol::{self, Protocol as _, QoS, RetainForwardRule, v4::V4, v5::V5};

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
            let qos = Qos::from_u8(qos as u8).unwrap();
            let message = write::Outgoing { retain, ..write::Outgoing::new(&topic, &payload, qos, packet_id) };
            write::publish(&mut out, &write::Terms::default(), &message).unwrap();
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

/// Well-formed packets of MQTT 5, as rumqttd writes them.
fn well_formed_5() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-zé]{1,12}";
    let user = proptest::collection::vec((text, text), 0..3);
    let write = |packet| {
        let mut bytes = BytesMut::new();
        V5.write(packet, &mut bytes).unwrap();
        bytes.to_vec()
    };
    let login = proptest::option::of((text, text));
    let will = proptest::option::of((text, any::<Vec<u8>>(), qos(), any::<bool>(), any::<u32>(), user.clone()));
    let numbers =
        (proptest::option::of(any::<u32>()), proptest::option::of(1..u16::MAX), proptest::option::of(1..u32::MAX));
    let connect = (any::<u16>(), text, numbers, user.clone(), will, login).prop_map(
        move |(keep_alive, client_id, (expiry, receive, size), user, will, login)| {
            let properties = protocol::ConnectProperties {
                session_expiry_interval: expiry,
                receive_maximum: receive,
                max_packet_size: size,
                topic_alias_max: Some(7),
                request_response_info: Some(1),
                request_problem_info: Some(0),
                user_properties: user,
                authentication_method: None,
                authentication_data: None,
            };
            let (will, will_properties) = will.map_or((None, None), |(topic, message, qos, retain, delay, user)| {
                let properties = protocol::LastWillProperties {
                    delay_interval: Some(delay),
                    payload_format_indicator: Some(0),
                    message_expiry_interval: Some(delay),
                    content_type: Some("t".into()),
                    response_topic: Some("r".into()),
                    correlation_data: Some(message.clone().into()),
                    user_properties: user,
                };
                let will = protocol::LastWill { topic: topic.into(), message: message.into(), qos, retain };
                (Some(will), Some(properties))
            });
            let connect = protocol::Connect { keep_alive, client_id, clean_session: keep_alive % 2 == 0 };
            let login = login.map(|(username, password)| protocol::Login { username, password });
            write(protocol::Packet::Connect(connect, Some(properties), will, will_properties, login))
        },
    );
    let options = (text, qos(), any::<bool>(), any::<bool>(), 0..3_u8);
    let filters = proptest::collection::vec(options, 1..4);
    let subscribe = (1..u16::MAX, proptest::option::of(1..268_435_456_usize), user.clone(), filters).prop_map(
        move |(pkid, id, user_properties, filters)| {
            let filters = filters.into_iter().map(|(path, qos, nolocal, preserve_retain, rule)| protocol::Filter {
                path,
                qos,
                nolocal,
                preserve_retain,
                retain_forward_rule: match rule {
                    0 => RetainForwardRule::OnEverySubscribe,
                    1 => RetainForwardRule::OnNewSubscribe,
                    _ => RetainForwardRule::Never,
                },
            });
            let subscribe = protocol::Subscribe { pkid, filters: filters.collect() };
            write(protocol::Packet::Subscribe(subscribe, Some(protocol::SubscribeProperties { id, user_properties })))
        },
    );
    let unsubscribe = (1..u16::MAX, user.clone(), proptest::collection::vec(text, 1..4)).prop_map(
        move |(pkid, user_properties, filters)| {
            let properties = Some(protocol::UnsubscribeProperties { user_properties });
            write(protocol::Packet::Unsubscribe(protocol::Unsubscribe { pkid, filters }, properties))
        },
    );
    let publish = (text, any::<Vec<u8>>(), qos(), 1..u16::MAX, user).prop_map(|(topic, payload, qos, id, user)| {
        let mut out = Vec::new();
        let user = write::EncodedUserProperties::from_json(&serde_json::to_string(&user).unwrap()).unwrap();
        let message = write::Outgoing {
            topic_alias: Some(id),
            expiry: Some(id.into()),
            content_type: Some("text/plain"),
            response_topic: Some(&topic),
            correlation: Some(&payload),
            user: Some(&user),
            ..write::Outgoing::new(&topic, &payload, Qos::from_u8(qos as u8).unwrap(), id)
        };
        write::publish(&mut out, &FIVE, &message).unwrap();
        out
    });
    let others = prop_oneof![
        Just(b"\xe0\x01\x04".to_vec()),
        Just(b"\xe0\x07\x04\x05\x11\0\0\0\x09".to_vec()),
        Just(b"\x40\x08\0\x01\x80\x04\x1f\0\x01r".to_vec()),
        Just(b"\x62\x03\0\x01\x92".to_vec()),
        Just(b"\xf0\x06\x19\x04\x15\0\x01m".to_vec()),
    ];
    prop_oneof![connect, subscribe, unsubscribe, publish, others]
}

const FIVE: write::Terms =
    write::Terms { protocol: Protocol::Mqtt5, max_packet_size: u32::MAX, problem_information: true };

/// A well-formed packet with some bytes changed, cut, or added.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        prop_oneof![well_formed(), well_formed_5()],
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
        proptest::collection::vec(any::<u8>(), 0..3),
    )
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
    for protocol in [Protocol::Mqtt31, Protocol::Mqtt311, Protocol::Mqtt5] {
        let mut bytes = all;
        while let Ok(Some(frame)) = frame::split(bytes, LIMIT) {
            let Ok(_packet) = decode(frame, protocol, FILTERS) else { break };
            bytes = &bytes[frame.bytes.len()..];
        }
    }
}

fn fail(frame: Frame<'_>) -> TestCaseError {
    TestCaseError::fail(format!("the decoder refuses {:02x?}", frame.bytes))
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

    #[test]
    fn what_is_well_formed_in_5_is_accepted(bytes in well_formed_5()) {
        let frame = frame::split(&bytes, usize::MAX).unwrap().unwrap();
        prop_assert_eq!(frame.bytes.len(), bytes.len());
        let packet = decode(frame, Protocol::Mqtt5, FILTERS);
        prop_assert!(packet.is_ok(), "{:?}", packet);
    }

    /// The same of MQTT 5, for what rumqttd reads right.
    #[test]
    fn the_guards_admit_nothing_that_the_decoder_of_5_refuses(bytes in prop_oneof![mutated(), framed()]) {
        let Ok(Some(frame)) = frame::split(&bytes, LIMIT) else { return Ok(()) };
        let Ok(ours) = decode(frame, Protocol::Mqtt5, FILTERS) else { return Ok(()) };
        let read = || V5.read_mut(&mut BytesMut::from(frame.bytes), LIMIT);
        match ours {
            Packet::Publish(ours) => {
                let Ok(protocol::Packet::Publish(theirs, properties)) = read() else { return Err(fail(frame)) };
                prop_assert_eq!(ours.topic.as_bytes(), &theirs.topic[..]);
                prop_assert_eq!(ours.payload, &theirs.payload[..]);
                prop_assert_eq!(theirs.serialize()[0], frame.bytes[0]);
                let theirs = properties.unwrap_or_default();
                prop_assert_eq!(ours.properties.topic_alias, theirs.topic_alias);
                prop_assert_eq!(ours.properties.expiry, theirs.message_expiry_interval);
                prop_assert_eq!(ours.properties.response_topic, theirs.response_topic.as_deref());
                prop_assert_eq!(ours.properties.content_type, theirs.content_type.as_deref());
                prop_assert_eq!(ours.properties.correlation, theirs.correlation_data.as_deref());
                let user: Vec<_> = ours.properties.user.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                prop_assert_eq!(user, theirs.user_properties);
            }
            Packet::Subscribe(ours) => {
                let Ok(protocol::Packet::Subscribe(theirs, _)) = read() else { return Err(fail(frame)) };
                prop_assert_eq!(ours.filters.len(), theirs.filters.len());
            }
            Packet::Unsubscribe(ours) => {
                let Ok(protocol::Packet::Unsubscribe(theirs, _)) = read() else { return Err(fail(frame)) };
                prop_assert_eq!(ours.filters.len(), theirs.filters.len());
            }
            _ => {}
        }
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
            (Packet::PubAck(ours), Ok(protocol::Packet::PubAck(theirs, None))) => prop_assert_eq!(ours.packet_id, theirs.pkid),
            (Packet::Connect(ours), Ok(protocol::Packet::Connect(theirs, None, will, None, _))) => {
                prop_assert_eq!(&ours.client_id, &theirs.client_id);
                prop_assert_eq!(ours.keep_alive, theirs.keep_alive);
                prop_assert_eq!(ours.clean, theirs.clean_session);
                prop_assert_eq!(ours.will.is_some(), will.is_some());
            }
            // The decoder knows level 4 alone, and passwords that are text.
            (Packet::Connect(ours), Err(_)) => prop_assert!(login || ours.protocol != Protocol::Mqtt311),
            (Packet::PubRec(_), Ok(protocol::Packet::PubRec(..)))
            | (Packet::PubRel(_), Ok(protocol::Packet::PubRel(..)))
            | (Packet::PubComp(_), Ok(protocol::Packet::PubComp(..))) => {}
            (Packet::Subscribe(_), Ok(protocol::Packet::Subscribe(..)))
            | (Packet::Unsubscribe(_), Ok(protocol::Packet::Unsubscribe(..)))
            | (Packet::PingReq, Ok(protocol::Packet::PingReq(_)))
            | (Packet::Disconnect(_), Ok(protocol::Packet::Disconnect(..))) => {}
            (ours, theirs) => prop_assert!(false, "{:?} is not {:?}", ours, theirs),
        }
    }
}
