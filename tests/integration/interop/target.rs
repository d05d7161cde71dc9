//! What the clients connect to: addresses and credentials.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    hub::{Hub, PRODUCT},
    mosquitto::Broker,
    mqtt::Login,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    /// With a password.
    Tls,
    /// TLS with a client certificate and no password, for devices; applications have none and come with their key.
    Certificate,
    Ws,
    Wss,
}

impl Transport {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

enum Server {
    Hub(Box<Hub>),
    Mosquitto(Broker),
}

pub(super) struct Target {
    server: Server,
    files: TempDir,
    /// The key that all applications use.
    key: Login,
    devices: Mutex<BTreeSet<String>>,
}

impl Target {
    pub(super) fn hub() -> Self {
        let hub = Hub::start();
        hub.create_product();
        let (subscribe, publish) = (format!("{PRODUCT}/#"), format!("{PRODUCT}/+/control"));
        let made = hub.weir(&["create", "key", "app", "--subscribe", &subscribe, "--publish", &publish, "-o", "json"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key: Value = serde_json::from_slice(&made.stdout).unwrap();
        let key = login("app", "app", key["secret"].as_str().unwrap());
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), hub.weir(&["get", "ca"]).stdout).unwrap();
        Self { server: Server::Hub(Box::new(hub)), files, key, devices: Mutex::default() }
    }

    /// By TCP alone.
    pub(super) fn mosquitto() -> Self {
        let (server, files) = (Server::Mosquitto(Broker::with_password("u", "p")), tempfile::tempdir().unwrap());
        Self { server, files, key: login("app", "u", "p"), devices: Mutex::default() }
    }

    fn port(&self, transport: Transport) -> u16 {
        match (&self.server, transport) {
            (Server::Hub(hub), Transport::Tcp) => hub.mqtt_port(),
            (Server::Hub(hub), Transport::Tls | Transport::Certificate) => hub.mqtts_port(),
            (Server::Hub(hub), Transport::Ws) => hub.ws_port(),
            (Server::Hub(hub), Transport::Wss) => hub.wss_port(),
            (Server::Mosquitto(broker), Transport::Tcp) => broker.port(),
            (Server::Mosquitto(_), _) => panic!("mosquitto is started for TCP only"),
        }
    }

    /// The fields of a `connect` command that say where.
    pub(super) fn address(&self, transport: Transport) -> Value {
        let kind = if transport == Transport::Certificate { "tls" } else { transport.name() };
        let mut address = json!({"host": "127.0.0.1", "port": self.port(transport), "transport": kind});
        if ["tls", "wss"].contains(&kind) {
            address["ca"] = json!(self.file("ca.pem"));
        }
        address
    }

    /// The fields of a `connect` command that say who: a device, made when it is first asked for.
    pub(super) fn device(&self, name: &str, transport: Transport) -> Value {
        let Server::Hub(hub) = &self.server else {
            return json!({"client_id": name, "username": self.key.username, "password": self.key.password});
        };
        let is_new = self.devices.lock().unwrap().insert(name.to_owned());
        if transport == Transport::Certificate {
            if is_new {
                let arguments = ["create", "device", PRODUCT, name, "--certificate", "--out", name];
                let made = hub.command(&arguments).current_dir(self.files.path()).output().unwrap();
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            }
            let [certificate, key] = ["pem", "key"].map(|ending| self.file(&format!("{name}.{ending}")));
            return json!({"client_id": format!("{PRODUCT}{name}"), "certificate": certificate, "key": key});
        }
        let login = if is_new { hub.create_device(name) } else { hub.token(name) };
        json!({"client_id": login.client_id, "username": login.username, "password": login.password})
    }

    /// The same for an application.
    pub(super) fn application(&self, client_id: &str) -> Value {
        json!({"client_id": client_id, "username": self.key.username, "password": self.key.password})
    }

    /// The reason code of MQTT 5 for a wrong password.
    pub(super) fn refusal(&self) -> u8 {
        match self.server {
            Server::Hub(_) => 0x86,
            Server::Mosquitto(_) => 0x87,
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

fn login(client_id: &str, username: &str, password: &str) -> Login {
    Login { client_id: client_id.to_owned(), username: username.to_owned(), password: password.to_owned() }
}
