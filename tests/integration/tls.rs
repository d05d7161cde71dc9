//! MQTT over TLS with mosquitto's clients: a password, a certificate of the hub's authority, or the device's key.

mod authorities;
mod certificates;
mod names;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
};

/// What the vendor's C SDK offers, and nothing else.
const VENDOR_SUITE: [&str; 4] = ["--ciphers", "PSK-AES128-CBC-SHA", "--tls-version", "tlsv1.2"];

/// A hub with the device `dev`, and a folder of what clients have.
struct Encrypted {
    hub: Hub,
    files: tempfile::TempDir,
    /// The device as the hub made it.
    device: Value,
}

impl Encrypted {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[&str]) -> Self {
        let hub = Hub::with(settings, None);
        hub.create_product();
        let device = hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": "dev"}));
        let this = Self { hub, files: tempfile::tempdir().unwrap(), device };
        fs::write(this.file("ca.pem"), this.weir(&["get", "ca"]).stdout).unwrap();
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A command beside the files, which must succeed.
    fn weir(&self, arguments: &[&str]) -> Output {
        let output = self.hub.command(arguments).current_dir(self.files.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// One of mosquitto's clients at `host`, beside the files.
    fn client(&self, program: &str, host: &str, arguments: &[&str]) -> Command {
        let port = self.hub.mqtts_port().to_string();
        let mut command = Command::new("timeout");
        command.args(["30", program, "-h", host, "-p", &port, "-q", "1"]).args(arguments);
        command.current_dir(self.files.path()).stdin(Stdio::null());
        command
    }

    /// Publishes a message of the device. Gives what the client complained of, if it was not acknowledged.
    fn publish(&self, payload: &str, arguments: &[&str]) -> Result<(), String> {
        let topic = format!("{PRODUCT}/dev/event");
        let message = ["-t", topic.as_str(), "-m", payload];
        let output = self.client("mosquitto_pub", "127.0.0.1", &[&message, arguments].concat()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(format!("{}: {said}", output.status)) }
    }

    /// Publishes with a pre-shared key.
    fn publish_by_key(&self, payload: &str, key: &[u8], identity: &str, arguments: &[&str]) -> Result<(), String> {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.publish(payload, &[&["--psk", &key, "--psk-identity", identity], arguments].concat())
    }

    /// A client that stays connected as `device` with this certificate, once it listens.
    fn subscriber(&self, certificate: &str, key: &str, device: &str) -> Child {
        let topic = format!("{PRODUCT}/{device}/control");
        let own = ["--cafile", "ca.pem", "--cert", certificate, "--key", key, "-t", &topic];
        let child = self.client("mosquitto_sub", "localhost", &own).stderr(Stdio::null()).spawn().unwrap();
        eventually("it listens", SOON, || {
            let session = self.hub.session(device)?;
            (!session["subscriptions"].as_array()?.is_empty()).then_some(())
        });
        child
    }

    /// Waits until the hub has ended a device's connection, and ends the client, which would try again.
    fn put_out(&self, device: &str, client: Child) {
        eventually("it is put out", SOON, || self.hub.session(device).is_none().then_some(()));
        end(client);
    }

    fn key(&self) -> Vec<u8> {
        STANDARD.decode(self.device["psk"].as_str().unwrap()).unwrap()
    }

    /// Everything that the device has published, in order.
    fn published(&self) -> Vec<String> {
        let rows = self.hub.query(&format!("SELECT n FROM '{PRODUCT}/dev/event'"));
        rows.iter().map(|row| row[0].to_string()).collect()
    }

    fn refused(&self, reason: &str, times: f64) {
        let metric = format!(r#"weir_refused_total{{operation="mqtt_tls",reason="{reason}"}}"#);
        eventually(&format!("{times} {reason}"), SOON, || (self.hub.metric(&metric) >= times).then_some(()));
    }
}

#[test]
fn a_token_works_over_tls_and_the_client_checks_the_hub() {
    let tls = Encrypted::start();
    let token = tls.hub.post(&format!("/v1/products/{PRODUCT}/devices/dev/tokens"), &json!({}));
    assert_eq!(token["tls"], json!({"host": "127.0.0.1", "port": tls.hub.mqtts_port()}));
    let (user, password) = (token["username"].as_str().unwrap(), token["password"].as_str().unwrap());
    let login = ["-u", user, "-P", password];
    tls.publish(r#"{"n":1}"#, &[&["--cafile", "ca.pem"], &login[..]].concat()).unwrap();
    assert_eq!(tls.published(), ["1"]);

    // What `weir device connect` prints works as it is.
    let printed = String::from_utf8(tls.weir(&["device", "connect", PRODUCT, "dev"]).stdout).unwrap();
    let line = printed.lines().find_map(|line| line.strip_prefix("By TLS:")).unwrap();
    let programs = crate::harness::hub::program().parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    tls.hub.introduce(&mut bash);
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let pasted = bash.args(["-euc", line]).current_dir(tls.files.path()).env("PATH", path).output().unwrap();
    assert!(pasted.status.success(), "{line}: {}", String::from_utf8_lossy(&pasted.stderr));
    assert_eq!(tls.hub.count(&format!("{PRODUCT}/dev/event")), 2);

    // Nobody proved anything yet, so a password is asked for.
    tls.publish("{}", &["--cafile", "ca.pem"]).unwrap_err();
    tls.publish("{}", &["--cafile", "ca.pem", "-u", user, "-P", "wrong"]).unwrap_err();
    // A client that trusts another authority does not even say its password.
    let other = Encrypted::start();
    let elsewhere = other.file("ca.pem");
    let refusal = tls.publish("{}", &[&["--cafile", elsewhere.to_str().unwrap()], &login[..]].concat()).unwrap_err();
    assert!(refusal.contains("TLS error"), "{refusal}");
    tls.refused("handshake_failed", 1.0);
    assert_eq!(tls.hub.count(&format!("{PRODUCT}/dev/event")), 2);
}

#[test]
fn a_certificate_of_the_hub_needs_no_password() {
    let tls = Encrypted::start();
    tls.weir(&["create", "certificate", PRODUCT, "dev", "--out", "dev"]);
    let own = ["--cafile", "ca.pem", "--cert", "dev.pem", "--key", "dev.key"];
    for version in ["tlsv1.2", "tlsv1.3"] {
        tls.publish(r#"{"n":1}"#, &[&own[..], &["--tls-version", version]].concat()).unwrap();
    }
    tls.publish(r#"{"n":2}"#, &[&own[..], &["-i", &format!("{PRODUCT}dev")]].concat()).unwrap();
    assert_eq!(tls.published(), ["1", "1", "2"]);

    tls.weir(&["create", "device", PRODUCT, "second", "--certificate", "--out", "second"]);
    let second = ["--cafile", "ca.pem", "--cert", "second.pem", "--key", "second.key", "-m", "{}"];
    let topic = format!("{PRODUCT}/second/event");
    let mut second = tls.client("mosquitto_pub", "127.0.0.1", &[&second[..], &["-t", &topic]].concat());
    assert!(second.output().unwrap().status.success());
    assert_eq!(tls.hub.count(&topic), 1);

    // It reads what it is told, too.
    let topic = format!("{PRODUCT}/dev/control");
    let mut subscriber = tls.client("mosquitto_sub", "localhost", &[&own[..], &["-t", &topic, "-C", "1"]].concat());
    let subscriber = subscriber.stdout(Stdio::piped()).spawn().unwrap();
    eventually("it listens", SOON, || {
        let session = tls.hub.session("dev")?;
        (!session["subscriptions"].as_array()?.is_empty()).then_some(())
    });
    tls.hub.post("/v1/publish", &json!({"topic": topic, "payload": "on", "qos": 1}));
    assert_eq!(subscriber.wait_with_output().unwrap().stdout, b"on\n");

    // Another name than the certificate's is refused, and so is another device's topic.
    tls.publish("{}", &[&own[..], &["-i", &format!("{PRODUCT}other")]].concat()).unwrap_err();
    let foreign = format!("{PRODUCT}/other/event");
    let mut foreign = tls.client("mosquitto_pub", "127.0.0.1", &[&own[..], &["-t", &foreign, "-m", "x"]].concat());
    assert!(!foreign.output().unwrap().status.success());

    // One that another hub made is worth nothing here.
    let other = Encrypted::start();
    other.weir(&["create", "certificate", PRODUCT, "dev", "--out", "dev"]);
    let [certificate, key] = ["dev.pem", "dev.key"].map(|name| other.file(name).display().to_string());
    tls.publish("{}", &["--cafile", "ca.pem", "--cert", &certificate, "--key", &key]).unwrap_err();

    assert!(tls.hub.weir(&["disable", "device", PRODUCT, "dev"]).status.success());
    let refusal = tls.publish("{}", &own).unwrap_err();
    assert!(refusal.contains("not authorised"), "{refusal}");
    assert_eq!(tls.published().len(), 3);
}

#[test]
fn a_device_connects_by_its_key_alone() {
    let tls = Encrypted::start();
    let (key, identity) = (tls.key(), format!("{PRODUCT}dev"));
    tls.publish_by_key(r#"{"n":1}"#, &key, &identity, &VENDOR_SUITE).unwrap();
    // As the vendor's C SDK: a user name, no password.
    let vendor = ["-i", &identity, "-u", &format!("{identity};12010126;Ab3dE;4102444800")];
    tls.publish_by_key(r#"{"n":2}"#, &key, &identity, &[&VENDOR_SUITE[..], &vendor].concat()).unwrap();
    tls.publish_by_key(r#"{"n":3}"#, &key, &identity, &["--tls-version", "tlsv1.2"]).unwrap();
    assert_eq!(tls.published(), ["1", "2", "3"]);

    tls.publish_by_key("{}", b"another key here", &identity, &VENDOR_SUITE).unwrap_err();
    tls.publish_by_key("{}", &key, &format!("{PRODUCT}other"), &VENDOR_SUITE).unwrap_err();
    tls.refused("psk_refused", 2.0);
    tls.publish_by_key("{}", &key, &identity, &[&VENDOR_SUITE[..], &["-i", "A1B2C3D4E5other"]].concat()).unwrap_err();

    assert!(tls.hub.weir(&["disable", "device", PRODUCT, "dev"]).status.success());
    tls.publish_by_key("{}", &key, &identity, &VENDOR_SUITE).unwrap_err();
    tls.refused("psk_refused", 3.0);
    assert!(tls.hub.weir(&["enable", "device", PRODUCT, "dev"]).status.success());
    tls.publish_by_key(r#"{"n":4}"#, &key, &identity, &VENDOR_SUITE).unwrap();
    assert_eq!(tls.published().len(), 4);
}

#[test]
fn only_what_is_encrypted_leaves_loopback() {
    let tls = Encrypted::with(&["listen.address=0.0.0.0", "listen.name=hub.example.org"]);
    // The whole of 127.0.0.0/8 is this machine, but only what listens on every address is found at 127.0.0.2.
    std::net::TcpStream::connect(("127.0.0.2", tls.hub.mqtts_port())).unwrap();
    std::net::TcpStream::connect(("127.0.0.1", tls.hub.mqtt_port())).unwrap();
    std::net::TcpStream::connect(("127.0.0.2", tls.hub.mqtt_port())).unwrap_err();
    let token = tls.hub.post(&format!("/v1/products/{PRODUCT}/devices/dev/tokens"), &json!({}));
    assert_eq!(token["host"], "127.0.0.1");
    assert_eq!(token["tls"]["host"], "hub.example.org");
}

#[test]
fn a_certificate_of_ones_own_is_read_again_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("own.pem"), files.path().join("own.key"));
    make_certificate(files.path(), &certificate, &key);
    let settings = [format!("tls.certificate={}", certificate.display()), format!("tls.private_key={}", key.display())];
    let tls = Encrypted::with(&[&settings[0], &settings[1]]);
    let administrator = tls.hub.administrator("a");
    let publish = |trusted: &Path| {
        let login = ["-u", &administrator.username, "-P", &administrator.password];
        tls.publish("{}", &[&["--cafile", trusted.to_str().unwrap()], &login[..]].concat())
    };
    publish(&certificate).unwrap();

    let old = files.path().join("old.pem");
    fs::copy(&certificate, &old).unwrap();
    make_certificate(files.path(), &certificate, &key);
    publish(&old).unwrap();
    let endpoints: Value = serde_json::from_slice(&fs::read(tls.hub.data().join("endpoints.json")).unwrap()).unwrap();
    let pid = endpoints["pid"].to_string();
    assert!(Command::new("sh").args(["-c", "kill -HUP $0", &pid]).status().unwrap().success());
    eventually("the new certificate is shown", SOON, || publish(&certificate).ok());
    publish(&old).unwrap_err();
}

/// Ends a client and the `timeout` around it.
fn end(mut client: Child) {
    let _may_have_ended = Command::new("sh").args(["-c", "kill $0", &client.id().to_string()]).output().unwrap();
    client.wait().unwrap();
}

/// A certificate for 127.0.0.1 that vouches for itself.
fn make_certificate(folder: &Path, certificate: &Path, key: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let output = openssl.arg("-out").arg(certificate).arg("-keyout").arg(key).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
