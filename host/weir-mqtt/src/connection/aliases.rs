//! Topic aliases (MQTT 5 §3.3.2.3.4): numbers that stand for topics on one connection, in one direction.

use std::collections::HashMap;

/// Topics that the client has given a number. Their number is bounded by the Topic Alias Maximum that it was told.
#[derive(Debug, Default)]
pub(super) struct FromClient {
    topics: HashMap<u16, Box<str>>,
}

impl FromClient {
    pub(super) fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(&alias).map(|topic| &**topic)
    }

    pub(super) fn set(&mut self, alias: u16, topic: &str) {
        // A client may name the topic each time.
        if self.topic(alias) != Some(topic) {
            self.topics.insert(alias, topic.into());
        }
    }
}

/// Topics that the hub has given a number: the first ones that were sent, for as long as the connection lasts. Most
/// subscribers get few topics again and again, and one that gets many would have its numbers changed with every message.
#[derive(Debug, Default)]
pub(super) struct ToClient {
    aliases: HashMap<Box<str>, u16>,
}

/// How a topic is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Topic,
    /// The client knows this number.
    Known(u16),
    /// Topic and number; the client knows it once that is sent.
    New(u16),
}

impl ToClient {
    /// `maximum` is the highest number that the client takes.
    pub(super) fn naming(&self, topic: &str, maximum: u16) -> Naming {
        match self.aliases.get(topic) {
            Some(alias) => Naming::Known(*alias),
            None => match u16::try_from(self.aliases.len() + 1) {
                Ok(next) if next <= maximum => Naming::New(next),
                _ => Naming::Topic,
            },
        }
    }

    /// The client was sent this number with its topic.
    pub(super) fn sent(&mut self, alias: u16, topic: &str) {
        self.aliases.insert(topic.into(), alias);
    }
}
