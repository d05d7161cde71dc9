//! Gateways: what they are answered, what they may do for others, and when that ends.

mod endings;
mod kept;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::time::timeout;
use weir_core::{DeviceId, ErrorKind, Principal, ProductType, Qos};
use weir_log::storage::{Storage, faulty::Faulty};
use weir_store::NewProduct;

use super::{
    hub::{Hub, Targets, administrator, eventually},
    sessions::{deliver, publish, subscribe},
};
use crate::{
    Limits, Session,
    admin::{devices, gateways},
};

const EVENT: &str = "A1B2C3D4E5/a/event";
const CONTROL: &str = "A1B2C3D4E5/a/control";

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

/// A hub with two gateways, besides its devices.
async fn hub() -> Hub {
    hub_with(Limits::default()).await
}

async fn hub_with(limits: Limits) -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let hub = Hub::start_with(&storage, &Arc::new(TempDir::new().unwrap()), &Targets::default(), limits).await;
    furnish(&hub).await;
    hub
}

async fn furnish(hub: &Hub) {
    let (store, now) = (hub.running.broker.store(), hub.clock.now());
    let product = NewProduct { id: "GATEWAY001".parse().ok(), kind: ProductType::Gateway, ..NewProduct::default() };
    store.create_product(product, now).await.unwrap();
    for name in ["GATEWAY001/g", "GATEWAY001/h"] {
        store.create_device(&id(name), None, now).await.unwrap();
    }
}

/// A connected gateway, and what it heard and nobody asked about yet.
struct Gateway {
    id: DeviceId,
    session: Session,
    heard: VecDeque<(String, String)>,
}

impl Gateway {
    async fn connect(hub: &Hub, name: &str) -> Self {
        let id = id(&format!("GATEWAY001/{name}"));
        Self::of(id.clone(), hub.session(Principal::Device(id)).await).await
    }

    async fn of(id: DeviceId, session: Session) -> Self {
        let mut gateway = Self { id, session, heard: VecDeque::new() };
        let results = format!("$gateway/operation/result/{}", gateway.id);
        gateway.subscribe(&results).await.unwrap();
        gateway
    }

    async fn subscribe(&mut self, filter: &str) -> Result<(), ErrorKind> {
        use weir_core::Classify;
        subscribe(&mut self.session, filter, Qos::AtLeastOnce).await.map(|_| ()).map_err(|error| error.kind())
    }

    fn publish(&mut self, topic: &str, payload: &str) -> Result<(), ErrorKind> {
        publish(&mut self.session, topic, Qos::AtLeastOnce, payload)
    }

    /// The next payload on a topic.
    async fn hear(&mut self, topic: &str) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|(heard, _)| heard == topic) {
                return self.heard.remove(at).unwrap().1;
            }
            let outbound = deliver(&mut self.session).await;
            for row in outbound.rows() {
                let payload = String::from_utf8(outbound.payload(row).to_vec()).unwrap();
                self.heard.push_back((outbound.topic(row).to_owned(), payload));
                self.session.acknowledged(&[row.packet_id]);
            }
        }
    }

    async fn ask(&mut self, request: Value) -> Value {
        let topic = format!("$gateway/operation/{}", self.id);
        self.publish(&topic, &request.to_string()).unwrap();
        let answer = self.hear(&format!("$gateway/operation/result/{}", self.id)).await;
        serde_json::from_str(&answer).unwrap()
    }

    /// Asks about one device; gives its code.
    async fn code(&mut self, operation: &str, device: &str) -> i64 {
        let request = json!({"type": operation, "payload": {"devices": [named(device)]}});
        let answer = self.ask(request).await;
        assert_eq!(answer["type"], operation);
        assert_eq!(answer["payload"]["devices"][0]["device_name"], named(device)["device_name"]);
        answer["payload"]["devices"][0]["result"].as_i64().unwrap()
    }

    async fn bind(&mut self, signed: Value) -> i64 {
        let answer = self.ask(json!({"type": "bind", "payload": {"devices": [signed]}})).await;
        answer["payload"]["devices"][0]["result"].as_i64().unwrap()
    }

    /// Whether it hears of a message to a device that is published now.
    async fn hears(&mut self, hub: &Hub, topic: &str) -> bool {
        let own = format!("{}/control", self.id);
        self.subscribe(&own).await.unwrap();
        for topic in [topic, &own] {
            tell(hub, topic, "now").await;
        }
        // The order is the log's, so nothing comes after this.
        self.hear(&own).await;
        let heard = self.heard.iter().position(|(heard, _)| heard == topic);
        heard.is_some_and(|at| self.heard.remove(at).is_some())
    }
}

