//! `republish(topic => '…', qos => '1')`: publishes rows back into the hub.
//!
//! Promises: a row that has passed through too many rules is cut off with a reason, so a loop of rules ends. Whether the
//! rule's owner may publish there is the hub's to say.

mod config;
mod target;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use weir_core::seams::{Publisher, SettingError, SettingSpec, Settings, Target, TargetContext, TargetKind};

use config::Config;
use target::RepublishTarget;

pub struct RepublishKind {
    publisher: Arc<dyn Publisher>,
}

impl RepublishKind {
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher }
    }
}

impl fmt::Debug for RepublishKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepublishKind")
    }
}

impl TargetKind for RepublishKind {
    fn name(&self) -> &'static str {
        "republish"
    }

    fn settings(&self) -> &[SettingSpec] {
        &config::SETTINGS
    }

    fn open(&self, settings: &Settings, context: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        let config = Config::parse(settings)?;
        Ok(Arc::new(RepublishTarget { config, context, publisher: self.publisher.clone() }))
    }
}
