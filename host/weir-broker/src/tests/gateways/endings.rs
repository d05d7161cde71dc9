//! What ends the right of a gateway to act for a device, and what that looks like.

use weir_core::TopicClass;

use super::*;
use crate::{
    End,
    admin::{devices, products, topics},
};

/// A gateway with a device online and subscribed for.
async fn acting(hub: &Hub, news: &mut News) -> Gateway {
    bound(hub, "GATEWAY001/g", &["A1B2C3D4E5/a", "A1B2C3D4E5/b"]).await;
    let mut gateway = Gateway::connect(hub, "g").await;
    for device in ["A1B2C3D4E5/a", "A1B2C3D4E5/b"] {
        assert_eq!(gateway.code("online", device).await, 0);
        news.is(device, "ONLINE", "DEVICE_CONNECT").await;
        gateway.subscribe(&format!("{device}/control")).await.unwrap();
    }
    assert!(gateway.hears(hub, CONTROL).await);
    gateway.publish(EVENT, "x").unwrap();
    gateway
}

/// The gateway has nothing to do with the device any more; what it has with the other is as it was.
async fn has_ended(hub: &Hub, gateway: &mut Gateway) {
    assert_eq!(gateway.publish(EVENT, "x"), Err(ErrorKind::Forbidden));
    assert_eq!(gateway.subscribe(CONTROL).await, Err(ErrorKind::Forbidden));
    assert!(!gateway.hears(hub, CONTROL).await);
    gateway.publish("A1B2C3D4E5/b/event", "x").unwrap();
    assert!(gateway.hears(hub, "A1B2C3D4E5/b/control").await);
}

