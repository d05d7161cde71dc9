//! Settings of the hub: typed, checked once at the start, and handed down as values.
//!
//! `default.toml` documents each of them and says what wins over what. Nothing here is global, and nothing is read later.

mod check;
mod layers;
mod values;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use weir_plugins::TrustedKey;

use layers::{Given, GivenValue};

use layers::{ConfigError, Origin};
pub(crate) use values::parse_duration;

/// The settings, commented.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");

/// Rates, and how much may come at once at each.
const RATES: [(&str, &str); 9] = [
    ("limits.connects_per_second", "limits.connect_burst"),
    ("limits.connects_per_second_per_address", "limits.connect_burst_per_address"),
    ("limits.device_messages_per_second", "limits.device_messages_burst"),
    ("limits.device_bytes_per_second", "limits.device_bytes_burst"),
    ("limits.broadcast_messages_per_second", "limits.broadcast_messages_burst"),
    ("limits.registrations_per_second", "limits.registration_burst"),
    ("gateway.requests_per_second_per_address", "gateway.request_burst_per_address"),
    ("coap.strangers_per_second", "coap.stranger_burst"),
    ("coap.strangers_per_second_per_address", "coap.stranger_burst_per_address"),
];

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) runtime: Runtime,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) websocket: WebSocket,
    pub(crate) gateway: Gateway,
    pub(crate) coap: Coap,
    pub(crate) admin: Admin,
    pub(crate) logging: Logging,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    pub(crate) plugins: Plugins,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) query: Query,
    pub(crate) lake: Lake,
    pub(crate) s3: S3,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    pub(crate) worker_threads: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) address: IpAddr,
    pub(crate) mqtt_port: u16,
    pub(crate) ws_port: u16,
    pub(crate) coap_port: u16,
    pub(crate) name: String,
    pub(crate) allow_plaintext: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) enabled: bool,
    pub(crate) mqtt_port: u16,
    pub(crate) ws_port: u16,
    pub(crate) coap_port: u16,
    /// Empty: what the hub's authority makes.
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) certificates: Vec<CertificateFiles>,
    pub(crate) sha1_psk_suites: bool,
}

/// A certificate chain and its private key, in PEM.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebSocket {
    #[serde(deserialize_with = "values::origins")]
    pub(crate) origins: Vec<String>,
    #[serde(deserialize_with = "values::size")]
    pub(crate) message_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    #[serde(deserialize_with = "values::memory")]
    pub(crate) body_bytes: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) batch_bytes: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) body_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) request_timeout: Duration,
    pub(crate) requests_per_second_per_address: u64,
    pub(crate) request_burst_per_address: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coap {
    pub(crate) enabled: bool,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) body_bytes: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) block_bytes: usize,
    pub(crate) observations: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) acknowledgement: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) idle_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) session_idle_timeout: Duration,
    pub(crate) peers: usize,
    pub(crate) peers_per_address: usize,
    pub(crate) strangers_per_second: u64,
    pub(crate) stranger_burst: u64,
    pub(crate) strangers_per_second_per_address: u64,
    pub(crate) stranger_burst_per_address: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) connections: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) body_bytes: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) header_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) body_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) write_stall: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) tail_lag: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logging {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    Always,
    Interval,
    Never,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) sync: Sync,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) sync_interval: Duration,
    #[serde(deserialize_with = "values::size")]
    pub(crate) segment_bytes: u64,
    #[serde(deserialize_with = "values::size")]
    pub(crate) retain_bytes: u64,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) retain_age: Duration,
    #[serde(deserialize_with = "values::size")]
    pub(crate) max_bytes: u64,
    pub(crate) group_rows: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) group_bytes: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) tail_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    #[serde(deserialize_with = "values::memory")]
    pub(crate) payload_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) connects_per_second: u64,
    pub(crate) connect_burst: u64,
    pub(crate) connects_per_second_per_address: u64,
    pub(crate) connect_burst_per_address: u64,
    pub(crate) device_messages_per_second: u64,
    pub(crate) device_messages_burst: u64,
    #[serde(deserialize_with = "values::size")]
    pub(crate) device_bytes_per_second: u64,
    #[serde(deserialize_with = "values::size")]
    pub(crate) device_bytes_burst: u64,
    pub(crate) inflight_messages: NonZeroU16,
    pub(crate) receive_maximum: NonZeroU16,
    pub(crate) topic_aliases: u16,
    pub(crate) sessions: usize,
    pub(crate) sessions_per_key: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) session_expiry: Duration,
    pub(crate) inbox_messages: usize,
    #[serde(deserialize_with = "values::size")]
    pub(crate) inbox_bytes: u64,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) inbox_age: Duration,
    pub(crate) retained_messages: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) retained_bytes: usize,
    pub(crate) filters_per_subscribe: usize,
    pub(crate) subscriptions: usize,
    pub(crate) topics_per_product: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) shadow_bytes: usize,
    pub(crate) shadow_names: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) shadow_cache_bytes: usize,
    pub(crate) calls: usize,
    pub(crate) broadcasts: u32,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) broadcast_bytes: usize,
    pub(crate) broadcast_messages_per_second: u64,
    pub(crate) broadcast_messages_burst: u64,
    pub(crate) registrations_per_second: u64,
    pub(crate) registration_burst: u64,
    pub(crate) sub_devices: usize,
    pub(crate) sub_products: usize,
    pub(crate) gateway_devices: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) bind_signature_age: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) handshake_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) keep_alive: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) write_stall: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) max_rules: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) max_lag: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) checkpoint: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) longest_pause: Duration,
    pub(crate) dead_letter_batch: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) window_checkpoint: Duration,
    pub(crate) window_groups: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) window_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugins {
    #[serde(deserialize_with = "values::memory")]
    pub(crate) component_bytes: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) memory_bytes: usize,
    pub(crate) instances: u32,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) compute_time: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) call_time: Duration,
    #[serde(deserialize_with = "values::trusted_keys")]
    pub(crate) trusted_keys: Vec<TrustedKey>,
    pub(crate) require_signature: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetters {
    pub(crate) per_rule: u64,
    #[serde(deserialize_with = "values::size")]
    pub(crate) bytes_per_rule: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    pub(crate) concurrent: usize,
    pub(crate) rows: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) result_bytes: usize,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) memory_bytes: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) timeout: Duration,
    pub(crate) backtests: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) backtest_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lake {
    pub(crate) enabled: bool,
    pub(crate) location: String,
    pub(crate) compression: LakeCompression,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) retain_age: Duration,
    #[serde(deserialize_with = "values::size")]
    pub(crate) retain_bytes: u64,
    #[serde(deserialize_with = "values::memory")]
    pub(crate) memory_bytes: usize,
    #[serde(deserialize_with = "values::duration")]
    pub(crate) interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LakeCompression {
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Secret,
    pub(crate) virtual_hosted: bool,
}

