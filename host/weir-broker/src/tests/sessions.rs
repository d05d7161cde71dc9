use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::{Classify, Envelope, ErrorKind, Principal, Protocol, Qos};
use weir_log::storage::{Storage, faulty::Faulty};

use super::hub::{Hub, Targets, administrator, application, device, filter};
use crate::{CloseReason, End, Session, SessionEvent};

async fn hub() -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    Hub::start(&storage, &folder, &Targets::default()).await
}

async fn payloads(session: &mut Session, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        match tokio::time::timeout(Duration::from_secs(10), session.next()).await.unwrap() {
            SessionEvent::Deliver(outbound) => {
                for row in &outbound.rows {
                    let payload = outbound.frame.records.payload.value(row.row as usize);
                    found.push(String::from_utf8(payload.to_vec()).unwrap());
                }
                let confirmed = outbound.rows.iter().filter(|row| row.qos > Qos::AtMostOnce).count();
                session.acknowledged(confirmed);
            }
            SessionEvent::Close(reason) => panic!("closed: {reason:?}"),
        }
    }
    found
}

fn publish(session: &mut Session, topic: &str, qos: Qos, payload: &str) -> Result<(), ErrorKind> {
    let publisher = session.publisher().to_owned();
    let message = Envelope::new(topic, &publisher, Protocol::Mqtt311, qos, payload.as_bytes());
    session.publish(&[message]).map(|_| ()).map_err(|error| error.kind())
}

#[tokio::test]
async fn messages_reach_subscribers_in_order_at_the_lower_qos() {
    let hub = hub().await;
    let mut publisher = hub.session(device("a"));
    let mut reader = hub.session(application("A1B2C3D4E5/+/event"));
    reader.subscribe(&filter("A1B2C3D4E5/+/event"), Qos::AtLeastOnce).await.unwrap();
    for n in 0..50 {
        let qos = if n % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        publish(&mut publisher, "A1B2C3D4E5/a/event", qos, &n.to_string()).unwrap();
    }
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&mut reader, 50).await, expected);
    assert!(reader.unsubscribe(&filter("A1B2C3D4E5/+/event")).await);
    assert!(!reader.unsubscribe(&filter("A1B2C3D4E5/+/event")).await);
    drop((publisher, reader));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_device_reaches_nobody_else() {
    let hub = hub().await;
    let mut reader = hub.session(administrator());
    reader.subscribe(&filter("#"), Qos::AtMostOnce).await.unwrap();
    let mut session = hub.session(device("a"));
    for topic in ["A1B2C3D4E5/b/event", "A1B2C3D4E5/a/control", "elsewhere"] {
        assert_eq!(publish(&mut session, topic, Qos::AtLeastOnce, "x"), Err(ErrorKind::Forbidden), "{topic}");
    }
    for topic in ["A1B2C3D4E5/b/control", "A1B2C3D4E5/+/control", "#"] {
        let refused = session.subscribe(&filter(topic), Qos::AtMostOnce).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{topic}");
    }
    publish(&mut session, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, "mine").unwrap();
    assert_eq!(payloads(&mut reader, 1).await, ["mine"], "the refused ones reached nobody");
    let text = hub.running.broker.metrics().encode(hub.running.broker.log());
    assert!(text.contains("weir_refused_total{operation=\"publish\",reason=\"forbidden\"} 3"), "{text}");
    assert!(text.contains("weir_refused_total{operation=\"subscribe\",reason=\"forbidden\"} 3"), "{text}");
    drop((session, reader));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_second_login_of_a_device_ends_the_first() {
    let hub = hub().await;
    let mut first = hub.session(device("a"));
    let second = hub.session(device("a"));
    assert!(matches!(first.next().await, SessionEvent::Close(CloseReason::TakenOver)));
    drop(first);
    let Principal::Device(id) = device("a") else { unreachable!() };
    assert!(hub.running.broker.device_session(&id).is_some(), "the end of the first is not the end of the second");
    drop(second);
    assert!(hub.running.broker.device_session(&id).is_none());
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_session_that_opens_while_its_right_goes_is_closed() {
    let hub = hub().await;
    let mut unknown = hub.session(device("gone"));
    assert!(matches!(unknown.next().await, SessionEvent::Close(CloseReason::Disabled)));
    drop(unknown);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn coming_and_going_is_told_in_order() {
    let hub = hub().await;
    let mut reader = hub.session(administrator());
    reader.subscribe(&filter("$state/report/#"), Qos::AtLeastOnce).await.unwrap();
    let first = hub.session(device("a"));
    let mut second = hub.session(device("a"));
    drop(first);
    second.ended(End::KeepAlive);
    drop(second);
    let told: Vec<serde_json::Value> =
        payloads(&mut reader, 4).await.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let short: Vec<String> = told.iter().map(|news| format!("{} {}", news["event"], news["reason"])).collect();
    let expected = [
        r#""EV_ONLINE" "REASON_DEVICE_CONNECT""#,
        r#""EV_OFFLINE" "REASON_DEVICE_KICKED""#,
        r#""EV_ONLINE" "REASON_DEVICE_CONNECT""#,
        r#""EV_OFFLINE" "REASON_KEEPALIVE_TIMEOUT""#,
    ];
    assert_eq!(short, expected);
    assert_eq!(told[0]["topic"], "$state/report/A1B2C3D4E5/a");
    assert_eq!(told[0]["deviceName"], "a");
    assert_eq!(told[0]["productID"], "A1B2C3D4E5");
    drop(reader);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_slow_reader_loses_what_does_not_fit_and_it_is_counted() {
    let hub = hub().await;
    let mut publisher = hub.session(device("a"));
    let mut slow = hub.session(application("A1B2C3D4E5/+/event"));
    slow.subscribe(&filter("A1B2C3D4E5/+/event"), Qos::AtLeastOnce).await.unwrap();
    for n in 0..150 {
        publish(&mut publisher, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, &n.to_string()).unwrap();
    }
    let mut quick = hub.session(administrator());
    quick.subscribe(&filter("A1B2C3D4E5/a/data"), Qos::AtMostOnce).await.unwrap();
    publish(&mut publisher, "A1B2C3D4E5/a/data", Qos::AtLeastOnce, "end").unwrap();
    assert_eq!(payloads(&mut quick, 1).await, ["end"]);
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&mut slow, 100).await, expected);
    let text = hub.running.broker.metrics().encode(hub.running.broker.log());
    assert!(text.contains("weir_session_dropped_total{reason=\"inbox_full\"} 50"), "{text}");
    drop((publisher, slow, quick));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_refused_whole() {
    let hub = hub().await;
    let mut session = hub.session(device("a"));
    let large = "x".repeat(hub.running.broker.limits().payload + 1);
    let refused = publish(&mut session, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, &large);
    assert_eq!(refused, Err(ErrorKind::TooLarge));
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}
