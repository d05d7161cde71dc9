//! Each route of the API with no key, with a key that may not, and as it is meant.

use std::collections::BTreeSet;

use axum::http::StatusCode;

use super::{
    hub::{PRODUCT, TestHub},
    shadows::{answer, listening},
};
use crate::router::routes;

struct Case {
    method: &'static str,
    /// As the router has it; the names in braces are those of [`filled`].
    path: &'static str,
    body: &'static str,
    /// The status without a key.
    nobody: u16,
    /// The status for the key of an application that has no right to this.
    wrong_owner: u16,
    /// The status for an administrator.
    happy: u16,
}

/// What only an administrator may do.
const fn managed(method: &'static str, path: &'static str, body: &'static str, happy: u16) -> Case {
    Case { method, path, body, nobody: 401, wrong_owner: 403, happy }
}

/// What needs no key.
const fn open(method: &'static str, path: &'static str) -> Case {
    Case { method, path, body: "", nobody: 200, wrong_owner: 200, happy: 200 }
}

const TOPICS: &str = "/v1/products/{product}/topics";
const TOPIC: &str = "/v1/products/{product}/topics/{suffix}";
const DEVICES: &str = "/v1/products/{product}/devices";
const DEVICE: &str = "/v1/products/{product}/devices/{device}";
const BINDINGS: &str = "/v1/products/{product}/devices/{device}/bindings";
const BINDING: &str = "/v1/products/{product}/devices/{device}/bindings/{bound_product}/{bound_device}";
const TOKENS: &str = "/v1/products/{product}/devices/{device}/tokens";
const SHADOW: &str = "/v1/products/{product}/devices/{device}/shadow";
const SHADOWS: &str = "/v1/products/{product}/devices/{device}/shadows";
const CALL: &str = "/v1/products/{product}/devices/{device}/call";
const REGISTRATION: &str = "/v1/products/{product}/registration";
const BROADCASTS: &str = "/v1/products/{product}/broadcasts";
const BROADCAST: &str = "/v1/products/{product}/broadcasts/{broadcast}";
const CERTIFICATES: &str = "/v1/products/{product}/devices/{device}/certificates";

const PINS: &str = "/v1/products/{product}/devices/{device}/pins";
const PIN: &str = "/v1/products/{product}/devices/{device}/pins/{fingerprint}";
const AUTHORITIES: &str = "/v1/products/{product}/authorities";
const AUTHORITY: &str = "/v1/products/{product}/authorities/{fingerprint}";

