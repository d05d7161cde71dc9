//! Shadows and calls.

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_broker::{Session, SessionEvent, SessionOptions};
use weir_core::{Envelope, Principal, Protocol, Qos, Subscription};

use super::hub::TestHub;

const DEVICE: &str = "/v1/products/A1B2C3D4E5/devices/dev_01";
const SHADOW: &str = "/v1/products/A1B2C3D4E5/devices/dev_01/shadow";

/// The device, listening for calls.
pub(super) async fn listening(hub: &TestHub) -> Session {
    let options = SessionOptions {
        client_id: "c".to_owned(),
        protocol: Protocol::Mqtt311,
        clean_start: true,
        expiry: 0,
        receive_maximum: 20,
        will: None,
        peer: weir_core::seams::PeerIdentity::None,
    };
    let device = Principal::Device("A1B2C3D4E5/dev_01".parse().unwrap());
    let mut session = hub.broker.open_session(device, options).await.unwrap();
    let calls = Subscription::new("$rrpc/rxd/A1B2C3D4E5/dev_01/+".parse().unwrap(), Qos::AtMostOnce);
    assert_eq!(session.subscribe(&[calls]).await, [Ok(Qos::AtMostOnce)]);
    session
}

/// Takes one call and answers it with what it was sent, and a byte that is no text if that is `raw`.
pub(super) async fn answer(session: &mut Session) {
    let SessionEvent::Deliver(outbound) = session.next().await else { panic!("no call") };
    let message = outbound.message(&outbound.rows()[0]);
    let topic = message.topic.replace("/rxd/", "/txd/");
    let mut payload = message.payload.to_vec();
    if payload == b"raw" {
        payload.push(0xff);
    }
    let publisher = session.publisher().to_owned();
    let envelope = Envelope::new(&topic, &publisher, Protocol::Mqtt311, Qos::AtMostOnce, &payload);
    session.publish(&[envelope]).unwrap();
}

