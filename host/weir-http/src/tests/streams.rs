//! `/v1/tail`, from message to line.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::hub::{START, TestHub};

async fn publish(hub: &TestHub, topic: &str, payload: &str) -> u64 {
    let message = json!({ "topic": topic, "payload": payload }).to_string();
    hub.get_json("POST", "/v1/publish", message).await["offset"].as_u64().unwrap()
}

#[tokio::test]
async fn messages_of_the_filter_come_as_lines() {
    let hub = TestHub::start().await;
    // The '+' stands in the URL as it is.
    let mut lines = hub.follow("A1B2C3D4E5/+/event", &hub.application).await;
    publish(&hub, "A1B2C3D4E5/dev_01/data", "other").await;
    let offset = publish(&hub, "A1B2C3D4E5/dev_01/event", "{\"t\":1}").await;
    let expected = json!({
        "offset": offset,
        "time": START.0,
        "topic": "A1B2C3D4E5/dev_01/event",
        "product": "A1B2C3D4E5",
        "device": "dev_01",
        "publisher": "administrator:admin",
        "protocol": "api",
        "qos": 1,
        "retain": false,
        "payload": "{\"t\":1}",
    });
    assert_eq!(lines.next().await, Some(expected));

    let binary = json!({ "topic": "A1B2C3D4E5/dev_02/event", "payload_base64": "/w==", "qos": 0 }).to_string();
    assert_eq!(hub.ask("POST", "/v1/publish", binary).await.status, StatusCode::OK);
    let line = lines.next().await.unwrap();
    assert_eq!((&line["payload_base64"], &line["qos"]), (&json!("/w=="), &json!(0)));
    assert_eq!(line.get("payload"), None);
    hub.end().await;
}

#[tokio::test]
async fn a_tail_ends_with_the_drain() {
    let hub = TestHub::start().await;
    let mut lines = hub.follow("#", &hub.administrator).await;
    publish(&hub, "a", "x").await;
    assert_eq!(lines.next().await.unwrap()["product"], json!(null));
    hub.hub.drain.token().cancel();
    assert_eq!(lines.next().await, None);
    hub.end().await;
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_and_ended() {
    let hub = TestHub::start().await;
    let mut lines = hub.follow("#", &hub.administrator).await;
    publish(&hub, "a", "x").await;
    hub.clock.advance(Duration::from_secs(31));
    let line = lines.next().await.unwrap();
    assert_eq!(line["error"]["kind"], "throttled");
    assert!(line["error"]["message"].as_str().unwrap().contains("more than 30 seconds behind"), "{line}");
    assert_eq!(lines.next().await, None);
    hub.end().await;
}

#[tokio::test]
async fn a_reader_whose_key_is_deleted_is_told_and_ended() {
    let hub = TestHub::start().await;
    let mut lines = hub.follow("A1B2C3D4E5/+/event", &hub.application).await;
    hub.ask("DELETE", "/v1/keys/app", "").await;
    hub.clock.advance(Duration::from_secs(5));
    publish(&hub, "A1B2C3D4E5/dev_01/event", "x").await;
    assert_eq!(lines.next().await.unwrap()["error"]["kind"], "unauthenticated");
    assert_eq!(lines.next().await, None);
    hub.end().await;
}

#[tokio::test]
async fn a_large_frame_comes_in_pieces() {
    let hub = TestHub::start().await;
    let mut lines = hub.follow("#", &hub.administrator).await;
    let payload = "y".repeat(100_000);
    for index in 0..5 {
        publish(&hub, &format!("a/{index}"), &payload).await;
    }
    for index in 0..5 {
        let line = lines.next().await.unwrap();
        assert_eq!(line["topic"], format!("a/{index}"));
        assert_eq!(line["payload"].as_str().unwrap().len(), 100_000);
    }
    hub.end().await;
}
