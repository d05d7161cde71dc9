//! The vendor's device SDK for Python, `tencent-iot-device` 1.0.0, unmodified.
//!
//! It speaks MQTT 3.1, makes its password by HMAC-SHA1 over an expiry in milliseconds, and wants JSON as payloads. It has
//! its host names and ports built in; `tests/interop/vendor_device.py` leads them to the hub. What does not run, and why:
//!
//! * **TLS with the device's key** (`auth_mode` `KEY`, `tls=True`): the SDK trusts the vendor's own authority, whose
//!   certificate is written into its code, and it asks Python for a server's context where it is the client, which Python
//!   refuses since 3.10. It could not reach the vendor either. [`keys_over_tls_end_in_the_sdk`] shows it.
//! * **OTA**: it needs a service of the hub that is not there yet.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::library::{Library, Program, installed, path_of};
use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
};

const DEVICE: &str = "sdk-device";

/// The device's side: what the SDK reads, and the program around it.
struct Sdk {
    folder: TempDir,
    program: Program,
}

impl Sdk {
    fn start() -> Self {
        let mut command = Command::new(installed("python/bin/python"));
        // Before everything that is installed, as the SDK wants an older paho.
        command.arg(path_of("vendor_device.py")).env("PYTHONPATH", installed("vendor"));
        // What listens on this machine is nothing for a proxy.
        command.env("no_proxy", "*");
        Self { folder: tempfile::tempdir().unwrap(), program: Program::start(&mut command) }
    }

    /// Writes the SDK's device file. Certificates are looked for beside it.
    fn describe(&self, mode: &str, secret: &str) {
        self.describe_as(PRODUCT, DEVICE, mode, secret, "");
    }

    /// As any device, with what the devices of its product share.
    fn describe_as(&self, product: &str, device: &str, mode: &str, secret: &str, product_secret: &str) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let description = json!({
            "auth_mode": mode,
            "productId": product,
            "productSecret": product_secret,
            "deviceName": device,
            "key_deviceinfo": {"deviceSecret": secret},
            "cert_deviceinfo": {
                "devCaFile": file("ca.pem"),
                "devCertFile": file("device.pem"),
                "devPrivateKeyFile": file("device.key"),
            },
            "subDev": {
                "subdev_num": 1,
                "subdev_list": [{"sub_productId": PRODUCT, "sub_devName": DEVICE}],
            },
            "region": "china",
        });
        fs::write(self.folder.path().join("device.json"), description.to_string()).unwrap();
    }

    fn try_connect(&mut self, port: u16, tls: bool, websocket: bool) -> Value {
        let file = self.folder.path().join("device.json");
        self.program.call(&json!({"do": "connect", "file": file, "port": port, "tls": tls, "websocket": websocket}))
    }

    fn call(&mut self, command: Value) -> Value {
        let answer = self.program.call(&command);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }

    /// Everything that a connected device does.
    fn works(&mut self, hub: &Hub) {
        let [event, data, control] = ["event", "data", "control"].map(|class| format!("{PRODUCT}/{DEVICE}/{class}"));
        let mut application = Mqtt::connect(hub.mqtt_port(), &hub.administrator("watcher")).unwrap();
        application.subscribe(&event);
        for qos in [0, 1] {
            assert_eq!(self.call(json!({"do": "subscribe", "filter": control, "qos": qos}))["codes"], json!([qos]));
            let said = json!({"at": qos, "text": "温度"});
            self.call(json!({"do": "publish", "topic": event, "payload": said, "qos": qos}));
            let heard: Value = serde_json::from_str(&application.receive(SOON).unwrap().payload).unwrap();
            assert_eq!(heard, said);
            application.publish(&control, &json!({"do": qos}).to_string()).unwrap();
            let told = self.call(json!({"do": "receive", "within": 20}));
            assert_eq!(told, json!({"topic": control, "qos": qos, "payload": {"do": qos}}));
        }
        // Its own words come back to it on the topic that has both rights.
        self.call(json!({"do": "subscribe", "filter": data, "qos": 1}));
        self.call(json!({"do": "publish", "topic": data, "payload": {"n": 1}, "qos": 1}));
        let told = self.call(json!({"do": "receive", "within": 20}));
        assert_eq!(told, json!({"topic": data, "qos": 1, "payload": {"n": 1}}));
        self.call(json!({"do": "unsubscribe", "filter": data}));
        // A foreign topic is refused in SUBACK.
        let foreign = format!("{PRODUCT}/other/control");
        assert_eq!(self.call(json!({"do": "subscribe", "filter": foreign, "qos": 1}))["codes"], json!([0x80]));
        self.call(json!({"do": "disconnect"}));
    }
}

