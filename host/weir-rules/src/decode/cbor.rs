//! CBOR (RFC 8949).

use ciborium::Value as Cbor;
use serde_json::{Map, Value};

use super::{MAX_DEPTH, bytes, number};

/// The one item that a payload is.
pub(super) fn value(payload: &[u8]) -> Option<Value> {
    let mut rest = payload;
    let item = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).ok()?;
    if rest.is_empty() { json(item) } else { None }
}

fn json(item: Cbor) -> Option<Value> {
    Some(match item {
        Cbor::Integer(integer) => match (u64::try_from(integer), i64::try_from(integer)) {
            (Ok(integer), _) => integer.into(),
            (_, Ok(integer)) => integer.into(),
            _ => number(i128::from(integer) as f64),
        },
        Cbor::Bytes(content) => bytes(&content),
        Cbor::Float(float) => number(float),
        Cbor::Text(text) => text.into(),
        Cbor::Bool(is) => is.into(),
        Cbor::Null => Value::Null,
        Cbor::Tag(_, tagged) => json(*tagged)?,
        Cbor::Array(items) => Value::Array(items.into_iter().map(json).collect::<Option<_>>()?),
        Cbor::Map(entries) => {
            let mut members = Map::new();
            for (key, item) in entries {
                let key = match key {
                    Cbor::Text(key) => key,
                    Cbor::Integer(key) => i128::from(key).to_string(),
                    _ => return None,
                };
                members.insert(key, json(item)?);
            }
            Value::Object(members)
        }
        // What a later version of the library knows.
        _ => return None,
    })
}
