//! The gateway for devices: the worked examples of the vendor protocol, byte for byte, and what is refused.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use serde_json::{Value, json};
use weir_broker::{
    Rate,
    admin::registrations::{self, RegistrationChange, RegistrationCredential, RegistrationMode, SecretChange},
};
use weir_core::seams::PeerIdentity;
use weir_store::NewProduct;

use super::{
    hub::{START, TestHub},
    parts::Stamp,
};
use crate::{Gateway, GatewayLimits};

const SECRET: &str = "hzvf5LF9S0isvBhDSauWMaIk";
const PSK: &str = "AAECAwQFBgcICQoLDA0ODw==";
const BODY: &str = r#"{"ProductId":"ABCDE12345","DeviceName":"dev_01"}"#;

/// Vendor protocol §3.2: over the vendor's own host name, wherever the client was led.
const SIGNATURE: &str = "aDY1miiYgCUFga6Q0DWxXxAOObDELV5IdFledKW3gro=";

/// Vendor protocol §4.
const LEGACY: &str = r#"{"deviceName":"dev_01","nonce":5456,"productId":"ABCDE12345","timestamp":1700000000,"signature":"ZjBmZmU1ZjZmNzc1Y2UyNDgzMWNhZmE4MjdkNTk1M2I5NTg2OWJhMw=="}"#;

/// A hub that has the product and the device of the examples.
struct Registrar {
    hub: TestHub,
    gateway: Gateway,
}

impl Registrar {
    async fn start(mode: RegistrationMode, limits: GatewayLimits) -> Self {
        let hub = TestHub::start().await;
        let product = NewProduct { id: "ABCDE12345".parse().ok(), ..NewProduct::default() };
        hub.broker.store().create_product(product, START).await.unwrap();
        let device = "ABCDE12345/dev_01".parse().unwrap();
        let psk = STANDARD.decode(PSK).unwrap();
        hub.broker.store().create_device(&device, Some(psk), START).await.unwrap();
        let gateway = Gateway::new(hub.broker.clone(), Arc::new(Stamp), limits);
        let registrar = Self { hub, gateway };
        let secret = SecretChange::Given(SECRET.to_owned());
        registrar.change(RegistrationChange { mode: Some(mode), secret, ..RegistrationChange::default() }).await;
        registrar
    }

    async fn change(&self, change: RegistrationChange) {
        registrations::change(&self.hub.broker, &"ABCDE12345".parse().unwrap(), change).await.unwrap();
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, Vec<u8>) {
        let mut request = Request::post(path).header("host", "127.0.0.1:8081");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.gateway.route(request, IpAddr::from([127, 0, 0, 1]), PeerIdentity::None).await;
        // Vendor protocol §0: clients look at nothing else.
        assert_eq!(response.headers()["content-type"], "application/json");
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    }

