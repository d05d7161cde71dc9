//! Whatever else connects to an open port.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_core::{Classify, ErrorKind};

use super::hub::Hub;
use crate::{AcceptError, AcceptorOptions, sniff};

async fn send(hub: &Hub, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(("127.0.0.1", hub.port)).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp
}

#[tokio::test]
async fn plain_mqtt_on_the_encrypted_port_is_named() {
    let mut hub = Hub::start().await;
    let _client = send(&hub, b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").await;
    let error = hub.next().await.unwrap_err();
    assert!(matches!(error, AcceptError::NotTls));
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, "not_tls"));
}

#[tokio::test]
async fn who_connects_and_leaves_is_no_fault() {
    let mut hub = Hub::start().await;
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01\0\x01\xfc"] {
        drop(send(&hub, bytes).await);
        assert!(matches!(hub.next().await.unwrap_err(), AcceptError::Closed), "{bytes:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_or_not_enough_is_left() {
    let limit = Duration::from_millis(200);
    let mut hub = Hub::with(AcceptorOptions { handshake_timeout: limit, ..AcceptorOptions::default() }).await;
    for bytes in [&b""[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc"] {
        let begin = Instant::now();
        let mut client = send(&hub, bytes).await;
        assert!(matches!(hub.next().await.unwrap_err(), AcceptError::Timeout), "{bytes:?}");
        assert!(begin.elapsed() >= limit);
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
    }
}

#[tokio::test]
async fn an_endless_hello_is_cut() {
    let mut hub = Hub::start().await;
    // Records of one byte each, whose message claims to be long.
    let mut bytes = Vec::new();
    for byte in [1, 0, 0x3f, 0xff].into_iter().chain(std::iter::repeat_n(0, sniff::MAX_BYTES)) {
        bytes.extend([22, 3, 1, 0, 1, byte]);
    }
    let mut client = TcpStream::connect(("127.0.0.1", hub.port)).await.unwrap();
    // It is closed while more comes.
    let _sent = client.write_all(&bytes).await;
    assert!(matches!(hub.next().await.unwrap_err(), AcceptError::HelloTooLarge { .. }));

    let _client = send(&hub, b"\x16\x03\x01\x40\0\x01\xff\xff\xff").await;
    assert!(matches!(hub.next().await.unwrap_err(), AcceptError::HelloTooLarge { .. }));
}

#[tokio::test]
async fn nonsense_gets_an_alert() {
    let mut hub = Hub::start().await;
    for bytes in
        [&b"\x16\x03\x01\0\x05\x02\0\0\x01\0"[..], b"\x16\x03\x01\0\x06\x01\0\0\x02\x03\x03", b"\x16\x03\x01\0\0"]
    {
        let mut client = send(&hub, bytes).await;
        let error = hub_next_after_reading(&mut hub, &mut client).await;
        assert!(matches!(error, AcceptError::Handshake(_)), "{bytes:?}: {error:?}");
    }
}

async fn hub_next_after_reading(hub: &mut Hub, client: &mut TcpStream) -> AcceptError {
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    client.shutdown().await.unwrap();
    hub.next().await.unwrap_err()
}

#[tokio::test]
async fn a_silent_client_delays_nobody() {
    let mut hub = Hub::start().await;
    let _silent = send(&hub, b"\x16").await;
    let output = hub.s_client("").await;
    assert_eq!(output.stdout, b"HELLO\n");
    hub.next().await.unwrap();
}
