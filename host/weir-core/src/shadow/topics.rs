//! Topics of shadows: `$shadow/operation/PRODUCT/DEVICE` for the classic one, and
//! `$shadow/name/NAME/operation/PRODUCT/DEVICE` for the others, each with `result` after `operation` for answers.

use crate::{DeviceId, ShadowName};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowTopic {
    pub device: DeviceId,
    /// `None`: the classic one.
    pub name: Option<ShadowName>,
}

impl ShadowTopic {
    /// Reads the topic of a request. `None`: it is another one, that of an answer for instance, or has no valid name.
    pub fn of_request(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("$shadow/")?;
        if let Some(device) = rest.strip_prefix("operation/") {
            return Some(Self { device: device.parse().ok()?, name: None });
        }
        let (name, rest) = rest.strip_prefix("name/")?.split_once('/')?;
        let device = rest.strip_prefix("operation/")?.parse().ok()?;
        Some(Self { device, name: Some(name.parse().ok()?) })
    }

    /// Writes what [`ShadowTopic::of_request`] reads.
    pub fn request(&self) -> String {
        match &self.name {
            None => format!("$shadow/operation/{}", self.device),
            Some(name) => format!("$shadow/name/{name}/operation/{}", self.device),
        }
    }
}

/// Where answers and deltas of a shadow go.
pub fn result_topic(device: &DeviceId, name: Option<&ShadowName>) -> String {
    match name {
        None => format!("$shadow/operation/result/{device}"),
        Some(name) => format!("$shadow/name/{name}/operation/result/{device}"),
    }
}
