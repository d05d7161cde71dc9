use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::Notify,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use weir_broker::Metrics;
use weir_core::seams::PeerIdentity;

use super::{BINARY, FINAL, LIMIT, frame};
use crate::websocket::{
    HttpAnswer, HttpRequests, WebSocketOptions,
    handshake::{Refusal, judge},
    open,
};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The example of RFC 6455 §1.3, for MQTT.
const UPGRADE: [(&str, &str); 6] = [
    ("host", "hub"),
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "mqtt"),
];

fn options(origins: &[&str]) -> WebSocketOptions {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    WebSocketOptions {
        origins,
        message: LIMIT,
        handshake: Duration::from_secs(10),
        requests: None,
        request: Duration::from_secs(30),
    }
}

/// What becomes of an upgrade with another header, or without it where the value is empty.
fn judged(name: &str, value: &str, origins: &[&str]) -> Result<&'static str, Refusal> {
    let mut request = Request::get("/any/path?and=query");
    for (own, usual) in UPGRADE.into_iter().filter(|(own, _)| *own != name).chain([(name, value)]) {
        if !usual.is_empty() {
            request = request.header(own, usual);
        }
    }
    judge(&request.body(()).unwrap(), &options(origins)).map(|accepted| accepted.subprotocol)
}

#[test]
fn the_subprotocol_is_one_of_mqtt() {
    // [MQTT-6.0.0-3], [MQTT5-6.0.0-3], [MQTT-6.0.0-4], [MQTT5-6.0.0-4]
    let with = |offered| judged("sec-websocket-protocol", offered, &[]);
    assert_eq!(with("mqtt"), Ok("mqtt"));
    assert_eq!(with("mqttv3.1"), Ok("mqttv3.1"));
    assert_eq!(with("chat, mqttv3.1 ,mqtt"), Ok("mqtt"));
    assert_eq!(with("chat"), Err(Refusal::Subprotocol));
    assert_eq!(with(""), Err(Refusal::Subprotocol));
}

#[test]
fn what_is_no_upgrade_is_told_so() {
    assert_eq!(judged("connection", "close", &[]), Err(Refusal::NotAnUpgrade));
    assert_eq!(judged("upgrade", "", &[]), Err(Refusal::NotAnUpgrade));
    assert_eq!(judged("sec-websocket-version", "8", &[]), Err(Refusal::Version));
    assert_eq!(judged("sec-websocket-key", "", &[]), Err(Refusal::Key));
    assert_eq!(judged("sec-websocket-key", "c2hvcnQ=", &[]), Err(Refusal::Key));
}

#[test]
fn pages_of_listed_origins_may_connect_and_clients_that_are_no_browsers() {
    let page = |origin, allowed: &[&str]| judged("origin", origin, allowed);
    assert_eq!(page("https://evil.example", &[]), Ok("mqtt"));
    assert_eq!(page("https://app.example", &["https://app.example", "http://localhost:3000"]), Ok("mqtt"));
    assert_eq!(page("http://localhost:3000", &["https://app.example", "http://localhost:3000"]), Ok("mqtt"));
    assert_eq!(page("https://evil.example", &["https://app.example"]), Err(Refusal::Origin));
    assert_eq!(page("null", &["https://app.example"]), Err(Refusal::Origin));
    assert_eq!(page("", &["https://app.example"]), Ok("mqtt"));
}

/// Sends a request, and bytes behind it; says what the client hears, and the 4 bytes that the hub reads if it upgrades.
async fn ask(request: &str, behind: &[u8]) -> (String, Option<Vec<u8>>) {
    let (near, mut far) = duplex(64 * 1024);
    let hub = async {
        let mut stream =
            open((near, LOCAL), &PeerIdentity::None, &options(&[]), &Metrics::default(), &CancellationToken::new())
                .await?;
        let mut read = vec![0; 4];
        stream.read_exact(&mut read).await.unwrap();
        Some(read)
    };
    let client = async {
        far.write_all(&[request.as_bytes(), behind].concat()).await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    };
    let (read, heard) = tokio::join!(hub, client);
    (heard, read)
}

