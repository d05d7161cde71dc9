//! CONNECT and CONNACK: who is let in, and what is said first.

use super::peer::{Peer, another_server, answered_and_closed, both, payloads};
use crate::harness::SOON;
use crate::harness::wire::{
    Connect, Packet, Property, Publish, Received, Subscribe, Version, Will, Wire, encode, frame,
};

/// CONNECT of the peer's version with these flags, keep-alive 0, no properties, and this payload.
fn connect(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([version as u8, flags, 0, 0]);
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(payload);
    frame(0x10, &body)
}

// [MQTT-3.1.0-1], [MQTT5-3.1.0-1]. Nothing is said to a stranger: [MQTT-3.2.0-1], [MQTT5-3.2.0-1], [MQTT5-3.14.0-1].
#[test]
fn the_first_packet_must_be_connect() {
    both(|peer| {
        let first = [
            Packet::PingReq,
            Packet::Publish(Publish::new(&peer.topic("a"), 0, "a")),
            Packet::Publish(Publish { packet_id: 1, ..Publish::new(&peer.topic("a"), 1, "a") }),
            Packet::Subscribe(Subscribe::new(1, &[("#", 0)])),
            Packet::Disconnect(Default::default()),
        ];
        for packet in first {
            let bytes = encode(&packet, peer.version);
            assert_eq!(answered_and_closed(peer, &bytes), [], "{packet:?}");
        }
    });
}

// [MQTT-3.1.0-2], [MQTT5-3.1.0-2]; there is no second CONNACK: [MQTT5-3.2.0-2].
#[test]
fn a_second_connect_ends_the_connection() {
    both(|peer| {
        let mut client = peer.client("a");
        client.send(&Packet::Connect(peer.clean("a")));
        assert!([None, Some(0x82)].contains(&client.closed()));
    });
}

// [MQTT-3.1.2-1], [MQTT5-3.1.2-1]
#[test]
fn another_protocol_name_ends_the_connection() {
    for name in [&b"\0\x04MQTS"[..], b"\0\x04mqtt", b"\0\x05MQTT5", b"\0\0"] {
        for level in [4, 5] {
            let body = [name, &[level, 2, 0, 0, 0, 1, b'c'][..]].concat();
            let peer = Peer::at(if level == 4 { Version::V311 } else { Version::V5 });
            let said = answered_and_closed(&peer, &frame(0x10, &body));
            let is_accepted = |packet: &Packet| matches!(packet, Packet::ConnAck(ack) if ack.code == 0);
            assert!(!said.iter().any(is_accepted), "{said:?}");
        }
    }
}

// [MQTT-3.1.2-2], [MQTT5-3.1.2-2]
#[test]
fn an_unsupported_level_is_refused_with_the_code_for_it() {
    for level in [0, 1, 2, 6, 0x7f] {
        let mut stream = Peer::v311().open();
        stream.send_bytes(&frame(0x10, &[&b"\0\x04MQTT"[..], &[level, 2, 0, 0, 0, 1, b'c'][..]].concat())).unwrap();
        match stream.receive(SOON) {
            Received::Packet(Packet::ConnAck(ack)) => assert_eq!((ack.session_present, ack.code), (false, 1)),
            other => panic!("level {level}: {other:?}"),
        }
        assert_eq!(stream.until_closed(), []);
    }
}

// The connection ends, in 3.1.1 without CONNACK, in 5.0 with a CONNACK of 0x80 or above or without one:
// [MQTT-3.1.4-1], [MQTT-3.2.2-6], [MQTT5-3.1.4-1]
#[test]
fn a_malformed_connect_ends_the_connection() {
    let check = |version: Version, flags: u8, payload: &[u8]| {
        let said = answered_and_closed(&Peer::at(version), &connect(version, flags, payload));
        match said.as_slice() {
            [] => {}
            [Packet::ConnAck(ack)] if version == Version::V5 => assert!(ack.code >= 0x80, "{ack:?}"),
            other => panic!("flags {flags:#x}, payload {payload:02x?}: {other:?}"),
        }
    };
    let will: &[u8] = b"\0\x01c\0\x01w\0\x01x";
    for version in super::peer::BOTH {
        let check = |flags, payload: &[u8]| check(version, flags, payload);
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let with_properties = |after: &[u8]| [&b"\0\x01c"[..], properties, after].concat();
        check(0x03, b"\0\x01c"); // [MQTT-3.1.2-3], [MQTT5-3.1.2-3]
        check(0x0a, b"\0\x01c"); // [MQTT-3.1.2-13], [MQTT-3.1.2-11], [MQTT5-3.1.2-11]
        check(0x12, b"\0\x01c");
        check(0x22, b"\0\x01c"); // [MQTT-3.1.2-15], [MQTT5-3.1.2-13]
        check(0x1e, &with_properties(b"\0\x01w\0\x01x")); // [MQTT-3.1.2-14], [MQTT5-3.1.2-12]
        check(0x02, will); // will fields without the flag [MQTT-3.1.2-11]
        check(0x06, b"\0\x01c"); // [MQTT-3.1.2-9], [MQTT5-3.1.2-9]
        check(0x06, &with_properties(b"\0\x01w"));
        check(0x02, b"\0\x01c\0\x01u"); // [MQTT-3.1.2-18], [MQTT5-3.1.2-16]
        check(0x82, b"\0\x01c"); // [MQTT-3.1.2-19], [MQTT5-3.1.2-17]
        check(0x82, b"\0\x01c\0\x01u\0\x01p"); // [MQTT-3.1.2-20], [MQTT5-3.1.2-18]
        check(0xc2, b"\0\x01c\0\x01u"); // [MQTT-3.1.2-21], [MQTT5-3.1.2-19]
        check(0x02, b""); // [MQTT-3.1.3-3], [MQTT5-3.1.3-3]
        check(0x02, b"\0\x02\xc3\x28"); // [MQTT-3.1.3-4], [MQTT5-3.1.3-4]
        check(0x06, &with_properties(b"\0\x02\xc3\x28\0\x01x")); // [MQTT-3.1.3-10], [MQTT5-3.1.3-11]
        check(0x06, &with_properties(b"\0\x02a#\0\x01x"));
        check(0x82, b"\0\x01c\0\x02\xc3\x28"); // [MQTT-3.1.3-11], [MQTT5-3.1.3-12]
    }
    check(Version::V311, 0x42, b"\0\x01c\0\x01p"); // [MQTT-3.1.2-22]
}

