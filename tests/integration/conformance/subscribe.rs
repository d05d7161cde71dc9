//! SUBSCRIBE and SUBACK.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::{Acks, Packet, Property, Subscribe};

const NO_LOCAL: u8 = 0x04;

// [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-2.3.1-7], [MQTT5-3.8.4-1], [MQTT5-3.8.4-2], [MQTT5-2.2.1-6]
#[test]
fn a_subscribe_is_answered_with_its_identifier() {
    both(|peer| {
        let mut client = peer.client("a");
        for packet_id in [1, 0x1234, u16::MAX] {
            client.send(&Packet::Subscribe(Subscribe::new(packet_id, &[(&peer.topic("a"), 1)])));
            assert_eq!(client.next(), Packet::SubAck(Acks { packet_id, codes: vec![1], properties: vec![] }));
        }
    });
}

// One SUBACK, a code for each in their order, which is the QoS granted: [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1],
// [MQTT-3.9.3-2], [MQTT5-3.8.4-5], [MQTT5-3.8.4-6], [MQTT5-3.8.4-7], [MQTT5-3.9.3-1], [MQTT5-3.9.3-2]
#[test]
fn several_filters_are_several_subscriptions() {
    both(|peer| {
        let (a, b, c) = (peer.topic("a"), peer.topic("b"), peer.topic("c"));
        let mut client = peer.client("client");
        let acks = client.subscribe_all(&[(&a, 2), (&b, 0), (&c, 1), (&b, 1)], Vec::new());
        assert_eq!(acks.codes, [2, 0, 1, 1]);
        let mut sender = peer.client("sender");
        for topic in [&a, &b, &c] {
            sender.publish(topic, 2, topic);
        }
        let qos = [client.take().qos, client.take().qos, client.take().qos];
        assert_eq!(qos, [2, 1, 1]);
    });
}

// [MQTT-3.8.4-3], [MQTT5-3.8.4-3], [MQTT5-3.8.4-4]
#[test]
fn the_same_filter_again_replaces_the_subscription() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.client("a");
        let mut sender = peer.client("sender");
        for qos in [1, 2, 0, 1] {
            client.subscribe(&topic, qos);
            sender.publish(&topic, 2, "one copy");
            sender.publish(&topic, 2, "stop");
            let copies = client.until("stop");
            assert_eq!(copies.iter().map(|copy| copy.qos).collect::<Vec<_>>(), [qos]);
        }
    });
}

// [MQTT5-3.8.4-4], [MQTT-3.8.4-3]: what is published while the subscription is replaced is not lost.
#[test]
fn nothing_is_lost_while_a_subscription_is_replaced() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.client("a");
        client.subscribe(&topic, 1);
        let mut sender = peer.client("sender");
        for round in 0..20 {
            let subscribe = Packet::Subscribe(Subscribe::new(1_000 + round, &[(&topic, 1)]));
            client.send(&subscribe);
            sender.publish(&topic, 1, &round.to_string());
        }
        sender.publish(&topic, 1, "stop");
        let mut received = Vec::new();
        let mut answered = 0;
        while received.last().is_none_or(|payload| payload != "stop") {
            match client.next() {
                Packet::SubAck(_) => answered += 1,
                Packet::Publish(publish) => {
                    client.acknowledge(&publish);
                    received.extend(payloads(&[publish]));
                }
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<_> = (0..20).map(|round| round.to_string()).chain(["stop".to_owned()]).collect();
        assert_eq!(received, expected);
        assert!(answered <= 20);
    });
}

// [MQTT5-3.8.3-3]
#[test]
fn no_local_leaves_out_ones_own_messages() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let (mut client, mut other) = (peer.client("a"), peer.client("other"));
    client.subscribe(&topic, 1 | NO_LOCAL);
    client.publish(&topic, 1, "mine");
    other.publish(&topic, 1, "another's");
    other.publish(&topic, 1, "stop");
    assert_eq!(payloads(&client.until("stop")), ["another's"]);
    // It is the client that counts, not the connection.
    client.disconnect();
    let mut client = peer.connect(&peer.persistent("a"));
    client.subscribe(&topic, 1 | NO_LOCAL);
    client.publish(&topic, 1, "to myself later");
    client.cut();
    let mut client = peer.connect(&peer.persistent("a"));
    client.publish(&topic, 1, "mine again");
    other.publish(&topic, 1, "stop");
    assert_eq!(payloads(&client.until("stop")), [""; 0]);
}

// A subscription identifier of 0 is a protocol error, section 3.8.2.1.2.
#[test]
fn a_subscription_identifier_is_not_0() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let properties = vec![Property::SubscriptionIdentifier(0)];
    client.send(&Packet::Subscribe(Subscribe { properties, ..Subscribe::new(1, &[("a", 0)]) }));
    assert!([None, Some(0x81), Some(0x82)].contains(&client.closed()));
}
