//! Shadows between a log that loses power and clients that come and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use weir_core::{
    DeviceId, Envelope, ErrorKind, Grants, Offset, Principal, Protocol, Qos, ShadowName,
    error::Classify,
    seams::{Outcome, Publisher, Republish},
};
use weir_log::{
    Record,
    storage::{Storage, faulty::Faulty},
};

use super::{
    hub::{Hub, Targets, administrator, application, device, eventually},
    sessions::{deliver, hub, payloads, publish, subscribe},
};
use crate::{End, Session, Shadow, ShadowError, ShadowUpdate, admin, rules::LogPublisher};

const ASK: &str = "$shadow/operation/A1B2C3D4E5/a";
const RESULT: &str = "$shadow/operation/result/A1B2C3D4E5/a";

fn id(name: &str) -> DeviceId {
    format!("A1B2C3D4E5/{name}").parse().unwrap()
}

fn name(name: &str) -> ShadowName {
    name.parse().unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn change(device: &str, shadow: Option<&str>, state: Value, version: u64) -> ShadowUpdate {
    ShadowUpdate { device: id(device), name: shadow.map(name), state: object(state), version, overwrite: false }
}

async fn update(hub: &Hub, state: Value) -> Result<Shadow, ShadowError> {
    hub.running.broker.update_shadow(&administrator(), change("a", None, state, 0)).await
}

async fn shadow(hub: &Hub) -> Shadow {
    hub.running.broker.shadow(&administrator(), &id("a"), None).await.unwrap()
}

/// What comes next, as JSON.
async fn next(session: &mut Session) -> Value {
    let outbound = deliver(session).await;
    assert_eq!(outbound.rows().len(), 1);
    let row = &outbound.rows()[0];
    let value = serde_json::from_slice(outbound.payload(row)).unwrap();
    session.acknowledged(&[row.packet_id]);
    value
}

async fn listening(hub: &Hub, qos: Qos) -> Session {
    let mut session = hub.session(device("a")).await;
    subscribe(&mut session, RESULT, qos).await.unwrap();
    session
}

#[tokio::test]
async fn a_device_is_answered_and_told_what_is_desired() {
    let hub = hub().await;
    let mut session = listening(&hub, Qos::AtLeastOnce).await;
    publish(
        &mut session,
        ASK,
        Qos::AtMostOnce,
        r#"{"type":"update","state":{"reported":{"fw":"1.1"}},"clientToken":"t-1"}"#,
    )
    .unwrap();
    let reply = next(&mut session).await;
    assert_eq!(
        (&reply["result"], &reply["clientToken"], &reply["payload"]["version"]),
        (&json!(0), &json!("t-1"), &json!(1))
    );

    let updated = update(&hub, json!({"desired": {"fw": "1.2"}})).await.unwrap();
    assert_eq!((updated.document.version(), updated.document.delta()), (2, object(json!({"fw": "1.2"}))));
    let push = next(&mut session).await;
    assert_eq!((&push["type"], &push["payload"]["state"]), (&json!("delta"), &json!({"fw": "1.2"})));
    assert_eq!(push["payload"]["version"], 2);

    publish(
        &mut session,
        ASK,
        Qos::AtLeastOnce,
        r#"{"type":"update","state":{"reported":{"fw":"1.2"},"desired":null},"version":2}"#,
    )
    .unwrap();
    assert_eq!(next(&mut session).await["payload"]["version"], 3);
    publish(&mut session, ASK, Qos::AtLeastOnce, r#"{"type":"get"}"#).unwrap();
    assert_eq!(next(&mut session).await["payload"]["state"], json!({"reported": {"fw": "1.2"}}));
    publish(&mut session, ASK, Qos::AtLeastOnce, "what?").unwrap();
    assert_eq!(next(&mut session).await["result"], 5001);
    assert_eq!(shadow(&hub).await.document.version(), 3);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_caller_is_told_what_became_of_its_request() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    assert_eq!(shadow(&hub).await.document.version(), 0);
    update(&hub, json!({"reported": {"a": 1}})).await.unwrap();
    let conflict = broker.update_shadow(&administrator(), change("a", None, json!({"reported": {"a": 2}}), 7)).await;
    assert_eq!(conflict.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(conflict.unwrap_err().to_string(), "the request is for version 7, and the shadow is at version 1");
    let nobody = broker.update_shadow(&administrator(), change("nobody", None, json!({"reported": {}}), 0)).await;
    assert_eq!(nobody, Err(ShadowError::NoDevice(id("nobody"))));
    let invalid = update(&hub, json!({})).await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Invalid);
    // Many at once, each answered for itself.
    let updates = vec![
        change("a", None, json!({"reported": {"a": 3}}), 1),
        change("b", None, json!({"desired": {"b": 1}}), 0),
        change("a", None, json!({"reported": {"a": 4}}), 1),
    ];
    let answers = broker.update_shadows(&administrator(), updates).await.unwrap();
    let versions: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(|shadow| shadow.document.version()).ok()).collect();
    assert_eq!(versions, [Some(2), Some(1), None]);
    // Whoever may publish there may change it, and whoever may hear of it may read it.
    let reader = application(RESULT);
    assert!(broker.shadow(&reader, &id("a"), None).await.is_ok());
    assert_eq!(broker.shadow(&reader, &id("b"), None).await.unwrap_err().kind(), ErrorKind::Forbidden);
    let denied = broker.update_shadow(&reader, change("a", None, json!({"reported": {}}), 0)).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Forbidden);
    let deleted = broker.delete_shadow(&administrator(), &id("a"), None, 0).await.unwrap();
    assert!(deleted.document.is_empty() && deleted.document.version() == 3);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn named_shadows_are_apart_and_bounded() {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    let limits = crate::Limits { shadow_names: 2, ..crate::Limits::default() };
    let hub = Hub::start_with(&storage, &folder, &Targets::default(), limits).await;
    let broker = &hub.running.broker;
    let mut session = hub.session(device("a")).await;
    subscribe(&mut session, "$shadow/name/+/operation/result/A1B2C3D4E5/a", Qos::AtLeastOnce).await.unwrap();
    publish(
        &mut session,
        "$shadow/name/fw/operation/A1B2C3D4E5/a",
        Qos::AtLeastOnce,
        r#"{"type":"update","state":{"reported":{"v":1}}}"#,
    )
    .unwrap();
    let outbound = deliver(&mut session).await;
    assert_eq!(outbound.message(&outbound.rows()[0]).topic, "$shadow/name/fw/operation/result/A1B2C3D4E5/a");
    broker.update_shadow(&administrator(), change("a", Some("net"), json!({"desired": {"ip": "x"}}), 0)).await.unwrap();
    update(&hub, json!({"reported": {"v": 2}})).await.unwrap();
    let outbound = deliver(&mut session).await;
    assert_eq!(outbound.message(&outbound.rows()[0]).topic, "$shadow/name/net/operation/result/A1B2C3D4E5/a");
    let many = broker.update_shadow(&administrator(), change("a", Some("app"), json!({"desired": {}}), 0)).await;
    assert_eq!(many.unwrap_err().kind(), ErrorKind::Throttled);
    let found = broker.shadows_of(&administrator(), &id("a")).await.unwrap();
    let told: Vec<_> =
        found.iter().map(|found| (found.name.as_ref().map(ShadowName::as_str), found.document.version())).collect();
    assert_eq!(told, [(None, 1), (Some("fw"), 1), (Some("net"), 1)]);
    let missing = broker.shadow(&administrator(), &id("a"), Some(&name("app"))).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let missing = broker.delete_shadow(&administrator(), &id("a"), Some(&name("app")), 0).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_device_that_was_away_is_told_when_it_comes_back() {
    let hub = hub().await;
    update(&hub, json!({"reported": {"fw": "1.1"}, "desired": {"fw": "1.2"}})).await.unwrap();
    // A session of its own: told when it subscribes.
    let mut session = listening(&hub, Qos::AtMostOnce).await;
    assert_eq!(next(&mut session).await["payload"]["state"], json!({"fw": "1.2"}));
    drop(session);
    eventually("it is gone", || hub.running.broker.session_count() == 0).await;

    // A session that is kept, but not what comes at QoS 0: told when it is opened.
    let mut session = hub.kept(device("a"), "c").await;
    subscribe(&mut session, RESULT, Qos::AtMostOnce).await.unwrap();
    next(&mut session).await;
    session.close(End::Lost).await;
    update(&hub, json!({"desired": {"fw": "1.3"}})).await.unwrap();
    let mut session = hub.kept(device("a"), "c").await;
    assert_eq!(next(&mut session).await["payload"]["state"], json!({"fw": "1.3"}));

    // Nothing to do, nothing to tell.
    update(&hub, json!({"reported": {"fw": "1.3"}})).await.unwrap();
    session.close(End::Lost).await;
    let mut session = hub.kept(device("a"), "c").await;
    publish(&mut session, ASK, Qos::AtLeastOnce, r#"{"type":"get","clientToken":"first"}"#).unwrap();
    assert_eq!(next(&mut session).await["clientToken"], "first");
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_deleted_device_takes_its_shadows_with_it() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    update(&hub, json!({"reported": {"a": 1}})).await.unwrap();
    admin::devices::delete(broker, &id("a")).await.unwrap();
    assert_eq!(broker.shadow(&administrator(), &id("a"), None).await, Err(ShadowError::NoDevice(id("a"))));
    admin::devices::create(broker, &id("a")).await.unwrap();
    assert_eq!(shadow(&hub).await.document.version(), 0);
    hub.running.drain(Duration::from_secs(5)).await;
}

/// A rule that hears of deltas and asks for more is cut by its hops, and is not answered.
#[tokio::test]
async fn what_a_rule_asks_for_keeps_its_hops() {
    let hub = hub().await;
    let log = hub.running.broker.log();
    let from = log.appended();
    let payload = br#"{"type":"update","state":{"desired":{"a":1}}}"#;
    let envelope = Envelope::new(ASK, "rule:r", Protocol::Hub, Qos::AtLeastOnce, payload);
    log.append_reserved(&[Record::Message(Envelope { hop: 3, ..envelope })]).await.unwrap();
    let told = messages(&hub, from, 1).await;
    assert_eq!((told[0].hop, &told[0].payload["type"]), (3, &json!("delta")));
    assert_eq!(shadow(&hub).await.document.version(), 1);
    hub.running.drain(Duration::from_secs(5)).await;
}

/// A rule's action is told what became of each request, and may ask what its owner may.
#[tokio::test]
async fn an_action_knows_what_became_of_its_rows() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let publisher = LogPublisher { ingress: broker.ingress().clone(), shadows: Arc::clone(&broker.shadows().state) };
    let request = |device: &str, payload: &'static str| Republish {
        topic: format!("$shadow/operation/A1B2C3D4E5/{device}"),
        payload: payload.into(),
        qos: 1,
        hop: 1,
        rule: "r".parse().unwrap(),
    };
    let done = r#"{"type":"update","state":{"desired":{"a":1}}}"#;
    let late = r#"{"type":"update","state":{"desired":{"a":2}},"version":7}"#;
    let asked = vec![request("a", done), request("a", late), request("gone", done), request("b", done)];
    let rejected = |reason: &str, retry| Outcome::Rejected { reason: reason.to_owned(), retry };
    let outcomes = publisher.ask_shadows(&administrator(), asked.clone()).await;
    let conflict = "the request is for version 7, and the shadow is at version 1";
    let expected =
        [Outcome::Delivered, rejected(conflict, false), rejected("there is no such device", true), Outcome::Delivered];
    assert_eq!(outcomes, expected);
    assert_eq!(shadow(&hub).await.document.version(), 1);

    let mut owner = application("x");
    if let Principal::Application { grants, .. } = &mut owner {
        let publish = vec![ASK.parse().unwrap()];
        *grants = Arc::new(Grants { publish, subscribe: Vec::new() });
    }
    let outcomes = publisher.ask_shadows(&owner, asked).await;
    let denied = "key:app may not publish to \"$shadow/operation/A1B2C3D4E5/b\"";
    assert_eq!((&outcomes[0], &outcomes[3]), (&Outcome::Delivered, &rejected(denied, false)));
    hub.running.drain(Duration::from_secs(5)).await;
}

// === over a crash ===

struct Told {
    hop: u8,
    payload: Value,
}

/// What the hub has said of `a` from an offset on, as soon as that is so much.
async fn messages(hub: &Hub, from: Offset, count: usize) -> Vec<Told> {
    let log = hub.running.broker.log();
    let mut reader = log.reader(from);
    let mut told = Vec::new();
    while told.len() < count || reader.position() < log.durable().get() {
        let frame = tokio::time::timeout(Duration::from_secs(10), reader.next_durable()).await.unwrap().unwrap();
        let is_told = |row: &usize| frame.records.is_message(*row) && frame.records.topic.value(*row) == RESULT;
        for row in (0..frame.records.len()).filter(is_told) {
            let envelope = frame.records.envelope(row);
            told.push(Told { hop: envelope.hop, payload: serde_json::from_slice(envelope.payload).unwrap() });
        }
    }
    told
}

async fn start(storage: &Faulty, folder: &Arc<TempDir>) -> Hub {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    Hub::start(&storage, folder, &Targets::default()).await
}

/// The device reports and an application desires, at the same time, and the power goes three times.
#[tokio::test]
async fn no_acknowledged_update_is_lost_and_versions_go_up() {
    let (mut faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let (mut acknowledged, mut sent) = (0, 0);
    for round in 0..3 {
        let hub = start(&faulty, &folder).await;
        let broker = hub.running.broker.clone();
        let publisher = device("a");
        let text = publisher.to_string();
        let report = |n: u64| format!(r#"{{"type":"update","state":{{"reported":{{"n":{n}}}}},"clientToken":"{n}"}}"#);
        let device_side = async {
            for n in 0..40 {
                let payload = report(round * 100 + n);
                let message = Envelope::new(ASK, &text, Protocol::Mqtt5, Qos::AtLeastOnce, payload.as_bytes());
                broker.publish(&publisher, message).await.unwrap();
            }
        };
        let other_side = async {
            for n in 0..40 {
                let updated = update(&hub, json!({"desired": {"m": round * 100 + n}})).await.unwrap();
                assert_eq!(updated.document.desired()["m"], round * 100 + n);
            }
        };
        futures::future::join(device_side, other_side).await;
        acknowledged += 80;
        // Nobody was told that these are safe.
        let principal: Principal = device("a");
        for n in 40..45 {
            let payload = report(round * 100 + n);
            let message = Envelope::new(ASK, &text, Protocol::Mqtt5, Qos::AtLeastOnce, payload.as_bytes());
            broker.ingress().accept(&principal, &[message], &mut crate::policy::KnownTopic::default()).unwrap();
        }
        sent = acknowledged + (round + 1) * 5;
        drop(broker);
        faulty = hub.crash(&faulty).await;
    }
    let hub = start(&faulty, &folder).await;
    let shadow = shadow(&hub).await.document;
    assert!((acknowledged..=sent).contains(&shadow.version()), "{} of {acknowledged} to {sent}", shadow.version());
    assert!(shadow.reported()["n"].as_u64().unwrap() >= 239);
    assert_eq!(shadow.desired()["m"], 239);

    // What was said of a version is said the same way again, if it is, and nothing is left out.
    let mut said: BTreeMap<(u64, String), Value> = BTreeMap::new();
    let mut last = 0;
    for told in messages(&hub, Offset::ZERO, 1).await {
        let version = told.payload["payload"]["version"].as_u64().unwrap();
        let key = (version, told.payload["type"].as_str().unwrap().to_owned());
        match said.get(&key) {
            Some(before) => assert_eq!(*before, told.payload),
            None => {
                assert!(version >= last, "{version} after {last}");
                last = version;
                said.insert(key, told.payload);
            }
        }
    }
    let versions: Vec<u64> = said.keys().map(|(version, _)| *version).collect();
    for version in 1..=shadow.version() {
        assert!(versions.contains(&version), "nothing was said of version {version}");
    }
    let answers: Vec<&Value> = said.iter().filter(|((_, kind), _)| kind == "update").map(|(_, told)| told).collect();
    let tokens: Vec<u64> = answers.iter().map(|told| told["clientToken"].as_str().unwrap().parse().unwrap()).collect();
    for n in (0..40).chain(100..140).chain(200..240) {
        assert!(tokens.contains(&n), "{n} was not answered");
    }
    // Each thing that was desired was told.
    let deltas: Vec<u64> = said
        .iter()
        .filter(|((_, kind), _)| kind == "delta")
        .filter_map(|(_, told)| told["payload"]["state"]["m"].as_u64())
        .collect();
    for m in (0..40).chain(100..140).chain(200..240) {
        assert!(deltas.contains(&m), "{m} was not told");
    }
    hub.running.drain(Duration::from_secs(5)).await;
}

/// Also where its end and its new beginning are applied again together.
#[tokio::test]
async fn a_device_that_was_made_again_keeps_its_new_shadow() {
    let folder = Arc::new(TempDir::new().unwrap());
    let faulty = Faulty::new();
    let hub = start(&faulty, &folder).await;
    for n in 1..=3 {
        update(&hub, json!({"reported": {"n": n}})).await.unwrap();
        admin::devices::delete(&hub.running.broker, &id("a")).await.unwrap();
        admin::devices::create(&hub.running.broker, &id("a")).await.unwrap();
    }
    update(&hub, json!({"reported": {"n": 4}})).await.unwrap();
    let hub = start(&hub.crash(&faulty).await, &folder).await;
    let document = shadow(&hub).await.document;
    assert_eq!((document.version(), &document.reported()["n"]), (1, &json!(4)));
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_to_apply_again() {
    let (faulty, folder) = (Faulty::new(), Arc::new(TempDir::new().unwrap()));
    let hub = start(&faulty, &folder).await;
    update(&hub, json!({"reported": {"a": 1}})).await.unwrap();
    let mut session = listening(&hub, Qos::AtLeastOnce).await;
    publish(&mut session, ASK, Qos::AtLeastOnce, r#"{"type":"update","state":{"reported":{"a":2}}}"#).unwrap();
    assert_eq!(payloads(&mut session, 1).await.len(), 1);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
    let hub = start(&faulty, &folder).await;
    assert_eq!(shadow(&hub).await.document.version(), 2);
    let told: Vec<Value> = messages(&hub, Offset::ZERO, 1).await.into_iter().map(|told| told.payload).collect();
    assert_eq!(told.len(), 1, "an answer was repeated: {told:?}");
    hub.running.drain(Duration::from_secs(5)).await;
}

/// Documents that do not fit into memory are read from the store again.
#[tokio::test]
async fn documents_need_not_be_in_memory() {
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new());
    let folder = Arc::new(TempDir::new().unwrap());
    let limits = crate::Limits { shadow_cache: 0, ..crate::Limits::default() };
    let hub = Hub::start_with(&storage, &folder, &Targets::default(), limits).await;
    for n in 1..=20 {
        for device in ["a", "b"] {
            let updated = hub
                .running
                .broker
                .update_shadow(&administrator(), change(device, None, json!({"reported": {"n": n}}), n - 1))
                .await;
            assert_eq!(updated.unwrap().document.version(), n);
        }
        if n % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }
    hub.running.drain(Duration::from_secs(5)).await;
}
