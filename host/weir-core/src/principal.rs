//! Who acts.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{DeviceId, KeyName, RuleName, TopicFilter};

/// Someone whose identity has been proved. What it may do is [`crate::Policy`]'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Device(DeviceId),
    /// A program with a key that was granted topic filters.
    Application {
        key: KeyName,
        grants: Arc<Grants>,
    },
    /// A rule, acting with the authority of its owner.
    Rule {
        rule: RuleName,
        owner: Box<Principal>,
    },
    Administrator(KeyName),
}

/// What a key may read and write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    #[serde(default)]
    pub publish: Vec<TopicFilter>,
    #[serde(default)]
    pub subscribe: Vec<TopicFilter>,
}

/// The value of `msg.publisher`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device:{device}"),
            Self::Application { key, .. } => write!(f, "key:{key}"),
            Self::Rule { rule, .. } => write!(f, "rule:{rule}"),
            Self::Administrator(key) => write!(f, "administrator:{key}"),
        }
    }
}