fn named(device: &str) -> Value {
    let (product, name) = device.split_once('/').unwrap();
    json!({"product_id": product, "device_name": name})
}

/// A device as it is named to bind it, signed with a key.
fn signed(device: &str, psk: &[u8], random: i64, timestamp: i64) -> Value {
    let text = format!("{};{random};{timestamp}", device.replace('/', ""));
    let key = STANDARD.encode(psk);
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(text).finalize();
    let mut named = named(device);
    named["signature"] = STANDARD.encode(mac.into_bytes()).into();
    named["signmethod"] = "hmacsha256".into();
    named["authtype"] = "psk".into();
    named["random"] = random.into();
    named["timestamp"] = timestamp.into();
    named
}

/// Publishes as an administrator.
async fn tell(hub: &Hub, topic: &str, payload: &str) {
    let (principal, publisher) = (administrator(), administrator().to_string());
    let message =
        weir_core::Envelope::new(topic, &publisher, weir_core::Protocol::Api, Qos::AtLeastOnce, payload.as_bytes());
    hub.running.broker.publish(&principal, message).await.unwrap();
}

async fn bound(hub: &Hub, gateway: &str, devices: &[&str]) {
    let devices = devices.iter().map(|device| id(device)).collect();
    gateways::bind(&hub.running.broker, &id(gateway), devices).await.unwrap();
}

/// Follows the coming and going of devices.
struct News(Session, VecDeque<(String, String)>);

impl News {
    async fn follow(hub: &Hub) -> Self {
        let mut session = hub.session(administrator()).await;
        subscribe(&mut session, "$state/report/#", Qos::AtLeastOnce).await.unwrap();
        Self(session, VecDeque::new())
    }

    /// The next piece of news of a device: event and reason, without what all have in common.
    async fn of(&mut self, device: &str) -> (String, String) {
        loop {
            if let Some(at) = self.1.iter().position(|(heard, _)| heard == device) {
                let (_, news) = self.1.remove(at).unwrap();
                let news: Value = serde_json::from_str(&news).unwrap();
                let text = |name: &str| news[name].as_str().unwrap().to_owned();
                return (text("event").replace("EV_", ""), text("reason").replace("REASON_", ""));
            }
            let outbound = deliver(&mut self.0).await;
            for row in outbound.rows() {
                let device = outbound.topic(row).strip_prefix("$state/report/").unwrap().to_owned();
                self.1.push_back((device, String::from_utf8(outbound.payload(row).to_vec()).unwrap()));
                self.0.acknowledged(&[row.packet_id]);
            }
        }
    }

    async fn is(&mut self, device: &str, event: &str, reason: &str) {
        assert_eq!(self.of(device).await, (event.to_owned(), reason.to_owned()), "{device}");
    }
}

async fn end(hub: Hub) {
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_gateway_acts_for_a_device_between_online_and_offline() {
    let hub = hub().await;
    let broker = hub.running.broker.clone();
    let mut news = News::follow(&hub).await;
    let mut gateway = Gateway::connect(&hub, "g").await;
    news.is("GATEWAY001/g", "ONLINE", "DEVICE_CONNECT").await;
    let psk = broker.store().device(&id("A1B2C3D4E5/a")).unwrap().unwrap().psk;
    let now = hub.clock.now().seconds();

    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, -1);
    assert_eq!(gateway.bind(signed("A1B2C3D4E5/a", &psk, 7, now)).await, 0);
    assert!(broker.store().binding(&id("A1B2C3D4E5/a")).unwrap().is_some());
    assert_eq!(
        gateway.ask(json!({"type": "describe_sub_devices"})).await,
        json!({"type": "describe_sub_devices", "payload": {"devices": [named("A1B2C3D4E5/a")]}})
    );
    // Bound is not online.
    assert_eq!(gateway.publish(EVENT, "early"), Err(ErrorKind::Forbidden));
    assert_eq!(gateway.subscribe(CONTROL).await, Err(ErrorKind::Forbidden));

    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    news.is("A1B2C3D4E5/a", "ONLINE", "DEVICE_CONNECT").await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0, "once more changes nothing");
    let found = gateways::of(&broker, &id("A1B2C3D4E5/a")).unwrap().unwrap();
    assert_eq!((found.gateway, found.online_since), (gateway.id.clone(), Some(hub.clock.now())));

    // A rule and a reader see the device; the publisher is the gateway.
    let mut tail = broker.tail(&administrator(), "A1B2C3D4E5/+/event".parse().unwrap()).unwrap();
    gateway.publish(EVENT, "warm").unwrap();
    let frame = timeout(Duration::from_secs(10), tail.next()).await.unwrap().unwrap();
    let (records, rows) = (&frame.0.records, &frame.1);
    let row = rows[0] as usize;
    assert_eq!((records.product.value(row), records.device.value(row)), ("A1B2C3D4E5", "a"));
    assert_eq!(records.publisher.value(row), "device:GATEWAY001/g");

    gateway.subscribe(CONTROL).await.unwrap();
    assert!(gateway.hears(&hub, CONTROL).await);
    assert_eq!(gateway.code("offline", "A1B2C3D4E5/a").await, 0);
    news.is("A1B2C3D4E5/a", "OFFLINE", "DEVICE_DISCONNECT").await;
    assert_eq!(gateway.publish(EVENT, "late"), Err(ErrorKind::Forbidden));
    assert_eq!(gateway.subscribe(CONTROL).await, Err(ErrorKind::Forbidden));
    assert!(!gateway.hears(&hub, CONTROL).await);
    assert_eq!(gateway.code("offline", "A1B2C3D4E5/a").await, 0);
    assert_eq!(gateway.code("unbind", "A1B2C3D4E5/a").await, 0);
    assert_eq!(gateway.code("unbind", "A1B2C3D4E5/a").await, -1);
    assert_eq!(gateway.code("offline", "A1B2C3D4E5/a").await, -1);
    drop((gateway, news));
    end(hub).await;
}

