//! UNSUBSCRIBE and UNSUBACK.

use super::peer::{both, payloads};
use crate::harness::wire::{Ack, Packet, Unsubscribe, Version};

// Character by character: [MQTT-3.10.4-1], [MQTT5-3.10.4-1]
#[test]
fn only_the_very_same_filter_is_unsubscribed() {
    both(|peer| {
        let (topic, wild) = (peer.topic("a"), peer.topic("+"));
        let mut client = peer.subscriber("client", &wild);
        for other in [&topic, &peer.topic("#"), &peer.topic("A"), &peer.topic("+/"), &format!("/{wild}")] {
            client.unsubscribe(&[other]);
        }
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "subscribed");
        assert_eq!(payloads(&[client.take()]), ["subscribed"]);
        client.unsubscribe(&[&wild]);
        sender.publish(&topic, 1, "not subscribed");
        client.subscribe(&peer.topic("b"), 1);
        sender.publish(&peer.topic("b"), 1, "stop");
        assert_eq!(payloads(&client.until("stop")), [""; 0]);
    });
}

// [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-2.3.1-7], [MQTT5-3.10.4-4], [MQTT5-3.10.4-5], [MQTT5-2.2.1-6]
#[test]
fn an_unsubscribe_is_answered_with_its_identifier() {
    both(|peer| {
        let mut client = peer.subscriber("a", &peer.topic("a"));
        for (packet_id, filter) in [(0x1234, "a"), (u16::MAX, "a"), (1, "never")] {
            client.send(&Packet::Unsubscribe(Unsubscribe::new(packet_id, &[&peer.topic(filter)])));
            let Packet::UnsubAck(acks) = client.next() else { panic!("no UNSUBACK") };
            assert_eq!(acks.packet_id, packet_id);
        }
    });
}

// One UNSUBACK: [MQTT-3.10.4-6], [MQTT5-3.10.4-6]; a reason for each in their order, and nothing else than 0x00 and 0x11
// where nothing is refused: [MQTT5-3.11.3-1], [MQTT5-3.11.3-2]
#[test]
fn several_filters_are_unsubscribed_at_once() {
    both(|peer| {
        let (a, b, c, d) = (peer.topic("a"), peer.topic("b"), peer.topic("c"), peer.topic("d"));
        let mut client = peer.client("client");
        client.subscribe_all(&[(&a, 1), (&b, 1), (&c, 1)], Vec::new());
        let acks = client.unsubscribe(&[&a, &d, &c]);
        let expected: &[u8] = if peer.version == Version::V5 { &[0, 0x11, 0] } else { &[] };
        assert_eq!(acks.codes, expected);
        let mut sender = peer.client("sender");
        for topic in [&a, &b, &c] {
            sender.publish(topic, 1, topic);
        }
        sender.publish(&b, 1, "stop");
        assert_eq!(payloads(&client.until("stop")), [b]);
    });
}

// [MQTT-3.10.4-2], [MQTT5-3.10.4-2]; what has begun is completed: [MQTT-3.10.4-3], [MQTT5-3.10.4-3]
#[test]
fn deliveries_that_have_begun_are_completed() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 2);
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "one");
        sender.publish(&topic, 2, "two");
        let (one, two) = (client.message(), client.message());
        client.unsubscribe(&[&topic]);
        sender.publish(&topic, 1, "too late");
        client.send(&Packet::PubAck(Ack::of(one.packet_id)));
        client.send(&Packet::PubRec(Ack::of(two.packet_id)));
        assert_eq!(client.next(), Packet::PubRel(Ack::of(two.packet_id)));
        client.cut();
        let mut client = peer.connect(&peer.persistent("a"));
        assert_eq!(client.next(), Packet::PubRel(Ack::of(two.packet_id)));
        client.send(&Packet::PubComp(Ack::of(two.packet_id)));
        client.subscribe(&topic, 1);
        sender.publish(&topic, 1, "stop");
        assert_eq!(payloads(&client.until("stop")), [""; 0]);
    });
}

// [MQTT-3.10.4-3], [MQTT5-3.10.4-3]: and sent again, if need be.
#[test]
fn an_unacknowledged_delivery_outlasts_its_subscription() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 1);
        peer.client("sender").publish(&topic, 1, "x");
        let first = client.message();
        client.unsubscribe(&[&topic]);
        client.cut();
        let again = peer.connect(&peer.persistent("a")).message();
        assert_eq!((again.packet_id, again.payload, again.dup), (first.packet_id, first.payload, true));
    });
}
