//! Messages about shadows, byte for byte in the vendor's shape: seconds outside, milliseconds in the payload.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

use super::{Applied, Document, Patch, Refusal, Update, document::Part};
use crate::Timestamp;

#[derive(Serialize)]
struct Reply<'a, P> {
    r#type: &'a str,
    result: u32,
    timestamp: i64,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// Why it is refused, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    payload: P,
}

#[derive(Serialize)]
struct Payload<S, M> {
    state: S,
    metadata: M,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
}

#[derive(Serialize)]
struct State<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reported: Option<Times<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Times<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Times<'a>>,
}

/// `{key:{"timestamp":n}}`.
pub(super) enum Times<'a> {
    /// Each of these keys as its part has it.
    Of(&'a Map<String, Value>, &'a Part),
    /// All at the same time.
    Now(Vec<&'a str>, Timestamp),
}

/// The part of an update that an answer repeats.
#[derive(Serialize)]
pub(super) struct Changed<'a> {
    #[serde(skip_serializing_if = "Echo::is_absent")]
    reported: Echo<'a>,
    #[serde(skip_serializing_if = "Echo::is_absent")]
    desired: Echo<'a>,
}

pub(super) struct Echo<'a>(&'a Patch);

impl<'a> Changed<'a> {
    pub(super) fn new(reported: &'a Patch, desired: &'a Patch) -> Self {
        Self { reported: Echo(reported), desired: Echo(desired) }
    }
}

impl Echo<'_> {
    fn is_absent(&self) -> bool {
        *self.0 == Patch::Keep
    }
}

impl Serialize for Echo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Patch::Merge(patch) => patch.serialize(serializer),
            Patch::Keep | Patch::Clear => serializer.serialize_unit(),
        }
    }
}

impl<'a> Times<'a> {
    pub(super) fn of(part: &'a Part) -> Option<Self> {
        (!part.values.is_empty()).then_some(Self::Of(&part.values, part))
    }

    fn now(patch: &'a Patch, cleared: &'a [String], now: Timestamp) -> Option<Self> {
        match patch {
            Patch::Keep => None,
            Patch::Clear => Some(Self::Now(cleared.iter().map(String::as_str).collect(), now)),
            Patch::Merge(patch) => Some(Self::Now(patch.keys().map(String::as_str).collect(), now)),
        }
    }
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            timestamp: Timestamp,
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Of(keys, part) => {
                for key in keys.keys() {
                    let timestamp = part.written_at.get(key).copied().unwrap_or_default();
                    map.serialize_entry(key, &Written { timestamp })?;
                }
            }
            Self::Now(keys, timestamp) => {
                for key in keys {
                    map.serialize_entry(key, &Written { timestamp: *timestamp })?;
                }
            }
        }
        map.end()
    }
}

/// The answer to `get`.
pub fn get_reply(document: &Document, token: Option<&str>, now: Timestamp) -> Vec<u8> {
    with_whole(document, |payload| {
        json_bytes(&Reply { r#type: "get", result: 0, timestamp: now.seconds(), token, message: None, payload })
    })
}

/// The answer to an update that was done: what it changed.
pub fn update_reply(update: &Update, applied: &Applied, token: Option<&str>, now: Timestamp) -> Vec<u8> {
    let payload = Payload {
        state: Changed::new(&update.reported, &update.desired),
        metadata: Metadata {
            reported: Times::now(&update.reported, &applied.cleared_reported, now),
            desired: Times::now(&update.desired, &applied.cleared_desired, now),
            delta: None,
        },
        version: applied.document.version(),
        timestamp: Some(applied.document.changed_at()),
    };
    json_bytes(&Reply { r#type: "update", result: 0, timestamp: now.seconds(), token, message: None, payload })
}

/// The answer to a deletion that was done.
pub fn deletion(document: &Document, token: Option<&str>, now: Timestamp) -> Vec<u8> {
    with_whole(document, |payload| {
        json_bytes(&Reply { r#type: "delete", result: 0, timestamp: now.seconds(), token, message: None, payload })
    })
}

/// The answer to a request that was not done. One for another version has the whole document with it.
pub fn refusal_reply(
    kind: &str,
    refusal: &Refusal,
    document: &Document,
    token: Option<&str>,
    now: Timestamp,
) -> Vec<u8> {
    let (result, timestamp) = (refusal.code(), now.seconds());
    if let Refusal::Conflict { .. } = refusal {
        return with_whole(document, |payload| {
            json_bytes(&Reply { r#type: kind, result, timestamp, token, message: None, payload })
        });
    }
    // Clients look for an object.
    let payload = Map::new();
    json_bytes(&Reply { r#type: kind, result, timestamp, token, message: Some(refusal.to_string()), payload })
}

/// What a device is told of what is left to do. `None`: nothing is.
pub fn delta_push(document: &Document, now: Timestamp) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Push<P> {
        r#type: &'static str,
        timestamp: i64,
        payload: P,
    }
    let delta = document.delta();
    if delta.is_empty() {
        return None;
    }
    let payload = Payload {
        state: &delta,
        metadata: Times::Of(&delta, &document.desired),
        version: document.version(),
        timestamp: Some(document.changed_at()),
    };
    Some(json_bytes(&Push { r#type: "delta", timestamp: now.seconds(), payload }))
}

/// The whole document as an API shows it: `{"state":…,"metadata":…,"version":n,"timestamp":n}`.
pub fn document_value(document: &Document) -> Value {
    with_whole(document, |payload| serde_json::to_value(payload)).unwrap_or_else(|_| json!({}))
}

fn with_whole<T>(document: &Document, write: impl FnOnce(Payload<State<'_>, Metadata<'_>>) -> T) -> T {
    let delta = document.delta();
    let present = |part: &'_ Part| !part.values.is_empty();
    let payload = Payload {
        state: State {
            reported: present(&document.reported).then_some(&document.reported.values),
            desired: present(&document.desired).then_some(&document.desired.values),
            delta: (!delta.is_empty()).then_some(&delta),
        },
        metadata: Metadata {
            reported: Times::of(&document.reported),
            desired: Times::of(&document.desired),
            delta: (!delta.is_empty()).then_some(Times::Of(&delta, &document.desired)),
        },
        version: document.version(),
        // What never was has not been changed at any time.
        timestamp: (document.version() > 0).then_some(document.changed_at()),
    };
    write(payload)
}

fn json_bytes(message: &impl Serialize) -> Vec<u8> {
    // Plain structs and JSON values: nothing in them can fail to be written to memory.
    serde_json::to_vec(message).unwrap_or_default()
}
