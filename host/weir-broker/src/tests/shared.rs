//! Shared subscriptions: each message to one member, and to another if that one leaves without a word.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_core::Qos;
use weir_log::storage::{Storage, faulty::Faulty};

use super::{
    hub::{Hub, Targets, administrator, device},
    sessions::{deliver, hub, payloads, publish, subscribe},
};
use crate::{End, Session, SessionEvent};

const GROUP: &str = "$share/g/A1B2C3D4E5/+/event";

async fn member(hub: &Hub, name: &str) -> Session {
    let mut session = hub.kept(administrator(), name).await;
    // Exactly once cannot be promised to one of a group.
    assert_eq!(subscribe(&mut session, GROUP, Qos::ExactlyOnce).await, Ok(Qos::AtLeastOnce));
    session
}

/// Takes until nothing comes for a while. Acknowledges if `acknowledging`.
async fn drain(session: &mut Session, acknowledging: bool) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(SessionEvent::Deliver(outbound)) =
        tokio::time::timeout(Duration::from_millis(300), session.next()).await
    {
        for row in outbound.rows() {
            found.push(String::from_utf8(outbound.payload(row).to_vec()).unwrap());
            if acknowledging && row.qos > Qos::AtMostOnce {
                session.acknowledged(&[row.packet_id]);
            }
        }
    }
    found
}

#[tokio::test]
async fn each_message_goes_to_one_member_and_to_another_if_that_leaves() {
    let hub = hub().await;
    let (mut one, mut two) = (member(&hub, "1").await, member(&hub, "2").await);
    let mut other = hub.session(administrator()).await;
    subscribe(&mut other, "$share/h/A1B2C3D4E5/+/event", Qos::AtLeastOnce).await.unwrap();
    let mut publisher = hub.session(device("a")).await;
    for n in 0..40 {
        publish(&mut publisher, "A1B2C3D4E5/a/event", Qos::AtLeastOnce, &n.to_string()).unwrap();
    }
    assert_eq!(payloads(&mut other, 40).await.len(), 40, "another group gets them too");
    // The first takes what it may have in flight and does not acknowledge.
    let unacknowledged = drain(&mut one, false).await;
    assert_eq!(unacknowledged.len(), 20);
    let mut second = drain(&mut two, true).await;
    assert_eq!(second.len(), 20);
    one.close(End::Lost).await;
    second.extend(drain(&mut two, true).await);
    let all: BTreeSet<&String> = second.iter().collect();
    assert_eq!((second.len(), all.len()), (40, 40), "the second has all of them, once");
    drop((two, other, publisher));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_nobody_took_is_there_after_a_crash() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    let hub = Hub::start(&storage, &folder, &Targets::default()).await;
    drop(member(&hub, "1").await);
    for n in 0..5 {
        hub.publish("a", &n.to_string()).await;
    }
    let faulty = hub.crash(&faulty).await;
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    let hub = Hub::start(&storage, &folder, &Targets::default()).await;
    let mut session = hub.kept(administrator(), "1").await;
    let mut identifiers = Vec::new();
    while identifiers.len() < 5 {
        identifiers.extend(deliver(&mut session).await.rows().iter().map(|row| row.packet_id));
    }
    assert!(identifiers.iter().all(|identifier| *identifier > 49_151));
    assert_eq!(session.acknowledged(&identifiers), 5);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
    let hub = Hub::start(&storage, &folder, &Targets::default()).await;
    let mut session = hub.kept(administrator(), "1").await;
    hub.publish("a", "new").await;
    assert_eq!(drain(&mut session, true).await, ["new"], "what is done is not sent again");
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}
