//! What an operator allows and forbids takes effect on connections that are open, and rates hold without loss.

use std::process::Stdio;

use rumqttc::{
    ConnectReturnCode::{BadUserNamePassword, NotAuthorized},
    QoS, SubscribeReasonCode,
};
use serde_json::Value;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, weir},
    mosquitto,
    mqtt::{Login, Mqtt},
};

/// Runs a command that must succeed, and returns what it printed.
#[test]
fn a_topic_class_is_there_at_once_and_gone_at_once() {
    let mut hub = Hub::start();
    hub.create_product();
    let (writer, reader) = (hub.create_device("writer"), hub.create_device("reader"));
    let (up, down) = (format!("{PRODUCT}/writer/up/7/raw"), format!("{PRODUCT}/reader/down/+"));
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);

    let mut subscriber = Mqtt::connect(hub.mqtt_port(), &reader).unwrap();
    assert_eq!(subscriber.subscribe(&down), SubscribeReasonCode::Failure);
    assert!(Mqtt::connect(hub.mqtt_port(), &writer).unwrap().publish(&up, "1").is_err());

    weir(&hub, &["create", "topic", PRODUCT, "up/+/raw", "--publish"]);
    weir(&hub, &["create", "topic", PRODUCT, "down/+", "--publish", "--subscribe"]);
    assert_eq!(subscriber.subscribe(&down), granted, "on the connection that was open");
    let mut publisher = Mqtt::connect(hub.mqtt_port(), &writer).unwrap();
    publisher.publish(&up, "1").unwrap();
    publisher.publish(&up, "2").unwrap();
    weir(&hub, &["pub", &format!("{PRODUCT}/reader/down/x"), "go"]);
    assert_eq!(subscriber.receive(SOON).unwrap().payload, "go");

    let listed = weir(&hub, &["get", "topics", PRODUCT]);
    for suffix in ["control", "event", "data", "up/+/raw", "down/+"] {
        assert!(listed.lines().any(|line| line.starts_with(suffix)), "{suffix}: {listed}");
    }
    assert!(weir(&hub, &["get", "products"]).contains("down/+, up/+/raw"));
    let described: Value = serde_json::from_str(&weir(&hub, &["describe", "product", PRODUCT, "-o", "json"])).unwrap();
    assert_eq!(described["topics"].as_array().unwrap().len(), 5);

    weir(&hub, &["delete", "topic", PRODUCT, "up/+/raw"]);
    weir(&hub, &["delete", "topic", PRODUCT, "down/+"]);
    assert!(publisher.publish(&up, "3").is_err(), "the topic was known to the connection, and is not any more");
    assert_eq!(hub.session("reader").unwrap()["subscriptions"], serde_json::json!([]));
    assert_eq!(subscriber.subscribe(&down), SubscribeReasonCode::Failure);

    weir(&hub, &["create", "topic", PRODUCT, "up/+/raw", "--publish"]);
    hub.terminate();
    hub.restart();
    Mqtt::connect(hub.mqtt_port(), &writer).unwrap().publish(&up, "4").unwrap();
    assert_eq!(hub.count(&format!("{PRODUCT}/writer/up/+/raw")), 3);
}

#[test]
fn a_disabled_product_keeps_its_devices_out_until_it_is_enabled() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("sensor");
    let mut live = mosquitto::client("mosquitto_sub", hub.mqtt_port(), &login);
    let mut live = live.args(["-t", &format!("{PRODUCT}/sensor/control")]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the device has subscribed", SOON, || {
        (hub.session("sensor")?["subscriptions"].as_array()?.len() == 1).then_some(())
    });
    weir(&hub, &["disable", "product", PRODUCT]);
    eventually("the device is put out", SOON, || hub.session("sensor").is_none().then_some(()));
    live.kill().unwrap();
    live.wait().unwrap();
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &login).err(), Some(NotAuthorized));
    assert_eq!(hub.get(&format!("/v1/products/{PRODUCT}/devices/sensor"))["product_enabled"], false);

    weir(&hub, &["enable", "product", PRODUCT]);
    Mqtt::connect(hub.mqtt_port(), &login).unwrap().publish(&format!("{PRODUCT}/sensor/event"), "{}").unwrap();
}

#[test]
fn a_deleted_key_is_put_out() {
    let hub = Hub::start();
    hub.create_product();
    let events = format!("{PRODUCT}/+/event");
    let made: Value =
        serde_json::from_str(&weir(&hub, &["create", "key", "app", "--subscribe", &events, "-o", "json"])).unwrap();
    let password = made["secret"].as_str().unwrap().to_owned();
    let login = Login { client_id: "app-1".to_owned(), username: "app".to_owned(), password };
    let mut live = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    live.subscribe(&events);
    weir(&hub, &["delete", "key", "app"]);
    eventually("the hub has closed the connection", SOON, || {
        (hub.metric(r#"weir_refused_total{operation="mqtt_connection",reason="disabled"}"#) == 1.0).then_some(())
    });
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &login).err(), Some(BadUserNamePassword));
}

#[test]
fn a_device_that_is_too_fast_is_slowed_and_loses_nothing() {
    let hub = Hub::with(&["limits.device_messages_per_second=100", "limits.device_messages_burst=10"], None);
    hub.create_product();
    let (fast, calm) = (hub.create_device("fast"), hub.create_device("calm"));
    let topic = format!("{PRODUCT}/fast/event");
    let mut client = mosquitto::client("mosquitto_pub", hub.mqtt_port(), &fast);
    let mut client = client.args(["-t", &topic, "-l"]).stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = (0..110).map(|number| format!("{number}\n")).collect();
    std::io::Write::write_all(&mut client.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    // Another device does not notice.
    Mqtt::connect(hub.mqtt_port(), &calm).unwrap().publish(&format!("{PRODUCT}/calm/event"), "{}").unwrap();
    assert!(client.wait().unwrap().success());
    assert_eq!(hub.count(&topic), 110);
    assert!(hub.metric(r#"weir_refused_total{operation="publish",reason="paced"}"#) >= 1.0);
}

#[test]
fn connects_beyond_the_rate_are_closed_and_counted() {
    let rate = ["limits.connects_per_second_per_address=1", "limits.connect_burst_per_address=3"];
    let hub = Hub::with(&rate, None);
    hub.create_product();
    let login = hub.create_device("sensor");
    let refused = || hub.metric(r#"weir_refused_total{operation="mqtt_accept",reason="connect_rate_per_address"}"#);
    eventually("one was refused", SOON, || {
        let _closed_at_once_or_kept = std::net::TcpStream::connect(("127.0.0.1", hub.mqtt_port())).unwrap();
        (refused() >= 1.0).then_some(())
    });
    eventually("the rate lets a device in again", SOON, || {
        let mut client = mosquitto::client("mosquitto_pub", hub.mqtt_port(), &login);
        let sent = client.args(["-t", &format!("{PRODUCT}/sensor/event"), "-m", "{}"]).output().unwrap();
        sent.status.success().then_some(())
    });
}