#[tokio::test]
async fn a_gateway_reaches_what_is_online_through_it_and_nothing_else() {
    let hub = hub().await;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
    bound(&hub, "GATEWAY001/h", &["A1B2C3D4E5/b"]).await;
    let (mut one, mut two) = (Gateway::connect(&hub, "g").await, Gateway::connect(&hub, "h").await);
    assert_eq!(one.code("online", "A1B2C3D4E5/a").await, 0);
    assert_eq!(two.code("online", "A1B2C3D4E5/b").await, 0);
    // Nothing is gained by asking for what is another's, or nobody's.
    for operation in ["online", "offline", "unbind"] {
        assert_eq!(one.code(operation, "A1B2C3D4E5/b").await, -1, "{operation}");
        assert_eq!(one.code(operation, "A1B2C3D4E5/nobody").await, -1, "{operation}");
        assert_eq!(one.code(operation, "A1B2C3D4E5/not a name").await, 802, "{operation}");
    }
    for (topic, allowed) in [
        ("A1B2C3D4E5/a/event", true),
        ("A1B2C3D4E5/a/data", true),
        ("$shadow/operation/A1B2C3D4E5/a", true),
        ("$rrpc/txd/A1B2C3D4E5/a/1", true),
        ("$ota/report/A1B2C3D4E5/a", true),
        ("GATEWAY001/g/event", true),
        ("A1B2C3D4E5/a/control", false),
        ("A1B2C3D4E5/b/event", false),
        ("$shadow/operation/A1B2C3D4E5/b", false),
        ("GATEWAY001/h/event", false),
        ("$gateway/operation/GATEWAY001/h", false),
        ("$state/report/A1B2C3D4E5/a", false),
        ("anything", false),
    ] {
        assert_eq!(one.publish(topic, "x").is_ok(), allowed, "{topic}");
    }
    for (filter, allowed) in [
        ("A1B2C3D4E5/a/control", true),
        ("$share/s/A1B2C3D4E5/a/control", true),
        ("$broadcast/rxd/A1B2C3D4E5/a", true),
        ("$rrpc/rxd/A1B2C3D4E5/a/+", true),
        ("A1B2C3D4E5/b/control", false),
        ("$share/s/A1B2C3D4E5/b/control", false),
        ("A1B2C3D4E5/+/control", false),
        ("A1B2C3D4E5/a/#", false),
        ("A1B2C3D4E5/a/event", false),
        ("$gateway/operation/result/GATEWAY001/h", false),
        ("#", false),
    ] {
        assert_eq!(one.subscribe(filter).await.is_ok(), allowed, "{filter}");
    }
    assert!(!one.hears(&hub, "A1B2C3D4E5/b/control").await);
    // What the gateway may do, the devices behind it may not.
    drop(one);
    let mut device = hub.session(super::hub::device("a")).await;
    assert_eq!(publish(&mut device, "GATEWAY001/g/event", Qos::AtMostOnce, "x"), Err(ErrorKind::Forbidden));
    drop((two, device));
    end(hub).await;
}