/// Never shown.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What is laid over the defaults.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) file: Option<PathBuf>,
    /// Environment variables; those that are no settings are passed over.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags: how the user wrote it, the setting, its value.
    pub(crate) flags: Vec<(String, String, String)>,
}

impl Config {
    pub(crate) fn load(overrides: Overrides) -> Result<Self, ConfigError> {
        let mut given = match overrides.file {
            Some(path) => layers::from_file(path)?,
            None => Vec::new(),
        };
        given.extend(layers::from_environment(overrides.environment.into_iter()));
        given.extend(overrides.flags.into_iter().map(|(flag, key, value)| Given {
            key,
            value: GivenValue::Text(value),
            origin: Origin::Flag(flag),
        }));
        // An error about several settings together is put down to the one that was given last.
        let last = |keys: &[&str]| given.iter().rev().find(|given| keys.contains(&given.key.as_str())).cloned();
        let listen = last(&["listen.address", "listen.allow_plaintext", "tls.enabled"]);
        let files = last(&["tls.certificate", "tls.private_key"]);
        let sizes = last(&["log.segment_bytes", "log.max_bytes"]);
        let expiry = last(&["limits.session_expiry"]);
        let lake = last(&["lake.location"]);
        let rates = last(&RATES.map(|(rate, _)| rate));
        let bursts = last(&RATES.map(|(_, burst)| burst));
        let config: Self = layers::merge(DEFAULTS, given)?;
        config.check_listen().map_err(|reason| blame(listen, "listen.address", reason))?;
        config.check_tls().map_err(|reason| blame(files, "tls.certificate", reason))?;
        config.check_rates().map_err(|reason| blame(bursts.or(rates), "limits.connect_burst", reason))?;
        config.check_expiry().map_err(|reason| blame(expiry, "limits.session_expiry", reason))?;
        config.check_lake().map_err(|reason| blame(lake, "lake.location", reason))?;
        config.check_log().map_err(|reason| blame(sizes, "log.max_bytes", reason))?;
        Ok(config)
    }

    /// Where plain listeners are: on loopback, unless the operator lets them leave it.
    pub(crate) fn plain_address(&self) -> IpAddr {
        match self.listen.address {
            address if address.is_loopback() || self.listen.allow_plaintext => address,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

fn blame(given: Option<Given>, default_key: &str, reason: String) -> ConfigError {
    match given {
        Some(Given { key, origin, .. }) => ConfigError::BadValue { origin, key, reason },
        None => ConfigError::BadValue { origin: Origin::Defaults, key: default_key.to_owned(), reason },
    }
}
