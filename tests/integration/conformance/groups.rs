//! Shared subscriptions.

use std::time::Duration;

use super::{
    client::Client,
    peer::{Peer, another_server, payloads},
};
use crate::harness::{
    SOON, eventually,
    wire::{Ack, Packet, Publish, Received, Subscribe},
};

const NO_LOCAL: u8 = 0x04;

/// A client that is subscribed. Exactly once cannot be promised to one of a group, so the hub grants QoS 1 at most, as a
/// server may (section 3.9.3).
fn member(peer: &Peer, client: &str, filter: &str, qos: u8) -> Client {
    let mut client = peer.client(client);
    assert_eq!(client.subscribe(filter, qos), granted(qos));
    client
}

fn granted(qos: u8) -> u8 {
    if another_server().is_some() { qos } else { qos.min(1) }
}

/// Reads what members have got, until each has its stop message.
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
    for (qos, messages) in (0..).map(granted).zip(received) {
        assert!(messages.iter().all(|message| message.qos == qos), "{qos}: {messages:?}");
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

// What a member does not acknowledge before its session ends goes to another, section 4.8.2. It says so with "should".
#[test]
fn a_message_whose_members_session_ends_goes_to_another() {
    if another_server().is_some() {
        return;
    }
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut members = two_members(&peer, &topic);
    peer.client("sender").publish(&topic, 1, "x");
    let (chosen, _) = reached(&mut members);
    let [one, two] = members;
    let (gone, mut other) = if chosen == 0 { (one, two) } else { (two, one) };
    gone.disconnect();
    assert_eq!(other.take().payload, b"x");
}

// [MQTT5-4.8.2-6]
#[test]
fn a_message_that_a_member_refuses_goes_to_no_other() {
    let peer = Peer::v5();
    let topic = peer.topic("a");
    let mut members = two_members(&peer, &topic);
    peer.client("sender").publish(&topic, 1, "refused");
    let (chosen, message) = reached(&mut members);
    members[chosen].send(&Packet::PubAck(Ack::with_reason(message.packet_id, 0x83)));
    members[chosen].pong();
    let received = payloads(&stopped(&peer, &mut members).concat());
    assert_eq!(received, [""; 0]);
}

fn two_members(peer: &Peer, topic: &str) -> [Client; 2] {
    let group = format!("$share/g/{topic}");
    ["one", "two"].map(|name| member(peer, name, &group, 1))
}

/// Which of two members the message has reached, and the message.
fn reached(members: &mut [Client; 2]) -> (usize, Publish) {
    eventually("a member has the message", SOON, || {
        members.iter_mut().enumerate().find_map(|(number, member)| match member.wire.receive(Duration::ZERO) {
            Received::Packet(Packet::Publish(message)) => Some((number, message)),
            Received::Silence => None,
            other => panic!("{other:?}"),
        })
    })
}
