//! SIGTERM: what was accepted is kept, what was under way is finished, and the hub ends well.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
    receiver::Receiver,
};

#[test]
fn a_hub_that_is_asked_to_end_keeps_everything_and_ends_with_success() {
    let mut hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let receiver = Receiver::start();
    let event = format!("{PRODUCT}/sensor/event");
    let url = receiver.url("/");
    hub.apply(&format!("CREATE RULE all TO webhook(url => '{url}') AS SELECT n FROM '{event}'"));
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    for n in 0..100 {
        client.publish(&event, &json!({"n": n}).to_string()).unwrap();
    }
    assert!(hub.terminate().success(), "{}", hub.log());
    assert!(client.receive(Duration::from_secs(1)).is_none());
    assert!(!hub.data().join("endpoints.json").exists(), "nobody serves, and the folder says so");

    hub.restart();
    assert_eq!(hub.count(&event), 100);
    eventually("all is settled", SOON, || (hub.action("all", 0)["delivered"] == 100).then_some(()));
    // It had time to settle: nothing is sent twice after an orderly end.
    assert_eq!(receiver.accepted("/", "n").len(), 100);
}