#[tokio::test]
async fn a_device_is_bound_by_its_own_signature_once() {
    let hub = hub().await;
    let store = hub.running.broker.store();
    let [a, b] = ["a", "b"].map(|name| store.device(&id(&format!("A1B2C3D4E5/{name}"))).unwrap().unwrap().psk);
    let gateway_key = store.device(&id("GATEWAY001/h")).unwrap().unwrap().psk;
    let (mut one, mut two) = (Gateway::connect(&hub, "g").await, Gateway::connect(&hub, "h").await);
    let now = hub.clock.now().seconds();
    for (what, signed, code) in [
        ("nothing", named("A1B2C3D4E5/a"), 801),
        ("another's key", signed("A1B2C3D4E5/a", &b, 1, now), 803),
        ("the gateway's key", signed("A1B2C3D4E5/a", &gateway_key, 1, now), 803),
        ("an old one", signed("A1B2C3D4E5/a", &a, 1, now - 601), 805),
        ("one of tomorrow", signed("A1B2C3D4E5/a", &a, 1, now + 86_400), 805),
        ("a name", signed("A1B2C3D4E5/nobody", &a, 1, now), 802),
        ("a gateway", signed("GATEWAY001/h", &gateway_key, 1, now), 807),
    ] {
        assert_eq!(one.bind(signed).await, code, "{what}");
    }
    let certificate = {
        let mut signed = signed("A1B2C3D4E5/a", &a, 1, now);
        signed["authtype"] = "certificate".into();
        signed
    };
    assert_eq!(one.bind(certificate).await, 804);

    let first = signed("A1B2C3D4E5/a", &a, 1, now);
    assert_eq!(one.bind(first.clone()).await, 0);
    assert_eq!(one.bind(first.clone()).await, 809);
    // Not even with a signature of its own: its gateway must let it go.
    assert_eq!(two.bind(signed("A1B2C3D4E5/a", &a, 2, now)).await, 806);
    assert_eq!(one.code("unbind", "A1B2C3D4E5/a").await, 0);
    // Whoever has seen the first one has nothing by it, though it is not old.
    assert_eq!(two.bind(first).await, 805);
    assert_eq!(two.bind(signed("A1B2C3D4E5/a", &a, 2, now)).await, 0);

    devices::set_enabled(&hub.running.broker, &id("A1B2C3D4E5/b"), false).await.unwrap();
    assert_eq!(one.bind(signed("A1B2C3D4E5/b", &b, 1, now)).await, 808);
    drop((one, two));
    end(hub).await;
}

