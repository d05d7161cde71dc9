//! Plugins as the rest of the hub sees them: checked, put in force, and used by name. What runs them is `weir-plugins`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Classify, ErrorKind, PluginName,
    seams::{BoxFuture, TargetKind},
};

/// What a plugin is for: the world that its component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginWorld {
    Sink,
}

impl fmt::Display for PluginWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sink => "sink",
        })
    }
}

/// What is known of a component when it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSummary {
    /// SHA-256 of the component, in hex: names this version for ever.
    pub digest: String,
    pub world: PluginWorld,
    /// Bytes of the component.
    pub size: u64,
    /// What it may ask for: the interfaces that it imports.
    pub imports: Vec<String>,
    /// The operator's name of the key that signed it.
    pub signed_by: Option<String>,
    pub warnings: Vec<String>,
}

/// Why a component is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    #[error("a plugin has at most {limit} bytes, and this one has {size}")]
    TooLarge { size: usize, limit: usize },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Signature(String),
    #[error("plugins cannot be run here: {0}")]
    Unavailable(String),
}

impl Classify for PluginError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Signature(_) => ErrorKind::Forbidden,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}

/// Runs plugins.
pub trait Plugins: Send + Sync {
    /// Checks and compiles a component, and changes nothing.
    fn check(&self, component: Arc<[u8]>) -> BoxFuture<'_, Result<PluginSummary, PluginError>>;

    /// From now on new batches go to the component of this digest, which was checked; those that run finish.
    fn put_in_force(&self, name: &PluginName, summary: &PluginSummary);

    /// Nothing can be opened by this name any more.
    fn forget(&self, name: &PluginName);

    /// The kind of target that `plugin.NAME` is, if there is such a sink.
    fn target_kind(&self, name: &PluginName) -> Option<Arc<dyn TargetKind>>;

    /// The names in force.
    fn names(&self) -> Vec<PluginName>;
}

/// A hub that runs no plugins.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPlugins;

impl Plugins for NoPlugins {
    fn check(&self, _component: Arc<[u8]>) -> BoxFuture<'_, Result<PluginSummary, PluginError>> {
        Box::pin(async { Err(PluginError::Unavailable("this hub has no engine for them".to_owned())) })
    }

    fn put_in_force(&self, _name: &PluginName, _summary: &PluginSummary) {}

    fn forget(&self, _name: &PluginName) {}

    fn target_kind(&self, _name: &PluginName) -> Option<Arc<dyn TargetKind>> {
        None
    }

    fn names(&self) -> Vec<PluginName> {
        Vec::new()
    }
}

/// Keys and values of plugins, on disk.
pub trait PluginValues: Send + Sync {
    fn get<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>>;

    /// False: the owner would have more than `limit` bytes of keys and values.
    fn set<'a>(
        &'a self,
        owner: &'a str,
        key: &'a str,
        value: Vec<u8>,
        limit: u64,
    ) -> BoxFuture<'a, Result<bool, String>>;

    fn delete<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), String>>;
}
