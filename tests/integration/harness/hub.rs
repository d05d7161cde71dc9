//! A hub of one's own: the `weir` program on free ports and a temporary folder, killed and removed when it is dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Once,
    time::Duration,
};

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder, Response},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SOON, eventually, mqtt::Login, powerloss::Powerloss};

pub(crate) const PRODUCT: &str = "A1B2C3D4E5";

/// The program, as cargo built it.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("weir");
    assert!(program.exists(), "{} is not there: build it by `cargo build --workspace`", program.display());
    program
}

pub(crate) struct Hub {
    folder: TempDir,
    settings: Vec<String>,
    powerloss: Option<Powerloss>,
    process: Child,
    client: Client,
    http: String,
    mqtt_port: u16,
    mqtts_port: u16,
    ws_port: u16,
    wss_port: u16,
    key: String,
}

impl Hub {
    pub(crate) fn start() -> Self {
        Self::with(&[], None)
    }

    /// Starts with settings as `section.key=value`, on storage that forgets if `powerloss`.
    pub(crate) fn with(settings: &[&str], powerloss: Option<Powerloss>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let process = spawn(folder.path(), &settings, powerloss.as_ref());
        let mut hub = Self {
            folder,
            settings,
            powerloss,
            process,
            client: http_client(),
            http: String::new(),
            mqtt_port: 0,
            mqtts_port: 0,
            ws_port: 0,
            wss_port: 0,
            key: String::new(),
        };
        hub.wait_until_it_serves();
        hub
    }

