//! Flow control: Receive Maximum of either side.

use super::{client::Client, peer::Peer};
use crate::harness::wire::{Ack, Connect, Packet, Property, Publish, Subscribe};

fn limited(peer: &Peer, receive_maximum: u16) -> Client {
    let properties = vec![Property::ReceiveMaximum(receive_maximum)];
    peer.connect(&Connect { properties, ..peer.clean("limited") })
}

// [MQTT5-3.3.4-9], [MQTT5-4.9.0-1], [MQTT5-4.9.0-2]
#[test]
fn the_client_gets_no_more_than_its_receive_maximum() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut client = limited(&peer, 3);
    client.subscribe(&topic, 2);
    let mut watcher = peer.subscriber("watcher", &topic);
    let mut sender = peer.client("sender");
    for round in 0..10 {
        sender.publish(&topic, 1 + round % 2, &round.to_string());
    }
    watcher.until("9");
    let mut held: Vec<Publish> = (0..3).map(|_| client.message()).collect();
    // A message at QoS 0 may wait behind those that do (section 4.9), an answer does not.
    assert_eq!(client.wire.until_pong(), []);
    // Each that is done makes place for one.
    for round in 3..10 {
        let done = held.remove(0);
        client.acknowledge(&done);
        let next = client.message();
        assert_eq!(next.payload, round.to_string().into_bytes());
        held.push(next);
        assert_eq!(client.wire.until_pong(), []);
    }
}

// [MQTT5-4.9.0-2]: a PUBREC does not make place, a PUBREC of 0x80 or above does.
#[test]
fn only_the_end_of_an_exchange_makes_place() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut client = limited(&peer, 1);
    client.subscribe(&topic, 2);
    let mut sender = peer.client("sender");
    for payload in ["one", "two", "three"] {
        sender.publish(&topic, 2, payload);
    }
    let one = client.message();
    client.send(&Packet::PubRec(Ack::of(one.packet_id)));
    assert_eq!(client.next(), Packet::PubRel(Ack::of(one.packet_id)));
    assert_eq!(client.wire.until_pong(), []);
    client.send(&Packet::PubComp(Ack::of(one.packet_id)));
    let two = client.message();
    client.send(&Packet::PubRec(Ack::with_reason(two.packet_id, 0x80)));
    assert_eq!(client.message().payload, b"three");
}

// [MQTT5-3.3.4-10], [MQTT5-4.9.0-3]
#[test]
fn other_packets_pass_though_the_quota_is_used_up() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut client = limited(&peer, 1);
    client.subscribe(&topic, 1);
    let mut sender = peer.client("sender");
    for _ in 0..3 {
        sender.publish(&topic, 1, "x");
    }
    client.message();
    client.pong();
    client.send(&Packet::Publish(Publish { packet_id: 70, ..Publish::new(&peer.topic("b"), 1, "y") }));
    assert!(matches!(client.next(), Packet::PubAck(ack) if ack.packet_id == 70));
    client.send(&Packet::Subscribe(Subscribe::new(71, &[(&peer.topic("c"), 0)])));
    assert!(matches!(client.next(), Packet::SubAck(acks) if acks.packet_id == 71));
    assert_eq!(client.unsubscribe(&[&peer.topic("c")]).codes, [0]);
}

// [MQTT5-3.3.4-7]: who sends more than the server's Receive Maximum is disconnected.
#[test]
fn a_client_over_the_servers_receive_maximum_is_disconnected() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let maximum = client.granted(|property| match property {
        Property::ReceiveMaximum(number) => Some(*number),
        _ => None,
    });
    let maximum = maximum.unwrap_or(u16::MAX);
    let topic = peer.topic("a");
    let messages: Vec<_> = (1..=maximum)
        .chain([maximum.wrapping_add(1)])
        .filter(|id| *id != 0)
        .map(|packet_id| Packet::Publish(Publish { packet_id, ..Publish::new(&topic, 2, "x") }))
        .collect();
    if messages.len() == usize::from(maximum) {
        return; // There are no more identifiers than the server takes.
    }
    let _shows_in_what_comes = client.wire.send_all(&messages);
    assert_eq!(client.closed(), Some(0x93));
}

// At the maximum nothing is wrong, and a completed exchange makes place.
#[test]
fn a_client_at_the_servers_receive_maximum_goes_on() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let maximum = client.granted(|property| match property {
        Property::ReceiveMaximum(number) => Some(*number),
        _ => None,
    });
    let Some(maximum) = maximum else { return };
    let topic = peer.topic("a");
    for packet_id in 1..=maximum {
        client.send(&Packet::Publish(Publish { packet_id, ..Publish::new(&topic, 2, "x") }));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == packet_id && ack.reason < 0x80));
    }
    assert_eq!(client.release(1), 0);
    client.send(&Packet::Publish(Publish { packet_id: 1, ..Publish::new(&topic, 2, "x") }));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 1 && ack.reason < 0x80));
}
