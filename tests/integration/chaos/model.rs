//! What must, may and must not arrive, told from what clients sent and what they were answered.
//!
//! The model knows nothing of a server: it is told what was written to and read from connections, in that order, and it
//! keeps the promises of MQTT:
//!
//! * **At most once** (QoS 0): never more copies than the publisher sent.
//! * **At least once** (QoS 1): every acknowledged message arrives at every session whose subscription was granted before it
//!   was sent and has stood since. A copy more has a cause: the publisher sent again, or the subscriber came back.
//! * **Exactly once** (QoS 2): the same, and never a second one.
//! * **Order** ([MQTT-4.6.0-6]): first deliveries of one publisher's messages of one topic and QoS come as they were sent.
//! * **Nobody gets what they did not ask for**: nothing for a filter that was never subscribed, or that was unsubscribed
//!   before the message was sent, or subscribed after the message had been acknowledged.
//! * A message comes as it was sent, at the lower of both QoS [MQTT5-3.8.4-8], and a session once granted is there
//!   when its client returns.
//!
//! While an unsubscription is on its way, its filter's messages may arrive or not: the standard lets a server stop at once.

use std::collections::{BTreeMap, BTreeSet};

/// A message is known by who sent it and its place among all that they sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageId {
    pub(super) publisher: String,
    pub(super) number: u64,
}

impl MessageId {
    /// The identity in a payload: an object whose `p` is the publisher and whose `n` is the number.
    fn parse(payload: &str) -> Option<Self> {
        let payload: serde_json::Value = serde_json::from_str(payload).ok()?;
        Some(Self { publisher: payload["p"].as_str()?.to_owned(), number: payload["n"].as_u64()? })
    }
}

/// What a client published. The identity stands in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: MessageId,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) payload: String,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody sent this, or not so.
    Forged {
        subscriber: String,
        topic: String,
        payload: String,
    },
    WrongQos {
        subscriber: String,
        message: MessageId,
        qos: u8,
        expected: u8,
    },
    NotSubscribed {
        subscriber: String,
        message: MessageId,
        topic: String,
    },
    /// A copy more than its QoS and what happened allow.
    Repeated {
        subscriber: String,
        message: MessageId,
        qos: u8,
    },
    OutOfOrder {
        subscriber: String,
        message: MessageId,
        after: u64,
    },
    /// A QoS 1 or 2 message that was acknowledged and never came.
    Lost {
        subscriber: String,
        message: MessageId,
        topic: String,
    },
    SessionLost {
        client: String,
    },
    SessionFromNowhere {
        client: String,
    },
    /// Something a client noticed by itself: flow control, DUP, an unexpected packet.
    Protocol {
        client: String,
        what: String,
    },
}

/// Logical time: every event has its own.
type Time = u64;

#[derive(Debug)]
struct Sent {
    message: Message,
    first: Time,
    copies: u32,
    acknowledged: Option<Time>,
}

/// A time during which a filter may have been subscribed.
#[derive(Debug, Clone)]
struct Standing {
    qos: u8,
    /// SUBSCRIBE was written.
    asked: Time,
    /// SUBACK was read.
    granted: Option<Time>,
    /// UNSUBSCRIBE was written.
    revoking: Option<Time>,
    /// UNSUBACK was read.
    revoked: Option<Time>,
}

#[derive(Debug, Default)]
struct Delivery {
    copies: u32,
    /// The subscriber's connections that had one.
    connections: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    now: Time,
    sent: BTreeMap<MessageId, Sent>,
    standings: BTreeMap<(String, String), Vec<Standing>>,
    deliveries: BTreeMap<(String, MessageId), Delivery>,
    /// By subscriber, publisher, topic and QoS: the newest number that came.
    newest: BTreeMap<(String, String, String, u8), u64>,
    /// How often each client has connected.
    connections: BTreeMap<String, u64>,
    faults: Vec<Fault>,
    acknowledged: usize,
}

