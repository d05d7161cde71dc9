//! The body of a forward (vendor protocol §5.4).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;
use weir_core::{
    Timestamp,
    seams::{Delivery, IdempotenceKey},
};

/// `{"payload":…,"seq":…,"timestamp":…,"timemills":…,"topic":…,"devicename":…,"productid":…}`, and `"error"` when the
/// row comes because a message failed. A payload that is JSON stands there byte for byte, any other as base64 text.
pub(super) fn body(row: &Delivery) -> Vec<u8> {
    let mut body = Vec::with_capacity(row.payload.len() + 256);
    body.extend_from_slice(b"{\"payload\":");
    if serde_json::from_slice::<&RawValue>(&row.payload).is_ok() {
        body.extend_from_slice(&row.payload);
    } else {
        text(&mut body, &STANDARD.encode(&row.payload));
    }
    number(&mut body, "seq", seq(&row.key));
    number(&mut body, "timestamp", Timestamp(row.accepted_at).seconds());
    number(&mut body, "timemills", row.accepted_at);
    field(&mut body, "topic", &row.topic);
    field(&mut body, "devicename", row.device.as_deref().unwrap_or_default());
    field(&mut body, "productid", row.product.as_deref().unwrap_or_default());
    if let Some(failure) = &row.failure {
        field(&mut body, "error", failure);
    }
    body.push(b'}');
    body
}

/// The offset and the row in one positive 64-bit integer that grows from row to row: 15 bits of epoch, 36 bits of index,
/// 12 bits of row. So it strictly increases up to 32,768 openings of the log, 2³⁶ messages in one of them, and 4,096
/// rows from one message; what lies beyond keeps its name in the `Idempotency-Key`.
pub(super) fn seq(key: &IdempotenceKey) -> i64 {
    let epoch = i64::from(key.offset.epoch() & 0x7fff);
    let index = key.offset.index().cast_signed() & 0xf_ffff_ffff;
    epoch << 48 | index << 12 | i64::from(key.row & 0xfff)
}

fn number(body: &mut Vec<u8>, name: &str, value: i64) {
    body.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
}

fn field(body: &mut Vec<u8>, name: &str, value: &str) {
    body.extend_from_slice(format!(",\"{name}\":").as_bytes());
    text(body, value);
}

fn text(body: &mut Vec<u8>, value: &str) {
    // `Value` writes itself with every escape that JSON demands, and cannot fail.
    body.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
}
