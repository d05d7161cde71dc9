//! Will messages.

use super::peer::{Peer, both, payloads};
use crate::harness::wire::{Connect, Property, Reason, Version, Will};

fn will(topic: &str, qos: u8, retain: bool) -> Will {
    Will { topic: topic.to_owned(), payload: b"will".to_vec(), qos, retain, ..Will::default() }
}

fn delayed(topic: &str, payload: &str, delay: u32) -> Will {
    let properties = vec![Property::WillDelay(delay)];
    Will { payload: payload.as_bytes().to_vec(), properties, ..will(topic, 1, false) }
}

/// A client whose session outlasts its connection by so much, with a will.
fn leaving(peer: &Peer, client: &str, expiry: u32, will: Will) -> Connect {
    Connect { properties: vec![Property::SessionExpiry(expiry)], ..peer.with_will(client, will) }
}

// [MQTT-3.1.2-8], [MQTT5-3.1.2-7], [MQTT5-3.1.2-8]; with its QoS [MQTT-3.1.2-9] and without retain [MQTT-3.1.2-16],
// [MQTT5-3.1.2-14]
#[test]
fn a_will_is_published_when_the_network_fails() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        for qos in 0..3 {
            peer.connect(&peer.with_will("leaving", will(&topic, qos, false))).cut();
            let message = watcher.take();
            assert_eq!((message.payload, message.qos, message.retain), (b"will".to_vec(), qos, false));
        }
        let mut late = peer.subscriber("late", &topic);
        late.publish(&topic, 1, "stop");
        assert_eq!(payloads(&late.until("stop")), [""; 0]);
    });
}

// [MQTT-3.1.2-17], [MQTT5-3.1.2-15]
#[test]
fn a_will_with_retain_is_retained() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        peer.connect(&peer.with_will("leaving", will(&topic, 1, true))).cut();
        watcher.take();
        let message = peer.subscriber("late", &topic).take();
        assert_eq!((message.payload, message.qos, message.retain), (b"will".to_vec(), 1, true));
    });
}

// [MQTT-3.1.2-12]; the next connection does not inherit it: [MQTT-3.1.2-10], [MQTT5-3.1.2-10]
#[test]
fn a_will_is_published_once_and_only_by_those_who_have_one() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let with_will = Connect { will: Some(will(&topic, 1, false)), ..peer.persistent("leaving") };
        peer.connect(&with_will).cut();
        assert_eq!(payloads(&[watcher.take()]), ["will"]);
        peer.connect(&peer.persistent("leaving")).cut();
        peer.connect(&with_will).disconnect();
        peer.connect(&peer.persistent("leaving")).cut();
        peer.client("leaving").disconnect();
        watcher.publish(&topic, 1, "stop");
        assert_eq!(payloads(&watcher.until("stop")), [""; 0]);
    });
}

// A violation of the protocol is no orderly end either, section 3.1.2.5 [MQTT-3.1.2-8], [MQTT5-3.1.2-8].
#[test]
fn a_will_is_published_when_the_server_ends_the_connection() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut client = peer.connect(&peer.with_will("leaving", will(&topic, 1, false)));
        client.wire.send_bytes(&[0, 0]).unwrap();
        client.closed();
        assert_eq!(payloads(&[watcher.take()]), ["will"]);
    });
}

// Taken over with a clean start, the session ends and with it the delay, section 3.1.3.2.2 [MQTT-3.1.2-8], [MQTT5-3.1.2-8].
#[test]
fn a_will_is_published_on_takeover() {
    both(|peer| {
        let topic = peer.topic("a");
        let mut watcher = peer.subscriber("watcher", &topic);
        let mut will = will(&topic, 1, false);
        if peer.version == Version::V5 {
            will.properties = vec![Property::WillDelay(1_000)];
        }
        let _taken_over = peer.connect(&Connect { will: Some(will), ..peer.persistent("leaving") });
        let _new = peer.client("leaving");
        assert_eq!(payloads(&[watcher.take()]), ["will"]);
    });
}

// The delay or the session's end, what is first [MQTT5-3.1.2-8]: in the order of the times.
#[test]
fn a_delayed_will_waits_for_its_delay_or_the_sessions_end() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.subscriber("watcher", &topic);
    peer.connect(&leaving(&peer, "a", 1_000, delayed(&topic, "after its delay", 5))).cut();
    peer.connect(&leaving(&peer, "b", 1, delayed(&topic, "after its session", 1_000))).cut();
    peer.connect(&leaving(&peer, "c", 0, delayed(&topic, "at once", 1_000))).cut();
    assert_eq!(
        payloads(&[watcher.take(), watcher.take(), watcher.take()]),
        ["at once", "after its session", "after its delay"]
    );
}

// [MQTT5-3.1.3-9], [MQTT5-3.1.2-8]: no will if the client is back before its delay is over.
#[test]
fn a_delayed_will_is_revoked_by_a_new_connection() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.subscriber("watcher", &topic);
    let first = peer.connect(&leaving(&peer, "a", 1_000, delayed(&topic, "revoked", 1)));
    // Back before the network of the first has failed, so that no time can run out between.
    let _second = peer.connect(&peer.persistent("a"));
    first.cut();
    peer.pass(2);
    watcher.publish(&topic, 1, "stop");
    assert_eq!(payloads(&watcher.until("stop")), [""; 0]);
}

// DISCONNECT with 0x04 leaves the will to its delay; an expiry of 0 there ends the session and publishes it, section 3.14.2.
#[test]
fn disconnect_can_end_the_session_of_a_delayed_will() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.subscriber("watcher", &topic);
    let client = peer.connect(&leaving(&peer, "a", 1_000, delayed(&topic, "at once", 1_000)));
    client.disconnect_with(Reason { code: 0x04, properties: vec![Property::SessionExpiry(0)] });
    assert_eq!(payloads(&[watcher.take()]), ["at once"]);
}

// [MQTT5-3.1.3-10]; the other properties come too, section 3.1.3.2.
#[test]
fn a_will_has_the_properties_of_a_message() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut watcher = peer.subscriber("watcher", &topic);
    let user = |name: &str, value: &str| Property::User(name.to_owned(), value.to_owned());
    let properties = vec![
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".to_owned()),
        Property::ResponseTopic("answers".to_owned()),
        Property::CorrelationData(vec![0, 255]),
        user("z", "1"),
        user("a", "2"),
        user("z", "3"),
    ];
    let with_delay = [vec![Property::WillDelay(0)], properties.clone()].concat();
    peer.connect(&peer.with_will("a", Will { properties: with_delay, ..will(&topic, 1, false) })).cut();
    let message = watcher.take();
    let users = |properties: &[Property]| -> Vec<Property> {
        properties.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
    };
    assert_eq!(users(&message.properties), users(&properties));
    assert_eq!(message.properties.len(), properties.len(), "{message:?}");
    assert!(properties.iter().all(|property| message.properties.contains(property)), "{message:?}");
}

// The expiry of a will counts from its publication, section 3.1.3.2.4.
#[test]
fn a_will_may_expire() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut away = peer.connect(&peer.persistent("away"));
    away.subscribe(&topic, 1);
    away.cut();
    let expiring = Will { properties: vec![Property::MessageExpiry(1)], ..will(&topic, 1, false) };
    peer.connect(&peer.with_will("leaving", expiring)).cut();
    peer.pass(3);
    let mut back = peer.connect(&peer.persistent("away"));
    peer.client("sender").publish(&topic, 1, "stop");
    assert_eq!(payloads(&back.until("stop")), [""; 0]);
}
