//! The HTTP that a WebSocket begins with.

use std::{
    convert::Infallible,
    future::{poll_fn, ready},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use weir_broker::Metrics;

use super::{
    WebSocket, WebSocketOptions,
    handshake::{Accepted, Refusal, judge},
};

/// Bytes of a request's head. Browsers send cookies.
const HEAD_BYTES: usize = 16 * 1024;

/// How long a client may take to read a refusal, and bytes of it that are read meanwhile.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 * 1024;

/// Serves HTTP until a request is upgraded. `None`, counted, if none was. Boxed, because each future that hands a stream
/// on has room for it of its own.
pub(crate) async fn open<S>(stream: S, options: &WebSocketOptions, metrics: &Metrics) -> Option<Box<WebSocket<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let judged = judge(&request, options);
        upgraded.store(judged.is_ok(), Ordering::Relaxed);
        // Here is the place of a router for other requests than upgrades.
        ready(Ok::<_, Infallible>(match judged {
            Ok(accepted) => switching(&accepted),
            Err(refusal) => {
                metrics.refused_for("websocket_upgrade", refusal.reason());
                refused(refusal)
            }
        }))
    });
    let mut connection = http1::Builder::new().max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), service);
    match timeout(options.handshake, poll_fn(|cx| connection.poll_without_shutdown(cx))).await {
        Ok(Ok(())) => {}
        // Hyper has answered what is no HTTP.
        Ok(Err(error)) => {
            metrics.refused_for("websocket_upgrade", "http");
            tracing::debug!(%error, "a websocket's handshake broke off");
        }
        Err(_elapsed) => {
            metrics.refused_for("websocket_upgrade", "handshake_timeout");
            return None;
        }
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if upgraded.load(Ordering::Relaxed) {
        return Some(Box::new(WebSocket::new(stream, &parts.read_buf, options.message, metrics.clone())));
    }
    let part = async {
        // Closing with bytes unread would reset the connection before the answer is read.
        if stream.shutdown().await.is_ok() {
            let mut rest = stream.take(PARTING_BYTES);
            let _parted = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        }
    };
    let _in_time = timeout(PARTING, part).await;
    None
}

fn switching(accepted: &Accepted) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(accepted.subprotocol));
    // Base64 is always a header's value.
    if let Ok(key) = HeaderValue::from_str(&accepted.key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

fn refused(refusal: Refusal) -> Response<String> {
    let mut response = Response::new(format!("{refusal}\n"));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refusal.status() == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade, close"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}
