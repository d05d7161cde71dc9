//! A client that does what is usual when told to, and keeps what comes meanwhile.

use std::collections::VecDeque;

use crate::harness::wire::{
    Ack, Acks, ConnAck, Packet, Properties, Property, Publish, Reason, Subscribe, Unsubscribe, Version, Wire,
};

pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) connack: ConnAck,
    last_id: u16,
    kept: VecDeque<Packet>,
}

impl Client {
    pub(crate) fn on(wire: Wire, connack: ConnAck) -> Self {
        Self { wire, connack, last_id: 0, kept: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, packet: &Packet) {
        self.wire.send(packet).expect("the connection stands");
    }

    // === requests ===

    /// The code for one filter.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        let acks = self.subscribe_all(&[(filter, options)], Vec::new());
        assert_eq!(acks.codes.len(), 1);
        acks.codes[0]
    }

    pub(crate) fn subscribe_all(&mut self, filters: &[(&str, u8)], properties: Properties) -> Acks {
        let packet_id = self.fresh_id();
        self.send(&Packet::Subscribe(Subscribe { properties, ..Subscribe::new(packet_id, filters) }));
        let acks = self.until_some(|packet| match packet {
            Packet::SubAck(acks) => Some(acks.clone()),
            _ => None,
        });
        assert_eq!(acks.packet_id, packet_id);
        acks
    }

    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Acks {
        let packet_id = self.fresh_id();
        self.send(&Packet::Unsubscribe(Unsubscribe::new(packet_id, filters)));
        let acks = self.until_some(|packet| match packet {
            Packet::UnsubAck(acks) => Some(acks.clone()),
            _ => None,
        });
        assert_eq!(acks.packet_id, packet_id);
        acks
    }

    /// Publishes and completes the exchange. The last reason code of the server.
    pub(crate) fn publish(&mut self, topic: &str, qos: u8, payload: &str) -> u8 {
        self.publish_as(Publish::new(topic, qos, payload))
    }

    pub(crate) fn retain(&mut self, topic: &str, qos: u8, payload: &str) -> u8 {
        self.publish_as(Publish { retain: true, ..Publish::new(topic, qos, payload) })
    }

    pub(crate) fn publish_with(&mut self, topic: &str, qos: u8, payload: &str, properties: Properties) -> u8 {
        self.publish_as(Publish { properties, ..Publish::new(topic, qos, payload) })
    }

    fn publish_as(&mut self, publish: Publish) -> u8 {
        let packet_id = if publish.qos == 0 { 0 } else { self.fresh_id() };
        let qos = publish.qos;
        self.send(&Packet::Publish(Publish { packet_id, ..publish }));
        match qos {
            0 => 0,
            1 => self.answer(packet_id, |packet| match packet {
                Packet::PubAck(ack) => Some(ack),
                _ => None,
            }),
            _ => {
                let received = self.answer(packet_id, |packet| match packet {
                    Packet::PubRec(ack) => Some(ack),
                    _ => None,
                });
                if received < 0x80 { self.release(packet_id) } else { received }
            }
        }
    }

    /// PUBREL, and the reason of PUBCOMP.
    pub(crate) fn release(&mut self, packet_id: u16) -> u8 {
        self.send(&Packet::PubRel(Ack::of(packet_id)));
        self.answer(packet_id, |packet| match packet {
            Packet::PubComp(ack) => Some(ack),
            _ => None,
        })
    }

    fn answer(&mut self, packet_id: u16, known: impl Fn(&Packet) -> Option<&Ack>) -> u8 {
        let ack = self.until_some(|packet| known(packet).cloned());
        assert_eq!(ack.packet_id, packet_id);
        ack.reason
    }

    fn fresh_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    // === what comes ===

    pub(crate) fn next(&mut self) -> Packet {
        self.kept.pop_front().unwrap_or_else(|| self.wire.next())
    }

    /// The next packet, which must be a message. It is not acknowledged.
    pub(crate) fn message(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// The next message, acknowledged in full.
    pub(crate) fn take(&mut self) -> Publish {
        let publish = self.message();
        self.acknowledge(&publish);
        publish
    }

    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        let packet_id = publish.packet_id;
        match publish.qos {
            0 => {}
            1 => self.send(&Packet::PubAck(Ack::of(packet_id))),
            _ => {
                self.send(&Packet::PubRec(Ack::of(packet_id)));
                self.until_some(|packet| (*packet == Packet::PubRel(Ack::of(packet_id))).then_some(()));
                self.send(&Packet::PubComp(Ack::of(packet_id)));
            }
        }
    }

    /// Takes messages up to one of this payload, which is not among those given.
    pub(crate) fn until(&mut self, payload: &str) -> Vec<Publish> {
        let mut messages = Vec::new();
        loop {
            let publish = self.take();
            if publish.payload == payload.as_bytes() {
                return messages;
            }
            messages.push(publish);
        }
    }

    /// Reads until a packet is known; the others are kept.
    fn until_some<T>(&mut self, known: impl Fn(&Packet) -> Option<T>) -> T {
        loop {
            let packet = self.wire.next();
            if let Some(found) = known(&packet) {
                return found;
            }
            self.kept.push_back(packet);
        }
    }

    pub(crate) fn pong(&mut self) {
        let packets = self.wire.until_pong();
        self.kept.extend(packets);
    }

    // === the end ===

    /// DISCONNECT, and the server closes.
    pub(crate) fn disconnect(self) {
        self.disconnect_with(Reason::default());
    }

    pub(crate) fn disconnect_with(mut self, reason: Reason) {
        self.send(&Packet::Disconnect(reason));
        self.wire.until_closed();
    }

    pub(crate) fn cut(self) {
        self.wire.cut();
    }

    /// The server closes. In MQTT 5 it may say why: the codes of its DISCONNECT, at most one. Acknowledgements and messages
    /// on their way are passed over.
    pub(crate) fn closed(&mut self) -> Option<u8> {
        let said: Vec<_> = self.wire.until_closed().into_iter().filter(|packet| !is_traffic(packet)).collect();
        match said.as_slice() {
            [] => None,
            [Packet::Disconnect(reason)] if self.wire.version() == Version::V5 => Some(reason.code),
            other => panic!("{other:?}"),
        }
    }

    /// The value of a property of CONNACK.
    pub(crate) fn granted<T>(&self, known: impl Fn(&Property) -> Option<T>) -> Option<T> {
        self.connack.properties.iter().find_map(known)
    }
}

fn is_traffic(packet: &Packet) -> bool {
    matches!(
        packet,
        Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
    )
}
