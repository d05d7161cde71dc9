//! MQTT over WebSocket and secure WebSocket, with a client of another make (tungstenite) and packets written by hand, so
//! that frames can be cut as no well-behaved client would.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::json;
use tungstenite::{
    Bytes, ClientRequestBuilder, Error, Message, WebSocket,
    handshake::client::Response,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mqtt::Login,
};

const ACCEPTED: &[u8] = &[0x20, 2, 0, 0];

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A WebSocket to the hub, and what it has received of MQTT.
struct Client {
    socket: WebSocket<Box<dyn Stream>>,
    received: Vec<u8>,
}

/// Asks for an upgrade of `path`, with subprotocols and an origin.
fn upgrade(
    stream: impl Stream + 'static,
    path: &str,
    protocols: &[&str],
    origin: Option<&str>,
) -> Result<(Client, Response), Error> {
    let mut request = ClientRequestBuilder::new(format!("ws://localhost{path}").parse().unwrap());
    for protocol in protocols {
        request = request.with_sub_protocol(*protocol);
    }
    if let Some(origin) = origin {
        request = request.with_header("Origin", origin);
    }
    let stream: Box<dyn Stream> = Box::new(stream);
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => Ok((Client { socket, received: Vec::new() }, response)),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
        Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("the hub did not answer in time"),
    }
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// A stream of TLS that trusts the hub's authority and may show a certificate.
fn tls(hub: &Hub, own: Option<(&str, &str)>) -> StreamOwned<ClientConnection, TcpStream> {
    let authority = hub.weir(&["get", "ca"]).stdout;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(connection, tcp(hub.wss_port()))
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[kind, body.len() as u8], body].concat()
}

/// CONNECT of MQTT 3.1.1, clean; without a login nobody is named.
fn connect(client_id: &str, login: Option<&Login>) -> Vec<u8> {
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let credentials = login.map(|login| [text(&login.username), text(&login.password)].concat()).unwrap_or_default();
    packet(0x10, &[&text("MQTT")[..], &[4, flags, 0, 60], &text(client_id), &credentials].concat())
}

/// PUBLISH at QoS 1.
fn publish(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &id.to_be_bytes(), payload].concat())
}

impl Client {
    /// A device that is connected.
    fn device(hub: &Hub, login: &Login) -> Self {
        let (mut client, _) = upgrade(tcp(hub.ws_port()), "/mqtt", &["mqtt"], None).unwrap();
        client.send(&connect(&login.client_id, Some(login)));
        client.expect(ACCEPTED);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// A frame of its own making.
    fn send_frame(&mut self, payload: &[u8], data: Data, is_final: bool) {
        let frame = Frame::message(payload.to_vec(), OpCode::Data(data), is_final);
        self.socket.send(Message::Frame(frame)).unwrap();
    }

    /// The next bytes of MQTT, however they are framed.
    fn expect(&mut self, expected: &[u8]) {
        while self.received.len() < expected.len() {
            match self.socket.read().unwrap() {
                Message::Binary(bytes) => self.received.extend_from_slice(&bytes),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} in place of {expected:?}"),
            }
        }
        let received: Vec<u8> = self.received.drain(..expected.len()).collect();
        assert_eq!(received, expected);
    }

    /// With what code the hub closes; `None` if it gives none.
    fn closed(&mut self) -> Option<CloseCode> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(close)) => return close.map(|CloseFrame { code, .. }| code),
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }

    /// That the hub lets go of the connection.
    fn ends(&mut self) {
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the hub holds the connection")
                }
                Err(_) => return,
            }
        }
    }
}

fn refused(hub: &Hub, operation: &str, reason: &str, times: f64) {
    let metric = format!(r#"weir_refused_total{{operation="{operation}",reason="{reason}"}}"#);
    eventually(&format!("{times} {reason}"), SOON, || (hub.metric(&metric) >= times).then_some(()));
}

/// Statuses of HTTP that refuse an upgrade.
fn status(result: Result<(Client, Response), Error>) -> (u16, String) {
    match result {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8(body).unwrap())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was upgraded"),
    }
}