    /// What is in `Response`.
    async fn register(&self, algorithm: &str, signature: &str, body: &str) -> Value {
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("X-tc-algorithm", algorithm),
            ("X-tc-timestamp", "1700000000"),
            ("X-tc-nonce", "5456"),
            ("X-tc-signature", signature),
        ];
        let (status, answer) = self.ask("/device/register", &headers, body).await;
        assert_eq!(status, StatusCode::OK);
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let id = answer["Response"].as_object_mut().unwrap().remove("RequestId").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 36);
        answer["Response"].take()
    }

    async fn code(&self, algorithm: &str, signature: &str, body: &str) -> String {
        let answer = self.register(algorithm, signature, body).await;
        assert!(answer["Error"]["Message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
        answer["Error"]["Code"].as_str().unwrap().to_owned()
    }

    async fn end(self) {
        self.hub.end().await;
    }
}

/// As the vendor's Python SDK does: zero bytes at the end are cut off.
fn decrypt(payload: &Value) -> String {
    let mut bytes = STANDARD.decode(payload.as_str().unwrap()).unwrap();
    let mut cipher = cbc::Decryptor::<aes::Aes128>::new_from_slices(&SECRET.as_bytes()[..16], &[b'0'; 16]).unwrap();
    for block in bytes.as_chunks_mut::<16>().0 {
        cipher.decrypt_block(block.into());
    }
    String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()
}

#[tokio::test]
async fn the_worked_example_of_the_new_form() {
    let registrar = Registrar::start(RegistrationMode::Existing, GatewayLimits::default()).await;
    let answer = registrar.register("hmacsha256", SIGNATURE, BODY).await;
    let payload = "s6FB3a1BA/YYbcmSE12XpVGKB464kWlzk2e4J3nqvoZkV2EjqQJRuJ6g1jLqqsL70ZE2G7WODfU2Jesy0bgMGw==";
    assert_eq!(answer.to_string(), format!(r#"{{"Len":53,"Payload":"{payload}"}}"#));
    assert_eq!(decrypt(&answer["Payload"]), format!(r#"{{"encryptionType":2,"psk":"{PSK}"}}"#));
    // Whoever sends it again is told the same, as long as the device has not connected.
    assert_eq!(registrar.register("hmacsha256", SIGNATURE, BODY).await, answer);
    registrar.end().await;
}

#[tokio::test]
async fn the_worked_example_of_the_old_form() {
    let registrar = Registrar::start(RegistrationMode::Existing, GatewayLimits::default()).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (status, answer) = registrar.ask("/register/dev", &form, LEGACY).await;
    let payload = "s6FB3a1BA/YYbcmSE12XpVGKB464kWlzk2e4J3nqvoZkV2EjqQJRuJ6g1jLqqsL70ZE2G7WODfU2Jesy0bgMGw==";
    let expected = format!(r#"{{"code":0,"message":"","len":53,"payload":"{payload}"}}"#);
    assert_eq!((status, String::from_utf8(answer).unwrap()), (StatusCode::OK, expected));

    let check = async |body: String, code: u16| {
        let (status, answer) = registrar.ask("/register/dev", &form, &body).await;
        let told: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, &told["code"]), (StatusCode::OK, &json!(code)), "{body}: {told}");
        // The SDK has room for no more.
        assert!(answer.len() < 256 && told.get("payload").is_none(), "{told}");
    };
    check(LEGACY.replace("5456", "5457"), 401).await;
    check(LEGACY.replace("ABCDE12345", "NOPRODUCT1"), 401).await;
    check(LEGACY.replace("ZjBm", "????"), 400).await;
    check(LEGACY.replace("deviceName", "name"), 400).await;
    check("x".repeat(20_000), 413).await;
    registrar.change(RegistrationChange { mode: Some(RegistrationMode::Off), ..RegistrationChange::default() }).await;
    check(LEGACY.to_owned(), 403).await;
    registrar.end().await;
}

#[tokio::test]
async fn a_signature_counts_for_what_was_signed() {
    let registrar = Registrar::start(RegistrationMode::Any, GatewayLimits::default()).await;
    let failure = "AuthFailure.SignatureFailure";
    assert_eq!(registrar.code("hmacsha1", SIGNATURE, BODY).await, failure);
    // The name of the algorithm is signed as it was sent.
    assert_eq!(registrar.code("HmacSha256", SIGNATURE, BODY).await, failure);
    assert_eq!(registrar.code("hmacsha256", SIGNATURE, &BODY.replace("01", "02")).await, failure);
    assert_eq!(registrar.code("hmacsha256", SIGNATURE, &format!("{BODY} ")).await, failure);
    assert_eq!(registrar.code("hmacsha256", "", BODY).await, failure);
    assert_eq!(registrar.code("rsa-sha256", SIGNATURE, BODY).await, "InvalidParameterValue");
    assert_eq!(registrar.code("hmacsha256", "?", BODY).await, "InvalidParameterValue");
    assert_eq!(registrar.code("hmacsha256", SIGNATURE, "{}").await, "InvalidParameterValue");
    let (_, answer) = registrar.ask("/device/register", &[], BODY).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["Response"]["Error"]["Message"], "the header x-tc-algorithm is missing or is not text");
    registrar.end().await;
}

/// The signature of a body for the host that the test asks, with or without its port.
fn sign(host: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("POST\n{host}\n/device/register\n\nhmacsha256\n1700000000\n5456\n{hash}");
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn any_of_the_names_that_clients_take_for_the_host_is_good() {
    let registrar = Registrar::start(RegistrationMode::Existing, GatewayLimits::default()).await;
    for host in ["127.0.0.1", "127.0.0.1:8081", "ap-guangzhou.gateway.tencentdevices.com"] {
        let answer = registrar.register("hmacsha256", &sign(host, BODY), BODY).await;
        assert_eq!(answer["Len"], 53, "{host}: {answer}");
    }
    let other = registrar.code("hmacsha256", &sign("other", BODY), BODY).await;
    assert_eq!(other, "AuthFailure.SignatureFailure");
    registrar.end().await;
}

#[tokio::test]
async fn a_device_may_be_made_up_to_the_limit_and_may_want_a_certificate() {
    let registrar = Registrar::start(RegistrationMode::Any, GatewayLimits::default()).await;
    registrar.change(RegistrationChange { limit: Some(1), ..RegistrationChange::default() }).await;
    let ask = async |body: &str| registrar.register("hmacsha256", &sign("127.0.0.1", body), body).await;
    let new = ask(&BODY.replace("dev_01", "new")).await;
    assert!(decrypt(&new["Payload"]).starts_with(r#"{"encryptionType":2,"psk":""#), "{new}");
    let full = ask(&BODY.replace("dev_01", "another")).await;
    assert_eq!(full["Error"]["Code"], "LimitExceeded");

    let with = |more: &str| BODY.replace('}', &format!(",{more}}}"));
    let made = r#"{"encryptionType":1,"clientCert":"certificate of ABCDE12345/dev_01","clientKey":"key"}"#;
    assert_eq!(decrypt(&ask(&with(r#""EncryptionType":1"#)).await["Payload"]), made);
    let own = r#"{"encryptionType":1,"clientCert":"p","clientKey":""}"#;
    assert_eq!(decrypt(&ask(&with(r#""EncryptionType":"1","ClientCert":"p""#)).await["Payload"]), own);
    let unreadable = ask(&with(r#""ClientCert":"unreadable""#)).await;
    assert_eq!(unreadable["Error"]["Message"], "ClientCert: write one letter");
    assert_eq!(ask(&with(r#""EncryptionType":3"#)).await["Error"]["Code"], "InvalidParameterValue");
    registrar.end().await;
}

#[tokio::test]
async fn a_product_says_what_its_devices_get() {
    let registrar = Registrar::start(RegistrationMode::Existing, GatewayLimits::default()).await;
    let ask = async |body: &str| registrar.register("hmacsha256", &sign("127.0.0.1", body), body).await;
    let certificate = Some(RegistrationCredential::Certificate);
    registrar.change(RegistrationChange { credential: certificate, ..RegistrationChange::default() }).await;
    assert!(decrypt(&ask(BODY).await["Payload"]).starts_with(r#"{"encryptionType":1,"#));
    let key = ask(&BODY.replace('}', r#","EncryptionType":2}"#)).await;
    assert_eq!(decrypt(&key["Payload"]), format!(r#"{{"encryptionType":2,"psk":"{PSK}"}}"#));
    registrar.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_too_much_is_refused_and_what_is_too_long_too() {
    let limits = GatewayLimits { requests_per_address: Rate::new(1, 3), body: 100, ..GatewayLimits::default() };
    let registrar = Registrar::start(RegistrationMode::Existing, limits).await;
    assert_eq!(registrar.register("hmacsha256", SIGNATURE, BODY).await["Len"], 53);
    let long = format!("{BODY}{}", " ".repeat(100));
    assert_eq!(registrar.code("hmacsha256", SIGNATURE, &long).await, "InvalidParameterValue.PayloadOverLimit");
    assert_eq!(registrar.register("hmacsha256", SIGNATURE, BODY).await["Len"], 53);
    assert_eq!(registrar.code("hmacsha256", SIGNATURE, BODY).await, "LimitExceeded");
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(registrar.register("hmacsha256", SIGNATURE, BODY).await["Len"], 53);
    tokio::time::resume();
    registrar.end().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let registrar = Registrar::start(RegistrationMode::Off, GatewayLimits::default()).await;
    let (status, _) = registrar.ask("/device/nothing", &[], "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let request = Request::get("/device/register").body(Body::empty()).unwrap();
    let response = registrar.gateway.route(request, IpAddr::from([127, 0, 0, 1]), PeerIdentity::None).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(registrar.gateway.serves("/device/register") && registrar.gateway.serves("/register/dev"));
    assert!(!registrar.gateway.serves("/mqtt") && !registrar.gateway.serves("/"));
    registrar.end().await;
}
