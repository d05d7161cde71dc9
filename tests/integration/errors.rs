//! What goes wrong is said once, clearly, and with an exit code that is not zero.

use std::{fs, net::TcpListener, process::Output};

use crate::harness::{
    hub::{Hub, PRODUCT, program},
    root,
};

/// The command failed with `code`, and told the user everything in `parts`, beginning with `error:` and without a panic.
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one message, not {errors}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

fn applied(hub: &Hub, script: &str) -> Output {
    let file = hub.data().with_file_name("rules.sql");
    fs::write(&file, script).unwrap();
    hub.weir(&["apply", "-f", file.to_str().unwrap()])
}

#[test]
fn what_is_wrong_in_a_rule_is_shown_at_its_place() {
    let hub = Hub::start();
    let schema = ["create", "product", "--id", PRODUCT, "--schema", "temp:number,status:text"];
    assert!(hub.weir(&schema).status.success());
    let rule =
        |select: &str| applied(&hub, &format!("CREATE RULE r TO republish(topic => 'out')\nAS SELECT {select};"));
    let event = format!("'{PRODUCT}/+/event'");

    fails(&applied(&hub, "CREATE RULE r TO\nAS SELECT"), 1, &["line 2"]);
    fails(&rule(&format!("temp FROM {event} WHERE temp >")), 1, &["line 2"]);
    fails(&rule(&format!("uper(status) FROM {event}")), 1, &["line 2, column 11", "uper", "upper"]);
    fails(&rule(&format!("tempp FROM {event}")), 1, &["line 2, column 11", "tempp", "temp"]);
    fails(&rule("temp FROM 'a/#/b'"), 1, &["line 2", "a/#/b"]);
    fails(
        &applied(&hub, "CREATE RULE r TO webhok(url => 'http://h/') AS SELECT * FROM 'a'"),
        1,
        &["webhok", "webhook"],
    );
    let query = hub.weir(&["query", &format!("SELECT temp FRM {event}")]);
    fails(&query, 1, &["line 1"]);

    // Nothing of it was kept.
    assert_eq!(hub.get("/v1/rules")["total"], 0);
}

#[test]
fn the_command_line_says_what_is_missing() {
    let hub = Hub::start();
    fails(&hub.weir(&["describe", "rule", "none"]), 1, &["none", "weir get rules"]);
    fails(&hub.weir(&["create", "device", PRODUCT, "sensor"]), 1, &[PRODUCT]);
    fails(&hub.weir(&["apply", "-f", "no-such-file.sql"]), 2, &["no-such-file.sql"]);
    fails(&hub.weir(&["--key", "admin:wrong", "get", "rules"]), 1, &["key"]);
    fails(&hub.weir(&["--server", "http://127.0.0.1:1", "--key", "a:b", "get", "rules"]), 3, &["127.0.0.1:1"]);
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().to_str().unwrap();
    fails(&hub.weir(&["--data", elsewhere, "get", "rules"]), 3, &[elsewhere, "weir serve"]);
    let exit_codes = hub.weir(&["help"]);
    assert!(exit_codes.status.success());
}

/// Runs `weir serve`, which must end by itself.
fn serve(folder: &str, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new("timeout");
    command.arg("20").arg(program()).args(["serve", "--data", folder]);
    command.args(["--set", "listen.mqtt_port=0", "--set", "tls.mqtt_port=0", "--set", "admin.port=0"]);
    command.args(["--set", "listen.ws_port=0", "--set", "tls.ws_port=0"]);
    command.args(arguments).current_dir(root()).output().unwrap()
}

#[test]
fn a_hub_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    fails(&serve(path, &["--mqtt-port", &port]), 1, &[&port, "in use"]);
    fails(&serve(path, &["--set", &format!("admin.port={port}")]), 1, &[&port, "in use"]);
    fails(&serve(path, &["--set", "log.snyc=never"]), 2, &["log.snyc", "log.sync"]);
    fails(&serve(path, &["--set", "log.sync=sometimes"]), 2, &["log.sync", "sometimes"]);
    fails(&serve(path, &["--mqtts-port", &port]), 1, &[&port, "in use", "TLS"]);
    fails(&serve(path, &["--ws-port", &port]), 1, &[&port, "in use", "WebSocket"]);
    fails(&serve(path, &["--wss-port", &port]), 1, &[&port, "in use", "secure WebSocket"]);
    fails(&serve(path, &["--listen", "0.0.0.0", "--set", "tls.enabled=false"]), 2, &["--allow-plaintext"]);
    fails(&serve(path, &["--name", "not a host"]), 1, &["listen.name", "not a host"]);
}

#[test]
fn two_hubs_cannot_share_a_folder() {
    let hub = Hub::start();
    let data = hub.data();
    fails(&serve(data.to_str().unwrap(), &[]), 1, &[data.to_str().unwrap()]);
}

#[test]
fn a_corrupt_data_folder_is_named() {
    for ending in ["store.sqlite", "secret.key", ".seg"] {
        let mut hub = Hub::start();
        hub.create_product();
        for payload in ["one", "two"] {
            let body = serde_json::json!({"topic": format!("{PRODUCT}/x/event"), "payload": payload, "qos": 1});
            hub.post("/v1/publish", &body);
        }
        // The second start begins another segment, so that the first is not the one that a crash may tear.
        assert!(hub.terminate().success());
        hub.restart();
        assert!(hub.terminate().success());

        let path = files(&hub.data()).into_iter().find(|path| path.to_str().unwrap().ends_with(ending)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0xff);
        fs::write(&path, bytes).unwrap();

        let output = serve(hub.data().to_str().unwrap(), &[]);
        fails(&output, 1, &[path.file_name().unwrap().to_str().unwrap()]);
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}
