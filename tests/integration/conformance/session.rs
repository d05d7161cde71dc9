//! Sessions: what outlasts a connection, for how long, and what is sent again.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::{Ack, Connect, Packet, Property, Publish, Reason, Version};

// Made: [MQTT-3.2.2-3], [MQTT5-3.1.2-6]. Gone on with: [MQTT-3.1.2-4], [MQTT-3.2.2-2], [MQTT5-3.1.2-5], [MQTT5-3.1.2-23],
// [MQTT5-3.2.2-3]. The client identifier tells which: [MQTT-3.1.3-2], [MQTT5-3.1.3-2]. Kept: [MQTT-4.1.0-1].
#[test]
fn a_session_outlasts_its_connection() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        assert!(!client.connack.session_present);
        client.subscribe(&topic, 1);
        client.disconnect();

        assert!(!peer.connect(&peer.persistent("b")).connack.session_present);
        let mut client = peer.connect(&peer.persistent("a"));
        assert!(client.connack.session_present);
        peer.client("sender").publish(&topic, 1, "still subscribed");
        assert_eq!(payloads(&[client.take()]), ["still subscribed"]);
    });
}

// [MQTT-3.1.2-6], [MQTT-3.2.2-1], [MQTT-3.1.4-3], [MQTT5-3.1.2-4], [MQTT5-3.2.2-2], [MQTT5-3.1.4-4]
#[test]
fn a_clean_start_discards_the_session() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "to be forgotten");

        let mut client = peer.client("a");
        assert!(!client.connack.session_present);
        sender.publish(&topic, 1, "not subscribed");
        client.subscribe(&topic, 1);
        sender.publish(&topic, 1, "subscribed anew");
        assert_eq!(payloads(&[client.take()]), ["subscribed anew"]);
    });
}

// [MQTT-3.1.2-6]: clean session 1 leaves nothing behind. [MQTT5-4.1.0-2]: nor does an expiry of 0.
#[test]
fn a_session_that_ends_with_its_connection_leaves_nothing() {
    both(|peer| {
        let mut client = peer.client("a");
        client.subscribe(&peer.topic("a"), 1);
        client.disconnect();
        assert!(!peer.connect(&peer.persistent("a")).connack.session_present);
    });
}

// [MQTT-3.1.2-5], [MQTT-4.5.0-1], [MQTT5-4.5.0-1]
#[test]
fn messages_above_qos_0_wait_for_the_client() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "once or more");
        sender.publish(&topic, 2, "exactly once");
        let mut client = peer.connect(&peer.persistent("a"));
        sender.publish(&topic, 2, "stop");
        let messages = client.until("stop");
        assert_eq!(payloads(&messages), ["once or more", "exactly once"]);
        assert_eq!((messages[0].qos, messages[1].qos), (1, 2));
    });
}

// [MQTT-4.1.0-2], [MQTT5-4.1.0-1]: an expiry counts from the connection's end.
#[test]
fn a_session_lasts_as_long_as_its_connection() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let properties = vec![Property::SessionExpiry(1)];
    let mut client = peer.connect(&Connect { properties, ..peer.persistent("a") });
    let old_peer = Peer::v311();
    let mut old = old_peer.connect(&old_peer.clean("old"));
    client.subscribe(&topic, 1);
    old.subscribe(&topic, 1);
    peer.pass(2);
    peer.client("sender").publish(&topic, 1, "still there");
    assert_eq!(payloads(&[client.take(), old.take()]), ["still there", "still there"]);
}

// [MQTT5-4.1.0-2]
#[test]
fn a_session_expires() {
    let peer = Peer::v5();
    let connect = |client: &str, seconds| {
        let properties = vec![Property::SessionExpiry(seconds)];
        peer.connect(&Connect { properties, ..peer.persistent(client) })
    };
    connect("short", 1).cut();
    connect("long", 3_600).cut();
    // DISCONNECT may say another time, section 3.14.2.2.2.
    let shorter = Reason { properties: vec![Property::SessionExpiry(1)], ..Reason::default() };
    connect("shortened", 3_600).disconnect_with(shorter);
    peer.pass(3);
    assert!(!connect("short", 1).connack.session_present);
    assert!(!connect("shortened", 1).connack.session_present);
    assert!(connect("long", 3_600).connack.session_present);
}