// [MQTT-3.1.3-1], [MQTT5-3.1.3-1]
#[test]
fn the_payload_is_read_in_its_order() {
    both(|peer| {
        let topic = peer.topic("will");
        let mut watcher = peer.subscriber("watcher", &topic);
        let login = peer.login("a");
        let (client_id, username) = (login.client_id.as_bytes(), login.username.as_bytes());
        let will_properties: &[u8] = if peer.version == Version::V5 { &[0] } else { &[] };
        let mut payload = Vec::new();
        let text = |text: &[u8], to: &mut Vec<u8>| {
            to.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            to.extend(text);
        };
        text(client_id, &mut payload);
        payload.extend(will_properties);
        text(topic.as_bytes(), &mut payload);
        text(b"the will", &mut payload);
        text(username, &mut payload);
        text(login.password.as_bytes(), &mut payload);
        let mut wire = peer.open();
        wire.send_bytes(&connect(peer.version, 0xc6, &payload)).unwrap();
        assert!(matches!(wire.next(), Packet::ConnAck(ack) if ack.code == 0));
        wire.cut();
        let message = watcher.take();
        assert_eq!((message.topic, message.payload), (topic, b"the will".to_vec()));
    });
}

// [MQTT-3.1.3-5], [MQTT5-3.1.3-5]; success is said by CONNACK 0: [MQTT-3.1.4-4], [MQTT5-3.1.4-5]
#[test]
fn identifiers_of_23_letters_and_digits_are_allowed() {
    both(|peer| {
        for client_id in ["a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"] {
            peer.connect(&Connect { client_id: client_id.to_owned(), ..peer.clean("") }).disconnect();
        }
    });
}

// [MQTT-3.1.3-6], [MQTT5-3.1.3-6]
#[test]
fn clients_without_identifier_are_different_clients() {
    both(|peer| {
        let nameless = Connect { client_id: String::new(), ..peer.clean("") };
        let (mut one, mut other) = (peer.connect(&nameless), peer.connect(&nameless));
        one.subscribe(&peer.topic("one"), 1);
        other.subscribe(&peer.topic("other"), 1);
        other.publish(&peer.topic("one"), 1, "for one");
        one.publish(&peer.topic("other"), 1, "for the other");
        assert_eq!(payloads(&[one.take(), other.take()]), ["for one", "for the other"]);
    });
}

// [MQTT-3.1.3-7], [MQTT-3.1.3-8], [MQTT-3.1.3-9]; no session is present and the connection ends: [MQTT-3.2.2-4], [MQTT-3.2.2-5]
#[test]
fn an_empty_identifier_needs_a_clean_session() {
    let peer = Peer::v311();
    let nameless = Connect { client_id: String::new(), clean: false, ..peer.clean("") };
    let (mut wire, connack) = Wire::connect(peer.port, peer.version, &nameless).unwrap();
    assert_eq!((connack.session_present, connack.code), (false, 2));
    assert_eq!(wire.until_closed(), []);
}

// [MQTT5-3.1.3-7], [MQTT5-3.2.2-16]
#[test]
fn an_assigned_identifier_is_told_and_new_and_usable() {
    let peer = Peer::v5();
    let nameless = Connect { client_id: String::new(), ..peer.persistent("") };
    let assigned = || {
        let client = peer.connect(&nameless);
        let name = client.granted(|property| match property {
            Property::AssignedClientId(name) => Some(name.clone()),
            _ => None,
        });
        client.disconnect();
        name.expect("an assigned client identifier")
    };
    let (one, other) = (assigned(), assigned());
    assert_ne!(one, other);
    let again = peer.connect(&Connect { client_id: one, ..peer.persistent("") });
    assert!(again.connack.session_present);
    assert_eq!(again.granted(|p| matches!(p, Property::AssignedClientId(_)).then_some(())), None);
}

