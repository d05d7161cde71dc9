//! Batches of records to try rules on.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt8Array, UInt64Array,
        new_null_array,
    },
    compute::cast,
};
use weir_core::{
    Topic,
    schema::{Kind, RECORD_SCHEMA, Records},
};

/// Messages of one publisher at QoS 1, one millisecond apart, from offset 0.
pub(crate) fn batch(messages: &[(&str, &[u8])]) -> RecordBatch {
    let rows = messages.len();
    let topics = || messages.iter().map(|(topic, _)| *topic);
    let column = |name: &str| -> ArrayRef {
        match name {
            "offset" => Arc::new(UInt64Array::from_iter_values(0..rows as u64)),
            "kind" => Arc::new(UInt8Array::from(vec![Kind::Message as u8; rows])),
            "accepted_at" => Arc::new(TimestampMillisecondArray::from_iter_values(
                1_763_848_800_000..1_763_848_800_000 + rows as i64,
            )),
            "product" => Arc::new(topics().map(|topic| Some(Topic::device_of(topic)?.0)).collect::<StringArray>()),
            "device" => Arc::new(topics().map(|topic| Some(Topic::device_of(topic)?.1)).collect::<StringArray>()),
            "topic" => Arc::new(StringArray::from_iter_values(topics())),
            "publisher" => Arc::new(StringArray::from(vec!["key:bench"; rows])),
            "protocol" => Arc::new(UInt8Array::from(vec![2; rows])),
            "qos" => Arc::new(UInt8Array::from(vec![1; rows])),
            "payload" => Arc::new(BinaryArray::from_iter_values(messages.iter().map(|(_, payload)| payload))),
            _ => Arc::new(UInt8Array::from(vec![0; rows])),
        }
    };
    let columns = RECORD_SCHEMA.fields().iter().map(|field| {
        if field.is_nullable() && !matches!(field.name().as_str(), "product" | "device") {
            return new_null_array(field.data_type(), rows);
        }
        cast(&column(field.name()), field.data_type()).unwrap()
    });
    RecordBatch::try_new(RECORD_SCHEMA.clone(), columns.collect()).unwrap()
}

pub(crate) fn records(messages: &[(&str, &[u8])]) -> Records {
    Records::try_from(&batch(messages)).unwrap()
}
