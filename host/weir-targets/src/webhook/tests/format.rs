//! What goes over the wire.

use super::{
    super::{
        body::{body, seq},
        signature::{nonce, signature},
    },
    *,
};

fn text(row: &Delivery) -> String {
    String::from_utf8(body(row)).unwrap()
}

#[tokio::test]
async fn a_row_is_one_post_in_the_forward_format() {
    let (port, mut received) = serve(|_| async { status(200) }).await;
    let target = open(&[("url", &format!("http://127.0.0.1:{port}/hook?a=b")), ("token", "aaa")]);
    assert_eq!(write_one(&target, row("dev", 7, b"{ \"temp\":31.0 }")).await, Outcome::Delivered);

    let Received { method, path, headers, body } = received.recv().await.unwrap();
    assert_eq!((method, path.as_str()), (Method::POST, "/hook?a=b"));
    assert_eq!(
        std::str::from_utf8(&body).unwrap(),
        "{\"payload\":{ \"temp\":31.0 },\"seq\":562949953449985,\"timestamp\":1604458420,\"timemills\":1604458420123,\
         \"topic\":\"A1B2C3D4E5/dev/event\",\"devicename\":\"dev\",\"productid\":\"A1B2C3D4E5\"}"
    );
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), concat!("weir/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("idempotency-key"), "hot/2.7/1");
    assert_eq!(header("timestamp"), "1604458421");
    assert_eq!(header("nonce").len(), 16);
    assert_eq!(header("signature"), signature("aaa", "1604458421", header("nonce")));
}

#[tokio::test]
async fn without_a_token_nothing_is_signed() {
    let (port, mut received) = serve(|_| async { status(204) }).await;
    assert_eq!(write_one(&to(port), row("dev", 7, b"1")).await, Outcome::Delivered);
    let headers = received.recv().await.unwrap().headers;
    assert!(["signature", "timestamp", "nonce"].iter().all(|name| !headers.contains_key(*name)));
}

/// The worked example of the vendor protocol §5.4.
#[test]
fn the_worked_example_of_the_signature() {
    let expected = "c259ed29ec13ba7c649fe0893007401a36e70453";
    assert_eq!(signature("aaa", "1604458421", "IkOaKMDalrAzUTxC"), expected);
}

#[test]
fn nonces_differ() {
    let (one, other) = (nonce().unwrap(), nonce().unwrap());
    assert_ne!(one, other);
    assert!(one.len() == 16 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[test]
fn payloads() {
    let check = |payload: &[u8], expected: &str| {
        let text = text(&row("dev", 1, payload));
        assert!(text.starts_with(&format!("{{\"payload\":{expected},\"seq\":")), "{text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    };
    check(b"{\"b\":1,\"a\":1.50,\"a\":2}", "{\"b\":1,\"a\":1.50,\"a\":2}");
    check(b" [1, 2]\n", " [1, 2]\n");
    check(b"30", "30");
    check(b"null", "null");
    check(b"\"\\u00e9\"", "\"\\u00e9\"");
    check(b"12345678901234567890123", "12345678901234567890123");
    check(b"", "\"\"");
    check(b"hello", "\"aGVsbG8=\"");
    check(b"{\"a\":1} x", "\"eyJhIjoxfSB4\"");
    check(b"\"\xff\"", "\"Iv8i\"");
    check(b"{\"a\":1},\"seq\":{}", "\"eyJhIjoxfSwic2VxIjp7fQ==\"");
    check("[".repeat(300).as_bytes(), &format!("\"{}\"", "W1tb".repeat(100)));
}

#[test]
fn names_are_escaped_and_absent_ones_are_empty() {
    let strange =
        Delivery { topic: "a\"\\\n/b".to_owned(), product: None, device: None, accepted_at: -1, ..row("dev", 1, b"1") };
    assert!(text(&strange).ends_with(
        "\"timestamp\":-1,\"timemills\":-1,\"topic\":\"a\\\"\\\\\\n/b\",\"devicename\":\"\",\"productid\":\"\"}"
    ));
}

#[test]
fn an_error_target_is_told_the_reason() {
    let failed = Delivery { failure: Some("payload is not \"JSON\"".to_owned()), ..row("dev", 1, b"x") };
    assert!(text(&failed).ends_with(",\"productid\":\"A1B2C3D4E5\",\"error\":\"payload is not \\\"JSON\\\"\"}"));
}

#[test]
fn the_sequence_strictly_increases() {
    let key = |epoch, index, row| IdempotenceKey { offset: Offset::new(epoch, index), rule: "r".parse().unwrap(), row };
    let keys = [
        key(0, 0, 0),
        key(0, 0, 1),
        key(0, 0, 4095),
        key(0, 1, 0),
        key(0, (1 << 36) - 1, 4095),
        key(1, 0, 0),
        key(32_767, (1 << 36) - 1, 4095),
    ];
    let numbers: Vec<i64> = keys.iter().map(seq).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&i64::MAX));
    assert!(seq(&key(u32::MAX, u64::MAX, u32::MAX)) >= 0);
}
