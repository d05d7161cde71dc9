//! What is asked of a shadow.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{MAX_DEPTH, Refusal, merge};

/// Bytes of a client token.
const MAX_TOKEN: usize = 256;

/// A request, as far as it could be read: also one that is refused is answered with its type and token.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `get`, `update` or `delete`; `error` if it says none of these.
    pub kind: &'static str,
    /// What the answer carries as it is, so that whoever asked knows it. Numbers come back as text, as the vendor's do.
    pub token: Option<String>,
    pub operation: Result<Operation, Refusal>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    Get,
    Update(Update),
    /// Both parts go; the version goes on.
    Delete {
        /// 0: any.
        version: u64,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    pub reported: Patch,
    pub desired: Patch,
    /// The version that the shadow must have; 0: any.
    pub version: u64,
    /// Whether the parts that are given replace the old ones whole.
    pub overwrite: bool,
}

/// What becomes of one part of the state.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Patch {
    #[default]
    Keep,
    Clear,
    /// Changed by these, of which `null` deletes.
    Merge(Map<String, Value>),
}

impl Request {
    pub fn read(payload: &[u8]) -> Self {
        match serde_json::from_slice(payload) {
            Ok(Value::Object(request)) => Self::of(request),
            Ok(_) => Self::unreadable("it is not an object".to_owned()),
            Err(error) => Self::unreadable(error.to_string()),
        }
    }

    fn unreadable(reason: String) -> Self {
        Self { kind: "error", token: None, operation: Err(Refusal::malformed(reason)) }
    }

    fn of(mut request: Map<String, Value>) -> Self {
        let token = match request.get("clientToken") {
            Some(Value::String(token)) if token.len() <= MAX_TOKEN => Some(token.clone()),
            Some(Value::Number(token)) => Some(token.to_string()),
            _ => None,
        };
        let (kind, operation) = match request.get("type").and_then(Value::as_str) {
            Some("get") => ("get", Ok(Operation::Get)),
            Some("update") => ("update", update(&mut request).map(Operation::Update)),
            Some("delete") => ("delete", version(&request).map(|version| Operation::Delete { version })),
            _ => ("error", Err(Refusal::malformed("type is not get, update or delete"))),
        };
        Self { kind, token, operation }
    }
}

/// The request for an update, as a device would send it. `state` has `reported` and `desired`.
pub fn update_request(state: &Map<String, Value>, version: u64, overwrite: bool) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        r#type: &'static str,
        state: &'a Map<String, Value>,
        version: u64,
        overwrite_update: bool,
    }
    let message = Message { r#type: "update", state, version, overwrite_update: overwrite };
    // Nothing in it can fail to be written to memory.
    serde_json::to_string(&message).unwrap_or_default()
}

fn update(request: &mut Map<String, Value>) -> Result<Update, Refusal> {
    let version = version(request)?;
    let overwrite = match request.get("overwriteUpdate") {
        None => false,
        Some(Value::Bool(overwrite)) => *overwrite,
        Some(_) => return Err(Refusal::malformed("overwriteUpdate is not a boolean")),
    };
    let Some(Value::Object(state)) = request.get_mut("state") else {
        return Err(Refusal::malformed("state is not an object"));
    };
    let reported = patch(state, "reported")?;
    let desired = patch(state, "desired")?;
    if reported == Patch::Keep && desired == Patch::Keep {
        return Err(Refusal::malformed("state has neither reported nor desired"));
    }
    Ok(Update { reported, desired, version, overwrite })
}

fn version(request: &Map<String, Value>) -> Result<u64, Refusal> {
    match request.get("version") {
        None | Some(Value::Null) => Ok(0),
        Some(version) => version.as_u64().ok_or_else(|| Refusal::malformed("version is not a whole number")),
    }
}

fn patch(state: &mut Map<String, Value>, part: &str) -> Result<Patch, Refusal> {
    let Some(value) = state.get_mut(part).map(Value::take) else { return Ok(Patch::Keep) };
    if value.is_null() {
        return Ok(Patch::Clear);
    }
    let depth = merge::depth(&value);
    if depth > MAX_DEPTH {
        return Err(Refusal::TooDeep { depth });
    }
    if merge::has_null_element(&value) {
        return Err(Refusal::malformed(format!("an array in {part} holds null")));
    }
    match value {
        Value::Object(patch) => Ok(Patch::Merge(patch)),
        _ => Err(Refusal::malformed(format!("{part} is not an object"))),
    }
}
