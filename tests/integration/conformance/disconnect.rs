//! DISCONNECT, PINGREQ, and the end of connections.

use super::{
    client::Client,
    peer::{Peer, both, payloads},
};
use crate::harness::wire::{Connect, Packet, Property, Publish, Reason, Will};

fn with_will(peer: &Peer, topic: &str) -> Client {
    let will = Will { topic: topic.to_owned(), payload: b"will".to_vec(), ..Will::default() };
    peer.connect(&peer.with_will("leaving", will))
}

// [MQTT-3.12.4-1], [MQTT5-3.12.4-1]
#[test]
fn a_ping_is_answered() {
    both(|peer| {
        let mut client = peer.client("a");
        client.wire.send_all(&[Packet::PingReq, Packet::PingReq]).unwrap();
        assert_eq!([client.next(), client.next()], [Packet::PingResp, Packet::PingResp]);
    });
}

// [MQTT-3.14.4-3], [MQTT-3.1.2-10], [MQTT5-3.14.4-3], [MQTT5-3.1.2-10]
#[test]
fn disconnect_revokes_the_will() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        with_will(peer, &topic).disconnect();
        watcher.publish(&topic, 1, "stop");
        assert_eq!(payloads(&watcher.until("stop")), [""; 0]);
    });
}

// Any reason but 0x00 publishes it, 0x04 above all: section 3.14.2.1.
#[test]
fn disconnect_with_another_reason_publishes_the_will() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.subscriber("watcher", &topic);
    for reason in [0x04, 0x80, 0x83] {
        with_will(&peer, &topic).disconnect_with(Reason::of(reason));
        assert_eq!(payloads(&[watcher.take()]), ["will"]);
    }
}

// [MQTT-3.14.4-2]; MQTT 5 says the same of every sender. What follows DISCONNECT has no effect.
#[test]
fn nothing_after_disconnect_is_processed() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        let packets = [
            Packet::Publish(Publish::new(&topic, 0, "before")),
            Packet::Disconnect(Reason::default()),
            Packet::Publish(Publish::new(&topic, 0, "after")),
        ];
        client.wire.send_all(&packets).unwrap();
        assert_eq!(client.closed(), None);
        watcher.publish(&topic, 1, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["before"]);
    });
}

// [MQTT-3.14.1-1], [MQTT5-3.14.1-1]: and the will is published, as the client did not leave in order.
#[test]
fn disconnect_with_other_flags_is_malformed() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = with_will(peer, &topic);
        client.wire.send_bytes(&[0xe1, 0]).unwrap();
        assert!([None, Some(0x81)].contains(&client.closed()));
        assert_eq!(payloads(&[watcher.take()]), ["will"]);
    });
}

// A session without expiry cannot be given one: section 3.14.2.2.2. The server answers with a code of its table and without
// Session Expiry Interval, sends nothing more and closes: [MQTT5-3.14.2-1], [MQTT5-3.14.2-2], [MQTT5-3.14.4-1],
// [MQTT5-3.14.4-2], [MQTT5-4.13.2-1].
#[test]
fn an_expiry_at_the_end_needs_one_at_the_beginning() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let properties = vec![Property::SessionExpiry(10)];
    client.send(&Packet::Disconnect(Reason { code: 0, properties }));
    for packet in client.wire.until_closed() {
        let Packet::Disconnect(reason) = packet else { panic!("{packet:?}") };
        assert_eq!(reason.code, 0x82);
        assert!(!reason.properties.iter().any(|property| matches!(property, Property::SessionExpiry(_))));
    }
    assert!(!peer.connect(&Connect { clean: false, ..peer.clean("a") }).connack.session_present);
}
