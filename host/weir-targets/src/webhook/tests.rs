//! Against a real server on loopback, and tables for what needs none.

mod contract;
mod format;
mod outcomes;
mod reach;

use std::sync::Arc;

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, Method},
    response::Response,
};
use tokio::{net::TcpListener, sync::mpsc};
use weir_core::{
    Offset, Principal, Timestamp,
    seams::{Delivery, IdempotenceKey, Outcome, SettingError, Settings, Target, TargetContext, TargetKind},
};

use super::{WebhookKind, WebhookOptions};

/// What a server got.
struct Received {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A server that answers by `answer`, given the path, and tells what it got.
async fn serve<F, A>(answer: F) -> (u16, mpsc::Receiver<Received>)
where
    F: Fn(String) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = move |request: Request| {
        let (sender, answer) = (sender.clone(), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.to_string();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let received = Received { method: parts.method, path: path.clone(), headers: parts.headers, body };
            sender.send(received).await.unwrap();
            answer(path).await
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
    (port, receiver)
}

fn status(code: u16) -> Response {
    Response::builder().status(code).body(axum::body::Body::from("what the answer says does not matter")).unwrap()
}

fn administrator() -> Principal {
    Principal::Administrator("admin".parse().unwrap())
}

fn application() -> Principal {
    Principal::Application { key: "app".parse().unwrap(), grants: Arc::default() }
}

fn open_as(owner: Principal, own_ports: &[u16], settings: &[(&str, &str)]) -> Result<Arc<dyn Target>, SettingError> {
    let options = WebhookOptions { own_ports: own_ports.to_vec(), now: Arc::new(|| Timestamp(1_604_458_421_999)) };
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    WebhookKind::new(options).open(
        &Settings(settings),
        TargetContext { rule: "hot".parse().unwrap(), owner, sink: None, grants: Vec::new() },
    )
}

fn open(settings: &[(&str, &str)]) -> Arc<dyn Target> {
    open_as(administrator(), &[], settings).unwrap()
}

fn to(port: u16) -> Arc<dyn Target> {
    open(&[("url", &format!("http://127.0.0.1:{port}/hook"))])
}

fn row(device: &str, index: u64, payload: &[u8]) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset::new(2, index), rule: "hot".parse().unwrap(), row: 1 },
        topic: format!("A1B2C3D4E5/{device}/event"),
        product: Some("A1B2C3D4E5".to_owned()),
        device: Some(device.to_owned()),
        accepted_at: 1_604_458_420_123,
        qos: 1,
        hop: 0,
        payload: bytes::Bytes::copy_from_slice(payload),
        arguments: Vec::new(),
        failure: None,
    }
}

async fn write_one(target: &Arc<dyn Target>, row: Delivery) -> Outcome {
    let mut outcomes = target.write(&[row]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.pop().unwrap()
}
