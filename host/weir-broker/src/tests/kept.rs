//! Sessions that outlive their connections, and the process: what was acknowledged is there, in both directions.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::{Envelope, Principal, Protocol, Qos, seams::PeerIdentity};
use weir_log::{
    LogOptions,
    storage::{Storage, faulty::Faulty},
};

use super::{
    hub::{Hub, Targets, application, device, eventually},
    sessions::{deliver, hub, payloads, publish, subscribe},
};
use crate::{CloseReason, End, Limits, Session, SessionError, SessionEvent, SessionOptions, SessionStatus};

const EVENT: &str = "A1B2C3D4E5/a/event";
const EVENTS: &str = "A1B2C3D4E5/+/event";

fn reader() -> Principal {
    application(EVENTS)
}

async fn acknowledged(hub: &Hub, qos: Qos, payload: &str) {
    let publisher = device("a");
    let text = publisher.to_string();
    let message = Envelope::new(EVENT, &text, Protocol::Mqtt5, qos, payload.as_bytes());
    hub.running.broker.publish(&publisher, message).await.unwrap();
}

/// The account of a device's session, and that it adds up.
async fn status(hub: &Hub, name: &str) -> Option<SessionStatus> {
    let Principal::Device(id) = device(name) else { unreachable!() };
    let status = hub.running.broker.device_session(&id).await?;
    let settled = status.acknowledged + status.expired + status.dropped;
    assert_eq!(status.enqueued, settled + status.pending, "{status:?}");
    Some(status)
}

