//! Writers of every front-end on one shadow, with kill -9 in between: versions go up one by one, nothing acknowledged is
//! lost, the document is what the requests in the log make, and the device hears of each delta.
//!
//! Each writer counts up under a key of its own, so what became of its updates can be told apart. `WEIR_KILLS` says how
//! often the hub is killed (3 without it).

use std::{
    collections::BTreeSet,
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::harness::{
    eventually,
    hub::{Hub, PRODUCT},
    mqtt::{Login, Mqtt},
};

/// How long everything may take that was begun.
const SETTLED: Duration = Duration::from_secs(120);
/// Acknowledgements that each writer has before the hub is killed.
const ACKNOWLEDGED: u64 = 4;
/// When nothing came for so long, nothing will.
const QUIET: Duration = Duration::from_secs(2);
/// Rows of one query.
const ROWS: usize = 5_000;

/// A way to write a shadow: the key that its writer counts under, and what makes a writer. A front-end more is a line more.
struct FrontEnd {
    key: &'static str,
    writer: for<'a> fn(&'a World) -> Write<'a>,
}

const FRONT_ENDS: [FrontEnd; 4] = [
    FrontEnd { key: "mqtt", writer: by_mqtt },
    FrontEnd { key: "rest", writer: by_rest },
    FrontEnd { key: "command", writer: by_command },
    FrontEnd { key: "rule", writer: by_rule },
];

/// Asks for one update, the key's value being this number, and waits for the answer.
type Write<'a> = Box<dyn FnMut(u64) -> Answer + Send + 'a>;

enum Answer {
    Acknowledged,
    /// The hub says that it is not done: the shadow was at another version.
    Refused,
    /// The hub is gone. Whether it was done is not known.
    Gone,
}

/// What one writer sent in all lives of the hub.
#[derive(Debug, Default)]
struct Sent {
    last: u64,
    acknowledged: BTreeSet<u64>,
}

struct World {
    hub: Hub,
    device: Login,
    button: Login,
    /// An application's key that may write the shadow.
    key: String,
    /// Versions of the deltas that the device has heard of.
    heard: Mutex<BTreeSet<u64>>,
}

fn by_mqtt(world: &World) -> Write<'_> {
    let mut device = listen(world);
    let topic = format!("$shadow/operation/{PRODUCT}/shared");
    Box::new(move |number| {
        let update = json!({"type": "update", "state": {"reported": {"mqtt": number}}});
        let published = device.publish(&topic, &update.to_string());
        world.hear(&mut device, Duration::ZERO);
        published.map_or(Answer::Gone, |()| Answer::Acknowledged)
    })
}

/// Every third time only if nobody else has written meanwhile.
fn by_rest(world: &World) -> Write<'_> {
    let mut version = 0;
    Box::new(move |number| {
        let wanted = if number.is_multiple_of(3) { version } else { 0 };
        let body = json!({"state": {"desired": {"rest": number}}, "version": wanted});
        let path = format!("/v1/products/{PRODUCT}/devices/shared/shadow");
        let Ok(answer) = world.hub.request_by(&world.key, Method::PATCH, &path).json(&body).send() else {
            return Answer::Gone;
        };
        match (answer.status(), answer.json::<Value>()) {
            (StatusCode::OK, Ok(shadow)) => {
                version = shadow["version"].as_u64().unwrap();
                Answer::Acknowledged
            }
            (StatusCode::CONFLICT, _) => Answer::Refused,
            _ => Answer::Gone,
        }
    })
}

fn by_command(world: &World) -> Write<'_> {
    Box::new(|number| {
        let desired = json!({"command": number}).to_string();
        let mut command = world.hub.command(&["set", "shadow", PRODUCT, "shared", "--desired", &desired]);
        match command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            true => Answer::Acknowledged,
            false => Answer::Gone,
        }
    })
}

