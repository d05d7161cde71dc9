//! PUBLISH from the server: what subscribers get, and at which QoS.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::{Ack, Connect, Packet, Property, Publish};

// [MQTT-3.8.4-6], [MQTT5-3.8.4-8]
#[test]
fn the_lower_qos_wins() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut sender = peer.client("sender");
        for granted in 0..3 {
            let mut client = peer.client("a");
            assert_eq!(client.subscribe(&topic, granted), granted);
            for qos in 0..3 {
                sender.publish(&topic, qos, "x");
                assert_eq!(client.take().qos, qos.min(granted));
            }
        }
    });
}

// At QoS 0 without identifier and DUP: [MQTT-2.3.1-5], [MQTT-3.3.1-2], [MQTT-4.3.1-1], [MQTT5-2.2.1-2], [MQTT5-3.3.1-2],
// [MQTT5-4.3.1-1]. No properties are a length of 0: [MQTT5-2.2.2-1]. Reserved flags are 0: [MQTT-2.2.2-1], [MQTT5-2.1.3-1].
#[test]
fn a_delivery_at_qos_0_is_this_on_the_wire() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.subscriber("a", &topic);
        peer.client("sender").publish(&topic, 0, "xyz");
        let publish = client.message();
        assert_eq!(publish, Publish::new(&topic, 0, "xyz"));
    });
}

// Identifiers are not 0 and not in use: [MQTT-2.3.1-1], [MQTT-2.3.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT5-2.2.1-4],
// [MQTT5-4.3.2-1], [MQTT5-4.3.3-1]. A first delivery has its QoS and DUP 0: [MQTT5-4.3.2-2], [MQTT5-4.3.3-2].
#[test]
fn new_messages_get_identifiers_that_are_not_in_use() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.subscriber("a", &topic);
        let mut sender = peer.client("sender");
        let mut in_use = std::collections::BTreeSet::new();
        for round in 0..12 {
            let qos = 1 + round % 2;
            sender.publish(&topic, qos, "x");
            let publish = client.message();
            assert_eq!((publish.qos, publish.dup), (qos, false));
            assert!(publish.packet_id != 0 && in_use.insert(publish.packet_id), "{publish:?}");
            if round % 3 == 0 {
                client.acknowledge(&publish);
                in_use.remove(&publish.packet_id);
            }
        }
    });
}

// [MQTT-4.3.3-1], [MQTT-2.3.1-6], [MQTT5-4.3.3-4], [MQTT5-2.2.1-5]
#[test]
fn pubrec_is_answered_by_pubrel() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.subscriber("a", &topic);
        peer.client("sender").publish(&topic, 2, "x");
        let id = client.message().packet_id;
        client.send(&Packet::PubRec(Ack::of(id)));
        assert_eq!(client.next(), Packet::PubRel(Ack::of(id)));
        client.send(&Packet::PubComp(Ack::of(id)));
        client.pong();
    });
}

// [MQTT5-3.6.2-1]
#[test]
fn a_pubrec_for_nothing_known_is_said_so() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    client.send(&Packet::PubRec(Ack::of(99)));
    match client.wire.until_pong().as_slice() {
        [] => {}
        [Packet::PubRel(ack)] => assert_eq!((ack.packet_id, ack.reason), (99, 0x92)),
        other => panic!("{other:?}"),
    }
}

// [MQTT-4.6.0-4]
#[test]
fn pubrels_are_in_the_order_of_the_pubrecs() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.subscriber("a", &topic);
        let mut sender = peer.client("sender");
        let ids = ["a", "b", "c", "d"].map(|payload| {
            sender.publish(&topic, 2, payload);
            client.message().packet_id
        });
        let order = [ids[2], ids[0], ids[3], ids[1]];
        client.wire.send_all(&order.map(|id| Packet::PubRec(Ack::of(id)))).unwrap();
        for id in order {
            assert_eq!(client.next(), Packet::PubRel(Ack::of(id)));
        }
    });
}

// [MQTT-3.3.5-1], [MQTT5-3.3.4-2]: one copy at the highest QoS.
#[test]
fn overlapping_subscriptions_deliver_at_the_highest_qos() {
    both(|peer| {
        let topic = peer.topic("a/b");
        let (wild, all) = (peer.topic("+/b"), peer.topic("#"));
        let mut client = peer.client("a");
        client.subscribe_all(&[(&wild, 2), (&all, 1), (&topic, 0)], Vec::new());
        let mut sender = peer.client("sender");
        sender.publish(&topic, 2, "x");
        sender.publish(&topic, 2, "stop");
        let copies = client.until("stop");
        assert_eq!(copies.iter().map(|copy| copy.qos).max(), Some(2));
    });
}

