//! A hub without rules in a test, and clients that speak to it in bytes.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weir_broker::{Broker, Drain, Limits, Parts, RuleOptions, Running};
use weir_core::{
    RuleName, Timestamp,
    schema::Records,
    seams::{Catalog, Evaluator, Language, PeerIdentity, Probe, RuleEvaluation, RulePart, SqlError},
    statement::{RuleDefinition, Statement},
};
use weir_log::{Clock, Log, LogOptions, storage::faulty::Faulty};
use weir_store::{NewProduct, Role, Store};

use crate::{admission::Admission, client};

const PATIENCE: Duration = Duration::from_secs(10);

/// No rules at all.
struct Silence;

impl Language for Silence {
    fn parse(&self, _script: &str) -> Result<Vec<Statement>, SqlError> {
        Ok(Vec::new())
    }

    fn evaluator(&self) -> Arc<dyn Evaluator> {
        Arc::new(Self)
    }

    fn probe(&self, _: &RuleDefinition, _: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
        unimplemented!("no test traces these rules")
    }
}

impl Evaluator for Silence {
    fn with_rules(
        &self,
        _rules: &[RuleDefinition],
        _catalog: &Catalog,
    ) -> Result<Arc<dyn Evaluator>, (RuleName, SqlError)> {
        Ok(Arc::new(Self))
    }

    fn without_rule(&self, _rule: &RuleName) -> Arc<dyn Evaluator> {
        Arc::new(Self)
    }

    fn evaluate(&self, _records: &Records) -> Vec<RuleEvaluation> {
        Vec::new()
    }

    fn evaluate_rule(&self, _rule: &RuleName, _part: RulePart, _records: &Records) -> Option<RuleEvaluation> {
        None
    }
}

pub(super) struct Hub {
    running: Running,
    pub(super) broker: Broker,
    pub(super) front: Drain,
    pub(super) storage: Faulty,
    admission: Admission,
    /// A token of the device `A1B2C3D4E5/dev`.
    pub(super) token: String,
    _folder: TempDir,
}

impl Hub {
    pub(super) async fn start() -> Self {
        Self::start_with(Limits::default(), LogOptions::default()).await
    }

    /// A hub with the product A1B2C3D4E5, its device `dev`, and the administrator's key `admin` with secret `secret`.
    pub(super) async fn start_with(limits: Limits, options: LogOptions) -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let (storage, folder, front) = (Faulty::new(), TempDir::new().unwrap(), Drain::new());
        let store = Store::open(folder.path()).unwrap();
        let now = clock.now();
        store.import_key(&"admin".parse().unwrap(), Role::Administrator, "secret", now).await.unwrap();
        let product = NewProduct { id: Some("A1B2C3D4E5".parse().unwrap()), ..NewProduct::default() };
        store.create_product(product, now).await.unwrap();
        let device = "A1B2C3D4E5/dev".parse().unwrap();
        store.create_device(&device, None, now).await.unwrap();
        let (_, token) = store.create_token(&device, None, now).await.unwrap();
        let parts = Parts {
            log: Log::open(Arc::new(storage.clone()), options, clock.clone()).unwrap(),
            store,
            clock,
            limits,
            rules: RuleOptions::default(),
            language: Arc::new(Silence),
            targets: Box::new(|_publisher| Vec::new()),
            plugins: Arc::new(weir_core::plugin::NoPlugins),
            front: front.clone(),
        };
        let running = parts.start().await.unwrap();
        let broker = running.broker.clone();
        let admission = Admission::new(broker.limits(), broker.metrics());
        Self { running, broker, front, storage, admission, token, _folder: folder }
    }

    /// A new connection. `room` is what the stream holds in each direction before its writer must wait.
    pub(super) fn connect(&self, room: usize) -> Peer {
        self.connect_as(PeerIdentity::None, room)
    }

    /// A new connection over a transport that has proved `peer`.
    pub(super) fn connect_as(&self, peer: PeerIdentity, room: usize) -> Peer {
        let (ours, theirs) = tokio::io::duplex(room);
        let place = self.admission.admit("127.0.0.1".parse().unwrap()).unwrap();
        self.front.spawn("client", client::run(theirs, peer, self.broker.clone(), self.front.token().clone(), place));
        Peer { io: ours }
    }

    /// The device, connected.
    pub(super) async fn device(&self) -> Peer {
        let mut peer = self.connect(65_536);
        peer.send(&connect("d", "A1B2C3D4E5/dev", &self.token, 0, b"")).await;
        peer.expect(b"\x20\x02\0\0").await;
        peer
    }

    /// A client of MQTT 5 that is connected, takes no reason strings, and has these other properties.
    pub(super) async fn modern(&self, client_id: &str, properties: &[u8], login: (&str, &str)) -> Peer {
        let mut peer = self.connect(65_536);
        peer.send(&connect_5(2, 0, &[b"\x17\0", properties].concat(), client_id, login)).await;
        let answer = peer.packet().await;
        assert_eq!(answer[2..4], [0, 0], "{answer:02x?}");
        peer
    }

    /// The device in MQTT 5.
    pub(super) async fn modern_device(&self, properties: &[u8]) -> Peer {
        self.modern("d", properties, ("A1B2C3D4E5/dev", &self.token)).await
    }

    /// The administrator, connected.
    pub(super) async fn administrator(&self, client_id: &str) -> Peer {
        let mut peer = self.connect(65_536);
        peer.send(&connect(client_id, "admin", "secret", 0, b"")).await;
        peer.expect(b"\x20\x02\0\0").await;
        peer
    }

    pub(super) fn metrics(&self) -> String {
        self.broker.metrics().encode(self.broker.log())
    }

    pub(super) fn counted(&self, operation: &str, reason: &str, times: u64) {
        let line = format!("weir_refused_total{{operation=\"{operation}\",reason=\"{reason}\"}} {times}\n");
        assert!(self.metrics().contains(&line), "{line}{}", self.metrics());
    }

    pub(super) async fn eventually(&self, operation: &str, reason: &str, times: u64) {
        let line = format!("operation=\"{operation}\",reason=\"{reason}\"}} {times}\n");
        let start = std::time::Instant::now();
        while !self.metrics().contains(&line) {
            assert!(start.elapsed() < PATIENCE, "{line}{}", self.metrics());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn stop(self) {
        assert!(self.running.drain(PATIENCE).await);
    }
}

/// The other end of a connection.
pub(super) struct Peer {
    io: DuplexStream,
}

impl Peer {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    pub(super) async fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.read(&mut bytes).await;
        assert_eq!(bytes, expected, "{bytes:02x?} is not {expected:02x?}");
    }

    pub(super) async fn read(&mut self, bytes: &mut [u8]) {
        tokio::time::timeout(PATIENCE, self.io.read_exact(bytes)).await.expect("nothing came").unwrap();
    }

    /// The next packet; its remaining length takes one byte.
    pub(super) async fn packet(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 2];
        self.read(&mut bytes).await;
        let mut rest = vec![0; usize::from(bytes[1])];
        self.read(&mut rest).await;
        bytes.append(&mut rest);
        bytes
    }

    /// Waits until the hub closes the connection; returns what it sent before.
    pub(super) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.io.read_to_end(&mut rest).await.unwrap();
        rest
    }
}

