//! A hub in a temporary folder, with something of every kind in it, and requests to it without sockets.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode},
};
use futures::StreamExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use weir_broker::{
    Broker, Drain, Limits, Parts, RuleOptions, Running,
    admin::{
        gateways, plugins,
        topics::{self, TopicClass},
    },
};
use weir_core::{
    Fingerprint, Offset, Principal, ProductType, Qos, Timestamp,
    path::{JsonPath, Step},
    seams::{Delivery, IdempotenceKey},
    statement::IndexDefinition,
    table::{Field, Indexed},
};
use weir_log::{Clock, Log, LogOptions, storage::faulty::Faulty};
use weir_store::{
    AuthorityRow, DeadLetterKind, NewBroadcast, NewDeadLetter, NewProduct, Progress, RegistrationChange, Role, Store,
};

use super::parts::{Canned, Stamp, Stamped, Taking, Words};
use crate::{
    Endpoint, HttpLimits, HttpOptions,
    router::{Hub, router},
};

pub(super) const PRODUCT: &str = "A1B2C3D4E5";
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

pub(super) struct TestHub {
    pub(super) hub: Hub,
    pub(super) router: Router,
    pub(super) broker: Broker,
    pub(super) clock: Clock,
    pub(super) storage: Arc<Faulty>,
    pub(super) administrator: String,
    pub(super) application: String,
    pub(super) running: Running,
    _folder: TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The kind and the message of an error.
    pub(super) fn error(&self) -> (String, String) {
        let json = self.json();
        let text = |name: &str| json["error"][name].as_str().unwrap().to_owned();
        (text("kind"), text("message"))
    }
}

impl TestHub {
    pub(super) async fn start() -> Self {
        Self::with(HttpLimits::default()).await
    }

