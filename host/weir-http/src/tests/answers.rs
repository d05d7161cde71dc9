//! What the answers hold.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::hub::{START, TestHub};
use crate::HttpLimits;

#[tokio::test]
async fn a_product_keeps_its_schema_in_order() {
    let hub = TestHub::start().await;
    let new = r#"{"name":"Thermometer","schema":{"temp":"number","at":"integer","pos.lat":"number"}}"#;
    let made = hub.get_json("POST", "/v1/products", new).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(id.len(), 10);
    assert_eq!(made["schema"].to_string(), r#"{"temp":"number","at":"integer","pos.lat":"number"}"#);
    assert_eq!(made["created_at"], START.0);
    assert_eq!(hub.get_json("GET", &format!("/v1/products/{id}"), "").await, made);
    assert_eq!(hub.get_json("GET", "/v1/products", "").await["total"], 4);
    hub.end().await;
}

#[tokio::test]
async fn a_device_shows_its_key_alone_and_not_in_a_list() {
    let hub = TestHub::start().await;
    let made = hub.get_json("POST", "/v1/products/A1B2C3D4E5/devices", r#"{"name":"dev_02"}"#).await;
    let psk = made["psk"].as_str().unwrap();
    assert_eq!(psk.len(), 24);
    let expected = json!({
        "product": "A1B2C3D4E5", "device": "dev_02", "psk": psk, "enabled": true, "product_enabled": true,
        "type": "device", "activated_at": null, "created_at": START.0,
    });
    assert_eq!(made, expected);
    let described = hub.get_json("GET", "/v1/products/A1B2C3D4E5/devices/dev_01", "").await;
    assert!(described["psk"].is_string());
    let token = json!({ "id": 1, "created_at": START.0, "expires_at": null });
    assert_eq!(described["tokens"], json!([token]));

    let page = hub.get_json("GET", "/v1/products/A1B2C3D4E5/devices?offset=1&limit=5", "").await;
    let listed = json!({ "product": "A1B2C3D4E5", "device": "dev_02", "enabled": true,
        "product_enabled": true, "type": "device", "activated_at": null, "created_at": START.0 });
    assert_eq!(page, json!({ "items": [listed], "total": 2 }));
    hub.end().await;
}

#[tokio::test]
async fn a_device_shows_its_gateway_and_a_gateway_its_devices() {
    const BINDINGS: &str = "/v1/products/GATEWAY001/devices/g/bindings";
    let hub = TestHub::start().await;
    let gateway = hub.get_json("GET", "/v1/products/GATEWAY001", "").await;
    assert_eq!(gateway["type"], "gateway");
    hub.get_json("POST", "/v1/products/A1B2C3D4E5/devices", r#"{"name":"dev_02"}"#).await;
    let devices = |name: &str| format!(r#"{{"devices":[{{"product":"A1B2C3D4E5","device":"{name}"}}]}}"#);
    let made = hub.get_json("POST", BINDINGS, devices("dev_02")).await;
    assert_eq!(made, json!({ "bound": [{ "product": "A1B2C3D4E5", "device": "dev_02" }] }));

    let listed = hub.get_json("GET", &format!("{BINDINGS}?offset=1&of_product=A1B2C3D4E5"), "").await;
    let item = json!({ "product": "A1B2C3D4E5", "device": "dev_02", "bound_at": START.0, "online_since": null });
    assert_eq!(listed, json!({ "items": [item], "total": 2 }));
    let described = hub.get_json("GET", "/v1/products/A1B2C3D4E5/devices/dev_02", "").await;
    let gateway = json!({ "product": "GATEWAY001", "device": "g", "bound_at": START.0, "online_since": null });
    assert_eq!((&described["gateway"], &described["online"]), (&gateway, &json!(false)));

    for (method, url, body, expected) in [
        ("POST", BINDINGS, devices("nobody"), StatusCode::NOT_FOUND),
        ("POST", BINDINGS, r#"{"devices":[]}"#.to_owned(), StatusCode::BAD_REQUEST),
        ("POST", "/v1/products/A1B2C3D4E5/devices/dev_01/bindings", devices("dev_02"), StatusCode::CONFLICT),
        ("GET", "/v1/products/A1B2C3D4E5/devices/dev_01/bindings", String::new(), StatusCode::CONFLICT),
        ("DELETE", &format!("{BINDINGS}/A1B2C3D4E5/nobody"), String::new(), StatusCode::NOT_FOUND),
        ("DELETE", &format!("{BINDINGS}/A1B2C3D4E5/dev_02"), String::new(), StatusCode::NO_CONTENT),
        ("DELETE", &format!("{BINDINGS}/A1B2C3D4E5/dev_02"), String::new(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(hub.ask(method, url, body).await.status, expected, "{method} {url}");
    }
    let described = hub.get_json("GET", "/v1/products/A1B2C3D4E5/devices/dev_02", "").await;
    assert_eq!(described["gateway"], Value::Null);
    hub.end().await;
}

#[tokio::test]
async fn certificates_are_for_devices_that_exist() {
    let hub = TestHub::start().await;
    let url = |device: &str| format!("/v1/products/A1B2C3D4E5/devices/{device}/certificates");
    let issued = hub.get_json("POST", &url("dev_01"), r#"{"expires_in":60}"#).await;
    let expected = json!({ "certificate": "certificate of A1B2C3D4E5/dev_01", "private_key": "key",
        "fingerprint": "f1".repeat(32), "serial": "01", "expires_at": START.0 + 60_000 });
    assert_eq!(issued, expected);
    assert_eq!(hub.ask("POST", &url("nobody"), "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(hub.ask("POST", &url("dev_01"), r#"{"expires_in":0}"#).await.status, StatusCode::BAD_REQUEST);
    // The stand-in cannot make one that lasts so long.
    let failed = hub.ask("POST", &url("dev_01"), r#"{"expires_in":4000000000}"#).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);

    let authority = hub.ask("GET", "/v1/ca", "").await;
    assert_eq!(authority.headers["content-type"], "application/pem-certificate-chain");
    assert_eq!(authority.body, "the authority\n");
    hub.end().await;
}

#[tokio::test]
async fn a_secret_is_never_shown() {
    let hub = TestHub::start().await;
    hub.clock.advance(Duration::from_secs(1));
    hub.ask("PUT", "/v1/secrets/hot", "very secret").await;
    let listed = hub.ask("GET", "/v1/secrets", "").await;
    let hot = json!({ "name": "hot", "created_at": START.0, "updated_at": START.0 + 1_000 });
    assert_eq!(listed.json(), json!({ "items": [hot], "total": 1 }));
    let kept = hub.broker.store().secret(&"hot".parse().unwrap()).unwrap();
    assert_eq!(kept.as_deref(), Some(&b"very secret"[..]));
    hub.end().await;
}

#[tokio::test]
async fn a_script_says_what_it_changed() {
    let hub = TestHub::start().await;
    let results = hub.get_json("POST", "/v1/apply", "rule overheat archive\nrule other taking").await;
    let result = |name: &str, action: &str| json!({ "kind": "rule", "name": name, "action": action, "warnings": [] });
    assert_eq!(results, json!({ "results": [result("overheat", "unchanged"), result("other", "created")] }));

    let disabled = hub.get_json("POST", "/v1/rules/overheat/disable", "").await;
    assert_eq!((&disabled["name"], &disabled["enabled"]), (&json!("overheat"), &json!(false)));
    let enabled = hub.get_json("POST", "/v1/rules/overheat/enable", "").await;
    assert_eq!(enabled["enabled"], true);
    assert_eq!(enabled["actions"][0]["target"], "archive");
    assert_eq!(hub.get_json("GET", "/v1/rules", "").await["total"], 2);

    let index = hub.get_json("GET", "/v1/indexes/fw", "").await;
    assert_eq!((&index["table"], &index["on"]), (&json!("shadows"), &json!("reported.fw")));
    let sink = hub.get_json("GET", "/v1/sinks/archive", "").await;
    assert_eq!((&sink["kind"], &sink["text"]), (&json!("taking"), &json!("sink archive")));
    hub.end().await;
}

#[tokio::test]
async fn dead_letters_are_listed_without_and_shown_with_their_payload() {
    let hub = TestHub::start().await;
    let listed = hub.get_json("GET", "/v1/deadletters?rule=overheat&after=2&limit=5", "").await;
    assert_eq!(listed["total"], 4);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let binary = &listed["items"][0];
    assert_eq!((&binary["kind"], &binary["offset"], &binary["payload_bytes"]), (&json!("row"), &json!(3), &json!(1)));
    assert_eq!(binary.get("payload_base64"), None);
    let range = json!({
        "id": 4, "rule": "overheat", "action": 0, "reason": "404", "created_at": START.0,
        "kind": "range", "from": 4, "to": 9,
    });
    assert_eq!(listed["items"][1], range);
    assert_eq!(hub.get_json("GET", "/v1/deadletters?rule=other", "").await, json!({ "items": [], "total": 0 }));

    let text = hub.get_json("GET", "/v1/deadletters/1", "").await;
    assert_eq!((&text["payload"], &text["arguments"]), (&json!("take"), &json!({ "url": "http://x/1" })));
    assert_eq!(hub.get_json("GET", "/v1/deadletters/3", "").await["payload_base64"], "/w==");
    hub.end().await;
}

#[tokio::test]
async fn replay_sends_what_can_be_sent() {
    let hub = TestHub::start().await;
    let tried = hub.get_json("POST", "/v1/deadletters/replay", r#"{"rule":"overheat"}"#).await;
    assert_eq!((&tried["replayed"], &tried["failed"]), (&json!(2), &json!(2)));
    assert_eq!(tried["error"], "dead letter 2 was not delivered: refused");
    assert_eq!(hub.get_json("GET", "/v1/deadletters", "").await["total"], 2);

    let unknown = hub.get_json("POST", "/v1/deadletters/replay", r#"{"ids":[1]}"#).await;
    let expected = json!({ "replayed": 0, "failed": 1, "error": "there is no dead letter 1" });
    assert_eq!(unknown, expected);
    hub.end().await;
}

#[tokio::test]
async fn a_query_answers_rows_within_its_bounds() {
    let limits =
        HttpLimits { query_rows: 3, query_time: Duration::from_millis(50), queries: 1, ..HttpLimits::default() };
    let hub = TestHub::with(limits).await;
    let query = |sql: &str| json!({ "sql": sql }).to_string();
    let answer = hub.get_json("POST", "/v1/query", query("rows 2")).await;
    assert_eq!(answer["columns"], json!([{ "name": "n", "type": "integer" }]));
    assert_eq!((&answer["rows"], &answer["scan"]["rows_read"]), (&json!([[0], [1]]), &json!(2)));

    let many = hub.ask("POST", "/v1/query", query("rows 4")).await;
    assert_eq!(many.status, StatusCode::PAYLOAD_TOO_LARGE);
    let (slow, refused) =
        tokio::join!(hub.ask("POST", "/v1/query", query("hang")), hub.ask("POST", "/v1/query", query("rows 1")),);
    assert_eq!(slow.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(slow.error().1.contains("ran longer"), "{:?}", slow.error());
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(hub.ask("POST", "/v1/query", query("rows 1")).await.status, StatusCode::OK);
    hub.end().await;
}

#[tokio::test]
async fn a_query_streams_in_the_form_that_is_asked_for() {
    let hub = TestHub::with(HttpLimits { query_rows: 3, queries: 1, ..HttpLimits::default() }).await;
    let body = |sql: &str| json!({ "sql": sql, "from": 0, "to": 9 }).to_string();
    let lines = |answer: super::hub::Answer| {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let answer = hub.accept("/v1/query", "application/x-ndjson", body("rows 2")).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let answer = lines(answer);
    assert_eq!(answer[0], json!({ "columns": [{ "name": "n", "type": "integer" }] }));
    assert_eq!(answer[1], json!({ "rows": [[0], [1]] }));
    assert_eq!((answer[2]["scan"]["rows_read"].as_u64(), answer.len()), (Some(2), 3));
    // What goes wrong on the way comes last.
    let answer = lines(hub.accept("/v1/query", "application/x-ndjson", body("rows 4")).await);
    assert_eq!(answer[1]["error"]["kind"], "too_large");
    // What goes wrong before is answered as ever.
    let refused = hub.accept("/v1/query", "application/x-ndjson", body("bad")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);

    let answer = hub.accept("/v1/query", "application/vnd.apache.arrow.stream", body("rows 3")).await;
    let read = arrow::ipc::reader::StreamReader::try_new(&answer.body[..], None).unwrap();
    assert_eq!(read.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    hub.end().await;
}

#[tokio::test]
async fn a_backtest_takes_a_rule_of_the_hub_or_of_a_script() {
    let hub = TestHub::start().await;
    let ask = async |body: Value| hub.ask("POST", "/v1/backtests", body.to_string()).await;
    let report = ask(json!({ "rule": "overheat", "compare": true })).await.json();
    assert_eq!((&report["matched"], &report["comparison"]["same"]), (&json!(1), &json!(1)));
    assert_eq!(ask(json!({ "script": "rule new taking" })).await.json()["comparison"], Value::Null);
    let two = "rule one taking\nrule two taking";
    assert_eq!(ask(json!({ "script": two, "rule": "two" })).await.status, StatusCode::OK);
    for (body, expected) in [
        (json!({}), "say which rule: its text as \"script\", or its name as \"rule\""),
        (json!({ "script": two }), "the script makes 2 rules; say which: one, two"),
        (json!({ "script": two, "rule": "three" }), "the script makes no rule three"),
        (json!({ "script": "sink x" }), "the script makes no rule: write CREATE RULE … AS SELECT …"),
        (json!({ "rule": "none" }), "there is no rule \"none\""),
        (json!({ "script": "rule new taking", "compare": true }), "there is no rule \"new\""),
    ] {
        assert_eq!(ask(body).await.error().1, expected);
    }
    let answer = hub.accept("/v1/backtests", "application/x-ndjson", json!({ "rule": "overheat" }).to_string()).await;
    assert_eq!(answer.json()["report"]["matched"], 1);
    hub.end().await;
}

#[tokio::test]
async fn status_and_probes_tell_how_the_hub_is() {
    let hub = TestHub::start().await;
    hub.ask("POST", "/v1/publish", r#"{"topic":"a","payload":"x"}"#).await;
    let status = hub.get_json("GET", "/v1/status", "").await;
    assert_eq!((&status["version"], &status["started_at"]), (&json!("0.1.0"), &json!(START.0)));
    assert_eq!((&status["rules"], &status["sessions"]), (&json!(1), &json!(0)));
    assert_eq!(status["log"]["appended"], hub.broker.log().appended().0);
    assert_eq!(status["log"]["failed"], false);

    let health = hub.send("GET", "/healthz", None, "").await;
    assert_eq!((health.status, &health.body[..]), (StatusCode::OK, &b"ok\n"[..]));
    let metrics = hub.send("GET", "/metrics", None, "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains(r#"protocol="api",qos="1"} 1"#), "{text}");
    assert!(text.ends_with("# EOF\n"));

    hub.hub.drain.token().cancel();
    let health = hub.send("GET", "/healthz", None, "").await;
    assert_eq!((health.status, &health.body[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"the hub is draining\n"[..]));
    hub.end().await;
}

#[tokio::test]
async fn a_failed_log_shows_in_health() {
    let hub = TestHub::start().await;
    hub.storage.fail_write(0);
    let answer = hub.ask("POST", "/v1/publish", r#"{"topic":"a","payload":"x"}"#).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = hub.send("GET", "/healthz", None, "").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.body.starts_with(b"the log has failed"), "{:?}", health.body);
    // Such a hub cannot end in order, and need not.
    assert_eq!(hub.get_json("GET", "/v1/status", "").await["log"]["failed"], Value::Bool(true));
}
