//! What is appended to a log.

use weir_core::{Envelope, Qos, schema::Kind};

/// Bytes that a record takes beside its texts: its fixed-width columns and the ends of its texts.
const FIXED_BYTES: usize = 96;

/// One record, borrowed: it is copied once, into the pending group.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    Message(Envelope<'a>),
    /// A fact of the hub itself, such as a subscription.
    Control {
        kind: Kind,
        session: Option<&'a str>,
        topic: &'a str,
        payload: &'a [u8],
    },
}

impl Record<'_> {
    /// Bytes this record takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let text = |text: Option<&str>| text.map_or(0, str::len);
        FIXED_BYTES
            + match self {
                Self::Message(message) => {
                    message.topic.len()
                        + message.publisher.len()
                        + text(message.session)
                        + text(message.content_type)
                        + text(message.response_topic)
                        + message.correlation.map_or(0, <[u8]>::len)
                        + text(message.user_properties)
                        + text(message.origin)
                        + message.payload.len()
                }
                Self::Control { session, topic, payload, .. } => text(*session) + topic.len() + payload.len(),
            }
    }

    /// Whether somebody may wait for this record to be durable.
    pub(crate) fn is_acknowledged(&self) -> bool {
        match self {
            Self::Message(message) => message.qos != Qos::AtMostOnce,
            Self::Control { .. } => true,
        }
    }
}
