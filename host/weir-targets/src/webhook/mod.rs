//! `webhook(url => '…', token => secret('x'), timeout => '5 s')`: each row is one POST in the vendor's forward format
//! (vendor protocol §5.4).
//!
//! Promises: rows of one device arrive in order; an address that a rule's owner may not reach is not connected to,
//! whatever its name resolves to; redirects are not followed and no proxy is taken from the environment; neither the
//! URL nor the token appears in an error.

mod address;
mod body;
mod client;
mod config;
mod signature;
mod target;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use weir_core::{
    Principal, Timestamp,
    seams::{SettingError, SettingSpec, Settings, Target, TargetContext, TargetKind},
};

use client::Clients;
use config::Config;
use target::WebhookTarget;

/// What a webhook must know of the hub.
#[derive(Clone)]
pub struct WebhookOptions {
    /// Ports that the hub listens on. No webhook connects to them on an address of this machine.
    pub own_ports: Vec<u16>,
    /// The hub's clock, for the `Timestamp` of signatures.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookOptions").field("own_ports", &self.own_ports).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct WebhookKind {
    options: WebhookOptions,
    /// Made with the first target: reading the system's root certificates takes a while.
    clients: OnceLock<Result<Clients, String>>,
}

impl WebhookKind {
    pub fn new(options: WebhookOptions) -> Self {
        Self { options, clients: OnceLock::new() }
    }
}

impl TargetKind for WebhookKind {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn settings(&self) -> &[SettingSpec] {
        &config::SETTINGS
    }

    fn open(&self, settings: &Settings, context: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        let config = Config::parse(settings)?;
        let clients = self.clients.get_or_init(|| Clients::new(&self.options.own_ports)).clone();
        let error = |reason: String| SettingError { setting: config::URL.to_owned(), reason };
        let clients = clients.map_err(error)?;
        let private = is_administrator(&context.owner);
        if let Some(url) = &config.url {
            clients.of(url, private).map_err(|refusal| error(refusal.to_string()))?;
        }
        Ok(Arc::new(WebhookTarget { config, clients, private, now: self.options.now.clone() }))
    }
}

fn is_administrator(principal: &Principal) -> bool {
    match principal {
        Principal::Administrator(_) => true,
        Principal::Rule { owner, .. } => is_administrator(owner),
        Principal::Application { .. } | Principal::Device(_) => false,
    }
}