/// A hub that has the device, under the name that the SDK asks for. Gives the device's key.
fn hub_for(host: &str) -> (Hub, String) {
    let hub = Hub::with(&[&format!("listen.name={host}")], None);
    hub.create_product();
    let device = hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": DEVICE}));
    (hub, device["psk"].as_str().unwrap().to_owned())
}

#[test]
fn a_key_over_tcp() {
    let host = format!("{PRODUCT}.iotcloud.tencentdevices.com");
    let (hub, key) = hub_for(&host);
    let mut sdk = Sdk::start();
    sdk.describe("KEY", &key);
    let answer = sdk.try_connect(hub.mqtt_port(), false, false);
    assert_eq!(answer, json!({"code": 0, "asked_for": [host, 1883]}));
    sdk.works(&hub);
}

#[test]
fn a_key_over_websocket() {
    let host = format!("{PRODUCT}.ap-guangzhou.iothub.tencentdevices.com");
    let (hub, key) = hub_for(&host);
    let mut sdk = Sdk::start();
    sdk.describe("KEY", &key);
    let answer = sdk.try_connect(hub.ws_port(), false, true);
    assert_eq!(answer, json!({"code": 0, "asked_for": [host, 80]}));
    sdk.works(&hub);
}

#[test]
fn a_certificate_over_tls() {
    certificate(&format!("{PRODUCT}.iotcloud.tencentdevices.com"), Hub::mqtts_port, false, 8883);
}

#[test]
fn a_certificate_over_secure_websocket() {
    certificate(&format!("{PRODUCT}.ap-guangzhou.iothub.tencentdevices.com"), Hub::wss_port, true, 443);
}

/// The SDK checks that the hub's certificate is for the name that it asked for.
fn certificate(host: &str, port: fn(&Hub) -> u16, websocket: bool, asked: u16) {
    let (hub, key) = hub_for(host);
    let mut sdk = Sdk::start();
    sdk.describe("CERT", &key);
    let folder = sdk.folder.path();
    fs::write(folder.join("ca.pem"), hub.weir(&["get", "ca"]).stdout).unwrap();
    let arguments = ["create", "certificate", PRODUCT, DEVICE, "--out", "device"];
    let made = hub.command(&arguments).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let answer = sdk.try_connect(port(&hub), true, websocket);
    assert_eq!(answer, json!({"code": 0, "asked_for": [host, asked]}));
    sdk.works(&hub);
}