/// How many messages were sent and acknowledged, and how many times one came to a subscriber that had not had it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Census {
    pub(super) sent: usize,
    pub(super) acknowledged: usize,
    pub(super) delivered: usize,
}

impl Model {
    fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }

    // === publishers ===

    /// A PUBLISH is about to be written.
    pub(super) fn sending(&mut self, message: &Message) {
        let now = self.tick();
        let first = || Sent { message: message.clone(), first: now, copies: 0, acknowledged: None };
        self.sent.entry(message.id.clone()).or_insert_with(first).copies += 1;
    }

    /// The PUBACK or PUBCOMP of a message was read. A server may hand on a QoS 2 message at PUBLISH or at PUBREL (section 4.3.3).
    pub(super) fn acknowledged(&mut self, id: &MessageId) {
        let now = self.tick();
        let sent = self.sent.get_mut(id).expect("it was sent");
        if sent.acknowledged.replace(now).is_none() {
            self.acknowledged += 1;
        }
    }

    // === sessions and subscriptions ===

    /// CONNACK was read. `expected`: whether the client's session must be there (`Some(true)`), cannot be there
    /// (`Some(false)`), or may be.
    pub(super) fn connected(&mut self, client: &str, is_present: bool, expected: Option<bool>) {
        self.tick();
        *self.connections.entry(client.to_owned()).or_default() += 1;
        let client = client.to_owned();
        match (expected, is_present) {
            (Some(true), false) => self.faults.push(Fault::SessionLost { client }),
            (Some(false), true) => self.faults.push(Fault::SessionFromNowhere { client }),
            _ => {}
        }
    }

    /// A SUBSCRIBE is about to be written. The QoS of a filter never changes while it stands.
    pub(super) fn subscribing(&mut self, client: &str, filter: &str, qos: u8) {
        let asked = self.tick();
        let standings = self.standings.entry((client.to_owned(), filter.to_owned())).or_default();
        match standings.last_mut() {
            // Asked again, while the first may or may not stand: it is the same wish, as long as nobody took it back.
            Some(last) if last.revoking.is_none() => assert_eq!(last.qos, qos),
            _ => standings.push(Standing { qos, asked, granted: None, revoking: None, revoked: None }),
        }
    }

    pub(super) fn subscribed(&mut self, client: &str, filter: &str) {
        let now = self.tick();
        self.standing(client, filter).granted.get_or_insert(now);
    }

    pub(super) fn unsubscribing(&mut self, client: &str, filter: &str) {
        let now = self.tick();
        self.standing(client, filter).revoking.get_or_insert(now);
    }

    pub(super) fn unsubscribed(&mut self, client: &str, filter: &str) {
        let now = self.tick();
        self.standing(client, filter).revoked.get_or_insert(now);
    }

    fn standing(&mut self, client: &str, filter: &str) -> &mut Standing {
        let standings = self.standings.get_mut(&(client.to_owned(), filter.to_owned()));
        standings.and_then(|standings| standings.last_mut()).expect("it was subscribed")
    }

    // === subscribers ===

    /// A PUBLISH was read that the client takes for a new message.
    pub(super) fn received(&mut self, subscriber: &str, topic: &str, payload: &str, qos: u8) {
        self.tick();
        let sent = MessageId::parse(payload).and_then(|id| self.sent.get(&id));
        let Some(sent) = sent.filter(|sent| sent.message.topic == topic && sent.message.payload == payload) else {
            let (topic, payload) = (topic.to_owned(), payload.to_owned());
            return self.faults.push(Fault::Forged { subscriber: subscriber.to_owned(), topic, payload });
        };
        let id = sent.message.id.clone();
        let subscriber = subscriber.to_owned();
        let Some(standing) = self.standing_that_explains(&subscriber, sent) else {
            return self.faults.push(Fault::NotSubscribed { subscriber, message: id, topic: topic.to_owned() });
        };
        let published = sent.message.qos;
        let expected = published.min(standing.qos);
        let copies_sent = sent.copies;
        // What came may be the repetition of a message whose first copy was not for this subscriber: it came before the
        // subscription, or while that was taken back.
        let was_due =
            expected > 0 && standing.revoking.is_none() && standing.granted.is_some_and(|granted| granted < sent.first);
        let may_be_repetition = published == 1 && copies_sent > 1 && !was_due;
        if qos != expected {
            self.faults.push(Fault::WrongQos { subscriber, message: id, qos, expected });
            return;
        }

        let connection = self.connections.get(&subscriber).copied().unwrap_or_default();
        let delivery = self.deliveries.entry((subscriber.clone(), id.clone())).or_default();
        delivery.copies += 1;
        let is_first = delivery.copies == 1;
        let came_back = delivery.connections.iter().any(|earlier| *earlier != connection);
        delivery.connections.insert(connection);
        // A publisher's repetition is another message to a server at QoS 1, and none at QoS 2.
        let by_the_publisher = published == 1 && delivery.copies <= copies_sent;
        let is_explained = by_the_publisher || (expected == 1 && came_back);
        if !is_first && !is_explained {
            self.faults.push(Fault::Repeated { subscriber: subscriber.clone(), message: id.clone(), qos });
        }
        if is_first && !may_be_repetition {
            let lane = (subscriber.clone(), id.publisher.clone(), topic.to_owned(), published);
            let newest = self.newest.entry(lane).or_default();
            if *newest > id.number {
                let after = *newest;
                self.faults.push(Fault::OutOfOrder { subscriber, message: id, after });
            } else {
                *newest = id.number;
            }
        }
    }

    /// The subscription for whose sake a message may have come.
    fn standing_that_explains(&self, subscriber: &str, sent: &Sent) -> Option<&Standing> {
        let of_subscriber = self.standings.iter().filter(|((client, _), _)| client == subscriber);
        let matching = of_subscriber.filter(|((_, filter), _)| matches(filter, &sent.message.topic));
        matching.flat_map(|(_, standings)| standings).find(|standing| {
            let ended_before = standing.revoked.is_some_and(|revoked| revoked < sent.first);
            let began_after = sent.acknowledged.is_some_and(|acknowledged| acknowledged < standing.asked);
            !ended_before && !began_after
        })
    }

    // === the reckoning ===

    pub(super) fn notice(&mut self, client: &str, what: impl Into<String>) {
        self.faults.push(Fault::Protocol { client: client.to_owned(), what: what.into() });
    }

    /// Promises broken so far.
    pub(super) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What has been acknowledged, must arrive, and has not yet.
    pub(super) fn missing(&self) -> Vec<Fault> {
        let mut missing = Vec::new();
        for ((subscriber, filter), standings) in &self.standings {
            for standing in standings.iter().filter(|standing| standing.qos > 0 && standing.revoking.is_none()) {
                let Some(granted) = standing.granted else { continue };
                let due = self.sent.values().filter(|sent| {
                    let is_promised = sent.message.qos > 0 && sent.acknowledged.is_some();
                    is_promised && sent.first > granted && matches(filter, &sent.message.topic)
                });
                let lost =
                    due.filter(|sent| !self.deliveries.contains_key(&(subscriber.clone(), sent.message.id.clone())));
                missing.extend(lost.map(|sent| Fault::Lost {
                    subscriber: subscriber.clone(),
                    message: sent.message.id.clone(),
                    topic: sent.message.topic.clone(),
                }));
            }
        }
        missing
    }

    /// The numbers of a publisher's messages that were acknowledged, for a look into the server's own books.
    pub(super) fn acknowledged_by(&self, publisher: &str) -> Vec<u64> {
        let acknowledged = self.sent.iter().filter(|(_, sent)| sent.acknowledged.is_some());
        acknowledged.filter(|(id, _)| id.publisher == publisher).map(|(id, _)| id.number).collect()
    }

    pub(super) fn census(&self) -> Census {
        Census { sent: self.sent.len(), acknowledged: self.acknowledged, delivered: self.deliveries.len() }
    }
}

/// Section 4.7 without `$` topics, which the chaos does not use.
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

mod tests;
