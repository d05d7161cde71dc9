//! Devices and shadows as tables, and what is told of changes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use weir_core::{
    DeviceId, Offset, Qos,
    seams::TakeRows,
    shadow::changed_topic,
    table::{Condition, Field, Scalar, TableScan},
};
use weir_log::storage::{Storage, faulty::Faulty};

use super::{
    hub::{Hub, Targets, administrator, application, device, eventually},
    sessions::{deliver, hub, subscribe},
};
use crate::{ShadowUpdate, admin};

fn id(name: &str) -> DeviceId {
    format!("A1B2C3D4E5/{name}").parse().unwrap()
}

async fn update(hub: &Hub, name: Option<&str>, state: Value) {
    let state: Map<String, Value> = state.as_object().unwrap().clone();
    let name = name.map(|name| name.parse().unwrap());
    let update = ShadowUpdate { device: id("a"), name, state, version: 0, overwrite: false };
    hub.running.broker.update_shadow(&administrator(), update).await.unwrap();
}

/// Takes so many batches.
struct Taken(Mutex<Vec<RecordBatch>>);

impl TakeRows for Taken {
    fn take(&self, batch: RecordBatch) -> bool {
        self.0.lock().unwrap().push(batch);
        true
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// The rows of a table as they are now, cells between bars.
async fn rows(hub: &Hub, table: &str, columns: &[&str], conditions: Vec<Condition>) -> Vec<String> {
    let table = hub.running.broker.tables().into_iter().find(|found| found.schema().name == table).unwrap();
    table.settle().await.unwrap();
    let columns = columns.iter().map(|column| table.schema().column(column).unwrap().0).collect();
    let taken = Arc::new(Taken(Mutex::default()));
    let rows = Arc::clone(&taken);
    let scan = TableScan { columns, conditions };
    tokio::task::spawn_blocking(move || table.scan(&scan, rows)).await.unwrap().unwrap();
    let batches = std::mem::take(&mut *taken.0.lock().unwrap());
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let cells = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells[1..cells.len() - 1].join("|")
    };
    text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect()
}

#[tokio::test]
async fn a_table_has_what_was_answered_before() {
    let hub = hub().await;
    let session = hub.session(device("a")).await;
    let online = rows(&hub, "devices", &["device", "enabled", "online", "protocol"], Vec::new()).await;
    assert_eq!(online, ["a|true|true|mqtt-5", "b|true|false|"]);
    for n in 0..5 {
        update(&hub, None, json!({"reported": {"fw": "1.0"}, "desired": {"fw": "1.1", "n": n}})).await;
        update(&hub, Some("net"), json!({"reported": {"n": n}})).await;
        let columns = ["device", "name", "version", "reported", "delta"];
        let expected = [
            format!(r#"a||{}|{{"fw":"1.0"}}|{{"fw":"1.1","n":{n}}}"#, n + 1),
            format!(r#"a|net|{}|{{"n":{n}}}|"#, n + 1),
        ];
        assert_eq!(rows(&hub, "shadows", &columns, Vec::new()).await, expected);
    }
    let name = Field { column: "name".to_owned(), path: weir_core::path::JsonPath(Box::default()) };
    let named = vec![Condition::In(name, vec![Scalar::Text("net".to_owned())])];
    assert_eq!(rows(&hub, "shadows", &["version", "name"], named).await, ["5|net"]);
    admin::devices::delete(&hub.running.broker, &id("a")).await.unwrap();
    assert_eq!(rows(&hub, "shadows", &["device"], Vec::new()).await, [""; 0]);
    assert_eq!(rows(&hub, "devices", &["device", "online"], Vec::new()).await, ["b|false"]);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

/// What the log tells of changes of `a`, from an offset on: versions, in order.
async fn told(hub: &Hub, from: Offset, topic: &str) -> Vec<Value> {
    let log = hub.running.broker.log();
    let mut reader = log.reader(from);
    let mut told = Vec::new();
    while reader.position() < log.durable().get() {
        let frame = tokio::time::timeout(Duration::from_secs(10), reader.next_durable()).await.unwrap().unwrap();
        let is_told = |row: &usize| frame.records.is_message(*row) && frame.records.topic.value(*row) == topic;
        for row in (0..frame.records.len()).filter(is_told) {
            told.push(serde_json::from_slice(frame.records.payload.value(row)).unwrap());
        }
    }
    told
}

fn versions(told: &[Value]) -> Vec<u64> {
    told.iter().map(|change| change["version"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn changes_are_told_while_somebody_reads_them() {
    let hub = hub().await;
    let from = hub.running.broker.log().appended();
    let topic = changed_topic(&id("a"), None);
    update(&hub, None, json!({"reported": {"n": 1}})).await;
    assert_eq!(told(&hub, from, &topic).await, [json!(null); 0], "nobody reads");

    // A tail.
    let mut tail = hub.running.broker.tail(&administrator(), "$shadow/changed/#".parse().unwrap()).unwrap();
    update(&hub, None, json!({"desired": {"n": 2}})).await;
    let (frame, rows) = tokio::time::timeout(Duration::from_secs(10), tail.next()).await.unwrap().unwrap();
    let change: Value = serde_json::from_slice(frame.records.payload.value(rows[0] as usize)).unwrap();
    assert_eq!(
        (&change["previous"], &change["version"], &change["changed"], &change["delta"], &change["by"]),
        (&json!(1), &json!(2), &json!({"desired": {"n": 2}}), &json!({"n": 2}), &json!("administrator:admin"))
    );
    drop(tail);
    update(&hub, None, json!({"reported": {"n": 3}})).await;
    assert_eq!(versions(&told(&hub, from, &topic).await), [2]);

    // A rule; one that reads something else does not count.
    hub.apply("other $shadow/operation/result/# one").await;
    update(&hub, None, json!({"reported": {"n": 4}})).await;
    hub.apply("r $shadow/changed/+/+ one").await;
    update(&hub, None, json!({"reported": {"n": 5}})).await;
    update(&hub, Some("fw"), json!({"reported": {"n": 5}})).await;
    hub.apply("-r").await;
    update(&hub, None, json!({"reported": {"n": 6}})).await;
    assert_eq!(versions(&told(&hub, from, &topic).await), [2, 5]);
    assert_eq!(told(&hub, from, &changed_topic(&id("a"), Some(&"fw".parse().unwrap()))).await.len(), 0);

    // A subscription of a program that was granted it; a device never is.
    let mut program = hub.session(application("$shadow/changed/#")).await;
    subscribe(&mut program, "$shadow/changed/A1B2C3D4E5/#", Qos::AtLeastOnce).await.unwrap();
    update(&hub, Some("fw"), json!({"reported": {"n": 7}})).await;
    let outbound = deliver(&mut program).await;
    let change: Value = serde_json::from_slice(outbound.payload(&outbound.rows()[0])).unwrap();
    assert_eq!((&change["name"], &change["version"]), (&json!("fw"), &json!(2)));
    let mut nosy = hub.session(device("a")).await;
    assert!(subscribe(&mut nosy, &topic, Qos::AtLeastOnce).await.is_err());
    drop((program, nosy));
    hub.running.drain(Duration::from_secs(5)).await;
}

/// Requests are applied again after a crash; the log already tells of their changes, and tells of each once.
#[tokio::test]
async fn a_change_is_told_once_over_crashes() {
    let (mut faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let targets = Targets::default();
    for round in 0..3 {
        let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
        let hub = Hub::start(&storage, &folder, &targets).await;
        if round == 0 {
            hub.apply("r $shadow/changed/# one").await;
        }
        for n in 0..20 {
            update(&hub, None, json!({"reported": {"n": round * 100 + n}})).await;
        }
        faulty = hub.crash(&faulty).await;
    }
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    let hub = Hub::start(&storage, &folder, &targets).await;
    update(&hub, None, json!({"reported": {"n": 1_000}})).await;
    let topic = changed_topic(&id("a"), None);
    let log = hub.running.broker.log();
    log.durable().wait_for(Offset(log.appended().0 - 1)).await.unwrap();
    let told = told(&hub, log.oldest(), &topic).await;
    assert_eq!(versions(&told), (1..=61).collect::<Vec<u64>>());
    eventually("the rule has had all", || hub.status("r").actions[0].delivered >= 61).await;
    hub.running.drain(Duration::from_secs(5)).await;
}
