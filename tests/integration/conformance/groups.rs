//! Shared subscriptions.

use super::{
    client::Client,
    peer::{Peer, payloads},
};
use crate::harness::wire::{Ack, Connect, Packet, Publish, Subscribe};

const NO_LOCAL: u8 = 0x04;

fn member(peer: &Peer, client: &str, filter: &str, qos: u8) -> Client {
    let mut client = peer.client(client);
    assert_eq!(client.subscribe(filter, qos), qos);
    client
}

/// Reads what two members have got, until each has its stop message.
fn stopped(peer: &Peer, members: &mut [Client]) -> Vec<Vec<Publish>> {
    let mut sender = peer.client("stopper");
    let each = members.iter_mut().enumerate().map(|(number, member)| {
        let own = peer.topic(&format!("stop/{number}"));
        member.subscribe(&own, 1);
        sender.publish(&own, 1, "stop");
        member.until("stop")
    });
    each.collect()
}

// A group gets one copy of each message, and other subscriptions their own, section 4.8.2. A group is a name and a filter.
#[test]
fn a_group_gets_one_copy() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let (group, other) = (format!("$share/group/{topic}"), format!("$share/other/{topic}"));
    let (wider, plain) = (format!("$share/group/{}", peer.topic("+")), topic.clone());
    let mut members = [
        member(&peer, "one", &group, 1),
        member(&peer, "two", &group, 1),
        member(&peer, "three", &other, 1),
        member(&peer, "four", &wider, 1),
        member(&peer, "five", &plain, 1),
    ];
    let mut sender = peer.client("sender");
    let sent: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    for payload in &sent {
        sender.publish(&topic, 1, payload);
    }
    let received = stopped(&peer, &mut members);
    let mut shared = payloads(&[received[0].clone(), received[1].clone()].concat());
    shared.sort();
    assert_eq!(shared, sent);
    for alone in &received[2..] {
        assert_eq!(payloads(alone), sent);
    }
}

// [MQTT5-4.8.2-1], [MQTT5-4.8.2-2]: a group needs a name without wildcards, a separator and a filter.
#[test]
fn a_malformed_shared_filter_is_refused() {
    let peer = Peer::v5();
    for filter in
        ["$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share/g+h/a", "$share/g/a#"]
    {
        let mut client = peer.client("a");
        client.send(&Packet::Subscribe(Subscribe::new(1, &[(filter, 1)])));
        match client.wire.until_closed().as_slice() {
            [] => {}
            [Packet::Disconnect(reason)] => assert!([0x81, 0x82, 0x8f].contains(&reason.code), "{filter}: {reason:?}"),
            other => panic!("{filter}: {other:?}"),
        }
    }
}

// [MQTT5-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let peer = Peer::v5();
    let mut client = peer.client("a");
    let filter = format!("$share/g/{}", peer.topic("a"));
    client.send(&Packet::Subscribe(Subscribe::new(1, &[(&filter, 1 | NO_LOCAL)])));
    assert!([None, Some(0x82)].contains(&client.closed()));
}

// [MQTT5-4.8.2-3]
#[test]
fn a_member_gets_messages_at_its_own_qos() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let group = format!("$share/g/{topic}");
    let mut members =
        [member(&peer, "zero", &group, 0), member(&peer, "one", &group, 1), member(&peer, "two", &group, 2)];
    let mut sender = peer.client("sender");
    for _ in 0..12 {
        sender.publish(&topic, 2, "x");
    }
    let received = stopped(&peer, &mut members);
    assert_eq!(received.iter().map(Vec::len).sum::<usize>(), 12);
    for (granted, messages) in (0..).zip(received) {
        assert!(messages.iter().all(|message| message.qos == granted), "{granted}: {messages:?}");
    }
}

// A shared subscription is sent no retained messages, section 4.8.2.
#[test]
fn a_group_gets_no_retained_messages() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut sender = peer.client("sender");
    sender.retain(&topic, 1, "kept");
    let mut member = member(&peer, "one", &format!("$share/g/{topic}"), 1);
    sender.publish(&topic, 1, "stop");
    assert_eq!(payloads(&member.until("stop")), [""; 0]);
}

/// Two members with persistent sessions; the one that gets the message, the name of it, and the other.
fn chosen(peer: &Peer, topic: &str, qos: u8) -> (Client, &'static str, Client) {
    let group = format!("$share/g/{topic}");
    let join = |name: &'static str| {
        let mut client = peer.connect(&peer.persistent(name));
        client.subscribe(&group, qos);
        client
    };
    let (mut one, mut other) = (join("one"), join("other"));
    peer.client("sender").publish(topic, qos, "x");
    // Each is told to go on by a message of its own; who is told first has no other.
    let mut sender = peer.client("asker");
    let asked = peer.topic("asked");
    one.subscribe(&asked, 0);
    sender.publish(&asked, 0, "asked");
    let first = one.message();
    if first.payload == b"x" {
        assert_eq!(one.message().payload, b"asked");
        (one, "one", other)
    } else {
        assert_eq!(other.message().payload, b"x");
        (other, "other", one)
    }
}

// [MQTT5-4.8.2-4]
#[test]
fn a_delivery_at_qos_2_is_completed_with_the_same_member() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let (mut chosen, name, mut other) = chosen(&peer, &topic, 2);
    chosen.pong();
    chosen.cut();
    let mut back = peer.connect(&peer.persistent(name));
    let again = back.message();
    assert_eq!((again.payload.as_slice(), again.dup), (&b"x"[..], true));
    back.acknowledge(&again);
    let own = peer.topic("own");
    other.subscribe(&own, 1);
    other.publish(&own, 1, "stop");
    assert!(!payloads(&other.until("stop")).contains(&"x".to_owned()));
}

// [MQTT5-4.8.2-5]: at QoS 2 a message that was begun and whose session ends is lost rather than sent twice.
#[test]
fn a_delivery_at_qos_2_ends_with_its_session() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let (chosen, name, mut other) = chosen(&peer, &topic, 2);
    chosen.cut();
    peer.connect(&Connect { clean: true, ..peer.clean(name) }).disconnect();
    let own = peer.topic("own");
    other.subscribe(&own, 1);
    other.publish(&own, 1, "stop");
    assert!(!payloads(&other.until("stop")).contains(&"x".to_owned()));
}

// [MQTT5-4.8.2-6]
#[test]
fn a_message_that_a_member_refuses_goes_to_no_other() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let group = format!("$share/g/{topic}");
    for qos in [1, 2] {
        let mut members = [member(&peer, "one", &group, qos), member(&peer, "two", &group, qos)];
        let mut sender = peer.client("sender");
        sender.publish(&topic, qos, "refused");
        let asked = peer.topic("asked");
        members[0].subscribe(&asked, 0);
        sender.publish(&asked, 0, "asked");
        let first = members[0].message();
        let (who, message) = if first.payload == b"refused" { (0, first) } else { (1, members[1].message()) };
        let ack = Ack::with_reason(message.packet_id, 0x83);
        members[who].send(&if qos == 1 { Packet::PubAck(ack) } else { Packet::PubRec(ack) });
        members[who].pong();
        let received = stopped(&peer, &mut members);
        let payloads = payloads(&received.concat());
        assert!(!payloads.contains(&"refused".to_owned()), "{payloads:?}");
    }
}
