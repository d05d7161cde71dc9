//! What the client is sent.

use weir_core::Protocol;

use super::{Connection, aliases::Naming};
use crate::codec::write::{self, Outgoing, Unwritable};

/// Bytes that a topic alias takes.
const ALIAS: usize = 3;

impl Connection {
    /// Writes a message, in place of its topic an alias where the client takes one. Fails, and writes nothing, if no
    /// packet can carry it to this client [MQTT5-3.1.2-24].
    pub fn send(&mut self, message: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let worthwhile = self.alias_maximum > 0 && message.topic.len() > ALIAS;
        if !worthwhile || self.terms.protocol != Protocol::Mqtt5 {
            return write::publish(out, &self.terms, message);
        }
        let aliases = self.to_client.get_or_insert_default();
        match aliases.naming(message.topic, self.alias_maximum) {
            Naming::Topic => write::publish(out, &self.terms, message),
            Naming::Known(alias) => {
                write::publish(out, &self.terms, &Outgoing { topic: "", topic_alias: Some(alias), ..*message })
            }
            Naming::New(alias) => {
                let named = Outgoing { topic_alias: Some(alias), ..*message };
                if write::publish(out, &self.terms, &named).is_ok() {
                    aliases.sent(alias, message.topic);
                    return Ok(());
                }
                // It may fit without the alias.
                write::publish(out, &self.terms, message)
            }
        }
    }
}
