//! Registration by curl, in both forms, on the plain and on the encrypted port; and what an operator says and sees of it.
//! What the vendor's SDK does is in `interop/vendor.rs`.

use std::{fs, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, weir},
    mqtt::Mqtt,
};

const SECRET: &str = "hzvf5LF9S0isvBhDSauWMaIk";

/// A hub whose product lets devices register with the secret.
fn hub(mode: &str) -> Hub {
    let hub = Hub::start();
    hub.create_product();
    hub.create_device("dev");
    let mut set = hub.command(&["set", "product", PRODUCT, "--registration", mode, "--read-secret"]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    set.stdin(fs::File::open(folder.path().join("secret")).unwrap());
    let set = set.output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    hub
}

/// Posts a body, and headers, by curl.
fn curl(url: &str, headers: &[String], body: &str, more: &[&str]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--data-binary", body]).args(more);
    for header in headers {
        curl.args(["--header", header]);
    }
    let output = curl.arg(url).output().unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn new_form(place: &str, device: &str, more: &[&str]) -> Value {
    let body = json!({"ProductId": PRODUCT, "DeviceName": device}).to_string();
    let host = place.split_once("://").unwrap().1;
    let hash = hex(&Sha256::digest(&body));
    let text = format!("POST\n{host}\n/device/register\n\nhmacsha256\n1700000000\n1\n{hash}");
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text).finalize().into_bytes();
    let headers = [
        "Content-Type: application/json".to_owned(),
        "X-TC-Algorithm: hmacsha256".to_owned(),
        "X-TC-Timestamp: 1700000000".to_owned(),
        "X-TC-Nonce: 1".to_owned(),
        format!("X-TC-Signature: {}", STANDARD.encode(mac)),
    ];
    curl(&format!("{place}/device/register"), &headers, &body, more)["Response"].take()
}

fn old_form(place: &str, device: &str, more: &[&str]) -> Value {
    let text = format!("deviceName={device}&nonce=1&productId={PRODUCT}&timestamp=1700000000");
    let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text).finalize().into_bytes();
    let signature = STANDARD.encode(hex(&mac));
    let body = json!({
        "deviceName": device, "nonce": 1, "productId": PRODUCT, "timestamp": 1_700_000_000, "signature": signature,
    });
    curl(&format!("{place}/register/dev"), &[], &body.to_string(), more)
}

#[test]
fn both_forms_on_both_ports() {
    let hub = hub("existing");
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, weir(&hub, &["get", "ca"])).unwrap();
    let (plain, trust) = (format!("http://127.0.0.1:{}", hub.ws_port()), ["--cacert", ca.to_str().unwrap()]);
    let encrypted = format!("https://127.0.0.1:{}", hub.wss_port());
    let (first, second) = (new_form(&plain, "dev", &[]), new_form(&encrypted, "dev", &trust));
    assert_eq!((&first["Len"], &first["Payload"]), (&json!(53), &second["Payload"]));
    let (third, fourth) = (old_form(&plain, "dev", &[]), old_form(&encrypted, "dev", &trust));
    assert_eq!((&third["code"], &third["payload"], &fourth), (&json!(0), &first["Payload"], &third));
    assert_eq!(new_form(&plain, "unknown", &[])["Error"]["Code"], "ResourceNotFound.DeviceNotExist");
    assert_eq!(old_form(&plain, "unknown", &[])["code"], 404);
}

#[test]
fn the_operator_says_who_may_and_lets_a_device_again() {
    let hub = hub("any");
    let place = format!("http://127.0.0.1:{}", hub.ws_port());
    weir(&hub, &["set", "product", PRODUCT, "--limit", "1"]);
    assert_eq!(old_form(&place, "new", &[])["code"], 0);
    assert_eq!(old_form(&place, "another", &[])["code"], 429);
    let shown = weir(&hub, &["describe", "product", PRODUCT]);
    for part in ["mode:        any\n", "limit:       1\n", "registered:  1\n", "secret:      ***\n"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(weir(&hub, &["describe", "product", PRODUCT, "--show-secrets"]).contains(SECRET));

    drop(Mqtt::connect(hub.mqtt_port(), &hub.token("dev")).unwrap());
    eventually("the connect is kept", SOON, || (old_form(&place, "dev", &[])["code"] == 409).then_some(()));
    let said = weir(&hub, &["set", "device", PRODUCT, "dev", "--may-register"]);
    assert_eq!(said, format!("device {PRODUCT}/dev may register again\n"));
    assert_eq!(old_form(&place, "dev", &[])["code"], 0);

    weir(&hub, &["set", "product", PRODUCT, "--new-secret"]);
    assert_eq!(old_form(&place, "dev", &[])["code"], 401);
    let off = weir(&hub, &["set", "product", PRODUCT, "--registration", "off"]);
    assert!(off.starts_with(&format!("product {PRODUCT}: no device registers\n")), "{off}");
    let short = hub.request(reqwest::Method::PATCH, &format!("/v1/products/{PRODUCT}/registration"));
    assert_eq!(short.json(&json!({"secret": "short"})).send().unwrap().status(), 400);
}
