//! Rows that a server refuses: exactly those go to the error target, or to the dead letters, and can be sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    hub::{Hub, PRODUCT},
    mqtt::Mqtt,
    receiver::Receiver,
};

/// A refused row is tried again after 1, 3 and 10 seconds.
const GIVEN_UP: Duration = Duration::from_secs(45);

fn is_bad(body: &Value) -> bool {
    body["payload"]["n"].as_i64().is_some_and(|n| n % 5 == 0)
}

fn publish_twenty(hub: &Hub) -> Mqtt {
    hub.create_product();
    let sensor = hub.create_device("sensor");
    Mqtt::connect(hub.mqtt_port(), &sensor).unwrap()
}

fn numbers(wanted: impl Fn(i64) -> bool) -> Vec<Value> {
    (0..20).filter(|n| wanted(*n)).map(|n| json!(n)).collect()
}

#[test]
fn refused_rows_go_to_the_error_target_and_only_those() {
    let hub = Hub::start();
    let mut client = publish_twenty(&hub);
    let picky = Receiver::answering(|body| if is_bad(body) { StatusCode::BAD_REQUEST } else { StatusCode::OK });
    let failed = Receiver::start();
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!(
        "CREATE RULE picky TO webhook(url => '{}') ON ERROR TO webhook(url => '{}') AS SELECT n FROM '{event}'",
        picky.url("/"),
        failed.url("/failed")
    ));
    for n in 0..20 {
        client.publish(&event, &json!({"n": n}).to_string()).unwrap();
    }
    client.publish(&event, "this is not JSON").unwrap();

    // Four refused rows, and the message that could not be read.
    let errors = eventually("the error target has five", GIVEN_UP, || {
        let received = failed.received("/failed");
        (received.len() >= 5).then_some(received)
    });
    assert_eq!(errors.len(), 5, "{errors:?}");
    let mut refused: Vec<_> = errors.iter().filter_map(|error| error.body["payload"]["n"].as_i64()).collect();
    refused.sort_unstable();
    assert_eq!(refused, [0, 5, 10, 15], "{errors:?}");
    let mut good = picky.accepted("/", "n");
    good.sort_by_key(Value::as_i64);
    assert_eq!(good, numbers(|n| n % 5 != 0));
    // Each refused row was tried four times before it was given up.
    assert_eq!(picky.received("/").iter().filter(|received| is_bad(&received.body)).count(), 16);

    let state = eventually("all is settled", GIVEN_UP, || {
        let state = hub.action("picky", 0);
        (state["pending"] == 0 && state["read"] == 21).then_some(state)
    });
    assert_eq!((&state["delivered"], &state["dead_lettered"], &state["failed"]), (&json!(16), &json!(4), &json!(1)));
    // The error target's own ledger is of the messages that could not be read; the rows are in the action's.
    eventually("the error target's ledger agrees", GIVEN_UP, || {
        (hub.action("picky", 1000)["delivered"] == 1).then_some(())
    });
    assert_eq!(hub.get("/v1/deadletters")["items"], json!([]));
}

#[test]
fn dead_letters_are_listed_and_sent_again() {
    let hub = Hub::start();
    let mut client = publish_twenty(&hub);
    let strict = Arc::new(AtomicBool::new(true));
    let is_strict = Arc::clone(&strict);
    let picky = Receiver::answering(move |body| {
        if is_strict.load(Ordering::Relaxed) && is_bad(body) {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    });
    let event = format!("{PRODUCT}/sensor/event");
    hub.apply(&format!("CREATE RULE picky TO webhook(url => '{}') AS SELECT n FROM '{event}'", picky.url("/")));
    for n in 0..20 {
        client.publish(&event, &json!({"n": n}).to_string()).unwrap();
    }

    let letters = eventually("four dead letters", GIVEN_UP, || {
        let list = hub.get("/v1/deadletters?rule=picky");
        let items = list["items"].as_array().unwrap().clone();
        (items.len() == 4).then_some(items)
    });
    assert!(letters.iter().all(|letter| letter["reason"].as_str().unwrap().contains("422")), "{letters:?}");
    assert_eq!(hub.action("picky", 0)["dead_lettered"], 4);
    let listed = hub.weir(&["get", "deadletters"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("422"));
    let id = letters[0]["id"].to_string();
    let described = hub.weir(&["describe", "deadletter", &id]);
    assert!(String::from_utf8_lossy(&described.stdout).contains("picky"));

    // Still refused: it stays.
    let again = hub.weir(&["replay", "deadletter", &id]);
    assert!(!again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
    assert_eq!(hub.get("/v1/deadletters")["items"].as_array().unwrap().len(), 4);

    strict.store(false, Ordering::Relaxed);
    assert!(hub.weir(&["replay", "deadletter", &id]).status.success());
    assert!(hub.weir(&["replay", "deadletter", "--rule", "picky"]).status.success());
    assert_eq!(hub.get("/v1/deadletters")["items"], json!([]));
    let mut everything = picky.accepted("/", "n");
    everything.sort_by_key(Value::as_i64);
    assert_eq!(everything, numbers(|_| true));
}
