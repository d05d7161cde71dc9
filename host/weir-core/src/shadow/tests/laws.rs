//! What holds of every document, whatever is asked of it.

use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::{
    Timestamp,
    shadow::{
        Document, DocumentLimits, MAX_DEPTH, Operation, Patch, Refusal, Request, Update,
        merge::{depth, difference, has_null_element, merge, same},
    },
};

const LIMITS: DocumentLimits = DocumentLimits { bytes: 400 };

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        (-2i8..2).prop_map(|n| Value::from(f64::from(n))),
        "[a-c]{0,3}".prop_map(Value::from),
        prop::collection::vec((0i64..3).prop_map(Value::from), 0..3).prop_map(Value::from),
    ]
}

/// A state: no `null` in it. Few keys, so that documents meet.
fn state() -> impl Strategy<Value = Map<String, Value>> {
    let object = |inner: BoxedStrategy<Value>| {
        prop::collection::vec(("[a-d]", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect())
    };
    let nested = leaf().prop_recursive(2, 8, 3, move |inner| object(inner.boxed()).prop_map(Value::Object));
    object(nested.boxed())
}

/// A patch: `null` may be anywhere but in arrays.
fn patch() -> impl Strategy<Value = Map<String, Value>> {
    let object = |inner: BoxedStrategy<Value>| {
        prop::collection::vec(("[a-d]", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect())
    };
    let nested = prop_oneof![1 => Just(Value::Null), 4 => leaf()]
        .prop_recursive(2, 8, 3, move |inner| object(inner.boxed()).prop_map(Value::Object));
    object(nested.boxed())
}

fn part() -> impl Strategy<Value = Patch> {
    prop_oneof![2 => Just(Patch::Keep), 1 => Just(Patch::Clear), 6 => patch().prop_map(Patch::Merge)]
}

fn update() -> impl Strategy<Value = Update> {
    (part(), part(), prop_oneof![3 => Just(0), 2 => 0u64..6], any::<bool>())
        .prop_map(|(reported, desired, version, overwrite)| Update { reported, desired, version, overwrite })
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(array) => array.iter().any(has_null),
        Value::Object(object) => object.values().any(has_null),
        _ => false,
    }
}

fn merged(state: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut state = state.clone();
    merge(&mut state, patch);
    state
}

proptest! {
    #[test]
    fn a_patch_changes_nothing_the_second_time(state in state(), patch in patch()) {
        let once = merged(&state, &patch);
        prop_assert_eq!(&merged(&once, &patch), &once);
        prop_assert!(!once.values().any(has_null));
        prop_assert_eq!(&merged(&state, &Map::new()), &state);
        prop_assert_eq!(&merged(&state, &state), &state);
        // What a patch does not name stays.
        for (key, value) in state.iter().filter(|(key, _)| !patch.contains_key(*key)) {
            prop_assert_eq!(once.get(key), Some(value));
        }
    }

    #[test]
    fn a_delta_is_all_that_is_left_to_do(desired in state(), reported in state()) {
        let delta = difference(&desired, &reported);
        let done = merged(&reported, &delta);
        prop_assert!(difference(&desired, &done).is_empty());
        prop_assert!(difference(&desired, &desired).is_empty());
        // No more than that: what is in it is desired, and not reported.
        for (key, value) in &delta {
            prop_assert!(reported.get(key).is_none_or(|found| !same(found, desired.get(key).unwrap())), "{}", key);
            prop_assert!(!value.is_null());
        }
        prop_assert_eq!(delta.is_empty(), difference(&desired, &reported).is_empty());
    }

    #[test]
    fn versions_go_up_by_one_and_refusals_change_nothing(updates in prop::collection::vec(update(), 0..12)) {
        let mut document = Document::default();
        for (number, update) in updates.iter().enumerate() {
            let now = Timestamp(number as i64);
            match document.apply(update, LIMITS, now) {
                Ok(applied) => {
                    prop_assert!(update.version == 0 || update.version == document.version());
                    prop_assert_eq!(applied.document.version(), document.version() + 1);
                    prop_assert_eq!(applied.document.changed_at(), now);
                    prop_assert!(applied.document.size() <= LIMITS.bytes);
                    let delta = applied.document.delta();
                    prop_assert!(!applied.news_for_device || !delta.is_empty());
                    prop_assert!(applied.news_for_device || delta.is_empty() || update.desired == Patch::Keep);
                    // The same again makes the same: that is what a replay of the log is.
                    prop_assert_eq!(&document.apply(update, LIMITS, now).unwrap(), &applied);
                    document = applied.document;
                }
                Err(Refusal::Conflict { given, version }) => {
                    prop_assert_eq!((given, version), (update.version, document.version()));
                    prop_assert_ne!(given, version);
                }
                Err(Refusal::TooLarge { size, limit }) => prop_assert!(size > limit),
                Err(refusal) => prop_assert!(false, "{}", refusal),
            }
            let encoded = document.encode();
            prop_assert_eq!(Document::decode(&encoded, document.version(), document.changed_at()), Some(document.clone()));
        }
        let deleted = document.delete(0, Timestamp(99)).unwrap();
        prop_assert!(deleted.is_empty() && deleted.version() == document.version() + 1);
    }

    #[test]
    fn nothing_that_is_sent_can_break_a_document(payload in prop::collection::vec(any::<u8>(), 0..64), text in r#"\{"type":"(get|update|delete)","state":[\{\}\[\]":,a-z0-9]{0,20}\}"#) {
        for bytes in [payload.as_slice(), text.as_bytes()] {
            if let Ok(Operation::Update(update)) = Request::read(bytes).operation {
                for part in [update.reported, update.desired] {
                    if let Patch::Merge(patch) = part {
                        let value = Value::Object(patch);
                        prop_assert!(depth(&value) <= MAX_DEPTH && !has_null_element(&value));
                    }
                }
            }
        }
    }
}