#[tokio::test]
async fn who_is_no_gateway_or_not_this_one_is_not_served() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let psk = broker.store().device(&id("A1B2C3D4E5/b")).unwrap().unwrap().psk;
    let session = hub.session(super::hub::device("a")).await;
    let mut device = Gateway::of(id("A1B2C3D4E5/a"), session).await;
    assert_eq!(device.bind(signed("A1B2C3D4E5/b", &psk, 1, hub.clock.now().seconds())).await, 808);
    assert_eq!(device.code("online", "A1B2C3D4E5/b").await, -1);
    let described = device.ask(json!({"type": "describe_sub_devices"})).await;
    assert_eq!(described["payload"]["devices"], json!([]));

    // Nobody speaks for a gateway: the answer that comes is to its own question.
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/b"]).await;
    let mut gateway = Gateway::connect(&hub, "g").await;
    let unbind = json!({"type": "unbind", "payload": {"devices": [named("A1B2C3D4E5/b")]}});
    tell(&hub, "$gateway/operation/GATEWAY001/g", &unbind.to_string()).await;
    gateway.publish("$gateway/operation/GATEWAY001/g", "nonsense").unwrap();
    let answer = gateway.ask(json!({"type": "online"})).await;
    assert_eq!(answer, json!({"type": "online", "payload": {"devices": []}, "result": "801"}));
    assert!(broker.store().binding(&id("A1B2C3D4E5/b")).unwrap().is_some());
    let text = broker.metrics().encode(broker.log());
    for reason in ["not_the_gateway", "malformed_request"] {
        let line = format!(r#"weir_refused_total{{operation="gateway",reason="{reason}"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
    drop((device, gateway));
    end(hub).await;
}

#[tokio::test]
async fn a_gateway_has_as_many_devices_as_it_may() {
    let hub = hub_with(Limits { sub_devices: 1, gateway_devices: 2, ..Limits::default() }).await;
    let store = hub.running.broker.store();
    let [a, b] = ["a", "b"].map(|name| store.device(&id(&format!("A1B2C3D4E5/{name}"))).unwrap().unwrap().psk);
    let mut gateway = Gateway::connect(&hub, "g").await;
    let now = hub.clock.now().seconds();
    let (first, second) = (signed("A1B2C3D4E5/a", &a, 1, now), signed("A1B2C3D4E5/b", &b, 1, now));
    let ask = json!({"type": "bind", "payload": {"devices": [first, second, first]}});
    let codes = async |gateway: &mut Gateway, request: Value| {
        let answer = gateway.ask(request).await;
        let devices = answer["payload"]["devices"].as_array().unwrap().clone();
        devices.iter().map(|device| device["result"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&mut gateway, ask).await, [801, 801, 801]);
    let ask = json!({"type": "bind", "payload": {"devices": [first, second]}});
    assert_eq!(codes(&mut gateway, ask).await, [0, 808]);
    drop(gateway);
    end(hub).await;
}

#[tokio::test]
async fn shadows_and_calls_of_a_device_go_through_its_gateway() {
    const RESULT: &str = "$shadow/operation/result/A1B2C3D4E5/a";
    let hub = hub().await;
    let broker = &hub.running.broker;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a"]).await;
    let desired = |state: Value| crate::ShadowUpdate {
        device: id("A1B2C3D4E5/a"),
        name: None,
        state: json!({"desired": state}).as_object().unwrap().clone(),
        version: 0,
        overwrite: false,
    };
    broker.update_shadow(&administrator(), desired(json!({"fw": "1.2"}))).await.unwrap();
    let mut gateway = Gateway::connect(&hub, "g").await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    let hear = async |gateway: &mut Gateway| serde_json::from_str::<Value>(&gateway.hear(RESULT).await).unwrap();

    // What is left to do is told to who subscribes for the device.
    gateway.subscribe(RESULT).await.unwrap();
    let push = hear(&mut gateway).await;
    assert_eq!((&push["type"], &push["payload"]["state"]), (&json!("delta"), &json!({"fw": "1.2"})));
    gateway
        .publish("$shadow/operation/A1B2C3D4E5/a", r#"{"type":"update","state":{"reported":{"fw":"1.2"}}}"#)
        .unwrap();
    let reply = hear(&mut gateway).await;
    assert_eq!((&reply["result"], &reply["payload"]["version"]), (&json!(0), &json!(2)));
    broker.update_shadow(&administrator(), desired(json!({"fw": "1.3"}))).await.unwrap();
    assert_eq!(hear(&mut gateway).await["payload"]["state"], json!({"fw": "1.3"}));

    let (caller, device) = (administrator(), id("A1B2C3D4E5/a"));
    let call = || broker.call(&caller, &device, b"on?", Duration::from_secs(10));
    assert!(matches!(call().await, Err(crate::CallError::NotSubscribed(_))));
    gateway.subscribe("$rrpc/rxd/A1B2C3D4E5/a/+").await.unwrap();
    let answering = async {
        let outbound = deliver(&mut gateway.session).await;
        let topic = outbound.topic(&outbound.rows()[0]).replace("/rxd/", "/txd/");
        gateway.publish(&topic, "yes").unwrap();
    };
    let (answer, ()) = futures::future::join(call(), answering).await;
    assert_eq!(answer.unwrap().payload.as_ref(), b"yes");
    assert_eq!(gateway.code("offline", "A1B2C3D4E5/a").await, 0);
    assert!(matches!(call().await, Err(crate::CallError::Offline(_))));
    drop(gateway);
    end(hub).await;
}

#[tokio::test]
async fn whoever_is_online_through_its_gateway_has_connected_and_gets_broadcasts() {
    const BROADCAST: &str = "$broadcast/rxd/A1B2C3D4E5/a";
    let hub = hub().await;
    let broker = &hub.running.broker;
    bound(&hub, "GATEWAY001/g", &["A1B2C3D4E5/a", "A1B2C3D4E5/b"]).await;
    let mut gateway = Gateway::connect(&hub, "g").await;
    assert_eq!(gateway.code("online", "A1B2C3D4E5/a").await, 0);
    let activated = |name: &str| devices::get(broker, &id(name)).unwrap().activated_at;
    eventually("the first coming is kept", || activated("A1B2C3D4E5/a").is_some()).await;
    assert_eq!(activated("A1B2C3D4E5/b"), None, "bound is not online");

    gateway.subscribe(BROADCAST).await.unwrap();
    let product = "A1B2C3D4E5".parse().unwrap();
    broker.broadcast(&administrator(), &product, Qos::AtLeastOnce, b"to all".to_vec()).await.unwrap();
    assert_eq!(gateway.hear(BROADCAST).await, "to all");
    drop(gateway);
    end(hub).await;
}
