//! A client with a session that outlives its connections: it keeps on its side what the standard demands of it.
//!
//! Its state is what a client would keep on disk (section 4.1 of MQTT 3.1.1): which messages it sent and has no answer
//! for, which QoS 2 messages it has received and not released, in order. A connection that is [`Client::cut`] takes
//! nothing of that along, and a connection may be cut between any two packets and in the middle of one.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::json;

use super::{
    model::{Message, MessageId, Model},
    random::Random,
};
use crate::harness::{
    mqtt::Login,
    wire::{
        Ack, Acks, Connect, Packet, Property, Publish, Reason, Received, Subscribe, Unsubscribe, Version, Wire, encode,
    },
};

/// More than this a client does not leave unanswered: it then waits for answers before it publishes.
const MOST_OUTGOING: usize = 20;

/// A server that has said nothing for so long has nothing to say.
const QUIET: Duration = Duration::from_millis(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Offline,
    /// CONNECT was written.
    Asking,
    Online,
}

#[derive(Debug)]
struct Outgoing {
    packet_id: u16,
    message: Message,
    /// PUBREC was read: the PUBLISH must not be sent again.
    is_received: bool,
}

#[derive(Debug)]
enum Request {
    Subscribe(String),
    Unsubscribe(String),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    login: Login,
    version: Version,
    /// Topics that it publishes to.
    topics: Vec<String>,
    /// Filters that it subscribes to, which do not overlap, with their QoS. The first always, the others now and then.
    filters: Vec<(String, u8)>,
    /// Unanswered QoS 1 and 2 messages that it takes, where the version can say that.
    receive_maximum: u16,

    stage: Stage,
    wire: Option<Wire>,
    /// In the order of the packets that they answer; not yet written.
    answers: VecDeque<Packet>,
    requests: Vec<(u16, Request)>,
    /// QoS 1 and 2 messages of this connection whose last answer is not written.
    unanswered: usize,
    /// Its own unanswered messages that the server takes.
    most_outgoing: usize,

    // What outlives the connection.
    /// CONNECTs that were written.
    attempts: u32,
    /// A CONNACK was read, so there is a session.
    has_session: bool,
    published: u64,
    last_packet_id: u16,
    outgoing: Vec<Outgoing>,
    incoming: BTreeSet<u16>,
    wished: BTreeSet<String>,
}

pub(super) struct Role {
    pub(super) login: Login,
    pub(super) version: Version,
    pub(super) topics: Vec<String>,
    pub(super) filters: Vec<(String, u8)>,
    pub(super) receive_maximum: u16,
}

impl Client {
    pub(super) fn new(role: Role) -> Self {
        let Role { login, version, topics, filters, receive_maximum } = role;
        Self {
            name: login.client_id.clone(),
            login,
            version,
            topics,
            filters,
            receive_maximum,
            stage: Stage::Offline,
            wire: None,
            answers: VecDeque::new(),
            requests: Vec::new(),
            unanswered: 0,
            most_outgoing: 0,
            attempts: 0,
            has_session: false,
            published: 0,
            last_packet_id: 0,
            outgoing: Vec::new(),
            incoming: BTreeSet::new(),
            wished: BTreeSet::new(),
        }
    }

    pub(super) fn is_offline(&self) -> bool {
        self.stage == Stage::Offline
    }

    /// Online, and nothing of its own without an answer.
    pub(super) fn is_settled(&self) -> bool {
        let is_silent = self.answers.is_empty() && self.requests.is_empty() && self.outgoing.is_empty();
        self.stage == Stage::Online && is_silent && self.incoming.is_empty()
    }

    // === what the chaos makes it do ===

    /// Opens a connection and writes CONNECT. The answer comes by [`Self::read`].
    pub(super) fn connect(&mut self, port: u16) {
        let mut connect = Connect::persistent(&self.login, self.version);
        if self.version == Version::V5 {
            connect.properties.push(Property::ReceiveMaximum(self.receive_maximum));
        }
        let mut wire = Wire::open(port, self.version);
        self.attempts += 1;
        if wire.send(&Packet::Connect(connect)).is_ok() {
            self.wire = Some(wire);
            self.stage = Stage::Asking;
        }
    }

    /// The connection ends without a word, and what was not written is forgotten.
    pub(super) fn cut(&mut self) {
        if let Some(wire) = self.wire.take() {
            wire.cut();
        }
        self.stage = Stage::Offline;
        self.answers.clear();
        self.requests.clear();
        self.unanswered = 0;
    }

    /// The same with a word.
    pub(super) fn disconnect(&mut self) {
        if self.stage == Stage::Online {
            self.write(&Packet::Disconnect(Reason::default()));
        }
        self.cut();
    }

