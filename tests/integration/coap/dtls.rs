//! CoAP over DTLS: keys and certificates on one port.

use std::{
    ffi::{OsStr, OsString},
    net::UdpSocket,
    os::unix::ffi::OsStringExt,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Constrained, client, network::Lossy, observing::Observer, said};
use crate::harness::{SOON, eventually, hub::PRODUCT};

/// Suites that devices have, by OpenSSL's names.
const SUITES: [&str; 9] = [
    "PSK-AES128-CCM8",
    "PSK-AES128-CCM",
    "PSK-AES128-GCM-SHA256",
    "PSK-AES256-GCM-SHA384",
    "PSK-AES128-CBC-SHA256",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
    "ECDHE-PSK-AES128-CBC-SHA256",
    "PSK-CHACHA20-POLY1305",
];

const CLIENTS: [&str; 2] = ["coap-client-openssl", "coap-client-gnutls"];

impl Constrained {
    fn key(&self) -> Vec<u8> {
        let device = self.hub.get(&format!("/v1/products/{PRODUCT}/devices/dev"));
        STANDARD.decode(device["psk"].as_str().unwrap()).unwrap()
    }

    /// A device whose key can be an argument: libcoap's clients take it as it is, up to a zero.
    fn keyed(&self) -> (String, OsString) {
        (0..)
            .map(|number| {
                let device = format!("keyed{number}");
                let made = self.hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": device}));
                (device, STANDARD.decode(made["psk"].as_str().unwrap()).unwrap())
            })
            .find(|(_, key)| !key.contains(&0))
            .map(|(device, key)| (device, OsString::from_vec(key)))
            .unwrap()
    }

    fn secure(&self, port: u16, path: &str) -> String {
        format!("coaps://127.0.0.1:{port}/{path}")
    }
}

#[test]
fn a_key_opens_the_door_for_both_builds_of_libcoaps_client() {
    let coap = Constrained::start();
    let (device, key) = coap.keyed();
    let topic = format!("{PRODUCT}/{device}/event");
    let uri = coap.secure(coap.hub.coaps_port(), &topic);
    let identity = format!("{PRODUCT}{device}");
    for program in CLIENTS {
        let publish = |identity: &str, key: &OsStr| {
            let mut client = client(program, &["-B", "6", "-m", "post", "-e", "{}", "-u", identity]);
            client.arg("-k").arg(key).arg(&uri).output().unwrap();
            coap.hub.count(&topic)
        };
        let before = coap.hub.count(&topic);
        assert_eq!(publish(&identity, &key), before + 1, "{program}");
        assert_eq!(publish(&identity, "another key".as_ref()), before + 1, "{program}");
        assert_eq!(publish("nobody", &key), before + 1, "{program}");
    }
    let rows = coap.hub.query(&format!("SELECT msg.protocol, msg.device FROM '{topic}'"));
    assert_eq!(rows, vec![vec![json!("coap"), json!(device)]; 2]);
    // Over DTLS the vendor's authentication gives a token.
    let authenticate = coap.secure(coap.hub.coaps_port(), &format!("{PRODUCT}/{device}/txauth9w0BAQsFA"));
    let mut client = client(CLIENTS[0], &["-m", "post", "-O", "62,0", "-e", "21010406;abcde", "-u", &identity]);
    let token = said(&client.arg("-k").arg(&key).arg(&authenticate).output().unwrap());
    assert_eq!(token.trim().len(), 10, "{token}");
}