#[tokio::test]
async fn a_shadow_is_changed_and_shown() {
    let hub = TestHub::start().await;
    let empty = json!({ "product": "A1B2C3D4E5", "device": "dev_01", "state": {}, "metadata": {}, "version": 0 });
    assert_eq!(hub.get_json("GET", SHADOW, "").await, empty);
    let patch = r#"{"state":{"reported":{"fw":"1.1","net":{"a":1}},"desired":{"fw":"1.2"}}}"#;
    let changed = hub.get_json("PATCH", SHADOW, patch).await;
    let expected =
        json!({ "reported": { "fw": "1.1", "net": { "a": 1 } }, "desired": { "fw": "1.2" }, "delta": { "fw": "1.2" } });
    assert_eq!((&changed["version"], &changed["state"]), (&json!(1), &expected));
    assert_eq!(hub.get_json("GET", SHADOW, "").await, changed);
    let replaced = hub.get_json("PUT", SHADOW, r#"{"state":{"reported":{"net":{"b":2}}},"version":1}"#).await;
    assert_eq!(replaced["state"]["reported"], json!({ "net": { "b": 2 } }));
    assert_eq!(replaced["state"]["desired"], json!({ "fw": "1.2" }));
    let cleared = hub.get_json("PATCH", SHADOW, r#"{"state":{"desired":null}}"#).await;
    assert_eq!(cleared["state"], json!({ "reported": { "net": { "b": 2 } } }));

    let named = hub.get_json("PATCH", &format!("{SHADOW}?name=fw"), r#"{"state":{"desired":{"v":1}}}"#).await;
    assert_eq!((&named["name"], &named["version"]), (&json!("fw"), &json!(1)));
    let all = hub.get_json("GET", &format!("{DEVICE}/shadows"), "").await;
    assert_eq!((&all["total"], &all["items"][1]), (&json!(2), &named));
    assert_eq!(hub.ask("DELETE", &format!("{SHADOW}?name=fw&version=1"), "").await.status, StatusCode::NO_CONTENT);
    let deleted = hub.get_json("GET", &format!("{SHADOW}?name=fw"), "").await;
    assert_eq!((&deleted["state"], &deleted["version"]), (&json!({}), &json!(2)));
    hub.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_said() {
    let hub = TestHub::start().await;
    hub.get_json("PATCH", SHADOW, r#"{"state":{"reported":{"a":1}}}"#).await;
    let deep = r#"{"state":{"reported":{"a":{"b":{"c":{"d":{"e":{}}}}}}}}"#;
    let large = json!({ "state": { "reported": { "a": "x".repeat(20_000) } } }).to_string();
    for (method, url, body, status, message) in [
        (
            "PATCH",
            SHADOW,
            r#"{"state":{"reported":{}},"version":9}"#,
            409,
            "for version 9, and the shadow is at version 1",
        ),
        ("PATCH", SHADOW, r#"{"state":{"wanted":{}}}"#, 400, "\"wanted\" is neither reported nor desired"),
        ("PATCH", SHADOW, r#"{"state":{}}"#, 400, "neither reported nor desired"),
        ("PATCH", SHADOW, deep, 400, "5 levels deep, and this one is 6"),
        ("PATCH", SHADOW, &large, 413, "bytes, and may have 16384"),
        ("PATCH", "/v1/products/A1B2C3D4E5/devices/gone/shadow", r#"{"state":{"reported":{}}}"#, 404, "no device"),
        ("GET", "/v1/products/A1B2C3D4E5/devices/gone/shadow", "", 404, "no device"),
        ("GET", "/v1/products/A1B2C3D4E5/devices/dev_01/shadow?name=fw", "", 404, "has no shadow \"fw\""),
        ("GET", "/v1/products/A1B2C3D4E5/devices/dev_01/shadow?name=f.w", "", 400, "shadow name"),
        ("DELETE", "/v1/products/A1B2C3D4E5/devices/dev_01/shadow?version=3", "", 409, "at version 1"),
        ("POST", "/v1/shadows", r#"{"updates":[]}"#, 400, "1 to 1000, not 0"),
    ] {
        let answer = hub.ask(method, url, body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {url} {body}");
        assert!(answer.error().1.contains(message), "{method} {url}: {:?}", answer.error());
    }
    assert_eq!(hub.get_json("GET", SHADOW, "").await["version"], 1);
    hub.end().await;
}

#[tokio::test]
async fn many_changes_are_answered_one_by_one() {
    let hub = TestHub::start().await;
    let update = |device: &str, version: u64| json!({ "product": "A1B2C3D4E5", "device": device, "state": { "desired": { "n": version } }, "version": version });
    let updates =
        json!({ "updates": [update("dev_01", 0), update("gone", 0), update("dev_01", 1), update("dev_01", 1)] });
    let answers = hub.get_json("POST", "/v1/shadows", updates.to_string()).await;
    assert_eq!((&answers["items"][0], &answers["items"][2]), (&json!({ "version": 1 }), &json!({ "version": 2 })));
    let kinds = [&answers["items"][1], &answers["items"][3]].map(|item: &Value| item["error"]["kind"].as_str());
    assert_eq!(kinds, [Some("not_found"), Some("conflict")]);
    hub.end().await;
}

#[tokio::test]
async fn a_call_is_answered_or_says_why_not() {
    let hub = TestHub::start().await;
    let call = |body: &'static str| hub.ask("POST", concat!("/v1/products/A1B2C3D4E5/devices/dev_01", "/call"), body);
    let offline = call(r#"{"payload":"on?"}"#).await;
    assert_eq!(
        (offline.status, offline.error().1.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "device A1B2C3D4E5/dev_01 is offline")
    );
    let mut device = listening(&hub).await;
    let (answered, ()) = futures::future::join(call(r#"{"payload":"on?"}"#), answer(&mut device)).await;
    let answered = answered.json();
    assert_eq!((&answered["payload"], &answered["payload_base64"]), (&json!("on?"), &json!("b24/")));
    assert!(answered["id"].is_u64());
    let (raw, ()) = futures::future::join(call(r#"{"payload_base64":"cmF3"}"#), answer(&mut device)).await;
    assert_eq!((&raw.json()["payload_base64"], raw.json().get("payload")), (&json!("cmF3/w=="), None));
    let silent = call(r#"{"payload":"on?","timeout":20}"#).await;
    assert_eq!(silent.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(silent.error().1.contains("did not answer call"), "{:?}", silent.error());
    assert_eq!(call(r#"{"payload":"x","timeout":60000}"#).await.status, StatusCode::BAD_REQUEST);
    drop(device);
    hub.end().await;
}