    pub(super) async fn with(limits: HttpLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let storage = Arc::new(Faulty::new());
        let log = Log::open(storage.clone(), LogOptions::default(), clock.clone()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let administrator = "admin:top".to_owned();
        store.import_key(&"admin".parse().unwrap(), Role::Administrator, "top", START).await.unwrap();
        let parts = Parts {
            log,
            store,
            clock: clock.clone(),
            limits: Limits::default(),
            rules: RuleOptions::default(),
            language: Arc::new(Words),
            targets: Box::new(|_| vec![Arc::new(Taking)]),
            plugins: Arc::new(Stamped),
            front: Drain::new(),
        };
        let front = parts.front.clone();
        let running = parts.start().await.unwrap();
        let broker = running.broker.clone();
        let options = HttpOptions {
            query: Arc::new(Canned),
            lake: None,
            mqtt: Endpoint { host: "127.0.0.1".to_owned(), port: 1883 },
            mqtts: Some(Endpoint { host: "hub.example.org".to_owned(), port: 8883 }),
            ws: Endpoint { host: "127.0.0.1".to_owned(), port: 8081 },
            wss: Some(Endpoint { host: "hub.example.org".to_owned(), port: 8443 }),
            coap: Some(Endpoint { host: "127.0.0.1".to_owned(), port: 5683 }),
            coaps: Some(Endpoint { host: "hub.example.org".to_owned(), port: 5684 }),
            authority: Arc::new(Stamp),
            version: "0.1.0",
            limits,
        };
        let hub = Hub::new(broker.clone(), options, front);
        let application = format!("app:{}", furnish(&broker).await);
        Self { router: router(&hub), hub, broker, clock, storage, administrator, application, running, _folder: folder }
    }

    pub(super) async fn send(&self, method: &str, url: &str, key: Option<&str>, body: impl Into<Body>) -> Answer {
        let response = self.open(method, url, key, body).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As the administrator.
    pub(super) async fn ask(&self, method: &str, url: &str, body: impl Into<Body>) -> Answer {
        self.send(method, url, Some(&self.administrator), body).await
    }

    /// A POST of the administrator, who wants the answer in some form.
    pub(super) async fn accept(&self, url: &str, media: &str, body: String) -> Answer {
        let key = format!("Bearer {}", self.administrator);
        let request = Request::builder().method("POST").uri(url).header("authorization", key).header("accept", media);
        let (parts, body) =
            self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As [`TestHub::ask`], of something that must succeed with a document.
    pub(super) async fn get_json(&self, method: &str, url: &str, body: impl Into<Body>) -> Value {
        let answer = self.ask(method, url, body).await;
        assert!(answer.status.is_success(), "{method} {url}: {} {:?}", answer.status, answer.body);
        answer.json()
    }

    /// The answer with its body not yet read.
    pub(super) async fn open(
        &self,
        method: &str,
        url: &str,
        key: Option<&str>,
        body: impl Into<Body>,
    ) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    pub(super) async fn follow(&self, filter: &str, key: &str) -> Lines {
        let url = format!("/v1/tail?filter={}", filter.replace('#', "%23"));
        let response = self.open("GET", &url, Some(key), Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Lines { body: response.into_body().into_data_stream(), read: Vec::new() }
    }

    pub(super) async fn end(self) {
        assert!(self.running.drain(Duration::from_secs(5)).await);
    }
}

/// A body that is read line by line.
pub(super) struct Lines {
    body: axum::body::BodyDataStream,
    read: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let waited = tokio::time::timeout(Duration::from_secs(10), self.body.next()).await;
            self.read.extend_from_slice(&waited.expect("no line within 10 seconds")?.unwrap());
        }
    }
}

/// Something of every kind. Returns the secret of the key `app`.
async fn furnish(broker: &Broker) -> String {
    let store = broker.store();
    for id in [PRODUCT, "EMPTY00001"] {
        let product = NewProduct { id: Some(id.parse().unwrap()), name: "Test".to_owned(), ..NewProduct::default() };
        store.create_product(product, START).await.unwrap();
    }
    let kind = ProductType::Gateway;
    let product = NewProduct { id: "GATEWAY001".parse().ok(), kind, ..NewProduct::default() };
    store.create_product(product, START).await.unwrap();
    let gateway = "GATEWAY001/g".parse().unwrap();
    store.create_device(&gateway, None, START).await.unwrap();
    let class = TopicClass { suffix: "up/+".parse().unwrap(), publish: true, subscribe: false };
    topics::create(broker, &PRODUCT.parse().unwrap(), class).await.unwrap();
    store.change_registration(&PRODUCT.parse().unwrap(), RegistrationChange::default()).await.unwrap();
    let broadcast = NewBroadcast {
        product: "EMPTY00001".parse().unwrap(),
        publisher: "administrator:admin".to_owned(),
        qos: Qos::AtLeastOnce,
        payload: b"ended".to_vec(),
    };
    // One that has ended: the task that runs them might find another that runs, or not.
    let ended = store.create_broadcast(broadcast, 1, START).await.unwrap();
    store.cancel_broadcast(&ended.product, ended.id, START).await.unwrap();
    plugins::push(broker, &"echo".parse().unwrap(), b"echo".as_slice().into()).await.unwrap();
    let device = format!("{PRODUCT}/dev_01").parse().unwrap();
    store.create_device(&device, None, START).await.unwrap();
    store.create_token(&device, None, START).await.unwrap();
    gateways::bind(broker, &gateway, vec![device]).await.unwrap();
    let grants = weir_core::Grants {
        publish: vec!["A1B2C3D4E5/+/control".parse().unwrap()],
        subscribe: vec!["A1B2C3D4E5/+/event".parse().unwrap()],
    };
    let secret = store.create_key(&"app".parse().unwrap(), Role::Application(grants), START).await.unwrap();
    store.create_key(&"spare".parse().unwrap(), Role::Administrator, START).await.unwrap();
    store.put_secret(&"hot".parse().unwrap(), b"value of hot", START).await.unwrap();
    // The letter p has the number 0x70.
    let p = Fingerprint::new([0x70; 32]);
    store.create_pin(&"A1B2C3D4E5/dev_01".parse().unwrap(), p, START).await.unwrap();
    let authority = AuthorityRow {
        product: PRODUCT.parse().unwrap(),
        fingerprint: p,
        anchor: p,
        certificate: b"p".to_vec(),
        subject: "CN=p".to_owned(),
        proved: true,
        expires_at: Timestamp(START.0 + 1_000_000),
        created_at: START,
    };
    store.create_authority(authority).await.unwrap();
    let owner = Principal::Administrator("admin".parse().unwrap());
    broker.rules().apply("sink archive\nsink unused\nrule overheat archive", &owner).await.unwrap();
    let path = JsonPath([Step::Key("fw".into())].into());
    let indexed = Indexed::Field(Field { column: "reported".to_owned(), path });
    let text = "CREATE INDEX fw ON shadows (reported.fw)".to_owned();
    store.put_index(IndexDefinition { name: "fw".parse().unwrap(), text, indexed }, START).await.unwrap();
    let dead_letters = vec![
        dead_letter(DeadLetterKind::Row(row(1, b"take"))),
        dead_letter(DeadLetterKind::Row(row(2, b"refuse"))),
        dead_letter(DeadLetterKind::Row(row(3, &[0xff]))),
        dead_letter(DeadLetterKind::Range { from: Offset(4), to: Offset(9) }),
    ];
    store.commit_progress(Progress { dead_letters, ..Progress::default() }).await.unwrap();
    secret
}

fn dead_letter(kind: DeadLetterKind) -> NewDeadLetter {
    let rule = "overheat".parse().unwrap();
    NewDeadLetter { rule, action: 0, reason: "404".to_owned(), created_at: START, kind }
}

fn row(offset: u64, payload: &'static [u8]) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset(offset), rule: "overheat".parse().unwrap(), row: 0 },
        topic: format!("{PRODUCT}/dev_01/event"),
        product: Some(PRODUCT.to_owned()),
        device: Some("dev_01".to_owned()),
        accepted_at: START.0,
        qos: 1,
        hop: 0,
        payload: Bytes::from_static(payload),
        arguments: vec![("url".to_owned(), "http://x/1".to_owned())],
        failure: None,
    }
}
