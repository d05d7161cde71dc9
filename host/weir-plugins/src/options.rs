//! Bounds, and what the hub lends to plugins.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use weir_core::{Timestamp, plugin::PluginValues};

use crate::{Resolver, TrustedKey};

/// Bounds of plugins. Reaching one is a [`crate::Fault`], or a refusal when a plugin is pushed.
#[derive(Debug, Clone)]
pub struct PluginOptions {
    /// Where compiled components are kept. It is made for its owner alone, since what lies in it is run as it is.
    pub cache: PathBuf,
    /// Bytes of a component.
    pub component_bytes: usize,
    /// Bytes of memory of one instance.
    pub memory_bytes: usize,
    /// Instances at one time, of all plugins.
    pub instances: u32,
    /// Time that a call may compute.
    pub compute_time: Duration,
    /// Time that a call may take, with what it waits for.
    pub call_time: Duration,
    /// Keys whose signatures count.
    pub trusted_keys: Vec<TrustedKey>,
    /// Whether a component must be signed by one of them.
    pub require_signature: bool,
}

impl PluginOptions {
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            component_bytes: 32 << 20,
            memory_bytes: 64 << 20,
            instances: 1_000,
            compute_time: Duration::from_secs(1),
            call_time: Duration::from_secs(60),
            trusted_keys: Vec::new(),
            require_signature: false,
        }
    }
}

/// What the hub lends to plugins.
#[derive(Clone)]
pub struct PluginServices {
    /// The hub's clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub values: Arc<dyn PluginValues>,
    /// Names to addresses.
    pub resolver: Resolver,
}

impl fmt::Debug for PluginServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginServices")
    }
}
