//! CoAP with clients that we did not write: libcoap's, in its builds with OpenSSL and with GnuTLS, and aiocoap.

mod blocks;
mod dtls;
mod network;
mod observing;

use std::{
    net::UdpSocket,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    harness::{
        hub::{Hub, PRODUCT},
        mqtt::Login,
    },
    interop::library::{installed, path_of},
};

/// A hub with the device `dev`, and a folder of what clients have.
pub(super) struct Constrained {
    hub: Hub,
    files: tempfile::TempDir,
    login: Login,
}

impl Constrained {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[&str]) -> Self {
        let hub = Hub::with(settings, None);
        hub.create_product();
        let login = hub.create_device("dev");
        Self { hub, files: tempfile::tempdir().unwrap(), login }
    }

    /// A path with the token of the device.
    fn uri(&self, port: u16, path: &str) -> String {
        format!("coap://127.0.0.1:{port}/{path}?device={PRODUCT}/dev&token={}", self.login.password)
    }

    fn here(&self, path: &str) -> String {
        self.uri(self.hub.coap_port(), path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// libcoap's client. It says what was refused on standard error, and succeeds all the same.
    fn coap(&self, arguments: &[&str]) -> String {
        said(&client("coap-client-openssl", arguments).current_dir(self.files.path()).output().unwrap())
    }

    fn aiocoap(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg("300").arg(installed("python/bin/python")).arg(path_of("aiocoap_client.py")).args(arguments);
        command
    }

    /// What a document that was published last had as its text.
    fn text(&self, topic: &str) -> Value {
        let mut rows = self.hub.query(&format!("SELECT text FROM '{PRODUCT}/{topic}'"));
        rows.pop().map_or(Value::Null, |mut row| row.remove(0))
    }
}

/// One of libcoap's clients, which waits for ten seconds.
fn client(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["300", program, "-B", "10"]).args(arguments);
    command
}

fn said(output: &Output) -> String {
    assert_ne!(output.status.code(), Some(127), "the client is not installed: `.ci/setup test` does that");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_device_publishes() {
    let coap = Constrained::start();
    let event = coap.here(&format!("{PRODUCT}/dev/event"));
    assert_eq!(coap.coap(&["-m", "post", "-t", "application/json", "-e", r#"{"n":1}"#, &event]).trim(), "");
    // Without a confirmation: it is in the log a moment later.
    assert_eq!(coap.coap(&["-N", "-m", "put", "-e", r#"{"n":2}"#, &event]).trim(), "");
    crate::harness::eventually("both are there", crate::harness::SOON, || {
        (coap.hub.count(&format!("{PRODUCT}/dev/event")) == 2).then_some(())
    });
    let rows = coap.hub.query(&format!("SELECT n, msg.protocol, msg.qos FROM '{PRODUCT}/dev/event'"));
    assert_eq!(rows, [[json!(1), json!("coap"), json!(1)], [json!(2), json!("coap"), json!(0)]]);
    // The device is online, as by any other protocol, and its coming is a message.
    let session = coap.hub.session("dev").unwrap();
    assert_eq!(session["protocol"], "coap");
    assert!(coap.hub.count(&format!("$state/report/{PRODUCT}/dev")) > 0);
}

#[test]
fn refusals_say_what_is_wrong() {
    let coap = Constrained::start();
    let (port, path) = (coap.hub.coap_port(), format!("{PRODUCT}/dev/event"));
    let check = |uri: &str, code: &str| {
        let said = coap.coap(&["-m", "post", "-e", "{}", uri]);
        assert!(said.starts_with(code), "{uri}: {said}");
    };
    check(&format!("coap://127.0.0.1:{port}/{path}"), "4.01");
    check(&format!("coap://127.0.0.1:{port}/{path}?token=wrong"), "4.01");
    check(&coap.here(&format!("{PRODUCT}/other/event")), "4.03");
    check(&coap.here(&format!("{PRODUCT}/dev/control")), "4.03");
    check(&coap.here("shadow"), "4.00");
    assert_eq!(coap.coap(&["-m", "get", &coap.here(&path)]).get(..4), Some("4.05"));
    assert_eq!(coap.hub.count(&format!("{PRODUCT}/+/event")), 0);
    // A device that is disabled is told so from then on.
    coap.coap(&["-m", "post", "-e", "{}", &coap.here(&path)]);
    let mut disable = coap.hub.command(&["disable", "device", PRODUCT, "dev"]);
    assert!(disable.output().unwrap().status.success());
    check(&coap.here(&path), "4.03");
}

#[test]
fn what_there_is_can_be_found() {
    let coap = Constrained::start();
    let well_known = format!("coap://127.0.0.1:{}/.well-known/core", coap.hub.coap_port());
    assert!(coap.coap(&["-m", "get", &well_known]).contains("</shadow>;rt=\"weir.shadow\";ct=50"));
}

#[test]
fn a_shadow_is_put_and_got() {
    let coap = Constrained::start();
    let shadow = coap.here("shadow");
    let said = coap.coap(&["-m", "put", "-e", r#"{"state":{"reported":{"a":1}}}"#, &shadow]);
    let changed: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(changed["state"]["reported"], json!({"a": 1}));
    coap.hub
        .request(reqwest::Method::PATCH, &format!("/v1/products/{PRODUCT}/devices/dev/shadow"))
        .json(&json!({"state": {"desired": {"b": 2}}}))
        .send()
        .unwrap();
    let got: Value = serde_json::from_str(&coap.coap(&["-m", "get", &shadow])).unwrap();
    assert_eq!(got["state"], json!({"reported": {"a": 1}, "desired": {"b": 2}, "delta": {"b": 2}}));
    let merged = coap.coap(&["-m", "post", "-e", r#"{"state":{"reported":{"b":2}}}"#, &shadow]);
    assert_eq!(serde_json::from_str::<Value>(&merged).unwrap()["state"]["reported"], json!({"a": 1, "b": 2}));
}

#[test]
fn hostile_datagrams_leave_the_hub_alive_and_nothing_behind() {
    let coap = Constrained::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", coap.hub.coap_port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let send = |datagram: &[u8]| {
        socket.send(datagram).unwrap();
        let _whatever_comes = socket.recv(&mut [0; 2_048]);
    };
    // A query of about 1.1 kB and a block option: one of these ended a server that was built on a library for blocks.
    for padding in 1_110..1_150_usize {
        let mut datagram = vec![0x40, 0x03, 0, 1, 0xb1, b'a'];
        let mut left = padding;
        let mut delta = 4 << 4;
        while left > 0 {
            let length = left.min(255);
            match length {
                0..13 => datagram.push(delta | length as u8),
                _ => datagram.extend([delta | 13, (length - 13) as u8]),
            }
            datagram.extend(std::iter::repeat_n(b'x', length));
            (left, delta) = (left - length, 0);
        }
        datagram.extend([0xc1, 0x0e, 0xff]);
        datagram.extend([0; 64]);
        send(&datagram);
    }
    // Beginnings of messages, and what is none.
    for length in 0..40 {
        send(&vec![0xff; length]);
        send(&vec![0x40; length]);
        let mut datagram = vec![0x4f, 0x01, 0, 1];
        datagram.resize(4 + length, 0xd0);
        send(&datagram);
    }
    send(&vec![0x50; 60_000]);
    assert_eq!(coap.hub.metric("weir_connections"), 0.0);
    assert_eq!(coap.coap(&["-m", "post", "-e", "{}", &coap.here(&format!("{PRODUCT}/dev/event"))]).trim(), "");
}
