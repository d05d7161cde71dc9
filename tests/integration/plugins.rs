//! Plugins as their developers and operators meet them: made, built, pushed, put to use; exchanged and killed at work.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, program, refused, weir},
    mqtt::Mqtt,
    receiver::Receiver,
};

/// What a newcomer makes, in a folder that has nothing to do with the clone.
struct Newcomer {
    _folder: TempDir,
    component: PathBuf,
}

/// `weir plugin new` and `weir plugin build`, once for all tests.
fn newcomer() -> &'static Path {
    static MADE: OnceLock<Newcomer> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(program());
            command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
            command.env("CARGO_TARGET_DIR", guests());
            for (name, value) in told() {
                command.env(name, value);
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["plugin", "new", "--kind", "sink", "--lang", "rust", "my-sink"]);
        run(&["plugin", "build", "my-sink"]);
        let component = folder.path().join("my-sink/my_sink.wasm");
        assert!(component.exists());
        Newcomer { _folder: folder, component }
    });
    &made.component
}

/// Where plugins are compiled: beside what cargo compiles for this test.
fn guests() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guests")
}

/// What `.ci/wasm-target` found that cargo must be told.
fn told() -> Vec<(String, String)> {
    let file = std::env::home_dir().unwrap().join(".cache/weir/wasm/env");
    let told = fs::read_to_string(file).unwrap_or_default();
    let told = told.lines().filter_map(|line| line.split_once('='));
    told.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A hub with a rule that writes to the newcomer's sink, which writes to `receiver`.
fn hub_with_sink(receiver: &Receiver) -> (Hub, Mqtt) {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("sensor");
    weir(&hub, &["plugin", "push", newcomer().to_str().unwrap()]);
    hub.apply(&script(receiver));
    let client = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    (hub, client)
}

fn script(receiver: &Receiver) -> String {
    let url = receiver.url("/rows");
    let place = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    format!(
        "CREATE SINK mine USING plugin.my_sink WITH (url = '{url}') GRANT http '{place}';
         CREATE RULE out TO mine AS SELECT n FROM '{PRODUCT}/+/event';"
    )
}

fn numbers(receiver: &Receiver) -> BTreeSet<u64> {
    let accepted = receiver.received("/rows").into_iter().filter(|received| received.status.is_success());
    accepted.map(|received| received.body["n"].as_u64().unwrap()).collect()
}

fn publish(client: &mut Mqtt, n: u64) {
    client.publish(&format!("{PRODUCT}/sensor/event"), &json!({"n": n, "more": "x"}).to_string()).unwrap();
}

#[test]
fn a_newcomers_sink_gets_a_message() {
    let receiver = Receiver::start();
    let (hub, mut client) = hub_with_sink(&receiver);
    publish(&mut client, 1);
    let received = eventually("the message arrives", SOON, || receiver.received("/rows").into_iter().next());
    assert_eq!(received.body, json!({"n": 1}));
    assert!(received.headers["idempotency-key"].to_str().unwrap().starts_with("out/"), "{:?}", received.headers);

    let described: Value = serde_json::from_str(&weir(&hub, &["describe", "plugin", "my_sink", "-o", "json"])).unwrap();
    assert_eq!((&described["world"], &described["version"]), (&json!("sink"), &json!(1)));
    assert!(weir(&hub, &["get", "plugins"]).contains("my_sink"));
    let in_use = refused(&hub, &["delete", "plugin", "my_sink"]);
    assert!(in_use.contains("plugin my_sink is used by sink mine"), "{in_use}");
    hub.apply("DROP RULE out; DROP SINK mine;");
    weir(&hub, &["delete", "plugin", "my_sink"]);
}

#[test]
fn what_was_not_granted_is_denied_with_the_statement_that_would_allow_it() {
    let receiver = Receiver::start();
    let (hub, mut client) = hub_with_sink(&receiver);
    let url = receiver.url("/rows");
    hub.apply(&format!("CREATE SINK mine USING plugin.my_sink WITH (url = '{url}') GRANT http 'example.com:443';"));
    publish(&mut client, 1);
    let place = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let letter = eventually("the row is a dead letter", SOON, || {
        hub.get("/v1/deadletters?rule=out")["items"].as_array().unwrap().first().cloned()
    });
    let reason = letter["reason"].as_str().unwrap();
    let statement = format!("CREATE SINK mine USING plugin.my_sink … GRANT http 'example.com:443', http '{place}'");
    assert!(reason.contains(&statement), "{reason}");
    assert!(receiver.received("/rows").is_empty());
}

#[test]
fn mistakes_are_told_where_they_are_made() {
    let hub = Hub::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let check = |arguments: &[&str], expected: &str| {
        let said = refused(&hub, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["plugin", "push", &file("x.wasm", "hello")], "this is not a WebAssembly component");
    check(&["plugin", "push", &file("1.wasm", "hello")], "give the plugin another by --name");
    let apply = |script: &str| file("script.sql", script);
    let missing = apply("CREATE SINK s USING plugin.nowhere;");
    check(&["apply", "-f", &missing], "there is no plugin nowhere; upload it by `weir plugin push nowhere.wasm`");
    weir(&hub, &["plugin", "push", newcomer().to_str().unwrap()]);
    let wrong = apply("CREATE SINK s USING plugin.my_sink WITH (ulr = 'x');");
    check(&["apply", "-f", &wrong], "unknown field `ulr`, expected `url`");
    let wrong = apply("CREATE SINK s USING plugin.my_sink WITH (url = 'x');");
    check(&["apply", "-f", &wrong], "url: begin with http:// or https://");
    let wrong = apply("CREATE SINK s USING webhook WITH (url = 'http://x/') GRANT http 'x:80';");
    check(&["apply", "-f", &wrong], "webhook takes no GRANT: only plugins do");
    check(&["plugin", "new", "My Sink"], "use at most 64 of a-z 0-9 - _");
}

/// At least once: the hub is killed while the sink writes, and nothing is lost.
#[test]
fn a_kill_while_a_plugin_writes_loses_nothing() {
    let receiver = Receiver::start();
    let (mut hub, mut client) = hub_with_sink(&receiver);
    (0..200).for_each(|n| publish(&mut client, n));
    eventually("some have arrived", SOON, || (!numbers(&receiver).is_empty()).then_some(()));
    hub.kill();
    hub.restart();
    eventually("all arrive", SOON, || (numbers(&receiver).len() == 200).then_some(()));
    eventually("the account is whole", SOON, || (hub.action("out", 0)["pending"] == 0).then_some(()));
}

#[test]
fn a_new_version_under_load_loses_nothing() {
    let receiver = Receiver::start();
    let (hub, mut client) = hub_with_sink(&receiver);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for round in 0..4 {
        // The same code by another hand is another version.
        let (key, component) = (place(&format!("{round}.key")), place("my_sink.wasm"));
        fs::copy(newcomer(), &component).unwrap();
        weir(&hub, &["plugin", "keygen", "--out", &key]);
        weir(&hub, &["plugin", "sign", &component, "--key-file", &key]);
        (0..50).for_each(|n| publish(&mut client, round * 100 + n));
        weir(&hub, &["plugin", "push", &component]);
        (50..100).for_each(|n| publish(&mut client, round * 100 + n));
    }
    eventually("all arrive", SOON, || (numbers(&receiver).len() == 400).then_some(()));
    let state = hub.action("out", 0);
    assert_eq!(state["dead_lettered"], 0, "{state}");
    assert_eq!(hub.get("/v1/plugins/my_sink")["version"], 5);
}
