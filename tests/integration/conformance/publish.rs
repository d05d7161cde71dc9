//! PUBLISH from a client, and how it is answered.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::{Ack, Packet, Property, Publish, Version, encode};

fn publish(topic: &str, qos: u8, packet_id: u16, payload: &str) -> Publish {
    Publish { packet_id, ..Publish::new(topic, qos, payload) }
}

/// A reason code is success in either version.
fn is_success(ack: &Ack) -> bool {
    ack.reason < 0x80
}

// [MQTT-3.3.4-1], [MQTT-2.3.1-6], [MQTT-4.3.2-2], [MQTT-4.3.3-2], [MQTT5-3.3.4-1], [MQTT5-2.2.1-5], [MQTT5-4.3.2-4],
// [MQTT5-4.3.3-8], [MQTT5-4.3.3-11]. A reason other than success does not come up: [MQTT5-3.4.2-1], [MQTT5-3.5.2-1],
// [MQTT5-3.7.2-1].
#[test]
fn a_publish_is_answered_as_its_qos_says() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        client.send(&Packet::Publish(publish(&topic, 0, 0, "no answer")));
        client.send(&Packet::Publish(publish(&topic, 1, 0x1234, "puback")));
        assert_eq!(client.next(), Packet::PubAck(Ack::of(0x1234)));
        client.send(&Packet::Publish(publish(&topic, 2, u16::MAX, "pubrec")));
        assert_eq!(client.next(), Packet::PubRec(Ack::of(u16::MAX)));
        client.send(&Packet::PubRel(Ack::of(u16::MAX)));
        assert_eq!(client.next(), Packet::PubComp(Ack::of(u16::MAX)));
        watcher.publish(&topic, 0, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["no answer", "puback", "pubrec"]);
    });
}

// [MQTT-4.3.2-2], [MQTT5-4.3.2-5]
#[test]
fn after_puback_an_identifier_means_a_new_message() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        for (dup, payload) in [(false, "one"), (true, "two"), (false, "three")] {
            client.send(&Packet::Publish(Publish { dup, ..publish(&topic, 1, 7, payload) }));
            assert_eq!(client.next(), Packet::PubAck(Ack::of(7)));
        }
        client.publish(&topic, 0, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["one", "two", "three"]);
    });
}

// [MQTT-4.3.3-2], [MQTT5-4.3.3-10], [MQTT5-4.3.3-12]
#[test]
fn before_pubrel_an_identifier_means_the_same_message() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        for dup in [false, true, true] {
            client.send(&Packet::Publish(Publish { dup, ..publish(&topic, 2, 7, "one") }));
            assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 7 && is_success(&ack)));
        }
        assert_eq!(client.release(7), 0);
        client.send(&Packet::Publish(Publish { dup: true, ..publish(&topic, 2, 7, "two") }));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 7 && is_success(&ack)));
        assert_eq!(client.release(7), 0);
        client.publish(&topic, 0, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["one", "two"]);
    });
}

// [MQTT-4.3.3-2], [MQTT5-4.3.3-11]; MQTT 5 says that there was none: [MQTT5-3.7.2-1]
#[test]
fn pubrel_is_answered_whatever_it_releases() {
    both(|peer| {
        let mut client = peer.client("a");
        let reason = client.release(99);
        let expected: &[u8] = if peer.version == Version::V5 { &[0x92, 0] } else { &[0] };
        assert!(expected.contains(&reason), "{reason:#x}");
    });
}

// [MQTT-4.6.0-2], [MQTT-4.6.0-3]; MQTT 5 demands it of clients, and the hub does it.
#[test]
fn answers_come_in_the_order_of_the_messages() {
    both(|peer| {
        let topic = peer.topic("a");
        for (qos, ids) in [(1, [9, 3, 7, 1, 8]), (2, [5, 6, 2, 4, 1])] {
            let mut client = peer.client("a");
            let messages = ids.map(|id| Packet::Publish(publish(&topic, qos, id, "x")));
            client.wire.send_all(&messages).unwrap();
            let answered = ids.map(|_| match client.next() {
                Packet::PubAck(ack) | Packet::PubRec(ack) => ack.packet_id,
                other => panic!("{other:?}"),
            });
            assert_eq!(answered, ids);
        }
    });
}

// [MQTT-3.3.1-3], [MQTT5-3.3.1-3]
#[test]
fn dup_is_not_passed_on() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        for qos in [1, 2] {
            client.send(&Packet::Publish(Publish { dup: true, ..publish(&topic, qos, 7, "x") }));
            client.next();
            if qos == 2 {
                client.release(7);
            }
            assert!(!watcher.take().dup);
        }
    });
}

// [MQTT-4.6.0-5], [MQTT-4.6.0-6], [MQTT5-4.6.0-5], [MQTT5-4.6.0-6]
#[test]
fn messages_keep_their_order() {
    both(|peer| {
        let topic = peer.topic("a");
        for qos in 0..3 {
            let mut watcher = peer.subscriber("watcher", &topic);
            let mut client = peer.client("a");
            let payloads_sent: Vec<_> = (0..20).map(|number| number.to_string()).collect();
            let messages: Vec<_> =
                (1..).zip(&payloads_sent).map(|(id, payload)| publish(&topic, qos, id, payload)).collect();
            let packets: Vec<_> = messages.into_iter().map(Packet::Publish).collect();
            client.wire.send_all(&packets).unwrap();
            if qos == 2 {
                (1..=20).for_each(|id| assert_eq!(client.release(id), 0));
            }
            let received: Vec<_> = payloads_sent.iter().map(|_| watcher.take()).collect();
            assert_eq!(payloads(&received), payloads_sent);
            assert!(received.iter().all(|message| message.qos == qos));
        }
    });
}

// [MQTT5-4.3.3-13]
#[test]
fn an_expired_message_is_still_released() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let properties = vec![Property::MessageExpiry(1)];
    client.send(&Packet::Publish(Publish { properties, ..publish(&peer.topic("a"), 2, 7, "x") }));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 7 && is_success(&ack)));
    peer.pass(2);
    assert_eq!(client.release(7), 0);
}

// [MQTT-7.1.1-1], [MQTT5-4.2.0-1]: a stream has no borders where packets have theirs.
#[test]
fn packets_may_be_cut_anywhere() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.client("a");
        let packets = [publish(&topic, 1, 1, "one"), publish(&topic, 1, 2, "two")].map(Packet::Publish);
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| encode(packet, peer.version)).collect();
        for byte in &bytes {
            client.wire.send_bytes(&[*byte]).unwrap();
        }
        assert_eq!([client.next(), client.next()], [Packet::PubAck(Ack::of(1)), Packet::PubAck(Ack::of(2))]);
        assert_eq!(payloads(&[watcher.take(), watcher.take()]), ["one", "two"]);
    });
}
