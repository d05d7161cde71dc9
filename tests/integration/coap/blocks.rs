//! Bodies of 5 and 50 kB in both directions, over a network that loses and doubles datagrams.

use serde_json::{Value, json};

use super::{Constrained, network::Lossy};
use crate::harness::hub::PRODUCT;

/// JSON with a text of so many bytes that does not repeat.
fn document(length: usize) -> Value {
    let text: String = (0..length).map(|index| char::from(b'a' + (index * 7 % 251 % 26) as u8)).collect();
    json!({ "text": text })
}

#[test]
fn bodies_are_sent_whole() {
    let coap = Constrained::start();
    for (seed, length) in [(1, 5_000), (2, 50_000)] {
        let network = Lossy::to(coap.hub.coap_port(), seed);
        let body = document(length);
        std::fs::write(coap.file("up"), body.to_string()).unwrap();
        let size = if length > 5_000 { "1024" } else { "256" };
        let uri = coap.uri(network.port(), &format!("{PRODUCT}/dev/event"));
        let said = coap.coap(&["-B", "240", "-b", size, "-m", "put", "-f", "up", &uri]);
        assert_eq!(said.trim(), "", "{length} in blocks of {size}");
        assert!(coap.text("dev/event") == body["text"], "{length} in blocks of {size}");
        assert_eq!(coap.hub.count(&format!("{PRODUCT}/dev/event")), seed, "each is published once");
    }
    let network = Lossy::to(coap.hub.coap_port(), 7);
    let body = document(5_001);
    std::fs::write(coap.file("up"), body.to_string()).unwrap();
    let uri = coap.uri(network.port(), &format!("{PRODUCT}/dev/event"));
    let up = coap.file("up");
    let said = super::said(&coap.aiocoap(&["put", &uri, up.to_str().unwrap()]).output().unwrap());
    assert!(said.starts_with("2.04"), "{said}");
    assert!(coap.text("dev/event") == body["text"], "by aiocoap");
}

#[test]
fn bodies_are_read_whole() {
    let coap = Constrained::with(&["limits.shadow_bytes=128 KiB"]);
    for (seed, length) in [(3, 5_000), (4, 50_000)] {
        let body = document(length);
        let change = json!({"state": {"reported": {"doc": body}}});
        let path = format!("/v1/products/{PRODUCT}/devices/dev/shadow");
        assert!(coap.hub.request(reqwest::Method::PUT, &path).json(&change).send().unwrap().status().is_success());
        let network = Lossy::to(coap.hub.coap_port(), seed);
        let uri = coap.uri(network.port(), "shadow");
        // libcoap's client gives a body up that takes it too long, so the long one is aiocoap's alone.
        if length == 5_000 {
            coap.coap(&["-B", "240", "-b", "512", "-m", "get", "-o", "down", &uri]);
            let read: Value = serde_json::from_slice(&std::fs::read(coap.file("down")).unwrap()).unwrap();
            assert!(read["state"]["reported"]["doc"] == body, "{length} in blocks of 512");
        }
        let output = coap.aiocoap(&["get", &uri]).output().unwrap();
        let said = super::said(&output);
        let bytes = super::observing::unhex(said.lines().nth(1).unwrap_or_else(|| panic!("{said}")));
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(read["state"]["reported"]["doc"] == body, "{length} by aiocoap");
    }
}