// [MQTT-3.1.4-2], [MQTT5-3.1.4-3]
#[test]
fn a_second_connection_takes_over() {
    both(|peer| {
        let mut first = peer.client("a");
        let mut second = peer.client("a");
        let expected = if peer.version == Version::V5 { Some(0x8e) } else { None };
        assert_eq!(first.closed(), expected);
        second.pong();
    });
}

// [MQTT-3.2.0-1], [MQTT5-3.2.0-1]; the flags' upper bits are 0, as every CONNACK's that is read here: [MQTT5-3.2.2-1]
#[test]
fn connack_comes_before_anything_else() {
    both(|peer| {
        let mut wire = peer.open();
        let topic = peer.topic("a");
        let eager = [
            Packet::Connect(peer.clean("a")),
            Packet::Subscribe(Subscribe::new(1, &[(&topic, 0)])),
            Packet::Publish(Publish::new(&topic, 0, "a")),
            Packet::PingReq,
        ];
        wire.send_all(&eager).unwrap();
        let Packet::ConnAck(connack) = wire.next() else { panic!("not CONNACK") };
        assert_eq!((connack.session_present, connack.code), (false, 0));
        assert!(matches!(wire.next(), Packet::SubAck(_) | Packet::Publish(_) | Packet::PingResp));
    });
}

// [MQTT-3.1.2-24], [MQTT5-3.1.2-22]: as if the network had failed, so the will is published. The client's own value holds:
// [MQTT5-3.2.2-22].
#[test]
fn a_silent_client_is_disconnected() {
    both(|peer| {
        let topic = peer.topic("will");
        let mut watcher = peer.subscriber("watcher", &topic);
        let will = Will { topic, payload: b"silent".to_vec(), ..Will::default() };
        let mut silent = peer.connect(&Connect { keep_alive: 1, ..peer.with_will("silent", will) });
        let told = silent.granted(|p| matches!(p, Property::ServerKeepAlive(_)).then_some(()));
        assert_eq!(told, None, "a keep-alive that needs no other");
        assert!([None, Some(0x8d)].contains(&silent.closed()));
        assert_eq!(payloads(&[watcher.take()]), ["silent"]);
    });
}

// [MQTT5-3.2.2-21]: the hub has a longest keep-alive, tells it to whom asks for more, and holds them to it.
#[test]
fn a_client_without_keep_alive_is_told_the_hubs_own() {
    if another_server().is_some() {
        return;
    }
    let peer = Peer::v5();
    let told = |keep_alive| {
        let client = peer.connect(&Connect { keep_alive, ..peer.clean("a") });
        client.granted(|property| match property {
            Property::ServerKeepAlive(seconds) => Some(*seconds),
            _ => None,
        })
    };
    let longest = told(0).expect("a server keep-alive");
    assert!(longest > 0);
    assert_eq!(told(longest), None);
    assert_eq!(told(u16::MAX), Some(longest).filter(|longest| *longest < u16::MAX));
}

// [MQTT5-3.1.2-28]
#[test]
fn no_response_information_without_a_wish_for_it() {
    let peer = Peer::v5();
    for properties in [vec![], vec![Property::RequestResponseInformation(0)]] {
        let client = peer.connect(&Connect { properties, ..peer.clean("a") });
        assert_eq!(client.granted(|p| matches!(p, Property::ResponseInformation(_)).then_some(())), None);
    }
}

// [MQTT5-4.12.0-1], [MQTT5-4.12.0-4], [MQTT5-4.13.2-1]
#[test]
fn an_unknown_authentication_method_is_refused() {
    let peer = Peer::v5();
    let properties = vec![Property::AuthenticationMethod("a riddle".to_owned()), Property::AuthenticationData(vec![1])];
    let Some((mut wire, connack)) = Wire::connect(peer.port, peer.version, &Connect { properties, ..peer.clean("a") })
    else {
        return;
    };
    assert!([0x8c, 0x87].contains(&connack.code), "{connack:?}");
    assert_eq!(wire.until_closed(), []);
}

// [MQTT5-4.12.0-6], [MQTT5-4.12.0-7]: the hub sends no AUTH, and takes one for the protocol error that it is.
#[test]
fn auth_without_a_method_is_a_protocol_error() {
    let peer = Peer::v5();
    for reason in [0x00, 0x18, 0x19] {
        let mut client = peer.client("a");
        assert_eq!(client.granted(|p| matches!(p, Property::AuthenticationMethod(_)).then_some(())), None);
        client.send(&Packet::Auth(crate::harness::wire::Reason::of(reason)));
        assert!([None, Some(0x82)].contains(&client.closed()), "{reason:#x}");
    }
}
