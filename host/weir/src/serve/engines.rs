//! What the middle of the hub knows only by its seams: the rule language, the targets, the query engine.

use std::{io, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use weir_broker::{Broker, pipeline::MakeTargets};
use weir_core::seams::{BoxFuture, Language, QueryEngine, QueryError};
use weir_lake::{Archive, Lake};
use weir_log::{Clock, Log};
use weir_plugins::{PluginHost, PluginServices, SystemResolver};
use weir_rules::language::SqlLanguage;
use weir_store::Store;
use weir_targets::WebhookOptions;

use super::start_error::{StartError, chain};
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

/// How long the start waits for a lake to be opened. One that takes longer is opened while the hub serves.
const LAKE_PATIENCE: Duration = Duration::from_secs(5);

/// The lake, if the hub keeps one. What keeps it from being opened now may pass; messages come first.
pub(super) async fn archive(
    config: &Config,
    data: &DataFolder,
    log: &Log,
    clock: &Clock,
) -> Result<Option<Archive>, StartError> {
    let Some(options) = config.lake_options(data, data.lake_owner()?) else { return Ok(None) };
    let location = options.location.to_string();
    let archive = Archive::new(options, log.clone(), clock.clone()).map_err(StartError::Lake)?;
    match tokio::time::timeout(LAKE_PATIENCE, archive.open()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::error!(location, error, "the lake cannot be opened; it is tried again");
        }
        Err(_) => tracing::warn!(location, "opening the lake takes long; queries wait for it"),
    }
    Ok(Some(archive))
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

/// Queries over what log, lake and tables hold, checked against the schemas that products declare.
pub(super) fn query(config: &Config, log: Log, archive: Option<Archive>, broker: &Broker) -> Arc<dyn QueryEngine> {
    let rules = broker.rules().clone();
    let catalog = move || {
        let rules = rules.clone();
        let catalog = async move { rules.catalog().await.map_err(|error| QueryError::Failed(error.to_string())) };
        Box::pin(catalog) as BoxFuture<'static, _>
    };
    Arc::new(Lake::new(Arc::new(log), archive, broker.tables(), Box::new(catalog), config.query_options()))
}
