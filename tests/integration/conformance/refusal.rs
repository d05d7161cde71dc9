//! What the hub refuses for want of authority, and how it says so. Only a hub of ours can be asked that.

use serde_json::json;

use super::{
    client::Client,
    peer::{Peer, another_server, both, payloads},
};
use crate::harness::{
    SOON,
    mqtt::Login,
    shared,
    wire::{Ack, Connect, Packet, Property, Publish, Received, Subscribe, Unsubscribe, Version, Wire, encode},
};

/// A device of a product of its own, and the product's name.
fn device(peer: &Peer) -> (Login, String) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PRODUCTS: AtomicU32 = AtomicU32::new(0);
    let product = format!("CONFORM{:03}", PRODUCTS.fetch_add(1, Ordering::Relaxed));
    let hub = shared::hub();
    hub.post("/v1/products", &json!({"id": product}));
    hub.post(&format!("/v1/products/{product}/devices"), &json!({"name": "device"}));
    let token = hub.post(&format!("/v1/products/{product}/devices/device/tokens"), &json!({}));
    let text = |field: &str| token[field].as_str().unwrap().to_owned();
    let client_id = peer.login("device").client_id;
    (Login { client_id, username: text("username"), password: text("password") }, product)
}

fn size(packet: &Packet) -> usize {
    encode(packet, Version::V5).len()
}

// [MQTT-3.1.4-5], [MQTT5-3.1.4-2], [MQTT5-3.1.4-6]; CONNACK has a code of its table and no session, and the connection
// ends: [MQTT-3.2.2-4], [MQTT-3.2.2-5], [MQTT5-3.2.2-6], [MQTT5-3.2.2-7], [MQTT5-3.2.2-8], [MQTT5-4.13.2-1]; no DISCONNECT
// comes after it [MQTT5-3.14.0-1].
#[test]
fn nothing_is_processed_after_a_refused_connect() {
    if another_server().is_some() {
        return;
    }
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        peer.connect(&peer.persistent("a")).disconnect();
        let wrong = Connect { password: Some(b"wrong".to_vec()), ..peer.persistent("a") };
        let mut wire = peer.open();
        wire.send_all(&[Packet::Connect(wrong), Packet::Publish(Publish::new(&topic, 0, "x"))]).unwrap();
        let Received::Packet(Packet::ConnAck(connack)) = wire.receive(SOON) else { panic!("no CONNACK") };
        assert!(!connack.session_present);
        let expected: &[u8] = if peer.version == Version::V5 { &[0x86, 0x87] } else { &[4, 5] };
        assert!(expected.contains(&connack.code), "{connack:?}");
        assert_eq!(wire.until_closed(), []);
        watcher.publish(&topic, 1, "stop");
        assert_eq!(payloads(&watcher.until("stop")), [""; 0]);
    });
}

// [MQTT-3.3.5-2]: MQTT 3.1.1 has no word for it, so the connection ends. MQTT 5 has: [MQTT5-3.4.2-1], [MQTT5-3.5.2-1]. After
// such a PUBREC the identifier means a new message, and there is nothing to release: [MQTT5-4.3.3-9].
#[test]
fn a_publish_without_authority_reaches_nobody() {
    if another_server().is_some() {
        return;
    }
    both(|peer| {
        let (login, product) = device(peer);
        let (own, foreign) = (format!("{product}/device/event"), format!("{product}/other/event"));
        let mut watcher = peer.subscriber("watcher", &format!("{product}/#"));
        for qos in [1, 2] {
            let mut client = peer.connect(&Connect::of(&login));
            client.send(&Packet::Publish(Publish { packet_id: 7, ..Publish::new(&foreign, qos, "foreign") }));
            if peer.version == Version::V311 {
                assert_eq!(client.wire.until_closed(), []);
                client = peer.connect(&Connect::of(&login));
            } else {
                let (Packet::PubAck(ack) | Packet::PubRec(ack)) = client.next() else { panic!("no answer") };
                assert_eq!((ack.packet_id, ack.reason), (7, 0x87));
            }
            client.send(&Packet::Publish(Publish { packet_id: 7, ..Publish::new(&own, qos, "own") }));
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = client.next() else { panic!("no answer") };
            assert!(ack.packet_id == 7 && ack.reason < 0x80, "{ack:?}");
        }
        watcher.publish(&format!("{product}/stop"), 1, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["own", "own"]);
    });
}

// [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.9.3-2], [MQTT5-3.8.4-7], [MQTT5-3.9.3-1], [MQTT5-3.9.3-2]
#[test]
fn each_filter_without_authority_is_refused_by_itself() {
    if another_server().is_some() {
        return;
    }
    both(|peer| {
        let (login, product) = device(peer);
        let mut client = peer.connect(&Connect::of(&login));
        let (own, foreign) = (format!("{product}/device/control"), format!("{product}/other/control"));
        let acks = client.subscribe_all(&[(&foreign, 1), (&own, 1), ("#", 0)], Vec::new());
        let no = if peer.version == Version::V5 { 0x87 } else { 0x80 };
        assert_eq!(acks.codes, [no, 1, no]);
        let mut administrator = peer.client("administrator");
        administrator.publish(&foreign, 1, "foreign");
        administrator.publish(&own, 1, "own");
        assert_eq!(payloads(&[client.take()]), ["own"]);
    });
}

