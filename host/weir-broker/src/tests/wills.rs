//! Wills: sent, discarded, delayed.

use std::time::Duration;

use weir_core::{OwnedMessage, Qos};

use super::{
    hub::{Hub, administrator, device},
    sessions::{hub, payloads, subscribe},
};
use crate::{End, Session, Will};

async fn with_will(hub: &Hub, name: &str, delay: u32, expiry: u32, clean: bool) -> Session {
    let topic = format!("A1B2C3D4E5/{name}/event").parse().unwrap();
    let payload = format!("will of {name} after {delay}").into_bytes();
    let will = Will { message: OwnedMessage::new(topic, Qos::AtLeastOnce, payload), delay };
    hub.open(device(name), "c", |options| {
        options.will = Some(will);
        options.expiry = expiry;
        options.clean_start = clean;
    })
    .await
}

async fn observer(hub: &Hub) -> Session {
    let mut observer = hub.session(administrator()).await;
    subscribe(&mut observer, "A1B2C3D4E5/+/event", Qos::AtLeastOnce).await.unwrap();
    observer
}

#[tokio::test]
async fn a_will_is_sent_unless_the_client_says_goodbye() {
    let hub = hub().await;
    let mut observer = observer(&hub).await;
    let goodbye = |with_will| End::Disconnected { with_will, expiry: None };
    with_will(&hub, "a", 0, 0, true).await.close(goodbye(false)).await; // [MQTT-3.14.4-3]
    with_will(&hub, "b", 0, 0, true).await.close(goodbye(true)).await;
    assert_eq!(payloads(&mut observer, 1).await, ["will of b after 0"]);
    for end in [End::Lost, End::KeepAlive, End::Refused] {
        with_will(&hub, "a", 0, 0, true).await.close(end).await; // [MQTT-3.1.2-8]
        assert_eq!(payloads(&mut observer, 1).await, ["will of a after 0"], "{end:?}");
    }
    // A session that is not kept ends at once, and so does the delay.
    with_will(&hub, "a", 600, 0, true).await.close(End::Lost).await;
    assert_eq!(payloads(&mut observer, 1).await, ["will of a after 600"]);
    drop(observer);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_delayed_will_waits_for_the_client() {
    let hub = hub().await;
    let mut observer = observer(&hub).await;
    // The client comes back [MQTT5-3.1.3-9]: nothing is sent.
    with_will(&hub, "a", 600, 3_600, false).await.close(End::Lost).await;
    let back = with_will(&hub, "a", 601, 3_600, false).await;
    // A client that starts anew ends the session, and the wait.
    back.close(End::Lost).await;
    let anew = with_will(&hub, "a", 0, 0, true).await;
    assert_eq!(payloads(&mut observer, 1).await, ["will of a after 601"]);
    anew.close(End::Disconnected { with_will: false, expiry: None }).await;
    // The delay passes.
    with_will(&hub, "b", 1, 3_600, false).await.close(End::Lost).await;
    assert_eq!(payloads(&mut observer, 1).await, ["will of b after 1"]);
    drop(observer);
    hub.running.drain(Duration::from_secs(5)).await;
}