#[test]
fn a_device_publishes_and_subscribes_by_websocket() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("dev");
    let mut client = Client::device(&hub, &login);
    let (control, event) = (format!("{PRODUCT}/dev/control"), format!("{PRODUCT}/dev/event"));
    client.send(&packet(0x82, &[&[0, 1][..], &text(&control), &[1]].concat()));
    client.expect(&[0x90, 3, 0, 1, 1]);

    // [MQTT-6.0.0-2], [MQTT5-6.0.0-2]: packets are cut in any way, and a ping in the middle is answered.
    client.send(&[publish(&event, 2, br#"{"n":1}"#), publish(&event, 3, br#"{"n":2}"#)].concat());
    client.expect(&[0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    let third = publish(&event, 4, br#"{"n":3}"#);
    client.send_frame(&third[..1], Data::Binary, false);
    client.send_frame(&[], Data::Continue, false);
    client.socket.send(Message::Ping(Bytes::from_static(b"there?"))).unwrap();
    client.send_frame(&third[1..9], Data::Continue, false);
    client.send_frame(&third[9..], Data::Continue, true);
    assert_eq!(client.socket.read().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
    client.expect(&[0x40, 2, 0, 4]);
    let (first, second) = third.split_at(5);
    client.send(first);
    client.send(second);
    client.expect(&[0x40, 2, 0, 4]);
    let rows = hub.query(&format!("SELECT n FROM '{event}'"));
    assert_eq!(rows, [[json!(1)], [json!(2)], [json!(3)], [json!(3)]]);

    // What is published for it is more than one frame of 16 bits could hold.
    let payload = "x".repeat(100_000);
    hub.post("/v1/publish", &json!({"topic": control, "payload": payload, "qos": 0}));
    let body = [text(&control), payload.clone().into_bytes()].concat();
    let digits = [body.len() % 128, body.len() / 128 % 128, body.len() / 16_384];
    let length = [digits[0] as u8 | 128, digits[1] as u8 | 128, digits[2] as u8];
    client.expect(&[&[0x30][..], &length, &body].concat());

    // [MQTT-3.14.4-2], and the close handshake of RFC 6455 §7.
    client.send(&[0xe0, 0]);
    assert_eq!(client.closed(), Some(CloseCode::Normal));
    client.ends();
    eventually("the session ends", SOON, || hub.session("dev").is_none().then_some(()));
}

#[test]
fn the_client_may_begin_to_close() {
    let hub = Hub::start();
    hub.create_product();
    let mut client = Client::device(&hub, &hub.create_device("dev"));
    client.socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).unwrap();
    assert_eq!(client.closed(), Some(CloseCode::Away));
    client.ends();
    eventually("the session ends", SOON, || hub.session("dev").is_none().then_some(()));
}

#[test]
fn only_mqtt_in_binary_frames_is_spoken() {
    let hub = Hub::with(&["websocket.message_bytes=64 KiB", "websocket.origins=https://app.example"], None);
    hub.create_product();
    let login = hub.create_device("dev");
    let port = hub.ws_port();

    // [MQTT-6.0.0-3], [MQTT5-6.0.0-3], [MQTT-6.0.0-4], [MQTT5-6.0.0-4]
    for (offered, chosen) in [(&["mqtt"][..], "mqtt"), (&["mqttv3.1"], "mqttv3.1"), (&["mqttv3.1", "mqtt"], "mqtt")] {
        let (mut client, response) = upgrade(tcp(port), "/any/path?token=x", offered, None).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], chosen);
        client.send(&connect(&login.client_id, Some(&login)));
        client.expect(ACCEPTED);
    }
    let (code, said) = status(upgrade(tcp(port), "/mqtt", &["chat"], None));
    assert_eq!(code, 400);
    assert!(said.contains("subprotocol mqtt"), "{said}");

    // Browsers say where a page is from.
    upgrade(tcp(port), "/mqtt", &["mqtt"], Some("https://app.example")).unwrap();
    assert_eq!(status(upgrade(tcp(port), "/mqtt", &["mqtt"], Some("https://evil.example"))).0, 403);

    let answer = crate::harness::hub::http_client().get(format!("http://127.0.0.1:{port}/")).send().unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["upgrade"]), (426, &"websocket".parse().unwrap()));
    let said = answer.text().unwrap();
    assert!(said.contains("MQTT over WebSocket"), "{said}");

    // [MQTT-6.0.0-1], [MQTT5-6.0.0-1]
    let mut client = Client::device(&hub, &login);
    client.socket.send(Message::text("hello")).unwrap();
    assert_eq!(client.closed(), Some(CloseCode::Unsupported));
    client.ends();
    refused(&hub, "websocket", "text_frame", 1.0);

    let mut client = Client::device(&hub, &login);
    client.send(&vec![0; 70_000]);
    assert_eq!(client.closed(), Some(CloseCode::Size));
    refused(&hub, "websocket", "too_large", 1.0);
    for reason in ["subprotocol", "origin", "not_an_upgrade"] {
        refused(&hub, "websocket_upgrade", reason, 1.0);
    }
}

#[test]
fn what_is_no_http_is_answered_before_the_connection_closes() {
    let hub = Hub::start();
    let mut client = tcp(hub.ws_port());
    // More than is read of a request: a connection closed with bytes unread is reset, and the answer lost.
    client.write_all(&[b"not HTTP\r\n\r\n".as_slice(), &[b'x'; 40_000]].concat()).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    refused(&hub, "websocket_upgrade", "http", 1.0);
}

#[test]
fn a_silent_client_is_not_waited_for() {
    let hub = Hub::with(&["limits.handshake_timeout=1 s"], None);
    let mut silent = tcp(hub.ws_port());
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    refused(&hub, "websocket_upgrade", "handshake_timeout", 1.0);
    // Upgraded, and then silent: the MQTT listener's own limit.
    let (mut client, _) = upgrade(tcp(hub.ws_port()), "/mqtt", &["mqtt"], None).unwrap();
    client.ends();
}

#[test]
fn a_certificate_proves_a_device_by_secure_websocket() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("dev");
    let made = hub.post(&format!("/v1/products/{PRODUCT}/devices/dev/certificates"), &json!({}));
    let own = (made["certificate"].as_str().unwrap(), made["private_key"].as_str().unwrap());
    let event = format!("{PRODUCT}/dev/event");

    let (mut client, _) = upgrade(tls(&hub, Some(own)), "/mqtt", &["mqtt"], None).unwrap();
    client.send(&connect("dev", None));
    client.expect(ACCEPTED);
    client.send(&publish(&event, 1, br#"{"n":1}"#));
    client.expect(&[0x40, 2, 0, 1]);

    let (mut client, _) = upgrade(tls(&hub, None), "/mqtt", &["mqtt"], None).unwrap();
    client.send(&connect(&login.client_id, Some(&login)));
    client.expect(ACCEPTED);
    client.send(&publish(&event, 1, br#"{"n":2}"#));
    client.expect(&[0x40, 2, 0, 1]);
    assert_eq!(hub.query(&format!("SELECT n FROM '{event}'")), [[json!(1)], [json!(2)]]);

    // Who proves nothing has to show a password.
    let (mut client, _) = upgrade(tls(&hub, None), "/mqtt", &["mqtt"], None).unwrap();
    client.send(&connect("dev", None));
    client.ends();
}

#[test]
fn only_the_secure_listener_leaves_loopback() {
    let hub = Hub::with(&["listen.address=0.0.0.0", "listen.name=hub.example.org"], None);
    hub.create_product();
    TcpStream::connect(("127.0.0.2", hub.wss_port())).unwrap();
    TcpStream::connect(("127.0.0.2", hub.ws_port())).unwrap_err();
    hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": "dev"}));
    let token = hub.post(&format!("/v1/products/{PRODUCT}/devices/dev/tokens"), &json!({}));
    assert_eq!(token["ws"], json!({"host": "127.0.0.1", "port": hub.ws_port()}));
    assert_eq!(token["wss"], json!({"host": "hub.example.org", "port": hub.wss_port()}));
    let listeners = &hub.get("/v1/status")["listeners"];
    assert_eq!(listeners["wss"], format!("hub.example.org:{}", hub.wss_port()));
}

#[test]
fn the_limit_of_connections_counts_every_listener_and_the_end_says_close() {
    let mut hub = Hub::with(&["limits.connections=2"], None);
    hub.create_product();
    let mut first = Client::device(&hub, &hub.create_device("one"));
    let _second = Client::device(&hub, &hub.create_device("two"));
    let mut third = tcp(hub.mqtt_port());
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0);
    refused(&hub, "mqtt_accept", "connections", 1.0);

    let waiting = std::thread::spawn(move || {
        let code = first.closed();
        first.ends();
        code
    });
    assert!(hub.terminate().success());
    assert_eq!(waiting.join().unwrap(), Some(CloseCode::Normal));
}