/// Everything that a device can be refused on one connection, answered.
fn refusals(client: &mut Client, product: &str) -> Vec<Packet> {
    let foreign = format!("{product}/other/event");
    client.send(&Packet::Publish(Publish { packet_id: 1, ..Publish::new(&foreign, 1, "x") }));
    client.send(&Packet::Publish(Publish { packet_id: 2, ..Publish::new(&foreign, 2, "x") }));
    client.send(&Packet::PubRel(Ack::of(3)));
    client.send(&Packet::PubRec(Ack::of(4)));
    client.send(&Packet::Subscribe(Subscribe::new(5, &[(&foreign, 0)])));
    client.send(&Packet::Unsubscribe(Unsubscribe::new(6, &[&foreign])));
    let mut answers: Vec<_> = (0..6).map(|_| client.next()).collect();
    // Only answers of one kind keep an order.
    answers.sort_by_key(packet_id);
    // And what ends the connection.
    client.send(&Packet::Connect(Connect::default()));
    answers.extend(client.wire.until_closed());
    answers
}

fn packet_id(answer: &Packet) -> u16 {
    match answer {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.packet_id,
        Packet::SubAck(acks) | Packet::UnsubAck(acks) => acks.packet_id,
        other => panic!("{other:?}"),
    }
}

fn properties(packet: &Packet) -> &[Property] {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => &ack.properties,
        Packet::SubAck(acks) | Packet::UnsubAck(acks) => &acks.properties,
        Packet::Disconnect(reason) => &reason.properties,
        other => panic!("{other:?}"),
    }
}

// [MQTT5-3.1.2-29]; every answer has a code of its table: [MQTT5-3.4.2-1], [MQTT5-3.5.2-1], [MQTT5-3.6.2-1],
// [MQTT5-3.7.2-1], [MQTT5-3.9.3-2], [MQTT5-3.11.3-2], [MQTT5-3.14.2-1]
#[test]
fn problem_information_is_left_out_where_it_is_not_wanted() {
    if another_server().is_some() {
        return;
    }
    let peer = Peer::v5();
    let (login, product) = device(&peer);
    let unwanted = vec![Property::RequestProblemInformation(0)];
    let answers = refusals(&mut peer.connect(&Connect { properties: unwanted, ..Connect::of(&login) }), &product);
    let codes: Vec<u8> = answers
        .iter()
        .map(|packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.reason,
            Packet::SubAck(acks) | Packet::UnsubAck(acks) => acks.codes[0],
            Packet::Disconnect(reason) => reason.code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [0x87, 0x87, 0x92, 0x92, 0x87, 0x11, 0x82]);
    for answer in &answers[..6] {
        assert_eq!(properties(answer), [], "{answer:?}");
    }
}

// The answers are the same, and the properties that say more are left out where they do not fit: [MQTT5-3.4.2-2],
// [MQTT5-3.4.2-3], [MQTT5-3.5.2-2], [MQTT5-3.5.2-3], [MQTT5-3.6.2-2], [MQTT5-3.6.2-3], [MQTT5-3.7.2-2], [MQTT5-3.7.2-3],
// [MQTT5-3.9.2-1], [MQTT5-3.9.2-2], [MQTT5-3.11.2-1], [MQTT5-3.11.2-2], [MQTT5-3.14.2-3], [MQTT5-3.14.2-4]
#[test]
fn what_says_more_is_left_out_where_it_does_not_fit() {
    if another_server().is_some() {
        return;
    }
    let peer = Peer::v5();
    let (login, product) = device(&peer);
    let answers = |maximum: u32| {
        let properties = vec![Property::MaximumPacketSize(maximum)];
        refusals(&mut peer.connect(&Connect { properties, ..Connect::of(&login) }), &product)
    };
    let in_full = answers(100_000);
    let longest = in_full.iter().map(size).max().unwrap();
    for maximum in [40, longest - 1, longest] {
        let answers = answers(u32::try_from(maximum).unwrap());
        assert!(answers.iter().all(|answer| size(answer) <= maximum), "{maximum}: {answers:?}");
        assert_eq!(answers.len(), in_full.len());
    }
}

// [MQTT5-3.2.2-19], [MQTT5-3.2.2-20], [MQTT5-3.1.2-24]
#[test]
fn a_refusing_connack_fits() {
    if another_server().is_some() {
        return;
    }
    let peer = Peer::v5();
    let refused = |maximum| {
        let properties = vec![Property::MaximumPacketSize(maximum)];
        let wrong = Connect { password: Some(b"wrong".to_vec()), properties, ..peer.clean("a") };
        Wire::connect(peer.port, peer.version, &wrong).map(|(_, connack)| connack)
    };
    let in_full = refused(100_000).expect("a CONNACK");
    let longest = size(&Packet::ConnAck(in_full.clone()));
    for maximum in [6, longest - 1, longest] {
        let connack = refused(u32::try_from(maximum).unwrap()).expect("a CONNACK");
        assert_eq!(connack.code, in_full.code);
        assert!(size(&Packet::ConnAck(connack)) <= maximum);
    }
}
