//! Broadcasts: to every device, in steps, over a crash, until cancelled.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::{Classify, DeviceId, ErrorKind, Grants, Principal, ProductId, Qos};
use weir_log::{
    ReadError,
    storage::{Storage, faulty::Faulty},
};
use weir_store::Store;

use super::{
    hub::{Hub, Targets, administrator, application, device},
    sessions::{payloads, subscribe},
};
use crate::{Broadcast, BroadcastError, BroadcastState, Broker, End, Limits, Rate};

fn product() -> ProductId {
    "A1B2C3D4E5".parse().unwrap()
}

async fn hub(limits: Limits) -> (Hub, Arc<Faulty>, Arc<TempDir>) {
    let (faulty, folder) = (Arc::new(Faulty::new()), Arc::new(TempDir::new().unwrap()));
    let storage: Arc<dyn Storage> = Arc::clone(&faulty) as _;
    let hub = Hub::start_with(&storage, &folder, &Targets::default(), limits).await;
    (hub, faulty, folder)
}

async fn make_devices(store: &Store, count: usize) {
    let devices = (0..count).map(|number| {
        let id: DeviceId = format!("A1B2C3D4E5/many-{number:05}").parse().unwrap();
        async move { store.create_device(&id, None, weir_core::Timestamp(0)).await.map(|_| ()) }
    });
    futures::future::try_join_all(devices).await.unwrap();
}

async fn begin(broker: &Broker, payload: &str) -> Result<Broadcast, BroadcastError> {
    broker.broadcast(&administrator(), &product(), Qos::AtLeastOnce, payload.as_bytes().to_vec()).await
}

