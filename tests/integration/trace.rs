//! Why a rule did not fire: `weir trace` shows what was refused, what each rule found, and what its targets said.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, weir},
    mqtt::Mqtt,
    receiver::Receiver,
};

#[test]
fn each_message_is_followed_from_the_door_to_its_targets() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let receiver = Receiver::start();
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE hot TO webhook(url => '{}') AS SELECT temp FROM '{PRODUCT}/+/event' WHERE temp > 30 AND status LIKE 'ok%'",
        receiver.url("/hot")
    ));
    hub.apply(&format!("CREATE RULE idle TO webhook(url => '{}') AS SELECT * FROM '{event}'", receiver.url("/idle")));
    weir(&hub, &["disable", "rule", "idle"]);

    // Its headers come when the hub follows.
    let path = format!("/v1/trace?filter={PRODUCT}/%23");
    let mut lines = BufReader::new(hub.request(Method::GET, &path).send().unwrap().error_for_status().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };

    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&event, &json!({"temp": 29, "status": "ok"}).to_string()).unwrap();
    let told = next();
    assert_eq!(
        (&told["kind"], &told["topic"], &told["publisher"]),
        (&json!("message"), &json!(event), &json!(format!("device:{PRODUCT}/sensor")))
    );
    let expected = json!([
        {"rule": "hot", "enabled": true, "matched": false,
         "conditions": [{"text": "temp > 30", "is": false}, {"text": "status LIKE 'ok%'", "is": true}],
         "values": [{"path": "temp", "json": "29"}, {"path": "status", "json": "\"ok\""}]},
        {"rule": "idle", "enabled": false, "matched": false, "conditions": [], "values": []},
    ]);
    assert_eq!(told["rules"], expected);

    client.publish(&event, &json!({"temp": "31"}).to_string()).unwrap();
    let hot = next()["rules"][0].clone();
    assert_eq!(
        hot["conditions"],
        json!([{"text": "temp > 30", "is": null}, {"text": "status LIKE 'ok%'", "is": null}])
    );
    assert_eq!(hot["values"], json!([{"path": "temp", "json": "\"31\""}, {"path": "status", "json": null}]));

    client.publish(&event, "no JSON").unwrap();
    let unreadable = next()["rules"][0]["unreadable"].as_str().unwrap().to_owned();
    assert!(unreadable.starts_with("the payload is not valid JSON"), "{unreadable}");

    client.publish(&event, &json!({"temp": 31, "status": "ok"}).to_string()).unwrap();
    let (first, second) = (next(), next());
    let (message, settled) = if first["kind"] == "message" { (first, second) } else { (second, first) };
    assert_eq!(message["rules"][0]["matched"], true);
    assert_eq!(
        (&settled["kind"], &settled["rule"], &settled["target"]),
        (&json!("settled"), &json!("hot"), &json!("webhook"))
    );
    assert_eq!((&settled["became"], &settled["offset"]), (&json!("delivered"), &message["offset"]));

    // Not its own topic.
    let _closed = client.publish(&format!("{PRODUCT}/other/event"), "{}");
    let refused = next();
    assert_eq!((&refused["kind"], &refused["topic"]), (&json!("refused"), &json!(format!("{PRODUCT}/other/event"))));
    assert!(refused["reason"].as_str().unwrap().contains("may not publish"), "{refused}");
}

#[test]
fn the_command_shows_a_device() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE hot TO republish(topic => '{PRODUCT}/panel/control') AS SELECT temp FROM '{event}' WHERE temp > 30"
    ));
    let device = format!("{PRODUCT}/sensor");
    let mut trace = hub.command(&["trace", &device, "--rule", "hot", "-n", "1"]);
    let mut trace = trace.stdout(Stdio::piped()).spawn().unwrap();
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    // Nobody says when it follows.
    eventually("it ends", SOON, || {
        client.publish(&event, r#"{"temp": 30}"#).unwrap();
        trace.try_wait().unwrap()
    });
    let output = trace.wait_with_output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with(&format!("accepted  {event}  from device:{device} at ")), "{shown}");
    let rest: Vec<&str> = shown.lines().skip(1).map(str::trim).collect();
    assert_eq!(rest, ["rule hot does not match", "false  temp > 30", "temp = 30"]);
}
