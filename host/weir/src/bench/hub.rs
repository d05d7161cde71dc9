//! A hub of its own for each scenario: `weir serve` on free ports of loopback with an empty data folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_store::Store;

use super::{payload, process::Process, wire::Login};
use crate::{
    cli::{
        failure::Failure,
        hub::Hub,
        output::{items, text},
    },
    data::{DataFolder, Endpoints},
};

pub(super) const PRODUCT: &str = "BENCH00001";
/// The rates that the load would be measured by, instead of the hub.
const UNLIMITED: [&str; 4] = [
    "limits.device_messages_per_second=0",
    "limits.device_bytes_per_second=0",
    "limits.connects_per_second=0",
    "limits.connects_per_second_per_address=0",
];
/// Requests at once while devices are made.
const REQUESTS: usize = 16;
/// How long rules may take to finish what was published.
const RULES_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct HubUnderTest {
    // Fields are dropped in order: the process ends before its folder goes.
    pub(super) process: Process,
    api: Hub,
    pub(super) endpoints: Endpoints,
    data: DataFolder,
    _folder: TempDir,
}

/// How a device that has a key of its own (PSK) proves who it is.
#[derive(Debug, Clone)]
pub(super) struct DeviceKey {
    pub(super) identity: String,
    pub(super) key: Vec<u8>,
}

impl HubUnderTest {
    /// Starts a hub whose data folder is made within `place`, with `settings` (`section.key=value`).
    pub(super) async fn start(place: &Path, settings: &[String]) -> Result<Self> {
        Self::start_after(place, settings, async |_| Ok(())).await
    }

