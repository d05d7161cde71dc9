//! What MQTT 5 adds to a message, on its way through the server.

use super::peer::{Peer, payloads};
use crate::harness::wire::{Property, Publish};

fn of_kind(message: &Publish, known: impl Fn(&Property) -> bool) -> Vec<Property> {
    message.properties.iter().filter(|property| known(property)).cloned().collect()
}

// [MQTT5-3.3.2-4], [MQTT5-3.3.2-15], [MQTT5-3.3.2-16], [MQTT5-3.3.2-17], [MQTT5-3.3.2-18], [MQTT5-3.3.2-20]
#[test]
fn properties_pass_unaltered() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let user = |name: &str, value: &str| Property::User(name.to_owned(), value.to_owned());
    let properties = vec![
        Property::PayloadFormat(1),
        Property::ContentType("\u{feff}text/plain; ä".to_owned()),
        Property::ResponseTopic("answers/\u{1f600}".to_owned()),
        Property::CorrelationData(vec![0, 1, 255, 0]),
        user("z", "1"),
        user("a", ""),
        user("", "3"),
        user("z", "1"),
    ];
    let mut watcher = peer.subscriber("watcher", &topic);
    let mut sender = peer.client("sender");
    for qos in 0..3 {
        sender.publish_with(&topic, qos, "x", properties.clone());
        let message = watcher.take();
        let is_user = |property: &Property| matches!(property, Property::User(..));
        assert_eq!(of_kind(&message, is_user), properties[4..]);
        assert_eq!(message.properties.len(), properties.len(), "{message:?}");
        assert!(properties.iter().all(|property| message.properties.contains(property)), "{message:?}");
    }
    // An indicator of 0 says the same as none, section 3.3.2.3.2.
    sender.publish_with(&topic, 0, "x", vec![Property::PayloadFormat(0)]);
    assert!([&[][..], &[Property::PayloadFormat(0)]].contains(&watcher.take().properties.as_slice()));
    sender.publish(&topic, 0, "x");
    assert_eq!(watcher.take().properties, []);
}

// The same from the retained store, and for a client that was away.
#[test]
fn properties_are_kept_with_the_message() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let properties = vec![Property::ContentType("json".to_owned()), Property::User("a".to_owned(), "b".to_owned())];
    let mut away = peer.connect(&peer.persistent("away"));
    away.subscribe(&topic, 1);
    away.disconnect();
    let mut sender = peer.client("sender");
    sender.publish_with(&topic, 1, "x", properties.clone());
    let sorted = |message: Publish| {
        let mut properties = message.properties;
        properties.sort_by_key(|property| format!("{property:?}"));
        properties
    };
    assert_eq!(sorted(peer.connect(&peer.persistent("away")).take()), properties);
}

// MQTT 3.1.1 has no properties, and its messages none for anybody.
#[test]
fn versions_understand_each_other() {
    let (new, old) = (Peer::v5(), Peer::v311());
    let topic = new.topic("a");
    let (mut of_new, mut of_old) = (new.subscriber("watcher", &topic), old.subscriber("watcher", &topic));
    let properties = vec![Property::ContentType("json".to_owned()), Property::MessageExpiry(100)];
    new.client("sender").publish_with(&topic, 2, "from 5", properties);
    old.client("sender").publish(&topic, 2, "from 3.1.1");
    assert_eq!(payloads(&[of_old.take(), of_old.take()]), ["from 5", "from 3.1.1"]);
    assert_eq!(of_new.take().properties.len(), 2);
    assert_eq!(of_new.take().properties, []);
}

// What is left is told [MQTT5-3.3.2-6], and a message whose time is over is not delivered [MQTT5-3.3.2-5].
#[test]
fn a_message_expires() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut away = peer.connect(&peer.persistent("away"));
    away.subscribe(&topic, 2);
    away.disconnect();
    let mut sender = peer.client("sender");
    for (qos, seconds) in [(1, 1), (1, 1_000), (2, 1), (2, 1_000)] {
        sender.publish_with(&topic, qos, &format!("{qos}, {seconds}"), vec![Property::MessageExpiry(seconds)]);
    }
    sender.publish(&topic, 1, "for ever");
    peer.pass(3);
    let mut back = peer.connect(&peer.persistent("away"));
    sender.publish_with(&topic, 1, "stop", vec![Property::MessageExpiry(1_000)]);
    let messages = back.until("stop");
    assert_eq!(payloads(&messages), ["1, 1000", "2, 1000", "for ever"]);
    for message in &messages[..2] {
        let left = message.properties.iter().find_map(|property| match property {
            Property::MessageExpiry(left) => Some(*left),
            _ => None,
        });
        assert!(left.is_some_and(|left| (1..=998).contains(&left)), "{message:?}");
    }
    assert_eq!(messages[2].properties, []);
}

// [MQTT5-3.3.2-5], [MQTT5-3.3.2-6]: the same holds for what is retained.
#[test]
fn a_retained_message_expires() {
    let peer = Peer::v5();
    let (short, long) = (peer.topic("a/short"), peer.topic("a/long"));
    let mut sender = peer.client("sender");
    let retain = |topic: &str, seconds| Publish {
        retain: true,
        packet_id: 7,
        properties: vec![Property::MessageExpiry(seconds)],
        ..Publish::new(topic, 1, topic)
    };
    for publish in [retain(&short, 1), retain(&long, 1_000)] {
        sender.send(&crate::harness::wire::Packet::Publish(publish));
        sender.next();
    }
    peer.pass(3);
    let mut watcher = peer.subscriber("watcher", &peer.topic("a/#"));
    sender.publish(&short, 1, "stop");
    let messages = watcher.until("stop");
    assert_eq!(payloads(&messages), [long]);
    let told = |property: &Property| matches!(property, Property::MessageExpiry(left) if (1..=998).contains(left));
    assert_eq!(of_kind(&messages[0], told).len(), 1, "{messages:?}");
}