/// Its shadow, calls to it, and the time, by the SDK's own functions for them.
#[test]
fn services() {
    let (hub, key) = hub_for(&format!("{PRODUCT}.iotcloud.tencentdevices.com"));
    let mut sdk = Sdk::start();
    sdk.describe("KEY", &key);
    sdk.try_connect(hub.mqtt_port(), false, false);
    let command = |what: &str| json!({"do": what, "product": PRODUCT, "device": DEVICE});
    let receive = |sdk: &mut Sdk| {
        let told = sdk.call(json!({"do": "receive", "within": 20}));
        assert_eq!(told["topic"], format!("$shadow/operation/result/{PRODUCT}/{DEVICE}"), "{told}");
        told["payload"].clone()
    };
    assert_eq!(sdk.call(command("shadow_init"))["codes"], json!([0]));
    sdk.call(command("shadow_get"));
    let empty = receive(&mut sdk);
    assert_eq!((&empty["clientToken"], &empty["payload"]["version"]), (&json!(format!("{PRODUCT}-0")), &json!(0)));
    sdk.call(json!({"do": "shadow_report", "key": "speed", "value": 3}));
    let reply = receive(&mut sdk);
    assert_eq!((&reply["result"], &reply["payload"]["state"]), (&json!(0), &json!({"reported": {"speed": 3}})));
    let set = hub.weir(&["set", "shadow", PRODUCT, DEVICE, "--desired", r#"{"speed":7}"#]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let push = receive(&mut sdk);
    assert_eq!((&push["type"], &push["payload"]["state"]), (&json!("delta"), &json!({"speed": 7})));
    sdk.call(command("shadow_clear"));
    assert_eq!(receive(&mut sdk)["payload"]["state"], json!({"desired": null}));

    assert_eq!(sdk.call(command("rrpc_init"))["codes"], json!([0]));
    let called = hub.weir(&["call", PRODUCT, DEVICE, r#"{"on":true}"#, "--timeout", "20s"]);
    let answer: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(answer, json!({"done": {"on": true}}));

    // The SDK asks three times in a second and a half, and says -1 if it was not told.
    assert!(sdk.call(command("time"))["time"].as_f64().unwrap() > 1_700_000_000_000.0);

    assert_eq!(sdk.call(command("broadcast_init"))["codes"], json!([0]));
    let sent = hub.weir(&["broadcast", PRODUCT, r#"{"fw":"1.2"}"#]);
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "broadcast 1 sent to 1 devices\n", "{sent:?}");
    let told = sdk.call(json!({"do": "receive", "within": 20}));
    assert_eq!(told["topic"], format!("$broadcast/rxd/{PRODUCT}/{DEVICE}"));
    assert_eq!(told["payload"], json!({"fw": "1.2"}));
    sdk.call(json!({"do": "disconnect"}));
}

/// A device that knows its product's secret alone: made before or not, it gets its key, which the SDK keeps and connects
/// with; and then not again.
#[test]
fn dynamic_registration() {
    for mode in ["existing", "any"] {
        let hub = Hub::with(&[&format!("listen.name={PRODUCT}.iotcloud.tencentdevices.com")], None);
        hub.create_product();
        if mode == "existing" {
            hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": DEVICE}));
        }
        let set = hub.weir(&["set", "product", PRODUCT, "--registration", mode, "-o", "json"]);
        let set: Value = serde_json::from_slice(&set.stdout).unwrap();
        let mut sdk = Sdk::start();
        // The SDK takes this for no secret at all.
        sdk.describe_as(PRODUCT, DEVICE, "KEY", "YOUR_DEVICE_SECRET", set["secret"].as_str().unwrap());
        let file = sdk.folder.path().join("device.json");
        let ask = json!({"do": "register", "file": file, "port": hub.ws_port(), "tls": false, "websocket": false});
        let registered = sdk.call(ask.clone());
        let device = hub.get(&format!("/v1/products/{PRODUCT}/devices/{DEVICE}"));
        let host = "ap-guangzhou.gateway.tencentdevices.com";
        assert_eq!(registered, json!({"code": 0, "told": device["psk"], "asked_for": [host, 80]}), "{mode}");
        let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept["key_deviceinfo"]["deviceSecret"], device["psk"]);
        assert_eq!(sdk.try_connect(hub.mqtt_port(), false, false)["code"], 0);
        sdk.works(&hub);

        let connected = || hub.get(&format!("/v1/products/{PRODUCT}/devices/{DEVICE}"))["activated_at"].as_i64();
        eventually("the first connect is kept", SOON, connected);
        let mut again = Sdk::start();
        again.describe_as(PRODUCT, DEVICE, "KEY", "YOUR_DEVICE_SECRET", set["secret"].as_str().unwrap());
        let mut ask = ask.clone();
        ask["file"] = json!(again.folder.path().join("device.json"));
        let refused = again.call(ask);
        assert_eq!(refused["code"], -1);
        let told = refused["told"].as_str().unwrap();
        assert!(told.contains("has connected already"), "{told}");
    }
}

/// A gateway by the SDK's own functions: a device is bound, brought online, acted for, and let go.
#[test]
fn a_gateway() {
    const GATEWAY: &str = "GATEWAY001";
    let (hub, key) = hub_for(&format!("{GATEWAY}.iotcloud.tencentdevices.com"));
    hub.post("/v1/products", &json!({"id": GATEWAY, "type": "gateway"}));
    let gateway = hub.post(&format!("/v1/products/{GATEWAY}/devices"), &json!({"name": "g"}));
    let mut sdk = Sdk::start();
    sdk.describe_as(GATEWAY, "g", "KEY", gateway["psk"].as_str().unwrap(), "");
    assert_eq!(sdk.try_connect(hub.mqtt_port(), false, false)["code"], 0);
    let mut news = Mqtt::connect(hub.mqtt_port(), &hub.administrator("news")).unwrap();
    news.subscribe(&format!("$state/report/{PRODUCT}/{DEVICE}"));
    let mut application = Mqtt::connect(hub.mqtt_port(), &hub.administrator("watcher")).unwrap();
    application.subscribe(&format!("{PRODUCT}/+/event"));
    let command = |what: &str| json!({"do": what, "product": PRODUCT, "device": DEVICE});
    let (event, control) = (format!("{PRODUCT}/{DEVICE}/event"), format!("{PRODUCT}/{DEVICE}/control"));
    let presence = |news: &mut Mqtt| {
        let told: Value = serde_json::from_str(&news.receive(SOON).unwrap().payload).unwrap();
        (told["event"].as_str().unwrap().to_owned(), told["reason"].as_str().unwrap().to_owned())
    };

    assert_eq!(sdk.call(json!({"do": "gateway_init"}))["codes"], json!([0]));
    // Another device, as the SDK never forgets that it was refused one.
    hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": "other"}));
    let other = json!({"do": "gateway_bind", "product": PRODUCT, "device": "other", "secret": key});
    assert_eq!(sdk.call(other)["code"], 1, "that is not its key");
    let other = json!({"do": "gateway_online", "product": PRODUCT, "device": "other"});
    assert_eq!(sdk.call(other)["code"], 1);
    let mut bind = command("gateway_bind");
    bind["secret"] = key.into();
    assert_eq!(sdk.call(bind)["code"], 0);
    let list = sdk.call(json!({"do": "gateway_devices", "product": GATEWAY, "device": "g"}));
    assert_eq!(list["devices"], json!([format!("{PRODUCT}/{DEVICE}")]));
    let subscribe = json!({"do": "gateway_subscribe", "filter": control});
    assert_eq!(sdk.call(subscribe.clone())["codes"], json!([0x80]), "it is not online yet");
    assert_eq!(sdk.call(command("gateway_online"))["code"], 0);
    assert_eq!(presence(&mut news), ("EV_ONLINE".to_owned(), "REASON_DEVICE_CONNECT".to_owned()));

    assert_eq!(sdk.call(subscribe)["codes"], json!([0]));
    sdk.call(json!({"do": "publish", "topic": event, "payload": {"temp": 3}, "qos": 1}));
    assert_eq!(application.receive(SOON).unwrap().topic, event);
    application.publish(&control, r#"{"on":true}"#).unwrap();
    let told = sdk.call(json!({"do": "receive", "within": 20}));
    assert_eq!((&told["topic"], &told["payload"]), (&json!(control), &json!({"on": true})));
    let seen = hub.query(&format!("SELECT deviceName(), msg.device, msg.publisher FROM '{event}'"));
    assert_eq!(seen, [[json!(DEVICE), json!(DEVICE), json!(format!("device:{GATEWAY}/g"))]]);

    // The shadow of the device, and calls to it.
    assert_eq!(sdk.call(command("shadow_init"))["codes"], json!([0]));
    sdk.call(json!({"do": "shadow_report", "key": "speed", "value": 3}));
    let reply = sdk.call(json!({"do": "receive", "within": 20}));
    assert_eq!(reply["topic"], format!("$shadow/operation/result/{PRODUCT}/{DEVICE}"));
    assert_eq!(reply["payload"]["payload"]["state"], json!({"reported": {"speed": 3}}));
    hub.weir(&["set", "shadow", PRODUCT, DEVICE, "--desired", r#"{"speed":7}"#]);
    assert_eq!(sdk.call(json!({"do": "receive", "within": 20}))["payload"]["type"], "delta");
    assert_eq!(sdk.call(command("rrpc_init"))["codes"], json!([0]));
    let called = hub.weir(&["call", PRODUCT, DEVICE, r#"{"on":true}"#, "--timeout", "20s"]);
    let answer: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(answer, json!({"done": {"on": true}}));

    let described = hub.weir(&["describe", "device", PRODUCT, DEVICE, "-o", "json"]);
    let described: Value = serde_json::from_slice(&described.stdout).unwrap();
    assert_eq!((&described["online"], &described["gateway"]["product"]), (&json!(true), &json!(GATEWAY)));
    assert!(described["gateway"]["online_since"].is_u64() && described["session"].is_null(), "{described}");

    assert_eq!(sdk.call(command("gateway_offline"))["code"], 0);
    assert_eq!(presence(&mut news), ("EV_OFFLINE".to_owned(), "REASON_DEVICE_DISCONNECT".to_owned()));
    assert_eq!(sdk.call(command("gateway_online"))["code"], 0);
    assert_eq!(sdk.call(command("gateway_unbind"))["code"], 0);
    assert_eq!(sdk.call(command("gateway_online"))["code"], 1);
    sdk.call(json!({"do": "disconnect"}));
}

/// It is the SDK that fails, before a byte goes out.
#[test]
fn keys_over_tls_end_in_the_sdk() {
    let (hub, key) = hub_for(&format!("{PRODUCT}.iotcloud.tencentdevices.com"));
    let mut sdk = Sdk::start();
    sdk.describe("KEY", &key);
    let answer = sdk.try_connect(hub.mqtts_port(), true, false);
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("Cannot create a client socket with a PROTOCOL_TLS_SERVER context"), "{answer}");
}
