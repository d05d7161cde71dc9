//! Which columns of a record a reader needs. The others are not read from files, and stand there empty.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
        UInt8Array, UInt64Array, new_null_array,
    },
    buffer::{Buffer, OffsetBuffer},
    datatypes::DataType,
    error::ArrowError,
};
use weir_core::schema::RECORD_SCHEMA;
use weir_rules::program::{EnvelopeColumn, Input};

/// A set of places in [`RECORD_SCHEMA`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns(u32);

impl Columns {
    pub(crate) fn all() -> Self {
        Self(u32::MAX)
    }

    /// What these inputs are made of, and what sorting, filtering and telling records apart takes.
    pub(crate) fn of(inputs: &[Input]) -> Self {
        let mut columns = Self(0);
        for name in ["offset", "kind", "accepted_at", "topic"] {
            columns.add(name);
        }
        for input in inputs {
            columns.add(match input {
                Input::Path { .. } | Input::PayloadBytes | Input::PayloadJson => "payload",
                Input::Envelope(column) => match column {
                    EnvelopeColumn::Offset => "offset",
                    EnvelopeColumn::AcceptedAt => "accepted_at",
                    EnvelopeColumn::Product => "product",
                    EnvelopeColumn::Device => "device",
                    EnvelopeColumn::Topic => "topic",
                    EnvelopeColumn::Publisher => "publisher",
                    EnvelopeColumn::Session => "session",
                    EnvelopeColumn::Protocol => "protocol",
                    EnvelopeColumn::ContentType => "content_type",
                    EnvelopeColumn::ResponseTopic => "response_topic",
                    EnvelopeColumn::Origin => "origin",
                    EnvelopeColumn::Qos => "qos",
                    EnvelopeColumn::Retain => "retain",
                    EnvelopeColumn::Hop => "hop",
                    EnvelopeColumn::PayloadLength => "payload",
                },
            });
        }
        columns
    }

    fn add(&mut self, name: &str) {
        if let Ok(place) = RECORD_SCHEMA.index_of(name) {
            self.0 |= 1 << place;
        }
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let fields = RECORD_SCHEMA.fields().iter().enumerate();
        fields.filter(move |(place, _)| self.0 & (1 << place) != 0).map(|(_, field)| field.name().as_str())
    }

    /// Puts empty columns where a batch has none.
    pub(crate) fn complete(self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let columns = RECORD_SCHEMA.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Ok(Arc::clone(column)),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
            None => empty(field.data_type(), rows),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(RECORD_SCHEMA.clone(), columns.collect::<Result<_, _>>()?, &options)
    }
}

/// Values of a column that may not be NULL.
fn empty(data_type: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::UInt8 => Arc::new(UInt8Array::from_value(0, rows)),
        DataType::UInt64 => Arc::new(UInt64Array::from_value(0, rows)),
        DataType::Timestamp(..) => Arc::new(TimestampMillisecondArray::from_value(0, rows)),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows])),
        DataType::Utf8 => Arc::new(StringArray::try_new(OffsetBuffer::new_zeroed(rows), Buffer::default(), None)?),
        DataType::Binary => Arc::new(BinaryArray::try_new(OffsetBuffer::new_zeroed(rows), Buffer::default(), None)?),
        other => return Err(ArrowError::SchemaError(format!("a record has no columns of type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_empty() {
        let inputs = [Input::Envelope(EnvelopeColumn::Device), Input::PayloadBytes];
        let names: Vec<&str> = Columns::of(&inputs).names().collect();
        assert_eq!(names, ["offset", "kind", "accepted_at", "device", "topic", "payload"]);
        assert_eq!(Columns::all().names().count(), RECORD_SCHEMA.fields().len());

        let offsets: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("offset", offsets)]).unwrap();
        let complete = Columns::of(&[]).complete(&batch).unwrap();
        assert_eq!(complete.num_rows(), 2);
        assert_eq!(weir_core::schema::Records::try_from(&complete).unwrap().payload.value(1), b"");
    }
}
