//! `shadow(part => 'desired')`: writes rows into shadows of devices.
//!
//! A row is merged into one part of a shadow, key by key, as a device's own update would be: `null` deletes a key. Without
//! `product` and `device` it is the shadow of the device that the message is of. The update goes through the log like
//! every other, with the authority of the rule's owner, so there is one order for all writers.
//!
//! Promises: a row is delivered when its update was applied, and rejected, with the shadow's own reason, when that was
//! refused. What is told of a change by a rule carries the rule's hop, so a loop over `$shadow/changed/#` ends.

mod config;
mod target;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use weir_core::seams::{Publisher, SettingError, SettingSpec, Settings, Target, TargetContext, TargetKind};

use config::Config;
use target::ShadowTarget;

pub struct ShadowKind {
    publisher: Arc<dyn Publisher>,
}

impl ShadowKind {
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher }
    }
}

impl fmt::Debug for ShadowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShadowKind")
    }
}

impl TargetKind for ShadowKind {
    fn name(&self) -> &'static str {
        "shadow"
    }

    fn settings(&self) -> &[SettingSpec] {
        &config::SETTINGS
    }

    fn open(&self, settings: &Settings, context: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        let config = Config::parse(settings)?;
        Ok(Arc::new(ShadowTarget { config, context, publisher: self.publisher.clone() }))
    }
}