// [MQTT5-3.3.4-3], [MQTT5-3.3.4-4]
#[test]
fn one_copy_carries_all_subscription_identifiers() {
    let peer = Peer::v5();
    let (topic, wild, all) = (peer.topic("a"), peer.topic("+"), peer.topic("#"));
    let mut client = peer.client("a");
    let identifier = |number| vec![Property::SubscriptionIdentifier(number)];
    client.subscribe_all(&[(&wild, 1)], identifier(1));
    client.subscribe_all(&[(&all, 0)], identifier(268_435_455));
    client.subscribe_all(&[(&topic, 1)], Vec::new());
    let mut sender = peer.client("sender");
    sender.publish(&topic, 1, "x");
    let mut identifiers = client.take().properties;
    identifiers.sort_by_key(|property| format!("{property:?}"));
    assert_eq!(identifiers, [identifier(1), identifier(268_435_455)].concat());
    // What has none carries none, and a new subscription has its own.
    client.unsubscribe(&[&wild]);
    client.subscribe_all(&[(&all, 1)], Vec::new());
    sender.publish(&topic, 1, "y");
    assert_eq!(client.take().properties, []);
}

// [MQTT-3.3.2-3], [MQTT5-3.3.2-3]
#[test]
fn what_is_delivered_matches_the_filter() {
    both(|peer| {
        let mut client = peer.subscriber("a", &peer.topic("+/b"));
        let mut sender = peer.client("sender");
        for topic in ["a/b", "a/c", "b", "a/b/c", "x/b"] {
            sender.publish(&peer.topic(topic), 1, topic);
        }
        sender.publish(&peer.topic("end/b"), 1, "stop");
        let messages = client.until("stop");
        assert_eq!(payloads(&messages), ["a/b", "x/b"]);
        assert!(messages.iter().all(|message| message.topic.ends_with(std::str::from_utf8(&message.payload).unwrap())));
    });
}

// [MQTT5-3.1.2-24], [MQTT5-3.1.2-25]
#[test]
fn a_message_too_large_for_the_client_is_discarded() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let small = Connect { properties: vec![Property::MaximumPacketSize(100)], ..peer.clean("small") };
    let (mut small, mut large) = (peer.connect(&small), peer.subscriber("large", &topic));
    small.subscribe(&topic, 1);
    let mut sender = peer.client("sender");
    let long = "x".repeat(100);
    // More than any Receive Maximum there might be: what is discarded does not take its place.
    for _ in 0..30 {
        sender.publish(&topic, 1, &long);
    }
    sender.publish(&topic, 1, "stop");
    assert_eq!(large.until("stop").len(), 30);
    assert_eq!(payloads(&small.until("stop")), [""; 0]);
}

// [MQTT5-4.4.0-2]
#[test]
fn a_refused_message_is_not_sent_again() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut client = peer.connect(&peer.persistent("a"));
    client.subscribe(&topic, 2);
    let mut sender = peer.client("sender");
    for (qos, payload) in [(1, "one"), (2, "two"), (1, "three")] {
        sender.publish(&topic, qos, payload);
    }
    let ids = [(); 3].map(|()| client.message().packet_id);
    client.send(&Packet::PubAck(Ack::with_reason(ids[0], 0x83)));
    client.send(&Packet::PubRec(Ack::with_reason(ids[1], 0x83)));
    client.pong();
    client.cut();
    let mut client = peer.connect(&peer.persistent("a"));
    sender.publish(&topic, 1, "stop");
    assert_eq!(payloads(&client.until("stop")), ["three"]);
}

// [MQTT5-4.3.3-7]
#[test]
fn what_was_sent_once_does_not_expire() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut client = peer.connect(&peer.persistent("a"));
    client.subscribe(&topic, 2);
    peer.client("sender").publish_with(&topic, 2, "x", vec![Property::MessageExpiry(1)]);
    let first = client.message();
    client.cut();
    peer.pass(2);
    let mut client = peer.connect(&peer.persistent("a"));
    let again = client.message();
    assert_eq!((again.packet_id, again.dup, again.payload), (first.packet_id, true, first.payload));
}
