//! `weir serve`: settings → build → run → drain.
//!
//! This file is the life of the process; [`app`] makes the hub out of its parts.

mod administrator;
mod app;
mod banner;
mod engines;
mod gateway;
mod listeners;
mod logging;
mod memory;
mod options;
mod signals;
mod start_error;
mod tls;
mod trust;

use std::{net::IpAddr, path::PathBuf};

use crate::{
    cli::{failure::Failure, hub::Target, output::Output},
    config::{self, Config, Overrides},
    data::DataFolder,
    open_files,
};
use app::{App, Ended};
use signals::Signals;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file (TOML); it needs to hold only what differs from the defaults
    #[arg(long, value_name = "FILE", env = "WEIR_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Address for devices and applications; beyond loopback only encrypted, unless --allow-plaintext [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<IpAddr>,
    /// Port for MQTT; 0 for any that is free [default: 1883]
    #[arg(long, value_name = "PORT")]
    mqtt_port: Option<u16>,
    /// Port for MQTT over TLS; 0 for any that is free [default: 8883]
    #[arg(long, value_name = "PORT")]
    mqtts_port: Option<u16>,
    /// Port of HTTP for devices and MQTT over WebSocket; 0 for any that is free [default: 8081]
    #[arg(long, value_name = "PORT")]
    ws_port: Option<u16>,
    /// Port of HTTPS for devices and MQTT over secure WebSocket; 0 for any that is free [default: 8443]
    #[arg(long, value_name = "PORT")]
    wss_port: Option<u16>,
    /// Port for CoAP over UDP; 0 for any that is free [default: 5683]
    #[arg(long, value_name = "PORT")]
    coap_port: Option<u16>,
    /// Port for CoAP over DTLS; 0 for any that is free [default: 5684]
    #[arg(long, value_name = "PORT")]
    coaps_port: Option<u16>,
    /// Host name or address that devices are told to connect to; the hub's certificate is made for it
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// Let plain MQTT, HTTP, WebSocket and CoAP leave loopback: everyone on the way can read passwords
    #[arg(long)]
    allow_plaintext: bool,
    /// Address of the management listener [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<IpAddr>,
    /// Port of the management listener; 0 for any that is free [default: 8080]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// error, warn, info, debug or trace, also by part, such as "info,weir_broker=debug" [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of the log on standard error [default: auto]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<config::LogFormat>,
    /// Any setting, such as log.sync=interval; can be given again
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Print every setting with its default and what it means, and end
    #[arg(long)]
    print_defaults: bool,
}

pub(crate) fn run(args: Args, target: &Target, out: Output) -> Result<(), Failure> {
    if args.print_defaults {
        return out.line(config::DEFAULTS.trim_end());
    }
    let config = Config::load(args.overrides()?).map_err(|error| Failure::usage(start_error::chain(&error)))?;
    let data = target.data_folder()?;
    logging::start(&config.logging)?;
    let open_files = open_files::raise();
    let connections = config.limits.connections.saturating_add(config.admin.connections) as u64;
    if let Err(room) = open_files::room_for(connections, open_files) {
        tracing::warn!(
            open_files,
            "there is room for {room} connections, and limits.connections and admin.connections allow {connections}; {}",
            open_files::REMEDY
        );
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime.worker_threads > 0 {
        builder.worker_threads(config.runtime.worker_threads);
    }
    let runtime = builder
        .enable_all()
        .thread_name("weir")
        .build()
        .map_err(|error| Failure::refused(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(serve(config, data));
    // Work that drain gave up on must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, data: DataFolder) -> Result<(), Failure> {
    // Before anything is built, so that a signal during start-up ends the process in order too.
    let mut signals = Signals::listen().map_err(|error| Failure::refused(format!("cannot hear signals: {error}")))?;
    let app = App::build(config, data).await?;
    app.announce().await;
    let ended = tokio::select! {
        name = signals.next() => Ended::Asked(name),
        () = app.failed() => Ended::LogFailed,
    };
    tokio::select! {
        finished = app.drain(ended) => finished,
        name = signals.next() => {
            eprintln!("error: {name} came while draining: ending at once");
            std::process::exit(1);
        }
    }
}

impl Args {
    fn overrides(self) -> Result<Overrides, Failure> {
        let mut flags: Vec<(String, String, String)> = Vec::new();
        for setting in &self.set {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {setting}: write SECTION.KEY=VALUE")))?;
            flags.push(("--set".to_owned(), key.trim().to_owned(), value.trim().to_owned()));
        }
        let format = self.log_format.and_then(|format| {
            use clap::ValueEnum;
            Some(format.to_possible_value()?.get_name().to_owned())
        });
        let given = [
            ("--listen", "listen.address", self.listen.map(|address| address.to_string())),
            ("--mqtt-port", "listen.mqtt_port", self.mqtt_port.map(|port| port.to_string())),
            ("--mqtts-port", "tls.mqtt_port", self.mqtts_port.map(|port| port.to_string())),
            ("--ws-port", "listen.ws_port", self.ws_port.map(|port| port.to_string())),
            ("--wss-port", "tls.ws_port", self.wss_port.map(|port| port.to_string())),
            ("--coap-port", "listen.coap_port", self.coap_port.map(|port| port.to_string())),
            ("--coaps-port", "tls.coap_port", self.coaps_port.map(|port| port.to_string())),
            ("--name", "listen.name", self.name),
            ("--allow-plaintext", "listen.allow_plaintext", self.allow_plaintext.then(|| "true".to_owned())),
            ("--admin-listen", "admin.address", self.admin_listen.map(|address| address.to_string())),
            ("--admin-port", "admin.port", self.admin_port.map(|port| port.to_string())),
            ("--log-level", "logging.level", self.log_level),
            ("--log-format", "logging.format", format),
        ];
        for (flag, key, value) in given {
            flags.extend(value.map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        // A variable that is not UTF-8 is none of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Overrides { file: self.config, environment, flags })
    }
}
