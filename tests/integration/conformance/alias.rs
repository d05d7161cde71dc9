//! Topic aliases of MQTT 5, both ways.

use super::{
    client::Client,
    peer::{Peer, payloads},
};
use crate::harness::wire::{Connect, Packet, Property, Publish};

fn aliased(topic: &str, alias: u16, packet_id: u16, payload: &str) -> Packet {
    let properties = vec![Property::TopicAlias(alias)];
    let qos = u8::from(packet_id != 0);
    Packet::Publish(Publish { packet_id, properties, ..Publish::new(topic, qos, payload) })
}

/// The server's Topic Alias Maximum.
fn maximum(client: &Client) -> u16 {
    let told = client.granted(|property| match property {
        Property::TopicAliasMaximum(number) => Some(*number),
        _ => None,
    });
    told.unwrap_or(0)
}

// [MQTT5-3.3.2-12]: an alias is set, used and set to another topic.
#[test]
fn an_alias_stands_for_its_topic() {
    let peer = Peer::v5();
    let (a, b) = (peer.topic("a"), peer.topic("b"));
    let mut watcher = peer.subscriber("watcher", &peer.topic("+"));
    let mut client = peer.client("a");
    let last = maximum(&client);
    assert!(last > 0, "the server takes aliases");
    for (topic, alias, payload) in [
        (&*a, 1, "set"),
        ("", 1, "used"),
        (&*b, last, "the last"),
        ("", last, "used"),
        (&*b, 1, "set anew"),
        ("", 1, "used"),
    ] {
        client.send(&aliased(topic, alias, 7, payload));
        assert!(matches!(client.next(), Packet::PubAck(ack) if ack.reason < 0x80));
    }
    client.publish(&a, 0, "stop");
    let messages = watcher.until("stop");
    let topics: Vec<_> = messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, [&a, &a, &b, &b, &b, &b]);
    assert_eq!(payloads(&messages), ["set", "used", "the last", "used", "set anew", "used"]);
    assert!(messages.iter().all(|message| message.properties.is_empty()), "the watcher takes no aliases");
}

// [MQTT5-3.3.2-7]
#[test]
fn aliases_end_with_their_connection() {
    let peer = Peer::v5();
    let mut client = peer.connect(&peer.persistent("a"));
    client.send(&aliased(&peer.topic("a"), 1, 7, "x"));
    client.next();
    client.cut();
    let mut client = peer.connect(&peer.persistent("a"));
    client.send(&aliased("", 1, 7, "x"));
    assert!([None, Some(0x82), Some(0x94)].contains(&client.closed()));
}

// 0 is none [MQTT5-3.3.2-8]; the maximum is told [MQTT5-3.2.2-17], [MQTT5-3.2.2-18], [MQTT5-3.3.2-9]; an empty topic needs one.
#[test]
fn an_alias_that_is_not_allowed_ends_the_connection() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let above = maximum(&peer.client("a")).checked_add(1);
    for (topic, alias) in [Some((&*topic, 0)), above.map(|alias| (&*topic, alias)), Some(("", 1))].into_iter().flatten()
    {
        let mut client = peer.client("a");
        client.send(&aliased(topic, alias, 0, "x"));
        assert!([None, Some(0x82), Some(0x94)].contains(&client.closed()), "{topic:?} {alias}");
    }
}

/// What a client that takes so many aliases is sent: topics with aliases.
fn sent(peer: &Peer, maximum: Option<u16>) -> Vec<(String, Option<u16>)> {
    let properties = maximum.map(Property::TopicAliasMaximum).into_iter().collect();
    let mut client = peer.connect(&Connect { properties, ..peer.clean("taker") });
    client.subscribe(&peer.topic("#"), 1);
    let mut sender = peer.client("sender");
    let published: Vec<_> = [1, 2, 1, 3, 2, 1, 3].map(|number| peer.topic(&format!("a/{number}"))).to_vec();
    for topic in &published {
        sender.publish(topic, 1, topic);
    }
    let mut topics = std::collections::BTreeMap::new();
    let messages: Vec<_> = published.iter().map(|_| client.take()).collect();
    let alias = |message: &Publish| {
        message.properties.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(*alias),
            _ => None,
        })
    };
    for (message, expected) in messages.iter().zip(&published) {
        let alias = alias(message);
        if let (Some(alias), false) = (alias, message.topic.is_empty()) {
            topics.insert(alias, message.topic.clone());
        }
        let topic = if message.topic.is_empty() { &topics[&alias.unwrap()] } else { &message.topic };
        assert_eq!((topic, &message.payload), (expected, &expected.clone().into_bytes()));
    }
    messages.iter().map(|message| (message.topic.clone(), alias(message))).collect()
}

// [MQTT5-3.1.2-27]
#[test]
fn a_client_without_a_maximum_is_sent_no_aliases() {
    for maximum in [None, Some(0)] {
        assert!(sent(&Peer::v5(), maximum).iter().all(|(topic, alias)| !topic.is_empty() && alias.is_none()));
    }
}

// [MQTT5-3.1.2-26], [MQTT5-3.3.2-11]: within the maximum, and each stands for the topic it was set to.
#[test]
fn aliases_for_a_client_stay_within_its_maximum() {
    for maximum in [1, 2, 3, u16::MAX] {
        let sent = sent(&Peer::v5(), Some(maximum));
        assert!(sent.iter().all(|(_, alias)| alias.is_none_or(|alias| alias <= maximum)), "{maximum}: {sent:?}");
    }
}

// Two sessions, each with aliases of its own: what one was told the other does not know.
#[test]
fn aliases_belong_to_one_connection() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let take = |name: &str| {
        let properties = vec![Property::TopicAliasMaximum(5)];
        let mut client = peer.connect(&Connect { properties, ..peer.clean(name) });
        client.subscribe(&topic, 0);
        client
    };
    let mut sender = peer.client("sender");
    let mut first = take("first");
    sender.publish(&topic, 0, "x");
    assert_eq!(first.take().topic, topic);
    let mut second = take("second");
    sender.publish(&topic, 0, "x");
    first.take();
    assert_eq!(second.take().topic, topic);
}
