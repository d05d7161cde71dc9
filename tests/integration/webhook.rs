//! What a webhook's server gets: the vendor's envelope and signature, and the secret itself nowhere.

use std::{io::Write, process::Stdio};

use serde_json::json;
use sha1::{Digest, Sha1};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
    receiver::Receiver,
};

#[test]
fn a_webhook_is_signed_with_the_rules_secret() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let receiver = Receiver::start();
    let mut create = hub.command(&["create", "secret", "hot"]);
    let mut create = create.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    create.stdin.take().unwrap().write_all(b"s3cr3t-t0ken").unwrap();
    assert!(create.wait().unwrap().success());
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE signed TO webhook(url => '{}', token => secret('hot')) AS SELECT * FROM '{event}'",
        receiver.url("/hot")
    ));
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&event, &json!({"temp": 31.5, "list": [1, null]}).to_string()).unwrap();
    client.publish(&event, &json!({"temp": 32}).to_string()).unwrap();

    let received = eventually("both arrive", SOON, || {
        let received = receiver.received("/hot");
        (received.len() == 2).then_some(received)
    });
    let body = &received[0].body;
    assert_eq!(body["payload"], json!({"temp": 31.5, "list": [1, null]}));
    assert_eq!((&body["productid"], &body["devicename"]), (&json!(PRODUCT), &json!("sensor")));
    assert_eq!(body["topic"], event);
    let time = body["timemills"].as_i64().unwrap();
    assert_eq!(body["timestamp"], time / 1_000);
    assert!(body["seq"].as_i64() < received[1].body["seq"].as_i64(), "{received:?}");

    // Vendor protocol §5.4: the SHA-1 of token, timestamp and nonce, sorted.
    let header = |name: &str| received[0].headers[name].to_str().unwrap().to_owned();
    let mut parts = ["s3cr3t-t0ken".to_owned(), header("timestamp"), header("nonce")];
    parts.sort();
    let hash: String = Sha1::digest(parts.concat()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("signature"), hash);

    for arguments in [["describe", "rule", "signed"].as_slice(), &["get", "secrets"], &["get", "rules"]] {
        let shown = hub.weir(arguments);
        assert!(shown.status.success());
        assert!(!String::from_utf8_lossy(&shown.stdout).contains("s3cr3t"), "{arguments:?} shows the secret");
    }
    assert!(!hub.log().contains("s3cr3t"));
    for file in std::fs::read_dir(hub.data()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let content = std::fs::read(&file).unwrap();
        assert!(!content.windows(6).any(|bytes| bytes == b"s3cr3t"), "{} holds the secret", file.display());
    }
}
