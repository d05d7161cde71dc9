//! What a gateway asks and how it is answered (vendor protocol §2.4, "Gateway").

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::DeviceId;

/// The vendor's numbers for what became of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Code {
    Done = 0,
    /// Not to this gateway.
    NotBound = -1,
    /// The hub could not.
    Failed = -2,
    BadParameter = 801,
    NoDevice = 802,
    BadSignature = 803,
    Method = 804,
    Expired = 805,
    BoundElsewhere = 806,
    NotSubDevice = 807,
    NotAllowed = 808,
    Already = 809,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Bind,
    Unbind,
    Online,
    Offline,
    Describe,
}

const OPERATIONS: [(&str, Operation); 5] = [
    ("bind", Operation::Bind),
    ("unbind", Operation::Unbind),
    ("online", Operation::Online),
    ("offline", Operation::Offline),
    ("describe_sub_devices", Operation::Describe),
];

/// `devices` is empty where they cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) devices: Vec<Asked>,
}

/// A device that a request is about. Names are as they were sent, since they are sent back.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    pub(super) product_id: String,
    pub(super) device_name: String,
    pub(super) signature: Option<String>,
    pub(super) random: Option<i64>,
    pub(super) timestamp: Option<i64>,
    pub(super) signmethod: Option<String>,
    pub(super) authtype: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    r#type: String,
    payload: Option<Value>,
}

#[derive(Deserialize)]
struct Payload {
    devices: Vec<Asked>,
}

#[derive(Serialize)]
struct Reply<D> {
    r#type: &'static str,
    payload: Devices<D>,
    /// Besides, where the vendor's Java SDK looks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

#[derive(Serialize)]
struct Devices<D> {
    devices: Vec<D>,
}

#[derive(Serialize)]
struct Answered<'a> {
    product_id: &'a str,
    device_name: &'a str,
    result: i32,
}

#[derive(Serialize)]
struct Described<'a> {
    product_id: &'a str,
    device_name: &'a str,
}

impl Operation {
    fn as_str(self) -> &'static str {
        OPERATIONS.iter().find(|(_, operation)| *operation == self).map_or("", |(text, _)| text)
    }
}

impl Asked {
    pub(super) fn device(&self) -> Option<DeviceId> {
        Some(DeviceId { product: self.product_id.parse().ok()?, device: self.device_name.parse().ok()? })
    }
}

impl Request {
    /// `None`: there is nothing that could be answered.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let Message { r#type, payload } = serde_json::from_slice(payload).ok()?;
        let (_, operation) = OPERATIONS.into_iter().find(|(text, _)| *text == r#type)?;
        let payload: Option<Payload> = payload.and_then(|payload| serde_json::from_value(payload).ok());
        Some(Self { operation, devices: payload.map(|payload| payload.devices).unwrap_or_default() })
    }

    /// The answer, with a code for each device.
    pub(super) fn answer(&self, codes: &[Code]) -> Vec<u8> {
        let devices = self.devices.iter().zip(codes).map(|(asked, code)| Answered {
            product_id: &asked.product_id,
            device_name: &asked.device_name,
            result: *code as i32,
        });
        let all = match codes {
            // Which devices were meant cannot be read.
            [] => Code::BadParameter,
            codes => codes.iter().copied().find(|code| *code != Code::Done).unwrap_or(Code::Done),
        };
        let wants_result = codes.is_empty() || matches!(self.operation, Operation::Online | Operation::Offline);
        json(&Reply {
            r#type: self.operation.as_str(),
            payload: Devices { devices: devices.collect() },
            result: wants_result.then(|| (all as i32).to_string()),
        })
    }
}

/// The answer to `describe_sub_devices`.
pub(super) fn description(devices: &[DeviceId]) -> Vec<u8> {
    let devices = devices
        .iter()
        .map(|device| Described { product_id: device.product.as_str(), device_name: device.device.as_str() });
    json(&Reply { r#type: Operation::Describe.as_str(), payload: Devices { devices: devices.collect() }, result: None })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs: nothing in them can fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, codes: &[Code], expected: &str) {
        let request = Request::read(request.as_bytes()).unwrap();
        assert_eq!(request.devices.len(), codes.len());
        assert_eq!(String::from_utf8(request.answer(codes)).unwrap(), expected);
    }

    #[test]
    fn the_worked_examples() {
        const DEVICES: &str = r#""payload":{"devices":[{"product_id":"CFCS5QQG5Z","device_name":"c"}]}"#;
        const DONE: &str = r#""payload":{"devices":[{"product_id":"CFCS5QQG5Z","device_name":"c","result":0}]}"#;
        for operation in ["online", "offline"] {
            let request = format!(r#"{{"type":"{operation}",{DEVICES}}}"#);
            check(&request, &[Code::Done], &format!(r#"{{"type":"{operation}",{DONE},"result":"0"}}"#));
        }
        check(&format!(r#"{{"type":"unbind",{DEVICES}}}"#), &[Code::Done], &format!(r#"{{"type":"unbind",{DONE}}}"#));
        let bind = r#"{"type":"bind","payload":{"devices":[{"product_id":"CFCS5QQG5Z","device_name":"c",
            "signature":"s","random":121213,"timestamp":1589786839,"signmethod":"hmacsha256","authtype":"psk"}]}}"#;
        check(bind, &[Code::Done], &format!(r#"{{"type":"bind",{DONE}}}"#));
        let device: DeviceId = "CFCS5QQG5Z/c".parse().unwrap();
        assert_eq!(
            String::from_utf8(description(&[device])).unwrap(),
            format!(r#"{{"type":"describe_sub_devices",{DEVICES}}}"#)
        );
        let describe = Request::read(br#"{"type":"describe_sub_devices"}"#).unwrap();
        assert_eq!(describe.operation, Operation::Describe);
    }

    #[test]
    fn each_device_is_answered_and_the_first_failure_is_that_of_all() {
        check(
            r#"{"type":"online","payload":{"devices":[{"product_id":"P","device_name":"c"},{"device_name":"d"},{}]}}"#,
            &[Code::Done, Code::NotBound, Code::BadParameter],
            concat!(
                r#"{"type":"online","payload":{"devices":[{"product_id":"P","device_name":"c","result":0},"#,
                r#"{"product_id":"","device_name":"d","result":-1},"#,
                r#"{"product_id":"","device_name":"","result":801}]},"result":"-1"}"#
            ),
        );
        for unreadable in
            [r#"{"type":"bind"}"#, r#"{"type":"bind","payload":{}}"#, r#"{"type":"bind","payload":{"devices":[1]}}"#]
        {
            check(unreadable, &[], r#"{"type":"bind","payload":{"devices":[]},"result":"801"}"#);
        }
        for nothing in ["", "{}", "[]", r#"{"type":"dance"}"#, r#"{"type":1}"#] {
            assert_eq!(Request::read(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
