//! A server that is down: its action pauses, nothing else notices, and afterwards everything arrives.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
    receiver::Receiver,
};

#[test]
fn a_webhook_that_is_down_gets_everything_when_it_is_back() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let (mut down, up) = (Receiver::start(), Receiver::start());
    let event = format!("{PRODUCT}/sensor/event");
    let rule = |name: &str, url: String| {
        hub.apply(&format!("CREATE RULE {name} TO webhook(url => '{url}') AS SELECT n FROM '{event}'"));
    };
    rule("first", down.url("/"));
    rule("second", up.url("/"));
    // A rule with both: one action's outage is not the other's.
    hub.apply(&format!(
        "CREATE RULE both TO webhook(url => '{}'), webhook(url => '{}') AS SELECT n FROM '{event}'",
        down.url("/both"),
        up.url("/both")
    ));
    down.stop();

    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    for n in 0..200 {
        client.publish(&event, &json!({"n": n}).to_string()).unwrap();
    }
    let all: Vec<_> = (0..200).map(|n| json!(n)).collect();
    eventually("the others have everything", SOON, || (up.accepted("/", "n") == all).then_some(()));
    eventually("the others have everything", SOON, || (up.accepted("/both", "n") == all).then_some(()));
    let paused = eventually("the action is paused", SOON, || {
        let state = hub.action("first", 0);
        (state["state"] == "paused" && state["pending"] == 200).then_some(state)
    });
    assert!(paused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{paused}");
    assert_eq!(hub.action("both", 1)["delivered"], 200);
    assert!(hub.metric(r#"weir_action_lag_seconds{rule="first",action="0",target="webhook"}"#) > 0.0);

    down.resume();
    // The pause between two tries grows while the server is down.
    let back = Duration::from_secs(60);
    eventually("everything arrives", back, || (down.received("/").len() >= 200).then_some(()));
    assert_eq!(down.accepted("/", "n"), all, "in order");
    eventually("all is settled", back, || (hub.action("first", 0)["delivered"] == 200).then_some(()));
    eventually("all is settled", back, || (hub.action("both", 0)["delivered"] == 200).then_some(()));
    assert_eq!(hub.get("/v1/deadletters")["items"], json!([]));
}

#[test]
fn what_waits_for_a_server_survives_a_restart() {
    let mut hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let mut receiver = Receiver::start();
    let event = format!("{PRODUCT}/sensor/event");
    let url = receiver.url("/");
    hub.apply(&format!("CREATE RULE waits TO webhook(url => '{url}') AS SELECT n FROM '{event}'"));
    receiver.stop();
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    for n in 0..20 {
        client.publish(&event, &json!({"n": n}).to_string()).unwrap();
    }
    eventually("the action is paused", SOON, || (hub.action("waits", 0)["state"] == "paused").then_some(()));

    assert!(hub.terminate().success());
    hub.restart();
    receiver.resume();
    eventually("all is settled", SOON, || (hub.action("waits", 0)["delivered"] == 20).then_some(()));
    assert_eq!(receiver.accepted("/", "n"), (0..20).map(|n| json!(n)).collect::<Vec<_>>());
}
