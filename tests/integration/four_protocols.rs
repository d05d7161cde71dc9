//! `examples/four-protocols`, as its README tells it.

use std::process::Command;

use serde_json::json;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, program},
    root,
};

#[test]
fn one_rule_sees_the_same_by_every_protocol() {
    let hub = Hub::start();
    let readme = std::fs::read_to_string(root().join("examples/four-protocols/README.md")).unwrap();
    let script = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    // The query is asked below, when the rule is done.
    let (script, query) = script.trim_end().rsplit_once('\n').unwrap();
    assert!(query.contains("weir query"), "{query}");
    let mut bash = Command::new("bash");
    hub.introduce(&mut bash);
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = bash.args(["-euo", "pipefail", "-c", script]).current_dir(root()).env("PATH", path).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));

    let columns = format!("SELECT device, protocol, temp, unit FROM '{PRODUCT}/panel/data'");
    let rows = eventually("the rule has seen all", SOON, || Some(hub.query(&columns)).filter(|rows| rows.len() >= 4));
    let row = |protocol: &str| vec![json!("thermometer"), json!(protocol), json!(21.5), json!("C")];
    assert_eq!(rows, ["mqtt-3.1.1", "mqtt-3.1.1", "coap", "http"].map(row));
    let payloads = hub.query(&format!("SELECT temp, unit FROM '{PRODUCT}/thermometer/event'"));
    assert_eq!(payloads, vec![vec![json!(21.5), json!("C")]; 4]);
}
