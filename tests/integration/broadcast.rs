//! A broadcast, as an operator begins, watches and cancels it, and over a kill.

use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, weir},
    mqtt::Mqtt,
};

/// More than one step has.
const DEVICES: usize = 300;

fn with_devices(settings: &[&str]) -> Hub {
    let hub = Hub::with(settings, None);
    hub.create_product();
    for number in 0..DEVICES {
        hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": format!("d{number:03}")}));
    }
    hub
}

fn described(hub: &Hub, id: u64) -> Value {
    hub.get(&format!("/v1/products/{PRODUCT}/broadcasts/{id}"))
}

fn logged(hub: &Hub) -> u64 {
    hub.count(&format!("$broadcast/rxd/{PRODUCT}/+"))
}

#[test]
fn every_device_gets_it_and_the_operator_sees_how_far_it_is() {
    let hub = with_devices(&[]);
    let login = hub.token("d150");
    let mut device = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    let topic = format!("$broadcast/rxd/{PRODUCT}/d150");
    device.subscribe(&topic);
    let said = weir(&hub, &["broadcast", PRODUCT, "on"]);
    assert_eq!(said, format!("broadcast 1 sent to {DEVICES} devices\n"));
    let message = device.receive(SOON).unwrap();
    assert_eq!((message.topic, message.payload), (topic, "on".to_owned()));
    assert_eq!(logged(&hub), DEVICES as u64);

    let begun = weir(&hub, &["broadcast", PRODUCT, "off", "--no-wait"]);
    assert!(begun.starts_with("broadcast 2 begun\n"), "{begun}");
    eventually("the second is done", SOON, || (described(&hub, 2)["state"] == "done").then_some(()));
    let list = weir(&hub, &["get", "broadcasts", PRODUCT]);
    assert!(list.lines().count() == 3 && list.contains("done"), "{list}");
    let shown = weir(&hub, &["describe", "broadcast", PRODUCT, "2"]);
    assert!(shown.contains(&format!("published:       {DEVICES}\n")), "{shown}");
    let late = hub.weir(&["delete", "broadcast", PRODUCT, "2"]);
    let late = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late, "error: broadcast 2 has ended already\n");
    let unknown = hub.weir(&["describe", "broadcast", PRODUCT, "3"]);
    let unknown = String::from_utf8(unknown.stderr).unwrap();
    assert!(unknown.contains(&format!("see what there is: weir get broadcasts {PRODUCT}")), "{unknown}");
}

#[test]
fn it_goes_on_after_a_kill_and_ends_when_it_is_cancelled() {
    // The second step waits for five seconds, so that there is time to come between.
    let slow = ["limits.broadcast_messages_per_second=50", "limits.broadcast_messages_burst=1"];
    let mut hub = with_devices(&slow);
    weir(&hub, &["broadcast", PRODUCT, "kept", "--no-wait"]);
    eventually("a step is done", SOON, || (described(&hub, 1)["published"] == 256).then_some(()));
    hub.kill();
    hub.restart();
    let done = eventually("it is done", SOON, || Some(described(&hub, 1)).filter(|now| now["state"] == "done"));
    assert_eq!((&done["published"], &done["total"]), (&json!(DEVICES), &json!(DEVICES)));
    assert_eq!(logged(&hub), DEVICES as u64);

    weir(&hub, &["broadcast", PRODUCT, "cancelled", "--no-wait"]);
    eventually("a step is done", SOON, || (described(&hub, 2)["published"] == 256).then_some(()));
    let running = hub.weir(&["broadcast", PRODUCT, "another"]);
    let running = String::from_utf8(running.stderr).unwrap();
    assert!(running.contains("a broadcast to product A1B2C3D4E5 is running"), "{running}");
    let cancelled = weir(&hub, &["delete", "broadcast", PRODUCT, "2"]);
    assert_eq!(cancelled, "broadcast 2 cancelled after 256 devices\n");
    assert_eq!(described(&hub, 2)["state"], "cancelled");
}
