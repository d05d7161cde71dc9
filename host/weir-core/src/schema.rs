//! The columns of a record, in memory and on disk, and views on batches of them.
//!
//! This is the log's format: version 1 is final, a later version may only add columns (readers ignore those they do
//! not know).

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{
        Array, AsArray, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray, TimestampMillisecondArray,
        UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    datatypes::{
        ArrowPrimitiveType, DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};

use crate::{Envelope, Protocol, Qos, Timestamp};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Message = 0,
    /// A clock tick, so that time in rules is in the log.
    Tick = 1,
    SessionOpened = 16,
    SessionExpired = 17,
    SessionCleared = 18,
    Subscribed = 19,
    Unsubscribed = 20,
    /// A subscriber has taken a QoS 2 message: it is never sent again, only released.
    Received = 21,
    /// A publisher has released the packet identifier of a QoS 2 message.
    Released = 22,
    Completed = 23,
    /// The connection of a session that is kept has ended.
    SessionClosed = 24,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Message,
        Self::Tick,
        Self::SessionOpened,
        Self::SessionExpired,
        Self::SessionCleared,
        Self::Subscribed,
        Self::Unsubscribed,
        Self::Received,
        Self::Released,
        Self::Completed,
        Self::SessionClosed,
    ];

    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// Every column of a record, in order. Product and device are those of the topic.
pub static RECORD_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("offset", DataType::UInt64, false),
        field("kind", DataType::UInt8, false),
        field("accepted_at", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        field("product", DataType::Utf8, true),
        field("device", DataType::Utf8, true),
        field("topic", DataType::Utf8, false),
        field("publisher", DataType::Utf8, false),
        field("session", DataType::Utf8, true),
        field("packet_id", DataType::UInt16, true),
        field("protocol", DataType::UInt8, false),
        field("qos", DataType::UInt8, false),
        field("retain", DataType::Boolean, false),
        field("expiry", DataType::UInt32, true),
        field("content_type", DataType::Utf8, true),
        field("response_topic", DataType::Utf8, true),
        field("correlation", DataType::Binary, true),
        field("user_properties", DataType::Utf8, true),
        field("hop", DataType::UInt8, false),
        field("origin", DataType::Utf8, true),
        field("payload", DataType::Binary, false),
        field("text", DataType::Boolean, true),
    ]))
});

/// Columns that were added after the first release: segments from before lack them, and are read as if they were NULL.
pub const ADDED_COLUMNS: [&str; 1] = ["text"];

/// A batch that does not have the columns of [`RECORD_SCHEMA`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record batch lacks column {column} of type {expected}")]
pub struct SchemaError {
    column: &'static str,
    expected: DataType,
}

/// The columns of a batch of records, typed. Cheap to make: each is a reference-counted array.
#[derive(Debug, Clone)]
pub struct Records {
    pub offset: UInt64Array,
    pub kind: UInt8Array,
    pub accepted_at: TimestampMillisecondArray,
    pub product: StringArray,
    pub device: StringArray,
    pub topic: StringArray,
    pub publisher: StringArray,
    pub session: StringArray,
    pub packet_id: UInt16Array,
    pub protocol: UInt8Array,
    pub qos: UInt8Array,
    pub retain: BooleanArray,
    pub expiry: UInt32Array,
    pub content_type: StringArray,
    pub response_topic: StringArray,
    pub correlation: BinaryArray,
    pub user_properties: StringArray,
    pub hop: UInt8Array,
    pub origin: StringArray,
    pub payload: BinaryArray,
    /// Whether the publisher said that the payload is text.
    pub text: BooleanArray,
}

impl Records {
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    /// Whether row `row` is a message (rather than a control record).
    pub fn is_message(&self, row: usize) -> bool {
        self.kind.value(row) == Kind::Message as u8
    }

    pub fn qos(&self, row: usize) -> Qos {
        Qos::from_u8(self.qos.value(row)).unwrap_or_default()
    }

    pub fn accepted_at(&self, row: usize) -> Timestamp {
        Timestamp(self.accepted_at.value(row))
    }

