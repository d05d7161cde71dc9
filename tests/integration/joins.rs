//! Rules that join what the hub knows of devices, as it is when a message comes.

use reqwest::Method;
use serde_json::json;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
};

#[test]
fn a_rule_sees_the_shadow_and_the_presence_of_the_sending_device() {
    let mut hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE upgrade TO republish(topic => '{PRODUCT}/${{msg.device}}/control') AS
         SELECT m.fw, s.desired.fw AS wanted, d.online FROM '{PRODUCT}/+/event' AS m
         JOIN shadows AS s ON s.product = msg.product AND s.device = msg.device AND s.name IS NULL
         JOIN devices AS d ON d.product = msg.product AND d.device = msg.device
         WHERE m.fw <> s.desired.fw"
    ));
    assert_eq!(hub.get("/v1/rules/upgrade")["reproducible"], json!(false));
    let desire = |fw: &str| {
        let path = format!("/v1/products/{PRODUCT}/devices/sensor/shadow");
        let change = json!({"state": {"desired": {"fw": fw}}});
        assert!(hub.request(Method::PATCH, &path).json(&change).send().unwrap().status().is_success());
    };
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    // Without a shadow there is nothing to join.
    client.publish(&event, r#"{"fw": "1.0"}"#).unwrap();
    desire("1.1");
    // What was answered is seen by the messages that follow.
    client.publish(&event, r#"{"fw": "1.0"}"#).unwrap();
    client.publish(&event, r#"{"fw": "1.1"}"#).unwrap();
    let made = |hub: &Hub| hub.query(&format!("SELECT fw, wanted, online FROM '{PRODUCT}/sensor/control'"));
    eventually("all three are read", SOON, || (hub.action("upgrade", 0)["read"] == 3).then_some(()));
    eventually("one makes a row", SOON, || (!made(&hub).is_empty()).then_some(()));
    assert_eq!(made(&hub), [[json!("1.0"), json!("1.1"), json!(true)]]);
    // It goes on where it was.
    drop(client);
    hub.kill();
    hub.restart();
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&event, r#"{"fw": "0.9"}"#).unwrap();
    eventually("the next makes a row", SOON, || {
        made(&hub).contains(&vec![json!("0.9"), json!("1.1"), json!(true)]).then_some(())
    });
}
