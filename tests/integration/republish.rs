//! Rules that publish: at the quality of service of the source, under the owner's authority, and not for ever.

use serde_json::json;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
};

#[test]
fn a_loop_is_cut_at_eight_hops_and_reported() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!("CREATE RULE echo TO republish(topic => '{event}') AS SELECT * FROM '{event}'"));
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&event, &json!({"n": 1}).to_string()).unwrap();

    let letter = eventually("the loop is reported", SOON, || {
        let list = hub.get("/v1/deadletters?rule=echo");
        list["items"].as_array().unwrap().first().cloned()
    });
    assert!(letter["reason"].as_str().unwrap().contains("loop"), "{letter}");
    // The message itself, and what the rule made of it eight times.
    assert_eq!(hub.count(&event), 9);
    assert_eq!(hub.action("echo", 0)["dead_lettered"], 1);
    assert_eq!(hub.get("/v1/deadletters")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_template_with_a_slash_in_its_value_makes_an_error_row() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    hub.create_device("panel");
    let event = format!("{PRODUCT}/sensor/event");
    let rule = "CREATE RULE route TO republish(topic => '${msg.product}/${target}/control') \
                AS SELECT target, n FROM 'A1B2C3D4E5/+/event'";
    hub.apply(rule);
    let mut panel = Mqtt::connect(hub.mqtt_port(), &hub.administrator("panel")).unwrap();
    panel.subscribe("#");
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    for target in ["pan/el", "+", "panel"] {
        client.publish(&event, &json!({"target": target, "n": 1}).to_string()).unwrap();
    }
    let control =
        eventually("the good one arrives", SOON, || panel.receive(SOON).filter(|message| message.topic != event));
    assert_eq!(control.topic, format!("{PRODUCT}/panel/control"));
    eventually("the others are dead letters", SOON, || {
        let list = hub.get("/v1/deadletters?rule=route");
        (list["items"].as_array().unwrap().len() == 2).then_some(())
    });
}
