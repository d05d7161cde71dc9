//! The server that webhooks go to. It keeps what it was sent, and answers as the test says.

use std::{net::SocketAddr, sync::Arc, sync::Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::Value;
use tokio::runtime::Runtime;

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// What it was answered.
    pub(crate) status: StatusCode,
}

type Answer = Arc<dyn Fn(&Value) -> StatusCode + Send + Sync>;

pub(crate) struct Receiver {
    address: SocketAddr,
    answer: Answer,
    received: Arc<Mutex<Vec<Received>>>,
    /// `None` while it is down.
    server: Option<Runtime>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::answering(|_| StatusCode::OK)
    }

    /// Starts a server that answers a body with a status.
    pub(crate) fn answering(answer: impl Fn(&Value) -> StatusCode + Send + Sync + 'static) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut receiver = Self { address, answer: Arc::new(answer), received: Arc::default(), server: None };
        receiver.resume();
        receiver
    }

    /// Goes down: connections are refused.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }

    /// Comes back at the same address.
    pub(crate) fn resume(&mut self) {
        let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = server.block_on(tokio::net::TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let (answer, received) = (Arc::clone(&self.answer), Arc::clone(&self.received));
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let status = answer(&body);
            received.lock().unwrap().push(Received { path: uri.path().to_owned(), headers, body, status });
            status
        });
        server.spawn(async move { axum::serve(listener, app).await });
        self.server = Some(server);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that came to `path` so far.
    pub(crate) fn received(&self, path: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|received| received.path == path).cloned().collect()
    }

    /// The field `name` of every payload that came to `path` and was accepted.
    pub(crate) fn accepted(&self, path: &str, name: &str) -> Vec<Value> {
        let accepted = self.received(path).into_iter().filter(|received| received.status.is_success());
        accepted.map(|received| received.body["payload"][name].clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}
