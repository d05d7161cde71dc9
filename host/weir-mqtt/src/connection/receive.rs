//! What the client sends.

use std::time::{Duration, Instant};

use weir_core::{Protocol, Qos};

use super::{BATCH, CONNECT_BYTES, Connection, Leave, Phase, Received, Request};
use crate::{
    ProtocolError,
    codec::{
        self, Acknowledgement, Connect, Disconnect, Packet, PacketType, Publish, frame,
        write::{self, Confirmation},
    },
    codes::{self, Reason},
};

impl Connection {
    /// Takes packets from the front of `bytes`, and writes to `out` what can be answered at once. Call it again with
    /// the rest until it consumes nothing.
    ///
    /// Either messages come out, at most `batch` of them, or something else does; and while messages come out, or one of
    /// the requests of QoS 2, nothing has changed that matters if the same bytes are given again. So a batch that cannot
    /// be published now, or not as a whole, may be asked for again. (Acknowledgements that come with it are then told
    /// twice; the second time nobody knows them.) An error is told when everything before it has been; whatever is in
    /// `out` is sent before closing.
    pub fn receive<'a>(
        &mut self,
        bytes: &'a [u8],
        batch: usize,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Received<'a>, ProtocolError> {
        let mut received = Received::default();
        let mut answered = false;
        // Messages of this batch that will have to be answered.
        let mut confirmed = 0;
        let batch = batch.min(BATCH);
        while received.publishes.len() < batch && received.request.is_none() {
            let rest = bytes.get(received.consumed..).unwrap_or_default();
            let found = self.next_packet(rest).and_then(|found| match found {
                Some((Packet::Publish(publish), _)) => self.check_publish(&publish, confirmed).map(|()| found),
                _ => Ok(found),
            });
            let (packet, length) = match found {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) if received.consumed > 0 => break,
                Err(error) => return Err(self.fail(error, rest, out)),
            };
            match packet {
                Packet::Publish(_) if answered => break,
                Packet::Publish(publish) if !publish.is_as_said() => {
                    if !received.publishes.is_empty() {
                        break;
                    }
                    // §3.3.2.3.2
                    received.refused = Some(ProtocolError::PayloadFormat);
                    self.refuse_publish(&publish, Reason::PayloadFormatInvalid);
                    answered = true;
                }
                // What the messages before it call their topic must stay the same until they are published.
                Packet::Publish(publish) if self.gives_new_meaning(&publish) && !received.publishes.is_empty() => break,
                Packet::Publish(publish) => {
                    self.learn_alias(&publish);
                    confirmed += usize::from(publish.packet_id.is_some());
                    received.publishes.push(publish);
                }
                Packet::PubAck(ack) => received.acknowledged.push(ack.packet_id),
                Packet::PubRec(Acknowledgement { packet_id, reason }) if reason.is_failure() => {
                    received.acknowledged.push(packet_id);
                }
                Packet::PubComp(ack) => received.completed.push(ack.packet_id),
                _ if !received.publishes.is_empty() => break,
                Packet::PubRec(ack) => received.request = Some(Request::Received(ack.packet_id)),
                Packet::PubRel(ack) => received.request = Some(Request::Release(ack.packet_id)),
                // [MQTT-3.12.4-1]
                Packet::PingReq => {
                    write::pingresp(out);
                    answered = true;
                }
                Packet::Subscribe(subscribe) => received.request = Some(Request::Subscribe(subscribe)),
                Packet::Unsubscribe(unsubscribe) => received.request = Some(Request::Unsubscribe(unsubscribe)),
                Packet::Disconnect(disconnect) => {
                    self.phase = Phase::Ended;
                    received.request = Some(Request::Disconnect(leave(disconnect)));
                }
                Packet::Connect(connect) => {
                    self.agree(&connect);
                    received.request = Some(Request::Connect(connect));
                }
                // Refused by `next_packet`.
                Packet::Auth(_) => {}
            }
            received.consumed += length;
        }
        if received.consumed > 0 {
            self.heard = now;
        }
        Ok(received)
    }

    /// The next packet, if it is whole and welcome in this phase, and its length.
    fn next_packet<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, ProtocolError> {
        let limit = match self.phase {
            Phase::Opened => CONNECT_BYTES,
            Phase::Connected => self.bounds.remaining_length(),
            Phase::Connecting | Phase::Failed | Phase::Ended => return Ok(None),
        };
        // Known from the first byte: what will be refused is not gathered first.
        match (frame::first_type(bytes, self.terms.protocol)?, self.phase == Phase::Opened) {
            (Some(PacketType::Connect), false) => return Err(ProtocolError::ConnectRepeated), // [MQTT-3.1.0-2]
            (Some(PacketType::Connect), true) | (_, false) => {}
            (Some(_), true) => return Err(ProtocolError::ConnectExpected), // [MQTT-3.1.0-1]
            (None, _) => return Ok(None),
        }
        let Some(frame) = frame::split(bytes, limit)? else { return Ok(None) };
        let packet = codec::decode(frame, self.terms.protocol, self.bounds.filters)?;
        match &packet {
            Packet::Publish(publish) => self.check_payload(publish.payload)?,
            Packet::Connect(connect) => self.check_connect(connect)?,
            // [MQTT5-4.12.0-6]: no CONNECT that names a method was accepted.
            Packet::Auth(_) => return Err(ProtocolError::Authentication),
            // [MQTT5-3.1.2-23], §3.14.2.2.2
            Packet::Disconnect(disconnect)
                if self.ends_with_connection && disconnect.session_expiry.is_some_and(|seconds| seconds > 0) =>
            {
                return Err(ProtocolError::SessionExpiry);
            }
            _ => {}
        }
        Ok(Some((packet, frame.bytes.len())))
    }

    fn check_connect(&self, connect: &Connect) -> Result<(), ProtocolError> {
        if let Some(will) = &connect.will {
            self.check_payload(&will.payload)?;
        }
        // [MQTT5-4.12.0-1]: there is no method that the hub knows.
        if connect.properties.authentication.is_some() {
            return Err(ProtocolError::AuthenticationMethod);
        }
        // [MQTT-3.1.3-8]; a client of MQTT 5 is told the name that it gets.
        let may_be_empty = match connect.protocol {
            Protocol::Mqtt5 => true,
            Protocol::Mqtt31 => false,
            _ => connect.clean,
        };
        if connect.client_id.is_empty() && !may_be_empty { Err(ProtocolError::ClientId) } else { Ok(()) }
    }

    fn check_payload(&self, payload: &[u8]) -> Result<(), ProtocolError> {
        let (size, limit) = (payload.len(), self.bounds.payload);
        if size > limit { Err(ProtocolError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// What is wrong with a message, after so many others of its batch that are to be `confirmed`.
    fn check_publish(&self, publish: &Publish<'_>, confirmed: usize) -> Result<(), ProtocolError> {
        if self.terms.protocol != Protocol::Mqtt5 {
            return Ok(());
        }
        // [MQTT5-3.3.4-9]
        let unanswered = usize::from(self.unanswered) + confirmed;
        if publish.packet_id.is_some() && unanswered >= usize::from(self.bounds.receive_maximum) {
            return Err(ProtocolError::ReceiveMaximum);
        }
        let Some(alias) = publish.properties.topic_alias else { return Ok(()) };
        let known = self.from_client.as_ref().and_then(|aliases| aliases.topic(alias));
        // [MQTT5-3.3.2-9], §3.3.2.3.4
        if alias > self.bounds.topic_aliases || (publish.topic.is_empty() && known.is_none()) {
            return Err(ProtocolError::TopicAlias);
        }
        Ok(())
    }

    /// Whether an alias that stands for a topic is to stand for another.
    fn gives_new_meaning(&self, publish: &Publish<'_>) -> bool {
        let Some(alias) = publish.properties.topic_alias.filter(|_| !publish.topic.is_empty()) else { return false };
        let known = self.from_client.as_ref().and_then(|aliases| aliases.topic(alias));
        known.is_some_and(|known| known != publish.topic)
    }

    fn learn_alias(&mut self, publish: &Publish<'_>) {
        if let Some(alias) = publish.properties.topic_alias.filter(|_| !publish.topic.is_empty()) {
            self.from_client.get_or_insert_default().set(alias, publish.topic);
        }
    }

    /// Takes over what CONNECT says.
    fn agree(&mut self, connect: &Connect) {
        self.phase = Phase::Connecting;
        self.terms = connect.terms();
        let mut keep_alive = connect.keep_alive;
        if connect.protocol == Protocol::Mqtt5 {
            let bound = self.bounds.keep_alive;
            if keep_alive == 0 || keep_alive > bound {
                self.server_keep_alive = Some(bound); // [MQTT5-3.1.2-21]
                keep_alive = bound;
            }
            self.ends_with_connection = connect.session_expiry() == 0;
            self.alias_maximum = connect.properties.topic_alias_maximum.min(self.bounds.topic_aliases);
        }
        self.silence = silence(keep_alive);
    }

    /// Ends with an error. A bad CONNECT has its answer here; a connected client is told by [`Connection::farewell`].
    fn fail(&mut self, error: ProtocolError, bytes: &[u8], out: &mut Vec<u8>) -> ProtocolError {
        if self.phase != Phase::Opened {
            self.phase = Phase::Failed;
            return error;
        }
        self.phase = Phase::Ended;
        if let Some(code) = codes::connack_of_violation(error).filter(|_| !speaks_5(bytes)) {
            write::connack_before_5(out, false, code);
        } else if speaks_5(bytes) {
            self.terms.protocol = Protocol::Mqtt5;
            // [MQTT5-3.1.4-1]: what else it takes is not known, and this is as small as an answer can be.
            let refusal = write::ConnAck::refusal(codes::violation_reason(error));
            let _written = write::connack(out, &self.terms, &refusal);
        }
        error
    }

    /// A message was not taken. At QoS 0 nobody can be told.
    pub(super) fn refuse_publish(&mut self, publish: &Publish<'_>, reason: Reason) {
        let Some(packet_id) = publish.packet_id else { return };
        self.unanswered = self.unanswered.saturating_add(1);
        self.answer(None, confirmation(publish.qos), packet_id, reason);
    }
}

/// What answers a PUBLISH that has a packet identifier.
pub(super) fn confirmation(qos: Qos) -> Confirmation {
    if qos == Qos::ExactlyOnce { Confirmation::PubRec } else { Confirmation::PubAck }
}

fn leave(disconnect: Disconnect) -> Leave {
    Leave { with_will: disconnect.reason != Reason::Success, session_expiry: disconnect.session_expiry }
}

/// Whether these are the first bytes of a CONNECT of MQTT 5.
fn speaks_5(bytes: &[u8]) -> bool {
    let header = bytes.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).take(3).count() + 2;
    bytes.get(header..).is_some_and(|body| body.starts_with(b"\0\x04MQTT\x05"))
}

/// One and a half times the keep-alive [MQTT-3.1.2-24], whatever its length: a client pings by its own value and 3.1.1
/// cannot ask it for another.
fn silence(keep_alive: u16) -> Option<Duration> {
    (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1_500))
}
