//! mosquitto's command line clients, in MQTT 3.1, 3.1.1 and 5, by password, by certificate and by pre-shared key.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Login,
};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

struct Clients {
    hub: Hub,
    files: tempfile::TempDir,
    device: Value,
    token: Login,
    version: &'static str,
}

/// How a device shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Password,
    PasswordOverTls,
    Certificate,
    Key,
}

const PROOFS: [Proof; 4] = [Proof::Password, Proof::PasswordOverTls, Proof::Certificate, Proof::Key];

impl Clients {
    fn start(version: &'static str) -> Self {
        let hub = Hub::start();
        hub.create_product();
        let device = hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": "dev"}));
        let token = hub.token("dev");
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), hub.weir(&["get", "ca"]).stdout).unwrap();
        let arguments = ["create", "certificate", PRODUCT, "dev", "--out", "dev"];
        let made = hub.command(&arguments).current_dir(files.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { hub, files, device, token, version }
    }

    fn command(&self, program: &str, port: u16, arguments: &[&str]) -> Command {
        // Line by line, even into a pipe. It replaces itself by the program, so that a kill hits that.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", program, "-V", self.version, "-h", "127.0.0.1", "-p", &port.to_string()]);
        if program == "mosquitto_sub" {
            command.args(["-W", "30"]);
        }
        command.args(arguments).current_dir(self.files.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// One of the programs as the device.
    fn device(&self, program: &str, proof: Proof, arguments: &[&str]) -> Command {
        let key = STANDARD.decode(self.device["psk"].as_str().unwrap()).unwrap();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let identity = format!("{PRODUCT}dev");
        let proved: Vec<&str> = match proof {
            Proof::Password => vec!["-u", &self.token.username, "-P", &self.token.password],
            Proof::PasswordOverTls => {
                vec!["--cafile", "ca.pem", "-u", &self.token.username, "-P", &self.token.password]
            }
            Proof::Certificate => vec!["--cafile", "ca.pem", "--cert", "dev.pem", "--key", "dev.key"],
            Proof::Key => vec!["--psk", &key, "--psk-identity", &identity],
        };
        let port = if proof == Proof::Password { self.hub.mqtt_port() } else { self.hub.mqtts_port() };
        self.command(program, port, &[&proved[..], &["-i", &identity], arguments].concat())
    }

    /// One of the programs as the administrator.
    fn application(&self, program: &str, client_id: &str, arguments: &[&str]) -> Command {
        let login = self.hub.administrator(client_id);
        let who = ["-u", &login.username, "-P", &login.password, "-i", client_id];
        self.command(program, self.hub.mqtt_port(), &[&who[..], arguments].concat())
    }

    fn topic(&self, class: &str) -> String {
        format!("{PRODUCT}/dev/{class}")
    }

    /// Waits until the device has a subscription, as `mosquitto_sub` does not say so.
    fn device_listens(&self) {
        eventually("the device listens", SOON, || {
            let session = self.hub.session("dev")?;
            (!session["subscriptions"].as_array()?.is_empty()).then_some(())
        });
    }
}

#[track_caller]
fn succeeded(output: Output) -> String {
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

fn finished(child: Child) -> String {
    succeeded(child.wait_with_output().unwrap())
}

fn round_trips(version: &'static str) {
    let clients = Clients::start(version);
    let (event, control) = (clients.topic("event"), clients.topic("control"));
    for proof in PROOFS {
        // Three messages to the device, at each QoS.
        let listening = ["-t", &control, "-q", "2", "-C", "3", "-F", "%t %q %r %p"];
        let listener = clients.device("mosquitto_sub", proof, &listening).spawn().unwrap();
        clients.device_listens();
        let mut expected = String::new();
        for qos in ["0", "1", "2"] {
            let arguments = ["-t", &control, "-q", qos, "-m", "go"];
            succeeded(clients.application("mosquitto_pub", "sender", &arguments).output().unwrap());
            expected.push_str(&format!("{control} {qos} 0 go\n"));
        }
        assert_eq!(finished(listener), expected, "{proof:?}");
        // And three from it.
        for qos in ["0", "1", "2"] {
            let arguments = ["-t", &event, "-q", qos, "-m", r#"{"n":1}"#];
            succeeded(clients.device("mosquitto_pub", proof, &arguments).output().unwrap());
        }
    }
    let expected = 3 * PROOFS.len() as u64;
    eventually("every message is in the log", SOON, || (clients.hub.count(&event) == expected).then_some(()));
}

#[test]
fn mqtt_3_1() {
    round_trips("mqttv31");
}

#[test]
fn mqtt_3_1_1() {
    round_trips("mqttv311");
}

#[test]
fn mqtt_5() {
    round_trips("mqttv5");
}

#[test]
fn sessions_wills_and_retained_messages() {
    for version in VERSIONS {
        let clients = Clients::start(version);
        let (event, control) = (clients.topic("event"), clients.topic("control"));
        let publish = |more: &[&str]| {
            let arguments = [&["-t", control.as_str(), "-q", "1"], more].concat();
            succeeded(clients.application("mosquitto_pub", "sender", &arguments).output().unwrap());
        };
        // -E: leave when subscribed. MQTT 5 keeps a session for as long as it is told.
        let persistent = if version == "mqttv5" { &["-c", "-x", "600", "-q", "1"][..] } else { &["-c", "-q", "1"] };
        let subscribe = |topic| [persistent, &["-t", topic, "-E"]].concat();
        let show = |topic, count| [persistent, &["-t", topic, "-C", count, "-F", "%p"]].concat();
        let subscribed = clients.device("mosquitto_sub", Proof::Password, &subscribe(&control)).output();
        succeeded(subscribed.unwrap());
        publish(&["-m", "while away"]);
        publish(&["-m", "kept", "-r"]);
        let shown = clients.device("mosquitto_sub", Proof::Password, &show(&control, "2")).output();
        assert_eq!(succeeded(shown.unwrap()), "while away\nkept\n", "{version}");

        // A retained message meets who subscribes, marked. The program's will is published when it is killed.
        succeeded(clients.application("mosquitto_sub", "watcher", &subscribe(&event)).output().unwrap());
        let with_will = ["-t", &control, "-q", "1", "-C", "2", "-F", "%r %p"];
        let with_will =
            [&with_will[..], &["--will-topic", &event, "--will-payload", "gone", "--will-qos", "1"]].concat();
        let mut device = clients.device("mosquitto_sub", Proof::Password, &with_will);
        let mut device = device.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(device.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "1 kept\n", "{version}");
        device.kill().unwrap();
        device.wait().unwrap();
        let watched = clients.application("mosquitto_sub", "watcher", &show(&event, "1")).output().unwrap();
        assert_eq!(succeeded(watched), "gone\n", "{version}");
    }
}

#[test]
fn properties_pass_between_the_programs() {
    let clients = Clients::start("mqttv5");
    let (event, control) = (clients.topic("event"), clients.topic("control"));
    // Content type, response topic, correlation, user properties, subscription identifier, payload.
    let listening = ["-t", &control, "-q", "1", "-C", "1", "-F", "%C|%R|%D|%P|%S|%p"];
    let listening = [&listening[..], &["-D", "subscribe", "subscription-identifier", "9"]].concat();
    let listener = clients.device("mosquitto_sub", Proof::Password, &listening).spawn().unwrap();
    clients.device_listens();
    let mut arguments = vec!["-t", &control, "-q", "1", "-m", "now"];
    for (name, value) in [("content-type", "text/plain"), ("response-topic", event.as_str()), ("correlation-data", "7")]
    {
        arguments.extend(["-D", "publish", name, value]);
    }
    arguments.extend(["-D", "publish", "user-property", "unit", "°C", "-D", "publish", "topic-alias", "1"]);
    succeeded(clients.application("mosquitto_pub", "sender", &arguments).output().unwrap());
    assert_eq!(finished(listener), format!("text/plain|{event}|7|unit:°C|9|now\n"));
}

#[test]
fn refusals_are_told() {
    let cases = [("mqttv31", "bad user name or password"), ("mqttv311", "bad user name or password")];
    for (version, expected) in [&cases[..], &[("mqttv5", "Bad User Name or Password")]].concat() {
        let clients = Clients::start(version);
        let event = clients.topic("event");
        let stranger = ["-u", "A1B2C3D4E5/dev", "-P", "wrong", "-i", "x", "-t", &event, "-m", "{}"];
        let mut command = clients.command("mosquitto_pub", clients.hub.mqtt_port(), &stranger);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(expected), "{version}: {complaint}");
    }
}
