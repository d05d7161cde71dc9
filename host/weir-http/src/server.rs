//! Sockets: accepting connections, bounding them, and ending them in order.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Drain};

use crate::{
    HttpLimits, HttpOptions,
    router::{Hub, router},
    stall::WriteStall,
};

/// Bytes of one connection's read and write buffers, and so of a request's head.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connections that are being told that every place is taken. Beyond it a new one is closed without a word.
const REFUSALS: usize = 32;

const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Said when every place is taken; the client's request is not looked at.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
{\"error\":{\"kind\":\"unavailable\",\"message\":\"every connection's place is taken by others\"}}";

/// Serves the management API until the drain begins; connections then end with the request they are at.
pub async fn serve(listener: TcpListener, broker: Broker, options: HttpOptions, drain: Drain) {
    let limits = options.limits.clone();
    let places = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let hub = Hub::new(broker, options, drain.clone());
    let router = router(&hub);
    loop {
        let accepted = tokio::select! {
            () = drain.token().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _peer)) => socket,
            Err(error) => {
                // Most often the process has no file descriptor left; accepting again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection to the management listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            hub.broker.metrics().refused_for("api", "connections");
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                drain.spawn("management refusal", async move {
                    let _place = place;
                    let _in_time = tokio::time::timeout(REFUSAL_TIME, refuse(socket)).await;
                });
            }
            continue;
        };
        let (router, limits, token) = (router.clone(), limits.clone(), drain.token().clone());
        drain.spawn("management connection", async move {
            let _place = place;
            connection(socket, router, &limits, token).await;
        });
    }
}

async fn refuse(mut socket: TcpStream) {
    if socket.write_all(FULL).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    // Closing a socket with bytes that were not read would reset it, and the client might never see the answer.
    let mut unread = [0; 1_024];
    while socket.read(&mut unread).await.is_ok_and(|read| read > 0) {}
}

async fn connection(socket: TcpStream, router: Router, limits: &HttpLimits, token: CancellationToken) {
    // Answers are written whole; waiting to fill a segment would only delay them.
    let _best_effort = socket.set_nodelay(true);
    let stream = TokioIo::new(WriteStall::new(socket, limits.write_stall));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a management connection broke off");
    }
}
