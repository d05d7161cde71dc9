//! Rights: who is let in, and that a right taken away ends what rests on it.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_broker::{CloseReason, Session, SessionEvent, SessionOptions};
use weir_core::{
    CertificateIdentity, DeviceId, ErrorKind, Fingerprint, Principal, Protocol, Voucher,
    seams::{AuthError, Credentials, PeerIdentity},
};

use super::hub::{START, TestHub};

const DEVICE: &str = "/v1/products/A1B2C3D4E5/devices/dev_01";

fn credentials(username: &str, password: &str) -> Credentials {
    let password = Some(password.as_bytes().to_vec());
    Credentials { client_id: "c".to_owned(), username: Some(username.to_owned()), password, ..Credentials::default() }
}

async fn session(hub: &TestHub, principal: Principal) -> Session {
    session_by(hub, principal, PeerIdentity::None).await
}

async fn session_by(hub: &TestHub, principal: Principal, peer: PeerIdentity) -> Session {
    let options = SessionOptions {
        client_id: "c".to_owned(),
        protocol: Protocol::Mqtt311,
        clean_start: true,
        expiry: 0,
        receive_maximum: 20,
        will: None,
        peer,
    };
    hub.broker.open_session(principal, options).await.unwrap()
}

async fn device_session(hub: &TestHub) -> Session {
    session(hub, Principal::Device("A1B2C3D4E5/dev_01".parse().unwrap())).await
}

async fn ends_as_disabled(session: &mut Session) {
    let event = tokio::time::timeout(Duration::from_secs(5), session.next()).await.unwrap();
    assert!(matches!(event, SessionEvent::Close(CloseReason::Disabled)), "{event:?}");
}

