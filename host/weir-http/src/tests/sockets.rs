//! The listener itself: bounds on connections and heads, and an end in order.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weir_broker::Drain;

use super::hub::TestHub;
use crate::{HttpLimits, serve};

struct Served {
    hub: TestHub,
    address: std::net::SocketAddr,
    drain: Drain,
}

async fn served(limits: HttpLimits) -> Served {
    let hub = TestHub::with(limits).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::new();
    let options = (*hub.hub.options).clone();
    drain.spawn("test", serve(listener, hub.broker.clone(), options, drain.clone()));
    Served { hub, address, drain }
}

impl Served {
    /// Everything that comes until the connection is closed.
    async fn say(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }

    async fn end(self) {
        assert!(self.drain.run_down(Duration::from_secs(5)).await);
        self.hub.end().await;
    }
}

async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_string(&mut text)).await;
    read.expect("the connection stays open").unwrap();
    text
}

#[tokio::test]
async fn a_request_is_answered_over_a_socket() {
    let served = served(HttpLimits::default()).await;
    let answer = served.say("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_so() {
    let served = served(HttpLimits { connections: 1, ..HttpLimits::default() }).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(first.read(&mut [0; 1_024]).await.unwrap() > 0);
    let refused = served.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    let body: serde_json::Value = serde_json::from_str(refused.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["error"]["kind"], "unavailable");
    drop(first);
    served.end().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let limits = HttpLimits { header_time: Duration::from_millis(50), ..HttpLimits::default() };
    let served = served(limits).await;
    let answer = served.say("GET /healthz HT").await;
    assert!(!answer.contains("200"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let limits = HttpLimits { body_time: Duration::from_millis(50), ..HttpLimits::default() };
    let served = served(limits).await;
    let head = "PUT /v1/secrets/s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin:top\r\ncontent-length: 9\r\n\r\n";
    let answer = served.say(head).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("the body did not arrive"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn the_drain_ends_idle_connections_and_running_tails() {
    let served = served(HttpLimits::default()).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1_024]).await.unwrap() > 0);
    let mut tail = TcpStream::connect(served.address).await.unwrap();
    let head = b"GET /v1/tail?filter=%23 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin:top\r\n\r\n";
    tail.write_all(head).await.unwrap();
    // The head of the answer comes before there is any message.
    assert!(tail.read(&mut [0; 1_024]).await.unwrap() > 0);
    assert!(served.drain.run_down(Duration::from_secs(5)).await);
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut tail).await, "0\r\n\r\n");
    served.hub.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_its_answer_unread_loses_its_place() {
    let limits = HttpLimits { connections: 1, write_stall: Duration::from_millis(100), ..HttpLimits::default() };
    let served = served(limits).await;
    let mut tail = TcpStream::connect(served.address).await.unwrap();
    let head = b"GET /v1/tail?filter=%23 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin:top\r\n\r\n";
    tail.write_all(head).await.unwrap();
    assert!(tail.read(&mut [0; 1_024]).await.unwrap() > 0);
    // More than the buffers of a loopback connection hold.
    let message = serde_json::json!({ "topic": "a", "payload": "y".repeat(250_000), "qos": 0 }).to_string();
    for _ in 0..80 {
        served.hub.ask("POST", "/v1/publish", message.clone()).await;
    }
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let place_is_free = async { while !served.say(request).await.contains("200 OK") {} };
    tokio::time::timeout(Duration::from_secs(10), place_is_free).await.unwrap();
    drop(tail);
    served.end().await;
}
