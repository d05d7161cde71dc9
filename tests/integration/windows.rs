//! Rules with windows: what closes stands in the log once, whatever happens to the process, and actions read it from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        SOON, eventually,
        hub::{Hub, PRODUCT},
        mqtt::Mqtt,
        powerloss::Powerloss,
        receiver::Receiver,
    },
    kills::{Sent, load},
};

/// A device is idle after 30 seconds, and then a tick must come.
const IDLE: Duration = Duration::from_secs(60);

#[test]
fn each_window_is_in_the_log_once_when_the_process_is_killed() {
    survive(None);
}

#[test]
fn each_window_is_in_the_log_once_when_the_power_fails() {
    survive(Some(Powerloss::build()));
}

/// `WEIR_KILLS` says how often; the long form is 50.
fn survive(powerloss: Option<Powerloss>) {
    let kills: u64 = std::env::var("WEIR_KILLS").map_or(3, |text| text.parse().unwrap());
    let settings = ["log.segment_bytes=1 MiB", "rules.window_checkpoint=150 ms"];
    let mut hub = Hub::with(&settings, powerloss);
    let receiver = Receiver::start();
    hub.create_product();
    let logins = ["one", "two"].map(|name| hub.create_device(name));
    let rules =
        [("tumbling", "tumble('20 ms')"), ("hopping", "hop('40 ms', '10 ms')"), ("sessions", "session('3 ms')")];
    for (name, window) in rules {
        hub.apply(&format!(
            "CREATE RULE {name} TO webhook(url => '{}') AS {} GROUP BY msg.device, {window}",
            receiver.url(&format!("/{name}")),
            select()
        ));
    }
    let mut sent = [Sent::default(), Sent::default()];
    for kill in 0..kills {
        for (number, (login, sent)) in logins.iter().zip(&mut sent).enumerate() {
            // Differs from kill to kill, and is the same in each run.
            let wanted = 50 + (2 * kill + number as u64).wrapping_mul(2_654_435_761) % 400;
            load(hub.mqtt_port(), login, sent, wanted);
        }
        hub.kill();
        hub.restart();
    }
    // What comes last closes what was open before, and stays open itself: its number is 0, which no other has.
    for login in &logins {
        let mut client = Mqtt::connect(hub.mqtt_port(), login).unwrap();
        client.publish(&format!("{}/event", login.username), r#"{"n": 0, "temp": 1}"#).unwrap();
    }
    let messages = hub.count(&format!("{PRODUCT}/+/event"));
    for (name, window) in rules {
        eventually("the windows have read everything", SOON, || {
            let windows = hub.get(&format!("/v1/rules/{name}"))["windows"].clone();
            (windows["read"] == messages).then_some(())
        });
        let mut expected: BTreeMap<_, _> =
            hub.query(&format!("{} GROUP BY msg.device, {window}", select())).iter().map(|row| entry(row)).collect();
        expected.retain(|_, numbers| numbers[1] != 0);
        assert!(expected.len() as u64 > kills, "{name}: {expected:?}");
        let found = eventually("every row is in the log", SOON, || {
            let rows = hub.query(&format!("SELECT d::text, w, n, low, high FROM '$rule/{name}'"));
            (rows.len() >= expected.len()).then_some(rows)
        });
        assert_eq!(found.len(), expected.len(), "{name}: a window is in the log twice");
        let found: BTreeMap<_, _> = found.iter().map(|row| entry(row)).collect();
        assert_eq!(found, expected, "{name}");
        // At least once at the webhook.
        eventually("every row came to the webhook", SOON, || {
            let received = receiver.received(&format!("/{name}"));
            let received = received.iter().map(|one| &one.body["payload"]);
            let key = |row: &Value| (row["d"].as_str().unwrap().to_owned(), number(&row["w"]));
            let received: BTreeSet<_> = received.map(key).collect();
            found.keys().all(|key| received.contains(key)).then_some(())
        });
        let action = hub.action(name, 0);
        assert_eq!((&action["dead_lettered"], &action["failed"]), (&json!(0), &json!(0)), "{action}");
    }
}

fn select() -> String {
    format!(
        "SELECT msg.device AS d, (date_part('epoch', window_start) * 1000)::bigint AS w, count(*) AS n, min(n::bigint) AS low, max(n::bigint) AS high \
         FROM '{PRODUCT}/+/event'"
    )
}

/// Device and start of a window, and its numbers.
fn entry(row: &[Value]) -> ((String, i64), Vec<i64>) {
    let device = row[0].as_str().unwrap().to_owned();
    ((device, number(&row[1])), row[2..5].iter().map(number).collect())
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

#[test]
fn a_silent_device_closes_its_window_by_a_tick_and_none_comes_without_need() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE seconds TO republish(topic => '{PRODUCT}/${{d}}/control') ON LATE TO republish(topic => 'late/x') AS
         SELECT msg.device AS d, count(*) AS n FROM '{event}' GROUP BY msg.device, tumble('1 second')"
    ));
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    client.publish(&event, "{}").unwrap();
    let records = || hub.metric("weir_log_records");
    eventually("the window closes", IDLE, || (hub.count(&format!("{PRODUCT}/sensor/control")) == 1).then_some(()));
    assert_eq!(hub.query("SELECT n FROM '$rule/seconds'"), [[json!(1)]]);
    let windows = hub.get("/v1/rules/seconds")["windows"].clone();
    assert_eq!((&windows["open"], &windows["rows"], &windows["late"]), (&json!(0), &json!(1), &json!(0)), "{windows}");
    // A message, its session's records, the row, what it became, and one or two ticks: nothing waits for more.
    assert!(records() < 20.0, "{}", records());
}