    fn wait_until_it_serves(&mut self) {
        let file = self.data().join("endpoints.json");
        let endpoints = eventually("the hub serves", SOON, || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the hub ended with {status}: {}", self.log());
            }
            let endpoints: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            (endpoints["pid"] == self.process.id()).then_some(endpoints)
        });
        self.http = endpoints["http"].as_str().unwrap().to_owned();
        let port = |listener: &str| endpoints[listener].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        self.mqtt_port = port("mqtt");
        self.mqtts_port = port("mqtts");
        self.ws_port = port("ws");
        self.wss_port = port("wss");
        self.key = fs::read_to_string(self.data().join("admin.key")).unwrap().trim_end().to_owned();
        let healthy =
            || self.client.get(format!("{}/healthz", self.http)).send().ok()?.status().is_success().then_some(());
        eventually("the hub is healthy", SOON, healthy);
    }

    /// kill -9, and on storage that forgets, the power goes too.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        if let Some(powerloss) = &self.powerloss {
            powerloss.rewind(&self.data());
        }
    }

    /// kill -9 while others still speak to it. To be followed by [`Self::kill`].
    pub(crate) fn kill_now(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -KILL $0", &pid]).status().unwrap().success());
    }

    /// Starts again on the same data, after [`Self::kill`] or [`Self::terminate`].
    pub(crate) fn restart(&mut self) {
        let _left_by_a_kill = fs::remove_file(self.data().join("endpoints.json"));
        self.process = spawn(self.folder.path(), &self.settings, self.powerloss.as_ref());
        self.wait_until_it_serves();
    }

    /// Asks the hub to end, and waits.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status().unwrap().success());
        eventually("the hub has ended", SOON, || self.process.try_wait().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn mqtt_port(&self) -> u16 {
        self.mqtt_port
    }

    pub(crate) fn mqtts_port(&self) -> u16 {
        self.mqtts_port
    }

    pub(crate) fn ws_port(&self) -> u16 {
        self.ws_port
    }

    pub(crate) fn wss_port(&self) -> u16 {
        self.wss_port
    }

    /// What the hub has written about itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("hub.log")).unwrap_or_default()
    }

    // === the command line ===

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        self.introduce(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Makes this hub the one that a command, and whatever it starts, speaks to.
    pub(crate) fn introduce(&self, command: &mut Command) {
        clear_settings(command);
        command.env("WEIR_DATA", self.data());
    }

    pub(crate) fn weir(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    // === the REST API ===

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_by(&self.key, method, path)
    }

    /// The same with another key, `NAME:SECRET`.
    pub(crate) fn request_by(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.http)).bearer_auth(key)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        accepted(self.request(Method::GET, path)).json().unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        accepted(self.request(Method::POST, path).json(body)).json().unwrap()
    }

    pub(crate) fn apply(&self, script: &str) {
        accepted(self.request(Method::POST, "/v1/apply").body(script.to_owned()));
    }

    pub(crate) fn create_product(&self) {
        self.post("/v1/products", &json!({"id": PRODUCT}));
    }

    /// Makes a device, and a token for it.
    pub(crate) fn create_device(&self, name: &str) -> Login {
        self.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": name}));
        self.token(name)
    }

    /// Makes another token for a device.
    pub(crate) fn token(&self, name: &str) -> Login {
        let token = self.post(&format!("/v1/products/{PRODUCT}/devices/{name}/tokens"), &json!({}));
        let text = |field: &str| token[field].as_str().unwrap().to_owned();
        Login { client_id: text("client_id"), username: text("username"), password: text("password") }
    }

    /// The administrator's key as an MQTT login.
    pub(crate) fn administrator(&self, client_id: &str) -> Login {
        let (name, secret) = self.key.split_once(':').unwrap();
        Login { client_id: client_id.to_owned(), username: name.to_owned(), password: secret.to_owned() }
    }

    /// The rows that a query gives.
    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let answer = self.post("/v1/query", &json!({"sql": sql}));
        serde_json::from_value(answer["rows"].clone()).unwrap()
    }

    pub(crate) fn count(&self, filter: &str) -> u64 {
        self.query(&format!("SELECT count(*) FROM '{filter}'"))[0][0].as_u64().unwrap()
    }

    /// The state of a rule's action: its ledger, whose equations are checked whenever anybody looks.
    pub(crate) fn action(&self, rule: &str, action: u64) -> Value {
        let status = self.get(&format!("/v1/rules/{rule}"));
        let actions = status["actions"].as_array().unwrap();
        let found = actions.iter().find(|state| state["action"] == action);
        let state = found.unwrap_or_else(|| panic!("{rule} has no action {action}: {status}")).clone();
        let value = |field: &str| state[field].as_u64().unwrap_or_else(|| panic!("no {field} in {state}"));
        let sum = |fields: &[&str]| fields.iter().map(|field| value(field)).sum::<u64>();
        assert_eq!(value("produced"), sum(&["delivered", "dead_lettered", "expired", "pending"]), "{state}");
        assert_eq!(value("read"), sum(&["matched", "unmatched", "failed"]), "{state}");
        state
    }

    /// The session of a device, if it is connected, with its ledger checked.
    pub(crate) fn session(&self, device: &str) -> Option<Value> {
        let described = self.get(&format!("/v1/products/{PRODUCT}/devices/{device}"));
        let session = described["session"].as_object()?;
        let value = |field: &str| session[field].as_u64().unwrap();
        assert_eq!(value("enqueued"), value("acknowledged") + value("dropped") + value("pending"), "{session:?}");
        Some(described["session"].clone())
    }

    /// The value of a metric's line, such as `weir_refused_total{operation="publish",reason="forbidden"}`; 0 if there is none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.client.get(format!("{}/metrics", self.http)).send().unwrap().text().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _no_more_to_do = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(8_000).map_or(0, |(index, _)| index);
            eprintln!("=== the hub's log ends:\n{}", log.get(start..).unwrap_or_default());
        }
    }
}

/// Settings in the environment of whoever runs the tests are not the test's.
fn clear_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("WEIR_")) {
            command.env_remove(name);
        }
    }
}

fn spawn(folder: &Path, settings: &[String], powerloss: Option<&Powerloss>) -> Child {
    let data = folder.join("data");
    let log = File::options().create(true).append(true).open(folder.join("hub.log")).unwrap();
    let mut command = Command::new(program());
    clear_settings(&mut command);
    command.arg("serve").arg("--data").arg(&data).args(["--set", "listen.mqtt_port=0"]);
    command.args(["--set", "tls.mqtt_port=0", "--set", "admin.port=0"]);
    command.args(["--set", "listen.ws_port=0", "--set", "tls.ws_port=0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    if let Some(powerloss) = powerloss {
        powerloss.preload(&mut command, &data);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

pub(crate) fn http_client() -> Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30)).build().unwrap()
}

fn accepted(request: RequestBuilder) -> Response {
    let response = request.send().unwrap();
    let (status, url) = (response.status(), response.url().clone());
    if status.is_success() { response } else { panic!("{url} answered {status}: {}", response.text().unwrap()) }
}

/// What a command that succeeds prints.
pub(crate) fn weir(hub: &Hub, arguments: &[&str]) -> String {
    let output = hub.weir(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says.
pub(crate) fn refused(hub: &Hub, arguments: &[&str]) -> String {
    let output = hub.weir(arguments);
    assert!(!output.status.success(), "{arguments:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}