    /// Publishes a message if it may. `torn`: the connection is cut in the middle of the packet.
    pub(super) fn publish(&mut self, model: &mut Model, random: &mut Random, torn: bool) {
        if self.stage != Stage::Online || self.topics.is_empty() || self.outgoing.len() >= self.most_outgoing {
            return;
        }
        self.published += 1;
        let id = MessageId { publisher: self.name.clone(), number: self.published };
        let payload = json!({"p": id.publisher, "n": id.number, "filling": "x".repeat(random.below(200))}).to_string();
        let message = Message { topic: random.choose(&self.topics).clone(), qos: random.below(3) as u8, payload, id };
        model.sending(&message);
        let packet_id = if message.qos == 0 { 0 } else { self.packet_id() };
        let packet = publish_packet(&message, packet_id, false);
        if message.qos > 0 {
            self.outgoing.push(Outgoing { packet_id, message, is_received: false });
        }
        if torn {
            let bytes = encode(&packet, self.version);
            let half = bytes.len() / 2;
            if let Some(wire) = &mut self.wire {
                let _cut_in_any_case = wire.send_bytes(&bytes[..half]);
            }
            self.cut();
        } else {
            self.write(&packet);
        }
    }

    /// Subscribes to a filter of its list, or takes a subscription back. The first filter stands for ever.
    pub(super) fn change_subscriptions(&mut self, model: &mut Model, random: &mut Random) {
        if self.stage != Stage::Online || self.filters.is_empty() {
            return;
        }
        let chosen = random.below(self.filters.len());
        let (filter, qos) = self.filters[chosen].clone();
        let is_asked = self.requests.iter().any(|(_, request)| match request {
            Request::Subscribe(asked) | Request::Unsubscribe(asked) => *asked == filter,
        });
        if is_asked {
            return;
        }
        if chosen > 0 && self.wished.remove(&filter) {
            let packet_id = self.packet_id();
            model.unsubscribing(&self.name, &filter);
            self.requests.push((packet_id, Request::Unsubscribe(filter.clone())));
            self.write(&Packet::Unsubscribe(Unsubscribe::new(packet_id, &[&filter])));
        } else {
            self.subscribe(filter, qos, model);
        }
    }

    /// Subscribes to the first filter.
    pub(super) fn subscribe_for_ever(&mut self, model: &mut Model) {
        if let Some((filter, qos)) = self.filters.first().cloned() {
            self.subscribe(filter, qos, model);
        }
    }

    fn subscribe(&mut self, filter: String, qos: u8, model: &mut Model) {
        let packet_id = self.packet_id();
        model.subscribing(&self.name, &filter, qos);
        self.wished.insert(filter.clone());
        self.write(&Packet::Subscribe(Subscribe::new(packet_id, &[(&filter, qos)])));
        self.requests.push((packet_id, Request::Subscribe(filter)));
    }

    /// Reads what has come, up to `most` packets, and says how many. Answers are kept for [`Self::answer`].
    pub(super) fn read(&mut self, model: &mut Model, most: usize, within: Duration) -> usize {
        for count in 0..most {
            let Some(wire) = &mut self.wire else { return count };
            match wire.receive(within) {
                Received::Packet(packet) => self.take(packet, model),
                Received::Closed => {
                    self.cut();
                    return count;
                }
                Received::Silence => return count,
            }
        }
        most
    }

    /// Reads and answers until nothing comes any more.
    pub(super) fn finish_reading(&mut self, model: &mut Model) {
        self.answer_all();
        self.read(model, usize::MAX, QUIET);
        while !self.answers.is_empty() {
            self.answer_all();
            self.read(model, usize::MAX, QUIET);
        }
    }

