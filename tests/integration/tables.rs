//! Devices and shadows as tables, indexes on them, and changes of shadows as messages, with the real program.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, refused, weir},
};

/// A hub with three devices, of which two are not as they are to be.
fn fleet() -> Hub {
    let hub = Hub::start();
    hub.create_product();
    for (name, reported, desired) in [
        ("a", r#"{"fw":"1.0","temp":20}"#, r#"{"fw":"1.1"}"#),
        ("b", r#"{"fw":"1.1","temp":31}"#, r#"{"fw":"1.1"}"#),
        ("c", r#"{"fw":"0.9","temp":40}"#, r#"{"fw":"1.1","color":"red"}"#),
    ] {
        hub.create_device(name);
        weir(&hub, &["set", "shadow", PRODUCT, name, "--reported", reported, "--desired", desired]);
    }
    weir(&hub, &["set", "shadow", PRODUCT, "b", "--reported", r#"{"ip":"10.0.0.1"}"#, "--name", "net"]);
    hub
}

#[test]
fn a_fleet_is_asked_with_and_without_indexes() {
    let hub = fleet();
    let check = || {
        let outdated = "SELECT product, device FROM shadows WHERE reported.fw <> desired.fw ORDER BY device";
        assert_eq!(hub.query(outdated), [[json!(PRODUCT), json!("a")], [json!(PRODUCT), json!("c")]]);
        let sql = "SELECT device FROM shadows WHERE reported.fw = '1.1' AND reported.temp > 30";
        assert_eq!(hub.query(sql), [[json!("b")]]);
        let sql = "SELECT device, name, reported FROM shadows WHERE name = 'net'";
        assert_eq!(hub.query(sql), [[json!("b"), json!("net"), json!({"ip": "10.0.0.1"})]]);
        let sql = "SELECT device, delta FROM shadows WHERE delta IS NOT NULL ORDER BY device DESC LIMIT 1";
        assert_eq!(hub.query(sql), [[json!("c"), json!({"fw": "1.1", "color": "red"})]]);
        assert_eq!(
            hub.query("SELECT count(*) AS n FROM shadows WHERE updated_at > now() - INTERVAL '1 hour'"),
            [[json!(4)]]
        );
    };
    check();
    hub.apply(
        "CREATE INDEX outdated ON shadows (reported.fw <> desired.fw); CREATE INDEX fw ON shadows (reported.fw);
         CREATE INDEX temp ON shadows (reported.temp)",
    );
    check();
    let listed = weir(&hub, &["get", "indexes"]);
    assert!(listed.contains("outdated  shadows  reported.fw <> desired.fw"), "{listed}");
    let described = weir(&hub, &["describe", "index", "fw"]);
    assert!(described.contains("CREATE INDEX fw ON shadows (reported.fw)"), "{described}");
    assert_eq!(weir(&hub, &["delete", "index", "temp"]), "index temp deleted\n");
    assert!(refused(&hub, &["delete", "index", "temp"]).contains("there is no index temp"));
    hub.apply("DROP INDEX fw");
    check();

    // Devices, and messages beside them.
    let sql = "SELECT device, enabled, online FROM devices WHERE device <> 'b' ORDER BY device";
    assert_eq!(hub.query(sql), [[json!("a"), json!(true), json!(false)], [json!("c"), json!(true), json!(false)]]);
    for (name, temp) in [("a", 1), ("c", 2)] {
        let message =
            json!({"topic": format!("{PRODUCT}/{name}/event"), "payload": format!(r#"{{"temp":{temp}}}"#), "qos": 1});
        hub.post("/v1/publish", &message);
    }
    let sql = format!(
        "SELECT d.device, m.temp, s.reported.fw FROM '{PRODUCT}/+/event' AS m
         JOIN devices AS d ON msg.product = d.product AND msg.device = d.device
         LEFT JOIN shadows AS s ON s.product = d.product AND s.device = d.device AND s.name IS NULL
         WHERE m.temp > 1"
    );
    assert_eq!(hub.query(&sql), [[json!("c"), json!(2), json!("0.9")]]);
    let error = refused(&hub, &["query", "SELECT devise FROM devices"]);
    assert!(error.contains("devices has no column devise") && error.contains("did you mean device?"), "{error}");
}

#[test]
fn changes_of_shadows_are_messages_to_rules_and_tails() {
    let mut hub = fleet();
    assert_eq!(hub.count("$shadow/changed/#"), 0, "nobody reads of them");
    hub.apply(
        "CREATE RULE updated TO republish(topic => '${product}/panel/data') AS
         SELECT product, device, changed.reported.fw AS fw, previous, version, \"by\"
         FROM '$shadow/changed/+/+' WHERE changed.reported.fw IS NOT NULL",
    );
    let mut tail = hub.command(&["tail", "$shadow/changed/#", "-o", "json"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    // Until the tail is there, only the rule reads, which hears nothing of named ones.
    let heard = eventually("the tail hears of a named shadow", SOON, || {
        weir(&hub, &["set", "shadow", PRODUCT, "a", "--reported", r#"{"up":1}"#, "--name", "net"]);
        (hub.count("$shadow/changed/+/+/net") > 0).then(|| lines.next().unwrap().unwrap())
    });
    let heard: Value = serde_json::from_str(&heard).unwrap();
    assert!(heard["topic"].as_str().unwrap().starts_with(&format!("$shadow/changed/{PRODUCT}/a")), "{heard}");
    tail.kill().unwrap();
    tail.wait().unwrap();

    weir(&hub, &["set", "shadow", PRODUCT, "a", "--reported", r#"{"fw":"1.1"}"#]);
    weir(&hub, &["set", "shadow", PRODUCT, "a", "--reported", r#"{"temp":21}"#]);
    let rows = format!("SELECT device, fw, previous, version, \"by\" FROM '{PRODUCT}/panel/data'");
    let expected = [json!("a"), json!("1.1"), json!(1), json!(2), json!("administrator:admin")];
    eventually("the rule has told of it", SOON, || (hub.query(&rows) == [expected.clone()]).then_some(()));

    // What was told is not told again, and what comes is told, after a kill.
    let told = || hub.query(&format!("SELECT version FROM '$shadow/changed/{PRODUCT}/a'"));
    assert_eq!(told(), [[json!(2)], [json!(3)]]);
    hub.kill();
    hub.restart();
    weir(&hub, &["set", "shadow", PRODUCT, "a", "--reported", r#"{"fw":"1.2"}"#]);
    let told = hub.query(&format!("SELECT version FROM '$shadow/changed/{PRODUCT}/a'"));
    assert_eq!(told, [[json!(2)], [json!(3)], [json!(4)]]);
}
