//! What the middle of the hub knows only by its seams: the rule language, the targets, the query engine.

use std::{io, sync::Arc};

use tokio::net::TcpListener;
use weir_broker::{Broker, pipeline::MakeTargets};
use weir_core::seams::{BoxFuture, Language, QueryEngine, QueryError};
use weir_lake::Lake;
use weir_log::{Clock, Log};
use weir_plugins::{PluginHost, PluginServices, SystemResolver};
use weir_rules::language::SqlLanguage;
use weir_store::Store;
use weir_targets::WebhookOptions;

use crate::{config::Config, data::DataFolder};

pub(super) fn language() -> Arc<dyn Language> {
    Arc::new(SqlLanguage)
}

/// The built-in targets. Webhooks keep off the hub's own ports.
pub(super) fn targets(listeners: &[&TcpListener], clock: &Clock) -> io::Result<MakeTargets> {
    let own_ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<io::Result<_>>()?;
    let clock = clock.clone();
    let options = WebhookOptions { own_ports, now: Arc::new(move || clock.now()) };
    Ok(Box::new(|publisher| weir_targets::builtin(publisher, options)))
}

/// The engine of plugins. Their keys and values are in the store.
pub(super) fn plugins(
    config: &Config,
    data: &DataFolder,
    store: &Store,
    clock: &Clock,
) -> Result<PluginHost, weir_plugins::StartError> {
    let clock = clock.clone();
    let services = PluginServices {
        now: Arc::new(move || clock.now()),
        values: Arc::new(store.clone()),
        resolver: Arc::new(SystemResolver),
    };
    PluginHost::start(config.plugin_options(data), services)
}

/// Queries over what the log and the tables hold, checked against the schemas that products declare.
pub(super) fn query(config: &Config, log: Log, broker: &Broker) -> Arc<dyn QueryEngine> {
    let rules = broker.rules().clone();
    let catalog = move || {
        let rules = rules.clone();
        let catalog = async move { rules.catalog().await.map_err(|error| QueryError::Failed(error.to_string())) };
        Box::pin(catalog) as BoxFuture<'static, _>
    };
    Arc::new(Lake::new(Arc::new(log), broker.tables(), Box::new(catalog), config.query_options()))
}