#[test]
fn a_certificate_opens_the_door_until_it_is_revoked() {
    let coap = Constrained::start();
    let weir = |arguments: &[&str]| {
        let output = coap.hub.command(arguments).current_dir(coap.files.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    std::fs::write(coap.file("ca.pem"), weir(&["get", "ca"])).unwrap();
    weir(&["create", "certificate", PRODUCT, "dev", "--out", "dev"]);
    let uri = coap.secure(coap.hub.coaps_port(), &format!("{PRODUCT}/dev/event"));
    let publish = |program: &str| {
        let own = ["-c", "dev.pem", "-j", "dev.key", "-C", "ca.pem"];
        let arguments = [&["-B", "6", "-m", "post", "-e", "{}"], &own[..], &[&uri]].concat();
        said(&client(program, &arguments).current_dir(coap.files.path()).output().unwrap())
    };
    for (number, program) in (1..).zip(CLIENTS) {
        let said = publish(program);
        assert_eq!(coap.hub.count(&format!("{PRODUCT}/dev/event")), number, "{program}: {said}");
    }
    // One that stays, by the same certificate, until that is revoked.
    let control = coap.secure(coap.hub.coaps_port(), &format!("{PRODUCT}/dev/control"));
    let own = ["-c", "dev.pem", "-j", "dev.key", "-C", "ca.pem"];
    let mut command = client(CLIENTS[0], &[&["-s", "60", "-m", "get"], &own[..], &[&control]].concat());
    let _observer = Observer::start(command.current_dir(coap.files.path()));
    let session = eventually("it is online", SOON, || {
        coap.hub.session("dev").filter(|session| session["certificate"].is_string())
    });
    weir(&["delete", "certificate", session["certificate"].as_str().unwrap()]);
    eventually("its session has ended", SOON, || coap.hub.session("dev").is_none().then_some(()));
    publish(CLIENTS[0]);
    assert_eq!(coap.hub.count(&format!("{PRODUCT}/dev/event")), 2);
    let metric = r#"weir_refused_total{operation="coap_dtls",reason="certificate_revoked"}"#;
    eventually("it is counted", SOON, || (coap.hub.metric(metric) >= 1.0).then_some(()));
}

#[test]
fn every_suite_of_devices_is_served() {
    let coap = Constrained::start();
    let key: String = coap.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let place = format!("127.0.0.1:{}", coap.hub.coaps_port());
    for suite in SUITES {
        let mut shell = Command::new("bash");
        let identity = format!("{PRODUCT}dev");
        let script = r#"(sleep 1) | timeout 20 openssl s_client -dtls1_2 -connect "$0" -psk "$1" -psk_identity "$2" -cipher "$3:@SECLEVEL=0""#;
        let output = shell.args(["-c", script, &place, &key, &identity, suite]).output().unwrap();
        let said = said(&output);
        assert!(said.contains(&format!("Cipher is {suite}")), "{suite}: {said}");
    }
}

#[test]
fn a_handshake_and_a_body_survive_a_network_that_loses() {
    let coap = Constrained::start();
    let (device, key) = coap.keyed();
    let network = Lossy::to(coap.hub.coaps_port(), 6);
    let topic = format!("{PRODUCT}/{device}/event");
    let uri = coap.secure(network.port(), &topic);
    let text = "0123456789".repeat(500);
    let body = json!({ "text": text });
    std::fs::write(coap.file("up"), body.to_string()).unwrap();
    let identity = format!("{PRODUCT}{device}");
    let mut client = client(CLIENTS[0], &["-B", "80", "-b", "512", "-m", "put", "-f", "up", "-u", &identity]);
    let said = said(&client.arg("-k").arg(&key).arg(&uri).current_dir(coap.files.path()).output().unwrap());
    assert!(coap.text(&format!("{device}/event")) == text.as_str(), "{said}");
}

#[test]
fn a_device_that_starts_again_at_the_same_port_takes_its_own_place() {
    let coap = Constrained::start();
    let key: String = coap.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let place = format!("127.0.0.1:{}", coap.hub.coaps_port());
    let from = format!("127.0.0.1:{port}");
    for _ in 0..3 {
        let identity = format!("{PRODUCT}dev");
        let mut client = Command::new("openssl")
            .args(["s_client", "-dtls1_2", "-connect", &place, "-bind", &from])
            .args(["-psk", &key, "-psk_identity", &identity])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = std::io::BufReader::new(client.stdout.take().unwrap());
        let shaken = std::iter::from_fn(|| {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut output, &mut line).ok().filter(|length| *length > 0).map(|_| line)
        })
        .any(|line| line.contains("Cipher is") && !line.contains("NONE"));
        assert!(shaken, "the handshake ended well");
        // It dies without a word.
        client.kill().unwrap();
        client.wait().unwrap();
    }
    eventually("one peer is left", SOON, || (coap.hub.metric("weir_connections") == 1.0).then_some(()));
}

#[test]
fn a_flood_of_strangers_leaves_nothing_behind() {
    let coap = Constrained::with(&["coap.strangers_per_second=0", "coap.strangers_per_second_per_address=0"]);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", coap.hub.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<i64>().unwrap()
    };
    let hello = hello();
    let flood = |addresses: std::ops::Range<u32>| {
        let answered: usize = addresses
            .map(|number| {
                let address = std::net::Ipv4Addr::from(0x7f01_0000 + number);
                let socket = UdpSocket::bind((address, 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket.send_to(&hello, ("127.0.0.1", coap.hub.coaps_port())).unwrap();
                let mut answer = [0; 512];
                // Short answers: nobody is a lever for a flood elsewhere.
                usize::from(socket.recv(&mut answer).is_ok_and(|length| length < hello.len()))
            })
            .sum();
        answered
    };
    // What a first use takes is no leak.
    flood(0..2_000);
    let before = memory();
    let answered = flood(2_000..22_000);
    assert!(answered > 19_900, "{answered} of 20,000 were answered");
    assert!(memory() - before < 4_096, "{before} kB became {} kB", memory());
    assert_eq!(coap.hub.metric("weir_connections"), 0.0);
}

/// A ClientHello, as a real client sends it.
fn hello() -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let place = socket.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-connect", &place])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut datagram = [0; 2_048];
    let length = socket.recv(&mut datagram).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    datagram[..length].to_vec()
}