    /// Writes the next `most` answers.
    pub(super) fn answer(&mut self, most: usize) {
        for _ in 0..most {
            let Some(packet) = self.answers.pop_front() else { return };
            if matches!(packet, Packet::PubAck(_) | Packet::PubComp(_)) {
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            self.write(&packet);
        }
    }

    /// Writes everything that it owes.
    pub(super) fn answer_all(&mut self) {
        self.answer(usize::MAX);
    }

    // === what it does by itself ===

    fn write(&mut self, packet: &Packet) {
        let Some(wire) = &mut self.wire else { return };
        if wire.send(packet).is_err() {
            self.cut();
        }
    }

    /// One that is not in use [MQTT-2.3.1-2].
    fn packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = self.last_packet_id;
            let is_used = self.outgoing.iter().any(|outgoing| outgoing.packet_id == id)
                || self.requests.iter().any(|(used, _)| *used == id);
            if !is_used {
                return id;
            }
        }
    }

    fn take(&mut self, packet: Packet, model: &mut Model) {
        match (self.stage, packet) {
            (Stage::Asking, Packet::ConnAck(ack)) if ack.code == 0 => {
                let limits = ack.properties.iter().filter_map(|property| match property {
                    Property::ReceiveMaximum(limit) => Some(usize::from(*limit)),
                    _ => None,
                });
                self.most_outgoing = limits.fold(MOST_OUTGOING, usize::min);
                self.go_online(ack.session_present, model);
            }
            (Stage::Asking, Packet::ConnAck(ack)) => panic!("{} was refused: {ack:?}", self.name),
            (Stage::Online, Packet::Publish(publish)) => self.take_publish(publish, model),
            (Stage::Online, Packet::PubRel(ack)) => {
                self.incoming.remove(&ack.packet_id);
                self.answers.push_back(Packet::PubComp(Ack::of(ack.packet_id)));
            }
            (Stage::Online, Packet::PubAck(ack)) => self.finish(&ack, 1, model),
            (Stage::Online, Packet::PubComp(ack)) => self.finish(&ack, 2, model),
            (Stage::Online, Packet::PubRec(ack)) => {
                let found = self.outgoing.iter_mut().find(|outgoing| outgoing.packet_id == ack.packet_id);
                match found.filter(|outgoing| outgoing.message.qos == 2 && ack.reason < 0x80) {
                    Some(outgoing) => outgoing.is_received = true,
                    None => model.notice(&self.name, format!("{ack:?} as PUBREC")),
                }
                self.answers.push_back(Packet::PubRel(Ack::of(ack.packet_id)));
            }
            (Stage::Online, Packet::SubAck(acks) | Packet::UnsubAck(acks)) => self.settle_request(&acks, model),
            // The server may say why it goes.
            (_, Packet::Disconnect(_)) => {}
            (stage, packet) => model.notice(&self.name, format!("{packet:?} while {stage:?}")),
        }
    }

    fn go_online(&mut self, is_present: bool, model: &mut Model) {
        let expected = match (self.has_session, self.attempts) {
            (true, _) => Some(true),
            (false, 1) => Some(false),
            // An earlier CONNECT may have opened a session though its answer was never read.
            (false, _) => None,
        };
        // MQTT 3.1 knows no such flag: a client can only take for granted that what it asked for is so.
        let is_present = if self.version == Version::V31 { self.has_session } else { is_present };
        model.connected(&self.name, is_present, expected);
        self.has_session = true;
        self.stage = Stage::Online;
        if !is_present {
            self.outgoing.clear();
            self.incoming.clear();
        }
        // [MQTT-4.4.0-1], in the order in which they were sent [MQTT-4.6.0-1].
        let again: Vec<Packet> = self
            .outgoing
            .iter()
            .map(|outgoing| {
                if outgoing.is_received {
                    Packet::PubRel(Ack::of(outgoing.packet_id))
                } else {
                    model.sending(&outgoing.message);
                    publish_packet(&outgoing.message, outgoing.packet_id, true)
                }
            })
            .collect();
        for packet in again {
            self.write(&packet);
        }
    }

    fn take_publish(&mut self, publish: Publish, model: &mut Model) {
        let payload = String::from_utf8_lossy(&publish.payload).into_owned();
        if publish.retain {
            model.notice(&self.name, format!("{payload} is marked as retained"));
        }
        if publish.qos > 0 {
            self.unanswered += 1;
            if self.version == Version::V5 && self.unanswered > self.receive_maximum.into() {
                // [MQTT5-3.3.4-9]
                model.notice(&self.name, format!("{} unanswered messages", self.unanswered));
            }
        }
        match publish.qos {
            1 => self.answers.push_back(Packet::PubAck(Ack::of(publish.packet_id))),
            2 => {
                self.answers.push_back(Packet::PubRec(Ack::of(publish.packet_id)));
                if !self.incoming.insert(publish.packet_id) {
                    // [MQTT-4.3.3-2]: the same identifier before PUBREL is the same message, and is marked so.
                    if !publish.dup {
                        model.notice(&self.name, format!("{payload} comes again without DUP"));
                    }
                    return;
                }
            }
            _ => {}
        }
        model.received(&self.name, &publish.topic, &payload, publish.qos);
    }

    fn finish(&mut self, ack: &Ack, qos: u8, model: &mut Model) {
        let found = self.outgoing.iter().position(|outgoing| outgoing.packet_id == ack.packet_id);
        // 16: nobody subscribed. 146: the server did not remember the identifier, as it may after PUBCOMP.
        let is_good = |outgoing: &Outgoing| {
            let is_answer = outgoing.message.qos == qos && (qos == 1 || outgoing.is_received);
            is_answer && [0, 0x10, 0x92].contains(&ack.reason)
        };
        match found.filter(|place| is_good(&self.outgoing[*place])) {
            Some(place) => {
                let outgoing = self.outgoing.remove(place);
                model.acknowledged(&outgoing.message.id);
            }
            None => model.notice(&self.name, format!("{ack:?} at QoS {qos}")),
        }
    }

    fn settle_request(&mut self, acks: &Acks, model: &mut Model) {
        let found = self.requests.iter().position(|(packet_id, _)| *packet_id == acks.packet_id);
        let Some(place) = found else { return model.notice(&self.name, format!("{acks:?} out of nowhere")) };
        match self.requests.remove(place).1 {
            Request::Subscribe(filter) => {
                let granted = self.filters.iter().find(|(other, _)| *other == filter).map(|(_, qos)| *qos);
                if granted.is_none_or(|qos| acks.codes != [qos]) {
                    model.notice(&self.name, format!("{filter} was not granted: {acks:?}"));
                }
                model.subscribed(&self.name, &filter);
            }
            Request::Unsubscribe(filter) => model.unsubscribed(&self.name, &filter),
        }
    }
}

fn publish_packet(message: &Message, packet_id: u16, dup: bool) -> Packet {
    let publish = Publish::new(&message.topic, message.qos, message.payload.clone());
    Packet::Publish(Publish { packet_id, dup, ..publish })
}
