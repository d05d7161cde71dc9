//! The last message with the retain flag of each topic (MQTT 5 §3.3.1.3).
//!
//! Messages lie in memory, within bounds, and are stored with Delivery's snapshots; what is newer is in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use weir_core::{Timestamp, TopicFilter};
use weir_store::RetainedRow;

use crate::{message::KeptMessage, metrics::Metrics};

#[derive(Debug)]
pub(super) struct Retained {
    topics: BTreeMap<Box<str>, Arc<KeptMessage>>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    /// Topics whose message is not stored as it is.
    changed: BTreeSet<Box<str>>,
    metrics: Metrics,
}

impl Retained {
    pub(super) fn new(max_messages: usize, max_bytes: usize, metrics: Metrics) -> Self {
        Self { topics: BTreeMap::new(), bytes: 0, max_messages, max_bytes, changed: BTreeSet::new(), metrics }
    }

    /// Takes over what was stored.
    pub(super) fn restore(&mut self, rows: Vec<RetainedRow>) {
        for row in rows {
            match KeptMessage::decode(&row.message) {
                Some(message) => {
                    self.bytes += message.size();
                    self.topics.insert(row.topic.into(), Arc::new(message));
                }
                None => tracing::error!(topic = row.topic, "a stored retained message cannot be read; it is left out"),
            }
        }
    }

    /// Keeps a message in place of the topic's last one. Without a payload there is none from now on
    /// [MQTT-3.3.1-10], [MQTT5-3.3.1-6].
    pub(super) fn set(&mut self, message: Arc<KeptMessage>) {
        let topic = message.message.topic.as_str();
        let old = self.topics.remove(topic);
        self.bytes -= old.as_ref().map_or(0, |old| old.size());
        let is_new = old.is_none();
        if message.message.payload.is_empty() {
            if !is_new {
                self.changed.insert(topic.into());
            }
            return;
        }
        self.changed.insert(topic.into());
        let is_full = self.topics.len() >= self.max_messages || self.bytes + message.size() > self.max_bytes;
        if is_full {
            // The topic's old message is not its last one any more.
            self.metrics.refused_for("retain", "too_many_retained");
            return;
        }
        self.bytes += message.size();
        self.topics.insert(topic.into(), message);
    }

    /// The messages of a filter's topics, in the order of the topics. Those that have expired at `now` are removed.
    pub(super) fn matching(&mut self, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<KeptMessage>> {
        let text = filter.as_str();
        let prefix = text.find(['+', '#']).map_or(text, |wildcard| text.get(..wildcard).unwrap_or_default());
        // `a/#` means `a` too.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(prefix), Bound::Unbounded);
        let (mut found, mut expired) = (Vec::new(), Vec::new());
        for (topic, message) in self.topics.range::<str, _>(from) {
            if !topic.starts_with(prefix) {
                break;
            }
            if !filter.matches(topic) {
                continue;
            }
            if message.is_expired(now) {
                expired.push(topic.clone());
            } else {
                found.push(Arc::clone(message));
            }
        }
        for topic in expired {
            self.remove(&topic);
        }
        found
    }

    /// Removes what has expired at `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let is_expired = |message: &KeptMessage| message.message.expiry.is_some() && message.is_expired(now);
        let expired: Vec<Box<str>> =
            self.topics.iter().filter(|(_, message)| is_expired(message)).map(|(topic, _)| topic.clone()).collect();
        expired.iter().for_each(|topic| self.remove(topic));
    }

    fn remove(&mut self, topic: &str) {
        if let Some(message) = self.topics.remove(topic) {
            self.bytes -= message.size();
            self.changed.insert(topic.into());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// What changed since the last call: rows to store, and topics that have no message any more.
    pub(super) fn take_changes(&mut self) -> (Vec<RetainedRow>, Vec<String>) {
        let (mut rows, mut removed) = (Vec::new(), Vec::new());
        for topic in std::mem::take(&mut self.changed) {
            match self.topics.get(&topic) {
                Some(message) => {
                    rows.push(RetainedRow { topic: topic.into(), offset: message.offset, message: message.encode() })
                }
                None => removed.push(topic.into()),
            }
        }
        (rows, removed)
    }
}

#[cfg(test)]
mod tests {
    use weir_core::{Offset, OwnedMessage, Protocol, Qos};

    use super::*;

    fn message(topic: &str, payload: &str, expiry: Option<u32>) -> Arc<KeptMessage> {
        let mut message = OwnedMessage::new(topic.parse().unwrap(), Qos::AtLeastOnce, payload.as_bytes().to_vec());
        message.expiry = expiry;
        let publisher = "device:A1B2C3D4E5/dev".to_owned();
        let (offset, accepted_at) = (Offset(1), Timestamp(0));
        Arc::new(KeptMessage { offset, accepted_at, publisher, client_id: None, protocol: Protocol::Mqtt5, message })
    }

    fn found(retained: &mut Retained, filter: &str, now: i64) -> Vec<String> {
        let found = retained.matching(&filter.parse().unwrap(), Timestamp(now));
        found.iter().map(|message| message.message.topic.to_string()).collect()
    }

    #[test]
    fn filters_find_the_last_message_of_each_topic() {
        let mut retained = Retained::new(10, 100_000, Metrics::default());
        for topic in ["a", "a/b", "a/b/c", "a0", "b/b", "$sys/x"] {
            retained.set(message(topic, "1", None));
        }
        retained.set(message("a/b", "2", None));
        assert_eq!(found(&mut retained, "a/#", 0), ["a", "a/b", "a/b/c"]);
        assert_eq!(found(&mut retained, "+/b", 0), ["a/b", "b/b"]);
        assert_eq!(found(&mut retained, "#", 0), ["a", "a/b", "a/b/c", "a0", "b/b"]); // [MQTT-4.7.2-1]
        assert_eq!(found(&mut retained, "a/b", 0), ["a/b"]);
        assert_eq!(found(&mut retained, "$sys/#", 0), ["$sys/x"]);
        retained.set(message("a/b", "", None)); // [MQTT-3.3.1-10]
        assert_eq!(found(&mut retained, "a/b", 0), Vec::<String>::new());
        assert_eq!(retained.take_changes().1, ["a/b"]);
        assert_eq!(retained.take_changes(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_has_expired_is_gone() {
        let mut retained = Retained::new(10, 100_000, Metrics::default());
        retained.set(message("a", "1", Some(2)));
        retained.set(message("b", "1", Some(9)));
        assert_eq!(found(&mut retained, "#", 1_999), ["a", "b"]);
        assert_eq!(found(&mut retained, "#", 2_000), ["b"]);
        retained.expire(Timestamp(9_000));
        assert_eq!((retained.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn there_is_no_room_for_more_than_the_bound() {
        let mut retained = Retained::new(2, 100_000, Metrics::default());
        for topic in ["a", "b", "c"] {
            retained.set(message(topic, "1", None));
        }
        assert_eq!(found(&mut retained, "#", 0), ["a", "b"]);
        retained.set(message("a", "2", None));
        assert_eq!(retained.len(), 2);
    }
}
