//! Programs connect with a key that was granted topic filters, and so do commands that act for one.

use std::time::Duration;

use rumqttc::{ConnectReturnCode::BadUserNamePassword, QoS, SubscribeReasonCode};
use serde_json::Value;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::{Login, Mqtt},
};

#[test]
fn a_key_reads_and_writes_what_it_was_granted() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let (events, controls) = (format!("{PRODUCT}/+/event"), format!("{PRODUCT}/+/control"));
    let made = hub.weir(&["create", "key", "app", "--subscribe", &events, "--publish", &controls, "-o", "json"]);
    let key: Value = serde_json::from_slice(&made.stdout).unwrap();
    let secret = key["secret"].as_str().unwrap();
    let login = Login { client_id: "app-1".to_owned(), username: "app".to_owned(), password: secret.to_owned() };

    let mut app = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    assert_eq!(app.subscribe("#"), SubscribeReasonCode::Failure);
    assert_eq!(app.subscribe(&events), SubscribeReasonCode::Success(QoS::AtLeastOnce));
    let mut device = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    device.subscribe(&format!("{PRODUCT}/sensor/control"));
    device.publish(&format!("{PRODUCT}/sensor/event"), "hello").unwrap();
    assert_eq!(app.receive(SOON).unwrap().payload, "hello");
    app.publish(&format!("{PRODUCT}/sensor/control"), "go").unwrap();
    assert_eq!(device.receive(SOON).unwrap().payload, "go");
    assert!(app.publish(&format!("{PRODUCT}/sensor/event"), "forged").is_err());
    eventually("the session's ledger shows the message acknowledged", SOON, || {
        let _acknowledgement_goes_out = device.receive(Duration::ZERO);
        (hub.session("sensor")?["acknowledged"] == 1).then_some(())
    });

    assert!(hub.weir(&["delete", "key", "app"]).status.success());
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &login).err(), Some(BadUserNamePassword));
}

#[test]
fn pub_sub_and_tail_pass_messages_between_terminals() {
    let hub = Hub::start();
    hub.create_product();
    hub.create_device("sensor");
    hub.create_device("panel");
    let control = format!("{PRODUCT}/panel/control");

    let read = |arguments: &[&str]| {
        let mut command = hub.command(arguments);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let device = format!("{PRODUCT}/panel");
    let mut subscriber = read(&["sub", &control, "--as", &device, "-n", "1"]);
    let mut follower = read(&["tail", &control, "-n", "1"]);
    // Neither says when it listens, so messages go out until both have had one.
    eventually("both have read a message", SOON, || {
        let sent = hub.weir(&["pub", &control, "switch off"]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        let done = subscriber.try_wait().unwrap().is_some() && follower.try_wait().unwrap().is_some();
        done.then_some(())
    });
    for process in [subscriber, follower] {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("switch off"));
    }
}