#[tokio::test]
async fn a_key_must_be_readable_and_right() {
    let hub = TestHub::start().await;
    let token = hub.get_json("POST", &format!("{DEVICE}/tokens"), "").await["password"].as_str().unwrap().to_owned();
    for (key, part) in [
        ("admin", "not readable"),
        ("admin:", "wrong"),
        ("admin:wrong", "wrong"),
        ("nobody:top", "wrong"),
        (":top", "wrong"),
        // A device is no key, whatever it proves.
        (&format!("A1B2C3D4E5/dev_01:{token}"), "wrong"),
    ] {
        let answer = hub.send("GET", "/v1/status", Some(key), "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"weir\"");
        let (kind, message) = answer.error();
        assert_eq!(kind, "unauthenticated");
        assert!(message.contains(part), "{key}: {message}");
        assert!(!message.contains("top"), "{message}");
    }
    let metrics = hub.send("GET", "/metrics", None, "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains(r#"operation="api",reason="unauthenticated""#), "{text}");
    hub.end().await;
}

#[tokio::test]
async fn a_token_connects_its_device_until_it_expires() {
    let hub = TestHub::start().await;
    let made = hub.get_json("POST", &format!("{DEVICE}/tokens"), r#"{"expires_in":60}"#).await;
    let password = made["password"].as_str().unwrap().to_owned();
    let expected = json!({
        "host": "127.0.0.1",
        "port": 1883,
        "tls": { "host": "hub.example.org", "port": 8883 },
        "ws": { "host": "127.0.0.1", "port": 8081 },
        "wss": { "host": "hub.example.org", "port": 8443 },
        "coap": { "host": "127.0.0.1", "port": 5683 },
        "coaps": { "host": "hub.example.org", "port": 5684 },
        "username": "A1B2C3D4E5/dev_01",
        "password": password,
        "client_id": "A1B2C3D4E5dev_01",
        "expires_at": START.0 + 60_000,
    });
    assert_eq!(made, expected);
    let shown = credentials("A1B2C3D4E5/dev_01", &password);
    assert_eq!(hub.broker.authenticate(&shown).unwrap().to_string(), "device:A1B2C3D4E5/dev_01");
    hub.clock.advance(Duration::from_secs(61));
    assert_eq!(hub.broker.authenticate(&shown).unwrap_err(), AuthError::Expired);

    let lasting = hub.get_json("POST", &format!("{DEVICE}/tokens"), "").await;
    assert_eq!(lasting["expires_at"], Value::Null);
    hub.end().await;
}

#[tokio::test]
async fn revoked_tokens_end_the_session() {
    let hub = TestHub::start().await;
    let mut session = device_session(&hub).await;
    let revoked = hub.get_json("DELETE", &format!("{DEVICE}/tokens"), "").await;
    assert_eq!(revoked, json!({ "revoked": 1 }));
    ends_as_disabled(&mut session).await;
    drop(session);
    let again = hub.get_json("DELETE", &format!("{DEVICE}/tokens"), "").await;
    assert_eq!(again, json!({ "revoked": 0 }));
    hub.end().await;
}

#[tokio::test]
async fn a_disabled_device_is_put_out_and_kept_out() {
    let hub = TestHub::start().await;
    let made = hub.get_json("POST", &format!("{DEVICE}/tokens"), "").await;
    let shown = credentials("A1B2C3D4E5/dev_01", made["password"].as_str().unwrap());
    let mut session = device_session(&hub).await;
    let described = hub.get_json("GET", DEVICE, "").await;
    assert_eq!(described["online"], true);
    assert_eq!(described["session"]["client_id"], "c");
    assert_eq!(described["session"]["protocol"], "mqtt-3.1.1");
    assert_eq!(described["session"]["connected_at"], START.0);

    let changed = hub.get_json("PATCH", DEVICE, r#"{"enabled":false}"#).await;
    assert_eq!(changed["enabled"], false);
    ends_as_disabled(&mut session).await;
    drop(session);
    assert_eq!(hub.broker.authenticate(&shown).unwrap_err(), AuthError::Disabled("A1B2C3D4E5/dev_01".to_owned()));
    let described = hub.get_json("GET", DEVICE, "").await;
    assert_eq!((&described["online"], &described["session"]), (&json!(false), &Value::Null));

    hub.get_json("PATCH", DEVICE, r#"{"enabled":true}"#).await;
    assert!(hub.broker.authenticate(&shown).is_ok());
    hub.end().await;
}

#[tokio::test]
async fn a_disabled_product_puts_its_devices_out_and_keeps_them_out() {
    const PRODUCT: &str = "/v1/products/A1B2C3D4E5";
    let hub = TestHub::start().await;
    let made = hub.get_json("POST", &format!("{DEVICE}/tokens"), "").await;
    let shown = credentials("A1B2C3D4E5/dev_01", made["password"].as_str().unwrap());
    let mut session = device_session(&hub).await;
    let changed = hub.get_json("PATCH", PRODUCT, r#"{"enabled":false}"#).await;
    assert_eq!(changed["enabled"], false);
    ends_as_disabled(&mut session).await;
    drop(session);
    let refused = hub.broker.authenticate(&shown).unwrap_err();
    assert_eq!(refused.to_string(), "product A1B2C3D4E5 is disabled");
    let mut late = device_session(&hub).await;
    ends_as_disabled(&mut late).await;
    drop(late);
    let described = hub.get_json("GET", DEVICE, "").await;
    assert_eq!((&described["enabled"], &described["product_enabled"]), (&json!(true), &json!(false)));
    assert_eq!(hub.ask("DELETE", PRODUCT, "").await.status, StatusCode::CONFLICT);

    hub.get_json("PATCH", PRODUCT, r#"{"enabled":true}"#).await;
    assert!(hub.broker.authenticate(&shown).is_ok());
    hub.end().await;
}

fn class(suffix: &str, publish: bool, subscribe: bool, default: bool) -> Value {
    json!({ "suffix": suffix, "publish": publish, "subscribe": subscribe, "default": default })
}

#[tokio::test]
async fn topic_classes_are_checked_and_shown() {
    const TOPICS: &str = "/v1/products/A1B2C3D4E5/topics";
    let hub = TestHub::start().await;
    for (body, status, message) in [
        (r#"{"suffix":"a/#","publish":true}"#, 400, "topic suffix \"a/#\" is not valid"),
        (r#"{"suffix":"a"}"#, 400, "a class of topics allows one of the two, or both"),
        (r#"{"suffix":"up/+","publish":true}"#, 409, "topic class \"A1B2C3D4E5 up/+\" exists already"),
    ] {
        let answer = hub.ask("POST", TOPICS, body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert!(answer.error().1.contains(message), "{body}: {:?}", answer.error());
    }
    let made = hub.get_json("POST", TOPICS, r#"{"suffix":"event","subscribe":true}"#).await;
    assert_eq!(made, class("event", false, true, false));
    hub.get_json("PATCH", &format!("{TOPICS}/up%2F+"), r#"{"publish":false,"subscribe":true}"#).await;
    let expected = [
        class("control", false, true, true),
        class("event", true, false, true),
        class("data", true, true, true),
        class("event", false, true, false),
        class("up/+", false, true, false),
    ];
    assert_eq!(hub.get_json("GET", TOPICS, "").await, json!({ "items": expected, "total": 5 }));
    assert_eq!(hub.get_json("GET", "/v1/products/A1B2C3D4E5", "").await["topics"], json!(expected));
    // A default is not the product's to delete.
    assert_eq!(hub.ask("DELETE", &format!("{TOPICS}/control"), "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(hub.ask("GET", "/v1/products/NOSUCH0001/topics", "").await.status, StatusCode::NOT_FOUND);
    for number in 2..hub.broker.limits().topics_per_product {
        hub.get_json("POST", TOPICS, json!({ "suffix": format!("t_{number}"), "publish": true }).to_string()).await;
    }
    let one_more = hub.ask("POST", TOPICS, r#"{"suffix":"one_more","publish":true}"#).await;
    assert_eq!(one_more.status, StatusCode::TOO_MANY_REQUESTS);
    hub.end().await;
}

#[tokio::test]
async fn a_shared_filter_is_no_grant() {
    let hub = TestHub::start().await;
    let answer = hub.ask("POST", "/v1/keys", r##"{"name":"k","subscribe":["$share/g/a/#"]}"##).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().1.contains("grant what comes after $share/GROUP/"), "{:?}", answer.error());
    hub.end().await;
}

#[tokio::test]
async fn a_deleted_device_is_put_out_and_forgotten() {
    let hub = TestHub::start().await;
    let mut session = device_session(&hub).await;
    assert_eq!(hub.ask("DELETE", DEVICE, "").await.status, StatusCode::NO_CONTENT);
    ends_as_disabled(&mut session).await;
    drop(session);
    assert_eq!(hub.ask("GET", DEVICE, "").await.status, StatusCode::NOT_FOUND);
    let devices = hub.get_json("GET", "/v1/products/A1B2C3D4E5/devices", "").await;
    assert_eq!(devices, json!({ "items": [], "total": 0 }));
    hub.end().await;
}

#[tokio::test]
async fn a_deleted_key_is_put_out_and_forgotten() {
    let hub = TestHub::start().await;
    let (name, secret) = hub.application.split_once(':').unwrap();
    let application = hub.broker.authenticate(&credentials(name, secret)).unwrap();
    let mut session = session(&hub, application).await;
    assert_eq!(hub.ask("DELETE", "/v1/keys/app", "").await.status, StatusCode::NO_CONTENT);
    ends_as_disabled(&mut session).await;
    drop(session);
    let refused = hub.broker.authenticate(&credentials(name, secret)).unwrap_err();
    assert_eq!(refused, AuthError::BadCredentials);
    hub.end().await;
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let hub = TestHub::start().await;
    assert_eq!(hub.ask("DELETE", "/v1/keys/spare", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(hub.ask("DELETE", "/v1/rules/overheat", "").await.status, StatusCode::NO_CONTENT);
    let refused = hub.ask("DELETE", "/v1/keys/admin", "").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.error().1.contains("the last"), "{:?}", refused.error());
    hub.end().await;
}

#[tokio::test]
async fn a_new_key_works_within_its_grants() {
    let hub = TestHub::start().await;
    let made = hub.get_json("POST", "/v1/keys", r#"{"name":"k","publish":["a/+"]}"#).await;
    let key = format!("k:{}", made["secret"].as_str().unwrap());
    let publish = |topic: &str| json!({ "topic": topic, "payload": "x" }).to_string();
    let allowed = hub.send("POST", "/v1/publish", Some(&key), publish("a/b")).await;
    assert_eq!(allowed.status, StatusCode::OK);
    let denied = hub.send("POST", "/v1/publish", Some(&key), publish("b/b")).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert_eq!(denied.error().1, "key:k may not publish to \"b/b\"");
    let denied = hub.send("GET", "/v1/tail?filter=a/b", Some(&key), "").await;
    assert_eq!(denied.error(), (ErrorKind::Forbidden.to_string(), "key:k may not subscribe to \"a/b\"".to_owned()));

    let listed = hub.get_json("GET", "/v1/keys", "").await;
    assert_eq!(listed["total"], 4);
    let expected =
        json!({ "name": "k", "administrator": false, "publish": ["a/+"], "subscribe": [], "created_at": START.0 });
    assert!(listed["items"].as_array().unwrap().contains(&expected), "{listed}");
    hub.end().await;
}

async fn certified(hub: &TestHub, fingerprint: u8, voucher: Voucher) -> Session {
    let device: DeviceId = "A1B2C3D4E5/dev_01".parse().unwrap();
    let print = |byte| Fingerprint::new([byte; 32]);
    let certificate = CertificateIdentity {
        device: device.clone(),
        fingerprint: print(fingerprint),
        voucher,
        anchor: Some(Fingerprint::new(*b"an anchor that all letters share")),
        between: Box::new([print(0x62)]),
    };
    session_by(hub, Principal::Device(device), PeerIdentity::Certificate(Arc::new(certificate))).await
}

fn of_product() -> Voucher {
    Voucher::Product("A1B2C3D4E5".parse().unwrap())
}

#[tokio::test]
async fn an_authority_taken_away_takes_its_sessions_along() {
    let hub = TestHub::start().await;
    // The pin that the hub is furnished with would be all that the device accepts.
    hub.ask("DELETE", &format!("{DEVICE}/pins/{}", "70".repeat(32)), "").await;
    let authorities = "/v1/products/A1B2C3D4E5/authorities";
    let code = hub.get_json("GET", "/v1/products/A1B2C3D4E5/registration-code", "").await["code"].clone();
    let register = |letter: &str, proof: &Value| json!({ "certificate": letter, "proof": proof }).to_string();
    assert_eq!(hub.ask("POST", authorities, register("a", &Value::Null)).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(hub.ask("POST", authorities, register("a", &json!("x"))).await.status, StatusCode::BAD_REQUEST);
    // Nobody vouches yet.
    ends_as_disabled(&mut certified(&hub, 1, of_product()).await).await;
    let first = hub.get_json("POST", authorities, register("a", &code)).await;
    assert_eq!((&first["proved"], &first["subject"]), (&json!(true), &json!("CN=letters")));
    assert_eq!(hub.ask("POST", authorities, register("a", &code)).await.status, StatusCode::CONFLICT);
    hub.get_json("POST", authorities, r#"{"certificate":"b","trusted":true}"#).await;
    let mut session = certified(&hub, 1, of_product()).await;
    let shown = hub.get_json("GET", DEVICE, "").await["session"]["certificate"].clone();
    assert_eq!(shown, json!("01".repeat(32)));

    // Another certificate of the same authority is left.
    let delete =
        async |letter: &str| hub.ask("DELETE", &format!("{authorities}/{}", letter.repeat(32)), "").await.status;
    assert_eq!(delete("61").await, StatusCode::NO_CONTENT);
    assert_eq!(session.closed(), None);
    assert_eq!(delete("62").await, StatusCode::NO_CONTENT);
    ends_as_disabled(&mut session).await;
    assert_eq!(delete("62").await, StatusCode::NOT_FOUND);
    drop(session);
    hub.end().await;
}

#[tokio::test]
async fn a_revoked_certificate_ends_what_came_by_it_or_below_it() {
    let hub = TestHub::start().await;
    hub.ask("DELETE", &format!("{DEVICE}/pins/{}", "70".repeat(32)), "").await;
    let revoke = async |name: &str| hub.ask("DELETE", &format!("/v1/certificates/{name}"), "").await.status;
    let issued = hub.get_json("POST", &format!("{DEVICE}/certificates"), r#"{"expires_in":60}"#).await;
    assert_eq!(issued["serial"], "01");
    let mut session = certified(&hub, 0xf1, Voucher::Hub).await;
    assert_eq!(revoke("02").await, StatusCode::NOT_FOUND);
    assert_eq!(revoke(&"33".repeat(32)).await, StatusCode::OK);
    assert_eq!(revoke("nonsense").await, StatusCode::BAD_REQUEST);
    assert_eq!(session.closed(), None);
    assert_eq!(revoke("01").await, StatusCode::OK);
    ends_as_disabled(&mut session).await;
    drop(session);
    let listed = hub.get_json("GET", &format!("{DEVICE}/certificates"), "").await;
    assert_eq!(listed["total"], 1);
    assert_eq!(listed["items"][0]["revoked_at"], START.0);

    // One between it and its authority.
    let mut session = certified(&hub, 2, Voucher::Hub).await;
    assert_eq!(revoke(&"62:".repeat(32)[..95]).await, StatusCode::OK);
    ends_as_disabled(&mut session).await;
    drop(session);
    // And none by it opens any more, though its handshake may be over.
    ends_as_disabled(&mut certified(&hub, 2, Voucher::Hub).await).await;
    hub.end().await;
}

#[tokio::test]
async fn a_pin_ends_sessions_by_other_certificates_and_its_end_those_by_it() {
    let hub = TestHub::start().await;
    let pin = |letter: &str| format!("{DEVICE}/pins/{}", letter.repeat(32));
    assert_eq!(hub.ask("DELETE", &pin("70"), "").await.status, StatusCode::NO_CONTENT);
    let by_password = device_session(&hub).await;
    let pinned = hub.get_json("POST", &format!("{DEVICE}/pins"), r#"{"certificate":"q"}"#).await;
    assert_eq!(pinned["fingerprint"], "71".repeat(32));
    assert_eq!(by_password.closed(), None);
    drop(by_password);
    let mut session = certified(&hub, 0x71, Voucher::Pin).await;
    let other = json!({ "fingerprint": "72".repeat(32) }).to_string();
    hub.get_json("POST", &format!("{DEVICE}/pins"), other.clone()).await;
    assert_eq!(hub.ask("POST", &format!("{DEVICE}/pins"), other).await.status, StatusCode::CONFLICT);
    assert_eq!(hub.ask("POST", &format!("{DEVICE}/pins"), "{}").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(session.closed(), None);
    assert_eq!(hub.ask("DELETE", &pin("71"), "").await.status, StatusCode::NO_CONTENT);
    ends_as_disabled(&mut session).await;
    drop(session);

    // What else the hub believes is good again when there are no pins, and no more when there is one.
    assert_eq!(hub.ask("DELETE", &pin("72"), "").await.status, StatusCode::NO_CONTENT);
    let mut session = certified(&hub, 5, Voucher::Hub).await;
    assert_eq!(session.closed(), None);
    hub.get_json("POST", &format!("{DEVICE}/pins"), r#"{"certificate":"q"}"#).await;
    ends_as_disabled(&mut session).await;
    drop(session);
    hub.end().await;
}
