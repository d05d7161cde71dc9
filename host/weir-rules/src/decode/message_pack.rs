//! MessagePack. An extension is an object of its type and its bytes.

use rmpv::{Value as Packed, decode::read_value_with_max_depth};
use serde_json::{Map, Value, json as object};

use super::{MAX_DEPTH, bytes, number};

/// The one value that a payload is.
pub(super) fn value(payload: &[u8]) -> Option<Value> {
    let mut rest = payload;
    let value = read_value_with_max_depth(&mut rest, MAX_DEPTH).ok()?;
    if rest.is_empty() { json(value) } else { None }
}

fn json(value: Packed) -> Option<Value> {
    Some(match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(is) => is.into(),
        Packed::Integer(integer) => match (integer.as_u64(), integer.as_i64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(integer)) => integer.into(),
            (None, None) => return None,
        },
        Packed::F32(float) => number(f64::from(float)),
        Packed::F64(float) => number(float),
        // Texts must be UTF-8.
        Packed::String(text) => text.into_str()?.into(),
        Packed::Binary(content) => bytes(&content),
        Packed::Array(items) => Value::Array(items.into_iter().map(json).collect::<Option<_>>()?),
        Packed::Map(entries) => {
            let mut members = Map::new();
            for (key, value) in entries {
                let key = match key {
                    Packed::String(key) => key.into_str()?,
                    Packed::Integer(key) => key.to_string(),
                    _ => return None,
                };
                members.insert(key, json(value)?);
            }
            Value::Object(members)
        }
        Packed::Ext(kind, content) => object!({"type": kind, "data": bytes(&content)}),
    })
}
