mod five;
mod hub;
mod sessions;

use std::time::Duration;

use weir_broker::{
    CloseReason, Limits,
    admin::{gateways, products::NewProduct},
};
use weir_core::{DeviceId, ProductType, seams::PeerIdentity};
use weir_log::LogOptions;

use hub::{Hub, connect, publish, subscribe};

const EVENT: &str = "A1B2C3D4E5/dev/event";
const GRANTED_1: &[u8] = b"\x90\x03\0\x01\x01";

#[tokio::test]
async fn a_message_goes_from_device_to_subscriber_and_both_acknowledge() {
    let hub = Hub::start().await;
    let (mut reader, mut device) = (hub.administrator("r").await, hub.device().await);
    reader.send(&subscribe("A1B2C3D4E5/+/event", 2)).await;
    reader.expect(b"\x90\x03\0\x01\x02").await;
    device.send(&[publish(EVENT, Some(9), b"a"), publish(EVENT, None, b"b")].concat()).await;
    device.expect(b"\x40\x02\0\x09").await;
    reader.expect(&publish(EVENT, Some(1), b"a")).await;
    reader.expect(&publish(EVENT, None, b"b")).await;
    reader.send(b"\x40\x02\0\x01\xc0\0").await;
    reader.expect(b"\xd0\0").await;
    reader.send(b"\xa2\x16\0\x07\0\x12A1B2C3D4E5/+/event\xe0\0").await;
    reader.expect(b"\xb0\x02\0\x07").await;
    assert!(reader.closed().await.is_empty());
    let text = hub.metrics();
    assert!(text.contains("weir_session_enqueued_total 2"), "{text}");
    assert!(text.contains("weir_session_acknowledged_total 2"), "{text}");
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn packets_may_follow_connect_at_once() {
    let hub = Hub::start().await;
    let mut device = hub.connect(1_024);
    let connect = connect("d", "A1B2C3D4E5/dev", &hub.token, 0, b"");
    device.send(&[connect, publish(EVENT, Some(1), b"x"), b"\xc0\0\xe0\0".to_vec()].concat()).await;
    device.expect(b"\x20\x02\0\0\xd0\0").await;
    // DISCONNECT came before the message was durable: the client left, and nobody is told.
    device.closed().await;
    assert!(hub.metrics().contains("weir_messages_accepted_total{protocol=\"mqtt-3.1.1\",qos=\"1\"} 1"));
    hub.stop().await;
}

#[tokio::test]
async fn who_may_not_connect_is_told_why() {
    let hub = Hub::start().await;
    let refused = async |user: &str, password: &str, code: u8| {
        let mut peer = hub.connect(1_024);
        // What follows CONNECT is not processed [MQTT-3.1.4-5].
        peer.send(&[connect("d", user, password, 0, b""), publish(EVENT, Some(1), b"x")].concat()).await;
        assert_eq!(peer.closed().await, [0x20, 2, 0, code], "{user}");
    };
    refused("A1B2C3D4E5/dev", "wrong", 4).await;
    refused("A1B2C3D4E5/nobody", &hub.token, 4).await;
    refused("admin", "wrong", 4).await;
    hub.broker.store().set_device_enabled(&"A1B2C3D4E5/dev".parse().unwrap(), false).await.unwrap();
    refused("A1B2C3D4E5/dev", &hub.token, 5).await;
    hub.counted("connect", "unauthenticated", 3);
    hub.counted("connect", "forbidden", 1);
    assert!(!hub.metrics().contains("qos=\"1\"} 1"), "{}", hub.metrics());
    hub.stop().await;
}

#[tokio::test]
async fn whom_the_transport_has_proved_connects_without_a_password() {
    let hub = Hub::start().await;
    let proved = |device: &str| PeerIdentity::Psk(device.parse().unwrap());
    // CONNECT with the client id `A1B2C3D4E5dev` and nothing else.
    let bare = [&b"\x10\x19\0\x04MQTT\x04\x02\0\x0a\0\x0dA1B2C3D4E5dev"[..], b"\xc0\0"].concat();
    let mut device = hub.connect_as(proved("A1B2C3D4E5/dev"), 1_024);
    device.send(&bare).await;
    device.expect(b"\x20\x02\0\0\xd0\0").await;
    for peer in [PeerIdentity::None, proved("A1B2C3D4E5/other")] {
        let mut stranger = hub.connect_as(peer, 1_024);
        stranger.send(&bare).await;
        assert_eq!(stranger.closed().await, [0x20, 2, 0, 4]);
    }
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_publish_closes_the_connection_and_those_before_it_count() {
    let hub = Hub::start().await;
    let (mut reader, mut device) = (hub.administrator("r").await, hub.device().await);
    reader.send(&subscribe("#", 0)).await;
    reader.expect(b"\x90\x03\0\x01\0").await;
    let batch =
        [publish(EVENT, None, b"mine"), publish("A1B2C3D4E5/b/event", Some(1), b"x"), publish(EVENT, None, b"y")];
    device.send(&batch.concat()).await;
    assert!(device.closed().await.is_empty()); // [MQTT-3.3.5-2]
    reader.expect(&publish(EVENT, None, b"mine")).await;
    reader.send(b"\xe0\0").await;
    assert!(reader.closed().await.is_empty(), "neither the refused one nor what came after it");
    hub.counted("mqtt_connection", "forbidden", 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_subscription_gets_0x80_and_the_connection_goes_on() {
    let hub = Hub::start().await;
    let mut device = hub.device().await;
    device.send(&[subscribe("#", 1), subscribe("A1B2C3D4E5/dev/control", 1)].concat()).await;
    device.expect(b"\x90\x03\0\x01\x80").await;
    device.expect(GRANTED_1).await;
    hub.counted("subscribe", "forbidden", 1);
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn a_will_goes_out_unless_the_client_disconnects() {
    let hub = Hub::start().await;
    let mut reader = hub.administrator("r").await;
    reader.send(&subscribe("#", 1)).await;
    reader.expect(GRANTED_1).await;
    let will = b"\0\x14A1B2C3D4E5/dev/event\0\x04gone";
    let connect = connect("d", "A1B2C3D4E5/dev", &hub.token, 0, will);
    for (last, published) in [(&b"\xe0\0"[..], false), (b"\xf0", true), (b"", true)] {
        let mut device = hub.connect(1_024);
        device.send(&connect).await;
        device.expect(b"\x20\x02\0\0").await;
        device.send(last).await;
        if last.is_empty() {
            drop(device);
        } else {
            device.closed().await;
        }
        if published {
            // The packet identifier of the reader is 1, then 2; only the payload matters here.
            let message = publish(EVENT, Some(0), b"gone");
            reader.expect(&message[..message.len() - 6]).await; // [MQTT-3.1.2-8]
            let mut rest = [0; 6];
            reader.read(&mut rest).await;
            assert_eq!(rest[2..], *b"gone");
        }
    }
    reader.send(b"\xe0\0").await;
    assert!(reader.closed().await.is_empty(), "DISCONNECT takes the will along"); // [MQTT-3.1.2-10]
    hub.stop().await;
}

#[tokio::test]
async fn the_hub_may_end_a_session() {
    let hub = Hub::start().await;
    let mut first = hub.device().await;
    let mut second = hub.device().await;
    assert!(first.closed().await.is_empty()); // [MQTT-3.1.4-2]
    hub.broker.close_device_sessions(&"A1B2C3D4E5/dev".parse().unwrap(), CloseReason::Disabled);
    assert!(second.closed().await.is_empty());
    hub.counted("mqtt_connection", "taken_over", 1);
    hub.counted("mqtt_connection", "disabled", 1);
    hub.stop().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection() {
    let hub = Hub::start().await;
    let start = tokio::time::Instant::now();
    let mut stranger = hub.connect(1_024);
    stranger.send(b"\x10").await;
    assert!(stranger.closed().await.is_empty());
    assert_eq!(start.elapsed().as_secs(), Limits::default().handshake.as_secs());
    hub.counted("mqtt_connection", "handshake_timeout", 1);

    let mut quiet = hub.connect(1_024);
    quiet.send(&connect("q", "admin", "secret", 10, b"")).await;
    quiet.expect(b"\x20\x02\0\0").await;
    let start = tokio::time::Instant::now();
    assert!(quiet.closed().await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 15); // [MQTT-3.1.2-24]
    hub.counted("mqtt_connection", "keep_alive", 1);
    tokio::time::resume();
    hub.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let hub = Hub::start().await;
    let mut reader = hub.connect(64);
    reader.send(&connect("r", "admin", "secret", 0, b"")).await;
    reader.expect(b"\x20\x02\0\0").await;
    reader.send(&subscribe("#", 0)).await;
    reader.expect(b"\x90\x03\0\x01\0").await;
    let mut device = hub.device().await;
    device.send(&publish(EVENT, Some(1), &[b'x'; 1_000])).await;
    device.expect(b"\x40\x02\0\x01").await;
    // Only from here on: the log's thread keeps real time.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    hub.eventually("mqtt_connection", "write_stall", 1).await;
    assert!(start.elapsed() >= Limits::default().write_stall);
    drop((reader, device));
    tokio::time::resume();
    hub.stop().await;
}

#[tokio::test]
async fn accepted_messages_are_acknowledged_before_the_hub_goes_down() {
    let hub = Hub::start().await;
    let (mut device, mut idle) = (hub.device().await, hub.connect(64));
    device.send(&publish(EVENT, Some(7), b"x")).await;
    while !hub.metrics().contains("protocol=\"mqtt-3.1.1\",qos=\"1\"} 1") {
        tokio::task::yield_now().await;
    }
    let (stopped, puback, nothing) = tokio::join!(hub.stop(), device.closed(), idle.closed());
    assert_eq!((stopped, puback, nothing), ((), vec![0x40, 2, 0, 7], vec![]));
}

#[tokio::test]
async fn nothing_is_acknowledged_when_the_log_fails() {
    let hub = Hub::start().await;
    let mut device = hub.device().await;
    hub.storage.fail_sync(0);
    device.send(&publish(EVENT, Some(7), b"x")).await;
    assert!(device.closed().await.is_empty()); // [MQTT-4.8.0-2]
    hub.counted("mqtt_connection", "log_failed", 1);
    hub.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_log_refuses_without_acknowledgement() {
    let options = LogOptions { max_bytes: 1, ..LogOptions::default() };
    let hub = Hub::start_with(Limits::default(), options).await;
    let mut device = hub.device().await;
    let start = tokio::time::Instant::now();
    device.send(&publish(EVENT, Some(7), b"x")).await;
    assert!(device.closed().await.is_empty()); // [MQTT-4.8.0-2]
    assert_eq!(start.elapsed().as_secs(), 1, "it is kept waiting before it may try again");
    hub.counted("mqtt_connection", "log_full", 1);
    tokio::time::resume();
    hub.stop().await;
}

#[tokio::test]
async fn a_busy_log_delays_and_loses_nothing() {
    let options = LogOptions { group_rows: 3, ..LogOptions::default() };
    let hub = Hub::start_with(Limits::default(), options).await;
    let mut device = hub.device().await;
    let all: Vec<u8> = (1..=200).flat_map(|id| publish(EVENT, Some(id), b"x")).collect();
    device.send(&all).await;
    for id in 1..=200 {
        device.expect(&[0x40, 2, 0, id]).await; // [MQTT-4.6.0-2]
    }
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn a_message_larger_than_every_buffer_passes() {
    let hub = Hub::start().await;
    let (mut reader, mut device) = (hub.connect(1_000), hub.connect(1_000));
    reader.send(&connect("r", "admin", "secret", 0, b"")).await;
    reader.expect(b"\x20\x02\0\0").await;
    reader.send(&subscribe("#", 1)).await;
    reader.expect(GRANTED_1).await;
    device.send(&connect("d", "A1B2C3D4E5/dev", &hub.token, 0, b"")).await;
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let message = publish(EVENT, Some(1), &payload);
    device.send(&message).await;
    reader.expect(&message).await;
    device.expect(b"\x20\x02\0\0\x40\x02\0\x01").await;
    drop((reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let hub = Hub::start().await;
    let (_ours, theirs) = tokio::io::duplex(1);
    let place = crate::admission::Admission::new(hub.broker.limits(), hub.broker.metrics());
    let place = place.admit("127.0.0.1".parse().unwrap()).unwrap();
    let task = super::run(theirs, PeerIdentity::None, hub.broker.clone(), hub.front.token().clone(), place);
    let size = std::mem::size_of_val(&task);
    assert!(size <= 2 * 1_024, "{size} bytes");
    drop(task);
    hub.stop().await;
}

/// The whole way, with a client that others wrote.
#[tokio::test]
async fn a_real_client_publishes_and_subscribes() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

    let hub = Hub::start_with(Limits { connections: 1, ..Limits::default() }, LogOptions::default()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let admission = crate::Admission::new(hub.broker.limits(), hub.broker.metrics());
    let plain = crate::Transport::Plain;
    hub.front.spawn("mqtt", crate::serve(listener, plain, admission, hub.broker.clone(), hub.front.clone()));

    let mut options = MqttOptions::new("real", "127.0.0.1", port);
    options.set_credentials("admin", "secret").set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe("real/#", QoS::AtLeastOnce).await.unwrap();
    for n in 0..50_u8 {
        client.publish("real/é", QoS::AtLeastOnce, false, [n]).await.unwrap();
    }
    let (mut received, mut acknowledged) = (Vec::new(), 0);
    while received.len() < 50 || acknowledged < 50 {
        match tokio::time::timeout(Duration::from_secs(10), events.poll()).await.unwrap().unwrap() {
            Event::Incoming(Packet::Publish(publish)) => received.extend_from_slice(&publish.payload),
            Event::Incoming(Packet::PubAck(_)) => acknowledged += 1,
            _ => {}
        }
    }
    assert_eq!(received, (0..50).collect::<Vec<u8>>());

    // There is room for one connection only.
    let mut second = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let closed = tokio::io::AsyncReadExt::read(&mut second, &mut [0; 8]).await;
    assert_eq!(closed.unwrap_or(0), 0);
    hub.counted("mqtt_accept", "connections", 1);
    drop((client, events));
    hub.stop().await;
}

/// A device that leaves its gateway, as when it connects by itself, does not take the gateway's others along.
#[tokio::test]
async fn at_qos_0_a_gateway_outlives_what_it_says_for_a_device_that_has_left() {
    let hub = Hub::start().await;
    let (broker, now) = (hub.broker.clone(), hub.broker.clock().now());
    let (store, kind) = (broker.store(), ProductType::Gateway);
    let product = NewProduct { id: "GATEWAY001".parse().ok(), kind, ..NewProduct::default() };
    store.create_product(product, now).await.unwrap();
    let (gateway_id, device): (DeviceId, DeviceId) =
        ("GATEWAY001/g".parse().unwrap(), "A1B2C3D4E5/dev".parse().unwrap());
    store.create_device(&gateway_id, None, now).await.unwrap();
    let (_, token) = store.create_token(&gateway_id, None, now).await.unwrap();
    gateways::bind(&broker, &gateway_id, vec![device.clone()]).await.unwrap();

    let mut gateway = hub.connect(65_536);
    gateway.send(&connect("g", "GATEWAY001/g", &token, 0, b"")).await;
    gateway.expect(b"\x20\x02\0\0").await;
    let ask = |operation: &str| {
        let payload = format!(
            r#"{{"type":"{operation}","payload":{{"devices":[{{"product_id":"A1B2C3D4E5","device_name":"dev"}}]}}}}"#
        );
        publish("$gateway/operation/GATEWAY001/g", Some(1), payload.as_bytes())
    };
    let bound = || gateways::of(&broker, &device).unwrap().unwrap();
    gateway.send(&ask("online")).await;
    gateway.expect(b"\x40\x02\0\x01").await;
    let start = std::time::Instant::now();
    while bound().online_since.is_none() {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    gateway.send(&publish(EVENT, Some(2), b"x")).await;
    gateway.expect(b"\x40\x02\0\x02").await;

    let by_itself = hub.device().await;
    assert_eq!(bound().online_since, None);
    let own = "GATEWAY001/g/event";
    gateway.send(&[publish(EVENT, None, b"x"), publish(own, Some(3), b"y"), publish(EVENT, None, b"z")].concat()).await;
    gateway.expect(b"\x40\x02\0\x03").await;
    hub.eventually("publish", "forbidden", 2).await;
    // What asks for an answer cannot be given one [MQTT-3.3.5-2].
    gateway.send(&publish(EVENT, Some(4), b"x")).await;
    assert!(gateway.closed().await.is_empty());
    drop(by_itself);
    hub.stop().await;
}
