//! Retained messages, in a hub and over its end.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::{Envelope, Protocol, Qos, RetainHandling};
use weir_log::storage::{Storage, faulty::Faulty};

use super::{
    hub::{Hub, Targets, administrator, device, filter},
    sessions::deliver,
};
use crate::Session;

async fn retain(hub: &Hub, name: &str, payload: &str) {
    let publisher = device(name);
    let (topic, text) = (format!("A1B2C3D4E5/{name}/event"), publisher.to_string());
    let envelope = Envelope::new(&topic, &text, Protocol::Mqtt5, Qos::AtLeastOnce, payload.as_bytes());
    hub.running.broker.publish(&publisher, Envelope { retain: true, ..envelope }).await.unwrap();
}

async fn received(session: &mut Session, count: usize) -> Vec<(String, bool, Qos)> {
    let mut found = Vec::new();
    while found.len() < count {
        let outbound = deliver(session).await;
        for row in outbound.rows() {
            found.push((String::from_utf8(outbound.payload(row).to_vec()).unwrap(), row.retain, row.qos));
        }
        let identifiers: Vec<u16> = outbound.rows().iter().map(|row| row.packet_id).collect();
        session.acknowledged(&identifiers);
    }
    found
}

async fn start(storage: &Faulty, folder: &Arc<TempDir>) -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    Hub::start(&storage, folder, &Targets::default()).await
}

#[tokio::test]
async fn a_new_subscription_gets_the_last_message_of_each_topic() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let hub = start(&faulty, &folder).await;
    retain(&hub, "a", "old").await;
    retain(&hub, "a", "new").await;
    retain(&hub, "b", "other").await;
    let mut session = hub.session(administrator()).await;
    let mut subscription = filter("A1B2C3D4E5/+/event", Qos::AtLeastOnce);
    session.subscribe(std::slice::from_ref(&subscription)).await.remove(0).unwrap();
    let text = |payload: &str, retain| (payload.to_owned(), retain, Qos::AtLeastOnce);
    // [MQTT-3.3.1-6], [MQTT-3.3.1-8]
    assert_eq!(received(&mut session, 2).await, [text("new", true), text("other", true)]);
    retain(&hub, "a", "live").await;
    assert_eq!(received(&mut session, 1).await, [text("live", false)]); // [MQTT-3.3.1-9]
    // Again for a subscription that replaces one, unless it says otherwise.
    subscription.retain_handling = RetainHandling::SendIfNew;
    subscription.retain_as_published = true;
    session.subscribe(std::slice::from_ref(&subscription)).await.remove(0).unwrap();
    retain(&hub, "a", "as published").await;
    assert_eq!(received(&mut session, 1).await, [text("as published", true)]); // [MQTT5-3.3.1-13]
    subscription.retain_handling = RetainHandling::Send;
    subscription.qos = Qos::AtMostOnce;
    session.subscribe(std::slice::from_ref(&subscription)).await.remove(0).unwrap();
    let at_most = |payload: &str| (payload.to_owned(), true, Qos::AtMostOnce);
    assert_eq!(received(&mut session, 2).await, [at_most("as published"), at_most("other")]); // [MQTT-3.8.4-3]
    drop(session);
    let faulty = hub.crash(&faulty).await;

    // Over a crash, and over an orderly end.
    let hub = start(&faulty, &folder).await;
    retain(&hub, "b", "").await;
    hub.running.drain(Duration::from_secs(5)).await;
    let hub = start(&faulty, &folder).await;
    let mut session = hub.session(administrator()).await;
    session.subscribe(&[filter("A1B2C3D4E5/#", Qos::AtLeastOnce)]).await.remove(0).unwrap();
    assert_eq!(received(&mut session, 1).await, [text("as published", true)]);
    retain(&hub, "b", "end").await;
    assert_eq!(received(&mut session, 1).await, [text("end", false)]);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_retained_message_waits_for_a_kept_session_over_a_crash() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let hub = start(&faulty, &folder).await;
    retain(&hub, "a", "first").await;
    let mut session = hub.kept(device("a"), "c").await;
    session.subscribe(&[filter("A1B2C3D4E5/a/data", Qos::AtLeastOnce)]).await.remove(0).unwrap();
    drop(session);
    let mut reader = hub.kept(administrator(), "r").await;
    reader.subscribe(&[filter("A1B2C3D4E5/+/event", Qos::AtLeastOnce)]).await.remove(0).unwrap();
    drop(reader);
    // The topic has another message by the time it is sent.
    retain(&hub, "a", "second").await;
    hub.running.drain(Duration::from_secs(5)).await;
    let hub = start(&faulty, &folder).await;
    let mut reader = hub.kept(administrator(), "r").await;
    let told: Vec<(String, bool)> = received(&mut reader, 2).await.into_iter().map(|(p, r, _)| (p, r)).collect();
    assert_eq!(told, [("first".to_owned(), true), ("second".to_owned(), false)]);
    drop(reader);
    hub.running.drain(Duration::from_secs(5)).await;
}