    /// The same, and `prepare` may put something into its store before.
    pub(super) async fn start_after(
        place: &Path,
        settings: &[String],
        prepare: impl AsyncFnOnce(&Store) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(place)?;
        let data = DataFolder::new(folder.path().join("data"));
        data.create()?;
        let store = Store::open(data.path())?;
        prepare(&store).await?;
        store.close().await;
        drop(store);
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        // What the user has set for other hubs must not change this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(name);
            }
        }
        command.args([
            "serve",
            "--mqtt-port",
            "0",
            "--mqtts-port",
            "0",
            "--ws-port",
            "0",
            "--wss-port",
            "0",
            "--admin-port",
            "0",
            "--log-level",
            "warn",
            "--data",
        ]);
        command.arg(data.path());
        // A device of the load stands for many, and sends what it can; the user's settings come after and win.
        for unlimited in UNLIMITED {
            command.args(["--set", unlimited]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process = Process::start("weir", &mut command, folder.path())?;
        let endpoints = process.wait_for(async || data.endpoints().ok().flatten()).await?;
        let key = data.admin_key()?.context("the hub made no administrator's key")?;
        let api = Hub::new(&endpoints.http, Some(endpoints.mqtt.clone()), key, String::new()).map_err(plain)?;
        Ok(Self { process, api, endpoints, data, _folder: folder })
    }

    /// The certificate of its authority, and the certificate and key that it shows.
    pub(super) fn tls_files(&self) -> [PathBuf; 3] {
        ["ca.pem", "server.pem", "server.key"].map(|name| self.data.tls().join(name))
    }

    /// Makes a product with `count` devices, and says how each logs in.
    pub(super) async fn devices(&self, count: usize) -> Result<Vec<Login>> {
        self.product().await?;
        let made = stream::iter(0..count).map(|number| self.device_with_token(number)).buffered(REQUESTS);
        made.try_collect().await
    }

    /// The same for devices that have a key and no password.
    pub(super) async fn devices_with_keys(&self, count: usize) -> Result<Vec<(Login, DeviceKey)>> {
        self.product().await?;
        let made = stream::iter(0..count).map(|number| self.device_with_key(number)).buffered(REQUESTS);
        made.try_collect().await
    }

    /// Makes a key that may change every shadow, and `count` clients that log in with it.
    pub(super) async fn shadow_writers(&self, count: usize) -> Result<Vec<Login>> {
        let body = json!({"name": "bench", "publish": [format!("$shadow/operation/{PRODUCT}/+")]});
        let key = self.api.post(&["keys"], &body).await.map_err(plain)?;
        let secret = text(&key, "secret");
        Ok((0..count).map(|number| application(number, &secret)).collect())
    }

    /// Asks for changes of shadows, which all must be done.
    pub(super) async fn change_shadows(&self, updates: Vec<Value>) -> Result<()> {
        let answer = self.api.post(&["shadows"], &json!({"updates": updates})).await.map_err(plain)?;
        let refused = items(&answer).iter().find(|item| item.get("version").is_none());
        ensure!(refused.is_none(), "a change was refused: {refused:?}");
        Ok(())
    }

    /// Waits until what was asked of shadows before is applied: a change of one is asked until it was in time.
    pub(super) async fn settle_shadows(&self, device: &str) -> Result<()> {
        let update = json!({"product": PRODUCT, "device": device, "state": {"desired": {"end": true}}});
        loop {
            let answer = self.api.post(&["shadows"], &json!({"updates": [update]})).await.map_err(plain)?;
            let answer = items(&answer).first().cloned().unwrap_or_default();
            match answer.pointer("/error/kind").and_then(Value::as_str) {
                None => return Ok(()),
                // It said that it will be.
                Some("unavailable") => {}
                Some(_) => bail!("a change was refused: {answer}"),
            }
        }
    }

    /// Runs a query, and says how many rows it found.
    pub(super) async fn query(&self, sql: &str) -> Result<usize> {
        let found = self.api.post(&["query"], &json!({"sql": sql})).await.map_err(plain)?;
        let rows = found.get("rows").and_then(Value::as_array).context("the query has no rows")?;
        Ok(rows.len())
    }

    async fn product(&self) -> Result<()> {
        self.api.post(&["products"], &json!({"id": PRODUCT})).await.map_err(plain)?;
        Ok(())
    }

    async fn device(&self, name: &str) -> Result<Value> {
        self.api.post(&["products", PRODUCT, "devices"], &json!({"name": name})).await.map_err(plain)
    }

    async fn device_with_key(&self, number: usize) -> Result<(Login, DeviceKey)> {
        let name = payload::device_name(number);
        let device = self.device(&name).await?;
        let key = STANDARD.decode(text(&device, "psk")).context("the hub made a key that is not Base64")?;
        // As the vendor's C SDK names itself, in the handshake and in CONNECT.
        let identity = format!("{PRODUCT}{name}");
        let login = Login { client_id: identity.clone(), user: String::new(), password: String::new() };
        Ok((login, DeviceKey { identity, key }))
    }

    async fn device_with_token(&self, number: usize) -> Result<Login> {
        let name = payload::device_name(number);
        self.device(&name).await?;
        let path = ["products", PRODUCT, "devices", &name, "tokens"];
        let token = self.api.post(&path, &json!({})).await.map_err(plain)?;
        Ok(Login {
            client_id: text(&token, "client_id"),
            user: text(&token, "username"),
            password: text(&token, "password"),
        })
    }

    /// Makes a key that may hear every device, and `count` clients that log in with it.
    pub(super) async fn applications(&self, count: usize) -> Result<Vec<Login>> {
        let body = json!({"name": "bench", "subscribe": [format!("{PRODUCT}/+/event")]});
        let key = self.api.post(&["keys"], &body).await.map_err(plain)?;
        let secret = text(&key, "secret");
        Ok((0..count).map(|number| application(number, &secret)).collect())
    }

    pub(super) async fn apply(&self, script: String) -> Result<()> {
        self.api.post_text(&["apply"], script).await.map_err(plain)?;
        Ok(())
    }

    /// Waits until every rule has read `published` messages and delivered what it made of them; then checks that the
    /// first made `hot` rows and the others none.
    pub(super) async fn settle(&self, rules: usize, published: u64, hot: u64) -> Result<()> {
        if rules == 0 {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let list = self.api.get(&["rules"]).await.map_err(plain)?;
            let actions: Vec<(String, Action)> = items(&list).iter().map(action).collect::<Result<_>>()?;
            ensure!(actions.len() == rules, "the hub runs {} rules instead of {rules}", actions.len());
            if actions.iter().all(|(_, action)| action.read >= published && action.pending == 0) {
                return check(&actions, published, hot);
            }
            if began.elapsed() > RULES_TIMEOUT {
                bail!("the rules did not finish in {RULES_TIMEOUT:?}: {actions:?}");
            }
            // Seldom enough to cost nothing beside what is measured.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(super) fn application(number: usize, secret: &str) -> Login {
    Login { client_id: format!("bench{number:05}"), user: "bench".to_owned(), password: secret.to_owned() }
}

/// The counters of a rule's only action.
#[derive(Debug)]
struct Action {
    read: u64,
    matched: u64,
    delivered: u64,
    pending: u64,
}

fn action(rule: &Value) -> Result<(String, Action)> {
    let action = rule.get("actions").and_then(|actions| actions.get(0)).context("a rule has no action")?;
    let count = |key: &str| action.get(key).and_then(Value::as_u64).with_context(|| format!("a rule has no {key}"));
    let (read, matched) = (count("read")?, count("matched")?);
    let (delivered, pending) = (count("delivered")?, count("pending")?);
    Ok((text(rule, "name"), Action { read, matched, delivered, pending }))
}

fn check(actions: &[(String, Action)], published: u64, hot: u64) -> Result<()> {
    for (name, Action { read, matched, delivered, .. }) in actions {
        let expected = if name == RULE { hot } else { 0 };
        ensure!(
            *read == published && *matched == expected && *delivered == expected,
            "rule {name} read {read}, matched {matched} and delivered {delivered} of {published} messages, \
             of which {expected} match"
        );
    }
    Ok(())
}

/// The rule that matches.
pub(super) const RULE: &str = "hot";

/// `count` rules over every device's events: the first republishes what has `temp > 30`; the others ask something else
/// each, and nothing matches them.
pub(super) fn script(count: usize) -> String {
    let mut script = String::new();
    for number in 0..count {
        let (name, condition) = match number {
            0 => (RULE.to_owned(), "temp > 30".to_owned()),
            _ => (format!("cold_{number}"), cold(number)),
        };
        script.push_str(&format!(
            "CREATE RULE {name} TO republish(topic => '{PRODUCT}/sink/control') \
             AS SELECT temp FROM '{PRODUCT}/+/event' WHERE {condition};\n"
        ));
    }
    script
}

/// A condition like no other, which no payload meets.
fn cold(number: usize) -> String {
    match number % 6 {
        0 => format!("temp > {}", 100 + number),
        1 => format!("hum > {}", 100 + number),
        2 => format!("batt < -{number}"),
        3 => format!("pos.lat > {}", 90 + number),
        4 => format!("vals[0] > {}", 1_000 + number),
        _ => format!("status = 'failed_{number}'"),
    }
}

fn plain(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Refused { message, .. } | Failure::Usage(message) | Failure::Unreachable { message, .. } => {
            anyhow!("the hub under test: {message}")
        }
        Failure::ClosedPipe => anyhow!("the hub under test: closed pipe"),
    }
}
