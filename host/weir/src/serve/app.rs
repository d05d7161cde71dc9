//! The hub, made out of its parts in order, and taken apart in the reverse.

use std::sync::Arc;

use weir_broker::{Drain, Parts, Running};
use weir_core::history::LakeView;
use weir_http::{Endpoint, Gateway, HttpOptions};
use weir_log::{Clock, Log, storage::fs::Folder};
use weir_mqtt::{Admission, Transport};
use weir_store::Store;

use super::{administrator, banner, engines, listeners::Listeners, memory, signals, start_error::StartError, tls::Tls};
use crate::{
    cli::{
        failure::Failure,
        output::{Format, Output},
    },
    config::{Config, LogFormat},
    data::{DataFolder, Endpoints},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the hub ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By a signal.
    Asked(&'static str),
    /// A write or sync of the log failed: nothing can be promised any more.
    LogFailed,
}

#[derive(Debug)]
pub(super) struct App {
    config: Config,
    data: DataFolder,
    endpoints: Endpoints,
    running: Running,
}

impl App {
    pub(super) async fn build(config: Config, data: DataFolder) -> Result<Self, StartError> {
        data.create()?;
        let log_failed = |source| StartError::Log { folder: data.log(), source };
        // The lock comes first: a second hub must not even look at the ports or the store of the first.
        let folder = Folder::open(&data.log()).map_err(log_failed)?;

        // Ports before data: one that is taken is found before recovery, which may take a while.
        let listeners = Listeners::bind(&config).await?;
        let endpoints = listeners.endpoints(VERSION).map_err(StartError::Address)?;

        let clock = Clock::system();
        let log = Log::open(Arc::new(folder), config.log_options(), clock.clone()).map_err(log_failed)?;
        let store = Store::open_with(data.path(), config.store_options()).map_err(StartError::Store)?;
        administrator::ensure(&data, &store, &clock).await?;

        let tls = Tls::open(&config, &data, &clock).await?;
        let (acceptor, dtls) = tls.acceptors(&config, &store)?;
        let hangup = signals::hangup().map_err(StartError::Signal)?;

        // Before anything can be dropped from the log. A lake that cannot be opened now is tried again; messages come first.
        let archive = engines::archive(&config, &data, &log, &clock).await?;

        let targets = engines::targets(&listeners.all(), &clock).map_err(StartError::Address)?;

        let plugins = engines::plugins(&config, &data, &store, &clock).map_err(StartError::Plugins)?;

        // Rules run from here on; what they republish reaches sessions as soon as there are any.
        let front = Drain::new();
        let running = Parts {
            log: log.clone(),
            store,
            clock,
            limits: config.client_limits(),
            rules: config.rule_options(),
            language: engines::language(),
            targets,
            plugins: Arc::new(plugins.clone()),
            front: front.clone(),
        }
        .start()
        .await?;
        plugins.tidy_cache();

        let options = HttpOptions {
            query: engines::query(&config, log, archive.clone(), &running.broker),
            lake: archive.clone().map(|archive| Arc::new(archive) as Arc<dyn LakeView>),
            mqtt: told_plain(&config, &endpoints.mqtt),
            mqtts: endpoints.mqtts.as_ref().map(|mqtts| told(&config, mqtts)),
            ws: told_plain(&config, &endpoints.ws),
            wss: endpoints.wss.as_ref().map(|wss| told(&config, wss)),
            coap: endpoints.coap.as_ref().map(|coap| told_plain(&config, coap)),
            coaps: endpoints.coaps.as_ref().map(|coaps| told(&config, coaps)),
            authority: tls.authority(),
            version: VERSION,
            limits: config.http_limits(),
        };
        let gateway = Gateway::new(running.broker.clone(), tls.authority(), config.gateway_limits());
        let Listeners { mqtt, mqtts, ws, wss, http, coap, coaps } = listeners;
        front.spawn("management", weir_http::serve(http, running.broker.clone(), options, front.clone()));
        let admission = Admission::new(running.broker.limits(), running.broker.metrics());
        let serve = |listener, transport| {
            weir_mqtt::serve(listener, transport, admission.clone(), running.broker.clone(), front.clone())
        };
        front.spawn("mqtt", serve(mqtt, Transport::Plain));
        let options = Arc::new(config.websocket_options(gateway));
        front.spawn("websocket", serve(ws, Transport::WebSocket(Arc::clone(&options))));
        if let Some(mqtts) = mqtts {
            front.spawn("mqtt over tls", serve(mqtts, Transport::Tls(acceptor.clone())));
        }
        if let Some(wss) = wss {
            front.spawn("secure websocket", serve(wss, Transport::SecureWebSocket(acceptor, options)));
        }
        if let Some(archive) = archive {
            let ended = front.token().clone();
            front.spawn("lake", archive.run(async move { ended.cancelled().await }));
        }
        let shared = weir_coap::Shared::new(config.coap_options(), &running.broker);
        if let Some(coap) = coap {
            front.spawn("coap", weir_coap::serve(coap, shared.clone(), running.broker.clone(), front.clone()));
        }
        if let Some(coaps) = coaps {
            let serve = weir_coap::serve_dtls(coaps, dtls, shared.clone(), running.broker.clone(), front.clone());
            front.spawn("coap over dtls", serve);
        }
        let crowd = move || admission.open() + shared.open();
        front.spawn("memory", memory::keep_small(crowd, front.token().clone()));
        front.spawn("tls files", tls.keep_fresh(hangup, front.token().clone()));

        // Last: whoever finds this file finds a hub that serves.
        data.write_endpoints(&endpoints)?;
        Ok(Self { config, data, endpoints, running })
    }

    /// Tells the person, or the log, where the hub is.
    pub(super) async fn announce(&self) {
        let Endpoints { mqtt, mqtts, ws, wss, http, coap, coaps, .. } = &self.endpoints;
        let folder = self.data.path().display().to_string();
        tracing::info!(%mqtt, mqtts, %ws, wss, %http, coap, coaps, data = folder, version = VERSION, "serving");
        if self.config.listen.address.is_unspecified() && self.config.listen.name.is_empty() {
            tracing::warn!(
                "devices are told to connect to loopback, and the certificate is for that alone; say --name HOST"
            );
        }
        if self.config.logging.format == LogFormat::Json {
            return;
        }
        let first_time = self.running.broker.store().products().await.is_ok_and(|products| products.is_empty());
        let is_default = DataFolder::default_place(|name| std::env::var(name).ok()).is_ok_and(|at| at == self.data);
        let data_flag = if is_default { String::new() } else { format!(" --data {folder}") };
        // Nobody may be there to read it; the hub serves all the same.
        let _read =
            Output { format: Format::Table }.line(&banner::banner(&self.endpoints, &folder, &data_flag, first_time));
    }

    /// Resolves when the log can take nothing any more.
    pub(super) async fn failed(&self) {
        self.running.broker.log().failed().await;
    }

    /// Ends in order: front-ends, rules, delivery, log, store. Each stage has at most the configured time.
    pub(super) async fn drain(self, ended: Ended) -> Result<(), Failure> {
        match ended {
            Ended::Asked(signal) => tracing::info!(signal, "draining"),
            Ended::LogFailed => tracing::error!("the log failed: draining"),
        }
        if let Err(error) = self.data.remove_endpoints() {
            tracing::warn!(%error, "commands may look for a hub that is gone");
        }
        let timeout = self.config.runtime.drain_timeout;
        if !self.running.drain(timeout).await {
            tracing::warn!(?timeout, "some work did not end in time and was cut off; it goes on at the next start");
        }
        tracing::info!("ended");
        match ended {
            Ended::Asked(_) => Ok(()),
            Ended::LogFailed => {
                let folder = self.data.log();
                Err(Failure::refused(format!("a write or sync to {} failed; the hub has stopped", folder.display()))
                    .hint("look at the disk (df, dmesg), then start again: what was acknowledged is there"))
            }
        }
    }
}

/// What devices are told to connect to.
fn told(config: &Config, place: &str) -> Endpoint {
    match config.listen.name.as_str() {
        "" => endpoint(place),
        name => Endpoint { host: name.to_owned(), ..endpoint(place) },
    }
}

/// The plain listener may have stayed on loopback, where no name leads.
fn told_plain(config: &Config, place: &str) -> Endpoint {
    if config.plain_address() == config.listen.address { told(config, place) } else { endpoint(place) }
}

fn endpoint(place: &str) -> Endpoint {
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    Endpoint { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().unwrap_or_default() }
}
