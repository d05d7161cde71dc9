use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::{Classify, Envelope, ErrorKind, Principal, Protocol, Qos, Subscription};
use weir_log::storage::{Storage, faulty::Faulty};

use super::hub::{Hub, Targets, administrator, application, device};
use crate::{CloseReason, End, Outbound, Session, SessionEvent, SubscribeError};

pub(super) async fn hub() -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    Hub::start(&storage, &folder, &Targets::default()).await
}

pub(super) async fn payloads(session: &mut Session, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let outbound = deliver(session).await;
        for row in outbound.rows() {
            found.push(String::from_utf8(outbound.payload(row).to_vec()).unwrap());
        }
        let identifiers: Vec<u16> =
            outbound.rows().iter().filter(|row| row.qos > Qos::AtMostOnce).map(|row| row.packet_id).collect();
        assert_eq!(session.acknowledged(&identifiers), identifiers.len());
    }
    found
}

pub(super) async fn deliver(session: &mut Session) -> Outbound {
    match tokio::time::timeout(Duration::from_secs(10), session.next()).await.unwrap() {
        SessionEvent::Deliver(outbound) => outbound,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn subscribe(session: &mut Session, filter: &str, qos: Qos) -> Result<Qos, SubscribeError> {
    session.subscribe(&[Subscription::new(filter.parse().unwrap(), qos)]).await.remove(0)
}

pub(super) fn publish(session: &mut Session, topic: &str, qos: Qos, payload: &str) -> Result<(), ErrorKind> {
    let publisher = session.publisher().to_owned();
    let message = Envelope::new(topic, &publisher, Protocol::Mqtt311, qos, payload.as_bytes());
    session.publish(&[message]).map(|_| ()).map_err(|error| error.kind())
}

#[tokio::test]
async fn messages_reach_subscribers_in_order_at_the_lower_qos() {
    let hub = hub().await;
    let mut publisher = hub.session(device("a")).await;
    let mut reader = hub.session(application("A1B2C3D4E5/+/event")).await;
    subscribe(&mut reader, "A1B2C3D4E5/+/event", Qos::AtLeastOnce).await.unwrap();
    for n in 0..50 {
        let qos = if n % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        publish(&mut publisher, "A1B2C3D4E5/a/event", qos, &n.to_string()).unwrap();
    }
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&mut reader, 50).await, expected);
    let filters = ["A1B2C3D4E5/+/event".parse().unwrap(), "never".parse().unwrap()];
    assert_eq!(reader.unsubscribe(&filters).await, [true, false]);
    assert_eq!(reader.unsubscribe(&filters).await, [false, false]);
    drop((publisher, reader));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_device_reaches_nobody_else() {
    let hub = hub().await;
    let mut reader = hub.session(administrator()).await;
    subscribe(&mut reader, "#", Qos::AtMostOnce).await.unwrap();
    let mut session = hub.session(device("a")).await;
    for topic in ["A1B2C3D4E5/b/event", "A1B2C3D4E5/a/control", "elsewhere"] {
        assert_eq!(publish(&mut session, topic, Qos::AtLeastOnce, "x"), Err(ErrorKind::Forbidden), "{topic}");
    }
    for topic in ["A1B2C3D4E5/b/control", "A1B2C3D4E5/+/control", "#"] {
        let refused = subscribe(&mut session, topic, Qos::AtMostOnce).await.unwrap_err();
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
    let mut first = hub.session(device("a")).await;
    let second = hub.session(device("a")).await;
    assert!(matches!(first.next().await, SessionEvent::Close(CloseReason::TakenOver)));
    drop(first);
    let Principal::Device(id) = device("a") else { unreachable!() };
    let status = hub.running.broker.device_session(&id).await.unwrap();
    assert!(status.connected_at.is_some(), "the end of the first is not the end of the second");
    drop(second);
    let gone = async || hub.running.broker.device_session(&id).await.is_none();
    assert!(gone().await || gone().await, "a session that is not kept ends with its connection");
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_session_that_opens_while_its_right_goes_is_closed() {
    let hub = hub().await;
    let mut unknown = hub.session(device("gone")).await;
    assert!(matches!(unknown.next().await, SessionEvent::Close(CloseReason::Disabled)));
    drop(unknown);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn coming_and_going_is_told_in_order() {
    let hub = hub().await;
    let mut reader = hub.session(administrator()).await;
    subscribe(&mut reader, "$state/report/#", Qos::AtLeastOnce).await.unwrap();
    let first = hub.session(device("a")).await;
    let second = hub.session(device("a")).await;
    drop(first);
    second.close(End::KeepAlive).await;
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
    let mut publisher = hub.session(device("a")).await;
    let mut slow = hub.session(application("A1B2C3D4E5/+/event")).await;
    subscribe(&mut slow, "A1B2C3D4E5/+/event", Qos::AtLeastOnce).await.unwrap();
    for n in 0..150 {
        publish(&mut publisher, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, &n.to_string()).unwrap();
    }
    let mut quick = hub.session(administrator()).await;
    subscribe(&mut quick, "A1B2C3D4E5/a/data", Qos::AtMostOnce).await.unwrap();
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
    let mut session = hub.session(device("a")).await;
    let large = "x".repeat(hub.running.broker.limits().payload + 1);
    let refused = publish(&mut session, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, &large);
    assert_eq!(refused, Err(ErrorKind::TooLarge));
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}
