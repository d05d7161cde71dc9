//! Topic names and filters: what they may be, and what matches.

use super::{
    malformed::refused,
    peer::{Peer, both, payloads},
};
use crate::harness::wire::{Packet, Publish, Subscribe, Unsubscribe, Version};

// [MQTT-4.7.1-2], [MQTT5-4.7.1-1], [MQTT-4.7.1-3], [MQTT5-4.7.1-2]
#[test]
fn wildcards_match_levels() {
    let check = |filter: &str, topic: &str, expected: bool| {
        both(|peer| {
            let mut client = peer.subscriber("client", &peer.topic(filter));
            let stop = peer.topic("stop/stop/stop/stop");
            client.subscribe(&stop, 0);
            client.publish(&peer.topic(topic), 0, "x");
            client.publish(&stop, 0, "stop");
            assert_eq!(client.until("stop").len(), usize::from(expected), "{filter} {topic}");
        });
    };
    check("a/#", "a/b/c", true);
    check("a/#", "a", true);
    check("a/#", "ab", false);
    check("a/+", "a/b", true);
    check("a/+", "a/", true);
    check("a/+", "a", false);
    check("a/+", "a/b/c", false);
    check("+/b/+", "a/b/c", true);
    check("+/+", "/b", true);
    check("a//b", "a//b", true);
    check("a//b", "a/b", false);
    check("A", "a", false);
}

// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT5-4.7.1-1], [MQTT5-4.7.1-2], [MQTT-4.7.3-1], [MQTT5-4.7.3-1], [MQTT-4.7.3-2],
// [MQTT5-4.7.3-2]; MQTT 5 knows the reason 0x8f for a filter.
#[test]
fn a_malformed_filter_is_refused() {
    both(|peer| {
        for filter in ["", "a/#/b", "a#", "#a", "a+", "+a", "a/b+/c", "a/#b", "a\0b"] {
            refused(peer, &Packet::Subscribe(Subscribe::new(1, &[(filter, 0)])), &[0x81, 0x82, 0x8f]);
            refused(peer, &Packet::Unsubscribe(Unsubscribe::new(1, &[filter])), &[0x81, 0x82, 0x8f]);
        }
    });
}

// [MQTT-3.3.2-2], [MQTT-4.7.1-1], [MQTT5-3.3.2-2], [MQTT5-4.7.0-1], [MQTT-4.7.3-1], [MQTT5-4.7.3-1], [MQTT-4.7.3-2],
// [MQTT5-4.7.3-2]; MQTT 5 knows the reason 0x90 for a topic.
#[test]
fn a_malformed_topic_ends_the_connection() {
    both(|peer| {
        for topic in ["", "#", "a/+", "a#", "a/+/b", "a\0b"] {
            for qos in [0, 1] {
                let publish = Publish { packet_id: 1, ..Publish::new(topic, qos, "x") };
                refused(peer, &Packet::Publish(publish), &[0x81, 0x82, 0x90]);
            }
        }
    });
}

// [MQTT-4.7.2-1], [MQTT5-4.7.2-1]
#[test]
fn wildcards_at_the_first_level_leave_out_dollar_topics() {
    both(|peer| {
        let name = peer.topic("d").replace('/', "");
        let topic = format!("${name}/x");
        let stop = format!("{name}/x");
        let mut client = peer.client("client");
        for filter in ["+/x", "#"] {
            client.subscribe(filter, 0);
        }
        let mut exact = peer.client("exact");
        let granted = exact.subscribe(&topic, 0);
        client.publish(&topic, 0, "hidden");
        // Other tests publish what matches as well.
        client.publish(&stop, 0, &name);
        let received = client.until(&name);
        assert!(received.iter().all(|message| message.payload != b"hidden"), "{received:?}");
        if granted == 0 {
            exact.publish(&topic, 0, "stop");
            assert_eq!(payloads(&exact.until("stop")), ["hidden"]);
        }
    });
}

// [MQTT-4.7.3-4], [MQTT5-4.7.3-4]; a zero width no-break space stays: [MQTT-1.5.3-3], [MQTT5-1.5.4-3]
#[test]
fn topics_are_not_normalised() {
    both(|peer| {
        // Composed and decomposed, a full-width solidus, spaces, letters that fold to the same.
        let alike =
            ["\u{e4}", "a\u{308}", "a\u{ff0f}b", "a/b", " a", "a", "A", "\u{feff}a", "a\u{feff}", "\u{212b}", "\u{c5}"];
        let mut client = peer.client("client");
        let mut sender = peer.client("sender");
        for filter in alike {
            let filter = peer.topic(filter);
            client.subscribe(&filter, 0);
            for topic in alike {
                sender.publish(&peer.topic(topic), 0, "x");
            }
            sender.publish(&filter, 0, "stop");
            let received = client.until("stop");
            let topics: Vec<_> = received.iter().map(|message| message.topic.as_str()).collect();
            assert_eq!(topics, [filter.as_str()]);
            client.unsubscribe(&[&filter]);
        }
    });
}

// [MQTT-4.7.3-3], [MQTT5-4.7.3-3]: the length has two bytes, so that no longer one can be written. The longest is taken, or
// refused for the hub's own reasons; in either case the hub goes on.
#[test]
fn a_topic_of_65535_bytes_does_no_harm() {
    both(|peer| {
        let topic = peer.topic(&"x".repeat(65_535 - peer.topic("").len()));
        assert_eq!(topic.len(), 65_535);
        let mut client = peer.client("client");
        let _shows_in_the_next_line = client.wire.send(&Packet::Publish(Publish::new(&topic, 0, "x")));
        let _taken_or_closed = client.wire.send(&Packet::PingReq);
        let version: Version = peer.version;
        Peer::at(version).client("another").pong();
    });
}