/// CONNECT of 3.1.1, clean; `will` is topic and message with their lengths, published at QoS 1.
pub(super) fn connect(client_id: &str, user: &str, password: &str, keep_alive: u16, will: &[u8]) -> Vec<u8> {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let flags = if will.is_empty() { 0xc2 } else { 0xc2 | 0b0000_1100 };
    let (head, credentials) = (text(client_id), [text(user), text(password)].concat());
    let [high, low] = keep_alive.to_be_bytes();
    packet(0x10, &[b"\0\x04MQTT\x04", &[flags, high, low][..], &head, will, &credentials].concat())
}

pub(super) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
    packet(0x82, &[&[0, 1], &length, filter.as_bytes(), &[qos]].concat())
}

/// At QoS 1 with a packet identifier, at QoS 0 without.
pub(super) fn publish(topic: &str, packet_id: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let id = packet_id.map(|id| vec![0, id]).unwrap_or_default();
    let first = if packet_id.is_some() { 0x32 } else { 0x30 };
    packet(first, &[&length, topic.as_bytes(), &id, payload].concat())
}

/// CONNECT of MQTT 5 with these flags beside user name and password, properties with their length, and client id.
pub(super) fn connect_5(flags: u8, keep_alive: u8, properties: &[u8], client_id: &str, login: (&str, &str)) -> Vec<u8> {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let head = [b"\0\x04MQTT\x05", &[0xc0 | flags, 0, keep_alive][..]].concat();
    let properties = [&[u8::try_from(properties.len()).unwrap()], properties].concat();
    packet(0x10, &[head, properties, text(client_id), text(login.0), text(login.1)].concat())
}

/// PUBLISH of MQTT 5.
pub(super) fn publish_5(first: u8, topic: &str, packet_id: Option<u8>, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let id = packet_id.map(|id| vec![0, id]).unwrap_or_default();
    let properties_length = [u8::try_from(properties.len()).unwrap()];
    packet(first, &[&length, topic.as_bytes(), &id, &properties_length, properties, payload].concat())
}

/// SUBSCRIBE of MQTT 5 with packet identifier 1; the options are the last byte.
pub(super) fn subscribe_5(properties: &[u8], filter: &str, options: u8) -> Vec<u8> {
    let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
    let properties_length = [u8::try_from(properties.len()).unwrap()];
    packet(0x82, &[&[0, 1], &properties_length[..], properties, &length, filter.as_bytes(), &[options]].concat())
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![first], body.len());
    while length > 127 {
        bytes.push(u8::try_from(length % 128).unwrap() | 0x80);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(body);
    bytes
}
