//! HTTP for devices, with curl: the plain dialect, and what the vendor's devices sign.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{
    hub::{Hub, PRODUCT},
    mqtt::{Login, Mqtt},
};

/// A hub with the device `dev`.
struct Plain {
    hub: Hub,
    login: Login,
}

impl Plain {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[&str]) -> Self {
        let hub = Hub::with(settings, None);
        hub.create_product();
        let login = hub.create_device("dev");
        Self { hub, login }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/device/v1/{PRODUCT}/dev/{path}", self.hub.ws_port())
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.login.password)
    }

    /// Status and body.
    fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "-w", "\n%{http_code}"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    fn asked(&self, arguments: &[&str]) -> Value {
        let (status, body) = self.curl(&[&["-H", self.bearer().as_str()], arguments].concat());
        assert_eq!(status, 200, "{arguments:?}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn a_device_publishes_with_every_proof_that_it_has() {
    let plain = Plain::start();
    let event = plain.url("messages/event");
    let published = plain.asked(&["-H", "Content-Type: application/json", "-d", r#"{"n":1}"#, &event]);
    assert!(published["offset"].is_u64(), "{published}");
    // The user name and password of MQTT: a token, or a signature.
    let token = format!("{}:{}", plain.login.username, plain.login.password);
    assert_eq!(plain.curl(&["-u", &token, "-d", r#"{"n":2}"#, &event]).0, 200);
    let device = plain.hub.get(&format!("/v1/products/{PRODUCT}/devices/dev"));
    let key = STANDARD.decode(device["psk"].as_str().unwrap()).unwrap();
    let username = format!("{PRODUCT}dev;12010126;Ab3dE;4000000000");
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(&username).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let signed = format!("{username}:{hex};hmacsha256");
    assert_eq!(plain.curl(&["-u", &signed, "-d", r#"{"n":3}"#, &format!("{event}?qos=0")]).0, 200);
    // The certificate of the connection.
    let files = tempfile::tempdir().unwrap();
    let weir = |arguments: &[&str]| {
        let output = plain.hub.command(arguments).current_dir(files.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    std::fs::write(files.path().join("ca.pem"), weir(&["get", "ca"])).unwrap();
    weir(&["create", "certificate", PRODUCT, "dev", "--out", "dev"]);
    let file = |name: &str| files.path().join(name).display().to_string();
    let secure = event
        .replace("http://", "https://")
        .replace(&format!(":{}/", plain.hub.ws_port()), &format!(":{}/", plain.hub.wss_port()));
    let (authority, certificate, private) = (file("ca.pem"), file("dev.pem"), file("dev.key"));
    let own = ["--cacert", authority.as_str(), "--cert", &certificate, "--key", &private];
    assert_eq!(plain.curl(&[&own[..], &["-d", r#"{"n":4}"#, &secure]].concat()).0, 200);
    let rows = plain.hub.query(&format!("SELECT n, msg.protocol, msg.qos FROM '{PRODUCT}/dev/event'"));
    let row = |n: u8, qos: u8| vec![json!(n), json!("http"), json!(qos)];
    assert_eq!(rows, [row(1, 1), row(2, 1), row(3, 0), row(4, 1)]);
    // It is online for none of it, but it has been here, and cannot register any more.
    assert_eq!(plain.hub.session("dev"), None);
    crate::harness::eventually("it is activated", crate::harness::SOON, || {
        plain.hub.get(&format!("/v1/products/{PRODUCT}/devices/dev"))["activated_at"].as_u64()
    });
}

#[test]
fn refusals_have_a_status_and_say_why() {
    let plain = Plain::with(&["limits.payload_bytes=1 KiB"]);
    let event = plain.url("messages/event");
    let other = plain.hub.create_device("other");
    let check = |headers: &[&str], body: &str, url: &str, expected: u16| {
        let (status, said) = plain.curl(&[headers, &["-d", body, url]].concat());
        assert_eq!(status, expected, "{url}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert!(said["error"]["message"].is_string(), "{said}");
    };
    let bearer = plain.bearer();
    let own = ["-H", bearer.as_str()];
    check(&[], "{}", &event, 401);
    check(&["-H", "Authorization: Bearer wrong"], "{}", &event, 401);
    check(&["-H", &format!("Authorization: Bearer {}", other.password)], "{}", &event, 401);
    check(&["-u", &format!("{}:{}", other.username, other.password)], "{}", &event, 403);
    check(&own, "{}", &plain.url("messages/control"), 403);
    check(&own, "{}", &format!("{event}?qos=2"), 400);
    check(&own, &"x".repeat(1_025), &event, 413);
    check(&own, "{}", &plain.url("elsewhere"), 404);
    check(&[&own[..], &["-X", "DELETE"]].concat(), "{}", &event, 405);
    // Pages of other origins are told nothing (CORS).
    let preflight = ["-X", "OPTIONS", "-H", "Origin: https://example.org", "-H", "Access-Control-Request-Method: POST"];
    let (status, head) = plain.curl(&[&preflight[..], &["-i", &event]].concat());
    assert!(status == 405 && !head.to_ascii_lowercase().contains("access-control"), "{head}");
    assert_eq!(plain.hub.count(&format!("{PRODUCT}/dev/#")), 0);
}

#[test]
fn a_device_that_is_too_fast_is_told_so() {
    let plain = Plain::with(&["limits.device_messages_per_second=1", "limits.device_messages_burst=2"]);
    let event = plain.url("messages/event");
    let bearer = plain.bearer();
    let statuses = [(); 4].map(|()| plain.curl(&["-H", &bearer, "-d", "{}", &event]).0);
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn many_messages_come_at_once() {
    let plain = Plain::start();
    let lines = concat!(
        r#"{"topic":"event","payload":{"n":1}}"#,
        "\n",
        r#"{"topic":"event","payload":{"n":2},"qos":0}"#,
        "\n\n",
        r#"{"topic":"control","payload":{"n":3}}"#,
        "\n",
        r#"{"topic":"event","payload_base64":"eyJuIjo0fQ=="}"#,
        "\n",
        "no json\n",
    );
    let answer =
        plain.asked(&["-H", "Content-Type: application/x-ndjson", "--data-binary", lines, &plain.url("messages")]);
    assert_eq!(answer["published"], 3);
    let failed = answer["failed"].as_array().unwrap();
    let lines: Vec<u64> = failed.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!((lines, &failed[0]["error"]["kind"]), (vec![4, 6], &json!("forbidden")));
    let rows = plain.hub.query(&format!("SELECT n FROM '{PRODUCT}/dev/event'"));
    assert_eq!(rows, [[1], [2], [4]]);
}

#[test]
fn messages_are_heard_as_events_and_none_is_missed() {
    let plain = Plain::start();
    let control = format!("{PRODUCT}/dev/control");
    let tell = |payload: &str| plain.hub.post("/v1/publish", &json!({"topic": control, "payload": payload}));
    let listen = |last: Option<u64>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--no-buffer", "--noproxy", "*", "--max-time", "60"]);
        curl.args(["-H", &plain.bearer(), "-H", "Accept: text/event-stream"]);
        if let Some(last) = last {
            curl.args(["-H", &format!("Last-Event-ID: {last}")]);
        }
        curl.arg(plain.url("messages")).stdout(Stdio::piped()).spawn().unwrap()
    };
    let event = |output: &mut BufReader<std::process::ChildStdout>| {
        let mut id = None;
        loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.trim().parse::<u64>().unwrap());
            }
            if let Some(text) = line.strip_prefix("data: ") {
                let message: Value = serde_json::from_str(text).unwrap();
                return (id.unwrap(), message["payload"].as_str().unwrap().to_owned());
            }
        }
    };
    let mut client = listen(None);
    let mut output = BufReader::new(client.stdout.take().unwrap());
    // What is published before it listens is not for it, so it is told until it hears.
    let mut first = None;
    let (heard, told) = std::sync::mpsc::sync_channel::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            first = Some(event(&mut output));
            heard.send(()).unwrap();
        });
        let asked = || {
            tell("begin");
            told.recv_timeout(Duration::from_millis(200)).ok()
        };
        crate::harness::eventually("it listens", crate::harness::SOON, asked);
    });
    assert_eq!(first.unwrap().1, "begin");
    tell("one");
    let (last, payload) = std::iter::from_fn(|| Some(event(&mut output))).find(|(_, text)| text != "begin").unwrap();
    assert_eq!(payload, "one");
    client.kill().unwrap();
    client.wait().unwrap();
    // It was away, and goes on where it was.
    tell("two");
    tell("three");
    let mut client = listen(Some(last));
    let mut output = BufReader::new(client.stdout.take().unwrap());
    assert_eq!((event(&mut output).1.as_str(), event(&mut output).1.as_str()), ("two", "three"));
    client.kill().unwrap();
    client.wait().unwrap();

    // The same as a list that is waited for.
    let after = |offset: u64| plain.asked(&[&plain.url(&format!("messages?wait=1&after={offset}"))]);
    let list = after(last);
    let payloads: Vec<&str> =
        list["messages"].as_array().unwrap().iter().map(|m| m["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["two", "three"]);
    let next = list["next"].as_u64().unwrap();
    assert_eq!(after(next)["messages"], json!([]));
    let waiting = std::thread::scope(|scope| {
        let list = scope.spawn(|| plain.asked(&[&plain.url(&format!("messages?after={next}"))]));
        tell("four");
        list.join().unwrap()
    });
    assert_eq!(waiting["messages"][0]["payload"], "four");
    let (status, _) =
        plain.curl(&["-H", &plain.bearer(), &plain.url(&format!("messages?filter={PRODUCT}/other/control"))]);
    assert_eq!(status, 403);
}

#[test]
fn a_shadow_is_put_and_got() {
    let plain = Plain::start();
    let shadow = plain.url("shadow");
    let put = plain.asked(&["-X", "PUT", "-d", r#"{"state":{"reported":{"a":1}}}"#, &shadow]);
    assert_eq!(put["state"]["reported"], json!({"a": 1}));
    let patch = plain.asked(&["-X", "PATCH", "-d", r#"{"state":{"reported":{"b":2}},"version":1}"#, &shadow]);
    assert_eq!(patch["state"]["reported"], json!({"a": 1, "b": 2}));
    assert_eq!(plain.asked(&[&shadow])["version"], 2);
    let stale = ["-H", &plain.bearer(), "-X", "PATCH", "-d", r#"{"state":{"reported":{}},"version":1}"#, &shadow];
    assert_eq!(plain.curl(&stale).0, 409);
}

#[test]
fn the_vendors_devices_publish_and_report() {
    let plain = Plain::start();
    let device = plain.hub.get(&format!("/v1/products/{PRODUCT}/devices/dev"));
    let key = device["psk"].as_str().unwrap().to_owned();
    let port = plain.hub.ws_port();
    let send = |path: &str, host: &str, body: &Value| -> Value {
        let body = body.to_string();
        let hash: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("POST\n{host}\n{path}\n\nhmacsha256\n1700000000\n5456\n{hash}");
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(text).finalize().into_bytes();
        let signature = format!("X-TC-Signature: {}", STANDARD.encode(mac));
        let headers = ["X-TC-Algorithm: hmacsha256", "X-TC-Timestamp: 1700000000", "X-TC-Nonce: 5456", &signature];
        let headers: Vec<&str> = headers.into_iter().flat_map(|header| ["-H", header]).collect();
        let url = format!("http://127.0.0.1:{port}{path}");
        let (status, said) = plain.curl(&[&headers[..], &["-d", &body, &url]].concat());
        assert_eq!(status, 200);
        let mut said: Value = serde_json::from_str(&said).unwrap();
        said["Response"].take()
    };
    let message = |topic: &str, payload: &str| json!({"ProductId": PRODUCT, "DeviceName": "dev", "TopicName": topic, "Payload": payload, "Qos": 1});
    // Whatever host the client takes itself to speak to.
    let hosts =
        [format!("127.0.0.1:{port}"), "127.0.0.1".to_owned(), "ap-guangzhou.gateway.tencentdevices.com".to_owned()];
    for (host, topic) in hosts.iter().zip(["event", &format!("{PRODUCT}/dev/event"), "event"]) {
        let answer = send("/device/publish", host, &message(topic, r#"{"n":1}"#));
        assert!(answer["RequestId"].is_string() && answer["Error"].is_null(), "{answer}");
    }
    let mut encoded = message("event", "eyJuIjoyfQ==");
    encoded["PayloadEncoding"] = json!("base64");
    send("/device/publish", &hosts[0], &encoded);
    let rows = plain.hub.query(&format!("SELECT n, msg.protocol FROM '{PRODUCT}/dev/event'"));
    assert_eq!(rows.iter().map(|row| row[0].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 1, 2]);
    let refused = send("/device/publish", "elsewhere", &message("event", "{}"));
    assert_eq!(refused["Error"]["Code"], "AuthFailure.SignatureFailure");
    let refused = send("/device/publish", &hosts[0], &message("control", "{}"));
    assert_eq!(refused["Error"]["Code"], "UnauthorizedOperation.PermissionDenied");

    // What it reports is a message, which a rule can read, and which nobody else can write.
    let report = json!({"ProductId": PRODUCT, "DeviceName": "dev", "Message": ["ERRout of range", "no level"]});
    assert!(send("/device/reportlog", &hosts[0], &report)["Error"].is_null());
    let rows = plain.hub.query(&format!("SELECT level, message FROM '$log/report/{PRODUCT}/+'"));
    assert_eq!(rows, [[json!("ERR"), json!("out of range")], [Value::Null, json!("no level")]]);
    let mut mqtt = Mqtt::connect(plain.hub.mqtt_port(), &plain.login).unwrap();
    assert!(mqtt.publish(&format!("$log/report/{PRODUCT}/dev"), "{}").is_err());
}