#[test]
fn what_is_open_goes_on_when_a_rule_changes_compatibly_and_its_author_is_warned_where_not() {
    let hub = Hub::start();
    hub.create_product();
    let sensor = hub.create_device("sensor");
    let event = format!("{PRODUCT}/sensor/event");
    let apply = |columns: &str, group: &str| {
        let script = format!(
            "CREATE RULE r TO republish(topic => '{PRODUCT}/sensor/control') EVENT TIME ts UNIT 's' AS
             SELECT {columns} FROM '{event}' GROUP BY msg.device, {group}"
        );
        let answer = hub.request(Method::POST, "/v1/apply").body(script).send().unwrap();
        let answer: Value = answer.json().unwrap();
        let warnings = answer["results"][0]["warnings"].as_array().unwrap().clone();
        warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut client = Mqtt::connect(hub.mqtt_port(), &sensor).unwrap();
    let mut publish = |ts: u64| {
        client.publish(&event, &json!({"ts": ts, "v": ts}).to_string()).unwrap();
        let read = ts / 10;
        eventually("it is read", SOON, || {
            (hub.get("/v1/rules/r")["windows"]["matched"].as_u64()? >= read).then_some(())
        });
    };
    assert!(apply("sum(v) AS sum, count(*) AS n", "tumble('1 minute')").is_empty());
    publish(10);
    assert!(apply("count(*) AS many, sum(v) AS sum", "tumble('1 minute')").is_empty());
    publish(20);
    // Disabled and enabled, too.
    hub.request(Method::POST, "/v1/rules/r/disable").send().unwrap();
    hub.request(Method::POST, "/v1/rules/r/enable").send().unwrap();
    publish(30);
    let warnings = apply("count(*) AS many, max(v::double) AS max", "tumble('1 minute')");
    assert_eq!(
        warnings,
        ["the windows of r begin anew, and what is open in them (1 groups) is lost: max(v::DOUBLE) is new"]
    );
    let warnings = apply("count(*) AS many, max(v::double) AS max", "tumble('2 minutes')");
    assert!(warnings[0].contains("its windows were tumble('1 minute') and are tumble('2 minutes')"), "{warnings:?}");
    assert!(apply("count(*) AS many", "tumble('2 minutes')").is_empty());
}
