//! What the client is answered.

use std::time::Instant;

use weir_core::{ErrorKind, Offset, Protocol, Qos};

use super::{
    Connection, Phase,
    acknowledgements::{Acknowledgements, Answer},
    receive::confirmation,
};
use crate::{
    codec::{
        Publish,
        write::{self, Confirmation, ConnAck, Unwritable},
    },
    codes::{self, Reason},
};

/// What a client that may go on is told of its session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accepted<'a> {
    pub session_present: bool,
    /// Seconds that it is kept, if not those asked for.
    pub session_expiry: Option<u32>,
    /// The name of a client that did not name itself.
    pub assigned_client_id: Option<&'a str>,
}

impl Connection {
    /// The client may go on. Fails if it does not take the answer; then it cannot be served.
    pub fn accepted(&mut self, accepted: &Accepted<'_>, now: Instant, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        if self.terms.protocol == Protocol::Mqtt5 {
            let size = self.bounds.remaining_length().saturating_add(2);
            let answer = ConnAck {
                session_present: accepted.session_present,
                session_expiry: accepted.session_expiry,
                receive_maximum: Some(self.bounds.receive_maximum),
                max_packet_size: Some(u32::try_from(size).unwrap_or(u32::MAX)),
                assigned_client_id: accepted.assigned_client_id,
                topic_alias_maximum: self.bounds.topic_aliases,
                server_keep_alive: self.server_keep_alive,
                ..ConnAck::default()
            };
            if let Err(error) = write::connack(out, &self.terms, &answer) {
                self.phase = Phase::Ended;
                return Err(error);
            }
        } else {
            // MQTT 3.1 has no such flag; its place is reserved.
            write::connack_before_5(out, accepted.session_present && self.terms.protocol != Protocol::Mqtt31, 0);
        }
        self.phase = Phase::Connected;
        self.heard = now;
        Ok(())
    }

    /// The client may not go on; nothing more of it is read [MQTT-3.2.2-5].
    pub fn refused(&mut self, kind: ErrorKind, why: &str, out: &mut Vec<u8>) {
        self.phase = Phase::Ended;
        if self.terms.protocol == Protocol::Mqtt5 {
            let refusal = ConnAck { reason_string: Some(why), ..ConnAck::refusal(codes::connack_reason(kind)) };
            // A client that takes no packet of that size is not told.
            let _written = write::connack(out, &self.terms, &refusal);
        } else {
            write::connack_before_5(out, false, codes::connack(kind));
        }
    }

    /// Answers a SUBSCRIBE, filter by filter: the quality of service granted, or why there is none.
    pub fn subscribed(
        &self,
        packet_id: u16,
        granted: &[Result<Qos, ErrorKind>],
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let granted: Vec<_> = granted.iter().map(|granted| granted.map_err(codes::subscribe_reason)).collect();
        write::suback(out, &self.terms, packet_id, &granted, None)
    }

    /// Answers an UNSUBSCRIBE, also of filters that nobody held [MQTT-3.10.4-5]; `held` says of each whether it was.
    pub fn unsubscribed(&self, packet_id: u16, held: &[bool], out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let reason = |held: &bool| if *held { Reason::Success } else { Reason::NoSubscriptionExisted };
        let reasons: Vec<_> = held.iter().map(reason).collect();
        write::unsuback(out, &self.terms, packet_id, &reasons, None)
    }

    /// The messages of a batch are in the log, the last of them at `offset`: they are acknowledged (PUBACK, PUBREC) when
    /// that is durable.
    pub fn published(&mut self, publishes: &[Publish<'_>], offset: Offset) {
        for publish in publishes {
            if let Some(packet_id) = publish.packet_id {
                self.unanswered = self.unanswered.saturating_add(1);
                self.answer(Some(offset), confirmation(publish.qos), packet_id, Reason::Success);
            }
        }
    }

    /// A message was refused. Before MQTT 5 there is no way to say so but to close the connection [MQTT-3.3.5-2].
    pub fn not_published(&mut self, publish: &Publish<'_>, kind: ErrorKind) {
        self.refuse_publish(publish, codes::publish_reason(kind));
    }

    /// Answers a PUBREL when the record at `offset` is durable. `None`: the identifier is not in use, which is said, but
    /// is no error (MQTT 5 §4.3.3).
    pub fn released(&mut self, packet_id: u16, offset: Option<Offset>) {
        self.answer(offset, Confirmation::PubComp, packet_id, known(offset.is_some()));
    }

    /// Answers a PUBREC likewise.
    pub fn received(&mut self, packet_id: u16, offset: Option<Offset>) {
        self.answer(offset, Confirmation::PubRel, packet_id, known(offset.is_some()));
    }

    /// Sends PUBRELs that an earlier connection may not have sent.
    pub fn release_again(&mut self, packet_ids: &[u16]) {
        for packet_id in packet_ids {
            self.answer(None, Confirmation::PubRel, *packet_id, Reason::Success);
        }
    }

    pub(super) fn answer(
        &mut self,
        offset: Option<Offset>,
        confirmation: Confirmation,
        packet_id: u16,
        reason: Reason,
    ) {
        self.acknowledgements.push(offset, Answer { confirmation, packet_id, reason });
    }

    /// Every record below `durable` is safe: writes the answers that waited for it, in the order of what they answer
    /// [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4].
    pub fn durable(&mut self, durable: Offset, out: &mut Vec<u8>) {
        let (terms, unanswered) = (&self.terms, &mut self.unanswered);
        self.acknowledgements.release(durable, |Answer { confirmation, packet_id, reason }| {
            let is_last = match confirmation {
                Confirmation::PubAck | Confirmation::PubComp => true,
                Confirmation::PubRec => reason.is_failure(),
                Confirmation::PubRel => false,
            };
            // A PUBCOMP may be for a message of an earlier connection, which is not counted here (MQTT 5 §4.9).
            *unanswered = unanswered.saturating_sub(u16::from(is_last));
            write::acknowledge(out, terms, confirmation, packet_id, reason, None);
        });
    }

    /// The record whose durability lets the next answer go.
    pub fn waiting_for(&self) -> Option<Offset> {
        self.acknowledgements.first()
    }

    /// Answers that wait.
    pub fn waiting(&self) -> usize {
        self.acknowledgements.len()
    }

    /// The hub closes the connection, and says why if the client speaks MQTT 5 and did not leave itself
    /// [MQTT5-3.14.0-1]. Nothing is read or answered any more.
    pub fn farewell(&mut self, reason: Reason, why: &str, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Connected | Phase::Failed) {
            write::disconnect(out, &self.terms, reason, Some(why));
        }
        self.phase = Phase::Ended;
        self.acknowledgements = Acknowledgements::default();
    }
}

fn known(known: bool) -> Reason {
    if known { Reason::Success } else { Reason::PacketIdNotFound }
}