const CASES: &[Case] = &[
    open("GET", "/healthz"),
    open("GET", "/metrics"),
    managed("POST", "/v1/products", r#"{"id":"NEW0000001","name":"New","schema":{"temp":"number"}}"#, 201),
    managed("GET", "/v1/products", "", 200),
    managed("GET", "/v1/products/{product}", "", 200),
    managed("PATCH", "/v1/products/{product}", r#"{"enabled":false}"#, 200),
    managed("DELETE", "/v1/products/{product}", "", 204),
    managed("GET", REGISTRATION, "", 200),
    managed("PATCH", REGISTRATION, r#"{"mode":"any","limit":9}"#, 200),
    managed("POST", TOPICS, r#"{"suffix":"cmd","subscribe":true}"#, 201),
    managed("GET", TOPICS, "", 200),
    managed("PATCH", TOPIC, r#"{"publish":false,"subscribe":true}"#, 200),
    managed("DELETE", TOPIC, "", 204),
    managed("POST", DEVICES, r#"{"name":"dev_02"}"#, 201),
    managed("GET", DEVICES, "", 200),
    managed("GET", DEVICE, "", 200),
    managed("DELETE", DEVICE, "", 204),
    managed("PATCH", DEVICE, r#"{"enabled":false}"#, 200),
    managed("POST", BINDINGS, r#"{"devices":[{"product":"A1B2C3D4E5","device":"dev_01"}]}"#, 201),
    managed("GET", BINDINGS, "", 200),
    managed("DELETE", BINDING, "", 204),
    managed("POST", TOKENS, r#"{"expires_in":60}"#, 201),
    managed("DELETE", TOKENS, "", 200),
    managed("POST", CERTIFICATES, r#"{"expires_in":60}"#, 201),
    managed("GET", CERTIFICATES, "", 200),
    managed("GET", "/v1/products/{product}/certificates", "", 200),
    managed("DELETE", "/v1/certificates/{certificate}", "", 200),
    managed("POST", PINS, r#"{"certificate":"x"}"#, 201),
    managed("DELETE", PIN, "", 204),
    managed("GET", "/v1/products/{product}/registration-code", "", 200),
    managed("POST", AUTHORITIES, r#"{"certificate":"x","trusted":true}"#, 201),
    managed("GET", AUTHORITIES, "", 200),
    managed("GET", AUTHORITY, "", 200),
    managed("DELETE", AUTHORITY, "", 204),
    // What to trust is for every key.
    Case { method: "GET", path: "/v1/ca", body: "", nobody: 401, wrong_owner: 200, happy: 200 },
    managed("POST", "/v1/keys", r##"{"name":"other","subscribe":["#"]}"##, 201),
    managed("GET", "/v1/keys", "", 200),
    managed("DELETE", "/v1/keys/{name}", "", 204),
    managed("PUT", "/v1/secrets/{name}", "value", 204),
    managed("GET", "/v1/secrets", "", 200),
    managed("DELETE", "/v1/secrets/{name}", "", 204),
    managed("POST", "/v1/apply", "rule other taking", 200),
    managed("GET", "/v1/rules", "", 200),
    managed("GET", "/v1/rules/{rule}", "", 200),
    managed("DELETE", "/v1/rules/{rule}", "", 204),
    managed("POST", "/v1/rules/{rule}/enable", "", 200),
    managed("POST", "/v1/rules/{rule}/disable", "", 200),
    managed("GET", "/v1/sinks", "", 200),
    managed("GET", "/v1/sinks/{sink}", "", 200),
    managed("DELETE", "/v1/sinks/{sink}", "", 204),
    managed("GET", "/v1/indexes", "", 200),
    managed("GET", "/v1/indexes/{index}", "", 200),
    managed("DELETE", "/v1/indexes/{index}", "", 204),
    managed("PUT", "/v1/plugins/{plugin}", "component", 200),
    managed("GET", "/v1/plugins", "", 200),
    managed("GET", "/v1/plugins/{plugin}", "", 200),
    managed("DELETE", "/v1/plugins/{plugin}", "", 204),
    managed("GET", "/v1/deadletters", "", 200),
    managed("GET", "/v1/deadletters/{id}", "", 200),
    managed("DELETE", "/v1/deadletters/{id}", "", 204),
    managed("POST", "/v1/deadletters/replay", r#"{"ids":[1]}"#, 200),
    managed("POST", "/v1/query", r#"{"sql":"rows 2"}"#, 200),
    managed("POST", "/v1/backfills", r#"{"rule":"overheat","name":"x"}"#, 200),
    managed("POST", "/v1/backtests", r#"{"rule":"overheat","compare":true}"#, 200),
    // Applications may do these, but not with these topics and this filter.
    managed("GET", SHADOW, "", 200),
    managed("PATCH", SHADOW, r#"{"state":{"desired":{"fw":"1.2"}}}"#, 200),
    managed("PUT", SHADOW, r#"{"state":{"desired":{"fw":"1.2"}}}"#, 200),
    managed("DELETE", SHADOW, "", 204),
    managed("GET", SHADOWS, "", 200),
    managed(
        "POST",
        "/v1/shadows",
        r#"{"updates":[{"product":"A1B2C3D4E5","device":"dev_01","state":{"desired":{"fw":"1.2"}}}]}"#,
        200,
    ),
    managed("POST", CALL, r#"{"payload":"on?"}"#, 200),
    managed("POST", BROADCASTS, r#"{"payload":"on?"}"#, 201),
    managed("GET", BROADCASTS, "", 200),
    managed("GET", BROADCAST, "", 200),
    managed("DELETE", BROADCAST, "", 200),
    managed("GET", "/v1/tail", "", 200),
    managed("GET", "/v1/trace", "", 200),
    managed("POST", "/v1/publish", r#"{"topic":"A1B2C3D4E5/dev_01/event","payload":"x"}"#, 200),
    managed("GET", "/v1/status", "", 200),
];

fn filled(path: &str) -> String {
    let name = if path.starts_with("/v1/keys") { "spare" } else { "hot" };
    let furnished = ["/devices", "/topics", "/registration", "/certificates", "/authorities"]
        .iter()
        .any(|list| path.contains(list));
    let is_gateways = path.contains("/bindings");
    let product = if is_gateways {
        "GATEWAY001"
    } else if furnished {
        PRODUCT
    } else {
        "EMPTY00001"
    };
    let url = path
        .replace("{product}", product)
        .replace("{suffix}", "up%2F+")
        .replace("{device}", if is_gateways { "g" } else { "dev_01" })
        .replace("{bound_product}/{bound_device}", "A1B2C3D4E5/dev_01")
        .replace("{name}", name)
        .replace("{rule}", "overheat")
        .replace("{sink}", "unused")
        .replace("{broadcast}", "1")
        .replace("{index}", "fw")
        .replace("{plugin}", "echo")
        .replace("{id}", "1")
        .replace("{certificate}", &"71".repeat(32))
        .replace("{fingerprint}", &"70".repeat(32));
    if matches!(path, "/v1/tail" | "/v1/trace") { format!("{url}?filter=%23") } else { url }
}

#[test]
fn no_route_lacks_its_cases() {
    let served: BTreeSet<_> = routes().iter().map(|route| (route.method.to_string(), route.path)).collect();
    let tested: BTreeSet<_> = CASES.iter().map(|case| (case.method.to_owned(), case.path)).collect();
    assert_eq!(served, tested);
    assert_eq!(tested.len(), CASES.len(), "a route stands twice among the cases");
}

async fn check(hub: &TestHub, case: &Case, key: Option<&str>, expected: u16) {
    let url = filled(case.path);
    // The body of a tail has no end, so it is not waited for.
    let response = hub.open(case.method, &url, key, case.body).await;
    let who = key.map_or("nobody", |key| key.split(':').next().unwrap());
    assert_eq!(response.status().as_u16(), expected, "{} {url} by {who}", case.method);
    let challenged = response.headers().contains_key("www-authenticate");
    assert_eq!(challenged, response.status() == StatusCode::UNAUTHORIZED, "{} {url} by {who}", case.method);
}

#[tokio::test]
async fn nobody_and_the_wrong_owner_are_refused_and_change_nothing() {
    let hub = TestHub::start().await;
    let lists = [
        "products",
        "products/A1B2C3D4E5/devices",
        "products/GATEWAY001/devices/g/bindings",
        "products/A1B2C3D4E5/certificates",
        "products/A1B2C3D4E5/authorities",
        "products/A1B2C3D4E5/topics",
        "products/A1B2C3D4E5/registration",
        "products/EMPTY00001/broadcasts",
        "keys",
        "secrets",
        "rules",
        "sinks",
        "plugins",
        "indexes",
        "deadletters",
    ];
    let mut before = Vec::new();
    for list in lists {
        before.push(hub.get_json("GET", &format!("/v1/{list}"), "").await);
    }
    let appended = hub.broker.log().appended();
    for case in CASES {
        check(&hub, case, None, case.nobody).await;
        check(&hub, case, Some(&hub.application), case.wrong_owner).await;
        let guess = if case.nobody == 401 { 401 } else { case.happy };
        check(&hub, case, Some("admin:guess"), guess).await;
    }
    for (list, before) in lists.into_iter().zip(before) {
        assert_eq!(hub.get_json("GET", &format!("/v1/{list}"), "").await, before, "{list}");
    }
    assert_eq!(hub.broker.log().appended(), appended);
    hub.end().await;
}

#[tokio::test]
async fn an_administrator_is_served() {
    for case in CASES {
        let hub = TestHub::start().await;
        let checked = check(&hub, case, Some(&hub.administrator), case.happy);
        if case.path == CALL {
            let mut device = listening(&hub).await;
            futures::future::join(checked, answer(&mut device)).await;
        } else {
            checked.await;
        }
        hub.end().await;
    }
}
