//! A change of policy, of a product's state, or of time: what it does to sessions that are open.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::Instant;
use weir_core::{Classify, Envelope, ErrorKind, Protocol, Qos, TopicClass};
use weir_log::storage::{Storage, faulty::Faulty};

use super::{
    hub::{Hub, Targets, device},
    sessions::{deliver, subscribe},
};
use crate::{
    CloseReason, Limits, PublishError, Rate, Session, SessionEvent,
    admin::{products, topics},
};

async fn hub() -> Hub {
    hub_with(Limits::default()).await
}

async fn hub_with(limits: Limits) -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    Hub::start_with(&storage, &Arc::new(TempDir::new().unwrap()), &Targets::default(), limits).await
}

fn class(suffix: &str, publish: bool, subscribe: bool) -> TopicClass {
    TopicClass { suffix: suffix.parse().unwrap(), publish, subscribe }
}

fn publish(session: &mut Session, topic: &str, count: usize) -> Result<(), PublishError> {
    let publisher = session.publisher().to_owned();
    let message = Envelope::new(topic, &publisher, Protocol::Mqtt311, Qos::AtMostOnce, b"x");
    session.publish(&vec![message; count]).map(|_| ())
}

fn denied(result: Result<(), PublishError>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::Forbidden)
}

#[tokio::test]
async fn a_topic_that_was_allowed_before_is_asked_about_again_after_a_change() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let product = "A1B2C3D4E5".parse().unwrap();
    let mut session = hub.session(device("a")).await;
    let topic = "A1B2C3D4E5/a/up/1";
    assert!(denied(publish(&mut session, topic, 1)));
    topics::create(broker, &product, class("up/+", true, false)).await.unwrap();
    publish(&mut session, topic, 1).unwrap();
    publish(&mut session, topic, 1).unwrap();
    topics::change(broker, &product, class("up/+", false, true)).await.unwrap();
    assert!(denied(publish(&mut session, topic, 1)));
    topics::change(broker, &product, class("up/+", true, true)).await.unwrap();
    publish(&mut session, topic, 2).unwrap();
    topics::delete(broker, &product, &"up/+".parse().unwrap()).await.unwrap();
    assert!(denied(publish(&mut session, topic, 2)));
    publish(&mut session, "A1B2C3D4E5/a/event", 1).unwrap();
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn subscriptions_that_are_not_allowed_any_more_end_and_others_stay() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let product = "A1B2C3D4E5".parse().unwrap();
    topics::create(broker, &product, class("cmd/+", false, true)).await.unwrap();
    topics::create(broker, &product, class("more", false, true)).await.unwrap();
    let mut session = hub.session(device("a")).await;
    for rest in ["cmd/+", "cmd/1", "more", "control"] {
        subscribe(&mut session, &format!("A1B2C3D4E5/a/{rest}"), Qos::AtMostOnce).await.unwrap();
    }
    topics::delete(broker, &product, &"cmd/+".parse().unwrap()).await.unwrap();
    let id = "A1B2C3D4E5/a".parse().unwrap();
    let held = broker.device_session(&id).await.unwrap().subscriptions;
    assert_eq!(held, ["A1B2C3D4E5/a/control", "A1B2C3D4E5/a/more"]);
    let text = broker.metrics().encode(broker.log());
    assert!(text.contains(r#"weir_refused_total{operation="subscription",reason="policy_changed"} 2"#), "{text}");

    let mut writer = hub.session(super::hub::administrator()).await;
    publish(&mut writer, "A1B2C3D4E5/a/cmd/1", 1).unwrap();
    publish(&mut writer, "A1B2C3D4E5/a/more", 1).unwrap();
    let outbound = deliver(&mut session).await;
    assert_eq!(outbound.rows().len(), 1);
    assert_eq!(outbound.topic(&outbound.rows()[0]), "A1B2C3D4E5/a/more");
    let refused = subscribe(&mut session, "A1B2C3D4E5/a/cmd/1", Qos::AtMostOnce).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    drop((session, writer));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn classes_are_in_force_again_after_a_restart() {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    let hub = Hub::start(&storage, &folder, &Targets::default()).await;
    let product = "A1B2C3D4E5".parse().unwrap();
    topics::create(&hub.running.broker, &product, class("up", true, false)).await.unwrap();
    hub.running.drain(Duration::from_secs(5)).await;
    let hub = Hub::start(&storage, &folder, &Targets::default()).await;
    let mut session = hub.session(device("a")).await;
    publish(&mut session, "A1B2C3D4E5/a/up", 1).unwrap();
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_disabled_product_ends_the_sessions_of_its_devices_only() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let product = "A1B2C3D4E5".parse().unwrap();
    let (mut a, mut b) = (hub.session(device("a")).await, hub.session(device("b")).await);
    let administrator = hub.session(super::hub::administrator()).await;
    products::set_enabled(broker, &product, false).await.unwrap();
    for session in [&mut a, &mut b] {
        assert!(matches!(session.next().await, SessionEvent::Close(CloseReason::Disabled)));
        assert_eq!(publish(session, "A1B2C3D4E5/a/event", 1), Err(PublishError::Ended));
    }
    assert_eq!(administrator.closed(), None);
    drop((a, b));
    let mut late = hub.session(device("a")).await;
    assert!(matches!(late.next().await, SessionEvent::Close(CloseReason::Disabled)));
    drop(late);
    products::set_enabled(broker, &product, true).await.unwrap();
    let again = hub.session(device("a")).await;
    assert_eq!(again.closed(), None);
    drop((again, administrator));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_is_paced_and_an_application_is_not() {
    let limits = Limits { device_messages: Rate::new(10, 3), device_bytes: None, ..Limits::default() };
    let hub = hub_with(limits).await;
    let mut session = hub.session(device("a")).await;
    let topic = "A1B2C3D4E5/a/event";
    publish(&mut session, topic, 3).unwrap();
    let Err(PublishError::Paced { until }) = publish(&mut session, topic, 1) else { panic!("not paced") };
    assert!(until > Instant::now());
    tokio::time::sleep_until(until).await;
    publish(&mut session, topic, 1).unwrap();
    assert!(matches!(publish(&mut session, topic, 1), Err(PublishError::Paced { .. })));
    let mut other = hub.session(device("b")).await;
    publish(&mut other, "A1B2C3D4E5/b/event", 3).unwrap();
    let mut administrator = hub.session(super::hub::administrator()).await;
    publish(&mut administrator, topic, 100).unwrap();
    let text = hub.running.broker.metrics().encode(hub.running.broker.log());
    assert!(text.contains(r#"weir_refused_total{operation="publish",reason="paced"} 2"#), "{text}");
    drop((session, other, administrator));
    hub.running.drain(Duration::from_secs(5)).await;
}