/// What is acknowledged here is the message that the rule reads. That makes its effect owed.
fn by_rule(world: &World) -> Write<'_> {
    let mut button = Mqtt::connect(world.hub.mqtt_port(), &world.button).unwrap();
    Box::new(move |number| {
        let published = button.publish(&format!("{PRODUCT}/button/event"), &json!({"n": number}).to_string());
        published.map_or(Answer::Gone, |()| Answer::Acknowledged)
    })
}

/// The device, which goes on with its session.
fn listen(world: &World) -> Mqtt {
    let mut device = Mqtt::resume(world.hub.mqtt_port(), &world.device).unwrap();
    device.subscribe(&format!("$shadow/operation/result/{PRODUCT}/shared"));
    device
}

impl World {
    fn new() -> Self {
        // Small segments, so that kills also meet a change of segment.
        let hub = Hub::with(&["log.segment_bytes=1 MiB"], None);
        hub.create_product();
        let (device, button) = (hub.create_device("shared"), hub.create_device("button"));
        hub.create_device("panel");
        let key = hub.post("/v1/keys", &json!({"name": "app", "publish": [format!("$shadow/operation/{PRODUCT}/+")]}));
        let key = format!("app:{}", key["secret"].as_str().unwrap());
        hub.apply(&format!(
            "CREATE RULE pressed TO shadow(part => 'desired', device => 'shared')
             AS SELECT n AS \"rule\" FROM '{PRODUCT}/button/event';
             CREATE RULE watch TO republish(topic => '{PRODUCT}/panel/data')
             AS SELECT version FROM '$shadow/changed/{PRODUCT}/shared'"
        ));
        let world = Self { hub, device, button, key, heard: Mutex::default() };
        // Who subscribes is told what is left to do by then, and not all that was on the way there.
        drop(listen(&world));
        world
    }

    /// Takes what the device has received.
    fn hear(&self, device: &mut Mqtt, within: Duration) {
        while let Some(message) = device.receive(within) {
            let message: Value = serde_json::from_str(&message.payload).unwrap();
            if message["type"] == "delta" {
                self.heard.lock().unwrap().insert(message["payload"]["version"].as_u64().unwrap());
            }
        }
    }