async fn until(broker: &Broker, broadcast: &Broadcast, reached: impl Fn(&Broadcast) -> bool) -> Broadcast {
    let waiting = async {
        loop {
            let now = broker.broadcast_to(&administrator(), &product(), broadcast.id).await.unwrap();
            if reached(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
}

/// Devices that a payload was logged for, in order.
async fn logged(broker: &Broker, payload: &str) -> Vec<String> {
    let mut reader = broker.log().reader(broker.log().oldest());
    let mut found = Vec::new();
    while reader.position() < broker.log().appended() {
        let frame = match reader.next_durable().await {
            Err(ReadError::Overtaken { .. }) => continue,
            frame => frame.unwrap(),
        };
        let records = &frame.records;
        for row in 0..records.len() {
            let topic = records.topic.value(row).strip_prefix("$broadcast/rxd/A1B2C3D4E5/");
            if records.is_message(row) && records.payload.value(row) == payload.as_bytes() {
                found.extend(topic.map(str::to_owned));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_device_gets_it_once_and_one_that_is_away_when_it_comes() {
    let (hub, ..) = hub(Limits::default()).await;
    let broker = &hub.running.broker;
    make_devices(broker.store(), 1_000).await;
    let mut here = hub.session(device("a")).await;
    subscribe(&mut here, "$broadcast/rxd/A1B2C3D4E5/a", Qos::AtLeastOnce).await.unwrap();
    let mut away = hub.kept(device("b"), "b").await;
    subscribe(&mut away, "$broadcast/rxd/A1B2C3D4E5/b", Qos::AtLeastOnce).await.unwrap();
    away.close(End::Lost).await;

    let begun = begin(broker, "all").await.unwrap();
    assert_eq!((begun.state, begun.total), (BroadcastState::Running, 1_002));
    let done = until(broker, &begun, |now| now.ended_at.is_some()).await;
    assert_eq!((done.state, done.published), (BroadcastState::Done, 1_002));
    assert_eq!(payloads(&mut here, 1).await, ["all"]);
    let mut back = hub.kept(device("b"), "b").await;
    assert_eq!(payloads(&mut back, 1).await, ["all"]);
    let devices = logged(broker, "all").await;
    assert_eq!(devices.len(), 1_002);
    assert!(devices.is_sorted(), "they come by name");
    let listed = broker.broadcasts_to(&administrator(), &product()).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&done));
    let again = broker.cancel_broadcast(&administrator(), &product(), done.id).await;
    assert_eq!(again, Err(BroadcastError::Ended(done.id)));
    drop((here, back));
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn it_goes_at_its_rate_and_can_be_cancelled() {
    let slow = Limits { broadcast_messages: Rate::new(1, 300), ..Limits::default() };
    let (hub, ..) = hub(slow).await;
    let broker = &hub.running.broker;
    make_devices(broker.store(), 600).await;
    let begun = begin(broker, "slow").await.unwrap();
    let running = until(broker, &begun, |now| now.published > 0).await;
    assert_eq!((running.state, running.published), (BroadcastState::Running, 256));
    assert_eq!(begin(broker, "second").await, Err(BroadcastError::Running(product())));
    let cancelled = broker.cancel_broadcast(&administrator(), &product(), begun.id).await.unwrap();
    assert_eq!((cancelled.state, cancelled.published), (BroadcastState::Cancelled, 256));
    assert_eq!(broker.cancel_broadcast(&administrator(), &product(), begun.id).await, Ok(cancelled));
    assert!(begin(broker, "second").await.is_ok());
    // The rate does not hold up the end.
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn it_goes_on_after_a_crash_and_leaves_nobody_out() {
    let slow = Limits { broadcast_messages: Rate::new(1, 300), ..Limits::default() };
    let (hub, faulty, folder) = hub(slow).await;
    make_devices(hub.running.broker.store(), 600).await;
    let begun = begin(&hub.running.broker, "kept").await.unwrap();
    until(&hub.running.broker, &begun, |now| now.published > 0).await;
    let storage: Arc<dyn Storage> = Arc::new(hub.crash(&faulty).await);
    let hub = Hub::start_with(&storage, &folder, &Targets::default(), Limits::default()).await;
    let done = until(&hub.running.broker, &begun, |now| now.ended_at.is_some()).await;
    assert_eq!((done.state, done.published, done.total), (BroadcastState::Done, 602, 602));
    let devices = logged(&hub.running.broker, "kept").await;
    assert_eq!(devices.iter().collect::<BTreeSet<_>>().len(), 602);
    // A crash repeats one step at most.
    assert!(devices.len() <= 602 + 256, "{}", devices.len());
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn it_is_refused_at_the_door() {
    let (hub, ..) = hub(Limits { broadcast_bytes: 3, ..Limits::default() }).await;
    let broker = &hub.running.broker;
    let kind = |outcome: Result<Broadcast, BroadcastError>| outcome.unwrap_err().kind();
    let ask = async |principal: &Principal, product: &str, qos, payload: &[u8]| {
        kind(broker.broadcast(principal, &product.parse().unwrap(), qos, payload.to_vec()).await)
    };
    let admin = administrator();
    assert_eq!(ask(&admin, "A1B2C3D4E5", Qos::AtLeastOnce, b"long").await, ErrorKind::TooLarge);
    assert_eq!(ask(&admin, "A1B2C3D4E5", Qos::ExactlyOnce, b"x").await, ErrorKind::Invalid);
    assert_eq!(ask(&admin, "NOPRODUCT1", Qos::AtLeastOnce, b"x").await, ErrorKind::NotFound);
    assert_eq!(ask(&application("#"), "A1B2C3D4E5", Qos::AtLeastOnce, b"x").await, ErrorKind::Forbidden);
    let grants = |filter: &str| {
        let grants = Grants { publish: vec![filter.parse().unwrap()], subscribe: Vec::new() };
        Principal::Application { key: "app".parse().unwrap(), grants: Arc::new(grants) }
    };
    let one = grants("$broadcast/rxd/A1B2C3D4E5/a");
    assert_eq!(ask(&one, "A1B2C3D4E5", Qos::AtLeastOnce, b"x").await, ErrorKind::Forbidden);
    let all = grants("$broadcast/rxd/A1B2C3D4E5/+");
    let begun = broker.broadcast(&all, &product(), Qos::AtMostOnce, b"x".to_vec()).await.unwrap();
    assert_eq!(begun.publisher, all.to_string());
    assert_eq!(kind(broker.broadcast_to(&one, &product(), begun.id).await), ErrorKind::Forbidden);
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}