// Unacknowledged until PUBACK or PUBREC: [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT5-4.3.2-3], [MQTT5-4.3.3-3]. Sent again with
// DUP, the same identifiers and in order: [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1], [MQTT-2.3.1-4], [MQTT5-4.4.0-1],
// [MQTT5-3.3.1-1].
#[test]
fn what_is_unacknowledged_is_sent_again() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 2);
        let mut sender = peer.client("sender");
        for (qos, payload) in [(1, "a"), (2, "b"), (1, "c"), (2, "d")] {
            sender.publish(&topic, qos, payload);
        }
        let first: Vec<_> = (0..4).map(|_| client.message()).collect();
        client.send(&Packet::PubAck(Ack::of(first[0].packet_id)));
        client.pong();
        client.cut();

        let mut client = peer.connect(&peer.persistent("a"));
        let again: Vec<_> = (0..3).map(|_| client.message()).collect();
        let expected: Vec<_> = first[1..].iter().map(|publish| Publish { dup: true, ..publish.clone() }).collect();
        assert_eq!(again, expected);
    });
}

// [MQTT-4.3.3-1], [MQTT-4.4.0-1], [MQTT5-4.3.3-5], [MQTT5-4.3.3-6], [MQTT5-4.4.0-1]
#[test]
fn after_pubrel_only_pubrel_is_sent_again() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.connect(&peer.persistent("a"));
        client.subscribe(&topic, 2);
        let mut sender = peer.client("sender");
        for payload in ["a", "b", "c"] {
            sender.publish(&topic, 2, payload);
        }
        let ids: Vec<_> = (0..3).map(|_| client.message().packet_id).collect();
        for id in [ids[1], ids[0]] {
            client.send(&Packet::PubRec(Ack::of(id)));
            assert_eq!(client.next(), Packet::PubRel(Ack::of(id)));
        }
        client.cut();

        let mut client = peer.connect(&peer.persistent("a"));
        let mut released = Vec::new();
        let mut published = Vec::new();
        for _ in 0..3 {
            match client.next() {
                Packet::PubRel(ack) => released.push(ack.packet_id),
                Packet::Publish(publish) => published.push(publish.packet_id),
                other => panic!("{other:?}"),
            }
        }
        released.sort_unstable();
        assert_eq!((released, published), (ids[..2].to_vec(), vec![ids[2]]));
        for id in [ids[1], ids[0]] {
            client.send(&Packet::PubComp(Ack::of(id)));
        }
        client.pong();
        client.cut();
        // Completed: not sent again.
        let mut client = peer.connect(&peer.persistent("a"));
        assert_eq!(client.message().packet_id, ids[2]);
    });
}

// [MQTT5-4.4.0-1]
#[test]
fn nothing_is_sent_again_on_the_same_connection() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.subscriber("a", &topic);
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "unacknowledged");
        let first = client.message();
        assert!(!first.dup);
        peer.pass(1);
        sender.publish(&topic, 0, "stop");
        assert_eq!(payloads(&client.until("stop")), [""; 0]);
    });
}

// [MQTT-4.3.3-2], [MQTT5-4.3.3-10]: what was received is remembered by the session, not by the connection.
#[test]
fn a_message_published_again_after_reconnecting_is_passed_on_once() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let publish = Publish { packet_id: 7, ..Publish::new(&topic, 2, "once") };
        let mut client = peer.connect(&peer.persistent("a"));
        client.send(&Packet::Publish(publish.clone()));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 7));
        client.cut();

        let mut client = peer.connect(&peer.persistent("a"));
        client.send(&Packet::Publish(Publish { dup: true, ..publish }));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.packet_id == 7 && ack.reason < 0x80));
        client.cut();
        let mut client = peer.connect(&peer.persistent("a"));
        assert_eq!(client.release(7), 0);
        client.publish(&topic, 2, "stop");
        assert_eq!(payloads(&watcher.until("stop")), ["once"]);
    });
}

// The session goes on at once on the connection that takes over, section 3.1.4.
#[test]
fn a_takeover_goes_on_with_the_session() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut first = peer.connect(&peer.persistent("a"));
        first.subscribe(&topic, 1);
        peer.client("sender").publish(&topic, 1, "unacknowledged");
        let message = first.message();
        let mut second = peer.connect(&peer.persistent("a"));
        assert!(second.connack.session_present);
        assert_eq!(second.message(), Publish { dup: true, ..message });
        let expected = if peer.version == Version::V5 { Some(0x8e) } else { None };
        assert_eq!(first.closed(), expected);
    });
}

// [MQTT-3.1.2-7]; the same in MQTT 5, section 4.1.
#[test]
fn retained_messages_outlast_the_session() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut client = peer.client("a");
        client.retain(&topic, 1, "stays");
        client.disconnect();
        peer.client("a").disconnect();
        let mut watcher = peer.subscriber("watcher", &topic);
        assert_eq!(payloads(&[watcher.take()]), ["stays"]);
    });
}
