//! Messages of a session, put into packets.

use weir_broker::{Outbound, OutboundRow, Session};
use weir_core::Protocol;

use super::buffers;
use crate::{
    codec::write::{EncodedUserProperties, Outgoing, Unwritable},
    connection::Connection,
};

/// Messages in the writing.
#[derive(Debug)]
pub(super) struct Writing {
    outbound: Outbound,
    /// How many of them are written.
    written: usize,
}

impl Writing {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound, written: 0 }
    }

    /// Writes the next ones, up to about a chunk. Says whether that were all.
    pub(super) fn write(&mut self, connection: &mut Connection, session: &mut Session, out: &mut Vec<u8>) -> bool {
        while let Some(row) = self.outbound.rows().get(self.written) {
            // Counted by the broker, which knows the session's account.
            if write(connection, &self.outbound, row, out).is_err() {
                session.undeliverable(row);
            }
            self.written += 1;
            if out.len() >= buffers::CHUNK {
                break;
            }
        }
        self.written >= self.outbound.rows().len()
    }
}

fn write(
    connection: &mut Connection,
    outbound: &Outbound,
    row: &OutboundRow,
    out: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    let message = Outgoing {
        retain: row.retain,
        dup: row.dup,
        ..Outgoing::new(outbound.topic(row), outbound.payload(row), row.qos, row.packet_id)
    };
    if connection.terms().protocol != Protocol::Mqtt5 {
        return connection.send(&message, out);
    }
    let envelope = outbound.message(row);
    let user = envelope.user_properties.map(EncodedUserProperties::from_json).transpose()?;
    let message = Outgoing {
        expiry: envelope.expiry,
        content_type: envelope.content_type,
        response_topic: envelope.response_topic,
        correlation: envelope.correlation,
        user: user.as_ref(),
        text: envelope.text,
        subscription_identifiers: row.identifiers.as_ref().map_or(&[], |identifiers| identifiers.as_slice()),
        ..message
    };
    connection.send(&message, out)
}
