//! Messages that are kept beyond the log's frames: retained ones, and those of inboxes that outlast their segment.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::{Envelope, Offset, OwnedMessage, Protocol, Qos, Timestamp, Topic, schema::Records};

/// The first byte of a stored message.
const VERSION: u8 = 1;

/// A message of the log that stands on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptMessage {
    pub(crate) offset: Offset,
    pub(crate) accepted_at: Timestamp,
    pub(crate) publisher: String,
    /// The client id of the session it came by, if any.
    pub(crate) client_id: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) message: OwnedMessage,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    version: u8,
    offset: u64,
    accepted_at: i64,
    #[serde(borrow)]
    publisher: &'a str,
    client_id: Option<&'a str>,
    protocol: u8,
    topic: &'a str,
    qos: u8,
    retain: bool,
    expiry: Option<u32>,
    content_type: Option<&'a str>,
    response_topic: Option<&'a str>,
    correlation: Option<&'a [u8]>,
    user_properties: Option<&'a str>,
    payload: &'a [u8],
    text: bool,
}

impl KeptMessage {
    /// The message of a row of the log. `None` if its topic is none, which nothing that was accepted has.
    pub(crate) fn of_row(records: &Records, row: usize) -> Option<Arc<Self>> {
        let envelope = records.envelope(row);
        let topic: Topic = envelope.topic.parse().ok()?;
        Some(Arc::new(Self {
            offset: Offset(records.offset.value(row)),
            accepted_at: records.accepted_at(row),
            publisher: envelope.publisher.to_owned(),
            client_id: envelope.session.map(str::to_owned),
            protocol: envelope.protocol,
            message: OwnedMessage::copied(topic, &envelope),
        }))
    }

    pub(crate) fn envelope(&self) -> Envelope<'_> {
        self.message.envelope(&self.publisher, self.protocol)
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.publisher.len() + self.message.size()
    }

    /// Whether it is worthless at `now` (MQTT 5 §3.3.2.3.3).
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        seconds_left(self.message.expiry, self.accepted_at, now) == Some(0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let message = &self.message;
        let stored = Stored {
            version: VERSION,
            offset: self.offset.0,
            accepted_at: self.accepted_at.0,
            publisher: &self.publisher,
            client_id: self.client_id.as_deref(),
            protocol: self.protocol as u8,
            topic: message.topic.as_str(),
            qos: message.qos as u8,
            retain: message.retain,
            expiry: message.expiry,
            content_type: message.content_type.as_deref(),
            response_topic: message.response_topic.as_deref(),
            correlation: message.correlation.as_deref(),
            user_properties: message.user_properties.as_deref(),
            payload: &message.payload,
            text: message.text,
        };
        // Nothing in it can fail to be written to memory.
        postcard::to_allocvec(&stored).unwrap_or_default()
    }

    /// `None` if the bytes are not what [`KeptMessage::encode`] made.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: Stored<'_> =
            postcard::from_bytes(bytes).ok().filter(|stored: &Stored<'_>| stored.version == VERSION)?;
        let mut message =
            OwnedMessage::new(stored.topic.parse().ok()?, Qos::from_u8(stored.qos)?, stored.payload.to_vec());
        message.retain = stored.retain;
        message.expiry = stored.expiry;
        message.text = stored.text;
        message.content_type = stored.content_type.map(str::to_owned);
        message.response_topic = stored.response_topic.map(str::to_owned);
        message.correlation = stored.correlation.map(<[u8]>::to_vec);
        message.user_properties = stored.user_properties.map(str::to_owned);
        Some(Self {
            offset: Offset(stored.offset),
            accepted_at: Timestamp(stored.accepted_at),
            publisher: stored.publisher.to_owned(),
            client_id: stored.client_id.map(str::to_owned),
            protocol: Protocol::from_u8(stored.protocol)?,
            message,
        })
    }
}

/// What is left of a message's expiry: `None` without one, 0 when it is worthless.
pub(crate) fn seconds_left(expiry: Option<u32>, accepted_at: Timestamp, now: Timestamp) -> Option<u32> {
    let waited = u32::try_from(now.0.saturating_sub(accepted_at.0).max(0) / 1_000).unwrap_or(u32::MAX);
    expiry.map(|expiry| expiry.saturating_sub(waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_message_is_read_again() {
        let mut message = OwnedMessage::new("a/b".parse().unwrap(), Qos::ExactlyOnce, b"\0payload".to_vec());
        message.correlation = Some(vec![0, 255]);
        message.user_properties = Some(r#"[["a","b"]]"#.to_owned());
        message.expiry = Some(60);
        message.retain = true;
        let kept = KeptMessage {
            offset: Offset::new(3, 17),
            accepted_at: Timestamp(1_700_000_000_123),
            publisher: "device:A1B2C3D4E5/dev".to_owned(),
            client_id: Some("c".to_owned()),
            protocol: Protocol::Mqtt5,
            message,
        };
        assert_eq!(KeptMessage::decode(&kept.encode()), Some(kept.clone()));
        assert_eq!(KeptMessage::decode(b""), None);
        assert_eq!(KeptMessage::decode(&kept.encode()[..20]), None);
        assert!(!kept.is_expired(Timestamp(1_700_000_060_122)) && kept.is_expired(Timestamp(1_700_000_060_123)));
    }
}