#[tokio::test]
async fn unbinding_by_the_gateway() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    assert_eq!(gateway.code("unbind", "A1B2C3D4E5/a").await, 0);
    has_ended(&hub, &mut gateway).await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_DISCONNECT").await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, -1);
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn unbinding_by_an_administrator() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    let unbind = |device: &str| gateways::unbind(&hub.running.broker, &gateway.id, vec![id(device)]);
    unbind("A1B2C3D4E5/a").await.unwrap();
    let again = unbind("A1B2C3D4E5/a").await.unwrap_err();
    assert_eq!(again.to_string(), "there is no binding \"GATEWAY001/g A1B2C3D4E5/a\"");
    has_ended(&hub, &mut gateway).await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "STATE_KICKED").await;
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn disabling_the_device() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    devices::set_enabled(&hub.running.broker, &id("A1B2C3D4E5/a"), false).await.unwrap();
    has_ended(&hub, &mut gateway).await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "STATE_KICKED").await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 808);
    devices::set_enabled(&hub.running.broker, &id("A1B2C3D4E5/a"), true).await.unwrap();
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    gateway.publish(EVENT, "x").unwrap();
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn deleting_the_device() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    devices::delete(&hub.running.broker, &id("A1B2C3D4E5/a")).await.unwrap();
    has_ended(&hub, &mut gateway).await;
    // One made by the same name later is another's.
    let now = hub.clock.now();
    hub.running.broker.store().create_device(&id("A1B2C3D4E5/a"), None, now).await.unwrap();
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, -1);
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn disabling_the_product() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    products::set_enabled(&hub.running.broker, &"A1B2C3D4E5".parse().unwrap(), false).await.unwrap();
    for device in ["A1B2C3D4E5/a", "A1B2C3D4E5/b"] {
        news.is(device, "OFFLINE", "STATE_KICKED").await;
        assert_eq!(gateway.publish(&format!("{device}/event"), "x"), Err(ErrorKind::Forbidden));
        assert!(!gateway.hears(&hub, &format!("{device}/control")).await);
        assert_eq!(gateway.code("online", device).await, 808);
    }
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn a_class_of_topics_that_is_taken_away() {
    let hub = hub().await;
    let (broker, product) = (&hub.running.broker, "A1B2C3D4E5".parse().unwrap());
    let class = TopicClass { suffix: "cmd".parse().unwrap(), publish: true, subscribe: true };
    topics::create(broker, &product, class).await.unwrap();
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    gateway.subscribe("A1B2C3D4E5/a/cmd").await.unwrap();
    gateway.publish("A1B2C3D4E5/a/cmd", "x").unwrap();
    gateway.hear("A1B2C3D4E5/a/cmd").await;
    assert_eq!(gateway.subscribe("GATEWAY001/g/cmd").await, Err(ErrorKind::Forbidden), "it is not its own product's");
    topics::delete(broker, &product, &"cmd".parse().unwrap()).await.unwrap();
    assert_eq!(gateway.publish("A1B2C3D4E5/a/cmd", "x"), Err(ErrorKind::Forbidden));
    assert!(!gateway.hears(&hub, "A1B2C3D4E5/a/cmd").await);
    assert!(gateway.hears(&hub, CONTROL).await);
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn a_device_that_connects_by_itself_and_is_brought_online_again() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    let mut device = hub.session(crate::tests::hub::device("a")).await;
    has_ended(&hub, &mut gateway).await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_KICKED").await;
    news.is("A1B2C3D4E5/a", "ONLINE", "DEVICE_CONNECT").await;
    publish(&mut device, EVENT, Qos::AtLeastOnce, "x").unwrap();
    let broker = &hub.running.broker;
    assert_eq!(gateways::of(broker, &id("A1B2C3D4E5/a")).unwrap().unwrap().online_since, None);

    // Who comes last is the one, as among connections.
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    assert_eq!(device.ended().await, crate::CloseReason::TakenOver);
    device.close(End::Refused).await;
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_KICKED").await;
    news.is("A1B2C3D4E5/a", "ONLINE", "DEVICE_CONNECT").await;
    gateway.subscribe(CONTROL).await.unwrap();
    assert!(gateway.hears(&hub, CONTROL).await);
    assert_eq!(gateway.code("offline", "A1B2C3D4E5/a").await, 0);
    // The end of its own connection was told when it happened, and not once more.
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_DISCONNECT").await;
    assert!(news.1.iter().all(|(device, _)| device != "A1B2C3D4E5/a"));
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn the_end_of_the_gateways_connection() {
    for (how, reason) in [
        (End::Disconnected { with_will: false, expiry: None }, "DEVICE_DISCONNECT"),
        (End::KeepAlive, "KEEPALIVE_TIMEOUT"),
        (End::Refused, "STATE_KICKED"),
    ] {
        let hub = hub().await;
        let mut news = News::follow(&hub).await;
        let gateway = acting(&hub, &mut news).await;
        gateway.session.close(how).await;
        news.is("GATEWAY001/g", "ONLINE", "DEVICE_CONNECT").await;
        for device in ["A1B2C3D4E5/a", "A1B2C3D4E5/b", "GATEWAY001/g"] {
            news.is(device, "OFFLINE", reason).await;
            if device == "GATEWAY001/g" {
                break;
            }
            assert_eq!(hub.running.broker.sub_devices().through(&id(device)), None);
        }
        // Another connection of it has no more than any other.
        let mut gateway = Gateway::connect(&hub, "g").await;
        assert_eq!(gateway.publish(EVENT, "x"), Err(ErrorKind::Forbidden));
        assert_eq!(gateway.subscribe(CONTROL).await, Err(ErrorKind::Forbidden));
        drop((gateway, news));
        end(hub).await;
    }
}

#[tokio::test]
async fn disabling_the_gateway() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let mut gateway = acting(&hub, &mut news).await;
    devices::set_enabled(&hub.running.broker, &gateway.id, false).await.unwrap();
    assert_eq!(gateway.publish(EVENT, "x"), Err(ErrorKind::Unavailable));
    // Whether its connection has let go yet or not.
    for device in ["A1B2C3D4E5/a", "A1B2C3D4E5/b"] {
        news.is(device, "OFFLINE", "STATE_KICKED").await;
    }
    let held = hub.running.broker.device_session(&gateway.id).await.unwrap().subscriptions;
    assert_eq!(held, ["$gateway/operation/result/GATEWAY001/g", "GATEWAY001/g/control"]);
    gateway.session.close(End::Refused).await;
    drop(news);
    end(hub).await;
}

#[tokio::test]
async fn disabling_the_product_of_the_gateway() {
    let hub = hub().await;
    let mut news = News::follow(&hub).await;
    let gateway = acting(&hub, &mut news).await;
    products::set_enabled(&hub.running.broker, &"GATEWAY001".parse().unwrap(), false).await.unwrap();
    news.is("A1B2C3D4E5/a", "OFFLINE", "STATE_KICKED").await;
    assert_eq!(hub.running.broker.sub_devices().through(&id("A1B2C3D4E5/b")), None);
    drop((gateway, news));
    end(hub).await;
}

/// Whichever of the two is first.
#[tokio::test]
async fn a_subscription_that_is_made_while_its_right_ends() {
    let hub = hub().await;
    let broker = hub.running.broker.clone();
    let mut gateway = Gateway::connect(&hub, "g").await;
    for round in 0..50 {
        bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
        assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
        let device = vec![id("A1B2C3D4E5/a")];
        let gateway_id = gateway.id.clone();
        let unbinding = async {
            for _ in 0..round % 10 {
                tokio::task::yield_now().await;
            }
            gateways::unbind(&broker, &gateway_id, device).await.unwrap();
        };
        let (_granted_or_not, ()) = futures::future::join(gateway.subscribe(CONTROL), unbinding).await;
        let held = broker.device_session(&gateway.id).await.unwrap().subscriptions;
        assert_eq!(held, ["$gateway/operation/result/GATEWAY001/g"], "round {round}");
    }
    drop(gateway);
    end(hub).await;
}
