//! The algebra of states: objects without `null`, changed by patches in which `null` deletes.

use serde_json::{Map, Number, Value};

/// Changes `state` by `patch`: objects are merged, whatever else is replaced whole, and `null` deletes (RFC 7396).
pub(super) fn merge(state: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (value, state.get_mut(key)) {
            (Value::Null, _) => {
                state.shift_remove(key);
            }
            (Value::Object(patch), Some(Value::Object(inner))) => merge(inner, patch),
            (Value::Object(patch), _) => {
                let mut inner = Map::new();
                merge(&mut inner, patch);
                state.insert(key.clone(), Value::Object(inner));
            }
            (value, Some(old)) => *old = value.clone(),
            (value, None) => {
                state.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What of `desired` is not so in `reported`: merged into `reported`, it leaves no difference.
pub(super) fn difference(desired: &Map<String, Value>, reported: &Map<String, Value>) -> Map<String, Value> {
    let mut delta = Map::new();
    for (key, wanted) in desired {
        match (wanted, reported.get(key)) {
            (Value::Object(wanted), Some(Value::Object(found))) => {
                let inner = difference(wanted, found);
                if !inner.is_empty() {
                    delta.insert(key.clone(), Value::Object(inner));
                }
            }
            (wanted, Some(found)) if same(wanted, found) => {}
            (wanted, _) => {
                delta.insert(key.clone(), wanted.clone());
            }
        }
    }
    delta
}

/// Whether two values mean the same: `1` and `1.0` do, since a device does not choose how its library writes numbers.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Integers are compared as such by `==`; as doubles, large ones would be equal to their neighbours.
fn same_number(a: &Number, b: &Number) -> bool {
    (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
}

/// Levels of objects and arrays in `value`.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Array(array) => 1 + array.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether an array in `value` holds `null`, which means nothing there: arrays are replaced whole.
pub(super) fn has_null_element(value: &Value) -> bool {
    match value {
        Value::Array(array) => array.iter().any(|element| element.is_null() || has_null(element)),
        Value::Object(object) => object.values().any(has_null_element),
        _ => false,
    }
}

/// Whether there is a `null` anywhere: in an object of an array it would not delete.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(array) => array.iter().any(has_null),
        Value::Object(object) => object.values().any(has_null),
        _ => false,
    }
}