#[tokio::test]
async fn messages_wait_for_a_client_that_is_away() {
    let hub = hub().await;
    let mut session = hub.kept(reader(), "c").await;
    assert!(!session.is_present());
    subscribe(&mut session, EVENTS, Qos::AtLeastOnce).await.unwrap();
    session.close(End::Disconnected { with_will: false, expiry: None }).await;
    acknowledged(&hub, Qos::AtLeastOnce, "1").await;
    acknowledged(&hub, Qos::AtMostOnce, "not kept").await;
    acknowledged(&hub, Qos::ExactlyOnce, "2").await;
    let mut session = hub.kept(reader(), "c").await;
    assert!(session.is_present());
    assert_eq!(payloads(&mut session, 2).await, ["1", "2"]);
    acknowledged(&hub, Qos::AtMostOnce, "3").await;
    assert_eq!(payloads(&mut session, 1).await, ["3"]);
    // Another client id of the same key is another session.
    assert!(!hub.kept(reader(), "d").await.is_present());
    // A clean start ends what was kept.
    session.close(End::Lost).await;
    let clean = hub.open(reader(), "c", |_| {}).await;
    assert!(!clean.is_present());
    drop(clean);
    assert!(!hub.kept(reader(), "c").await.is_present());
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_device_has_one_session_and_another_client_id_starts_anew() {
    let hub = hub().await;
    let session = hub.kept(device("a"), "one").await;
    session.close(End::Lost).await;
    assert!(hub.kept(device("a"), "one").await.is_present());
    assert!(!hub.kept(device("a"), "two").await.is_present());
    assert!(!hub.kept(device("a"), "one").await.is_present());
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_with_its_identifier() {
    let hub = hub().await;
    let mut session = hub.kept(reader(), "c").await;
    subscribe(&mut session, EVENTS, Qos::ExactlyOnce).await.unwrap();
    for (qos, payload) in [(1, "a"), (2, "b"), (2, "c"), (1, "d")] {
        acknowledged(&hub, Qos::from_u8(qos).unwrap(), payload).await;
    }
    let mut sent = Vec::new();
    while sent.len() < 4 {
        sent.extend(deliver(&mut session).await.rows().iter().cloned());
    }
    assert!(sent.iter().all(|row| !row.dup));
    // "d" is done, "b" is received and only to be released.
    assert_eq!(session.acknowledged(&[sent[3].packet_id, 65_535, 48_000]), 1);
    assert!(session.received(sent[1].packet_id).unwrap().is_some());
    assert_eq!(session.received(9_999).unwrap(), None);
    assert!(!session.completed(sent[2].packet_id), "it was not received");
    session.close(End::Lost).await;

    let mut session = hub.kept(reader(), "c").await;
    let SessionEvent::Release(identifiers) = session.next().await else { panic!() };
    assert_eq!(identifiers, [sent[1].packet_id]);
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(deliver(&mut session).await.rows().iter().cloned());
    }
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    let told = |rows: &[crate::OutboundRow]| rows.iter().map(|row| (row.packet_id, row.dup)).collect::<Vec<_>>();
    assert_eq!(told(&again), [(sent[0].packet_id, true), (sent[2].packet_id, true)]);
    assert!(session.completed(sent[1].packet_id));
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_message_at_qos_2_is_accepted_once() {
    let hub = hub().await;
    let mut observer = hub.session(reader()).await;
    subscribe(&mut observer, EVENTS, Qos::AtMostOnce).await.unwrap();
    let mut session = hub.kept(device("a"), "c").await;
    let text = session.publisher().to_owned();
    let message = |id, payload: &'static str| Envelope {
        packet_id: Some(id),
        session: Some("c"),
        ..Envelope::new(EVENT, &text, Protocol::Mqtt5, Qos::ExactlyOnce, payload.as_bytes())
    };
    session.publish(&[message(7, "1"), message(7, "1"), message(8, "2")]).unwrap();
    session.publish(&[message(7, "1")]).unwrap(); // [MQTT-4.3.3-2]
    assert!(session.release(7).unwrap().is_some());
    assert_eq!(session.release(7).unwrap(), None);
    session.publish(&[message(7, "3")]).unwrap();
    session.close(End::Lost).await;
    // The next connection knows which are in use.
    let mut session = hub.kept(device("a"), "c").await;
    session.publish(&[message(8, "2"), message(7, "3"), message(9, "4")]).unwrap();
    assert!(session.release(8).unwrap().is_some());
    assert_eq!(payloads(&mut observer, 4).await, ["1", "2", "3", "4"]);
    drop((session, observer));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn sessions_end_when_their_time_is_over() {
    let hub = hub().await;
    let mut session = hub.open(device("a"), "c", |options| options.expiry = 60).await;
    subscribe(&mut session, "A1B2C3D4E5/a/data", Qos::AtLeastOnce).await.unwrap();
    session.close(End::Lost).await;
    assert!(status(&hub, "a").await.is_some());
    hub.clock.advance(Duration::from_secs(61));
    // Whoever opens it finds that out.
    let session = hub.kept(device("a"), "c").await;
    assert!(!session.is_present());
    session.close(End::Lost).await;
    let mut away = false;
    let mut gone = false;
    for _ in 0..400 {
        let found = status(&hub, "a").await;
        gone = found.is_none();
        if gone {
            break;
        }
        if !away && found.is_some_and(|status| status.offline_since.is_some()) {
            away = true;
            hub.clock.advance(Duration::from_secs(3_601));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(away && gone, "the session is still there");
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_inbox_holds_what_it_may_and_says_what_it_dropped() {
    let hub = hub().await;
    let mut session = hub.kept(device("b"), "c").await;
    subscribe(&mut session, "A1B2C3D4E5/b/data", Qos::AtLeastOnce).await.unwrap();
    let text = session.publisher().to_owned();
    for n in 0..150 {
        let payload = n.to_string();
        let message = Envelope::new("A1B2C3D4E5/b/data", &text, Protocol::Mqtt5, Qos::AtLeastOnce, payload.as_bytes());
        hub.running.broker.publish(&device("b"), message).await.unwrap();
    }
    session.close(End::Lost).await;
    let mut told = status(&hub, "b").await.unwrap();
    // The last are acknowledged when they are durable, which Delivery learns at the same time.
    while told.enqueued < 150 {
        tokio::task::yield_now().await;
        told = status(&hub, "b").await.unwrap();
    }
    assert_eq!((told.enqueued, told.pending, told.dropped_by.inbox_full), (150, 100, 50));
    // What is too old is not sent.
    hub.clock.advance(Duration::from_secs(8 * 24 * 3_600));
    let mut session = hub.open(device("b"), "c", |options| options.clean_start = false).await;
    let next = tokio::time::timeout(Duration::from_millis(200), session.next()).await;
    assert!(next.is_err() && !session.is_present(), "the session itself was over before");
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

// === over a crash ===

async fn start(storage: &Faulty, folder: &Arc<TempDir>) -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    Hub::start(&storage, folder, &Targets::default()).await
}

async fn received_rows(session: &mut Session, count: usize) -> Vec<(u16, String, bool)> {
    let mut rows = Vec::new();
    while rows.len() < count {
        let outbound = deliver(session).await;
        let told = |row: &crate::OutboundRow| {
            (row.packet_id, String::from_utf8(outbound.payload(row).to_vec()).unwrap(), row.dup)
        };
        rows.extend(outbound.rows().iter().map(told));
    }
    rows
}

/// `saved`: whether the store has a snapshot of the session, or the log alone must do.
async fn a_crash_loses_nothing_that_was_acknowledged(saved: bool) {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let hub = start(&faulty, &folder).await;
    let mut session = hub.kept(reader(), "c").await;
    subscribe(&mut session, EVENTS, Qos::ExactlyOnce).await.unwrap();
    for n in 0..6 {
        acknowledged(&hub, Qos::from_u8(1 + n % 2).unwrap(), &n.to_string()).await;
    }
    let first = received_rows(&mut session, 6).await;
    assert_eq!(session.acknowledged(&[first[0].0]), 1);
    let offset = session.received(first[1].0).unwrap().unwrap();
    hub.running.broker.log().durable().wait_for(offset).await.unwrap();
    if saved {
        let is_saved = async || !hub.running.broker.store().delivery().await.unwrap().sessions.is_empty();
        for _ in 0..400 {
            if is_saved().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(is_saved().await);
        acknowledged(&hub, Qos::AtLeastOnce, "6").await;
    }
    let publisher_text = device("b").to_string();
    let mut publisher = hub.kept(device("b"), "p").await;
    let message = |id| Envelope {
        packet_id: Some(id),
        session: Some("p"),
        ..Envelope::new("A1B2C3D4E5/b/data", &publisher_text, Protocol::Mqtt5, Qos::ExactlyOnce, b"x")
    };
    let offset = publisher.publish(&[message(1), message(2)]).unwrap();
    hub.running.broker.log().durable().wait_for(offset).await.unwrap();
    let offset = publisher.release(1).unwrap().unwrap();
    hub.running.broker.log().durable().wait_for(offset).await.unwrap();
    drop((session, publisher));
    let faulty = hub.crash(&faulty).await;

    let hub = start(&faulty, &folder).await;
    let mut session = hub.kept(reader(), "c").await;
    assert!(session.is_present());
    let SessionEvent::Release(identifiers) = session.next().await else { panic!() };
    assert_eq!(identifiers, [first[1].0], "what was received is only released");
    let expected: Vec<&str> = if saved { vec!["2", "3", "4", "5", "6"] } else { vec!["2", "3", "4", "5"] };
    let mut again = received_rows(&mut session, expected.len()).await;
    // What was acknowledged at QoS 1 just before the crash may come again.
    if again[0].1 == "0" {
        again.remove(0);
        again.extend(received_rows(&mut session, 1).await);
    }
    let payloads: Vec<&str> = again.iter().map(|(_, payload, _)| payload.as_str()).collect();
    assert_eq!(payloads, expected);
    for ((id, payload, _), (first_id, first_payload, _)) in again.iter().zip(&first[2..]) {
        assert_eq!((id, payload), (first_id, first_payload), "an identifier is what it was");
    }
    let mut publisher = hub.kept(device("b"), "p").await;
    let end = hub.running.broker.log().appended();
    publisher.publish(&[message(2)]).unwrap();
    assert_eq!(hub.running.broker.log().appended(), end, "the message is there already");
    publisher.publish(&[message(1)]).unwrap();
    assert!(publisher.release(1).unwrap().is_some() && publisher.release(2).unwrap().is_some());
    drop((session, publisher));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_crash_loses_nothing_that_only_the_log_has() {
    a_crash_loses_nothing_that_was_acknowledged(false).await;
}

#[tokio::test]
async fn a_crash_loses_nothing_since_the_last_snapshot() {
    a_crash_loses_nothing_that_was_acknowledged(true).await;
}

#[tokio::test]
async fn an_orderly_end_repeats_nothing() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let hub = start(&faulty, &folder).await;
    let mut session = hub.kept(reader(), "c").await;
    subscribe(&mut session, EVENTS, Qos::AtLeastOnce).await.unwrap();
    for n in 0..3 {
        acknowledged(&hub, Qos::AtLeastOnce, &n.to_string()).await;
    }
    assert!(payloads(&mut session, 2).await.len() >= 2);
    acknowledged(&hub, Qos::AtLeastOnce, "last").await;
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;

    let hub = start(&faulty, &folder).await;
    let mut session = hub.kept(reader(), "c").await;
    let rest = received_rows(&mut session, 1).await;
    assert!(rest.iter().all(|(_, payload, _)| payload == "2" || payload == "last"), "{rest:?}");
    assert_eq!(hub.running.broker.session_count(), 1);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

/// The log keeps little; what waits in an inbox is copied out of it first.
#[tokio::test]
async fn messages_outlive_their_part_of_the_log() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    let options = || LogOptions { segment_bytes: 32 << 10, retain_bytes: 64 << 10, ..LogOptions::default() };
    let limits = || Limits { inbox_messages: 100, ..Limits::default() };
    let hub = Hub::start_on(&storage, &folder, &Targets::default(), limits(), options()).await;
    let mut session = hub.kept(reader(), "c").await;
    subscribe(&mut session, EVENTS, Qos::AtLeastOnce).await.unwrap();
    session.close(End::Lost).await;
    for n in 0..5 {
        acknowledged(&hub, Qos::AtLeastOnce, &format!("kept {n}")).await;
    }
    let log = hub.running.broker.log().clone();
    let kept_at = log.appended();
    // Nobody waits for these.
    let publisher = device("b");
    let (text, payload) = (publisher.to_string(), vec![b'x'; 2_000]);
    for _ in 0..200 {
        let message = Envelope::new("A1B2C3D4E5/b/data", &text, Protocol::Mqtt5, Qos::AtLeastOnce, &payload);
        hub.running.broker.publish(&publisher, message).await.unwrap();
    }
    eventually("the log has dropped what was kept", || log.oldest() > kept_at).await;
    let faulty = hub.crash(&faulty).await;
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    let hub = Hub::start_on(&storage, &folder, &Targets::default(), limits(), options()).await;
    let mut session = hub.kept(reader(), "c").await;
    assert!(session.is_present());
    let expected: Vec<String> = (0..5).map(|n| format!("kept {n}")).collect();
    assert_eq!(payloads(&mut session, 5).await, expected);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_key_keeps_as_many_sessions_as_it_may() {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    let limits = Limits { sessions: 3, sessions_per_key: 2, ..Limits::default() };
    let hub = Hub::start_with(&storage, &folder, &Targets::default(), limits).await;
    let (_one, _two) = (hub.kept(reader(), "1").await, hub.kept(reader(), "2").await);
    let refused = |principal: Principal, client_id: &str| {
        let options = SessionOptions {
            client_id: client_id.to_owned(),
            protocol: Protocol::Mqtt5,
            clean_start: false,
            expiry: 60,
            receive_maximum: 1,
            will: None,
            peer: PeerIdentity::None,
        };
        let broker = hub.running.broker.clone();
        async move { broker.open_session(principal, options).await.map(|session| session.is_present()) }
    };
    let full = |limit, setting| Err(SessionError::TooMany { limit, setting });
    assert_eq!(refused(reader(), "3").await, full(2, "limits.sessions_per_key"));
    assert_eq!(refused(reader(), "2").await, Ok(true), "one that goes on is none more");
    let _third = hub.kept(device("a"), "c").await;
    assert_eq!(refused(device("b"), "c").await, full(3, "limits.sessions"));
    let _not_kept = hub.session(device("b")).await;
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_deleted_device_leaves_no_session() {
    let hub = hub().await;
    let mut session = hub.kept(device("a"), "c").await;
    hub.running.broker.end_sessions(&device("a")).await;
    assert!(matches!(session.next().await, SessionEvent::Close(CloseReason::Disabled)));
    drop(session);
    eventually("the session is closed", || hub.running.broker.session_count() == 0).await;
    assert!(status(&hub, "a").await.is_none());
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_expired_message_is_not_sent() {
    let hub = hub().await;
    let mut session = hub.kept(device("a"), "c").await;
    subscribe(&mut session, "A1B2C3D4E5/a/data", Qos::AtLeastOnce).await.unwrap();
    session.close(End::Lost).await;
    let text = device("a").to_string();
    for (expiry, payload) in [(Some(10), "short"), (Some(100), "long"), (None, "for ever")] {
        let envelope = Envelope::new("A1B2C3D4E5/a/data", &text, Protocol::Mqtt5, Qos::AtLeastOnce, payload.as_bytes());
        hub.running.broker.publish(&device("a"), Envelope { expiry, ..envelope }).await.unwrap();
    }
    hub.clock.advance(Duration::from_secs(11));
    let mut session = hub.kept(device("a"), "c").await;
    let outbound = deliver(&mut session).await;
    let row = &outbound.rows()[0];
    assert_eq!((outbound.payload(row), outbound.message(row).expiry), (&b"long"[..], Some(89))); // [MQTT5-3.3.2-6]
    assert_eq!(status(&hub, "a").await.unwrap().expired, 1); // [MQTT5-3.3.2-5]
    publish(&mut session, EVENT, Qos::AtMostOnce, "x").unwrap();
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}
