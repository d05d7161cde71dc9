//! The lake: what the log lets go of is still queried, backtested, and read by programs that are not ours.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    harness::{
        SOON, eventually,
        hub::{Hub, PRODUCT, refused, weir},
        receiver::Receiver,
    },
    interop::library::installed,
};

/// A log that keeps nothing that is in the lake.
const SETTINGS: [&str; 6] = [
    "limits.payload_bytes=4 KiB",
    "log.group_bytes=8 KiB",
    "log.segment_bytes=16 KiB",
    "log.retain_bytes=0",
    "log.sync=never",
    "lake.interval=100 ms",
];

/// Publishes numbers, in turn as two devices.
fn publish(hub: &Hub, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let topic = format!("{PRODUCT}/{}/event", if n % 2 == 0 { "even" } else { "odd" });
        hub.post(
            "/v1/publish",
            &json!({"topic": topic, "payload": json!({"n": n, "pad": "x".repeat(200)}).to_string()}),
        );
    }
}

/// Waits until all sealed segments are in the lake. Returns the messages in it.
fn compacted(hub: &Hub) -> u64 {
    eventually("all sealed segments are in the lake", SOON, || {
        let status = hub.get("/v1/status");
        let lake = &status["lake"];
        let is_done = lake["pending_bytes"] == 0 && lake["rows"].as_u64()? > 0;
        is_done.then(|| lake["rows"].as_u64().unwrap())
    })
}

