//! A gateway and the devices behind it, by the command line and plain MQTT clients.

use rumqttc::{QoS, SubscribeReasonCode};
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::{Login, Mqtt},
};

const GATEWAY: &str = "GATEWAY001";

/// Runs a command that must succeed; gives what it prints.
fn weir(hub: &Hub, line: &str) -> String {
    let output = hub.weir(&line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "weir {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn login(hub: &Hub, name: &str) -> Login {
    let token = hub.post(&format!("/v1/products/{GATEWAY}/devices/{name}/tokens"), &json!({}));
    let text = |field: &str| token[field].as_str().unwrap().to_owned();
    Login { client_id: text("client_id"), username: text("username"), password: text("password") }
}

/// Asks about one device; gives its code.
fn ask(gateway: &mut Mqtt, operation: &str, device: &str) -> i64 {
    let request = json!({"type": operation, "payload": {"devices": [{"product_id": PRODUCT, "device_name": device}]}});
    gateway.publish(&format!("$gateway/operation/{GATEWAY}/g"), &request.to_string()).unwrap();
    let answer = gateway.receive(SOON).unwrap();
    assert_eq!(answer.topic, format!("$gateway/operation/result/{GATEWAY}/g"));
    let answer: Value = serde_json::from_str(&answer.payload).unwrap();
    answer["payload"]["devices"][0]["result"].as_i64().unwrap()
}

fn connect(hub: &Hub, login: &Login) -> Mqtt {
    let mut gateway = Mqtt::connect(hub.mqtt_port(), login).unwrap();
    gateway.subscribe(&format!("$gateway/operation/result/{GATEWAY}/g"));
    gateway
}

#[test]
fn devices_behind_a_gateway_from_binding_to_unbinding() {
    let mut hub = Hub::start();
    hub.create_product();
    weir(&hub, &format!("create product --id {GATEWAY} --type gateway --name Cellar"));
    weir(&hub, &format!("create device {GATEWAY}/g"));
    hub.create_device("probe");
    hub.create_device("valve");
    let bound = weir(&hub, &format!("create binding {GATEWAY}/g {PRODUCT}/probe {PRODUCT}/valve"));
    assert_eq!(bound.trim_end(), format!("{PRODUCT}/probe, {PRODUCT}/valve bound to gateway {GATEWAY}/g"));
    let listed = weir(&hub, &format!("get bindings {GATEWAY}/g"));
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.starts_with("PRODUCT") && listed.contains("ONLINE SINCE"), "{listed}");
    assert!(weir(&hub, "get products").contains("gateway"));
    let failed = hub.weir(&["create", "binding", &format!("{PRODUCT}/probe"), &format!("{PRODUCT}/valve")]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("is no gateway"), "{failed:?}");

    // A rule sees the device that a message is about.
    hub.apply(&format!(
        "CREATE RULE warm TO republish(topic => '${{msg.product}}/valve/control')
         AS SELECT deviceName() AS name, msg.device AS device FROM '{PRODUCT}/+/event' WHERE temp > 30;"
    ));
    let login = login(&hub, "g");
    let mut gateway = connect(&hub, &login);
    let (event, control) = (format!("{PRODUCT}/probe/event"), format!("{PRODUCT}/valve/control"));
    assert_eq!(gateway.subscribe(&control), SubscribeReasonCode::Failure);
    assert_eq!(ask(&mut gateway, "online", "probe"), 0);
    assert_eq!(ask(&mut gateway, "online", "valve"), 0);
    assert_eq!(ask(&mut gateway, "online", "nobody"), -1);
    assert_eq!(gateway.subscribe(&control), SubscribeReasonCode::Success(QoS::AtLeastOnce));
    gateway.publish(&event, r#"{"temp":31}"#).unwrap();
    let told = gateway.receive(SOON).unwrap();
    assert_eq!((told.topic, told.payload), (control.clone(), r#"{"name":"probe","device":"probe"}"#.to_owned()));
    let described: Value =
        serde_json::from_str(&weir(&hub, &format!("describe device {PRODUCT} probe -o json"))).unwrap();
    assert_eq!((&described["online"], &described["gateway"]["device"]), (&json!(true), &json!("g")));

    // What is bound is still bound after a crash; who was online must come again.
    hub.kill();
    hub.restart();
    let described = hub.get(&format!("/v1/products/{PRODUCT}/devices/probe"));
    assert_eq!((&described["online"], &described["gateway"]["online_since"]), (&json!(false), &Value::Null));
    let mut gateway = connect(&hub, &login);
    assert_eq!(ask(&mut gateway, "online", "probe"), 0);
    gateway.publish(&event, r#"{"temp":1}"#).unwrap();

    // A device that is deleted from the gateway: its other one is not harmed.
    assert_eq!(ask(&mut gateway, "online", "valve"), 0);
    gateway.subscribe(&control);
    weir(&hub, &format!("delete binding {GATEWAY}/g {PRODUCT}/probe"));
    assert_eq!(ask(&mut gateway, "online", "probe"), -1);
    let mut application = Mqtt::connect(hub.mqtt_port(), &hub.administrator("application")).unwrap();
    application.publish(&control, "on").unwrap();
    assert_eq!(gateway.receive(SOON).unwrap().payload, "on");
    assert!(gateway.publish(&event, "x").is_err(), "a PUBACK for a device that is bound no more");
    eventually("the other device is offline with its gateway", SOON, || {
        (hub.get(&format!("/v1/products/{PRODUCT}/devices/valve"))["online"] == false).then_some(())
    });
}
