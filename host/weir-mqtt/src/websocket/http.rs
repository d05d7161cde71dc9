//! The HTTP that a WebSocket begins with.

use std::{
    convert::Infallible,
    future::{Future, poll_fn, ready},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use weir_broker::Metrics;
use weir_core::seams::PeerIdentity;

use super::{
    HttpBody, WebSocket, WebSocketOptions,
    handshake::{Accepted, Refusal, judge},
};

/// Bytes of a request's head. Browsers send cookies.
const HEAD_BYTES: usize = 16 * 1024;

/// How long a client may take to read a refusal, and bytes of it that are read meanwhile.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 * 1024;

/// How far a connection is, for whoever watches over its time.
struct Progress {
    /// When it must be further.
    deadline: Mutex<Instant>,
    upgraded: AtomicBool,
    /// Requests that are not for a WebSocket have come, so it is a connection of the gateway's.
    asked: AtomicBool,
    /// One of them is being answered.
    answering: AtomicBool,
}

impl Progress {
    fn answers(&self, answering: bool, time: Duration) {
        self.asked.store(true, Ordering::Relaxed);
        self.answering.store(answering, Ordering::Relaxed);
        *self.deadline.lock() = Instant::now() + time;
    }
}

/// Held by the body of an answer: each part of it that goes out gives the connection time again.
struct Answering {
    progress: Arc<Progress>,
    time: Duration,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.progress.answers(false, self.time);
    }
}

/// Watches over a body that goes on. One of a known length is as good as sent, and keeps its length.
fn watched(body: HttpBody, answering: Answering) -> HttpBody {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let goes_on = move |frame| {
        answering.progress.answers(true, answering.time);
        frame
    };
    body.map_frame(goes_on).boxed_unsync()
}

/// Serves HTTP until a request is upgraded. `None`, counted, if none was. Boxed, because each future that hands a stream
/// on has room for it of its own. When `stop` is cancelled, a request that is being answered still has its answer.
pub(crate) async fn open<S>(
    (stream, address): (S, IpAddr),
    peer: &PeerIdentity,
    options: &WebSocketOptions,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<Box<WebSocket<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress {
        deadline: Mutex::new(Instant::now() + options.handshake),
        upgraded: AtomicBool::new(false),
        asked: AtomicBool::new(false),
        answering: AtomicBool::new(false),
    });
    let service = service_fn(|request: Request<Incoming>| {
        let judged = match options.requests.as_ref().filter(|others| others.serves(request.uri().path())) {
            Some(others) => {
                let (progress, time) = (Arc::clone(&progress), options.request);
                progress.answers(true, time);
                let answer = others.answer(request, address, peer.clone());
                return Box::pin(async move {
                    let answer = answer.await;
                    // It is being answered for as long as its body goes on.
                    Ok::<_, Infallible>(answer.map(|body| watched(body, Answering { progress, time })))
                }) as Pin<Box<dyn Future<Output = _> + Send>>;
            }
            None => judge(&request, options),
        };
        progress.upgraded.store(judged.is_ok(), Ordering::Relaxed);
        Box::pin(ready(Ok(match judged {
            Ok(accepted) => switching(&accepted),
            Err(refusal) => {
                metrics.refused_for("websocket_upgrade", refusal.reason());
                refused(refusal)
            }
        })))
    });
    let mut connection = http1::Builder::new().max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let ended = loop {
        let deadline = *progress.deadline.lock();
        tokio::select! {
            biased;
            () = stop.cancelled(), if !stopping => {
                if !progress.asked.load(Ordering::Relaxed) {
                    return None;
                }
                // What is asked is answered, and what is answered arrives.
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = sleep_until(deadline) => {
                if *progress.deadline.lock() > deadline {
                    continue;
                }
                match (progress.asked.load(Ordering::Relaxed), progress.answering.load(Ordering::Relaxed)) {
                    (false, _) => metrics.refused_for("websocket_upgrade", "handshake_timeout"),
                    (true, true) => metrics.refused_for("http_gateway", "timeout"),
                    // It has had its answers, and asks no more.
                    (true, false) => {}
                }
                return None;
            }
        }
    };
    if let Err(error) = ended {
        // Hyper has answered what is no HTTP.
        if !progress.asked.load(Ordering::Relaxed) {
            metrics.refused_for("websocket_upgrade", "http");
        }
        tracing::debug!(%error, "a connection for websockets or the gateway broke off");
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if progress.upgraded.load(Ordering::Relaxed) {
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

fn switching(accepted: &Accepted) -> Response<HttpBody> {
    let mut response = Response::new(body(String::new()));
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

fn refused(refusal: Refusal) -> Response<HttpBody> {
    let mut response = Response::new(body(format!("{refusal}\n")));
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

fn body(text: String) -> HttpBody {
    text.map_err(|never| match never {}).boxed_unsync()
}
