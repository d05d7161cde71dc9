//! A hub of its own for each scenario: `weir serve` on free ports of loopback with an empty data folder.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{payload, process::Process, wire::Login};
use crate::{
    cli::{
        failure::Failure,
        hub::Hub,
        output::{items, text},
    },
    data::DataFolder,
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
    pub(super) mqtt: String,
    _folder: TempDir,
}

impl HubUnderTest {
    /// Starts a hub whose data folder is made within `place`, with `settings` (`section.key=value`).
    pub(super) async fn start(place: &std::path::Path, settings: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(place)?;
        let data = DataFolder::new(folder.path().join("data"));
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
        Ok(Self { process, api, mqtt: endpoints.mqtt, _folder: folder })
    }

    /// Makes a product with `count` devices, and says how each logs in.
    pub(super) async fn devices(&self, count: usize) -> Result<Vec<Login>> {
        self.api.post(&["products"], &json!({"id": PRODUCT})).await.map_err(plain)?;
        let made = stream::iter(0..count).map(|number| self.device(number)).buffered(REQUESTS);
        made.try_collect().await
    }

    async fn device(&self, number: usize) -> Result<Login> {
        let name = payload::device_name(number);
        self.api.post(&["products", PRODUCT, "devices"], &json!({"name": name})).await.map_err(plain)?;
        let path = ["products", PRODUCT, "devices", &name, "tokens"];
        let token = self.api.post(&path, &json!({})).await.map_err(plain)?;
        Ok(Login {
            client_id: text(&token, "client_id"),
            user: text(&token, "username"),
            password: text(&token, "password"),
        })
    }

    /// Makes a key that may hear every device.
    pub(super) async fn application(&self) -> Result<Login> {
        let body = json!({"name": "bench", "subscribe": [format!("{PRODUCT}/+/event")]});
        let key = self.api.post(&["keys"], &body).await.map_err(plain)?;
        Ok(Login { client_id: "bench".to_owned(), user: "bench".to_owned(), password: text(&key, "secret") })
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
