//! What is said of a change of a shadow, to whoever reads `$shadow/changed/PRODUCT/DEVICE` (a named one: `…/DEVICE/NAME`).

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Document, Operation, Patch, reply::Changed};
use crate::{DeviceId, DeviceName, Offset, ProductId, ShadowName, Timestamp, TopicFilter};

const PREFIX: &str = "$shadow/changed/";

/// A request that was applied.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub device: &'a DeviceId,
    /// `None`: the classic one.
    pub name: Option<&'a ShadowName>,
    /// Who asked for it.
    pub by: &'a str,
    /// Where the request stands in the log, which names the change for ever.
    pub offset: Offset,
    /// When it was accepted.
    pub at: Timestamp,
    pub operation: &'a Operation,
    pub before: &'a Document,
    pub after: &'a Document,
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    product: &'a ProductId,
    device: &'a DeviceName,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a ShadowName>,
    by: &'a str,
    offset: Offset,
    timestamp: Timestamp,
    previous: u64,
    version: u64,
    changed: Changed<'a>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    reported: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    desired: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    delta: Map<String, Value>,
}

/// Where changes of a shadow are told.
pub fn changed_topic(device: &DeviceId, name: Option<&ShadowName>) -> String {
    match name {
        None => format!("{PREFIX}{device}"),
        Some(name) => format!("{PREFIX}{device}/{name}"),
    }
}

/// Whether a filter can match the topic of a change.
pub fn may_match_changes(filter: &TopicFilter) -> bool {
    let mut levels = filter.as_str().split('/');
    if levels.next() != Some("$shadow") {
        return false;
    }
    match levels.next() {
        Some("#") => true,
        Some("changed" | "+") => {
            let rest: Vec<&str> = levels.collect();
            // PRODUCT/DEVICE, and perhaps NAME.
            rest.last() == Some(&"#") && rest.len() <= 4 || matches!(rest.len(), 2 | 3)
        }
        _ => false,
    }
}

/// The offset of the request that a message of a change is of. `None`: it is no such message.
pub fn change_of(topic: &str, payload: &[u8]) -> Option<Offset> {
    #[derive(serde::Deserialize)]
    struct Named {
        offset: u64,
    }
    topic.strip_prefix(PREFIX)?;
    Some(Offset(serde_json::from_slice::<Named>(payload).ok()?.offset))
}

/// The message of a change. `None`: the operation changes nothing.
pub fn change_message(change: &Change<'_>) -> Option<Vec<u8>> {
    const GONE: &Patch = &Patch::Clear;
    let (r#type, changed) = match change.operation {
        Operation::Get => return None,
        Operation::Update(update) => ("update", Changed::new(&update.reported, &update.desired)),
        Operation::Delete { .. } => ("delete", Changed::new(GONE, GONE)),
    };
    let message = Message {
        r#type,
        product: &change.device.product,
        device: &change.device.device,
        name: change.name,
        by: change.by,
        offset: change.offset,
        timestamp: change.at,
        previous: change.before.version(),
        version: change.after.version(),
        changed,
        reported: change.after.reported(),
        desired: change.after.desired(),
        delta: change.after.delta(),
    };
    serde_json::to_vec(&message).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{DocumentLimits, Request};

    #[test]
    fn a_change_is_told_with_what_was_and_what_is() {
        let device: DeviceId = "A1B2C3D4E5/lamp".parse().unwrap();
        let name: ShadowName = "fw".parse().unwrap();
        let before = Document::default();
        let request = br#"{"type":"update","state":{"reported":{"fw":"1.0","x":null},"desired":{"fw":"1.1"}}}"#;
        let operation = Request::read(request).operation.unwrap();
        let Operation::Update(update) = &operation else { panic!("an update") };
        let after = before.apply(update, DocumentLimits { bytes: 1_000 }, Timestamp(5)).unwrap().document;
        let change = Change {
            device: &device,
            name: Some(&name),
            by: "device:A1B2C3D4E5/lamp",
            offset: Offset::new(1, 7),
            at: Timestamp(5),
            operation: &operation,
            before: &before,
            after: &after,
        };
        let message = change_message(&change).unwrap();
        let offset = Offset::new(1, 7);
        let expected = format!(
            r#"{{"type":"update","product":"A1B2C3D4E5","device":"lamp","name":"fw","by":"device:A1B2C3D4E5/lamp","offset":{},"timestamp":5,"previous":0,"version":1,"changed":{{"reported":{{"fw":"1.0","x":null}},"desired":{{"fw":"1.1"}}}},"reported":{{"fw":"1.0"}},"desired":{{"fw":"1.1"}},"delta":{{"fw":"1.1"}}}}"#,
            offset.0
        );
        assert_eq!(String::from_utf8(message.clone()).unwrap(), expected);
        let topic = changed_topic(&device, Some(&name));
        assert_eq!(topic, "$shadow/changed/A1B2C3D4E5/lamp/fw");
        assert_eq!(change_of(&topic, &message), Some(offset));
        assert_eq!(change_of("$shadow/operation/A1B2C3D4E5/lamp", &message), None);

        let deletion = Operation::Delete { version: 0 };
        let gone = after.delete(0, Timestamp(6)).unwrap();
        let change = Change { name: None, operation: &deletion, before: &after, after: &gone, ..change };
        let message: Value = serde_json::from_slice(&change_message(&change).unwrap()).unwrap();
        assert_eq!(message["changed"], serde_json::json!({"reported": null, "desired": null}));
        assert_eq!((&message["previous"], &message["version"]), (&1.into(), &2.into()));
        assert_eq!(change_message(&Change { operation: &Operation::Get, ..change }), None);
    }

    #[test]
    fn a_filter_that_can_match_no_change_is_known() {
        let check = |filter: &str, expected: bool| {
            assert_eq!(may_match_changes(&filter.parse().unwrap()), expected, "{filter}");
        };
        check("$shadow/changed/#", true);
        check("$shadow/changed/A1B2C3D4E5/lamp", true);
        check("$shadow/changed/+/+/fw", true);
        check("$shadow/+/A1B2C3D4E5/#", true);
        check("$shadow/changed/a/b/c/#", true);
        check("$shadow/#", true);
        check("$shadow/changed/a", false);
        check("$shadow/changed/a/b/c/d", false);
        check("$shadow/changed/a/b/c/d/#", false);
        check("$shadow/operation/result/#", false);
        check("#", false);
        check("+/changed/#", false);
    }
}
