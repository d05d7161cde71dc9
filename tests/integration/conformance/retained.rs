//! Retained messages.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::Publish;

const HANDLING_IF_NEW: u8 = 0x10;
const HANDLING_NEVER: u8 = 0x20;
const AS_PUBLISHED: u8 = 0x08;

/// What a new subscription is sent: payloads, QoS and whether it is marked as retained.
fn retained(peer: &Peer, filter: &str) -> Vec<(String, u8, bool)> {
    let mut client = peer.subscriber("looking", filter);
    let stop = peer.topic("stop");
    client.subscribe(&stop, 0);
    client.publish(&stop, 0, "stop");
    let messages = client.until("stop");
    payloads(&messages)
        .into_iter()
        .zip(&messages)
        .map(|(payload, message)| (payload, message.qos, message.retain))
        .collect()
}

fn one(payload: &str, qos: u8) -> Vec<(String, u8, bool)> {
    vec![(payload.to_owned(), qos, true)]
}

// Stored with its QoS: [MQTT-3.3.1-5], [MQTT5-3.3.1-5]. Sent to new subscribers: [MQTT-3.3.1-6], [MQTT5-3.3.1-9], with
// retain: [MQTT-3.3.1-8]. One replaces the other, also at QoS 0: [MQTT-3.3.1-7].
#[test]
fn the_last_retained_message_is_kept_with_its_qos() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut sender = peer.client("sender");
        assert_eq!(retained(peer, &topic), []);
        for qos in [1, 2, 0, 1] {
            let payload = format!("at {qos}");
            sender.retain(&topic, qos, &payload);
            if qos == 0 {
                sender.pong();
            }
            assert_eq!(retained(peer, &topic), one(&payload, qos));
        }
    });
}

// [MQTT-3.3.1-6]: of each topic that matches.
#[test]
fn a_wildcard_subscription_gets_all_that_match() {
    both(|peer| {
        let mut sender = peer.client("sender");
        for topic in ["a/1", "a/2", "b/1", "a"] {
            sender.retain(&peer.topic(topic), 1, topic);
        }
        let found = |filter: &str| {
            let mut found: Vec<_> =
                retained(peer, &peer.topic(filter)).into_iter().map(|(payload, ..)| payload).collect();
            found.sort();
            found
        };
        assert_eq!(found("a/+"), ["a/1", "a/2"]);
        assert_eq!(found("a/#"), ["a", "a/1", "a/2"]);
        assert_eq!(found("+/1"), ["a/1", "b/1"]);
    });
}

// Delivered as usual and removes: [MQTT-3.3.1-10], [MQTT5-3.3.1-6]. Not stored itself: [MQTT-3.3.1-11], [MQTT5-3.3.1-7].
#[test]
fn an_empty_message_removes_what_is_retained() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut sender = peer.client("sender");
        sender.retain(&topic, 1, "there");
        sender.retain(&topic, 1, "");
        assert_eq!(payloads(&[watcher.take(), watcher.take()]), ["there", ""]);
        assert_eq!(retained(peer, &topic), []);
        sender.retain(&topic, 1, "");
        assert_eq!(retained(peer, &topic), []);
    });
}

// [MQTT-3.3.1-12], [MQTT5-3.3.1-8]
#[test]
fn a_message_without_retain_changes_nothing() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut sender = peer.client("sender");
        sender.publish(&topic, 1, "passing");
        assert_eq!(retained(peer, &topic), []);
        sender.retain(&topic, 1, "there");
        sender.publish(&topic, 1, "passing");
        sender.publish(&topic, 1, "");
        assert_eq!(retained(peer, &topic), one("there", 1));
    });
}

// [MQTT-3.3.1-9], [MQTT5-3.3.1-12]
#[test]
fn an_established_subscription_gets_messages_without_retain() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut sender = peer.client("sender");
        sender.retain(&topic, 1, "kept");
        sender.publish(&topic, 1, "passing");
        assert!(!watcher.take().retain && !watcher.take().retain);
    });
}

// [MQTT5-3.3.1-13]
#[test]
fn retain_as_published_keeps_the_flag() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.client("watcher");
    watcher.subscribe(&topic, 1 | AS_PUBLISHED);
    let mut sender = peer.client("sender");
    sender.retain(&topic, 1, "kept");
    sender.publish(&topic, 1, "passing");
    let messages: Vec<Publish> = vec![watcher.take(), watcher.take()];
    assert_eq!((messages[0].retain, messages[1].retain), (true, false));
}

// [MQTT5-3.3.1-9], [MQTT5-3.3.1-10], [MQTT5-3.3.1-11], [MQTT5-3.8.4-4]
#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    let peer = Peer::v5();
    let (topic, stop) = (peer.topic("a"), peer.topic("stop"));
    peer.client("sender").retain(&topic, 1, "kept");
    let mut client = peer.client("a");
    client.subscribe(&stop, 0);
    let mut sent = |options: u8| {
        client.subscribe(&topic, options);
        client.publish(&stop, 0, "stop");
        client.until("stop").len()
    };
    assert_eq!(sent(1 | HANDLING_NEVER), 0);
    assert_eq!(sent(1 | HANDLING_IF_NEW), 0);
    assert_eq!(sent(1), 1);
    assert_eq!(sent(1 | HANDLING_IF_NEW), 0);
    assert_eq!(sent(1), 1);
    client.unsubscribe(&[&topic]);
    let mut sent = |options: u8| {
        client.subscribe(&topic, options);
        client.publish(&stop, 0, "stop");
        client.until("stop").len()
    };
    assert_eq!(sent(1 | HANDLING_IF_NEW), 1);
}

// [MQTT-3.8.4-3]: subscribing again sends retained messages again.
#[test]
fn subscribing_again_sends_retained_messages_again() {
    both(|peer| {
        let topic = peer.topic("a");
        peer.client("sender").retain(&topic, 1, "kept");
        let mut client = peer.client("a");
        for qos in [1, 1, 0] {
            client.subscribe(&topic, qos);
            let message = client.take();
            assert_eq!((message.payload, message.qos, message.retain), (b"kept".to_vec(), qos, true));
        }
    });
}
