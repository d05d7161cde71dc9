//! Gateways whose sessions outlive their connections: what they subscribed to for others does not.

use super::*;
use crate::End;

const OWN: &str = "GATEWAY001/g/control";

async fn kept(hub: &Hub) -> Session {
    hub.kept(Principal::Device(id("GATEWAY001/g")), "g").await
}

/// A gateway that is kept, with a device online and subscribed for.
async fn acting(hub: &Hub) -> Gateway {
    let mut gateway = Gateway::of(id("GATEWAY001/g"), kept(hub).await).await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    for filter in [OWN, CONTROL] {
        gateway.subscribe(filter).await.unwrap();
    }
    gateway
}

async fn subscriptions(hub: &Hub) -> Vec<String> {
    hub.running.broker.device_session(&id("GATEWAY001/g")).await.unwrap().subscriptions
}

async fn lent_ends(hub: &Hub) {
    for _ in 0..400 {
        if subscriptions(hub).await == ["$gateway/operation/result/GATEWAY001/g", OWN] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?}", subscriptions(hub).await);
}

#[tokio::test]
async fn what_is_sent_to_a_device_does_not_wait_for_a_gateway_that_is_gone() {
    let hub = hub().await;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
    let gateway = acting(&hub).await;
    gateway.session.close(End::Lost).await;
    lent_ends(&hub).await;
    tell(&hub, CONTROL, "to the device").await;
    tell(&hub, OWN, "to the gateway").await;

    let mut gateway = Gateway { id: id("GATEWAY001/g"), session: kept(&hub).await, heard: VecDeque::new() };
    assert!(gateway.session.is_present());
    assert_eq!(gateway.hear(OWN).await, "to the gateway");
    assert_eq!(gateway.heard.len(), 0);
    // It begins again with `online`, and has what it subscribes to from then on.
    assert_eq!(gateway.subscribe(CONTROL).await, Err(ErrorKind::Forbidden));
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    gateway.subscribe(CONTROL).await.unwrap();
    assert!(gateway.hears(&hub, CONTROL).await);
    drop(gateway);
    end(hub).await;
}

#[tokio::test]
async fn a_connection_that_takes_over_begins_without_devices() {
    let hub = hub().await;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
    let mut news = News::follow(&hub).await;
    let mut old = acting(&hub).await;
    news.is("A1B2C3D4E5/a", "ONLINE", "DEVICE_CONNECT").await;
    let (session, ()) = futures::future::join(kept(&hub), async {
        assert_eq!(old.session.ended().await, crate::CloseReason::TakenOver);
        assert_eq!(old.publish(EVENT, "x"), Err(ErrorKind::Unavailable));
        old.session.close(End::Refused).await;
    })
    .await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_KICKED").await;
    let mut gateway = Gateway { id: id("GATEWAY001/g"), session, heard: VecDeque::new() };
    assert_eq!(subscriptions(&hub).await, ["$gateway/operation/result/GATEWAY001/g", OWN]);
    assert_eq!(gateway.publish(EVENT, "x"), Err(ErrorKind::Forbidden));
    assert!(!gateway.hears(&hub, CONTROL).await);
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    gateway.publish(EVENT, "x").unwrap();
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn after_a_crash_no_gateway_hears_for_others() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let start = async |faulty: &Faulty| {
        let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
        Hub::start(&storage, &folder, &Targets::default()).await
    };
    let hub = start(&faulty).await;
    furnish(&hub).await;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
    let gateway = acting(&hub).await;
    assert_eq!(subscriptions(&hub).await.len(), 3);
    let after = faulty.crash();
    hub.running.broker.store().close().await;
    hub.running.drain(Duration::ZERO).await;
    drop(gateway);

    let hub = start(&after).await;
    assert_eq!(subscriptions(&hub).await, ["$gateway/operation/result/GATEWAY001/g", OWN]);
    assert!(gateways::of(&hub.running.broker, &id("A1B2C3D4E5/a")).unwrap().unwrap().online_since.is_none());
    tell(&hub, CONTROL, "to the device").await;
    tell(&hub, OWN, "to the gateway").await;
    let mut gateway = Gateway { id: id("GATEWAY001/g"), session: kept(&hub).await, heard: VecDeque::new() };
    assert_eq!(gateway.hear(OWN).await, "to the gateway");
    assert!(gateway.heard.iter().all(|(topic, _)| topic != CONTROL));
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0, "what was bound still is");
    drop(gateway);
    end(hub).await;
}