    /// The message of a row, as it was handed to the hub.
    pub fn envelope(&self, row: usize) -> Envelope<'_> {
        Envelope {
            topic: self.topic.value(row),
            publisher: self.publisher.value(row),
            session: optional_text(&self.session, row),
            packet_id: optional(&self.packet_id, row),
            protocol: Protocol::from_u8(self.protocol.value(row)).unwrap_or(Protocol::Hub),
            qos: self.qos(row),
            retain: self.retain.value(row),
            expiry: optional(&self.expiry, row),
            content_type: optional_text(&self.content_type, row),
            response_topic: optional_text(&self.response_topic, row),
            correlation: self.correlation.is_valid(row).then(|| self.correlation.value(row)),
            user_properties: optional_text(&self.user_properties, row),
            hop: self.hop.value(row),
            origin: optional_text(&self.origin, row),
            payload: self.payload.value(row),
            text: self.text.is_valid(row) && self.text.value(row),
        }
    }
}

impl TryFrom<&RecordBatch> for Records {
    type Error = SchemaError;

    fn try_from(batch: &RecordBatch) -> Result<Self, SchemaError> {
        Ok(Self {
            offset: primitive::<UInt64Type>(batch, "offset")?,
            kind: primitive::<UInt8Type>(batch, "kind")?,
            accepted_at: primitive::<TimestampMillisecondType>(batch, "accepted_at")?,
            product: utf8(batch, "product")?,
            device: utf8(batch, "device")?,
            topic: utf8(batch, "topic")?,
            publisher: utf8(batch, "publisher")?,
            session: utf8(batch, "session")?,
            packet_id: primitive::<UInt16Type>(batch, "packet_id")?,
            protocol: primitive::<UInt8Type>(batch, "protocol")?,
            qos: primitive::<UInt8Type>(batch, "qos")?,
            retain: column(batch, "retain", DataType::Boolean, |array| array.as_boolean_opt().cloned())?,
            expiry: primitive::<UInt32Type>(batch, "expiry")?,
            content_type: utf8(batch, "content_type")?,
            response_topic: utf8(batch, "response_topic")?,
            correlation: binary(batch, "correlation")?,
            user_properties: utf8(batch, "user_properties")?,
            hop: primitive::<UInt8Type>(batch, "hop")?,
            origin: utf8(batch, "origin")?,
            payload: binary(batch, "payload")?,
            text: column(batch, "text", DataType::Boolean, |array| array.as_boolean_opt().cloned())?,
        })
    }
}

/// The value of a row, unless it is NULL.
pub fn optional<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

/// The text of a row, unless it is NULL.
pub fn optional_text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn primitive<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &'static str) -> Result<PrimitiveArray<T>, SchemaError> {
    column(batch, name, T::DATA_TYPE, |array| array.as_primitive_opt::<T>().cloned())
}

fn utf8(batch: &RecordBatch, name: &'static str) -> Result<StringArray, SchemaError> {
    column(batch, name, DataType::Utf8, |array| array.as_string_opt::<i32>().cloned())
}

fn binary(batch: &RecordBatch, name: &'static str) -> Result<BinaryArray, SchemaError> {
    column(batch, name, DataType::Binary, |array| array.as_binary_opt::<i32>().cloned())
}

fn column<A>(
    batch: &RecordBatch,
    name: &'static str,
    expected: DataType,
    downcast: impl Fn(&dyn Array) -> Option<A>,
) -> Result<A, SchemaError> {
    batch.column_by_name(name).and_then(|array| downcast(array)).ok_or(SchemaError { column: name, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_has_every_column_and_a_lacking_one_is_named() {
        let batch = RecordBatch::new_empty(RECORD_SCHEMA.clone());
        assert!(Records::try_from(&batch).unwrap().is_empty());

        let lacking = batch.project(&[0, 1]).unwrap();
        let error = Records::try_from(&lacking).unwrap_err();
        assert_eq!(error.to_string(), "record batch lacks column accepted_at of type Timestamp(ms)");
    }
}