    /// All writers write until each was acknowledged some times. Then the hub is killed, or they are asked to end.
    fn live(&self, sent: &mut [Sent], is_killed: bool) {
        let is_over = AtomicBool::new(false);
        let counts = FRONT_ENDS.map(|_| AtomicU64::new(0));
        thread::scope(|scope| {
            for ((front_end, sent), count) in FRONT_ENDS.iter().zip(sent).zip(&counts) {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut write = (front_end.writer)(self);
                    while !is_over.load(Ordering::Relaxed) {
                        sent.last += 1;
                        match write(sent.last) {
                            Answer::Acknowledged => {
                                sent.acknowledged.insert(sent.last);
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Answer::Refused => {}
                            Answer::Gone => break,
                        }
                    }
                });
            }
            eventually("every writer was acknowledged", SETTLED, || {
                counts.iter().all(|count| count.load(Ordering::Relaxed) >= ACKNOWLEDGED).then_some(())
            });
            if is_killed {
                self.hub.kill_now();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    /// A query's rows, all of them, in the order of the log. The first column is the offset.
    fn rows(&self, columns: &str, topic: &str) -> Vec<Vec<Value>> {
        let mut all: Vec<Vec<Value>> = Vec::new();
        loop {
            let after = all.last().map(|row| format!("WHERE msg.offset > {}", row[0])).unwrap_or_default();
            let sql = format!("SELECT msg.offset, {columns} FROM '{topic}' {after} ORDER BY msg.offset LIMIT {ROWS}");
            let rows = self.hub.query(&sql);
            let is_last = rows.len() < ROWS;
            all.extend(rows);
            if is_last {
                return all;
            }
        }
    }
}

/// What the requests make, in order: the state, the version, and the versions whose delta the device is told.
#[derive(Debug, Default)]
struct Model {
    parts: Map<String, Value>,
    version: u64,
    deltas: BTreeSet<u64>,
    /// Numbers that were asked for, by key.
    asked: BTreeSet<(String, u64)>,
}

impl Model {
    fn apply(&mut self, state: &Value, version: &Value) {
        let keys = state.as_object().unwrap().iter().flat_map(|(_, part)| part.as_object().unwrap());
        self.asked.extend(keys.map(|(key, number)| (key.clone(), number.as_u64().unwrap())));
        if version.as_u64().is_some_and(|version| version != 0 && version != self.version) {
            return;
        }
        self.version += 1;
        for (part, patch) in state.as_object().unwrap() {
            let part = self.parts.entry(part.clone()).or_insert_with(|| json!({}));
            part.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        }
        // The device reports other keys than are desired, so there is always something to do.
        if state.get("desired").is_some() {
            self.deltas.insert(self.version);
        }
    }
}

#[test]
fn writers_of_every_front_end_agree_when_the_hub_is_killed_between() {
    let kills: u64 = std::env::var("WEIR_KILLS").map_or(3, |text| text.parse().unwrap());
    let mut world = World::new();
    let mut sent: Vec<Sent> = FRONT_ENDS.iter().map(|_| Sent::default()).collect();
    for _ in 0..kills {
        world.live(&mut sent, true);
        world.hub.kill();
        world.hub.restart();
    }
    world.live(&mut sent, false);
    eventually("the rules' effects are settled", SETTLED, || {
        let is_settled = |rule| {
            let state = world.hub.action(rule, 0);
            assert_eq!(state["dead_lettered"], 0, "{state}");
            state["pending"] == 0
        };
        let read = world.hub.action("pressed", 0)["read"] == world.hub.count(&format!("{PRODUCT}/button/event"));
        (read && is_settled("pressed") && is_settled("watch")).then_some(())
    });

    let mut model = Model::default();
    for row in world.rows("state, version", &format!("$shadow/operation/{PRODUCT}/shared")) {
        model.apply(&row[1], &row[2]);
    }
    let shadow = world.hub.get(&format!("/v1/products/{PRODUCT}/devices/shared/shadow"));
    assert_eq!(shadow["version"], model.version);
    for part in ["reported", "desired"] {
        assert_eq!(shadow["state"][part], model.parts[part], "{part}");
    }
    for (FrontEnd { key, .. }, sent) in FRONT_ENDS.iter().zip(&sent) {
        let lost: Vec<u64> = sent
            .acknowledged
            .iter()
            .copied()
            .filter(|number| !model.asked.contains(&((*key).to_owned(), *number)))
            .collect();
        assert!(lost.is_empty(), "{key}: acknowledged and not in the log: {lost:?}");
        let part = if *key == "mqtt" { "reported" } else { "desired" };
        let last = shadow["state"][part][key].as_u64().unwrap();
        assert!(
            sent.acknowledged.last().is_some_and(|acknowledged| *acknowledged <= last),
            "{key}: {last} of {sent:?}"
        );
        assert!(last <= sent.last, "{key}: {last} of {sent:?}");
    }

    let changes = world.rows("previous, version", &format!("$shadow/changed/{PRODUCT}/shared"));
    let versions: Vec<(u64, u64)> =
        changes.iter().map(|row| (row[1].as_u64().unwrap(), row[2].as_u64().unwrap())).collect();
    let expected: Vec<(u64, u64)> = (1..=model.version).map(|version| (version - 1, version)).collect();
    assert_eq!(versions, expected, "versions go up one by one, and each change is told once");

    let mut device = listen(&world);
    world.hear(&mut device, QUIET);
    let heard = world.heard.lock().unwrap();
    let missing: Vec<&u64> = model.deltas.difference(&heard).collect();
    let session = world.hub.session("shared").unwrap();
    assert!(missing.is_empty(), "deltas that the device never heard of: {missing:?} of {}; {session}", model.version);
    assert_eq!(session["dropped"], 0, "{session}");
}