fn all_numbers(hub: &Hub, count: u64) {
    let rows = hub.query(&format!("SELECT n FROM '{PRODUCT}/#'"));
    let numbers: Vec<u64> = rows.iter().map(|row| row[0].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[test]
fn messages_are_queried_wherever_they_are() {
    let mut hub = Hub::with(&SETTINGS, None);
    hub.create_product();
    publish(&hub, 0..300);
    let in_lake = compacted(&hub);
    assert!(in_lake > 100 && in_lake < 300, "{in_lake}");
    all_numbers(&hub, 300);
    hub.kill();
    hub.restart();
    assert_eq!(compacted(&hub), 300);
    publish(&hub, 300..310);
    all_numbers(&hub, 310);
    // It may have taken some of the others meanwhile.
    assert!(hub.metric("weir_lake_messages") >= 300.0);

    // What is printed, and how much was read for it.
    let sql = format!("SELECT n, pad FROM '{PRODUCT}/odd/event' WHERE n > 299");
    let output = hub.weir(&["query", &sql, "-o", "csv"]);
    let pad = "x".repeat(200);
    let lines = [301, 303, 305, 307, 309].map(|n| format!("{n},{pad}\r\n"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("n,pad\r\n{}", lines.concat()));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("5 rows; "), "{output:?}");
    let answer: Value =
        serde_json::from_str(&weir(&hub, &["query", "SELECT count(*) AS n FROM 'nothing/#'", "-o", "json"])).unwrap();
    assert_eq!((&answer["rows"], &answer["scan"]["files_read"]), (&json!([[0]]), &json!(0)));
    assert!(answer["scan"]["files"].as_u64().unwrap() > 0, "{answer}");
    let future = weir(&hub, &["query", "SELECT n FROM '#'", "--from", "now"]);
    assert_eq!(future.trim(), "n");
    assert!(refused(&hub, &["get", "rules", "-o", "csv"]).contains("csv and arrow are for weir query"));
}

/// DuckDB and pandas' own reader find in the files what the hub finds.
#[test]
fn other_programs_read_the_lake() {
    let hub = Hub::with(&SETTINGS, None);
    hub.create_product();
    publish(&hub, 0..200);
    let in_lake = compacted(&hub);
    let lake = hub.data().join("lake/day=*/*/*.parquet");
    let script = "
import duckdb, json, sys
sql = f\"\"\"SELECT count(*), sum((decode(payload)->>'$.n')::BIGINT), min(topic), max(device), min(accepted_at) > '2020-01-01',
        count(DISTINCT \"offset\"), min(product), any_value(day) IS NOT NULL
        FROM read_parquet('{sys.argv[1]}', hive_partitioning = true) WHERE kind = 0\"\"\"
print(json.dumps(duckdb.sql(sql).fetchall()[0]))
table = duckdb.read_parquet(sys.argv[1]).filter(\"device = 'odd'\")
print(len(table.fetchall()))
stream = sys.stdin.buffer.read()
print(len(stream))
";
    let mut python = Command::new(installed("python/bin/python"));
    let mut python =
        python.args(["-c", script]).arg(&lake).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let arrow = hub.weir(&["query", "SELECT n FROM '#'", "-o", "arrow"]);
    assert!(arrow.status.success(), "{arrow:?}");
    python.stdin.take().unwrap().write_all(&arrow.stdout).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let found: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let sum = in_lake * (in_lake - 1) / 2;
    let even = format!("{PRODUCT}/even/event");
    assert_eq!(found, json!([in_lake, sum, even, "odd", true, in_lake, PRODUCT, true]));
    assert_eq!(lines.next().unwrap(), (in_lake / 2).to_string());
    assert_eq!(lines.next().unwrap(), arrow.stdout.len().to_string());
}

#[test]
fn a_rule_is_tried_on_what_was() {
    let hub = Hub::with(&SETTINGS, None);
    hub.create_product();
    hub.create_device("panel");
    publish(&hub, 0..150);
    compacted(&hub);
    let rule = |condition: &str| {
        format!(
            "CREATE RULE big TO republish(topic => '{PRODUCT}/panel/control') AS SELECT n FROM '{PRODUCT}/+/event' WHERE {condition}"
        )
    };
    hub.apply(&rule("n > 120"));
    let file = hub.data().join("rule.sql");
    std::fs::write(&file, rule("n > 110 AND n < 140")).unwrap();
    let file = file.to_str().unwrap();
    let report = weir(&hub, &["backtest", file, "--from", "-1h", "--compare", "current", "--samples", "2"]);
    for part in [
        "150 messages of its topics: 29 matched, 121 did not, 0 could not be read",
        "republish would have got 29 rows",
        "{\"n\":111}",
        "rows per hour",
        "against the current version: 19 rows the same, 0 changed, 10 added, 10 removed",
        "cost: ",
    ] {
        assert!(report.contains(part), "{part} is lacking: {report}");
    }
    let saved: Value = serde_json::from_str(&weir(&hub, &["backtest", "big", "-o", "json"])).unwrap();
    assert_eq!((&saved["matched"], &saved["not_reproducible"]), (&json!(29), &json!([])));
    // Nothing was sent, now or then.
    assert_eq!(hub.count(&format!("{PRODUCT}/panel/control")), 0);

    std::fs::write(hub.data().join("rule.sql"), rule("n > tmep +")).unwrap();
    let error = refused(&hub, &["backtest", file]);
    assert!(error.contains("line 1, column "), "{error}");
    assert!(refused(&hub, &["backtest", "other"]).contains("there is no rule \"other\""));
    assert!(refused(&hub, &["backtest", "no/file.sql"]).contains("there is no file no/file.sql"));
}

/// What was sent once under a name is not sent again, also when the hub is killed on the way.
#[test]
fn a_past_range_is_sent_once() {
    let mut hub = Hub::with(&SETTINGS, None);
    let receiver = Receiver::start();
    hub.create_product();
    publish(&hub, 0..200);
    compacted(&hub);
    let url = receiver.url("/past");
    hub.apply(&format!(
        "CREATE SINK past USING webhook WITH (url = '{url}');
         CREATE RULE late TO past, republish(topic => '{PRODUCT}/panel/control')
         AS SELECT n FROM '{PRODUCT}/+/event' WHERE n >= 100"
    ));
    let words = weir(&hub, &["backfill", "late", "--sink", "past", "--name", "first", "--from", "-1h"]);
    assert!(words.starts_with("backfill first: 100 rows delivered, 0 dead letters; "), "{words}");
    // Order is kept for each device, not between them.
    let numbers = || {
        let received = receiver.received("/past").into_iter().map(|received| received.body["payload"]["n"].as_u64());
        let mut numbers: Vec<u64> = received.map(Option::unwrap).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(), (100..200).collect::<Vec<_>>());
    assert_eq!(hub.count(&format!("{PRODUCT}/panel/control")), 0, "the other action was not meant");
    hub.kill();
    hub.restart();
    let again = |name: &str| weir(&hub, &["backfill", "late", "--sink", "past", "--name", name, "--from", "-10m"]);
    assert!(again("first").starts_with("backfill first: 0 rows delivered"));
    assert!(again("second").starts_with("backfill second: 100 rows delivered"));
    assert_eq!(numbers().len(), 200);
    let earlier = refused(&hub, &["backfill", "late", "--sink", "past", "--name", "first"]);
    assert!(earlier.contains("use another name for earlier ones"), "{earlier}");
    let unknown = refused(&hub, &["backfill", "late", "--sink", "other", "--name", "x"]);
    assert!(unknown.contains("rule late has no action other; it has past, republish"), "{unknown}");
}

/// A query that its client gives up ends in the hub, and its place is free.
#[test]
fn a_query_that_is_broken_off_ends_in_the_hub() {
    let hub = Hub::with(&["query.concurrent=1", "query.timeout=1 h", "query.memory_bytes=2 GiB"], None);
    hub.create_product();
    for n in 0..100 {
        hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": format!("d{n}")}));
    }
    // A hundred million pairs to look at: longer than anybody waits.
    let sql = "SELECT count(*) FROM devices AS a JOIN devices AS b ON a.device <> b.device \
               JOIN devices AS c ON b.device <> c.device JOIN devices AS d ON c.device <> d.device";
    let mut endless = hub.command(&["query", sql]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_busy = || {
        let sql = json!({"sql": "SELECT device FROM devices LIMIT 1"});
        hub.request(reqwest::Method::POST, "/v1/query").json(&sql).send().unwrap().status().as_u16() == 429
    };
    eventually("the query runs", SOON, || is_busy().then_some(()));
    assert!(Command::new("sh").args(["-c", "kill -INT $0", &endless.id().to_string()]).status().unwrap().success());
    assert!(!endless.wait().unwrap().success(), "it ended by itself");
    eventually("the place is free", SOON, || (!is_busy()).then_some(()));
}
