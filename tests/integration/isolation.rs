//! A device reaches its own topics and no others; what is refused reaches nobody and is counted.

use rumqttc::{QoS, SubscribeReasonCode};

use crate::harness::{
    SOON,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
};

#[test]
fn a_publish_outside_the_devices_topics_reaches_nobody_and_is_counted() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    hub.create_device("panel");
    let mut everything = Mqtt::connect(hub.mqtt_port(), &hub.administrator("watcher")).unwrap();
    assert_eq!(everything.subscribe("#"), SubscribeReasonCode::Success(QoS::AtLeastOnce));

    let forbidden = [
        format!("{PRODUCT}/panel/event"),
        format!("{PRODUCT}/panel/control"),
        format!("{PRODUCT}/sensor/control"),
        format!("{PRODUCT}/sensor/event/below"),
        "Z9Z9Z9Z9Z9/sensor/event".to_owned(),
        "anything".to_owned(),
    ];
    for topic in &forbidden {
        let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
        assert!(client.publish(topic, "forbidden").is_err(), "a PUBACK for {topic}");
    }
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&format!("{PRODUCT}/sensor/event"), "allowed").unwrap();

    // Delivery keeps the log's order: what had been let through would come first.
    assert_eq!(everything.receive(SOON).unwrap().payload, "allowed");
    assert_eq!(hub.query("SELECT msg.topic FROM '#'").len(), 1);
    let refused = hub.metric(r#"weir_refused_total{operation="publish",reason="forbidden"}"#);
    assert_eq!(refused, forbidden.len() as f64);
}

#[test]
fn a_subscription_outside_the_devices_topics_is_refused_and_counted() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    hub.create_device("panel");
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();

    let foreign = format!("{PRODUCT}/panel/control");
    let wild = format!("{PRODUCT}/+/control");
    let own_event = format!("{PRODUCT}/sensor/event");
    for filter in ["#", "+/+/+", &wild, &foreign, &own_event] {
        assert_eq!(client.subscribe(filter), SubscribeReasonCode::Failure, "{filter}");
    }
    let own = format!("{PRODUCT}/sensor/control");
    assert_eq!(client.subscribe(&own), SubscribeReasonCode::Success(QoS::AtLeastOnce));

    let mut administrator = Mqtt::connect(hub.mqtt_port(), &hub.administrator("sender")).unwrap();
    administrator.publish(&foreign, "not for the sensor").unwrap();
    administrator.publish(&own, "for the sensor").unwrap();
    assert_eq!(client.receive(SOON).unwrap().payload, "for the sensor");
    assert_eq!(hub.metric(r#"weir_refused_total{operation="subscribe",reason="forbidden"}"#), 5.0);
}
