//! The pending group: records that will be written together, gathered by column.
//!
//! Adding a row copies its texts to the ends of a few buffers that are used again for the next group, so it costs no
//! allocation, and what a record does not have costs nothing. Building copies them out to their exact size, because
//! batches stay in memory for readers.

mod column;

use std::{sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, TimestampMillisecondArray, UInt8Array, UInt64Array},
    error::ArrowError,
};
use weir_core::{
    Envelope, Offset, Protocol, Qos, Timestamp, Topic,
    schema::{Kind, RECORD_SCHEMA, Records},
};

use self::column::{Flags, OptionalBytes, OptionalNumbers, RequiredBytes};
use crate::{Frame, Record};

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The offset of the first row.
    first: Offset,
    /// When the first row came.
    started: Option<Instant>,
    bytes: usize,
    acknowledged: bool,

    kind: Vec<u8>,
    accepted_at: Vec<i64>,
    product: OptionalBytes,
    device: OptionalBytes,
    topic: RequiredBytes,
    publisher: RequiredBytes,
    session: OptionalBytes,
    packet_id: OptionalNumbers<u16>,
    protocol: Vec<u8>,
    qos: Vec<u8>,
    retain: Flags,
    expiry: OptionalNumbers<u32>,
    content_type: OptionalBytes,
    response_topic: OptionalBytes,
    correlation: OptionalBytes,
    user_properties: OptionalBytes,
    hop: Vec<u8>,
    origin: OptionalBytes,
    payload: RequiredBytes,
    text: Flags,
}

impl Group {
    pub(crate) fn rows(&self) -> usize {
        self.kind.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    /// Bytes of the records, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether somebody may wait for a record of this group to be durable.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    pub(crate) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Adds records of `bytes` bytes; the first has `offset`, which must follow that of the last row.
    pub(crate) fn extend(&mut self, offset: Offset, accepted_at: Timestamp, records: &[Record<'_>], bytes: usize) {
        if self.is_empty() {
            self.first = offset;
            self.started = Some(Instant::now());
        }
        self.bytes += bytes;
        for record in records {
            self.acknowledged |= record.is_acknowledged();
            match *record {
                Record::Message(message) => self.push(Kind::Message, accepted_at, message),
                Record::Control { kind, session, topic, payload } => {
                    let envelope = Envelope::new(topic, "", Protocol::Hub, Qos::AtMostOnce, payload);
                    self.push(kind, accepted_at, Envelope { session, ..envelope });
                }
            }
        }
    }

    fn push(&mut self, kind: Kind, accepted_at: Timestamp, message: Envelope<'_>) {
        let row = self.kind.len();
        self.kind.push(kind as u8);
        self.accepted_at.push(accepted_at.0);
        if let Some((product, device)) = Topic::device_of(message.topic) {
            self.product.push(row, product.as_bytes());
            self.device.push(row, device.as_bytes());
        }
        self.topic.push(message.topic.as_bytes());
        self.publisher.push(message.publisher.as_bytes());
        self.session.push_some(row, message.session.map(str::as_bytes));
        self.packet_id.push_some(row, message.packet_id);
        self.protocol.push(message.protocol as u8);
        self.qos.push(message.qos as u8);
        self.retain.push(row, message.retain);
        self.expiry.push_some(row, message.expiry);
        self.content_type.push_some(row, message.content_type.map(str::as_bytes));
        self.response_topic.push_some(row, message.response_topic.map(str::as_bytes));
        self.correlation.push_some(row, message.correlation);
        self.user_properties.push_some(row, message.user_properties.map(str::as_bytes));
        self.hop.push(message.hop);
        self.origin.push_some(row, message.origin.map(str::as_bytes));
        self.payload.push(message.payload);
        self.text.push(row, message.text);
    }

    /// The rows as a frame.
    pub(crate) fn build(&self) -> Result<Frame, ArrowError> {
        let rows = self.rows();
        let next = self.first.plus(rows as u64);
        let records = Records {
            offset: UInt64Array::from_iter_values(self.first.0..next.0),
            kind: UInt8Array::new(self.kind.clone().into(), None),
            accepted_at: TimestampMillisecondArray::new(self.accepted_at.clone().into(), None),
            product: self.product.build(rows)?,
            device: self.device.build(rows)?,
            topic: self.topic.build()?,
            publisher: self.publisher.build()?,
            session: self.session.build(rows)?,
            packet_id: self.packet_id.build(rows),
            protocol: UInt8Array::new(self.protocol.clone().into(), None),
            qos: UInt8Array::new(self.qos.clone().into(), None),
            retain: self.retain.build(rows),
            expiry: self.expiry.build(rows),
            content_type: self.content_type.build(rows)?,
            response_topic: self.response_topic.build(rows)?,
            correlation: self.correlation.build(rows)?,
            user_properties: self.user_properties.build(rows)?,
            hop: UInt8Array::new(self.hop.clone().into(), None),
            origin: self.origin.build(rows)?,
            payload: self.payload.build()?,
            text: self.text.build(rows),
        };
        let batch = RecordBatch::try_new(RECORD_SCHEMA.clone(), columns(&records))?;
        Ok(Frame { first: self.first, next, batch, records: Box::new(records), acknowledged: self.acknowledged })
    }

    /// Forgets the rows and keeps the buffers, but for what an unusually large record made of them.
    pub(crate) fn clear(&mut self) {
        self.started = None;
        self.bytes = 0;
        self.acknowledged = false;
        self.kind.clear();
        self.accepted_at.clear();
        self.packet_id.clear();
        self.protocol.clear();
        self.qos.clear();
        self.retain.clear();
        self.text.clear();
        self.expiry.clear();
        self.hop.clear();
        self.topic.clear();
        self.publisher.clear();
        self.payload.clear();
        for column in [
            &mut self.product,
            &mut self.device,
            &mut self.session,
            &mut self.content_type,
            &mut self.response_topic,
            &mut self.correlation,
            &mut self.user_properties,
            &mut self.origin,
        ] {
            column.clear();
        }
    }
}

/// The columns in the order of [`RECORD_SCHEMA`].
fn columns(records: &Records) -> Vec<ArrayRef> {
    fn shared(array: &(impl Array + Clone + 'static)) -> ArrayRef {
        Arc::new(array.clone())
    }
    vec![
        shared(&records.offset),
        shared(&records.kind),
        shared(&records.accepted_at),
        shared(&records.product),
        shared(&records.device),
        shared(&records.topic),
        shared(&records.publisher),
        shared(&records.session),
        shared(&records.packet_id),
        shared(&records.protocol),
        shared(&records.qos),
        shared(&records.retain),
        shared(&records.expiry),
        shared(&records.content_type),
        shared(&records.response_topic),
        shared(&records.correlation),
        shared(&records.user_properties),
        shared(&records.hop),
        shared(&records.origin),
        shared(&records.payload),
        shared(&records.text),
    ]
}

#[cfg(test)]
pub(crate) mod tests;
