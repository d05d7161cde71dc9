//! Shadows, calls and the time, with real clients: what is desired arrives, what is reported is kept, and both survive a
//! kill.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, refused, weir},
    mosquitto,
    mqtt::{Message, Mqtt},
    powerloss::Powerloss,
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn received(mqtt: &mut Mqtt) -> (String, Value) {
    let Message { topic, payload } = mqtt.receive(SOON).unwrap();
    (topic, json(&payload))
}

#[test]
fn a_device_and_an_application_meet_in_the_shadow() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("sensor");
    let (ask, result) =
        (format!("$shadow/operation/{PRODUCT}/sensor"), format!("$shadow/operation/result/{PRODUCT}/sensor"));
    let mut listener = mosquitto::client("mosquitto_sub", hub.mqtt_port(), &login);
    let mut listener = listener.args(["-t", &result, "-C", "3"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(listener.stdout.take().unwrap()).lines().map(|line| json(&line.unwrap()));
    eventually("the device has subscribed", SOON, || {
        (hub.session("sensor")?["subscriptions"].as_array()?.len() == 1).then_some(())
    });

    // An administrator speaks for the device: the device itself has one connection, and that is taken.
    let publish = |payload: &str| {
        let publisher = hub.administrator("publisher");
        let mut command = mosquitto::client("mosquitto_pub", hub.mqtt_port(), &publisher);
        assert!(command.args(["-t", &ask, "-m", payload]).status().unwrap().success());
    };
    publish(r#"{"type":"update","state":{"reported":{"fw":"1.1"}},"version":0,"clientToken":"s-1"}"#);
    let reply = heard.next().unwrap();
    assert_eq!((&reply["type"], &reply["result"], &reply["clientToken"]), (&json!("update"), &json!(0), &json!("s-1")));

    let set = weir(&hub, &["set", "shadow", PRODUCT, "sensor", "--desired", r#"{"fw":"1.2"}"#, "--version", "1"]);
    assert_eq!(set, format!("the shadow of device {PRODUCT}/sensor is at version 2; left to do: {{\"fw\":\"1.2\"}}\n"));
    let push = heard.next().unwrap();
    assert_eq!((&push["type"], &push["payload"]["state"]), (&json!("delta"), &json!({"fw": "1.2"})));

    publish(r#"{"type":"get","clientToken":"s-2"}"#);
    assert_eq!(heard.next().unwrap()["payload"]["state"]["delta"], json!({"fw": "1.2"}));
    listener.wait().unwrap();

    let late = refused(&hub, &["set", "shadow", PRODUCT, "sensor", "--reported", r#"{"fw":"1.0"}"#, "--version", "1"]);
    assert!(late.contains("the request is for version 1, and the shadow is at version 2"), "{late}");
    let listed = weir(&hub, &["get", "shadows", PRODUCT, "sensor"]);
    assert!(listed.lines().nth(1).unwrap().starts_with("(classic)  2 "), "{listed}");
    let described = weir(&hub, &["describe", "shadow", PRODUCT, "sensor"]);
    for line in [
        format!("the shadow of device {PRODUCT}/sensor: version 2, changed "),
        r#"fw   "1.1"     "1.2"    "1.2""#.to_owned(),
        "The last 3 requests, newest first:".to_owned(),
        "administrator:admin".to_owned(),
    ] {
        assert!(described.contains(&line), "{line}: {described}");
    }
    let described = json(&weir(&hub, &["describe", "shadow", PRODUCT, "sensor", "-o", "json"]));
    assert_eq!(described["state"]["desired"], json!({"fw": "1.2"}));
    let history = described["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[2]["type"]), (3, &json!("update")));
    assert!(history[2]["time"].as_str().unwrap().starts_with("20"), "{history:?}");
    assert_eq!(
        weir(&hub, &["delete", "shadow", PRODUCT, "sensor"]),
        format!("the shadow of device {PRODUCT}/sensor deleted\n")
    );
    assert_eq!(json(&weir(&hub, &["describe", "shadow", PRODUCT, "sensor", "-o", "json"]))["version"], 3);
}

#[test]
fn a_device_that_was_away_gets_the_delta_when_it_comes() {
    let mut hub = Hub::start();
    hub.create_product();
    let (login, other) = (hub.create_device("sensor"), hub.create_device("other"));
    weir(&hub, &["set", "shadow", PRODUCT, "sensor", "--desired", r#"{"on":true}"#]);
    weir(&hub, &["set", "shadow", PRODUCT, "sensor", "--desired", r#"{"v":2}"#, "--name", "fw"]);
    hub.terminate();
    hub.restart();
    let mut sensor = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    sensor.subscribe(&format!("$shadow/operation/result/{PRODUCT}/sensor"));
    let (topic, push) = received(&mut sensor);
    assert_eq!(topic, format!("$shadow/operation/result/{PRODUCT}/sensor"));
    assert_eq!((&push["payload"]["state"], &push["payload"]["version"]), (&json!({"on": true}), &json!(1)));
    sensor.subscribe(&format!("$shadow/name/+/operation/result/{PRODUCT}/sensor"));
    let (topic, push) = received(&mut sensor);
    assert_eq!(topic, format!("$shadow/name/fw/operation/result/{PRODUCT}/sensor"));
    assert_eq!(push["payload"]["state"], json!({"v": 2}));
    let update = r#"{"type":"update","state":{"reported":{"v":2},"desired":null}}"#;
    sensor.publish(&format!("$shadow/name/fw/operation/{PRODUCT}/sensor"), update).unwrap();
    assert_eq!(received(&mut sensor).1["payload"]["version"], 2);
    // What is another's is nobody else's.
    let mut other = Mqtt::connect(hub.mqtt_port(), &other).unwrap();
    assert!(other.publish(&format!("$shadow/name/fw/operation/{PRODUCT}/sensor"), update).is_err());
    let fw = json(&weir(&hub, &["describe", "shadow", &format!("{PRODUCT}/sensor"), "--name", "fw", "-o", "json"]));
    assert_eq!((&fw["version"], &fw["state"]), (&json!(2), &json!({"reported": {"v": 2}})));
}

#[test]
fn a_device_is_called() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("lamp");
    let offline = refused(&hub, &["call", PRODUCT, "lamp", "on"]);
    assert!(offline.contains(&format!("device {PRODUCT}/lamp is offline")), "{offline}");
    let mut lamp = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    let deaf = refused(&hub, &["call", PRODUCT, "lamp", "on"]);
    assert!(deaf.contains("does not listen for calls"), "{deaf}");
    lamp.subscribe(&format!("$rrpc/rxd/{PRODUCT}/lamp/+"));
    let silent = refused(&hub, &["call", PRODUCT, "lamp", "hush", "--timeout", "20ms"]);
    assert!(silent.contains("did not answer call"), "{silent}");
    assert_eq!(lamp.receive(SOON).unwrap().payload, "hush");
    thread::scope(|scope| {
        scope.spawn(|| {
            let Message { topic, payload } = lamp.receive(SOON).unwrap();
            lamp.publish(&topic.replace("/rxd/", "/txd/"), &format!("{payload}: done")).unwrap();
        });
        assert_eq!(weir(&hub, &["call", &format!("{PRODUCT}/lamp"), "on", "--timeout", "10s"]), "on: done\n");
    });
    lamp.subscribe(&format!("$sys/operation/result/{PRODUCT}/lamp"));
    lamp.publish(&format!("$sys/operation/{PRODUCT}/lamp"), r#"{"type":"get","resource":["time"]}"#).unwrap();
    let time = received(&mut lamp).1;
    assert!(
        time["ntptime2"].as_i64() >= time["ntptime1"].as_i64() && time["time"].as_i64() > Some(1_700_000_000),
        "{time}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    survives(None);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    survives(Some(Powerloss::build()));
}

/// What one writer has been told is safe, and how much it may have sent.
#[derive(Default)]
struct Writer {
    acknowledged: AtomicU64,
    sent: AtomicU64,
}

impl Writer {
    /// Writes numbers, one after the other, until the hub does not answer.
    fn write(&self, mut write: impl FnMut(u64) -> bool) {
        loop {
            let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
            if !write(number) {
                return;
            }
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::SeqCst), self.sent.load(Ordering::SeqCst))
    }
}

/// The device by MQTT and an application by REST write to one shadow while the hub is killed.
fn survives(powerloss: Option<Powerloss>) {
    let mut hub = Hub::with(&[], powerloss);
    hub.create_product();
    let login = hub.create_device("sensor");
    let path = format!("/v1/products/{PRODUCT}/devices/sensor/shadow");
    let (device, application) = (Arc::new(Writer::default()), Arc::new(Writer::default()));
    for _ in 0..3 {
        let goal = |writer: &Writer| writer.count().0 + 25;
        let goals = (goal(&device), goal(&application));
        let mut mqtt = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
        let topic = format!("$shadow/operation/{PRODUCT}/sensor");
        let by_mqtt = Arc::clone(&device);
        let one = thread::spawn(move || {
            by_mqtt.write(|n| {
                mqtt.publish(&topic, &format!(r#"{{"type":"update","state":{{"reported":{{"n":{n}}}}}}}"#)).is_ok()
            });
        });
        let by_rest = Arc::clone(&application);
        let body = |n: u64| json!({"state": {"desired": {"m": n}}});
        let request = hub.request(Method::PATCH, &path);
        let other = thread::spawn(move || {
            by_rest.write(|n| {
                let sent = request.try_clone().unwrap().json(&body(n)).send();
                sent.is_ok_and(|answer| answer.status().is_success())
            });
        });
        eventually("both have written", SOON, || {
            (device.count().0 >= goals.0 && application.count().0 >= goals.1).then_some(())
        });
        hub.kill();
        one.join().unwrap();
        other.join().unwrap();
        hub.restart();
    }
    let shadow = hub.get(&path);
    let (acknowledged, sent) = (device.count().0 + application.count().0, device.count().1 + application.count().1);
    let version = shadow["version"].as_u64().unwrap();
    assert!((acknowledged..=sent).contains(&version), "{version} of {acknowledged} to {sent}");
    for (value, writer) in
        [(&shadow["state"]["reported"]["n"], &device), (&shadow["state"]["desired"]["m"], &application)]
    {
        let (acknowledged, sent) = writer.count();
        let value = value.as_u64().unwrap();
        // Numbers that were not acknowledged are left out by their writer: the last one in is at least the last acknowledged.
        assert!(value >= acknowledged && value <= sent, "{value} of {acknowledged} to {sent}");
    }
    // Said once or again, a version is always the same, and none is left out of the log.
    let rows = hub.query(&format!(
        "SELECT payload.version, type FROM '$shadow/operation/result/{PRODUCT}/sensor' ORDER BY msg.offset"
    ));
    let versions: std::collections::BTreeSet<u64> = rows.iter().filter_map(|row| row[0].as_u64()).collect();
    assert_eq!(versions, (1..=version).collect(), "answers of the device, and deltas of the application");
}

#[test]
fn rules_write_shadows_with_the_rights_of_their_owner() {
    let hub = Hub::start();
    hub.create_product();
    for name in ["sensor", "panel"] {
        hub.create_device(name);
    }
    // The device that the message is of, by its columns; and another, its version told by the message.
    hub.apply(&format!(
        "CREATE RULE last TO shadow(part => 'reported') AS SELECT temp, fw FROM '{PRODUCT}/+/event';
         CREATE RULE pin TO shadow(part => 'desired', product => '{PRODUCT}', device => '${{who}}', name => 'ui', version => '${{at}}')
         AS SELECT shown FROM '{PRODUCT}/+/event' WHERE who IS NOT NULL"
    ));
    let event = |payload: Value| {
        let topic = format!("{PRODUCT}/sensor/event");
        hub.post("/v1/publish", &json!({"topic": topic, "payload": payload.to_string(), "qos": 1}));
    };
    let shadow = |device: &str, query: &str| {
        let answer = hub.request(Method::GET, &format!("/v1/products/{PRODUCT}/devices/{device}/shadow{query}")).send();
        answer.unwrap().json::<Value>().unwrap()
    };
    event(json!({"temp": 21, "fw": "1.0"}));
    eventually("the row is applied", SOON, || {
        (shadow("sensor", "")["state"]["reported"] == json!({"temp": 21, "fw": "1.0"})).then_some(())
    });
    let by = hub.query(&format!("SELECT msg.publisher FROM '$shadow/operation/{PRODUCT}/sensor'"));
    assert_eq!(by, [[json!("rule:last")]]);

    weir(&hub, &["set", "shadow", PRODUCT, "panel", "--desired", r#"{"page":1}"#, "--name", "ui"]);
    event(json!({"temp": 22, "who": "panel", "shown": "hot", "at": 1}));
    eventually("the other's shadow is changed", SOON, || (shadow("panel", "?name=ui")["version"] == 2).then_some(()));
    assert_eq!(shadow("panel", "?name=ui")["state"]["desired"], json!({"page": 1, "shown": "hot"}));
    assert_eq!(shadow("sensor", "")["state"]["reported"], json!({"temp": 22}), "what is NULL goes");

    // What the shadow refuses is put aside with its reason.
    event(json!({"temp": 23, "who": "panel", "shown": "cold", "at": 1}));
    let letter = eventually("the row is put aside", SOON, || {
        hub.get("/v1/deadletters")["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(letter["reason"], "the request is for version 1, and the shadow is at version 2");
    let pin = hub.action("pin", 0);
    assert_eq!((&pin["delivered"], &pin["dead_lettered"]), (&json!(1), &json!(1)), "{pin}");
}
