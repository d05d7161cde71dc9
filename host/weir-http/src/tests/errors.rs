//! What a caller is told when a request is wrong.

use axum::{body::Body, http::StatusCode};
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use weir_core::ErrorKind;

use super::hub::TestHub;
use crate::{HttpLimits, error::status};

async fn check(hub: &TestHub, method: &str, url: &str, body: &str, expected: (u16, &str, &str)) {
    let answer = hub.ask(method, url, body.to_owned()).await;
    let (code, kind, part) = expected;
    assert_eq!(answer.status.as_u16(), code, "{method} {url} {body}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let (said, message) = answer.error();
    assert_eq!(said, kind, "{method} {url} {body}");
    assert!(message.contains(part), "{method} {url} {body}: {message}");
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong() {
    let hub = TestHub::start().await;
    let devices = "/v1/products/A1B2C3D4E5/devices";
    let tokens = "/v1/products/A1B2C3D4E5/devices/dev_01/tokens";
    for (method, url, body, expected) in [
        ("GET", "/v1/product", "", (404, "not_found", "there is nothing at /v1/product")),
        ("GET", "/", "", (404, "not_found", "there is nothing at /")),
        ("PUT", "/v1/products", "", (405, "invalid", "PUT is not possible on /v1/products")),
        ("POST", "/v1/products", "{", (400, "invalid", "EOF while parsing")),
        ("POST", "/v1/products", "{} {}", (400, "invalid", "trailing characters")),
        ("POST", "/v1/products", r#"{"nmae":"x"}"#, (400, "invalid", "unknown field `nmae`")),
        ("POST", "/v1/products", r#"{"name":7}"#, (400, "invalid", "name: invalid type: integer `7`")),
        ("POST", "/v1/products", r#"{"id":"short"}"#, (400, "invalid", "use exactly 10 upper-case letters or digits")),
        ("POST", "/v1/products", r#"{"id":"A1B2C3D4E5"}"#, (409, "conflict", "exists already")),
        ("POST", "/v1/products", r#"{"schema":{"t":"numbr"}}"#, (400, "invalid", "schema.t: unknown variant `numbr`")),
        ("POST", "/v1/products", r#"{"schema":{"t":"text","t":"text"}}"#, (400, "invalid", "\"t\" is declared twice")),
        ("POST", "/v1/products", r#"{"schema":{"":"text"}}"#, (400, "invalid", "schema: a path has 1 to")),
        ("GET", "/v1/products/a", "", (400, "invalid", "product id \"a\" is not valid")),
        ("GET", "/v1/products/NONE000000", "", (404, "not_found", "there is no product \"NONE000000\"")),
        ("DELETE", "/v1/products/A1B2C3D4E5", "", (409, "conflict", "still has 1 device(s)")),
        ("POST", devices, "", (400, "invalid", "missing field `name`")),
        ("POST", devices, r#"{"name":"a b"}"#, (400, "invalid", "device name \"a b\" is not valid")),
        ("POST", devices, r#"{"name":"dev_01"}"#, (409, "conflict", "exists already")),
        ("POST", "/v1/products/NONE000000/devices", r#"{"name":"d"}"#, (404, "not_found", "no product")),
        ("GET", "/v1/products/NONE000000/devices", "", (404, "not_found", "no product")),
        ("GET", "/v1/products/A1B2C3D4E5/devices?limit=0", "", (400, "invalid", "limit: a page holds 1 to 1000")),
        ("GET", "/v1/products/A1B2C3D4E5/devices?limit=x", "", (400, "invalid", "limit: invalid digit")),
        ("GET", "/v1/products/A1B2C3D4E5/devices?page=1", "", (400, "invalid", "unknown field `page`")),
        ("GET", "/v1/products/A1B2C3D4E5/devices/none", "", (404, "not_found", "no device \"A1B2C3D4E5/none\"")),
        ("DELETE", "/v1/products/A1B2C3D4E5/devices/none", "", (404, "not_found", "no device")),
        ("PATCH", "/v1/products/A1B2C3D4E5/devices/none", r#"{"enabled":true}"#, (404, "not_found", "no device")),
        ("PATCH", "/v1/products/A1B2C3D4E5/devices/dev_01", "{}", (400, "invalid", "give enabled or activated")),
        (
            "PATCH",
            "/v1/products/A1B2C3D4E5/devices/dev_01",
            r#"{"activated":true}"#,
            (400, "invalid", "activated: a device becomes so by connecting"),
        ),
        ("POST", "/v1/products/A1B2C3D4E5/devices/none/tokens", "", (404, "not_found", "no device")),
        ("DELETE", "/v1/products/A1B2C3D4E5/devices/none/tokens", "", (404, "not_found", "no device")),
        ("POST", tokens, r#"{"expires_in":0}"#, (400, "invalid", "expires_in: a token lives")),
        ("POST", tokens, r#"{"expires_in":99999999999}"#, (400, "invalid", "expires_in: a token lives")),
        ("POST", tokens, r#"{"expires_in":-1}"#, (400, "invalid", "expires_in: invalid value")),
        ("POST", "/v1/keys", r#"{"name":"k"}"#, (400, "invalid", "grant at least one topic filter")),
        ("POST", "/v1/keys", r#"{"name":"k","publish":["a#"]}"#, (400, "invalid", "publish[0]: '#' must be the last")),
        ("POST", "/v1/keys", r#"{"name":"k","administrator":true,"publish":["a"]}"#, (400, "invalid", "leave out")),
        ("POST", "/v1/keys", r#"{"name":"app","administrator":true}"#, (409, "conflict", "exists already")),
        ("DELETE", "/v1/keys/none", "", (404, "not_found", "no key")),
        ("DELETE", "/v1/keys/admin", "", (409, "conflict", "owns rule overheat")),
        ("PUT", "/v1/secrets/s", "", (400, "invalid", "a secret must not be empty")),
        ("PUT", "/v1/secrets/a%20b", "x", (400, "invalid", "secret name \"a b\" is not valid")),
        ("DELETE", "/v1/secrets/none", "", (404, "not_found", "no secret")),
        ("POST", "/v1/apply", "nonsense", (400, "invalid", "line 1, column 1: expected rule or sink\n  1 | nonsense")),
        ("POST", "/v1/apply", "rule r nowhere", (400, "invalid", "nowhere")),
        ("GET", "/v1/rules/none", "", (404, "not_found", "there is no rule")),
        ("DELETE", "/v1/rules/none", "", (404, "not_found", "there is no rule")),
        ("POST", "/v1/rules/none/enable", "", (404, "not_found", "there is no rule")),
        ("GET", "/v1/sinks/none", "", (404, "not_found", "no sink")),
        ("DELETE", "/v1/sinks/none", "", (404, "not_found", "no sink")),
        ("DELETE", "/v1/sinks/archive", "", (409, "conflict", "used by rule overheat")),
        ("GET", "/v1/indexes/none", "", (404, "not_found", "no index \"none\"")),
        ("DELETE", "/v1/indexes/none", "", (404, "not_found", "there is no index none")),
        ("GET", "/v1/deadletters/999", "", (404, "not_found", "no dead letter \"999\"")),
        ("GET", "/v1/deadletters/x", "", (400, "invalid", "`x`")),
        ("DELETE", "/v1/deadletters/999", "", (404, "not_found", "no dead letter")),
        ("POST", "/v1/deadletters/replay", "{}", (400, "invalid", "give either ids or rule")),
        ("POST", "/v1/deadletters/replay", r#"{"ids":[]}"#, (400, "invalid", "1 to 1000")),
        ("POST", "/v1/query", r#"{"sql":"bad"}"#, (400, "invalid", "expected rows\n  1 | bad\n    | ^")),
        ("GET", "/v1/trace?filter=%23&rule=cold", "", (404, "not_found", "there is no rule cold")),
        ("GET", "/v1/tail", "", (400, "invalid", "missing field `filter`")),
        ("GET", "/v1/tail?filter=a%23", "", (400, "invalid", "'#' must be the last")),
        ("POST", "/v1/publish", r#"{"topic":"a/+"}"#, (400, "invalid", "must not contain '+' or '#'")),
        ("POST", "/v1/publish", r#"{"topic":"a"}"#, (400, "invalid", "give either payload or payload_base64")),
        ("POST", "/v1/publish", r#"{"topic":"a","payload":"","payload_base64":""}"#, (400, "invalid", "give either")),
        ("POST", "/v1/publish", r#"{"topic":"a","payload_base64":"?"}"#, (400, "invalid", "payload_base64: ")),
        ("POST", "/v1/publish", r#"{"topic":"a","payload":"","qos":2}"#, (400, "invalid", "qos: ")),
        ("POST", "/v1/publish", r#"{"topic":"a","payload":"","retain":true}"#, (400, "invalid", "field `retain`")),
    ] {
        check(&hub, method, url, body, expected).await;
    }
    hub.end().await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let hub = TestHub::start().await;
    let answer = hub.ask("PUT", "/v1/products", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    hub.end().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let hub = TestHub::with(HttpLimits { body: 1_000, ..HttpLimits::default() }).await;
    let announced = hub.ask("PUT", "/v1/secrets/s", vec![b'x'; 1_001]).await;
    assert_eq!(announced.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(announced.error(), ("too_large".to_owned(), "the body exceeds the limit of 1000 bytes".to_owned()));

    let chunks = (0..3).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 500])));
    let streamed = hub.ask("PUT", "/v1/secrets/s", Body::from_stream(stream::iter(chunks))).await;
    assert_eq!(streamed.status, StatusCode::PAYLOAD_TOO_LARGE);

    assert_eq!(hub.ask("PUT", "/v1/secrets/s", vec![b'x'; 1_000]).await.status, StatusCode::NO_CONTENT);
    hub.end().await;
}

#[tokio::test]
async fn a_message_beyond_the_payload_limit_is_refused_and_the_largest_is_not() {
    let hub = TestHub::with(HttpLimits { body: 1_000, ..HttpLimits::default() }).await;
    let limit = hub.broker.limits().payload;
    let message = |size: usize| json!({ "topic": "a", "payload": "x".repeat(size) }).to_string();
    assert_eq!(hub.ask("POST", "/v1/publish", message(limit)).await.status, StatusCode::OK);
    let refused = hub.ask("POST", "/v1/publish", message(limit + 1)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(refused.error().1.starts_with("payload of 262145 bytes exceeds"), "{:?}", refused.error());
    hub.end().await;
}

#[test]
fn each_kind_has_its_status() {
    for (kind, code) in [
        (ErrorKind::Invalid, 400),
        (ErrorKind::Unauthenticated, 401),
        (ErrorKind::Forbidden, 403),
        (ErrorKind::NotFound, 404),
        (ErrorKind::Conflict, 409),
        (ErrorKind::TooLarge, 413),
        (ErrorKind::Throttled, 429),
        (ErrorKind::Internal, 500),
        (ErrorKind::Unavailable, 503),
    ] {
        assert_eq!(status(kind).as_u16(), code, "{kind}");
    }
}