#[tokio::test]
async fn an_upgrade_is_answered_and_what_follows_is_mqtt() {
    let head: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (heard, read) = ask(&format!("GET /mqtt HTTP/1.1\r\n{head}\r\n"), &frame(FINAL | BINARY, b"mqtt")).await;
    assert_eq!(read.unwrap(), b"mqtt");
    let heard = heard.to_ascii_lowercase();
    assert!(heard.starts_with("http/1.1 101 "), "{heard}");
    assert!(heard.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{heard}");
    assert!(heard.contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn another_request_has_an_answer_in_http() {
    let (heard, read) = ask("GET / HTTP/1.1\r\nhost: hub\r\n\r\n", b"").await;
    assert_eq!(read, None);
    assert!(heard.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{heard}");
    assert!(heard.contains(&format!("{}: 13\r\n", header::SEC_WEBSOCKET_VERSION)), "{heard}");
    assert!(heard.contains("subprotocol mqtt"), "{heard}");
    let (heard, _) = ask("\x16\x03\x01 not HTTP\r\n\r\n", b"").await;
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    let (heard, _) = ask(&format!("GET / HTTP/1.1\r\ncookie: {}\r\n\r\n", "x".repeat(20_000)), b"").await;
    assert!(heard.starts_with("HTTP/1.1 431 "), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_in_time_ends_the_connection() {
    let (heard, read) = ask("GET / HTTP/1.1\r\n", b"").await;
    assert_eq!((heard.as_str(), read), ("", None));
}

/// Answers `/device/…` with what it was sent; `/device/hang` when it is told, or never.
#[derive(Debug, Default)]
struct Echo(Arc<Notify>);

impl HttpRequests for Echo {
    fn serves(&self, path: &str) -> bool {
        path.starts_with("/device/")
    }

    fn answer(&self, request: Request<Incoming>, from: IpAddr, _peer: PeerIdentity) -> HttpAnswer {
        let hang = (request.uri().path() == "/device/hang").then(|| Arc::clone(&self.0));
        Box::pin(async move {
            if let Some(hang) = hang {
                hang.notified().await;
            }
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            let body = format!("{from} {}", String::from_utf8_lossy(&sent));
            Response::new(body.map_err(|never| match never {}).boxed_unsync())
        })
    }
}

fn with_echo(echo: Echo) -> WebSocketOptions {
    WebSocketOptions { requests: Some(Arc::new(echo)), ..options(&[]) }
}

/// Reads until what was read ends with `end`.
async fn read_to(far: &mut DuplexStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut byte = [0];
        far.read_exact(&mut byte).await.unwrap();
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_to_the_gateway_are_answered_and_a_websocket_may_follow() {
    let (near, mut far) = duplex(64 * 1024);
    let options = with_echo(Echo::default());
    let hub = async {
        let stop = CancellationToken::new();
        let mut stream = open((near, LOCAL), &PeerIdentity::None, &options, &Metrics::default(), &stop).await.unwrap();
        let mut read = vec![0; 4];
        stream.read_exact(&mut read).await.unwrap();
        read
    };
    let client = async {
        for said in ["one", "two"] {
            // Each within the time of a request, and together beyond it.
            tokio::time::sleep(Duration::from_secs(9)).await;
            let request = format!("POST /device/x HTTP/1.1\r\nhost: hub\r\ncontent-length: 3\r\n\r\n{said}");
            far.write_all(request.as_bytes()).await.unwrap();
            let heard = read_to(&mut far, said).await;
            assert!(heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.contains("\r\n\r\n127.0.0.1 "), "{heard}");
        }
        let head: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        far.write_all(format!("GET /mqtt HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        assert!(read_to(&mut far, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        far.write_all(&frame(FINAL | BINARY, b"mqtt")).await.unwrap();
    };
    let (read, ()) = tokio::join!(hub, client);
    assert_eq!(read, b"mqtt");
}

#[tokio::test(start_paused = true)]
async fn a_path_of_the_gateway_is_no_place_for_a_websocket() {
    let (near, mut far) = duplex(64 * 1024);
    let options = with_echo(Echo::default());
    let (stop, metrics) = (CancellationToken::new(), Metrics::default());
    let client = async {
        let head: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        far.write_all(format!("GET /device/x HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        let heard = read_to(&mut far, "127.0.0.1 ").await;
        drop(far);
        heard
    };
    let (opened, heard) = tokio::join!(open((near, LOCAL), &PeerIdentity::None, &options, &metrics, &stop), client);
    assert!(opened.is_none() && heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_ends_the_connection() {
    let (near, mut far) = duplex(64 * 1024);
    let options = with_echo(Echo::default());
    let (stop, metrics) = (CancellationToken::new(), Metrics::default());
    far.write_all(b"POST /device/hang HTTP/1.1\r\nhost: hub\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert!(open((near, LOCAL), &PeerIdentity::None, &options, &metrics, &stop).await.is_none());
    assert_eq!(started.elapsed(), options.request);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_when_the_hub_goes_down_is_answered() {
    let (near, mut far) = duplex(64 * 1024);
    let go = Arc::new(Notify::new());
    let options = with_echo(Echo(Arc::clone(&go)));
    let (stop, metrics) = (CancellationToken::new(), Metrics::default());
    let client = async {
        far.write_all(b"POST /device/hang HTTP/1.1\r\nhost: hub\r\ncontent-length: 3\r\n\r\nbye").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        go.notify_one();
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        heard
    };
    let (opened, heard) = tokio::join!(open((near, LOCAL), &PeerIdentity::None, &options, &metrics, &stop), client);
    assert!(opened.is_none() && heard.ends_with("127.0.0.1 bye"), "{heard}");
    // Who has asked nothing is not waited for.
    let (near, _far) = duplex(64);
    assert!(open((near, LOCAL), &PeerIdentity::None, &options, &metrics, &stop).await.is_none());
}
