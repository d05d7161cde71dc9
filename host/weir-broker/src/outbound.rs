//! Messages on their way to a client.

use std::sync::Arc;

use weir_core::{Envelope, Qos, Timestamp};
use weir_log::Frame;

use crate::message::{KeptMessage, seconds_left};

/// Messages for one client, in order. Topics and payloads lie where the log has them.
#[derive(Debug)]
pub struct Outbound {
    source: Source,
    rows: Vec<OutboundRow>,
    /// When they were handed out.
    at: Timestamp,
}

#[derive(Debug)]
enum Source {
    Frame(Arc<Frame>),
    Kept(Arc<KeptMessage>),
}

/// How a message is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundRow {
    /// Which row of the frame it is.
    pub(crate) index: u32,
    /// Stays the same however often the message is sent [MQTT-4.4.0-1]. 0 at QoS 0.
    pub packet_id: u16,
    pub qos: Qos,
    /// It may have been sent before.
    pub dup: bool,
    /// The retain flag to send: the message is retained and sent because of a new subscription, or the subscription
    /// wants the flag as it was published.
    pub retain: bool,
    /// The identifiers of the subscriptions it is sent for (MQTT 5 §3.3.2.3.8).
    pub identifiers: Option<Arc<Vec<u32>>>,
}

impl Outbound {
    pub(crate) fn of_frame(frame: Arc<Frame>, rows: Vec<OutboundRow>, at: Timestamp) -> Self {
        Self { source: Source::Frame(frame), rows, at }
    }

    pub(crate) fn of_kept(message: Arc<KeptMessage>, row: OutboundRow, at: Timestamp) -> Self {
        Self { source: Source::Kept(message), rows: vec![row], at }
    }

    pub fn rows(&self) -> &[OutboundRow] {
        &self.rows
    }

    pub fn topic(&self, row: &OutboundRow) -> &str {
        match &self.source {
            Source::Frame(frame) => frame.records.topic.value(row.index as usize),
            Source::Kept(kept) => kept.message.topic.as_str(),
        }
    }

    pub fn payload(&self, row: &OutboundRow) -> &[u8] {
        match &self.source {
            Source::Frame(frame) => frame.records.payload.value(row.index as usize),
            Source::Kept(kept) => &kept.message.payload,
        }
    }

    /// All of the message: its expiry is what is left of it, its QoS and retain flag are the row's.
    pub fn message<'a>(&'a self, row: &OutboundRow) -> Envelope<'a> {
        let (envelope, accepted_at) = match &self.source {
            Source::Frame(frame) => {
                let index = row.index as usize;
                (frame.records.envelope(index), frame.records.accepted_at(index))
            }
            Source::Kept(kept) => (kept.envelope(), kept.accepted_at),
        };
        Envelope {
            qos: row.qos,
            retain: row.retain,
            expiry: seconds_left(envelope.expiry, accepted_at, self.at),
            ..envelope
        }
    }
}
