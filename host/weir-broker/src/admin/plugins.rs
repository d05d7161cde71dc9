//! Plugins: pushed, looked at and deleted. They are put to use by scripts: see [`crate::RuleRuntime::apply`].

use std::sync::Arc;

pub use weir_store::PluginRow;

use weir_core::{PluginName, plugin::PluginError};
use weir_store::StoreError;

use super::{AdminError, completed};
use crate::Broker;

/// Checks, stores and puts in force, in this order: batches that run finish with the version before, the next ones go to
/// this one.
pub async fn push(broker: &Broker, name: &PluginName, component: Arc<[u8]>) -> Result<PluginRow, PluginPushError> {
    let plugins = broker.rules().plugins();
    let summary = plugins.check(Arc::clone(&component)).await?;
    let name = name.clone();
    let stored = async move |broker: Broker| {
        broker.store().put_plugin(&name, &summary, component, broker.clock().now()).await?;
        broker.rules().plugins().put_in_force(&name, &summary);
        get(&broker, &name)
    };
    Ok(completed(broker, "push of a plugin", stored).await?)
}

#[derive(Debug, thiserror::Error)]
pub enum PluginPushError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl weir_core::Classify for PluginPushError {
    fn kind(&self) -> weir_core::ErrorKind {
        match self {
            Self::Plugin(error) => error.kind(),
            Self::Admin(error) => error.kind(),
        }
    }
}

pub async fn list(broker: &Broker) -> Result<Vec<PluginRow>, AdminError> {
    Ok(broker.store().plugins().await?)
}

pub fn get(broker: &Broker, name: &PluginName) -> Result<PluginRow, AdminError> {
    broker.store().plugin(name)?.ok_or_else(|| AdminError::missing("plugin", name))
}

/// Refused while a sink or a rule uses it.
pub async fn delete(broker: &Broker, name: &PluginName) -> Result<(), AdminError> {
    let name = name.clone();
    completed(broker, "deletion of a plugin", async move |broker: Broker| broker.rules().delete_plugin(&name).await)
        .await
}

/// Puts the stored plugins in force, before any rule is opened. One that cannot be run any more is reported: it must not
/// keep the hub from starting, and the rules that use it say so.
pub(crate) async fn load(
    store: &weir_store::Store,
    plugins: &dyn weir_core::plugin::Plugins,
) -> Result<(), StoreError> {
    for row in store.plugins().await? {
        let Some(component) = store.plugin_component(&row.name).await? else { continue };
        match plugins.check(component).await {
            Ok(summary) => plugins.put_in_force(&row.name, &summary),
            Err(error) => tracing::error!(plugin = %row.name, %error, "a stored plugin cannot be run"),
        }
    }
    Ok(())
}
